# SPDX-License-Identifier: Apache-2.0
"""Timestamps of every kind in every kind of table: the bars are the same as those of a Panel of them."""

from __future__ import annotations

import datetime as dt
import io
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tables import minimal, refused

import gpu_bt as bt

DAYS = [dt.date(2024, 1, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 29)]
WALL = [np.datetime64(day, "us") for day in DAYS]


def long(stamps: Any) -> pd.DataFrame:
    return pd.DataFrame({"timestamp": stamps, "asset": "A", "close": [1.0, 2.0, 3.0]})


def sources(stamps: Any, folder: Path) -> list[Any]:
    """The stamps in long and wide tables of pandas, Polars and Arrow, and in files of each kind."""
    table = long(stamps)
    wide = pd.DataFrame({"A": [1.0, 2.0, 3.0]}, index=pd.Index(table["timestamp"]))
    out = [table, wide, wide.rename_axis(None), table.set_index(["timestamp", "asset"])]
    table.to_csv(folder / "t.csv", index=False)
    out.append(folder / "t.csv")
    try:
        polars = pl.from_pandas(table)
    except (TypeError, pl.exceptions.PolarsError):  # periods and offsets, which it does not know
        return out
    polars.write_parquet(folder / "t.parquet")
    polars.write_ipc(folder / "t.arrow")
    return [*out, polars, polars.lazy(), polars.to_arrow(), folder / "t.parquet", folder / "t.arrow"]


@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo", "+05:30"])
@pytest.mark.parametrize("stamps", [
    DAYS, pd.DatetimeIndex(DAYS), [day.isoformat() for day in DAYS], [f"{day:%Y%m%d}" for day in DAYS],
    [int(f"{day:%Y%m%d}") for day in DAYS], [float(f"{day:%Y%m%d}") for day in DAYS],
    pd.array([int(f"{day:%Y%m%d}") for day in DAYS], dtype="Int64"), [f" {day} " for day in DAYS],
], ids=["date", "datetime", "text", "compact", "int", "float", "Int64", "blanks"])  # fmt: skip
def test_days_of_every_kind_are_the_same_bars(stamps, zone, tmp_path):
    want = bt.Panel(np.ones((3, 1)), timestamps=DAYS, assets=["A"], time_zone=zone)
    for source in sources(stamps, tmp_path):
        panel = bt.read_panel(source, time_zone=zone)
        assert panel.close.tolist() == [[1.0], [2.0], [3.0]] and panel.time_zone == zone
        assert panel.timestamps.tolist() == want.timestamps.tolist()
        assert [panel.label(t) for t in range(3)] == [str(day) for day in DAYS]


@pytest.mark.parametrize("freq", ["D", "M", "Q"])
def test_periods_are_their_last_days(freq, tmp_path):
    periods = pd.PeriodIndex([f"2024-{month}" for month in ("03", "06", "09")], freq="M").asfreq(freq)
    last = [dt.date(2024, 3, 31), dt.date(2024, 6, 30), dt.date(2024, 9, 30)]
    for source in sources(periods, tmp_path)[: 4 if freq != "D" else 5]:  # a CSV has 2024-03
        assert bt.read_panel(source).timestamps.tolist() == [dt.datetime(d.year, d.month, d.day) for d in last]
    objects = long(list(periods)).astype({"timestamp": object})
    assert bt.read_panel(objects).label(2) == "2024-09-30"


@pytest.mark.parametrize("minutes", [330, 345, -210, 60, -300, 1])
def test_an_offset_of_any_minute_is_the_clock_of_the_panel(minutes, tmp_path):
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    stamps = [dt.datetime(day.year, day.month, day.day, 9, 15, tzinfo=zone) for day in DAYS]
    table = long(pd.DatetimeIndex(stamps))
    table.to_parquet(tmp_path / "pandas.parquet")
    table.to_feather(tmp_path / "pandas.feather")
    given = [*sources(pd.DatetimeIndex(stamps), tmp_path), *sources([x.isoformat() for x in stamps], tmp_path)]
    given += [long(pd.Series(stamps, dtype=object)), tmp_path / "pandas.parquet", tmp_path / "pandas.feather"]
    for source in given:
        panel = bt.read_panel(source)
        assert panel.timestamps.tolist() == [x.astimezone(dt.UTC).replace(tzinfo=None) for x in stamps]
        assert [panel.label(t) for t in range(3)] == [f"{day}T09:15:00" for day in DAYS]
        assert bt.read_panel(source, time_zone="Asia/Kolkata").time_zone == "Asia/Kolkata"
    stream = bt.scan_panel(tmp_path / "pandas.parquet", bars=2)
    assert stream.timestamps.tolist() == panel.timestamps.tolist() and stream.time_zone == panel.time_zone
    books = table.rename(columns={"close": "weight"}).assign(weight=0.5)
    for source in (books, pl.from_pandas(books.assign(timestamp=[x.isoformat() for x in stamps]))):
        weights = bt.read_weights(source, panel)
        assert weights.values.tolist() == [[0.5]] * 3
    config = bt.Config(execution="same_close", lot=0)
    result = bt.run(panel, weights, config)
    assert bt.run(stream, weights, config).equity.equals(result.equity)
    assert result.timestamps[0] == stamps[0] and result.returns().index[0] == stamps[0]


