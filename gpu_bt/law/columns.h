/* SPDX-License-Identifier: Apache-2.0 */
/* Which assets are active: the columns of a lane, and the row of weights that it reads. */
#pragma once
#include "lane.h"

/* With more assets active than this, whole rows are cheaper than picked ones, which all scenarios of a lane share. */
BT_FN double bt_many(const Lane &lane) {
#ifdef __CUDACC__ /* where plain bars want lists */
    return 0.5 * (double)lane.N;
#else
    return 0.5 * (double)(lane.N * lane.in->K) / (double)(lane.in->K + 3);
#endif
}

/* The lots of the first n columns; where all assets are alike, those of any columns are. */
BT_STEP void bt_take_lots(Lane &lane, int n) {
    if (lane.in->even) return;
    double *unit = BT_OWN(lane, UNIT), *whole = BT_OWN(lane, WHOLE);
    const int32_t *column = BT_INT(lane, COLUMN);
    BT_EACH(j, n) {
        unit[j] = lane.in->unit[column[j]];
        whole[j] = lane.in->whole[column[j]];
    }
}
/* Move holdings and orders to the `n` columns of `fresh`, or to all columns where those are many. */
BT_STEP void bt_set_columns(Lane &lane, int n) {
    const int to_dense = n > bt_many(lane), now = to_dense ? (int)lane.N : n;
    int32_t *column = BT_INT(lane, COLUMN), *fresh = BT_INT(lane, FRESH), *from = BT_INT(lane, FROM);
    int32_t *position = BT_INT(lane, POSITION);
    double *scratch = BT_OWN(lane, SCRATCH);
    BT_EACH(j, now) {
        const int i = to_dense ? (int)j : fresh[j], at = lane.dense ? i : bt_where(lane, i);
        from[j] = at < 0 ? lane.A : at;
    }
    for (int k = 0; k < lane.in->K; ++k) {
        if (!bt_running(lane, k)) continue;
        const bool swaps = bt_swaps(lane, k);
        for (int side = 0; side < 2 - swaps; ++side) {
            double *x = side ? bt_ordered(lane, k) : bt_held(lane, k), *to = swaps ? bt_ordered(lane, k) : scratch;
            if (bt_first()) x[lane.A] = 0.0;  // where a column comes from that was not active
            bt_sync();
            BT_SIMD()
            BT_EACH(j, now) to[j] = x[from[j]];
            if (swaps) break;
            bt_sync();
            BT_SIMD()
            BT_EACH(j, now) x[j] = scratch[j];
        }
        if (swaps) bt_swap(*bt_slot(lane, k));
    }  // some scenario runs, so all have read what follows from columns and positions
    BT_EACH(j, now) {
        const int i = to_dense ? (int)j : fresh[j];
        column[j] = i;
        position[i] = (int)j;
    }
    bt_take_lots(lane, now);
    lane.dense = to_dense;
    lane.A = now;
    bt_forget_rows(lane);
    bt_sync();
}

/* Make the assets of `want` active, besides those that hold or wait. */
BT_STEP void bt_recolumn(Lane &lane) {
    const int64_t N = lane.N;
    uint8_t *want = BT_BYTE(lane, WANT);
    double *busy = BT_OWN(lane, SCRATCH);
    const int32_t *column = BT_INT(lane, COLUMN), *fresh = BT_INT(lane, FRESH);
    BT_SIMD()
    BT_EACH(j, lane.A) busy[j] = 0.0;
    for (int k = 0; k < lane.in->K; ++k) {
        if (!bt_running(lane, k)) continue;
        const double *h = bt_held(lane, k), *o = bt_swaps(lane, k) ? BT_OWN(lane, ZERO) : bt_ordered(lane, k);
        BT_SIMD()
        BT_EACH(j, lane.A) busy[j] += fabs(h[j]) + fabs(o[j]);
    }
    bt_sync();
    BT_EACH(j, lane.A) want[bt_asset(lane, j)] |= busy[j] != 0.0;
    bt_sync();
    const int n = bt_pack((int)N, want, BT_INT(lane, FRESH), lane.turn);
    bt_sync();
    if (lane.dense && n > bt_many(lane)) return;
    if (!lane.dense && n == lane.A) {
        bool differs = false;
        BT_EACH(j, n) differs |= fresh[j] != column[j];
        if (!bt_any(differs)) return;
    }
    bt_set_columns(lane, n);
}

