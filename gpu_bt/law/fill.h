/* SPDX-License-Identifier: Apache-2.0 */
/* [S4] Fills: the orders of the last decision meet a bar's prices. FULL: every feature of the law; else a cash account
 * without masks, volumes, spreads and logs, whose code is left out. Functions return false on LEDGER_OVERFLOW. */
#pragma once
#include "reach.h"

/* What [S4] 2. reads of a bar, beside the parameters; `spread` and `root` are rows of zeros where they are off. */
struct Costs {
    const double *F, *spread, *sigma, *root, *unit, *mark, *whole, *tie, *taker;
    double magic, money, flat;  // money: the magic number of amounts >= 0
    bool lean;                  // the adverse move is `flat`, and the fee that of LEAN
};
template <bool FULL> BT_FN Costs bt_costs(Lane &lane, const Scenario &s, int64_t t, bool path) {
    const bool spread = FULL && lane.in->half_spread.data, impact = FULL && s.p->impact > 0.0;
    Costs c;
    c.F = path ? BT_OWN(lane, PATH) : bt_prices(lane, t);
    c.taker = path ? BT_OWN(lane, TAKER) : BT_OWN(lane, ONE);
    c.mark = BT_MARKS(lane, t);
    c.unit = BT_OWN(lane, UNIT);
    c.whole = BT_OWN(lane, WHOLE);
    c.spread = spread ? BT_ROW(lane, SPREAD, lane.in->half_spread, t) : BT_OWN(lane, ZERO);
    c.sigma = impact && lane.in->volatility.data ? BT_ROW(lane, VOLATILITY, lane.in->volatility, t) : BT_OWN(lane, ONE);
    c.root = impact ? bt_inverse_root(lane, t) : BT_OWN(lane, ZERO);
    c.tie = BT_OWN(lane, TIE);
    c.magic = s.magic;
    c.money = s.magic / 1.5;
    c.flat = bt_adverse(s.p->slippage, 0.0, 0.0, 0.0, 0.0, 0.0);
    c.lean = bt_lean(*s.p) && !spread && !impact && !path;
    return c;
}
/* The adverse move of a fill of q lots of asset j. */
template <bool LEAN> BT_FN double bt_move(const Costs &c, const bt_params &p, int64_t j, double q) {
    if (LEAN) return c.flat;
    return bt_adverse(p.slippage, c.spread[j], p.impact, c.sigma[j], fabs(q) * c.unit[j], c.root[j]) * c.taker[j];
}
template <bool LEAN> BT_FN bt_cost bt_charge_at(const Costs &c, const bt_params &p, int64_t j, double q) {
    return bt_charge<LEAN>(q, c.F[j], bt_move<LEAN>(c, p, j, q), LEAN ? 1.0 : c.unit[j], p, c.money);
}

struct Flows { /* sums over a bar's fills, and [S5] the value of the holdings after them; oversold: sells above a holding */
    double buys, sells, drag, slip, fills, longs, shorts, oversold;
};
/* [S4] 2. and [S5] Sums of the costs of the fills q, and the value of h + q. */
template <bool LEAN, bool MARGIN> BT_STEP Flows bt_flows(Lane &lane, const Scenario &s, const double *q, const Costs c) {
    const bt_params p = *s.p;
    const double *h = s.h;
    double gross = 0, net = 0, drag = 0, slip = 0, fills = 0, value = 0, other = 0;
    BT_SIMD(reduction(+ : gross, net, drag, slip, fills, value, other))
    BT_EACH(j, lane.A) {
        const bt_cost x = bt_charge_at<LEAN>(c, p, j, q[j]);
        const double now = h[j] + q[j], v = bt_worth(now, c.mark[j], c.magic);
        gross += x.ref;
        net += copysign(x.ref, q[j]);
        drag += x.drag;
        slip += x.slip;
        fills += q[j] != 0.0 ? 1.0 : 0.0;
        value += v;
        other += MARGIN ? fabs(v) : (now < 0.0 ? 1.0 : 0.0);
    }
    bt_sum(lane.turn, gross, net, drag, slip, fills, value, other);
    const double size = MARGIN ? other : value, oversold = MARGIN ? 0.0 : other;
    return {bt_above(net, gross), bt_below(net, gross), drag, slip, fills, bt_above(value, size), bt_below(value, size), oversold};
}
template <bool FULL> BT_STEP Flows bt_sum_flows(Lane &lane, const Scenario &s, const double *q, const Costs &c) {
    if (FULL && s.margin) return c.lean ? bt_flows<true, true>(lane, s, q, c) : bt_flows<false, true>(lane, s, q, c);
    return c.lean ? bt_flows<true, false>(lane, s, q, c) : bt_flows<false, false>(lane, s, q, c);
}