def test_several_offsets_of_one_zone(tmp_path):
    # Midnights of Berlin: with the zone they are its dates; without it their dates in UTC would be the days before.
    berlin = [dt.datetime(2024, month, 28, tzinfo=ZoneInfo("Europe/Berlin")) for month in (3, 4, 11)]
    fixed = [x.replace(tzinfo=dt.timezone(x.utcoffset())) for x in berlin]
    for source in [*sources([x.isoformat() for x in berlin], tmp_path), long(pd.Series(fixed, dtype=object))]:
        panel = bt.read_panel(source, time_zone="Europe/Berlin")
        assert [panel.label(t) for t in range(3)] == ["2024-03-28", "2024-04-28", "2024-11-28"]
        refused("several UTC offsets: pass time_zone=", source)
    noon = [x.replace(hour=12).isoformat() for x in berlin]
    assert bt.read_panel(long(noon)).time_zone == "UTC"


def test_files_of_one_offset_each(tmp_path):
    for name, text in (("w", "2024-01-02T16:00-05:00"), ("s", "2024-07-02T16:00-04:00")):
        (tmp_path / f"{name}.csv").write_text(f"date,asset,close\n{text},A,1\n")
    refused("timestamp has several UTC offsets: pass time_zone=", str(tmp_path / "*.csv"))
    panel = bt.read_panel(str(tmp_path / "*.csv"), time_zone="America/New_York")
    assert [panel.label(t) for t in (0, 1)] == ["2024-01-02T16:00:00", "2024-07-02T16:00:00"]


@pytest.mark.parametrize(("date_format", "clock"), [
    ("%d.%m.%Y", "00:00"), ("%m/%d/%Y", "00:00"), ("%d-%b-%y", "00:00"), ("%d.%m.%Y %H:%M", "16:30"),
    ("%Y%m%d%H%M", "16:30"),
])  # fmt: skip
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_dates_as_a_format_writes_them(date_format, clock, zone, tmp_path):
    moments = [dt.datetime.fromisoformat(f"{day}T{clock}") for day in DAYS]
    texts = [f"{m:{date_format}}" for m in moments]
    stamps = [int(text) for text in texts] if date_format == "%Y%m%d%H%M" else texts
    how = dict(date_format=date_format, time_zone=zone)
    want = bt.Panel(np.ones((3, 1)), timestamps=moments, assets=["A"], time_zone=zone)
    for i, source in enumerate(sources(stamps, tmp_path)):
        if i == 2 and stamps is not texts:
            continue  # an index of numbers that has no name and is no date as it stands is left out
        panel = bt.read_panel(source, **how)
        assert panel.timestamps.tolist() == want.timestamps.tolist()
        if date_format != "%Y%m%d%H%M":
            refused("timestamp, row 0, is ", source)
    books = pl.DataFrame({"timestamp": stamps, "asset": "A", "weight": [0.25, 0.5, 0.75]})
    books.write_parquet(tmp_path / "books.parquet")
    assert bt.read_weights(books, panel, date_format=date_format).values.tolist() == [[0.25], [0.5], [0.75]]
    stream = bt.scan_panel(tmp_path / "t.parquet", bars=2, **how)
    assert stream.timestamps.tolist() == want.timestamps.tolist()
    config = bt.Config(execution="same_close", lot=0)
    streamed = bt.read_weights(tmp_path / "books.parquet", stream, date_format=date_format)
    whole = bt.read_weights(tmp_path / "books.parquet", panel, date_format=date_format)
    assert bt.run(stream, streamed, config).equity.equals(bt.run(panel, whole, config).equity)
    refused(f"it must be a time as date_format={date_format!r} writes it", long(["2024-13-45"] * 3), **how)


