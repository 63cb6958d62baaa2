# SPDX-License-Identifier: Apache-2.0
"""Everything that only a machine with a GPU can say, in one command: python -m benchmarks.gpu_check [--out FOLDER].

From the root of a checkout; Python, NumPy and CuPy are enough, the package need not be installed. Equality of bits with
the NumPy engine comes first, then timings; a row is on disk as soon as it is known, so that an end from outside loses
nothing. The file is FOLDER/gpu-DEVICE.json; FOLDER is $OUT where that is set, else benchmarks/results/. The exit status
is 1 where there is no device, where a bit differs, and where a step failed.

--emulate runs all of it at tiny sizes on the CPU: it shows that the script works and measures nothing.
"""

from __future__ import annotations

import argparse
import datetime
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
from benchmarks.gpu_tables import KIND, report
from benchmarks.machine import machine, versions
from cpu_fallback.native_build import build_id

__all__ = ["BUDGETS", "main"]

#: Step -> seconds it may take, the most wanted first; together under ten minutes.
BUDGETS = {
    "versions": 30, "compile": 80, "bits": 70, "bench": 140, "jax": 60, "micro": 25, "sanitizer": 70, "sweep": 50,
    "cpu": 50,
}  # fmt: skip
#: Of a step's seconds, how long it begins new work; after all of them it is ended.
_BEGINS = 0.7
_SECTIONS = ("compile", "bits", "cases", "jax", "micro", "sanitizer", "sweep", "cpu", "left_out", "skipped")


class Check:
    """One run: the steps so far, and the file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.began, self.path = options, time.monotonic(), None
        self.found: dict[str, Any] = {
            "kind": KIND, "emulated": options.emulate, "complete": False, "equal": None,
            "date": datetime.date.today().isoformat(), "sources": build_id(), "device": None, "machine": machine(),
            "versions": versions() | {"python": platform.python_version()}, "steps": {}, "seconds": 0.0,
        } | {name: [] for name in _SECTIONS}  # fmt: skip

    def take(self, section: str, row: dict[str, Any]) -> None:
        """A row of a step."""
        if section == "device":
            self.found["device"] = row
            name = re.sub(r"[^a-z0-9]+", "-", row["name"].lower()).strip("-")
            self.path = self.options.out / f"gpu-{name}.json"
        elif section == "missing":
            self.found["device"] = row["reason"]
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

    def step(self, name: str, seconds: float, cache: str) -> None:
        """Run a step in a process of its own, and end it when its time is up."""
        given = json.dumps({"emulate": self.options.emulate, "seconds": _BEGINS * seconds})
        command = [sys.executable, "-m", "benchmarks.gpu_steps", name, given]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUPY_CACHE_DIR": cache}
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
        self.found["steps"][name] = {
            "status": status,
            "seconds": time.monotonic() - start,
            "last": last if code else [],
        }
        self.write()
        text = f" ({last[-1]})" if status == "failed" and last else ""
        if self.path is not None:
            print(f"{name}: {status}, {time.monotonic() - start:.0f} s{text}", file=sys.stderr, flush=True)


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.poll()


def _equal(found: dict[str, Any]) -> bool | None:
    """Whether every comparison made agrees; None before the first."""
    rows = [*found["bits"], *found["cases"], *found["sweep"], *found["cpu"]]
    return all(row["difference"] is None for row in rows) if rows else None


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description="Verify and time on a GPU.")
    parser.add_argument("--out", type=Path, help="default: $OUT, else benchmarks/results")
    parser.add_argument("--only", action="append", choices=list(BUDGETS), help="this step alone (may be given again)")
    parser.add_argument(
        "--seconds", type=float, default=sum(BUDGETS.values()), help="for all steps (default: %(default)s)"
    )
    parser.add_argument("--emulate", action="store_true", help="tiny, on the CPU; measures nothing; needs --out")
    options = parser.parse_args(arguments)
    if options.emulate and options.out is None:
        parser.error("--emulate needs --out: what it writes is no result")
    options.out = (options.out or Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")).resolve()
    return options


def main(arguments: list[str] | None = None) -> int:
    """All steps; the exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a step's process is ended too
    check, scale = Check(options), options.seconds / sum(BUDGETS.values())
    wanted = ["versions", *(name for name in BUDGETS if name in (options.only or BUDGETS) and name != "versions")]
    with tempfile.TemporaryDirectory() as cache:
        for name in wanted:
            left = options.seconds - (time.monotonic() - check.began)
            if left < 5:
                check.found["skipped"].append({"step": name, "reason": "time"})
                continue
            check.step(name, min(BUDGETS[name] * scale, left), cache)
            if name == "versions" and check.path is None:
                last = check.found["steps"][name]["last"]
                reason = check.found["device"] or (last[-1] if last else "its step was out of time")
                print(f"gpu-check: {reason}", file=sys.stderr)
                return 1
    failed = [name for name, step in check.found["steps"].items() if step["status"] == "failed"]
    dirty = [row["tool"] for row in check.found["sanitizer"] if row["clean"] is False]
    compared = check.found["equal"] or ("bits" not in wanted and check.found["equal"] is None)
    check.found["complete"] = wanted == list(BUDGETS) and all(
        step["status"] == "done" for step in check.found["steps"].values()
    )
    check.write()
    print(report(check.found))
    print(f"written to {check.path}")
    return int(not compared or bool(failed) or bool(dirty))


if __name__ == "__main__":
    raise SystemExit(main())
