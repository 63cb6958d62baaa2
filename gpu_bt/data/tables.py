# SPDX-License-Identifier: Apache-2.0
"""Long and wide tables -> the fields that they hold and the cells of (T, N) that their rows belong to.

Letters: T bars, N assets, R rows of a long table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from gpu_bt.data.clock import zone_info
from gpu_bt.data.fields import ASSET_FIELDS, MASKS
from gpu_bt.data.readers import Source, open_sources
from gpu_bt.data.stamps import SEVERAL
from gpu_bt.data.times import on_clock, zone_of
from gpu_bt.errors import PanelError

__all__ = ["Table", "check_options", "find_column", "joined", "read_table"]

#: Our columns that are not numbers -> their type, see `Source.read`.
_TYPES = {"timestamp": "time", "asset": "name", "delisted_at": "time?", "group": "name?"} | dict.fromkeys(MASKS, "flag")
#: Looked for when the caller left timestamp= and asset= at their defaults.
_ALIASES = {"timestamp": ("date", "datetime", "time"), "asset": ("symbol", "ticker", "sid", "instrument")}


@dataclasses.dataclass(eq=False)
class Table:
    """The fields of a long table, or of a wide one made long, and where its rows belong: `cell` (R,) is t*N + n.

    place: what messages begin with: "FILE: ", or nothing for a table in memory.
    """

    frame: pl.DataFrame
    wide: bool
    times: pl.Series
    assets: list[str]
    cell: np.ndarray
    notes: dict[str, Any]
    place: str
    own_zone: str | None

    def zone(self, time_zone: str | None) -> str | None:
        """The zone of a panel of it: the one given, else that of its times. Raises where neither says one."""
        if time_zone is None and self.own_zone == SEVERAL:
            raise PanelError(f"{self.place}timestamp has {SEVERAL}: pass time_zone=, such as 'Europe/Berlin'")
        zone = time_zone or self.own_zone
        if zone is not None:
            zone_info(zone, PanelError)
        return zone

    def clock(self, panel_zone: str | None, time_zone: str | None) -> np.ndarray:
        """(T,) int64 microseconds of `times` on the clock of a panel; naive ones are the wall clock of time_zone."""
        return on_clock(self.times, panel_zone, time_zone, f"{self.place}timestamp")

    def per_asset(self, times: np.ndarray, zone: str | None) -> dict[str, np.ndarray]:
        """The (N,) fields that are there; `delisted_at` as bars of `times`."""
        return {name: _per_asset(self, name, times, zone) for name in ASSET_FIELDS if name in self.frame.columns}

    def grids(self, dtype: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """The (T, N) fields, which leave the table one by one: a large one does not fit twice. names: those wanted,
        empty where they are not there; None = all that are."""
        self.frame = self.frame.drop("timestamp", "asset", *ASSET_FIELDS, strict=False)
        here = self.frame.columns
        out = {}
        for name in here if names is None else names:
            column = self.frame.drop_in_place(name) if name in here else pl.repeat(None, len(self.cell), eager=True)
            float_type = pl.Float32 if dtype == "float32" else pl.Float64
            column = column.cast(pl.Boolean).fill_null(True) if name in MASKS else column.cast(float_type)
            out[name] = _grid(column, self)
        return out

    def drop_duplicates(
        self, duplicates: str, way_out: str = ", or pass duplicates='first' or duplicates='last'"
    ) -> None:
        """Keep one row per (timestamp, asset): "error", "first" or "last". Raises for the first repeated row, and for a
        table with far fewer rows than cells."""
        size = len(self.times) * len(self.assets)
        if size > max(10**8, 1000 * len(self.cell)):
            raise PanelError(
                f"{len(self.times)} timestamps x {len(self.assets)} assets for {len(self.cell)} rows: timestamps must"
                " be bars shared by assets; round ticks to bars, or read fewer assets"
            )
        seen = np.zeros(size, bool)
        seen[self.cell] = True
        repeats = len(self.cell) - np.count_nonzero(seen)
        if not repeats:
            return
        cell = pl.Series(self.cell)
        keep = cell.is_last_distinct() if duplicates == "last" else cell.is_first_distinct()
        if duplicates == "error":
            first = int(self.cell[~keep.to_numpy()][0])
            bar, code = divmod(first, len(self.assets))
            raise PanelError(
                f"{self.place}({self.times[bar]}, {self.assets[code]!r}) appears twice ({repeats} rows repeat another,"
                f" in whole microseconds): keep one row per timestamp and asset{way_out}"
            )
        self.frame = self.frame.filter(keep)
        self.cell = self.cell[keep]
        self.notes["duplicates"] = repeats


def read_table(
    source: Any, timestamp: str, asset: str, layout: str, known: tuple[str, ...], fields: Any, main: str,
    assets: list[str] | None = None, date_format: str | None = None,
) -> Table:  # fmt: skip
    """All sources as one table: the `known` fields, or those that `fields` names; `main` must be there. assets: of a
    long table, None = those that it has."""
    check_options(layout=(layout, "auto", "long", "wide"))
    sources = [dataclasses.replace(opened, date_format=date_format) for opened in open_sources(source)]
    chosen = fields if isinstance(fields, Mapping) else {name: name for name in fields or known}
    if main not in chosen or not set(chosen) <= set(known):
        raise PanelError(f"fields names {', '.join(chosen)}: it must name {main}, and else only {', '.join(known)}")
    wanted = {"timestamp": timestamp, "asset": asset, **chosen}
    required = tuple(wanted) if fields else ("timestamp", "asset", main)
    # No asset column: wide. But a table that has a column as only long ones do is long, and refused for the lack.
    # A column of prices may be called SID: in other letters an asset's alias proves nothing.
    looks_long = {_plain(chosen[main]), "adj_close"} & set(map(_plain, sources[0].names))
    looks_long |= {asset, *_ALIASES["asset"]} & set(sources[0].names)
    wide = layout == "wide" or (layout == "auto" and not looks_long)
    columns = [_wide_columns(s, timestamp) if wide else _long_columns(s, wanted, required) for s in sources]
    types = {"timestamp": "time"} if wide else _TYPES
    frame = joined(sources, [s.read(names, types) for s, names in zip(sources, columns, strict=True)])
    times = frame["timestamp"].unique().sort()
    if wide:
        assets = frame.columns[1:]
        if not assets:
            raise PanelError(f"{sources[0].label} has one column: a wide table has timestamps and assets")
        bar = frame.select(_code("timestamp", times)).to_series().to_numpy()
        cell = np.add.outer(bar * len(assets), np.arange(len(assets))).ravel()
        frame = pl.DataFrame({main: frame.drop("timestamp").cast(pl.Float64).to_numpy(order="c").ravel()})
    else:
        assets = frame["asset"].unique().sort().to_list() if assets is None else assets
        code = _code("timestamp", times) * len(assets) + _code("asset", pl.Series(assets))
        cell = frame.select(code).to_series().to_numpy()
    read = zip(sources, columns, strict=True)
    ignored = dict.fromkeys(name for s, names in read for name in s.names if name not in names.values())
    notes = {"ignored_columns": tuple(ignored)} if ignored else {}
    zones = {s.zones.get("timestamp") or zone_of(times) for s in sources}
    return Table(frame, wide, times, assets, cell, notes, _place(sources), zones.pop() if len(zones) == 1 else SEVERAL)


def _place(sources: list[Source]) -> str:
    others = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].label}{others}: " if sources[0].is_file else ""


def _code(column: str, distinct: pl.Series) -> pl.Expr:
    """The position of each value among the distinct ones."""
    return pl.col(column).replace_strict(distinct, pl.int_range(len(distinct), eager=True), return_dtype=pl.Int64)


def _plain(name: str) -> str:
    """'Half-Spread ' -> 'half_spread'."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def find_column(source: Source, wanted: str) -> str | None:
    """The column of that name: as it stands, else without regard to case, blanks and hyphens, else by an alias."""
    if wanted in source.names:
        return wanted
    for names in ((wanted,), _ALIASES.get(wanted, ())):
        found = [name for name in source.names if _plain(name) in map(_plain, names)]
        found = [name for name in found if name in names] or found  # 'date' rather than the ticker TIME
        if len(found) > 1:
            raise PanelError(f"{source.label}: {' and '.join(map(repr, found))} may be column {wanted!r}: rename some")
        if found:
            return found[0]
    return None


