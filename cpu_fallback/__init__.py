# SPDX-License-Identifier: Apache-2.0
"""The API of `gpu_bt` without a GPU: the same names and objects, but `run` and `sweep` never look for one."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import gpu_bt

#: Public functions whose default engine differs here.
_CPU = ("run", "sweep")

__all__ = list(gpu_bt.__all__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cpu_fallback' has no attribute {name!r}")
    value = getattr(gpu_bt, name)
    if name in _CPU:
        value = _on_cpu(value)
    globals()[name] = value
    return value


def _on_cpu(function: Any) -> Any:
    """The function with engine="cpu" (native, then numpy) as its default."""

    @functools.wraps(function)
    def call(*args: Any, engine: str = "cpu", **kwargs: Any) -> Any:
        return function(*args, engine=engine, **kwargs)

    shown = inspect.signature(function)
    engine = shown.parameters["engine"].replace(default="cpu")
    parameters = {**shown.parameters, "engine": engine}
    vars(call)["__signature__"] = shown.replace(parameters=list(parameters.values()))
    return call


def __dir__() -> list[str]:
    return sorted(__all__)
