# SPDX-License-Identifier: Apache-2.0
"""Weights: target weights placed on the bars and assets of a panel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Weights"]


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """Targets as a (T, N) array, and what was left out or moved to get there. It can stand wherever an array can.

    values: (T, N) float64, C-contiguous, read-only; a fraction of equity, 0 = close, NaN = no target (hold).
    moved_rows: input rows that align="next" put on a later bar than their own timestamp.
    unknown_rows: input rows left out because the panel lacks their asset (unknown_assets="ignore").
    dropped_rows: input rows left out because they lie after the last bar, or because a later book was moved onto
        (or stands on) the same bar.
    A row is counted once, the first cause in the order unknown, dropped, moved. In a wide table a row is a filled cell.
    """

    values: np.ndarray
    moved_rows: int = 0
    unknown_rows: int = 0
    dropped_rows: int = 0

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"values has shape {values.shape}: weights must be (T, N)")
        if values.flags.writeable or not values.flags.c_contiguous:
            values = np.array(values, order="C", copy=True)
            values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """2."""
        return self.values.ndim

    @property
    def dtype(self) -> np.dtype:
        """float64."""
        return self.values.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy or (dtype is not None and np.dtype(dtype) != self.values.dtype):
            if copy is False:
                raise ValueError(f"weights are {self.values.dtype}: an array of {np.dtype(dtype)} needs a copy")
            return np.array(self.values, dtype=dtype)
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        return self.values[key]

    def __repr__(self) -> str:
        t, n = self.shape
        books = int((~np.isnan(self.values)).any(axis=1).sum())
        counts = f"moved_rows={self.moved_rows}, unknown_rows={self.unknown_rows}, dropped_rows={self.dropped_rows}"
        return f"Weights({t} bars x {n} assets, {books} bars with targets, {counts})"
