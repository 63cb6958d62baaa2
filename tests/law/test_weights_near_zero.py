# SPDX-License-Identifier: Apache-2.0
"""[S6] In a cash account a weight that is a solver's rounding below 0 is 0, wherever weights come from; in a margin
account it is what it says."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from kit import ask, book, panel

import gpu_bt as bt
from gpu_bt.data.streams import scan_panel

FRACTIONAL = dict(initial_cash=1024.0, execution="same_close", cash_buffer=0.0, lot=0.0)


def run(market, weights, account="cash", engine="auto", **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        config = bt.Config(**{**FRACTIONAL, "account": account, **settings})
        return bt.run(market, weights, config, engine=engine, record=("fills", "positions"))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dust_below_zero_is_zero_and_counted(engine, dtype):
    weights = np.array([[0.5, 0.25, -1e-17], [0.5, -5e-10, -1e-9]], dtype)
    result = run(panel([[16, 16, 16]] * 2), weights, engine=engine)
    assert book(result) == [[32.0, 16.0, 0.0], [32.0, 0.0, 0.0]]
    assert result.notes == {"negative_weights_taken_for_0": 3} and len(result.fills) == 3
    assert weights[0, 2] < 0  # the user's array is as it was


def test_what_is_further_below_is_refused():
    with pytest.raises(bt.WeightsError, match=r"weights\[2020-01-01, 'A1'\] is -1.1e-09: a cash account is long-only"):
        run(panel([[16, 16, 16]]), [[-1e-12, -1.1e-9, 0.5]])


def test_a_margin_account_keeps_the_sign():
    result = run(panel([[16, 16]]), np.array([[0.5, -1e-10]]), "margin")
    assert result.positions[0, 1] < 0.0 and result.notes == {}


def test_accounts_of_a_sweep_share_a_book_without_sharing_its_zeros():
    market, weights = panel([[16, 16]] * 2), np.array([[0.5, -1e-10], [0.25, -1e-10]])
    grid = {"account": ["cash", "margin"], "commission_rate": [0.0, 0.01]}
    for books in (weights, {"plain": np.abs(weights), "dust": weights}):
        found = bt.sweep(market, books, bt.Config(**FRACTIONAL), grid, equity=True)
        for k, row in enumerate(found.table.rows(named=True)):
            chosen = books[row["weights"]] if isinstance(books, dict) else books
            alone = run(market, chosen, row["account"], commission_rate=row["commission_rate"])
            assert found.equity[k].tobytes() == alone.raw.money[0, 0].tobytes()


def test_a_stream_counts_them_over_its_windows(tmp_path):
    stamps = np.datetime64("2020-01-01", "us") + np.arange(6) * np.timedelta64(1, "D")
    table = pl.DataFrame({"timestamp": stamps, "A0": [16.0] * 6, "A1": [16.0] * 6})
    table = table.unpivot(index="timestamp", variable_name="asset", value_name="close").sort("timestamp")
    table.write_parquet(tmp_path / "prices.parquet")
    weights = np.array([[0.5, -1e-12]] * 6)
    stream = scan_panel(tmp_path / "prices.parquet", bars=2)
    result = bt.run(stream, weights, bt.Config(**FRACTIONAL))
    assert result.notes["negative_weights_taken_for_0"] == 6
    found = bt.sweep(stream, weights, bt.Config(**FRACTIONAL), {"account": ["cash", "margin"]}, equity=True)
    for k, account in enumerate(("cash", "margin")):
        whole = run(bt.read_panel(tmp_path / "prices.parquet"), weights, account)
        assert found.equity[k].tobytes() == whole.raw.money[0, 0].tobytes()


def test_a_strategys_targets_likewise(engine):
    def step(strategy, batch):
        strategy.order_target_percent(["A0", "A1"], [0.5, -1e-17])

    assert book(ask(engine, panel([[16, 16]]), step)) == [[32.0, 0.0]]
    with pytest.raises(bt.StrategyError, match="a cash account is long-only"):
        ask(engine, panel([[16, 16]]), lambda s, b: s.order_target_percent("A0", -1e-8))
