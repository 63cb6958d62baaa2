# SPDX-License-Identifier: Apache-2.0
"""[S9] The record of a session, in the arrays of RawResult: rows, logs, and where each scenario stands."""

from __future__ import annotations

from copy import copy

import numpy as np

from cpu_fallback.ledger import Array
from gpu_bt.engine.spec import FILL, RawResult, RunSpec, ordered, start_of
from gpu_bt.law.layout import COUNTS, MONEY

__all__ = ["Record", "log_entries"]


class Record:
    """K scenarios over T bars. A row that no bar has written is NaN and counts 0: that of a scenario that has ended."""

    def __init__(self, spec: RunSpec) -> None:
        (t_count, n), k = spec.market.shape, len(spec.params)
        self.full = spec.columns == "all"
        self.logging = spec.fills
        self.money = np.full((len(MONEY) if self.full else 2, k, t_count), np.nan)
        self.counts = np.zeros((len(COUNTS), k, t_count), np.int32) if self.full else None
        self.positions = np.full((k, t_count, n), np.nan) if spec.positions else None
        self.fills: list[Array] = []
        self.cuts: list[Array] = []
        start = spec.start or start_of(spec.params, np.zeros((k, n)))
        self.state, self.holdings, self.orders = start.state.copy(), start.holdings.copy(), start.orders.copy()

    def write(self, members: Array, t: int, money: Array, counts: Array | int, shares: Array | None) -> None:
        """The rows of B bars from t on: money (len(MONEY), k, B), counts (len(COUNTS), k, B), shares (k, N)."""
        bars = slice(t, t + money.shape[2])
        dense = members[-1] - members[0] < len(members)  # a slice is faster
        rows = slice(members[0], members[-1] + 1) if dense else members
        self.money[:, rows, bars] = money[: len(self.money)]
        if self.counts is not None:
            self.counts[:, rows, bars] = counts
        if self.positions is not None and shares is not None:
            self.positions[rows, bars] = shares[:, None]

    def result(self) -> RawResult:
        """What stands in the record, in arrays of its own."""
        money, counts, positions = copy(self.money), copy(self.counts), copy(self.positions)
        state, holdings, orders = copy(self.state), copy(self.holdings), copy(self.orders)
        fills = ordered(self.fills) if self.logging else None
        cuts = ordered(self.cuts) if self.logging else None
        return RawResult("numpy", money, counts, state, holdings, orders, fills, cuts, positions)


def log_entries(scenarios: Array, bar: int, assets: Array) -> Array:
    """Entries of a FILL log, still without their amounts."""
    log = np.zeros(len(assets), FILL)
    log["scenario"] = scenarios
    log["bar"] = bar
    log["asset"] = assets
    return log
