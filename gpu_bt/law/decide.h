/* SPDX-License-Identifier: Apache-2.0 */
/* [S6] to [S8]: a row of target weights becomes orders. Functions return false on LEDGER_OVERFLOW. */
#pragma once
#include "books.h"

BT_FN bool bt_weights_inside(double x, double y) { return bt_inside(BT_LIMIT * BT_WEIGHT_TICK, x, y); }

/* [S7] The gross cap: `w` current weights, `W` targets (NaN = none), changed in place. */
BT_STEP bool bt_cap_gross(Lane &lane, const double *w, double *W, double most) {
    double others = 0, wanted = 0;
    BT_SIMD(reduction(+ : others, wanted))
    BT_EACH(j, lane.A) {
        others += W[j] == W[j] ? 0.0 : bt_weight_round(fabs(w[j]));
        wanted += W[j] == W[j] ? bt_weight_round(fabs(W[j])) : 0.0;
    }
    bt_sum(lane.turn, others, wanted);
    const double gross = others + wanted;
    if (!bt_weights_inside(others, gross)) return false;
    if (!(gross > most)) return true;
    const double f = bt_factor(most - others, gross - others);
    BT_SIMD()
    BT_EACH(j, lane.A) W[j] *= f;
    return true;
}

/* [S7] The turnover cap: exits count, but are never delayed. */
BT_STEP bool bt_cap_turnover(Lane &lane, const double *w, double *W, double most) {
    double exits = 0, moves = 0;
    BT_SIMD(reduction(+ : exits, moves))
    BT_EACH(j, lane.A) {
        exits += W[j] == 0.0 ? bt_weight_round(fabs(w[j])) : 0.0;
        moves += W[j] == W[j] ? bt_weight_round(fabs(W[j] - w[j])) : 0.0;
    }
    bt_sum(lane.turn, exits, moves);
    if (!bt_weights_inside(exits, moves)) return false;
    const double out = exits / 2, turnover = moves / 2;
    if (!(turnover > most)) return true;
    const double f = bt_factor(most - out, turnover - out);
    BT_SIMD()
    BT_EACH(j, lane.A) W[j] = W[j] != 0.0 ? w[j] + (W[j] - w[j]) * f : W[j];
    return true;
}

/* [S7] Limits on the targets of the buffer `target`; leaves the current weights in `held`. */
BT_STEP bool bt_limit(Lane &lane, const Scenario &s, int64_t t) {
    const double *m = BT_MARKS(lane, t), *h = s.h;
    double *w = BT_OWN(lane, HELD), *W = BT_OWN(lane, TARGET);
    const double magic = s.magic, equity = s.equity, top = s.p->max_weight;
    BT_SIMD()
    BT_EACH(j, lane.A) {
        w[j] = bt_weight(h[j], m[j], equity, magic);
        W[j] = bt_name_cap(W[j], top);
    }
    if (s.p->max_gross >= 0.0 && !bt_cap_gross(lane, w, W, s.p->max_gross)) return false;
    return !(s.p->max_turnover >= 0.0) || bt_cap_turnover(lane, w, W, s.p->max_turnover);
}

/* [S8] Orders where every asset has a target and a price and no limit is on. MODE: a rounding, or BT_EXACT. */
template <int MODE> BT_STEP void bt_orders(Lane &lane, Scenario &s, double scale, const double *w, const double *u) {
    const double *h = s.h;
    double asked = 0, kept = 0, *o = s.o;
    BT_SIMD(reduction(+ : asked, kept))
    BT_EACH(j, lane.A) {
        const double p = bt_wanted(scale, w[j], u[j]), d = bt_order_by<MODE>(p, h[j]) + 0.0;
        o[j] = d;
        asked += p - h[j] != 0.0 ? 1.0 : 0.0;
        kept += d != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, asked, kept);
    s.waiting = (int)kept;
    if (MODE != BT_EXACT) s.count[COUNT_ROUNDED_OUT] += (int)(asked - kept);  // an exit is whole already
}
/* `Do<MODE>` of the mode that the lane's lots and the scenario's rounding make. */
#define BT_BY_MODE(lane, s, call)                                        \
    if ((lane).in->none_whole)                                           \
        call(BT_EXACT);                                                  \
    else if ((s).p->rounding == ROUNDING_NEAREST)                        \
        call(ROUNDING_NEAREST);                                          \
    else if ((s).p->rounding == ROUNDING_POSITION)                       \
        call(ROUNDING_POSITION);                                         \
    else                                                                 \
        call(ROUNDING_TOWARD_ZERO)

