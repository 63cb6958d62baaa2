# SPDX-License-Identifier: Apache-2.0
"""What a run derives from the panel alone: per-lot prices, marks and events; kept in the market's cache between runs.

Letters: T bars, N assets. Every array here is independent of the scenario but for its lot and `delist_after`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from gpu_bt.config import CHOICES
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Before, Market, RunSpec

__all__ = [
    "NEVER_PRICED", "PRICE_OF", "Events", "Lots", "Prices", "days_between", "decision_prices", "events", "in_shares",
    "left_behind", "lots", "marks", "odd_lots", "opening_marks", "others", "price_of", "prices", "silence",
]  # fmt: skip

#: The price field that each execution fills at (semantics.md, Timing), by the code of Config.execution.
PRICE_OF = ("open", "close", "vwap", "close")
#: Dates since its last price of an asset that never had one: what is counted from here reaches no count.
NEVER_PRICED = int(np.iinfo(np.int64).min // 2)
#: Per-lot panels of more lots than this are dropped from the cache, oldest first: each one is T*N*8 bytes.
_KEPT_LOTS = 3
_DAY = 86_400_000_000  # microseconds
_V = TypeVar("_V")


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


def price_of(execution: str) -> str:
    """The price field that a Config's execution fills at."""
    return PRICE_OF[CHOICES["execution"].index(execution)]


def lots(market: Market, lot: float) -> Lots:
    """The lots of a config with this `lot` on this panel: 0 = fractional with a unit of 1 (semantics.md, Symbols)."""
    n = market.shape[1]
    size = np.full(n, lot) if market.lot is None or lot == 0 else market.lot
    whole = size > 0
    unit = np.where(whole, size, 1.0)
    return Lots(unit, whole, bool(whole.all()), not whole.any(), bool((unit == 1).all()))


def odd_lots(spec: RunSpec, lots: Lots) -> bool:
    """Whether a holding may be no whole number of lots: a split leaves odd ones [S2], and a start may bring them."""
    split = spec.market.split is not None and bool((lots.unit > 1).any())
    return not lots.none_whole and (split or (spec.start is not None and bool((spec.start.holdings % 1 != 0).any())))


def in_shares(lots: np.ndarray, unit: np.ndarray | float) -> np.ndarray:
    """[S9] Shares of (..., N) lots; whole ones where a lot is of several, since odd lots are."""
    x = lots * unit
    near = np.rint(x)
    shares: np.ndarray = np.where((unit > 1) & (np.abs(x - near) <= 1e-6), near, x) + 0.0
    return shares


def _kept(market: Market, key: tuple[Hashable, ...], make: Callable[[], _V]) -> _V:
    """What the market's cache has under the key, made the first time: once, and by one thread."""
    with market.cache.lock:
        if key not in market.cache:
            market.cache[key] = make()
        found: _V = market.cache[key]
        return found


def prices(market: Market, field: str, lot: float) -> Prices:
    """`price*lot` of a field, formed once per bar and asset."""

    def make() -> Prices:
        _drop_old_lots(market, lot)
        raw: np.ndarray = getattr(market, field)
        values = raw.astype(np.float64, copy=False)
        unit = lots(market, lot)
        return Prices(values if unit.all_one else values * unit.unit, np.isnan(np.minimum.reduce(raw, axis=1)))

    return _kept(market, ("prices", field, lot), make)


def decision_prices(market: Market, lot: float, sizing: str) -> Prices:
    """[S8] P, NaN or 0 = none: the close, with sizing="last" the mark where there is none."""
    close = prices(market, "close", lot)
    return close if sizing == "close" else Prices(marks(market, lot), close.gaps)


def marks(market: Market, lot: float) -> np.ndarray:
    """[S5] (T, N) mark per lot after each bar: close, else open, else the last one divided by the splits since [S2].

    0 before an asset's first price: it cannot be held there.
    """
    return _kept(market, ("marks", lot), lambda: _marks(market, lot))


def _marks(market: Market, lot: float) -> np.ndarray:
    """`marks`, formed bar after bar where a close is missing: a mark may have to be carried."""
    close, split = prices(market, "close", lot), market.split
    if not close.gaps.any():
        return close.values
    out = close.values.copy()
    first = prices(market, "open", lot).values if market.open is not None else None
    last = opening_marks(market, lot)
    for t in range(len(out)):
        if close.gaps[t] or split is not None:
            if split is not None:
                with np.errstate(
                    over="ignore", invalid="ignore"
                ):  # a ratio may be absurd; what is not held is worth 0 all the same
                    last = np.where(split[t] != 1, last / split[t], last)
            row = out[t]
            if first is not None:
                np.copyto(row, first[t], where=np.isnan(row))
            np.copyto(row, last, where=np.isnan(row))
        last = out[t]
    return out


