# SPDX-License-Identifier: Apache-2.0
"""[S4] Fills: the orders of the last decision meet a bar's prices, all assets at once.

Shapes: k scenarios, A active assets; `q` (k, A) signed lots, `price` (1, A) per lot, `money` (k, 3, A) = ref, drag and
slippage of each fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.holdings import carried
from cpu_fallback.ledger import SHAVE, all_of, any_of, count, snap, split_sums
from cpu_fallback.record import CODE

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane

__all__ = ["fill"]

#: The largest adverse move of a price.
_WORST = 0.95


def fill(lane: Lane, t: int, conditional: bool | None = None) -> None:
    """Fill what can fill at bar t, book it, and leave working or cancel the rest.

    conditional: only the orders with (True) or without (False) a limit or stop; None = all.
    """
    if lane.o is None:
        return
    lane.waiting = None
    price = lane.row(lane.exec.values, t)
    status = np.zeros(lane.o.shape, np.int32) if lane.record.logging else None
    q, lane.path, part = lane.o, None, True
    if lane.conditions is not None:
        has = lane.conditions.active(lane)
        if conditional is not None:
            part = has == conditional
            q = np.where(part, q, 0.0)
        if conditional is not False:
            lane.path = lane.conditions.path(lane, t, has)
            q, price = lane.path.matched(lane, q, price)
    price, q = _tradable(lane, t, price, q)
    if not lane.margin:
        q = _cut_to_holding(lane, q, status)
    if lane.thin and lane.p.has.participation:
        q = _cut_to_volume(lane, t, q, status)
    whole_order = q is lane.o
    _book(lane, t, price, q, status)
    if whole_order:
        lane.o = None
        return
    left = lane.o - q
    if not lane.keeps:  # a scenario that ended at the first mark takes no further step
        dropped = (left != 0) & part & ~lane.broke[:, None]
        lane.record.cut(lane, "CANCELLED", dropped, left)
        left = np.where(dropped, 0.0, left)
    lane.o = left if left.any() else None
    if lane.o is None:
        lane.conditions = None


def _tradable(lane: Lane, t: int, price: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(price with 0 for none, orders with a price, no mask against their side and, where impact is on, volume)."""
    if lane.ending:  # ended at the first mark of same_close: nothing trades
        q = np.where((lane.over | lane.broke)[:, None], 0.0, q)
    if lane.exec.gaps[t]:
        missing = np.isnan(price)
        price = np.where(missing, 0.0, price)
        lane.record.cut(lane, "NO_PRICE", missing & (q != 0), q)
        q = np.where(missing, 0.0, q)
    for side, mask in ((1, lane.market.can_buy), (-1, lane.market.can_sell)):
        if mask is not None:
            stopped = (np.sign(q) == side) & (lane.row(mask, t) == 0)
            lane.record.cut(lane, "RESTRICTED", stopped, q)
            q = np.where(stopped, 0.0, q)
    if lane.thin and lane.p.has.impact:
        empty = (lane.row(lane.market.volume, t) == 0) & (np.asarray(lane.p.impact) > 0) & (q != 0)
        lane.record.cut(lane, "VOLUME_CLIPPED", empty, q)
        q = np.where(empty, 0.0, q)
    return price, q


def _cut_to_holding(lane: Lane, q: np.ndarray, status: np.ndarray | None) -> np.ndarray:
    """A sell in a cash account is cut to the holding, the excess cancelled."""
    if not np.minimum.reduce(lane.h + q, axis=None, initial=0.0) < 0:
        return q
    cut = np.where(q < 0, np.where(q > -lane.h, q, -lane.h), q) + 0.0
    excess = q != cut
    lane.record.cut(lane, "CANCELLED", excess, q - cut)
    lane.o = np.where(excess, cut, lane.o)
    if status is not None:
        status[excess] = CODE["CANCELLED"]
    return cut


def _cut_to_volume(lane: Lane, t: int, q: np.ndarray, status: np.ndarray | None) -> np.ndarray:
    """The participation cap; NaN is off."""
    p, volume = lane.p, lane.row(lane.market.volume, t)
    shares = p.participation * volume
    cap = np.where(lane.whole, np.trunc(shares / lane.unit), shares)
    size = np.abs(q)
    cut = np.where(cap < size, cap, size)
    less = cut < size
    lane.record.cut(lane, "VOLUME_CLIPPED", less, np.sign(q) * (size - cut))
    if status is not None:
        status[less] = CODE["VOLUME_CLIPPED"]
    return np.where(q < 0, -cut, cut) + 0.0


