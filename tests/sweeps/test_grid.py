# SPDX-License-Identifier: Apache-2.0
"""A grid of parameters becomes scenarios, or one line that says which axis and which value."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from gpu_bt import Config, ConfigError
from gpu_bt.sweeps.grid import expand


def test_a_product_runs_the_last_axis_fastest_and_keeps_what_it_does_not_name():
    found = expand({"band": [0, 0.01], "execution": ["next_close", "same_close"]}, Config(lot=0))
    rows = [(c.band, c.execution, c.lot) for c in found.configs]
    assert rows == [(*pair, 0.0) for pair in itertools.product([0.0, 0.01], ["next_close", "same_close"])]
    assert found.axes == {"band": [0.0, 0.0, 0.01, 0.01], "execution": ["next_close", "same_close"] * 2}
    assert found.configs[3] == Config(lot=0, band=0.01, execution="same_close")


def test_each_scenario_has_the_tick_of_its_own_cash():
    found = expand({"initial_cash": [1e3, 1e9]}, Config())
    assert [c.tick for c in found.configs] == [Config(initial_cash=1e3).tick, Config(initial_cash=1e9).tick]
    assert found.configs[0].tick != found.configs[1].tick


@pytest.mark.parametrize("kind", ["list", "polars"])
def test_rows_are_scenarios(kind: str):
    rows = [{"band": 0.0, "rebalance_every": 1}, {"band": 0.02, "rebalance_every": 5}]
    found = expand(rows if kind == "list" else pl.DataFrame(rows), Config())
    assert [(c.band, c.rebalance_every) for c in found.configs] == [(0.0, 1), (0.02, 5)]


def test_numpy_ranges_and_none_are_values():
    found = expand(
        {"slippage": np.linspace(0, 0.01, 3), "max_weight": [None, 0.1, 0.2], "signal_lag": range(2)}, Config()
    )
    assert len(found) == 18
    assert [c.max_weight for c in found.configs[:6:2]] == [None, 0.1, 0.2]
    assert isinstance(found.axes["slippage"][-1], float) and isinstance(found.axes["signal_lag"][-1], int)
    assert expand({"max_weight": ["none", 0.1]}, Config()).configs[0].max_weight is None


def test_without_an_axis_for_them_every_scenario_runs_on_each_panel_of_weights():
    assert expand({"band": [0, 0.01]}, Config(), ("a", "b")).axes["weights"] == ["a", "a", "b", "b"]
    assert expand([{"band": 0}, {"band": 0.01}], Config(), ("a", "b")).axes["weights"] == ["a", "a", "b", "b"]
    assert expand({"weights": ["b"], "band": [0, 0.01]}, Config(), ("a", "b")).axes["weights"] == ["b", "b"]
    assert "weights" not in expand({"band": [0]}, Config(), ("a",)).axes


def test_parameters_of_a_strategy_are_axes_beside_fields():
    found = expand({"lookback": [20, 60], "band": [0, 0.1]}, Config(), (), {"lookback", "top"})
    assert [found.settings(k) for k in range(4)] == [{"lookback": 20}] * 2 + [{"lookback": 60}] * 2
    assert [c.band for c in found.configs] == [0.0, 0.1, 0.0, 0.1]


REFUSED = [
    ({}, "grid is empty"),
    ([], "grid is empty"),
    (None, "grid is a NoneType"),
    ("band", "grid is a str"),
    ({"band": []}, "'band' is empty"),
    ({"band": 0.1}, "grid axis 'band' is 0.1: pass a list"),
    ({"execution": "same_close"}, "grid axis 'execution' is 'same_close': pass a list"),
    ({"bnad": [0]}, "'bnad' is no field of Config: did you mean 'band'?"),
    ({"band": [0, 2]}, "grid axis 'band': band is 2: it must be a number in [0, 1]"),
    ({"band": [0, float("nan")]}, "grid axis 'band': band is nan"),
    ({"band": [[0]]}, "grid axis 'band' has [0]"),
    ({"band": [0, 0.1, 0.0]}, "grid axis 'band' has 0.0 twice"),
    ({"execution": ["next_open", "close"]}, "grid axis 'execution': execution is 'close'"),
    ({"rebalance_every": [1, 2.5]}, "rebalance_every is 2.5"),
    ({"lot": [1e-9]}, "grid axis 'lot': lot is 1e-09"),
    ({"weights": ["a"]}, "pass weights={name: panel, ...}"),
    ({"signal_lag": range(10_000), "band": [0], "rebalance_every": range(1, 10_001)}, "100,000,000 scenarios"),
    ([{"band": 0}, {"lot": 0}], "grid row 1 and row 0 differ in the axis 'band'"),
    ([{"band": 0}, {"band": 0.1}, {"band": 0.0}], "grid rows 0 and 2 are the same scenario (band=0.0)"),
]


@pytest.mark.parametrize(("grid", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_is_wrong_is_one_line_that_names_it(grid: object, text: str):
    with pytest.raises(ConfigError) as caught:
        expand(grid, Config())
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_name_of_weights_lists_those_there_are():
    with pytest.raises(ConfigError, match="grid axis 'weights' is 'c': it must be one of 'a', 'b'"):
        expand({"weights": ["a", "c"]}, Config(), ("a", "b"))


def test_a_parameter_of_a_strategy_that_it_lacks_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="nor a parameter of the strategy: did you mean 'lookback'"):
        expand({"lockback": [1]}, Config(), (), {"lookback"})
    with pytest.raises(ConfigError, match="a value is a number, a text"):
        expand({"lookback": [(1, 2)]}, Config(), (), {"lookback"})
