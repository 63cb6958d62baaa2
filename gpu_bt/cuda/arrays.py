# SPDX-License-Identifier: Apache-2.0
"""Panels in device memory: taken from others, looked at, copied with changes. The tools of a Resident.

Each does in one pass of arrays.cu what gpu_bt/data and gpu_bt/engine do with NumPy on the host, with the same numbers.
Only what is said to be in host memory leaves the device.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from gpu_bt.cuda.device import DeviceArray, cupy, probe, room, stream, told
from gpu_bt.cuda.module import array_kernel
from gpu_bt.engine.resident import Resident
from gpu_bt.law.layout import PANEL_KINDS, ROWS

__all__ = [
    "CALL", "MEMBERS", "TEXT", "cast", "cells", "columns_to_look_at", "exported", "fetch", "first_alone",
    "first_outside", "free", "looked", "marked", "missing", "part", "picked", "placed", "replaced", "resident",
    "scaled", "silent", "spread", "take",
]  # fmt: skip

#: What a kernel of arrays.cu is told, member -> its type in C, 8 bytes each, panels 16.
MEMBERS = (
    dict.fromkeys(("T", "N", "from", "count", "room", "bytes", "pairs", "alone"), "int64_t")
    | dict.fromkeys(("low", "high", "skip_low", "skip_high", "value", "near", "leap", "jump"), "double")
    | dict.fromkeys("abcde", "bt_panel")
    | dict.fromkeys(("rows", "columns", "unit", "before"), "const void *")
    | dict.fromkeys(("next", "out"), "void *")
)
CALL = np.dtype([(n, {"double": "f8", "bt_panel": ROWS["close"]}.get(c, "i8")) for n, c in MEMBERS.items()])
TEXT = " ".join(f"{kind} {name};" for name, kind in MEMBERS.items())
_Array = DeviceArray | Resident
_KINDS = {name: kind for kind, name in enumerate(PANEL_KINDS)}
_T = TypeVar("_T")
_INF, _NAN = math.inf, math.nan
_HERE: Any = sys.modules[__name__]  # the Tools of what is made here
#: Threads of a block, at most.
_THREADS = 128


@told()
def _run(name: str, blocks: int, **members: Any) -> None:
    """Launch a kernel and wait for it. A panel goes into a panel's member, another array's address into a pointer's."""
    call = np.zeros(1, CALL)
    for member, value in members.items():
        kind = MEMBERS[member]
        if kind == "bt_panel":
            call[member] = (0, 0) if value is None else (value.address, _KINDS.get(value.dtype.name, 0))
        else:
            call[member] = value.address if kind.endswith("*") else value
    if blocks:
        at = DeviceArray(call.shape, CALL, call)
        run = array_kernel(cupy(), TEXT, name)
        threads = min(_THREADS, 32 * -(-int(call["N"][0]) // 32))
        run((blocks,), (threads,), (np.uint64(at.address),), stream=stream())
        stream().synchronize()


def _there(work: Callable[..., _T]) -> Callable[..., _T]:
    """The function, done on the GPU on which its first array lies, whatever GPU is the thread's."""

    @functools.wraps(work)
    def done(array: _Array, *given: Any, **named: Any) -> _T:
        with cupy().cuda.Device(array.device) if isinstance(array, Resident) else contextlib.nullcontext():
            return work(array, *given, **named)

    return done


def _sent(values: Any, dtype: Any = np.int64) -> DeviceArray:
    values = np.ascontiguousarray(values, dtype)
    return DeviceArray(values.shape, dtype, values)


def _shape(array: _Array) -> tuple[int, ...]:
    return tuple(array.shape)


def _columns(array: _Array) -> int:
    """Blocks of a kernel that has a thread for each asset."""
    return -(-_shape(array)[1] // _THREADS)


# --- taken, and given ---


@told()
def take(name: str, value: Any, error: type[Exception]) -> Resident:
    """What knows DLPack or the CUDA array interface, as it lies there; a C-contiguous copy on the device where it has
    strides. It is complete when this returns: the engine's stream waits for the producer's.

    Raises `error` where it lies on another device than the current one.
    """
    library, current, here = cupy(), cupy().cuda.get_current_stream(), int(cupy().cuda.runtime.getDevice())
    if isinstance(value, Resident) and value.device == here:
        return value
    array = library.from_dlpack(value) if hasattr(value, "__dlpack__") else library.asarray(value)
    there = int(array.device.id)
    if there != here:
        raise error(
            f"{name} lies on GPU {there} and this thread's is GPU {here}: use it under cupy.cuda.Device({there}), or"
            " copy it to the other first"
        )
    stream().wait_event(current.record())
    whole = array if array.flags.c_contiguous else _copied(array, array.dtype)
    stream().synchronize()
    return Resident(whole.shape, whole.dtype, int(whole.data.ptr), here, whole, _HERE)


def _copied(array: Any, dtype: Any) -> Any:
    """A C-contiguous CuPy array of that dtype, made on the engine's stream."""
    with stream(), room(array.size * np.dtype(dtype).itemsize):
        return array.astype(dtype, order="C")


def resident(array: DeviceArray) -> Resident:
    """An array of the engine's own, once what is queued has written it."""
    stream().synchronize()
    device = int(cupy().cuda.runtime.getDevice())
    return Resident(array.shape, array.dtype, array.address, device, array, _HERE)


def placed(values: np.ndarray) -> Resident:
    """A NumPy array, copied to the device."""
    return resident(DeviceArray(values.shape, values.dtype, values))


def exported(array: Resident) -> Any:
    """A CuPy array over the memory of a Resident, which it keeps alive."""
    return cupy().ndarray(array.shape, array.dtype, _memory(array))


def free() -> int:
    """Bytes that can be had on the device."""
    device = probe()
    return 0 if isinstance(device, str) else device.free()


def _memory(array: Resident) -> Any:
    cuda = cupy().cuda
    return cuda.MemoryPointer(cuda.UnownedMemory(array.pointer, array.nbytes, array, array.device), 0)


@_there
def cast(array: Resident, dtype: Any) -> Resident:
    """The array in another type."""
    made = _copied(exported(array), dtype)
    stream().synchronize()
    return Resident(made.shape, made.dtype, int(made.data.ptr), array.device, made, _HERE)


def _parts(array: Resident, key: Any) -> list[np.ndarray]:
    """The rows, and the columns, that a key names, as numbers; 0-d for one."""
    every = *(key if isinstance(key, tuple) else (key,)), *[slice(None)] * array.ndim
    return [np.arange(size)[part] for size, part in zip(array.shape, every, strict=False)]


@told()
@_there
def fetch(array: Resident, key: Any) -> np.ndarray:
    """`array[key]` in host memory."""
    start, shape = 0, array.shape
    if key is not Ellipsis:
        rows = _parts(array, key)[0]
        if isinstance(key, tuple) or (np.diff(np.atleast_1d(rows)) != 1).any():
            out = picked(array, key).read()
            cells: np.ndarray = out[()]  # one cell is a number
            return cells
        start, shape = int(rows.flat[0]) if rows.size else 0, rows.shape + array.shape[1:]
    out = np.empty(shape, array.dtype)
    if out.size:
        memory = _memory(array) + (start * (array.nbytes // len(array)) if start else 0)
        memory.copy_to_host_async(out.ctypes.data, out.nbytes, stream())
        stream().synchronize()
    return out


@_there
def picked(array: Resident, key: Any) -> DeviceArray:
    """`array[key]`, on its device."""
    rows, *columns = _parts(array, key)
    across = columns[0] if columns else np.zeros((), np.int64)
    pairs = isinstance(key, tuple) and all(not isinstance(part, slice) for part in key)
    shape = np.broadcast_shapes(rows.shape, across.shape) if pairs else rows.shape + across.shape
    if pairs:
        rows, across = np.broadcast_arrays(rows, across)
    out = DeviceArray(shape, array.dtype)
    if out.size:
        n = array.shape[1] if columns else 1
        places = _sent(rows.ravel()), _sent(across.ravel())
        _run("bt_pick", rows.size, a=array, N=n, count=across.size, pairs=pairs, bytes=array.dtype.itemsize,
             rows=places[0], columns=places[1], out=out)  # fmt: skip
    return out


@_there
def part(array: Resident, key: Any) -> Resident:
    """`array[key]`, as an array of its own on its device."""
    return resident(picked(array, key))


def spread(array: Resident, times: np.ndarray, bars: np.ndarray) -> Resident:
    """The rows of some bars, in their order, as those of all bars; NaN at the others."""
    rows, out = np.full(len(bars), -1), DeviceArray((len(bars), array.shape[1]), array.dtype)
    rows[np.searchsorted(bars, times)] = np.arange(len(times))
    places = _sent(rows), _sent(np.arange(array.shape[1]))
    _run("bt_pick", len(bars), a=array, N=_shape(array)[1], count=array.shape[1], bytes=array.dtype.itemsize,
         rows=places[0], columns=places[1], out=out)  # fmt: skip
    return resident(out)


# --- looked at ---


@_there
def looked(
    array: _Array, low: float = -_INF, high: float = _INF, skip: tuple[float, float] = (_NAN, _NAN),
    beside: Sequence[_Array | None] | None = None,
) -> np.ndarray:  # fmt: skip
    """(T, 4) int32 in host memory, of each row: cells that are NaN; that lie in the closed range `skip`; others that
    are bad; and N less the first of these. Bad is what lies outside [low, high]; with `beside`, two panels or None,
    what is a number where none of these is."""
    (t, n), out = _shape(array), DeviceArray((array.shape[0], 4), np.int32, byte=0)
    b, c = beside or (None, None)
    _run("bt_look", t, a=array, b=b, c=c, N=n, alone=beside is not None, low=low, high=high, skip_low=skip[0],
         skip_high=skip[1], out=out)  # fmt: skip
    rows = out.read()
    if isinstance(array, Resident):
        array.missing = rows[:, 0]
    return rows


def missing(array: Resident) -> np.ndarray:
    """(T,) how many cells of each row are NaN; counted once, since nobody writes to the array."""
    return looked(array)[:, 0] if array.missing is None else array.missing


def _first(rows: np.ndarray, n: int) -> tuple[int, int] | None:
    """Row and column of the first bad cell."""
    bad = np.flatnonzero(rows[:, 2])
    return (int(bad[0]), n - int(rows[bad[0], 3])) if len(bad) else None


def first_outside(array: Resident, low: float, high: float) -> tuple[int, int] | None:
    """As gpu_bt.data.arrays.first_outside."""
    return _first(looked(array, low, high), array.shape[1])


def first_alone(array: Resident, beside: Sequence[Resident | None]) -> tuple[int, int] | None:
    """The first number of a panel where neither of two others has one."""
    return _first(looked(array, beside=beside), array.shape[1])


@_there
def cells(array: _Array, value: float) -> np.ndarray:
    """The cells that are numbers other than a value, in order: places in the flat array, in host memory."""
    counts = looked(array, value, value)[:, 2].astype(np.int64)
    out = DeviceArray(int(counts.sum()), np.int64)
    if out.size:
        starts = _sent(np.cumsum(counts) - counts)
        _run("bt_list", len(counts), a=array, N=_shape(array)[1], low=value, high=value, next=starts, out=out)
    return np.sort(out.read())


def columns_to_look_at(fields: Mapping[str, Any], near: float, leap: float, jump: float, apart: float,
                       sample: np.ndarray) -> np.ndarray:  # fmt: skip
    """The assets of a panel of which gpu_bt.data.sanity may have something to say."""
    close = fields["close"]
    t, n = close.shape
    flags, rows = DeviceArray(n, np.uint8, byte=0), _sent(sample)
    _run("bt_suspect", t, a=close, b=fields.get("open"), c=fields.get("high"), d=fields.get("low"), N=n, out=flags,
         e=fields.get("dividend"), near=near, leap=leap, jump=jump)  # fmt: skip
    _run("bt_apart", _columns(close), a=close, b=fields.get("open"), N=n, rows=rows, count=len(sample), value=apart,
         out=flags)  # fmt: skip
    return np.flatnonzero(flags.read())


# --- copied with changes ---


@_there
def replaced(array: Resident, low: float, high: float, value: float) -> tuple[Resident, int]:
    """As gpu_bt.data.arrays.replaced."""
    count = int((missing(array) if math.isnan(low) else looked(array, skip=(low, high))[:, 1]).sum())
    if not count:
        return array, 0
    out = DeviceArray(array.shape, array.dtype)
    _run("bt_replace", array.shape[0], a=array, N=_shape(array)[1], skip_low=low, skip_high=high, value=value, out=out)
    return resident(out), count


def scaled(array: _Array, unit: np.ndarray, start: int, stop: int) -> DeviceArray:
    """Rows [start, stop) as float64, each asset times its (N,) unit."""
    out = DeviceArray((stop - start, _shape(array)[1]), np.float64)
    _run("bt_scale", stop - start, a=array, N=_shape(array)[1], unit=_sent(unit, np.float64), out=out, **{"from": start})
    return out


def marked(close: _Array, open: _Array | None, split: _Array | None, unit: np.ndarray, before: np.ndarray, start: int,
           stop: int) -> DeviceArray:  # fmt: skip
    """[S5] Rows [start, stop) of the marks per lot. before: (N,) those carried into the first bar."""
    out = DeviceArray((stop - start, _shape(close)[1]), np.float64)
    units, befores = _sent(unit, np.float64), _sent(before, np.float64)
    _run("bt_marks", _columns(close), a=close, b=open, d=split, T=stop, N=_shape(close)[1], unit=units, before=befores,
         out=out, **{"from": start})  # fmt: skip
    return out


@_there
def silent(close: _Array, open: _Array | None, new: np.ndarray, before: np.ndarray, count: int) -> np.ndarray:
    """[S3] The cells, in order, at which the count-th new date without a close or an open comes. new: (T,) bool, of
    another date than the bar before.   before: (N,) such dates before the first bar."""
    dates, run, room = _sent(new), _sent(before), 1 << 10
    while True:
        out, found = DeviceArray(room, np.int64), DeviceArray(1, np.int64, byte=0)
        _run("bt_silent", _columns(close), a=close, b=open, T=close.shape[0], N=_shape(close)[1], rows=dates, before=run,
             count=count, room=room, next=found, out=out)  # fmt: skip
        many = int(found.read()[0])
        if many <= room:
            return np.sort(out.read(0, many)) if many else np.zeros(0, np.int64)
        room = many
