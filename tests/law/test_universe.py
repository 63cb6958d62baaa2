# SPDX-License-Identifier: Apache-2.0
"""[S6] The universe: what is outside it is sold, or not enlarged; worked by hand.

1024 of cash, no buffer, prices of 16: a weight of 1/4 is 16 shares.
"""

from __future__ import annotations

import pytest
from kit import NAN, ask, book, column, fills, panel, run, shares

import gpu_bt as bt

MARGIN = dict(account="margin", maintenance_margin=None, max_leverage=None)


def test_a_target_outside_is_zero_and_counted(engine):
    market = panel([[16, 16]] * 3, universe=[[1, 1], [1, 0], [1, 1]])
    result = run(engine, market, [[0.25, 0.25]] * 3)
    assert book(result) == [[16.0, 16.0], [16.0, 0.0], [16.0, 16.0]]
    assert column(result, "outside") == [0, 1, 0]
    assert ("A1", "OUTSIDE") in [(row[1], row[3]) for row in result.cuts.rows()]


def test_the_exit_needs_no_row_and_no_price(engine):
    # Bar 1 has no row and A0 no close: the exit is ordered there, and fills at the next open.
    market = panel([16, NAN, 16], open=[16, 16, 8], universe=[1, 0, 0])
    result = run(engine, market, [0.25, NAN, NAN], execution="next_open")
    assert [f[:4] for f in fills(result)] == [(1, "A0", 16.0, 16.0), (2, "A0", -16.0, 8.0)]
    assert column(result, "outside") == [0, 1, 0] and column(result, "no_price") == [0, 0, 0]


def test_what_is_neither_held_nor_asked_for_counts_nothing(engine):
    result = run(engine, panel([16] * 3, universe=[0, 0, 0]), [NAN, 0.0, 0.25])
    assert shares(result) == [0.0] * 3 and column(result, "outside") == [0, 0, 1]


def test_only_bars_that_decide_look_at_it(engine):
    # Every second bar decides: A0 is out at bar 1 alone, which does not; then at bar 2, which does.
    for out, held in ((1, [16.0] * 4), (2, [16.0, 16.0, 0.0, 0.0])):
        market = panel([16] * 4, universe=[t != out for t in range(4)])
        assert shares(run(engine, market, [0.25, NAN, NAN, NAN], rebalance_every=2)) == held


def test_the_universe_is_that_of_the_bar_that_decides_whatever_the_lag(engine):
    market = panel([16] * 4, universe=[1, 1, 0, 1])
    result = run(engine, market, [0.25, 0.25, NAN, NAN], signal_lag=1)
    assert shares(result) == [0.0, 16.0, 0.0, 0.0] and column(result, "outside") == [0, 0, 1, 0]


def test_a_bar_before_the_first_lagged_row_decides_nothing_else(engine):
    market = panel([[16, 16]] * 3, universe=[[0, 1]] * 3)
    result = run(engine, market, [[0.25, 0.25]] * 3, signal_lag=2)
    assert book(result) == [[0.0, 0.0], [0.0, 0.0], [0.0, 16.0]] and column(result, "outside") == [0, 0, 1]


def test_a_forced_exit_is_an_exit_of_the_turnover_cap(engine):
    # The exit of 1/2 uses 1/4 of the cap of 3/8; of the purchase of 1/2, tau = 1/2, half is left.
    market = panel([[16, 16]] * 2, universe=[[1, 1], [0, 1]])
    result = run(engine, market, [[0.5, 0], [0.5, 0.5]], max_turnover=0.375)
    assert book(result) == [[32.0, 0.0], [0.0, 16.0]]


def test_hold_keeps_and_reduces_but_never_enlarges(engine):
    market = panel([16] * 5, universe=[1, 0, 0, 0, 1])
    result = run(engine, market, [0.25, 0.5, NAN, 0.125, 0.25], outside="hold")
    assert shares(result) == [16.0, 16.0, 16.0, 8.0, 16.0]
    assert column(result, "outside") == [0, 1, 0, 0, 0] and column(result, "working") == [0] * 5


def test_hold_buys_nothing_that_is_not_held(engine):
    result = run(engine, panel([16] * 2, universe=[0, 1]), [0.25, 0.25], outside="hold")
    assert shares(result) == [0.0, 16.0] and column(result, "outside") == [1, 0]


@pytest.mark.parametrize(("target", "held"), [(-0.5, -16.0), (-0.125, -8.0), (0.25, 0.0), (0.0, 0.0)])
def test_hold_lets_a_short_position_shrink_to_none(engine, target, held):
    result = run(engine, panel([16] * 2, universe=[1, 0]), [-0.25, target], outside="hold", **MARGIN)
    assert shares(result) == [-16.0, held] and column(result, "outside") == [0, int(target in (-0.5, 0.25))]


def test_a_strategy_leaves_the_universe_without_being_asked(engine):
    market = panel([[16, 16]] * 3, universe=[[1, 1], [0, 1], [0, 1]])
    steps = (lambda s, b: s.order_target_percent(["A0", "A1"], 0.25), None, lambda s, b: s.order("A0", 8))
    result = ask(engine, market, *steps)
    assert book(result) == [[16.0, 16.0], [0.0, 16.0], [0.0, 16.0]]
    assert column(result, "outside") == [0, 1, 1]  # the holding, then the direct order
    seen = []
    ask(engine, market, None, lambda s, b: seen.append(b.universe.tolist()))
    assert seen == [[False, True]]


def test_hold_reduces_direct_orders_to_what_is_held(engine):
    market = panel([[16, 16]] * 2, universe=[[1, 1], [0, 0]])
    steps = (lambda s, b: s.order(["A0", "A1"], [8, 8]), lambda s, b: s.order(["A0", "A1"], [4, -12]))
    result = ask(engine, market, *steps, outside="hold", **MARGIN)
    assert book(result) == [[8.0, 8.0], [8.0, 0.0]] and column(result, "outside") == [0, 2]


def test_a_margin_call_and_a_stop_go_before_the_universe(engine):
    market = panel([16, 8, 8], universe=[1, 0, 0])
    stopped = run(engine, market, [1, NAN, NAN], max_drawdown=0.25)
    assert stopped.status == "DRAWDOWN_STOP" and column(stopped, "outside") == [0, 0, 0]
    assert shares(stopped) == [64.0, 0.0, 0.0]


def test_without_a_universe_nothing_is_outside(engine):
    for outside in ("close", "hold"):
        assert column(run(engine, panel([16]), [0.25], outside=outside), "outside") == [0]


def test_a_universe_that_is_no_mask_is_refused():
    with pytest.raises(bt.PanelError, match="universe has dtype float64: it must be bool"):
        bt.Panel([[16.0]], timestamps=["2020-01-01"], assets=["A"], universe=[[0.5]])
