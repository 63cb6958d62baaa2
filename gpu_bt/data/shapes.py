# SPDX-License-Identifier: Apache-2.0
"""Tables in the shapes that libraries give them -> columns with names: pandas' index, headers of two levels, blanks."""

from __future__ import annotations

import ast
import dataclasses
import re
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs

from gpu_bt.data.vendors import NAMES, field_of, plain
from gpu_bt.errors import PanelError

if TYPE_CHECKING:
    from gpu_bt.data.readers import Source

__all__ = ["tidy", "with_asset"]

#: A level of pandas' index that has no name, as Parquet and CSV have it; the second as Polars makes it of a CSV's.
_LEVEL = re.compile(r"__index_level_\d+__|_duplicated_\d+|Unnamed: \d+|")
_DATE = re.compile(r"(18|19|20)\d\d-?[01]\d-?[0-3]\d([T ].*)?")


def tidy(source: Source) -> Source:
    """The source with its columns named. Names lose the blanks around them; two that then coincide are refused.

    Levels of a pandas index without names become "timestamp" (dates and times) and "asset"; row numbers go. Columns of
    two levels, (field, asset) or (asset, field), become a long table.
    """
    raw = source.schema.names()
    names = {name: name.strip() or " " for name in raw} | _levels(source, raw)
    kept = {name: new for name, new in names.items() if new}
    first: dict[str, str] = {}
    for name, new in kept.items():
        if first.setdefault(new, name) != name:
            raise PanelError(
                f"{source.label} has columns {first[new]!r} and {name!r}, one name without blanks: rename or drop one"
            )
    if list(kept.values()) != raw:
        read = source.scan

        def scan(floats: list[str]) -> pl.LazyFrame:
            parsed = set(floats)
            rows = read([name for name, new in kept.items() if new in parsed]).select(cs.by_name(*kept))
            return rows.rename({name: new for name, new in kept.items() if name != new})

        zones = {kept.get(name, name): zone for name, zone in source.odd_zones.items()}
        source = dataclasses.replace(source, scan=scan, odd_zones=zones)
    return _timed(_unstacked(source, [*kept.values()]))


def _timed(source: Source) -> Source:
    """A text with a date in one column and a time in another, as Stooq and MetaTrader write it: with both in one."""
    names = source.schema.names() if source.kind == "CSV" else []
    found = [name for part in ("date", "time") for name in names if plain(name) == part]
    if len(found) != 2 or found[0].isupper() != found[1].isupper() or any(plain(n) == "timestamp" for n in names):
        return source
    read, (date, time) = source.scan, map(cs.by_name, found)
    first = read([]).select(time).drop_nulls().head(1).collect().to_series()
    if not len(first) or not re.fullmatch(r"\d\d?:\d\d(:\d\d)?|\d{4}|\d{6}", str(first[0]).strip()):
        return source  # TIME is a ticker, too
    day = date.str.strip_chars().str.replace(r"^(\d{4})[./](\d\d)[./](\d\d)$", "$1-$2-$3")
    when = pl.concat_str(day, time.str.strip_chars(), separator=" ").alias("timestamp")
    return dataclasses.replace(source, scan=lambda floats: read(floats).with_columns(when).drop(found))


def _levels(source: Source, raw: list[str]) -> dict[str, str]:
    """The new names of the index levels of pandas; "" = it goes."""
    unnamed = [name for name in raw if _LEVEL.fullmatch(name)]
    # A CSV has its index first; elsewhere a column without a name and values is that of a separator at the end.
    levels = [n for n in unnamed if n.startswith("__") or n in raw[: len(unnamed)]]
    others = [name for name in unnamed if name not in levels]
    gone = {n: "" for n in others if not source.scan([]).select(cs.by_name(n).count()).collect().item()}
    if not levels or (levels[0].startswith("_dup") and "" not in raw):
        return gone
    kinds = [_kind(source, name) for name in levels]
    stamped = any(plain(name) in NAMES["timestamp"] for name in raw)
    if len(levels) == 1:
        return gone | {levels[0]: "" if kinds[0] == "number" else kinds[0] if stamped else "timestamp"}
    stamp = kinds.index("timestamp") if "timestamp" in kinds else 0
    return gone | {name: "timestamp" if i == stamp else "asset" for i, name in enumerate(levels[: 2 + stamp])}


def _kind(source: Source, name: str) -> str:
    """What a column holds, judged by its first value: "timestamp", "number", or else "asset"."""
    dtype = source.schema[name]
    if dtype.is_temporal():
        return "timestamp"
    found = source.scan([]).select(cs.by_name(name)).drop_nulls().head(1).collect().to_series()
    text = str(found[0]).strip().removesuffix(".0") if len(found) else ""
    if _DATE.fullmatch(text):
        return "timestamp"
    return "number" if dtype.is_numeric() or text.isdigit() else "asset"


def _unstacked(source: Source, names: list[str]) -> Source:
    """A long table of columns that are named by two levels, as texts of tuples; another source as it is."""
    pairs = {name: _pair(name) for name in names}
    if not any(pairs.values()) or list(pairs.values()).count(None) > 2:
        return source
    keys = {name: (pair or (name,))[0] for name, pair in pairs.items() if pair is None or not any(pair[1:])}
    cells = {name: pair for name, pair in pairs.items() if pair is not None and name not in keys}
    levels = zip(*(pair[:2] for pair in cells.values()), strict=True)
    closes = [any(field_of(name) in ("close", "adj_close") for name in level) for level in levels]
    if len({len(pair) for pair in cells.values()} | {2}) > 1 or closes.count(True) != 1:
        raise PanelError(
            f"{source.label} has columns of several levels: they must be two, fields (one is the close) and assets"
        )
    field = closes.index(True)
    fields: dict[str, list[tuple[str, str]]] = {}  # of each asset: column and its field
    for name, pair in cells.items():
        fields.setdefault(pair[1 - field].strip(), []).append((name, pair[field]))
    read = source.scan

    def scan(floats: list[str]) -> pl.LazyFrame:
        rows = read([])
        keep = [cs.by_name(name).alias(new) for name, new in keys.items()]
        parts = [
            rows.select(*keep, pl.lit(asset).alias("asset"), *(pl.col(name).alias(new) for name, new in own))
            for asset, own in fields.items()
        ]  # fmt: skip
        return pl.concat(parts, how="diagonal_relaxed")

    zones = {keys.get(name, name): zone for name, zone in source.odd_zones.items()}
    return dataclasses.replace(source, scan=scan, assets=tuple(fields), odd_zones=zones)


def _pair(name: str) -> tuple[str, ...] | None:
    """('Close', 'A') of the text that says so."""
    if not name.startswith("('") or not name.endswith(")"):
        return None
    try:
        value = ast.literal_eval(name)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two of a text that is too deep
        return None
    return tuple(map(str, value)) if isinstance(value, tuple) else None


def with_asset(source: Source, name: str) -> Source:
    """The source, which holds one asset, with its name in a column "asset"."""
    read = source.scan
    scan = lambda floats: read(floats).with_columns(pl.lit(name).alias("asset"))  # noqa: E731
    return dataclasses.replace(source, scan=scan, assets=(name,))
