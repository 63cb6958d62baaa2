# SPDX-License-Identifier: Apache-2.0
"""Books made of scores and of other weights, against loops over rows and names written from their docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_bits
from emulator.build import why_not
from emulator.fake_cupy import installed
from emulator.fake_numbers import Numbers, Reckoning

import gpu_bt as bt

T, N = 40, 13
RNG = np.random.default_rng(4)
STAMPS = np.arange("2021-01-01", "2021-02-10", dtype="datetime64[D]")
NAMES = [f"A{i}" for i in range(N)]
X = np.round(RNG.normal(size=(T, N)), 1)
X[RNG.random((T, N)) < 0.2] = np.nan
X[7], X[8, 3:] = np.nan, np.nan
GROUP = np.array(["", *"abcabcabcabc"])
OFF = np.full(N, -1)
OFF[2] = 25
INSIDE = RNG.random((T, N)) < 0.9
CLOSE = np.full((T, N), 10.0)
PANEL = bt.Panel(
    CLOSE, open=CLOSE, timestamps=STAMPS, assets=NAMES, universe=INSIDE, delisted_at=OFF, group=GROUP
)  # fmt: skip
LISTED = INSIDE & ((OFF < 0) | (OFF > np.arange(T)[:, None]))
WEIGHTS = np.where(RNG.random((T, N)) < 0.3, 0.0, RNG.normal(size=(T, N)))
WEIGHTS[3], WEIGHTS[4, 5], WEIGHTS[9] = np.nan, np.nan, 0.0


def ranked(x: np.ndarray, t: int, groups: np.ndarray | None = None, listed: np.ndarray = LISTED) -> list[list[int]]:
    """The ranked names of each group, the best first."""
    out = []
    for label in [None] if groups is None else sorted(set(groups) - {""}):
        names = [i for i in range(N) if x[t, i] == x[t, i] and listed[t, i]]
        names = [i for i in names if label is None or groups[i] == label]
        out.append(sorted(names, key=lambda i: (-x[t, i], i)))
    return [names for names in out if names]


@pytest.mark.parametrize("groups", [None, "panel"])
def test_top_is_the_book_of_scores(groups: Any):
    config = bt.Config(rebalance_every=3, signal_lag=1, account="margin")
    for given in ({"long": 3}, {"long": 0.3, "short": 2, "keep": 2.0, "scheme": "rank", "short_gross": 0.4}):
        scores = bt.Scores(X, groups=groups, **given)
        assert_bits("all", bt.books.top(X, universe=PANEL, groups=groups, **given), scores.weights(PANEL))
        rows = bt.books.scheduled(PANEL, config)
        some = bt.books.top(X, universe=PANEL, groups=groups, rows=rows, **given)
        assert_bits("some", some, scores.weights(PANEL, config))
        if given["long"] == 3:
            assert_bits("only", bt.books.rows_only(scores.weights(PANEL), rows), some)
    assert rows.tolist() == [(t + 1) % 3 == 0 and t + 1 < T for t in range(T)]


def test_a_mask_is_a_universe_of_its_own():
    got = bt.books.top(X, 2, universe=INSIDE)
    for t in range(T):
        names = (ranked(X, t, None, INSIDE) or [[]])[0]
        want = np.full(N, 0.0 if names else np.nan)
        want[names[:2]] = 1 / min(2, len(names)) if names else 0
        assert_bits("row", got[t], want)


def test_quantiles_are_the_first_and_the_last_part():
    got = bt.books.quantiles(X, 4, universe=INSIDE)
    for t in (t for t in range(T) if ranked(X, t, None, INSIDE)):
        (names,) = ranked(X, t, None, INSIDE)
        k = max(1, len(names) // 4)
        want = np.zeros(N)
        want[names[:k]] = 1 / k
        if len(names) > k:
            want[names[-k:]] = -1 / k
        assert_bits("row", got[t], want)


@pytest.mark.parametrize("groups", [None, "panel"])
@pytest.mark.parametrize("by", ["score", "rank"])
@pytest.mark.parametrize("long_only", [False, True])
def test_proportional(groups: Any, by: str, long_only: bool):
    got = bt.books.proportional(X, by, gross=1.5, long_only=long_only, groups=groups, universe=PANEL)
    for t in range(T):
        books = []
        for names in ranked(X, t, None if groups is None else GROUP):
            v = X[t, names] if by == "score" else np.arange(len(names) - 1, -1, -1.0)
            d = v - v.mean() if not long_only else np.maximum(v, 0) if by == "score" else v + 1
            d = np.where(np.abs(d) < 1e-12, 0, d)
            books.append((names, d))
        want = np.full(N, 0.0 if books else np.nan)
        parts = sum(bool(d.any()) for _, d in books)
        for names, d in books:
            want[names] = 1.5 / parts * d / np.abs(d).sum() if d.any() else 0.0
        want[(OFF >= 0) & (t >= OFF)] = np.nan
        np.testing.assert_allclose(got[t], want, atol=1e-12, rtol=0)
        if books and not long_only and groups is None:
            assert abs(np.nansum(got[t])) < 1e-12


def test_proportional_to_equal_scores_is_nothing():
    x = np.full((2, 3), 0.1)
    assert_bits("neutral", bt.books.proportional(x), np.zeros((2, 3)))
    assert_bits("negative", bt.books.proportional(-x, long_only=True), np.zeros((2, 3)) + 0.0)
    huge = np.array([[1.7e308, -1.7e308, 0.0]])
    np.testing.assert_allclose(bt.books.proportional(huge), [[0.5, -0.5, 0.0]])


def test_inverse_volatility():
    v = np.abs(RNG.normal(size=(T, N)))
    v[RNG.random((T, N)) < 0.2] = np.nan
    v[5, :], v[6, WEIGHTS[6] > 0], v[7, 0] = np.nan, 0.0, 0.0
    got = bt.books.inverse_volatility(WEIGHTS, v)
    for t in range(T):
        want = WEIGHTS[t].copy()
        for side in (1, -1):
            names = [i for i in range(N) if WEIGHTS[t, i] * side > 0]
            known = [i for i in names if v[t, i] > 0]
            if known:
                want[names] = 0.0
                want[known] = WEIGHTS[t, names].sum() / v[t, known] / (1 / v[t, known]).sum()
        np.testing.assert_allclose(got[t], want, rtol=1e-12, atol=0)
    assert_bits("unknown", got[5], WEIGHTS[5])
    least = bt.books.inverse_volatility([[2.0, 1.0, 0.0]], [[1e300, 3e300, 1e-300]])  # of one that is not held
    np.testing.assert_allclose(least, [[2.25, 0.75, 0.0]], rtol=1e-12)


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("cap", [0.2, 0.34, 0.6, 1.0])
def test_cap_groups(cap: float, spread: bool):
    got = bt.books.cap_groups(WEIGHTS, GROUP, cap, spread=spread)
    for t in range(T):
        w = np.nan_to_num(WEIGHTS[t])
        total = np.abs(w).sum()
        of = {label: np.abs(w[label == GROUP]).sum() for label in "abc"}
        new = {label: min(size, cap * total) for label, size in of.items()}
        if spread and new != of:
            low, high = 1.0, 1e9  # the one factor, by halving
            for _ in range(200):
                middle = (low * high) ** 0.5
                enough = sum(min(middle * size, cap * total) for size in of.values()) >= sum(of.values())
                low, high = (low, middle) if enough else (middle, high)
            new = {label: min(high * size, cap * total) for label, size in of.items()}
        for label in "abc":
            own = label == GROUP
            want = WEIGHTS[t, own] * (new[label] / of[label] if of[label] else 1.0)
            np.testing.assert_allclose(got[t, own], want, rtol=1e-9)
            assert np.nansum(np.abs(got[t, own])) <= cap * total * (1 + 1e-12)
        assert_bits("no group", got[t, GROUP == ""], WEIGHTS[t, GROUP == ""])
    if cap == 1:
        assert_bits("nothing is cut", got, WEIGHTS)


def test_groups_may_change_with_the_bars():
    w = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    got = bt.books.cap_groups(w, np.array([[0, 0, 1], [0, 1, 1]]), 0.5)
    np.testing.assert_allclose(got, [[0.3125, 0.1875, 0.2], [0.5, 0.3, 0.2]])


@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_tranches(n: int):
    w = bt.books.rows_only(WEIGHTS, np.arange(T) % 2 == 0)
    w[4, 5] = np.nan
    got, books = bt.books.tranches(w, n), [t for t in range(T) if not np.isnan(w[t]).all()]
    for i, t in enumerate(books):
        want = sum(np.nan_to_num(w[b]) for b in books[max(0, i + 1 - n) : i + 1]) / n
        np.testing.assert_allclose(got[t], np.where(np.isnan(w[t]), np.nan, want), rtol=1e-12)
    assert np.isnan(got[[t for t in range(T) if t not in books]]).all()


def test_what_has_left_the_tranches_has_left_nothing():
    w = np.zeros((6, 1))
    w[:2] = [[0.1], [0.7]]
    assert bt.books.tranches(w, 2)[3:].tolist() == [[0.0]] * 3


def test_frames_give_frames_with_the_same_labels():
    pandas = pd.DataFrame(X, index=pd.DatetimeIndex(STAMPS), columns=NAMES)
    polars = pl.DataFrame({"date": STAMPS, **{name: X[:, i] for i, name in enumerate(NAMES)}})
    calls = (
        lambda x: bt.books.top(x, 2, 1, universe=PANEL, groups="panel"), lambda x: bt.books.quantiles(x, 3),
        lambda x: bt.books.proportional(x, universe=PANEL), lambda x: bt.books.tranches(x, 3),
        lambda x: bt.books.cap_groups(x, GROUP, 0.4), lambda x: bt.books.rows_only(x, np.arange(T) < 5),
        lambda x: bt.books.inverse_volatility(x, np.abs(X)),
    )  # fmt: skip
    for call in calls:
        want, a, b = call(X), call(pandas), call(polars)
        assert isinstance(a, pd.DataFrame) and isinstance(b, pl.DataFrame)
        assert a.index.equals(pandas.index) and list(a.columns) == NAMES and b.columns == polars.columns
        assert_bits("pandas", a.to_numpy(), want)
        assert_bits("polars", b.drop("date").to_numpy(), want)
    with pytest.raises(bt.PanelError, match="universe has 'A0' as column 0"):
        bt.books.top(pandas[NAMES[::-1]], 2, universe=PANEL)


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_tables_on_the_device_give_books_there():
    """Worked out on the host, so with the same bits; on an emulated device."""
    with installed(Reckoning("random")) as fake:
        there = bt.Panel(
            fake.asarray(CLOSE), open=fake.asarray(CLOSE), timestamps=STAMPS, assets=NAMES,
            universe=fake.asarray(INSIDE), delisted_at=OFF, group=GROUP,
        )  # fmt: skip
        for call in (
            lambda x, own: bt.books.top(x, 2, 1, keep=2, universe=own, groups="panel"),
            lambda x, own: bt.books.quantiles(x, 3, universe=INSIDE),
            lambda x, own: bt.books.proportional(x, universe=own),
            lambda x, own: bt.books.tranches(x, 3), lambda x, own: bt.books.cap_groups(x, GROUP, 0.4, spread=True),
            lambda x, own: bt.books.rows_only(x, np.arange(T) < 5),
            lambda x, own: bt.books.inverse_volatility(x, abs(x)),
        ):  # fmt: skip
            found = call(fake.asarray(X), there)
            assert isinstance(found, Numbers)
            assert_bits("book", found.get(), call(X, PANEL))
        scores = bt.Scores(fake.asarray(X), long=2, groups="panel")
        assert_bits("scores", scores.weights(there), bt.Scores(X, long=2, groups="panel").weights(PANEL))


def test_a_book_of_a_frame_is_run():
    frame = pd.DataFrame(X, index=pd.DatetimeIndex(STAMPS), columns=NAMES)
    book = bt.books.top(frame, 2, universe=PANEL, rows=np.arange(T) % 5 == 0)
    with pytest.warns(bt.BacktestWarning):
        got = bt.run(PANEL, book)
    assert got.decisions > 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda b: b.top(X, 0), bt.ConfigError, "long and short are both 0"),
        (lambda b: b.top(X, 2.5), bt.ConfigError, "long is 2.5: it must be a whole number of names"),
        (lambda b: b.top(X, 2, keep=0.5), bt.ConfigError, "keep is 0.5"),
        (lambda b: b.top(X[0], 2), bt.PanelError, "top: scores has shape (13,)"),
        (lambda b: b.top(np.where(X > 1, np.inf, X), 2), bt.PanelError, "top: scores["),
        (lambda b: b.top(X, 2, groups="panel"), bt.PanelError, "top: groups is 'panel': it needs a Panel with group="),
        (lambda b: b.top(X, 2, groups=[1, 2]), bt.PanelError, "top: groups: shape (2,)"),
        (lambda b: b.top(X, 2, rows=np.ones(3, bool)), bt.PanelError, "top: rows is of dtype bool and shape (3,)"),
        (lambda b: b.top(X, 2, rows=np.ones(T)), bt.PanelError, "top: rows is of dtype float64"),
        (lambda b: b.top(X, 2, universe=X), bt.PanelError, "top: universe is of dtype float64"),
        (lambda b: b.quantiles(X, 1), bt.ConfigError, "q is 1: it must be a whole number >= 2"),
        (lambda b: b.quantiles(X, 2.5), bt.ConfigError, "q is 2.5"),
        (lambda b: b.proportional(X, "size"), bt.ConfigError, "by is 'size': it must be one of 'score', 'rank'"),
        (lambda b: b.proportional(X, gross=0), bt.ConfigError, "gross is 0"),
        (lambda b: b.proportional(X, long_only="no"), bt.ConfigError, "long_only is 'no'"),
        (lambda b: b.inverse_volatility(X, X), bt.PanelError, "inverse_volatility: volatility["),
        (lambda b: b.inverse_volatility(X, np.ones((2, 2))), bt.PanelError, "volatility has shape (2, 2)"),
        (lambda b: b.cap_groups(X, GROUP, 0), bt.ConfigError, "cap is 0: it must be a fraction of the gross in (0, 1]"),
        (lambda b: b.cap_groups(X, GROUP, True), bt.ConfigError, "cap is True"),
        (lambda b: b.cap_groups(X, None, 0.5), bt.ConfigError, "groups is None"),
        (lambda b: b.tranches(X, 0), bt.ConfigError, "n is 0"),
        (lambda b: b.scheduled(PANEL, {}), bt.ConfigError, "config is {}: it must be a gpu_bt.Config"),
        (lambda b: b.scheduled(X, bt.Config()), bt.PanelError, "panel is"),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str):
    with pytest.raises(error) as caught:
        call(bt.books)
    assert text in str(caught.value) and "\n" not in str(caught.value)
