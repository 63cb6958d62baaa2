# SPDX-License-Identifier: Apache-2.0
"""A batch's way through the bars: one bar of the law in order, and runs of bars at which nothing but marks happens."""

from __future__ import annotations

import numpy as np

from cpu_fallback.decide import decide
from cpu_fallback.fills import fill, set_conditions
from cpu_fallback.lane import Lane, Marked
from cpu_fallback.ledger import SNAP, Array, count, round_any, snap, some, split_sums, to_lots, total
from gpu_bt.engine.prepare import in_shares
from gpu_bt.engine.spec import Decision
from gpu_bt.law.layout import COUNTS, MONEY

__all__ = ["advance", "close_bar", "open_bar"]

#: Values marked at once: a block of this many float64 stays in a core's second-level cache.
_BLOCK = 32_768


def advance(lane: Lane, t0: int, t1: int) -> None:
    """Bars t0..t1-1."""
    t = t0
    while t < t1 and lane.k:
        done = quiet_run(lane, t, t1)
        if not done:
            open_bar(lane, t)
            close_bar(lane, None)
        t += done or 1


def open_bar(lane: Lane, t: int) -> None:
    """The bar up to its decision."""
    lane.begin(t)
    if lane.financed:
        lane.cash, change, fees = finance(lane, t, t + 1)
        lane.test(fees, lane.cash)
        lane.add("financing", change)
    if lane.events.bar_start[t] != lane.events.bar_start[t + 1]:
        corporate(lane)
        settle(lane)
    if not lane.same_close:
        fill(lane)
    elif lane.spec.callback:
        fill(lane, conditional=True)
    mark_bar(lane)
    if not lane.same_close:
        margin_call(lane)


def close_bar(lane: Lane, decision: Decision | None) -> None:
    """The rest of the bar: decision, with same_close fills and a second mark, record."""
    decide(lane, decision)
    if lane.same_close:
        fill(lane, conditional=False if lane.spec.callback else None)
        mark_bar(lane)
        margin_call(lane)
    record_bar(lane)


# ---- [S1] to [S3]: what happens to cash and holdings without a trade


def finance(lane: Lane, t0: int, t1: int) -> tuple[Array, Array, Array]:
    """[S1] (k, B) each, of bars t0..t1-1: cash after interest and the borrow fees of shorts, its change, the fees."""
    p, days = lane.p, lane.days[t0:t1, None]
    cash, change, fees = np.zeros((3, lane.k, t1 - t0))
    if lane.borrows:
        panel = lane.market.borrow_rate
        rate = p["borrow_rate"][:, :, None] if panel is None else lane.pick(panel[t0:t1])
        value = lane.worth(np.minimum(lane.h, 0.0)[:, None], lane.marks_before(t0, t1))
        fees += np.add.reduce(snap(-value * (rate * (days / 365)), lane.magic[:, :, None]), axis=-1)
    now = lane.cash
    for b, share in enumerate(days / 360):
        rate = np.where(now >= 0, p["cash_rate"], p["debit_rate"])
        change[:, b, None] = round_any(now * (rate * share), p["tick"]) - fees[:, b, None]
        cash[:, b, None] = now = now + change[:, b, None]
    return cash, change, fees


def corporate(lane: Lane) -> None:
    """[S2] Cash dividends, then splits."""
    if lane.market.dividend is not None and lane.events.dividend[lane.t]:
        amount = lane.row(lane.market.dividend) * lane.unit
        receive(lane, "dividends", np.where(lane.h != 0, lane.h * amount, 0.0))
    if lane.market.split is not None and lane.events.split[lane.t]:
        split(lane, lane.row(lane.market.split))
        if lane.spec.callback:
            lane.limits /= lane.market.split[lane.t]
            lane.stops /= lane.market.split[lane.t]
    lane.test(lane.cash)


