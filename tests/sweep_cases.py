# SPDX-License-Identifier: Apache-2.0
"""A small sweep that reaches every kind of axis, and the comparison of two."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
from compare import assert_bits

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights, synthetic_universe

__all__ = ["GRID", "assert_same_sweep", "books", "small", "sweep_small", "universe"]

#: 2 panels of weights x these = 96 scenarios.
GRID: dict[str, list[Any]] = {
    "initial_cash": [1e4, 3e6],
    "account": ["cash", "margin"],
    "execution": ["next_open", "same_close"],
    "commission_rate": [0.0, 5e-4],
    "rebalance_every": [1, 5, 7],
}


def universe(bars: int = 40, assets: int = 12) -> bt.Panel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        return synthetic_universe(bars, assets, seed=5)


def books(panel: bt.Panel) -> dict[str, np.ndarray]:
    return {name: random_weights(panel, 0.5, seed=seed) for name, seed in (("one", 1), ("two", 2))}


def small(**options: Any) -> dict[str, Any]:
    """Arguments of `sweep`."""
    panel = universe()
    return {"panel": panel, "weights": books(panel), "config": bt.Config(max_drawdown=0.03), "grid": GRID, **options}


def sweep_small(**options: Any) -> bt.SweepResult:
    return bt.sweep(**small(**options))


def assert_same_sweep(got: bt.SweepResult, want: bt.SweepResult, but: str = "") -> None:
    """The same scenarios with the same bits, and every column of the table but this one."""
    assert got.table.columns == want.table.columns
    for name in filter(lambda name: name != but, want.table.columns):
        if want.table[name].dtype == pl.Float64:
            assert_bits(name, got.table[name].to_numpy(), want.table[name].to_numpy())
        else:
            assert got.table[name].equals(want.table[name], null_equal=True), name
    assert (got._equity is None) == (want._equity is None)
    if want._equity is not None:
        assert_bits("equity", got.equity, want.equity)
