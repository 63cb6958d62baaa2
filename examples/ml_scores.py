# SPDX-License-Identifier: Apache-2.0
"""Scores of a model, 500 assets, daily: the 25 best in equal weights, each kept until it falls out of the best 50.

The model is a ridge regression of the next week's return on past returns and volatility, fitted anew every quarter on
the bars before; any other model that gives a (T, N) array of scores takes its place. The prices are made up and hold no
signal, so that what is lost are the costs. Run: python examples/ml_scores.py
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

import gpu_bt as bt
from gpu_bt.synthetic import synthetic_universe

AHEAD, FIRST, REFIT = 5, 250, 63


def features(close: np.ndarray) -> np.ndarray:
    """(T, N, 4): returns over 5, 21 and 126 bars and volatility over 63, ranked across assets to [-0.5, 0.5]."""
    logs = np.log(close)
    raw = np.full((*close.shape, 4), np.nan)
    for k, n in enumerate((5, 21, 126)):
        raw[n:, :, k] = logs[n:] - logs[:-n]
    steps = np.lib.stride_tricks.sliding_window_view(np.diff(logs, axis=0), 63, axis=0)
    raw[63:, :, 3] = steps.std(axis=-1)
    return np.argsort(np.argsort(raw, axis=1), axis=1) / (close.shape[1] - 1) - 0.5


def walk_forward(panel: bt.Panel, ridge: float = 10.0) -> np.ndarray:
    """(T, N) scores, NaN before the first fit; the fit at bar t sees returns that had ended by bar t, no later ones."""
    close = panel.close
    x, scores = features(close), np.full(close.shape, np.nan)
    for t in range(FIRST, len(close), REFIT):
        past = x[126 : t - AHEAD + 1].reshape(-1, 4)
        target = np.log(close[126 + AHEAD : t + 1] / close[126 : t - AHEAD + 1])
        target = (target - target.mean(axis=1, keepdims=True)).ravel()
        beta = np.linalg.solve(past.T @ past + ridge * np.eye(4), past.T @ target)
        scores[t : t + REFIT] = x[t : t + REFIT] @ beta
    return scores


class Best(bt.Strategy):
    """Equal weights in `hold` assets by score; an asset stays while it is among the best `keep`."""

    def __init__(self, scores: np.ndarray, hold: int = 25, keep: int = 50) -> None:
        self.scores, self.hold, self.keep = scores, hold, keep

    def on_data_batch(self, timestamp: datetime, batch: bt.Batch) -> None:
        score = np.where(batch.present, self.scores[batch.bar], np.nan)
        if np.isnan(score).all():
            return
        good = batch.top(score, self.keep)
        stay = good[self.portfolio.shares[good] > 0]
        fresh = good[~np.isin(good, stay)]
        book = np.concatenate((stay, fresh))[: self.hold]
        self.order_target_percent(book, 1.0 / self.hold)
        self.close_others(book)


def main(n_bars: int = 1008, n_assets: int = 500, out: str | Path = "out/ml_scores") -> bt.Result:
    """Check that nothing looks ahead, run, print, write into `out`."""
    panel = synthetic_universe(n_bars, n_assets, seed=3, messy=False)
    config = bt.Config(initial_cash=1e7, commission_rate=5e-4, slippage=5e-4, band=0.005)
    bt.check_lookahead(lambda panel: Best(walk_forward(panel)), panel, config, cuts=2)
    result = bt.run(panel, Best(walk_forward(panel)), config)
    print(result)
    result.write(out)
    print(f"\nno decision changes with later data; written to {out}")
    return result


if __name__ == "__main__":
    main()
