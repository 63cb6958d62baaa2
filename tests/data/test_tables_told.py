# SPDX-License-Identifier: Apache-2.0
"""Tables that are legal and easily misread: thousands, fields as assets, adjusted closes with gaps, odd headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tables import assert_same_panel, refused, told

import gpu_bt as bt
from gpu_bt.data.frames import read_panel

DAYS = pd.DatetimeIndex(pd.bdate_range("2024-03-04", periods=3), name="Date")
CLOSE = pd.DataFrame({"A": [20.0, 21, 22], "B": [30.0, 31, 32]}, index=DAYS)


def test_a_comma_before_three_digits_may_part_thousands(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for mark in ";", "\t":
        lines = ["Date;Code;Close;Volume", "2024-01-04;7203;2,612;23,456", "2024-01-05;7203;2,590;1,000"]
        path.write_text("\n".join(lines).replace(";", mark))
        panel, [text] = told(lambda: read_panel(path))
        assert panel.close[0, 0] == 2.612
        assert text == (
            f"{path}: commas stand before exactly three digits in 2 columns ('Close', 'Volume') and are read as"
            " decimal: if they part thousands, write the numbers without them"
        )
    path.write_text("Date;Code;Close;Volume\n2024-01-04;7203;2,612;23,456\n2024-01-05;7203;2,59;0,125")
    assert told(lambda: read_panel(path))[1] == []


@pytest.mark.parametrize("columns", [["Open", "High", "Low", "Close", "Volume"], ["Close"], ["close", "volume"]])
def test_the_fields_of_one_asset_are_not_assets(columns: list[str]) -> None:
    table = pd.DataFrame(20.0, index=DAYS, columns=columns)
    rule = f"close has the columns of one asset's fields, '{columns[0]}'"
    refused(rule, table, reader=bt.Panel)
    refused(rule, {"close": table, "volume": table})
    refused("read_panel(table, asset='its name')", table, reader=bt.Panel)


@pytest.mark.parametrize("adjust", ["scale", "adjusted"])
def test_prices_without_an_adjusted_close_are_told_of(adjust: str, tmp_path: Path) -> None:
    a = pd.DataFrame({"Date": DAYS, "Close": CLOSE["A"].to_numpy(), "Adj Close": [10.0, 10.5, 11]})
    a.to_csv(tmp_path / "A.csv", index=False)
    a.drop(columns="Adj Close").to_csv(tmp_path / "B.csv", index=False)
    rule = f"prices have no adjusted one and are empty under adjust='{adjust}': correct them, or pass adjust='raw'"
    panel, [text] = told(lambda: read_panel(tmp_path, asset="filename", adjust=adjust))
    assert panel.close[:, 0].tolist() == [10, 10.5, 11] and np.isnan(panel.close[:, 1]).all()
    assert f"3 {rule}" in text
    gap = a.assign(Ticker="A")
    gap.loc[1, "Adj Close"] = np.nan
    assert f"1 {rule}" in told(lambda: read_panel(gap, adjust=adjust))[1][0]
    fields = {"Close": CLOSE, "Adj Close": CLOSE[["A"]] / 2}
    assert any(f"3 {rule}" in text for text in told(lambda: read_panel(fields, adjust=adjust))[1])
    assert told(lambda: read_panel(a.assign(Ticker="A"), adjust=adjust))[1] == []


def test_a_header_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("date,Müller\n2024-03-04,20\n".encode("latin-1"))
    refused("p.csv is not UTF-8: save it as UTF-8", path)
    path.write_bytes("date,Müller\n2024-03-04,20\n".encode())
    assert read_panel(path).assets == ("Müller",)


def test_labels_beside_a_table_are_checked() -> None:
    refused("timestamps must increase strictly", CLOSE, timestamps=DAYS[::-1], reader=bt.Panel)
    refused("assets has 'A' twice", CLOSE, assets=["A", "A"], reader=bt.Panel)


def test_a_column_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("date,ticker,close,\n2024-03-04,A,20,\n2024-03-05,A,21,\n")
    assert read_panel(path).close.tolist() == [[20.0], [21.0]]
    path.write_text("date,A,B,\n2024-03-04,20,30,\n2024-03-05,21,31,\n")
    assert read_panel(path).assets == ("A", "B")
    path.write_text("date,A,B,\n2024-03-04,20,30,40\n")
    refused("assets[2] is ' '", path)


def test_crsps_own_key_is_preferred_in_any_case() -> None:
    table = pl.DataFrame({"date": ["2024-03-04"], "permno": [10107], "ticker": ["MSFT"], "prc": [20.0]})
    for names in (table, table.rename(str.upper), table.rename({"ticker": "Ticker"})):
        assert read_panel(names).assets == ("10107",)


def test_actions_of_a_mapping_that_say_nothing_are_passed_over() -> None:
    fields = {"Close": CLOSE, "Dividends": CLOSE * 0, "Stock Splits": CLOSE * 0}
    panel = read_panel(fields)
    assert panel.dividend is None and panel.split is None
    refused("dividend needs unadjusted prices", fields | {"Dividends": CLOSE * 0 + 1})


@pytest.mark.parametrize("names", [(None, None), ("Price", "Ticker")])
@pytest.mark.parametrize("index", ["Date", None])
@pytest.mark.parametrize("assets", [["A", "B"], ["A"], ["005930", "000660"]])
def test_headers_of_two_levels_without_names(
    assets: list[str], index: str | None, names: tuple, tmp_path: Path
) -> None:
    table = pd.concat({"Close": CLOSE, "Volume": CLOSE * 9}, axis=1).rename_axis(columns=list(names), index=index)
    table = table.rename(columns=dict(zip(["A", "B"], assets, strict=False)), level=1)[
        [(field, asset) for field in ("Close", "Volume") for asset in assets]
    ]
    table.to_csv(tmp_path / "t.csv")
    assert_same_panel(read_panel(tmp_path / "t.csv"), read_panel(table))


def test_a_column_is_ignored_in_the_file_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text("Date,Close\n2024-03-04,20\n")
    (tmp_path / "B.csv").write_text("timestamp,Last\n2024-03-04,30\n")
    panel, texts = told(lambda: read_panel(tmp_path, asset="filename"))
    assert panel.close.tolist() == [[20.0, 30.0]] and texts == [] and "ignored_columns" not in panel.notes


def test_a_series_by_dates_is_no_book_of_assets() -> None:
    panel = bt.Panel(CLOSE[["A"]])
    weights = pd.Series([0.25, 0.5, 0.25], index=[day.date() for day in DAYS])
    want = bt.run(panel, np.array([[0.25], [0.5], [0.25]]), bt.Config(execution="same_close"))
    assert bt.run(panel, weights, bt.Config(execution="same_close")).equity.equals(want.equity)
