# SPDX-License-Identifier: Apache-2.0
"""Drawn scores, groups and books on the scenarios of draw.py: ties, zeros of both signs, rows with few names or none,
universes, delistings, lags, more names than there are, zones of both sides that overlap.

Letters: T bars, N assets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from build import panel_of, spec_of
from draw import chance, pick, scenario
from oracle import Oracle, OraclePanel, simulate
from oracle_books import Book, book_rows, rows_read

from gpu_bt.config import Config
from gpu_bt.data.clock import SCHEDULE
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked, Ranking, ranking_of
from gpu_bt.engine.spec import RunSpec
from gpu_bt.errors import ConfigError
from gpu_bt.law.layout import BOOK, SCHEMES, STRUCTURAL
from gpu_bt.runs.run import check_fields

__all__ = ["Mixed", "Scored", "draw_book", "draw_scores", "mixed", "scored"]

#: What the lean kernel leaves out, and charges that few plain bars have.
LEAN = {name: None for name in ("max_weight", "max_gross", "max_turnover", "participation", "max_commission_rate")}
LEAN |= {
    name: 0.0 for name in ("band", "min_trade_value", "impact", "fixed_commission", "commission_per_share", "sell_tax")
}
LEAN |= {"account": "cash"}
_SHARES = (0.1, 0.2, 0.25, 1 / 3, 0.5, 0.3, 1e-9, 0.999999)
_KEEPS = (1.0, 1.25, 1.5, 2.0, 3.0, 1.1, 4 / 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What a ranking is made of: (T, N) scores, groups (N,) or (T, N) or None, on a drawn panel; and that ranking."""

    panel: OraclePanel
    scores: np.ndarray
    groups: np.ndarray | None
    ranking: Ranking

    @staticmethod
    def of(panel: OraclePanel, scores: np.ndarray, groups: np.ndarray | None = None) -> Scored:
        """With its ranking, as the package makes it."""
        shape, off = panel.shape, panel.delisted_at
        inside = np.ones(shape, bool) if panel.universe is None else np.asarray(panel.universe, bool)
        never = np.full(shape[1], -1) if off is None else np.asarray(off, np.int64)
        return Scored(panel, scores, groups, ranking_of(scores, inside, never, groups))

    def ranked(self, book: Book) -> Ranked:
        """What stands in RunSpec.weights."""
        out = np.zeros((), BOOK)
        out["long_names"], out["short_names"], out["keep"] = book.long, book.short, book.keep
        out["long_gross"], out["short_gross"] = book.long_gross, book.short_gross
        out["scheme"] = SCHEMES.index(book.scheme)
        return Ranked(self.ranking, out)

    def rows(self, book: Book, config: Config, first: int = 0) -> np.ndarray:
        """(T, N) weights that a scenario reads, by the oracle. first: the bar of the opening."""
        return self.rows_and_thin(book, rows_read(self.panel, config, first))[0]

    def rows_and_thin(self, book: Book, read: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """The oracle's rows at those read, and which are thin."""
        rows, thin = book_rows(self.panel, self.scores, self.groups, book, read)
        return np.array(rows).reshape(self.panel.shape), thin


def scored(
    seed: int, assets: int | None = None, rankings: int = 1, lean: bool = False
) -> tuple[list[Scored], np.ndarray, Config]:
    """(drawn scores on one drawn panel, the panel's drawn weights, its config). lean: without what the lean kernel
    leaves out, and without most of what takes an engine off its shortest way."""
    panel, weights, config = scenario(seed, assets)
    rng = np.random.default_rng([seed, 14])
    t, n = panel.shape
    if lean:
        config = config.replace(**LEAN)
        for name in ("half_spread", "dividend", "split", "can_buy", "can_sell", "universe"):
            setattr(panel, name, None)
    elif chance(rng, 0.3):
        flips = np.cumsum(rng.random((t, n)) < pick(rng, (0.02, 0.1, 0.4)), axis=0)
        panel.universe = (flips + (rng.random(n) < 0.3)) % 2 == 0
    if chance(rng, 0.3):
        panel.delisted_at = np.where(rng.random(n) < 0.4, rng.integers(0, t + 2, n), -1)
    if chance(rng, 0.3):
        config = config.replace(signal_lag=int(rng.integers(1, 4)))
    if chance(rng, 0.4):  # books that are looked at often enough to be kept
        config = config.replace(rebalance=pick(rng, ("bar", "day")), rebalance_every=int(rng.integers(1, 4)))
    return [Scored.of(panel, *draw_scores(rng, t, n)) for _ in range(rankings)], weights, config


def draw_scores(rng: np.random.Generator, t: int, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """((T, N) scores, NaN = none; groups or None, -1 = none)."""
    steps = rng.normal(0, pick(rng, (0.1, 0.5, 2.0)), (t, n))
    out = rng.normal(0, 1, n) + (np.cumsum(steps, axis=0) if chance(rng, 0.7) else steps)
    kind = pick(rng, ("full", "ties", "signs", "one", "far"), (0.35, 0.3, 0.15, 0.05, 0.15))
    if kind == "ties":
        out = np.rint(out * pick(rng, (0.5, 1.0, 3.0)))  # rint leaves zeros of both signs
    elif kind == "signs":
        out = np.where(np.abs(out) < 0.8, np.copysign(0.0, out), np.sign(out))
    elif kind == "one":
        out = np.full((t, n), pick(rng, (0.0, 1.5)))
    elif kind == "far":
        out = np.sign(out) * 10.0 ** np.clip(np.abs(out) * 60, -300, 300) * pick(rng, (1.0, 5e-324))
    out = np.where(rng.random((t, n)) < pick(rng, (0.0, 0.1, 0.6), (0.5, 0.3, 0.2)), np.nan, out)
    rare = rng.random(t)
    out[rare < 0.12] = np.nan
    few = (rare > 0.85)[:, None] & (rng.random((t, n)) < 0.8)
    out = np.where(few, np.nan, out)
    if chance(rng, 0.2):
        out = np.clip(out, -3e38, 3e38).astype(np.float32)
    return np.ascontiguousarray(out), draw_groups(rng, t, n)


def draw_groups(rng: np.random.Generator, t: int, n: int) -> np.ndarray | None:
    """Groups of assets, or of assets at bars; some numbers name nobody."""
    if chance(rng, 0.4):
        return None
    names = np.array(pick(rng, ((0,), (0, 1), (0, 1, 2), (1, 4, 5), (3,), tuple(range(n)))))
    own = names[rng.integers(0, len(names), n)]
    if chance(rng, 0.5):
        own = np.tile(own, (t, 1))
        moves = np.maximum.accumulate(np.where(rng.random((t, n)) < 0.1, np.arange(t)[:, None], 0), axis=0)
        own = names[(own + moves) % len(names)]
    own = np.where(rng.random(own.shape) < pick(rng, (0.0, 0.2, 0.7), (0.5, 0.4, 0.1)), -1, own)
    return own.astype(pick(rng, (np.int64, np.int32, np.int8 if n <= 128 else np.int16)))


def draw_book(rng: np.random.Generator, n: int, account: str) -> Book:
    """A book of n assets that the account may hold; a cash account's is long alone."""
    sides = {"long": (True, False), "both": (True, True), "short": (False, True)}
    long, short = sides["long" if account == "cash" else pick(rng, tuple(sides), (0.2, 0.65, 0.15))]
    grosses = (1.0, 0.5, 1.3, 1 / 3, 2.5, 1000.0)
    odds = (0.4, 0.2, 0.15, 0.14, 0.1, 0.01)
    return Book(
        long=names_wanted(rng, n) if long else 0.0,
        short=names_wanted(rng, n) if short else 0.0,
        keep=pick(rng, _KEEPS) if chance(rng, 0.7) else float(rng.uniform(1.0, 3.0)),
        long_gross=pick(rng, grosses, odds),
        short_gross=pick(rng, grosses, odds),
        scheme=pick(rng, SCHEMES),
    )


def names_wanted(rng: np.random.Generator, n: int) -> float:
    """A whole number of names, small, near half of them, or more than there are; or a fraction of them."""
    if chance(rng, 0.35):
        return pick(rng, _SHARES) if chance(rng, 0.7) else float(rng.uniform(1e-6, 1.0 - 1e-6))
    return float(pick(rng, (int(rng.integers(1, max(2, n // 3 + 1))), -(-n // 2), int(rng.integers(1, n + 4)))))


@dataclasses.dataclass(frozen=True, eq=False)
class Mixed:
    """A run of scenarios on books of two rankings and on ordinary weights: its spec, and for each scenario the rows of
    weights that it reads, by the oracle, and its config."""

    panel: OraclePanel
    spec: RunSpec
    rows: list[np.ndarray]
    configs: list[Config]

    def oracles(self) -> list[Oracle]:
        """The scenarios, each by itself."""
        return [simulate(self.panel, rows, config) for rows, config in zip(self.rows, self.configs, strict=True)]


def mixed(
    seed: int, count: int, assets: int | None = None, alike: bool = False, lean: bool = False, **record: Any
) -> Mixed:
    """`count` drawn scenarios. alike: they follow the same schedule and rules, so that those of a ranking with the
    same lag go through the bars together. lean: as in `scored`."""
    rankings, weights, config = scored(seed, assets, 2, lean)
    rng, panel = np.random.default_rng([seed, 15]), rankings[0].panel
    public, n = panel_of(panel, config), panel.shape[1]
    fixed = (*SCHEDULE, *STRUCTURAL, *(("signal_lag",) if chance(rng, 0.7) else ())) if alike else ()
    configs = configs_beside(rng, public, config, count, (*fixed, *LEAN) if lean else fixed)
    many = int(rng.integers(2, count + 1)) if count > 1 else 1
    accounts = ["cash" if "cash" in {c.account for c in configs[e::many]} else "margin" for e in range(many)]
    entries: list[tuple[Scored, Book] | np.ndarray] = []
    for e, account in enumerate(accounts):
        if e > 0 and chance(rng, 0.2):
            entries.append(np.abs(weights) if account == "cash" else -weights + 0.0)
        else:
            entries.append((rankings[int(chance(rng, 0.4))], draw_book(rng, n, account)))
    spec = spec_of(public, [e if isinstance(e, np.ndarray) else e[0].ranked(e[1]) for e in entries], configs, **record)
    if alike:
        spec.params["schedule"] = 0
    rows = []
    for k, own in enumerate(configs):
        entry = entries[k % many]
        rows.append(entry if isinstance(entry, np.ndarray) else entry[0].rows(entry[1], own))
    return Mixed(panel, spec, rows, configs)


def configs_beside(
    rng: np.random.Generator, panel: Panel, config: Config, count: int, fixed: Sequence[str] = ()
) -> list[Config]:
    """The config and others that its public panel has the fields for; most share STRUCTURAL, all what is `fixed`."""
    found = [config]
    while len(found) < count:
        other = scenario(int(rng.integers(2**40)))[2]
        if "rebalance" not in fixed and chance(rng, 0.4):
            other = other.replace(rebalance="bar", rebalance_every=1, signal_lag=int(rng.integers(0, 4)))
        if "signal_lag" not in fixed and chance(rng, 0.5):
            other = other.replace(signal_lag=int(rng.integers(0, 4)))
        if other.account == "margin" and chance(rng, 0.3):
            other = other.replace(max_leverage=None, maintenance_margin=pick(rng, (0.25, 0.5, 0.95)))
        same = (*STRUCTURAL, *fixed) if chance(rng, 0.7) else fixed
        other = other.replace(**{name: getattr(config, name) for name in same})
        try:
            check_fields(panel, other)
        except ConfigError:
            continue
        found.append(other)
    return found
