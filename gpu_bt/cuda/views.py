# SPDX-License-Identifier: Apache-2.0
"""What stays on the device for its user: results, and what a strategy sees and says there.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpu_bt.cuda.arrays import exported, placed, resident, take
from gpu_bt.cuda.device import DeviceArray, cupy, stream
from gpu_bt.engine.lanes import LaneSession
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Book, Market
from gpu_bt.errors import StrategyError

__all__ = ["DeviceView", "stacked", "wait_for_user", "written"]


def stacked(rows: Sequence[Any]) -> Resident:
    """Arrays of equal rows one below the other; what lies in host memory, or on another device, is sent."""
    out, at = DeviceArray((sum(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype), 0
    here = int(cupy().cuda.runtime.getDevice())
    for x in rows:
        source = x if isinstance(x, Resident) and x.device == here else placed(np.ascontiguousarray(x))
        if x.size:
            (out.memory + at).copy_from_device_async(exported(source).data, x.nbytes, stream())
        at += x.nbytes
    return resident(out)


def wait_for_user() -> None:
    """What the engine does from here on comes after what the current stream of CuPy has to do now."""
    stream().wait_event(cupy().cuda.get_current_stream().record())


def written(array: DeviceArray, values: Any) -> None:
    """Copy a CuPy array of the same size here."""
    whole = cupy().ascontiguousarray(values, array.dtype)
    wait_for_user()
    array.memory.copy_from_device_async(whole.data, array.size * array.dtype.itemsize, stream())
    array.source = whole  # type: ignore[attr-defined]  # kept until the next: what reads the array is waited for


class DeviceView:
    """As gpu_bt.runs.views.HostView, in CuPy arrays over the memory of a session with one scenario.

    lanes: called anew each time, since they may be placed anew.
    """

    def __init__(self, market: Market, lanes: Callable[[], LaneSession]) -> None:
        self.xp, self.market, self._lanes = cupy(), _OnDevice(market, self), lanes

    def book(self) -> Book:
        """The portfolio at the open bar; holdings and orders are copies, which a strategy may keep."""
        lanes = self._lanes()
        return Book(*lanes.money, *(self.shown(lanes.arrays[name])[0].copy() for name in ("holdings", "orders")))

    def marks(self, bar: int) -> Any:
        """(N,) marks per lot."""
        return self.shown(self._lanes().shown["marks"])[bar]

    def prices(self, bar: int) -> Any:
        """[S8] (N,) P."""
        return self.shown(self._lanes().shown["close"])[bar]

    def panel(self, array: Any) -> Any:
        """A (T, N) panel of the market."""
        return self.shown(self._lanes().panel(array, False))

    def shown(self, array: Any) -> Any:
        """What the engine has on the device, without a copy."""
        return exported(array if isinstance(array, Resident) else resident(array))

    def here(self, values: np.ndarray) -> Any:
        """A copy of an array of NumPy's."""
        return self.xp.asarray(values)

    def taken(self, what: Callable[[], str], value: Any) -> Any:
        """An array that lies on the device, as it is; None for anything else."""
        if isinstance(value, self.xp.ndarray) and int(value.device.id) == int(self.xp.cuda.runtime.getDevice()):
            return value
        kind = value.__dlpack_device__()[0] if hasattr(value, "__dlpack_device__") else 0
        if kind in (2, 13) or (not kind and hasattr(value, "__cuda_array_interface__")):
            return exported(take(what(), value, StrategyError))
        return None

    def span(self, values: Any) -> tuple[float, float, bool]:
        """The least and the largest number, and whether there is a NaN; fetched at once."""
        if isinstance(values, float):
            return values, values, False
        xp = self.xp
        least, most = xp.stack([values.min(), values.max()]).tolist()
        if least == least:
            return least, most, False
        none = xp.isnan(values)
        least, most = xp.stack([xp.where(none, np.inf, values).min(), xp.where(none, -np.inf, values).max()]).tolist()
        return least, most, True

    def put(self, row: Any, where: Any, x: Any) -> None:
        """row[..., where] = x, of assets named twice the last: on a device writes come in any order."""
        xp, many = self.xp, getattr(x, "size", 1) > 1
        mask = isinstance(where, xp.ndarray) and where.dtype.kind == "b"
        if mask and not many:  # indices made of a mask are waited for
            x, where = xp.where(where, x, row), slice(None)
        elif isinstance(where, xp.ndarray) and not mask and many:
            place = xp.full(row.shape, -1, np.int32)
            xp.maximum.at(place, where, xp.arange(where.size, dtype=np.int32))
            x, where = xp.where(place >= 0, x[place], row), slice(None)
        row[..., where] = x

    def best(self, score: Any, may: Any, most: float) -> Any:
        """As HostView.best: no index is made of a mask, and the scores are sorted once."""
        order = self.xp.argsort(self.xp.where(may, 0.0 - score, np.nan), kind="stable")
        return order[: int(min(max(0.0, most), int(may.sum())))]


class _OnDevice:
    """The fields of a market as CuPy arrays, made when they are first asked for."""

    def __init__(self, market: Market, view: DeviceView) -> None:
        self._market, self._view = market, view

    def __getattr__(self, name: str) -> Any:
        found: Any = getattr(self._market, name)
        if getattr(found, "ndim", 0) == 2:
            found = self._view.panel(found)
        elif isinstance(found, np.ndarray):
            found = self._view.here(found)
        setattr(self, name, found)
        return found
