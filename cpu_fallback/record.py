# SPDX-License-Identifier: Apache-2.0
"""[S9] The record of a batch of scenarios: a row per bar, and on request every fill, cut and holding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.ledger import count
from gpu_bt.engine.spec import FILL, RunSpec
from gpu_bt.law.layout import COUNTS, MONEY, ORDER_STATUS

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane

__all__ = ["CODE", "Record"]

#: Order status -> code in FILL.status.
CODE = {name: code for code, name in enumerate(ORDER_STATUS)}
_COUNT = {name: i for i, name in enumerate(COUNTS)}
_MONEY = {name: i for i, name in enumerate(MONEY)}


class Record:
    """Rows of K scenarios, bar-major, so that a bar's row is one block of memory; `alive` picks those still running."""

    def __init__(self, spec: RunSpec, members: np.ndarray) -> None:
        t_count, n = spec.market.shape
        k = len(members)
        self.members = members
        self.full = spec.columns == "all"
        self.money = np.zeros((t_count, len(MONEY) if self.full else 2, k))
        #: Sums of ref, drag and slippage of a bar's fills: (T, K, 3, 2), all fills and buys less sells.
        self.flows = np.zeros((t_count, k, 3, 2)) if self.full else None
        self.counts = np.zeros((t_count, len(COUNTS), k), np.int32) if self.full else None
        self.positions = np.full((k, t_count, n), np.nan) if spec.positions else None
        self.logging = spec.fills
        self.fills: list[np.ndarray] = []
        self.cuts: list[np.ndarray] = []
        self.alive: slice | np.ndarray = slice(None)
        self.bar = 0

    def keep(self, t: int, mask: np.ndarray) -> None:
        """Go on with the scenarios of the mask; the others have no row after bar t."""
        running = np.arange(self.money.shape[2])[self.alive]
        self.money[t + 1 :, :, running[~mask]] = np.nan
        self.alive = running[mask]

    def row(self, t: int, equity: np.ndarray, cash: np.ndarray) -> None:
        """Equity and cash of a bar."""
        row = self.money[t]
        row[0, self.alive] = equity
        row[1, self.alive] = cash

    def put(self, name: str, t: int | slice, values: np.ndarray) -> None:
        """A money column of a bar, (k,), or of a run of bars, (B, k)."""
        if self.full or _MONEY[name] < 2:
            self.money[t, _MONEY[name], self.alive] = values

    def flow(self, t: int, sums: np.ndarray) -> None:
        """Add the sums (k, 3, 2) of a bar's fills; `columns` turns them into money columns."""
        if self.full:
            self.flows[t, self.alive] += sums

    def columns(self) -> np.ndarray:
        """(C, K, T): buys, sells, commission and slippage follow from the flows; exact sums may be split again."""
        out = self.money.transpose(1, 2, 0).copy()
        if self.full:
            total, net = self.flows[..., 0].transpose(2, 1, 0), self.flows[..., 1].transpose(2, 1, 0)
            out[_MONEY["buys"]] += (total[0] + net[0]) * 0.5
            out[_MONEY["sells"]] += (total[0] - net[0]) * 0.5
            out[_MONEY["commission"]] += total[1] - total[2]
            out[_MONEY["slippage"]] += total[2]
        return out

    def add(self, name: str, t: int, values: np.ndarray) -> None:
        """Add to a money column of a bar."""
        if self.full:
            self.money[t, _MONEY[name], self.alive] += values

    def count(self, name: str, values: np.ndarray) -> None:
        """Add (k,) to a count of the bar."""
        if self.counts is not None:
            self.counts[self.bar, _COUNT[name], self.alive] += values

    def note(self, name: str, values: np.ndarray | int) -> None:
        """Set a count of the bar that has one source."""
        if self.counts is not None:
            self.counts[self.bar, _COUNT[name], self.alive] = values

    def counted(self, name: str, t: slice, values: np.ndarray) -> None:
        """A count of a run of bars at which nothing changes, (k,)."""
        if self.counts is not None:
            self.counts[t, _COUNT[name], self.alive] = values

    def cut(self, lane: Lane, status: str, where: np.ndarray, lots: np.ndarray) -> None:
        """Count the orders (k, A) that lost `lots` for this reason; log them when fills are kept."""
        lost = count(where)
        if not np.any(lost):
            return
        if self.full:
            self.count(status.lower(), lost)
        if self.logging:
            self.log_cut(lane.names, lane.unit, status, where, lots)

    def log_cut(self, names: np.ndarray, unit: np.ndarray, status: str, where: np.ndarray, lots: np.ndarray) -> None:
        """The same without counting; names (A,), unit (1, A)."""
        if self.logging and where.any():
            where = np.broadcast_to(where, (len(self.members[self.alive]), where.shape[1]))
            k, a = np.nonzero(where)
            chunk = self._chunk(k, names[a])
            chunk["status"] = CODE[status]
            chunk["shares"] = np.broadcast_to(lots, where.shape)[k, a] * unit[0, a] + 0.0
            self.cuts.append(chunk)

    def fill(self, lane: Lane, q: np.ndarray, status: np.ndarray, price: np.ndarray, adverse: np.ndarray | float,
             money: np.ndarray) -> None:  # fmt: skip
        """Log the fills q (k, A) in lots: price (1, A) per share, adverse a, money (k, 3, A) = ref, drag, slippage."""
        k, a = np.nonzero(q)
        if not len(k):
            return
        chunk = self._chunk(k, lane.names[a])
        p, sign = price[0, a], np.sign(q[k, a])
        chunk["status"] = status[k, a]
        chunk["shares"] = q[k, a] * lane.unit[0, a]
        chunk["price"] = p + sign * (p * np.broadcast_to(adverse, q.shape)[k, a])
        chunk["reference_price"] = p
        chunk["slippage"] = money[k, 2, a]
        chunk["commission"] = money[k, 1, a] - money[k, 2, a]
        self.fills.append(chunk)

    def _chunk(self, k: np.ndarray, assets: np.ndarray) -> np.ndarray:
        chunk = np.zeros(len(k), FILL)
        chunk["scenario"] = self.members[self.alive][k]
        chunk["bar"] = self.bar
        chunk["asset"] = assets
        return chunk

    def hold(self, t: int | slice, shares: np.ndarray) -> None:
        """Holdings (k, N) in shares after a bar, or after each bar of a run."""
        if self.positions is not None:
            if isinstance(t, slice):
                self.positions[self.alive, t] = shares[:, None]
            else:
                self.positions[self.alive, t] = shares

    def void(self, t: int, mask: np.ndarray) -> None:
        """LEDGER_OVERFLOW: no row and no fills of this bar for the scenarios of the mask."""
        dead = np.arange(self.money.shape[2])[self.alive][mask]
        self.money[t, :, dead] = np.nan
        if self.counts is not None:
            self.counts[t, :, dead] = 0
        if self.positions is not None:
            self.positions[dead, t] = np.nan
        gone = self.members[dead]
        for log in (self.fills, self.cuts):
            for i, chunk in enumerate(log):
                if chunk["bar"][0] == t:
                    log[i] = chunk[~np.isin(chunk["scenario"], gone)]
            log[:] = [chunk for chunk in log if len(chunk)]
