/* SPDX-License-Identifier: Apache-2.0 */
/* Plain bars (plain.h): the loops over assets, and how a block adds up what they give. Sums are integers of ticks,
 * reduced in transposed order: of V values half change hands at each step, so that lane group v of a warp ends with
 * sum v: V exchanges, where V values one after another take 5 V. Loads of the next assets are under way while these
 * are worked on. */
#pragma once
#include "bar.h"

#if BT_PLAIN
#define BT_VALUES (BT_TABLE ? 8 : 4)
#define BT_BAD (BT_TABLE ? 6 : 2)                         /* the sum that says that some amount is too large */
#define BT_GROUP (32 / BT_TOGETHER)                     /* lanes that keep a scenario */
#define BT_FOURTH (32 / (BT_VALUES * BT_TOGETHER))      /* lanes that end with one sum */
#define BT_BATCH 2                                      /* assets of a thread whose loads are under way together */
static_assert(BT_VALUES * BT_TOGETHER <= 32, "a warp has a lane for every sum");

BT_FN uint64_t bt_other(uint64_t x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
BT_FN double bt_from(double x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
BT_FN uint64_t bt_from(uint64_t x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
BT_FN unsigned bt_high(double x) { return (unsigned)(__double_as_longlong(x) >> 32); }

/* The sums of a warp, of which each lane group gets one. */
template <int V> BT_FN uint64_t bt_warp_sums(uint64_t (&x)[V], int place) {
#pragma unroll
    for (int have = V, d = 16; have > 1; have >>= 1, d >>= 1) {
        const bool upper = place & d;
#pragma unroll
        for (int v = 0; v < have / 2; ++v) {
            const uint64_t mine = upper ? x[v + have / 2] : x[v], yours = upper ? x[v] : x[v + have / 2];
            x[v] = mine + bt_other(yours, d);
        }
    }
    uint64_t sum = x[0];
#pragma unroll
    for (int d = 16 / V; d; d >>= 1) sum += bt_other(sum, d);
    return sum;
}
/* Those of a block; `sum` is what bt_warp_sums gave. A barrier like that of bt_sum. */
template <int V> BT_FN uint64_t bt_block_sums(int &turn, uint64_t sum, int place) {
    uint64_t *partial = (uint64_t *)bt_shared + (turn ^= 1) * BT_WARPS * BT_SUMS;
    const int warps = bt_threads() >> 5, group = place / (32 / V), within = place % (32 / V);
    if (within == 0) partial[group * warps + (threadIdx.x >> 5)] = sum;
    __syncthreads();
    uint64_t total = 0;
#pragma unroll 4
    for (int w = within; w < warps; w += 32 / V) total += partial[group * warps + w];
#pragma unroll
    for (int d = 16 / V; d; d >>= 1) total += bt_other(total, d);
    return total;
}

/* What every thread knows of a scenario beside its ledger: of its parameters those of a lean fill. */
struct Terms {
    double scale, magic, move, rate, minimum;
    unsigned most;  // upper half of what no amount may reach
};
BT_FN Terms bt_terms(const Scenario &s, int64_t assets) {
    const double move = bt_adverse(s.p->slippage, 0.0, 0.0, 0.0, 0.0, 0.0);
    return {0.0, s.magic, move, s.p->commission_rate, s.p->min_commission, bt_high(bt_most(assets) * s.p->tick)};
}
BT_FN bt_cost bt_lean_amounts(const Terms &s, double q, double F) {
    bt_params p;
    p.commission_rate = s.rate;
    p.min_commission = s.minimum;
    p.max_commission_rate = 0.0;  // of which a lean fill knows nothing
    return bt_amounts<true>(q, F, s.move, 1.0, p);
}
/* What it costs, and its term of B in [S4] 3., in ticks. */
struct Charge {
    int64_t ref, drag, base;
};
BT_FN Charge bt_lean_charge(const Terms &s, double q, double F) {
    const bt_cost x = bt_lean_amounts(s, q, F);
    const uint64_t zero = bt_ticks(0.0, s.magic), ref = bt_ticks(x.ref, s.magic) - zero;
    return {(int64_t)ref, (int64_t)(bt_ticks(x.drag, s.magic) - zero), (int64_t)(ref + bt_ticks(x.base, s.magic) - zero)};
}
/* Rows of a bar: those of its decision, and the prices at which it fills and is marked. list, from: the assets, and where
 * their holdings lie; null: all of them, in place. */
struct Rows {
    const bt_row_t *w;
    const double *u, *F, *m;
    const int32_t *list, *from;
    int count;
};
struct Cells {
    double w[BT_BATCH], u[BT_BATCH], F[BT_BATCH], m[BT_BATCH];
    int from[BT_BATCH];
};
BT_FN void bt_read_cells(const Rows &r, int base, Cells &c) {
#pragma unroll
    for (int i = 0; i < BT_BATCH; ++i) {
        const int e = base + i * bt_threads();
        const bool on = e < r.count;
        const int j = BT_LIST ? (on ? r.list[e] : 0) : e;
        c.from[i] = BT_LIST ? (on ? r.from[e] : 0) : e;
        c.w[i] = on ? bt_double(r.w[j]) : 0.0;
        c.u[i] = on ? r.u[j] : 0.0;
        c.F[i] = on ? r.F[j] : 0.0;
        c.m[i] = on ? r.m[j] : 0.0;
    }
}

/* The sums of a scenario over this thread's assets, in ticks above bt_ticks(0); `high`: the upper half of the largest
 * amount, above all others where one is negative or NaN. */
struct Tally {
    uint64_t sum[BT_VALUES];
    unsigned high;
};
/* [S8] The order of an asset, as of what is held; `asked`: one before it was rounded, `missing`: a target without a price. */
struct Aim {
    double q;
    bool asked, missing;
};
template <bool CAREFUL> BT_FN Aim bt_aim(const Terms &s, double w, double u, double h) {
    const double want = bt_wanted(s.scale, w, u), order = bt_order_by<BT_MODE>(want, h);
    const bool has = !CAREFUL || w == w, live = has & (!CAREFUL || (w == 0.0) | (u != 0.0));
    return {live ? order : 0.0, live & (want - h != 0.0), has & !live};
}
/* [S4] [S5] of one asset of which q fill: h is held before, what is returned after. */
template <bool CAREFUL> BT_FN double bt_trade(const Terms &s, const Aim &aim, double q, double F, double m, double h, Tally &to) {
    const bool priced = !CAREFUL || F == F;
    const double held = h + q, worth = held * m;
    const bt_cost x = bt_lean_amounts(s, q, priced ? F : 0.0);
    const uint64_t net = bt_ticks(copysign(x.ref, q), s.magic), gross = bt_ticks(x.ref, s.magic), drag = bt_ticks(x.drag, s.magic);
    const unsigned high = bt_larger(bt_high(x.ref + x.drag), bt_high(worth));
    to.high = bt_larger(to.high, priced | (q == 0.0) ? high : ~0u);
#if BT_TABLE
    const uint64_t fills = q != 0.0 ? 1 : 0, rounded = aim.asked & (aim.q == 0.0) ? 1ull << 21 : 0;
    to.sum[0] += net;
    to.sum[1] += gross;
    to.sum[2] += drag;
    to.sum[4] += bt_ticks(x.slip, s.magic);
    to.sum[5] += fills + rounded + (aim.missing ? 1ull << 42 : 0);
    to.sum[7] += (fabs(q) < fabs(aim.q) ? 1 : 0) + ((q == 0.0) & (aim.q != 0.0) ? 1ull << 32 : 0);
#else
    to.sum[0] += net + drag;
    to.sum[1] += gross + drag;
#endif
    to.sum[3] += bt_ticks(worth, s.magic);
    return held;
}
template <bool CAREFUL>
BT_FN void bt_trade_all(const Rows &r, const Terms (&s)[BT_TOGETHER], double *hot, int stride, int then, int now, Tally (&to)[BT_TOGETHER]) {
    const int step = BT_BATCH * bt_threads();
    Cells next, c;
    bt_read_cells(r, threadIdx.x, next);
    #pragma unroll 2
    for (int base = threadIdx.x, left = r.count; left > 0; left -= step, base += step) {
        c = next;
        bt_read_cells(r, base + step, next);
#pragma unroll
        for (int i = 0; i < BT_BATCH; ++i) {
            const int e = base + i * bt_threads();
            const bool on = e < r.count;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) {
                const double h = on ? hot[2 * k * stride + then + c.from[i]] : 0.0;
                const Aim aim = bt_aim<CAREFUL>(s[k], c.w[i], c.u[i], h);
                const double held = bt_trade<CAREFUL>(s[k], aim, aim.q, c.F[i], c.m[i], h, to[k]);
                if (on) hot[2 * k * stride + now + e] = held;
            }
        }
    }
}
/* [S5] alone. */
BT_FN void bt_value_all(const Rows &r, const Terms (&s)[BT_TOGETHER], const double *hot, int stride, int then, Tally (&to)[BT_TOGETHER]) {
    const int step = BT_BATCH * bt_threads();
    for (int base = threadIdx.x, left = r.count; left > 0; left -= step, base += step) {
#pragma unroll
        for (int i = 0; i < BT_BATCH; ++i) {
            const int e = base + i * bt_threads();
            const bool on = e < r.count;
            const double m = on ? r.m[BT_LIST && r.list ? r.list[e] : e] : 0.0;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) {
                const double worth = on ? hot[2 * k * stride + then + e] * m : 0.0;
                to[k].sum[3] += bt_ticks(worth, s[k].magic);
                to[k].high = bt_larger(to[k].high, bt_high(worth));
            }
        }
    }
}


#endif
