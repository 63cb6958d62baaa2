# SPDX-License-Identifier: Apache-2.0
"""Progress: `True` as a bar of tqdm, a text on one line, which terminals and all notebooks show without widgets."""

from __future__ import annotations

import importlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from gpu_bt.arguments import called_with, must_be

__all__ = ["bar", "telling"]

#: `unit` holds the note; without a number there is nothing to draw.
_FORMAT, _STAGE = "{desc}{percentage:3.0f}%|{bar}| {unit} [{elapsed}<{remaining}]", "{desc}{unit}"


def telling(progress: Any, what: str) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """A block that gives what a run tells (done, of all): None for None and False, a bar called `what` for True, which
    is gone when the block ends, whatever ends it, or else what was passed. Raises ConfigError, at once, for what cannot
    be called so."""
    if progress is True:
        return _drawing(what)
    if progress is None or progress is False:
        return nullcontext()
    if not callable(progress):
        must_be("progress", progress, "a plain function of your own that takes (done, of all), or True for a bar")
    called_with("progress", progress, 1, 1)
    return nullcontext(cast(Callable[[int, int], None], progress))


@contextmanager
def _drawing(what: str) -> Iterator[Callable[[int, int], None]]:
    with bar() as show:
        yield lambda done, total: show("", done, total, f"{done:,}/{total:,} {what}")


@contextmanager
def bar(shown: bool = True) -> Iterator[Callable[..., None]]:
    """show(what, done, total, note), which draws one line that is gone at the end; nothing is drawn where
    shown is False, and where a process has no stderr.

    It goes to stderr. In a notebook it is a text of its own that is replaced, and empty at the end, so that a saved
    notebook shows no half-drawn bar; in what is neither a terminal nor a notebook, such as a log, one is written every
    ten seconds at most.
    """
    if not shown or sys.stderr is None:
        yield lambda *_, **__: None
        return
    from tqdm.std import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread beside the run, which may fork
        _lock = threading.RLock()  # nor a lock of processes, which draw nothing

        def display(self, msg: str | None = None, pos: int | None = None) -> Any:
            if screen is None:
                return bool(super().display(msg, pos))
            screen.update({"text/plain": str(self) if msg is None else msg}, raw=True)
            return True

    terminal, screen = sys.stderr.isatty(), None
    if "ipykernel" in sys.modules and not terminal:
        screen = importlib.import_module("IPython.display").DisplayHandle()
        screen.display({"text/plain": ""}, raw=True)
    drawn: list[Any] = []

    def show(what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        if not drawn or (drawn[0].desc, drawn[0].total) != (what, total):
            close()
            drawn[:] = [Bar(
                desc=what, initial=done, total=total, unit=note, leave=False, miniters=1,
                mininterval=0.1 if terminal or screen else 10.0, dynamic_ncols=screen is None,
                ncols=88 if screen else None, ascii=False if screen else None,
                file=io.StringIO() if screen else sys.stderr,
                bar_format=_STAGE if total is None else _FORMAT,
            )]  # fmt: skip
        drawn[0].unit = note
        drawn[0].update(done - drawn[0].n)

    def close() -> None:
        for old in drawn:
            old.close()
            old.fp.flush()  # the last return to the line's begin, before others write
        drawn.clear()

    try:
        yield show
    finally:
        close()
