# SPDX-License-Identifier: Apache-2.0
"""Prices that are legal and probably not what was meant: each kind is a BacktestWarning that counts.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gpu_bt.errors import warn

__all__ = ["warn_of_prices"]

#: Rows looked at together: few enough to take no memory to speak of.
_ROWS = 64
#: Prices that differ by no more than this fraction are one: numbers are rounded when they are adjusted.
_ROUNDING = 1e-6
#: A move within a bar that is none where the next bar opens with it taken back.
_LEAP = 1.5
#: Bars from which the usual move within a bar of an asset is judged.
_SAMPLE = 256


def warn_of_prices(fields: Mapping[str, np.ndarray], label: Callable[[int], str], assets: Sequence[str]) -> None:
    """Warn of high below low, of close or open outside them, and of close and open on two scales, with their number."""

    def tell(found: list[np.ndarray], text: str) -> None:
        cells = np.concatenate(found)
        if len(cells):
            t, i = cells[0].tolist()
            warn(
                f"{text} in {len(cells)} cells, the first [{label(t)}, {assets[i]!r}]: are all prices adjusted alike?"
                " read_panel has adjust='scale' for an adjusted close beside others",
                stacklevel=4,
            )

    pairs = [("high", "low"), ("high", "close"), ("high", "open"), ("close", "low"), ("open", "low")]
    with np.errstate(invalid="ignore", divide="ignore"):
        for more, less in pairs:
            if more in fields and less in fields:
                tell(_below(fields[more], fields[less], 1 - _ROUNDING), f"{more} is below {less}")
        if "open" in fields:
            close, open = fields["close"], fields["open"]
            leaps = [*_below(close, open, 1 / _LEAP), *_below(open, close, 1 / _LEAP)]
            wrong = np.concatenate([_taken_back(close, open, np.concatenate(leaps)), _apart(close, open)])
            tell([np.unique(wrong, axis=0)], "close and open are on two scales")


def _below(more: np.ndarray, less: np.ndarray, share: float) -> list[np.ndarray]:
    """Row and column of the cells in which `more` is below that share of `less`."""
    out = [np.empty((0, 2), np.int64)]
    for start in range(0, len(more), _ROWS):
        wrong = more[start : start + _ROWS] < less[start : start + _ROWS] * share
        if wrong.any():
            out.append(np.argwhere(wrong) + np.array([start, 0]))
    return out


def _taken_back(close: np.ndarray, open: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Those of the cells whose move from open to close its open, or the next bar's, takes back by half or more."""
    t, i = cells.T
    within = np.log(close[t, i] / open[t, i])
    before = np.log(open[t, i] / close[np.maximum(t - 1, 0), i])
    after = np.log(open[np.minimum(t + 1, len(open) - 1), i] / close[t, i])
    back = [(-np.sign(within) * move > np.abs(within) / 2) & there
            for move, there in ((before, t > 0), (after, t < len(open) - 1))]  # fmt: skip
    kept: np.ndarray = cells[back[0] | back[1]]
    return kept


def _apart(close: np.ndarray, open: np.ndarray) -> np.ndarray:
    """The cells of assets that move by 2 % or more in the middle bar, in most bars about alike, and back overnight."""
    rows = np.unique(np.linspace(1, max(1, len(close) - 1), _SAMPLE).astype(np.int64))
    moved = np.log(close[rows[rows < len(close)]]) - np.log(open[rows[rows < len(close)]])
    known = ~np.isnan(moved)
    mean = np.where(known, moved, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    some = np.flatnonzero((np.abs(mean) > 0.01) & (known.sum(axis=0) > 2))  # few: medians take their time
    out = [np.empty((0, 2), np.int64)]
    for i in some.tolist():
        bars = rows[known[:, i]]
        within, back = np.log(close[bars, i] / open[bars, i]), np.log(close[bars - 1, i] / open[bars, i])
        back = back[~np.isnan(back)]
        middle, night = np.median(within), np.median(back) if len(back) else 0.0
        spread = np.median(np.abs(within - middle))
        if abs(middle) > 0.02 and spread < abs(middle) / 2 and night * np.sign(middle) > abs(middle) / 2:
            out.append(np.stack([bars, np.full(len(bars), i)], axis=1))
    return np.concatenate(out)
