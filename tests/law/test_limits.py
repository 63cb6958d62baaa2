# SPDX-License-Identifier: Apache-2.0
"""Limits on targets ([S7]), the least trade ([S8]) and the drawdown stop ([S5d])."""

from __future__ import annotations

import pytest
from kit import NAN, book, column, fills, panel, run, shares

FREE = dict(account="margin", max_leverage=None, maintenance_margin=None)
TWO = dict(close=[[16, 16]] * 2)


def test_the_name_cap_clips_both_sides(engine):
    assert book(run(engine, panel([[16, 16]]), [[0.75, 0.25]], max_weight=0.5)) == [[32.0, 16.0]]
    short = run(engine, panel([[16, 16]]), [[-0.75, 0.75]], max_weight=0.5, **FREE)
    assert book(short) == [[-32.0, 32.0]]


def test_a_name_cap_of_zero_closes(engine):
    # After the cap the target is 0: an exit like any other, which counts neither as BELOW_MIN nor as ROUNDED_OUT.
    result = run(engine, panel([16]), [1], max_weight=0.0)
    assert shares(result) == [0.0]
    assert [column(result, name) for name in ("below_min", "rounded_out", "working")] == [[0], [0], [0]]


def test_the_gross_cap_scales_targets(engine):
    assert book(run(engine, panel([[16, 16]]), [[1, 1]], max_gross=0.5)) == [[16.0, 16.0]]
    assert book(run(engine, panel([[16, 16]]), [[1, -0.5]], max_gross=0.75, **FREE)) == [[32.0, -16.0]]
    # At the cap nothing changes.
    assert book(run(engine, panel([[16, 16]]), [[0.25, 0.25]], max_gross=0.5)) == [[16.0, 16.0]]


def test_holdings_without_a_target_use_up_the_gross_cap(engine):
    # A0's quarter is held without a target: f = (1/2 - 1/4)/1.
    assert book(run(engine, panel(**TWO), [[0.25, 0], [NAN, 1]], max_gross=0.5))[1] == [16.0, 16.0]
    # Held 3/4 and a cap of 1/2 leave nothing: f = max(0, ...) = 0, so A1 is closed and A0 is left alone.
    market = panel([[16, 16], [48, 16]])
    result = run(engine, market, [[0.25, 0.25], [NAN, 0.25]], max_gross=0.5)
    # At bar 1 E = 1024 + 512 = 1536 and A0 is 768 of it: H = 1/2, so A1 gets (1/2 - 1/2) = 0.
    assert book(result) == [[16.0, 16.0], [16.0, 0.0]]


def test_the_turnover_cap_moves_targets_by_a_common_share(engine):
    # From nothing to 1/2 + 1/2: one-way turnover 1/2; a quarter is allowed, so each goes half the way.
    assert book(run(engine, panel([[16, 16]]), [[0.5, 0.5]], max_turnover=0.25)) == [[16.0, 16.0]]
    # From 1/2 to 1/4 in A0 and 0 to 1/4 in A1: tau 1/4, an eighth allowed: 3/8 and 1/8.
    result = run(engine, panel(**TWO), [[0.5, 0], [0.25, 0.25]], max_turnover=0.125, signal_lag=0)
    # Bar 0 wanted 1/2 (tau 1/4) and got half of it; from 1/4, 0 to 1/4, 1/4: tau 1/8, all of it.
    assert book(result) == [[16.0, 0.0], [16.0, 16.0]]


def test_exits_count_as_turnover_and_are_not_delayed(engine):
    # A0 exits 1/2 (X = 1/4), A1 enters 1 (tau = 3/4); of 1/2 a quarter is left: f = (1/2 - 1/4)/(3/4 - 1/4) = 1/2.
    result = run(engine, panel(**TWO), [[0.5, 0], [0, 1]], max_turnover=0.5)
    assert book(result) == [[32.0, 0.0], [0.0, 32.0]]
    # An exit above the cap takes everything: A1 does not move at all (f = 0), A0 is sold whole.
    market, rows = panel([[16, 16]] * 4), [[0.5, 0]] * 3 + [[0, 1]]
    result = run(engine, market, rows, max_turnover=0.125)
    # Bars 0 and 1 each allow a quarter of weight; then X = 1/4 is above 1/8.
    assert book(result) == [[16.0, 0.0], [32.0, 0.0], [32.0, 0.0], [0.0, 0.0]]


