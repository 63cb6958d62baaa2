# SPDX-License-Identifier: Apache-2.0
"""Operators across assets against their definitions cell by cell, pandas, SciPy and NumPy's lstsq."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from extent import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scalars import SHAPES, across, agree, drawn, least_squares, places, quantile, same_bits

import gpu_bt as bt
from gpu_bt import books
from gpu_bt.books import tables
from gpu_bt.engine.ranked import ranking_of

CASES = [(seed, shape) for seed in range(4) for shape in SHAPES]
#: Labels by asset and by cell, of several types, with some that say that there is none.
KINDS = ("none", "texts", "numbers", "cells")


def labels(kind: str, seed: int, shape: tuple[int, int]) -> Any:
    g = np.random.default_rng(seed + 99)
    if kind == "texts":
        return [("tech", "bank", None, "oil")[k] for k in g.integers(0, 4, shape[1])]
    if kind == "numbers":
        return g.choice([-1.0, 3.0, 1e9, np.nan], shape[1])
    return None if kind == "none" else g.choice(np.array(["a", "b", ""]), shape)


def universe(seed: int, shape: tuple[int, int]) -> np.ndarray | None:
    return None if seed % 2 else np.random.default_rng(seed).random(shape) < 0.8


@pytest.fixture(autouse=True, params=["whole", "row by row"])
def _rooms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of every size: all rows in one, and each row in one of its own."""
    if request.param == "row by row":
        monkeypatch.setattr(tables, "_CACHE", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("seed", "shape"), CASES)
def test_operators_are_what_they_say_cell_by_cell(seed: int, shape: tuple[int, int], kind: str):
    x, groups, here = drawn(seed, shape), labels(kind, seed, shape), universe(seed, shape)
    kept = x.copy()
    scale = float(np.nanmax(np.abs(x), initial=0.0))

    def pct(v: list[float]) -> list[float]:
        return [((len(v) - p) - 0.5) / len(v) for p in places(v)]

    def off(v: list[float]) -> list[float]:
        return [a - statistics.fmean(v) if len(set(v)) > 1 else 0.0 for a in v]

    def z(v: list[float]) -> list[float]:
        return [a / statistics.pstdev(v) if len(set(v)) > 1 else 0.0 for a in off(v)]

    def clipped(v: list[float]) -> list[float]:
        low, high = quantile(v, 0.15), quantile(v, 0.7)
        return [min(max(a, low), high) for a in v]

    same_bits(books.rank(x, groups, here), across(x, groups, here, places))
    same_bits(books.rank(x, groups, here, pct=True), across(x, groups, here, pct))
    agree(books.demean(x, groups, here), across(x, groups, here, off), scale)
    agree(books.zscore(x, groups, here), across(x, groups, here, z))
    agree(books.winsorise(x, (0.15, 0.7), groups, here), across(x, groups, here, clipped), scale)
    agree(books.neutralise(x, groups, universe=here), across(x, groups, here, off), scale)
    same_bits(x, kept)


@pytest.mark.parametrize(("seed", "shape"), CASES)
def test_operators_are_those_of_pandas_and_numpy(seed: int, shape: tuple[int, int]):
    x = drawn(seed, shape)
    frame, scale = pd.DataFrame(x), float(np.nanmax(np.abs(x), initial=0.0))
    same_bits(books.rank(x), (-frame).rank(axis=1, method="first").to_numpy() - 1)
    some = ~np.isnan(x).all(axis=1)
    clipped = np.clip(x[some], *np.nanquantile(x[some], [0.1, 0.8], axis=1, keepdims=True))
    agree(books.winsorise(x, (0.1, 0.8))[some], clipped, scale)
    agree(books.demean(x), frame.sub(frame.mean(axis=1), axis=0).to_numpy(), scale)


def test_zscore_is_that_of_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    x = np.random.default_rng(1).normal(size=(40, 30))
    x[np.random.default_rng(2).random(x.shape) < 0.3] = np.nan
    agree(books.zscore(x), scipy_stats.zscore(x, axis=1, nan_policy="omit"))


@pytest.mark.parametrize("kind", ["none", "groups"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (6, 3), (25, 12), (12, 40)])
def test_neutralise_leaves_what_lstsq_leaves(shape: tuple[int, int], count: int, weighted: bool, kind: str):
    g = np.random.default_rng(count)
    x, *exposures = (g.normal(size=shape) * 10.0**k for k in range(count + 1))
    for table in (x, *exposures):
        table[g.random(shape) < 0.1] = np.nan
    w = g.random(shape) + 0.1 if weighted else None
    groups = g.integers(0, 3, shape[1]) if kind == "groups" else None
    found = books.neutralise(x, groups, exposures, w)
    wanted = least_squares(x, groups, exposures, w)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * max(1.0, np.nanmax(np.abs(x), initial=0.0)))


