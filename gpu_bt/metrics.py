# SPDX-License-Identifier: Apache-2.0
"""Metrics of equity curves: the public name of gpu_bt.analysis.metrics."""

from gpu_bt.analysis.metrics import drawdown, equity_metrics, infer_bars_per_year, returns

__all__ = ["drawdown", "equity_metrics", "infer_bars_per_year", "returns"]
