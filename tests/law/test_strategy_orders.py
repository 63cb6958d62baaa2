# SPDX-License-Identifier: Apache-2.0
"""A strategy's orders ([S6], [S8]): targets, direct orders, one working order per asset, and what the engine makes of
them."""

from __future__ import annotations

import numpy as np
import pytest
from kit import NAN, ask, book, column, fills, panel, run, shares

MARGIN = dict(account="margin", max_leverage=None, maintenance_margin=None)


def test_a_target_weight_is_a_weights_row(engine):
    market, rows = panel([[16, 32], [8, 64], [32, 16]]), [[0.5, 0.25], [NAN, 0.5], [0, NAN]]
    steps = [lambda s, b, row=row: s.order_target_percent(row) for row in rows]
    settings = dict(commission_rate=2**-6, max_turnover=0.4, band=2**-7)
    one, two = ask(engine, market, *steps, **settings), run(engine, market, rows, **settings)
    assert book(one) == book(two) and one.raw.money.tobytes() == two.raw.money.tobytes()
    assert fills(one) == fills(two)


@pytest.mark.parametrize(
    "assets", [["A0", "A2"], [0, 2], np.array([0, 2]), np.array([True, False, True]), ("A0", "A2")]
)
def test_assets_are_names_indices_or_a_mask(engine, assets):
    result = ask(engine, panel([[16, 16, 16]]), lambda s, b: s.order_target_percent(assets, [0.25, 0.5]))
    assert book(result) == [[16.0, 0.0, 32.0]]
    assert book(ask(engine, panel([[16, 16, 16]]), lambda s, b: s.order_target_percent("A1", 0.25)))[0][1] == 16.0
    assert book(ask(engine, panel([[16, 16, 16]]), lambda s, b: s.order_target_percent(1, 0.25)))[0][1] == 16.0


def test_a_target_in_money_and_in_shares_is_a_difference(engine):
    def value(s, b):
        s.order_target_value("A0", 512)

    def count(s, b):
        s.order_target_shares("A0", 16)

    # 512/16 = 32 shares; at 8 the same money is 64, the 32 held are kept; then 16 shares.
    assert shares(ask(engine, panel([16, 16, 8, 8]), value, value, value, count)) == [32.0, 32.0, 64.0, 16.0]
    # Without the cash buffer, which is for weights alone.
    assert shares(ask(engine, panel([16]), value, cash_buffer=0.5)) == [32.0]


def test_a_target_of_zero_closes_without_a_price(engine):
    for close in ("order_target_value", "order_target_shares", "order_target_percent"):
        result = ask(
            engine, panel([16, NAN, 16], open=[16, 16, 16]), lambda s, b: s.order("A0", 8),
            lambda s, b, close=close: getattr(s, close)("A0", 0), execution="next_open",
        )  # fmt: skip
        assert shares(result) == [0.0, 8.0, 0.0] and column(result, "no_price") == [0, 0, 0]


def test_money_without_a_price_is_no_order_and_counted(engine):
    market = panel([16, NAN, 16], open=[16, NAN, 16])
    result = ask(engine, market, None, lambda s, b: s.order_target_value("A0", 512), execution="next_open")
    assert shares(result) == [0.0] * 3 and column(result, "no_price") == [0, 1, 0]


@pytest.mark.parametrize(("rounding", "held"), [("toward_zero", 20.0), ("nearest", 30.0)])
def test_direct_orders_are_rounded_to_lots(engine, rounding, held):
    result = ask(engine, panel([1]), lambda s, b: s.order("A0", 26), lot=10, rounding=rounding)
    assert shares(result) == [held] and column(result, "rounded_out") == [0]
    assert shares(ask(engine, panel([1]), lambda s, b: s.order("A0", 29.9999999), lot=10)) == [30.0]
    none = ask(engine, panel([1]), lambda s, b: s.order("A0", 4), lot=10, rounding=rounding)
    assert shares(none) == [0.0] and column(none, "rounded_out") == [1]
    assert shares(ask(engine, panel([1]), lambda s, b: s.order("A0", 2.5), lot=0)) == [2.5]