/* [S8] outside="hold": 0 where an asset's holding may not be enlarged. */
BT_STEP const double *bt_inside_row(Lane &lane, int64_t t) {
    const bt_rows &in = *lane.in;
    return in.universe.data && !in.closes ? BT_ROW(lane, INSIDE, in.universe, t) : BT_OWN(lane, ONE);
}

/* [S8] The same with limits, gaps, assets without a target, mixed lots, logs: targets in the buffer `target`. */
template <bool FULL, bool LOG> BT_STEP void bt_orders_each(Lane &lane, Scenario &s, int64_t t, double scale) {
    const double *W = BT_OWN(lane, TARGET), *w = BT_OWN(lane, HELD), *price = BT_ROW(lane, CLOSE, lane.in->close, t);
    const double *u = bt_inverse(lane, t), *whole = BT_OWN(lane, WHOLE), *h = s.h;
    const double *unit = BT_OWN(lane, UNIT), band = s.p->band, least = s.p->min_trade_value;
    const int rounding = s.p->rounding;
    const double *inside = FULL ? bt_inside_row(lane, t) : nullptr;
    double *o = s.o, missing = 0, rounded = 0, small = 0, waiting = 0, outside = 0;
    BT_SIMD(if (simd : !LOG) reduction(+ : missing, rounded, small, waiting, outside))
    BT_EACH(j, lane.A) {
        const bool has = W[j] == W[j], moves = has & (W[j] != 0.0), priced = price[j] > 0.0;
        const bool banded = (band > 0.0) & (fabs(W[j] - w[j]) <= band), none = moves & !priced, live = moves & priced & !banded;
        const double p = bt_wanted(scale, W[j], u[j]), x = p - h[j];
        const double d = whole[j] != 0.0 ? bt_order_of(x, p, h[j], unit[j], rounding) : x + 0.0;
        const bool gone = live & (x != 0.0) & (d == 0.0), below = live & (d != 0.0) & (fabs(d) * price[j] < least);
        const double wanted = !has | none ? o[j] : !moves ? -h[j] + 0.0 : live & !below ? d : 0.0;
        const double order = FULL && has & !none & (inside[j] == 0.0) ? bt_reduction(wanted, h[j]) + 0.0 : wanted;
        const bool less = order != wanted;
        o[j] = order;
        missing += none ? 1.0 : 0.0;
        rounded += gone ? 1.0 : 0.0;
        small += below ? 1.0 : 0.0;
        outside += less ? 1.0 : 0.0;
        waiting += order != 0.0 ? 1.0 : 0.0;
        if (LOG) {
            const int i = bt_asset(lane, j);
            if (none) bt_cut(lane, s, t, ORDER_NO_PRICE, i, 0.0);
            if (gone) bt_cut(lane, s, t, ORDER_ROUNDED_OUT, i, x);
            if (below) bt_cut(lane, s, t, ORDER_BELOW_MIN, i, d);
            if (less) bt_cut(lane, s, t, ORDER_OUTSIDE, i, wanted - order);
        }
    }
    bt_sum(lane.turn, missing, rounded, small, waiting, outside);
    s.count[COUNT_OUTSIDE] += (int)outside;
    s.count[COUNT_NO_PRICE] += (int)missing;
    s.count[COUNT_ROUNDED_OUT] += (int)rounded;
    s.count[COUNT_BELOW_MIN] += (int)small;
    s.waiting = (int)waiting;
}

/* [S3] Targets that a delisting turned to NaN, of the row that begins at cell `from` of `given`. */
template <bool FULL> BT_STEP void bt_count_delisted(Lane &lane, Scenario &s, int64_t t, const bt_panel &given, int64_t from) {
    const bt_rows &in = *lane.in;
    if (!in.off_count || in.off_bar[0] > t) return;
    double lost = 0;
    BT_EACH(e, in.off_count) {
        const double w = in.off_bar[e] <= t ? bt_cell(given, from + in.off_asset[e]) : nan("");
        if (w != w) continue;
        lost += 1.0;
        if (FULL && lane.out->logging) bt_cut(lane, s, t, ORDER_DELISTED, in.off_asset[e], 0.0);
    }
    bt_sum(lane.turn, lost);
    s.count[COUNT_DELISTED] += (int)lost;
}

