# SPDX-License-Identifier: Apache-2.0
"""What has labels goes by them: panels of wide tables, books, grids of books, and the orders of a strategy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_bits
from tables import refused, told

import gpu_bt as bt

T, NAMES = 6, ["Q", "A", "M"]  # in no order
DAYS = pd.bdate_range("2024-03-04", periods=T)
CLOSE = pd.DataFrame(16.0 + np.arange(T * 3).reshape(T, 3), index=DAYS, columns=NAMES)
BOOKS = pd.DataFrame(np.tile([0.25, 0.5, 0.125], (T, 1)), index=DAYS, columns=NAMES)
CONFIG = bt.Config(execution="same_close", cash_buffer=0.0, initial_cash=1e4, lot=0)


def market(**fields: Any) -> bt.Panel:
    return bt.Panel(CLOSE, **fields)


def mixed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table, its rows and columns in another order."""
    return frame[["M", "Q", "A"]].iloc[::-1]


def as_polars(frame: pd.DataFrame) -> pl.DataFrame:
    return pl.from_pandas(frame.reset_index(names="date"))


KINDS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "pandas": lambda frame, _: frame,
    "polars": lambda frame, _: as_polars(frame),
    "date last": lambda frame, _: as_polars(frame).select(*frame.columns, "date"),
    "lazy": lambda frame, _: as_polars(frame).lazy(),
    "arrow": lambda frame, _: as_polars(frame).to_arrow(),
    "path": lambda frame, path: frame.to_parquet(path / "t.parquet") or path / "t.parquet",
    "text of a path": lambda frame, path: frame.to_csv(path / "t.csv") or str(path / "t.csv"),
}


# ---- panels


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_of_a_panel_are_placed_by_their_labels(kind: str, tmp_path: Path) -> None:
    make = KINDS[kind]
    panel = bt.Panel(CLOSE, open=make(mixed(CLOSE + 0.5), tmp_path), timestamps=DAYS, assets=NAMES)
    assert_bits("open", panel.open, (CLOSE + 0.5).to_numpy())
    alone = bt.Panel(make(CLOSE[["M", "Q"]].iloc[::-1], tmp_path))
    assert alone.assets == ("M", "Q")  # the order of the columns
    assert_bits("close", alone.close, CLOSE[["M", "Q"]].to_numpy())
    assert alone.microseconds.tolist() == panel.microseconds.tolist()
    fields = bt.read_panel({"Close": make(CLOSE, tmp_path), "open": mixed(CLOSE) + 0.5})
    assert_bits("open", fields.open, panel.open)
    assert fields.assets == tuple(NAMES)


def test_what_only_one_table_has_is_counted() -> None:
    open = CLOSE.rename(columns={"M": "Z"}).shift(1, freq="B")
    panel, [text] = told(lambda: market(open=open))
    assert text == (
        "open is placed by its labels: 1 timestamps and 1 assets that the panel (close) lacks are left out;"
        " 1 timestamps and 1 assets that it lacks are NaN"
    )
    assert panel.notes["open_labels"] == "left out 1 timestamps, 1 assets; lacks 1 timestamps, 1 assets"
    wanted = np.full((T, 3), np.nan)
    wanted[1:, :2] = CLOSE.to_numpy()[:-1, :2]
    assert_bits("open", panel.open, wanted)
    rates = {"dividend": CLOSE[["A"]].iloc[[2]] * 0 + 1, "can_buy": pd.DataFrame({"A": [False]}, index=DAYS[:1])}
    panel, texts = told(lambda: market(**rates, prices="raw"))
    assert texts == []  # they say nothing of the rest
    assert panel.dividend.sum() == 1.0 and panel.dividend[2, 1] == 1.0
    assert panel.can_buy.sum() == T * 3 - 1 and not panel.can_buy[0, 1]


