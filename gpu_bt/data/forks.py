# SPDX-License-Identifier: Apache-2.0
"""Polars in a forked process: its threads stayed behind, and who waits for them waits for ever."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu_bt.data.fingerprints import fingerprint_code
from gpu_bt.errors import ConfigError, ResultError

__all__ = ["WAY_OUT", "strategy_with_threads", "uses_polars", "with_threads"]

WAY_OUT = "use a context that does not fork, mp_context=multiprocessing.get_context('spawn')"
#: Whether Polars had threads when this process was last about to fork, and whether they are lost.
_threads = {"there": False, "lost": False}


def _look() -> None:
    tasks = Path("/proc/self/task")
    _threads["there"] = not tasks.is_dir()  # where that cannot be seen
    for task in tasks.glob("*/comm"):
        with suppress(OSError):
            _threads["there"] |= re.match(r"polars-\d", task.read_text()) is not None


def _lose() -> None:
    _threads["lost"] |= _threads["there"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look, after_in_child=_lose)


def with_threads(what: str) -> None:
    """Raise ResultError, in one line that names what is asked for, where this process has lost Polars' threads."""
    if _threads["lost"]:
        raise ResultError(f"{what} needs Polars, whose threads were lost when this process was forked: {WAY_OUT}")


def uses_polars(code: Any, module: str) -> bool | None:
    """Whether a strategy, or a function, of a module uses Polars, None where that cannot be known."""
    try:
        return "polars" in fingerprint_code(code, own=module)[1]
    except ConfigError:
        return None


def strategy_with_threads(strategy: object) -> None:
    """`with_threads` for a strategy, where it uses Polars or has tables of it."""
    tables = (type(x).__module__.startswith("polars.") for x in vars(strategy).values())
    if _threads["lost"] and (uses_polars(type(strategy), type(strategy).__module__) or any(tables)):
        with_threads(type(strategy).__name__)
