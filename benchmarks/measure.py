# SPDX-License-Identifier: Apache-2.0
"""Times the cases of one shape on one engine, in a process of its own, so that its peak memory is that of the case.

`python -m benchmarks.measure OPTIONS` (JSON: engine, threads, bars, assets, repeats, quick) prints one JSON line, the
rows. threads=1 keeps the process to one processor; null leaves it all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import Case, cases, config, fits, panel_of, weights_of, widths
from benchmarks.machine import peak_mib, reset_peak, resident_mib
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import pack

__all__ = ["measure", "read_seconds", "time_runs", "whole_run"]


#: Seconds after which three runs are enough.
_LONG = 10.0


def whole_run(panel: bt.Panel, weights: np.ndarray, config: bt.Config, engine: str) -> bt.Result:
    """`run` with what a user looks at: the equity table and the metrics."""
    result = bt.run(panel, weights, config, engine=engine)
    _ = result.equity, result.metrics
    return result


def time_runs(run: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """`cold_seconds` of a first call, then the median and all of `repeats` calls (`seconds`, `all_seconds`).

    `engine_seconds` is the median of what a Result says about its engine alone, where `run` gives one. Long runs are
    repeated three times at most.
    """
    seconds, engine = [], []
    for i in range(1 + repeats):
        if i > 3 and sum(seconds) > _LONG:
            break
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
        engine.append(getattr(result, "wall_seconds", seconds[-1]))
        del result
    return {
        "seconds": statistics.median(seconds[1:]),
        "engine_seconds": statistics.median(engine[1:]),
        "cold_seconds": seconds[0],
        "all_seconds": seconds[1:],
    }


def read_seconds(arrays: list[np.ndarray]) -> float:
    """Time to read the arrays from memory once on one core: the least of five sums."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for array in arrays:
            np.add.reduce(array.reshape(-1))
        best = min(best, time.perf_counter() - start)
    return best


def measure(case: Case, engine: str, repeats: int, panel: bt.Panel) -> dict[str, Any]:
    """One row: the whole of `run` (checks, engine, equity table and metrics), panel and weights in memory; with more
    than one scenario the engine alone, equity and cash kept.

    `cold_seconds` is the first run on the panel, which also prepares what engines keep of it; compilation and imports
    are behind by then. `reads` is the time in units of `read_seconds`, reading close, open and weights once.
    `peak_mib` is the process's peak during the runs, `inputs_mib` what the panel and the weights take of it;
    `scenario_kib` is what the runs of more than one scenario added to the memory before them, for each scenario: of the
    host alone.
    """
    weights = weights_of(case, panel)
    inputs = [panel.close, panel.open, weights]
    reading = read_seconds(inputs)
    inputs += [a for a in (panel.high, panel.low, panel.volume, panel.dividend, panel.split) if a is not None]
    reset_peak()
    before = resident_mib()
    times = time_runs(_work(case, engine, panel, weights), repeats)
    peak = peak_mib()
    added = None if before is None or case.scenarios == 1 else max(0.0, peak - before) * 1024 / case.scenarios
    return {
        "engine": engine,
        "threads": _threads() if engine == "native" else 1 if engine == "numpy" else None,
        "bars": case.bars,
        "assets": case.assets,
        "density": case.density,
        "every": case.every,
        "scenarios": case.scenarios,
        "messy": case.messy,
        **times,
        "rate": case.asset_bars / times["seconds"],
        "read_seconds": reading,
        "reads": times["seconds"] / reading,
        "peak_mib": round(peak),
        "scenario_kib": added,
        "inputs_mib": round(sum(a.nbytes for a in inputs) / 2**20),
    }


def _work(case: Case, engine: str, panel: bt.Panel, weights: np.ndarray) -> Callable[[], Any]:
    if case.scenarios == 1:
        return lambda: whole_run(panel, weights, config(), engine)
    base = config()
    rates = np.linspace(0.0, 1.5e-3, case.scenarios)
    params = pack(base.replace(commission_rate=float(rate)) for rate in rates)
    every_bar = np.ones((1, case.bars), bool)
    spec = RunSpec(panel.market, params, (weights,), every_bar, columns="equity")

    def work() -> RawResult:
        session = resolve(engine).open(spec)
        session.advance(0, case.bars)
        return session.result()

    return work


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Warm up on a small case (imports, compilation), then one row per case of the shape."""
    options = json.loads(sys.argv[1])
    engine, rows, quick = options["engine"], [], options["quick"]
    if options.get("threads") == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    shape = (options["bars"], options["assets"])
    wanted = [c for c in (*cases(quick), *widths(quick)) if (c.bars, c.assets) == shape and fits(c, engine)]
    warnings.simplefilter("ignore", bt.BacktestWarning)
    for scenarios in (1, 2):
        small = Case(30, 50, 0.5, 1, scenarios)
        measure(small, engine, 1, panel_of(small))
    for case in wanted:
        rows.append(measure(case, engine, options["repeats"], panel_of(case)))  # a fresh panel each: nothing is kept
        print(f"{engine} {case}: {rows[-1]['seconds']:.4f} s", file=sys.stderr, flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
