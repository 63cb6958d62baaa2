# SPDX-License-Identifier: Apache-2.0
"""Runs of bars at which nothing trades: marked at once, up to the next bar at which something may happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.holdings import borrow_fees
from cpu_fallback.ledger import count, round_any, snap

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane

__all__ = ["mark_run", "until"]

#: Values marked at once: a block of this many float64 stays in a core's second-level cache.
_BLOCK = 32_768
#: A run longer than this repays dropping idle columns first.
_WORTH = 4


def until(lane: Lane, t: int, t1: int) -> int:
    """The first bar in [t, t1] that needs the full step: a decision is due, a working order has a price, an event hits
    a holding or an order, or a stopped scenario still has something to sell or an order to take back."""
    later = lane.due_any[t:t1].argmax()
    end = t + int(later) if lane.due_any[t + later] else t1
    if lane.o is not None:
        if not lane.keeps or not lane.exec.gaps[t] or lane.conditions is not None:
            return t
        waiting = np.logical_or.reduce(lane.o, axis=0)
        assets = waiting.nonzero()[0] if lane.cols is None else lane.cols[waiting]
        end = _first_price(lane, assets, t, end)
    if lane.stopped and (lane.h[lane.stop].any() or (lane.o is not None and lane.o[lane.stop].any())):
        return t
    start = lane.events.bar_start
    assets = lane.events.assets[start[t] : start[end]]
    if len(assets):
        busy = np.zeros(lane.n, bool)
        touched = np.logical_or.reduce(lane.h, axis=0)
        if lane.o is not None:
            touched |= waiting
        busy[touched.nonzero()[0] if lane.cols is None else lane.cols[touched]] = True
        hit = busy[assets]
        if hit.any():
            end = int(np.searchsorted(start, start[t] + int(hit.argmax()), side="right")) - 1
    return end


def _first_price(lane: Lane, assets: np.ndarray, t: int, end: int) -> int:
    """The first bar in [t, end] at which one of the assets has an execution price; looked for in growing steps."""
    step = 4
    while t < end:
        stop = min(end, t + step)
        found = ~np.isnan(lane.field[t:stop, assets])
        found = found.any(axis=1)
        if found.any():
            return t + int(found.argmax())
        t, step = stop, step * 4
    return end


def mark_run(lane: Lane, t: int, end: int) -> int:
    """Mark and record bars [t, end); stop before the first at which a status may change. Returns where it stopped."""
    if lane.cols is not None and end - t > _WORTH:
        lane.recolumn(np.zeros(lane.n, bool))  # what was sold need not be marked
    width = max(1, _BLOCK // max(1, lane.h.size))
    while t < end:
        stop = min(end, t + width)
        done = _block(lane, t, stop)
        if done < stop:
            return done
        t = stop
    return t


def _block(lane: Lane, t0: int, t1: int) -> int:
    marks = lane.marks[t0:t1]
    if lane.cols is not None:
        marks = marks.take(lane.cols, axis=1)
    (k, a), b = lane.h.shape, t1 - t0
    if lane.block.size < k * b * a:  # kept, because a fresh one this large costs more than the sums
        lane.block = np.empty(k * b * a)
    value = lane.block[: k * b * a].reshape(k, b, a)
    np.multiply(lane.h[:, None, :], marks[None], out=value)
    if not lane.finite:
        value[:] = lane.worth(lane.h[:, None, :], marks[None])
    snap(value, lane.p.magic3)  # [S5]
    long, short = value @ lane.ones, None
    if lane.margin:
        size = np.abs(value, out=value) @ lane.ones
        long, short = (size + long) * 0.5, (long - size) * 0.5 + 0.0
    gross = long if short is None else long - short
    cash, financing = lane.cash[:, None], None
    good = True
    if lane.financed or lane.borrows:
        cash, financing, good = _finance(lane, t0, t1)
    equity = cash + long if short is None else cash + long + short
    good &= (np.abs(cash) + gross < _column(lane.limit)) & (equity > 0)  # else [S5] tests or ends it: the full step
    peak = np.maximum.accumulate(np.maximum(equity, lane.peak[:, None]), axis=1)
    if lane.watches_peak:
        good &= ~(equity < (1 - _column(lane.p.v.max_drawdown)) * peak) | lane.stop[:, None]  # [S5d]
    if lane.calls:
        good &= ~(equity < _column(lane.p.v.maintenance_margin) * gross) | lane.stop[:, None]  # [S5m]
    done = b
    if not good.all():
        done = int(good.all(axis=0).argmin())
    if done:
        _write(lane, t0, done, {"equity": equity, "cash": np.broadcast_to(cash, (k, b)), "long_value": long,
                                "short_value": short, "financing": financing})  # fmt: skip
        if financing is not None:
            lane.cash = np.ascontiguousarray(cash[:, done - 1])
        lane.peak = np.ascontiguousarray(peak[:, done - 1])
    return t0 + done


def _finance(lane: Lane, t0: int, t1: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S1] (k, B) cash after financing, the financing, and where both stay inside the ledger."""
    k, width = lane.k, t1 - t0
    fees = borrow_fees(lane, t0, t1) if lane.borrows else np.zeros((k, width))
    cash, change = np.empty((k, width)), np.empty((k, width))
    now = lane.cash
    for b in range(width):
        rate = np.where(now >= 0, lane.p.v.cash_rate, lane.p.v.debit_rate)
        change[:, b] = round_any(now * (rate * (lane.days[t0 + b] / 360)), lane.p.v.tick) - fees[:, b]
        now = now + change[:, b]
        cash[:, b] = now
    return cash, change, (np.abs(cash) < _column(lane.limit)) & (fees < _column(lane.limit))


def _column(x: float | np.ndarray) -> float | np.ndarray:
    return x if np.ndim(x) == 0 else x[:, None]


def _write(lane: Lane, t0: int, width: int, columns: dict[str, np.ndarray | None]) -> None:
    record, bars = lane.record, slice(t0, t0 + width)
    for name, values in columns.items():
        if values is not None:
            record.put(name, bars, values[:, :width].T)
    if lane.o is not None:
        waiting = count(lane.o)
        record.counted("working", bars, waiting)
        record.counted("no_price", bars, waiting)
        if record.logging:
            for t in range(bars.start, bars.stop):
                record.bar = t
                record.log_cut(lane.names, lane.unit, "NO_PRICE", lane.o != 0, lane.o)
    if record.positions is not None:
        record.hold(bars, lane.spread(lane.h * lane.unit) + 0.0)
