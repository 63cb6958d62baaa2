# SPDX-License-Identifier: Apache-2.0
"""Tables as vendors and libraries give them: their names, their layouts, their conventions for prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet
import pytest
from compare import assert_bits
from tables import assert_same_panel, minimal, refused, told

import gpu_bt as bt
from gpu_bt import read_panel
from gpu_bt.data.vendors import NAMES, field_of, is_fields, look_alikes, plain

DAYS = pd.DatetimeIndex(pd.bdate_range("2024-03-04", periods=5), name="Date")


def one(price: float = 20.0) -> pd.DataFrame:
    """A table of one asset in yfinance's columns."""
    open_ = price + np.arange(5.0)
    return pd.DataFrame(
        {"Open": open_, "High": open_ + 2, "Low": open_ - 1, "Close": open_ + 1, "Volume": 100.0}, index=DAYS
    )


def both(levels: tuple[str, str] = ("Price", "Ticker"), **more: float) -> pd.DataFrame:
    """The columns (field, ticker) of two assets, Z before B; more: columns that are Close times a number."""
    tables = {"Z": one(), "B": one(50.0)}
    for table in tables.values():
        for name, factor in more.items():
            table[name] = table["Close"] * factor
    return pd.concat(tables, axis=1).swaplevel(axis=1).rename_axis(columns=levels)


# ---- names


@pytest.mark.parametrize(
    "columns",
    [
        "Date Ticker Open High Low Close Volume",
        "DATE,TICKER,OPEN,HIGH,LOW,CLOSE,VOL",
        "<DATE> <TICKER> <OPEN> <HIGH> <LOW> <CLOSE> <VOL>",
        "trade_date,ts_code,open,high,low,close,vol",
        "DlyCalDt,PERMNO,DlyOpen,DlyHigh,DlyLow,DlyClose,DlyVol",
        "date,PERMNO,OPENPRC,ASKHI,BIDLO,PRC,VOL",
        "datadate,gvkey,prcod,prchd,prcld,prccd,cshtrd",
        "t,T,o,h,l,c,v",
        "ts_event,symbol,open,high,low,close,volume",
        "Date|Instrument|Price Open|Price High|Price Low|Price Close|Volume",
        "date,RIC,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
        "timestamp|sym|1. open|2. high|3. low|4. close|5. volume",
        "日期,股票代码,开盘,最高,最低,收盘,成交量",
        " Date ,isin,open_price,High Price,LOW-PRICE,closePrice, Volume",
        "Dates,Security,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
    ],
)
def test_long_tables_of_vendors(columns: str) -> None:
    names = columns.split("|" if "|" in columns else "," if "," in columns else " ")
    stamps, assets = np.repeat(DAYS[:2].strftime("%Y-%m-%d"), 2), ["X", "Y"] * 2
    numbers = np.array([[2.0, 4.0, 1.0, 3.0, 500.0]] * 4) * np.array([[1], [2], [3], [4]])
    table = pd.DataFrame(numbers, columns=names[2:])
    table.insert(0, names[0], stamps)
    table.insert(1, names[1], assets)
    panel = read_panel(table)
    assert panel.assets == ("X", "Y") and str(panel.timestamps[0])[:10] == "2024-03-04"
    for place, field in enumerate(("open", "high", "low", "close", "volume")):
        assert getattr(panel, field).ravel().tolist() == numbers[:, place].tolist(), field


def test_every_name_of_the_table_is_plain_and_means_one_thing() -> None:
    seen: dict[str, str] = {}
    for ours, names in NAMES.items():
        assert plain(ours) == names[0]
        for name in names:
            assert name in (plain(name), "T", "S")
            assert seen.setdefault(name, ours) == ours
    assert [field_of(n) for n in ("Adj. Close", "adj_close", "adjClose", "ADJ CLOSE ")] == ["adj_close"] * 4
    assert [field_of(n) for n in ("Stock Splits", "splitFactor", "Split Ratio")] == ["split"] * 3
    assert [field_of(n) for n in ("Dividends", "divCash", "Ex-Dividend", "7. dividend amount")] == ["dividend"] * 4


