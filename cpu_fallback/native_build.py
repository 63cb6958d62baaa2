# SPDX-License-Identifier: Apache-2.0
"""Compiles native.cpp into shared libraries with plain C symbols, one for each level of the processor's vector
instructions or the one that this machine has; used by setup.py, the Makefile and tests."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_bt.law.layout import render_c

__all__ = ["FLAGS", "LEVELS", "REASON", "SEAL", "build", "build_id", "compile_library", "library_name", "seal"]

FLAGS = (
    "-O3",
    "-std=c++17",
    "-ffp-contract=off",  # no fused multiply-add: the law rounds every operation
    "-fno-math-errno",  # sqrt as one instruction
    "-fno-trapping-math",  # selects instead of branches, so that loops vectorise; no value changes
    "-fopenmp-simd",  # exact sums may be reordered, and only where the code says so
    "-fPIC",
    "-shared",
    "-pthread",
)
#: Flags of each level above the plainest; level.cpp says which one a processor has.
LEVELS = ((), ("-march=x86-64-v3",), ("-march=x86-64-v4", "-mprefer-vector-width=512"))
#: Stands in the package's folder where there is no library, and says why.
REASON = "_native_reason.txt"
#: Bytes at a library's end that say what all those before them are: loading a file that was cut ends the process.
SEAL = 16
#: Seconds after which a compiler hangs; the libraries take some ten.
_HANGS = 900
_FOLDER = Path(__file__).parent
_SOURCES = (_FOLDER / "native.cpp", _FOLDER / "level.cpp")
_LAW = _FOLDER.parent / "gpu_bt" / "law"


def library_name(level: int) -> str:
    """The file of a level, 0 the plainest."""
    return f"_native_{level}.so"


def build_id() -> str:
    """What a library answers to be loaded: a digest of its sources and of the layout of the structs."""
    digest = hashlib.blake2b(render_c().encode(), digest_size=8)
    for path in (*sorted(_LAW.glob("*.h")), *_SOURCES):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def seal(code: bytes) -> bytes:
    """What stands at the end of a library of this code."""
    return hashlib.blake2b(code, digest_size=SEAL).digest()


def compile_library(
    target: Path, extra: Sequence[str] = (), flags: Sequence[str] = FLAGS, sources: Sequence[Path] = _SOURCES
) -> None:
    """Compile to `target`, which is there whole or as it was, with $CXX (default c++). RuntimeError with one line where
    that fails."""
    given = os.environ.get("CXX") or ""
    try:
        compiler = shlex.split(given) or ["c++"]
    except ValueError as exc:
        raise RuntimeError(f"CXX is {given!r}: {exc}; it must be a command as a shell has it") from None
    with tempfile.TemporaryDirectory(prefix="_native_", dir=target.parent) as folder:
        (Path(folder) / "layout.h").write_text(render_c(), "utf-8")
        made = Path(folder) / "library.so"
        command = [*compiler, *flags, *extra, f'-DBT_BUILD="{build_id()}"', f"-I{folder}", f"-I{_LAW}"]
        command += [*map(str, sources), "-o", str(made)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_HANGS)
        except OSError as exc:
            raise RuntimeError(f"no C++ compiler {compiler[0]!r} ({exc.strerror}); install one or set CXX") from None
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the compiler {compiler[0]!r} did not end in {_HANGS} s") from None
        if done.returncode or not made.is_file():
            said = done.stderr.decode("utf-8", "replace").splitlines()
            lines = [line for line in said if line.strip()] or ["no message"]
            first = next((line for line in lines if "error" in line), lines[0])
            what = f"failed with status {done.returncode}" if done.returncode else "wrote no library"
            raise RuntimeError(f"the compiler {compiler[0]!r} {what}: {first.strip()}")
        with made.open("r+b") as file:
            file.write(seal(file.read()))
        os.replace(made, target)


def _level() -> int:
    """That of this machine's processor; 0, which every one has, where the compiler or its library cannot say."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "level.so"
        try:
            compile_library(probe, sources=_SOURCES[1:])
            return int(ctypes.CDLL(str(probe)).bt_level())
        except (RuntimeError, OSError):
            return 0


def build(folder: Path, here: bool = False) -> str | None:
    """Put the libraries, or the reason why there are none, into `folder`; returns the reason. Each file is there whole
    or as it was, also where two build at once or one is interrupted.

    here: of all levels the highest alone that this processor has and the compiler knows, in half the time; the bits
    are the same.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def failure(level: int) -> str | None:
        try:
            compile_library(folder / library_name(level), LEVELS[level])
        except Exception as exc:  # also of the disk
            return str(exc)
        return None

    levels = range(len(LEVELS) if platform.machine() in ("x86_64", "AMD64") else 1)
    said: dict[int, str | None] = {}
    if not here:
        with ThreadPoolExecutor() as pool:  # each thread waits for a compiler
            said = dict(zip(levels, pool.map(failure, levels), strict=True))
    for level in reversed(levels[: _level() + 1] if here else ()):
        said[level] = failure(level)
        if said[level] is None:
            break
    reason = said.get(0)  # the others fail alone where a compiler does not know so new a processor
    for level in range(len(LEVELS)):
        if reason is not None or said.get(level, "not tried") is not None:
            (folder / library_name(level)).unlink(missing_ok=True)
    if reason is None:
        (folder / REASON).unlink(missing_ok=True)
    else:
        (folder / REASON).write_text(f"{reason}\n", "utf-8")
    return reason