@pytest.mark.parametrize(("date_format", "texts", "want"), [
    ("%Y%m", [202401, 202402, 202412], ["2024-01-31", "2024-02-29", "2024-12-31"]),
    ("%b %Y", ["Jan 2023", "Feb 2023", "Apr 2023"], ["2023-01-31", "2023-02-28", "2023-04-30"]),
    ("%Y", [2021, 2022, 2024], ["2021-12-31", "2022-12-31", "2024-12-31"]),
])  # fmt: skip
def test_a_format_without_a_day_means_the_last_one(date_format, texts, want, tmp_path):
    for source in (long(texts), pl.from_pandas(long(texts))):
        panel = bt.read_panel(source, date_format=date_format)
        assert [panel.label(t) for t in range(3)] == want


def test_delistings_as_numbers_with_gaps():
    table = long([20240131, 20240229, 20240329]).assign(delisted_at=20240229.0)
    other = table.assign(asset="B", delisted_at=float("nan"))
    assert bt.read_panel(pd.concat([table, other])).delisted_at.tolist() == [1, -1]


def test_streams_of_text_and_numbers_are_those_in_memory(tmp_path):
    for stamps in ([20240131, 20240229, 20240329], ["2024-01-31", "2024-02-29", "2024-03-29"]):
        pl.from_pandas(long(stamps)).write_parquet(tmp_path / "t.parquet")
        stream, panel = bt.scan_panel(tmp_path / "t.parquet", bars=1), bt.read_panel(tmp_path / "t.parquet")
        assert stream.timestamps.tolist() == panel.timestamps.tolist()
        assert [part.close.tolist() for _, part in stream.parts()] == [[[1.0]], [[2.0]], [[3.0]]]


def test_a_last_row_and_a_next_timestamp_mean_the_same_in_every_entry(tmp_path):
    table = minimal(timestamp=[dt.date(2024, 1, 30), dt.date(2024, 1, 30), dt.date(2024, 1, 31)])
    table.write_parquet(tmp_path / "p.parquet")
    for zone in (None, "America/New_York", "Asia/Tokyo"):
        for due in (
            dt.date(2024, 2, 1),
            "2024-02-01",
            20240201,
            pd.Timestamp("2024-02-01"),
            pd.Period("2024-02-01", "D"),
        ):
            panel = bt.read_panel(table, time_zone=zone, next_timestamp=due)
            stream = bt.scan_panel(tmp_path / "p.parquet", time_zone=zone, next_timestamp=due)
            direct = bt.Panel(
                panel.close, timestamps=[20240130, 20240131], assets=panel.assets, time_zone=zone, next_timestamp=due
            )
            assert panel.next_timestamp == stream.next_timestamp == direct.next_timestamp
            config = bt.Config(execution="same_close", rebalance="month", lot=0)
            assert bt.run(panel, np.full(panel.shape, 0.25), config).fills.height == 1  # A, at the month's last bar


def test_an_index_of_numbers_that_are_no_dates_is_left_out():
    buffer = io.StringIO()
    long([day.isoformat() for day in DAYS]).to_csv(buffer, index=False)
    frame = pd.read_csv(io.StringIO(buffer.getvalue()))
    frame.index = frame.index + 5
    assert bt.read_panel(frame).label(0) == "2024-01-31"


@pytest.mark.parametrize(("date_format", "stamps", "want"), [
    ("%m%d%Y", [1022024, 1112024, 10022024], ["2024-01-02", "2024-01-11", "2024-10-02"]),
    ("%d%m%Y", [1112024, 2122024, 11122024], ["2024-11-01", "2024-12-02", "2024-12-11"]),
    ("%d%m%Y", ["1112024", "02122024", "11122024"], ["2024-11-01", "2024-12-02", "2024-12-11"]),
    ("%m%d%y", [10224.0, 11124.0, 100224.0], ["2024-01-02", "2024-01-11", "2024-10-02"]),
    ("%y%m%d", [90102, 90111, 101002], ["2009-01-02", "2009-01-11", "2010-10-02"]),
    ("%m%Y", [12024, 22024, 122024], ["2024-01-31", "2024-02-29", "2024-12-31"]),
    ("%m/%d/%Y", ["1/2/2024", "01/11/2024", "10/2/2024"], ["2024-01-02", "2024-01-11", "2024-10-02"]),
    ("%d.%m.%Y %H%M", ["2.1.2024 0130", "2.1.2024 930", "2.1.2024 1630"],
     ["2024-01-02T01:30:00", "2024-01-02T09:30:00", "2024-01-02T16:30:00"]),
    ("%Y-W%W-%w", ["2024-W01-1", "2024-W01-5", "2024-W02-1"], ["2024-01-01", "2024-01-05", "2024-01-08"]),
    ("%d.%m.%Y %H:%M:%S.%f", ["2.1.2024 09:30:00.5", "2.1.2024 09:30:01.25", "3.1.2024 09:30:00.0"],
     ["2024-01-02T09:30:00.500000", "2024-01-02T09:30:01.250000", "2024-01-03T09:30:00"]),
    ("%Y%m%d%H%M", [202401020930, 202401021030, 202401031630],
     ["2024-01-02T09:30:00", "2024-01-02T10:30:00", "2024-01-03T16:30:00"]),
    ("%d.%m.%Y %H:%M %z", ["2.1.2024 09:30 +05:30", "2.1.2024 10:30 +0530", "3.1.2024 09:30 +05:30"],
     ["2024-01-02T09:30:00", "2024-01-02T10:30:00", "2024-01-03T09:30:00"]),
])  # fmt: skip
def test_numbers_that_lost_a_leading_zero_are_what_the_format_wrote(date_format, stamps, want, tmp_path):
    pl.from_pandas(long(stamps)).write_parquet(tmp_path / "t.parquet")
    for read in (bt.read_panel, bt.scan_panel):
        panel = read(tmp_path / "t.parquet", date_format=date_format)
        assert [panel.label(t) for t in range(3)] == want