def test_direct_orders_pass_turnover_band_and_minimum_by(engine):
    settings = dict(max_turnover=0.1, band=0.9, min_trade_value=1e6)
    assert shares(ask(engine, panel([16]), lambda s, b: s.order("A0", 32), **settings)) == [32.0]
    assert shares(ask(engine, panel([16]), lambda s, b: s.order_target_percent("A0", 0.5), **settings)) == [0.0]


def test_the_last_call_for_an_asset_counts(engine):
    def twice(s, b):
        s.order("A0", 8)
        s.order("A0", 8)

    def changed(s, b):
        s.order_target_percent("A0", 1.0)
        s.order("A0", 8)
        s.order("A1", 8)
        s.order_target_percent("A1", 0.25)

    assert shares(ask(engine, panel([16]), twice)) == [8.0]
    assert book(ask(engine, panel([[16, 16]]), changed)) == [[8.0, 16.0]]


def test_an_order_replaces_the_one_that_works(engine):
    market = panel([[16, 16]] * 3, open=[[16, 16], [NAN, NAN], [16, 16]])
    first = lambda s, b: s.order(["A0", "A1"], 8)  # noqa: E731
    result = ask(engine, market, first, lambda s, b: s.order("A0", 4), execution="next_open")
    assert book(result)[-1] == [4.0, 8.0]
    result = ask(engine, market, first, lambda s, b: s.order_target_percent("A0", 0.5), execution="next_open")
    assert book(result)[-1] == [32.0, 8.0]
    assert book(ask(engine, market, first, lambda s, b: s.cancel("A0"), execution="next_open"))[-1] == [0.0, 8.0]
    assert book(ask(engine, market, first, lambda s, b: s.cancel(), execution="next_open"))[-1] == [0.0, 0.0]
    assert book(ask(engine, market, first, None, execution="next_open"))[-1] == [8.0, 8.0]


def test_cancel_takes_back_what_this_bar_has_asked_for(engine):
    def step(s, b):
        s.order(["A0", "A1"], 8)
        s.cancel("A1")

    assert book(ask(engine, panel([[16, 16]]), step)) == [[8.0, 0.0]]
    assert book(ask(engine, panel([[16, 16]]), lambda s, b: (s.order("A0", 8), s.cancel()))) == [[0.0, 0.0]]


def test_close_others_closes_what_is_held_ordered_or_works(engine):
    market = panel([[16] * 4] * 3, open=[[16] * 4, [16, 16, NAN, 16], [16] * 4])

    def later(s, b):
        s.order("A3", 8)
        s.order("A1", 4)
        s.close_others("A1")

    result = ask(engine, market, lambda s, b: s.order(["A0", "A1", "A2"], 8), later, execution="next_open")
    assert book(result)[1:] == [[8.0, 8.0, 0.0, 0.0], [0.0, 12.0, 0.0, 0.0]]


def test_a_sell_above_the_holding_is_cut_to_it_in_a_cash_account(engine):
    result = ask(engine, panel([16, 16]), lambda s, b: s.order("A0", 8), lambda s, b: s.order("A0", -12))
    assert shares(result) == [8.0, 0.0] and column(result, "cancelled") == [0, 1]
    assert fills(result)[-1][2:] == (-8.0, 16.0, 16.0, 0.0, 0.0, "CANCELLED") and column(result, "working") == [0, 0]
    assert result.cuts["shares"].to_list() == [-4.0]
    # Without a holding nothing is sold, and nothing stays.
    result = ask(engine, panel([16]), lambda s, b: s.order("A0", -12))
    assert shares(result) == [0.0] and column(result, "cancelled") == [1] and column(result, "working") == [0]
    # In a margin account it is a short.
    assert shares(ask(engine, panel([16]), lambda s, b: s.order("A0", -12), **MARGIN)) == [-12.0]


def test_a_cut_sell_is_then_cut_by_volume(engine):
    market = panel([16, 16], volume=[64, 4])
    steps = lambda s, b: s.order("A0", 8), lambda s, b: s.order("A0", -12)
    result = ask(engine, market, *steps, participation=0.5)
    assert shares(result) == [8.0, 6.0] and fills(result)[-1][7] == "VOLUME_CLIPPED"
    assert column(result, "cancelled") == [0, 1] and column(result, "volume_clipped") == [0, 1]
    assert column(result, "working") == [0, 1]