def test_which_columns_are_fields_and_which_are_tickers() -> None:
    for names in (["open", "high", "low", "close"], ["O", "H", "L", "C"], ["CLOSE"], ["PX_LAST"], ["Open", "Volume"],
                  ["prc"], ["adjclose"], ["when", "price"]):  # fmt: skip
        assert is_fields(names, "close"), names
    for names in (["C", "V", "T", "L"], ["LOW", "OPEN", "DATE", "TIME"], ["C"], ["AAPL", "MSFT"], ["LAST", "PRICE"]):
        assert not is_fields(names, "close"), names
    wide = pd.DataFrame(1.0, index=DAYS, columns=["T", "V", "C", "LOW", "OPEN", "CODE"])
    assert read_panel(wide).assets == ("T", "V", "C", "LOW", "OPEN", "CODE")


def test_of_several_labels_one_is_meant_or_the_table_is_refused() -> None:
    table = minimal().rename({"asset": "PERMNO"}).with_columns(TICKER=pl.lit("X"))
    assert read_panel(table).assets == ("A", "B")  # CRSP's own key; a ticker may be two of them
    twice = minimal().rename({"asset": "Ticker"}).with_columns(ISIN=pl.lit("X"), Isin=pl.lit("X"))
    refused(
        "may be column 'asset': pass asset= to say which", minimal().rename({"asset": "Ticker"}).with_columns(Isin=1)
    )
    assert read_panel(twice, asset="Ticker").assets == ("A", "B")


def test_columns_that_look_like_fields_are_told_of_with_their_number() -> None:
    alike = ["Volumne", "Dividend Yield", "close_usd", "RET", "unadjustedClose", "closeunadj", "lot_size"]
    others = ["sector", "SHROUT", "n", "trade_count", "close_time", "OpenInterest", "prev_close", "name"]
    assert look_alikes(alike + others) == alike
    metatrader = minimal().rename({"close": "<CLOSE>"}).with_columns(**{"<TICKVOL>": 9.0, "<VOL>": 0.0})
    panel, [text] = told(lambda: read_panel(metatrader))
    assert "1 columns look like fields and are not read: '<TICKVOL>'" in text and not panel.volume.any()
    assert read_panel(metatrader.drop("<VOL>")).volume[0].tolist() == [9.0, 9.0]
    table = minimal().with_columns(Volumne=pl.lit(1.0), sector=pl.lit("x"), RET=pl.lit(0.0))
    panel, [text] = told(lambda: read_panel(table))
    assert "2 columns look like fields and are not read: 'Volumne', 'RET'; name the fields" in text
    assert panel.notes["ignored_columns"] == ("Volumne", "sector", "RET")
    assert told(lambda: read_panel(table, fields=["close"]))[1] == []
    assert read_panel(table, fields={"close": "close", "volume": "Volumne"}).volume[0].tolist() == [1.0, 1.0]


# ---- adjusted closes


def adjusted(**more: Any) -> pl.DataFrame:
    columns = {
        "open": [8.0, 4.0],
        "high": [12.0, 6.0],
        "low": [6.0, 3.0],
        "close": [10.0, 5.0],
        "adj_close": [5.0, 5.0],
    }
    return pl.DataFrame({"date": ["2024-03-04", "2024-03-05"], "asset": "A", **columns, **more})


