# SPDX-License-Identifier: Apache-2.0
"""The synthetic universe keeps the input rules and shows the events that it claims; the weight helpers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_bt.data.fields import PRICES
from gpu_bt.data.panel import Panel
from gpu_bt.data.synthetic import momentum_weights, random_weights, synthetic_universe


@pytest.fixture(scope="module")
def messy() -> Panel:
    return synthetic_universe(800, 400, seed=3)


def fields(panel: Panel) -> dict[str, np.ndarray]:
    names = ("close", "open", "high", "low", "volume", "dividend", "split", "delisted_at", "delisting_return")
    return {name: getattr(panel, name) for name in names if getattr(panel, name) is not None}


@pytest.mark.parametrize("kwargs", [{}, {"messy": False}, {"dtype": np.float32}])
def test_a_seed_gives_the_same_bits_and_another_seed_gives_others(kwargs):
    one, two, other = (synthetic_universe(120, 300, seed=s, **kwargs) for s in (1, 1, 2))
    assert fields(one).keys() == fields(two).keys()
    for name, array in fields(one).items():
        assert array.tobytes() == getattr(two, name).tobytes(), name
    assert one.close.tobytes() != other.close.tobytes()
    assert one.close.dtype == kwargs.get("dtype", np.float64)


def test_the_panel_takes_the_arrays_and_names_business_days():
    panel = synthetic_universe(30, 12, start="2020-02-27")
    assert panel.shape == (30, 12)
    assert not panel.close.flags.writeable and panel.close.base is None
    assert panel.timestamps[0] == np.datetime64("2020-02-27")
    assert np.is_busday(panel.timestamps.astype("datetime64[D]")).all()
    assert panel.group[0] == panel.group[8] != panel.group[1]


def test_without_mess_every_asset_trades_at_every_bar():
    panel = synthetic_universe(200, 100, messy=False)
    assert all(np.isfinite(getattr(panel, name)).all() for name in ("close", "open", "high", "low", "volume"))
    assert panel.prices == "adjusted" and panel.split is None and (panel.delisted_at == -1).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_prices_keep_their_order(dtype):
    panel = synthetic_universe(300, 300, seed=5, dtype=dtype)
    traded = ~(np.isnan(panel.close) & np.isnan(panel.open))
    assert (np.isnan(panel.low) == ~traded).all() and (np.isnan(panel.high) == ~traded).all()
    assert (panel.low[traded] <= np.fmin(panel.open, panel.close)[traded]).all()
    assert (panel.high[traded] >= np.fmax(panel.open, panel.close)[traded]).all()
    assert (panel.volume[~traded] == 0).all()


def test_the_events_are_there(messy):
    priced = ~np.isnan(messy.close)
    first, last = priced.argmax(axis=0), messy.shape[0] - 1 - priced[::-1].argmax(axis=0)
    told = messy.delisted_at >= 0
    assert priced.any(axis=0).all()
    assert 60 < (first > 5).sum() < 140, "late listings"
    assert told.sum() > 20 and (messy.delisting_return[told] < 0).any() and (messy.delisting_return[told] > 0).any()
    assert (messy.delisting_return[~told] == 0).all()
    assert ((last < messy.shape[0] - 10) & ~told).any(), "silent ends"
    assert {0.1, 1.0, 2.0} <= set(np.unique(messy.split))
    assert (messy.dividend > 0).sum() > 500
    alive = (np.arange(800)[:, None] >= first) & (np.arange(800)[:, None] <= last)
    assert (alive & np.isnan(messy.close) & np.isnan(messy.open)).sum() > 500, "halts"
    assert (np.isnan(messy.open) & priced).any() and (~np.isnan(messy.open) & ~priced & alive).any()
    assert (priced & (messy.volume == 0)).any()


def test_nothing_trades_from_the_delisting_on(messy):
    for asset in np.flatnonzero(messy.delisted_at >= 0):
        bar = messy.delisted_at[asset]
        assert all(np.isnan(getattr(messy, name)[bar:, asset]).all() for name in PRICES if name != "vwap")
        assert not np.isnan(messy.close[bar - 8 : bar, asset]).all()
        assert not messy.dividend[bar:, asset].any() and (messy.split[bar:, asset] == 1).all()


def test_prices_fall_by_the_dividend(messy):
    bar, asset = np.nonzero(messy.dividend)
    before, opening, paid = messy.close[bar - 1, asset], messy.open[bar, asset], messy.dividend[bar, asset]
    assert abs(np.nanmean(np.log((opening + paid) / before))) < 0.0015
    assert np.nanmean(np.log(opening / before)) < -0.003


def test_no_split_and_dividend_in_one_bar(messy):
    assert not ((messy.dividend > 0) & (messy.split != 1)).any()


def test_factors_and_fat_tails():
    panel = synthetic_universe(1000, 220, seed=1, messy=False)
    returns = np.diff(np.log(panel.close), axis=0)
    correlation = np.corrcoef(returns.T)
    same = panel.group[:, None] == panel.group
    off = ~np.eye(220, dtype=bool)
    assert correlation[same & off].mean() > correlation[~same].mean() + 0.03 > 0.1
    z = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    assert (z**4).mean() > 4.0


@pytest.mark.parametrize(("bars", "assets"), [(2, 1), (3, 5), (70, 2)])
def test_tiny_universes_are_valid(bars, assets):
    assert synthetic_universe(bars, assets).shape == (bars, assets)


@pytest.mark.parametrize("args", [(1, 5), (5, 0)])
def test_impossible_sizes_are_refused(args):
    with pytest.raises(ValueError, match="a whole number >= "):
        synthetic_universe(*args)


def small_panel(**changes) -> Panel:
    nan = np.nan
    close = np.array(
        [
            [10.0, 10.0, 10.0, 10.0, 10.0],
            [10.0, 12.0, 11.0, nan, 10.0],
            [10.0, 13.0, 6.0, 20.0, nan],
            [11.0, 13.0, 7.0, 20.0, nan],
        ]
    )
    split = np.ones_like(close)
    split[2, 2] = 2.0
    days = np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]")
    values = {"close": close, "split": split, "prices": "raw", "delisted_at": [-1, -1, -1, -1, 2]} | changes
    return Panel(**values, timestamps=days, assets=list("ABCDE"))


def test_momentum_by_hand():
    nan = np.nan
    weights = momentum_weights(small_panel(), lookback=2, top=0.5, every=1)
    # bar 2: A 1.0, B 1.3, C 6*2/10 = 1.2, D 2.0, E none: 2 of 4. bar 3: A 1.1, B 1.083, C 7*2/11 = 1.27, D and E none.
    expected = [[nan] * 5, [nan] * 5, [0, 0.5, 0, 0.5, nan], [0, 0, 1, 0, nan]]
    np.testing.assert_array_equal(weights, expected)


def test_momentum_decides_at_its_bars_only(messy):
    weights = momentum_weights(messy, lookback=40, top=0.1, every=21)
    decides = ~np.isnan(weights).all(axis=1)
    assert np.flatnonzero(decides).tolist() == list(range(40, 800, 21))
    rows = weights[decides]
    np.testing.assert_allclose(np.nansum(rows, axis=1), 1.0, rtol=1e-12)
    gone = (messy.delisted_at >= 0) & (messy.delisted_at <= np.flatnonzero(decides)[:, None])
    assert (np.isnan(rows) == gone).all()
    assert not (rows[np.isnan(messy.close[decides])] > 0).any()


def test_momentum_sees_no_later_bar():
    panel = small_panel(split=None, prices="adjusted", delisted_at=None)
    changed = np.array(panel.close)
    changed[3] = [99.0, 1.0, 1.0, 1.0, 99.0]
    later = small_panel(close=changed, split=None, prices="adjusted", delisted_at=None)
    one, two = (momentum_weights(p, lookback=1, top=0.4, every=1) for p in (panel, later))
    assert one[:3].tobytes() == two[:3].tobytes() and one[3].tobytes() != two[3].tobytes()


def test_random_weights_decide_at_their_bars():
    panel = synthetic_universe(50, 200, messy=False)
    weights = random_weights(panel, 0.1, seed=4, every=5)
    decides = ~np.isnan(weights).any(axis=1)
    assert np.flatnonzero(decides).tolist() == list(range(0, 50, 5))
    assert ((weights[decides] > 0).sum(axis=1) == 20).all()
    np.testing.assert_allclose(weights[decides].sum(axis=1), 1.0, rtol=1e-12)
    assert weights.tobytes() == random_weights(panel, 0.1, seed=4, every=5).tobytes()
    assert weights.tobytes() != random_weights(panel, 0.1, seed=5, every=5).tobytes()
    assert (random_weights(panel, 1.0) > 0).all()


def test_a_part_of_the_book_changes_at_each_decision():
    book = random_weights(synthetic_universe(60, 400, messy=False), 0.1) > 0
    kept = (book[1:] & book[:-1]).sum(axis=1) / book[1:].sum(axis=1)
    assert 0.4 < kept.min() and kept.max() < 1.0


def test_random_weights_of_a_panel_pick_names_that_have_a_price(messy):
    weights = random_weights(messy, 0.1)
    assert not (weights[np.isnan(messy.close)] > 0).any()
    asset = int(np.argmax(messy.delisted_at))
    bar = messy.delisted_at[asset]
    assert np.isnan(weights[bar:, asset]).all() and not np.isnan(weights[:bar, asset]).any()
