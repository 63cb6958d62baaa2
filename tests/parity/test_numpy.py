# SPDX-License-Identifier: Apache-2.0
"""The NumPy engine against the oracle on drawn scenarios over every field, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_same_as_oracle, assert_same_raw
from draw import draw_weights, scenario, scenarios
from hypothesis import HealthCheck, given, settings
from oracle import simulate

from cpu_fallback.engine import ENGINE
from gpu_bt.api import check_fields
from gpu_bt.config import CHOICES, Config
from gpu_bt.errors import ConfigError
from gpu_bt.step.layout import STRUCTURAL


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_drawn_scenarios(drawn):
    panel, weights, config = drawn
    spec = spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True)
    assert_same_as_oracle(simulate_spec(ENGINE, spec), simulate(panel, weights, config))


@pytest.mark.parametrize("block", range(8))
def test_fixed_seeds_without_logs(block):
    """What is recorded changes no bit, and the engine's short cuts are only taken when nothing is logged."""
    for seed in range(block * 150, (block + 1) * 150):
        panel, weights, config = scenario(seed)
        raw = simulate_spec(ENGINE, spec_of(panel_of(panel, config), [weights], [config]))
        assert_same_as_oracle(raw, simulate(panel, weights, config))


def neighbours(seed: int, count: int) -> list[Config]:
    """Configs of other seeds that fit the panel of this one; most share its structural fields, so that they batch."""
    rng = np.random.default_rng(seed)
    panel, _, config = scenario(seed)
    public, found = panel_of(panel, config), [config]
    while len(found) < count:
        other = scenario(int(rng.integers(2**40)))[2]
        if rng.random() < 0.7:
            other = other.replace(**{name: getattr(config, name) for name in STRUCTURAL})
        try:
            check_fields(public, other)
        except ConfigError:
            continue
        found.append(other)
    return found


@pytest.mark.parametrize("block", range(4))
def test_many_scenarios_at_once(block):
    """Scenarios that go through the bars together, cut at drawn bars, each equal the oracle's."""
    for seed in range(block * 15, (block + 1) * 15):
        rng = np.random.default_rng(seed)
        panel, weights, config = scenario(seed)
        configs = neighbours(seed, 6)
        t, n = panel.shape
        books = [weights, *(draw_weights(rng, t, n, "plain", c) for c in configs[1:])]
        spec = spec_of(panel_of(panel, config), books, configs, fills=seed % 2 == 0, positions=True)
        raw = simulate_spec(ENGINE, spec, tuple(rng.integers(0, t + 1, 3)))
        for k, (book, c) in enumerate(zip(books, configs, strict=True)):
            assert_same_as_oracle(raw, simulate(panel, book, c), k)


def test_cuts_of_the_bars_change_no_bit():
    for seed in range(40):
        panel, weights, config = scenario(seed)
        spec = spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True)
        every_bar = simulate_spec(ENGINE, spec, tuple(range(panel.shape[0])))
        assert_same_raw(every_bar, simulate_spec(ENGINE, spec))
        assert_same_as_oracle(every_bar, simulate(panel, weights, config))


def test_equity_alone_is_the_same_equity():
    panel, weights, config = scenario(3)
    public = panel_of(panel, config)
    full = simulate_spec(ENGINE, spec_of(public, [weights], [config]))
    lean = simulate_spec(ENGINE, spec_of(public, [weights], [config], columns="equity"))
    assert lean.money.shape[0] == 2 and lean.counts is None
    assert lean.money.tobytes() == full.money[:2].tobytes()


def test_wide_books_and_narrow_books():
    """Rows of all assets, of a few, and of none in turn move the engine between its dense and its sparse columns."""
    rng = np.random.default_rng(5)
    for seed in range(30):
        panel, _, config = scenario(seed)
        t, n = panel.shape
        weights = np.zeros((t, n))
        for row in weights:
            chosen = rng.random(n) < rng.choice([0.0, 0.15, 0.5, 1.0])
            row[chosen] = rng.random(chosen.sum()) / n
        spec = spec_of(panel_of(panel, config), [weights], [config])
        assert_same_as_oracle(simulate_spec(ENGINE, spec), simulate(panel, weights, config))


def test_every_choice_is_drawn():
    """The draws above are no evidence for a choice that they never make."""
    seen = {name: set() for name in CHOICES}
    for seed in range(200):
        config = scenario(seed)[2]
        for name, values in seen.items():
            values.add(getattr(config, name))
    assert {name: set(options) for name, options in CHOICES.items()} == seen
