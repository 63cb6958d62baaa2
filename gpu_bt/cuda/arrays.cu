/* SPDX-License-Identifier: Apache-2.0 */
/* Panels that lie on the device, looked at and prepared there: what gpu_bt/data checks of arrays and
 * gpu_bt/engine/prepare.py derives of them, each in one pass. Kernels of rows have a block for each bar, whose
 * threads stride over the assets; those of columns a thread for each asset, since a mark and a silence follow from
 * the bar before. A panel without data is one that is not there; its cells are NaN. */
#include "team.h"

struct bt_call {
    BT_CALL
};

BT_FN double cell(const bt_panel &panel, int64_t at) {
    if (!panel.data) return 0.0 / 0.0;
    if (panel.kind == KIND_FLOAT64) return ((const double *)panel.data)[at];
    if (panel.kind == KIND_FLOAT32) return bt_double(((const float *)panel.data)[at]);
    return ((const uint8_t *)panel.data)[at];
}
BT_FN bool no(double x) { return x != x; }

#define BT_ROW(t, i) \
    const int64_t t = blockIdx.x, n = call->N; \
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
#define BT_COLUMN(i) \
    const int64_t n = call->N, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; \
    if (i < n)

/* Of each row of `a`: cells that are NaN, that lie in [skip_low, skip_high], others that are bad, and n less the first of
 * these. Bad is what lies outside [low, high], with `alone` what has a number where `b` and `c` have none. */
extern "C" __global__ void bt_look(const bt_call *call) {
    int missing = 0, skipped = 0, bad = 0, first = 0;
    BT_ROW(t, i) {
        const int64_t at = t * n + i;
        const double x = cell(call->a, at);
        if (no(x)) ++missing;
        else if (x >= call->skip_low && x <= call->skip_high) ++skipped;
        else if (call->alone ? no(cell(call->b, at)) && no(cell(call->c, at)) : x < call->low || x > call->high) {
            if (!bad++) first = (int)(n - i);
        }
    }
    int32_t *row = (int32_t *)call->out + 4 * t;
    if (missing) atomicAdd(row, missing);
    if (skipped) atomicAdd(row + 1, skipped);
    if (bad) atomicAdd(row + 2, bad);
    if (bad) atomicMax(row + 3, first);
}

/* The cells of `a` outside [low, high], from place next[t] on for row t, in any order. */
extern "C" __global__ void bt_list(const bt_call *call) {
    BT_ROW(t, i) {
        const double x = cell(call->a, t * n + i);
        if (x < call->low || x > call->high) {
            const unsigned long long place = atomicAdd((unsigned long long *)call->next + t, 1ull);
            ((int64_t *)call->out)[place] = t * n + i;
        }
    }
}

/* `bytes` of each cell of rows times columns, or where `pairs` of rows and columns one by one; a block for each row. One
 * below 0 is NaN. */
extern "C" __global__ void bt_pick(const bt_call *call) {
    const int64_t r = blockIdx.x, count = call->pairs ? 1 : call->count;
    for (int64_t k = threadIdx.x; k < count; k += blockDim.x) {
        const int64_t row = ((const int64_t *)call->rows)[r], to = (r * count + k) * call->bytes;
        const int64_t from = (row * call->N + ((const int64_t *)call->columns)[call->pairs ? r : k]) * call->bytes;
        for (int64_t b = 0; b < call->bytes; ++b)
            ((uint8_t *)call->out)[to + b] = row < 0 ? 0xff : ((const uint8_t *)call->a.data)[from + b];
    }
}

/* `a` with `value` for what lies in [skip_low, skip_high]; for NaN where these are NaN. */
extern "C" __global__ void bt_replace(const bt_call *call) {
    BT_ROW(t, i) {
        const int64_t at = t * n + i;
        const double x = cell(call->a, at);
        const bool gone = no(call->skip_low) ? no(x) : x >= call->skip_low && x <= call->skip_high;
        if (call->a.kind == KIND_FLOAT64) ((double *)call->out)[at] = gone ? call->value : ((const double *)call->a.data)[at];
        else ((float *)call->out)[at] = gone ? (float)call->value : ((const float *)call->a.data)[at];
    }
}

/* Rows from `from` on of `a`, per lot. */
extern "C" __global__ void bt_scale(const bt_call *call) {
    BT_ROW(t, i) {
        ((double *)call->out)[t * n + i] = cell(call->a, (call->from + t) * n + i) * ((const double *)call->unit)[i];
    }
}

/* [S5] Rows [from, T) of the marks per lot: close `a`, else open `b`, else the last one divided by the split `d`. */
extern "C" __global__ void bt_marks(const bt_call *call) {
    BT_COLUMN(i) {
        const double unit = ((const double *)call->unit)[i];
        double last = ((const double *)call->before)[i];
        for (int64_t t = 0; t < call->T; ++t) {
            const int64_t at = t * n + i;
            const double split = call->d.data ? cell(call->d, at) : 1.0;
            if (split != 1.0) last = last / split;
            double mark = cell(call->a, at) * unit;
            if (no(mark)) mark = cell(call->b, at) * unit;
            last = no(mark) ? last : mark;
            if (t >= call->from) ((double *)call->out)[at - call->from * n] = last;
        }
    }
}

/* [S3] The cells at which the count-th new date (`rows`) without a number in `a` and `b` comes, as many as have room;
 * next[0] counts them all. `before`: such dates before the first bar. */
extern "C" __global__ void bt_silent(const bt_call *call) {
    BT_COLUMN(i) {
        int64_t run = ((const int64_t *)call->before)[i];
        for (int64_t t = 0; t < call->T; ++t) {
            const int64_t fresh = ((const int64_t *)call->rows)[t];
            run = no(cell(call->a, t * n + i)) && no(cell(call->b, t * n + i)) ? run + fresh : 0;
            if (run == call->count && fresh) {
                const unsigned long long place = atomicAdd((unsigned long long *)call->next, 1ull);
                if ((int64_t)place < call->room) ((int64_t *)call->out)[place] = t * n + i;
            }
        }
    }
}

/* The assets of which gpu_bt/data/sanity.py may have something to say, and some others: bounds are a little wider than its
 * own, so that rounding leaves none out. a to e: close, open, high, low, dividend. */
extern "C" __global__ void bt_suspect(const bt_call *call) {
    const double near = call->near, leap = call->leap, jump = call->jump;
    BT_ROW(t, i) {
        const int64_t at = t * n + i;
        const double c = cell(call->a, at), o = cell(call->b, at), h = cell(call->c, at), l = cell(call->d, at);
        bool odd = h < l * near || h < c * near || h < o * near || c < l * near || o < l * near;
        odd = odd || c < o * leap || o < c * leap;
        for (int64_t back = 1; back <= 2 && back <= t; ++back) {
            const double p = cell(call->a, at - back * n);
            odd = odd || c < p * jump || p < c * jump || (back == 1 && p * near < cell(call->e, at));
        }
        if (odd) ((uint8_t *)call->out)[i] = 1;
    }
}

/* And those that move from open to close by `value` and more, in the mean of the bars `rows`. */
extern "C" __global__ void bt_apart(const bt_call *call) {
    BT_COLUMN(i) {
        double sum = 0.0;
        int known = 0;
        for (int64_t k = 0; k < call->count; ++k) {
            const int64_t at = ((const int64_t *)call->rows)[k] * n + i;
            const double move = log(cell(call->a, at)) - log(cell(call->b, at));
            if (!no(move)) sum += move, ++known;
        }
        if (known && (sum > call->value * known || -sum > call->value * known)) ((uint8_t *)call->out)[i] = 1;
    }
}
