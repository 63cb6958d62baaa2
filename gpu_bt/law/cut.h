/* SPDX-License-Identifier: Apache-2.0 */
/* Plain bars (plain.h): a scenario that lacks the cash for its buys. Books of a few names do so at many bars, which the
 * general way would make the slowest ones. */
#pragma once
#include "trades.h"

#if BT_PLAIN
/* The sums of one scenario. */
struct Sums {
    uint64_t v[BT_VALUES];
};
/* What is left of sums of so many terms each, where `trades` says whether there were orders. */
BT_FN void bt_take_zeros(Sums &sums, uint64_t zero, bool trades) {
    sums.v[3] -= zero;
    if (!trades) return;
    sums.v[0] -= BT_TABLE ? zero : 2 * zero;
    sums.v[1] -= BT_TABLE ? zero : 2 * zero;
#if BT_TABLE
    sums.v[2] -= zero;
    sums.v[4] -= zero;
#endif
}

/* [S4] 3. The class from which on, downwards, nothing is bought back with so many ticks. A lane looks at a share of the
 * classes, in their order. */
BT_FN double bt_last_of(const uint64_t *classes, int64_t left, int place) {
    const int share = BT_CLASSES / 32, top = BT_CLASSES - 1 - place * share;
    int64_t own = 0;
    for (int i = 0; i < share; ++i) own += (int64_t)classes[top - i];
    int64_t spent = own;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        const int64_t lower = (int64_t)__shfl_up_sync(0xffffffffu, (uint64_t)spent, d);
        spent += place >= d ? lower : 0;
    }
    int64_t before = spent - own;
    int last = top;
    for (; last > top - share && before + (int64_t)classes[last] <= left; --last) before += (int64_t)classes[last];
    const unsigned stops = __ballot_sync(0xffffffffu, last > top - share);
    return stops ? __shfl_sync(0xffffffffu, last, __ffs(stops) - 1) : -1;
}
/* [S4] 3. and [S5] of a scenario that lacks cash for its buys: one factor for all, and what its remainders buy back. `cash`
 * is what it has before the fills; `then` and `now` are its holdings. All its orders can fill. */
BT_STEP Sums bt_clip_plain(Lane &lane, int k, Rows r, double scale, const double *then, double *now, double cash) {
    const int place = threadIdx.x & 31;
    uint64_t *classes = (uint64_t *)(bt_shared + BT_SHARED_DOUBLES) + BT_TOGETHER * 2 * (BT_NEAR ? lane.call->near : 0);
    const Scenario &own = *bt_slot(lane, k);
    const double tick = own.p->tick;
    Terms s = bt_terms(own, lane.N);
    s.scale = scale;
    uint64_t needs[4] = {}, spent[1] = {};
    BT_EACH(c, BT_CLASSES) classes[c] = 0;
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double q = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], then[BT_LIST ? r.from[e] : e]).q;
        const Charge x = bt_lean_charge(s, q, q != 0.0 ? r.F[j] : 0.0);
        needs[0] += q < 0.0 ? x.ref - x.drag : 0;
        needs[1] += q > 0.0 ? x.base : 0;
        needs[2] += q > 0.0 ? 1 : 0;
    }
    uint64_t total = bt_block_sums<4>(lane.turn, bt_warp_sums(needs, place), place);
    const double funds = cash + (double)(int64_t)bt_from(total, 0) * tick, base = (double)(int64_t)bt_from(total, 8) * tick;
    const double buys = (double)(int64_t)bt_from(total, 16);
    const double factor = bt_cash_factor(funds, buys, buys, base, s.minimum, tick);
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double q = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], then[BT_LIST ? r.from[e] : e]).q;
        if (!(q > 0.0)) continue;
        const double x = factor * q, kept = BT_MODE == BT_EXACT ? x : trunc(x);
        const Charge cut = bt_lean_charge(s, kept, r.F[j]);
        spent[0] += cut.ref + cut.drag;
        if (BT_MODE == BT_EXACT || !(kept < q)) continue;
        const Charge more = bt_lean_charge(s, bt_min(kept + 1.0, q), r.F[j]);
        atomicAdd((unsigned long long *)&classes[(int)bt_class(x, kept, (double)lane.in->tie[j])],
                  (unsigned long long)(more.ref + more.drag - cut.ref - cut.drag));
    }
    total = bt_block_sums<1>(lane.turn, bt_warp_sums(spent, place), place);
    const double last = bt_last_of(classes, (int64_t)(funds / tick) - (int64_t)total, place);
    Tally to = {};
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double h = then[BT_LIST ? r.from[e] : e];
        const Aim aim = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], h);
        const double x = factor * aim.q, kept = BT_MODE == BT_EXACT ? x : trunc(x);
        const bool again = BT_MODE != BT_EXACT && kept < aim.q && bt_class(x, kept, (double)lane.in->tie[j]) > last;
        const double q = aim.q > 0.0 ? (again ? bt_min(kept + 1.0, aim.q) : kept) : aim.q;
        now[e] = bt_trade<true>(s, aim, q, r.F[j], r.m[j], h, to);
    }
    to.sum[BT_BAD] = to.high >= s.most ? 1 : 0;
    total = bt_block_sums<BT_VALUES>(lane.turn, bt_warp_sums(to.sum, place), place);
    Sums sums;
#pragma unroll
    for (int i = 0; i < BT_VALUES; ++i) sums.v[i] = bt_from(total, i * (32 / BT_VALUES));
    bt_take_zeros(sums, r.count * bt_ticks(0.0, s.magic), true);
    return sums;
}

#endif
