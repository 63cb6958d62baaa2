# SPDX-License-Identifier: Apache-2.0
"""Batch: what a strategy sees of the market at one bar, all assets at once.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.data.fields import MASKS, PRICES, RATES
from gpu_bt.data.forks import with_threads
from gpu_bt.data.labels import row_of
from gpu_bt.data.panel import Panel
from gpu_bt.errors import StrategyError, nearest

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FIELDS", "Batch", "column_of"]

#: The fields of a panel that a batch shows.
FIELDS = (*PRICES, *RATES, *MASKS)


class Batch:
    """The cross-section at `bar`: everything up to and including it, nothing after it.

    close, open, high, low, vwap, volume, half_spread, volatility, dividend, split, borrow_rate, can_buy, can_sell,
    universe: (N,) read-only rows of the panel, without a copy; NaN = the asset does not trade at this bar. A field that
    the panel lacks is an AttributeError.   bar: its number.   assets: the N names.   group: (N,) labels, or None.
    """

    __slots__ = ("_panel", "assets", "bar")

    def __init__(self, panel: Panel, bar: int) -> None:
        self._panel, self.bar, self.assets = panel, bar, panel.assets

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in FIELDS:
            raise AttributeError(f"a batch has no {name!r}; it has {', '.join(FIELDS)}")
        row: np.ndarray = _field(self._panel, name)[self.bar]
        return row

    @property
    def present(self) -> np.ndarray:
        """(N,) bool: the asset has a close at this bar, so that a target for it can be sized."""
        absent: np.ndarray = np.isnan(self.close)
        return ~absent

    @property
    def group(self) -> np.ndarray | None:
        """(N,) labels of the assets, such as sectors; None where the panel has none."""
        return self._panel.group

    def history(self, field: str, n: int, *, adjusted: bool = False) -> np.ndarray:
        """(n, N) of the last n bars of a field, this bar last: a read-only view. Rows before the panel begins are NaN
        (False in masks), in a copy: what is computed from them is NaN, too.

        adjusted: prices divided by the splits since (a copy where the panel has splits), per share as of this bar.
        Raises StrategyError for n < 1, AttributeError for a field that the panel lacks.
        """
        if n < 1 or n != int(n):
            raise StrategyError(f"history({field!r}, {n}) at {self.label}: n must be a whole number of bars >= 1")
        past = slice(max(0, self.bar + 1 - int(n)), self.bar + 1)
        rows, split = _field(self._panel, field)[past], self._panel.split
        if adjusted and field in PRICES and split is not None:
            since = np.ones(rows.shape)
            since[:-1] = np.cumprod(split[past][:0:-1], axis=0)[::-1]
            rows = rows / since
        if len(rows) < n:
            none = np.zeros((int(n) - len(rows), rows.shape[1]), rows.dtype)
            rows = np.concatenate((none if rows.dtype == bool else np.full_like(none, np.nan), rows))
        return rows

    def top(self, score: Any, n: int) -> np.ndarray:
        """Indices of the n highest of (N,) scores, {asset: score} or a Series, the highest first; NaN never wins, ties
        go to the first asset. Fewer than n where fewer assets have a score."""
        score = np.asarray(row_of(self._panel, self.bar, "a score", score))
        if score.shape != (len(self.assets),):
            raise StrategyError(f"a score at {self.label} has shape {score.shape}: it must be (N,), one per asset")
        score = score.astype(np.float64)
        valid = np.flatnonzero(~np.isnan(score))
        values, n = score[valid], min(max(0, int(n)), len(valid))
        if n == 0:
            return valid[:0]
        least = np.partition(values, len(values) - n)[len(values) - n]
        better = np.flatnonzero(values > least)
        chosen = np.sort(np.concatenate((better, np.flatnonzero(values == least)[: n - len(better)])))
        return valid[chosen[np.argsort(-values[chosen], kind="stable")]]

    def bottom(self, score: Any, n: int) -> np.ndarray:
        """Indices of the n lowest scores, the lowest first; else as `top`."""
        return self.top(-np.asarray(row_of(self._panel, self.bar, "a score", score), np.float64), n)

    def index(self, names: str | Sequence[str]) -> np.ndarray:
        """(k,) indices of assets by name. Raises StrategyError for one that the panel lacks."""
        return np.array([column_of(self._panel, self.bar, "index", x) for x in _listed(names)], np.int64)

    def frame(self) -> pl.DataFrame:
        """The slice as a Polars DataFrame: asset, group where there is one, then each field of the panel."""
        import polars as pl

        with_threads("Batch.frame()")
        fields = {name: self._panel.__getattr__(name) for name in FIELDS}
        labels = {} if self.group is None else {"group": self.group}
        rows = {name: field[self.bar] for name, field in fields.items() if field is not None}
        return pl.DataFrame({"asset": self.assets, **labels, **rows})

    @property
    def label(self) -> str:
        """The timestamp of the bar as a person writes it."""
        return self._panel.label(self.bar)

    def __repr__(self) -> str:
        return f"Batch(bar {self.bar}, {self.label}, {int(self.present.sum())} of {len(self.assets)} assets trade)"


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _field(panel: Panel, name: str) -> np.ndarray:
    values: np.ndarray | None = getattr(panel, name) if name in FIELDS else None
    if values is None:
        raise AttributeError(f"the panel has no {name!r}: pass {name}= to the Panel")
    return values


def column_of(panel: Panel, bar: int, what: str, name: Any) -> int:
    """The column of an asset's name, or a StrategyError that names the nearest one."""
    found = panel.index.get(str(name))
    if found is None:
        hint = nearest(name, panel.assets, "see batch.assets")
        raise StrategyError(f"{what} at {panel.label(bar)}: the panel has no asset {name!r}; {hint}")
    return found
