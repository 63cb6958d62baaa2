# SPDX-License-Identifier: Apache-2.0
"""The state of a batch of scenarios that move through the bars together; the steps are in bar.py, fills.py, decide.py.

Letters: k scenarios of the batch still running, A active assets, N all assets. Per-asset arrays are (k, A) on the
active columns `cols` (None = all N), rows of a panel (1, A), numbers of a scenario columns (k, 1). An asset with no
holding, no order and no target contributes exact zeros to every sum, so leaving it out changes no bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpu_fallback.ledger import LIMIT, MAGIC, Array, count
from cpu_fallback.record import Record, log_entries
from gpu_bt.config import CHOICES, OPTIONAL
from gpu_bt.engine import prepare
from gpu_bt.engine.ranked import Reader
from gpu_bt.engine.spec import RunSpec
from gpu_bt.law.layout import COUNTS, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS, STRUCTURAL

__all__ = ["Lane", "Marked"]

#: With more than this share of the assets active, whole rows are cheaper than picked ones.
_DENSE = 0.5


class Marked(NamedTuple):
    """[S5] (k, B) each: equity, long value and short value after B bars."""

    equity: Array
    long: Array
    short: Array


class Lane:
    """k scenarios with equal STRUCTURAL fields (gpu_bt.law.layout), and where they stand."""

    def __init__(self, spec: RunSpec, members: Array, due: Array, record: Record) -> None:
        self.spec = spec
        self.market = spec.market
        self.record = record
        self.members = members
        self.readers: dict[tuple[int, ...], Reader] = {}
        self.due = due  # (T, k) bool: the bar decides and its weights row has a target
        self.n = self.market.shape[1]
        self._prepare(spec.params[members[0]])
        state = record.state[members]
        self.cash = state["cash"][:, None]
        self.peak = state["peak"][:, None]
        self.first_bar = state["first_bar"]
        self.stop = self.first_bar[:, [SCENARIO_STATUS.index("DRAWDOWN_STOP")]] != NEVER
        self.cols: Array | None = None
        self.h = record.holdings[members]  # lots held
        self.o = record.orders[members]  # lots that working orders ask for
        #: [S4l] (N,) limit and stop per share of each working order, NaN = none, and whether the stop was triggered.
        self.limits = np.full(self.n, np.nan)
        self.stops = np.full(self.n, np.nan)
        self.triggered = np.zeros(self.n, bool)
        self.recolumn(np.zeros(self.n, bool))
        self._keep(state["ended"] == 0)

    def _prepare(self, params: Array) -> None:
        """What the scenarios share: choices of the config, and what follows from the panel alone."""
        market, lot = self.market, float(params["lot"])
        choice = {name: CHOICES[name][params[name]] for name in STRUCTURAL if name in CHOICES}
        self.margin = choice["account"] == "margin"
        self.same_close = choice["execution"] == "same_close"
        self.keeps = choice["unfilled"] == "keep"
        self.rounding = choice["rounding"]
        self.closes = market.universe is not None and choice["outside"] == "close"
        field = prepare.PRICE_OF[params["execution"]]
        self.field: Array = getattr(market, field)
        self.close = prepare.decision_prices(market, lot, choice["sizing"])
        self.exec = prepare.prices(market, field, lot)
        self.marks = prepare.marks(market, lot)
        self.opening = prepare.opening_marks(market, lot)[None]
        least = 1.0 if market.split is None else float(market.split.min())
        splits = least != 1.0 or market.before is not None
        self.finite = not splits or bool(np.isfinite(max(self.marks.max(), self.opening.max()) / least))
        self.lots = prepare.lots(market, lot)
        self.odd = prepare.odd_lots(self.spec, self.lots)
        self.events = prepare.events(market, int(params["delist_after"]))
        self.days = prepare.days_between(market)
        self.tie = np.zeros(self.n, np.uint8) if market.tie is None else market.tie

    def _keep(self, going: Array) -> None:
        """Go on with the scenarios of the (k,) mask."""
        self.members = self.members[going]
        self.due = self.due[:, going]
        self.first_bar = self.first_bar[going]
        self.cash = self.cash[going]
        self.peak = self.peak[going]
        self.stop = self.stop[going]
        self.h = self.h[going]
        self.o = self.o[going]
        self.waiting = bool(self.o.any())
        params = self.spec.params[self.members]
        #: Each parameter as a column, and the names of those that some scenario uses.
        self.p = {name: _column(params[name]) for name in params.dtype.names or ()}
        if not self.margin:
            self.p["maintenance_margin"] = np.full((1, 1), np.nan)
        self.on = {name for name, x in self.p.items() if not (np.isnan(x) if name in OPTIONAL else x == 0).all()}
        self.magic = MAGIC * self.p["tick"]
        self.limit = LIMIT * self.p["tick"]
        self.borrows = self.margin and (self.market.borrow_rate is not None or "borrow_rate" in self.on)
        self.financed = self.borrows or bool(self.on & {"cash_rate", "debit_rate"})
        #: (T,) bool: a decision may be due; other bars may be quiet.
        self.busy: Array = np.logical_or.reduce(self.due, axis=1)
        #: Where targets come from: who reads for scenarios that read alike, with the (k, 1) mask of these.
        self.sources = []
        alike = params[["weights", "signal_lag", "schedule"]]
        for key, first in zip(*np.unique(alike, return_index=True), strict=True):
            if self.spec.callback:  # whose targets are not read
                break
            if key.item() not in self.readers:
                self.readers[key.item()] = self.spec.reader(int(self.members[first]))
            self.sources.append((self.readers[key.item()], (alike == key)[:, None]))

    @property
    def k(self) -> int:
        """Scenarios still running."""
        return len(self.members)

    # ---- columns

    @property
    def names(self) -> Array:
        """(A,) asset numbers of the active columns."""
        return np.arange(self.n) if self.cols is None else self.cols

    def pick(self, x: Array) -> Array:
        """(k, A) of a (k, N) array."""
        return x if self.cols is None else x.take(self.cols, axis=1)

    def spread(self, x: Array) -> Array:
        """(k, N) of a (k, A) array."""
        return _spread(x, self.cols, self.n)

    def row(self, panel: Array) -> Array:
        """(1, A) float64 of the open bar of a panel."""
        return self.pick(panel[self.t : self.t + 1]).astype(np.float64, copy=False)

    def recolumn(self, wanted: Array) -> None:
        """Make the assets of the (N,) mask active, besides those that hold or wait."""
        if self.cols is None and np.count_nonzero(wanted) > _DENSE * self.n:
            return
        h, o = self.spread(self.h), self.spread(self.o)
        needed = np.logical_or.reduce(np.logical_or(self.h, self.o), axis=0)
        wanted[self.names[needed]] = True
        self.active = wanted  # (N,) bool: the assets of the active columns
        self.cols = None if np.count_nonzero(self.active) > _DENSE * self.n else self.active.nonzero()[0]
        self.active |= self.cols is None
        self.h = self.pick(h)
        self.o = self.pick(o)
        self.unit = self.pick(self.lots.unit[None])  # shares per lot
        self.whole = self.pick(self.lots.whole[None])  # holdings count whole lots

    # ---- values

    def worth(self, h: Array, price: Array) -> Array:
        """h*price, 0 where h is 0: a split of an absurd ratio may make a mark infinite, and 0 times that NaN."""
        return h * price if self.finite else np.where(h != 0, h * price, 0.0)

    def marks_before(self, t0: int, t1: int) -> Array:
        """(B, A) the marks before those of bars t0..t1-1."""
        before = self.marks[max(t0 - 1, 0) : t1 - 1]
        return self.pick(before if t0 else np.concatenate([self.opening, before]))

    def carried(self) -> Array:
        """(1, A) the mark before [S5] of the open bar: the last one, divided by a split of this bar."""
        m = self.marks_before(self.t, self.t + 1)
        if self.market.split is None:
            return m
        ratio = self.row(self.market.split)
        return np.where(ratio != 1, m / ratio, m)

    # ---- the open bar

    def begin(self, t: int) -> None:
        """Open bar t: its row, still empty, and what an overflow goes back to."""
        self.t = t
        self.before = self.cols, self.h
        k = self.k
        self.money = np.zeros((len(MONEY), k, 1))
        self.counts = np.zeros((len(COUNTS), k, 1), np.int32)
        self.flags = np.zeros((3, k, 1), bool)
        self.over, self.broke, self.called = self.flags
        self.marked: Marked  # by [S5]
        self.fills: list[Array] = []
        self.cuts: list[Array] = []
        #: (k, N) the last status of each order in the log, which [S4] clears first.
        self.touched = np.zeros((k, self.n if self.spec.fills else 0), np.int32)

    @property
    def dead(self) -> Array:
        """(k, 1) bool: ended at this bar."""
        return self.over | self.broke

    def add(self, column: str, values: Array) -> None:
        """Add (k, 1) to a money column of the bar."""
        self.money[MONEY.index(column)] += values

    def cut(self, status: str, where: Array, lots: Array | float, names: Array | None = None) -> None:
        """Count the orders of a (k, A) mask, which lost `lots` for this reason, and log them; `names` (A,) instead of
        the active columns."""
        if not np.count_nonzero(where):
            return
        self.counts[COUNTS.index(status.lower())] += count(where)
        if self.spec.fills:
            k, a = where.nonzero()
            assets = (self.names if names is None else names)[a]
            shares = prepare.in_shares(np.broadcast_to(lots, where.shape)[k, a], self.lots.unit[assets])
            entries = log_entries(self.members[k], self.t, assets)
            entries["status"] = self.touched[k, assets] = ORDER_STATUS.index(status)
            entries["shares"] = shares
            self.cuts.append(entries)

    def test(self, *values: Array, where: Array | bool = True, limit: Array | float | None = None) -> None:
        """LEDGER_OVERFLOW where a sum, cash or equity reaches LIMIT units; written so that NaN fails. Such scenarios go
        on computing until the bar is over, and their row is then voided."""
        inside = np.abs(np.array(values)) < (self.limit if limit is None else limit)
        if np.count_nonzero(inside) < inside.size:
            self.over |= ~inside.all(axis=0) & where

    def set_status(self, name: str, where: Array) -> None:
        """Keep the first bar of a status."""
        seen = self.first_bar[:, SCENARIO_STATUS.index(name)]
        seen[where[:, 0] & (seen == NEVER)] = self.t

    def end_dead(self) -> None:
        """Take the scenarios that ended at this bar out of the batch."""
        dead = self.dead[:, 0]
        over = self.over[:, 0]
        self.set_status("LEDGER_OVERFLOW", self.over)
        self.set_status("BANKRUPT", self.broke & ~self.over)
        self.save()
        self.record.state["ended"][self.members[dead]] = 1
        cols, held = self.before
        self.record.holdings[self.members[over]] = _spread(held[over], cols, self.n)
        self._keep(~dead)

    def save(self) -> None:
        """Where the scenarios stand, into the record."""
        state, members = self.record.state, self.members
        state["cash"][members] = self.cash[:, 0]
        state["peak"][members] = self.peak[:, 0]
        state["first_bar"][members] = self.first_bar
        self.record.holdings[members] = self.spread(self.h)
        self.record.orders[members] = self.spread(self.o) + 0.0  # a weight of -0.0 leaves an order of -0.0


def _column(x: Array) -> Array:
    """(k, 1), or (1, 1) where all agree, which is much faster beside (k, A)."""
    column = x.astype(np.float64)[:, None]
    return column[:1] if len(np.unique(column)) == 1 else column


def _spread(x: Array, cols: Array | None, n: int) -> Array:
    if cols is None:
        return x
    full = np.zeros((len(x), n))
    full[:, cols] = x
    return full
