# SPDX-License-Identifier: Apache-2.0
"""Timestamps of every kind that a user may have, one by one or in an array, as microseconds and a time zone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gpu_bt.arguments import must_be, real
from gpu_bt.data.arrays import as_host, on_gpu
from gpu_bt.data.clock import DAY, EPOCH, MICROSECOND, offsets, time_label, zone_info
from gpu_bt.errors import PanelError, label_of, shown

__all__ = ["RULE", "SEVERAL", "iana_name", "instants", "moment", "read_moments", "timestamps_to_numpy", "zone_name"]

#: The zone of times that were given with several UTC offsets, some of which fall on another date in UTC.
SEVERAL = "several UTC offsets"
#: What a timestamp must be, for messages.
RULE = (
    "a date, datetime, ISO text or whole number YYYYMMDD, all with UTC offset or none; other numbers have no unit,"
    " convert them"
)
#: fromisoformat takes any character between date and time, so that it would read epoch numbers.
_ISO = re.compile(r"\d{4}-?\d\d-?\d\d([T ]\d\d.*)?")
#: What says the day, in a format of strptime.
_DAY = "djcxDF"
_FIRST, _LAST = np.datetime64("0001-01-02", "us"), np.datetime64("9999-12-30", "us")


def moment(value: Any, date_format: str | None = None) -> dt.datetime | None:
    """A timestamp as a datetime, naive or aware, or None where it is none.

    Text is ISO 8601, or as `date_format` (strptime) says; without a day in it, the last of its month or year. A whole
    number of eight digits, also as a float or as text, is a date YYYYMMDD. A date is midnight. A pandas Period of a day
    or longer is its last day, a shorter one its start. Raises PanelError for a format that leaves the date open.
    """
    parts = set() if date_format is None else _parts(date_format)
    if isinstance(value, dt.datetime):
        return value if value == value else None  # pandas' NaT is a datetime
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time.min)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else moment(value.astype("datetime64[us]").item())
    if hasattr(value, "start_time") and hasattr(value, "end_time"):
        last = value.end_time
        days = last - value.start_time >= dt.timedelta(hours=23)
        return dt.datetime.combine(last, dt.time.min) if days else moment(value.start_time)
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        most, number = 1e8 if date_format is None else 2.0**53, real(value)
        value = str(int(number)) if abs(number) < most and number == int(number) else ""
    if not isinstance(value, str):
        return None
    text = value.strip() if "." in (date_format or "") else value.strip().removesuffix(".0")
    try:
        if date_format is None:
            return dt.datetime.fromisoformat(text) if _ISO.fullmatch(text) else None
        return _by_format(text, date_format, parts)
    except (ValueError, OverflowError, re.error):
        return None


def _parts(date_format: str) -> set[str]:
    """The letters of a format. Raises PanelError for one that leaves the date open."""
    parts = set(re.findall("%(.)", date_format)) if isinstance(date_format, str) else set()
    year, month, day, week, weekday = (bool(parts & set(x)) for x in ("YyGcxDF", "mbBjcxDF", _DAY, "UWV", "aAuw"))
    if not year or (day and not month) or (not day and week != weekday):
        raise PanelError(
            f"date_format is {shown(date_format)}: it must be a text such as '%d.%m.%Y' (as for strptime), with a year,"
            " a month where there is a day, and a weekday where there is a week"
        )
    return parts


def _by_format(text: str, date_format: str, parts: set[str]) -> dt.datetime:
    """What strptime says; without a day the last of the month or year, as for a Period. Raises ValueError, also for
    digits that the format would have written otherwise: strptime takes 1022024 as %m%d%Y for 2 October."""
    if text.isdigit() and not date_format.startswith("%Y"):  # a number has lost the zeros before it
        text = text.zfill(len(EPOCH.strftime(date_format)))
    found = dt.datetime.strptime(text, date_format)
    read, again = ([int(n) for n in re.findall(r"\d+", x)] for x in (text, found.strftime(date_format)))
    if read != again and not parts & {"f", "z"}:
        raise ValueError(text)
    if parts & set(_DAY + "UWV"):
        return found
    month = found.month if parts & set("mbB") else 12
    return (found.replace(month=month, day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)


def iana_name(zone: Any) -> Any:
    """The IANA name of a zone, None where it has none."""
    return getattr(zone, "key", None) or getattr(zone, "zone", None)


def zone_name(zone: dt.tzinfo | None, at: dt.datetime | None = None) -> str | None:
    """The name of a zone; of one without a name that of its offset at `at`, such as `zone_info` takes."""
    name: str | None = iana_name(zone)
    if zone is None or name is not None:
        return name
    seconds = int((zone.utcoffset(at) or dt.timedelta()).total_seconds())
    if seconds % 3600 == 0 and abs(seconds) <= 12 * 3600:  # as Polars has them, which knows no others
        return f"Etc/GMT{-seconds // 3600:+d}" if seconds else "UTC"
    sign, seconds = "-" if seconds < 0 else "+", abs(seconds)
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}" + (f":{seconds % 60:02}" if seconds % 60 else "")


def read_moments(moments: Iterable[dt.datetime | None]) -> tuple[list[dt.datetime | None], str | None]:
    """(naive datetimes, in UTC where there is a zone; the zone). None stays.

    Times of one fixed offset are in that zone. Of several they are in UTC where none changes its date by that, else in
    SEVERAL. Raises ValueError for mixed zones, and for a time that the clock of its zone skips.
    """
    given = list(moments)
    known = [m for m in given if m is not None]
    names = {zone_name(m.tzinfo, m) for m in known}
    if len(names) > 1 and (None in names or any(iana_name(m.tzinfo) for m in known)):
        shown = ", ".join(sorted("none" if name is None else name for name in names))
        raise ValueError(f"mix time zones ({shown}): convert them to one zone, or drop the zone everywhere")
    if names <= {None}:
        return given, None
    for m in known:  # which Python makes without a word
        wall = m.replace(tzinfo=None)
        if m.astimezone(dt.UTC).astimezone(m.tzinfo).replace(tzinfo=None) != wall:
            raise ValueError(f"hold {wall}, which does not exist on the clock of {m.tzinfo}: correct it")
    utc = [None if m is None else m.astimezone(dt.UTC).replace(tzinfo=None) for m in given]
    if len(names) == 1:
        return utc, names.pop()
    moves = any(u.date() != m.date() for u, m in zip(utc, given, strict=True) if u is not None and m is not None)
    return utc, SEVERAL if moves else "UTC"


def instants(wall: NDArray[np.int64], time_zone: str | None, what: str, error: type[Exception]) -> NDArray[np.int64]:
    """(T,) the UTC instants of wall-clock times in a zone; unchanged without one.

    A midnight that the clock skips or repeats is the first instant of its day. Raises `error`, naming `what`, for any
    other time that is skipped or comes twice.
    """
    if time_zone is None or time_zone == "UTC":
        return wall
    zone = zone_info(time_zone, error)

    def offset(time: int, fold: int) -> int:
        moment = (EPOCH + time * MICROSECOND).replace(tzinfo=zone, fold=fold)
        return (moment.utcoffset() or dt.timedelta()) // MICROSECOND

    before, after = (offsets(wall, offset, fold) for fold in (0, 1))
    unclear = (before != after) & (wall % DAY != 0)
    if unclear.any():
        t = int(np.argmax(unclear))
        fate = "does not exist" if before[t] < after[t] else "comes twice"
        raise error(
            f"{what} {time_label(wall[t].view('datetime64[us]'))} {fate} on the clock of {time_zone}, which is changed"
            " there: correct it, or pass times with their UTC offset"
        )
    return wall - before


def timestamps_to_numpy(
    values: Any, time_zone: str | None, error: type[Exception], name: str = "timestamps"
) -> tuple[np.ndarray, str | None]:
    """((T,) datetime64[us], time zone or None): UTC instants where there is a zone, else the naive timestamps.

    values: datetime64 of any unit (finer than a microsecond is cut), whatever `moment` takes, one by one or in an
    array, a pandas index or Series, a Polars Series, an Arrow array. Naive values are the wall clock of `time_zone`;
    aware ones are instants, shown in `time_zone` where it is given, else in their own zone. name: what messages call
    them.

    Raises `error` for what is no timestamp, missing, or before year 1 or after 9999, for naive and aware or differently
    zoned values mixed, and for wall-clock times that `instants` refuses.
    """
    if time_zone is not None:
        zone_info(time_zone, error)
    dtype: Any = getattr(values, "dtype", None)
    zone = iana_name(getattr(dtype, "tz", None)) or getattr(dtype, "time_zone", None)  # of pandas, of Polars
    if hasattr(dtype, "tz"):  # pandas gives UTC where it is asked for datetime64
        values = list(values) if zone is None else values.to_numpy("datetime64[us]")
    elif hasattr(values, "to_pylist"):  # of Arrow, whose arrays of NumPy have lost the zone
        values = values.to_pylist()
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    elif on_gpu(values):
        values = as_host(name, values, error)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        array = values
    else:
        array, zone = _from_objects(values, error, name)
    if array.ndim != 1:
        raise error(f"{name} has dtype {array.dtype} and {array.ndim} dimensions: it must be (T,) dates or datetimes")
    missing = np.isnat(np.asarray(array)) | np.ma.getmaskarray(array)
    if missing.any():
        _refuse_missing(int(np.argmax(missing)), error, name)
    out = np.array(array.astype("datetime64[us]"), copy=True)
    strange = (out < _FIRST) | (out > _LAST) | (out.astype("M8[Y]") != array.astype("M8[Y]"))  # that has overflowed
    if strange.any():
        t = int(np.argmax(strange))
        raise error(f"{name}[{t}] is {out[t]}: it must lie in the years 1 to 9999; correct its unit")
    since = out.view(np.int64)
    if len(out) > 1 and 0 <= since.min() and since.max() < 31 * DAY and (since % 1_000_000).any():
        rule = "all of them lie in January 1970, on fractions of a second: they were read in a wrong unit; correct it"
        raise error(f"{name}[0] is {out[0]}: {rule}")
    if zone == SEVERAL and time_zone is None:
        raise error(f"{name} has {SEVERAL}: pass time_zone=, such as 'Europe/Berlin', whose dates count")
    if zone is None:
        out = instants(out.view(np.int64), time_zone, name, error).view("datetime64[us]")
    zone = time_zone or zone
    if zone is not None:
        zone_info(zone, error)
    out.flags.writeable = False
    return out, zone


def _from_objects(values: Any, error: type[Exception], name: str) -> tuple[np.ndarray, str | None]:
    """What an iterable of timestamps holds, and its zone."""
    if isinstance(values, (str, set)) or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0:
        must_be(name, values, "a sequence of (T,) dates or datetimes", error)
    moments = []
    for i, value in enumerate(values):
        if value is None or (not isinstance(value, int) and label_of(value) in ("NaT", "nan", "<NA>")):
            _refuse_missing(i, error, name)
        moments.append(moment(value))
        if moments[-1] is None:
            must_be(f"{name}[{i}]", value.item() if isinstance(value, np.generic) else value, RULE, error)
    try:
        naive, zone = read_moments(moments)
    except ValueError as exc:
        raise error(f"{name} {exc}") from None
    return np.array([np.datetime64(m, "us") for m in naive if m is not None], "datetime64[us]"), zone


def _refuse_missing(t: int, error: type[Exception], name: str) -> NoReturn:
    raise error(f"{name}[{t}] is NaT: every bar needs a timestamp; drop that row")
