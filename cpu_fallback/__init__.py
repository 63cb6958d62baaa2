# SPDX-License-Identifier: Apache-2.0
"""The API of `gpu_bt` without a GPU: the same names and objects, but `run` and `sweep` never look for one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gpu_bt

if TYPE_CHECKING:  # what editors and type checkers see
    from gpu_bt import BacktestError as BacktestError
    from gpu_bt import BacktestWarning as BacktestWarning
    from gpu_bt import Batch as Batch
    from gpu_bt import Config as Config
    from gpu_bt import ConfigError as ConfigError
    from gpu_bt import EngineUnavailable as EngineUnavailable
    from gpu_bt import Exits as Exits
    from gpu_bt import Panel as Panel
    from gpu_bt import PanelError as PanelError
    from gpu_bt import PanelStream as PanelStream
    from gpu_bt import Portfolio as Portfolio
    from gpu_bt import Result as Result
    from gpu_bt import ResultError as ResultError
    from gpu_bt import Strategy as Strategy
    from gpu_bt import StrategyError as StrategyError
    from gpu_bt import SweepResult as SweepResult
    from gpu_bt import Weights as Weights
    from gpu_bt import WeightsError as WeightsError
    from gpu_bt import __version__ as __version__
    from gpu_bt import check_lookahead as check_lookahead
    from gpu_bt import read_config as read_config
    from gpu_bt import read_panel as read_panel
    from gpu_bt import read_weights as read_weights
    from gpu_bt import run as run
    from gpu_bt import scan_panel as scan_panel
    from gpu_bt import sweep as sweep

#: Public functions whose default engine differs here.
_CPU = ("run", "sweep")

__all__ = [
    "BacktestError", "BacktestWarning", "Batch", "Config", "ConfigError", "EngineUnavailable", "Exits", "Panel",
    "PanelError", "PanelStream", "Portfolio", "Result", "ResultError", "Strategy", "StrategyError", "SweepResult",
    "Weights", "WeightsError", "__version__", "check_lookahead", "read_config", "read_panel", "read_weights", "run",
    "scan_panel", "sweep",
]  # fmt: skip


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
