# SPDX-License-Identifier: Apache-2.0
"""Pictures that can be read: texts do not overlap and lie inside, no drawing is empty, at any size."""

from __future__ import annotations

import itertools
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpu_bt as bt

pytest.importorskip("matplotlib")


def texts_of(ax: object) -> list[object]:
    """Every text of a drawing that is seen."""
    ticks = [tick.label1 for axis in (ax.xaxis, ax.yaxis) for tick in axis._update_ticks()]  # those within the limits
    ticks += [tick.label2 for tick in ax.yaxis._update_ticks()]  # of a bar of colours
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    titles = [ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label]
    return [text for text in (*ticks, *titles, *legend, *ax.texts) if text.get_text().strip() and text.get_visible()]


def faults(figure: object) -> list[str]:
    """What cannot be read in a picture."""
    figure.draw_without_rendering()
    found, boxes, inside = [], [], figure.bbox.padded(1.0)
    texts = [figure._suptitle, *(text for ax in figure.axes for text in texts_of(ax))]
    for text in texts:
        box = text.get_window_extent()
        name = text.get_text().replace("\n", " ")
        if box.x0 < inside.x0 or box.y0 < inside.y0 or box.x1 > inside.x1 or box.y1 > inside.y1:
            found.append(f"outside: {name}")
        boxes.append((box.padded(-0.5), name))
    found += [f"overlap: {a[1]} | {b[1]}" for a, b in itertools.combinations(boxes, 2) if a[0].overlaps(b[0])]
    for ax in figure.axes:
        low, high = sorted(ax.get_ylim())
        values = [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_transform() == ax.transData]
        values = [v[np.isfinite(v)] for v in values]
        if any(((v < low) | (v > high)).any() for v in values if len(v)):
            found.append(f"outside the limits: {ax.get_title(loc='left')}")
        if not (ax.lines or ax.images or ax.patches or ax.collections):
            found.append(f"empty: {ax.get_title(loc='left')}")
    return found


