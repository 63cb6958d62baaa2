# SPDX-License-Identifier: Apache-2.0
"""Timestamps as columns of tables and as texts: to the clock of a panel and back."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.data.clock import DAY, local_microseconds, zone_info
from gpu_bt.data.stamps import instants
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["check_calendar", "dated_by_day", "on_bars", "on_clock", "stamp", "time_series", "zone_of"]


#: Days since 1970 that a time may lie on, and how many of its units a day has.
_FIRST_DAY, _LAST_DAY, _PER_DAY = -719_161, 2_932_895, {"ms": DAY // 1000, "us": DAY, "ns": DAY * 1000}


def zone_of(times: pl.Series) -> str | None:
    """The time zone of a column of dates or datetimes."""
    return getattr(times.dtype, "time_zone", None)


def check_calendar(times: pl.Series, what: str) -> None:
    """Raise PanelError for times that no calendar has, of which Polars panics, and for a zone that nobody knows."""
    days, zone = times.to_physical(), zone_of(times) or "UTC"
    if isinstance(times.dtype, pl.Datetime):
        days = days // _PER_DAY[times.dtype.time_unit]
    strange = int(((days < _FIRST_DAY) | (days > _LAST_DAY)).sum())
    if strange:
        rule = "they must lie in the years 1 to 9999; correct their unit"
        raise PanelError(f"{what} has {strange} times outside the calendar: {rule}")
    if zone[0] not in "+-":
        zone_info(zone, PanelError)


def on_clock(times: pl.Series, panel_zone: str | None, time_zone: str | None, what: str) -> np.ndarray:
    """int64 microseconds on the clock of a panel: naive times are the wall clock of `time_zone`, or else of the panel.

    Raises for a zone against a panel without one, and for wall-clock times that `stamps.instants` refuses.
    """
    zone = zone_of(times)
    if panel_zone is None and (zone or time_zone):
        raise PanelError(f"{what} is in {zone or time_zone} but the panel has no time zone: give it to both or none")
    found = times.cast(pl.Datetime("us", zone)).to_physical().to_numpy()
    return found if zone is not None else instants(found, time_zone or panel_zone, what, PanelError)


def dated_by_day(times: pl.Series, panel_zone: str | None) -> bool:
    """Whether labels are dates: of type Date, or every one of them midnight on the panel's clock."""
    return not (_wall(times, panel_zone) % DAY).any()


def _wall(times: pl.Series, panel_zone: str | None) -> np.ndarray:
    zone = zone_of(times)
    found = times.cast(pl.Datetime("us", zone)).to_physical().to_numpy()
    return found if zone is None else local_microseconds(found, panel_zone)


def on_bars(
    times: pl.Series, panel: Any, time_zone: str | None, align: str, what: str, by_day: bool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(its first microsecond on the panel's clock, its bar, whether that lies within it) of each ascending label, which
    means the whole day on this clock where labels are `by_day`, else an instant. None = as they say themselves: then
    warns of midnights, of another clock or among times of day, that stand before the bar that ends their date.

    panel: with the bars; the rule of `align` is that of `_place`.
    """
    found = dated_by_day(times, panel.time_zone) if by_day is None else by_day
    start = on_clock(times, panel.time_zone, time_zone, what)
    end = _days(_wall(times, panel.time_zone), panel.time_zone, what)[1] if found else start
    bar, within = _place(start, end, panel, align)
    if by_day is not None or found:
        return start, bar, within
    wall = _wall(times, zone_of(times))  # as the labels have it
    midnight = wall % DAY == 0
    if 2 * midnight.sum() >= len(wall):
        last, _ = _place(*_days(wall - wall % DAY, panel.time_zone, what), panel, align)
        early = midnight & (bar >= 0) & (bar < last) & (~within | midnight.all())
        if early.any():
            warnings.warn(
                f"{what}: {early.sum()} of {len(times)} books are of midnight and stand before the bar that ends their"
                f" date, the first, {times[int(early.argmax())]}, at {panel.label(bar[early.argmax()])}: not all"
                " are midnight on the panel's clock, so they are times of day; pass dates, without time and zone",
                BacktestWarning,
                stacklevel=4,
            )
    return start, bar, within


def _days(wall: np.ndarray, zone: str | None, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last microsecond of the days that begin at `wall` on a panel's clock."""
    return instants(wall, zone, what, PanelError), instants(wall + DAY, zone, what, PanelError) - 1


def _place(start: np.ndarray, end: np.ndarray, panel: Any, align: str) -> tuple[np.ndarray, np.ndarray]:
    """(bar of each label, whether it lies within the label); -1 and T where there is none. Labels and bars ascend.

    A label stands on the last bar within it. Without one, align="previous" takes the last bar before it, but none for a
    label from the panel's next_timestamp on, or where that is None, more than a week after the last bar; any other the
    next bar.
    """
    bars, following = panel.microseconds, panel.next_timestamp
    last = np.searchsorted(bars, end, side="right") - 1
    within = (last >= 0) & (bars[last] >= start)
    if align == "previous":
        due = bars[-1] + 7 * DAY if following is None else following.astype(np.int64)
        return np.where(start < due, last, len(bars)), within
    return np.where(within, last, last + 1), within


def time_series(utc: Any, time_zone: str | None) -> pl.Series:
    """UTC datetime64[us], or microseconds, as Polars Datetime("us"), in the time zone where there is one; in UTC where
    it is an offset that Polars does not know, such as '+05:30'."""
    time_zone = "UTC" if time_zone is not None and time_zone[:1] in ("+", "-") else time_zone
    stamps = pl.Series("timestamp", np.asarray(utc, np.int64 if len(utc) == 0 else None).astype("datetime64[us]"))
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone) if time_zone else stamps


def stamp(bar: dt.datetime) -> str:
    """The shortest text of a bar's timestamp: the date alone at midnight."""
    text = bar.isoformat(sep=" ")
    return text[:10] if bar.time() == dt.time.min else text
