# SPDX-License-Identifier: Apache-2.0
"""[S6] to [S8]: a row of target weights becomes orders for the difference to what is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.conditions import Conditions
from cpu_fallback.ledger import LIMIT, WEIGHT_TICK, all_of, any_of, count, near_whole, snap, trunc_lots

if TYPE_CHECKING:
    from cpu_fallback.lane import Lane
    from gpu_bt.engine.spec import Decision

__all__ = ["decide"]

_WEIGHT_MAGIC = WEIGHT_TICK * (1.5 * 2.0**52)


def decide(lane: Lane, t: int, equity: np.ndarray, called: np.ndarray | None, decision: Decision | None) -> None:
    """Replace the orders of the scenarios whose decision is due, and of those that a drawdown has stopped; a margin
    call (`called`, (k,) bool) takes the place of the decision. `decision`: that of a strategy, in a callback run."""
    due, all_due, stopped = lane.due[t], lane.due_all[t], None
    if decision is not None:
        all_due = decision.weights is not None and not np.isnan(decision.weights).all()
        due = np.array([all_due])
    if lane.ending or lane.stopped or called is not None:
        skip = lane.over | lane.broke | lane.stop
        due = due & ~(skip if called is None else skip | called)
        all_due = due.all()
        stopped = lane.stop & ~(lane.over | lane.broke) if lane.stopped else None
    if all_due or due.any() or (stopped is not None and stopped.any()):
        _target(lane, t, equity, due, all_due, stopped, None if decision is None else decision.weights)
    if decision is not None and decision.lots is not None:
        _direct(lane, t, decision)


def _target(lane: Lane, t: int, equity: np.ndarray, due: np.ndarray, all_due: bool, stopped: np.ndarray | None,
            row: np.ndarray | None) -> None:  # fmt: skip
    """The targets of the scenarios `due`, of their weights panels or of a strategy's `row`, and those of a drawdown."""
    if row is None and lane.spec.callback:
        row = np.full(lane.n, np.nan)
    weights = _off(lane, t, due, _rows(lane, t, due) if row is None else row[None])
    wanted = _some(weights > 0)
    if lane.margin:
        wanted |= _some(weights < 0)
    lane.recolumn(wanted)
    if lane.cols is not None:
        weights = weights.take(lane.cols, axis=1)
    target = None  # (k, A) bool where some asset or scenario has no target; None = all have one
    if not all_due or not all_of(np.abs(weights @ lane.ones) < np.inf):
        target = due[:, None] & ~np.isnan(weights)
        weights = np.where(target, weights, 0.0)
    held = None
    if lane.limited or lane.p.has.band:
        h = lane.h
        value = snap(lane.worth(h, lane.row(lane.marks, t)), lane.p.magic)
        held = np.where(h != 0, value * (1 / equity)[:, None], 0.0)
    if lane.limited:
        has = np.broadcast_to(due[:, None], lane.h.shape) if target is None else target
        weights = _limit(lane, np.broadcast_to(weights, lane.h.shape), held, has)
    if stopped is not None:  # [S5d] a target of 0 for every asset, without the limits
        target = np.broadcast_to(due[:, None], lane.h.shape) if target is None else target
        target = target | stopped[:, None]
        weights = np.where(stopped[:, None], 0.0, weights)
    _order(lane, t, equity, weights, held, target)
    if lane.conditions is not None:
        placed = np.ones((1, lane.n), bool) if target is None else lane.spread(target)
        if not lane.conditions.put(placed[0].astype(bool), np.nan, np.nan):
            lane.conditions = None


def _direct(lane: Lane, t: int, decision: Decision) -> None:
    """[S8] The direct orders of a strategy; with a limit or stop they become [S4l] orders."""
    x = _off(lane, t, np.ones(1, bool), decision.lots[None])
    placed = ~np.isnan(x[0])
    lane.recolumn(placed & (x[0] != 0))
    x = x.take(lane.names, axis=1)
    given = ~np.isnan(x)
    unsized = np.isinf(x)
    lane.record.cut(lane, "NO_PRICE", unsized, np.zeros(1))
    x = np.where(given & ~unsized, x, 0.0)
    lots = _to_lots(lane, x)
    lane.record.cut(lane, "ROUNDED_OUT", (x != 0) & (lots == 0), x)
    orders = np.where(given, lots, 0.0 if lane.o is None else lane.o)
    lane.o, lane.waiting = orders if orders.any() else None, None
    limit, stop = (np.nan if p is None else p for p in (decision.limit, decision.stop))
    conditions = lane.conditions or Conditions(lane.n)
    lane.conditions = conditions if conditions.put(placed, limit, stop) and lane.o is not None else None


def _rows(lane: Lane, t: int, due: np.ndarray) -> np.ndarray:
    """[S6] (1 or k, N) weights rows read at this bar."""
    spec, p = lane.spec, lane.p
    if lane.one_row:
        read = max(0, t - p.signal_lag)
        rows = spec.weights[p.weights][read : read + 1]
    else:
        panel, lag = np.broadcast_arrays(p.v.weights, p.v.signal_lag)
        rows = np.full((lane.k, lane.n), np.nan)
        for pair in set(zip(panel[due].tolist(), lag[due].tolist(), strict=True)):
            same = due & (panel == pair[0]) & (lag == pair[1])
            rows[same] = spec.weights[int(pair[0])][t - int(pair[1])]
    return rows


