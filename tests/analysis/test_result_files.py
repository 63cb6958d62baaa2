# SPDX-License-Identifier: Apache-2.0
"""What a Result writes: whole files or none, and a config that reads back."""

from __future__ import annotations

import json
import math
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_result import STAMPS, Replay, changed, make, make_raw, one_line

from gpu_bt.analysis import result as result_module
from gpu_bt.analysis.result import read_config, write_beside, write_together
from gpu_bt.config import Config
from gpu_bt.errors import ConfigError, ResultError


def test_write_round_trip(tmp_path: Path):
    result = make()
    paths = result.write(tmp_path / "new" / "out")
    assert [path.name for path in paths] == ["equity.parquet", "fills.parquet", "config.toml", "metrics.json"]
    assert {path.name for path in paths} == set(os.listdir(tmp_path / "new" / "out"))
    assert pl.read_parquet(paths[0]).equals(result.equity) and pl.read_parquet(paths[1]).equals(result.fills)
    tables = tomllib.loads(paths[2].read_text("utf-8"))
    assert Config.from_dict(tables["config"]) == result.config == read_config(paths[2])
    run = tables["run"]
    assert run["engine"] == "numpy" and run["statuses"] == {} and run["notes"] == {"moved": "3"}
    assert run["versions"]["numpy"] == np.__version__ and run["versions"]["polars"] == pl.__version__
    assert json.loads(paths[3].read_text("utf-8")) == result.metrics


def test_write_gives_the_same_bytes_twice(tmp_path: Path):
    first = [path.read_bytes() for path in make().write(tmp_path, csv=True)]
    assert [path.read_bytes() for path in make().write(tmp_path, csv=True)] == first


def test_write_csv(tmp_path: Path):
    paths = make(make_raw(end=2)).write(tmp_path, csv=True)
    assert {"equity.csv", "fills.csv"} < {path.name for path in paths} == set(os.listdir(tmp_path))
    table = pl.read_csv(tmp_path / "equity.csv", try_parse_dates=True)
    assert table["equity"].to_list()[:2] == [1024.0, 1021.0] and math.isnan(table["equity"][3])
    assert table["timestamp"].to_list() == STAMPS.tolist() and table["fills"].to_list() == [0, 1, None, None]


def test_metrics_file_is_strict_json(tmp_path: Path):
    config, path = make(make_raw(end=0, LEDGER_OVERFLOW=0)).write(tmp_path)[2:]
    read = json.loads(path.read_text("utf-8"), parse_constant=lambda text: pytest.fail(text))
    run = tomllib.loads(config.read_text("utf-8"))["run"]
    assert run["statuses"] == {"LEDGER_OVERFLOW": "2020-01-02"}
    assert read["sharpe"] is None and read["status"] == "LEDGER_OVERFLOW"


@pytest.mark.parametrize(
    "config",
    [
        Config(initial_cash=1e15, money_tick=2.0**-20, commission_rate=0.1 + 0.2, lot=1e-8),
        Config(account="margin", max_leverage=None, maintenance_margin=None),
        Config(participation=0.1, max_weight=0.05, max_drawdown=None, bars_per_year=252.0, rebalance="month"),
    ],
)
def test_config_file_round_trip(config: Config, tmp_path: Path):
    path = make(config=config).write(tmp_path)[2]
    assert read_config(path) == config


def test_read_config_of_a_plain_file(tmp_path: Path):
    path = tmp_path / "c.toml"
    path.write_text('lot = 0\nmax_leverage = "none"\n')
    assert read_config(path) == Config(lot=0.0, max_leverage=None)
    path.write_text("lot = 0\nband = 0.1\n[config]\nband = 0.2\n[run]\nx = 1\n")
    assert read_config(path) == Config(lot=0.0, band=0.2)
    refused = {
        "lot = ": "cannot be read",
        "slipage = 0.1": "did you mean 'slippage'",
        "config = 1": "'config' is not a field",
        "[other]\nlot = 0": r"c.toml has the table \[other\]: put fields into \[config\]",
        "[config]\nlot = 0\n[costs]\nslippage = 0.1": r"has the table \[costs\]",
        "[config.costs]\nslippage = 0.1": "'costs' is not a field",
    }
    for text, message in refused.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=message) as error:
            read_config(path)
        one_line(error)
    path.write_bytes(b"\xef\xbb\xbflot = 0\n")  # a byte order mark
    assert read_config(path) == Config(lot=0.0)
    with pytest.raises(ConfigError, match=r"missing.toml cannot be read"):
        read_config(tmp_path / "missing.toml")


