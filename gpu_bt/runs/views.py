# SPDX-License-Identifier: Apache-2.0
"""What a strategy sees and says, in host memory: the CUDA engine's sessions have the same on their device.

Letters: T bars, N assets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_bt.arguments import disguised, flag, real
from gpu_bt.config import Config
from gpu_bt.data.labels import row_of
from gpu_bt.engine.prepare import decision_prices, marks
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Market, Session
from gpu_bt.errors import StrategyError

__all__ = ["HostView", "factor_since", "numbers", "on_device", "view_of"]


class HostView:
    """xp: the library of its arrays.   market: the panel's fields, (T, N), and arrays of assets, (N,).   book: the
    portfolio at the open bar."""

    xp: Any = np

    def __init__(self, market: Market, config: Config, session: Session) -> None:
        self.market, self.book, self._config = market, session.book, config

    def marks(self, bar: int) -> Any:
        """(N,) marks per lot."""
        return marks(self.market, self._config.lot)[bar]

    def prices(self, bar: int) -> Any:
        """[S8] (N,) P."""
        return decision_prices(self.market, self._config.lot, self._config.sizing).values[bar]

    def here(self, values: np.ndarray) -> Any:
        """An array of NumPy's as one of `xp`."""
        return values

    def taken(self, what: Callable[[], str], value: Any) -> Any:
        """An array that lies on the device of this view as one of `xp`; None for anything else."""
        return None

    def span(self, values: Any) -> tuple[float, float, bool]:
        """The least and the largest number, and whether there is a NaN."""
        least, most = float(values.min()), float(values.max())
        if least == least:
            return least, most, False
        return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None)), True

    def put(self, row: Any, where: Any, x: Any) -> None:
        """row[..., where] = x, of assets named twice the last."""
        row[..., where] = x

    def best(self, score: Any, may: Any, most: float) -> Any:
        """Indices of at most so many highest scores of those that may be taken, the highest and first asset first."""
        valid = np.flatnonzero(may)
        values, n = score[valid], int(min(max(0.0, most), len(valid)))
        if n == 0:
            return valid[:0]
        least = np.partition(values, len(values) - n)[len(values) - n]
        better = np.flatnonzero(values > least)
        chosen = np.sort(np.concatenate((better, np.flatnonzero(values == least)[: n - len(better)])))
        return valid[chosen[np.argsort(0.0 - values[chosen], kind="stable")]]  # one zero, however zeros are sorted


def on_device(strategy: Any, panel: Any) -> bool:
    """Whether a strategy wants its arrays where the engine works: as its `device` says, else where the panel lies."""
    wanted = strategy.device
    return isinstance(panel.close, Resident) if wanted is None else flag("device", wanted, StrategyError)


def view_of(strategy: Any, panel: Any, config: Config, session: Any) -> Any:
    """The view of a run: the session's own on its device where the strategy wants that and there is one."""
    there = on_device(strategy, panel) and hasattr(session, "view")
    return session.view() if there else HostView(panel.on_host().market, config, session)


def numbers(
    view: Any, panel: Any, bar: int, what: str, value: Any, kinds: str = "iuf", where: Any = slice(None)
) -> Any:
    """What a user gives as numbers, by its labels where it has some, as float64 of the view; None where it holds
    something else."""
    if (there := view.taken(lambda: f"{what} at {panel.label(bar)}", value)) is not None:
        return there.astype(np.float64, copy=False) if there.dtype.kind in kinds else None
    found = _floats(row_of(panel, bar, what, value, where=where), kinds)
    return None if found is None else view.here(found)


def _floats(values: Any, kinds: str) -> np.ndarray | None:
    """float64 of numbers, None beside them is NaN; None where it holds something else: texts, bools, dates, masks."""
    try:
        if disguised(values, "b" in kinds):
            return None
        array = np.asarray(values)
        if array.dtype.kind == "O":  # as of Decimal, None, whole numbers that are too long
            array = np.array([math.nan if x is None else _number(x) for x in array.flat]).reshape(array.shape)
        return array.astype(np.float64) if array.dtype.kind in kinds else None
    except Exception:  # what is ragged, too, and objects that are not ours
        return None


def _number(value: Any) -> float:
    found = real(value)
    if math.isnan(found) and value == value:  # no NaN of its own
        raise ValueError(value)
    return found


def factor_since(split: Any) -> Any:
    """Of (B, N) splits the product of those after each row, formed in the same order everywhere."""
    out = np.ones_like(split)
    for t in range(len(split) - 2, -1, -1):
        out[t] = out[t + 1] * split[t + 1]
    return out