/* [S4] 1. What every order fills before cash and leverage, into `fill`, and what it leaves working, into `left`; counted.
 * What a rest that does not stay working loses goes to `cutting`. True where something fills. */
template <bool FULL, bool LOG>
BT_STEP bool bt_match(Lane &lane, Scenario &s, int64_t t, const double *F, int part) {
    const bt_rows &in = *lane.in;
    const double *h = s.h, *o = s.o, *one = BT_OWN(lane, ONE);
    const double *reach = FULL && s.conditions ? BT_OWN(lane, REACH) : BT_OWN(lane, ZERO);
    const bool thin = FULL && in.volume.data && (s.p->impact > 0.0 || s.p->participation >= 0.0);
    const double *volume = thin ? BT_ROW(lane, VOLUME, in.volume, t) : one;
    const double *buyable = FULL && in.can_buy.data ? BT_ROW(lane, BUYABLE, in.can_buy, t) : one;
    const double *sellable = FULL && in.can_sell.data ? BT_ROW(lane, SELLABLE, in.can_sell, t) : one;
    const double *unit = BT_OWN(lane, UNIT), *whole = BT_OWN(lane, WHOLE);
    double *q = BT_OWN(lane, FILL), *left = BT_OWN(lane, LEFT), *cutting = BT_OWN(lane, CUTTING);
    double *status = BT_OWN(lane, STATUS);
    const double most = s.p->participation, impact = s.p->impact;
    const bool keeps = s.keeps, cash = !FULL || !s.margin;
    double missing = 0, masked = 0, beyond = 0, clipped = 0, dropped = 0, fills = 0;
    BT_SIMD(if (simd : !LOG) reduction(+ : missing, masked, beyond, clipped, dropped, fills))
    BT_EACH(j, lane.A) {
        double want = o[j];
        const bool mine = (part == BT_ALL) | ((reach[j] != BT_FREE) == (part == BT_CONDITIONAL));
        const bool wants = mine & (want != 0.0) & (reach[j] != BT_NOT_REACHED);
        const bool none = wants & ((reach[j] == BT_NO_PATH) | !(F[j] > 0.0));
        const bool barred = FULL && wants & !none & ((want > 0.0 ? buyable[j] : sellable[j]) == 0.0);
        const bool empty = thin & wants & !none & !barred & (impact > 0.0) & (volume[j] == 0.0);
        double fill = wants & !(none | barred | empty) ? want : 0.0;
        const double room = -h[j] + 0.0;
        const bool over = cash & (fill < 0.0) & (fill < room);
        const double excess = over ? fill - room : 0.0;
        fill = over ? room : fill;
        want = over ? room : want;
        const double size = fabs(fill);
        const double kept = thin ? bt_within_volume(size, most, volume[j], unit[j], whole[j] != 0.0) : size;
        const bool less = (fill != 0.0) & (kept < size);
        const double lost = fill < 0.0 ? -(size - kept) : size - kept;
        fill = less ? (fill < 0.0 ? -kept : kept) + 0.0 : fill;
        const double rest = want - fill;
        q[j] = fill;
        left[j] = keeps | !mine ? rest : 0.0;
        cutting[j] = keeps | !mine ? 0.0 : rest;
        status[j] = less ? (double)ORDER_VOLUME_CLIPPED : over ? (double)ORDER_CANCELLED : (double)ORDER_FILLED;
        missing += none ? 1.0 : 0.0;
        masked += barred ? 1.0 : 0.0;
        beyond += over ? 1.0 : 0.0;
        clipped += less | empty ? 1.0 : 0.0;
        dropped += !keeps & mine & (rest != 0.0) ? 1.0 : 0.0;
        fills += fill != 0.0 ? 1.0 : 0.0;
        if (LOG) {
            const int i = bt_asset(lane, j);
            if (none) bt_cut(lane, s, t, ORDER_NO_PRICE, i, o[j]);
            if (barred) bt_cut(lane, s, t, ORDER_RESTRICTED, i, o[j]);
            if (empty) bt_cut(lane, s, t, ORDER_VOLUME_CLIPPED, i, o[j]);
            if (over) bt_cut(lane, s, t, ORDER_CANCELLED, i, excess);
            if (less) bt_cut(lane, s, t, ORDER_VOLUME_CLIPPED, i, lost);
        }
    }
    bt_sum(lane.turn, missing, masked, beyond, clipped, dropped, fills);
    s.count[COUNT_NO_PRICE] += (int)missing;
    s.count[COUNT_RESTRICTED] += (int)masked;
    s.count[COUNT_CANCELLED] += (int)(beyond + dropped);
    s.count[COUNT_VOLUME_CLIPPED] += (int)clipped;
    return fills > 0.0;
}

