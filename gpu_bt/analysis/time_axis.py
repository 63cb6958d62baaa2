# SPDX-License-Identifier: Apache-2.0
"""The axis of time of a picture: where each bar stands on it, and what is written below.

Letters: T bars, x where a bar stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_bt.analysis.figures import plain, width_of
from gpu_bt.data.clock import DAY

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

__all__ = ["TimeAxis"]

#: Up to so many bars each has its own tick.
FEW = 8
#: Closed hours are left out where they are more than this share of the time between the first bar and the last.
_CLOSED = 0.1
_SECOND, _MONTHS = 1_000_000, "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
#: Units that ticks may lie apart, the finest first: kind, how many, microseconds of a period of a "time".
_TIMES = [s * _SECOND for s in (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)]
_UNITS = [
    *(("time", n) for n in _TIMES), ("day", 1), ("day", 2), ("week", 1), *(("month", n) for n in (1, 2, 3, 6)),
    *(("year", n) for n in (1, 2, 5, 10, 20, 50, 100)),
]  # fmt: skip


class TimeAxis:
    """Where bars stand.

    stamps: (T,) Polars Datetime, labelled by the wall clock of their zone.
    A bar stands at its time (in days, UTC, as matplotlib's dates), or at its number where there are at most 8 bars, or
    where bars are less than a day apart and closed hours, gaps of more than three usual ones, are more than a tenth.
    """

    def __init__(self, stamps: pl.Series, zone: str | None) -> None:
        self.zone = zone
        self.wall = stamps.dt.replace_time_zone(None).to_numpy()
        time = stamps.to_physical().to_numpy() if zone else self.wall.astype(np.int64)
        step = np.diff(time)
        usual = float(np.median(step)) if len(step) else 0.0
        closed = (step - usual)[step > 3 * usual].sum() / max(1, np.ptp(time)) if usual < 0.9 * DAY else 0.0
        #: Closed hours are left out.
        self.sessions = bool(closed > _CLOSED)
        self.by_bar = self.sessions or len(time) <= FEW
        self.x: np.ndarray = np.arange(len(time), dtype=np.float64) if self.by_bar else time / DAY
        half = 0.5 if self.by_bar else 0.5 * usual / DAY if len(time) <= 120 else 0.0  # of a column of turnover
        self.limits = (self.x[0] - half, self.x[-1] + half)

    def label(self, ax: Axes, wide: float) -> None:
        """Ticks, texts and limits of an axis of so many inches."""
        at, kind = self._ticks(max(2, int(wide / 0.75)))
        ax.set_xticks(self.x[at], self._texts(at, kind, wide))
        ax.set_xlim(*self.limits)
        note = [f"Time zone {self.zone}"] * (self.zone is not None) + ["closed hours left out"] * self.sessions
        if note:
            ax.set_xlabel(plain(", ".join(note)), fontsize="small")

    def _ticks(self, most: int) -> tuple[np.ndarray, str]:
        """The bars that begin a period of the finest unit that has few enough of them."""
        if len(self.x) <= FEW:
            return np.arange(len(self.x)), "bar"
        at, kind = np.arange(0), "bar"
        for kind, n in _UNITS[0 if self._timed else len(_TIMES) :]:
            at = np.flatnonzero(np.diff(_period(self.wall, kind, n))) + 1
            if len(at) <= most:
                break
        return (at if len(at) > 1 else np.unique([0, *at.tolist(), len(self.x) - 1])), kind if len(at) > 1 else "bar"

    def _texts(self, at: np.ndarray, kind: str, wide: float) -> list[str]:
        """Two lines each: what changes, and below it, where that is new, what it is part of. No text where the one
        before it leaves no room."""
        texts, before, free = [], "", -np.inf
        scale = wide / (self.limits[1] - self.limits[0])
        for bar in at.tolist():
            when = self.wall[bar].item()
            day, clock = f"{_MONTHS[when.month - 1]}\xa0{when.day}", f"{when:%H:%M:%S}".removesuffix(":00")
            date = f"{when:%Y-%m-%d}"
            above, below = {
                "time": (clock, date), "day": (day, f"{when.year}"), "week": (day, f"{when.year}"),
                "month": (_MONTHS[when.month - 1], f"{when.year}"), "year": (f"{when.year}", ""),
                "bar": (date, clock if self._timed else ""),
            }[kind]  # fmt: skip
            new = below if below != before or kind == "bar" else ""
            half, place = max(width_of(above), width_of(new)) / 2, self.x[bar] * scale
            fits = place - half >= free
            texts.append(f"{above}\n{new}".rstrip() if fits else "")
            before, free = (below, place + half + 0.08) if fits else (before, free)
        return texts

    @property
    def _timed(self) -> bool:
        return bool((self.wall.astype(np.int64) % DAY).any())


def _period(wall: np.ndarray, kind: str, n: int) -> np.ndarray:
    """A number that changes where a period begins."""
    time = wall.astype(np.int64)
    if kind == "time":
        return time // n
    if kind in ("day", "week"):
        return time // DAY // n if kind == "day" else (time // DAY + 3) // 7  # 1970-01-01 was a Thursday
    months = wall.astype("datetime64[M]").astype(np.int64)
    return months // n if kind == "month" else (months // 12 + 1970) // n