@pytest.mark.parametrize(
    "name", ["Adj Close", "adjclose", "adj_close", "AdjClose", "Adj. Close", "closeadj", "adjClose"]
)
def test_a_close_beside_an_adjusted_close_needs_a_word(name: str) -> None:
    table = adjusted().rename({"adj_close": name, "close": "Close"})
    refused(f"table has 'Close' and {name!r}, which are on two scales: pass adjust='scale'", table)
    scaled = read_panel(table, adjust="scale")
    for field, values in {"open": [4, 4], "high": [6, 6], "low": [3, 3], "close": [5, 5]}.items():
        assert getattr(scaled, field).ravel().tolist() == values
    raw = read_panel(table, adjust="raw")
    assert raw.close.ravel().tolist() == [10, 5] and raw.notes["ignored_columns"] == (name,)
    alone, [text] = told(lambda: read_panel(table, adjust="adjusted"))
    assert alone.close.ravel().tolist() == [5, 5] and alone.open is None
    assert text.startswith("3 columns have no adjusted one beside them and are left out: 'open', 'high', 'low'")


def test_the_vendors_own_adjusted_columns() -> None:
    table = adjusted(adjOpen=[4.5, 4.5], adjHigh=[6.5, 6.5], adjLow=[2.5, 2.5], adjVolume=[7.0, 8.0], volume=[1.0, 2.0])
    panel = read_panel(table, adjust="adjusted")
    assert [getattr(panel, f)[0, 0] for f in ("open", "high", "low", "close", "volume")] == [4.5, 6.5, 2.5, 5.0, 7.0]
    assert read_panel(table, adjust="scale").volume[0, 0] == 1.0
    assert read_panel(adjusted().select("date", "asset", "adj_close")).close.ravel().tolist() == [5, 5]
    rest, [text] = told(lambda: read_panel(table.drop("adj_close")))
    assert "4 columns look like fields and are not read: 'adjOpen', 'adjHigh', 'adjLow', 'adjVolume'" in text
    assert rest.open[0, 0] == 8.0 and "adjVolume" in rest.notes["ignored_columns"]
    refused("has 'open' and 'adj_close', which are on two scales", adjusted().drop("close"))
    refused("has no close to scale by", adjusted().drop("close"), adjust="scale")
    refused("has no adjusted close: adjust='scale' needs one", minimal(), adjust="scale")
    refused("adjust is 'x': it must be one of None, 'scale'", minimal(), adjust="x")
    refused("adjust='scale' makes adjusted prices: leave prices='raw' out", adjusted(), adjust="scale", prices="raw")
    refused("leave adjust= out", pd.DataFrame({"A": 1.0}, index=DAYS), adjust="scale")


def test_empty_cells_stay_empty_when_prices_are_scaled() -> None:
    table = adjusted(close=[None, 5.0], adj_close=[None, 2.5], open=[None, 4.0], high=[None, 6.0], low=[None, 4.0])
    panel = read_panel(table, adjust="scale")
    assert_bits("close", panel.close, np.array([[np.nan], [2.5]]))
    assert_bits("open", panel.open, np.array([[np.nan], [2.0]]))


def test_dividends_and_splits_are_read_from_raw_prices_alone() -> None:
    table = one().assign(Dividends=[0, 0, 0.5, 0, 0], **{"Stock Splits": 0.0})
    panel = read_panel(table, asset="A", prices="raw")
    assert panel.dividend.ravel().tolist() == [0, 0, 0.5, 0, 0] and panel.split.ravel().tolist() == [1.0] * 5
    refused("dividend needs unadjusted prices: pass prices='raw', or leave column 'Dividends' out", table, asset="A")
    nothing = read_panel(table.assign(Dividends=0.0), asset="A")  # columns that say nothing
    assert nothing.dividend is None and nothing.split is None
    split = one().assign(**{"Stock Splits": [0, 0, 3.0, 0, 0]})
    refused("split needs unadjusted prices: pass prices='raw', or leave column 'Stock Splits'", split, asset="A")
    scaled = read_panel(table.assign(**{"Adj Close": table["Close"]}), asset="A", adjust="scale")
    assert scaled.dividend is None  # they are in the prices
    assert scaled.notes["ignored_columns"] == ("Dividends", "Stock Splits")


