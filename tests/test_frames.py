# SPDX-License-Identifier: Apache-2.0
"""Tables -> Panel and Weights: every kind of source gives the same bits, and every refusal says what and where."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gpu_bt.errors import PanelError, WeightsError
from gpu_bt.frames import read_panel, read_weights, to_polars
from gpu_bt.panel import Panel
from gpu_bt.weights import Weights

DAYS = [dt.date(2024, 1, 2) + dt.timedelta(days=i) for i in range(40)]
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "half_spread")


def same_bits(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Equal dtype, shape and bytes, so that NaN equals NaN and 0.0 differs from -0.0."""
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_same_bits_can_fail() -> None:
    one = np.array([1.0])
    assert same_bits(np.array([np.nan]), np.array([np.nan]))
    for other in (np.nextafter(one, 2), np.array([np.nan]), one.astype(np.float32), one[None]):
        assert not same_bits(one, other)
    assert not same_bits(np.array([0.0]), np.array([-0.0]))


def long_table(seed: int, *, assets: int = 7, holes: float = 0.2, stamps: list | None = None) -> pl.DataFrame:
    """Seeded rows in random order: missing rows, and missing closes and volumes in rows that are there."""
    rng = np.random.default_rng(seed)
    stamps = DAYS if stamps is None else stamps
    names = [f"X{i:03d}" for i in range(assets)]
    keys = [(t, a) for t in stamps for a in names if rng.random() > holes]
    rng.shuffle(keys)
    columns: dict[str, list] = {"timestamp": [k[0] for k in keys], "asset": [k[1] for k in keys]}
    for field in FIELDS:
        columns[field] = list(rng.lognormal(0, 3, len(keys)))
    gone = rng.random(len(keys)) < 0.1
    for field in ("high", "low", "close", "vwap", "volume"):
        columns[field] = [None if g else v for g, v in zip(gone, columns[field], strict=True)]
    return pl.DataFrame(columns)


def loop_reference(table: pl.DataFrame, field: str) -> np.ndarray:
    """The (T, N) array by a plain loop over rows."""
    stamps, names = sorted(set(table["timestamp"])), sorted(set(table["asset"]))
    out = np.full((len(stamps), len(names)), np.nan)
    for row in table.iter_rows(named=True):
        if row[field] is not None:
            out[stamps.index(row["timestamp"]), names.index(row["asset"])] = row[field]
    return out


def assert_same_panel(a: Panel, b: Panel) -> None:
    assert a.assets == b.assets and a.time_zone == b.time_zone
    assert same_bits(a.microseconds, b.microseconds)
    for field in (*FIELDS, "dividend", "split", "borrow_rate", "can_buy", "can_sell", "delisted_at", "lot"):
        assert same_bits(getattr(a, field), getattr(b, field)), field


def minimal(**changes: object) -> pl.DataFrame:
    columns = {"timestamp": [DAYS[0], DAYS[0], DAYS[1]], "asset": ["A", "B", "A"], "close": [1.0, 2.0, 3.0]}
    columns.update(changes)  # type: ignore[arg-type]
    return pl.DataFrame({k: v for k, v in columns.items() if v is not None}, strict=False)


def refused(
    match: str,
    *args: Any,
    error: type[Exception] = PanelError,
    reader: Callable[..., Any] = read_panel,
    **options: Any,
) -> None:
    """The reader raises `error`, in one line, that holds `match`."""
    with pytest.raises(error) as caught:
        reader(*args, **options)
    message = str(caught.value)
    assert match in message, message
    assert "\n" not in message


# ---- long tables


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
        assert same_bits(getattr(panel, field), expected), field
        assert not getattr(panel, field).flags.writeable


def test_sorted_complete_rows_take_the_short_way_to_the_same_bits() -> None:
    table = long_table(3, holes=0.0)
    assert_same_panel(read_panel(table.sort("timestamp", "asset")), read_panel(table))


def test_the_panel_does_not_share_memory_with_the_callers_table() -> None:
    frame = minimal(timestamp=[DAYS[0]] * 3, asset=["A", "B", "C"]).to_pandas()
    panel = read_panel(frame)
    frame.loc[0, "close"] = 99.0
    assert panel.close.tolist() == [[1.0, 2.0, 3.0]]


