# SPDX-License-Identifier: Apache-2.0
"""Tables -> Weights: books, bars between bars, unknown assets, refusals."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_bits
from tables import book, long_table, minimal, refused

import gpu_bt as bt
from gpu_bt.data.frames import read_panel, read_weights
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import Weights
from gpu_bt.errors import WeightsError


@pytest.fixture
def panel() -> Panel:
    close = np.full((4, 3), 10.0)
    stamps = np.array(["2024-01-02", "2024-01-03", "2024-01-05", "2024-01-08"], "datetime64[us]")
    return Panel(close, timestamps=stamps, assets=["C", "A", "B"])


def day(n: int) -> dt.date:
    return dt.date(2024, 1, n)


NAN = float("nan")
CLOSE = bt.Config(execution="next_close")
BOOK = [(day(5), "A", 0.5), (day(2), "B", 0.25), (day(5), "C", None), (day(2), "A", NAN)]


def test_long_weights(panel: Panel, tmp_path: Path) -> None:
    closing = np.array([[0, NAN, 0.25], [NAN] * 3, [NAN, 0.5, 0], [NAN] * 3])
    holding = np.array([[NAN, NAN, 0.25], [NAN] * 3, [NAN, 0.5, NAN], [NAN] * 3])
    table = book(BOOK)
    pandas = table.to_pandas()
    pandas["timestamp"] = pd.to_datetime(pandas["timestamp"])
    table.write_csv(tmp_path / "w.csv")
    table.write_ipc(tmp_path / "w.arrow")
    named = table.rename({"weight": "w", "asset": "Ticker", "timestamp": "Date"}).with_columns(score=pl.lit("x"))
    for source in (table, pandas, table.to_arrow(), table.lazy(), tmp_path / "w.csv", str(tmp_path / "w.arrow")):
        assert_bits("weights", read_weights(source, panel).values, closing)
        assert_bits("weights", read_weights(source, panel, missing="hold").values, holding)
    assert_bits("weights", read_weights(named, panel, weight="w").values, closing)


def test_there_is_no_negative_zero(panel: Panel) -> None:
    assert_bits("weights", read_weights(book([(day(2), "A", -0.0)]), panel).values[0], np.zeros(3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("missing", ["close", "hold"])
def test_weights_equal_a_plain_loop(seed: int, missing: str) -> None:
    prices = long_table(seed, assets=9)
    panel = read_panel(prices)
    rng = np.random.default_rng(seed)
    stamps, names = sorted(set(prices["timestamp"])), sorted(set(prices["asset"]))
    keys = [(t, a) for t in stamps[::3] for a in names if rng.random() < 0.4]
    rows = [(*key, None if rng.random() < 0.1 else rng.normal()) for key in keys]
    rng.shuffle(rows)
    expected = np.full(panel.shape, np.nan)
    if missing == "close":
        for t, _, _ in rows:
            expected[stamps.index(t)] = 0.0
    for t, a, w in rows:
        expected[stamps.index(t), names.index(a)] = np.nan if w is None else w
    assert_bits("weights", read_weights(book(rows), panel, missing=missing).values, expected)


def test_wide_weights(panel: Panel, tmp_path: Path) -> None:
    wide = pl.DataFrame(
        {"timestamp": [day(3), day(2), day(8)], "B": [None, 0.5, 0.25], "A": [None, None, 0.75]},
        schema_overrides={"B": pl.Float64},
    )
    closing = np.array([[0, 0, 0.5], [NAN] * 3, [NAN] * 3, [0, 0.75, 0.25]])
    holding = np.array([[NAN, NAN, 0.5], [NAN] * 3, [NAN] * 3, [NAN, 0.75, 0.25]])
    pandas = wide.to_pandas().set_index("timestamp")
    pandas.index = pd.DatetimeIndex(pandas.index)
    wide.write_csv(tmp_path / "w.csv")
    for source in (wide, wide.fill_null(NAN), pandas, tmp_path / "w.csv"):
        assert_bits("weights", read_weights(source, panel).values, closing)
        assert_bits("weights", read_weights(source, panel, missing="hold").values, holding)
    refused_w("(2024-01-03, 'B') appears twice", pl.concat([wide, wide[:1]]), panel)


def refused_w(match: str, *args: object, **options: object) -> None:
    refused(match, *args, error=WeightsError, reader=read_weights, **options)


def test_weights_between_bars(panel: Panel) -> None:
    rows = [
        (day(3), "A", 0.1),
        (day(4), "A", 0.2), (day(4), "B", 0.3),  # moved onto the 5th, where a later book stands
        (day(5), "C", 0.4),
        (day(6), "A", 0.5),  # moved onto the 8th, and so is the next, which wins
        (day(7), "B", 0.6), (day(7), "C", 0.7), (day(7), "Z", 0.7),
        (day(9), "A", 0.8),  # after the last bar
    ]  # fmt: skip
    for match in ("timestamp 2024-01-04 is no bar of the panel (4 of 6 are none)", "align='next'"):
        refused_w(match, book(rows), panel, unknown_assets="ignore")
    weights = read_weights(book(rows), panel, align="next", unknown_assets="ignore")
    expected = np.array([[NAN] * 3, [0, 0.1, 0], [0.4, 0, 0], [0.7, 0, 0.6]])
    assert_bits("weights", weights.values, expected)
    assert (weights.moved_rows, weights.unknown_rows, weights.dropped_rows) == (2, 1, 4)
    early = read_weights(book([(dt.date(1999, 1, 1), "A", 1.0)]), panel, align="next")
    assert early.values[0].tolist() == [0.0, 1.0, 0.0] and early.moved_rows == 1


def test_unknown_assets(panel: Panel) -> None:
    rows = [(day(2), "A", 0.1), *((day(2), f"Z{i}", 0.1) for i in range(5))]
    refused_w("asset 'Z0' is not in the panel (5 of 6 are not): correct the names", book(rows), panel)
    weights = read_weights(book(rows), panel, unknown_assets="ignore")
    assert weights.unknown_rows == 5 and weights.values[0].tolist() == [0.0, 0.1, 0.0]


def test_weights_that_are_refused(panel: Panel, tmp_path: Path) -> None:
    refused_w("(2024-01-02, 'A') appears twice", book([(day(2), "A", 0.5)] * 2), panel)
    refused_w("weight, row 0, is 'x'", book([(day(2), "A", "x")]), panel)
    refused_w("has no weight column 'weight'", book(BOOK).rename({"weight": "target"}), panel)
    refused_w("has no asset column 'asset' among", book(BOOK).drop("asset"), panel)
    refused_w("has no rows", book(BOOK)[:0], panel)
    refused_w("does not exist", tmp_path / "w.parquet", panel)
    refused_w("timestamp, row 0, is 5", book([(5, "A", 0.5)]), panel)
    refused_w("a ndarray cannot be read", np.ones((4, 3)), panel)
    for nothing in (None, np.ones((4, 3))):
        refused_w(f"panel is of type {type(nothing).__name__}: pass a Panel", book(BOOK), nothing)
    for option in ("missing", "align", "unknown_assets", "layout"):
        refused_w(f"{option} is 'x': it must be", book(BOOK), panel, **{option: "x"})


def test_messages_begin_with_the_file(panel: Panel, tmp_path: Path) -> None:
    def file(rows: list[tuple[object, str, object]]) -> Path:
        book(rows).write_csv(tmp_path / "w.csv")
        return tmp_path / "w.csv"

    def message(source: object, **options: object) -> str:
        with pytest.raises(WeightsError) as error:
            read_weights(source, panel, **options)
        return str(error.value)

    start = f"{tmp_path / 'w.csv'}: "
    assert message(file([(day(4), "A", 0.5)])).startswith(f"{start}timestamp 2024-01-04 is no bar")
    assert message(file([(day(2), "Z", 0.5)])).startswith(f"{start}asset 'Z' is not in the panel")
    assert message(file([(day(2), "A", 0.5)]), time_zone="UTC").startswith(f"{start}timestamp is in UTC but")
    twice = message(file([(day(2), "A", 0.5)] * 2))
    assert twice.startswith(f"{start}(2024-01-02, 'A') appears twice")
    assert twice.endswith("keep one row per timestamp and asset")  # read_weights has no option for it
    both = message([tmp_path / "w.csv"] * 2)
    assert both.startswith(f"{tmp_path / 'w.csv'} and 1 more: (")


def test_weights_and_time_zones(panel: Panel) -> None:
    bars = [dt.datetime(2024, 7, d, h) for d in (1, 2) for h in (0, 16)]
    zoned = read_panel(minimal(timestamp=bars, asset=["A"] * 4, close=[1.0] * 4), time_zone="America/New_York")
    naive = book([(bars[1], "A", 0.5)])
    expected = [[NAN], [0.5], [NAN], [NAN]]
    tokyo = naive.with_columns(
        pl.col("timestamp").dt.replace_time_zone("America/New_York").dt.convert_time_zone("Asia/Tokyo")
    )
    for weights in (read_weights(naive, zoned), read_weights(tokyo, zoned)):
        assert_bits("weights", weights.values, np.array(expected))
    london = naive.with_columns(pl.col("timestamp").dt.offset_by("5h"))  # 21:00 in London
    assert_bits("weights", read_weights(london, zoned, time_zone="Europe/London").values, np.array(expected))
    refused_w("timestamp is in Asia/Tokyo but the panel has no time zone", tokyo, panel)
    refused_w("timestamp is in UTC but the panel has no time zone", naive, panel, time_zone="UTC")
    for label in (dt.date(2024, 7, 2), dt.datetime(2024, 7, 2), "2024-07-02", 20240702):  # a day of the panel's zone
        dates = read_weights(book([(label, "A", 0.5)]), zoned, time_zone="Europe/London")
        assert_bits("weights", dates.values, np.array([[NAN], [NAN], [NAN], [0.5]]))


def test_weights_stand_for_an_array(panel: Panel) -> None:
    weights = read_weights(book(BOOK), panel)
    assert np.asarray(weights) is weights.values
    assert weights.values.dtype == np.float64 and not weights.values.flags.writeable
    single = np.asarray(weights, np.float32)
    assert single.dtype == np.float32
    assert_bits("float32", single, weights.values.astype(np.float32))
    mine = np.array(weights)
    mine[2, 1] = 9.0
    assert weights.values[2, 1] == 0.5
    assert repr(weights) == "Weights(moved_rows=0, unknown_rows=0, dropped_rows=0, empty_cells=2)"
    with pytest.raises(AttributeError):
        weights.values = weights.values  # type: ignore[misc]


def test_weights_can_be_looked_at_like_an_array():
    weights = Weights(np.array([[0.5, np.nan]]))
    assert weights.shape == (1, 2) and len(weights) == 1 and weights.dtype == np.float64
    assert weights[0, 0] == 0.5 and np.asarray(weights) is weights.values


def other_panels(panel: Panel, path: Path) -> list[tuple[Any, str]]:
    """Panels of the same shape and other labels, in memory and as streams, and what the message names."""
    stamps = panel.timestamps + np.timedelta64(7, "D")
    found: list[tuple[Any, str]] = []
    for name, times, names, match in (
        ("order", panel.timestamps, ["A", "C", "B"], "assets[0] is C, not A"),
        ("name", panel.timestamps, ["C", "A", "D"], "assets[2] is B, not D"),
        ("dates", stamps, panel.assets, "timestamps[0] is 2024-01-02T00:00:00.000000, not 2024-01-09"),
    ):
        close = pl.DataFrame(panel.close, schema=list(names))
        rows = close.with_columns(timestamp=pl.Series(times)).unpivot(index="timestamp", variable_name="asset")
        rows.rename({"value": "close"}).write_parquet(path / f"{name}.parquet")
        found.append((Panel(panel.close, timestamps=times, assets=names), match))
        found.append((bt.scan_panel(path / f"{name}.parquet", bars=3), "not"))
    return found


def test_weights_fit_the_panel_they_were_read_for_and_no_other(panel: Panel, tmp_path: Path) -> None:
    source, same = book(BOOK), Panel(panel.close, timestamps=panel.timestamps, assets=panel.assets)
    read = [bt.read_weights(source, panel), bt.read_weights({"A": 0.5}, panel)]
    want = bt.run(panel, read[0].values, CLOSE).equity
    assert bt.run(same, read[0], CLOSE).equity.equals(want) and bt.run(panel, read[0], CLOSE).equity.equals(want)
    for other, match in other_panels(panel, tmp_path):
        for weights in read:
            with pytest.raises(WeightsError, match=re.escape(match)):
                bt.run(other, weights, CLOSE)
            with pytest.raises(WeightsError, match=re.escape(match)):
                bt.sweep(other, weights, CLOSE, {"band": [0, 0.1]})
        with pytest.raises(WeightsError, match="weights 'a': weights were read for another panel"):
            bt.sweep(other, {"a": read[0]}, CLOSE, {"band": [0]})
        bt.run(other, read[0].values, CLOSE)  # by position, where that is meant


def test_books_of_a_stream_fit_no_other_stream(panel: Panel, tmp_path: Path) -> None:
    (_, _), (order, _), (_, _), (_, _), (_, _), (dates, _) = other_panels(panel, tmp_path)
    weights = bt.read_weights(book(BOOK).lazy(), order)
    want = bt.run(panel, bt.read_weights(book(BOOK), panel), CLOSE)
    assert bt.run(order, weights, CLOSE).equity.equals(want.equity)
    with pytest.raises(WeightsError, match="read for another panel"):
        bt.run(dates, weights, CLOSE)
