# SPDX-License-Identifier: Apache-2.0
"""Proofs that passed, kept under a digest of all that they depend on: what runs again when nothing has changed shows
nothing new. Failures are not kept, and --exhaustive asks for no verdict."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shlex
import subprocess
import time
from pathlib import Path

import numpy as np
from emulator.build import EmulatorError, cache
from extent import digest

__all__ = ["PRODUCT", "forget_old", "keep", "kept", "sources"]

ROOT = Path(__file__).parents[1]
#: What a proof depends on where it does not say: engines, what they run on, what draws and judges their runs. Rooms
#: that no engine knows are left out.
PRODUCT = ("gpu_bt", "cpu_fallback", "tests/emulator", "tests/*.py", "tests/engines/cuda_cases.py")
_APART = ("gpu_bt/cli", "gpu_bt/sweeps")
_SOURCES = (".py", ".h", ".cu", ".cuh", ".cpp")
#: Days after which what nothing has asked for is dropped.
DAYS = 30


def kept(test: Path, name: str, parts: tuple[str, ...], drawn: float) -> bool:
    """Whether this test of a file has passed on the same sources with this share of its draws, or with all of them;
    parts: folders and files that it depends on."""
    paths = [_place(test, name, parts, share) for share in {drawn, max(drawn, 1.0)}]
    found = [path for path in paths if path.exists()]
    for path in found:
        os.utime(path)
    return bool(found)


def keep(test: Path, name: str, parts: tuple[str, ...], drawn: float) -> None:
    """It has passed."""
    _place(test, name, parts, drawn).touch()


def _place(test: Path, name: str, parts: tuple[str, ...], drawn: float) -> Path:
    return cache() / f"{digest(_of(test, parts), name, float(drawn))}.passed"


@functools.cache
def _of(test: Path, parts: tuple[str, ...]) -> str:
    """Digest of what all tests of a file depend on."""
    texts = [(os.path.relpath(path, ROOT), digest(path.read_bytes())) for path in sources(test, parts)]
    versions = np.__version__, platform.python_version(), platform.platform(), os.environ.get("CXX")
    return digest(texts, _tools(), *versions)


def sources(test: Path, parts: tuple[str, ...]) -> list[Path]:
    """The files of these parts, the test's own, and what runs it."""
    found = {test, ROOT / "tests" / "conftest.py", ROOT / "tests" / "verdicts.py"}
    for part in parts:
        at = ROOT / part
        for path in at.rglob("*") if at.is_dir() else sorted(ROOT.glob(part)):
            if path.suffix in _SOURCES and not path.relative_to(ROOT).as_posix().startswith(_APART):
                found.add(path)
    return sorted(found)


@functools.cache
def _tools() -> tuple[str, ...]:
    """What the compilers of the emulator and of the native engine say of themselves."""
    said = []
    for default in ("g++", "c++"):
        words = [*shlex.split(os.environ.get("CXX") or default), "--version"]
        try:
            said.append(subprocess.run(words, capture_output=True, text=True).stdout)
        except OSError as error:
            said.append(str(error))
    return tuple(said)


def forget_old() -> None:
    """Drop what nothing has asked for in a long time: each change of a source leaves something behind."""
    with contextlib.suppress(EmulatorError):  # the folder is somebody else's
        for path in cache().iterdir():
            with contextlib.suppress(OSError):  # another run does the same
                if path.is_file() and path.stat().st_mtime < time.time() - DAYS * 86_400:
                    path.unlink()
