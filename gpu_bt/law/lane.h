/* SPDX-License-Identifier: Apache-2.0 */
/* A lane: scenarios that read the same rows of the same panels, carried through the bars by one team.
 *
 * Letters: T bars, N assets, A active assets. Holdings and orders of a scenario are compact over the active columns
 * (dense: all N); an asset with no holding, no order and no target adds exact zeros to every sum. A row of a panel is
 * fetched over the active columns when it is first asked for, and then serves every scenario of the lane. */
#pragma once
#include "team.h"

/* One scenario: its state, and its record of the bar at hand. */
struct Scenario {
    bt_state st;
    double equity, longs, shorts;  // [S5] of the last mark
    double row[MONEY_COUNT];
    int32_t count[COUNT_COUNT];
    int32_t waiting;              // how many orders are not 0
    int32_t stop;                 // [S5d] has been seen
    int32_t quick;                // its orders may wait for the prices at which they fill (pass.h)
    int32_t asked;                // they do: those of the row of bar t are formed by bt_pass or bt_place; else -1
    int32_t told;                 // what they count is in the record
    int32_t stale;                // what stands in `o` are no orders
    int32_t lacks;                // they would all fill whole if there were cash
    int32_t saved;                // the holdings before this bar are in the buffer `old`
    int32_t open;                 // the first half of a bar is over: 1; 2 where it was a LEDGER_OVERFLOW
    int32_t called;               // [S5m] has made the orders of this bar
    int32_t conditions;           // [S4l] some order has a limit or stop
    int32_t fills_at, cuts_at;    // how long the logs were before this bar
    // what follows from the parameters
    int32_t id, margin, keeps, same_close;
    int32_t own;  // the first scenario of the lane that makes the same book, which is kept there (books.h)
    const bt_params *p;
    double magic, limit;
    double *h, *o;  // holdings and orders over the active columns, in lots
};
static_assert(sizeof(struct Scenario) <= BT_SLOT, "a slot holds a scenario");

struct Kept { /* of a lane from call to call */
    int32_t begun, A, dense;
    int32_t late;  // a row of weights is read after the bar's fills; every scenario is quick
    int32_t next;  // the bar that comes next
    int32_t seen_target;  // of the last row read: some asset has a target, 1; 2 where scenarios have formed it themselves
    int32_t clear;        // every active one has, with a price if not 0
};

struct Lane : Kept {
    const bt_launch *call;
    const bt_rows *in;
    const bt_record *out;
    int64_t N, stride, number;
    int turn;    // of bt_sum
    Crew *crew;  // who helps, if somebody does
    // the arena, see bt_lane; hot: holdings and orders of every scenario; classes: of the buy-back
    char *slots;
    double *doubles, *hot, *classes;
    int32_t *ints;
    uint8_t *bytes;
    const double *at[BT_FETCHED];
    int32_t seen[BT_FETCHED];  // the bar that a buffer or its pointer holds, -1 for none
};

#define BT_OWN(lane, NAME) ((lane).doubles + (int64_t)BUFFER_DOUBLE_##NAME * (lane).stride)
#define BT_INT(lane, NAME) ((lane).ints + (int64_t)BUFFER_INT32_T_##NAME * (lane).stride)
#define BT_BYTE(lane, NAME) ((lane).bytes + (int64_t)BUFFER_UINT8_T_##NAME * (lane).stride)

/* The column of an asset, -1 for none. What stands for an asset that is not active may be anything. */
BT_FN int bt_where(const Lane &lane, int i) {
    const int j = BT_INT(lane, POSITION)[i];
    return j < lane.A && BT_INT(lane, COLUMN)[j] == i ? j : -1;
}
BT_FN int bt_asset(const Lane &lane, int64_t j) { return lane.dense ? (int)j : BT_INT(lane, COLUMN)[j]; }
BT_FN double bt_cell(const bt_panel &panel, int64_t at) {
    if (panel.kind == KIND_FLOAT64) return ((const double *)panel.data)[at];
    if (panel.kind == KIND_FLOAT32) return bt_double(((const float *)panel.data)[at]);
    return ((const uint8_t *)panel.data)[at];
}

