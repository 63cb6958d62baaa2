# SPDX-License-Identifier: Apache-2.0
"""Tables, long or wide, -> Panel and Weights. Letters: T bars, N assets.

Long: a row per (timestamp, asset). Wide: the first column (or the pandas index) is the timestamp, the others assets.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Protocol, TypeVar, get_args, overload, runtime_checkable

import numpy as np
import polars as pl

from gpu_bt.arguments import check_texts, columns_of, dtype_name
from gpu_bt.data.arrays import as_host
from gpu_bt.data.clock import zone_info
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS, MASKS, PRICES, RATES
from gpu_bt.data.labels import as_row, is_book, is_labelled, is_series
from gpu_bt.data.panel import Panel
from gpu_bt.data.placing import with_labels
from gpu_bt.data.stamps import moment
from gpu_bt.data.tables import Table, check_adjust, check_options, read_table
from gpu_bt.data.times import on_bars, time_series
from gpu_bt.data.vendors import adjusted, field_of, is_fields, lost
from gpu_bt.data.weights import Weights
from gpu_bt.data.wide import columns_on_gpu, weights_on_gpu
from gpu_bt.errors import BacktestWarning, PanelError, WeightsError, label_of, shown
from gpu_bt.typing import (
    Adjust,
    Align,
    BadPrices,
    Book,
    DType,
    Duplicates,
    Layout,
    Missing,
    Prices,
    TableLike,
    Time,
    UnknownAssets,
)

__all__ = ["Reading", "Stream", "books_of", "read_panel", "read_weights", "warn_of_empty"]


def read_panel(
    source: TableLike | Mapping[Any, Any], *, timestamp: str = "timestamp", asset: str = "asset",
    layout: Layout = "auto", fields: Collection[str] | Mapping[str, str] | None = None, prices: Prices = "adjusted",
    bad_prices: BadPrices = "error", duplicates: Duplicates = "error", dtype: DType = np.float64,
    time_zone: str | None = None, next_timestamp: Time | None = None, date_format: str | None = None,
    adjust: Adjust | None = None,
) -> Panel:  # fmt: skip
    """A Panel from a path (Parquet, CSV, Arrow IPC, Excel), a folder, a glob, a list of paths; a Polars, pandas,
    PyArrow, cuDF or xarray table; {field: wide table}, placed by the labels of close; or {asset: its table}.

    Long tables may hold every field of `Panel`; columns are found by their own names or their vendor's (the table NAMES
    of `gpu_bt.data.vendors`), without regard to case, blanks and punctuation. Headers of two levels, (field, asset) or
    (asset, field), as yfinance gives, make a long table whose assets keep the order of the columns.
    T is the sorted distinct timestamps, N the distinct assets sorted by name; a (timestamp, asset) that has no row is
    NaN (True in masks; a universe has a column in each file, or in none). `delisting_return`, `lot`, `group` and
    `delisted_at` must be constant per asset, empty cells aside; `delisted_at` is a timestamp, the first bar that is not
    before it settles, empty = never; an empty group is "". Wide tables hold closes only and keep the order of their
    columns; rows are sorted by time.
    Timestamps are cut to whole microseconds. A column that only some of several files have is empty in the others.

    timestamp, asset: column names; at their defaults the usual ones. asset of a table that holds one asset, without a
        column for it: the asset's name, or "filename" = that of its file without the ending.
    layout: "long", "wide", or "auto" = long where there is an asset column, or columns that are fields.
    fields: the fields to read, or {field: column}, as in {"close": "nav"}; None = all that are there. Columns that
        are not read are named in `notes["ignored_columns"]`.
    duplicates: of (timestamp, asset): "error", or "first" or "last" in the order of the rows (`notes["duplicates"]`).
    adjust: of an adjusted close beside the close: "scale" = it is the close, and open, high, low, vwap are times
        adjusted/close (CRSP's cfacpr, Compustat's ajexdi: all are divided by it), "adjusted" = the adjusted columns
        alone, "raw" = they are not read. The first two leave out dividends and splits, which are in the prices.
    dtype: float64 or float32, of the (T, N) fields.   prices, bad_prices, next_timestamp: as in `Panel`.
    time_zone: naive timestamps are the wall clock of it, aware ones are shown in it; None = naive, or the table's.
    date_format: how text, or numbers, write timestamps, and next_timestamp may, such as "%d.%m.%Y" (strptime), with a
        year; where without a day it is the last of its month or year. Zeros that a number has lost at its begin are
        added, other digits than the format writes are refused; None = ISO text, and whole numbers YYYYMMDD.

    Raises PanelError: a file that is missing or unreadable, a table without rows or close, a cell that is no number,
    an empty timestamp or asset, numbers that are no dates, time zones that mix, several UTC offsets without
    time_zone=, duplicates, two scales without `adjust`, dividends or splits under adjusted prices; and whatever `Panel`
    refuses. Warns (BacktestWarning), each with its number, of columns that look like fields and are not read, of CRSP's
    prices below 0 (the mean of bid and ask: read without the sign), and of what `Panel` warns of.
    """
    how = {"timestamp": timestamp, "asset": asset, "layout": layout, "fields": columns_of(fields), "adjust": adjust}
    how["date_format"] = date_format
    due = moment(next_timestamp, date_format) or next_timestamp
    checks = {"prices": prices, "bad_prices": bad_prices, "next_timestamp": due}
    return _panel(source, how, checks, duplicates, dtype, time_zone)


def _panel(
    source: Any, how: dict[str, Any], checks: dict[str, Any], duplicates: str, dtype: Any, time_zone: str | None
) -> Panel:
    """`read_panel`: how the table is read, and what Panel checks."""
    dtype = dtype_name(dtype)
    check_options(duplicates=(duplicates, *get_args(Duplicates)))
    check_adjust(how["adjust"], checks["prices"])
    if isinstance(source, Mapping) and is_fields(map(label_of, source), "close"):
        given = _fields(source, how["adjust"], dtype, time_zone, how["date_format"], checks["prices"])
        return Panel(**given, **checks)
    wide = isinstance(how["layout"], str) and how["layout"] in ("auto", "wide")
    plain = how["fields"] is None and how["adjust"] is None and wide and dtype == "float64"
    if plain and (there := columns_on_gpu(source)) is not None:
        times, names, close = there
        return Panel(close, timestamps=times, assets=names, time_zone=time_zone, **checks)
    table = read_table(source, known=tuple(FIELDS), main="close", **how)
    for option in ("fields", "adjust"):
        if table.wide and how[option] not in (None, "raw"):
            raise PanelError(f"{option} names fields of a long table, a wide one holds closes: leave {option}= out")
    for text in table.warnings:
        warnings.warn(text, BacktestWarning, stacklevel=3)
    table.drop_actions(checks["prices"])
    zone = table.zone(time_zone)
    times = table.clock(zone, zone)  # before duplicates are dropped: an hour that comes twice is no duplicate
    table.drop_duplicates(duplicates)
    given = {**table.per_asset(times, zone), **table.grids(dtype), "notes": table.notes}
    return Panel(**given, timestamps=time_series(times, zone), assets=table.assets, time_zone=zone, **checks)


def _fields(
    source: Mapping[str, Any], adjust: str | None, dtype: str, time_zone: str | None, date_format: str | None,
    prices: str,
) -> dict[str, Any]:  # fmt: skip
    """The fields of a mapping from vendors' names to wide tables, adjusted, with the labels of the close."""
    names: dict[str, str] = {}
    for name in map(str, source):
        if field_of(name) is None:
            raise PanelError(f"the mapping has {name!r} beside fields, and that is none: rename or drop it")
        if names.setdefault(field_of(name) or "", name) != name:
            raise PanelError(f"the mapping has {field_of(name)} twice, the second time as {name!r}: drop one")
    given = {field_of(str(name)) or "": value for name, value in source.items() if value is not None}
    alone = "close" not in given  # an adjusted close
    if alone and "adj_close" not in given:
        raise PanelError(f"the mapping has no close among {', '.join(map(repr, source))}: a panel needs one")
    if alone:
        given["close"] = given.pop("adj_close")
    placed, labels, notes = with_labels(given, None, None, time_zone, date_format)
    for name in placed.keys() - {*MASKS, *ASSET_FIELDS}:
        placed[name] = FIELDS["close"].typed(name, as_host(name, placed[name], PanelError))
    if alone:
        placed["adj_close"] = placed.pop("close")
    if "split" in placed:
        placed["split"] = np.where(placed["split"] == 0, np.nan, placed["split"])
    before, nothing = placed, {"dividend": 0.0, "split": 1.0}
    placed, left = adjusted(placed, adjust, "the mapping", names)
    if text := lost(before, placed, adjust):
        warnings.warn(f"the mapping: {text}", BacktestWarning, stacklevel=4)
    unused = {*left, *(nothing if adjust in ("scale", "adjusted") else ())}
    for name in nothing if prices == "adjusted" else ():
        if name in placed and (np.nan_to_num(placed[name], nan=nothing[name]) == nothing[name]).all():
            unused.add(name)
    fields = {name: value.astype(dtype) if name in (*PRICES, *RATES) else value for name, value in placed.items()}
    fields = {name: value for name, value in fields.items() if name not in unused}
    return {**fields, **labels, "notes": notes}


