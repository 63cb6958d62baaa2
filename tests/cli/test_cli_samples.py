# SPDX-License-Identifier: Apache-2.0
"""gpu-bt demo --inputs: the sample files, and the commands that it prints, each typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

import gpu_bt as bt
from gpu_bt.cli import commands as cli

NAMES = ["prices.parquet", "closes.csv", "weights.parquet", "scores.parquet", "strategy.py", "config.toml", "grid.toml"]


def test_what_is_printed_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--inputs", "my samples"]) == 0
    wrote, said = capsys.readouterr().out.split("\nnext:\n")
    assert wrote.splitlines() == [f"wrote my samples/{name}" for name in NAMES]
    first, *lines = map(shlex.split, said.splitlines())
    assert first == ["cd", "my samples"] and len(lines) >= 6
    monkeypatch.chdir(first[1])
    for program, *arguments in lines:
        assert program == "gpu-bt" and cli.main(arguments) == 0
        out, err = capsys.readouterr()
        assert err == "" and any(text in out for text in ("final equity", "best by sharpe", '"sharpe":'))
    assert {line[1] for line in lines} == {"run", "sweep"}


def test_the_samples_have_what_real_files_have(tmp_path: Path):
    assert cli.main(["demo", "--inputs", str(tmp_path / "one")]) == 0
    panel = bt.read_panel(tmp_path / "one" / "prices.parquet", prices="raw")
    there = ~np.isnan(panel.close)
    ends = panel.delisted_at >= 0
    assert panel.shape == (1042, 20) and (panel.split > 1).any() and (panel.dividend > 0).any()
    assert 0 < (~there[:20].any(axis=0)).sum() < 10 and ends.sum() == 1
    inside = np.maximum.accumulate(there) & np.maximum.accumulate(there[::-1])[::-1]
    assert (inside & ~there).any()  # gaps
    closes = bt.read_panel(tmp_path / "one" / "closes.csv")
    assert closes.assets == panel.assets and np.array_equal(np.isnan(closes.close), ~there)
    moves = closes.close[1:] / closes.close[:-1]
    assert (moves[~np.isnan(moves)] > 0.6).all()  # no split, no ex-date shows in adjusted closes
    assert cli.main(["demo", "--inputs", str(tmp_path / "two")]) == 0
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_files_that_are_there_stay(tmp_path: Path, capsys):
    (tmp_path / "config.toml").write_text("mine = 1")
    assert cli.main(["demo", "--inputs", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "config.toml would be replaced: choose another folder, or pass --force" in err
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert cli.main(["demo", "--inputs", str(tmp_path), "--force"]) == 0
    assert bt.read_config(tmp_path / "config.toml").rebalance == "month"


@pytest.mark.parametrize("options", ["--inputs x --large", "--inputs x --no-plot", "--inputs x --out y", "--force"])
def test_the_samples_take_no_options_of_a_run(options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *options.split()]) == 2
    assert "--inputs writes files and runs nothing: pass it alone" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
