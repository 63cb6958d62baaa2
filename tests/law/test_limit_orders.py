# SPDX-License-Identifier: Apache-2.0
"""Limit and stop orders ([S4l]): when a bar reaches them, at what price, with what costs, and what ends them."""

from __future__ import annotations

import pytest
from kit import NAN, ask, column, fills, panel, shares

#: One bar to decide at 16, then the bar that is looked at: open, high, low, close.
MARGIN = dict(account="margin", max_leverage=None, maintenance_margin=None)
EXECUTIONS = ("next_open", "next_close", "same_close")


def bars(*path, **fields):
    """A bar at 16, then bars of (open, high, low, close)."""
    rows = [(16, 16, 16, 16), *path]
    return panel(
        **dict(zip(("open", "high", "low", "close"), map(list, zip(*rows, strict=True)), strict=True)), **fields
    )


def one(engine, market, size, **settings):
    """The fills (bar, shares, price) of one order at bar 0; limit= and stop= among the settings."""
    prices = {name: settings.pop(name) for name in ("limit", "stop") if name in settings}
    result = ask(engine, market, lambda s, b: s.order("A0", size, **prices), **{**MARGIN, **settings})
    return [(f[0], f[2], f[3]) for f in fills(result)]


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize(
    ("size", "limit", "path", "price"),
    [
        (8, 14, (16, 17, 13, 16), 14.0),  # reached within the bar
        (8, 14, (16, 17, 14, 16), 14.0),  # touched
        (8, 14, (12, 17, 11, 16), 12.0),  # the open is better
        (8, 14, (14, 17, 13, 16), 14.0),  # the open is at the limit
        (8, 14, (16, 17, 15, 16), None),  # not reached
        (-8, 18, (16, 19, 15, 16), 18.0),
        (-8, 18, (16, 18, 15, 16), 18.0),
        (-8, 18, (20, 21, 15, 16), 20.0),
        (-8, 18, (16, 17, 15, 16), None),
    ],
)
def test_a_limit_fills_at_the_limit_or_better(engine, execution, size, limit, path, price):
    wanted = [] if price is None else [(1, float(size), price)]
    assert one(engine, bars(path), size, limit=limit, execution=execution) == wanted


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize(
    ("size", "stop", "path", "price"),
    [
        (8, 18, (16, 19, 15, 16), 18.0),  # the bar rises to it
        (8, 18, (16, 18, 15, 16), 18.0),
        (8, 18, (20, 21, 15, 16), 20.0),  # it opens beyond
        (8, 18, (16, 17, 15, 16), None),
        (-8, 14, (16, 17, 13, 16), 14.0),
        (-8, 14, (16, 17, 14, 16), 14.0),
        (-8, 14, (12, 17, 11, 16), 12.0),
        (-8, 14, (16, 17, 15, 16), None),
    ],
)
def test_a_stop_fills_at_the_stop_or_worse(engine, execution, size, stop, path, price):
    wanted = [] if price is None else [(1, float(size), price)]
    assert one(engine, bars(path), size, stop=stop, execution=execution) == wanted


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        # Buy above 18, at most at 19. The open triggers it: a limit in that bar, at the open or within it.
        ([(18, 20, 17, 18)], [(1, 8.0, 18.0)]),
        ([(20, 21, 18, 20)], [(1, 8.0, 19.0)]),
        # It opens beyond the limit and stays there; a limit from then on, below the stop as well.
        ([(20, 21, 20, 20), (17, 17, 17, 17)], [(2, 8.0, 17.0)]),
        # Triggered within the bar: a limit from the next bar on.
        ([(16, 20, 16, 17), (21, 21, 21, 21), (20, 20, 18, 19)], [(3, 8.0, 19.0)]),
        ([(16, 17, 15, 16), (16, 17, 15, 16)], []),
    ],
)
def test_a_stop_limit(engine, path, wanted):
    assert one(engine, bars(*path), 8, stop=18, limit=19, execution="next_open") == wanted


def test_a_stop_limit_to_sell(engine):
    # Sell below 14, at least at 13.
    sell = dict(stop=14, limit=13, execution="next_open")
    assert one(engine, bars((14, 15, 12, 14)), -8, **sell) == [(1, -8.0, 14.0)]
    assert one(engine, bars((12, 13, 11, 12)), -8, **sell) == [(1, -8.0, 13.0)]
    assert one(engine, bars((16, 16, 10, 10), (10, 12, 10, 10), (15, 15, 15, 15)), -8, **sell) == [(3, -8.0, 15.0)]


