# SPDX-License-Identifier: Apache-2.0
"""Scenarios over a panel that is read window by window: the state goes along, the bits are those of one run.

What is carried is what `checkpoint` writes to a file (semantics.md, One bar), here for any number of scenarios.
Letters: T bars, N assets, K scenarios, L the largest signal_lag.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from gpu_bt.analysis.advice import Asked, asked_at, asked_by_all
from gpu_bt.analysis.spans import began
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.engine.prepare import left_behind
from gpu_bt.engine.spec import Before, Cache, Engine, Progress, RawResult, RunSpec, Start, joined, simulate
from gpu_bt.law.layout import NEVER
from gpu_bt.runs.holdings import Opening
from gpu_bt.runs.settled import Settled

__all__ = ["through"]

_NONE = np.empty(0)


def through(
    panel: PanelStream, books: Sequence[WeightsStream], params: np.ndarray, schedules: np.ndarray, engine: Engine,
    held: Opening | None = None, *, columns: str = "all", fills: bool = False, progress: Progress | None = None,
    settled: Settled | None = None,
) -> tuple[RawResult, dict[str, int], list[Asked]]:  # fmt: skip
    """K scenarios through all windows of a stream: the record of one long run without its positions, what the windows'
    notes count, and what each scenario asked for. params, schedules, columns, fills: as in RunSpec, whose weights are
    `books`.   held: what is held before the first bar.   settled: sees each window of one scenario."""
    pairs, place = np.unique(np.stack([params["weights"], params["signal_lag"]]), axis=1, return_inverse=True)
    rows = _Lagged(books, list(zip(*pairs.tolist(), strict=True)), panel.shape)
    params = params.copy()
    params["weights"], params["signal_lag"] = place.reshape(-1), 0
    lots = np.unique(params["lot"]).tolist()
    before: Before | None = held.before if held else None
    start: Start | None = None
    due: list[np.ndarray] = []
    asked: list[Asked] = []
    with_books: list[np.ndarray] = []
    begun = np.full(len(params), -1)
    first = np.array(NEVER, np.int32)  # (K, statuses): the bar of the whole panel at which each was set
    records: list[RawResult] = []
    counted: Counter[str] = Counter()
    for a, window in panel.parts():
        b = a + window.shape[0]
        counted.update(window.notes)
        market = dataclasses.replace(window.market, before=before, cache=Cache())
        start = held.start(params, market) if held and not a else start
        spec = RunSpec(
            market, params, rows.of(window, a, counted), schedules[:, a:b], columns=columns, fills=fills, start=start
        )
        raw = simulate(engine, spec)
        due.append(spec.due())
        with_books.append(np.stack(spec.with_targets, axis=1)[:, params["weights"]])
        asked = asked if any(len(a.sizes) for a in asked) else asked_by_all(spec)
        here = began(spec)
        begun = np.where((begun < 0) & (here >= 0), a + here, begun)
        if settled is not None:
            settled.see(window, spec, raw, partial(simulate, engine, dataclasses.replace(spec, positions=True)))
        start, before = raw.carried(), left_behind(market, lots)
        del window, market, spec  # before the next one is read
        reached = raw.state["first_bar"]
        first = np.where(reached >= 0, reached + a, first)
        for log in (raw.fills, raw.cuts):
            if log is not None:
                log["bar"] += a
        records.append(dataclasses.replace(raw, holdings=_NONE, orders=_NONE))
        if progress is not None:
            progress(b, panel.shape[0])
    assert start is not None  # a panel has a bar
    state = start.state.copy()
    state["first_bar"] = first
    whole = joined(records, "bars")
    whole = dataclasses.replace(whole, state=state, holdings=start.holdings, orders=start.orders, began=begun)
    return whole, dict(counted), asked_at(np.concatenate(due), np.concatenate(with_books), asked)


class _Lagged:
    """Weights rows as the bars of each window read them: lagged here, across windows, and by no engine.

    pairs: (book, lag) of each panel of weights that the engine is given.
    """

    def __init__(self, books: Sequence[WeightsStream], pairs: list[tuple[int, int]], shape: tuple[int, int]) -> None:
        self.books, self.lag = books, min(max(lag for _, lag in pairs), shape[0])
        self.pairs = [(i, self.lag - min(lag, self.lag)) for i, lag in pairs]
        self.late = {i: np.full((self.lag, shape[1]), np.nan) for i, _ in pairs}  # last L rows of each panel of weights

    def of(self, window: Panel, a: int, counted: Counter[str]) -> tuple[np.ndarray, ...]:
        """The rows of a window whose first bar has number a."""
        rows = {}
        for i in self.late:
            rows[i], counts = self.books[i].rows(window, a)
            counted.update(counts)
            if self.lag:
                rows[i] = np.concatenate([self.late[i], rows[i]])
                self.late[i] = rows[i][len(rows[i]) - self.lag :].copy()
        return tuple(np.ascontiguousarray(rows[i][spare : spare + window.shape[0]]) for i, spare in self.pairs)
