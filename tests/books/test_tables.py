# SPDX-License-Identifier: Apache-2.0
"""What goes into the operators and comes out: kinds of tables, labels, types, and one line for what is wrong."""

from __future__ import annotations

import datetime as dt
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scalars import drawn, same_bits

import gpu_bt as bt
from gpu_bt import books
from gpu_bt.books.tables import codes_of, listed

NAMES = ["A", "B", "C"]
DAYS = pd.date_range("2024-01-01", periods=4, name="day")
X = np.array([[1.0, 2.0, 3.0], [3.0, np.nan, 1.0], [2.0, 2.0, 2.0], [5.0, 6.0, 4.0]])
GROUPS = ["x", "y", "x"]


def calls(x: Any, y: Any) -> dict[str, Any]:
    """Every function of one table or two."""
    return {
        "rank": books.rank(x, GROUPS),
        "zscore": books.zscore(x),
        "winsorise": books.winsorise(x),
        "demean": books.demean(x),
        "neutralise": books.neutralise(x, None, y),
        "delay": books.delay(x),
        "delta": books.delta(x),
        "decay": books.decay(x, 2),
        "rolling_sum": books.rolling_sum(x, 2),
        "rolling_mean": books.rolling_mean(x, 2),
        "rolling_std": books.rolling_std(x, 2),
        "rolling_max": books.rolling_max(x, 2),
        "rolling_min": books.rolling_min(x, 2),
        "rolling_rank": books.rolling_rank(x, 2),
        "rolling_corr": books.rolling_corr(x, y, 3),
        "volatility": books.volatility(x, 2),
    }


WANTED = calls(X, X**2)


def test_all_of_them_are_here_and_in_the_public_list():
    assert set(WANTED) <= set(books.__all__)
    for name in WANTED:
        assert getattr(bt.books, name) is getattr(books, name)
        assert inspect.getdoc(getattr(books, name))


def test_frames_of_pandas_come_back_with_their_labels():
    x = pd.DataFrame(X, index=DAYS, columns=pd.Index(NAMES, name="asset"))
    for name, found in calls(x, x**2).items():
        assert isinstance(found, pd.DataFrame), name
        assert found.index.equals(x.index) and found.index.name == "day" and found.columns.equals(x.columns)
        assert found.columns.name == "asset"
        same_bits(found.to_numpy(), WANTED[name])


def test_frames_with_a_column_of_times_keep_it_where_it_is():
    x = pd.DataFrame(X, columns=NAMES)
    x.insert(1, "when", DAYS)
    for name, found in calls(x, x.assign(A=x.A**2, B=x.B**2, C=x.C**2)).items():
        assert list(found.columns) == list(x.columns) and found["when"].equals(x["when"])
        same_bits(found[NAMES].to_numpy(), WANTED[name])


@pytest.mark.parametrize("stamps", ["dates", "texts", "numbers", "none"])
def test_frames_of_polars_come_back_with_their_labels(stamps: str):
    days = [dt.date(2024, 1, k + 1) for k in range(4)]
    columns: dict[str, Any] = {"dates": {"t": days}, "texts": {"date": [str(day) for day in days]},
                               "numbers": {"Date": [20240100 + k for k in range(4)]}, "none": {}}[stamps]  # fmt: skip
    x = pl.DataFrame({**columns, **dict(zip(NAMES, X.T, strict=True))})
    y = x.with_columns(pl.col(NAMES) ** 2)
    for name, found in calls(x.with_columns(pl.col("B").fill_nan(None)), y).items():
        assert isinstance(found, pl.DataFrame) and found.columns == x.columns, name
        assert all(found[column].equals(x[column]) for column in columns)
        same_bits(found.select(NAMES).to_numpy(), WANTED[name])


def test_float32_stays_and_all_else_is_float64():
    x = drawn(1, (30, 5)).astype(np.float32)
    for name, found in calls(np.abs(x[:, :3]) + 1, x[:, :3]).items():
        assert found.dtype == np.float32, name
    same_bits(books.rolling_std(x, 5), books.rolling_std(x.astype(np.float64), 5).astype(np.float32))
    for kind in ("i4", "u1", "i8", "f2", ">f8"):
        whole = np.arange(12).reshape(4, 3).astype(kind)
        same_bits(books.rolling_mean(whole, 2), books.rolling_mean(whole.astype(float), 2))
    assert books.rank([[3, 1, 2]]).tolist() == [[0.0, 2.0, 1.0]]
    frame = pd.DataFrame(X.astype(np.float32), columns=NAMES)
    assert set(books.rank(frame).dtypes) == {np.dtype(np.float32)}
    assert set(books.rank(frame.astype({"A": float})).dtypes) == {np.dtype(np.float64)}
    assert books.rank(pl.DataFrame(frame)).dtypes == [pl.Float32] * 3
    nullable = pd.DataFrame({"A": pd.array([1, None], "Int64"), "B": pd.array([2.5, 0.5], "Float64")})
    same_bits(books.rank(nullable).to_numpy(), np.array([[1.0, 0.0], [np.nan, 0.0]]))


