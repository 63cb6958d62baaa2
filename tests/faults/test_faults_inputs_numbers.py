# SPDX-License-Identifier: Apache-2.0
"""Faults of labels, weights, holdings and units: what passes for a number or a name and is not meant."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from faults.kit import fault, faults, refused, silence, survived, told

import gpu_bt as bt

T, NAMES = 60, ["A", "B", "C"]
STAMPS = pd.bdate_range("2024-01-02", periods=T)
CLOSE = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, (T, 3)).cumsum(axis=0))
EQUAL = np.full((T, 3), 1 / 3)
CASH = bt.Config(execution="next_close", lot=0)
MARGIN = CASH.replace(account="margin")


def panel(**fields: Any) -> bt.Panel:
    return bt.Panel(**{"close": CLOSE, "timestamps": STAMPS, "assets": NAMES, **fields})


def filled(value: float) -> np.ndarray:
    return np.full((T, 3), value)


ALIKE = {
    "upper and lower case": ("A", "a"),
    "full-width letters": ("A", "\uff21"),
    "blanks within": ("A B", "A  B"),
    "zeros before a number": ("1", "01"),
    "a number as a float": ("1", "1.0"),
}


@faults("labels", "told", ALIKE, "two assets that differ by ")
def test_names_that_are_alike(value: tuple[str, str], tmp_path: Path) -> None:
    text = "names differ only by case, width, blanks or zeros from another: are they two assets"
    with told("1 " + text):
        bt.Panel(CLOSE, timestamps=STAMPS, assets=[*value, "C"])
    path = tmp_path / "prices.csv"
    path.write_text("date,asset,close\n" + "".join(f"2024-01-02,{name},10\n" for name in value), "utf-8")
    with told("1 " + text):
        bt.read_panel(path)


@fault("labels", "one stream with two assets that differ by case", "told")
def test_names_that_are_alike_in_a_stream_are_told_once(tmp_path: Path) -> None:
    rows = [(day, name, 10.0) for day in STAMPS[:4] for name in ("A", "a")]
    pl.DataFrame(rows, ["date", "asset", "close"], orient="row").write_parquet(tmp_path / "p.parquet")
    with told("1 names differ only by case"):
        stream = bt.scan_panel(tmp_path / "p.parquet", bars=2)
    with silence():
        result = bt.run(stream, np.full((4, 2), 0.1), CASH)
    assert result.raw.column("fills").sum() > 0


TWICE = {
    "blanks around it": ("A", "A "),
    "an accent of its own": ("\u00e9", "e\u0301"),
    "a number and its text": (1, "1"),
}


@faults("labels", "refused", TWICE, "one asset twice, but for ")
def test_names_that_are_one(value: tuple[Any, Any]) -> None:
    with refused("twice: names must be unique"):
        bt.Panel(CLOSE, timestamps=STAMPS, assets=[*value, "C"])


NAMELESS: dict[str, Any] = {
    "None": None, "NaN": float("nan"), "pandas' NA": pd.NA, "a boolean": True, "bytes": b"A", "a complex number": 1j,
    "a tuple": ("A", 1), "a list": ["A"], "an object": object(), "blanks": "  ", "a control code": "A\x1b[31m",
    "a blank without width": "A\u200b", "a mark of direction": "\u202eA", "the end of a line": "A\nB",
    "a lone surrogate": "A\ud800", "a date": STAMPS[0],
}  # fmt: skip


@faults("labels", "refused", NAMELESS, "an asset named by ")
def test_names_that_are_none(value: Any) -> None:
    with refused(r"assets\[0\] is .*: a name must be printable text or a number"):
        bt.Panel(CLOSE, timestamps=STAMPS, assets=[value, "B", "C"])


@faults("labels", "refused", {"a number": 5, "a set": {"A", "B", "C"}, "a text": "ABC", "nothing": None}, "assets as ")
def test_assets_that_are_no_sequence(value: Any) -> None:
    with refused("assets (is|are) .*"):
        bt.Panel(CLOSE, timestamps=STAMPS, assets=value)


GROUPS: dict[str, Any] = {
    "bytes": [b"a", b"b", b"c"], "complex numbers": [1j, 2, 3], "lists": [["a"], ["b"], "c"],
    "control codes": ["a\x1b", "b", "c"], "objects": [object(), "b", "c"],
}  # fmt: skip


@faults("labels", "refused", GROUPS, "groups as ")
def test_groups_that_are_none(value: Any) -> None:
    with refused("group "):
        panel(group=value)


@fault("labels", "groups that are missing", "survived")
def test_missing_groups_are_empty() -> None:
    for missing in (None, float("nan")):
        assert panel(group=["a", missing, "b"]).group.tolist() == ["a", "", "b"]
        assert panel(group={"A": "a", "B": missing, "C": "b"}).group.tolist() == ["a", "", "b"]
    assert panel(group=["a", pd.NA, "b"]).group.tolist() == ["a", "", "b"]
    assert panel(group=np.array([np.int64(3), None, "b"], object)).group.tolist() == ["3", "", "b"]
    assert panel(assets=[np.int64(1), np.float32(2.5), np.str_("C")]).assets == ("1", "2.5", "C")
    survived(panel(group=pd.Series({"A": "a", "C": np.nan, "B": "b"})).group.tolist(), ["a", "b", ""])


PERCENT: dict[str, tuple[np.ndarray, bt.Config]] = {
    "in a cash account": (EQUAL * 100, CASH),
    "in a margin account": (EQUAL * 100, MARGIN),
    "in a margin account without max_leverage": (EQUAL * 100, MARGIN.replace(max_leverage=None)),
    "of a margin account of twice equity": (EQUAL * 7, MARGIN),
    "that max_weight leaves": (EQUAL * 100, MARGIN.replace(max_weight=10)),
    "in a cash account with max_weight": (EQUAL * 100, CASH.replace(max_weight=0.1)),
    "in a margin account of ten times equity": (EQUAL * 100, MARGIN.replace(max_leverage=10)),
    "long and short": (np.tile([50.0, -40.0, -10.0], (T, 1)), MARGIN),
    "as shares": (np.tile([100, 200, 50], (T, 1)), MARGIN),
    "as tens of basis points": (EQUAL * 1000, MARGIN),
}


@faults("weights", "told", PERCENT, "weights in percent, ")
def test_weights_in_percent(value: tuple[np.ndarray, bt.Config], tmp_path: Path) -> None:
    weights, config = value
    text = "the median book sums to .*: weights are fractions of equity, so 50 % is 0.5"
    with told(text):
        result = bt.run(panel(), weights, config)
    assert "percent" in result.advice
    with told(text):
        bt.run(panel(), pd.DataFrame(weights, STAMPS, NAMES), config)
    with told("4 of 4 scenarios: percent 4"):
        bt.sweep(panel(), weights, config, {"band": [0.0, 0.01, 0.02, 0.03]})
    rows = [(day, name, CLOSE[t, i]) for t, day in enumerate(STAMPS) for i, name in enumerate(NAMES)]
    pl.DataFrame(rows, ["date", "asset", "close"], orient="row").write_parquet(tmp_path / "p.parquet")
    with told(text):
        bt.run(bt.scan_panel(tmp_path / "p.parquet", bars=7), weights, config)


MEANT: dict[str, tuple[np.ndarray, bt.Config]] = {
    "1.2 in a cash account": (EQUAL * 1.2, CASH),
    "2 in a margin account": (EQUAL * 2, MARGIN),
    "5 in a margin account": (EQUAL * 5, MARGIN),
    "25 in one of 10 times equity": (EQUAL * 25, MARGIN.replace(max_leverage=10)),
    "signals of 1 and -1 in a margin account with max_weight": (
        np.tile(np.resize([1.0, -1.0], 60), (T, 1)),
        MARGIN.replace(max_weight=0.02),
    ),
    "30 in one of 50 times equity": (EQUAL * 30, MARGIN.replace(max_leverage=50, maintenance_margin=None)),
}


@faults("weights", "survived", MEANT, "books of ")
def test_leverage_is_no_percent(value: tuple[np.ndarray, bt.Config]) -> None:
    n = value[0].shape[1]
    with silence():
        result = bt.run(panel(close=CLOSE[:, np.arange(n) % 3], assets=[f"A{i}" for i in range(n)]), *value)
    survived(dict(result.advice), {})


CELLS: dict[str, Any] = {
    "booleans": EQUAL > 0, "complex numbers": EQUAL + 0j, "bytes": EQUAL.astype("S5"), "texts": EQUAL.astype(str),
    "objects": EQUAL.astype(object), "lengths of time": np.full((T, 3), 1, "m8[s]"), "infinities": EQUAL * np.inf,
    "a mask over some": np.ma.masked_array(EQUAL, EQUAL > 0),
    "rows with masks": [np.ma.masked_array(row, [1, 0, 0]) for row in EQUAL],
    "columns for rows": EQUAL.T, "one row": EQUAL[0], "basis points": EQUAL * 1e4, "nothing": None, "a number": 5,
    "a book of booleans": {"A": True}, "a book of complex numbers": {"A": 1j}, "a book of None": {"A": None},
    "a book of decimals": {"A": decimal.Decimal("0.5")}, "a book of bytes": {"A": b"0.5"},
    "a book of 400 digits": {"A": 10**400}, "a Series of booleans": pd.Series({"A": True}),
    "a Series of texts": pd.Series({"A": "x"}), "a book with another case": {"a": 0.5},
    "a book that names one twice": {"A": 0.5, "A ": 0.5}, "a table of booleans": pd.DataFrame(EQUAL > 0, STAMPS, NAMES),
    "a table of complex numbers": pd.DataFrame(EQUAL + 0j, STAMPS, NAMES),
    "a table turned around": pd.DataFrame(EQUAL, STAMPS, NAMES).T,
    "a table of percent signs": pd.DataFrame(EQUAL, STAMPS, NAMES).astype(str) + "%",
}  # fmt: skip


@faults("weights", "refused", CELLS, "weights as ")
def test_weights_that_are_none(value: Any) -> None:
    with refused(".", bt.WeightsError):
        bt.run(panel(), value, CASH)
    with refused(".", bt.BacktestError):
        bt.sweep(panel(), value, CASH, {"band": [0.0, 0.1]})


SHARES: dict[str, Any] = {
    "a boolean": True, "NumPy's boolean": np.True_, "a text": "5", "bytes": b"5", "a complex number": 5 + 0j,
    "None": None, "NaN": float("nan"), "an infinity": float("inf"), "400 digits": 10**400, "a list": [5],
    "pandas' NA": pd.NA,
}  # fmt: skip


@faults("holdings", "refused", SHARES, "shares as ")
def test_shares_that_are_none(value: Any) -> None:
    with refused(r"holdings\['A'\] is .*: it must be a number of shares", bt.WeightsError):
        bt.run(panel(), EQUAL, CASH, holdings={"A": value})


HELD: dict[str, Any] = {
    "a mask over some": np.ma.masked_array([5, 5, 5], [1, 0, 0]), "booleans": [True, False, True],
    "texts": ["5", "5", "5"], "too few": [5, 5], "a set": {"A"}, "a path": "x.csv", "a number": 5,
    "an unknown name": {"Z": 5}, "one name twice": pd.Series([5, 5], ["A", "A"]),
    "a table of booleans": pd.DataFrame({"asset": ["A"], "shares": [True]}),
    "a table of complex numbers": pd.DataFrame({"asset": ["A"], "shares": [5j]}),
    "a table of weights": pd.DataFrame({"asset": ["A"], "weight": [0.5]}),
}  # fmt: skip


@faults("holdings", "refused", HELD, "holdings as ")
def test_holdings_that_are_none(value: Any) -> None:
    with refused("holdings|DataFrame", bt.WeightsError):
        bt.run(panel(), EQUAL, CASH, holdings=value)


def scaled(factor: float, *bars: int) -> np.ndarray:
    out = CLOSE.copy()
    out[slice(*bars)] *= factor
    return out


def holed(prices: np.ndarray, *bars: int) -> np.ndarray:
    prices[list(bars)] = np.nan
    return prices


UNITS: dict[str, tuple[dict[str, Any], str]] = {
    "prices in cents on some days": ({"close": scaled(100, 20, 25)}, "close moves by more than 50 times .* in 6 cells"),
    "prices in cents from a day on": ({"close": scaled(100, 20, T)}, "close moves by more than 50 times .* in 3 cells"),
    "one price a thousand times too high": ({"close": scaled(1000, 9, 10)}, "more than 50 times in one bar in 6 cells"),
    "one price in cents in a short panel": ({"close": scaled(100, 1, 2)[:4], "timestamps": STAMPS[:4]}, "in 6 cells"),
    "prices in dollars from a day on": ({"close": scaled(0.01, 20, T)}, "more than 50 times in one bar in 3 cells"),
    "cents after a bar without a price": ({"close": holed(scaled(100, 20, T), 19)}, "one bar in 3 cells"),
    "a misprint between bars without a price": ({"close": holed(scaled(0.001, 20, 21), 19, 21)}, "one bar in 6 cells"),
    "a half_spread in basis points": ({"half_spread": filled(5.0)}, "the median half_spread is 5: it is a fraction of"),
    "a borrow_rate in percent": ({"borrow_rate": filled(5.0)}, "the median borrow_rate is 5: it is a fraction a year"),
    "a volatility in percent": ({"volatility": filled(2.0)}, "the median volatility is 2: it is a fraction of a bar's"),
    "a volatility of a year": ({"volatility": filled(0.3)}, "the median volatility is 0.3: it is"),
    "a delisting_return in percent": ({"delisting_return": [50.0, 0, 0]}, "the median delisting_return is 50"),
    "dividends above the price": ({"dividend": filled(150.0), "prices": "raw"}, "dividend is more than the close"),
    "a split that the prices do not show": (
        {"split": np.where(np.arange(T)[:, None] == 9, [2.0, 1, 1], 1.0), "prices": "raw"}, "but the close moved"
    ),
}  # fmt: skip


@faults("units", "told", UNITS)
def test_units_that_are_not_meant(value: tuple[dict[str, Any], str]) -> None:
    with told(value[1]):
        panel(**value[0])


def test_what_a_market_has_is_no_wrong_unit() -> None:
    spread = np.random.default_rng(1).uniform(0, 0.2, (T, 3))
    halved = CLOSE.copy()
    halved[30:] /= 100
    split = np.ones((T, 3))
    split[30] = 100
    with silence():
        panel(half_spread=spread, borrow_rate=filled(0.9), volatility=filled(0.03), delisting_return=[-1, 0.3, 0])
        panel(close=halved, split=split, dividend=filled(0.1), prices="raw")


def moved(factor: float, sigma: float, start: float = 1.0) -> dict[str, Any]:
    """The first asset's price goes times a factor at bar 30, and moves by sigma a bar from then on."""
    out = CLOSE.copy() * start
    out[30:, 0] = out[29, 0] * factor * np.exp(np.random.default_rng(2).normal(0, sigma, T - 30).cumsum())
    return {"close": out}