/* [S6] Targets that the universe replaces by 0. */
BT_STEP void bt_count_outside(Lane &lane, Scenario &s, int64_t t) {
    const double *away = BT_OWN(lane, AWAY);
    double lost = 0;
    BT_EACH(i, lane.N) {
        const int j = bt_where(lane, (int)i);
        const bool busy = j >= 0 && (s.h[j] != 0.0 || s.o[j] != 0.0);
        if (!(away[i] == 1.0 || (away[i] == 2.0 && busy))) continue;
        lost += 1.0;
        if (lane.out->logging) bt_cut(lane, s, t, ORDER_OUTSIDE, i, 0.0);
    }
    bt_sum(lane.turn, lost);
    s.count[COUNT_OUTSIDE] += (int)lost;
}

/* [S6] A row that a strategy gave, of weights or of direct orders; of NaN where it gave none. */
BT_STEP void bt_take_given(Lane &lane, Scenario &s, int64_t t, const double *given, double *row) {
    if (given) bt_count_delisted<true>(lane, s, t, {given, KIND_FLOAT64}, 0);
    BT_EACH(i, lane.N) row[i] = given ? given[i] : nan("");
    bt_strike(lane, t, row);
}

/* [S7] Of a direct order, the part that is no increase: towards zero, and all of a sell in a cash account. */
BT_FN double bt_left(const Scenario &s, bool given, double o, double h) {
    return given && (s.margin || o > 0.0) ? bt_reduction(o, h) : o;
}
/* [S7] Direct orders, as if every order filled at the mark: their increases meet name cap and gross cap. */
BT_STEP bool bt_limit_direct(Lane &lane, Scenario &s, int64_t t, const double *given) {
    const double *m = BT_MARKS(lane, t), *h = s.h, *whole = BT_OWN(lane, WHOLE), inverse = 1.0 / s.equity;
    const double most = s.p->max_gross, top = s.equity * fmin(s.p->max_weight, most);
    double *o = s.o, *more = BT_OWN(lane, HELD), kept = 0, grown = 0, limited = 0, waiting = 0, f = 1.0;
    BT_EACH(j, lane.A) {
        const double left = bt_left(s, fabs(given[j]) <= BT_HUGE, o[j], h[j]), after = h[j] + left;
        const double stays = s.margin ? fabs(after) : bt_max(after, 0.0), wanted = fabs(o[j] - left);
        const double room = bt_max(m[j] > 0.0 ? top * (1.0 / m[j]) - stays : 0.0, 0.0);
        more[j] = bt_cut_down(wanted, room, whole[j] != 0.0);
        kept += stays != 0.0 ? bt_weight_round((stays * m[j]) * inverse) : 0.0;
        grown += more[j] != 0.0 ? bt_weight_round((more[j] * m[j]) * inverse) : 0.0;
    }
    bt_sum(lane.turn, kept, grown);
    if (most >= 0.0 && !bt_weights_inside(kept, kept + grown)) return false;
    if (grown > 0.0 && kept + grown > most) f = bt_leverage_factor(most, kept, grown);
    BT_EACH(j, lane.A) {
        const double left = bt_left(s, fabs(given[j]) <= BT_HUGE, o[j], h[j]), old = o[j];
        const double kept_size = bt_cut_down(more[j], more[j] * f, whole[j] != 0.0);
        if (kept_size != fabs(old - left)) {
            o[j] = left + bt_sign(old) * kept_size + 0.0;
            limited += 1.0;
            if (lane.out->logging) bt_cut(lane, s, t, ORDER_LIMITED, bt_asset(lane, j), old - o[j]);
        }
        waiting += o[j] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, limited, waiting);
    s.count[COUNT_LIMITED] += (int)limited;
    s.waiting = (int)waiting;
    return true;
}

