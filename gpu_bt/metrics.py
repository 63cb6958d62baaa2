# SPDX-License-Identifier: Apache-2.0
"""Metrics of equity curves: the public name of gpu_bt.analysis.metrics and gpu_bt.analysis.calendars."""

from gpu_bt.analysis.calendars import infer_bars_per_year
from gpu_bt.analysis.metrics import drawdown, equity_metrics, returns, rounding_of

__all__ = ["drawdown", "equity_metrics", "infer_bars_per_year", "returns", "rounding_of"]
