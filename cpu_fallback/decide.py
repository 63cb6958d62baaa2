# SPDX-License-Identifier: Apache-2.0
"""[S6] to [S8]: a row of target weights becomes orders for the difference to what is held."""

from __future__ import annotations

import numpy as np

from cpu_fallback.fills import set_conditions
from cpu_fallback.lane import Lane
from cpu_fallback.ledger import (
    LIMIT,
    MAGIC,
    SHAVE,
    SNAP,
    WEIGHT_TICK,
    Array,
    reduction,
    scale_to,
    snap,
    some,
    to_lots,
    total,
)  # fmt: skip
from gpu_bt.engine.spec import Decision

__all__ = ["decide"]


def decide(lane: Lane, decision: Decision | None) -> None:
    """Replace the orders of the scenarios whose decision is due, and of those that a drawdown has stopped; a margin
    call takes the place of the decision. `decision`: that of a strategy, in a callback run."""
    rows, due = None, np.asarray(lane.due[lane.t][:, None])
    if decision is not None:
        rows = np.full((1, lane.n), np.nan) if decision.weights is None else decision.weights[None]
        due = np.asarray(~np.isnan(rows).all(axis=1, keepdims=True) | lane.closes)
    stopped = lane.stop
    if np.count_nonzero(lane.flags) or some(stopped):
        stopped = stopped & ~lane.dead
        due = due & ~(lane.dead | lane.stop | lane.called)
    if some(due) or some(stopped):
        _target(lane, due, stopped, _weights(lane) if rows is None else rows, decision)
    if decision is not None and decision.lots is not None:
        _direct(lane, decision, decision.lots[None])


def _weights(lane: Lane) -> Array:
    """[S6] (1 or k, N) weights rows read at this bar."""
    if lane.spec.callback:
        return np.full((1, lane.n), np.nan)
    rows = np.full((1, 1), np.nan)
    for reader, same in lane.sources:
        row = reader(lane.t)
        rows = row[None] if len(lane.sources) == 1 else np.where(same, row, rows)
    return rows


def _target(lane: Lane, due: Array, stopped: Array, rows: Array, decision: Decision | None) -> None:
    """Orders for the targets of the scenarios `due`, in (1 or k, N) rows, and for those of a drawdown stop."""
    rows = _without_delisted(lane, due, rows)
    if lane.closes:
        rows = _within_universe(lane, due, rows, decision)
    wanted = np.abs(rows) > 0
    lane.recolumn(wanted[0] if len(wanted) == 1 else np.logical_or.reduce(wanted, axis=0))
    weights = lane.pick(rows)
    target = due & ~np.isnan(weights)
    if np.count_nonzero(target) < target.size:
        weights = np.where(target, weights, 0.0)
    held = np.zeros((1, 1))
    if lane.on & {"max_weight", "max_gross", "max_turnover", "band"}:
        value = snap(lane.worth(lane.h, lane.row(lane.marks)), lane.magic)
        held = np.where(lane.h != 0, value * (1 / lane.marked.equity), 0.0)
        weights = _limit(lane, weights, held, target)
    if some(stopped):  # [S5d] a target of 0 for every asset, without the limits
        target = target | stopped
        weights = np.where(stopped, 0.0, weights)
    _order(lane, weights, held, target)


def _without_delisted(lane: Lane, due: Array, rows: Array) -> Array:
    """[S3] Rows as float64, NaN from an asset's delisting on, counted."""
    off = lane.events.off_asset[: lane.events.off_bar.searchsorted(lane.t, side="right")]
    rows = rows.astype(np.float64, copy=len(off) > 0)
    if len(off):
        lane.cut("DELISTED", due & ~np.isnan(rows[:, off]), 0.0, off)
        rows[:, off] = np.nan
    return rows


