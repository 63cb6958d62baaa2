# SPDX-License-Identifier: Apache-2.0
"""All benchmarks in one command: python -m benchmarks.run [--quick] [--peers --peer-python PYTHON] [--out FILE].

From the root of the repository. Results are verified first; a difference ends the run before anything is timed. Then
each engine of this machine is timed on each shape, in a process of its own. `python -m benchmarks.tables` renders the
docs/speed.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.cases import SHAPES, Case, widths
from benchmarks.machine import machine, versions
from benchmarks.verify import engines, verify

__all__ = ["main"]

_RESULTS = Path(__file__).with_name("results")
_REPEATS = 5


def main(arguments: list[str] | None = None) -> Path:
    """Verify, time, write the JSON; returns its path."""
    options = _options(arguments)
    missing = engines()
    names = [n for n, reason in missing.items() if reason is None and n in (options.engine or [n])]
    for name, reason in missing.items():
        print(f"{name}: {reason or 'present'}", file=sys.stderr)
    if not names:
        raise SystemExit("none of the engines asked for runs on this machine")
    checks = verify(names)
    fastest = names[-1]
    if options.peers:
        checks += [peers.check(options.peer_python, name) for name in names]
    print(f"{len(checks)} checks passed; timing", file=sys.stderr, flush=True)
    shapes = [s for s in SHAPES[: 1 if options.quick else None] if s[0] * s[1] <= options.max_cells]
    many = [(name, threads) for name in names for threads in _threads(name)]
    rows: list[dict[str, Any]] = []
    for bars, assets in shapes:
        for name, threads in many:
            rows += _measured(name, threads, bars, assets, options)
    wide: list[dict[str, Any]] = []
    for case in widths(options.quick):
        if case.bars * case.assets <= options.max_cells:
            for name in names:  # one scenario, one thread
                wide += _measured(name, 1, case.bars, case.assets, options)
    compared: list[dict[str, Any]] = []
    if options.peers:
        for bars, assets in shapes[:2]:
            for density in (0.1, 1.0):
                compared += peers.compare(options.peer_python, Case(bars, assets, density, 1), fastest, options.repeats)
    found = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "repeats": options.repeats,
        "missing_engines": {n: r for n, r in missing.items() if r is not None},
        "checks": checks,
        "cases": rows,
        "widths": wide,
        "peers": compared,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {options.out}", file=sys.stderr)
    return options.out


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Verify, then time.")
    parser.add_argument("--quick", action="store_true", help="the smallest shape only, for a minute's run")
    parser.add_argument("--repeats", type=int, default=_REPEATS, help="timed runs per case, after a first one")
    parser.add_argument("--engine", action="append", help="only this engine (may be given again)")
    parser.add_argument("--max-cells", type=float, default=1e12, help="leave out shapes with more bars * assets")
    parser.add_argument("--peers", action="store_true", help="vectorbt beside it; needs --peer-python")
    parser.add_argument("--peer-python", help="the Python of an environment that has vectorbt")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE.json")
    options = parser.parse_args(arguments)
    if options.peers and not options.peer_python:
        parser.error('--peers needs --peer-python: make an environment and pip install "vectorbt[rust]==1.2.0" there')
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    options.out = options.out or _RESULTS / f"{datetime.date.today().isoformat()}.json"
    return options


def _threads(engine: str) -> list[int | None]:
    """What a native engine is timed with: one thread, and one for each processor (None)."""
    return [1, None] if engine == "native" and machine()["cores"] != 1 else [None]


def _measured(
    engine: str, threads: int | None, bars: int, assets: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The rows of one shape; `threads` 1 keeps the process to one processor, which a GPU does not mind."""
    given = {"engine": engine, "threads": threads, "bars": bars, "assets": assets, "repeats": options.repeats}
    given |= {"quick": options.quick}
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
