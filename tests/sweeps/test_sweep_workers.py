# SPDX-License-Identifier: Apache-2.0
"""A sweep on real workers: processes, threads and Dask; workers that die; the same bits as in one process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sweep_cases import assert_same_sweep, books, small, sweep_small, universe
from waits import HANGS

import gpu_bt as bt
from gpu_bt.sweeps import chunks
from gpu_bt.sweeps import sweep as sweeps
from gpu_bt.sweeps.chunks import Inputs, Spilled, run_chunk

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def whole() -> bt.SweepResult:
    return sweep_small(equity=True)


@pytest.mark.parametrize("size", [10, 40])
def test_processes_give_the_same_bits(whole: bt.SweepResult, size: int):
    with ProcessPoolExecutor(2, SPAWN) as pool:
        assert_same_sweep(sweep_small(equity=True, executor=pool, chunk_size=size), whole)


def test_threads_give_the_same_bits(whole: bt.SweepResult):
    with ThreadPoolExecutor(4) as pool:
        assert_same_sweep(sweep_small(equity=True, executor=pool, chunk_size=5), whole)


@pytest.mark.filterwarnings("ignore:.* scenarios:gpu_bt.errors.BacktestWarning")
def test_the_panel_travels_once_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reads, sizes = [], []
    read = Spilled.read
    monkeypatch.setattr(Spilled, "read", lambda self: reads.append(self.key) or read(self))

    class Counting(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            sizes.append(len(pickle.dumps((function, arguments))))
            return super().submit(function, *arguments)

    panel = universe(500, 50)
    with Counting(1) as pool:
        bt.sweep(**small(panel=panel, weights=books(panel), executor=pool, chunk_size=8, scratch=tmp_path))
    assert len(sizes) == 12 and len(reads) == 1
    assert max(sizes) < panel.close.nbytes / 10
    assert list(tmp_path.iterdir()) == []


def test_spilled_inputs_are_the_inputs(tmp_path: Path):
    panel = universe()
    inputs = Inputs(panel, tuple(books(panel).values()), "key", np.ones((1, panel.shape[0]), bool))
    found = Spilled.write(inputs, tmp_path).read()
    for name, value in vars(panel.market).items():
        if isinstance(value, np.ndarray):
            got = getattr(found.panel.market, name)
            assert got.dtype == value.dtype and got.tobytes() == value.tobytes() and not got.flags.writeable, name
    assert found.panel.assets == panel.assets and (found.panel.timestamps == panel.timestamps).all()
    assert [w.tobytes() for w in found.weights] == [w.tobytes() for w in inputs.weights]


def test_a_worker_that_does_not_see_the_files_says_what_to_pass(tmp_path: Path):
    with pytest.raises(bt.ResultError, match=r"does not see .*: pass scratch=, a folder that all workers share"):
        run_chunk(Spilled(str(tmp_path / "elsewhere"), "other"), None)
    with ThreadPoolExecutor(1) as pool, pytest.raises(bt.ResultError, match="cannot be used: No such file"):
        sweep_small(executor=pool, scratch=tmp_path / "missing")


# --- workers that die ---


def dies_at(number: int, flag: Path):
    """run_chunk for a pool, that kills its process at one chunk; once, where the flag is not there yet."""
    return _Dies(number, str(flag))


class _Dies:
    def __init__(self, number: int, flag: str) -> None:
        self.number, self.flag = number, flag

    def __call__(self, source: Spilled, chunk: chunks.Chunk) -> chunks.Done:
        if chunk.start >= self.number and not os.path.exists(self.flag):
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return run_chunk(source, chunk)


def test_a_pool_that_loses_a_worker_says_how_to_go_on(
    whole: bt.SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sweeps, "run_chunk", dies_at(50, tmp_path / "died"))
    out = tmp_path / "out"
    with ProcessPoolExecutor(2, SPAWN) as pool, pytest.raises(bt.ResultError) as caught:
        sweep_small(equity=True, executor=pool, chunk_size=8, out=out)
    assert "a worker was lost after" in str(caught.value) and f"out={str(out)!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = len(list(out.glob("chunk-*.parquet")))
    assert kept < 12
    seen = []
    with ProcessPoolExecutor(2, SPAWN) as pool:
        again = sweep_small(equity=True, executor=pool, out=out, progress=lambda done, _: seen.append(done))
    assert_same_sweep(again, whole)
    assert seen[0] == 8 * kept and again.run == 96 - 8 * kept


def test_without_a_folder_the_error_advises_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweeps, "run_chunk", dies_at(0, tmp_path / "died"))
    with ProcessPoolExecutor(1, SPAWN) as pool, pytest.raises(bt.ResultError, match="with out= a rerun would go on"):
        sweep_small(executor=pool, chunk_size=8)


def test_an_error_of_a_worker_arrives_as_it_is_and_the_rest_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    ran, gate = [], threading.Event()

    def fails(_source, chunk):
        ran.append(chunk.start)
        if len(ran) > 1:
            gate.wait(HANGS)  # until the first error has arrived
        raise bt.PanelError("no such thing")

    monkeypatch.setattr(sweeps, "run_chunk", fails)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(bt.PanelError, match="no such thing"):
            sweep_small(executor=pool, chunk_size=2)
        gate.set()
    assert len(ran) < 3


# --- Dask ---


@pytest.fixture
def dask():
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:distributed")
def test_dask_gives_the_same_bits_also_where_a_worker_is_killed(whole: bt.SweepResult, dask, tmp_path, monkeypatch):
    assert_same_sweep(sweep_small(equity=True, executor=dask.get_executor(), chunk_size=10), whole)
    monkeypatch.setattr(sweeps, "run_chunk", dies_at(30, tmp_path / "died"))
    found = sweep_small(equity=True, executor=dask.get_executor(), chunk_size=8)
    assert (tmp_path / "died").exists()
    assert_same_sweep(found, whole)
