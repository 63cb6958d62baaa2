# SPDX-License-Identifier: Apache-2.0
"""Compiled code never ends Python: damaged libraries, compilers that fail, machines without a thread to spare."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from draw import scenario
from faults.kit import fault, faults, one_line, refused, script, silence, survived, told
from waits import wait_for

import gpu_bt as bt
from cpu_fallback import native, native_build
from cpu_fallback.native_build import LEVELS, REASON, library_name, seal
from gpu_bt.engine import registry
from gpu_bt.engine.registry import reasons
from gpu_bt.errors import quiet

KIND = "Compiled code"
INSTALLED = Path(native.__file__).parent
WHOLE = INSTALLED / library_name(0)
needs_native = pytest.mark.skipif(not WHOLE.exists(), reason=f"engine 'native': {reasons()['native']}")
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler (c++)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the engine looks for its libraries."""
    native.load.cache_clear()
    monkeypatch.setattr(native.ENGINE, "folder", tmp_path)
    yield tmp_path
    native.load.cache_clear()


def backtest(engine: str) -> bt.Result:
    close = np.exp(np.random.default_rng(1).normal(0, 0.02, (20, 6)).cumsum(axis=0))
    panel = bt.Panel(close, open=close, timestamps=np.arange(20).astype("datetime64[D]"), assets=list("ABCDEF"))
    return bt.run(panel, np.full((20, 6), 1 / 6), bt.Config(), engine=engine)


def without_native(match: str) -> None:
    """The engine by name says why it cannot run; the others give the same bits as ever."""
    with refused(match, bt.EngineUnavailable):
        backtest("native")
    with quiet("engine 'native' cannot run"):
        result = backtest("cpu")
        assert result.engine == "numpy" and backtest("auto").engine == "numpy"
    survived(result, backtest("numpy"))


def flipped(code: bytes, at: int) -> bytes:
    at %= len(code)
    return code[:at] + bytes([code[at] ^ 1]) + code[at + 1 :]


DAMAGES = {
    "it is empty": lambda code: b"",
    "one byte is left": lambda code: code[:1],
    "its first page is left": lambda code: code[:4096],
    "half of it is left": lambda code: code[: len(code) // 2],
    "its last byte is missing": lambda code: code[:-1],
    "its seal is missing": lambda code: code[: -native_build.SEAL],
    "one bit of its head is changed": lambda code: flipped(code, 40),
    "one bit of its code is changed": lambda code: flipped(code, len(code) // 2),
    "its last bit is changed": lambda code: flipped(code, -1),
    "zeros in its place": lambda code: bytes(len(code)),
    "a page of zeros in it": lambda code: code[:8192] + bytes(4096) + code[12288:],
    "bytes after its end": lambda code: code + b"\0",
    "it twice": lambda code: code + code,
    "a text in its place": lambda code: b"version https://git-lfs.github.com/spec/v1\n",
}


@needs_native
@faults(KIND, "refused", DAMAGES, "a library, ")
def test_a_damaged_library_is_not_loaded(folder, value):
    (folder / library_name(0)).write_bytes(value(WHOLE.read_bytes()))
    without_native(r"_native_0\.so is damaged or was changed; install gpu-bt again; use engine='auto'")


@needs_native
@fault(KIND, "the library of this processor is cut, the plainest is whole", "refused")
def test_a_damaged_library_of_a_higher_level(folder, monkeypatch):
    level = native.load(INSTALLED).bt_level()
    if not level or not (INSTALLED / library_name(level)).exists():
        pytest.skip("this processor or compiler has the plainest level alone")
    shutil.copy(WHOLE, folder)
    (folder / library_name(level)).write_bytes((INSTALLED / library_name(level)).read_bytes()[:5000])
    without_native(rf"_native_{level}\.so is damaged")


def sealed(code: bytes) -> bytes:
    return code + seal(code)


def foreign(code: bytes) -> bytes:
    """The library as one for another processor: e_machine is that of s390."""
    return sealed(code[:18] + b"\x16\0" + code[20 : -native_build.SEAL])


STRANGERS = {
    "a text that is sealed": (lambda path: path.write_bytes(sealed(b"no library" * 100)), "cannot be loaded"),
    "for another processor": (lambda path: path.write_bytes(foreign(WHOLE.read_bytes())), "cannot be loaded"),
    "a folder in its place": (lambda path: path.mkdir(), "cannot be loaded: .*no file"),
    "a pipe that nobody writes to": (os.mkfifo, "cannot be loaded: .*no file"),
    "a device without an end": (lambda path: path.symlink_to("/dev/zero"), "cannot be loaded: .*no file"),
    "a link to nothing": (lambda path: path.symlink_to(path.parent / "nothing.so"), "was not built"),
    "a link to itself": (lambda path: path.symlink_to(path), "was not built|cannot be loaded"),
}


@needs_native
@faults(KIND, "refused", STRANGERS, "a library, ")
def test_what_is_no_library(folder, value):
    make, match = value
    make(folder / library_name(0))
    without_native(match)


@needs_native
@fault(KIND, "engine='auto' where the library is damaged goes on in NumPy, and says so once", "told")
def test_auto_says_that_it_is_slow(folder):
    (folder / library_name(0)).write_bytes(WHOLE.read_bytes()[:-1])
    registry._slow.cache_clear()
    with told("damaged or was changed; install gpu-bt again; runs go on in NumPy, many times slower"):
        assert registry.resolve("auto").name == "numpy"
    with silence():
        registry.resolve("cpu")
    (folder / library_name(0)).unlink()
    native.load.cache_clear()
    registry._slow.cache_clear()
    with silence():  # not built is no damage
        assert registry.resolve("auto").name == "numpy"
    registry._slow.cache_clear()


@needs_native
@needs_compiler
@fault(KIND, "a library, whole but of other functions", "refused")
def test_a_library_of_other_functions(folder):
    made = folder / "other.so"
    subprocess.run(["c++", "-shared", "-x", "c++", "-", "-o", made], input=b"int other;", check=True)
    (folder / library_name(0)).write_bytes(sealed(made.read_bytes()))
    without_native("cannot be loaded: .*bt_build")


NOTES = {
    "is not UTF-8": (b"no \xff compiler", "no . compiler"),
    "has several lines": (b"no compiler\n\n  at all\n", "no compiler at all"),
    "is empty": (b"", "its library was not built"),
}


@faults(KIND, "refused", NOTES, "the note that says why there is no library ")
def test_the_note_of_the_reason(folder, value):
    text, match = value
    (folder / REASON).write_bytes(text)
    without_native(match)


@pytest.fixture
def compiler(folder, monkeypatch):
    """CXX as a shell script of these lines; the plainest library alone is built."""
    monkeypatch.setattr(native_build, "LEVELS", LEVELS[:1])

    def make(lines: str) -> None:
        path = folder / "bin" / "compiler"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))

    return make


