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
    "Batch": "gpu_bt.batch",
    "Config": "gpu_bt.config",
    "ConfigError": "gpu_bt.errors",
    "EngineUnavailable": "gpu_bt.errors",
    "Exits": "gpu_bt.rules",
    "Panel": "gpu_bt.panel",
    "PanelError": "gpu_bt.errors",
    "PanelStream": "gpu_bt.streams",
    "Portfolio": "gpu_bt.strategy",
    "Result": "gpu_bt.result",
    "ResultError": "gpu_bt.errors",
    "Strategy": "gpu_bt.strategy",
    "StrategyError": "gpu_bt.errors",
    "SweepResult": "gpu_bt.sweep_result",
    "Weights": "gpu_bt.weights",
    "WeightsError": "gpu_bt.errors",
    "check_lookahead": "gpu_bt.lookahead",
    "read_config": "gpu_bt.result",
    "read_panel": "gpu_bt.frames",
    "read_weights": "gpu_bt.frames",
    "run": "gpu_bt.api",
    "scan_panel": "gpu_bt.streams",
    "sweep": "gpu_bt.sweeps",
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