def test_the_caps_apply_in_their_order(engine):
    # Name cap: 1, 1 -> 1/2, 1/2. Gross cap 1/2: 1/4, 1/4. Turnover 1/8 of tau 1/4: 1/8 each.
    settings = dict(max_weight=0.5, max_gross=0.5, max_turnover=0.125)
    assert book(run(engine, panel([[16, 16]]), [[1, 1]], **settings)) == [[8.0, 8.0]]
    # In another order (gross before name) 3/4 and 1/4 under a gross cap of 1/2 would be 3/8 and 1/8, both below the
    # name cap; in this one 1/2 and 1/4 become 1/3 and 1/6: 21.3 and 10.7 shares.
    assert book(run(engine, panel([[16, 16]]), [[0.75, 0.25]], max_weight=0.5, max_gross=0.5)) == [[21.0, 10.0]]


def test_the_band_leaves_small_moves_alone(engine):
    # A1 would move from 16/64 to 17/64, just the band; A0 by more.
    result = run(engine, panel(**TWO), [[0.25, 0.25], [0.5, 0.265625]], band=2**-6)
    assert book(result)[1] == [32.0, 16.0]
    assert book(run(engine, panel(**TWO), [[0.25, 0.25], [0.5, 0.28125]], band=2**-6))[1] == [32.0, 18.0]


def test_the_band_never_stops_an_exit(engine):
    assert shares(run(engine, panel([16, 16]), [2**-6, 0], band=0.5)) == [0.0, 0.0]
    assert shares(run(engine, panel([16, 16]), [0.625, 0], band=0.5)) == [40.0, 0.0]


def test_the_band_replaces_a_working_order_by_none(engine):
    # The order of bar 0 waits; at bar 1 the target is within the band of what is held (nothing).
    market = panel([16] * 3, open=[16, NAN, 16])
    result = run(engine, market, [0.25, 0.125, NAN], execution="next_open", band=0.125)
    assert shares(result) == [0.0] * 3 and column(result, "working") == [1, 0, 0]


def test_orders_below_the_least_value_are_not_made(engine):
    # One share at 16 is below 17 and not below 16.
    market = panel([16, 16])
    result = run(engine, market, [0.25, 0.265625], min_trade_value=17.0)
    assert shares(result) == [16.0, 16.0] and column(result, "below_min") == [0, 1]
    assert shares(run(engine, market, [0.25, 0.265625], min_trade_value=16.0)) == [16.0, 17.0]
    # An exit of any size is made.
    assert shares(run(engine, market, [2**-4, 0], min_trade_value=64.0)) == [4.0, 0.0]


def test_limits_use_the_equity_of_the_bar(engine):
    # At 32 the 16 shares are 512 of 1280 = 0.4 of the equity; a cap of 1/4 leaves 320/32 = 10.
    assert shares(run(engine, panel([16, 32]), [0.25, 1], max_weight=0.25)) == [16.0, 10.0]


# --- the drawdown stop ---


@pytest.mark.parametrize(
    ("execution", "closes", "positions"),
    [
        # 64 shares; at 8 the equity is half of the peak. With same_close the first mark of the bar sees it and sells.
        ("same_close", [16, 8, 16], [64, 0, 0]),
        ("next_close", [16, 16, 8, 8, 16], [0, 64, 64, 0, 0]),
    ],
)
def test_the_drawdown_stop_sells_for_good(engine, execution, closes, positions):
    result = run(engine, panel(closes), [1] * len(closes), execution=execution, max_drawdown=0.25)
    assert shares(result) == positions and result.status == "DRAWDOWN_STOP"
    assert list(result.statuses.values()) == [result.timestamps[closes.index(8)]]


def test_exactly_the_drawdown_is_no_stop(engine):
    assert run(engine, panel([16, 12]), [1, NAN], max_drawdown=0.25).status == "OK"
    assert run(engine, panel([16, 11]), [1, NAN], max_drawdown=0.25).status == "DRAWDOWN_STOP"
    # The same at a bar that decides: a half of 768 at 12 are 32 shares.
    busy = run(engine, panel([16, 12]), [1, 0.5], max_drawdown=0.25)
    assert busy.status == "OK" and shares(busy) == [64.0, 32.0]
    assert run(engine, panel([16, 11]), [1, 0.5], max_drawdown=0.25).status == "DRAWDOWN_STOP"