def _off(lane: Lane, t: int, due: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[S3] Rows (1 or k, N) as float64, NaN from an asset's delisting on, counted."""
    off = lane.events.off_asset
    if len(off):
        off = off[: np.searchsorted(lane.events.off_bar, t, side="right")]
    rows = rows.astype(np.float64, copy=len(off) > 0)
    if len(off):
        lost = np.where(due[:, None], ~np.isnan(rows[:, off]), False)
        lane.record.count("delisted", count(lost))
        lane.record.log_cut(off, lane.lots.unit[None, off], "DELISTED", lost, np.zeros(1))
        rows[:, off] = np.nan
    return rows


def _some(mask: np.ndarray) -> np.ndarray:
    return mask[0] if len(mask) == 1 else mask.any(axis=0)


def _test(lane: Lane, on: np.ndarray, value: np.ndarray) -> None:
    lane.overflow(on & ~(np.abs(value) < LIMIT * WEIGHT_TICK))


def _limit(lane: Lane, w_new: np.ndarray, w: np.ndarray, has: np.ndarray) -> np.ndarray:
    """[S7] Name cap, gross cap, turnover cap; a NaN cap is off. Sums on the grid of weights."""
    p, ones = lane.p, lane.ones
    acts = has.any(axis=1)
    top = p.max_weight
    w_new = np.where(w_new > top, top, w_new)
    w_new = np.where(has & (w_new < -np.asarray(top)), -np.asarray(top), w_new)
    size = np.abs(w)
    if p.has.max_gross:
        most = np.broadcast_to(p.v.max_gross, acts.shape)
        others = snap(np.where(has, 0.0, size), _WEIGHT_MAGIC) @ ones
        gross = others + snap(np.where(has, np.abs(w_new), 0.0), _WEIGHT_MAGIC) @ ones
        on = acts & ~np.isnan(most)
        _test(lane, on, others)
        _test(lane, on, gross)
        factor = _factor(most - others, gross - others)
        w_new = np.where((on & (gross > most))[:, None], w_new * factor, w_new)
    if p.has.max_turnover:
        most = np.broadcast_to(p.v.max_turnover, acts.shape)
        exits = has & (w_new == 0)
        out2 = snap(np.where(exits, size, 0.0), _WEIGHT_MAGIC) @ ones
        all2 = snap(np.where(has, np.abs(w_new - w), 0.0), _WEIGHT_MAGIC) @ ones
        on = acts & ~np.isnan(most)
        _test(lane, on, out2)
        _test(lane, on, all2)
        out, turnover = out2 / 2, all2 / 2
        factor = _factor(most - out, turnover - out)
        moves = (on & (turnover > most))[:, None] & has & ~exits
        w_new = np.where(moves, w + (w_new - w) * factor, w_new)
    return w_new


def _factor(part: np.ndarray, all_of_it: np.ndarray) -> np.ndarray:
    factor = np.where(all_of_it == 0, 0.0, part / all_of_it)
    return np.where(factor > 0, factor, 0.0)[:, None]


def _order(lane: Lane, t: int, equity: np.ndarray, weights: np.ndarray, held: np.ndarray | None,
           target: np.ndarray | None) -> None:  # fmt: skip
    """[S8] x = ((E*(1 - cash_buffer))*W)*u - h, in lots; every asset with a target has its order replaced."""
    p, h = lane.p, lane.h
    price = lane.row(lane.close.values, t)
    x = (equity * (1 - p.v.cash_buffer))[:, None] * weights
    x *= 1 / price
    x -= h
    missing = np.isnan(price) if lane.close.gaps[t] else None
    if missing is not None:
        x = np.where(missing, 0.0, x)
    skip = None
    if p.has.band:
        skip = (np.abs(weights - held) <= p.band) & (weights != 0) & (np.asarray(p.band) > 0)
        x = np.where(skip, 0.0, x)
    delta = _to_lots(lane, x)
    plain = target is None and missing is None and not p.has.min_trade_value and not lane.record.logging
    if plain:  # an exit is whole already, so only other targets are rounded to 0
        lane.waiting = count(delta)
        if not lane.lots.none_whole:
            lane.record.count("rounded_out", count(x) - lane.waiting)
        lane.o = delta if any_of(np.asarray(lane.waiting)) else None
        return
    live = weights != 0 if target is None else (weights != 0) & target
    lane.record.cut(lane, "ROUNDED_OUT", (x != 0) & (delta == 0) & live, x)
    if p.has.min_trade_value:
        small = (np.abs(delta) * price < p.min_trade_value) & live & (delta != 0)
        lane.record.cut(lane, "BELOW_MIN", small, delta)
        delta = np.where(small, 0.0, delta)
    if missing is not None:
        lane.record.cut(lane, "NO_PRICE", np.broadcast_to(missing & live, delta.shape), np.zeros(1))
        delta = np.where(missing & (weights == 0), -h, delta)
    if target is not None:
        delta = np.where(target, delta, 0.0 if lane.o is None else lane.o)
    lane.o = delta if delta.any() else None


def _to_lots(lane: Lane, x: np.ndarray) -> np.ndarray:
    """[S8] The rounding of orders: `trunc` or `nearest`, and rint(x) within 1e-6 of it either way."""
    if lane.lots.none_whole:
        return x
    if lane.nearest:
        away = np.sign(x) * np.trunc(np.abs(x) + 0.5)
        lots = np.where(near_whole(x), np.rint(x), away)
    else:
        lots = trunc_lots(x)
    return lots if lane.lots.all_whole else np.where(lane.whole, lots, x)
