# SPDX-License-Identifier: Apache-2.0
"""Timings of the CUDA engine at 2520x5000: each result is compared with the NumPy engine's before it is timed.

A row has `kernel_seconds` (launches alone, by CUDA events), `seconds` (panels on the device; from open() to the equity
and cash of every scenario in host memory), `cold_seconds` (the first run: what follows from the panel alone is prepared
and everything uploaded; compilation is a step of its own); medians of `repeats` runs. `note` says what is not plain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import gpu_data
from benchmarks.cases import Case, panel_of, weights_of
from benchmarks.gpu_bits import configs, equal_members, run_cut
from benchmarks.gpu_micro import Meter
from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import check_weights
from gpu_bt.engine.spec import Engine, RawResult, RunSpec
from gpu_bt.law.layout import pack

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["CASES", "REPEATS", "Bench", "blocks", "first", "rows", "spec_of"]

REPEATS = 3
#: Threads of a block, its scenarios, and whether their holdings are in shared memory; the most telling first.
_BLOCKS = (
    (512, 1, True), (256, 1, True), (128, 1, True), (256, 1, False), (128, 1, False), (64, 1, False), (512, 2, True),
    (256, 2, True), (128, 4, False), (512, 4, False), (256, 2, False), (512, 1, False), (512, 2, False),
)  # fmt: skip
#: Of the free memory, what own weights may take, so that the engine needs no windows of bars.
_OWN_SHARE = 0.6


def spec_of(
    panel: Panel,
    weights: tuple[Any, ...],
    count: int,
    given: list[Config] | None = None,
    columns: str = "equity",
) -> RunSpec:
    """`count` scenarios that decide at every bar with a target, scenario i on weights[i % len(weights)]."""
    params = pack(given or configs(count), weights=np.arange(count) % len(weights))
    for book in weights:
        if isinstance(book, np.ndarray):
            book.flags.writeable = False  # so that it stays on the device
    return RunSpec(panel.market, params, weights, np.ones((1, panel.shape[0]), bool), columns=columns)


class Bench:
    """One panel, timed again and again."""

    def __init__(self, context: Context, warm: bool = True) -> None:
        self.context = context
        self.meter = Meter(context.emulate)
        self.bars, self.assets, self.many = (6, 20, 4) if context.emulate else (2520, 5000, 1000)
        self.panel = gpu_data.panel(context.scratch, self.case(1.0, 1))
        if warm and not context.emulate:
            _warm()

    def case(self, density: float, every: int) -> Case:
        """One of this panel."""
        return Case(self.bars, self.assets, density, every)

    def weights(self, density: float, every: int = 1) -> np.ndarray:
        """The book of a case."""
        return gpu_data.weights(self.context.scratch, self.case(density, every), self.panel)

    def of_size(self, bars: int, assets: int) -> None:
        """Another panel."""
        self.panel.market.cache.clear()
        self.bars, self.assets = bars, assets
        self.panel = gpu_data.panel(self.context.scratch, self.case(1.0, 1))

    @contextlib.contextmanager
    def metered(self) -> Iterator[None]:
        """The engine's launches are timed."""
        from gpu_bt.cuda import lanes

        honest, meter = lanes.kernel, self.meter

        class Timed:
            def __init__(self, *arguments: Any) -> None:
                start = time.perf_counter()
                object.__setattr__(self, "made", honest(*arguments))
                meter.compiling += time.perf_counter() - start

            def __getattr__(self, name: str) -> Any:
                return getattr(self.made, name)

            def __setattr__(self, name: str, value: Any) -> None:
                setattr(self.made, name, value)

            def __call__(self, *arguments: Any, **options: Any) -> None:
                meter.around(lambda: self.made(*arguments, **options))

        lanes.kernel = Timed
        try:
            yield
        finally:
            lanes.kernel = honest

    def row(
        self, engine: Engine, spec: RunSpec, known: RawResult | None = None, repeats: int = REPEATS
    ) -> tuple[dict[str, Any], RawResult]:
        """Verify, then time: against `known`, or against NumPy on the first, the middle and the last scenario."""
        with self.metered():
            self.meter.compiling, start = 0.0, time.perf_counter()
            raw, session = run_cut(engine, spec, 0)
            cold, compiling = time.perf_counter() - start - self.meter.compiling, self.meter.compiling
            cold_kernel = self.meter.take()
            count = len(spec.params)
            if known is None:
                difference = equal_members(raw, spec, sorted({0, count // 2, count - 1}))
            else:
                same = raw.money.tobytes() == known.money.tobytes()
                difference = None if same else "another variant gave other bits"
            kernel, whole = [], []
            for _ in range(repeats):
                start = time.perf_counter()
                run_cut(engine, spec, 0)
                whole.append(time.perf_counter() - start)
                kernel.append(self.meter.take())
        seconds = statistics.median(kernel)
        asset_bars = count * spec.market.shape[0] * spec.market.shape[1]
        lanes = session.parts[0].lanes
        launched = {} if lanes is None else {
            "threads": lanes.threads, "together": lanes.per_lane, "shared": lanes.variant.shared or lanes.variant.near,
            "blocks": int(lanes.launch["lanes"][0]), "variant": dataclasses.asdict(lanes.variant),
        }  # fmt: skip
        return {
            "bars": spec.market.shape[0], "assets": spec.market.shape[1], "scenarios": count, **launched,
            "parts": len(session.parts), "window": session.window, "scenario_bytes": session.scenario_bytes(),
            "kernel_seconds": seconds, "seconds": statistics.median(whole), "cold_seconds": cold,
            "compile_seconds": compiling, "cold_kernel_seconds": cold_kernel, "all_kernel_seconds": kernel,
            "all_seconds": whole, "repeats": repeats, "rate": asset_bars / statistics.median(whole),
            "kernel_rate": asset_bars / seconds,
            "difference": difference,
        }, raw  # fmt: skip


def _warm() -> None:
    """Context, compiler and both kernels are behind when a first run is timed."""
    from gpu_bt.cuda.engine import ENGINE

    panel = panel_of(Case(8, 40, 1.0, 1))
    book = weights_of(Case(8, 40, 1.0, 1), panel)
    for given in (configs(1), [c.replace(max_weight=1.0) for c in configs(1)]):
        run_cut(ENGINE, spec_of(panel, (book,), 1, given), 0)


#: (name, share of weights not 0, bars between decisions, whether there are many scenarios).
CASES = (
    ("one scenario", 1.0, 1, False),
    ("shared panels", 1.0, 1, True),
    ("shared panels", 0.1, 1, True),
    ("one scenario", 0.1, 1, False),
    ("one scenario", 1.0, 21, False),
    ("one scenario", 0.1, 21, False),
    ("shared panels", 0.1, 21, True),
)


def first(context: Context) -> None:
    """One scenario and many, dense."""
    _cases(context, Bench(context), CASES[:2])


def rows(context: Context) -> None:
    """The cases of docs/performance.md, the most wanted first; what time does not allow is named."""
    from gpu_bt.cuda.engine import ENGINE

    bench = Bench(context)
    _cases(context, bench, CASES)
    for density in (1.0, 0.1):
        name = "own float32 weights"
        bench.panel.market.cache.clear()
        if context.late():
            context.emit("left_out", case=f"{name}, {density:.0%}", reason="time")
            continue
        spec = _own(bench, bench.weights(density))
        row, _ = bench.row(ENGINE, spec)
        context.emit("cases", name=name, density=density, every=1, note=f"{name}, made on the device", **row)
        del spec
    bench.of_size(*((8, 32) if context.emulate else (20_000, 32)))
    for count in (1, bench.many):
        if context.late():
            context.emit("left_out", case=f"32 assets, {count} scenarios", reason="time")
            continue
        bench.panel.market.cache.clear()
        row, _ = bench.row(ENGINE, spec_of(bench.panel, (bench.weights(1.0),), count))
        row["microseconds_a_bar"] = row["kernel_seconds"] / bench.bars * 1e6
        context.emit("cases", name="32 assets: latency", density=1.0, every=1, note="", **row)


def _cases(context: Context, bench: Bench, cases: tuple[tuple[str, float, int, bool], ...]) -> None:
    from gpu_bt.cuda.engine import ENGINE

    for name, density, every, many in cases:
        if context.late():
            context.emit("left_out", case=f"{name}, {density:.0%}, every {every}", reason="time")
            continue
        spec = spec_of(bench.panel, (bench.weights(density, every),), bench.many if many else 1)
        bench.panel.market.cache.clear()  # so that the first run is one
        row, _ = bench.row(ENGINE, spec)
        context.emit("cases", name=name, density=density, every=every, note="", **row)


def _own(bench: Bench, book: np.ndarray) -> RunSpec:
    """As many scenarios, up to `many`, as have room for a float32 book each, which is made on the device."""
    from gpu_bt.cuda.device import cupy, probe

    count = min(bench.many, max(1, int(_OWN_SHARE * probe().free() / (4 * book.size))))
    one = cupy().asarray(book.astype(np.float32))
    books = (cupy().roll(one, 7 * i, axis=1) for i in range(count))
    return spec_of(bench.panel, tuple(check_weights(bench.panel, w, "cash") for w in books), count)


def blocks(context: Context) -> None:
    """Threads of a block x scenarios of a block x where holdings are kept, for many scenarios; each timed once."""
    from gpu_bt.cuda.engine import CudaEngine

    bench = Bench(context)
    known: dict[float, RawResult] = {}
    seen = set()
    shapes = dict.fromkeys((64, *shape[1:]) for shape in _BLOCKS) if context.emulate else _BLOCKS
    for (threads, together, shared), density in itertools.product(shapes, (1.0, 0.1)):
        if context.late():
            context.emit("left_out", case=f"blocks {density:.0%} {threads} {together} {shared}", reason="time")
            continue
        spec = spec_of(bench.panel, (bench.weights(density),), bench.many)
        row, raw = bench.row(CudaEngine(threads, together, shared), spec, known.get(density), repeats=1)
        known.setdefault(density, raw)
        key = (density, row["threads"], row["together"], row["shared"])
        if key not in seen:
            seen.add(key)
            context.emit("blocks", name="shared panels", density=density, every=1, note="", **row)
