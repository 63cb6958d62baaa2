# SPDX-License-Identifier: Apache-2.0
"""What still works after the last bar: for each order its bar of decision, what has filled of it, its limit and stop.

The engines keep the orders alone; where they come from follows from what was asked and from the record. And the weights
that stand, which are held. Letters: T bars, N assets, k working orders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.analysis.spans import outside
from gpu_bt.config import CHOICES
from gpu_bt.engine.prepare import decision_prices, in_shares, marks
from gpu_bt.engine.spec import Market, RawResult, RunSpec
from gpu_bt.law.layout import MONEY, NEVER, SCENARIO_STATUS

__all__ = ["Asking", "Standing", "asking_of", "held_weights", "orders_table", "standing"]


@dataclasses.dataclass(eq=False)
class Asking:
    """(N,) the bar at which each asset's order was last replaced by what was asked, -1 = at none, and the limit and
    stop asked for there, NaN = none."""

    bar: np.ndarray
    limit: np.ndarray
    stop: np.ndarray


@dataclasses.dataclass(eq=False)
class Standing:
    """(k,) each: asset, its number; bar of the decision, -1 = before the first one, or not known; limit and stop as
    they stand now, NaN = none or triggered; since: the first bar whose fills are the order's; factor: (k, T) what a
    share of that bar has become by splits."""

    asset: np.ndarray
    bar: np.ndarray
    limit: np.ndarray
    stop: np.ndarray
    since: np.ndarray
    factor: np.ndarray


def asking_of(spec: RunSpec) -> Asking:
    """What weights have asked for last."""
    spec, p = spec.on_host(), spec.params[0]
    market, read, n = spec.market, spec.reader(0), spec.market.shape[1]
    price = decision_prices(market, float(p["lot"]), CHOICES["sizing"][p["sizing"]]).values
    found, closes = np.full(n, -1), CHOICES["outside"][p["outside"]] == "close"
    for t in np.flatnonzero(spec.due()[:, 0]).tolist():
        row = np.where(outside(market, t) & closes, 0.0, read(t))
        gone = (market.delisted_at >= 0) & (market.delisted_at <= t)
        asked = ~gone & ((row == 0) | (~np.isnan(row) & (price[t] > 0)))  # [S8]
        found[asked] = t
    return Asking(found, np.full(n, np.nan), np.full(n, np.nan))


def standing(market: Market | None, p: Any, asking: Asking | Callable[[], Asking] | None, raw: RawResult) -> Standing:
    """The orders of scenario 0 with parameters p. asking: what was asked for, or what finds it; None = nobody knows."""
    t_count, ended = raw.money.shape[2], bool(raw.state["ended"][0])
    at = np.flatnonzero((raw.orders[0] != 0) & (not ended))
    factor, none = np.ones((len(at), t_count)), np.full(len(at), np.nan)
    if market is None or asking is None or not len(at):
        return Standing(at, np.full(len(at), -1), none, none.copy(), np.full(len(at), t_count), factor)
    market, asked = market.on_host(), asking() if callable(asking) else asking
    bar, limit, stop = asked.bar[at], asked.limit[at].copy(), asked.stop[at].copy()
    same_close = CHOICES["execution"][p["execution"]] == "same_close"
    since = bar + (not same_close)
    for last, forced in (
        (_last_call(p, raw), bar <= _last_call(p, raw)),
        (_last_stop(raw, t_count, same_close), bar >= -1),
    ):
        if last >= 0:
            bar, since = np.where(forced, last, bar), np.where(forced, last + 1, since)
            limit, stop = np.where(forced, np.nan, limit), np.where(forced, np.nan, stop)
    if market.split is not None:
        later = np.cumprod(np.asarray(market.split[:, at], float)[::-1], axis=0)[::-1]
        factor = np.vstack([later[1:], np.ones(len(at))]).T
    for i in np.flatnonzero(~(np.isnan(limit) & np.isnan(stop))).tolist():
        limit[i], stop[i] = _now(market, int(at[i]), int(bar[i]), limit[i], stop[i], raw.orders[0, at[i]] > 0)
    return Standing(at, bar, limit, stop, np.where(bar < 0, t_count, since), factor)


def _last_call(p: Any, raw: RawResult) -> int:
    """[S5m] The last bar with a margin call, -1 without one."""
    if CHOICES["account"][p["account"]] != "margin" or np.isnan(p["maintenance_margin"]):
        return -1
    equity, _, long_value, short_value = raw.money[[MONEY.index(name) for name in MONEY[:4]], 0]
    called = (equity > 0) & (equity < p["maintenance_margin"] * (long_value - short_value))
    return int(np.flatnonzero(called)[-1]) if called.any() else -1


def _last_stop(raw: RawResult, t_count: int, same_close: bool) -> int:
    """[S5d] The last bar, where a drawdown stop replaces every order at each bar; -1 without one. With same_close one
    that the second mark of the last bar has set has replaced nothing yet: some order does not close its holding."""
    first = int(raw.state["first_bar"][0][SCENARIO_STATUS.index("DRAWDOWN_STOP")])
    orders, held = raw.orders[0], raw.holdings[0]
    late = same_close and first == t_count - 1 and bool((orders != -held)[orders != 0].any())
    return -1 if first == NEVER or late else t_count - 1


def _now(market: Market, i: int, bar: int, limit: float, stop: float, buys: bool) -> tuple[float, float]:
    """[S2] [S4l] An order's limit and stop after the last bar; a stop that was triggered is none any more."""
    paths = [getattr(market, name) for name in ("open", "high", "low")]
    for t in range(bar + 1, len(market.clock)):
        if market.split is not None and market.split[t, i] != 1:
            limit, stop = limit / market.split[t, i], stop / market.split[t, i]
        first, high, low = (np.nan if path is None else float(path[t, i]) for path in paths)
        if first == first and (high >= stop if buys else low <= stop):
            stop = np.nan
    return limit, stop


