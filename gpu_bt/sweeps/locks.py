# SPDX-License-Identifier: Apache-2.0
"""Who runs where: the lock of a sweep's folder, and temporary folders that carry the name of their process."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gpu_bt.arguments import path_of
from gpu_bt.errors import BacktestWarning, ResultError

__all__ = ["locked", "temporary"]

#: Descriptors of this process's locks: a forked child closes them, or a lock would outlive the one that took it.
_held: set[int] = set()
_NAME = re.compile(r"gpu-bt-(.+)-(\d+)-(\d+)-[^-]+")


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's `.sweep.lock`, which is gone afterwards; the system lets go of it when this process dies.

    Raises ResultError where another sweep holds it. Where the file system has no locks, warns and goes on; a folder
    that may not be written, which holds what it will ever hold, has none.
    """
    path = folder / ".sweep.lock"
    if not os.access(folder, os.W_OK):
        yield
        return
    try:
        number = _open(path)
    except BlockingIOError:
        raise ResultError(
            f"another sweep is running in {folder} ({_holder(path)}): wait for it, or choose another folder for out="
        ) from None
    except OSError as error:
        raise ResultError(f"{path} cannot be opened: {error.strerror}; choose another folder for out=") from error
    _held.add(number)
    try:
        with suppress(OSError):  # it only helps a person
            os.ftruncate(number, 0)
            os.write(number, f"process {os.getpid()} on {_host()[0]}".encode())
        yield
    finally:
        if number in _held:  # not in a child that was forked meanwhile
            with suppress(OSError):
                path.unlink()
            _held.remove(number)
            os.close(number)


def _open(path: Path) -> int:
    """A descriptor that holds the lock of a file; BlockingIOError where another one does."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            raise
        except (ImportError, OSError) as error:
            reason = getattr(error, "strerror", None) or "this system has none"
            warnings.warn(
                f"{path.parent} is on a file system without locks ({reason}): see to it that no other sweep runs in it",
                BacktestWarning, stacklevel=6,
            )  # fmt: skip
            return number
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), os.stat(path)):
                return number
        os.close(number)  # whoever had it removed it meanwhile: that lock is of no file any more


def _holder(path: Path) -> str:
    """What the holder of a lock says of itself."""
    with suppress(OSError):
        if re.fullmatch(r"process \d+ on [\w.-]+", text := path.read_bytes()[:200].decode("ascii", "replace")):
            return text
    return "in another process"


def _host() -> tuple[str, str]:
    """This machine's name, and the same with its space of process numbers, of which a container has its own."""
    name = os.uname().nodename if hasattr(os, "uname") else "machine"
    name = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII) or "machine"
    try:
        return name, f"{name}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return name, name


def _began(pid: int) -> int:
    """When a process began, in the system's ticks; 0 where that is not told, -1 where there is no such process."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        pass
    return 0


@contextmanager
def temporary(scratch: Any) -> Iterator[Path]:
    """A folder in `scratch` (None = the temporary folder) that is gone afterwards; those of processes that were killed
    go first. Raises ResultError where the disk refuses."""
    try:
        place = path_of("scratch", tempfile.gettempdir() if scratch is None else scratch)
        _sweep_up(place)
        pid = os.getpid()
        folder = Path(tempfile.mkdtemp(prefix=f"gpu-bt-{_host()[1]}-{pid}-{max(_began(pid), 0)}-", dir=place))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        said = scratch and os.fspath(scratch)
        raise ResultError(f"scratch={said!r} cannot be used: {reason}; pass another folder") from error
    try:
        yield folder
    finally:
        if os.getpid() == pid:  # not in a child that was forked meanwhile
            shutil.rmtree(folder, ignore_errors=True)  # what is mapped stays readable until its worker lets go


def _sweep_up(place: Path) -> None:
    """Remove the folders that killed processes of this user on this machine have left in a place."""
    host, user = _host()[1], os.getuid() if hasattr(os, "getuid") else 0
    for path in place.glob("gpu-bt-*"):
        with suppress(OSError):
            made, found = _NAME.fullmatch(path.name), path.lstat()
            if made is None or made[1] != host or not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
                continue
            now, then = _began(int(made[2])), int(made[3])
            if now < 0 or (now != then and 0 not in (now, then)):  # gone, or another process has its number
                shutil.rmtree(path, ignore_errors=True)
