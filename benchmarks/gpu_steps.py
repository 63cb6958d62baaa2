# SPDX-License-Identifier: Apache-2.0
"""The steps of benchmarks.gpu_check, each in a process of its own: python -m benchmarks.gpu_steps STEP OPTIONS.

OPTIONS is JSON: emulate (bool), seconds (what the step may take), scratch (a folder that steps share). A step prints
its rows as it goes, a line each: MARK, then JSON with the section that the row belongs to. NumPy is all that is needed
beside CuPy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
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

from gpu_bt.errors import EngineUnavailable

__all__ = [
    "FIRST", "MARK", "ROOT", "STEPS", "Context", "all_done", "emulated", "known", "limited", "main", "tests_on_path",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
MARK = "@row "
#: The drawn scenarios that most runs are like, and the only ones that `bits_first` and `memcheck` look at.
FIRST = "plain"
#: Seconds that processes have to tell what they know when they are ended, within the 2 of a step.
_LAST_WORDS = 1.5
#: Characters of a compiler's log that are kept, so that a row is one write of a pipe, whoever else writes.
LOG = 3_000


@dataclasses.dataclass
class Context:
    """Where a step works: `emulate` at tiny sizes on the CPU; `until` is the moment after which it begins nothing;
    `scratch` is the folder of what steps share; `variant` is what the step is given beside: the Variant that one
    compiles, the kind of scenarios (gpu_bits.KINDS) that alone is compared, the case that is profiled."""

    emulate: bool
    until: float
    scratch: Path
    variant: Any = None

    def given(self, seconds: float, **more: Any) -> str:
        """OPTIONS of a step that this one starts."""
        return json.dumps({"emulate": self.emulate, "seconds": seconds, "scratch": str(self.scratch)} | more)

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
        with emulated() if self.emulate else contextlib.nullcontext():
            yield


def emulated(devices: int = 1) -> contextlib.AbstractContextManager[Any]:
    """The CUDA engine's device is the emulator's, whose arrays reckon as CuPy's do."""
    tests_on_path()
    from emulator.fake_cupy import installed
    from emulator.fake_numbers import Reckoning

    return installed(Reckoning(devices=devices))


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
        context.emit("device", **row)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.stdout.strip().splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def step_compile(context: Context) -> None:
    """The variants of all timed cases from their text, in an empty cache of CuPy that later steps share; all at once, a
    process each."""
    compile_variants(context, every=True)


def step_compile_first(context: Context) -> None:
    """Those of the first two cases."""
    compile_variants(context, every=False)


def compile_variants(context: Context, every: bool) -> None:
    """A process for each; SystemExit where one fails."""
    from benchmarks.gpu_variants import variants

    started = []
    start = time.perf_counter()
    with context.device():
        try:
            wanted = variants(context, every)
        except EngineUnavailable as exc:  # the kernel that prepares plain bars, with which planning begins
            context.emit("compile", plan=True, seconds=time.perf_counter() - start, log=str(exc.__cause__)[:LOG])
            raise SystemExit("the kernel that prepares plain bars does not compile") from None
    for variant in wanted:
        given = context.given(context.until - time.monotonic(), variant=variant)
        command = [sys.executable, "-m", "benchmarks.gpu_steps", "variant", given]
        started.append(subprocess.Popen(command, cwd=ROOT))
    all_done(started, "a variant did not compile")


def step_variant(context: Context) -> None:
    """One variant of the kernel; where it does not compile, the compiler's log is its row."""
    with context.device():
        from gpu_bt.cuda.device import cupy
        from gpu_bt.cuda.module import Variant, kernel

        start, row = time.perf_counter(), dict(context.variant)
        try:
            made = kernel(cupy(), Variant(**row))
        except Exception as exc:
            log = str(exc.__cause__ or exc)[:LOG]  # of the compiler, not the line that a user is shown
            context.emit("compile", **row, seconds=time.perf_counter() - start, log=log)
            raise SystemExit(f"{row}: {type(exc).__name__}") from None
        row |= {"seconds": time.perf_counter() - start}
        if not context.emulate:
            row |= {"registers": known(lambda: int(made.num_regs))}
            row |= {"local_bytes": known(lambda: int(made.local_size_bytes))}
        context.emit("compile", **row)


def all_done(started: list[subprocess.Popen[bytes]], failure: str) -> None:
    """Wait for processes. SystemExit as soon as one fails; then, or where this process is ended, the others are too."""
    try:
        while None in (codes := [process.poll() for process in started]) and not any(codes):
            time.sleep(0.05)
        if any(codes):
            raise SystemExit(f"{failure}: exit statuses {codes}")
    finally:
        for process in started:
            process.terminate()
        until = time.monotonic() + _LAST_WORDS
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()


