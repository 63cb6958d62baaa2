# SPDX-License-Identifier: Apache-2.0
"""progress=True: one line in a terminal, a notebook or a log, gone at the end whatever ends it; nothing unasked."""

from __future__ import annotations

import concurrent.futures as futures
import io
import multiprocessing
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import gpu_bt as bt
from gpu_bt.show.progress import bar, telling
from gpu_bt.synthetic import random_weights, synthetic_universe

PANEL = synthetic_universe(300, 6, seed=1)
WEIGHTS = random_weights(PANEL, 0.5, seed=1)
GRID = {"band": [0.0, 0.01, 0.02, 0.03], "slippage": [0.0, 1e-4, 1e-3]}


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what stands on its last line when all has been drawn."""

    def isatty(self) -> bool:
        return True

    def line(self) -> str:
        shown = ""
        for part in self.getvalue().split("\r"):
            shown = part + shown[len(part) :]
        return shown.strip()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return put(Terminal(), monkeypatch)


def put(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stream in the place of stderr; pytest puts its own there before a test begins."""
    monkeypatch.setattr("gpu_bt.show.progress.sys", SimpleNamespace(stderr=screen, modules={}))
    return screen


class Held(bt.Strategy):
    def on_data_batch(self, timestamp, batch):
        self.order_target_percent([0, 1], 0.4)


@pytest.mark.parametrize("what", ["weights", "strategy", "stream", "sweep"])
def test_a_bar_counts_to_the_end_and_is_gone(what: str, terminal: Terminal, tmp_path: Path, capsys):
    if what == "sweep":
        bt.sweep(PANEL, WEIGHTS, grid=GRID, chunk_size=5, progress=True)
        unit = "12 scenarios"
    elif what == "stream":
        stamps = np.repeat(PANEL.timestamps, 6)
        rows = {"timestamp": stamps, "asset": list(PANEL.assets) * 300, "close": PANEL.close.ravel()}
        pl.DataFrame(rows).write_parquet(tmp_path / "p.parquet")
        stream = bt.scan_panel(tmp_path / "p.parquet", bars=100)
        bt.run(stream, WEIGHTS, bt.Config(execution="next_close"), progress=True)
        unit = "300 bars"
    else:
        bt.run(PANEL, WEIGHTS if what == "weights" else Held(), progress=True)
        unit = "300 bars"
    text = terminal.getvalue()
    assert f"/{unit}" in text and terminal.line() == "" and capsys.readouterr().out == ""
    assert text.count("\n") == 0 and text.endswith("\r")  # one line, drawn over and over


def test_every_count_is_told_with_workers_and_when_resumed(tmp_path: Path):
    """The bar is told what a callable is told."""
    seen: list[tuple[int, int]] = []
    told: Any = dict(out=tmp_path, progress=lambda *x: seen.append(x))
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, context) as pool:
        bt.sweep(PANEL, WEIGHTS, grid=GRID, chunk_size=5, executor=pool, **told)
    assert seen[0] == (0, 12) and seen[-1] == (12, 12) and len(seen) == 4
    seen.clear()
    bt.sweep(PANEL, WEIGHTS, grid=GRID, chunk_size=5, **told)
    assert seen == [(12, 12)]  # it was all there


def test_the_runs_of_a_check_are_counted(terminal: Terminal):
    seen: list[tuple[int, int]] = []
    bt.check_lookahead(Held, PANEL, cuts=3, progress=lambda *x: seen.append(x))
    assert seen == [(k, 5) for k in range(1, 6)]
    bt.check_lookahead(Held, PANEL, cuts=3, progress=True)
    assert "/5 runs" in terminal.getvalue() and terminal.line() == ""
    with pytest.raises(bt.ConfigError, match="progress is 'yes'"):
        bt.check_lookahead(Held, PANEL, progress="yes")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_line_is_gone_after_an_error(error: type[BaseException], terminal: Terminal):
    class Stops(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            if batch.bar == 200:
                raise error("enough")

    with pytest.raises(error):
        bt.run(PANEL, Stops(), progress=True)
    assert "/300 bars" in terminal.getvalue() and terminal.line() == ""


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_drawn_unasked(progress: bool | None, terminal: Terminal, capsys):
    bt.run(PANEL, WEIGHTS, progress=progress)
    bt.sweep(PANEL, WEIGHTS, grid=GRID, progress=progress)
    assert terminal.getvalue() == "" and capsys.readouterr().out == ""


def test_neither_threads_nor_processes_are_begun(terminal: Terminal):
    """A run may fork, and a thread beside it would make that unsafe."""
    before = threading.enumerate()
    with bar() as show:
        for k in range(100):
            show("counting", k, 100, f"{k}")
        assert threading.enumerate() == before


def test_a_log_is_not_filled(monkeypatch: pytest.MonkeyPatch):
    log = put(io.StringIO(), monkeypatch)
    bt.run(PANEL, WEIGHTS, progress=True)
    assert 0 < log.getvalue().count("bars") <= 2


def test_a_process_without_stderr_runs(monkeypatch: pytest.MonkeyPatch):
    """As under pythonw and some services."""
    put(None, monkeypatch)  # type: ignore[arg-type]
    assert bt.run(PANEL, WEIGHTS, progress=True).status == "OK"


def test_stages_and_counts(terminal: Terminal):
    with bar() as show:
        show("reading")
        assert terminal.line() == "reading"
        show("counting", 0, 10, "0 of 10")
        assert "counting" in terminal.line() and "reading" not in terminal.line()
        show("counting", 10, 10, "10 of 10")
    assert terminal.line() == ""


@pytest.mark.parametrize("value", ["yes", 1, 0, [print], np.True_, {}, lambda done: None])
def test_what_is_neither_true_nor_a_function(value: object):
    for call in (lambda: telling(value, "bars"), lambda: bt.run(PANEL, WEIGHTS, progress=value)):
        with pytest.raises(
            bt.ConfigError, match=r"progress (is .*: it must be a plain function|cannot be called)"
        ) as e:
            call()
        assert "\n" not in str(e.value)
