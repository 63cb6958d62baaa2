# SPDX-License-Identifier: Apache-2.0
"""The oracle's second half: [S4] fills and [S8] orders, and the numbers that all steps share.

`Trading` is a base class of `oracle.py`'s run, which holds the state: `cash`, `h`, `o`, `m`, `row`, `count`, ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from oracle_limits import Limits
from oracle_numbers import Cost, LedgerOverflow, at, rint, sgn, trunc

from gpu_bt.config import Config

if TYPE_CHECKING:
    from oracle import Oracle, OraclePanel

__all__ = ["Trading"]

_SHADE = 1.0 - 2.0**-40
_EXECUTION_FIELD = {"next_open": "open", "next_close": "close", "next_vwap": "vwap", "same_close": "close"}


class Trading(Limits):
    """The steps that trade; the fields are set by the run."""

    panel: OraclePanel
    config: Config
    n: int
    tick: float
    lot: list[float]
    unit: list[float]
    tie: list[int]
    cash: float
    equity: float
    h: list[float]
    o: list[float]
    m: list[float]
    row: dict[str, float]
    count: Counter[str]
    bar_fills: list[tuple[int, int, float, float, float, float, float, str]]
    first_bar: dict[str, int]
    out: Oracle

    # --- numbers ---

    def money(self, x: float) -> float:
        """R(x)"""
        return rint(x / self.tick) * self.tick + 0.0

    def test(self, *sums: float) -> None:
        for x in sums:
            if not abs(x) < 2.0**51 * self.tick:
                raise LedgerOverflow

    def price(self, name: str, t: int, i: int) -> float:
        """The panel's price per share, NaN where there is none."""
        return at(getattr(self.panel, name), t, i, math.nan)

    def set_status(self, name: str, t: int) -> None:
        if self.first_bar[name] < 0:
            self.first_bar[name] = t

    def stopped(self) -> bool:
        return self.first_bar["DRAWDOWN_STOP"] >= 0

    def shares(self, i: int, lots: float) -> float:
        """Of lots: `rint` within 1e-6 where the lot is above 1."""
        x = lots * self.unit[i]
        return rint(x) + 0.0 if self.unit[i] > 1.0 and abs(x - rint(x)) <= 1e-6 else x + 0.0

    # --- [S4] fills ---

    def fill(self, t: int, among: Iterable[int] | None = None) -> None:
        """[S4] q: asset -> signed lots, status: asset -> the last cut that touched the order; `among`: of these only"""
        q: dict[int, float] = {}
        status: dict[int, str] = {}
        self.quote: dict[int, tuple[float, bool]] = {}  # [S4l] price per share, limit fill
        for i in range(self.n) if among is None else among:
            if self.o[i] != 0.0:
                x, name = self.match(t, i)
                if x != 0.0:
                    q[i], status[i] = x, name
        if not q:
            return
        wanted = dict(q)
        if self.config.account == "cash":
            self.clip_to_cash(t, q)
        else:
            self.clip_to_leverage(t, q)
        clipped = "CASH_CLIPPED" if self.config.account == "cash" else "LEVERAGE_CLIPPED"
        for i in q:
            if abs(q[i]) < abs(wanted[i]):
                status[i] = clipped
                self.count[clipped.lower()] += 1
                self.out.paths["clipped to none"] += q[i] == 0.0
        self.settle(t, q, status)

    def share_price(self, t: int, i: int) -> float:
        """The price per share at which an asset fills at this bar, or NaN"""
        found = self.quote.get(i)
        return self.price(_EXECUTION_FIELD[self.config.execution], t, i) if found is None else found[0]

    def fill_price(self, t: int, i: int) -> float:
        """F, per lot, or NaN"""
        return self.share_price(t, i) * self.unit[i]

    def match(self, t: int, i: int) -> tuple[float, str]:
        """[S4] 1. The lots that could fill, and their status; what does not fill stays in `o`, or is cancelled."""
        c, o = self.config, self.o[i]
        mask = self.panel.can_buy if o > 0.0 else self.panel.can_sell
        volume = at(self.panel.volume, t, i, 0.0)
        reason, path = "", True
        if self.conditional(i):
            found, is_limit, path = self.reached(t, i)
            if path and math.isnan(found):
                self.keep_or_cancel(i, o)
                return 0.0, ""
            if path:
                self.quote[i] = found, is_limit
        if not path or math.isnan(self.fill_price(t, i)):
            reason = "no_price"
        elif mask is not None and not bool(mask[t][i]):
            reason = "restricted"
        elif c.impact > 0.0 and volume == 0.0:
            reason = "volume_clipped"
        if reason:
            self.count[reason] += 1
            self.keep_or_cancel(i, o)
            return 0.0, ""
        q, status = o, "FILLED"
        if c.account == "cash" and q < 0.0 and -q > self.h[i]:
            q, status = -self.h[i] + 0.0, "CANCELLED"
            self.count["cancelled"] += 1
        held_back = 0.0
        if c.participation is not None:
            most = c.participation * volume
            cap = trunc(most / self.lot[i]) if self.lot[i] != 0.0 else most
            fits = self.shares(i, abs(q)) <= most
            self.out.paths["odd order within the volume"] += fits and abs(q) > cap
            if abs(q) > cap and not fits:
                held_back = q - sgn(q) * cap
                q, status = sgn(q) * cap + 0.0, "VOLUME_CLIPPED"
                self.count["volume_clipped"] += 1
        self.keep_or_cancel(i, held_back)
        return q, status

    def keep_or_cancel(self, i: int, rest: float) -> None:
        self.o[i] = rest
        if rest != 0.0 and self.config.unfilled == "cancel":
            self.o[i] = 0.0
            self.count["cancelled"] += 1

    def cost(self, t: int, i: int, q: float) -> Cost:
        """[S4] 2."""
        if q == 0.0:
            return Cost()
        c, sign, size = self.config, sgn(q), abs(q)
        n = size * self.fill_price(t, i)
        a = c.slippage + at(self.panel.half_spread, t, i, 0.0)
        if i in self.quote and self.quote[i][1]:  # [S4l] a limit fill
            a = 0.0
        elif c.impact > 0.0:
            root = math.sqrt(size * self.unit[i]) * (1.0 / math.sqrt(at(self.panel.volume, t, i, 0.0)))
            if self.panel.volatility is not None:
                root = at(self.panel.volatility, t, i, 0.0) * root
                self.out.paths["impact of a volatility"] += root > 0.0
            a = a + c.impact * root
        self.out.paths["adverse move capped"] += a > 0.95
        a = min(a, 0.95)
        v = n + sign * (n * a)
        most = math.inf if c.max_commission_rate is None else c.max_commission_rate * n
        variable = c.fixed_commission + ((size * self.unit[i]) * c.commission_per_share + v * c.commission_rate)
        variable = min(variable, most)
        fee = min(max(variable, c.min_commission), most)
        self.out.paths["min_commission binds"] += variable < c.min_commission and fee > variable
        self.out.paths["max_commission_rate binds"] += fee == most
        if q < 0.0:
            fee = fee + v * c.sell_tax
        ref = self.money(n)
        least = max(c.fixed_commission, c.min_commission)
        if most < least:  # the maximum, which shrinks with the fill, is what it costs
            least, scaled = 0.0, ref + self.money(n * a + most)
        else:
            scaled = ref + self.money(n * a + max(variable - least, 0.0))
        return Cost(ref, self.money(n * a + fee), self.money(n * a), a, scaled, least)

    def clip_to_cash(self, t: int, q: dict[int, float]) -> None:
        """[S4] 3. One factor for all buys, then one lot back where it fits."""
        buys = [i for i in q if q[i] > 0.0]
        costs = {i: self.cost(t, i, q[i]) for i in q}
        need = proceeds = 0.0
        for i in q:
            if q[i] > 0.0:
                need += costs[i].total
            else:
                proceeds += costs[i].ref - costs[i].drag
        available = self.cash + proceeds
        self.test(need, proceeds, available)
        if not (buys and need > available):
            return
        b = 0.0
        for i in buys:
            b += costs[i].scaled
        factor = 0.0
        if b != 0.0:
            self.out.paths["cash clip with a fixed commission"] += self.config.fixed_commission > 0.0
            least = max(self.config.fixed_commission, self.config.min_commission)
            flat = sum(costs[i].least > 0.0 for i in buys) if least > 0.0 else len(buys)
            self.out.paths["cash clip below a maximum commission"] += flat < len(buys)
            spendable = available - (flat * (least + 4.0 * self.tick) + (len(buys) - flat) * (4.0 * self.tick))
            factor = max(0.0, spendable / b) * _SHADE
        self.out.paths["cash clip"] += 1
        self.out.paths["lambda = 0"] += factor == 0.0
        self.out.paths["B = 0"] += b == 0.0
        left, classes, ordered = available, {}, dict(q)
        for i in buys:
            exact = factor * q[i]
            cut = exact if self.lot[i] == 0.0 else trunc(exact)
            if self.lot[i] != 0.0 and cut < q[i]:
                rank = 64 * int(trunc(8.0 * (exact - cut))) + self.tie[i]
                classes.setdefault(rank, []).append(i)
            q[i] = cut
            left -= self.cost(t, i, cut).total
        self.buy_back(t, q, ordered, classes, left)

    def buy_back(
        self, t: int, q: dict[int, float], ordered: dict[int, float], classes: dict[int, list[int]], left: float
    ) -> None:
        """[S4] 3. Remainders: whole classes, the highest first, until one does not fit."""
        for rank in sorted(classes, reverse=True):
            extra, more = 0.0, {i: min(q[i] + 1.0, ordered[i]) for i in classes[rank]}
            for i in classes[rank]:
                extra += self.cost(t, i, more[i]).total - self.cost(t, i, q[i]).total
            if not extra <= left:
                self.out.paths["buy-back ended by a class"] += 1
                return
            left -= extra
            for i in classes[rank]:
                self.out.paths["rest of an odd order bought back"] += more[i] != q[i] + 1.0
                q[i] = more[i]
                self.out.paths["lot bought back"] += 1
            self.out.paths["class of several bought back"] += len(classes[rank]) > 1

    def clip_to_leverage(self, t: int, q: dict[int, float]) -> None:
        """[S4m]"""
        longs = shorts = after = increase = 0.0
        reduce: dict[int, float] = {}
        grow: dict[int, float] = {}
        for i in range(self.n):
            h, x = self.h[i], q.get(i, 0.0)
            f = self.fill_price(t, i)
            p = self.m[i] if math.isnan(f) else f
            if h > 0.0:
                longs += self.money(h * p)
            elif h < 0.0:
                shorts += self.money(-h * p)
            reduce[i] = sgn(x) * min(abs(x), abs(h)) if sgn(x) * sgn(h) < 0.0 else 0.0
            grow[i] = x - reduce[i]
            if h + reduce[i] != 0.0:
                after += self.money(abs(h + reduce[i]) * p)
            if grow[i] != 0.0:
                increase += self.money(abs(grow[i]) * f)
        equity = self.cash + longs - shorts
        self.test(longs, shorts, equity, after, increase)
        if self.config.max_leverage is None:
            return
        limit = self.config.max_leverage * equity
        if not (increase > 0.0 and after + increase > limit):
            return
        factor = max(0.0, (limit - after) / increase) * _SHADE
        self.out.paths["leverage clip"] += 1
        self.out.paths["leverage factor 0"] += factor == 0.0
        for i in q:
            size = abs(grow[i]) * factor
            cut = size if self.lot[i] == 0.0 else trunc(size)
            q[i] = reduce[i] + sgn(grow[i]) * cut + 0.0

    def settle(self, t: int, q: dict[int, float], status: dict[int, str]) -> None:
        """[S4] 3. and 4.: cash and holdings move, the record is written."""
        row = dict.fromkeys(("buys", "sells", "commission", "slippage"), 0.0)
        for i in sorted(q):
            if q[i] == 0.0:
                continue
            cost = self.cost(t, i, q[i])
            row["buys" if q[i] > 0.0 else "sells"] += cost.ref
            row["commission"] += cost.drag - cost.slip
            row["slippage"] += cost.slip
            self.cash += -(cost.ref + cost.drag) if q[i] > 0.0 else cost.ref - cost.drag
            self.h[i] = self.h[i] + q[i] + 0.0
            self.count["fills"] += 1
            p = self.share_price(t, i)
            executed = p + sgn(q[i]) * (p * cost.adverse)
            self.bar_fills.append(
                (t, i, self.shares(i, q[i]), executed, p, cost.drag - cost.slip + 0.0, cost.slip, status[i])
            )
            self.out.paths["fill " + status[i]] += 1
        self.cash += 0.0
        self.test(*row.values(), self.cash)
        for name, x in row.items():
            self.row[name] += x

    # --- [S8] ---

    def orders(self, t: int, targets: dict[int, float], banded: set[int]) -> None:
        """[S8] Every asset with a target gets its order replaced."""
        c = self.config
        for i, weight in targets.items():
            p = self.price("close", t, i) * self.unit[i]
            if math.isnan(p) and c.sizing == "last" and self.m[i] > 0.0:
                p = self.m[i]
                self.out.paths["sized by the last mark"] += weight != 0.0
            if weight != 0.0 and math.isnan(p):
                self.count["no_price"] += 1
                self.out.paths["target without a price, in the band"] += i in banded
                self.out.paths["order kept without a price"] += self.o[i] != 0.0
                continue
            self.unconditional(i)
            if weight == 0.0:
                self.o[i] = -self.h[i] + 0.0
                continue
            self.o[i] = 0.0
            if i in banded:
                continue
            wanted = ((self.equity * (1.0 - c.cash_buffer)) * weight) * (1.0 / p)
            x = wanted - self.h[i]
            delta = x if self.lot[i] == 0.0 else self.rounded(i, x, wanted)
            self.count["rounded_out"] += x != 0.0 and delta == 0.0
            if abs(delta) * p < c.min_trade_value:
                self.count["below_min"] += delta != 0.0
                delta = 0.0
            self.o[i] = self.reduced(t, i, delta + 0.0)

    def outside(self, t: int, i: int) -> bool:
        return self.panel.universe is not None and not bool(self.panel.universe[t][i])

    def reduced(self, t: int, i: int, delta: float) -> float:
        """[S8] outside="hold": what is left of an order."""
        if self.config.outside != "hold" or not self.outside(t, i):
            return delta
        h = self.h[i]
        r = sgn(delta) * min(abs(delta), abs(h)) + 0.0 if sgn(delta) * sgn(h) < 0.0 else 0.0
        self.count["outside"] += r != delta
        self.out.paths["outside, " + ("enlarged" if r == 0.0 else "crossing")] += r != delta
        return r

    def direct(self, t: int, i: int, x: float, limit: float, stop: float) -> None:
        """[S8] A direct order of x lots replaces the working order."""
        if math.isinf(x):
            self.count["no_price"] += 1
            return
        delta = x if self.lot[i] == 0.0 else self.rounded(i, x, x + self.h[i], direct=True)
        self.count["rounded_out"] += x != 0.0 and delta == 0.0
        self.o[i] = self.reduced(t, i, delta + 0.0)
        self.limit[i], self.stop[i], self.triggered[i] = limit, stop, False
        self.out.paths["direct order"] += self.o[i] != 0.0

    def rounded(self, i: int, x: float, wanted: float, direct: bool = False) -> float:
        if abs(x + self.h[i]) * max(self.lot[i], 1.0) <= 1e-6:
            self.out.paths["exit of an odd lot by an order"] += self.h[i] != rint(self.h[i])
            return -self.h[i] + 0.0
        if direct and abs(x - rint(x)) <= 1e-6:
            self.out.paths["direct order of whole lots, odd holding"] += self.h[i] != rint(self.h[i])
            return rint(x)
        if self.config.rounding == "position":
            near = rint(wanted)
            self.out.paths["position rounded otherwise"] += trunc(wanted) - self.h[i] != trunc(x)
            return (near if abs(wanted - near) <= 1e-6 else trunc(wanted)) - self.h[i] + 0.0
        near = rint(x)
        if abs(x - near) <= 1e-6:
            return near
        return trunc(x) if self.config.rounding == "toward_zero" else sgn(x) * trunc(abs(x) + 0.5)

    # --- [S9] ---
