# SPDX-License-Identifier: Apache-2.0
"""The comparator can fail: everything that must not pass as equal does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_bits, assert_same_as_oracle, assert_same_raw
from draw import scenario
from oracle import simulate

from cpu_fallback.engine import ENGINE


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (1.0, math.nan),
        (math.nan, 1.0),
        (0.0, -0.0),
        (1.0, math.nextafter(1.0, 2.0)),
        (math.inf, -math.inf),
        (math.inf, math.nan),
        (1.0, 1),
    ],
)
def test_unequal_values_are_told_apart(got, want):
    with pytest.raises(AssertionError):
        assert_bits(
            "x", np.array([0.5, got]), np.array([0.5, want]) if isinstance(want, float) else np.array([0, want])
        )


def test_unequal_shapes_are_told_apart():
    with pytest.raises(AssertionError, match="shape"):
        assert_bits("x", np.zeros(3), np.zeros((3, 1)))


def test_equal_values_pass():
    assert_bits("x", np.array([math.nan, 0.0, math.inf, 1.5]), np.array([math.nan, 0.0, math.inf, 1.5]))


def spec():
    panel, weights, config = scenario(7)
    return spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True), (panel, weights, config)


@pytest.mark.parametrize("field", ["money", "counts", "holdings", "positions"])
def test_one_changed_cell_is_seen(field):
    made, drawn = spec()
    raw, oracle = simulate_spec(ENGINE, made), simulate(*drawn)
    assert_same_as_oracle(raw, oracle)
    cell = getattr(raw, field).reshape(-1)
    at = int(np.flatnonzero(~np.isnan(cell.astype(float)))[-1])
    cell[at] = cell[at] + 1 if field == "counts" else np.nextafter(cell[at], np.inf)
    with pytest.raises(AssertionError, match=r"wanted"):
        assert_same_as_oracle(raw, oracle)
    with pytest.raises(AssertionError, match=field):
        assert_same_raw(raw, simulate_spec(ENGINE, made))


@pytest.mark.parametrize("field", ["shares", "price", "commission", "status"])
def test_one_changed_fill_is_seen(field):
    made, drawn = spec()
    raw = simulate_spec(ENGINE, made)
    assert len(raw.fills)
    raw.fills[field][-1] += 1
    with pytest.raises(AssertionError):
        assert_same_as_oracle(raw, simulate(*drawn))


def test_a_status_set_at_another_bar_is_seen():
    made, drawn = spec()
    raw = simulate_spec(ENGINE, made)
    raw.state["first_bar"][0, 2] = 1
    with pytest.raises(AssertionError, match="first_bar"):
        assert_same_as_oracle(raw, simulate(*drawn))
