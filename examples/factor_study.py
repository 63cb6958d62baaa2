# SPDX-License-Identifier: Apache-2.0
"""What a score is worth: 12-month momentum of 20 real stocks, and 1-month reversal of 500 made-up ones, within sectors.

Of the real stocks all are large today (see examples/data.py), which flatters what is found; the made-up ones hold no
signal, so that what the study finds there is what chance finds. Run: python examples/factor_study.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data import load_sp500

import gpu_bt as bt
from gpu_bt.synthetic import synthetic_universe


def past_return(panel: bt.Panel, lookback: int, skip: int = 0) -> np.ndarray:
    """(T, N) return from bar t - lookback to bar t - skip; NaN where there is none."""
    close, found = panel.close, np.full(panel.shape, np.nan)
    found[lookback:] = close[lookback - skip : len(close) - skip] / close[:-lookback] - 1
    return found


def show(name: str, study: bt.FactorStudy, out: Path) -> None:
    """The numbers that are read first, and the picture."""
    print(f"{name}\n{study}\n")
    print(f"{'bars':>6}{'IC':>9}{'t':>7}{'t, NW':>7}{'spread':>9}{'t, NW':>7}{'turnover':>10}")
    for row in study.summary().iter_rows(named=True):
        print(
            f"{row['horizon']:6}{row['ic_mean']:9.4f}{row['ic_t']:7.2f}{row['ic_t_newey_west']:7.2f}"
            f"{row['spread_mean']:9.3%}{row['spread_t_newey_west']:7.2f}{row['top_turnover']:10.1%}"
        )
    print(f"\nwritten to {study.plot(out / f'{name}.png')}\n")


def main(out: str | Path = "out/factor_study", n_bars: int = 1260, n_assets: int = 500) -> bt.FactorStudy:
    """Study both scores, print tables, write a picture of each; returns the study of the real prices."""
    try:
        prices = load_sp500()
    except FileNotFoundError as missing:
        raise SystemExit(str(missing)) from None
    real = bt.Panel(prices)
    # The file has closes only: what is decided at one is bought at the next.
    momentum = bt.factor(
        real, past_return(real, 252, 21), horizons=(1, 5, 21, 63, 126, 252), quantiles=4, execution="next_close"
    )
    show("momentum", momentum, Path(out))
    made_up = synthetic_universe(n_bars, n_assets, messy=False)
    reversal = bt.factor(made_up, -past_return(made_up, 21), groups="panel", demean=True)
    show("reversal", reversal, Path(out))
    print("t of overlapping returns is too large: read the one of Newey and West (NW).")
    return momentum


if __name__ == "__main__":
    main()
