/* SPDX-License-Identifier: Apache-2.0 */
/* A lane's way through the bars. State is explicit, so that any cutting of the bars gives the same bits. */
#pragma once
#include "bar.h"

/* Bar t of every scenario; whether one goes on. The only scenario of a lane stays at hand. */
template <bool FULL> BT_STEP bool bt_bars_of_all(Lane &lane, Scenario &own, int64_t t) {
    const bool many = lane.in->K > 1;
    bool running = false;
    for (int k = 0; k < lane.in->K; ++k) {
        Scenario &s = many ? bt_load(lane, own, k) : own;
        if (s.st.ended) continue;  // nothing to put back
        bt_bar<FULL>(lane, s, t);
        running |= !s.st.ended;
        if (many) bt_store(lane, s, k);
    }
    return running;
}

/* What the last decision has sold is active no more. */
BT_STEP void bt_drop_idle(Lane &lane) {
    uint8_t *want = BT_BYTE(lane, WANT);
    BT_EACH(i, lane.N) want[i] = 0;
    bt_recolumn(lane);
}
/* Bar t of every scenario where decisions wait for the fills of the next one: first what comes before them, for all
 * scenarios, then the row of weights, whose names need not be active before, then the decisions. */
template <bool FULL> BT_STEP bool bt_late_bars_of_all(Lane &lane, Scenario &own, int64_t t) {
    const bool many = lane.in->K > 1;
    bool running = false;
    for (int k = 0; k < lane.in->K; ++k) {
        Scenario &s = many ? bt_load(lane, own, k) : own;
        if (s.st.ended) continue;
        const bool good = bt_open_bar<FULL>(lane, s, t);
        if (!good || s.st.ended) bt_close_bar<FULL>(lane, s, t, good);
        running |= !s.st.ended;
        if (many) bt_store(lane, s, k);
    }
    if (!running) return false;
    if (lane.in->due[t])
        bt_read_weights<FULL>(lane, t);
    else if (t > 0 && lane.in->due[t - 1])
        bt_drop_idle(lane);
    for (int k = 0; k < lane.in->K; ++k) {
        Scenario &s = many ? bt_load(lane, own, k) : own;
        if (s.st.ended) continue;
        bt_close_bar<FULL>(lane, s, t, true);
        bt_clear_orders(lane, s);
        if (many) bt_store(lane, s, k);
    }
    return true;
}
/* The end of a call: no orders wait any longer. */
template <bool FULL> BT_STEP void bt_place_all(Lane &lane, Scenario &own) {
    const bool many = lane.in->K > 1;
    for (int k = 0; k < lane.in->K; ++k) {
        Scenario &s = many ? bt_load(lane, own, k) : own;
        if (!s.st.ended) bt_place<FULL>(lane, s);
        if (many) bt_store(lane, s, k);
    }
}

