# SPDX-License-Identifier: Apache-2.0
"""Timestamps as columns of tables and as texts: to the clock of a panel and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.data.clock import DAY, local_microseconds
from gpu_bt.data.stamps import instants
from gpu_bt.errors import PanelError

__all__ = ["dated_by_day", "on_clock", "place", "spans", "stamp", "time_series", "zone_of"]


def zone_of(times: pl.Series) -> str | None:
    """The time zone of a column of dates or datetimes."""
    return getattr(times.dtype, "time_zone", None)


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


def spans(
    times: pl.Series, panel_zone: str | None, time_zone: str | None, what: str, by_day: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last microsecond that each label means, on the clock of a panel as `on_clock` has it: the whole
    day on the panel's clock where labels are dates, else one and the same."""
    start = on_clock(times, panel_zone, time_zone, what)
    if not by_day:
        return start, start
    wall = _wall(times, panel_zone)
    return instants(wall, panel_zone, what, PanelError), instants(wall + DAY, panel_zone, what, PanelError) - 1


def place(
    start: np.ndarray, end: np.ndarray, bars: np.ndarray, align: str, following: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """(bar of each label, whether it lies within the label); -1 and T where there is none. Labels and bars ascend.

    A label stands on the last bar within it. Without one, align="previous" takes the last bar before it, but none for a
    label from `following` on, or where that is None, more than a week after the last bar; any other the next bar.
    """
    last = np.searchsorted(bars, end, side="right") - 1
    within = (last >= 0) & (bars[last] >= start)
    if align == "previous":
        due = bars[-1] + 7 * DAY if following is None else following
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
