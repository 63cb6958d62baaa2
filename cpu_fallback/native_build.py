# SPDX-License-Identifier: Apache-2.0
"""Compiles native.cpp into shared libraries with plain C symbols, one for each level of the processor's vector
instructions; used by setup.py and by tests."""

from __future__ import annotations

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

__all__ = ["FLAGS", "LEVELS", "REASON", "build", "build_id", "compile_library", "library_name"]

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
#: Flags of each level above the plainest; native.cpp's bt_level() says which one a processor has.
LEVELS = ((), ("-march=x86-64-v3",), ("-march=x86-64-v4", "-mprefer-vector-width=512"))
#: Stands in the package's folder where there is no library, and says why.
REASON = "_native_reason.txt"
_FOLDER = Path(__file__).parent
_LAW = _FOLDER.parent / "gpu_bt" / "law"


def library_name(level: int) -> str:
    """The file of a level, 0 the plainest."""
    return f"_native_{level}.so"


def build_id() -> str:
    """What a library answers to be loaded: a digest of its sources and of the layout of the structs."""
    digest = hashlib.blake2b(render_c().encode(), digest_size=8)
    for path in (*sorted(_LAW.glob("*.h")), _FOLDER / "native.cpp"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def compile_library(target: Path, extra: Sequence[str] = (), flags: Sequence[str] = FLAGS) -> None:
    """Compile to `target` with $CXX (default c++). RuntimeError with one line where that fails."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "layout.h").write_text(render_c(), "utf-8")
        command = [*compiler, *flags, *extra, f'-DBT_BUILD="{build_id()}"', f"-I{folder}", f"-I{_LAW}"]
        command += [str(_FOLDER / "native.cpp"), "-o", str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as exc:
            raise RuntimeError(f"no C++ compiler {compiler[0]!r} ({exc.strerror}); install one or set CXX") from None
    if done.returncode:
        lines = done.stderr.splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise RuntimeError(f"the compiler {compiler[0]!r} failed with status {done.returncode}: {first.strip()}")


def build(folder: Path) -> str | None:
    """Put the libraries, or the reason why there are none, into `folder`; returns the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*map(library_name, range(len(LEVELS))), REASON):
        (folder / name).unlink(missing_ok=True)
    levels = LEVELS if platform.machine() in ("x86_64", "AMD64") else LEVELS[:1]
    with ThreadPoolExecutor() as pool:  # each thread waits for a compiler
        made = [pool.submit(compile_library, folder / library_name(i), extra) for i, extra in enumerate(levels)]
    reason = made[0].exception()  # the others fail alone where a compiler does not know so new a processor
    if reason is not None:
        (folder / REASON).write_text(f"{reason}\n", "utf-8")
    return None if reason is None else str(reason)
