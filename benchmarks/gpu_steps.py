# SPDX-License-Identifier: Apache-2.0
"""The steps of benchmarks.gpu_check, each in a process of its own: python -m benchmarks.gpu_steps STEP OPTIONS.

OPTIONS is JSON: emulate (bool), seconds (what the step may take). A step prints its rows as it goes, a line each:
MARK, then JSON with the section that the row belongs to. NumPy is all that is needed beside CuPy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MARK", "MINIMUM", "STEPS", "Context", "main"]

ROOT = Path(__file__).resolve().parent.parent
MARK = "@row "
#: Runs of a median, at least.
MINIMUM = 3


@dataclasses.dataclass
class Context:
    """Where a step works: `emulate` at tiny sizes on the CPU; `until` is the moment after which it begins nothing;
    `variant` is (full, shared) of the step that compiles one."""

    emulate: bool
    until: float
    variant: tuple[bool, bool] = (False, False)

    def late(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self.until

    def emit(self, section: str, **row: Any) -> None:
        """Hand a row to the parent, in one write: processes that run at once share the pipe."""
        sys.stdout.write(MARK + json.dumps({"section": section, "row": row}) + "\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def device(self) -> Iterator[None]:
        """The CUDA engine's device: CuPy's, or the emulator's."""
        if not self.emulate:
            yield
            return
        tests_on_path()
        from emulator.fake_cupy import FakeCupy, installed

        with installed(FakeCupy()):
            yield


def tests_on_path() -> None:
    """Make tests/ importable: what it draws and the emulator; without hypothesis, whose name alone is asked for."""
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        import hypothesis.strategies  # noqa: F401
    except ImportError:
        import types

        stub = types.ModuleType("hypothesis")
        stub.strategies = types.ModuleType("hypothesis.strategies")  # type: ignore[attr-defined]
        sys.modules |= {"hypothesis": stub, "hypothesis.strategies": stub.strategies}


def step_versions(context: Context) -> None:
    """The device, or why there is none; versions of what sets the speed."""
    with context.device():
        from gpu_bt.cuda.device import Device, cupy, probe

        found = probe()
        if not isinstance(found, Device):
            context.emit("missing", reason=found)
            return
        row: dict[str, Any] = dataclasses.asdict(found) | {"emulated": context.emulate}
        if not context.emulate:
            runtime = cupy().cuda.runtime
            properties = runtime.getDeviceProperties(found.number)
            row |= {
                "memory_bytes": known(lambda: int(properties["totalGlobalMem"])),
                "free_bytes": known(lambda: int(runtime.memGetInfo()[0])),
                "l2_bytes": known(lambda: int(properties["l2CacheSize"])),
                "driver_cuda": known(lambda: _dotted(runtime.driverGetVersion())),
                "runtime_cuda": known(lambda: _dotted(runtime.runtimeGetVersion())),
                "nvrtc": known(lambda: ".".join(map(str, cupy().cuda.nvrtc.getVersion()))),
                "cupy": cupy().__version__,
                "driver": known(lambda: _smi("driver_version")),
                "max_clock_mhz": known(lambda: _smi("clocks.max.sm")),
            }
        context.emit("device", **row)


def known(read: Callable[[], Any]) -> Any:
    """What it gives, None where it fails: nothing beside the point ends a step."""
    try:
        return read()
    except Exception:
        return None


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _smi(field: str) -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip().splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def step_compile(context: Context) -> None:
    """Every variant from its text, in an empty cache of CuPy that later steps share; all at once, a process each."""
    started = []
    for variant in itertools.product((False, True), (True, False)):
        given = {"emulate": context.emulate, "seconds": context.until - time.monotonic(), "variant": variant}
        command = [sys.executable, "-m", "benchmarks.gpu_steps", "variant", json.dumps(given)]
        started.append(subprocess.Popen(command, cwd=ROOT))
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"a variant did not compile: exit statuses {codes}")


