# SPDX-License-Identifier: Apache-2.0
"""Operators across the assets of a bar. `tables` says what goes in and comes out.

At row t an asset *counts* where its number (and exposure, and weight) is not NaN, `universe` has it and, where groups
are given, it is of one; every other asset is NaN in the result and changes nothing. Each operator works within the
assets of row t that count, or within each group of them.

groups: None = all are one; (N,) or (T, N) labels of any kind, None, "", NaN and -1 = no group; "panel" where the
universe is one.   universe: None = everybody; a (T, N) mask; or a Panel: in its universe, and before `delisted_at`.

All raise PanelError, in one line with function, row and column, for infinite numbers, other shapes than (T, N), labels
that differ and what is no number. `rank` has the same bits in host memory and on a GPU; the others sum in no fixed
order there and agree within 1e-12 of the row's largest number, for |x| in [1e-150, 1e150] or 0. Time O(T N), where a
row is sorted O(T N log N).

Letters: T bars, N assets, R rows of a block, G groups, n assets that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from gpu_bt.arguments import flag, must_be, real
from gpu_bt.books.tables import Tables, opened
from gpu_bt.data.panel import Panel
from gpu_bt.typing import Groups, TableT, Values

__all__ = ["demean", "neutralise", "rank", "winsorise", "zscore"]

#: What is left of an exposure beside the others, as a part of it, that is no more than rounding; and beside a constant.
_ROUNDING, _CONSTANT = 1e-12, 1e-14


class _Rows:
    """Some rows of a table: who counts, and in which group.

    there: (R, N) bool.   key: (R, N) number of the group in its row, counted over all rows, or None for one group;
    who does not count is in a group of its own, the last of each row. What is known of groups is (R, 1) or (R, G).
    """

    def __init__(self, xp: Any, there: Any, code: Any) -> None:
        self.xp, self.there, self.full, self.key = xp, there, bool(there.all()), None
        self.row = xp.arange(len(there))[:, None]
        if code is not None:
            self.many = int(code.max()) + 2
            self.code = code if self.full else xp.where(there, code, self.many - 1)
            self.key = self.code + self.row * self.many

    def only(self, values: Any, otherwise: float = 0.0) -> Any:
        """The values of who counts."""
        return values if self.full else self.xp.where(self.there, values, otherwise)

    def total(self, values: Any) -> Any:
        """The sum of each group."""
        if self.key is None:
            return values.sum(axis=1, keepdims=True)
        size = len(self.row) * self.many
        return self.xp.bincount(self.key.ravel(), values.ravel(), minlength=size).reshape(-1, self.many)

    @cached_property
    def count(self) -> Any:
        """How many count in each group."""
        if self.key is None:
            return self.there.sum(axis=1, keepdims=True)
        size = len(self.row) * self.many
        return self.xp.bincount(self.key.ravel(), minlength=size).reshape(-1, self.many)

    def spread(self, of_group: Any) -> Any:
        """What is known of each group, for its cells; broadcasts to (R, N)."""
        return of_group if self.key is None else of_group.ravel()[self.key]

    def centred(self, values: Any, weights: Any = None) -> Any:
        """The values less the mean of their group; 0 for who does not count. Equal values give 0 exactly, since the
        mean is taken of what they differ from one of them."""
        if self.key is None:
            one = values[self.row[:, 0], self.there.argmax(axis=1)][:, None]
        else:
            one = self.xp.zeros(len(self.row) * self.many)
            one[self.key.ravel()] = values.ravel()
        off = self.only(values - self.spread(one))
        if weights is None:
            mean = self.total(off) / self.count
        else:
            whole = self.total(weights)
            mean = self.total(off * weights) / self.xp.where(whole > 0, whole, 1.0)
        off -= self.spread(mean)
        return self.only(off)

    def sorted(self, values: Any) -> tuple[Any, Any]:
        """(R, N) flat places of the cells, group by group, in each by rising values, equal ones by asset; and (R, 1) or
        (R, G) where each group begins."""
        xp, n = self.xp, self.there.shape[1]
        values = self.only(values, np.inf)  # with NaN sorting takes much longer
        order = xp.argsort(values, axis=1)
        inorder = xp.take(values.ravel(), order + self.row * n)
        rises = inorder[:, 1:] != inorder[:, :-1]
        if not self.full:
            rises |= inorder[:, 1:] == np.inf
        if not bool(rises.all()):  # equal ones, in any order so far
            runs = xp.zeros(order.shape, np.int64)
            runs[:, 1:] = xp.cumsum(rises, axis=1)
            order = xp.sort(runs * n + order, axis=1) % n
        order = order + self.row * n
        if self.key is None:
            return order, xp.zeros((len(self.row), 1), np.int64)
        kind = np.int16 if self.many < 2**15 else np.int64
        code = xp.take(xp.broadcast_to(self.code, order.shape).ravel(), order).astype(kind)
        again = xp.argsort(code, axis=1, kind="stable") + self.row * n
        return xp.take(order.ravel(), again), xp.cumsum(self.count, axis=1) - self.count


def _across(like: TableT, tables: Tables, groups: Any, universe: Any, work: Callable[..., Any]) -> TableT:
    """The result of work(rows, x, other tables...) for blocks of rows."""
    mask, codes, xp = tables.mask(universe), tables.codes(groups, universe), tables.xp

    def block(rows: slice) -> Any:
        found = [tables.cells(name, rows, low=0.0 if name == "weights" else -np.inf) for name in tables.arrays]
        there = found[0][1]
        for _, other in found[1:]:
            there = there & other
        code = codes if codes is None or codes.ndim == 1 else codes[rows]
        there = there if mask is None else there & mask[rows]
        part = _Rows(xp, there if code is None else there & (code >= 0), code)
        return part.only(work(part, *(values for values, _ in found)), np.nan)

    return tables.given_back(tables.by_rows(block), like)


def rank(x: TableT, groups: Groups | None = None, universe: Values | Panel | None = None, pct: bool = False) -> TableT:
    """Places by falling numbers ([B1]): 0 for the highest, n - 1 for the lowest; equal ones (0 and -0 are) in the order
    of the assets.

    pct: ((n - place) - 0.5)/n instead, in (0, 1), near 1 for the highest.
    """
    pct = flag("rank: pct", pct)

    def work(part: _Rows, values: Any) -> Any:
        xp = part.xp
        order, starts = part.sorted(0.0 - values)
        place, out = xp.arange(values.shape[1], dtype=np.float64), xp.empty(values.size)
        out[order.ravel()] = xp.broadcast_to(place, values.shape).ravel()
        out = out.reshape(values.shape)
        if part.key is not None:
            out -= part.spread(starts)
        if not pct:
            return out
        n = part.spread(part.count)
        return ((n - out) - 0.5) / n

    return _across(x, opened("rank", x=x), groups, universe, work)


def demean(x: TableT, groups: Groups | None = None, universe: Values | Panel | None = None) -> TableT:
    """x - mean. Equal numbers give 0."""
    return _across(x, opened("demean", x=x), groups, universe, _Rows.centred)


def zscore(x: TableT, groups: Groups | None = None, universe: Values | Panel | None = None) -> TableT:
    """(x - mean)/std, std = sqrt(sum((x - mean)^2)/n) (ddof 0). Equal numbers, and one alone, give 0."""

    def work(part: _Rows, values: Any) -> Any:
        off = part.centred(values)
        std = part.xp.sqrt(part.total(off * off) / part.count)
        off /= part.spread(part.xp.where(std > 0, std, 1.0))
        return off

    return _across(x, opened("zscore", x=x), groups, universe, work)


def winsorise(
    x: TableT, limits: tuple[float, float] = (0.01, 0.99), groups: Groups | None = None,
    universe: Values | Panel | None = None,
) -> TableT:  # fmt: skip
    """x clipped to two of its quantiles: min(max(x, Q(low)), Q(high)).

    limits: 0 <= low < high <= 1. Q(p) lies at p*(n - 1) in the sorted numbers, between two of them on the line through
    both (NumPy's "linear"). Raises ConfigError for other limits.
    """
    pair = [real(p) for p in limits] if isinstance(limits, (tuple, list)) else []
    if len(pair) != 2 or not 0 <= pair[0] < pair[1] <= 1:
        must_be("winsorise: limits", limits, "(low, high) with 0 <= low < high <= 1")

    def work(part: _Rows, values: Any) -> Any:
        xp, n = part.xp, values.shape[1]
        count = part.count
        if part.key is None:
            inorder, starts = xp.sort(part.only(values, np.nan), axis=1).ravel(), part.row * n
        else:
            order, starts = part.sorted(values)
            inorder, starts = values.ravel()[order].ravel(), starts + part.row * n
        last = np.maximum(count - 1, 0)
        bounds = []
        for p in pair:
            below = xp.floor(p * last).astype(np.int64)
            a, b = (inorder[np.minimum(starts + at, inorder.size - 1)] for at in (below, np.minimum(below + 1, last)))
            bounds.append(part.spread(a + (b - a) * (p * last - below)))
        return np.minimum(np.maximum(values, bounds[0]), bounds[1])

    return _across(x, opened("winsorise", x=x), groups, universe, work)


def neutralise(
    x: TableT, groups: Groups | None = None, exposures: Values | Mapping[Any, Any] | None = None,
    weights: Values | None = None, universe: Values | Panel | None = None,
) -> TableT:  # fmt: skip
    """What a regression leaves of x: x - (a + sum_k b_k e_k), where a (of each group its own) and b (of a row) minimise
    sum(w*(x - a - sum_k b_k e_k)^2).

    exposures: None, one (T, N) table, or several in a list, a tuple or {name: table}; NaN = the asset does not count.
    weights: (T, N) w >= 0, None = 1; NaN = the asset does not count, 0 = it has a residual and no influence, but NaN
    where its whole group weighs 0.
    An exposure that is, to 1e-12 of it, a combination of those before it, or to 1e-14 the same for a whole group, has a
    coefficient of 0. Without exposures this is x less the (weighted) mean.
    By Frisch, Waugh and Lovell: numbers and exposures less their means, then one exposure after the other taken out of
    all that follow.
    """
    if exposures is None or not isinstance(exposures, (list, tuple, Mapping)):
        several = {} if exposures is None else {"exposures": exposures}
    else:
        pairs = exposures.items() if isinstance(exposures, Mapping) else enumerate(exposures)
        several = {f"exposures[{name!r}]": table for name, table in pairs}
    weighted = {} if weights is None else {"weights": weights}

    def work(part: _Rows, values: Any, *others: Any) -> Any:
        w = part.only(others[0]) if weighted else None

        def own(a: Any, b: Any) -> Any:
            return (a * b if w is None else a * b * w).sum(axis=1, keepdims=True)

        given = [*others[len(weighted) :], values]
        rest = [part.centred(e, w) for e in given]
        least = [np.maximum(own(c, c) * _ROUNDING**2, own(e, e) * _CONSTANT**2)
                 for c, e in zip(rest, map(part.only, given), strict=True)]  # fmt: skip
        while len(rest) > 1:
            (e, *rest), (rounding, *least) = rest, least
            left = own(e, e)
            left = part.xp.where(left > rounding, left, np.inf)
            for _ in range(2):  # the second time takes what rounding left
                rest = [y - e * (own(e, y) / left) for y in rest]
        return rest[0] if w is None else part.xp.where(part.spread(part.total(w)) > 0, rest[0], np.nan)

    return _across(x, opened("neutralise", x=x, **weighted, **several), groups, universe, work)
