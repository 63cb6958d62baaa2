# SPDX-License-Identifier: Apache-2.0
"""The fields of a panel in one table: the type of each, the range of its numbers, and what NaN means there."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_bt.data.arrays import filled, first_outside
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import PanelError, shown

__all__ = ["ASSET_FIELDS", "FIELDS", "MASKS", "PRICES", "PRICE_RANGE", "RATES", "Field"]

#: Panels of prices; close is the one that every panel has.
PRICES = ("close", "open", "high", "low", "vwap")
#: Optional panels that are not prices.
RATES = ("volume", "half_spread", "volatility", "dividend", "split", "borrow_rate")
#: Optional panels of bools.
MASKS = ("can_buy", "can_sell", "universe")
#: Fields that are (N,); all others are (T, N).
ASSET_FIELDS = ("delisted_at", "delisting_return", "lot", "group")
#: Closed ranges of a price, and of a lot that is not 0 (semantics.md, Numbers).
PRICE_RANGE = (1e-10, 1e12)
LOT_RANGE = (1e-8, 1e9)
#: The ends of what is finite and > 0.
_LEAST = math.ulp(0.0)
_MOST = float(np.finfo(np.float64).max)


def _floats(name: str, array: Any) -> Any:
    if array.dtype.type in (np.float64, np.float32) and array.dtype.isnative:
        return array
    if array.dtype.kind not in "iuf":
        raise PanelError(f"{name} has dtype {array.dtype}: it must hold numbers; convert it to float64")
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)


def _doubles(name: str, array: np.ndarray) -> Any:
    return _floats(name, array).astype(np.float64) + 0.0  # no negative zero


def _flags(name: str, array: Any) -> Any:
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iuf" or not _are_bits(array):
        what = "be held" if name == "universe" else "trade"
        raise PanelError(f"{name} has dtype {array.dtype}: it must be bool, True where the asset may {what}")
    return array.astype(np.bool_)


def _are_bits(array: Any) -> bool:
    """Whether all numbers are 0 or 1."""
    if not isinstance(array, Resident):
        return bool(np.isin(array, (0, 1)).all())
    rows = array.tools.looked(array.astype(np.float64), 1, 1, skip=(0, 0))
    return not rows[:, [0, 2]].any()


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, (numbers.Real, np.generic)) and bool(cell != cell)


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    cells = array.ravel().tolist()
    for i, cell in enumerate(cells):
        if isinstance(cell, str):
            cells[i] = " ".join(cell.split())  # of any kind and number: blanks tell no groups apart
        elif cell is None or type(cell).__name__ in ("NAType", "NaTType") or _is_nan(cell):
            cells[i] = ""
        if not isinstance(cells[i], (str, numbers.Real)) or not str(cells[i]).isprintable():
            raise PanelError(f"{name} holds {shown(cell)}: a label must be printable text or a number, or empty")
    return np.array(cells).reshape(array.shape)


def _bars(name: str, array: np.ndarray) -> np.ndarray:
    whole = array.dtype.kind in "iuf" and (np.abs(array) < 2**62).all()  # no NaN, and nothing that would overflow
    if not whole or (array != np.rint(array)).any():
        raise PanelError(f"{name} has dtype {array.dtype}: it must hold bar numbers, -1 for none")
    return array.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Field:
    """What a field of a panel may hold.

    typed: (name, array) -> the array in the field's type, or a PanelError.   low, high: closed range of its numbers.
    rule: what is said of a number outside; "" = nothing is outside.   nan: what NaN means, NaN where it says that the
    asset does not trade.   zero: 0 is taken beside the range, and NaN is not.   default: of every asset where the field
    is not given; None = the panel is without it.
    """

    typed: Callable[[str, Any], Any]
    low: float = -math.inf
    high: float = math.inf
    rule: str = ""
    nan: float = math.nan
    zero: bool = False
    default: float | None = None

    def given(self, value: Any, assets: int) -> Any:
        """The value, or for None the default of so many assets."""
        return np.full(assets, self.default) if value is None and self.default is not None else value

    def outside(self, array: Any) -> tuple[int, int] | None:
        """Row and column of the first number that may not stand there; an array of assets is one row."""
        if not self.rule:
            return None
        if self.zero:
            array = np.where(array == 0, self.low, np.nan_to_num(array, nan=np.inf))
        return first_outside(array if array.ndim == 2 else array[None], self.low, self.high)

    def filled(self, array: Any) -> Any:
        """The array with what NaN means in its place."""
        return array if math.isnan(self.nan) else filled(array, self.nan)


_PRICE = Field(_floats, *PRICE_RANGE, "a price must be in [1e-10, 1e12], or NaN where the asset does not trade")
_RATE = Field(_floats, 0.0, _MOST, "it must be finite and >= 0, or NaN for 0", nan=0.0)
#: Name -> what may stand there: the one table, from which Panel and the readers of files take their checks.
FIELDS: dict[str, Field] = {
    **dict.fromkeys(PRICES, _PRICE),
    **dict.fromkeys(RATES, _RATE),
    "split": Field(_floats, _LEAST, _MOST, "it must be finite and > 0, or NaN for 1", nan=1.0),
    **dict.fromkeys(MASKS, Field(_flags)),
    "delisted_at": Field(_bars, -1, rule="it must be a bar number >= 0, or -1 for none", default=-1),
    "delisting_return": Field(_doubles, -1.0, _MOST, "it must be >= -1, or NaN for 0", nan=0.0, default=0.0),
    "lot": Field(_doubles, *LOT_RANGE, "it must be 0 (fractional) or in [1e-08, 1e+09] shares", zero=True),
    "group": Field(_labels),
}
