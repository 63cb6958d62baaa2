# SPDX-License-Identifier: Apache-2.0
"""Scores in run and sweep: every scenario has the bits of the panel of weights that holds its books."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from sweep_cases import assert_same_sweep

import gpu_bt as bt
from gpu_bt.sweeps import sweep as sweeps
from gpu_bt.sweeps.chunks import Inputs, Spilled

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
T, N = 60, 23
PARAMETERS = ("long", "short", "keep", "scheme", "long_gross", "short_gross")
MARGIN = bt.Config(account="margin", lot=0, commission_rate=1e-3)
GRID: dict[str, list[Any]] = {
    "long": [3, 0.2, 40],
    "short": [0, 2],
    "keep": [1.0, 2.5],
    "scheme": ["equal", "rank"],
    "rebalance_every": [1, 4],
    "signal_lag": [0, 2],
}


def market(**fields: Any) -> bt.Panel:
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    close[20:23, 4] = np.nan
    days = np.arange("2020-01-01", "2020-06-01", dtype="datetime64[D]")
    stamps = days[np.is_busday(days)][:T]
    universe = rng.random((T, N)) < 0.9
    off = np.full(N, -1)
    off[7], off[9] = 30, 41
    given = {"universe": universe, "delisted_at": off, "group": np.arange(N) % 3, "open": close * 1.001, **fields}
    return bt.Panel(close, timestamps=stamps, assets=[f"A{i}" for i in range(N)], **given)


def drawn(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.round(np.cumsum(rng.normal(size=(T, N)), axis=0), 1)
    x[rng.random((T, N)) < 0.1] = np.nan
    x[11:14] = np.nan
    return x


PANEL = market()
SCORES = {"slow": drawn(1), "fast": drawn(2)}


def explicit(row: dict[str, Any], groups: Any = None, scores: Any = SCORES, config: bt.Config = MARGIN) -> Any:
    """The panel of weights of a scenario, and its config."""
    own = {name: row[name] for name in PARAMETERS if name in row}
    config = config.replace(**{name: row[name] for name in ("rebalance_every", "signal_lag", "outside") if name in row})
    one = scores[row["scores"]] if isinstance(scores, dict) else scores
    return bt.Scores(one, groups=groups, **own).weights(PANEL, config), config


@pytest.mark.parametrize("engine", ["numpy", "native"])
@pytest.mark.parametrize("groups", [None, "panel"])
def test_every_scenario_has_the_bits_of_its_own_panel_of_weights(engine: str, groups: Any):
    found = bt.sweep(PANEL, bt.Scores(SCORES, groups=groups), MARGIN, GRID, equity=True, engine=engine)
    assert len(found) == 2 * 96 and found.table["scores"].unique().sort().to_list() == ["fast", "slow"]
    assert found.table["turnover"].min() > 0
    distinct = set()
    for k, row in enumerate(found.table.iter_rows(named=True)):
        weights, config = explicit(row, groups)
        want = bt.sweep(PANEL, {"": weights}, config, {"band": [0.0]}, equity=True, engine=engine)
        assert_bits("equity", found.equity[k], want.equity[0])
        for name in want.table.columns:
            a, b = found.table[name][k] if name not in ("band", "scenario") else None, want.table[name][0]
            assert name in ("band", "scenario", "weights", "advice") or a == b or (a != a and b != b), (name, a, b)
        distinct.add(found.equity[k].tobytes())
    assert len(distinct) > 150
