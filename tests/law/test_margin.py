# SPDX-License-Identifier: Apache-2.0
"""The margin account: leverage ([S4m]), margin calls ([S5m]), bankruptcy ([S5])."""

from __future__ import annotations

import math

import pytest
from kit import NAN, book, column, fills, panel, run, shares

FREE = dict(account="margin", max_leverage=None, maintenance_margin=None)
LEVERED = dict(account="margin", maintenance_margin=None)  # max_leverage 2, the default


def test_increases_are_scaled_to_the_leverage(engine):
    # 256 shares are 4096 of the 2048 allowed: the factor just below 1/2 leaves 127.99..., so 127 (no buy-back here).
    result = run(engine, panel([16]), [4], **LEVERED)
    assert fills(result) == [(0, "A0", 127.0, 16.0, 16.0, 0.0, 0.0, "LEVERAGE_CLIPPED")]
    assert column(result, "cash") == [1024.0 - 127 * 16] and column(result, "leverage_clipped") == [1]
    assert column(result, "working") == [0]


def test_exactly_the_leverage_is_not_scaled(engine):
    result = run(engine, panel([16]), [2], **LEVERED)
    assert shares(result) == [128.0] and column(result, "leverage_clipped") == [0]
    # Costs are no part of the test: they take cash, not room.
    assert shares(run(engine, panel([16]), [2], **LEVERED, commission_rate=0.125)) == [128.0]


def test_longs_and_shorts_share_one_factor(engine):
    # 192 long and 64 short are 4096 of 2048: just below a half of each, 95 and 31.
    result = run(engine, panel([[16, 16]]), [[3, -1]], **LEVERED)
    assert book(result) == [[95.0, -31.0]] and column(result, "leverage_clipped") == [2]
    assert column(result, "short_value") == [-31.0 * 16] and column(result, "long_value") == [95.0 * 16]
    fractional = run(engine, panel([[16, 16]]), [[3, -1]], **LEVERED, lot=0)
    assert book(fractional) == [[96 - 96 * 2.0**-40, -32 + 32 * 2.0**-40]]


def test_what_is_held_takes_room_from_increases(engine):
    # 64 of A0 (1024) leave 1024 for A1, which wants 2048: the factor just below a half leaves 63.
    result = run(engine, panel([[16, 16]] * 2), [[1, NAN], [NAN, 2]], **LEVERED)
    assert book(result) == [[64.0, 0.0], [64.0, 63.0]]


def test_a_flip_is_a_free_reduction_and_a_tested_increase(engine):
    # From 128 to -64: the exit is free, the 64 short are 1024 of 2048. From 128 to -256: 4096 of 2048, so -127.
    assert shares(run(engine, panel([16, 16]), [2, -1], **LEVERED)) == [128.0, -64.0]
    result = run(engine, panel([16, 16]), [2, -4], **LEVERED)
    assert shares(result) == [128.0, -127.0] and column(result, "leverage_clipped") == [0, 1]
    assert column(result, "cash") == [-1024.0, 1024.0 + 127 * 16]


def test_reductions_are_never_refused(engine):
    # At 9 the equity of 128 carries 1152, nine times as much. The target of 512 (56.9 shares) sells 71.1, so 71, in
    # full, although the 513 that stay are still above 256.
    result = run(engine, panel([16, 9]), [2, 4], **LEVERED)
    assert shares(result) == [128.0, 57.0] and column(result, "leverage_clipped") == [0, 0]


def test_no_room_means_no_increase(engine):
    # 64 shares are 576 of an equity of 576: A0's target needs no order, and for A1 the factor is 0.
    tight = run(engine, panel([[16, 9], [9, 9]]), [[1, NAN], [1, 1]], account="margin", max_leverage=1.0)
    assert book(tight) == [[64.0, 0.0], [64.0, 0.0]] and column(tight, "leverage_clipped") == [0, 1]