def step_bits(context: Context) -> None:
    """Every variant against the NumPy engine on drawn scenarios, until time is up; processes share the variants, since
    each of these is compiled when it is first met."""
    from benchmarks.gpu_bits import GROUPS

    started = []
    for part in range(1 if context.emulate else len(GROUPS)):
        given = context.given(context.until - time.monotonic(), variant=part)
        started.append(subprocess.Popen([sys.executable, "-m", "benchmarks.gpu_steps", "bits_part", given], cwd=ROOT))
    all_done(started, "a comparison ended")


def step_bits_part(context: Context) -> None:
    """One process of `step_bits`."""
    from benchmarks import gpu_bits

    with context.device():
        gpu_bits.check(dataclasses.replace(context, variant=None), part=None if context.emulate else context.variant)


def step_bits_first(context: Context) -> None:
    """Three drawn scenarios on the variant of most runs."""
    from benchmarks import gpu_bits

    with context.device():
        gpu_bits.check(dataclasses.replace(context, variant=FIRST), few=True)


def step_small(context: Context) -> None:
    """A few drawn scenarios, for a sanitizer: allocations are the driver's own, so that it sees where each one ends."""
    from benchmarks import gpu_bits

    with context.device():
        if not context.emulate:
            from gpu_bt.cuda.device import cupy

            cupy().cuda.set_allocator(None)
        gpu_bits.check(context, few=True)


def step_memcheck(context: Context) -> None:
    """One tool of NVIDIA's sanitizer on the variant of most runs."""
    sanitize(context, ("memcheck",), {"variant": FIRST})


def step_sanitizer(context: Context) -> None:
    """Its tools on every variant."""
    sanitize(context, ("memcheck", "racecheck", "synccheck"), {})


def sanitize(context: Context, names: tuple[str, ...], more: dict[str, Any]) -> None:
    """Each of these tools on the step `small`, with what time there is shared evenly."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if context.emulate or tool is None:
        context.emit("skipped", step="sanitizer", reason="emulated" if context.emulate else "no compute-sanitizer")
        return
    for i, name in enumerate(names):
        seconds = (context.until - time.monotonic()) / (len(names) - i)
        options = context.given(seconds / 2, **more)
        command = [tool, "--tool", name, "--error-exitcode", "9"]
        command += ["--report-api-errors", "no"] if name == "memcheck" else []  # CuPy handles some, such as a probe's
        command += [sys.executable, "-m", "benchmarks.gpu_steps"]
        start, row = time.perf_counter(), {"tool": name}
        code, said = limited([*command, "small", options], seconds)
        if code is None:
            context.emit("sanitizer", **row, clean=None, text=f"not done within {seconds:.0f} s")
            continue
        lines = [line for line in said.splitlines() if line.startswith("=========")]
        rows = [json.loads(line.removeprefix(MARK))["row"] for line in said.splitlines() if line.startswith(MARK)]
        differs = [found["difference"] for found in rows if found.get("difference")]
        clean = {0: True if rows else None, 9: False}.get(code)  # any other status is the tool's or the program's own
        context.emit(
            "sanitizer", **row, clean=clean, status=code, seconds=time.perf_counter() - start, variants=len(rows),
            difference=differs[0] if differs else None,
            text="\n".join(lines[:12] + lines[-2:]) if lines else said[-400:],
        )  # fmt: skip


def step_several(context: Context) -> None:
    """A process for each GPU."""
    from benchmarks import gpu_several

    with emulated(2) if context.emulate else contextlib.nullcontext():
        gpu_several.measure(context)


def limited(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit status (None: ended for want of time) and output of a command and of what it starts."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until somebody would end what is started here
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, process_group=0)
        code: int | None = None
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            code = process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            pass
        finally:  # also where this step itself is ended
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return code, output.read()


def part_of(module: str, function: str) -> Callable[[Context], None]:
    """A step that is a function of another file, on the engine's device."""

    def step(context: Context) -> None:
        with context.device():
            getattr(importlib.import_module(f"benchmarks.{module}"), function)(context)

    return step


STEPS: dict[str, Callable[[Context], None]] = {
    name.removeprefix("step_"): value for name, value in list(globals().items()) if name.startswith("step_")
} | {
    "rows_first": part_of("gpu_bench", "first"),
    "rows": part_of("gpu_bench", "rows"),
    "resident": part_of("gpu_resident", "rows"),
    "rows_other": part_of("gpu_other", "rows"),
    "blocks": part_of("gpu_bench", "blocks"),
    "profile": part_of("gpu_profile", "profile"),
    "profiled": part_of("gpu_profile", "profiled"),
    "clock": part_of("gpu_profile", "clock"),
    "micro": part_of("gpu_micro", "measure"),
    "jax": part_of("gpu_jax", "measure"),
    "cpu": part_of("gpu_cpu", "rows"),
}


def main() -> None:
    """One step."""
    options = json.loads(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    np.seterr(all="ignore")  # drawn scenarios overflow on purpose
    variant = options.get("variant")
    until = time.monotonic() + options["seconds"]
    STEPS[sys.argv[1]](Context(options["emulate"], until, Path(options["scratch"]), variant))


if __name__ == "__main__":
    main()
