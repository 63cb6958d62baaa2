# SPDX-License-Identifier: Apache-2.0
"""The cross-sections of a factor study, bar by bar: correlations, quantiles and their returns, turnover, coverage.

Letters: T bars, N assets, B rows of a block, H horizons, Q quantiles, G groups (1 where there are none).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpu_bt.analysis.forward import forward_returns
from gpu_bt.analysis.ranks import average_ranks, row_correlation
from gpu_bt.config import Config
from gpu_bt.engine.ranked import Ranking
from gpu_bt.engine.spec import Market

__all__ = ["COVERAGE", "LASTING", "measure"]

#: What is lasting of quantiles and ranks, by bar and horizon.
LASTING = ("top_turnover", "bottom_turnover", "autocorrelation")
#: Counts of assets by bar.
COVERAGE = ("listed", "scored", "ranked", "in_quantiles", "with_return")
#: Cells of a block of rows: what is worked on at once.
_CELLS = 2**19


def measure(
    market: Market, scores: np.ndarray, ranking: Ranking, codes: np.ndarray | None, horizons: Sequence[int],
    quantiles: int, how: Config, demean: bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Name -> by bar: ic, assets, LASTING (T, H); means, counts (T, H, Q); group_ic and
    group_spread (T, H, G); COVERAGE (T,).   codes: (N,) or (T, N) group of each asset, -1 = none; None = no groups.
    how: execution and delist_after."""
    (t_count, n), h_count, g_count = market.shape, len(horizons), ranking.starts.shape[1] - 1
    found: dict[str, np.ndarray] = {}
    found |= {name: np.full((t_count, h_count), np.nan) for name in ("ic", *LASTING)}
    found |= {name: np.full((t_count, h_count, g_count), np.nan) for name in ("group_ic", "group_spread")}
    found |= {name: np.zeros(t_count, np.int64) for name in COVERAGE}
    found["means"] = np.full((t_count, h_count, quantiles), np.nan)
    found["counts"] = np.zeros((t_count, h_count, quantiles), np.int64)
    found["assets"] = np.zeros((t_count, h_count), np.int64)
    of, ranks = np.zeros((t_count, n), np.int16), np.full((t_count, n), np.nan, np.float32)
    step = max(1, _CELLS // n, max(horizons))
    for first in range(0, t_count, step):
        rows = slice(first, min(first + step, t_count))
        ranked = _places(ranking, rows, quantiles, of)
        block = {name: values[rows] for name, values in found.items()}
        own = np.where(ranked, scores[rows], np.nan)
        group = np.broadcast_to(0 if codes is None else codes[rows] if codes.ndim == 2 else codes, ranked.shape)
        ranks[rows] = known = average_ranks(own)
        _coverage(market, scores, rows, ranked, of, block)
        returns = forward_returns(market, how.execution, how.delist_after, rows.start, rows.stop, horizons)
        for k, got in enumerate(returns):
            got[~ranked] = np.nan
            if k == 0:
                block["with_return"][:] = np.count_nonzero(~np.isnan(got), axis=1)
                if (fewer := (block["with_return"] < block["ranked"])).any():
                    known[fewer] = average_ranks(np.where(np.isnan(got[fewer]), np.nan, own[fewer]))
            if demean:
                got -= _mean_of(got, group, g_count)
            block["ic"][:, k], block["assets"][:, k] = row_correlation(known, average_ranks(got))
            _quantile_returns(got, group, of[rows], k, block)
            for g in range(g_count if codes is not None else 0):
                here = (group == g).any(axis=0)
                x = np.where((group[:, here] == g) & ~np.isnan(got[:, here]), own[:, here], np.nan)
                y = np.where(np.isnan(x), np.nan, got[:, here])
                block["group_ic"][:, k, g] = row_correlation(average_ranks(x), average_ranks(y))[0]
        for k, h in enumerate(horizons):
            _lasting(of, ranks, rows, h, quantiles, [found[name][:, k] for name in LASTING])
    return found


def _places(ranking: Ranking, rows: slice, quantiles: int, of: np.ndarray) -> np.ndarray:
    """[B1] (B, N) bool, who is ranked; the quantile of each, 0 = none, into (T, N) `of`."""
    starts, n = ranking.starts[rows], ranking.order.shape[1]
    there = np.arange(n) < starts[:, -1:]
    size = np.diff(starts, axis=1)
    bar, asset = np.nonzero(there)[0], ranking.order[rows][there]
    many = np.repeat(size.ravel(), size.ravel()).astype(np.int64)
    place = np.arange(len(many)) - np.repeat(np.cumsum(size) - size.ravel(), size.ravel())
    quantile = np.maximum(1, -(-(many - 1 - place) * quantiles // np.maximum(many - 1, 1)))
    of[rows][bar, asset] = np.where(many < quantiles, 0, quantile)
    ranked = np.zeros(there.shape, bool)
    ranked[bar, asset] = True
    return ranked


def _coverage(
    market: Market, scores: np.ndarray, rows: slice, ranked: np.ndarray, of: np.ndarray, block: dict[str, np.ndarray]
) -> None:  # fmt: skip
    """Counts of assets."""
    listed = (market.delisted_at < 0) | (np.arange(rows.start, rows.stop)[:, None] < market.delisted_at)
    if market.universe is not None:
        listed = listed & market.universe[rows]
    cases = listed, listed & ~np.isnan(scores[rows]), ranked, of[rows] > 0
    for name, case in zip(COVERAGE, cases, strict=False):
        block[name][:] = np.count_nonzero(np.broadcast_to(case, ranked.shape), axis=1)


def _sums(values: np.ndarray, there: np.ndarray, *keys: tuple[np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of the values that are there, by row and keys (array of codes, how many there are)."""
    place, shape = np.nonzero(there)[0], [len(values)]
    for codes, many in keys:
        place = place * many + codes[there]
        shape.append(many)
    size = int(np.prod(shape))
    total, count = np.bincount(place, values[there], size), np.bincount(place, minlength=size)
    return total.reshape(shape), count.reshape(shape)


def _mean_of(got: np.ndarray, group: np.ndarray, many: int) -> np.ndarray:
    """(B, N) mean return of each asset's group."""
    total, count = _sums(got, ~np.isnan(got), (group, many))
    mean: np.ndarray = np.take_along_axis(total / np.maximum(count, 1), np.maximum(group, 0), axis=1)
    return mean


def _quantile_returns(got: np.ndarray, group: np.ndarray, of: np.ndarray, k: int, block: dict[str, np.ndarray]) -> None:
    """Means and counts by quantile, and the spread of each group, over the k-th horizon."""
    quantiles, groups = block["means"].shape[2], block["group_ic"].shape[2]
    there = ~np.isnan(got) & (of > 0)
    total, count = _sums(got, there, (group, groups), (of - 1, quantiles))
    with np.errstate(invalid="ignore"):
        block["means"][:, k] = total.sum(axis=1) / count.sum(axis=1)
        own = total / count
    block["counts"][:, k] = count.sum(axis=1)
    block["group_spread"][:, k] = own[:, :, -1] - own[:, :, 0]


def _lasting(
    of: np.ndarray, ranks: np.ndarray, rows: slice, h: int, quantiles: int, into: Sequence[np.ndarray]
) -> None:  # fmt: skip
    """Turnover of the top and the bottom quantile, and autocorrelation of ranks, over h bars."""
    now, then = slice(max(rows.start, h), rows.stop), slice(max(rows.start, h) - h, max(rows.stop - h, 0))
    if now.start >= now.stop:
        return
    for quantile, column in zip((quantiles, 1), into, strict=False):
        new, old = of[now] == quantile, of[then] == quantile
        names = np.count_nonzero(new, axis=1)
        fresh = np.count_nonzero(new & ~old, axis=1)
        column[now] = np.where((names > 0) & old.any(axis=1), fresh / np.maximum(names, 1), np.nan)
    into[2][now] = row_correlation(ranks[now].astype(np.float64), ranks[then].astype(np.float64))[0]
