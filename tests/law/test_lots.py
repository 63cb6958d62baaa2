# SPDX-License-Identifier: Apache-2.0
"""From a target to whole lots ([S8])."""

from __future__ import annotations

import pytest
from kit import NAN, ask, book, column, fills, held, panel, run, shares

SHARE = 1 / 64  # the weight of one share at 16 in 1024


@pytest.mark.parametrize(
    ("wanted", "toward_zero", "nearest"),
    [(2.25, 2, 2), (2.5, 2, 3), (2.75, 2, 3), (0.75, 0, 1), (0.5, 0, 1), (0.25, 0, 0), (3, 3, 3)],
)
def test_rounding_of_a_purchase(engine, wanted, toward_zero, nearest):
    for rounding, got in (("toward_zero", toward_zero), ("nearest", nearest)):
        result = run(engine, panel([16]), [wanted * SHARE], rounding=rounding)
        assert shares(result) == [got]
        assert column(result, "rounded_out") == [int(got == 0)]


@pytest.mark.parametrize(("wanted", "toward_zero", "nearest"), [(-2.25, -2, -2), (-2.5, -2, -3), (-0.25, 0, 0)])
def test_rounding_of_a_short_sale(engine, wanted, toward_zero, nearest):
    for rounding, got in (("toward_zero", toward_zero), ("nearest", nearest)):
        assert shares(run(engine, panel([16]), [wanted * SHARE], rounding=rounding, account="margin")) == [got]


def test_it_is_the_order_that_is_rounded_not_the_target(engine):
    # From 16 towards 8.5: -7.5 is cut to -7, so 9 stay; to the nearest (half away from zero) it is -8.
    assert shares(run(engine, panel([16, 16]), [16 * SHARE, 8.5 * SHARE])) == [16.0, 9.0]
    assert shares(run(engine, panel([16, 16]), [16 * SHARE, 8.5 * SHARE], rounding="nearest")) == [16.0, 8.0]


@pytest.mark.parametrize(
    ("before", "wanted", "got"),
    [(16, 8.5, 8), (8, 16.5, 16), (-16, -8.5, -8), (4, -2.5, -2), (0, 2.75, 2)],
)
def test_it_is_the_position_that_is_rounded(engine, before, wanted, got):
    # From 16 towards 8.5: 8 are to be held, so 8 are sold; the order of -7.5 by itself would be -7.
    margin = dict(account="margin", max_leverage=None, maintenance_margin=None)
    result = run(engine, panel([16, 16]), [before * SHARE, wanted * SHARE], rounding="position", **margin)
    assert shares(result) == [before, got] and column(result, "rounded_out") == [0, 0]


def test_a_position_within_the_last_lot_is_met(engine):
    result = run(engine, panel([16, 16]), [16 * SHARE, 16.75 * SHARE], rounding="position")
    assert shares(result) == [16.0, 16.0] and column(result, "rounded_out") == [0, 1]
    snapped = run(engine, panel([16]), [(16 - 2.0**-20) * SHARE], rounding="position")
    assert shares(snapped) == [16.0]
    free = run(engine, panel([16, 16]), [16 * SHARE, 8.5 * SHARE], rounding="position", lot=0)
    assert shares(free) == [16.0, 8.5]


def test_a_position_of_whole_lots_takes_the_odd_lot_along(engine):
    # 10 shares, two and a half lots of 4; towards 4.75 lots: 4 are to be held, so 6 shares are bought.
    market = panel([16, 32, 32], split=[1, 0.5, 1])
    result = run(engine, market, [0.3125, NAN, 4.75 * 128 / 1024], lot=4, rounding="position")
    assert shares(result) == [20.0, 10.0, 16.0]


def test_a_direct_order_leads_to_a_whole_position(engine):
    steps = (lambda s, b: s.order("A0", 26), lambda s, b: s.order("A0", -7))
    assert shares(ask(engine, panel([1, 1]), *steps, lot=10, rounding="position")) == [20.0, 10.0]
    assert shares(ask(engine, panel([1, 1]), *steps, lot=10)) == [20.0, 20.0]


def test_an_order_a_hair_below_a_lot_buys_it(engine):
    # 2999.9999999995 shares: within a millionth of 3000.
    result = run(engine, panel([16]), [2999.9999999995 / 4096], initial_cash=65536.0)
    assert shares(result) == [3000.0] and column(result, "cash") == [65536.0 - 48000]


@pytest.mark.parametrize(
    ("wanted", "got"),
    [(16 - 2.0**-20, 16), (16 - 2.0**-19, 15), (16 + 2.0**-20, 16), (1 - 2.0**-20, 1), (1 - 2.0**-19, 0)],
)
def test_the_snap_reaches_a_millionth(engine, wanted, got):
    # 2^-20 is 9.5e-7 and 2^-19 is 1.9e-6.
    assert shares(run(engine, panel([16]), [wanted * SHARE])) == [got]