def test_a_universe_is_a_list_of_members_and_the_last_one_counts() -> None:
    """Of the assets that it names only, from its first row on, each row until the next one, whether or not at a bar."""
    members = pd.DataFrame({"A": [True, False], "M": [np.nan, 1]}, index=pd.DatetimeIndex(["2024-03-05", "2024-03-10"]))
    panel, [text] = told(lambda: market(universe=members))
    assert panel.universe[:, 0].sum() == 0
    assert panel.universe[:, 1].tolist() == [False, True, True, True, True, False]
    assert panel.universe[:, 2].tolist() == [False, False, False, False, False, True]
    assert text == (
        "universe is placed by its labels: 0 timestamps and 0 assets that the panel (close) lacks are left out;"
        " at 5 timestamps that it lacks the row before counts; 1 before its first and 1 assets are out"
    )
    result = bt.run(panel, {"A": 0.25, "Q": 0.25, "M": 0.25}, CONFIG, record=("positions",))
    assert (result.positions > 0).tolist() == panel.universe.tolist()
    later = pd.DataFrame({"A": [True], "ZZ": [True], "M": [True], "Q": [True]}, index=[DAYS[0]])
    later.loc[DAYS[-1] + pd.Timedelta(days=1)] = False
    panel, [text] = told(lambda: bt.read_panel({"close": CLOSE, "universe": as_polars(later)}))
    assert panel.universe.all() and "1 timestamps and 1 assets that the panel (close) lacks are left out" in text
    whole = pd.DataFrame(True, index=DAYS, columns=NAMES)
    assert told(lambda: market(universe=mixed(whole)))[1] == []
    wrong = np.full((T, 3), 0.5)
    refused("must be bool, True where the asset may be held", CLOSE, universe=wrong, reader=bt.Panel)
    refused("universe has no timestamp of the panel", CLOSE, universe=whole.shift(99, freq="D"), reader=bt.Panel)


def test_what_a_table_lacks_is_said_as_what_it_is() -> None:
    one = pd.DataFrame({"A": [False], "Z": [False]}, index=DAYS[:1])
    panel, [text] = told(lambda: market(can_buy=one))
    assert panel.can_buy.sum() == T * 3 - 1
    assert "0 timestamps and 1 assets that the panel (close) lacks are left out" in text
    assert text.endswith("; 5 timestamps and 2 assets that it lacks are True")
    panel, [text] = told(lambda: market(borrow_rate=CLOSE[["A"]].iloc[[0, 3]] * 0 + 0.1))
    assert text.endswith("are left out; 4 timestamps and 2 assets that it lacks are 0")
    assert panel.borrow_rate.sum() == 0.2


def test_tables_that_have_nothing_in_common_are_refused() -> None:
    for wrong, rule in (
        (
            CLOSE.add_suffix("x"),
            "open has no asset of the panel: its first is Qx, the panel's Q; give both the same labels",
        ),
        (CLOSE.shift(99, freq="D"), "open has no timestamp of the panel: its first is 2024-06-11"),
        (pd.concat([CLOSE, CLOSE[:1]]), "open: (2024-03-04 00:00:00, 'Q') appears twice"),
        (CLOSE.reset_index(drop=True), "open: table has no timestamps in its first column 'Q'"),
        (CLOSE.astype(object).replace(16.0, "x"), "open: "),
    ):
        refused(rule, CLOSE, open=wrong, reader=bt.Panel)
    refused("the mapping has no close among 'open'", {"open": CLOSE, "Adj Open": CLOSE}, error=bt.PanelError)
    refused("timestamps and assets are missing", CLOSE.to_numpy(), open=CLOSE, reader=bt.Panel)


def test_fields_of_a_mapping_are_adjusted() -> None:
    fields = {"Close": CLOSE, "Open": CLOSE - 1, "Adj Close": mixed(CLOSE) / 2, "Stock Splits": CLOSE * 0}
    refused("the mapping has 'Close' and 'Adj Close', which are on two scales", fields)
    panel = bt.read_panel(fields, adjust="scale", dtype="float32")
    assert panel.close.dtype == np.float32 and panel.split is None
    assert_bits("close", panel.close, (CLOSE / 2).to_numpy(np.float32))
    assert_bits("open", panel.open, ((CLOSE - 1) * ((CLOSE / 2) / CLOSE)).to_numpy(np.float32))
    raw = bt.read_panel(fields, adjust="raw", prices="raw")
    assert_bits("close", raw.close, CLOSE.to_numpy())
    assert (raw.split == 1).all()
    refused("the mapping has 'Volumne' beside fields, and that is none", {"close": CLOSE, "Volumne": CLOSE})
    refused("the mapping has close twice, the second time as 'PRC'", {"close": CLOSE, "PRC": CLOSE})


