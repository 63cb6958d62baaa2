# SPDX-License-Identifier: Apache-2.0
"""Dividends and splits ([S2]). Each split's prices show it, as a panel of raw prices does."""

from __future__ import annotations

import pytest
from kit import NAN, ask, book, column, fills, held, panel, run, shares

MARGIN = dict(account="margin", maintenance_margin=None, max_leverage=None)


def test_dividends_are_received_on_longs_and_paid_on_shorts(engine):
    market = panel([[16, 16]] * 2, dividend=[[1, 1], [0.5, 2]])
    result = run(engine, market, [[0.25, -0.125], [NAN, NAN]], **MARGIN)
    # 16 shares receive 8, 8 short pay 16; the dividends of bar 0 come before its fills and reach nobody.
    assert column(result, "dividends") == [0.0, -8.0] and column(result, "cash")[1] == 1024.0 - 128 - 8


def test_a_buyer_at_the_open_of_the_ex_date_gets_nothing(engine):
    market = panel([16] * 3, open=[16] * 3, dividend=[0, 1, 0.5])
    assert column(run(engine, market, [0.25, NAN, NAN], execution="next_open"), "dividends") == [0.0, 0.0, 8.0]


def test_a_seller_at_the_open_of_the_ex_date_keeps_the_dividend(engine):
    market = panel([16] * 3, open=[16] * 3, dividend=[0, 0, 1])
    result = run(engine, market, [0.25, 0, NAN], execution="next_open")
    assert shares(result) == [0.0, 16.0, 0.0] and column(result, "dividends") == [0.0, 0.0, 16.0]


def test_a_dividend_is_paid_while_the_asset_does_not_trade(engine):
    assert column(run(engine, panel([16, NAN], dividend=[0, 2]), [0.25, NAN]), "dividends") == [0.0, 32.0]


def test_a_dividend_counts_shares_before_the_split_of_the_same_bar(engine):
    result = run(engine, panel([16, 8], split=[1, 2], dividend=[0, 0.5]), [0.25, NAN])
    assert column(result, "dividends") == [0.0, 8.0] and shares(result) == [16.0, 32.0]


def test_a_dividend_of_lots_is_per_share(engine):
    # 4 lots of 4 shares, half a unit each.
    result = run(engine, panel([16, 16], dividend=[0, 0.5]), [0.25, NAN], lot=4)
    assert column(result, "dividends") == [0.0, 8.0]


def test_dividends_are_rounded_per_asset(engine):
    # Tick 1: 16*(3/32) = 1.5 -> 2 twice, not 3.
    market = panel([[16, 16]] * 2, dividend=[[0, 0], [0.09375, 0.09375]])
    result = run(engine, market, [[0.25, 0.25], [NAN, NAN]], money_tick=1.0)
    assert column(result, "dividends") == [0.0, 4.0]


def test_a_split_changes_shares_and_no_value(engine):
    result = run(engine, panel([16, 4], split=[1, 4]), [0.25, NAN])
    assert shares(result) == [16.0, 64.0] and column(result, "equity") == [1024.0, 1024.0]
    assert column(result, "settlements") == [0.0, 0.0]


def test_a_split_in_a_gap_divides_the_mark(engine):
    # No price at the split: 32 shares at 16/2, until the close shows 8 as well.
    result = run(engine, panel([16, NAN, 8], split=[1, 2, 1]), [0.25, NAN, NAN])
    assert shares(result) == [16.0, 32.0, 32.0] and column(result, "long_value") == [256.0] * 3


@pytest.mark.parametrize(("weight", "before", "after", "paid"), [(5 / 64, 5, 2, 16.0), (-5 / 64, -5, -2, -16.0)])
def test_a_reverse_split_pays_the_fraction_at_the_new_mark(engine, weight, before, after, paid):
    # 5 shares become 2.5; the half is settled at 16/0.5 = 32.
    result = run(engine, panel([16, 32], split=[1, 0.5]), [weight, NAN], **MARGIN)
    assert shares(result) == [before, after] and column(result, "settlements") == [0.0, paid]
    assert column(result, "equity") == [1024.0, 1024.0]


def test_fractional_shares_are_not_paid_out(engine):
    result = run(engine, panel([16, 32], split=[1, 0.5]), [5 / 64, NAN], lot=0)
    assert shares(result) == [5.0, 2.5] and column(result, "settlements") == [0.0, 0.0]


