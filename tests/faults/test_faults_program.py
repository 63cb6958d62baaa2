# SPDX-License-Identifier: Apache-2.0
"""The program gpu-bt: what is typed wrongly, files that are none, signals at any moment, panics of libraries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from extent import exhaustive
from faults.kit import HANGS, ROOT, checked, command, fault, faults, one_line, refused, script, survived

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.data.shield import shield

DEEP = "band = " + "[" * 2000 + "]" * 2000
#: Counts imports; at the k-th one the process gets a signal.
HOOK = """
import os, signal, sys
class Finder:
    left = int(os.environ["HOOK_AT"])
    def find_spec(self, name, path=None, target=None):
        Finder.left -= name.startswith(os.environ["HOOK_FROM"]) or Finder.left < int(os.environ["HOOK_AT"])
        if Finder.left == 0:
            Finder.left = -1
            signal.raise_signal(int(os.environ["HOOK_SIGNAL"]))
sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """p.parquet, w.parquet, g.toml, and things that are no files."""
    path = tmp_path_factory.mktemp("program")
    stamps = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-21"))
    prices = {"timestamp": np.repeat(stamps, 2), "asset": ["A", "B"] * 20, "close": 10.0, "open": 10.0}
    pl.DataFrame(prices).write_parquet(path / "p.parquet")
    pl.DataFrame({"timestamp": stamps, "A": 0.3, "B": 0.3}).write_parquet(path / "w.parquet")
    (path / "g.toml").write_text("band = [0, 0.01]\nlot = [0, 1]\n")
    (path / "folder").mkdir()
    os.mkfifo(path / "pipe")
    for name, text in {"deep": DEEP, "digits": "lot = " + "9" * 400, "nul": "\0", "scalar": "config = 5"}.items():
        (path / f"{name}.toml").write_text(text)
    (path / "bytes.toml").write_bytes(b"\xff\xfe\xfa")
    (path / "escape.toml").write_text('"\\u001b[31mx" = 1\n')
    (path / "dates.toml").write_text("lot = 2020-01-01\n")
    (path / "tables.toml").write_text("[" + ".".join("a" * 2000) + "]\nx = 1\n")
    return path


def run(folder: Path, *more: Any) -> list[str]:
    files = ["--prices", folder / "p.parquet", "--weights", folder / "w.parquet"]
    return [str(x) for x in ("run", *files, "--out", folder / "o", "--no-plot", *more)]


def sweep(folder: Path, *more: Any) -> list[str]:
    files = ["--prices", folder / "p.parquet", "--weights", folder / "w.parquet", "--grid", folder / "g.toml"]
    return [str(x) for x in ("sweep", *files, "--no-plot", *more)]


