# SPDX-License-Identifier: Apache-2.0
"""Orders: all that a strategy has asked for at a bar, as its risk stage sees it.

Letters: N assets; symbols as in semantics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_bt.typing import Assets, Floats

__all__ = ["Orders"]


class Orders:
    """What is about to be ordered: (N,) float64 arrays to read and to change, NaN = nothing asked for.

    weights: target weights.   shares: direct orders, signed; 0 takes a working order back; +-inf = wanted, but
    without a price to size it with, so that what works stays.   limit, stop: prices per share of the direct orders.
    An asset has a weight or a direct order; where both are set, the weight counts. What `exits` or the universe
    (`outside="close"`) closes has a weight of 0, whatever is put there.
    """

    __slots__ = ("_index", "_inverse", "_marks", "_standing", "limit", "shares", "stop", "weights")

    def __init__(
        self, weights: Floats, shares: Floats, limit: Floats, stop: Floats, *, standing: np.ndarray,
        held: np.ndarray, marks: np.ndarray, equity: float, index: Callable[[str, Any], np.ndarray],
    ) -> None:  # fmt: skip
        self.weights, self.shares, self.limit, self.stop = weights, shares, limit, stop
        self._standing, self._marks, self._inverse, self._index = (held, standing), marks, 1 / equity, index

    @property
    def after(self) -> Floats:
        """(N,) the weights that would be held if all of this filled at the close (at the mark where there is none):
        W of a target, ((h + x)*m)/E of a direct order, ((h + o)*m)/E where the working order o stays."""
        held, standing = self._standing
        order = np.where(np.isfinite(self.shares), self.shares, standing)
        now: Floats = np.where(held + order != 0, (held + order) * self._marks, 0.0) * self._inverse
        return np.where(np.isnan(self.weights), now, self.weights)

    def drop(self, assets: Assets) -> None:
        """Ask for nothing at these, a name, an index, a list of either or an (N,) bool mask. What works there goes on
        working. Raises StrategyError for what the panel lacks."""
        where = self._index("orders.drop", assets)
        for array in (self.weights, self.shares, self.limit, self.stop):
            array[where] = np.nan

    def __repr__(self) -> str:
        targets, direct = (int((~np.isnan(x)).sum()) for x in (self.weights, self.shares))
        return f"Orders({targets} targets, {direct} direct orders of {len(self.weights)} assets)"
