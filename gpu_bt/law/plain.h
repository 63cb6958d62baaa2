/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of plain bars on a device: the one-pass bar (pass.h) for all scenarios of a block, bar after bar, with everything in
 * registers but the holdings. A bar is plain where nothing happens but fills and marks; the first that is not is left to
 * run.h, with nothing changed.
 *
 * One loop over the assets and one barrier a bar. A holding after the fill goes to the other half of a scenario's shared
 * memory, and the halves change places once the bar is good. Loads of the next assets are under way while these are worked
 * on. Every warp keeps every ledger, scenario k on its k-th group of lanes, so that what is done once a bar is done once a
 * warp for all of them. Sums are integers of ticks, reduced in transposed order: of V values half change hands at each
 * step, so that lane group v ends with sum v.
 *
 * Where rows of weights name few assets, a bar works on a list: the names of its row and of the row before. Holdings lie
 * in the order of the list, and move to that of the next one as they are traded.
 *
 * Bytes and operations of one asset-bar: 32 read (weight, 1/price, execution price, mark), shared by the scenarios of a
 * block; for each of these 8 read and 8 written in shared memory and 16 operations of float64. */
#pragma once
#include "bar.h"

#if BT_PLAIN
#define BT_VALUES (BT_TABLE ? 8 : 4)
#define BT_BAD (BT_TABLE ? 6 : 2)                         /* the sum that says that some amount is too large */
#define BT_GROUP (32 / BT_TOGETHER)                     /* lanes that keep a scenario */
#define BT_FOURTH (32 / (BT_VALUES * BT_TOGETHER))      /* lanes that end with one sum */
#define BT_BATCH 2                                      /* assets of a thread whose loads are under way together */
static_assert(BT_VALUES * BT_TOGETHER <= 32, "a warp has a lane for every sum");

