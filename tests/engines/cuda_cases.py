# SPDX-License-Identifier: Apache-2.0
"""Runs of the CUDA engine on the emulated device, and what NumPy makes of the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from build import panel_of, simulate_spec, spec_of
from compare import assert_same_raw
from draw import scenario

from cpu_fallback.engine import ENGINE as NUMPY
from gpu_bt.config import Config
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.data.clock import SCHEDULE
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.errors import ConfigError
from gpu_bt.runs.run import check_fields

__all__ = ["NUMPY", "ORDERS", "assert_same_as_numpy", "batch", "book", "lean", "one"]

ORDERS = ("forward", "reversed", "random")
#: Scenarios that are equal in these read the same rows, so that they share a lane.
_LANE = (*SCHEDULE, "signal_lag", "lot", "execution", "delist_after", "sizing", "outside")
#: What the lean kernel leaves out.
_LEAN = {name: None for name in ("max_weight", "max_gross", "max_turnover", "participation")}
_LEAN |= {"account": "cash", "band": 0.0, "min_trade_value": 0.0, "impact": 0.0}


def one(seed: int, assets: int | None = None, **record: Any) -> RunSpec:
    """A drawn scenario."""
    panel, weights, config = scenario(seed, assets)
    return spec_of(panel_of(panel, config), [weights], [config], **record)


def lean(seed: int, assets: int | None = None, **record: Any) -> RunSpec:
    """A drawn scenario without what the lean kernel leaves out."""
    panel, weights, config = scenario(seed, assets)
    config = config.replace(**_LEAN)
    for name in ("half_spread", "dividend", "split", "can_buy", "can_sell", "universe"):
        setattr(panel, name, None)
    weights = np.maximum(weights, 0.0)
    return spec_of(panel_of(panel, config), [weights], [config], **record)


def fitting(public: Panel, config: Config) -> bool:
    try:
        check_fields(public, config)
    except ConfigError:
        return False
    return True


def batch(seed: int, count: int, assets: int | None = None, **record: Any) -> RunSpec:
    """`count` drawn configs on one drawn panel and one book, all of one lane, cash and margin accounts in turn."""
    rng = np.random.default_rng(seed)
    panel, weights, config = scenario(seed, assets)
    public, configs = panel_of(panel, config), [config]
    while len(configs) < count:
        other = scenario(int(rng.integers(2**40)))[2].replace(**{name: getattr(config, name) for name in _LANE})
        if np.nanmin(weights, initial=0.0) < 0.0:
            other = other.replace(account=config.account)
        if fitting(public, other):
            configs.append(other)
    spec = spec_of(public, [weights], configs, **record)
    spec.params["schedule"] = 0
    return spec


def book(seed: int, assets: int, shares: tuple[float, ...] = (0.0, 0.15, 0.5, 1.0), count: int = 1) -> RunSpec:
    """A drawn panel; each row of weights names one of these shares of the assets. `count` scenarios follow them."""
    rng = np.random.default_rng(seed)
    panel, _, config = scenario(seed, assets)
    weights = np.zeros(panel.shape)
    for row in weights:
        chosen = rng.permutation(assets) < round(rng.choice(shares) * assets)
        row[chosen] = rng.random(chosen.sum()) / assets
    configs = [config.replace(initial_cash=config.initial_cash * 2.0**i) for i in range(count)]
    return spec_of(panel_of(panel, config), [weights], configs)


def assert_same_as_numpy(spec: RunSpec, engine: CudaEngine, cuts: tuple[int, ...] = ()) -> RawResult:
    """Runs the engine; returns what NumPy makes of it, which is the same."""
    raw, wanted = simulate_spec(engine, spec, cuts), simulate_spec(NUMPY, spec)
    assert raw.engine == "cuda"
    assert_same_raw(raw, wanted)
    return wanted