def test_arrays_of_any_layout_give_the_same_and_are_not_written_to():
    wide = np.zeros((8, 6))
    wide[::2, ::2] = X
    for x in (np.asfortranarray(X), wide[::2, ::2], X.astype(">f8")):
        x.flags.writeable = False
        for name, found in calls(x, X**2).items():
            same_bits(found, WANTED[name])


def test_labels_of_tables_given_together_agree():
    x = pd.DataFrame(X, index=DAYS, columns=NAMES)
    for name, other in {
        "y": x[["A", "C", "B"]],
        "exposures": x.rename(columns={"B": "D"}),
        "universe": x[["A", "C", "B"]] > 1,
        "groups": x.set_axis(DAYS + pd.Timedelta(1, "D")).astype(str),
    }.items():
        with pytest.raises(bt.PanelError, match=rf"^\w+: {name} has .* and the table beside it .*: give them the same"):
            if name == "y":
                books.rolling_corr(x, other, 2)
            else:
                books.neutralise(x, **{name: other})
    late = pl.DataFrame({"date": [*DAYS[:-1], dt.datetime(2024, 2, 1)], "A": X[:, 0], "B": X[:, 1], "C": X[:, 2]})
    with pytest.raises(bt.PanelError, match=r"has '2024-02-01T00:00:00.000000' as row 3 and the table beside it"):
        books.rolling_corr(x, late, 2)
    same = pl.DataFrame({"date": list(DAYS), "A": X[:, 0], "B": X[:, 1], "C": X[:, 2]})
    assert isinstance(books.rolling_corr(x, same, 2), pd.DataFrame)
    assert isinstance(books.rolling_corr(x, X, 2), pd.DataFrame)
    assert isinstance(books.rolling_corr(X, x, 2), np.ndarray)
    panel = bt.Panel(np.ones((4, 3)), timestamps=DAYS, assets=["A", "C", "B"])
    with pytest.raises(bt.PanelError, match=r"^rank: universe has 'C' as column 1 and the table beside it 'B'"):
        books.rank(x, universe=panel)
    with pytest.raises(bt.PanelError, match=r"^rank: universe has '2024-01-01T.*' as row 0"):
        books.rank(
            x.set_axis(DAYS + pd.Timedelta(1, "D")), universe=bt.Panel(np.ones((4, 3)), timestamps=DAYS, assets=NAMES)
        )
    same_bits(books.rank(X, universe=panel), books.rank(X))


def test_groups_of_every_kind():
    x = pd.DataFrame(X, index=DAYS, columns=NAMES)
    wanted = books.rank(X, [0, 1, 0])
    cells = np.array([GROUPS] * 4)
    for groups in (GROUPS, tuple(GROUPS), np.array(GROUPS), np.array(GROUPS, object), [True, False, True], [7, -3, 7],
                   [1e9, 2.5, 1e9], [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 1)], cells,
                   cells.tolist(), cells.astype(object), pd.Series(GROUPS), pl.Series(GROUPS)):  # fmt: skip
        same_bits(books.rank(X, groups), wanted)
    named = {"B": "y", "C": "x", "A": "x"}
    for groups in (named, pd.Series(named), pd.DataFrame(cells, index=DAYS, columns=NAMES),
                   pl.DataFrame(cells, schema=NAMES), pd.Series(named).astype("category")):  # fmt: skip
        same_bits(books.rank(x, groups).to_numpy(), wanted)
    for none in (None, "", float("nan"), -1, pd.NA, pd.NaT, np.nan):
        assert codes_of(["a", none, "b"], (4, 3)).tolist() == [0, -1, 1]
        assert codes_of(np.array([["a", none, "b"]] * 4, object), (4, 3)).tolist() == [[0, -1, 1]] * 4
    assert codes_of(np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]"), (4, 3)).tolist() == [0, -1, 1]
    assert codes_of({"A": "x"}, (4, 3), assets=NAMES).tolist() == [0, -1, -1]
    for wrong, rule in (
        ([1, 2], r"shape \(2,\)"), ("tech", "'tech' are no labels"), (named, "no labels for assets without names"),
        ([[1], [2, 3], []], "hashable"), ([{}, {}, {}], "hashable"),
        ([X[:2], X[:3].T, X], "hashable"), ([X, X[:, :2]], "no array"),
    ):  # fmt: skip
        with pytest.raises(bt.PanelError, match=rf"^rank: groups.*({rule})"):
            books.rank(X, wrong)
    with pytest.raises(bt.PanelError, match=r"^rank: groups: 'Z' is no asset"):
        books.rank(x, {"Z": 1})
    panel = bt.Panel(np.ones((4, 3)), timestamps=DAYS, assets=NAMES, group=GROUPS)
    same_bits(books.rank(X, "panel", panel), wanted)
    for universe in (None, np.ones((4, 3), bool), bt.Panel(np.ones((4, 3)), timestamps=DAYS, assets=NAMES)):
        with pytest.raises(bt.PanelError, match=r"^rank: groups is 'panel': it needs a Panel with group="):
            books.rank(X, "panel", universe)


