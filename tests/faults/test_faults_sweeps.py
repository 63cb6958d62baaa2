# SPDX-License-Identifier: Apache-2.0
"""Faults of a sweep's folder: what is damaged is made again, what is another sweep's is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
from faults.kit import fault, faults, refused, told
from faults.sweep_faults import chunk, same, tiny

import gpu_bt as bt

# --- chunk files ---


def rewritten(change):
    """A damage: the table of a chunk is changed, and the file named by its new hash."""

    def damage(path: Path) -> None:
        content = io.BytesIO()
        change(pl.read_parquet(path)).write_parquet(content)
        path.unlink()
        renamed(path, content.getvalue())

    return damage


def renamed(path: Path, content: bytes) -> None:
    name = f"{path.stem.rpartition('-')[0]}-{hashlib.blake2b(content, digest_size=8).hexdigest()}.parquet"
    path.with_name(name).write_bytes(content)


def replaced(content: bytes):
    def damage(path: Path) -> None:
        path.unlink()
        renamed(path, content)

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_value(name: str, value):
    return rewritten(lambda t: t.with_columns(pl.lit(value, t.schema[name]).alias(name)))


def cell(name: str, value):
    def change(table: pl.DataFrame) -> pl.DataFrame:
        rows = table[name].to_numpy().copy()
        rows[0] = value
        return table.with_columns(pl.Series(name, rows, dtype=table.schema[name]))

    return rewritten(change)


DAMAGES = {
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-100]),
    "empty": lambda p: p.write_bytes(b""),
    "changed in one bit": lambda p: p.write_bytes(bytes([*(c := p.read_bytes())[:200], c[200] ^ 1, *c[201:]])),
    "followed by more bytes": lambda p: p.write_bytes(p.read_bytes() + b"\0"),
    "other bytes under their own hash": replaced(b"rubbish"),
    "no bytes under their own hash": replaced(b""),
    "a Parquet file cut short under its own hash": lambda p: replaced(p.read_bytes()[:-9])(p),
    "a Parquet file with another middle under its own hash": lambda p: replaced(
        (c := p.read_bytes())[:60] + b"\xff" * 200 + c[260:]
    )(p),
    "a Parquet of another program": rewritten(lambda t: pl.DataFrame({"a": [1, 2]})),
    "without rows": rewritten(lambda t: t.head(0)),
    "short of a row": rewritten(lambda t: t.head(1)),
    "long by a row": rewritten(lambda t: pl.concat([t, t.head(1)])),
    "without a column": rewritten(lambda t: t.drop("sharpe")),
    "with a column more": rewritten(lambda t: t.with_columns(more=pl.lit(1.0))),
    "with a column renamed": rewritten(lambda t: t.rename({"sharpe": "sortino2"})),
    "of another type": rewritten(lambda t: t.with_columns(pl.col("sharpe").cast(pl.Float32))),
    "with texts for numbers": rewritten(lambda t: t.with_columns(pl.col("sharpe").cast(pl.String))),
    "with rows of equity that are too short": rewritten(lambda t: t.with_columns(pl.col("equity").arr.head(3))),
    "with a cell missing": rewritten(lambda t: t.with_columns(sharpe=pl.Series([None, 1.0]))),
    "of another number inside": with_value("chunk", 2),
    "of another sweep inside": with_value("sweep", "0" * 32),
    "with two numbers inside": rewritten(lambda t: t.with_columns(chunk=pl.Series([1, 2]))),
    "with seconds that are no number": with_value("seconds", float("nan")),
    "with an infinite Sharpe ratio": cell("sharpe", np.inf),
    "with infinite costs": cell("total_costs", -np.inf),
    "with fills below 0": cell("fills", -5),
    "with rows that were not read below 0": cell("unread", -1),
    "with a longest drawdown below 0": cell("longest_drawdown", -1),
    "by an engine with control codes in its name": with_value("engine", "\x1b[31mnative"),
    "by an engine that there is not": with_value("engine", "abacus"),
    "with control codes in its advice": with_value("advice", "a\x1b[2J"),
    "with an infinite equity": cell("equity", np.inf),
    "with a start after the last bar": cell("start", 10**6),
    "with a start before the first bar": cell("start", -1),
    "with a bar of a status after the last": cell("first_bar", 4000),
    "with more decisions than bars": cell("decisions", 10**9),
    "a folder": a_folder,
    "a link to nowhere": to_nowhere,
    "a pipe": a_pipe,
}


@faults("sweep folders", "told", DAMAGES, "a chunk's file is ")
def test_a_damaged_chunk_is_counted_and_made_again(value, folder, finished, capfd):
    value(chunk(folder))
    with told("1 of 3 chunks in .* were damaged or of another sweep and are run again"):
        again = tiny(folder, equity=True)
    same(again, finished[1], 2)
    assert "panicked" not in capfd.readouterr().err
    same(tiny(folder, equity=True), finished[1], 0)


@fault("sweep folders", "a chunk is copied from another sweep, with the number of one that is missing", "told")
def test_a_chunk_of_another_sweep(folder, finished):
    chunk(folder).unlink()
    shutil.copy(chunk(finished[0] / "two"), folder)
    with told("1 of 3 chunks"):
        same(tiny(folder, equity=True), finished[1], 2)


@fault("sweep folders", "a chunk is renamed to the number of another", "told")
def test_a_chunk_under_another_number(folder, finished):
    first, second = chunk(folder, 0), chunk(folder, 1)
    second.unlink()
    shutil.copy(first, folder / first.name.replace("00000", "00001"))
    with told("1 of 3 chunks"):
        same(tiny(folder, equity=True), finished[1], 2)


@fault("sweep folders", "two chunks have changed names", "told")
def test_two_chunks_swapped(folder, finished):
    first, second = chunk(folder, 0), chunk(folder, 1)
    first.rename(folder / first.name.replace("00000", "00009"))
    second.rename(folder / second.name.replace("00001", "00000"))
    (folder / first.name.replace("00000", "00009")).rename(folder / first.name.replace("00000", "00001"))
    with told("2 of 3 chunks"):
        same(tiny(folder, equity=True), finished[1], 4)


@fault("sweep folders", "a damaged copy lies beside a whole chunk", "survived")
def test_a_damaged_copy(folder, finished):
    (folder / "chunk-00001-0000000000000000.parquet").write_bytes(b"")
    same(tiny(folder, equity=True), finished[1], 0)


@fault(
    "sweep folders", "chunks of numbers that the sweep does not have, and other files, lie in the folder", "survived"
)
def test_foreign_files(folder, finished):
    for name in ("chunk-00077-0000000000000000.parquet", "chunk-x-0.parquet", "table.parquet", ".hidden", "notes.txt"):
        (folder / name).write_bytes(b"x")
    same(tiny(folder, equity=True), finished[1], 0)
    assert (folder / "notes.txt").exists()


@fault("sweep folders", "a chunk's file may not be read", "refused")
def test_no_permission(folder, monkeypatch):
    path, read = chunk(folder), Path.read_bytes

    def refuse(self):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with refused("chunk-00001-.* cannot be read: Permission denied; let it be read, or remove it", bt.ResultError):
        tiny(folder, equity=True)
    assert path.exists()


# --- sweep.json ---


def edited(**changes):
    def damage(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without(name: str):
    return lambda path: path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name})
    )


MANIFESTS = {
    "empty": lambda p: p.write_bytes(b""),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:50]),
    "not UTF-8": lambda p: p.write_bytes(b"\xff\xfe{}"),
    "full of NULs": lambda p: p.write_bytes(b"\0" * 300),
    "a list": lambda p: p.write_text("[]"),
    "a number": lambda p: p.write_text("7"),
    "null": lambda p: p.write_text("null"),
    "nested without end": lambda p: p.write_text("[" * 100_000),
    "a number of 5,000 digits": lambda p: p.write_text("9" * 5000),
    "a folder": as_folder,
    "a link to nowhere": lambda p: (p.unlink(), p.symlink_to("nowhere")),
    "a link to itself": lambda p: (p.unlink(), p.symlink_to(p.name)),
    "a pipe": a_pipe,
    "of an older layout": without("layout"),
    "of a layout to come": edited(layout=99),
    "without parts": without("parts"),
    "without a part": lambda p: edited(parts={"panel": json.loads(p.read_text())["parts"]["panel"]})(p),
    "without chunk_size": without("chunk_size"),
    "without fingerprint": without("sweep"),
    "with numbers as parts": edited(parts={"panel": 7}),
    "with a list of parts": edited(parts=["panel"]),
    "with an edited part": lambda p: p.write_text(p.read_text().replace('"grid": "', '"grid": "0')),
    **{
        f"with chunk_size {value!r}": edited(chunk_size=value)
        for value in (True, 2.0, "2", 0, -1, 10**30, None, [2], 3, float("inf"), float("nan"))
    },
    "with chunk_size 1e400": lambda p: p.write_text(p.read_text().replace('"chunk_size": 2', '"chunk_size": 1e400')),
}  # fmt: skip


@faults("sweep folders", "refused", MANIFESTS, "sweep.json is ")
def test_a_damaged_manifest(value, folder):
    value(folder / "sweep.json")
    there = sorted(path.name for path in folder.iterdir())
    with refused("choose another folder for out=", bt.ResultError):
        tiny(folder, equity=True)
    with refused("choose another folder for out=", bt.ResultError):
        tiny(folder, equity=True, dry_run=True)
    assert sorted(path.name for path in folder.iterdir()) == there


@fault("sweep folders", "chunks are there and sweep.json is gone", "refused")
def test_chunks_alone(folder):
    (folder / "sweep.json").unlink()
    with refused("holds chunks without the sweep.json that says of which sweep"):
        tiny(folder, equity=True)


@faults(
    "sweep folders", "refused",
    {"a number": 5, "bytes, a NUL": b"a\0b", "a text with a NUL": "a\0b", "empty": "", "a list": ["a"], "a bool": True},
    "out= is ",
)  # fmt: skip
def test_what_is_no_folder(value):
    with refused("out is .*: it must be a path", bt.ConfigError):
        tiny(value)


@fault("sweep folders", "out= is a file", "refused")
def test_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with refused("is no folder", bt.ResultError):
        tiny(tmp_path / "file")
    with refused("is no folder|cannot be used", bt.ResultError):
        tiny(tmp_path / "file" / "below")
