# SPDX-License-Identifier: Apache-2.0
"""What the device counts while the kernel runs: NVIDIA's Nsight Compute on a few bars; clocks and power under load."""

from __future__ import annotations

import csv
import io
import re
import shutil
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Case
from benchmarks.gpu_bench import Bench, spec_of
from benchmarks.gpu_bits import run_cut
from gpu_bt.data.panel import Panel

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["clock", "metrics", "profile", "profiled"]

#: Bars of the launch that is counted.
_BARS = 64
#: Of all that Nsight Compute counts: instructions, local memory, bytes of L2 and memory, float64, why warps wait.
_KEPT = re.compile(
    r"inst_executed\.sum$|local|lts__t_bytes|dram__bytes|fp64|op_d(add|mul|fma)|stall|warps_active|throughput|duration"
    r"|cycles"
)
#: Seconds under load, and between two readings of the clock.
_LOAD, _EVERY = 4.0, 0.2


def profile(context: Context) -> None:
    """A row for one scenario and one for many, dense, and the same at 10 %."""
    tool = shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")
    if context.emulate:
        profiled(context)
    if context.emulate or tool is None:
        context.emit("skipped", step="profile", reason="emulated" if context.emulate else "no Nsight Compute (ncu)")
        return
    from benchmarks.gpu_steps import limited

    for density, many in ((1.0, True), (1.0, False), (0.1, True), (0.1, False)):
        left = context.until - time.monotonic()
        if left < 5:
            context.emit("left_out", case=f"profile {density:.0%}, {many}", reason="time")
            continue
        options = context.given(left, variant=(density < 1.0, many))
        command = [
            tool, "--set", "full", "--kernel-name", "bt_bars", "--launch-count", "1", "--clock-control", "none",
            "--csv", "--page", "raw", sys.executable, "-m", "benchmarks.gpu_steps", "profiled", options,
        ]  # fmt: skip
        code, said = limited(command, left)
        found = metrics(said)
        row: dict[str, Any] = {"density": density, "many": many, "bars": _BARS, "metrics": found}
        if not found:
            row |= {"status": code, "text": said[-2000:]}
        context.emit("profile", **row)
        if not found:  # the others would say the same
            return


def profiled(context: Context) -> None:
    """The launch that is counted: the first bars of a case."""
    sparse, many = context.variant or (False, False)
    from gpu_bt.cuda.engine import ENGINE

    bench = Bench(context, warm=False)  # the first launch is the one that is counted
    full, bars = bench.panel, min(_BARS, bench.bars)
    part = Panel(close=full.close[:bars], open=full.open[:bars], timestamps=full.timestamps[:bars], assets=full.assets)
    book = bench.weights(0.1 if sparse else 1.0)[:bars]
    run_cut(ENGINE, spec_of(part, (book,), bench.many if many else 1), 0)


def metrics(said: str) -> dict[str, float]:
    """Metric -> value of the first kernel in what `ncu --csv --page raw` prints: lines of names, units and values."""
    lines = said.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        return {}
    table = list(csv.reader(io.StringIO("\n".join(line for line in lines[start:] if line.startswith('"')))))
    if len(table) < 3:
        return {}
    found = {}
    for name, unit, value in zip(*table[:3], strict=False):
        if _KEPT.search(name):
            try:
                found[f"{name} [{unit}]" if unit else name] = float(value.replace(",", ""))
            except ValueError:
                continue
    return found


def clock(context: Context) -> None:
    """Clock, power and temperature while many scenarios run again and again."""
    from gpu_bt.cuda.engine import ENGINE

    bench, tool = Bench(context), shutil.which("nvidia-smi")
    spec = spec_of(bench.panel, (bench.weights(1.0),), bench.many)
    lanes = run_cut(ENGINE, spec, 0)[1].parts[0].lanes
    lanes.launch["t0"], lanes.launch["t1"] = 0, bench.bars
    lanes.call(lanes.launch)  # from where the run ended, over the same bars: the device alone works
    if context.emulate or tool is None:
        context.emit("skipped", step="clock", reason="emulated" if context.emulate else "no nvidia-smi")
        return
    names = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "utilization.gpu")
    query = [tool, f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits", f"-lms={round(1000 * _EVERY)}"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        until, runs = time.monotonic() + _LOAD, 0
        while time.monotonic() < until and not context.late():
            lanes.call(lanes.launch)
            runs += 1
        process.terminate()
        said = process.communicate()[0]
    context.emit(
        "clock", case=str(Case(bench.bars, bench.assets, 1.0, 1, bench.many)), runs=runs, **readings(names, said)
    )


def readings(names: tuple[str, ...], said: str) -> dict[str, Any]:
    """Least, median and most of each column of what nvidia-smi prints; what is no number is left out."""
    found = {}
    rows = [line.split(",") for line in said.splitlines()]
    for i, name in enumerate(names):
        values = [float(row[i]) for row in rows if len(row) == len(names) and re.fullmatch(r"\s*[\d.]+\s*", row[i])]
        if values:
            found[name] = [min(values), statistics.median(values), max(values)]
    return found
