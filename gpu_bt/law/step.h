/* SPDX-License-Identifier: Apache-2.0 */
/* The law's arithmetic of one asset and of one scenario (docs/semantics.md), for the host and for CUDA devices.
 *
 * Every expression keeps the law's order of operations. It must be compiled without contraction to multiply-add
 * (-ffp-contract=off, --fmad=false) and without value-changing optimisation. A limit that is off is NaN: every
 * comparison with it is false. layout.h is rendered from gpu_bt/law/layout.py by the build. */
#pragma once
#include "layout.h"

#ifdef __CUDACC__
#define BT_FN static __device__ __forceinline__
#else
#include <float.h>
#include <math.h>
#include <string.h>
#define BT_FN static inline __attribute__((always_inline))
static_assert(FLT_EVAL_METHOD == 0, "double arithmetic must not be carried out in a wider format");
#endif

#define BT_SNAP 1e-6                           /* within this of a whole number of lots, an order is that number */
#define BT_SHAVE (1.0 - 9.094947017729282e-13) /* 1 - 2^-40 keeps a scaled order strictly inside its bound */
#define BT_WORST 0.95                          /* the largest adverse move of a price */
#define BT_LIMIT 2251799813685248.0            /* 2^51 units of a grid */
#define BT_HUGE 1.7976931348623157e308         /* the largest double */
#define BT_MAGIC 6755399441055744.0            /* 1.5 * 2^52 */
#define BT_WEIGHT_TICK 9.094947017729282e-13   /* 2^-40, the grid of sums of weights */

/* Numbers: max(a, b), min(a, b), sgn, and "a, at most b where b is on". */
BT_FN double bt_max(double a, double b) { return a > b ? a : b; }
BT_FN double bt_min(double a, double b) { return a < b ? a : b; }
BT_FN unsigned bt_larger(unsigned a, unsigned b) { return a > b ? a : b; }
BT_FN double bt_sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : 0.0; }
BT_FN double bt_at_most(double a, double b) { return b < a ? b : a; }

/* Numbers: R(x), half to even, below 2^51 units of the grid; magic is 1.5*2^52 units. Never a negative zero. */
BT_FN double bt_round(double x, double magic) { return (x + magic) - magic; }

/* Numbers: R(x) as a whole number of ticks above that of 0, bt_ticks(0, magic); |x| below 2^51 of them. Such numbers add
 * as integers do, and wrap on the way. */
BT_FN uint64_t bt_ticks(double x, double magic) {
    x += magic;
#ifdef __CUDACC__
    return (uint64_t)__double_as_longlong(x);
#else
    union {
        double x;
        uint64_t bits;
    } same = {x};
    return same.bits;
#endif
}

/* What n amounts may reach so that two sums of them add up without wrapping, and each is right as bt_ticks. */
BT_FN double bt_most(int64_t n) { return bt_min(BT_LIMIT, 2048.0 * BT_LIMIT / (double)(n + 1)); }

/* Numbers: R(x) of any size, for an amount that no test bounds by itself. */
BT_FN double bt_round_any(double x, double tick) { return rint(x / tick) * tick + 0.0; }

/* Numbers: the ledger's test of sums, written so that NaN fails. */
template <class... Sums> BT_FN bool bt_inside(double limit, Sums... sums) { return ((fabs(sums) < limit) && ...); }

/* The sum of the positive numbers, and that of the negative ones as it is without its sign, from the sums of all and of
 * their sizes: both are exact below 2^53 ticks, and NaN or beyond the ledger's limit where the parts are. */
BT_FN double bt_above(double net, double gross) { return (gross + net) * 0.5; }
BT_FN double bt_below(double net, double gross) { return (gross - net) * 0.5; }

/* [S2] [S8] whole(x). */
BT_FN int bt_near(double x) { return fabs(x - rint(x)) <= BT_SNAP; }
BT_FN double bt_whole(double x) {
    double r = rint(x);
    return (fabs(x - r) <= BT_SNAP ? r : trunc(x)) + 0.0;
}

