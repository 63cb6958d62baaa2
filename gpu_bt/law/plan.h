/* SPDX-License-Identifier: Apache-2.0 */
/* What plain bars read beside the panels, made once on a device: 1/P, what is known of each bar, and the lists of the
 * assets of rows that name few. A lane stands for all that read the same; a block takes one bar after another. */
#pragma once
#include "plain.h"

#if BT_PLAN
/* [S8] u = 1/P, 0 without a price, and 0 from an asset's delisting on: its targets are NaN from there. */
BT_STEP void bt_invert(const bt_rows &in, int64_t t) {
    const double *price = (const double *)in.close.data + t * in.N;
    double *u = in.inverse + t * in.N;
    BT_EACH(i, in.N) u[i] = price[i] > 0.0 ? 1.0 / price[i] : 0.0;
    bt_sync();
    BT_EACH(e, in.off_count)
        if (in.off_bar[e] <= t) u[in.off_asset[e]] = 0.0;
}

/* The bar before t that decides, from t0 on; t0 - 1 for none. */
BT_FN int64_t bt_due_before(const bt_rows &in, int64_t t, int64_t t0) {
    do --t;
    while (t >= t0 && !in.due[t]);
    return t;
}
BT_FN double bt_target_of(const bt_rows &in, int64_t t, int64_t i) {
    return bt_double(((const bt_row_t *)in.weights.data)[(t - in.lag) * in.N + i]);
}
/* Whether the list of a bar has an asset: it is named by its row or by that before, at bar `last`. */
BT_FN bool bt_named(const bt_rows &in, int64_t t, int64_t last, int64_t t0, int64_t i) {
    return (t >= t0 && bt_target_of(in, t, i) != 0.0) || (last >= t0 && bt_target_of(in, last, i) != 0.0);
}

/* A bar's flags, and how many assets its list has: into list_start[t + 1], -1 where some asset has no target and so may be
 * held without being named. */
BT_STEP void bt_look(const bt_rows &in, int64_t t, int64_t t0, int &turn) {
    double names = 0, unclear = 0, none = 0;
    if (in.due[t]) {
        const int64_t last = bt_due_before(in, t, t0);
        BT_EACH(i, in.N) {
            const double w = bt_target_of(in, t, i);
            none += w == w ? 0.0 : 1.0;
            unclear += w == w && (w == 0.0 || in.inverse[t * in.N + i] != 0.0) ? 0.0 : 1.0;
            names += bt_named(in, t, last, t0, i) ? 1.0 : 0.0;
        }
    }
    bt_sum(turn, names, unclear, none);
    if (!bt_first()) return;
    in.list_start[t + 1] = none > 0.0 ? -1 : (int64_t)names;
    in.flags[t] = (in.due[t] ? BT_DUE : 0) | (unclear == 0.0 ? BT_CLEAR : 0) | (in.exec_gap[t] ? BT_GAP : 0) |
                  (in.event_start[t] != in.event_start[t + 1] ? BT_EVENT : 0);
}

/* The list of a bar, and where in the list of the one before each of its assets is; that one's length for none. */
BT_STEP void bt_enlist(const bt_rows &in, int64_t t, int64_t t0, int &turn) {
    if (!in.due[t]) return;
    const int64_t last = bt_due_before(in, t, t0), other = bt_due_before(in, last, t0);
    const int place = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    const unsigned before = (1u << place) - 1u;
    const int absent = last < t0 ? 0 : (int)(in.list_start[last + 1] - in.list_start[last]);
    int32_t *list = in.list + in.list_start[t], *from = in.from + in.list_start[t];
    int here = 0, there = 0;
    for (int64_t start = 0; start < in.N; start += blockDim.x) {
        const int64_t i = start + threadIdx.x;
        const bool on = i < in.N && bt_named(in, t, last, t0, i), was = i < in.N && last >= t0 && bt_named(in, last, other, t0, i);
        const unsigned now = __ballot_sync(0xffffffffu, on), then = __ballot_sync(0xffffffffu, was);
        double *counts = bt_shared + (turn ^= 1) * BT_WARPS * BT_SUMS;
        if (place == 0) counts[2 * warp] = __popc(now), counts[2 * warp + 1] = __popc(then);
        __syncthreads();
        int now_before = 0, then_before = 0, now_all = 0, then_all = 0;
        for (int w = 0; w < warps; ++w) {
            if (w < warp) now_before += (int)counts[2 * w], then_before += (int)counts[2 * w + 1];
            now_all += (int)counts[2 * w], then_all += (int)counts[2 * w + 1];
        }
        if (on) {
            const int e = here + now_before + __popc(now & before);
            list[e] = (int)i;
            from[e] = was ? there + then_before + __popc(then & before) : absent;
        }
        here += now_all;
        there += then_all;
    }
}

/* One of these for bars [t0, t1) of every lane of a call: 1/P, then counts, then lists. */
BT_STEP void bt_prepare(const bt_launch *call) {
    int turn = 0;
    for (int64_t lane = 0; lane < call->lanes; ++lane) {
        const bt_rows &in = call->rows[lane];
        for (int64_t t = call->t0 + blockIdx.x; t < call->t1; t += gridDim.x) {
            if (call->last == 0)
                bt_invert(in, t);
            else if (call->last == 1)
                bt_look(in, t, call->t0, turn);
            else
                bt_enlist(in, t, call->t0, turn);
        }
    }
}
#endif
