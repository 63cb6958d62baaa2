# SPDX-License-Identifier: Apache-2.0
"""Where metrics begin: the first decision with a target, in runs, sweeps, streams and strategies alike."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gpu_bt as bt
from gpu_bt.metrics import equity_metrics
from gpu_bt.statistics import deflated_sharpe_ratio
from gpu_bt.sweeps.chunks import made

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")  # most books here are never read
T, N, LATE = 160, 3, 100
DAYS = np.busday_offset("2020-01-01", np.arange(T))
NAN = math.nan


def market() -> bt.Panel:
    close = 50 + np.random.default_rng(7).integers(-8, 9, (T, N)).cumsum(axis=0) / 16
    return bt.Panel(close=close, open=close, timestamps=DAYS, assets=["A", "B", "C"])


def late(before: float, lag: int = 0) -> np.ndarray:
    weights = np.full((T, N), before)
    weights[LATE - lag :] = 0.3
    return weights


@pytest.mark.parametrize("before", [NAN, 0.0])
@pytest.mark.parametrize("execution", ["next_open", "same_close"])
@pytest.mark.parametrize("lag", [0, 2])
def test_a_warm_up_is_no_part_of_the_metrics(engine: str, before: float, execution: str, lag: int):
    config = bt.Config(execution=execution, signal_lag=lag, commission_rate=1e-3)
    result = bt.run(market(), late(before, lag), config, engine=engine)
    assert result.start == DAYS[LATE].astype("datetime64[us]").item()
    money = result.raw.money[:, :, LATE:]
    want = equity_metrics(money, 1e6, 252.0)
    for name, values in want.items():
        assert result.metrics[name] == pytest.approx(values[0].item(), rel=1e-12), name
    assert result.metrics["bars"] == T - LATE and len(result.returns()) == T - LATE
    assert math.prod(1 + result.returns()) == pytest.approx(1 + result.metrics["total_return"], rel=1e-12)
    text = f"metrics        2020-05-20 to 2020-08-11, {T - LATE} bars, from the first decision with a target on\n"
    assert text in str(result) and f"{T} of {T} bars\n" in str(result)


def test_the_first_book_counts_from_the_bar_that_decides():
    """Monthly: the book of 20 May is read on 29 May. A row of zeros while nothing is held asks for nothing."""
    weights = late(NAN)
    assert str(bt.run(market(), weights, bt.Config(rebalance="month"), engine="numpy").start)[:10] == "2020-05-29"
    weights[np.flatnonzero(DAYS == np.datetime64("2020-05-29"))] = 0.0
    assert str(bt.run(market(), weights, bt.Config(rebalance="month"), engine="numpy").start)[:10] == "2020-06-30"
    weights[0, 1] = 1.0
    assert str(bt.run(market(), weights, bt.Config(), engine="numpy").start)[:10] == "2020-01-01"


def test_a_run_without_a_target_is_measured_whole():
    config = bt.Config(cash_rate=0.05)
    result = bt.run(market(), np.zeros((T, N)), config, engine="numpy")
    assert result.metrics["bars"] == T and result.metrics["total_return"] > 0
    assert f"{T} bars, all, as no decision has a target\n" in str(result)


@pytest.mark.parametrize("cash", [1e3, 1e6, 7e9])
def test_a_fixed_yield_has_no_sharpe_ratio_though_its_first_bar_earns_nothing(engine: str, cash: float):
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-06-01"))
    panel = bt.Panel(np.full((len(days), 1), 10.0), timestamps=days, assets=["A"])
    config = bt.Config(initial_cash=cash, cash_rate=0.04, execution="same_close")
    result = bt.run(panel, np.zeros(panel.shape), config, engine=engine)
    r = result.returns()
    assert r.iloc[0] == 0 and np.ptp(r.iloc[1:]) > 0
    assert result.metrics["volatility"] == 0.0 and math.isnan(result.metrics["sharpe"])
    assert bt.run(panel, np.zeros(panel.shape), config, engine=engine, start="2020-01-05").metrics["volatility"] == 0.0
    rows = np.stack([r, np.sin(np.arange(len(days))) / 100])
    assert deflated_sharpe_ratio(rows, scenario=0).sharpe == 0.0


def test_start_says_otherwise(engine: str):
    panel, weights = market(), late(0.0)
    whole = bt.run(panel, weights, bt.Config(), engine=engine, start="2020")
    assert whole.metrics["bars"] == T and "bars, from start= on\n" in str(whole)
    assert whole.metrics["sharpe"] == bt.run(panel, weights, engine=engine).metrics_since("2019")["sharpe"]
    half = bt.run(panel, weights, bt.Config(), engine=engine, start=np.datetime64("2020-07-01"))
    bars = int((DAYS >= np.datetime64("2020-07-01")).sum())
    assert half.metrics["bars"] == bars == len(half.returns())
    before = half.equity["equity"][T - bars - 1]
    assert half.metrics["total_return"] == half.metrics["final_equity"] / before - 1
    assert f"from {before:,.2f}\n" in str(half)
    for start, text in (("2021", "no bar lies at or after it"), (5, "is no time")):
        with pytest.raises(bt.PanelError, match=text):
            bt.run(panel, weights, start=start)
        with pytest.raises(bt.PanelError, match=text):
            bt.sweep(panel, weights, None, {"band": [0.0]}, start=start)


@pytest.mark.parametrize("metrics", ["all", "equity"])
@pytest.mark.parametrize("start", [None, "2020-03"])
def test_a_sweep_measures_each_scenario_as_run_does(engine: str, metrics: str, start: str | None):
    panel = market()
    books = {"late": late(NAN), "zeros": late(0.0), "all": np.full((T, N), 0.3), "none": np.full((T, N), 0.0)}
    grid = {"rebalance": ["bar", "month"], "signal_lag": [0, 3], "initial_cash": [1e5, 1e6]}
    found = bt.sweep(panel, books, bt.Config(), grid, engine=engine, metrics=metrics, equity=True, start=start)
    r = found.returns()
    for row in found.table.iter_rows(named=True):
        config = bt.Config(**{name: row[name] for name in grid})
        want = bt.run(panel, books[row["weights"]], config, engine=engine, start=start)
        assert row["start"] == want.start and row["bars"] == want.metrics["bars"]
        assert repr(row["sharpe"]) == repr(want.metrics["sharpe"])
        mine = r[row["scenario"]]
        assert mine[~np.isnan(mine)].tolist() == want.returns().tolist()
    assert len(set(found.table["start"])) == (1 if start else 6)  # of bars and months, now and lagged, and of none


@pytest.mark.parametrize("bars", [1, 7, 99, 100, 101, 500])
def test_a_stream_measures_as_a_panel_does(tmp_path: Path, bars: int):
    panel, rows = market(), []
    for t in range(T):
        rows += [(DAYS[t].item(), a, panel.close[t, i], panel.close[t, i]) for i, a in enumerate(panel.assets)]
    pl.DataFrame(rows, ["timestamp", "asset", "open", "close"], orient="row").write_parquet(tmp_path / "p.parquet")
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=bars)
    for weights in (late(NAN), late(0.0), np.zeros((T, N))):
        got, want = bt.run(stream, weights, engine="numpy"), bt.run(panel, weights, engine="numpy")
        assert got.start == want.start and repr(got.metrics) == repr(want.metrics)


class Late(bt.Strategy):
    """Nothing, then zeros, then a book."""

    def on_data_batch(self, timestamp, batch):
        if batch.bar >= 30:
            self.order_target_percent("A", 0.5 if batch.bar >= LATE else 0.0)


def test_a_strategy_begins_with_its_first_order(engine: str):
    for execution in ("next_open", "same_close"):
        result = bt.run(market(), Late(), bt.Config(execution=execution), engine=engine)
        assert result.start == DAYS[LATE].astype("datetime64[us]").item()
    row = bt.sweep(market(), Late, None, {"band": [0.0]}, engine=engine).table.row(0, named=True)
    assert row["bars"] == T - LATE


class Row(bt.Strategy):
    """The book of a row at each bar, or so many shares of each asset."""

    book, shares = np.array([0.5]), None

    def on_data_batch(self, timestamp, batch):
        if self.shares is None:
            self.order_target_percent(self.book if self.book.ndim == 1 else self.book[batch.bar])
        else:
            self.order(range(N), self.shares)


@pytest.mark.parametrize("outside", ["close", "hold"])
def test_what_may_not_be_held_is_no_target(engine: str, outside: str, tmp_path: Path):
    """A alone is wanted: outside the universe until bar 100. B leaves the exchange at bar 0."""
    inside = np.ones((T, N), bool)
    inside[:LATE, 0] = False
    close = market().close
    panel = bt.Panel(close, timestamps=DAYS, assets=["A", "B", "C"], universe=inside, delisted_at=[-1, 0, -1])
    config, first = bt.Config(execution="same_close", outside=outside), DAYS[LATE].astype("datetime64[us]").item()
    book = np.array([0.5, 0.25, 0.0])
    asks = made(Row, {"book": book}), made(Row, {"shares": np.array([10.0, 10.0, 0.0])})
    for weights in (np.tile(book, (T, 1)), *asks):
        assert bt.run(panel, weights, config, engine=engine).start == first
    lagged = bt.run(panel, np.tile(book, (T, 1)), config.replace(signal_lag=2), engine=engine)
    assert lagged.start == first
    rows = [(DAYS[t].item(), a, close[t, i], bool(inside[t, i])) for t in range(T) for i, a in enumerate(panel.assets)]
    table = pl.DataFrame(rows, ["timestamp", "asset", "close", "universe"], orient="row")
    table.write_parquet(tmp_path / "p.parquet")
    for bars in (7, LATE, T):
        stream = bt.scan_panel(tmp_path / "p.parquet", bars=bars)
        assert bt.run(stream, np.tile(book * [1, 0, 0], (T, 1)), config, engine="numpy").start == first


def test_a_target_within_the_band_is_a_target(engine: str):
    book = np.full((T, N), 0.01)
    book[2:] = 0.3
    config = bt.Config(execution="same_close", band=0.02)
    for weights in (book, made(Row, {"book": book})):
        assert bt.run(market(), weights, config, engine=engine).start == DAYS[0].astype("datetime64[us]").item()


def test_a_run_that_goes_on_counts_its_first_bar(tmp_path: Path):
    panel = market()
    early, later = panel[:"2020-06"], panel["2020-07":]
    weights = late(NAN)
    for upto, first in ((early, "2020-07-01"), (panel[:"2020-04"], "2020-05-20")):
        t = upto.shape[0]
        bt.run(upto, weights[:t], engine="numpy").checkpoint(tmp_path / "state.npz")
        rest = later if upto is early else panel["2020-05":]
        held = np.full(rest.shape, NAN) if upto is early else weights[t:]
        result = bt.run(rest, held, engine="numpy", resume=tmp_path / "state.npz")
        assert str(result.start)[:10] == first