def test_float32() -> None:
    table = long_table(1)
    assert same_bits(read_panel(table, dtype=np.float32).close, read_panel(table).close.astype(np.float32))


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
    for kind, write in (("parquet", table.write_parquet), ("arrow", table.write_ipc), ("csv", table.write_csv)):
        name = f"[a].{kind}"
        write(tmp_path / name)
        assert_same_panel(read_panel(tmp_path / name), expected)  # a file of that name is no pattern


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
    objects["close"] = pd.Series([decimal.Decimal("0.1"), 2, np.float64(3)], dtype=object)
    assert read_panel(objects).close[0].tolist() == [0.1, 2.0]


def test_csv_keeps_names_and_reads_the_usual_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "\ufeffDate,Ticker,Close,Volume\n2024-01-02,007,1.5,\n2024-01-02,NA,N/A,3\n\n2024-01-03,007, 2.5 ,NaN\n"
        "2024-01-03,NA,1e2,null\n"
    )
    panel = read_panel(path)
    assert panel.assets == ("007", "NA")
    assert same_bits(panel.close, np.array([[1.5, np.nan], [2.5, 100.0]]))
    assert same_bits(panel.volume, np.array([[0.0, 3.0], [0.0, 0.0]]))


def test_column_names_aliases_and_ignored_columns() -> None:
    table = minimal().rename({"timestamp": "Date", "asset": "SYMBOL", "close": "Close"})
    table = table.with_columns(pl.lit(9.0).alias("Adj Close"), pl.lit(0.5).alias("Half-Spread"))
    panel = read_panel(table)
    assert panel.close[0].tolist() == [1.0, 2.0]
    assert panel.half_spread[0].tolist() == [0.5, 0.5]
    assert panel.notes["ignored_columns"] == ("Adj Close",)
    assert read_panel(table, fields={"close": "adj close".title()}).close[0].tolist() == [9.0, 9.0]
    chosen = read_panel(table, fields=["close"])
    assert chosen.half_spread is None and chosen.notes["ignored_columns"] == ("Adj Close", "Half-Spread")
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
    later = read_panel(minimal(delisted_at=[DAYS[9], None, None]))
    assert later.delisted_at.tolist() == [-1, -1] and later.notes["delisted_after_end"] == 1


def test_columns_per_asset_are_refused_where_they_differ(tmp_path: Path) -> None:
    refused("lot['A'] is", minimal(lot=[100, 1, 10]))
    refused("group['A'] is", minimal(group=["x", "y", "z"]))
    refused("delisted_at['A'] is", minimal(delisted_at=[DAYS[0], None, DAYS[1]]))
    refused("lot['B'] is nan", minimal(lot=[100, None, 100]))
    gap = minimal(timestamp=[DAYS[0], DAYS[0], DAYS[3]], delisted_at=[DAYS[1], None, None])
    refused("delisted_at['A'] is 2024-01-03, no bar of the panel", gap)
    refused("such as 2024-01-05", gap)
    aware = pl.Series([dt.datetime(2024, 1, 2)] * 3).dt.replace_time_zone("UTC")
    refused("delisted_at is in UTC but the panel has no time zone", minimal(delisted_at=aware))
    minimal(delisted_at=aware).write_parquet(tmp_path / "a.parquet")
    minimal(delisted_at=[DAYS[1]] * 3).write_parquet(tmp_path / "b.parquet")
    refused("delisted_at mixes", tmp_path / "*.parquet", duplicates="first")


def test_duplicates() -> None:
    again = pl.DataFrame({"timestamp": [DAYS[1], DAYS[0]], "asset": ["A"] * 2, "close": [9.0, 8.0]})
    table = pl.concat([minimal(), again])
    refused("(2024-01-03, 'A') appears twice (2 rows repeat another)", table)
    first, last = (read_panel(table, duplicates=d) for d in ("first", "last"))
    assert first.close[:, 0].tolist() == [1.0, 3.0] and first.notes["duplicates"] == 2
    assert last.close[:, 0].tolist() == [8.0, 9.0] and last.notes["duplicates"] == 2
    assert "duplicates" not in read_panel(minimal(), duplicates="last").notes