def test_an_order_within_a_millionth_of_nothing_is_rounded_out(engine):
    result = run(engine, panel([16, 16]), [16 * SHARE, (16 - 2.0**-21) * SHARE])
    assert len(fills(result)) == 1 and column(result, "rounded_out") == [0, 1]
    same = run(engine, panel([16, 16]), [16 * SHARE, 16 * SHARE])
    assert len(fills(same)) == 1 and column(same, "rounded_out") == [0, 0]


def test_lots_of_many_shares(engine):
    # 256 buy 2 lots of 7 shares at 112, and 32 stay.
    result = run(engine, panel([16]), [0.25], lot=7)
    assert shares(result) == [14.0] and fills(result)[0][2:5] == (14.0, 16.0, 16.0)
    assert column(result, "cash") == [800.0] and column(result, "long_value") == [224.0]


def test_lots_of_a_part_of_a_share(engine):
    # Lots of half a share: 2.75 shares are 5.5 lots, so 5.
    assert shares(run(engine, panel([16]), [2.75 * SHARE], lot=0.5)) == [2.5]


def test_fractional_shares_are_not_rounded(engine):
    result = run(engine, panel([16]), [2.71875 * SHARE], lot=0)
    assert shares(result) == [2.71875] and column(result, "cash") == [1024 - 43.5]
    assert shares(run(engine, panel([16]), [2.0**-30], lot=0)) == [2.0**-24]


def test_the_panels_lots_replace_the_configs(engine):
    # 10.75 shares each: lots of 4, of one, and fractional; the config's 100 is not used.
    market = panel([[16, 16, 16]], lot=[4, 1, 0])
    result = run(engine, market, [[10.75 * SHARE] * 3], lot=100)
    assert book(result) == [[8.0, 10.0, 10.75]]
    assert column(result, "cash") == [1024 - 16 * 28.75]


def test_a_config_of_fractional_shares_overrides_the_panels_lots(engine):
    # "a panel may give a lot per asset, used instead of the config's unless that is 0"
    assert book(run(engine, panel([[16, 16]], lot=[4, 1]), [[10.75 * SHARE] * 2], lot=0)) == [[10.75, 10.75]]


def test_final_positions_are_the_shares_of_the_last_bar(engine):
    # Whoever says how many shares make a lot: the config, the panel, the panel with a fractional asset, or neither.
    weights = [[10.75 * SHARE] * 2]
    for lots, lot in ((None, 4), ([4, 1], 1), ([4, 0], 1), ([4, 1], 0), (None, 0)):
        result = run(engine, panel([[16, 16]], lot=lots) if lots else panel([[16, 16]]), weights, lot=lot)
        assert held(result) == dict(zip(("A0", "A1"), book(result)[0], strict=True)), (lots, lot)


def test_an_exit_needs_no_rounding_and_no_price(engine):
    market = panel([16, NAN, 16], open=[16, 16, 16])
    result = run(engine, market, [10.75 * SHARE, 0, NAN], execution="next_open", lot=0)
    assert shares(result) == [0.0, 10.75, 0.0] and column(result, "cash")[-1] == 1024.0


def test_positions_count_shares_and_fills_are_signed(engine):
    result = run(engine, panel([16, 16]), [0.5, 0.25], lot=8)
    assert shares(result) == [32.0, 16.0] and [f[2] for f in fills(result)] == [32.0, -16.0]


@pytest.mark.parametrize(
    ("step", "got"),
    [
        (lambda s, b: s.cancel("A0"), 15),
        (lambda s, b: s.order("A0", 0), 15),
        (lambda s, b: s.order_target_shares("A0", 15), 15),
        (lambda s, b: s.order("A0", -10), 5),
        (lambda s, b: s.order("A0", 10), 25),
        (lambda s, b: s.order("A0", -6), 0),  # 9 would be held: no lot
        (lambda s, b: s.order("A0", 6), 20),  # 21 would be held: two lots
    ],
)
def test_a_direct_order_of_whole_lots_beside_an_odd_lot_is_placed_as_it_is(engine, step, got):
    # 10 shares in lots of 10, split 3 for 2: 15 are held.
    market = panel([12, 8, 8], split=[1, 1.5, 1])
    result = ask(engine, market, lambda s, b: s.order("A0", 10), None, step, lot=10, rounding="position")
    assert shares(result) == [10.0, 15.0, got] and column(result, "rounded_out") == [0, 0, 0]
    assert len(fills(result)) == 1 + (got != 15)