def test_dividends_move_the_account_by_hand() -> None:
    # 100 shares at 10, then at 9 with 1 a share paid: 1000. Without the dividend it would be 900.
    table = pd.DataFrame({"Date": DAYS[:2], "Ticker": "A", "Close": [10.0, 9.0], "Dividends": [0.0, 1.0]})
    config = bt.Config(execution="same_close", cash_buffer=0.0, initial_cash=1000.0)
    result = bt.run(read_panel(table, prices="raw"), np.array([[1.0], [np.nan]]), config)
    assert result.equity["equity"].to_list() == [1000.0, 1000.0]


def test_the_prices_of_crsp() -> None:
    table = pl.DataFrame(
        {"PERMNO": [10, 10, 20], "date": ["2024-03-04", "2024-03-05", "2024-03-04"], "PRC": [-7.5, 0.0, 30.0],
         "VOL": [0.0, 0.0, 90.0], "CFACPR": [2.0, 2.0, 1.0]}
    )  # fmt: skip
    panel, [text] = told(lambda: read_panel(table, adjust="raw"))
    assert "1 prices of column 'PRC' are below 0, CRSP's mean of bid and ask" in text
    assert panel.notes["bid_ask_means"] == 1
    assert_bits("close", panel.close, np.array([[7.5, 30.0], [np.nan, np.nan]]))
    scaled, _ = told(lambda: read_panel(table, adjust="scale"))
    assert_bits("close", scaled.close, np.array([[3.75, 30.0], [np.nan, np.nan]]))
    refused("'PRC' and 'CFACPR', which are on two scales", table.with_columns(PRC=pl.lit(1.0)))
    refused("no adjusted close, but a factor", table.with_columns(PRC=pl.lit(1.0)), adjust="adjusted")
    refused("is -2.0: a price must be > 0", minimal(close=[1.0, -2.0, 3.0]))  # no column of CRSP: a mistake


# ---- layouts


@pytest.mark.parametrize("kind", ["frame", "swapped", "csv", "swapped csv", "parquet", "reset", "unnamed"])
def test_headers_of_two_levels(kind: str, tmp_path: Path) -> None:
    table = both()
    table = table.swaplevel(axis=1) if "swapped" in kind else table
    table = table.reset_index() if kind == "reset" else table
    table = table.rename_axis(columns=[None, None], index=None) if kind == "unnamed" else table
    source: Any = table
    if "csv" in kind:
        table.to_csv(tmp_path / "p.csv")
        source = tmp_path / "p.csv"
    elif kind == "parquet":
        table.to_parquet(tmp_path / "p.parquet")
        source = tmp_path / "p.parquet"
    panel = read_panel(source)
    assert panel.assets == ("Z", "B")  # the order of the columns
    for name, place in (("Z", 0), ("B", 1)):
        for field in ("Open", "High", "Low", "Close", "Volume"):
            assert getattr(panel, field.lower())[:, place].tolist() == both()[field][name].tolist()


def test_headers_of_two_levels_that_are_adjusted_streamed_or_wrong(tmp_path: Path) -> None:
    table = both(**{"Adj Close": 0.5})
    refused("'Close' and 'Adj Close', which are on two scales", table)
    assert read_panel(table, adjust="scale").open[0].tolist() == [10.0, 25.0]
    table.to_parquet(tmp_path / "p.parquet")
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=2, adjust="scale")
    books = {"Z": 0.5, "B": 0.5}
    config = bt.Config(execution="next_open")
    assert bt.run(stream, books, config).equity.equals(bt.run(read_panel(table, adjust="scale"), books, config).equity)
    refused("they must be two, fields (one is the close) and assets", both().rename(columns={"Close": "x"}, level=0))
    refused("holds several fields of its assets: pass the whole of it to read_panel", both(), layout="wide")
    three = pd.concat({"x": both()}, axis=1)
    refused("they must be two, fields", three)


