# SPDX-License-Identifier: Apache-2.0
"""Timestamps of every kind as arrays of microseconds with a time zone."""

from __future__ import annotations

import datetime as dt
import warnings
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gpu_bt.data.clock import local_microseconds
from gpu_bt.data.stamps import timestamps_to_numpy
from gpu_bt.errors import PanelError


def read(values, time_zone=None):
    return timestamps_to_numpy(values, time_zone, PanelError)


NAIVE = [dt.datetime(2020, 1, 1), dt.datetime(2020, 7, 1, 12, 30, 15, 250)]
WANT = np.array(["2020-01-01", "2020-07-01T12:30:15.000250"], "datetime64[us]")


@pytest.mark.parametrize(
    "values",
    [
        NAIVE,
        tuple(NAIVE),
        np.array(NAIVE, object),
        np.array(NAIVE, "datetime64[us]"),
        np.array(NAIVE, "datetime64[ns]"),
        ["2020-01-01", "2020-07-01T12:30:15.000250"],
        np.array(["2020-01-01", "2020-07-01 12:30:15.000250"]),
        [np.datetime64("2020-01-01"), np.datetime64("2020-07-01T12:30:15.000250")],
        [pd.Timestamp(x) for x in NAIVE],
        pd.DatetimeIndex(NAIVE),
        pd.Series(NAIVE),
        pl.Series(NAIVE),
    ],
    ids=lambda v: type(v).__name__,
)
def test_naive_timestamps_are_taken_as_they_stand(values):
    got, zone = read(values)
    assert got.dtype == "datetime64[us]" and got.tolist() == WANT.tolist() and zone is None
    assert not got.flags.writeable


