# SPDX-License-Identifier: Apache-2.0
"""The native engine's libraries: one a processor level, absent without a compiler, refused where they do not belong."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_same_raw
from draw import scenario
from extent import seeds

from cpu_fallback import native
from cpu_fallback.native import NativeEngine
from cpu_fallback.native_build import FLAGS, LEVELS, REASON, build, build_id, compile_library, library_name
from gpu_bt.config import Config
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.registry import reasons, resolve

INSTALLED = Path(native.__file__).parent
needs_native = pytest.mark.skipif(reasons()["native"] is not None, reason=f"engine 'native': {reasons()['native']}")
FEATURES = (None, "avx2", "avx512f")


def needs_processor(feature: str | None) -> None:
    info = Path("/proc/cpuinfo")
    if feature is None:
        return
    if not info.exists() or feature not in info.read_text("utf-8").split():
        pytest.skip(f"this processor has no {feature}")


@pytest.fixture
def folder(tmp_path):
    """A place for other libraries than the installed ones."""
    native.load.cache_clear()
    yield tmp_path
    native.load.cache_clear()


def installed_as_plainest(level: int, folder: Path) -> None:
    """The installed library of a level where the loader takes it, whatever the processor is thought to be."""
    if not (INSTALLED / library_name(level)).exists():
        pytest.skip(f"the compiler did not know {LEVELS[level][0]}")
    shutil.copy(INSTALLED / library_name(level), folder / library_name(0))


def differing(folder: Path, drawn: Sequence[int], assets: int = 60) -> list[int]:
    """Seeds whose wide drawn scenario has other bits than NumPy."""
    engine, found = NativeEngine(1, folder), []
    assert engine.missing() is None
    for seed in drawn:
        panel, weights, config = scenario(seed, assets)
        spec = spec_of(panel_of(panel, config), [weights], [config])
        try:
            assert_same_raw(simulate_spec(engine, spec), simulate_spec(resolve("numpy"), spec))
        except AssertionError:
            found.append(seed)
    return found


@needs_native
@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_every_level_has_the_same_bits(folder, level):
    needs_processor(FEATURES[level])
    installed_as_plainest(level, folder)
    assert differing(folder, seeds(range(60))) == []
    assert differing(folder, seeds(range(60, 80)), 7) == []


def needs_compiler() -> None:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler (c++)")


def test_contraction_breaks_the_bits(folder):
    """The comparison can fail: with fused multiply-add allowed, it does."""
    needs_compiler()
    needs_processor("fma")
    flags = ["-ffp-contract=fast" if flag == "-ffp-contract=off" else flag for flag in FLAGS]
    assert "-ffp-contract=fast" in flags
    compile_library(folder / library_name(0), [*LEVELS[1], "-O2"], flags)
    assert differing(folder, range(40))


@needs_native
def test_the_loader_takes_the_processors_level(folder):
    for path in INSTALLED.glob("_native_?.so"):
        shutil.copy(path, folder)
    best = native.load(folder).bt_level()
    if not (folder / library_name(best)).exists():
        pytest.skip(f"the compiler did not know {LEVELS[best][0]}")
    assert Path(native.load(folder)._name).name == library_name(best)
    (folder / library_name(best)).unlink()
    native.load.cache_clear()
    if best:
        assert Path(native.load(folder)._name).name == library_name(best - 1)
    else:
        assert NativeEngine(folder=folder).missing().startswith("its library was not built")


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/bin/false", "the compiler '/bin/false' failed with status 1: no message"),
        ("no-such-compiler", "no C++ compiler 'no-such-compiler' (No such file or directory); install one or set CXX"),
    ],
)
def test_without_a_compiler_the_reason_stays(folder, monkeypatch, compiler, reason):
    monkeypatch.setenv("CXX", compiler)
    for level in range(len(LEVELS)):
        (folder / library_name(level)).write_text("the library of an earlier installation")
    assert build(folder) == reason
    assert [path.name for path in folder.iterdir()] == [REASON]
    engine = NativeEngine(folder=folder)
    assert engine.missing() == f"its library was not built: {reason}"
    panel, weights, config = scenario(1)
    with pytest.raises(RuntimeError) as error:
        engine.open(spec_of(panel_of(panel, config), [weights], [config]))
    assert str(error.value) == f"engine 'native' cannot run: its library was not built: {reason}"


def test_a_compiler_that_knows_no_levels_builds_the_plainest(folder, monkeypatch, tmp_path_factory):
    needs_compiler()
    wrapper = tmp_path_factory.mktemp("bin") / "compiler"
    wrapper.write_text(
        '#!/bin/sh\ncase "$*" in *-march=*) echo "error: bad value" >&2; exit 1;; esac\nexec c++ "$@" -O0\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    assert build(folder) is None
    assert [path.name for path in folder.iterdir()] == [library_name(0)]
    assert differing(folder, range(3)) == []


@pytest.mark.parametrize("known", ["march", "x86-64-v3", "none"])
def test_here_builds_the_best_level_alone_that_the_compiler_knows(folder, monkeypatch, tmp_path_factory, known):
    needs_compiler()
    wrapper = tmp_path_factory.mktemp("bin") / "compiler"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *{known}*) ;; *-march=*) echo "error: bad value" >&2; exit 1;; esac\n'
        f'case "$*" in *native.cpp*) echo >> {folder}/compiled;; esac\nexec c++ "$@" -O0\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    (folder / library_name(0)).write_text("the library of an earlier installation")
    assert build(folder, here=True) is None
    [made] = folder.glob("_native_*")
    level = native.load(folder).bt_level()
    expected = {"march": level, "x86-64-v3": min(level, 1), "none": 0}[known]
    assert made.name == library_name(expected) == Path(native.load(folder)._name).name
    assert (folder / "compiled").read_text() == "\n"  # what took time
    assert differing(folder, range(3)) == []


@needs_native
def test_a_library_for_a_newer_processor_alone_is_a_reason(folder, monkeypatch):
    """As where a folder is shared with the older machines of a cluster."""
    monkeypatch.setattr(native, "LEVELS", (*LEVELS, ()))
    shutil.copy(INSTALLED / library_name(0), folder / library_name(len(LEVELS)))
    expected = "its library was built for a newer processor; install gpu-bt again on this machine"
    assert NativeEngine(folder=folder).missing() == expected


@needs_native
def test_a_library_of_other_sources_is_refused(folder, monkeypatch):
    installed_as_plainest(0, folder)
    assert NativeEngine(folder=folder).missing() is None
    native.load.cache_clear()
    monkeypatch.setattr(native, "build_id", lambda: build_id()[::-1])
    assert NativeEngine(folder=folder).missing() == "its library was built from other sources; install gpu-bt again"


def test_a_broken_library_is_a_reason(folder):
    (folder / library_name(0)).write_bytes(b"\x7fELF no more")
    assert NativeEngine(folder=folder).missing().startswith("its library cannot be loaded: ")


def test_an_empty_folder_is_a_reason(folder):
    expected = "its library was not built: gpu-bt was not installed from here"
    assert NativeEngine(folder=folder).missing() == expected


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C, which a process that a shell put in the background starts without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@needs_native
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_stops_a_long_run_after_the_call_that_it_came_in(threads):
    """And a call moves few of the bars: a fraction of a second's work, by what a processor does at least in one."""
    panel = synthetic_universe(4000, 400, seed=1)
    configs = [Config(commission_rate=i * 1e-5, initial_cash=1e8) for i in range(400)]
    spec = spec_of(panel, [random_weights(panel, 1.0, seed=2)], configs, columns="equity")
    session = NativeEngine(threads).open(spec)
    call, moved = session.call, []

    def interrupted(launch: np.ndarray) -> None:
        moved.append(int(launch["t1"][0] - launch["t0"][0]))
        if len(moved) < 3:
            call(launch)
            return
        ctrl_c = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
        ctrl_c.start()
        call(launch)
        ctrl_c.join()  # on a busy machine it may not have come yet

    session.call = interrupted
    with pytest.raises(KeyboardInterrupt):
        session.advance(0, 4000)
    assert len(moved) == 3 and max(moved) * 400 * 400 < threads * 50_000_000
