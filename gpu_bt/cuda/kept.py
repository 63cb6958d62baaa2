# SPDX-License-Identifier: Apache-2.0
"""What stays on a device from run to run: panels with their market, weights with their array."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from gpu_bt.cuda import device
from gpu_bt.cuda.device import DeviceArray
from gpu_bt.engine.spec import Market, RunSpec

__all__ = ["Panels", "forget", "resident"]


class Panels(dict[Any, tuple[Any, DeviceArray]]):
    """Arrays on a device by the id of the NumPy array, which is kept, or referred to weakly; what was made there, by
    field and lot."""

    def gone(self, array: np.ndarray) -> weakref.ref[np.ndarray]:
        """A reference with which the array on the device goes, too."""
        panels, key = weakref.ref(self), id(array)

        def forget(_: Any) -> None:
            if (known := panels()) is not None:
                known.pop(key, None)

        return weakref.ref(array, forget)


def resident(market: Market, weights: bool) -> Panels:
    """What has been brought to the current device of a market, or of weights over it, and what was made there."""
    panels: Panels
    kind, number = "cuda weights" if weights else "cuda", int(device.cupy().cuda.runtime.getDevice())
    panels = market.cache.setdefault((kind, number), Panels())
    return panels


def forget(spec: RunSpec) -> bool:
    """Drop panels on the device, and CuPy's unused memory; whether there was any."""
    known = [resident(spec.market, weights) for weights in (False, True)]
    had = any(known)
    for panels in known:
        panels.clear()
    device.cupy().get_default_memory_pool().free_all_blocks()
    return had
