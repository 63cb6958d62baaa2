# SPDX-License-Identifier: Apache-2.0
"""Faults of going on: another sweep in the folder, two sweeps at once, what killed runs have left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from faults import kit
from faults.kit import fault, faults, refused, told
from faults.sweep_faults import GRID, chunk, same, tiny
from sweep_cases import books, universe
from waits import HANGS

import gpu_bt as bt
from gpu_bt.sweeps import files as chunk_files
from gpu_bt.sweeps import locks

# --- another sweep ---

PANEL = universe()


def panel_with(**fields):
    kept = ("open", "high", "low", "volume", "dividend", "split")
    given = {name: getattr(PANEL, name) for name in kept} | {
        "close": PANEL.close,
        "prices": "raw",
        "assets": PANEL.assets,
    }
    return bt.Panel(**given | {"timestamps": PANEL.timestamps} | fields)


def moved(name: str, t: int = 7, i: int = 3, by: float = 1e-9) -> np.ndarray:
    array = getattr(PANEL, name).copy()
    array[t, i] = array[t, i] * (1 + by) + (by if array[t, i] == 0 else 0)
    return array


N = PANEL.shape[1]
PANELS = {
    "one price": lambda: panel_with(close=moved("close", by=1e-15)),
    "one open": lambda: panel_with(open=moved("open", by=1e-15)),
    "one dividend": lambda: panel_with(dividend=moved("dividend")),
    "one volume": lambda: panel_with(volume=moved("volume")),
    "groups": lambda: panel_with(group=["a"] * N),
    "universe": lambda: panel_with(universe=np.arange(N * PANEL.shape[0]).reshape(PANEL.shape) > 0),
    "lots": lambda: panel_with(lot=np.ones(N)),
    "delistings": lambda: panel_with(delisted_at=[9] + [-1] * (N - 1)),
    "returns of delistings": lambda: panel_with(delisting_return=[-0.5] + [0] * (N - 1)),
    "half spreads": lambda: panel_with(half_spread=np.full(PANEL.shape, 1e-4)),
    "borrow rates": lambda: panel_with(borrow_rate=np.full(PANEL.shape, 1e-4)),
    "masks": lambda: panel_with(can_buy=np.zeros(PANEL.shape, bool)),
    "a time zone": lambda: panel_with(time_zone="Europe/Berlin"),
    "the next timestamp": lambda: panel_with(next_timestamp=PANEL.timestamps[-1] + np.timedelta64(9, "D")),
    "names": lambda: panel_with(assets=[f"x{name}" for name in PANEL.assets]),
    "single precision": lambda: panel_with(close=PANEL.close.astype(np.float32)),
    "its last bar": lambda: panel_with()[: PANEL.label(-2)],
}


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@faults("another sweep", "refused", PANELS, "the panel has changed in ")
def test_another_panel(value, tmp_path_factory):
    there = tmp_path_factory.getbasetemp() / "base-panel"
    if not there.exists():
        tiny(there, panel=panel_with(), weights=np.zeros(PANEL.shape))
    panel = value()
    with refused("holds a sweep with another panel: choose another folder", bt.ResultError):
        tiny(there, panel=panel, weights=np.zeros(panel.shape))


ONE = books(PANEL)["one"]


def a_hole() -> np.ndarray:
    array = ONE.copy()
    array[0, 0] = np.nan
    return array


SWEEPS = {
    "one weight in its last bit": {"weights": np.where(np.arange(N) == 0, np.nextafter(ONE, 1), ONE)},
    "the weights' names": {"weights": {"a": ONE}},
    "NaN in place of a weight": {"weights": a_hole()},
    "a field of the config": {"config": bt.Config(band=1e-6)},
    "the cash": {"config": bt.Config(initial_cash=1e6 + 1)},
    "a value of the grid": {"grid": GRID | {"slippage": [0.0, 1e-3, np.nextafter(2e-3, 1)]}},
    "the order of the grid": {"grid": GRID | {"slippage": [0.0, 2e-3, 1e-3]}},
    "the order of the axes": {"grid": dict(reversed(GRID.items()))},
    "more values of the grid": {"grid": GRID | {"slippage": [0.0, 1e-3, 2e-3, 3e-3]}},
    "holdings": {"holdings": {PANEL.assets[0]: 10}},
    "the start": {"start": "2000-03"},
    "the metrics": {"metrics": "equity"},
    "rows of equity": {"equity": False},
    "the size of chunks": {"chunk_size": 3},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@faults("another sweep", "refused", SWEEPS, "a rerun has changed ")
def test_another_sweep(value, folder):
    if "start" in value:
        value = {"start": PANEL.label(9)}
    there = sorted(path.name for path in folder.iterdir())
    with refused("holds (a sweep with another|chunks of 2 scenarios)", bt.ResultError):
        tiny(folder, **{"equity": True, **value})
    assert sorted(path.name for path in folder.iterdir()) == there


VERSIONS = {
    "gpu_bt": lambda m: m.setattr(chunk_files, "__version__", "9.9"),
    "NumPy": lambda m: m.setattr(np, "__version__", "9.9"),
}


@faults("another sweep", "refused", VERSIONS, "a rerun has another version of ")
def test_another_version(value, folder, monkeypatch):
    value(monkeypatch)
    with refused("holds a sweep with another version of (gpu_bt|NumPy): choose another folder", bt.ResultError):
        tiny(folder, equity=True)


@fault("another sweep", "a rerun goes on with another engine, whose bits are the same", "survived")
def test_another_engine(folder, finished):
    chunk(folder).unlink()
    same_but_engine = tiny(folder, equity=True, engine="numpy")
    same(same_but_engine, finished[1], 2)


# --- two at once ---

HOLDS = """
import sys, time
from pathlib import Path
from gpu_bt.sweeps.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen:
    found = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(kit.ROOT)},
    )  # fmt: skip
    assert found.stdout.readline() == "held\n"
    return found


