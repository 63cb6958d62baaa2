# SPDX-License-Identifier: Apache-2.0
"""Weights: target weights placed on the bars and assets of a panel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Weights"]


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """What `read_weights` gives: targets as a (T, N) array, and what was left out or moved to get there.

    It stands wherever an array can: NumPy takes it for its `values`.

    values: (T, N) float64, C-contiguous, read-only; a fraction of equity, 0 = close, NaN = no target (hold).
    moved_rows: input rows that align="next" put on a later bar than their own timestamp.
    unknown_rows: input rows left out because the panel lacks their asset (unknown_assets="ignore").
    dropped_rows: input rows left out because they lie after the last bar, or because a later book was moved onto
        (or stands on) the same bar.
    A row is counted once, the first cause in the order unknown, dropped, moved. In a wide table a row is a filled cell.
    """

    values: np.ndarray = dataclasses.field(repr=False)
    moved_rows: int = 0
    unknown_rows: int = 0
    dropped_rows: int = 0

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
