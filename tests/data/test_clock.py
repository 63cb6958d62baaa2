# SPDX-License-Identifier: Apache-2.0
"""Wall clocks and schedules against pandas and the datetime module, which know calendars on their own."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_bt.config import CHOICES, Config
from gpu_bt.data.clock import local_microseconds, named_bars, schedule, wall_clock
from gpu_bt.data.stamps import instants

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "UTC", None]
DAY, EPOCH = 86_400_000_000, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
PERIODS = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}


def stamps(seed: int, t: int = 400) -> np.ndarray:
    """(T,) int64 microseconds: irregular steps of minutes to weeks from somewhere between 1950 and 2050."""
    rng = np.random.default_rng(seed)
    start = int(rng.integers(-20 * 365, 80 * 365)) * 86_400_000_000
    return start + np.cumsum((10 ** rng.uniform(7, 12.5, t)).astype(np.int64))


# --- wall clocks ---


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", range(4))
def test_wall_clocks_agree_with_pandas(zone, seed):
    us = stamps(seed)
    index = pd.DatetimeIndex(us.view("datetime64[us]"), tz="UTC")
    want = us if zone is None else index.tz_convert(zone).tz_localize(None).as_unit("us").asi8
    assert np.array_equal(local_microseconds(us, zone), want)


@pytest.mark.parametrize("zone", [z for z in ZONES if z])
def test_wall_clocks_around_every_change_of_a_year(zone):
    # A bar every 5 minutes over 2021, against the datetime module.
    us = np.arange(0, 365 * 86_400, 300, dtype=np.int64)[::7] * 1_000_000 + 1_609_459_200_000_000
    tz = ZoneInfo(zone)
    moments = [dt.datetime.fromtimestamp(u // 1_000_000, tz).replace(tzinfo=dt.UTC) for u in us.tolist()]
    assert np.array_equal(local_microseconds(us, zone), [int(m.timestamp()) * 1_000_000 for m in moments])


def around(*changes: str) -> st.SearchStrategy[list[int]]:
    """Ascending microseconds within a day and a half of one of the UTC times, in steps of at least a second."""
    centres = [int(np.datetime64(change, "s").astype(int)) for change in changes]
    seconds = st.lists(st.integers(-130_000, 130_000), min_size=1, max_size=30, unique=True)
    return st.builds(lambda c, away: [(c + s) * 1_000_000 for s in sorted(away)], st.sampled_from(centres), seconds)


#: Zone -> UTC times at which its clock is changed: by an hour, by half of one, one minute after midnight, at midnight,
#: by a whole day, and from the local mean time with its odd seconds.
CHANGES = {
    "America/New_York": ("2024-03-10T07", "2024-11-03T06"),
    "Australia/Lord_Howe": ("2024-04-06T15", "2024-10-05T15:30"),
    "America/St_Johns": ("2006-10-29T02:31", "2007-03-11T03:31"),
    "America/Santiago": ("2024-04-07T03", "2024-09-08T04"),
    "Pacific/Apia": ("2011-12-30T10",),
    "Europe/Amsterdam": ("1937-07-01T00",),
    "Africa/Monrovia": ("1972-01-07T00:44:30",),
}


@pytest.mark.parametrize("zone", CHANGES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_walls_and_instants_around_changes_of_the_clock(zone, data):
    us = np.array(data.draw(around(*CHANGES[zone])), np.int64)
    tz = ZoneInfo(zone)
    moments = [(EPOCH + dt.timedelta(microseconds=int(u))).astimezone(tz) for u in us]
    wall = [(m.replace(tzinfo=None) - EPOCH.replace(tzinfo=None)) // dt.timedelta(microseconds=1) for m in moments]
    assert local_microseconds(us, zone).tolist() == wall
    clock = wall_clock(us, zone)
    assert clock.tolist() == list(itertools.accumulate(wall, max))
    for u, w, m in zip(us.tolist(), wall, moments, strict=True):
        twice = m.replace(fold=0).utcoffset() != m.replace(fold=1).utcoffset()
        try:
            back = instants(np.array([w]), zone, "the time", KeyError).tolist()
        except KeyError as error:
            assert twice and "comes twice on the clock of" in str(error)
        else:
            first = m.replace(fold=0).astimezone(dt.UTC)
            assert back == [(first - EPOCH) // dt.timedelta(microseconds=1)] and (back == [u] or w % DAY == 0)


@pytest.mark.parametrize("zone", CHANGES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_wall_time_has_one_instant_or_is_refused(zone, data):
    # Those that the clock shows never are refused, but for midnight, which is then the first instant of its date.
    walls = np.array(data.draw(around(*CHANGES[zone])), np.int64) // 900_000_000 * 900_000_000
    for wall in walls.tolist():
        try:
            [found] = instants(np.array([wall]), zone, "the time", KeyError).tolist()
        except KeyError as error:
            assert wall % DAY and str(error).count("\n") == 0
            assert "does not exist on" in str(error) or "comes twice on" in str(error)
            continue
        shown, before = (int(local_microseconds(np.array([u]), zone)[0]) for u in (found, found - 1))
        assert shown == wall if wall % DAY else (shown >= wall and before < shown)


def test_a_fixed_offset_is_a_zone():
    us = np.array([0, 86_399_999_999], np.int64)
    for name, minutes in (("+05:30", 330), ("-03:30", -210), ("+00:01", 1), ("Etc/GMT-1", 60)):
        assert (local_microseconds(us, name) - us).tolist() == [minutes * 60_000_000] * 2
        assert instants(local_microseconds(us, name), name, "", KeyError).tolist() == us.tolist()
    for bad in ("+5", "Mars/Base", "America", ""):
        with pytest.raises(KeyError, match="is unknown: pass an IANA name"):
            instants(us, bad, "", KeyError)


# --- schedules ---


def expected(us, zone, following, config):
    """The same from pandas periods, a bar at a time."""
    index = pd.DatetimeIndex(np.append(us, following or []).astype(np.int64).view("datetime64[us]"))
    if zone is not None:
        index = index.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    if config.rebalance == "bar":
        named = list(range(len(us)))
    else:
        week = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"][CHOICES["week_starts"].index(config.week_starts)]
        kind = f"W-{week}" if config.rebalance == "week" else PERIODS[config.rebalance]
        periods = [pd.Period(x, kind) for x in index]
        changes = [t for t, (a, b) in enumerate(itertools.pairwise(periods)) if a != b]
        named = changes if config.rebalance_on == "last" else [0, *(t + 1 for t in changes if t + 1 < len(us))]
    chosen = named[config.rebalance_offset :: config.rebalance_every]
    return [t in set(chosen) for t in range(len(us))]


@pytest.mark.parametrize("rebalance", ["bar", *PERIODS])
@pytest.mark.parametrize("zone", [None, "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("on", CHOICES["rebalance_on"])
def test_schedules_agree_with_pandas_periods(rebalance, zone, on):
    for seed, (every, offset) in enumerate([(1, 0), (2, 0), (3, 1), (1, 5), (7, 300)]):
        us = stamps(seed, 150)
        starts = CHOICES["week_starts"][(seed * 3) % 7]
        rule = dict(rebalance=rebalance, rebalance_every=every, rebalance_offset=offset, week_starts=starts)
        config = Config(**rule, rebalance_on=on)
        for following in (None, int(us[-1]) + 1, int(us[-1]) + 40 * 86_400_000_000):
            got = schedule(us, zone, following, config)
            assert got.dtype == bool and got.tolist() == expected(us, zone, following, config)


def test_the_last_bar_of_a_schedule_needs_what_follows():
    us, config = np.array([0, 86_400_000_000], np.int64), Config(rebalance="day")
    assert schedule(us, None, None, config).tolist() == [True, False]
    assert schedule(us, None, 2 * 86_400_000_000, config).tolist() == [True, True]
    assert schedule(us, None, 2 * 86_400_000_000 - 1, config).tolist() == [True, False]


@pytest.mark.parametrize("on", CHOICES["rebalance_on"])
def test_a_schedule_does_not_depend_on_later_bars_and_goes_on_after_earlier_ones(on):
    us, zone = stamps(9, 60), "America/New_York"
    for rebalance in ("bar", *PERIODS):
        config = Config(rebalance=rebalance, rebalance_on=on, rebalance_every=2, rebalance_offset=1)
        whole = schedule(us, zone, None, config)
        for t in range(1, 60):
            part = schedule(us[:t], zone, int(us[t]), config)
            assert np.array_equal(part, whole[:t]), (rebalance, t)
            before = int(named_bars(us[:t], zone, int(us[t]), config).sum())
            rest = schedule(us[t:], zone, None, config, before, int(wall_clock(us[:t], zone)[-1]))
            assert np.array_equal(rest, whole[t:]), (rebalance, t)
