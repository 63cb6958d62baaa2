# SPDX-License-Identifier: Apache-2.0
"""Files and dataframes of any kind -> Polars columns of checked types.

The only module that knows dataframes other than those of Polars. Rows in messages count from 0, without headers and
blank lines.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import glob
import importlib.util
import numbers
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import narwhals as nw
import polars as pl
import polars.selectors as cs

from gpu_bt.arguments import path_of
from gpu_bt.data.forks import with_threads
from gpu_bt.data.labels import of_cudf
from gpu_bt.data.shapes import tidy
from gpu_bt.data.shield import reason, shield
from gpu_bt.data.stamps import RULE, SEVERAL, iana_name, moment, read_moments
from gpu_bt.data.text import scan_text
from gpu_bt.data.times import check_calendar
from gpu_bt.data.wide import as_arrow
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["Source", "open_sources", "to_polars"]

_FORMATS = {
    ".parquet": "Parquet", ".pq": "Parquet",
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".csv.gz": "CSV", ".tsv.gz": "CSV", ".txt.gz": "CSV",
    ".arrow": "Arrow IPC", ".feather": "Arrow IPC", ".ipc": "Arrow IPC",
    ".xlsx": "Excel", ".xlsm": "Excel", ".xlsb": "Excel", ".xls": "Excel", ".ods": "Excel",
}  # fmt: skip
#: Texts that mean "no number" in a number column of a CSV. Only there: NA and NAN are tickers, too.
_EMPTY = ["", "na", "n/a", "#n/a", "nan", "null", "none"]
#: Kind of column -> (its type, what a cell must be).
_KINDS = {
    "float": (pl.Float64, "a number, or empty where there is none"),
    "flag": (pl.Boolean, "true or false (1 or 0)"),
    "name": (pl.String, "text or a whole number"),
    "time": (pl.Date, f"{RULE}; for other texts pass date_format= (as for strptime)"),
}
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def open_sources(source: Any, main: str = "close") -> list[Source]:
    """A path, a folder, a glob, a list of paths, or a table -> sources whose column names are known; `main` is what a
    Series without a name holds. Raises PanelError."""
    with_threads("a table")
    items = source if isinstance(source, (list, tuple)) else [source]
    if items and all(isinstance(item, Source) for item in items):
        return list(items)
    if items and all(isinstance(item, (str, Path)) for item in items):
        found = [_open_file(path) for item in items for path in _expand(path_of("source", item, PanelError))]
    elif items is source:
        raise PanelError("a list of sources must hold paths, at least one: concatenate tables before you pass them")
    else:
        zones: dict[str, str] = {}
        table = source if isinstance(source, pl.LazyFrame) else to_polars(source, main, zones).lazy()
        found = [Source("table", "a lazy table", lambda _: table, is_file=False, odd_zones=zones)]
    for i, opened in enumerate(found):
        with opened.shield():
            found[i] = tidy(opened)
    return found


def to_polars(table: Any, main: str = "close", zones: dict[str, str] | None = None) -> pl.DataFrame:
    """Any table as a Polars one: Polars (lazy too), pandas, PyArrow, cuDF, xarray and what else narwhals knows, or what
    gives an Arrow stream. A Series with an index is a table, too; without a name it holds `main`.

    The levels of a pandas index become the first columns. zones: takes the offsets, such as '+05:30', of columns that
    are in UTC here because Polars does not know them. Raises PanelError for what is no table, or has a column that
    mixes kinds of values.
    """
    if isinstance(table, pl.DataFrame):
        return table
    with shield(f"the {type(table).__name__} cannot be read", not hasattr(table, "iloc"), "correct it"):
        frame = nw.from_native(_with_index(nw.to_native(table, pass_through=True), main), pass_through=True)
        frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        if isinstance(frame, nw.DataFrame):
            return pl.DataFrame([_column(frame[name], {} if zones is None else zones) for name in frame.columns])
        if hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pl.Series):
            return pl.DataFrame(frame)
    rule = "pass a path, or a Polars, pandas, PyArrow or cuDF table; (T, N) arrays go into Panel(close=...)"
    raise PanelError(f"a {type(table).__name__} cannot be read: {rule}")


def _with_index(table: Any, main: str) -> Any:
    """A pandas-like table with the levels of its index as columns, one without a name as Parquet has it, and a column's
    levels as the text of a tuple, as Parquet has them, too; others as they are."""
    if hasattr(table, "dims") and hasattr(table, "coords"):  # of xarray
        table = table.to_dataframe() if hasattr(table, "data_vars") else table.to_pandas()
    if of_cudf(table):
        return as_arrow(table, main)
    if nw.dependencies.is_pandas_like_series(table) and not hasattr(table, "columns"):
        several = getattr(table.index, "nlevels", 1) > 1
        table = table.to_frame(main if table.name is None or several else table.name)
    if not nw.dependencies.is_pandas_like_dataframe(table):
        return table
    if getattr(table.columns, "nlevels", 1) == 1 and (missing := table.columns.isna()).any():
        raise ValueError(f"the name of column {int(missing.argmax())} is missing; rename or drop it")
    flat = getattr(table.columns, "nlevels", 1) == 1
    table = table.set_axis([str(name if flat else tuple(map(str, name))) for name in table.columns], axis=1)
    names = list(table.index.names)
    if all(name in table.columns for name in names):
        return table.reset_index(drop=True)
    if names == [None] and type(table.index).__name__ == "RangeIndex":
        return table.reset_index(drop=True)
    names = [f"__index_level_{i}__" if name is None else str(name) for i, name in enumerate(names)]
    return table.rename_axis(index=names).reset_index()


def _column(series: nw.Series[Any], zones: dict[str, str]) -> pl.Series:
    """A column of another library's table as one of Polars; the offset that Polars does not know goes into `zones`."""
    zone = getattr(series.dtype, "time_zone", None) or ""
    if series.dtype == nw.Unknown or (":" in zone and isinstance(series.dtype, nw.Datetime)):
        return _times(series, zones)
    if series.dtype == nw.Object:  # Arrow would turn dates and datetimes, or two time zones, into one another
        examples = {_kind(value): value for value in series.drop_nulls()}
        if len(examples) > 1:
            (a, x), (b, y) = list(examples.items())[:2]
            raise ValueError(f"column {series.name!r} mixes {a} ({x}) and {b} ({y}); convert it, or drop it")
        if any(isinstance(x, dt.datetime) or type(x).__name__ == "Period" for x in examples.values()):
            return _times(series, zones)
    return _as_polars(series)


