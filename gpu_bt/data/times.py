# SPDX-License-Identifier: Apache-2.0
"""Timestamps as columns of tables and as texts: to the clock of a panel and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.errors import PanelError

__all__ = ["on_clock", "stamp", "time_series", "zone_of"]


def zone_of(times: pl.Series) -> str | None:
    """The time zone of a column of dates or datetimes."""
    return getattr(times.dtype, "time_zone", None)


def on_clock(times: pl.Series, panel_zone: str | None, time_zone: str | None, what: str) -> np.ndarray:
    """int64 microseconds on the clock of a panel: dates are midnights of its zone; naive and aware do not mix.

    Naive datetimes are wall-clock times of `time_zone`. Raises for hours that daylight saving skips or repeats.
    """
    zone = zone_of(times)
    if panel_zone is None and (zone or time_zone):
        raise PanelError(f"{what} is in {zone or time_zone} but the panel has no time zone: give it to both or none")
    wall = times.cast(pl.Datetime("us", zone))
    if panel_zone is None or zone is not None:
        return wall.to_physical().to_numpy()
    zone = panel_zone if times.dtype == pl.Date else time_zone
    if zone is None:
        raise PanelError(
            f"{what} has no time zone but the panel is in {panel_zone}: pass time_zone={panel_zone!r}, or convert it"
        )
    try:
        return wall.dt.replace_time_zone(zone).to_physical().to_numpy()
    except pl.exceptions.PolarsError as exc:  # an unknown zone, or an hour that daylight saving skips or repeats
        raise PanelError(f"{what} in {zone!r}: {str(exc).split('. ')[0]}; pass a known zone, or UTC times") from None


def time_series(utc: Any, time_zone: str | None) -> pl.Series:
    """UTC datetime64[us], or microseconds, as Polars Datetime("us"), in the time zone where there is one."""
    stamps = pl.Series("timestamp", np.asarray(utc, np.int64 if len(utc) == 0 else None).astype("datetime64[us]"))
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone) if time_zone else stamps


def stamp(bar: dt.datetime) -> str:
    """The shortest text of a bar's timestamp: the date alone at midnight."""
    text = bar.isoformat(sep=" ")
    return text[:10] if bar.time() == dt.time.min else text