struct Needs { /* [S4] 3. Sums over buys: what they need, B, how many, and of these `flat`; over sells: what they bring in */
    double need, proceeds, base, buys, flat;
};
template <bool LEAN> BT_STEP Needs bt_needs(Lane &lane, const Scenario &s, const double *q, const Costs c) {
    const bt_params p = *s.p;
    double need = 0, proceeds = 0, base = 0, buys = 0, flat = 0;
    BT_SIMD(reduction(+ : need, proceeds, base, buys, flat))
    BT_EACH(j, lane.A) {
        const bt_cost x = bt_charge_at<LEAN>(c, p, j, q[j]);
        need += q[j] > 0.0 ? x.ref + x.drag : 0.0;
        proceeds += q[j] < 0.0 ? x.ref - x.drag : 0.0;
        base += q[j] > 0.0 ? x.base : 0.0;
        buys += q[j] > 0.0 ? 1.0 : 0.0;
        flat += q[j] > 0.0 ? x.flat : 0.0;
    }
    bt_sum(lane.turn, need, proceeds, base, buys, flat);
    return {need, proceeds, base, buys, flat};
}

/* [S4] 3. All buys by one factor, cut to lots, into `cut`; `extra` is what one lot more, or the rest, costs, `rank` the
 * class of a remainder, -1 for none. Returns the cost of what is kept. */
template <bool LEAN>
BT_STEP double bt_cut_buys(Lane &lane, const Scenario &s, const double *q, const Costs c, double factor) {
    const bt_params p = *s.p;
    double *cut = BT_OWN(lane, CUT), *extra = BT_OWN(lane, EXTRA), *rank = BT_OWN(lane, RANK), spent = 0;
    BT_SIMD(reduction(+ : spent))
    BT_EACH_ALONE(j, lane.A) {
        const double x = q[j] > 0.0 ? factor * q[j] : 0.0, kept = c.whole[j] != 0.0 ? trunc(x) : x;
        cut[j] = kept;
        rank[j] = (q[j] > 0.0) & (c.whole[j] != 0.0) & (kept < q[j]) ? bt_class(x, kept, c.tie[j]) : -1.0;
        const bt_cost now = bt_charge_at<LEAN>(c, p, j, kept);
        const double cost = now.ref + now.drag;
        const bt_cost more = bt_charge_at<LEAN>(c, p, j, bt_min(kept + 1.0, q[j]));
        extra[j] = more.ref + more.drag - cost;
        spent += cost;
    }
    bt_sum(lane.turn, spent);
    return spent;
}

