# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGHUP at any moment: status 130, 143 or 129, and no traceback. Imports nothing that is slow."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["STOPPED", "at_once", "handled", "stop"]

#: The signal that has stopped the program.
STOPPED: list[int] = []
#: Timers of stops that come once more.
_LATER: list[Any] = []


def at_once(number: int, frame: object = None) -> None:
    """End now: where nothing is there yet to be tidied up, or no longer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, RuntimeError, ValueError):  # closed, full, or being written to
            pass
    os._exit(128 + number)


def stop(number: int, frame: object = None) -> None:
    """End as by Ctrl-C, so that everything tidies up behind itself; the second signal ends the program at once."""
    if STOPPED:
        at_once(number)
    STOPPED.append(number)
    raise KeyboardInterrupt


def _again(unraisable: Any) -> None:
    """Python drops what is raised in a destructor or callback, and here: a stop that fell there comes once more, a
    moment later."""
    if not STOPPED or not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    from threading import Timer

    _LATER.append(Timer(0.05, os.kill, (os.getpid(), STOPPED.pop())))
    try:
        _LATER[-1].start()
    except RuntimeError:  # no thread can be had, as at the end of the program
        at_once(_LATER[-1].args[1])


class handled:
    """Within it these signals go to a handler, but for one that was ignored; then to `last`, or None, to what they went
    before."""

    def __init__(self, handler: Callable[[int, Any], None], last: Callable[[int, Any], None] | None = None) -> None:
        self.handler, self.last = handler, last

    def __enter__(self) -> None:
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        old = {number: signal.getsignal(number) for number in numbers}
        self.old = {number: before for number, before in old.items() if before not in (signal.SIG_IGN, None)}
        self.hook, sys.unraisablehook = sys.unraisablehook, _again
        for number in self.old:
            signal.signal(number, self.handler)

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self.hook
        for number, before in self.old.items():
            signal.signal(number, self.last or before)
        while _LATER:
            if not (later := _LATER.pop()).finished.is_set():
                later.cancel()
                signal.raise_signal(later.args[1])
