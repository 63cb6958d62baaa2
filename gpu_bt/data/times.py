# SPDX-License-Identifier: Apache-2.0
"""Timestamps as columns of tables and as texts: to the clock of a panel and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.data.clock import instants
from gpu_bt.errors import PanelError

__all__ = ["on_clock", "stamp", "time_series", "zone_of"]


def zone_of(times: pl.Series) -> str | None:
    """The time zone of a column of dates or datetimes."""
    return getattr(times.dtype, "time_zone", None)


def on_clock(times: pl.Series, panel_zone: str | None, time_zone: str | None, what: str) -> np.ndarray:
    """int64 microseconds on the clock of a panel: naive times are the wall clock of `time_zone`, or else of the panel.

    Raises for a zone against a panel without one, and for wall-clock times that `clock.instants` refuses.
    """
    zone = zone_of(times)
    if panel_zone is None and (zone or time_zone):
        raise PanelError(f"{what} is in {zone or time_zone} but the panel has no time zone: give it to both or none")
    found = times.cast(pl.Datetime("us", zone)).to_physical().to_numpy()
    return found if zone is not None else instants(found, time_zone or panel_zone, what, PanelError)


def time_series(utc: Any, time_zone: str | None) -> pl.Series:
    """UTC datetime64[us], or microseconds, as Polars Datetime("us"), in the time zone where there is one; in UTC where it
    is an offset that Polars does not know, such as '+05:30'."""
    time_zone = "UTC" if time_zone is not None and time_zone[:1] in ("+", "-") else time_zone
    stamps = pl.Series("timestamp", np.asarray(utc, np.int64 if len(utc) == 0 else None).astype("datetime64[us]"))
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone) if time_zone else stamps


def stamp(bar: dt.datetime) -> str:
    """The shortest text of a bar's timestamp: the date alone at midnight."""
    text = bar.isoformat(sep=" ")
    return text[:10] if bar.time() == dt.time.min else text
