# SPDX-License-Identifier: Apache-2.0
"""What a share bought after each bar has earned some bars later, as the law has it for a holder ([S2] to [S5]).

Letters: T bars, N assets, B rows, h a horizon in bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gpu_bt.engine.prepare import events, marks, price_of, prices
from gpu_bt.engine.spec import Market

__all__ = ["forward_returns"]


def forward_returns(
    market: Market, execution: str, delist_after: int, first: int, last: int, horizons: Sequence[int]
) -> Iterator[np.ndarray]:
    """For each horizon (B, N) returns of the bars t in [first, last), NaN = none.

    The entry is bar e = t + 1, or t with "same_close", at its price of the field that `execution` fills at; the exit is
    bar x = e + h at its price of the same field. With `p` prices, `m` marks, and of one share bought `q_b` shares and
    `c_b` dividends after bar b ([S2]: q_e = 1, c_e = 0, c_b = c_{b-1} + q_{b-1}*dividend_b, q_b = q_{b-1}*split_b):

        return = (c_x + q_x*p_x) / p_e - 1

    Without a price at the exit the mark is in its place: of closes that of bar x, else the one carried into it,
    q_{x-1}*m_{x-1}. Of an asset settled at a bar e < s <= x ([S3]) the return is
    (c_s + q_{s-1}*m_{s-1}*(1 + delisting_return)) / p_e - 1. Without a price at the entry, from `delisted_at` on, and
    where x is after the last bar, there is none, nor where it is beyond float64. Nothing after bar x enters it.
    """
    t_count, n = market.shape
    field, start = price_of(execution), first + (execution != "same_close")
    stop = min(t_count, start + last - first + max(horizons))  # bars of the window: entries, then exits
    price, mark = prices(market, field, 0.0).values[start:stop], marks(market, 0.0)[start:stop]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of absurd splits and dividends
        shares, paid = _of_one_share(market, start, stop)
        worth = shares * (mark if field == "close" else price)
        if field != "close":
            gaps = np.isnan(price[1:])
            np.copyto(worth[1:], shares[:-1] * mark[:-1], where=gaps)
        worth += paid
        settled = _settlements(market, delist_after, start, stop)
        entered = ~np.isnan(price) & ((market.delisted_at < 0) | (np.arange(start, stop)[:, None] < market.delisted_at))
        for h in horizons:
            rows = max(0, min(last - first, stop - start - h))
            found = np.full((last - first, n), np.nan)
            value = worth[h : h + rows]
            if settled is not None:
                value = value.copy()
                k, i = np.nonzero(settled[1 : rows + 1] <= np.arange(h, h + rows)[:, None])
                s = settled[k + 1, i]
                back = market.delisting_return[i] if market.delisting_return is not None else 0.0
                value[k, i] = paid[s, i] + shares[s - 1, i] * mark[s - 1, i] * (1 + back)
            gain = (value - paid[:rows]) / (shares[:rows] * price[:rows]) - 1
            np.copyto(found[:rows], gain, where=entered[:rows] & np.isfinite(gain))
            yield found


def _of_one_share(market: Market, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """[S2] After each bar, shares and dividends of one share that is there after the first of them."""
    shape = max(0, stop - start), market.shape[1]
    shares, paid = np.broadcast_to(1.0, shape), np.broadcast_to(0.0, shape)
    if market.split is not None and stop > start:
        ratio = market.split[start:stop].astype(np.float64)
        ratio[0] = 1.0
        shares = np.cumprod(ratio, axis=0)
    if market.dividend is not None and stop > start:
        amount = np.zeros(shape)
        np.multiply(shares[:-1], market.dividend[start + 1 : stop], out=amount[1:])
        paid = np.cumsum(amount, axis=0)
    return shares, paid


def _settlements(market: Market, delist_after: int, start: int, stop: int) -> np.ndarray | None:
    """[S3] Row of the next settlement at or after each row of a window, far away = none; None where there is none."""
    there = {s: assets for s, assets in events(market, delist_after).settled.items() if start < s < stop}
    if not there:
        return None
    rows = np.full((stop - start + 1, market.shape[1]), np.iinfo(np.int32).max, np.int32)
    for s, assets in there.items():
        rows[s - start, assets] = s - start
    found: np.ndarray = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    return found
