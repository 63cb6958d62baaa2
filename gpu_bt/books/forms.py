# SPDX-License-Identifier: Apache-2.0
"""Books: target weights made of scores, and of other weights. `tables` says what goes in and comes out.

Where nothing is decided the whole row is NaN, so that `rebalance` and costs see the bars that decide alone; in a row
that is decided every asset has a target, 0 = none of it. universe: None = everybody; a (T, N) mask; or a Panel: in its
universe, before `delisted_at` (from then on NaN). groups: None = all are one; (N,) or (T, N) labels, "panel" where the
universe is one; None, "", NaN and -1 = no group. rows: (T,) bool, those that decide, such as `scheduled` gives; None =
all. Books of float64, worked out in host memory; of tables on a GPU they are put there.

All raise PanelError, in one line with function, row and column, for infinite numbers, other shapes than (T, N), labels
that differ and what is no number, and ConfigError for a parameter that cannot be.

Letters: T bars, N assets, G groups, k names of a side.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from gpu_bt.arguments import flag, must_be, one_of, real, whole
from gpu_bt.books.rolling import rolling_sum
from gpu_bt.books.scores import RULES, book_of, check_sides, dense, scheduled
from gpu_bt.books.tables import Tables, opened
from gpu_bt.data.arrays import as_host
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked, Ranking, ranking_of
from gpu_bt.errors import PanelError
from gpu_bt.typing import Array, Groups, Scheme, TableT, Values

__all__ = [
    "cap_groups", "inverse_volatility", "proportional", "quantiles", "rows_only", "scheduled", "top", "tranches",
]  # fmt: skip


def top(
    scores: TableT, long: float, short: float = 0, *, keep: float = 1.0, scheme: Scheme = "equal",
    long_gross: float = 1.0, short_gross: float = 1.0, groups: Groups | None = None,
    universe: Values | Panel | None = None, rows: Array | None = None,
) -> TableT:  # fmt: skip
    """The best `long` names long and the last `short` ones short, as `Scores` forms them ([B1] to [B4] of
    semantics.md): with a panel as universe, the weights of `Scores(scores, ...).weights(panel)`.

    long, short: whole numbers of names, or fractions in (0, 1) of those ranked, of each group.   keep: a name stays
    until it falls out of the first keep*long (short) names.   scheme: "equal", or "rank" = the best of k has k parts.
    groups: a book of each, with an equal share of the gross: neutral by group where both sides are wanted alike.
    """
    given = locals()
    found = {name: check(name, given[name]) for name, check in RULES.items()}
    check_sides(found)
    tables, ranking = _ranking("top", scores, groups, universe)
    out = np.full(tables.shape, np.nan)
    for t, row in Ranked(ranking, book_of(found)).weights(_rows("top", rows, len(out))):
        out[t] = row
    return _back(scores, tables, out)


def quantiles(
    scores: TableT, q: int = 5, *, keep: float = 1.0, scheme: Scheme = "equal", long_gross: float = 1.0,
    short_gross: float = 1.0, groups: Groups | None = None, universe: Values | Panel | None = None,
    rows: Array | None = None,
) -> TableT:  # fmt: skip
    """The best of q parts long and the last one short: `top` with long and short 1/q, q >= 2 a whole number."""
    part = 1 / whole("q", q, 2, 10**6)
    return top(
        scores, part, part, keep=keep, scheme=scheme, long_gross=long_gross, short_gross=short_gross, groups=groups,
        universe=universe, rows=rows,
    )  # fmt: skip


def proportional(
    scores: TableT, by: Literal["score", "rank"] = "score", *, gross: float = 1.0, long_only: bool = False,
    groups: Groups | None = None, universe: Values | Panel | None = None, rows: Array | None = None,
) -> TableT:  # fmt: skip
    """W = (gross/g) * d/sum(|d|) with d = v - mean(v), over the ranked assets of a group: dollar neutral; g is the
    number of groups with a d other than 0 at this row.

    by: "score", v is the score; "rank", v = 0, 1, ... from the last place ([B1]) to the first.   long_only: d = max(v,
    0) of scores, v + 1 of ranks.   gross: sum(|W|) of a row, in (0, 1000], of one where some d is not 0.
    """
    by, gross = one_of("by", by, ("score", "rank")), RULES["long_gross"]("gross", gross)
    tables, ranking = _ranking("proportional", scores, groups, universe)
    values, alone = _floats(tables, "scores"), flag("long_only", long_only)
    out, decided = np.full(tables.shape, np.nan), _rows("proportional", rows, len(values)) & ranking.rows
    for t in np.flatnonzero(decided).tolist():
        counts, end = np.diff(ranking.starts[t]), ranking.starts[t, -1]
        names, of = ranking.order[t, :end].astype(np.int64), np.repeat(np.arange(len(counts)), counts)
        if by == "rank":
            v = np.repeat(ranking.starts[t, 1:], counts) - np.arange(end) - (0.0 if alone else 1.0)
        else:
            v = values[t, names] / (np.abs(values[t, names]).max() or 1.0)  # whose sums stay finite
        if alone:
            d = np.maximum(v, 0.0)
        else:
            first = np.repeat(v[np.minimum(ranking.starts[t, :-1], end - 1)], counts)  # equal ones less it are 0
            d = v - first
            d -= (np.bincount(of, d, len(counts)) / np.maximum(counts, 1))[of]
        sums = np.bincount(of, np.abs(d), len(counts))
        share = gross / max(1, int(np.count_nonzero(sums)))
        out[t] = 0.0
        out[t, names] = share * d / np.where(sums > 0, sums, 1.0)[of]
        out[t, (ranking.delisted_at >= 0) & (ranking.delisted_at <= t)] = np.nan
    return _back(scores, tables, out)


def inverse_volatility(weights: TableT, volatility: Values) -> TableT:
    """The names of each side share its gross by 1/volatility: W = side * gross * (1/volatility)/sum(1/volatility).

    A name whose volatility is 0 or NaN gets 0 where others of its side have one; a side without any is left as it is.
    NaN weights stay. volatility: >= 0, of any unit, such as `volatility` gives.
    """
    tables = opened("inverse_volatility", weights=weights, volatility=volatility)
    host = dataclasses.replace(tables, xp=np, arrays={name: _on_host(x) for name, x in tables.arrays.items()})

    def work(rows: slice) -> np.ndarray:
        w, v = _floats(host, "weights", rows), _floats(host, "volatility", rows, 0.0)
        for side in (w > 0, w < 0):
            known = side & (v > 0)
            share = np.where(known, np.where(known, v, np.inf).min(axis=1, keepdims=True) / v, 0.0)
            total, gross = (x.sum(axis=1, keepdims=True) for x in (share, np.where(side, w, 0.0)))
            w = np.where(side & (total > 0), gross * share / total, w)
        return w

    return _back(weights, tables, host.by_rows(work, np.float64))


def cap_groups(weights: TableT, groups: Groups, cap: float, *, spread: bool = False) -> TableT:
    """Weights of which no group has more than cap of the book's gross sum(|W|), NaN = 0; cap in (0, 1].

    A group above that is scaled down to it, and what is cut is cash. spread: instead the other groups are scaled up,
    all by one factor but none beyond the cap, so that the gross is kept, or each group has cap of it, if fewer than
    1/cap have names. Names of no group stay as they are; NaN stays NaN.
    """
    limit, spread, tables = real(cap), flag("spread", spread), opened("cap_groups", weights=weights)
    if not 0 < limit <= 1:
        must_be("cap", cap, "a fraction of the gross in (0, 1]")
    if groups is None:
        must_be("groups", groups, "a label for each asset")
    w, codes = _floats(tables, "weights"), _on_host(tables.codes(groups))
    t_count, many = len(w), int(codes.max(initial=-1)) + 1
    place = np.where(codes < 0, many, codes) + np.zeros((t_count, 1), np.int64)
    sizes, cells = np.abs(np.nan_to_num(w)), place + (many + 1) * np.arange(t_count)[:, None]
    of = np.bincount(cells.ravel(), sizes.ravel(), (many + 1) * t_count).reshape(t_count, many + 1)
    most, of = limit * of.sum(axis=1, keepdims=True), of[:, :many]
    new = np.minimum(of, most)
    if spread and many:
        falling = -np.sort(-of, axis=1)  # the first i groups are capped, and the others share what these leave
        i, whole_sum = np.arange(many), of.sum(axis=1, keepdims=True)
        rest = np.cumsum(falling[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = (whole_sum - i * most) / rest
            fits = (rest > 0) & (factor * falling <= most)
            chosen = np.take_along_axis(factor, fits.argmax(axis=1)[:, None], 1)
            full = np.where(of > 0, most, 0.0)  # where fewer than 1/cap have names
            scaled = np.where(fits.any(axis=1, keepdims=True), np.minimum(chosen * of, most), full)
        new = np.where((of > most).any(axis=1, keepdims=True), scaled, of)
    by = np.append(np.divide(new, of, out=np.ones_like(of), where=of > 0), np.ones((t_count, 1)), axis=1)
    return _back(weights, tables, w * np.take_along_axis(by, place, 1))


def tranches(weights: TableT, n: int) -> TableT:
    """At each row that is decided the mean of the last n books that were, this one among them: n overlapping tranches,
    each with 1/n of the money. Before there are n, the oldest are cash. A name that is NaN in an earlier book counts as
    0 there; rows and names that are NaN stay so."""
    n, tables = whole("n", n), opened("tranches", weights=weights)
    w = _floats(tables, "weights")
    books = ~np.isnan(w).all(axis=1)
    out, given = np.full(w.shape, np.nan), np.nan_to_num(w[books])
    if len(given):
        n_rows = min(n, len(given))
        early = np.zeros((n_rows - 1, w.shape[1]))
        sums = rolling_sum(np.concatenate([early, given]), n_rows)[n_rows - 1 :]
        out[books] = np.where(np.isnan(w[books]), np.nan, sums / n)
    return _back(weights, tables, out)


def rows_only(weights: TableT, rows: Array) -> TableT:
    """The weights at (T,) bool rows, NaN at all others."""
    tables = opened("rows_only", weights=weights)
    w = _floats(tables, "weights")
    return _back(weights, tables, np.where(_rows("rows_only", rows, len(w))[:, None], w, np.nan))


def _on_host(array: Any) -> np.ndarray:
    return as_host("a table", array, PanelError)


def _floats(tables: Tables, name: str, rows: slice = slice(None), low: float = -np.inf) -> np.ndarray:
    """Rows of a table as float64 on the host, checked; in one order, so that its sums have the same bits."""
    return np.ascontiguousarray(_on_host(tables.cells(name, rows, low=low)[0]))


def _back(like: TableT, tables: Tables, out: np.ndarray) -> TableT:
    """A book as the table was that it was made of."""
    return tables.given_back(tables.beside(out), like)


def _rows(function: str, rows: Any, bars: int) -> np.ndarray:
    """(T,) bool."""
    found = np.ones(bars, bool) if rows is None else _on_host(rows)
    if found.dtype != bool or found.shape != (bars,):
        what = f"{function}: rows is of dtype {found.dtype} and shape {found.shape}"
        raise PanelError(f"{what}: pass (T,) = ({bars},) True and False, a row that decides is True")
    return found


def _ranking(function: str, scores: Any, groups: Any, universe: Any) -> tuple[Tables, Ranking]:
    """[B1] The table, and its ranking."""
    tables = opened(function, scores=scores)
    own = isinstance(universe, Panel)
    mask = tables.mask(universe)
    codes = None if groups is None else dense(_on_host(tables.codes(groups, universe)))
    listed = np.broadcast_to(np.True_, tables.shape) if mask is None else _on_host(mask)
    gone = universe.market.delisted_at if own else np.full(tables.shape[1], -1)
    return tables, ranking_of(_floats(tables, "scores"), listed, gone, codes)
