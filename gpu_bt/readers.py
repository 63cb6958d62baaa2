# SPDX-License-Identifier: Apache-2.0
"""Files and dataframes of any kind -> Polars columns -> checked NumPy columns.

With `frames` the only module that knows dataframes. Letters: R rows of a table. Row numbers in messages count from 0,
headers and blank lines left out. Instants are int64 microseconds since 1970.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import glob
import numbers as abstract
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import narwhals as nw
import numpy as np
import polars as pl
import polars.selectors as cs

from gpu_bt.errors import PanelError

__all__ = ["NO_TIME", "Source", "floats", "instants", "labels", "localise", "masks", "open_sources", "to_polars"]

#: What an empty cell of a nullable timestamp column becomes.
NO_TIME = np.iinfo(np.int64).min
_FORMATS = {
    ".parquet": "Parquet", ".pq": "Parquet",
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".csv.gz": "CSV", ".tsv.gz": "CSV",
    ".arrow": "Arrow IPC", ".feather": "Arrow IPC", ".ipc": "Arrow IPC",
}  # fmt: skip
#: Texts that mean "no number" in a number column. Only there: NA and NAN are tickers, too.
_EMPTY = ["", "na", "n/a", "#n/a", "nan", "null", "none", "-nan"]
_ISO, _NANOSECONDS = re.compile(r"\d{4}-?\d\d-?\d\d([T ]\d\d.*)?"), re.compile(r"[.,]\d{6}\d*[1-9]")
_DAY = 86_400_000_000
_READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
Error = type[Exception]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One file or table, not read yet.

    `scan(columns)` is lazy; `columns` are those to be parsed as float64 where the source is `text` (a CSV). `kind` is
    what it should be, for messages; `error` what it raises.
    """

    label: str
    scan: Callable[[list[str]], pl.LazyFrame]
    names: list[str]
    text: bool
    kind: str
    error: Error

    def read(self, columns: dict[str, str], number_columns: set[str]) -> pl.DataFrame:
        """The columns {new name: name in the source}, those alone. Blank lines of a CSV are left out."""
        numeric = [old for new, old in columns.items() if self.text and new in number_columns]
        try:
            try:
                frame = self._read(columns, numeric)
            except pl.exceptions.ComputeError:
                if not numeric:
                    raise
                frame = self._read(columns, [])  # as text, so that the cell that is no number can be named
        except _READ_ERRORS as exc:
            raise self.error(f"{self.label} cannot be read as {self.kind}: {_first_line(exc)}") from None
        if self.text:
            blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
            frame = frame.filter(~blank) if blank.any() else frame
        return frame

    def _read(self, columns: dict[str, str], numeric: list[str]) -> pl.DataFrame:
        wanted = list(dict.fromkeys(columns.values()))
        frame = self.scan(numeric).select(cs.by_name(*wanted)).collect()  # by_name: pl.col takes "^x$" for a pattern
        return pl.DataFrame([frame[old].alias(new) for new, old in columns.items()])

    def fail(self, column: str, row: int, value: Any, rule: str) -> NoReturn:
        """Raise the source's error for one cell."""
        raise self.error(f"{self.label}: {column}, row {row}, is {value!r}: {rule}")


def open_sources(source: Any, error: Error) -> list[Source]:
    """A path, a glob, a list of paths, or a table -> sources whose column names are known. Raises `error`."""
    if isinstance(source, (str, Path)):
        return [_open_file(path, error) for path in _expand(source, error)]
    if isinstance(source, (list, tuple)):
        if not source or not all(isinstance(s, (str, Path)) for s in source):
            raise error("a list of sources must hold paths, at least one: concatenate tables before you pass them")
        return [_open_file(path, error) for item in source for path in _expand(item, error)]
    frame = source if isinstance(source, pl.LazyFrame) else to_polars(source, error=error)
    return [_described("table", lambda _: frame.lazy(), False, "a lazy table", error)]


