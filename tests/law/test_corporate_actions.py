# SPDX-License-Identifier: Apache-2.0
"""Dividends and splits ([S2]). Each split's prices show it, as a panel of raw prices does."""

from __future__ import annotations

import pytest
from kit import NAN, book, column, fills, panel, run, shares

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


def test_the_fraction_of_a_lot_is_paid_per_lot(engine):
    # 5 lots of 4 shares at 16 are 320; 2.5 lots at 128 a lot: two stay, half a lot is 64.
    result = run(engine, panel([16, 32], split=[1, 0.5]), [0.3125, NAN], lot=4)
    assert shares(result) == [20.0, 8.0] and column(result, "settlements") == [0.0, 64.0]


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
