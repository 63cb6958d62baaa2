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

/* What every thread knows of a scenario beside its ledger: of its parameters those of a lean fill. */
struct Terms {
    double scale, magic, slippage, rate, minimum;
    unsigned most;  // upper half of what no amount may reach
};
BT_FN Terms bt_terms(const Scenario &s, int64_t assets) {
    return {0.0, s.magic, s.p->slippage, s.p->commission_rate, s.p->min_commission, bt_high(bt_most(assets) * s.p->tick)};
}
BT_FN bt_cost bt_lean_amounts(const Terms &s, double q, double F) {
    bt_params p;
    p.commission_rate = s.rate;
    p.min_commission = s.minimum;
    p.max_commission_rate = 0.0;  // of which a lean fill knows nothing
    return bt_amounts<true>(q, F, s.slippage, 1.0, p);
}
/* What it costs, and its term of B in [S4] 3., in ticks. */
struct Charge {
    int64_t ref, drag, base;
};
BT_FN Charge bt_lean_charge(const Terms &s, double q, double F) {
    const bt_cost x = bt_lean_amounts(s, q, F);
    const uint64_t zero = bt_ticks(0.0, s.magic), ref = bt_ticks(x.ref, s.magic) - zero;
    return {(int64_t)ref, (int64_t)(bt_ticks(x.drag, s.magic) - zero), (int64_t)(ref + bt_ticks(x.base, s.magic) - zero)};
}
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
/* [S8] The order of an asset, as of what is held; `asked`: one before it was rounded, `missing`: a target without a price. */
struct Aim {
    double q;
    bool asked, missing;
};
template <bool CAREFUL> BT_FN Aim bt_aim(const Terms &s, double w, double u, double h) {
    const double want = bt_wanted(s.scale, w, u), order = bt_order_by<BT_MODE>(want, h);
    const bool has = !CAREFUL || w == w, live = has & (!CAREFUL || (w == 0.0) | (u != 0.0));
    return {live ? order : 0.0, live & (want - h != 0.0), has & !live};
}
/* [S4] [S5] of one asset of which q fill: h is held before, what is returned after. */
template <bool CAREFUL> BT_FN double bt_trade(const Terms &s, const Aim &aim, double q, double F, double m, double h, Tally &to) {
    const bool priced = !CAREFUL || F == F;
    const double held = h + q, worth = held * m;
    const bt_cost x = bt_lean_amounts(s, q, priced ? F : 0.0);
    const uint64_t net = bt_ticks(copysign(x.ref, q), s.magic), gross = bt_ticks(x.ref, s.magic), drag = bt_ticks(x.drag, s.magic);
    const unsigned high = bt_larger(bt_high(x.ref + x.drag), bt_high(worth));
    to.high = bt_larger(to.high, priced | (q == 0.0) ? high : ~0u);
#if BT_TABLE
    const uint64_t fills = q != 0.0 ? 1 : 0, rounded = aim.asked & (aim.q == 0.0) ? 1ull << 21 : 0;
    to.sum[0] += net;
    to.sum[1] += gross;
    to.sum[2] += drag;
    to.sum[4] += bt_ticks(x.slip, s.magic);
    to.sum[5] += fills + rounded + (aim.missing ? 1ull << 42 : 0);
    to.sum[7] += (fabs(q) < fabs(aim.q) ? 1 : 0) + ((q == 0.0) & (aim.q != 0.0) ? 1ull << 32 : 0);
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
                const Aim aim = bt_aim<CAREFUL>(s[k], c.w[i], c.u[i], h);
                const double held = bt_trade<CAREFUL>(s[k], aim, aim.q, c.F[i], c.m[i], h, to[k]);
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


/* The sums of one scenario. */
struct Sums {
    uint64_t v[BT_VALUES];
};
/* What is left of sums of so many terms each, where `trades` says whether there were orders. */
BT_FN void bt_take_zeros(Sums &sums, uint64_t zero, bool trades) {
    sums.v[3] -= zero;
    if (!trades) return;
    sums.v[0] -= BT_TABLE ? zero : 2 * zero;
    sums.v[1] -= BT_TABLE ? zero : 2 * zero;
#if BT_TABLE
    sums.v[2] -= zero;
    sums.v[4] -= zero;
#endif
}

/* [S4] 3. The class from which on, downwards, nothing is bought back with so many ticks. A lane looks at a share of the
 * classes, in their order. */
BT_FN double bt_last_of(const uint64_t *classes, int64_t left, int place) {
    const int share = BT_CLASSES / 32, top = BT_CLASSES - 1 - place * share;
    int64_t own = 0;
    for (int i = 0; i < share; ++i) own += (int64_t)classes[top - i];
    int64_t spent = own;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        const int64_t lower = (int64_t)__shfl_up_sync(0xffffffffu, (uint64_t)spent, d);
        spent += place >= d ? lower : 0;
    }
    int64_t before = spent - own;
    int last = top;
    for (; last > top - share && before + (int64_t)classes[last] <= left; --last) before += (int64_t)classes[last];
    const unsigned stops = __ballot_sync(0xffffffffu, last > top - share);
    return stops ? __shfl_sync(0xffffffffu, last, __ffs(stops) - 1) : -1;
}
/* [S4] 3. and [S5] of a scenario that lacks cash for its buys: one factor for all, and what its remainders buy back. `cash`
 * is what it has before the fills; `then` and `now` are its holdings. All its orders can fill. */
