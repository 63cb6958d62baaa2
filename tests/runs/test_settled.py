# SPDX-License-Identifier: Apache-2.0
"""A holding that was settled because its asset was silent, and whose asset trades again: the run says so, once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from draw import scenario, to_public

import gpu_bt as bt

NAN = float("nan")
SETTINGS = dict(initial_cash=1000.0, execution="same_close", cash_buffer=0.0, lot=0)


def told(call: Any) -> tuple[bt.Result, list[str]]:
    """A result and the warnings about settlements."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if "trades again" in str(w.message)]


def market(*columns: list[float], **fields: Any) -> bt.Panel:
    close = np.array(columns, float).T
    stamps = np.datetime64("2024-01-01") + np.arange(len(close))
    return bt.Panel(close, timestamps=stamps, assets=[f"X{i}" for i in range(close.shape[1])], **fields)


def rows(panel: bt.Panel, *first: float) -> np.ndarray:
    out = np.full(panel.shape, NAN)
    out[0] = first
    return out


SILENT = [10.0, 12.0, NAN, NAN, NAN, 20.0]


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_a_run_names_the_asset_and_its_bars(engine):
    # X1 and X3 are silent from bar 2 on and settled at bar 3, after two dates; only X1 is held. X2 never comes back.
    panel = market([10.0] * 6, SILENT, [10.0, 10.0, NAN, NAN, NAN, NAN], SILENT)
    config = bt.Config(**SETTINGS, delist_after=2)
    result, texts = told(lambda: bt.run(panel, rows(panel, 0.25, 0.25, 0.25, NAN), config, engine=engine))
    assert texts == [
        "X1 was settled at 2024-01-04 and trades again at 2024-01-06 (1 such holdings): without a price on 2 dates in a"
        " row (delist_after); pass delist_after=0 to hold what is silent, or a larger number"
    ]
    assert result.notes["settled_then_traded"] == 1


@pytest.mark.parametrize(
    ("first", "fields", "settings"),
    [
        ((0.5, 0.0), {}, {}),  # not held
        ((0.5, 0.5), {}, {"delist_after": 0}), ((0.5, 0.5), {}, {"delist_after": 4}),
        ((0.5, 0.5), {"delisted_at": [-1, 3]}, {}), ((0.5, 0.5), {"delisted_at": [-1, 2]}, {}),  # said to be delisted
    ],
)  # fmt: skip
def test_no_word_where_nothing_was_lost(first, fields, settings):
    panel = market([10.0] * 6, SILENT, **fields)
    config = bt.Config(**{**SETTINGS, "delist_after": 2, **settings})
    result, texts = told(lambda: bt.run(panel, rows(panel, *first), config))
    assert texts == [] and "settled_then_traded" not in result.notes


def test_a_loss_of_all_and_a_short_position_are_settled_too():
    panel = market([10.0] * 6, SILENT, delisting_return=[0.0, -1.0])
    config = bt.Config(**SETTINGS, delist_after=2)
    assert len(told(lambda: bt.run(panel, rows(panel, 0.5, 0.5), config))[1]) == 1
    short = config.replace(account="margin")
    assert len(told(lambda: bt.run(market(SILENT), rows(market(SILENT), -0.5), short))[1]) == 1


class Buy(bt.Strategy):
    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        if batch.bar == 0:
            self.order_target_percent([1], 0.5)


@pytest.mark.parametrize("record", ["bars", "fills", "positions", ()])
def test_a_strategy_is_told_nothing_that_is_not_known(record):
    """X1 is settled, X0 and X2 are silent as long; without positions nobody knows which of them was held."""
    panel = market(SILENT, [10.0, 10.0, NAN, NAN, NAN, NAN], SILENT)
    result, texts = told(lambda: bt.run(panel, Buy(), bt.Config(**SETTINGS, delist_after=2), record=record))
    assert texts == [] and "settled_then_traded" not in result.notes


def test_a_sweep_counts_its_strategies_of_which_a_holding_was_settled():
    panel = market([10.0] * 6, SILENT)
    with pytest.warns(bt.BacktestWarning, match=r"^2 of 2 scenarios: settled then traded 2 \(the first is 0\); see"):
        found = bt.sweep(panel, Buy, bt.Config(**SETTINGS, delist_after=2), {"band": [0.0, 0.01]})
    assert found.table["advice"].to_list() == ["settled then traded"] * 2


def test_strategies_streams_and_resumed_runs_say_it_too(tmp_path):
    panel = market([10.0] * 6, SILENT, SILENT)
    config, targets = bt.Config(**SETTINGS, delist_after=2), rows(panel, 0.5, 0.5, NAN)
    _, expected = told(lambda: bt.run(panel, targets, config))
    assert told(lambda: bt.run(panel, Buy(), config))[1] == expected and len(expected) == 1
    stamps = pl.Series(panel.timestamps)
    table = pl.concat(
        pl.DataFrame({"timestamp": stamps, "asset": name, "close": close})
        for name, close in zip(panel.assets, panel.close.T, strict=True)
    )
    table.write_parquet(tmp_path / "p.parquet")
    for bars in (1, 2, 4, 6):
        stream = bt.scan_panel(tmp_path / "p.parquet", bars=bars)
        result, texts = told(lambda stream=stream: bt.run(stream, targets, config))
        assert texts == expected and result.notes["settled_then_traded"] == 1
    later = bt.Panel(panel.close[2:], timestamps=panel.timestamps[2:], assets=panel.assets)
    early = bt.Panel(panel.close[:2], timestamps=panel.timestamps[:2], assets=panel.assets)
    told(lambda: bt.run(early, targets[:2], config).checkpoint(tmp_path / "s.npz"))
    assert told(lambda: bt.run(later, targets[2:], config, resume=tmp_path / "s.npz"))[1] == expected


def test_drawn_scenarios_against_their_positions():
    """Positions before each settlement, and prices after it, one by one."""
    found = 0
    for seed in range(120):
        drawn, weights, config = scenario(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            panel = bt.Panel(**to_public(drawn, config))
        result, texts = told(lambda p=panel, w=weights, c=config: bt.run(p, w, c, engine="numpy"))
        traded = ~np.isnan(panel.close) if panel.open is None else ~np.isnan(panel.close) | ~np.isnan(panel.open)
        dates = panel.market.clock // 86_400_000_000
        count = 0
        for i in range(panel.shape[1]):
            last, ends = None, panel.delisted_at[i]
            for t in range(1, panel.shape[0]):
                last = dates[t - 1] if traded[t - 1, i] else last
                if (
                    last is None
                    or traded[t, i]
                    or dates[t] == dates[t - 1]
                    or not config.delist_after
                    or 0 <= ends <= t
                ):
                    continue
                silent = len({d for d in dates[: t + 1] if d > last}) == config.delist_after
                held = abs(result.positions[t - 1, i]) > 0 and result.positions[t, i] == 0
                count += bool(silent and held and traded[t + 1 :, i].any())
        assert result.notes.get("settled_then_traded", 0) == count and len(texts) == (count > 0), seed
        found += count
    assert found > 10