/* [S8] The direct orders of a strategy; with a limit or stop they become [S4l] orders. */
BT_STEP bool bt_direct(Lane &lane, Scenario &s, int64_t t) {
    const bt_launch &call = *lane.call;
    double *given = BT_OWN(lane, TARGET), *limit = BT_OWN(lane, LIMIT), *stop = BT_OWN(lane, STOP);
    double *triggered = BT_OWN(lane, TRIGGERED), *o = s.o, missing = 0, rounded = 0, waiting = 0, conditions = 0, outside = 0;
    const double *whole = BT_OWN(lane, WHOLE), *unit = BT_OWN(lane, UNIT);
    bt_take_given(lane, s, t, call.lots, given);
    const double *inside = bt_inside_row(lane, t);
    BT_EACH(j, lane.A) {
        if (lane.in->closes && bt_cell(lane.in->universe, t * lane.N + j) == 0.0) given[j] = nan("");
        const bool unsized = fabs(given[j]) > BT_HUGE;
        missing += unsized ? 1.0 : 0.0;
        if (lane.out->logging && unsized) bt_cut(lane, s, t, ORDER_NO_PRICE, bt_asset(lane, j), 0.0);
        if (given[j] == given[j] && !unsized) {
            const double x = given[j], h = s.h[j];
            const int rounding = bt_near(x) ? ROUNDING_TOWARD_ZERO : s.p->rounding;  // whole lots are ordered as they are
            const double d = whole[j] != 0.0 ? bt_order_of(x, x + h, h, unit[j], rounding) : x + 0.0;
            const bool gone = (x != 0.0) & (d == 0.0);
            o[j] = inside[j] == 0.0 ? bt_reduction(d, h) + 0.0 : d;
            const bool less = o[j] != d;
            outside += less ? 1.0 : 0.0;
            if (lane.out->logging && less) bt_cut(lane, s, t, ORDER_OUTSIDE, bt_asset(lane, j), d - o[j]);
            limit[j] = call.limit ? call.limit[j] : nan("");
            stop[j] = call.stop ? call.stop[j] : nan("");
            triggered[j] = 0.0;
            rounded += gone ? 1.0 : 0.0;
            if (lane.out->logging && gone) bt_cut(lane, s, t, ORDER_ROUNDED_OUT, bt_asset(lane, j), x);
        }
        waiting += o[j] != 0.0 ? 1.0 : 0.0;
        conditions += (limit[j] == limit[j]) | (stop[j] == stop[j]) ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, missing, rounded, waiting, conditions, outside);
    s.count[COUNT_OUTSIDE] += (int)outside;
    s.count[COUNT_NO_PRICE] += (int)missing;
    s.count[COUNT_ROUNDED_OUT] += (int)rounded;
    s.waiting = (int)waiting;
    s.conditions = conditions > 0.0;
    const bool capped = s.p->max_weight >= 0.0 || s.p->max_gross >= 0.0;
    return !capped || bt_limit_direct(lane, s, t, given);
}

/* Orders that [S8] placed for targets at the prices P, all where `target` is null, have no limit or stop. */
BT_STEP void bt_drop_conditions(Lane &lane, Scenario &s, const double *target, const double *P) {
    if (!s.conditions) return;
    double *limit = BT_OWN(lane, LIMIT), *stop = BT_OWN(lane, STOP);
    BT_EACH(j, lane.A)
        if (!target || target[j] == 0.0 || (target[j] == target[j] && P[j] > 0.0)) limit[j] = stop[j] = nan("");
    s.conditions = target != nullptr;
}

/* [S5m] Of every holding all but the share f is sold; [S5d] with f = 0, targets of 0 without the limits. */
BT_STEP void bt_sell_all(Lane &lane, Scenario &s, double f) {
    const double *h = s.h, *whole = BT_OWN(lane, WHOLE);
    double *o = s.o, waiting = 0;
    BT_SIMD(reduction(+ : waiting))
    BT_EACH(j, lane.A) {
        o[j] = bt_call_order(h[j], f, whole[j] != 0.0);
        waiting += o[j] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, waiting);
    s.waiting = (int)waiting;
    s.stale = 0;
    bt_drop_conditions(lane, s, nullptr, nullptr);
}

