# SPDX-License-Identifier: Apache-2.0
"""A grid of scores beside the same grid given as panels of weights: python -m benchmarks.scores [--scenarios K] ....

Both routes are the engine's alone, equity and cash kept, and must agree bit for bit before a time is printed. A panel
of 2,520 bars and 5,000 assets takes 100 MB, so that of 1,000 scenarios only an even sample has panels, made before: the
best that panels can do. `build` is the time to make one, which scores do not need. Times are those of the processors,
of all threads, since other work may run beside this; on a GPU they are the clock's. One JSON line for each number of
scenarios.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import Case, config, panel_of
from benchmarks.machine import machine, peak_mib, reset_peak, resident_mib, versions
from gpu_bt.data.clock import schedule_of
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import RawResult, RunSpec, simulate
from gpu_bt.law.layout import pack

__all__ = ["main"]

#: Families: a book and when it is formed, which scenarios have in common that differ in costs alone.
_FAMILIES = tuple(
    itertools.product(range(10, 112, 3), (1.0, 1.25, 1.5, 2.0, 3.0), ("equal", "rank"), ("bar", "week", "month"))
)
#: Families that have panels of weights.
_SAMPLE = 8


def main() -> None:
    """Rows for some numbers of scenarios up to the one asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores")
    parser.add_argument("--scenarios", type=int, default=1000)
    parser.add_argument("--costs", type=int, default=1, help="scenarios that share a book")
    parser.add_argument("--bars", type=int, default=2520)
    parser.add_argument("--assets", type=int, default=5000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore", bt.BacktestWarning)
    panel = panel_of(Case(given.bars, given.assets, 1.0, 1, 1))
    close = np.asarray(panel.close)
    past = np.full(close.shape, np.nan)
    past[60:] = close[60:] / close[:-60] - 1.0
    began = time.perf_counter()
    scores = bt.Scores(past, long=20)
    scores.ranking(panel)
    ranked = time.perf_counter() - began
    for count in sorted({min(64, given.scenarios), min(256, given.scenarios), given.scenarios}):
        row = _row(panel, scores, count, given)
        print(json.dumps({**row, "ranking_seconds": round(ranked, 3), **machine(), **versions()}), flush=True)


def _grid(count: int, costs: int) -> list[tuple[tuple[int, float, str], str, float]]:
    """(book, rebalance, slippage) of `count` scenarios, families of `costs` one after another."""
    families = _FAMILIES[:: max(1, len(_FAMILIES) * costs // count)]
    return [((*book,), rule, c * 1e-4) for *book, rule in families for c in range(costs)][:count]


def _spec(panel: bt.Panel, grid: list[Any], scores: bt.Scores, dense: bool) -> RunSpec:
    """The scenarios as books of a ranking, or as panels of weights."""
    configs = [config().replace(rebalance=rule, slippage=cost) for _, rule, cost in grid]
    rules = dict.fromkeys(c.rebalance for c in configs)
    schedules = np.stack([schedule_of(panel, config().replace(rebalance=rule)) for rule in rules])
    places = [list(rules).index(c.rebalance) for c in configs]
    keys = [(book, place if dense else 0) for (book, *_), place in zip(grid, places, strict=True)]
    read: dict[Any, Any] = {}
    for (book, place), own in zip(keys, configs, strict=True):
        if (book, place) not in read:
            chosen = scores.ranked(panel, **dict(zip(("long", "keep", "scheme"), book, strict=True)))
            read[book, place] = chosen
            if dense:
                weights = np.full(panel.shape, np.nan)
                for t, row in chosen.weights(schedule_of(panel, own)):
                    weights[t] = row
                weights.flags.writeable = False
                read[book, place] = weights
    at = {key: i for i, key in enumerate(read)}
    return RunSpec(panel.market, pack(configs, places, [at[key] for key in keys]), tuple(read.values()), schedules,
                   columns="equity")  # fmt: skip


def _row(panel: bt.Panel, scores: bt.Scores, count: int, given: argparse.Namespace) -> dict[str, Any]:
    """Both routes, compared, then timed."""
    engine, grid = resolve(given.engine), _grid(count, given.costs)
    few = [
        x for i, (_, x) in enumerate(itertools.groupby(grid, key=lambda x: x[:2])) for x in x if i % _step(grid) == 0
    ]
    own = _spec(panel, grid, scores, False)
    began = time.perf_counter()
    other = _spec(panel, few, scores, True)
    build = (time.perf_counter() - began) / len(few)

    def run(spec: RunSpec) -> RawResult:
        return simulate(engine, spec)

    at = [grid.index(x) for x in few]
    if run(own).money[:, at].tobytes() != run(other).money.tobytes():
        sys.exit("books of scores and panels of weights differ")
    reset_peak()
    before = resident_mib()
    mine = _seconds(lambda: run(own), given.repeats, engine.name) / count
    peak = peak_mib()
    theirs = _seconds(lambda: run(other), given.repeats, engine.name) / len(few)
    return {
        "engine": engine.name, "scenarios": count, "bars": given.bars, "assets": given.assets, "costs": given.costs,
        "scores_ms": round(1e3 * mine, 3), "panels_ms": round(1e3 * theirs, 3), "ratio": round(theirs / mine, 2),
        "build_ms": round(1e3 * build, 1), "with_building": round((theirs + build) / mine, 1),
        "added_kib": None if before is None else round((peak - before) * 1024 / count, 1),
        "panels_for": len(few),
    }  # fmt: skip


def _seconds(work: Callable[[], Any], repeats: int, engine: str) -> float:
    """The median of `repeats` calls after a first one."""
    clock, seconds = time.perf_counter if engine == "cuda" else time.process_time, []
    for _ in range(1 + repeats):
        began = clock()
        work()
        seconds.append(clock() - began)
    return statistics.median(seconds[1:])


def _step(grid: list[Any]) -> int:
    """Every how manieth family has a panel."""
    return max(1, len({x[:2] for x in grid}) // _SAMPLE)


if __name__ == "__main__":
    main()