def test_what_there_is_for_each_asset_goes_by_its_name() -> None:
    given = {"lot": {"A": 10, "M": 5, "Q": 0}, "group": pd.Series({"M": "x"}), "delisting_return": {"A": -0.5}}
    panel = market(**given, delisted_at={"A": 3})
    assert panel.lot.tolist() == [0, 10, 5] and panel.group.tolist() == ["", "", "x"]
    assert panel.delisting_return.tolist() == [0, -0.5, 0] and panel.delisted_at.tolist() == [-1, 3, -1]
    refused("group: 'Z' is no asset of the panel (1 of 1 are none)", CLOSE, group={"Z": "x"}, reader=bt.Panel)


def test_a_panel_with_a_time_zone_takes_tables_on_its_clock() -> None:
    aware = CLOSE.tz_localize("America/New_York")
    panel = bt.Panel(aware, open=aware.tz_convert("UTC"))
    assert panel.time_zone == "America/New_York"
    assert_bits("open", panel.open, CLOSE.to_numpy())
    books = bt.run(panel, BOOKS.to_numpy(), CONFIG).positions
    for weights in (
        BOOKS,
        BOOKS.tz_localize("America/New_York"),
        BOOKS.tz_localize("America/New_York").tz_convert("UTC"),
    ):
        assert_bits("positions", bt.run(panel, mixed(weights), CONFIG).positions, books)


# ---- books


@pytest.mark.parametrize("kind", [*KINDS, "long", "stacked"])
def test_books_are_placed_by_their_labels(kind: str, tmp_path: Path) -> None:
    table = mixed(BOOKS)
    long = table.stack().rename_axis(["date", "ticker"]).rename("weight")
    source = {"long": long.reset_index(), "stacked": long}[kind] if kind not in KINDS else KINDS[kind](table, tmp_path)
    wanted = bt.run(market(), BOOKS.to_numpy(), CONFIG)
    assert_bits("positions", bt.run(market(), source, CONFIG).positions, wanted.positions)
    grid = bt.sweep(market(), {"labels": source, "array": BOOKS.to_numpy()}, CONFIG, {"band": [0, 0.1]}, equity=True)
    assert_bits("equity", grid.equity[:2], grid.equity[2:])
    assert_bits("equity", grid.equity[:1], wanted.equity["equity"].to_numpy()[None])


def test_empty_cells_of_a_wide_table_are_told_of() -> None:
    some = BOOKS.astype(float)
    some.iloc[2, 1] = some.iloc[2, 2] = np.nan
    some.iloc[4] = np.nan  # no book
    result, [text] = told(lambda: bt.run(market(), mixed(some), CONFIG))
    assert text.startswith("weights: 2 empty cells of its books are read as 0, which closes them (in arrays NaN holds)")
    assert result.notes["empty_cells"] == 2
    assert_bits(
        "positions",
        result.positions,
        bt.run(market(), some.fillna({"A": 0, "M": 0}).mask(some.isna().all(axis=1)).to_numpy(), CONFIG).positions,
    )
    held, texts = told(lambda: bt.run(market(), bt.read_weights(some, market(), missing="hold"), CONFIG))
    assert texts == [] and "empty_cells" not in held.notes
    assert_bits("positions", held.positions, bt.run(market(), some.to_numpy(), CONFIG).positions)