def test_universes_of_every_kind():
    mask = np.array([[True, True, False], [True, True, True], [False] * 3, [False, True, True]])
    x = pd.DataFrame(X, index=DAYS, columns=NAMES)
    wanted = books.rank(np.where(mask, X, np.nan))
    frame = pd.DataFrame(mask, index=DAYS, columns=NAMES)
    for universe in (mask, mask.tolist(), frame, pl.DataFrame(mask, schema=NAMES),
                     bt.Panel(np.ones((4, 3)), timestamps=DAYS, assets=NAMES, universe=mask)):  # fmt: skip
        same_bits(books.rank(X, universe=universe), wanted)
        same_bits(books.rank(x, universe=universe).to_numpy(), wanted)
    assert listed(None, (2, 3)).all()
    for wrong in (mask[:, :2], mask.T, mask * 1.0, mask.astype(object), "all", 5):
        with pytest.raises(bt.PanelError, match=r"^rank: universe (has shape|is of dtype)"):
            books.rank(X, universe=wrong)
    for empty in (frame.astype("boolean").where(frame), pl.DataFrame({"A": [True, None]} | dict.fromkeys("BC", True))):
        with pytest.raises(bt.PanelError, match=r"^rank: universe is of dtype object"):
            books.rank(X, universe=empty)
    same_bits(books.rank(X, universe=frame.astype("boolean")), wanted)
    with pytest.raises(bt.PanelError, match=r"^rank: universe\['A'\] holds float64: .* True and False"):
        books.rank(x, universe=frame * 1.0)


def _cells() -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for inf in (np.inf, -np.inf):
        bad = X.copy()
        bad[3, 1] = inf
        out.append((rf"x\[3, 1\] is {inf}: a number must be finite", bad))
    frame = pd.DataFrame(bad, index=DAYS, columns=NAMES)
    out.append((r"x\[2024-01-04, 'B'\] is -inf: a number must be finite", frame))
    out.append((r"x\[2024-01-04, 'B'\] is -inf", pl.DataFrame(frame.reset_index())))
    out.append((r"x has shape \(3,\): it must be \(T, N\)", X[0]))
    out.append((r"x has shape \(1, 4, 3\)", X[None]))
    out.append((r"x has shape \(0, 3\)", X[:0]))
    out.append((r"x has shape \(4, 0\)", X[:, :0]))
    out.append((r"x is of dtype <U\d+: pass a \(T, N\) table of numbers", X.astype(str)))
    out.append((r"x is of dtype object", X.astype(object)))
    out.append((r"x is of dtype bool", X > 1))
    out.append((r"x is of dtype complex128", X * 1j))
    out.append((r"x is a masked array", np.ma.masked_invalid(X)))
    out.append((r"x is a \w+ that is no array", [[1, 2], [3]]))
    out.append((r"x is of dtype object|x has shape \(\)", None))
    out.append((r"x is a Series: pass", pd.Series(X[0])))
    out.append((r"x is a dict: pass", {"A": 1}))
    out.append((r"x is a str: pass", "prices.csv"))
    out.append((r"x is a LazyFrame: pass", pl.DataFrame(X).lazy()))
    out.append((r"x\['B'\] holds \w+: an asset's column must hold numbers", pd.DataFrame({"A": [1.0], "B": ["2"]})))
    out.append((r"x\['B'\] holds String", pl.DataFrame({"A": [1.0], "B": ["2"]})))
    out.append((r"x\['B'\] holds bool", pd.DataFrame({"A": [1.0], "B": [True]})))
    out.append((r"x has 2024-01-03.* after 2024-01-04", pd.DataFrame(X, index=DAYS[[0, 1, 3, 2]], columns=NAMES)))
    out.append((r"x has 2024-01-02.* after 2024-01-02", pd.DataFrame(X, index=DAYS[[0, 1, 1, 2]], columns=NAMES)))
    for days in (DAYS.tz_localize("Asia/Tokyo"), DAYS.date, DAYS.strftime("%Y-%m-%d"), DAYS.to_period("D")):
        fallen = pd.DataFrame(X, index=days[[0, 1, 3, 2]], columns=NAMES)
        out.append((r"x has 2024-01-03.* after 2024-01-04", fallen))
        out.append((r"x has 2024-01-03.* after 2024-01-04", fallen.rename_axis("date").reset_index()))
    out.append((r"x has (NaT|nan|None) after 2024-01-01", frame.set_axis([DAYS[0], None, *DAYS[2:]])))
    out.append((r"x has nan after 2024-01-01", frame.set_axis(["2024-01-01", np.nan, "2024-01-03", "2024-01-04"])))
    return out


