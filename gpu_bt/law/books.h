/* SPDX-License-Identifier: Apache-2.0 */
/* [B2] to [B5]: books that scenarios form of a ranking which a whole lane reads. A book is a list of names with their
 * weights; all other targets are 0. So a row of weights is made over the active columns alone, and a lane may hold
 * scenarios of different books: their names together are its columns. */
#pragma once
#include "columns.h"

#define BT_LONG 1
#define BT_SHORT 2
#define BT_EPOCHS 64 /* of marks: a byte of `sides` is a side and in which book, so that marks of older books are none */

/* What a lane keeps of its scenario k, behind its bytes: targets over the active columns; the names of its last book and
 * their weights; on which side each asset was, as a mark. How many names, and how that book is marked, stand in the cell
 * behind the last asset. */
struct Made {
    double *row, *shares;
    int32_t *list;
    uint8_t *sides;
};
BT_FN Made bt_made(const Lane &lane, int64_t k) {
    const int64_t stride = lane.stride, all = lane.in->K * stride;  // a stride is a multiple of 8
    double *rows = (double *)(lane.bytes + BUFFER_UINT8_T_COUNT * stride), *shares = rows + all;
    int32_t *lists = (int32_t *)(shares + all);
    return {rows + k * stride, shares + k * stride, lists + k * stride, (uint8_t *)(lists + all) + k * stride};
}

/* Row `source` of the ranking: where its groups begin; how many are ranked. */
BT_FN const int32_t *bt_groups(const bt_rows &in, int64_t source) { return in.starts + source * (in.groups + 1); }
BT_FN bool bt_ranks(const bt_rows &in, int64_t source) { return in.groups && source >= 0 && bt_groups(in, source)[in.groups] > 0; }
BT_FN int bt_placed(const bt_rows &in, int64_t at) { return in.narrow ? (int)in.narrow[at] : in.wide[at]; }

/* [B2] Names wanted of n, at most all of them. */
BT_FN int bt_names(double wanted, int n) {
    const double names = wanted > 0.0 && wanted < 1.0 ? bt_max(1.0, bt_whole(wanted * n)) : wanted;
    return names < n ? (int)names : n;
}

/* The book of a scenario as it is formed. */
struct Forming : Made {
    const bt_choice *book;
    int count, epoch;  // that of the last book; marks of the next one are made at once, since nobody asks for them again
};
BT_FN uint8_t bt_mark(int epoch, int side) { return (uint8_t)(epoch * 4 + side); }
/* When a byte can hold no more of them, they begin again with the last book. */
BT_STEP int bt_epoch_after(const Lane &lane, uint8_t *sides, int epoch) {
    if (epoch + 1 < BT_EPOCHS) return epoch + 1;
    const int64_t N = lane.N;
    BT_EACH(i, N) sides[i] = sides[i] / 4 == epoch ? (uint8_t)(sides[i] % 4 + 4) : (uint8_t)0;
    bt_sync();
    return 2;
}

/* Candidates of a side: those of a group by place, or from the last place on; `listed` where only some of them are. */
struct Candidates {
    int64_t from;
    int step, n;
    const int32_t *listed;
};
BT_FN int bt_candidate(const bt_rows &in, const Candidates &c, int j) {
    return bt_placed(in, c.from + (int64_t)c.step * (c.listed ? c.listed[j] : j));
}
/* [B3] How many candidates are looked at. */
BT_FN int bt_looked_at(double keep, int k, int n) {
    const double m = bt_max(k, bt_whole(keep * k));
    return m < n ? (int)m : n;
}
/* A side of k names; `gross` is G/g, `equal` a name's share of it where all have the same. */
struct Taking {
    int side, k;
    double gross, equal;
};
BT_FN void bt_name_one(const Forming &f, const Taking &x, int at, int asset) {
    const bool rank = f.book->scheme == SCHEME_RANK;
    const double share = rank ? (x.gross * (x.k - at)) / ((x.k * (x.k + 1.0)) / 2.0) : x.equal;
    f.list[f.count + at] = asset;
    f.shares[f.count + at] = x.side == BT_LONG ? share : -share;
    if (f.book->keep > 1.0) f.sides[asset] = bt_mark(f.epoch + 1, x.side);
}
/* [B3] [B4] A side takes k of its candidates; `gross` is G/g. */
BT_STEP void bt_take_side(Lane &lane, Forming &f, const Candidates &c, int k, int side, double gross) {
    const bt_rows &in = *lane.in;
    const int m = bt_looked_at(f.book->keep, k, c.n);
    const Taking x = {side, k, gross, gross / k};
    const uint8_t mark = bt_mark(f.epoch, side);
    uint8_t *flags = BT_BYTE(lane, HAS);
    int32_t *staying = BT_INT(lane, FRESH);
    int stays = 0;
    if (m > k) {
        BT_EACH(j, (m + 7) / 8 * 8) flags[j] = j < m && f.sides[bt_candidate(in, c, (int)j)] == mark;
        stays = bt_pack(m, flags, staying, lane.turn);  // a member reads the flags that it has written
        bt_sync();
    }
    if (stays == 0) {
        BT_EACH(j, k) bt_name_one(f, x, (int)j, bt_candidate(in, c, (int)j));
    } else {
        const int kept = stays < k ? stays : k, others = k - kept;
        int before = 0;  // that stay
        BT_EACH(j, m) {
#ifdef __CUDACC__
            before = bt_below(staying, stays, (int)j);
#endif
            const int new_before = (int)j - before;
            if (flags[j] ? before < kept : new_before < others) {
                const int at = (before < kept ? before : kept) + (new_before < others ? new_before : others);
                bt_name_one(f, x, at, bt_candidate(in, c, (int)j));
            }
            before += flags[j];
        }
    }
    f.count += k;
}

