# SPDX-License-Identifier: Apache-2.0
"""Small panels and runs for hand-computed cases: the public API with 1024 of cash, no buffer and fills at the close.

Prices, weights and costs are powers of two and their small multiples wherever the law rounds, so every expected number
is exact and `==` is the comparison. Bars are days from 2020-01-01 on; assets are named A0, A1, ...
"""

from __future__ import annotations

import hashlib
import math
import warnings
from typing import Any

import numpy as np

import gpu_bt as bt

__all__ = ["NAN", "ask", "book", "column", "fills", "held", "panel", "run", "shares", "tie"]

NAN = math.nan
_PER_ASSET = ("delisted_at", "delisting_return", "lot", "group")
_SCALARS = ("prices", "next_timestamp", "time_zone", "bad_prices")


def panel(close: Any, *, days: Any = None, timestamps: Any = None, assets: Any = None, **fields: Any) -> bt.Panel:
    """A panel of raw prices from rows of closes; a flat list is one asset. They need not be those of a market."""
    grid = {"close": close, **fields}
    for name, values in grid.items():
        if name not in _SCALARS:
            array = np.array(values, bool if name.startswith("can_") or name == "universe" else None)
            grid[name] = array[:, None] if array.ndim == 1 and name not in _PER_ASSET else array
    t, n = grid["close"].shape
    if timestamps is None:
        offsets = np.arange(t) if days is None else np.array(days)
        timestamps = np.datetime64("2020-01-01", "us") + (offsets * 86_400_000_000).astype("timedelta64[us]")
    grid.setdefault("prices", "raw")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "close and open are on two scales", bt.BacktestWarning)
        return bt.Panel(timestamps=timestamps, assets=assets or [f"A{i}" for i in range(n)], **grid)


def run(engine: str, market: bt.Panel, weights: Any, **settings: Any) -> bt.Result:
    """bt.run with everything recorded; the warnings of gpu_bt.analysis.advice are no subject here."""
    rows = np.array(weights, None if isinstance(weights, np.ndarray) else np.float64)
    config = bt.Config(**{"initial_cash": 1024.0, "execution": "same_close", "cash_buffer": 0.0, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        result = bt.run(
            market, rows[:, None] if rows.ndim == 1 else rows, config, engine=engine, record=("fills", "positions")
        )
    assert result.engine == engine
    return result


class Steps(bt.Strategy):
    """Calls the step of each bar with itself and the batch; None = nothing is done."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        step = self.steps[batch.bar] if batch.bar < len(self.steps) else None
        if step is not None:
            step(self, batch)


def ask(engine: str, market: bt.Panel, *steps: Any, **settings: Any) -> bt.Result:
    """A strategy run: steps[t](strategy, batch) at bar t. Fills and positions are recorded without being asked for."""
    config = bt.Config(**{"initial_cash": 1024.0, "execution": "same_close", "cash_buffer": 0.0, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        result = bt.run(market, Steps(steps), config, engine=engine)
    assert result.engine == engine
    return result


def column(result: bt.Result, name: str) -> list[Any]:
    """A column of the per-bar table."""
    return result.equity[name].to_list()


def shares(result: bt.Result) -> list[float]:
    """Shares after each bar of a run with one asset."""
    return result.positions[:, 0].tolist()


def book(result: bt.Result) -> list[list[float]]:
    """Shares after each bar, a row per bar."""
    return result.positions.tolist()


def fills(result: bt.Result) -> list[tuple[Any, ...]]:
    """(bar, asset, shares, price, reference price, commission, slippage, status) of every fill."""
    bars = {stamp: t for t, stamp in enumerate(result.timestamps.to_physical().to_list())}
    stamps = result.fills["timestamp"].to_physical()  # datetimes of an hour that comes twice equal one another
    return [(bars[stamp], *row[1:]) for stamp, row in zip(stamps, result.fills.rows(), strict=True)]


def held(result: bt.Result) -> dict[str, float]:
    """Asset -> shares at the end of the run."""
    return dict(result.final_positions.rows())


def tie(name: str) -> int:
    """The fixed number of an asset that orders equal remainders (semantics.md, [S4])."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()[-1] % 64
