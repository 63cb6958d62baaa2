# SPDX-License-Identifier: Apache-2.0
"""The picture of a sweep shows the numbers of its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweep_cases import sweep_small, universe

import gpu_bt as bt

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def whole() -> bt.SweepResult:
    return sweep_small(equity=True)


def titles(figure) -> list[str]:
    return [title.replace("\n", " ") for ax in figure.axes if (title := ax.get_title(loc="left"))]


def test_map_fan_and_capacity(whole: bt.SweepResult):
    figure = whole.plot(rows="commission_rate", columns="rebalance_every", metric="turnover", weights="one")
    capacity = "turnover over initial_cash: capacity, weights=one"
    assert titles(figure) == ["account=cash", "account=margin", "Equity over initial cash", capacity]
    assert figure.get_suptitle().split("\n")[1] == "turnover, mean over initial_cash, execution, weights=one"
    for ax, account in zip(figure.axes, ("cash", "margin"), strict=False):
        shown = np.asarray(ax.images[0].get_array())
        wanted = whole.pivot("commission_rate", "rebalance_every", "turnover", weights="one", account=account)
        assert np.array_equal(shown, wanted.drop("commission_rate").to_numpy())
    fan, capacity = figure.axes[3], figure.axes[4]  # behind the bar of colours
    cash = whole.table["initial_cash"].to_numpy()[:, None]
    assert np.allclose(fan.lines[0].get_ydata(), np.median(whole.equity / cash, axis=0), rtol=1e-12)
    best = whole.best("turnover")["scenario"][0]
    assert np.allclose(fan.lines[1].get_ydata(), (whole.equity / cash)[best], rtol=1e-12)
    one = whole.table.filter(whole.table["weights"] == "one")
    medians = [one.filter(one["initial_cash"] == c)["turnover"].median() for c in (1e4, 3e6)]
    assert np.allclose(capacity.lines[0].get_ydata(), medians, rtol=1e-12) and capacity.get_xscale() == "log"


def test_capacity_is_drawn_wherever_initial_cash_stands():
    grid = {"initial_cash": [1e4, 3e6], "slippage": [0.0, 1e-3], "commission_rate": [0.0, 1e-3]}
    found = sweep_small(grid=grid, weights=np.full(universe().shape, 1 / 12))
    assert titles(found.plot()) == ["sharpe, mean over initial_cash", "sharpe over initial_cash: capacity"]
    assert titles(found.plot(rows="initial_cash", how="max")) == ["sharpe, max over commission_rate"]
    assert titles(found.plot(rows="initial_cash")) == ["commission_rate=0", "commission_rate=0.001"]


def test_one_axis_is_a_line_and_files_are_written(tmp_path: Path):
    found = sweep_small(grid=None)
    assert titles(found.plot()) == ["sharpe over weights"]
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert found.plot(tmp_path / name) == tmp_path / name
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(bt.ResultError, match="unknown format 'xyz'"):
        found.plot(tmp_path / "a.xyz")


@pytest.mark.filterwarnings("ignore:.* scenarios:gpu_bt.errors.BacktestWarning")
def test_scenarios_without_a_number_and_many_cells_are_drawn():
    grid = {"cash_buffer": [1.0, 0.0], "slippage": [i * 1e-4 for i in range(80)]}
    found = sweep_small(grid=grid, weights=np.full(universe().shape, 1 / 12))
    figure = found.plot()
    assert len(figure.axes[0].texts) == 0 and len(found) == 160
    assert titles(figure) == ["sharpe"]


def test_what_cannot_be_drawn_is_refused(whole: bt.SweepResult):
    with pytest.raises(bt.ConfigError, match="'band' is no axis"):
        whole.plot(rows="band")
    with pytest.raises(bt.ConfigError, match="'gain' is no metric"):
        whole.plot(metric="gain")
    for name, value in {"figsize": (1, 2), "dpi": 3, "style": "no such", "how": "x"}.items():
        with pytest.raises(bt.ConfigError, match=f"^{name} is "):
            whole.plot(**{name: value})
