/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of plain bars on a device: the one-pass bar (pass.h) for all scenarios of a block, bar after bar, with
 * everything in registers but the holdings. A bar is plain where nothing happens but interest, fills of lean costs
 * (step.h, bt_lean) and marks, cash that is short included (cut.h); the first that is not is left to run.h, with
 * nothing changed.
 *
 * One loop over the assets and one barrier a bar. A holding after the fill goes to the other half of a scenario's
 * memory, and the halves change places once the bar is good: nothing has to be taken back. Every warp keeps every
 * ledger, scenario k on its k-th group of lanes, so that what is done once a bar is done once a warp for all of them,
 * and no second barrier is needed to tell the others.
 *
 * Where rows of weights name few assets, a bar works on a list: the names of its row and of the row before, since
 * what the last row bought is what this one may have to sell. Holdings lie in the order of the list, and move to that
 * of the next one as they are traded.
 *
 * Bytes and operations of one asset-bar at which orders fill: 32 bytes read (weight, 1/price, execution price, mark;
 * a list adds 8), shared by the scenarios of a block; for each of these 8 read and 8 written where its holdings lie,
 * and of float64 16 additions and products and two roundings, besides comparisons. Sums are added as integers. */
#pragma once
#include "cut.h"

#if BT_PLAIN
/* The ledger of the scenario that a lane of a warp keeps, of which every warp has all. */
struct Ledger {
    double cash, equity, peak, untick, limit;
    const bt_params *p;
    int id, told, keeps;  // a lane beyond the last scenario, or of one that has ended, keeps none
};
/* [S1] [S4] [S5] of a bar from its sums. */
struct Bar {
    double change, before, buys, sells, drag, after, worth, equity, peak;
    bool good, short_of_cash;
};
BT_FN Bar bt_judge(const Ledger &a, const Sums &sums, double year, bool trades) {
    const double tick = a.p->tick, rate = a.cash >= 0.0 ? a.p->cash_rate : a.p->debit_rate;
    const int64_t v0 = (int64_t)sums.v[0], v1 = (int64_t)sums.v[1];
    Bar b;
    b.change = rint(a.cash * (rate * year) * a.untick) * tick + 0.0;
    b.before = a.cash + b.change + 0.0;
    b.worth = (double)(int64_t)sums.v[3] * tick;
#if BT_TABLE
    b.buys = (double)((v1 + v0) / 2) * tick;
    b.sells = (double)((v1 - v0) / 2) * tick;
    b.drag = (double)(int64_t)sums.v[2] * tick;
    b.after = b.before - (b.buys - b.sells) - b.drag + 0.0;
    const double moved = b.buys + b.sells + b.drag;
#else
    b.after = b.before - (double)v0 * tick + 0.0;
    const double moved = (double)v1 * tick;
#endif
    b.equity = b.after + b.worth + 0.0;
    b.peak = bt_max(a.peak, b.equity);
    const bool inside = bt_inside(a.limit, b.before, fabs(b.before) + moved, b.worth, b.equity) & (sums.v[BT_BAD] == 0);
    b.short_of_cash = trades & (b.after < 0.0) & inside & (bool)a.keeps;
    b.good = !a.keeps | (inside & (!trades | (b.after >= 0.0)) & (b.equity > 0.0) & !(b.equity < (1.0 - a.p->max_drawdown) * b.peak));
    return b;
}
/* [S9] The row of a bar, and what the orders of bar `row` count. */
BT_FN void bt_write_bar(const bt_record &out, const Ledger &a, const Bar &b, const Sums &sums, int64_t t, int row) {
    const int64_t columns = out.K * out.T, at = (int64_t)a.id * out.T;
    double *money = out.money + at + t;
    money[MONEY_EQUITY * columns] = b.equity;
    money[MONEY_CASH * columns] = b.after;
#if BT_TABLE
    const double slip = (double)(int64_t)sums.v[4] * a.p->tick;
    const int fills = (int)(sums.v[5] & 0x1fffff), rounded = (int)(sums.v[5] >> 21 & 0x1fffff), missing = (int)(sums.v[5] >> 42);
    int32_t *count = out.counts + at;
    money[MONEY_LONG_VALUE * columns] = b.worth;
    money[MONEY_SHORT_VALUE * columns] = 0.0;
    money[MONEY_BUYS * columns] = b.buys;
    money[MONEY_SELLS * columns] = b.sells;
    money[MONEY_COMMISSION * columns] = b.drag - slip;
    money[MONEY_SLIPPAGE * columns] = slip;
    money[MONEY_FINANCING * columns] = b.change;
    money[MONEY_DIVIDENDS * columns] = money[MONEY_SETTLEMENTS * columns] = 0.0;
    count[COUNT_FILLS * columns + t] = fills;
    count[COUNT_CASH_CLIPPED * columns + t] = (int)(sums.v[7] & 0x1fffff);
    if (row == NEVER || a.told) return;
    count[COUNT_WORKING * columns + row] = fills + (int)(sums.v[7] >> 32);
    count[COUNT_ROUNDED_OUT * columns + row] += BT_MODE == BT_EXACT ? 0 : rounded;
    count[COUNT_NO_PRICE * columns + row] += missing;
#endif
}