def test_a_triggered_stop_stays_triggered(engine):
    # Triggered at bar 1, where buying is not allowed; then a market order at the open.
    market = bars((16, 19, 15, 16), (12, 13, 11, 12), can_buy=[True, False, True])
    assert one(engine, market, 8, stop=18, execution="next_open") == [(2, 8.0, 12.0)]
    # The volume cap leaves a rest, which goes on at the next open.
    market = bars((16, 19, 15, 16), (12, 13, 11, 12), volume=[8, 8, 8])
    filled = [(1, 4.0, 18.0), (2, 4.0, 12.0)]
    assert one(engine, market, 8, stop=18, execution="next_open", participation=0.5) == filled


def test_a_rest_keeps_its_limit(engine):
    market = bars((14, 14, 14, 14), (16, 16, 15, 15), (13, 14, 13, 13), volume=[8] * 4)
    filled = [(1, 4.0, 14.0), (3, 4.0, 13.0)]
    assert one(engine, market, 8, limit=14, execution="next_open", participation=0.5) == filled


def test_a_limit_fill_pays_no_slippage_and_a_stop_does(engine):
    costs = dict(slippage=2**-4, impact=2**-3, commission_rate=2**-5, execution="next_open")
    market = bars((16, 18, 14, 16), volume=[64, 64], half_spread=[0, 2**-4])
    limit = ask(engine, market, lambda s, b: s.order("A0", 16, limit=14), **costs)
    assert fills(limit) == [(1, "A0", 16.0, 14.0, 14.0, 7.0, 0.0, "FILLED")]
    stop = ask(engine, market, lambda s, b: s.order("A0", 16, stop=18), **costs)
    # 1/16 + 1/16 + sqrt(16/64)/8 = 3/16 of 288 is 54; commission (288 + 54)/32.
    assert fills(stop) == [(1, "A0", 16.0, 21.375, 18.0, 10.6875, 54.0, "FILLED")]
    # The commission and its bounds are those of any fill, and impact still wants a volume.
    dry = bars((16, 18, 14, 16), volume=[64, 0])
    none = ask(engine, dry, lambda s, b: s.order("A0", 16, limit=14), **costs)
    assert fills(none) == [] and column(none, "volume_clipped") == [0, 1]


def test_an_order_that_is_not_reached_works_on_without_a_count(engine):
    market = bars((16, 17, 15, 16), (16, 17, 15, 16))
    result = ask(engine, market, lambda s, b: s.order("A0", 8, limit=8), execution="next_open")
    assert column(result, "working") == [1, 1, 1] and shares(result) == [0.0] * 3
    assert result.cuts.height == 0 and all(sum(column(result, n)) == 0 for n in ("no_price", "cancelled", "restricted"))
    day = ask(engine, market, lambda s, b: s.order("A0", 8, limit=8), execution="next_open", unfilled="cancel")
    assert column(day, "working") == [1, 0, 0] and column(day, "cancelled") == [0, 1, 0]


def test_a_bar_without_its_path_is_no_price(engine):
    market = bars((12, NAN, 11, 12), (12, 13, 11, 12))
    result = ask(engine, market, lambda s, b: s.order("A0", 8, limit=14), execution="next_close")
    assert column(result, "no_price") == [0, 1, 0] and [f[0] for f in fills(result)] == [2]


def test_a_mask_holds_back_what_the_bar_reaches(engine):
    market = bars((16, 17, 15, 16), (12, 13, 11, 12), can_buy=[True, False, False])
    result = ask(engine, market, lambda s, b: s.order("A0", 8, limit=14), execution="next_open")
    assert column(result, "restricted") == [0, 0, 1] and column(result, "working") == [1, 1, 1]


def test_a_split_divides_limit_and_stop(engine):
    # Two for one: 8 shares below 12 become 16 below 6; above 20 becomes above 10.
    market = bars((8, 9, 7, 8), (8, 8, 6, 8), split=[1, 2, 1])
    assert one(engine, market, 8, limit=12, execution="next_open") == [(2, 16.0, 6.0)]
    market = bars((8, 9, 7, 8), (8, 10, 8, 8), split=[1, 2, 1])
    assert one(engine, market, 8, stop=20, execution="next_open") == [(2, 16.0, 10.0)]


