# SPDX-License-Identifier: Apache-2.0
"""What a fill costs ([S4], 2): adverse move, commission, tax, and how the record splits them."""

from __future__ import annotations

import pytest
from kit import NAN, column, fills, panel, run

CASH = 4096.0


def buy(engine, market=None, **settings):
    """(price, commission, slippage) of a purchase of 128 shares at 16, a notional of 2048."""
    (fill,) = fills(run(engine, market or panel([16]), [0.5], initial_cash=CASH, **settings))
    assert fill[:3] == (0, "A0", 128.0) and fill[4] == 16.0 and fill[7] == "FILLED"
    return fill[3], fill[5], fill[6]


def test_slippage_and_spread_move_the_price_against_the_order(engine):
    # 1/32 + 1/32 of 16 is one: bought at 17, sold at 15, 128 each way.
    market = panel([16, 16], half_spread=[2**-5, 2**-5])
    result = run(engine, market, [0.5, 0], initial_cash=CASH, slippage=2**-5)
    assert fills(result) == [
        (0, "A0", 128.0, 17.0, 16.0, 0.0, 128.0, "FILLED"),
        (1, "A0", -128.0, 15.0, 16.0, 0.0, 128.0, "FILLED"),
    ]
    assert column(result, "cash") == [CASH - 2048 - 128, CASH - 256]
    assert column(result, "buys") == [2048.0, 0.0] and column(result, "sells") == [0.0, 2048.0]
    assert column(result, "slippage") == [128.0, 128.0] and column(result, "fills") == [1, 1]


def test_the_spread_is_that_of_the_bar_that_fills(engine):
    market = panel([16, 16], open=[16, 16], half_spread=[0.5, 2**-4])
    result = run(engine, market, [0.5, NAN], initial_cash=CASH, execution="next_open")
    assert [f[6] for f in fills(result)] == [128.0]


def test_a_missing_spread_is_none(engine):
    assert buy(engine, panel([16], half_spread=[NAN])) == (16.0, 0.0, 0.0)


@pytest.mark.parametrize(("volume", "impact", "slip"), [(8192, 0.25, 64.0), (512, 0.25, 256.0), (512, 0.5, 512.0)])
def test_impact_is_the_root_of_the_share_of_volume(engine, volume, impact, slip):
    # 128/8192 = 1/64, the root 1/8, a quarter of it 1/32 of 2048; 128/512 has the root 1/2.
    # sqrt(128)*(1/sqrt(8192)) is within an ulp of 1/8, so the money is exact after the tick.
    assert buy(engine, panel([16], volume=[volume]), impact=impact)[2] == slip


@pytest.mark.parametrize(("volatility", "slip"), [(0.5, 128.0), (0.125, 32.0), (NAN, 0.0), (0.0, 0.0)])
def test_a_volatility_multiplies_the_impact(engine, volatility, slip):
    # 128/8192 = 1/64, the root 1/8, times an impact of 1 and a volatility of 1/2: 1/16 of 2048.
    assert buy(engine, panel([16], volume=[8192], volatility=[volatility]), impact=1.0)[2] == slip


def test_the_volatility_is_that_of_the_bar_that_fills(engine):
    market = panel([16, 16], open=[16, 16], volume=[8192, 8192], volatility=[0.125, 0.5])
    result = run(engine, market, [0.5, NAN], initial_cash=CASH, execution="next_open", impact=1.0)
    assert [f[6] for f in fills(result)] == [128.0]
    free = run(engine, market, [0.5, NAN], initial_cash=CASH, execution="next_open")
    assert [f[6] for f in fills(free)] == [0.0]


def test_impact_counts_shares_not_lots(engine):
    # 64 shares as 16 lots of 4: sqrt(16*4)/sqrt(4096) = 1/8, a quarter of it on 1024.
    result = run(engine, panel([16], volume=[4096]), [0.25], initial_cash=CASH, impact=0.25, lot=4)
    assert fills(result)[0][6] == 32.0


def test_an_order_without_volume_does_not_fill_when_impact_is_on(engine):
    result = run(engine, panel([16] * 3, volume=[0, NAN, 128]), [0.5, NAN, NAN], initial_cash=CASH, impact=0.25)
    assert [f[0] for f in fills(result)] == [2] and column(result, "volume_clipped") == [1, 1, 0]
    assert column(result, "working") == [1, 1, 0]
    free = run(engine, panel([16], volume=[0]), [0.5], initial_cash=CASH)
    assert column(free, "fills") == [1]


@pytest.mark.parametrize("settings", [dict(slippage=1.0), dict(slippage=0.5), dict(impact=1e6)])
def test_the_adverse_move_is_at_most_95_percent(engine, settings):
    # Tick 1: 0.95*2048 = 1945.6 -> 1946; the fill price is 16 + 15.2. A slippage and a half-spread of 1/2 add to one.
    market = panel([16], volume=[1], half_spread=[0.5 if settings == dict(slippage=0.5) else 0])
    price, commission, slip = buy(engine, market, money_tick=1.0, **settings)
    assert (commission, slip) == (0.0, 1946.0) and price == 16.0 + 16.0 * 0.95


def test_a_sale_keeps_five_percent_at_worst(engine):
    market = panel([16, 16], half_spread=[0, 1])
    result = run(engine, market, [0.5, 0], initial_cash=CASH, money_tick=1.0)
    assert column(result, "cash") == [2048.0, 2048.0 + 2048 - 1946]


