# SPDX-License-Identifier: Apache-2.0
"""Cross-sectional portfolio simulation: one event is one timestamp, the same bits on every engine."""

from __future__ import annotations

__version__ = "0.1.0"

# typing's own would take a moment to import, in which the program must not be interrupted. jedi would believe False
# and see nothing of what follows.
TYPE_CHECKING = bool()  # noqa: UP018
if TYPE_CHECKING:  # what editors and type checkers see
    from gpu_bt import books as books
    from gpu_bt.analysis.factor import FactorStudy as FactorStudy
    from gpu_bt.analysis.factor import factor as factor
    from gpu_bt.analysis.result import Result as Result
    from gpu_bt.analysis.result import read_result as read_result
    from gpu_bt.books.scores import Scores as Scores
    from gpu_bt.config import Config as Config
    from gpu_bt.data.frames import read_panel as read_panel
    from gpu_bt.data.frames import read_weights as read_weights
    from gpu_bt.data.panel import Panel as Panel
    from gpu_bt.data.settings import read_config as read_config
    from gpu_bt.data.streams import PanelStream as PanelStream
    from gpu_bt.data.streams import scan_panel as scan_panel
    from gpu_bt.data.weights import Weights as Weights
    from gpu_bt.errors import BacktestError as BacktestError
    from gpu_bt.errors import BacktestWarning as BacktestWarning
    from gpu_bt.errors import ConfigError as ConfigError
    from gpu_bt.errors import EngineUnavailable as EngineUnavailable
    from gpu_bt.errors import PanelError as PanelError
    from gpu_bt.errors import ResultError as ResultError
    from gpu_bt.errors import StrategyError as StrategyError
    from gpu_bt.errors import WeightsError as WeightsError
    from gpu_bt.runs.batch import Batch as Batch
    from gpu_bt.runs.exits import Exits as Exits
    from gpu_bt.runs.lookahead import check_lookahead as check_lookahead
    from gpu_bt.runs.orders import Orders as Orders
    from gpu_bt.runs.run import run as run
    from gpu_bt.runs.strategy import Portfolio as Portfolio
    from gpu_bt.runs.strategy import Strategy as Strategy
    from gpu_bt.sweeps.result import SweepResult as SweepResult
    from gpu_bt.sweeps.result import read_sweep as read_sweep
    from gpu_bt.sweeps.sweep import sweep as sweep

#: Module -> its public names. Loaded on first use, so that `import gpu_bt` needs neither Polars nor CuPy nor a GPU.
_PUBLIC = {
    "gpu_bt": "books",
    "gpu_bt.analysis.factor": "FactorStudy factor",
    "gpu_bt.analysis.result": "Result read_result",
    "gpu_bt.books.scores": "Scores",
    "gpu_bt.config": "Config",
    "gpu_bt.data.frames": "read_panel read_weights",
    "gpu_bt.data.panel": "Panel",
    "gpu_bt.data.settings": "read_config",
    "gpu_bt.data.streams": "PanelStream scan_panel",
    "gpu_bt.data.weights": "Weights",
    "gpu_bt.errors": "BacktestError BacktestWarning ConfigError EngineUnavailable PanelError ResultError StrategyError"
    " WeightsError",
    "gpu_bt.runs.batch": "Batch",
    "gpu_bt.runs.exits": "Exits",
    "gpu_bt.runs.lookahead": "check_lookahead",
    "gpu_bt.runs.orders": "Orders",
    "gpu_bt.runs.run": "run",
    "gpu_bt.runs.strategy": "Portfolio Strategy",
    "gpu_bt.sweeps.result": "SweepResult read_sweep",
    "gpu_bt.sweeps.sweep": "sweep",
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = [
    "BacktestError", "BacktestWarning", "Batch", "Config", "ConfigError", "EngineUnavailable", "Exits", "FactorStudy",
    "Orders", "Panel", "PanelError", "PanelStream", "Portfolio", "Result", "ResultError", "Scores", "Strategy",
    "StrategyError", "SweepResult", "Weights", "WeightsError", "__version__", "books", "check_lookahead", "factor",
    "read_config", "read_panel", "read_result", "read_sweep", "read_weights", "run", "scan_panel", "sweep",
]  # fmt: skip


if not TYPE_CHECKING:  # where a name that is not listed stays unknown

    def __getattr__(name: str) -> object:
        import importlib

        if name == "books":
            return importlib.import_module("gpu_bt.books")
        if name not in _MODULES:
            raise AttributeError(f"module 'gpu_bt' has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
