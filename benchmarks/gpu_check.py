# SPDX-License-Identifier: Apache-2.0
"""Everything that only a machine with a GPU can say, in three stages: python -m benchmarks.gpu_check [STAGE ...].

    smoke    two minutes at most: it compiles, three draws have NumPy's bits, two timings, memcheck is content
    measure  five minutes: every variant against NumPy, timed cases, data on the device, counters, blocks, latencies
    rest     five minutes: JAX, sanitizers, other panels and the full kernel, a strategy, every GPU, clocks, the CPU

Without a name all of them, in this order; `smoke measure` takes two together; `--steps bits=60,resident` takes steps
alone, after those that they need, as the stage "some", whose rows take the place of those of the other stages. Each may
be a call of its own on a fresh machine, and writes a file of its own, FOLDER/gpu-DEVICE-STAGE.json; `python -m
benchmarks.tables` puts them together.
From the root of a checkout; Python, NumPy and CuPy are enough, the package need not be installed. FOLDER is $OUT where
that is set, else benchmarks/results/. A row is on disk as soon as it is known, so that an end from outside loses
nothing. A step of the engine that fails ends the call, and says why with the compiler's log. The exit status is 1 where
there is no device, where a bit differs, and where a step failed.

--emulate runs all of it at tiny sizes on the CPU: it shows that the script works and measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import MARK, ROOT
from benchmarks.gpu_tables import KIND, SECTIONS, report
from benchmarks.machine import machine, versions
from gpu_bt.cuda.module import NVRTC_OPTIONS, source

__all__ = ["STAGES", "main"]

#: Stage -> step -> seconds it may take, the most wanted first. Together they leave 160 s of a quarter of an hour to
#: three starts of a machine.
STAGES: dict[str, dict[str, float]] = {
    "smoke": {"versions": 20, "compile_first": 25, "bits_first": 10, "rows_first": 35, "memcheck": 20},
    "measure": {
        "versions": 20, "compile": 45, "bits": 60, "rows": 60, "resident": 30, "profile": 40, "blocks": 20, "micro": 15,
    },
    "rest": {
        "versions": 20, "compile": 45, "sanitizer": 90, "rows_other": 50, "several": 20, "clock": 20, "jax": 30,
        "cpu": 20,
    },
}  # fmt: skip
#: Of a step's seconds, how long it begins new work; after all of them it is ended.
_BEGINS = 0.7
#: What a row of "bits" tells of its variant.
_TOLD = {"scenarios": None, "difference": None}
#: Steps without which the others make no sense, be it for want of time; and those whose failure is the engine's.
_FIRST = ("versions", "compile", "compile_first")
_ENGINE = (*_FIRST, "bits", "bits_first", "rows", "rows_first")


class Check:
    """One stage: its steps so far, and the file."""

    def __init__(self, options: argparse.Namespace, stage: str) -> None:
        self.options, self.stage, self.began, self.path = options, stage, time.monotonic(), None
        self.found: dict[str, Any] = {
            "kind": KIND, "stage": stage, "emulated": options.emulate, "complete": False, "equal": None,
            "date": datetime.date.today().isoformat(), "sources": sources(), "device": None, "machine": machine(),
            "versions": versions() | {"python": platform.python_version()}, "steps": {}, "seconds": 0.0,
        } | {name: [] for name in SECTIONS}  # fmt: skip

    def take(self, section: str, row: dict[str, Any]) -> None:
        """A row of a step."""
        if section == "device":
            self.found["device"] = row
            name = re.sub(r"[^a-z0-9]+", "-", row["name"].lower()).strip("-")
            self.path = self.options.out / f"gpu-{name}-{self.stage}.json"
        elif section == "missing":
            self.found["device"] = row["reason"]
        else:
            same = [r for r in self.found["bits"] if r | _TOLD == row | _TOLD] if section == "bits" else []
            if same:  # a process tells of a variant again and again, each time what came since
                same[0]["scenarios"] += row["scenarios"]
                same[0]["difference"] = same[0]["difference"] or row["difference"]
            else:
                self.found[section].append(row)
        self.write()

    def write(self) -> None:
        """The file as of now, whole or not at all."""
        self.found["equal"] = _equal(self.found)
        self.found["seconds"] = time.monotonic() - self.began
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.found, indent=1) + "\n")
        os.replace(part, self.path)

    def run(self, scratch: Path) -> bool:
        """All steps of the stage, until one fails; whether none did."""
        steps = STAGES.get(self.stage) or self.options.steps
        scale, until = self.options.scale, self.began + self.options.scale * sum(steps.values())
        for name, seconds in steps.items():
            left = until - time.monotonic()
            if left < 5 * min(1.0, scale):
                self.found["skipped"].append({"step": name, "reason": "time"})
                continue
            status = self.step(name, min(seconds * scale, left), scratch)
            if (status == "failed" and name in _ENGINE) or (status != "done" and name in _FIRST):
                return False
        self.found["complete"] = all(step["status"] == "done" for step in self.found["steps"].values())
        self.found["complete"] &= list(self.found["steps"]) == list(steps)
        self.write()
        return all(step["status"] != "failed" for step in self.found["steps"].values())

    def step(self, name: str, seconds: float, scratch: Path) -> str:
        """Run a step in a process of its own, and end it when its time is up; how it ended."""
        given = json.dumps({"emulate": self.options.emulate, "seconds": _BEGINS * seconds, "scratch": str(scratch)})
        command = [sys.executable, "-m", "benchmarks.gpu_steps", name, given]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUPY_CACHE_DIR": str(scratch / "cupy")}
        start, last, broken, ended = time.monotonic(), [], False, threading.Event()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, process_group=0,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip

            def end() -> None:
                ended.set()
                _kill(process)

            timer = threading.Timer(seconds, end)
            timer.start()
            try:
                for line in process.stdout or ():
                    if not line.startswith(MARK):
                        last = [*last[-19:], line.rstrip()]
                        continue
                    try:
                        self.take(**json.loads(line.removeprefix(MARK)))
                    except ValueError:
                        last, broken = [*last[-19:], f"not a row: {line.rstrip()}"], True
                code = process.wait() or int(broken)
            finally:
                timer.cancel()
                _kill(process)  # what it may have left
        status = "out of time" if ended.is_set() else "done" if code == 0 else "failed"
        took = time.monotonic() - start
        self.found["steps"][name] = {"status": status, "seconds": took, "last": last if code else []}
        self.write()
        if self.path is not None:
            print(f"{self.stage}, {name}: {status}, {took:.0f} s", file=sys.stderr, flush=True)
            if status == "failed":
                logs = [row["log"] for row in self.found["compile"] if row.get("log")]
                print("\n".join([*logs[:1], *last]), file=sys.stderr, flush=True)
        return status


def _kill(process: subprocess.Popen[str]) -> None:
    """First by a signal after which a step ends what it has started, such as a profiler in a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        os.killpg(process.pid, signal.SIGKILL)
    process.poll()


