# SPDX-License-Identifier: Apache-2.0
"""Statistics of equity rows: one NumPy function, the same for every engine.

Letters: K scenarios, T bars, n bars of one scenario until its end, C initial cash, E equity after a bar's mark,
r returns, A bars per year.
"""

from __future__ import annotations

import numpy as np

__all__ = ["drawdown", "equity_metrics", "infer_bars_per_year", "returns"]

#: A standard deviation of returns up to this is the rounding of E/E and counts as none.
_NOISE = 2.0**-50
#: Elements of one block of rows: it stays in cache, and it bounds the memory of a large sweep.
_BLOCK = 1 << 17
_DAY = 86_400_000_000


def returns(equity: np.ndarray, initial_cash: np.ndarray | float) -> np.ndarray:
    """Simple returns per bar, r[0] = E[0]/C - 1 and r[t] = E[t]/E[t-1] - 1, so that prod(1 + r) = E[-1]/C.

    equity: (..., T) money.   initial_cash: (...) or one number.   Gives (..., T) fractions; NaN where E[t] is NaN.
    """
    cash = np.broadcast_to(np.asarray(initial_cash, np.float64), equity.shape[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return equity / np.concatenate([cash[..., None], equity[..., :-1]], axis=-1) - 1.0


def drawdown(equity: np.ndarray, initial_cash: np.ndarray | float) -> np.ndarray:
    """Fall from the running peak, E/peak - 1: 0 at a peak, -0.2 after a fall of 20 %, below -1 where E < 0.

    equity: (..., T) money.   initial_cash: (...) or one number, the first peak.
    Gives (..., T) fractions; NaN from the first NaN on.
    """
    peak = np.maximum(np.maximum.accumulate(equity, axis=-1), np.asarray(initial_cash, np.float64)[..., None])
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
    """The statistics of K scenarios, a (K,) array each.

    equity: (K, T) money, NaN from a scenario's end on.   initial_cash: C, (K,) or one number.   bars_per_year: A.
    buys, sells, commission, slippage, financing: (K, T) money, all or none of them.

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
    With the money moved, also
    turnover          one-way, per year: sum((buys + sells)/2)/mean(E)*A/n.
    total_costs       sum(commission + slippage), money.
    annual_costs      total_costs/mean(E)*A/n, a fraction per year.
    total_financing   sum(financing), money; > 0 is received.

    NaN where a formula has no value: n = 0 (all but the int64), n < 2 (volatility, sharpe), no dispersion (sharpe; a
    standard deviation <= 2**-50 is rounding), no loss (sortino), no drawdown (calmar), no r != 0 (hit_rate),
    mean(E) <= 0 (turnover, annual_costs).
    Reproducible: a scenario's bits do not depend on its companions, nor on the order of the arrays in memory.
    """
    flows = {"buys": buys, "sells": sells, "commission": commission, "slippage": slippage, "financing": financing}
    given = {name: values for name, values in flows.items() if values is not None}
    cash = np.broadcast_to(np.asarray(initial_cash, np.float64), (len(equity),))
    step = max(1, _BLOCK // max(1, equity.shape[1]))
    parts = []
    for start in range(0, len(equity), step):
        rows = slice(start, start + step)
        # Contiguous rows, so that NumPy adds each one in the same order whatever the layout was.
        block, *moved = (np.ascontiguousarray(a[rows], np.float64) for a in (equity, *given.values()))
        part, mean_equity, years = _of_equity(block, cash[rows], bars_per_year)
        if len(given) == len(flows):
            sums = dict(zip(given, (np.nansum(a, axis=1) for a in moved), strict=True))
            part |= _of_flows(sums, mean_equity, years)
        n = part["bars"]
        parts.append({k: v if v.dtype == np.int64 else np.where(n > 0, v, np.nan) for k, v in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_equity(equity: np.ndarray, cash: np.ndarray, per_year: float) -> tuple[dict[str, np.ndarray], ...]:
    raise NotImplementedError
