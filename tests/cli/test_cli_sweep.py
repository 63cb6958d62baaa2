# SPDX-License-Identifier: Apache-2.0
"""gpu-bt sweep: what it prints and writes, how it refuses, how it goes on after Ctrl-C."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from compare import assert_bits
from waits import HANGS, wait_for

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.sweeps import sweep as sweeps

PROGRAM = [sys.executable, "-m", "gpu_bt.cli"]
GRID = 'band = [0, 0.01]\nmax_weight = ["none", 0.2]\nrebalance_every = [1, 5]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """prices.parquet, one.parquet, two.parquet and grid.toml."""
    folder = tmp_path_factory.mktemp("files")
    panel = synthetic_universe(60, 5, seed=3, messy=False)
    stamps = pl.Series("timestamp", panel.timestamps)
    rows = {"timestamp": stamps.gather(np.repeat(np.arange(60), 5)), "asset": list(panel.assets) * 60}
    rows |= {name: getattr(panel, name).ravel() for name in ("open", "close")}
    pl.DataFrame(rows).write_parquet(folder / "prices.parquet")
    for seed, name in enumerate(("one", "two")):
        book = random_weights(panel, 0.6, seed=seed)
        table = {"timestamp": stamps, **dict(zip(panel.assets, book.T, strict=True))}
        pl.DataFrame(table).write_parquet(folder / f"{name}.parquet")
    (folder / "grid.toml").write_text(GRID)
    return folder


@pytest.fixture
def given(folder: Path) -> list[str]:
    files = {"--prices": "prices.parquet", "--weights": "one.parquet", "--grid": "grid.toml"}
    return ["sweep", *(text for option, name in files.items() for text in (option, str(folder / name)))]


def library(folder: Path, *names: str, **config: object) -> bt.SweepResult:
    panel = bt.read_panel(folder / "prices.parquet")
    books = {name: bt.read_weights(folder / f"{name}.parquet", panel) for name in names}
    grid = {"band": [0, 0.01], "max_weight": [None, 0.2], "rebalance_every": [1, 5]}
    return bt.sweep(panel, books if len(names) > 1 else books[names[0]], bt.Config(**config), grid)


def same(table: pl.DataFrame, want: pl.DataFrame) -> None:
    assert table.columns == want.columns
    for name in ("sharpe", "final_equity", "turnover"):
        assert_bits(name, table[name].to_numpy(), want[name].to_numpy())


def test_it_writes_the_table_of_the_library_and_prints_the_best(given, folder, tmp_path, capsys):
    assert cli.main([*given, "--out", str(tmp_path / "o"), "--set", "slippage=1e-4", "--best", "3"]) == 0
    want = library(folder, "one", slippage=1e-4)
    same(pl.read_parquet(tmp_path / "o" / "table.parquet"), want.table)
    assert bt.read_config(tmp_path / "o" / "config.toml") == bt.Config(slippage=1e-4)
    assert (tmp_path / "o" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert err == "" and "\x1b" not in out
    lines = out.splitlines()
    place = lines.index("best by sharpe:")
    assert lines[place + 1].split()[:4] == ["scenario", "band", "max_weight", "rebalance_every"]
    best = want.best("sharpe", 3)
    assert [line.split()[0] for line in lines[place + 2 : place + 5]] == [str(k) for k in best["scenario"]]
    assert lines[place + 5 :] == [
        f"wrote {tmp_path / 'o' / name}" for name in ("table.parquet", "config.toml", "bars.parquet", "sweep.png")
    ]
    assert "8 of 60 bars x 5 assets, 8 run now" in out


def test_books_by_name_and_workers_and_going_on(given, folder, tmp_path, capsys):
    more = ["--weights", f"second={folder}/two.parquet", "--out", str(tmp_path), "--no-plot", "--chunk-size", "5"]
    assert cli.main([*given, *more, "--workers", "2", "--metric", "turnover", "--equity"]) == 0
    table = pl.read_parquet(tmp_path / "table.parquet")
    assert table["weights"].unique(maintain_order=True).to_list() == ["one", "second"]
    want = library(folder, "one", "two").table
    same(table, want)
    assert (tmp_path / "equity.parquet").exists() and not (tmp_path / "sweep.png").exists()
    assert "best by turnover:" in capsys.readouterr().out
    assert cli.main([*given, *more, "--equity"]) == 0
    assert "16 of 60 bars x 5 assets, 0 run now" in capsys.readouterr().out


def test_scores_have_axes_of_books(folder, tmp_path, capsys):
    (tmp_path / "grid.toml").write_text("long = [1, 0.5]\nkeep = [1.0, 2.0]\n")
    files = ["--prices", str(folder / "prices.parquet"), "--grid", str(tmp_path / "grid.toml")]
    scores = ["--scores", f"a={folder}/one.parquet", "--scores", f"b={folder}/two.parquet"]
    assert cli.main(["sweep", *files, *scores, "--out", str(tmp_path / "o"), "--no-plot"]) == 0
    panel = bt.read_panel(folder / "prices.parquet")
    given = bt.Scores({"a": folder / "one.parquet", "b": folder / "two.parquet"})
    want = bt.sweep(panel, given, bt.Config(), {"long": [1, 0.5], "keep": [1.0, 2.0]})
    same(pl.read_parquet(tmp_path / "o" / "table.parquet"), want.table)
    capsys.readouterr()
    for wrong in ([], [*scores, "--weights", str(folder / "one.parquet")]):
        assert cli.main(["sweep", *files, *wrong]) == 2
        assert "pass one of --weights, --scores, --strategy, and not several" in capsys.readouterr().err


def test_a_dry_run_prints_the_plan_and_makes_nothing(given, tmp_path, capsys):
    assert cli.main([*given, "--out", str(tmp_path / "o"), "--dry-run", "--max-memory", "100"]) == 0
    out = capsys.readouterr().out
    assert "8, 2,400 asset-bars to run" in out and "of 100 MiB" in out
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ("band = [0, 2]", "grid axis 'band': band is 2"),
        ("bnad = [0]", "did you mean 'band'?"),
        ("band = 0", "grid axis 'band' is 0: pass a list of values"),
        ("band = [0", "cannot be read: "),
        ("", "grid is empty"),
        (None, "No such file or directory"),
        (
            "band = [0]\n[grid]\nlot = [0]\n",
            "has band beside grid, which alone would be read: put it there, or leave it",
        ),
        ("band = [0]\n[[scenarios]]\nlot = 0\n", "has band beside scenarios, which alone would be read"),
        ("[[scenarios]]\nband = 0\n[[scenarios]]\nlot = 0\n", "grid row 1 and row 0 differ in the axis 'band'"),
    ],
)
def test_a_wrong_grid_is_one_line(given, tmp_path, capsys, grid, text):
    if grid is not None:
        (tmp_path / "g.toml").write_text(grid)
    assert cli.main([*given[:-1], str(tmp_path / "g.toml"), "--out", str(tmp_path / "o")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and text in err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--weights", "x/one.parquet"], "the name 'one' is there twice; give one with --weights NAME=FILE"),
        (["--metric", "gain"], "'gain' is no metric of the sweep"),
        (["--engine", "gpu"], "engine is 'gpu'"),
        (["--max-memory", "1"], "one scenario of this panel needs"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_wrong_options_are_one_line(given, capsys, options, text):
    assert cli.main([*given, *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and text in err


def test_what_is_no_metric_is_refused_before_anything_runs(given, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweeps, "run_here", lambda *_: pytest.fail("it ran"))
    assert cli.main([*given, "--metric", "gain"]) == 2


def test_scenarios_one_by_one_and_a_table_grid(given, tmp_path, capsys):
    (tmp_path / "g.toml").write_text("[[scenarios]]\nband = 0\n[[scenarios]]\nband = 0.02\n")
    assert cli.main([*given[:-1], str(tmp_path / "g.toml")]) == 0
    (tmp_path / "h.toml").write_text("[grid]\nband = [0, 0.02]\n")
    assert cli.main([*given[:-1], str(tmp_path / "h.toml")]) == 0
    assert capsys.readouterr().out.count("2 of 60 bars x 5 assets, 2 run now") == 2


def test_axes_that_are_typed(given, tmp_path, capsys):
    """Each in the place of the file's of that name; beside it; without a file."""
    axes = ["--axis", "band=0.02", "--axis", "rounding=nearest,position", "--no-plot", "--out", str(tmp_path)]
    assert cli.main([*given, *axes]) == 0
    table = pl.read_parquet(tmp_path / "table.parquet")
    assert table.columns[1:5] == ["band", "max_weight", "rebalance_every", "rounding"]
    assert set(table["band"]) == {0.02} and len(table) == 8 and set(table["rounding"]) == {"nearest", "position"}
    assert cli.main([*given[:-2], "--axis", "max_weight=none,0.2"]) == 0
    assert "2 of 60 bars x 5 assets" in capsys.readouterr().out
    (tmp_path / "g.toml").write_text("[[scenarios]]\nband = 0\n")
    for wrong, text in {
        (): "a sweep has a grid: pass --axis band=0,0.01 or --grid FILE",
        ("--axis", "band"): "--axis band: it must be NAME=VALUE, such as --axis band=0,0.01",
        ("--axis", "bnad=1"): "did you mean 'band'?",
        ("--axis", "band=0,0"): "grid axis 'band' has 0.0 twice",
        ("--axis", "band=0", "--grid", str(tmp_path / "g.toml")): "lists scenarios one by one: leave one of them out",
    }.items():
        assert cli.main([*given[:-2], *wrong]) == 2
        err = capsys.readouterr().err
        assert text in err and err.count("\n") == 1, err


