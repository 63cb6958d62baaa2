# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine: lanes in device memory, a block of threads for each.

Where memory is short, scenarios go in parts and bars in windows: a part is the scenarios that are on the device
together, a window the bars whose rows are.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from gpu_bt.cuda import arrays, views
from gpu_bt.cuda.device import Device, cupy, out_of_memory, probe
from gpu_bt.cuda.kept import forget, resident
from gpu_bt.cuda.lanes import Lanes, log_bytes
from gpu_bt.cuda.module import compiled
from gpu_bt.cuda.plain import plan_bytes
from gpu_bt.cuda.workers import claim
from gpu_bt.engine.lanes import has_books, lane_bytes, read_by
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Book, Decision, RawResult, RunSpec, joined
from gpu_bt.errors import EngineUnavailable
from gpu_bt.law.layout import COUNTS, MONEY

__all__ = ["ENGINE", "CudaEngine", "CudaSession"]

#: Of the free memory, what a plan may use.
_SHARE = 0.9
_V = TypeVar("_V")


class NoRoom(EngineUnavailable, MemoryError):
    """Not even one scenario, bar by bar, has room on the device."""


class CudaEngine:
    """Runs where CuPy finds a device. `threads`: of a block, a multiple of 32; None = by the number of assets."""

    name = "cuda"
    tools = arrays

    def __init__(
        self, threads: int | None = None, together: int | None = None, shared: bool = True, plain: bool = True
    ) -> None:
        self.threads, self.together, self.shared, self.plain = threads, together, shared, plain

    def missing(self) -> str | None:
        """None where there is a device, else the reason."""
        device = probe()
        return device if isinstance(device, str) else None

    def ready(self) -> bool:
        """Whether some variant of the kernel lies compiled on this machine."""
        return compiled(cupy())

    def open(self, spec: RunSpec) -> CudaSession:
        """A session at bar 0."""
        device = probe()
        if isinstance(device, str):
            raise EngineUnavailable(f"engine 'cuda' cannot run: {device}")
        there = {a.device for a in (*vars(spec.market).values(), *spec.weights) if isinstance(a, Resident)}
        with device.working():
            return CudaSession(spec.on_host() if there - {device.number} else spec, device, self)

    def stacked(self, rows: Sequence[Any]) -> Resident:
        """Arrays of equal rows one below the other, on the device."""
        return views.stacked(rows)

    def claim(self) -> None:
        """A device that other workers leave free."""
        claim()


