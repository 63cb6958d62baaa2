# SPDX-License-Identifier: Apache-2.0
"""Seeded universes and target weights for demonstrations, tests and benchmarks. No signal is built in.

Letters: T bars, N assets, n the assets of one block, which are drawn together. Panels are made block by block, so that
the working memory is that of one block whatever N is.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_bt.arguments import dtype_name, flag, must_be, real, whole
from gpu_bt.data.panel import Panel
from gpu_bt.errors import ConfigError, PanelError

__all__ = ["momentum_weights", "random_weights", "synthetic_universe"]

_Floats = NDArray[np.float64]
_SECTORS = ("energy", "materials", "industrials", "consumer", "health", "financials", "technology", "utilities")
#: Assets drawn together; part of the seed's meaning: another size gives other prices.
_BLOCK = 256


def synthetic_universe(
    n_bars: int = 2520, n_assets: int = 5000, *, seed: int = 0, start: str = "2015-01-02", messy: bool = True,
    dtype: Any = np.float64,
) -> Panel:  # fmt: skip
    """A made-up daily stock universe: open, high, low, close and volume of `n_assets` over `n_bars` business days.

    Daily log return = beta*market + sector + idiosyncratic, each with fat tails (`z*(0.85 + 0.08*z^2)` of a normal z);
    the market drifts by 3 basis points a day. Nothing else in it is predictable: what a strategy earns here shows
    mechanics, not skill. `group` is the sector.

    messy=True adds what real files have: raw prices in cents with splits (2, 3 for one, one for ten) and quarterly
    dividends whose drops the prices show; late listings; delistings (`delisted_at`, `delisting_return`), some of them
    silent (prices just end); halts of 1 to 5 bars, bars without an open or without a close (NaN), bars without volume.
    messy=False: adjusted prices, every asset at every bar.

    n_bars: T in [2, 1,000,000].   n_assets: N >= 1, T*N <= 10**10.   seed: a whole number >= 0; the same seed gives the
    same panel with the same NumPy, on any processor.
    start: first business day.   dtype: float64 or float32.   Raises ConfigError for other values.
    """
    n_bars, n_assets = whole("n_bars", n_bars, 2, 10**6), whole("n_assets", n_assets)
    if n_assets > 10**10 // n_bars:
        must_be("n_assets", n_assets, f"at most {10**10 // n_bars:,} for {n_bars:,} bars")
    messy, seed, dtype = flag("messy", messy), whole("seed", seed, 0, math.inf), dtype_name(dtype, ConfigError)
    try:
        if not isinstance(start, (str, dt.date, np.datetime64)):
            raise TypeError(start)
        first = np.datetime64(start, "D")
        days = np.busday_offset(first, np.arange(n_bars), roll="forward").astype("datetime64[us]")
    except (TypeError, ValueError):
        must_be("start", start, "a date, such as '2015-01-02'")
    common, *seeds = np.random.SeedSequence(seed).spawn(1 + -(-n_assets // _BLOCK))
    shocks = _tails(np.random.default_rng(common).standard_normal((n_bars, 1 + len(_SECTORS))))
    market = 0.0003 + 0.009 * shocks[:, :1]
    sectors = 0.005 * shocks[:, 1:]
    sector = np.arange(n_assets) % len(_SECTORS)
    fields: dict[str, Any] = {}
    for i, child in enumerate(seeds):
        part = slice(i * _BLOCK, (i + 1) * _BLOCK)
        block = _block(np.random.default_rng(child), market, sectors[:, sector[part]], messy)
        for name, values in block.items():
            array = np.empty((*values.shape[:-1], n_assets), dtype if values.ndim == 2 else values.dtype)
            fields.setdefault(name, array)[..., part] = values
    for array in fields.values():
        array.flags.writeable = False  # a read-only array becomes part of the panel without a copy
    return Panel(
        **fields,
        timestamps=days,
        assets=[f"SYN{i:05d}" for i in range(n_assets)],
        group=[_SECTORS[s] for s in sector],
        prices="raw" if messy else "adjusted",
    )


def _tails(z: _Floats) -> _Floats:
    """Fat tails from a normal z: variance 1.23, kurtosis above 6."""
    return z * (0.85 + 0.08 * (z * z))


def _exp(x: Any) -> _Floats:
    """The exponential to 1e-15, of x in [-700, 700], with the same bits on every processor, which NumPy's has not."""
    twos = np.rint(x * 1.4426950408889634)
    rest = (x - twos * 0.693147180369123816490) - twos * 1.90821492927058770002e-10  # log(2) in two parts
    total = np.full_like(rest, 1 / math.factorial(13))
    for i in range(12, -1, -1):
        total *= rest
        total += 1 / math.factorial(i)
    result: _Floats = np.ldexp(total, twos.astype(np.int64))
    return result


