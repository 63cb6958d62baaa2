# SPDX-License-Identifier: Apache-2.0
"""Arrays in device memory that others have made, or take: what a Resident's tools do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_bt.cuda.device import DeviceArray, cupy, stream
from gpu_bt.engine.resident import Resident

__all__ = ["exported", "fetch", "resident", "stacked"]


def resident(array: DeviceArray) -> Resident:
    """An array of the engine's own, once what is queued has written it."""
    stream().synchronize()
    device = int(cupy().cuda.runtime.getDevice())
    return Resident(array.shape, array.dtype, array.address, device, array, sys.modules[__name__])


def exported(array: Resident) -> Any:
    """A CuPy array over the memory of a Resident, which it keeps alive."""
    memory = cupy().cuda.UnownedMemory(array.pointer, array.nbytes, array, array.device)
    return cupy().ndarray(array.shape, array.dtype, cupy().cuda.MemoryPointer(memory, 0))


def stacked(rows: Sequence[Any]) -> Resident:
    """Arrays of equal rows, here or in host memory, one below the other."""
    out, at = DeviceArray((sum(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype), 0
    for x in rows:
        source = x if isinstance(x, Resident) else resident(DeviceArray(x.shape, x.dtype, np.ascontiguousarray(x)))
        if x.size:
            (out.memory + at).copy_from_device_async(exported(source).data, x.nbytes, stream())
        at += x.nbytes
    return resident(out)


def fetch(array: Resident, key: Any) -> np.ndarray:
    """`array[key]` in host memory."""
    out = np.empty(array.shape, array.dtype)
    memory = cupy().cuda.UnownedMemory(array.pointer, array.nbytes, array, array.device)
    if out.size:
        cupy().cuda.MemoryPointer(memory, 0).copy_to_host_async(out.ctypes.data, out.nbytes, stream())
        stream().synchronize()
    found: np.ndarray = out[key]
    return found
