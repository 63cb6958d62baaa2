# SPDX-License-Identifier: Apache-2.0
"""Which bars decide ([S6]), read off the fills: the row of bar t wants t + 1 shares, filled at the same close."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from kit import column, fills, panel, run


def decided(engine, timestamps, *, time_zone=None, next_timestamp=None, **settings):
    """The bars that decided, of a panel with a bar at each timestamp."""
    t, stamps = len(timestamps), [dt.datetime.fromisoformat(text) for text in timestamps]
    market = panel([16] * t, timestamps=stamps, time_zone=time_zone, next_timestamp=next_timestamp)
    result = run(engine, market, [(k + 1) / 64 for k in range(t)], **settings)
    assert column(result, "fills") == [int(k in {f[0] for f in fills(result)}) for k in range(t)]
    return [f[0] for f in fills(result)]


DAYS = ["2019-12-27", "2019-12-30", "2019-12-31", "2020-01-02", "2020-01-03", "2020-01-06", "2020-01-31", "2020-02-03",
        "2020-03-31", "2020-04-01"]  # Fri, Mon, Tue, Thu, Fri, Mon, Fri, Mon, Tue, Wed  # fmt: skip


@pytest.mark.parametrize(
    ("rebalance", "bars"),
    [
        ("bar", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("day", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("week", [0, 4, 5, 6, 7]),  # 30 December to 3 January is one week; 31 March and 1 April another
        ("month", [2, 6, 7, 8]),  # 3 February is the last bar of its month
        ("quarter", [2, 8]),
        ("year", [2]),
    ],
)
def test_the_last_bar_of_each_period_decides(engine, rebalance, bars):
    assert decided(engine, DAYS, rebalance=rebalance) == bars


@pytest.mark.parametrize(
    ("following", "rebalances"),
    [
        ("2020-04-01T12:00", ["bar"]),
        ("2020-04-02", ["bar", "day"]),
        ("2020-04-06", ["bar", "day", "week"]),
        ("2020-05-01", ["bar", "day", "week", "month"]),
        ("2020-07-01", ["bar", "day", "week", "month", "quarter"]),
        ("2021-01-04", ["bar", "day", "week", "month", "quarter", "year"]),
    ],
)
def test_next_timestamp_says_whether_the_last_bar_ends_a_period(engine, following, rebalances):
    names = ("bar", "day", "week", "month", "quarter", "year")
    got = [r for r in names if decided(engine, DAYS, rebalance=r, next_timestamp=np.datetime64(following))[-1] == 9]
    assert got == rebalances


@pytest.mark.parametrize(
    ("rebalance", "bars"),
    [("day", range(10)), ("week", [0, 1, 5, 6, 7, 8]), ("month", [0, 3, 7, 8, 9]), ("quarter", [0, 3, 9]), ("year", [0,
    3])],
)  # fmt: skip
def test_the_first_bar_of_each_period_decides(engine, rebalance, bars):
    # The panel's first bar is one of them; no bar needs what follows.
    assert decided(engine, DAYS, rebalance=rebalance, rebalance_on="first") == list(bars)
    assert decided(engine, DAYS, rebalance=rebalance, rebalance_on="first", next_timestamp="2030-01-01") == list(bars)


def test_on_the_first_bar_of_a_day_of_hours(engine):
    hours = [f"2024-01-0{d}T{h:02}:00" for d in (3, 4) for h in range(9, 12)]
    for zone in (None, "Asia/Tokyo", "+05:30"):
        assert decided(engine, hours, rebalance="day", rebalance_on="first", time_zone=zone) == [0, 3]


@pytest.mark.parametrize(
    ("starts", "bars"), [("monday", [0, 5]), ("sunday", [4]), ("saturday", [4]), ("tuesday", [1, 6])]
)
def test_weeks_of_a_market_that_trades_from_sunday_to_thursday(engine, starts, bars):
    days = [
        "2024-01-07",
        "2024-01-08",
        "2024-01-09",
        "2024-01-10",
        "2024-01-11",
        "2024-01-14",
        "2024-01-15",
        "2024-01-16",
    ]
    assert decided(engine, days, rebalance="week", week_starts=starts) == bars
    first = [0, *(t + 1 for t in bars)]
    assert decided(engine, days, rebalance="week", week_starts=starts, rebalance_on="first") == first


def test_an_hour_that_comes_twice_over_midnight_ends_one_day(engine):
    # St John's, 29 October 2006: one minute after midnight the clock shows 23:01 of the 28th again.
    stamps = [f"2006-10-29T{time}Z" for time in ("02:00", "02:30", "02:45", "03:15", "03:31", "03:45")]
    zone = dict(rebalance="day", time_zone="America/St_Johns")  # 23:30, 00:00, 23:15, 23:45, 00:01, 00:15
    assert decided(engine, stamps, **zone) == [0] and decided(engine, stamps, **zone, rebalance_on="first") == [0, 1]


def test_weeks_run_from_monday_to_sunday(engine):
    # Sat, Sun, Mon, Sun, Mon.
    days = ["2020-01-04", "2020-01-05", "2020-01-06", "2020-01-12", "2020-01-13"]
    assert decided(engine, days, rebalance="week") == [1, 3]


def test_the_same_month_of_another_year_is_another_month(engine):
    days = ["2019-03-29", "2020-03-30", "2021-03-31"]
    for rebalance in ("day", "week", "month", "quarter", "year"):
        assert decided(engine, days, rebalance=rebalance) == [0, 1]


def test_bars_before_1970(engine):
    days = ["1969-12-30", "1969-12-31", "1970-01-01", "1970-01-05"]  # Tue, Wed, Thu, Mon
    assert decided(engine, days, rebalance="year") == [1] and decided(engine, days, rebalance="week") == [2]


@pytest.mark.parametrize(
    ("every", "offset", "bars"),
    [
        (1, 0, range(10)),
        (3, 0, [0, 3, 6, 9]),
        (3, 1, [1, 4, 7]),
        (3, 4, [4, 7]),
        (1, 8, [8, 9]),
        (1, 10, []),
        (11, 0, [0]),
    ],
)
def test_every_nth_bar_from_an_offset(engine, every, offset, bars):
    assert decided(engine, DAYS, rebalance_every=every, rebalance_offset=offset) == list(bars)


def test_every_counts_the_bars_that_the_period_names(engine):
    # Months end at bars 2, 6, 7, 8: the second, fourth, ... of them.
    assert decided(engine, DAYS, rebalance="month", rebalance_every=2, rebalance_offset=1) == [6, 8]


def test_days_are_those_of_the_time_zone(engine):
    # 03:00 UTC is still the day before in New York; 05:00 UTC is not (winter, UTC-5).
    stamps = ["2020-01-02T15:00Z", "2020-01-03T03:00Z", "2020-01-03T05:00Z", "2020-01-03T15:00Z"]
    assert decided(engine, stamps, rebalance="day", time_zone="America/New_York") == [1]
    assert decided(engine, stamps, rebalance="day") == [0]
    naive = [text.removesuffix("Z") for text in stamps]  # the wall clock of whatever zone
    for zone in (None, "America/New_York", "Asia/Tokyo"):
        assert decided(engine, naive, rebalance="day", time_zone=zone) == [0]
    assert decided(engine, stamps, rebalance="day", time_zone="UTC") == [0]
    # In Tokyo (UTC+9) all of them are 3 January; the next bar, 15:00 UTC on the 3rd, is midnight of the 4th.
    assert decided(engine, stamps, rebalance="day", time_zone="Asia/Tokyo") == [2]


@pytest.mark.parametrize(
    ("stamps", "bars"),
    [
        # Spring, 14 March 2021: midnight is 05:00 UTC before and 04:00 UTC after.
        (["2021-03-14T04:30Z", "2021-03-14T05:30Z", "2021-03-15T03:30Z", "2021-03-15T04:30Z"], [0, 2]),
        # Autumn, 7 November 2021: midnight is 04:00 UTC before and 05:00 UTC after.
        (["2021-11-07T03:30Z", "2021-11-07T04:30Z", "2021-11-08T04:30Z", "2021-11-08T05:30Z"], [0, 2]),
    ],
)
def test_midnight_moves_with_daylight_saving(engine, stamps, bars):
    assert decided(engine, stamps, rebalance="day", time_zone="America/New_York") == bars


def test_the_repeated_hour_of_autumn_is_one_day(engine):
    # 01:30 in New York twice: 05:30 and 06:30 UTC.
    stamps = ["2021-11-07T05:30Z", "2021-11-07T06:30Z", "2021-11-08T05:30Z"]
    assert decided(engine, stamps, rebalance="day", time_zone="America/New_York") == [1]


def test_next_timestamp_is_read_in_the_time_zone(engine):
    # 03:00 UTC on 1 February is January in New York, 05:00 UTC is not.
    stamps = ["2020-01-30T20:00Z", "2020-01-31T20:00Z"]
    zone = dict(time_zone="America/New_York", rebalance="month")
    for due, bars in (
        ("2020-02-01T03:00Z", []),
        ("2020-02-01T05:00Z", [1]),
        ("2020-01-31T23:00", []),
        ("2020-02-01", [1]),
    ):
        assert decided(engine, stamps, next_timestamp=due, **zone) == bars


def test_a_panel_of_one_bar(engine):
    assert decided(engine, ["2020-01-31"]) == [0]
    assert decided(engine, ["2020-01-31"], rebalance="month") == []
    assert decided(engine, ["2020-01-31"], rebalance="month", next_timestamp=np.datetime64("2020-02-03")) == [0]
