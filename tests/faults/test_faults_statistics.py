# SPDX-License-Identifier: Apache-2.0
"""Statistics of odd rows: a documented NaN or one line, never a library's warning and never a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from faults.kit import checked, fault, faults, refused, silence, survived

import gpu_bt as bt
from gpu_bt import metrics, statistics
from gpu_bt.law.layout import MONEY

KIND = "statistics of odd rows"
E = np.array([[100.0, 110, 105, 120, 130], [100, 90, 95, 99, 101]])
R = E / 100 - 1


def of(equity: Any) -> dict[str, np.ndarray]:
    return metrics.equity_metrics(equity[None], 100.0, 252.0)


_NO_NUMBERS = {
    "texts": E.astype(str), "bytes": E.astype(bytes), "bool": E > 100, "complex numbers": E.astype(complex),
    "objects": E.astype(object), "times": E.astype("datetime64[s]"), "a dict": {}, "None": None, "a text": "abc",
    "rows of two lengths": [[1.0, 2.0], [1.0]], "records": np.zeros((2, 5), [("a", float)]),
    "an infinite number": np.where(E == 110, np.inf, E), "a negative infinite number": np.where(E == 110, -np.inf, E),
}  # fmt: skip


@faults(KIND, "refused", _NO_NUMBERS, "rows that hold ")
def test_no_numbers(value: Any):
    calls: list[Callable[[], Any]] = [
        lambda: metrics.returns(value, 100.0), lambda: metrics.drawdown(value, 100.0),
        lambda: metrics.equity_metrics(value, 100.0, 252.0), lambda: statistics.deflated_sharpe_ratio(value),
        lambda: statistics.probability_of_overfitting(value, 2),
    ]  # fmt: skip
    for call in calls:
        with refused("holds|is -?inf|has shape", bt.ConfigError):
            call()


_LIKE = {
    "lists": E.tolist(), "whole numbers": E.astype(int), "in columns": np.asfortranarray(E), "pandas": pd.DataFrame(E),
    "Polars": pl.DataFrame(E, orient="row"), "strided": np.repeat(E, 2, axis=1)[:, ::2],
}  # fmt: skip


@faults(KIND, "survived", _LIKE, "rows given as ")
def test_other_kinds_of_arrays(value: Any):
    survived(metrics.returns(value, 100.0), metrics.returns(E, 100.0))
    survived(metrics.drawdown(value, 100), metrics.drawdown(E, 100.0))
    rows = np.asarray(value)
    for name, want in of(E).items():
        survived(metrics.equity_metrics(rows[None], 100, 252)[name], want)


@faults(
    KIND, "refused",
    {
        "no scenario": np.empty((11, 0, 5)), "no bar": np.empty((11, 2, 0)), "one dimension": E[0],
        "four": E[None, None],
        "too many rows": np.ones((99, 2, 5)), "a hole before the end": np.where(np.arange(5) == 2, np.nan, E)[None],
        "no number at first": np.where(np.arange(5) < 2, np.nan, E)[None],
    }, "money with ",
)  # fmt: skip
def test_shapes_of_money(value: Any):
    with refused("has shape|only stand from a scenario's end", bt.ConfigError):
        metrics.equity_metrics(value, 100.0, 252.0)


@faults(
    KIND, "refused", {"0": 0, "below 0": -1, "NaN": np.nan, "infinite": np.inf, "text": "x", "None": None,
    "three of two": [1, 2, 3], "a number of 400 digits": 10**400, "bool": True}, "bars per year that are ",
)  # fmt: skip
def test_bars_per_year(value: Any):
    with refused("bars_per_year", bt.ConfigError):
        metrics.equity_metrics(E[None], 100.0, value)


@faults(KIND, "refused", {"after the end": 6, "before it": -1, "half a bar": 0.5, "text": "x"}, "a start that is ")
def test_start(value: Any):
    with refused("start", bt.ConfigError):
        metrics.equity_metrics(E[None], 100.0, 252.0, start=value)


@faults(KIND, "survived", {"0": 0.0, "below 0": -5.0, "NaN": np.nan}, "initial cash that is ")
def test_cash_without_a_meaning(value: float):
    found = metrics.equity_metrics(E[None], value, 252.0)
    survived(found["final_equity"], E[:, -1])
    for name in ("total_return", "annual_return", "sharpe", "sortino", "volatility", "max_drawdown", "calmar"):
        survived(found[name], np.full(2, np.nan))
    assert np.isnan(metrics.returns(E, value)[:, 0]).all()


@fault(KIND, "rows without any number", "survived")
def test_all_nan():
    found = of(E * np.nan)
    survived(found.pop("bars"), np.zeros(2, np.int64))
    assert found.pop("longest_drawdown").tolist() == [0, 0]
    assert all(np.isnan(values).all() for values in found.values())


@faults(KIND, "survived", {"1e306": 1e304, "1e-320": 1e-322, "1e308 and back": 0.0}, "equity of the size of ")
def test_sizes(value: float):
    equity = E * value if value else np.array([[1e308, -1e308, 1e308, 1e-308, 1e308], [1, 1e300, 1e-300, 1, 1]])
    money = np.zeros((len(MONEY), *equity.shape))
    money[0] = equity
    found = metrics.equity_metrics(money, 100.0, 252.0)
    survived(found["final_equity"], equity[:, -1])
    assert not np.isfinite(found["sharpe"][found["volatility"] == np.inf]).any()


@fault(KIND, "trials without returns beside others", "survived")
def test_rows_that_are_no_trials():
    rows = np.vstack([R, np.full(5, np.nan), [np.nan, np.nan, np.nan, np.nan, 9.0]])
    survived(statistics.deflated_sharpe_ratio(rows), statistics.deflated_sharpe_ratio(R))
    assert np.isnan(statistics.deflated_sharpe_ratio(rows, scenario=2).probability)
    survived(statistics.probability_of_overfitting(rows, 2).logits, statistics.probability_of_overfitting(R, 2).logits)


@fault(KIND, "no trial with two returns", "refused")
def test_no_trials():
    for call in (statistics.deflated_sharpe_ratio, statistics.probability_of_overfitting):
        for rows in (R * np.nan, np.where(np.arange(5) == 3, R, np.nan), R[:1], np.empty((0, 5))):
            with refused("2 scenarios with returns", bt.ConfigError):
                call(rows)


@faults(KIND, "refused", {"too small": 1, "odd": 3, "a text": "4", "half": 2.0, "too many": 4}, "blocks that are ")
def test_blocks(value: Any):
    with refused("blocks is ", bt.ConfigError):
        statistics.probability_of_overfitting(R, value)


@faults(
    KIND, "refused", {"none": 0, "infinite": np.inf, "1e308": 1e308, "NaN": np.nan, "a text": "3"}, "trials that are "
)
def test_trials(value: Any):
    with refused("trials", bt.ConfigError):
        statistics.deflated_sharpe_ratio(R, trials=value)


@faults(KIND, "refused", {"not there": 2, "half": 0.5, "a text": "a", "an array": [0, 1]}, "a scenario that is ")
def test_scenario(value: Any):
    with refused("scenario", bt.ConfigError):
        statistics.deflated_sharpe_ratio(R, value)


@faults(KIND, "refused", {"0": 0, "a text": "x", "NaN": np.nan, "None": None}, "bars of a Sharpe ratio that are ")
def test_bars_of_a_sharpe(value: Any):
    with refused("bars", bt.ConfigError):
        statistics.sharpe_probability(0.1, value, 0.0, 3.0)


@faults(KIND, "refused", {"NaN": np.nan, "a text": "x", "half a bar": 1.5, "None": None, "0": 0}, "a walk forward by ")
def test_walk_forward(value: Any):
    with refused("train", bt.ConfigError):
        list(statistics.walk_forward(100, value, 5))


_FLAGS = {"a text": "no", "a number": 2, "an array": np.array([True, False]), "a Series": pd.Series([True]),
          "None": None, "pandas' NA": pd.NA}  # fmt: skip


@faults(KIND, "refused", _FLAGS, "a walk forward with expanding= as ")
def test_walk_forward_expanding(value: Any):
    with refused("expanding is .*: it must be True or False", bt.ConfigError):
        list(statistics.walk_forward(100, 10, 5, expanding=value))


_ENDS = {"exactly -1": -1.0, "almost -1": -1 + 2.0**-53, "below -1": -1.0001}


@faults(KIND, "survived", _ENDS, "a scenario that ends with a return of ")
def test_a_return_that_takes_all(value: float):
    rows = np.random.default_rng(0).normal(0, 0.01, (4, 64))
    rows[2] += 0.004
    for after in (np.nan, 0.0):
        rows[2, 40:] = -0.9999
        rows[2, 41:] = after
        expected = statistics.probability_of_overfitting(rows, 8).probability
        best = statistics.deflated_sharpe_ratio(rows).probability
        rows[2, 40] = value
        assert abs(statistics.deflated_sharpe_ratio(rows).probability - best) < 1e-4
        survived(statistics.probability_of_overfitting(rows, 8).probability, expected)
    assert not np.isnan(statistics.probability_of_overfitting(rows, 8).in_sample).any()


@faults(KIND, "refused", {"-1": -1.0, "a text": "x", "None": None}, "rounding_of a tick of ")
def test_rounding_of(value: Any):
    with refused("tick", bt.ConfigError):
        metrics.rounding_of(value)


@faults(KIND, "refused", {"a number": 3, "texts": ["2024-01-02"], "two columns": E.astype(int)}, "times given as ")
def test_times(value: Any):
    with refused("microseconds", bt.ConfigError):
        metrics.infer_bars_per_year(value)


@fault(KIND, "masked cells", "survived")
def test_masked_cells():
    masked = np.ma.masked_greater(E, 125)
    survived(metrics.returns(masked, 100.0), metrics.returns(np.where(E > 125, np.nan, E), 100.0))
    checked.add("survived")


@cache
def grid() -> bt.SweepResult:
    """Nothing is traded, so that ratios are NaN everywhere."""
    close = np.full((20, 2), 100.0)
    panel = bt.Panel(close, open=close, timestamps=np.busday_offset("2024-01-02", np.arange(20)), assets=["A", "B"])
    with pytest.warns(bt.BacktestWarning):
        return bt.sweep(panel, np.full((20, 2), 0.4), bt.Config(), {"lot": [1e6, 1e7], "band": [0, 0.1]}, equity=True)


@faults(
    KIND, "refused", {"a text": "x", "half": 2.5, "below 0": -1, "NaN": np.nan, "None": None, "infinite": np.inf},
    "the best n scenarios, n is ",
)  # fmt: skip
def test_how_many(value: Any):
    with refused("n (is|holds)", bt.ConfigError):
        grid().best("sharpe", value)


@faults(KIND, "refused", {"a number": 3, "None": None, "unknown": "gain", "a list": []}, "a metric that is ")
def test_metric(value: Any):
    for call in (grid().best, grid().shown, lambda metric: grid().plot(metric=metric)):
        with refused("is no metric", bt.ConfigError):
            call(value)


@faults(
    KIND, "refused",
    {
        "an axis twice": {"rows": "band", "columns": "band"}, "no axis": {"rows": "x"}, "no such value": {"how": "x"},
        "a text for numbers": {"rows": "lot", "columns": "band", "lot": "x"},
        "an object for numbers": {"rows": "lot", "columns": "band", "lot": object()},
    }, "a picture of a sweep with ",
)  # fmt: skip
def test_pictures_of_sweeps(value: dict[str, Any]):
    with refused("both|is no axis|must be one of|no scenario has", bt.ConfigError):
        grid().plot(**value)


@fault(KIND, "a sweep in which nothing has a Sharpe ratio", "survived")
def test_nothing_to_rank(tmp_path: Path):
    with silence():
        survived(grid().best("sharpe").height, 0)
        assert grid().best("sharpe", 10**18, every=True).height == 0 and "lot" in str(grid())
        grid().plot(tmp_path / "x.png")
    assert np.isnan(grid().pivot("lot", "band")["0.0"].to_numpy()).all()
