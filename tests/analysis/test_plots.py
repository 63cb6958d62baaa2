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
from test_result import BOOK, STAMPS, make, make_raw, one_line

import gpu_bt as bt
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


def panel(figure: object, title: str) -> object:
    """The drawing whose title begins so."""
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))


def test_plot_panels():
    figure = make().plot()
    assert titles(figure) == [
        "Equity",
        "Drawdown, from the peak",
        "Exposure, of equity",
        "Cash, of equity",
        "Turnover per bar, one-way, of equity",
        "Costs, of equity, summed",
        "Costs, in money, summed",
    ]
    equity, _, exposure, cash, turnover, shares, costs = figure.axes
    assert equity.lines[0].get_ydata().tolist() == BOOK["equity"]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [0.0, 1021 / 1024 - 1, 0.0, 1136.5 / 1157 - 1]
    assert labels(exposure) == ["Long"]
    assert [bar.get_height() for bar in turnover.patches] == [0.0, 256 / 1021, 0.0, 160 / 1136.5]
    assert labels(costs) == ["Commission", "Slippage", "Financing", "Total"]
    assert costs.lines[-1].get_ydata().tolist() == [0.0, 3.0, 3.0, 3.5]
    assert shares.lines[-1].get_ydata().tolist() == pytest.approx([0.0, 3 / 1021, 3 / 1021, 3 / 1021 + 0.5 / 1136.5])
    assert cash.lines[0].get_ydata().tolist() == [1.0, 509 / 1021, 517 / 1157, 836.5 / 1136.5]
    assert figure.get_suptitle() == "2020-01-02 to 2020-01-07   2 assets   OK\nreturn 11.0%   max drawdown -1.8%"


def test_plot_log_scale_and_shorts():
    assert grown(factor=9.9).plot().axes[0].get_yscale() == "linear"
    figure = grown(factor=10.5).plot()
    assert figure.axes[0].get_yscale() == "log" and titles(figure)[0] == "Equity, log scale"
    assert labels(figure.axes[2]) == ["Long", "Short", "Gross", "Net"]
    gross, net, _ = figure.axes[2].lines
    assert set(gross.get_ydata()) == {1.5} and set(net.get_ydata()) == {0.5}


@pytest.mark.parametrize(
    ("bars", "period"), [(1, "bar"), (120, "bar"), (121, "2 bars"), (2520, "21 bars"), (6001, "51 bars")]
)
def test_plot_turnover_period(bars: int, period: str):
    result = grown(bars)
    figure = result.plot()
    assert titles(figure)[4] == f"Turnover per {period}, one-way, of equity"
    heights = [bar.get_height() for bar in figure.axes[4].patches if bar.get_height() != 1]
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
    ax = make(raw).plot().axes[0]
    edges = [(patch.get_label(), *ax.transData.inverted().transform(patch.get_extents())[:, 0]) for patch in ax.patches]
    after = [left for name, left, _ in edges if name != "Before the start"]
    before = [right for name, _, right in edges if name == "Before the start"]
    assert after == pytest.approx([2.0] if end == 3 else [])
    assert before == pytest.approx([float(min(began, end - 1))] if began else [])


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
    assert not any("Costs" in title for title in titles(make(raw).plot()))
    ax = make(raw).plot(panels="money").axes[0]
    assert labels(ax) == ["Total"] and ax.get_ylim() == (0.0, 1.0)
    raw.money[MONEY.index("financing"), 0, 1] = 2.0
    ax = panel(make(raw).plot(), "Costs, in money")
    assert labels(ax) == ["Financing"] and ax.lines[0].get_ydata().tolist() == [0.0, -2.0, -2.0, -2.0]


def test_equal_costs_are_both_seen():
    raw = make_raw()
    for name, values in {"commission": 2.0, "slippage": 2.0, "financing": 0.0}.items():
        raw.money[MONEY.index(name)] = values
    ax = panel(make(raw).plot(), "Costs, in money")
    tops = [area.get_paths()[0].get_extents() for area in ax.collections]
    assert [(box.y0, box.y1) for box in tops] == [(0.0, 8.0), (2.0, 16.0)]  # the second begins where the first ends
    assert labels(ax) == ["Commission", "Slippage", "Total"] and ax.get_ylim()[0] == 0
    assert ax.lines[-1].get_ydata().tolist() == [4.0, 8.0, 12.0, 16.0]
    raw.money[MONEY.index("financing")] = 1.0  # earned: it hangs from 0
    ax = panel(make(raw).plot(), "Costs, in money")
    box = ax.collections[2].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (-4.0, 0.0) and ax.get_ylim()[0] < -4
    raw.money[MONEY.index("financing"), 0] = [0.0, -2.0, 0.0, 5.0]  # paid, then earned: it stands above, then hangs
    ax = panel(make(raw).plot(), "Costs, in money")
    ends = [area.get_paths()[0].get_extents() for area in ax.collections[2:]]
    assert [(box.y0, box.y1) for box in ends] == [(4.0, 16.0), (-3.0, 0.0)]
    assert labels(ax) == ["Commission", "Slippage", "Financing", "Total"]


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