@pytest.mark.parametrize("book", [{"Q": 0.25, "M": 0.125, "A": 0.5}, pd.Series({"M": 0.125, "A": 0.5, "Q": 0.25})])
def test_a_book_for_every_bar(book: Any, tmp_path: Path) -> None:
    wanted = bt.run(market(), BOOKS.to_numpy(), CONFIG).positions
    assert_bits("positions", bt.run(market(), book, CONFIG).positions, wanted)
    assert bt.run(market(), {"A": 0.5}, CONFIG).positions[:, [0, 2]].sum() == 0  # the others are closed
    assert len(bt.sweep(market(), book, CONFIG, {"band": [0, 0.1]})) == 2
    assert_bits("weights", bt.read_weights(book, market()).values, BOOKS.to_numpy())
    table = bt.sweep(market(), {"one": book, "two": {"A": 1.0}}, CONFIG, {"band": [0]}).table
    assert table["weights"].to_list() == ["one", "two"]
    CLOSE.stack().rename_axis(["date", "asset"]).rename("close").reset_index().to_parquet(tmp_path / "p.parquet")
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=4)
    equity = bt.run(bt.read_panel(tmp_path / "p.parquet"), book, CONFIG).equity
    for given in (book, BOOKS):
        assert bt.run(stream, given, CONFIG).equity.equals(equity)
    held = bt.run(bt.Panel(CLOSE[["A"]]), pd.Series(1.0, index=DAYS), CONFIG).positions  # the one asset's own
    assert_bits("positions", held, bt.run(bt.Panel(CLOSE[["A"]]), np.ones((T, 1)), CONFIG).positions)
    series = {name: BOOKS[name] for name in ("M", "A", "Q")}
    assert_bits("positions", bt.run(market(), series, CONFIG).positions, wanted)


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ({"A": 0.5, "Z": 0.5}, "weights: 'Z' is no asset of the panel (1 of 2 are none): correct the labels"),
        (pd.Series([0.1, 0.2], index=["A", "A"]), "weights: 'A' is there twice"),
        (pd.Series([0.5, 0.25, 0.25]), "weights: '0' is no asset of the panel (3 of 3 are none)"),
        ({}, "weights: the book is empty"),
        ({"mine": BOOKS}, "weights: a mapping is one book, {asset: weight}, or for sweep books by name"),
        (BOOKS.assign(Z=0.0), "asset 'Z' is not in the panel (1 of 4 are not)"),
        (BOOKS.shift(1, freq="h"), "timestamp 2024-03-04 01:00:00 is no bar of the panel (6 of 6"),
        (pd.concat([BOOKS, BOOKS[:1]]), "appears twice"),
        (pd.concat([BOOKS, BOOKS[["A"]]], axis=1), "'A' 2 times"),
        (BOOKS.reset_index(drop=True), "has no timestamps in its first column 'Q'"),
        (pd.Series(0.5, index=DAYS), "no asset column"),
        ("nowhere.parquet", "nowhere.parquet does not exist"),
        (pl.Series([0.5, 0.25, 0.25]), "weights has shape (3,): it must be (T, N)"),
        (None, "weights is a NoneType of dtype object: pass a (T, N) array of numbers, a table or a path with labels"),
    ],
)
def test_books_with_wrong_labels_are_refused(weights: Any, rule: str) -> None:
    refused(rule, market(), weights, CONFIG, error=bt.WeightsError, reader=bt.run)
    if not isinstance(weights, dict):
        named = {"good": BOOKS, "bad": weights}
        refused("weights 'bad': ", market(), named, CONFIG, {"band": [0]}, error=bt.WeightsError, reader=bt.sweep)


# ---- strategies


class Ordering(bt.Strategy):
    def __init__(self, order: Callable[[bt.Strategy, bt.Batch], Any]) -> None:
        self.order_of = order

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        self.order_of(self, batch)


def held(order: Callable[[Any, Any], Any]) -> list[float]:
    """Shares at the end by asset, as the panel has them."""
    return bt.run(market(), Ordering(order), CONFIG).positions[-1].tolist()


