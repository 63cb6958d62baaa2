/* SPDX-License-Identifier: Apache-2.0 */
/* The one-pass bar. Orders that bar t decides [S8], their fills at the next bar [S4] and the value of what is held
 * there [S5] need nothing in between but the equity of bar t. So a quick scenario does not form its orders: they wait
 * for the prices at which they fill, and one loop over the assets does all three. What comes of it is the bar's if
 * every order fills whole, cash suffices and no sum is near the ledger's limit; else nothing has changed, the orders
 * are formed (bt_place), and the bar goes its general way. */
#pragma once
#include "decide.h"
#include "fill.h"

/* Sums over assets. Amounts are in ticks, each term above bt_ticks(0, magic) per asset; then how many orders fill, how
 * many were asked for before they were rounded, how many targets have no price; what forbids the pass: orders without a
 * price; about how large all amounts are together, by which each of them and each sum is bounded; the smallest holding. */
struct Pass {
    uint64_t net, gross, drag, slip, worth;
    int64_t fills, asked, missing, bad;
    double size, least;
    BT_FN_MEMBER void operator+=(const Pass &x) {
        net += x.net, gross += x.gross, drag += x.drag, slip += x.slip, worth += x.worth;
        fills += x.fills, asked += x.asked, missing += x.missing, bad += x.bad;
        size += x.size, least = bt_min(least, x.least);
    }
};

/* Whether decisions can wait: a cash account all of whose orders fill whole, but for cash, prices that are missing and
 * sells above the holding. */
template <bool FULL> BT_FN bool bt_is_quick(const Lane &lane, const Scenario &s) {
    const bt_rows &in = *lane.in;
    if (s.same_close || (FULL && (s.margin || in.callback || in.can_buy.data || in.can_sell.data))) return false;
    if (FULL && in.volume.data && (s.p->impact > 0.0 || s.p->participation >= 0.0)) return false;
    return bt_is_simple<FULL>(lane, s);
}

/* [S8] What the orders of bar `from` count, which are known at a later one. */
BT_STEP void bt_count_orders(Lane &lane, Scenario &s, int64_t from, int working, int rounded, int missing) {
    if (!lane.out->counts || !bt_first() || s.told) return;
    const int64_t row = lane.out->K * lane.out->T;
    int32_t *at = lane.out->counts + s.id * lane.out->T + from;
    at[COUNT_WORKING * row] = working;
    at[COUNT_ROUNDED_OUT * row] += rounded;
    at[COUNT_NO_PRICE * row] += missing;
}
/* No orders, where what stands in their place is none. */
BT_STEP void bt_clear_orders(Lane &lane, Scenario &s) {
    if (!s.stale || s.asked != NEVER) return;
    BT_SIMD()
    BT_EACH(j, lane.A) s.o[j] = 0.0;
    s.stale = 0;
}

/* Orders that wait are formed, as bar `asked` would have done. */
template <bool FULL> BT_STEP void bt_place(Lane &lane, Scenario &s) {
    if (s.asked == NEVER) return;
    const int64_t from = s.asked;
    int32_t &rounded = s.count[COUNT_ROUNDED_OUT], &missing = s.count[COUNT_NO_PRICE];
    const int rounded_before = rounded, missing_before = missing;
    s.asked = NEVER;
    bt_clear_orders(lane, s);  // an asset without a target keeps its order, which is none
    bt_form<FULL>(lane, s, from);  // no limits are on, so that nothing overflows
    const int rounded_then = rounded - rounded_before, missing_then = missing - missing_before;
    rounded = rounded_before;
    missing = missing_before;
    bt_count_orders(lane, s, from, s.waiting, rounded_then, missing_then);
}
#ifndef __CUDACC__
/* The loop: orders for the targets w at the prices 1/u, fills at c.F, marks c.mark; `now` is what is held after it. ALL:
 * with what a whole record has beside equity and cash. CAREFUL: a target or a price may be missing. Selects stand where
 * GCC 12 makes vector code of them. */
