# SPDX-License-Identifier: Apache-2.0
"""Which device a worker of a sweep takes where there are several."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import sys
import tempfile
import threading
from pathlib import Path

from gpu_bt.cuda import device

__all__ = ["claim"]


class _Lock:
    """An open file that holds its lock, which the system lets go of when the file is closed or its process dies."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError where another has it, another OSError or ImportError where there are no locks."""
        import fcntl

        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self.number)


class _Mine(threading.local):
    """What a thread has claimed."""

    claimed = False
    lock: _Lock | None = None


_mine = _Mine()


def claim() -> None:
    """Make a device current that no other worker of this user has on this machine, or that the fewest have.

    A choice that was made stays: a current device other than the first, the first of those that dask-cuda has put into
    an order of its worker's own, and of course the one that CUDA_VISIBLE_DEVICES leaves. Where the system has no locks
    it is any device.
    """
    library = device.cupy()
    runtime = library.cuda.runtime
    count = runtime.getDeviceCount()
    if count < 2 or runtime.getDevice() or _mine.claimed or "dask_cuda" in sys.modules:
        return
    user = os.getuid() if hasattr(os, "getuid") else 0
    names = [f"gpu-bt-device-{user}-{runtime.deviceGetPCIBusId(i).replace(':', '-')}" for i in range(count)]
    _mine.claimed, number = True, secrets.randbelow(count)
    with contextlib.suppress(ImportError, OSError):
        number, _mine.lock = _first_free(Path(tempfile.gettempdir()), names)
    library.cuda.Device(number).use()


def _first_free(place: Path, names: list[str]) -> tuple[int, _Lock]:
    """The first that nobody holds, else the first that one holds, and so on."""
    for turn in itertools.count():
        for number, name in enumerate(names):
            with contextlib.suppress(BlockingIOError):
                return number, _Lock(place / f"{name}-{turn}")
    raise AssertionError
