# SPDX-License-Identifier: Apache-2.0
"""The operators as their docstrings say, cell by cell in Python, and tables to try them on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from compare import assert_bits

__all__ = [
    "SHAPES",
    "across",
    "agree",
    "along",
    "decayed",
    "drawn",
    "least_squares",
    "places",
    "quantile",
    "ranked",
    "same_bits",
]

#: One row, one asset, blocks of every length.
SHAPES = ((1, 1), (1, 6), (9, 1), (23, 4), (60, 7))


def drawn(seed: int, shape: tuple[int, int], missing: float = 0.2, ties: bool = True) -> np.ndarray:
    """Numbers with holes, and rows and columns that are empty or equal throughout."""
    g = np.random.default_rng(seed)
    x = g.normal(size=shape) * 10.0 ** g.integers(-3, 4)
    x = np.round(x, 1) if ties else x
    x[g.random(shape) < missing] = np.nan
    for t in range(0, shape[0], 5):
        x[t] = (np.nan, 0.1, -0.0)[t % 3]
    x[:, 0] = 0.7 if seed % 2 else x[:, 0]
    return x


def agree(found: Any, wanted: np.ndarray, scale: float = 1.0) -> None:
    """NaN in the same places, and numbers within 1e-11 of them and of the scale."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11 * scale)


def same_bits(found: Any, wanted: Any) -> None:
    """The same bits."""
    assert_bits("operator", found, wanted)


def across(x: np.ndarray, groups: Any, universe: Any, of: Callable[..., Sequence[float]], *others: np.ndarray) -> Any:
    """of(numbers, others...) in each row, and each group of it, of who counts."""
    out = np.full(x.shape, np.nan)
    for t in range(x.shape[0]):
        members: dict[Any, list[int]] = {}
        for i in range(x.shape[1]):
            label = "all" if groups is None else np.asarray(groups, object)[(t, i)[2 - np.ndim(groups) :]]
            there = universe is None or universe[t, i]
            if there and not any(math.isnan(a[t, i]) for a in (x, *others)):
                if label not in (None, "", -1) and label == label:
                    members.setdefault(label, []).append(i)
        for who in members.values():
            out[t, who] = of([float(x[t, i]) for i in who], *([float(a[t, i]) for i in who] for a in others))
    return out


def places(numbers: Sequence[float]) -> list[float]:
    """How many are higher, or equal and before."""
    return [float(sum(y > x or (y == x and j < i) for j, y in enumerate(numbers))) for i, x in enumerate(numbers)]


def quantile(numbers: Sequence[float], p: float) -> float:
    """On the line between the two that p lies between."""
    inorder = sorted(numbers)
    at = p * (len(inorder) - 1)
    low = min(int(at), len(inorder) - 1)
    high = min(low + 1, len(inorder) - 1)
    return inorder[low] + (inorder[high] - inorder[low]) * (at - low)


def least_squares(x: np.ndarray, groups: Any, exposures: Sequence[np.ndarray], w: Any) -> np.ndarray:
    """What NumPy's lstsq leaves of a row, with a dummy for each group."""
    out = np.full(x.shape, np.nan)
    for t in range(x.shape[0]):
        ok = ~np.isnan([x[t], *(e[t] for e in exposures), *([] if w is None else [w[t]])]).any(axis=0)
        labels = np.zeros(x.shape[1]) if groups is None else np.asarray(groups)
        if not ok.any():
            continue
        dummies = (labels[ok, None] == np.unique(labels[ok])).astype(float)
        design = np.column_stack([dummies, *(e[t, ok] / max(1e-300, np.abs(e[t, ok]).max()) for e in exposures)])
        root = np.ones(ok.sum()) if w is None else np.sqrt(w[t, ok])
        b = np.linalg.lstsq(design * root[:, None], x[t, ok] * root, rcond=1e-11)[0]
        out[t, ok] = x[t, ok] - design @ b
    return out


def along(
    x: np.ndarray, n: int, least: int, of: Callable[..., float], *others: np.ndarray
) -> np.ndarray:  # fmt: skip
    """of(numbers of the window from the oldest on, others...), where it has `least` of them."""
    out = np.full(x.shape, np.nan)
    for t, i in np.ndindex(x.shape):
        rows = range(max(0, t - n + 1), t + 1)
        there = [s for s in rows if not any(math.isnan(a[s, i]) for a in (x, *others))]
        if len(there) >= least:
            out[t, i] = of(*([float(a[s, i]) for s in there] for a in (x, *others)))
    return out


def decayed(x: np.ndarray, n: int, least: int) -> np.ndarray:
    """The weighted mean, w = n for the row itself."""
    out = np.full(x.shape, np.nan)
    for t, i in np.ndindex(x.shape):
        pairs = [(n - back, float(x[t - back, i])) for back in range(min(n, t + 1)) if not math.isnan(x[t - back, i])]
        if len(pairs) >= least:
            out[t, i] = math.fsum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    return out


def ranked(x: np.ndarray, n: int, least: int) -> np.ndarray:
    """The place of the last one in its window, from 1, equal ones the mean of theirs."""
    out = np.full(x.shape, np.nan)
    for t, i in np.ndindex(x.shape):
        window = [v for v in x[max(0, t - n + 1) : t + 1, i].tolist() if not math.isnan(v)]
        if len(window) >= least and not math.isnan(x[t, i]):
            out[t, i] = sum(v < x[t, i] for v in window) + (sum(v == x[t, i] for v in window) + 1) / 2
    return out
