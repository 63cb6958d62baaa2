/* SPDX-License-Identifier: Apache-2.0 */
/* A lane's way through the bars: full bars, and runs of bars at which nothing trades, marked at once. State is explicit,
 * so that any cutting of the bars gives the same bits. */
#pragma once
#include "bar.h"

#define BT_WORTH 4 /* a run longer than this repays dropping idle columns first */

/* The first bar in [t, end] that needs the full step: a working order has a price, an event hits a holding or an order,
 * or a stopped scenario still has something to sell or an order to take back. */
BT_STEP int64_t bt_quiet_until(Lane &lane, const Scenario &s, int64_t t, int64_t end) {
    const double *h = s.h, *o = s.o;
    bool found = false;
    if (!t && lane.in->opening) return t;  // the marks before it are not the panel's
    if (s.stop) {
        BT_EACH(j, lane.A) found |= (h[j] != 0.0) | (o[j] != 0.0);
        if (bt_any(found)) return t;
    }
    if (s.waiting) {
        if (!s.keeps || !lane.in->exec_gap[t] || s.conditions) return t;
        for (int64_t b = t; b < end; ++b) {
            BT_EACH(j, lane.A) found |= o[j] != 0.0 && bt_cell(lane.in->field, b * lane.N + bt_asset(lane, j)) > 0.0;
            if (bt_any(found)) end = b;
        }
        found = false;
    }
    for (int64_t b = t; b < end; ++b) {
        if (lane.in->event_start[b] == lane.in->event_start[b + 1]) continue;
        for (int64_t e = lane.in->event_start[b]; e < lane.in->event_start[b + 1]; ++e) {
            const int64_t j = BT_INT(lane, POSITION)[lane.in->event_asset[e]];
            if (j >= 0 && BT_MINE(j)) found |= (h[j] != 0.0) | (o[j] != 0.0);
        }
        if (bt_any(found)) return b;
    }
    return end;
}

/* A bar without trades, from the value of its holdings and its borrow fees; false, with nothing changed, where a
 * status may change. */
BT_STEP bool bt_quiet_bar(Lane &lane, Scenario &s, int64_t t, const double *value) {
    const double cash = s.st.cash, was_long = s.longs, was_short = s.shorts;
    bt_blank(s);
    bool good = bt_finance(lane, s, t, value[2]);
    s.longs = value[0];
    s.shorts = value[1];
    const double e = s.st.cash + s.longs - s.shorts + 0.0, peak = bt_max(s.st.peak, e);
    good = good && e > 0.0 && bt_inside(s.longs, s.limit) && bt_inside(s.shorts, s.limit) && bt_inside(e, s.limit);
    if (!s.stop) {
        good = good && !(e < (1.0 - s.p->max_drawdown) * peak);
        good = good && !(s.margin && e < s.p->maintenance_margin * (s.longs + s.shorts));
    }
    if (!good) {
        s.st.cash = cash;
        s.longs = was_long;
        s.shorts = was_short;
        return false;
    }
    s.equity = e;
    s.st.peak = peak;
    s.row[MONEY_LONG_VALUE] = s.longs;
    s.row[MONEY_SHORT_VALUE] = -s.shorts + 0.0;
    if (s.waiting) {
        s.count[COUNT_NO_PRICE] = s.waiting;
        if (lane.out->logging) BT_EACH(j, lane.A)
            if (s.o[j] != 0.0) bt_cut(lane, s, t, ORDER_NO_PRICE, bt_asset(lane, j), s.o[j]);
    }
    bt_record_bar(lane, s, t);
    return true;
}

struct Worth { /* of a scenario's holdings at a bar [S5], and their borrow fees [S1] */
    double longs, shorts, fees;
};
#ifdef __CUDACC__ /* a warp reads the cells of its own bar */
#define BT_AT(row, panel, t, j) bt_cell(panel, (t) * lane.N + bt_asset(lane, j))
#define BT_ROW_OF_BAR(lane, NAME, panel, t) nullptr
#else
#define BT_AT(row, panel, t, j) row[j]
#define BT_ROW_OF_BAR(lane, NAME, panel, t) BT_ROW(lane, NAME, panel, t)
#endif
BT_STEP Worth bt_worth_at(Lane &lane, const Scenario &s, const double *h, int64_t t) {
    const bt_rows &in = *lane.in;
    const double magic = s.magic;
    double longs = 0, shorts = 0, fees = 0;
    [[maybe_unused]] const double *m = BT_ROW_OF_BAR(lane, MARK, in.marks, t);
    BT_SIMD(reduction(+ : longs, shorts))
    BT_EACH_OF_BAR(j, lane.A) {
        const double v = bt_worth(h[j], BT_AT(m, in.marks, t, j), magic);
        longs += v > 0.0 ? v : 0.0;
        shorts += v > 0.0 ? 0.0 : -v;  // NaN too
    }
    if (t && bt_borrows(lane, s)) {
        [[maybe_unused]] const double *last = BT_ROW_OF_BAR(lane, LAST, in.marks, t - 1);
        [[maybe_unused]] const double *rates =
            in.borrow_rate.data ? BT_ROW_OF_BAR(lane, BORROW, in.borrow_rate, t) : nullptr;
        const double days = in.days[t], flat = s.p->borrow_rate;
        BT_SIMD(reduction(+ : fees))
        BT_EACH_OF_BAR(j, lane.A) {
            const double rate = in.borrow_rate.data ? BT_AT(rates, in.borrow_rate, t, j) : flat;
            fees += h[j] < 0.0 ? bt_borrow_fee(h[j], BT_AT(last, in.marks, t - 1, j), rate, days, magic) : 0.0;
        }
    }
    return {bt_bar_sum(longs), bt_bar_sum(shorts), bt_bar_sum(fees)};
}

