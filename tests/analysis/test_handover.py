# SPDX-License-Identifier: Apache-2.0
"""What quantstats and pyfolio say of a result, themselves: their numbers are ours, their tear sheets are drawn."""

from __future__ import annotations

import sys
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest

import gpu_bt as bt
from gpu_bt.data.synthetic import momentum_weights, synthetic_universe

with warnings.catch_warnings(action="ignore"), matplotlib.rc_context():  # they change how pictures look
    import pyfolio
    import quantstats

#: Name -> how quantstats calls it, and pyfolio.
THEIRS = {
    "annual_return": ("cagr", "Annual return"),
    "volatility": ("volatility", "Annual volatility"),
    "sharpe": ("sharpe", "Sharpe ratio"),
    "sortino": ("sortino", "Sortino ratio"),
    "max_drawdown": ("max_drawdown", "Max drawdown"),
}
ZONES = [(None, 0), ("America/New_York", 16), ("Asia/Tokyo", 0), ("Australia/Sydney", 10)]
CONFIG = bt.Config(account="margin", commission_rate=1e-3, bars_per_year=252)


def result_of(zone: str | None, hour: int, bars: int = 500, **options) -> bt.Result:
    """A long-short run on daily bars at an hour of a zone."""
    made = synthetic_universe(bars, 30, seed=1)
    days = pd.DatetimeIndex(made.timestamps + np.timedelta64(hour, "h")).tz_localize(zone)
    fields = {name: getattr(made, name) for name in ("open", "volume", "dividend", "split")}
    panel = bt.Panel(made.close, **fields, timestamps=days, assets=made.assets, prices="raw")
    weights = momentum_weights(made, every=1) - 0.5 * momentum_weights(made, lookback=20, every=1)
    return bt.run(panel, weights, CONFIG, **options)


@pytest.mark.parametrize(("zone", "hour"), ZONES)
def test_their_numbers_are_ours(zone, hour):
    result = result_of(zone, hour)
    parts = result.pyfolio()
    with warnings.catch_warnings(action="ignore"):
        told = pyfolio.timeseries.perf_stats(**parts)
        turnover = pyfolio.txn.get_turnover(parts["positions"], parts["transactions"], "portfolio_value")
        daily = result.returns().tz_localize(None)
        for name, (function, label) in THEIRS.items():
            expected = pytest.approx(result.metrics[name], rel=1e-9)
            assert getattr(quantstats.stats, function)(daily) == expected, name
            assert told[label] == expected, name
        table = quantstats.reports.metrics(daily, display=False)
    assert table.loc["Start Period", "Strategy"] == str(result.start)[:10]
    equity = result.equity.filter(result.timestamps >= result.start)
    both = ((equity["buys"] + equity["sells"]) / equity["equity"]).to_numpy()
    assert turnover.to_numpy() == pytest.approx(both, rel=1e-6) and np.count_nonzero(both) > 400


@pytest.mark.parametrize(("zone", "hour"), ZONES)
def test_the_parts_are_the_books_by_day(zone, hour):
    result = result_of(zone, hour)
    parts = result.pyfolio()
    positions, trades = parts["positions"], parts["transactions"]
    assert positions.index.equals(parts["returns"].index) and str(positions.index.tz) == (zone or "UTC")
    assert positions.index.equals(positions.index.normalize())
    assert positions.index.tz_localize(None).equals(result.returns().index.tz_localize(None).normalize())
    assert parts["returns"].to_numpy().tobytes() == result.returns().to_numpy().tobytes()
    equity = result.equity.filter(result.timestamps >= result.start)
    assert positions.sum(axis=1).to_numpy() == pytest.approx(equity["equity"].to_numpy(), rel=1e-12)
    assert positions["cash"].to_numpy().tobytes() == equity["cash"].to_numpy().tobytes()
    assert list(positions.columns) == [*result.assets, "cash"]
    fills = result.fills
    assert trades["symbol"].to_list() == fills["asset"].to_list()
    for name, ours in {"amount": "shares", "price": "price", "commission": "commission"}.items():
        assert trades[name].to_list() == fills[ours].to_list()
    assert set(trades.index.normalize()) <= set(positions.index)


@pytest.mark.parametrize(
    "sheet",
    [
        "create_position_tear_sheet",
        "create_txn_tear_sheet",
        pytest.param("create_full_tear_sheet", marks=pytest.mark.exhaustive),
    ],
)
def test_tear_sheets_are_drawn(sheet, monkeypatch, capsys):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    monkeypatch.setattr(pyplot, "show", lambda: None)
    with warnings.catch_warnings(action="ignore"):
        getattr(pyfolio, sheet)(**result_of("America/New_York", 16).pyfolio())
    assert all(axis.lines or axis.patches or axis.collections for axis in pyplot.gcf().axes)
    assert pyplot.gcf().axes
    pyplot.close("all")


def test_bars_within_a_day_become_days():
    made = synthetic_universe(400, 10, seed=2, messy=False)
    hours = np.datetime64("2024-01-02T10", "us") + np.arange(400) // 4 * np.timedelta64(1, "D")
    stamps = pd.DatetimeIndex(hours + np.arange(400) % 4 * np.timedelta64(2, "h")).tz_localize("Asia/Tokyo")
    panel = bt.Panel(made.close, open=made.open, timestamps=stamps, assets=made.assets)
    result = bt.run(panel, np.full((400, 10), 0.1), CONFIG)
    parts = result.pyfolio()
    assert len(parts["returns"]) == 100 == len(parts["positions"])
    assert (1 + parts["returns"]).prod() - 1 == pytest.approx(result.metrics["total_return"])
    assert parts["positions"].sum(axis=1).to_numpy() == pytest.approx(result.equity["equity"].to_numpy()[3::4])
    assert set(parts["transactions"].index.hour) == {10, 12, 14, 16}


def test_an_ended_run_ends():
    close = np.array([[10.0], [10.0], [10.0], [100.0], [100.0], [100.0]])
    panel = bt.Panel(close, open=close, timestamps=np.arange(6).astype("datetime64[D]"), assets=["A"])
    with warnings.catch_warnings(action="ignore"):
        result = bt.run(panel, np.full((6, 1), -1.0), bt.Config(account="margin"))
    assert "BANKRUPT" in result.statuses
    parts = result.pyfolio()
    assert len(parts["returns"]) == len(result.returns()) == len(parts["positions"]) < 6


def test_a_later_start_and_files_give_their_bars(tmp_path):
    result = result_of(None, 0, start="2016-06", record=["fills", "positions"])
    parts = result.pyfolio()
    begun = pd.Timestamp(result.start, tz="UTC")
    assert begun == pd.Timestamp("2016-06-01", tz="UTC") == parts["returns"].index[0]
    assert parts["transactions"].index[0] >= begun and len(parts["transactions"]) < len(result.fills)
    result.write(tmp_path)
    for name, table in bt.read_result(tmp_path).pyfolio().items():
        assert table.equals(parts[name]), name


def test_an_asset_named_cash_is_refused():
    close = np.full((4, 1), 10.0)
    panel = bt.Panel(close, open=close, timestamps=np.arange(4).astype("datetime64[D]"), assets=["cash"])
    with pytest.raises(bt.ResultError, match="one of which has this name: rename the asset"):
        bt.run(panel, np.ones((4, 1)), bt.Config()).pyfolio()


def test_without_pandas_one_line_says_so(monkeypatch):
    result = result_of(None, 0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(bt.ResultError, match="pip install pandas"):
        result.pyfolio()
