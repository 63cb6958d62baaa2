# SPDX-License-Identifier: Apache-2.0
"""Tables, long or wide, -> Panel and Weights. Letters: T bars, N assets.

Long: a row per (timestamp, asset). Wide: the first column (or the pandas index) is the timestamp, the others assets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import polars as pl

from gpu_bt.data.fields import FIELDS
from gpu_bt.data.panel import Panel
from gpu_bt.data.tables import Table, check_options, read_table
from gpu_bt.data.times import time_series, zone_of
from gpu_bt.data.weights import Weights
from gpu_bt.errors import PanelError, WeightsError

__all__ = ["Stream", "read_panel", "read_weights"]


def read_panel(
    source: Any,
    *,
    timestamp: str = "timestamp",
    asset: str = "asset",
    layout: str = "auto",
    fields: Iterable[str] | Mapping[str, str] | None = None,
    prices: str = "adjusted",
    bad_prices: str = "error",
    duplicates: str = "error",
    dtype: Any = np.float64,
    time_zone: str | None = None,
    next_timestamp: Any = None,
) -> Panel:
    """A Panel from a path (Parquet, CSV, Arrow IPC), a glob, a list of paths, or a Polars, pandas, PyArrow, cuDF table.

    Long tables may hold every field of `Panel`; column names are matched without regard to case, blanks and hyphens.
    T is the sorted distinct timestamps, N the distinct assets sorted by name; a (timestamp, asset) that has no row is
    NaN (can_buy, can_sell: True). `delisting_return`, `lot`, `group` and `delisted_at` must be constant per asset,
    empty cells aside; `delisted_at` is a timestamp, the first bar that is not before it settles, empty = never; an
    empty group is "". Wide tables hold closes only and keep the order of their columns; rows are sorted by time.
    Timestamps are cut to whole microseconds. A column that only some of several files have is empty in the others.

    timestamp, asset: column names; at their defaults also date, datetime, time, and symbol, ticker, sid, instrument.
    layout: "long", "wide", or "auto" = long where there is an asset column.
    fields: the fields to read, or {field: column}, as in {"close": "adj close"}; None = all that are there. Columns
        that are not read are named in `notes["ignored_columns"]`.
    duplicates: of (timestamp, asset): "error", or "first" or "last" in the order of the rows (`notes["duplicates"]`).
    dtype: float64 or float32, of the (T, N) fields.   prices, bad_prices, next_timestamp: as in `Panel`.
    time_zone: naive timestamps are wall-clock times of it, aware ones are shown in it; None = naive, or the table's.

    Raises PanelError: a file that is missing or unreadable, a table without rows or close, a cell that is no number,
    an empty timestamp or asset, integer timestamps, time zones that mix, duplicates; and whatever `Panel` refuses.
    """
    dtype = getattr(dtype, "__name__", str(dtype))  # np.float32, np.dtype("float32") and "float32" are the same
    check_options(duplicates=(duplicates, "error", "first", "last"), dtype=(dtype, "float64", "float32"))
    table = read_table(source, timestamp, asset, layout, tuple(FIELDS), fields, "close")
    if table.wide and fields is not None:
        raise PanelError("fields names fields of a long table, a wide one holds closes: leave fields= out")
    table.drop_duplicates(duplicates)
    zone = time_zone or zone_of(table.times)
    times = table.clock(zone, zone)
    per_asset = table.per_asset(times, zone)
    return Panel(
        **table.grids(dtype), **per_asset, timestamps=time_series(times, zone), assets=table.assets, time_zone=zone,
        prices=prices, bad_prices=bad_prices, next_timestamp=next_timestamp, notes=table.notes,
    )  # fmt: skip


_Books = TypeVar("_Books", covariant=True)


@runtime_checkable
class Stream(Protocol[_Books]):
    """A panel that is read window by window, and reads its weights itself; a protocol, since `streams` imports this."""

    def books(self, source: Any, account: str = "margin", **options: Any) -> _Books:
        """Target weights, read window by window."""
        ...


@overload
def read_weights(
    source: Any, panel: Panel, *, timestamp: str = ..., asset: str = ..., weight: str = ..., layout: str = ...,
    missing: str = ..., align: str = ..., unknown_assets: str = ..., time_zone: str | None = ...,
) -> Weights: ...  # fmt: skip
@overload
def read_weights(
    source: Any, panel: Stream[_Books], *, timestamp: str = ..., asset: str = ..., weight: str = ..., layout: str = ...,
    missing: str = ..., align: str = ..., unknown_assets: str = ..., time_zone: str | None = ...,
) -> _Books: ...  # fmt: skip
def read_weights(
    source: Any,
    panel: Panel | Stream[_Books],
    *,
    timestamp: str = "timestamp",
    asset: str = "asset",
    weight: str = "weight",
    layout: str = "auto",
    missing: str = "close",
    align: str = "exact",
    unknown_assets: str = "error",
    time_zone: str | None = None,
) -> Weights | _Books:
    """Target weights on the bars and assets of a panel, from the same kinds of source as `read_panel`. On a stream
    (`scan_panel`) they are read as it goes, from Parquet, Arrow IPC or a lazy table.

    A timestamp that appears is a complete book; a bar that does not appear is a row of NaN (no decision). In a long
    table (timestamp, asset, weight; other columns are not read) an asset not listed in a book is treated by `missing`,
    and a listed weight that is empty or NaN holds. In a wide table an empty or NaN cell, and an asset without a column,
    are treated by `missing`; a row whose cells are all empty is no book.

    missing: "close" = 0, sell it; "hold" = NaN, keep it.
    align: "exact", or "next" = a timestamp that is no bar moves to the next one, after the last bar it is dropped; of
        two books on one bar the later wins. Dates are midnight at their start: on an intraday panel they move to
        that day's first bar.
    unknown_assets: "error", or "ignore" = leave their rows out.
    time_zone: naive timestamps are wall-clock times of it; dates are those of the panel's zone.

    Raises WeightsError: an unknown timestamp or asset, duplicates, naive timestamps against a panel with a time zone
    (or the reverse), a `panel` that is no Panel, and whatever makes a file or column unreadable. The size of a weight
    is checked by `run`.
    """
    if isinstance(panel, Stream):
        return panel.books(
            source, timestamp=timestamp, asset=asset, weight=weight, layout=layout, missing=missing, align=align,
            unknown_assets=unknown_assets, time_zone=time_zone,
        )  # fmt: skip
    if not isinstance(panel, Panel):
        raise WeightsError(f"panel is of type {type(panel).__name__}: pass a Panel, such as read_panel gives")
    try:
        check_options(missing=(missing, "close", "hold"), align=(align, "exact", "next"))
        check_options(unknown_assets=(unknown_assets, "error", "ignore"))
        table = read_table(source, timestamp, asset, layout, ("weight",), {"weight": weight}, "weight")
        table.drop_duplicates("error", way_out="")
        times = table.clock(panel.time_zone, time_zone)
    except PanelError as exc:
        raise WeightsError(str(exc)) from None
    return _placed(table, times, panel, missing, align, unknown_assets)


def _placed(table: Table, times: np.ndarray, panel: Panel, missing: str, align: str, unknown_assets: str) -> Weights:
    """Rows -> (T, N): which column each asset has, which bar each book has, then one scatter."""
    values = table.frame["weight"].cast(pl.Float64).to_numpy()
    given = ~np.isnan(values) if table.wide else slice(None)
    values = values[given]
    row, code = np.divmod(table.cell[given], len(table.assets))
    column = np.array([panel.index.get(name, -1) for name in table.assets])
    strangers = [name for name, c in zip(table.assets, column, strict=True) if c < 0]
    if strangers and unknown_assets == "error":
        raise WeightsError(
            f"{table.place}asset {strangers[0]!r} is not in the panel ({len(strangers)} of {len(column)} are not):"
            " correct the names, or pass unknown_assets='ignore'"
        )
    book = np.flatnonzero(np.bincount(row, minlength=len(times)))  # the times that hold a weight
    bar = np.searchsorted(panel.microseconds, times)  # the first that is not before it; T after the last
    exact = np.isin(times, panel.microseconds)
    wrong = book[~exact[book]]
    if align == "exact" and len(wrong):
        raise WeightsError(
            f"{table.place}timestamp {table.times[int(wrong[0])]} is no bar of the panel ({len(wrong)} of {len(book)}"
            " are none): correct the timestamps, or pass align='next' to move each to the next bar"
        )
    kept = np.zeros(len(times), bool)
    kept[book] = (bar[book] < panel.shape[0]) & (np.diff(bar[book], append=-1) != 0)  # the last book on a bar
    known = column[code] >= 0
    placed = known & kept[row]
    out = np.full(panel.shape, np.nan)
    if missing == "close":
        out[bar[kept]] = 0.0
    out[bar[row[placed]], column[code[placed]]] = values[placed] + 0.0
    out.flags.writeable = False
    return Weights(out, int((placed & ~exact[row]).sum()), int((~known).sum()), int((known & ~placed).sum()))
