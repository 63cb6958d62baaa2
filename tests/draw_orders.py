# SPDX-License-Identifier: Apache-2.0
"""Drawn callback scenarios: those of draw.py with a strategy's decisions, targets and direct orders mixed."""

from __future__ import annotations

import numpy as np
from draw import chance, pick, quote, scenario
from oracle import OraclePanel
from oracle_limits import Orders

from gpu_bt.config import Config

__all__ = ["callback_scenario"]


def callback_scenario(seed: int) -> tuple[OraclePanel, np.ndarray, Config, Orders]:
    """(panel, weights, config, orders): a cell has a weight, an order or nothing. Limits and stops lie near the prices,
    often exactly on the next bar's open, high or low; in some panels nothing has them."""
    panel, weights, config = scenario(seed)
    rng = np.random.default_rng([seed, 1])
    t, n = panel.shape
    paths = chance(rng, 0.85)
    if paths:
        add_path(rng, panel)
    config = config.replace(
        signal_lag=0, rebalance="bar" if chance(rng, 0.7) else config.rebalance,
        rebalance_every=1 if chance(rng, 0.7) else config.rebalance_every,
    )  # fmt: skip
    weights = weights.astype(np.float64)
    weights[rng.random(t) < pick(rng, (0.2, 0.6, 0.95))] = np.nan
    ordered = rng.random((t, n)) < rng.choice([0.0, 0.1, 0.6], (t, 1))
    weights[ordered] = np.nan
    unit = np.full(n, config.lot) if panel.lot is None or config.lot == 0 else np.asarray(panel.lot)
    unit = np.where(unit == 0, 1.0, unit)
    known = np.nan_to_num(panel.close.astype(np.float64), nan=10.0)
    lots = rng.normal(0.1, 0.3, (t, n)) * pick(rng, (0.3, 1.0, 3.0)) * config.initial_cash / (known * unit)
    lots = np.where(rng.random((t, n)) < 0.8, np.rint(lots), lots)
    lots = np.where(rng.random((t, n)) < 0.1, rng.choice([0.0, np.inf, -np.inf, 0.3, -0.6, 1.0, -2.0], (t, n)), lots)
    lots = np.where(ordered, lots + 0.0, np.nan)
    exits = np.where(ordered & (rng.random((t, n)) < 0.35), rng.choice([1.0, 1.0, 0.5, 2.0], (t, n)), np.nan)
    limit, stop = (trigger(rng, panel, known, ordered & paths) for _ in range(2))
    return panel, weights, config, Orders(lots, exits, limit, stop)


def add_path(rng: np.random.Generator, panel: OraclePanel) -> None:
    """open, high and low where the panel lacks them, with a hole now and then."""
    shape, kind = panel.shape, panel.close.dtype
    dead = np.isnan(panel.close) & (True if panel.open is None else np.isnan(panel.open))
    close = panel.close.astype(np.float64)
    if panel.open is None:
        panel.open = np.where(dead, np.nan, quote(rng, close * np.exp(rng.normal(0, 0.02, shape)))).astype(kind)
    if panel.high is None:
        opened = panel.open.astype(np.float64)
        wide = np.abs(rng.normal(0, pick(rng, (0.005, 0.05)), shape))
        for name, reach, sign in (("high", np.fmax, 1.0), ("low", np.fmin, -1.0)):
            values = quote(rng, reach(close, opened) * (1.0 + sign * np.minimum(wide, 0.9)))
            hole = dead | (rng.random(shape) < 0.03)
            setattr(panel, name, np.where(hole, np.nan, values).astype(kind))


def trigger(rng: np.random.Generator, panel: OraclePanel, known: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(T, N) limit or stop prices, NaN where there is none."""
    shape = panel.shape
    near = np.clip(known * (1.0 + rng.normal(0, 0.04, shape)), 1e-10, 1e12)
    for name in ("open", "high", "low"):
        field = getattr(panel, name)
        if field is not None:
            ahead = np.vstack([field[1:], field[:1]]).astype(np.float64)
            near = np.where((rng.random(shape) < 0.1) & ~np.isnan(ahead), ahead, near)
    return np.where(where & (rng.random(shape) < 0.5), near, np.nan)
