# SPDX-License-Identifier: Apache-2.0
"""Wide tables: four times the columns are four times the work, counted in calls of Python, not in seconds."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from faults.kit import fault, faults, refused, survived

import gpu_bt as bt
from gpu_bt.data.readers import Source

KIND = "Wide tables"
STAMPS = ["2024-01-01", "2024-01-02", "2024-01-03"]
FEW = 60


class Name(str):
    """A column's name whose comparisons are counted, as they are calls."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other))


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    names = vars(Source)["names"].func
    monkeypatch.setattr(Source, "names", property(lambda self: list(map(Name, names(self)))))


def calls(work: Callable[[], Any]) -> int:
    """How many functions of Python are called."""
    found = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def table(n: int) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": STAMPS, **{f"A{i}": [1.0, 2.0, 3.0] for i in range(n)}})


def panel(n: int) -> bt.Panel:
    close = np.ones((3, n))
    return bt.Panel(close, open=close, timestamps=STAMPS, assets=[f"A{i}" for i in range(n)])


def two_levels(n: int) -> Any:
    columns = [(field, f"A{i}") for field in ("Close", "Open") for i in range(n)]
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(np.ones((3, 2 * n)), pd.to_datetime(STAMPS), pd.MultiIndex.from_tuples(columns))


def run(market: bt.Panel) -> Any:
    n = market.shape[1]
    result = bt.run(market, np.full((3, n), 1 / n), bt.Config(lot=0, initial_cash=1e9), engine="numpy")
    return result.fills, result.final_positions, result.metrics, str(result)


def long(n: int) -> pl.DataFrame:
    return table(n).unpivot(index="timestamp", variable_name="asset", value_name="close")


#: What is done -> (what it is given of n columns, the work).
WORK = {
    "read_panel of a table": (table, bt.read_panel),
    "read_panel of a table of pandas": (lambda n: table(n).to_pandas(), bt.read_panel),
    "read_panel of a long table": (long, bt.read_panel),
    "read_panel of columns of two levels": (two_levels, bt.read_panel),
    "a Panel of labelled tables": (table, lambda given: bt.Panel(given, open=given)),
    "read_weights": (lambda n: (table(n), panel(n)), lambda given: bt.read_weights(*given)),
    "a run, its fills and positions": (panel, run),
    "a slice by names": (panel, lambda given: given[:, list(given.assets)]),
    "a book of names": (panel, lambda given: bt.run(given, dict.fromkeys(given.assets, 0.5 / len(given.assets)))),
}


@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
@faults(KIND, "survived", {name: name for name in WORK}, "thousands of columns: ")
def test_work_is_linear(value):
    make, work = WORK[value]
    work(make(5))  # what is imported, compiled or kept the first time
    few, many = (calls(functools.partial(work, make(n))) for n in (FEW, 4 * FEW))
    assert many < 4.6 * few + 1000, f"{few} calls for {FEW} columns, {many} for {4 * FEW}"
    survived(few > 0, True)


@fault(KIND, "a name is twice among many", "refused")
def test_a_name_twice():
    names = [f"A{i}" for i in range(20_000)]
    names[-1] = "A19998"
    with refused("assets has 'A19998' twice", bt.PanelError):
        bt.Panel(np.ones((1, 20_000)), timestamps=STAMPS[:1], assets=names)
