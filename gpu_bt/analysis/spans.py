# SPDX-License-Identifier: Apache-2.0
"""Where a run begins: the first bar that decides with a target, from which on its metrics are reckoned.

Letters: T bars, N assets, K scenarios.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gpu_bt.analysis.metrics import returns
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import COUNTS

__all__ = ["began", "decided", "first_bars", "returns_since"]

_Ints = NDArray[np.int64]
#: Rows of weights that are looked at together.
_ROWS = 64


def began(spec: RunSpec) -> _Ints:
    """(K,) the first bar that decides with a target other than 0; -1 where none does.

    A target of 0 asks for nothing while nothing is held, so rows of zeros before the first book are as much a warm-up
    as rows of NaN are. Scenarios that begin with holdings or orders begin at bar 0.
    """
    due = spec.due()
    bars = len(due)

    @cache
    def first_row(panel: int) -> int:
        weights = spec.weights[panel]
        return next((t for a in range(0, bars, _ROWS) for t in _with_orders(weights[a : a + _ROWS]) + a), bars)

    out = np.zeros(len(spec.params), np.int64)
    for k, p in enumerate(spec.params):
        if spec.start is not None and (spec.start.holdings[k].any() or spec.start.orders[k].any()):
            continue
        lag, weights = int(p["signal_lag"]), spec.weights[p["weights"]]
        at = np.flatnonzero(due[:, k])
        at = at[at >= first_row(int(p["weights"])) + lag]
        out[k] = next((t for t in at if len(_with_orders(weights[t - lag : t - lag + 1]))), -1)
    return out


def _with_orders(rows: np.ndarray) -> _Ints:
    """The rows that have a target other than 0, by number."""
    return np.flatnonzero((~np.isnan(rows) & (rows != 0)).any(axis=1))


def _first_order(raw: RawResult) -> _Ints:
    """(K,) the first bar whose record shows an order, filled, waiting or cut; -1 where none does. For a strategy, whose
    decisions are in no array."""
    assert raw.counts is not None  # a strategy's run has them
    asked = (raw.counts[[i for i, name in enumerate(COUNTS) if name != "delisted"]] != 0).any(axis=0)
    return np.where(asked.any(axis=1), asked.argmax(axis=1), -1)


def decided(raw: RawResult) -> _Ints:
    """(K,) the first bar that decides with a target other than 0, where the record knows it; -1 where there is none."""
    found = _first_order(raw) if raw.began is None and raw.counts is not None else raw.began
    return np.full(raw.money.shape[1], -1) if found is None else found


def first_bars(raw: RawResult) -> _Ints:
    """(K,) the first bar that counts in the metrics: that which `decided`, 0 where there is none."""
    return np.maximum(decided(raw), 0)


def returns_since(first: _Ints, equity: np.ndarray, initial_cash: np.ndarray | float) -> np.ndarray:
    """(K, T) returns per bar of (K, T) equity, NaN before each scenario's first bar of (K,) and after its end."""
    return np.where(np.arange(equity.shape[1]) < first[:, None], np.nan, returns(equity, initial_cash))
