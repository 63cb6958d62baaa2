# SPDX-License-Identifier: Apache-2.0
"""The oracle: one scenario simulated by plain scalar loops, written from docs/semantics.md alone.

It shares no arithmetic with the engines (no NumPy operation touches a number here), so that an engine which agrees
with it bit for bit agrees with the page and not with itself. The decisions of a strategy are drawn beforehand, as rows
of weights and direct orders.

Letters: T bars, N assets, h holding, o working order, q fill, all in lots; F, P, m prices per lot; E equity; W target.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from oracle_clock import MICROSECOND, schedule, wall_clock
from oracle_limits import Orders
from oracle_numbers import LedgerOverflow, at, rint, sgn, trunc
from oracle_orders import Trading

from gpu_bt.config import Config
from gpu_bt.law.layout import COUNTS, MONEY, SCENARIO_STATUS

__all__ = ["Oracle", "OraclePanel", "simulate"]

NAN = math.nan


@dataclasses.dataclass(eq=False)
class OraclePanel:
    """Market data as `gpu_bt.engine.spec.Market` names and shapes it, but raw: optional fields may hold NaN.

    NaN in a price: the asset does not trade. NaN elsewhere: volume, half_spread, volatility, dividend, borrow_rate and
    delisting_return 0, split 1. `assets` are the ids, `next_microseconds` the bar after the last one, or None. Both
    kinds of microseconds are UTC where there is a time zone, else those of the timestamps as they stand.
    """

    microseconds: Any
    close: Any
    assets: Sequence[str]
    open: Any = None
    high: Any = None
    low: Any = None
    vwap: Any = None
    volume: Any = None
    half_spread: Any = None
    volatility: Any = None
    dividend: Any = None
    split: Any = None
    borrow_rate: Any = None
    can_buy: Any = None
    can_sell: Any = None
    universe: Any = None
    delisted_at: Any = None
    delisting_return: Any = None
    lot: Any = None
    next_microseconds: int | None = None
    time_zone: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return self.close.shape


@dataclasses.dataclass(eq=False)
class Oracle:
    """What happened. `money` and `counts` map the names of MONEY and COUNTS to a list over bars.

    `positions` are shares, a list per bar; rows from the end of a scenario on are NaN (counts: 0). `fills` holds
    (bar, asset, shares, price, reference_price, commission, slippage, status). `holdings` and `orders` are lots after
    the last bar. `paths` counts which branches of the law ran, for judging how well drawn scenarios cover it.
    """

    money: dict[str, list[float]]
    counts: dict[str, list[int]]
    positions: list[list[float]]
    fills: list[tuple[int, int, float, float, float, float, float, str]]
    holdings: list[float]
    orders: list[float]
    cash: float
    peak: float
    first_bar: dict[str, int]
    status: str
    paths: Counter[str]


def simulate(
    panel: OraclePanel, weights: Any, config: Config, orders: Orders | None = None, holdings: Any = None
) -> Oracle:
    """Run one scenario: `weights` (T, N), NaN = no target, `config` as for the engines; `orders`: a strategy's;
    `holdings`: (N,) shares held before the first bar."""
    return _Run(panel, weights, config, orders, holdings).run()


def _tie(name: str) -> int:
    return hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()[-1] % 64


class _Run(Trading):
    def __init__(self, panel: OraclePanel, weights: Any, config: Config, orders: Orders | None, holdings: Any) -> None:
        self.panel, self.weights, self.config, self.direct_orders = panel, weights, config, orders
        self.bars, self.n = (int(size) for size in panel.shape)
        self.clock = wall_clock(panel.microseconds, panel.time_zone)
        self.decides = schedule(panel.microseconds, panel.next_microseconds, config, panel.time_zone)
        self.lot = [config.lot] * self.n
        if panel.lot is not None and config.lot != 0.0:
            self.lot = [float(x) for x in panel.lot]
        self.unit = [lot if lot != 0.0 else 1.0 for lot in self.lot]
        self.tie = [_tie(str(name)) for name in panel.assets]
        self.h, self.o, self.m = [0.0] * self.n, [0.0] * self.n, [NAN] * self.n
        held = {} if holdings is None else {i: float(x) for i, x in enumerate(holdings) if float(x) != 0.0}
        capital = config.initial_cash + self.bring_in(held)
        tick = config.money_tick
        self.tick = 2.0 ** (math.frexp(capital)[1] - 1 - 36) if tick is None else tick
        self.cash, self.peak = self.money(config.initial_cash), 0.0
        self.limit, self.stop, self.triggered = [NAN] * self.n, [NAN] * self.n, [False] * self.n
        self.priced: list[datetime.date | None] = [None] * self.n  # date of the last price, None before the first
        self.first_bar = dict.fromkeys(SCENARIO_STATUS, -1)
        self.ended = False
        self.row: dict[str, float] = {}
        self.count: Counter[str] = Counter()
        self.bar_fills: list[tuple[int, int, float, float, float, float, float, str]] = []
        self.out = Oracle(
            {name: [] for name in MONEY}, {name: [] for name in COUNTS}, [], [], [], [], 0.0, 0.0, {}, "OK", Counter()
        )

    def bring_in(self, held: dict[int, float]) -> float:
        """Opening holdings: in lots, at their first marks; their worth at the first bar at which all have one."""
        first: dict[int, int] = {}
        for i, shares in held.items():
            first[i] = next(t for t in range(self.bars) if not math.isnan(self.quoted(t, i)))
            lots = shares / self.unit[i]
            self.h[i] = rint(lots) if self.lot[i] != 0.0 and abs(lots - rint(lots)) <= 1e-6 else lots
            self.m[i] = (self.quoted(first[i], i) * self.unit[i]) * self.splits(first[i], i)
        all_marked = max(first.values(), default=0)
        for t in range(all_marked):
            self.decides[t] = False
        worth = []
        for i, shares in held.items():
            mark = self.quoted(first[i], i)
            for t in range(first[i] + 1, all_marked + 1):
                ratio = at(self.panel.split, t, i, 1.0)
                mark = mark / ratio if math.isnan(self.quoted(t, i)) else self.quoted(t, i)
            worth.append((shares * self.splits(all_marked, i)) * mark)
        return math.fsum(worth)

    def quoted(self, t: int, i: int) -> float:
        """What marks an asset at a bar, per share, or NaN."""
        close, opened = self.price("close", t, i), self.price("open", t, i)
        return opened if math.isnan(close) else close

    def splits(self, t: int, i: int) -> float:
        """The product of an asset's split ratios up to and including bar t."""
        product = 1.0
        for u in range(t + 1):
            product *= at(self.panel.split, u, i, 1.0)
        return product

    # --- one bar ---

    def run(self) -> Oracle:
        for t in range(self.bars):
            if self.ended:
                self.record_nothing()
                continue
            before = self.cash, list(self.h), list(self.o), self.peak
            self.row, self.count, self.bar_fills = dict.fromkeys(MONEY, 0.0), Counter(), []
            try:
                self.bar(t)
            except LedgerOverflow:
                self.cash, self.h, self.o, self.peak = before
                self.set_status("LEDGER_OVERFLOW", t)
                self.ended = True
                self.record_nothing()
        out = self.out
        out.holdings, out.orders = [x + 0.0 for x in self.h], [x + 0.0 for x in self.o]
        out.cash, out.peak, out.first_bar = self.cash, self.peak, self.first_bar
        out.status = [name for name in SCENARIO_STATUS if name == "OK" or self.first_bar[name] >= 0][-1]
        return out

    def bar(self, t: int) -> None:
        self.financing(t)
        self.corporate_actions(t)
        self.delistings(t)
        if self.config.execution == "same_close":
            self.fill(t, [i for i in range(self.n) if self.conditional(i)])
            if self.mark(t):
                self.decide(t)
                self.fill(t, [i for i in range(self.n) if not self.conditional(i)])
                if self.mark(t):
                    self.margin_call(t)
        else:
            self.fill(t)
            if self.mark(t) and not self.margin_call(t):
                self.decide(t)
        self.record(t)

    def financing(self, t: int) -> None:
        """[S1]"""
        c, clock = self.config, self.clock
        days = 0.0 if t == 0 else float((clock[t] - clock[t - 1]) // MICROSECOND) / 8.64e10
        rate = c.cash_rate if self.cash >= 0.0 else c.debit_rate
        interest = self.money(self.cash * (rate * (days / 360.0)))
        fees = 0.0
        for i in range(self.n):
            if self.h[i] < 0.0:
                rate = c.borrow_rate if self.panel.borrow_rate is None else at(self.panel.borrow_rate, t, i, 0.0)
                fee = self.money((-self.h[i] * self.m[i]) * (rate * (days / 365.0)))
                fees += fee
                self.out.paths["borrow fee"] += fee > 0.0
        self.cash = self.cash + interest - fees + 0.0
        self.test(fees, self.cash)
        self.row["financing"] = interest - fees
        self.out.paths["interest, positive"] += interest > 0.0
        self.out.paths["interest, negative"] += interest < 0.0

    def corporate_actions(self, t: int) -> None:
        """[S2]"""
        received = paid = fractions = 0.0
        for i in range(self.n):
            d = at(self.panel.dividend, t, i, 0.0) * self.unit[i]
            if self.h[i] > 0.0:
                received += self.money(self.h[i] * d)
            elif self.h[i] < 0.0:
                paid += self.money(-self.h[i] * d)
        for i in range(self.n):
            s = at(self.panel.split, t, i, 1.0)
            if s != 1.0:
                fractions += self.split(i, s)
        self.cash = self.cash + received - paid + fractions + 0.0
        self.test(received, paid, self.cash)
        self.row["dividends"], self.row["settlements"] = received - paid, fractions
        self.out.paths["dividend received"] += received > 0.0
        self.out.paths["dividend paid"] += paid > 0.0

    def split(self, i: int, s: float) -> float:
        """[S2] One asset's split; the cash paid out for a fraction of the holding."""
        self.m[i], self.limit[i], self.stop[i] = self.m[i] / s, self.limit[i] / s, self.stop[i] / s
        o, had_order = self.o[i] * s, self.o[i] != 0.0
        if self.lot[i] == 0.0:
            self.h[i], self.o[i] = self.h[i] * s + 0.0, o + 0.0
            self.count["rounded_out"] += had_order and o == 0.0  # an intent never vanishes without a status
            return 0.0
        c = max(self.lot[i], 1.0)
        ends = abs(self.o[i] + self.h[i]) * c <= 1e-6
        n, near = self.whole(self.h[i] * c)
        x = (n if near and c > 1.0 else self.h[i] * c) * s
        kept, x_near = self.whole(x)
        self.h[i] = kept / c + 0.0
        self.o[i] = -self.h[i] + 0.0 if ends else self.whole(o)[0]
        self.out.paths["split of a holding"] += x != 0.0
        self.out.paths["odd lot"] += self.h[i] != rint(self.h[i])
        self.out.paths["exit over a split of an odd lot"] += ends and had_order and self.o[i] != rint(self.o[i])
        rounded_out = had_order and self.o[i] == 0.0
        self.count["rounded_out"] += rounded_out
        self.out.paths["split rounds an order to none"] += rounded_out
        if x == 0.0 or x_near:
            return 0.0
        self.out.paths["fraction, long" if x > 0.0 else "fraction, short"] += 1
        return self.money((x - kept) * (self.m[i] / c))

    @staticmethod
    def whole(x: float) -> tuple[float, bool]:
        """whole(x), and whether x was within 1e-6 of it"""
        near = abs(x - rint(x)) <= 1e-6
        return (rint(x) if near else trunc(x)), near

    def delistings(self, t: int) -> None:
        """[S3]"""
        received = paid = 0.0
        date, seen = self.clock[t].date(), {moment.date() for moment in self.clock[: t + 1]}
        opens = t == 0 or self.clock[t - 1].date() != date  # the first bar of its date
        for i in range(self.n):
            if any(not math.isnan(self.price(name, t, i)) for name in ("close", "open")):
                self.priced[i] = date
            explicit = self.panel.delisted_at is not None and int(self.panel.delisted_at[i]) == t
            last = self.priced[i]
            silent = self.config.delist_after > 0 and last is not None and opens
            silent = silent and len({d for d in seen if d > last}) == self.config.delist_after
            if not (explicit or silent):
                continue
            if self.h[i] != 0.0:
                back = 0.0 if self.panel.delisting_return is None else float(self.panel.delisting_return[i])
                back = 0.0 if back != back else back
                cash = self.money(self.h[i] * (self.m[i] * (1.0 + back)))
                self.cash = self.cash + cash + 0.0
                self.row["settlements"] += cash
                received, paid = received + max(cash, 0.0), paid + max(-cash, 0.0)
                self.out.paths["settled, delisted_at" if explicit else "settled, delist_after"] += 1
            self.count["delisted"] += self.o[i] != 0.0
            self.out.paths["order removed by settlement"] += self.o[i] != 0.0
            self.h[i] = self.o[i] = 0.0
        self.test(received, paid, self.cash)

    # --- [S5] ---

    def mark(self, t: int) -> bool:
        """[S5] and [S5d]; False where the scenario ends."""
        longs = shorts = 0.0
        for i in range(self.n):
            for name in ("open", "close"):
                if not math.isnan(self.price(name, t, i)):
                    self.m[i] = self.price(name, t, i) * self.unit[i]
            if self.h[i] > 0.0:
                longs += self.money(self.h[i] * self.m[i])
            elif self.h[i] < 0.0:
                shorts += self.money(-self.h[i] * self.m[i])
        e = self.equity = self.cash + longs - shorts + 0.0
        self.gross = longs + shorts
        self.test(longs, shorts, e)
        self.row.update(equity=e, long_value=longs, short_value=-shorts)
        if e <= 0.0:
            self.set_status("BANKRUPT", t)
            self.ended = True
            return False
        self.peak = self.peak if self.peak > e else e
        if self.config.max_drawdown is not None and e < (1.0 - self.config.max_drawdown) * self.peak:
            self.set_status("DRAWDOWN_STOP", t)
        return True

    def margin_call(self, t: int) -> bool:
        """[S5m]"""
        c, e, gross = self.config, self.equity, self.gross
        if c.account != "margin" or c.maintenance_margin is None or self.stopped():
            return False
        if not 0.0 < e < c.maintenance_margin * gross:
            return False
        f = (e / c.maintenance_margin) / gross
        for i in range(self.n):
            self.count["cancelled"] += self.o[i] != 0.0
            self.unconditional(i)
            size = abs(self.h[i]) * (1.0 - f)
            if self.lot[i] != 0.0 and abs(size) < 2.0**52:
                size = float(math.ceil(size))
            self.o[i] = -sgn(self.h[i]) * min(abs(self.h[i]), size) + 0.0
        self.set_status("MARGIN_CALL", t)
        return True

    # --- [S6] ---

    def decide(self, t: int) -> None:
        """[S6] The targets of this bar; None: no target."""
        source = t - self.config.signal_lag
        if self.stopped():
            row = [0.0] * self.n
        elif self.decides[t]:
            row = [float(x) for x in self.weights[source]] if source >= 0 else [NAN] * self.n
        else:
            return
        self.leave_universe(t, row)
        targets: dict[int, float] = {}
        for i in range(self.n):
            if math.isnan(row[i]):
                continue
            if self.delisted(t, i):
                self.count["delisted"] += not self.stopped()
                self.out.paths["target of a delisted asset"] += not self.stopped()
            else:
                targets[i] = row[i] + 0.0
        if targets:
            banded = set() if self.stopped() else self.limits(targets)
            self.orders(t, targets, banded)
        self.place(t)

    def delisted(self, t: int, i: int) -> bool:
        return self.panel.delisted_at is not None and 0 <= int(self.panel.delisted_at[i]) <= t

    def leave_universe(self, t: int, row: list[float]) -> None:
        """[S6] outside="close": targets of 0, in place."""
        if self.config.outside != "close" or self.stopped():
            return
        for i in range(self.n):
            if not self.outside(t, i) or self.delisted(t, i):
                continue
            direct = self.asks_directly(t, i)
            busy = self.h[i] != 0.0 or self.o[i] != 0.0
            if row[i] != 0.0 and (direct or busy or not math.isnan(row[i])):
                self.count["outside"] += 1
                kind = "direct order" if direct else "holding" if math.isnan(row[i]) else "target"
                self.out.paths["outside, " + kind] += 1
            row[i] = 0.0

    def asks_directly(self, t: int, i: int) -> bool:
        d = self.direct_orders
        return d is not None and not (math.isnan(float(d.lots[t][i])) and math.isnan(float(d.exits[t][i])))

    def place(self, t: int) -> None:
        """[S8] The direct orders of a strategy."""
        if self.direct_orders is None or self.stopped():
            return
        d = self.direct_orders
        placed = []
        for i in range(self.n):
            lots, part = float(d.lots[t][i]), float(d.exits[t][i])
            if not self.asks_directly(t, i):
                continue
            if self.delisted(t, i):
                self.count["delisted"] += 1
                continue
            if self.config.outside == "close" and self.outside(t, i):
                continue
            x = lots if math.isnan(part) else -(part * self.h[i]) + 0.0
            self.direct(t, i, x, float(d.limit[t][i]), float(d.stop[t][i]))
            if not math.isinf(x):
                placed.append(i)
        if placed:
            self.limit_direct(placed)

    # --- [S9] ---

    def record(self, t: int) -> None:
        """[S9]"""
        self.row["cash"] = self.cash
        self.count["working"] = sum(x != 0.0 for x in self.o)
        for name in MONEY:
            self.out.money[name].append(self.row[name] + 0.0)
        for name in COUNTS:
            self.out.counts[name].append(int(self.count[name]))
        self.out.positions.append([self.shares(i, self.h[i]) for i in range(self.n)])
        self.out.fills += self.bar_fills

    def record_nothing(self) -> None:
        for name in MONEY:
            self.out.money[name].append(math.nan)
        for name in COUNTS:
            self.out.counts[name].append(0)
        self.out.positions.append([NAN] * self.n)