# ---- timestamps


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
        assert same_bits(panel.timestamps, expected)
    plain = read_panel(naive)
    assert plain.time_zone is None and plain.timestamps[0] == np.datetime64("2024-03-08T16", "us")


def test_timestamps_that_are_refused(tmp_path: Path) -> None:
    naive, utc = dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    offset = utc.astimezone(dt.timezone(dt.timedelta(hours=1)))
    for bad in ([utc, naive], [naive, DAYS[0]], [utc, offset]):
        frame = pd.DataFrame({"timestamp": pd.Series(bad, dtype=object), "asset": ["A", "B"], "close": 1.0})
        refused("timestamp mixes time zones", frame)
    refused("timestamp, row 0, is 20240102: it must be a date", minimal(timestamp=[20240102] * 3))
    refused("numbers have no unit", minimal(timestamp=[1.7e9] * 3))
    refused("timestamp, row 1, is '02.01.2024'", minimal(timestamp=["2024-01-02", "02.01.2024", "x"]))
    refused("is '1712011012000'", minimal(timestamp=["1712011012000"] * 3))
    refused("is '2024-01-02T00:00:00.000000001'", minimal(timestamp=["2024-01-02T00:00:00.000000001"] * 3))
    refused("row 1, is None: every row needs a timestamp", minimal(timestamp=[DAYS[0], None, DAYS[1]]))
    offsets = minimal(timestamp=["2024-01-02", "2024-01-02T00:00Z", "2024-01-03"])
    refused("give all of them a UTC offset, or none", offsets)
    refused("whole microseconds", minimal(timestamp=pl.Series([0, 1, 1000]).cast(pl.Datetime("ns"))))
    skipped = minimal(timestamp=[dt.datetime(2024, 3, 10, 2, 30)] * 3)
    refused("does not exist, or exists twice, in America/New_York", skipped, time_zone="America/New_York")
    refused("time_zone is 'Mars/Base'", skipped, time_zone="Mars/Base")
    frame = pd.DataFrame({"timestamp": pd.to_datetime(["2024-01-02T00:00+05:30"]), "asset": ["A"], "close": [1.0]})
    refused("+05:30", frame)
    a, b, c = (tmp_path / f"{n}.parquet" for n in "abc")
    minimal(timestamp=[utc] * 3).write_parquet(a)
    minimal(timestamp=[naive] * 3).write_parquet(b)
    minimal(timestamp=pl.Series([naive] * 3).dt.replace_time_zone("Asia/Tokyo")).write_parquet(c)
    refused("time zones mix: ", [a, b])
    refused(f"{c} is Asia/Tokyo", [a, c])


# ---- refusals


def test_cells_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("timestamp,asset,close\n2024-01-02,A,1.0\n2024-01-02,B,oops\n")
    refused(f"{path}: close, row 1, is 'oops': it must be a number", path)
    refused("close, row 1, is 'x'", minimal(close=[None, "x", "1"]))
    refused("close, row 0, is True", minimal(close=[True, True, True]))
    refused("close, row 0, is datetime.date(2024, 1, 2)", minimal(close=DAYS[:3]))
    refused("close, row 2, is 'x'", minimal().to_pandas().assign(close=pd.Series([1.0, None, "x"], dtype=object)))
    refused("asset, row 1, is None: every row needs a name", minimal(asset=["A", None, "B"]))
    refused("asset, row 2, is ''", minimal(asset=["A", "B", ""]))
    refused("asset, row 0, is 1.5: it must be text", minimal(asset=[1.5, 2.5, 3.5]))
    refused("close[2024-01-02, 'B'] is inf", minimal(close=[1.0, np.inf, 3.0]))
    refused("close[2024-01-02, 'B'] is inf", minimal(close=[1.0, 1e300, 3.0]), dtype=np.float32)
    refused("close[2024-01-02, 'B'] is -2.0", minimal(close=[1.0, -2.0, 3.0]))
    assert read_panel(minimal(close=[1.0, -2.0, 3.0]), bad_prices="nan").notes["bad_prices"] == 1
    refused("dividend needs unadjusted prices", minimal(dividend=[0.0, 0.0, 1.0]))
    assert read_panel(minimal(dividend=[0.0, 0.0, 1.0]), prices="raw").dividend[1].tolist() == [1.0, 0.0]