def receive(lane: Lane, column: str, amounts: Array) -> None:
    """Enter (k, A) amounts received and paid into cash."""
    received, paid = (x[:, None] for x in split_sums(snap(amounts, lane.magic)))
    lane.cash = lane.cash + received + paid
    lane.test(received, paid)
    lane.add(column, received + paid)


def split(lane: Lane, ratio: Array) -> None:
    """[S2] Holdings and orders times the ratio, fractions of a share paid out at the new mark."""
    hit = ratio != 1
    if not hit.any():
        return
    in_lots = hit & lane.whole
    c = np.maximum(lane.unit, 1.0)
    h, o = in_shares(lane.h, c) * ratio, lane.o * ratio
    kept = np.where(in_lots, to_lots(h), h)
    left = h - kept
    fractions = np.where(np.abs(left) > SNAP, left * (lane.carried() / c), 0.0)
    paid = total(round_any(fractions, lane.p["tick"]))
    ends = in_lots & (np.abs(lane.o + lane.h) * c <= SNAP)
    held = np.where(hit, kept / c, lane.h)
    orders = np.where(ends, 0.0 - held, np.where(in_lots, to_lots(o), o))
    lane.cut("ROUNDED_OUT", (lane.o != 0) & (orders == 0), o)
    lane.h = held
    lane.o = orders
    lane.cash = lane.cash + paid
    lane.add("settlements", paid)


def settle(lane: Lane) -> None:
    """[S3] Holdings of assets delisted at this bar are paid out at their mark."""
    gone = lane.events.settled.get(lane.t)
    if gone is None or not lane.active[gone].any():
        return
    here = np.isin(lane.names, gone)[None]
    back = 0.0 if lane.market.delisting_return is None else lane.pick(lane.market.delisting_return[None])
    price = lane.carried() * (1 + back)
    receive(lane, "settlements", np.where(here & (lane.h != 0), lane.h * price, 0.0))
    lane.test(lane.cash)
    lane.cut("DELISTED", here & (lane.o != 0), lane.o)
    lane.h = np.where(here, 0.0, lane.h)
    lane.o = np.where(here, 0.0, lane.o)


# ---- [S5]: marks, and what follows from them


def mark(lane: Lane, cash: Array, t0: int, t1: int) -> Marked:
    """[S5] The portfolio as it stands at the marks of bars t0..t1-1, with (k, 1 or B) cash."""
    marks = lane.pick(lane.marks[t0:t1])
    value = snap(lane.worth(lane.h[:, None], marks[None]), lane.magic[:, :, None])
    if not lane.margin:
        long = np.add.reduce(value, axis=-1)
        return Marked(cash + long, long, np.zeros(long.shape))
    long, short = split_sums(value)
    return Marked(cash + long + short, long, short)


def falls(lane: Lane, equity: Array, peak: Array) -> Array:
    """[S5d] Where the drawdown from the peak is too large; False where there is no limit."""
    return equity < (1 - lane.p["max_drawdown"]) * peak


def is_called(lane: Lane, marked: Marked) -> Array:
    """[S5m] Where equity is below the maintenance margin; False where there is none."""
    gross = marked.long - marked.short
    called: Array = (marked.equity > 0) & (marked.equity < lane.p["maintenance_margin"] * gross)
    return called


def mark_bar(lane: Lane) -> None:
    """[S5] the mark, the end of a scenario, the peak, and [S5d] the drawdown stop."""
    lane.marked = mark(lane, lane.cash, lane.t, lane.t + 1)
    equity, long, short = lane.marked
    lane.test(long, short, equity)
    if some(~(equity > 0)):
        lane.broke |= (equity <= 0) & ~lane.over
    lane.peak = np.maximum(lane.peak, equity)
    if "max_drawdown" not in lane.on:
        return
    new = falls(lane, equity, lane.peak) & ~(lane.dead | lane.stop)
    if new.any():
        lane.stop = lane.stop | new
        lane.set_status("DRAWDOWN_STOP", new)


