# SPDX-License-Identifier: Apache-2.0
"""The native engine: gpu_bt/law/run.h compiled for the host, through ctypes. Without a compiler at installation,
`missing` says so."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import numpy as np

from cpu_fallback.native_build import LEVELS, REASON, SEAL, build_id, library_name, seal
from gpu_bt.engine.lanes import LaneSession, has_books
from gpu_bt.engine.spec import RunSpec

__all__ = ["ENGINE", "NativeEngine", "NativeSession"]

_FOLDER = Path(__file__).parent
#: Scenarios times assets of a lane at most: its holdings, orders and rows stay in a core's second-level cache.
_LANE = 80_000
#: Asset-bars of one call for each thread: a fraction of a second, so that Ctrl-C is seen between two.
_CALL = 4_000_000
#: Asset-bars below which threads cost more than they bring.
_SMALL = 200_000
#: Bytes of the logs of fills and of cuts that a call may write.
_LOG_BYTES = 1 << 28


def _open(path: Path) -> ctypes.CDLL:
    """A library with the types of its functions declared. OSError where its bytes are not those that were built."""
    if not path.is_file():  # reading a pipe would not end
        raise OSError(f"{path.name} is no file; install gpu-bt again")
    code = path.read_bytes()
    if code[-SEAL:] != seal(code[:-SEAL]):
        raise OSError(f"{path.name} is damaged or was changed; install gpu-bt again")
    library = ctypes.CDLL(str(path))
    library.bt_build.restype = ctypes.c_char_p
    library.bt_run.argtypes, library.bt_run.restype = [ctypes.c_void_p, ctypes.c_int64], None
    return library


@functools.cache
def load(folder: Path = _FOLDER) -> ctypes.CDLL | str:
    """The library for this processor, or why there is none."""
    note, paths = folder / REASON, {level: folder / library_name(level) for level in range(len(LEVELS))}
    try:
        built = [level for level, path in paths.items() if path.exists()]
        if not built:
            reason = note.read_text("utf-8", "replace") if note.is_file() else "gpu-bt was not installed from here"
            return f"its library was not built: {' '.join(reason.split())}"
        library = _open(paths[built[0]])
        here = max((level for level in built if level <= library.bt_level()), default=None)
        if here is None:
            return "its library was built for a newer processor; install gpu-bt again on this machine"
        library = _open(paths[here])
        if library.bt_build().decode() != build_id():
            return "its library was built from other sources; install gpu-bt again"
    except (OSError, AttributeError, ValueError) as exc:  # of the file, of its functions, of its name
        return f"its library cannot be loaded: {exc}"
    return library


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class NativeEngine:
    """Runs where the package was installed with a C++ compiler. `threads`: None = one per processor."""

    name = "native"

    def __init__(self, threads: int | None = None, folder: Path = _FOLDER) -> None:
        self.threads, self.folder = threads, folder

    def missing(self) -> str | None:
        """None where the library is present and belongs to this source, else the reason."""
        library = load(self.folder)
        return library if isinstance(library, str) else None

    def ready(self) -> bool:
        """Nothing is compiled at run time."""
        return True

    def claim(self) -> None:
        """Nothing is claimed."""

    def open(self, spec: RunSpec) -> NativeSession:
        """A session at bar 0."""
        library = load(self.folder)
        if isinstance(library, str):
            raise RuntimeError(f"engine 'native' cannot run: {library}")
        return NativeSession(spec.on_host(), library, self.threads or _processors())


class NativeSession(LaneSession):
    """Lanes in the memory of this process; threads take them one after another."""

    name = "native"

    def __init__(self, spec: RunSpec, library: ctypes.CDLL, threads: int) -> None:
        n, k = spec.market.shape[1], len(spec.params)
        self.compiled = library
        self.threads = threads if k * n * spec.market.shape[0] > _SMALL else 1
        most = _LANE // n * (1 + has_books(spec))  # books name few assets
        super().__init__(spec, max(1, most), self.threads, _LOG_BYTES)

    def bars_a_call(self) -> int:
        """As many bars as end within a fraction of a second."""
        return max(1, _CALL * self.threads // (len(self.spec.params) * self.spec.market.shape[1]))

    def call(self, launch: np.ndarray) -> None:
        """Run the lanes over [t0, t1)."""
        self.compiled.bt_run(launch.ctypes.data, self.threads)


ENGINE = NativeEngine()
