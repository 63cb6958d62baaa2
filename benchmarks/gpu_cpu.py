# SPDX-License-Identifier: Apache-2.0
"""The CPU engines on the machine of the GPU, on the same cases, verified first."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_bench import CASES, REPEATS, Bench, spec_of
from benchmarks.gpu_bits import equal_members, run_cut
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Engine, RunSpec

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["rows"]


def rows(context: Context) -> None:
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
        for name, density, every, many in CASES:
            spec = spec_of(bench.panel, (bench.weights(density, every),), bench.many if many else 1)
            for engine in [*compiled[::-1], *([] if many else [resolve("numpy")])]:
                one = getattr(engine, "threads", 1) == 1
                if many and one and threads > 1:
                    continue
                if context.late():
                    context.emit("left_out", case=f"{name}, {density:.0%}, {engine.name}", reason="time")
                    continue
                row = _row(engine, spec)
                row |= {"engine": engine.name, "threads": getattr(engine, "threads", 1)}
                context.emit("cpu", name=name, density=density, every=every, note="", **row)


def _row(engine: Engine, spec: RunSpec) -> dict[str, Any]:
    raw, _ = run_cut(engine, spec, 0)
    count, seconds = len(spec.params), []
    difference = equal_members(raw, spec, sorted({0, count - 1})) if engine.name != "numpy" else None
    for _ in range(REPEATS):
        start = time.perf_counter()
        run_cut(engine, spec, 0)
        seconds.append(time.perf_counter() - start)
    t, n = spec.market.shape
    middle = statistics.median(seconds)
    return {
        "bars": t, "assets": n, "scenarios": count, "seconds": middle, "all_seconds": seconds, "repeats": REPEATS,
        "rate": count * t * n / middle, "difference": difference,
    }  # fmt: skip
