# SPDX-License-Identifier: Apache-2.0
"""Files of states that are damaged, edited, or something else."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import state_files as files
from extent import exhaustive
from faults.kit import fault, faults, refused, survived

import gpu_bt as bt
from gpu_bt.runs.checkpoint import load

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
KIND = "State files: damaged or edited"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.saved(tmp_path_factory.mktemp("states") / "s.npz")


def same_as(saved: Any, other: Any) -> bool:
    """Whether two files say the same, to the bit."""
    arrays = [(s.stands.state, s.stands.holdings, s.stands.orders, s.rows, s.delisted, s.before.silent,
               s.before.marks[files.CONFIG.lot]) for s in (saved, other)]  # fmt: skip
    rest = [(s.before.clock, s.named, s.opening, s.earlier, s.tick, s.longest) for s in (saved, other)]
    return rest[0] == rest[1] and all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


def all_refused_or_same(contents: list[bytes], state: Path, path: Path) -> int:
    """How many of these contents are refused; the others must be read as the state that was saved."""
    panel, count = files.later(), 0
    whole = load(state, panel, files.CONFIG)
    for content in contents:
        path.write_bytes(content)
        try:
            found = load(path, panel, files.CONFIG)
        except bt.ResultError:
            count += 1
        else:
            assert same_as(found, whole)
    return count


def cut_short(state: Path, path: Path, step: int) -> None:
    whole = state.read_bytes()
    contents = [whole[:size] for size in range(0, len(whole), step)]
    assert all_refused_or_same(contents, state, path) == len(contents)
    with refused("is no saved state, or a damaged one"):
        load(path, files.later(), files.CONFIG)


def one_bit(state: Path, path: Path, step: int) -> None:
    whole, contents = state.read_bytes(), []
    for at in range(0, len(whole), step):
        content = bytearray(whole)
        content[at] ^= 1 << at % 8
        contents.append(bytes(content))
    assert all_refused_or_same(contents, state, path) > len(contents) / 2
    middle = bytearray(whole)
    middle[whole.index(np.float64(CASH := files.contents(state)["cash"][0]).tobytes())] ^= 1
    path.write_bytes(bytes(middle))
    assert CASH > 0
    with refused("damaged"):
        load(path, files.later(), files.CONFIG)


@fault(KIND, "it is cut short, at every 41st length", "refused")
def test_cut_short(state: Path, tmp_path: Path):
    cut_short(state, tmp_path / "t.npz", 41)


@exhaustive
@fault(KIND, "it is cut short, at every length", "refused")
def test_cut_short_anywhere(state: Path, tmp_path: Path):
    cut_short(state, tmp_path / "t.npz", 1)


@fault(KIND, "one bit of every 41st byte is another", "refused")
def test_one_bit(state: Path, tmp_path: Path):
    one_bit(state, tmp_path / "t.npz", 41)


@exhaustive
@fault(KIND, "one bit of any byte is another", "refused")
def test_any_bit(state: Path, tmp_path: Path):
    one_bit(state, tmp_path / "t.npz", 1)


@exhaustive
@fault(KIND, "blocks of 16 bytes are zeros, as after a power cut", "refused")
def test_blocks_of_zeros(state: Path, tmp_path: Path):
    whole = state.read_bytes()
    contents = [whole[:at] + bytes(16) + whole[at + 16 :] for at in range(0, len(whole), 16)]
    assert all_refused_or_same(contents, state, tmp_path / "t.npz") > len(contents) / 2
    (tmp_path / "t.npz").write_bytes(bytes(len(whole)))
    with refused("is no saved state"):
        load(tmp_path / "t.npz", files.later(), files.CONFIG)


_NAMES = ("cash", "peak", "first_bar", "ended", "holdings", "orders", "marks", "silent", "rows", "delisted")
_SHAPES = {f"{name}: {what}": files.with_array(name, make) for name in _NAMES for what, make in files.SHAPES.items()}
_NUMBERS = {
    f"{name} with {what}": files.put(name, value)
    for name in ("cash", "peak", "holdings", "orders", "marks")
    for what, value in files.NUMBERS.items()
    if (name, what) != ("marks", "inf")  # of what is not held
}


@fault(KIND, "an array has another type or shape, under a right checksum (one hundred of them)", "refused")
def test_shapes(state: Path, tmp_path: Path):
    for what, change in _SHAPES.items():
        with refused(f"damaged .{what.split(':')[0]}|damaged one .it is not whole"):
            files.go_on(files.rewrite(state, tmp_path / "t.npz", change))


@faults(KIND, "refused", _NUMBERS, "under a right checksum ")
def test_numbers(value: Any, state: Path, tmp_path: Path):
    with refused("damaged"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", value))


_CELLS = {
    "orders are cut to two assets": files.with_array("orders", lambda a: a[:, :2]),
    "cash is half a tick more": lambda arrays: arrays["cash"].__iadd__(2.0**-21),
    "cash is a dollar more": lambda arrays: arrays["cash"].__iadd__(1.0),
    "a holding is twice as large": lambda arrays: arrays["holdings"].__imul__(2),
    "a holding is short in a cash account": files.put("holdings", -1.0),
    "a holding is half a share": files.put("holdings", 0.5),
    "an order is half a share": files.put("orders", 0.5),
    "what is delisted is held": files.put("holdings", 5.0, 2),
    "what is held is delisted": files.put("delisted", True),
    "what is held has no mark": files.put("marks", 0.0),
    "what is held has an infinite mark": files.put("marks", np.inf),
    "the peak lies below the equity": files.put("peak", 1.0),
    "the run has ended without a status": files.put("ended", 1),
    "ended is 2": files.put("ended", 2),
    "a status was set at bar 3": files.put("first_bar", 3, 1),
    "a status was set without a time": files.put("first_bar", -2, 1),
    "OK was set": files.put("first_bar", -2, 0),
    "an asset was silent for -5 dates": files.put("silent", -5),
    "an asset was silent for longer than there are dates": files.put("silent", 2**40),
    "rows have a weight of 1001": files.put("rows", 1001.0),
    "rows have a negative weight in a cash account": files.put("rows", -0.5),
    "rows have an infinite weight": files.put("rows", np.inf),
    "there are more rows than signal_lag": files.with_array("rows", lambda a: np.concatenate([a, a])),
    "an array is missing": lambda arrays: arrays.pop("silent"),
    "an array is there beside the others": lambda arrays: arrays.update(more=np.ones(3)),
    "an array is called otherwise": lambda arrays: arrays.update(Orders=arrays.pop("orders")),
    "an array holds pickled objects": lambda arrays: arrays.update(orders=np.array([[1, None, []]], object)),
    "the head is a number": lambda arrays: arrays.update(head=np.array(3)),
    "the head is bytes": lambda arrays: arrays.update(head=np.array(b"{}")),
    "the head is empty": lambda arrays: arrays.update(head=np.array("")),
    "the head is a list": lambda arrays: arrays.update(head=np.array("[]")),
    "the head is nested 4,000 deep": lambda arrays: arrays.update(head=np.array("[" * 4000 + "]" * 4000)),
    "the head is megabytes": lambda arrays: arrays.update(head=np.array(" " * 10**6)),
}


@faults(KIND, "refused", _CELLS, "under a right checksum ")
def test_cells(value: Any, state: Path, tmp_path: Path):
    with refused("damaged"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", value))


@faults(KIND, "refused", {
    "microsecond is a fraction": {"microsecond": 1.5},
    "microsecond is a text": {"microsecond": "2024-03-09"},
    "microsecond has 400 digits": {"microsecond": 10**400},
    "microsecond is no year": {"microsecond": 2**62},
    "clock is of another day": {"clock": 0},
    "clock is NaN": {"clock": float("nan")},
    "named is negative": {"named": -1},
    "named is 0 and the last bar was named": {"named": 0},
    "last_named is a number": {"last_named": 1},
    "opening is nan": {"opening": "nan"},
    "opening is no hexadecimal text": {"opening": 99926.5},
    "opening is what cash and holdings are not worth": {"opening": "0x1p+16"},
    "opening overflows": {"opening": "0x1p+2000"},
    "tick is no power of two": {"tick": "0x1.8p-20"},
    "tick is 0": {"tick": "0x0p+0"},
    "tick is a list": {"tick": []},
    "a status has no name of one": {"earlier": {"RUINED": 5}},
    "a status has a time and was not set": {"earlier": {"MARGIN_CALL": 5}},
    "statuses are a list": {"earlier": [5]},
    "longest is negative": {"longest": -1},
    "a key is missing": {"longest": ...},
    "a key is there beside the others": {"more": 1},
    "parts are a text": {"parts": "0.1.0"},
    "parts are none": {"parts": {}},
}, "the head, under a right checksum: ")  # fmt: skip
def test_heads(value: dict[str, Any], state: Path, tmp_path: Path):
    with refused("damaged|saved with another"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", files.with_head(**value)))


@fault(KIND, "the head has a key twice", "refused")
def test_a_key_twice(state: Path, tmp_path: Path):
    def twice(arrays: dict[str, Any]) -> None:
        text = arrays["head"].item()
        arrays["head"] = np.array(text[:-1] + ', "named": 3}')
        assert json.loads(arrays["head"].item())["named"] == 3

    with refused("damaged"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", twice))


@fault(KIND, "an array was changed, and the checksum was not", "refused")
def test_the_checksum(state: Path, tmp_path: Path):
    change = files.put("silent", 1)
    assert files.go_on(files.rewrite(state, tmp_path / "t.npz", change))
    with refused("its checksum is another"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", change, right=False))


@faults(KIND, "refused", {"a layout of before": {"format": ...}, "a later layout": {"format": 3}})
def test_another_layout(value: dict[str, Any], state: Path, tmp_path: Path):
    with refused("was saved by version 0.1.0, whose state files this version does not read"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", files.with_head(**value)))


@fault(KIND, "control codes in the version that its head names", "refused")
def test_control_codes(state: Path, tmp_path: Path):
    parts = {"version": "\x1b[2J\nok"}
    with refused("was saved by version"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", files.with_head(format=1, parts=parts)))


def member(state: Path, to: Path, name: str, raw: bytes, method: int = zipfile.ZIP_STORED, twice: bool = False) -> Path:
    """A copy with other bytes for one array, or with these besides."""
    with zipfile.ZipFile(state) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            if twice or info.filename != name:
                new.writestr(info.filename, old.read(info))
        new.writestr(name, raw, method)
    return to


@faults(KIND, "refused", {
    "claims an array of 8 TB": b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1000000000000), }".ljust(117) + b"\n" + bytes(24),
    "claims a negative shape": b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3), }".ljust(117) + b"\n" + bytes(24),
    "has another layout of NumPy": b"\x93NUMPY\x03\x00" + bytes(40),
    "is no array": b"text",
    "is empty": b"",
    "has a header of brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"(" * 60000,
}, "a member of the archive ")  # fmt: skip
def test_members(value: bytes, state: Path, tmp_path: Path):
    with refused("damaged"):
        files.go_on(member(state, tmp_path / "t.npz", "orders.npy", value))


@fault(KIND, "a member of the archive unpacks to 200 MB", "refused")
def test_a_bomb(state: Path, tmp_path: Path):
    path = member(state, tmp_path / "t.npz", "orders.npy", bytes(200_000_000), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 300_000
    with refused("damaged"):
        files.go_on(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@fault(KIND, "a member of the archive is there twice", "refused")
def test_a_member_twice(state: Path, tmp_path: Path):
    with zipfile.ZipFile(state) as old:
        raw = old.read("orders.npy")
    with refused("damaged"):
        files.go_on(member(state, tmp_path / "t.npz", "orders.npy", raw, twice=True))


@fault(KIND, "it was packed again by another program, with the same contents", "survived")
def test_packed_again(state: Path, tmp_path: Path):
    arrays: dict[str, Any] = files.contents(state)
    np.savez_compressed(tmp_path / "t.npz", **dict(sorted(arrays.items())))
    survived(files.go_on(tmp_path / "t.npz"), files.go_on(state))
