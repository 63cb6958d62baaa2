# SPDX-License-Identifier: Apache-2.0
"""One picture of a result. Matplotlib is imported on first use, and its global state (pyplot) is not touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.errors import ResultError
from gpu_bt.metrics import drawdown
from gpu_bt.result import Result, write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

# Colours that stay apart in print and for colour-blind readers (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"
_STATUS = {"MARGIN_CALL": _ORANGE, "DRAWDOWN_STOP": _PURPLE, "BANKRUPT": _RED, "LEDGER_OVERFLOW": "#000000"}
_SMALL = 8.5
#: Up to so many bars every one has its own tick and its own point.
_FEW = 8
#: The most columns of turnover that stay readable.
_COLUMNS = 150


def plot(
    result: Result,
    path: str | os.PathLike[str] | None = None,
    benchmark: np.ndarray | Sequence[float] | None = None,
) -> Path | Figure:
    """Equity, drawdown, exposure, turnover and cumulative costs over time.

    path: where to write; its suffix names the format (png, pdf, svg, ...; none = png). None = nothing is written.
    benchmark: (T,) levels at the result's bars (an index, a price); drawn from the initial cash on; NaN leaves a gap.
    Equity has a log scale where its highest value is more than 10 times its lowest. Exposure is long, short, gross
    (long + |short|) and net value over equity. Turnover, (buys + sells)/2 over the bar's equity, is shown per bar, or
    summed per hour, day, month or quarter: the finest of at most 150 columns. Financing counts as a cost: below 0 it
    was earned. A vertical line marks the first bar of each status; after the end of an ended run the ground is grey.
    Gives the path, or the Figure where path is None.

    Raises ResultError: matplotlib is missing, the benchmark does not fit, the format is not known, the disk refuses.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ResultError("plot() needs matplotlib, which is missing: pip install gpu-bt[plot]") from None
    figure = Figure(figsize=(11, 12.5), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    _draw(figure, result, None if benchmark is None else _levels(result, benchmark))
    if path is None:
        return figure
    path = Path(path)
    kind, kinds = path.suffix[1:].lower() or "png", figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise ResultError(f"{path} has an unknown format {kind!r}: take one of {', '.join(sorted(kinds))}")
    write_beside(path, lambda beside: figure.savefig(beside, format=kind, dpi=150))
    return path


def _levels(result: Result, benchmark: Any) -> np.ndarray:
    """The benchmark scaled to the initial cash at its first value."""
    try:
        levels = np.asarray(benchmark, np.float64)
    except (TypeError, ValueError):
        raise ResultError("benchmark is not an array of numbers: pass one level per bar") from None
    bars = len(result.timestamps)
    if levels.shape != (bars,):
        raise ResultError(f"benchmark has shape {levels.shape}, the result has {bars} bars: pass one level per bar")
    known = levels[~np.isnan(levels)]
    if not len(known) or not (known > 0).all() or np.isinf(known).any():
        raise ResultError("benchmark must have finite levels > 0, or NaN where there is none; pass prices, not returns")
    return levels / known[0] * result.config.initial_cash


def _draw(figure: Figure, result: Result, benchmark: np.ndarray | None) -> None:
    """All panels on one axis of time."""
    table = {name: result.equity[name].to_numpy() for name in result.equity.columns if name != "timestamp"}
    when = result.timestamps.dt.replace_time_zone(None).to_numpy()
    full = "long_value" in table
    axes = figure.subplots(
        5 if full else 2, 1, sharex=True, height_ratios=([4, 1.6, 1.6, 1.3, 1.5] if full else [4, 2])
    )
    _equity(axes[0], result, when, table["equity"], benchmark)
    fall = drawdown(table["equity"], result.config.initial_cash)
    axes[1].fill_between(when, fall, 0, color=_RED, alpha=0.3, linewidth=0)
    axes[1].plot(when, fall, color=_RED, linewidth=0.8, **_points(when))
    _percent(axes[1], "Drawdown, from the peak")
    if full:
        _exposure(axes[2], when, table)
        _turnover(axes[3], when, table)
        _costs(axes[4], when, table)
    _time(axes, result, when, table["equity"])
    _title(figure, result)


def _equity(ax: Axes, result: Result, when: np.ndarray, equity: np.ndarray, benchmark: np.ndarray | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if benchmark is not None:
        ax.plot(when, benchmark, color=_GREY, linewidth=1, label="Benchmark, scaled", **_points(when))
    ax.plot(when, equity, color=_BLUE, linewidth=1.4, label="Equity", **_points(when))
    ax.axhline(result.config.initial_cash, color=_GREY, linewidth=0.8, linestyle=":", label="Initial cash")
    known = equity[~np.isnan(equity)]
    log = len(known) > 0 and known.min() > 0 and known.max() > 10 * known.min()
    if log:
        ax.set_yscale("log")
        decades = np.log10(known.max() / known.min())
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(_money))
    _name(ax, "Equity, log scale" if log else "Equity")


def _exposure(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray]) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        long, short = table["long_value"] / table["equity"], table["short_value"] / table["equity"]
    ax.axhline(0, color=_GREY, linewidth=0.8)
    if np.nanmin(short, initial=0.0) < 0:
        ax.fill_between(when, long, 0, color=_GREEN, alpha=0.25, linewidth=0, label="Long")
        ax.fill_between(when, short, 0, color=_RED, alpha=0.25, linewidth=0, label="Short")
        ax.plot(when, long - short, color="black", linewidth=0.9, label="Gross", **_points(when))
        ax.plot(when, long + short, color=_BLUE, linewidth=1.1, label="Net", **_points(when))
    else:
        ax.fill_between(when, long, 0, color=_GREEN, alpha=0.25, linewidth=0)
        ax.plot(when, long, color=_GREEN, linewidth=1, label="Gross = net (no shorts)", **_points(when))
    _percent(ax, "Exposure, of equity")


