# SPDX-License-Identifier: Apache-2.0
"""Operators along time: row t is made of rows <= t alone. `tables` says what goes in and comes out.

A window of n holds rows t - n + 1 to t, as far as they exist; its numbers are those that are not NaN, wherever they
stand in it. min_count: with fewer numbers than these the result is NaN; n by default, as in pandas and Polars, so that
a window counts once it is full and without a hole.

Sum, extremes, moments and weighted sums are folds of an associative operation, made in one pass whatever the window
(van Herk 1992, Gil and Werman 1993): time is cut into blocks of n rows, and a window is what is left of one block from
some row on, with the next one up to some row. Nothing is ever taken away again, so that what has left the window has
left no rounding behind, as it does in a difference of running sums.

All raise PanelError, in one line with function, row and column, for infinite numbers, other shapes than (T, N), labels
that differ and what is no number, and ConfigError for a window or a min_count that cannot be. `delay`, `delta`,
`rolling_max`, `rolling_min` and `rolling_rank` have the same bits in host memory and on a GPU; so have the others as
far as both round each operation and take the same blocks: they agree within 1e-12 of the largest number of the window,
for |x| in [1e-150, 1e150] or 0.

Letters: T bars, N assets, B blocks of n rows, C columns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpu_bt.arguments import flag, must_be, real, whole
from gpu_bt.books.tables import Tables, opened
from gpu_bt.typing import TableT, Values

__all__ = [
    "decay", "delay", "delta", "rolling_corr", "rolling_max", "rolling_mean", "rolling_min", "rolling_rank",
    "rolling_std", "rolling_sum", "volatility",
]  # fmt: skip

#: The fewest columns worked on together: with fewer the calls take longer than the numbers.
_COLUMNS = 4096
_State = Sequence[Any]
#: merge(to, a, b, na, nb): into `to`, which may be `a`, the state of rows that follow one another, of that of the
#: earlier ones, a, and of the later ones, b; na and nb are how many numbers, or rows, these are of.
_Merge = Callable[[_State, _State, _State, Any, Any], None]


class _Window:
    """A part of the tables: blocks of n rows, the first of which is only looked back at, of some columns. rows: of a
    window; where they are more than n there is one block, and nothing before it.

    values: of each table (B + 1, n, C) float64, not to be written to, 0 where there is none.   there: the cells with a
    number in all tables, (B + 1, n, C), or None where all have one.
    """

    def __init__(self, tables: Tables, rows: int, n: int, block: int, many: int, columns: slice) -> None:
        xp, self.xp, self.n, self.rows, self.values = tables.xp, tables.xp, n, rows, list[Any]()
        first, last = (block - 1) * n, min((block + many) * n, tables.shape[0])
        part, skipped = slice(max(first, 0), last), max(-first, 0)
        known: Any = None

        def placed(found: Any) -> Any:
            if len(found) < (many + 1) * n:
                given, found = found, xp.zeros(((many + 1) * n, found.shape[1]), found.dtype)
                found[skipped : skipped + len(given)] = given
            return found.reshape(many + 1, n, -1)

        for name in tables.arrays:
            found, own = tables.cells(name, part, columns)
            known = own if known is None else known & own
            self.values.append(placed(found))
        self.there = placed(known) if skipped or not bool(known.all()) else None
        if self.there is not None:
            self.values = [xp.where(self.there, values, 0.0) for values in self.values]

    def fold(self, merge: _Merge, leaves: _State, counts: Any = None, skip: int = 0, none: float = 0.0) -> list[Any]:
        """The states of all windows, (B, n, C), last how many numbers they are of where `counts` says it of each leaf;
        else a leaf is one, even one that is missing. none: the state of nothing; a leaf that is None is that, too.
        skip: None stands for so many of the first, which are not asked for."""
        n, xp, first = self.n, self.xp, leaves[0]
        states: list[Any] = [*leaves, *([] if counts is None else [counts])]
        kinds = [first.dtype if s is None else s.dtype for s in states]
        before, out = ([xp.empty((len(first) - 1, *first.shape[1:]), kind) for kind in kinds] for _ in range(2))
        out[:skip] = [None] * skip
        nothing = [xp.full((len(first) - 1, first.shape[2]), none, kind) for kind in kinds]
        after = [x.copy() for x in nothing]
        old, new = ([None if s is None else s[part] for s in states] for part in (slice(-1), slice(1, None)))

        def join(to: _State, a: _State, b: _State, na: Any, nb: Any) -> None:
            if counts is None:
                merge(to, a, b, na, nb)
            else:
                merge(to[:-1], a[:-1], b[:-1], a[-1], b[-1])
                np.add(a[-1], b[-1], out=to[-1])

        for x, y, leaf, last in zip(after, before, new, old, strict=True):
            y[:, n - 1] = none if last is None else last[:, n - 1]
            if leaf is not None:
                x[...] = leaf[:, 0]
        for i in range(n - 2, 0, -1):
            join(_row(before, i), _row(old, i), _row(before, i + 1), 1, n - 1 - i)
        for i in range(n):
            rest = _row(before, i + 1) if i < n - 1 else nothing
            join(_row(out, i), rest, after, self.rows - 1 - i, i + 1)
            if i < n - 1:
                join(after, after, _row(new, i + 1), i + 1, 1)
        return out

    def total(self, values: Any) -> Any:
        """The sum of all windows."""
        return self.fold(_add, [values])[0]

    def count(self) -> Any:
        """The numbers in all windows."""
        if self.there is None:
            return float(self.n)
        return self.total(self.there.astype(np.int16 if self.n < 2**15 else np.int32))


def _row(states: _State, i: int) -> _State:
    return [None if x is None else x[:, i] for x in states]


def _add(to: _State, a: _State, b: _State, na: Any, nb: Any) -> None:
    np.add(a[0], b[0], out=to[0])


def _moments(to: _State, a: _State, b: _State, na: Any, nb: Any) -> None:
    """Means, and sums of products of what is off them: mean, M2; or of two tables x mean, y mean, Mxx, Myy, Mxy (Chan,
    Golub and LeVeque 1979)."""
    n, many = na + nb, 1 if len(to) == 2 else 2
    share = nb / (np.maximum(n, 1.0) if hasattr(n, "dtype") else n)
    off, both = [b[k] - a[k] for k in range(many)], na * share
    for k, (i, j) in enumerate(((0, 0), (1, 1), (0, 1))[: len(to) - many], many):
        product = off[i] * off[j]
        product *= both
        if a[k] is not None and b[k] is not None:
            product += b[k]
        np.add(product, b[k] if a[k] is None else a[k], out=to[k])
    for k in range(many if to[0] is not None else 0):
        off[k] *= share
        np.add(a[k], off[k], out=to[k])


def _ages(to: _State, a: _State, b: _State, na: Any, nb: Any) -> None:
    """The sum, and the sum weighted by the row, counted from 1."""
    later = b[0] * na
    later += b[1]
    np.add(a[1], later, out=to[1])
    if to[0] is not None:
        np.add(a[0], b[0], out=to[0])


def _through(like: TableT, tables: Tables, n: int, least: int, work: Callable[[_Window], tuple[Any, Any]]) -> TableT:
    """The result of work(window) = (numbers, how many each is of), NaN where these are fewer than `least`."""
    t_count, columns = tables.shape
    size = min(n, t_count)  # longer windows hold the same rows
    wide = min(columns, max(_COLUMNS, tables.room // size))
    many = min(-(-t_count // size), max(1, tables.room // (size * wide)))
    out = tables.xp.empty(tables.shape, tables.dtype)

    def part(place: tuple[int, int]) -> None:
        block, left = place
        across = slice(left, min(left + wide, columns))
        found, count = work(_Window(tables, n, size, block, many, across))
        if not isinstance(count, float):
            found = tables.xp.where(count >= least, found, np.nan)
        elif count < least:
            found = found * np.nan
        rows = slice(block * size, min((block + many) * size, t_count))
        out[rows, across] = found.reshape(-1, found.shape[-1])[: rows.stop - rows.start]

    blocks = range(0, -(-t_count // size), many)
    tables.each(part, [(block, left) for block in blocks for left in range(0, columns, wide)])
    return tables.given_back(out, like)


def _counts(function: str, n: Any, min_count: Any) -> tuple[int, int]:
    """Window and least count, checked."""
    window = whole(f"{function}: n", n)
    return window, window if min_count is None else whole(f"{function}: min_count", min_count, 1, window)


def delay(x: TableT, n: int = 1) -> TableT:
    """x[t - n]; NaN in the first n rows. n >= 1. O(T N)."""
    n, tables = whole("delay: n", n), opened("delay", x=x)
    return tables.given_back(tables.by_rows(lambda rows: _both(tables, rows, n)[1]), x)


def delta(x: TableT, n: int = 1) -> TableT:
    """x[t] - x[t - n]; NaN in the first n rows. n >= 1. O(T N)."""
    n, tables = whole("delta: n", n), opened("delta", x=x)
    return tables.given_back(tables.by_rows(lambda rows: np.subtract(*_both(tables, rows, n))), x)


def _both(tables: Tables, rows: slice, n: int, low: float = -math.inf) -> tuple[Any, Any]:
    """Rows t and rows t - n of a table, NaN where there is none. Each row is looked at where it is row t."""
    (name,) = tables.arrays
    now = tables.cells(name, rows, low=low)[0]
    before, skipped = tables.xp.empty(now.shape), min(max(n - rows.start, 0), len(now))
    before[:skipped] = np.nan
    before[skipped:] = tables.arrays[name][rows.start + skipped - n : max(rows.stop - n, 0)]
    return now, before


def decay(x: TableT, n: int, min_count: int | None = None) -> TableT:
    """Mean with weights that fall linearly: sum(w*x)/sum(w) over the numbers of the window, w = n for row t, n - 1 for
    the row before, and so on to 1. O(T N)."""
    n, least = _counts("decay", n, min_count)

    def work(window: _Window) -> tuple[Any, Any]:
        if window.there is None:
            weights: Any = n * (n + 1) / 2
        else:
            there = window.there.astype(np.int32 if n < 2**15 else np.float64)
            weights = window.fold(_ages, [there, there], skip=1)[1]
        found = window.fold(_ages, [window.values[0], window.values[0]], skip=1)[1]
        return found / weights, window.count()

    return _through(x, opened("decay", x=x), n, least, work)


def rolling_sum(x: TableT, n: int, min_count: int | None = None) -> TableT:
    """The sum of the numbers of the window. O(T N)."""
    n, least = _counts("rolling_sum", n, min_count)
    return _through(x, opened("rolling_sum", x=x), n, least, lambda w: (w.total(w.values[0]), w.count()))


def rolling_mean(x: TableT, n: int, min_count: int | None = None) -> TableT:
    """The mean of the numbers of the window, sum/count. O(T N)."""
    n, least = _counts("rolling_mean", n, min_count)

    def work(window: _Window) -> tuple[Any, Any]:
        count = window.count()
        return window.total(window.values[0]) / count, count

    return _through(x, opened("rolling_mean", x=x), n, least, work)


def rolling_max(x: TableT, n: int, min_count: int | None = None) -> TableT:
    """The largest number of the window. O(T N)."""
    return _extreme("rolling_max", x, n, min_count, "maximum", -math.inf)


def rolling_min(x: TableT, n: int, min_count: int | None = None) -> TableT:
    """The least number of the window. O(T N)."""
    return _extreme("rolling_min", x, n, min_count, "minimum", math.inf)


def _extreme(function: str, x: TableT, n: Any, min_count: Any, name: str, none: float) -> TableT:
    n, least = _counts(function, n, min_count)
    pick = getattr(np, name)

    def work(window: _Window) -> tuple[Any, Any]:
        values = window.values[0] if window.there is None else window.xp.where(window.there, window.values[0], none)
        (found,) = window.fold(lambda to, a, b, na, nb: pick(a[0], b[0], out=to[0]), [values], none=none)
        found += 0.0  # of 0 and -0 either may be the larger one
        return found, window.count()

    return _through(x, opened(function, x=x), n, least, work)


def _folded(window: _Window, states: int) -> tuple[_State, Any]:
    """Sums of products of what is off the means, and how many numbers they are of."""
    counts = None if window.there is None else window.there * 1.0
    leaves = [*window.values, *[None] * (states - len(window.values))]
    found = window.fold(_moments, leaves, counts, len(window.values))
    return found[len(window.values) : states], float(window.n) if counts is None else found[-1]


def rolling_std(x: TableT, n: int, min_count: int | None = None, ddof: int = 1) -> TableT:
    """sqrt(sum((x - mean)^2)/(count - ddof)) of the numbers of the window; NaN where count <= ddof. Equal numbers give
    0 exactly. ddof >= 0. O(T N)."""
    n, least = _counts("rolling_std", n, min_count)
    ddof = whole("rolling_std: ddof", ddof, 0)
    return _through(x, opened("rolling_std", x=x), n, max(least, ddof + 1), lambda w: _deviation(w, ddof))


def _deviation(window: _Window, ddof: int) -> tuple[Any, Any]:
    """Standard deviations and how many numbers they are of."""
    (squares,), count = _folded(window, 2)
    squares /= np.maximum(count - ddof, 1.0)
    return window.xp.sqrt(squares), count


def rolling_corr(x: TableT, y: Values, n: int, min_count: int | None = None) -> TableT:
    """Pearson's correlation of the pairs of the window in which both are numbers, in [-1, 1]; NaN where x or y does not
    vary in them. O(T N)."""
    n, least = _counts("rolling_corr", n, min_count)

    def work(window: _Window) -> tuple[Any, Any]:
        xp, ((xx, yy, xy), count) = window.xp, _folded(window, 5)
        xy /= xp.sqrt(xx) * xp.sqrt(yy)  # 0/0 is NaN
        return np.minimum(np.maximum(xy, -1.0), 1.0), count

    return _through(x, opened("rolling_corr", x=x, y=y), n, least, work)


def rolling_rank(x: TableT, n: int, min_count: int | None = None, pct: bool = False) -> TableT:
    """The place of x[t] among the numbers of its window, 1 for the least, count for the largest, equal ones their mean:
    (numbers below) + (equal ones + 1)/2, as pandas' rolling(n).rank(). NaN where x[t] is.

    pct: divided by the count. O(T N n): every number is compared with the n - 1 before it.
    """
    n, least = _counts("rolling_rank", n, min_count)
    pct = flag("rolling_rank: pct", pct)

    def work(window: _Window) -> tuple[Any, Any]:
        xp, size = window.xp, window.n
        values = window.values[0] if window.there is None else xp.where(window.there, window.values[0], np.nan)
        flat = values.reshape(-1, values.shape[2])
        last, twice = flat[size:], xp.ones(flat[size:].shape, np.int16 if size < 2**14 else np.int32)
        for back in range(size):
            other = flat[size - back : len(flat) - back]
            twice += other < last
            twice += other <= last
        count = window.count()
        found = xp.where(xp.isnan(last), np.nan, twice / 2.0).reshape(values[1:].shape)
        return found / count if pct else found, count

    return _through(x, opened("rolling_rank", x=x), n, least, work)


def volatility(close: TableT, n: int, bars_per_year: float | None = None, min_count: int | None = None) -> TableT:
    """rolling_std of simple returns close[t]/close[t - 1] - 1, ddof 1, times sqrt(bars_per_year) where that is given.

    A return is NaN where either price is. Of a bar, or annual with bars_per_year (252 for daily bars). The first result
    by default is that of row n. Raises PanelError for a price that is not above 0. O(T N).
    """
    n, least = _counts("volatility", n, min_count)
    scale = 1.0 if bars_per_year is None else real(bars_per_year)
    if not 0 < scale < math.inf:
        must_be("volatility: bars_per_year", bars_per_year, "a number > 0, or None")
    tables = opened("volatility", close=close)

    def returns(rows: slice) -> Any:
        now, before = _both(tables, rows, 1, math.ulp(0.0))
        return now / before - 1.0

    tables = dataclasses.replace(tables, arrays={"close": tables.by_rows(returns, np.float64)})

    def work(window: _Window) -> tuple[Any, Any]:
        found, count = _deviation(window, 1)
        return found * math.sqrt(scale), count

    return _through(close, tables, n, max(least, 2), work)