@fault("two sweeps at once", "a sweep runs in the folder, in another process", "refused")
def test_another_process(folder):
    with holder(folder) as process:
        with refused(rf"another sweep is running in .* \(process {process.pid} on .*\): wait for it", bt.ResultError):
            tiny(folder, equity=True)
        assert tiny(folder, equity=True, dry_run=True).finished == 3
        process.communicate("", timeout=HANGS)


@fault("two sweeps at once", "a sweep that was killed has left its lock", "survived")
def test_a_lock_that_is_left(folder, finished):
    with holder(folder) as process:
        process.kill()
    assert (folder / ".sweep.lock").exists()
    same(tiny(folder, equity=True), finished[1], 0)
    assert not (folder / ".sweep.lock").exists()


@fault("two sweeps at once", "two threads begin sweeps in one new folder", "refused")
def test_two_threads(tmp_path):
    found, gate, begun = [], threading.Event(), threading.Event()

    def wait(done: int, _total: int) -> None:
        begun.set()
        gate.wait(HANGS)

    thread = threading.Thread(target=lambda: found.append(tiny(tmp_path / "out", progress=wait)))
    thread.start()
    assert begun.wait(HANGS)
    try:
        for options in ({}, {"config": bt.Config(band=0.5)}):
            with refused("another sweep is running in|holds a sweep with another", bt.ResultError):
                tiny(tmp_path / "out", **options)
    finally:
        gate.set()
        thread.join(HANGS)
    assert len(found) == 1 and found[0].run == 6


@fault("two sweeps at once", "another sweep was begun after this one had looked into the folder", "refused")
def test_begun_meanwhile(tmp_path, monkeypatch):
    running = chunk_files.ChunkFiles.running

    def late(self):
        monkeypatch.setattr(chunk_files.ChunkFiles, "running", running)
        tiny(tmp_path / "out", config=bt.Config(band=0.001))
        return running(self)

    monkeypatch.setattr(chunk_files.ChunkFiles, "running", late)
    with refused("holds a sweep with another config", bt.ResultError):
        tiny(tmp_path / "out")


