# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole, in the place of older ones, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from gpu_bt.errors import ResultError

__all__ = ["Job", "write_beside", "write_together"]

#: What a file will hold: a text, or what writes it to a path.
Job = str | Callable[[Path], Any]


def write_beside(path: Path, job: Job) -> None:
    """`write_together` of one file."""
    write_together({path: job})


def write_together(jobs: Mapping[Path, Job]) -> None:
    """Do each job at a temporary path beside its own, then rename all: the old files, or the whole new ones.

    Folders that are missing are made. Raises ResultError where the system refuses. After any failure, an interrupt
    included, the old files are as they were and no temporary file is left.
    """
    suffix = secrets.token_hex(4)
    new = {path: path.with_name(f".{path.name}.{suffix}.tmp") for path in jobs}
    old = {path: path.with_name(f".{path.name}.{suffix}.old") for path in jobs if os.path.lexists(path)}
    placed = False
    path = Path()
    try:
        try:
            for path, job in jobs.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(job, str):
                    new[path].write_text(job, "utf-8")
                else:
                    job(new[path])
            for path, copy in old.items():
                _keep(path, copy)
            for path, beside in new.items():
                os.replace(beside, path)
            placed = True
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ResultError(f"{path} was not written: {_refusal(error, path, new[path])}") from error
        finally:
            _tidy(new, old, placed)
    finally:  # again: Polars raises a second KeyboardInterrupt after the first, which may have cut the tidying short
        _tidy(new, old, placed)


def _keep(path: Path, copy: Path) -> None:
    """A second name for an old file, so that it can be put back; a copy where the disk knows no links."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):  # the second where links cannot be made without following them
        shutil.copy2(path, copy)


def _tidy(new: Mapping[Path, Path], old: Mapping[Path, Path], placed: bool) -> None:
    """Put the old files back unless all new ones are `placed`, and remove what is temporary. May be called twice."""
    for path, beside in new.items():
        if placed or os.path.exists(beside):  # a copy of the old file may be a part of it while the new one waits
            continue
        with suppress(OSError):
            os.replace(old[path], path) if path in old else path.unlink()
    for temporary in (*old.values(), *new.values()):  # in this order: see above
        with suppress(OSError):
            temporary.unlink()


def _refusal(error: Exception, path: Path, beside: Path) -> str:
    """Why a file was not written, and the way out. Errors of Polars have no errno, and name the temporary file."""
    reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
    reason = reason.replace(str(beside), str(path)).replace(beside.name, path.name)
    # The third is what Polars says where a disk is full at the end of a Parquet file.
    if any(text in reason.lower() for text in ("no space left", "quota exceeded", "transport error")):
        return f"{reason}; make room or choose another folder"
    if any(text in reason.lower() for text in ("permission denied", "not permitted", "read-only")):
        return "permission denied; choose another folder"
    return f"{reason}; choose another folder"
