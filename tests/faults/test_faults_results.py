# SPDX-License-Identifier: Apache-2.0
"""What happens to a result's folder: kills between any two steps, full disks, names and types that cannot be paths."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from extent import exhaustive
from faults.kit import ROOT, checked, command, fault, faults, one_line, refused, survived
from waits import HANGS

import gpu_bt as bt
from gpu_bt.data import disk, forks

KIND = "results on a disk"
TABLES = ["assets", "cuts", "equity", "fills", "orders_next"]
NAMES = sorted(["config.toml", *(f"{name}.parquet" for name in TABLES), "metrics.json"])


def panel() -> bt.Panel:
    close = 100 + np.arange(24.0).reshape(12, 2) % 5
    return bt.Panel(
        close=close, open=close, timestamps=np.busday_offset("2024-01-02", np.arange(12)), assets=["A", "B"]
    )


@cache
def result(cash: float = 1e6) -> bt.Result:
    return bt.run(panel(), np.full((12, 2), 0.4), bt.Config(initial_cash=cash))


def whole(folder: Path, csv: bool = False) -> float | None:
    """The initial cash that all files of a folder agree in; None where the mark is missing, so that the folder shows
    that it is unfinished. Never may two files disagree."""
    found = {}
    if (path := folder / "equity.parquet").exists():
        found["equity"] = pl.read_parquet(path)["equity"][-1]
    if (path := folder / "equity.csv").exists():
        found["csv"] = pl.read_csv(path)["equity"][-1]
    if (path := folder / "metrics.json").exists():
        found["metrics"] = json.loads(path.read_text())["final_equity"]
    assert len(set(found.values())) <= 1, f"files of two results side by side: {found}"
    cash = {bt.read_config(path).initial_cash} if (path := folder / "config.toml").exists() else set()
    fills = {pl.read_parquet(path)["shares"].abs().max()} if (path := folder / "fills.parquet").exists() else set()
    if "metrics" not in found:
        return None
    assert {"equity", "metrics"} <= set(found) and len(cash) == 1 and len(fills) == 1
    money = cash.pop()
    expected = result(money)
    assert found["metrics"] == expected.metrics["final_equity"] and fills == {expected.fills["shares"].abs().max()}
    assert ("csv" in found) == csv or csv is None
    return money


def steps(out: Path, prepare: Callable[[], Any], check: Callable[[], Any]) -> int:
    """Write a result in a process that kills itself at its n-th call that changes the disk, for each n until it ends by
    itself; the number of calls. Polars does not live through a fork, so that its part is played."""
    new = result(2e6)
    tables = [new._ends, *(getattr(new, name) for name in TABLES[1:])]
    content = {id(table): io.BytesIO() for table in tables}
    for table in tables:
        table.write_parquet(content[id(table)])
    for n in range(1, 400):
        prepare()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            forks._threads["lost"] = False  # what needs Polars is ready
            calls = itertools.count(1)

            def counted(call: Callable[..., Any], calls: Iterator[int] = calls, n: int = n) -> Callable[..., Any]:
                def wrapped(*arguments: Any, **options: Any) -> Any:
                    if next(calls) == n:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*arguments, **options)

                return wrapped

            pl.DataFrame.write_parquet = lambda self, file: file.write(content[id(self)].getvalue())  # type: ignore
            for name in ("replace", "unlink", "fsync", "mkdir"):
                setattr(os, name, counted(getattr(os, name)))
            try:
                new.write(out)
            finally:
                os._exit(0 if (out / "metrics.json").exists() else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        check()
        if status == 0:
            return n
        assert status == -signal.SIGKILL
    raise AssertionError("it does not end")


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """A folder to work in; the results are made before the process forks."""
    for cash in (1e6, 2e6):
        assert result(cash).fills.height and result(cash).equity.height and result(cash).metrics
        assert result(cash).cuts.width and result(cash).orders_next.width
    yield tmp_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("csv", [True, pytest.param(False, marks=exhaustive)])
@fault(KIND, "kill -9 between any two steps of writing over an older result", "survived")
def test_killed_over_an_older_result(killed: Path, csv: bool):
    out = killed / "out"
    seen = set()

    def prepare() -> None:
        assert whole(out, csv=False) in (None, 1e6, 2e6) if out.exists() and not (out / "equity.csv").exists() else True
        result(1e6).write(out, csv=csv)  # it repairs what the last kill has left
        assert whole(out, csv=csv) == 1e6
        assert sorted(os.listdir(out)) == sorted([*NAMES, "notes.txt", *["equity.csv", "fills.csv"] * csv])

    def check() -> None:
        mark = (out / "metrics.json").exists()
        old = mark and whole(out, csv=None) == 1e6
        seen.add(whole(out, csv=csv and old))
        assert (out / "notes.txt").read_text() == "mine"

    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert steps(out, prepare, check) > 12
    survived(seen, {None, 1e6, 2e6})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@fault(KIND, "kill -9 between any two steps of writing into a new folder", "survived")
def test_killed_in_a_new_folder(killed: Path):
    out = killed / "out"
    seen = set()

    def prepare() -> None:
        for path in out.iterdir() if out.exists() else ():
            path.unlink()
        if out.exists():
            out.rmdir()

    def check() -> None:
        seen.add(whole(out))
        result(1e6).write(out)
        assert sorted(os.listdir(out)) == NAMES and whole(out) == 1e6

    assert steps(out, prepare, check) > 8
    survived(seen, {None, 2e6})


@fault(KIND, "an older run's CSV files beside a new run's Parquet", "survived")
def test_older_csv_goes(tmp_path: Path):
    result(1e6).write(tmp_path, csv=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "picture.png").write_text("mine")
    result(2e6).write(tmp_path)
    survived(sorted(os.listdir(tmp_path)), sorted([*NAMES, "notes.txt", "picture.png"]))


@fault(KIND, "a run's result in the folder of a sweep's", "survived")
def test_a_sweeps_table_goes(tmp_path: Path):
    grid = bt.sweep(panel(), np.full((12, 2), 0.4), bt.Config(), {"band": [0, 0.1]})
    grid.write(tmp_path)
    result().write(tmp_path)
    survived(sorted(os.listdir(tmp_path)), NAMES)
    grid.write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["bars.parquet", "config.toml", "table.parquet"]


@fault(KIND, "a user's own files with a result's names in a folder without one", "survived")
def test_own_files_stay(tmp_path: Path):
    (tmp_path / "equity.csv").write_text("mine")
    result().write(tmp_path)
    survived((tmp_path / "equity.csv").read_text(), "mine")


@fault(KIND, "two processes that write into one folder at once", "survived")
def test_two_at_once(tmp_path: Path):
    text = (
        "import sys; from faults.test_faults_results import result\n"
        "for _ in range(6): result(float(sys.argv[1])).write(sys.argv[2], csv=True)"
    )
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", text, str(cash), str(tmp_path / "out")], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for cash in (1e6, 2e6)
    ]  # fmt: skip
    for writer in writers:
        assert writer.wait(HANGS) == 0, writer.stderr.read()[-2000:] if writer.stderr else ""
        if writer.stderr:
            writer.stderr.close()
    survived(whole(tmp_path / "out", csv=True) in (1e6, 2e6), True)
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*NAMES, "equity.csv", "fills.csv"])


@fault(KIND, "a process that never ends its writing", "refused")
def test_a_folder_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fcntl = pytest.importorskip("fcntl")
    result(1e6).write(tmp_path)
    monkeypatch.setattr(disk, "_PATIENCE", 0.05)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with refused("another process is writing there", bt.ResultError):
        result(2e6).write(tmp_path)
    os.close(handle)
    assert whole(tmp_path) == 1e6


@faults(
    KIND, "refused",
    {
        "bytes": b"out", "a number": 3, "None": None, "a list": ["out"], "an object": object(), "empty text": "",
        "blanks": "  ", "NUL in it": "a\0b", "a name of 300 letters": "x" * 300, "a path of 5,000 letters": "x/" * 2500,
    }, "written to a folder given as: ",
)  # fmt: skip
def test_what_is_no_folder(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with refused("must be a path|is empty|choose a shorter"):
        result().write(value)
    if value is not None:  # which gives the figure
        with refused("must be a path|is empty|choose a shorter"):
            result().plot(value)
    assert os.listdir(tmp_path) == []


def blocked(folder: Path, name: str) -> None:
    (folder / name).mkdir()


@faults(KIND, "refused", {name: name for name in NAMES}, "a folder in the place of ")
def test_a_folder_in_the_place_of_a_file(value: str, tmp_path: Path):
    result().write(tmp_path)
    (tmp_path / value).unlink()
    blocked(tmp_path, value)
    before = {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    with refused("Is a directory", bt.ResultError):
        result(2e6).write(tmp_path)
    assert {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


@fault(KIND, "a link that leads nowhere in the place of the folder", "refused")
def test_a_dangling_link(tmp_path: Path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with refused("File exists", bt.ResultError):
        result().write(tmp_path / "out")


@fault(KIND, "links in the place of the folder and of a file", "survived")
def test_links(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "real" / "equity.parquet").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    result().write(tmp_path / "out")
    assert whole(tmp_path / "real") == 1e6 and (tmp_path / "out").is_symlink()
    survived((tmp_path / "elsewhere").read_text(), "mine")


@fault(KIND, "a folder's name that is no UTF-8", "refused")
def test_a_name_that_is_no_utf8(tmp_path: Path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/o\xff"))
    with refused("folder is "):
        result().write(folder, csv=True)
    with refused("path is "):
        result().plot(folder / "a.png")
    assert not os.path.lexists(folder)


@faults(KIND, "refused", {"a result": 2000, "a picture": 20_000}, "a disk that is full in the middle of ")
def test_a_bound_on_the_size_of_files(value: int, tmp_path: Path):
    resource = pytest.importorskip("resource")
    picture = value > 10_000
    result().write(tmp_path)
    result().plot(tmp_path / "report.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (value, hard))
        with refused("make room", bt.ResultError):
            result(2e6).plot(tmp_path / "report.png") if picture else result(2e6).write(tmp_path, csv=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@faults(
    KIND, "refused", {"an unknown ending": "x.xyz", "an ending of blanks": "x. ", "a folder": "."}, "a picture with: "
)
def test_pictures_that_cannot_be(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with refused("unknown format|Is a directory|was not written"):
        result().plot(value)
    assert os.listdir(tmp_path) == []


@faults(KIND, "survived", {kind: kind for kind in ("jpg", "PNG", "pdf", "svg", "webp")}, "a picture as ")
def test_pictures_of_other_formats(value: str, tmp_path: Path):
    path = result().plot(tmp_path / "new" / f"x.{value}")
    survived(path.stat().st_size > 1000 and os.listdir(tmp_path / "new"), [f"x.{value}"])


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `run` needs, but prices that do not exist: an --out that is refused is refused before these are read."""
    monkeypatch.chdir(tmp_path)
    return ["run", "--prices", "missing.csv", "--weights", "missing.csv", "--out"]


