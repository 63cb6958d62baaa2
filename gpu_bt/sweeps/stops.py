# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a process to end: it ends as by Ctrl-C, tidily."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Ended", "end_with_parent", "stoppable"]

#: Processes that end with the one that began them.
_watched: set[int] = set()


class Ended(SystemExit):
    """SIGTERM or SIGHUP has arrived; the exit status is what a shell says of a process that it ended."""


@contextmanager
def stoppable() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise Ended in the main thread; where a program has a handler of its own, and
    from another thread, nothing is changed."""
    mine = threading.current_thread() is threading.main_thread()
    there = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if mine and hasattr(signal, name)]
    numbers, process = [n for n in there if signal.getsignal(n) == signal.SIG_DFL], os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker that was forked ends at once, as one that was not
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_IGN)  # what is left to do is done once
        raise Ended(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def end_with_parent() -> None:
    """Called in the main thread of a worker: it ends with the program that began it. One that was killed cannot stop
    its pool, whose processes would wait for work for ever."""
    parent, main = multiprocessing.parent_process(), threading.current_thread() is threading.main_thread()
    if parent is None or not main or os.getpid() in _watched:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    _watched.add(os.getpid())
    threading.Thread(target=watch, daemon=True).start()
