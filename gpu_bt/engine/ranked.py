# SPDX-License-Identifier: Apache-2.0
"""Books from scores ([B1] to [B5] of semantics.md): a ranking that all scenarios share, and the book each makes of it.

Letters: T bars, N assets, G groups.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from gpu_bt.engine.resident import Resident
from gpu_bt.law.layout import SCHEMES

__all__ = ["LONG", "SHORT", "WIDE", "Ranked", "Ranking", "Reader", "ranking_of"]

#: Rows ranked together.
_ROWS = 16
#: Assets of which each has a number of 16 bits.
WIDE = 65_535
#: The sides on which an asset can be in a book; 0 is neither.
LONG, SHORT = 1, 2


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """[B1] The places of all ranked assets.

    order: (T, N) uint16, or int32 beyond 65,535 assets: in each row the ranked assets, group by group, by place; what
    follows them is 0.   starts: (T, G + 1) int32, where the groups of a row begin in it, and the last one ends.
    delisted_at: (N,) int64, -1 = never.
    """

    order: np.ndarray
    starts: np.ndarray
    delisted_at: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        t_count, n = self.order.shape
        return t_count, n

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self.order.nbytes + self.starts.nbytes

    @cached_property
    def rows(self) -> np.ndarray:
        """(T,) bool: somebody is ranked."""
        some: np.ndarray = self.starts[:, -1] > 0
        return some


@dataclasses.dataclass(frozen=True, eq=False)
class Ranked:
    """A book of a ranking, which stands where a panel of weights does. book: BOOK, one entry (0-d)."""

    ranking: Ranking
    book: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return self.ranking.shape

    @cached_property
    def thin(self) -> np.ndarray:
        """[B2] (T,) bool: some group has fewer names than are wanted."""
        n = np.diff(self.ranking.starts, axis=1)
        wanted = self._wanted("long_names", n) + self._wanted("short_names", n)
        found: np.ndarray = np.any((wanted > n) & (n > 0), axis=1)
        return found

    def _wanted(self, name: str, n: np.ndarray) -> np.ndarray:
        """[B2] How many names are wanted of groups of n."""
        names = float(self.book[name])
        found: np.ndarray = np.maximum(1, _whole(names * n)) if 0.0 < names < 1.0 else np.full(n.shape, int(names))
        return found

    def form(self, t: int, stood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B3] [B4] Row t of the weights, (N,) float64, and (N,) uint8, on which side each asset is.

        stood: the sides of the last book.
        """
        ranking, now = self.ranking, np.zeros_like(stood)
        row = np.zeros(len(stood)) if ranking.rows[t] else np.full(len(stood), np.nan)
        ends, n = ranking.starts[t], np.diff(ranking.starts[t])
        names, long = ranking.order[t, : ends[-1]].astype(np.int64), np.minimum(self._wanted("long_names", n), n)
        short = np.minimum(self._wanted("short_names", n), n - long)
        self._take(LONG, names, n, long, stood, row, now)
        if short.any():
            left = names[now[names] == 0][::-1]
            self._take(SHORT, left, (n - long)[::-1], short[::-1], stood, row, now)
        row[(ranking.delisted_at >= 0) & (ranking.delisted_at <= t)] = np.nan
        return row, now if ranking.rows[t] else stood

    def _take(
        self, side: int, names: np.ndarray, n: np.ndarray, k: np.ndarray, stood: np.ndarray,
        row: np.ndarray, now: np.ndarray,
    ) -> None:  # fmt: skip
        """[B3] [B4] Of all groups at once, the k names that a side takes of n candidates, which stand group by group in
        their order; into row and now."""
        looked_at = np.minimum(n, np.maximum(k, _whole(float(self.book["keep"]) * k)))
        of, groups = np.repeat(np.arange(len(k)), looked_at), int(np.count_nonzero(k)) or 1
        place = np.arange(len(of)) - np.repeat(np.cumsum(looked_at) - looked_at, looked_at)
        names = names[np.repeat(np.cumsum(n) - n, looked_at) + place]
        best = np.argsort(2 * of + (stood[names] != side), kind="stable")  # of each group first those that stay
        first = place < k[of]
        taken, j, k = np.sort(best[first]), place[first], k[of[first]]
        equal = SCHEMES[int(self.book["scheme"])] == "equal"
        parts, whole = (1.0, k) if equal else (k - j, k * (k + 1) // 2)
        gross = float(self.book["long_gross" if side == LONG else "short_gross"]) / groups
        share = (gross * parts) / whole
        row[names[taken]] = share if side == LONG else -share
        now[names[taken]] = side

    def weights(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """[B5] Bar and row of weights of the book at each row of the (T,) mask where somebody is ranked."""
        stood = np.zeros(self.shape[1], np.uint8)
        for t in np.flatnonzero(rows & self.ranking.rows).tolist():
            row, stood = self.form(t, stood)
            yield t, row


class Reader:
    """[S6] The rows of weights that scenarios with the same weights, lag and schedule read, in order of bars."""

    def __init__(self, weights: np.ndarray | Resident | Ranked, lag: int, decides: np.ndarray) -> None:
        self.weights, self.lag, self.none = weights, lag, np.full(weights.shape[1], np.nan)
        self.bars, self.formed = len(decides), (-1, self.none)  # a row and its bar, the last one that was formed
        if isinstance(weights, Ranked):
            self.books = weights.weights(np.append(decides[lag:], np.zeros(min(lag, self.bars), bool)))

    def __call__(self, t: int) -> Any:
        """(N,) what is read at bar t, NaN where there is no such row; calls go on in time."""
        source = t - self.lag
        if source < 0:
            return self.none
        if not isinstance(self.weights, Ranked):
            return self.weights[source]
        while self.formed[0] < source:  # [B5] those between count as last books
            self.formed = next(self.books, (self.bars, self.none))
        return self.formed[1] if self.formed[0] == source else self.none


def _whole(x: np.ndarray) -> np.ndarray:
    """[S2] What whole numbers x >= 0 mean, int64."""
    near = np.rint(x)
    found: np.ndarray = np.where(np.abs(x - near) <= 1e-6, near, np.floor(x)).astype(np.int64)
    return found


def _places(keys: np.ndarray) -> np.ndarray:
    """(B, N) order of rising keys, equal ones as they stand, infinite ones anyhow."""
    places = np.argsort(keys, axis=1)
    rising = np.take_along_axis(keys, places, 1)
    tied = ((rising[:, 1:] == rising[:, :-1]) & (rising[:, 1:] < np.inf)).any(axis=1)
    if tied.any():  # a stable sort takes four times as long
        places[tied] = np.argsort(keys[tied], axis=1, kind="stable")
    return places


def ranking_of(scores: Any, listed: np.ndarray, delisted_at: np.ndarray, groups: np.ndarray | None = None) -> Ranking:
    """[B1] The ranking of (T, N) scores, NaN = none.

    listed: (T, N) bool, in the universe.   delisted_at: (N,), -1 = never.   groups: (N,) or (T, N) int, -1 = none.
    """
    t_count, n = scores.shape
    many = 1 if groups is None else max(1, int(groups.max(initial=-1)) + 1)
    order = np.zeros((t_count, n), np.uint16 if n <= WIDE else np.int32)
    starts = np.zeros((t_count, many + 1), np.int32)

    def rank(first: int) -> None:
        rows = slice(first, first + _ROWS)
        ranked = listed[rows] & ((delisted_at < 0) | (delisted_at > np.arange(t_count)[rows, None]))
        own = None if groups is None else np.broadcast_to(groups[rows] if groups.ndim == 2 else groups, ranked.shape)
        ranked &= True if own is None else own >= 0
        ranked &= ~np.isnan(scores[rows])
        places = _places(np.where(ranked, 0.0 - scores[rows], np.inf))
        counts = np.count_nonzero(ranked, axis=1)
        if own is None:
            starts[rows, 1] = counts
        else:
            kind: Any = np.uint16 if many < WIDE else np.int64  # the short ones sort faster
            of: np.ndarray = np.where(ranked, own, np.int64(many)).astype(kind)
            by_group = np.argsort(np.take_along_axis(of, places, 1), axis=1, kind="stable")
            places = np.take_along_axis(places, by_group, 1)
            counted = np.bincount(
                (of + (many + 1) * np.arange(len(of))[:, None]).ravel(), minlength=(many + 1) * len(of)
            )
            np.cumsum(counted.reshape(len(of), many + 1)[:, :many], axis=1, out=starts[rows, 1:])
        order[rows] = np.where(np.arange(n) < counts[:, None], places, 0)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorting leaves the interpreter free
        list(pool.map(rank, range(0, t_count, _ROWS)))
    return Ranking(order, starts, delisted_at)