/* [S4] 3. Remainders: the class from which on, downwards, nothing is bought back. Its sums are exact, whoever adds
 * first; an empty class fits. */
BT_STEP double bt_last_class(Lane &lane, double left) {
    const double *extra = BT_OWN(lane, EXTRA), *rank = BT_OWN(lane, RANK);
    double *sums = lane.classes;
    uint8_t *has = BT_BYTE(lane, HAS);
    int32_t *some = BT_INT(lane, FRESH);
    BT_EACH(r, BT_CLASSES) sums[r] = 0.0;
    const int A = lane.A;
    BT_EACH(j, (A + 7) / 8 * 8) has[j] = j < A && rank[j] >= 0.0;  // bt_pack reads eight at a time
    bt_sync();
    const int count = bt_pack(A, has, some, lane.turn);
    bt_sync();
    BT_EACH(e, count) bt_add(&sums[(int)rank[some[e]]], extra[some[e]]);
    bt_sync();
    int r = BT_CLASSES - 1;
    for (; r >= 0 && sums[r] <= left; --r) left -= sums[r];
    return r;
}

/* [S4] 3. Remainders bought back with what cutting left over. Writes the fills to `fill`. */
template <bool LOG> BT_STEP void bt_buy_back(Lane &lane, Scenario &s, int64_t t, const double *q, double left) {
    const double last = bt_last_class(lane, left), *cut = BT_OWN(lane, CUT), *rank = BT_OWN(lane, RANK);
    double *fill = BT_OWN(lane, FILL), *status = BT_OWN(lane, STATUS), clipped = 0;
    BT_SIMD(if (simd : !LOG) reduction(+ : clipped))
    BT_EACH(j, lane.A) {
        const double want = q[j], kept = rank[j] > last ? bt_min(cut[j] + 1.0, want) : cut[j];
        const bool less = (want > 0.0) & (kept < want);
        clipped += less ? 1.0 : 0.0;
        if (LOG && less) {
            bt_cut(lane, s, t, ORDER_CASH_CLIPPED, bt_asset(lane, j), want - kept);
            status[j] = ORDER_CASH_CLIPPED;
        }
        fill[j] = want > 0.0 ? kept : want;
    }
    bt_sum(lane.turn, clipped);
    s.count[COUNT_CASH_CLIPPED] += (int)clipped;
}

/* [S4] 3. One factor for all buys. */
template <bool LOG> BT_STEP void bt_clip(Lane &lane, Scenario &s, int64_t t, const double *q, const Costs &c, const Needs &sum) {
    const double funds = s.st.cash + sum.proceeds;
    bt_ties(lane);
    const double factor = bt_cash_factor(funds, sum.buys, sum.flat, sum.base, bt_least<false>(*s.p), s.p->tick);
    const double spent = c.lean ? bt_cut_buys<true>(lane, s, q, c, factor) : bt_cut_buys<false>(lane, s, q, c, factor);
    bt_buy_back<LOG>(lane, s, t, q, funds - spent);
}