def test_a_table_of_one_asset(tmp_path: Path) -> None:
    wanted = read_panel(one().reset_index().assign(asset="A"))
    for source in (one(), pl.from_pandas(one().reset_index()), one().rename(columns=lambda c: c[0])):
        assert_same_panel(read_panel(source, asset="A"), wanted)
        refused("no asset column", source)
        refused("asset='its name', or asset='filename'", source)
        undated = source.reset_index() if isinstance(source, pd.DataFrame) else source
        undated = pl.DataFrame(undated).rename({undated.columns[0]: "when"})
        refused("has no timestamp column 'timestamp' among 'when', 'O", undated, asset="A")
        with pytest.raises(bt.PanelError) as error:
            read_panel(undated, asset="A")
        assert "'asset'" not in str(error.value)
    assert_same_panel(read_panel({"A": one()}), wanted)
    two = read_panel({"Z": one(), "B": one(50.0)})
    assert two.assets == ("Z", "B")
    assert_same_panel(two, read_panel(both()))
    closes = read_panel({"C": one()["Close"], "V": one(9.0)["Close"]})  # tickers, not close and volume
    assert closes.assets == ("C", "V") and closes.close[0].tolist() == [21.0, 10.0]
    refused("the mapping of tables is empty", {})
    refused("asset='filename' names assets by their files, and this is a table", one(), asset="filename")
    assert read_panel(one()["Close"].rename("XYZ")).assets == ("XYZ",)  # a Series is a wide table


