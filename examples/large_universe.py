# SPDX-License-Identifier: Apache-2.0
"""Ten years of 5,000 made-up stocks, delistings, halts, splits and dividends included: a monthly decile book.

The universe is random (gpu_bt.synthetic), so the result shows mechanics and speed, not skill.
Run: python examples/large_universe.py
"""

from __future__ import annotations

import time
from pathlib import Path

import gpu_bt as bt
from gpu_bt.synthetic import momentum_weights, synthetic_universe


def main(out: str | Path = "out/large_universe", n_bars: int = 2520, n_assets: int = 5000) -> bt.Result:
    """Make the universe, run the book, print the summary, write Parquet and PNG files into `out`."""
    panel = synthetic_universe(n_bars, n_assets)
    weights = momentum_weights(panel, lookback=120, top=0.1, every=21)
    config = bt.Config(
        initial_cash=1e8,
        commission_rate=2e-4,
        slippage=5e-4,
        participation=0.1,  # of the day's volume; the rest of an order stays working
        impact=0.02,
        cash_rate=0.02,
    )
    start = time.perf_counter()
    result = bt.run(panel, weights, config)
    seconds = time.perf_counter() - start
    print(panel)
    print(result)
    rate = n_bars * n_assets / seconds / 1e6
    print(f"\n{rate:,.1f} million asset-bars per second (a first run, its checks included)")
    out = Path(out)
    result.write(out)
    result.plot(out / "report.png")
    print(f"written to {out}")
    return result


if __name__ == "__main__":
    main()