def test_a_new_order_forgets_the_old_limit(engine):
    market = bars((16, 17, 15, 16), (16, 17, 15, 16))
    bound = lambda s, b: s.order("A0", 8, limit=8)  # noqa: E731
    for step, held in (
        (lambda s, b: s.order("A0", 4), 4.0),
        (lambda s, b: s.order_target_percent("A0", 0.25), 16.0),
        (lambda s, b: s.cancel("A0"), 0.0),
        (lambda s, b: s.order("A0", 4, limit=15), 4.0),
    ):
        assert shares(ask(engine, market, bound, step, execution="next_open"))[-1] == held


def test_a_limit_sell_is_cut_to_the_holding(engine):
    market = bars((16, 16, 16, 16), (16, 20, 16, 16))
    steps = lambda s, b: s.order("A0", 8), lambda s, b: s.order("A0", -12, limit=20)
    result = ask(engine, market, *steps, execution="next_open")
    assert shares(result) == [0.0, 8.0, 0.0] and fills(result)[-1][2:] == (-8.0, 20.0, 20.0, 0.0, 0.0, "CANCELLED")
    early = ask(engine, market, lambda s, b: s.order("A0", -12, limit=20), execution="next_open")
    # Before the bar reaches it nothing is cut; then there is nothing to sell.
    assert column(early, "cancelled") == [0, 0, 1] and column(early, "working") == [1, 1, 0]


def test_limit_buys_share_the_cash(engine):
    market = panel([[16, 16]] * 2, open=[[16, 16]] * 2, high=[[16, 16]] * 2, low=[[16, 8]] * 2)

    def step(s, b):
        s.order("A0", 64)
        s.order("A1", 128, limit=8)

    result = ask(engine, market, step, execution="next_open")
    # 1024 + 1024 of 1024: a factor just below 1/2; the cash left by truncation buys one lot of each back.
    assert result.positions[-1].tolist() == [32.0, 64.0] and column(result, "cash_clipped") == [0, 2]


def test_leverage_is_tested_at_the_price_of_the_path(engine):
    market = bars((16, 16, 8, 16))
    result = ask(engine, market, lambda s, b: s.order("A0", 512, limit=8), execution="next_open", account="margin",
                 max_leverage=2.0, maintenance_margin=None)  # fmt: skip
    # 4096 wanted of 2048 allowed.
    assert shares(result)[-1] == 255.0 and column(result, "leverage_clipped") == [0, 1]


def test_with_same_close_the_path_comes_before_the_decision(engine):
    seen = []

    def look(s, b):
        seen.append((s.portfolio.shares.tolist(), s.portfolio.cash))
        s.order_target_percent("A0", 0)

    market = bars((16, 16, 8, 16))
    result = ask(engine, market, lambda s, b: s.order("A0", 64, limit=8), look)
    # Bought at 8 within the bar, seen at its close, sold there at 16.
    assert seen == [([64.0], 512.0)] and column(result, "cash")[-1] == 1536.0
    assert [(f[0], f[2], f[3]) for f in fills(result)] == [(1, 64.0, 8.0), (1, -64.0, 16.0)]
    assert column(result, "buys") == [0.0, 512.0] and column(result, "sells") == [0.0, 1024.0]
    assert column(result, "fills") == [0, 2]
    # An order that the strategy would like to have taken back had been filled.
    late = ask(engine, market, lambda s, b: s.order("A0", 64, limit=8), lambda s, b: s.cancel())
    assert shares(late) == [0.0, 64.0]


def test_a_margin_call_takes_limits_with_it(engine):
    rows = [[16, 16], [16, 16], [24, 16], [24, 4]]
    market = panel(rows, open=rows, high=rows, low=rows)

    def step(s, b):
        s.order("A0", -64)
        s.order("A1", 8, limit=8)

    settings = dict(account="margin", max_leverage=None, execution="next_open")
    kept = ask(engine, market, step, maintenance_margin=None, **settings)
    assert kept.positions[-1].tolist() == [-64.0, 8.0]
    called = ask(engine, market, step, maintenance_margin=0.5, **settings)
    assert called.status == "MARGIN_CALL" and called.positions[-1][1] == 0.0
    assert column(called, "cancelled") == [0, 0, 1, 0]