def test_columns_that_are_refused() -> None:
    refused("table has no timestamp column 'timestamp'", minimal(timestamp=None))
    refused("table has no asset column among 'timestamp', 'close'", minimal(asset=None))
    refused("no asset column", minimal(asset=None).rename({"close": "Adj Close"}))
    refused("table has no column 'close' among", minimal().rename({"close": "adj close"}))
    refused("fields={'close': 'its name'}", minimal().rename({"close": "adj close"}))
    refused("has no column 'open' for open", minimal(), fields=["close", "open"])
    refused("fields names 'price'", minimal(), fields={"close": "close", "price": "close"})
    refused("it must name 'close'", minimal(open=[1.0] * 3), fields=["open"])
    refused("columns 'Close' and 'CLOSE' both may be 'close'", minimal(CLOSE=[1.0] * 3).rename({"close": "Close"}))
    both = minimal().rename({"timestamp": "Date"}).with_columns(Time=pl.lit("x"))
    refused("columns 'Date' and 'Time' both may be 'timestamp'", both)
    refused("no timestamp column 'when'", minimal(), timestamp="when")
    frame = minimal().to_pandas()
    refused("column 'close' twice", pd.concat([frame, frame[["close"]]], axis=1))
    refused("several levels", frame.pivot(index="timestamp", columns="asset"))
    refused("fields names fields of a long table", minimal().pivot("asset", index="timestamp"), fields=["close"])
    for option in ("layout", "duplicates", "bad_prices", "prices"):
        refused(f"{option} is 'x': it must be", minimal(), **{option: "x"})
    refused("dtype is 'int32'", minimal(), dtype="int32")


def test_ticks_are_refused_before_they_fill_the_memory() -> None:
    n = 11_000
    stamps = pl.Series(range(n)).cast(pl.Datetime("us"))
    refused("round ticks to bars", pl.DataFrame({"timestamp": stamps, "asset": range(n), "close": [1.0] * n}))