/* [B3] The short side's candidates where some of them may be on the long side: those that are not. */
BT_STEP void bt_leave_longs(Lane &lane, const Forming &f, Candidates &c) {
    const bt_rows &in = *lane.in;
    uint8_t *flags = BT_BYTE(lane, HAS);
    const uint8_t taken = bt_mark(f.epoch + 1, BT_LONG);
    bt_sync();
    BT_EACH(j, (c.n + 7) / 8 * 8) flags[j] = j < c.n && f.sides[bt_candidate(in, c, (int)j)] != taken;
    c.n = bt_pack(c.n, flags, BT_INT(lane, CANDIDATE), lane.turn);
    c.listed = BT_INT(lane, CANDIDATE);
    bt_sync();
}

/* [B2] to [B5] The book of scenario k, of a row at which somebody is ranked. */
BT_STEP void bt_form_book(Lane &lane, int k, int64_t source) {
    const bt_rows &in = *lane.in;
    const bt_choice &book = in.books[bt_slot(lane, k)->p->weights];
    const int32_t *starts = bt_groups(in, source);
    Forming f = {bt_made(lane, k), &book, 0, 0};
    f.epoch = bt_epoch_after(lane, f.sides, f.sides[lane.N]) - 1;
    int longs = 0, shorts = 0;  // groups with names on that side
    for (int64_t g = 0; g < in.groups; ++g) {
        const int n = starts[g + 1] - starts[g], taken = bt_names(book.long_names, n);
        longs += taken > 0;
        shorts += bt_names(book.short_names, n - taken) > 0;
    }
    for (int64_t g = 0; g < in.groups; ++g) {
        const int n = starts[g + 1] - starts[g];
        const int64_t at = source * lane.N + starts[g];
        const int taken = bt_names(book.long_names, n);
        if (taken) bt_take_side(lane, f, {at, 1, n, nullptr}, taken, BT_LONG, book.long_gross / longs);
        int wanted = bt_names(book.short_names, n);
        wanted = wanted < n - taken ? wanted : n - taken;
        if (!wanted) continue;
        Candidates c = {at + n - 1, -1, n, nullptr};
        const int far = bt_looked_at(book.keep, taken, n);
        if (book.keep > 1.0 && far + bt_looked_at(book.keep, wanted, n - taken) > n)
            bt_leave_longs(lane, f, c);
        else
            c.n = n - taken;
        bt_take_side(lane, f, c, wanted, BT_SHORT, book.short_gross / shorts);
    }
    bt_sync();  // all have read the epoch
    if (bt_first()) {
        f.list[lane.N] = f.count;
        f.sides[lane.N] = (uint8_t)(f.epoch + 1);
    }
    bt_sync();
}