def _within_universe(lane: Lane, due: Array, rows: Array, decision: Decision | None) -> Array:
    """[S6] outside="close": rows with targets of 0 beside the universe, counted where they replace something."""
    assert lane.market.universe is not None
    out = ~lane.market.universe[lane.t]
    delisted = (lane.market.delisted_at >= 0) & (lane.market.delisted_at <= lane.t)
    busy = ~np.isnan(rows) | (lane.spread(lane.h) != 0) | (lane.spread(lane.o) != 0)
    if decision is not None and decision.lots is not None:
        busy |= ~np.isnan(decision.lots)
    lane.cut("OUTSIDE", due & out & ~delisted & busy & (rows != 0), 0.0, np.arange(lane.n))
    return np.where(out, 0.0, rows)


def _enlarging(lane: Lane, delta: Array, placed: Array) -> Array:
    """[S8] outside="hold": of the orders `placed` for assets beside the universe, what reduces the holding."""
    if lane.market.universe is None or lane.closes:
        return delta
    kept = np.where(placed & (lane.row(lane.market.universe) == 0), reduction(delta, lane.h) + 0.0, delta)
    lane.cut("OUTSIDE", kept != delta, delta - kept)
    return kept


def _limit(lane: Lane, w_new: Array, w: Array, has: Array) -> Array:
    """[S7] Name cap, gross cap, turnover cap; a NaN cap is off. Sums on the grid of weights."""
    acts = has.any(axis=1, keepdims=True)
    most = lane.p["max_weight"]
    w_new = np.where(np.abs(w_new) > most, np.copysign(most, w_new), w_new)
    most = lane.p["max_gross"]
    on = acts & ~np.isnan(most)
    if on.any():
        others = _weight_sum(np.where(has, 0.0, w))
        gross = _weight_sum(np.where(has, w_new, w))
        lane.test(others, gross, where=on, limit=LIMIT * WEIGHT_TICK)
        factor = scale_to(most - others, gross - others)
        w_new = np.where(on & (gross > most), w_new * factor, w_new)
    most = lane.p["max_turnover"]
    on = acts & ~np.isnan(most)
    if on.any():
        exits = has & (w_new == 0)
        out = _weight_sum(np.where(exits, w, 0.0))  # twice what the law calls X and tau
        moved = _weight_sum(np.where(has, w_new - w, 0.0))
        lane.test(out, moved, where=on, limit=LIMIT * WEIGHT_TICK)
        factor = scale_to(most - out / 2, moved / 2 - out / 2)
        moves = on & (moved / 2 > most) & has & ~exits
        w_new = np.where(moves, w + (w_new - w) * factor, w_new)
    return w_new


def _weight_sum(w: Array) -> Array:
    """(k, 1) sum Rw(|w|)."""
    return total(snap(np.abs(w), WEIGHT_TICK * MAGIC))


def _order(lane: Lane, weights: Array, held: Array, target: Array) -> None:
    """[S8] x = ((E*(1 - cash_buffer))*W)*u - h, in lots; where there is a target and a price the order is replaced."""
    p = lane.p
    price = lane.row(lane.close.values)
    exits = weights == 0
    wanted = (lane.marked.equity * (1 - p["cash_buffer"])) * weights
    wanted *= 1 / price
    x = wanted - lane.h
    delta = _to_lots(lane, x, wanted)
    if lane.close.gaps[lane.t]:
        priced = price > 0
        x, delta = (np.where(priced, d, 0.0 - lane.h) for d in (x, delta))
        lane.cut("NO_PRICE", target & ~(priced | exits), 0.0)
        target = target & (priced | exits)
    if "band" in lane.on:
        near = (np.abs(weights - held) <= p["band"]) & ~exits & (p["band"] > 0)
        x, delta = (np.where(near, 0.0, d) for d in (x, delta))
    if not lane.lots.none_whole:  # an exit, and what has no target, is whole already
        lane.cut("ROUNDED_OUT", (x != 0) & (delta == 0), x)
    if "min_trade_value" in lane.on:
        small = (np.abs(delta) * price < p["min_trade_value"]) & target & ~exits & (delta != 0)
        lane.cut("BELOW_MIN", small, delta)
        delta = np.where(small, 0.0, delta)
    delta = _enlarging(lane, delta, target)
    lane.o = delta if np.count_nonzero(target) == target.size else np.where(target, delta, lane.o)
    if lane.spec.callback:
        set_conditions(lane, lane.names[target[0]])