/* Whether a limit of [S7] is on. */
template <bool FULL> BT_FN bool bt_is_limited(const Scenario &s) {
    const bt_params &p = *s.p;
    return FULL && (p.max_weight >= 0.0 || p.max_gross >= 0.0 || p.max_turnover >= 0.0 || p.band > 0.0);
}
/* Whether bt_orders can do [S7] [S8] of a row in which every asset has a target. */
template <bool FULL> BT_FN bool bt_is_simple(const Lane &lane, const Scenario &s) {
    const bool plain = !FULL || (s.p->min_trade_value == 0.0 && !lane.out->logging && !lane.in->universe.data);
    return plain && !lane.in->odd && (lane.in->all_whole || lane.in->none_whole) && !bt_is_limited<FULL>(s);
}
template <bool FULL> BT_STEP bool bt_target(Lane &lane, Scenario &s, int64_t t);
template <bool FULL> BT_STEP bool bt_form(Lane &lane, Scenario &s, int64_t t);

/* [S6] What a strategy decided: targets as a row of weights, then direct orders. */
template <bool FULL> BT_STEP bool bt_decide_given(Lane &lane, Scenario &s, int64_t t) {
    const bt_launch &call = *lane.call;
    if (call.weights || lane.in->closes) {
        double *row = BT_OWN(lane, WEIGHT);
        bt_take_given(lane, s, t, call.weights, row);
        if (lane.in->closes) {
            bt_leave_universe(lane, t, row, call.lots);
            bt_count_outside(lane, s, t);
        }
        bt_use_row(lane, t, row);
        if (lane.seen_target && !bt_target<FULL>(lane, s, t)) return false;
    }
    return !call.lots || bt_direct(lane, s, t);
}

/* [S6] Replace the orders of a scenario whose decision is due, or that a drawdown has stopped. */
template <bool FULL> BT_STEP bool bt_decide(Lane &lane, Scenario &s, int64_t t) {
    if (s.stop) {
        bt_sell_all(lane, s, 0.0);
        return true;
    }
    if (FULL && lane.in->callback) return lane.call->phase != PHASE_CLOSE || bt_decide_given<FULL>(lane, s, t);
    if (!lane.in->due[t]) return true;
    if (lane.seen_target == 2) {
        bt_count_delisted_names<FULL>(lane, s, t);
        if (FULL && lane.in->closes) bt_count_outside_names(lane, s, t);
    } else {
        const bool given = t >= lane.in->lag && !lane.in->groups;
        if (given) bt_count_delisted<FULL>(lane, s, t, lane.in->weights, (t - lane.in->lag) * lane.N);
        if (FULL && lane.in->closes) bt_count_outside(lane, s, t);
    }
    return !lane.seen_target || bt_target<FULL>(lane, s, t);
}

/* [S7] [S8] The orders for the row of weights at hand, which is bar t's. */
template <bool FULL> BT_STEP bool bt_target(Lane &lane, Scenario &s, int64_t t) {
    if (lane.late && (lane.clear || !s.waiting)) {  // the working orders that they replace are none, or all of them
        s.asked = (int32_t)t;
        s.told = 0;
        s.waiting = 0;
        return true;
    }
    return bt_form<FULL>(lane, s, t);
}
/* The same at once. */
template <bool FULL> BT_STEP bool bt_form(Lane &lane, Scenario &s, int64_t t) {
    const double scale = s.equity * (1.0 - s.p->cash_buffer), *W = bt_targets(lane, s);
    if (lane.clear && bt_is_simple<FULL>(lane, s)) {
        const double *u = bt_inverse(lane, t);
#define BT_DO(MODE) bt_orders<MODE>(lane, s, scale, W, u)
        BT_BY_MODE(lane, s, BT_DO);
#undef BT_DO
        bt_drop_conditions(lane, s, W, u);
        return true;
    }
    double *target = BT_OWN(lane, TARGET);
    BT_SIMD()
    BT_EACH(j, lane.A) target[j] = W[j];
    if (bt_is_limited<FULL>(s) && !bt_limit(lane, s, t)) return false;
    if (FULL && lane.out->logging)
        bt_orders_each<FULL, true>(lane, s, t, scale);
    else
        bt_orders_each<FULL, false>(lane, s, t, scale);
    bt_drop_conditions(lane, s, target, BT_ROW(lane, CLOSE, lane.in->close, t));
    return true;
}
