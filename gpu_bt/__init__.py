# SPDX-License-Identifier: Apache-2.0
"""Cross-sectional portfolio simulation: one event is one timestamp, the same bits on every engine."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: Public name -> module. Loaded on first use, so that `import gpu_bt` needs neither Polars nor CuPy nor a GPU.
_PUBLIC = {
    "BacktestError": "gpu_bt.errors",
    "BacktestWarning": "gpu_bt.errors",
    "Batch": "gpu_bt.runs.batch",
    "Config": "gpu_bt.config",
    "ConfigError": "gpu_bt.errors",
    "EngineUnavailable": "gpu_bt.errors",
    "Exits": "gpu_bt.runs.exits",
    "Panel": "gpu_bt.data.panel",
    "PanelError": "gpu_bt.errors",
    "PanelStream": "gpu_bt.data.streams",
    "Portfolio": "gpu_bt.runs.strategy",
    "Result": "gpu_bt.analysis.result",
    "ResultError": "gpu_bt.errors",
    "Strategy": "gpu_bt.runs.strategy",
    "StrategyError": "gpu_bt.errors",
    "SweepResult": "gpu_bt.sweeps.result",
    "Weights": "gpu_bt.data.weights",
    "WeightsError": "gpu_bt.errors",
    "check_lookahead": "gpu_bt.runs.lookahead",
    "read_config": "gpu_bt.data.settings",
    "read_panel": "gpu_bt.data.frames",
    "read_weights": "gpu_bt.data.frames",
    "run": "gpu_bt.runs.run",
    "scan_panel": "gpu_bt.data.streams",
    "sweep": "gpu_bt.sweeps.sweep",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gpu_bt' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