/* [S4m] Reductions pass; increases are scaled so that gross exposure stays within max_leverage of equity. */
template <bool LOG>
BT_STEP bool bt_leverage(Lane &lane, Scenario &s, int64_t t, const double **fills, const Costs &c, bool marked) {
    const double *q = *fills, *h = s.h, *last = c.F;
    if (lane.in->exec_gap[t]) last = marked ? c.mark : bt_carried(lane, t);
    double longs = 0, shorts = 0, gross = 0, more = 0;
    BT_SIMD(reduction(+ : longs, shorts, gross, more))
    BT_EACH(j, lane.A) {
        const double at = c.F[j] > 0.0 ? c.F[j] : last[j], reduce = bt_reduction(q[j], h[j]);
        const double v = bt_worth(h[j], at, c.magic);
        longs += v > 0.0 ? v : 0.0;
        shorts += v < 0.0 ? -v : 0.0;
        gross += bt_worth(fabs(h[j] + reduce), at, c.magic);
        more += bt_round(fabs(q[j] - reduce) * c.F[j], c.magic);
    }
    bt_sum(lane.turn, longs, shorts, gross, more);
    const double equity = s.st.cash + longs - shorts, bound = s.p->max_leverage * equity;
    if (!bt_inside(s.limit, longs, shorts, equity, gross, more)) return false;
    if (!(more > 0.0 && gross + more > bound)) return true;
    const double factor = bt_leverage_factor(bound, gross, more);
    double *fill = BT_OWN(lane, FILL), *status = BT_OWN(lane, STATUS), clipped = 0;
    BT_EACH(j, lane.A) {
        const double reduce = bt_reduction(q[j], h[j]), grow = q[j] - reduce, scaled = factor * grow;
        const double kept = (c.whole[j] != 0.0 ? trunc(scaled) : scaled) + 0.0;
        const bool less = fabs(kept) < fabs(grow);
        clipped += less ? 1.0 : 0.0;
        if (LOG && less) {
            bt_cut(lane, s, t, ORDER_LEVERAGE_CLIPPED, bt_asset(lane, j), grow - kept);
            status[j] = ORDER_LEVERAGE_CLIPPED;
        }
        fill[j] = reduce + kept;
    }
    bt_sum(lane.turn, clipped);
    s.count[COUNT_LEVERAGE_CLIPPED] += (int)clipped;
    *fills = fill;
    return true;
}

/* `quotes`: prices per share of [S4l], NaN for none, or null. */
BT_STEP void bt_log_fills(Lane &lane, const Scenario &s, int64_t t, const double *q, const Costs &c, const double *quotes) {
    const double *status = BT_OWN(lane, STATUS);
    BT_EACH(j, lane.A) {
        if (q[j] == 0.0) continue;
        const int i = bt_asset(lane, j);
        const double sign = bt_sign(q[j]);
        const double p = quotes && quotes[j] == quotes[j] ? quotes[j] : bt_cell(lane.in->field, t * lane.N + i);
        const double a = bt_move<false>(c, *s.p, j, q[j]);
        const bt_cost x = bt_charge_at<false>(c, *s.p, j, q[j]);
        const long long at = lane.number * lane.out->log_room + bt_take(&lane.out->logged[2 * lane.number]);
        const bt_fill fill = {s.id, (int32_t)t, i, (int32_t)status[j], bt_shares(q[j], c.unit[j]), p + sign * (p * a), p,
                              x.drag - x.slip, x.slip};
        lane.out->fills[at] = fill;
    }
}

struct Filled { /* what fills, and what stays working; `q` is null on LEDGER_OVERFLOW */
    const double *q, *left;
};
/* [S4] 4. Fills become holdings, and what is left stays as the order. */
BT_STEP void bt_book(Lane &lane, Scenario &s, const double *q, const double *left) {
    double *h = s.h, *o = s.o, waiting = 0;
    BT_SIMD(reduction(+ : waiting))
    BT_EACH(j, lane.A) {
        h[j] = h[j] + q[j];
        o[j] = left[j];
        waiting += left[j] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, waiting);
    s.waiting = (int)waiting;
}

