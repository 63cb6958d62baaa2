# SPDX-License-Identifier: Apache-2.0
"""Ranks and correlations row by row, and what a series of them is worth.

Letters: B rows, N assets, h a horizon in bars.
"""

from __future__ import annotations

import numpy as np

__all__ = ["average_ranks", "row_correlation", "series_statistics"]


def average_ranks(values: np.ndarray) -> np.ndarray:
    """(B, N) ranks from 1, the lowest, in each row; equal values share the mean of theirs, NaN has none (as SciPy's
    rankdata). Other values are finite."""
    there = ~np.isnan(values)
    values = np.where(there, values, np.inf)  # NaN makes sorting slow
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.broadcast_to(np.arange(1.0, values.shape[1] + 1), values.shape)
    equal = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < np.inf)
    if (tied := equal.any(axis=1)).any():
        place, equal = place.copy(), np.pad(equal[tied], ((0, 0), (1, 1)))
        first = np.maximum.accumulate(np.where(equal[:, :-1], 0.0, place[tied]), axis=1)
        last = np.where(equal[:, 1:], np.inf, place[tied])
        place[tied] = (first + np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]) / 2
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, place, axis=1)
    return np.where(there, ranks, np.nan)


def row_correlation(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B,) Pearson's correlation of two (B, N) arrays over the assets that both have, and (B,) how many these are; NaN
    where fewer than 2, or one of both is constant. Of ranks all sums are exact up to a hundred thousand assets."""
    both = ~(np.isnan(x) | np.isnan(y))
    count = np.count_nonzero(both, axis=1)
    n = np.maximum(count, 1)[:, None]
    x, y = (np.where(both, z, 0.0) for z in (x, y))
    x, y = (np.where(both, z - z.sum(axis=1, keepdims=True) / n, 0.0) for z in (x, y))
    xy, xx, yy = (np.einsum("ij,ij->i", a, b) for a, b in ((x, y), (x, x), (y, y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where((xx > 0) & (yy > 0), xy / np.sqrt(xx * yy), np.nan)
    return found, count


def series_statistics(values: np.ndarray, h: int) -> dict[str, float]:
    """What n bars of a series of returns over h bars say: mean, std (of n - 1), t = mean/(std/sqrt(n)), t_newey_west,
    ratio = mean/std, positive (the share above 0) and bars = n. NaN bars are left out; NaN where n < 2 or std = 0.

    Neighbouring returns over h bars share h - 1 of them. t_newey_west = mean/sqrt(v/n) allows for it:
    v = n/(n - 1) * (g_0 + 2*sum_{l=1}^{h-1} (1 - l/h)*g_l), g_l = sum d_t*d_{t-l} / n, d the deviation from the mean, 0
    at a bar without a value. With h = 1 it is t; for large h it is still up to a fifth too large (docs/factor.md).
    Source: Newey and West 1987, with h - 1 lags.
    """
    there = ~np.isnan(values)
    n = int(np.count_nonzero(there))
    nan, mean = float("nan"), float(values[there].mean()) if n else float("nan")
    d = np.where(there, values - mean, 0.0)
    squares = float(d @ d)
    found = {"mean": mean, "std": nan, "t": nan, "t_newey_west": nan, "ratio": nan, "positive": nan, "bars": n}
    if n:
        found["positive"] = float(np.count_nonzero(values[there] > 0) / n)
    if n > 1 and np.ptp(values[there]) > 0:
        std = float(np.sqrt(squares / (n - 1)))
        shared = sum((1 - k / h) * float(d[k:] @ d[:-k]) for k in range(1, min(h, len(d))))
        long = (squares + 2 * shared) / (n - 1)
        ratio = mean / std
        found |= {"std": std, "t": ratio * np.sqrt(n), "ratio": ratio}
        found["t_newey_west"] = mean / np.sqrt(long / n) if long > 0 else nan
    return found
