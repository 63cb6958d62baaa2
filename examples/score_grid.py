# SPDX-License-Identifier: Apache-2.0
"""1,000 books of one score: how many names long and short, how long kept, how weighted, how often decided.

The score is ranked once; each scenario's book is formed inside the engine. A few scenarios are run on explicit panels
of weights as well: they must have the same equity to the last bit, and what one of them takes says what 1,000 would.
Run: python examples/score_grid.py           12-month momentum of 20 real stocks (see examples/data.py), 1990 to 2022
     python examples/score_grid.py --large   of 5,000 made-up ones, ten years, without a signal; a minute, 1.5 GB
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
from data import load_sp500
from factor_study import past_return

import gpu_bt as bt
from gpu_bt.synthetic import synthetic_universe

KEEP, SCHEME, REBALANCE = [1.0, 1.25, 1.5, 2.0, 3.0], ["equal", "rank"], ["week", "month"]
SMALL = {"long": list(range(1, 11)), "short": [0, 1, 2, 3, 5]}
LARGE = {"long": [20, 30, 50, 75, 100, 150, 200, 300, 400, 500], "short": [0, 20, 50, 100, 200]}


def check(panel: bt.Panel, scores: np.ndarray, config: bt.Config, rows: list[dict[str, object]]) -> float:
    """Run the scenarios of some rows both ways; seconds that a panel of weights takes, made and run.

    Raises SystemExit where one bit of equity differs.
    """
    formed = bt.sweep(panel, bt.Scores(scores, short_gross=0.3), config, rows, equity=True)
    start = time.perf_counter()
    for k, row in enumerate(rows):
        own = config.replace(rebalance=row["rebalance"])
        book = {name: row[name] for name in ("long", "short", "keep", "scheme")}
        weights = bt.Scores(scores, short_gross=0.3, **book).weights(panel, own)
        equity = bt.run(panel, weights, own).equity["equity"].to_numpy()
        if equity.tobytes() != formed.equity[k].tobytes():
            raise SystemExit(f"scenario {row} differs from its panel of weights")
    return (time.perf_counter() - start) / len(rows)


def main(
    out: str | Path = "out/score_grid", large: bool = False, n_bars: int = 2520, n_assets: int = 5000, few: int = 8
) -> bt.SweepResult:
    """Check a few scenarios, run the grid, print both times, write the table and the picture."""
    config = bt.Config(account="margin", commission_rate=5e-4, slippage=5e-4, borrow_rate=0.01)
    if large:
        panel, sides = synthetic_universe(n_bars, n_assets), LARGE
        config = config.replace(initial_cash=1e8)
    else:
        try:
            panel, sides = bt.Panel(load_sp500()), SMALL
        except FileNotFoundError as missing:
            raise SystemExit(str(missing)) from None
        config = config.replace(execution="next_close")  # the file has closes only
    scores = past_return(panel, 252, 21)
    grid = {**sides, "keep": KEEP, "scheme": SCHEME, "rebalance": REBALANCE}
    every = [dict(zip(grid, row, strict=True)) for row in itertools.product(*grid.values())]
    rows = [every[k] for k in np.random.default_rng(0).choice(len(every), few, replace=False)]
    each = check(panel, scores, config, rows)
    print(f"{len(rows)} scenarios have the bits of their panels of weights")
    start = time.perf_counter()
    found = bt.sweep(panel, bt.Scores(scores, short_gross=0.3), config, grid)
    seconds = time.perf_counter() - start
    print(found)
    print(f"\n{len(found):,} scenarios of one ranking: {seconds:,.1f} s")
    print(f"{len(found):,} panels of weights, made and run one by one: {each * len(found):,.0f} s ({each:.2f} s each)")
    out = Path(out)
    found.write(out)
    found.plot(out / "grid.png", rows="long", columns="short", how="median")
    print(f"written to {out}")
    return found


if __name__ == "__main__":
    main(large="--large" in sys.argv[1:])
