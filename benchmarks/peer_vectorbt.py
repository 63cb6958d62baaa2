# SPDX-License-Identifier: Apache-2.0
"""vectorbt on arrays that `benchmarks.peers` saved; runs in an environment of its own, without this package.

Usage: python peer_vectorbt.py FOLDER OPTIONS. FOLDER has close.npy and weights.npy, (T, N). OPTIONS is JSON: engine,
call_seq, repeats, initial_cash, fees, slippage, lot. Prints one JSON line: seconds of each repeat of from_orders alone
(after a warm-up, which compiles), seconds of the equity curve, orders, versions; equity goes to FOLDER/equity.npy.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import vectorbt as vbt


def simulate(close: pd.DataFrame, weights: np.ndarray, options: dict) -> vbt.Portfolio:
    """One group with shared cash, target percent of its value, filled at the same close."""
    return vbt.Portfolio.from_orders(
        close,
        size=weights,
        size_type="targetpercent",
        group_by=True,
        cash_sharing=True,
        call_seq=options["call_seq"],
        init_cash=options["initial_cash"],
        fees=options["fees"],
        slippage=options["slippage"],
        size_granularity=options["lot"] or np.nan,
        freq="1D",
        engine=options["engine"],
    )


def main() -> None:
    """Simulate, time, print."""
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    values, weights = np.load(folder / "close.npy"), np.load(folder / "weights.npy")
    close = pd.DataFrame(values, index=pd.bdate_range("2015-01-02", periods=len(values)))
    head = min(30, len(values))
    simulate(close[:head], weights[:head], options).value()
    seconds = []
    for _ in range(options["repeats"]):
        start = time.perf_counter()
        portfolio = simulate(close, weights, options)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    equity = portfolio.value()
    value_seconds = time.perf_counter() - start
    np.save(folder / "equity.npy", np.asarray(equity, dtype=np.float64))
    versions = {"vectorbt": vbt.__version__, "numpy": np.__version__, "pandas": pd.__version__}
    orders = len(portfolio.orders.records)
    print(json.dumps({"seconds": seconds, "value_seconds": value_seconds, "orders": orders, "versions": versions}))


if __name__ == "__main__":
    main()
