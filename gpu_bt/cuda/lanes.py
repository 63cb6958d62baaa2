# SPDX-License-Identifier: Apache-2.0
"""Lanes in device memory: the kernel that moves them, the size of its blocks, and what they read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.cuda import arrays, views
from gpu_bt.cuda.device import Device, DeviceArray, cupy, stream
from gpu_bt.cuda.kept import Panels, resident
from gpu_bt.cuda.module import SHARED_DOUBLES, Variant, kernel
from gpu_bt.cuda.plain import needs_full, plain_of, plan
from gpu_bt.cuda.prepared import prepared
from gpu_bt.engine import prepare
from gpu_bt.engine.lanes import LaneSession, read_by, row_length
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import SIZES

if TYPE_CHECKING:
    from gpu_bt.cuda.engine import CudaEngine

__all__ = ["Lanes", "log_bytes"]

#: Bytes of the logs of fills and of cuts that a launch may write.
_LOG_BYTES = 1 << 29
#: Asset-bars of one launch for each multiprocessor, so that Ctrl-C is seen between two.
_CALL = 40_000_000


class Lanes(LaneSession):
    """The lanes of a part on the device, for the bars of a window."""

    name = "cuda"

    def __init__(self, spec: RunSpec, device: Device, engine: CudaEngine, window: tuple[int, int],
                 before: RawResult | None) -> None:  # fmt: skip
        self.device, self.engine, self.window = device, engine, window
        self.panels = Panels()  # of this session alone
        super().__init__(spec, engine.together or 1, 1, log_bytes(device), window[0], before)
        there, ours = resident(spec.market, True), {id(array) for array in read_by(spec)}
        for gone in set(there) - ours:
            there.pop(gone, None)  # another thread may have been here
        self.kernel = kernel(cupy(), self.variant)
        self.launch["near"] = self.near
        self.launch_at = DeviceArray(self.launch.shape, self.launch.dtype)

    def prepared(self, read: np.ndarray, most: int) -> int:
        """Chooses the kernel's variant, the size of a block, and how many scenarios one holds."""
        n, spec, engine = self.spec.market.shape[1], self.spec, self.engine
        full, room, self.near = needs_full(spec), self.device.shared - 8 * SHARED_DOUBLES, 0
        plain = plain_of(spec) if engine.plain and most in (1, 2, 4) else None
        if plain is None:
            hot = 16 * row_length(n)  # bytes of a scenario's holdings and orders, as far apart as rows of the arena
            shared = engine.shared and hot <= room
            most = min(most, room // hot) if shared else most
            self._size(n, most, Variant(full, shared), hot * most * shared)
            return most
        longest = plan(self, read, plain)
        numbers = row_length(longest or n)
        fit = (room - 8 * SIZES["BT_CLASSES"]) // (16 * numbers) if engine.shared else 0
        together = (1, 2) if plain.table else (1, 2, 4)  # by the sums that a warp can reduce at once
        wanted = engine.together or max(1, len(spec.params) // self.device.processors)
        most = max(m for m in together if m == 1 or m <= min(wanted, fit or wanted))
        self.near = numbers if fit else 0
        variant = dataclasses.replace(plain, together=most, list=longest > 0, near=fit > 0)
        self._size(longest or n, most, variant, 16 * self.near * most + 8 * SIZES["BT_CLASSES"])
        return most

    def _size(self, work: int, most: int, variant: Variant, shared: int) -> None:
        """The threads of a block for so many assets, and its bytes of shared memory."""
        crowded = len(self.spec.params) > most * self.device.processors
        if variant.plain:
            ready = 32 * math.ceil(work / (256 if crowded else 128))
            self.threads = self.engine.threads or next(m for m in (64, 128, 256, 512) if m >= min(ready, 512))
            variant = dataclasses.replace(variant, threads=0 if self.engine.threads else self.threads)
        else:  # two blocks at once on each multiprocessor, where there are many
            self.threads = self.engine.threads or min(256 if crowded else 512, max(64, 32 * math.ceil(work / 64)))
        self.variant, self.shared_bytes = variant, 8 * SHARED_DOUBLES + shared

    def put(self, array: np.ndarray) -> DeviceArray:
        """On the device."""
        return DeviceArray(array.shape, array.dtype, array)

    def panel(self, array: Any, weights: bool) -> DeviceArray | Resident:
        """On the device: a panel stays there with the market, for the next run, or comes in windows of bars; weights
        stay as long as their array, but come anew each time where someone may write to it. All lanes share what one
        has brought. What lies on the device is used where it lies."""
        if not isinstance(array, np.ndarray):
            found: DeviceArray | Resident = array
            return found
        stays = not (weights and array.flags.writeable)
        return self._placed(
            id(array), array, array.strides[0], weights, stays, lambda low, stop: self.put(array[low:stop])
        )

    def whole(self, array: np.ndarray) -> DeviceArray:
        """On the device, and there for later runs."""
        known = resident(self.spec.market, True)
        if id(array) not in known:
            known[id(array)] = (known.gone(array), self.put(array))
        self.kept.append(known[id(array)][1])
        return known[id(array)][1]

    def _placed(
        self, key: Any, kept: Any, row: int, weights: bool, stays: bool, make: Callable[[int, int], DeviceArray]
    ) -> DeviceArray:  # fmt: skip
        """The bars [low, stop) of a panel whose rows have so many bytes, made where they are not there yet."""
        whole = self.window == (0, self.spec.market.shape[0])
        known = resident(self.spec.market, weights) if stays and whole else self.panels
        if key not in known:
            low = 0 if whole else max(0, self.window[0] - 1 - int(self.spec.params["signal_lag"].max()))
            placed = make(low, self.window[1])
            placed.before = low * row  # kernels count bars from the panel's first
            known[key] = (known.gone(kept) if weights else kept, placed)  # so that its id stays its own
        return known[key][1]

    def derived(self, field: str, lot: float, sizing: str) -> tuple[prepare.Prices, Any, Any]:
        """Made on the device where the panel lies there, in the window's bars alone."""
        market, row = self.spec.market, 8 * self.spec.market.shape[1]
        if not isinstance(market.close, Resident):
            return super().derived(field, lot, sizing)
        return prepared(market, field, lot, sizing, lambda key, make: self._placed(key, None, row, False, True, make))

    def zeros(self, shape: Any, dtype: Any, fill: float | None = 0.0) -> DeviceArray:
        """A new array on the device; NaN is written as bytes of 255."""
        return DeviceArray(shape, dtype, byte=None if fill is None else 0 if fill == 0.0 else 255)

    def address(self, array: DeviceArray | Resident) -> int:
        """Where it begins on the device."""
        return array.address

    def host(self, array: DeviceArray, start: int = 0, stop: int | None = None) -> np.ndarray:
        """A NumPy copy."""
        return array.read(start, stop)

    def write(self, array: DeviceArray, values: np.ndarray) -> None:
        """Copy values into an array, of NumPy or on the device."""
        if isinstance(values, np.ndarray):
            array.write(np.ascontiguousarray(values, array.dtype))
        else:
            views.written(array, values)

    def left(self) -> dict[str, Any]:
        """Positions, and a copy of the equity rows, without the other columns beside them."""
        k, t = len(self.spec.params), self.spec.market.shape[0]
        money = arrays.resident(self.arrays["money"])
        rows = Resident((k, t), money.dtype, money.pointer, money.device, money, money.tools)
        positions = self.arrays.get("positions")
        kept = {} if positions is None else {"positions": arrays.resident(positions)}
        return kept | {"stays": (views.stacked([rows]),)}

    def bars_a_call(self) -> int:
        """As many bars as end within a fraction of a second."""
        work = len(self.spec.params) * self.spec.market.shape[1]
        return max(1, _CALL * min(self.device.processors, len(self.spec.params)) // work)

    def call(self, launch: np.ndarray) -> None:
        """One launch over [t0, t1), waited for."""
        self.launch_at.write(launch)
        if self.shared_bytes > self.kernel.max_dynamic_shared_size_bytes:
            self.kernel.max_dynamic_shared_size_bytes = self.shared_bytes
        lanes = int(launch["lanes"][0])
        argument = (np.uint64(self.launch_at.address),)
        self.kernel((lanes,), (self.threads,), argument, shared_mem=self.shared_bytes, stream=stream())
        stream().synchronize()
        if not self.variant.general and self.host(self.arrays["book"])[0]:  # some lane has a bar that is not plain
            self.variant = dataclasses.replace(self.variant, general=True)
            self.kernel = kernel(cupy(), self.variant)
            self.call(launch)


def log_bytes(device: Device) -> int:
    """Bytes of each of the two logs that a launch may write."""
    return int(min(_LOG_BYTES, device.free() // 16))
