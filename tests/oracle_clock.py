# SPDX-License-Identifier: Apache-2.0
"""The oracle's clock and calendar, from the standard library alone: wall clocks, and the bars that decide ([S6])."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gpu_bt.config import Config

__all__ = ["MICROSECOND", "schedule", "wall_clock"]

_EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def wall_clock(microseconds: Sequence[int], time_zone: str | None) -> list[datetime.datetime]:
    """The clock of the panel at each bar: what hangs on the wall, but it never goes back: in an hour that comes twice
    it stands still until it has caught up."""
    out: list[datetime.datetime] = []
    for u in microseconds:
        moment = _EPOCH + int(u) * MICROSECOND
        if time_zone is not None:
            fixed = time_zone[0] in "+-"
            zone = datetime.datetime.strptime(time_zone, "%z").tzinfo if fixed else ZoneInfo(time_zone)
            aware = moment.replace(tzinfo=datetime.UTC).astimezone(zone)
            moment = aware.replace(tzinfo=None)
        out.append(max(moment, out[-1]) if out else moment)
    return out


def schedule(
    microseconds: Sequence[int], following: int | None, config: Config, time_zone: str | None = None
) -> list[bool]:
    """[S6] The bars that decide, one bool per bar; `following` is the timestamp after the last bar, or None."""
    bars = len(microseconds)
    clock = wall_clock([*microseconds, *([] if following is None else [following])], time_zone)
    period = [_period(moment.date(), config) for moment in clock]
    out, number = [], 0
    for t in range(bars):
        if config.rebalance == "bar":
            named = True
        elif config.rebalance_on == "first":
            named = t == 0 or period[t] != period[t - 1]
        else:
            named = t + 1 < len(period) and period[t] != period[t + 1]
        past = number - config.rebalance_offset
        out.append(named and past >= 0 and past % config.rebalance_every == 0)
        number += named
    return out


def _period(date: datetime.date, config: Config) -> Any:
    since = (date.weekday() - _WEEKDAYS.index(config.week_starts)) % 7
    return {
        "bar": None,
        "day": date,
        "week": date - datetime.timedelta(days=since),
        "month": (date.year, date.month),
        "quarter": (date.year, (date.month - 1) // 3),
        "year": date.year,
    }[config.rebalance]
