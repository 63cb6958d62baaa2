# SPDX-License-Identifier: Apache-2.0
"""A long-short decile book that is neutral in every sector, monthly, in a margin account.

In each sector the best tenth by 6-month momentum is bought and the worst tenth sold short, each sector getting the same
money on both sides. Made-up prices with splits, dividends, halts and delistings. Run: python examples/long_short.py
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

import gpu_bt as bt
from gpu_bt.synthetic import synthetic_universe


class SectorNeutral(bt.Strategy):
    """`gross` in total, half of it long; `share` of each sector's assets on each side."""

    gross, share, lookback = 1.6, 0.1, 126

    def on_data_batch(self, timestamp: datetime, batch: bt.Batch) -> None:
        past = batch.history("close", self.lookback, adjusted=True)
        score = past[-1] / past[0] - 1  # NaN where an asset has no price on either day
        sectors = np.unique(batch.group)
        unknown = np.isnan(score) & (self.portfolio.shares == 0)
        weights = np.where(unknown, np.nan, 0.0)
        for sector in sectors:
            own = np.where(batch.group == sector, score, np.nan)
            n = int(np.count_nonzero(~np.isnan(own)) * self.share)
            if n:
                each = self.gross / (2 * n * len(sectors))
                weights[batch.top(own, n)], weights[batch.bottom(own, n)] = each, -each
        self.order_target_percent(weights)

    def risk(self, orders: bt.Orders, portfolio: bt.Portfolio, batch: bt.Batch) -> bt.Orders:
        """No single name above 2 % of equity on either side."""
        orders.weights = np.clip(orders.weights, -0.02, 0.02)
        return orders


def main(n_bars: int = 756, n_assets: int = 500, out: str | Path = "out/long_short") -> bt.Result:
    """Run, print the book's tilt by sector, write into `out`."""
    panel = synthetic_universe(n_bars, n_assets, seed=5)
    config = bt.Config(
        initial_cash=1e7, account="margin", rebalance="month", commission_rate=5e-4, slippage=5e-4, borrow_rate=0.01
    )
    result = bt.run(panel, SectorNeutral(), config)
    print(result)
    value = np.nan_to_num(result.positions[-1] * panel.close[-1])
    print("\nnet of equity by sector, at the end:")
    for sector in np.unique(panel.group):
        print(f"  {sector:12} {value[panel.group == sector].sum() / result.raw.money[0, 0, -1]:+.3f}")
    result.write(out)
    print(f"written to {out}")
    return result


if __name__ == "__main__":
    main()
