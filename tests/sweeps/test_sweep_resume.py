# SPDX-License-Identifier: Apache-2.0
"""A sweep with a folder goes on where it was stopped, whatever stopped it, and refuses another sweep's folder."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sweep_cases import GRID, assert_same_sweep, books, small, sweep_small, universe
from waits import HANGS

import gpu_bt as bt
from gpu_bt.sweeps import files as chunk_files
from gpu_bt.sweeps import sweep as sweeps

SIZE = 10  # chunks: 96 scenarios make ten


@pytest.fixture(scope="module")
def whole() -> bt.SweepResult:
    return sweep_small(equity=True)


def files(out: Path) -> list[str]:
    return sorted(p.name for p in out.iterdir())


def test_a_rerun_runs_nothing_again(whole: bt.SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = sweep_small(equity=True, out=tmp_path, chunk_size=SIZE)
    assert_same_sweep(first, whole)
    there = files(tmp_path)
    assert len(there) == 11 and all(len(name) == len("chunk-00000-0123456789abcdef.parquet") for name in there[:10])
    monkeypatch.setattr(sweeps, "run_here", lambda *_: pytest.fail("it ran again"))
    again = sweep_small(equity=True, out=tmp_path)
    assert_same_sweep(again, whole)
    assert again.run == 0 and files(tmp_path) == there
    assert bt.sweep(**small(equity=True, out=tmp_path, dry_run=True)).finished == 10


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background may be started deaf to it
sys.path[:0] = ["tests", "."]
from sweep_cases import *
from gpu_bt.sweeps import sweep as sweeps
run_here = sweeps.run_here
def slow(inputs, chunk, free):
    print(chunk.start, flush=True)
    time.sleep(0.1 if chunk.start < 80 else 9999)  # it does not end before it is stopped
    return run_here(inputs, chunk, free)
sweeps.run_here = slow
sweep_small(equity=True, out=sys.argv[1], chunk_size=10)
"""


def stopped(out: Path, number: int, delay: float) -> subprocess.Popen:
    """A sweep in another process, stopped a while after it began its third chunk."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if int(line) >= 20:
            break
    time.sleep(delay)
    process.send_signal(number)
    process.wait(HANGS)  # before its pipe is closed: what it still prints must not end it in another way
    process.stdout.close()
    return process


@pytest.mark.parametrize("delay", [0.0, 0.07, 0.1, 0.115, 0.13, 0.2])
def test_killed_at_any_moment_it_loses_the_chunk_in_flight_at_most(whole: bt.SweepResult, tmp_path: Path, delay: float):
    with stopped(tmp_path, signal.SIGKILL, delay) as process:
        assert process.returncode == -signal.SIGKILL
    kept = len(list(tmp_path.glob("chunk-*.parquet")))
    assert 2 <= kept < 10
    again = sweep_small(equity=True, out=tmp_path)
    assert_same_sweep(again, whole)
    assert again.run == 96 - 10 * kept


def test_interrupted_from_the_keyboard_it_leaves_whole_chunks_and_no_rubbish(whole: bt.SweepResult, tmp_path: Path):
    with stopped(tmp_path, signal.SIGINT, 0.05) as process:
        assert "KeyboardInterrupt" in process.stderr.read()
    there = files(tmp_path)
    assert there[-1] == "sweep.json" and all(name.startswith("chunk-") for name in there[:-1]) and 2 <= len(there) < 10
    assert_same_sweep(sweep_small(equity=True, out=tmp_path), whole)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "one bit":
        path.write_bytes(bytes([*content[:100], content[100] ^ 1, *content[101:]]))
    else:
        path.write_bytes(b"x" * len(content))


@pytest.mark.parametrize("how", ["truncated", "empty", "one bit", "rubbish"])
def test_a_damaged_chunk_is_run_again(whole: bt.SweepResult, tmp_path: Path, how: str):
    sweep_small(equity=True, out=tmp_path, chunk_size=SIZE)
    damage(sorted(tmp_path.glob("chunk-00003-*"))[0], how)
    with pytest.warns(bt.BacktestWarning, match="1 of 10 chunks in .* were damaged or of another sweep"):
        again = sweep_small(equity=True, out=tmp_path)
    assert again.run == 10
    assert_same_sweep(again, whole)
    assert len(files(tmp_path)) == 11
    assert sweep_small(equity=True, out=tmp_path).run == 0


def other_panel() -> bt.Panel:
    panel = universe()
    close = panel.close.copy()
    close[7, 3] = np.nextafter(close[7, 3], 1e9)
    fields = {name: getattr(panel, name) for name in ("open", "high", "low", "volume", "dividend", "split")}
    return bt.Panel(close, timestamps=panel.timestamps, assets=panel.assets, prices="raw", **fields)


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("panel", lambda: {"panel": other_panel()}),
        ("weights", lambda: {"weights": {**books(universe()), "two": books(universe())["one"]}}),
        ("config", lambda: {"config": bt.Config(max_drawdown=0.03, slippage=1e-4)}),
        ("grid", lambda: {"grid": {**GRID, "rebalance_every": [1, 5, 8]}}),
        ("choice of metrics", lambda: {"metrics": "equity"}),
        ("choice of equity rows", lambda: {"equity": False}),
    ],
)
def test_another_sweep_is_refused_in_one_line_that_says_what_differs(tmp_path: Path, what: str, options):
    sweep_small(equity=True, out=tmp_path, chunk_size=SIZE)
    there = files(tmp_path)
    with pytest.raises(bt.ResultError) as caught:
        sweep_small(**{"equity": True, "out": tmp_path, **options()})
    assert str(caught.value).startswith(f"{tmp_path} holds a sweep with another {what}: ")
    assert "\n" not in str(caught.value) and files(tmp_path) == there


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sweep_small(out=tmp_path)
    monkeypatch.setattr(chunk_files, "__version__", "9.9.9")
    with pytest.raises(bt.ResultError, match="another version"):
        sweep_small(out=tmp_path)


def test_the_chunks_of_a_folder_are_kept(tmp_path: Path):
    sweep_small(out=tmp_path, chunk_size=SIZE)
    with pytest.raises(bt.ResultError, match="holds chunks of 10 scenarios, not 20: leave it out"):
        sweep_small(out=tmp_path, chunk_size=20)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"parts": 1, "chunk_size": 1}', '{"parts": {}}'])
def test_a_folder_that_is_something_else_is_refused(tmp_path: Path, text: str):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(bt.ResultError, match="choose another folder"):
        sweep_small(out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(bt.ResultError, match="is no folder"):
        sweep_small(out=tmp_path / "file")


@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_full_disk_is_one_line_and_nothing_half_written(
    whole: bt.SweepResult, tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
):
    calls, fsync = [], os.fsync

    def full(number: int) -> None:
        calls.append(stat.S_ISREG(os.fstat(number).st_mode))
        if sum(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(bt.ResultError, match="was not written: No space left on device; make room") as caught:
        sweep_small(equity=True, out=tmp_path, chunk_size=SIZE)
    assert "\n" not in str(caught.value)
    assert len(files(tmp_path)) == call - 1
    assert_same_sweep(sweep_small(equity=True, out=tmp_path), whole)