BT_STEP Sums bt_clip_plain(Lane &lane, int k, Rows r, double scale, const double *then, double *now, double cash) {
    const int place = threadIdx.x & 31;
    uint64_t *classes = (uint64_t *)(bt_shared + BT_SHARED_DOUBLES) + BT_TOGETHER * 2 * (BT_NEAR ? lane.call->near : 0);
    const Scenario &own = *bt_slot(lane, k);
    const double tick = own.p->tick;
    Terms s = bt_terms(own, lane.N);
    s.scale = scale;
    uint64_t needs[4] = {}, spent[1] = {};
    BT_EACH(c, BT_CLASSES) classes[c] = 0;
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double q = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], then[BT_LIST ? r.from[e] : e]).q;
        const Charge x = bt_lean_charge(s, q, q != 0.0 ? r.F[j] : 0.0);
        needs[0] += q < 0.0 ? x.ref - x.drag : 0;
        needs[1] += q > 0.0 ? x.base : 0;
        needs[2] += q > 0.0 ? 1 : 0;
    }
    uint64_t total = bt_block_sums<4>(lane.turn, bt_warp_sums(needs, place), place);
    const double funds = cash + (double)(int64_t)bt_from(total, 0) * tick, base = (double)(int64_t)bt_from(total, 8) * tick;
    const double buys = (double)(int64_t)bt_from(total, 16);
    const double factor = bt_cash_factor(funds, buys, buys, base, s.minimum, tick);
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double q = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], then[BT_LIST ? r.from[e] : e]).q;
        if (!(q > 0.0)) continue;
        const double x = factor * q, kept = BT_MODE == BT_EXACT ? x : trunc(x);
        const Charge cut = bt_lean_charge(s, kept, r.F[j]);
        spent[0] += cut.ref + cut.drag;
        if (BT_MODE == BT_EXACT || !(kept < q)) continue;
        const Charge more = bt_lean_charge(s, bt_min(kept + 1.0, q), r.F[j]);
        atomicAdd((unsigned long long *)&classes[(int)bt_class(x, kept, (double)lane.in->tie[j])],
                  (unsigned long long)(more.ref + more.drag - cut.ref - cut.drag));
    }
    total = bt_block_sums<1>(lane.turn, bt_warp_sums(spent, place), place);
    const double last = bt_last_of(classes, (int64_t)(funds / tick) - (int64_t)total, place);
    Tally to = {};
    BT_EACH(e, r.count) {
        const int j = BT_LIST ? r.list[e] : e;
        const double h = then[BT_LIST ? r.from[e] : e];
        const Aim aim = bt_aim<true>(s, bt_double(r.w[j]), r.u[j], h);
        const double x = factor * aim.q, kept = BT_MODE == BT_EXACT ? x : trunc(x);
        const bool again = BT_MODE != BT_EXACT && kept < aim.q && bt_class(x, kept, (double)lane.in->tie[j]) > last;
        const double q = aim.q > 0.0 ? (again ? bt_min(kept + 1.0, aim.q) : kept) : aim.q;
        now[e] = bt_trade<true>(s, aim, q, r.F[j], r.m[j], h, to);
    }
    to.sum[BT_BAD] = to.high >= s.most ? 1 : 0;
    total = bt_block_sums<BT_VALUES>(lane.turn, bt_warp_sums(to.sum, place), place);
    Sums sums;
#pragma unroll
    for (int i = 0; i < BT_VALUES; ++i) sums.v[i] = bt_from(total, i * (32 / BT_VALUES));
    bt_take_zeros(sums, r.count * bt_ticks(0.0, s.magic), true);
    return sums;
}

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
/* Columns become those of a list in whose order the holdings lie already. */
BT_STEP void bt_adopt(Lane &lane, const int32_t *list, int count) {
    int32_t *column = BT_INT(lane, COLUMN), *position = BT_INT(lane, POSITION);
    bt_sync();
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
        if (!BT_NEAR) bt_sync();
        BT_EACH(j, lane.stride) o[j] = 0.0;
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
        bt_count_orders(lane, own, row, NEVER, (int)working, BT_MODE == BT_EXACT ? 0 : (int)rounded, (int)missing);
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
    if (t < call->t1) lane.out->book[0] = 1.0;
    for (int k = 0; k < lane.in->K; ++k) lane.out->state[bt_slot(lane, k)->id] = bt_slot(lane, k)->st;
    *(Kept *)lane.slots = lane;
}
#endif
#endif
