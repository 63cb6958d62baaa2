# SPDX-License-Identifier: Apache-2.0
"""What goes into the operators and comes out of them: arrays of NumPy and CuPy, wide frames of pandas and Polars.

Letters: T bars, N assets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_bt.data.arrays import as_host
from gpu_bt.data.panel import Panel
from gpu_bt.errors import PanelError

__all__ = ["listed"]


def listed(universe: Any, shape: tuple[int, int], what: str = "universe") -> np.ndarray:
    """(T, N) bool: who counts at each bar. universe: None = everybody; a (T, N) bool mask; or a Panel: in its universe
    at t, and t before `delisted_at`. Raises PanelError for another shape, and for what is no bool."""
    if universe is None:
        return np.ones(shape, bool)
    if not isinstance(universe, Panel):
        mask = as_host(what, universe, PanelError)
        if mask.dtype != bool:
            raise PanelError(f"{what} is of dtype {mask.dtype}: pass a (T, N) mask of True and False, or a panel")
    else:
        market = universe.on_host().market
        mask = np.ones(universe.shape, bool) if market.universe is None else np.asarray(market.universe)
        if market.delisted_at is not None:
            gone = np.asarray(market.delisted_at)
            mask = mask & ((gone < 0) | (np.arange(len(mask))[:, None] < gone))
    if mask.shape != tuple(shape):
        raise PanelError(f"{what} has shape {mask.shape}: it must be (T, N) = {tuple(shape)}, as the table beside it")
    return mask
