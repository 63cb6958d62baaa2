# SPDX-License-Identifier: Apache-2.0
"""Slices of a panel by label: those of pandas, every field kept, and runs of a slice as of a panel made of it."""

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pandas as pd
import pytest

import gpu_bt as bt
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS

DAYS = pd.bdate_range("2018-06-01", "2022-03-01")
HOURS = pd.DatetimeIndex([d + pd.Timedelta(hours=h) for d in DAYS[:120] for h in range(9, 16)])
NAMES = ["A", "B", "C", "D"]


def market(stamps: pd.DatetimeIndex = DAYS, zone: str | None = None) -> bt.Panel:
    rng = np.random.default_rng(0)
    shape = (len(stamps), 4)
    close = rng.uniform(9, 10, shape)
    given = {name: close.copy() for name in ("open", "high", "low", "vwap")}
    rates = ("volume", "half_spread", "volatility", "dividend", "borrow_rate")
    given |= {name: rng.uniform(0, 0.1, shape) for name in rates} | {"universe": rng.random(shape) < 0.9}
    given |= {"split": np.ones(shape), "can_buy": rng.random(shape) < 0.9, "can_sell": rng.random(shape) < 0.9}
    given |= {"delisted_at": [-1, 50, 300, 900], "delisting_return": [0, -0.1, -0.2, -0.3], "lot": [1, 2, 0, 5]}
    stamps = stamps if zone is None else stamps.tz_localize(zone)
    return bt.Panel(close=close, **given, group=["x", "y", "x", "z"], timestamps=stamps, assets=NAMES, prices="raw")


