# SPDX-License-Identifier: Apache-2.0
"""A heat map whose labels and numbers fit, and the texts of the values along an axis.

Letters: R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.analysis.figures import compact, ink, plain, points, room, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["heat", "is_number", "mark", "scale_of", "texts_of", "ticks"]

#: Letters of a text on an axis.
_LETTERS = 24


def heat(
    ax: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], text: Callable[[float], str],
    limits: tuple[float, float], *, reverse: bool = False, missing: bool = True,
    taken: tuple[float, float] = (0.0, 0.95),
) -> AxesImage:  # fmt: skip
    """(R, C) values as colours between limits, and as texts where they fit. What is no finite number is hatched.

    limits: with 0 between them colours part there, else they go from dark to light.   reverse: less is
    better, so lighter.   missing: say so.   taken: inches of width and height that something else takes.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, TwoSlopeNorm
    from matplotlib.patches import Rectangle

    parted = limits[0] < 0 < limits[1]
    norm = TwoSlopeNorm(0.0, *limits) if parted else Normalize(*limits)
    cmap = colormaps["RdBu" if parted else "cividis_r" if reverse else "cividis"]
    there = np.isfinite(values)
    image = ax.imshow(np.where(there, values, np.nan), aspect="auto", cmap=cmap, norm=norm)
    if missing and not there.all():
        hatched = {"facecolor": "none", "edgecolor": ink(), "hatch": "////", "linewidth": 0.0, "alpha": 0.45}
        ax.add_patch(Rectangle((-0.5, -0.5), len(columns), len(rows), zorder=-1, **hatched))  # type: ignore[arg-type]
        label = f"No number: {np.count_nonzero(~there):,} of {there.size:,}"
        ax.add_patch(Rectangle((0, 0), 0, 0, label=label, **hatched))  # type: ignore[arg-type]
    wide, high = (max(0.3, x - y) for x, y in zip(room(ax), taken, strict=True))
    ticks(ax, "y", rows, high)
    ticks(ax, "x", columns, wide)
    shown = [text(x) for x in values[there].tolist()]
    for size in ("small", "x-small") if shown else ():
        if max(map(len, shown)) * width_of("0", size) + 0.06 <= wide / values.shape[1]:
            if points(size) * 1.4 / 72 <= high / values.shape[0]:
                _numbers(ax, image, np.argwhere(there), shown, size)
                break
    return image


def _numbers(ax: Axes, image: AxesImage, places: np.ndarray, shown: list[str], size: str) -> None:
    """A text on each cell, dark on what is light."""
    cells = image.get_array()
    assert cells is not None
    for (i, j), text in zip(places.tolist(), shown, strict=True):
        red, green, blue, _ = image.cmap(image.norm(cells[i, j]))
        light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color="black" if light else "white")


def mark(ax: Axes, row: int, column: int, label: str) -> None:
    """A frame around a cell, seen on any colour."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Stroke

    white = [Stroke(linewidth=4.0, foreground="white"), Stroke(linewidth=1.8, foreground="black")]
    where, how = (column - 0.5, row - 0.5), {"fill": False, "zorder": 3, "clip_on": False}
    ax.add_patch(Rectangle(where, 1, 1, path_effects=white, label=plain(label), **how))  # type: ignore[arg-type]


def ticks(ax: Axes, side: str, texts: Sequence[str], inches: float, x: Any = None) -> None:
    """As many of the texts below ("x") or beside ("y") their places, 0 to n - 1 or x, as have room: numbers stand
    upright and are thinned, names are turned and thinned only then."""
    tall, count = points("small") * 1.35 / 72, len(texts)
    needs, turned = tall, False
    if side == "x":
        needs = max(map(width_of, texts)) + 0.12
        turned = count * needs > inches and not all(text[:1] in "\N{MINUS SIGN}-.0123456789" for text in texts)
        needs = tall if turned else needs
    step = max(1, int(np.ceil(count * needs / max(inches, 0.1))))
    at = np.arange(0, count, step)
    places = at if x is None else np.asarray(x)[at]
    (ax.set_xticks if side == "x" else ax.set_yticks)(places, [texts[i] for i in at.tolist()])
    if turned:
        ax.tick_params(axis="x", labelrotation=90)


def is_number(values: Sequence[Any]) -> bool:
    """Whether all of the values of an axis are numbers; True and None are none."""
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def texts_of(values: Sequence[Any]) -> list[str]:
    """Texts of the values of an axis: numbers in as few digits as tell them apart, three or more; long names without
    their middle."""
    floats = [float(v) for v in values if is_number([v])]
    exact = [d for d in range(3, 7) if all(float(f"{v:.{d}g}") == v for v in floats)]
    apart = [d for d in range(3, 16) if len({f"{v:.{d}g}" for v in floats}) == len(set(floats))]
    digits = min([*exact, *apart[:1]][:1] or [6])

    def text(value: Any) -> str:
        if is_number([value]):
            return compact(float(value), digits)
        name = "none" if value is None else plain(value)
        return name if len(name) <= _LETTERS else f"{name[:14]}\N{HORIZONTAL ELLIPSIS}{name[-8:]}"

    return [text(value) for value in values]


def scale_of(values: Sequence[Any]) -> str:
    """ "log" for numbers > 0 whose ratios are more alike than their differences, "linear" for other numbers that
    differences set apart, "names" for what must stand side by side: no numbers, or 0 before a log scale."""
    if not is_number(values):
        return "names"
    x = np.unique(np.asarray(values, np.float64))
    positive = x[x > 0]
    log = False
    if len(positive) > 2 and positive[-1] >= 8 * positive[0]:
        steps, ratios = np.diff(positive), np.diff(np.log(positive))
        log = bool(ratios.std() / ratios.mean() < steps.std() / steps.mean())
    return "linear" if not log else "log" if len(positive) == len(x) else "names"