def test_files_that_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    long_table(1).write_parquet(good)
    whole = good.read_bytes()

    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    for path, match in [
        (tmp_path / "none.parquet", "does not exist"),
        (tmp_path / "none*.parquet", "matches no file"),
        (tmp_path, "is a folder"),
        (file("prices.xlsx", b"x"), "unknown ending '.xlsx'"),
        (file("empty.parquet", b""), "is empty"),
        (file("empty.csv", b""), "is empty"),
        (file("cut.parquet", whole[: len(whole) // 2]), "cannot be read as Parquet"),
        (file("torn.parquet", whole[:100] + bytes(300) + whole[400:]), "cannot be read as Parquet"),
        (file("bad.arrow", b"no arrow at all, but long enough"), "cannot be read as Arrow IPC"),
        (file("ragged.csv", b"timestamp,asset,close\n2024-01-02,A,1,5,6\n"), "cannot be read as CSV"),
        (file("bytes.csv", b"timestamp,asset,close\n2024-01-02,\xff\xfe,1\n"), "cannot be read as CSV"),
        (file("head.csv", b"timestamp,asset,close\n"), "has no rows"),
        (file("twice.csv", b"timestamp,asset,close,close\n2024-01-02,A,1,2\n"), "has column 'close' twice"),
    ]:
        refused(match, path)
        refused(str(path), path)
    minimal()[:0].write_parquet(tmp_path / "norows.parquet")
    refused("has no rows", tmp_path / "norows.parquet")
    minimal(open=[1.0] * 3).write_parquet(tmp_path / "odd.parquet")
    minimal().write_parquet(tmp_path / "even.parquet")
    refused("has 'open': choose with fields=", [tmp_path / "odd.parquet", tmp_path / "even.parquet"])
    refused("a list of sources must hold paths", [minimal()])
    refused("a list of sources must hold paths", [])


def test_what_is_no_table_is_refused() -> None:
    refused("a ndarray cannot be read", np.ones((2, 2)))
    refused("a NoneType cannot be read", None)
    for empty in (minimal()[:0], minimal()[:0].to_pandas(), pd.DataFrame({"date": [], "asset": [], "close": []})):
        refused("table has no rows", empty)
    refused("a lazy table", pl.LazyFrame({"a": [1]}).select("b"))


def test_to_polars() -> None:
    table = long_table(2)
    assert to_polars(table) is table
    assert to_polars(table.lazy()).equals(table)
    assert to_polars(table.to_arrow()).equals(table)
    objects = pd.DataFrame({"a": ["x", None], "b": [True, None]}, dtype=object)
    mixed = to_polars(objects)
    assert mixed.schema == {"a": pl.String, "b": pl.Boolean} and mixed["a"].to_list() == ["x", None]
    with pytest.raises(WeightsError):
        to_polars(object(), error=WeightsError)


# ---- wide tables


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
    wide[:9].drop("X000").write_parquet(tmp_path / "v0.parquet")
    refused("has 'X000': add it to the other", tmp_path / "v*.parquet")


def test_wide_keeps_the_order_of_columns_and_odd_names() -> None:
    wide = pl.DataFrame({"^Z$": [1.0, 2.0], "*": [3.0, 4.0], "LOW": [5.0, 6.0], "DATE": [7.0, 8.0]})
    wide = wide.insert_column(0, pl.Series("timestamp", DAYS[:2]))
    panel = read_panel(wide)
    assert panel.assets == ("^Z$", "*", "LOW", "DATE")
    assert panel.close.tolist() == [[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 6.0, 8.0]]
    refused("A, row 0, is 'x'", pl.DataFrame({"timestamp": DAYS[:1], "A": ["x"]}))
    refused("has 1 columns", wide.select("timestamp"))
    refused("(2024-01-02, '^Z$') appears twice", pl.concat([wide, wide[:1]]))


# ---- weights


@pytest.fixture
def panel() -> Panel:
    close = np.full((4, 3), 10.0)
    stamps = np.array(["2024-01-02", "2024-01-03", "2024-01-05", "2024-01-08"], "datetime64[us]")
    return Panel(close, timestamps=stamps, assets=["C", "A", "B"])


def book(rows: list[tuple[object, str, object]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame(dict(zip(("timestamp", "asset", "weight"), map(list, columns), strict=True)), strict=False)


def day(n: int) -> dt.date:
    return dt.date(2024, 1, n)


NAN = float("nan")
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
        assert same_bits(read_weights(source, panel).values, closing)
        assert same_bits(read_weights(source, panel, missing="hold").values, holding)
    assert same_bits(read_weights(named, panel, weight="w").values, closing)


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
    assert same_bits(read_weights(book(rows), panel, missing=missing).values, expected)


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
        assert same_bits(read_weights(source, panel).values, closing)
        assert same_bits(read_weights(source, panel, missing="hold").values, holding)
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
    assert same_bits(weights.values, expected)
    assert (weights.moved_rows, weights.unknown_rows, weights.dropped_rows) == (2, 1, 4)
    early = read_weights(book([(dt.date(1999, 1, 1), "A", 1.0)]), panel, align="next")
    assert early[0].tolist() == [0.0, 1.0, 0.0] and early.moved_rows == 1


def test_unknown_assets(panel: Panel) -> None:
    rows = [(day(2), "A", 0.1), *((day(2), f"Z{i}", 0.1) for i in range(5))]
    refused_w("the panel has no asset 'Z0', 'Z1', 'Z2' and 2 more: correct the names", book(rows), panel)
    weights = read_weights(book(rows), panel, unknown_assets="ignore")
    assert weights.unknown_rows == 5 and weights[0].tolist() == [0.0, 0.1, 0.0]


def test_weights_that_are_refused(panel: Panel, tmp_path: Path) -> None:
    for value in (np.inf, -np.inf, 1000.5, -2000.0):
        refused_w(f"weight[2024-01-05, 'A'] is {value}", book([(day(2), "A", NAN), (day(5), "A", value)]), panel)
    assert read_weights(book([(day(2), "A", -1000.0)]), panel)[0, 1] == -1000.0
    refused_w("(2024-01-02, 'A') appears twice", book([(day(2), "A", 0.5)] * 2), panel)
    refused_w("weight, row 0, is 'x'", book([(day(2), "A", "x")]), panel)
    refused_w("has no column 'weight'", book(BOOK).rename({"weight": "target"}), panel)
    refused_w("has no asset column among", book(BOOK).drop("asset"), panel)
    refused_w("has no rows", book(BOOK)[:0], panel)
    refused_w("does not exist", tmp_path / "w.parquet", panel)
    refused_w("timestamp, row 0, is 5", book([(5, "A", 0.5)]), panel)
    refused_w("a ndarray cannot be read", np.ones((4, 3)), panel)
    for option in ("missing", "align", "unknown_assets", "layout"):
        refused_w(f"{option} is 'x': it must be", book(BOOK), panel, **{option: "x"})


def test_weights_and_time_zones(panel: Panel) -> None:
    bars = [dt.datetime(2024, 7, d, h) for d in (1, 2) for h in (0, 16)]
    zoned = read_panel(minimal(timestamp=bars, asset=["A"] * 4, close=[1.0] * 4), time_zone="America/New_York")
    naive = book([(bars[1], "A", 0.5)])
    refused_w("timestamp has no time zone but the panel is in America/New_York", naive, zoned)
    refused_w("time_zone='America/New_York'", naive, zoned)
    expected = [[NAN], [0.5], [NAN], [NAN]]
    tokyo = naive.with_columns(
        pl.col("timestamp").dt.replace_time_zone("America/New_York").dt.convert_time_zone("Asia/Tokyo")
    )
    for weights in (read_weights(naive, zoned, time_zone="America/New_York"), read_weights(tokyo, zoned)):
        assert same_bits(weights.values, np.array(expected))
    refused_w("timestamp is in Asia/Tokyo but the panel has no time zone", tokyo, panel)
    refused_w("time_zone is 'UTC' but the panel has no time zone", naive, panel, time_zone="UTC")
    dates = read_weights(book([(dt.date(2024, 7, 2), "A", 0.5)]), zoned)  # midnight of the panel's zone
    assert same_bits(dates.values, np.array([[NAN], [NAN], [0.5], [NAN]]))


def test_dates_against_an_intraday_panel() -> None:
    bars = [dt.datetime(2024, 7, d, h) for d in (1, 2) for h in (10, 16)]
    intraday = read_panel(minimal(timestamp=bars, asset=["A"] * 4, close=[1.0] * 4))
    rows = book([(dt.date(2024, 7, 2), "A", 0.5)])
    refused_w("timestamp 2024-07-02 is no bar of the panel (1 of 1 are none)", rows, intraday)
    moved = read_weights(rows, intraday, align="next")
    assert same_bits(moved.values, np.array([[NAN], [NAN], [0.5], [NAN]])) and moved.moved_rows == 1


def test_weights_stand_for_an_array(panel: Panel) -> None:
    weights = read_weights(book(BOOK), panel)
    assert weights.shape == (4, 3) and weights.dtype == np.float64 and len(weights) == 4 and weights.ndim == 2
    assert np.asarray(weights) is weights.values
    assert same_bits(np.asarray(weights, np.float32), weights.values.astype(np.float32))
    assert np.array(weights).flags.writeable and not weights.values.flags.writeable
    assert weights[2, 1] == 0.5
    assert "4 bars x 3 assets, 2 bars with targets" in repr(weights)
    with pytest.raises(ValueError, match="needs a copy"):
        weights.__array__(np.float32, copy=False)
    with pytest.raises(ValueError, match="must be \\(T, N\\)"):
        Weights(np.ones(3))
    with pytest.raises(AttributeError):
        weights.values = weights.values  # type: ignore[misc]
    mine = np.ones((2, 2))
    kept = Weights(mine)
    mine[0, 0] = 5.0
    assert kept[0, 0] == 1.0