def _direct(lane: Lane, decision: Decision, rows: Array) -> None:
    """[S8] The direct orders of a strategy; with a limit or stop they become [S4l] orders."""
    rows = _without_delisted(lane, np.ones((1, 1), bool), rows)
    if lane.closes and lane.market.universe is not None:
        rows = np.where(lane.market.universe[lane.t], rows, np.nan)
    placed = np.isfinite(rows[0])
    lane.recolumn(np.abs(rows[0]) > 0)
    x = lane.pick(rows)
    lane.cut("NO_PRICE", np.isinf(x), 0.0)
    given = np.isfinite(x)
    x = np.where(given, x, 0.0)
    lots = _to_lots(lane, x)
    lane.cut("ROUNDED_OUT", (x != 0) & (lots == 0), x)
    lane.o = np.where(given, _enlarging(lane, lots, given), lane.o)
    if lane.on & {"max_weight", "max_gross"}:
        _limit_direct(lane, given)
    limit = np.nan if decision.limit is None else decision.limit[placed]
    stop = np.nan if decision.stop is None else decision.stop[placed]
    set_conditions(lane, placed, limit, stop)


def _limit_direct(lane: Lane, given: Array) -> None:
    """[S7] Direct orders, as if every order filled at the mark: their increases meet name cap and gross cap."""
    most, o, marks = lane.p["max_gross"], lane.o, lane.row(lane.marks)
    opposite = np.where(np.sign(o) * lane.h < 0, np.sign(o) * np.minimum(np.abs(o), np.abs(lane.h)), 0.0)
    left = np.where(given & (lane.margin | (o > 0)), opposite, o)
    stays = np.abs(lane.h + left) if lane.margin else np.maximum(lane.h + left, 0.0)
    wanted = np.abs(o - left)
    room = (lane.marked.equity * np.fmin(lane.p["max_weight"], most)) * (1 / marks) - stays
    room = np.maximum(np.where(marks > 0, room, 0.0), 0.0)
    more = _cut_down(lane, wanted, room)
    if "max_gross" in lane.on:
        worth = [lane.worth(lots, marks) * (1 / lane.marked.equity) for lots in (stays, more)]
        kept, grown = map(_weight_sum, worth)
        lane.test(kept, kept + grown, limit=LIMIT * WEIGHT_TICK)
        if some((grown > 0) & (kept + grown > most)):
            more = _cut_down(lane, more, more * (scale_to(most - kept, grown) * SHAVE))
    cut = more != wanted
    lane.o = np.where(cut, left + np.sign(o) * more + 0.0, o)
    lane.cut("LIMITED", cut, o - lane.o)


def _cut_down(lane: Lane, size: Array, room: Array) -> Array:
    """Sizes, at most `room`, in whole lots where the asset has lots."""
    return np.where(lane.whole, np.where(size - room <= SNAP, size, to_lots(room)), np.minimum(size, room))


def _to_lots(lane: Lane, x: Array, wanted: Array | None = None) -> Array:
    """[S8] The rounding of the orders x, which lead to the holdings `wanted` of targets; None = direct orders."""
    if lane.lots.none_whole:
        return x
    if lane.rounding == "position":
        lots = to_lots(x + lane.h if wanted is None else wanted) - lane.h + 0.0
        if wanted is None:  # an order of whole lots is none for a whole position
            lots = np.where(np.abs(x - np.rint(x)) <= SNAP, np.rint(x) + 0.0, lots)
    else:
        lots = to_lots(x, lane.rounding == "nearest")
    if lane.odd:  # an order that leaves nothing of an odd lot sells all
        lots = np.where(np.abs(x + lane.h) * np.maximum(lane.unit, 1.0) <= SNAP, 0.0 - lane.h, lots)
    return lots if lane.lots.all_whole else np.where(lane.whole, lots, x)