/* A row, or its cells at the columns, as doubles. */
template <class T> BT_FN void bt_widen(int64_t n, const T *row, const int32_t *column, double *out) {
    if (column) {
        BT_SIMD()
        BT_EACH(j, n) out[j] = bt_double(row[column[j]]);
    } else {
        BT_SIMD()
        BT_EACH(j, n) out[j] = bt_double(row[j]);
    }
}
/* Bar t of a panel over the active columns. */
BT_STEP const double *bt_fetch(Lane &lane, int buffer, const bt_panel &panel, int64_t t) {
    if (lane.seen[buffer] == t) return lane.at[buffer];
    double *own = lane.doubles + buffer * lane.stride;
    const int32_t *column = lane.dense ? nullptr : BT_INT(lane, COLUMN);
    lane.seen[buffer] = (int32_t)t;
    lane.at[buffer] = own;
    if (panel.kind == KIND_FLOAT64) {
        const double *row = (const double *)panel.data + t * lane.N;
        if (lane.dense)
            lane.at[buffer] = row;
        else
            bt_widen(lane.A, row, column, own);
    } else if (panel.kind == KIND_FLOAT32) {
        bt_widen(lane.A, (const float *)panel.data + t * lane.N, column, own);
    } else {
        bt_widen(lane.A, (const uint8_t *)panel.data + t * lane.N, column, own);
    }
    return lane.at[buffer];
}
#define BT_ROW(lane, NAME, panel, t) bt_fetch(lane, BUFFER_DOUBLE_##NAME, panel, t)
#define BT_MARKS(lane, t) BT_ROW(lane, MARK, (lane).in->marks, t)

/* A row made from others: `made` marks it as bar t's. */
#define BT_IS(lane, NAME, t) ((lane).seen[BUFFER_DOUBLE_##NAME] == (t))
#define BT_MADE(lane, NAME, t) ((lane).seen[BUFFER_DOUBLE_##NAME] = (int32_t)(t), (lane).at[BUFFER_DOUBLE_##NAME] = BT_OWN(lane, NAME))

/* F of [S4], 0 where there is none. */
BT_STEP const double *bt_prices(Lane &lane, int64_t t) {
    if (BT_IS(lane, EXEC, t)) return lane.at[BUFFER_DOUBLE_EXEC];
    const double *row = BT_ROW(lane, EXEC, lane.in->exec, t);
    if (!lane.in->exec_gap[t]) return row;
    double *own = BT_OWN(lane, EXEC);
    BT_SIMD()
    BT_EACH(j, lane.A) own[j] = row[j] == row[j] ? row[j] : 0.0;
    return lane.at[BUFFER_DOUBLE_EXEC] = own;
}
/* [S8] u = 1/P, 0 without a price: an exit needs none. */
BT_STEP const double *bt_inverse(Lane &lane, int64_t t) {
    if (BT_IS(lane, INVERSE_PRICE, t)) return lane.at[BUFFER_DOUBLE_INVERSE_PRICE];
    const double *row = BT_ROW(lane, CLOSE, lane.in->close, t);
    double *own = BT_OWN(lane, INVERSE_PRICE);
    BT_SIMD()
    BT_EACH(j, lane.A) own[j] = row[j] > 0.0 ? 1.0 / row[j] : 0.0;
    return BT_MADE(lane, INVERSE_PRICE, t);
}
/* [S4] 2. 1/sqrt(volume), 0 without volume: nothing fills there where impact is on. */
BT_STEP const double *bt_inverse_root(Lane &lane, int64_t t) {
    if (BT_IS(lane, INVERSE_ROOT, t)) return lane.at[BUFFER_DOUBLE_INVERSE_ROOT];
    const double *row = BT_ROW(lane, VOLUME, lane.in->volume, t);
    double *own = BT_OWN(lane, INVERSE_ROOT);
    BT_SIMD()
    BT_EACH(j, lane.A) own[j] = row[j] > 0.0 ? 1.0 / sqrt(row[j]) : 0.0;
    return BT_MADE(lane, INVERSE_ROOT, t);
}
/* [S4] 3. The ties of the active assets. */
BT_STEP void bt_ties(Lane &lane) {
    if (BT_IS(lane, TIE, 0)) return;
    double *tie = BT_OWN(lane, TIE);
    BT_EACH(j, lane.A) tie[j] = lane.in->tie[bt_asset(lane, j)];
    BT_MADE(lane, TIE, 0);
}
/* The marks after bar t - 1; at bar 0 those that the market carries over, else 0. */
BT_STEP const double *bt_last(Lane &lane, int64_t t) {
    if (t) return BT_ROW(lane, LAST, lane.in->marks, t - 1);
    if (!lane.in->opening) return BT_OWN(lane, ZERO);
    const bt_panel opening = {lane.in->opening, KIND_FLOAT64};
    const double *row = BT_ROW(lane, LAST, opening, 0);
    lane.seen[BUFFER_DOUBLE_LAST] = -1;  // not those of bar 0
    return row;
}
/* The mark before [S5] of bar t: the last one, divided by a split of this bar. */
BT_STEP const double *bt_carried(Lane &lane, int64_t t) {
    if (BT_IS(lane, CARRIED, t)) return lane.at[BUFFER_DOUBLE_CARRIED];
    const double *last = bt_last(lane, t);
    if (!lane.in->split_bar[t]) return last;
    const double *ratio = BT_ROW(lane, SPLIT, lane.in->split, t);
    double *own = BT_OWN(lane, CARRIED);
    BT_SIMD()
    BT_EACH(j, lane.A) own[j] = ratio[j] != 1.0 ? last[j] / ratio[j] : last[j];
    return BT_MADE(lane, CARRIED, t);
}