def step_variant(context: Context) -> None:
    """One variant of the kernel."""
    full, shared = context.variant
    with context.device():
        from gpu_bt.cuda.device import cupy
        from gpu_bt.cuda.module import kernel

        start = time.perf_counter()
        made = kernel(cupy(), full, shared)
        row = {"full": full, "shared": shared, "seconds": time.perf_counter() - start}
        if not context.emulate:
            row |= {"registers": known(lambda: int(made.num_regs))}
            row |= {"local_bytes": known(lambda: int(made.local_size_bytes))}
        context.emit("compile", **row)


def step_bits(context: Context) -> None:
    """Every variant against the NumPy engine on drawn scenarios."""
    from benchmarks import gpu_bits

    with context.device():
        gpu_bits.check(context)


def step_small(context: Context) -> None:
    """A few drawn scenarios on every variant, for the sanitizer: allocations are the driver's own, so that it sees
    where each one ends."""
    from benchmarks import gpu_bits

    with context.device():
        if not context.emulate:
            from gpu_bt.cuda.device import cupy

            cupy().cuda.set_allocator(None)
        gpu_bits.check(context, small=True)


def step_sanitizer(context: Context) -> None:
    """NVIDIA's sanitizer on the step `small`."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if context.emulate or tool is None:
        context.emit("skipped", step="sanitizer", reason="emulated" if context.emulate else "no compute-sanitizer")
        return
    names = ("memcheck", "racecheck", "synccheck")
    for i, name in enumerate(names):
        seconds = (context.until - time.monotonic()) / (len(names) - i)
        options = json.dumps({"emulate": False, "seconds": seconds / 2})
        command = [tool, "--tool", name, "--error-exitcode", "9", sys.executable, "-m", "benchmarks.gpu_steps"]
        start, row = time.perf_counter(), {"tool": name}
        code, said = limited([*command, "small", options], seconds)
        if code is None:
            context.emit("sanitizer", **row, clean=None, text=f"not done within {seconds:.0f} s")
            continue
        lines = [line for line in said.splitlines() if line.startswith("=========")]
        variants = len(re.findall(r'"section": "bits"', said))
        context.emit(
            "sanitizer", **row, clean=code == 0 and variants > 0, seconds=time.perf_counter() - start,
            variants=variants, text="\n".join(lines[:12] + lines[-2:]) if lines else said[-400:],
        )  # fmt: skip


def limited(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit status (None: ended for want of time) and output of a command and of what it starts."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, process_group=0)
        code: int | None = None
        try:
            code = process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return code, output.read()


def step_bench(context: Context) -> None:
    """The rows of 2520x5000."""
    from benchmarks import gpu_bench

    with context.device():
        gpu_bench.rows(context)


def step_sweep(context: Context) -> None:
    """Threads of a block and scenarios of a block."""
    from benchmarks import gpu_bench

    with context.device():
        gpu_bench.sweep(context)


def step_micro(context: Context) -> None:
    """Launches, sums over a block, copies."""
    from benchmarks import gpu_micro

    with context.device():
        gpu_micro.measure(context)


def step_jax(context: Context) -> None:
    """A simpler model in JAX on the same device."""
    from benchmarks import gpu_jax

    gpu_jax.measure(context)


def step_cpu(context: Context) -> None:
    """The CPU engines on the same machine."""
    from benchmarks import gpu_bench

    gpu_bench.cpu_rows(context)


STEPS: dict[str, Callable[[Context], None]] = {
    name.removeprefix("step_"): value for name, value in list(globals().items()) if name.startswith("step_")
}


def main() -> None:
    """One step."""
    options = json.loads(sys.argv[2])
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    np.seterr(all="ignore")  # drawn scenarios overflow on purpose
    until = time.monotonic() + options["seconds"]
    STEPS[sys.argv[1]](Context(options["emulate"], until, tuple(options.get("variant", (False, False)))))


if __name__ == "__main__":
    main()
