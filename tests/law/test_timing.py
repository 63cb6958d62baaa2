# SPDX-License-Identifier: Apache-2.0
"""When an order is sized, when it fills, and what becomes of it in between ([S4], [S6], [S8])."""

from __future__ import annotations

import numpy as np
import pytest
from kit import NAN, book, column, fills, panel, run, shares

EXECUTIONS = [("next_open", 1, 8.0), ("next_close", 1, 32.0), ("next_vwap", 1, 4.0), ("same_close", 0, 16.0)]


@pytest.mark.parametrize(("execution", "bar", "price"), EXECUTIONS)
def test_an_execution_fills_at_its_own_price(engine, execution, bar, price):
    # Decided with close 16: 1024/4/16 = 16 shares, whatever they then cost.
    market = panel([16, 32, 32], open=[2, 8, 2], vwap=[1, 4, 1])
    result = run(engine, market, [0.25, NAN, NAN], execution=execution)
    assert fills(result) == [(bar, "A0", 16.0, price, price, 0.0, 0.0, "FILLED")]
    assert column(result, "cash") == [1024.0] * bar + [1024.0 - 16 * price] * (3 - bar)
    assert column(result, "working") == [int(bar == 1), 0, 0]


@pytest.mark.parametrize(
    ("execution", "fields"),
    [
        ("next_open", dict(close=[16, 16, 16, 16], open=[16, NAN, NAN, 8])),
        ("next_close", dict(close=[16, NAN, NAN, 8], open=[16, 16, 16, 16])),
        ("next_vwap", dict(close=[16, 16, 16, 16], vwap=[16, NAN, NAN, 8])),
    ],
)
def test_an_order_waits_for_the_next_price_of_its_kind(engine, execution, fields):
    result = run(engine, panel(**fields), [0.25, NAN, NAN, NAN], execution=execution)
    assert shares(result) == [0.0, 0.0, 0.0, 16.0] and column(result, "cash")[-1] == 1024.0 - 128
    assert column(result, "no_price") == [0, 1, 1, 0] and column(result, "working") == [1, 1, 1, 0]
    dropped = run(engine, panel(**fields), [0.25, NAN, NAN, NAN], execution=execution, unfilled="cancel")
    assert shares(dropped) == [0.0] * 4
    assert column(dropped, "cancelled") == [0, 1, 0, 0] and column(dropped, "no_price") == [0, 1, 0, 0]


def test_same_close_without_a_close_decides_and_trades_nothing(engine):
    result = run(engine, panel([NAN, 16], open=[16, 16]), [0.25, NAN])
    assert shares(result) == [0.0, 0.0] and column(result, "no_price") == [1, 0]
    assert column(result, "working") == [0, 0]


def test_an_asset_fills_alone_while_another_waits(engine):
    market = panel([[16, 16]] * 3, open=[[16, 16], [8, NAN], [4, 4]])
    result = run(engine, market, [[0.25, 0.25], [NAN, NAN], [NAN, NAN]], execution="next_open")
    assert [f[:4] for f in fills(result)] == [(1, "A0", 16.0, 8.0), (2, "A1", 16.0, 4.0)]


def test_signal_lag_reads_an_old_row_and_sizes_with_todays_close(engine):
    # Row 0 acts at bar 2: 1024/4/64 = 4 shares; row 1 (one half) acts at bar 3: 512/64 = 8.
    result = run(engine, panel([16, 32, 64, 64]), [0.25, 0.5, 1, 1], signal_lag=2)
    assert shares(result) == [0.0, 0.0, 4.0, 8.0]


def test_signal_lag_and_schedule_count_the_deciding_bar(engine):
    # Bars 0, 2, 4 decide, with rows -1 (none), 1 and 3.
    result = run(engine, panel([16] * 5), [1, 0.25, 1, 0.5, 1], signal_lag=1, rebalance_every=2)
    assert shares(result) == [0.0, 0.0, 16.0, 16.0, 32.0]


def test_signal_lag_longer_than_the_panel_never_decides(engine):
    assert shares(run(engine, panel([16] * 3), [1, 1, 1], signal_lag=3)) == [0.0] * 3