BT_FN void bt_forget_rows(Lane &lane) {
    for (int b = 0; b < BT_FETCHED; ++b) lane.seen[b] = -1;
}

/* The arena of a lane, in this order: a slot for Kept and one for each scenario, the buy-back's classes, rows of doubles,
 * holdings and orders, rows of ints, rows of bytes; then what books need. `shared` is where holdings and orders live, null for the arena. */
BT_FN Lane bt_lane(const bt_launch *call, int64_t number, double *shared, Crew *crew) {
    const bt_record *out = call->record;
    Lane lane;
    lane.call = call;
    lane.in = call->rows + number;
    lane.out = out;
    lane.number = number;
    lane.N = lane.in->N;
    lane.stride = out->stride;
    lane.turn = 0;
    lane.crew = crew;
    lane.slots = out->arena + number * out->lane_bytes;
    lane.classes = (double *)(lane.slots + (lane.in->K + 1) * BT_SLOT);
    lane.doubles = lane.classes + 2 * BT_CLASSES;
    lane.hot = lane.doubles + BUFFER_DOUBLE_COUNT * lane.stride;
    lane.ints = (int32_t *)(lane.hot + 2 * lane.in->K * lane.stride);
    lane.bytes = (uint8_t *)(lane.ints + BUFFER_INT32_T_COUNT * lane.stride);
    if (shared) lane.hot = shared;
    static_cast<Kept &>(lane) = *(const Kept *)lane.slots;
    bt_forget_rows(lane);
    return lane;
}
/* The holdings before this bar, to which a LEDGER_OVERFLOW goes back. */
BT_STEP void bt_keep_old(Lane &lane, Scenario &s) {
    if (s.saved) return;
    double *old = BT_OWN(lane, OLD);
    BT_SIMD()
    BT_EACH(j, lane.A) old[j] = s.h[j];
    s.saved = 1;
}

/* Scenario k at hand: a device's threads each keep a copy, `own`, and the first puts it back; the host works on the slot. */
BT_FN Scenario *bt_slot(const Lane &lane, int k) { return (Scenario *)(lane.slots + (k + 1) * BT_SLOT); }
#ifdef __CUDACC__
BT_FN Scenario &bt_load(const Lane &lane, Scenario &own, int k) {
    own = *bt_slot(lane, k);
    own.h = lane.hot + 2 * k * lane.stride;
    own.o = own.h + lane.stride;
    return own;
}
BT_FN void bt_store(const Lane &lane, const Scenario &s, int k) {
    bt_sync();  // the others have loaded what is overwritten
    if (bt_first()) *bt_slot(lane, k) = s;
    bt_sync();
}
#else
BT_FN Scenario &bt_load(const Lane &lane, Scenario &, int k) { return *bt_slot(lane, k); }
BT_FN void bt_store(const Lane &, const Scenario &, int) {}
#endif
BT_FN bool bt_running(const Lane &lane, int k) { return !bt_slot(lane, k)->st.ended; }
/* Where holdings and orders of scenario k lie; those of a late lane change places. */
#ifdef __CUDACC__
BT_FN double *bt_held(const Lane &lane, int k) { return lane.hot + 2 * k * lane.stride; }
BT_FN double *bt_ordered(const Lane &lane, int k) { return bt_held(lane, k) + lane.stride; }
BT_FN bool bt_swaps(const Lane &, int) { return false; }
#else
BT_FN double *bt_held(const Lane &lane, int k) { return bt_slot(lane, k)->h; }
BT_FN double *bt_ordered(const Lane &lane, int k) { return bt_slot(lane, k)->o; }
BT_FN bool bt_swaps(const Lane &lane, int k) { return lane.late && bt_slot(lane, k)->waiting == 0; }
#endif
BT_FN void bt_swap(Scenario &s) {
    double *h = s.h;
    s.h = s.o;
    s.o = h;
    s.stale = 1;
}

/* Part of an order that did not fill, into the log of cuts; counts are formed by sums. */
BT_STEP void bt_cut(Lane &lane, const Scenario &s, int64_t t, int code, int64_t i, double lots) {
    const long long at = lane.number * lane.out->log_room + bt_take(&lane.out->logged[2 * lane.number + 1]);
    const bt_fill cut = {s.id, (int32_t)t, (int32_t)i, code, bt_shares(lots, lane.in->unit[i]), 0.0, 0.0, 0.0, 0.0};
    lane.out->cuts[at] = cut;
}
