# SPDX-License-Identifier: Apache-2.0
"""One picture of a factor study: information coefficient, spread, returns by quantile, decay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from gpu_bt.analysis import figures
from gpu_bt.analysis.figures import area, colours, head, ink, line, name_axes, room, tidy
from gpu_bt.analysis.time_axis import TimeAxis
from gpu_bt.data.forks import with_threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gpu_bt.analysis.factor import FactorStudy
    from gpu_bt.analysis.picture import Picture

__all__ = ["plot"]

#: Horizons that stay apart in a drawing.
_MOST = 4
#: Bars that a rolling mean is of.
_ROLLING = 63


_Size = tuple[float, float] | None


@overload
def plot(
    study: FactorStudy, path: None = None, *, figsize: _Size = None, dpi: float | None = None,
    style: figures.Style | None = None,
) -> Picture: ...  # fmt: skip
@overload
def plot(
    study: FactorStudy, path: str | os.PathLike[str], *, figsize: _Size = None, dpi: float | None = None,
    style: figures.Style | None = None,
) -> Path: ...  # fmt: skip
def plot(
    study: FactorStudy, path: str | os.PathLike[str] | None = None, *, figsize: _Size = None,
    dpi: float | None = None, style: figures.Style | None = None,
) -> Path | Picture:  # fmt: skip
    """Four drawings.

    Information coefficient at the shortest horizon: of each bar, its mean, and that of the last 63 bars, where more
    than half of them have one. Spread of the outer quantiles divided by the horizon, summed over the bars: what h books
    of 1/h each, one begun at each bar, would have. Mean return of each quantile, per bar of the horizon. Mean
    information coefficient by horizon, with two standard errors (Newey and West) on either side. Of more than 4
    horizons, spread and quantiles show 4.

    path, figsize, dpi, style: as in `Result.plot`.   Gives the path, or a Figure, which a notebook shows, and show().
    Raises ResultError: matplotlib is missing, the format is not known, the disk refuses.
    """
    with_threads("FactorStudy.plot()")
    axis = TimeAxis(study.timestamps, study.time_zone)
    few = np.unique(np.linspace(0, len(study.horizons) - 1, _MOST).round().astype(int))
    with figures.new_figure(10, 8, figsize, style) as figure:
        grid = figure.add_gridspec(3, 2, height_ratios=[1.3, 1.3, 1.2])
        ic = figure.add_subplot(grid[0, :])
        spread = figure.add_subplot(grid[1, :], sharex=ic)
        _ic(ic, axis.x, study)
        _spread(spread, axis.x, study, few)
        _quantiles(figure.add_subplot(grid[2, 0]), study, few)
        _decay(figure.add_subplot(grid[2, 1]), study)
        for ax in figure.axes:
            tidy(ax)
        ic.tick_params(labelbottom=False)
        axis.label(spread, room(spread)[0])
        head(figure, study.head.split(", "))
    return figures.save_figure(figure, path, dpi)


def _ic(ax: Axes, when: np.ndarray, study: FactorStudy) -> None:
    """The first horizon's, each bar a thin line from 0."""
    h, ic = study.horizons[0], study.series("ic")[:, 0]
    row = study.summary().row(0, named=True)
    ax.vlines(when, 0, ic, color=colours()[0], linewidth=min(3.0, max(0.25, 600 / len(when))), alpha=0.35)
    if len(when) > _ROLLING:
        there = np.cumsum(~np.isnan(ic))
        total = np.cumsum(np.nan_to_num(ic))
        count = there[_ROLLING:] - there[:-_ROLLING]
        mean = np.where(2 * count > _ROLLING, (total[_ROLLING:] - total[:-_ROLLING]) / np.maximum(count, 1), np.nan)
        line(ax, when[_ROLLING:], mean, ink(), f"Mean of {_ROLLING} bars")
    if row["ic_bars"]:
        label = f"Mean {row['ic_mean']:.4f}"
        ax.axhline(row["ic_mean"], color=colours()[3], linewidth=1.1, linestyle="--", label=label)
    name_axes(ax, f"Information coefficient, {_bars(h)}, t {row['ic_t_newey_west']:.1f}", "{x:.2f}")


def _spread(ax: Axes, when: np.ndarray, study: FactorStudy, few: np.ndarray) -> None:
    """Sums over the bars that have a spread."""
    for colour, k in zip(colours(), few.tolist(), strict=False):
        h = study.horizons[k]
        spread = study.series("spread")[:, k] / h
        summed = np.where(np.isnan(spread), np.nan, np.cumsum(np.nan_to_num(spread)))
        line(ax, when, summed, colour, _bars(h))
    ax.axhline(0.0, color=ink(), alpha=0.6, linewidth=0.8, linestyle=":")
    name_axes(ax, f"Spread of quantile {study.quantiles} over 1, per bar of the horizon, summed", "%")


def _quantiles(ax: Axes, study: FactorStudy, few: np.ndarray) -> None:
    """A column for each horizon, side by side, in the colours of the spread."""
    table, width = study.by_quantile["mean"].to_numpy().reshape(-1, study.quantiles), 0.8 / len(few)
    at = np.arange(1, study.quantiles + 1)
    for j, k in enumerate(few.tolist()):
        h = study.horizons[k]
        ax.bar(at + (j - (len(few) - 1) / 2) * width, table[k] / h, width, color=colours()[j])
    ax.axhline(0.0, color=ink(), linewidth=0.8)
    if study.quantiles <= 20:
        ax.set_xticks(at)
    ax.set_xlabel(f"Quantile, {study.quantiles} = the highest scores")
    name_axes(ax, f"Mean return per bar{', less the mean' * study.demean}, colours as above", "%")


def _decay(ax: Axes, study: FactorStudy) -> None:
    """The mean at each horizon, and where it may be."""
    from matplotlib.ticker import MaxNLocator

    table = study.decay
    mean, t = table["ic_mean"].to_numpy(), table["ic_t_newey_west"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 2 * np.abs(mean / t)
    area(ax, np.array(study.horizons), mean - error, mean + error, colours()[0], alpha=0.2)
    line(ax, np.array(study.horizons), mean, colours()[0])
    ax.axhline(0.0, color=ink(), linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("Horizon, bars")
    name_axes(ax, "Mean information coefficient, 2 standard errors", "{x:.3f}")


def _bars(h: int) -> str:
    return f"{h:,} bar{'s' * (h > 1)}"
