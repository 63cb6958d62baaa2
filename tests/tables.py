# SPDX-License-Identifier: Apache-2.0
"""Tables for the tests of read_panel and read_weights, and what they are compared with."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from compare import assert_bits

from gpu_bt.data.frames import read_panel
from gpu_bt.data.panel import Panel
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = [
    "DAYS",
    "FIELDS",
    "assert_same_panel",
    "book",
    "long_table",
    "loop_reference",
    "minimal",
    "refused",
    "told",
]

DAYS = [dt.date(2024, 1, 2) + dt.timedelta(days=i) for i in range(40)]
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "half_spread")


def long_table(seed: int, *, assets: int = 7, holes: float = 0.2, stamps: list | None = None) -> pl.DataFrame:
    """Seeded rows in random order: missing rows, and missing closes and volumes in rows that are there."""
    rng = np.random.default_rng(seed)
    stamps = DAYS if stamps is None else stamps
    names = [f"X{i:03d}" for i in range(assets)]
    keys = [(t, a) for t in stamps for a in names if rng.random() > holes]
    rng.shuffle(keys)
    columns: dict[str, list] = {"timestamp": [k[0] for k in keys], "asset": [k[1] for k in keys]}
    price = rng.lognormal(0, 3, len(keys))
    for field in FIELDS:
        columns[field] = list(price * rng.uniform(0.9, 1.1, len(keys)))
    columns["half_spread"] = [value / 1000 for value in columns["half_spread"]]  # a fraction of the price
    ends = [sorted(row) for row in zip(*(columns[f] for f in ("open", "high", "low", "close")), strict=True)]
    columns["low"], columns["high"] = [row[0] for row in ends], [row[-1] for row in ends]
    gone = rng.random(len(keys)) < 0.1
    for field in ("high", "low", "close", "vwap", "volume"):
        columns[field] = [None if g else v for g, v in zip(gone, columns[field], strict=True)]
    return pl.DataFrame(columns)


def loop_reference(table: pl.DataFrame, field: str) -> np.ndarray:
    """The (T, N) array by a plain loop over rows."""
    stamps, names = sorted(set(table["timestamp"])), sorted(set(table["asset"]))
    out = np.full((len(stamps), len(names)), np.nan)
    for row in table.iter_rows(named=True):
        if row[field] is not None:
            out[stamps.index(row["timestamp"]), names.index(row["asset"])] = row[field]
    return out


def assert_same_panel(a: Panel, b: Panel) -> None:
    assert a.assets == b.assets and a.time_zone == b.time_zone
    assert_bits("microseconds", a.microseconds, b.microseconds)
    for field in (*FIELDS, "dividend", "split", "borrow_rate", "can_buy", "can_sell", "delisted_at", "lot"):
        one, other = getattr(a, field), getattr(b, field)
        assert (one is None) == (other is None), field
        if one is not None:
            assert_bits(field, one, other)


def minimal(**changes: object) -> pl.DataFrame:
    columns = {"timestamp": [DAYS[0], DAYS[0], DAYS[1]], "asset": ["A", "B", "A"], "close": [1.0, 2.0, 3.0]}
    columns.update(changes)  # type: ignore[arg-type]
    return pl.DataFrame({k: v for k, v in columns.items() if v is not None}, strict=False)


def refused(
    match: str,
    *args: Any,
    error: type[Exception] = PanelError,
    reader: Callable[..., Any] = read_panel,
    **options: Any,
) -> None:
    """The reader raises `error`, in one line, that holds `match`."""
    with pytest.raises(error) as caught:
        reader(*args, **options)
    message = str(caught.value)
    assert match in message, message
    assert "\n" not in message


def told(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What a call gives, and its BacktestWarnings, each one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = call()
    texts = [str(w.message) for w in caught]
    assert all(issubclass(w.category, BacktestWarning) for w in caught) and not any("\n" in t for t in texts)
    return value, texts


def book(rows: list[tuple[object, str, object]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame(dict(zip(("timestamp", "asset", "weight"), map(list, columns), strict=True)), strict=False)
