# SPDX-License-Identifier: Apache-2.0
"""A batch of scenarios moving through the bars together: the state, and one bar of the law in order.

Letters: k scenarios of the batch still running, A active assets, N all assets. Per-asset arrays are (k, A) on the
active columns `cols` (None = all N), rows of a panel (1, A), per-scenario numbers (k,). An asset with no holding, no
order and no target contributes exact zeros to every sum, so leaving it out changes no bit.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback import holdings, quiet
from cpu_fallback.conditions import Conditions, Path
from cpu_fallback.decide import decide
from cpu_fallback.fills import fill
from cpu_fallback.ledger import Params, all_of, any_of, count, snap, split_sums
from cpu_fallback.record import Record
from gpu_bt.config import CHOICES
from gpu_bt.engine.prepare import PRICE_OF, days_between, events, lots, marks, opening_marks, prices
from gpu_bt.engine.spec import Decision, RunSpec, Start
from gpu_bt.law.layout import NEVER, SCENARIO_STATUS

__all__ = ["Lane"]

_CODE = {name: code for code, name in enumerate(SCENARIO_STATUS)}
_SAME_CLOSE = CHOICES["execution"].index("same_close")
_MARGIN = CHOICES["account"].index("margin")
#: With more than this share of the assets active, whole rows are cheaper than picked ones.
_DENSE = 0.5


class Lane:
    """k scenarios with equal STRUCTURAL fields (gpu_bt.law.layout), from bar 0."""

    def __init__(self, spec: RunSpec, members: np.ndarray, due: np.ndarray) -> None:
        self.spec, self.market, self.members = spec, spec.market, members
        self.params = spec.params[members]
        self.p = Params(self.params)
        self.n = self.market.shape[1]
        self.due = due  # (T, k) bool: the bar decides and its weights row has a target
        self.due_any = due.any(axis=1)
        first = self.params[0]
        self.lot, self.margin = float(first["lot"]), int(first["account"]) == _MARGIN
        self.same_close = int(first["execution"]) == _SAME_CLOSE
        self.keeps = CHOICES["unfilled"][first["unfilled"]] == "keep"
        self.nearest = CHOICES["rounding"][first["rounding"]] == "nearest"
        self.lots = lots(self.market, self.lot)
        self.close = prices(self.market, "close", self.lot)
        self.exec = prices(self.market, PRICE_OF[first["execution"]], self.lot)
        self.field = getattr(self.market, PRICE_OF[first["execution"]])
        self.marks = marks(self.market, self.lot)
        self.opening = opening_marks(self.market, self.lot)[None]
        least = 1.0 if self.market.split is None else self.market.split.min().item()
        split = least != 1.0 or self.market.before is not None
        self.finite = not split or np.isfinite(max(self.marks.max().item(), self.opening.max().item()) / least)
        self.events = events(self.market, int(first["delist_after"]))
        self.days = days_between(self.market)
        self.record = Record(spec, members)
        self._ones, self._every = np.ones(self.n), np.arange(self.n)
        self._full = np.zeros((2, len(members), self.n))  # scratch of `recolumn`, zero between calls
        self.block = np.empty(0)  # scratch of quiet.mark_run
        self.signs = np.ones((len(members), self.n, 2))
        k = len(members)
        opening = np.rint(self.params["initial_cash"] / self.params["tick"]) * self.params["tick"]
        self.cash, self.peak = opening, opening.copy()
        self.stop = np.zeros(k, bool)
        self.first_bar = np.full((k, len(SCENARIO_STATUS)), NEVER, np.int32)
        self.set_columns(np.empty(0, np.int64), np.zeros((k, 0)), None)
        self.conditions: Conditions | None = None  # [S4l] of a callback run, while an order has a limit or stop
        self.path: Path | None = None  # and what a bar makes of them, while it fills
        self.final: dict[int, tuple] = {}  # scenario -> its state, once ended
        self._bind()
        if spec.start is not None:
            self._load(spec.start)

    def _load(self, start: Start) -> None:
        """Go on from where the scenarios stood."""
        state = start.state[self.members]
        self.cash, self.peak, self.first_bar = state["cash"].copy(), state["peak"].copy(), state["first_bar"].copy()
        self.stop = self.first_bar[:, _CODE["DRAWDOWN_STOP"]] != NEVER
        self.stopped = bool(self.stop.any())
        held, orders = start.holdings[self.members], start.orders[self.members]
        self.set_columns(None, held, orders if orders.any() else None)
        ended = state["ended"] != 0
        if ended.any():
            self.leave(-1, ended, held, orders)

    @property
    def k(self) -> int:
        """Scenarios still running."""
        return len(self.cash)

    def _bind(self) -> None:
        """What follows from the parameters of the scenarios that still run."""
        p = self.p
        self.limit = p.limit
        self.financed = p.has.cash_rate or p.has.debit_rate
        self.borrows = self.margin and (self.market.borrow_rate is not None or p.has.borrow_rate)
        self.watches_peak = p.has.max_drawdown
        self.calls = self.margin and p.has.maintenance_margin
        self.limited = p.has.max_weight or p.has.max_gross or p.has.max_turnover
        self.thin = self.market.volume is not None and (p.has.impact or p.has.participation)
        self.one_row = isinstance(p.v.weights, int) and isinstance(p.v.signal_lag, int)
        self.over = np.zeros(len(self.params), bool)
        self.broke = np.zeros(len(self.params), bool)
        self.ending = False  # over or broke has a member
        self.stopped = bool(self.stop.any())
        self.due_all = self.due.all(axis=1)
        self.moves = p.has.slippage or p.has.impact or self.market.half_spread is not None

    # ---- columns

    def set_columns(self, cols: np.ndarray | None, h: np.ndarray, o: np.ndarray | None) -> None:
        """Go on with these active columns and the holdings and orders on them."""
        self.cols, self.h, self.o = cols, h, o
        self.ones = self._ones[: h.shape[1]]

    @property
    def names(self) -> np.ndarray:
        """(A,) asset numbers of the active columns."""
        return self._every if self.cols is None else self.cols

    @property
    def unit(self) -> np.ndarray:
        """(1, A) shares per lot."""
        return self.lots.unit[None, self.names]

    @property
    def whole(self) -> np.ndarray | bool:
        """(1, A) bool, True where holdings count whole lots; one bool where all do or none."""
        return self.lots.whole[None, self.names] if self.lots.mixed else self.lots.all_whole

    def row(self, panel: np.ndarray, t: int) -> np.ndarray:
        """(1, A) float64 of a bar of a panel."""
        row = panel[t : t + 1]
        if self.cols is not None:
            row = row.take(self.cols, axis=1)
        return row if row.dtype == np.float64 else row.astype(np.float64)

    def marks_before(self, t: int) -> np.ndarray:
        """(1, A) the marks after bar t - 1."""
        return self.row(self.marks, t - 1) if t else self.row(self.opening, 0)

    def recolumn(self, wanted: np.ndarray) -> None:
        """Make the assets of the (N,) mask active, besides those that hold or wait."""
        if self.cols is None and np.count_nonzero(wanted) > _DENSE * self.n:
            return
        h, o = self._whole_row(self.h, 0), None if self.o is None else self._whole_row(self.o, 1)
        for x in (h,) if o is None else (h, o):
            wanted |= x[0] != 0 if len(x) == 1 else (x != 0).any(axis=0)
        old, cols = self.cols, wanted.nonzero()[0]
        if len(cols) > _DENSE * self.n:
            self.set_columns(None, h.copy(), None if o is None else o.copy())
        else:
            self.set_columns(cols, h.take(cols, axis=1), None if o is None else o.take(cols, axis=1))
        if old is not None:
            for x in (h,) if o is None else (h, o):
                _put(x, old, 0.0)

    def _whole_row(self, x: np.ndarray, slot: int) -> np.ndarray:
        """(k, N) of a (k, A) array, on scratch that the caller clears; `spread` gives one to keep."""
        if self.cols is None:
            return x
        full = self._full[slot, : len(x)]
        _put(full, self.cols, x)
        return full

    def spread(self, x: np.ndarray) -> np.ndarray:
        """(k, N) of a (k, A) array."""
        if self.cols is None:
            return x
        full = np.zeros((len(x), self.n))
        _put(full, self.cols, x)
        return full

    # ---- moving through the bars

    def advance(self, t0: int, t1: int) -> None:
        """Bars t0..t1-1: runs of bars without trades at once, every other bar by itself."""
        t = t0
        with np.errstate(all="ignore"):
            while t < t1 and self.k:
                if not self.due_any[t]:
                    end = quiet.until(self, t, t1)
                    t = quiet.mark_run(self, t, end)
                    if t == t1:
                        break
                self.bar(t)
                t += 1

    def bar(self, t: int) -> None:
        """One bar of the law, [S1] to [S9]."""
        self.open(t)
        self.close_bar(t, None)

    def open(self, t: int) -> bool:
        """The bar up to its decision; False where a strategy may not decide (of one scenario)."""
        self.before = self.cols, self.h
        self.waiting = self.called = None  # how many orders wait, where [S8] has counted them last; margin calls
        self.record.bar = t
        if (t or self.spec.start is not None) and (self.financed or self.borrows):
            holdings.finance(self, t)
        if self.events.bar_start[t] != self.events.bar_start[t + 1]:
            holdings.corporate(self, t)
            holdings.settle(self, t)
        if not self.same_close:
            fill(self, t)
        elif self.conditions is not None:
            fill(self, t, conditional=True)
        self.equity = self.mark(t)
        self.mark_stop(t, self.equity)
        if self.calls and not self.same_close:
            self.called = self.margin_call(t, self.equity)
        return not (self.ending or self.stopped or (self.called is not None and self.called.any()))

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """The rest of the bar: decision, with same_close fills and a second mark, record."""
        decide(self, t, self.equity, self.called, decision)
        if self.same_close:
            fill(self, t, conditional=None if self.conditions is None else False)
            self.equity = self.mark(t)
            self.mark_stop(t, self.equity)
            if self.calls:
                self.margin_call(t, self.equity)
        record = self.record
        record.row(t, self.equity, self.cash)
        if self.o is not None:
            record.note("working", self.waiting if self.waiting is not None else count(self.o))
        if record.positions is not None:
            record.hold(t, self.spread(self.h * self.unit) + 0.0)
        if self.ending:
            self.end(t, self.before)

    def set_status(self, name: str, t: int, mask: np.ndarray) -> None:
        """Keep the first bar of a status."""
        seen = self.first_bar[:, _CODE[name]]
        seen[mask & (seen == NEVER)] = t

    def test(self, *values: np.ndarray) -> None:
        """LEDGER_OVERFLOW where a sum, cash or equity reaches LIMIT units; written so that NaN fails."""
        for value in values:
            self.overflow(~(np.abs(value) < self.limit))

    def overflow(self, mask: np.ndarray) -> None:
        """These scenarios end at this bar; their rows go on computing until it is over, and are then voided."""
        if mask.any():
            self.over |= mask
            self.ending = True

    def worth(self, h: np.ndarray, price: np.ndarray) -> np.ndarray:
        """h*price, 0 where h is 0: a split of an absurd ratio may make a mark infinite, and 0 times that NaN."""
        return h * price if self.finite else np.where(h != 0, h * price, 0.0)

    def mark(self, t: int) -> np.ndarray:
        """[S5] Equity at the marks of the bar."""
        value = snap(self.worth(self.h, self.row(self.marks, t)), self.p.magic)
        if self.margin:
            self.long, self.short = split_sums(value, self.ones)
            equity = self.cash + self.long + self.short
            size = np.abs(self.cash) + (self.long - self.short)
        else:
            self.long = value @ self.ones
            self.short = 0.0
            equity, size = self.cash + self.long, np.abs(self.cash) + self.long
        if not all_of(size < self.limit):  # |cash| + long + short bounds all that [S5] tests
            self.test(self.long, self.short, equity)
        self.record.put("long_value", t, self.long)
        if self.margin:
            self.record.put("short_value", t, self.short)
        return equity

    def mark_stop(self, t: int, equity: np.ndarray) -> None:
        """[S5] the end of a scenario, the peak, and [S5d] the drawdown stop."""
        if not all_of(equity > 0):
            self.broke |= (equity <= 0) & ~self.over
            self.ending = True
        self.peak = np.maximum(self.peak, equity)
        if self.watches_peak:
            running = ~(self.over | self.broke)
            falls = (equity < (1 - self.p.v.max_drawdown) * self.peak) & running & ~self.stop
            if any_of(falls):
                self.stop = self.stop | falls
                self.stopped = True
                self.set_status("DRAWDOWN_STOP", t, falls)

    def margin_call(self, t: int, equity: np.ndarray) -> np.ndarray:
        """[S5m] (k,) bool: the scenarios called at this bar, their orders made."""
        gross = self.long - self.short
        call = (equity > 0) & (equity < self.p.v.maintenance_margin * gross) & ~(self.stop | self.over | self.broke)
        if not any_of(call):
            return call
        self.set_status("MARGIN_CALL", t, call)
        self.waiting = self.conditions = None
        old = np.zeros_like(self.h) if self.o is None else self.o
        here = call[:, None]
        self.record.cut(self, "CANCELLED", here & (old != 0), old)
        f = ((equity / self.p.v.maintenance_margin) / gross)[:, None]
        size = np.abs(self.h) * (1 - f)
        size = np.minimum(np.abs(self.h), np.where(self.whole, np.ceil(size), size))
        self.o = np.where(here, -np.sign(self.h) * size + 0.0, old)
        return call

    # ---- the end of scenarios

    def end(self, t: int, before: tuple[np.ndarray | None, np.ndarray]) -> None:
        """Take scenarios that overflowed or went bankrupt at bar t out of the batch."""
        self.broke &= ~self.over
        self.set_status("LEDGER_OVERFLOW", t, self.over)
        self.set_status("BANKRUPT", t, self.broke)
        if self.over.any():
            self.record.void(t, self.over)
        now = self.cols
        held, orders = self.spread(self.h), self.spread(self.o) if self.o is not None else np.zeros((self.k, self.n))
        self.cols = before[0]
        earlier = self.spread(before[1])
        self.cols = now
        self.leave(t, self.over | self.broke, np.where(self.over[:, None], earlier, held), orders)

    def leave(self, t: int, gone: np.ndarray, held: np.ndarray, orders: np.ndarray) -> None:
        """Take the scenarios of the mask out of the batch, with the holdings and orders (k, N) that they keep."""
        for i in np.flatnonzero(gone):
            self.final[int(self.members[i])] = (
                self.cash[i], self.peak[i], self.first_bar[i].copy(), 1, held[i], orders[i],
            )  # fmt: skip
        going = ~gone
        self.record.keep(t, going)
        self.members, self.params, self.due = self.members[going], self.params[going], self.due[:, going]
        self.cash, self.peak, self.stop = self.cash[going], self.peak[going], self.stop[going]
        self.first_bar = self.first_bar[going]
        self.h, self.o = self.h[going], None if self.o is None else self.o[going]
        if len(self.members):
            self.p = Params(self.params)
            self._bind()

    def whole_book(self) -> tuple[np.ndarray, np.ndarray]:
        """(k, N) holdings and working orders in lots."""
        held = self.spread(self.h)
        return held, np.zeros_like(held) if self.o is None else self.spread(self.o)

    def states(self) -> dict[int, tuple]:
        """Scenario -> (cash, peak, first_bar, ended, holdings (N,), orders (N,)) in lots."""
        held, orders = self.whole_book()
        orders = orders + 0.0
        out = dict(self.final)
        for i, member in enumerate(self.members):
            out[int(member)] = (self.cash[i], self.peak[i], self.first_bar[i], 0, held[i], orders[i])
        return out


def _put(full: np.ndarray, cols: np.ndarray, x: np.ndarray | float) -> None:
    """full[:, cols] = x; NumPy is faster over one row by itself."""
    if len(full) == 1:
        full[0][cols] = x if np.ndim(x) == 0 else x[0]
    else:
        full[:, cols] = x