@pytest.mark.parametrize("side", [1, -1])
def test_an_odd_lot_stays_held(engine, side):
    # 5 lots of 4 shares at 16 are 320; 2.5 lots after the split: 10 shares at 32, and nothing is paid out.
    result = run(engine, panel([16, 32], split=[1, 0.5]), [0.3125 * side, NAN], lot=4, **MARGIN)
    assert shares(result) == [20.0 * side, 10.0 * side] and column(result, "settlements") == [0.0, 0.0]
    assert column(result, "equity") == [1024.0, 1024.0]


@pytest.mark.parametrize("side", [1, -1])
def test_of_an_odd_lot_the_fraction_of_a_share_is_paid(engine, side):
    # 20 shares, one for eight: 2.5; two stay, half a share is paid at 16/(1/8) = 128 a share.
    result = run(engine, panel([16, 128], split=[1, 0.125]), [0.3125 * side, NAN], lot=4, **MARGIN)
    assert shares(result) == [20.0 * side, 2.0 * side] and column(result, "settlements") == [0.0, 64.0 * side]
    assert column(result, "equity") == [1024.0, 1024.0]


def test_lots_below_a_share_pay_the_fraction_of_a_lot(engine):
    # 5 lots of half a share, three for two: 7.5 lots, of which half a lot is paid at 16/1.5 a share.
    result = run(engine, panel([24, 16], split=[1, 1.5]), [60 / 1024, NAN], lot=0.5)
    assert shares(result) == [2.5, 3.5] and column(result, "settlements") == [0.0, 4.0]


def test_odd_lots_are_whole_shares_whatever_their_number_of_lots(engine):
    # 100 shares become 29: 0.29 lots, and 0.29*100 is no whole number in floating point.
    market = panel([16, 16 / 0.29, 16 / 0.29], split=[1, 0.29, 1])
    result = run(engine, market, [1, NAN, 0], initial_cash=1600.0, lot=100)
    assert shares(result) == [100.0, 29.0, 0.0] and [f[2] for f in fills(result)] == [100.0, -29.0]
    assert held(run(engine, market, [1, NAN, NAN], initial_cash=1600.0, lot=100)) == {"A0": 29.0}


#: 20 shares in lots of 4 that a split makes 10 at bar 1, two and a half lots.
ODD = dict(close=[16, 32, 32, 32], split=[1, 0.5, 1, 1])


@pytest.mark.parametrize("rounding", ["toward_zero", "nearest"])
def test_a_target_of_zero_sells_an_odd_lot(engine, rounding):
    result = run(engine, panel(**ODD), [0.3125, NAN, 0, NAN], lot=4, rounding=rounding)
    assert shares(result) == [20.0, 10.0, 0.0, 0.0] and column(result, "cash")[-1] == 1024.0
    assert column(result, "rounded_out") == [0] * 4


def test_other_orders_of_an_odd_lot_are_whole_lots(engine):
    # From 2.5 lots to 5: two lots are bought. To 1.125: one is sold.
    more = run(engine, panel(**ODD), [0.3125, NAN, 0.625, NAN], lot=4)
    assert shares(more) == [20.0, 10.0, 18.0, 18.0]
    less = run(engine, panel(**ODD), [0.3125, NAN, 4.5 * 32 / 1024, NAN], lot=4)
    assert shares(less) == [20.0, 10.0, 6.0, 6.0]


def buy_20(strategy, batch):
    strategy.order("A0", 20)


@pytest.mark.parametrize("sell", [lambda s, b: s.order("A0", -10), lambda s, b: s.order_target_shares("A0", 0)])
def test_a_direct_order_that_ends_at_zero_sells_an_odd_lot(engine, sell):
    result = ask(engine, panel(**ODD), buy_20, None, sell, lot=4)
    assert shares(result) == [20.0, 10.0, 0.0, 0.0] and column(result, "cash")[-1] == 1024.0
    part = ask(engine, panel(**ODD), buy_20, None, lambda s, b: s.order("A0", -7), lot=4)
    assert shares(part) == [20.0, 10.0, 6.0, 6.0]


def test_a_strategy_sees_whole_shares(engine):
    seen = []
    market = panel([16, 16 / 0.29], split=[1, 0.29])
    steps = (lambda s, b: s.order("A0", 100), lambda s, b: seen.append(s.portfolio.shares.tolist()))
    ask(engine, market, *steps, initial_cash=1600.0, lot=100)
    assert seen == [[29.0]]


def test_an_exit_of_an_odd_lot_survives_the_split(engine):
    # Ordered before the split, filled after it: all 10 shares, not two lots.
    market = panel([16, 16, 32], open=[16, 16, 32], split=[1, 1, 0.5])
    result = run(engine, market, [0.3125, 0, NAN], lot=4, execution="next_open")
    assert shares(result) == [0.0, 20.0, 0.0] and column(result, "cash")[-1] == 1024.0