/* Whether a lane may go through plain bars: whatever a bar brings, its scenarios and panels allow it. */
BT_FN bool bt_plain_lane(const Lane &lane) {
    const bt_rows &in = *lane.in;
    bool plain = lane.late && in.flags && (BT_NEAR ? in.K <= BT_TOGETHER : in.K == BT_TOGETHER) && !lane.out->positions && !in.half_spread.data;
    plain = plain && (BT_TABLE ? lane.out->counts != nullptr : !lane.out->counts) && (in.weights.kind == KIND_FLOAT32) == BT_WEIGHT32;
    for (int k = 0; k < in.K && plain; ++k) {
        const bt_params &p = *bt_slot(lane, k)->p;
        const int mode = in.none_whole ? BT_EXACT : p.rounding;
        plain = bt_lean(p) && p.impact == 0.0 && mode == BT_MODE;
    }
    return plain;
}
/* Whether no order works and no stop has been seen, so that the next bars may be plain; the bar whose orders wait. It
 * must be that of all scenarios: where one has formed its own, and none came of it, others may wait. */
BT_FN bool bt_plain_now(const Lane &lane, int &row) {
    row = NEVER;
    bool plain = true, alone = true;
    for (int k = 0; k < lane.in->K; ++k) {
        const Scenario &s = *bt_slot(lane, k);
        if (s.st.ended) continue;
        plain &= !s.waiting & !s.stop & (alone | (s.asked == row));
        alone = false;
        row = s.asked;
    }
    return plain;
}

/* Where the holdings of a row's list lie in the lane's columns, into `from`; false where some asset outside it is held. */
BT_STEP bool bt_find(Lane &lane, const int32_t *list, int count) {
    int32_t *from = BT_INT(lane, FROM);
    double found = 0, held = 0;
    BT_EACH(e, count) {
        const int j = bt_where(lane, list[e]);
        from[e] = j < 0 ? lane.A : j;
    }
    for (int k = 0; k < lane.in->K; ++k) {
        if (!bt_running(lane, k)) continue;
        const double *h = bt_held(lane, k);
        BT_EACH(e, count) found += from[e] < lane.A && h[from[e]] != 0.0 ? 1.0 : 0.0;
        BT_EACH(j, lane.A) held += h[j] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, found, held);
    return found == held;
}
/* Columns become those of a list in whose order the holdings lie already. Nobody reads the old ones any more. */
BT_STEP void bt_adopt(Lane &lane, const int32_t *list, int count) {
    int32_t *column = BT_INT(lane, COLUMN), *position = BT_INT(lane, POSITION);
    BT_EACH(e, count) {
        column[e] = list[e];
        position[list[e]] = e;
    }
    bt_take_lots(lane, count);
    lane.A = count;
    lane.dense = 0;
    bt_forget_rows(lane);
    bt_sync();
}
/* Holdings go where plain bars have them, none of the scenarios that are not there. */
BT_STEP void bt_enter_plain(const Lane &lane, double *hot, int stride) {
    for (int k = 0; k < (BT_NEAR ? BT_TOGETHER : 0); ++k) {
        const bool there = k < lane.in->K && bt_running(lane, k);
        BT_EACH(j, lane.A) hot[2 * k * stride + j] = there ? bt_held(lane, k)[j] : 0.0;
    }
    BT_EACH(k, BT_TOGETHER) hot[2 * k * stride + lane.A] = 0.0;
    bt_sync();
}
/* And back to where run.h has them, with no orders beside them. `listed` of them lie in that half of `hot`. */
BT_STEP void bt_leave_plain(Lane &lane, const double *hot, int stride, int listed, int row, const Ledger &a) {
    const int place = threadIdx.x & 31;
    bt_sync();
    for (int k = 0; k < lane.in->K; ++k) {
        if (!bt_running(lane, k)) continue;
        double *h = bt_held(lane, k), *o = bt_ordered(lane, k);
        BT_EACH(j, listed) h[j] = hot[2 * k * stride + j];
        BT_EACH(j, lane.stride) o[j] = 0.0;  // where holdings may have been: those of this member
    }
    if (threadIdx.x < 32 && place % BT_GROUP == 0 && a.keeps) {
        Scenario &s = *bt_slot(lane, place / BT_GROUP);
        s.st.cash = a.cash;
        s.st.peak = a.peak;
        s.equity = a.equity;
        s.asked = row;
        s.told = a.told;
    }
    bt_sync();
}

