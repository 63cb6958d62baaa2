# SPDX-License-Identifier: Apache-2.0
"""What the CUDA engine asks of CuPy: reasons where it cannot run, what it compiles, what it launches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from build import simulate_spec
from compare import assert_same_raw
from cuda_cases import NUMPY, batch, lean, one
from emulator.build import EmulatorError, build, why_not
from emulator.fake_cupy import FakeCupy, installed
from typer.testing import CliRunner

import gpu_bt as bt
import gpu_bt.cuda.device
from gpu_bt.cli.commands import app
from gpu_bt.cuda.device import DeviceArray, probe
from gpu_bt.cuda.engine import ENGINE, CudaEngine
from gpu_bt.cuda.module import NVRTC_OPTIONS, SHARED_DOUBLES, Variant, kernel, source
from gpu_bt.engine.registry import WORTH_A_KERNEL, WORTH_BLOCKS, WORTH_COMPILING, reasons, resolve

needs_compiler = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def raises(error: Exception):
    """In place of the import of CuPy, or of a call of its runtime."""

    def call(*_):
        raise error

    return call


def runtime(**calls) -> FakeCupy:
    fake = FakeCupy()
    vars(fake.cuda.runtime).update(calls)
    return fake


def old(number: int) -> dict:
    return {"name": b"Old", "major": 5, "minor": 2, "multiProcessorCount": 4, "sharedMemPerBlockOptin": 49152}


def without_compiler() -> FakeCupy:
    fake = FakeCupy()
    fake.cuda.nvrtc.getVersion = raises(RuntimeError("libnvrtc.so.13 was not found\nSearched in"))
    return fake


BROKEN = ImportError("libcublas.so.13: cannot open shared object file\nTry again")
REASONS = [
    (raises(ModuleNotFoundError("No module named 'cupy'", name="cupy")),
     "cupy is not installed (pip install 'gpu-bt[gpu]')"),
    (raises(BROKEN),
     "CuPy cannot be imported: libcublas.so.13: cannot open shared object file; install it anew, for the CUDA of the"
     " driver (pip install 'gpu-bt[gpu]')"),
    (raises(RuntimeError()), "CuPy cannot be imported: RuntimeError; install it anew, for the CUDA of the driver (pip"
     " install 'gpu-bt[gpu]')"),
    (runtime(getDeviceCount=raises(RuntimeError("cudaErrorInsufficientDriver: driver version is insufficient"))),
     "no CUDA device: cudaErrorInsufficientDriver: driver version is insufficient"),
    (runtime(getDeviceCount=lambda: 0), "no CUDA device"),
    (runtime(getDeviceProperties=raises(RuntimeError("cudaErrorDevicesUnavailable: busy"))),
     "no CUDA device: cudaErrorDevicesUnavailable: busy"),
    (without_compiler(), "CuPy finds no compiler (pip install 'gpu-bt[gpu]'): libnvrtc.so.13 was not found"),
    (runtime(getDeviceProperties=old), "Old has compute capability 5.2; 6.0 is the least"),
]  # fmt: skip


@pytest.mark.parametrize(("fake", "reason"), REASONS, ids=[reason for _, reason in REASONS])
def test_a_reason_in_one_line(fake, reason):
    """A person reads it where engines are listed and where cuda is asked for; auto takes another engine."""
    with installed(fake):
        assert ENGINE.missing() == probe() == reasons()["cuda"] == reason
        with pytest.raises(bt.EngineUnavailable) as error:
            resolve("cuda")
        assert str(error.value) == f"engine 'cuda' cannot run: {reason}; use engine='auto'"
        with pytest.raises(RuntimeError, match=re.escape(reason)):
            ENGINE.open(one(1))
        assert resolve("auto").name != "cuda"
        told = CliRunner().invoke(app, ["info"])
        assert told.exit_code == 0 and reason in " ".join(told.output.split())


@needs_compiler
def test_a_device_that_can_run():
    with installed(FakeCupy(processors=7, shared=1000)):
        device = probe()
        assert (device.name, device.capability, device.processors, device.shared) == ("emulated", 90, 7, 1000)
        assert ENGINE.missing() is None and reasons()["cuda"] is None
        assert resolve("cuda") is resolve("auto", WORTH_COMPILING, WORTH_BLOCKS) is ENGINE
    fake = FakeCupy(bytes_total=1000)
    fake.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 17)
    with installed(fake):
        assert probe().free() == 1017  # CuPy's own, too


def test_arrays_on_the_device():
    with installed(FakeCupy()) as fake:
        values = np.arange(12.0).reshape(3, 4)
        array = DeviceArray(values.shape, values.dtype, values)
        assert np.array_equal(array.read(), values) and array.read().shape == (3, 4)
        assert array.read(2, 5).tolist() == [2.0, 3.0, 4.0] and array.read(9).tolist() == [9.0, 10.0, 11.0]
        assert array.read(3, 3).size == 0
        array.clear()
        assert not array.read().any()
        assert np.isnan(DeviceArray(3, np.float64, byte=255).read()).all()
        for wrong in (values.astype(np.float32), values[:2], values.T, np.asfortranarray(values)):
            with pytest.raises(TypeError, match=r"a C-contiguous array of float64 \(3, 4\) is wanted"):
                array.write(wrong)
        empty = DeviceArray((0, 4), np.int32, np.zeros((0, 4), np.int32))
        empty.clear()
        assert empty.read().shape == (0, 4)
        del array, empty
        assert fake.used == 0


@needs_compiler
def test_what_is_compiled():
    """Once for each variant, with the options that forbid contraction."""
    with installed(FakeCupy()) as fake:
        for _ in range(2):
            for spec in (lean(5, positions=True), one(5, fills=True)):  # with positions no bar is plain
                for shared in (True, False):
                    simulate_spec(CudaEngine(32, shared=shared), spec)
        wanted = [Variant(full, shared) for full in (False, True) for shared in (False, True)]
        assert sorted(fake.options) == sorted((*NVRTC_OPTIONS, *variant.options) for variant in wanted)
        assert kernel(fake, Variant(True, True)) is kernel(fake, Variant(True, True)) is not kernel(fake, Variant(True))
    assert "--fmad=false" in NVRTC_OPTIONS and not any("fast" in o for o in NVRTC_OPTIONS)


@needs_compiler
def test_what_lies_compiled_is_known(monkeypatch, tmp_path, caplog):
    """A first kernel is told and leaves a mark, by which "auto" knows that the next run begins at once; another text,
    compiler or device has a mark of its own."""
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "0")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kept"))
    fake = FakeCupy()
    with installed(fake):
        assert not ENGINE.ready() and resolve("auto", WORTH_COMPILING / WORTH_BLOCKS - 1, WORTH_BLOCKS) is not ENGINE
        kernel(fake, Variant(shared=True))
        assert [r.message for r in caplog.records] == [
            "gpu_bt: compiling a variant of the CUDA kernel, some seconds, once a machine"
        ]
        assert ENGINE.ready() and resolve("auto", WORTH_A_KERNEL, WORTH_BLOCKS) is ENGINE
        assert resolve("auto", WORTH_A_KERNEL / WORTH_BLOCKS - 1, WORTH_BLOCKS) is not ENGINE
    for other in (FakeCupy(), FakeCupy()):
        caplog.clear()
        with installed(other):
            kernel(other, Variant(shared=True))
        assert not caplog.records and len(list(tmp_path.glob("kept/*"))) == 1
    changed = FakeCupy()
    changed.cuda.nvrtc.getVersion = lambda: (13, 5)
    with installed(changed):
        assert not ENGINE.ready()
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")
    with installed(FakeCupy()):
        assert not ENGINE.ready()


@needs_compiler
def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file"))
    fake = FakeCupy()
    with installed(fake):
        assert kernel(fake, Variant(shared=True)) and not ENGINE.ready()


@needs_compiler
@pytest.mark.parametrize("non_blocking", [True, False])
def test_whatever_stream_is_current(non_blocking):
    """All that the engine queues comes in order; its memory goes back to nobody who might use it too early."""
    for spec in (lean(5), one(5, fills=True, positions=True)):
        spec.market.cache.clear()
        with installed(FakeCupy()) as fake, fake.cuda.Stream(non_blocking=non_blocking) as other:
            assert_same_raw(simulate_spec(CudaEngine(32), spec, (3,)), simulate_spec(NUMPY, spec))
            assert fake.allocated_on and other not in fake.allocated_on and fake.legacy not in fake.allocated_on
            assert not other.waiting and not fake.legacy.waiting
        spec.market.cache.clear()


@needs_compiler
def test_the_shapes_of_launches():
    """Whole warps, no more than the kernel was compiled for, shared memory that the device has."""
    most = int(re.search(r"__launch_bounds__\((\d+)\)", source())[1])
    for shared in (48 * 1024, 99 * 1024, 227 * 1024):
        with installed(FakeCupy(shared=shared)) as fake:
            for n in (1, 33, 200, 1500, 4000):
                spec = batch(16, 9, n)
                simulate_spec(CudaEngine(), spec)
            for _, blocks, threads, size in fake.launches:
                assert 1 <= blocks <= 9 and threads % 32 == 0 and 64 <= threads <= most and size <= shared


def test_the_scratch_of_sums_is_as_large_as_the_kernel_takes():
    text = source()
    numbers = {name: int(re.search(rf"#define {name} (\d+)", text)[1]) for name in ("BT_WARPS", "BT_SUMS")}
    assert SHARED_DOUBLES == 2 * numbers["BT_WARPS"] * numbers["BT_SUMS"]
    assert "#define BT_SHARED_DOUBLES (2 * BT_WARPS * BT_SUMS)" in text


# --- the text ---


def test_every_header_stands_once():
    text = source()
    starts = re.findall(r'^#line 1 "(\w+\.\w+)"$', text, re.M)
    named = {"kernels.cu", "layout.h", *re.findall(r'#include "(\w+\.h)"', everything())}
    assert sorted(starts) == sorted(named - {"crew.h"})  # which is of the host alone
    assert '#include "' not in text and "#pragma once" not in text


def everything() -> str:
    from gpu_bt.cuda import module

    folders = (module._HERE, module._HERE.parent / "law")
    return "\n".join(p.read_text("utf-8") for folder in folders for p in sorted(folder.glob("*.*")) if p.suffix in
                     (".h", ".cu"))  # fmt: skip


def of_device(lines: list[str]) -> Iterator[int]:
    """Which lines a device sees."""
    parts: list[tuple[bool, bool]] = []
    for i, line in enumerate(lines):
        if line.startswith("#if"):
            parts.append(("#ifndef __CUDACC__" in line, "#ifdef __CUDACC__" in line))
        elif line.startswith("#else"):
            parts[-1] = parts[-1][::-1]
        elif line.startswith("#endif"):
            parts.pop()
        if not any(host for host, _ in parts):
            yield i


@needs_compiler
@pytest.mark.parametrize(
    "name",
    ["team.h", "step.h", "lane.h", "columns.h", "fill.h", "decide.h", "bar.h", "run.h", "trades.h", "cut.h", "plain.h",
     "plan.h", "kernels.cu"],
)  # fmt: skip
def test_an_error_names_its_file_and_line(name):
    """Before the first #include of a file, after it, and at its end: of the variants that have that line."""
    from gpu_bt.cuda import module

    folder = module._HERE if name == "kernels.cu" else module._HERE.parent / "law"
    lines = (folder / name).read_text("utf-8").split("\n")
    starts = ("BT_FN ", "BT_STEP ", "template", "extern")
    plain = [i for i in of_device(lines) if lines[i].startswith(starts) and f"\n{lines[i]}\n" in source()]
    variants = [Variant(True, True, plain=True), Variant(plain=True, general=False), Variant(plan=True)]
    for at in {plain[0], plain[len(plain) // 2], plain[-1]}:
        text = source()
        assert text.count(f"\n{lines[at]}\n") == 1
        said = ""
        for variant in variants:
            options = dict(option[2:].split("=") for option in variant.options)
            try:
                build(text.replace(f"\n{lines[at]}\n", f"\nplanted {lines[at]}\n"), defines=options)
            except EmulatorError as error:
                said += str(error)
        assert re.search(rf"(?m)^{re.escape(name)}:{at + 1}:\d+: error: .*planted", said)


def test_large_arrays_travel_in_pieces(monkeypatch):
    """A buffer is filled again only when what was in it has arrived: the stand-in copies as late as it may."""
    monkeypatch.setattr(gpu_bt.cuda.device, "_STAGE", 4096)
    with installed(FakeCupy()) as fake:
        for size in (512, 513, 1024, 5000):
            values = np.random.default_rng(size).random((size, 3))
            sent = len(fake.sent)
            placed = DeviceArray(values.shape, values.dtype, values)
            assert placed.read().tobytes() == values.tobytes()
            assert len(fake.sent) - sent == -(-values.nbytes // 4096)
