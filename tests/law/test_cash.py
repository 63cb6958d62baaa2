# SPDX-License-Identifier: Apache-2.0
"""The cash account ([S4], 3): sells fund buys, buys are scaled to the cash, remainders are bought back in classes."""

from __future__ import annotations

from kit import NAN, book, column, fills, panel, run, tie


def test_sells_fund_buys_of_the_same_bar(engine):
    # All of A0 (64 shares) becomes all of A1, although no cash is left before.
    result = run(engine, panel([[16, 16]] * 2), [[1, 0], [0, 1]])
    assert book(result) == [[64.0, 0.0], [0.0, 64.0]] and column(result, "cash") == [0.0, 0.0]
    assert column(result, "cash_clipped") == [0, 0]


def test_the_costs_of_sells_reduce_what_buys_may_cost(engine):
    # E = 1024 when the target of 64 shares is sized; the sale brings 1024 - 64, which buy 60 of them.
    result = run(engine, panel([[16, 16]] * 2), [[1, 0], [0, 1]], sell_tax=2**-4)
    assert book(result)[1] == [0.0, 60.0] and column(result, "cash")[1] == 0.0
    assert column(result, "cash_clipped") == [0, 1] and fills(result)[-1][7] == "CASH_CLIPPED"


def test_buys_that_just_fit_are_not_scaled(engine):
    # 60 shares at 16 and 1/16 of commission: 960 + 60 = 1020 of 1024.
    result = run(engine, panel([16]), [0.9375], commission_rate=2**-4)
    assert book(result) == [[60.0]] and column(result, "cash") == [4.0] and column(result, "cash_clipped") == [0]
    # 1024 of 1024, to the last tick.
    assert column(run(engine, panel([16]), [1]), "cash") == [0.0]


def test_one_factor_scales_all_buys_and_the_largest_remainder_comes_back(engine):
    # 7, 5 and 3 lots at 10 cost 150 of 100: a factor just below 2/3 cuts to 4 (of 4.67), 3 (of 3.33), 1 (of 2 less
    # 1e-12). The 20 left buy the remainder just below 1, then that of 2/3; that of 1/3 stays cut.
    result = run(engine, panel([[10, 10, 10]]), [[0.7, 0.5, 0.3]], initial_cash=100.0)
    assert book(result) == [[5.0, 3.0, 2.0]] and column(result, "cash") == [0.0]
    assert column(result, "cash_clipped") == [3]
    assert [f[7] for f in fills(result)] == ["CASH_CLIPPED"] * 3


def test_the_first_class_that_does_not_fit_ends_the_buy_back(engine):
    # 1 lot at 64, 10 and 11 lots at 8: 232 of 100, factor 0.431: 0 of 0.431, 4 of 4.31, 4 of 4.74 lots; 36 are left.
    # A2's lot (8*0.74 = 5) comes back; A0's (8*0.431 = 3) costs 64 of 28 and ends it, though
    # A1's 8 (class 2) would fit.
    result = run(engine, panel([[64, 8, 8]]), [[0.64, 0.8, 0.88]], initial_cash=100.0)
    assert book(result) == [[0.0, 4.0, 5.0]] and column(result, "cash") == [28.0]


def test_a_dear_lot_comes_back_before_a_cheap_one_of_a_lower_class(engine):
    # 1 lot at 64 and 5 at 8: 104 of 100, factor 0.96: remainders 0.96 (7) and 4.81 - 4 (6). 68 are left, 64 go first.
    result = run(engine, panel([[64, 8]]), [[0.64, 0.4]], initial_cash=100.0)
    assert book(result) == [[1.0, 4.0]] and column(result, "cash") == [4.0]


def test_one_missing_cent_does_not_turn_every_lot_into_none(engine):
    # Three single lots at 32 and 95 of cash: the factor 95/96 cuts each to 0; two of the three come back, by
    # their ties.
    names = ["A0", "A1", "A2"]
    assert len({tie(name) for name in names}) == 3
    weights = [[32 / 95] * 3]
    result = run(engine, panel([[32, 32, 32]], assets=names), weights, initial_cash=95.0, rounding="nearest")
    losing = min(names, key=tie)
    assert book(result) == [[float(name != losing) for name in names]] and column(result, "cash") == [31.0]
    # An order that got all of it back is an ordinary fill.
    assert [f[7] for f in fills(result)] == ["FILLED"] * 2 and column(result, "cash_clipped") == [1]