@faults(
    "two sweeps at once", "refused",
    {
        "a link to a file": lambda path: path.symlink_to(path.with_name("sweep.json")),
        "a folder": lambda path: path.mkdir(),
    },
    "the lock is ",
)  # fmt: skip
def test_an_odd_lock(value, folder):
    before = (folder / "sweep.json").read_bytes()
    value(folder / ".sweep.lock")
    with refused("sweep.lock cannot be opened: .*; choose another folder", bt.ResultError):
        tiny(folder, equity=True)
    assert (folder / "sweep.json").read_bytes() == before


@fault("two sweeps at once", "a finished sweep lies in a folder that may not be written", "survived")
def test_a_folder_that_may_not_be_written(folder, finished, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was written"))
    same(tiny(folder, equity=True), finished[1], 0)


@fault("two sweeps at once", "the file system has no locks", "told")
def test_no_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    with told("is on a file system without locks .*: see to it that no other sweep runs in it"):
        same(tiny(tmp_path), tiny(), 6)


@fault("two sweeps at once", "a sweep plans alone: it locks and makes nothing", "survived")
def test_a_plan_makes_nothing(tmp_path):
    tiny(tmp_path / "out", dry_run=True)
    kit.survived(list(tmp_path.iterdir()), [])


# --- what was killed ---


@fault("killed runs", "temporary files of a killed sweep lie in its folder", "survived")
def test_temporary_files(folder, finished):
    left = [".sweep.json.0123abcd.tmp", ".chunk-00000-0123.parquet.0123abcd.tmp", ".sweep.json.0123abcd.old"]
    for name in (*left, ".table.parquet.0123abcd.tmp", "chunk.tmp"):
        (folder / name).write_text("x")
    same(tiny(folder, equity=True), finished[1], 0)
    there = {path.name for path in folder.iterdir()}
    assert not there & set(left) and {".table.parquet.0123abcd.tmp", "chunk.tmp"} <= there


def folder_of(place: Path, pid: int, began: int, host: str | None = None) -> Path:
    path = place / f"gpu-bt-{host or locks._host()[1]}-{pid}-{began}-abc_12"
    path.mkdir()
    (path / "inputs.bin").write_bytes(b"x")
    return path


def gone_process() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@fault("killed runs", "temporary folders of processes that are gone, or whose number another process has", "survived")
def test_folders_of_the_dead(tmp_path):
    parent = os.getppid()
    dead = [folder_of(tmp_path, gone_process(), 5), folder_of(tmp_path, parent, 5)]
    alive = [folder_of(tmp_path, parent, locks._began(parent)), folder_of(tmp_path, gone_process(), 5, "elsewhere")]
    (tmp_path / "gpu-bt-abc").mkdir()
    with locks.temporary(tmp_path) as mine:
        kit.survived([path.exists() for path in (*dead, *alive, mine)], [False, False, True, True, True])
        assert re.search(rf"-{os.getpid()}-{locks._began(os.getpid())}-", mine.name)
    assert not mine.exists() and (tmp_path / "gpu-bt-abc").exists()


@fault("killed runs", "a link stands under the name of such a folder", "survived")
def test_links_are_not_followed(tmp_path):
    (precious := tmp_path / "precious").mkdir()
    (precious / "file").write_text("x")
    link = tmp_path / f"gpu-bt-{locks._host()[1]}-{gone_process()}-5-abc"
    link.symlink_to(precious)
    inside = folder_of(tmp_path, gone_process(), 5)
    (inside / "link").symlink_to(precious)
    with locks.temporary(tmp_path):
        kit.survived([(precious / "file").exists(), inside.exists()], [True, False])
