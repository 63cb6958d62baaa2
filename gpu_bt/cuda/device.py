# SPDX-License-Identifier: Apache-2.0
"""The device: whether there is one, what it offers, arrays in its memory.

Copies, fills and launches of the engine are queued on one stream of its own, so that each comes after those before it
whatever stream is current. It never waits for what others have queued, since it takes nothing from them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_bt.cuda.reasons import INSTALL, NO_MEMORY, hidden, line_of, no_device, status_of, stopped, way_in
from gpu_bt.engine.spec import Broken
from gpu_bt.errors import EngineUnavailable

__all__ = [
    "Device", "DeviceArray", "cupy", "driver_errors", "out_of_memory", "probe", "room", "stream", "told",
]  # fmt: skip

#: Atomic addition of doubles needs 6.0; NVRTC of CUDA 13 compiles for 7.5 and later.
_OLDEST = 60
#: Bytes of each of two page-locked buffers: one is filled while the other is on its way to the device.
_STAGE = 1 << 24
#: Before it CuPy lacks some of what the engine asks; with CUDA 13, NVRTC does not compile for older devices.
_OLDEST_CUPY, _OLDEST_OF_13 = 14, 75


@functools.cache
def cupy() -> Any:
    """CuPy, imported when first needed."""
    return importlib.import_module("cupy")


def stream() -> Any:
    """The engine's stream on the current device."""
    return _stream(cupy(), int(cupy().cuda.runtime.getDevice()))


@functools.cache
def _stream(library: Any, device: int) -> Any:
    """One for each device, kept by the cache."""
    return library.cuda.Stream(non_blocking=True)


def out_of_memory(exc: Exception) -> bool:
    """Whether an error says that memory ran out: CuPy's own of an allocation, or the driver's, as where a first launch
    finds no room for the local memory of its threads."""
    driver = isinstance(exc, driver_errors()) and status_of(exc) == NO_MEMORY
    return driver or isinstance(exc, cupy().cuda.memory.OutOfMemoryError)


def driver_errors() -> tuple[type[Exception], ...]:
    """The errors of the driver, as CuPy raises them."""
    return cupy().cuda.driver.CUDADriverError, cupy().cuda.runtime.CUDARuntimeError


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """An allocation of so many bytes: where it fails, the library's error says what to do."""
    try:
        yield
    except Exception as exc:
        if out_of_memory(exc):
            way_out = "free some of it, use smaller arrays, or pass them from the host, as in array.get()"
            exc.args = (f"the GPU has no room for {size:,} bytes: {way_out}",)
        raise


@contextlib.contextmanager
def told() -> Iterator[None]:
    """A block or function in which an error of the driver's is an EngineUnavailable, unless memory has run out: after
    most of them the process cannot use the device any more."""
    try:
        yield
    except Exception as exc:
        if not isinstance(exc, driver_errors()) or out_of_memory(exc):
            raise
        raise EngineUnavailable(stopped(exc)) from exc


@dataclasses.dataclass(frozen=True)
class Device:
    """number; name; capability, such as 90; processors; shared: bytes of shared memory
    that one block may have."""

    number: int
    name: str
    capability: int
    processors: int
    shared: int

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A block that works on it, whatever device was current, with the driver's errors `told`."""
        with told(), cupy().cuda.Device(self.number):
            yield

    def free(self) -> int:
        """Bytes that can be had: those of the driver and those that CuPy keeps for reuse."""
        pool = cupy().get_default_memory_pool()
        return int(cupy().cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())


