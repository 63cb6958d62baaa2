# SPDX-License-Identifier: Apache-2.0
"""Exits: stop-loss, take-profit and trailing stop of every position at once, looked at when the strategy is asked.

Letters: B bars since the last look, N assets.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from gpu_bt.arguments import must_be, real
from gpu_bt.config import Config
from gpu_bt.engine.prepare import price_of
from gpu_bt.runs.views import factor_since

__all__ = ["Exits"]


class Exits:
    """Closes a position whose close has moved too far: `self.exits = Exits(...)` in a strategy's `initialize`.

    With s = 1 for a long and -1 for a short, p the close, e the entry price and b the best close since entry (highest
    for a long, lowest for a short; e at first), a position is closed, whatever else was decided for it, where
        stop_loss      s*(p/e - 1) <= -stop_loss
        take_profit    s*(p/e - 1) >= take_profit
        trailing_stop  s*(p/b - 1) <= -trailing_stop
    Fractions > 0; None (default) = off. e is the price of the execution at the first bar after the previous look
    (`same_close`: at the bar of the previous look), without costs, averaged over shares when a position grows; a change
    of side begins anew. Splits divide e and b. NaN in p: no exit at this bar. The close is a target of 0, filled as the
    config's `execution` says. Looks are at scheduled bars alone. Raises ConfigError for a fraction that is not > 0.
    """

    def __init__(
        self, *, stop_loss: float | None = None, take_profit: float | None = None, trailing_stop: float | None = None
    ) -> None:
        self.stop_loss, self.take_profit, self.trailing_stop = stop_loss, take_profit, trailing_stop
        for name, value in vars(self).items():
            if value is not None and not real(value) > 0:
                must_be(name, value, "a fraction > 0, or None")

    def __getstate__(self) -> dict[str, float | None]:
        """Copies and pickles hold the fractions alone: positions belong to a run."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def start(self, market: Any, config: Config, bar: int) -> None:
        """Forget all positions: the first look is at this bar."""
        self._market, self._last = market, bar - 1
        self._field = None if config.execution == "same_close" else getattr(market, price_of(config.execution))
        self._shares = np.zeros_like(market.close[0], np.float64)  # of the library of the market's arrays
        self._entry = self._best = np.full_like(self._shares, np.nan)

    def hit(self, bar: int, shares: Any) -> Any:
        """(N,) bool, the positions to close at this bar; `shares` (N,) are held now. Bars must increase."""
        first, market = self._last + 1, self._market
        close = market.close[first : bar + 1].astype(np.float64)
        at = market.close[max(self._last, 0)] if self._field is None else self._field[first]
        at = at.astype(np.float64)
        if market.split is not None:
            split = market.split[first : bar + 1].astype(np.float64)
            since = factor_since(split)
            ratio = since[0] * split[0]
            at = at / (ratio if self._field is None else since[0])
            self._shares, self._entry, self._best = self._shares * ratio, self._entry / ratio, self._best / ratio
            close = close / since
        high, low, now = reduce(np.fmax, close), reduce(np.fmin, close), close[-1]
        at = np.where(np.isnan(at), now, at)
        side, old, size = np.sign(shares), np.abs(self._shares), np.abs(shares)
        fresh = (side != np.sign(self._shares)) | np.isnan(self._entry)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (self._entry * old + at * (size - old)) / size
            entry = np.where(fresh, at, np.where(size > old, mean, self._entry))
            best = np.where(fresh, at, self._best)
            best = np.where(side > 0, np.fmax(best, high), np.fmin(best, low))
            gain, fall = side * (now / entry - 1), side * (now / best - 1)
        self._last, self._shares, self._entry, self._best = bar, shares, entry, best
        limits = (self.stop_loss, -gain), (self.take_profit, gain), (self.trailing_stop, -fall)
        over = [moved >= limit for limit, moved in limits if limit is not None]
        return reduce(np.logical_or, over, side == np.inf) & (side != 0)
