# SPDX-License-Identifier: Apache-2.0
"""The NumPy engine: the readable reference of semantics.md, vectorised over assets and scenarios."""

from __future__ import annotations

import numpy as np

from cpu_fallback.lane import Lane
from gpu_bt.engine.lanes import ADRIFT
from gpu_bt.engine.spec import Book, Decision, RawResult, RunSpec, ordered
from gpu_bt.law.layout import COUNTS, STATE, STRUCTURAL

__all__ = ["ENGINE", "NumpyEngine", "NumpySession"]

#: Scenarios times assets that go through a bar together: their arrays stay in a core's second-level cache.
_BATCH = 32_768


class NumpyEngine:
    """Runs wherever NumPy does."""

    name = "numpy"

    def missing(self) -> str | None:
        """Always None: NumPy is required by the package."""
        return None

    def ready(self) -> bool:
        """Nothing is compiled at run time."""
        return True

    def open(self, spec: RunSpec) -> NumpySession:
        """A session at bar 0."""
        return NumpySession(spec)


class NumpySession:
    """Scenarios in batches that share their STRUCTURAL fields; each batch moves through the bars by itself."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.t, self.opened = 0, False
        due = spec.due()
        size = max(1, _BATCH // spec.market.shape[1])
        groups: dict[tuple, list[int]] = {}
        for i, row in enumerate(spec.params[list(STRUCTURAL)].tolist()):
            groups.setdefault(row, []).append(i)
        self.lanes = [
            Lane(spec, np.array(members[a : a + size]), due[:, members[a : a + size]])
            for members in groups.values()
            for a in range(0, len(members), size)
        ]

    def advance(self, t0: int, t1: int) -> None:
        """Run bars t0..t1-1; t0 is where the last call stopped."""
        if t0 != self.t or self.opened or not t0 <= t1 <= self.spec.market.shape[0]:
            raise ValueError(f"advance({t0}, {t1}): the session stands at bar {self.t} of {self.spec.market.shape[0]}")
        self.t = ADRIFT  # after Ctrl-C some lanes have moved and some not: nothing goes on
        for lane in self.lanes:
            lane.advance(t0, t1)
        self.t = t1

    def open_bar(self, t: int) -> bool:
        """[S1] to [S5m], with same_close [S1] to [S5d]; whether a strategy may decide now."""
        if not t == self.t < self.spec.market.shape[0] or self.opened or not self.spec.callback:
            raise ValueError(f"open_bar({t}): the session stands at bar {self.t}, or is no callback run")
        (lane,), self.opened = self.lanes, True
        with np.errstate(all="ignore"):
            return bool(lane.k and lane.open(t))

    def book(self) -> Book:
        """The portfolio at the open bar."""
        (lane,) = self.lanes
        held, orders = lane.whole_book()
        return Book(lane.cash.item(), lane.equity.item(), held[0], orders[0])

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """[S6] to [S9] of the open bar."""
        if t != self.t or not self.opened:
            raise ValueError(f"close_bar({t}): open_bar({self.t}) comes first")
        (lane,), self.opened = self.lanes, False
        if lane.k:
            with np.errstate(all="ignore"):
                lane.close_bar(t, decision)
        self.t = t + 1

    def result(self) -> RawResult:
        """The record of bars [0, t)."""
        if self.t == ADRIFT:
            raise ValueError("result(): the session was interrupted within a call; run it again")
        spec, k = self.spec, len(self.spec.params)
        t_count, n = spec.market.shape
        first = self.lanes[0].record
        money = np.empty((first.money.shape[1], k, t_count))
        counts = np.empty((len(COUNTS), k, t_count), np.int32) if first.counts is not None else None
        positions = np.empty((k, t_count, n)) if spec.positions else None
        state, holdings, orders = np.zeros(k, STATE), np.empty((k, n)), np.empty((k, n))
        for lane in self.lanes:
            members = lane.record.members
            money[:, members] = lane.record.columns()
            money[:, members, self.t :] = np.nan
            if counts is not None:
                counts[:, members] = lane.record.counts.transpose(1, 2, 0)
            if positions is not None:
                positions[members] = lane.record.positions
            for i, (cash, peak, first_bar, ended, h, o) in lane.states().items():
                state[i] = (cash, peak, first_bar, ended)
                holdings[i], orders[i] = h, o
        fills = cuts = None
        if spec.fills:
            fills = ordered([c for lane in self.lanes for c in lane.record.fills])
            cuts = ordered([c for lane in self.lanes for c in lane.record.cuts])
        return RawResult("numpy", money, counts, state, holdings, orders, fills, cuts, positions)


ENGINE = NumpyEngine()
