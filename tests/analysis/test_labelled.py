# SPDX-License-Identifier: Apache-2.0
"""Positions and weights with labels: an array to NumPy, a table to pandas and Polars."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from build import panel_of
from draw import scenario
from extent import seeds

import gpu_bt as bt
from gpu_bt.analysis.labelled import Labelled, to_pandas
from gpu_bt.data.times import time_series
from gpu_bt.errors import PanelError

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
STAMPS = np.arange("2020-01-30", "2020-02-05", dtype="datetime64[D]").astype("datetime64[us]")
VALUES = np.arange(18.0).reshape(6, 3)


def table(zone: str | None = None) -> Labelled:
    return Labelled(VALUES.copy(), time_series(STAMPS, zone), ["A", "B", "C"], "positions")


@pytest.mark.parametrize(
    "key",
    [0, -1, (2, 1), (-1, slice(None)), slice(1, 3), (slice(None), 1), (slice(None), [0, 2]), np.array([1, 4]),
     ([0, 1], [1, 2]), VALUES > 4, (slice(None), np.array([True, False, True])), ..., (..., 0), None],
    ids=str,
)  # fmt: skip
def test_it_is_indexed_as_the_array(key: Any):
    got, want = table()[key], VALUES[key]
    assert type(got) is type(want) and np.array_equal(got, want)


@pytest.mark.parametrize(
    ("key", "rows", "columns"),
    [
        ("2020-02", slice(2, 6), slice(None)),
        (slice("2020-01-31", "2020-02-01"), slice(1, 3), slice(None)),
        (("2020-02", "B"), slice(2, 6), [1]),
        ((slice(None), ["C", "A"]), slice(None), [2, 0]),
        ((slice("2020-02", None), ["A"]), slice(2, 6), [0]),
        (dt.date(2020, 2, 2), slice(3, 4), slice(None)),
        (dt.datetime(2020, 2, 2), slice(3, 4), slice(None)),
        (np.datetime64("2020-02-02"), slice(3, 4), slice(None)),
        (pd.Timestamp("2020-02-02"), slice(3, 4), slice(None)),
        (pd.Period("2020-01", "M"), slice(0, 2), slice(None)),
        ((slice(1, 3), "A"), slice(1, 3), [0]),
        (("2020-01", slice(1, 3)), slice(0, 2), slice(1, 3)),
        ((slice(None), np.array(["B"])), slice(None), [1]),
        ((slice(None), np.array(["C", "A"])), slice(None), [2, 0]),
        ((slice(None), pd.Index(["C", "A"])), slice(None), [2, 0]),
        (("2020-02", pl.Series(["C", "A"])), slice(2, 6), [2, 0]),
        ((slice(None), {"B"}), slice(None), [1]),
    ],
    ids=str,
)
def test_labels_give_what_is_labelled(key: Any, rows: Any, columns: Any):
    got = table()[key]
    assert isinstance(got, Labelled) and np.array_equal(got.values, VALUES[rows][:, columns])
    assert got.timestamps.to_list() == table().timestamps[rows].to_list()
    assert list(got.assets) == np.array(["A", "B", "C"])[columns].tolist()


def test_positions_and_labels_mixed():
    assert table()[-1, "B"] == 16.0 and table()[-1, ["C", "A"]].tolist() == [17.0, 15.0]
    assert table()["2020-02", 1].tolist() == [7.0, 10.0, 13.0, 16.0] and table()[[0, 5], "A"].tolist() == [0.0, 15.0]


def test_an_instant_in_a_time_zone():
    found = table("America/New_York")
    assert found[dt.datetime(2020, 1, 31, tzinfo=dt.UTC)].values.tolist() == [VALUES[1].tolist()]
    assert found["2020-01-29"].values.tolist() == [VALUES[0].tolist()]  # 19:00 in New York


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("1999", "positions"),
        ("nonsense", "is no time"),
        ((slice(None), "D"), "'D' is no asset"),
        ((0, ["A", "A"]), "once"),
    ],
    ids=str,
)
def test_labels_that_are_not_there(key: Any, text: str):
    with pytest.raises(PanelError, match=text) as error:
        table()[key]
    assert "\n" not in str(error.value)


def test_numpy_takes_it_as_the_array():
    x = table()
    assert x.shape == (6, 3) and x.ndim == 2 and len(x) == 6 and x.dtype == np.float64 and x.T.shape == (3, 6)
    assert x.sum() == VALUES.sum() and x.tobytes() == VALUES.tobytes() and x.tolist() == VALUES.tolist()
    for got, want in (
        (np.asarray(x), VALUES), (x * 2, VALUES * 2), (1 - x, 1 - VALUES), (x > 3, VALUES > 3), (-x, -VALUES),
        (np.diff(x, axis=0), np.diff(VALUES, axis=0)), (np.isnan(x), np.isnan(VALUES)), (x @ np.ones(3), VALUES.sum(1)),
        (x * x, VALUES * VALUES), (np.abs(x), VALUES), (x == VALUES, VALUES == VALUES),
        (np.array(x, np.float32), VALUES),
        (np.concatenate([x, x]), np.concatenate([VALUES, VALUES])), (x[x > 3], VALUES[VALUES > 3]),
    ):  # fmt: skip
        assert type(got) is np.ndarray and np.array_equal(got, want)
    assert [row.tolist() for row in x] == VALUES.tolist() and np.add.reduce(x, axis=0).tolist() == VALUES.sum(
        0
    ).tolist()
    assert np.asarray(x) is x.values  # not copied
    assert pd.DataFrame(x).equals(pd.DataFrame(VALUES)) and list(pd.Series(x[-1])) == VALUES[-1].tolist()
    copied = np.array(x)
    copied[0, 0] = 9
    assert x[0, 0] == 0
    for other in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        assert np.array_equal(other, x) and other.assets == x.assets
    with pytest.raises(AttributeError, match=r"Labelled has no attribute 'head': to_pandas\(\) and to_polars\(\) give"):
        x.head()
    with pytest.raises(ValueError, match="copy"):
        np.array(x, np.float32, copy=False)


def test_numbers_of_a_result_are_not_written_to():
    """Not by += either, and not through what NumPy gives of it: the result would say another thing from then on."""
    x, mine = table(), np.zeros((6, 3))
    assert np.add(x, 1, out=mine) is mine and np.array_equal(mine, VALUES + 1)
    mine += x
    for write in (lambda: x.__iadd__(1), lambda: np.add(x, 1, out=x), lambda: np.asarray(x).fill(1),
                  lambda: x[0].fill(1), lambda: x["2020-02"].values.fill(1)):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert np.array_equal(x, VALUES)


def test_many_labels_are_looked_up_at_once():
    names = [f"S{i}" for i in range(3000)]
    found = Labelled(np.zeros((6, 3000)), time_series(STAMPS, None), names, "positions")
    assert found.index is found.index and found[:, names[::-1]].assets == tuple(names[::-1])


@pytest.mark.parametrize("zone", [None, "America/New_York", "+05:30"])
def test_tables_of_pandas_and_polars(zone: str | None):
    frame, lazy = table(zone).to_pandas(), table(zone).to_polars()
    assert frame.shape == (6, 3) and list(frame.columns) == ["A", "B", "C"] and np.array_equal(frame, VALUES)
    assert frame.index.name == "timestamp" and list(frame.index) == [pd.Timestamp(x) for x in table(zone).timestamps]
    assert (
        lazy.columns == ["timestamp", "A", "B", "C"] and lazy["timestamp"].to_list() == table(zone).timestamps.to_list()
    )
    frame.iloc[0, 0] = -1.0  # its own numbers
    assert table(zone)[0, 0] == 0.0
    assert lazy["B"].to_list() == VALUES[:, 1].tolist()


@pytest.mark.parametrize("names", [["timestamp", "B", "C"], ["timestamp", "timestamp_", "C"]])
def test_an_asset_that_is_called_timestamp(names: list[str]):
    found = Labelled(VALUES, time_series(STAMPS, None), names, "positions").to_polars()
    assert found.columns[1:] == names and found.columns[0].startswith("timestamp_")
    assert found["timestamp"].to_list() == VALUES[:, 0].tolist()


@pytest.mark.parametrize("seed", seeds(range(60)))
def test_weights_and_cash_are_the_equity(seed: int):
    """Of every drawn run: the values at marks are the record's long and short value, and all of it sums to 1."""
    drawn, weights, config = scenario(seed)
    found = bt.run(panel_of(drawn, config), weights, config, engine="cpu")
    table = found.equity
    equity = table["equity"].to_numpy()
    held, live = found.weights.values, equity > 0
    assert np.isnan(held[~live]).all() and not np.isnan(held[live]).any()
    for name, sign in (("long_value", 1), ("short_value", -1)):
        value = np.where(held * sign > 0, held, 0.0).sum(axis=1) * equity
        np.testing.assert_allclose(value[live], table[name].to_numpy()[live], rtol=1e-9, atol=1e-6 * config.tick)
    cash = table["cash"].to_numpy()
    np.testing.assert_allclose((held.sum(axis=1) + cash / np.where(live, equity, 1))[live], 1.0, rtol=1e-9)
    assert ((held != 0) == (found.positions != 0))[live].all() or config.tick > 1e-4  # less than half a tick is worth 0