/* [S3] No target from an asset's delisting on. */
BT_STEP void bt_strike(const Lane &lane, int64_t t, double *row) {
    bt_sync();
    BT_EACH(e, lane.in->off_count)
        if (lane.in->off_bar[e] <= t) row[lane.in->off_asset[e]] = nan("");
    bt_sync();
}

/* How many of a row's assets have a target, one other than 0, none that could become an order; u is made beside it. */
struct Named {
    double any, names, unclear;
    BT_FN_MEMBER void operator+=(const Named &x) { any += x.any, names += x.names, unclear += x.unclear; }
};
BT_STEP Named bt_name(const double *row, const double *price, double *u, int64_t from, int64_t to) {
    double any = 0, names = 0, unclear = 0;
    BT_SIMD(reduction(+ : any, names, unclear))
    BT_RANGE(j, from, to) {
        const bool priced = price[j] > 0.0, has = row[j] == row[j], moves = has & (row[j] != 0.0);
        u[j] = priced ? 1.0 / price[j] : 0.0;
        any += has ? 1.0 : 0.0;
        names += moves ? 1.0 : 0.0;
        unclear += !has | (moves & !priced) ? 1.0 : 0.0;
    }
    return {any, names, unclear};
}
/* [S6] `row`, over the active columns, is what bar t decides from; makes [S8] u in the same pass. Returns how many targets
 * are not 0. */
BT_STEP double bt_use_row(Lane &lane, int64_t t, const double *row) {
    const double *price = BT_ROW(lane, CLOSE, lane.in->close, t);
    double *u = BT_OWN(lane, INVERSE_PRICE);
    Named sum = bt_over(lane.crew, lane.A, [=](int64_t from, int64_t to) { return bt_name(row, price, u, from, to); });
    BT_MADE(lane, INVERSE_PRICE, t);
    bt_sum(lane.turn, sum.any, sum.names, sum.unclear);
    lane.at[BUFFER_DOUBLE_WEIGHT] = row;
    lane.seen_target = sum.any > 0.0;
    lane.clear = sum.unclear == 0.0;
    return sum.names;
}

/* [S6] outside="close": targets of 0 beside the universe, in a row of all N assets. What they replace is kept in `away`: 1, a
 * target or direct order; 2, neither, which counts where something is held or waits. */
BT_STEP void bt_leave_universe(Lane &lane, int64_t t, double *row, const double *lots) {
    double *away = BT_OWN(lane, AWAY);
    BT_EACH(i, lane.N) {
        const bool out = bt_cell(lane.in->universe, t * lane.N + i) == 0.0;
        const bool asked = row[i] == row[i] || (lots && lots[i] == lots[i]);
        away[i] = !out || row[i] == 0.0 ? 0.0 : asked ? 1.0 : 2.0;
        row[i] = out ? 0.0 : row[i];
    }
    bt_strike(lane, t, away);
}

/* [S6] The weights row read at bar t: NaN from an asset's delisting on; its names become active. */
template <bool FULL> BT_STEP void bt_read_row(Lane &lane, int64_t t) {
    const bt_rows &in = *lane.in;
    const int64_t N = lane.N, source = (t - in.lag) * N;
    uint8_t *want = BT_BYTE(lane, WANT);
    double *full = BT_OWN(lane, FULL), *weight = BT_OWN(lane, WEIGHT);
    const double *row = full;
    const bool off = in.off_count && in.off_bar[0] <= t, closes = FULL && in.closes;
    if (closes && (t < in.lag || in.groups))
        BT_EACH(i, N) full[i] = nan("");
    else if (in.weights.kind == KIND_FLOAT32)
        bt_widen(N, (const float *)in.weights.data + source, (const int32_t *)nullptr, full);
    else if (off || closes)
        bt_widen(N, (const double *)in.weights.data + source, (const int32_t *)nullptr, full);
    else
        row = (const double *)in.weights.data + source;
    if (off) bt_strike(lane, t, full);
    if (closes) bt_leave_universe(lane, t, full, nullptr);
    if (lane.dense && 2.0 * bt_use_row(lane, t, row) > bt_many(lane)) return;  // names of two rows are active
    double any = 0;
    BT_SIMD(reduction(+ : any))
    BT_EACH(i, N) {
        any += row[i] == row[i] ? 1.0 : 0.0;
        want[i] = (row[i] > 0.0) | (row[i] < 0.0);
    }
    bt_sum(lane.turn, any);
    bt_recolumn(lane);
    if (!lane.dense) bt_widen(lane.A, row, BT_INT(lane, COLUMN), weight);
    bt_use_row(lane, t, lane.dense ? row : weight);
    lane.seen_target = any > 0.0;  // of 0 for an asset that is not active
}
