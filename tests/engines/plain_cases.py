# SPDX-License-Identifier: Apache-2.0
"""Runs whose bars are plain (gpu_bt/law/plain.h), drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import RunSpec
from gpu_bt.law.layout import pack

__all__ = ["KINDS", "Kind", "book", "drawn", "panel", "specs"]

#: (rounding, lot, columns, dtype of weights, scenarios to a block, holdings in its own memory)
Kind = tuple[str, float, str, Any, int, bool]
#: Few, since each is a kernel of its own, and takes seconds to build.
KINDS: list[Kind] = [
    ("toward_zero", 1.0, "equity", np.float64, 1, True),
    ("toward_zero", 10.0, "all", np.float64, 2, True),
    ("nearest", 1.0, "equity", np.float64, 2, False),
    ("position", 1.0, "equity", np.float32, 4, True),
    ("nearest", 0.0, "all", np.float32, 1, False),
]


def panel(rng: np.random.Generator, bars: int, assets: int, messy: bool = False) -> Panel:
    """Prices in cents; a messy one has gaps of both prices, and assets that are delisted."""
    close = 20 * np.exp(np.cumsum(0.02 * rng.standard_normal((bars, assets)), axis=0)).round(2) + 1
    opened = (close * np.exp(0.01 * rng.standard_normal((bars, assets)))).round(2)
    given: dict[str, Any] = {}
    if messy:
        close[rng.random((bars, assets)) < 0.03] = np.nan
        opened[rng.random((bars, assets)) < 0.03] = np.nan
        if rng.random() < 0.5:
            given["delisted_at"] = np.where(rng.random(assets) < 0.15, rng.integers(1, bars, assets), -1)
    stamps = np.datetime64("2020-01-01") + np.arange(bars)
    return Panel(close, open=opened, timestamps=stamps, assets=[f"a{i}" for i in range(assets)], **given)


def book(
    rng: np.random.Generator, shape: tuple[int, int], share: float, gross: float, holes: float = 0.0
) -> np.ndarray:
    """Each row names a share of the assets, with this sum; some targets are NaN."""
    weights = np.where(rng.random(shape) < share, rng.random(shape), 0.0)
    weights *= gross / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return np.where(rng.random(shape) < holes, np.nan, weights)


def specs(market: Panel, books: list[np.ndarray], configs: list[Config], due: np.ndarray, columns: str) -> RunSpec:
    """Scenario i follows book i modulo their number."""
    params = pack(configs, 0, [i % len(books) for i in range(len(configs))])
    return RunSpec(market.market, params, tuple(books), due[None], columns=columns)


def drawn(seed: int, kind: Kind) -> RunSpec:
    """A scenario, or several, of one of KINDS."""
    rounding, lot, columns, dtype, *_ = kind
    rng = np.random.default_rng(seed)
    bars, assets = int(rng.integers(5, 40)), int(rng.choice([3, 20, 33, 64, 70, 130]))
    market = panel(rng, bars, assets, messy=bool(rng.random() < 0.4))
    share, gross, holes = rng.choice([0.05, 0.15, 0.3, 1.0]), rng.choice([0.5, 0.97, 1.0, 1.3]), rng.random() < 0.2
    books = [book(rng, (bars, assets), share, gross, 0.05 * holes).astype(dtype)]
    count = int(rng.choice([1, 2, 3, 5, 8]))
    if count > 1 and rng.random() < 0.5:
        books.append(np.ascontiguousarray(books[0][::-1]))
    due = np.zeros(bars, bool)
    due[int(rng.integers(0, 3)) :: int(rng.choice([1, 1, 3, 7]))] = True
    base = Config(
        initial_cash=float(rng.choice([1e4, 1e6, 1e9])), slippage=float(rng.choice([0, 5e-4])),
        cash_buffer=float(rng.choice([0, 0.02])), min_commission=float(rng.choice([0, 1.0])),
        rounding=rounding, lot=lot,
        execution=str(rng.choice(["next_open", "next_close"])), signal_lag=int(rng.choice([0, 0, 1])),
        cash_rate=float(rng.choice([0, 0.03])), unfilled=str(rng.choice(["keep", "cancel"])),
        max_drawdown=None if rng.random() < 0.7 else 0.05,
    )  # fmt: skip
    configs = [base.replace(commission_rate=float(rate)) for rate in np.linspace(0, 1e-3, count)]
    return specs(market, books, configs, due, columns)