def _turnover(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray]) -> None:
    """Columns of turnover, each as wide as its period, or per bar as the smallest gap between bars."""
    traded = np.nan_to_num(
        (table["buys"] + table["sells"]) / 2 / np.where(table["equity"] > 0, table["equity"], np.nan)
    )
    style = {"color": _BLUE, "linewidth": 0}
    if len(when) <= _COLUMNS:
        gap = np.diff(when).min() if len(when) > 1 else np.timedelta64(1, "D")
        ax.bar(when, traded, width=gap * 0.7, **style)
        name = "bar"
    else:
        name, unit, count = "quarter", "M", 3
        for choice in (("hour", "h", 1), ("day", "D", 1), ("month", "M", 1)):
            if len(np.unique(when.astype(f"datetime64[{choice[1]}]"))) <= _COLUMNS:
                name, unit, count = choice
                break
        starts, place = np.unique(when.astype(f"datetime64[{unit}]").astype(np.int64) // count, return_inverse=True)
        left = (starts * count).astype(f"datetime64[{unit}]")
        width = (left + count).astype("datetime64[us]") - left.astype("datetime64[us]")
        ax.bar(left.astype("datetime64[us]"), np.bincount(place, traded), width=width * 0.86, align="edge", **style)
    ax.set_ylim(bottom=0)
    _percent(ax, f"Turnover per {name}, one-way, of equity")


def _costs(ax: Axes, when: np.ndarray, table: dict[str, np.ndarray]) -> None:
    from matplotlib.ticker import FuncFormatter

    parts = {
        "Commission": (table["commission"], _BLUE),
        "Slippage": (table["slippage"], _ORANGE),
        "Financing": (0.0 - table["financing"], _PURPLE),
    }
    ax.axhline(0, color=_GREY, linewidth=0.8)
    paid = {name: (np.cumsum(values), colour) for name, (values, colour) in parts.items() if np.nansum(values**2) > 0}
    for name, (values, colour) in paid.items():
        ax.plot(when, values, color=colour, linewidth=1.1, label=name, **_points(when))
    if len(paid) > 1:
        ax.plot(when, sum(v for v, _ in paid.values()), color="black", linewidth=1.1, label="Total", **_points(when))
    if not paid:
        ax.text(0.5, 0.5, "no costs", transform=ax.transAxes, ha="center", va="center", color=_GREY, fontsize=_SMALL)
        ax.set_yticks([0])
    ax.yaxis.set_major_formatter(FuncFormatter(_money))
    _name(ax, "Costs, cumulative")


def _time(axes: Sequence[Axes], result: Result, when: np.ndarray, equity: np.ndarray) -> None:
    """The axis of time, the grid, the legends, the statuses and the ground after the end."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    naive = {name: np.datetime64(bar.replace(tzinfo=None), "us") for name, bar in result.statuses.items()}
    bars = int(np.count_nonzero(~np.isnan(equity)))
    for ax in axes:
        for name, bar in naive.items():
            ax.axvline(bar, color=_STATUS[name], linestyle="--", linewidth=1.1, label=f"{name} {_day(bar)}")
        if bars < len(when):
            ax.axvspan(when[max(bars - 1, 0)], when[-1], color=_GREY, alpha=0.12, linewidth=0)
        ax.grid(color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=_SMALL)
        handles, labels = ax.get_legend_handles_labels()
        if ax is not axes[0]:  # the statuses are named once
            kept = [i for i, label in enumerate(labels) if label.split(" ")[0] not in naive]
            handles, labels = [handles[i] for i in kept], [labels[i] for i in kept]
        if handles:  # above the panel, where it hides no data
            place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.98), "borderaxespad": 0.2}
            ax.legend(handles, labels, fontsize=_SMALL, ncols=5, frameon=False, **place)
    if len(when) <= _FEW and _apart(when):
        axes[-1].set_xticks(when, [_day(bar) for bar in when])
    else:
        locator = AutoDateLocator(minticks=5, maxticks=12)
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if len(when) > _FEW:
        axes[-1].set_xlim(when[0], when[-1])
    if result.time_zone is not None:
        axes[-1].set_xlabel(f"Time zone {result.time_zone}", fontsize=_SMALL)


def _title(figure: Figure, result: Result) -> None:
    m, when = result.metrics, result.timestamps
    period = f"{_day(when[0])} to {_day(when[-1])}" if len(when) else "no bars"
    head = f"{period}   {len(result.assets):,} assets   {result.status}"
    names = {
        "total_return": "return {:.1%}",
        "annual_return": "{:.1%} a year",
        "volatility": "volatility {:.1%}",
        "sharpe": "Sharpe {:.2f}",
        "max_drawdown": "max drawdown {:.1%}",
        "turnover": "turnover {:.1f}x a year",
        "annual_costs": "costs {:.2%} a year",
    }
    parts = [text.format(m[name]) for name, text in names.items() if name in m and not np.isnan(m[name])]
    figure.suptitle(f"{head}\n{'   '.join(parts)}", fontsize=11, x=0.01, ha="left", linespacing=1.6)


def _percent(ax: Axes, label: str) -> None:
    from matplotlib.ticker import PercentFormatter

    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    _name(ax, label)


def _name(ax: Axes, label: str) -> None:
    ax.set_title(label, loc="left", fontsize=10, fontweight="bold")


def _points(when: np.ndarray) -> dict[str, Any]:
    """A marker per bar where there are few: a line of one point shows nothing."""
    return {"marker": "o", "markersize": 3.5} if len(when) <= _FEW else {}


def _apart(when: np.ndarray) -> bool:
    """Whether a label at every bar leaves them all readable: no gap below a tenth of the period."""
    return len(when) < 2 or bool(np.diff(when).min() * 10 >= when[-1] - when[0])


def _day(timestamp: Any) -> str:
    """A date, with the minute where it is not midnight."""
    text = str(np.datetime64(timestamp.replace(tzinfo=None) if hasattr(timestamp, "replace") else timestamp, "m"))
    return text.removesuffix("T00:00").replace("T", " ")


def _money(value: float, _: int | None = None) -> str:
    """12500000 -> 12.5 m."""
    for unit, suffix in ((1e12, " tn"), (1e9, " bn"), (1e6, " m"), (1e3, " k")):
        if abs(value) >= unit:
            return f"{value / unit:.6g}{suffix}"
    return f"{value:.6g}"
