# SPDX-License-Identifier: Apache-2.0
"""What a run derives from the panel alone: per-lot prices, marks and events; kept in the market's cache between runs.

Letters: T bars, N assets. Every array here is independent of the scenario but for its lot and `delist_after`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_bt.engine.spec import Market

__all__ = [
    "PRICE_OF", "Events", "Lots", "Prices", "days_between", "events", "lots", "marks", "opening_marks", "prices",
    "silence",
]  # fmt: skip

#: The price field that each execution fills at (semantics.md, Timing), by the code of Config.execution.
PRICE_OF = ("open", "close", "vwap", "close")
#: Per-lot panels of more lots than this are dropped from the cache, oldest first: each one is T*N*8 bytes.
_KEPT_LOTS = 3


@dataclasses.dataclass(frozen=True)
class Lots:
    """unit: (N,) shares per lot, 1 where fractional. whole: (N,) bool, True where holdings count whole lots."""

    unit: np.ndarray
    whole: np.ndarray
    all_whole: bool
    none_whole: bool
    all_one: bool

    @property
    def mixed(self) -> bool:
        """Some assets are fractional and some are not."""
        return not (self.all_whole or self.none_whole)


@dataclasses.dataclass(frozen=True)
class Prices:
    """Per-lot prices of one field: values (T, N) float64, NaN = none; gaps (T,) bool, True where a bar has a NaN."""

    values: np.ndarray
    gaps: np.ndarray


@dataclasses.dataclass(frozen=True)
class Events:
    """Bars at which something happens to a holding without a trade.

    dividend, split: (T,) bool, the bar has one. settled: bar -> assets delisted there [S3]. off_bar, off_asset:
    `delisted_at` as pairs, ordered by bar. bar_start (T+1,) and assets: all assets with an event, bar by bar.
    """

    dividend: np.ndarray
    split: np.ndarray
    settled: dict[int, np.ndarray]
    off_bar: np.ndarray
    off_asset: np.ndarray
    bar_start: np.ndarray
    assets: np.ndarray


def lots(market: Market, lot: float) -> Lots:
    """The lots of a config with this `lot` on this panel: 0 = fractional with a unit of 1 (semantics.md, Symbols)."""
    n = market.shape[1]
    size = np.full(n, lot) if market.lot is None or lot == 0 else market.lot
    whole = size > 0
    unit = np.where(whole, size, 1.0)
    return Lots(unit, whole, bool(whole.all()), not whole.any(), bool((unit == 1).all()))


def prices(market: Market, field: str, lot: float) -> Prices:
    """`price*lot` of a field, formed once per bar and asset."""
    key = ("prices", field, lot)
    if key not in market.cache:
        _drop_old_lots(market.cache, lot)
        raw = getattr(market, field)
        values = raw.astype(np.float64, copy=False)
        unit = lots(market, lot)
        if not unit.all_one:
            values = values * unit.unit
        market.cache[key] = Prices(values, np.isnan(np.minimum.reduce(raw, axis=1)))
    return market.cache[key]


def marks(market: Market, lot: float) -> np.ndarray:
    """[S5] (T, N) mark per lot after each bar: close, else open, else the last one divided by the splits since [S2].

    0 before an asset's first price: it cannot be held there.
    """
    key = ("marks", lot)
    if key in market.cache:
        return market.cache[key]
    close = prices(market, "close", lot)
    if not close.gaps.any():
        market.cache[key] = close.values
        return close.values
    out = close.values.copy()
    first = prices(market, "open", lot).values if market.open is not None else None
    last = opening_marks(market, lot)
    for t in range(len(out)):
        if close.gaps[t] or (market.split is not None):
            if market.split is not None:
                with np.errstate(over="ignore", invalid="ignore"):  # a ratio may be absurd: see Lane.worth
                    last = np.where(market.split[t] != 1, last / market.split[t], last)
            row = out[t]
            if first is not None:
                np.copyto(row, first[t], where=np.isnan(row))
            np.copyto(row, last, where=np.isnan(row))
        last = out[t]
    market.cache[key] = out
    return out


def opening_marks(market: Market, lot: float) -> np.ndarray:
    """(N,) mark per lot carried into the first bar: 0 where nothing came before."""
    return np.zeros(market.shape[1]) if market.before is None else market.before.marks[lot]


def events(market: Market, delist_after: int) -> Events:
    """Dividends, splits and delistings by bar; `delist_after` counts bars in a row without close and open [S3]."""
    key = ("events", delist_after)
    if key in market.cache:
        return market.cache[key]
    t_count, n = market.shape
    happens = np.zeros((t_count, n), bool)
    flags = {}
    for name, idle in (("dividend", 0), ("split", 1)):
        panel = getattr(market, name)
        active = np.zeros((t_count, n), bool) if panel is None else panel != idle
        flags[name] = active.any(axis=1)
        happens |= active
    off = np.flatnonzero((market.delisted_at >= 0) & (market.delisted_at < t_count)) if market.delisted_at is not None \
        else np.empty(0, np.int64)  # fmt: skip
    off = off[np.argsort(market.delisted_at[off], kind="stable")]
    off_bar = market.delisted_at[off] if len(off) else np.empty(0, np.int64)
    settles = np.zeros((t_count, n), bool)
    settles[off_bar, off] = True
    if delist_after:
        settles |= _silent(market, delist_after)
    happens |= settles
    settled = {int(t): np.flatnonzero(settles[t]) for t in np.flatnonzero(settles.any(axis=1))}
    bars, assets = np.nonzero(happens)
    start = np.searchsorted(bars, np.arange(t_count + 1))
    market.cache[key] = Events(flags["dividend"], flags["split"], settled, off_bar, off, start, assets)
    return market.cache[key]


def days_between(market: Market) -> np.ndarray:
    """[S1] (T,) days since the previous bar, 0 at the first of all."""
    first = market.microseconds[0] if market.before is None else market.before.microsecond
    return np.diff(market.microseconds, prepend=first).astype(np.float64) / 8.64e10


def silence(market: Market) -> Iterator[np.ndarray]:
    """[S3] (N,) int64 after each bar: bars in a row without close and open; very negative before the first price."""
    missing = np.isnan(market.close)
    if market.open is not None:
        missing &= np.isnan(market.open)
    never = np.full(missing.shape[1], np.iinfo(np.int64).min // 2)  # what began before the first price reaches no count
    run = never if market.before is None else market.before.silent
    for row in missing:
        run = np.where(row, run + 1, 0)
        yield run


def _silent(market: Market, count: int) -> np.ndarray:
    """(T, N) bool: this bar is the count-th in a row at which an asset seen before has neither close nor open."""
    if not np.isnan(market.close).any():
        return np.zeros(market.shape, bool)
    return np.array([run == count for run in silence(market)])


def _drop_old_lots(cache: dict[Any, Any], lot: float) -> None:
    known = list(dict.fromkeys(k[-1] for k in cache if k[0] in ("prices", "marks")))
    if lot in known or len(known) < _KEPT_LOTS:
        return
    for key in [k for k in cache if k[0] in ("prices", "marks") and k[-1] == known[0]]:
        del cache[key]
