# SPDX-License-Identifier: Apache-2.0
"""What a user writes, with all types: strict checkers find nothing in it but the lines that say `# wrong`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

import cpu_fallback as on_cpu
import gpu_bt as bt
from gpu_bt.metrics import equity_metrics
from gpu_bt.statistics import deflated_sharpe_ratio, probability_of_overfitting
from gpu_bt.synthetic import momentum_weights, synthetic_universe
from gpu_bt.typing import EngineName, Values


class Momentum(bt.Strategy):
    lookback, hold = 60, 25

    def initialize(self) -> None:
        self.exits = bt.Exits(stop_loss=0.1)

    def on_data_batch(self, timestamp: dt.datetime, batch: bt.Batch) -> None:
        past = batch.history("close", self.lookback, adjusted=True)
        top = batch.top(past[-1] / past[0], self.hold)
        self.order_target_percent(top, 1 / self.hold)
        self.order_target_percent(np.where(batch.present, 1 / len(batch.assets), np.nan))
        self.order_target_percent({"A": 0.5, "B": 0.5})
        self.order_target_shares(["A", "B"], [10, 20])
        self.order_target_value(batch.universe, 1e3)
        if self.portfolio.cash > 0 and batch.volume.sum() > 10:
            self.order("A", 10, limit=batch.close[0] * 0.99)
        self.close_others(top)
        self.cancel()
        batch.closes.sum()  # wrong
        batch.history("closes", 5)  # wrong
        self.order_target_percent(3.5)  # wrong

    def risk(self, orders: bt.Orders, portfolio: bt.Portfolio, batch: bt.Batch) -> bt.Orders:
        orders.weights[np.abs(orders.after) > 0.1] = 0.1
        orders.drop("A")
        assert_type(portfolio.equity, float)
        return orders


def panels(close: NDArray[np.float64], frame: pd.DataFrame, table: pl.DataFrame, days: list[dt.date]) -> bt.Panel:
    panel = bt.Panel(close, open=close, timestamps=days, assets=["A", "B"], lot={"A": 10.0}, universe=close > 0)
    bt.Panel(frame, open=frame, group={"A": "x"}, prices="raw", dividend=frame, next_timestamp="2024-01-02")
    bt.Panel(table, time_zone="UTC", timestamps=frame.index, assets=frame.columns)
    assert_type(bt.read_panel("prices.parquet", adjust="scale", fields={"close": "nav"}), bt.Panel)
    assert_type(bt.read_panel({"close": frame, "open": table}, dtype="float32"), bt.Panel)
    assert_type(bt.read_weights(Path("weights.csv"), panel, align="next"), bt.Weights)
    assert_type(panel["2019":"2021"], bt.Panel)
    assert_type(panel[:, ["A"]], bt.Panel)
    assert_type(panel.shape, tuple[int, int])
    print(panel.close.mean() + (0 if panel.dividend is None else panel.dividend.sum()))
    panel.dividend.sum()  # wrong
    panel.dividends.sum()  # wrong
    bt.Panel(close, dividends=close)  # wrong
    bt.Panel(close, prices="unadjusted")  # wrong
    return panel


def runs(panel: bt.Panel, frame: pd.DataFrame, table: pl.DataFrame, engine: EngineName) -> float:
    config = bt.Config(initial_cash=1e7, commission_rate=5e-4, rebalance="month", max_weight=None)
    bt.Config(rebalance="monthly")  # wrong
    bt.Config(comission_rate=5e-4)  # wrong
    assert_type(config.replace(account="margin"), bt.Config)
    result = bt.run(panel, frame, config, engine=engine, record=("fills", "positions"), start=dt.date(2020, 1, 1))
    assert_type(result.weights["2020"].to_polars(), pl.DataFrame)
    assert_type(result, bt.Result)
    books: list[Values] = [frame, table, table.lazy(), "weights.parquet", [[0.5, 0.5]] * 100, np.zeros((100, 2))]
    for book in books:
        bt.run(panel, book, progress=lambda done, of: print(done / of))
    bt.run(panel, {"A": 0.6, "B": 1}, holdings=result.final_positions, resume=Path("state.npz"))
    bt.run(panel, frame["A"], holdings={"A": 100}, record=())
    bt.run(panel, Momentum())
    on_cpu.run(panel, bt.Scores(frame, long=40, short=0.1, scheme="rank", groups="panel"), config)
    bt.run(panel, frame, engine="gpu")  # wrong
    bt.run(panel, 0.5)  # wrong
    bt.run(frame, frame)  # wrong
    stream = bt.scan_panel("prices/*.parquet", bars=500)
    bt.run(stream, bt.read_weights("weights.parquet", stream))
    assert_type(result.equity, pl.DataFrame)
    assert_type(result.fills, pl.DataFrame)
    assert_type(result.plot("report.png"), Path)
    _: Figure = result.plot()
    assert_type(result.metrics["bars"], int)
    assert_type(result.metrics_since("2022")["status"], str)
    for name in ("sharpe", "calmar"):
        print(name, f"{result.metrics[name]:.2f}", result.returns().std())
    bt.check_lookahead(Momentum, panel, config)
    bt.check_lookahead(lambda seen: Momentum(), panel)
    return result.metrics["sharpe"]


def grids(panel: bt.Panel, frame: pd.DataFrame, close: NDArray[np.float64]) -> None:
    scores = bt.books.zscore(bt.books.delay(frame, 5), groups="panel", universe=panel)
    assert_type(scores, pd.DataFrame)
    assert_type(bt.books.rank(close), NDArray[np.float64])
    print(bt.books.top(panel.close, 10, universe=panel).sum(), bt.factor(panel, scores).summary().height)
    axes = {"long": [20, 40], "keep": [1.0, 1.5], "scheme": ["equal", "rank"]}
    grid = bt.sweep(panel, bt.Scores(scores), None, axes, equity=True)
    assert_type(grid, bt.SweepResult)
    assert_type(grid.best("sharpe", 5), pl.DataFrame)
    assert_type(grid.pivot("long", "keep", "sharpe", scheme="rank"), pl.DataFrame)
    assert_type(grid.plot("grid.png"), Path)
    print(bt.sweep(panel, {"one": frame, "two": close}, grid=[{"band": 0.1}], dry_run=True).pass_size)
    bt.sweep(panel, Momentum, bt.Config(), {"lookback": [20, 60]}, metrics="equity")

    def made(lookback: int) -> NDArray[np.float64]:
        return momentum_weights(synthetic_universe(10, 10)) * lookback

    bt.sweep(panel, made, bt.Config(), {"lookback": [20, 60]}, max_memory=10**9)
    bt.sweep(panel, frame, metrics="some")  # wrong
    assert_type(deflated_sharpe_ratio(grid.returns()).probability, float)
    print(probability_of_overfitting(grid.returns(), rounding=grid.rounding), equity_metrics(close, 1.0, 252.0))


def files() -> bt.Config:
    try:
        return bt.read_config("config.toml")
    except bt.BacktestError as error:
        raise SystemExit(str(error)) from None
