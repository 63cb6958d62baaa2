# SPDX-License-Identifier: Apache-2.0
"""Drawn scenarios as RunSpecs, and engines run on them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from draw import to_public
from oracle import OraclePanel
from oracle_limits import Orders

from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.spec import Decision, Engine, RawResult, RunSpec
from gpu_bt.errors import BacktestWarning
from gpu_bt.law.layout import pack
from gpu_bt.runs.run import schedule_of

__all__ = ["callback_spec", "panel_of", "simulate_callback", "simulate_spec", "spec_of"]


def panel_of(drawn: OraclePanel, config: Config) -> Panel:
    """The public panel of a drawn one; a drawn split may be hidden by a price move, so that warning is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        return Panel(**to_public(drawn, config))


def spec_of(panel: Panel, weights: Sequence[np.ndarray | Ranked], configs: list[Config], **record: Any) -> RunSpec:
    """Scenario i runs weights[i % len(weights)], a panel of them or a book, under configs[i]."""
    schedules = np.stack([schedule_of(panel, c) for c in configs])
    params = pack(configs, schedule=np.arange(len(configs)), weights=np.arange(len(configs)) % len(weights))
    entries = tuple(w if isinstance(w, Ranked) else np.ascontiguousarray(w) for w in weights)
    return RunSpec(panel.market, params, entries, schedules, **record)


def simulate_spec(engine: Engine, spec: RunSpec, cuts: tuple[int, ...] = ()) -> RawResult:
    """The whole run, in one piece or cut at the bars given."""
    session = engine.open(spec)
    edges = [0, *sorted({c for c in cuts if 0 < c < spec.market.shape[0]}), spec.market.shape[0]]
    for a, b in itertools.pairwise(edges):
        session.advance(a, b)
    return session.result()


def callback_spec(panel: Panel, config: Config, **record: Any) -> RunSpec:
    """A callback run of one scenario."""
    return RunSpec(panel.market, pack([config]), (), schedule_of(panel, config)[None], callback=True, **record)


def simulate_callback(engine: Engine, spec: RunSpec, weights: np.ndarray, orders: Orders | None) -> RawResult:
    """The whole run, with drawn decisions at the scheduled bars; the other bars are advanced over in one piece."""
    session, at = engine.open(spec), 0
    for t in np.flatnonzero(spec.schedules[0]).tolist():
        session.advance(at, t)
        decision = None
        if session.open_bar(t):
            decision = Decision(weights=weights[t])
            if orders is not None:
                part = orders.exits[t]
                lots = np.where(np.isnan(part), orders.lots[t], -(part * session.book().lots) + 0.0)
                nothing = np.isnan(weights[t]).all() and np.isnan(lots).all()
                decision = None if nothing else Decision(weights[t], lots, orders.limit[t], orders.stop[t])
        session.close_bar(t, decision)
        at = t + 1
    session.advance(at, spec.market.shape[0])
    return session.result()