def test_weights_need_marks():
    panel = bt.Panel(close=[[1.0], [2.0]], timestamps=["2020-01-01", "2020-01-02"], assets=["A"])
    found = bt.run(panel, [[0.5], [0.5]], bt.Config(execution="next_close", lot=0))
    found._weigh = None
    with pytest.raises(bt.ResultError, match="weights need the marks of the panel"):
        _ = found.weights


def test_every_table_as_pandas_without_pyarrow():
    """In a process in which pyarrow cannot be imported."""
    code = """
import sys; sys.modules["pyarrow"] = None
import numpy as np, pandas as pd, gpu_bt as bt
close = 100 + np.arange(12.0).reshape(6, 2) % 5
stamps = pd.date_range("2024-01-01", periods=6, tz="Europe/Berlin")
panel = bt.Panel(close=close, open=close, timestamps=stamps, assets=["A", "B"])
r = bt.run(panel, np.full((6, 2), 0.4), bt.Config(participation=None))
for name in ("equity", "fills", "cuts", "positions", "weights"):
    frame = r.to_pandas(name)
    assert str(frame.index.tz) == "Europe/Berlin" and frame.index.name == "timestamp", name
assert list(r.to_pandas().index) == list(stamps) and r.to_pandas()["fills"].sum() == len(r.to_pandas("fills"))
assert r.to_pandas("fills")["status"].iloc[0] == "FILLED" and r.to_pandas("fills")["shares"].dtype == float
assert list(r.to_pandas("final_positions").index) == ["A", "B"]
assert len(r.to_pandas("orders_next")) == r.orders_next.height
grid = bt.sweep(panel, np.full((6, 2), 0.4), grid={"band": [0, 0.1]})
assert grid.to_pandas()["band"].tolist() == [0.0, 0.1] and grid.to_pandas().index.name == "scenario"
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_kinds_of_columns():
    frame = pl.DataFrame({"n": [1, None], "x": [1.5, None], "s": ["a", None], "b": [True, False]})
    found = to_pandas(frame)
    assert (
        found["n"].isna().tolist() == [False, True]
        and found["x"].dtype == float
        and found["b"].tolist() == [True, False]
    )
    assert found["s"].isna().tolist() == [False, True]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (table().to_pandas, lambda: to_pandas(pl.DataFrame({"a": [1]}))):
        with pytest.raises(bt.ResultError, match="pandas is missing: pip install pandas"):
            call()


def test_it_shows_itself():
    assert repr(table()).startswith("positions of 6 bars x 3 assets, 2020-01-30 to 2020-02-04\n[[ 0.")
    html = table()._repr_html_()
    assert "<td" in html and "2020-02-04" in html and "17" in html