def sources() -> str:
    """A digest of what makes the kernel and its launches."""
    names = ("device.py", "engine.py", "lanes.py", "plain.py")
    text = "".join((ROOT / "gpu_bt" / "cuda" / name).read_text("utf-8") for name in names)
    return hashlib.sha256(repr((source(), NVRTC_OPTIONS, text)).encode()).hexdigest()[:32]


def _equal(found: dict[str, Any]) -> bool | None:
    """Whether every comparison made agrees; None before the first."""
    rows = [row for name in SECTIONS for row in found[name] if "difference" in row]
    return all(row["difference"] is None for row in rows) if rows else None


def _steps(text: str) -> dict[str, float]:
    """Of `--steps`: the seconds of each step, as many as it has in its stage where none are given, after those that all
    need."""
    usual = {name: seconds for steps in STAGES.values() for name, seconds in steps.items()}
    found = {name: usual[name] for name in _FIRST[:2]}
    for name, _, seconds in (part.partition("=") for part in text.split(",")):
        if name not in usual:
            raise argparse.ArgumentTypeError(f"there is no step {name!r}: take some of {', '.join(usual)}")
        found[name] = float(seconds or usual[name])
    return found


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description="Verify and time on a GPU.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{', '.join(STAGES)}; without one all, in turn")
    parser.add_argument("--steps", type=_steps, metavar="STEP[=SECONDS],...", help="these alone, as the stage 'some'")
    parser.add_argument("--out", type=Path, help="default: $OUT, else benchmarks/results")
    parser.add_argument("--scale", type=float, default=1.0, help="of the time that every step is given (default: 1)")
    parser.add_argument("--emulate", action="store_true", help="tiny, on the CPU; measures nothing; needs --out")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"there is no stage {unknown[0]!r}: take one of {', '.join(STAGES)}")
    if options.steps and options.stages:
        parser.error("--steps are a stage of their own: leave out the names of others")
    if options.emulate and options.out is None:
        parser.error("--emulate needs --out: what it writes is no result")
    options.out = (options.out or Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")).resolve()
    return options


def main(arguments: list[str] | None = None) -> int:
    """The stages asked for; the exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a step's process is ended too
    with tempfile.TemporaryDirectory() as scratch:
        for stage in ("some",) if options.steps else options.stages or STAGES:
            check = Check(options, stage)
            good = check.run(Path(scratch))
            if check.path is None:
                last = check.found["steps"]["versions"]["last"]
                reason = check.found["device"] or (last[-1] if last else "its step was out of time")
                print(f"gpu-check: {reason}", file=sys.stderr)
                return 1
            print(report(check.found))
            print(f"written to {check.path}", flush=True)
            dirty = any(row["clean"] is False for row in check.found["sanitizer"])
            if not good or dirty or not check.found["equal"]:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
