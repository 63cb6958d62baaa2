# SPDX-License-Identifier: Apache-2.0
"""Long and wide tables -> the fields that they hold and the cells of (T, N) that their rows belong to.

Letters: T bars, N assets, R rows of a long table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
import polars as pl
import polars.selectors as cs

from gpu_bt.arguments import check_texts, one_of
from gpu_bt.data.clock import zone_info
from gpu_bt.data.fields import ASSET_FIELDS, MASKS, PRICES
from gpu_bt.data.labels import is_series
from gpu_bt.data.panel import asset_names
from gpu_bt.data.readers import Source, open_sources
from gpu_bt.data.shapes import with_asset
from gpu_bt.data.stamps import SEVERAL, moment
from gpu_bt.data.times import on_clock, zone_of
from gpu_bt.data.vendors import ADJUSTED, NAMES, QUOTES, adjusted, is_fields, look_alikes, lost, plain
from gpu_bt.errors import PanelError
from gpu_bt.typing import Adjust, Layout, Prices

__all__ = ["Table", "check_adjust", "check_options", "find_column", "joined", "open_named", "read_table"]

#: Our columns that are not numbers -> their type, see `Source.read`.
_TYPES = {"timestamp": "time", "asset": "name", "delisted_at": "time?", "group": "name?"} | dict.fromkeys(MASKS, "flag")


@dataclasses.dataclass(eq=False)
class Table:
    """The fields of a long table, or of a wide one made long, and where its rows belong: `cell` (R,) is t*N + n.

    place: what messages begin with: "FILE: ", or nothing for a table in memory.   columns: our name -> the source's.
    warnings: what a person should be told of it.
    """

    frame: pl.DataFrame
    wide: bool
    times: pl.Series
    assets: list[str]
    cell: np.ndarray
    notes: dict[str, Any]
    place: str
    columns: dict[str, str]
    warnings: list[str]
    own_zone: str | None = None

    def zone(self, time_zone: str | None) -> str | None:
        """The zone of a panel of it: the one given, else that of its times. Raises where neither says one."""
        if time_zone is None and self.own_zone == SEVERAL:
            raise PanelError(f"{self.place}timestamp has {SEVERAL}: pass time_zone=, such as 'Europe/Berlin'")
        zone = self.own_zone if time_zone is None else time_zone
        if zone is not None:
            zone_info(zone, PanelError)
        return zone

    def drop_actions(self, prices: str) -> None:
        """Under adjusted prices, drop dividends and splits that say nothing. Raises PanelError where they do."""
        for name, none in (("dividend", 0), ("split", 1)):
            if prices != "adjusted" or name not in self.frame.columns:
                continue
            if (self.frame.drop_in_place(name).cast(pl.Float64).fill_nan(None).fill_null(none) != none).any():
                raise PanelError(
                    f"{self.place}{name} needs unadjusted prices: pass prices='raw', or leave column"
                    f" {self.columns[name]!r} out, with fields= naming the others"
                )

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
        here, out = self.frame.columns, dict[str, np.ndarray]()
        for name in here if names is None else names:
            column = self.frame.drop_in_place(name) if name in here else pl.repeat(None, len(self.cell), eager=True)
            column = column.cast(pl.Float32 if dtype == "float32" and name not in MASKS else pl.Float64)
            if name in MASKS:  # where they are empty
                column = column.fill_nan(None).cast(pl.Boolean).fill_null(name != "universe")
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
            bar, code = divmod(int(self.cell[~keep.to_numpy()][0]), len(self.assets))
            raise PanelError(
                f"{self.place}({self.times[bar]}, {self.assets[code]!r}) appears twice ({repeats} rows repeat another,"
                f" in whole microseconds): keep one row per timestamp and asset{way_out}"
            )
        self.frame = self.frame.filter(keep)
        self.cell = self.cell[keep]
        self.notes["duplicates"] = repeats


def read_table(
    source: Any, timestamp: str, asset: str, layout: str, known: tuple[str, ...], fields: dict[str, str] | None,
    main: str, assets: list[str] | None = None, adjust: str | None = None, date_format: str | None = None,
) -> Table:  # fmt: skip
    """All sources as one table: the `known` fields, or those that `fields` names; `main` must be there. assets: of a
    long table, None = those that it has. adjust: see `vendors.adjusted`."""
    check_options(layout=(layout, *get_args(Layout)))
    check_texts(PanelError, timestamp=timestamp, asset=asset)
    opened, asset, wide = open_named(source, asset, layout, main)
    sources = [dataclasses.replace(s, date_format=date_format) for s in opened]
    chosen = fields or {name: name for name in known}
    if main not in chosen or not set(chosen) <= set(known):
        raise PanelError(f"fields names {', '.join(chosen)}: it must name {main}, and else only {', '.join(known)}")
    wanted = {"timestamp": timestamp, "asset": asset, **chosen}
    required = tuple(wanted) if fields else ("timestamp", "asset", main)
    wanted |= {name: name for name in ADJUSTED if main == "close" and (adjust or not fields)}
    columns = [_wide_columns(s, timestamp) if wide else _long_columns(s, wanted, required) for s in sources]
    frames = [s.read(c, _wide_types(c, main) if wide else _TYPES) for s, c in zip(sources, columns, strict=True)]
    padded = {bare: raw for s in sources for bare, raw in s.padded.items()}
    for s, f in zip(sources, frames, strict=True) if padded else ():
        if both := padded.keys() & set(f["asset"].unique()) - s.padded.keys():
            a = min(both)
            raise PanelError(f"{s.label} has {a!r}, another file {padded[a]!r}, one name without blanks: correct it")
    frame = joined(sources, frames)
    names = {ours: column for found in columns for ours, column in found.items()}
    used = [set(found.values()) for found in columns]
    unused = [name for s, own in zip(sources, used, strict=True) for name in s.names if name not in own]
    ignored = dict.fromkeys(unused)
    table = Table(frame, wide, frame["timestamp"].unique().sort(), [], np.empty(0), {}, _place(sources), names, [])
    if wide:
        _cells_of_wide(table, main, sources[0].label)
    else:
        if main == "close":
            if not fields and assets is None and (alike := look_alikes(ignored)):
                table.warnings.append(_told_of(alike, table.place))
            ignored |= dict.fromkeys(names[name] for name in _translate(table, adjust, sources[0].label))
        order = list(dict.fromkeys(name for s in sources for name in s.assets))
        table.assets = assets if assets is not None else order or table.frame["asset"].unique().sort().to_list()
        code = _code("timestamp", table.times) * len(table.assets) + _code("asset", pl.Series(table.assets))
        table.cell = table.frame.select(code).to_series().to_numpy()
    table.notes |= {"ignored_columns": tuple(ignored)} if ignored else {}
    zones = {s.zones.get("timestamp") or zone_of(table.times) for s in sources}
    table.own_zone = zones.pop() if len(zones) == 1 else SEVERAL
    return table


def open_named(source: Any, asset: str, layout: str = "auto", main: str = "close") -> tuple[list[Source], str, bool]:
    """(sources, their asset column, whether they are wide). Tables of one asset each get a column "asset": the keys of
    a mapping name them, or asset="filename" does, or `asset` itself. Raises PanelError for one without a name, and
    where a column names others."""
    if isinstance(source, Mapping):
        asset_names(list(source))
        bare = {name: table.rename(None) if is_series(table) else table for name, table in source.items()}
        tables = {str(name): open_sources(table, main) for name, table in bare.items()}
        if not tables:
            raise PanelError("the mapping of tables is empty: pass {asset: table}, or {field: wide table}")
        return [_alone(s, name) for name, found in tables.items() for s in found], "asset", False
    sources = open_sources(source, main)
    first = sources[0]
    if asset == "filename" and "filename" not in first.names:
        if not all(s.is_file for s in sources):
            raise PanelError("asset='filename' names assets by their files, and this is a table: pass its name")
        for s in sources:
            if own := _labels(s):
                rule = f"names its assets itself, in column {own[0]!r}: leave asset='filename' out"
                raise PanelError(f"{s.label} {rule}")
        return [with_asset(s, s.stem) for s in sources], "asset", False
    # No asset column: wide. But a table whose columns are fields holds one asset, refused where nothing names it.
    # A column of prices may be called SID: in capitals an asset's alias proves nothing.
    named = asset in first.names or any(not name.isupper() for name in _labels(first))
    wide = layout == "wide" or (layout == "auto" and not named and not is_fields(first.names, main))
    if not wide and asset != "asset" and not named and find_column(first, asset) is None:
        if find_column(first, "asset") is None and is_fields(first.names, main):
            return [with_asset(s, asset) for s in sources], "asset", False
    return sources, asset, wide


def _labels(source: Source) -> list[str]:
    """The columns that may name assets."""
    return [name for name in source.names if plain(name) in NAMES["asset"]]


def _alone(source: Source, name: str) -> Source:
    """A source that a mapping names. Raises PanelError where a column of it names several assets."""
    for column in _labels(source):
        held = source.read({"asset": column}, {"asset": "name?"})["asset"].drop_nulls().n_unique()
        if held > 1:
            rule = f"holds {held} assets, in column {column!r}: pass the table itself, or {{asset: its rows}}"
            raise PanelError(f"the table of {name!r} {rule}")
    return with_asset(source, name)


def _translate(table: Table, adjust: str | None, label: str) -> list[str]:
    """What a vendor's numbers mean: CRSP's prices below 0, splits of 0, columns that say how others are adjusted.
    Gives the columns that have no use, by our names."""
    names = (*PRICES, "split", *ADJUSTED)
    columns = {name: table.frame[name].cast(pl.Float64) for name in names if name in table.frame.columns}
    for name, column in columns.items():
        if plain(table.columns[name]) in QUOTES and (below := int((column < 0).sum())):
            table.notes["bid_ask_means"] = table.notes.get("bid_ask_means", 0) + below
            table.warnings.append(
                f"{table.place}{below} prices of column {table.columns[name]!r} are below 0, CRSP's mean of bid and ask"
                " on days without a trade: they are read without the sign; drop these rows if nothing may trade there"
            )
        if plain(table.columns[name]) in QUOTES:
            columns[name] = column.abs().replace(0.0, None)
    if "split" in columns:
        columns["split"] = columns["split"].replace(0.0, None)  # as yfinance has it on days without one
    here, left = adjusted(columns, adjust, label, table.columns)
    if left:
        shown = ", ".join(repr(table.columns[name]) for name in left)
        table.warnings.append(
            f"{table.place}{len(left)} columns have no adjusted one beside them and are left out: {shown}; with"
            " adjust='scale' they are read, by the factor of the close"
        )
    if text := lost(columns, here, adjust):
        table.warnings.append(table.place + text)
    if adjust in ("scale", "adjusted"):  # which has them in the prices
        left += [name for name in ("dividend", "split") if name in table.frame.columns]
    extra = [name for name in ADJUSTED if name in columns]
    table.frame = table.frame.with_columns(**here).drop(left, extra)
    if not {"adj_close", "price_divisor"} & set(extra) and extra:
        table.warnings.append(_told_of([table.columns[name] for name in extra], table.place))
        return left + extra
    return left + extra * (adjust == "raw")


def _told_of(alike: list[str], place: str) -> str:
    shown = ", ".join(map(repr, alike[:5])) + (", ..." if len(alike) > 5 else "")
    return (
        f"{place}{len(alike)} columns look like fields and are not read: {shown}; name the fields to read with"
        " fields={field: column}, or drop them"
    )


def _wide_types(columns: Mapping[str, str], main: str) -> dict[str, str]:
    kind = {"flag": dict.fromkeys(columns, "flag?")}.get(_TYPES.get(main, ""), {})
    return kind | {"timestamp": "time"}


def _cells_of_wide(table: Table, main: str, label: str) -> None:
    """A wide table made long."""
    table.assets = table.frame.columns[1:]
    if not table.assets:
        raise PanelError(f"{label} has one column: a wide table has timestamps and assets")
    bar = table.frame.select(_code("timestamp", table.times)).to_series().to_numpy()
    table.cell = np.add.outer(bar * len(table.assets), np.arange(len(table.assets))).ravel()
    cells = table.frame.drop("timestamp").cast(pl.Float64).to_numpy(order="c").ravel()
    table.frame = pl.DataFrame({main: cells})


def _place(sources: list[Source]) -> str:
    others = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].label}{others}: " if sources[0].is_file else ""


def _code(column: str, distinct: pl.Series) -> pl.Expr:
    """The position of each value among the distinct ones."""
    return pl.col(column).replace_strict(distinct, pl.int_range(len(distinct), eager=True), return_dtype=pl.Int64)


def find_column(source: Source, wanted: str) -> str | None:
    """The column of that name: as it stands, else without regard to case, blanks and punctuation, else by the names
    that vendors give it. Of several timestamps or assets one in small letters, or permno, is meant, else none is."""
    if wanted in source.names:
        return wanted
    usual, labels = NAMES.get(wanted, ()), wanted in ("timestamp", "asset")
    for known in ((plain(wanted),), usual) if labels else ((plain(wanted),), *((name,) for name in usual)):
        found = [name for name in source.names if plain(name) in known or (len(name) == 1 and name in known)]
        if labels:  # T is a ticker; 'date' rather than the ticker TIME
            found = [name for name in found if len(name) > 1 or name in known]
            found = [name for name in found if plain(name) == "permno"] or found
            found = [name for name in found if name in known] or found
            found = [name for name in found if not name.isupper()] or found
        if len(found) > 1:
            way_out = f"pass {wanted}= to say which, or rename some" if labels else "rename some"
            raise PanelError(f"{source.label}: {' and '.join(map(repr, found))} may be column {wanted!r}: {way_out}")
        if found:
            return found[0]
    return None


def _wide_columns(source: Source, timestamp: str) -> dict[str, str]:
    """{our name: the source's name}; an asset's is the same. The timestamp is found by its name, else it is the one
    column of dates, else the first."""
    if source.assets:
        raise PanelError(f"{source.label} holds several fields of its assets: pass the whole of it to read_panel")
    dated = [name for name, kind in source.schema.items() if kind.is_temporal()]
    found = find_column(source, timestamp)
    stamp = found or (dated if len(dated) == 1 else source.names)[0]
    if moment(stamp) is not None:
        raise PanelError(f"{source.label} has no header: its first line begins with {stamp!r}; write the names above")
    if found is None and source.schema[stamp].is_float():
        raise PanelError(
            f"{source.label} has no timestamps in its first column {stamp!r}, which holds numbers: give its rows the"
            " timestamps of the panel, as the index or as a column 'timestamp'"
        )
    return {"timestamp": stamp, **{name: name for name in source.names if name != stamp}}


def _long_columns(source: Source, wanted: dict[str, str], required: tuple[str, ...]) -> dict[str, str]:
    """{our name: the source's name}."""
    columns = {name: find_column(source, column) for name, column in wanted.items()}
    for name in required:
        if columns[name] is None and not (name == "close" and columns.get("adj_close")):
            names = [n for n in source.names if n != "asset" or not source.assets]  # that of `with_asset` is ours
            shown = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
            way_out = f"{name}=" if name in ("timestamp", "asset", "weight") else f"fields={{{name!r}: 'its name'}}"
            one = " (of a single asset: asset='its name', or asset='filename')" if name == "asset" else ""
            raise PanelError(
                f"{source.label} has no {name} column {wanted[name]!r} among {shown}: rename one, name it with"
                f" {way_out}, or pass layout='wide' where every column is an asset{one}"
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
    says = {"universe" in frame.columns: label for label, frame in filled}
    if len(says) > 1:  # neither in nor out is what an empty one means
        raise PanelError(f"{says[False]} has no column of the universe, and {says[True]} has one: give it to all")
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


def check_adjust(adjust: str | None, prices: str) -> None:
    """Raises PanelError for an adjusted close that is read as an unadjusted price."""
    check_options(adjust=(adjust, None, *get_args(Adjust)), prices=(prices, *get_args(Prices)))
    if adjust in ("scale", "adjusted") and prices == "raw":
        raise PanelError(f"adjust={adjust!r} makes adjusted prices: leave prices='raw' out, or pass adjust='raw'")


def check_options(**given: tuple[Any, ...]) -> None:
    """name = (value, *what it may be). Raises PanelError where the value is none of these."""
    for name, (value, *options) in given.items():
        one_of(name, value, options, PanelError)
