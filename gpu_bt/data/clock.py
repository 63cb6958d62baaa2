# SPDX-License-Identifier: Apache-2.0
"""The clock of a panel: what hangs on the wall at UTC instants, and the bars at which a rule decides.

Letters: T bars. All times are int64 microseconds since 1970; without a time zone, wall clock and instants are the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from gpu_bt.config import CHOICES, Config
from gpu_bt.errors import shown

__all__ = [
    "DAY", "EPOCH", "MICROSECOND", "SCHEDULE", "following", "local_microseconds", "named_bars", "offsets", "schedule",
    "schedule_of", "time_label", "wall_clock", "zone_info",
]  # fmt: skip

#: The fields of Config that say which bars decide.
SCHEDULE = ("rebalance", "rebalance_on", "week_starts", "rebalance_every", "rebalance_offset")

_Ints = NDArray[np.int64]
DAY = 86_400_000_000
EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)


def zone_info(name: str, error: type[Exception] = ValueError) -> dt.tzinfo:
    """The time zone of an IANA name, or of a fixed offset such as '+05:30'."""
    try:
        if not isinstance(name, str):
            raise TypeError(name)
        fixed = dt.datetime.strptime(name, "%z").tzinfo if name[:1] in ("+", "-") else None
        return fixed or ZoneInfo(name)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError):
        raise error(f"time zone {shown(name)} is unknown: pass an IANA name, such as 'America/New_York'") from None


def offsets(times: _Ints, offset: Callable[[int, int], int], fold: int = 0) -> _Ints:
    """(T,) offsets from UTC. A day has one offset if it begins and ends with the same; in others each time is asked."""
    days, place = np.unique(times // DAY, return_inverse=True)
    first = np.array([offset(day * DAY, 0) for day in days.tolist()], np.int64)
    last = np.array([offset(day * DAY + DAY, 1) for day in days.tolist()], np.int64)
    out, changes = first[place], np.flatnonzero((first != last)[place])
    out[changes] = [offset(time, fold) for time in times[changes].tolist()]
    return out


def local_microseconds(microseconds: _Ints, time_zone: str | None) -> _Ints:
    """(T,) the wall-clock times of UTC instants in a zone; unchanged without one."""
    if time_zone is None or time_zone == "UTC":
        return microseconds
    zone = zone_info(time_zone)

    def offset(instant: int, fold: int) -> int:
        moment = (EPOCH + instant * MICROSECOND).replace(tzinfo=dt.UTC).astimezone(zone)
        return (moment.utcoffset() or dt.timedelta()) // MICROSECOND

    return microseconds + offsets(microseconds, offset)


def wall_clock(microseconds: _Ints, time_zone: str | None, since: int | None = None) -> _Ints:
    """(T,) the clock of a panel, which never goes back: in an hour that comes twice it stands still until it has caught
    up (semantics.md, Readings). since: the clock at the bar before the first one."""
    local = np.maximum.accumulate(local_microseconds(microseconds, time_zone))
    return local if since is None else np.maximum(local, since)


def _period(clock: _Ints, config: Config) -> _Ints:
    """A number that changes where the day, week, month, quarter or year of `config.rebalance` changes."""
    days = clock // DAY
    if config.rebalance == "day":
        return days
    if config.rebalance == "week":
        return (days + 3 - CHOICES["week_starts"].index(config.week_starts)) // 7  # 1970-01-01 was a Thursday
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months // {"month": 1, "quarter": 3, "year": 12}[config.rebalance]


def named_bars(
    microseconds: _Ints, time_zone: str | None, following: int | None, config: Config, since: int | None = None
) -> NDArray[np.bool_]:
    """(T,) bool: the bars that `rebalance` names: all, or the last or first of each day, week, month, quarter or year.

    following: the instant after the last bar, None = unknown.   since: the clock at the bar before the first one.
    """
    bars = len(microseconds)
    if config.rebalance == "bar":
        return np.ones(bars, bool)
    stamps = microseconds if following is None else np.append(microseconds, following)
    period = _period(wall_clock(stamps, time_zone, since), config)
    if config.rebalance_on == "first":
        earlier = period[:1] - 1 if since is None else _period(np.array([since]), config)
        period = np.concatenate([earlier, period[:bars]])
        return np.asarray(period[1:] != period[:-1])
    named = np.zeros(bars, bool)
    named[: len(period) - 1] = np.diff(period) != 0
    return named


def schedule(
    microseconds: _Ints,
    time_zone: str | None,
    following: int | None,
    config: Config,
    before: int = 0,
    since: int | None = None,
) -> NDArray[np.bool_]:
    """(T,) bool: the bars that decide (semantics.md, [S6]). before: bars that were named before the first one; the
    others as for `named_bars`."""
    named = named_bars(microseconds, time_zone, following, config, since)
    past: _Ints = np.cumsum(named) - 1 + before - config.rebalance_offset
    named &= (past >= 0) & (past % config.rebalance_every == 0)
    return named


def following(panel: Any) -> int | None:
    """Microseconds of the bar after a panel's last, where it is known."""
    return None if panel.next_timestamp is None else int(panel.next_timestamp.astype(np.int64))


def schedule_of(panel: Any, config: Config, before: int = 0, since: int | None = None) -> NDArray[np.bool_]:
    """(T,) bool: the bars of a panel at which this config decides. before, since: bars that `rebalance` named before
    the panel, and the clock at the last of these bars."""
    return schedule(panel.microseconds, panel.time_zone, following(panel), config, before, since)


def time_label(timestamp: np.datetime64) -> str:
    """'2019-03-04', or '2019-03-04T15:30:00' where there is a time of day."""
    text = str(timestamp.astype("datetime64[us]"))
    for ending in (".000000", "T00:00:00"):
        text = text.removesuffix(ending)
    return text