def _block(rng: np.random.Generator, market: _Floats, sector: _Floats, messy: bool) -> dict[str, np.ndarray]:
    """The fields of one block of assets, (T, n) and (n,); market (T, 1) and sector (T, n) are their common returns."""
    shape = sector.shape
    n = sector.shape[1]
    vol = _exp(rng.normal(-4.135166556742356, 0.35, n))  # about 0.016
    returns = rng.normal(1.0, 0.3, n) * market + sector + vol * _tails(rng.standard_normal(shape))
    returns -= 0.6 * vol**2  # half the variance: a volatile stock earns no more, on average, than a calm one
    returns[0] = rng.normal(3.5553480614894135, 0.7, n)  # the first "return" is the level, about 35
    events = _corporate_actions(rng, returns) if messy else None
    close = _exp(np.cumsum(returns, axis=0))
    opening = close * _exp(0.7 * vol * rng.standard_normal(shape))
    money = _exp(rng.normal(15.89495209964411, 1.5, n))  # traded per day, about 8e6
    fields = {
        "close": close,
        "open": opening,
        "high": np.maximum(close, opening) * (1.0 + 0.6 * vol * rng.random(shape)),
        "low": np.minimum(close, opening) * (1.0 - 0.6 * vol * rng.random(shape)),
        "volume": np.rint(money / close * (0.3 + rng.exponential(0.7, shape))),
    }
    if events is not None:
        split, payout = events
        fields |= {"split": split, "dividend": np.rint(payout * np.roll(close, 1, axis=0) * 1e4) / 1e4}
        for name in ("close", "open", "high", "low"):
            fields[name] = np.maximum(np.rint(fields[name] * 100.0), 1.0) / 100.0
        _remove(rng, fields)
    return fields


def _corporate_actions(rng: np.random.Generator, returns: _Floats) -> tuple[_Floats, _Floats]:
    """Split ratios and dividends as fractions of the last close, (T, n); their drops go into `returns`, in place.

    Each asset has one bar at which it splits where its price is then above 60 or below 8. 40 % of the assets pay each
    quarter, never at the bar of a split, so that the order of the two does not matter.
    """
    T, n = returns.shape
    bar, asset = rng.integers(1, T, n), np.arange(n)
    price = _exp(np.cumsum(returns, axis=0)[bar - 1, asset])
    split, kinds = np.ones((T, n)), [price > 120, price > 60, price < 8]
    split[bar, asset] = np.select(kinds, [3.0, 2.0, 0.1], 1.0)
    returns[bar, asset] *= 0.2  # a calm day shows the split clearly
    returns[bar, asset] -= np.select(
        kinds, [1.0986122886681098, 0.6931471805599453, -2.302585092994046], 0.0
    )  # logarithms
    rate = np.where(rng.random(n) < 0.4, rng.uniform(0.002, 0.008, n), 0.0)
    quarterly = (np.arange(T)[:, None] - rng.integers(1, 63, n)) % 63 == 0  # never at bar 0
    payout = np.where(quarterly & (split == 1.0), rate, 0.0)
    drop = np.zeros((T, n))  # -log(1 - payout), by its series
    for i in range(8, 0, -1):
        drop = payout * (drop + 1 / i)
    returns -= drop
    return split, payout


