# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, whatever fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gpu_bt.data import disk
from gpu_bt.data.disk import check_writable, to_file, write_beside, write_together
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
        to_file(getattr(TABLE, name))(path)

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


def test_a_file_that_is_write_protected_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("old")
    access = os.access  # root may write everything
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a" and access(path, mode))
    with pytest.raises(ResultError, match="a was not written: permission denied; choose another folder"):
        pair(tmp_path)
    with pytest.raises(ResultError, match=r"cannot be written: permission denied in .*a; choose another folder"):
        check_writable(tmp_path, ["b", "a"])
    assert texts(tmp_path) == {"a": "old"}


def test_what_can_be_written_is_tried_without_a_trace(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "new" / "er"):
        check_writable(folder, ["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_goes_and_nothing_else(tmp_path: Path):
    others = (".a.0123abcd.tmp2", ".notes.0123abcd.tmp", "a.0123abcd.tmp", ".b.tmp")
    for name in (*others, ".a.0123abcd.tmp", ".b.4567abcd.old"):
        (tmp_path / name).write_text("x")
    pair(tmp_path)
    assert sorted(texts(tmp_path)) == sorted([*others, "a", "b", "c"])


@pytest.mark.parametrize("mark", [False, True])
def test_an_older_result_that_stepped_aside_is_kept_until_there_is_another(mark: bool, tmp_path: Path):
    aside = {f".{name}.0123abcd.old": f"old {name}" for name in "ac"}
    for name, text in {**aside, ".a.0123abcd.tmp": "part", **({"c": "whole"} if mark else {})}.items():
        (tmp_path / name).write_text(text)

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ResultError):
        pair(tmp_path, fail)
    assert texts(tmp_path) == ({"c": "whole"} if mark else aside)
    pair(tmp_path)
    assert texts(tmp_path) == dict.fromkeys("abc", "new")


def test_the_last_file_is_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It goes first and comes last."""
    pair(tmp_path)
    replace, names = os.replace, []

    def told(source: Path, target: Path) -> None:
        names.append(target.name.split(".")[1] + " goes" if target.suffix == ".old" else target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", told)
    pair(tmp_path)
    assert names == ["c goes", "a goes", "b goes", "a", "b", "c"]


def test_two_threads_write_one_after_another(tmp_path: Path):
    def write(word: str) -> None:
        for _ in range(20):
            write_together({tmp_path / name: word for name in "abc"})

    threads = [threading.Thread(target=write, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = texts(tmp_path)
    assert sorted(found) == ["a", "b", "c"] and len(set(found.values())) == 1
