# SPDX-License-Identifier: Apache-2.0
"""The oracle's limits: [S7] on targets, and [S4l], the limit and stop orders of strategies.

`Limits` is a base class of `oracle_orders.py`'s Trading; the fields are set by the run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oracle_numbers import LedgerOverflow, rint, sgn, trunc

from gpu_bt.config import Config

if TYPE_CHECKING:
    from oracle import Oracle, OraclePanel

__all__ = ["Limits", "Orders"]

_WEIGHT_GRID = 2.0**-40


class Orders:
    """Direct orders of a strategy, drawn beforehand: (T, N) arrays, NaN = none. `lots` are signed, unrounded; `exits`
    say which part of the holding to sell instead (an order of -exits*h); inf in `lots` = wanted, but without a price.
    `limit` and `stop` go with either, per share. A cell has a weight or an order, not both."""

    def __init__(self, lots: Any, exits: Any, limit: Any, stop: Any) -> None:
        self.lots, self.exits, self.limit, self.stop = lots, exits, limit, stop


class Limits:
    """The steps that limit; the fields are set by the run."""

    panel: OraclePanel
    config: Config
    n: int
    lot: list[float]
    unit: list[float]
    equity: float
    h: list[float]
    o: list[float]
    m: list[float]
    limit: list[float]
    stop: list[float]
    triggered: list[bool]
    count: Counter[str]
    out: Oracle

    # --- [S4l] ---

    def conditional(self, i: int) -> bool:
        return not (math.isnan(self.limit[i]) and math.isnan(self.stop[i]))

    def unconditional(self, i: int) -> None:
        """The order of an asset has no limit and no stop (any more)."""
        self.limit[i] = self.stop[i] = math.nan
        self.triggered[i] = False

    def reached(self, t: int, i: int) -> tuple[float, bool, bool]:
        """[S4l] (price per share or NaN, it is a limit fill, the bar has a path) of such an order; may trigger it."""
        opened, high, low = (self.price(name, t, i) for name in ("open", "high", "low"))
        if math.isnan(opened) or math.isnan(high) or math.isnan(low):
            return math.nan, False, False
        buy, limit, stop = self.o[i] > 0.0, self.limit[i], self.stop[i]
        has_limit = not math.isnan(limit)
        if not math.isnan(stop) and not self.triggered[i]:
            if not (high >= stop if buy else low <= stop):
                return math.nan, False, True
            self.triggered[i] = True
            self.out.paths["stop triggered, " + ("buy" if buy else "sell")] += 1
            if not has_limit:
                if buy:
                    return (opened if opened > stop else stop), False, True
                return (opened if opened < stop else stop), False, True
            if not (opened >= stop if buy else opened <= stop):
                self.out.paths["stop-limit triggered within the bar"] += 1
                return math.nan, False, True
            self.out.paths["stop-limit triggered by the open"] += 1
        if not has_limit:
            self.out.paths["triggered stop at a later open"] += 1
            return opened, False, True
        if opened <= limit if buy else opened >= limit:
            self.out.paths["limit at the open"] += 1
            return opened, True, True
        if low <= limit if buy else high >= limit:
            self.out.paths["limit within the bar"] += 1
            return limit, True, True
        return math.nan, True, True

    # --- [S7] ---

    def limits(self, targets: dict[int, float]) -> set[int]:
        """[S7] Changes `targets`; the assets inside the no-trade band."""
        c, w = self.config, [0.0] * self.n
        for i in range(self.n):
            if self.h[i] != 0.0:
                w[i] = self.money(self.h[i] * self.m[i]) * (1.0 / self.equity)
        if c.max_weight is not None:
            for i, x in targets.items():
                targets[i] = max(-c.max_weight, min(x, c.max_weight)) + 0.0
                self.out.paths["name cap"] += targets[i] != x
        if c.max_gross is not None:
            self.gross_cap(targets, w)
        if c.max_turnover is not None:
            self.turnover_cap(targets, w)
        banded = set()
        if c.band > 0.0:
            banded = {i for i, x in targets.items() if abs(x - w[i]) <= c.band and x != 0.0}
        self.out.paths["in the band"] += len(banded)
        return banded

    def limit_direct(self, placed: Sequence[int]) -> None:
        """[S7] Direct orders, as they would be held if every order filled at the mark."""
        c = self.config
        caps = [x for x in (c.max_weight, c.max_gross) if x is not None]
        if not caps:
            return
        cash, inverse = c.account == "cash", 1.0 / self.equity
        left, more = list(self.o), dict.fromkeys(placed, 0.0)
        for i in placed:
            o, h = self.o[i], self.h[i]
            if not (cash and o < 0.0):
                left[i] = sgn(o) * min(abs(o), abs(h)) if sgn(o) * sgn(h) < 0.0 else 0.0
                more[i] = abs(o - left[i])
        stays = [max(0.0, self.h[i] + left[i]) if cash else abs(self.h[i] + left[i]) for i in range(self.n)]
        wanted = dict(more)
        for i in placed:
            m = self.m[i]
            room = (self.equity * min(caps)) * (1.0 / m) - stays[i] if m > 0.0 else 0.0
            kept = self.cut_down(i, more[i], max(0.0, room))
            self.out.paths["direct order, name cap"] += kept != more[i]
            self.out.paths["direct order, name cap met but for dust"] += kept == more[i] and kept > room
            more[i] = kept
        if c.max_gross is not None:
            kept = self.weight_sum(
                [(x * m) * inverse for x, m in zip(stays, self.m, strict=True) if x != 0.0 and m == m]
            )
            grown = self.weight_sum([(x * self.m[i]) * inverse for i, x in more.items() if x != 0.0])
            self.test_weights(kept, kept + grown)
            if grown > 0.0 and kept + grown > c.max_gross:
                f = max(0.0, (c.max_gross - kept) / grown) * (1.0 - 2.0**-40)
                more = {i: self.cut_down(i, x, x * f) for i, x in more.items()}
                self.out.paths["direct order, gross cap"] += 1
        for i in placed:
            if more[i] != wanted[i]:
                self.o[i] = left[i] + sgn(self.o[i]) * more[i] + 0.0
                self.count["limited"] += 1

    def cut_down(self, i: int, size: float, room: float) -> float:
        """A size, at most `room`: in whole lots, and within a millionth of one, where the asset has lots."""
        if self.lot[i] == 0.0:
            return min(size, room)
        if size - room <= 1e-6:
            return size
        return rint(room) if abs(room - rint(room)) <= 1e-6 else trunc(room)

    def weight_sum(self, terms: Sequence[float]) -> float:
        total = 0.0
        for x in terms:
            total += rint(abs(x) / _WEIGHT_GRID) * _WEIGHT_GRID
        return total

    def test_weights(self, *sums: float) -> None:
        for x in sums:
            if not abs(x) < 2.0**51 * _WEIGHT_GRID:
                raise LedgerOverflow

    def gross_cap(self, targets: dict[int, float], w: list[float]) -> None:
        """[S7]"""
        held = self.weight_sum([w[i] for i in range(self.n) if i not in targets])
        gross = held + self.weight_sum(list(targets.values()))
        self.test_weights(held, gross)
        most = self.config.max_gross
        if gross > most:
            f = max(0.0, (most - held) / (gross - held)) if gross - held != 0.0 else 0.0
            self.out.paths["gross cap"] += 1
            self.out.paths["gross cap, f = 0"] += f == 0.0
            for i in targets:
                targets[i] = targets[i] * f + 0.0

    def turnover_cap(self, targets: dict[int, float], w: list[float]) -> None:
        """[S7]"""
        exits = self.weight_sum([w[i] for i, x in targets.items() if x == 0.0])
        moves = self.weight_sum([x - w[i] for i, x in targets.items()])
        self.test_weights(exits, moves)
        x_half, tau = exits / 2.0, moves / 2.0
        most = self.config.max_turnover
        if tau > most:
            f = max(0.0, (most - x_half) / (tau - x_half)) if tau - x_half != 0.0 else 0.0
            self.out.paths["turnover cap"] += 1
            self.out.paths["turnover cap, f = 0"] += f == 0.0
            for i, x in targets.items():
                if x != 0.0:
                    targets[i] = w[i] + (x - w[i]) * f + 0.0