/* A scenario as it enters its first bar. */
template <bool FULL> BT_STEP void bt_enter(Lane &lane, Scenario &own, int k) {
    Scenario &s = bt_load(lane, own, k);
    const int64_t id = lane.in->members[k], N = lane.N;
    const double *held = lane.out->holdings + id * N, *orders = lane.out->orders + id * N;
    s.id = (int32_t)id;
    s.p = lane.out->params + id;
    s.st = lane.out->state[id];
    s.equity = s.longs = s.shorts = 0.0;
    bt_blank(s);
    s.stale = s.lacks = s.saved = s.fills_at = s.cuts_at = s.open = s.called = s.conditions = 0;
    s.asked = NEVER;
    s.stop = s.st.first_bar[STATUS_DRAWDOWN_STOP] != NEVER;
    s.margin = s.p->account == ACCOUNT_MARGIN;
    s.keeps = s.p->unfilled == UNFILLED_KEEP;
    s.same_close = s.p->execution == EXECUTION_SAME_CLOSE;
    s.magic = s.p->tick * BT_MAGIC;
    s.limit = s.p->tick * BT_LIMIT;
    s.h = lane.hot + 2 * k * lane.stride;
    s.o = s.h + lane.stride;
    s.own = 0;
    while (s.own < k && bt_slot(lane, s.own)->p->weights != s.p->weights) ++s.own;
    s.quick = bt_is_quick<FULL>(lane, s);
    double waiting = 0;
    BT_EACH(i, N) {
        s.h[i] = held[i];
        s.o[i] = orders[i];
        waiting += orders[i] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, waiting);
    s.waiting = (int)waiting;
    bt_store(lane, s, k);
}
/* The lane before its first bar: all columns active, what never changes copied, every scenario entered. */
template <bool FULL> BT_STEP void bt_begin(Lane &lane, Scenario &s) {
    lane.begun = lane.dense = 1;
    lane.next = 0;
    lane.A = (int)lane.N;
    lane.seen_target = lane.clear = 0;
    double *unit = BT_OWN(lane, UNIT), *whole = BT_OWN(lane, WHOLE), *one = BT_OWN(lane, ONE), *zero = BT_OWN(lane, ZERO);
    double *limit = BT_OWN(lane, LIMIT), *stop = BT_OWN(lane, STOP);
    BT_EACH(i, lane.N) {
        BT_INT(lane, COLUMN)[i] = BT_INT(lane, POSITION)[i] = (int32_t)i;
        unit[i] = lane.in->unit[i];
        whole[i] = lane.in->whole[i];
        one[i] = 1.0;
        zero[i] = 0.0;
        limit[i] = stop[i] = nan("");
    }
    BT_EACH(i, lane.stride) BT_BYTE(lane, WANT)[i] = 0;
    lane.late = 1;
    for (int k = 0; k < lane.in->K; ++k) bt_enter<FULL>(lane, s, k);
    for (int k = 0; k < lane.in->K; ++k) lane.late &= bt_slot(lane, k)->quick;
#if BT_GENERAL
    bt_form_before(lane, lane.call->t0);
#endif
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
/* The end of a call: ledgers, and what is held after the last call, go where the host reads them. */
BT_STEP void bt_leave(Lane &lane, Scenario &own) {
    for (int k = 0; k < lane.in->K; ++k) {
        const Scenario &s = bt_load(lane, own, k);
        if (bt_first()) lane.out->state[s.id] = s.st;
        if (!s.st.ended && lane.call->last) bt_hand_over(lane, s);
    }
    bt_move_hot(lane, true);
    if (bt_first()) *(Kept *)lane.slots = lane;
}

#include "plain.h"

/* Half a bar of a callback run, which has one scenario. A LEDGER_OVERFLOW of the first half is recorded by the second. */
template <bool FULL> BT_STEP void bt_half(Lane &lane, Scenario &s, int64_t t) {
    if (lane.call->phase == PHASE_CLOSE) {
        if (s.open) bt_close_bar<FULL>(lane, s, t, s.open == 1);
        s.open = 0;
        return;
    }
    if (!s.st.ended) s.open = bt_open_bar<FULL>(lane, s, t) ? 1 : 2;
    if (!bt_first()) return;
    double *book = lane.out->book;
    book[0] = s.st.cash;
    book[1] = s.equity;
    book[2] = s.open == 1 && !s.st.ended && !s.stop && !s.called;
}

/* Moves a lane over the bars of a call. */
template <bool FULL> BT_FN void bt_advance(const bt_launch *call, int64_t number, double *shared, Crew *crew) {
    Lane lane = bt_lane(call, number, shared, crew);
    const bt_rows *in = lane.in;
    const int64_t t0 = call->t0, t1 = call->t1;
    Scenario own;
    bt_sync();
    if (lane.begun)
        bt_move_hot(lane, false);
    else
        bt_begin<FULL>(lane, own);
#if BT_PLAIN
    const bool plain = bt_plain_lane(lane);
    int row = NEVER;
    if (plain) bt_plain_now(lane, row);
    if (row != NEVER) bt_read_weights<FULL>(lane, row);  // a kernel of plain bars alone has left its orders waiting
#endif
    Scenario &s = bt_load(lane, own, 0);
    bool running = false;
    for (int k = 0; k < in->K; ++k) running |= bt_running(lane, k);
    if (FULL && call->phase != PHASE_BARS) {
        bt_half<FULL>(lane, s, t0);
        running = false;
    }
    for (int64_t t = lane.next > t0 ? lane.next : t0; t < t1 && running; ++t) {
#if BT_PLAIN
        if (plain) {
            if (in->K == 1) bt_store(lane, s, 0);
            t = bt_plain_bars(lane, t, t1);
            if (in->K == 1) bt_load(lane, own, 0);
            if (t == t1) break;
        }
#endif
        if (lane.late) {
            running = bt_late_bars_of_all<FULL>(lane, s, t);
            continue;
        }
        if (in->due[t])
            bt_read_weights<FULL>(lane, t);
        else if (!lane.dense && t > 1 && in->due[t - 2] && !in->due[t - 1])
            bt_drop_idle(lane);
        running = bt_bars_of_all<FULL>(lane, s, t);
    }
    lane.next = (int32_t)t1;
    if (running && lane.late) bt_place_all<FULL>(lane, s);
    if (in->K == 1) bt_store(lane, s, 0);
    bt_leave(lane, own);
}