template <int MODE, bool LEAN, bool ALL, bool CAREFUL>
BT_STEP Pass bt_pass_over(const Scenario &s, const double *w, const double *u, const Costs c, int64_t from, int64_t to) {
    const bt_params p = *s.p;
    const double *h = s.h, *F = c.F, *m = c.mark, scale = s.equity * (1.0 - p.cash_buffer), magic = c.magic;
    double *now = s.o, size = 0, least = 0;
    uint64_t net = 0, gross = 0, drag = 0, slip = 0, worth = 0;
    int64_t fills = 0, asked = 0, missing = 0, bad = 0;
    BT_SIMD(reduction(+ : net, gross, drag, slip, worth, fills, asked, missing, bad, size) reduction(min : least))
    BT_RANGE(j, from, to) {
        const bool has = !CAREFUL || w[j] == w[j], live = !CAREFUL || (has & ((u[j] != 0.0) | (w[j] == 0.0)));
        const double want = bt_wanted(scale, w[j], u[j]), order = bt_order_by<MODE>(want, h[j]), q = live ? order : 0.0;
        const bt_cost x = bt_amounts<LEAN>(q, F[j], bt_move<LEAN>(c, p, j, q), LEAN ? 1.0 : c.unit[j], p);
        const double held = h[j] + q, v = held * m[j];
        now[j] = held;
        net += bt_ticks(copysign(x.ref, q), magic);
        drag += bt_ticks(x.drag, magic);
        worth += bt_ticks(v, magic);
        size += (x.ref + x.drag) + fabs(v);
        least = held < least ? held : least;
        if (CAREFUL) bad += (q != 0.0 ? F[j] : 1.0) > 0.0 ? 0 : 1;
        if (ALL) {
            gross += bt_ticks(x.ref, magic);
            slip += bt_ticks(x.slip, magic);
            fills += q != 0.0 ? 1 : 0;
            asked += live & (want - h[j] != 0.0) ? 1 : 0;
            missing += has & !live ? 1 : 0;
        }
    }
    return {net, gross, drag, slip, worth, fills, asked, missing, bad, size, least};
}
template <int MODE, bool CAREFUL>
BT_STEP Pass bt_pass_with(const Lane &lane, const Scenario &s, const double *w, const double *u, const Costs &c) {
    const auto over = lane.out->counts ? (c.lean ? bt_pass_over<MODE, true, true, CAREFUL> : bt_pass_over<MODE, false, true, CAREFUL>)
                                       : (c.lean ? bt_pass_over<MODE, true, false, CAREFUL> : bt_pass_over<MODE, false, false, CAREFUL>);
    return bt_over(lane.crew, lane.A, [&](int64_t from, int64_t to) { return over(s, w, u, c, from, to); });
}
template <int MODE>
BT_STEP Pass bt_pass_of(const Lane &lane, const Scenario &s, const double *w, const double *u, const Costs &c, bool careful) {
    return careful ? bt_pass_with<MODE, true>(lane, s, w, u, c) : bt_pass_with<MODE, false>(lane, s, w, u, c);
}

/* [S8] of the bar that asked, [S4] and [S5] of bar t but for the scenario's test of its equity; false where that is not
 * the bar's way, and nothing has changed. */
template <bool FULL> BT_STEP bool bt_pass(Lane &lane, Scenario &s, int64_t t) {
    const double *w = bt_targets(lane, s), *u = bt_inverse(lane, s.asked);
    const Costs c = bt_costs<FULL>(lane, s, t, false);
    const bool careful = !lane.clear || lane.in->exec_gap[t];
    Pass sum;
    s.stale = 1;
#define BT_DO(MODE) sum = bt_pass_of<MODE>(lane, s, w, u, c, careful)
    BT_BY_MODE(lane, s, BT_DO);
#undef BT_DO
    if (sum.bad || sum.least < 0.0 || !(sum.size < 0.5 * s.limit)) return false;  // NaN, too
    const double tick = s.p->tick, before = s.st.cash;
    const uint64_t base = lane.A * bt_ticks(0.0, c.magic);
    const double net = (double)(int64_t)(sum.net - base) * tick, drag = (double)(int64_t)(sum.drag - base) * tick;
    const double worth = (double)(int64_t)(sum.worth - base) * tick, cash = before - net - drag + 0.0;
    s.lacks = bt_inside(0.5 * s.limit, before) && cash < 0.0;
    if (s.lacks || !bt_inside(0.5 * s.limit, before, cash + worth)) return false;
    bt_count_orders(lane, s, s.asked, (int)sum.fills, lane.in->none_whole ? 0 : (int)(sum.asked - sum.fills), (int)sum.missing);
    s.asked = NEVER;
    bt_swap(s);
    s.st.cash = cash;
    s.longs = worth;
    s.shorts = 0.0;
    if (!lane.out->counts) return true;
    const double slip = (double)(int64_t)(sum.slip - base) * tick, gross = (double)(int64_t)(sum.gross - base) * tick;
    s.row[MONEY_BUYS] += bt_above(net, gross);
    s.row[MONEY_SELLS] += bt_below(net, gross);
    s.row[MONEY_COMMISSION] += drag - slip;
    s.row[MONEY_SLIPPAGE] += slip;
    s.count[COUNT_FILLS] += (int)sum.fills;
    return true;
}
#else
template <bool FULL> BT_STEP bool bt_pass(Lane &, Scenario &, int64_t) { return false; }
#endif
