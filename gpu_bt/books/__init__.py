# SPDX-License-Identifier: Apache-2.0
"""From scores to books: cross-sectional operators, and target weights made of scores. Public as `gpu_bt.books`."""

from __future__ import annotations

from gpu_bt.books.forms import (
    cap_groups,
    inverse_volatility,
    proportional,
    quantiles,
    rows_only,
    scheduled,
    top,
    tranches,
)
from gpu_bt.books.operators import demean, neutralise, rank, winsorise, zscore
from gpu_bt.books.rolling import (
    decay,
    delay,
    delta,
    rolling_corr,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_rank,
    rolling_std,
    rolling_sum,
    volatility,
)

__all__ = [
    "cap_groups", "decay", "delay", "delta", "demean", "inverse_volatility", "neutralise", "proportional", "quantiles",
    "rank", "rolling_corr", "rolling_max", "rolling_mean", "rolling_min", "rolling_rank", "rolling_std", "rolling_sum",
    "rows_only", "scheduled", "top", "tranches", "volatility", "winsorise", "zscore",
]  # fmt: skip
