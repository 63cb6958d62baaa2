# SPDX-License-Identifier: Apache-2.0
"""Arrays of any kind that a user has -> NumPy arrays that nobody can change, and a look at their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpu_bt.engine.registry import tools
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import label_of

__all__ = ["as_array", "as_host", "filled", "first_alone", "first_outside", "frozen", "on_gpu", "replaced", "together"]

#: Rows looked at together: few enough to stay in cache between the two looks at them, for the least and the most.
_ROWS = 16


def as_array(name: str, value: Any, error: type[Exception]) -> np.ndarray | Resident:
    """`as_host`, but what lies on a GPU stays there where the CUDA engine can run: it is copied only where it has
    strides, and must not be written to as long as it is used."""
    try:
        if on_gpu(value) and (there := tools()) is not None:
            found: Resident = there.take(name, value, error)
            return found
    except (error, MemoryError):
        raise
    except Exception as exc:  # of the value, whose class may be anybody's
        raise _no_array(name, value, exc, error) from None
    return as_host(name, value, error)


def on_gpu(value: Any) -> bool:
    """Whether an array says that its memory is that of a CUDA device (2), or managed (13)."""
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) in (2, 13)
    return hasattr(value, "__cuda_array_interface__")


def as_host(name: str, value: Any, error: type[Exception]) -> np.ndarray:
    """The value as a NumPy array, a copy only where it has to be one. What lies on a GPU is fetched."""
    if any(isinstance(x, np.ma.MaskedArray) for x in (value, *(value if isinstance(value, (list, tuple)) else ()))):
        raise error(f"{name} is a masked array: fill it first, with NaN where nothing is known, as in x.filled(np.nan)")
    given: Any = value
    try:
        if not isinstance(given, (np.ndarray, Resident)) and on_gpu(given):
            return _fetched(name, given, error)
        if hasattr(given, "__dlpack__") and not hasattr(given, "__array__"):
            return np.from_dlpack(given)
        return np.asarray(value)  # of NumPy's own, too: a matrix is always 2-d, a subclass may compute anything
    except error:
        raise
    except Exception as exc:  # of the value, whose class may be anybody's
        raise _no_array(name, value, exc, error) from None


def _fetched(name: str, value: Any, error: type[Exception]) -> np.ndarray:
    """What lies on a GPU, by the method of CuPy, PyTorch or Numba, which need not have a CUDA engine beside them."""
    for method in ("get", "cpu", "copy_to_host"):
        if hasattr(value, method):
            return np.asarray(getattr(value, method)())
    if (there := tools()) is not None:
        value = there.take(name, value, error)
    elif not hasattr(value, "__array__"):
        raise TypeError("it lies on a GPU: pip install 'gpu-bt[gpu]', or copy it to the host")
    return np.asarray(value)


def _no_array(name: str, value: Any, exc: Exception, error: type[Exception]) -> Exception:
    reason = " ".join(label_of(exc).split())[:200] or type(exc).__name__
    return error(f"{name} is a {type(value).__name__} that is no array ({reason}): pass a (T, N) array")


def frozen(array: Any) -> Any:
    """C-contiguous and read-only: copied unless nobody can write to its memory, so that it cannot change later. What
    lies on a GPU stays as it is: who made it keeps it as it is."""
    if isinstance(array, Resident):
        return array
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if array.flags.writeable or owner.flags.writeable or owner.base is not None or not array.flags.c_contiguous:
        array = np.array(array, order="C", copy=True)
    array.flags.writeable = False
    return array


def replaced(array: Any, low: float, high: float, value: float) -> tuple[Any, int]:
    """The array with a value for the numbers in [low, high], of its own type, and how many these are."""
    if isinstance(array, Resident):
        return array.tools.replaced(array, *array.dtype.type([low, high]).tolist(), value)
    there = (array >= low) & (array <= high)
    count = int(np.count_nonzero(there))
    return (np.where(there, array.dtype.type(value), array) if count else array), count


def filled(array: Any, value: float) -> Any:
    """The array with a value for NaN."""
    if isinstance(array, Resident):
        return array.tools.replaced(array, math.nan, math.nan, value)[0]
    return np.where(missing, array.dtype.type(value), array) if (missing := np.isnan(array)).any() else array


def first_outside(table: Any, low: float, high: float) -> tuple[int, int] | None:
    """Row and column of the first number of a table that is not in [low, high]; NaN is passed over."""
    if isinstance(table, Resident):
        return table.tools.first_outside(table, low, high)
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS]
        if float(np.fmin.reduce(rows, axis=None)) < low or float(np.fmax.reduce(rows, axis=None)) > high:
            values = rows.astype(np.float64)
            row, column = np.argwhere((values < low) | (values > high))[0].tolist()
            return start + row, column
    return None


def first_alone(close: Any, open: Any, others: Sequence[Any]) -> list[tuple[int, int] | None]:
    """Of each of the others, row and column of its first number where neither close nor open, if there is one, has
    one."""
    if isinstance(close, Resident):
        return [close.tools.first_alone(other, (close, open)) for other in others]
    dead = np.isnan(close) if others else np.zeros((0, 0), bool)
    if open is not None and dead.any():
        dead &= np.isnan(open)
    found: list[tuple[int, int] | None] = []
    for other in others:
        bad = dead & ~np.isnan(other) if dead.any() else dead[:0]
        found.append(divmod(int(bad.argmax()), bad.shape[1]) if bad.any() else None)
    return found


def together(panels: Mapping[str, Any]) -> dict[str, Any]:
    """(T, N) panels in one place: on the GPU as soon as one of them lies there."""
    there = next((array for array in panels.values() if isinstance(array, Resident)), None)
    if there is None:
        return {}
    return {n: array if isinstance(array, Resident) else there.tools.placed(array) for n, array in panels.items()}
