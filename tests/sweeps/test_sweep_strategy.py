# SPDX-License-Identifier: Apache-2.0
"""A sweep over a real Strategy gives the bits of run with its parameters set."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from compare import assert_bits
from sweep_cases import assert_same_sweep, universe

import gpu_bt as bt

if not hasattr(bt, "Strategy"):
    pytest.skip("this version has no callback strategies", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
GRID = {"lookback": [2, 6], "names": [1, 3], "slippage": [0.0, 1e-3], "rebalance_every": [1, 4]}


class Momentum(bt.Strategy):
    names = 2

    def initialize(self) -> None:
        self.lookback = 5

    def on_data_batch(self, timestamp, batch) -> None:
        if batch.bar >= self.lookback:
            past = batch.history("close", self.lookback)
            top = batch.top(past[-1] / past[0] - 1, self.names)
            self.order_target_percent(top, 0.9 / self.names)
            self.close_others(top)


def test_a_strategy_in_a_sweep_is_the_strategy_by_itself(tmp_path: Path):
    panel = universe()
    found = bt.sweep(panel, Momentum, bt.Config(), GRID, equity=True, out=tmp_path, chunk_size=5)
    assert len(found) == 16 and found.table["turnover"].min() > 0
    for k, row in enumerate(found.table.iter_rows(named=True)):

        class One(Momentum):
            names = row["names"]

            def initialize(self, row=row) -> None:
                self.lookback = row["lookback"]

        config = bt.Config(slippage=row["slippage"], rebalance_every=row["rebalance_every"])
        want = bt.run(panel, One(), config)
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])
        assert row["sharpe"] == want.metrics["sharpe"] and row["turnover"] == want.metrics["turnover"]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert_same_sweep(bt.sweep(panel, Momentum, bt.Config(), GRID, equity=True, executor=pool, chunk_size=4), found)
    assert bt.sweep(panel, Momentum, bt.Config(), GRID, equity=True, out=tmp_path).run == 0


def test_wrong_parameters_are_refused():
    with pytest.raises(bt.ConfigError, match="did you mean 'lookback'"):
        bt.sweep(universe(), Momentum, bt.Config(), {"lokback": [1]})
    with pytest.raises(bt.ConfigError, match="'portfolio' is no field of Config nor a parameter"):
        bt.sweep(universe(), Momentum, bt.Config(), {"portfolio": [1]})
