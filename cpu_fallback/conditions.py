# SPDX-License-Identifier: Apache-2.0
"""[S4l] Limit and stop orders of a strategy: which of them a bar reaches, and at what price.

One scenario: state is (N,), what a bar makes of it (1, A) on the active columns. Prices are per share.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane

__all__ = ["Conditions", "Path"]


@dataclasses.dataclass(frozen=True)
class Path:
    """The orders `has` (1, A) that have a limit or stop: `price` NaN where the bar does not reach one, `known` False
    where it has no open, high or low, `at_limit` where it fills as a limit, free of slippage."""

    has: np.ndarray
    price: np.ndarray
    known: np.ndarray
    at_limit: np.ndarray

    def matched(self, lane: Lane, q: np.ndarray, price: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(orders without those that the bar does not reach, prices per lot with those of the path)."""
        lane.record.cut(lane, "NO_PRICE", self.has & ~self.known & (q != 0), q)
        reached = ~np.isnan(self.price)
        return np.where(self.has & ~reached, 0.0, q), np.where(reached, self.price * lane.unit, price)

    def quoted(self, quote: np.ndarray) -> np.ndarray:
        """Prices per share, with those of the path."""
        return np.where(np.isnan(self.price), quote, self.price)


class Conditions:
    """Limit and stop price of each asset's working order, NaN = none, and whether the stop was triggered. What stands
    beside an order of 0 has no meaning."""

    def __init__(self, n: int) -> None:
        self.limit, self.stop, self.triggered = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)

    def put(self, where: np.ndarray, limit: np.ndarray | float, stop: np.ndarray | float) -> bool:
        """New orders of the (N,) mask; whether any condition is left."""
        self.limit = np.where(where, limit, self.limit)
        self.stop = np.where(where, stop, self.stop)
        self.triggered = self.triggered & ~where
        return not (np.isnan(self.limit).all() and np.isnan(self.stop).all())

    def split(self, ratio: np.ndarray) -> None:
        """[S2]"""
        self.limit, self.stop = self.limit / ratio, self.stop / ratio

    def active(self, lane: Lane) -> np.ndarray:
        """(1, A) bool: the order has a limit or stop."""
        return (~(np.isnan(self.limit) & np.isnan(self.stop)))[None, lane.names] & (lane.o != 0)

    def path(self, lane: Lane, t: int, has: np.ndarray) -> Path:
        """[S4l] What bar t makes of the orders `has`; stops that it reaches are triggered."""
        names = lane.names
        limit, stop = self.limit[None, names], self.stop[None, names]
        opened, high, low = (lane.row(getattr(lane.market, name), t) for name in ("open", "high", "low"))
        known = ~(np.isnan(opened) | np.isnan(high) | np.isnan(low))
        buy = lane.o > 0
        waits = has & known & ~np.isnan(stop) & ~self.triggered[None, names]
        hit = waits & np.where(buy, high >= stop, low <= stop)
        self.triggered[names] |= hit[0]
        limited = ~np.isnan(limit)
        # A stop-limit that its bar triggers is a limit in that bar only where the open triggered it.
        works = has & known & (~waits | (hit & np.where(buy, opened >= stop, opened <= stop)))
        better = np.where(buy, opened <= limit, opened >= limit)
        touched = np.where(buy, low <= limit, high >= limit)
        at_limit = works & limited & (better | touched)
        first = np.where(buy, np.maximum(opened, stop), np.minimum(opened, stop))
        price = np.where(hit & ~limited, first, np.where(works & ~limited, opened, np.nan))
        return Path(has, np.where(at_limit, np.where(better, opened, limit), price), known, at_limit)