/* A lane with one scenario keeps it at hand; one with more takes each from its slot and puts it back. */
template <bool FULL> BT_STEP void bt_bars_of_all(Lane &lane, Scenario &s, int64_t t) {
    const bool many = lane.in->K > 1;
    for (int k = 0; k < lane.in->K; ++k) {
        if (many) bt_load(lane, s, k);
        if (s.st.ended) continue;  // nothing to put back
        bt_bar<FULL>(lane, s, t);
        if (many) bt_store(lane, s, k);
    }
}

/* Bars [t, end) at which no decision is due: quiet ones at once, else one full bar. Returns where it stopped. */
template <bool FULL> BT_STEP int64_t bt_between(Lane &lane, Scenario &s, int64_t t, int64_t end) {
    const int K = (int)lane.in->K;
    const bool many = K > 1;
    for (int k = 0; k < K; ++k) {
        if (many) bt_load(lane, s, k);
        if (!s.st.ended && end > t) end = bt_quiet_until(lane, s, t, end);
    }
    if (end == t) {
        bt_bars_of_all<FULL>(lane, s, t);
        return t + 1;
    }
    if (!lane.dense && end - t > BT_WORTH) {
        uint8_t *want = BT_BYTE(lane, WANT);
        BT_EACH(i, lane.N) want[i] = 0;
        bt_recolumn(lane);
    }
    bt_sync();
    BT_BARS(b, (int)(end - t)) {
        for (int k = 0; k < K; ++k) {
            const Scenario &other = many ? *(const Scenario *)(lane.slots + (k + 1) * BT_SLOT) : s;
            if (other.st.ended) continue;
            const Worth x = bt_worth_at(lane, other, BT_HELD(lane, k), t + b);
            double *run = lane.runs + 3 * (k * BT_RUN + b);
            if (bt_bar_first()) run[0] = x.longs, run[1] = x.shorts, run[2] = x.fees;
        }
    }
    bt_sync();
    for (int k = 0; k < K; ++k) {
        if (many) bt_load(lane, s, k);
        if (s.st.ended) continue;
        bool quiet = true;  // once a status has changed, orders may stand that fill
        for (int64_t b = t; b < end && !s.st.ended; ++b) {
            if (quiet && bt_quiet_bar(lane, s, b, lane.runs + 3 * (k * BT_RUN + b - t))) continue;
            quiet = false;
            bt_bar<FULL>(lane, s, b);
        }
        if (many) bt_store(lane, s, k);
    }
    return end;
}