def test_room_is_measured_at_the_prices_of_the_fill_else_at_marks(engine):
    # Decided at 16 and 16; at the open A0 has 32 and A1 none. A0's 32 held count 1024 at 32, equity 1536, so that the
    # 64 wanted (2048) meet 3072 - 1024 = 2048 and pass; A1's order waits and takes no room.
    # A bar later A0's 96 at 32 use all of 2*1536, so A1 gets nothing.
    market = panel([[16, 16]] * 2 + [[32, 16]] * 2, open=[[16, 16], [16, 16], [32, NAN], [32, 16]])
    result = run(engine, market, [[0.5, NAN], [1.5, 8], [NAN, NAN], [NAN, NAN]], execution="next_open", **LEVERED)
    assert book(result) == [[0.0, 0.0], [32.0, 0.0], [96.0, 0.0], [96.0, 0.0]]
    assert column(result, "leverage_clipped") == [0, 0, 0, 1] and column(result, "no_price") == [0, 0, 1, 0]


def test_without_a_limit_nothing_is_tested(engine):
    result = run(engine, panel([16]), [4], **FREE)
    assert shares(result) == [256.0] and column(result, "cash") == [1024.0 - 4096]
    assert column(result, "equity") == [1024.0] and result.status == "OK"


def test_a_leverage_of_zero_allows_no_increase(engine):
    result = run(engine, panel([16]), [1], account="margin", max_leverage=0.0)
    assert shares(result) == [0.0] and column(result, "leverage_clipped") == [1]


def test_a_short_sale_brings_cash_and_negative_value(engine):
    result = run(engine, panel([16, 8]), [-0.5, NAN], **FREE)
    assert column(result, "cash") == [1536.0, 1536.0] and column(result, "short_value") == [-512.0, -256.0]
    assert column(result, "equity") == [1024.0, 1280.0] and column(result, "long_value") == [0.0, 0.0]


# --- margin calls ---


def test_a_margin_call_cuts_to_the_maintenance_margin(engine):
    # 128 at 16 on 1024; at 10 the equity is 256 of 1280, a fifth, below a quarter: f = (256/0.25)/1280 = 0.8, so
    # ceil(128*0.2) = 26 are sold at the next close.
    result = run(engine, panel([16, 10, 10]), [2, NAN, NAN], account="margin")
    assert shares(result) == [128.0, 128.0, 102.0]
    assert result.status == "MARGIN_CALL" and list(result.statuses.values()) == [result.timestamps[1]]
    assert column(result, "working") == [0, 1, 0]


def test_exactly_the_maintenance_margin_is_no_call(engine):
    # 128 at 16 with cash -1024: equity/gross is exactly 1/2; at 15 it is 896/1920.
    assert run(engine, panel([16, 16]), [2, NAN], account="margin", maintenance_margin=0.5).status == "OK"
    assert run(engine, panel([16, 15]), [2, NAN], account="margin", maintenance_margin=0.5).status == "MARGIN_CALL"


def test_a_margin_call_cuts_longs_and_shorts_by_the_same_share(engine):
    # 64 long, 64 short at 16 (cash 1024). Then 16 and 24: equity 1024 + 1024 - 1536 = 512 of 2560, a fifth; with 1/4,
    # f = 2048/2560 = 0.8 and each side gives up ceil(12.8) = 13.
    result = run(engine, panel([[16, 16], [16, 24], [16, 24]]), [[1, -1]] + [[NAN, NAN]] * 2, account="margin")
    assert book(result)[2] == [51.0, -51.0]


def test_a_fractional_margin_call_is_not_rounded(engine):
    # 128.5 shares for 2056 on 1024; at 9.03125: 128.5*9.03125 - 1032 = 128.515625, and with a maintenance margin of 1/4
    # f = 514.0625/1160.515625. Shares to be sold: 128.5*(1 - f), in this order of operations.
    market = panel([16, 9.03125, 9.03125])
    result = run(engine, market, [2.0078125, NAN, NAN], account="margin", max_leverage=None, lot=0)
    assert shares(result) == [128.5, 128.5, 128.5 - 128.5 * (1 - (128.515625 / 0.25) / 1160.515625)]


