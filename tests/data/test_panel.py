# SPDX-License-Identifier: Apache-2.0
"""Panel: what it refuses and how it says so, and what NaN becomes."""

from __future__ import annotations

import datetime as dt
import hashlib
import pickle
import warnings
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import gpu_bt as bt

NAN = np.nan
DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")


def panel(close=None, **fields):
    """Three bars of two assets, A and B; a field given as one number is that everywhere."""
    names = ("open", "high", "low", "vwap", "volume", "half_spread", "volatility", "dividend", "split", "borrow_rate")
    grid = {k: np.full((3, 2), float(v)) if k in names and np.isscalar(v) else v for k, v in fields.items()}
    base = dict(timestamps=DAYS, assets=["A", "B"], prices="raw")
    return bt.Panel(np.full((3, 2), 16.0) if close is None else close, **(base | grid))


def with_value(value, fill=16.0, at=(1, 1)):
    """(3, 2) of one number with another at bar 2020-01-02 of B."""
    out = np.full((3, 2), fill)
    out[at] = value
    return out


def refused(message, *args, **fields):
    with pytest.raises(bt.PanelError) as error:
        panel(*args, **fields)
    assert str(error.value) == message
    assert "\n" not in message


ZERO = "a price must be > 0, or NaN where the asset does not trade (bad_prices='nan' makes it so)"
RANGE = "a price must be in [1e-10, 1e12], or NaN where the asset does not trade"


@pytest.mark.parametrize("name", ["close", "open", "high", "low", "vwap"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [(0.0, ZERO), (-1.0, ZERO), (np.inf, RANGE), (-np.inf, RANGE), (1e-11, RANGE), (1.5e12, RANGE)],
)
def test_a_price_out_of_range_is_refused(name, value, rule):
    refused(f"{name}[2020-01-02, 'B'] is {value}: {rule}", **{name: with_value(value)})


def test_the_bounds_of_prices_are_prices():
    assert panel(with_value(1e-10)).close[1, 1] == 1e-10 and panel(with_value(1e12)).close[1, 1] == 1e12


def test_the_first_bad_price_is_named():
    close = with_value(-1.0)
    close[0, 1], close[2, 0] = 0.0, -2.0
    refused(f"close[2020-01-01, 'B'] is 0.0: {ZERO}", close)


def test_bad_prices_nan_turns_them_into_nan_and_counts():
    close = with_value(-1.0)
    close[0, 0] = 0.0
    got = panel(close, open=with_value(0.0), bad_prices="nan")
    assert np.isnan(got.close[1, 1]) and np.isnan(got.close[0, 0]) and np.isnan(got.close).sum() == 2
    assert got.notes == {"bad_prices": 3} and panel(bad_prices="nan").notes == {}
    assert close[1, 1] == -1.0  # the caller's array is left alone


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e13, 1e-11])
def test_bad_prices_nan_still_refuses_what_is_no_vendors_zero(value):
    refused(f"close[2020-01-02, 'B'] is {value}: {RANGE}", with_value(value), bad_prices="nan")


@pytest.mark.parametrize(
    ("name", "meaning"), [("volume", 0), ("half_spread", 0), ("volatility", 0), ("dividend", 0), ("borrow_rate", 0)]
)
@pytest.mark.parametrize("value", [-0.5, np.inf, -np.inf])
def test_a_negative_or_infinite_rate_is_refused(name, meaning, value):
    message = f"{name}[2020-01-02, 'B'] is {value}: it must be finite and >= 0, or NaN for {meaning}"
    refused(message, **{name: with_value(value, 0.0)})


@pytest.mark.parametrize("value", [0.0, -2.0, np.inf])
def test_a_split_must_be_positive(value):
    refused(f"split[2020-01-02, 'B'] is {value}: it must be finite and > 0, or NaN for 1", split=with_value(value, 1.0))


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("volume", 0.0),
        ("half_spread", 0.0),
        ("volatility", 0.0),
        ("dividend", 0.0),
        ("split", 1.0),
        ("borrow_rate", 0.0),
    ],
)
def test_nan_in_an_optional_panel_has_a_meaning(name, meaning):
    given = with_value(NAN, 1.0)
    assert getattr(panel(**{name: given}), name)[1, 1] == meaning
    assert np.isnan(given[1, 1])