@pytest.mark.parametrize(
    ("bars", "per_year", "words"), [(59, None, 0), (70, None, 1), (70, 300, 0), (24, 12, 1), (11, 12, 0)]
)
def test_numbers_of_a_year_are_those_of_runs_that_are_long_enough(bars, per_year, words):
    result = grown(bars, factor=1.5)
    result.config = bt.Config(initial_cash=1024.0, bars_per_year=per_year)
    assert (result.plot().get_suptitle().count("Sharpe") > 0) == bool(words)
    assert result.plot().get_suptitle().count("return 50.0%") == 1


def test_name_options_and_panels():
    figure = make().plot(name="Top $2$ of $n$", panels=["drawdown", "equity"], figsize=(7, 4), log=True)
    assert titles(figure) == ["Drawdown, from the peak", "Equity, log scale"]
    assert figure.get_suptitle().startswith(r"Top \$2\$ of \$n\$") and figure.get_size_inches().tolist() == [7, 4]
    for options in (
        {"panels": "sharpe"}, {"panels": []}, {"panels": "benchmark"}, {"name": 3}, {"log": "no"}, {"monthly": "x"},
        {"figsize": 3}, {"figsize": (1, 9)}, {"dpi": 0}, {"dpi": "x"}, {"style": "nice"}, {"style": 3},
    ):  # fmt: skip
        with pytest.raises(bt.ConfigError, match=f"{next(iter(options))}") as error:
            make().plot(**options)
        one_line(error)


def test_returns_of_months_and_years():
    """Of 300 business days from 2020-01-02, at 1 % a day."""
    money = 1024 * 1.01 ** np.arange(1, 301)
    raw = make_raw()
    rows = np.zeros((len(MONEY), 1, 300))
    rows[0] = rows[1] = money
    raw = dataclasses.replace(raw, money=rows, counts=np.zeros((len(COUNTS), 1, 300), np.int32))
    days = np.busday_offset("2020-01-02", np.arange(300), roll="forward")
    ax = panel(make(raw, timestamps=days.astype("datetime64[us]")).plot(monthly=True), "Return of each month")
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    months = days.astype("datetime64[M]").astype(int)
    wanted = np.full((2, 13), np.nan)
    for month in np.unique(months):
        wanted[month // 12 - 50, month % 12] = 1.01 ** (months == month).sum() - 1
    wanted[:, 12] = [1.01 ** (months // 12 == year).sum() - 1 for year in (50, 51)]
    np.testing.assert_allclose(shown, wanted, rtol=1e-9)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2020", "2021"]


def test_a_benchmark_goes_by_labels_and_begins_where_the_run_does():
    pandas = pytest.importorskip("pandas")
    prices = [10.0, np.nan, 12.0, 15.0]
    wanted = [1021.0, 1021.0, 1225.2, 1531.5]  # rebased at the second bar, which has the price of the first
    raw = dataclasses.replace(make_raw(), began=np.array([1]))
    series = pandas.Series([9.0, *prices], [np.datetime64("2019-01-02"), *STAMPS], name="SPY")
    close = bt.Panel(np.array([prices]).T, timestamps=STAMPS, assets=["SPY"])
    table = {"SPY": series.to_frame("close").rename_axis("date").reset_index()}
    for source in (series, close, table, prices, np.array(prices)):
        figure = make(raw).plot(benchmark=source)
        assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx(wanted)
        over = figure.axes[1].lines[0].get_ydata().tolist()
        assert over == pytest.approx((np.array(BOOK["equity"]) / wanted - 1).tolist())
        name = "Benchmark" if source is prices or isinstance(source, np.ndarray) else "SPY"
        assert labels(figure.axes[0])[0] == name and name in titles(figure)[1]
    two = bt.Panel(np.ones((4, 2)), timestamps=STAMPS, assets=["A", "B"])
    late = pandas.Series([1.0], [np.datetime64("2021-01-01")])
    for wrong, text in (
        (two, "has 2 assets: pass one"),
        (prices[:3], "3 numbers and the run 4 bars"),
        (late, "no price"),
        ("A", "'A', an asset: pass its"),
    ):
        with pytest.raises(bt.ConfigError, match=text) as error:
            make(raw).plot(benchmark=wrong)
        one_line(error)


def test_daily_prices_are_known_on_their_day_and_zones_may_differ():
    """Closes of days beside bars of 16:00 in New York; times of day are not known before they are."""
    pandas = pytest.importorskip("pandas")
    utc = STAMPS + np.timedelta64(21, "h")
    result = make(timestamps=utc, time_zone="America/New_York")
    days = pandas.Series([1.0, 2.0, 3.0, 4.0], STAMPS)
    assert result.plot(benchmark=days).axes[0].lines[0].get_ydata().tolist() == [1024, 2048, 3072, 4096]
    later = pandas.Series([1.0, 2.0, 3.0, 4.0], pandas.DatetimeIndex(utc + np.timedelta64(60_000_000), tz="UTC"))
    values = result.plot(benchmark=later).axes[0].lines[0].get_ydata()
    assert np.isnan(values[0]) and values[1:].tolist() == [1021, 2042, 3063]
