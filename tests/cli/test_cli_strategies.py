# SPDX-License-Identifier: Apache-2.0
"""gpu-bt run and sweep: strategies in a file, parameters, scores, opening holdings, states to go on from."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from compare import assert_bits

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.cli.samples import write_samples

MINE = """
import helper_of_mine
import gpu_bt as bt
import numpy as np

LATER = None

class Base(bt.Strategy):
    def on_data_batch(self, timestamp, batch):
        top = batch.top(batch.close, self.n)
        self.order_target_percent(top, 1 / self.n)
        self.close_others(top)

class Few(Base):
    def __init__(self, n=3):
        self.n = n

class Needs(Base):
    def __init__(self, n):
        self.n = n

class Fails(Few):
    def on_data_batch(self, timestamp, batch):
        return {}["what is not there"]

class Wrong(Few):
    def on_data_batch(self, timestamp, batch):
        self.order_target_percent("NOPE", 0.5)

class Leaves(Few):
    def on_data_batch(self, timestamp, batch):
        raise SystemExit(4)

class Peeks(Few):
    def __init__(self, later):
        super().__init__()
        self.later = later
    def on_data_batch(self, timestamp, batch):
        self.order_target_percent(batch.top(self.later, 3), 0.3)

three, five = Few(3), 5

def make(panel, n=2):
    return Few(n)

def peek(panel):
    return Peeks(panel.close[-1])

