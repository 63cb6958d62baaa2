# SPDX-License-Identifier: Apache-2.0
"""Resident: an array that lies in the memory of a GPU, as the rooms see it that know nothing of CuPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np

__all__ = ["Resident", "Tools", "first", "on_host"]


class Tools(Protocol):
    """Who knows the memory: gpu_bt.cuda.arrays, which says what each does."""

    fetch: Callable[..., np.ndarray]
    part: Callable[..., Resident]
    exported: Callable[..., Any]
    cast: Callable[..., Resident]
    replaced: Callable[..., tuple[Resident, int]]
    first_outside: Callable[..., tuple[int, int] | None]
    first_alone: Callable[..., tuple[int, int] | None]
    looked: Callable[..., np.ndarray]
    missing: Callable[..., np.ndarray]
    cells: Callable[..., np.ndarray]
    silent: Callable[..., np.ndarray]
    columns_to_look_at: Callable[..., np.ndarray]
    free: Callable[[], int]
    placed: Callable[..., Resident]
    spread: Callable[..., Resident]
    resident: Callable[..., Resident]


class Resident:
    """A C-contiguous array in the memory of a GPU; what is written to it is finished.

    dtype, shape: as NumPy's.   pointer: its address.   device: number of the GPU.   owner: what the memory belongs to,
    kept alive.   tools: who copies from it.

    Indexing and `np.asarray` copy to host memory what is asked for and nothing more: `x[3]`, `x[2:5]` and `x[[1, 7]]`
    rows, `x[:, i]` and `x[:, [1, 4]]` columns, `x[bars, assets]` cells. CuPy, PyTorch and whatever knows DLPack or
    `__cuda_array_interface__` take it without a copy: it must not be written to. A pickle of it is that of the NumPy
    array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, pointer: int, device: int, owner: Any, tools: Tools) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape: tuple[int, ...] = tuple(map(int, shape))
        self.pointer, self.device, self.owner, self.tools = pointer, device, owner, tools
        self.missing: np.ndarray | None = None  # NaN of each row, once they were counted

    @property
    def address(self) -> int:
        """As `pointer`."""
        return self.pointer

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its memory."""
        return self.size * self.dtype.itemsize

    @cached_property
    def host(self) -> np.ndarray:
        """A read-only copy in host memory, fetched when first asked for and kept."""
        found = np.asarray(self)
        found.flags.writeable = False
        return found

    def astype(self, dtype: Any) -> Resident:
        """The same in another type, on the GPU."""
        return self if self.dtype == dtype else self.tools.cast(self, dtype)

    def at(self, key: Any) -> Resident:
        """What `x[key]` copies, as an array of its own on the GPU."""
        return self.tools.part(self, key)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.tools.fetch(self, key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array in the memory of a GPU becomes a NumPy array by a copy alone")
        return self.tools.fetch(self, ...).astype(self.dtype if dtype is None else dtype, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.pointer, False), "strides": None,
                "stream": None, "version": 3}  # fmt: skip

    def __dlpack__(self, **how: Any) -> Any:
        return self.tools.exported(self).__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device  # kDLCUDA

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        return self.host.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"Resident({self.dtype} {self.shape} on GPU {self.device})"


def first(array: Any) -> Any:
    """array[0], of a Resident where it lies."""
    if not isinstance(array, Resident):
        return array[0]
    return Resident(array.shape[1:], array.dtype, array.pointer, array.device, array, array.tools)


def on_host(array: Any) -> np.ndarray:
    """An array of NumPy's, or what one of CuPy's holds."""
    found: np.ndarray = array if isinstance(array, np.ndarray) else array.get()
    return found
