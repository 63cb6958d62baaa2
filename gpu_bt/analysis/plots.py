# SPDX-License-Identifier: Apache-2.0
"""One picture of a result. Matplotlib is imported on first use, and its global state (pyplot) is not touched.

A picture is made of drawings, one below the other. In each one's function `ax` is its axes, `when` the (T,) datetime64
of the bars and `table` column -> (T,) array.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpu_bt.analysis.metrics import drawdown
from gpu_bt.analysis.result import Result
from gpu_bt.arguments import path_of
from gpu_bt.data.disk import write_beside
from gpu_bt.data.times import stamp
from gpu_bt.errors import ResultError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "line", "name_axes", "new_figure", "plot", "save_figure", "tidy", "time_axis"]

# Colours that stay apart in print and for colour-blind readers (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"
COLOURS = (_BLUE, _ORANGE, _GREEN, _RED, _PURPLE)
_STATUS = {"MARGIN_CALL": _ORANGE, "DRAWDOWN_STOP": _PURPLE, "BANKRUPT": _RED, "LEDGER_OVERFLOW": "black"}
#: Up to so many bars every one has its own tick and its own point.
_FEW = 8
#: The most columns of turnover that stay readable.
_COLUMNS = 120


def plot(result: Result, path: str | os.PathLike[str] | None = None) -> Path | Figure:
    """Equity, drawdown, exposure, turnover and cumulative costs over time.

    path: where to write; its suffix names the format (png, pdf, svg, ...; none = png). None = nothing is written.
    Equity has a log scale where its highest value is more than 10 times its lowest. Exposure is long, short, gross
    (long + |short|) and net value over equity. Turnover is (buys + sells)/2 over the bar's equity, summed over as many
    bars as make at most 120 columns. Financing counts as a cost: below 0 it was earned. A vertical line marks the
    first bar of each status; after the end of an ended run the ground is grey.
    Gives the path, or the Figure where path is None.

    Raises ResultError: matplotlib is missing, the format is not known, the disk refuses.
    """
    figure = new_figure(11, 12.5)
    table = {name: result.equity[name].to_numpy() for name in result.equity.columns}
    table["base"] = np.where(table["equity"] > 0, table["equity"], np.nan)  # what exposure and turnover are shares of
    when = result.timestamps.dt.replace_time_zone(None).to_numpy()
    draws = [_equity, _drawdown, _exposure, _turnover, _costs] if "buys" in table else [_equity, _drawdown]
    axes = figure.subplots(len(draws), 1, sharex=True, height_ratios=[4, 1.6, 1.6, 1.3, 1.5][: len(draws)])
    for draw, ax in zip(draws, axes, strict=True):
        draw(ax, when, table, result.opening)
        _frame(ax, result, when, first=ax is axes[0])
    time_axis(axes[-1], result.timestamps, result.time_zone)
    _title(figure, result)
    return save_figure(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Raises ResultError where matplotlib is missing or does not start."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ResultError("plot() needs matplotlib, which is missing: pip install matplotlib") from None
    except ValueError as error:  # a setting of its own, such as MPLBACKEND
        raise ResultError(f"matplotlib cannot start: {str(error).splitlines()[0]:.200}") from error
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))


def save_figure(figure: Figure, path: str | os.PathLike[str] | None) -> Path | Figure:
    """Write a figure in the format that the suffix names and give the path; the figure itself where path is None."""
    if path is None:
        return figure
    path = path_of("path", path)
    kind = path.suffix[1:].lower() or "png"
    kinds = figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise ResultError(f"{path} has an unknown format {kind!r}: take one of {', '.join(sorted(kinds))}")

    def draw(beside: Path) -> None:
        try:
            figure.savefig(beside, format=kind, dpi=150)
        except (RuntimeError, ValueError, ImportError) as error:  # a format or a setting that needs LaTeX, for one
            raise ResultError(f"{path} was not drawn: {str(error).splitlines()[0]:.200}; take png") from error

    write_beside(path, draw)
    return path


def _equity(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray], cash: float) -> None:
    """Equity beside what it began with."""
    from matplotlib.ticker import LogLocator

    line(ax, when, table["equity"], _BLUE, "Equity")
    ax.axhline(cash, color=_GREY, linewidth=0.8, linestyle=":", label="At the start")
    low, high = np.fmin.reduce(table["equity"]), np.fmax.reduce(table["equity"])
    log = 0 < 10 * low < high
    if log:
        ax.set_yscale("log", subs=[])
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    name_axes(ax, "Equity, log scale" if log else "Equity", "{x:,.10g}")


def _drawdown(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray], cash: float) -> None:
    fall = drawdown(table["equity"], cash)
    ax.fill_between(when, fall, 0, color=_RED, alpha=0.3, linewidth=0)
    line(ax, when, fall, _RED)
    name_axes(ax, "Drawdown, from the peak", "%")


def _exposure(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray], _: float) -> None:
    """Long, short, gross and net value over equity."""
    long, short = table["long_value"] / table["base"], table["short_value"] / table["base"]
    ax.fill_between(when, long, 0, color=_GREEN, alpha=0.25, linewidth=0, label="Long")
    if (table["short_value"] < 0).any():
        ax.fill_between(when, short, 0, color=_RED, alpha=0.25, linewidth=0, label="Short")
        line(ax, when, long - short, "black", "Gross")
        line(ax, when, long + short, _BLUE, "Net")
    name_axes(ax, "Exposure, of equity", "%")


def _turnover(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray], _: float) -> None:
    """Turnover in columns, of several bars each where there are many."""
    step = -(-len(when) // _COLUMNS)
    traded = np.nan_to_num((table["buys"] + table["sells"]) / 2 / table["base"])
    starts = np.arange(0, len(when), step)
    left = when[starts]
    width = np.diff(left).min() if len(left) > 1 else np.timedelta64(1, "D")
    ax.bar(left, np.add.reduceat(traded, starts), width * 0.8, align="edge" if step > 1 else "center", color=_BLUE)
    name_axes(ax, f"Turnover per {f'{step} bars' if step > 1 else 'bar'}, one-way, of equity", "%")


def _costs(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray], _: float) -> None:
    """Costs so far as areas on one another, and their total; a kind that was never paid is left out."""
    parts = {"Commission": table["commission"], "Slippage": table["slippage"], "Financing": -table["financing"]}
    colours = dict(zip(parts, (_BLUE, _ORANGE, _PURPLE), strict=True))
    paid = {name: np.cumsum(values) for name, values in parts.items() if np.nan_to_num(values).any()}
    above, below = np.zeros(len(when)), np.zeros(len(when))  # where the next area begins: what was earned hangs from 0
    for name, values in paid.items():
        start = np.where(values < 0, below, above)
        ax.fill_between(when, start, start + values, color=colours[name], alpha=0.5, linewidth=0, label=name)
        above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
    total = np.cumsum(sum(parts.values()))
    line(ax, when, total, "black", "Total" if len(paid) != 1 else None)
    if not paid:
        ax.set_ylim(0, 1)
    elif not (below < 0).any():
        ax.set_ylim(bottom=0)
    name_axes(ax, "Costs, cumulative", "{x:,.10g}")


def line(ax: Axes, when: np.ndarray, values: np.ndarray, colour: str, label: str | None = None) -> None:
    """A line that is seen even where it is of few points."""
    marker = "o" if len(when) <= _FEW else None  # a line of one point shows nothing
    ax.plot(when, values, color=colour, linewidth=1.1, label=label, marker=marker, markersize=3.5)


def name_axes(ax: Axes, title: str, numbers: str) -> None:
    """Title and format of the values: "%" or a text with {x}."""
    from matplotlib.ticker import PercentFormatter, StrMethodFormatter

    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0) if numbers == "%" else StrMethodFormatter(numbers))


def _frame(ax: Axes, result: Result, when: np.ndarray, first: bool) -> None:
    """Statuses, the ground after the end, grid and legend; only the first names the statuses."""
    from matplotlib.dates import date2num

    statuses = {name: np.datetime64(bar.replace(tzinfo=None)) for name, bar in result.statuses.items()}
    statuses = {name: bar for name, bar in statuses.items() if bar >= when[0]}
    for name, bar in statuses.items():
        label = f"{name} {stamp(result.statuses[name])}" if first else None
        ax.axvline(date2num(bar), color=_STATUS[name], linestyle="--", linewidth=1.1, label=label)
    bars = int(np.count_nonzero(~np.isnan(result.raw.money[0, 0])))
    if bars < len(when):
        ax.axvspan(when[max(bars - 1, 0)], when[-1], color=_GREY, alpha=0.12, linewidth=0)
    tidy(ax)


def tidy(ax: Axes) -> None:
    """Grid and legend of a drawing."""
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:  # above the drawing, where it hides no data
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), borderaxespad=0.2, ncols=5, frameon=False)


def time_axis(ax: Axes, stamps: pl.Series, time_zone: str | None) -> None:
    """The axis of time, which all drawings share."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    when = stamps.dt.replace_time_zone(None).to_numpy()
    if len(when) <= _FEW:
        ax.set_xticks(when, [stamp(bar) for bar in stamps])
    else:
        locator = AutoDateLocator(minticks=5, maxticks=12)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        ax.set_xlim(when[0], when[-1])
    if time_zone is not None:
        ax.set_xlabel(f"Time zone {time_zone}")


def _title(figure: Figure, result: Result) -> None:
    """The period, and the numbers of the run in a line."""
    stamps = result.timestamps
    head = f"{stamp(stamps[0])} to {stamp(stamps[-1])}   {len(result.assets):,} assets   {result.status}"
    texts = {
        "total_return": "return {:.1%}", "annual_return": "{:.1%} a year", "volatility": "volatility {:.1%}",
        "sharpe": "Sharpe {:.2f}", "max_drawdown": "max drawdown {:.1%}", "turnover": "turnover {:.1f}x a year",
        "annual_costs": "costs {:.2%} a year",
    }  # fmt: skip
    parts = [text.format(result.metrics[name]) for name, text in texts.items() if name in result.metrics]
    figure.suptitle(f"{head}\n{'   '.join(parts)}", fontsize=11, x=0.01, ha="left", linespacing=1.6)