_Books = TypeVar("_Books", covariant=True)


@runtime_checkable
class Stream(Protocol[_Books]):
    """A panel that is read window by window, and reads its weights itself; a protocol, since `streams` imports this."""

    @property
    def assets(self) -> tuple[str, ...]:
        """The N names."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        ...

    def books(self, source: Any, account: str = "margin", **options: Any) -> _Books:
        """Target weights, read window by window."""
        ...


@overload
def read_weights(
    source: TableLike | Book, panel: Panel, *, timestamp: str = "timestamp", asset: str = "asset",
    weight: str = "weight", layout: Layout = "auto", missing: Missing = "close", align: Align = "exact",
    unknown_assets: UnknownAssets = "error", time_zone: str | None = None, date_format: str | None = None,
) -> Weights: ...  # fmt: skip
@overload
def read_weights(
    source: TableLike | Book, panel: Stream[_Books], *, timestamp: str = "timestamp", asset: str = "asset",
    weight: str = "weight", layout: Layout = "auto", missing: Missing = "close", align: Align = "exact",
    unknown_assets: UnknownAssets = "error", time_zone: str | None = None, date_format: str | None = None,
) -> _Books: ...  # fmt: skip
def read_weights(
    source: TableLike | Book, panel: Panel | Stream[_Books], *, timestamp: str = "timestamp", asset: str = "asset",
    weight: str = "weight", layout: Layout = "auto", missing: Missing = "close", align: Align = "exact",
    unknown_assets: UnknownAssets = "error", time_zone: str | None = None, date_format: str | None = None,
) -> Weights | _Books:  # fmt: skip
    """Target weights on the bars and assets of a panel, from the same kinds of source as `read_panel`, or {asset:
    weight} for every bar. On a stream (`scan_panel`) they are read as it goes, from Parquet, Arrow IPC or a lazy table.

    A timestamp that appears is a complete book; a bar that does not appear is a row of NaN (no decision). In a long
    table (timestamp, asset, weight; other columns are not read) an asset not listed in a book is treated by `missing`,
    and a listed weight that is empty or NaN holds. In a wide table an empty or NaN cell, and an asset without a column,
    are treated by `missing`; a row whose cells are all empty is no book.

    missing: "close" = 0, sell it; "hold" = NaN, keep it.
    A book dated by day (a date, or every timestamp midnight on the panel's clock) stands on the last bar of that date.
    Midnights of another zone, or among times of day, are instants: those that stand before the bar that ends their date
    are warned of (BacktestWarning), with their number.

    align: where a book has no bar: "exact" = an error; "next" = the next bar; "previous" = the last bar before it, as
        for books dated by month ends: it must have been known there. Books before the first bar ("previous") or after
        the last ("next") are dropped; so are those from the panel's next_timestamp on, or without one, more than a week
        after the last bar ("previous"). Of two books on one bar the later wins.
    unknown_assets: "error", or "ignore" = leave their rows out.
    time_zone: naive timestamps are the wall clock of it; None = of the panel's. Dates are those of the panel's clock.
    date_format: as in `read_panel`.

    Raises WeightsError: an unknown timestamp or asset, duplicates, timestamps of a time zone against a panel without
    one, a `panel` that is no Panel, and whatever makes a file or column unreadable. The size of a weight is checked by
    `run`.
    """
    _check_book(source)
    if is_book(source) and isinstance(panel, Panel):
        return Weights(np.array(books_of(source, panel)), assets=panel.assets, timestamps=panel.timestamps)
    how = Reading(timestamp, asset, weight, layout, missing, align, unknown_assets, time_zone, date_format)
    if isinstance(panel, Stream):
        return panel.books(source, **dataclasses.asdict(how))
    if not isinstance(panel, Panel):
        raise WeightsError(f"panel is of type {type(panel).__name__}: pass a Panel, such as read_panel gives")
    return how.books(source, panel)


def books_of(weights: Any, panel: Panel | Stream[Any]) -> Any:
    """What `run` and `sweep` take for target weights, by its labels: a table or path as `read_weights` reads it, or a
    book that every bar has, {asset: weight} or a Series, whose other assets are closed; what has no labels as it is.

    Raises WeightsError: an unknown asset or timestamp, one that is there twice.
    """
    if isinstance(weights, Weights) or not (is_labelled(weights) or isinstance(weights, (list, tuple))):
        return weights
    if isinstance(weights, (list, tuple)) and not all(isinstance(item, (str, os.PathLike)) for item in weights):
        return weights  # numbers

    def fail(rule: str) -> NoReturn:
        raise WeightsError(f"weights: {rule}")

    _check_book(weights)
    names = panel.assets
    if isinstance(panel, Panel) and panel.time_zone is None:
        there = weights_on_gpu(weights, panel.timestamps, names)
        if there is not None:
            return there
    if is_book(weights):
        if not len(weights):
            fail("the book is empty: pass {asset: weight}, 0 to hold none of it")
        return np.broadcast_to(as_row(weights, {name: i for i, name in enumerate(names)}, fail, 0.0), panel.shape)
    if isinstance(weights, Mapping) and not set(map(label_of, weights)) <= set(names):
        fail("a mapping is one book, {asset: weight}, or for sweep books by name; pass one table, or its path")
    if not isinstance(panel, Panel):
        return weights  # which the stream reads as it goes
    asset = names[0] if len(names) == 1 and is_series(weights) else "asset"
    found = read_weights(weights, panel, asset=asset, time_zone=panel.time_zone)
    warn_of_empty(found.empty_cells)
    return found


def _check_book(book: Any) -> None:
    """Raise WeightsError for what is neither a number in {asset: number} nor a table, or a path to one."""
    for name, weight in book.items() if isinstance(book, Mapping) else ():
        text = isinstance(weight, str) and re.fullmatch(r"[-+\d., %eE]*", weight) and not os.path.exists(weight)
        if text or not (isinstance(weight, numbers.Real) or is_labelled(weight) or isinstance(weight, (list, tuple))):
            raise WeightsError(f"weights: {label_of(name)!r} is {shown(weight)}: it must be a number")


def warn_of_empty(cells: int) -> None:
    """Warn of empty cells in books that `run` and `sweep` have read."""
    if cells:
        warnings.warn(
            f"weights: {cells} empty cells of its books are read as 0, which closes them (in arrays NaN holds), or hold"
            " where the table is long: write 0, or pass read_weights(table, panel, missing='hold')",
            BacktestWarning,
            stacklevel=4,
        )


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a source of weights is read: the options of `read_weights`."""

    timestamp: str = "timestamp"
    asset: str = "asset"
    weight: str = "weight"
    layout: str = "auto"
    missing: str = "close"
    align: str = "exact"
    unknown_assets: str = "error"
    time_zone: str | None = None
    date_format: str | None = None

    def books(self, source: Any, panel: Panel, by_day: bool | None = None) -> Weights:
        """The source's books on a panel. by_day: they are dated by day; None = as their own timestamps say."""
        try:
            check_options(missing=(self.missing, *get_args(Missing)), align=(self.align, *get_args(Align)))
            check_options(unknown_assets=(self.unknown_assets, *get_args(UnknownAssets)))
            check_texts(WeightsError, weight=self.weight)
            if self.time_zone is not None:
                zone_info(self.time_zone, WeightsError)
            moment(None, self.date_format)  # refuses a format that is none
            names, fields = (self.timestamp, self.asset, self.layout), {"weight": self.weight}
            table = read_table(source, *names, ("weight",), fields, "weight", date_format=self.date_format)
            table.drop_duplicates("error", way_out="")
            where = on_bars(table.times, panel, self.time_zone, self.align, f"{table.place}timestamp", by_day)
        except PanelError as exc:
            raise WeightsError(str(exc)) from None
        return _placed(table, where, panel, self)


def _placed(table: Table, where: tuple[np.ndarray, np.ndarray, np.ndarray], panel: Panel, how: Reading) -> Weights:
    """Rows -> (T, N): which column each asset has, which bar each book has, then one scatter."""
    values = table.frame["weight"].cast(pl.Float64).to_numpy()
    given = ~np.isnan(values) if table.wide else slice(None)
    values = values[given]
    row, code = np.divmod(table.cell[given], len(table.assets))
    column = np.array([panel.index.get(name, -1) for name in table.assets])
    strangers = [name for name, c in zip(table.assets, column, strict=True) if c < 0]
    if strangers and how.unknown_assets == "error":
        raise WeightsError(
            f"{table.place}asset {strangers[0]!r} is not in the panel ({len(strangers)} of {len(column)} are not):"
            " correct the names, or pass unknown_assets='ignore'"
        )
    book = np.flatnonzero(np.bincount(row, minlength=len(table.times)))  # the times that hold a weight
    start, bar, within = where
    wrong = book[~within[book]]
    if how.align == "exact" and len(wrong):
        raise WeightsError(
            f"{table.place}timestamp {table.times[int(wrong[0])]} is no bar of the panel ({len(wrong)} of {len(book)}"
            " are none): correct the timestamps, or pass align='next' to move each to the next bar, or"
            " align='previous' to the last bar before it"
        )
    here = (bar >= 0) & (bar < panel.shape[0])
    kept = np.zeros(len(bar), bool)
    kept[book] = here[book] & (np.diff(bar[book], append=-1) != 0)  # the last book on a bar
    # A date stands on its day; a midnight that is taken for one has moved.
    moved = ~within | (panel.microseconds[np.where(here, bar, 0)] != start) & (table.times.dtype != pl.Date)
    known = column[code] >= 0
    placed = known & kept[row]
    out = np.full(panel.shape, np.nan)
    if how.missing == "close":
        out[bar[kept]] = 0.0
    out[bar[row[placed]], column[code[placed]]] = values[placed] + 0.0
    out.flags.writeable = False
    empty = len(book) * len(table.assets) - len(values) if table.wide else int(np.isnan(values).sum())
    empty = 0 if table.wide and how.missing == "hold" else empty
    counts = int((placed & moved[row]).sum()), int((~known).sum()), int((known & ~placed).sum())
    return Weights(out, *counts, empty, panel.assets, panel.timestamps)
