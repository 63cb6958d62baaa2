# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, whatever fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gpu_bt.data import disk
from gpu_bt.data.disk import write_beside, write_together
from gpu_bt.errors import ResultError

TABLE = pl.DataFrame({"x": [1.0, 2.0]})


def pair(folder: Path, write: Callable[[Path], object] = lambda path: path.write_text("new")) -> None:
    """Write a, b and c, by `write` the last one."""
    jobs = dict.fromkeys((folder / "a", folder / "b"), lambda path: path.write_text("new"))
    write_together({**jobs, folder / "c": write})


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["failure", "interrupt"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_rename_that_fails_takes_the_others_back(
    at: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").write_text("old c")
    replace, calls = os.replace, []

    def fail(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == at:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ResultError):
        pair(tmp_path)
    assert len(calls) >= at and texts(tmp_path) == {"a": "old a", "c": "old c"}


def test_a_second_interrupt_in_the_cleanup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(path: Path) -> None:
        path.write_text("part")
        raise KeyboardInterrupt

    tidy, calls = disk._tidy, []

    def interrupted_once(*args: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        tidy(*args)

    monkeypatch.setattr(disk, "_tidy", interrupted_once)
    (tmp_path / "b").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        pair(tmp_path, write)
    assert len(calls) == 2 and texts(tmp_path) == {"b": "old"}


def test_a_target_that_is_a_folder(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old")
    with pytest.raises(ResultError, match=r"b was not written: Is a directory; choose another folder") as error:
        pair(tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"] and (tmp_path / "a").read_text() == "old"


def test_the_temporary_name_is_not_printed(tmp_path: Path):
    def write(path: Path) -> None:
        path.parent.rmdir()
        TABLE.write_parquet(path)

    with pytest.raises(ResultError) as error:
        write_beside(tmp_path / "gone" / "x.parquet", write)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'gone' / 'x.parquet'} was not written: No such file") and ".tmp" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("name", ["write_parquet", "write_csv"])
def test_a_device_that_is_full(name: str, tmp_path: Path):
    def write(path: Path) -> None:
        path.symlink_to("/dev/full")
        getattr(TABLE, name)(path)

    with pytest.raises(ResultError, match=r"x.table was not written: .*make room") as error:
        write_beside(tmp_path / "x.table", write)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path):
    def write(path: Path) -> None:
        path.write_text("part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_beside(tmp_path / "x", write)
    assert os.listdir(tmp_path) == []