def to_polars(table: Any, *, error: Error = PanelError) -> pl.DataFrame:
    """Any dataframe as a Polars one: Polars (lazy too), pandas, PyArrow, cuDF and what else narwhals knows.

    A pandas index that says something (it has a name, or holds dates or text) becomes the first columns; an unnamed
    index of numbers is dropped. Object columns become numbers, dates, datetimes of one zone or text, and stay objects
    where they mix them. Raises `error` for what is no table, and for duplicate column names.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    try:
        if nw.dependencies.is_pandas_dataframe(table):
            return _from_pandas(table, error)
        if nw.dependencies.is_pandas_like_dataframe(table):
            table = _named_index(table)
        frame = nw.from_native(table)
        return (frame.collect() if isinstance(frame, nw.LazyFrame) else frame).to_polars()
    except ModuleNotFoundError as exc:
        raise error(f"a {type(table).__name__} needs {exc.name} to be read: pip install {exc.name}") from None
    except TypeError:
        raise error(
            f"a {type(table).__name__} cannot be read: pass a path, or a Polars, pandas, PyArrow or cuDF table;"
            " (T, N) arrays go into Panel(close=...)"
        ) from None
    except (ValueError, *_READ_ERRORS) as exc:
        raise error(f"the {type(table).__name__} cannot be read: {_first_line(exc)}") from None


def _named_index(table: Any) -> Any:
    """The pandas-like table with its index as columns where the index says something."""
    index, names = table.index, list(table.index.names)
    plain = names == [None] and getattr(index, "dtype", None) is not None and index.dtype.kind in "iuf"
    known = {str(c) for c in table.columns}
    if plain or all(name is not None and str(name) in known for name in names):
        return table.reset_index(drop=True)
    defaults = ["timestamp", "asset", *(f"level_{i}" for i in range(2, len(names)))]
    new = [default if name is None else name for name, default in zip(names, defaults, strict=False)]
    return table.rename_axis(index=new).reset_index()


def _from_pandas(table: Any, error: Error) -> pl.DataFrame:
    if table.columns.nlevels > 1:
        raise error("the pandas columns have several levels: make the table long with .stack(), one column per field")
    table = _named_index(table)
    table.columns = names = [str(c) for c in table.columns]
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise error(f"the table has column {twice[0]!r} twice: rename or drop one of them")
    objects = [name for name in names if table[name].dtype == object]
    frame = nw.from_native(table.drop(columns=objects)).to_polars()
    done = {name: _from_objects(name, table[name]) for name in objects}
    return pl.DataFrame([done[n] if n in done else frame[n] for n in names])


def _from_objects(name: str, column: Any) -> pl.Series:
    """A pandas object column. What mixes kinds stays an Object series, for the reader that wants it to refuse."""
    values = [None if missing else v for v, missing in zip(column, column.isna(), strict=True)]
    kinds = set(map(type, values)) - {type(None)}
    if not kinds or all(issubclass(k, str) for k in kinds):
        return pl.Series(name, values, dtype=pl.String)
    if kinds <= {bool, np.bool_}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(issubclass(k, (abstract.Real, decimal.Decimal)) and k is not bool for k in kinds):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    if kinds == {dt.date}:
        return pl.Series(name, values, dtype=pl.Date)
    if all(issubclass(k, dt.datetime) for k in kinds):
        zones = {_zone_name(v.tzinfo) for v in values if v is not None}
        zone = zones.pop()
        if not zones and zone != "offset":
            utc = [v.astimezone(dt.UTC).replace(tzinfo=None) if zone and v else v for v in values]
            out = pl.Series(name, utc, dtype=pl.Datetime("us"))
            return out.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else out
    return pl.Series(name, values, dtype=pl.Object)


def _zone_name(zone: dt.tzinfo | None) -> str:
    """The IANA name, "" for none, "offset" for one without a name. pytz has one object per offset, of one name."""
    if zone is None:
        return ""
    return "UTC" if zone == dt.UTC else getattr(zone, "key", None) or getattr(zone, "zone", None) or "offset"


def _expand(path: str | Path, error: Error) -> list[Path]:
    path = Path(path).expanduser()
    if path.is_dir():
        raise error(f"{path} is a folder: pass its files, or a glob such as '{path}/*.parquet'")
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        raise error(f"{path} does not exist: pass the path of a Parquet, CSV or Arrow IPC file, or a glob")
    found = [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]
    if not found:
        raise error(f"{path} matches no file: check the pattern")
    return found


def _open_file(path: Path, error: Error) -> Source:
    ending = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    kind = _FORMATS.get(ending)
    if kind is None:
        raise error(f"{path} has the unknown ending {ending!r}: it must be one of {', '.join(_FORMATS)}")
    if path.stat().st_size == 0:
        raise error(f"{path} is empty: it must hold a {kind} table")

    def scan(numeric: list[str]) -> pl.LazyFrame:
        if kind == "Parquet":
            return pl.scan_parquet(path, glob=False, hive_partitioning=False)
        if kind == "Arrow IPC":
            # Older Polars has no such option there, and needs none for a name without magic.
            return pl.scan_ipc(path, hive_partitioning=False, **({"glob": False} if glob.has_magic(str(path)) else {}))
        types = dict.fromkeys(numeric, pl.Float64)
        tab = "\t" if ".tsv" in ending else ","
        return pl.scan_csv(path, separator=tab, infer_schema=False, schema_overrides=types, glob=False)

    return _described(str(path), scan, kind == "CSV", kind, error)


def _described(label: str, scan: Callable[[list[str]], pl.LazyFrame], text: bool, kind: str, error: Error) -> Source:
    try:
        names = scan([]).collect_schema().names()
    except _READ_ERRORS as exc:
        raise error(f"{label} cannot be read as {kind}: {_first_line(exc)}") from None
    for name in names:
        first = re.sub(r"_duplicated_\d+$", "", name)  # Polars' name for a repeated CSV header
        if text and first != name and first in names:
            raise error(f"{label} has column {first!r} twice: rename or drop one of them")
    return Source(label, scan, names, text, kind, error)


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def floats(s: pl.Series, column: str, source: Source) -> np.ndarray:
    """(R,) float64 of a column of numbers (any width, Decimal, or the text of a CSV); null = NaN.

    Raises the source's error, naming column, row and value, for text, dates and booleans.
    """
    rule = "it must be a number, or empty where there is none"
    if s.dtype == pl.String and source.text:
        cells = s.str.strip_chars()
        out = cells.cast(pl.Float64, strict=False)
        bad = out.is_null() & ~cells.str.to_lowercase().is_in(_EMPTY).fill_null(True)
        if bad.any():
            row = bad.arg_max()
            source.fail(column, row, s[row], rule)
    elif s.dtype.is_numeric() or s.null_count() == len(s):
        out = s.cast(pl.Float64) if s.dtype.is_numeric() else pl.repeat(None, len(s), dtype=pl.Float64, eager=True)
    elif s.dtype == pl.Object:
        good = (abstract.Real, decimal.Decimal, type(None))
        row = next((i for i, v in enumerate(s) if isinstance(v, bool) or not isinstance(v, good)), 0)
        source.fail(column, row, s[row], rule)
    else:
        row = s.is_not_null().arg_max()
        source.fail(column, row, s[row], f"{rule}; the column is {s.dtype}, convert it to floats")
    return out.fill_null(float("nan")).to_numpy()


def masks(s: pl.Series, column: str, source: Source) -> np.ndarray:
    """(R,) bool of a column of booleans, 0 and 1, or "true" and "false" in a CSV. Null is refused: it is ambiguous."""
    if s.dtype == pl.String and source.text:
        true, false = ["true", "t", "yes", "1", "1.0"], ["false", "f", "no", "0", "0.0"]
        cells = s.str.strip_chars().str.to_lowercase()
        out = pl.select(pl.when(cells.is_in(true)).then(True).when(cells.is_in(false)).then(False)).to_series()
    elif s.dtype.is_numeric():
        out = pl.select(pl.when(s == 1).then(True).when(s == 0).then(False)).to_series()
    else:
        out = s if s.dtype == pl.Boolean else pl.repeat(None, len(s), dtype=pl.Boolean, eager=True)
    if out.null_count():
        row = out.is_null().arg_max()
        source.fail(column, row, s[row], "it must be true or false (1 or 0), in every row")
    return out.to_numpy()


def labels(s: pl.Series, column: str, source: Source, *, nullable: bool = False) -> pl.Series:
    """(R,) text: names as they stand, whole numbers as their digits. Raises for null or "", unless nullable ("")."""
    if len(s) and not (s.dtype in (pl.String, pl.Categorical, pl.Enum) or s.dtype.is_integer() or s.dtype == pl.Null):
        row = s.is_not_null().arg_max() or 0
        source.fail(column, row, s[row], f"it must be text or a whole number; the column is {s.dtype}")
    out = s.cast(pl.String)
    if nullable:
        return out.fill_null("")
    empty = out.is_null() | (out == "")
    if empty.any():
        row = empty.arg_max()
        source.fail(column, row, s[row], "every row needs a name; drop or fill it")
    return out


def instants(s: pl.Series, column: str, source: Source, *, nullable: bool = False) -> tuple[np.ndarray, str]:
    """((R,) int64 microseconds, kind): kind is "date", "naive", or the time zone, whose values are UTC.

    Dates, datetimes of any unit, ISO 8601 text (with an offset: kind "UTC"). Null is NO_TIME where nullable.
    Raises the source's error for null, numbers, other text, mixed zones, and what lies between two microseconds.
    """
    if not len(s):
        return np.empty(0, np.int64), "date"
    if s.null_count() and not nullable:
        source.fail(column, s.is_null().arg_max(), None, "every row needs a timestamp; drop or fill it")
    if s.dtype in (pl.Categorical, pl.Enum):
        s = s.cast(pl.String)
    if s.dtype == pl.String:
        return _from_text(s, column, source)
    if s.dtype == pl.Null:
        return np.full(len(s), NO_TIME), "date"
    if s.dtype == pl.Date:
        return (s.to_physical().cast(pl.Int64) * _DAY).fill_null(NO_TIME).to_numpy(), "date"
    if s.dtype == pl.Datetime:
        if s.dtype.time_unit == "ns" and (s.to_physical() % 1000 != 0).any():
            row = (s.to_physical() % 1000 != 0).arg_max()
            source.fail(column, row, str(s[row]), "a bar is kept in whole microseconds; round it, .dt.round('1us')")
        return s.dt.epoch("us").fill_null(NO_TIME).to_numpy(), s.dtype.time_zone or "naive"
    row = s.is_not_null().arg_max() or 0
    if s.dtype == pl.Object and any(isinstance(v, dt.date) for v in s):
        raise source.error(
            f"{source.label}: {column} mixes time zones, or dates with datetimes: convert it to one zone, such as UTC"
        )
    rule = "it must be a date, a datetime or ISO 8601 text"
    if s.dtype.is_numeric():
        rule += "; numbers have no unit, convert them with pl.from_epoch or pd.to_datetime(..., unit=...)"
    source.fail(column, row, s[row], rule)


def _from_text(s: pl.Series, column: str, source: Source) -> tuple[np.ndarray, str]:
    """ISO 8601 text. Each distinct text is parsed once."""
    texts = s.drop_nulls().unique(maintain_order=True)
    values, kinds, epoch = [], [], dt.datetime(1970, 1, 1)
    for text in texts.to_list():
        try:
            # fromisoformat takes any character between date and time, so it reads epoch numbers, and cuts nanoseconds.
            if not _ISO.fullmatch(text.strip()) or _NANOSECONDS.search(text):
                raise ValueError(text)
            moment = dt.datetime.fromisoformat(text.strip())
        except ValueError:
            rule = "it must be ISO 8601 to the microsecond, such as 2024-01-31 or 2024-01-31T15:30:00+01:00"
            source.fail(column, (s == text).fill_null(False).arg_max(), text, rule)
        offset = moment.utcoffset() or dt.timedelta()
        kinds.append("date" if len(text.strip()) <= 10 else "naive" if moment.tzinfo is None else "UTC")
        values.append((moment.replace(tzinfo=None) - offset - epoch) // dt.timedelta(microseconds=1))
    if "UTC" in kinds and len(set(kinds)) > 1:
        raise source.error(
            f"{source.label}: {column} holds {texts[kinds.index('UTC')]!r} and"
            f" {texts[next(i for i, k in enumerate(kinds) if k != 'UTC')]!r}: give all of them a UTC offset, or none"
        )
    kind = "date" if set(kinds) <= {"date"} else "UTC" if "UTC" in kinds else "naive"
    codes = s.cast(pl.Enum(texts)).to_physical().cast(pl.Int64).fill_null(len(texts)).to_numpy()
    return np.array([*values, NO_TIME], np.int64)[codes], kind


def localise(times: np.ndarray, time_zone: str, label: str, error: Error) -> np.ndarray:
    """Wall-clock microseconds of a zone -> UTC. Raises for an unknown zone and for hours that DST skips or repeats."""
    wall = pl.Series(times).cast(pl.Datetime("us"))
    try:
        utc = wall.dt.replace_time_zone(time_zone, ambiguous="null", non_existent="null")
    except pl.exceptions.PolarsError:
        raise error(f"time_zone is {time_zone!r}: it must be an IANA name, such as 'America/New_York'") from None
    if utc.null_count():
        bad = wall[utc.is_null().arg_max()]
        raise error(
            f"{label} {bad} does not exist, or exists twice, in {time_zone} (daylight saving): pass UTC or offset times"
        )
    return utc.dt.epoch("us").to_numpy()