def test_nan_stays_in_prices():
    assert np.isnan(panel(with_value(NAN)).close[1, 1])


@pytest.mark.parametrize("name", ["high", "low", "vwap"])
def test_an_intrabar_price_needs_a_close_or_an_open(name):
    rule = f"a bar without close and open has no {name}; set it to NaN or give the bar a close"
    refused(f"{name}[2020-01-02, 'B'] is 16.0: {rule}", with_value(NAN), **{name: 16.0})
    refused(f"{name}[2020-01-02, 'B'] is 16.0: {rule}", with_value(NAN), open=with_value(NAN), **{name: 16.0})
    assert panel(with_value(NAN), open=16.0, **{name: 16.0}).close.shape == (3, 2)
    assert panel(with_value(NAN), **{name: with_value(NAN)}).close.shape == (3, 2)


@pytest.mark.parametrize("name", ["close", "open", "volume", "can_buy"])
@pytest.mark.parametrize("shape", [(2, 3), (3, 1), (3,), (3, 2, 1), (0, 2)])
def test_a_wrong_shape_is_refused(name, shape):
    array = np.ones(shape, bool if name == "can_buy" else float)
    message = (
        f"{name} has shape {shape}: it must be (T, N) = (3, 2), one row per timestamp and one column per asset, both at"
        " least one"
    )
    refused(message, **{name: array})


@pytest.mark.parametrize(("t", "n"), [(0, 2), (3, 0)])
def test_an_empty_panel_is_refused(t, n):
    with pytest.raises(bt.PanelError, match=rf"close has shape \({t}, {n}\): .* both at least one"):
        bt.Panel(np.ones((t, n)), timestamps=DAYS[:t], assets=["A", "B"][:n])


def test_what_is_no_array_of_numbers_is_refused():
    refused("close has dtype <U1: it must hold numbers; convert it to float64", np.full((3, 2), "x"))
    refused("volume has dtype complex128: it must hold numbers; convert it to float64", volume=np.ones((3, 2), complex))
    with pytest.raises(bt.PanelError, match=r"^close is a list that is no array \(.*\): pass a \(T, N\) array$"):
        panel([[1.0, 2.0], [1.0], [1.0, 2.0]])
    with pytest.raises(bt.PanelError, match="close is missing: a panel needs"):
        bt.Panel(None, timestamps=DAYS, assets=["A", "B"])


@pytest.mark.parametrize("name", ["dividend", "split"])
def test_events_need_raw_prices(name):
    refused(f"{name} needs unadjusted prices: pass prices='raw', or leave {name} out", prices="adjusted", **{name: 1.0})


def test_choices():
    refused("prices is 'clean': it must be one of 'adjusted', 'raw'", prices="clean")
    refused("bad_prices is 'drop': it must be one of 'error', 'nan'", bad_prices="drop")


# --- assets and what is per asset ---


def test_assets_must_be_unique_names():
    refused("assets has 'A' twice: names must be unique; merge or rename the columns", assets=["A", "A"])
    refused("assets is 'AB': it must be a sequence of N unique names", assets="AB")
    refused("assets is None: it must be a sequence of N unique names", assets=None)
    assert panel(assets=np.array([7, 8])).assets == ("7", "8")
    refused("assets has '7' twice: names must be unique; merge or rename the columns", assets=[7, "7"])


@pytest.mark.parametrize("name", ["delisted_at", "delisting_return", "lot", "group"])
def test_a_per_asset_field_has_one_value_per_asset(name):
    refused(f"{name} has shape (3,): it must be (N,) = (2,), one value per asset", **{name: [1, 2, 3]})


@pytest.mark.parametrize("value", [-1.5, np.inf, -np.inf])
def test_a_delisting_loses_at_most_everything(value):
    rule = "it must be >= -1, or NaN for 0"
    refused(f"delisting_return['B'] is {value}: {rule}", delisting_return=[0.0, value])


def test_delisting_returns_and_their_nan():
    assert panel(delisting_return=[-1, NAN]).delisting_return.tolist() == [-1.0, 0.0]
    assert panel().delisting_return.tolist() == [0.0, 0.0]


