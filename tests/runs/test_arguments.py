# SPDX-License-Identifier: Apache-2.0
"""The one rule for each kind of argument: what passes, as what, and what is refused."""

from __future__ import annotations

import decimal
import fractions
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_bt import arguments as a
from gpu_bt.errors import BacktestError, ConfigError, PanelError

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0), (-0.0, 0.0), (np.float32(0.5), 0.5), (np.int8(3), 3.0), (np.array(2.0), 2.0), (math.inf, math.inf),
        (decimal.Decimal("0.5"), 0.5), (fractions.Fraction(1, 4), 0.25), (np.longdouble(2), 2.0),
        (True, NAN), (np.bool_(True), NAN), ("1", NAN), (b"1", NAN), (None, NAN), (1j, NAN), (np.complex128(1), NAN),
        (10**400, NAN), (decimal.Decimal("sNaN"), NAN), (np.array([1.0, 2.0]), NAN), (np.array("1"), NAN), ([1], NAN),
        (np.datetime64("2020-01-01"), NAN), (np.timedelta64(1), NAN), (np.array(1, object), NAN),
    ],
)  # fmt: skip
def test_real(value: Any, number: float):
    found = a.real(value)
    assert type(found) is float and (found == number or (math.isnan(found) and math.isnan(number)))


def test_what_passes_is_of_a_plain_type(tmp_path: Path):
    for got, want in (
        (a.whole("n", np.int64(5)), 5), (a.whole("n", np.array(5)), 5), (a.whole("n", 10**30, 0, math.inf), 10**30),
        (a.flag("f", np.bool_(False)), False), (a.flag("f", 1), True), (a.one_of("x", np.str_("b"), ("a", "b")), "b"),
        (a.dtype_name(np.float32), "float32"), (a.dtype_name(np.dtype("f8")), "float64"),
        (a.dtype_name("float32"), "float32"),
        (a.columns_of(np.array(["close"])), {"close": "close"}), (a.columns_of({"close": "nav"}), {"close": "nav"}),
        (a.columns_of(("close", "open")), {"close": "close", "open": "open"}),
    ):  # fmt: skip
        assert got == want and type(got) is type(want)
    assert a.one_of("x", None, (None, "a")) is None and a.columns_of(None) is None
    assert a.path_of("p", str(tmp_path)) == a.path_of("p", tmp_path) == tmp_path
    assert a.path_of("p", "~/x") == a.path_of("p", Path("~/x")) == Path.home() / "x"
    assert a.path_of("p", "~no such user/x") == Path("~no such user/x")
    assert not any(map(a.several, ("ab", b"a", 5, None, np.array(1))))
    assert all(map(a.several, ([1], np.ones(2), iter(()))))


REFUSED: dict[str, Callable[[], Any]] = {
    "n is 0: it must be a whole number >= 1": lambda: a.whole("n", 0),
    "n is True": lambda: a.whole("n", True),
    "n is 5.0": lambda: a.whole("n", 5.0),
    "n is 9: it must be a whole number >= 1 and <= 8": lambda: a.whole("n", 9, 1, 8),
    "f is 'no': it must be True or False": lambda: a.flag("f", "no"),
    "f is 2": lambda: a.flag("f", 2),
    "x is 'c': it must be one of 'a', None": lambda: a.one_of("x", "c", ("a", None)),
    "dtype is 'int64'": lambda: a.dtype_name(np.int64),
    "p is ''": lambda: a.path_of("p", ""),
    "p is b'x'": lambda: a.path_of("p", b"x"),
    "p is 'a\\\\x00b'": lambda: a.path_of("p", "a\0b"),
    "t is 5: it must be a text": lambda: a.check_texts(PanelError, s="x", t=5),
    "fields is 'close': it must be names of fields": lambda: a.columns_of("close"),
    r"fields is \[\]: it must be": lambda: a.columns_of([]),
    "fields is a generator": lambda: a.columns_of(x for x in ("close", "open")),
    "f cannot be called with its 2 arguments": lambda: a.called_with("f", lambda x: None, 1, 1),
    "f is 5: it must be a plain function": lambda: a.called_with("f", 5),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str):
    with pytest.raises(BacktestError, match=text):
        REFUSED[text]()


def test_files_that_end(tmp_path: Path):
    """A pipe of the shell has no name, and is read; one that has, a device and a folder are none."""
    (tmp_path / "x.toml").write_text("lot = 1")
    os.mkfifo(tmp_path / "pipe")
    reader, writer = os.pipe()
    try:
        shell = Path(f"/proc/self/fd/{reader}")
        for path in (tmp_path / "x.toml", tmp_path / "missing.toml", shell):
            assert a.file_of("path", path) == path
        for name in (tmp_path / "pipe", tmp_path, "/dev/zero"):
            with pytest.raises(ConfigError, match="cannot be read: it is no file"):
                a.file_of("path", name)
    finally:
        os.close(reader)
        os.close(writer)