def adverse_move(lane: Lane, t: int, size: np.ndarray) -> np.ndarray | float:
    """[S4] 2. a = slippage + half_spread + impact*(sqrt(|q|*lot)*(1/sqrt(volume))), at most 0.95."""
    p, market = lane.p, lane.market
    if market.half_spread is None and not p.has.impact and lane.path is None:
        return p.slippage if isinstance(p.slippage, float) and p.slippage < _WORST else np.minimum(p.slippage, _WORST)
    a = p.slippage
    if market.half_spread is not None:
        a = a + lane.row(market.half_spread, t)
    if p.has.impact:
        volume = lane.row(market.volume, t)
        inverse = np.where(volume > 0, 1 / np.sqrt(volume), 0.0)  # without volume nothing fills where impact is on
        a = a + p.impact * (np.sqrt(size * lane.unit) * inverse)
    a = np.where(a < _WORST, a, _WORST)
    return a if lane.path is None else np.where(lane.path.at_limit, 0.0, a)


def charge(lane: Lane, t: int, q: np.ndarray, price: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """[S4] 2. (money (k, 3, A) = ref, drag, slippage on the tick; variable commission and n*a before rounding)."""
    p, size = lane.p, np.abs(q)
    money = np.empty((len(q), 3, q.shape[1]))
    n = np.multiply(size, price, out=money[:, 0])
    v, moved = n, None
    if lane.moves:
        moved = np.multiply(n, adverse_move(lane, t, size), out=money[:, 2])
        v = n + np.copysign(moved, q)
    else:
        money[:, 2] = 0.0
    variable = v * p.commission_rate
    if p.has.commission_per_share:
        variable = (size * lane.unit) * p.commission_per_share + variable
    if p.has.max_commission_rate:
        most = p.max_commission_rate * n
        variable = np.where(most < variable, most, variable)  # NaN = off
    fee = variable
    if p.has.min_commission:
        fee = np.where(q != 0, np.maximum(variable, p.min_commission), 0.0)
        if p.has.max_commission_rate:
            fee = np.where(most < fee, most, fee)
    if p.has.sell_tax:
        fee = fee + np.where(q < 0, v * p.sell_tax, 0.0)
    if moved is None:
        money[:, 1] = fee
    else:
        np.add(moved, fee, out=money[:, 1])
        if p.has.min_commission:
            moved = moved.copy()  # [S4] 3. needs it before rounding
    snap(money, p.money3)
    return money, variable, moved


def _sums(lane: Lane, money: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(k, 3, 2) sums of ref, drag and slippage: of all fills, and of buys less sells. A product with signs, exact in
    any order because every partial sum is."""
    signs = lane.signs[: len(q), : q.shape[1]]  # (k, A, 2), the first column 1
    np.sign(q, out=signs[:, :, 1])
    return money @ signs


def _book(lane: Lane, t: int, price: np.ndarray, q: np.ndarray, status: np.ndarray | None) -> None:
    """[S4] 2. to 4.: costs, the cash or leverage limit, cash and holdings, the record."""
    if lane.margin:
        q = _limit_leverage(lane, t, price, q, status)
    money, variable, moved = charge(lane, t, q, price)
    sums = _sums(lane, money, q)
    cash = lane.cash - sums[:, 0, 1] - sums[:, 1, 0]  # buys take ref + drag, sells add ref - drag
    inside = all_of(np.abs(lane.cash) + sums[:, 0, 0] + sums[:, 1, 0] < lane.limit)  # bounds all that [S4] tests
    if not inside and not lane.margin:
        _test(lane, q, *_needs(lane, sums))
    if not lane.margin and not all_of(cash >= 0):  # need > A, and NaN
        clipped = _clip_to_cash(lane, t, price, q, (money, variable, moved), sums, status)
        if clipped is not q:
            q = clipped
            money = charge(lane, t, q, price)[0]
            sums = _sums(lane, money, q)
            cash = lane.cash - sums[:, 0, 1] - sums[:, 1, 0]
    if not inside:
        buys, sells = (sums[:, 0, 0] + sums[:, 0, 1]) * 0.5, (sums[:, 0, 0] - sums[:, 0, 1]) * 0.5
        _test(lane, q, buys, sells, sums[:, 1, 0] - sums[:, 2, 0], sums[:, 2, 0], cash)
    lane.cash = cash
    lane.h = lane.h + q
    lane.record.flow(t, sums)
    lane.record.count("fills", count(q))
    if status is not None:
        a = adverse_move(lane, t, np.abs(q)) if lane.moves else 0.0
        quote = lane.row(lane.field, t)
        lane.record.fill(lane, q, status, quote if lane.path is None else lane.path.quoted(quote), a, money)


def _needs(lane: Lane, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S4] 3. (need of the buys, proceeds of the sells, A = cash + proceeds)."""
    buys, sells = (sums[:, :, 0] + sums[:, :, 1]) * 0.5, (sums[:, :, 0] - sums[:, :, 1]) * 0.5
    proceeds = sells[:, 0] - sells[:, 1]
    return buys[:, 0] + buys[:, 1], proceeds, lane.cash + proceeds


def _test(lane: Lane, q: np.ndarray, *values: np.ndarray) -> None:
    """[S4] tests, only where some q != 0."""
    trades = q.any(axis=1)
    for value in values:
        lane.overflow(~(np.abs(value) < lane.limit) & trades)


def _clip_to_cash(lane: Lane, t: int, price: np.ndarray, q: np.ndarray, costs: tuple, sums: np.ndarray,
                  status: np.ndarray | None) -> np.ndarray:  # fmt: skip
    """[S4] 3. One factor for all buys of a scenario that cannot pay them, cut to lots; then remainders bought back."""
    p = lane.p
    need, _, funds = _needs(lane, sums)
    short = (need > funds) & (q > 0).any(axis=1) & ~lane.over
    if not any_of(short):
        return q
    buy = (q > 0) & short[:, None]
    size = np.where(buy, q, 0.0)
    base = need
    if p.has.min_commission:
        money, variable, moved = costs
        extra = variable - p.min_commission
        extra = np.where(extra > 0, extra, 0.0)
        extra = snap(extra if moved is None else moved + extra, p.magic)
        base = np.where(buy, money[:, 0] + extra, 0.0) @ lane.ones
    tick, minimum = p.v.tick, p.v.min_commission
    room = funds - count(buy) * (minimum + 4 * tick)
    factor = np.where(base == 0, 0.0, room / base)
    factor = np.where(factor > 0, factor, 0.0) * SHAVE
    scaled = factor[:, None] * size
    cut = np.where(lane.whole, np.trunc(scaled), scaled)
    cut = _buy_back(lane, t, price, cut, scaled, buy & (cut < size) & lane.whole, funds)
    less = buy & (cut < size)
    lane.record.cut(lane, "CASH_CLIPPED", less, size - cut)
    if status is not None:
        status[less] = CODE["CASH_CLIPPED"]
    return np.where(buy, cut, q)


def _buy_back(lane: Lane, t: int, price: np.ndarray, cut: np.ndarray, scaled: np.ndarray, cand: np.ndarray,
              funds: np.ndarray) -> np.ndarray:  # fmt: skip
    """[S4] 3. Remainders: one lot more for whole classes of buys, the largest fraction first, while the cash lasts."""
    if not cand.any():
        return cut
    now = charge(lane, t, cut, price)[0]
    now = now[:, 0] + now[:, 1]
    one_more = charge(lane, t, cut + 1, price)[0]
    extra = one_more[:, 0] + one_more[:, 1] - now
    left = funds - now @ lane.ones
    tie = lane.market.tie[lane.names]
    cut = cut.copy()
    for i in np.flatnonzero(cand.any(axis=1)):
        members = cand[i].nonzero()[0]
        classes = (64 * np.trunc(8 * (scaled[i, members] - cut[i, members]))).astype(np.int64) + tie[members]
        sums = np.bincount(classes, weights=extra[i, members], minlength=512)
        fits = np.cumsum(sums[::-1])[::-1] <= left[i]  # extras are >= 0: past the first misfit nothing fits
        cut[i, members[fits[classes]]] += 1
    return cut


def _limit_leverage(lane: Lane, t: int, price: np.ndarray, q: np.ndarray, status: np.ndarray | None) -> np.ndarray:
    """[S4m] Reductions pass; increases are scaled so that gross exposure stays within max_leverage of equity."""
    p, h = lane.p, lane.h
    magic, trades = p.magic, q.any(axis=1)
    at = price
    if lane.exec.gaps[t]:  # with same_close the bar has been marked already, unless this is the [S4] before it
        marked = lane.same_close and lane.path is None
        at = np.where(price > 0, price, lane.row(lane.marks, t) if marked else carried(lane, t))
    reduce = np.where(h * q < 0, np.sign(q) * np.minimum(np.abs(q), np.abs(h)), 0.0)
    grow = q - reduce
    long, short = split_sums(snap(lane.worth(h, at), magic), lane.ones)
    equity = lane.cash + long + short
    gross = snap(lane.worth(np.abs(h + reduce), at), magic) @ lane.ones
    more = snap(np.abs(grow) * price, magic) @ lane.ones
    _test(lane, q, long, short, equity, gross, more)
    bound = p.v.max_leverage * equity  # NaN where there is no limit
    over = (more > 0) & (gross + more > bound) & trades & ~lane.over
    if not any_of(over):
        return q
    factor = (bound - gross) / more
    factor = np.where(factor > 0, factor, 0.0) * SHAVE
    scaled = factor[:, None] * grow
    cut = np.where(lane.whole, np.trunc(scaled), scaled) + 0.0
    less = over[:, None] & (np.abs(cut) < np.abs(grow))
    lane.record.cut(lane, "LEVERAGE_CLIPPED", less, grow - cut)
    if status is not None:
        status[less] = CODE["LEVERAGE_CLIPPED"]
    return np.where(over[:, None], reduce + cut, q)
