# SPDX-License-Identifier: Apache-2.0
"""Scenarios over a panel that is read part by part: the state goes from part to part, the bits are those of one run.

What is carried is what `checkpoint` writes to a file (semantics.md, One bar), here for any number of scenarios.
Letters: T bars, N assets, K scenarios, L the largest signal_lag.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.engine.prepare import left_behind
from gpu_bt.engine.spec import Before, Engine, Progress, RawResult, RunSpec, Start, joined, simulate
from gpu_bt.law.layout import NEVER

__all__ = ["through"]

_NONE = np.empty(0)


def through(
    panel: PanelStream, books: Sequence[WeightsStream], params: np.ndarray, schedules: np.ndarray, engine: Engine, *,
    columns: str = "all", fills: bool = False, progress: Progress | None = None,
) -> tuple[RawResult, dict[str, int]]:  # fmt: skip
    """K scenarios through all parts of a stream: the record of one long run without its positions, and what the parts'
    notes count. params, schedules, columns, fills: as in RunSpec, whose weights are `books`."""
    run = _Run(panel, books, params, schedules, engine, columns, fills)
    for a, part in panel.parts():
        run.advance(a, part)
        b = a + part.shape[0]
        del part  # before the next one is read
        if progress is not None:
            progress(b, panel.shape[0])
    return run.result(), dict(run.counted)


class _Run:
    """The record so far, and what the next part goes on from."""

    def __init__(
        self, panel: PanelStream, books: Sequence[WeightsStream], params: np.ndarray, schedules: np.ndarray,
        engine: Engine, columns: str, fills: bool,
    ) -> None:  # fmt: skip
        self.books, self.schedules, self.engine = books, schedules, engine
        self.columns, self.fills, self.bars = columns, fills, panel.shape[0]
        pairs, place = np.unique(np.stack([params["weights"], params["signal_lag"]]), axis=1, return_inverse=True)
        #: (book, lag) of each weights panel that the engine is given: rows are lagged here, across the parts.
        self.pairs: list[tuple[int, int]] = list(zip(*pairs.tolist(), strict=True))
        self.params = params.copy()
        self.params["weights"], self.params["signal_lag"] = place.reshape(-1), 0
        self.lag = min(int(params["signal_lag"].max()), self.bars)
        self.late = {i: np.full((self.lag, panel.shape[1]), np.nan) for i, _ in self.pairs}  # last L rows of each book
        self.lots = np.unique(params["lot"]).tolist()
        self.before: Before | None = None
        self.start: Start | None = None
        self.first = np.array(NEVER, np.int32)  # (K, statuses): the bar of the whole panel at which each was set
        self.raw: list[RawResult] = []
        self.counted: Counter[str] = Counter()

    def advance(self, a: int, panel: Panel) -> None:
        """The bars of a part, from number a on."""
        market, b = dataclasses.replace(panel.market, before=self.before, cache={}), a + panel.shape[0]
        self.counted.update(panel.notes)
        spec = RunSpec(
            market, self.params, self._weights(panel, a), self.schedules[:, a:b], columns=self.columns,
            fills=self.fills, start=self.start,
        )  # fmt: skip
        raw = simulate(self.engine, spec)
        first = raw.state["first_bar"]
        self.first = np.where(first >= 0, first + a, self.first)
        self.start, self.before = raw.carried(), left_behind(market, self.lots)
        for log in (raw.fills, raw.cuts):
            if log is not None:
                log["bar"] += a
        self.raw.append(dataclasses.replace(raw, holdings=_NONE, orders=_NONE))

    def _weights(self, panel: Panel, a: int) -> tuple[np.ndarray, ...]:
        """The weights rows that the bars of a part read."""
        rows = {}
        for i in self.late:
            rows[i], counts = self.books[i].rows(panel, a)
            self.counted.update(counts)
            if self.lag:
                rows[i] = np.concatenate([self.late[i], rows[i]])
                self.late[i] = rows[i][len(rows[i]) - self.lag :].copy()
        spare = {pair: self.lag - min(pair[1], self.lag) for pair in self.pairs}
        return tuple(np.ascontiguousarray(rows[i][s : s + panel.shape[0]]) for (i, _), s in spare.items())

    def result(self) -> RawResult:
        """The record of all bars."""
        assert self.start is not None
        state = self.start.state.copy()
        state["first_bar"] = self.first
        whole = joined(self.raw, "bars")
        return dataclasses.replace(whole, state=state, holdings=self.start.holdings, orders=self.start.orders)
