# SPDX-License-Identifier: Apache-2.0
"""What is timed. An asset-bar is one (bar, asset) cell of one scenario; all N assets count, traded or not.

Every case has shared cash, target weights, costs and whole lots. The panel is clean (every asset trades at every bar);
"messy" adds listings, delistings, halts, splits and dividends.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.data.synthetic import random_weights, synthetic_universe

__all__ = ["COSTS", "SHAPES", "Case", "cases", "config", "fits", "panel_of", "weights_of", "widths"]

SHAPES = ((252, 500), (1260, 3000), (2520, 5000))
#: Assets of the cases with equal bars * assets, and that product; the second of each is for quick=True.
_WIDTHS = ((100, 500, 1000, 5000, 20_000, 50_000), (100, 500, 5000))
_CELLS = (5_000_000, 200_000)
#: Asset-bars of a run above which NumPy is left out: it takes minutes, and its rate is known by then.
_LONG = 6e8
#: Bars after which the made-up prices begin again: a century of drift leaves the range of prices.
_LONGEST = 2520
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
        counts = (16, 256, 4096) if not quick and (bars, assets) == SHAPES[0] else (16, 256)
        found += [Case(bars, assets, density, 1, scenarios=k) for k in counts for density in (0.1, 1.0)]
    return found


def widths(quick: bool) -> list[Case]:
    """One dense scenario with few assets and many bars up to many assets and few bars, bars * assets being the same."""
    return [Case(_CELLS[quick] // n, n, 1.0, 1) for n in _WIDTHS[quick]]


def fits(case: Case, engine: str) -> bool:
    """Whether the case ends in reasonable time on this engine."""
    return engine != "numpy" or case.asset_bars <= _LONG


def config() -> Config:
    """The costs and the account of every case."""
    return Config(**COSTS)


def panel_of(case: Case) -> Panel:
    """The universe of a case; one seed for all shapes. Where there are many bars, its prices repeat."""
    if case.bars <= _LONGEST:
        return synthetic_universe(case.bars, case.assets, seed=11, messy=case.messy)
    part = synthetic_universe(_LONGEST, case.assets, seed=11, messy=False)
    fields = {name: np.resize(getattr(part, name), (case.bars, case.assets)) for name in ("close", "open", "volume")}
    days = np.busday_offset("2015-01-02", np.arange(case.bars), roll="forward").astype("datetime64[us]")
    return Panel(**fields, timestamps=days, assets=part.assets)


def weights_of(case: Case, panel: Panel) -> np.ndarray:
    """A random book, of which a part changes at each decision; read-only, so that a run takes it without a copy."""
    weights = random_weights(panel, case.density, seed=12, every=case.every)
    weights.flags.writeable = False
    return weights
