# SPDX-License-Identifier: Apache-2.0
"""Several GPUs: what lies on which, which worker takes which, and that panels travel once per worker."""

from __future__ import annotations

import concurrent.futures as futures
import gc
import os
import sys
import threading
import types
from multiprocessing import get_context

import numpy as np
import pytest
from build import simulate_spec
from compare import assert_bits, assert_same_raw
from cuda_cases import NUMPY, batch
from emulator.build import why_not
from emulator.fake_cupy import CUDADriverError, CUDARuntimeError, FakeCupy, installed
from waits import HANGS, wait_for

import gpu_bt as bt
from gpu_bt.cuda import workers
from gpu_bt.cuda.device import DeviceArray, stream
from gpu_bt.cuda.engine import CudaEngine

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

T, N = 24, 30


def market() -> tuple[bt.Panel, np.ndarray]:
    rng = np.random.default_rng(3)
    close = rng.uniform(10, 20, (T, N))
    days = np.busday_offset("2021-01-04", np.arange(T)).astype("datetime64[us]")
    panel = bt.Panel(close=close, open=close, timestamps=days, assets=[f"A{i}" for i in range(N)], prices="raw")
    return panel, rng.dirichlet(np.ones(N), T)


GRID = {"commission_rate": [i * 1e-4 for i in range(12)]}


@pytest.fixture(autouse=True)
def _own_locks(monkeypatch, tmp_path):
    """The locks of this test alone, and no choice of the environment's."""
    monkeypatch.setattr(workers.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


# --- the stand-in tells where devices are mixed ---


def test_what_lies_on_another_device_is_out_of_reach():
    with installed(FakeCupy(devices=2)) as fake:
        there = DeviceArray(4, np.float64, np.arange(4.0))
        first = stream()
        fake.cuda.runtime.setDevice(1)
        assert stream() is not first and stream().device == 1
        for touch in (there.read, there.clear, lambda: there.write(np.ones(4))):
            with pytest.raises(CUDARuntimeError, match="of device 0, not 1"):
                touch()
        with pytest.raises(CUDARuntimeError, match="InvalidDevice"):
            fake.cuda.Device(2).use()
        spec = batch(16, 2, 20)
        fake.cuda.runtime.setDevice(0)
        session = CudaEngine(32).open(spec)
        lanes = session.parts[0].place()
        with fake.cuda.Device(1):
            rows = DeviceArray(lanes.launch.shape, lanes.launch.dtype, lanes.launch)
            lanes.kernel((1,), (32,), (np.uint64(rows.address),), shared_mem=0, stream=stream())
            with pytest.raises(CUDADriverError, match="ILLEGAL_ADDRESS"):
                stream().synchronize()
        spec.market.cache.clear()


# --- the engine ---


def test_panels_are_resident_by_device():
    """The same market on two devices: each has its own, and a second run on either sends nothing anew."""
    spec = batch(16, 3, 37, fills=True)
    for weights in spec.weights:
        weights.flags.writeable = False
    wanted, size = simulate_spec(NUMPY, spec), 8 * spec.market.close.size
    with installed(FakeCupy(devices=2)) as fake:
        sent = []
        for number in (0, 1, 0, 1):
            fake.cuda.Device(number).use()
            fake.sent.clear()
            assert_same_raw(simulate_spec(CudaEngine(32), spec, (5,)), wanted)
            sent.append(fake.sent.count(size))
            assert fake.launched_on[-1] == number
        assert sent[0] == sent[1] > 2 and sent[2:] == [0, 0]
        spec.market.cache.clear()
        assert fake.held == [0, 0]


def test_a_session_stays_on_its_device():
    """Whatever device is current when it is asked to go on, such as by what a strategy does."""
    spec = batch(16, 3, 20, fills=True)
    wanted = simulate_spec(NUMPY, spec)
    with installed(FakeCupy(devices=2)) as fake:
        fake.cuda.Device(1).use()
        session = CudaEngine(32).open(spec)
        for t in range(0, spec.market.shape[0]):
            fake.cuda.Device(t % 2).use()
            session.advance(t, t + 1)
        fake.cuda.Device(0).use()
        assert_same_raw(session.result(), wanted)
        assert set(fake.launched_on) == {1} and fake.device() == 0
        spec.market.cache.clear()


def test_memory_is_planned_by_device():
    """A full device does not shorten the windows of a run on an empty one."""
    spec = batch(16, 2, 20)
    with installed(FakeCupy(devices=2, bytes_total=1 << 30)) as fake:
        full = DeviceArray((1 << 30) - 2000, np.uint8)
        with pytest.raises(bt.EngineUnavailable, match="a scenario of 20 assets"):
            simulate_spec(CudaEngine(32), spec)
        fake.cuda.Device(1).use()
        session = CudaEngine(32).open(spec)
        assert session.window == spec.market.shape[0] and len(session.parts) == 1
        del full


# --- workers ---


def claimed(fake: FakeCupy, count: int) -> list[int]:
    """The devices that so many threads take, which all live until the last has taken one."""
    found, barrier = [], threading.Barrier(count)

    def work() -> None:
        workers.claim()
        found.append(fake.device())
        barrier.wait(HANGS)
        workers.claim()  # again: it stays
        found.append(fake.device())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found[:count]) == sorted(found[count:])
    return sorted(found[:count])


