# SPDX-License-Identifier: Apache-2.0
"""The oracle's limit and stop orders ([S4l]) and direct orders ([S8]) against hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from draw_orders import callback_scenario
from extent import seeds
from oracle import OraclePanel, simulate
from oracle_limits import Orders

from gpu_bt.config import Config
from gpu_bt.law.layout import MONEY

NAN = math.nan
DAY = 86_400_000_000


def run(path, size, limit=NAN, stop=NAN, split=None, **settings):
    """Fills (bar, shares, price) of an order at bar 0, whose bar stands at 16; path: (open, high, low, close) after."""
    rows = np.array([(16, 16, 16, 16), *path], float)
    opened, high, low, close = (rows[:, i : i + 1] for i in range(4))
    none = np.full(close.shape, NAN)
    first = [none.copy() for _ in range(3)]
    for array, value in zip(first, (size, limit, stop), strict=True):
        array[0] = value
    panel = OraclePanel(np.arange(len(rows)) * DAY, close, ["A"], open=opened, high=high, low=low,
                        split=None if split is None else np.array(split, float)[:, None])  # fmt: skip
    base = dict(initial_cash=1024.0, cash_buffer=0.0, account="margin", max_leverage=None, maintenance_margin=None)
    out = simulate(panel, none, Config(**(base | settings)), Orders(first[0], none, first[1], first[2]))
    return [(f[0], f[2], f[3]) for f in out.fills]


@pytest.mark.parametrize("execution", ["next_open", "next_close", "same_close"])
@pytest.mark.parametrize(
    ("size", "limit", "stop", "path", "wanted"),
    [
        (8, 14, NAN, [(16, 17, 13, 16)], [(1, 8.0, 14.0)]),
        (8, 14, NAN, [(12, 17, 11, 16)], [(1, 8.0, 12.0)]),
        (8, 14, NAN, [(16, 17, 15, 16)], []),
        (-8, 18, NAN, [(16, 18, 15, 16)], [(1, -8.0, 18.0)]),
        (8, NAN, 18, [(16, 18, 15, 16)], [(1, 8.0, 18.0)]),
        (8, NAN, 18, [(20, 21, 19, 20)], [(1, 8.0, 20.0)]),
        (-8, NAN, 14, [(12, 13, 11, 12)], [(1, -8.0, 12.0)]),
        (-8, NAN, 14, [(16, 16, 15, 16)], []),
        # The open triggers: a limit in that bar. Later in the bar: a limit from the next one.
        (8, 19, 18, [(20, 21, 18, 20)], [(1, 8.0, 19.0)]),
        (8, 19, 18, [(16, 20, 16, 17), (20, 20, 18, 19)], [(2, 8.0, 19.0)]),
        # Without a path nothing happens, and the next bar is taken.
        (8, 14, NAN, [(12, NAN, 11, 12), (13, 13, 13, 13)], [(2, 8.0, 13.0)]),
    ],
)
def test_limits_and_stops(execution, size, limit, stop, path, wanted):
    assert run(path, size, limit, stop, execution=execution) == wanted


def test_a_limit_fill_is_free_of_slippage_and_a_stop_is_not():
    assert run([(16, 18, 14, 16)], 8, limit=14, slippage=0.125) == [(1, 8.0, 14.0)]
    assert run([(16, 18, 14, 16)], 8, stop=18, slippage=0.125) == [(1, 8.0, 20.25)]


def test_splits_divide_the_prices():
    assert run([(8, 9, 7, 8), (8, 8, 6, 8)], 8, limit=12, split=[1, 2, 1]) == [(2, 16.0, 6.0)]
    assert run([(8, 9, 7, 8), (8, 10, 8, 8)], 8, stop=20, split=[1, 2, 1]) == [(2, 16.0, 10.0)]


def test_a_direct_order_is_rounded_and_replaces():
    assert run([(16, 16, 16, 16)], 8.7) == [(1, 8.0, 16.0)]
    assert run([(16, 16, 16, 16)], 8.7, rounding="nearest") == [(1, 9.0, 16.0)]
    assert run([(16, 16, 16, 16)], math.inf) == []


def test_money_moves_as_the_columns_say():
    """cash = previous cash + financing + dividends + settlements + sells - buys - commission - slippage, exactly."""
    for seed in seeds(range(200)):
        panel, weights, config, orders = callback_scenario(seed)
        money = simulate(panel, weights, config, orders).money
        cash = money["cash"]
        for t in range(1, len(cash)):
            flow = {name: money[name][t] for name in MONEY}
            if not math.isnan(cash[t]):
                gains = flow["financing"] + flow["dividends"] + flow["settlements"] + flow["sells"]
                assert cash[t] == cash[t - 1] + gains - flow["buys"] - flow["commission"] - flow["slippage"]


def test_later_data_and_later_orders_change_nothing_before():
    for seed in seeds(range(60)):
        panel, weights, config, orders = callback_scenario(seed)
        cut = panel.shape[0] // 2
        whole = simulate(panel, weights, config, orders).money["equity"][: cut + 1]
        for name in ("close", "open", "high", "low", "vwap"):
            field = getattr(panel, name)
            if field is not None:
                changed = field.copy()
                changed[cut + 1 :] = changed[cut + 1 :] * 1.5
                setattr(panel, name, changed)
        for array in (weights, orders.lots, orders.limit, orders.stop):
            array[cut + 1 :] = array[cut + 1 :][::-1]
        assert np.array_equal(
            simulate(panel, weights, config, orders).money["equity"][: cut + 1], whole, equal_nan=True
        )
