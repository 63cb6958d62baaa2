# SPDX-License-Identifier: Apache-2.0
"""What is no file of a state, or one of another run."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import state_files as files
from faults.kit import fault, faults, refused

import gpu_bt as bt

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.saved(tmp_path_factory.mktemp("states") / "s.npz")


OTHERS = "State files: something else"


@faults(OTHERS, "refused", {
    "an empty file": b"",
    "a text": b"hello\n",
    "the beginning of an archive": b"PK\x03\x04",
    "an archive without members": b"PK\x05\x06" + bytes(18),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a pickle": b"\x80\x04N.",
    "zeros": bytes(100_000),
})  # fmt: skip
def test_other_files(value: bytes, tmp_path: Path):
    (tmp_path / "s.npz").write_bytes(value)
    with refused("is no saved state", bt.ResultError):
        files.go_on(tmp_path / "s.npz")


@faults(OTHERS, "refused", {
    "a Parquet file": lambda path: pl.DataFrame({"a": [1]}).write_parquet(path),
    "an .npy file": lambda path: (np.save(path.with_suffix(".npy"), np.ones(3)), path.with_suffix(".npy").rename(path)),
    "an .npz file of another program": lambda path: np.savez(path, a=np.ones(3)),
    "an .npz file with a head of its own": lambda path: np.savez(path, head=np.array('{"parts": {}}')),
    "a directory": lambda path: path.mkdir(),
    "a pipe that nobody writes to": lambda path: os.mkfifo(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
})  # fmt: skip
def test_other_things(value: Any, tmp_path: Path):
    value(tmp_path / "s.npz")
    with refused("is no saved state", bt.ResultError):
        files.go_on(tmp_path / "s.npz")


@faults(OTHERS, "refused", {
    "a number": 3, "0, which is a handle of standard input": 0, "True": True, "a fraction": 1.5, "bytes": b"s.npz",
    "a list": ["s.npz"], "an object": object(), "a class": Path, "a panel": files.later(), "an empty text": "",
    "NUL": "a\0b.npz", "half a surrogate": "\ud800.npz", "a name that is no UTF-8": os.fsdecode(b"\xff\xfe.npz"),
    "a very long name": "x" * 5000, "a name with control codes": "\x1b[2J\r\n.npz",
}, "resume= is ")  # fmt: skip
def test_other_types(value: Any):
    with refused("resume is|is no saved state"):
        files.go_on(value)


@fault(OTHERS, "no permission to read", "refused")
def test_no_permission(state: Path, monkeypatch: pytest.MonkeyPatch):
    def no(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", no)
    with refused("Permission denied"):
        files.go_on(state)


@fault(OTHERS, "a disk that fails while it is read", "refused")
def test_a_failing_disk(state: Path, monkeypatch: pytest.MonkeyPatch):
    def no(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(zipfile.ZipFile, "read", no)
    with refused("Input/output error"):
        files.go_on(state)


@faults(OTHERS, "refused", {
    "its config": {"config": files.CONFIG.replace(slippage=1e-4)},
    "its ledger's tick": {"config": files.CONFIG.replace(money_tick=2.0**-10)},
    "its assets": {"panel": files.later(assets=["A", "B", "D"])},
    "the order of its assets": {"panel": files.later(assets=["B", "A", "C"])},
    "the number of its assets": {"panel": files.later(np.ones((3, 9)), assets=list("ABCDEFGHI"), delisted_at=None)},
    "the lots of its panel": {"panel": files.later(lot=[1, 1, 10])},
    "its time zone": {"panel": files.later(time_zone="America/New_York")},
    "later bars than the panel's": {"panel": files.later(timestamps=files.DAYS[:6])},
    "the panel's first bar, too": {"panel": files.later(timestamps=files.DAYS[5:11])},
}, "a run that differs from that of the state in ")  # fmt: skip
def test_other_runs(value: dict[str, Any], state: Path):
    with refused("saved with another|pass the bars after it alone"):
        files.go_on(state, **value)
