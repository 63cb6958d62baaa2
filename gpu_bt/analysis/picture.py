# SPDX-License-Identifier: Apache-2.0
"""The figure that plot() gives. Nothing but `figures` imports this module, and only once there is something to draw."""

from __future__ import annotations

import io
import sys
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from gpu_bt.errors import ResultError

__all__ = ["Picture"]

#: Settings that Matplotlib reads when it draws, not when it is told what to draw: colours of ticks, fonts, grids.
_LATE = ("axes.", "font.", "grid.", "hatch.", "legend.", "lines.", "mathtext.", "text.", "xtick.", "ytick.")
#: Dots of a notebook's picture per inch, and what of them it shows there: two to one, as fine screens have it.
_DOTS, _CSS = 160, 80
#: Back ends that show nothing.
_FILES = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


class Picture(Figure):
    """A matplotlib Figure that a notebook shows as the last value of a cell, whether or not matplotlib is set up there.

    It is no figure of pyplot, and nothing keeps it, unless pyplot is imported and shows figures, in a notebook or a
    window: then it is one more of these, for plt.show(). show() shows it anywhere. It keeps the style it was made in.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._look: Any = {name: value for name, value in matplotlib.rcParams.copy().items() if name.startswith(_LATE)}

    def draw(self, renderer: Any) -> None:
        """Draw as the settings were when the figure was made."""
        with matplotlib.rc_context(self._look):
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=_DOTS)
        width, height = (int(inches * _CSS) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}

    def _ipython_display_(self) -> None:
        """Shown by itself, it is not shown again at the end of the cell. IPython then goes on to the picture."""
        if self.canvas.manager is not None and "inline" in matplotlib.get_backend():
            sys.modules["matplotlib.pyplot"].close(self)
        raise NotImplementedError

    def hand_over(self) -> None:
        """Make it a figure of pyplot where that is imported and shows figures."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None and matplotlib.get_backend().lower() not in _FILES:
            pyplot.figure(FigureClass=lambda *args, **options: self)

    def show(self, warn: bool = True) -> None:
        """Show it: below the cell of a notebook, else in a window, which a script waits for.

        Raises ResultError where there is no window.
        """
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            sys.modules["IPython.display"].display(self)
            return
        from matplotlib import pyplot

        if matplotlib.get_backend().lower() in _FILES:
            where = f"matplotlib's back end is {matplotlib.get_backend()}"
            raise ResultError(f"there is no window to show the picture in, {where}: write a file, plot('picture.png')")
        if self.canvas.manager is None:
            self.hand_over()
        pyplot.show()