def opening_marks(market: Market, lot: float) -> np.ndarray:
    """(N,) mark per lot carried into the first bar: 0 where nothing came before."""
    return np.zeros(market.shape[1]) if market.before is None else market.before.marks[lot]


def events(market: Market, delist_after: int) -> Events:
    """Dividends, splits and delistings by bar; `delist_after` counts dates since the last close or open [S3]."""
    return _kept(market, ("events", delist_after), lambda: _events(market, delist_after))


def _events(market: Market, delist_after: int) -> Events:
    """`events`, formed anew."""
    t_count, n = market.shape
    none = np.zeros(0, np.int64)
    dividend = none if market.dividend is None else others(market.dividend, 0.0)
    split = none if market.split is None else others(market.split, 1.0)
    off = np.flatnonzero((market.delisted_at >= 0) & (market.delisted_at < t_count))
    off = off[np.argsort(market.delisted_at[off], kind="stable")]
    off_bar = market.delisted_at[off]
    settles = np.union1d(off_bar * n + off, _silent(market, delist_after) if delist_after else none)
    bars, first = np.unique(settles // n, return_index=True)
    settled = dict(zip(bars.tolist(), np.split(settles % n, first[1:]), strict=False))
    cells = np.unique(np.concatenate([dividend, split, settles]))
    start = np.searchsorted(cells, np.arange(t_count + 1) * n)
    return Events(_bars(market, dividend), _bars(market, split), settled, off_bar, off, start, cells % n)


def _bars(market: Market, cells: np.ndarray) -> np.ndarray:
    """(T,) bool: the bars of some cells."""
    return np.bincount(cells // market.shape[1], minlength=len(market.clock)) > 0


def others(panel: np.ndarray | Resident, value: float) -> np.ndarray:
    """The cells of a (T, N) panel of numbers that hold another than `value`, in order, as places in the flat array."""
    if isinstance(panel, Resident):
        return panel.tools.cells(panel, value)
    found: np.ndarray = np.flatnonzero(panel != value)
    return found


def _clock(market: Market) -> np.ndarray:
    """(T+1,) the wall clock at the bar before the first one, or at the first where none was before, and at each bar."""
    before = market.clock[0] if market.before is None else market.before.clock
    clock: np.ndarray = np.maximum(np.append(before, market.clock), before)
    return clock


def days_between(market: Market) -> np.ndarray:
    """[S1] (T,) days since the previous bar, 0 at the first of all."""
    return np.diff(_clock(market)).astype(np.float64) / 8.64e10


def _new_dates(market: Market) -> np.ndarray:
    """(T,) bool: bars of another date than the bar before."""
    dates = _clock(market) // _DAY
    new: np.ndarray = dates[1:] != dates[:-1]
    return new


def silence(market: Market) -> Iterator[np.ndarray]:
    """[S3] (N,) int64 after each bar: dates since that of the last close or open; very negative before the first
    one."""
    missing = np.isnan(market.close)
    if market.open is not None:
        missing &= np.isnan(market.open)
    run = _silent_before(market)
    for row, new in zip(missing, _new_dates(market), strict=True):
        run = np.where(row, run + new, 0)
        yield run


def _silent(market: Market, count: int) -> np.ndarray:
    """The cells, as `others` gives them, of bars that are the first of the count-th date after that of an asset's last
    close or open."""
    new, close = _new_dates(market), market.close
    if isinstance(close, Resident):
        return close.tools.silent(close, market.open, new, _silent_before(market), count)
    if not np.isnan(close).any():
        return np.zeros(0, np.int64)
    rows = [np.flatnonzero(run == count) + t * len(run) for t, run in enumerate(silence(market)) if new[t]]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _silent_before(market: Market) -> np.ndarray:
    """(N,) int64: dates of silence before the first bar."""
    return np.full(market.shape[1], NEVER_PRICED) if market.before is None else market.before.silent


def left_behind(market: Market, lots: Sequence[float]) -> Before:
    """What a market leaves to one of later bars. lots: the configs' whose marks are carried."""
    market = market.on_host()
    [silent] = deque(silence(market), maxlen=1)
    return Before(int(_clock(market)[-1]), {lot: marks(market, lot)[-1].copy() for lot in lots}, silent)


def _drop_old_lots(market: Market, lot: float) -> None:
    """Make room in the cache for the arrays of a lot that is not there yet."""
    of_lots = [key for key in market.cache if key[0] in ("prices", "marks")]
    known = list(dict.fromkeys(key[-1] for key in of_lots))
    if lot not in known and len(known) >= _KEPT_LOTS:
        for key in of_lots:
            if key[-1] == known[0]:
                del market.cache[key]
