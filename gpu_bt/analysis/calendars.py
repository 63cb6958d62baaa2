# SPDX-License-Identifier: Apache-2.0
"""How many bars a year has, inferred from a panel's own timestamps, with the reason.

Letters: T bars, D dates with bars. All times are wall-clock times of the panel's zone, all days its days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_bt.data.clock import local_microseconds
from gpu_bt.errors import ConfigError

__all__ = ["bars_of_a_year", "infer_bars_per_year"]

_Ints = NDArray[np.int64]
_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
#: Dates up to which a day that is left out is taken for a holiday.
_FEW = 4
#: Sessions of a five-day market a year: 252, so that a regular weekday is worth 50.4 of them.
_SESSIONS, _PER_WEEKDAY = 252.0, 50.4
#: Conventional bars of a year of what is slower than a day; a spacing within 5 % of one means it.
_USUAL = {
    1.0: "yearly bars", 2.0: "half-yearly bars", 3.0: "a bar every four months", 4.0: "quarterly bars",
    6.0: "a bar every two months", 12.0: "monthly bars", 13.0: "a bar every four weeks", 24.0: "two bars a month",
    26.0: "fortnightly bars", 36.0: "three bars a month", 52.0: "weekly bars",
}  # fmt: skip


def infer_bars_per_year(microseconds: _Ints, time_zone: str | None = None) -> float:
    """Bars per year that the timestamps suggest, for annualising; `Config.bars_per_year` overrides it.

    microseconds: (T,) int64 since 1970, increasing: UTC instants where there is a time zone, else as they stand.
    A bar a session: sessions of the weekdays that have bars, five a week are 252 a year, seven are 365, s are 50.4*s;
    a bar every n-th session is an n-th of that. Spacings from 6.5 days on: 52 (weeks), 26, 24 (two in each month), 12,
    4, 2, 1, ... within 5 %, else 365/days. Several bars a session: that times the median number of bars of a session;
    a session is what lies between the longest quiet hours of the clock, past midnight, too. Where no hour is quiet:
    bars of a median day times 365, or, where weekends have none, bars of a median week times 52.
    Medians, so that holidays, half days and gaps change nothing. Fewer than 2 bars: 252.
    """
    found = np.asarray(microseconds)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ConfigError(f"microseconds is {found.dtype} of shape {found.shape}: it must be (T,) whole numbers")
    return bars_of_a_year(found.astype(np.int64), time_zone)[0]


def bars_of_a_year(microseconds: _Ints, time_zone: str | None = None) -> tuple[float, str]:
    """`infer_bars_per_year`, and the reason as a few words."""
    if len(microseconds) < 2:
        return _SESSIONS, "too few bars to tell"
    local = np.sort(local_microseconds(np.asarray(microseconds), time_zone))  # an hour that is repeated goes back
    gaps = np.diff(local)
    spacing = int(np.quantile(gaps, 0.25, method="lower"))  # breaks are fewer than three in four
    spacing = spacing or max(1, int(np.diff(np.sort(microseconds)).min()))  # 0 where the bars are those of such an hour
    if spacing >= 18 * _HOUR:
        return _dates(np.unique(local // _DAY))
    quiet, middle = _quiet(local)
    weekend = local[0] // _DAY == local[-1] // _DAY and (local[0] // _DAY + 3) % 7 >= 5
    if quiet <= max(1.5 * spacing, 30 * _MINUTE) or weekend:
        return _around_the_clock(local, spacing)
    # Days change in the middle of the quiet hours; a session belongs to the date of its larger part.
    days, counts = np.unique((local - (middle if middle < _DAY // 2 else middle - _DAY)) // _DAY, return_counts=True)
    bars = float(_middle(counts) if len(days) > 2 else counts.max())
    sessions, reason = _dates(days)
    return bars * sessions, f"{bars:g} bars a session, {reason}"


def _middle(counts: _Ints) -> int:
    """The upper median, a number that occurs."""
    return int(np.sort(counts)[len(counts) // 2])


def _quiet(local: _Ints) -> tuple[int, int]:
    """The longest part of the day's clock that never has a bar, and its middle, microseconds."""
    clock = np.unique(local % _DAY)
    gaps = np.diff(clock, append=clock[0] + _DAY)
    i = int(gaps.argmax())
    return int(gaps[i]), int(clock[i] + gaps[i] // 2) % _DAY


def _around_the_clock(local: _Ints, spacing: int) -> tuple[float, str]:
    """Of a market without quiet hours: seven days a week unless a weekend shows that it closes."""
    days, counts = np.unique(local // _DAY, return_counts=True)
    inner = np.arange(days[0] + 1, days[-1])
    weekend = [inner[(inner + 3) % 7 == day] for day in (5, 6)]  # 1970-01-01 was a Thursday
    whole_week = local[-1] - local[0] >= 4.9 * _DAY and not ((days + 3) % 7 == 5).any()  # of Sunday to Friday alone
    if whole_week or any(len(some) and np.isin(some, days).mean() < 0.6 for some in weekend):
        ends = np.searchsorted(local, local + 7 * _DAY)
        full = local + 7 * _DAY <= local[-1] + spacing
        week = _middle((ends - np.arange(len(local)))[full]) if full.any() else 5 * _DAY // spacing
        return 52.0 * week, f"{week} bars a week around the clock, closed at weekends"
    day = _middle(counts[1:-1]) if len(days) > 2 else round(_DAY / spacing)
    return 365.0 * day, f"{day} bars a day around the clock, 7 days a week"


def _dates(days: _Ints) -> tuple[float, str]:
    """Of dates with a bar or a session each, days since 1970: dates per year."""
    if len(days) < 2:  # two bars of a day on which clocks go back may lie 23 hours apart
        return _SESSIONS, "one session alone"
    gaps = np.diff(days)
    middle = float(np.median(gaps))
    if middle >= 6.5:
        return _slow(days, gaps, middle)
    week = _week(days, gaps)
    size = int(week.sum())
    year = {5: _SESSIONS, 7: 365.0}.get(size, _PER_WEEKDAY * size)
    names = " ".join(np.array("Mon Tue Wed Thu Fri Sat Sun".split())[week])
    name = f"{size}-day week" if size in (5, 7) else f"week of {names}"
    steps = np.busday_count(days[:-1].astype("M8[D]"), days[1:].astype("M8[D]"), weekmask=week.tolist())
    usual = 1 if len(days) <= _FEW and steps.min() <= 2 else np.sort(steps)[(len(steps) - 1) // 2]
    each = _period(steps, max(1.0, float(usual)))
    return year / each, f"{'every session' if each == 1 else f'one in {each:.3g} sessions'} of a {name}"


def _week(days: _Ints, gaps: _Ints) -> NDArray[np.bool_]:
    """(7,) bool, Monday first: the weekdays that have sessions. What a short sample does not show is taken to be as in
    most markets: Monday to Friday; where a Saturday or Sunday is open and the other is not seen, every day."""
    could = np.bincount((np.arange(days[0], days[-1] + 1) + 3) % 7, minlength=7)
    have = np.bincount((days + 3) % 7, minlength=7)
    share = have / np.maximum(could, 1)
    regular = share >= 0.25 * share.max()
    # A weekday without sessions may be a holiday, twice (Christmas and New Year); not in a market that has no two
    # days in a row, where that is more than a few days' chance.
    seen = could >= (3 if (gaps == 1).any() or len(days) <= _FEW else 1)
    week: NDArray[np.bool_] = regular | ~seen
    saturday, sunday = ((share[day] >= 0.6 * share.max()) & (could[day] > 0) for day in (5, 6))
    if (saturday and (regular[6] or not could[6])) or (sunday and (regular[5] or not could[5])):
        week[5:] = True
        return week
    week[5] = saturday and could[5] > 1  # one alone is a special session
    week[6] = sunday and (could[6] > 1 or not have[4])
    if week[6]:
        week[4] = have[4] > 0 and regular[4]  # Sunday to Thursday
    return week


def _slow(days: _Ints, gaps: _Ints, middle: float) -> tuple[float, str]:
    """Of dates a week apart or more."""
    each = _period(gaps, middle)
    year = 365.0 / each
    months = days.astype("M8[D]").astype("M8[M]").astype(np.int64)
    if 22.5 < year < 28.0:
        inner = np.unique(months, return_counts=True)[1][1:-1]
        thrice = (
            (inner > 2).mean() if len(inner) else 0.0
        )  # what two a month never do, and fortnights do in two of twelve
        year = 24.0 if thrice < 0.03 and (gaps % 7 == 0).mean() < 0.75 else 26.0 if year > 24.7 else year
    elif 11.3 < year < 13.6:
        year = 13.0 if (gaps % 28 == 0).mean() > 0.75 and (np.diff(months) == 0).any() else 12.0
    else:
        usual = min(_USUAL, key=lambda u: abs(year / u - 1.0))
        year = usual if abs(year / usual - 1.0) < 0.05 else year
    return year, _USUAL.get(year, f"a bar every {each:.4g} days")


def _period(steps: _Ints, middle: float) -> float:
    """Mean length of a period, a step that is as long as several being several with bars missing."""
    if middle == 1.0:
        return 1.0
    each = float(steps.sum() / np.maximum(1.0, np.ceil(steps / middle - 0.5)).sum())
    return middle if abs(each / middle - 1.0) < 0.08 else each