def universe(stamps: np.ndarray, zone: str | None = None) -> tuple[bt.Panel, np.ndarray]:
    bars = len(stamps)
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(2e-4, 0.01, (bars, 5)), axis=0))
    panel = bt.Panel(close=close, open=close, timestamps=stamps, assets=[f"A{i}" for i in range(5)], time_zone=zone)
    weights = np.zeros((bars, 5))
    weights[bars // 10 :] = rng.dirichlet(np.ones(5), bars - bars // 10) * [1, -0.4, 1, 1, -0.3]
    return panel, weights


def days(bars: int) -> np.ndarray:
    return np.busday_offset("2019-01-02", np.arange(bars), roll="forward")


def sessions(count: int, minutes: int) -> np.ndarray:
    """Bars of days from 9:30 to 16:00."""
    each = np.arange(570, 961, minutes).astype("timedelta64[m]")
    return (days(count).astype("datetime64[m]")[:, None] + each).ravel()


STAMPS = {
    "1 day": (days(1), None), "3 days": (days(3), None), "9 days": (days(9), None), "60 days": (days(60), None),
    "3 years": (days(756), None), "20 years": (days(5040), None),
    "weeks": (np.datetime64("2010-01-01") + 7 * np.arange(600), None),
    "4 minutes": (sessions(1, 1)[:4], "Asia/Tokyo"), "a day of minutes": (sessions(1, 1), "America/New_York"),
    "2 weeks of half hours": (sessions(10, 30), "America/New_York"), "half a year of hours": (sessions(125, 60), None),
    "3 weeks of all hours": (np.datetime64("2024-10-20T00", "m") + 60 * np.arange(500), "UTC"),
    "100 seconds": (np.datetime64("2024-03-04T10:00:00", "s") + np.arange(100), "Asia/Kolkata"),
}  # fmt: skip


def ran(stamps: np.ndarray, zone: str | None, **how: object) -> bt.Result:
    panel, weights = universe(stamps, zone)
    config = bt.Config(initial_cash=1e6, account="margin", commission_rate=5e-4, slippage=2e-4, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        return bt.run(panel, weights, config)


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("size", [None, (5.0, 10.0)])
def test_runs_can_be_read(name: str, size: tuple[float, float] | None):
    stamps, zone = STAMPS[name]
    result = ran(stamps, zone)
    prices = np.linspace(50, 80, len(stamps))
    figure = result.plot(name="Momentum of five", benchmark=prices, monthly=True, figsize=size)
    assert faults(figure) == [] and len(figure.axes) == (7 if name == "1 day" else 9)  # no costs


def test_a_picture_too_small_for_what_it_shows_is_refused():
    result = ran(*STAMPS["20 years"])
    with pytest.raises(bt.ConfigError, match=r"figsize is \(5, 6\): .* for this picture \(5\.0, 8\.\d\) or more$"):
        result.plot(monthly=True, figsize=(5, 6))
    assert faults(result.plot(monthly=True, figsize=(5, 10))) == []


def test_the_check_sees_what_cannot_be_read():
    figure = ran(*STAMPS["60 days"]).plot(panels="equity")
    assert faults(figure) == []
    figure.axes[0].text(0.02, 1.03, "over the title", transform=figure.axes[0].transAxes)
    figure.axes[0].set_ylim(0, 1)
    figure.add_axes((0.5, 0.5, 0.2, 0.2)).axis("off")
    figure.axes[0].text(3, 0.5, "far to the right", transform=figure.axes[0].transAxes).set_in_layout(False)
    assert {text.split(":")[0] for text in faults(figure)} == {"overlap", "outside the limits", "empty", "outside"}


def test_closed_hours_are_left_out_and_ticks_are_of_the_wall_clock():
    figure = ran(*STAMPS["2 weeks of half hours"]).plot(panels="equity")
    ax = figure.axes[0]
    assert np.diff(ax.lines[0].get_xdata()).tolist() == [1.0] * 139  # 14 bars a day, side by side
    texts = [text.get_text() for text in ax.get_xticklabels()]
    assert texts[:2] == ["Jan\xa03\n2019", "Jan\xa04"] and ax.get_xticks()[:3].tolist() == [14, 28, 42]
    assert ax.get_xlabel() == "Time zone America/New_York, closed hours left out"
    figure = ran(*STAMPS["3 weeks of all hours"]).plot(panels="equity")
    assert np.diff(figure.axes[0].lines[0].get_xdata()) == pytest.approx(1 / 24)
    assert figure.axes[0].get_xlabel() == "Time zone UTC"


@pytest.mark.parametrize("count", [9, 12, 13, 20])
def test_bars_of_days_show_no_time_of_day(count: int):
    figure = ran(days(count), None).plot(panels="equity")
    texts = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert len(texts) > 1 and not any(":" in text for text in texts), texts


PANEL, WEIGHTS = universe(days(130))


def swept(weights: object = WEIGHTS, **grid: object) -> bt.SweepResult:
    equity = bool(grid.pop("equity", False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        return bt.sweep(PANEL, weights, bt.Config(account="margin", rebalance="week"), grid=grid, equity=equity)


def rates(count: int) -> list[float]:
    return np.geomspace(1e-5, 1e-2, count).tolist()


def lags(count: int) -> list[float]:
    return np.linspace(0, 0.02, count).tolist()


GRIDS = {
    **{f"{r} x {c}": {"commission_rate": rates(r), "slippage": lags(c)}
       for r, c in ((2, 2), (2, 50), (7, 7), (12, 20), (50, 2), (50, 50))},
    "names, None": {"rebalance": ["bar", "day", "week", "month"], "max_weight": [None, 0.1, 0.5]},
    "three axes": {"commission_rate": rates(9), "slippage": lags(11), "rebalance_every": [1, 2, 5, 10]},
    "five axes": {"commission_rate": rates(3), "slippage": lags(3), "rebalance_every": [1, 2],
                  "execution": ["next_open", "next_close"], "initial_cash": [1e4, 1e5, 1e6], "equity": True},
    "no number in a row": {"cash_buffer": [0.0, 0.5, 1.0], "slippage": lags(6)},
    "no number at all": {"cash_buffer": [1.0], "slippage": lags(6), "commission_rate": rates(5)},
    "a line": {"slippage": lags(9), "equity": True}, "a line, log scale": {"slippage": rates(40)},
    "a line of names": {"rebalance": ["bar", "day", "week", "month"]},
    "a line without numbers": {"cash_buffer": [1.0], "slippage": lags(6)},
    "a line of many": {"slippage": lags(2000)}, "one scenario": {"slippage": [0.0], "equity": True},
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("size", "metric"), [(None, "sharpe"), ((6.0, 8.0), "max_drawdown")])
def test_sweeps_can_be_read(name: str, size: tuple[float, float] | None, metric: str):
    figure = swept(**GRIDS[name]).plot(metric=metric, figsize=size)
    assert faults(figure) == []


@pytest.mark.parametrize("rows", ["weights", "slippage"])
def test_long_names_can_be_read(rows: str):
    books = {f"book number {i} with $a$ long name": WEIGHTS * (1 + i / 50) for i in range(40)}
    assert faults(swept(books, slippage=lags(5)).plot(rows=rows)) == []


def test_cells_show_their_numbers_their_best_and_what_is_none():
    found = swept(**GRIDS["no number in a row"])
    ax = found.plot().axes[0]
    best = found.best("sharpe").row(0, named=True)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["No number: 6 of 18", f"Best, {best['sharpe']:.2f}"] and len(ax.texts) == 12
    frame = next(patch for patch in ax.patches if patch.get_label() == labels[1])
    row, column = [0.0, 0.5, 1.0].index(best["cash_buffer"]), lags(6).index(best["slippage"])
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == (column, row)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.5", "1"]
    assert any(patch.get_hatch() for patch in ax.patches)
    assert found.plot().get_suptitle() == "18 scenarios of 130 bars x 5 assets"
    many = swept(**GRIDS["50 x 50"]).plot().axes[0]
    assert not many.texts and many.get_ylabel() == "commission_rate, log scale" and many.get_xlabel() == "slippage"


def test_values_stand_in_the_order_of_numbers_and_the_best_is_the_least_of_what_should_be_little():
    found = swept(slippage=[0.01, 0.0, 0.002], commission_rate=[1e-3, 0.0])
    figure = found.plot(rows="slippage", columns="commission_rate", metric="annual_costs")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.002", "0.01"]
    frame = next(patch for patch in ax.patches if patch.get_label().startswith("Best"))
    assert (frame.get_x(), frame.get_y()) == (-0.5, -0.5)
    values = np.asarray(ax.images[0].get_array())
    wanted = found.pivot("slippage", "commission_rate", "annual_costs").sort("slippage")
    assert values.tolist() == wanted.select("0.0", "0.001").to_numpy().tolist()


def test_colours_part_at_zero_where_a_metric_has_both_signs():
    image = swept(slippage=lags(6), commission_rate=rates(3)).plot(metric="total_return").axes[0].images[0]
    values = np.asarray(image.get_array())
    assert values.min() < 0 < values.max() and image.norm(0.0) == 0.5 and image.cmap.name == "RdBu"
    image = swept(slippage=lags(6), commission_rate=rates(3)).plot(metric="volatility").axes[0].images[0]
    assert image.cmap.name == "cividis_r"


def test_styles_are_kept_and_settings_respected(tmp_path: Path):
    import matplotlib as mpl

    result = ran(*STAMPS["60 days"])
    before = dict(mpl.rcParams)
    dark = result.plot(style="dark")
    assert dict(mpl.rcParams) == before and dark.get_facecolor()[:3] == (0, 0, 0)
    dark.draw_without_rendering()
    label = dark.axes[0].get_yticklabels()[0]
    assert mpl.colors.to_rgb(label.get_color()) == (1, 1, 1)  # made while it is drawn
    with mpl.rc_context({"font.size": 6.0, "axes.facecolor": "#222222", "text.color": "#eeeeee"}):
        own = result.plot()
    assert own.axes[0].lines[-1].get_color() == "#eeeeee" and own._suptitle.get_fontsize() == 6.0
    for style in (["ggplot", "dark"], "seaborn-v0_8", {"font.size": 6}):
        assert result.plot(style=style).get_suptitle()
    sizes = [result.plot(tmp_path / f"{dpi}.png", dpi=dpi, figsize=(6, 8)) for dpi in (None, 50)]
    from matplotlib.image import imread

    assert [imread(path).shape[:2] for path in sizes] == [(1200, 900), (400, 300)]


def test_a_picture_can_be_sent_to_another_process():
    found = pickle.loads(pickle.dumps(swept(**GRIDS["five axes"]).plot(style="dark")))
    assert faults(found) == []
    assert faults(pickle.loads(pickle.dumps(ran(*STAMPS["60 days"]).plot(monthly=True)))) == []


def test_a_long_run_is_drawn_by_its_extremes():
    stamps = np.datetime64("2024-01-01T00:00", "m") + np.arange(200_000)
    money = 1e6 + np.zeros(len(stamps))
    money[123_456] = 2e6
    figure = ran(stamps[:3], None).plot(panels="equity")
    from gpu_bt.analysis.figures import line

    line(figure.axes[0], np.arange(len(money), dtype=float), money, "black")
    drawn = figure.axes[0].lines[-1]
    assert len(drawn.get_xdata()) <= 6002 and drawn.get_ydata().max() == 2e6
    assert drawn.get_xdata()[drawn.get_ydata().argmax()] == 123_456
