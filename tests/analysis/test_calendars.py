# SPDX-License-Identifier: Apache-2.0
"""Bars per year: the calendars that panels have, whole and cut short, with holidays, half days, gaps and time zones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.holiday import USFederalHolidayCalendar

import gpu_bt as bt
from gpu_bt.analysis.calendars import bars_of_a_year, infer_bars_per_year

US = pd.bdate_range("2015-01-01", "2022-12-31").difference(USFederalHolidayCalendar().holidays("2015", "2023"))
TWICE = sorted(pd.date_range("2018-01-01", periods=60, freq="MS")) + list(
    pd.date_range("2018-01-01", periods=60, freq="MS") + pd.Timedelta(days=14)
)
TWICE = pd.DatetimeIndex(sorted(TWICE))


def every(start: str, count: int, step: str) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=step)


def sessions(days: pd.DatetimeIndex, opens: str, bars: int, step: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([d + pd.Timedelta(opens) + i * pd.Timedelta(step) for d in days for i in range(bars)])


def weeks(start: str, count: int, bars: int, step: str) -> pd.DatetimeIndex:
    """`bars` in a row from the same moment of each week."""
    parts = [every(str(pd.Timestamp(start) + pd.Timedelta(days=7 * w)), bars, step) for w in range(count)]
    return parts[0].append(parts[1:])


def only(weekdays: str, start: str, days: int) -> pd.DatetimeIndex:
    found = every(start, days, "D")
    return found[[day.strftime("%a") in weekdays for day in found]]


def utc(stamps: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    """Wall-clock times of a zone as naive UTC, which is what many vendors store."""
    return stamps.tz_localize(zone).tz_convert("UTC").tz_localize(None)


FX = weeks("2023-03-05 22:00", 9, 120, "h")
CME = weeks("2023-01-08 18:00", 6, 119, "h")
CME = CME[CME.hour != 17]
NEW_YORK = sessions(US[:200], "9h30min", 7, "60min")
HALF = NEW_YORK[~((NEW_YORK.normalize().isin(US[[30, 31, 90]])) & (NEW_YORK.hour > 12))]
TOKYO = sessions(US[:30], "9h", 72, "5min")
TOKYO = TOKYO[~((TOKYO.hour == 11) & (TOKYO.minute >= 30) | (TOKYO.hour == 12) & (TOKYO.minute < 30))]
CASES = {
    # a bar a session
    "a stock market's days": (US, 252),
    "three of them": (US[8:11], 252),
    "two of them": (US[8:10], 252),
    "over Independence Day": (pd.bdate_range("2023-06-30", "2023-07-07").drop("2023-07-04"), 252),
    "Christmas and New Year on one weekday": (
        pd.bdate_range("2019-12-20", "2020-01-03").drop(["2019-12-25", "2020-01-01"]),
        252,
    ),
    "ten days of holidays": (US[10:20].union(US[28:40]), 252),
    "a year missing": (US[:300].union(US[600:900]), 252),
    "a special Saturday": (US.union(pd.DatetimeIndex(["2018-10-27"])), 252),
    "a special Saturday in a fortnight": (US[5:15].union(US[9:10] + pd.Timedelta(days=1)), 252),
    "closing times in UTC": (utc(US + pd.Timedelta("16h"), "America/New_York"), 252),
    "midnights of Berlin in UTC": (utc(US, "Europe/Berlin"), 252),
    "Sunday to Thursday": (only("Sun Mon Tue Wed Thu", "2022-01-01", 200), 252),
    "Sunday to Thursday, nine days": (only("Sun Mon Tue Wed Thu", "2022-01-02", 12), 252),
    "Sunday to Friday": (only("Sun Mon Tue Wed Thu Fri", "2022-01-01", 200), 6 * 50.4),
    "Monday to Saturday": (only("Mon Tue Wed Thu Fri Sat", "2022-01-01", 200), 6 * 50.4),
    "Monday to Thursday": (only("Mon Tue Wed Thu", "2022-01-01", 200), 4 * 50.4),
    "Monday, Wednesday, Friday": (only("Mon Wed Fri", "2022-01-01", 200), 3 * 50.4),
    "Monday, Wednesday, Friday, six bars": (only("Mon Wed Fri", "2022-01-03", 14), 3 * 50.4),
    "Tuesday and Friday": (only("Tue Fri", "2022-01-01", 200), 2 * 50.4),
    "every second session": (US[::2], 126),
    "every third session": (US[::3], 84),
    "a coin's days": (every("2021-05-01", 500, "D"), 365),
    "three of them over a weekend": (every("2021-05-07", 3, "D"), 365),
    "four of them to Saturday": (every("2021-05-05", 4, "D"), 365),
    "a coin's days with gaps": (every("2021-05-01", 400, "D").delete([7, 100, 101, 102]), 365),
    "every second day of a coin": (every("2021-05-01", 400, "2D"), 182.5),
    # slower
    "weeks": (every("2021-01-01", 100, "W-FRI"), 52),
    "three weeks": (every("2021-01-01", 3, "W-FRI"), 52),
    "last sessions of weeks": (pd.DatetimeIndex(US.to_series().groupby(US.to_period("W")).max()), 52),
    "weeks with gaps": (every("2021-01-01", 100, "W-WED").delete([3, 40, 41, 60]), 52),
    "fortnights": (every("2021-01-01", 50, "2W-FRI"), 26),
    "four fortnights": (every("2021-01-01", 4, "2W-FRI"), 26),
    "every tenth session": (US[::10], 26),
    "the 1st and the 15th": (TWICE, 24),
    "four of them": (TWICE[8:12], 24),
    "five of them": (TWICE[8:13], 24),
    "the 15th and the last": (every("2021-01-01", 30, "SME"), 24),
    "the 1st and the 15th, or the next session": (US[US.searchsorted(TWICE[:100])], 24),
    "the 1st and the 15th with gaps": (TWICE.delete([7, 20, 21]), 24),
    "dekads": (pd.DatetimeIndex([f"2021-{m:02}-{d:02}" for m in range(1, 13) for d in (1, 11, 21)]), 36),
    "months": (every("2015-01-01", 60, "MS"), 12),
    "month ends": (every("2015-01-01", 60, "ME"), 12),
    "three month ends": (every("2015-01-01", 3, "ME"), 12),
    "last sessions of months": (every("2015-01-01", 60, "BME"), 12),
    "months with gaps": (every("2015-01-01", 60, "ME").delete([3, 20, 21, 22]), 12),
    "third Fridays": (every("2015-01-01", 30, "WOM-3FRI"), 12),
    "every 21st session": (US[::21], 12),
    "four weeks": (every("2015-01-01", 40, "28D"), 13),
    "two months": (every("2015-01-01", 30, "2ME"), 6),
    "four months": (every("2015-01-01", 30, "4MS"), 3),
    "quarters": (every("2015-01-01", 20, "QE"), 4),
    "three quarters": (every("2015-01-01", 3, "BQE"), 4),
    "every 63rd session": (US[::63], 4),
    "half years": (every("2015-01-01", 20, "2QE"), 2),
    "years": (every("1990-01-01", 20, "YE"), 1),
    "an unusual gap": (every("2020-01-01", 10, "73D"), 5),
    # sessions of several bars
    "hours of a session": (NEW_YORK, 7 * 252),
    "hours of a session in UTC over daylight saving": (utc(NEW_YORK, "America/New_York"), 7 * 252),
    "half days": (HALF, 7 * 252),
    "minutes": (sessions(US[:20], "9h30min", 390, "1min"), 390 * 252),
    "minutes of one day": (sessions(US[:1], "9h30min", 390, "1min"), 390 * 252),
    "minutes of two days and a part": (sessions(US[:3], "9h30min", 390, "1min")[:850], 390 * 252),
    "five minutes with a lunch break": (TOKYO, 60 * 252),
    "long hours": (sessions(US[:30], "4h", 16, "60min"), 16 * 252),
    "an evening session past midnight": (sessions(US[:30], "17h", 20, "30min"), 20 * 252),
    "Sydney in UTC": (utc(sessions(US[:60], "10h", 6, "60min"), "Australia/Sydney"), 6 * 252),
    "Wellington in UTC": (utc(sessions(US[:60], "10h", 7, "60min"), "Pacific/Auckland"), 7 * 252),
    "futures with an hour's break": (CME, 23 * 252),
    "the same in UTC": (utc(CME, "America/Chicago"), 23 * 252),
    "open and close": ((US[:50] + pd.Timedelta("9h30min")).union(US[:50] + pd.Timedelta("16h")), 504),
    "hours of every day of the week, closed at night": (
        sessions(only("Sat Sun Mon Tue Wed Thu Fri", "2022-01-01", 30), "8h", 10, "60min"),
        3650,
    ),
    # around the clock
    "currencies from Sunday evening on": (FX, 120 * 52),
    "with hours missing": (FX.delete([5, 100, 300, 301, 302, 700]), 120 * 52),
    "one week of it": (FX[:120], 120 * 52),
    "ten days of it": (FX[:170], 120 * 52),
    "four hours each": (weeks("2023-03-05 22:00", 9, 30, "4h"), 30 * 52),
    "minutes of it": (weeks("2023-03-05 22:00", 2, 7200, "min"), 7200 * 52),
    "by a broker's clock, Monday to Friday": (weeks("2023-03-06 00:00", 3, 120, "h"), 120 * 52),
    "a coin's hours": (every("2021-05-01", 24 * 30, "h"), 24 * 365),
    "a coin's hours with an outage": (every("2021-05-01", 24 * 30, "h").delete(range(70, 90)), 24 * 365),
    "36 hours of a Wednesday": (every("2021-05-05", 36, "h"), 24 * 365),
    "36 hours of a Saturday": (every("2021-05-08 07:00", 36, "h"), 24 * 365),
    "36 hours of minutes": (every("2021-05-07 20:00", 36 * 60, "min"), 1440 * 365),
    "a coin's quarter hours": (every("2021-05-05", 700, "15min"), 96 * 365),
    "a coin's half days": (every("2021-05-05", 60, "12h"), 730),
    # too little
    "one bar": (US[:1], 252),
    "none": (US[:0], 252),
}  # fmt: skip


def microseconds(stamps: pd.DatetimeIndex) -> np.ndarray:
    return stamps.as_unit("us").asi8


@pytest.mark.parametrize("name", list(CASES))
def test_calendars(name: str):
    stamps, expected = CASES[name]
    found, reason = bars_of_a_year(microseconds(stamps))
    assert found == pytest.approx(expected, rel=1e-12) and reason


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "Australia/Sydney", "Pacific/Honolulu", "UTC"])
def test_currencies_on_the_clock_of_any_zone(zone: str):
    assert infer_bars_per_year(microseconds(FX), zone) == 120 * 52


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Australia/Sydney", "Pacific/Auckland"])
def test_a_session_on_its_own_clock(zone: str):
    local = sessions(US[:70], "10h", 6, "60min")
    assert infer_bars_per_year(microseconds(local.tz_localize(zone)), zone) == 6 * 252


def test_a_night_that_repeats_an_hour():
    stamps = pd.date_range("2024-10-25", periods=240, freq="h", tz="America/New_York")
    assert infer_bars_per_year(microseconds(stamps), "America/New_York") == 24 * 365


def test_the_zone_matters():
    """A day that a coin's day is not, and one bar a day at whatever hour: the inference looks at the wall clock."""
    local = sessions(US[:3], "20h", 8, "60min")  # Thursday to Saturday in UTC
    stamps = microseconds(local.tz_localize("America/New_York"))
    assert infer_bars_per_year(stamps, "America/New_York") == 8 * 252


