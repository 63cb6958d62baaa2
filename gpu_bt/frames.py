# SPDX-License-Identifier: Apache-2.0
"""Tables, long or wide, -> Panel and Weights. Letters: T bars, N assets, R rows of a table.

Long: a row per (timestamp, asset). Wide: the first column (or the pandas index) is the timestamp, the others assets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpu_bt.errors import PanelError, WeightsError
from gpu_bt.panel import MASKS, Panel
from gpu_bt.readers import NO_TIME, localise, open_sources, to_polars
from gpu_bt.rows import FIELDS, GRIDS, Rows, drop_duplicates, is_wide, label, long_rows, wide_rows
from gpu_bt.weights import Weights

__all__ = ["read_panel", "read_weights", "to_polars"]

_LAYOUTS = ("auto", "long", "wide")


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
    empty cells aside; `delisted_at` is the timestamp of the bar, empty = never, after the last bar = never (counted in
    `notes["delisted_after_end"]`); an empty group is "". Wide tables hold closes only and keep the order of their
    columns; rows are sorted by time.

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
    _one_of("layout", layout, _LAYOUTS, PanelError)
    _one_of("duplicates", duplicates, ("error", "first", "last"), PanelError)
    if dtype not in (np.float64, np.float32, "float64", "float32"):
        raise PanelError(f"dtype is {dtype!r}: it must be float64 or float32")
    sources = open_sources(source, PanelError)
    if is_wide(sources[0], layout, asset, ("close", "adj_close")):
        if fields is not None:
            raise PanelError("fields names fields of a long table, a wide one holds closes: leave fields= out")
        rows = wide_rows(sources, timestamp, "close")
    else:
        rows = long_rows(sources, timestamp, asset, FIELDS, fields, "close")
    zone = None if rows.kind in ("date", "naive") else rows.kind
    if time_zone is not None:
        if zone is None:
            rows.times = localise(rows.times, time_zone, "timestamp", PanelError)
        zone = time_zone
    drop_duplicates(rows, duplicates, PanelError)
    values: dict[str, Any] = {}
    flat = _flat_index(rows)
    for name in [n for n in rows.data if n in GRIDS or n in MASKS]:
        values[name] = _scatter(rows, flat, rows.data.pop(name), np.dtype(bool if name in MASKS else dtype))
    for name in list(rows.data):
        values[name] = _constant(rows, name, zone)
    values |= dict(timestamps=rows.times.view("datetime64[us]"), assets=rows.assets, time_zone=zone, notes=rows.notes)
    return Panel(**values, prices=prices, bad_prices=bad_prices, next_timestamp=next_timestamp)


def read_weights(
    source: Any,
    panel: Panel,
    *,
    timestamp: str = "timestamp",
    asset: str = "asset",
    weight: str = "weight",
    layout: str = "auto",
    missing: str = "close",
    align: str = "exact",
    unknown_assets: str = "error",
    time_zone: str | None = None,
) -> Weights:
    """Target weights on the bars and assets of a panel, from the same kinds of source as `read_panel`.

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
    (or the reverse), a weight that is infinite or beyond 1000 in size, and whatever makes a file or column unreadable.
    """
    _one_of("layout", layout, _LAYOUTS, WeightsError)
    _one_of("missing", missing, ("close", "hold"), WeightsError)
    _one_of("align", align, ("exact", "next"), WeightsError)
    _one_of("unknown_assets", unknown_assets, ("error", "ignore"), WeightsError)
    if time_zone is not None and panel.time_zone is None:
        raise WeightsError(f"time_zone is {time_zone!r} but the panel has no time zone: leave it out")
    sources = open_sources(source, WeightsError)
    if is_wide(sources[0], layout, asset, (weight,)):
        rows = wide_rows(sources, timestamp, "weight")
        drop_duplicates(rows, "error", WeightsError)
        keep = np.flatnonzero(~np.isnan(rows.data["weight"]))
        rows.bar, rows.code = rows.bar[keep], rows.code[keep]
        rows.data["weight"] = rows.data["weight"][keep]
    else:
        rows = long_rows(sources, timestamp, asset, ("weight",), {"weight": weight}, "weight")
        drop_duplicates(rows, "error", WeightsError)
    rows.times = _panel_times(rows.times, rows.kind, panel.time_zone, time_zone, "timestamp", WeightsError)
    values = rows.data["weight"]
    bad = ~((np.abs(values) <= 1000) | np.isnan(values))
    if bad.any():
        i = int(np.argmax(bad))
        where = f"weight[{label(rows.times[rows.bar[i]])}, {rows.assets[rows.code[i]]!r}]"
        raise WeightsError(f"{where} is {values[i]}: a weight is a fraction of equity, 0.05 is 5 %; |weight| <= 1000")
    return _place(rows, panel, missing, align, unknown_assets)


def _place(rows: Rows, panel: Panel, missing: str, align: str, unknown_assets: str) -> Weights:
    """Rows -> (T, N): which column each asset has, which bar each book has, then one scatter."""
    column = np.array([panel.index.get(a, -1) for a in rows.assets], np.int64)
    if (column < 0).any() and unknown_assets == "error":
        strangers = [a for a, c in zip(rows.assets, column, strict=True) if c < 0]
        shown = ", ".join(map(repr, strangers[:3])) + (f" and {len(strangers) - 3} more" if len(strangers) > 3 else "")
        raise WeightsError(f"the panel has no asset {shown}: correct the names, or pass unknown_assets='ignore'")
    bars = panel.microseconds
    used = np.zeros(len(rows.times), bool)
    used[rows.bar] = True
    target = np.searchsorted(bars, rows.times)
    inside = target < len(bars)
    exact = inside & (bars[np.minimum(target, len(bars) - 1)] == rows.times)
    if align == "exact" and (used & ~exact).any():
        wrong = rows.times[used & ~exact]
        raise WeightsError(
            f"timestamp {label(wrong[0])} is no bar of the panel ({len(wrong)} of {int(used.sum())} are none):"
            " correct the timestamps, or pass align='next' to move each to the next bar"
        )
    books = np.flatnonzero(used & inside)
    kept = np.zeros(len(rows.times), bool)
    kept[books[np.diff(target[books], append=-1) != 0]] = True  # times are sorted: the last book of a bar
    known = column[rows.code] >= 0
    placed = known & kept[rows.bar]
    moved = placed & ~exact[rows.bar]
    out = np.full(panel.shape, np.nan)
    if missing == "close":
        out[target[kept]] = 0.0
    out[target[rows.bar[placed]], column[rows.code[placed]]] = rows.data["weight"][placed] + 0.0
    out.flags.writeable = False
    return Weights(out, int(moved.sum()), int((~known).sum()), int((known & ~placed).sum()))


def _one_of(name: str, value: Any, options: tuple[str, ...], error: type[Exception]) -> None:
    if value not in options:
        raise error(f"{name} is {value!r}: it must be one of {', '.join(map(repr, options))}")


def _flat_index(rows: Rows) -> np.ndarray | None:
    """t*N + n of every row, or None where the rows are the grid itself, complete and in order."""
    flat = rows.bar * len(rows.assets) + rows.code
    size = len(rows.times) * len(rows.assets)
    return None if len(flat) == size and (flat[1:] > flat[:-1]).all() else flat


def _scatter(rows: Rows, flat: np.ndarray | None, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    shape = (len(rows.times), len(rows.assets))
    if flat is None:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which Panel refuses
            out = np.array(values, dtype).reshape(shape)  # a copy: the values may be those of the caller's table
    else:
        out = np.full(shape, True if dtype.kind == "b" else np.nan, dtype)
        with np.errstate(over="ignore"):
            out.reshape(-1)[flat] = values
    out.flags.writeable = False
    return out


def _panel_times(
    times: np.ndarray, kind: str, panel_zone: str | None, time_zone: str | None, what: str, error: type[Exception]
) -> np.ndarray:
    """Instants of some kind on the clock of a panel: dates are midnights of its zone; naive and aware do not mix."""
    if kind not in ("date", "naive"):
        if panel_zone is None:
            raise error(f"{what} is in {kind} but the panel has no time zone: drop the zone, or give the panel one")
        return times
    zone = panel_zone if kind == "date" else time_zone
    if panel_zone is None:
        return times
    if zone is None:
        raise error(
            f"{what} has no time zone but the panel is in {panel_zone}: pass time_zone={panel_zone!r}, or convert it"
        )
    return localise(times, zone, what, error)


def _constant(rows: Rows, name: str, zone: str | None) -> np.ndarray:
    """(N,) of a column that says the same in all rows of an asset, empty cells aside."""
    values = rows.data.pop(name)
    values, kind = values if name == "delisted_at" else (values, "")
    given = values != NO_TIME if kind else values != "" if name == "group" else ~np.isnan(values)
    code, values = rows.code[given], values[given]
    empty = {"delisted_at": NO_TIME, "lot": np.nan, "group": "", "delisting_return": np.nan}[name]
    out = np.full(len(rows.assets), empty, dtype=values.dtype)
    out[code] = values
    bad = out[code] != values
    if bad.any():
        i = int(np.argmax(bad))
        a, b = (label(v) if kind else repr(v) for v in (values[i], out[code[i]]))
        raise PanelError(f"{name}[{rows.assets[code[i]]!r}] is {a} and {b}: it must be one value per asset")
    return _delisting_bars(rows, out, kind, zone) if kind else out.astype(str) if name == "group" else out


def _delisting_bars(rows: Rows, moments: np.ndarray, kind: str, zone: str | None) -> np.ndarray:
    given = moments != NO_TIME
    if kind == "mixed":
        raise PanelError("delisted_at mixes time zones: convert it to one zone")
    moments[given] = _panel_times(moments[given], kind, zone, zone, "delisted_at", PanelError)
    bar = np.searchsorted(rows.times, moments)
    after = given & (bar == len(rows.times))
    wrong = given & ~after & (rows.times[np.minimum(bar, len(rows.times) - 1)] != moments)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise PanelError(
            f"delisted_at[{rows.assets[i]!r}] is {label(moments[i])}, no bar of the panel: give the bar that settles"
            f" it, such as {label(rows.times[bar[i]])}"
        )
    if after.any():
        rows.notes["delisted_after_end"] = int(after.sum())
    return np.where(given & ~after, bar, -1)