def test_delisted_at_holds_bars():
    assert panel(delisted_at=[-1, 2]).delisted_at.tolist() == [-1, 2] and panel().delisted_at.tolist() == [-1, -1]
    assert panel(delisted_at=[-1.0, 2.0]).delisted_at.dtype == np.int64
    refused("delisted_at['A'] is -2: it must be a bar number >= 0, or -1 for none", delisted_at=[-2, 0])
    for bad in ([0.5, 1.0], [NAN, 1.0], [np.inf, 1.0]):
        refused("delisted_at has dtype float64: it must hold bar numbers, -1 for none", delisted_at=bad)


@pytest.mark.parametrize("value", [-1.0, 1e-9, 1e10, NAN, np.inf])
def test_a_lot_is_zero_or_in_range(value):
    rule = "it must be 0 (fractional) or in [1e-08, 1e+09] shares"
    refused(f"lot['B'] is {value}: {rule}", lot=[1.0, value])


def test_lots():
    assert panel(lot=[0, 100]).lot.tolist() == [0.0, 100.0] and panel().lot is None
    assert panel(lot=[1e-8, 1e9]).lot.tolist() == [1e-8, 1e9]


def test_groups_are_kept():
    assert panel(group=["x", "y"]).group.tolist() == ["x", "y"] and panel().group is None


@pytest.mark.parametrize("name", ["can_buy", "can_sell"])
def test_masks(name):
    mask = np.array([[1, 0], [0, 1], [1, 1]])
    for given in (mask.astype(bool), mask, mask.astype(float)):
        got = getattr(panel(**{name: given}), name)
        assert got.dtype == bool and got.tolist() == mask.astype(bool).tolist()
    for bad in (mask * 2, np.where(mask, 1.0, NAN), np.full((3, 2), "yes")):
        refused(f"{name} has dtype {bad.dtype}: it must be bool, True where the asset may trade", **{name: bad})


def test_ties_come_from_the_ids():
    got = panel(assets=["A", "é"]).market.tie.tolist()
    assert got == [hashlib.blake2b(x.encode("utf-8"), digest_size=8).digest()[-1] % 64 for x in ("A", "é")]


# --- timestamps ---


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (("2020-01-01", "2020-01-03", "2020-01-02"), "timestamps[1] is 2020-01-03, followed by 2020-01-02"),
        (
            ("2020-01-01", "2020-01-02", "2020-01-02"),
            "timestamps[1] is 2020-01-02, twice (bars are compared in whole microseconds)",
        ),
    ],
)
def test_timestamps_must_increase(stamps, message):
    refused(f"{message}: timestamps must increase strictly; sort and deduplicate", timestamps=stamps)


def test_timestamps_that_differ_by_less_than_a_microsecond_are_the_same_bar():
    stamps = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[ns]")
    stamps[2] = stamps[1] + np.timedelta64(999, "ns")
    with pytest.raises(bt.PanelError, match="twice"):
        panel(timestamps=stamps)


def test_timestamps_that_are_none():
    refused(
        "timestamps[1] is NaT: every bar needs a timestamp; drop that row", timestamps=["2020-01-01", "NaT", "2021"]
    )
    for numbers in (np.array([1, 2, 3]), [1, 2, 3], np.array([1.0, 2.0, 3.0])):
        with pytest.raises(bt.PanelError, match=r"^timestamps\[0\] is 1(\.0)?: it must .* other numbers have no unit"):
            panel(timestamps=numbers)
    with pytest.raises(bt.PanelError, match=r"^timestamps\[0\] is '1 January': it must be a date, datetime, ISO text"):
        panel(timestamps=["1 January", "2 January", "3 January"])


def test_mixed_time_zones_are_refused():
    utc, york = dt.UTC, ZoneInfo("America/New_York")
    days = [dt.datetime(2020, 1, d) for d in (1, 2, 3)]
    refused(
        "timestamps mix time zones (UTC, none): convert them to one zone, or drop the zone everywhere",
        timestamps=[days[0].replace(tzinfo=utc), *days[1:]],
    )
    refused(
        "timestamps mix time zones (America/New_York, UTC): convert them to one zone, or drop the zone everywhere",
        timestamps=[days[0].replace(tzinfo=utc), *(d.replace(tzinfo=york) for d in days[1:])],
    )
    fixed = dt.timezone(dt.timedelta(hours=1))
    refused(
        "timestamps mix time zones (America/New_York, Etc/GMT-1): convert them to one zone, or drop the zone"
        " everywhere",
        timestamps=[days[0].replace(tzinfo=fixed), *(d.replace(tzinfo=york) for d in days[1:])],
    )
    refused(
        "time zone 'Mars/Olympus' is unknown: pass an IANA name, such as 'America/New_York'", time_zone="Mars/Olympus"
    )


