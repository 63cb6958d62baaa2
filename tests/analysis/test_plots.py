# SPDX-License-Identifier: Apache-2.0
"""The picture of a result: what its panels show, and its errors."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.dates import date2num
from test_result import BOOK, STAMPS, make, make_raw, one_line

from gpu_bt.analysis.result import Result
from gpu_bt.errors import ResultError
from gpu_bt.law.layout import COUNTS, MONEY


def grown(bars: int = 300, factor: float = 1.0) -> Result:
    """A longer record: equity grows evenly to `factor` times the initial cash; half of it is short."""
    money = np.zeros((len(MONEY), 1, bars))
    equity = 1024.0 * factor ** (np.arange(bars) / max(bars - 1, 1))
    money[0], money[2], money[3], money[4] = equity, equity, -equity / 2, equity / 64
    money[6] = 1.0
    money[1] = equity - money[2] - money[3]
    raw = make_raw()
    raw = dataclasses.replace(raw, money=money, counts=np.zeros((len(COUNTS), 1, bars), np.int32))
    days = np.busday_offset("2020-01-02", np.arange(bars), roll="forward")
    return make(raw, timestamps=days.astype("datetime64[us]"))


def titles(figure: object) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def labels(ax: object) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


def test_plot_panels():
    figure = make().plot()
    assert titles(figure) == [
        "Equity",
        "Drawdown, from the peak",
        "Exposure, of equity",
        "Turnover per bar, one-way, of equity",
        "Costs, cumulative",
    ]
    equity, exposure, turnover, costs = (figure.axes[i] for i in (0, 2, 3, 4))
    assert equity.lines[0].get_ydata().tolist() == BOOK["equity"]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [0.0, 1021 / 1024 - 1, 0.0, 1136.5 / 1157 - 1]
    assert labels(exposure) == ["Long"]
    assert [bar.get_height() for bar in turnover.patches] == [0.0, 256 / 1021, 0.0, 160 / 1136.5]
    assert labels(costs) == ["Commission", "Slippage", "Financing", "Total"]
    assert costs.lines[-1].get_ydata().tolist() == [0.0, 3.0, 3.0, 3.5]
    assert "2020-01-02 to 2020-01-07" in figure.get_suptitle() and "return 11.0%" in figure.get_suptitle()


def test_plot_log_scale_and_shorts():
    assert grown(factor=9.9).plot().axes[0].get_yscale() == "linear"
    figure = grown(factor=10.5).plot()
    assert figure.axes[0].get_yscale() == "log" and titles(figure)[0] == "Equity, log scale"
    assert labels(figure.axes[2]) == ["Long", "Short", "Gross", "Net"]
    gross, net = figure.axes[2].lines
    assert set(gross.get_ydata()) == {1.5} and set(net.get_ydata()) == {0.5}


@pytest.mark.parametrize(
    ("bars", "period"), [(1, "bar"), (120, "bar"), (121, "2 bars"), (2520, "21 bars"), (6001, "51 bars")]
)
def test_plot_turnover_period(bars: int, period: str):
    result = grown(bars)
    figure = result.plot()
    assert titles(figure)[3] == f"Turnover per {period}, one-way, of equity"
    heights = [bar.get_height() for bar in figure.axes[3].patches]
    assert sum(heights) == bars / 128 and len(heights) <= 120  # each bar buys 1/64 of equity


def test_plot_statuses():
    figure = make(make_raw(end=3, MARGIN_CALL=1, BANKRUPT=2)).plot()
    assert labels(figure.axes[0])[-2:] == ["MARGIN_CALL 2020-01-03", "BANKRUPT 2020-01-06"]
    assert not any("BANKRUPT" in label for label in labels(figure.axes[2]))  # named once
    figure.draw_without_rendering()
    assert make(make_raw(end=0, LEDGER_OVERFLOW=0)).plot().axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("began", [0, 1, 3])
@pytest.mark.parametrize("end", [4, 3])
def test_the_ground_is_grey_after_the_end_alone(began: int, end: int):
    """Bars before the first one that metrics count are no end."""
    raw = dataclasses.replace(make_raw(end=end), began=np.array([min(began, end - 1)]))
    grey = make(raw).plot().axes[0].patches
    assert [patch.get_x() for patch in grey] == ([date2num(STAMPS[2])] if end == 3 else [])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ""])
def test_plot_writes(suffix: str, tmp_path: Path):
    path = tmp_path / "new" / f"report{suffix}"
    assert make().plot(path) == path
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", "": b"\x89PNG"}[suffix]
    assert path.read_bytes().startswith(start) and os.listdir(path.parent) == [path.name]


def test_plot_of_runs_of_every_length(tmp_path: Path):
    for bars in (1, 2, 3, 8, 9, 40):
        assert grown(bars).plot(tmp_path / f"{bars}.png").exists()
    assert make(timestamps=STAMPS, time_zone="Asia/Tokyo").plot(tmp_path / "zone.png").exists()
    assert make(make_raw(end=0, LEDGER_OVERFLOW=0)).plot(tmp_path / "dead.png").exists()


def test_plot_without_costs_and_with_one():
    raw = make_raw()
    for name in ("commission", "slippage", "financing"):
        raw.money[MONEY.index(name)] = 0.0
    ax = make(raw).plot().axes[4]
    assert labels(ax) == ["Total"] and ax.get_ylim() == (0.0, 1.0)
    raw.money[MONEY.index("financing"), 0, 1] = 2.0
    ax = make(raw).plot().axes[4]
    assert labels(ax) == ["Financing"] and ax.lines[0].get_ydata().tolist() == [0.0, -2.0, -2.0, -2.0]


def test_equal_costs_are_both_seen():
    raw = make_raw()
    for name, values in {"commission": 2.0, "slippage": 2.0, "financing": 0.0}.items():
        raw.money[MONEY.index(name)] = values
    ax = make(raw).plot().axes[4]
    tops = [area.get_paths()[0].get_extents() for area in ax.collections]
    assert [(box.y0, box.y1) for box in tops] == [(0.0, 8.0), (2.0, 16.0)]  # the second begins where the first ends
    assert labels(ax) == ["Commission", "Slippage", "Total"] and ax.get_ylim()[0] == 0
    assert ax.lines[-1].get_ydata().tolist() == [4.0, 8.0, 12.0, 16.0]
    raw.money[MONEY.index("financing")] = 1.0  # earned: it hangs from 0
    ax = make(raw).plot().axes[4]
    box = ax.collections[2].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (-4.0, 0.0) and ax.get_ylim()[0] < -4


def test_plot_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ResultError, match=r"unknown format 'xlsx': take one of .*png") as error:
        make().plot(tmp_path / "x.xlsx")
    one_line(error)
    (tmp_path / "x.png").write_text("mine")
    with monkeypatch.context() as patch, pytest.raises(ResultError, match="No space left") as error:
        patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        make().plot(tmp_path / "x.png")
    one_line(error)
    assert os.listdir(tmp_path) == ["x.png"] and (tmp_path / "x.png").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResultError, match=r"pip install matplotlib$") as error:
        make().plot()
    one_line(error)


def test_plot_needs_no_global_state():
    code = """
import sys
import gpu_bt.analysis.result, gpu_bt.analysis.plots
assert not any(name in sys.modules for name in ("matplotlib", "pandas")), "imported before use"
sys.path.insert(0, "tests/analysis")
import test_result
test_result.make().plot()
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
