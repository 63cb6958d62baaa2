# SPDX-License-Identifier: Apache-2.0
"""[S8] The price that sizes a target, and what a target without one does, worked by hand.

1024 of cash, no buffer: a weight of 1/4 at a price of 8 is 32 shares, at 16 it is 16.
"""

from __future__ import annotations

import pytest
from kit import NAN, ask, column, fills, panel, run, shares

#: Bars without any price in the middle: an order of bar 0 waits over them.
HALTED = {"close": [8, NAN, NAN, 16, 16], "open": [8, NAN, NAN, 16, 16]}


@pytest.mark.parametrize("sizing", ["close", "last"])
def test_an_asset_that_is_halted_is_bought_when_it_trades(engine, sizing):
    """Daily rows go on naming it: the order of bar 0 waits, 32 shares, until bar 3."""
    result = run(engine, panel(**HALTED), [0.25] * 3 + [NAN] * 2, execution="next_open", sizing=sizing)
    assert shares(result) == [0.0, 0.0, 0.0, 32.0, 32.0]
    # [S4] finds no price at bars 1 and 2; with "close" the targets of these bars find none either.
    assert column(result, "no_price") == [0, *([2] * 2 if sizing == "close" else [1] * 2), 0, 0]
    assert column(result, "working") == [1, 1, 1, 0, 0]


def test_a_target_without_a_price_forms_an_order_at_the_last_mark(engine):
    market = panel(**HALTED)
    result = run(engine, market, [NAN, 0.5, NAN, NAN, NAN], execution="next_open", sizing="last")
    assert shares(result) == [0.0, 0.0, 0.0, 64.0, 64.0]  # 512/8, filled at 16
    assert column(result, "working") == [0, 1, 1, 0, 0]
    plain = run(engine, market, [NAN, 0.5, NAN, NAN, NAN], execution="next_open")
    assert shares(plain) == [0.0] * 5 and column(plain, "no_price") == [0, 1, 0, 0, 0]


def test_the_last_mark_is_divided_by_a_split_since(engine):
    market = panel([16, NAN, 8], open=[16, NAN, 8], split=[1, 2, 1])
    assert shares(run(engine, market, [NAN, 0.5, NAN], execution="next_open", sizing="last")) == [0.0, 0.0, 64.0]


def test_before_the_first_price_there_is_no_mark(engine):
    market = panel([NAN, 8, 8], open=[NAN, 8, 8])
    result = run(engine, market, [0.5, NAN, NAN], execution="next_open", sizing="last")
    assert shares(result) == [0.0] * 3 and column(result, "no_price") == [1, 0, 0]


def test_a_bar_with_an_open_alone_is_sized_by_it(engine):
    """[S5] marks an asset at the open where the close is missing."""
    market = panel([8, NAN, 8], open=[8, 4, 4])
    result = run(engine, market, [NAN, 0.5, NAN], execution="next_open", sizing="last")
    assert shares(result) == [0.0, 0.0, 128.0]


def test_a_target_of_zero_needs_no_price(engine):
    market = panel([8, 8, NAN, 8], open=[8, 8, NAN, 8])
    for sizing in ("close", "last"):
        result = run(engine, market, [0.25, NAN, 0.0, NAN], execution="next_open", sizing=sizing)
        assert shares(result) == [0.0, 32.0, 32.0, 0.0] and column(result, "no_price") == [0, 0, 0, 0]


def test_the_smallest_trade_counts_at_the_last_mark(engine):
    market = panel(**HALTED)
    result = run(engine, market, [NAN, 2**-6, NAN, NAN, NAN], execution="next_open", sizing="last", min_trade_value=17)
    assert column(result, "below_min") == [0, 1, 0, 0, 0]  # 2 shares at 8


def test_a_limit_order_outlives_a_target_without_a_price(engine):
    """A strategy's limit of 6 waits; a weight asked for while there is no close leaves order and limit as they are."""
    market = panel([8, NAN, 8, 8], open=[8, 8, 8, 8], high=[8, 8, 8, 8], low=[8, 8, 4, 4])
    result = ask(
        engine, market, lambda s, b: s.order("A0", 10, limit=6.0), lambda s, b: s.order_target_percent("A0", 0.5)
    )
    assert fills(result)[0][:5] == (2, "A0", 10.0, 6.0, 6.0)
    assert shares(result) == [0.0, 0.0, 10.0, 10.0]


def test_a_target_in_money_without_a_price_leaves_the_order_that_works(engine):
    market = panel([8, NAN, NAN, 8], open=[8, NAN, NAN, 8])
    steps = (lambda s, b: s.order("A0", 10), lambda s, b: s.order_target_value("A0", 512))
    kept = ask(engine, market, *steps, execution="next_open")
    assert shares(kept) == [0.0, 0.0, 0.0, 10.0] and column(kept, "no_price") == [0, 2, 1, 0]
    sized = ask(engine, market, *steps, execution="next_open", sizing="last")
    assert shares(sized) == [0.0, 0.0, 0.0, 64.0] and column(sized, "no_price") == [0, 1, 1, 0]
