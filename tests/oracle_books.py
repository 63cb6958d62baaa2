# SPDX-License-Identifier: Apache-2.0
"""The oracle's books: [B1] to [B5] of docs/semantics.md by plain scalar loops, written from the page alone.

What it gives are rows of weights, for oracle.simulate. Letters: T bars, N assets; L, S names wanted on the long and on
the short side, k names taken, n ranked assets of a group, W weight.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from oracle import OraclePanel
from oracle_clock import schedule
from oracle_numbers import rint, trunc

from gpu_bt.config import Config

__all__ = ["Book", "begins", "book_rows", "order_of", "rows_read"]

NAN = math.nan


@dataclasses.dataclass(frozen=True)
class Book:
    """How names are chosen and weighted: `long` and `short` are whole numbers, or fractions of those ranked."""

    long: float = 0.0
    short: float = 0.0
    keep: float = 1.0
    long_gross: float = 1.0
    short_gross: float = 1.0
    scheme: str = "equal"


def rows_read(panel: OraclePanel, config: Config, first: int = 0) -> list[int]:
    """[B5] The rows that scheduled bars read, in order. first: that of the opening; no bar before it decides."""
    decides = schedule(panel.microseconds, panel.next_microseconds, config, panel.time_zone)
    read = [t - config.signal_lag for t in range(first, len(decides)) if decides[t]]
    return [row for row in read if row >= 0]


def order_of(panel: OraclePanel, scores: Any, groups: Any, t: int) -> dict[int, list[int]]:
    """[B1] Group -> its ranked assets in the order of their places, by number of the group; none is empty."""
    members: dict[int, list[int]] = {}
    for i in range(panel.shape[1]):
        if math.isnan(float(scores[t][i])):
            continue
        if panel.universe is not None and not panel.universe[t][i]:
            continue
        if _delisted(panel, t, i):
            continue
        group = 0
        if groups is not None:
            group = int(groups[i]) if groups.ndim == 1 else int(groups[t][i])
        if group >= 0:
            members.setdefault(group, []).append(i)
    # Python sorts by falling scores, then by asset: -0.0 and 0.0 are equal to it.
    return {group: sorted(members[group], key=lambda i: (-float(scores[t][i]), i)) for group in sorted(members)}


def book_rows(
    panel: OraclePanel, scores: Any, groups: Any, book: Book, read: Sequence[int]
) -> tuple[list[list[float]], list[int]]:
    """[B5] (T, N) rows of weights, NaN where no book is formed, of the book at each row read, and which are thin."""
    t_count, n = panel.shape
    rows, thin = [[NAN] * n for _ in range(t_count)], []
    last: tuple[set[int], set[int]] = set(), set()
    for t in read:
        ranked = order_of(panel, scores, groups, t)
        if not ranked:
            continue
        longs, shorts, short_of_names = [], [], False
        for names in ranked.values():
            wanted_long, wanted_short = _how_many(book.long, len(names)), _how_many(book.short, len(names))
            k_long = min(wanted_long, len(names))
            k_short = min(wanted_short, len(names) - k_long)
            short_of_names = short_of_names or k_long < wanted_long or k_short < wanted_short
            longs.append(_taken(names, k_long, last[0], book.keep))
            taken = set(longs[-1])
            left = [i for i in reversed(names) if i not in taken]
            shorts.append(_taken(left, k_short, last[1], book.keep))
        if short_of_names:
            thin.append(t)
        rows[t] = _weights(panel, t, book, longs, shorts)
        last = {i for names in longs for i in names}, {i for names in shorts for i in names}
    return rows, thin


def begins(panel: OraclePanel, rows: Any, config: Config) -> int:
    """[S9] [B5] The first bar that decides with a target other than 0 that [S6] lets be held, or -1."""
    decides = schedule(panel.microseconds, panel.next_microseconds, config, panel.time_zone)
    for t in range(config.signal_lag, len(decides)):
        for i in range(panel.shape[1]):
            target = float(rows[t - config.signal_lag][i])
            inside = panel.universe is None or bool(panel.universe[t][i])
            if decides[t] and inside and not _delisted(panel, t, i) and not math.isnan(target) and target != 0.0:
                return t
    return -1


def _delisted(panel: OraclePanel, t: int, i: int) -> bool:
    return panel.delisted_at is not None and 0 <= int(panel.delisted_at[i]) <= t


def _whole(x: float) -> int:
    """`whole` of [S2]."""
    return int(rint(x) if abs(x - rint(x)) <= 1e-6 else trunc(x))


def _how_many(wanted: float, n: int) -> int:
    """[B2] L or S as a number of names."""
    return max(1, _whole(wanted * n)) if 0.0 < wanted < 1.0 else int(wanted)


def _taken(candidates: list[int], k: int, last: set[int], c: float) -> list[int]:
    """[B3] The k names that a side takes of its candidates, in their order."""
    m = min(len(candidates), max(k, _whole(c * k)))
    stay: set[int] = set()
    for i in candidates[:m]:
        if i in last and len(stay) < k:
            stay.add(i)
    rest = set([i for i in candidates if i not in stay][: k - len(stay)])
    return [i for i in candidates if i in stay or i in rest]


def _weights(panel: OraclePanel, t: int, book: Book, longs: list[list[int]], shorts: list[list[int]]) -> list[float]:
    """[B4] The row of weights of the names that each group has on each side."""
    row = [0.0] * panel.shape[1]
    for sign, gross, sides in ((1.0, book.long_gross, longs), (-1.0, book.short_gross, shorts)):
        g = sum(len(names) > 0 for names in sides)
        for names in sides:
            k = len(names)
            for j, i in enumerate(names):
                p, q = (1.0, float(k)) if book.scheme == "equal" else (float(k - j), (k * (k + 1)) / 2)
                row[i] = sign * (((gross / g) * p) / q)
    return [NAN if _delisted(panel, t, i) else w for i, w in enumerate(row)]