def test_a_class_of_two_comes_back_whole_or_not_at_all(engine):
    twin = next(name for name in (f"A{i}" for i in range(1, 9999)) if tie(name) == tie("A0"))
    for price, each in ((50, 1.0), (60, 0.0)):
        # Weights of 1 order one lot each (100/60 and 100/50 truncated are 1 and 2).
        weights = [[1.0, 1.0]]
        result = run(engine, panel([[price, price]], assets=["A0", twin]), weights, initial_cash=100.0)
        assert book(result) == [[each, each]] and column(result, "cash_clipped") == [2]


def test_a_fractional_clip_leaves_no_remainder(engine):
    # Two orders of 1024 each; four ticks of 2^-26 are kept back for each: (1024 - 2^-23)/2048*(1 - 2^-40) of 64 shares
    # are 32 - 2^-28 - 2^-35 (what is smaller than an ulp falls off). Each is worth 512 - 2^-24 - 2^-31, on the tick
    # 512 - 2^-24.
    result = run(engine, panel([[16, 16]]), [[1, 1]], lot=0)
    assert book(result) == [[32 - 2.0**-28 - 2.0**-35] * 2] and column(result, "cash") == [2.0**-23]
    assert column(result, "long_value") == [1024 - 2.0**-23] and column(result, "cash_clipped") == [2]


def test_a_minimum_commission_is_kept_back_per_buy(engine):
    # 2 lots each at 16, with 64 apiece, of 100: the minimums alone exceed the cash, so the factor is 0; the 100 then
    # buy one lot for 80, that of the higher tie (same remainder), and not the other.
    assert tie("A0") != tie("A1")
    result = run(engine, panel([[16, 16]]), [[0.4, 0.4]], initial_cash=100.0, min_commission=64.0)
    winner = max(("A0", "A1"), key=tie)
    assert [(f[1], f[2]) for f in fills(result)] == [(winner, 1.0)] and column(result, "cash") == [20.0]


def test_a_fixed_commission_is_kept_back_per_buy(engine):
    # 64 lots and 64 of commission: (1024 - 64)/1024 of them are just below 60, and one comes back.
    result = run(engine, panel([16]), [1], fixed_commission=64.0)
    assert book(result) == [[60.0]] and column(result, "cash") == [0.0] and column(result, "commission") == [64.0]
    # With a rate of 1/16 on top, B is 1024 + 64: (1024 - 64)/1088*64 = 56.5; one more costs 17 and 8 are left.
    result = run(engine, panel([16]), [1], fixed_commission=64.0, commission_rate=2**-4)
    assert book(result) == [[56.0]] and column(result, "cash") == [1024.0 - 56 * 17 - 64]
    # Each kept back alone, whichever is larger.
    both = run(engine, panel([16]), [1], fixed_commission=16.0, min_commission=64.0)
    assert book(both) == [[60.0]] and column(both, "commission") == [64.0]


def test_without_cash_nothing_is_bought(engine):
    # A0 takes everything; A1 finds no cash and no remainder of it, the factor is 0.
    result = run(engine, panel([[16, 16]] * 2), [[1, NAN], [NAN, 1]])
    assert book(result)[1] == [64.0, 0.0] and column(result, "cash_clipped") == [0, 1]
    assert column(result, "working") == [0, 0]


def test_what_the_clip_cuts_is_cancelled_even_where_the_rest_is_kept(engine):
    # At bar 1 the price has doubled: 64 shares cost 2048 of 1024, so 31 (of just below 32) and one bought back. At
    # bar 2 nothing works any more.
    market = panel([16, 32, 1], open=[16, 32, 1])
    result = run(engine, market, [1, NAN, NAN], execution="next_open", unfilled="keep")
    assert book(result) == [[0.0], [32.0], [32.0]] and column(result, "cash") == [1024.0, 0.0, 0.0]
    assert column(result, "cash_clipped") == [0, 1, 0] and column(result, "working") == [1, 0, 0]