def _wide_columns(source: Source, timestamp: str) -> dict[str, str]:
    """{our name: the source's name}; an asset's is the same."""
    stamp = find_column(source, timestamp) or source.names[0]
    return {"timestamp": stamp, **{name: name for name in source.names if name != stamp}}


def _long_columns(source: Source, wanted: dict[str, str], required: tuple[str, ...]) -> dict[str, str]:
    """{our name: the source's name}."""
    columns = {name: find_column(source, column) for name, column in wanted.items()}
    for name in required:
        if columns[name] is None:
            shown = ", ".join(map(repr, source.names[:12])) + (", ..." if len(source.names) > 12 else "")
            way_out = f"{name}=" if name in ("timestamp", "asset", "weight") else f"fields={{{name!r}: 'its name'}}"
            raise PanelError(
                f"{source.label} has no {name} column {wanted[name]!r} among {shown}: rename one, name it with"
                f" {way_out}, or pass layout='wide' where every column is an asset"
            )
    return {name: column for name, column in columns.items() if column is not None}


def joined(sources: list[Source], frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One below the other. A column that one of them lacks is empty there. Dates and naive datetimes go together."""
    filled = [(source.label, frame) for source, frame in zip(sources, frames, strict=True) if len(frame)]
    if not filled:
        raise PanelError(f"{sources[0].label} has no rows: there is nothing to read")
    for name in ("timestamp", "delisted_at"):
        zones = {
            zone_of(frame[name]): label for label, frame in filled if name in frame.columns and frame[name].count()
        }
        if len(zones) > 1:
            shown = ", ".join(f"{label} is {zone or 'naive'}" for zone, label in zones.items())
            raise PanelError(f"{name} mixes time zones: {shown}: convert the files to one zone")
    return pl.concat([frame for _, frame in filled], how="diagonal_relaxed")


def _grid(column: pl.Series, table: Table) -> np.ndarray:
    """(T, N) of a column; where there is no row: NaN, or True for a flag."""
    shape = len(table.times), len(table.assets)
    if len(column) == shape[0] * shape[1] and (table.cell[1:] > table.cell[:-1]).all():  # complete and in order
        out = np.concatenate([chunk.to_numpy() for chunk in column.get_chunks()])
    else:
        values = column.to_numpy()
        out = np.full(shape, True if values.dtype == bool else np.nan, values.dtype)
        out.reshape(-1)[table.cell] = values
    out.flags.writeable = False  # read-only and owned by NumPy: a Panel takes it without another copy
    return out.reshape(shape)


def _per_asset(table: Table, name: str, times: np.ndarray, zone: str | None) -> np.ndarray:
    """(N,) of a column that says the same in all rows of an asset, empty cells aside; `delisted_at` as bars."""
    said = table.frame.select("asset", name).with_columns(cs.float().fill_nan(None)).drop_nulls()
    said = said.unique(maintain_order=True)
    for asset in said.filter(pl.col("asset").is_duplicated())["asset"]:
        a, b = said.filter(asset=asset)[name][:2]
        raise PanelError(f"{name}[{asset!r}] is {a} and {b}: it must be one value per asset")
    column = pl.DataFrame({"asset": table.assets}).join(said, on="asset", how="left", maintain_order="left")[name]
    if name == "group":
        return column.cast(pl.String).fill_null("").to_numpy().astype(str)
    if name != "delisted_at":
        return column.cast(pl.Float64).to_numpy()
    bar = np.full(len(column), -1)
    bar[column.is_not_null()] = np.searchsorted(times, on_clock(column.drop_nulls(), zone, zone, name))
    return np.where(bar < len(times), bar, -1)


def check_options(**given: tuple[Any, ...]) -> None:
    """name = (value, *what it may be). Raises PanelError where the value is none of these."""
    for name, (value, *options) in given.items():
        if value not in options:
            raise PanelError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, options))}")