/* A scenario as it enters its first bar. */
BT_STEP void bt_enter(Lane &lane, Scenario &s, int k) {
    const int64_t id = lane.in->members[k], N = lane.N;
    const double *held = lane.out->holdings + id * N, *orders = lane.out->orders + id * N;
    s.id = (int32_t)id;
    s.p = lane.out->params + id;
    s.st = lane.out->state[id];
    s.equity = s.longs = s.shorts = 0.0;
    bt_blank(s);
    s.pending = s.saved = s.fills_at = s.cuts_at = s.open = s.called = s.conditions = 0;
    s.stop = s.st.first_bar[STATUS_DRAWDOWN_STOP] != NEVER;
    s.margin = s.p->account == ACCOUNT_MARGIN;
    s.keeps = s.p->unfilled == UNFILLED_KEEP;
    s.same_close = s.p->execution == EXECUTION_SAME_CLOSE;
    s.magic = s.p->tick * BT_MAGIC;
    s.limit = s.p->tick * BT_LIMIT;
    s.h = BT_HELD(lane, k);
    s.o = s.h + lane.stride;
    double waiting = 0;
    BT_EACH(i, N) {
        s.h[i] = held[i];
        s.o[i] = orders[i];
        waiting += orders[i] != 0.0 ? 1.0 : 0.0;
    }
    s.waiting = (int)bt_sum_one(waiting, lane.turn);
    bt_store(lane, s, k);
}
BT_STEP void bt_begin(Lane &lane, Scenario &s) {
    lane.A = (int)lane.N;
    lane.dense = 1;
    lane.seen_target = lane.clear = 0;
    double *unit = BT_OWN(lane, UNIT), *whole = BT_OWN(lane, WHOLE), *one = BT_OWN(lane, ONE), *zero = BT_OWN(lane, ZERO);
    double *tie = BT_OWN(lane, TIE);
    BT_EACH(i, lane.N) {
        BT_INT(lane, COLUMN)[i] = BT_INT(lane, POSITION)[i] = (int32_t)i;
        unit[i] = lane.in->unit[i];
        whole[i] = lane.in->whole[i];
        tie[i] = lane.in->tie[i];
        one[i] = 1.0;
        zero[i] = 0.0;
    }
    BT_EACH(i, lane.stride) BT_BYTE(lane, WANT)[i] = 0;
    bt_drop_conditions(lane, nullptr);
    for (int k = 0; k < lane.in->K; ++k) bt_enter(lane, s, k);
    if (!lane.in->callback) bt_recolumn(lane);  // a strategy may name any asset, and sees all
}
/* Holdings and orders that live in shared memory are put aside between calls. */
BT_STEP void bt_move_hot(Lane &lane, bool out) {
    double *aside = lane.doubles + BUFFER_DOUBLE_COUNT * lane.stride;
    if (aside == lane.hot) return;
    for (int k = 0; k < 2 * lane.in->K; ++k) {
        double *here = lane.hot + k * lane.stride, *there = aside + k * lane.stride;
        BT_EACH(j, lane.A) (out ? there : here)[j] = (out ? here : there)[j];
    }
}
BT_STEP void bt_leave(Lane &lane, Scenario &s, int64_t t) {
    const bool many = lane.in->K > 1;
    for (int k = 0; k < lane.in->K; ++k) {
        if (many) bt_load(lane, s, k);
        if (bt_first()) lane.out->state[s.id] = s.st;
        if (!s.st.ended && lane.call->last) {
            bt_spread(lane, s.h, nullptr, lane.out->holdings + s.id * lane.N);
            bt_spread(lane, s.o, nullptr, lane.out->orders + s.id * lane.N);
        }
        if (!many) bt_store(lane, s, k);
    }
    bt_move_hot(lane, true);
    if (bt_first()) {
        const Kept now = {t, 1, lane.A, lane.dense, lane.seen_target, lane.clear};
        *(Kept *)lane.slots = now;
    }
}

/* Half a bar of a callback run, which has one scenario. A LEDGER_OVERFLOW of the first half is recorded by the second. */
template <bool FULL> BT_STEP void bt_half(Lane &lane, Scenario &s, int64_t t) {
    if (lane.call->phase == PHASE_CLOSE) {
        if (s.open) bt_close_bar<FULL>(lane, s, t, s.open == 1);
        s.open = 0;
        return;
    }
    if (!s.st.ended) {
        s.open = bt_open_bar<FULL>(lane, s, t) ? 1 : 2;
        if (s.open == 1) bt_book_pending(lane, s, true);
    }
    if (!bt_first()) return;
    double *book = lane.out->book;
    book[0] = s.st.cash;
    book[1] = s.equity;
    book[2] = s.open == 1 && !s.st.ended && !s.stop && !s.called;
}

/* Moves a lane over the bars of a call. */
template <bool FULL> BT_STEP void bt_advance(const bt_launch *call, int64_t number, double *shared) {
    Lane lane = bt_lane(call, number, shared);
    const bt_rows *in = lane.in;
    const int64_t t0 = call->t0, t1 = call->t1;
    const Kept kept = *(const Kept *)lane.slots;
    Scenario s;
    bt_sync();
    if (!kept.begun) {
        bt_begin(lane, s);
    } else {
        lane.A = kept.A;
        lane.dense = kept.dense;
        lane.seen_target = kept.seen_target;
        lane.clear = kept.clear;
        bt_move_hot(lane, false);
    }
    if (in->K == 1) bt_load(lane, s, 0);
    if (FULL && call->phase != PHASE_BARS) {
        bt_half<FULL>(lane, s, t0);
        bt_leave(lane, s, t1);
        return;
    }
    for (int64_t t = t0; t < t1;) {
        bool running = in->K == 1 && !s.st.ended;
        for (int k = 0; k < in->K && in->K > 1; ++k) running |= bt_running(lane, k);
        if (!running) break;
        if (in->due[t]) {
            bt_read_weights(lane, t);
            bt_bars_of_all<FULL>(lane, s, t++);
        } else {
            int64_t end = t + 1;
            while (end < t1 && end < t + BT_RUN && !in->due[end]) ++end;
            t = bt_between<FULL>(lane, s, t, end);
        }
    }
    bt_leave(lane, s, t1);
}
