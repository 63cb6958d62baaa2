# SPDX-License-Identifier: Apache-2.0
"""Arrays of any kind that a user has -> NumPy arrays that nobody can change, and a look at their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_host", "first_outside", "frozen"]

#: Rows looked at together: few enough to stay in cache between the two looks at them, for the least and the most.
_ROWS = 16


def as_host(name: str, value: Any, error: type[Exception]) -> np.ndarray:
    """The value as a NumPy array, a copy only where it has to be one. CuPy arrays are fetched; DLPack is honoured."""
    if any(isinstance(x, np.ma.MaskedArray) for x in (value, *(value if isinstance(value, (list, tuple)) else ()))):
        raise error(f"{name} is a masked array: fill it first, with NaN where nothing is known, as in x.filled(np.nan)")
    given: Any = value
    try:
        if hasattr(given, "__cuda_array_interface__") and hasattr(given, "get"):
            return np.asarray(given.get())
        if hasattr(given, "__dlpack__") and not hasattr(given, "__array__"):
            return np.from_dlpack(given)
        return np.asarray(value)  # of NumPy's own, too: a matrix is always 2-d, a subclass may compute anything
    except Exception as exc:  # of the value, whose class may be anybody's
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise error(f"{name} is a {type(value).__name__} that is no array ({reason}): pass a (T, N) array") from None


def frozen(array: np.ndarray) -> np.ndarray:
    """C-contiguous and read-only: copied unless nobody can write to its memory, so that it cannot change later."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if array.flags.writeable or owner.flags.writeable or owner.base is not None or not array.flags.c_contiguous:
        array = np.array(array, order="C", copy=True)
    array.flags.writeable = False
    return array


def first_outside(table: np.ndarray, low: float, high: float) -> tuple[int, int] | None:
    """Row and column of the first number of a table that is not in [low, high]; NaN is passed over."""
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS]
        if float(np.fmin.reduce(rows, axis=None)) < low or float(np.fmax.reduce(rows, axis=None)) > high:
            values = rows.astype(np.float64)
            row, column = np.argwhere((values < low) | (values > high))[0].tolist()
            return start + row, column
    return None
