# SPDX-License-Identifier: Apache-2.0
"""What gpu_bt.cuda asks of CuPy, on the CPU: device memory is host memory, kernels run on the shim.

    with installed(FakeCupy(order="reversed")): ...           # gpu_bt.cuda then finds this "device"

Streams are as lazy as they may be: what is queued on one runs when it, or an event of it, is waited for, so that work
which wrongly relies on another stream's comes too early. `bytes_total` bounds the memory; `fail_at` makes the n-th
allocation fail, once, and `fail_launch` the n-th launch, as where the device has no room for its local memory: or with
`status`, another of the driver's errors, from then on. `devices` have memory and streams of their own, in the order of
CUDA_VISIBLE_DEVICES, and the current one is the thread's: a copy or a launch that mixes them is an error. With
`sanitizer`, launches run in a process of its own on copies of all memory; there a lane of several scenarios keeps
pointers of one launch for the next only where addresses do not change from process to process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from emulator.build import build, launch
from emulator.fake_arrays import Array

from gpu_bt.cuda import arrays, device, engine, lanes, module, plain, views
from gpu_bt.law.layout import LAUNCH

#: Threads launch one after another: the shim has no blocks beside those of a launch.
_ONE = threading.RLock()
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
        self.owner, self.size, self.start, self.device = owner, size, start, owner.device()
        self.data = np.full(size, 0xA5, np.uint8) if data is None else data
        self.root = data is None
        if self.root:
            owner.live[id(self)] = weakref.ref(self)
            owner.used += size
            owner.held[self.device] += size
            owner.peak = max(owner.peak, owner.used)

    def __del__(self) -> None:
        if self.root:
            del self.owner.live[id(self)]
            self.owner.used -= self.size
            self.owner.held[self.device] -= self.size

    def __add__(self, offset: int) -> Memory:
        moved = Memory(self.owner, self.size, self.start + offset, self.data)
        moved.kept, moved.device = self, self.device
        return moved

    @property
    def ptr(self) -> int:
        return self.data.ctypes.data + self.start

    def _check(self, size: int) -> None:
        self.owner.here(self.device)
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

    def copy_from_device_async(self, source: Memory, size: int, stream: Stream | None = None) -> None:
        self._check(size)
        source._check(size)
        self.owner.queue(stream, lambda: ctypes.memmove(self.ptr, source.ptr, size))

    def memset(self, value: int, size: int) -> None:
        self.memset_async(value, size, self.owner.legacy)

    def memset_async(self, value: int, size: int, stream: Stream | None = None) -> None:
        self._check(size)
        self.owner.queue(stream, lambda: ctypes.memset(self.ptr, value, size))


class Unowned:
    """cupy.cuda.UnownedMemory."""

    def __init__(self, ptr: int, size: int, owner: Any, device: int | None = None) -> None:
        self.ptr, self.size, self.owner, self.device = ptr, size, owner, device

    def pointer(self, owner: FakeCupy) -> Memory:
        data = (
            np.frombuffer((ctypes.c_uint8 * self.size).from_address(self.ptr), np.uint8)
            if self.size
            else np.zeros(0, np.uint8)
        )
        memory = Memory(owner, self.size, 0, data)
        memory.kept, memory.device = self, memory.device if self.device is None else self.device
        return memory


class Stream:
    """cupy.cuda.Stream: as late as can be, so that a buffer written again too early shows."""

    def __init__(self, owner: FakeCupy, non_blocking: bool = False) -> None:
        self.owner, self.non_blocking, self.device = owner, non_blocking, owner.device()
        self.waiting: list[Any] = []
        self.ptr = 64 * len(owner.streams)  # the legacy one is 0
        owner.streams[self.ptr] = self

    def __enter__(self) -> Stream:
        self.owner.current.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self.owner.current.pop()

    def run(self, count: int) -> None:
        with _ONE:
            for _ in range(min(count, len(self.waiting))):
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
        with _ONE:
            self.last = (stream, stream.waiting[-1]) if stream.waiting else None

    def synchronize(self) -> None:
        if self.last is not None and self.last[1] in self.last[0].waiting:
            self.last[0].run(self.last[0].waiting.index(self.last[1]) + 1)


class Device:
    """cupy.cuda.Device."""

    def __init__(self, owner: FakeCupy, number: int) -> None:
        self.owner, self.id, self.before = owner, int(number), list[int]()

    def use(self) -> Device:
        self.owner.use(self.id)
        return self

    def __enter__(self) -> Device:
        self.before.append(self.owner.device())
        return self.use()

    def __exit__(self, *_: Any) -> None:
        self.owner.use(self.before.pop())


class Kernel:
    """A function of a RawModule."""

    def __init__(self, owner: FakeCupy, library: Any, name: str, defines: dict[str, str]) -> None:
        self.owner, self.compiled, self.name, self.defines = owner, library, name, defines
        self.shared = dict.fromkeys(range(owner.devices), 48 * 1024)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self.shared[self.owner.device()]

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self.shared[self.owner.device()] = size

    def __call__(
        self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0, stream: Stream | None = None
    ) -> None:
        owner = self.owner
        if shared_mem > min(self.max_dynamic_shared_size_bytes, owner.shared) or block[0] % 32 or block[0] > 512:
            raise ValueError(f"a launch of {block} threads with {shared_mem} bytes of shared memory")
        owner.launched += 1
        if owner.launched == owner.fail_launch:
            owner.lost = "" if owner.status == 2 else f"CUDA_ERROR_{owner.status}: the device does not answer"
            raise CUDADriverError(owner.status, owner.lost or "CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        (address,) = args
        owner.launches.append((self.defines, grid[0], block[0], shared_mem))
        owner.launched_on.append(owner.device())
        seed = len(owner.launches)

        def run() -> None:
            # the struct that a kernel's argument points to, as the shim wants it: by value
            owner.reach(int(address), stream)
            size = LAUNCH.itemsize if self.name in ("bt_bars", "bt_plan") else arrays.CALL.itemsize
            image = bytes((ctypes.c_uint8 * size).from_address(int(address)))
            memory = owner.memory() if self.compiled.isolated else []
            launch(self.compiled, self.name, grid[0], block[0], shared_mem, image, order=owner.order, mode=owner.mode,
                   seed=seed, arrays=memory)  # fmt: skip

        owner.queue(stream, run)


class FakeCupy:
    """The module."""

    def __init__(self, order: str = "forward", mode: str = "fibers", bytes_total: int = 1 << 40, fail_at: int = 0,
                 shared: int = 227 * 1024, processors: int = 4, text: str | None = None,
                 sanitizer: str | None = None, fail_launch: int = 0, devices: int = 1,
                 status: int = 2) -> None:  # fmt: skip
        self.status, self.lost = status, ""
        self.devices, self.mine, self.held = devices, threading.local(), [0] * devices
        self.fail_launch, self.launched, self.__version__ = fail_launch, 0, "emulated"
        self.streams: dict[int, Stream] = {}
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
        #: Of each launch: its device.
        self.launched_on: list[int] = []
        self.options: list[tuple[str, ...]] = []
        #: Bytes of each copy to the device, and of each from there.
        self.sent: list[int] = []
        self.fetched: list[int] = []
        properties = {"name": b"emulated", "major": 9, "minor": 0, "multiProcessorCount": processors,
                      "sharedMemPerBlockOptin": shared}  # fmt: skip
        runtime = SimpleNamespace(
            getDeviceCount=lambda: devices, getDevice=self.device, setDevice=self.use,
            getDeviceProperties=lambda number: properties, deviceGetPCIBusId=self.bus, driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
            memGetInfo=lambda: (self.total - self.held[self.device()], self.total), CUDARuntimeError=CUDARuntimeError,
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, alloc=self.alloc, Device=lambda number: Device(self, number),
            get_current_stream=lambda: self.current[-1],
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError), Event=Event, alloc_pinned_memory=bytearray,
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError), nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
            UnownedMemory=Unowned,
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
        found = [m for ref in self.live.values() if (m := ref()) and m.ptr <= told["data"][0] < m.ptr + m.size]
        memory = Unowned(told["data"][0], size, value, found[0].device if found else None).pointer(self)
        return Array(self, memory, told["shape"], dtype, told.get("strides"))

    def queue(self, stream: Stream | None, work: Any) -> None:
        """Behind what the stream, or the current one, has to do."""
        if stream is not None and stream is not self.legacy:
            self.here(stream.device)
        (self.current[-1] if stream is None else stream).waiting.append(work)

    def device(self) -> int:
        """The current device of this thread."""
        return getattr(self.mine, "device", 0)

    def use(self, number: int) -> None:
        if not 0 <= number < self.devices:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self.mine.device = number

    def bus(self, number: int) -> str:
        """Which it is, whatever number CUDA_VISIBLE_DEVICES gives it."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES") if self.devices > 1 else None
        return f"0000:{int(shown.split(',')[number]) if shown else number:02X}:00.0"

    def here(self, device: int) -> None:
        """What belongs to a device is touched while it is the current one."""
        if self.lost:
            raise CUDARuntimeError(self.status, self.lost)
        if device != self.device():
            raise CUDARuntimeError(400, f"cudaErrorInvalidResourceHandle: of device {device}, not {self.device()}")

    def reach(self, address: int, stream: Stream | None) -> None:
        """Whatever a launch finds from an address on lies on its device."""
        if self.devices == 1:
            return
        found = sorted((memory for ref in self.live.values() if (memory := ref())), key=lambda memory: memory.ptr)
        starts = np.array([memory.ptr for memory in found], np.uint64)
        ends = starts + np.array([memory.size for memory in found], np.uint64)
        todo, seen, device = [np.array([address], np.uint64)], set[int](), stream.device if stream else self.device()
        while todo:
            words = todo.pop()
            at = np.searchsorted(starts, words, "right") - 1
            for i in set(at[(at >= 0) & (words < ends[at])].tolist()) - seen:
                seen.add(i)
                if found[i].device != device:
                    raise CUDADriverError(700, "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")
                if found[i].size % 8 == 0 and found[i].size < 1 << 16:
                    todo.append(found[i].data.view(np.uint64))

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: None)

    def alloc(self, size: int) -> Memory:
        self.here(self.device())
        self.allocations += 1
        self.allocated_on.append(self.current[-1])
        if self.allocations == self.fail_at or self.held[self.device()] + size > self.total:
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
    parts, before = (arrays, device, engine, lanes, plain, views), device.cupy
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
