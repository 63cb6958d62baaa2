# SPDX-License-Identifier: Apache-2.0
"""[S1] to [S3]: what happens to cash and holdings without a trade: financing, corporate actions, delistings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.ledger import near_whole, round_any, snap, split_sums, whole

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane

__all__ = ["borrow_fees", "carried", "corporate", "finance", "settle"]


def finance(lane: Lane, t: int) -> None:
    """[S1] Interest on cash and the borrow fee of shorts."""
    days = lane.days[t]
    p, cash = lane.p, lane.cash
    rate = np.where(cash >= 0, p.v.cash_rate, p.v.debit_rate)
    change = round_any(cash * (rate * (days / 360)), p.v.tick)
    if lane.borrows:
        fee = borrow_fees(lane, t, t + 1)[:, 0]
        lane.test(fee)
        change = change - fee
    lane.cash = cash + change
    lane.test(lane.cash)
    lane.record.put("financing", t, change)


def borrow_fees(lane: Lane, t0: int, t1: int) -> np.ndarray:
    """[S1] (k, B) borrow fees of bars t0..t1-1 for the shorts as they stand, at the marks of the bars before."""
    out = np.zeros((lane.k, t1 - t0))
    shorts = np.minimum(lane.h, 0.0)
    if not shorts.any():
        return out
    for b, t in enumerate(range(t0, t1)):
        rate = lane.p.borrow_rate if lane.market.borrow_rate is None else lane.row(lane.market.borrow_rate, t)
        fees = -lane.worth(shorts, lane.marks_before(t)) * (rate * (lane.days[t] / 365))
        out[:, b] = snap(fees, lane.p.magic) @ lane.ones
    return out


def carried(lane: Lane, t: int) -> np.ndarray:
    """(1, A) the mark before [S5] of bar t: the last one, divided by a split of this bar."""
    m = lane.marks_before(t)
    if lane.events.split[t]:
        s = lane.row(lane.market.split, t)
        m = np.where(s != 1, m / s, m)
    return m


def corporate(lane: Lane, t: int) -> None:
    """[S2] Cash dividends, then splits with the fractions they leave paid out."""
    if lane.events.dividend[t]:
        paid = np.where(lane.h != 0, lane.h * (lane.row(lane.market.dividend, t) * lane.unit), 0.0)
        paid = snap(paid, lane.p.magic)
        received, owed = split_sums(paid, lane.ones)
        lane.cash = lane.cash + received + owed
        lane.test(received, owed)
        lane.record.put("dividends", t, received + owed)
    if lane.events.split[t]:
        split(lane, t)
    lane.test(lane.cash)


def split(lane: Lane, t: int) -> None:
    """[S2] Holdings and orders times the ratio, fractions of a lot paid out at the new mark."""
    s = lane.row(lane.market.split, t)
    hit = s != 1
    if not hit.any():
        return
    if lane.conditions is not None:
        lane.conditions.split(lane.market.split[t])
    h = np.where(hit, lane.h * s, lane.h)
    lots_hit = hit & lane.whole
    kept = np.where(lots_hit, whole(h), h)
    left = np.where(lots_hit & ~near_whole(h), h - kept, 0.0)
    fractions = round_any(np.where(left != 0, left * carried(lane, t), 0.0), lane.p.tick) @ lane.ones
    lane.h = kept + 0.0
    if lane.o is not None:
        scaled = np.where(hit, lane.o * s, lane.o)
        o = np.where(lots_hit, whole(scaled), scaled)
        lane.record.cut(lane, "ROUNDED_OUT", (lane.o != 0) & (o == 0), scaled)
        lane.o = o
    lane.cash = lane.cash + fractions
    lane.record.add("settlements", t, fractions)


def settle(lane: Lane, t: int) -> None:
    """[S3] Holdings of assets delisted at this bar are paid out at their mark."""
    gone = lane.events.settled.get(t)
    if gone is None:
        return
    here = np.zeros(lane.n, bool)
    here[gone] = True
    here = here[None] if lane.cols is None else here[None, lane.cols]
    if not here.any():
        return
    back = lane.market.delisting_return[None] if lane.market.delisting_return is not None else np.zeros((1, lane.n))
    back = back if lane.cols is None else back.take(lane.cols, axis=1)
    paid = np.where(here & (lane.h != 0), lane.h * (carried(lane, t) * (1 + back)), 0.0)
    received, owed = split_sums(snap(paid, lane.p.magic), lane.ones)
    lane.cash = lane.cash + received + owed
    lane.test(received, owed, lane.cash)
    lane.record.add("settlements", t, received + owed)
    lane.h = np.where(here, 0.0, lane.h)
    if lane.o is not None:
        lane.record.cut(lane, "DELISTED", here & (lane.o != 0), lane.o)
        lane.o = np.where(here, 0.0, lane.o)
