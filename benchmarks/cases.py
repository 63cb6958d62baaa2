# SPDX-License-Identifier: Apache-2.0
"""What is timed. An asset-bar is one (bar, asset) cell of one scenario; all N assets count, traded or not.

Every case has shared cash, target weights, costs and whole lots. The panel is clean (every asset trades at every bar);
"messy" adds listings, delistings, halts, splits and dividends.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import gpu_bt as bt
from gpu_bt.synthetic import random_weights, synthetic_universe

__all__ = ["COSTS", "SHAPES", "Case", "cases", "config", "panel_of", "weights_of"]

SHAPES = ((252, 500), (1260, 3000), (2520, 5000))
COSTS: dict[str, Any] = {"initial_cash": 1e9, "commission_rate": 5e-4, "slippage": 5e-4, "min_commission": 1.0}


@dataclasses.dataclass(frozen=True)
class Case:
    """One timing: `density` = share of non-zero weights, `every` = bars between decisions, K `scenarios`."""

    bars: int
    assets: int
    density: float
    every: int
    scenarios: int = 1
    messy: bool = False

    @property
    def asset_bars(self) -> int:
        """T * N * K."""
        return self.bars * self.assets * self.scenarios


def cases(quick: bool) -> list[Case]:
    """All cases, or with quick=True those of the smallest shape."""
    found = []
    for bars, assets in SHAPES[:1] if quick else SHAPES:
        found += [Case(bars, assets, density, every) for density in (0.1, 1.0) for every in (1, 21)]
        found += [Case(bars, assets, 0.1, 1, messy=True)]
        found += [Case(bars, assets, density, 1, scenarios=16) for density in (0.1, 1.0)]
    return found


def config() -> bt.Config:
    """The costs and the account of every case."""
    return bt.Config(**COSTS)


def panel_of(case: Case) -> bt.Panel:
    """The universe of a case; one seed for all shapes."""
    return synthetic_universe(case.bars, case.assets, seed=11, messy=case.messy)


def weights_of(case: Case, panel: bt.Panel) -> np.ndarray:
    """A random book, of which a part changes at each decision; read-only, so that a run takes it without a copy."""
    weights = random_weights(panel, case.density, seed=12, every=case.every)
    weights.flags.writeable = False
    return weights