/* [S8] An order in lots: toward zero or to the nearest lot, and rint(x) within 1e-6 of it either way; it may be -0.0. */
BT_FN double bt_in_lots(double x, int nearest) {
    double r = rint(x), t = trunc(x);
    if (nearest) {
        double away = trunc(fabs(x) + 0.5);
        t = x < 0.0 ? -away : away;
    }
    return fabs(x - r) <= BT_SNAP ? r : t;
}
BT_FN double bt_order(double x, int nearest) { return bt_in_lots(x, nearest) + 0.0; }

/* [S8] The order from the holding h to p by one rule for all assets, none of which is held in odd lots: it may be -0.0, which
 * does no harm where it is at once added to what is held. MODE: a rounding, or BT_EXACT. An exit is whole already. */
#define BT_EXACT (-1)
template <int MODE> BT_FN double bt_order_by(double p, double h) {
    if (MODE == BT_EXACT) return p - h;
    return MODE == ROUNDING_POSITION ? bt_in_lots(p, 0) - h : bt_in_lots(p - h, MODE == ROUNDING_NEAREST);
}

/* [S8] The order x that leads from the holding h to p, by any rule. h may be an odd lot: what leaves nothing of it sells all. */
BT_FN double bt_order_of(double x, double p, double h, double unit, int rounding) {
    const double order = rounding == ROUNDING_POSITION ? bt_whole(p) - h + 0.0 : bt_order(x, rounding == ROUNDING_NEAREST);
    return fabs(x + h) * bt_max(unit, 1.0) <= BT_SNAP ? -h + 0.0 : order;
}

/* [S9] Shares of lots; odd lots are whole shares. */
BT_FN double bt_shares(double lots, double unit) {
    double x = lots * unit, r = rint(x);
    return (unit > 1.0 && fabs(x - r) <= BT_SNAP ? r : x) + 0.0;
}

/* [S4] 1. A size under the participation cap, which is off where it is NaN: whole where its shares fit. */
BT_FN double bt_within_volume(double size, double participation, double volume, double unit, bool whole) {
    double shares = participation * volume, cap = whole ? trunc(shares / unit) : shares;
    return cap < size && !(bt_shares(size, unit) <= shares) ? cap : size;
}

/* [S1] Interest, `year` being days/360, and the borrow fee of a short h < 0. */
BT_FN double bt_interest(const bt_params *p, double cash, double year) {
    double rate = cash >= 0.0 ? p->cash_rate : p->debit_rate;
    return bt_round_any(cash * (rate * year), p->tick);
}
BT_FN double bt_borrow_fee(double h, double mark, double rate, double days, double magic) {
    return bt_round((-h * mark) * (rate * (days / 365.0)), magic);
}

/* [S3] What a holding is settled for. */
BT_FN double bt_settled(double h, double mark, double back, double magic) {
    return bt_round(h * (mark * (1.0 + back)), magic);
}


/* [S4] 2. The adverse move; `inverse` is 1/sqrt(volume), 0 without volume; `sigma` the volatility, 1 without such. */
BT_FN double bt_adverse(double slippage, double spread, double impact, double sigma, double shares, double inverse) {
    double a = slippage + spread + impact * (sigma * (sqrt(shares) * inverse));
    return a < BT_WORST ? a : BT_WORST;
}

/* [S5] What a holding is worth; 0 where nothing is held: a split of an absurd ratio may make a mark infinite. */
BT_FN double bt_worth(double h, double mark, double magic) { return h != 0.0 ? bt_round(h * mark, magic) : 0.0; }

/* [S4] 2. Whether the terms that LEAN leaves out of bt_charge are exact zeros. */
BT_FN bool bt_lean(const bt_params &p) {
    return p.fixed_commission == 0.0 && p.commission_per_share == 0.0 && p.sell_tax == 0.0 && !(p.max_commission_rate >= 0.0);
}
/* [S4] 3. What a buy costs however small it is cut. */
template <bool LEAN> BT_FN double bt_least(const bt_params &p) {
    return LEAN ? p.min_commission : bt_max(p.fixed_commission, p.min_commission);
}
/* [S4] 2. Costs of a fill of q lots at F, all 0 where q is 0. `base` is its term of B in [S4] 3., where it is `flat`, 1.0,
 * unless its maximum commission is below bt_least. */