def probe() -> Device | str:
    """The current device, or why there is none; Broken where something is there that ought to work."""
    try:
        library = cupy()
        runtime = library.cuda.runtime
    except ModuleNotFoundError as exc:
        if exc.name == "cupy":
            return f"cupy is not installed ({INSTALL})"
        return Broken(f"CuPy cannot be imported: {exc.name} is not installed ({INSTALL})")
    except Exception as exc:  # such as a CuPy whose CUDA libraries do not load
        return Broken(f"CuPy cannot be imported: {line_of(exc)}; {way_in(exc)}")
    version = re.match(r"\d+", str(library.__version__))
    if version and int(version[0]) < _OLDEST_CUPY:
        return Broken(f"CuPy {library.__version__} is older than {_OLDEST_CUPY}: {INSTALL}")
    try:
        found = _device(runtime)
    except Exception as exc:  # CUDARuntimeError: no driver, or one too old
        return no_device(runtime, exc)
    if isinstance(found, str):
        return found
    try:
        major, minor = library.cuda.nvrtc.getVersion()
    except Exception as exc:  # NVRTC is a package of its own, which CuPy looks for when it is asked
        return Broken(f"CuPy finds no compiler ({INSTALL}): {line_of(exc)}")
    if found.capability < _OLDEST:
        return f"{found.name} has compute capability {found.capability / 10}; {_OLDEST / 10} is the least"
    if found.capability < _OLDEST_OF_13 and major >= 13:
        return Broken(
            f"{found.name} has compute capability {found.capability / 10}, and NVRTC {major}.{minor} compiles for"
            f" {_OLDEST_OF_13 / 10} and later: install CuPy for CUDA 12 (pip install 'cupy-cuda12x[ctk]')"
        )
    return found


def _device(runtime: Any) -> Device | str:
    """The current device; why there is none where the driver counts none."""
    if not runtime.getDeviceCount():
        return hidden()
    number = int(runtime.getDevice())
    found = runtime.getDeviceProperties(number)
    name = found["name"].decode() if isinstance(found["name"], bytes) else str(found["name"])
    return Device(number, name, 10 * found["major"] + found["minor"], int(found["multiProcessorCount"]),
                  int(found["sharedMemPerBlockOptin"]))  # fmt: skip


def _upload(memory: Any, values: np.ndarray) -> None:
    """Copy bytes to the device through page-locked memory; pageable memory would be copied twice."""
    cuda, ours = cupy().cuda, stream()
    stages = [np.frombuffer(cuda.alloc_pinned_memory(_STAGE), np.uint8, _STAGE) for _ in range(2)]
    events = [cuda.Event(disable_timing=True) for _ in stages]
    for i, start in enumerate(range(0, len(values), _STAGE)):
        piece, stage, event = values[start : start + _STAGE], stages[i % 2], events[i % 2]
        event.synchronize()  # what was in this buffer has arrived; at once where it held nothing
        stage[: len(piece)] = piece
        (memory + start).copy_from_host_async(stage.ctypes.data, len(piece), ours)
        event.record(ours)
    ours.synchronize()


class DeviceArray:
    """An array in device memory: only its bytes are there, dtype and shape stay here. C-contiguous by construction."""

    def __init__(self, shape: Any, dtype: Any, values: np.ndarray | None = None, byte: int | None = None) -> None:
        self.dtype, self.shape = np.dtype(dtype), (shape,) if isinstance(shape, int) else tuple(shape)
        self.size = int(np.prod(self.shape))
        self.before = 0  # bytes of what precedes it and is not here
        size = max(1, self.size * self.dtype.itemsize)
        # CuPy gives memory that is freed to who allocates under the same stream, and to nobody else.
        with stream(), room(size):
            self.memory = cupy().cuda.alloc(size)
        if values is not None:
            self.write(values)
        elif byte is not None:
            self.clear(byte)

    @property
    def address(self) -> int:
        """Where it begins, on the device."""
        return int(self.memory.ptr) - self.before

    def clear(self, byte: int = 0) -> None:
        """Set every byte."""
        if self.size:
            self.memory.memset_async(byte, self.size * self.dtype.itemsize, stream())

    def write(self, values: np.ndarray) -> None:
        """Copy a NumPy array of the same dtype and shape here."""
        if values.dtype != self.dtype or values.shape != self.shape or not values.flags.c_contiguous:
            raise TypeError(
                f"a C-contiguous array of {self.dtype} {self.shape} is wanted, not of {values.dtype} {values.shape}"
            )
        if values.nbytes > _STAGE:
            _upload(self.memory, values.reshape(-1).view(np.uint8))
        elif self.size:
            self.memory.copy_from_host_async(values.ctypes.data, values.nbytes, stream())
            stream().synchronize()  # the caller may write to the values again

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The NumPy array, or entries [start, stop) of its flat form."""
        whole = start == 0 and stop is None
        out = np.empty(self.shape if whole else (stop or self.size) - start, self.dtype)
        if out.size:
            memory = self.memory + start * self.dtype.itemsize
            memory.copy_to_host_async(out.ctypes.data, out.nbytes, stream())
            stream().synchronize()
        return out