def test_another_sweep_in_the_folder_is_refused_in_words_that_can_be_typed(given, tmp_path, capsys):
    assert cli.main([*given, "--out", str(tmp_path), "--no-plot"]) == 0
    capsys.readouterr()
    assert cli.main([*given, "--out", str(tmp_path), "--set", "lot=2"]) == 2
    err = capsys.readouterr().err
    assert "holds a sweep with another config: choose another folder for --out" in err and "out=" not in err


def test_the_help_shows_the_brackets_of_toml(capsys):
    assert cli.main(["sweep", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "axis = [values], or [[scenarios]] tables" in text


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Ctrl-C reaches a process group, as on POSIX")
@pytest.mark.parametrize("workers, number", [("1", signal.SIGINT), ("2", signal.SIGINT), ("2", signal.SIGTERM)])
def test_after_ctrl_c_the_line_that_it_prints_goes_on(folder: Path, tmp_path: Path, workers: str, number, capsys):
    (tmp_path / "g.toml").write_text(
        f"commission_rate = {[i * 1e-5 for i in range(500)]}\nrebalance_every = [1, 2, 3, 4]\n"
    )
    given = ["sweep", "--prices", f"{folder}/prices.parquet", "--weights", f"{folder}/one.parquet"]
    given += ["--grid", f"{tmp_path}/g.toml", "--out", f"{tmp_path}/o", "--chunk-size", "10", "--workers", workers]
    process = subprocess.Popen(
        [*PROGRAM, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=Path(__file__).parents[2], env=endless(tmp_path),
    )  # fmt: skip
    chunks = tmp_path / "o" / "chunks"
    wait_for(lambda: len(list(chunks.glob("chunk-*.parquet"))) >= 3 or process.poll() is not None)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it, too
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 128 + number and out == ""
    assert err.count("\n") == 1 and err.startswith("interrupted: finished chunks are in "), err
    kept = len(list(chunks.glob("chunk-*.parquet")))
    assert 3 <= kept < 200
    advised = shlex.split(re.search(r"go on with: gpu-bt (.*)\n", err)[1])
    assert cli.main([*advised, "--no-plot"]) == 0
    assert f"2,000 of 60 bars x 5 assets, {2000 - 10 * kept:,} run now" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see what runs")
def test_workers_end_with_a_program_that_was_killed(folder: Path, tmp_path: Path):
    (tmp_path / "g.toml").write_text(f"commission_rate = {[i * 1e-6 for i in range(4000)]}\n")
    given = ["sweep", "--prices", f"{folder}/prices.parquet", "--weights", f"{folder}/one.parquet"]
    given += ["--grid", f"{tmp_path}/g.toml", "--out", f"{tmp_path}/o", "--chunk-size", "10", "--workers", "2"]
    process = subprocess.Popen(
        [*PROGRAM, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=Path(__file__).parents[2], env=endless(tmp_path),
    )  # fmt: skip
    wait_for(lambda: any(tmp_path.glob("o/chunks/chunk-*")) or process.poll() is not None)
    workers = [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    assert process.wait() == -signal.SIGKILL and len(workers) >= 2
    wait_for(lambda: not any(map(running, workers)))


def endless(folder: Path) -> dict[str, str]:
    """An environment in which a sweep does not come to its end before it is stopped, however late that is, and hears
    Ctrl-C, to which a shell makes a program in the background deaf."""
    (folder / "sitecustomize.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gpu_bt.sweeps.files import ChunkFiles\nsave = ChunkFiles.save\n"
        "ChunkFiles.save = lambda self, i, done: time.sleep(9999) if i >= 190 else save(self, i, done)\n"
    )
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:  # it is gone
        return False
