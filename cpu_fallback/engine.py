# SPDX-License-Identifier: Apache-2.0
"""The NumPy engine: the readable reference of semantics.md, vectorised over assets and scenarios."""

from __future__ import annotations

import numpy as np

from cpu_fallback.bar import advance, close_bar, open_bar
from cpu_fallback.lane import Lane
from cpu_fallback.record import Record
from gpu_bt.engine.lanes import ADRIFT
from gpu_bt.engine.spec import Book, Decision, RawResult, RunSpec
from gpu_bt.law.layout import STRUCTURAL

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

    def claim(self) -> None:
        """Nothing is claimed."""

    def open(self, spec: RunSpec) -> NumpySession:
        """A session at bar 0."""
        return NumpySession(spec.on_host())


class NumpySession:
    """Scenarios in batches that share their STRUCTURAL fields; each batch moves through the bars by itself."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec, self.record = spec, Record(spec)
        self.t, self.opened = 0, False
        due = spec.due()
        size = max(1, _BATCH // spec.market.shape[1])
        groups: dict[tuple[float, ...], list[int]] = {}
        shared: list[str] = list(STRUCTURAL)
        for i, row in enumerate(spec.params[shared].tolist()):
            groups.setdefault(row, []).append(i)
        batches = [np.array(group[a : a + size]) for group in groups.values() for a in range(0, len(group), size)]
        with np.errstate(all="ignore"):
            self.lanes = [Lane(spec, members, due[:, members], self.record) for members in batches]

    def advance(self, t0: int, t1: int) -> None:
        """Run bars t0..t1-1; t0 is where the last call stopped."""
        if t0 != self.t or self.opened or not t0 <= t1 <= self.spec.market.shape[0]:
            raise ValueError(f"advance({t0}, {t1}): the session stands at bar {self.t} of {self.spec.market.shape[0]}")
        self.t = ADRIFT  # after Ctrl-C some lanes have moved and some not: nothing goes on
        with np.errstate(all="ignore"):
            for lane in self.lanes:
                advance(lane, t0, t1)
        self.t = t1

    def open_bar(self, t: int) -> bool:
        """[S1] to [S5m], with same_close [S1] to [S5d]; whether a strategy may decide now."""
        if not t == self.t < self.spec.market.shape[0] or self.opened or not self.spec.callback:
            raise ValueError(f"open_bar({t}): the session stands at bar {self.t}, or is no callback run")
        (lane,), self.opened = self.lanes, True
        if not lane.k:
            return False
        with np.errstate(all="ignore"):
            open_bar(lane, t)
        return not (lane.dead | lane.stop | lane.called).any()

    def book(self) -> Book:
        """The portfolio at the open bar."""
        (lane,) = self.lanes
        return Book(lane.cash.item(), lane.marked.equity.item(), lane.spread(lane.h)[0], lane.spread(lane.o)[0])

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """[S6] to [S9] of the open bar."""
        if t != self.t or not self.opened:
            raise ValueError(f"close_bar({t}): open_bar({self.t}) comes first")
        (lane,), self.opened = self.lanes, False
        if lane.k:
            with np.errstate(all="ignore"):
                close_bar(lane, decision or Decision())
        self.t = t + 1

    def result(self) -> RawResult:
        """The record of bars [0, t)."""
        if self.t == ADRIFT:
            raise ValueError("result(): the session was interrupted within a call; run it again")
        for lane in self.lanes:
            lane.save()
        return self.record.result()


ENGINE = NumpyEngine()