def test_an_order_of_a_delisted_asset_is_counted(engine):
    market = panel([[16, 16]] * 3, delisted_at=[1, -1])
    step = lambda s, b: s.order(["A0", "A1"], 8)  # noqa: E731
    result = ask(engine, market, step, step, step)
    assert book(result) == [[8.0, 8.0], [0.0, 16.0], [0.0, 24.0]] and column(result, "delisted") == [0, 1, 1]


def test_orders_are_lots_and_book_is_shares(engine):
    seen = []

    def look(s, b):
        p = s.portfolio
        seen.append((p.shares.tolist(), p.orders.tolist(), p.values.tolist(), p.weights.tolist(), p.cash, p.equity))
        s.order("A0", 25)

    market = panel([[4, 8], [8, 8], [8, 8]], open=[[4, 8], [8, 8], [NAN, 8]], lot=[10, 0])
    ask(engine, market, look, look, look, execution="next_open")
    assert seen == [
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], 1024.0, 1024.0),
        ([20.0, 0.0], [0.0, 0.0], [160.0, 0.0], [0.15625, 0.0], 864.0, 1024.0),
        ([20.0, 0.0], [20.0, 0.0], [160.0, 0.0], [0.15625, 0.0], 864.0, 1024.0),
    ]


def test_the_schedule_says_when_the_strategy_is_asked(engine):
    asked = []
    market = panel([16.0] * 40)
    ask(engine, market, *[lambda s, b: asked.append(b.bar)] * 40, rebalance="month")
    assert asked == [30]  # 31 January; the last bar ends no month
    asked.clear()
    ask(engine, market, *[lambda s, b: asked.append(b.bar)] * 40, rebalance_every=10, rebalance_offset=5)
    assert asked == [5, 15, 25, 35]


def test_nothing_is_asked_after_a_drawdown_stop_a_margin_call_or_the_end(engine):
    asked = []

    def step(s, b):
        asked.append(b.bar)
        if b.bar == 0:
            s.order_target_percent("A0", 1.0)

    stopped = ask(engine, panel([16, 16, 8, 8, 8]), *[step] * 5, max_drawdown=0.25)
    assert asked == [0, 1] and stopped.status == "DRAWDOWN_STOP" and shares(stopped)[-1] == 0.0
    asked.clear()
    levered = dict(MARGIN, maintenance_margin=0.5, execution="next_close")
    called = ask(engine, panel([16, 16, 6, 16]), *[step] * 4, **levered)
    assert called.status == "OK" and asked == [0, 1, 2, 3]  # a long without debt is not called
    asked.clear()
    short = lambda s, b: (asked.append(b.bar), b.bar == 0 and s.order("A0", -64))  # noqa: E731
    called = ask(engine, panel([16, 16, 24, 24]), *[short] * 4, **levered)
    assert called.status == "MARGIN_CALL" and asked == [0, 1, 3]
    asked.clear()
    ended = ask(engine, panel([16, 16, 64, 64]), *[short] * 4, **dict(MARGIN, execution="next_close"))
    assert ended.status == "BANKRUPT" and asked == [0, 1]


def test_a_drawdown_stop_takes_limits_and_stops_with_it(engine):
    rows = [[16, 16], [16, 16], [8, 16], [8, 4]]
    market = panel(rows, open=rows, high=rows, low=rows)

    def step(s, b):
        s.order("A0", 32)
        s.order("A1", 8, limit=8.0)

    assert book(ask(engine, market, step, execution="next_open"))[-1] == [32.0, 8.0]
    stopped = ask(engine, market, step, execution="next_open", max_drawdown=0.125)
    assert stopped.status == "DRAWDOWN_STOP" and book(stopped)[-1] == [0.0, 0.0]
    assert column(stopped, "working") == [2, 1, 1, 0]


def test_a_strategys_default_record_is_everything(engine):
    result = ask(engine, panel([16]), lambda s, b: s.order("A0", 8))
    assert result.raw.fills is not None and result.raw.positions is not None
