# SPDX-License-Identifier: Apache-2.0
"""Faults of what is passed: objects that cannot be shown, cells that hold nothing, numbers beyond all range."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from faults.kit import fault, faults, refused, silence, told

import gpu_bt as bt
from gpu_bt.statistics import probability_of_overfitting

T = 60
STAMPS = pd.bdate_range("2024-01-02", periods=T)
CLOSE = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, (T, 3)).cumsum(axis=0))
EQUAL = np.full((T, 3), 1 / 3)
CASH = bt.Config(execution="next_close", lot=0)


def panel(**fields: Any) -> bt.Panel:
    return bt.Panel(**{"close": CLOSE, "timestamps": STAMPS, "assets": ["A", "B", "C"], **fields})


class Mute:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Closer(bt.Strategy):
    """Closes all but one."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        """Order."""
        self.close_others([self.kept])


MUTE: dict[str, Any] = {
    "an asset's name": lambda it: bt.Panel(CLOSE, timestamps=STAMPS, assets=["A", "B", it]),
    "a group": lambda it: panel(group=["a", it, "b"]),
    "a group by name": lambda it: panel(group={"A": it}),
    "a timestamp": lambda it: panel(timestamps=[*STAMPS[:-1], it]),
    "next_timestamp": lambda it: panel(next_timestamp=it),
    "an asset of panel[:, x]": lambda it: panel()[:, it],
    "one of the assets of panel[:, x]": lambda it: panel()[:, ["A", it]],
    "a time of panel[x]": lambda it: panel()[it],
    "an end of panel[x:]": lambda it: panel()[it:],
    "a weight": lambda it: bt.run(panel(), {"A": it}, CASH),
    "an asset of weights": lambda it: bt.run(panel(), {it: 0.5}, CASH),
    "an asset of read_weights": lambda it: bt.read_weights({it: 0.5}, panel()),
    "an asset of holdings": lambda it: bt.run(panel(), EQUAL, CASH, holdings={it: 1}),
    "a number of holdings": lambda it: bt.run(panel(), EQUAL, CASH, holdings={"A": it}),
    "an asset of close_others": lambda it: bt.run(panel(), Closer(it), CASH),
    "a ticker of tables": lambda it: bt.read_panel({it: pd.DataFrame()}),
    "a field": lambda it: bt.read_panel(pd.DataFrame({"A": [1.0]}, STAMPS[:1]), fields=[it]),
    "blocks": lambda it: probability_of_overfitting(CLOSE.T / 100, it),
}


@faults("wrong types", "refused", MUTE, "an object that cannot be shown as ")
def test_an_object_that_cannot_be_shown(value: Any) -> None:
    with refused("a Mute|fields is a list"):
        value(Mute())


WORDS = {"a text": "0.5", "a decimal comma": "0,5", "a percentage": "50%", "nothing": "", "400 digits": 10**400,
         "400 digits below 0": -(10**400), "None": None}  # fmt: skip


@faults("weights", "refused", WORDS, "a book that holds ")
def test_a_book_whose_weight_is_no_number(value: Any) -> None:
    for call in (lambda w: bt.run(panel(), w, CASH), lambda w: bt.read_weights(w, panel())):
        with refused("weights: 'A' is .*: it must be a number", bt.WeightsError):
            call({"A": value})


@fault("weights", "a long table with empty cells", "told")
def test_empty_cells_of_a_long_table_are_counted_and_hold() -> None:
    rows = [(STAMPS[4], "A", 0.5), (STAMPS[5], "B", None), (STAMPS[5], "A", 0.5), (STAMPS[6], "A", np.nan)]
    table = pd.DataFrame(rows, columns=["date", "asset", "weight"])
    found = bt.read_weights(table, panel())
    assert found.empty_cells == 2 and np.isnan(found[5, 1]) and np.isnan(found[6, 0]) and found[6, 2] == 0
    assert bt.read_weights(table, panel(), missing="hold").empty_cells == 2
    with told("weights: 2 empty cells of its books are read as 0, .*, or hold where the table is long"):
        assert bt.run(panel(), table, CASH).notes["empty_cells"] == 2


EMPTY = {
    "a long table whose weights are all empty": pd.DataFrame(
        {"date": STAMPS[:4], "asset": ["A", "B"] * 2, "weight": [np.nan] * 4}
    ),
    "a book of NaN": {"A": np.nan},
}


@faults("weights", "told", EMPTY)
def test_books_without_a_weight_are_no_decision(value: Any) -> None:
    with told("no decision was taken: the weights of .* rows are 0 or empty|weights: 4 empty cells"):
        assert list(bt.run(panel(), value, CASH).advice) == ["no decision"]
    zeros = np.zeros((T, 3))
    with silence():
        assert not bt.run(panel(), zeros, CASH).advice


FIELDS_NONE = {"an empty list": [], "an empty mapping": {}, "a generator": (x for x in ["close"]), "a text": "close",
               "a file": io.StringIO("close")}  # fmt: skip


@faults("wrong types", "refused", FIELDS_NONE, "fields= is ")
def test_fields_that_are_none(value: Any) -> None:
    table = pd.DataFrame({"date": STAMPS, "asset": "A", "close": CLOSE[:, 0]})
    with refused("fields is .*: it must be names of fields in a list", bt.PanelError):
        bt.read_panel(table, fields=value)


FAR = {str(day): day for day in (10**8, 2**31 - 1, -(2**31), -(10**6), 3 * 10**6)}


@faults("cells", "refused", FAR, "a date that is day ")
def test_days_beyond_the_calendar(value: int) -> None:
    table = pl.DataFrame({"date": pl.Series([value], dtype=pl.Int32).cast(pl.Date), "A": [0.5]})
    for call in (bt.read_panel, lambda t: bt.read_weights(t, panel()), lambda t: bt.run(panel(), t, CASH)):
        with refused("outside the calendar: they must lie in the years 1 to 9999"):
            call(table)


@faults("wrong types", "refused", {"a table that cannot be made": pl.LazyFrame({"A": [1]}).select("B")})
def test_a_table_in_memory_is_not_to_be_written_again(value: Any) -> None:
    with refused("table cannot be read as a lazy table: .*; correct it$"):
        bt.read_panel(value)
