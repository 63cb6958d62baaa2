# SPDX-License-Identifier: Apache-2.0
"""Engines against each other on seeded scenarios: every bit of what they record must be the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gpu_bt.analysis.result import Result
from gpu_bt.config import Config
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.spec import FILL, RawResult
from gpu_bt.errors import quiet
from gpu_bt.law.layout import COUNTS, MONEY, members_of
from gpu_bt.runs.run import run

__all__ = ["SCENARIOS", "Check", "difference", "verify"]

_BARS, _ASSETS = 252, 60
_COSTS: dict[str, Any] = dict(
    commission_rate=5e-4, sell_tax=1e-3, commission_per_share=0.005, min_commission=2.0, max_commission_rate=0.01,
    slippage=5e-4,
)  # fmt: skip
#: Name -> what Config takes, besides the gross of the weights and the dtype of the panel. Each limit is reached in one.
SCENARIOS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "costs, no cash buffer": dict(**_COSTS, cash_buffer=0.0, cash_rate=0.02),
    "participation and impact": dict(**_COSTS, participation=0.001, impact=0.1, unfilled="cancel"),
    "float32 panel": dict(**_COSTS, participation=0.002, dtype=np.float32),
    "limits on targets": dict(
        **_COSTS, max_weight=0.06, max_gross=0.8, max_turnover=0.3, band=0.0005, min_trade_value=5e3, rounding="nearest"
    ),
    "fractional shares": dict(**_COSTS, lot=0, execution="next_close", rebalance="week", signal_lag=1),
    "same close": dict(execution="same_close", rebalance_every=5, rebalance_offset=3, delist_after=3),
    "margin": dict(
        **_COSTS, account="margin", gross=1.8, max_leverage=1.5, borrow_rate=0.03, debit_rate=0.06, impact=0.05
    ),
    "margin calls": dict(**_COSTS, account="margin", gross=4.0, max_leverage=None, maintenance_margin=0.3),
    "bankruptcy": dict(account="margin", gross=200.0, max_leverage=None, maintenance_margin=None),
    "drawdown stop": dict(**_COSTS, max_drawdown=0.08),
}


@dataclasses.dataclass(frozen=True)
class Check:
    """One scenario: its number of fills, the statuses it reached, and where each engine differs (None = nowhere)."""

    scenario: str
    fills: int
    statuses: tuple[str, ...]
    differs: dict[str, str | None]


def verify(names: Sequence[str], advance: Callable[[], None] = lambda: None) -> Iterator[Check]:
    """Run each scenario on every engine of `names` and compare with the last one, which is the reference.

    advance: called after each run.   Raises ConfigError or EngineUnavailable for a name that cannot run here.
    """
    for number, (scenario, settings) in enumerate(SCENARIOS.items()):
        reference = _run(names[-1], number, settings)
        advance()
        differs = {}
        for name in names[:-1]:
            found = _run(name, number, settings)
            same = found.engine == name
            differs[name] = difference(found.raw, reference.raw) if same else f"engine {found.engine!r} ran instead"
            advance()
        yield Check(scenario, int(reference.raw.column("fills").sum()), tuple(reference.statuses), differs)


def _run(engine: Any, seed: int, settings: dict[str, Any]) -> Result:
    """One scenario of SCENARIOS on one engine; the seed alone says what its panel and weights are."""
    settings = dict(settings)
    gross, dtype = settings.pop("gross", 1.0), settings.pop("dtype", np.float64)
    panel = synthetic_universe(_BARS, _ASSETS, seed=seed, dtype=dtype)
    weights = gross * random_weights(panel, 0.5, seed=seed)
    if settings.get("account") == "margin":
        weights[:, ::2] *= -1.0
    with quiet():
        return run(panel, weights, Config(**settings), engine=engine, record=("fills", "positions"))


def difference(found: RawResult, wanted: RawResult) -> str | None:
    """The first thing in which two records differ, for a person; None where all bits agree, NaN being one value.

    What an ended scenario leaves in orders and ledger is not compared: it is never used again.
    """
    running = wanted.state["ended"] == 0
    pairs: list[tuple[str, Any, Any]] = [(name, found.column(name), wanted.column(name)) for name in (*MONEY, *COUNTS)]
    pairs += [(name, found.state[name], wanted.state[name]) for name in ("first_bar", "ended")]
    pairs += [(name, found.state[name][running], wanted.state[name][running]) for name in ("cash", "peak")]
    pairs += [("holdings", found.holdings, wanted.holdings), ("orders", found.orders[running], wanted.orders[running])]
    pairs += [("positions", found.positions, wanted.positions)]
    for name in ("fills", "cuts"):
        one, two = getattr(found, name), getattr(wanted, name)
        pairs += [(f"{name}.{field}", one[field], two[field]) for field in members_of(FILL)]
    for name, one, two in pairs:
        if one.shape != two.shape or one.dtype != two.dtype:
            return f"{name} is {one.dtype}{list(one.shape)}, not {two.dtype}{list(two.shape)}"
        bits = _bits(one) != _bits(two)
        if bits.any():
            where = tuple(np.argwhere(bits)[0].tolist())
            return f"{name}{list(where)} is {one[where]!r}, not {two[where]!r}"
    return None


def _bits(values: np.ndarray) -> np.ndarray:
    """Whole numbers that are equal exactly where the bits are; all NaN count as one."""
    if values.dtype.kind != "f":
        return values
    values = np.where(np.isnan(values), np.nan, values)
    return values.view(f"i{values.dtype.itemsize}")