def _remove(rng: np.random.Generator, fields: dict[str, np.ndarray]) -> None:
    """Late listings, delistings, halts and gaps, in place; adds `delisted_at` and `delisting_return`.

    A quarter of the assets list late; one in seven leaves, and so does every asset that closes below 1: half of the
    leavers are taken over, the others fail. One in ten is silent: its prices end and `delisted_at` says nothing.
    """
    T, n = fields["close"].shape
    bars = np.arange(T)[:, None]
    drawn = rng.random((T, n))
    first = np.where(rng.random(n) < 0.25, rng.integers(0, T, n), 0)
    last = np.where(rng.random(n) < 1 / 7, rng.integers(first + 1, T + 1), T)
    poor = (fields["close"] < 1.0) & (bars >= first)
    last = np.where(poor.any(axis=0), np.minimum(last, poor.argmax(axis=0) + 1), last)
    settled = np.where(rng.random(n) < 0.5, rng.uniform(0.0, 0.05, n), rng.uniform(-1.0, -0.3, n))
    told = (last < T) & (rng.random(n) < 0.9)
    fields["delisted_at"] = np.where(told, last, -1)
    fields["delisting_return"] = np.where(told, settled, 0.0)
    outside = (bars <= first) | (bars >= last)  # nobody can hold the asset before its first bar has passed
    fields["dividend"][outside] = 0.0
    fields["split"][outside] = 1.0
    halted = np.zeros((T, n), bool)
    for k in range(min(5, T)):  # a halt lasts 1 to 5 bars
        halted[k:] |= drawn[: T - k] < 0.0015 / (k + 1)
    gap = {"close": (drawn > 0.9992) & (drawn < 0.9996), "open": drawn > 0.9996, "high": False, "low": False}
    seen = fields["split"] == 1.0  # a split that falls into a gap cannot be seen in the prices
    seen[:-1] &= seen[1:]
    absent = (bars < first) | (bars >= last) | (halted & seen)
    for name, missing in gap.items():
        fields[name][absent | (missing & seen)] = np.nan
    fields["volume"][absent | ((drawn > 0.5) & (drawn < 0.504))] = 0.0


def momentum_weights(panel: Panel, *, lookback: int = 60, top: float = 0.1, every: int = 21) -> NDArray[np.float64]:
    """Equal weights in the best `top` fraction by close[t]/close[t - lookback], splits undone, dividends left out.

    Decides at bars lookback, lookback + every, ...; all other rows are NaN (no decision). In a deciding row a chosen
    name has weight 1/count, count = max(1, int(top * names with a score)), all others 0, also those without a price;
    names past their `delisted_at` are NaN. Ties go to the asset that comes first; a row without any score is NaN.

    lookback, every: bars >= 1.   top: fraction in (0, 1].   Returns (T, N) float64. Raises ConfigError for others.
    """
    lookback, every, top = whole("lookback", lookback), whole("every", every), _checked(panel, "top", top)
    close = panel.close.astype(np.float64)
    if panel.split is not None:
        close *= np.cumprod(panel.split, axis=0, dtype=np.float64)
    weights = np.full(close.shape, np.nan)
    for t in range(lookback, len(close), every):
        score = close[t] / close[t - lookback]
        scored = np.count_nonzero(~np.isnan(score))
        if scored:
            count = max(1, int(top * scored))
            weights[t] = 0.0
            weights[t, np.argsort(-score, kind="stable")[:count]] = 1.0 / count  # NaN sorts last
    return _without_delisted(weights, panel)


def random_weights(panel: Panel, density: float = 0.1, *, seed: int = 0, every: int = 1) -> NDArray[np.float64]:
    """Random long-only weights: at bars 0, every, ... the book is a `density` share of the names with a close, sum 1.

    Names are the best by an autoregressive score, score' = 0.9*score + sqrt(0.19)*normal, so that a part of the book
    changes at each decision. Names outside it are 0, names past their `delisted_at` and rows that do not decide NaN.

    density: in (0, 1].   every: bars >= 1.   Returns (T, N) float64. Raises ConfigError for others.
    """
    density, every, seed = _checked(panel, "density", density), whole("every", every), whole("seed", seed, 0, math.inf)
    rng = np.random.default_rng(seed)
    weights = np.full(panel.shape, np.nan)
    score = rng.standard_normal(panel.shape[1])
    for t in range(0, len(weights), every):
        score = 0.9 * score + np.sqrt(0.19) * rng.standard_normal(len(score))
        names = np.flatnonzero(~np.isnan(panel.close[t]))
        count = int(np.ceil(density * len(names)))
        chosen = names[np.argsort(-score[names])[:count]]
        size = rng.uniform(0.5, 1.5, len(score))[chosen]
        weights[t] = 0.0
        weights[t, chosen] = size / size.sum()
    return _without_delisted(weights, panel)


def _checked(panel: object, name: str, fraction: Any) -> float:
    """The fraction; refuses what is no panel, and what is no fraction."""
    if not isinstance(panel, Panel):
        must_be("panel", panel, "a gpu_bt.Panel", PanelError)
    if not 0 < real(fraction) <= 1:
        must_be(name, fraction, "a fraction in (0, 1]")
    return real(fraction)


def _without_delisted(weights: _Floats, panel: Panel) -> _Floats:
    """NaN from an asset's delisting on, in place: a target of 0 there would count as DELISTED at every decision."""
    gone = panel.delisted_at >= 0
    bars = np.arange(len(weights))[:, None]
    weights[gone & (bars >= panel.delisted_at)] = np.nan
    return weights
