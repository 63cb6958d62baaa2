# SPDX-License-Identifier: Apache-2.0
"""Statistics of many trials: the public name of gpu_bt.analysis.statistics."""

from gpu_bt.analysis.statistics import (
    Deflated,
    Overfitting,
    deflated_sharpe_ratio,
    expected_best_sharpe,
    probability_of_overfitting,
    sharpe_probability,
    walk_forward,
)

__all__ = [
    "Deflated",
    "Overfitting",
    "deflated_sharpe_ratio",
    "expected_best_sharpe",
    "probability_of_overfitting",
    "sharpe_probability",
    "walk_forward",
]
