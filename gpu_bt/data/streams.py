# SPDX-License-Identifier: Apache-2.0
"""Panels and weights larger than memory: one look finds what they are, their bars are read window by window.

Letters: T bars, N assets.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from gpu_bt.arguments import check_texts, columns_of, dtype_name, whole
from gpu_bt.data.arrays import as_host
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS, MASKS
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.frames import Reading, warn_of_empty
from gpu_bt.data.panel import Panel, warn_of_splits
from gpu_bt.data.readers import Source, open_sources
from gpu_bt.data.sanity import warn_of_labels
from gpu_bt.data.stamps import moment
from gpu_bt.data.tables import Table, check_adjust, check_options, find_column, joined, open_named, read_table
from gpu_bt.data.times import dated_by_day, on_bars, time_series
from gpu_bt.data.weights import Weights, check_fit, check_weights
from gpu_bt.errors import PanelError, ResultError, WeightsError, quiet, warn
from gpu_bt.show.cards import panel_card
from gpu_bt.typing import Adjust, BadPrices, DType, Duplicates, Prices, TableLike, Time

__all__ = ["PanelStream", "WeightsStream", "scan_panel"]


def scan_panel(
    source: TableLike, *, bars: int = 500, timestamp: str = "timestamp", asset: str = "asset",
    fields: Collection[str] | Mapping[str, str] | None = None, prices: Prices = "adjusted",
    bad_prices: BadPrices = "error", duplicates: Duplicates = "error", dtype: DType = np.float64,
    time_zone: str | None = None, next_timestamp: Time | None = None, date_format: str | None = None,
    adjust: Adjust | None = None,
) -> PanelStream:  # fmt: skip
    """A panel that need not fit into memory, for `run` and `sweep` over weights: the bits are those of `read_panel`.

    source: long Parquet or Arrow IPC files as `read_panel` takes them, or a Polars LazyFrame; timestamps that are text
    or numbers are looked through once more each time, and all rows with them for each window. One pass finds
    timestamps, assets and what is constant per asset; then `bars` bars at a time, a window, are read when their turn
    comes. Where rows are sorted by time, Parquet's statistics let each window read its own row groups alone; unsorted
    rows are found by looking at all timestamps again for each window. The other options are those of `read_panel`. What
    it and `Panel` refuse of a bar is refused when that bar is read.

    Raises PanelError as `read_panel` does, for CSV, and where `bars` is no whole number > 0.
    """
    bars = whole("bars", bars, error=PanelError)
    check_options(duplicates=(duplicates, *get_args(Duplicates)))
    checks: dict[str, Any] = {"prices": prices, "bad_prices": bad_prices}
    check_adjust(adjust, prices)
    names, due = (timestamp, asset), moment(next_timestamp, date_format) or next_timestamp
    kept, kind = columns_of(fields), dtype_name(dtype)
    return PanelStream(source, bars, names, kept, checks, duplicates, kind, time_zone, due, date_format, adjust)


class PanelStream:
    """What `scan_panel` gives: a panel whose labels are known and whose bars are read window by window.

    bars: those of a window, read at once.   timestamps, microseconds, time_zone, assets, next_timestamp, lot, fields,
    shape, notes: as in `Panel`. It holds no file open, and may be pickled where its paths mean the same.
    """

    def __init__(
        self, source: Any, bars: int, names: tuple[str, str], fields: dict[str, str] | None,
        checks: Mapping[str, Any], duplicates: str, dtype: str, time_zone: str | None, next_timestamp: Any,
        date_format: str | None = None, adjust: str | None = None,
    ) -> None:  # fmt: skip
        self._source = source
        self.bars = bars
        self._names = names
        self._chosen = fields
        self._checks = dict(checks)
        self._duplicates = duplicates
        self._dtype = dtype
        self._format, self._adjust = date_format, adjust
        self._said: set[str] = set()
        check_texts(PanelError, timestamp=names[0], asset=names[1])
        opened, self._asset, wide = open_named(source, names[1])
        if wide and find_column(opened[0], self._asset) is None:
            raise PanelError(f"{opened[0].label} is a wide table, and a stream reads long ones: use read_panel")
        table = self._read([self._outline(s) for s in self._sources()], tuple(FIELDS), None)
        self._warn(table)
        table.drop_actions(checks["prices"])
        self._times = table.times
        self.time_zone: str | None = table.zone(time_zone)
        self.microseconds: NDArray[np.int64] = table.clock(self.time_zone, self.time_zone)
        self.timestamps: NDArray[np.datetime64] = self.microseconds.view("datetime64[us]")
        self._per_asset = table.per_asset(self.microseconds, self.time_zone)
        known = [name for name in FIELDS if name in table.frame.columns and name not in ASSET_FIELDS]
        empty = {name: np.full((1, len(table.assets)), True if name in MASKS else np.nan) for name in known}
        warn_of_labels(table.assets, self.microseconds, self.time_zone)
        last = self._panel(empty, table, len(self.timestamps) - 1, next_timestamp)  # refuses what needs no bar
        self.assets: tuple[str, ...] = last.assets
        self.fields: tuple[str, ...] = last.fields
        self.next_timestamp: np.datetime64 | None = last.next_timestamp
        self.lot = last.lot
        self.notes: dict[str, Any] = table.notes
        self._judged = 0  # bars whose splits were looked at

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.timestamps), len(self.assets)

    def label(self, bar: int) -> str:
        """The timestamp of a bar as `Panel.label` writes it."""
        return Panel.label(self, bar)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        t, n = self.shape
        return f"PanelStream({t} bars x {n} assets, {self.bars} at once, {', '.join(self.fields)})"

    _repr_html_ = panel_card

    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and times of change, and of how they are read, for `sweep(out=)`."""
        how = [self._names, self._chosen, self._checks, self._duplicates, self._dtype, self._format, self._adjust]
        labels = [self.assets, self.time_zone, str(self.next_timestamp)]
        return fingerprint(_files(self._source), self.microseconds, [*labels, how])

    def parts(self) -> Iterator[tuple[int, Panel]]:
        """(number of its first bar, Panel) of each window; a `delisted_at` that lies before it is 0 there.

        One window is in memory at a time, if the caller has let go of it when it asks for the next.
        """
        sources = self._sources()
        before = None
        for a in range(0, len(self.timestamps), self.bars):
            b = min(a + self.bars, len(self.timestamps))
            panel = self._window([_between(s, self._stamp(s), self._times, a, b) for s in sources], a, b)
            if panel.split is not None:
                if before is not None and a >= self._judged:
                    warn_of_splits(panel, np.concatenate([before, panel.close[:1]]), panel.split[[0, 0]], first=-1)
                before = panel.close[-1:].copy()
            self._judged = max(self._judged, b)
            yield a, panel
            del panel

    def books(self, source: Any, account: str = "margin", **options: Any) -> WeightsStream:
        """Target weights, read window by window: a (T, N) array, which is sliced, or a table for `read_weights`."""
        found = source if isinstance(source, WeightsStream) else WeightsStream(self, source, options)
        check_fit(found, self)
        found = copy.copy(found)
        found.account = account
        return found

    def _window(self, sources: list[Source], a: int, b: int) -> Panel:
        """Bars a..b-1, which must be those that the scan has found. What it warns of is said the first time alone."""
        try:
            table = self._read(sources, self.fields, list(self.assets))
        except pl.exceptions.InvalidOperationError:  # an asset that was not there
            table = None
        if table is None or not table.times.equals(self._times[a:b]):
            raise PanelError(f"bars {a} to {b - 1} are not those that scan_panel found: scan the changed files again")
        table.drop_duplicates(self._duplicates)
        with quiet() if a < self._judged else nullcontext():
            self._warn(table)
            following = self.next_timestamp if b == len(self.timestamps) else self.timestamps[b]
            due = None if following is None else time_series([following], self.time_zone)[0]
            return self._panel(table.grids(self._dtype, self.fields), table, a, due)

    def _panel(self, grids: Mapping[str, Any], table: Table, a: int, next_timestamp: Any) -> Panel:
        """A Panel of the bars from number a on."""
        own: dict[str, Any] = dict(self._per_asset)
        if "delisted_at" in own:
            own["delisted_at"] = np.where(own["delisted_at"] < 0, -1, np.maximum(own["delisted_at"] - a, 0))
        stamps = time_series(self.timestamps[a : a + len(grids["close"])], self.time_zone)
        repeats = {name: count for name, count in table.notes.items() if name == "duplicates"}
        with quiet("assets: ", "timestamps: ", *(("the median ",) if a else ())):  # told of all bars, or of the first
            return Panel(
                **grids, **own, **self._checks, timestamps=stamps, assets=table.assets, time_zone=self.time_zone,
                next_timestamp=next_timestamp, notes=repeats,
            )  # fmt: skip

    def _read(self, sources: list[Source], known: tuple[str, ...], assets: list[str] | None) -> Table:
        fields = self._chosen
        if fields is not None and assets is not None:
            fields = {name: column for name, column in fields.items() if name in known}
        stamp = self._names[0]
        return read_table(sources, stamp, self._asset, "long", known, fields, "close", assets, self._adjust)

    def _sources(self) -> list[Source]:
        sources = open_named(self._source, self._names[1], "long")[0]
        return [_with_times(s, find_column(s, self._names[0]), self._format) for s in sources]

    def _warn(self, table: Table) -> None:
        """What the table has to say, once."""
        for text in table.warnings:
            if text not in self._said:
                self._said.add(text)
                warn(text, stacklevel=4)

    def _stamp(self, source: Source) -> str:
        """The column of its timestamps, which `_outline` has found there."""
        return find_column(source, self._names[0]) or self._names[0]

    def _outline(self, source: Source) -> Source:
        """The source with a row for each timestamp, and for each asset with what it says of it; the rest is empty."""
        stamp, name = (find_column(source, wanted) for wanted in (self._names[0], self._asset))
        chosen = dict(zip(FIELDS, FIELDS, strict=True)) if self._chosen is None else self._chosen
        columns = {field: find_column(source, wanted) for field, wanted in chosen.items()}
        constant, flags = ([c for f in some if (c := columns.get(f))] for some in (ASSET_FIELDS, MASKS))
        actions = [_telling(c, none) for f, none in (("dividend", 0.0), ("split", 1.0)) if (c := columns.get(f))]

        def scan(floats: list[str]) -> pl.LazyFrame:
            rows = source.scan(floats)
            if stamp is None or name is None:  # which read_table refuses
                return rows
            by_time = rows.group_by(cs.by_name(stamp)).agg(cs.by_name(name).first(), *actions)
            by_asset = rows.group_by(cs.by_name(name, *constant)).agg(cs.by_name(stamp).first())
            outline = pl.concat([rows.limit(0), by_time, by_asset], how="diagonal_relaxed")
            return outline.with_columns(pl.lit(True).alias(flag) for flag in flags)  # which may not be empty

        return dataclasses.replace(source, scan=scan, rows=" of its distinct timestamps and assets", engine="streaming")


