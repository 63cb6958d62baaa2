# SPDX-License-Identifier: Apache-2.0
"""Faults of binary files, tables and arrays: damage, types that are no numbers, times that no calendar has."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from compare import assert_bits
from extent import exhaustive
from faults.kit import fault, faults, one_line, refused, script, survived, told

import gpu_bt as bt

DAYS = [dt.date(2024, 1, 2), dt.date(2024, 1, 2), dt.date(2024, 1, 3), dt.date(2024, 1, 3)]
LONG = pl.DataFrame({"date": DAYS, "asset": ["A", "B"] * 2, "close": [10.0, 20.0, 11.0, 21.5]})
STAMPS = pd.date_range("2024-01-02", periods=3)
CLOSE = np.array([[10.0, 20.0], [11.0, 21.0], [12.0, 22.5]])


def packed(table: pl.DataFrame, kind: str) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file) if kind == "parquet" else table.write_ipc(file)
    return file.getvalue()


def arrow(**columns: Any) -> bytes:
    table, file = pa.table({"date": pa.array([dt.date(2024, 1, 2)]), **columns}), io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as out:
        out.write(table)
    return file.getvalue()


def written(folder: Path, content: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@faults("binary files", "refused", {f"{part:.0%} of it": part for part in (0.01, 0.2, 0.5, 0.9, 0.999)}, "cut to ")
def test_binary_files_that_are_cut(value: float, kind: str, tmp_path: Path) -> None:
    whole = packed(LONG, kind)
    with refused("cannot be read as"):
        bt.read_panel(written(tmp_path, whole[: int(len(whole) * value)], f"prices.{kind}"))


NAMED = {"Parquet as .arrow": ("parquet", "arrow"), "Arrow as .parquet": ("arrow", "parquet")}


@faults("binary files", "refused", NAMED, "a wrong ending, ")
def test_binary_files_of_a_wrong_name(value: tuple[str, str], tmp_path: Path) -> None:
    with refused("cannot be read as"):
        bt.read_panel(written(tmp_path, packed(LONG, value[0]), f"prices.{value[1]}"))


TYPES: dict[str, Callable[[], Any]] = {
    "decimals of 50 digits": lambda: pa.array([decimal.Decimal(1)], pa.decimal256(50, 2)),
    "intervals": lambda: pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "unions": lambda: pa.UnionArray.from_dense(
        pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1.0])]
    ),
    "run ends": lambda: pa.RunEndEncodedArray.from_arrays([1], [1.0]),
    "maps": lambda: pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
}  # fmt: skip


@faults("binary files", "refused", TYPES, "Arrow's ")
def test_types_that_no_price_has(value: Callable[[], Any], tmp_path: Path) -> None:
    with refused("cannot be read as Arrow IPC|must be a number"):
        bt.read_panel(written(tmp_path, arrow(A=value()), "prices.arrow"))
    with refused("cannot be read: |must be a number"):
        bt.read_panel(pa.table({"date": pa.array([dt.date(2024, 1, 2)]), "A": value()}))


@fault("binary files", "a reader's panic writes to stderr by itself", "refused")
def test_a_panic_is_not_shown(tmp_path: Path) -> None:
    columns = {"A": pa.array([1.0]), "B": pa.array([decimal.Decimal(1)], pa.decimal256(50, 2))}
    path = written(tmp_path, arrow(**columns), "prices.arrow")
    done = script(
        "import sys, gpu_bt as bt\n"
        "try:\n    bt.read_panel(sys.argv[1])\n"
        "except bt.PanelError as error:\n    print(error)\n"
        "print('still here', file=sys.stderr)\n",
        path, folder=tmp_path, RUST_BACKTRACE="1",
    )  # fmt: skip
    assert done.stderr == "still here\n" and done.stdout.count("\n") == 1, (done.stderr, done.stdout)
    with refused("its reader gave up on it"):
        bt.read_panel(path)


@fault("binary files", "four threads read damaged and whole files at once", "survived")
def test_threads_that_read_damaged_files(tmp_path: Path) -> None:
    bad = {"B": pa.array([decimal.Decimal(1)], pa.decimal256(50, 2))}
    written(tmp_path, arrow(**bad), "bad.arrow")
    written(tmp_path, packed(LONG, "parquet"), "good.parquet")
    done = script(
        "import sys, threading, gpu_bt as bt\n"
        "counts = []\n"
        "def work():\n"
        "    for _ in range(8):\n"
        "        counts.append(bt.read_panel('good.parquet').shape == (2, 2))\n"
        "        try:\n            bt.read_panel('bad.arrow')\n"
        "        except bt.PanelError as error:\n            counts.append('gave up' in str(error))\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(counts), all(counts))\n"
        "print('still here', file=sys.stderr)\n",
        folder=tmp_path,
    )  # fmt: skip
    survived((done.stdout, done.stderr), ("64 True\n", "still here\n"))


@exhaustive
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@fault("binary files", "bytes changed at random, 400 times", "survived")
def test_changed_bytes_are_one_line_or_none(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole, rng, seen = packed(LONG, kind), random.Random(7), {"read": 0, "refused": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            bt.read_panel(written(tmp_path, bytes(damaged), f"prices.{kind}"))
            seen["read"] += 1
        except bt.PanelError as error:
            one_line(ascii(str(error)))
            seen["refused"] += 1
        except bt.BacktestWarning:
            seen["read"] += 1
    assert min(seen.values()) > 20 and "panicked" not in capfd.readouterr().err
    survived(sum(seen.values()), 400)


TIMES = {
    "milliseconds of the year 100 million": pl.Series([2**62, 2**62 + 1]).cast(pl.Datetime("ms")),
    "microseconds of the year 148108": pl.Series([2**62, 2**62 + 1]).cast(pl.Datetime("us")),
    "microseconds before year 1": pl.Series([-(2**62), 0]).cast(pl.Datetime("us")),
    "days of the year 2 million": pl.Series([2**30, 2**30 + 1], dtype=pl.Int32).cast(pl.Date),
    "the zone Mars/X": pl.Series([0, 1]).cast(pl.Int64),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "table"])
@faults("times", "refused", TIMES, "a column of ")
def test_times_that_no_calendar_has(value: pl.Series, kind: str, tmp_path: Path) -> None:
    rule = "2 times outside the calendar|1 times outside the calendar"
    table: Any = pl.DataFrame({"date": value, "A": [1.0, 2.0]})
    if value.dtype == pl.Int64:  # as Polars makes none
        rule, table = "time zone 'Mars/X' is unknown", pa.table(
            {"date": pa.array([0, 86_400_000_000], pa.timestamp("us", "Mars/X")), "A": [1.0, 2.0]}
        )  # fmt: skip
        if kind == "parquet":
            pa.parquet.write_table(table, tmp_path / "t.parquet")
        elif kind == "arrow":
            with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as out:
                out.write(table)
    elif kind != "table":
        written(tmp_path, packed(table, kind), f"t.{kind}")
    with refused(rule):
        bt.read_panel(table if kind == "table" else tmp_path / f"t.{kind}")


UNITS = {
    "seconds read as nanoseconds": np.array([1704153600, 1704240000, 1704326400]).astype("M8[ns]"),
    "seconds read as milliseconds": np.array([1704153600, 1704240000, 1704326400]).astype("M8[ms]"),
    "milliseconds read as microseconds": np.array([1704153600, 1704240000, 1704326400]) * 1000 + np.zeros(3, "M8[us]"),
}


@faults("times", "refused", UNITS)
def test_times_of_a_wrong_unit(value: np.ndarray) -> None:
    with refused("all of them lie in January 1970, on fractions of a second"):
        bt.Panel(CLOSE, timestamps=value, assets=["A", "B"])
    with refused("all of them lie in January 1970"):
        bt.read_panel(pd.DataFrame(CLOSE, index=pd.DatetimeIndex(value), columns=["A", "B"]))


STAMPED: dict[str, tuple[Any, str]] = {
    "milliseconds read as seconds": (np.array([1704153600000, 1704240000000, 1704326400000]).astype("M8[s]"), "years"),
    "numbers that overflow": (np.array([2**62, 2**62 + 1, 2**62 + 2]).astype("M8[s]"), "years 1 to 9999"),
    "whole numbers of 400 digits": ([10**400] * 3, "must be a date"),
    "lengths of time": (pd.timedelta_range("1D", periods=3), "must be a date"),
    "a mask over one": (np.ma.masked_array(STAMPS.values, [0, 1, 0]), r"timestamps\[1\] is NaT"),
    "a set": (set(STAMPS), "must be a sequence"),
    "bytes": ([b"2024-01-02", b"2024-01-03", b"2024-01-04"], "must be a date"),
    "booleans": ([True, False, True], "must be a date"),
    "aware and naive ones": ([dt.datetime(2024, 1, 2, tzinfo=dt.UTC), *STAMPS[1:]], "mix time zones"),
}


@faults("times", "refused", STAMPED, "timestamps of an array, ")
def test_timestamps_that_are_none(value: tuple[Any, str]) -> None:
    with refused(value[1]):
        bt.Panel(CLOSE, timestamps=value[0], assets=["A", "B"])


@fault("times", "midnights in UTC that are the day before on the panel's clock", "told")
def test_midnights_of_another_day() -> None:
    with told("all 3 are midnight in UTC, on the clock of America/New_York the day before"):
        bt.Panel(CLOSE, timestamps=STAMPS.tz_localize("UTC"), assets=["A", "B"], time_zone="America/New_York")


@fault("times", "one bar in the wrong century", "told")
def test_bars_far_apart() -> None:
    with told("1 bars lie more than ten years apart, the first 1970-01-01 and 2024-01-03: is the year right"):
        bt.Panel(CLOSE, timestamps=["1970-01-01", "2024-01-03", "2024-01-04"], assets=["A", "B"])


class Raises:
    def __array__(self, *given: Any, **named: Any) -> np.ndarray:
        raise KeyError("two\nlines")


ARRAYS: dict[str, tuple[Any, str]] = {
    "bytes": (CLOSE.astype("S6"), "must hold numbers"),
    "texts": (CLOSE.astype("U6"), "must hold numbers"),
    "booleans": (CLOSE > 0, "has dtype bool: it must hold numbers"),
    "a list of booleans": ([[True, True]] * 3, "has dtype bool: it must hold numbers"),
    "complex numbers without imaginary parts": (CLOSE.astype(complex), "must hold numbers"),
    "objects": (CLOSE.astype(object), "must hold numbers"),
    "lengths of time": (np.full((3, 2), 5, "m8[D]"), "must hold numbers"),
    "records": (np.zeros((3, 2), [("a", "f8")]), "must hold numbers"),
    "a mask over some": (np.ma.masked_array(CLOSE, CLOSE > 21), "masked array"),
    "rows with masks": ([np.ma.masked_array(row, [0, 1]) for row in CLOSE], "masked array"),
    "rows of different lengths": ([[1.0, 2.0], [1.0], [1.0, 2.0]], "no array"),
    "a class that raises": (Raises(), "no array .*two"),
    "a set": ({1.0, 2.0}, "shape|no array"),
}


@pytest.mark.parametrize("field", ["close", "open", "volume", "half_spread", "borrow_rate"])
@faults("arrays", "refused", ARRAYS, "numbers as ")
def test_arrays_that_hold_no_numbers(value: tuple[Any, str], field: str) -> None:
    with refused(value[1]):
        bt.Panel(**{"close": CLOSE, field: value[0]}, timestamps=STAMPS, assets=["A", "B"])


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@fault("arrays", "a matrix, big-endian or turned around", "survived")
def test_odd_arrays_of_numbers() -> None:
    plain = bt.Panel(CLOSE, timestamps=STAMPS, assets=["A", "B"])
    for odd in (np.matrix(CLOSE), CLOSE.astype(">f8"), CLOSE[::-1].copy()[::-1], CLOSE.astype(np.longdouble)):
        got = bt.Panel(odd, timestamps=STAMPS, assets=["A", "B"])
        assert_bits("close", got.close, plain.close)
    survived(got.close, plain.close)


@faults("arrays", "refused", {"bytes": "S5", "booleans": "?", "complex numbers": "c16", "objects": "O"}, "a mapping's ")
def test_arrays_of_a_mapping_that_hold_no_numbers(value: str) -> None:
    table = pd.DataFrame(CLOSE, STAMPS, ["A", "B"])
    for field, options in (("volume", {}), ("split", {"prices": "raw"}), ("Adj Close", {"adjust": "scale"})):
        with refused("must hold numbers"):
            bt.read_panel({"close": table, field: CLOSE.astype(value)}, **options)


MASKS = {"texts": [["True", "False"]] * 3, "bytes": [[b"1", b"0"]] * 3, "NaN": [[1.0, np.nan]] * 3, "2": [[1, 2]] * 3}


@pytest.mark.parametrize("field", ["can_buy", "can_sell", "universe"])
@faults("arrays", "refused", MASKS, "masks of ")
def test_masks_that_are_none(value: Any, field: str) -> None:
    with refused(f"{field} has dtype .*: it must be bool"):
        bt.Panel(CLOSE, timestamps=STAMPS, assets=["A", "B"], **{field: np.array(value)})


PANDAS: dict[str, tuple[Any, str]] = {
    "booleans": ([True, False, True], "B, row 0, is True"),
    "complex numbers": ([1j, 2, 3], "column 'B' of type complex128"),
    "bytes": ([b"1", b"2", b"3"], "B, row 0, is b'1'"),
    "texts": (["1", "2", "3"], "B, row 0, is '1'"),
    "whole numbers of 400 digits": ([10**400, 1, 1], "column 'B'"),
    "lists": ([[1], [2], [3]], "must be a number"),
    "extended floats": (np.ones(3, np.longdouble), "column 'B' of type"),
    "lengths of time": (pd.to_timedelta([1, 2, 3], "D"), "must be a number"),
}


@faults("tables", "refused", PANDAS, "a column of ")
def test_columns_that_hold_no_numbers(value: tuple[Any, str]) -> None:
    table = pd.DataFrame({"A": [10.0, 11.0, 12.0]}, index=STAMPS)
    table["B"] = pd.Series(list(value[0]) if isinstance(value[0], list) else value[0], index=STAMPS)
    with refused(value[1]):
        bt.read_panel(table)
    panel = bt.Panel(CLOSE, timestamps=STAMPS, assets=["A", "B"])
    with refused(value[1], bt.WeightsError):
        bt.run(panel, table, bt.Config(execution="next_close"))
