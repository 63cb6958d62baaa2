# SPDX-License-Identifier: Apache-2.0
"""Bars and assets by label: `panel["2019":"2021"]`, `panel[:, names]`, the first bar of a span.

Letters: T bars, N assets.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.data.arrays import frozen
from gpu_bt.data.clock import DAY, local_microseconds, time_label
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Cache
from gpu_bt.errors import PanelError, label_of, nearest, shown

if TYPE_CHECKING:
    from gpu_bt.data.panel import Panel

__all__ = ["bars_of", "columns_of", "cut", "first_bar", "start_bar"]

_TIMES = (
    "pass a date, a datetime, or a text such as '2019', '2019-03', '2019Q1', '2019-W09', '2019-03-04' or"
    " '2019-03-04T15:30'; assets come second, as in panel[:, names]"
)


def cut(panel: Panel, key: Any) -> Panel:
    """The panel's bars and assets that a key names: times, or (times, assets).

    times: a label, or a slice of two, both inclusive, of the panel's own clock: '2019' is the whole year, a date its
    whole day, a datetime that instant; one with a time zone is compared as an instant. A text with a time of day is as
    long as its last part.   assets: a name or a sequence of names, in that order; `:` is all of either.
    All fields, the time zone and the notes stay. The bar after the last one taken is the next_timestamp;
    `delisted_at` counts from the first one taken.

    Raises PanelError for positions, what no bar or asset matches, and slices with a step.
    """
    times, assets = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
    a, b = bars_of(panel, times)
    columns = columns_of(panel, assets)
    market = panel.market
    changed: dict[str, Any] = {"clock": frozen(market.clock[a:b]), "cache": Cache()}
    for field in dataclasses.fields(market):
        array = getattr(market, field.name)
        if isinstance(array, Resident):
            changed[field.name] = array.at((slice(a, b), slice(None) if columns is None else columns))
        if field.name in changed or not isinstance(array, np.ndarray):
            continue
        array = array[a:b] if array.ndim == 2 else array
        changed[field.name] = frozen(array if columns is None else array[..., columns])
    at = changed["delisted_at"]
    changed["delisted_at"] = frozen(np.where((at < 0) | (at >= b), -1, np.maximum(at - a, 0)))
    found = copy.copy(panel)
    vars(found).pop("index", None)
    found.market = dataclasses.replace(market, **changed)
    found.timestamps = frozen(panel.timestamps[a:b])
    found.notes = dict(panel.notes)
    if b < len(panel.timestamps):
        found.next_timestamp = panel.timestamps[b]
    if columns is not None:
        found.assets = tuple(panel.assets[i] for i in columns)
        found.group = None if panel.group is None else frozen(panel.group[columns])
    return found


def first_bar(microseconds: np.ndarray, time_zone: str | None, label: Any) -> int:
    """The number of the first bar at or after the start of a label, T where there is none. Raises PanelError for what
    is no label of a time."""
    low, _, instant = _span(label)
    return int(np.searchsorted(_clock(microseconds, time_zone, instant, label), low))


def start_bar(timestamps: np.ndarray, time_zone: str | None, label: Any) -> int | None:
    """The number of the bar at which `start=` begins, None for None.

    Raises PanelError for what is no label of a time, and where no bar follows it.
    """
    if label is None:
        return None
    first = first_bar(timestamps.view(np.int64), time_zone, label)
    if first == len(timestamps):
        raise PanelError(
            f"start is {shown(label)}: no bar lies at or after it, the last is {time_label(timestamps[-1])}"
        )
    return first


def bars_of(panel: Any, times: Any) -> tuple[int, int]:
    """The first bar of a key, and the one after its last. panel: or what else has its labels."""
    ends = (times.start, times.stop) if isinstance(times, slice) else (times, times)
    if isinstance(times, slice) and times.step is not None:
        raise PanelError(f"panel[...] has the step {shown(times.step)}: bars are taken without a step")
    a, b = 0, len(panel.timestamps)
    if ends[0] is not None or times is None:
        a = first_bar(panel.microseconds, panel.time_zone, ends[0])
    if ends[1] is not None:
        _, high, instant = _span(ends[1])
        b = int(np.searchsorted(_clock(panel.microseconds, panel.time_zone, instant, ends[1]), high))
    if a >= b:
        text = ":".join("" if end is None else shown(end) for end in (ends if isinstance(times, slice) else ends[:1]))
        what = getattr(panel, "name", "panel")  # as that of what is cut out of a result
        raise PanelError(f"{what}[{text}] has no bar: the panel has {panel.label(0)} to {panel.label(-1)}")
    return a, b


def _clock(microseconds: np.ndarray, time_zone: str | None, instant: bool, label: Any) -> np.ndarray:
    """The times that a label is compared with, non-decreasing: of an hour that daylight saving repeats, both parts are
    as late as the first."""
    if instant and time_zone is None:
        raise PanelError(f"{shown(label)} has a time zone and the panel has none: pass naive times")
    return microseconds if instant else np.maximum.accumulate(local_microseconds(microseconds, time_zone))


def _span(label: Any) -> tuple[int, int, bool]:
    """(first microsecond, the one after the last, it is an instant and no wall-clock time) of a label."""
    moment: Any = label
    if isinstance(label, str):
        text = label.strip()
        quarter = re.fullmatch(r"(\d{4})-?[Qq]([1-4])", text)
        if quarter:
            first = np.datetime64(f"{quarter[1]}-{3 * int(quarter[2]) - 2:02}", "M")
            return _of(first), _of(first + 3), False
        if re.fullmatch(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?", text):
            try:
                first = np.datetime64(text)
            except ValueError as error:
                raise PanelError(f"{shown(label)} is no time ({error}): {_TIMES}") from None
            return _of(first), _of(first + 1), False
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise PanelError(f"{shown(label)} is no time: {_TIMES}") from None
        if re.fullmatch(r"\d{4}-?W\d\d", text):  # the whole week, not its Monday alone
            return _of(np.datetime64(moment, "us")), _of(np.datetime64(moment, "us")) + 7 * DAY, False
        if re.fullmatch(r"\d{8}", text):
            moment = moment.date()
    if isinstance(moment, np.datetime64) and not np.isnat(moment):
        day = np.datetime_data(moment.dtype)[0] in ("Y", "M", "W", "D")
        return _of(moment), _of(moment + 1) if day else _of(moment) + 1, False
    if isinstance(moment, dt.datetime) and moment == moment:  # pandas' Timestamp, too, but no NaT
        zone = moment.tzinfo is not None
        try:
            naive = moment.astimezone(dt.UTC).replace(tzinfo=None) if zone else moment
        except OverflowError:
            raise PanelError(f"{shown(label)} lies beyond the years 1 to 9999 in UTC: {_TIMES}") from None
        return _of(np.datetime64(naive, "us")), _of(np.datetime64(naive, "us")) + 1, zone
    if isinstance(moment, dt.date) and moment == moment:
        return _of(np.datetime64(moment, "D")), _of(np.datetime64(moment, "D") + 1), False
    if (begins := getattr(label, "start_time", None)) is not None:  # pandas' Period
        return _of(np.datetime64(begins, "us")), _of(np.datetime64(getattr(label, "end_time", begins), "us")) + 1, False
    raise PanelError(f"{shown(label)} is no time: {_TIMES}")


def _of(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))


def columns_of(panel: Any, assets: Any) -> list[int] | None:
    """The columns that a key names, None for all as they stand. panel: or what else has its labels."""
    if isinstance(assets, slice):
        if assets != slice(None):
            raise PanelError("panel[:, ...] is a slice of assets: pass a list of their names")
        return None
    if isinstance(assets, str) or not hasattr(assets, "__iter__") or getattr(assets, "ndim", 1) == 0:
        assets = [assets]
    names = [label_of(name) for name in assets]
    for name in names:
        if name not in panel.index:
            raise PanelError(
                f"{shown(name)} is no asset of the panel: {nearest(name, panel.assets, 'see panel.assets')}"
            )
    if not names or len(set(names)) < len(names):
        raise PanelError(
            f"panel[:, ...] names {len(names)} assets, {len(set(names))} of them different: name each once"
        )
    return [panel.index[name] for name in names]
