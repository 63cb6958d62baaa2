# SPDX-License-Identifier: Apache-2.0
"""One picture of a result: panels below each other, each of one thing on its own scale.

Everything is drawn from what a written result keeps, too: the table of equity, statuses, metrics and labels. Letters: T
bars. In the function of a panel `run` holds its columns as (T,) arrays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from gpu_bt.analysis import figures
from gpu_bt.analysis.benchmarks import benchmark_of
from gpu_bt.analysis.figures import area, colours, head, ink, line, name_axes, percent, room, tidy, title
from gpu_bt.analysis.heat import heat
from gpu_bt.analysis.metrics import drawdown
from gpu_bt.analysis.time_axis import TimeAxis
from gpu_bt.arguments import check_texts, flag, one_of, several
from gpu_bt.data.forks import with_threads
from gpu_bt.data.times import stamp
from gpu_bt.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gpu_bt.analysis.picture import Picture
    from gpu_bt.analysis.result import Result

__all__ = ["PANELS", "plot"]

_STATUS = {"MARGIN_CALL": 1, "DRAWDOWN_STOP": 4, "BANKRUPT": 3, "LEDGER_OVERFLOW": 2}
_COSTS = ("commission", "slippage", "financing")
#: The most columns of turnover that stay readable.
_COLUMNS = 120


@dataclass
class _Run:
    """What panels read. base: equity where it is > 0, else NaN: what shares are shares of.   start: the first bar that
    metrics count.   before: equity before it.   other: (label, (T,) prices of the benchmark rebased to equity)."""

    table: dict[str, np.ndarray]
    base: np.ndarray
    axis: TimeAxis
    start: int
    opening: float
    before: float
    log: bool | None
    other: tuple[str, np.ndarray] | None


_Size = tuple[float, float] | None


@overload
def plot(
    result: Result, path: None = None, *, name: str | None = None, benchmark: Any = None, monthly: bool = False,
    log: bool | None = None, panels: Collection[str] | None = None, figsize: _Size = None, dpi: float | None = None,
    style: figures.Style | None = None,
) -> Picture: ...  # fmt: skip
@overload
def plot(
    result: Result, path: str | os.PathLike[str], *, name: str | None = None, benchmark: Any = None,
    monthly: bool = False, log: bool | None = None, panels: Collection[str] | None = None, figsize: _Size = None,
    dpi: float | None = None, style: figures.Style | None = None,
) -> Path: ...  # fmt: skip
def plot(
    result: Result, path: str | os.PathLike[str] | None = None, *, name: str | None = None, benchmark: Any = None,
    monthly: bool = False, log: bool | None = None, panels: Collection[str] | None = None, figsize: _Size = None,
    dpi: float | None = None, style: figures.Style | None = None,
) -> Path | Picture:  # fmt: skip
    """The run as one picture, of these panels, from the top down (E equity after a bar, s the bar of `result.start`):

    equity     E, and at what it began. benchmark: its prices P times E[s]/P[s].
    benchmark  with `benchmark`: E over that, less 1.
    drawdown   E/peak - 1, the peak counted from the opening on.
    exposure   long value, short value, gross (long + |short|) and net (long + short), each over E.
    cash       cash over E.
    turnover   (buys + sells)/2 over the bar's E, summed over as many bars as make at most 120 columns.
    costs      commission, slippage and financing paid (what was earned hangs below 0), each over the bar's E and summed
               since the first bar: what they took from the return.
    money      the same in money.
    monthly    with `monthly`: return of each month, and of each year, compounded from s on.

    The ground is grey before s, and after the end of an ended run; a vertical line marks the first bar of each status.
    Intraday bars stand side by side, without closed hours; times are those of the panel's zone. The title has the total
    return, and numbers of a year only of runs of a quarter of a year or more, and of 60 bars or a year.

    path: where to write; its suffix names the format (png, pdf, svg, ...; none = png). None = nothing is written.
    name: what the title begins with.   benchmark: prices of one asset: a Panel, a pandas Series, what `read_panel`
    takes, or T numbers, one per bar. Labels decide: a bar has the last price not after it; labels of midnight
    mean the whole day.   log: scale of equity; None = where its highest is more than 10 times its lowest.
    panels: names of the above; None = all, but costs where none was paid.   figsize: inches, (10, what the panels
    need).   dpi: dots per inch of a file, 150.   style: "light", "dark", or what matplotlib.style.use takes; None =
    matplotlib as it is set.
    Gives the path, or a Figure where path is None, which a notebook shows, and show().

    Raises ConfigError for an option that is none, PanelError for a benchmark that is none; ResultError: matplotlib is
    missing, the format is not known, the disk refuses.
    """
    with_threads(f"{type(result).__name__}.plot()")
    check_texts(ConfigError, **({} if name is None else {"name": name}))
    run = _read(result, benchmark, None if log is None else flag("log", log))
    names = _chosen(panels, run, flag("monthly", monthly))
    months = _months(run) if "monthly" in names else None
    heights = [0.55 + 0.2 * len(months[0]) if n == "monthly" and months else PANELS[n][1] for n in names]
    with figures.new_figure(10, 0.9 + sum(heights), figsize, style) as figure:
        grid = figure.add_gridspec(len(names), 1, height_ratios=heights)
        time: list[Axes] = []
        for place, panel in enumerate(names):
            if panel == "monthly" and months:
                _monthly(figure.add_subplot(grid[place, 0]), *months)
                continue
            ax = figure.add_subplot(grid[place, 0], sharex=time[0] if time else None)
            PANELS[panel][0](ax, run)
            _frame(ax, result, run, first=not time)
            ax.tick_params(labelbottom=False)
            time.append(ax)
        if time:
            time[-1].tick_params(labelbottom=True)
            run.axis.label(time[-1], room(time[-1])[0])
        head(figure, *_title(result, name))
    return figures.save_figure(figure, path, dpi)


def _read(result: Result, benchmark: Any, log: bool | None) -> _Run:
    """The columns of a result."""
    table = {column: result.equity[column].to_numpy() for column in result.equity.columns[1:]}
    m: dict[str, Any] = result.metrics
    equity = table["equity"]
    axis, start = TimeAxis(result.timestamps, result.time_zone), int((result.timestamps < result.start).sum())
    before = m["final_equity"] / (1 + m["total_return"]) if m["total_return"] > -1 else result.opening
    other = None
    if benchmark is not None:
        label, prices = benchmark_of(benchmark, result.timestamps, result.time_zone, result.assets)
        both = np.flatnonzero(~np.isnan(prices) & ~np.isnan(equity) & (np.arange(len(equity)) >= start))
        if not len(both):
            raise ConfigError(f"benchmark {label!r} has no price from {stamp(result.start)} on: pass prices of then")
        other = label, prices * equity[both[0]] / prices[both[0]]
    return _Run(table, np.where(equity > 0, equity, np.nan), axis, start, result.opening, before, log, other)


def _chosen(panels: Collection[str] | None, run: _Run, monthly: bool) -> list[str]:
    """Names of panels."""
    if panels is None:
        free = not any(np.nan_to_num(run.table.get(kind, 0.0)).any() for kind in _COSTS)
        left_out = {"benchmark": run.other is None, "monthly": not monthly, "costs": free, "money": free}
        names = [name for name in PANELS if not left_out.get(name)]
    else:
        names = list(panels) if several(panels) else [panels]  # type: ignore[list-item]
        names = [one_of("panels", name, tuple(PANELS)) for name in names] + ["monthly"] * monthly
        names = list(dict.fromkeys(names))
    if not names or ("benchmark" in names and run.other is None):
        no = "no name: leave it out for all" if not names else "'benchmark', which needs prices: pass benchmark="
        raise ConfigError(f"panels has {no}")
    whole = "buys" in run.table
    return [name for name in names if whole or name in ("equity", "benchmark", "drawdown", "monthly")]


def _equity(ax: Axes, run: _Run) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    equity = run.table["equity"]
    if run.other:
        line(ax, run.axis.x, run.other[1], colours()[1], run.other[0])
    line(ax, run.axis.x, equity, colours()[0], "Equity")
    ax.axhline(run.opening, color=ink(), alpha=0.6, linewidth=0.8, linestyle=":", label="At the start")
    low, high = np.fmin.reduce(equity), np.fmax.reduce(equity)
    log = low > 0 and (10 * low < high if run.log is None else run.log)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
        if high > 4 * low:
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        else:
            ax.yaxis.set_major_locator(_even(low, high))
    name_axes(ax, "Equity, log scale" if log else "Equity")


def _even(low: float, high: float) -> Any:
    """Ticks of a log scale that holds no 1, 2 and 5 to choose from."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    return FixedLocator(MaxNLocator(5).tick_values(low, high)[1:-1])