EVENTS: dict[str, dict[str, Any]] = {
    "a bankruptcy of -99.5 %": moved(0.005, 0.2), "a bankruptcy of -99 %": moved(0.01, 0.2),
    "a bankruptcy of -99 % without trades": moved(0.01, 0.0), "a bankruptcy at the last bar": {
        "close": moved(0.01, 0.0)["close"][:31], "timestamps": STAMPS[:31]},
    "a liquidating dividend": moved(0.015, 0.01), "a penny stock times 60": moved(60.0, 0.2),
    "a share of 0.0001 that is 0.01": moved(100.0, 0.0, 1e-6),
    "a share that is worth 300 times more": moved(300.0, 0.01),
    "one name that is hard to borrow": {"borrow_rate": np.tile([2.0, 0.0, np.nan], (T, 1))},
    "one name that nobody sells": {"half_spread": np.tile([0.0, 3.0, 0.001], (T, 1))},
    "returns of delistings beyond 1": {"delisting_return": [-1.0, 1.3, 0.0]},
}  # fmt: skip


@faults("units", "survived", EVENTS)
def test_what_does_happen_in_a_market(value: dict[str, Any]) -> None:
    with silence():
        survived(panel(**value).shape[1], 3)


GROUPED = {
    "no-break spaces": ["Oil\xa0& Gas", "Oil & Gas", "B"],
    "blanks around them": ["Tech", " Tech ", "B"],
    "tabs": ["a\tb", "a b", "B"],
    "several blanks": ["a  b", "a b", "B"],
    "a line's end": ["a b\n", "a b", "B"],
}


