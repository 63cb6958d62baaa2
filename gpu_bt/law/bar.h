/* SPDX-License-Identifier: Apache-2.0 */
/* One bar of one scenario, in the order of docs/semantics.md. Functions that return bool return false on
 * LEDGER_OVERFLOW, unless they say otherwise. */
#pragma once
#include "pass.h"

/* A status is kept with the bar at which it was first set. */
BT_FN void bt_set_status(Scenario &s, int code, int64_t t) {
    if (s.st.first_bar[code] == NEVER) s.st.first_bar[code] = (int32_t)t;
}
BT_FN bool bt_borrows(const Lane &lane, const Scenario &s) {
    return s.margin && (lane.in->borrow_rate.data || s.p->borrow_rate != 0.0);
}

/* [S1] from the sum of the borrow fees. */
BT_STEP bool bt_finance(const Lane &lane, Scenario &s, int64_t t, double fees) {
    const double change = bt_interest(s.p, s.st.cash, lane.in->year[t]) - fees;
    s.st.cash = s.st.cash + change + 0.0;
    s.row[MONEY_FINANCING] = change + 0.0;
    return bt_inside(s.limit, fees, s.st.cash);
}
BT_STEP double bt_fees(Lane &lane, const Scenario &s, int64_t t) {
    if (!bt_borrows(lane, s)) return 0.0;
    const double *m = bt_last(lane, t), *h = s.h;
    const double *rates = lane.in->borrow_rate.data ? BT_ROW(lane, BORROW, lane.in->borrow_rate, t) : nullptr;
    const double rate = s.p->borrow_rate, days = lane.in->days[t], magic = s.magic;
    double fees = 0;
    BT_SIMD(reduction(+ : fees))
    BT_EACH(j, lane.A) fees += h[j] < 0.0 ? bt_borrow_fee(h[j], m[j], rates ? rates[j] : rate, days, magic) : 0.0;
    bt_sum(lane.turn, fees);
    return fees;
}

/* [S2] Holdings and orders times the ratio; returns what the fractions of shares paid, at the new mark. */
BT_STEP double bt_split(Lane &lane, Scenario &s, int64_t t) {
    const double *ratio = BT_ROW(lane, SPLIT, lane.in->split, t), *m = bt_carried(lane, t), *whole = BT_OWN(lane, WHOLE);
    const double *unit = BT_OWN(lane, UNIT);
    double *limit = BT_OWN(lane, LIMIT), *stop = BT_OWN(lane, STOP), fractions = 0, lost = 0;
    BT_EACH(j, lane.A) {
        if (s.conditions) limit[j] = limit[j] / ratio[j], stop[j] = stop[j] / ratio[j];
        if (ratio[j] == 1.0 || (s.h[j] == 0.0 && s.o[j] == 0.0)) continue;
        const bool lots = whole[j] != 0.0, waits = s.o[j] != 0.0;
        const double c = bt_max(unit[j], 1.0), h = bt_shares(s.h[j], c) * ratio[j];
        const double kept = lots ? bt_whole(h) : h, o = s.o[j] * ratio[j];
        const bool ends = lots && fabs(s.o[j] + s.h[j]) * c <= BT_SNAP;
        s.h[j] = kept / c + 0.0;
        s.o[j] = (ends ? -s.h[j] : lots ? bt_whole(o) : o) + 0.0;
        if (lots && !bt_near(h)) fractions += bt_round_any((h - kept) * (m[j] / c), s.p->tick);
        if (!waits || s.o[j] != 0.0) continue;
        lost += 1.0;
        if (lane.out->logging) bt_cut(lane, s, t, ORDER_ROUNDED_OUT, bt_asset(lane, j), o);
    }
    bt_sum(lane.turn, fractions, lost);
    s.count[COUNT_ROUNDED_OUT] += (int)lost;
    return fractions;
}

