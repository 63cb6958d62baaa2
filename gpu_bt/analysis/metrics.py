# SPDX-License-Identifier: Apache-2.0
"""Statistics of equity rows: one NumPy function, the same for every engine.

Letters: K scenarios, T bars, n bars of one scenario until its end, C initial cash, E equity after a bar's mark,
r returns, A bars per year.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_bt.law.layout import MONEY

__all__ = ["drawdown", "equity_metrics", "infer_bars_per_year", "returns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: A standard deviation of returns up to this is the rounding of E/E and counts as none.
_NOISE = 2.0**-50
#: Cells of the equity rows that are worked on together: they stay in cache, and bound the memory of a large sweep.
_CELLS = 1 << 17
#: Conventional bars of a year; a spacing within 10 % of one of them means it.
_USUAL = (1.0, 4.0, 12.0, 26.0, 52.0, 252.0, 365.0)


def returns(equity: Floats, initial_cash: Floats | float) -> Floats:
    """Simple returns per bar, r[0] = E[0]/C - 1 and r[t] = E[t]/E[t-1] - 1, so that prod(1 + r) = E[-1]/C.

    equity: (..., T) money.   initial_cash: (...) or one number.   Gives (..., T) fractions; NaN where E[t] is NaN.
    """
    cash = np.broadcast_to(np.asarray(initial_cash, np.float64), equity.shape[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        before: Floats = np.concatenate([cash[..., None], equity[..., :-1]], axis=-1)
        return equity / before - 1.0


def drawdown(equity: Floats, initial_cash: Floats | float) -> Floats:
    """Fall from the running peak, E/peak - 1: 0 at a peak, -0.2 after a fall of 20 %, below -1 where E < 0.

    equity: (..., T) money.   initial_cash: (...) or one number, the first peak.
    Gives (..., T) fractions; NaN from the first NaN on.
    """
    peak = np.maximum(np.maximum.accumulate(equity, axis=-1), np.asarray(initial_cash, np.float64)[..., None])
    return equity / peak - 1.0


def equity_metrics(money: Floats, initial_cash: Floats | float, bars_per_year: Floats | float) -> dict[str, np.ndarray]:
    """The statistics of K scenarios, a (K,) array each.

    money: (len(MONEY), K, T) as in RawResult, or its first rows alone (equity, cash); NaN from a scenario's end on.
    initial_cash: C, (K,) or one number.   bars_per_year: A, for annualising, (K,) or one number.

    bars              n, the bars before the end, int64.
    final_equity      E of the last of them, money.
    total_return      E/C - 1; at most -1 for a bankrupt run.
    annual_return     CAGR, (E/C)**(A/n) - 1; -1 where E <= 0, inf where it leaves float64.
    volatility        std(r)*sqrt(A), the sample's standard deviation (ddof = 1).
    sharpe            mean(r)/std(r)*sqrt(A), no risk-free rate taken off (Sharpe 1994).
    sortino           mean(r)/sqrt(mean(min(r, 0)**2))*sqrt(A), required return 0 (Sortino and van der Meer 1991).
    max_drawdown      min(E/peak - 1) <= 0, the peak counted from C on.
    longest_drawdown  the most bars in a row below the peak, int64.
    calmar            annual_return/-max_drawdown (Young 1991).
    hit_rate          share of r > 0 among r != 0.
    Where all of the money is given, also
    turnover          one-way, per year: sum((buys + sells)/2)/mean(E)*A/n.
    total_costs       sum(commission + slippage), money.
    annual_costs      total_costs/mean(E)*A/n, a fraction per year.
    total_financing   sum(financing), money; > 0 is received.

    NaN where a formula has no value: n = 0 (all but int64 and sums), n < 2 (volatility, sharpe), no dispersion (sharpe;
    a standard deviation <= 2**-50 is rounding), no loss (sortino), no drawdown (calmar), no r != 0 (hit_rate),
    mean(E) <= 0 (turnover, annual_costs).
    Reproducible: a scenario's bits do not depend on its companions, nor on the layout of the array in memory.
    """
    cash = np.broadcast_to(np.asarray(initial_cash, np.float64), money.shape[1])
    per_year = np.broadcast_to(np.asarray(bars_per_year, np.float64), money.shape[1])
    step = max(1, _CELLS // money.shape[2])
    starts = range(0, len(cash), step)
    parts = [_few(money[:, k : k + step], cash[k : k + step], per_year[k : k + step]) for k in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _few(money: Floats, cash: Floats, per_year: Floats) -> dict[str, np.ndarray]:
    """`equity_metrics` of a few scenarios."""
    equity = np.ascontiguousarray(money[0])  # rows that NumPy adds in one order whatever the layout was
    alive = ~np.isnan(equity)
    count = np.count_nonzero(alive, axis=1)
    n = np.where(count > 0, count, np.nan)
    last = equity[np.arange(len(equity)), count - 1]
    r = np.where(alive, returns(equity, cash), 0.0)
    mean = r.sum(axis=1) / n
    deviation = np.sqrt(_ratio((np.where(alive, r - mean[:, None], 0.0) ** 2).sum(axis=1), n - 1))
    downside = np.sqrt((np.minimum(r, 0.0) ** 2).sum(axis=1) / n)
    with np.errstate(over="ignore"):  # a gain of a few bars, annualised
        annual = np.power(np.maximum(last / cash, 0.0), per_year / n) - 1.0
    falls = drawdown(equity, cash)
    deepest = np.fmin.reduce(falls, axis=1)
    place = np.arange(1, equity.shape[1] + 1)
    below = place - np.maximum.accumulate(np.where(falls < 0, 0, place), axis=1)  # bars since the last peak
    found = {
        "bars": count.astype(np.int64),
        "final_equity": last,
        "total_return": last / cash - 1.0,
        "annual_return": annual,
        "volatility": deviation * np.sqrt(per_year),
        "sharpe": mean / np.where(deviation > _NOISE, deviation, np.nan) * np.sqrt(per_year),
        "sortino": _ratio(mean, downside) * np.sqrt(per_year),
        "max_drawdown": deepest,
        "longest_drawdown": below.max(axis=1),
        "calmar": _ratio(annual, -deepest),
        "hit_rate": _ratio((r > 0).sum(axis=1), (r != 0).sum(axis=1)),
    }
    if len(money) < len(MONEY):
        return found
    total = {name: np.nansum(np.ascontiguousarray(row), axis=1) for name, row in zip(MONEY, money, strict=True)}
    years = per_year / n
    mean_equity = total["equity"] / n
    costs = total["commission"] + total["slippage"]
    return found | {
        "turnover": _ratio((total["buys"] + total["sells"]) / 2.0, mean_equity) * years,
        "total_costs": costs,
        "annual_costs": _ratio(costs, mean_equity) * years,
        "total_financing": total["financing"],
    }


def _ratio(above: Floats | Ints, below: Floats | Ints) -> Floats:
    """above/below, NaN where below is not > 0."""
    return above / np.where(below > 0, below, np.nan)


def infer_bars_per_year(microseconds: Ints) -> float:
    """Bars per year that the timestamps suggest, for annualising; `Config.bars_per_year` overrides it.

    microseconds: (T,) int64 since 1970, increasing; days are counted as they stand (UTC where there is a time zone).
    The median number of bars on a day that has any, times such days per year. These are counted over weekdays, 252 a
    year, or, where both Saturdays and Sundays have bars, over all days, 365 a year; within 10 % of 1, 4, 12, 26, 52,
    252 or 365 that number is taken. Fewer than 3 bars: 252.
    """
    if len(microseconds) < 3:
        return 252.0
    stamps = np.asarray(microseconds).view("datetime64[us]").astype("datetime64[D]")
    days, counts = np.unique(stamps, return_counts=True)
    weekend = [np.is_busday(days, weekmask=mask).any() for mask in ("Sat", "Sun")]
    year, week = (365.0, "1111111") if all(weekend) else (252.0, "1111100")
    span = max(1, np.busday_count(days[0], days[-1], weekmask=week))
    per_year = year * max(1, len(days) - 1) / span
    usual = min(_USUAL, key=lambda u: abs(per_year / u - 1.0))
    return float(np.median(counts)) * (usual if abs(per_year / usual - 1.0) < 0.1 else per_year)
