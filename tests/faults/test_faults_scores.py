# SPDX-License-Identifier: Apache-2.0
"""Scores that cannot be ranked, or not as they are meant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from faults.kit import fault, faults, refused, silence, survived, told

import gpu_bt as bt

_KIND = "scores"
T, N = 20, 6
NAMES = [f"S{i}" for i in range(N)]
DAYS = [dt.date(2020, 1, 1) + dt.timedelta(i) for i in range(T)]
CLOSE = 20 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.02, (T, N)), axis=0))
X = np.random.default_rng(3).normal(size=(T, N))
MARGIN = bt.Config(account="margin", lot=0, execution="next_close")


def panel(**fields: Any) -> bt.Panel:
    return bt.Panel(CLOSE, timestamps=DAYS, assets=NAMES, **fields)


PANEL = panel()
TABLE = pl.DataFrame({"timestamp": DAYS, **{name: X[:, i] for i, name in enumerate(NAMES)}})


def changed(value: float, t: int = 4, i: int = 2) -> np.ndarray:
    found = X.copy()
    found[t, i] = value
    return found


def scored(scores: Any, own: bt.Panel = PANEL, **given: Any) -> bt.Result:
    return bt.run(own, bt.Scores(scores, **{"long": 2, **given}), MARGIN)


def swept(grid: Any, scores: Any = X, config: bt.Config = MARGIN, **given: Any) -> Any:
    return bt.sweep(PANEL, bt.Scores(scores, **{"long": 2, **given}), config, grid)


_OUTSIDE = np.ones((T, N), bool)
_OUTSIDE[4, 2] = False
_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "an infinite score": (lambda: scored(changed(np.inf)), r"scores\[2020-01-05, 'S2'\] is inf"),
    "one of minus infinity": (lambda: scored(changed(-np.inf)), r"scores\[2020-01-05, 'S2'\] is -inf"),
    "an infinite score outside the universe": (
        lambda: scored(changed(np.inf), panel(universe=_OUTSIDE)), r"scores\[2020-01-05, 'S2'\] is inf"),
    "an infinite score of one of several": (
        lambda: swept({"band": [0.0]}, {"a": X, "b": changed(np.inf)}), r"scores 'b'\[2020-01-05, 'S2'\] is inf"),
    "fewer rows than the panel": (lambda: scored(X[1:]), r"scores has shape \(19, 6\): it must be \(T, N\)"),
    "assets as rows": (lambda: scored(X.T), r"scores has shape \(6, 20\)"),
    "one row": (lambda: scored(X[0]), "pass a .T, N. array of numbers"),
    "True and False": (lambda: scored(X > 0), "of dtype bool"),
    "a table with an asset that the panel lacks": (
        lambda: scored(TABLE.rename({"S1": "T1"})), "scores: asset 'T1' is not in the panel"),
    "a table with a bar that the panel lacks": (
        lambda: scored(TABLE.with_columns(pl.col("timestamp").dt.offset_by("1y"))), "is no bar of the panel"),
    "a text in a table": (lambda: scored(TABLE.with_columns(S1=pl.lit("high"))), "scores: "),
    "weights read for another panel": (
        lambda: scored(bt.read_weights(TABLE[:, :-1], panel()[:, NAMES[:5]], missing="hold")), "has shape"),
    "one number for each asset": (lambda: scored({"a": {"S1": 1.0}}), "scores 'a' is one number for each asset"),
    "a book of nobody": (lambda: scored(X, long=0), "long and short are both 0"),
    "a grid with a book of nobody": (
        lambda: swept({"long": [0, 2], "short": [0, 2]}), "scenario 0 of the grid: long and short are both 0"),
    "a short side in a cash account": (
        lambda: bt.run(PANEL, bt.Scores(X, short=1), bt.Config(execution="next_close")),
        "short is 1: a cash account is long-only"),
    "a grid with a short side in a cash account": (
        lambda: swept({"short": [0, 0.2], "account": ["margin", "cash"]}),
        "scenario 3 of the grid: grid axis short is 0.2: a cash account is long-only"),
    "a name that no scores have": (
        lambda: swept({"scores": ["a", "c"]}, {"a": X, "b": X}), "it must be one of 'a', 'b'"),
    "several scores in a run": (lambda: scored({"a": X, "b": X}), "scores has 2 panels, 'a', 'b'"),
    "no scores": (lambda: scored({}), "scores is empty"),
    "half a name more": (lambda: swept({"long": [2, 2.5]}), "long is 2.5: it must be a whole number of names"),
    "a fraction twice": (lambda: swept({"long": [0.2, np.float64(0.2)]}), "grid axis 'long' has 0.2 twice"),
    "keep below 1": (lambda: swept({"keep": [0.9]}), r"keep is 0.9: it must be a multiple of the names in \[1, "),
    "a scheme that there is not": (lambda: swept({"scheme": ["equal", "best"]}), "scheme is 'best': it must be one of"),
    "a gross of 0": (lambda: swept({"long_gross": [0]}), "long_gross is 0: it must be a fraction of equity above 0"),
    "an axis that is none": (lambda: swept({"hold": [1]}), "'hold' is no field of Config nor a parameter of Scores"),
    "groups of a panel without": (lambda: scored(X, groups="panel"), "the panel has none; pass group= to the Panel"),
    "groups of other assets": (lambda: scored(X, groups={"T1": "a"}), "'T1' is no asset of the panel"),
    "groups of another shape": (lambda: scored(X, groups=[1, 2]), r"groups: shape \(2,\)"),
}  # fmt: skip


@faults(_KIND, "refused", _REFUSED)
def test_what_cannot_be_ranked(value: tuple[Callable[[], Any], str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gpu_bt.sweeps.sweep.run_here", lambda *_: pytest.fail("it ran"))
    monkeypatch.setattr("gpu_bt.runs.run.simulate", lambda *_: pytest.fail("it ran"))
    with refused(value[1]):
        value[0]()


@fault(_KIND, "more names wanted than are ranked", "told")
def test_more_names_than_there_are():
    with told("20 books have fewer names than wanted"):
        got = scored(X, long=50)
    assert got.notes["thin_books"] == T
    with told("1 of 2 scenarios have books of fewer names than wanted .the first is 1, at 20 bars."):
        found = swept({"long": [2, 50]})
    assert found.table["thin_books"].to_list() == [0, T]
    assert (bt.Scores(X, long=50).weights(PANEL) == 1 / N).all()


@fault(_KIND, "rows without any score", "survived")
def test_rows_without_a_score():
    x = X.copy()
    x[5:8] = np.nan
    weights = bt.Scores(X, long=2).weights(PANEL)
    weights[5:8] = np.nan
    with silence():
        survived(scored(x), bt.run(PANEL, weights, MARGIN))


@fault(_KIND, "no score at all", "told")
def test_no_score_at_all():
    x = np.full((T, N), np.nan)
    with told("no decision was taken"):
        assert scored(x).decisions == 0
    with told("no decision 2"):
        found = swept({"long": [1, 2]}, x)
    assert found.table["thin_books"].to_list() == [0, 0]


@fault(_KIND, "a resumed run with keep, whose last book is not in the file", "told")
def test_a_resumed_run_with_keep(tmp_path: Path):
    first = bt.run(PANEL[: DAYS[9]], bt.Scores(X[:10], long=2, keep=2), MARGIN)
    path = first.checkpoint(tmp_path / "state")
    with told("a resumed run begins without a last book: keep=2 knows nobody at first"):
        bt.run(PANEL[DAYS[10] :], bt.Scores(X[10:], long=2, keep=2), MARGIN, resume=path)


@fault(_KIND, "the folder of a sweep of other scores", "refused")
def test_the_folder_of_other_scores(tmp_path: Path):
    bt.sweep(PANEL, bt.Scores(X), MARGIN, {"long": [1, 2]}, out=tmp_path)
    with refused("holds a sweep with another scores"):
        bt.sweep(PANEL, bt.Scores(-X), MARGIN, {"long": [1, 2]}, out=tmp_path)


@fault(_KIND, "a single -0.0 beside zeros, and a score of 1e308", "survived")
def test_odd_numbers():
    x = np.zeros((T, N))
    x[:, 0], x[:, 5] = -0.0, 1e308
    survived(bt.Scores(x, long=2).weights(PANEL)[0], np.array([0.5, 0, 0, 0, 0, 0.5]))
