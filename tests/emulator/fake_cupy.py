# SPDX-License-Identifier: Apache-2.0
"""What gpu_bt.cuda asks of CuPy, on the CPU: device memory is host memory, kernels run on the shim.

    with installed(FakeCupy(order="reversed")): ...           # gpu_bt.cuda then finds this "device"

Streams are as lazy as they may be: what is queued on one runs when it, or an event of it, is waited for, so that work
which wrongly relies on another stream's comes too early. `bytes_total` bounds the memory; `fail_at` makes the n-th
allocation fail, once, and `fail_launch` the n-th launch, as where the device has no room for its local memory. With
`sanitizer`, launches run in a process of its own on copies of all memory; there a lane of several scenarios keeps
pointers of one launch for the next only where addresses do not change from process to process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from emulator.build import build, launch
from emulator.fake_arrays import Array

from gpu_bt.cuda import arrays, device, engine, module
from gpu_bt.law.layout import LAUNCH

IN_MEMORY = "CUPY_CACHE_IN_MEMORY"
__all__ = ["FakeCupy", "OutOfMemoryError", "installed"]


class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CUDADriverError(CUDARuntimeError):
    """cupy.cuda.driver.CUDADriverError; in CuPy the two are not related."""


class Memory:
    """cupy.cuda.MemoryPointer over bytes that hold garbage until they are written."""

    def __init__(self, owner: FakeCupy, size: int, start: int = 0, data: np.ndarray | None = None) -> None:
        self.owner, self.size, self.start = owner, size, start
        self.data = np.full(size, 0xA5, np.uint8) if data is None else data
        self.root = data is None
        if self.root:
            owner.live[id(self)] = weakref.ref(self)
            owner.used += size
            owner.peak = max(owner.peak, owner.used)

    def __del__(self) -> None:
        if self.root:
            del self.owner.live[id(self)]
            self.owner.used -= self.size

    def __add__(self, offset: int) -> Memory:
        moved = Memory(self.owner, self.size, self.start + offset, self.data)
        moved.kept = self
        return moved

    @property
    def ptr(self) -> int:
        return self.data.ctypes.data + self.start

    def _check(self, size: int) -> None:
        if self.start + size > self.size:
            raise ValueError(f"{size} bytes at {self.start} of {self.size}")

    def _put(self, source: int, size: int) -> None:
        ctypes.memmove(self.ptr, source, size)
        self.owner.sent.append(size)

    def copy_from_host(self, source: int, size: int) -> None:
        self._check(size)
        self.owner.legacy.synchronize()
        self._put(source, size)

    def copy_from_host_async(self, source: int, size: int, stream: Stream | None = None) -> None:
        self._check(size)
        self.owner.queue(stream, lambda: self._put(source, size))

    def _get(self, target: int, size: int) -> None:
        ctypes.memmove(target, self.ptr, size)
        self.owner.fetched.append(size)

    def copy_to_host(self, target: int, size: int) -> None:
        self._check(size)
        self.owner.legacy.synchronize()
        self._get(target, size)

    def copy_to_host_async(self, target: int, size: int, stream: Stream | None = None) -> None:
        self._check(size)
        self.owner.queue(stream, lambda: self._get(target, size))

    def memset(self, value: int, size: int) -> None:
        self.memset_async(value, size, self.owner.legacy)

    def memset_async(self, value: int, size: int, stream: Stream | None = None) -> None:
        self._check(size)
        self.owner.queue(stream, lambda: ctypes.memset(self.ptr, value, size))


class Unowned:
    """cupy.cuda.UnownedMemory."""

    def __init__(self, ptr: int, size: int, owner: Any, device: int = 0) -> None:
        self.ptr, self.size, self.owner, self.device = ptr, size, owner, device

    def pointer(self, owner: FakeCupy) -> Memory:
        data = (
            np.frombuffer((ctypes.c_uint8 * self.size).from_address(self.ptr), np.uint8)
            if self.size
            else np.zeros(0, np.uint8)
        )
        memory = Memory(owner, self.size, 0, data)
        memory.kept = self
        return memory


class Stream:
    """cupy.cuda.Stream: as late as can be, so that a buffer written again too early shows."""

    def __init__(self, owner: FakeCupy, non_blocking: bool = False) -> None:
        self.owner, self.non_blocking = owner, non_blocking
        self.waiting: list[Any] = []
        self.ptr = 64 * len(owner.streams)  # the legacy one is 0
        owner.streams[self.ptr] = self

    def __enter__(self) -> Stream:
        self.owner.current.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self.owner.current.pop()

    def run(self, count: int) -> None:
        for _ in range(count):
            self.waiting.pop(0)()

    def synchronize(self) -> None:
        self.run(len(self.waiting))

    def record(self) -> Event:
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self.waiting.append(event.synchronize)


class Event:
    """cupy.cuda.Event, recorded before or not."""

    def __init__(self, disable_timing: bool = False) -> None:
        self.last: tuple[Stream, Any] | None = None

    def record(self, stream: Stream) -> None:
        self.last = (stream, stream.waiting[-1]) if stream.waiting else None

    def synchronize(self) -> None:
        if self.last is not None and self.last[1] in self.last[0].waiting:
            self.last[0].run(self.last[0].waiting.index(self.last[1]) + 1)


class Kernel:
    """A function of a RawModule."""

    def __init__(self, owner: FakeCupy, library: Any, name: str, defines: dict[str, str]) -> None:
        self.owner, self.compiled, self.name, self.defines = owner, library, name, defines
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(
        self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0, stream: Stream | None = None
    ) -> None:
        owner = self.owner
        if shared_mem > min(self.max_dynamic_shared_size_bytes, owner.shared) or block[0] % 32 or block[0] > 512:
            raise ValueError(f"a launch of {block} threads with {shared_mem} bytes of shared memory")
        owner.launched += 1
        if owner.launched == owner.fail_launch:
            raise CUDADriverError(2, "CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        (address,) = args
        owner.launches.append((self.defines, grid[0], block[0], shared_mem))
        seed = len(owner.launches)

        def run() -> None:
            # the struct that a kernel's argument points to, as the shim wants it: by value
            size = LAUNCH.itemsize if self.name == "bt_bars" else arrays.CALL.itemsize
            image = bytes((ctypes.c_uint8 * size).from_address(int(address)))
            memory = owner.memory() if self.compiled.isolated else []
            launch(self.compiled, self.name, grid[0], block[0], shared_mem, image, order=owner.order, mode=owner.mode,
                   seed=seed, arrays=memory)  # fmt: skip

        owner.queue(stream, run)


class FakeCupy:
    """The module."""

    def __init__(self, order: str = "forward", mode: str = "fibers", bytes_total: int = 1 << 40, fail_at: int = 0,
                 shared: int = 227 * 1024, processors: int = 4, text: str | None = None,
                 sanitizer: str | None = None, fail_launch: int = 0) -> None:  # fmt: skip
        self.fail_launch, self.launched, self.__version__ = fail_launch, 0, "emulated"
        self.streams: dict[int, Stream] = {}
        self.device = 0
        self.legacy = Stream(self)
        #: Streams that were made current, the last one on top.
        self.current = [self.legacy]
        #: Of each allocation: the stream that was current.
        self.allocated_on: list[Stream] = []
        self.order, self.mode, self.total, self.fail_at, self.text = order, mode, bytes_total, fail_at, text
        self.shared, self.sanitizer = shared, sanitizer
        self.used = self.peak = self.allocations = 0
        self.live: dict[int, weakref.ref[Memory]] = {}
        #: Of each launch: the macros of its kernel, blocks, threads, bytes of shared memory.
        self.launches: list[tuple[dict[str, str], int, int, int]] = []
        self.options: list[tuple[str, ...]] = []
        #: Bytes of each copy to the device, and of each from there.
        self.sent: list[int] = []
        self.fetched: list[int] = []
        properties = {"name": b"emulated", "major": 9, "minor": 0, "multiProcessorCount": processors,
                      "sharedMemPerBlockOptin": shared}  # fmt: skip
        runtime = SimpleNamespace(
            getDeviceCount=lambda: 1, getDevice=lambda: self.device, getDeviceProperties=lambda number: properties,
            memGetInfo=lambda: (self.total - self.used, self.total), CUDARuntimeError=CUDARuntimeError,
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, alloc=self.alloc, get_current_stream=lambda: self.current[-1],
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError), Event=Event, alloc_pinned_memory=bytearray,
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError), nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
            Device=self.entered, UnownedMemory=Unowned,
            MemoryPointer=lambda memory, offset: memory.pointer(self) + offset,
        )  # fmt: skip

    def ndarray(self, shape: tuple, dtype: Any, memptr: Memory | None = None, strides: Any = None) -> Array:
        memptr = memptr or self.alloc(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return Array(self, memptr, shape, np.dtype(dtype), strides)

    def from_dlpack(self, value: Any) -> Array:
        """As CuPy: the producer is told the current stream, and makes it wait."""
        kind, number = value.__dlpack_device__()
        if kind not in (2, 13):
            raise TypeError("CPU arrays cannot be directly imported to CuPy.")
        pointer, size, shape, dtype, strides = value.__dlpack__(stream=self.current[-1].ptr or 1, max_version=(1, 1))
        memory = Unowned(pointer, size, value, number).pointer(self)
        found = Array(self, memory, shape, dtype, strides)
        found.device.id = number
        return found

    def asarray(self, value: Any) -> Array:
        """As CuPy: of its own the same, else by the CUDA array interface, whose stream is waited for at once."""
        if isinstance(value, Array):
            return value
        told = value.__cuda_array_interface__
        if told.get("mask") is not None:
            raise ValueError("CuPy currently does not support masked arrays.")
        if told.get("stream") is not None:
            self.streams[told["stream"] if told["stream"] > 2 else 0].synchronize()
        dtype = np.dtype(told["typestr"])
        size = int(np.prod(told["shape"])) * dtype.itemsize
        if told.get("strides"):
            size = max(abs(a * b) for a, b in zip(told["shape"], told["strides"], strict=True))
        memory = Unowned(told["data"][0], size, value).pointer(self)
        return Array(self, memory, told["shape"], dtype, told.get("strides"))

    @contextlib.contextmanager
    def entered(self, number: int) -> Iterator[None]:
        """cupy.cuda.Device: whatever its number, the memory is that of the one."""
        before, self.device = self.device, number
        yield
        self.device = before

    def queue(self, stream: Stream | None, work: Any) -> None:
        """Behind what the stream, or the current one, has to do."""
        (self.current[-1] if stream is None else stream).waiting.append(work)

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: None)

    def alloc(self, size: int) -> Memory:
        self.allocations += 1
        self.allocated_on.append(self.current[-1])
        if self.allocations == self.fail_at or self.used + size > self.total:
            raise OutOfMemoryError(f"{size} bytes")
        return Memory(self, size)

    def memory(self) -> list[np.ndarray]:
        """All that is allocated; of dtype uint64 where it holds addresses."""
        arrays = sorted((m.data for ref in self.live.values() if (m := ref())), key=lambda a: a.ctypes.data)
        starts = np.array([a.ctypes.data for a in arrays], np.uint64)
        sizes = np.array([a.nbytes for a in arrays], np.uint64)
        for i, a in enumerate(arrays):
            if a.nbytes % 8 == 0 and a.nbytes < 1 << 16:
                words = a.view(np.uint64)
                at = np.searchsorted(starts, words, "right") - 1
                if ((at >= 0) & (words - starts[at] < sizes[at])).any():
                    arrays[i] = words
        return arrays

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str) -> Any:
        if backend != "nvrtc" or "--fmad=false" not in options:
            raise ValueError(f"RawModule with {options} and {backend!r}")
        self.options.append(options)
        defines = dict(option[2:].split("=") for option in options if option.startswith("-D"))
        library = build(self.text or code, defines=defines, sanitizer=self.sanitizer)
        return SimpleNamespace(get_function=lambda name: Kernel(self, library, name, defines))


@contextlib.contextmanager
def installed(fake: Any) -> Iterator[Any]:
    """gpu_bt.cuda works with this CuPy, or with this function that raises where CuPy would be imported. Nothing
    compiled is said to be kept, unless CUPY_CACHE_IN_MEMORY says 0."""
    parts, before = (arrays, device, engine), device.cupy
    ours = IN_MEMORY not in os.environ
    os.environ.setdefault(IN_MEMORY, "1")
    module.kernel.cache_clear()
    try:
        for part in parts:
            part.cupy = fake if callable(fake) else lambda: fake
        yield fake
    finally:
        for part in parts:
            part.cupy = before
        module.kernel.cache_clear()
        device._stream.cache_clear()
        if ours:
            os.environ.pop(IN_MEMORY, None)