def test_a_margin_call_cancels_working_orders_and_skips_the_decision(engine):
    # A1's order waits (no open). At bar 2 the call cancels it, and the row of bar 2, which wants A1 anew, is not read.
    market = panel([[16, 16], [16, 16], [10, 16], [10, 16], [10, 16]],
                   open=[[16, 16], [16, NAN], [16, NAN], [10, 16], [10, 16]])  # fmt: skip
    rows = [[2, 0.25], [NAN, NAN], [NAN, 0.25], [NAN, NAN], [NAN, NAN]]
    result = run(engine, market, rows, execution="next_open", account="margin", max_leverage=None)
    assert book(result) == [[0.0, 0.0], [128.0, 0.0], [128.0, 0.0], [102.0, 0.0], [102.0, 0.0]]
    assert column(result, "cancelled") == [0, 0, 1, 0, 0] and column(result, "working") == [2, 1, 1, 0, 0]


def test_after_the_call_decisions_are_read_again(engine):
    market = panel([16, 10, 10, 10], open=[16, 16, 10, 10])
    result = run(engine, market, [2, NAN, 0, NAN], execution="next_open", account="margin")
    # Bar 1: filled and called at its close; bar 2: 26 sold, then the target 0 is read; bar 3: all is sold.
    assert shares(result) == [0.0, 128.0, 102.0, 0.0]


def test_a_margin_call_with_same_close_acts_at_the_next_bar_unless_a_decision_replaces_it(engine):
    # The call at the second mark of bar 1 orders 26 sold. The decision of bar 2 wants a quarter of 256 instead: at 10
    # that is 6.4 - 128, cut to -121, so 7 stay.
    result = run(engine, panel([16, 10, 10]), [2, NAN, 0.25], account="margin")
    assert shares(result) == [128.0, 128.0, 7.0] and len(fills(result)) == 2


def test_a_cash_account_is_never_called(engine):
    assert run(engine, panel([16, 1]), [1, NAN], maintenance_margin=1.0).status == "OK"


# --- bankruptcy ---


@pytest.mark.parametrize("price", [8, 4])
def test_equity_of_zero_or_less_ends_the_run(engine, price):
    result = run(engine, panel([16, price, 16]), [2, NAN, 1], **FREE)
    equity = 128 * price - 1024.0
    assert result.status == "BANKRUPT" and list(result.statuses) == ["BANKRUPT"]
    assert column(result, "equity")[:2] == [1024.0, equity] and math.isnan(column(result, "equity")[2])
    assert column(result, "working")[2] is None and column(result, "fills") == [1, 0, None]
    assert shares(result)[:2] == [128.0, 128.0] and math.isnan(shares(result)[2])
    assert result.final_positions.rows() == [("A0", 128.0)]


def test_a_short_can_go_bankrupt(engine):
    result = run(engine, panel([16, 32, 16]), [-1, NAN, NAN], **FREE)
    assert result.status == "BANKRUPT" and column(result, "equity")[1] == 0.0


def test_a_bankrupt_bar_decides_nothing(engine):
    result = run(engine, panel([16, 16, 8, 8], open=[16] * 4), [2, NAN, 0, NAN], execution="next_open", **FREE)
    assert result.status == "BANKRUPT" and column(result, "working")[2] == 0 and len(fills(result)) == 1


def test_the_row_of_a_bankrupt_bar_shows_its_fills(engine):
    # Bought at the open at 16, marked at the close at 4.
    result = run(engine, panel([16, 4, 4], open=[16] * 3), [2, NAN, NAN], execution="next_open", **FREE)
    assert column(result, "buys")[1] == 2048.0 and column(result, "equity")[1] == -512.0
    assert column(result, "fills")[:2] == [0, 1]


def test_a_bankruptcy_outranks_an_earlier_margin_call(engine):
    result = run(engine, panel([16, 10, 1]), [2, NAN, NAN], account="margin")
    assert result.status == "BANKRUPT" and list(result.statuses) == ["MARGIN_CALL", "BANKRUPT"]