@pytest.mark.parametrize(("rule", "x"), _cells())
def test_one_line_says_what_is_wrong(rule: str, x: Any):
    for name, call in {
        "rank": books.rank, "zscore": books.zscore, "winsorise": books.winsorise, "demean": books.demean,
        "neutralise": books.neutralise, "delay": books.delay, "delta": books.delta,
        "decay": lambda x: books.decay(x, 2), "rolling_sum": lambda x: books.rolling_sum(x, 2),
        "rolling_std": lambda x: books.rolling_std(x, 2), "rolling_max": lambda x: books.rolling_max(x, 2),
        "rolling_rank": lambda x: books.rolling_rank(x, 2), "rolling_corr": lambda x: books.rolling_corr(x, x, 2),
    }.items():  # fmt: skip
        with pytest.raises(bt.PanelError, match=rf"^{name}: ({rule})") as caught:
            call(x)
        assert "\n" not in str(caught.value)


def test_other_arguments_are_checked():
    for limits in ((0.9, 0.1), (0.5, 0.5), (-0.1, 0.9), (0, 1.1), (0.1,), 0.1, ("a", "b"), None, (np.nan, 1)):
        with pytest.raises(bt.ConfigError, match=re.escape("winsorise: limits is ")):
            books.winsorise(X, limits)
    same_bits(books.winsorise(X, (0, 1)), X)
    with pytest.raises(bt.ConfigError, match=r"^rank: pct is 'yes'"):
        books.rank(X, pct="yes")
    with pytest.raises(bt.ConfigError, match=r"^rolling_rank: pct is 'yes'"):
        books.rolling_rank(X, 2, pct="yes")
    bad = np.ones((4, 3))
    bad[2, 0] = -1
    with pytest.raises(bt.PanelError, match=r"^neutralise: weights\[2, 0\] is -1.0: .* finite and >= 0"):
        books.neutralise(X, weights=bad)
    bad[2, 0] = np.inf
    with pytest.raises(bt.PanelError, match=r"^neutralise: exposures\['beta'\]\[2, 0\] is inf"):
        books.neutralise(X, exposures={"beta": bad})
    with pytest.raises(bt.PanelError, match=r"^neutralise: exposures\[1\] has shape \(3, 3\)"):
        books.neutralise(X, exposures=[X, X[:3]])
    with pytest.raises(TypeError):
        books.rank(X, sectors=GROUPS)


def test_the_examples_of_the_page_run():
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    score, risk, alone = names["score"], names["risk"], names["alone"]
    assert np.isnan(score[:60]).all() and np.isnan(score[:, 5]).all() and np.isfinite(score[60:, :5]).all()
    assert (risk.columns == names["frame"].columns).all() and risk.iloc[20:].gt(0).all(axis=None)
    assert np.abs(alone["A"] + alone["B"]).max() < 1e-12 < alone["A"].abs().max() and alone["F"].isna().all()
    assert np.nanmax(names["place"]) < 1
