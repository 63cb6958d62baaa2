# SPDX-License-Identifier: Apache-2.0
"""What read_panel refuses: every message says what, where and the way out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
from tables import DAYS, long_table, minimal, refused

from gpu_bt.data.frames import read_panel
from gpu_bt.data.streams import scan_panel


def test_columns_per_asset_are_refused_where_they_differ(tmp_path: Path) -> None:
    refused("lot['A'] is", minimal(lot=[100, 1, 10]))
    refused("group['A'] is", minimal(group=["x", "y", "z"]))
    refused("delisted_at['A'] is", minimal(delisted_at=[DAYS[0], None, DAYS[1]]))
    refused("lot['B'] is nan", minimal(lot=[100, None, 100]))
    aware = pl.Series([dt.datetime(2024, 1, 2)] * 3).dt.replace_time_zone("UTC")
    refused("delisted_at is in UTC but the panel has no time zone", minimal(delisted_at=aware))
    minimal(delisted_at=aware).write_parquet(tmp_path / "a.parquet")
    minimal(delisted_at=[DAYS[1]] * 3).write_parquet(tmp_path / "b.parquet")
    refused("delisted_at mixes time zones: ", tmp_path / "*.parquet", duplicates="first")


def test_timestamps_that_are_refused(tmp_path: Path) -> None:
    naive, utc = dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    offset, tokyo = (utc.astimezone(zone) for zone in (dt.timezone(dt.timedelta(hours=1)), ZoneInfo("Asia/Tokyo")))
    for bad in ([utc, naive], [naive, DAYS[0]], [DAYS[0], naive], [utc, tokyo], [tokyo, offset], [naive, offset]):
        frame = pd.DataFrame({"timestamp": pd.Series(bad, dtype=object), "asset": ["A", "B"], "close": 1.0})
        refused("column 'timestamp' mixes ", frame)
        refused("convert it, or drop it", frame)
    refused("timestamp, row 1, is 20240230 (Int64): it must be a date", minimal(timestamp=[20240102, 20240230, 1]))
    refused("timestamp, row 1, is 20240102.5 (Float64): it must", minimal(timestamp=[20240102.0, 20240102.5, 1.0]))
    refused("timestamp, row 0, is None (Float64): it must be a date", minimal(timestamp=[float("nan")] * 3))
    refused("numbers have no unit", minimal(timestamp=[1.7e9] * 3))
    refused("for other texts pass date_format=", minimal(timestamp=["2024-01-02", "02.01.2024", "x"]))
    refused("timestamp, row 1, is '02.01.2024'", minimal(timestamp=["2024-01-02", "02.01.2024", "x"]))
    refused("is '1712011012000'", minimal(timestamp=["1712011012000"] * 3))
    refused("timestamp, row 1, is None (Date): it must be a date", minimal(timestamp=[DAYS[0], None, DAYS[1]]))
    offsets = minimal(timestamp=["2024-01-02", "2024-01-02T00:00Z", "2024-01-03"])
    refused("timestamp, row 0, is '2024-01-02'", offsets)
    refused("all with UTC offset or none", offsets)
    skipped = minimal(timestamp=[dt.datetime(2024, 3, 10, 2, 30)] * 3, asset=["A", "B", "C"])
    refused("timestamp 2024-03-10T02:30:00 does not exist on the clock of", skipped, time_zone="America/New_York")
    repeated = minimal(timestamp=[dt.datetime(2024, 11, 3, 1, 30)] * 3, asset=["A", "B", "C"])
    refused("timestamp 2024-11-03T01:30:00 comes twice on the clock of", repeated, time_zone="America/New_York")
    twice = minimal(timestamp=[dt.datetime(2024, 11, 3, 1, 30)] * 3, asset=["A", "A", "B"])  # as a feed has both hours
    refused("timestamp 2024-11-03T01:30:00 comes twice on the clock of", twice, time_zone="America/New_York")
    refused("time zone 'Mars/Base' is unknown: pass an IANA name", skipped, time_zone="Mars/Base")
    refused("time zone zoneinfo.ZoneInfo(key='Asia/Tokyo') is unknown", skipped, time_zone=ZoneInfo("Asia/Tokyo"))
    aware = minimal(timestamp=[utc] * 3, asset=["A", "B", "C"])
    refused("time zone 'Mars/Base' is unknown: pass an IANA name", aware, time_zone="Mars/Base")
    offsets = minimal(timestamp=["2024-01-02T00:00+01:00", "2024-07-02T00:00+02:00", "2024-01-03T00:00+01:00"])
    refused("timestamp has several UTC offsets: pass time_zone=, such as 'Europe/Berlin'", offsets)
    a, b, c = (tmp_path / f"{n}.parquet" for n in "abc")
    minimal(timestamp=[utc] * 3).write_parquet(a)
    minimal(timestamp=[naive] * 3).write_parquet(b)
    minimal(timestamp=pl.Series([naive] * 3).dt.replace_time_zone("Asia/Tokyo")).write_parquet(c)
    refused("timestamp mixes time zones: ", [a, b])
    refused(f"{b} is naive: convert the files to one zone", [a, b])
    refused(f"{c} is Asia/Tokyo", [a, c])


def test_cells_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("timestamp,asset,close\n2024-01-02,A,1.0\n2024-01-02,B,oops\n")
    refused(f"{path}: close, row 1, is 'oops' (String): it must be a number", path)
    refused("close, row 1, is 'x'", minimal(close=[None, "x", "1"]))
    refused("close, row 0, is True", minimal(close=[True, True, True]))
    refused("close, row 0, is datetime.date(2024, 1, 2)", minimal(close=DAYS[:3]))
    frame = minimal().to_pandas().assign(close=pd.Series([1.0, None, "x"], dtype=object))
    refused("column 'close' mixes numbers (1.0) and str (x); convert it, or drop it", frame)
    refused("asset, row 1, is None (String): it must be text or a whole number", minimal(asset=["A", None, "B"]))
    refused("close, row 0, is '1.0'", minimal(close=["1.0", "2.0", "3.0"]))
    refused("(String): it must be a number", minimal(close=["1.0", "2.0", "3.0"]))
    objects = minimal().with_columns(close=pl.Series([object()] * 3, dtype=pl.Object))
    refused("close, row 0, is ", objects)
    refused("can_buy, row 0, is [1] (List(Int64)): it must be true or false", minimal(can_buy=[[1], [0], [1]]))
    refused("asset, row 2, is ''", minimal(asset=["A", "B", ""]))
    refused("asset, row 0, is 1.5 (Float64): it must be text", minimal(asset=[1.5, 2.5, 3.5]))
    refused("close[2024-01-02, 'B'] is inf", minimal(close=[1.0, np.inf, 3.0]))
    refused("close[2024-01-02, 'B'] is inf", minimal(close=[1.0, 1e300, 3.0]), dtype=np.float32)
    refused("close[2024-01-02, 'B'] is -2.0", minimal(close=[1.0, -2.0, 3.0]))
    assert read_panel(minimal(close=[1.0, -2.0, 3.0]), bad_prices="nan").notes["bad_prices"] == 1
    refused("dividend needs unadjusted prices", minimal(dividend=[0.0, 0.0, 1.0]))
    assert read_panel(minimal(dividend=[0.0, 0.0, 1.0]), prices="raw").dividend[1].tolist() == [1.0, 0.0]


def test_a_universe_is_in_all_files_or_in_none(tmp_path: Path) -> None:
    whole = minimal(universe=[True, False, True])
    whole.write_parquet(tmp_path / "a.parquet")
    whole.drop("universe").write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("timestamp,asset,close,universe\n2024-02-01,C,4,true\n")
    for reader in (read_panel, scan_panel):
        refused(
            f"b.parquet has no column of the universe, and {tmp_path / 'a.parquet'} has one: give it to all",
            [tmp_path / "a.parquet", tmp_path / "b.parquet"],
            reader=reader,
        )
    panel = read_panel([tmp_path / "a.parquet", tmp_path / "c.csv"])
    assert panel.universe.tolist() == [[True, False, True], [True] * 3, [True] * 3]  # no row says nothing


def test_columns_that_are_refused() -> None:
    refused("table has no timestamp column 'timestamp'", minimal(timestamp=None))
    refused("table has no asset column 'asset' among 'timestamp', 'close'", minimal(asset=None))
    refused("asset=, or pass layout='wide'", minimal(asset=None))
    refused("(of a single asset: asset='its name', or asset='filename')", minimal(asset=None))
    refused("no asset column", minimal(asset=None).rename({"close": "Adj Close"}))
    refused("table has no close column 'close' among", minimal().rename({"close": "nav"}))
    refused("fields={'close': 'its name'}", minimal().rename({"close": "nav"}))
    refused("has no open column 'open' among", minimal(), fields=["close", "open"])
    refused("fields names close, price: it must", minimal(), fields={"close": "close", "price": "close"})
    refused("it must name close", minimal(open=[1.0] * 3), fields=["open"])
    refused("'Close' and 'CLOSE' may be column 'close': rename", minimal(CLOSE=[1.0] * 3).rename({"close": "Close"}))
    both = minimal().rename({"timestamp": "Date"}).with_columns(Time=pl.lit("x"))
    refused("'Date' and 'Time' may be column 'timestamp'", both)
    refused("no timestamp column 'when'", minimal(), timestamp="when")
    frame = minimal().to_pandas()
    refused("'close' 2 times", pd.concat([frame, frame[["close"]]], axis=1))
    refused("several levels", frame.pivot(index="timestamp", columns="asset").rename(columns={"close": "nav"}))
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
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    for path, match in [
        (
            tmp_path / "none.parquet",
            "does not exist as a file, as a folder with files, or as a pattern that matches one: pass a",
        ),
        (tmp_path / "none*.parquet", "does not exist as a file, as a folder with files, or as a pattern"),
        (file("none/prices.doc", b"x").parent, "a glob such as 'prices/*.parquet'"),
        (file("prices.doc", b"x"), "unknown ending '.doc'"),
        (file("empty.parquet", b""), "is empty"),
        (file("empty.csv", b""), "is empty"),
        (file("cut.parquet", whole[: len(whole) // 2]), "cannot be read as Parquet"),
        (file("torn.parquet", whole[:100] + bytes(300) + whole[400:]), "cannot be read as Parquet"),
        (file("bad.arrow", b"no arrow at all, but long enough"), "cannot be read as Arrow IPC"),
        (file("ragged.csv", b"timestamp,asset,close\n2024-01-02,A,1,5,6\n"), "cannot be read as CSV"),
        (file("bytes.csv", b"timestamp,asset,close\n2024-01-02,\xff\xfe,1\n"), "cannot be read as CSV"),
        (file("wide.csv", "timestamp,asset,close\n2024-01-02,A,1\n".encode("utf-16")), "is UTF-16"),
        (
            file("wide.txt", "timestamp,asset,close\n2024-01-02,A,1\n".encode("utf-16-be")),
            "is UTF-16, or has zero bytes",
        ),
        (
            file("blank.csv", b"timestamp,asset, close,close\n2024-01-02,A,1,2\n"),
            "' close' and 'close', one name without",
        ),
        (file("cell.csv", b"timestamp,asset,close\n2024-01-02,A,1\n2024-01-03, A,2\n"), "has ' A' and 'A', one name"),
        (file("head.csv", b"timestamp,asset,close\n"), "has no rows"),
        (file("twice.csv", b"timestamp,asset,close,close\n2024-01-02,A,1,2\n"), "has column 'close' twice"),
    ]:
        refused(match, path)
        refused(str(path), path)
    minimal()[:0].write_parquet(tmp_path / "norows.parquet")
    refused("has no rows", tmp_path / "norows.parquet")
    minimal().write_parquet(tmp_path / "even.parquet")
    minimal(close=None, open=[1.0] * 3).write_parquet(tmp_path / "odd.parquet")
    refused(f"{tmp_path / 'odd.parquet'} has no close column", [tmp_path / "even.parquet", tmp_path / "odd.parquet"])
    refused("appears twice (3 rows", [tmp_path / "even.parquet"] * 2)
    refused("pass duplicates='first' or duplicates='last'", [tmp_path / "even.parquet"] * 2)
    refused("even.parquet and 1 more: (2024", [tmp_path / "even.parquet"] * 2)
    refused("a list of sources must hold paths", [minimal()])
    refused("a list of sources must hold paths", [])


def test_what_is_no_table_is_refused() -> None:
    refused("a ndarray cannot be read", np.ones((2, 2)))
    refused("a NoneType cannot be read", None)
    for empty in (minimal()[:0], minimal()[:0].to_pandas(), pd.DataFrame({"date": [], "asset": [], "close": []})):
        refused("table has no rows", empty)
    refused("a lazy table", pl.LazyFrame({"a": [1]}).select("b"))