def test_changed_weights_write_nothing(tmp_path: Path):
    result = make(make_raw(recorded=""), replay=Replay(**changed("money", (0, 0, 0), 1.0)))
    with pytest.raises(ResultError, match="weights or panel have changed"):
        result.write(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (os, "replace", OSError(28, "No space left on device")),
        (Path, "write_text", OSError(28, "No space left on device")),
        (pl.DataFrame, "write_csv", PermissionError(13, "Permission denied")),
        (pl.DataFrame, "write_parquet", pl.exceptions.ComputeError("parquet: No space left on device\nmore")),
    ],
)
def test_full_disk_leaves_the_old_files(
    owner: object, name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = {path.name: path.read_bytes() for path in make().write(tmp_path, csv=True)}
    original = getattr(owner, name)

    def full(*args: object, **kwargs: object) -> None:
        if name != "replace":  # a part is written before the disk is full
            Path(args[owner is not Path]).write_bytes(b"part")
        raise error

    way_out = "permission denied; choose" if isinstance(error, PermissionError) else ".*; make room or choose"
    with monkeypatch.context() as patch, pytest.raises(ResultError, match=f"was not written: {way_out}") as raised:
        patch.setattr(owner, name, full)
        make(make_raw(end=2)).write(tmp_path, csv=True)
    assert getattr(owner, name) is original
    one_line(raised)
    assert {path: (tmp_path / path).read_bytes() for path in os.listdir(tmp_path)} == old


def pair(folder: Path, write: Callable[[Path], object] = lambda path: path.write_text("new")) -> None:
    """Write a, b and c, by `write` the last one."""
    jobs = dict.fromkeys((folder / "a", folder / "b"), lambda path: path.write_text("new"))
    write_together({**jobs, folder / "c": write})


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["failure", "interrupt"])
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_rename_that_fails_takes_the_others_back(
    at: int, links: bool, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").write_text("old c")
    replace, calls = os.replace, []

    def fail(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == at:
            raise error
        replace(source, target)

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", fail)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ResultError):
        pair(tmp_path)
    assert len(calls) >= at and texts(tmp_path) == {"a": "old a", "c": "old c"}


def test_a_part_of_a_copy_is_not_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def cut(source: Path, target: Path) -> None:
        target.write_text("ol")
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(1, "no links")))
    monkeypatch.setattr(shutil, "copy2", cut)
    with pytest.raises(ResultError, match="make room"):
        pair(tmp_path)
    assert texts(tmp_path) == {"a": "old"}


def test_a_second_interrupt_in_the_cleanup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(path: Path) -> None:
        path.write_text("part")
        raise KeyboardInterrupt

    tidy, calls = result_module._tidy, []

    def interrupted_once(*args: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        tidy(*args)

    monkeypatch.setattr(result_module, "_tidy", interrupted_once)
    (tmp_path / "b").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        pair(tmp_path, write)
    assert len(calls) == 2 and texts(tmp_path) == {"b": "old"}


def test_a_target_that_is_a_folder(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old")
    with pytest.raises(ResultError, match=r"b was not written: Is a directory; choose another folder") as error:
        pair(tmp_path)
    one_line(error)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"] and (tmp_path / "a").read_text() == "old"


def test_the_temporary_name_is_not_printed(tmp_path: Path):
    def write(path: Path) -> None:
        path.parent.rmdir()
        make().equity.write_parquet(path)

    with pytest.raises(ResultError) as error:
        write_beside(tmp_path / "gone" / "x.parquet", write)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'gone' / 'x.parquet'} was not written: No such file") and ".tmp" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("name", ["write_parquet", "write_csv"])
def test_a_device_that_is_full(name: str, tmp_path: Path):
    def write(path: Path) -> None:
        path.symlink_to("/dev/full")
        getattr(make().equity, name)(path)

    with pytest.raises(ResultError, match=r"x.table was not written: .*make room") as error:
        write_beside(tmp_path / "x.table", write)
    one_line(error)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ResultError, match=r"equity.parquet was not written") as error:
        make().write(tmp_path / "out")
    one_line(error)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path):
    def write(path: Path) -> None:
        path.write_text("part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_beside(tmp_path / "x", write)
    assert os.listdir(tmp_path) == []