/* [S2] Cash dividends, then splits. */
BT_STEP bool bt_corporate(Lane &lane, Scenario &s, int64_t t) {
    double received = 0, paid = 0, fractions = 0;
    if (lane.in->dividend_bar[t]) {
        const double *d = BT_ROW(lane, DIVIDEND, lane.in->dividend, t), *unit = BT_OWN(lane, UNIT), *h = s.h;
        const double magic = s.magic;
        BT_SIMD(reduction(+ : received, paid))
        BT_EACH(j, lane.A) {
            const double x = bt_worth(h[j], d[j] * unit[j], magic);
            received += x > 0.0 ? x : 0.0;
            paid += x < 0.0 ? -x : 0.0;
        }
        bt_sum(lane.turn, received, paid);
        if (!bt_inside(s.limit, received, paid)) return false;
    }
    if (lane.in->split_bar[t]) fractions = bt_split(lane, s, t);
    s.st.cash = s.st.cash + received - paid + fractions + 0.0;
    s.row[MONEY_DIVIDENDS] = received - paid + 0.0;
    s.row[MONEY_SETTLEMENTS] = fractions + 0.0;
    return bt_inside(s.limit, s.st.cash);
}

/* [S3] Holdings of assets delisted at this bar are paid out at their mark. */
template <bool FULL> BT_STEP bool bt_settle(Lane &lane, Scenario &s, int64_t t) {
    const bt_rows &in = *lane.in;
    if (in.settle_start[t] == in.settle_start[t + 1]) return true;
    double received = 0, paid = 0, lost = 0;
    const double *m = bt_carried(lane, t);
    for (int64_t e = in.settle_start[t]; e < in.settle_start[t + 1]; ++e) {
        const int64_t i = in.settle_asset[e], j = bt_where(lane, (int)i);
        if (j < 0 || !BT_MINE(j)) continue;
        const double x = s.h[j] != 0.0 ? bt_settled(s.h[j], m[j], in.back ? in.back[i] : 0.0, s.magic) : 0.0;
        received += x > 0.0 ? x : 0.0;
        paid += x > 0.0 ? 0.0 : -x;  // NaN too
        lost += s.o[j] != 0.0 ? 1.0 : 0.0;
        if (FULL && lane.out->logging && s.o[j] != 0.0) bt_cut(lane, s, t, ORDER_DELISTED, i, s.o[j]);
        s.h[j] = s.o[j] = 0.0;
    }
    bt_sum(lane.turn, received, paid, lost);
    s.count[COUNT_DELISTED] += (int)lost;
    s.st.cash = s.st.cash + received - paid + 0.0;
    s.row[MONEY_SETTLEMENTS] += received - paid;
    return bt_inside(s.limit, received, paid, s.st.cash);
}

/* [S5] Equity, peak and [S5d] the drawdown stop, from the value of the holdings. */
BT_STEP bool bt_mark(Scenario &s, int64_t t) {
    const double e = s.equity = s.st.cash + s.longs - s.shorts + 0.0;
    if (!bt_inside(s.limit, s.longs, s.shorts, e)) return false;
    s.row[MONEY_LONG_VALUE] = s.longs;
    s.row[MONEY_SHORT_VALUE] = -s.shorts + 0.0;
    if (e <= 0.0) {
        bt_set_status(s, STATUS_BANKRUPT, t);
        s.st.ended = 1;
        return true;
    }
    s.st.peak = bt_max(s.st.peak, e);
    if (e < (1.0 - s.p->max_drawdown) * s.st.peak) {
        bt_set_status(s, STATUS_DRAWDOWN_STOP, t);
        s.stop = 1;
    }
    return true;
}
struct Worth { /* of holdings: longs less shorts, and both together */
    double net, gross;
    BT_FN_MEMBER void operator+=(const Worth &x) { net += x.net, gross += x.gross; }
};
BT_STEP Worth bt_worth_of(const double *h, const double *m, double magic, int64_t from, int64_t to) {
    double net = 0, gross = 0;
    BT_SIMD(reduction(+ : net, gross))
    BT_RANGE(j, from, to) {
        const double v = bt_worth(h[j], m[j], magic);
        net += v;
        gross += fabs(v);
    }
    return {net, gross};
}
BT_STEP bool bt_value(Lane &lane, Scenario &s, int64_t t) {
    const double *m = BT_MARKS(lane, t), *h = s.h, magic = s.magic;
    Worth sum = bt_over(lane.crew, lane.A, [=](int64_t from, int64_t to) { return bt_worth_of(h, m, magic, from, to); });
    bt_sum(lane.turn, sum.net, sum.gross);
    s.longs = bt_above(sum.net, sum.gross);
    s.shorts = bt_below(sum.net, sum.gross);
    return bt_mark(s, t);
}