def test_a_fill_bought_back_costs_what_its_size_costs(engine):
    # 64 lots at 16 plus 1/8 of slippage are 1152 of 1024: 56.9 lots, 56 (1008) and 16 left, one more costs 18: no.
    result = run(engine, panel([16]), [1], slippage=0.125)
    assert book(result) == [[56.0]] and column(result, "cash") == [16.0]
    assert fills(result) == [(0, "A0", 56.0, 18.0, 16.0, 0.0, 112.0, "CASH_CLIPPED")]


def test_a_sale_dearer_than_its_proceeds_is_the_only_way_below_zero(engine):
    dear = run(engine, panel([16, 16]), [0.5, 0], initial_cash=32.0, sell_tax=1.0, min_commission=16.0)
    # 32 buy one share and its fee of 16; the sale brings 16, costs 16 of commission and 16 of tax.
    assert column(dear, "cash") == [0.0, -16.0] and column(dear, "commission") == [16.0, 32.0]
    assert dear.status == "BANKRUPT" and column(dear, "equity") == [16.0, -16.0]


def test_cash_buffer_leaves_a_fraction_uninvested(engine):
    # A quarter stays: 768/16 = 48 shares; the default buffer of 0.25 % leaves 2.56, so 63 shares.
    assert book(run(engine, panel([16]), [1], cash_buffer=0.25)) == [[48.0]]
    assert book(run(engine, panel([16]), [1], cash_buffer=0.0025)) == [[63.0]]


def test_no_more_is_bought_back_than_was_ordered(engine):
    # 10 of A0 in lots of 10 become 15 of the 20 wanted: 5 are ordered for 40, and three lots of A1 for 200 each, half
    # spread and all. 496 are there: 0.775 of half a lot and of three are none and two, and 96 stay. A0 comes first, and
    # takes what was ordered, not the lot that 96 would pay for.
    market = panel([[12, 16], [8, 16]], split=[[1, 1], [1.5, 1]], half_spread=[[0, 0.25]] * 2)
    weights = [[120 / 616, NAN], [160 / 616, 480 / 616]]
    result = run(engine, market, weights, lot=10, rounding="position", initial_cash=616.0)
    assert book(result) == [[10.0, 0.0], [20.0, 20.0]] and column(result, "cash") == [496.0, 56.0]
    assert [(f[1], f[2], f[7]) for f in fills(result)[1:]] == [("A0", 5.0, "FILLED"), ("A1", 20.0, "CASH_CLIPPED")]
    assert column(result, "cash_clipped") == [0, 1]


def test_a_maximum_commission_below_the_fixed_one_shrinks_with_the_fill(engine):
    # Four buys of 256 at a sixteenth each cost 16, not 300: they are cut by 16/17, to 1024 with their fees.
    for fee in ({"min_commission": 300.0}, {"fixed_commission": 300.0}):
        result = run(engine, panel([[8] * 4]), [[0.25] * 4], lot=0, max_commission_rate=2.0**-4, **fee)
        assert column(result, "fills") == [4] and column(result, "cash_clipped") == [4]
        assert 0 <= column(result, "cash")[0] < 1e-6 and abs(column(result, "buys")[0] - 1024 * 16 / 17) < 1e-6


def test_a_maximum_commission_for_some_buys_alone(engine):
    # A0's quarter is 16 at most and A1's whole 64: with a fixed 32, A1 is flat. B is 256 + 16 and 1024 + 0, and
    # (1024 - 32)/1296 of 256 and 1024 is bought.
    settings = dict(lot=0, fixed_commission=32.0, max_commission_rate=2.0**-4)
    result = run(engine, panel([[8, 8]]), [[0.25, 1]], **settings)
    bought = [8 * x for x in book(result)[0]]
    assert all(abs(x - y * 992 / 1296) < 1e-6 for x, y in zip(bought, (256, 1024), strict=True))
    assert 0 <= column(result, "cash")[0] < 1e-6