class WeightsStream:
    """Target weights of a stream, which are read window by window. account: what their sign is checked for."""

    def __init__(self, panel: PanelStream, source: Any, options: Mapping[str, Any]) -> None:
        self._source = source
        self._how = Reading(**options)
        self.account = "margin"
        self._empty: int | None = None if options else 0  # cells, counted where nobody has said what they mean
        self.shape: tuple[int, ...] = panel.shape
        self._table = isinstance(source, (str, os.PathLike, list, tuple, pl.LazyFrame)) or hasattr(source, "columns")
        read_for = panel if self._table else source
        self.assets, self.timestamps = (getattr(read_for, name, None) for name in ("assets", "timestamps"))
        if not self._table:
            self._source = source.values if isinstance(source, Weights) else as_host("weights", source, WeightsError)
            self.shape = self._source.shape
            return
        try:
            sources, kind = [_distinct(s, self._stamp(s)) for s in self._open()], {"timestamp": "time"}
            found = [s.read({"timestamp": self._stamp(s)}, kind) for s in sources]
            self._times = joined(sources, found)["timestamp"].unique().sort()
            self._by_day = dated_by_day(self._times, panel.time_zone)
            _, bar, _ = on_bars(self._times, panel, self._how.time_zone, self._how.align, "the weights' timestamp")
        except PanelError as error:
            raise WeightsError(str(error)) from None
        self._until = np.searchsorted(bar, np.arange(panel.shape[0]), side="right")  # books on the bars up to each
        self._until[-1] = len(bar)

    def rows(self, panel: Panel, a: int) -> tuple[np.ndarray, dict[str, int]]:
        """The checked (T, N) weights of a window whose first bar has number a, and the counts of `Weights`."""
        b, counts = a + panel.shape[0], dict[str, int]()
        if not self._table:
            return check_weights(panel, self._source[a:b], self.account, counts), counts
        first, last = int(self._until[a - 1]) if a else 0, int(self._until[b - 1])
        if first == last:
            values = np.full(panel.shape, np.nan)
        else:
            sources = [_between(s, self._stamp(s), self._times, first, last) for s in self._open()]
            found = self._how.books(sources, panel, self._by_day)
            names = ("moved_rows", "unknown_rows", "dropped_rows", "empty_cells")
            counts = {name: getattr(found, name) for name in names}
            values = check_weights(panel, found.values, self.account, counts)
        if (before := self._empty) is not None:
            self._empty = empty = (before if a else 0) + counts.get("empty_cells", 0)
            if b == self.shape[0]:  # all are counted
                warn_of_empty(empty)
                self._empty = None
        return values, counts

    def fingerprint(self) -> str:
        """A hash as that of `PanelStream`; of an array by its bytes."""
        parts = (_files(self._source), dataclasses.asdict(self._how)) if self._table else (self._source,)
        return fingerprint(*parts)

    def _open(self) -> list[Source]:
        return [_with_times(s, self._stamp(s), self._how.date_format) for s in open_sources(self._source)]

    def _stamp(self, source: Source) -> str:
        return find_column(source, self._how.timestamp) or source.names[0]


