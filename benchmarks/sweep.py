# SPDX-License-Identifier: Apache-2.0
"""A grid of 10,000 scenarios, verified, then timed: python -m benchmarks.sweep [--engine NAME] [--workers N] ....

A sample of scenarios must be equal to `run` bit for bit before a time is printed, as one JSON line. Peak memory is that
of this process, and with workers that of the largest of them besides.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import Case, config, panel_of, weights_of
from benchmarks.machine import machine, peak_mib, reset_peak, versions

__all__ = ["main"]

_SAMPLE = 25


def main() -> None:
    """Sweep, compare a sample with `run`, print the row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep")
    parser.add_argument("--scenarios", type=int, default=10_000)
    parser.add_argument("--bars", type=int, default=252)
    parser.add_argument("--assets", type=int, default=500)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--metrics", default="all", choices=("all", "equity"))
    parser.add_argument("--chunk-size", type=int)
    given = parser.parse_args()
    warnings.simplefilter("ignore", bt.BacktestWarning)
    case = Case(given.bars, given.assets, given.density, 1, given.scenarios)
    panel = panel_of(case)
    weights = weights_of(case, panel)
    grid = {"commission_rate": [i * 1e-6 for i in range(-(-given.scenarios // 20))], "band": [0, 0.001, 0.002, 0.004],
            "rebalance_every": [1, 2, 5, 10, 21]}  # fmt: skip
    options: dict[str, Any] = {"engine": given.engine, "metrics": given.metrics, "chunk_size": given.chunk_size}
    pool = ProcessPoolExecutor(given.workers, multiprocessing.get_context("spawn")) if given.workers > 1 else None
    with pool or nullcontext():
        warm = {axis: values[:2] for axis, values in grid.items()}
        bt.sweep(panel, weights, config(), warm, executor=pool, **{**options, "chunk_size": 4})  # imports, compilation
        before = peak_mib()
        reset_peak()
        began = time.perf_counter()
        found = bt.sweep(panel, weights, config(), grid, executor=pool, **options)
        seconds = time.perf_counter() - began
    peak, largest = peak_mib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    checked = _check(found, panel, weights, given.engine)
    row = {
        "engine": found.engine, "scenarios": len(found), "bars": given.bars, "assets": given.assets,
        "density": given.density, "metrics": given.metrics, "workers": given.workers, "seconds": round(seconds, 3),
        "million_asset_bars_per_second": round(case.bars * case.assets * len(found) / seconds / 1e6, 1),
        "peak_mib": round(peak), "before_mib": round(before), "largest_worker_mib": round(largest) if pool else None,
        "equal_to_run": checked, **machine(), **versions(),
    }  # fmt: skip
    print(json.dumps(row))


def _check(found: bt.SweepResult, panel: bt.Panel, weights: np.ndarray, engine: str) -> int:
    """How many scenarios of an even sample were compared with `run`; ends the program where one differs."""
    rows = found.table.gather_every(max(1, len(found) // _SAMPLE))
    for row in rows.iter_rows(named=True):
        settings = {axis: row[axis] for axis in found.axes}
        want = bt.run(panel, weights, config().replace(**settings), engine=engine).metrics
        wrong = [n for n in want if n in row and row[n] != want[n] and not (row[n] != row[n] and want[n] != want[n])]
        if wrong:
            sys.exit(f"scenario {row['scenario']} differs from run in {', '.join(wrong)}")
    return rows.height


if __name__ == "__main__":
    main()
