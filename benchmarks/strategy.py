# SPDX-License-Identifier: Apache-2.0
"""What a strategy costs a bar, beside the same decisions as a panel of weights: `python -m benchmarks.strategy`.

Equal bits first, then medians. The strategy that emits rows shows what the callback adds; the others what usual work
on the batch adds to that.
"""

from __future__ import annotations

import json
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import COSTS
from benchmarks.machine import machine
from benchmarks.verify import same_bits
from gpu_bt.data.synthetic import random_weights, synthetic_universe

__all__ = ["Momentum", "Rows", "measure"]


class Rows(bt.Strategy):
    """Decides the rows of a panel of weights."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        self.order_target_percent(self.weights[batch.bar])


class Momentum(bt.Strategy):
    """The 25 best of 60 bars, anew at each bar."""

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        past = batch.history("close", 60)
        best = batch.top(past[-1] / past[0], 25)
        self.order_target_percent(best, 0.04)
        self.close_others(best)


class Guarded(Momentum):
    """Momentum with a look at the portfolio and trailing stops."""

    def initialize(self) -> None:
        self.exits = bt.Exits(trailing_stop=0.2)

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        if self.portfolio.weights.max(initial=0.0) < 0.2:
            super().on_data_batch(timestamp, batch)


def measure(bars: int = 504, assets: int = 500, repeats: int = 15, engine: str = "numpy") -> dict[str, Any]:
    """Microseconds per bar of each run, medians; RuntimeError where callback and panel differ in a bit."""
    panel = synthetic_universe(bars, assets, seed=11, messy=False)
    config, out = bt.Config(**COSTS), {"bars": bars, "assets": assets, "engine": engine, "machine": machine()}
    for density in (0.1, 1.0):
        weights = random_weights(panel, density, seed=12)
        weights.flags.writeable = False
        runs = {
            "panel": lambda w=weights: bt.run(panel, w, config, engine=engine),
            "callback": lambda w=weights: bt.run(panel, Rows(w), config, engine=engine, record=()),
        }
        one, two = (call() for call in runs.values())
        if not (same_bits(one.raw.money, two.raw.money) and same_bits(one.raw.holdings, two.raw.holdings)):
            raise RuntimeError(f"callback and panel differ at density {density}: nothing is timed")
        found = _times(runs, bars, repeats)
        out |= {f"{name}, {density:.0%}": statistics.median(values) for name, values in found.items()}
        added = [b - a for a, b in zip(found["panel"], found["callback"], strict=True)]
        out[f"callback adds, {density:.0%}"] = statistics.median(added)
    kinds = {kind.__name__: lambda kind=kind: bt.run(panel, kind(), config, engine=engine, record=())
             for kind in (Momentum, Guarded)}  # fmt: skip
    return out | {name: statistics.median(values) for name, values in _times(kinds, bars, repeats).items()}


def _times(runs: dict[str, Callable[[], bt.Result]], bars: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds per bar of the simulation, without what `run` checks before it; taken in turn, so that a busy
    moment of the machine falls on all alike."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, call in runs.items():
            found[name].append(call().wall_seconds / bars * 1e6)
    return found


def main() -> None:
    """Measure and print; `--json` prints one JSON line."""
    warnings.simplefilter("ignore", bt.BacktestWarning)
    found = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24}{value:10.1f} us a bar" if isinstance(value, float) else f"{name:24}{value}")


if __name__ == "__main__":
    main()