def _with_times(source: Source, column: str | None, date_format: str | None) -> Source:
    """The source with a column of dates or datetimes: those that it has, or what its text or numbers say."""
    if source.kind == "CSV":
        raise PanelError(f"{source.label} is CSV: a stream needs Parquet or Arrow IPC; convert it, or use read_panel")
    if column is None or source.schema[column] in (pl.Date, pl.Datetime):
        return source
    scan, rows = source.scan, " of its distinct timestamps"
    with source.shield():
        given = scan([]).select(cs.by_name(column)).unique().collect(engine="streaming")
    read = dataclasses.replace(source, scan=lambda _: given.lazy(), date_format=date_format, rows=rows)
    times = read.read({"timestamp": column}, {"timestamp": "time"})["timestamp"]
    parsed = cs.by_name(column).replace_strict(given.to_series(), times, return_dtype=times.dtype)
    return dataclasses.replace(source, scan=lambda floats: scan(floats).with_columns(parsed), zones=read.zones)


def _telling(column: str, none: float) -> pl.Expr:
    """The first number of a group that is neither empty, 0 nor `none`."""
    cells = cs.by_name(column).cast(pl.Float64, strict=False).fill_nan(none)
    return cells.filter((cells != none) & (cells != 0)).first()


def _distinct(source: Source, column: str) -> Source:
    """The source with its distinct timestamps alone."""

    def scan(floats: list[str]) -> pl.LazyFrame:
        return source.scan(floats).select(cs.by_name(column)).unique()

    return dataclasses.replace(source, scan=scan, rows=" of its distinct timestamps", engine="streaming")


def _between(source: Source, column: str, times: pl.Series, a: int, b: int) -> Source:
    """The source's rows from the a-th of the sorted distinct timestamps up to before the b-th."""

    def bound(i: int) -> pl.Expr:
        return pl.lit(times.to_physical()[i]).cast(times.dtype)

    def scan(floats: list[str]) -> pl.LazyFrame:
        rows = source.scan(floats)
        rows = rows.filter(cs.by_name(column) >= bound(a)) if a else rows
        return rows.filter(cs.by_name(column) < bound(b)) if b < len(times) else rows

    return dataclasses.replace(source, scan=scan, rows=f" of those from {times[a]} on")


def _files(source: Any) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file."""
    sources = open_named(source, "asset")[0]
    if not all(s.is_file for s in sources):
        raise ResultError("a lazy table has nothing to know it by again: write it to Parquet, or leave out= out")
    stats = [Path(s.label).stat() for s in sources]
    return [(s.label, stat.st_size, stat.st_mtime_ns) for s, stat in zip(sources, stats, strict=True)]
