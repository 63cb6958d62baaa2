# SPDX-License-Identifier: Apache-2.0
"""The narrow waist: what an engine is given (RunSpec) and what it gives back (RawResult). Arrays and structs only.

Letters: T bars, N assets, K scenarios.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpu_bt.engine.ranked import WIDE, Ranked, Reader
from gpu_bt.engine.resident import Resident
from gpu_bt.law.layout import BOOK, COUNTS, EARLIER, FILL, MONEY, NEVER, PARAMS, STATE

__all__ = [
    "FILL", "Before", "Book", "Broken", "Cache", "Decision", "Engine", "Market", "Progress", "RawResult", "RunSpec",
    "Session", "Start", "joined", "ordered", "simulate", "start_of",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Before:
    """What a market carries over from the bars before its first one, where a run goes on from a saved one.

    clock: that of the previous bar.   marks: config's lot -> (N,) mark per lot after it.   silent: (N,) int64, dates
    since that of an asset's last close or open, very negative before its first one.
    """

    clock: int
    marks: Mapping[float, np.ndarray]
    silent: np.ndarray


class Cache(dict[Any, Any]):
    """What engines derive from a market. Threads that share one make its entries under the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock: Any = threading.RLock()

    def __reduce__(self) -> tuple[type[Cache], tuple[()]]:
        return Cache, ()  # locks cannot be pickled, and what is kept can be made again


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Market:
    """A panel as engines see it: checked, C-contiguous, read-only; its (T, N) arrays are NumPy's or, all, Resident.

    Prices and `volume`, `half_spread`, `volatility`, `dividend`, `split`, `borrow_rate` are (T, N) float64 or
    float32, or None; `can_buy`, `can_sell` and `universe` are (T, N) bool or None. NaN stands only in prices; the
    other fields hold what NaN means (semantics.md, Numbers). `clock` is (T,) int64: the wall clock of the panel's time
    zone, in microseconds, which never goes back. Per asset, (N,): `delisted_at` int64 (-1 = never), `delisting_return`
    float64, `lot` float64 or None (the config's), `tie` uint8 (the buy-back's 0..63). `before` is what the bars before
    the first one have left behind, None where there were none; it has the marks of every lot that the run has. `cache`
    belongs to the engines: what they derive from the panel alone, kept from one run to the next.
    """

    clock: np.ndarray
    close: np.ndarray
    open: np.ndarray | None = None
    high: np.ndarray | None = None
    low: np.ndarray | None = None
    vwap: np.ndarray | None = None
    volume: np.ndarray | None = None
    half_spread: np.ndarray | None = None
    volatility: np.ndarray | None = None
    dividend: np.ndarray | None = None
    split: np.ndarray | None = None
    borrow_rate: np.ndarray | None = None
    can_buy: np.ndarray | None = None
    can_sell: np.ndarray | None = None
    universe: np.ndarray | None = None
    delisted_at: np.ndarray
    delisting_return: np.ndarray
    lot: np.ndarray | None = None
    tie: np.ndarray
    before: Before | None = None
    cache: Cache = dataclasses.field(default_factory=Cache, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        t_count, n = self.close.shape
        return t_count, n

    def on_host(self) -> Market:
        """The same, with what lies on a GPU fetched, once."""
        there: dict[str, Any] = {name: array.host for name, array in vars(self).items() if isinstance(array, Resident)}
        return dataclasses.replace(self, **there) if there else self

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False  # which pickling forgets
            object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """Where K scenarios stand before the first bar: STATE[K], holdings and orders (K, N) in lots.

    A status that was set before has EARLIER as its first bar. Scenarios that have ended have no rows any more.
    """

    state: np.ndarray
    holdings: np.ndarray
    orders: np.ndarray


def start_of(params: np.ndarray, holdings: np.ndarray) -> Start:
    """Scenarios of PARAMS[K] that begin with their cash and (K, N) holdings; their peak is from the first mark on."""
    state = np.zeros(len(params), STATE)
    state["cash"] = np.rint(params["initial_cash"] / params["tick"]) * params["tick"]
    state["first_bar"] = NEVER
    return Start(state, holdings, np.zeros_like(holdings))


def _rows_with_targets(weights: np.ndarray | Resident | Ranked) -> np.ndarray:
    """(T,) bool: the rows of (T, N) weights that are not all NaN. Most rows are settled by their first cell."""
    if isinstance(weights, Ranked):
        return weights.ranking.rows
    if isinstance(weights, Resident):
        some: np.ndarray = weights.tools.missing(weights) < weights.shape[1]
        return some
    has: np.ndarray = ~np.isnan(weights[:, 0])
    for t in np.flatnonzero(~has):
        has[t] = not np.isnan(weights[t]).all()
    return has


def _rows_with_false(mask: np.ndarray | Resident) -> np.ndarray:
    """(T,) bool: the rows of a (T, N) mask that are not all True."""
    if isinstance(mask, Resident):
        some: np.ndarray = mask.tools.looked(mask, skip=(0.0, 0.0))[:, 1] > 0
        return some
    found: np.ndarray = np.logical_or.reduce(~mask, axis=1)
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class RunSpec:
    """K scenarios over one market.

    `params` is PARAMS[K]. `weights` holds one or more (T, N) float panels (NaN = no target), or books of a ranking,
    picked by params["weights"]; `schedules` is (S, T) bool, the bars that decide, picked by params["schedule"].
    `columns` is "all" (every column of a bar's record) or "equity" (equity and cash). `fills`, `positions`: keep them.
    stay: what is large, positions and equity rows, stays in a GPU's memory where the engine has it there.
    callback: K = 1 and the decisions come bar by bar (Session.close_bar); `weights` is empty, `schedules` says when.
    `start` is where the scenarios go on from, None = from their initial cash.
    """

    market: Market
    params: np.ndarray
    weights: tuple[np.ndarray | Resident | Ranked, ...]
    schedules: np.ndarray
    columns: str = "all"
    fills: bool = False
    positions: bool = False
    callback: bool = False
    start: Start | None = None
    stay: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for arrays of other types and shapes: compiled code reads them without asking."""
        (t, n), k = self.market.shape, len(self.params)
        wanted: list[tuple[str, np.ndarray | Resident, Any, tuple[int, ...]]] = [
            ("params", self.params, PARAMS, (k,)),
            ("schedules", self.schedules, np.bool_, (len(self.schedules), t)),
        ]
        for panel in self.weights:
            if isinstance(panel, Ranked):
                given, groups = panel.ranking, panel.ranking.starts.shape[-1]
                wanted += [
                    ("order", given.order, np.uint16 if n <= WIDE else np.int32, (t, n)),
                    ("book", panel.book, BOOK, ()),
                ]
                wanted.append(("starts", given.starts, np.int32, (t, groups)))
            else:
                wanted.append(("weights", panel, panel.dtype, (t, n)))
        for name, value in vars(self.market).items():
            if isinstance(value, (np.ndarray, Resident)):
                wanted.append((name, value, value.dtype, {"clock": (t,)}.get(name, (t, n)[2 - value.ndim :])))
        if self.market.before is not None:
            wanted += [("marks", marks, np.float64, (n,)) for marks in self.market.before.marks.values()]
            wanted.append(("silent", self.market.before.silent, np.int64, (n,)))
        if self.start is not None:
            wanted.append(("state", self.start.state, STATE, (k,)))
            wanted += [(name, getattr(self.start, name), np.float64, (k, n)) for name in ("holdings", "orders")]
        for name, array, dtype, shape in wanted:
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} {shape}")

    def on_host(self) -> RunSpec:
        """The same for an engine that reads host memory: what lies on a GPU is fetched, once."""
        market, weights = self.market.on_host(), tuple(w.host if isinstance(w, Resident) else w for w in self.weights)
        same = market is self.market and all(map(operator.is_, weights, self.weights))
        return self if same else dataclasses.replace(self, market=market, weights=weights)

    def reader(self, k: int) -> Reader:
        """Of the rows that scenario k reads."""
        p = self.params[k]
        return Reader(self.weights[p["weights"]], int(p["signal_lag"]), self.schedules[p["schedule"]])

    @cached_property
    def with_targets(self) -> tuple[np.ndarray, ...]:
        """For each panel of `weights`, (T,) bool: the rows that are not all NaN."""
        return tuple(map(_rows_with_targets, self.weights))

    def due(self) -> np.ndarray:
        """[S6] (T, K) bool: the bar is scheduled and the weights row read at it has a target, or an asset outside the
        universe is sold; all False in a callback run."""
        t_count = self.market.shape[0]
        if self.callback:
            return np.zeros((t_count, 1), bool)
        out = np.empty((len(self.params), t_count), bool)
        universe, none = self.market.universe, np.zeros(t_count, bool)
        sold = (none if universe is None else _rows_with_false(universe), none)  # by the code of `outside`
        for i, p in enumerate(self.params):
            lag, acts = int(p["signal_lag"]), sold[p["outside"]].copy()
            acts[lag:] |= self.with_targets[p["weights"]][: max(0, t_count - lag)]
            out[i] = acts & self.schedules[p["schedule"]]
        return out.T


@dataclasses.dataclass(eq=False)
class RawResult:
    """What a session has recorded for bars [0, t).

    `money` is (len(MONEY), K, T) float64 (the first two columns alone when columns="equity"), NaN from a scenario's end
    on; `counts` is (len(COUNTS), K, T) int32 or None, 0 there. `state` is STATE[K]; `holdings` and `orders` (K, N)
    float64 in lots, as they stand after the last bar. `fills` and `cuts` are FILL arrays ordered by scenario, bar,
    asset, or None. `positions` is (K, T, N) float64 in shares, or None. `began` is (K,) int64, the first bar that
    decides with a target other than 0, -1 where none does; None = not known, as of a callback run. Where it may stay,
    `positions` is a Resident, and `stays` the (K, T) equity rows, in pieces one below the other; what had no room is
    NumPy's.
    """

    engine: str
    money: np.ndarray
    counts: np.ndarray | None
    state: np.ndarray
    holdings: np.ndarray
    orders: np.ndarray
    fills: np.ndarray | None = None
    cuts: np.ndarray | None = None
    positions: np.ndarray | None = None
    began: np.ndarray | None = None
    stays: tuple[Any, ...] = ()

    def column(self, name: str) -> np.ndarray:
        """(K, T) of one column of MONEY or COUNTS."""
        rows, names = (self.money, MONEY) if name in MONEY else (self.counts, COUNTS)
        if rows is None:
            raise KeyError(name)
        column: np.ndarray = rows[names.index(name)]
        return column

    def carried(self) -> Start:
        """Where its scenarios stand after the last bar, for a run over later ones."""
        state, first = self.state.copy(), self.state["first_bar"]
        state["first_bar"] = np.where(first == NEVER, NEVER, EARLIER)
        return Start(state, self.holdings, self.orders)


#: RawResult's array -> the axis of its scenarios, and that of its bars.
_AXES = {"money": (1, 2), "counts": (1, 2), "positions": (0, 1)}


def joined(parts: Sequence[RawResult], along: str) -> RawResult:
    """One record of several whose numbers of scenarios and bars are those of the whole: along "scenarios" or "bars",
    where state, holdings and orders are the last part's."""
    whole, by_bars = dict[str, Any](), along == "bars"
    for field in dataclasses.fields(RawResult):
        values = [getattr(raw, field.name) for raw in parts]
        if values[0] is None or field.name == "engine":
            whole[field.name] = values[0]
        elif field.name == "stays":
            pieces = [raw.stays or (raw.money[0],) for raw in parts] if any(values) and not by_bars else []
            whole[field.name] = tuple(itertools.chain.from_iterable(pieces))
        elif field.name in ("fills", "cuts"):
            whole[field.name] = ordered(values)
        elif by_bars and field.name not in _AXES:
            whole[field.name] = values[-1]
        else:
            whole[field.name] = np.concatenate(values, axis=_AXES.get(field.name, (0, 0))[by_bars])
    return RawResult(**whole)


def ordered(pieces: list[np.ndarray]) -> np.ndarray:
    """One FILL log of several, by scenario, bar, asset; entries of one asset and bar keep their order."""
    log = np.concatenate(pieces) if pieces else np.zeros(0, FILL)
    return log[np.lexsort((log["asset"], log["bar"], log["scenario"]))]


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """What a strategy decides at one bar [S6]: (N,) float64 arrays, or None for nothing. Checked by who makes it.

    weights: targets for [S7] and [S8] as a row of weights; NaN = none.
    lots: direct orders, signed and not yet rounded; NaN = leave the working order alone, 0 = take it back, +-inf = an
    order that has no price to size it with (NO_PRICE). An asset has a weight or a direct order, not both.
    limit, stop: prices per share of the direct orders [S4l]; NaN = none.
    """

    weights: np.ndarray | None = None
    lots: np.ndarray | None = None
    limit: np.ndarray | None = None
    stop: np.ndarray | None = None


class Book(NamedTuple):
    """The portfolio that a decision sees: money, and (N,) float64 holdings and working orders in lots, not to be
    written to and valid until the bar is closed."""

    cash: float
    equity: float
    lots: np.ndarray
    orders: np.ndarray


class Session(Protocol):
    """A run in progress: explicit state, moved over some bars at a time.

    A callback run may be advanced over bars that decide nothing; a bar t that decides is
    `if open_bar(t): decision = ...book()...`, then `close_bar(t, decision)`.
    """

    def advance(self, t0: int, t1: int) -> None:
        """Run bars t0..t1-1; t0 must be where the last call stopped. Any cutting gives the same bits."""

    def open_bar(self, t: int) -> bool:
        """The bar up to its decision: [S1] to [S5m], with same_close [S1] to [S5d]. False where nothing may be decided:
        after the end, from a drawdown stop on, at a margin call."""
        ...

    def book(self) -> Book:
        """The portfolio at the open bar; only where `open_bar` was True."""
        ...

    def close_bar(self, t: int, decision: Decision | None) -> None:
        """The rest of the bar: [S6] to [S9], with same_close [S6] [S7] [S8] [S4] [S5] [S5d] [S5m] [S9]. The decision is
        None where `open_bar` was False."""

    def result(self) -> RawResult:
        """The record so far."""
        ...


class Broken(str):
    """A reason why an engine cannot run that nobody would expect, such as a damaged library: "auto" warns of it."""


class Engine(Protocol):
    """What the registry holds. `name` is what a result shows."""

    name: str

    def missing(self) -> str | None:
        """None where the engine can run on this machine, else the reason, for a person."""

    def claim(self) -> None:
        """For the thread of a sweep's worker: take a device that others leave free, where there are several."""

    def ready(self) -> bool:
        """False where `open` may compile for seconds first, as nothing of this engine lies compiled yet."""
        ...

    def open(self, spec: RunSpec) -> Session:
        """A session at bar 0."""
        ...


#: Called with (bars done, bars).
Progress = Callable[[int, int], None]


def simulate(engine: Engine, spec: RunSpec, progress: Progress | None = None) -> RawResult:
    """All bars of a spec that has weights."""
    session = engine.open(spec)
    bars = spec.market.shape[0]
    step = bars if progress is None else max(1, bars // 100)
    for t in range(0, bars, step):
        session.advance(t, min(bars, t + step))
        if progress is not None:
            progress(min(bars, t + step), bars)
    return session.result()
