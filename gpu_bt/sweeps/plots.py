# SPDX-License-Identifier: Apache-2.0
"""One picture of a sweep: a heat map of two axes, the fan of its equity rows, the capacity curve."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.analysis.plots import new_figure, save_figure
from gpu_bt.errors import ConfigError, printable
from gpu_bt.sweeps.result import SweepResult, check_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_BLUE, _GREY = "#0072B2", "#7F7F7F"
#: A heat map with more cells than this shows no numbers.
_CELLS = 150


def plot(
    sweep: SweepResult, path: str | os.PathLike[str] | None = None, *, rows: str | None = None,
    columns: str | None = None, metric: str = "sharpe", how: str = "mean", **where: Any,
) -> Path | Figure:  # fmt: skip
    """Heat map of a metric over two axes; and where there is what they show: the fan of equity rows, a capacity curve.

    rows, columns: axes; None = the first two that vary, initial_cash last. With one axis that varies the map is a line.
    how, where: as in `SweepResult.pivot`: what a cell shows of the scenarios that share it.   The fan shows the
    median of equity over initial cash, the middle half and nine tenths of the scenarios at each bar; what has ended is
    left out from then on.
    The capacity curve is the metric over initial_cash, its median and the middle half.
    path: its suffix names the format; None = nothing is written.   Gives the path, or the Figure.

    Raises ConfigError for an axis or metric that is not there; ResultError: matplotlib is missing, the disk refuses.
    """
    check_axes(sweep, *(axis for axis in (rows, columns) if axis is not None))
    varying = [axis for axis in sweep.axes if sweep.table[axis].n_unique() > 1 and axis not in where]
    free = [axis for axis in varying if axis not in (rows, columns)]
    free.sort(key="initial_cash".__eq__)  # it has a curve of its own
    rows = rows or (free.pop(0) if free else None)
    columns = columns or (free.pop(0) if free else None)
    if rows is None:
        raise ConfigError("the sweep has no axis that varies: there is nothing to draw")
    shared = partial(_map, rows=rows, columns=columns, how=how, where=where) if columns else None
    draws: list[Callable[[Axes, SweepResult, str], None]] = [shared or partial(_line, axis=rows, held=where)]
    if sweep.has_equity:
        draws.append(_fan)
    if "initial_cash" in varying and rows != "initial_cash":
        draws.append(partial(_line, axis="initial_cash", held={}))
    sweep.best(metric)  # refuses what is no metric
    figure = new_figure(10, 4.6 * len(draws))
    for ax, draw in zip(figure.subplots(len(draws), 1, squeeze=False)[:, 0], draws, strict=True):
        draw(ax, sweep, metric)
    t, n = sweep.shape
    figure.suptitle(f"{len(sweep):,} scenarios of {t:,} bars x {n:,} assets", fontsize=11, x=0.01, ha="left")
    return save_figure(figure, path)


def _map(ax: Axes, sweep: SweepResult, metric: str, rows: str, columns: str, how: str, where: dict[str, Any]) -> None:
    """The heat map, with its numbers where they fit."""
    table = sweep.pivot(rows, columns, metric, how=how, **where)
    values = table.drop(rows).to_numpy().astype(np.float64)
    image = ax.imshow(values, aspect="auto", cmap="cividis")
    ax.figure.colorbar(image, ax=ax)
    ax.set_yticks(range(table.height), [_short(v) for v in table[rows]])
    names = table.columns[1:]
    ax.set_xticks(range(len(names)), [_short(v) for v in names], rotation=45 if len(names) > 12 else 0)
    if values.size <= _CELLS:
        middle = (np.nanmin(values) + np.nanmax(values)) / 2 if np.isfinite(values).any() else 0.0
        for (i, j), value in np.ndenumerate(values):
            colour = "black" if value > middle else "white"
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_xlabel(_plain(columns))
    ax.set_ylabel(_plain(rows))
    others = [a for a in sweep.axes if a not in (rows, columns, *where) and sweep.table[a].n_unique() > 1]
    held = "".join(f", {name}={value}" for name, value in where.items())
    _title(ax, f"{metric}{f', {how} over ' + ', '.join(others) if others else ''}{held}")


def _line(ax: Axes, sweep: SweepResult, metric: str, axis: str, held: dict[str, Any]) -> None:
    """The metric's median and middle half for each value of an axis; a log scale for initial_cash."""
    groups = sweep.held(held).sort(axis, nulls_last=True).partition_by(axis, maintain_order=True, as_dict=True)
    names = [key[0] for key in groups]
    number = all(isinstance(name, (int, float)) for name in names)
    where = names if number else range(len(names))
    cells = [group[sweep.column(metric)].to_numpy() for group in groups.values()]
    low, middle, high = np.array([_quantiles(cell, (0.25, 0.5, 0.75)) for cell in cells]).T
    ax.fill_between(where, low, high, color=_BLUE, alpha=0.2, linewidth=0, label="Middle half")
    ax.plot(where, middle, color=_BLUE, marker="o", markersize=4, label="Median")
    if not number:
        ax.set_xticks(where, [_short(name) for name in names])
    if axis == "initial_cash":
        ax.set_xscale("log")
    ax.set_xlabel(_plain(axis))
    _title(ax, f"{metric} over {axis}" + (": capacity" if axis == "initial_cash" else ""))
    _tidy(ax)


def _fan(ax: Axes, sweep: SweepResult, metric: str) -> None:
    """How equity over initial cash spreads over the scenarios, and the one that is best."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    value = sweep.equity / sweep.opening[:, None]
    bands = np.array([_quantiles(column, (0.05, 0.25, 0.5, 0.75, 0.95)) for column in value.T]).T
    when = sweep.timestamps.dt.replace_time_zone(None).to_numpy()
    for low, high, alpha, label in ((0, 4, 0.15, "Nine tenths"), (1, 3, 0.3, "Middle half")):
        ax.fill_between(when, bands[low], bands[high], color=_BLUE, alpha=alpha, linewidth=0, label=label)
    ax.plot(when, bands[2], color=_BLUE, label="Median")
    best = sweep.best(metric)[sweep.column("scenario")]
    if len(best):
        ax.plot(when, value[best[0]], color="black", linewidth=0.9, label=f"Scenario {best[0]}, best by {metric}")
    ax.axhline(1.0, color=_GREY, linewidth=0.8, linestyle=":")
    locator = AutoDateLocator(minticks=5, maxticks=12)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    _title(ax, "Equity over initial cash")
    _tidy(ax)


def _quantiles(values: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    values = values[np.isfinite(values)]
    return np.quantile(values, levels) if len(values) else np.full(len(levels), np.nan)


def _short(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return "none" if value is None else _plain(value)


def _plain(text: Any) -> str:
    """A text that matplotlib draws as it is: between two "$" it would read mathematics."""
    return printable(str(text)).replace("$", r"\$")


def _title(ax: Axes, text: str) -> None:
    ax.set_title(_plain(text), loc="left", fontsize=10, fontweight="bold")


def _tidy(ax: Axes) -> None:
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="best", frameon=False)