def test_the_summary_says_how_many_and_why():
    def text(stamps: pd.DatetimeIndex, **config: float) -> str:
        panel = bt.Panel(close=np.full((len(stamps), 1), 10.0), timestamps=stamps, assets=["A"])
        return str(bt.run(panel, np.zeros(panel.shape), bt.Config(execution="same_close", **config), engine="numpy"))

    assert "bars per year  252, every session of a 5-day week\n" in text(US[:30])
    assert "bars per year  24, two bars a month\n" in text(TWICE)
    assert "bars per year  6,240, 120 bars a week around the clock, closed at weekends\n" in text(FX)
    assert "bars per year  1,764, 7 bars a session, every session of a 5-day week\n" in text(NEW_YORK)
    assert "bars per year  260, as configured\n" in text(US[:30], bars_per_year=260)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("a stock market's days", 3, 60), ("a coin's days", 7, 60), ("Monday, Wednesday, Friday", 5, 60),
        ("weeks", 3, 60), ("fortnights", 3, 40), ("last sessions of months", 3, 40), ("quarters", 3, 15),
        ("currencies from Sunday evening on", 150, 900), ("a coin's hours", 25, 500),
        ("hours of a session in UTC over daylight saving", 21, 400), ("futures with an hour's break", 92, 500),
    ],
)  # fmt: skip
def test_any_part_of_a_calendar_says_the_same(name: str, least: int, most: int):
    stamps, expected = CASES[name]
    rng = np.random.default_rng(least)
    for _ in range(60):
        length = int(rng.integers(least, min(most, len(stamps))))
        first = int(rng.integers(0, len(stamps) - length))
        part = stamps[first : first + length]
        # an hour's coin that is seen from a Sunday's midnight to a Friday's end might be a currency
        weekend = (part.day_of_week >= 5).any() or part[-1] - part[0] < pd.Timedelta("4.9D")
        if name != "a coin's hours" or weekend:
            assert infer_bars_per_year(microseconds(part)) == pytest.approx(expected), (part[0], length)


