# SPDX-License-Identifier: Apache-2.0
"""What --json writes: one object for a command, whose keys docs/terminal.md lists."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpu_bt import __version__

if TYPE_CHECKING:
    from gpu_bt.analysis.result import Result
    from gpu_bt.config import Field
    from gpu_bt.sweeps.result import SweepResult

__all__ = ["field", "machine", "run", "sweep"]


def run(result: Result, out: Any) -> dict[str, Any]:
    """A run: its span, metrics, sums of costs and counts, what it wants a person to know."""
    from gpu_bt.law.layout import COUNTS, MONEY

    table = result.equity
    counts = {name: table[name].sum() for name in COUNTS} | {"working": table["working"].drop_nulls().tail(1).sum()}
    sums = {name: table[name].fill_nan(None).sum() for name in MONEY[MONEY.index("commission") :]}
    return {
        "version": __version__, "engine": result.engine, "seconds": result.wall_seconds,
        "first": result.timestamps[0], "last": result.timestamps[-1], "bars": len(result.timestamps),
        "assets": len(result.assets), "metrics_since": result.start, "metrics": result.metrics,
        "statuses": result.statuses, "sums": sums, "counts": counts,
        "config": result.config.to_dict(), "notes": result.notes, "advice": result.advice, "out": out,
    }  # fmt: skip


def sweep(result: SweepResult, metric: str, best: int, out: Any) -> dict[str, Any]:
    """A sweep: its size, how its scenarios ended, and the rows of the best with all their columns."""
    status = result.table[result.column("status")]
    return {
        "version": __version__, "engine": result.engine, "seconds": result.wall_seconds, "scenarios": len(result),
        "run_now": result.run, "bars": result.shape[0], "assets": result.shape[1], "axes": list(result.axes),
        "status": dict(status.value_counts(sort=True).iter_rows()), "metric": metric,
        "best": result.best(metric, best).to_dicts(), "config": result.config.to_dict(), "out": out,
    }  # fmt: skip


def field(known: Field) -> dict[str, Any]:
    """A field of Config: its default, what it may be, and what it means."""
    least, most = (None, None) if known.choices else (known.low, known.high)
    return {
        "default": known.default, "unit": known.unit or None, "least": least, "most": most,
        "choices": known.choices or None, "none": known.optional, "whole": known.whole, "meaning": known.meaning,
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Versions, this machine, and which engines can run on it."""
    import importlib.metadata
    import platform

    from gpu_bt.engine.registry import reasons, resolve

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        size, total, free = (os.sysconf(f"SC_{name}") for name in ("PAGE_SIZE", "PHYS_PAGES", "AVPHYS_PAGES"))
        memory: dict[str, int | None] = {"memory": size * total, "memory_free": size * free}
    except (AttributeError, ValueError, OSError):  # not every system says
        memory = {"memory": None, "memory_free": None}
    return {
        "version": __version__, "python": platform.python_version(), "platform": platform.platform(),
        "packages": {name: version(name) for name in ("numpy", "polars", "matplotlib", "pandas")},
        "processors": os.cpu_count(), "processors_usable": usable, **memory,
        "engines": reasons(), "auto": resolve("auto").name,
    }  # fmt: skip
