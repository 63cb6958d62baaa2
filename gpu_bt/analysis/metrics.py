# SPDX-License-Identifier: Apache-2.0
"""Statistics of equity rows: one NumPy function, the same for every engine.

Letters: K scenarios, T bars, n bars of one scenario until its end, C initial cash, E equity after a bar's mark,
r returns, A bars per year.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_bt.analysis.elementary import power
from gpu_bt.errors import ConfigError
from gpu_bt.law.layout import MONEY

__all__ = ["drawdown", "equity_metrics", "given", "idle_start", "returns", "rounding_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: A return up to this may be the rounding of E/E in float64.
_RATIO = 2.0**-50
#: Cells of the equity rows that are worked on together: they stay in cache, and bound the memory of a large sweep.
_CELLS = 1 << 17


def given(
    name: str, values: Any, shape: tuple[int, ...] | None = None, rule: str = "", ok: Callable[[Any], Any] | None = None
) -> Floats:
    """An argument as float64, of a shape where one is given. Raises ConfigError for what holds no numbers (bool, text,
    complex, objects), is infinite, is not `ok` (in words, the `rule`) or does not fit the shape; NaN may stand where
    there is no rule. Masked values are NaN."""
    try:
        found = np.asanyarray(values)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} holds rows of several lengths: pass an array of numbers") from None
    if found.dtype.kind not in "fiu":
        raise ConfigError(f"{name} holds no numbers, but {found.dtype}: pass numbers, NaN for what is missing")
    if isinstance(found, np.ma.MaskedArray):
        found = np.ma.filled(np.ma.asarray(found, np.float64), np.nan)
    with np.errstate(over="ignore"):  # a longer float becomes infinite
        found = np.asarray(found, np.float64)
    if shape is not None and found.shape not in ((), shape):
        raise ConfigError(
            f"{name} has shape {found.shape}: it must be one number{f', or {shape} of them' * bool(shape)}"
        )
    wrong = np.isinf(found) if ok is None else ~ok(found) | np.isinf(found)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        where = str(list(place)) if place else ""
        raise ConfigError(
            f"{name}{where} is {found[place]:.17g}: it must be {rule or 'finite, or NaN for what is missing'}"
        )
    return found if shape is None else np.broadcast_to(found, shape)


def returns(equity: ArrayLike, initial_cash: ArrayLike) -> Floats:
    """Simple returns per bar, r[0] = E[0]/C - 1 and r[t] = E[t]/E[t-1] - 1, so that prod(1 + r) = E[-1]/C.

    equity: (..., T) money.   initial_cash: (...) or one number.   Gives (..., T) fractions; NaN where E[t] is NaN or
    what it is a share of is not > 0; inf where it leaves float64.   Raises ConfigError for what is no finite number.
    """
    rows = _rows(equity)
    return _returns(rows, given("initial_cash", initial_cash, rows.shape[:-1]))


def _returns(equity: Floats, cash: Floats) -> Floats:
    with np.errstate(all="ignore"):
        before: Floats = np.concatenate([cash[..., None], equity[..., :-1]], axis=-1)
        return equity / np.where(before > 0, before, np.nan) - 1.0


def _rows(equity: ArrayLike) -> Floats:
    """(..., T) float64, checked."""
    rows = given("equity", equity)
    if not rows.ndim:
        raise ConfigError("equity is one number: it must be (..., T) of them, one per bar")
    return rows


def drawdown(equity: ArrayLike, initial_cash: ArrayLike) -> Floats:
    """Fall from the running peak, E/peak - 1: 0 at a peak, -0.2 after a fall of 20 %, below -1 where E < 0.

    equity: (..., T) money.   initial_cash: (...) or one number, the first peak.
    Gives (..., T) fractions; NaN from the first NaN on, and where the peak is not > 0.   Raises as `returns` does.
    """
    rows = _rows(equity)
    cash = given("initial_cash", initial_cash, rows.shape[:-1])
    with np.errstate(all="ignore"):
        peak = np.maximum(np.maximum.accumulate(rows, axis=-1), cash[..., None])
        return rows / np.where(peak > 0, peak, np.nan) - 1.0


def rounding_of(tick: ArrayLike, assets: int = 1) -> Floats:
    """How far the ledger's rounding can move an equity between two bars, tick*(1 + 2*assets), money.

    tick: the ledger's grid, money, >= 0.   assets: that may be held.
    Each amount of money is rounded by half a tick at most; an asset has one at the mark before, one at this mark and
    its flows between them. Equal holdings are rounded alike, so that errors add up: no square root of their number.
    """
    with np.errstate(over="ignore"):
        grid = given("tick", tick, None, "a number >= 0", lambda x: x >= 0)
        return grid * (1.0 + 2.0 * given("assets", assets, (), "a whole number >= 0", _whole))


def equity_metrics(
    money: ArrayLike, initial_cash: ArrayLike, bars_per_year: ArrayLike, *, start: ArrayLike = 0,
    rounding: ArrayLike | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The statistics of K scenarios, a (K,) array each.

    money: (len(MONEY), K, T) as in RawResult, or its first rows alone (equity, cash); NaN from a scenario's end on.
    initial_cash: C, (K,) or one number.   bars_per_year: A, for annualising, (K,) or one number.
    start: the first bar that counts, (K,) or one number; C is then the equity of the bar before it, and nothing below
    knows of earlier bars.
    rounding: d, money that the ledger's rounding can move E by from bar to bar, (K,) or one number; None = that of one
    asset in a ledger opened with C (`rounding_of`). A move within it is none: let e = 2**-50 + d/E of the bar before;
    r within e of 0 is no gain and no loss, r of all bars within their e of one number have no dispersion (a first bar
    without a move aside, as no time passes before it), and E less than d below its peak is at the peak.

    bars              n, the bars before the end, int64.
    final_equity      E of the last of them, money.
    total_return      E/C - 1; at most -1 for a bankrupt run.
    annual_return     CAGR, (E/C)**(A/n) - 1; -1 where E <= 0, inf where it leaves float64.
    volatility        std(r)*sqrt(A), the sample's standard deviation (ddof = 1); 0 without dispersion.
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

    NaN where a formula has no value: n = 0 (all but int64 and sums), n < 2 (volatility, sharpe), no dispersion
    (sharpe), no loss (sortino), no drawdown (calmar), no r != 0 (hit_rate), mean(E) <= 0 (turnover, annual_costs), C
    not > 0 (all but final_equity, int64 and sums), a sum of squares that leaves float64 (sharpe, sortino).
    Raises ConfigError for what is no number, infinite, of another shape, or NaN before a scenario's end.
    Reproducible: a scenario's bits do not depend on its companions, on the layout of the array in memory, nor on the
    processor.
    """
    money = given("money", money)
    if money.ndim != 3 or 0 in money.shape or len(money) > len(MONEY):
        raise ConfigError(f"money has shape {money.shape}: it must be (up to {len(MONEY)}, K, T), each 1 at least")
    each = money.shape[1:2]
    cash = given("initial_cash", initial_cash, each)
    per_year = given("bars_per_year", bars_per_year, each, "a number > 0", lambda x: x > 0)
    first = given("start", start, each, "a bar, 0 to T", lambda x: _whole(x) & (x <= money.shape[2]))
    grid = rounding_of(np.ldexp(1.0, np.frexp(cash)[1] - 37)) if rounding is None else rounding
    grid = given("rounding", grid, each, "a number >= 0", lambda x: x >= 0)
    more: list[NDArray[Any]] = [per_year, first.astype(np.int64), grid]
    step = max(1, _CELLS // money.shape[2])
    starts = range(0, len(cash), step)
    with np.errstate(all="ignore"):  # what a formula cannot give is NaN or inf, as documented
        parts = [_few(money[:, k : k + step], cash[k : k + step], *(x[k : k + step] for x in more)) for k in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _few(money: Floats, cash: Floats, per_year: Floats, start: Ints, grid: Floats) -> dict[str, np.ndarray]:
    """`equity_metrics` of a few scenarios."""
    equity = np.ascontiguousarray(money[0])  # rows that NumPy adds in one order whatever the layout was
    rows, bars = np.arange(len(equity)), np.arange(equity.shape[1])
    early = bars < start[:, None]
    if early.any():
        cash = np.where(start > 0, equity[rows, start - 1], cash)
        equity = np.where(early, cash[:, None], equity)
    cash = np.where(cash > 0, cash, np.nan)
    alive = ~np.isnan(equity) & ~early
    if (alive[:, 1:] & ~alive[:, :-1] & ~early[:, :-1]).any():
        raise ConfigError("money[0] is NaN before a number: NaN may only stand from a scenario's end on")
    count = np.count_nonzero(alive, axis=1)
    n = np.where(count > 0, count, np.nan)
    last = equity[rows, start + count - 1]
    r = np.where(alive, _returns(equity, cash), 0.0)
    noise = _RATIO + grid[:, None] / np.concatenate([cash[:, None], equity[:, :-1]], axis=1)
    counts = alive & ~idle_start(r, noise, alive)
    still = np.where(counts, r - noise, -np.inf).max(axis=1) <= np.where(counts, r + noise, np.inf).min(axis=1)
    mean = r.sum(axis=1) / n
    deviation = np.sqrt(_ratio((np.where(alive, r - mean[:, None], 0.0) ** 2).sum(axis=1), n - 1))
    deviation = np.where(still & (n > 1), 0.0, deviation)
    downside = np.sqrt((np.where(r < -noise, r, 0.0) ** 2).sum(axis=1) / n)
    annual = power(np.maximum(last / cash, 0.0), per_year / n) - 1.0
    peak = np.maximum(np.maximum.accumulate(equity, axis=1), cash[:, None])
    falls = np.where(alive, np.where(peak - equity <= grid[:, None], 0.0, equity / peak - 1.0), np.nan)
    deepest = np.fmin.reduce(falls, axis=1)
    place = bars + 1
    below = place - np.maximum.accumulate(np.where(falls < 0, 0, place), axis=1)  # bars since the last peak
    found = {
        "bars": count.astype(np.int64),
        "final_equity": last,
        "total_return": last / cash - 1.0,
        "annual_return": annual,
        "volatility": deviation * np.sqrt(per_year),
        "sharpe": _ratio(mean, deviation) * np.sqrt(per_year),
        "sortino": _ratio(mean, downside) * np.sqrt(per_year),
        "max_drawdown": deepest,
        "longest_drawdown": below.max(axis=1),
        "calmar": _ratio(annual, -deepest),
        "hit_rate": _ratio((r > noise).sum(axis=1), (np.abs(r) > noise).sum(axis=1)),
    }
    if len(money) < len(MONEY):
        return found
    of_span = [np.where(early, np.nan, row) for row in money]
    total = {name: np.nansum(row, axis=1) for name, row in zip(MONEY, of_span, strict=True)}
    years = per_year / n
    mean_equity = total["equity"] / n
    costs = total["commission"] + total["slippage"]
    return found | {
        "turnover": _ratio((total["buys"] + total["sells"]) / 2.0, mean_equity) * years,
        "total_costs": costs,
        "annual_costs": _ratio(costs, mean_equity) * years,
        "total_financing": total["financing"],
    }


def idle_start(r: Floats, noise: Floats, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(K, T) bool: the first bar that counts, of three or more, where nothing moves in it. No time passes before the
    first bar of a run, so that it earns no interest, and says nothing of the dispersion of those that do."""
    first = alive & (np.cumsum(alive, axis=1) == 1)
    idle: NDArray[np.bool_] = first & (np.abs(r) <= noise) & (alive.sum(axis=1) > 2)[:, None]
    return idle


def _ratio(above: Floats | Ints, below: Floats | Ints) -> Floats:
    """above/below, NaN where below is not > 0, or infinite."""
    return above / np.where((below > 0) & (below < np.inf), below, np.nan)


def _whole(x: Floats) -> Any:
    return (x >= 0) & (x == np.floor(x))