def test_commission_is_on_the_executed_value(engine):
    # Bought for 2048 + 128, sold for 2048 - 128, each times 1/64.
    result = run(engine, panel([16, 16]), [0.5, 0], initial_cash=CASH, slippage=2**-4, commission_rate=2**-6)
    assert column(result, "commission") == [34.0, 30.0] and column(result, "slippage") == [128.0, 128.0]
    assert column(result, "cash") == [CASH - 2048 - 162, CASH - 162 - 158]


@pytest.mark.parametrize(
    ("settings", "fee"),
    [
        (dict(commission_per_share=0.125), 16.0),
        (dict(commission_per_share=0.125, commission_rate=2**-6), 48.0),
        (dict(commission_per_share=0.125, min_commission=64.0), 64.0),
        (dict(commission_per_share=0.125, min_commission=8.0), 16.0),
        (dict(min_commission=8.0), 8.0),
        (dict(commission_per_share=1.0, max_commission_rate=2**-6), 32.0),
        # The maximum wins over the minimum, and is of the notional, not of the executed value.
        (dict(commission_per_share=0.125, min_commission=64.0, max_commission_rate=2**-6), 32.0),
        (dict(commission_rate=2**-5, max_commission_rate=2**-6, slippage=2**-4), 32.0),
        (dict(min_commission=64.0, max_commission_rate=0.0), 0.0),
    ],
)
def test_commission_per_share_minimum_and_maximum(engine, settings, fee):
    assert buy(engine, **settings)[1] == fee


def test_commission_per_share_counts_shares_not_lots(engine):
    result = run(engine, panel([16]), [0.5], initial_cash=CASH, commission_per_share=0.125, lot=4)
    assert fills(result)[0][2] == 128.0 and column(result, "commission") == [16.0]


def test_sell_tax_is_on_sales_on_the_executed_value_and_above_the_maximum(engine):
    # Sale: executed 1920; the commission of 1920/64 is capped at 2048/128 = 16, the tax of 1920/8 is not.
    settings = dict(slippage=2**-4, commission_rate=2**-6, max_commission_rate=2**-7, sell_tax=0.125)
    result = run(engine, panel([16, 16]), [0.5, 0], initial_cash=CASH, **settings)
    assert column(result, "commission") == [16.0, 256.0]


def test_a_short_sale_is_taxed_and_covering_is_not(engine):
    result = run(engine, panel([16, 16]), [-0.5, 0], initial_cash=CASH, account="margin", sell_tax=2**-4)
    assert column(result, "commission") == [128.0, 0.0] and column(result, "cash") == [CASH + 2048 - 128, CASH - 128]


def test_what_does_not_trade_costs_nothing(engine):
    result = run(engine, panel([16, 16]), [0.5, 0.5], initial_cash=CASH, min_commission=8.0)
    assert column(result, "commission") == [8.0, 0.0] and column(result, "fills") == [1, 0]


def test_money_of_a_fill_is_rounded_in_its_parts(engine):
    # Tick 1, one share at 10.25 (a share of 4096 by weight 2.5e-3): reference 10.25 -> 10; the drag is
    # R(10.25/16 + 0.75) = R(1.390625) = 1, the slippage R(0.640625) = 1, which leaves a commission of 0.
    settings = dict(slippage=2**-4, min_commission=0.75, money_tick=1.0)
    result = run(engine, panel([10.25]), [0.0026], initial_cash=CASH, **settings)
    assert [column(result, name) for name in ("buys", "slippage", "commission")] == [[10.0], [1.0], [0.0]]
    assert column(result, "cash") == [CASH - 11] and column(result, "long_value") == [10.0]


def test_a_fractional_fill(engine):
    # Half a share at 16: notional 8, an eighth adverse, a per-share fee on half a share.
    settings = dict(lot=0, slippage=0.125, commission_per_share=0.5)
    result = run(engine, panel([16]), [8 / CASH], initial_cash=CASH, **settings)
    assert fills(result) == [(0, "A0", 0.5, 18.0, 16.0, 0.25, 1.0, "FILLED")]


@pytest.mark.parametrize(
    ("more", "commission"),
    [
        ({}, 4.0),
        ({"commission_rate": 2**-6, "commission_per_share": 0.125}, 4.0 + 32 + 16),
        ({"commission_rate": 2**-6, "min_commission": 32.0}, 36.0),  # the minimum is one of all of it
        ({"min_commission": 32.0}, 32.0),
        ({"commission_rate": 2**-6, "max_commission_rate": 2**-7}, 16.0),  # and so is the maximum
        ({"max_commission_rate": 2**-10}, 2.0),
    ],
)
def test_a_fixed_commission_is_part_of_what_minimum_and_maximum_bound(engine, more, commission):
    assert buy(engine, fixed_commission=4.0, **more) == (16.0, commission, 0.0)


def test_a_fixed_commission_is_paid_for_every_fill(engine):
    # 64 shares a bar; two fills of the purchase, then the sale of each half: 4 apiece, and nothing where nothing fills.
    market = panel([16] * 5, volume=[64] * 5)
    result = run(engine, market, [0.5, NAN, 0, NAN, NAN], initial_cash=CASH, participation=1.0, fixed_commission=4.0)
    assert column(result, "commission") == [4.0, 4.0, 4.0, 4.0, 0.0] and column(result, "cash")[-1] == CASH - 16
    taxed = run(engine, panel([16, 16]), [0.5, 0], initial_cash=CASH, fixed_commission=4.0, sell_tax=2**-5)
    assert column(taxed, "commission") == [4.0, 4.0 + 64]
