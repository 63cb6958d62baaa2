# SPDX-License-Identifier: Apache-2.0
"""CUDA sources run on the CPU: builds a .cu file, unmodified, against cuda_shim.h and launches its kernels.

    lib = build(Path("gpu_bt/cuda/kernels.cu"))                      # or the text of a .cu file, with includes=[folder]
    launch(lib, "NAME", grid=4, block=64, shared=1024, arg=record, order="reversed")
    lib = build(path, sanitizer="thread")                             # or "address"
    launch(lib, "NAME", 4, 64, 1024, record, arrays=[x, y])           # every array that the argument points to

A kernel is `extern "C" __global__ void NAME(const some_struct *arg)`; `arg` is that struct, a NumPy structured array of
one or bytes, with the addresses of NumPy arrays (`x.ctypes.data`) where the struct has pointers. A launch works on the
arrays in place. An isolated build, and any with a sanitizer, runs in a process of its own, on copies of `arrays` that
are copied back: any word of `arg`, or of an array of dtype uint64 or uint8 (raw memory), that is an address inside one
of the arrays is a pointer there.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from waits import HANGS

__all__ = ["EmulatorError", "Library", "alone", "build", "cache", "header_folder", "launch", "why_not"]

HERE = Path(__file__).parent
MODES = ("fibers", "threads")
ORDERS = ("forward", "reversed", "random")
#: Products and sums round on their own, as on the device; the two others let the compiler vectorise.
FLAGS = ("-std=c++17", "-O1", "-g", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
WARNINGS = ("-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable")
SANITIZERS = {
    None: (),
    # A cast that does not fit and a misaligned access differ between the device and this machine.
    "address": ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}


class EmulatorError(RuntimeError):
    """The text did not compile, the shim refused what a kernel did, or a sanitizer ended the run."""


class Library(NamedTuple):
    """A built .cu file: a shared library, or an executable where launches are isolated."""

    path: Path
    sanitizer: str | None
    isolated: bool


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


@functools.cache
def why_not(sanitizer: str | None = None) -> str | None:
    """Why nothing can be built, or run under this sanitizer, on this machine; None where it can."""
    if compiler() is None:
        return "there is no C++ compiler (g++)"
    try:
        lib = build('struct word { int *p; };\nextern "C" void put(const word *w) { *w->p = 1; }', sanitizer=sanitizer)
        out = np.zeros(1, np.int32)
        launch(lib, "put", 1, 1, 0, np.array([out.ctypes.data], np.uint64), arrays=[out])
    except EmulatorError as error:
        return f"the compiler's {sanitizer or 'shared library'} build does not run: {error}"
    return None


def build(
    source: Path | str,
    includes: Sequence[Path] = (),
    defines: Mapping[str, Any] | None = None,
    sanitizer: str | None = None,
    isolated: bool = False,
    flags: Sequence[str] = (),
) -> Library:
    """A .cu file, or the text of one, compiled; made once for all tests and processes that ask for the same.

    isolated: launches run in a process of their own, so that a broken kernel ends only that; always with a sanitizer.
    """
    path = source if isinstance(source, Path) else None
    text = path.read_text("utf-8") if path else str(source)
    text = f'#line 1 "{path.name if path else "text.cu"}"\n{text}'
    options = [f"-D{name}={value}" for name, value in (defines or {}).items()]
    options += [f"-I{folder}" for folder in ([path.parent] if path else []) + list(includes)]
    return compiled(text, tuple(options), sanitizer, isolated or sanitizer is not None, tuple(flags))


@functools.cache  # in this process: to find what is kept takes the preprocessor
def compiled(
    text: str, options: tuple[str, ...], sanitizer: str | None, isolated: bool, flags: tuple[str, ...]
) -> Library:
    """build() of a text with macros and folders of headers, which do not change while a process runs."""
    common = [*FLAGS, *(f"-DBT_SHIM_{s.upper()}" for s in [sanitizer] if s), *flags]
    own = [*common, *WARNINGS, *SANITIZERS[sanitizer], "-include", str(HERE / "cuda_shim.h"), *options]
    own += ["-x", "c++", "-"]
    expanded = run_compiler([*own, "-E"], text)
    shared = set(re.findall(r"\bextern\s+__attribute__\(\(weak\)\)[^;]*?(\w+)\s*\[\s*\]\s*;", expanded))
    link = ["-pthread", "-ldl", *SANITIZERS[sanitizer]]
    link += [f"-Wl,--defsym,{name}=bt_shim_shared" for name in sorted(shared)]
    link += ["-rdynamic"] if isolated else ["-shared", "-Wl,-z,defs"]
    shim = "".join(p.read_text("utf-8") for p in (*sorted(HERE.glob("*.h")), *sorted(HERE.glob("*.cpp"))))
    parts = ["cuda_shim.cpp", "runner.cpp"] if isolated else ["cuda_shim.cpp"]
    objects = [made([*common, "-O2", "-c", str(HERE / part)], shim, ".o") for part in parts]
    kernels = made([*own, "-c"], text, ".o", expanded)
    return Library(
        made([str(kernels), *map(str, objects), *link], "", ".run" if isolated else ".so"), sanitizer, isolated
    )


def made(arguments: Sequence[str], text: str, suffix: str, key: str | None = None) -> Path:
    """What the compiler makes of these arguments and this standard input; kept under a digest of both, or of `key`."""
    digest = hashlib.sha256(repr((arguments, text if key is None else key, version())).encode()).hexdigest()[:32]
    target = cache() / f"{digest}{suffix}"
    with alone(target):
        if target.exists():
            os.utime(target)  # what is asked for is kept
            return target
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            run_compiler([*arguments, "-o", f"{folder}/out"], text)
            os.replace(f"{folder}/out", target)  # whole or not at all
    return target


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """Whoever else wants to make this file waits; where it is there, nobody does."""
    if target.exists():
        yield
        return
    import fcntl  # as on POSIX, where alone the shim runs

    with open(target.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def header_folder(headers: Mapping[str, str]) -> Path:
    """A folder with these headers, name -> text, for `includes`."""
    folder = cache() / f"headers-{hashlib.sha256(repr(sorted(headers.items())).encode()).hexdigest()[:32]}"
    folder.mkdir(exist_ok=True)
    for name, text in headers.items():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, folder / name)
    return folder


def launch(
    lib: Library,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    shared: int,
    arg: Any,
    mode: str = "fibers",
    order: str = "forward",
    seed: int = 1,
    arrays: Sequence[np.ndarray] = (),
    timeout: float = HANGS,
) -> None:
    """Runs a kernel and waits for it; raises EmulatorError with what the shim or the sanitizer says.

    mode: "fibers" (one OS thread; each thread runs until it must wait) or "threads" (one OS thread each).
    order: which ready fiber goes on, and which block is next: "forward" (the lowest), "reversed" or "random" by `seed`.
    """
    image = np.frombuffer(arg.tobytes() if hasattr(arg, "tobytes") else bytes(arg), np.uint8).copy()
    shape = [(*np.atleast_1d(n).tolist(), 1, 1)[:3] for n in (grid, block)]
    codes = MODES.index(mode), ORDERS.index(order)
    if lib.isolated:
        run_in_subprocess(lib, kernel, shape, shared, [image, *arrays], codes, seed, timeout)
        return
    library = ctypes.CDLL(str(lib.path))
    try:
        address = ctypes.cast(getattr(library, kernel), ctypes.c_void_p)
    except AttributeError:
        raise EmulatorError(f"there is no kernel {kernel}") from None
    text = ctypes.create_string_buffer(2048)
    sizes = [(ctypes.c_uint * 3)(*s) for s in shape]
    failed = library.bt_shim_run(
        address, *sizes, ctypes.c_size_t(shared), ctypes.c_void_p(image.ctypes.data), *codes,
        ctypes.c_uint64(seed), text, ctypes.c_size_t(len(text)),
    )  # fmt: skip
    if failed:
        raise EmulatorError(f"{kernel}: {text.value.decode(errors='replace')}")


def run_in_subprocess(
    lib: Library,
    kernel: str,
    shape: Sequence[Sequence[int]],
    shared: int,
    arrays: Sequence[np.ndarray],
    codes: tuple[int, int],
    seed: int,
    timeout: float,
) -> None:
    """Saves a launch (arrays[0] is the argument), runs the executable on it and copies the arrays back."""
    if any(not a.flags.c_contiguous for a in arrays):
        raise ValueError("an array is not C-contiguous")
    pointers = []
    for i, a in enumerate(arrays):
        if i == 0 or a.dtype in (np.uint64, np.uint8):
            words = np.frombuffer(a.tobytes()[: a.nbytes // 8 * 8], np.uint64)
            for j, b in enumerate(arrays[1:], 1):
                offsets = words - np.uint64(b.ctypes.data)  # below zero it wraps round
                found = np.flatnonzero(offsets < max(b.nbytes, 1))
                pointers += [(i, 8 * int(word), j, int(offsets[word])) for word in found]
    with tempfile.TemporaryDirectory() as folder:
        name, *files = kernel.encode(), f"{folder}/launch", f"{folder}/result"
        with open(files[0], "wb") as file:
            file.write(
                struct.pack("=128s6I4Q2i", name, *shape[0], *shape[1], shared, seed, len(arrays), len(pointers), *codes)
            )
            file.write(np.array([a.nbytes for a in arrays], np.uint64).tobytes())
            file.write(np.array(pointers, np.uint64).tobytes())
            file.writelines(a.tobytes() for a in arrays)
        environment = os.environ | {
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0", "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0",
        }  # fmt: skip
        # ThreadSanitizer finds no room for its shadow where addresses are drawn from too wide a range.
        fixed = ["setarch", "-R"] if lib.sanitizer == "thread" and can_fix_addresses() else []
        done = subprocess.run([*fixed, str(lib.path), *files], env=environment, capture_output=True, timeout=timeout)
        if done.returncode:
            raise EmulatorError(f"{kernel}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')}")
        result = Path(files[1]).read_bytes()
    text, at = result[:2048].split(b"\0")[0], 2048
    for i, a in enumerate(arrays[1:], 1):
        after = np.frombuffer(result, np.uint8, a.nbytes, at).copy()
        for array, word, j, offset in pointers:  # addresses of that process are of no use here
            if array == i:
                after[word : word + 8] = np.array([arrays[j].ctypes.data + offset], np.uint64).view(np.uint8)
        if a.flags.writeable:
            a.reshape(-1).view(np.uint8)[:] = after
        at += a.nbytes
    if text:
        raise EmulatorError(f"{kernel}: {text.decode(errors='replace')}")


@functools.cache
def can_fix_addresses() -> bool:
    return (
        bool(shutil.which("setarch")) and subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0
    )


def run_compiler(arguments: Sequence[str], text: str = "") -> str:
    done = subprocess.run([compiler() or "g++", *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        raise EmulatorError(done.stderr)
    return done.stdout


@functools.cache
def version() -> str:
    return run_compiler(["--version"])


@functools.cache
def cache() -> Path:
    """A folder of this user's own, shared by all processes and kept between runs, for what takes long to compile or to
    prove: GPU_BT_TEST_CACHE, or one among the temporary files."""
    named = os.environ.get("GPU_BT_TEST_CACHE")
    folder = Path(named or Path(tempfile.gettempdir()) / f"gpu-bt-emulator-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True, parents=named is not None)
    if folder.stat().st_uid != os.getuid():
        raise EmulatorError(f"{folder} belongs to somebody else")
    return folder