def one_line_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the program says of arguments that it refuses."""
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    one_line(said.removesuffix("\n"))
    assert said.startswith("error: ")
    checked.add("refused")
    return said


TOML = ("deep", "digits", "nul", "scalar", "bytes", "escape", "dates", "tables")
CONFIGS = {name: f"{name}.toml" for name in TOML}
CONFIGS |= {"a folder": "folder", "a pipe": "pipe", "/dev/zero": "/dev/zero", "no UTF-8": "\udcff", "none": "x.toml"}


@faults("settings that are none", "refused", CONFIGS, "--config or --grid of ")
def test_settings(value: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in (run(folder, "--config"), sweep(folder, "--grid")):
        said = one_line_of([*arguments, value if value[:1] == "/" else str(folder / value)], capsys)
        assert "x1b" in said or value != "escape.toml"


SETTINGS = ("x", "=", "lot=", "lot=1e400", "lot=nan", "lot=\x1b[31m", "l\not=1", "\udcff=1", "lot=" + "9" * 5000)


@faults("settings that are none", "refused", {f"--set {i}": text for i, text in enumerate(SETTINGS)})
def test_one_setting(value: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    one_line_of(run(folder, "--set", value), capsys)


FILES = ("folder", "pipe", "", " ", "[", "x" * 5000, "\udcff.parquet", "a\x1b[31m\nb.csv", "/dev/null", "/dev/zero")


@faults("files that are none", "refused", {f"prices and weights {i}": name for i, name in enumerate(FILES)})
def test_files(value: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    path = str(folder / value) if value.strip() and value[0] != "/" else value
    one_line_of(run(folder, "--weights", path), capsys)
    one_line_of(["run", "--prices", path, *run(folder)[3:]], capsys)


WORDS = {
    **{f"--{name} of 400 digits": f"--{name} {10**399}" for name in ("workers", "best", "chunk-size", "max-memory")},
    "--workers 1e11": f"--workers {10**11}",
    "--workers 0": "--workers 0", "--best 0": "--best 0", "--chunk-size 1e30": f"--chunk-size {10**30}",
    "--max-memory 1e30": f"--max-memory {10**30}", "--metric": "--metric x", "--start": "--start x",
    "--engine": "--engine x", "--time-zone": "--time-zone x", "an escape": "\x1b[31m", "no UTF-8": "\udcff",
}  # fmt: skip


@faults("words that mean nothing", "refused", WORDS)
def test_words(value: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    one_line_of(sweep(folder, *value.split(" ")), capsys)


@faults("folders that cannot be made", "refused", {"empty": "", "5,000 letters": "x" * 5000, "no UTF-8": "\udcff"})
def test_folders_are_refused_before_the_run(value: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in (run(folder), sweep(folder)):
        assert "--out is" in one_line_of([*arguments, "--out", value], capsys)


def interrupted(folder: Path, arguments: list[str], at: int, number: int, since: str = "gpu_bt.cli.commands") -> None:
    (folder / "sitecustomize.py").write_text(HOOK, "utf-8")
    paths = os.pathsep.join(map(str, (folder, ROOT)))
    more = {"PYTHONPATH": paths, "HOOK_AT": str(at), "HOOK_SIGNAL": str(number), "HOOK_FROM": since}
    done = subprocess.run(
        [sys.executable, "-m", "gpu_bt.cli", *arguments], cwd=folder, env={**os.environ, **more}, capture_output=True,
        text=True, timeout=HANGS, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert done.returncode == 128 + number, (at, done.returncode, done.stderr)
    assert said in ([], ["interrupted: wrote nothing"]), (at, done.stderr)
    checked.add("survived")


MOMENTS = {"at the first import": 1, "while typer is imported": 20, "while NumPy is": 250, "while Polars is": 400}


@faults("signals while the program starts", "survived", MOMENTS, "Ctrl-C ")
def test_ctrl_c(value: int, folder: Path):
    interrupted(folder, run(folder), value, signal.SIGINT)


@faults("signals while the program starts", "survived", {"early": 2, "late": 300}, "SIGTERM ")
def test_sigterm(value: int, folder: Path):
    interrupted(folder, sweep(folder), value, signal.SIGTERM)


LOST = """
import os, sys, time
from gpu_bt.cli import commands
class Last:
    def __del__(self):
        os.kill(os.getpid(), 2)
        sum(range(1000))
@commands.app.command()
def late():
    last = Last()
    del last
    time.sleep(float(os.environ["SECONDS"]))
sys.argv[1:] = ["late"]
sys.exit(commands.main())
"""


@faults("signals while the program starts", "survived", {"goes on": "30", "ends": "0"}, "Ctrl-C in a destructor that ")
def test_ctrl_c_in_a_destructor(value: str, tmp_path: Path):
    done = script(LOST, folder=tmp_path, SECONDS=value)
    survived((done.returncode, done.stdout), (130, ""))
    assert done.stderr in ("", "interrupted: wrote nothing\n")


@exhaustive
@fault("signals while the program starts", "either signal at any of 120 imports of run", "survived")
def test_any_moment(folder: Path):
    for at in range(1, 600, 5):
        interrupted(folder, run(folder), at, (signal.SIGINT, signal.SIGTERM)[at % 2])


@faults("panics of libraries", "refused", {"Arrow IPC": "arrow", "Parquet": "parquet"}, "of Polars over damaged ")
def test_panics_are_not_printed(value: str, folder: Path, capfd: pytest.CaptureFixture[str]):
    """Every 16th length that a file may be cut to, and bytes that are another, refused or read without a word."""
    table, path = pl.read_parquet(folder / "p.parquet"), folder / f"damaged.{value}"
    table.write_ipc(path, compression="zstd") if value == "arrow" else table.write_parquet(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 16):
        for damaged in (whole[:at], whole[:at] + b"\xff" * 8 + whole[at + 8 :]):
            path.write_bytes(damaged)
            try:
                bt.read_panel(path)
            except bt.PanelError as error:
                one_line(str(error))
    assert capfd.readouterr().err == ""
    with refused("damaged"):
        path.write_bytes(whole[:-9])
        bt.read_panel(path)


def test_what_is_no_panic_is_shown(capfd: pytest.CaptureFixture[str]):
    with shield("a table", quiet=True):
        os.write(2, b"a word\n")
    with shield("a table", quiet=True):
        os.write(2, b"\nthread 'x' panicked at y\n")
    assert capfd.readouterr().err == "a word\n"


@fault("terminals", "one column, ASCII alone, no colours, dumb", "survived")
def test_a_terminal_that_can_little(folder: Path):
    command(run(folder), folder, status=0, PYTHONIOENCODING="ascii", LC_ALL="C", COLUMNS="1", TERM="dumb")
    checked.add("survived")