def book(panel, n=2):
    return helper_of_mine.equal(np.zeros(panel.shape), n)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample files, and mine.py, which imports a file beside it."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, force=False)
    (folder / "mine.py").write_text(MINE)
    (folder / "helper_of_mine.py").write_text("def equal(w, n):\n    w[:, :n] = 1 / n\n    return w\n")
    (folder / "syntax.py").write_text("x = 1\ndef f(:\n")
    (folder / "nul.py").write_bytes(b"x = 1\0\n")
    (folder / "zero.py").write_text("\nx = 1 / 0\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    return folder


@pytest.fixture
def given(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(here)
    return ["--prices", "prices.parquet", "--raw-prices", "--config", "config.toml"]


def run(given: list[str], out: Path, *more: str) -> pl.DataFrame:
    assert cli.main(["run", *given, "--out", str(out), "--no-plot", *more]) == 0
    return pl.read_parquet(out / "equity.parquet")


def library(strategy: object, **more: object) -> pl.DataFrame:
    panel = bt.read_panel("prices.parquet", prices="raw")
    return bt.run(panel, strategy, bt.read_config("config.toml"), **more).equity


def few(n: int) -> bt.Strategy:
    class Few(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            top = batch.top(batch.close, n)
            self.order_target_percent(top, 1 / n)
            self.close_others(top)

    return Few()


@pytest.mark.parametrize(
    ("typed", "n"),
    [
        (["mine.py:Few"], 3),
        (["mine.py:Few", "--param", "n=4"], 4),
        (["mine.py:Needs", "--param", "n=4"], 4),
        (["mine.py:three"], 3),
        (["mine.py:make"], 2),
        (["mine.py:make", "--param", "n=5"], 5),
    ],
)
def test_a_file_s_strategy_is_that_of_the_library(typed: list[str], n: int, given, tmp_path):
    found = run(given, tmp_path / "o", "--strategy", *typed)
    assert_bits("equity", found["equity"].to_numpy(), library(few(n))["equity"].to_numpy())


def test_the_one_class_of_a_file_needs_no_name(given, tmp_path):
    one = run(given, tmp_path / "a", "--strategy", "strategy.py", "--param", "lookback=120")
    two = run(given, tmp_path / "b", "--strategy", "./strategy.py:TopMomentum", "--param", "lookback=120")
    assert one.equals(two) and one["fills"].sum() > 50


def test_scores_and_weights_of_a_function(given, tmp_path, here):
    found = run(given, tmp_path / "o", "--scores", "scores.parquet", "--param", "long=4", "--param", "keep=1.5")
    want = library(bt.Scores("scores.parquet", long=4, keep=1.5))
    assert_bits("equity", found["equity"].to_numpy(), want["equity"].to_numpy())
    made = run(given, tmp_path / "o", "--strategy", "mine.py:book", "--param", "n=3")
    names = bt.read_panel("prices.parquet", prices="raw").assets[:3]
    want = library(dict.fromkeys(names, 1 / 3))
    assert_bits("equity", made["equity"].to_numpy(), want["equity"].to_numpy())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            "--strategy mine.py:Fails",
            "mine.py:24, in Fails.on_data_batch at bar 21 (2020-01-31): KeyError: 'what is not",
        ),
        ("--strategy mine.py:Wrong", "the panel has no asset 'NOPE'; see batch.assets: self.order_target_percent("),
        ("--strategy mine.py", "name what is meant, --strategy mine.py:NAME: one of Base, Few, Needs, Fails, Wrong"),
        ("--strategy mine.py:Fwe", "mine.py has no 'Fwe'; did you mean 'Few'?"),
        ("--strategy mine.py:zzzz", "mine.py has no 'zzzz'; it has Base, Few,"),
        ("--strategy mine.py:five", "--strategy names 5: it must be a class of gpu_bt.Strategy, an instance"),
        ("--strategy mine.py:Needs", "Needs cannot be made: missing a required argument: 'n'; give it with --param"),
        ("--strategy mine.py:Few --param m=1", "--param m: Few has no such parameter"),
        ("--strategy mine.py:book --param m=1", "--param m: book has no such parameter: it has n"),
        ("--strategy mine.py:three --param n=1", "--param is for a class or a function"),
        ("--strategy mine.py:Few --param n", "--param n: it must be NAME=VALUE, such as --param lookback=60"),
        ("--strategy syntax.py", "syntax.py:2: invalid syntax: def f(:"),
        ("--strategy zero.py", "zero.py:2: ZeroDivisionError: division by zero: x = 1 / 0"),
        ("--strategy leaves.py", "leaves.py ends the program when it is loaded"),
        ("--strategy none.py:X", "--strategy none.py cannot be read: No such file"),
        ("--strategy mine:Few", "it must be FILE.py:NAME, such as --strategy my.py:TopMomentum"),
        ("--strategy grid.toml:Few", "it must be FILE.py:NAME"),
        ("--strategy mine.py:peek --check-lookahead", "it looks ahead"),
        ("--strategy mine.py:Few --resume s.npz", "resume goes on with weights alone"),
        ("--strategy mine.py:Few --checkpoint s.npz", "--checkpoint is for --weights or --scores: leave --checkpoint"),
        ("--strategy mine.py:Few --align next", "--align is for --weights or --scores: leave --align out"),
        ("--scores scores.parquet --missing hold", "--missing is for --weights: leave --missing out, or pass that"),
        (
            "--strategy mine.py:Leaves",
            "error: mine.py:32: SystemExit: 4: raise SystemExit(4)",
        ),
        ("--strategy nul.py", "nul.py: source code string cannot contain null bytes\n"),
        (
            "--weights weights.parquet --checkpoint grid.toml/s.npz",
            "--checkpoint grid.toml cannot be made: grid.toml is",
        ),
        ("--weights weights.parquet --checkpoint .", "--checkpoint . cannot be written: Is a directory"),
        ("--scores scores.parquet --param lng=1", "--param lng: Scores has no such parameter: did you mean 'long'?"),
        ("--scores scores.parquet --param long=0", "long"),
        ("--weights weights.parquet --param long=1", "--param is for --strategy or --scores: leave --param out"),
        ("--weights weights.parquet --check-lookahead", "--check-lookahead is for --strategy: leave"),
        ("--weights weights.parquet --scores scores.parquet", "pass one of --weights, --scores, --strategy"),
        ("", "pass one of --weights, --scores, --strategy"),
        ("--weights weights.parquet --holdings NOPE=1", "holdings['NOPE']: the panel has no such asset"),
        ("--weights weights.parquet --holdings OAK", "OAK does not exist as a file"),
        ("--weights weights.parquet --holdings grid.toml", "unknown ending '.toml'"),
        ("--weights weights.parquet --resume grid.toml", "grid.toml"),
        ("--weights weights.parquet --accept-jumps", "--accept-jumps is for --resume: leave --accept-jumps out"),
    ],
)
def test_refusals_are_one_line(options: str, text: str, given, tmp_path, capsys):
    assert cli.main(["run", *given, "--out", str(tmp_path / "o"), *options.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and text in err, err
    assert not (tmp_path / "o").exists()


def test_a_strategy_s_traceback_where_asked(given, monkeypatch):
    monkeypatch.setenv("GPU_BT_TRACEBACK", "1")
    with pytest.raises(KeyError, match="what is not there"):
        cli.main(["run", *given, "--strategy", "mine.py:Fails"])


def test_lookahead_is_looked_for(given, capsys):
    assert cli.main(["run", *given, "--strategy", "mine.py:Few", "--check-lookahead"]) == 0
    assert capsys.readouterr().err == "checked: no decision changes when the data after it do\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_grid_over_the_parameters_of_a_file(workers: str, given, tmp_path, capsys):
    axes = ["--axis", "n=2,4", "--axis", "band=0,0.01", "--workers", workers, "--out", str(tmp_path), "--no-plot"]
    assert cli.main(["sweep", *given, "--strategy", "mine.py:Few", *axes]) == 0
    table = pl.read_parquet(tmp_path / "table.parquet")
    assert table["n"].to_list() == [2, 2, 4, 4] and table["band"].to_list() == [0.0, 0.01, 0.0, 0.01]
    assert table["final_equity"][2] == library(few(4))["equity"][-1]
    assert cli.main(["sweep", *given, "--strategy", "mine.py:Few", *axes]) == 0
    assert "4 of 1,042 bars x 20 assets, 0 run now" in capsys.readouterr().out
    assert cli.main(["sweep", *given, "--strategy", "mine.py:three", *axes]) == 2
    assert "pass its class" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_in_a_grid_names_the_line(workers: str, given, capsys):
    assert cli.main(["sweep", *given, "--strategy", "mine.py:Fails", "--axis", "n=2,4", "--workers", workers]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: mine.py:24, in Fails.on_data_batch at bar 21 (2020-01-31): KeyError: 'what is not")


def test_a_grid_over_the_arguments_of_a_function(given, tmp_path):
    axes = ["--axis", "n=2,4", "--out", str(tmp_path), "--no-plot", "--metric", "turnover"]
    assert cli.main(["sweep", *given, "--strategy", "mine.py:book", *axes]) == 0
    assert pl.read_parquet(tmp_path / "table.parquet")["n"].to_list() == [2, 4]


def test_holdings_by_name_and_of_a_file(given, tmp_path):
    weights = ["--weights", "weights.parquet"]
    (tmp_path / "held.csv").write_text("asset,shares\nOAK,1000\nELM,200\n")
    one = run(given, tmp_path / "o", *weights, "--holdings", "OAK=1000", "--holdings", "ELM=200")
    two = run(given, tmp_path / "o", *weights, "--holdings", str(tmp_path / "held.csv"))
    want = library("weights.parquet", holdings={"OAK": 1000, "ELM": 200})
    for found in (one, two):
        assert_bits("equity", found["equity"].to_numpy(), want["equity"].to_numpy())
    assert cli.main(["sweep", *given, *weights, "--axis", "band=0", "--holdings", "OAK=1000"]) == 0


def test_a_run_goes_on_from_its_state(given, tmp_path):
    prices, assets = pl.read_parquet("prices.parquet"), ["OAK", "ELM", "CEDAR", "YEW"]
    day, following = prices["date"].unique().sort()[500:502]
    prices = prices.filter(pl.col("asset").is_in(assets))
    prices.filter(pl.col("date") <= day).write_parquet(tmp_path / "a.parquet")
    prices.filter(pl.col("date") > day).write_parquet(tmp_path / "b.parquet")
    books = pl.read_parquet("weights.parquet").select("date").unique()
    books = books.join(pl.DataFrame({"asset": assets, "weight": [0.1, 0.2, 0.3, 0.3]}), how="cross")
    books.filter(pl.col("date") <= day).write_parquet(tmp_path / "wa.parquet")
    books.filter(pl.col("date") > day).write_parquet(tmp_path / "wb.parquet")
    state, more = str(tmp_path / "state.npz"), given[2:]
    first = ["--prices", f"{tmp_path}/a.parquet", "--weights", f"{tmp_path}/wa.parquet", "--checkpoint", state]
    run([*first, *more], tmp_path / "o", "--next-timestamp", str(following))
    last = ["--prices", f"{tmp_path}/b.parquet", "--weights", f"{tmp_path}/wb.parquet", "--resume", state]
    found = run([*last, *more], tmp_path / "o")
    panel = bt.read_panel(prices, prices="raw")
    want = bt.run(panel, books, bt.read_config("config.toml")).equity
    assert_bits("equity", found["equity"].to_numpy(), want["equity"].to_numpy()[501:])
