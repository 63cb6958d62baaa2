# SPDX-License-Identifier: Apache-2.0
"""GPUs that are missing, too old, full, or lost on the way; drivers and CuPys that do not fit. All is emulated."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from emulator.build import why_not
from emulator.fake_arrays import on_device
from emulator.fake_cupy import CUDADriverError, CUDARuntimeError, FakeCupy, installed
from extent import in_share
from faults.kit import command, fault, faults, one_line, refused, silence, survived, told
from faults.sweep_faults import tiny
from sweep_cases import assert_same_sweep, books, universe
from typer.testing import CliRunner

import gpu_bt as bt
from gpu_bt.cli.commands import app
from gpu_bt.data.synthetic import synthetic_universe
from gpu_bt.engine import registry
from gpu_bt.errors import quiet

needs_compiler = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
MISSING = "GPUs that are not there, drivers and CuPys that do not fit"
LOST = "GPUs that are full, or lost on the way"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ "auto" takes a GPU for whatever it is asked, has not failed with one, and nothing was told yet."""
    for name in ("WORTH_A_KERNEL", "WORTH_COMPILING", "WORTH_BLOCKS"):
        monkeypatch.setattr(registry, name, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    registry._slow.cache_clear()
    yield
    registry._slow.cache_clear()
    registry._failed.clear()


# --- what is missing or does not fit ---


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def driver(status: int, text: str, has: int = 13000, wants: int = 13000) -> FakeCupy:
    """A runtime that counts devices with an error."""
    error = raises(CUDARuntimeError(status, text))
    return runtime(getDeviceCount=error, driverGetVersion=lambda: has, runtimeGetVersion=lambda: wants)


def runtime(**calls: Any) -> FakeCupy:
    fake = FakeCupy()
    vars(fake.cuda.runtime).update(calls)
    return fake


def properties(major: int, minor: int) -> Callable[[int], dict[str, Any]]:
    rest = {"multiProcessorCount": 4, "sharedMemPerBlockOptin": 49152}
    return lambda number: {"name": b"Old", "major": major, "minor": minor, **rest}


def framed() -> ImportError:
    """What CuPy makes of a library that does not load."""
    error = ImportError("\n====\nFailed to import CuPy.\n\nOriginal error:\n  ImportError: ...\n====\n")
    error.__cause__ = ImportError("libnvrtc.so.13: cannot open shared object file: No such file or directory")
    return error


def version(text: str) -> FakeCupy:
    fake = FakeCupy()
    fake.__version__ = text
    return fake


def compiler(error: Exception) -> FakeCupy:
    fake = FakeCupy()
    fake.cuda.nvrtc.getVersion = raises(error)
    return fake


class Bare:
    """A file cupy.py of somebody's own."""


OLD = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
INSTALL = r"pip install 'gpu-bt\[gpu\]'"
#: What -> (CuPy, CUDA_VISIBLE_DEVICES, what is said).
BROKEN: dict[str, tuple[Any, str | None, str]] = {
    "a driver that is too old for CuPy": (
        driver(35, OLD, 12020), None,
        r"the NVIDIA driver knows CUDA 12\.2, and CuPy needs 13\.0: update the driver, or .*cupy-cuda12x"),
    "CuPy for CUDA 12 beside a driver of CUDA 11": (
        driver(35, OLD, 11080, 12090), None, r"knows CUDA 11\.8, and CuPy needs 12\.9: update the driver; "),
    "a library of CUDA that is not there": (raises(framed()), None, rf"libnvrtc\.so\.13: cannot open.*{INSTALL}"),
    "a module that CuPy needs is not installed": (
        raises(ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock")), None,
        rf"CuPy cannot be imported: fastrlock is not installed \({INSTALL}\)"),
    "a module cupy that is not CuPy": (
        lambda: Bare(), None, rf"CuPy cannot be imported: 'Bare' object has no attribute 'cuda'; .*{INSTALL}"),
    "a CuPy half of which an update has replaced": (
        raises(AttributeError("module 'cupy._core' has no attribute 'ndarray'")), None, "has no attribute 'ndarray'"),
    "a CuPy that dies of an error without a text": (raises(RuntimeError()), None, "imported: RuntimeError; install"),
    "CuPy 13": (version("13.6.0"), None, rf"CuPy 13\.6\.0 is older than 14: {INSTALL}"),
    "a folder for CuPy's cache that cannot be made": (
        raises(PermissionError(errno.EACCES, "Permission denied", "/kept")), None, "set CUPY_CACHE_DIR to a folder"),
    "no NVRTC": (
        compiler(RuntimeError("libnvrtc.so.13 was not found\nSearched in")), None,
        rf"CuPy finds no compiler \({INSTALL}\): libnvrtc\.so\.13 was not found"),
    "a GPU for which the NVRTC of CUDA 13 does not compile": (
        runtime(getDeviceProperties=properties(7, 0)), None, r"7\.0, and NVRTC 13\.0 compiles for 7\.5 and later: "),
    "a driver updated under a running system": (
        driver(803, "cudaErrorSystemDriverMismatch: system has unsupported display driver / cuda driver combination"),
        None, "DriverMismatch: .*; the driver was updated under a running system: restart it"),
    "a service of the driver that does not run": (driver(802, "cudaErrorSystemNotReady"), None, "nvidia-fabricmanager"),
    "a GPU that another process has to itself": (
        runtime(getDeviceProperties=raises(CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy"))), None,
        "another process has the GPU to itself"),
    "a GPU with damaged memory": (driver(214, "cudaErrorECCUncorrectable: uncorrectable"), None, "must be reset"),
    "an error that the driver does not know": (driver(999, "cudaErrorUnknown: unknown"), None, "reload the driver"),
    "an error without a remedy": (driver(10_000, "cudaErrorApiFailureBase"), None, "CUDA device: cudaErrorApiFailure"),
    "a process forked after CUDA had begun": (driver(3, "cudaErrorInitializationError"), None, '"spawn" method'),
    "CUDA_VISIBLE_DEVICES names a GPU that is not there": (
        driver(100, "cudaErrorNoDevice"), "7", "CUDA_VISIBLE_DEVICES='7' begins with none that is there"),
    "CUDA_VISIBLE_DEVICES names a part of a GPU (MIG) that is gone": (
        runtime(getDeviceCount=lambda: 0), "MIG-8f0e8a1c-9a9b-5c58-a3ab-000000000000", "'MIG-8f0e.*see nvidia-smi -L"),
}  # fmt: skip
ABSENT: dict[str, tuple[Any, str | None, str]] = {
    "no CuPy": (raises(ModuleNotFoundError("No module named 'cupy'", name="cupy")), None, rf"cupy is not .*{INSTALL}"),
    "no NVIDIA driver": (driver(35, OLD, 0), None, "no CUDA device: there is no NVIDIA driver"),
    "no GPU": (driver(100, "cudaErrorNoDevice: no CUDA-capable device is detected"), None, "run: no CUDA device; use"),
    "a driver that counts none": (runtime(getDeviceCount=lambda: 0), None, "run: no CUDA device; use"),
    "CUDA_VISIBLE_DEVICES is empty": (driver(100, "cudaErrorNoDevice"), "", "CUDA_VISIBLE_DEVICES='' hides all"),
    "CUDA_VISIBLE_DEVICES is -1": (driver(100, "cudaErrorNoDevice"), "-1", "CUDA_VISIBLE_DEVICES='-1' hides all"),
    "a GPU of 2014": (runtime(getDeviceProperties=properties(5, 2)), None, "Old has compute capability 5.2; 6.0 is"),
}  # fmt: skip


@contextlib.contextmanager
def machine(value: tuple[Any, str | None, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """It, and what is said of it."""
    library, visible, match = value
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with installed(library):
        yield match


def named_is_refused(match: str) -> None:
    """By name in one line, and in one line of gpu-bt info."""
    panel = universe()
    with refused(match, bt.EngineUnavailable):
        bt.run(panel, books(panel)["one"], engine="cuda")
    with refused(match, bt.EngineUnavailable):
        tiny(engine="cuda")
    reason = registry.reasons()["cuda"]
    one_line(str(reason))
    with quiet():  # of what "auto" would say here
        shown = CliRunner().invoke(app, ["info"])
    assert shown.exit_code == 0 and str(reason) in " ".join(shown.output.split())


@faults(MISSING, "refused", BROKEN | ABSENT, "engine='cuda': ")
def test_by_name(value, monkeypatch):
    with machine(value, monkeypatch) as match:
        named_is_refused(match)


@faults(MISSING, "told", BROKEN, "engine='auto' goes on, and says so once: ")
def test_auto_with_what_is_broken(value, monkeypatch):
    with machine(value, monkeypatch) as match:
        match = match.removeprefix("run: ").removesuffix("; use").removesuffix("; ")
        with told(rf"engine 'cuda' cannot run: .*{match}.*; runs go on without the GPU"):
            got = tiny()
        with silence():
            assert_same_sweep(tiny(), got)
    assert_same_sweep(got, tiny(engine="cpu"))


@faults(MISSING, "survived", ABSENT, "engine='auto' goes on without a word: ")
def test_auto_with_nothing(value, monkeypatch):
    with machine(value, monkeypatch), silence():
        got = tiny()
    want = tiny(engine="cpu")
    assert_same_sweep(got, want)
    survived(got.run, want.run)


@fault(MISSING, "gpu-bt run --engine cuda without a GPU", "refused")
def test_the_command(tmp_path):
    panel = universe()
    table = panel.assets and {"timestamp": panel.timestamps.repeat(len(panel.assets)).astype("M8[D]").astype(str)}
    table |= {"asset": np.tile(panel.assets, len(panel.timestamps)), "close": panel.close.ravel()}
    import polars as pl

    pl.DataFrame(table).write_csv(tmp_path / "p.csv")
    pl.DataFrame({"date": ["2015-01-05"], "asset": [panel.assets[0]], "weight": [0.5]}).write_csv(tmp_path / "w.csv")
    arguments = ["run", "--prices", "p.csv", "--weights", "w.csv", "--out", "o", "--set", "execution=next_close"]
    said = command([*arguments, "--engine", "cuda", "--align", "next"], tmp_path, CUDA_VISIBLE_DEVICES="")
    assert "engine 'cuda' cannot run" in said and not list((tmp_path / "o").glob("*"))


# --- compilers and their cache ---


class CompileException(Exception):
    """CuPy's, whose text is a compiler's whole log."""


LOG = 'team.h(12): warning: unused\nteam.h(33): error: identifier "bt_x" is undefined\n\n' + "line\n" * 500
COMPILERS: dict[str, tuple[Exception, str]] = {
    "its text": (CompileException(LOG), r'does not compile its kernel \(team\.h\(33\): error: identifier "bt_x"'),
    "an option": (
        CompileException("nvrtc: error: invalid value for --split-compile (-split-compile)"),
        r"does not compile its kernel \(nvrtc: error: invalid value for --split-compile",
    ),
    "and says nothing": (CompileException(), r"does not compile its kernel \(CompileException\)"),
}


def refusing(error: Exception) -> FakeCupy:
    fake = FakeCupy()
    fake.RawModule = raises(error)
    return fake


@faults(MISSING, "refused", COMPILERS, "NVRTC refuses ")
def test_a_compiler_that_refuses(value):
    error, match = value
    with installed(refusing(error)), refused(rf"NVRTC 13\.0 {match}.*pip install -U.*or use engine='cpu'"):
        tiny(engine="cuda")


@fault(MISSING, "NVRTC refuses the kernel, with engine='auto'", "told")
def test_auto_with_a_compiler_that_refuses():
    fake, tried = refusing(CompileException(LOG)), []
    honest = fake.RawModule
    fake.RawModule = lambda **given: (tried.append(1), honest())
    with installed(fake):
        with told("does not compile its kernel.*engine='auto' goes on on the CPU"):
            got = tiny(chunk_size=1)
        with silence():
            tiny()
    assert_same_sweep(got, tiny(engine="cpu"))
    assert len(tried) == 1  # not again for each chunk


@fault(MISSING, "a driver that does not load what NVRTC has made", "refused")
def test_a_driver_that_does_not_load_the_kernel():
    error = CUDADriverError(209, "CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available")
    with installed(refusing(error)), refused("engine 'cuda' was stopped: CUDA_ERROR_NO_BINARY_FOR_GPU"):
        tiny(engine="cuda")


@needs_compiler
@faults(LOST, "survived", {
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "a folder that nobody may write to": PermissionError(errno.EACCES, "Permission denied"),
    "a file where its folder should be": FileExistsError(errno.EEXIST, "File exists"),
    "a disk that is read-only": OSError(errno.EROFS, "Read-only file system"),
}, "CuPy's cache: ")  # fmt: skip
def test_a_cache_that_cannot_be_written(value, monkeypatch, tmp_path):
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "0")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kept"))
    fake = FakeCupy()
    honest = fake.RawModule

    def made(**given: Any) -> Any:
        if os.environ["CUPY_CACHE_IN_MEMORY"] != "1":
            raise value
        return honest(**given)

    fake.RawModule = made
    want = tiny(engine="cpu")
    with installed(fake), silence():
        got = tiny(engine="cuda")
        assert os.environ["CUPY_CACHE_IN_MEMORY"] == "0" and not (tmp_path / "kept").exists()
    assert_same_sweep(got, want)
    survived(got.table["final_equity"].to_numpy(), want.table["final_equity"].to_numpy())


# --- memory ---


class Halves(bt.Strategy):
    """Half of the money in every second asset, in turn."""

    def on_data_batch(self, timestamp: Any, batch: Any) -> None:
        if batch.bar % 3 == 0:
            self.order_target_percent(np.arange(batch.bar % 2, 12, 2), 0.5 / 6)


def weights_of(panel: bt.Panel) -> np.ndarray:
    weights = books(panel)["one"]
    weights.flags.writeable = False
    return weights


def as_weights(panel: bt.Panel, folder: Any, engine: str) -> bt.Result:
    return bt.run(panel, weights_of(panel), engine=engine, record="bars")


def with_all(panel: bt.Panel, folder: Any, engine: str) -> bt.Result:
    return bt.run(panel, weights_of(panel), engine=engine, record=("bars", "fills", "positions"))


def as_strategy(panel: bt.Panel, folder: Any, engine: str) -> bt.Result:
    return bt.run(panel, Halves(), engine=engine)


def as_stream(panel: bt.Panel, folder: Any, engine: str) -> bt.Result:
    import polars as pl

    if not (path := folder / "prices.parquet").exists():
        bars, names = panel.timestamps, panel.assets
        fields = {name: np.asarray(getattr(panel, name)).ravel() for name in ("open", "close", "volume")}
        pl.DataFrame({"timestamp": np.repeat(bars, len(names)), "asset": np.tile(names, len(bars)), **fields}
                     ).write_parquet(path)  # fmt: skip
    return bt.run(bt.scan_panel(path, bars=9), weights_of(panel), engine=engine, record="bars")


def as_sweep(panel: bt.Panel, folder: Any, engine: str) -> bt.SweepResult:
    return tiny(panel=panel, engine=engine, equity=True, chunk_size=3)


RUNS = {"a run of weights": as_weights, "with fills and positions": with_all, "a strategy": as_strategy,
        "a panel that is streamed": as_stream, "a sweep": as_sweep}  # fmt: skip


def numbers(result: Any) -> np.ndarray:
    return result.equity if isinstance(result, bt.SweepResult) else result.raw.money


def clean() -> bt.Panel:
    """Without events, so that a stream's columns say all of it."""
    return synthetic_universe(24, 12, seed=5, messy=False)


def counted(work: Any, panel: bt.Panel, folder: Any, name: str) -> int:
    """Allocations, or launches, of the whole."""
    panel.market.cache.clear()
    with installed(FakeCupy()) as fake:
        work(panel, folder, "cuda")
        return int(getattr(fake, name))


@needs_compiler
@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
@faults(LOST, "survived", RUNS, "memory runs out once, at any allocation or launch: ")
def test_memory_that_runs_out(value, tmp_path):
    panel = clean()
    want = value(panel, tmp_path, "numpy")
    for counter, limit in (("allocations", "fail_at"), ("launched", "fail_launch")):
        count = counted(value, panel, tmp_path, counter)
        assert count >= 1
        for n in [
            n
            for n in range(1, count + 1)
            if n in (1, count) or in_share(f"{value.__name__} {counter} {n}", 1 + count // 12)
        ]:
            panel.market.cache.clear()
            with installed(FakeCupy(**{limit: n})) as fake:
                got = value(panel, tmp_path, "cuda")
                assert getattr(fake, counter) > n
            survived(numbers(got), numbers(want))


@needs_compiler
@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
@faults(LOST, "refused", RUNS, "a GPU too small for anything: ")
def test_a_device_too_small(value, tmp_path):
    panel = clean()
    panel.market.cache.clear()
    match = r"a scenario of 12 assets and \d+ bars needs [\d,]+ bytes of device memory, and [\d,]+ are free on emulated"
    with installed(FakeCupy(bytes_total=2000)), refused(match):
        value(panel, tmp_path, "cuda")


@needs_compiler
@fault(LOST, "a GPU too small for a sweep with engine='auto'", "told")
def test_auto_with_a_device_too_small():
    panel = clean()
    with installed(FakeCupy(bytes_total=2000)):
        with told(r"bytes of device memory, and [\d,]+ are free on emulated.*engine='auto' goes on on the CPU"):
            got = tiny(panel=panel)
        assert registry.resolve("auto").name == "cuda"  # for less it may suffice
    panel.market.cache.clear()
    assert_same_sweep(got, tiny(panel=panel, engine="cpu"))


# --- devices that stop ---

STOPS = {"a launch that failed": 719, "an address that is not its own": 700, "memory that is damaged": 214,
         "a launch that took too long": 702, "a device that left the bus": 999}  # fmt: skip


@needs_compiler
@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
@faults(LOST, "refused", STOPS, "the driver stops a run: ")
def test_a_device_that_stops(value, tmp_path):
    """At any launch of any run; the next in this process has no traceback either."""
    panel = clean()
    for work in RUNS.values():
        count = counted(work, panel, tmp_path, "launched")
        for n in sorted({1, (count + 1) // 2, count}):
            panel.market.cache.clear()
            with installed(FakeCupy(fail_launch=n, status=value)):
                for _ in range(2):
                    with refused(rf"engine 'cuda' was stopped: CUDA_ERROR_{value}: .*; .*, or use engine='cpu'"):
                        work(panel, tmp_path, "cuda")
    panel.market.cache.clear()


@needs_compiler
@fault(LOST, "the driver stops a sweep with engine='auto'", "told")
def test_auto_goes_on_without_the_device():
    """From the chunk on that it stopped; those before it are kept as they are."""
    panel = clean()
    with installed(FakeCupy(fail_launch=2, status=719)) as fake:
        with told("was stopped: CUDA_ERROR_719.*engine='auto' goes on on the CPU"):
            got = tiny(panel=panel)
        assert fake.launched == 2  # nothing is tried again
    panel.market.cache.clear()
    assert_same_sweep(got, tiny(panel=panel, engine="cpu"))


@needs_compiler
@fault(LOST, "the driver stops a sweep into a folder, which a rerun on the CPU ends", "survived")
def test_what_was_done_is_kept(tmp_path):
    panel = clean()
    last = counted(lambda *_: tiny(panel=panel, engine="cuda"), panel, tmp_path, "launched")
    panel.market.cache.clear()
    with installed(FakeCupy(fail_launch=last, status=719)), pytest.raises(bt.EngineUnavailable, match="was stopped"):
        tiny(tmp_path / "out", panel=panel, engine="cuda")
    panel.market.cache.clear()
    got, want = tiny(tmp_path / "out", panel=panel, engine="cpu"), tiny(panel=panel, engine="cpu")
    assert_same_sweep(got, want)
    survived(got.run, 2)


@needs_compiler
@fault(LOST, "the driver stops a worker of a sweep", "refused")
def test_a_worker_whose_device_stops():
    panel = clean()
    with installed(FakeCupy(fail_launch=2, status=719)), futures.ThreadPoolExecutor(1) as pool:
        with refused("engine 'cuda' was stopped: CUDA_ERROR_719", bt.EngineUnavailable):
            tiny(panel=panel, engine="cuda", executor=pool)
    panel.market.cache.clear()


# --- arrays on a device ---


def resident(fake: Any, panel: bt.Panel) -> dict[str, Any]:
    """The arguments of a Panel whose prices lie on the device."""
    fields = {name: on_device(fake, np.array(getattr(panel, name))) for name in ("close", "open", "volume")}
    return {**fields, "timestamps": panel.timestamps, "assets": panel.assets, "prices": "raw"}


@needs_compiler
@faults(LOST, "refused", {"719": 719, "700": 700}, "the driver stops the checks of a panel on the GPU: ")
def test_a_device_that_stops_while_a_panel_is_checked(value):
    panel = clean()
    with installed(FakeCupy()) as fake:
        bt.Panel(**resident(fake, panel))
        count = fake.launched
    for n in sorted({1, (count + 1) // 2, count}):
        with installed(FakeCupy(fail_launch=n, status=value)) as fake:
            with refused(
                rf"engine 'cuda' was stopped: CUDA_ERROR_{value}: .*; this process cannot use the GPU any more"
            ):
                bt.Panel(**resident(fake, panel))


@needs_compiler
@fault(MISSING, "NVRTC refuses the kernels that check a panel on the GPU", "refused")
def test_a_compiler_that_refuses_the_checks():
    with installed(FakeCupy()) as fake:
        given = resident(fake, clean())
        fake.RawModule = raises(CompileException(LOG))
        with refused(r"NVRTC 13\.0 does not compile its kernel", bt.EngineUnavailable):
            bt.Panel(**given)


@needs_compiler
@fault(LOST, "a panel on one GPU, a thread that works on another", "refused")
def test_a_panel_on_another_device():
    with installed(FakeCupy(devices=2)) as fake:
        given = resident(fake, clean())
        fake.cuda.Device(1).use()
        with refused(r"close lies on GPU 0 and this thread's is GPU 1: use it under cupy\.cuda\.Device\(0\)"):
            bt.Panel(**given)


@needs_compiler
@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
@fault(LOST, "workers on other GPUs than the panel's", "survived")
def test_workers_on_another_device_than_the_panel():
    panel = clean()
    with installed(FakeCupy(devices=3)) as fake, futures.ThreadPoolExecutor(2) as pool:
        there = bt.Panel(**resident(fake, panel))
        got = tiny(panel=there, weights=books(panel)["one"], engine="cuda", executor=pool, chunk_size=1)
    want = tiny(panel=panel, weights=books(panel)["one"], engine="numpy")
    assert_same_sweep(got, want)
    survived(got.table["final_equity"].to_numpy(), want.table["final_equity"].to_numpy())
