# SPDX-License-Identifier: Apache-2.0
"""Faults: what a user, a file, a disk or another process does wrong, and what must come of it.

    @fault("state files", "one byte of the file is changed", "refused")
    def test_a_changed_byte(tmp_path):
        ...
        with refused("damaged"):
            bt.run(..., resume=path)

    @faults("wrong types", "refused", {"a number": 3, "a list": [1]})
    def test_engines(value): ...

Each fault has one of three outcomes, and a test of it must check that one with the function of the same name, or it
fails (conftest.py). docs/faults.md is the list of them all, made by page.py.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from waits import HANGS

import gpu_bt as bt

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "Fault",
    "command",
    "fault",
    "faults",
    "one_line",
    "refused",
    "script",
    "survived",
    "told",
]

ROOT = Path(__file__).parents[2]
#: Outcome -> what it means.
OUTCOMES = {
    "refused": "one line says what, where, the rule and the way out; nothing was lost or half-written",
    "told": "it goes on, and a warning or a note counts what was odd",
    "survived": "it goes on as if nothing had been, with the same bits",
}
#: Texts that only a library's panic or a traceback contains.
_RAW = ("panicked", "RUST_BACKTRACE", "unwrap()", "Traceback", "thread '", "<class '", "core dumped")


@dataclasses.dataclass(frozen=True)
class Fault:
    """kind: the heading of the page that it stands under.   what: what is done wrong."""

    kind: str
    what: str
    outcome: str


#: All that are tried, as the modules of this folder are imported.
FAULTS: list[Fault] = []
#: Outcomes that the running test has checked.
checked: set[str] = set()


def fault(kind: str, what: str, outcome: str) -> Callable[[Any], Any]:
    """A test of one fault."""
    _register(kind, what, outcome)
    return pytest.mark.fault(outcome)


def faults(kind: str, outcome: str, cases: Mapping[str, Any], prefix: str = "") -> Callable[[Any], Any]:
    """A test with the argument `value`, of the fault that each key names (after `prefix`)."""

    def mark(test: Any) -> Any:
        for what in cases:
            _register(kind, prefix + what, outcome)
        values = [pytest.param(value, id=what) for what, value in cases.items()]
        return pytest.mark.fault(outcome)(pytest.mark.parametrize("value", values)(test))

    return mark


def _register(kind: str, what: str, outcome: str) -> None:
    found = Fault(kind, what, outcome)
    if outcome not in OUTCOMES or any((f.kind, f.what) == (kind, what) for f in FAULTS):
        raise ValueError(f"{found}: no outcome, or tried twice")
    FAULTS.append(found)


def one_line(text: str) -> None:
    """Assert that a message is one line for a person, without what belongs to a library or a terminal."""
    assert text and text == text.strip() and len(text) < 700, text
    assert text.isprintable(), f"not one printable line: {text!r}"
    assert not [raw for raw in _RAW if raw in text], text


@contextmanager
def refused(match: str, error: type[bt.BacktestError] = bt.BacktestError) -> Iterator[None]:
    """The block raises an error of the package, one line that contains the pattern `match`."""
    with pytest.raises(error, match=match) as caught:
        yield
    one_line(str(caught.value))
    checked.add("refused")


@contextmanager
def told(match: str) -> Iterator[None]:
    """The block warns in one line that contains the pattern `match`."""
    with pytest.warns(bt.BacktestWarning, match=match) as caught:
        yield
    for warning in caught:
        one_line(str(warning.message))
    checked.add("told")


def survived(got: Any, expected: Any) -> None:
    """Two values, arrays or results are the same, to the bit."""
    if isinstance(got, bt.Result):
        for name in ("money", "counts", "holdings"):
            assert_bits(name, getattr(got.raw, name), getattr(expected.raw, name))
    elif isinstance(got, np.ndarray):
        assert_bits("value", got, expected)
    else:
        assert got == expected
    checked.add("survived")


def script(text: str, *arguments: Any, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, from `folder`; it must end by itself, not by a signal."""
    path = folder / "program.py"
    path.write_text(text, "utf-8")
    found = _process([sys.executable, str(path), *map(str, arguments)], folder, environment)
    assert found.returncode >= 0, f"died of signal {-found.returncode}: {found.stderr[-2000:]}"
    return found


def command(arguments: Sequence[Any], folder: Path, *, status: int = 2, **environment: str) -> str:
    """What gpu-bt says on stderr, run from `folder`: with status 2 one line, after its word "error:"."""
    found = _process([sys.executable, "-m", "gpu_bt.cli", *map(str, arguments)], folder, environment)
    assert found.returncode == status, (found.returncode, found.stdout[-1000:], found.stderr[-2000:])
    assert "Traceback" not in found.stderr + found.stdout, found.stderr
    if status == 2:
        one_line(found.stderr.strip())
        checked.add("refused")
    return found.stderr


def _process(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, timeout=HANGS, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "1000", "NO_COLOR": "1", **environment},
    )  # fmt: skip


@contextmanager
def silence() -> Iterator[None]:
    """A block that may not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
