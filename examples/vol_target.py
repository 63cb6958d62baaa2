# SPDX-License-Identifier: Apache-2.0
"""A book that aims at 10 % volatility a year, with trailing stops and limit orders that buy on a dip.

The 30 calmest assets that are above their 100-bar mean, each weighted by the inverse of its volatility, the whole
scaled by the volatility that such a book has had of late. Made-up prices. Run: python examples/vol_target.py
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

import gpu_bt as bt
from gpu_bt.synthetic import synthetic_universe


class VolTarget(bt.Strategy):
    """`target` volatility a year; new names are bought by a limit order `dip` below the close, good for one week."""

    target, names, trail, dip = 0.10, 30, 0.12, 0.005

    def initialize(self) -> None:
        self.exits = bt.Exits(trailing_stop=self.trail)

    def on_data_batch(self, timestamp: datetime, batch: bt.Batch) -> None:
        past = batch.history("close", 100)
        if batch.bar % 5:
            return
        steps = np.diff(np.log(past[-64:]), axis=0)
        vol = np.where(past[-1] > past.mean(axis=0), steps.std(axis=0), np.nan)
        chosen = batch.bottom(vol, self.names)
        if not len(chosen):
            return
        weights = (1 / vol[chosen]) / np.sum(1 / vol[chosen])
        book = steps[:, chosen] @ weights  # returns that this book would have had
        weights = weights * min(1.0, self.target / (book.std() * np.sqrt(252)))
        self.close_others(chosen)
        held = self.portfolio.shares[chosen] > 0
        self.order_target_percent(chosen[held], weights[held])
        new, close = chosen[~held], batch.close[chosen[~held]]
        self.order(new, weights[~held] * self.portfolio.equity / close, limit=close * (1 - self.dip))


def main(n_bars: int = 756, n_assets: int = 300, out: str | Path = "out/vol_target") -> bt.Result:
    """Run, print, write into `out`."""
    panel = synthetic_universe(n_bars, n_assets, seed=9, messy=False)
    result = bt.run(panel, VolTarget(), bt.Config(initial_cash=1e7, commission_rate=5e-4, slippage=5e-4, band=0.002))
    print(result)
    at_limit = result.fills.filter(result.fills["slippage"] == 0).height
    print(f"\n{at_limit} of {result.fills.height} fills at a limit, without slippage")
    result.write(out)
    print(f"written to {out}")
    return result


if __name__ == "__main__":
    main()