def test_the_drawdown_is_from_the_highest_equity_or_the_opening_cash(engine):
    # From 2048 a fall by more than a quarter, to 1408, still above the start.
    result = run(engine, panel([16, 32, 22]), [1, NAN, NAN], max_drawdown=0.25)
    assert shares(result) == [64.0, 64.0, 0.0] and column(result, "equity")[-1] == 1408.0
    # The opening cash counts: the purchase itself costs 1/2.
    assert run(engine, panel([16, 16]), [0.5, NAN], slippage=0.5, max_drawdown=0.125).status == "DRAWDOWN_STOP"


def test_the_stop_ignores_schedule_and_turnover_cap(engine):
    # Only bar 0 is scheduled before bar 4, and a turnover of 1/2 would sell half.
    settings = dict(max_drawdown=0.25, max_turnover=0.5, rebalance_every=4, band=0.5)
    result = run(engine, panel([16, 8, 16, 16]), [1, NAN, NAN, NAN], **settings)
    assert shares(result) == [64.0, 0.0, 0.0, 0.0]


def test_the_stop_keeps_trying_where_the_asset_does_not_trade(engine):
    # A1 has no price at the stop: its exit waits, and is ordered again at every bar.
    market = panel([[16, 16], [4, NAN], [4, 16], [4, 16]])
    result = run(engine, market, [[0.5, 0.5]] + [[NAN, NAN]] * 3, max_drawdown=0.25)
    assert book(result) == [[32.0, 32.0], [0.0, 32.0], [0.0, 0.0], [0.0, 0.0]]
    assert column(result, "no_price") == [0, 1, 0, 0]


def test_the_stop_removes_orders_that_wait_to_buy(engine):
    market = panel([[16, 16], [16, 16], [4, 16], [4, 16]], open=[[16, 16], [16, NAN], [4, NAN], [4, 16]])
    rows = [[0.75, 0.25]] + [[NAN, NAN]] * 3
    result = run(engine, market, rows, execution="next_open", max_drawdown=0.25)
    assert book(result)[3] == [0.0, 0.0] and [f[1] for f in fills(result)] == ["A0", "A0"]


def test_a_stopped_margin_account_is_not_called_any_more(engine):
    # Bought at the open at 16; at the close of 9 the equity of 128 is a ninth of 1152, so both apply: the stop comes
    # first and sells all, where a call would sell 72.
    settings = dict(execution="next_open", account="margin", max_drawdown=0.25)
    result = run(engine, panel([16, 9, 9], open=[16, 16, 9]), [2, NAN, NAN], **settings)
    assert shares(result) == [0.0, 128.0, 0.0] and list(result.statuses) == ["DRAWDOWN_STOP"]


def test_the_stop_buys_shorts_back_for_good(engine):
    result = run(engine, panel([16, 24, 16, 16]), [-1, -1, -1, 1], max_drawdown=0.25, **FREE)
    assert shares(result) == [-64.0, 0.0, 0.0, 0.0]


def test_a_stop_after_the_fills_takes_back_an_order_that_waits(engine):
    # Selling A at a half spread of 1/2 loses half of the equity: the second mark of bar 1 stops the book. B's order
    # could not be filled there; at bar 2 its target is 0, although B has no price and no row decides.
    market = panel(
        [[16, 16], [16, 16], [16, NAN], [16, NAN]],
        half_spread=[[0, 0], [0.5, 0], [0, 0], [0, 0]],
        can_buy=[[True, True], [True, False], [True, True], [True, True]],
    )
    rows = [[1.0, 0.0], [0.0, 0.5], [NAN, NAN], [NAN, NAN]]
    result = run(engine, market, rows, max_drawdown=0.25)
    assert result.status == "DRAWDOWN_STOP" and column(result, "equity") == [1024.0, 512.0, 512.0, 512.0]
    assert column(result, "restricted") == [0, 1, 0, 0] and column(result, "working") == [0, 1, 0, 0]
    assert column(result, "no_price") == [0, 0, 0, 0]
