# SPDX-License-Identifier: Apache-2.0
"""Engines by name. Only "auto" and "cpu" choose; an engine named explicitly runs or raises."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_bt.arguments import one_of
from gpu_bt.engine.spec import Broken, Engine
from gpu_bt.errors import EngineUnavailable, warn

__all__ = [
    "ENGINES", "WORTH_A_KERNEL", "WORTH_BLOCKS", "WORTH_COMPILING", "fail", "reasons", "resolve", "stacked", "tools",
]  # fmt: skip

#: Name -> module that holds ENGINE, the fastest first. The one edge that points up: engines are found, not imported.
ENGINES = {"cuda": "gpu_bt.cuda.engine", "native": "cpu_fallback.native", "numpy": "cpu_fallback.engine"}
#: Asset-bars from which "auto" takes the GPU where its kernel lies compiled on this machine, and where it must be
#: compiled first, which takes seconds; and scenarios, which share what is uploaded. By first runs on an H200 beside the
#: native engine on 16 cores: one dense scenario of 2,520 x 5,000 takes 0.15 s beside 0.04 (0.02 where the panel is
#: there already); the two are even at, reckoned, 9e8 asset-bars of dense books and 4e9 of books of a tenth.
WORTH_A_KERNEL, WORTH_COMPILING, WORTH_BLOCKS = 1.5e9, 2e10, 32
_CHOICES = {"auto": ("cuda", "native", "numpy"), "cpu": ("native", "numpy")}


def _load(name: str) -> Engine | str:
    """The engine, or why this machine has none."""
    try:
        engine: Engine = importlib.import_module(ENGINES[name]).ENGINE
    except ModuleNotFoundError as exc:
        if exc.name is not None and ENGINES[name].startswith(exc.name):
            return "this version does not have it"
        return f"{exc.name} is not installed"
    return engine.missing() or engine


def tools() -> Any:
    """gpu_bt.cuda.arrays, which keeps arrays where they lie on the GPU; None where the CUDA engine cannot run."""
    engine = _load("cuda")
    return None if isinstance(engine, str) else getattr(engine, "tools", None)


def stacked(engine: str, rows: Sequence[Any]) -> Any:
    """Arrays of equal rows one below the other, a new one in the memory in which that engine works."""
    return getattr(resolve(engine), "stacked", np.concatenate)(rows)


def reasons() -> dict[str, str | None]:
    """Engine name -> None where it can run on this machine, else why not."""
    loaded = {name: _load(name) for name in ENGINES}
    return {name: found if isinstance(found, str) else None for name, found in loaded.items()}


@functools.cache
def _slow(name: str, reason: str) -> None:
    """Warn once where an engine was installed and cannot run, which would show in nothing but the time."""
    rest = {"native": "runs go on in NumPy, many times slower", "cuda": "runs go on without the GPU"}[name]
    warn(f"engine {name!r} cannot run: {reason}; {rest}", stacklevel=4)


#: Engines that failed in a run of this process where "auto" had taken them, and that it takes no more.
_failed: set[str] = set()


def fail(engine: Engine, error: EngineUnavailable) -> Engine:
    """What "auto" goes on with where the engine that it had taken stops in a run. Warns; one that had not even room for
    this run may have it for another."""
    if not isinstance(error, MemoryError):
        _failed.add(engine.name)
    warn(f"{error}; engine='auto' goes on on the CPU", stacklevel=4)
    return resolve("cpu")


def resolve(name: str = "auto", cells: float = 0, scenarios: int = 1) -> Engine:
    """The engine of that name; "auto" and "cpu" take the first of theirs that can run.

    cells: T*N of the panel. Below WORTH_BLOCKS scenarios (so for single runs and strategies) and below WORTH_A_KERNEL
    asset-bars "auto" leaves the GPU out, since the CPU has ended before; below WORTH_COMPILING until it has a kernel.
    Warns (BacktestWarning) once where a damaged native engine, or a GPU whose driver or CuPy is, is passed over.
    Raises ConfigError for an unknown name, EngineUnavailable (with the reason) for one that cannot run here.
    """
    name, asset_bars = one_of("engine", name, (*_CHOICES, *ENGINES)), cells * scenarios
    if name in _CHOICES:
        for candidate in _CHOICES[name]:
            if candidate == "cuda" and (scenarios < WORTH_BLOCKS or asset_bars < WORTH_A_KERNEL):
                continue
            found = "failed before" if candidate in _failed else _load(candidate)
            native = isinstance(found, str) and found.startswith("its library") and "not built" not in found
            if native or isinstance(found, Broken):
                _slow(candidate, str(found))
            if isinstance(found, str) or (asset_bars < WORTH_COMPILING and not found.ready()):
                continue
            return found
    found = _load(name)
    if isinstance(found, str):
        raise EngineUnavailable(f"engine {name!r} cannot run: {found}; use engine='auto'")
    return found
