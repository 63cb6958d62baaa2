# SPDX-License-Identifier: Apache-2.0
"""Timestamps and calendars: whatever a user has -> datetime64[us], and the bars at which a rebalance rule decides."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

__all__ = ["local_microseconds", "named_bars", "schedule", "time_label", "timestamps_to_numpy"]

_Ints = NDArray[np.int64]
_DAY = 86_400_000_000
#: Zone offsets change at quarter hours of UTC, so one look-up serves all bars of a quarter hour.
_QUARTER_HOUR = 900_000_000


def timestamps_to_numpy(
    values: Any, time_zone: str | None, error: type[Exception]
) -> tuple[NDArray[np.datetime64], str | None]:
    """((T,) datetime64[us], time zone or None): UTC instants where there is a zone, else the naive timestamps.

    values: datetime64 of any unit (finer than a microsecond is cut), dates, datetimes, ISO strings, a pandas
    DatetimeIndex or Series, a Polars Series. `time_zone` says that naive values are UTC instants of that zone.
    Raises `error` for integers, NaT, and naive and aware or differently zoned values mixed.
    """
    zone = time_zone
    dtype: Any = getattr(values, "dtype", None)
    if hasattr(dtype, "tz"):  # of pandas, which gives UTC where it is asked for datetime64
        zone = str(dtype.tz)
        values = values.to_numpy("datetime64[us]")
    elif getattr(dtype, "time_zone", None) is not None:  # of Polars
        zone = dtype.time_zone
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OU":
        array = values
    else:
        array, found = _from_objects(values, error)
        zone = zone or found
    if array.dtype.kind != "M" or array.ndim != 1:
        raise error(
            f"timestamps has dtype {array.dtype} and {array.ndim} dimensions: it must be (T,) dates or datetimes;"
            " integers have no unit, convert them with numpy's datetime64"
        )
    if np.isnat(array).any():
        raise error(f"timestamps[{int(np.argmax(np.isnat(array)))}] is NaT: every bar needs a timestamp; drop that row")
    if zone is not None:
        _zone(zone, error)
    out = np.array(array.astype("datetime64[us]"), copy=True)
    out.flags.writeable = False
    return out, zone


def _from_objects(values: Any, error: type[Exception]) -> tuple[NDArray[np.datetime64], str | None]:
    """Python datetimes, dates, ISO strings, datetime64 or pandas Timestamps."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise error(f"timestamps is {values!r}: it must be a sequence of (T,) dates or datetimes")
    moments = [_moment(i, value, error) for i, value in enumerate(values)]
    names = {_zone_name(zone) for zone in {getattr(moment, "tzinfo", None) for moment in moments}} or {"none"}
    if len(names) > 1:
        got = ", ".join(sorted(str(n) for n in names))
        raise error(f"timestamps mix time zones ({got}): convert them to one zone, or drop the zone everywhere")
    name = names.pop()
    if name is None:
        raise error("timestamps have a fixed offset: give them a named zone, such as 'America/New_York' or 'UTC'")
    if name != "none":
        moments = [moment.astimezone(dt.UTC).replace(tzinfo=None) for moment in moments]
    array = np.array([np.datetime64(moment, "us") for moment in moments], "datetime64[us]")
    return array, None if name == "none" else name


def _moment(i: int, value: Any, error: type[Exception]) -> Any:
    """One timestamp of a list, or an error that names it."""
    if value is None or str(value) == "NaT" or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        raise error(f"timestamps[{i}] is NaT: every bar needs a timestamp; drop that row")
    try:
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value)
        if isinstance(value, (int, float, np.number)):
            raise TypeError("a number has no unit")
        np.datetime64(value.replace(tzinfo=None) if getattr(value, "tzinfo", None) is not None else value, "us")
    except (TypeError, ValueError, AttributeError) as exc:
        reason = f"timestamps cannot be read (timestamps[{i}] is {value!r}: {exc})"
        raise error(f"{reason}: pass ISO dates, datetimes or datetime64") from None
    return value


def _zone_name(zone: dt.tzinfo | None) -> str | None:
    if zone is None:
        return "none"
    if zone == dt.UTC:
        return "UTC"
    return getattr(zone, "key", None) or getattr(zone, "zone", None)


def _zone(name: str, error: type[Exception] = ValueError) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise error(f"time zone {name!r} is unknown: pass an IANA name, such as 'America/New_York'") from None


def local_microseconds(microseconds: _Ints, time_zone: str | None) -> _Ints:
    """(T,) int64 wall-clock microseconds of UTC instants in a zone; unchanged without one."""
    if time_zone is None or time_zone == "UTC":
        return microseconds
    zone = _zone(time_zone)
    quarter_hours, inverse = np.unique(microseconds // _QUARTER_HOUR, return_inverse=True)
    instants = (quarter_hours * _QUARTER_HOUR).view("datetime64[us]")
    local = [moment.replace(tzinfo=dt.UTC).astimezone(zone).replace(tzinfo=None) for moment in instants.tolist()]
    offsets: _Ints = (np.array(local, "datetime64[us]") - instants).view(np.int64)
    return microseconds + offsets[inverse]


def _period(local: _Ints, rebalance: str) -> _Ints:
    """A number that changes where the day, week (from Monday), month, quarter or year changes."""
    days = local // _DAY
    if rebalance == "day":
        return days
    if rebalance == "week":
        return (days + 3) // 7  # 1970-01-01 was a Thursday
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months // {"month": 1, "quarter": 3, "year": 12}[rebalance]


def named_bars(
    microseconds: _Ints, time_zone: str | None, next_microsecond: int | None, rebalance: str
) -> NDArray[np.bool_]:
    """(T,) bool: the bars that `rebalance` names: all, or the last ones of a day, week, month, quarter or year."""
    if rebalance == "bar":
        return np.ones(len(microseconds), bool)
    stamps = microseconds if next_microsecond is None else np.append(microseconds, next_microsecond)
    period = _period(local_microseconds(stamps, time_zone), rebalance)
    named = np.zeros(len(microseconds), bool)
    named[: len(stamps) - 1] = period[1:] != period[:-1]
    return named


def schedule(
    microseconds: _Ints,
    time_zone: str | None,
    next_microsecond: int | None,
    rebalance: str,
    every: int,
    offset: int,
    before: int = 0,
) -> NDArray[np.bool_]:
    """(T,) bool: the bars that decide (semantics.md, [S6]). before: bars that were named before the first one."""
    named = named_bars(microseconds, time_zone, next_microsecond, rebalance)
    number: _Ints = np.cumsum(named) - 1 + before
    named &= (number >= offset) & ((number - offset) % every == 0)
    return named


def time_label(timestamp: np.datetime64) -> str:
    """'2019-03-04', or '2019-03-04T15:30:00' where there is a time of day."""
    text = str(timestamp.astype("datetime64[us]"))
    for ending in (".000000", "T00:00:00"):
        text = text.removesuffix(ending)
    return text
