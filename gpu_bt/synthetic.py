# SPDX-License-Identifier: Apache-2.0
"""Seeded universes and target weights for demonstrations, tests and benchmarks. No signal is built in.

Letters: T bars, N assets, n the assets of one block. Panels are made a block of assets at a time, so that the working
memory is that of one block whatever N is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_bt.panel import Panel

__all__ = ["momentum_weights", "random_weights", "synthetic_universe"]

SECTORS = (
    "energy", "materials", "industrials", "consumer", "staples", "health",
    "financials", "technology", "communication", "utilities", "real estate",
)  # fmt: skip
#: Assets drawn together; part of the seed's meaning: another size gives other prices.
_BLOCK = 256
_FIELDS = ("close", "open", "high", "low", "volume", "dividend", "split")
_QUARTER = 63
_LOW, _HIGH = np.log(0.02), np.log(1e6)


class _Factors(NamedTuple):
    """What all assets share: `market` (T,), `sector` (T, S) daily log returns, `regime` (T,) scale of volatility."""

    market: np.ndarray
    sector: np.ndarray
    regime: np.ndarray


def synthetic_universe(
    n_bars: int = 2520,
    n_assets: int = 5000,
    *,
    seed: int = 0,
    start: str = "2015-01-02",
    messy: bool = True,
    dtype: Any = np.float64,
) -> Panel:
    """A made-up daily stock universe: open, high, low, close and volume of `n_assets` over `n_bars` business days.

    Daily log return = beta*market + loading*sector + idiosyncratic, each scaled by a slow volatility regime and with
    fat tails (`z*(0.85 + 0.08*z^2)` of a normal z); the market drifts by 3 basis points a day. Nothing else in it is
    predictable: what a strategy earns here shows mechanics, not skill. `group` is the sector.

    messy=True adds what real files have: raw prices in cents with splits (2, 3 for one, one for ten) and quarterly
    dividends whose drops the prices show; late listings; delistings (`delisted_at`, `delisting_return`), some of them
    silent (prices just end); halts of 1 to 5 bars, bars without an open or without a close (NaN), bars without volume.
    messy=False: adjusted prices, every asset at every bar.

    n_bars: T >= 2.   n_assets: N >= 1.   seed: the same seed gives the same panel with the same NumPy.
    start: first business day.   dtype: float64 or float32.   Raises ValueError for other sizes or types.
    """
    if n_bars < 2 or n_assets < 1:
        raise ValueError(f"synthetic_universe({n_bars}, {n_assets}): it needs at least 2 bars and 1 asset")
    dtype = np.dtype(dtype)
    if dtype not in (np.float64, np.float32):
        raise ValueError(f"dtype is {dtype}: it must be float64 or float32")
    days = np.busday_offset(np.datetime64(start, "D"), np.arange(n_bars), roll="forward")
    shared, *blocks = np.random.SeedSequence(seed).spawn(1 + -(-n_assets // _BLOCK))
    factors = _factors(np.random.default_rng(shared), n_bars)
    sector = np.arange(n_assets) % len(SECTORS)
    fields = _FIELDS if messy else _FIELDS[:5]
    out = {name: np.empty((n_bars, n_assets), dtype) for name in fields}
    delisted_at = np.full(n_assets, -1, np.int64)
    delisting_return = np.zeros(n_assets)
    for i, child in enumerate(blocks):
        part = slice(i * _BLOCK, min((i + 1) * _BLOCK, n_assets))
        block = _block(np.random.default_rng(child), factors, sector[part], messy)
        for name in fields:
            out[name][:, part] = block[name]
        if messy:
            delisted_at[part], delisting_return[part] = block["delisted_at"], block["delisting_return"]
    for array in out.values():
        array.flags.writeable = False  # a read-only array becomes part of the panel without a copy
    extra = {"delisted_at": delisted_at, "delisting_return": delisting_return, "prices": "raw"} if messy else {}
    return Panel(
        **out,
        timestamps=days.astype("datetime64[us]"),
        assets=[f"SYN{i:05d}" for i in range(n_assets)],
        group=[SECTORS[s] for s in sector],
        **extra,
    )


def _factors(rng: np.random.Generator, T: int) -> _Factors:
    kernel = np.exp(-np.arange(120) / 40.0)
    slow = np.convolve(rng.standard_normal(T + 119), kernel / np.sqrt((kernel**2).sum()), mode="valid")
    regime = np.exp(0.35 * slow)
    market = 0.0003 + 0.008 * regime * _tails(rng.standard_normal(T))
    sector = 0.005 * regime[:, None] * _tails(rng.standard_normal((T, len(SECTORS))))
    return _Factors(market, sector, regime)


def _tails(z: np.ndarray) -> np.ndarray:
    """Fat tails from a normal z: variance 1.23, kurtosis above 6."""
    return z * (0.85 + 0.08 * (z * z))


def _block(rng: np.random.Generator, factors: _Factors, sector: np.ndarray, messy: bool) -> dict[str, np.ndarray]:
    """The fields of one block of assets as (T, n) float64, events included where messy."""
    T, n = len(factors.market), len(sector)
    beta, loading = rng.normal(1.0, 0.3, n), rng.uniform(0.5, 1.5, n)
    vol = np.exp(rng.normal(np.log(0.016), 0.35, n)) * factors.regime[:, None]
    returns = vol * _tails(rng.standard_normal((T, n)))
    returns += beta * factors.market[:, None] + loading * factors.sector[:, sector]
    returns -= 0.6 * (vol * vol)  # half the variance: a volatile stock earns no more, on average, than a calm one
    returns[0] = rng.normal(np.log(35.0), 0.7, n)  # the first "return" is the level
    events = _corporate_actions(rng, returns) if messy else {}
    np.cumsum(returns, axis=0, out=returns)
    level = np.clip(returns, _LOW, _HIGH)
    intraday = vol * (0.7 * rng.standard_normal((T, n)))
    close, opening = np.exp(level), np.exp(np.clip(level - intraday, _LOW, _HIGH))
    fields = _bars(rng, close, opening, vol, cents=messy)
    if messy:
        fields |= events
        _lifetimes(rng, fields)
        _gaps(rng, fields)
    return fields


def _corporate_actions(rng: np.random.Generator, returns: np.ndarray) -> dict[str, np.ndarray]:
    """Splits and dividends, (T, n); their drops go into `returns`, in place.

    A split comes at up to three drawn bars, where the price then is above 90 or below 5; a payer's dividend is a fixed
    fraction of the last close, each quarter. Never both in one bar, so that the order of the two does not matter.
    """
    T, n = returns.shape
    path = np.cumsum(returns, axis=0)
    split, shift, last = np.ones((T, n)), np.zeros(n), np.zeros(n, np.int64)
    for bar in np.sort(rng.integers(1, T, (3, n)), axis=0):
        price = np.exp(path[bar - 1, np.arange(n)] - shift)
        ratio = np.select([bar == last, price > 180, price > 90, price < 5], [1.0, 3.0, 2.0, 0.1], 1.0)
        hit = np.flatnonzero(ratio != 1.0)
        split[bar[hit], hit] = ratio[hit]
        returns[bar[hit], hit] = 0.2 * returns[bar[hit], hit] - np.log(ratio[hit])  # a calm day shows the split clearly
        shift += np.log(ratio)
        last = np.where(ratio != 1.0, bar, last)
    payer, offset = rng.random(n) < 0.4, rng.integers(1, _QUARTER + 1, n)
    rate = rng.uniform(0.002, 0.008, n)
    pays = payer & ((np.arange(T)[:, None] - offset) % _QUARTER == 0) & (split == 1.0)
    pays[0] = False
    row, column = np.nonzero(pays)
    returns[row, column] += np.log1p(-rate[column])
    price = np.exp(np.cumsum(returns, axis=0)[row - 1, column])
    dividend = np.zeros((T, n))
    dividend[row, column] = np.rint(rate[column] * price * 1e4) / 1e4
    return {"dividend": dividend, "split": split}


def _bars(
    rng: np.random.Generator, close: np.ndarray, opening: np.ndarray, vol: np.ndarray, cents: bool
) -> dict[str, np.ndarray]:
    """Open, high, low, close and volume, (T, n), with low <= open, close <= high after rounding."""
    shape = close.shape
    top, bottom = np.maximum(close, opening), np.minimum(close, opening)
    high = top * np.exp(0.4 * vol * np.abs(rng.standard_normal(shape)))
    low = bottom * np.exp(-0.4 * vol * np.abs(rng.standard_normal(shape)))
    turnover = np.exp(rng.normal(np.log(8e6), 1.5, shape[1]))  # money traded per day
    volume = np.rint(turnover / close * np.exp(0.5 * rng.standard_normal(shape)))
    prices = {"close": close, "open": opening, "high": high, "low": low}
    if cents:
        prices = {name: np.maximum(np.rint(p * 100.0), 1.0) / 100.0 for name, p in prices.items()}
    return prices | {"volume": volume}


def _lifetimes(rng: np.random.Generator, fields: dict[str, np.ndarray]) -> None:
    """Late listings and delistings, in place: NaN outside an asset's life, `delisted_at`, `delisting_return`.

    A quarter of the assets list late; one in seven leaves (half of them taken over), and so does every asset that
    closes below 1. One leaver in ten is silent: its prices end and `delisted_at` says nothing.
    """
    T, n = fields["close"].shape
    bars = np.arange(T)[:, None]
    first = np.where(rng.random(n) < 0.25, rng.integers(0, max(1, 4 * T // 5), n), 0)
    leaves = np.where(rng.random(n) < 1 / 7, rng.integers(1, T, n), T)
    poor = (fields["close"] < 1.0) & (bars >= first)
    failed = np.where(poor.any(axis=0), poor.argmax(axis=0) + 1, T)
    last = np.maximum(np.minimum(leaves, failed), np.minimum(first + 60, T))  # at least 60 bars of life
    taken_over = (rng.random(n) < 0.5) & (last < failed)
    payout = np.where(taken_over, rng.uniform(0.0, 0.05, n), rng.uniform(-1.0, -0.3, n))
    told = (last < T) & (rng.random(n) < 0.9)
    fields["delisted_at"] = np.where(told, last, -1)
    fields["delisting_return"] = np.where(told, payout, 0.0)
    _blank(fields, (bars < first) | (bars >= last))
    outside = (bars <= first) | (bars >= last)  # nobody can hold the asset before its first bar has passed
    fields["dividend"][outside], fields["split"][outside] = 0.0, 1.0


def _gaps(rng: np.random.Generator, fields: dict[str, np.ndarray]) -> None:
    """Halts, single missing bars, missing opens or closes, bars without volume, in place."""
    T, n = fields["close"].shape
    halted = rng.random((T, n)) < 0.0005
    count = rng.poisson(T * n / 600)
    bar, asset, length = rng.integers(0, T, count), rng.integers(0, n, count), rng.integers(1, 6, count)
    for k in range(5):
        on = (length > k) & (bar + k < T)
        halted[bar[on] + k, asset[on]] = True
    near_split = fields["split"] != 1.0  # a split that falls into a gap cannot be seen in the prices
    near_split[:-1] |= near_split[1:]
    _blank(fields, halted & ~near_split)
    kind = rng.random((T, n))
    fields["volume"][kind < 0.004] = 0.0
    fields["open"][(kind > 0.9996) & ~near_split] = np.nan
    fields["close"][(kind > 0.9992) & (kind < 0.9996) & ~near_split] = np.nan


def _blank(fields: dict[str, np.ndarray], where: np.ndarray) -> None:
    for name in ("open", "high", "low", "close"):
        fields[name][where] = np.nan
    fields["volume"][where] = 0.0


def momentum_weights(panel: Panel, *, lookback: int = 60, top: float = 0.1, every: int = 21) -> np.ndarray:
    """Equal weights in the best `top` fraction by past return: score = close[t]/close[t - lookback] - 1, splits undone.

    Decides at bars lookback, lookback + every, ...; all other rows are NaN (no decision). In a deciding row a chosen
    name has weight 1/count, all others 0, also those without a price; names past their `delisted_at` are NaN.
    count = max(1, int(top * names with a score)); ties go to the asset that comes first; NaN scores never win, and a
    row without any score is NaN. Cash dividends are not part of the score.

    lookback, every: bars >= 1.   top: fraction in (0, 1].   Returns (T, N) float64.   Raises ValueError.
    """
    if lookback < 1 or every < 1 or not 0.0 < top <= 1.0:
        raise ValueError("momentum_weights needs lookback >= 1, every >= 1 and top in (0, 1]")
    close, split = np.asarray(panel.close), panel.split
    weights = np.full(close.shape, np.nan)
    for t in range(lookback, len(close), every):
        score = close[t].astype(np.float64) / close[t - lookback]
        if split is not None:
            score *= np.multiply.reduce(split[t - lookback + 1 : t + 1], axis=0)
        scored = np.count_nonzero(score == score)
        if scored:
            count = max(1, int(top * scored))
            weights[t] = 0.0
            weights[t, np.argsort(-score, kind="stable")[:count]] = 1.0 / count  # NaN sorts last
    return _without_delisted(weights, panel.delisted_at)


def random_weights(
    panel_or_shape: Panel | tuple[int, int],
    density: float = 0.1,
    *,
    seed: int = 0,
    every: int = 1,
    persistence: float = 0.9,
    gross: float = 1.0,
) -> np.ndarray:
    """A random long-only book: at bars 0, every, ... a `density` share of the names that have a close, sum = `gross`.

    Names are the best by an autoregressive score, score' = persistence*score + sqrt(1 - persistence^2)*normal, so a
    part of the book changes at each decision; weights are uniform in [0.5, 1.5] before scaling, drawn anew each time.
    Names outside the book are 0, names past their `delisted_at` NaN, rows that do not decide NaN.

    panel_or_shape: a Panel, or (T, N) where every name always has a price.   density: in (0, 1].   every: bars >= 1.
    persistence: in [0, 1).   gross: sum of a row's weights.   Returns (T, N) float64.   Raises ValueError.
    """
    if every < 1 or not 0.0 < density <= 1.0 or not 0.0 <= persistence < 1.0:
        raise ValueError("random_weights needs every >= 1, density in (0, 1] and persistence in [0, 1)")
    panel = None if isinstance(panel_or_shape, tuple) else panel_or_shape
    close = None if panel is None else np.asarray(panel.close)
    T, N = panel_or_shape if close is None else close.shape
    rng = np.random.default_rng(seed)
    weights, score = np.full((T, N), np.nan), rng.standard_normal(N)
    for t in range(0, T, every):
        score = persistence * score + np.sqrt(1.0 - persistence**2) * rng.standard_normal(N)
        names = np.arange(N) if close is None else np.flatnonzero(close[t] == close[t])
        count = int(np.ceil(density * len(names)))
        if not count:
            continue
        chosen = names[np.argpartition(-score[names], count - 1)[:count]]
        raw = rng.uniform(0.5, 1.5, N)[chosen]
        weights[t] = 0.0
        weights[t, chosen] = raw * (gross / raw.sum())
    return _without_delisted(weights, None if panel is None else panel.delisted_at)


def _without_delisted(weights: np.ndarray, delisted_at: np.ndarray | None) -> np.ndarray:
    """NaN from an asset's delisting on, in place: a target of 0 there would count as DELISTED at every decision."""
    if delisted_at is not None:
        delisted_at = np.asarray(delisted_at)
        for asset in np.flatnonzero(delisted_at >= 0):
            weights[delisted_at[asset] :, asset] = np.nan
    return weights
