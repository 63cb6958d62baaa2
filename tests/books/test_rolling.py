# SPDX-License-Identifier: Apache-2.0
"""Operators along time against their definitions cell by cell, pandas, Polars and exact sums."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from extent import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scalars import SHAPES, agree, along, decayed, drawn, ranked, same_bits

import gpu_bt as bt
from gpu_bt import books
from gpu_bt.books import rolling, tables

WINDOWS = (1, 2, 3, 7, 22, 23, 24, 60, 200)
CASES = [(seed, shape) for seed in range(2) for shape in SHAPES]
#: All of them, of one table.
ALL: dict[str, Callable[[Any], Any]] = {
    "delay": lambda x: books.delay(x, 3),
    "delta": lambda x: books.delta(x, 2),
    "decay": lambda x: books.decay(x, 4, 2),
    "sum": lambda x: books.rolling_sum(x, 4, 2),
    "mean": lambda x: books.rolling_mean(x, 4, 2),
    "std": lambda x: books.rolling_std(x, 4, 2),
    "max": lambda x: books.rolling_max(x, 4, 2),
    "min": lambda x: books.rolling_min(x, 4, 2),
    "rank": lambda x: books.rolling_rank(x, 4, 2),
    "corr": lambda x: books.rolling_corr(x, x * x, 4, 3),
    "volatility": lambda x: books.volatility(x * x + 1.0, 3),
}


@pytest.fixture(autouse=True, params=["whole", "block by block"])
def _rooms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of every size: all in one, and each block of n rows and two columns in one of its own."""
    if request.param == "block by block":
        monkeypatch.setattr(tables, "_CACHE", 1)
        monkeypatch.setattr(rolling, "_COLUMNS", 2)


def correlation(a: list[float], b: list[float]) -> float:
    varies = len(set(a)) > 1 and len(set(b)) > 1
    return statistics.correlation(a, b) if varies else math.nan


@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize(("seed", "shape"), CASES)
def test_operators_are_what_they_say_cell_by_cell(seed: int, shape: tuple[int, int], n: int):
    x, y = drawn(seed, shape), drawn(seed + 50, shape, ties=False)
    kept = x.copy()
    scale = float(np.nanmax(np.abs(x), initial=1e-9))
    for few in (None, 1, min(n, 3)):
        least = few or n
        agree(books.rolling_sum(x, n, few), along(x, n, least, math.fsum), scale)
        agree(books.rolling_mean(x, n, few), along(x, n, least, statistics.fmean), scale)
        same_bits(books.rolling_max(x, n, few), along(x, n, least, max) + 0.0)
        same_bits(books.rolling_min(x, n, few), along(x, n, least, min) + 0.0)
        same_bits(books.rolling_rank(x, n, few), ranked(x, n, least))
        agree(books.rolling_std(x, n, few), along(x, n, max(least, 2), statistics.stdev), scale)
        agree(books.rolling_std(x, n, few, ddof=0), along(x, n, least, statistics.pstdev), scale)
        agree(books.decay(x, n, few), decayed(x, n, least), scale)
        agree(books.rolling_corr(x, y, n, few), along(x, n, least, correlation, y))
    same_bits(x, kept)