@pytest.mark.parametrize(("devices", "count"), [(2, 2), (3, 3), (2, 4), (2, 3), (4, 2), (1, 3)])
def test_workers_spread_over_devices(devices, count):
    with installed(FakeCupy(devices=devices)) as fake:
        for _ in range(2):  # those of threads that ended are free again
            found = claimed(fake, count)
            assert found == sorted(i % devices for i in range(count))
        assert fake.device() == 0


def test_a_choice_that_was_made_stays(monkeypatch):
    with installed(FakeCupy(devices=3)) as fake:
        fake.cuda.Device(2).use()
        workers.claim()
        assert fake.device() == 2
        fake.cuda.Device(0).use()
        monkeypatch.setitem(sys.modules, "dask_cuda", types.ModuleType("dask_cuda"))
        assert claimed(fake, 3) == [0, 0, 0]


def test_the_order_that_is_visible(monkeypatch):
    """Devices are known by their place on the bus, not by the numbers that a process gives them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with installed(FakeCupy(devices=2)) as fake:
        held = []
        thread = threading.Thread(target=lambda: (workers.claim(), held.append(fake.device()), gone.wait(HANGS)))
        gone = threading.Event()
        thread.start()
        wait_for(lambda: held)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        found = claimed(fake, 1)
        gone.set()
        thread.join()
        assert held == [0] and found == [0]  # the one's 0 is the other's 1


@pytest.mark.parametrize("broken", ["no locks", "no folder"])
def test_without_locks_any_device(monkeypatch, tmp_path, broken):
    if broken == "no locks":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        monkeypatch.setattr(workers.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    with installed(FakeCupy(devices=8)) as fake:
        assert len({n for _ in range(20) for n in claimed(fake, 1)}) > 1


def begin(devices: int, folder: str, visible: str | None = None) -> None:
    """In a worker process: this "device", for good, and the locks of this test."""
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    workers.tempfile.tempdir = folder
    fake = FakeCupy(devices=devices)
    begin.fake, begin.kept = fake, installed(fake)
    begin.kept.__enter__()


def seen(folder: str, count: int) -> tuple[int, int, int]:
    """(process, its device, uploads as large as a panel), when so many workers have come here."""
    open(os.path.join(folder, f"here-{os.getpid()}"), "w").close()
    wait_for(lambda: len([name for name in os.listdir(folder) if name.startswith("here-")]) >= count)
    fake = begin.fake
    assert len(set(fake.launched_on)) == 1
    return os.getpid(), fake.launched_on[0], fake.sent.count(8 * T * N)


def test_processes_take_a_device_each_and_panels_once(tmp_path):
    """The same bits, two processes on two devices, many chunks, and the uploads of one run in each."""
    panel, weights = market()
    wanted = bt.sweep(panel, weights, None, GRID, engine="numpy", equity=True)
    with installed(FakeCupy()) as fake:
        bt.sweep(panel, weights, None, GRID, engine="cuda", chunk_size=12)
        once = fake.sent.count(8 * T * N)
    (tmp_path / "here").mkdir()
    processes = futures.ProcessPoolExecutor(2, get_context("spawn"), begin, (2, str(tmp_path)))
    with installed(FakeCupy()), processes as pool:
        got = bt.sweep(panel, weights, None, GRID, engine="cuda", executor=pool, chunk_size=1, equity=True)
        told = [f.result(HANGS) for f in [pool.submit(seen, str(tmp_path / "here"), 2) for _ in range(2)]]
    assert_bits("equity", got.equity, wanted.equity)
    assert {device for _, device, _ in told} == {0, 1} and len({pid for pid, *_ in told}) == 2
    assert [uploads for *_, uploads in told] == [once, once] and once >= 3


@pytest.mark.parametrize("writable", [True, False])
def test_uploads_of_many_chunks_in_one_worker(writable):
    """A thread of a pool, or this process: panels and weights travel once, whoever may write to the weights later."""
    panel, weights = market()
    weights.flags.writeable = writable
    sent = []
    for size, executor in ((12, None), (1, None), (1, 1), (5, 1)):
        with installed(FakeCupy()) as fake, futures.ThreadPoolExecutor(1) as pool:
            bt.sweep(panel, weights, None, GRID, engine="cuda", chunk_size=size, executor=pool if executor else None)
            sent.append(fake.sent.count(8 * T * N))
        panel.market.cache.clear()
    assert sent == [sent[0]] * 4 and sent[0] >= 3
    assert weights.flags.writeable is writable


def test_weights_leave_with_their_array():
    """After a sweep the panel stays on the device, its weights do not."""
    panel, weights = market()
    with installed(FakeCupy()) as fake:
        bt.sweep(panel, weights, None, GRID, engine="cuda")
        gc.collect()
        kept = [a.memory.size for kind in ("cuda", "cuda weights") for _, a in panel.market.cache[kind, 0].values()]
        assert fake.used == sum(kept) and kept == [8 * T * N] * 2
        panel.market.cache.clear()


def test_weights_changed_between_sweeps_are_sent_again():
    panel, weights = market()
    with installed(FakeCupy()):
        first = bt.sweep(panel, weights, None, GRID, engine="cuda", equity=True).equity
        weights *= 0.5
        second = bt.sweep(panel, weights, None, GRID, engine="cuda", equity=True).equity
    assert not np.array_equal(first, second)
    assert_bits("equity", second, bt.sweep(panel, weights, None, GRID, engine="numpy", equity=True).equity)


@pytest.mark.parametrize("devices", [1, 2])
def test_threads_take_a_device_each(devices):
    """A ThreadPoolExecutor: both devices work, or both threads on one, with the same bits."""
    panel, weights = market()
    wanted = bt.sweep(panel, weights, None, GRID, engine="numpy", equity=True)
    with installed(FakeCupy(devices=devices)) as fake, futures.ThreadPoolExecutor(2) as pool:
        barrier = threading.Barrier(2)
        for future in [pool.submit(barrier.wait, HANGS) for _ in range(2)]:
            future.result()
        got = bt.sweep(panel, weights, None, GRID, engine="cuda", executor=pool, chunk_size=1, equity="device")
        assert set(fake.launched_on) <= {0, 1} and fake.device() == 0
        assert_bits("equity", got.equity, wanted.equity)
        assert_bits("equity in one piece", np.asarray(got.array("equity")), wanted.equity)


def start_cuda_worker(devices: int, folder: str, visible: str) -> None:
    """What LocalCUDACluster does to a worker: its own device comes first, and its module is there."""
    sys.modules["dask_cuda"] = types.ModuleType("dask_cuda")
    begin(devices, folder, visible)


@pytest.mark.parametrize("visible", ["0,1", "1,0"])
def test_dask_cuda_has_chosen(tmp_path, visible):
    """Its workers see all devices, their own first: that one is used, though another is free."""
    panel, weights = market()
    (tmp_path / "here").mkdir()
    process = futures.ProcessPoolExecutor(1, get_context("spawn"), start_cuda_worker, (2, str(tmp_path), visible))
    with installed(FakeCupy()), process as pool:
        bt.sweep(panel, weights, None, GRID, engine="cuda", executor=pool, chunk_size=4)
        told = pool.submit(seen, str(tmp_path / "here"), 1).result(HANGS)
    assert told[1] == 0 and not list(tmp_path.glob("gpu-bt-device-*"))


def test_dask_sends_panels_once(tmp_path):
    """Its own scatter: chunks of a worker find the same arrays, which nobody may write to."""
    distributed = pytest.importorskip("distributed")
    panel, weights = market()
    wanted = bt.sweep(panel, weights, None, GRID, engine="numpy", equity=True)
    uploads = []
    with (
        installed(FakeCupy()),
        distributed.Client(
            n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as client,
    ):
        client.run(begin, 1, str(tmp_path))
        for size in (12, 2, 1):
            client.run(lambda: begin.fake.sent.clear())
            got = bt.sweep(
                panel, weights, None, GRID, engine="cuda", executor=client.get_executor(), chunk_size=size, equity=True
            )
            assert_bits("equity", got.equity, wanted.equity)
            uploads += client.run(lambda: begin.fake.sent.count(8 * T * N)).values()
    assert uploads == [uploads[0]] * 3 and uploads[0] >= 3
