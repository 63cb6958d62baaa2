# SPDX-License-Identifier: Apache-2.0
"""Statistics of equity rows: one NumPy function, the same for every engine.

Letters: K scenarios, T bars, n bars of one scenario until its end, C opening capital, E equity after a bar's mark,
r returns, A bars per year.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

__all__ = ["DEFAULT_BARS_PER_YEAR", "METRICS", "drawdown", "equity_metrics", "infer_bars_per_year", "returns"]

#: Trading days of a year: what `infer_bars_per_year` answers where the timestamps say too little.
DEFAULT_BARS_PER_YEAR = 252.0
#: A standard deviation of returns up to this is the rounding of E/E and counts as none.
_NOISE = 2.0**-50
#: Elements of one block of rows: small enough to stay in cache, and it bounds the memory of a large sweep.
_BLOCK = 1 << 17
_DAY = 86_400_000_000

#: The metrics that need equity alone, in the order of `equity_metrics`.
METRICS = (
    "bars",
    "final_equity",
    "total_return",
    "annual_return",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "longest_drawdown",
    "calmar",
    "best_bar",
    "worst_bar",
    "hit_rate",
    "skew",
    "kurtosis",
)


def returns(equity: np.ndarray, initial_cash: np.ndarray | float) -> np.ndarray:
    """Simple returns per bar, r[0] = E[0]/C - 1 and r[t] = E[t]/E[t-1] - 1, so that prod(1 + r) = E[-1]/C.

    equity: (..., T) money.   initial_cash: (...) or one number.   Gives (..., T) fractions; NaN where E[t] is NaN.
    Row 0 of the equity stands after the first bar's mark. Where orders fill after the bar that decides, nothing is held
    then and r[0] is 0; with `same_close` it is what the first bar's trades cost.
    """
    equity = np.asarray(equity, np.float64)
    before = np.empty_like(equity)
    before[..., :1] = np.asarray(initial_cash, np.float64)[..., None]
    before[..., 1:] = equity[..., :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return equity / before - 1.0


def drawdown(equity: np.ndarray, initial_cash: np.ndarray | float | None = None) -> np.ndarray:
    """Fall from the running peak, E/peak - 1: 0 at a peak, -0.2 after a fall of 20 %, below -1 when E < 0.

    equity: (..., T) money.   initial_cash: (...) or one number, the first peak; None = the first bar's equity.
    Gives (..., T) fractions; NaN from the first NaN on.
    """
    equity = np.asarray(equity, np.float64)
    peak = np.maximum.accumulate(equity, axis=-1)
    if initial_cash is not None:
        peak = np.maximum(peak, np.asarray(initial_cash, np.float64)[..., None])
    with np.errstate(divide="ignore", invalid="ignore"):
        return equity / peak - 1.0


def equity_metrics(
    equity: np.ndarray,
    initial_cash: np.ndarray | float,
    bars_per_year: float,
    *,
    buys: np.ndarray | None = None,
    sells: np.ndarray | None = None,
    commission: np.ndarray | None = None,
    slippage: np.ndarray | None = None,
    financing: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The statistics of K scenarios, a (K,) array each. All but equity and initial_cash may be left out.

    equity, buys, sells, commission, slippage, financing: (K, T) money.   initial_cash: (K,) or one number.
    bars_per_year: A, for annualising.
    A scenario is cut off at its first NaN: n counts the bars before it, E is the equity of the last of them.

    bars              n, int64.
    final_equity      E, money.
    total_return      E/C - 1; at most -1 for a bankrupt run.
    annual_return     CAGR: (E/C)**(A/n) - 1; -1 where E <= 0, inf where it leaves float64.
    volatility        std(r)*sqrt(A), the sample's standard deviation (ddof = 1); n >= 2.
    sharpe            mean(r)/std(r)*sqrt(A), no risk-free rate taken off (Sharpe 1994).
    sortino           mean(r)/sqrt(mean(min(r, 0)**2))*sqrt(A), required return 0 (Sortino and van der Meer 1991).
    max_drawdown      min(E/peak - 1) <= 0, the peak counted from C on.
    longest_drawdown  the most bars in a row below the peak, int64.
    calmar            annual_return/-max_drawdown (Young 1991).
    best_bar, worst_bar   max(r), min(r).
    hit_rate          share of r > 0 among r != 0.
    skew, kurtosis    m3/m2**1.5 and m4/m2**2 - 3, moments about the mean over n.
    turnover          one-way, per year: sum((buys + sells)/2)/mean(E)*A/n; with buys and sells.
    total_costs       sum(commission + slippage), money; with commission and slippage.
    annual_costs      total_costs/mean(E)*A/n, a fraction per year.
    total_financing   sum(financing), money; > 0 is received; with financing.

    NaN where a formula has no value: n = 0 (all but the counts), n < 2 (volatility, sharpe), no dispersion (sharpe,
    skew, kurtosis; a standard deviation <= 2**-50 is rounding), no loss (sortino), no drawdown (calmar), no r != 0
    (hit_rate), mean(E) <= 0 (turnover, annual_costs).
    Reproducible: a scenario's numbers do not depend on its companions, on K, or on the NaN that follow its end.
    """
    equity = np.ascontiguousarray(equity, np.float64)
    scenarios = equity.shape[0]
    cash = np.ascontiguousarray(np.broadcast_to(np.asarray(initial_cash, np.float64), (scenarios,)))
    flows = {"turnover": (buys, sells), "total_costs": (commission, slippage), "total_financing": (financing,)}
    flows = {name: parts for name, parts in flows.items() if all(part is not None for part in parts)}
    names = [*METRICS, *flows, *(["annual_costs"] if "total_costs" in flows else [])]
    out = {name: np.full(scenarios, np.nan) for name in names}
    out["bars"] = _bars(equity)
    out["longest_drawdown"] = np.zeros(scenarios, np.int64)
    for rows, n in _blocks(out["bars"]):
        values = np.ascontiguousarray(equity[rows, :n])
        sums = {name: sum(_sum(part, rows, n) for part in parts) for name, parts in flows.items()}
        found = _of_equity(values, cash[rows], float(bars_per_year))
        found |= _of_flows(sums, values.sum(axis=1) / n, bars_per_year / n)
        for name, column in found.items():
            out[name][rows] = column
    return out


