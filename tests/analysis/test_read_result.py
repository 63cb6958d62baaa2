# SPDX-License-Identifier: Apache-2.0
"""read_result(): what write() wrote, as a Result again; and every way in which a folder is none."""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from build import panel_of
from compare import assert_bits
from draw import scenario
from extent import seeds
from test_orders_next import Orders, market

import gpu_bt as bt
from gpu_bt.analysis import files

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
TABLES = ("equity", "fills", "cuts", "final_positions", "orders_next")


def same(found: bt.Result, wanted: bt.Result, positions: bool = True) -> None:
    """Everything that a person can ask a Result without a panel."""
    for name in TABLES:
        assert getattr(found, name).equals(getattr(wanted, name), null_equal=True), name
        assert getattr(found, name).schema == getattr(wanted, name).schema, name
    if positions:
        assert_bits("positions", found.positions, wanted.positions)
        assert_bits("weights", found.weights, wanted.weights)
    assert_bits(
        "metrics", [*map(float, list(found.metrics.values())[:-1])], [*map(float, list(wanted.metrics.values())[:-1])]
    )
    assert found.metrics.keys() == wanted.metrics.keys() and found.status == wanted.status
    for name in ("config", "assets", "engine", "advice", "statuses", "start", "opening", "time_zone", "decisions"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.timestamps.equals(wanted.timestamps) and found.returns().equals(wanted.returns())
    told = [line for line in wanted.summary().splitlines() if not line.startswith("engine")]
    assert [line for line in found.summary().splitlines() if not line.startswith("engine")] == told
    assert_bits("holdings", found.array("holdings"), wanted.array("holdings"))


@pytest.mark.parametrize("seed", seeds(range(150)))
def test_drawn_runs_come_back(seed: int, tmp_path: Path):
    drawn, weights, config = scenario(seed)
    wanted = bt.run(panel_of(drawn, config), weights, config, engine="cpu", record=("fills", "positions"))
    wanted.write(tmp_path)
    found = bt.read_result(tmp_path)
    same(found, wanted)
    again = pickle.loads(pickle.dumps(found))
    same(again, wanted)
    found.write(tmp_path / "second")
    for name in ("metrics.json", "config.toml", *(f"{name}.parquet" for name in ("equity", "fills", "cuts", "assets"))):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_strategies_holdings_zones_and_resumed_runs_come_back(tmp_path: Path):
    flat = {name: np.full((8, 2), 100.0) for name in ("high", "low")}
    strategy = bt.run(market(**flat), Orders(limit=90.0), engine="cpu")
    held = bt.run(market(time_zone="Asia/Tokyo"), np.full((8, 2), 0.2), holdings={"B": 30}, start="2024-01-04")
    first = bt.run(market(), np.full((8, 2), 0.4), bt.Config(signal_lag=1), engine="cpu")
    first.checkpoint(tmp_path / "state")
    later = bt.Panel(
        close=[[100.0, 50.0]] * 2, open=[[100.0, 90.0]] * 2, timestamps=["2024-01-09", "2024-01-10"], assets=["A", "B"]
    )
    resumed = bt.run(later, np.full((2, 2), 0.4), bt.Config(signal_lag=1), resume=tmp_path / "state", engine="cpu")
    for k, wanted in enumerate((strategy, held, resumed)):
        wanted.write(tmp_path / str(k), positions=True)
        same(bt.read_result(tmp_path / str(k)), wanted)


def test_without_positions(tmp_path: Path):
    wanted = bt.run(market(), np.full((8, 2), 0.4), engine="cpu")
    assert not {"positions.parquet", "weights.parquet"} & {path.name for path in wanted.write(tmp_path)}
    found = bt.read_result(tmp_path)
    same(found, wanted, positions=False)
    for name, text in {"positions": "positions were not recorded", "weights": "weights need the marks"}.items():
        with pytest.raises(bt.ResultError, match=text):
            getattr(found, name)
    with pytest.raises(bt.ResultError, match="no state to save"):
        found.checkpoint(tmp_path / "x")
    written = {path.name for path in wanted.write(tmp_path, positions=True)}
    assert {"positions.parquet", "weights.parquet"} < written
    same(bt.read_result(tmp_path), wanted)
    assert "positions.parquet" not in {path.name for path in wanted.write(tmp_path, positions=False)}
    assert not (tmp_path / "positions.parquet").exists()  # the older result is gone


def test_a_picture_of_what_was_read(tmp_path: Path):
    bt.run(market(), np.full((8, 2), 0.4), engine="cpu").write(tmp_path)
    assert bt.read_result(str(tmp_path)).plot(tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "read from files" in str(bt.read_result(tmp_path))
        and "read from files" in bt.read_result(tmp_path)._repr_html_()
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    bt.run(market(), np.full((8, 2), 0.4), engine="cpu").write(tmp_path / "out", positions=True)
    return tmp_path / "out"


def edited(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], Any]:
    """A Parquet file with some of it changed."""
    return lambda folder: change(pl.read_parquet(folder / name)).write_parquet(folder / name)


def retold(name: str, old: str, new: str) -> Callable[[Path], Any]:
    """A file of text with some of it changed."""
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def cut_off(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-30])