def test_a_file_for_each_asset(tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    one().to_csv(folder / "Z.csv")
    one(50.0).to_csv(folder / "B.us.csv.gz")
    (folder / "notes.md").write_text("no table")
    (folder / ".hidden.csv").write_text("no table")
    panel = read_panel(folder, asset="filename")
    assert panel.assets == ("B.us", "Z") and panel.close[0].tolist() == [51.0, 21.0]
    assert_same_panel(read_panel(str(folder / "*.csv*"), asset="filename"), panel)
    assert read_panel([folder / "Z.csv", folder / "B.us.csv.gz"], asset="filename").assets == ("Z", "B.us")
    refused("no asset column", folder)
    for name, price in (("Z", 20.0), ("B", 50.0)):
        one(price).to_parquet(folder / f"{name}.parquet")
    stream = bt.scan_panel(str(folder / "*.parquet"), asset="filename", bars=2)
    assert stream.assets == ("B", "Z")
    result = bt.run(stream, {"Z": 0.5}, bt.Config(execution="next_open", initial_cash=1e4))
    memory = read_panel(str(folder / "*.parquet"), asset="filename")
    assert result.equity.equals(bt.run(memory, {"Z": 0.5}, bt.Config(initial_cash=1e4)).equity)
    nested = tmp_path / "year=2024"
    (nested / "month=3").mkdir(parents=True)
    one().to_parquet(nested / "month=3" / "Z.parquet")
    assert read_panel(nested, asset="filename").assets == ("Z",)


def test_a_table_that_names_its_assets_takes_no_other_name(tmp_path: Path) -> None:
    both_in_one = pd.concat([one().assign(Ticker="A"), one(50.0).assign(Ticker="B")])
    for name, column in (("book.csv", "Ticker"), ("upper.csv", "TICKER"), ("own.csv", "asset")):
        both_in_one.rename(columns={"Ticker": column}).to_csv(tmp_path / name)
        rule = f"{name} names its assets itself, in column '{column}': leave asset='filename' out"
        refused(rule, tmp_path / name, asset="filename")
        refused(rule, tmp_path / name, asset="filename", reader=bt.scan_panel)
    one().to_csv(tmp_path / "Z.csv")
    refused("book.csv names its assets itself", [tmp_path / "Z.csv", tmp_path / "book.csv"], asset="filename")
    weights = tmp_path / "w.csv"
    pl.DataFrame({"date": ["2024-03-04"] * 2, "sid": ["A", "B"], "weight": [0.5, 0.25]}).write_csv(weights)
    with pytest.raises(bt.WeightsError, match=r"w\.csv names its assets itself, in column 'sid'"):
        bt.read_weights(weights, read_panel(both()), asset="filename")
    refused("the table of 'X' holds 2 assets, in column 'Ticker'", {"X": both_in_one})
    assert read_panel({"X": one().assign(Ticker="A", isin="US1")}).assets == ("X",)


# ---- pandas' index


@pytest.mark.parametrize("write", ["to_parquet", "to_csv", "arrow", "frame"])
@pytest.mark.parametrize("shape", ["wide", "long", "swapped", "rows", "named", "oddly"])
def test_an_index_without_names_is_what_it_holds(write: str, shape: str, tmp_path: Path) -> None:
    wide = pd.DataFrame({"ZZ": [1.0, 2.0, 3.0], "BB": [4.0, 5.0, 6.0]}, index=DAYS[:3].rename(None))
    table = wide.stack().rename("close").to_frame().rename_axis([None, None])
    table = table.swaplevel() if shape == "swapped" else table
    if shape == "rows":  # numbers of rows, some of which were filtered out
        table = table.rename_axis(["date", "asset"]).reset_index()
        table = table[table.index != 9]
    table = {"wide": wide, "named": wide.rename_axis("Date"), "oddly": wide.rename_axis("when")}.get(shape, table)
    source: Any = tmp_path / ("p.csv" if write == "to_csv" else "p.parquet")
    getattr(table, "to_csv" if write == "to_csv" else "to_parquet")(source)
    if write == "arrow":
        source = pyarrow.parquet.read_table(source)
    panel = read_panel(table if write == "frame" else source)
    order = ["ZZ", "BB"] if shape in ("wide", "named", "oddly") else ["BB", "ZZ"]
    assert panel.assets == tuple(order)
    assert panel.close.tolist() == wide[order].to_numpy().tolist()


@pytest.mark.parametrize("offset", ["+05:30", "-03:30", "+05:45", "+01:00"])
def test_fixed_offsets_of_any_minute(offset: str, tmp_path: Path) -> None:
    stamps = pd.to_datetime([f"2024-01-01T09:15:00{offset}", f"2024-01-01T09:30:00{offset}"])
    table = pd.DataFrame({"timestamp": stamps, "asset": "A", "close": [1.0, 2.0]})
    table.to_parquet(tmp_path / "p.parquet")
    table.to_csv(tmp_path / "p.csv")
    wanted = stamps.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")
    wide = table.pivot(index="timestamp", columns="asset", values="close")
    for source in (table, tmp_path / "p.parquet", tmp_path / "p.csv", table.set_index("timestamp"), wide):
        assert_bits("timestamps", read_panel(source, time_zone="Asia/Kolkata").timestamps, wanted)
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=1, time_zone="Asia/Kolkata")
    assert [part.close[0, 0] for _, part in stream.parts()] == [1.0, 2.0]


def test_whole_numbers_that_a_missing_one_made_floats_are_names() -> None:
    assert read_panel(minimal(asset=[10107.0, 14593.0, 10107.0])).assets == ("10107", "14593")
    refused(
        "asset, row 1, is nan (Float64): it must be text or a whole number", minimal(asset=[1.0, float("nan"), 2.0])
    )


def test_missing_names_and_empty_tables() -> None:
    refused("the name of column 1 is missing; rename or drop it", pd.DataFrame([[1.0, 2.0]], columns=["A", pd.NA]))
    for empty in (pd.DataFrame(), pl.DataFrame()):
        refused("table has no columns: there is nothing to read", empty)
    with pytest.raises(bt.PanelError, match=r"^assets\[1\] is <NA>: a name must be printable"):
        bt.Panel(np.ones((1, 2)), timestamps=["2024-01-01"], assets=pd.Series(["A", pd.NA], dtype="string"))
    with pytest.raises(bt.PanelError, match="'A' twice"):
        bt.Panel(np.ones((1, 2)), timestamps=["2024-01-01"], assets=["A", " A"])
    assert bt.Panel(np.ones((1, 2)), timestamps=["2024-01-01"], assets=[" A ", "nan"]).assets == ("A", "nan")