/* [S5m] Whether margin is called, and the orders that follow from it. */
BT_FN bool bt_is_called(const Scenario &s) {
    return s.margin && !s.stop && !s.st.ended && s.equity < s.p->maintenance_margin * (s.longs + s.shorts);
}
BT_STEP void bt_margin_call(Lane &lane, Scenario &s, int64_t t) {
    if (!bt_is_called(s)) return;
    double cancelled = 0;
    BT_EACH(j, lane.A) {
        cancelled += s.o[j] != 0.0 ? 1.0 : 0.0;
        if (lane.out->logging && s.o[j] != 0.0) bt_cut(lane, s, t, ORDER_CANCELLED, bt_asset(lane, j), s.o[j]);
    }
    bt_sum(lane.turn, cancelled);
    s.count[COUNT_CANCELLED] += (int)cancelled;
    bt_sell_all(lane, s, (s.equity / s.p->maintenance_margin) / (s.longs + s.shorts));
    s.called = 1;
    bt_set_status(s, STATUS_MARGIN_CALL, t);
}

/* Holdings or orders of all N assets, times `unit` where given. */
BT_STEP void bt_spread(Lane &lane, const double *x, const double *unit, double *out) {
    bt_sync();
    BT_EACH(i, lane.N) {
        const int j = bt_where(lane, (int)i);
        out[i] = j < 0 ? 0.0 : unit ? bt_shares(x[j], unit[i]) : x[j] + 0.0;
    }
    bt_sync();
}

/* What is held and ordered goes where the host reads it: at a scenario's end, and after a call that is the last. */
BT_STEP void bt_hand_over(Lane &lane, const Scenario &s) {
    bt_spread(lane, s.h, nullptr, lane.out->holdings + s.id * lane.N);
    bt_spread(lane, s.o, nullptr, lane.out->orders + s.id * lane.N);
}

/* [S9] The bar's row of the record. */
BT_STEP void bt_record_bar(Lane &lane, Scenario &s, int64_t t) {
    const bt_record &out = *lane.out;
    s.row[MONEY_EQUITY] = s.equity;
    s.row[MONEY_CASH] = s.st.cash;
    s.count[COUNT_WORKING] = s.waiting;
    if (bt_first()) {
        for (int64_t c = 0; c < out.columns; ++c) out.money[(c * out.K + s.id) * out.T + t] = s.row[c];
        if (out.counts)
            for (int64_t c = 0; c < COUNT_COUNT; ++c) out.counts[(c * out.K + s.id) * out.T + t] = s.count[c];
    }
    if (out.positions) bt_spread(lane, s.h, lane.in->unit, out.positions + (s.id * out.T + t) * lane.N);
}

/* Every column of the bar's record at 0, as most steps only add to theirs. */
BT_STEP void bt_blank(Scenario &s) {
    for (int c = 0; c < MONEY_COUNT; ++c) s.row[c] = 0.0;
    for (int c = 0; c < COUNT_COUNT; ++c) s.count[c] = 0;
}

