# SPDX-License-Identifier: Apache-2.0
"""Weights: target weights placed on the bars and assets of a panel, and what a run checks of them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from gpu_bt.arguments import must_be
from gpu_bt.data.arrays import as_array, first_outside, replaced
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import WeightsError

__all__ = ["DUST", "MAX_WEIGHT", "Weights", "check_fit", "check_weights"]

MAX_WEIGHT = 1000.0
#: A weight of a cash account that is not further below 0 is a solver's rounding of 0.
DUST = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """What `read_weights` gives: targets as a (T, N) array, and what was left out or moved to get there.

    It stands wherever an array can: NumPy takes it for its `values`. It fits panels with the labels that it was read
    for, and no others.

    values: (T, N) float64, C-contiguous, read-only; a fraction of equity, 0 = close, NaN = no target (hold).
    moved_rows: input rows that stand on a bar outside their own timestamp or date (align="next", align="previous"), or
        on the last bar of a day whose midnight is their timestamp.
    unknown_rows: input rows left out because the panel lacks their asset (unknown_assets="ignore").
    dropped_rows: input rows left out because no bar may stand for them (after the last one, or before the first), or
        because a later book was moved onto (or stands on) the same bar.
    empty_cells: empty cells of wide books, which missing="close" has read as 0, or of long ones, which hold.
    assets, timestamps: those of the panel that it was read for; None = none, it goes by position.
    A row is counted once, the first cause in the order unknown, dropped, moved. In a wide table a row is a filled cell.
    """

    values: np.ndarray = dataclasses.field(repr=False)
    moved_rows: int = 0
    unknown_rows: int = 0
    dropped_rows: int = 0
    empty_cells: int = 0
    assets: tuple[str, ...] | None = dataclasses.field(default=None, repr=False)
    timestamps: np.ndarray | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray):
            must_be("values", self.values, "a (T, N) array of target weights", WeightsError)
        for name in ("assets", "timestamps"):
            given = getattr(self, name)
            if given is not None and not (isinstance(given, (tuple, list)) or getattr(given, "ndim", 0) == 1):
                must_be(name, getattr(self, name), "those of a panel, or None", WeightsError)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype:
        """float64."""
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        return self.values[key]


def check_fit(weights: Any, panel: Any) -> None:
    """Raise WeightsError unless both have the same shape and, where the weights have labels, the same labels."""
    if weights.shape != panel.shape:
        raise WeightsError(
            f"weights has shape {weights.shape}: it must be (T, N) = {panel.shape}, a row per bar and a column per"
            " asset"
        )
    for name in ("assets", "timestamps"):
        own, theirs = getattr(weights, name, None), getattr(panel, name)
        if own is not None and not np.array_equal(own, theirs):
            i, a, b = next((i, a, b) for i, (a, b) in enumerate(itertools.zip_longest(own, theirs)) if a != b)
            raise WeightsError(
                f"weights were read for another panel, whose {name}[{i}] is {a}, not {b}: read them for this one, or"
                " pass their values to go by position"
            )


def check_weights(
    panel: Any, weights: Any, account: str, notes: dict[str, int] | None = None
) -> Any:  # fmt: skip
    """(T, N) float weights, NumPy's or those that lie on a GPU, or a WeightsError that names bar and asset.

    In a cash account weights in [-1e-9, 0) are 0: then an array of its own, and their number in `notes`.
    """
    array: Any = as_array("weights", weights, WeightsError)
    if array.dtype.kind not in "iuf":
        raise WeightsError(
            f"weights is a {type(weights).__name__} of dtype {array.dtype}: pass a (T, N) array of numbers, a table or"
            " a path with labels, or {asset: weight}"
        )
    check_fit(weights if isinstance(weights, Weights) else array, panel)
    if isinstance(array, Resident):
        array = array if array.dtype == np.float32 else array.astype(np.float64)
    elif array.dtype not in (np.float64, np.float32) or not array.flags.c_contiguous:
        array = np.ascontiguousarray(array, np.float64)
    low = 0.0 if account == "cash" else -MAX_WEIGHT
    at = first_outside(array, low, MAX_WEIGHT)
    if at is not None and account == "cash" and -DUST <= array[at] < 0:
        array, dust = replaced(array, -DUST, -float(np.finfo(array.dtype).smallest_subnormal), 0.0)
        if notes is not None:
            notes["negative_weights_taken_for_0"] = dust
        at = first_outside(array, low, MAX_WEIGHT)
    if at is None:
        return array
    t, i = at
    where = f"weights[{panel.label(t)}, {panel.assets[i]!r}] is {array[t, i]}"
    if abs(array[t, i]) <= MAX_WEIGHT:
        raise WeightsError(f"{where}: a cash account is long-only; use Config(account='margin') for short positions")
    raise WeightsError(f"{where}: a weight is a fraction of equity, |weight| <= 1000, or NaN for no target")
