# SPDX-License-Identifier: Apache-2.0
"""What a Result writes: whole files or none, and a config that reads back."""

from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_result import STAMPS, Replay, changed, make, make_raw, one_line

from gpu_bt.config import Config
from gpu_bt.data.settings import read_config
from gpu_bt.errors import ResultError

#: Those of a run that recorded its positions, and whose panel is not at hand.
TABLES = ("equity", "fills", "cuts", "assets", "orders_next", "positions")


def test_write_round_trip(tmp_path: Path):
    result = make()
    paths = result.write(tmp_path / "new" / "out")
    assert [path.name for path in paths] == [*(f"{name}.parquet" for name in TABLES), "config.toml", "metrics.json"]
    assert {path.name for path in paths} == set(os.listdir(tmp_path / "new" / "out"))
    assert pl.read_parquet(paths[0]).equals(result.equity) and pl.read_parquet(paths[1]).equals(result.fills)
    tables = tomllib.loads(paths[-2].read_text("utf-8"))
    assert Config.from_dict(tables["config"]) == result.config == read_config(paths[-2])
    run = tables["run"]
    assert run["engine"] == "numpy" and run["statuses"] == {} and run["notes"] == {"moved": 3}
    assert run["versions"]["numpy"] == np.__version__ and run["versions"]["polars"] == pl.__version__
    assert json.loads(paths[-1].read_text("utf-8")) == result.metrics


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
    config, path = make(make_raw(end=0, LEDGER_OVERFLOW=0)).write(tmp_path)[-2:]
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
    path = make(config=config).write(tmp_path)[-2]
    assert read_config(path) == config


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
        if owner is Path:  # a part is written before the disk is full
            args[0].write_bytes(b"part")
        elif owner is pl.DataFrame:
            args[1].write(b"part")
        raise error

    way_out = "permission denied; choose" if isinstance(error, PermissionError) else ".*; make room or choose"
    with monkeypatch.context() as patch, pytest.raises(ResultError, match=f"was not written: {way_out}") as raised:
        patch.setattr(owner, name, full)
        make(make_raw(end=2)).write(tmp_path, csv=True)
    assert getattr(owner, name) is original
    one_line(raised)
    assert {path: (tmp_path / path).read_bytes() for path in os.listdir(tmp_path)} == old


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ResultError, match=r"equity.parquet was not written") as error:
        make().write(tmp_path / "out")
    one_line(error)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("at", range(1, 19))
def test_an_older_result_is_whole_after_any_rename_that_fails(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ten files step aside, two of them for good, and eight take their places."""
    old = {path.name: path.read_bytes() for path in make().write(tmp_path, csv=True)}
    replace, calls = os.replace, []

    def fail(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == at:
            raise OSError(5, "Input/output error")
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(ResultError, match="was not written: Input/output") as raised:
        patch.setattr(os, "replace", fail)
        make(make_raw(end=2)).write(tmp_path)
    one_line(raised)
    assert {path: (tmp_path / path).read_bytes() for path in os.listdir(tmp_path)} == old
    make(make_raw(end=2)).write(tmp_path)
    assert set(os.listdir(tmp_path)) == {*(f"{name}.parquet" for name in TABLES), "config.toml", "metrics.json"}