FAILURES = {
    "writes nothing": ("exit 0", "compiler' wrote no library: no message"),
    "writes nothing and warns": ("echo 'no more space' >&2", "wrote no library: no more space"),
    "fails without a word": ("exit 3", "failed with status 3: no message"),
    "fails with blank lines": ("echo >&2; exit 3", "failed with status 3"),
    "dies of a signal": ("kill -SEGV $$", "failed with status -11: no message"),
    "says no UTF-8": ("printf 'error: \\377\\n' >&2; exit 1", "failed with status 1: error: "),
    "leaves half a file and fails": ("for o; do :; done; echo half > $o; exit 1", "failed with status 1"),
    "makes a folder": ("for o; do :; done; mkdir $o", "wrote no library"),
    "never ends": ("exec sleep 1000", "did not end in 0.2 s"),
    "asks": ("read answer || exit 5", "failed with status 5"),
    "is interrupted by a child that lives on": ("sleep 3 & wait", "did not end in 0.2 s"),
}


@faults(KIND, "refused", FAILURES, "a compiler that ")
def test_a_compiler_that_fails_is_the_reason(folder, compiler, monkeypatch, value):
    lines, match = value
    compiler(lines)
    if "did not end" in match:
        monkeypatch.setattr(native_build, "_HANGS", 0.2)
    (folder / library_name(0)).write_text("the library of an earlier installation")
    one_line(native_build.build(folder))
    assert sorted(path.name for path in folder.iterdir()) == [REASON, "bin"]
    without_native(match)


VARIABLES = {
    "an open quotation": ("g++ 'x", 'CXX is "g\\+\\+ \'x": No closing quotation; it must be a command'),
    "a folder": ("/tmp", "no C\\+\\+ compiler '/tmp' \\(Permission denied\\)"),
    "a command that is not there": ("no-such-compiler -m64", "no C\\+\\+ compiler 'no-such-compiler'"),
    "a quotation of nothing": ("''", "no C\\+\\+ compiler ''"),
}


@faults(KIND, "refused", VARIABLES, "CXX is ")
def test_an_absurd_variable(folder, monkeypatch, value):
    text, match = value
    monkeypatch.setattr(native_build, "LEVELS", LEVELS[:1])
    monkeypatch.setenv("CXX", text)
    one_line(native_build.build(folder))
    without_native(match)


