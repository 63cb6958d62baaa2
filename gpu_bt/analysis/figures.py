# SPDX-License-Identifier: Apache-2.0
"""What all pictures share: the figure and its file, colours, titles and legends that fit, texts of numbers.

Matplotlib is imported on first use. Letters: x, where things stand on the axis of time or of values.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.arguments import path_of, real
from gpu_bt.data.disk import write_beside
from gpu_bt.errors import ConfigError, ResultError, printable, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gpu_bt.analysis.picture import Picture

__all__ = [
    "MINUS", "Style", "area", "colours", "compact", "decimals", "head", "ink", "line", "name_axes", "new_figure",
    "percent", "plain", "points", "room", "save_figure", "tick_text", "tidy", "title", "width_of", "wrapped",
]  # fmt: skip

#: What matplotlib.style.use takes; "dark" and "light" are its "dark_background" and "default".
Style = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
_STYLES = {"dark": "dark_background", "light": "default"}
MINUS = "\N{MINUS SIGN}"
#: Lines of more points than this show the least and the most of each of half so many stretches.
_POINTS = 6000


@contextmanager
def new_figure(
    width: float, height: float, figsize: tuple[float, float] | None = None, style: Style | None = None
) -> Iterator[Picture]:
    """An empty figure in inches, and a block in which matplotlib draws in a style.

    figsize: (width, height) instead, half of these or more; None = the first two.   style: as `Result.plot` has it.
    Raises ResultError where matplotlib is missing or does not start, ConfigError for a size or style that is none.
    """
    try:
        import matplotlib.figure
        import matplotlib.style
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        from gpu_bt.analysis.picture import Picture
    except ImportError:
        raise ResultError("plot() needs matplotlib, which is missing: pip install matplotlib") from None
    except ValueError as error:  # a setting of its own, such as MPLBACKEND
        raise ResultError(f"matplotlib cannot start: {str(error).splitlines()[0]:.200}") from error
    names: Any = [style] if isinstance(style, (str, dict)) else [] if style is None else style
    try:
        look = [_STYLES.get(name, name) if isinstance(name, str) else name for name in names]
        entered = matplotlib.style.context(look)
        entered.__enter__()
    except (OSError, TypeError, ValueError, AttributeError):
        known = ", ".join(["light", "dark", *matplotlib.style.available[:3]])
        raise ConfigError(f"style is {shown(style)}: it must be a style of matplotlib, such as {known}") from None
    try:
        size = (width, height) if figsize is None else _size(figsize, (width / 2, height * 0.55))
        yield Picture(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.05))
    finally:
        entered.__exit__(None, None, None)


def _size(value: Any, least: tuple[float, float]) -> tuple[float, float]:
    """Two numbers of inches. Raises ConfigError for anything else, and what is too small for what is drawn."""
    found = [real(x) for x in value] if isinstance(value, (list, tuple, np.ndarray)) else []
    if len(found) != 2 or not all(low <= x <= 200.0 for low, x in zip(least, found, strict=True)):
        rule = f"(width, height) in inches, up to 200, and for this picture ({least[0]:.1f}, {least[1]:.1f}) or more"
        raise ConfigError(f"figsize is {shown(value)}: it must be {rule}")
    return found[0], found[1]


def save_figure(figure: Picture, path: str | os.PathLike[str] | None, dpi: float | None = None) -> Path | Picture:
    """Write a figure in the format that the suffix names and give the path; the figure itself where path is None.

    dpi: dots per inch of a file, 10 to 2,400; None = 150.
    """
    if dpi is not None and not 10 <= real(dpi) <= 2400:
        raise ConfigError(f"dpi is {shown(dpi)}: it must be a number from 10 to 2,400, or None for 150")
    if path is None:
        if dpi is not None:
            figure.set_dpi(dpi)
        figure.hand_over()
        return figure
    path = path_of("path", path)
    kind = path.suffix[1:].lower() or "png"
    kinds = figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise ResultError(f"{path} has an unknown format {kind!r}: take one of {', '.join(sorted(kinds))}")

    def draw(beside: Path) -> None:
        try:
            figure.savefig(beside, format=kind, dpi=dpi or 150)
        except (RuntimeError, ValueError, ImportError) as error:  # a format or a setting that needs LaTeX, for one
            raise ResultError(f"{path} was not drawn: {str(error).splitlines()[0]:.200}; take png") from error

    write_beside(path, draw)
    return path


def ink() -> str:
    """The colour of what is written."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def dark() -> bool:
    """Whether the ground is dark."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    return sum(to_rgb(rcParams["axes.facecolor"])) < 1.5


def colours() -> tuple[str, str, str, str, str]:
    """Blue, orange, green, red and purple that stay apart in print and for colour-blind readers (Okabe and Ito 2008),
    a lighter blue on a dark ground."""
    return ("#56B4E9" if dark() else "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")


def _thin(values: np.ndarray) -> np.ndarray:
    """Which points show a line of many: the least and the most of each stretch, and the ends."""
    if len(values) <= _POINTS:
        return np.arange(len(values))
    cuts = np.linspace(0, len(values), _POINTS // 2 + 1).astype(int)
    spans = [slice(a, b) for a, b in pairwise(cuts.tolist())]
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    at = [s.start + int(f(v[s])) for s in spans for f, v in ((np.argmin, low), (np.argmax, high))]
    return np.unique([0, *at, len(values) - 1])


def line(ax: Axes, x: np.ndarray, values: np.ndarray, colour: str, label: str | None = None, **how: Any) -> None:
    """A line that is seen even where it is of few points."""
    at, few = _thin(values), 8  # a line of one point shows nothing
    how = {"linewidth": 1.1, "marker": "o" if len(x) <= few else None, "markersize": 3.5, **how}
    ax.plot(x[at], values[at], color=colour, label=label, **how)


def area(ax: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, **how: Any) -> None:
    """The area between two lines."""
    at = np.union1d(_thin(low), _thin(high))
    ax.fill_between(x[at], low[at], high[at], color=colour, linewidth=0, **how)


def name_axes(ax: Axes, text: str, numbers: str = "") -> None:
    """Title and format of the values: "%", a text with {x}, or "" = `compact`."""
    from matplotlib.ticker import FuncFormatter, PercentFormatter, StrMethodFormatter

    title(ax, text)
    other = StrMethodFormatter(numbers) if numbers else FuncFormatter(tick_text)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0) if numbers == "%" else other)


def tick_text(x: float, place: object = None) -> str:
    """`compact` as a formatter of ticks calls it; a lambda could not be pickled with its figure."""
    return compact(x)


def points(size: str) -> float:
    """Points of a font size such as "small"."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=size).get_size_in_points()