typedef struct bt_cost {
    double ref, drag, slip, base, flat;
} bt_cost;
/* The same before they are rounded; `base` without `ref`. Operands are selected, not results: compilers make vector code of
 * that. */
template <bool LEAN> BT_FN bt_cost bt_amounts(double q, double F, double a, double unit, const bt_params &p) {
    bt_cost c;
    double size = fabs(q), n = size * F, move = n * a, v = n + copysign(move, q);
    double most = p.max_commission_rate * n, least = q != 0.0 ? p.min_commission : 0.0, variable = v * p.commission_rate;
    if (!LEAN) {
        variable = (q != 0.0 ? p.fixed_commission : 0.0) + ((size * unit) * p.commission_per_share + variable);
        variable = bt_at_most(variable, most);
    }
    double fee = bt_max(variable, least);
    if (!LEAN) fee = bt_at_most(fee, most) + v * (q < 0.0 ? p.sell_tax : 0.0);
    c.ref = n;
    c.drag = move + fee;
    c.slip = move;
    c.flat = !LEAN && most < bt_least<LEAN>(p) ? 0.0 : 1.0;
    c.base = move + (c.flat != 0.0 ? bt_max(variable - bt_least<LEAN>(p), 0.0) : most);
    return c;
}
/* The amounts are >= 0, so `magic` is 2^52 units here, which rounds right up to 2^52 of them: drag is tested in two parts
 * alone. */
template <bool LEAN> BT_FN bt_cost bt_charge(double q, double F, double a, double unit, const bt_params &p, double magic) {
    bt_cost c = bt_amounts<LEAN>(q, F, a, unit, p);
    c.ref = bt_round(c.ref, magic);
    c.drag = bt_round(c.drag, magic);
    c.slip = bt_round(c.slip, magic);
    c.base = c.ref + bt_round(c.base, magic);
    return c;
}

/* [S4] 3. lambda, and the class of a remainder. */
BT_FN double bt_cash_factor(double funds, double buys, double flat, double base, double least, double tick) {
    double room = funds - (flat * (least + 4.0 * tick) + (buys - flat) * (4.0 * tick));
    return (base == 0.0 ? 0.0 : bt_max(room / base, 0.0)) * BT_SHAVE;
}
BT_FN double bt_class(double scaled, double cut, double tie) { return 64.0 * trunc(8.0 * (scaled - cut)) + tie; }

/* [S4m] The part of q that reduces h, and the factor of all increases. */
BT_FN double bt_reduction(double q, double h) {
    double size = bt_min(fabs(q), fabs(h));
    return q < 0.0 && h > 0.0 ? -size : q > 0.0 && h < 0.0 ? size : 0.0;
}
BT_FN double bt_leverage_factor(double bound, double gross, double more) {
    return bt_max((bound - gross) / more, 0.0) * BT_SHAVE;
}

/* [S5m] The order of a holding in a margin call; f is (E/maintenance_margin)/gross. */
BT_FN double bt_call_order(double h, double f, int whole) {
    double size = fabs(h) * (1.0 - f);
    size = bt_min(fabs(h), whole ? ceil(size) : size);
    return (h > 0.0 ? -size : h < 0.0 ? size : 0.0) + 0.0;
}

/* [S7] The weight of a holding, the name cap, and the factor of a cap. */
BT_FN double bt_weight(double h, double mark, double equity, double magic) {
    return h != 0.0 ? bt_worth(h, mark, magic) * (1.0 / equity) : 0.0;
}
BT_FN double bt_name_cap(double w, double top) { return w > top ? top : w < -top ? -top : w; }
BT_FN double bt_factor(double part, double whole) { return whole == 0.0 ? 0.0 : bt_max(part / whole, 0.0); }
BT_FN double bt_weight_round(double x) { return bt_round(x, BT_WEIGHT_TICK * BT_MAGIC); }

/* [S7] A size, at most `room`, in whole lots where the asset has lots. */
BT_FN double bt_cut_down(double size, double room, bool lots) {
    return !lots ? bt_min(size, room) : size - room <= BT_SNAP ? size : bt_whole(room);
}

/* [S8] Lots to hold, before rounding; scale is E*(1 - cash_buffer), u is 1/P. */
BT_FN double bt_wanted(double scale, double w, double u) { return (scale * w) * u; }
