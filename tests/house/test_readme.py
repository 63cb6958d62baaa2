# SPDX-License-Identifier: Apache-2.0
"""The README's first example, run as a newcomer would: it prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_cases import books, universe
from waits import HANGS

import gpu_bt as bt

README = Path(__file__).parents[2] / "README.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README.read_text(), re.DOTALL)


def without_seconds(text: str) -> list[str]:
    """The lines, without the engine and its wall time, which differ from machine to machine."""
    return [line.rstrip() for line in text.strip().splitlines() if not line.startswith("engine")]


def test_the_first_example_prints_what_the_page_shows():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("python")[0]], capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    assert without_seconds(done.stdout) == without_seconds(blocks("text")[0])


def test_the_strategy_prints_what_the_page_shows():
    first, second = blocks("python")[:2]
    code = first.replace("print(result)", "") + second
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == blocks("text")[1].strip()


def test_the_example_of_scores_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first, scores = (block for block in blocks("python") if "default_rng" in block or "bt.Scores(" in block)
    names: dict[str, Any] = {}
    exec(first.replace("print(result)", ""), names)
    exec(scores, names)
    assert names["table"].height == 24 and (tmp_path / "factor.png").exists() and names["result"].decisions > 20


def test_the_example_of_a_grid_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    panel = universe()
    names = {"bt": bt, "panel": panel, "W20": books(panel)["one"], "W60": books(panel)["two"]}
    sweep, statistics = [block for block in blocks("python") if "grid" in block]
    exec(sweep, names)
    assert len(names["grid"]) == 54 and (tmp_path / "grid.png").exists()
    exec(sweep.replace("bt.Config(initial_cash=1e7),", "bt.Config(initial_cash=1e7), equity=True, grid="), names)
    exec(statistics, names)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert target.startswith("http") or (README.parent / target).exists(), target
