# SPDX-License-Identifier: Apache-2.0
"""A sweep of six scenarios in three chunks, for the tests of faults."""

from __future__ import annotations

from typing import Any

from faults import kit
from sweep_cases import assert_same_sweep, books, universe

import gpu_bt as bt

__all__ = ["GRID", "chunk", "same", "tiny"]

GRID = {"slippage": [0.0, 1e-3, 2e-3], "rebalance_every": [1, 5]}


def tiny(out: Any = None, **options: Any) -> bt.SweepResult:
    """The sweep, into a folder."""
    panel = options.pop("panel", None) or universe()
    weights = options.pop("weights", None)
    weights = books(panel)["one"] if weights is None else weights
    return bt.sweep(panel, weights, grid=options.pop("grid", GRID), out=out, **{"chunk_size": 2, **options})


def same(got: bt.SweepResult, want: bt.SweepResult, run: int) -> None:
    """Two sweeps have the same bits, and the first has run so many scenarios."""
    assert_same_sweep(got, want)
    kit.survived(got.run, run)
    kit.survived(got.table["final_equity"].to_numpy(), want.table["final_equity"].to_numpy())


def chunk(folder: Any, number: int = 1) -> Any:
    """The file of a chunk."""
    (found,) = folder.glob(f"chunk-{number:05}-*.parquet")
    return found