/* [S4] [S5] */
template <bool FULL> BT_STEP bool bt_fill_and_mark(Lane &lane, Scenario &s, int64_t t, int part) {
    s.lacks = 0;
    if (s.asked != NEVER && bt_pass<FULL>(lane, s, t)) return bt_mark(s, t);
    bt_place<FULL>(lane, s);
    if (!s.waiting) return bt_value(lane, s, t);
    const Filled fill = bt_fill_orders<FULL>(lane, s, t, part);
    if (!fill.q || !bt_mark(s, t)) return false;
    if (FULL && (s.conditions || bt_is_limited<FULL>(s))) bt_keep_old(lane, s);  // [S4] or [S7] may overflow yet
    bt_book(lane, s, fill.q, fill.left);
    return true;
}

/* A bar of one scenario up to its decision; false on LEDGER_OVERFLOW, which the second half records. */
template <bool FULL> BT_STEP bool bt_open_bar(Lane &lane, Scenario &s, int64_t t) {
    const bool events = lane.in->event_start[t] != lane.in->event_start[t + 1];
    bt_blank(s);
    s.saved = s.called = 0;
    if (FULL && lane.out->logging) {
        bt_sync();
        s.fills_at = (int32_t)lane.out->logged[2 * lane.number];
        s.cuts_at = (int32_t)lane.out->logged[2 * lane.number + 1];
        bt_sync();
    }
    if (events) {  // which look at orders, and change them
        bt_place<FULL>(lane, s);
        bt_clear_orders(lane, s);
        bt_keep_old(lane, s);
    }
    if (!bt_finance(lane, s, t, FULL ? bt_fees(lane, s, t) : 0.0)) return false;
    if (events) {
        if (FULL && !bt_corporate(lane, s, t)) return false;
        if (!bt_settle<FULL>(lane, s, t)) return false;
        double waiting = 0;
        BT_EACH(j, lane.A) waiting += s.o[j] != 0.0 ? 1.0 : 0.0;
        bt_sum(lane.turn, waiting);
        s.waiting = (int)waiting;
    }
    if (s.same_close) return FULL && s.conditions ? bt_fill_and_mark<FULL>(lane, s, t, BT_CONDITIONAL) : bt_value(lane, s, t);
    if (!bt_fill_and_mark<FULL>(lane, s, t, BT_ALL)) return false;
    if (FULL) bt_margin_call(lane, s, t);
    return true;
}
/* The decision, and what follows it. */
template <bool FULL> BT_STEP bool bt_steps_after(Lane &lane, Scenario &s, int64_t t) {
    if (s.st.ended) return true;
    if (!s.called && !bt_decide<FULL>(lane, s, t)) return false;
    if (!s.same_close) return true;
    if (!bt_fill_and_mark<FULL>(lane, s, t, FULL && s.conditions ? BT_OTHERS : BT_ALL)) return false;
    if (FULL) bt_margin_call(lane, s, t);
    return true;
}
template <bool FULL> BT_STEP void bt_close_bar(Lane &lane, Scenario &s, int64_t t, bool good) {
    if (good && bt_steps_after<FULL>(lane, s, t)) {
        bt_record_bar(lane, s, t);
    } else {  // [Numbers] no row and no fills of this bar; the final holdings are those before it
        s.st.ended = 1;
        bt_set_status(s, STATUS_LEDGER_OVERFLOW, t);
        bt_sync();
        if (FULL && lane.out->logging && bt_first()) {
            lane.out->logged[2 * lane.number] = s.fills_at;
            lane.out->logged[2 * lane.number + 1] = s.cuts_at;
        }
        const double *old = BT_OWN(lane, OLD);
        if (s.saved) BT_EACH(j, lane.A) s.h[j] = old[j];
    }
    if (s.st.ended) {
        bt_place<FULL>(lane, s);
        bt_clear_orders(lane, s);
        bt_hand_over(lane, s);
    }
}
template <bool FULL> BT_STEP void bt_bar(Lane &lane, Scenario &s, int64_t t) {
    bt_close_bar<FULL>(lane, s, t, bt_open_bar<FULL>(lane, s, t));
}
