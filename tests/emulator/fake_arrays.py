# SPDX-License-Identifier: Apache-2.0
"""Arrays on the device of fake_cupy, as their libraries show them: memory that refuses to be read from the host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["Array", "Plain", "Tensor", "on_device"]


class Array:
    """cupy.ndarray, as far as gpu_bt asks of it."""

    def __init__(self, owner: Any, data: Any, shape: tuple, dtype: np.dtype, strides: Any = None) -> None:
        self.owner, self.data, self.shape, self.dtype = owner, data, tuple(shape), np.dtype(dtype)
        whole = np.empty(self.shape, self.dtype)
        self.strides = whole.strides if strides is None else tuple(strides)
        self.size, self.ndim = whole.size, whole.ndim
        self.flags = SimpleNamespace(c_contiguous=self.view().flags.c_contiguous)
        self.device = SimpleNamespace(id=data.device)

    def view(self) -> np.ndarray:
        """What the kernels see: not for who plays the host."""
        raw = self.data.data[self.data.start :]
        return np.ndarray(self.shape, self.dtype, raw if self.size else None, 0, self.strides)

    def astype(self, dtype: Any, order: str = "K") -> Array:
        out = self.owner.ndarray(self.shape, dtype)
        kept = self, out
        self.owner.queue(None, lambda: np.copyto(kept[1].view(), kept[0].view().astype(dtype)))
        return out

    def get(self) -> np.ndarray:
        self.owner.current[-1].synchronize()
        self.owner.fetched.append(self.size * self.dtype.itemsize)
        return self.view().copy()

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.flags.c_contiguous else self.strides
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "strides": strides,
                "version": 3, "stream": self.owner.current[-1].ptr or 1}  # fmt: skip

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> tuple:
        """The stream that is current waits for nothing; another waits for it."""
        consumer, mine = self.owner.streams[0 if stream in (None, 1) else stream], self.owner.current[-1]
        if consumer is not mine:
            consumer.wait_event(mine.record())
        return self.data.ptr, self.data.size - self.data.start, self.shape, self.dtype, self.strides

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id


class Tensor:
    """torch.Tensor on a stream of PyTorch's own: it shows its memory by DLPack, and no NumPy array."""

    def __init__(self, array: Array, stream: Any) -> None:
        self.array, self.stream, self.shape, self.dtype = array, stream, array.shape, f"torch.{array.dtype}"
        self.device = "cuda:0"

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def cpu(self) -> np.ndarray:
        self.stream.synchronize()
        return self.array.get()

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> tuple:
        self.array.owner.streams[0 if stream in (None, 1) else stream].wait_event(self.stream.record())
        array = self.array
        return array.data.ptr, array.data.size - array.data.start, array.shape, array.dtype, array.strides

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Plain:
    """Anything with __cuda_array_interface__ alone; with a stream, its consumer has to wait for that."""

    def __init__(self, array: Array, stream: Any = None) -> None:
        self.array, self.stream = array, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        told = {**self.array.__cuda_array_interface__, "stream": None}
        return told if self.stream is None else told | {"stream": self.stream.ptr}


def on_device(fake: Any, values: np.ndarray, kind: str = "cupy", order: str = "C", late: bool = True) -> Any:
    """An array of NumPy's as one of a library's, for which nothing is counted. order: "C", "F", or "strided", every
    other row and column of a larger one. late: what writes it waits on the library's stream."""
    rows, columns = (2 * values.shape[0], 2 * values.shape[1]) if order == "strided" else values.shape[:2]
    wide = np.zeros((rows, columns), values.dtype, "F" if order == "F" else "C")
    place = wide[::2, ::2] if order == "strided" else wide
    memory = fake.alloc(max(1, wide.nbytes))
    array = Array(fake, memory, values.shape, values.dtype, place.strides)
    stream = fake.legacy if kind == "cupy" else fake.cuda.Stream(non_blocking=True)
    values = values.copy()
    fake.queue(stream, lambda: np.copyto(array.view(), values))
    if not late:
        stream.synchronize()
    return {"cupy": array, "torch": Tensor(array, stream), "plain": Plain(array, stream)}[kind]
