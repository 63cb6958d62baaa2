# SPDX-License-Identifier: Apache-2.0
"""Scores: what is ranked, how scores and groups are read, what is kept, and what is refused."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_bits

import gpu_bt as bt

T, N = 12, 7
NAMES = [f"A{i}" for i in range(N)]
STAMPS = np.arange("2020-03-02", "2020-03-14", dtype="datetime64[D]")


def panel(**fields: Any) -> bt.Panel:
    return bt.Panel(np.full((T, N), 10.0), open=np.full((T, N), 10.0), timestamps=STAMPS, assets=NAMES, **fields)


PANEL = panel()
X = np.round(np.random.default_rng(8).normal(size=(T, N)), 1)
X[2, 3] = X[5] = np.nan


def test_the_books_of_a_few_rows_by_hand():
    x = np.array([[3, 1, 2, 2, np.nan, 0, -0.0], [1, 1, 1, 1, 1, 1, 1]] * 6, float)
    w = bt.Scores(x, long=2, short=2, long_gross=0.8).weights(PANEL)
    assert w[0].tolist() == [0.4, 0, 0.4, 0, 0, -0.5, -0.5]  # ties go to the first asset, also from below
    assert w[1].tolist() == [0.4, 0.4, 0, 0, 0, -0.5, -0.5]
    w = bt.Scores(x, long=0.34, scheme="rank").weights(PANEL)
    assert w[0].tolist() == [2 / 3, 0, 1 / 3, 0, 0, 0, 0] and w[1].tolist() == [2 / 3, 1 / 3, 0, 0, 0, 0, 0]
    w = bt.Scores(x, long=1, keep=3).weights(PANEL)
    assert (w[1:, 0] == 1).all()
    w = bt.Scores(x[::-1].copy(), long=1, keep=2).weights(PANEL)  # the first of the tie stays while it is second
    assert w[0, 0] == 1 and w[1, 0] == 1


def test_who_is_ranked():
    inside = np.ones((T, N), bool)
    inside[:, 0] = False
    off = np.full(N, -1)
    off[1] = 4
    w = bt.Scores(np.tile(np.arange(7.0, 0, -1), (T, 1)), long=2).weights(panel(universe=inside, delisted_at=off))
    assert w[3].tolist() == [0, 0.5, 0.5, 0, 0, 0, 0]
    assert_bits("delisted", w[4], np.array([0, np.nan, 0.5, 0.5, 0, 0, 0]))
    assert np.isnan(bt.Scores(X, long=2).weights(PANEL)[5]).all()


def test_only_the_rows_that_a_scheduled_bar_reads_have_books():
    config = bt.Config(rebalance_every=3, signal_lag=2)
    every, some = bt.Scores(X, long=2).weights(PANEL), bt.Scores(X, long=2).weights(PANEL, config)
    read = [t - 2 for t in range(0, T, 3) if t >= 2]
    assert_bits("read", some[read], every[read])
    assert np.isnan(np.delete(some, read, axis=0)).all()


def test_the_last_book_of_keep_is_that_of_the_last_row_read():
    config = bt.Config(rebalance_every=4)
    rows = bt.Scores(X[::4].copy(), long=3, keep=2).weights(panel_of(3))
    assert_bits("rows", bt.Scores(X, long=3, keep=2).weights(PANEL, config)[::4], rows)


def panel_of(bars: int) -> bt.Panel:
    return bt.Panel(np.full((bars, N), 10.0), open=np.full((bars, N), 10.0), timestamps=STAMPS[:bars], assets=NAMES)


def wide(values: np.ndarray = X) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": STAMPS, **{name: values[:, i] for i, name in enumerate(NAMES)}})


def test_frames_and_paths_are_read_by_their_labels(tmp_path: Path):
    want = bt.Scores(X, long=2, short=1).weights(PANEL)
    table, path = wide(), tmp_path / "scores.parquet"
    table.select("timestamp", *NAMES[::-1]).reverse().write_parquet(path)
    long = table.unpivot(index="timestamp", variable_name="asset", value_name="score").drop_nulls()
    pandas = pd.DataFrame(X, index=pd.DatetimeIndex(STAMPS), columns=NAMES)
    read = bt.read_weights(table, PANEL, missing="hold")
    for scores in (table, path, str(path), long, pandas, read, X.tolist(), table.fill_nan(None)):
        assert_bits("weights", bt.Scores(scores, long=2, short=1).weights(PANEL), want)
    some = table.filter(pl.col("timestamp") > STAMPS[3]).drop("A6")  # no row: no book; no column: no score
    x = X.copy()
    x[:4], x[:, 6] = np.nan, np.nan
    assert_bits("some", bt.Scores(some, long=2, short=1).weights(PANEL), bt.Scores(x, long=2, short=1).weights(PANEL))


@pytest.mark.parametrize(
    "scores", [X.astype(np.float32), np.where(np.isnan(X), -9, X * 10).astype(np.int64), X.T.copy().T]
)
def test_other_types_have_the_same_ranks(scores: np.ndarray):
    want = bt.Scores(np.where(np.isnan(X), -0.9, X) if scores.dtype.kind == "i" else X, long=2)
    assert_bits("weights", bt.Scores(scores, long=2).weights(PANEL), want.weights(PANEL))


GROUP = np.array(["a", "b", "", "a", "b", "b", "a"])


@pytest.mark.parametrize(
    "groups",
    [
        "panel", GROUP, list(GROUP), np.array([0, 9_000, -1, 0, 9_000, 9_000, 0]), dict(zip(NAMES, GROUP, strict=True)),
        np.array([1.5, 2, np.nan, 1.5, 2, 2, 1.5]), np.tile(GROUP, (T, 1)), pd.Series(GROUP, NAMES),
        {name: label for name, label in zip(NAMES, GROUP, strict=True) if label}, ["a", "b", None, "a", "b", "b", "a"],
        ["a", "b", np.nan, "a", "b", "b", "a"], [("a", "b", np.nan, "a", "b", "b", "a")] * T,
        pl.DataFrame({"timestamp": STAMPS, **{n: [g] * T for n, g in zip(NAMES, GROUP, strict=True)}}),
    ],
)  # fmt: skip
def test_groups_of_every_kind(groups: Any):
    own = panel(group=GROUP)
    w = bt.Scores(X, long=1, short=1, groups=groups).weights(own)
    for t in (t for t in range(T) if t != 5):
        want = np.zeros(N)
        for label in "ab":
            names = np.flatnonzero((label == GROUP) & ~np.isnan(X[t]))
            names = names[np.argsort(-X[t, names], kind="stable")]
            want[names[0]], want[names[-1]] = 0.5, -0.5
        assert_bits("row", w[t], want)


def test_a_ranking_is_made_once_and_no_longer_than_both_live():
    scores, own = bt.Scores({"x": X, "y": X + 0.0}), panel()
    ranking = scores.ranking(own, "x")
    assert scores.ranking(own, "x") is ranking and scores.ranking(own, "y") is not ranking
    assert scores.ranking(panel(), "x") is not ranking
    again = pickle.loads(pickle.dumps(scores))
    assert_bits("order", again.ranking(own, "x").order, ranking.order)
    gone = weakref.ref(ranking)
    del ranking, own
    gc.collect()
    assert gone() is None


def test_what_a_user_writes_later_changes_nothing():
    x, groups = X.copy(), np.array([0, 0, 0, 1, 1, 1, 1])
    scores = bt.Scores(x, long=2, groups=groups)
    want = bt.Scores(X, long=2, groups=groups.copy()).weights(PANEL)
    x[:], groups[:] = 1, 0
    assert_bits("weights", scores.weights(PANEL), want)


def test_it_says_what_it_is():
    assert repr(bt.Scores(X, long=0.1, groups="panel")) == (
        "Scores(12x7, long=0.1, short=0, keep=1.0, long_gross=1.0, short_gross=1.0, scheme='equal', groups)"
    )
    assert repr(bt.Scores({"x": X, "y": wide()})).startswith("Scores(2 of 12x7, 12x8, long=50,")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"long": -1}, "long is -1: it must be a whole number of names, 0 for no such side, or a fraction"),
        ({"long": 1.5}, "long is 1.5"),
        ({"long": np.nan}, "long is nan"),
        ({"long": 1e30}, "long is 1e+30"),
        ({"long": True}, "long is True"),
        ({"short": "2"}, "short is '2'"),
        ({"short": None}, "short is None"),
        ({"keep": 0.99}, "keep is 0.99: it must be a multiple of the names in [1, 1e+06]"),
        ({"keep": np.inf}, "keep is inf"),
        ({"keep": False}, "keep is False"),
        ({"scheme": "weight"}, "scheme is 'weight': it must be one of 'equal', 'rank'"),
        ({"scheme": None}, "scheme is None"),
        ({"long_gross": 0}, "long_gross is 0: it must be a fraction of equity in [1e-06, 1000]"),
        ({"short_gross": 1001}, "short_gross is 1001"),
        ({"long": 0}, "long and short are both 0: one side must be wanted"),
    ],
)
def test_parameters_that_are_refused(given: Mapping[str, Any], text: str):
    with pytest.raises(bt.ConfigError) as caught:
        bt.Scores(X, **given)
    assert text in str(caught.value)


def test_the_limits_are_taken():
    x = np.tile(np.arange(7.0, 0, -1), (T, 1))
    for given, names in (
        ({"long": 1.0}, 1), ({"long": 1}, 1), ({"long": np.int64(2)}, 2), ({"long": 0.999}, 6), ({"long": 1e-9}, 1),
        ({"long": 2**31 - 1}, 7), ({"long": 2, "keep": 1e6}, 2), ({"long": np.float32(0.5)}, 3),
    ):  # fmt: skip
        assert (bt.Scores(x, **given).weights(PANEL)[0] > 0).sum() == names


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (X[:5], "scores has shape (5, 7): it must be (T, N) = (12, 7)"),
        (X.T, "scores has shape (7, 12)"),
        (np.where(np.isnan(X), np.inf, X), "scores[2020-03-04, 'A3'] is inf: a score is a finite number, or NaN"),
        ({"x": np.where(np.isnan(X), -np.inf, X)}, "scores 'x'[2020-03-04, 'A3'] is -inf"),
        (X[0], "scores is a ndarray of dtype float64 and shape (7,): pass a (T, N) array"),
        (X > 0, "scores is a ndarray of dtype bool"),
        (X.astype(str), "scores is a ndarray of dtype <U"),
        (None, "scores is a NoneType of dtype object"),
        ({}, "scores is empty"),
        ({"x": X, 2.5: X}, "a name of scores is 2.5: it must be a text"),
        ({"x": {"A1": 2.0}}, "scores 'x' is one number for each asset"),
        (pd.Series(1.0, NAMES), "scores is one number for each asset"),
        (wide().rename({"A1": "B1"}), "scores: asset 'B1' is not in the panel"),
        (wide().with_columns(A1=pl.lit("x")), "scores: "),
        ("nowhere.parquet", "scores: "),
    ],
)  # fmt: skip
def test_scores_that_are_refused(scores: Any, text: str):
    with pytest.raises(bt.WeightsError) as caught:
        bt.Scores(scores).weights(PANEL)
    assert text in str(caught.value) and "weights[" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ("panel", "groups='panel': the panel has none"),
        (GROUP[:3], "groups: shape (3,)"),
        ({"B1": "a"}, "'B1' is no asset of the panel"),
        (np.zeros((N, T)), "groups: shape (7, 12)"),
        ("sector", "groups: 'sector'"),
    ],
)
def test_groups_that_are_refused(groups: Any, text: str):
    with pytest.raises(bt.PanelError) as caught:
        bt.Scores(X, groups=groups).weights(PANEL)
    assert text in str(caught.value)


def test_a_stream_and_what_is_no_panel_are_refused(tmp_path: Path):
    prices = wide(np.full((T, N), 10.0))
    prices.unpivot(index="timestamp", variable_name="asset", value_name="close").write_parquet(
        tmp_path / "panel.parquet"
    )
    stream = bt.scan_panel(tmp_path / "panel.parquet")
    for call in (bt.run, bt.sweep):
        with pytest.raises(bt.ConfigError, match="scores are ranked over all bars, which a stream does not hold"):
            call(stream, bt.Scores(X, long=2), bt.Config(execution="next_close"))
        with pytest.raises(bt.ConfigError, match="with a Scores in it: pass one Scores, which takes"):
            call(PANEL, {"slow": bt.Scores(X, long=2)}, bt.Config(execution="next_close"))
    with pytest.raises(bt.PanelError, match="panel is array"):
        bt.Scores(X).weights(X)  # type: ignore[arg-type]
