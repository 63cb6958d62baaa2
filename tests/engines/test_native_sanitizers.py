# SPDX-License-Identifier: Apache-2.0
"""The native engine under the compiler's sanitizers: no stray access, no undefined operation, no race, whatever an
edited state file says; and each of them sees a planted fault."""

from __future__ import annotations

import functools
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import state_files as files
from build import panel_of, simulate_spec, spec_of
from draw import scenario, to_public
from draw_books import draw_book, scored
from extent import seeds
from waits import HANGS

import gpu_bt as bt
from cpu_fallback.engine import ENGINE
from cpu_fallback.native_build import compile_library, library_name
from gpu_bt.runs.checkpoint import load
from gpu_bt.runs.run import _spec

ROOT = Path(__file__).parents[2]
SANITIZERS = {
    "address": ["-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
}
RUNTIME = {"address": "libasan.so", "thread": "libtsan.so"}
#: It imports little: some libraries cannot run under ThreadSanitizer.
PROGRAM = """
import pickle
import sys
from pathlib import Path
from compare import assert_same_raw
from cpu_fallback import native
from gpu_bt.engine import lanes
from gpu_bt.law.layout import ROWS

folder, threads, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
native._SMALL = 0  # threads at any size
engine = native.NativeEngine(threads, folder)
assert engine.missing() is None, engine.missing()
whole = lanes.lane_bytes
if fault == "short orders":
    copied = lanes.LaneSession._record

    def short(self, *given):
        arrays = copied(self, *given)
        return arrays | {"orders": arrays["orders"][:, :1].copy()}

    lanes.LaneSession._record = short
if fault == "arena":
    lanes.lane_bytes = lambda *given: whole(*given) - 512
# One thread may have done all lanes before another begins, and then there is no race: it has many chances.
for spec, wanted in pickle.load(sys.stdin.buffer) * (50 if fault == "race" else 1):
    session = engine.open(spec)
    rows = next(array for array in session.kept if array.dtype == ROWS)
    assert len(rows) == 1 or threads > 1
    if fault == "race":
        rows[:] = rows[0]
    for t0, t1 in ((0, spec.market.shape[0] // 2), (spec.market.shape[0] // 2, spec.market.shape[0])):
        session.advance(t0, t1)
    if fault != "race":
        assert_same_raw(session.result(), wanted)
print("the end")
"""


@functools.cache
def drawn(threads: int) -> bytes:
    """Specs and what NumPy makes of them, pickled; with threads, every spec has several lanes."""
    pairs = []
    for seed in seeds(range(48)):
        panel, weights, config = scenario(seed, 70 if seed % 4 == 0 else None)
        configs = [config.replace(commission_rate=i * 1e-4) for i in range(6 if threads > 1 or seed % 3 else 1)]
        record = {"fills": seed % 2 == 0, "positions": seed % 3 == 0}
        spec = spec_of(panel_of(panel, config), [weights], configs, **record)
        if threads == 1:
            spec.params["schedule"] = 0  # one lane
        pairs.append((spec, simulate_spec(ENGINE, spec)))
        [own], _, config = scored(seed, 70 if seed % 4 == 0 else None)
        books = [own.ranked(draw_book(np.random.default_rng(seed), own.panel.shape[1], config.account)) for _ in "abc"]
        spec = spec_of(panel_of(own.panel, config), books, [config] * len(configs), **record)
        if threads == 1:
            spec.params["schedule"] = 0
        pairs.append((spec, simulate_spec(ENGINE, spec)))
    return pickle.dumps(pairs)


@functools.cache
def resumed() -> tuple[bytes, int]:
    """Specs of runs that go on from edited states under a right checksum, and what NumPy makes of them, pickled; and
    how many of the edited files are refused."""
    pairs, refused = [], 0
    names = (
        "orders",
        "holdings",
        "orders",
        "marks",
        "silent",
        "rows",
        "delisted",
        "cash",
        "peak",
        "first_bar",
        "ended",
    )
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="raise", under="ignore"):
        path, edited = Path(folder) / "s.npz", Path(folder) / "t.npz"
        for seed in seeds(range(1000, 1060)):
            drawn_panel, weights, config = scenario(seed)
            cut = len(weights) // 2
            if not cut:
                continue
            given = to_public(drawn_panel, config)
            bt.run(files.part_of(given, 0, cut), weights[:cut], config, engine="numpy").checkpoint(path)
            panel = files.part_of(given, cut, len(weights))
            for change in files.edits(names, np.random.default_rng(seed), 12):
                try:
                    state = load(files.rewrite(path, edited, change), panel, config, accept_jumps=True)
                except bt.ResultError:
                    refused += 1
                else:
                    spec = _spec(panel, config, weights[cut:], state, {"fills"})
                    pairs.append((spec, simulate_spec(ENGINE, spec)))
    return pickle.dumps(pairs), refused


@functools.cache
def runtime(sanitizer: str) -> str | None:
    """The sanitizer's runtime library, or None."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(compiler[0]) is None:
        return None
    command = [*compiler, f"-print-file-name={RUNTIME[sanitizer]}"]
    path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return path if os.path.isabs(path) else None


@functools.cache
def library(sanitizer: str) -> tempfile.TemporaryDirectory:
    """A folder with a library; it lives as long as the process."""
    folder = tempfile.TemporaryDirectory()
    compile_library(Path(folder.name) / library_name(0), SANITIZERS[sanitizer])
    return folder


def run(sanitizer: str, threads: int, fault: str = "none", specs: bytes = b"") -> subprocess.CompletedProcess:
    if runtime(sanitizer) is None:
        pytest.skip(f"there is no C++ compiler with the {sanitizer} sanitizer")
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}", "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1", "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
    }  # fmt: skip
    # ThreadSanitizer finds no room for its shadow where addresses are drawn from too wide a range.
    fixed = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    preload = ["env", f"LD_PRELOAD={runtime(sanitizer)}"]
    command = [*fixed, *preload, sys.executable, "-c", PROGRAM, library(sanitizer).name, str(threads), fault]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input=specs or drawn(threads),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=HANGS,
    )


@pytest.mark.proof
@pytest.mark.parametrize(("sanitizer", "threads"), [("address", 1), ("thread", 3)])
def test_drawn_scenarios_under_a_sanitizer(sanitizer, threads):
    done = run(sanitizer, threads)
    assert (done.returncode, done.stdout) == (0, b"the end\n"), done.stdout[-6000:].decode()


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
def test_edited_states_under_a_sanitizer():
    """Each edited file is refused, or its run is that of NumPy, to the bit and without a stray access."""
    specs, refused = resumed()
    assert refused and len(pickle.loads(specs)) >= refused / 4
    done = run("address", 1, specs=specs)
    assert (done.returncode, done.stdout) == (0, b"the end\n"), done.stdout[-6000:].decode()


@pytest.mark.proof
@pytest.mark.parametrize(
    ("sanitizer", "fault", "report"),
    [
        ("address", "arena", "AddressSanitizer: heap-buffer-overflow"),
        ("address", "short orders", "AddressSanitizer: heap-buffer-overflow"),
        ("thread", "race", "ThreadSanitizer: data race"),
    ],
)
def test_a_planted_fault_is_seen(sanitizer, fault, report):
    done = run(sanitizer, 3 if sanitizer == "thread" else 1, fault)
    assert done.returncode != 0 and report in done.stdout.decode(), done.stdout[-6000:].decode()