def _times(series: nw.Series[Any], zones: dict[str, str]) -> pl.Series:
    """A column of datetimes of one fixed offset, or of pandas' periods."""
    values = [None if missing else value for value, missing in zip(series, series.is_null(), strict=True)]
    moments = [None if value is None else moment(value) for value in values]
    if moments.count(None) > values.count(None):
        return _as_polars(series)
    naive, zone = read_moments(moments)
    if zone is None:
        own_type = pl.Datetime("us") if any(m and m.time() != dt.time.min for m in naive) else pl.Date
        return pl.Series(series.name, naive, pl.Datetime("us")).cast(own_type)
    odd = zone == SEVERAL or zone[:1] in ("+", "-")
    zones |= {series.name: zone} if odd else {}
    stamps = pl.Series(naive, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")
    return stamps.dt.convert_time_zone("UTC" if odd else zone).alias(series.name)


def _as_polars(series: nw.Series[Any]) -> pl.Series:
    try:
        return series.to_polars()
    except (TypeError, ValueError, ArithmeticError, NotImplementedError):
        kind = getattr(series.to_native(), "dtype", series.dtype)
        raise ValueError(f"column {series.name!r} of type {kind} holds what no table can; convert or drop it") from None


def _kind(value: Any) -> str:
    """What values are that may share a column, in words."""
    if isinstance(value, numbers.Number):
        return "numbers"
    if not isinstance(value, dt.datetime):
        return type(value).__name__
    offset = value.tzinfo is not None and iana_name(value.tzinfo) is None
    return "datetimes with UTC offset" if offset else f"datetimes of time zone {value.tzinfo}"


def _expand(path: Path) -> list[Path]:
    """The files that a path, a folder or a glob names."""
    if path.is_dir():
        inside = list(path.glob("*.*")) or list(path.rglob("*.*"))
        found = sorted(p for p in inside if _format(p) and not p.name.startswith((".", "~", "_")))
    else:
        found = [path] if path.is_file() else list(map(Path, sorted(glob.glob(str(path), recursive=True))))
    files = [p for p in found if p.is_file()]
    if not files:
        rule = "pass a Parquet, CSV, Arrow IPC or Excel file, a folder of such, or a glob such as 'prices/*.parquet'"
        what = "as a file, as a folder with files, or as a pattern that matches one"
        raise PanelError(f"{path} does not exist {what}: {rule}")
    return files


def _format(path: Path) -> str | None:
    """The ending of a file that can be read."""
    return next((e for e in sorted(_FORMATS, key=len, reverse=True) if path.name.lower().endswith(e)), None)


def _open_file(path: Path) -> Source:
    """A file as a source, its format known by its ending; a CSV is read as text, but for what is to be numbers."""
    ending = _format(path)
    if ending is None:
        raise PanelError(f"{path} has the unknown ending {path.suffix!r}: it must be one of {', '.join(_FORMATS)}")
    kind = _FORMATS[ending]
    if path.stat().st_size == 0:
        raise PanelError(f"{path} is empty: it must hold a {kind} table")
    stem = path.name[: -len(ending)]
    if kind == "CSV":
        scan, told = scan_text(path, "\t" if ".tsv" in ending else ",")
        return Source(str(path), kind, scan, stem=stem, told=told)
    if kind == "Excel":
        scan = _scan_excel(path)
    elif kind == "Parquet":
        scan = lambda _: pl.scan_parquet(path, glob=False, hive_partitioning=False)  # noqa: E731
    else:
        scan = lambda _: pl.scan_ipc(path, hive_partitioning=False)  # noqa: E731
    return Source(str(path), kind, scan, stem=stem)


def _scan_excel(path: Path) -> Callable[[list[str]], pl.LazyFrame]:
    """The first sheet, which is read when it is first asked for."""
    if importlib.util.find_spec("fastexcel") is None:
        raise PanelError(f"{path} needs fastexcel to be read: pip install 'gpu-bt[excel]', or save it as CSV")

    @functools.cache
    def sheet() -> pl.LazyFrame:
        try:
            return pl.read_excel(path, engine="calamine", raise_if_empty=False).lazy()
        except Exception as exc:  # of fastexcel, which has its own
            raise PanelError(f"{path} cannot be read as Excel: {reason(exc)}; write it again") from None

    return lambda floats: sheet()


@dataclasses.dataclass(eq=False)
class Source:
    """One file or table, not read yet. `scan` takes the columns to parse as floats where it is a CSV.

    stem: a file's name without its ending.   assets: their order, where the source has one.   rows: which rows they
    are, where not all.   engine: that of Polars.
    date_format: how text and numbers write times, None = as `stamps.moment` says.   odd_zones: column of the source ->
    its offset, which Polars does not know, so that it is read in UTC.   zones: column as read -> the zone of its times,
    where they are in UTC because Polars does not know it, or text has it.   padded: asset -> name with blanks.   told:
    what to warn of once it is read.
    """

    label: str
    kind: str
    scan: Callable[[list[str]], pl.LazyFrame]
    is_file: bool = True
    stem: str = ""
    assets: tuple[str, ...] = ()
    rows: str = ""
    engine: Literal["auto", "streaming"] = "auto"
    date_format: str | None = None
    odd_zones: dict[str, str] = dataclasses.field(default_factory=dict)
    zones: dict[str, str] = dataclasses.field(default_factory=dict)
    padded: dict[str, str] = dataclasses.field(default_factory=dict)
    told: list[str] = dataclasses.field(default_factory=list)

    def shield(self) -> AbstractContextManager[None]:
        """Where it is read: the library's errors are PanelErrors there."""
        way_out = "write it again" if self.is_file else "correct it"
        return shield(f"{self.label} cannot be read as {self.kind}", self.is_file, way_out)  # readers panic of damage

    @cached_property
    def schema(self) -> pl.Schema:
        """The type of each column; times of an offset that Polars does not know are in UTC from here on. Raises
        PanelError where it cannot be read."""
        with self.shield():
            schema = self.scan([]).collect_schema()
        zones = {name: str(kind.time_zone) for name, kind in schema.items() if isinstance(kind, pl.Datetime)}
        self.odd_zones |= {name: zone for name, zone in zones.items() if zone[:1] in ("+", "-")}
        if not self.odd_zones or not self.is_file:
            return schema
        utc = {name: pl.Datetime(schema[name].time_unit, "UTC") for name in self.odd_zones}  # type: ignore[attr-defined]
        scan = self.scan
        self.scan = lambda floats: scan(floats).with_columns(cs.by_name(name).cast(kind) for name, kind in utc.items())
        return pl.Schema({**schema, **utc})

    @cached_property
    def names(self) -> list[str]:
        """The columns that it has. Raises PanelError where they cannot be read, or one is there twice."""
        names = self.schema.names()
        if not names:
            raise PanelError(f"{self.label} has no columns: there is nothing to read")
        twice = [name.removesuffix("_duplicated_0") for name in names if name.endswith("_duplicated_0")]
        if twice and self.kind == "CSV":  # what Polars makes of a repeated header
            raise PanelError(f"{self.label} has column {twice[0]!r} twice: rename or drop one of them")
        return names

    def read(self, columns: dict[str, str], types: dict[str, str]) -> pl.DataFrame:
        """The columns {new name: name in the source}, each of the type that `types` gives for its new name.

        "time": Date, or Datetime("us") with or without a zone, cut to whole microseconds. "name": text; whole numbers
        become their digits. "flag": Boolean. "float?" (the default): Float64. With "?" cells may be empty, which is
        null, and a column without values is of type Null. Raises PanelError for the first other cell.
        """
        floats = [old for new, old in columns.items() if new not in types]
        wanted = cs.by_name(*dict.fromkeys(columns.values()))  # pl.col would take "^x$" for a pattern
        self.zones |= {new: self.odd_zones[old] for new, old in columns.items() if old in self.odd_zones}
        with self.shield():
            frame = self._collected(floats, wanted)
        if self.is_text:
            blank = cs.string().str.strip_chars().fill_null("") == ""
            frame = frame.filter(~pl.all_horizontal(blank, (~cs.string()).is_null()))  # blank lines
        found = [self._checked(frame[old], new, types.get(new, "float?")) for new, old in columns.items()]
        while self.told:
            warnings.warn(self.told.pop(0), BacktestWarning, stacklevel=4)
        return pl.DataFrame(found)

    def _collected(self, floats: list[str], wanted: pl.Expr) -> pl.DataFrame:
        try:
            return self.scan(floats).select(wanted).collect(engine=self.engine)
        except pl.exceptions.ComputeError:  # perhaps a cell that is no float: as text, so that it can be named
            return self.scan([]).select(wanted).collect(engine=self.engine)

    @property
    def is_text(self) -> bool:
        """Numbers may stand there as text."""
        return self.kind in ("CSV", "Excel")

    def _checked(self, s: pl.Series, column: str, kind: str) -> pl.Series:
        """The column in the type of its kind, or a PanelError that names the first cell that is none."""
        nullable = kind.endswith("?")
        kind = kind.removesuffix("?")
        s = s.alias("")  # some methods of a Series, too, would take the name "^x$" for a pattern
        s = s.cast(pl.String) if s.dtype in (pl.Categorical, pl.Enum) else s
        if s.dtype == pl.String and kind == "name":
            s = self._stripped(s, column)
        if s.dtype == pl.String and self.is_text and kind == "float":
            s = s.str.strip_chars()
            s = s.set(s.str.to_lowercase().is_in(_EMPTY), None)
        own_type, rule = _KINDS[kind]
        s = s.fill_nan(None) if kind == "time" and s.dtype.is_float() else s  # pandas' numbers with a gap
        if kind == "time" and self.date_format is not None:
            rule = f"a time as date_format={self.date_format!r} writes it"
        if kind == "time" and s.dtype in (pl.Date, pl.Datetime):
            check_calendar(s, f"{self.label}: {column}")
        if kind == "time" and (s.dtype == pl.String or s.dtype.is_numeric()) and s.count():
            out = self._moments(s, column)
        else:
            out = s if s.dtype == own_type else _converted(s, kind, self.is_text)
        if nullable and out.null_count() == s.null_count():
            return out.alias(column)
        bad = out.is_null() & s.is_not_null() if nullable else out.is_null()
        if kind == "name" and out.dtype == pl.String:
            bad |= out == ""
        if bad.any():
            row = int(bad.arg_true()[0])
            [value] = s.slice(row, 1).to_list()
            what = f"{self.label}: {column}, row {row}{self.rows}, is {value!r} ({s.dtype})"
            raise PanelError(f"{what}: it must be {rule}")
        return out.alias(column)

    def _stripped(self, s: pl.Series, column: str) -> pl.Series:
        """Names without the blanks around them. Raises PanelError for two that then are one."""
        names = pl.DataFrame({"raw": s.unique().drop_nulls()}).with_columns(bare=pl.col("raw").str.strip_chars())
        if names["raw"].equals(names["bare"]):
            return s
        twice = names.filter(pl.col("bare").is_duplicated()).sort("bare", "raw")
        if len(twice):
            a, b = twice["raw"][:2]
            raise PanelError(f"{self.label}: {column} has {a!r} and {b!r}, one name without blanks: correct one")
        if column == "asset":
            self.padded |= {b: a for a, b in names.filter(pl.col("raw") != pl.col("bare")).rows()}
        return s.str.strip_chars()

    def _moments(self, s: pl.Series, column: str) -> pl.Series:
        """Dates and datetimes of text or numbers: Date, Datetime, or Datetime in UTC where there are offsets; null for
        what is none. Each is parsed once."""
        given = s.unique().drop_nulls()
        moments = [moment(value, self.date_format) for value in given]
        aware = any(m and m.tzinfo for m in moments)
        bare = sum(":" not in str(value) for value in given)
        if self.date_format is None and 0 < bare < len(given) and None not in moments and not aware:
            what = f"{bare} of {len(given)} times in {column} are dates alone"
            warnings.warn(f"{self.label}: {what}, and stand at midnight", BacktestWarning, stacklevel=6)
        naive, zone = read_moments(m if m and bool(m.tzinfo) == aware else None for m in moments)
        values = pl.Series(naive, dtype=pl.Datetime("us"))
        if zone is not None:
            self.zones[column] = zone
            values = values.dt.replace_time_zone("UTC")
        elif not any(":" in str(value) for value in given) and all(m is None or m.time() == dt.time.min for m in naive):
            values = values.cast(pl.Date)
        return s.replace_strict(given, values, return_dtype=values.dtype)


def _converted(s: pl.Series, kind: str, text: bool) -> pl.Series:
    """The column in the type of its kind: null where a cell, or a column of another type, is no such thing."""
    if s.count() and s.dtype != pl.Object:
        if kind == "float" and (s.dtype.is_numeric() or (text and s.dtype == pl.String)):
            return s.cast(pl.Float64, strict=False)
        if kind == "name" and s.dtype.is_float() and (s == s.round()).all():  # NaN made floats of whole numbers
            s = s.cast(pl.Int64, strict=False)
        if kind == "name" and s.dtype.is_integer():
            return s.cast(pl.String)
        if kind == "flag" and (s.dtype.is_numeric() or s.dtype == pl.String):
            texts = s.cast(pl.String).str.strip_chars().str.to_lowercase()
            return texts.replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
        if kind == "time" and s.dtype == pl.Datetime:
            return s.dt.cast_time_unit("us")
    return pl.repeat(None, len(s), dtype=pl.Null, eager=True)
