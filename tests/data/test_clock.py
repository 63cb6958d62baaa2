# SPDX-License-Identifier: Apache-2.0
"""Timestamps and schedules against pandas and the datetime module, which know calendars on their own."""

from __future__ import annotations

import datetime as dt
import itertools
import warnings
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gpu_bt.data.clock import local_microseconds, schedule, timestamps_to_numpy
from gpu_bt.errors import PanelError

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "UTC", None]
PERIODS = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}


def read(values, time_zone=None):
    return timestamps_to_numpy(values, time_zone, PanelError)


def stamps(seed: int, t: int = 400) -> np.ndarray:
    """(T,) int64 microseconds: irregular steps of minutes to weeks from somewhere between 1950 and 2050."""
    rng = np.random.default_rng(seed)
    start = int(rng.integers(-20 * 365, 80 * 365)) * 86_400_000_000
    return start + np.cumsum((10 ** rng.uniform(7, 12.5, t)).astype(np.int64))


# --- reading ---

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


def test_a_named_zone_says_that_naive_values_are_utc_instants():
    got, zone = read(NAIVE, "America/New_York")
    assert got.tolist() == WANT.tolist() and zone == "America/New_York"


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


@pytest.mark.parametrize("ending", ["Z", "+00:00", "+01:00"])
def test_text_with_an_offset_is_read_or_refused_but_not_by_a_warning_of_numpy(ending):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            got, zone = read([f"2020-01-01T00:00{ending}"])
        except PanelError:
            return
    assert zone == "UTC" and ending != "+01:00" and got.tolist() == [dt.datetime(2020, 1, 1)]


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


# --- wall clocks ---


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", range(4))
def test_wall_clocks_agree_with_pandas(zone, seed):
    us = stamps(seed)
    index = pd.DatetimeIndex(us.view("datetime64[us]"), tz="UTC")
    want = us if zone is None else index.tz_convert(zone).tz_localize(None).as_unit("us").asi8
    assert np.array_equal(local_microseconds(us, zone), want)


@pytest.mark.parametrize("zone", [z for z in ZONES if z])
def test_wall_clocks_around_every_change_of_a_year(zone):
    # A bar every 5 minutes over 2021, against the datetime module.
    us = np.arange(0, 365 * 86_400, 300, dtype=np.int64)[::7] * 1_000_000 + 1_609_459_200_000_000
    tz = ZoneInfo(zone)
    moments = [dt.datetime.fromtimestamp(u // 1_000_000, tz).replace(tzinfo=dt.UTC) for u in us.tolist()]
    assert np.array_equal(local_microseconds(us, zone), [int(m.timestamp()) * 1_000_000 for m in moments])


# --- schedules ---


def expected(us, zone, following, rebalance, every, offset):
    """The same from pandas periods, a bar at a time."""
    index = pd.DatetimeIndex(np.append(us, following or []).astype(np.int64).view("datetime64[us]"))
    if zone is not None:
        index = index.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    if rebalance == "bar":
        named = list(range(len(us)))
    else:
        periods = [pd.Period(x, PERIODS[rebalance]) for x in index]
        named = [t for t, (a, b) in enumerate(itertools.pairwise(periods)) if a != b]
    chosen = named[offset::every] if offset < len(named) else []
    return [t in set(chosen) for t in range(len(us))]


@pytest.mark.parametrize("rebalance", ["bar", *PERIODS])
@pytest.mark.parametrize("zone", [None, "America/New_York", "Australia/Lord_Howe"])
def test_schedules_agree_with_pandas_periods(rebalance, zone):
    for seed, (every, offset) in enumerate([(1, 0), (2, 0), (3, 1), (1, 5), (7, 300)]):
        us = stamps(seed, 150)
        for following in (None, int(us[-1]) + 1, int(us[-1]) + 40 * 86_400_000_000):
            got = schedule(us, zone, following, rebalance, every, offset)
            assert got.dtype == bool and got.tolist() == expected(us, zone, following, rebalance, every, offset)


def test_the_last_bar_of_a_schedule_needs_what_follows():
    us = np.array([0, 86_400_000_000], np.int64)
    assert schedule(us, None, None, "day", 1, 0).tolist() == [True, False]
    assert schedule(us, None, 2 * 86_400_000_000, "day", 1, 0).tolist() == [True, True]
    assert schedule(us, None, 2 * 86_400_000_000 - 1, "day", 1, 0).tolist() == [True, False]


def test_a_schedule_does_not_depend_on_later_bars():
    us = stamps(9, 60)
    for rebalance in ("bar", *PERIODS):
        whole = schedule(us, "America/New_York", None, rebalance, 2, 1)
        for t in range(1, 60):
            part = schedule(us[:t], "America/New_York", int(us[t]), rebalance, 2, 1)
            assert np.array_equal(part, whole[:t]), (rebalance, t)