class CudaSession:
    """Scenarios in parts that fit in device memory together with the panels, usually one; and panels in windows of bars
    where they do not fit at once.

    A part stays on the device from call to call where it is the only one; else its state is put aside in host memory.
    """

    def __init__(self, spec: RunSpec, device: Device, engine: CudaEngine) -> None:
        self.spec, self.device, self.engine, self.t = spec, device, engine, 0
        self.parts: list[_Part] = []
        self.window, self.tight = 0, False
        self.viewed = False
        self._plan(np.arange(len(spec.params)), _SHARE * device.free())

    def _plan(self, members: np.ndarray, room: float) -> None:
        """Bars a window and scenarios a part, so that panels and records take at most `room` bytes."""
        t = self.spec.market.shape[0]
        panels = self.panel_bytes()
        self.window = t if self.spec.callback or panels <= 0.7 * room else max(1, int(t * 0.4 * room / panels))
        logs = 2 * log_bytes(self.device) if self.spec.fills else 0
        left = room - logs - panels * min(1.0, self.window / t)
        parts = -(-len(members) // max(1, int(left // self.scenario_bytes())))
        self.parts += [_Part(self, m) for m in np.array_split(members, parts)]

    def panel_bytes(self) -> int:
        """Device memory of the panels of this run that are not there yet, per-lot prices and marks among them."""
        market = self.spec.market
        known = resident(market, False) | resident(market, True)
        arrays = [v for v in vars(market).values() if isinstance(v, np.ndarray) and v.shape == market.shape]
        arrays += [array for array in read_by(self.spec) if isinstance(array, np.ndarray)]
        lots = len(np.unique(self.spec.params["lot"]))
        made = 0 if resident(market, False) else 3 * lots * 8 * math.prod(market.shape)
        return made + plan_bytes(self.spec) + sum(a.nbytes for a in arrays if id(a) not in known)

    def scenario_bytes(self) -> int:
        """Device memory of one scenario: its lane and its record."""
        (t, n), full = self.spec.market.shape, self.spec.columns == "all"
        record = t * (8 * len(MONEY) + 4 * len(COUNTS) if full else 16)
        return lane_bytes(1, n, has_books(self.spec)) + record + 16 * n + (8 * t * n if self.spec.positions else 0)

    def advance(self, t0: int, t1: int) -> None:
        """Run bars t0..t1-1; t0 is where the last call stopped."""
        bars = self.spec.market.shape[0]
        if t0 != self.t or not t0 <= t1 <= bars:
            raise ValueError(f"advance({t0}, {t1}): the session stands at bar {self.t} of {bars}")
        self._each(lambda part: part.advance(t1))
        self.t = t1

    def _each(self, do: Callable[[_Part], _V]) -> list[_V]:
        """What is done with each part; one for which memory does not suffice is made room for and taken again."""
        found: list[_V] = []
        with self.device.working():
            while len(found) < len(self.parts):
                try:
                    found.append(do(self.parts[len(found)]))
                except Exception as exc:
                    if not out_of_memory(exc):
                        raise
                    self._make_room(len(found), exc)
        return found

    def open_bar(self, t: int) -> bool:
        """[S1] to [S5m] of a callback run, with same_close [S1] to [S5d]; whether a strategy may decide now."""
        return self._with_room(lambda lanes: lanes.open_bar(t))

    def book(self) -> Book:
        """The portfolio at the open bar, in host memory."""
        return self._with_room(lambda lanes: lanes.book())

    def view(self) -> views.DeviceView:
        """What a strategy sees and says on the device."""
        self.viewed = True
        return views.DeviceView(self.spec.market, lambda: self._with_room(lambda lanes: lanes))

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """[S6] to [S9] of the open bar."""
        if self.viewed:
            views.wait_for_user()
        self._with_room(lambda lanes: lanes.close_bar(t, decision))
        self.t = self.parts[0].t = t + 1

    def _with_room(self, work: Callable[[Lanes], _V]) -> _V:
        """`work` with the lanes of the one scenario of a callback run, at its bar; tried once more with what CuPy keeps
        for reuse given back, since limits and stops are not in a record that could be put aside."""
        with self.device.working():
            for last in (False, True):
                try:
                    return work(self.parts[0].place())
                except Exception as exc:
                    if not out_of_memory(exc):
                        raise
                    if last:
                        raise self._too_large() from exc
                    cupy().get_default_memory_pool().free_all_blocks()
        raise AssertionError

    def _too_large(self) -> NoRoom:
        """What is raised where not even one scenario, bar by bar, has room."""
        t, n = self.spec.market.shape
        return NoRoom(
            f"a scenario of {n} assets and {t} bars needs {self.scenario_bytes():,} bytes of device memory, and"
            f" {self.device.free():,} are free on {self.device.name}: record less, or use engine='cpu'"
        )

    def _make_room(self, i: int, exc: Exception) -> None:
        """After a failed allocation: forget panels that lie there, then take half the bars, then half the scenarios."""
        part = self.parts[i]
        part.leave()
        exc = exc.with_traceback(None)  # whose frames hold what was placed before the one that failed
        if forget(self.spec) and not self.tight:
            self.tight = True  # what is placed anew is not forgotten again
            return
        if self.window > 1 and not self.spec.callback:  # whose limits and stops are not in the record
            self.window = -(-self.window // 2)
            return
        if len(part.members) == 1 or part.saved is not None:
            raise self._too_large() from exc
        self.parts[i : i + 1] = [_Part(self, m) for m in np.array_split(part.members, 2)]

    def result(self) -> RawResult:
        """The record of bars [0, t)."""
        found = self._each(_Part.result)
        if len(found) == 1:
            return found[0]
        records = []
        for part, raw in zip(self.parts, found, strict=True):
            logs: dict[str, Any] = {name: _renumbered(getattr(raw, name), part.members) for name in ("fills", "cuts")}
            records.append(dataclasses.replace(raw, **logs))
        return joined(records, "scenarios")


def _renumbered(log: np.ndarray | None, members: np.ndarray) -> np.ndarray | None:
    """A log of a part with the session's numbers of its scenarios."""
    if log is None:
        return None
    log = log.copy()
    log["scenario"] = members[log["scenario"]]
    return log


class _Part:
    """Some scenarios of a session: on the device for a window of bars, or put aside as the record so far."""

    def __init__(self, session: CudaSession, members: np.ndarray) -> None:
        self.session, self.members = weakref.proxy(session), members  # no circle, so that memory is freed at once
        self.spec = dataclasses.replace(session.spec, params=session.spec.params[members])
        self.lanes: Lanes | None = None
        self.saved: RawResult | None = None
        self.t = 0

    def advance(self, t1: int) -> None:
        """Up to bar t1, window by window."""
        session, bars = self.session, self.spec.market.shape[0]
        while self.t < t1:
            lanes = self.place()
            stop = min(t1, lanes.window[1])
            lanes.advance(self.t, stop)
            self.t = stop
            if len(session.parts) > 1 or (stop == lanes.window[1] and stop < bars):
                self.saved, self.lanes = lanes.result(), None
            del lanes  # whose memory the next window may need

    def place(self) -> Lanes:
        """On the device, for the window at hand."""
        session, bars = self.session, self.spec.market.shape[0]
        if self.lanes is not None and self.t == self.lanes.window[1] < bars:
            self.leave()
        if self.lanes is None:
            end = min(bars, self.t + session.window)
            self.lanes = Lanes(self.spec, session.device, session.engine, (self.t, end), self.saved)
        return self.lanes

    def leave(self) -> None:
        """Off the device; what had begun is put aside."""
        if self.lanes is not None and self.lanes.t > self.lanes.window[0]:
            self.saved = self.lanes.result()
            self.t = self.lanes.t
        self.lanes = None

    def result(self) -> RawResult:
        """The record so far."""
        if self.lanes is None and self.saved is not None:
            return self.saved
        return self.place().result(self.spec.stay)


ENGINE = CudaEngine()
