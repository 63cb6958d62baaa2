# SPDX-License-Identifier: Apache-2.0
"""FakeCupy whose arrays reckon: NumPy's functions on memory that the host may not read but by a copy that is counted.

What a function gives whose shape does not hang on its numbers is written when the current stream gets to it; for other
results the stream is waited for, as CuPy does.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from emulator.fake_arrays import Array
from emulator.fake_cupy import FakeCupy
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Numbers", "Reckoning"]

#: Functions whose results have a shape that is known beforehand.
_LATE = {
    np.where, np.isnan, np.isfinite, np.stack, np.concatenate, np.ascontiguousarray, np.zeros_like, np.full_like,
    np.ones_like,
}  # fmt: skip


def _plain(x: Any) -> Any:
    """What the device sees."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(_plain, x))
    return x.view() if isinstance(x, Array) else x


def _like(x: Any) -> Any:
    """Something of that shape and type to find those of a result with."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(_like, x))
    return np.zeros(x.shape, x.dtype) if isinstance(x, Array) else x


def _owner(*values: Any) -> Any:
    for x in values:
        if isinstance(x, (list, tuple)) and (found := _owner(*x)) is not None:
            return found
        if isinstance(x, Array):
            return x.owner
    return None


def _refuse_host(*values: Any) -> None:
    for x in values:
        if isinstance(x, (list, tuple)):
            _refuse_host(*x)
        if isinstance(x, np.ndarray) and x.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")


class Numbers(NDArrayOperatorsMixin, Array):
    """cupy.ndarray."""

    def _done(self) -> np.ndarray:
        self.owner.current[-1].synchronize()
        return self.view()

    def item(self) -> Any:
        self.owner.fetched.append(self.size * self.dtype.itemsize)
        return self._done().item()

    def tolist(self) -> Any:
        self.owner.fetched.append(self.size * self.dtype.itemsize)
        return self._done().tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec)

    __repr__ = __str__ = lambda self: str(self.tolist())

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "at":
            (array, where, *rest) = inputs
            kept = array, where, rest
            return self.owner.queue(None, lambda: ufunc.at(kept[0].view(), _plain(kept[1]), *map(_plain, kept[2])))
        if method == "reduce" and ufunc not in (np.add, np.multiply):
            raise NotImplementedError(f"`cupy_{ufunc.__name__}.reduce` is not supported yet")
        if (out := options.pop("out", None)) is not None:
            out[0][...] = self.owner.reckon(getattr(ufunc, method), inputs, options, True)
            return out[0]
        return self.owner.reckon(getattr(ufunc, method), inputs, options, method == "__call__")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.owner.reckon(func, args, kwargs, func in _LATE)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return self.owner.reckon(lambda x: x.astype(dtype), (self,), {}, True)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if all(x is None or x is ... or isinstance(x, (int, slice, np.integer)) for x in keys):
            part = self.view()[key]
            if not isinstance(part, np.ndarray):
                part = self.view()[(*keys, None)].reshape(())
            offset = part.__array_interface__["data"][0] - self.view().__array_interface__["data"][0]
            memory = self.data + (offset if part.size else 0)
            return self.owner.ndarray(part.shape, part.dtype, memory, part.strides)
        late = all(isinstance(x, (int, slice)) or (isinstance(x, Array) and x.dtype != bool) for x in keys)
        return self.owner.reckon(lambda x, *keys: x[keys], (self, *keys), {}, late)

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse_host(value)
        if isinstance(value, (list, tuple)):
            raise TypeError("a list is no value")
        kept = self, key, value
        self.owner.queue(None, lambda: kept[0].view().__setitem__(_plain(kept[1]), _plain(kept[2])))

    def __getattr__(self, name: str) -> Any:
        """A method of NumPy's."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        late = name in ("any", "all", "min", "max", "sum", "copy", "argmax", "argmin")
        return lambda *args, **kw: self.owner.reckon(lambda x, *a: getattr(x, name)(*a, **kw), (self, *args), {}, late)


class Reckoning(FakeCupy):
    """The module with NumPy's functions."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        owner = self

        class ndarray(Numbers):
            def __init__(self, shape: tuple, dtype: Any, memptr: Any = None, strides: Any = None) -> None:
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                Array.__init__(self, owner, memptr or owner.alloc(size), shape, np.dtype(dtype), strides)

        self.ndarray = ndarray

    def asarray(self, value: Any, dtype: Any = None) -> Any:
        if isinstance(value, Numbers):
            return value
        if hasattr(value, "__cuda_array_interface__"):
            array = super().asarray(value)
            return self.ndarray(array.shape, array.dtype, array.data, array.strides)
        values = np.asarray(value, dtype)
        self.sent.append(values.nbytes)
        return self.wrapped(values.copy())

    def from_dlpack(self, value: Any) -> Numbers:
        array = super().from_dlpack(value)
        return self.ndarray(array.shape, array.dtype, array.data, array.strides)

    def wrapped(self, values: np.ndarray) -> Numbers:
        """An array with these numbers, at once."""
        out = self.ndarray(values.shape, values.dtype)
        out.view()[...] = values
        return out

    def reckon(self, function: Any, args: Any, options: Any, late: bool) -> Any:
        """A result on the device."""
        _refuse_host(*args[1:] if late else ())
        _refuse_host(*options.values())
        if not late:
            self.current[-1].synchronize()
            found = function(*map(_plain, args), **{n: _plain(x) for n, x in options.items()})
            return self.wrapped(np.asarray(found)) if isinstance(found, (np.ndarray, np.generic)) else found
        with np.errstate(all="ignore"):
            made = np.asarray(function(*map(_like, args), **{n: _like(x) for n, x in options.items()}))
        out, kept = self.ndarray(made.shape, made.dtype), (args, options)

        def run() -> None:
            with np.errstate(all="ignore"):
                found = function(*map(_plain, kept[0]), **{n: _plain(x) for n, x in kept[1].items()})
            out.view()[...] = found

        self.queue(None, run)
        return out

    def __getattr__(self, name: str) -> Any:
        """A function of NumPy's, or a type or number of it."""
        if name.startswith("_") or not hasattr(np, name):
            raise AttributeError(name)
        found = getattr(np, name)
        if not callable(found) or isinstance(found, type):
            return found
        if name == "maximum":
            return SimpleNamespace(at=lambda array, *rest: np.maximum.at(array, *rest))
        return lambda *args, **kw: self.reckon(found, args, kw, found in _LATE or isinstance(found, np.ufunc))
