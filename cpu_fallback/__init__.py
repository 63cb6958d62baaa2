# SPDX-License-Identifier: Apache-2.0
"""The API of `gpu_bt` without a GPU: the same names and objects, but `run` and `sweep` never look for one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gpu_bt

if TYPE_CHECKING:  # what editors and type checkers see
    from gpu_bt import *  # noqa: F403

#: Public functions whose default engine differs here.
_CPU = ("run", "sweep")

__all__: list[str] = []
__all__ += gpu_bt.__all__  # in the form that type checkers follow


if not TYPE_CHECKING:  # where a name that is not listed stays unknown

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'cpu_fallback' has no attribute {name!r}")
        value = getattr(gpu_bt, name)
        if name in _CPU:
            value = _on_cpu(value)
        globals()[name] = value
        return value


def _on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with engine="cpu" (native, then numpy) as its default."""

    @functools.wraps(function)
    def call(*args: Any, engine: str = "cpu", **kwargs: Any) -> Any:
        return function(*args, engine=engine, **kwargs)

    shown = inspect.signature(function)
    parameters = {**shown.parameters, "engine": shown.parameters["engine"].replace(default="cpu")}
    vars(call)["__signature__"] = shown.replace(parameters=list(parameters.values()))
    return call


def __dir__() -> list[str]:
    return sorted(__all__)
