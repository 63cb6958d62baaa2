# SPDX-License-Identifier: Apache-2.0
"""Several GPUs: a process for each, which takes a device as a sweep's worker does, and runs the same many scenarios.

Each has the whole panel and its own launches, so that all of them together should take what one takes alone.
"""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import hashlib
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_bench import Bench, spec_of
from benchmarks.gpu_bits import run_cut

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["measure"]

#: What a worker keeps from task to task.
_mine: dict[str, Any] = {}


def measure(context: Context) -> None:
    """One process, then one for each device; or that there is one device."""
    from gpu_bt.cuda.device import cupy

    count = int(cupy().cuda.runtime.getDeviceCount())
    if count < 2:
        context.emit("skipped", step="several", reason="one GPU")
        return
    bits = set()
    for workers in (1, count):
        if context.late():
            context.emit("left_out", case=f"{workers} GPUs at once", reason="time")
            continue
        with contextlib.ExitStack() as stack:
            ways = [futures.ProcessPoolExecutor(1, get_context("spawn")) for _ in range(workers)]
            pools = [stack.enter_context(pool) for pool in ways]
            _each(pools, begin, context.emulate, count, str(context.scratch))
            _each(pools, run)
            start = time.perf_counter()
            found = _each(pools, run)
            seconds = time.perf_counter() - start
        bits |= {row["bits"] for row in found}
        devices = sorted(row["device"] for row in found)
        wrong = None if len(bits) == 1 else "two GPUs gave other bits"
        wrong = wrong if len(set(devices)) == workers else f"{workers} processes took the GPUs {devices}"
        context.emit(
            "several", workers=workers, devices=devices, scenarios=found[0]["scenarios"], seconds=seconds,
            each_seconds=[row["seconds"] for row in found], difference=wrong,
        )  # fmt: skip


def _each(pools: list[futures.Executor], work: Any, *given: Any) -> list[Any]:
    """What all of them give, at once."""
    return [future.result() for future in [pool.submit(work, *given) for pool in pools]]


def begin(emulate: bool, devices: int, scratch: str) -> None:
    """In a worker: take a device, and make the case."""
    from benchmarks.gpu_steps import Context, emulated

    _mine["context"] = context = Context(emulate, 0.0, Path(scratch))
    if emulate:
        _mine["device"] = emulated(devices)
        _mine["device"].__enter__()
    from gpu_bt.cuda.engine import ENGINE

    ENGINE.claim()
    bench = Bench(context, warm=False)
    _mine["spec"] = spec_of(bench.panel, (bench.weights(1.0),), bench.many)


def run() -> dict[str, Any]:
    """The case once; the first time with the panels' way to the device."""
    from gpu_bt.cuda.device import cupy
    from gpu_bt.cuda.engine import ENGINE

    start, spec = time.perf_counter(), _mine["spec"]
    raw, _ = run_cut(ENGINE, spec, 0)
    return {
        "device": int(cupy().cuda.runtime.getDevice()), "seconds": time.perf_counter() - start,
        "scenarios": len(spec.params), "bits": hashlib.sha256(raw.money.tobytes()).hexdigest(),
    }  # fmt: skip