@pytest.mark.parametrize("n", [2, 5, 20, 80])
def test_operators_are_those_of_pandas(n: int):
    g = np.random.default_rng(n)
    x, y = g.normal(size=(70, 5)), g.normal(size=(70, 5))
    x[g.random(x.shape) < 0.1] = np.nan
    for least in (None, 2):
        theirs = pd.DataFrame(x).rolling(n, min_periods=least)
        for name in ("sum", "mean", "std", "max", "min", "rank"):
            wanted = getattr(theirs, name)().to_numpy()
            np.testing.assert_allclose(getattr(books, f"rolling_{name}")(x, n, least), wanted, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(books.rolling_rank(x, n, least, pct=True), theirs.rank(pct=True), rtol=1e-12)
        if n > 2:
            found = books.rolling_corr(x, y, n, least)
            np.testing.assert_allclose(found, theirs.corr(pd.DataFrame(y)), rtol=1e-9, atol=1e-9)
    same_bits(books.delay(x, n), pd.DataFrame(x).shift(n).to_numpy())
    same_bits(books.delta(x, n), pd.DataFrame(x).diff(n).to_numpy())


@pytest.mark.parametrize("name", ["sum", "mean", "std", "max", "min"])
def test_operators_are_those_of_polars(name: str):
    x = np.random.default_rng(0).normal(size=(50, 4))
    column = getattr(pl.all(), f"rolling_{name}")(6)
    wanted = pl.DataFrame(x).select(column).to_numpy()
    np.testing.assert_allclose(getattr(books, f"rolling_{name}")(x, 6), wanted, rtol=1e-10, atol=1e-12)


def test_what_has_left_the_window_has_left_no_rounding():
    g = np.random.default_rng(1)
    x = g.normal(size=(90, 3)) * 1e-6
    for t in (10, 11, 47):
        x[t] = (1e12, -1e12, 1e15)
    n = 8
    far = np.ones(len(x), bool)
    for t in (10, 11, 47):
        far[t : t + n] = False
    for ours, theirs in (
        (books.rolling_sum(x, n), lambda v: math.fsum(v)),
        (books.rolling_mean(x, n), statistics.fmean),
        (books.rolling_std(x, n), statistics.stdev),
    ):
        wanted = along(x, n, n, theirs)
        np.testing.assert_allclose(ours[far], wanted[far], rtol=1e-12, atol=1e-20)
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose(books.decay(x, n)[far], decayed(x, n, n)[far], rtol=1e-12, atol=1e-20)
    other = g.normal(size=x.shape)
    np.testing.assert_allclose(
        books.rolling_corr(x, other, n)[far], along(x, n, n, correlation, other)[far], rtol=1e-10, atol=1e-12
    )


def test_windows_of_equal_numbers_do_not_vary():
    x = np.repeat([[0.1], [1e12 / 3], [1e-6]], [9, 9, 9], axis=0) @ np.ones((1, 2))
    x[4, 1] = np.nan
    found = books.rolling_std(x, 5, 3)
    still = along(x, 5, 3, lambda v: float(len(set(v)) == 1)) == 1.0
    assert still.sum() > 20
    assert (found[still] == 0.0).all() and (found[~still & ~np.isnan(found)] > 0).all()
    assert np.isnan(books.rolling_corr(x, np.arange(54.0).reshape(27, 2), 5, 3)[still]).all()
    agree(books.rolling_corr(x[7:11], x[7:11], 4)[3:], np.ones((1, 2)))


@pytest.mark.parametrize("name", ALL)
@given(st.data())
@settings(max_examples=examples(25))
def test_rows_to_come_change_nothing(name: str, data: st.DataObject):
    shape = data.draw(st.tuples(st.integers(2, 14), st.integers(1, 3)))
    g = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    x = g.normal(size=shape)
    x[g.random(shape) < 0.2] = np.nan
    t = data.draw(st.integers(1, shape[0] - 1))
    other = x.copy()
    other[t:] = g.normal(size=other[t:].shape) * 1e9
    other[t:][g.random(other[t:].shape) < 0.3] = np.nan
    same_bits(ALL[name](x)[:t], ALL[name](other)[:t])
    same_bits(ALL[name](x[:t]), ALL[name](x)[:t])


@pytest.mark.parametrize("name", ALL)
def test_each_asset_is_on_its_own(name: str):
    x = drawn(3, (40, 9), ties=False)
    same_bits(ALL[name](x)[:, ::-1], ALL[name](x[:, ::-1]))
    for i in (0, 8):
        same_bits(ALL[name](x)[:, i : i + 1], ALL[name](np.asfortranarray(x)[:, i : i + 1]))


def test_volatility_is_of_simple_returns():
    g = np.random.default_rng(2)
    close = 100 * np.exp(np.cumsum(g.normal(size=(60, 4)) * 0.02, axis=0))
    close[g.random(close.shape) < 0.05] = np.nan
    returns = close[1:] / close[:-1] - 1.0
    wanted = np.vstack([np.full((1, 4), np.nan), along(returns, 10, 10, statistics.stdev)])
    agree(books.volatility(close, 10), wanted)
    agree(books.volatility(close, 10, bars_per_year=252), wanted * math.sqrt(252))
    some = np.vstack([np.full((1, 4), np.nan), along(returns, 10, 5, statistics.stdev)])
    agree(books.volatility(close, 10, min_count=5), some)
    frame = pd.DataFrame(close.astype(np.float32))
    assert (books.volatility(frame, 10).dtypes == np.float32).all()


def test_window_and_least_count_are_checked():
    x = np.ones((5, 3))
    for name in ("rolling_sum", "rolling_mean", "rolling_std", "rolling_max", "rolling_min", "rolling_rank", "decay",
                 "delay", "delta", "volatility"):  # fmt: skip
        for n in (0, -1, 1.5, True, "5", None):
            with pytest.raises(bt.ConfigError, match=rf"^{name}: n is .*: it must be a whole number >= 1$"):
                getattr(books, name)(x, n)
    for least in (0, 6, 1.5):
        with pytest.raises(bt.ConfigError, match=r"^rolling_corr: min_count is .*: it must be a whole number >= 1 and"):
            books.rolling_corr(x, x, 5, least)
    with pytest.raises(bt.ConfigError, match=r"^rolling_std: ddof is -1"):
        books.rolling_std(x, 5, ddof=-1)
    for per_year in (0, -252, math.nan, math.inf, "252"):
        with pytest.raises(bt.ConfigError, match=r"^volatility: bars_per_year is "):
            books.volatility(x, 5, per_year)
    with pytest.raises(bt.PanelError, match=r"^volatility: close\[1, 2\] is -3.0: .* > 0"):
        books.volatility(np.array([[1.0, 1, 1], [1, 1, -3]]), 1)
    with pytest.raises(TypeError, match=r"min_periods"):
        books.rolling_sum(x, 5, min_periods=3)
