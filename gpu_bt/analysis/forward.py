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
    window = _Window(market, execution, delist_after, first, last, max(horizons))
    for h in horizons:
        yield window.returns(h)


class _Window:
    """What the returns of `rows` bars over at most `longest` more are made of, by bar from the first entry on."""

    @np.errstate(over="ignore", invalid="ignore")  # of absurd splits and dividends
    def __init__(self, market: Market, execution: str, delist_after: int, first: int, last: int, longest: int) -> None:
        field, start = price_of(execution), first + (execution != "same_close")
        stop = min(len(market.clock), start + last - first + longest)
        self.market, self.rows, bars = market, last - first, slice(start, stop)
        self.price, self.mark = prices(market, field, 0.0).values[bars], marks(market, 0.0)[bars]
        self.shares, self.paid = _of_one_share(market, start, stop)
        self.worth = self.shares * (self.mark if field == "close" else self.price)
        if field != "close":
            np.copyto(self.worth[1:], self.shares[:-1] * self.mark[:-1], where=np.isnan(self.price[1:]))
        self.settled = _settlements(market, delist_after, start, stop)
        gone = market.delisted_at
        self.entered = ~np.isnan(self.price) & ((gone < 0) | (np.arange(start, stop)[:, None] < gone))

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def returns(self, h: int) -> np.ndarray:
        """(B, N) returns over h bars."""
        rows = max(0, min(self.rows, len(self.price) - h))  # whose exits lie in the panel
        found = np.full((self.rows, self.price.shape[1]), np.nan)
        value = self.worth[h : h + rows] + (self.paid[h : h + rows] - self.paid[:rows])  # exactly 0 without dividends
        if self.settled is not None:
            k, i = np.nonzero(self.settled[1 : rows + 1] <= np.arange(h, h + rows)[:, None])
            s = self.settled[k + 1, i]
            back = self.market.delisting_return[i] if self.market.delisting_return is not None else 0.0
            value[k, i] = self.paid[s, i] - self.paid[k, i] + self.shares[s - 1, i] * self.mark[s - 1, i] * (1 + back)
        gain = value / (self.shares[:rows] * self.price[:rows]) - 1
        np.copyto(found[:rows], gain, where=self.entered[:rows] & np.isfinite(gain))
        return found


def _of_one_share(market: Market, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """[S2] After each bar, shares and dividends of one share that was there before the first of them, but for what that
    one pays; only what they are beside each other counts."""
    shape = stop - start, market.shape[1]
    shares, paid = np.broadcast_to(1.0, shape), np.broadcast_to(0.0, shape)
    if market.split is not None:
        shares = np.cumprod(market.split[start:stop], axis=0, dtype=np.float64)
    if market.dividend is not None:
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
