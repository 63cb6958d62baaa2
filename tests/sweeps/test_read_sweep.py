# SPDX-License-Identifier: Apache-2.0
"""read_sweep(): what SweepResult.write wrote, as a SweepResult again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sweep_cases import universe

import gpu_bt as bt
from gpu_bt.synthetic import random_weights

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
PANEL = universe()
GRIDS = {
    "plain": {"band": [0.0, 0.05], "max_weight": [None, 0.1]},
    "cash of several kinds": {"initial_cash": [1e4, 1e6], "participation": [None]},
    "weights by name": {"weights": ["a", "b"]},
}


@pytest.mark.parametrize("equity", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_sweep_comes_back(grid: str, equity: bool, tmp_path: Path):
    books = {name: random_weights(PANEL, 0.5, seed=k) for k, name in enumerate("ab")}
    weights = books if grid == "weights by name" else books["a"]
    wanted = bt.sweep(PANEL, weights, grid=GRIDS[grid], equity=equity, holdings={PANEL.assets[0]: 5}, engine="cpu")
    paths = wanted.write(tmp_path)
    assert paths[0].name == "table.parquet"
    found = bt.read_sweep(tmp_path)
    assert found.table.equals(wanted.table, null_equal=True) and found.table.schema == wanted.table.schema
    for name in ("config", "axes", "engine", "shape", "rounding"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.timestamps.equals(wanted.timestamps) and found.opening.tolist() == wanted.opening.tolist()
    assert found.best("sharpe", 3, every=True).equals(wanted.best("sharpe", 3, every=True), null_equal=True)
    assert found.has_equity == wanted.has_equity == equity
    if equity:
        assert found.equity.tobytes() == wanted.equity.tobytes()
        np.testing.assert_array_equal(found.returns(), wanted.returns())
    else:
        with pytest.raises(bt.ResultError, match="equity=True"):
            _ = found.equity
    told = str(wanted).split("best by")[1]
    assert str(found).split("best by")[1] == told and "read from files" in str(found)
    assert "read from files" in found._repr_html_()
    found.write(tmp_path / "second")
    for path in paths:
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes(), path.name


def edited(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], Any]:
    """A Parquet file with some of it changed."""
    return lambda folder: change(pl.read_parquet(folder / name)).write_parquet(folder / name)


DAMAGE = {
    "table.parquet is cut off": lambda f: (f / "table.parquet").write_bytes((f / "table.parquet").read_bytes()[:-30]),
    "table.parquet of another grid": edited("table.parquet", lambda t: t.head(1)),
    "table.parquet without its axis": edited("table.parquet", lambda t: t.drop("band")),
    "table.parquet without a metric": edited("table.parquet", lambda t: t.drop("sharpe")),
    "bars.parquet is gone": lambda f: (f / "bars.parquet").unlink(),
    "bars.parquet of another": edited("bars.parquet", lambda t: t.head(3)),
    "equity.parquet is text": lambda f: (f / "equity.parquet").write_text("x"),
    "equity.parquet of other bars": edited("equity.parquet", lambda t: t.head(3)),
    "equity.parquet of other times": edited(
        "equity.parquet", lambda t: t.with_columns(t["timestamp"].dt.offset_by("1h"))
    ),
    "texts in equity.parquet": edited("equity.parquet", lambda t: t.with_columns(pl.lit("x").alias("0"))),
    "table.parquet without numbers": edited("table.parquet", lambda t: t.drop("scenario")),
    "table.parquet without a status": edited("table.parquet", lambda t: t.drop("status")),
    "bars.parquet of no times": edited("bars.parquet", lambda t: t.with_columns(timestamp=pl.lit(None))),
    "config.toml is text": lambda f: (f / "config.toml").write_text("x"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_folder_is_one_line(what: str, tmp_path: Path):
    weights = random_weights(PANEL, 0.5, seed=1)
    bt.sweep(PANEL, weights, grid=GRIDS["plain"], equity=True, engine="cpu").write(tmp_path)
    DAMAGE[what](tmp_path)
    with pytest.raises(bt.ResultError, match="cannot be read") as error:
        bt.read_sweep(tmp_path)
    text = str(error.value)
    assert "\n" not in text and str(tmp_path) in text and text.count("cannot be read") == 1


def test_a_folder_of_chunks_or_of_a_run_is_none(tmp_path: Path):
    weights = random_weights(PANEL, 0.5, seed=1)
    bt.sweep(PANEL, weights, grid=GRIDS["plain"], engine="cpu", out=tmp_path / "chunks")
    bt.run(PANEL, weights, engine="cpu").write(tmp_path / "run")
    for folder, text in {"chunks": "has no table.parquet", "run": "read it with gpu_bt.read_result"}.items():
        with pytest.raises(bt.ResultError, match=text):
            bt.read_sweep(tmp_path / folder)