def test_next_timestamp():
    assert panel(next_timestamp="2020-02-03").next_timestamp == np.datetime64("2020-02-03", "us")
    for early in ("2020-01-03", "2019-12-31"):
        with pytest.raises(bt.PanelError, match=r"next_timestamp is .*: it must lie after the last bar, 2020-01-03"):
            panel(next_timestamp=early)
    york = dict(timestamps=["2020-01-29", "2020-01-30", "2020-01-31"], time_zone="America/New_York")
    for due in (dt.date(2020, 2, 1), "2020-02-01", 20200201, dt.datetime(2020, 2, 1, 5, tzinfo=dt.UTC)):
        assert panel(**york, next_timestamp=due).next_timestamp == np.datetime64("2020-02-01T05", "us")
    with pytest.raises(
        bt.PanelError, match=r"^next_timestamp 2020-03-08T02:30:00 does not exist on the clock of America"
    ):
        panel(**york, next_timestamp="2020-03-08T02:30")
    with pytest.raises(bt.PanelError, match=r"^next_timestamp.0. is 'soon': it must be a date"):
        panel(next_timestamp="soon")
    aware = dt.datetime(2020, 2, 3, tzinfo=dt.UTC)
    refused("next_timestamp has a time zone and the timestamps have none: pass both the same way", next_timestamp=aware)


# --- splits that the prices do not show ---


@pytest.mark.parametrize(
    ("ratio", "after", "warns"),
    [(2.0, 8.0, False), (2.0, 16.0, True), (0.5, 32.0, False), (0.5, 16.0, True), (2.0, 12.0, True), (2.0, 10.0, False),
     (1.1, 16.0, False), (2.0, NAN, False)],
)  # fmt: skip
def test_a_split_that_the_prices_do_not_show_is_warned_about(ratio, after, warns):
    close = np.array([[16.0, 16.0], [16.0, after], [16.0, after]])
    split = with_value(ratio, 1.0)
    if not warns:
        assert panel(close, split=split).split[1, 1] == ratio
        return
    with pytest.warns(bt.BacktestWarning) as seen:
        panel(close, split=split)
    (warning,) = seen
    assert str(warning.message) == (
        f"split[2020-01-02, 'B'] is {ratio:g} but the close moved from 16 to {after:g} (1 splits like it): if the"
        " prices are already adjusted, leave split out"
    )
    assert warning.filename == __file__  # it points at the caller of Panel


def test_a_split_at_the_first_bar_has_nothing_to_show():
    assert panel(split=with_value(2.0, 1.0, at=(0, 0))).split[0, 0] == 2.0


# --- the object ---


def test_names_shapes_and_labels():
    got = panel(open=16.0, volume=64.0)
    assert got.shape == (3, 2) and got.index == {"A": 0, "B": 1} and got.high is None
    assert repr(got) == "Panel(3 bars x 2 assets, 2020-01-01 to 2020-01-03, close, open, volume, raw prices)"
    assert got.label(1) == "2020-01-02"
    assert panel(timestamps=["2020-01-01T15:30", *DAYS[1:]]).label(0) == "2020-01-01T15:30:00"
    with pytest.raises(AttributeError, match="Panel has no attribute 'closes'"):
        _ = got.closes


def test_a_panel_survives_pickle():
    got = panel(open=16.0, lot=[1, 0], next_timestamp="2020-02-03")
    again = pickle.loads(pickle.dumps(got))
    assert repr(again) == repr(got) and again.next_timestamp == got.next_timestamp
    assert again.close.tobytes() == got.close.tobytes() and again.lot.tolist() == [1.0, 0.0]


def test_a_good_panel_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel(open=16.0, high=16.0, low=16.0, vwap=16.0, volume=NAN, half_spread=NAN, dividend=NAN, split=NAN)
