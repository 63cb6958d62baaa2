# SPDX-License-Identifier: Apache-2.0
"""Frames of cuDF, as far as gpu_bt asks of them, written after its public source (26.10): nothing iterates over them
or becomes a NumPy array, `rename_axis` is not there; `to_arrow` goes to the host, `to_cupy` stays on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from emulator.fake_arrays import on_device

__all__ = ["DataFrame", "Series"]


class _Frame:
    """What an index, a Series and a DataFrame have in common."""

    def __init__(self, fake: Any, inner: Any) -> None:
        self.fake, self.inner = fake, inner

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Any:
        raise TypeError(f"{type(self).__name__} object is not iterable. Consider using `.to_arrow()`, `.to_pandas()`")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a host NumPy array via __array__ is not allowed")

    def __arrow_array__(self, *_: Any) -> Any:
        raise TypeError("Implicit conversion to a host PyArrow object via __arrow_array__ is not allowed.")


class Index(_Frame):
    names = property(lambda self: self.inner.names)
    nlevels = property(lambda self: self.inner.nlevels)
    dtype = property(lambda self: self.inner.dtype)

    def get_level_values(self, level: int) -> Index:
        return Index(self.fake, self.inner.get_level_values(level))

    def to_arrow(self) -> Any:
        self.fake.fetched.append(8 * len(self))
        return pa.array(self.inner)

    def to_pandas(self) -> Any:
        self.fake.fetched.append(8 * len(self))
        return self.inner


class RangeIndex(Index):
    """Row numbers."""


class _Indexed(_Frame):
    iloc = property(lambda self: self.inner.iloc)

    @property
    def index(self) -> Index:
        kind = RangeIndex if isinstance(self.inner.index, pd.RangeIndex) else Index
        return kind(self.fake, self.inner.index)


class Series(_Indexed):
    name = property(lambda self: self.inner.name)
    dtype = property(lambda self: self.inner.dtype)

    def to_pandas(self) -> Any:
        self.fake.fetched.append(8 * len(self))
        return self.inner

    def to_frame(self, name: Any) -> DataFrame:
        return DataFrame(self.fake, self.inner.to_frame(name))

    def to_arrow(self) -> Any:
        return pa.array(self.inner)


class DataFrame(_Indexed):
    columns = property(lambda self: self.inner.columns)
    dtypes = property(lambda self: self.inner.dtypes)
    shape = property(lambda self: self.inner.shape)

    def astype(self, dtype: Any) -> DataFrame:
        return DataFrame(self.fake, self.inner.astype(dtype))

    def to_arrow(self, preserve_index: bool | None = None) -> Any:
        assert preserve_index is False
        self.fake.fetched.append(8 * self.inner.size)
        columns = (self.inner.iloc[:, i] for i in range(self.inner.shape[1]))
        return pa.Table.from_pydict({str(c): pa.array(v) for c, v in zip(self.inner.columns, columns, strict=True)})

    def to_cupy(self, dtype: Any = None, copy: bool = False, na_value: Any = None) -> Any:
        """In column-major order; empty cells need a value."""
        if self.inner.isna().any(axis=None) and na_value is None:
            raise ValueError("Column must have no nulls.")
        return on_device(self.fake, np.asarray(self.inner, dtype), "cupy", "F")
