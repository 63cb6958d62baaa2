# SPDX-License-Identifier: Apache-2.0
"""What is legal in a run but probably not meant: kinds, which a sweep counts, and sentences for a BacktestWarning.

Letters: T bars, N assets, S sampled decisions.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpu_bt.analysis.spans import asks, outside
from gpu_bt.analysis.standing import Asking
from gpu_bt.config import CHOICES, FIELDS, Config
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.engine.prepare import lots
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.resident import on_host
from gpu_bt.engine.spec import Market, RawResult, RunSpec
from gpu_bt.law.layout import PARAMS, SCENARIO_STATUS

__all__ = [
    "IDLE", "Asked", "Watch", "asked_at", "asked_by", "asked_by_all", "columns", "counted", "findings", "sentences",
]  # fmt: skip

#: Kinds of scenarios that have shown nothing: they are best of nothing.
IDLE = ("no decision", "never traded", "cash alone")
#: A holding without a target for this many decisions in a row has been forgotten.
_FORGOTTEN = 20
#: Below this many lots, rounding shifts the median target by percents.
_FEW_LOTS = 20
#: Books this many times above what an account can hold, or that many times equity in a margin account that has no
#: limit on its leverage, are in percent, or no fractions at all.
_GROSS, _MARGIN = 3.0, 20.0
#: Decisions looked at for the medians.
_SAMPLE = 8
#: Decisions of which it is noted at once what they have replaced.
_RECENT = 32
#: An amount of fewer ticks is rounded by more than half a percent; a coarser tick than this loses cents.
_FEW_TICKS, _CENT = 100.0, 0.01
#: What of a scenario's parameters is an amount of money that the ledger rounds.
_AMOUNTS = [name for name, field in FIELDS.items() if field.unit == "money" and name in (PARAMS.names or ())]
_AMOUNTS.remove("initial_cash")


@dataclasses.dataclass(eq=False)
class Asked:
    """What the decisions of a scenario asked for.

    decisions: bars at which something was asked for.   moves: whether some target was not 0.   bars, sizes: (S,) bars
    of some decisions, their (S, N) |targets|, NaN = none.   forgotten: (N,) bool, without a target in so many last
    decisions.   books: rows with targets; sparse: fewer than half of the bars have one.   unread: books read at a bar
    that does not decide, `first` the first of them.
    """

    decisions: int
    moves: Callable[[], bool] = lambda: True
    bars: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    forgotten: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    books: int = 0
    sparse: bool = False
    unread: int = 0
    first: int = -1
    known: dict[Any, float] = dataclasses.field(default_factory=dict, repr=False)

    def gross(self, most: float = math.inf) -> float:
        """The median sum of a book whose targets are cut to `most`. It is kept, for many scenarios."""
        if len(self.sizes) and ("gross", most) not in self.known:
            self.known["gross", most] = float(np.median(np.nansum(np.minimum(self.sizes, most), axis=1)))
        return self.known.get(("gross", most), 0.0)

    def lots(self, market: Market, lot: float) -> float:
        """The median target, in lots for one of money; NaN where nothing is to say. It is kept: ask of one market."""
        if lot not in self.known:
            size = lots(market, lot)
            with np.errstate(divide="ignore", invalid="ignore"):
                found = self.sizes / (market.close[self.bars].astype(np.float64) * size.unit)
            found = found[np.isfinite(found) & (found > 0) & size.whole]
            self.known[lot] = float(np.median(found)) if len(found) else math.nan
        return self.known[lot]


def asked_by(spec: RunSpec, k: int = 0, due: np.ndarray | None = None) -> Asked:
    """What the weights of scenario k ask for, and the universe. due: that of the spec, where it is at hand."""
    p, (t, n) = spec.params[k], spec.market.shape
    weights, books, lag = spec.weights[p["weights"]], spec.with_targets[p["weights"]], min(int(p["signal_lag"]), t)
    decides, within = spec.schedules[p["schedule"]][lag:], books[: t - lag]
    read, missed = np.flatnonzero(within & decides), np.flatnonzero(within & ~decides)
    if isinstance(weights, Ranked):  # scores at bars that do not decide are no books, and no name is forgotten
        bars = read[:: max(1, len(read) // 2)][:2]
        rows = [weights.form(t, np.zeros(n, np.uint8))[0] for t in bars.tolist()]
        count = int((spec.due() if due is None else due)[:, k].sum())
        sizes, none = np.abs(np.array(rows).reshape(-1, n)), np.zeros(n, bool)
        return Asked(count, bars=bars + lag, sizes=sizes, forgotten=none, books=int(books.sum()))
    sample, last = read[:: max(1, len(read) // _SAMPLE)], read[-_FORGOTTEN:]
    return Asked(
        int((spec.due() if due is None else due)[:, k].sum()),
        lambda: not len(read) or bool(np.any(np.abs(weights[read]) > 0)), sample, np.abs(weights[sample].astype(float)),
        np.isnan(weights[last]).all(axis=0) if len(last) == _FORGOTTEN else np.zeros(n, bool),
        int(books.sum()), bool(books.mean() < 0.5), len(missed), int(missed[0]) if len(missed) else -1,
    )  # fmt: skip


class Watch:
    """Gathers what a strategy asks for, one call a bar: its number, the (4, N) weights, lots, limits, stops, and the
    market in the memory in which these lie. closes: the universe forces exits.   began: the first bar that `asks`, -1
    before it."""

    def __init__(self, assets: int, closes: bool, last: bool = False) -> None:
        self.began, self.closes, self.forced = -1, closes, 0
        self.last: Any = np.zeros(assets, np.int64)
        #: (3, N) the bar that last replaced each asset's order [S8], -1 = none did, that order's limit and stop.
        self._placed = np.array([[-1.0], [np.nan], [np.nan]]).repeat(assets, 1)
        self._recent: list[tuple[int, Any, Any]] = []  # of which that is not noted yet
        self._sized_last = last
        self.moves, self.decisions = False, 0
        self.sample: dict[int, Any] = {}

    def __call__(self, bar: int, cells: Any, market: Any) -> None:
        asked = ~np.isnan(cells[:2]).all(axis=0)
        self._recent.append((bar, cells, market))
        if len(self._recent) == _RECENT:
            self._settle()
        if not asked.any():
            self.forced += self.closes and market.universe is not None and not market.universe[bar].all()
            return
        if self.began < 0 and asks(market, bar, cells[:2]):
            self.began = bar
        if not self.decisions:
            self.last = np.zeros_like(asked, np.int64)
        self.decisions += 1
        self.last[asked] = self.decisions
        self.moves = self.moves or bool((np.abs(cells[:2]) > 0).any())
        if not self.decisions & (self.decisions - 1):  # the 1st, 2nd, 4th, 8th, ...
            self.sample[bar] = np.abs(cells[0])

    def asking(self) -> Asking:
        """What all decisions so far have placed last."""
        self._settle()
        bar, limit, stop = self._placed
        return Asking(bar.astype(np.int64), limit, stop)

    def _settle(self) -> None:
        """Note of the recent bars, the last first, which orders they have replaced: of what was asked for all but
        targets without a price, and of what the universe closes. In host memory, where there is room."""
        sought = np.ones(self._placed.shape[1], bool)  # whose last order is still looked for
        for bar, cells, market in reversed(self._recent):
            weights, lots, *prices = on_host(cells)
            unpriced = np.isnan(on_host(market.close[bar])) & (weights != 0) & ~np.isnan(weights)
            if self._sized_last and unpriced.any():  # [S8] a mark will do, which is there from the first price on
                known = [x[: bar + 1, unpriced] for x in (market.close, market.open) if x is not None]
                unpriced[unpriced] = np.all([np.isnan(on_host(x)).all(axis=0) for x in known], axis=0)
            forced = self.closes & on_host(outside(market, bar))
            replaced = sought & (forced | np.isfinite(lots) | (~np.isnan(weights) & ~unpriced))
            self._placed[0, replaced] = bar
            self._placed[1:, replaced] = np.where(forced, np.nan, prices)[:, replaced]
            if not (sought := sought & ~replaced).any():
                break
        self._recent.clear()

    def asked(self) -> Asked:
        """What all decisions so far asked for."""
        bars, n = np.array(list(self.sample), np.int64), len(self.last)
        sizes = np.array([on_host(size) for size in self.sample.values()]).reshape(-1, n)
        moves, forgotten = self.moves or not self.decisions, on_host(self.last) <= self.decisions - _FORGOTTEN
        return Asked(self.decisions + self.forced, lambda: moves, bars, sizes, forgotten)


def _traded(raw: RawResult, k: int) -> bool:
    """Something has filled; where fills were not counted, something was held."""
    if raw.counts is not None:
        return bool(raw.column("fills")[k].any())
    return bool((np.abs(raw.money[0, k] - raw.money[1, k]) > 0).any())


def findings(market: Market | None, p: Any, asked: Asked, capital: float, raw: RawResult, k: int = 0) -> dict[str, Any]:
    """What is to say of scenario k with parameters p, kind -> what its sentence needs. market: None where targets are
    not at hand.   capital: cash and holdings at the start."""
    found: dict[str, Any] = {}
    few = [name for name in _AMOUNTS if 0 < p[name] < _FEW_TICKS * p["tick"]]
    ended = int(raw.state["first_bar"][k][SCENARIO_STATUS.index("LEDGER_OVERFLOW")])
    if few or p["tick"] > _CENT:  # what is recorded, and what books ask for before it is cut, must lie on a finer grid
        most = np.fmax.reduce(np.abs(raw.money[:, k]), axis=1, initial=capital)
        found["money_tick"] = few, math.inf if ended >= 0 else most.max() + most[0] * max(1.0, asked.gross())
    if ended >= 0:
        found["LEDGER_OVERFLOW"] = ended
    if not asked.decisions and (raw.counts is None or not _traded(raw, k)):  # the universe sells without being asked
        return {**found, "no decision": None}
    if not _traded(raw, k):
        empty = not asked.moves() and bool(asked.books) and bool(np.isnan(asked.sizes).any())
        found["no decision" if empty else "never traded" if asked.moves() else "cash alone"] = empty
    if asked.unread and asked.sparse:  # books on chosen dates; rows for every bar are meant to be picked from
        found["unread books"] = None
    margin = CHOICES["account"][p["account"]] == "margin"  # where signals of 1 and -1 may be meant to be cut
    most = float(np.fmin(p["max_weight"], np.inf)) if margin else math.inf
    if asked.gross(most) > _most(p) and np.isnan(p["max_gross"]):
        found["percent"] = asked.gross()
    if market is None:
        return found
    if p["lot"] != 0 and (median := capital * asked.lots(market, float(p["lot"]))) < _FEW_LOTS:
        found["few lots"] = median
    if len(lost := np.flatnonzero(asked.forgotten & (raw.holdings[k] != 0))):
        found["forgotten"] = lost
    return found


def _most(p: Any) -> float:
    """The largest median book that scenario parameters p may mean."""
    if CHOICES["account"][p["account"]] == "cash":
        return _GROSS
    leverage = float(p["max_leverage"])
    if math.isnan(leverage):
        return math.inf if np.isnan(p["maintenance_margin"]) else _MARGIN  # without either, anything goes
    return _GROSS * leverage


def asked_by_all(spec: RunSpec) -> list[Asked]:
    """`asked_by` of every scenario; those that read the same rows at the same bars share one."""
    keys, due = spec.params[["weights", "signal_lag", "schedule", "outside"]].tolist(), spec.due()
    found = {key: asked_by(spec, k, due) for key, k in {key: k for k, key in enumerate(keys)}.items()}
    return [found[key] for key in keys]


def asked_at(due: np.ndarray, books: np.ndarray, sample: Sequence[Asked]) -> list[Asked]:
    """Of K scenarios whose weights are not all at hand: (T, K) bool, the bars that decide, and those with a target.
    sample: of a part of the bars."""
    missed = books & ~due
    return [
        Asked(int(d.sum()), books=int(b.sum()), sparse=bool(b.mean() < 0.5), unread=int(m.sum()), first=int(m.argmax()),
              sizes=s.sizes)
        for d, b, m, s in zip(due.T, books.T, missed.T, sample, strict=True)
    ]  # fmt: skip


def columns(
    market: Market | None, params: np.ndarray, asked: Sequence[Asked], capital: np.ndarray, raw: RawResult
) -> dict[str, np.ndarray]:
    """(K,) each, for the table of a sweep: decisions, unread, fills where they are counted, and the kinds of advice."""
    kinds = [", ".join(findings(market, p, asked[k], float(capital[k]), raw, k)) for k, p in enumerate(params)]
    found = {"decisions": np.array([a.decisions for a in asked]), "unread": np.array([a.unread for a in asked])}
    if raw.counts is not None:
        found["fills"] = raw.column("fills").sum(axis=1, dtype=np.int64)
    return {**found, "advice": np.array(kinds, object)}


def counted(kinds: Sequence[str]) -> str:
    """A sentence for a sweep: how many of its scenarios have which advice, each with the first of them, or ""."""
    first: dict[str, int] = {}
    count: Counter[str] = Counter()
    for k, text in enumerate(kinds):
        for kind in filter(None, text.split(", ")):
            first.setdefault(kind, k)
            count[kind] += kind != "cash alone"  # a book of zeros is meant
    said = ", ".join(f"{kind} {n:,} (the first is {first[kind]})" for kind, n in count.most_common() if n)
    if not said:
        return ""
    some = sum(text not in ("", "cash alone") for text in kinds)
    return f"{some:,} of {len(kinds):,} scenarios: {said}; see table['advice'], and run() one of them for its sentence"


def sentences(
    panel: Panel | PanelStream, config: Config, asked: Asked, found: Mapping[str, Any], strategy: str = "",
    holding: float | None = None,
) -> dict[str, str]:  # fmt: skip
    """Kind -> its sentence. strategy: its name, where one has decided.   holding: a money_tick that holds the run."""
    said = ("rebalance", "rebalance_on", "week_starts")[: {"bar": 1, "week": 3}.get(config.rebalance, 2)]
    rule = ", ".join(f"{name}={getattr(config, name)!r}" for name in (*said, "rebalance_every"))
    can = "which can hold 1" if config.account == "cash" else f"whose max_leverage is {config.max_leverage}"
    out = _of_idle(panel, config)
    for kind, value in found.items():
        if kind == "money_tick":
            out[kind] = _of_tick(config, *value)
        elif kind == "LEDGER_OVERFLOW":
            out[kind] = f"LEDGER_OVERFLOW at {panel.label(value)}: {_of_overflow(config, holding)}"
        elif kind == "no decision" and value:
            out[kind] = f"no decision was taken: the weights of {asked.books} rows are 0 or empty (NaN), which holds"
        elif kind == "no decision":
            out[kind] = (
                f"no decision was taken: {strategy} ordered nothing at the bars at which it was asked ({rule})"
                if strategy
                else f"no decision was taken: none of {asked.books} rows with targets is read at a bar that decides"
                f" ({rule}, rebalance_offset={config.rebalance_offset}, signal_lag={config.signal_lag})"
            )
        elif kind == "never traded":
            out[kind] = (
                f"nothing was traded in {asked.decisions} decisions: see the orders cut, by reason, in the summary"
            )
        elif kind == "unread books":
            out[kind] = (
                f"{asked.unread} of {asked.books} rows with targets are never read, the first at"
                f" {panel.label(asked.first)}: they lie on bars that do not decide ({rule}); use rebalance='bar'"
            )
        elif kind == "percent":
            out[kind] = (
                f"the median book sums to {value:.3g} in a {config.account} account, {can}: weights are fractions of"
                " equity, so 50 % is 0.5"
            )
        elif kind == "few lots":
            out[kind] = (
                f"the median target is {value:.3g} lots, so rounding to whole lots shifts it by percents: use lot=0"
                " (fractional shares) or more initial_cash"
            )
        elif kind == "forgotten":
            names = ", ".join(panel.assets[i] for i in value[:3]) + (", ..." if len(value) > 3 else "")
            out[kind] = (
                f"{len(value)} holdings had no target (NaN) in the last {_FORGOTTEN} decisions and are still held:"
                f" {names}; NaN means hold, use 0 to close"
            )
    return out


def _of_idle(panel: Panel | PanelStream, config: Config) -> dict[str, str]:
    """Kind -> the sentence of each setting that is not the default and that nothing reads."""
    period, whole = f" with rebalance={config.rebalance!r}", "universe" in panel.fields
    idle = {"rebalance_on": config.rebalance == "bar", "week_starts": config.rebalance != "week", "outside": not whole}
    why = {"outside": ": the panel has no universe"}
    return {
        f"idle {name}": f"{name}={value!r} changes nothing{why.get(name, period)}"
        for name, off in idle.items()
        if off and (value := getattr(config, name)) != FIELDS[name].default
    }


def _of_tick(config: Config, few: Sequence[str], most: float) -> str:
    """The sentence of a grid too coarse for an amount, or for cents. most: the largest sum that it has to hold."""
    least = min([_CENT, *(getattr(config, name) / _FEW_TICKS for name in few)])
    power = math.frexp(least)[1] - 1
    range_ = 2.0 ** (51 + power)
    what = f"{few[0]} is {getattr(config, few[0]):g}, below 100 ticks" if few else "amounts are rounded to whole ticks"
    way_out = f"money_tick=2**{power} is fine enough, and holds equity up to {range_:.3g}"
    if range_ <= most:
        way_out = f"no grid is both fine and large enough (2**{power} ends at {range_:.3g}), so begin with less money"
    return f"{what} of the ledger's grid of {config.tick:.3g}: {way_out}"


def _of_overflow(config: Config, holding: float | None) -> str:
    """The sentence of a run whose money left the ledger's range."""
    tick = math.frexp(config.tick)[1] - 1
    way_out = f"a coarser grid, such as money_tick=2**{tick + 16}, reaches further"
    if holding is not None:
        way_out = f"money_tick=2**{math.frexp(holding)[1] - 1} holds the run"
    return f"a sum left the ledger's range, {config.tick * 2.0**51:,.0f} of money, and ended the run; {way_out}"