def test_exposures_that_say_nothing_new_add_nothing():
    g = np.random.default_rng(3)
    x, a, b = (g.normal(size=(20, 15)) for _ in range(3))
    groups = g.integers(0, 4, 15)
    same = books.neutralise(x, groups, [a, b])
    level = np.broadcast_to(groups * 2.5, x.shape)
    nearly = 0.3 * (1 + g.integers(-2, 3, x.shape) * 2.0**-53)
    for more in (np.full(x.shape, 1e6), nearly, level, a * 3, a - 2 * b, np.zeros(x.shape)):
        agree(books.neutralise(x, groups, [a, b, more]), same)
        agree(books.neutralise(x, groups, [more, a, b]), same)
    agree(books.neutralise(x, groups, {"a": a, "b": b}), same)
    assert np.abs(books.neutralise(a, None, a)).max() < 1e-13
    few = books.neutralise(x[:, :2], None, [a[:, :2], b[:, :2]])
    assert np.abs(few).max() < 1e-13


def test_an_asset_of_weight_0_has_no_influence_and_a_residual():
    g = np.random.default_rng(4)
    x, e = g.normal(size=(8, 10)), g.normal(size=(8, 10))
    w = np.ones_like(x)
    w[:, 3] = 0.0
    others = [i for i in range(10) if i != 3]
    found = books.neutralise(x, None, e, w)
    agree(found[:, others], books.neutralise(x[:, others], None, e[:, others]))
    for t in range(8):
        slope, a = np.polyfit(e[t, others], x[t, others], 1)
        assert found[t, 3] == pytest.approx(x[t, 3] - a - slope * e[t, 3])
    assert np.isnan(books.neutralise(x, None, e, np.zeros_like(x))).all()
    groups = np.arange(10) % 3
    w = np.where(groups == 1, 0.0, 1.0) * np.ones_like(x)
    found = books.neutralise(x, groups, e, w)
    assert np.isnan(found[:, groups == 1]).all()
    agree(found[:, groups != 1], books.neutralise(x[:, groups != 1], groups[groups != 1], e[:, groups != 1]))


@given(st.data())
@settings(max_examples=examples(60))
def test_permuting_the_assets_permutes_the_results(data: st.DataObject):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    seed = data.draw(st.integers(0, 10**6))
    g = np.random.default_rng(seed)
    x = g.permutation(shape[0] * shape[1]).reshape(shape) / 7.0
    x[g.random(shape) < 0.2] = np.nan
    groups, order = g.integers(-1, 3, shape[1]), g.permutation(shape[1])
    for function in (books.rank, books.winsorise):
        same_bits(function(x, groups=groups)[:, order], function(x[:, order], groups=groups[order]))
    for function in (books.zscore, books.demean):
        agree(function(x, groups)[:, order], function(x[:, order], groups[order]), 100.0)


def test_rows_of_equal_numbers_give_exactly_0():
    for value in (0.1, 1e12 / 3, 1e-6, -7.3, 0.0):
        x = np.full((3, 7), value)
        for groups in (None, [1, 1, 2, 2, 2, 3, 3]):
            same_bits(books.zscore(x, groups), np.zeros(x.shape))
            same_bits(books.demean(x, groups), np.zeros(x.shape))
            same_bits(books.neutralise(x, groups, np.arange(21.0).reshape(3, 7)), np.zeros(x.shape))


def test_numbers_far_from_0_lose_no_digits():
    g = np.random.default_rng(5)
    small = g.integers(-50, 50, (5, 40)).astype(float)
    agree(books.zscore(1e12 + small), books.zscore(small))
    agree(books.demean(1e12 + small, [0, 1] * 20), books.demean(small, [0, 1] * 20))


def test_places_are_those_of_the_law():
    x = drawn(8, (30, 12))
    groups = np.array([0, 1, -1, 0, 2, 1, 1, 0, 2, 0, 1, -1])
    here, gone = np.random.default_rng(0).random(x.shape) < 0.9, np.full(12, -1)
    ranking, found = ranking_of(x, here, gone, groups), books.rank(x, groups, here)
    for t in range(len(x)):
        for a, b in zip(ranking.starts[t, :-1], ranking.starts[t, 1:], strict=True):
            assert found[t, ranking.order[t, a:b]].tolist() == list(range(b - a))
        assert np.isfinite(found[t]).sum() == ranking.starts[t, -1]


def test_the_universe_of_a_panel_ends_with_the_listing():
    here = np.array([[True, True, False], [True, True, True], [True, False, True]])
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    panel = bt.Panel(np.full((3, 3), 5.0), timestamps=days, assets=list("abc"), universe=here, delisted_at=[2, -1, -1])
    x = np.array([[1.0, 2.0, 3.0]] * 3)
    nan = np.nan
    same_bits(books.rank(x, universe=panel), np.array([[1, 0, nan], [2, 1, 0], [nan, nan, 0]]))
    same_bits(books.rank(x, universe=panel.universe), np.array([[1, 0, nan], [2, 1, 0], [1, nan, 0]]))


def test_more_groups_than_a_short_number_holds():
    g = np.random.default_rng(6)
    x, many = g.normal(size=(2, 40_000)), g.permutation(np.arange(40_000) // 2)
    found = books.rank(x, many)
    assert set(found.ravel().tolist()) == {0.0, 1.0}
    order = np.argsort(many, kind="stable").reshape(-1, 2)
    assert (x[0, order[:, 0]] > x[0, order[:, 1]]).tolist() == (found[0, order[:, 0]] == 0).tolist()