def test_a_nan_target_leaves_a_working_order_alone_and_zero_removes_it(engine):
    market = panel([16] * 4, open=[16, NAN, NAN, 16])
    assert shares(run(engine, market, [0.25, NAN, NAN, NAN], execution="next_open")) == [0.0, 0.0, 0.0, 16.0]
    closed = run(engine, market, [0.25, 0, NAN, NAN], execution="next_open")
    assert shares(closed) == [0.0] * 4 and column(closed, "working") == [1, 0, 0, 0]


def test_a_repeated_target_never_doubles_a_waiting_order(engine):
    # Three decisions of 16 shares before the first open: one fill of 16.
    market = panel([16] * 5, open=[16, NAN, NAN, 16, 16])
    result = run(engine, market, [0.25] * 5, execution="next_open")
    assert [f[:3] for f in fills(result)] == [(3, "A0", 16.0)]
    assert column(result, "working") == [1, 1, 1, 0, 0]


def test_a_new_target_replaces_a_waiting_order(engine):
    # 16 shares wanted at bar 0, 8 at bar 1: 8 are bought, and sized with the close of bar 1 (32): 256/32.
    market = panel([16, 32, 32, 32], open=[16, NAN, 32, 32])
    result = run(engine, market, [0.25, 0.25, NAN, NAN], execution="next_open")
    assert [f[:3] for f in fills(result)] == [(2, "A0", 8.0)]


def test_zero_closes_without_a_close(engine):
    # Bar 1 has an open and no close: the exit is decided there all the same, and fills at the next open.
    market = panel([16, 16, NAN, 16], open=[16, 16, 16, 8])
    result = run(engine, market, [0.25, NAN, 0, NAN], execution="next_open")
    assert [f[:4] for f in fills(result)] == [(1, "A0", 16.0, 16.0), (3, "A0", -16.0, 8.0)]
    assert column(result, "no_price") == [0, 0, 0, 0]


def test_an_order_of_the_last_bar_never_fills(engine):
    result = run(engine, panel([16, 16], open=[16, 16]), [NAN, 0.25], execution="next_open")
    assert fills(result) == [] and column(result, "working") == [0, 1]


def test_masks_hold_back_one_side(engine):
    market = panel([16] * 4, can_buy=[False, True, False, False], can_sell=[True, True, False, True])
    result = run(engine, market, [0.25, NAN, 0, NAN])
    # The buy waits at bar 0, the sale at bar 2; each fills where its own side may trade.
    assert [f[:3] for f in fills(result)] == [(1, "A0", 16.0), (3, "A0", -16.0)]
    assert column(result, "restricted") == [1, 0, 1, 0] and column(result, "working") == [1, 0, 1, 0]
    dropped = run(engine, market, [0.25, NAN, NAN, NAN], unfilled="cancel")
    assert shares(dropped) == [0.0] * 4 and column(dropped, "cancelled") == [1, 0, 0, 0]


def test_a_fill_at_the_open_is_marked_at_the_close(engine):
    # 16 shares at 8 leave 896; marked at 32 they are worth 512.
    result = run(engine, panel([16, 32], open=[16, 8]), [0.25, NAN], execution="next_open")
    assert column(result, "equity") == [1024.0, 1408.0] and column(result, "long_value") == [0.0, 512.0]


def test_the_mark_is_the_close_else_the_open_else_the_last_mark(engine):
    market = panel([16, NAN, NAN, 64], open=[16, 32, NAN, 8])
    assert column(run(engine, market, [0.25, NAN, NAN, NAN]), "long_value") == [256.0, 512.0, 512.0, 1024.0]


@pytest.mark.parametrize(("last", "no_price", "kept"), [(1e-40, [0, 1, 0], 16.0), (0.0, [0, 0, 0], 0.0)])
def test_the_smallest_weight_of_float32_is_a_target(engine, last, no_price, kept):
    """Not 0, which would be an exit that needs no price; no engine may flush a subnormal number."""
    market = panel([[16, 16], [16, NAN], [16, 16]], open=[[16, 16]] * 3)
    weights = np.array([[0.25, 0.25], [0.25, last], [NAN, NAN]], np.float32)
    result = run(engine, market, weights, execution="next_open")
    assert column(result, "no_price") == no_price and book(result)[-1] == [16.0, kept]
