# SPDX-License-Identifier: Apache-2.0
"""What leaves the CUDA engine for its user on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_bt.cuda.arrays import exported, resident
from gpu_bt.cuda.device import DeviceArray, stream
from gpu_bt.engine.resident import Resident

__all__ = ["stacked"]


def stacked(rows: Sequence[Any]) -> Resident:
    """Arrays of equal rows, here or in host memory, one below the other."""
    out, at = DeviceArray((sum(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype), 0
    for x in rows:
        source = x if isinstance(x, Resident) else resident(DeviceArray(x.shape, x.dtype, np.ascontiguousarray(x)))
        if x.size:
            (out.memory + at).copy_from_device_async(exported(source).data, x.nbytes, stream())
        at += x.nbytes
    return resident(out)
