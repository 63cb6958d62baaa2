# SPDX-License-Identifier: Apache-2.0
"""The ledger's grid: rounding of every amount before it is summed, and what happens at its edge (Numbers)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kit import NAN, book, column, panel, run, shares

from gpu_bt.law.layout import COUNTS, MONEY

FREE = dict(account="margin", max_leverage=None, maintenance_margin=None)


@pytest.mark.parametrize(("cash", "opening"), [(1000.0, 1000.0), (2.5, 2.0), (3.5, 4.0), (0.75, 1.0)])
def test_the_ledger_opens_with_cash_on_the_grid(engine, cash, opening):
    result = run(engine, panel([16]), [NAN], initial_cash=cash, money_tick=1.0)
    assert column(result, "cash") == [opening] and column(result, "equity") == [opening]


def test_the_default_tick_is_that_of_the_power_of_two_below_the_cash(engine):
    # 1000 lies above 2^9, so the tick is 2^-27: interest of 1000*(2^-28*1.5) rounds to a multiple of it.
    market = panel([16, 16], days=[0, 360])
    interest = column(run(engine, market, [NAN, NAN], initial_cash=1000.0, cash_rate=2.0**-36), "financing")[1]
    exact = 1000 * 2.0**-36  # 1.95 ticks of 2^-27
    assert exact / 2.0**-27 == 1.953125 and interest == 2 * 2.0**-27
    # At 1024 the tick is twice that, and 1024*2^-36 is one of 2^-26.
    interest = column(run(engine, market, [NAN, NAN], cash_rate=2.0**-37), "financing")[1]
    assert interest == 0.0  # half a tick, to even


def test_every_holding_is_rounded_before_the_sum(engine):
    # Tick 1. Half a share each at 3, 5 and 7: 1.5, 2.5 and 3.5 are 2, 2 and 4.
    market = panel([[1, 1, 1], [3, 5, 7]])
    rows = [[0.5 / 1024] * 3, [NAN] * 3]
    result = run(engine, market, rows, lot=0, money_tick=1.0)
    assert book(result)[1] == [0.5] * 3 and column(result, "long_value") == [0.0, 8.0]
    # Bought for R(0.5) = 0 each.
    assert column(result, "cash") == [1024.0, 1024.0] and column(result, "fills") == [3, 0]


def test_long_and_short_value_are_rounded_apart(engine):
    market = panel([[1, 1], [3, 5]])
    result = run(engine, market, [[0.5 / 1024, -0.5 / 1024], [NAN, NAN]], lot=0, money_tick=1.0, **FREE)
    assert column(result, "long_value")[1] == 2.0 and column(result, "short_value")[1] == -2.0


def test_a_coarse_tick_sums_exactly(engine):
    result = run(engine, panel([[3, 5]]), [[0.25, 0.25]], money_tick=8.0)
    # 256/3 and 256/5 are 85 and 51 shares, 255 each, on a tick of 8: 256 each.
    assert column(result, "buys") == [512.0] and column(result, "cash") == [512.0]


def test_an_overflow_ends_the_run_before_the_bar(engine):
    # With a tick of 2^-40, 1024 are 2^50 ticks; doubled they are 2^51, one too many. The bar's row is NaN, and what is
    # held at the end is what was held before it.
    result = run(engine, panel([16, 32, 32]), [1, 0.5, NAN], money_tick=2.0**-40)
    assert result.status == "LEDGER_OVERFLOW" and result.statuses == {"LEDGER_OVERFLOW": result.timestamps[1]}
    for name in MONEY:
        assert not math.isnan(column(result, name)[0]), name
        assert np.isnan(column(result, name)[1:]).all(), name
    for name in COUNTS:
        assert column(result, name)[1:] == [None, None], name
    assert shares(result)[0] == 64.0 and np.isnan(shares(result)[1:]).all()
    assert result.final_positions.rows() == [("A0", 64.0)]


def test_holdings_are_those_before_an_overflowing_bars_split(engine):
    # A0 splits two for one at bar 1, at which A1's 32 shares at 128 are 4096 and overflow: A0's 32 stay 32.
    market = panel([[16, 16], [8, 128]], split=[[1, 1], [2, 1]])
    result = run(engine, market, [[0.5, 0.5], [NAN, NAN]], money_tick=2.0**-40)
    assert result.status == "LEDGER_OVERFLOW" and result.final_positions.rows() == [("A0", 32.0), ("A1", 32.0)]


def test_one_tick_below_the_edge_is_no_overflow(engine):
    top = 2048 - 2.0**-12
    assert column(run(engine, panel([1, 1, 1]), [NAN] * 3, initial_cash=top, money_tick=2.0**-40), "cash") == [top] * 3
    edge = run(engine, panel([1]), [NAN], initial_cash=2048.0, money_tick=2.0**-40)
    assert edge.status == "LEDGER_OVERFLOW" and edge.final_positions.rows() == []


def test_the_first_bar_can_overflow(engine):
    result = run(engine, panel([16, 16]), [1, 1], money_tick=2.0**-41)
    assert result.status == "LEDGER_OVERFLOW" and np.isnan(column(result, "equity")).all()


def test_an_overflow_outranks_a_drawdown_stop(engine):
    # At bar 1 the stop is set; A1 has no price, so it is still held when it overflows at bar 2.
    market = panel([[16, 16], [1, NAN], [1, 128]])
    rows = [[0.75, 0.25], [NAN, NAN], [NAN, NAN]]
    result = run(engine, market, rows, money_tick=2.0**-40, max_drawdown=0.25)
    # 48 shares fall by 720; A1's 16 at 128 are 2048.
    assert list(result.statuses) == ["DRAWDOWN_STOP", "LEDGER_OVERFLOW"] and result.status == "LEDGER_OVERFLOW"


def test_cap_sums_are_tested_only_when_the_cap_is_on(engine):
    # Weights of 2100 in sum exceed 2^51 units of 2^-40 (2048).
    rows = [[900.0, 900.0, 300.0]]
    assert run(engine, panel([[16] * 3]), rows, **FREE).status == "OK"
    assert run(engine, panel([[16] * 3]), rows, **FREE, max_gross=2.0).status == "LEDGER_OVERFLOW"
    assert run(engine, panel([[16] * 3]), rows, **FREE, max_turnover=2.0).status == "LEDGER_OVERFLOW"


def test_there_is_no_negative_zero(engine):
    market = panel([16, 16, 16], dividend=[0, 0, 0])
    result = run(engine, market, [-0.5, 0, 0], **FREE, borrow_rate=0.0)
    for name in MONEY:
        values = np.array(column(result, name))
        assert not np.signbit(values[values == 0]).any(), name
    assert not np.signbit(result.positions[result.positions == 0]).any()


def test_settlements_of_longs_and_shorts_are_tested_apart(engine):
    # Tick 2^-31, so the edge is 2^20 = 1048576. Long and short 500000 each are settled at 2.4 times their mark: the
    # cash does not move, but each side pays 1200000.
    market = panel([[100, 100]] * 4, delisted_at=[2, 2], delisting_return=[1.4, 1.4])
    rows = [[0.5, -0.5]] + [[NAN, NAN]] * 3
    result = run(engine, market, rows, initial_cash=1e6, cash_buffer=0, money_tick=2.0**-31, **FREE)
    assert result.status == "LEDGER_OVERFLOW" and math.isnan(column(result, "equity")[2])
    assert column(result, "equity")[1] == 1e6


def test_what_is_not_held_has_no_value_however_absurd_its_split(engine):
    # The split of 1e-320 makes the mark infinite at a bar without a price. An order waits there, but nothing is held.
    close = [[16], [NAN], [NAN]]
    market = panel(close, open=close, split=[[1], [1e-320], [1]])
    result = run(engine, market, [[0.5], [NAN], [NAN]], execution="next_open")
    assert result.status == "OK" and column(result, "equity") == [1024.0] * 3
    assert column(result, "working") == [1, 0, 0] and column(result, "rounded_out") == [0, 1, 0]


def test_interest_beyond_the_edge_is_rounded_to_the_tick_too(engine):
    # In ticks: two and a half years at -1 on 2^50 + 3 are -2.5*2^50 - 7.5, more than 2^51 units, to even -2.5*2^50 - 8.
    scale, market = 2.0**-10, panel([16, 16], days=[0, 900])
    cash = (2.0**50 + 3.0) * scale
    result = run(engine, market, [NAN, NAN], initial_cash=cash, money_tick=scale, cash_rate=-1.0)
    assert column(result, "financing")[1] == (-2.5 * 2.0**50 - 8.0) * scale and result.status == "BANKRUPT"


def test_costs_of_a_fill_are_rounded_together_beyond_the_edge(engine):
    # In ticks: slippage and commission stay below 2^51 units each, their sum does not and is odd.
    scale = 0.25
    price, fee = 2.0**39 * scale, (2.0**51 - 2.0**10 + 1.0) * scale
    settings = dict(initial_cash=(2.0**50) * scale, money_tick=scale, slippage=0.5, min_commission=fee, lot=0, **FREE)
    result = run(engine, panel([price]), [-1.0], **settings)
    # 2^11 lots are sold: n = 2^50, slippage 2^49, fee 2^51 - 2^10 + 1.
    assert column(result, "slippage") == [2.0**49 * scale] and column(result, "commission") == [fee]


def test_an_order_of_infinitely_many_lots_after_absurd_splits_stays_one(engine):
    # Two splits of 1e300 make the order infinite while it waits for a price; one of a third leaves it so.
    close = [[16], [NAN], [NAN], [NAN]]
    market = panel(close, open=close, split=[[1], [1e300], [1e300], [1 / 3]])
    result = run(engine, market, [0.5, NAN, NAN, NAN], execution="next_open", delist_after=0)
    assert column(result, "working") == [1] * 4 and column(result, "no_price") == [0, 1, 1, 1]
    assert result.raw.cuts["shares"].tolist() == [32e300, math.inf, math.inf]


@pytest.mark.filterwarnings("ignore:split:gpu_bt.errors.BacktestWarning")
def test_an_infinite_mark_of_what_is_not_held_does_not_reach_the_leverage_test(engine):
    # At bar 1 A1's split makes its carried mark infinite; it has no open, only a close, and A0's order fills.
    market = panel(
        [[16, 16], [16, 16], [16, 16]], open=[[16, 16], [16, NAN], [16, 16]], split=[[1, 1], [1, 5e-324], [1, 1]]
    )
    rows = [[0.5, 0.5], [NAN, NAN], [NAN, NAN]]
    result = run(engine, market, rows, execution="next_open", account="margin", rounding="nearest")
    assert result.status == "OK" and column(result, "equity") == [1024.0] * 3 and book(result)[1] == [32.0, 0.0]