@faults(
    KIND, "refused",
    {
        "a file": "file", "below a file": "file/below/more", "a link to nowhere": "link",
        "a file's place taken": "taken",
        "the picture's place taken": "drawn", "a name too long": "x" * 300, "empty": "", "a device": "/dev/null",
        "a folder of the system": "/proc/self/out", "a link to itself": "loop/x",
    }, "before the run, --out is: ",
)  # fmt: skip
def test_out_is_tried_first(value: str, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from gpu_bt.cli.commands import main

    Path("file").write_text("")
    Path("link").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("taken/fills.parquet").mkdir(parents=True)
    Path("drawn/report.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for arguments in ([*given, value], ["demo", "--out", value]):
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip()
        one_line(error)
        assert error.startswith("error: --out ") and "missing.csv" not in error, error
        checked.add("refused")
    assert sorted(tmp_path.rglob("*")) == before


@fault(KIND, "before a sweep, --out has the picture's place taken", "refused")
def test_out_of_a_sweep_is_tried_first(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from gpu_bt.cli.commands import main

    Path("out/sweep.png").mkdir(parents=True)
    Path("g.toml").write_text("band = [0, 0.1]")
    assert main(["sweep", *given[1:], "out", "--grid", "g.toml"]) == 2
    error = capsys.readouterr().err.strip()
    one_line(error)
    assert "out/sweep.png" in error
    checked.add("refused")


@fault(KIND, "a rerun that draws no picture and writes no CSV", "survived")
def test_the_older_picture_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from gpu_bt.cli.commands import main

    pl.DataFrame({"timestamp": ["2024-01-02", "2024-01-03"], "A": [1.0, 2.0]}).write_csv(tmp_path / "p.csv")
    pl.DataFrame({"timestamp": ["2024-01-02"], "A": [0.5]}).write_csv(tmp_path / "w.csv")
    files = ["run", "--prices", f"{tmp_path}/p.csv", "--weights", f"{tmp_path}/w.csv", "--out", f"{tmp_path}/out"]
    files += ["--set", "execution=next_close"]
    assert main([*files, "--csv"]) == 0
    assert {"report.png", "equity.csv", "fills.csv"} < set(os.listdir(tmp_path / "out"))
    capsys.readouterr()
    assert main([*files, "--no-plot"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("removed")]
    assert [Path(line.split()[1].rstrip(",")).name for line in said] == ["equity.csv", "fills.csv", "report.png"]
    survived(sorted(os.listdir(tmp_path / "out")), NAMES)


@fault(KIND, "a window system that does not exist (MPLBACKEND=nonsense)", "survived")
def test_no_window_system_is_needed(tmp_path: Path):
    pl.DataFrame({"timestamp": ["2024-01-02", "2024-01-03"], "A": [1.0, 2.0]}).write_csv(tmp_path / "p.csv")
    pl.DataFrame({"timestamp": ["2024-01-02"], "A": [0.5]}).write_csv(tmp_path / "w.csv")
    files = ["run", "--prices", "p.csv", "--weights", "w.csv", "--out", "out", "--set", "execution=next_close"]
    command(files, tmp_path, status=0, MPLBACKEND="nonsense")
    survived((tmp_path / "out" / "report.png").read_bytes()[:4], b"\x89PNG")


@faults(
    KIND,
    "refused",
    {"elsewhere": ["../notes"], "a number": [3], "a folder": ["sub/x"]},
    "an older result's file named ",
)
def test_stale_names(value: Any, tmp_path: Path):
    (tmp_path / "notes").write_text("mine")
    with refused("names of files in the folder", bt.ConfigError):
        result().write(tmp_path / "out", stale=value)
    assert (tmp_path / "notes").exists() and not (tmp_path / "out").exists()


@fault(KIND, "a picture that needs LaTeX where there is none", "refused")
def test_a_picture_that_needs_latex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.figure import Figure

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("latex could not be found\nmore")

    (tmp_path / "x.pgf").write_text("old")
    monkeypatch.setattr(Figure, "savefig", fail)
    with refused("was not drawn: latex could not be found; take png", bt.ResultError):
        result().plot(tmp_path / "x.pgf")
    survived((tmp_path / "x.pgf").read_text(), "old")
    assert os.listdir(tmp_path) == ["x.pgf"]
