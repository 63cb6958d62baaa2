# SPDX-License-Identifier: Apache-2.0
"""The warnings: said where something is probably not meant, and only there."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import cpu_fallback
import gpu_bt as bt

T, N = 130, 2
DAYS = np.busday_offset("2020-01-01", np.arange(T))
NAN = np.nan


def panel():
    return bt.Panel(np.full((T, N), 16.0), timestamps=DAYS, assets=["A", "B"])


def said(weights, **settings):
    """The warnings of a run at 16 a share."""
    config = bt.Config(execution="next_close", **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bt.run(panel(), weights, config)
    assert all(w.category is bt.BacktestWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def books(rows, value=0.25):
    weights = np.full((T, N), NAN)
    weights[rows] = value
    return weights


def test_books_that_no_decision_reads_are_told():
    # Books at the first business day of January to April; month ends decide.
    rows = [0, 23, 43, 65]
    (message,) = said(books([*rows, 22]), rebalance="month")
    assert message.startswith("4 of 5 rows with targets are never read, the first at 2020-01-01: they lie on bars")
    assert said(books(rows)) == []


def test_rows_for_every_bar_are_meant_to_be_picked_from():
    assert said(np.full((T, N), 0.25), rebalance_every=21) == []


@pytest.mark.parametrize("settings", [dict(rebalance="month"), dict(signal_lag=1000), dict(rebalance_offset=1000)])
def test_a_run_without_a_decision_is_told(settings):
    (message,) = said(books([0, 23]), **settings)
    assert message.startswith("no decision was taken: none of 2 rows with targets is read at a bar that decides")


def test_weights_that_are_all_missing_are_told():
    (message,) = said(np.full((T, N), NAN))
    assert message.startswith("no decision was taken: none of 0 rows")


def test_weights_in_percent_are_told():
    (message,) = said(np.full((T, N), 50.0))
    assert message.startswith("the median book sums to 100 in a cash account, which can hold 1")
    assert said(np.full((T, N), 50.0), account="margin", max_leverage=None, maintenance_margin=None) == []
    assert said(np.full((T, N), 50.0), max_gross=1.0) == []


def test_a_result_can_be_pickled_and_still_makes_its_fills():
    result = bt.run(panel(), np.full((T, N), 0.25), bt.Config(execution="next_close"))
    again = pickle.loads(pickle.dumps(result))
    assert again.fills.equals(result.fills) and len(again.fills) == 2


def test_the_cpu_package_shows_its_own_default():
    import inspect

    assert inspect.signature(cpu_fallback.run).parameters["engine"].default == "cpu"
    assert inspect.signature(bt.run).parameters["engine"].default == "auto"
    assert sorted(dir(bt)) == sorted(bt.__all__) == sorted(dir(cpu_fallback))


@pytest.mark.parametrize("late", [False, True])
def test_tables_without_a_label_of_the_panel_are_refused(late):
    index = pd.DatetimeIndex(DAYS)
    close = pd.DataFrame(np.full((T, N), 16.0), index=index, columns=["A", "B"])
    moved = close.set_axis(index + pd.Timedelta(days=7 * T)) if late else close
    if late:
        with pytest.raises(bt.PanelError, match=r"^open has no timestamp of the panel: its first is"):
            bt.Panel(close, open=moved, timestamps=index, assets=["A", "B"])
    else:
        assert bt.Panel(close, open=moved, timestamps=index, assets=["A", "B"]).shape == (T, N)


def test_a_series_of_another_order_is_placed_by_its_labels():
    close = np.full((T, N), 16.0)
    lots = pd.Series({"B": 100.0, "A": 1.0})
    for given in (lots, lots.to_dict(), lots[["A", "B"]]):
        assert bt.Panel(close, timestamps=DAYS, assets=["A", "B"], lot=given).lot.tolist() == [1.0, 100.0]
    for wrong, rule in (
        ({"A": 1.0, "C": 2.0}, r"'C' is no asset of the panel \(1 of 2 are none\)"),
        ({"A": 1.0}, r"'B' has no lot \(1 of 2 have none\): name every asset"),
        (pd.Series([1.0, 2.0], index=["A", "A"]), "'A' is there twice"),
        (pd.Series([1.0, 2.0]), "'0' is no asset of the panel"),
    ):
        with pytest.raises(bt.PanelError, match="^lot: " + rule):
            bt.Panel(close, timestamps=DAYS, assets=["A", "B"], lot=wrong)
