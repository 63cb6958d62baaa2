# SPDX-License-Identifier: Apache-2.0
"""Drawn opening holdings for the scenarios of draw.py and draw_orders.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from draw import chance, maybe, pick, scenario
from oracle import OraclePanel

from gpu_bt.config import Config

__all__ = ["draw_holdings", "odd_book"]


def draw_holdings(seed: int, panel: OraclePanel, config: Config) -> np.ndarray:
    """(N,) shares that the account may hold: some assets, some without a price at the first bar, some delisted or split
    there; short ones in some margin accounts. At least one is held, unless no asset ever has a price."""
    rng = np.random.default_rng([seed, 2])
    n = panel.shape[1]
    quoted = np.array(panel.close, np.float64)
    if panel.open is not None:
        quoted = np.where(np.isnan(quoted), np.asarray(panel.open, np.float64), quoted)
    known = ~np.isnan(quoted)
    price = np.where(known.any(axis=0), quoted[known.argmax(axis=0), np.arange(n)], np.nan)
    if not known.any():
        return np.zeros(n)
    held = known.any(axis=0) & (rng.random(n) < pick(rng, (0.2, 0.6, 1.0)))
    held[int(rng.choice(np.flatnonzero(known.any(axis=0))))] = True
    if chance(rng, 0.5):  # as a rule all have a price at once, so that the first bars decide
        held &= known[0] | ~known[0].any()
    unit = np.full(n, config.lot) if panel.lot is None or config.lot == 0 else np.asarray(panel.lot, np.float64)
    worth = min(config.initial_cash, 1e14) * pick(rng, (0.01, 0.5, 3.0)) * rng.dirichlet(np.ones(n))
    shares = np.where(held, worth / np.where(held, price, 1.0), 0.0)
    lots = np.maximum(np.rint(shares / np.where(unit > 0, unit, 1.0)), 1.0)
    shares = np.where(held & (unit > 0), np.minimum(lots * unit, 1e15), shares)
    if chance(rng, 0.5):  # odd lots
        odd = held & (unit > 1) & (rng.random(n) < 0.7)
        shares = np.where(odd, np.rint(shares + rng.integers(1, 100, n)), shares)
    if config.account == "margin" and chance(rng, 0.5):
        shares *= rng.choice([1.0, 1.0, -0.125 if (unit == 0).all() else -1.0], n)
    return np.where(held, shares, 0.0) + 0.0


#: Accounts whose cash does not last for their targets, and others.
SHORT: tuple[dict[str, Any], ...] = (
    {},
    *({"account": "cash", "fixed_commission": 0.0, "min_commission": 0.0, "slippage": x} for x in (0.02, 0.1)),
)


def odd_book(seed: int) -> tuple[OraclePanel, np.ndarray, Config, np.ndarray]:
    """(panel, weights, config, shares): odd lots held under lots of several shares, of what a scenario of draw.py has
    otherwise; orders are odd, and cash and volumes are short of them."""
    panel, weights, config = scenario(seed)
    rng = np.random.default_rng([seed, 3])
    panel.lot = None
    lot = float(pick(rng, (7.0, 10.0, 100.0)))
    volume = np.where(rng.random(panel.shape) < 0.5, rng.integers(0, 3 * int(lot), panel.shape), rng.integers(0, 100))
    panel.volume = None if config.impact == 0.0 and chance(rng, 0.4) else volume.astype(np.float64)
    panel.split = np.where(rng.random(panel.shape) < 0.1, rng.choice((1.3, 0.7, 1.1, 7 / 3), panel.shape), 1.0)
    quoted = np.nan_to_num(np.asarray(panel.close, np.float64), nan=1.0)
    cash = float(np.clip(np.median(quoted) * lot * len(quoted[0]) * rng.uniform(0.3, 4.0), 1.0, 1e9))
    config = config.replace(
        lot=lot, rounding=pick(rng, ("position", "position", "toward_zero")), initial_cash=cash, money_tick=None,
        cash_buffer=0.0, max_gross=None, max_turnover=None, min_trade_value=0.0, **pick(rng, SHORT),
        participation=maybe(rng, 0.7, pick(rng, (1.0, 0.5))) if panel.volume is not None else None,
    )  # fmt: skip
    if config.account == "cash":
        weights = np.abs(weights)
    shares = np.abs(draw_holdings(seed, panel, config))
    return panel, weights, config, np.where(shares > 0, shares + rng.integers(1, int(lot), len(shares)), shares)