/* [S4] What fills at bar t, and its money; marks the holdings after it [S5]. `entire`: bt_all_fill. */
template <bool FULL, bool LOG> BT_STEP Filled bt_fill_with(Lane &lane, Scenario &s, int64_t t, bool entire, int part) {
    const bool path = FULL && s.conditions && part != BT_OTHERS, margin = FULL && s.margin;
    const Costs c = bt_costs<FULL>(lane, s, t, path);
    const double *q = s.o, before = s.st.cash;
    const bool lacks = s.lacks;  // cash, as bt_pass has found: all orders fill whole but for that
    bool any = true, again = !lacks;
    Flows sum;
    while (again) {
        if (!entire) any = bt_match<FULL, LOG>(lane, s, t, c.F, part);
        if (!entire) q = BT_OWN(lane, FILL);
        if (margin && any && !bt_leverage<LOG>(lane, s, t, &q, c, s.same_close && part != BT_CONDITIONAL)) return {};
        sum = bt_sum_flows<FULL>(lane, s, q, c);
        again = entire && sum.oversold > 0.0;
        entire &= !again;
    }
    // the sum bounds all that [S4] tests
    const bool inside = lacks || bt_inside(s.limit, fabs(before) + sum.buys + sum.sells + sum.drag);
    if (lacks || (any && !margin && !(inside && before - sum.buys + sum.sells - sum.drag >= 0.0))) {
        const Needs needs = c.lean ? bt_needs<true>(lane, s, q, c) : bt_needs<false>(lane, s, q, c);
        const double funds = before + needs.proceeds;
        if (!bt_inside(s.limit, needs.need, needs.proceeds, funds)) return {};
        if (needs.need > funds && needs.buys > 0.0) {
            bt_clip<LOG>(lane, s, t, q, c, needs);
            q = BT_OWN(lane, FILL);
            sum = bt_sum_flows<FULL>(lane, s, q, c);
        } else if (lacks) {
            sum = bt_sum_flows<FULL>(lane, s, q, c);
        }
    }
    const double cash = before - (sum.buys - sum.sells) - sum.drag + 0.0, commission = sum.drag - sum.slip;
    if (any && !inside && !bt_inside(s.limit, sum.buys, sum.sells, commission, sum.slip, cash)) return {};
    s.st.cash = cash;
    s.row[MONEY_BUYS] += sum.buys;
    s.row[MONEY_SELLS] += sum.sells;
    s.row[MONEY_COMMISSION] += commission;
    s.row[MONEY_SLIPPAGE] += sum.slip;
    s.count[COUNT_FILLS] += (int)sum.fills;
    s.longs = sum.longs;
    s.shorts = sum.shorts;
    if (LOG) bt_log_fills(lane, s, t, q, c, path ? BT_OWN(lane, QUOTE) : nullptr);
    if (LOG && !entire && !s.keeps) {
        const double *cutting = BT_OWN(lane, CUTTING);
        BT_EACH(j, lane.A)
            if (cutting[j] != 0.0) bt_cut(lane, s, t, ORDER_CANCELLED, bt_asset(lane, j), cutting[j]);
    }
    return {q, entire ? BT_OWN(lane, ZERO) : BT_OWN(lane, LEFT)};
}

/* Whether every order fills whole, but for sells above the holding. */
template <bool FULL> BT_STEP bool bt_all_fill(Lane &lane, const Scenario &s, int64_t t) {
    const bt_rows &in = *lane.in;
    if (FULL && (in.can_buy.data || in.can_sell.data || lane.out->logging || s.conditions)) return false;
    if (FULL && in.volume.data && (s.p->impact > 0.0 || s.p->participation >= 0.0)) return false;
    if (!in.exec_gap[t]) return true;
    const double *F = bt_prices(lane, t), *o = s.o;
    double missing = 0;
    BT_SIMD(reduction(+ : missing))
    BT_EACH(j, lane.A) missing += (o[j] != 0.0) & !(F[j] > 0.0) ? 1.0 : 0.0;
    bt_sum(lane.turn, missing);
    return missing == 0.0;
}

/* [S4] and the mark of [S5], for one part of the orders or all of them. */
template <bool FULL> BT_STEP Filled bt_fill_orders(Lane &lane, Scenario &s, int64_t t, int part) {
    const bool entire = s.lacks || bt_all_fill<FULL>(lane, s, t);
    if (FULL && s.conditions) bt_reach(lane, s, t, part != BT_OTHERS);
    if (FULL && lane.out->logging) return bt_fill_with<FULL, true>(lane, s, t, entire, part);
    return bt_fill_with<FULL, false>(lane, s, t, entire, part);
}
