# SPDX-License-Identifier: Apache-2.0
"""One picture of a sweep: heat maps of two axes or a line over one, the fan of its equity rows, the capacity curve.

Letters: K scenarios, T bars.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from gpu_bt.analysis import figures
from gpu_bt.analysis.figures import (
    area,
    colours,
    head,
    ink,
    line,
    name_axes,
    percent,
    room,
    tidy,
    title,
)
from gpu_bt.analysis.heat import heat, is_number, mark, scale_of, texts_of, ticks
from gpu_bt.analysis.time_axis import TimeAxis
from gpu_bt.data.forks import with_threads
from gpu_bt.errors import ConfigError, shown
from gpu_bt.sweeps import result as results

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gpu_bt.analysis.picture import Picture
    from gpu_bt.sweeps.result import SweepResult

__all__ = ["plot"]

#: A third axis of up to so many values has a map for each of them.
_FACETS = 6
_SHARES = frozenset("total_return annual_return volatility max_drawdown hit_rate annual_costs".split())


_Size = tuple[float, float] | None


@overload
def plot(
    sweep: SweepResult, path: None = None, *, rows: str | None = None, columns: str | None = None,
    metric: str = "sharpe", how: str | None = None, figsize: _Size = None, dpi: float | None = None,
    style: figures.Style | None = None, **where: Any,
) -> Picture: ...  # fmt: skip
@overload
def plot(
    sweep: SweepResult, path: str | os.PathLike[str], *, rows: str | None = None, columns: str | None = None,
    metric: str = "sharpe", how: str | None = None, figsize: _Size = None, dpi: float | None = None,
    style: figures.Style | None = None, **where: Any,
) -> Path: ...  # fmt: skip
def plot(
    sweep: SweepResult, path: str | os.PathLike[str] | None = None, *, rows: str | None = None,
    columns: str | None = None, metric: str = "sharpe", how: str | None = None, figsize: _Size = None,
    dpi: float | None = None, style: figures.Style | None = None, **where: Any,
) -> Path | Picture:  # fmt: skip
    """Heat map of a metric over two axes; and where there is what they show: the fan of equity rows, a capacity curve.

    rows, columns: axes; None = the first two that vary, initial_cash last. With one axis that varies the map is a line
    with a point per scenario; numbers stand on a log scale where they are spaced so, names side by side.
    how, where: as in `SweepResult.pivot`: what a cell shows of the scenarios that share it, which the title says.
    None = where a third axis has at most 6 values, a map for each of them, and "mean" over what varies then.
    Colours part at 0 where the metric has both signs. A frame marks the best cell among those with a scenario that
    `SweepResult.best` ranks; cells without a finite number are hatched, and counted.
    The fan shows the median of equity over initial cash, the middle half and nine tenths of the scenarios at each bar,
    and the best scenario; what has ended is left out from then on. The capacity curve is the metric over initial_cash,
    its median and the middle half.
    path, figsize, dpi, style: as in `Result.plot`.   Gives the path, or a Figure, which a notebook shows, and show().

    Raises ConfigError for an axis or metric that is not there; ResultError: matplotlib is missing, the disk refuses.
    """
    with_threads("SweepResult.plot()")
    results.check_axes(sweep, *(axis for axis in (rows, columns) if axis is not None))
    best = sweep.best(metric, len(sweep))  # refuses what is no metric
    varying = [axis for axis in sweep.axes if sweep.table[axis].n_unique() > 1 and axis not in where]
    free = [axis for axis in varying if axis not in (rows, columns)]
    free.sort(key="initial_cash".__eq__)  # it has a curve of its own
    rows = rows or (free.pop(0) if free else next(iter(sweep.axes), None))
    columns = columns or (free.pop(0) if free else None)
    if rows is None:
        raise ConfigError("the sweep has no axis: there is nothing to draw")
    shared: list[str] = []  # the title of several maps
    draws: list[tuple[float, Callable[[Figure, Any], None]]] = []
    if columns:
        if how is None and free and free[0] != "initial_cash" and sweep.table[free[0]].n_unique() <= _FACETS:
            each = [{free[0]: value} for value in sweep.held(where)[free[0]].unique(maintain_order=True)]
        else:
            each = [{}]
        tables = [_Table(sweep, rows, columns, metric, how or "mean", where, one, best) for one in each]
        across = -(-len(tables) // -(-len(tables) // max(1, int((figsize or (10,))[0] / 3))))  # rows of equal length
        shared = [tables[0].title] * (len(tables) > 1)
        tall = min(8.5, max(3.0 if across == 1 else 2.6, 1.6 + 0.22 * len(tables[0].rows)))
        draws.append((tall * -(-len(tables) // across), partial(_maps, tables, across)))
    else:
        draws.append((3.5, _panel(partial(_line, sweep=sweep, metric=metric, axis=rows, held=where))))
    if sweep.has_equity:
        draws.append((3.5, _panel(partial(_fan, sweep=sweep, metric=metric, best=best))))
    if "initial_cash" in varying and rows != "initial_cash" and "initial_cash" not in where:
        draws.append((3.5, _panel(partial(_line, sweep=sweep, metric=metric, axis="initial_cash", held=where))))
    heights = [height for height, _ in draws]
    with figures.new_figure(10, 0.4 + sum(heights), figsize, style) as figure:
        grid = figure.add_gridspec(len(draws), 1, height_ratios=heights)
        for place, (_, draw) in enumerate(draws):
            draw(figure, grid[place, 0])
        t, n = sweep.shape
        head(figure, [f"{len(sweep):,} scenario{'s' * (len(sweep) != 1)} of {t:,} bars x {n:,} assets"], shared)
    return figures.save_figure(figure, path, dpi)


def _panel(draw: Callable[..., None]) -> Callable[[Figure, Any], None]:
    """A drawing of one Axes."""

    def drawn(figure: Figure, place: Any) -> None:
        ax = figure.add_subplot(place)
        draw(ax)
        tidy(ax)

    return drawn


class _Table:
    """One heat map: its values, the values of its axes, sorted where they are numbers, and its best cell."""

    def __init__(
        self, sweep: SweepResult, rows: str, columns: str, metric: str, how: str, where: Mapping[str, Any],
        one: Mapping[str, Any], best: pl.DataFrame,
    ) -> None:  # fmt: skip
        given, where = where, {**where, **one}
        table, held = sweep.pivot(rows, columns, metric, how=how, **where), sweep.held(where)
        self.rows, self.columns = table[rows].to_list(), held[columns].unique(maintain_order=True).to_list()
        self.values = table.drop(rows).to_numpy().astype(np.float64)
        for axis, values in enumerate((self.rows, self.columns)):
            if is_number(values):
                order = np.argsort(values, kind="stable").tolist()
                self.values = self.values.take(order, axis=axis)
                values[:] = [values[i] for i in order]
        self.names, self.metric = (rows, columns), metric
        ranked = best.join(held.select(sweep.column("scenario")), on=sweep.column("scenario"))
        pairs = ranked.select(rows, columns).unique().rows() if ranked.height else []
        cells = [(self.rows.index(a), self.columns.index(b)) for a, b in pairs]
        cells = [cell for cell in cells if np.isfinite(self.values[cell])]
        sign = -1 if metric in results.LESS else 1
        self.best = max(sorted(cells), key=lambda cell: sign * self.values[cell], default=None)
        others = [a for a in sweep.axes if a not in (rows, columns, *where) and held[a].n_unique() > 1]
        over = f", {how} over {', '.join(others)}" if others else ""
        self.title, self.own = f"{metric}{over}{_held(given)}", _held(one)[2:]

    @property
    def score(self) -> float:
        """What is most for the best table."""
        if self.best is None:
            return -np.inf
        return float(self.values[self.best]) * (-1 if self.metric in results.LESS else 1)


def _maps(tables: list[_Table], across: int, figure: Figure, place: Any) -> None:
    """Heat maps in the same colours, the best cell of all of them marked."""
    metric, down = tables[0].metric, -(-len(tables) // across)
    every = np.concatenate([table.values.ravel() for table in tables])
    text, limits = _text(metric, every), _limits(every)
    top = max(tables, key=lambda table: table.score)
    grid, drawn = place.subgridspec(down, across), []
    image = None
    for k, table in enumerate(tables):
        ax = figure.add_subplot(grid[k // across, k % across])
        drawn.append(ax)
        image = heat(ax, table.values, texts_of(table.rows), texts_of(table.columns), text, limits,
                     reverse=metric in results.LESS, taken=(1.0 / across, 0.95))  # fmt: skip
        if table is top and table.best is not None:
            mark(ax, *table.best, f"Best, {text(table.values[table.best])}")
        title(ax, table.own or table.title)
        if k % across == 0:
            ax.set_ylabel(_axis(table.names[0], table.rows, room(ax)[1] - 0.8), fontsize="small")
        else:
            ax.tick_params(labelleft=False)
        if k >= len(tables) - across:
            ax.set_xlabel(_axis(table.names[1], table.columns, room(ax)[0]), fontsize="small")
        tidy(ax, grid=False)
    if image is not None and limits[0] < limits[1]:
        from matplotlib.ticker import FuncFormatter, PercentFormatter

        form = PercentFormatter(1.0) if metric in _SHARES else FuncFormatter(figures.tick_text)
        bar = figure.colorbar(image, ax=drawn, format=form, pad=0.02, aspect=30)
        bar.ax.tick_params(labelsize="small")


def _line(ax: Axes, sweep: SweepResult, metric: str, axis: str, held: Mapping[str, Any]) -> None:
    """The metric for each value of an axis: of one scenario, or the median and the middle half of several."""
    table = sweep.held(held)
    names = table[axis].unique(maintain_order=True).to_list()
    scale = "log" if axis == "initial_cash" and len(names) > 1 and min(names) > 0 else scale_of(names)
    names = sorted(names) if is_number(names) else names
    cells = _cells(table, axis, sweep.column(metric), names)
    low, middle, high = np.array([_quantiles(cell, (0.25, 0.5, 0.75)) for cell in cells]).T
    x = np.asarray(names, np.float64) if scale != "names" else np.arange(len(names), dtype=np.float64)
    many, ordered = any(len(cell) > 1 for cell in cells), is_number(names)
    if many and ordered:
        area(ax, x, low, high, colours()[0], alpha=0.2, label="Middle half")
    elif many:
        ax.vlines(x, low, high, color=colours()[0], alpha=0.3, linewidth=4, label="Middle half")
    marker = "o" if len(x) <= 100 or not ordered else None
    line(ax, x, middle, colours()[0], "Median" if many else None, marker=marker, markersize=4,
         linestyle="-" if ordered else "none")  # fmt: skip
    text, none = _text(metric, middle), ~np.isfinite(middle)
    if not none.all():
        k = int((np.nanargmin if metric in results.LESS else np.nanargmax)(np.where(none, np.nan, middle)))
        label = f"Best, {text(middle[k])} at {texts_of(names)[k]}"
        ax.plot(x[k], middle[k], "o", markersize=10, markerfacecolor="none", color=ink(), label=label)
    if none.any():
        ax.plot(x[none], np.zeros(none.sum()), "x", color=colours()[3], markersize=5, clip_on=False,
                transform=ax.get_xaxis_transform(), label=f"No number: {none.sum():,} of {len(none):,}")  # fmt: skip
    if scale == "log":
        ax.set_xscale("log")
        _log_ticks(ax, x, names)
    elif scale == "names" or len(names) <= 12:
        ticks(ax, "x", texts_of(names), room(ax)[0], x)
    ax.set_xlabel(_axis(axis, names, room(ax)[0]), fontsize="small")
    name = f"{metric} over {axis}" + (": capacity" if axis == "initial_cash" else "")
    name_axes(ax, name + _held(held), "%" if metric in _SHARES else "")


def _axis(name: str, values: list[Any], inches: float) -> str:
    return figures.wrapped([name + ", log scale" * (scale_of(values) == "log")], inches)


def _cells(table: pl.DataFrame, axis: str, metric: str, names: list[Any]) -> list[np.ndarray]:
    """The metric of the scenarios of each value of an axis."""
    groups = table.partition_by(axis, as_dict=True)
    return [groups[(name,)][metric].to_numpy().astype(np.float64) for name in names]


def _log_ticks(ax: Axes, x: np.ndarray, names: list[Any]) -> None:
    """Ticks of a log scale: the values where they are few, else powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if len(names) <= 12:
        ticks(ax, "x", texts_of(names), room(ax)[0], x)
    else:
        ax.xaxis.set_major_locator(LogLocator(subs=(1,) if x[-1] > 30 * x[0] else (1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(figures.tick_text))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _fan(ax: Axes, sweep: SweepResult, metric: str, best: pl.DataFrame) -> None:
    """How equity over initial cash spreads over the scenarios, and the one that is best."""
    value = sweep.equity / sweep.opening[:, None]
    axis = TimeAxis(sweep.timestamps, getattr(sweep.timestamps.dtype, "time_zone", None))
    if len(value) > 1:
        bands = np.array([_quantiles(column, (0.05, 0.25, 0.5, 0.75, 0.95)) for column in value.T]).T
        for low, high, alpha, label in ((0, 4, 0.15, "Nine tenths"), (1, 3, 0.3, "Middle half")):
            area(ax, axis.x, bands[low], bands[high], colours()[0], alpha=alpha, label=label)
        line(ax, axis.x, bands[2], colours()[0], "Median", linewidth=1.5)
    number = int(best[sweep.column("scenario")][0]) if len(best) else 0
    if len(best) or len(value) == 1:
        name = f"Scenario {number}, best by {metric}" if len(value) > 1 else None
        line(ax, axis.x, value[number], ink() if name else colours()[0], name, linewidth=0.9)
    ax.axhline(1.0, color=ink(), alpha=0.6, linewidth=0.8, linestyle=":")
    axis.label(ax, room(ax)[0])
    name_axes(ax, "Equity over initial cash")


def _text(metric: str, values: np.ndarray) -> Callable[[float], str]:
    """What writes a metric's values."""
    if metric in _SHARES:
        return percent(values)
    finite = np.abs(values[np.isfinite(values)])
    most = finite.max(initial=0.0)
    size, letter = next(((s, c) for s, c in ((1e9, "B"), (1e6, "M")) if most >= s), (1.0, ""))
    whole = most / size >= 1000 or (finite == np.round(finite)).all()
    digits = 0 if whole and size == 1 else figures.decimals(values / size, 2)
    return lambda x: f"{x / size:z,.{digits}f}{letter}".replace("-", figures.MINUS)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """The least and the most; where values lie on both sides of 0, the shorter side is a tenth of the other or more."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return (min(low, -high / 10), max(high, -low / 10)) if low < 0 < high else (low, high)


def _quantiles(values: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    values = values[np.isfinite(values)]
    return np.quantile(values, levels) if len(values) else np.full(len(levels), np.nan)


def _held(where: Mapping[str, Any]) -> str:
    """What other axes are held at."""
    texts = {name: texts_of([v])[0] if is_number([v]) else v for name, v in where.items()}
    return "".join(f", {name}={v if isinstance(v, str) else shown(v)}" for name, v in texts.items())
