# SPDX-License-Identifier: Apache-2.0
"""Monthly momentum on real prices: the 5 of 20 large US stocks that rose most over a year, costs included.

Beside it the same stocks in equal weights. Both know only stocks that are large today (see examples/data.py), so read
the difference between them, not the height of either. Run: python examples/real_momentum.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data import load_sp500

import gpu_bt as bt

LOOKBACK, SKIP, TOP = 252, 21, 5


def momentum(close: np.ndarray) -> np.ndarray:
    """(T, N) weights: 1/TOP in the best by close[t - SKIP]/close[t - LOOKBACK], 0 in the others; NaN before that."""
    weights = np.full(close.shape, np.nan)
    score = close[LOOKBACK - SKIP : -SKIP] / close[:-LOOKBACK]
    best = np.argsort(-score, axis=1, kind="stable")[:, :TOP]
    weights[LOOKBACK:] = 0.0
    np.put_along_axis(weights[LOOKBACK:], best, 1.0 / TOP, axis=1)
    return weights


def main(out: str | Path = "out/real_momentum") -> bt.Result:
    """Run both books, print them side by side, write Parquet and PNG files into `out`; returns the momentum result."""
    try:
        prices = load_sp500()
    except FileNotFoundError as missing:
        raise SystemExit(str(missing)) from None
    panel = bt.Panel(prices)
    config = bt.Config(
        execution="next_close",  # the file has closes only
        rebalance="month",
        commission_rate=5e-4,
        slippage=5e-4,
    )
    chosen = momentum(panel.close)
    equal = np.where(np.isnan(chosen), np.nan, 1.0 / panel.shape[1])
    result = bt.run(panel, chosen, config)
    other = bt.run(panel, equal, config)
    print(result)
    print(f"\n{'':16}{'momentum':>12}{'equal':>12}")
    for name in ("annual_return", "volatility", "sharpe", "max_drawdown", "turnover"):
        print(f"{name:16}{result.metrics[name]:12.3f}{other.metrics[name]:12.3f}")
    out = Path(out)
    result.write(out)
    result.plot(out / "report.png")
    print("\nAll 20 stocks are large today: the height of both returns is hindsight, their difference is less so.")
    print(f"written to {out}")
    return result


if __name__ == "__main__":
    main()