def _against(ax: Axes, run: _Run) -> None:
    assert run.other is not None
    line(ax, run.axis.x, run.table["equity"] / run.other[1] - 1, colours()[1])
    _zero(ax)
    name_axes(ax, f"Equity over {run.other[0]}, less 1", "%")


def _drawdown(ax: Axes, run: _Run) -> None:
    fall = drawdown(run.table["equity"], run.opening)
    area(ax, run.axis.x, fall, np.zeros(len(fall)), colours()[3], alpha=0.3)
    line(ax, run.axis.x, fall, colours()[3])
    name_axes(ax, "Drawdown, from the peak", "%")


def _exposure(ax: Axes, run: _Run) -> None:
    """Long, short, gross and net value over equity."""
    long, short = run.table["long_value"] / run.base, run.table["short_value"] / run.base
    x, zero = run.axis.x, np.zeros(len(long))
    area(ax, x, zero, long, colours()[2], alpha=0.3, label="Long")
    if (run.table["short_value"] < 0).any():
        area(ax, x, short, zero, colours()[3], alpha=0.3, label="Short")
        line(ax, x, long - short, ink(), "Gross")
        line(ax, x, long + short, colours()[0], "Net")
    else:
        line(ax, x, long, colours()[2])
    _zero(ax)
    name_axes(ax, "Exposure, of equity", "%")


