# SPDX-License-Identifier: Apache-2.0
"""Batch: what a strategy sees of the market at one bar, all assets at once.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from numpy.typing import NDArray

from gpu_bt.arguments import flag, real, several, whole
from gpu_bt.data.fields import MASKS, PRICES, RATES
from gpu_bt.data.forks import with_threads
from gpu_bt.data.panel import Panel
from gpu_bt.errors import StrategyError, label_of, nearest, shown
from gpu_bt.runs.views import factor_since, numbers
from gpu_bt.typing import Bools, FieldName, Fields, Row

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FIELDS", "Batch", "column_of"]

#: The fields of a panel that a batch shows.
FIELDS = (*PRICES, *RATES, *MASKS)


#: A history may begin before the panel, but one of more bars than this and than the panel has is a mistake.
_MOST = 100_000


class _NoField(StrategyError, AttributeError):
    """A field that a batch does not have, for `getattr` and `hasattr`, too."""


class Batch(Fields[Never]):
    """The cross-section at `bar`: everything up to and including it, nothing after it.

    close, open, high, low, vwap, volume, half_spread, volatility, dividend, split, borrow_rate, can_buy, can_sell,
    universe: (N,) read-only rows of the panel, without a copy; NaN = the asset does not trade at this bar. A field that
    the panel lacks is a StrategyError that is an AttributeError, too.   bar: its number.   assets: the N names.
    group: (N,) labels, or None.   xp: NumPy, or CuPy where `Strategy.device` says so: all arrays here are of it, and on
    a GPU nothing but the strategy keeps them from being written to.
    """

    __slots__ = ("_panel", "_view", "assets", "bar", "xp")

    def __init__(self, panel: Panel, bar: int, view: Any) -> None:
        self._panel, self._view, self.bar, self.assets, self.xp = panel, view, bar, panel.assets, view.xp

    if not TYPE_CHECKING:  # where a name that is not listed stays unknown

        def __getattr__(self, name: str) -> Any:
            if name not in FIELDS:
                raise _NoField(f"a batch has no {shown(name)}; it has {', '.join(FIELDS)}")
            return _field(self._view.market, name)[self.bar]

    @property
    def present(self) -> Bools:
        """(N,) bool: the asset has a close at this bar, so that a target for it can be sized."""
        return ~np.isnan(self.close)

    @property
    def group(self) -> NDArray[Any] | None:
        """(N,) labels of the assets, such as sectors; None where the panel has none."""
        return self._panel.group

    def history(self, field: FieldName, n: int, *, adjusted: bool = False) -> NDArray[Any]:
        """(n, N) of the last n bars of a field, this bar last: a read-only view. Rows before the panel begins are NaN
        (False in masks), in a copy: what is computed from them is NaN, too.

        adjusted: prices divided by the splits since (a copy where the panel has splits), per share as of this bar.
        Raises StrategyError for n < 1 and for n above 100,000 and the panel's bars, one that is an AttributeError, too,
        for a field that the panel lacks.
        """
        most = max(_MOST, self._panel.shape[0])
        if type(n) is not int or not 1 <= n <= most:  # a label takes longer than the rows
            n = whole(f"n of history({shown(field)}) at {self.label}", n, 1, most, StrategyError)
        past = slice(max(0, self.bar + 1 - n), self.bar + 1)
        rows, split = _field(self._view.market, field)[past], self._view.market.split
        if flag("adjusted", adjusted, StrategyError) and field in PRICES and split is not None:
            rows = rows / factor_since(split[past]).astype(np.float64)
        if len(rows) < n:
            none = self.xp.zeros((n - len(rows), rows.shape[1]), rows.dtype)
            rows = np.concatenate((none if rows.dtype == bool else np.full_like(none, np.nan), rows))
        return rows

    def top(self, score: Row, n: int, *, universe: bool = True) -> NDArray[np.intp]:
        """Indices of the n highest of (N,) scores, {asset: score} or a Series, the highest first; NaN never wins, ties
        go to the first asset. Fewer than n where fewer assets have a score.

        universe: leave out what is outside the panel's universe at this bar, or delisted by it; False = of all."""
        scores, most = self._score(score), real(n)
        if most != most:
            raise StrategyError(f"n is {shown(n)} at {self.label}: it must be a number of assets")
        may = ~np.isnan(scores)
        if flag("universe", universe, StrategyError):
            market = self._view.market
            may &= (market.delisted_at < 0) | (market.delisted_at > self.bar)
            may = may if market.universe is None else may & market.universe[self.bar]
        valid = np.flatnonzero(may)
        values, n = scores[valid], int(min(max(0.0, most), len(valid)))
        if n == 0:
            return valid[:0]
        least = np.partition(values, len(values) - n)[len(values) - n]
        better = np.flatnonzero(values > least)
        chosen = np.sort(np.concatenate((better, np.flatnonzero(values == least)[: n - len(better)])))
        return valid[chosen[np.argsort(0.0 - values[chosen], kind="stable")]]  # one zero, however zeros are sorted

    def bottom(self, score: Row, n: int, *, universe: bool = True) -> NDArray[np.intp]:
        """Indices of the n lowest scores, the lowest first; else as `top`."""
        return self.top(-self._score(score), n, universe=universe)

    def _score(self, score: Any) -> Any:
        """(N,) float64."""
        found = numbers(self._view, self._panel, self.bar, "a score", score, "iufb")
        if found is None:
            raise StrategyError(f"a score at {self.label} is {shown(score)}: it must be (N,) numbers, one per asset")
        if found.shape != (len(self.assets),):
            raise StrategyError(f"a score at {self.label} has shape {found.shape}: it must be (N,), one per asset")
        return found

    def index(self, names: str | Sequence[str]) -> NDArray[np.int64]:
        """(k,) indices of assets by name. Raises StrategyError for one that the panel lacks."""
        found = [column_of(self._panel, self.bar, "index", x) for x in _listed(names)]
        there: NDArray[np.int64] = self._view.here(np.array(found, np.int64))
        return there

    def frame(self) -> pl.DataFrame:
        """The slice as a Polars DataFrame: asset, group where there is one, then each field of the panel."""
        import polars as pl

        with_threads("Batch.frame()")
        fields = {name: getattr(self._panel, name) for name in FIELDS}
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
    return names if several(names) else [label_of(names)]


def _field(market: Any, name: str) -> NDArray[Any]:
    known = isinstance(name, str) and name in FIELDS
    values: NDArray[Any] | None = getattr(market, name) if known else None
    if values is None:
        hint = f"pass {name}= to the Panel" if known else f"a field is one of {', '.join(FIELDS)}"
        raise _NoField(f"the panel has no {shown(name)}: {hint}")
    return values


def column_of(panel: Panel, bar: int, what: str, name: Any) -> int:
    """The column of an asset's name, or a StrategyError that names the nearest one."""
    found = panel.index.get(label_of(name))
    if found is None:
        hint = nearest(name, panel.assets, "see batch.assets")
        raise StrategyError(f"{what} at {panel.label(bar)}: the panel has no asset {shown(name)}; {hint}")
    return found
