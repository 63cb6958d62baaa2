# SPDX-License-Identifier: Apache-2.0
"""Beside the plain cases: a strategy's bar, books of scores, the full kernel, a messy universe, how often cash clips,
many assets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import Case, config, panel_of, weights_of
from benchmarks.gpu_bench import Bench, spec_of
from benchmarks.gpu_bits import configs, run_cut
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked, ranking_of
from gpu_bt.engine.spec import Decision, RunSpec
from gpu_bt.law.layout import BOOK, COUNTS, pack

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["rows"]

#: Scenarios whose counts are recorded for the share of bars that clip, and of wide panels.
_SOME = 16


def rows(context: Context) -> None:
    """The parts in turn; what time does not allow is named."""
    bench = Bench(context)
    parts: dict[str, Callable[[Bench], None]] = {
        "strategy": _strategy, "books of scores": _scores, "full kernel": _full, "messy universe": _messy,
        "clips": _clips, "wide panels": _wide,
    }  # fmt: skip
    for name, part in parts.items():
        if context.late():
            context.emit("left_out", case=name, reason="time")
        else:
            part(bench)


def _timed(bench: Bench, spec: RunSpec, name: str, density: float, note: str) -> None:
    from gpu_bt.cuda.engine import ENGINE

    spec.market.cache.clear()
    row, _ = bench.row(ENGINE, spec)
    bench.context.emit("cases", name=name, density=density, every=1, note=note, **row)


def _full(bench: Bench) -> None:
    """A cap that never binds, so that only what the kernel is able to do costs."""
    for count in (1, bench.many):
        given = [c.replace(max_weight=1.0) for c in configs(count)]
        _timed(bench, spec_of(bench.panel, (bench.weights(1.0),), count, given), "full kernel", 1.0, "full kernel")


def _scores(bench: Bench) -> None:
    """A book of a ranking for each scenario: the best by 5-bar returns, few names and many."""
    market, close = bench.panel.market, np.asarray(bench.panel.close, np.float64)
    past = np.full(close.shape, np.nan)
    past[5:] = close[5:] / close[:-5]
    ranking = ranking_of(past, np.ones(close.shape, bool), market.delisted_at)
    for count in (1, bench.many):
        books = np.zeros(count, BOOK)
        books["long_names"], books["keep"] = 2 + np.arange(count) % 99, 1.0 + np.arange(count) % 3 / 2
        books["long_gross"] = books["short_gross"] = 0.95
        spec = spec_of(bench.panel, tuple(Ranked(ranking, book) for book in books), count)
        _timed(bench, spec, "books of scores", 0.0, "scores")


def _messy(bench: Bench) -> None:
    """Listings, delistings, halts, splits and dividends."""
    case = Case(bench.bars, bench.assets, 0.1, 1, messy=True)
    panel = panel_of(case)
    book = weights_of(case, panel)
    for count in (1, bench.many):
        _timed(bench, spec_of(panel, (book,), count), "messy universe", 0.1, "messy")
    panel.market.cache.clear()


def _clips(bench: Bench) -> None:
    """The share of a scenario's bars at which cash does not reach for all buys."""
    from gpu_bt.cuda.engine import ENGINE

    for density in (1.0, 0.1):
        spec = spec_of(bench.panel, (bench.weights(density),), _SOME, columns="all")
        counts = run_cut(ENGINE, spec, 0)[0].counts
        assert counts is not None
        share = (counts[COUNTS.index("cash_clipped")] > 0).mean()
        bench.context.emit("clips", bars=bench.bars, assets=bench.assets, density=density, scenarios=_SOME,
                           share=float(share))  # fmt: skip


def _wide(bench: Bench) -> None:
    """More assets than shared memory holds."""
    usual = bench.bars, bench.assets
    for bars, assets in ((6, 40),) if bench.context.emulate else ((250, 20_000), (100, 50_000)):
        bench.of_size(bars, assets)
        for count in (1, _SOME):
            if bench.context.late():
                bench.context.emit("left_out", case=f"{assets:,} assets, {count} scenarios", reason="time")
                continue
            _timed(bench, spec_of(bench.panel, (bench.weights(1.0),), count), f"{assets:,} assets", 1.0, "")
    bench.of_size(*usual)


def _strategy(bench: Bench) -> None:
    """A bar of a callback run: half a bar, the portfolio to the host, a decision to the device, the other half."""
    from gpu_bt.cuda.engine import ENGINE

    for assets in (8,) if bench.context.emulate else (500, 5000):
        full, book = bench.panel, bench.weights(1.0)
        panel = Panel(close=full.close[:, :assets], open=full.open[:, :assets], timestamps=full.timestamps,
                      assets=full.assets[:assets])  # fmt: skip
        decisions = np.ascontiguousarray(book[:, :assets])
        every = np.ones((1, bench.bars), bool)
        spec = RunSpec(panel.market, pack([config()]), (), every, callback=True)
        session, seconds = ENGINE.open(spec), []
        for t in range(bench.bars):
            start = time.perf_counter()
            decision = None
            if session.open_bar(t):
                session.book()
                decision = Decision(weights=decisions[t])
            session.close_bar(t, decision)
            seconds.append(time.perf_counter() - start)
        bench.context.emit("strategy", assets=assets, bars=bench.bars, **_microseconds(seconds[1:]))
        panel.market.cache.clear()


def _microseconds(seconds: list[float]) -> dict[str, Any]:
    return {"microseconds": statistics.median(seconds) * 1e6, "slowest": max(seconds) * 1e6}