@faults("labels", "survived", GROUPED, "groups that differ by ")
def test_blanks_tell_no_groups_apart(value: list[str]) -> None:
    survived(panel(group=value).group.tolist(), [value[1].strip()] * 2 + ["B"])


ASSETS: dict[str, tuple[dict[str, Any], str]] = {
    "lots as booleans": ({"lot": [True, True, True]}, "lot has dtype bool"),
    "lots as texts": ({"lot": {"A": "1", "B": "2", "C": "3"}}, "lot has dtype"),
    "bars of delistings beyond all": ({"delisted_at": np.full(3, 1e300)}, "it must hold bar numbers"),
    "bars of delistings that overflow": ({"delisted_at": np.full(3, 2**64 - 1, "u8")}, "it must hold bar numbers"),
    "a lot of 400 digits": ({"lot": {"A": 10**400, "B": 1, "C": 1}}, "lot: 'A' is 1000.*it must be a number"),
    "lots below 0": ({"lot": [-1, 1, 1]}, r"lot\['A'\] is -1"),
    "a lot that is missing": ({"lot": [np.nan, 1, 1]}, r"lot\['A'\] is nan"),
    "a delisting_return below -1": ({"delisting_return": [-30, 0, 0]}, "at|it must be >= -1"),
    "delisting_returns as booleans": ({"delisting_return": [True, False, False]}, "has dtype bool"),
    "bars of delistings as booleans": ({"delisted_at": [True, False, False]}, "has dtype bool"),
    "returns as prices": ({"close": np.diff(np.log(CLOSE), axis=0, prepend=0.0)}, "a price must be > 0"),
    "volume below 0": ({"volume": filled(-5.0)}, "volume.* is -5.0"),
    "splits below 0": ({"split": filled(-2.0), "prices": "raw"}, "split.* is -2.0"),
    "dividends of adjusted prices": ({"dividend": filled(1.0)}, "needs unadjusted prices"),
}


@faults("units", "refused", ASSETS)
def test_what_no_market_has(value: tuple[dict[str, Any], str]) -> None:
    with refused(value[1], bt.PanelError):
        panel(**value[0])


@faults("labels", "refused", {"blanks around it in another file": ("A", "A ")}, "one asset twice, but for ")
def test_names_that_are_one_across_files(value: tuple[str, str], tmp_path: Path) -> None:
    for i, name in enumerate(value):
        (tmp_path / f"{i}.csv").write_text(f"date,asset,close\n2024-01-0{i + 2},{name},10\n")
    with refused("has 'A', another file 'A ', one name without blanks"):
        bt.read_panel(tmp_path)
    (tmp_path / "0.csv").write_text("date,asset,close\n2024-01-02,A ,10\n")
    with silence():
        assert bt.read_panel(tmp_path).assets == ("A",)
