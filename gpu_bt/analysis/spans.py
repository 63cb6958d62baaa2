# SPDX-License-Identifier: Apache-2.0
"""Where a run begins: the first bar that decides with a target, from which on its metrics are reckoned.

Letters: T bars, N assets, K scenarios.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_bt.analysis.metrics import returns
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.spec import RawResult, RunSpec

__all__ = ["asks", "began", "decided", "first_bars", "outside", "returns_since"]

_Ints = NDArray[np.int64]


def outside(market: Any, bar: int) -> Any:
    """(N,) bool: outside the universe at a bar, of which an asset from its delisting on is no matter ([S6])."""
    listed = (market.delisted_at < 0) | (market.delisted_at > bar)
    return listed & ~market.universe[bar] if market.universe is not None else listed & False


def asks(market: Any, bar: int, rows: Any) -> bool:
    """The (..., N) targets or orders of a decision at a bar want something held: they are not 0 for an asset that may
    be, one in the universe and not delisted."""
    may = ~outside(market, bar) & ((market.delisted_at < 0) | (market.delisted_at > bar))
    return bool((may & ~np.isnan(rows) & (rows != 0)).any())


def began(spec: RunSpec) -> _Ints:
    """(K,) the first bar that decides with a target other than 0; -1 where none does.

    A target of 0 asks for nothing while nothing is held, so rows of zeros before the first book are as much a warm-up
    as rows of NaN are, and as targets outside the universe. Scenarios that begin with holdings or orders begin at 0.
    """
    due = spec.due()

    @cache
    def found(panel: int, lag: int, bar: int) -> bool:
        rows: Any = spec.weights[panel]
        return bar >= lag and asks(spec.market, bar, rows[bar - lag])

    out = np.zeros(len(spec.params), np.int64)
    for k, p in enumerate(spec.params):
        if spec.start is not None and (spec.start.holdings[k].any() or spec.start.orders[k].any()):
            continue
        panel, lag = int(p["weights"]), int(p["signal_lag"])
        if isinstance(spec.weights[panel], Ranked):
            read = spec.reader(k)
            out[k] = next((t for t in np.flatnonzero(due[:, k]).tolist() if asks(spec.market, t, read(t))), -1)
        else:
            out[k] = next((t for t in np.flatnonzero(due[:, k]).tolist() if found(panel, lag, t)), -1)
    return out


def decided(raw: RawResult) -> _Ints:
    """(K,) the first bar that decides with a target other than 0, where the record knows it; -1 where there is none."""
    return np.full(raw.money.shape[1], -1) if raw.began is None else raw.began


def first_bars(raw: RawResult) -> _Ints:
    """(K,) the first bar that counts in the metrics: that which `decided`, 0 where there is none."""
    return np.maximum(decided(raw), 0)


def returns_since(first: _Ints, equity: np.ndarray, initial_cash: np.ndarray | float) -> np.ndarray:
    """(K, T) returns per bar of (K, T) equity, NaN before each scenario's first bar of (K,) and after its end."""
    return np.where(np.arange(equity.shape[1]) < first[:, None], np.nan, returns(equity, initial_cash))