def held_weights(market: Market, lot: float, lots: np.ndarray, equity: np.ndarray, tick: float) -> np.ndarray:
    """(T, N) R(h*m)*(1/E) of (T, N) lots, at the marks of a config's lot, and (T,) equity; NaN where this is not above
    0."""
    marked = marks(market.on_host(), lot)
    value, whole = np.where(lots != 0, lots, 0.0), np.where(equity > 0, equity, np.nan)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        np.multiply(value, marked, out=value, where=value != 0)
        found: np.ndarray = np.rint(value / tick) * tick * (1 / whole)
    return found


def orders_table(result: Any, orders: Callable[[RawResult], Standing | pl.DataFrame] | None) -> pl.DataFrame:
    """`Result.orders_next`."""
    found = standing(None, None, None, result.raw) if orders is None else orders(result.raw)
    if isinstance(found, pl.DataFrame):
        return found
    kinds = np.array(["market", "limit", "stop", "stop_limit"])
    kind = kinds[~np.isnan(found.limit) + 2 * ~np.isnan(found.stop)]
    limit, stop = (pl.Series(x, dtype=pl.Float64).fill_nan(None) for x in (found.limit, found.stop))
    bars = pl.Series([None if bar < 0 else bar for bar in found.bar.tolist()], dtype=pl.Int64)
    return pl.DataFrame({
        "asset": pl.Series(result.assets, dtype=pl.String).gather(found.asset),
        "decided": result.timestamps.gather(bars),
        "shares": in_shares(result.raw.orders[0], result._unit())[found.asset],
        "filled": _filled(result, found), "kind": pl.Series(kind, dtype=pl.String), "limit": limit, "stop": stop,
    })  # fmt: skip


def _filled(result: Any, orders: Standing) -> pl.Series:
    """(k,) shares of each order that have filled, None where that is not known."""
    known = (result.raw.fills is not None or result._replay is not None) and bool((orders.bar >= 0).any())
    log, sums = result._record("fills") if known else None, list[float | None]()
    for asset, bar, since, factor in zip(orders.asset, orders.bar, orders.since, orders.factor, strict=True):
        own = None if log is None or bar < 0 else log[(log["asset"] == asset) & (log["bar"] >= since)]
        sums.append(None if own is None else float(own["shares"] @ factor[own["bar"]]))
    return pl.Series(sums, dtype=pl.Float64)