@pytest.mark.parametrize(
    "dates",
    [
        ("2024-01-12", "2024-01-16"), ("2024-03-28", "2024-04-01"), ("2024-07-03", "2024-07-05", "2024-07-08"),
        ("2024-12-23", "2024-12-27", "2024-12-30"), ("2024-11-27", "2024-11-29", "2024-12-02", "2024-12-03"),
    ],
)  # fmt: skip
def test_a_few_days_around_a_holiday(dates: tuple[str, ...]):
    assert infer_bars_per_year(microseconds(pd.DatetimeIndex(dates))) == 252.0


def test_hours_of_one_saturday_are_a_coins():
    assert infer_bars_per_year(microseconds(pd.date_range("2024-01-06", periods=12, freq="h"))) == 24 * 365
    assert infer_bars_per_year(microseconds(pd.date_range("2024-01-05 10:00", periods=6, freq="h"))) == 6 * 252


def test_bars_of_little_more_than_an_hour_that_is_repeated():
    """The clock shows most of their times twice; five minutes lie between them all the same."""
    bars = np.arange(34) * 5 + np.datetime64("2006-10-29T00:36", "m")
    found = infer_bars_per_year(bars.astype("datetime64[us]").astype(np.int64), "America/St_Johns")
    assert found == 365 * 288


def test_two_bars_of_one_long_date():
    """The clock goes back after the first: both are of one date, 23 hours apart."""
    stamps = np.array(["2006-10-28T03:01", "2006-10-29T03:01"], "M8[us]").astype(np.int64)
    assert bars_of_a_year(stamps, "America/St_Johns") == (252.0, "one session alone")
