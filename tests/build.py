# SPDX-License-Identifier: Apache-2.0
"""Drawn scenarios as RunSpecs, and engines run on them."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
from draw import to_public
from oracle import OraclePanel

from gpu_bt.api import schedule_of
from gpu_bt.config import Config
from gpu_bt.errors import BacktestWarning
from gpu_bt.panel import Panel
from gpu_bt.spec import Engine, RawResult, RunSpec
from gpu_bt.step.layout import pack

__all__ = ["panel_of", "simulate_spec", "spec_of"]


def panel_of(drawn: OraclePanel, config: Config) -> Panel:
    """The public panel of a drawn one; a drawn split may be hidden by a price move, so that warning is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        return Panel(**to_public(drawn, config))


def spec_of(panel: Panel, weights: list[np.ndarray], configs: list[Config], **record: Any) -> RunSpec:
    """Scenario i runs weights[i % len(weights)] under configs[i]."""
    schedules = np.stack([schedule_of(panel, c) for c in configs])
    params = pack(configs, schedule=np.arange(len(configs)), weights=np.arange(len(configs)) % len(weights))
    return RunSpec(panel.market, params, tuple(np.ascontiguousarray(w) for w in weights), schedules, **record)


def simulate_spec(engine: Engine, spec: RunSpec, cuts: tuple[int, ...] = ()) -> RawResult:
    """The whole run, in one piece or cut at the bars given."""
    session = engine.open(spec)
    edges = [0, *sorted({c for c in cuts if 0 < c < spec.market.shape[0]}), spec.market.shape[0]]
    for a, b in itertools.pairwise(edges):
        session.advance(a, b)
    return session.result()