@pytest.mark.parametrize(
    "key",
    [
        "2019", "2019-03", "2019-03-04", slice("2019", "2021"), slice("2019-03", None), slice(None, "2019-11-30"),
        slice("2018-12-30", "2019-01-01"), slice(dt.datetime(2019, 3, 4), dt.datetime(2019, 4, 1)),
        slice(pd.Timestamp("2020-02-29"), pd.Timestamp("2020-12-31")), slice(None),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_bars_are_those_of_pandas(key: object, zone: str | None):
    panel = market(zone=zone)
    frame = pd.DataFrame({"t": np.arange(len(DAYS))}, index=DAYS if zone is None else DAYS.tz_localize(zone))
    ends = (key.start, key.stop) if isinstance(key, slice) else ()
    clocks = [
        end if zone is None or not isinstance(end, dt.datetime) else pd.Timestamp(end).tz_localize(zone) for end in ends
    ]
    want = frame.loc[slice(*clocks) if clocks else key, "t"]
    want = want.to_list() if isinstance(want, pd.Series) else [int(want)]
    assert panel[key].timestamps.tolist() == panel.timestamps[want].tolist()


@pytest.mark.parametrize(
    "key",
    [
        "2018-06-04", slice("2018-06-04", "2018-06-05"), slice("2018-06-04T11", "2018-06-04T13"), "2018-06-04 10",
        slice("2018-06-04 11:00", "2018-06-04 13:00"), slice(dt.datetime(2018, 6, 4, 11), dt.datetime(2018, 6, 5)),
        slice("2018-06-04", pd.Timestamp("2018-06-05")), "2018-07",
    ],
    ids=str,
)  # fmt: skip
def test_bars_of_a_day_are_those_of_pandas(key: object):
    want = np.atleast_1d(pd.Series(np.arange(len(HOURS)), index=HOURS).loc[key]).tolist()
    for zone in (None, "Asia/Tokyo"):
        panel = market(HOURS, zone)
        assert panel[key].timestamps.tolist() == panel.timestamps[want].tolist()


def test_dates_and_periods_are_whole():
    panel = market(HOURS)
    day = panel["2018-06-05"].timestamps.tolist()
    assert len(day) == 7
    for key in (dt.date(2018, 6, 5), np.datetime64("2018-06-05"), pd.Period("2018-06-05", "D"), "20180605"):
        assert panel[key].timestamps.tolist() == day
        assert panel[:key].timestamps[-1] == panel[key].timestamps[-1]
    assert panel[np.datetime64("2018-06")].shape == panel["2018-06"].shape == panel["2018Q2"].shape
    assert panel["2018Q2":"2018-Q3"].timestamps.tolist() == panel["2018-06":"2018-09"].timestamps.tolist()


def test_a_label_with_a_zone_is_an_instant():
    panel = market(HOURS, "America/New_York")
    noon = pd.Timestamp("2018-06-04 16:00", tz="UTC")
    for key in (noon, noon.to_pydatetime(), "2018-06-04T16:00+00:00", "2018-06-04T18:00+02:00", "2018-06-04T12:00"):
        assert panel[key:].label(0) == "2018-06-04T12:00:00"
    assert panel[:noon].label(-1) == "2018-06-04T12:00:00"


def test_an_hour_that_a_night_repeats_is_whole():
    stamps = pd.date_range("2024-11-03 00:00", periods=6, freq="30min", tz="America/New_York").tz_convert("UTC")
    stamps = stamps.union(pd.date_range(stamps[-1], periods=6, freq="30min"))
    panel = bt.Panel(np.ones((len(stamps), 1)), timestamps=stamps.tz_convert("America/New_York"), assets=["A"])
    assert panel["2024-11-03T01"].shape[0] == 4 and panel["2024-11-03T02":].label(0) == "2024-11-03T02:00:00"


def test_every_field_is_cut_and_nothing_else_changes():
    panel = market(zone="Europe/Berlin")
    found = panel["2019":"2020", ["D", "B"]]
    a, b = (int(np.searchsorted(DAYS, pd.Timestamp(d))) for d in ("2019-01-01", "2021-01-01"))
    assert found.shape == (b - a, 2) and found.assets == ("D", "B") and found.index == {"D": 0, "B": 1}
    assert panel.index["D"] == 3
    for name in FIELDS:
        mine, whole = getattr(found, name), getattr(panel, name)
        if name == "delisted_at":
            assert mine.tolist() == [-1, 0]  # 900 lies behind the last bar, 50 before the first
            assert panel["2019":, "C"].delisted_at.tolist() == [300 - a]
            continue
        want = whole[[3, 1]] if name in ASSET_FIELDS else whole[a:b][:, [3, 1]]
        assert mine.tolist() == want.tolist() and mine.dtype == whole.dtype, name
        assert not mine.flags.writeable and mine.flags.c_contiguous
    assert found.time_zone == "Europe/Berlin" and found.prices == "raw" and found.notes == panel.notes
    assert found.fields == panel.fields and found.notes is not panel.notes
    assert found.market.tie.tolist() == panel.market.tie[[3, 1]].tolist() and found.market.cache == {}
    assert found.microseconds.tolist() == panel.microseconds[a:b].tolist()
    again = pickle.loads(pickle.dumps(found))
    assert again.close.tolist() == found.close.tolist() and again.assets == found.assets


def test_rows_alone_are_not_copied():
    panel = market()
    assert np.shares_memory(panel["2019"].close, panel.close)


def test_the_bar_after_a_slice_is_known():
    panel = market()
    assert str(panel[:"2019"].next_timestamp)[:10] == "2020-01-01"
    assert str(panel["2019-03-04":"2019-03-05"].next_timestamp)[:10] == "2019-03-06"
    assert panel["2020":].next_timestamp is None
    due = bt.Panel(np.ones((2, 1)), timestamps=DAYS[:2], assets=["A"], next_timestamp=DAYS[2])
    assert due[:, "A"].next_timestamp == due.next_timestamp and due[: DAYS[0]].next_timestamp == due.timestamps[1]


def test_a_slice_runs_as_a_panel_of_its_bars(engine: str):
    panel = market()
    part = panel["2019-02":"2019-06", ["C", "A"]]
    weights = np.full(part.shape, 0.4)
    config = bt.Config(rebalance="month")
    own = {name: getattr(part, name) for name in FIELDS}
    made = bt.Panel(
        **own, timestamps=part.timestamps, assets=part.assets, prices="raw", next_timestamp=part.next_timestamp
    )
    got, want = (bt.run(p, weights, config, engine=engine, record=("fills", "positions")) for p in (part, made))
    assert got.equity.equals(want.equity) and got.fills.equals(want.fills) and got.fills.height
    assert got.positions.tolist() == want.positions.tolist()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("2035", r"panel\['2035'\] has no bar: the panel has 2018-06-01 to 2022-03-01"),
        (slice("2021", "2019"), r"panel\['2021':'2019'\] has no bar"),
        ("2019-03-03", "has no bar"),
        (5, "5 is no time: pass a date"),
        (slice(0, 5), "0 is no time"),
        ("AAPL", "'AAPL' is no time.*assets come second"),
        ("2019-13", "'2019-13' is no time"),
        (pd.NaT, "NaT is no time"),
        (None, "None is no time"),
        (slice("2019", "2020", 2), "has the step 2"),
        (pd.Timestamp("2019", tz="UTC"), "has a time zone and the panel has none"),
        ((slice(None), "AA"), "'AA' is no asset of the panel: did you mean 'A'"),
        ((slice(None), ["A", "A"]), "name each once"),
        ((slice(None), []), "names 0 assets"),
        ((slice(None), slice("A", "B")), "is a slice of assets"),
    ],
    ids=str,
)
def test_what_names_nothing_is_refused(key: object, text: str):
    with pytest.raises(bt.PanelError, match=text) as error:
        market()[key]
    assert "\n" not in str(error.value)


def test_an_iso_week_is_whole():
    panel = market()
    monday = np.datetime64("2019-01-07")
    for key in ("2019-W02", "2019W02", slice("2019-W02", "2019-W02")):
        days = panel[key].timestamps.astype("datetime64[D]")
        assert days[0] == monday and days[-1] == monday + 4
    assert panel[:"2019-W02"].timestamps[-1].astype("datetime64[D]") == monday + 4
