# SPDX-License-Identifier: Apache-2.0
"""Tables -> Panel: every kind of source gives the same bits as a plain loop over rows."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from compare import assert_bits
from tables import DAYS, FIELDS, assert_same_panel, long_table, loop_reference, minimal, refused

from gpu_bt.data.frames import read_panel
from gpu_bt.data.panel import Panel
from gpu_bt.data.readers import to_polars


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("holes", [0.0, 0.3, 0.95])
def test_long_equals_a_plain_loop(seed: int, holes: float) -> None:
    table = long_table(seed, assets=1 + 4 * seed, holes=holes)
    panel = read_panel(table)
    assert panel.assets == tuple(sorted(set(table["asset"])))
    assert list(panel.timestamps.astype("datetime64[D]").tolist()) == sorted(set(table["timestamp"]))
    for field in FIELDS:
        expected = loop_reference(table, field)
        if field in ("volume", "half_spread"):
            expected = np.where(np.isnan(expected), 0.0, expected)
        assert_bits(field, getattr(panel, field), expected)
        assert not getattr(panel, field).flags.writeable


def test_sorted_complete_rows_take_the_short_way_to_the_same_bits() -> None:
    table = long_table(3, holes=0.0)
    assert_same_panel(read_panel(table.sort("timestamp", "asset")), read_panel(table))


def test_the_panel_does_not_share_memory_with_the_callers_table() -> None:
    close = np.array([1.0, 2.0, 3.0])
    columns = minimal(timestamp=[DAYS[0]] * 3, asset=["A", "B", "C"]).to_arrow()
    table = columns.set_column(2, "close", pa.array(close))  # Arrow takes the array as it is
    panel = read_panel(table)
    close[0] = 99.0
    assert table["close"].to_pylist()[0] == 99.0
    assert panel.close.tolist() == [[1.0, 2.0, 3.0]]


def test_float32() -> None:
    table = long_table(1)
    wanted = read_panel(table).close.astype(np.float32)
    for dtype in (np.float32, "float32", np.dtype("float32")):
        close = read_panel(table, dtype=dtype).close
        assert close.dtype == np.float32
        assert_bits("close", close, wanted)


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "tsv", "arrow", "feather", "PARQUET"])
def test_files_give_the_bits_of_the_table(tmp_path: Path, kind: str) -> None:
    table = long_table(5)
    path = tmp_path / f"prices.{kind}"
    if kind.lower() == "parquet":
        table.write_parquet(path)
    elif kind in ("arrow", "feather"):
        table.write_ipc(path)
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    else:
        table.write_csv(path, separator="\t" if kind == "tsv" else ",")
    assert_same_panel(read_panel(path), read_panel(table))
    assert_same_panel(read_panel(str(path)), read_panel(table))


def test_tables_of_every_library_give_the_same_bits() -> None:
    table = long_table(6)
    expected = read_panel(table)
    pandas = table.to_pandas()
    pandas["timestamp"] = pd.to_datetime(pandas["timestamp"])
    sources = [
        table.lazy(),
        table.to_arrow(),
        pandas,
        pandas.set_index("timestamp"),
        pandas.set_index("timestamp", drop=False),
        pandas.set_index(["timestamp", "asset"]),
        pandas.astype({"asset": object}),
        pandas.astype({"asset": "category", "timestamp": "datetime64[ns]"}),
        pandas[pandas["close"] != -1],  # an index of row numbers says nothing
        table.with_columns(pl.col("asset").cast(pl.Categorical)),
        table.with_columns(pl.col("timestamp").cast(pl.Datetime("ms"))),
        table.with_columns(pl.col("timestamp").cast(pl.Datetime("ns"))),
        table.with_columns(pl.col("timestamp").cast(pl.String)),
        table.with_columns(pl.col("timestamp").dt.strftime("%Y%m%d")),
        table.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")),
    ]
    for source in sources:
        assert_same_panel(read_panel(source), expected)


def test_globs_and_lists_are_joined(tmp_path: Path) -> None:
    table = long_table(7)
    for year, part in enumerate((table[:50], table[50:90], table[90:])):
        part.write_parquet(tmp_path / f"y{year}.parquet")
    table[:50].write_csv(tmp_path / "y0.csv")
    expected = read_panel(table)
    assert_same_panel(read_panel(tmp_path / "y*.parquet"), expected)
    mixed = [tmp_path / "y0.csv", str(tmp_path / "y[12].parquet")]
    assert_same_panel(read_panel(mixed), expected)
    for kind, write in (("parquet", table.write_parquet), ("csv", table.write_csv)):
        name = f"[a].{kind}"
        write(tmp_path / name)
        assert_same_panel(read_panel(tmp_path / name), expected)  # a file of that name is no pattern
    folder = tmp_path / "lot=7"
    folder.mkdir()
    table.write_parquet(folder / "p.parquet")
    assert read_panel(folder / "*.parquet").lot is None  # a folder's name adds no column


def test_number_types_and_decimals_are_converted_exactly() -> None:
    close = [0.1, 12345.6789, 3.0]
    for series in (
        pl.Series([decimal.Decimal("0.1"), decimal.Decimal("12345.6789"), decimal.Decimal("3")]),
        pl.Series(["0.1", "12345.6789", "3"]).cast(pl.Decimal(20, 6)),
    ):
        assert read_panel(minimal(close=series)).close[0].tolist() == close[:2]
    for dtype in (pl.Int8, pl.UInt64, pl.Float32):
        assert read_panel(minimal(close=pl.Series([1, 2, 3], dtype=dtype))).close[0].tolist() == [1.0, 2.0]
    objects = minimal().to_pandas()
    objects["close"] = pd.Series([0.1, 2, None], dtype=object)
    assert read_panel(objects).close[0].tolist() == [0.1, 2.0]


def test_csv_keeps_names_and_reads_the_usual_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "\ufeffDate,Ticker,Close,Volume\n2024-01-02,007,1.5,\n2024-01-02,NA,N/A,3\n\n2024-01-03,007, 2.5 ,NaN\n"
        "2024-01-03,NA,1e2,  \n"
    )
    panel = read_panel(path)
    assert panel.assets == ("007", "NA")
    assert_bits("close", panel.close, np.array([[1.5, np.nan], [2.5, 100.0]]))
    assert_bits("volume", panel.volume, np.array([[0.0, 3.0], [0.0, 0.0]]))


def test_column_names_aliases_and_ignored_columns() -> None:
    table = minimal().rename({"timestamp": "Date", "asset": "SYMBOL", "close": "Close"})
    table = table.with_columns(pl.lit(9.0).alias("Funding"), pl.lit(0.5).alias("Half-Spread"))
    panel = read_panel(table)
    assert panel.close[0].tolist() == [1.0, 2.0]
    assert panel.half_spread[0].tolist() == [0.5, 0.5]
    assert panel.notes["ignored_columns"] == ("Funding",)
    assert read_panel(table, fields={"close": "funding".title()}).close[0].tolist() == [9.0, 9.0]
    chosen = read_panel(table, fields=["close"])
    assert chosen.half_spread is None and chosen.notes["ignored_columns"] == ("Funding", "Half-Spread")
    assert read_panel(minimal().rename({"asset": "name"}), asset="NAME").assets == ("A", "B")
    assert "ignored_columns" not in read_panel(minimal()).notes


def test_integer_asset_ids_are_names() -> None:
    assert read_panel(minimal(asset=[10, 9, 10])).assets == ("10", "9")


def test_masks(tmp_path: Path) -> None:
    table = minimal(can_buy=[True, False, True], can_sell=[0, 1, 1])
    panel = read_panel(table)
    assert panel.can_buy.tolist() == [[True, False], [True, True]]  # no row: nothing forbids
    assert panel.can_sell.tolist() == [[False, True], [True, True]]
    table.write_csv(tmp_path / "m.csv")
    assert_same_panel(read_panel(tmp_path / "m.csv"), panel)
    refused("can_buy, row 1, is None", minimal(can_buy=[True, None, True]))
    refused("can_sell, row 2, is 2", minimal(can_sell=[1, 0, 2]))
    refused("can_buy, row 0, is 'no'", minimal(can_buy=["no", "no", "no"]))


def test_columns_per_asset(tmp_path: Path) -> None:
    table = minimal(lot=[100, 1, None], group=["bank", None, "bank"], delisting_return=[-0.5, None, -0.5])
    table = table.with_columns(delisted_at=pl.Series([DAYS[1], None, DAYS[1]], dtype=pl.Date))
    panel = read_panel(table)
    assert panel.lot.tolist() == [100.0, 1.0]
    assert panel.group.tolist() == ["bank", ""]
    assert panel.delisting_return.tolist() == [-0.5, 0.0]
    assert panel.delisted_at.tolist() == [1, -1]
    table.write_csv(tmp_path / "a.csv")
    assert_same_panel(read_panel(tmp_path / "a.csv"), panel)
    halves = [tmp_path / "h0.csv", tmp_path / "h1.csv"]
    table[:1].write_csv(halves[0])
    table[1:].write_csv(halves[1])
    assert_same_panel(read_panel(halves), panel)
    assert read_panel(minimal(delisted_at=[DAYS[9], None, None])).delisted_at.tolist() == [-1, -1]
    gap = minimal(timestamp=[DAYS[0], DAYS[0], DAYS[3]], delisted_at=[DAYS[1], None, None])
    assert read_panel(gap).delisted_at.tolist() == [1, -1]  # the next bar settles
    empty = read_panel(minimal(delisted_at=pl.Series([None] * 3), lot=[1.0] * 3, group=[""] * 3))
    assert empty.delisted_at.tolist() == [-1, -1] and empty.group.tolist() == ["", ""]


def test_duplicates() -> None:
    again = pl.DataFrame({"timestamp": [DAYS[1], DAYS[0]], "asset": ["A"] * 2, "close": [9.0, 8.0]})
    table = pl.concat([minimal(), again])
    refused("(2024-01-03, 'A') appears twice (2 rows repeat another", table)
    first, last = (read_panel(table, duplicates=d) for d in ("first", "last"))
    assert first.close[:, 0].tolist() == [1.0, 3.0] and first.notes["duplicates"] == 2
    assert last.close[:, 0].tolist() == [8.0, 9.0] and last.notes["duplicates"] == 2
    assert "duplicates" not in read_panel(minimal(), duplicates="last").notes


def test_time_zones() -> None:
    local = [dt.datetime(2024, 3, 8, 16), dt.datetime(2024, 3, 8, 16), dt.datetime(2024, 3, 11, 16)]  # DST between
    naive = minimal(timestamp=local)
    aware = naive.with_columns(pl.col("timestamp").dt.replace_time_zone("America/New_York"))
    expected = np.array(["2024-03-08T21", "2024-03-11T20"], "datetime64[us]")
    texts = ["2024-03-08T16:00:00-05:00", "2024-03-08T21:00Z", "2024-03-11 16:00:00-0400"]
    objects = naive.to_pandas().astype({"timestamp": object})
    objects["timestamp"] = [pd.Timestamp(t, tz="America/New_York") for t in local]
    objects["timestamp"] = objects["timestamp"].astype(object)
    cases = [
        (read_panel(aware), "America/New_York"),
        (read_panel(aware.to_pandas()), "America/New_York"),
        (read_panel(aware.to_arrow()), "America/New_York"),
        (read_panel(objects), "America/New_York"),
        (read_panel(naive, time_zone="America/New_York"), "America/New_York"),
        (read_panel(minimal(timestamp=texts)), "UTC"),
        (read_panel(minimal(timestamp=texts), time_zone="America/New_York"), "America/New_York"),
    ]
    for panel, zone in cases:
        assert panel.time_zone == zone
        assert_bits("timestamps", panel.timestamps, expected)
    plain = read_panel(naive)
    assert plain.time_zone is None and plain.timestamps[0] == np.datetime64("2024-03-08T16", "us")


def test_to_polars() -> None:
    table = long_table(2)
    assert to_polars(table) is table
    assert to_polars(table.lazy()).equals(table)
    assert to_polars(table.to_arrow()).equals(table)
    objects = pd.DataFrame({"a": ["x", None], "b": [True, None]}, dtype=object)
    mixed = to_polars(objects)
    assert mixed.schema == {"a": pl.String, "b": pl.Boolean} and mixed["a"].to_list() == ["x", None]


def test_timestamps_are_cut_to_microseconds_as_in_a_panel() -> None:
    nanoseconds = np.array([-1, -1, 1_999], "datetime64[ns]")
    texts = ["1969-12-31T23:59:59.999999999", "1969-12-31T23:59:59.999999999", "1970-01-01T00:00:00.000001999"]
    for stamps in (pl.Series(nanoseconds), texts):
        panel = read_panel(minimal(timestamp=stamps))
        assert_bits("timestamps", panel.timestamps, np.array([-1, 1], "datetime64[us]"))
        direct = Panel(panel.close, timestamps=nanoseconds[1:], assets=panel.assets)
        assert_bits("timestamps of a Panel", panel.timestamps, direct.timestamps)
    twice = minimal(timestamp=pl.Series(np.array([1_001, 1_001, 1_999], "datetime64[ns]")))
    refused("'A') appears twice (1 rows repeat another, in whole microseconds)", twice)


def test_wide_tables_give_the_bits_of_long_ones(tmp_path: Path) -> None:
    table = long_table(8).select("timestamp", "asset", "close")
    wide = table.pivot("asset", index="timestamp", values="close")
    wide = wide.select("timestamp", *sorted(c for c in wide.columns if c != "timestamp"))
    expected = read_panel(table)
    pandas = wide.to_pandas().set_index("timestamp")
    pandas.index = pd.DatetimeIndex(pandas.index)
    wide.write_csv(tmp_path / "w.csv")
    wide.write_parquet(tmp_path / "w.parquet")
    for source in (wide, wide.rename({"timestamp": "day"}), pandas, pandas.rename_axis(None), wide.to_arrow()):
        assert_same_panel(read_panel(source), expected)
    assert_same_panel(read_panel(tmp_path / "w.csv"), expected)
    assert_same_panel(read_panel(tmp_path / "w.parquet"), expected)
    assert_same_panel(read_panel(tmp_path / "w.csv", layout="wide"), expected)
    wide[:9].write_parquet(tmp_path / "v0.parquet")
    wide[9:].select("timestamp", *reversed(wide.columns[1:])).write_parquet(tmp_path / "v1.parquet")
    assert_same_panel(read_panel(tmp_path / "v*.parquet"), expected)


def test_a_column_that_a_file_lacks_is_empty_there(tmp_path: Path) -> None:
    early, late = tmp_path / "0.parquet", tmp_path / "1.parquet"
    pl.DataFrame({"timestamp": DAYS[:1], "A": [1.0]}).write_parquet(early)
    pl.DataFrame({"timestamp": DAYS[1:2], "B": [2.0], "A": [3.0]}).write_parquet(late)
    panel = read_panel([early, late])
    assert panel.assets == ("A", "B")
    assert_bits("close", panel.close, np.array([[1.0, np.nan], [3.0, 2.0]]))
    minimal(timestamp=DAYS[:3], can_buy=[False] * 3).write_parquet(early)
    minimal(timestamp=DAYS[3:6], open=[4.0] * 3).write_parquet(late)
    panel = read_panel([early, late])
    assert panel.can_buy[:, 0].tolist() == [False, True, False, True, True, True]
    assert_bits("open", panel.open[:, 0], np.array([np.nan] * 3 + [4.0, np.nan, 4.0]))


def test_wide_keeps_the_order_of_columns_and_odd_names() -> None:
    wide = pl.DataFrame({"^Z$": [1.0, 2.0], "*": [3.0, 4.0], "LOW": [5.0, 6.0], "DATE": [7.0, 8.0]})
    wide = wide.insert_column(0, pl.Series("timestamp", DAYS[:2]))
    panel = read_panel(wide)
    assert panel.assets == ("^Z$", "*", "LOW", "DATE")
    assert panel.close.tolist() == [[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 6.0, 8.0]]
    refused("^A$, row 1, is 'x'", pl.DataFrame({"timestamp": DAYS[:2], "^A$": [None, "x"]}))
    refused("has one column", wide.select("timestamp"))
    refused("(2024-01-02, '^Z$') appears twice", pl.concat([wide, wide[:1]]))


def test_tickers_that_read_like_the_names_of_columns():
    # Time Inc. traded as TIME, and SID is a ticker too: in a wide table they are assets.
    table = pl.DataFrame({"TIME": [16.0, 17.0], "SID": [8.0, 9.0], "date": ["2020-01-02", "2020-01-03"]})
    panel = read_panel(table)
    assert panel.assets == ("TIME", "SID") and panel.close.tolist() == [[16.0, 8.0], [17.0, 9.0]]