BT_FN uint64_t bt_other(uint64_t x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
BT_FN double bt_from(double x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
BT_FN uint64_t bt_from(uint64_t x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
BT_FN unsigned bt_high(double x) { return (unsigned)(__double_as_longlong(x) >> 32); }

/* The sums of a warp, of which each lane group gets one. */
template <int V> BT_FN uint64_t bt_warp_sums(uint64_t (&x)[V], int place) {
#pragma unroll
    for (int have = V, d = 16; have > 1; have >>= 1, d >>= 1) {
        const bool upper = place & d;
#pragma unroll
        for (int v = 0; v < have / 2; ++v) {
            const uint64_t mine = upper ? x[v + have / 2] : x[v], yours = upper ? x[v] : x[v + have / 2];
            x[v] = mine + bt_other(yours, d);
        }
    }
    uint64_t sum = x[0];
#pragma unroll
    for (int d = 16 / V; d; d >>= 1) sum += bt_other(sum, d);
    return sum;
}
/* Those of a block; `sum` is what bt_warp_sums gave. A barrier like that of bt_sum. */
template <int V> BT_FN uint64_t bt_block_sums(int &turn, uint64_t sum, int place) {
    uint64_t *partial = (uint64_t *)bt_shared + (turn ^= 1) * BT_WARPS * BT_SUMS;
    const int warps = bt_threads() >> 5, group = place / (32 / V), within = place % (32 / V);
    if (within == 0) partial[group * warps + (threadIdx.x >> 5)] = sum;
    __syncthreads();
    uint64_t total = 0;
#pragma unroll 4
    for (int w = within; w < warps; w += 32 / V) total += partial[group * warps + w];
#pragma unroll
    for (int d = 16 / V; d; d >>= 1) total += bt_other(total, d);
    return total;
}

/* What every thread knows of a scenario beside its ledger. */
struct Terms {
    double scale, magic;
    bt_params p;
    unsigned most;  // upper half of what no amount may reach
};
/* Rows of a bar: those of its decision, and the prices at which it fills and is marked. list, from: the assets, and where
 * their holdings lie; null: all of them, in place. */
struct Rows {
    const bt_row_t *w;
    const double *u, *F, *m;
    const int32_t *list, *from;
    int count;
};
struct Cells {
    double w[BT_BATCH], u[BT_BATCH], F[BT_BATCH], m[BT_BATCH];
    int from[BT_BATCH];
};
BT_FN void bt_read_cells(const Rows &r, int base, Cells &c) {
#pragma unroll
    for (int i = 0; i < BT_BATCH; ++i) {
        const int e = base + i * bt_threads();
        const bool on = e < r.count;
        const int j = BT_LIST ? (on ? r.list[e] : 0) : e;
        c.from[i] = BT_LIST ? (on ? r.from[e] : 0) : e;
        c.w[i] = on ? bt_double(r.w[j]) : 0.0;
        c.u[i] = on ? r.u[j] : 0.0;
        c.F[i] = on ? r.F[j] : 0.0;
        c.m[i] = on ? r.m[j] : 0.0;
    }
}

/* The sums of a scenario over this thread's assets, in ticks above bt_ticks(0); `high`: the upper half of the largest
 * amount, above all others where one is negative or NaN. */
struct Tally {
    uint64_t sum[BT_VALUES];
    unsigned high;
};
/* [S8] [S4] [S5] of one asset: h is held before, what is returned after. */
template <bool CAREFUL> BT_FN double bt_trade(const Terms &s, double w, double u, double F, double m, double h, Tally &to) {
    const double want = bt_wanted(s.scale, w, u), order = bt_order_by<BT_MODE>(want, h);
    const bool has = !CAREFUL || w == w, live = has & (!CAREFUL || (w == 0.0) | (u != 0.0)), priced = !CAREFUL || F == F;
    const double q = live ? order : 0.0, held = h + q, worth = held * m;
    const bt_cost x = bt_amounts<true>(q, priced ? F : 0.0, s.p.slippage, 1.0, s.p);
    const uint64_t net = bt_ticks(copysign(x.ref, q), s.magic), gross = bt_ticks(x.ref, s.magic), drag = bt_ticks(x.drag, s.magic);
    const unsigned high = bt_larger(bt_high(x.ref + x.drag), bt_high(worth));
    to.high = bt_larger(to.high, priced | (q == 0.0) ? high : ~0u);
#if BT_TABLE
    const uint64_t fills = q != 0.0 ? 1 : 0, rounded = live & (q == 0.0) & (want - h != 0.0) ? 1ull << 21 : 0;
    to.sum[0] += net;
    to.sum[1] += gross;
    to.sum[2] += drag;
    to.sum[4] += bt_ticks(x.slip, s.magic);
    to.sum[5] += fills + rounded + (has & !live ? 1ull << 42 : 0);
#else
    to.sum[0] += net + drag;
    to.sum[1] += gross + drag;
#endif
    to.sum[3] += bt_ticks(worth, s.magic);
    return held;
}
template <bool CAREFUL>
BT_FN void bt_trade_all(const Rows &r, const Terms (&s)[BT_TOGETHER], double *hot, int stride, int then, int now, Tally (&to)[BT_TOGETHER]) {
    const int step = BT_BATCH * bt_threads();
    Cells next, c;
    bt_read_cells(r, threadIdx.x, next);
    #pragma unroll 2
    for (int base = threadIdx.x, left = r.count; left > 0; left -= step, base += step) {
        c = next;
        bt_read_cells(r, base + step, next);
#pragma unroll
        for (int i = 0; i < BT_BATCH; ++i) {
            const int e = base + i * bt_threads();
            const bool on = e < r.count;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) {
                const double h = on ? hot[2 * k * stride + then + c.from[i]] : 0.0;
                const double held = bt_trade<CAREFUL>(s[k], c.w[i], c.u[i], c.F[i], c.m[i], h, to[k]);
                if (on) hot[2 * k * stride + now + e] = held;
            }
        }
    }
}
/* [S5] alone. */
BT_FN void bt_value_all(const Rows &r, const Terms (&s)[BT_TOGETHER], const double *hot, int stride, int then, Tally (&to)[BT_TOGETHER]) {
    const int step = BT_BATCH * bt_threads();
    for (int base = threadIdx.x, left = r.count; left > 0; left -= step, base += step) {
#pragma unroll
        for (int i = 0; i < BT_BATCH; ++i) {
            const int e = base + i * bt_threads();
            const bool on = e < r.count;
            const double m = on ? r.m[BT_LIST && r.list ? r.list[e] : e] : 0.0;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) {
                const double worth = on ? hot[2 * k * stride + then + e] * m : 0.0;
                to[k].sum[3] += bt_ticks(worth, s[k].magic);
                to[k].high = bt_larger(to[k].high, bt_high(worth));
            }
        }
    }
}

/* The ledger of the scenario that a lane of a warp keeps, of which every warp has all. */
struct Ledger {
    double cash, equity, peak;
    bt_params p;
    double untick, limit;
    int id, keeps;  // a lane beyond the last scenario, or of one that has ended, keeps none
};
/* [S1] [S4] [S5] of bar t from the sums v of a scenario; false where the bar is not plain. `trades`: there were orders. */
BT_FN bool bt_settle_bar(const bt_record &out, Ledger &a, int64_t t, int row, const uint64_t (&u)[BT_VALUES], double year,
                         bool writes) {
    int64_t v[BT_VALUES];
#pragma unroll
    for (int i = 0; i < BT_VALUES; ++i) v[i] = (int64_t)u[i];
    const double tick = a.p.tick, rate = a.cash >= 0.0 ? a.p.cash_rate : a.p.debit_rate;
    const double change = rint(a.cash * (rate * year) * a.untick) * tick + 0.0;
    const double before = a.cash + change + 0.0, worth = (double)v[3] * tick;
#if BT_TABLE
    const double buys = (double)((v[1] + v[0]) / 2) * tick, sells = (double)((v[1] - v[0]) / 2) * tick, drag = (double)v[2] * tick;
    const double after = before - (buys - sells) - drag + 0.0, moved = buys + sells + drag;
#else
    const double after = before - (double)v[0] * tick + 0.0, moved = (double)v[1] * tick;
#endif
    const double e = after + worth + 0.0, top = bt_max(a.peak, e);
    const bool good = bt_inside(a.limit, before, fabs(before) + moved, worth, e) & ((row == NEVER) | (after >= 0.0)) & (e > 0.0) &
                      !(e < (1.0 - a.p.max_drawdown) * top) & (v[BT_BAD] == 0);
    if (!__all_sync(0xffffffffu, good | !a.keeps)) return false;
    a.cash = after;
    a.equity = e;
    a.peak = top;
    if (!writes) return true;
    const int64_t columns = out.K * out.T;
    double *money = out.money + (int64_t)a.id * out.T + t;
    money[MONEY_EQUITY * columns] = e;
    money[MONEY_CASH * columns] = after;
#if BT_TABLE
    const double slip = (double)v[4] * tick;
    const int fills = (int)(v[5] & 0x1fffff), rounded = (int)(v[5] >> 21 & 0x1fffff), missing = (int)(v[5] >> 42);
    int32_t *count = out.counts + (int64_t)a.id * out.T;
    money[MONEY_LONG_VALUE * columns] = worth;
    money[MONEY_SHORT_VALUE * columns] = 0.0;
    money[MONEY_BUYS * columns] = buys;
    money[MONEY_SELLS * columns] = sells;
    money[MONEY_COMMISSION * columns] = drag - slip;
    money[MONEY_SLIPPAGE * columns] = slip;
    money[MONEY_FINANCING * columns] = change;
    money[MONEY_DIVIDENDS * columns] = money[MONEY_SETTLEMENTS * columns] = 0.0;
    count[COUNT_FILLS * columns + t] = fills;
    if (row != NEVER) {
        count[COUNT_WORKING * columns + row] = fills;
        count[COUNT_ROUNDED_OUT * columns + row] += BT_MODE == BT_EXACT ? 0 : rounded;
        count[COUNT_NO_PRICE * columns + row] += missing;
    }
#endif
    return true;
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
/* Whether no order works and no stop has been seen, so that the next bars may be plain; the bar whose orders wait. */
BT_FN bool bt_plain_now(const Lane &lane, int &row) {
    row = NEVER;
    bool plain = true;
    for (int k = 0; k < lane.in->K; ++k) {
        const Scenario &s = *bt_slot(lane, k);
        if (s.st.ended) continue;
        row = s.asked;
        plain &= !s.waiting & !s.stop;
    }
    return plain;
}

/* Where the holdings of a row's list lie in the lane's columns, into `from`; false where some asset outside it is held. */
BT_STEP bool bt_find(Lane &lane, const int32_t *list, int count) {
    const int32_t *position = BT_INT(lane, POSITION);
    int32_t *from = BT_INT(lane, FROM);
    double found = 0, held = 0;
    BT_EACH(e, count) from[e] = position[list[e]] < 0 ? lane.A : position[list[e]];
    for (int k = 0; k < lane.in->K; ++k) {
        if (!bt_running(lane, k)) continue;
        const double *h = bt_held(lane, k);
        BT_EACH(e, count) found += from[e] < lane.A && h[from[e]] != 0.0 ? 1.0 : 0.0;
        BT_EACH(j, lane.A) held += h[j] != 0.0 ? 1.0 : 0.0;
    }
    bt_sum(lane.turn, found, held);
    return found == held;
}
/* Columns become those of a list in whose order the holdings lie already. */
BT_STEP void bt_adopt(Lane &lane, const int32_t *list, int count) {
    int32_t *column = BT_INT(lane, COLUMN), *position = BT_INT(lane, POSITION);
    double *unit = BT_OWN(lane, UNIT), *whole = BT_OWN(lane, WHOLE), *tie = BT_OWN(lane, TIE);
    BT_EACH(j, lane.A) position[bt_asset(lane, j)] = -1;
    bt_sync();
    BT_EACH(e, count) {
        const int i = list[e];
        column[e] = i;
        position[i] = e;
        unit[e] = lane.in->unit[i];
        whole[e] = lane.in->whole[i];
        tie[e] = lane.in->tie[i];
    }
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
        if (!BT_NEAR) bt_sync();
        BT_EACH(j, lane.stride) o[j] = 0.0;
    }
    if (threadIdx.x < 32 && place % BT_GROUP == 0 && a.keeps) {
        Scenario &s = *bt_slot(lane, place / BT_GROUP);
        s.st.cash = a.cash;
        s.st.peak = a.peak;
        s.equity = a.equity;
        s.asked = row;
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
    a.cash = own.st.cash, a.equity = own.equity, a.peak = own.st.peak, a.p = *own.p, a.id = own.id;
    a.untick = 1.0 / a.p.tick, a.limit = own.limit;
    Terms s[BT_TOGETHER];
#pragma unroll
    for (int k = 0; k < BT_TOGETHER; ++k) {
        const Scenario &other = *bt_slot(lane, k < in.K ? k : 0);
        s[k].p = *other.p;
        s[k].magic = other.magic;
        s[k].most = bt_high(bt_most(N) * other.p->tick);
    }
    const int32_t *held = lane.dense ? nullptr : BT_INT(lane, COLUMN);  // the assets of the holdings
    int listed = lane.A, side = 0, flags = in.flags[t];
    double year = in.year[t];
    bool moved = false;  // they are no more in the order of the lane's columns
    bt_enter_plain(lane, hot, stride);
    while (t < t1 && !(flags & BT_EVENT) && !(BT_TABLE && in.off_count && in.off_bar[0] <= t)) {
        const int next = t + 1 < t1 ? in.flags[t + 1] : 0;
        const double next_year = t + 1 < t1 ? in.year[t + 1] : 0.0;
        const int then = side * stride, now = stride - then;
        Rows r;
        Tally to[BT_TOGETHER] = {};
        r.m = (const double *)in.marks.data + t * N;
        r.list = held, r.count = listed;
        if (row == NEVER) {
            bt_value_all(r, s, hot, stride, then, to);
        } else {
            const double scale = a.keeps ? a.equity * (1.0 - a.p.cash_buffer) : 0.0;
#pragma unroll
            for (int k = 0; k < BT_TOGETHER; ++k) s[k].scale = bt_from(scale, k * BT_GROUP);
            r.w = (const bt_row_t *)in.weights.data + (row - in.lag) * N;
            r.u = in.inverse + row * N;
            r.F = (const double *)in.exec.data + t * N;
            if (BT_LIST) {
                r.list = in.list + in.list_start[row];
                r.count = (int)(in.list_start[row + 1] - in.list_start[row]);
                if (!moved && !bt_find(lane, r.list, r.count)) break;
                BT_EACH(k, BT_TOGETHER) hot[2 * k * stride + now + r.count] = 0.0;  // where the next row's new names come from
                r.from = moved ? in.from + in.list_start[row] : BT_INT(lane, FROM);
            }
            if ((in.flags[row] & BT_CLEAR) && !(flags & BT_GAP))
                bt_trade_all<false>(r, s, hot, stride, then, now, to);
            else
                bt_trade_all<true>(r, s, hot, stride, then, now, to);
        }
        uint64_t sums[BT_VALUES * BT_TOGETHER], v[BT_VALUES];
#pragma unroll
        for (int k = 0; k < BT_TOGETHER; ++k) {
            to[k].sum[BT_BAD] = to[k].high >= s[k].most ? 1 : 0;
#pragma unroll
            for (int i = 0; i < BT_VALUES; ++i) sums[k * BT_VALUES + i] = to[k].sum[i];
        }
        const uint64_t total = bt_block_sums<BT_VALUES * BT_TOGETHER>(lane.turn, bt_warp_sums(sums, place), place);
        const int step = BT_BATCH * bt_threads(), terms = (r.count + step - 1) / step * step;
        const uint64_t zero = terms * bt_ticks(0.0, a.p.tick * BT_MAGIC);
#pragma unroll
        for (int i = 0; i < BT_VALUES; ++i) v[i] = bt_from(total, mine * BT_GROUP + i * BT_FOURTH);
        v[3] -= zero;
        if (row != NEVER) {
            v[0] -= BT_TABLE ? zero : 2 * zero;
            v[1] -= BT_TABLE ? zero : 2 * zero;
            if (BT_TABLE) v[2] -= zero, v[4 % BT_VALUES] -= zero;
        }
        if (!bt_settle_bar(out, a, t, row, v, year, threadIdx.x < 32 && place % BT_GROUP == 0 && a.keeps)) break;
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
    bt_leave_plain(lane, hot + side * stride, stride, listed, row, a);
    if (moved) bt_adopt(lane, held, listed);
    if ((t > first || narrow) && row != NEVER) bt_read_weights<BT_FULL>(lane, row);
    return t;
}
#endif