FILES = [f"{name}.parquet" for name in ("equity", "fills", "cuts", "assets", "orders_next", "positions", "weights")]
TEXTS = ["config.toml", "metrics.json"]
DAMAGE = {
    **{f"{name} is cut off": cut_off(name) for name in FILES},
    **{f"{name} is text": (lambda folder, name=name: (folder / name).write_text("x")) for name in (*FILES, *TEXTS)},
    **{f"{name} is gone": (lambda folder, name=name: (folder / name).unlink()) for name in (*FILES[:5], TEXTS[0])},
    "metrics.json of another run": retold("metrics.json", '"final_equity": ', '"final_equity": 5'),
    "metrics.json is a list": lambda folder: (folder / "metrics.json").write_text("[]"),
    "fills.parquet of another run": edited("fills.parquet", lambda t: t.head(1)),
    "fills.parquet of other assets": edited("fills.parquet", lambda t: t.with_columns(asset=pl.lit("Z"))),
    "fills.parquet at no bar": edited("fills.parquet", lambda t: t.with_columns(t["timestamp"].dt.offset_by("1h"))),
    "a foreign equity.parquet": lambda folder: pl.DataFrame({"a": [1]}).write_parquet(folder / "equity.parquet"),
    "an empty equity.parquet": edited("equity.parquet", lambda t: t.head(0)),
    "equity.parquet of texts": edited("equity.parquet", lambda t: t.with_columns(pl.col("equity").cast(str) + "x")),
    "fewer bars in positions.parquet": edited("positions.parquet", lambda t: t.head(3)),
    "positions.parquet of other assets": edited("positions.parquet", lambda t: t.rename({"A": "Z"})),
    "weights.parquet with its columns in another order": edited("weights.parquet", lambda t: t.select(t.columns[::-1])),
    "positions.parquet at other times": edited(
        "positions.parquet", lambda t: t.with_columns(t["timestamp"].dt.offset_by("1h"))
    ),
    "orders_next.parquet without limits": edited("orders_next.parquet", lambda t: t.drop("limit")),
    "times that are texts in cuts.parquet": edited("cuts.parquet", lambda t: t.with_columns(timestamp=pl.lit("x"))),
    "equity.parquet backwards": edited("equity.parquet", lambda t: t.reverse()),
    "an unknown status in fills.parquet": edited("fills.parquet", lambda t: t.with_columns(status=pl.lit("?"))),
    "no [run] in config.toml": lambda folder: (folder / "config.toml").write_text("[config]\nlot = 1.0\n"),
    "a field that is none in config.toml": retold("config.toml", "lot =", "lots ="),
    "no opening in config.toml": retold("config.toml", "opening =", "x ="),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_folder_is_one_line_that_names_the_file(what: str, out: Path):
    DAMAGE[what](out)
    with pytest.raises(bt.ResultError, match="cannot be read") as error:
        bt.read_result(out)
    text = str(error.value)
    assert "\n" not in text and str(out) in text and "write the result again" in text
    assert next(word for word in what.split() if "." in word) in text and text.count("cannot be read") == 1


def test_a_folder_that_is_none(out: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    shutil.copytree(out, tmp_path / "cut")
    (tmp_path / "cut" / "metrics.json").unlink()
    bt.sweep(market(), np.full((8, 2), 0.4), grid={"band": [0, 0.1]}, engine="cpu").write(tmp_path / "grid")
    for folder, text in {
        "nowhere": "is no folder", "file": "is no folder", "empty": "holds no result", "cut": "a write was cut off",
        "grid": "read it with gpu_bt.read_sweep",
    }.items():  # fmt: skip
        with pytest.raises(bt.ResultError, match=text) as error:
            bt.read_result(tmp_path / folder)
        assert "\n" not in str(error.value)
    for value in (None, 3, "", b"x\0", ["out"]):
        with pytest.raises((bt.ConfigError, bt.ResultError)):
            bt.read_result(value)


def test_what_is_written_while_it_is_read_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch):
    """Another result of the same bars and assets, and then the first one again, so that no number tells."""
    first, other = (bt.run(market(), np.full((8, 2), weight), engine="cpu") for weight in (0.4, 0.3))
    meanwhile, once = {"positions.parquet": other, "weights.parquet": first}, files.table_of

    def table_of(path: Path, *columns: str) -> pl.DataFrame:
        if path.name in meanwhile:
            meanwhile[path.name].write(out, positions=True)
        return once(path, *columns)

    with monkeypatch.context() as patch:
        patch.setattr(files, "table_of", table_of)
        with pytest.raises(bt.ResultError, match="was written anew while it was read: read it again"):
            bt.read_result(out)
    same(bt.read_result(out), first)


def test_another_version_is_named(out: Path):
    text = (out / "config.toml").read_text()
    for changed in (text.replace("format = 1", "format = 99"), text.replace("format = 1\n", "")):
        (out / "config.toml").write_text(changed.replace(f'gpu_bt = "{bt.__version__}"', 'gpu_bt = "9.9"'))
        with pytest.raises(bt.ResultError, match=r"was written by version '9\.9', and this version reads other files"):
            bt.read_result(out)


def test_a_number_that_is_not_finite_comes_back(tmp_path: Path):
    wanted = bt.run(market(), np.zeros((8, 2)), engine="cpu")
    wanted.write(tmp_path)
    assert math.isnan(bt.read_result(tmp_path).metrics["sharpe"]) and math.isnan(wanted.metrics["sharpe"])
