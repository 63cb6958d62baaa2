# SPDX-License-Identifier: Apache-2.0
"""Callback runs on drawn decisions, targets and direct orders with limits and stops, equal the oracle bit for bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from build import callback_spec, panel_of, simulate_callback, simulate_spec, spec_of
from compare import assert_same_as_oracle, assert_same_raw
from draw import scenario
from draw_orders import callback_scenario
from extent import seeds
from oracle import simulate

from gpu_bt.engine.registry import reasons, resolve

#: Branches of [S4l] that the drawn scenarios must reach.
PATHS = (
    "direct order",
    "limit at the open",
    "limit within the bar",
    "stop triggered, buy",
    "stop triggered, sell",
    "stop-limit triggered by the open",
    "stop-limit triggered within the bar",
    "triggered stop at a later open",
    "direct order, name cap",
    "direct order, gross cap",
)
CALLBACKS = [name for name, reason in reasons().items() if reason is None]


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("block", seeds(range(8)))  # whole blocks: each reaches every branch
def test_drawn_decisions(name, block):
    engine, paths = resolve(name), Counter()
    for seed in range(block * 75, (block + 1) * 75):
        panel, weights, config, orders = callback_scenario(seed)
        record = dict(fills=True, positions=True) if seed % 3 else {}
        raw = simulate_callback(engine, callback_spec(panel_of(panel, config), config, **record), weights, orders)
        oracle = simulate(panel, weights, config, orders)
        assert_same_as_oracle(raw, oracle)
        paths += oracle.paths
    assert all(paths[path] >= 5 for path in PATHS), paths


@pytest.mark.parametrize("name", CALLBACKS)
def test_rows_from_a_callback_are_a_weights_run(name):
    engine = resolve(name)
    for seed in seeds(range(300)):
        panel, weights, config = scenario(seed)
        config = config.replace(signal_lag=0)
        public, record = panel_of(panel, config), dict(fills=True, positions=True)
        callback = simulate_callback(engine, callback_spec(public, config, **record), weights, None)
        assert_same_raw(callback, simulate_spec(engine, spec_of(public, [weights], [config], **record)))


@pytest.mark.parametrize("name", CALLBACKS)
def test_bars_are_opened_and_closed_in_turn(name):
    panel, _, config, _ = callback_scenario(0)
    public = panel_of(panel, config)
    session = resolve(name).open(callback_spec(public, config))
    for call in (lambda: session.open_bar(1), lambda: session.close_bar(0, None), lambda: session.advance(1, 2)):
        with pytest.raises(ValueError, match="bar"):
            call()
    session.open_bar(0)
    for call in (lambda: session.open_bar(0), lambda: session.close_bar(1, None), lambda: session.advance(0, 1)):
        with pytest.raises(ValueError, match="bar"):
            call()
    session.close_bar(0, None)
    session.advance(1, panel.shape[0])
    with pytest.raises(ValueError, match=f"stands at bar {panel.shape[0]}"):
        session.open_bar(panel.shape[0])
    other = resolve(name).open(spec_of(public, [np.full(panel.shape, np.nan)], [config]))
    with pytest.raises(ValueError, match="no callback run"):
        other.open_bar(0)
