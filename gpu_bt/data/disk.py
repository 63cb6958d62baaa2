# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole, in the place of older ones, or not at all; folders whose files are those of one result."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import polars as pl

from gpu_bt.errors import ConfigError, ResultError

__all__ = ["FILES", "MARKS", "Job", "check_writable", "to_file", "write_beside", "write_together"]

#: What a file will hold: a text, or what writes it to a path.
Job = str | Callable[[Path], Any]
#: The file of a run's or a sweep's result that comes last and goes first: while it is there, all are, and of one.
MARKS = ("metrics.json", "table.parquet")
_TABLES = "equity fills cuts assets orders_next positions weights bars"
#: The names that a result has in its folder, pictures aside; files of an older one that the new one lacks are removed.
FILES = (*MARKS, *(f"{name}.parquet" for name in _TABLES.split()), "config.toml", "equity.csv", "fills.csv")
#: Seconds to wait for another process that writes a result into the same folder.
_PATIENCE = 60.0


def to_file(write: Callable[[IO[bytes]], Any]) -> Job:
    """The job of a writer that takes an open file, whose last bytes Python writes: some versions of Polars miss that a
    disk is full at the end."""

    def job(path: Path) -> None:
        with open(path, "wb") as file:
            write(file)

    return job


def check_writable(folder: Path, names: Collection[str] = ()) -> None:
    """Raise ResultError unless a folder can be made, or written into, with files of these names: something else stands
    there, a permission is missing, the disk is full. It writes a small file, and leaves nothing."""
    near = place = folder
    try:
        while not _there(near):
            near = near.parent
        if not near.is_dir():
            raise ResultError(f"{folder} cannot be made: {near} is no folder; choose another folder")
        for name in names:
            place = folder / name
            _check_place(place)
        place, probe = near, near / f".probe.{secrets.token_hex(4)}.tmp"
        try:
            probe.write_bytes(bytes(4096))
            _sync(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        where = "" if place == folder else f" in {place}"
        raise ResultError(
            f"{folder} cannot be written: {_refusal(error, place).replace(';', where + ';', 1)}"
        ) from error


def _there(path: Path) -> bool:
    """Something has this name. Raises OSError where nothing could have it."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path == path.parent
    return True


def write_beside(path: Path, job: Job) -> None:
    """Write one file: the old one, or the whole new one, is there at any time. Otherwise as `write_together`."""
    _place({path: job}, None)


def write_together(jobs: Mapping[Path, Job], stale: Collection[str] = ()) -> None:
    """Write the files of one folder so that those of two results never stand side by side, whatever ends the process.

    Each job writes to a temporary path beside its own. Then older files step aside, and the new ones take their places;
    the last of `jobs` is the mark: it goes first and comes last, so that while it is there, all are, and of one result.
    Where an older result is there, its FILES that are not in `jobs` go with it, and so do files called as in `stale`.
    Folders that are missing are made; a link in a file's place is replaced, not followed. Files are on the disk, not
    only in memory, before they are named. Processes that write into one folder wait for each other.

    Raises ResultError where the system refuses. After any failure, an interrupt included, the old files are as they
    were and no temporary file is left; what a killed process has left is removed by the next one, an older result that
    stepped aside after all files of the new one are there.
    """
    stale = {stale} if isinstance(stale, str) else set(stale)
    if other := [name for name in stale if not isinstance(name, str) or Path(name).name != name]:
        raise ConfigError(f"stale has {other[0]!r}: it must be names of files in the folder")
    first, *_, mark = *jobs, *jobs
    folder = mark.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as alone:
            mine = {*FILES, *(path.name for path in jobs), *stale}
            left = [path for path in folder.iterdir() if _leftover(path.name) in mine] if alone else []
            gone = [path for path in left if _leftover(path.name) not in stale or _rests(path)]
            whole = any((folder / name).exists() for name in (*MARKS, mark.name))
            for path in gone:
                if whole or path.suffix == ".tmp":
                    path.unlink()
            older = bool(left) or any((folder / name).exists() for name in MARKS)
            others = {folder / name for name in (*FILES, *stale) if older and (folder / name).is_file()}
            old = {path for path in {*jobs, *others} if os.path.lexists(path)}
            _place(jobs, sorted(old, key=lambda path: (path != mark, path.name not in MARKS, path.name)))
            for path in gone:  # where a write was cut off, what stepped aside is the older result until now
                path.unlink(missing_ok=True)
    except OSError as error:
        raise ResultError(f"{first} was not written: {_refusal(error, first)}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a folder against other processes, and other threads; False where the system knows no locks."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + _PATIENCE
    held = False
    try:
        while not held:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(errno.EAGAIN, "another process is writing there") from None
                time.sleep(0.01)
            except OSError:  # a disk without locks
                break
        yield held
    finally:
        if held:
            fcntl.flock(handle, fcntl.LOCK_UN)  # also that of a process that was forked meanwhile
        os.close(handle)


def _rests(path: Path) -> bool:
    """Whether a picture is not being drawn any more."""
    return time.time() - path.lstat().st_mtime > 3600


def _leftover(name: str) -> str | None:
    """The name of the file that a temporary one is for."""
    found = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.(tmp|old)", name)
    return found and found[1]


def _place(jobs: Mapping[Path, Job], old: Collection[Path] | None) -> None:
    """Do the jobs, move the old files aside in their order, and rename the new ones; None = each replaces its own."""
    suffix = secrets.token_hex(4)
    new = {path: path.parent / f".{path.name}.{suffix}.tmp" for path in jobs}
    aside = {path: path.parent / f".{path.name}.{suffix}.old" for path in old or ()}
    undo = None if old is None else aside
    path = Path()
    try:
        try:
            for path, job in jobs.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                _check_place(path)
                if isinstance(job, str):
                    new[path].write_text(job, "utf-8")
                else:
                    job(new[path])
                _sync(new[path])
            for path, away in aside.items():
                os.replace(path, away)
            _sync(path.parent)
            for path, beside in new.items():
                if path == list(new)[-1]:
                    _sync(path.parent)  # the others are named on the disk before the mark is
                os.replace(beside, path)
            undo = None
            _sync(path.parent)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ResultError(f"{path} was not written: {_refusal(error, path, new.get(path))}") from error
        finally:
            _tidy(new, aside, undo)
    finally:  # again: Polars raises a second KeyboardInterrupt after the first, which may have cut the tidying short
        _tidy(new, aside, undo)


def _check_place(path: Path) -> None:
    """Raise OSError where a folder stands in a file's place, or a file that may not be written."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not path.is_dir():  # some disks know no such thing of a folder
            raise


def _tidy(new: Mapping[Path, Path], aside: Mapping[Path, Path], undo: Mapping[Path, Path] | None) -> None:
    """Put the files of `undo` back in the place of new ones, the mark of both last, and remove what is temporary. May
    be called twice."""
    for path, beside in reversed([] if undo is None else list(new.items())):
        if not beside.exists() and (path not in aside or aside[path].exists()):
            path.unlink(missing_ok=True)
    for path, away in reversed(list((undo or {}).items())):
        if os.path.lexists(away):
            os.replace(away, path)
    for temporary in (*new.values(), *aside.values()):
        with suppress(OSError):
            temporary.unlink()


def _refusal(error: Exception, path: Path, beside: Path | None = None) -> str:
    """Why a file was not written, and the way out. Errors of Polars have no errno, and name the temporary file."""
    reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
    reason = re.sub(r".*(IO error|specification): | \(os error \d+\)", "", reason)
    if beside is not None:
        reason = reason.replace(str(beside), str(path)).replace(beside.name, path.name)
    # What Polars says where a disk is full at the end of a Parquet file.
    reason = reason.replace("Invalid thrift: transport error", "No space left on device")
    if any(text in reason.lower() for text in ("no space left", "quota exceeded", "too large")):
        return f"{reason}; make room or choose another folder"
    if any(text in reason.lower() for text in ("permission denied", "not permitted")):
        return "permission denied; choose another folder"
    return f"{reason}; choose {'a shorter name' if 'too long' in reason else 'another folder'}"