def margin_call(lane: Lane) -> None:
    """[S5m] The scenarios called at this bar get orders that bring their positions down."""
    if "maintenance_margin" not in lane.on:
        return
    equity, long, short = lane.marked
    called = is_called(lane, lane.marked) & ~(lane.stop | lane.dead)
    if not called.any():
        return
    lane.called[:] = called
    lane.set_status("MARGIN_CALL", called)
    lane.cut("CANCELLED", called & (lane.o != 0), lane.o)
    f = (equity / lane.p["maintenance_margin"]) / (long - short)
    held = np.abs(lane.h)
    size = held * (1 - f)
    size = np.minimum(held, np.where(lane.whole, np.ceil(size), size))
    lane.o = np.where(called, 0.0 - np.sign(lane.h) * size, lane.o)
    set_conditions(lane, lane.names)


# ---- [S9]


def enter_marks(cash: Array, marked: Marked, money: Array) -> None:
    """Into (len(MONEY), k, B) what every bar records."""
    money[MONEY.index("equity")] = marked.equity
    money[MONEY.index("cash")] = cash
    money[MONEY.index("long_value")] = marked.long
    money[MONEY.index("short_value")] = marked.short


def shares(lane: Lane) -> Array | None:
    """(k, N) the holdings in shares, where they are recorded."""
    return lane.spread(in_shares(lane.h, lane.unit)) if lane.spec.positions else None


def record_bar(lane: Lane) -> None:
    """[S9] The row of the bar and its logs; scenarios that ended leave the batch, without a row after an overflow."""
    enter_marks(lane.cash, lane.marked, lane.money)
    held = shares(lane)
    working = count(lane.o)
    lane.counts[COUNTS.index("working")] = working
    lane.waiting = bool(np.count_nonzero(working))
    ended = some(lane.dead)
    if ended:
        over = lane.over[:, 0]
        lane.money[:, over] = np.nan
        lane.counts[:, over] = 0
        if held is not None:
            held[over] = np.nan
        for log in (lane.fills, lane.cuts):
            log[:] = [entries[~np.isin(entries["scenario"], lane.members[over])] for entries in log]
    lane.record.write(lane.members, lane.t, lane.money, lane.counts, held)
    lane.record.fills += lane.fills
    lane.record.cuts += lane.cuts
    if ended:
        lane.end_dead()


def quiet_run(lane: Lane, t: int, t1: int) -> int:
    """How many bars from t on were marked and recorded at once, because nothing else happens at them: no decision, no
    order, no event, no change of a status. 0 where bar t needs the full step."""
    if lane.busy[t] or lane.waiting or (lane.stop.any() and lane.h[lane.stop[:, 0]].any()):
        return 0
    busy = lane.busy[t : min(t1, t + max(1, _BLOCK // max(1, lane.h.size)))]
    bars = int(busy.argmax()) or len(busy)
    first = lane.events.bar_start  # of each bar in the list of assets with an event
    hits = lane.active[lane.events.assets[first[t] : first[t + bars]]]
    if hits.any():
        bars = int(np.searchsorted(first, first[t] + hits.argmax(), side="right")) - 1 - t
    if not bars:
        return 0
    cash, change, fees = finance(lane, t, t + bars) if lane.financed else (lane.cash, 0.0, 0.0)
    marked = mark(lane, cash, t, t + bars)
    equity, long, short = marked
    peak = np.maximum(np.maximum.accumulate(equity, axis=1), lane.peak)
    good = (np.abs(cash) + long - short < lane.limit) & (fees < lane.limit) & (equity > 0)  # else tested, or the end
    good &= ~(falls(lane, equity, peak) | is_called(lane, marked)) | lane.stop
    done = bars if good.all() else int(good.all(axis=0).argmin())
    if done:
        money = np.zeros((len(MONEY), lane.k, bars))
        money[MONEY.index("financing")] = change
        enter_marks(cash, marked, money)
        lane.record.write(lane.members, t, money[:, :, :done], 0, shares(lane))
        lane.cash = cash[:, :done][:, -1:]
        lane.peak = peak[:, done - 1 : done]
    return done