/* Plain bars from t on; the bar at which it ends, which is t1 or one for the general way. */
BT_FN int64_t bt_plain_bars(Lane &lane, int64_t t, int64_t t1) {
    const bt_rows in = *lane.in;
    const bt_record out = *lane.out;
    const int64_t N = lane.N, first = t;
    const int place = threadIdx.x & 31, mine = place / BT_GROUP, stride = (int)(BT_NEAR ? lane.call->near : lane.stride);
    double *hot = BT_NEAR ? bt_shared + BT_SHARED_DOUBLES : lane.hot;
    int row;
    if (!bt_plain_now(lane, row) || (BT_LIST && lane.A >= stride)) return t;
    const bool narrow = !BT_LIST && !lane.dense;
    if (narrow) bt_set_columns(lane, (int)N);
    Ledger a;
    const Scenario &own = *bt_slot(lane, mine < in.K ? mine : 0);
    a.keeps = mine < in.K && !own.st.ended;
    a.cash = own.st.cash, a.equity = own.equity, a.peak = own.st.peak, a.p = own.p, a.id = own.id;
    a.untick = 1.0 / a.p->tick, a.limit = own.limit, a.told = own.told;
    Terms s[BT_TOGETHER];
#pragma unroll
    for (int k = 0; k < BT_TOGETHER; ++k) {
        s[k] = bt_terms(*bt_slot(lane, k < in.K ? k : 0), N);
    }
    const int32_t *held = lane.dense ? nullptr : BT_INT(lane, COLUMN);  // the assets of the holdings
    int listed = lane.A, side = 0, flags = in.flags[t];
    double year = in.year[t];
    int turn = lane.turn;
    bool moved = false;  // they are no more in the order of the lane's columns
    bt_enter_plain(lane, hot, stride);
    while (t < t1 && !(flags & BT_EVENT) && !(BT_TABLE && in.off_count && in.off_bar[0] <= t)) {
        const int next = t + 1 < t1 ? in.flags[t + 1] : 0;
        const double next_year = t + 1 < t1 ? in.year[t + 1] : 0.0;
        const int then = side * stride, now = stride - then;
        double scale = 0.0;
        Rows r;
        Tally to[BT_TOGETHER] = {};
        r.m = (const double *)in.marks.data + t * N;
        r.list = held, r.count = listed;
        if (row == NEVER) {
            bt_value_all(r, s, hot, stride, then, to);
        } else {
            scale = a.keeps ? a.equity * (1.0 - a.p->cash_buffer) : 0.0;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) s[k].scale = bt_from(scale, k * BT_GROUP);
            r.w = (const bt_row_t *)in.weights.data + (row - in.lag) * N;
            r.u = in.inverse + row * N;
            r.F = (const double *)in.exec.data + t * N;
            if (BT_LIST) {
                r.list = in.list + in.list_start[row];
                r.count = (int)(in.list_start[row + 1] - in.list_start[row]);
                lane.turn = turn;
                if (!moved && !bt_find(lane, r.list, r.count)) break;
                turn = lane.turn;
                BT_EACH(k, BT_TOGETHER) hot[2 * k * stride + now + r.count] = 0.0;  // where the next row's new names come from
                r.from = moved ? in.from + in.list_start[row] : BT_INT(lane, FROM);
            }
            if ((in.flags[row] & BT_CLEAR) && !(flags & BT_GAP))
                bt_trade_all<false>(r, s, hot, stride, then, now, to);
            else
                bt_trade_all<true>(r, s, hot, stride, then, now, to);
        }
        uint64_t all[BT_VALUES * BT_TOGETHER];
#pragma unroll
        for (int k = 0; k < BT_TOGETHER; ++k) {
            to[k].sum[BT_BAD] = to[k].high >= s[k].most ? 1 : 0;
#pragma unroll
            for (int i = 0; i < BT_VALUES; ++i) all[k * BT_VALUES + i] = to[k].sum[i];
        }
        const uint64_t total = bt_block_sums<BT_VALUES * BT_TOGETHER>(turn, bt_warp_sums(all, place), place);
        const int step = BT_BATCH * bt_threads(), terms = (r.count + step - 1) / step * step;
        Sums sums;
#pragma unroll
        for (int i = 0; i < BT_VALUES; ++i) sums.v[i] = bt_from(total, mine * BT_GROUP + i * BT_FOURTH);
        bt_take_zeros(sums, terms * bt_ticks(0.0, a.p->tick * BT_MAGIC), row != NEVER);
        Bar bar = bt_judge(a, sums, year, row != NEVER);
        if (!__all_sync(0xffffffffu, bar.good)) {
            if (!__all_sync(0xffffffffu, bar.good | bar.short_of_cash)) break;
            lane.turn = turn;
#pragma unroll 1
            for (int k = 0; k < BT_TOGETHER; ++k) {
                if (!__shfl_sync(0xffffffffu, (int)bar.short_of_cash, k * BT_GROUP)) continue;
                double *h = hot + 2 * k * stride;
                const Sums cut = bt_clip_plain(lane, k, r, bt_from(scale, k * BT_GROUP), h + then, h + now, bt_from(bar.before, k * BT_GROUP));
                if (mine == k) sums = cut;
            }
            turn = lane.turn;
            bar = bt_judge(a, sums, year, true);
            if (!__all_sync(0xffffffffu, bar.good)) break;
        }
        a.cash = bar.after;
        a.equity = bar.equity;
        a.peak = bar.peak;
        if (threadIdx.x < 32 && place % BT_GROUP == 0 && a.keeps) bt_write_bar(out, a, bar, sums, t, row);
        a.told = 0;
        if (row != NEVER) side ^= 1;
        if (BT_LIST && row != NEVER) {
            moved = true;
            held = r.list;
            listed = r.count;
        }
        row = flags & BT_DUE ? (int)t : NEVER;
        flags = next;
        year = next_year;
        ++t;
    }
    lane.turn = turn;
    bt_leave_plain(lane, hot + side * stride, stride, listed, row, a);
    if (moved) bt_adopt(lane, held, listed);
