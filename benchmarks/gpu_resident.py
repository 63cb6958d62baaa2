# SPDX-License-Identifier: Apache-2.0
"""Data that lies on the device: panels and weights that are CuPy's, records that stay there, a strategy on CuPy rows.

Each row stands beside that of the same work with host arrays, whose bits it must have, with the bytes that the engine
has copied to the device and from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import config
from benchmarks.gpu_bench import REPEATS, Bench, spec_of
from benchmarks.gpu_bits import run_cut
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import check_weights
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import pack
from gpu_bt.runs.drive import drive
from gpu_bt.runs.strategy import Strategy

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["rows", "traffic"]

_FIELDS = ("close", "open", "volume")


@contextlib.contextmanager
def traffic() -> Iterator[dict[str, int]]:
    """Bytes that the engine copies to the device ("sent") and from it ("fetched") in the block."""
    from gpu_bt.cuda import arrays
    from gpu_bt.cuda.device import DeviceArray

    moved = {"sent": 0, "fetched": 0}
    write, read, fetch = DeviceArray.write, DeviceArray.read, arrays.fetch

    def written(self: Any, values: np.ndarray) -> None:
        moved["sent"] += values.nbytes
        write(self, values)

    def counted(work: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def call(*given: Any) -> np.ndarray:
            before, out = moved["fetched"], work(*given)
            moved["fetched"] = before + out.nbytes  # whoever else has read for it
            return out

        return call

    DeviceArray.write, DeviceArray.read, arrays.fetch = written, counted(read), counted(fetch)  # type: ignore[method-assign]
    try:
        yield moved
    finally:
        DeviceArray.write, DeviceArray.read, arrays.fetch = write, read, fetch  # type: ignore[method-assign]


def rows(context: Context) -> None:
    """The parts in turn; what time does not allow is named."""
    bench = Bench(context)
    for part in (_inputs, _records, _strategy):
        if context.late():
            context.emit("left_out", case=f"resident: {part.__name__.strip('_')}", reason="time")
        else:
            part(bench)


def _row(bench: Bench, what: str, place: str, raw: RawResult, known: RawResult | None, **more: Any) -> RawResult:
    """Emit one, compared with the first of its kind."""
    pairs = [] if known is None else [(raw.money, known.money), (raw.positions, known.positions)]
    same = all(a is b or np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
    wrong = None if same else f"{what}: other bits with data on the {place}"
    bench.context.emit(
        "resident", what=what, place=place, bars=bench.bars, assets=bench.assets, **more, difference=wrong
    )
    return raw if known is None else known


def _inputs(bench: Bench) -> None:
    """From arrays to the first result: checks, what follows from the panel, uploads, one scenario; and the next run."""
    from gpu_bt.cuda.device import cupy
    from gpu_bt.cuda.engine import ENGINE

    given = {name: np.asarray(getattr(bench.panel, name)) for name in _FIELDS}
    book, known = np.asarray(bench.weights(1.0)), None
    for place in ("host", "device"):
        fields, weights = given, book
        if place == "device":
            fields, weights = {name: cupy().asarray(a) for name, a in given.items()}, cupy().asarray(book)
        with traffic() as moved:
            start = time.perf_counter()
            panel = Panel(**fields, timestamps=bench.panel.timestamps, assets=bench.panel.assets)
            checked = check_weights(panel, weights, "cash")
            checks = time.perf_counter() - start
            spec = spec_of(panel, (checked,), 1)
            raw, _ = run_cut(ENGINE, spec, 0)
            first = time.perf_counter() - start
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            run_cut(ENGINE, spec, 0)
            seconds.append(time.perf_counter() - start)
        known = _row(bench, "inputs", place, raw, known, check_seconds=checks, first_seconds=first,
                     seconds=statistics.median(seconds), **moved)  # fmt: skip
        panel.market.cache.clear()


def _records(bench: Bench) -> None:
    """Positions of every bar, fetched and left on the device."""
    from gpu_bt.cuda.engine import ENGINE

    spec, known = spec_of(bench.panel, (bench.weights(1.0),), 1), None
    for place in ("host", "device"):
        asked = dataclasses.replace(spec, positions=True, stay=place == "device")
        run_cut(ENGINE, asked, 0)
        with traffic() as moved:
            start = time.perf_counter()
            raw, _ = run_cut(ENGINE, asked, 0)
            seconds = time.perf_counter() - start
        known = _row(bench, "positions", place, raw, known, seconds=seconds, **moved)
    bench.panel.market.cache.clear()


class _Momentum(Strategy):
    """The best of some bars, anew at each bar, on arrays of either library."""

    def __init__(self, device: bool, back: int, hold: int) -> None:
        self.device, self.back, self.hold = device, back, hold

    def on_data_batch(self, timestamp: Any, batch: Any) -> None:
        past = batch.history("close", self.back)
        best = batch.top(past[-1] / past[0], self.hold)
        self.order_target_percent(best, 1.0 / self.hold)
        self.close_others(best)


def _strategy(bench: Bench) -> None:
    """The same strategy on NumPy rows and on CuPy rows."""
    from gpu_bt.cuda.engine import ENGINE

    own, every, known = config(), np.ones(bench.bars, bool), None
    back, hold = (3, 4) if bench.context.emulate else (60, 25)
    for place in ("host", "device"):
        seconds = []
        for _ in range(2):  # the first brings the panel to the device
            spec = RunSpec(bench.panel.market, pack([own]), (), every[None], callback=True)
            with traffic() as moved:
                start = time.perf_counter()
                raw = drive(_Momentum(place == "device", back, hold), bench.panel, own, ENGINE.open(spec), every)
                seconds.append(time.perf_counter() - start)
        known = _row(bench, "a strategy", place, raw, known, first_seconds=seconds[0], seconds=seconds[1],
                     microseconds=seconds[1] / bench.bars * 1e6, **moved)  # fmt: skip
