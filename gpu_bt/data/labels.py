# SPDX-License-Identifier: Apache-2.0
"""What has labels: it goes to the bars and assets of a panel by these, never by position."""

from __future__ import annotations

import datetime as dt
import numbers
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from gpu_bt.errors import StrategyError, label_of, shown

__all__ = ["as_row", "is_book", "is_labelled", "is_series", "near", "of_cudf", "row_of"]


def is_labelled(value: Any) -> bool:
    """Whether a value has labels, or is a path to some: a table of any library, a pandas Series, a mapping, xarray."""
    if isinstance(value, (str, os.PathLike, Mapping)) or type(value).__name__ == "LazyFrame":
        return True
    return any(hasattr(value, name) for name in ("columns", "column_names", "iloc", "coords"))


def is_series(value: Any) -> bool:
    """Whether a value is a pandas-like Series, which has an index."""
    return hasattr(value, "iloc") and not hasattr(value, "columns")


def of_cudf(value: Any) -> bool:
    """Whether a value is a frame or a Series of cuDF: like pandas', but with Arrow, since nothing iterates over it."""
    return hasattr(value, "iloc") and hasattr(value, "to_arrow")


def near(value: Any) -> Any:
    """A Series of cuDF as one of pandas, since it is a number for each asset at most; another value as it is."""
    return value.to_pandas() if of_cudf(value) and is_series(value) else value


def is_book(value: Any) -> bool:
    """Whether a value is a number for each asset: {asset: number}, or a Series whose index is no time."""
    value = near(value)
    if isinstance(value, Mapping):
        return all(isinstance(number, numbers.Real) for number in value.values())
    if not is_series(value) or value.index.nlevels > 1 or getattr(value.index.dtype, "kind", "M") == "M":
        return False
    return not isinstance(next(iter(value.index), None), dt.date)


def as_row(value: Any, assets: Mapping[str, int], fail: Callable[[str], NoReturn], empty: Any = np.nan) -> Any:
    """(N,) of what `is_book` says: each asset's own number, `empty` where it has none; another value as it is.

    assets: name -> column.   fail: called with what is wrong with a label.
    """
    if not isinstance(value, Mapping) and not is_book(value):
        return value
    value = near(value)
    names, cells = [label_of(name).strip() for name, _ in value.items()], [cell for _, cell in value.items()]
    if strangers := [name for name in names if name not in assets]:
        fail(
            f"{strangers[0]!r} is no asset of the panel ({len(strangers)} of {len(names)} are none): correct the labels"
        )
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        fail(f"{twice!r} is there twice: keep one value per asset")
    row = [empty] * len(assets)
    for name, cell in zip(names, cells, strict=True):
        wrong = isinstance(cell, (bool, np.bool_)) and empty is not False and empty != ""
        wrong |= isinstance(cell, int) and abs(cell) >= 2**1024  # beyond a float
        if wrong or (hasattr(cell, "__len__") and not isinstance(cell, (str, bytes))):
            fail(f"{name!r} is {shown(cell)}: it must be a number")
        row[assets[name]] = cell
    return np.array(row, object if empty == "" else None)  # in an array of texts NaN would be one


def row_of(panel: Any, bar: int, what: str, value: Any, empty: Any = np.nan, where: Any = slice(None)) -> Any:
    """`as_row` for a strategy at a bar, or the places `where` of it; another value as it is. empty: False = of masks
    alone, so that a Series of names is none. Raises StrategyError for a label that is wrong."""

    def fail(rule: str) -> NoReturn:
        raise StrategyError(f"{what} at {panel.label(bar)}: {rule}")

    if type(value) in (np.ndarray, float, int):  # at every order
        return value
    if empty is False and getattr(getattr(value, "dtype", None), "kind", "") != "b":
        return value
    row = as_row(value, panel.index, fail, empty)
    return value if row is value else row[where]
