# SPDX-License-Identifier: Apache-2.0
"""[S4] Fills: the orders of the last decision meet a bar's prices, all assets at once.

Shapes as in lane.py; `q` is (k, A) signed lots, `money` (3, k, A) the ref, drag and slippage of each fill.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cpu_fallback.lane import Lane
from cpu_fallback.ledger import MAGIC, SHAVE, Array, count, reduction, scale_to, snap, some, split_sums, total
from cpu_fallback.record import log_entries
from gpu_bt.engine.prepare import in_shares
from gpu_bt.law.layout import COUNTS, MONEY

__all__ = ["fill", "set_conditions"]

#: The money columns of the fills of a bar.
_FLOWS = slice(MONEY.index("buys"), MONEY.index("slippage") + 1)
#: The largest adverse move of a price.
_WORST = 0.95
#: Of amounts >= 0: 2**52 units round them right up to there, which drag may reach, as its two parts alone are tested.
_AMOUNTS = 2.0**52 / MAGIC


@dataclasses.dataclass
class _Offer:
    """What the bar offers, (1, A): a `price` per lot, 0 = none, and `volume` where it matters.

    Of a strategy's limit and stop orders: their `own` price per share, NaN = the bar's; `at_limit` where one fills as a
    limit, free of slippage.
    """

    price: Array
    volume: Array | None
    own: Array | None = None
    at_limit: Array | None = None


@dataclasses.dataclass
class _Costs:
    """Of (k, A) fills: `money` on the tick; before rounding, the variable commission and the adverse move, as money and
    as the fraction `a`."""

    money: Array
    variable: Array
    moved: Array
    a: Array

    def sums(self, q: Array) -> tuple[Array, Array, Array]:
        """(3, k, 1) each: ref, drag and slippage of all fills, of the buys, and of the sells."""
        both = total(self.money)
        net = np.einsum("mka,ka->mk", self.money, np.sign(q))[..., None]
        return both, (both + net) * 0.5, (both - net) * 0.5


def fill(lane: Lane, conditional: bool | None = None) -> None:
    """Fill what can fill at the open bar, book it, and leave working or cancel the rest.

    conditional: only the orders with (True) or without (False) a limit or stop; None = all.
    """
    q = lane.o
    part: Array | bool = True
    limited = _conditional(lane) if lane.spec.callback else None
    if conditional is not None and limited is not None:
        part = limited == conditional
        q = np.where(part, q, 0.0)
    if not np.count_nonzero(q):
        return
    volume = lane.market.volume if lane.on & {"impact", "participation"} else None
    offer = _Offer(lane.row(lane.exec.values), None if volume is None else lane.row(volume))
    lane.touched[:] = 0
    if limited is not None and conditional is not False and limited.any():
        q = _match_conditions(lane, offer, q, limited)
    q = _match(lane, offer, q)
    if not lane.margin:
        q = _cut_to_holding(lane, q)
    if "participation" in lane.on and offer.volume is not None:
        q = _cut_to_volume(lane, offer.volume, q)
    _book(lane, offer, q)
    filled = q is lane.o
    lane.o = lane.o - q  # what a limit of cash or leverage cuts off is cancelled, not left
    if not (lane.keeps or filled):  # a scenario that ended at the first mark takes no further step
        dropped = (lane.o != 0) & part & ~lane.broke
        lane.cut("CANCELLED", dropped, lane.o)
        lane.o = np.where(dropped, 0.0, lane.o)


# ---- [S4l] limit and stop orders of a strategy: one scenario


def set_conditions(lane: Lane, assets: Array, limit: Array | float = np.nan, stop: Array | float = np.nan) -> None:
    """The limit and stop of new orders. What stands beside an order of 0 has no meaning."""
    lane.limits[assets] = limit
    lane.stops[assets] = stop
    lane.triggered[assets] = False


def _conditional(lane: Lane) -> Array:
    """(1, A) bool: the order has a limit or stop."""
    free = np.isnan(lane.limits) & np.isnan(lane.stops)
    limited: Array = (lane.o != 0) & ~free[None, lane.names]
    return limited


def _match_conditions(lane: Lane, offer: _Offer, q: Array, limited: Array) -> Array:
    """[S4l] The orders without those that the bar does not reach; the others have their own price in the offer."""
    names = lane.names
    limit = lane.limits[None, names]
    stop = lane.stops[None, names]
    opened, high, low = (lane.row(getattr(lane.market, name)) for name in ("open", "high", "low"))
    known = ~(np.isnan(opened) | np.isnan(high) | np.isnan(low))
    buy = lane.o > 0
    waits = limited & known & ~np.isnan(stop) & ~lane.triggered[None, names]
    hit = waits & np.where(buy, high >= stop, low <= stop)
    lane.triggered[names] |= hit[0]
    has_limit = ~np.isnan(limit)
    # A stop-limit that its bar triggers is a limit in that bar only where the open triggered it.
    works = limited & known & (~waits | (hit & np.where(buy, opened >= stop, opened <= stop)))
    better = np.where(buy, opened <= limit, opened >= limit)
    touched = np.where(buy, low <= limit, high >= limit)
    at_limit = works & has_limit & (better | touched)
    first = np.where(buy, np.maximum(opened, stop), np.minimum(opened, stop))
    price = np.where(hit & ~has_limit, first, np.where(works & ~has_limit, opened, np.nan))
    price = np.where(at_limit, np.where(better, opened, limit), price)
    reached = ~np.isnan(price)
    offer.price = np.where(reached, price * lane.unit, offer.price)
    offer.own = price
    offer.at_limit = at_limit
    lane.cut("NO_PRICE", limited & ~known, q)
    return np.where(limited & ~reached, 0.0, q)


# ---- [S4] 1. what can fill


def _match(lane: Lane, offer: _Offer, q: Array) -> Array:
    """The orders with a price, no mask against their side and, where impact is on, volume."""
    if lane.same_close:  # a scenario that ended at the first mark trades no more
        q = np.where(lane.dead, 0.0, q)
    stopped = []
    if lane.exec.gaps[lane.t]:
        missing = np.isnan(offer.price)
        offer.price = np.where(missing, 0.0, offer.price)
        stopped.append(("NO_PRICE", missing))
    for side, mask in ((1, lane.market.can_buy), (-1, lane.market.can_sell)):
        if mask is not None:
            stopped.append(("RESTRICTED", (np.sign(q) == side) & (lane.row(mask) == 0)))
    if "impact" in lane.on and offer.volume is not None:
        stopped.append(("VOLUME_CLIPPED", (offer.volume == 0) & (lane.p["impact"] > 0)))
    for status, where in stopped:
        lane.cut(status, where & (q != 0), q)
        q = np.where(where, 0.0, q)
    return q


def _cut_to_holding(lane: Lane, q: Array) -> Array:
    """A sell in a cash account is cut to the holding, the excess cancelled."""
    excess = lane.h + q < 0
    if not np.count_nonzero(excess):
        return q
    cut = np.where(excess, 0.0 - lane.h, q)
    lane.cut("CANCELLED", excess, q - cut)
    lane.o = np.where(excess, cut, lane.o)
    return cut


def _cut_to_volume(lane: Lane, volume: Array, q: Array) -> Array:
    """The participation cap; NaN is off."""
    shares = lane.p["participation"] * volume
    cap = np.where(lane.whole, np.trunc(shares / lane.unit), shares)
    size = np.abs(q)
    less = (cap < size) & ~(in_shares(size, lane.unit) <= shares)
    lane.cut("VOLUME_CLIPPED", less, np.sign(q) * (size - cap))
    return np.where(less, np.sign(q) * cap + 0.0, q)


# ---- [S4] 2. and 3. costs, and cash


def _charge(lane: Lane, offer: _Offer, q: Array) -> _Costs:
    """[S4] 2. What the fills q cost."""
    p, on, size = lane.p, lane.on, np.abs(q)
    a = p["slippage"]
    if lane.market.half_spread is not None:
        a = a + lane.row(lane.market.half_spread)
    if "impact" in on and offer.volume is not None:
        inverse = np.where(offer.volume > 0, 1 / np.sqrt(offer.volume), 0.0)  # without volume nothing fills
        root = np.sqrt(size * lane.unit) * inverse
        a = a + p["impact"] * (root if lane.market.volatility is None else lane.row(lane.market.volatility) * root)
    a = np.minimum(a, _WORST)
    if offer.at_limit is not None:
        a = np.where(offer.at_limit, 0.0, a)
    n = size * offer.price
    moved = n * a
    v = n + np.copysign(moved, q)
    variable = v * p["commission_rate"]
    if "commission_per_share" in on:
        variable = (size * lane.unit) * p["commission_per_share"] + variable
    if "fixed_commission" in on:
        variable = np.where(q != 0, p["fixed_commission"], 0.0) + variable
    most: Array | float = np.nan  # = off
    if "max_commission_rate" in on:
        most = p["max_commission_rate"] * n
        variable = np.fmin(variable, most)
    fee = variable
    if "min_commission" in on:
        fee = np.fmin(np.where(q != 0, np.maximum(variable, p["min_commission"]), 0.0), most)
    if "sell_tax" in on:
        fee = fee + np.where(q < 0, v * p["sell_tax"], 0.0)
    money = snap(np.array([n, moved + fee, moved]), lane.magic * _AMOUNTS)
    return _Costs(money, variable, moved, a)


def _book(lane: Lane, offer: _Offer, q: Array) -> None:
    """[S4] 2. to 4.: costs, the limit of cash, cash and holdings, the record."""
    if lane.margin:
        q = _limit_leverage(lane, offer, q)
    costs = _charge(lane, offer, q)
    both, buys, sells = costs.sums(q)
    need, proceeds = buys[0] + buys[1], sells[0] - sells[1]
    funds = lane.cash + proceeds
    tested = [] if lane.margin else [need, proceeds, funds]
    bound = np.abs(lane.cash) + both[0] + both[1]  # of all that is tested
    if not lane.margin and some(need > funds):
        q = _clip_to_cash(lane, offer, q, costs, need, funds)
        costs = _charge(lane, offer, q)
        both, buys, sells = costs.sums(q)
    _, drag, slippage = both
    cash = funds - buys[0] - buys[1]
    fills = count(q)
    flows = [buys[0], sells[0], drag - slippage, slippage]
    if some(~(bound < lane.limit)):
        lane.test(*tested, *flows, cash, where=total(q != 0) > 0)
    lane.cash = cash
    lane.h = lane.h + q
    lane.money[_FLOWS] += flows
    lane.counts[COUNTS.index("fills")] += fills
    if lane.spec.fills:
        _log(lane, offer, q, costs)


def _log(lane: Lane, offer: _Offer, q: Array, costs: _Costs) -> None:
    """Every fill: as the last cut that touched it, or FILLED."""
    k, a = q.nonzero()
    assets = lane.names[a]
    quote = lane.row(lane.field)
    if offer.own is not None:
        quote = np.where(np.isnan(offer.own), quote, offer.own)
    price = quote[0, a]
    moved = price * np.broadcast_to(costs.a, q.shape)[k, a]
    _, drag, slippage = costs.money[:, k, a]
    entries = log_entries(lane.members[k], lane.t, assets)
    entries["status"] = lane.touched[k, assets]
    entries["shares"] = in_shares(q[k, a], lane.unit[0, a])
    entries["price"] = price + np.sign(q[k, a]) * moved
    entries["reference_price"] = price
    entries["slippage"] = slippage
    entries["commission"] = drag - slippage
    lane.fills.append(entries)


def _clip_to_cash(lane: Lane, offer: _Offer, q: Array, costs: _Costs, need: Array, funds: Array) -> Array:
    """[S4] 3. One factor for all buys of a scenario that cannot pay them, cut to lots; then remainders bought back."""
    p = lane.p
    buy = (q > 0) & (need > funds) & (need < lane.limit)
    size = np.where(buy, q, 0.0)
    base, least = need, np.maximum(p["fixed_commission"], p["min_commission"])
    flat = buy  # what costs `least` however small it is cut
    if some(least > 0):
        most = p["max_commission_rate"] * (size * offer.price)
        flat = buy & ~(most < least)
        extra = snap(costs.moved + np.where(flat, np.maximum(costs.variable - least, 0.0), most), lane.magic)
        base = total(np.where(buy, costs.money[0] + extra, 0.0))
    room = funds - (total(flat) * (least + 4 * p["tick"]) + total(buy & ~flat) * (4 * p["tick"]))
    scaled = scale_to(room, base) * SHAVE * size
    cut = np.where(lane.whole, np.trunc(scaled), scaled)
    cut = _buy_back(lane, offer, cut, scaled, size, funds)
    lane.cut("CASH_CLIPPED", buy & (cut < size), size - cut)
    return np.where(buy, cut, q)


def _buy_back(lane: Lane, offer: _Offer, cut: Array, scaled: Array, size: Array, funds: Array) -> Array:
    """[S4] 3. Remainders: one lot more, or what is left of the `size` ordered, for whole classes of buys, the largest
    fraction first, while the cash lasts."""
    cand = (cut < size) & lane.whole
    fuller = np.where(cand, np.minimum(cut + 1, size), cut)
    now = _charge(lane, offer, cut).money
    more = _charge(lane, offer, fuller).money
    extra = (more[0] + more[1]) - (now[0] + now[1])
    left = funds - total(now[0] + now[1])
    tie = lane.tie[lane.names]
    cut = cut.copy()
    for i in np.flatnonzero(cand.any(axis=1)):
        members = cand[i].nonzero()[0]
        classes = (64 * np.trunc(8 * (scaled[i, members] - cut[i, members]))).astype(np.int64) + tie[members]
        sums = np.bincount(classes, weights=extra[i, members], minlength=512)
        fits = np.cumsum(sums[::-1])[::-1] <= left[i]  # extras are >= 0: past the first misfit nothing fits
        back = members[fits[classes]]
        cut[i, back] = fuller[i, back]
    return cut


def _limit_leverage(lane: Lane, offer: _Offer, q: Array) -> Array:
    """[S4m] Reductions pass; increases are scaled so that gross exposure stays within max_leverage of equity."""
    h, trades = lane.h, (q != 0).any(axis=1, keepdims=True)
    marked = lane.same_close and offer.own is None  # limit and stop orders fill before the bar's first mark
    mark = lane.row(lane.marks) if marked else lane.carried()
    price = np.where(offer.price > 0, offer.price, mark)
    reduce = reduction(q, h)
    grow = q - reduce
    long, short = (x[:, None] for x in split_sums(snap(lane.worth(h, price), lane.magic)))
    equity = lane.cash + long + short
    gross = total(snap(lane.worth(np.abs(h + reduce), price), lane.magic))
    more = total(snap(np.abs(grow) * offer.price, lane.magic))
    lane.test(long, short, equity, gross, more, where=trades)
    bound = lane.p["max_leverage"] * equity  # NaN where there is no limit
    over = (more > 0) & (gross + more > bound) & trades & ~lane.over
    if not over.any():
        return q
    scaled = scale_to(bound - gross, more) * SHAVE * grow
    cut = np.where(lane.whole, np.trunc(scaled), scaled) + 0.0
    lane.cut("LEVERAGE_CLIPPED", over & (np.abs(cut) < np.abs(grow)), grow - cut)
    return np.where(over, reduce + cut, q)