def _cash(ax: Axes, run: _Run) -> None:
    line(ax, run.axis.x, run.table["cash"] / run.base, colours()[0])
    _zero(ax)
    name_axes(ax, "Cash, of equity", "%")


def _turnover(ax: Axes, run: _Run) -> None:
    """Turnover in columns, of several bars each where there are many."""
    x = run.axis.x
    step = -(-len(x) // _COLUMNS)
    traded = np.nan_to_num((run.table["buys"] + run.table["sells"]) / 2 / run.base)
    starts = np.arange(0, len(x), step)
    width = np.diff(x[starts]).min() if len(starts) > 1 else 1.0
    ax.bar(x[starts], np.add.reduceat(traded, starts), width * 0.8, align="edge" if step > 1 else "center",
           color=colours()[0])  # fmt: skip
    if not traded.any():
        ax.set_ylim(0, 0.01)
    name_axes(ax, f"Turnover per {f'{step:,} bars' if step > 1 else 'bar'}, one-way, of equity", "%")


def _costs(ax: Axes, run: _Run) -> None:
    _stacked(ax, run, run.base, 0.01)
    name_axes(ax, "Costs, of equity, summed", "%")


def _money(ax: Axes, run: _Run) -> None:
    _stacked(ax, run, np.ones(len(run.base)), 1.0)
    name_axes(ax, "Costs, in money, summed")


def _stacked(ax: Axes, run: _Run, base: np.ndarray, top: float) -> None:
    """Costs so far as areas on one another, and their total; a kind that was never paid is left out."""
    t, x, tones = run.table, run.axis.x, colours()
    parts = {kind.title(): -t[kind] if kind == "financing" else t[kind] for kind in _COSTS}
    shades = dict(zip(parts, (tones[0], tones[1], tones[4]), strict=True))
    ended = np.isnan(t["equity"])
    sums = {name: np.where(ended, np.nan, np.cumsum(np.nan_to_num(v / base))) for name, v in parts.items()}
    paid = {name: values for name, values in sums.items() if np.nan_to_num(values).any()}
    above, below = np.zeros(len(x)), np.zeros(len(x))  # where the next area begins: what was earned hangs from 0
    for name, values in paid.items():
        label: str | None = name
        for start, part in ((above, np.maximum(values, 0)), (below, np.minimum(values, 0))):
            if np.nan_to_num(part).any():
                area(ax, x, start.copy(), start + part, shades[name], alpha=0.5, label=label)
                label = None
            start += part
    line(ax, x, sum(sums.values(), np.zeros(len(x))), ink(), "Total" if len(paid) != 1 else None)
    if not paid:
        ax.set_ylim(0, top)
    elif not (below < 0).any():
        ax.set_ylim(bottom=0)


def _months(run: _Run) -> tuple[list[int], np.ndarray]:
    """(years, (years, 13) returns: of each month, the year's last); NaN where there is none."""
    rows = np.flatnonzero(~np.isnan(run.table["equity"]) & (np.arange(len(run.base)) >= run.start))
    months = run.axis.wall[rows].astype("datetime64[M]").astype(int)
    if not len(rows):
        return [int(run.axis.wall[0].astype("datetime64[Y]").astype(int)) + 1970], np.full((1, 13), np.nan)
    years = np.arange(months[0] // 12, months[-1] // 12 + 1)
    table, equity = np.full((len(years), 13), np.nan), run.table["equity"]
    for column, period in ((None, months), (12, months // 12)):
        last = np.flatnonzero(np.append(np.diff(period) != 0, True))
        ends = equity[rows[last]]
        before = np.append(run.before, ends[:-1])
        with np.errstate(all="ignore"):
            found = ends / np.where(before > 0, before, np.nan) - 1
        table[months[last] // 12 - years[0], months[last] % 12 if column is None else column] = found
    return (years + 1970).tolist(), table


def _monthly(ax: Axes, years: list[int], table: np.ndarray) -> None:
    most = max(np.nanmax(np.abs(table[:, :12]), initial=0.0), 1e-9)
    rows, columns = [str(year) for year in years], [*"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Year".split()]
    heat(ax, table, rows, columns, percent(np.array([0.0, 0.05])), (-most, most), missing=False, taken=(0.0, 0.45))
    ax.axvline(11.5, color=ink(), linewidth=1.0)
    title(ax, "Return of each month")
    tidy(ax, grid=False)


def _zero(ax: Axes) -> None:
    ax.axhline(0.0, color=ink(), alpha=0.6, linewidth=0.8, linestyle=":")


def _frame(ax: Axes, result: Result, run: _Run, first: bool) -> None:
    """Statuses, the ground before the start and after the end, grid and legend; only the first names them."""
    x, axis = run.axis.x, run.axis
    for name, since in result.statuses.items():
        bar = int((result.timestamps < since).sum())
        if since >= result.timestamps[0]:
            colour = ink() if name == "LEDGER_OVERFLOW" else colours()[_STATUS[name]]
            label = f"{name} {_stamp(since)}" if first else None
            ax.axvline(x[bar], color=colour, linestyle="--", linewidth=1.1, label=label)
    bars = int(np.count_nonzero(~np.isnan(run.table["equity"])))
    grounds = {"Before the start": (axis.limits[0], x[run.start], run.start > 0)}
    grounds["Ended"] = (x[max(bars - 1, 0)], axis.limits[1], bars < len(x))
    for name, (left, right, there) in grounds.items():
        if there:
            label = name if first and name != "Ended" else None
            ax.axvspan(left, right, color=ink(), alpha=0.09, linewidth=0, label=label)
    tidy(ax)


def _title(result: Result, name: str | None) -> list[list[str]]:
    """The name, the period, and the numbers of the run."""
    stamps, m, n = result.timestamps, result.metrics, len(result.assets)
    lines = [[name]] if name else []
    lines.append([f"{_stamp(stamps[0])} to {_stamp(stamps[-1])}", f"{n:,} asset{'s' * (n != 1)}", result.status])
    texts = {"total_return": "return {:z,.1%}", "max_drawdown": "max drawdown {:z.1%}"}
    if annual(m):
        texts = {
            "total_return": "return {:z,.1%}", "annual_return": "{:z.1%} a year", "volatility": "volatility {:.1%}",
            "sharpe": "Sharpe {:z.2f}", "max_drawdown": "max drawdown {:z.1%}", "turnover": "turnover {:.1f}x a year",
            "annual_costs": "costs {:.2%} a year",
        }  # fmt: skip
    return [*lines, [text.format(m[key]) for key, text in texts.items() if key in m]]


def _stamp(bar: datetime) -> str:
    """On the wall clock, which the axis of time names."""
    return stamp(bar.replace(tzinfo=None)).removesuffix(":00")


def annual(metrics: Mapping[str, Any]) -> bool:
    """Whether a run is long enough for numbers of a year."""
    n, year = metrics["bars"], metrics["bars_per_year"]
    return bool(n >= year / 4 and (n >= 60 or n >= year))


#: Name -> (what draws it, its height in inches), from the top down.
PANELS: dict[str, tuple[Callable[[Any, _Run], None], float]] = {
    "equity": (_equity, 3.0), "benchmark": (_against, 1.3), "drawdown": (_drawdown, 1.4), "exposure": (_exposure, 1.4),
    "cash": (_cash, 1.1), "turnover": (_turnover, 1.2), "costs": (_costs, 1.4), "money": (_money, 1.4),
    "monthly": (lambda ax, run: None, 1.0),
}  # fmt: skip
