# SPDX-License-Identifier: Apache-2.0
"""check_lookahead finds those who look ahead, wherever they keep the future, and lets the honest pass."""

from __future__ import annotations

import numpy as np
import pytest

import gpu_bt as bt
from gpu_bt.data.synthetic import synthetic_universe

PANEL = synthetic_universe(90, 20, seed=4)
CLOSE = np.array(PANEL.close)
BOOKS = {"far": [np.array(PANEL.close)]}


class Momentum(bt.Strategy):
    """Honest, with everything an honest strategy uses."""

    def initialize(self):
        self.exits, self.seen = bt.Exits(trailing_stop=0.1), []

    def on_data_batch(self, timestamp, batch):
        past = batch.history("close", 10, adjusted=True)
        self.seen.append(batch.present.mean())
        if batch.bar % 3 == 0 and self.portfolio.equity > 0:
            best = batch.top(past[-1] / past[0], 5)
            self.order_target_percent(best, 0.15)
            self.close_others(best)
            self.order(batch.bottom(batch.close, 1), 10, limit=batch.low[batch.bottom(batch.close, 1)])


def reader(get, ahead):
    """A strategy that ranks by get(self)[bar + ahead]."""

    class Reader(bt.Strategy):
        def __init__(self, data=None):
            self.data = data

        def on_data_batch(self, timestamp, batch):
            rows = get(self)
            if batch.bar + ahead < len(rows):
                best = batch.top(np.asarray(rows[batch.bar + ahead], float), 3)
                self.order_target_percent(best, 0.3)
                self.close_others(best)

    return Reader


class ByGlobal(bt.Strategy):
    ahead = 1

    def on_data_batch(self, timestamp, batch):
        if batch.bar + self.ahead < len(CLOSE):
            self.order_target_percent(batch.top(CLOSE[batch.bar + self.ahead], 3), 0.3)


class HonestGlobal(ByGlobal):
    ahead = 0


class ByNestedGlobal(bt.Strategy):
    def on_data_batch(self, timestamp, batch):
        best = max(range(20), key=lambda i: np.nan_to_num(BOOKS["far"][0][min(batch.bar + 2, 89), i]))
        self.order_target_percent(best, 0.5)


def closing_over(rows, ahead=1):
    return reader(lambda s: rows, ahead)


def closing_itself(ahead):
    full = np.array(PANEL.close)

    class Closure(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            self.order_target_percent(batch.top(full[min(batch.bar + ahead, 89)], 3), 0.3)

    return Closure


def panel_itself():
    class OnPanel(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            self.order_target_percent(batch.top(PANEL.close[min(batch.bar + 1, 89)], 3), 0.3)

    return OnPanel


def centred(panel):
    """A factory whose signal is honest to read and dishonest in the making."""
    filled = np.nan_to_num(panel.close)
    smooth = np.vstack([filled[1:], filled[:1]]) + filled
    return reader(lambda s: s.data, 0)(smooth)


def trailing(panel):
    filled = np.nan_to_num(panel.close)
    return reader(lambda s: s.data, 0)(np.vstack([filled[:1], filled[:-1]]) + filled)


CHEATS = {
    "attribute": lambda: reader(lambda s: s.data, 1)(CLOSE.copy()),
    "attribute, far": lambda: reader(lambda s: s.data, 30)(CLOSE.copy()),
    "attribute in a dict of lists": lambda: reader(lambda s: s.data["x"][0], 1)({"x": [CLOSE.copy()]}),
    "class": lambda: ByGlobal,
    "nested": lambda: ByNestedGlobal,
    "closure": lambda: closing_itself(1),
    "panel": panel_itself,
    "panel in an attribute": lambda: reader(lambda s: s.data.close, 1)(PANEL),
    "factory": lambda: centred,
    "base of a view": lambda: base_of_a_view(),
}


def base_of_a_view():
    class Base(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            whole = batch.close.base
            self.order_target_percent(batch.top(whole[min(batch.bar + 1, 89)], 3), 0.3)

    return Base


HONEST = {
    "class": lambda: Momentum,
    "instance": Momentum,
    "global": lambda: HonestGlobal,
    "attribute": lambda: reader(lambda s: s.data, 0)(CLOSE.copy()),
    "closure": lambda: closing_itself(0),
    "factory": lambda: trailing,
    "factory that needs no panel": lambda: lambda panel: Momentum(),
    "nothing decided": lambda: reader(lambda s: [], 0),
}


@pytest.mark.parametrize("kind", CHEATS)
def test_who_looks_ahead_is_found(kind):
    kept = CLOSE.copy(), BOOKS["far"][0].copy()
    with pytest.raises(
        bt.StrategyError, match=r"the decision at 20\d\d-\d\d-\d\d for SYN.* changes with data after 20"
    ):
        bt.check_lookahead(CHEATS[kind](), PANEL)
    assert np.array_equal(CLOSE, kept[0], equal_nan=True) and np.array_equal(BOOKS["far"][0], kept[1], equal_nan=True)


@pytest.mark.parametrize("kind", HONEST)
def test_who_does_not_look_ahead_passes(kind):
    assert bt.check_lookahead(HONEST[kind](), PANEL, bt.Config(execution="next_close")) is None


def test_the_first_bar_is_named():
    class Late(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            rows = CLOSE if batch.bar >= 60 else CLOSE[: batch.bar + 1]
            self.order_target_percent(batch.top(rows[-1], 3), 0.3)

    bars = [PANEL.label(t) for t in range(90)]
    with pytest.raises(bt.StrategyError) as caught:
        bt.check_lookahead(Late, PANEL, cuts=90)
    assert str(caught.value).startswith(f"the decision at {bars[60]} for SYN")
    assert str(caught.value).endswith(f"changes with data after {bars[60]}: it looks ahead")


def test_a_strategy_that_differs_from_run_to_run_cannot_be_checked():
    state = {"n": 0}

    class Restless(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            state["n"] += 1
            self.order(state["n"] % 20, 5)

    with pytest.raises(bt.StrategyError, match=r"differs between two equal runs: seed its random numbers"):
        bt.check_lookahead(Restless, PANEL)


def test_the_callers_instance_is_left_alone():
    s = Momentum()
    s.data = CLOSE
    bt.check_lookahead(s, PANEL)
    assert vars(s) == {"data": CLOSE} and s.data is CLOSE


def test_arrays_of_another_length_are_no_history():
    class PerAsset(bt.Strategy):
        def __init__(self):
            self.tilt = np.arange(20.0)

        def on_data_batch(self, timestamp, batch):
            self.order_target_percent(batch.top(self.tilt, 3), 0.3)

    square = synthetic_universe(20, 20, seed=1, messy=False)
    bt.check_lookahead(PerAsset, square)
    bt.check_lookahead(PerAsset, PANEL)
