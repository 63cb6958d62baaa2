# SPDX-License-Identifier: Apache-2.0
"""What gpu_bt.cuda asks of CuPy, on the CPU: device memory is host memory out of NumPy's sight, kernels run on the shim.

    with installed(FakeCupy(order="reversed")): ...           # gpu_bt.cuda then finds this "device"

`bytes_total` bounds the memory; `fail_at` makes the n-th allocation fail, once.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from emulator.build import build, launch

from gpu_bt.cuda import device, module

__all__ = ["FakeCupy", "OutOfMemoryError", "installed"]


class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class Memory:
    """cupy.cuda.MemoryPointer over bytes that hold garbage until they are written."""

    def __init__(self, owner: FakeCupy, size: int, start: int = 0, data: np.ndarray | None = None) -> None:
        self.owner, self.size, self.start = owner, size, start
        self.data = np.full(size, 0xA5, np.uint8) if data is None else data
        self.root = data is None
        if self.root:
            owner.used += size
            owner.peak = max(owner.peak, owner.used)

    def __del__(self) -> None:
        if self.root:
            self.owner.used -= self.size

    def __add__(self, offset: int) -> Memory:
        return Memory(self.owner, self.size, self.start + offset, self.data)

    @property
    def ptr(self) -> int:
        return self.data.ctypes.data + self.start

    def _check(self, size: int) -> None:
        if self.start + size > self.size:
            raise ValueError(f"{size} bytes at {self.start} of {self.size}")

    def copy_from_host(self, source: int, size: int) -> None:
        self._check(size)
        ctypes.memmove(self.ptr, source, size)

    def copy_to_host(self, target: int, size: int) -> None:
        self._check(size)
        ctypes.memmove(target, self.ptr, size)

    def memset(self, value: int, size: int) -> None:
        self._check(size)
        ctypes.memset(self.ptr, value, size)


class Kernel:
    """A function of a RawModule."""

    def __init__(self, owner: FakeCupy, library: Any, name: str) -> None:
        self.owner, self.library, self.name = owner, library, name
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes or block[0] % 32 or block[0] > 1024:
            raise ValueError(f"a launch of {block} threads with {shared_mem} bytes of shared memory")
        (address,) = args
        # the struct that a kernel's argument points to, as the shim wants it: by value
        image = (ctypes.c_uint8 * 64).from_address(int(address))
        self.owner.launches.append((self.name, grid[0], block[0], shared_mem))
        launch(self.library, self.name, grid[0], block[0], shared_mem, bytes(image), order=self.owner.order,
               mode=self.owner.mode, seed=len(self.owner.launches))  # fmt: skip


class FakeCupy:
    """The module."""

    def __init__(self, order: str = "forward", mode: str = "fibers", bytes_total: int = 1 << 40, fail_at: int = 0,
                 shared: int = 227 * 1024, processors: int = 4, text: str | None = None) -> None:  # fmt: skip
        self.order, self.mode, self.total, self.fail_at, self.text = order, mode, bytes_total, fail_at, text
        self.used = self.peak = self.allocations = 0
        self.launches: list[tuple[str, int, int, int]] = []
        properties = {"name": b"emulated", "major": 9, "minor": 0, "multiProcessorCount": processors,
                      "sharedMemPerBlockOptin": shared}  # fmt: skip
        runtime = SimpleNamespace(
            getDeviceCount=lambda: 1, getDevice=lambda: 0, getDeviceProperties=lambda number: properties,
            memGetInfo=lambda: (self.total - self.used, self.total),
        )  # fmt: skip
        stream = SimpleNamespace(synchronize=lambda: None)
        self.cuda = SimpleNamespace(
            runtime=runtime, alloc=self.alloc, get_current_stream=lambda: stream,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        )  # fmt: skip

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: None)

    def alloc(self, size: int) -> Memory:
        self.allocations += 1
        if self.allocations == self.fail_at or self.used + size > self.total:
            raise OutOfMemoryError(f"{size} bytes")
        return Memory(self, size)

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str) -> Any:
        if backend != "nvrtc" or "--fmad=false" not in options:
            raise ValueError(f"RawModule with {options} and {backend!r}")
        defines = dict(option[2:].split("=") for option in options if option.startswith("-D"))
        library = build(self.text or code, defines=defines)
        return SimpleNamespace(get_function=lambda name: Kernel(self, library, name))


@contextlib.contextmanager
def installed(fake: FakeCupy) -> Iterator[FakeCupy]:
    """gpu_bt.cuda works with this CuPy."""
    before = device.cupy
    try:
        for part in (device, module):
            module.kernel.cache_clear()
            if hasattr(part, "cupy"):
                part.cupy = lambda: fake
        import gpu_bt.cuda.engine as engine

        engine.cupy = lambda: fake
        yield fake
    finally:
        device.cupy = engine.cupy = before
        module.kernel.cache_clear()
