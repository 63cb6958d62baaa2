# SPDX-License-Identifier: Apache-2.0
"""[S7] Direct orders of a strategy meet the name cap and the gross cap, as if every order filled at the mark.

1024 of cash, 16 a share: 64 shares are all of it, 16 shares a quarter."""

from __future__ import annotations

import pytest
from kit import NAN, ask, book, column, panel, shares

MARGIN = dict(account="margin", max_leverage=None, maintenance_margin=None)


def test_an_order_is_cut_to_the_name_cap_and_counted(engine):
    result = ask(engine, panel([16]), lambda s, b: s.order("A0", 32), max_weight=0.25)
    assert shares(result) == [16.0] and column(result, "limited") == [1]
    assert result.cuts.rows()[0][1:] == ("A0", 16.0, "LIMITED")
    within = ask(engine, panel([16]), lambda s, b: s.order("A0", 16), max_weight=0.25)
    assert shares(within) == [16.0] and column(within, "limited") == [0]


def test_each_direct_order_counts_whatever_its_words(engine):
    for order in (lambda s, b: s.order_target_shares("A0", 32), lambda s, b: s.order_target_value("A0", 512)):
        assert shares(ask(engine, panel([16]), order, max_weight=0.25)) == [16.0]


def test_what_is_held_counts_and_a_reduction_is_never_refused(engine):
    steps = [lambda s, b: s.order("A0", 16), lambda s, b: s.order("A0", 8), lambda s, b: s.order("A0", -4)]
    # At 32 the 16 shares are 512 of 1280, above the cap of 0.25: no more are bought, and 4 are sold.
    result = ask(engine, panel([16, 32, 32]), *steps, max_weight=0.25)
    assert shares(result) == [16.0, 16.0, 12.0] and column(result, "limited") == [0, 1, 0]


def test_a_turn_to_the_short_side_is_cut_on_that_side(engine):
    steps = [lambda s, b: s.order("A0", 8), lambda s, b: s.order("A0", -64)]
    result = ask(engine, panel([16, 16]), *steps, max_weight=0.25, **MARGIN)
    assert shares(result) == [8.0, -16.0]


def test_the_gross_cap_scales_all_increases_by_one_factor(engine):
    def step(s, b):
        s.order_target_percent("A0", 0.25)
        s.order(["A1", "A2"], [16, 32])

    # A target of 16 shares leaves 0.25 of 0.5 to increases of 0.75: a third of 16 and 32, cut to lots.
    result = ask(engine, panel([[16, 16, 16]]), step, max_gross=0.5)
    assert book(result) == [[16.0, 5.0, 10.0]] and column(result, "limited") == [2]


def test_orders_that_wait_count_as_filled(engine):
    def limits(name):
        return lambda s, b: s.order(name, 32, limit=8)

    path = dict(open=[[16, 16]] * 4, high=[[16, 16]] * 4, low=[[16, 16], [16, 16], [8, 8], [16, 16]])
    # 32 of A0 wait at a limit of 8, half of equity; then no more than a quarter is left for A1.
    result = ask(engine, panel([[16, 16]] * 4, **path), limits("A0"), limits("A1"), max_gross=0.75)
    assert book(result)[2] == [32.0, 16.0]  # the factor lies a hair below a half: 16 lots all the same


def test_a_sell_above_the_holding_takes_no_room_in_a_cash_account(engine):
    def step(s, b):
        s.order("A0", -1000)
        s.order("A1", 16)

    assert book(ask(engine, panel([[16, 16]]), step, max_gross=0.25)) == [[0.0, 16.0]]


def test_an_increase_without_a_mark_is_none_under_a_cap(engine):
    market = panel([NAN, 16])
    assert shares(ask(engine, market, lambda s, b: s.order("A0", 8), execution="next_close")) == [0.0, 8.0]
    capped = ask(engine, market, lambda s, b: s.order("A0", 8), execution="next_close", max_weight=1.0)
    assert shares(capped) == [0.0, 0.0] and column(capped, "limited") == [1, 0]


def test_a_huge_order_is_cut_and_ends_no_run(engine):
    result = ask(engine, panel([[16, 16]]), lambda s, b: s.order(["A0", "A1"], 1e14), max_gross=0.5)
    assert result.status == "OK" and book(result) == [[16.0, 16.0]]


@pytest.mark.parametrize(("cash", "cap", "price"), [(7000.0, 0.7, 49), (49000.0, 0.1, 49), (14000.0, 0.35, 49)])
def test_dust_takes_no_lot(engine, cash, cap, price):
    # 100 shares are the cap, but for dust that leaves 99.99999999999999; an order of them is not made smaller.
    for order, cut in ((5000, 1), (100, 0)):
        result = ask(engine, panel([price]), lambda s, b, n=order: s.order("A0", n), max_weight=cap, initial_cash=cash)
        assert shares(result) == [100.0] and column(result, "limited") == [cut]


def test_an_odd_order_within_the_cap_is_bought_whole(engine):
    # 10 shares in lots of 10 become 13; 7 more are 0.7 lots, and 20 shares the cap of 200 in 1000.
    steps = [lambda s, b: s.order("A0", 10), None, lambda s, b: s.order_target_shares("A0", 20)]
    settings = dict(lot=10, rounding="position", max_weight=0.2, initial_cash=1000.0)
    result = ask(engine, panel([13, 10, 10], split=[1, 1.3, 1]), *steps, **settings)
    assert shares(result) == [10.0, 13.0, 20.0] and column(result, "limited") == [0, 0, 0]


def test_the_gross_cap_leaves_lots_whole(engine):
    def step(s, b):
        s.order_target_percent("A0", 0.5)
        s.order("A1", 1000)

    result = ask(engine, panel([[10, 10]]), step, max_gross=1.0, lot=500, initial_cash=10000.0)
    assert book(result) == [[500.0, 500.0]] and column(result, "limited") == [1]