@pytest.mark.parametrize(("date_format", "stamp"), [
    ("%Y%m%d", 2024115), ("%Y%m%d", "2011115"), ("%Y%m", 20241), ("%d.%m.%Y %H%M", "2.1.2024 130"),
    ("%d.%m.%Y %H%M%S", "2.1.2024 1305"),
    ("%m%d%Y", 122024), ("%d%m%Y", 0),
])  # fmt: skip
def test_numbers_that_lost_another_zero_are_refused(date_format, stamp):
    rule = f"timestamp, row 0, is .*: it must be a time as date_format='{re.escape(date_format)}' writes it"
    with pytest.raises(bt.PanelError, match=rule):
        bt.read_panel(long([stamp] * 3), date_format=date_format)


@pytest.mark.parametrize(("date_format", "stamp"), [
    ("%m-%d", "01-02"), ("%H:%M", "09:30"), ("%j", "017"), ("%d.%m.%%Y", "02.01.%Y"), ("%Y-W%W", "2024-W01"),
    ("%Y %U", "2024 01"),
    ("%Y-%m %a", "2024-01 Mon"), ("%Y %w", "2024 1"), ("%Y %d", "2024 02"), ("", "2024"), (5, "2024"), (b"%Y", "2024"),
    (["%Y"], "2024"),
])  # fmt: skip
def test_formats_that_leave_the_date_open_are_refused(date_format, stamp, tmp_path):
    table = long([stamp] * 3)
    table.to_csv(tmp_path / "t.csv", index=False)
    pl.from_pandas(table).write_parquet(tmp_path / "t.parquet")
    rule = "^date_format is .*: it must be a text such as '%d.%m.%Y'"
    for read, source in ((bt.read_panel, table), (bt.read_panel, tmp_path / "t.csv"),
                         (bt.scan_panel, tmp_path / "t.parquet")):  # fmt: skip
        with pytest.raises(bt.PanelError, match=rule):
            read(source, date_format=date_format)
    with pytest.raises(bt.PanelError, match=rule):
        bt.read_panel(table.assign(timestamp=DAYS), date_format=date_format)  # also where nothing is written
    panel = bt.Panel(np.ones((1, 1)), timestamps=["2024-01-02"], assets=["A"])
    with pytest.raises(bt.WeightsError, match=rule):
        bt.read_weights(table.rename(columns={"close": "weight"}), panel, date_format=date_format)


@pytest.mark.parametrize("due", ["04.01.2024", 4012024, "2024-01-04", dt.date(2024, 1, 4), pd.Timestamp("2024-01-04")])
def test_the_next_timestamp_may_be_written_as_the_others(due, tmp_path):
    date_format = "%d.%m.%Y" if due != 4012024 else "%d%m%Y"
    table = pl.DataFrame({"date": [f"{dt.date(2024, 1, d):{date_format}}" for d in (2, 3)], "asset": "A", "close": 1.0})
    table.write_parquet(tmp_path / "t.parquet")
    for source, read in ((table, bt.read_panel), (tmp_path / "t.parquet", bt.scan_panel)):
        panel = read(source, date_format=date_format, next_timestamp=due)
        assert panel.next_timestamp == np.datetime64("2024-01-04")
        refused("next_timestamp[0] is 'x.2024': it must be", source, reader=read, date_format=date_format,
                next_timestamp="x.2024")  # fmt: skip