def test_a_cap_by_volume_leaves_the_odd_lot_for_last(engine):
    # A cap of 5 shares is one lot a bar; the last two shares go when nothing else is left, or all six where six fit.
    for volume, got in ((5, [20.0, 6.0, 2.0, 0.0, 0.0]), (6, [20.0, 6.0, 0.0, 0.0, 0.0])):
        market = panel([16, 32, 32, 32, 32], split=[1, 0.5, 1, 1, 1], volume=[99] + [volume] * 4)
        result = run(engine, market, [0.3125, 0, NAN, NAN, NAN], lot=4, participation=1.0)
        assert shares(result) == got


def test_stops_and_calls_sell_odd_lots(engine):
    # The price halves twice: 10 shares at 32 lose enough for the stop, which sells all at the next bar.
    market = panel([16, 32, 8, 8], split=[1, 0.5, 1, 1])
    result = run(engine, market, [0.3125, NAN, NAN, NAN], lot=4, max_drawdown=0.1)
    assert result.status == "DRAWDOWN_STOP" and shares(result) == [20.0, 10.0, 0.0, 0.0]


def test_a_fraction_within_a_millionth_is_rounded_off_unpaid(engine):
    # 8*(1 + 2^-24) exceeds 8 by 4.8e-7: nothing is paid. 32*(1 + 2^-24) exceeds 32 by 2^-19 = 1.9e-6, which is paid
    # at the mark of 16/(1 + 2^-24), just below 16: 2^-15 less 2^-39, which the tick of 2^-26 rounds to 2^-15.
    s = 1 + 2.0**-24
    small = run(engine, panel([16, 16], split=[1, s]), [0.125, NAN])
    assert shares(small) == [8.0, 8.0] and column(small, "settlements") == [0.0, 0.0]
    large = run(engine, panel([16, 16], split=[1, s]), [0.5, NAN])
    assert shares(large) == [32.0, 32.0] and column(large, "settlements") == [0.0, 2.0**-15]


def test_a_fraction_just_below_a_whole_share_is_rounded_up(engine):
    # 8*(1 - 2^-24) is 8 less 4.8e-7, so 8 stay; 32*(1 - 2^-24) is 32 less 1.9e-6, so 31 stay and the rest is paid:
    # (1 - 2^-19) * 16/(1 - 2^-24) = 16 - 2^-15 + 2^-20 - ..., on the tick of 2^-26: 16 - 2^-15 + 2^-20.
    s = 1 - 2.0**-24
    assert shares(run(engine, panel([16, 16], split=[1, s]), [0.125, NAN])) == [8.0, 8.0]
    large = run(engine, panel([16, 16], split=[1, s]), [0.5, NAN])
    assert shares(large) == [32.0, 31.0] and column(large, "settlements") == [0.0, 16 - 2.0**-15 + 2.0**-20]


def test_a_split_scales_a_working_order(engine):
    # 16 ordered at 16, then two for one while the asset is silent: 32 are bought at 8.
    result = run(engine, panel([16, NAN, 8], split=[1, 2, 1]), [0.25, NAN, NAN], execution="next_close")
    assert [f[:4] for f in fills(result)] == [(2, "A0", 32.0, 8.0)]


def test_a_working_order_left_without_a_lot_is_rounded_out(engine):
    # One share ordered, one for two: half a share is no order any more.
    market = panel([16, NAN, 32], split=[1, 0.5, 1])
    result = run(engine, market, [2.0**-6, NAN, NAN], execution="next_close")
    assert fills(result) == [] and column(result, "rounded_out") == [0, 1, 0] and column(result, "working") == [1, 0, 0]


def test_an_exit_ordered_before_a_split_sells_everything(engine):
    # 5 held and 5 to be sold become 2 and 2 (the half is paid out).
    market = panel([16, 16, 32], open=[16, 16, 32], split=[1, 1, 0.5])
    result = run(engine, market, [5 / 64, 0, NAN], execution="next_open")
    assert shares(result) == [0.0, 5.0, 0.0] and column(result, "cancelled") == [0, 0, 0]
    assert column(result, "equity") == [1024.0] * 3


def test_a_split_of_one_asset_leaves_the_others(engine):
    market = panel([[16, 16], [8, 16]], split=[[1, 1], [2, 1]])
    assert book(run(engine, market, [[0.25, 0.25], [NAN, NAN]]))[1] == [32.0, 16.0]