@pytest.mark.parametrize(
    ("values", "unit"),
    [([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "date"),
     (np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"), "D"),
     (pl.Series([dt.date(2020, 1, 1), dt.date(2020, 1, 2)]), "polars"), (["2020-01-01", "2020-01-02"], "text")],
)  # fmt: skip
def test_dates_are_midnights(values, unit):
    assert read(values)[0].tolist() == [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2)], unit


@pytest.mark.parametrize("make", [
    list, pd.DatetimeIndex, pd.Series, lambda v: pl.Series(v, dtype=pl.Datetime("us", str(v[0].tzinfo))),
    lambda v: np.array(v, object), lambda v: [pd.Timestamp(x) for x in v],
], ids=["list", "index", "series", "polars", "objects", "timestamps"])  # fmt: skip
@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
def test_aware_timestamps_become_utc_instants(make, zone):
    tz = ZoneInfo(zone)
    given = [dt.datetime(2020, 1, 1, 9, 30, tzinfo=tz), dt.datetime(2020, 7, 1, 9, 30, tzinfo=tz)]
    got, name = read(make(given))
    assert name == zone
    assert got.tolist() == [x.astimezone(dt.UTC).replace(tzinfo=None) for x in given]


def test_the_hour_that_comes_twice_keeps_its_fold():
    tz = ZoneInfo("America/New_York")
    given = [dt.datetime(2021, 11, 7, 1, 30, tzinfo=tz, fold=f) for f in (0, 1)]
    assert read(given)[0].tolist() == [dt.datetime(2021, 11, 7, 5, 30), dt.datetime(2021, 11, 7, 6, 30)]


NEW_YORK = [dt.datetime(2020, 1, 1, 5), dt.datetime(2020, 7, 1, 16, 30, 15, 250)]


@pytest.mark.parametrize("make", [list, pd.DatetimeIndex, pl.Series, pd.Series, lambda v: [str(x) for x in v],
                                  lambda v: np.array(v, "datetime64[us]")])  # fmt: skip
def test_naive_values_are_the_wall_clock_of_the_zone(make):
    got, zone = read(make(NAIVE), "America/New_York")
    assert got.tolist() == NEW_YORK and zone == "America/New_York"


def test_aware_values_are_instants_shown_in_the_zone():
    aware = [x.replace(tzinfo=dt.UTC) for x in NAIVE]
    for values in (aware, pd.DatetimeIndex(aware), pl.Series(aware), [x.isoformat() for x in aware]):
        got, zone = read(values, "Asia/Tokyo")
        assert got.tolist() == NAIVE and zone == "Asia/Tokyo"


def test_a_wall_time_that_is_skipped_or_repeated_is_refused_and_a_date_never():
    for text, fate in (("2024-03-10T02:30", "does not exist"), ("2024-11-03T01:30", "comes twice")):
        for values in ([text], np.array([text], "datetime64[us]"), pd.DatetimeIndex([text])):
            with pytest.raises(PanelError, match=rf"^timestamps {text}:00 {fate} on the clock of America/New_York, "):
                read(values, "America/New_York")
    # Santiago's clocks go from midnight to one: the date begins at one. St John's go back over midnight.
    assert read([dt.date(2024, 9, 8)], "America/Santiago")[0].tolist() == [dt.datetime(2024, 9, 8, 4)]
    assert read(pd.DatetimeIndex(["2006-10-29"]), "America/St_Johns")[0].tolist() == [dt.datetime(2006, 10, 29, 2, 30)]


def test_a_datetime_of_a_zone_that_its_clock_skips_is_refused():
    tz = ZoneInfo("America/New_York")
    given = [dt.datetime(2024, 3, 10, 1, 30, tzinfo=tz), dt.datetime(2024, 3, 10, 2, 30, tzinfo=tz)]
    for values in (given, np.array(given, object)):
        with pytest.raises(
            PanelError, match=r"^timestamps hold 2024-03-10 02:30:00, which does not exist on the clock"
        ):
            read(values)


def test_arrow_keeps_its_zone():
    aware = pd.DatetimeIndex(NAIVE).tz_localize("America/New_York")
    for values in (pa.array(aware), pa.chunked_array([pa.array(aware)])):
        got, zone = read(values)
        assert zone == "America/New_York" and got.tolist() == NEW_YORK
    assert read(pa.array(NAIVE), "America/New_York")[0].tolist() == NEW_YORK
    assert read(pa.array([20240131], pa.int64()))[0].tolist() == [dt.datetime(2024, 1, 31)]


OFFSETS = [330, 345, -210, -570, 1, 60, -300, 840]


@pytest.mark.parametrize("minutes", OFFSETS)
@pytest.mark.parametrize("make", [
    list, pd.DatetimeIndex, pd.Series, lambda v: np.array(v, object), lambda v: [pd.Timestamp(x) for x in v],
    lambda v: [x.isoformat() for x in v],
], ids=["list", "index", "series", "objects", "timestamps", "text"])  # fmt: skip
def test_fixed_offsets_of_any_minute(make, minutes):
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    given = [dt.datetime(2024, 1, 31, tzinfo=zone), dt.datetime(2024, 7, 1, 9, 15, tzinfo=zone)]
    got, name = read(make(given))
    assert got.tolist() == [x.astimezone(dt.UTC).replace(tzinfo=None) for x in given]
    assert (local_microseconds(got.view(np.int64), name) - got.view(np.int64)).tolist() == [minutes * 60_000_000] * 2
    assert read(make(given), "Asia/Tokyo")[1] == "Asia/Tokyo"


def test_several_offsets_are_utc_unless_that_moves_dates():
    new_york = ["2024-01-02T16:00-05:00", "2024-07-02T16:00-04:00"]
    berlin = ["2024-01-02T00:00+01:00", "2024-07-02T00:00+02:00"]
    assert read(new_york)[1] == "UTC"
    with pytest.raises(PanelError, match="timestamps has several UTC offsets: pass time_zone=, such as"):
        read(berlin)
    got, zone = read(berlin, "Europe/Berlin")
    assert zone == "Europe/Berlin" and got.tolist() == [dt.datetime(2024, 1, 1, 23), dt.datetime(2024, 7, 1, 22)]


@pytest.mark.parametrize("zones", [
    (None, dt.UTC), (ZoneInfo("Asia/Tokyo"), dt.UTC), (None, dt.timezone(dt.timedelta(minutes=330))),
    (ZoneInfo("Asia/Tokyo"), dt.timezone(dt.timedelta(hours=9))),
])  # fmt: skip
def test_mixed_time_zones_are_refused(zones):
    given = [dt.datetime(2024, 1, d + 1, tzinfo=zone) for d, zone in enumerate(zones)]
    for values in (given, np.array(given, object)):
        with pytest.raises(PanelError, match=r"^timestamps mix time zones \(.*convert them to one zone"):
            read(values)


@pytest.mark.parametrize("make", [
    list, np.array, pd.Series, pl.Series, lambda v: np.array(v, float), lambda v: pd.Series(v, dtype="Int64"),
    lambda v: [str(x) for x in v], lambda v: [float(x) for x in v],
])  # fmt: skip
def test_whole_numbers_of_eight_digits_are_dates(make):
    got, zone = read(make([20240131, 20240229]))
    assert zone is None and got.tolist() == [dt.datetime(2024, 1, 31), dt.datetime(2024, 2, 29)]
    with pytest.raises(
        PanelError, match=r"timestamps\[1\] is .*20240230.*: it must be a date, datetime, ISO text or wh"
    ):
        read(make([20240131, 20240230]))


@pytest.mark.parametrize(("freq", "texts", "want"), [
    ("D", ["2024-02-28", "2024-02-29"], ["2024-02-28", "2024-02-29"]),
    ("M", ["2024-02", "2024-03"], ["2024-02-29", "2024-03-31"]),
    ("Q", ["2024Q1", "2024Q2"], ["2024-03-31", "2024-06-30"]), ("Y", ["2023"], ["2023-12-31"]),
    ("W-SUN", ["2024-09-01"], ["2024-09-01"]), ("h", ["2024-02-29 10:00"], ["2024-02-29T10"]),
])  # fmt: skip
def test_a_period_is_its_last_day_or_the_start_of_one_within_a_day(freq, texts, want):
    periods = pd.PeriodIndex(texts, freq=freq)
    for values in (periods, list(periods), pd.Series(periods), np.array(list(periods), object)):
        assert read(values)[0].tolist() == np.array(want, "datetime64[us]").tolist()


def test_years_that_no_calendar_has_are_refused():
    for far in ("-0005-01-01", "12000-01-01"):
        with pytest.raises(PanelError, match=r"^timestamps\[0\] is .*: it must lie in the years 1 to 9999"):
            read(np.array([far], "datetime64[us]"), "Europe/Berlin")


def test_nanoseconds_are_cut():
    assert read(np.array([1999], "datetime64[ns]"))[0].astype(int).tolist() == [1]
    assert read(np.array([-1], "datetime64[ns]"))[0].astype(int).tolist() == [-1]  # towards the past, as a floor


@pytest.mark.parametrize("values", [[1, 2], [True, False], np.array([1, 2]), np.array([1.0, 2.0]), pd.Series([1, 2])])
def test_numbers_have_no_unit(values):
    with pytest.raises(PanelError, match="timestamps"):
        read(values)


@pytest.mark.parametrize("values", [[None, "2020-01-01"], ["NaT", "2020-01-01"], [pd.NaT, pd.Timestamp(2020, 1, 1)],
                                    pd.Series([pd.NaT, pd.Timestamp(2020, 1, 1)]),
                                    pl.Series([None, NAIVE[0]])])  # fmt: skip
def test_a_missing_timestamp_is_named(values):
    with pytest.raises(PanelError, match=r"^timestamps\[0\] is NaT: every bar needs a timestamp; drop that row$"):
        read(values)


def test_compact_dates_are_dates():
    # NumPy reads "20200101" as a year, far outside the range of microseconds.
    got, zone = read(["20200101", "20200102"])
    assert zone is None and got.tolist() == [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2)]


@pytest.mark.parametrize("ending", ["Z", "+00:00"])
def test_text_in_utc_is_read_without_a_warning_of_numpy(ending):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, zone = read([f"2020-01-01T00:00{ending}"])
    assert zone == "UTC" and got.tolist() == [dt.datetime(2020, 1, 1)]


@pytest.mark.parametrize("values", [None, 5, "2020-01-01", np.datetime64("2020-01-01")])
def test_what_is_no_sequence_is_refused(values):
    with pytest.raises(PanelError, match="timestamps"):
        read(values)


def test_two_dimensions_are_refused():
    with pytest.raises(PanelError, match=r"timestamps has dtype datetime64.us. and 2 dimensions"):
        read(np.array([NAIVE], "datetime64[us]"))


def test_the_errors_class_is_the_callers():
    with pytest.raises(KeyError):
        timestamps_to_numpy(np.array([1]), None, KeyError)
