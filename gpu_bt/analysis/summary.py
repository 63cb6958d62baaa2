# SPDX-License-Identifier: Apache-2.0
"""A Result in words: the rows of its summary, as plain text and as a notebook shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gpu_bt.data.times import stamp
from gpu_bt.law.layout import COUNTS, MONEY
from gpu_bt.show.html import card, sparkline, table, told

if TYPE_CHECKING:
    from gpu_bt.analysis.result import Result

__all__ = ["result_card", "summary_rows"]

#: Rows of the summary that a notebook shows in its second column.
_RIGHT = ("final equity", "total return", "annual return", "sharpe", "max drawdown")


def result_card(result: Result) -> str:
    """The equity drawn, what the summary says in groups, notes and advice."""
    rows = summary_rows(result)
    said = [f"{name}: {text}" for name, text in rows if name in ("note", "advice")]
    rows = [row for row in rows if row[0] not in ("note", "advice")]
    costs = [*(name for name, _ in rows)].index("max drawdown") + 1
    right = [row for row in rows if row[0] in _RIGHT]
    left = [row for row in rows[:costs] if row not in right]
    equity = result.raw.money[0, 0]
    drawn = sparkline(equity[result._priced :].tolist(), f"equity, {result.timestamps[0]} to {result.timestamps[-1]}")
    parts = [table(part) for part in (right, left, rows[costs:]) if part]
    return card("Result", f"{result.engine}, {result.status}", drawn, *parts, told(said))


def summary_rows(result: Result) -> list[tuple[str, str]]:
    """What `Result.summary` prints: pairs of a name and a text."""
    m = result.metrics
    stamps = result.timestamps
    table = result.equity
    took = "read from files" if math.isnan(result.wall_seconds) else f"{result.wall_seconds:.3g} s"
    since = [f"{name} since {stamp(bar)}" for name, bar in reversed(result.statuses.items())]
    alive = int(np.count_nonzero(~np.isnan(result.raw.money[0, 0])))
    last = stamp(stamps[max(alive, 1) - 1])
    rows = [
        ("period", f"{stamp(stamps[0])} to {stamp(stamps[-1])}, {alive:,} of {len(stamps):,} bars"),
        ("metrics", f"{stamp(result.start)} to {last}, {m['bars']:,} bars, {result._why}"),
        ("bars per year", f"{result.bars_per_year:,.6g}, {result.bars_per_year_reason}"),
        ("assets", f"{len(result.assets):,}"),
        ("engine", f"{result.engine}, {took}"),
        ("status", "; ".join(since) or "OK"),
        ("final equity", f"{m['final_equity']:,.2f}{_last_row(result)} from {result._before(result._first):,.2f}"),
        ("total return", f"{m['total_return']:.2%}"),
        ("annual return", f"{m['annual_return']:.2%}, volatility {m['volatility']:.2%}"),
        ("sharpe", f"{m['sharpe']:.2f}, sortino {m['sortino']:.2f}, calmar {m['calmar']:.2f}"),
        ("max drawdown", f"{m['max_drawdown']:.2%}, longest {m['longest_drawdown']:,} bars"),
    ]
    if "turnover" in m:
        total = dict(zip(MONEY, np.nansum(result.raw.money[:, 0], axis=1).tolist(), strict=True))
        rows += [
            ("turnover", f"{m['turnover']:.2f} times a year, one-way"),
            ("costs", f"{m['total_costs']:,.2f}, {m['annual_costs']:.2%} a year"),
            *((name, f"{total[name]:,.2f}") for name in MONEY[MONEY.index("commission") :]),
        ]
    if "fills" in table.columns:
        count = {name: table[name].sum() for name in COUNTS}
        cut = ", ".join(f"{name.upper()} {count[name]:,}" for name in COUNTS[2:] if count[name])
        working = table["working"].drop_nulls().tail(1).sum()
        rows += [("fills", f"{count['fills']:,}, {working:,} orders working at the end"), ("orders cut", cut or "none")]
    rows += [("note", f"{name}: {value}") for name, value in result.notes.items() if value != 0]
    return rows + [("advice", text) for text in result.advice.values()]


def _last_row(result: Result) -> str:
    """Where the final equity is from, where the run has ended before its last bar."""
    rows = np.flatnonzero(~np.isnan(result.raw.money[0, 0]))
    ended = 0 < len(rows) < len(result.timestamps)
    return f" in the last row, {stamp(result.timestamps[int(rows[-1])])}," if ended else ""