def _blocks(bars: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Rows that end at the same bar n > 0, and n; few enough at a time for a block."""
    for n in np.unique(bars[bars > 0]).tolist():
        group = np.flatnonzero(bars == n)
        step = max(1, _BLOCK // n)
        for start in range(0, len(group), step):
            yield group[start : start + step], n


def _sum(part: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """(k,) sums over n bars; contiguous rows, so that NumPy adds in one order whatever the layout of `part` is."""
    return np.ascontiguousarray(np.asarray(part)[rows, :n], np.float64).sum(axis=1)


def _growth(ratio: float, exponent: float) -> float:
    """ratio**exponent - 1; infinite where a few bars of gain, annualised, leave float64."""
    if ratio <= 0:
        return -1.0
    try:
        return math.pow(ratio, exponent) - 1.0
    except OverflowError:
        return math.inf


def _bars(equity: np.ndarray) -> np.ndarray:
    """(K,) bars before the first NaN."""
    missing = np.isnan(equity)
    if not equity.shape[1]:
        return np.zeros(len(equity), np.int64)
    return np.where(missing.any(axis=1), missing.argmax(axis=1), equity.shape[1]).astype(np.int64)


def _of_equity(equity: np.ndarray, cash: np.ndarray, per_year: float) -> dict[str, np.ndarray]:
    """METRICS of (k, n) rows without NaN."""
    n = equity.shape[1]
    last = equity[:, -1]
    r = returns(equity, cash)
    mean = r.sum(axis=1) / n
    around = r - mean[:, None]
    square = around * around
    m2 = square.sum(axis=1) / n
    deviation = np.sqrt(square.sum(axis=1) / (n - 1)) if n > 1 else np.full(len(equity), np.nan)
    loss = np.minimum(r, 0.0)
    downside = np.sqrt((loss * loss).sum(axis=1) / n)
    year = math.sqrt(per_year)
    # A scalar power: an array's may be another routine on another processor, and depend on the row's place in it.
    growth = np.array([_growth(g, per_year / n) for g in (last / cash).tolist()])
    falls = drawdown(equity, cash)
    deepest = falls.min(axis=1)
    wins, moves = (r > 0).sum(axis=1), (r != 0).sum(axis=1)
    quiet = ~(np.sqrt(m2) > _NOISE)
    m2 = np.where(quiet, np.nan, m2)
    deviation_or_nan = np.where(quiet, np.nan, deviation)
    return {
        "final_equity": last,
        "total_return": last / cash - 1.0,
        "annual_return": growth,
        "volatility": deviation * year,
        "sharpe": mean / deviation_or_nan * year,
        "sortino": mean / np.where(downside > 0, downside, np.nan) * year,
        "max_drawdown": deepest,
        "longest_drawdown": _longest(falls < 0),
        "calmar": growth / np.where(deepest < 0, -deepest, np.nan),
        "best_bar": r.max(axis=1),
        "worst_bar": r.min(axis=1),
        "hit_rate": wins / np.where(moves > 0, moves, np.nan),
        "skew": (square * around).sum(axis=1) / n / (m2 * np.sqrt(m2)),
        "kurtosis": (square * square).sum(axis=1) / n / (m2 * m2) - 3.0,
    }


def _of_flows(sums: dict[str, np.ndarray], mean: np.ndarray, years: float) -> dict[str, np.ndarray]:
    """The metrics of money moved, given their (k,) sums, the mean equity and A/n."""
    out = dict(sums)
    mean = np.where(mean > 0, mean, np.nan)
    if "turnover" in sums:
        out["turnover"] = sums["turnover"] / 2.0 / mean * years
    if "total_costs" in sums:
        out["annual_costs"] = sums["total_costs"] / mean * years
    return out


def _longest(below: np.ndarray) -> np.ndarray:
    """(k,) length of the longest run of True in each row of (k, n)."""
    place = np.arange(1, below.shape[1] + 1)
    return (place - np.maximum.accumulate(np.where(below, 0, place), axis=1)).max(axis=1)


def infer_bars_per_year(microseconds: np.ndarray) -> float:
    """Bars per year that the spacing of the timestamps suggests, for annualising; `Config.bars_per_year` overrides it.

    microseconds: (T,) int64 since 1970, increasing; days are counted as they stand (UTC where there is a time zone).
    Fewer than 3 bars: 252. Else, with the median number of bars on the days that have any:
    - more than 1 (intraday): that number times the days of a year below;
    - 1, and the median gap is one day, or one from Monday to Friday (Friday to Monday): daily, the days of a year;
    - else by the median gap in days: 5..9 weekly 52, 12..16 fortnightly 26, 26..35 monthly 12, 80..100 quarterly 4,
      350..380 yearly 1; any other 365.25 days over the mean gap.
    Days of a year: 365 where Saturdays and Sundays both appear and more than 6 of 7 days have bars (crypto), else 252.
    """
    stamps = np.asarray(microseconds, np.int64)
    if len(stamps) < 3:
        return DEFAULT_BARS_PER_YEAR
    days, counts = np.unique(stamps // _DAY, return_counts=True)
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    dense = len(days) / float(days[-1] - days[0] + 1) > 6 / 7
    year = 365.0 if dense and (weekday == 5).any() and (weekday == 6).any() else DEFAULT_BARS_PER_YEAR
    each = float(np.median(counts))
    if each > 1.0:
        return each * year
    gaps = np.diff(stamps) / _DAY
    gap = float(np.median(gaps))
    dates = days.astype("datetime64[D]")
    if gap <= 1.5 or np.median(np.busday_count(dates[:-1], dates[1:])) <= 1:
        return year
    spans = ((5, 9, 52.0), (12, 16, 26.0), (26, 35, 12.0), (80, 100, 4.0), (350, 380, 1.0))
    for low, high, per_year in spans:
        if low <= gap <= high:
            return per_year
    return 365.25 / float(gaps.mean())