@needs_native
@faults(KIND, "survived", {"": "", "blanks": "  "}, "CXX is set to nothing: ")
def test_a_variable_of_nothing(folder, monkeypatch, value):
    ran = []
    monkeypatch.setattr(native_build, "LEVELS", LEVELS[:1])
    monkeypatch.setattr(native_build.subprocess, "run", lambda command, **_: ran.append(command) or 1 / 0)
    monkeypatch.setenv("CXX", value)
    native_build.build(folder)
    survived(ran[0][0], "c++")


@needs_native
@fault(KIND, "a build that is ended midway leaves the earlier library whole", "survived")
def test_an_ended_build(folder, compiler):
    compiler(f"for o; do :; done; head -c 9000 {WHOLE} > $o; touch {folder}/begun; exec sleep 1000")
    shutil.copy(WHOLE, folder)
    program = f"from cpu_fallback import native_build as n; n.LEVELS = [()]; n.build(n.Path({str(folder)!r}))"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=INSTALLED.parent, start_new_session=True)
    wait_for((folder / "begun").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = backtest("native")
    survived(result, backtest("numpy"))


@needs_native
@fault(KIND, "two builds at once into one folder", "survived")
def test_two_builds_at_once(folder, compiler):
    code = WHOLE.read_bytes()[: -native_build.SEAL]
    (folder / "bin").mkdir()
    (folder / "bin" / "code").write_bytes(code)
    compiler(f"for o; do :; done; head -c 9000 {folder}/bin/code > $o; sleep 0.05; cat {folder}/bin/code > $o")
    shutil.copy(WHOLE, folder)
    reasons: list[str | None] = []
    builds = [threading.Thread(target=lambda: reasons.append(native_build.build(folder))) for _ in range(6)]
    for build in builds:
        build.start()
    while any(build.is_alive() for build in builds):
        native.load.cache_clear()
        assert not isinstance(native.load(folder), str)  # at no moment half a library, or none
    assert reasons == [None] * 6
    assert sorted(path.name for path in folder.iterdir()) == [library_name(0), "bin"]
    survived(backtest("native"), backtest("numpy"))


#: pthread_create that fails from the call on that `allowed` says.
FEW_THREADS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
int allowed = 1 << 30, refused = 0;
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) real = (decltype(real))dlsym(RTLD_NEXT, "pthread_create");
    if (allowed-- <= 0) return ++refused, EAGAIN;
    return real(t, a, f, x);
}
"""
#: A run of eight lanes on eight threads, as pickled beside.
PROGRAM = """
import ctypes, pickle, sys
import numpy as np
from compare import assert_same_raw
from cpu_fallback import native
from gpu_bt.engine.spec import simulate

spec, wanted = pickle.load(open("spec.pickle", "rb"))
native._SMALL = 0
how, left = sys.argv[1], int(sys.argv[2])
session = native.NativeEngine(8, native._FOLDER).open(spec)
assert session.launch["lanes"][0] >= 8 and session.threads == 8
if how == "preload":
    shim = ctypes.CDLL(sys.argv[3])
    ctypes.c_int.in_dll(shim, "allowed").value = left
else:
    import resource
    pages = int(open("/proc/self/statm").read().split()[0])
    room = pages * resource.getpagesize() + left * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, resource.getrlimit(resource.RLIMIT_AS)[1]))
session.advance(0, spec.market.shape[0])
if how == "preload":
    assert ctypes.c_int.in_dll(shim, "refused").value == 1
else:
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
assert_same_raw(session.result(), wanted)
print("the end")
"""


@needs_native
@needs_compiler
@faults(
    KIND, "survived",
    {"none": ("preload", 0), "one": ("preload", 1), "six of seven": ("preload", 6), "no memory": ("memory", 4)},
    "a run of eight threads where the system gives ",
)  # fmt: skip
def test_fewer_threads(tmp_path, value):
    panel, weights, config = scenario(3, 40)
    configs = [config.replace(commission_rate=i * 1e-4) for i in range(16)]
    spec = spec_of(panel_of(panel, config), [weights], configs)
    wanted = simulate_spec(bt.engine.registry.resolve("numpy"), spec)
    (tmp_path / "spec.pickle").write_bytes(pickle.dumps((spec, wanted)))
    shim = tmp_path / "few.so"
    (tmp_path / "few.cpp").write_text(FEW_THREADS)
    subprocess.run(["c++", "-shared", "-fPIC", tmp_path / "few.cpp", "-o", shim, "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(shim)} if value[0] == "preload" else {}
    done = script(PROGRAM, *value, shim, folder=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    survived(done.stdout, "the end\n")
