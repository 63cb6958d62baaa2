# SPDX-License-Identifier: Apache-2.0
"""Timings of the CUDA engine, and of the CPU engines beside it, at 2520x5000: each result is compared with the NumPy
engine's before it is timed.

A row has `kernel_seconds` (launches alone, by CUDA events), `seconds` (panels on the device; from open() to the equity
and cash of every scenario in host memory), `cold_seconds` (the first run: what follows from the panel alone is prepared
and everything uploaded; compilation is a step of its own); medians of `repeats` runs.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import Case, panel_of, weights_of
from benchmarks.gpu_bits import configs, equal_members, run_cut
from benchmarks.gpu_micro import Meter
from gpu_bt.engine import resolve
from gpu_bt.panel import Panel
from gpu_bt.spec import Engine, RawResult, RunSpec
from gpu_bt.step.layout import pack

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["Bench", "cpu_rows", "rows", "spec_of", "sweep"]

_REPEATS = 3
#: Distinct panels of own weights in host memory; on the device each scenario has a copy of its own.
_DISTINCT = 8
#: Of the free memory, what own weights may take, so that the engine needs no windows of bars.
_OWN_SHARE = 0.6


def spec_of(panel: Panel, weights: tuple[np.ndarray, ...], count: int) -> RunSpec:
    """`count` scenarios that decide at every bar with a target, scenario i on weights[i % len(weights)]."""
    params = pack(configs(count), weights=np.arange(count) % len(weights))
    for book in weights:
        book.flags.writeable = False  # so that it stays on the device
    return RunSpec(panel.market, params, weights, np.ones((1, panel.shape[0]), bool), columns="equity")


class Bench:
    """One panel, timed again and again."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.meter = Meter(context.emulate)
        self.bars, self.assets, self.many = (6, 20, 4) if context.emulate else (2520, 5000, 1000)
        self.panel = panel_of(Case(self.bars, self.assets, 1.0, 1))
        self.books: dict[tuple[int, float, int], np.ndarray] = {}

    def weights(self, density: float, every: int = 1) -> np.ndarray:
        """The book of a case."""
        key = (self.bars, density, every)
        if key not in self.books:
            self.books[key] = weights_of(Case(self.bars, self.assets, density, every), self.panel)
        return self.books[key]

    @contextlib.contextmanager
    def metered(self) -> Iterator[None]:
        """The engine's launches are timed."""
        from gpu_bt.cuda import engine

        plain, meter = engine.kernel, self.meter

        class Timed:
            def __init__(self, *arguments: Any) -> None:
                object.__setattr__(self, "made", plain(*arguments))

            def __getattr__(self, name: str) -> Any:
                return getattr(self.made, name)

            def __setattr__(self, name: str, value: Any) -> None:
                setattr(self.made, name, value)

            def __call__(self, *arguments: Any, **options: Any) -> None:
                meter.around(lambda: self.made(*arguments, **options))

        engine.kernel = Timed
        try:
            yield
        finally:
            engine.kernel = plain

    def row(self, engine: Engine, spec: RunSpec, known: RawResult | None = None) -> tuple[dict[str, Any], RawResult]:
        """Verify, then time: against `known`, or against NumPy on the first, the middle and the last scenario."""
        with self.metered():
            start = time.perf_counter()
            raw, session = run_cut(engine, spec, 0)
            cold = time.perf_counter() - start
            cold_kernel = self.meter.take()
            count = len(spec.params)
            if known is None:
                difference = equal_members(raw, spec, sorted({0, count // 2, count - 1}))
            else:
                same = raw.money.tobytes() == known.money.tobytes()
                difference = None if same else "another variant gave other bits"
            kernel, whole = [], []
            for _ in range(_REPEATS):
                start = time.perf_counter()
                run_cut(engine, spec, 0)
                whole.append(time.perf_counter() - start)
                kernel.append(self.meter.take())
        seconds = statistics.median(kernel)
        asset_bars = count * spec.market.shape[0] * spec.market.shape[1]
        lanes = session.parts[0].lanes
        launched = {} if lanes is None else {
            "threads": lanes.threads, "together": lanes.per_lane, "shared": lanes.shared,
            "blocks": int(lanes.launch["lanes"][0]),
        }  # fmt: skip
        return {
            "bars": spec.market.shape[0], "assets": spec.market.shape[1], "scenarios": count, **launched,
            "parts": len(session.parts), "window": session.window, "scenario_bytes": session.scenario_bytes(),
            "kernel_seconds": seconds, "seconds": statistics.median(whole), "cold_seconds": cold,
            "cold_kernel_seconds": cold_kernel, "all_kernel_seconds": kernel, "all_seconds": whole,
            "repeats": _REPEATS, "rate": asset_bars / statistics.median(whole), "kernel_rate": asset_bars / seconds,
            "difference": difference,
        }, raw  # fmt: skip


def rows(context: Context) -> None:
    """The cases of performance.md, the most wanted first; what time does not allow is named."""
    from gpu_bt.cuda.engine import ENGINE

    bench = Bench(context)
    for name, density, every, many in _CASES:
        if context.late():
            context.emit("left_out", case=name, reason="time")
            continue
        spec = spec_of(bench.panel, (bench.weights(density, every),), bench.many if many else 1)
        bench.panel.market.cache.clear()  # so that the first run is one
        row, _ = bench.row(ENGINE, spec)
        context.emit("cases", name=name, density=density, every=every, own_weights=False, **row)
    for name, density in (("own float32 weights", 1.0), ("own float32 weights", 0.1)):
        bench.panel.market.cache.clear()
        if context.late():
            context.emit("left_out", case=f"{name}, {density:.0%}", reason="time")
            continue
        spec = _own(bench, bench.weights(density))
        row, _ = bench.row(ENGINE, spec)
        context.emit("cases", name=name, density=density, every=1, own_weights=True, **row)
    bench.panel.market.cache.clear()
    bench.bars, bench.assets = (8, 32) if context.emulate else (20_000, 32)
    bench.panel = panel_of(Case(bench.bars, bench.assets, 1.0, 1))
    for count in (1, bench.many):
        row, _ = bench.row(ENGINE, spec_of(bench.panel, (bench.weights(1.0),), count))
        row["microseconds_a_bar"] = row["kernel_seconds"] / bench.bars * 1e6
        context.emit("cases", name="32 assets: latency", density=1.0, every=1, own_weights=False, **row)


#: (name, share of weights not 0, bars between decisions, whether there are many scenarios).
_CASES = (
    ("shared panels", 1.0, 1, True),
    ("shared panels", 0.1, 1, True),
    ("one scenario", 1.0, 1, False),
    ("one scenario", 0.1, 1, False),
    ("one scenario", 1.0, 21, False),
    ("one scenario", 0.1, 21, False),
    ("shared panels", 0.1, 21, True),
)


def _own(bench: Bench, book: np.ndarray) -> RunSpec:
    """As many scenarios, up to `many`, as have room for a float32 book each."""
    from gpu_bt.cuda.device import probe

    count = min(bench.many, max(1, int(_OWN_SHARE * probe().free() / (4 * book.size))))
    shifted = [np.roll(book, 7 * i, axis=1).astype(np.float32) for i in range(_DISTINCT)]
    return spec_of(bench.panel, tuple(shifted[i % _DISTINCT][:] for i in range(count)), count)


def sweep(context: Context) -> None:
    """Threads of a block x scenarios of a block x where holdings are kept, for the first two cases."""
    from gpu_bt.cuda.engine import CudaEngine

    bench = Bench(context)
    for density in (1.0, 0.1):
        spec, known, seen = spec_of(bench.panel, (bench.weights(density),), bench.many), None, set()
        for threads in (64,) if context.emulate else (128, 256, 512):
            for together, shared in ((1, True), (2, True), (1, False), (2, False), (4, False)):
                if context.late():
                    context.emit("left_out", case=f"sweep {density:.0%} {threads} {together}", reason="time")
                    continue
                row, raw = bench.row(CudaEngine(threads, together, shared), spec, known)
                known = raw if known is None else known
                key = (row["threads"], row["together"], row["shared"])
                if key not in seen:
                    seen.add(key)
                    context.emit("sweep", name="shared panels", density=density, every=1, own_weights=False, **row)


def cpu_rows(context: Context) -> None:
    """NumPy and native, with one thread and with all, on this machine."""
    from cpu_fallback import native_build
    from cpu_fallback.native import NativeEngine

    bench = Bench(context)
    with tempfile.TemporaryDirectory() as folder:
        native = NativeEngine()
        if native.missing():
            native_build.build(Path(folder))
            native = NativeEngine(folder=Path(folder))
        if native.missing():
            context.emit("skipped", step="native", reason=native.missing())
        threads = len(os.sched_getaffinity(0))
        compiled = [] if native.missing() else [NativeEngine(t, native.folder) for t in sorted({1, threads})]
        for name, density, every, many in _CASES:
            spec = spec_of(bench.panel, (bench.weights(density, every),), bench.many if many else 1)
            for engine in [*compiled[::-1], *([] if many else [resolve("numpy")])]:
                one = getattr(engine, "threads", 1) == 1
                if many and one and threads > 1:
                    continue
                if context.late():
                    context.emit("left_out", case=f"{name}, {density:.0%}, {engine.name}", reason="time")
                    continue
                row = _cpu_row(engine, spec)
                row |= {"engine": engine.name, "threads": getattr(engine, "threads", 1)}
                context.emit("cpu", name=name, density=density, every=every, own_weights=False, **row)


def _cpu_row(engine: Engine, spec: RunSpec) -> dict[str, Any]:
    raw, _ = run_cut(engine, spec, 0)
    count, seconds = len(spec.params), []
    difference = equal_members(raw, spec, sorted({0, count - 1})) if engine.name != "numpy" else None
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run_cut(engine, spec, 0)
        seconds.append(time.perf_counter() - start)
    t, n = spec.market.shape
    middle = statistics.median(seconds)
    return {
        "bars": t, "assets": n, "scenarios": count, "seconds": middle, "all_seconds": seconds, "repeats": _REPEATS,
        "rate": count * t * n / middle, "difference": difference,
    }  # fmt: skip