@pytest.mark.parametrize("label", [dict, pd.Series])
def test_the_orders_of_a_strategy_go_by_their_labels(label: Any) -> None:
    book, row = label({"M": 0.125, "Q": 0.25, "A": 0.5}), np.array([0.25, 0.5, 0.125])
    wanted = held(lambda s, b: s.order_target_percent(row))
    assert held(lambda s, b: s.order_target_percent(book)) == wanted
    assert held(lambda s, b: s.order_target_percent(NAMES[::-1], book)) == wanted
    one = held(lambda s, b: s.order_target_percent("A", 0.5))
    assert held(lambda s, b: s.order_target_percent(["A"], book)) == one
    some, nan_row = label({"M": 3.0, "Q": 1.0}), np.array([1.0, np.nan, 3.0])
    for name in ("order_target_shares", "order_target_value"):
        by_label, by_place = (held(lambda s, b, n=name, x=x: getattr(s, n)(x)) for x in (some, nan_row))
        assert by_label == by_place and by_label[1] == 0 != by_label[2]
    assert held(lambda s, b: s.order(["M", "Q"], some) if b.bar == 0 else None) == [1.0, 0.0, 3.0]
    score = label({"A": 1.0, "M": 3.0, "Q": 2.0})
    assert held(lambda s, b: s.order_target_shares(b.top(score, 1), 7)) == [0, 0, 7]
    assert held(lambda s, b: s.order_target_shares(b.bottom(score, 1), 7)) == [0, 7, 0]


def test_masks_and_names_of_a_series() -> None:
    mask = pd.Series({"M": True, "A": False, "Q": False})
    for assets in (mask, pd.Series(["M"]), pd.Index(["M"]), mask[["M"]]):
        assert held(lambda s, b, a=assets: s.order_target_shares(a, 7)) == [0, 0, 7]


def test_limits_and_the_risk_stage_take_labels() -> None:
    panel = market(open=CLOSE, high=CLOSE + 1, low=CLOSE - 1)
    limits = {"M": 17.0, "Q": 99.0}

    def order(s: Any, b: Any) -> None:
        if b.bar == 0:
            s.order(["Q", "M"], 5, limit=limits)

    assert bt.run(panel, Ordering(order), CONFIG).positions[-1].tolist() == [5.0, 0.0, 0.0]

    class Halved(Ordering):
        def risk(self, targets: Any, portfolio: Any, batch: Any) -> Any:
            return pd.Series(targets / 2, index=NAMES)[["M", "A", "Q"]]

    full = np.array([0.5, 1.0, 0.25]) / 2
    strategy = Halved(lambda s, b: s.order_target_percent(full))
    assert (
        bt.run(panel, strategy, CONFIG).positions.tolist()
        == bt.run(panel, BOOKS.to_numpy() / 2, CONFIG).positions.tolist()
    )


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (lambda s, b: s.order_target_percent({"Z": 0.5}), "order_target_percent at 2024-03-04: 'Z' is no asset"),
        (lambda s, b: s.order_target_percent(["A", "Q"], pd.Series([0.5, 0.5])), "'0' is no asset of the panel"),
        (lambda s, b: s.order_target_percent(pd.Series([1.0, 2.0], index=["A", "A"])), "'A' is there twice"),
        (lambda s, b: b.top({"Z": 1.0}, 1), "a score at 2024-03-04: 'Z' is no asset of the panel"),
        (lambda s, b: s.order(["A", "Q"], {"A": 5.0}), "shares are None or have a NaN"),
        (lambda s, b: s.order_target_shares(pd.Series({"Z": True}), 1.0), "'Z' is no asset of the panel"),
    ],
)
def test_wrong_labels_of_a_strategy_are_refused(order: Any, rule: str) -> None:
    refused(rule, market(), Ordering(order), CONFIG, error=bt.StrategyError, reader=bt.run)


def test_no_message_leads_to_the_numbers_without_their_labels() -> None:
    root = Path(bt.__file__).parents[1]
    for path in [*(root / "gpu_bt").rglob("*.py"), *(root / "docs").glob("*.md"), root / "README.md"]:
        for line in path.read_text("utf-8").splitlines():
            quoted = line.count('"') > 1 and ("raise" in line or line.lstrip().startswith(('"', 'f"', "'")))
            assert not (quoted or path.suffix == ".md") or (".to_numpy()" not in line and ".values`" not in line), line
