# SPDX-License-Identifier: Apache-2.0
"""The program gpu-bt: what it writes and prints, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from waits import HANGS

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.cli import words
from gpu_bt.config import FIELDS, OPTIONAL
from gpu_bt.data.settings import read_config
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.registry import reasons
from gpu_bt.runs import run as api

PROGRAM = [sys.executable, "-m", "gpu_bt.cli"]
#: What a run writes, in this order.
TABLES = ("equity", "fills", "cuts", "assets", "orders_next")
WRITTEN = (*(f"{name}.parquet" for name in TABLES), "config.toml", "metrics.json")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """--prices and --weights of 60 bars and 5 assets: long CSV and wide Parquet."""
    folder = tmp_path_factory.mktemp("files")
    panel = synthetic_universe(60, 5, seed=3, messy=False)
    stamps = pl.Series("timestamp", panel.timestamps)
    rows = {"timestamp": stamps.gather(np.repeat(np.arange(60), 5)), "asset": list(panel.assets) * 60}
    rows |= {name: getattr(panel, name).ravel() for name in ("open", "close", "volume")}
    pl.DataFrame(rows).write_csv(folder / "prices.csv")
    book = random_weights(panel, 0.6, seed=4, every=5)
    pl.DataFrame({"timestamp": stamps, **dict(zip(panel.assets, book.T, strict=True))}).write_parquet(
        folder / "weights.parquet"
    )
    return ["--prices", str(folder / "prices.csv"), "--weights", str(folder / "weights.parquet")]


def library(files: list[str], config: bt.Config, **options: str) -> bt.Result:
    panel = bt.read_panel(files[1])
    return bt.run(panel, bt.read_weights(files[3], panel, **options), config)


def refused(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line on stderr that holds the text, nothing on stdout."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert text in err


def test_run_writes_what_the_library_gives(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "a" / "b"
    assert cli.main(["run", *files, "--out", str(out), "--set", "slippage=5e-4", "--csv"]) == 0
    want = library(files, bt.Config(slippage=5e-4))
    assert pl.read_parquet(out / "equity.parquet").equals(want.equity)
    assert pl.read_parquet(out / "fills.parquet").equals(want.fills)
    assert want.fills.height > 20
    names = {*WRITTEN, "equity.csv", "fills.csv", "report.png"}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    printed, err = capsys.readouterr()
    assert err == "" and "\x1b" not in printed
    assert {line.removeprefix(f"wrote {out}{os.sep}") for line in printed.splitlines()[-len(names) :]} == names
    wanted = [line for line in want.summary().splitlines() if not line.startswith("engine")]
    assert [" ".join(line.split()) for line in wanted] == [
        " ".join(line.split()) for line in printed.split("\n\n")[0].splitlines() if not line.startswith("engine")
    ]


def test_the_start_of_the_metrics(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["run", *files, "--out", str(tmp_path), "--start", "2015-02", "--no-plot"]) == 0
    want = library(files, bt.Config()).metrics_since("2015-02")
    assert json.loads((tmp_path / "metrics.json").read_text())["sharpe"] == want["sharpe"]
    assert "2015-02-02 to " in capsys.readouterr().out
    assert cli.main(["run", *files, "--out", str(tmp_path), "--start", "2035", "--no-plot"]) == 2
    assert "no bar lies at or after it" in capsys.readouterr().err


def test_config_file_then_set(files: list[str], tmp_path: Path):
    file, out = tmp_path / "c.toml", tmp_path / "out"
    file.write_text('slippage = 0.01\n[config]\nlot = 0\nrebalance = "week"\nmax_weight = 0.3\n[run]\nx = 1\n')
    settings = ["--set", "max_weight=none", "--set", " execution = 'next_close'", "--set", "lot=2"]
    assert cli.main(["run", *files, "--out", str(out), "--config", str(file), *settings, "--no-plot"]) == 0
    want = bt.Config(slippage=0.01, lot=2, rebalance="week", execution="next_close")
    assert read_config(out / "config.toml") == want
    assert pl.read_parquet(out / "equity.parquet").equals(library(files, want).equity)
    again = tmp_path / "again"
    assert cli.main(["run", *files, "--out", str(again), "--config", str(out / "config.toml"), "--no-plot"]) == 0
    assert (again / "equity.parquet").read_bytes() == (out / "equity.parquet").read_bytes()
    assert not (again / "report.png").exists()


def test_options_of_the_weights_reach_the_reader(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    book = tmp_path / "book.csv"
    book.write_text("day,who,share\n2015-01-10,SYN00001,0.5\n2015-02-02,SYN00002,0.5\n2015-02-02,ABC,0.5\n")
    prices = tmp_path / "prices.csv"
    prices.write_text(Path(files[1]).read_text().replace("timestamp,asset,", "day,who,", 1))
    columns = ["--timestamp-column", "day", "--asset-column", "who", "--weight-column", "share"]
    given = [
        "run",
        "--prices",
        str(prices),
        "--weights",
        str(book),
        "--out",
        str(tmp_path / "out"),
        "--no-plot",
        *columns,
    ]
    refused(given, "'ABC'", capsys)
    given += ["--unknown-assets", "ignore"]
    refused(given, "2015-01-10 is no bar", capsys)
    assert not (tmp_path / "out").exists()
    assert cli.main([*given, "--align", "next", "--missing", "hold"]) == 0
    held = pl.read_parquet(tmp_path / "out" / "equity.parquet")
    assert cli.main([*given, "--align", "next"]) == 0
    closed = pl.read_parquet(tmp_path / "out" / "equity.parquet")
    assert held["sells"].sum() == 0 < closed["sells"].sum()


@pytest.mark.parametrize("layout", ["long", "wide", "its own"])
@pytest.mark.parametrize("column", ["filename", "SYN00001"])
def test_prices_of_one_asset_take_weights_that_name_theirs(column: str, layout: str, files: list[str], tmp_path: Path):
    """A file for each asset, or one of a single asset; weights with labels of their own, or as the prices have them."""
    folder, book, out = tmp_path / "prices", tmp_path / "SYN00001.csv", tmp_path / "out"
    folder.mkdir()
    for (asset,), rows in pl.read_csv(files[1]).partition_by("asset", as_dict=True, include_key=False).items():
        if column == "filename" or asset == column:
            rows.write_csv(folder / f"{asset}.csv")
    weights = {
        "long": "timestamp,asset,weight\n2015-02-02,SYN00001,0.5\n",
        "wide": "timestamp,SYN00001\n2015-02-02,0.5\n",
        "its own": "timestamp,weight\n2015-02-02,0.5\n",
    }
    book.write_text(weights[layout])
    (tmp_path / "grid.toml").write_text("band = [0, 0.01]")
    given = ["--prices", str(folder), "--weights", str(book), "--asset-column", column, "--no-plot", "--out", str(out)]
    assert cli.main(["run", *given]) == 0
    panel = bt.read_panel(folder, asset=column)
    want = bt.run(panel, bt.read_weights(pl.read_csv(weights["long"].encode()), panel), bt.Config())
    assert pl.read_parquet(out / "equity.parquet").equals(want.equity) and want.fills.height == 1
    assert cli.main(["sweep", *given, "--grid", str(tmp_path / "grid.toml")]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "slipage=1"], "did you mean 'slippage'?"),
        (["--set", "slippage"], "--set slippage: it must be NAME=VALUE"),
        (["--set", "slippage=2"], "slippage is 2: it must be a number in [0, 1]"),
        (["--set", "lot=none"], "lot is 'none': it must be a number"),
        (["--set", "signal_lag=true"], "signal_lag is True: it must be a whole number"),
        (["--set", "execution=soon"], "execution is 'soon': it must be one of 'next_open'"),
        (["--config", "missing.toml"], "missing.toml cannot be read"),
        (["--config", "unknown.toml"], "did you mean 'slippage'?"),
        (["--config", "broken.toml"], "broken.toml cannot be read"),
        (["--config", "number.toml"], "'config' is not a field of Config"),
        (["--config", "."], "cannot be read"),
        (["--engine", "abacus"], "engine is 'abacus'"),
        (["--missing", "drop"], "missing is 'drop'"),
        (["--align", "near"], "align is 'near'"),
        (["--unknown-assets", "x"], "unknown_assets is 'x'"),
        (["--bad-prices", "x"], "bad_prices is 'x'"),
        (["--duplicates", "x"], "duplicates is 'x'"),
        (["--time-zone", "Mars/Base"], "Mars/Base"),
        (["--prices", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--weights", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--config", "other.toml"], "has the table [other]"),
        (["--out", "file"], "--out file cannot be made: file is no folder"),
        (["--out", "file/below"], "--out file/below cannot be made: file is no folder"),
        (["--out", ""], "--out is '': it must be a path"),
        (["--set", "zzz=1"], "see gpu-bt info --config"),
        (["--layout", "x"], "layout is 'x'"),
        (["--adjust", "x"], "adjust is 'x'"),
        (["--adjust", "scale"], "has no adjusted close: --adjust scale needs one"),
        (["--fields", "close=px"], "name it with --fields close=NAME, or pass --layout wide"),
        (["--fields", "open"], "fields names open: it must name close"),
        (["--asset-column", "who"], "name it with --asset-column, or pass --layout wide"),
        (["--no-such-option"], "--no-such-option (see gpu-bt run --help)"),
    ],
)
def test_refusals_of_run(
    arguments: list[str],
    text: str,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("unknown.toml").write_text("slipage = 0.1")
    Path("broken.toml").write_text("slippage = ")
    Path("other.toml").write_text("[other]\nx = 1\n")
    Path("number.toml").write_text("config = 3")
    option = arguments[0]
    given = [*files, "--out", "out"]
    if option in given and option != "--prices":
        del given[given.index(option) : given.index(option) + 2]
    refused(["run", *given, *arguments], text, capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run"], "Missing option '--prices'"),
        (["sing"], "No such command 'sing'"),
        (["demo", "extra"], "extra"),
        (["--verbose"], "(see gpu-bt --help)"),
        (["info", "--toml", "--json"], "--toml is a file of all fields: pass it alone, or --config --json"),
        (
            ["run", "--prices", "p.csv", "--weights", "w.csv", "--csv"],
            "--csv is for --out: leave --csv out, or pass that",
        ),
        (["sweep", "--prices", "p.csv", "--weights", "w.csv", "--axis", "band=0", "--equity"], "--equity is for --out"),
        (["sweep", "--prices", "p.csv", "--weights", "=w.csv", "--axis", "band=0"], "FILE, or NAME=FILE with a name"),
    ],
)
def test_wrong_words(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]):
    refused(arguments, text, capsys)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "x/y"), "error: x/y: No space left on device\n"),
        (OSError("no file, no number"), "error: no file, no number\n"),
        (MemoryError("Unable to allocate 9 GiB"), "error: not enough memory: Unable to allocate 9 GiB\n"),
        (bt.ResultError("two\nlines"), "error: two\\nlines\n"),
        (bt.EngineUnavailable("engine 'x' cannot run"), "error: engine 'x' cannot run\n"),
        (bt.WeightsError("pass align='next'"), "error: pass --align next\n"),
        (KeyboardInterrupt(), "interrupted: wrote nothing\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_in_a_run(
    error: BaseException,
    line: str,
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "run", fail)
    status = cli.main(["run", *files, "--out", str(tmp_path)])
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert capsys.readouterr() == ("", line)


def test_a_failed_write_comes_after_the_summary(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert cli.main(["run", *files, "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "final equity" in out and "wrote" not in out
    assert "No space left on device; make room" in err and err.count("\n") == 1


def test_an_interrupt_while_drawing(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bt.Result, "plot", interrupt)
    assert cli.main(["run", *files, "--out", str(tmp_path)]) == 130
    err = capsys.readouterr().err
    assert err == f"interrupted: wrote {', '.join(str(tmp_path / name) for name in WRITTEN)}\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tmp_path.chmod(0o500)
    refused(["run", *files, "--out", str(tmp_path / "a" / "b")], f"permission denied in {tmp_path}", capsys)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_streams_that_are_closed(closed: str, files: list[str], tmp_path: Path):
    line = shlex.join([*PROGRAM, "run", *files, "--out", str(tmp_path / "out"), "--no-plot"])
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert pl.read_parquet(tmp_path / "out" / "equity.parquet").height == 60


def test_fields_and_layout(files: list[str], tmp_path: Path):
    prices = tmp_path / "p.csv"
    prices.write_text(Path(files[1]).read_text().replace(",close,", ",px,", 1))
    given = ["--prices", str(prices), *files[2:], "--out", str(tmp_path / "out"), "--no-plot", "--layout", "long"]
    assert cli.main(["run", *given, "--fields", "close=px", "--fields", "open"]) == 0
    panel = bt.read_panel(prices, fields={"close": "px", "open": "open"})
    want = bt.run(panel, bt.read_weights(files[3], panel), bt.Config())
    assert pl.read_parquet(tmp_path / "out" / "equity.parquet").equals(want.equity)


@pytest.mark.parametrize("kind", [ZeroDivisionError, RecursionError, type("PanicException", (BaseException,), {})])
def test_a_bug_is_one_line_and_shows_its_traceback_where_asked(
    kind: type[BaseException], files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise kind("a\nb")

    monkeypatch.setattr(api, "run", fail)
    assert cli.main(["run", *files, "--out", str(tmp_path)]) == 70
    line = (
        f"error: a fault of gpu-bt, {kind.__name__}: a b; GPU_BT_TRACEBACK=1 gpu-bt ... shows where: please report it\n"
    )
    assert capsys.readouterr() == ("", line)
    monkeypatch.setenv("GPU_BT_TRACEBACK", "1")
    with pytest.raises(kind):
        cli.main(["run", *files, "--out", str(tmp_path)])


def test_warnings_are_lines_on_stderr(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = ["run", *files, "--out", str(tmp_path), "--no-plot", "--set", "initial_cash=500"]
    for _ in range(2):  # the second time as well
        assert cli.main(given) == 0
        out, err = capsys.readouterr()
        assert err.startswith("warning: the median target is ") and err.count("\n") == 1
        assert "500.00" in out


def test_without_matplotlib(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    assert cli.main(["run", *files, "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == "note: no picture, matplotlib is not installed: pip install matplotlib\n"
    assert "equity.parquet" in out and not list(tmp_path.glob("*.png"))


def test_info_lists_engines_and_fields(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["info"]) == 0
    lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    for name, why in reasons().items():
        assert [name, "yes"] in lines if why is None else [name, "no", why] in lines
    assert cli.main(["info", "--config"]) == 0
    rows = [re.split(r" {2,}", line, maxsplit=3) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == list(bt.Config().to_dict())
    assert words.config(None, [f"{name}={default}" for name, default, _, _ in rows]) == bt.Config()
    assert all(row[2].endswith(", none") == (row[0] in OPTIONAL) for row in rows)
    values = {row[0]: row[2] for row in rows}
    assert values["slippage"] == "fraction, 0 to 1" and values["delist_after"] == "dates, 0 or more"
    meanings = {row[0]: row[3] for row in rows}
    assert meanings["slippage"] == FIELDS["slippage"].meaning and len(meanings["account"]) > 10


def test_version_and_help(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr() == (f"gpu-bt {bt.__version__}\n", "")
    assert cli.main(["--help"]) == 0
    whole = capsys.readouterr()
    assert cli.main([]) == 0 and capsys.readouterr() == whole and "Commands:" in whole.out
    assert cli.main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--prices" in out and "--unknown-assets" in out


def test_demo_as_a_program(tmp_path: Path):
    """Outside the repository, in a pipe: no terminal codes, a picture, and nothing on stderr."""
    done = subprocess.run([*PROGRAM, "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert pl.read_parquet(tmp_path / "out" / "demo" / "equity.parquet").height == 1260
    assert (tmp_path / "out" / "demo" / "report.png").exists()


def test_start_is_light():
    """Help must not wait for NumPy, Polars or Matplotlib."""
    code = "import sys, gpu_bt.cli.commands; print(sorted({'numpy', 'polars', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.skipif(os.name == "nt", reason="pipes close in another way")
@pytest.mark.parametrize("arguments", [["info"], ["--help"], ["info", "--json"]])
def test_a_closed_pipe_is_no_error(arguments: list[str]):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="the system has no pty")
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_in_a_terminal(columns: int, files: list[str], tmp_path: Path):
    """A progress bar that is gone at the end, and a table no wider than the terminal."""
    status, text = in_terminal([*PROGRAM, "run", *files, "--out", str(tmp_path), "--no-plot"], columns)
    assert status == 0
    assert "reading prices" in text and "/60 bars" in text
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    table = [line for line in shown.splitlines() if line.startswith(("│", "╭", "╰"))]
    assert len(table) > 10 and {len(line) for line in table} == {len(table[0])} and len(table[0]) <= columns
    before, after = text.split("╭", 1)
    for part, last in ((before, "simulating"), (after.split("wrote ")[0], "writing")):
        rest = part[part.rindex(last) :]
        assert re.search(r"\r +\r", rest), "the last line of progress was erased before what follows"


@pytest.mark.skipif(os.name == "nt", reason="the system has no pty")
def test_names_stay_whole_in_a_narrow_terminal():
    status, text = in_terminal([*PROGRAM, "info", "--config"], 44)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert status == 0 and "…" not in shown
    assert all(name in shown.split() for name in bt.Config().to_dict())


@pytest.mark.skipif(os.name == "nt", reason="the system has no pty")
@pytest.mark.parametrize("columns", [40, 80, 140])
def test_no_number_is_cut_in_a_terminal(columns: int):
    """Narrower than the table its heads break at "_" first; then it is plain text, which the terminal wraps."""
    head = [
        "scenario",
        "commission_rate",
        "rebalance_every",
        "cash_buffer",
        "max_drawdown",
        "annual_return",
        "turnover",
    ]
    cells = ["1024", "0.0005", "21", "0.0025", "-0.01989", "0.1265", "10.56"]
    code = f"from gpu_bt.cli.common import table; table([{cells}], {head})"
    status, text = in_terminal([sys.executable, "-c", code], columns)
    words = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("│", " ").split()
    assert status == 0 and all(cell in words for cell in cells)
    assert ("commission_rate" in words) == (columns != 80) and ("commission" in words) == (columns == 80)


def in_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Exit status of a command in a terminal of that width, and all that it wrote."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    program = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return program.wait(), b"".join(parts).decode()