def width_of(text: str, size: str = "small") -> float:
    """Inches that a text needs, about: letters are 0.62 of their height wide, bold ones wider."""
    return len(text) * points(size) * 0.64 / 72


def room(ax: Axes) -> tuple[float, float]:
    """(width, height with all that stands around) of a drawing in inches, about, before the layout is made."""
    box, (width, height) = ax.get_position(), ax.figure.get_size_inches()  # type: ignore[union-attr]
    return (width - 1.0) * box.width / 0.775, height * box.height / 0.77


def tidy(ax: Axes, grid: bool = True) -> None:
    """Grid and legend of a drawing: the legend stands above it, where it hides no data; beside the title if it fits."""
    from matplotlib import rcParams

    ax.tick_params(labelsize="small")
    if grid:
        ax.grid(color=rcParams["grid.color"], linewidth=0.6, alpha=0.25 if dark() else 0.45)
        ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(not grid)
    labels = [str(label) for label in ax.get_legend_handles_labels()[1]]
    if not labels:
        return
    wide, needs = room(ax)[0], [width_of(label) + 0.5 for label in labels]
    beside = wide - width_of(max(ax.get_title(loc="left").split("\n"), key=len), "medium") * 1.15
    rows = 0 if sum(needs) <= beside else next(n for n in range(1, 99) if n == len(needs) or _rows(needs, n) <= wide)
    if rows:
        ax.set_title(ax.get_title(loc="left"), loc="left", fontsize="medium", fontweight="bold",
                     pad=rcParams["axes.titlepad"] + rows * points("small") * 1.55)  # fmt: skip
    ax.legend(
        loc="lower left" if rows else "lower right", bbox_to_anchor=(0.0 if rows else 1.0, 1.0), borderaxespad=0.1,
        ncols=-(-len(labels) // max(rows, 1)), borderpad=0.1, frameon=False, fontsize="small", handlelength=1.6,
        columnspacing=1.4, labelspacing=0.35,
    )  # fmt: skip


def title(ax: Axes, text: str, pad: float | None = None) -> None:
    """The title of a drawing, in as many lines as it needs."""
    ax.set_title(wrapped([text], room(ax)[0] / 1.15), loc="left", fontsize="medium", fontweight="bold", pad=pad)


def _rows(needs: list[float], rows: int) -> float:
    """The width of a legend of so many rows, which is filled column by column."""
    return sum(max(needs[i : i + rows]) for i in range(0, len(needs), rows))


def head(figure: Picture, *lines: Sequence[str]) -> None:
    """The title of a picture: each line of parts, which go on in the next where the figure is narrow."""
    rows = [wrapped(parts, figure.get_size_inches()[0] * 0.97) for parts in lines if parts]
    figure.suptitle("\n".join(rows), fontsize="medium", x=0.01, ha="left", linespacing=1.5)


def wrapped(parts: Sequence[str], inches: float) -> str:
    """Parts side by side, in lines that fit, as matplotlib draws them as they are."""
    most = max(8, int(1.2 * inches / width_of("n", "medium")))  # words are narrower than numbers
    rows: list[str] = []
    for part in parts:
        more = textwrap.wrap(printable(part), most, break_on_hyphens=False)
        if rows and more and len(rows[-1]) + 3 + len(more[0]) <= most:
            rows[-1] += "   " + more.pop(0)
        rows += more
    return plain("\n".join(rows))


def plain(text: Any) -> str:
    """A text that matplotlib draws as it is: between two "$" it would read mathematics."""
    return "\n".join(map(printable, str(text).split("\n"))).replace("$", r"\$")


def compact(x: float, digits: int = 6) -> str:
    """A number in few characters: 0.0005, 1,250, 10.3M, 2e-5."""
    if not math.isfinite(x):
        return str(x)
    size, letter = next(((s, c) for s, c in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if abs(x) >= s), (1.0, ""))
    text = f"{x / size:,.{digits}g}"
    if "e+" in text:
        text = f"{x / size:,.0f}"
    return text.replace("e-0", "e-").replace("-", MINUS, text.startswith("-")) + letter


def percent(values: np.ndarray) -> Callable[[float], str]:
    """Shares as percent, with as many decimals as tell these apart."""
    digits = decimals(values * 100, 0)
    return lambda x: f"{x:z.{digits}%}".replace("-", MINUS)


def decimals(values: np.ndarray, least: int) -> int:
    """How many decimals tell numbers apart: two digits of how far they lie apart, at least so many, at most 4."""
    finite = values[np.isfinite(values)]
    spread = float(np.ptp(finite)) if len(finite) else 0.0
    return min(4, max(least, 1 - math.floor(math.log10(spread)))) if spread > 0 else max(least, 1)
