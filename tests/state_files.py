# SPDX-License-Identifier: Apache-2.0
"""Files of states for tests: a small one with all that may stand in it, edited with and without a right checksum."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gpu_bt as bt
from gpu_bt.runs.states import _checksum

__all__ = [
    "CLOSE", "CONFIG", "CUT", "DAYS", "NUMBERS", "SHAPES", "WEIGHTS", "contents", "edits", "go_on", "later", "part_of",
    "put", "rewrite", "saved", "with_array", "with_head",
]  # fmt: skip

DAYS = np.datetime64("2024-03-04", "us") + np.arange(12) * np.timedelta64(1, "D")
#: Bars before the state is saved.
CUT = 6
_RNG = np.random.default_rng(5)
CLOSE = np.round(100 * np.exp(np.cumsum(_RNG.normal(0, 0.01, (12, 3)), axis=0)), 2)
WEIGHTS = np.abs(_RNG.normal(0.3, 0.1, (12, 3)))
CONFIG = bt.Config(initial_cash=1e5, signal_lag=2, execution="next_close", participation=0.5, rebalance="day")


def part_of(given: dict[str, Any], a: int, b: int) -> bt.Panel:
    """Bars a..b-1 of a panel's arguments, as a person would have them: the first part knows when the next bar is."""
    t = len(given["timestamps"])
    part = dict(given)
    for name, value in given.items():
        if isinstance(value, np.ndarray) and value.shape[:1] == (t,) and (value.ndim == 2 or name == "timestamps"):
            part[name] = value[a:b]
    if part["delisted_at"] is not None:
        later = np.asarray(part["delisted_at"])
        part["delisted_at"] = np.where(later >= a, later - a, -1)
    if b < t:
        part["next_timestamp"] = given["timestamps"][b]
    return bt.Panel(**part)


def later(close: np.ndarray | None = None, start: int = CUT, **fields: Any) -> bt.Panel:
    """The bars after the state, with volumes that leave orders working."""
    close = CLOSE[start:] if close is None else close
    fields = {"volume": np.full(close.shape, 50.0), "delisted_at": [-1, -1, -1], **fields}
    given = {"timestamps": DAYS[start : start + len(close)], "assets": ["A", "B", "C"], **fields}
    return bt.Panel(close, **given)


def saved(path: Path, config: bt.Config = CONFIG, **fields: Any) -> Path:
    """A state with holdings, working orders and rows for the lag; C is delisted."""
    given = {"next_timestamp": DAYS[CUT], "delisted_at": [-1, -1, 2], **fields}
    result = bt.run(later(CLOSE[:CUT], 0, **given), WEIGHTS[:CUT], config, engine="numpy")
    assert result.checkpoint(path) == path
    return path


def go_on(path: Any, config: bt.Config = CONFIG, panel: bt.Panel | None = None, **given: Any) -> bt.Result:
    """The run over the later bars."""
    panel = later() if panel is None else panel
    return bt.run(panel, WEIGHTS[-panel.shape[0] :], config, resume=path, **{"engine": "numpy", **given})


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def rewrite(path: Path, to: Path, change: Callable[[dict[str, Any]], Any], right: bool = True) -> Path:
    """A copy with its arrays changed in place; right: with the checksum of what then stands in it."""
    arrays = contents(path)
    change(arrays)
    if right:
        arrays.pop("checksum", None)
        plain = {name: array for name, array in arrays.items() if not array.dtype.hasobject}
        arrays["checksum"] = np.array(_checksum(plain))
    put: Callable[..., None] = np.savez
    put(to, **arrays)
    return to


def with_head(**values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the head: a value for each key, ... = without it."""

    def change(arrays: dict[str, Any]) -> None:
        head = {**json.loads(arrays["head"].item()), **values}
        arrays["head"] = np.array(json.dumps({k: v for k, v in head.items() if v is not ...}))

    return change


def with_array(name: str, make: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    """A change of one array."""

    def change(arrays: dict[str, Any]) -> None:
        arrays[name] = np.asarray(make(arrays[name].copy()))

    return change


#: Changes of any array's type and shape: none of them is a state.
SHAPES: dict[str, Callable[[np.ndarray], Any]] = {
    "empty": lambda a: a[..., :0] if a.shape[-1] else np.zeros((0, 9), a.dtype),
    "one too many": lambda a: np.concatenate([a, a], axis=-1),
    "another dimension": lambda a: a[None],
    "flat": lambda a: a.reshape(-1) if a.ndim > 1 else a.reshape(-1, 1),
    "a single number": lambda a: a.reshape(-1)[0],
    "of the other byte order": lambda a: a.astype(a.dtype.newbyteorder()) if a.itemsize > 1 else a.astype(">i4"),
    "complex": lambda a: a.astype(complex),
    "texts": lambda a: a.astype(str),
    "half as wide": lambda a: a.astype(np.float32 if a.dtype.kind == "f" else np.int16),
    "records": lambda a: a.astype([("x", a.dtype)]),
}
#: Numbers that no law allows in an array of floats.
NUMBERS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "-0.0": -0.0}


def put(name: str, value: Any, at: int = 0) -> Callable[[dict[str, Any]], None]:
    """A change of one cell."""

    def make(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[at] = value
        return array

    return with_array(name, make)


def edits(names: tuple[str, ...], rng: np.random.Generator, count: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Drawn changes of cells, some legal, some not."""
    values = [0, 1, -1, 2, 0.5, 1e-300, 1e300, -1e300, 1e15, 2.0**52, 7, 100, np.nan, np.inf, -np.inf, 2**31 - 1]
    for _ in range(count):
        name, value, scale = names[int(rng.integers(len(names)))], values[int(rng.integers(len(values)))], rng.random()

        def make(array: np.ndarray, value: float = value, scale: float = scale) -> np.ndarray:
            flat = array.reshape(-1)
            at = int(scale * len(flat))
            with np.errstate(all="ignore"):
                if len(flat):
                    flat[at] = np.asarray(flat[at] + value if scale < 0.5 else value).astype(array.dtype)
            return array

        yield with_array(name, make)