#if BT_GENERAL
    if ((t > first || narrow) && row != NEVER) bt_read_weights<BT_FULL>(lane, row);
#else
    (void)narrow;
#endif
    return t;
}

#if !BT_GENERAL
/* What is held and ordered goes where the host reads it; orders go on waiting, but what they count is recorded. */
BT_STEP void bt_show(Lane &lane) {
    const bt_rows &in = *lane.in;
    int row;
    bt_plain_now(lane, row);
    for (int k = 0; k < in.K; ++k) {
        const Scenario &s = *bt_slot(lane, k);
        if (s.st.ended) continue;
        double *orders = lane.out->orders + (int64_t)s.id * lane.N, working = 0, rounded = 0, missing = 0;
        Terms terms = bt_terms(s, lane.N);
        terms.scale = s.equity * (1.0 - s.p->cash_buffer);
        bt_hand_over(lane, s);
        BT_EACH(j, row == NEVER ? 0 : lane.N) {
            const int at = bt_where(lane, (int)j);
            const bt_row_t *w = (const bt_row_t *)in.weights.data + (row - in.lag) * lane.N;
            const Aim aim = bt_aim<true>(terms, bt_double(w[j]), in.inverse[row * lane.N + j], at < 0 ? 0.0 : bt_held(lane, k)[at]);
            orders[j] = aim.q + 0.0;
            working += aim.q != 0.0 ? 1.0 : 0.0;
            rounded += aim.asked & (aim.q == 0.0) ? 1.0 : 0.0;
            missing += aim.missing ? 1.0 : 0.0;
        }
        bt_sum(lane.turn, working, rounded, missing);
        if (row == NEVER || !bt_first()) continue;
        Scenario &own = *bt_slot(lane, k);
        bt_count_orders(lane, own, row, (int)working, BT_MODE == BT_EXACT ? 0 : (int)rounded, (int)missing);
        own.told = 1;
    }
}
/* Moves a lane over the plain bars of a call; says so where it ends before. */
BT_FN void bt_advance_plain(const bt_launch *call, int64_t number) {
    Lane lane = bt_lane(call, number, nullptr, nullptr);
    Scenario own;
    bt_sync();
    if (!lane.begun) bt_begin<BT_FULL>(lane, own);
    bool running = false;
    for (int k = 0; k < lane.in->K; ++k) running |= bt_running(lane, k);
    int64_t t = lane.next > call->t0 ? lane.next : call->t0;
    if (!running)
        t = call->t1;
    else if (bt_plain_lane(lane) && t < call->t1)
        t = bt_plain_bars(lane, t, call->t1);
    lane.next = (int32_t)t;
    if (t == call->t1 && call->last) bt_show(lane);
    if (!bt_first()) return;
    if (t < call->t1) bt_add(lane.out->book, 1.0);  // as other lanes may at once
    for (int k = 0; k < lane.in->K; ++k) lane.out->state[bt_slot(lane, k)->id] = bt_slot(lane, k)->st;
    *(Kept *)lane.slots = lane;
}
#endif
#endif