/* [S6] The books that the scenarios form at bar t, one for all that make the same; their names become active. */
template <bool FULL> BT_STEP void bt_form_books(Lane &lane, int64_t t) {
    const bt_rows &in = *lane.in;
    const bool off = in.lag && in.off_count && in.off_bar[0] <= t;  // without a lag nobody names what is delisted
    const bool closes = FULL && in.closes;
    uint8_t *want = BT_BYTE(lane, WANT);
    const int64_t N = lane.N;
    BT_EACH(i, N) want[i] = 0;
    for (int k = 0; k < in.K; ++k) {
        if (bt_slot(lane, k)->own != k) continue;
        bt_form_book(lane, k, t - in.lag);
        const int32_t *list = bt_made(lane, k).list;
        BT_EACH(e, list[N]) want[list[e]] = 1;
    }
    bt_recolumn(lane);
    double gone = 0;
    for (int k = 0; k < in.K; ++k) {
        if (bt_slot(lane, k)->own != k) continue;
        const Made made = bt_made(lane, k);
        BT_SIMD()
        BT_EACH(j, lane.A) made.row[j] = 0.0;
        bt_sync();
        BT_EACH(e, made.list[N]) {
            const bool out = closes && bt_cell(in.universe, t * N + made.list[e]) == 0.0;
            made.row[BT_INT(lane, POSITION)[made.list[e]]] = out ? 0.0 : made.shares[e];
        }
        if (!off) continue;
        bt_sync();
        BT_EACH(e, in.off_count) {
            const int j = in.off_bar[e] <= t && in.off_bar[e] > t - in.lag ? bt_where(lane, in.off_asset[e]) : -1;
            if (j < 0) continue;
            made.row[j] = nan("");
            gone += 1.0;
        }
    }
    bt_use_row(lane, t, BT_OWN(lane, ONE));
    bt_sum(lane.turn, gone);
    lane.clear = lane.clear && gone == 0.0;
    lane.seen_target = 2;
}

/* [S6] What bar t decides from. */
template <bool FULL> BT_STEP void bt_read_weights(Lane &lane, int64_t t) {
    if (bt_ranks(*lane.in, t - lane.in->lag))
        bt_form_books<FULL>(lane, t);
    else
        bt_read_row<FULL>(lane, t);
}
/* [B5] The last books before bar t0, at which a lane begins; its arena is all 0. */
BT_STEP void bt_form_before(Lane &lane, int64_t t0) {
    const bt_rows &in = *lane.in;
    for (int k = 0; k < (in.groups ? in.K : 0); ++k) {
        if (bt_slot(lane, k)->own != k || !(in.books[bt_slot(lane, k)->p->weights].keep > 1.0)) continue;
        for (int64_t t = 0; t < t0; ++t)
            if (in.due[t] && bt_ranks(in, t - in.lag)) bt_form_book(lane, k, t - in.lag);
    }
}

/* The targets of a scenario over the active columns. */
BT_FN const double *bt_targets(const Lane &lane, const Scenario &s) {
    return lane.seen_target == 2 ? bt_made(lane, s.own).row : lane.at[BUFFER_DOUBLE_WEIGHT];
}

/* [S3] Targets that a delisting since the row of scores turned to NaN. */
template <bool FULL> BT_STEP void bt_count_delisted_names(Lane &lane, Scenario &s, int64_t t) {
    const bt_rows &in = *lane.in;
    if (!in.lag || !in.off_count || in.off_bar[0] > t) return;
    double lost = 0;
    BT_EACH(e, in.off_count) {
        if (in.off_bar[e] > t || in.off_bar[e] <= t - in.lag) continue;
        lost += 1.0;
        if (FULL && lane.out->logging) bt_cut(lane, s, t, ORDER_DELISTED, in.off_asset[e], 0.0);
    }
    bt_sum(lane.turn, lost);
    s.count[COUNT_DELISTED] += (int)lost;
}
/* [S6] Names of a book that have left the universe since. */
BT_STEP void bt_count_outside_names(Lane &lane, Scenario &s, int64_t t) {
    const Made made = bt_made(lane, s.own);
    double lost = 0;
    BT_EACH(e, made.list[lane.N]) {
        const int i = made.list[e];
        const double w = made.row[BT_INT(lane, POSITION)[i]];
        const bool none = w != w || made.shares[e] == 0.0;  // as it is where the gross is hardly more than 0
        if (none || bt_cell(lane.in->universe, t * lane.N + i) != 0.0) continue;
        lost += 1.0;
        if (lane.out->logging) bt_cut(lane, s, t, ORDER_OUTSIDE, i, 0.0);
    }
    bt_sum(lane.turn, lost);
    s.count[COUNT_OUTSIDE] += (int)lost;
}
