# SPDX-License-Identifier: Apache-2.0
"""Long and wide tables -> rows with the numbers of their bars and assets, the common ground of panels and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.errors import PanelError
from gpu_bt.panel import MASKS, PRICES, RATES, time_label
from gpu_bt.readers import NO_TIME, Source, floats, instants, labels, masks

__all__ = ["FIELDS", "GRIDS", "Rows", "drop_duplicates", "is_wide", "label", "long_rows", "wide_rows"]

GRIDS = (*PRICES, *RATES)
FIELDS = (*GRIDS, *MASKS, "delisted_at", "delisting_return", "lot", "group")
_NUMBERS = {*GRIDS, "delisting_return", "lot", "weight"}
#: Looked for when the caller left timestamp= and asset= at their defaults.
_ALIASES = {
    "timestamp": ("timestamp", "date", "datetime", "time"),
    "asset": ("asset", "symbol", "ticker", "sid", "instrument"),
}


@dataclasses.dataclass(eq=False)
class Rows:
    """A table as columns: `bar` and `code` (R,) index `times` (T,) int64 and `assets`, both sorted (wide: as given)."""

    times: np.ndarray
    kind: str
    bar: np.ndarray
    assets: list[str]
    code: np.ndarray
    data: dict[str, Any]
    notes: dict[str, Any]


def label(microseconds: Any) -> str:
    """Microseconds since 1970 as a person writes them."""
    return time_label(np.datetime64(int(microseconds), "us"))


def _plain(name: str) -> str:
    """'Half-Spread ' -> 'half_spread'."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _find(source: Source, wanted: str, names: tuple[str, ...]) -> str | None:
    """The column whose name is one of `names`: as it stands, else without regard to case. Raises where two are."""
    if wanted in source.names:
        return wanted
    found = [c for c in source.names if _plain(c) in map(_plain, names)]
    if len(found) > 1:
        raise source.error(f"{source.label}: columns {found[0]!r} and {found[1]!r} both may be {wanted!r}: rename one")
    return found[0] if found else None


def _key(source: Source, role: str, wanted: str) -> str | None:
    """The timestamp or asset column; at its default name the aliases count, where the name itself is not there."""
    found = _find(source, wanted, (wanted,))
    if found is None and wanted == role:
        found = _find(source, wanted, _ALIASES[role])
    return found


def is_wide(source: Source, layout: str, asset: str, main: tuple[str, ...]) -> bool:
    """Whether a table is wide. "auto": where it has no asset column; one that holds a `main` column then is refused."""
    if layout != "auto":
        return layout == "wide"
    if _key(source, "asset", asset) is not None:
        return False
    if {_plain(c) for c in source.names} & set(map(_plain, main)):
        raise source.error(
            f"{source.label} has no asset column among {_shown(source.names)}: add one, name it with asset=, or pass"
            " layout='wide' where every column is an asset"
        )
    return True


def _shown(names: list[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")


def _columns(
    source: Source, timestamp: str, asset: str, known: tuple[str, ...], fields: Any, main: str
) -> dict[str, str]:
    """{our name: the source's name} of a long table."""
    out = {}
    for role, wanted in (("timestamp", timestamp), ("asset", asset)):
        found = _key(source, role, wanted)
        if found is None:
            raise source.error(
                f"{source.label} has no {role} column {wanted!r} among {_shown(source.names)}: name it with {role}="
            )
        out[role] = found
    if isinstance(fields, str):
        fields = [fields]
    asked = dict(fields) if isinstance(fields, Mapping) else {f: f for f in (known if fields is None else fields)}
    if main not in asked:
        raise source.error(f"fields is {list(asked)}: it must name {main!r}")
    for name, column in asked.items():
        if name not in known:
            raise source.error(f"fields names {name!r}: it must be among {', '.join(known)}")
        found = _find(source, column, (column,))
        if found is not None and found not in (out["timestamp"], out["asset"]):
            out[name] = found
        elif fields is not None:
            raise source.error(f"{source.label} has no column {column!r} for {name} among {_shown(source.names)}")
    if main not in out:
        way_out = "weight=" if main == "weight" else f"fields={{{main!r}: 'its name'}}"
        raise source.error(
            f"{source.label} has no column {main!r} among {_shown(source.names)}: rename it, name it with"
            f" {way_out}, or pass layout='wide' where every column is an asset"
        )
    return out


def long_rows(
    sources: list[Source], timestamp: str, asset: str, known: tuple[str, ...], fields: Any, main: str
) -> Rows:
    """A row per (timestamp, asset): the `known` fields, or those that `fields` names; `main` must be there.

    What is not read is in notes["ignored_columns"]. Raises the sources' error for what is missing or malformed.
    """
    first: dict[str, str] = {}
    ignored: dict[str, None] = {}
    times, kinds, names, data = [], [], [], []
    for source in sources:
        columns = _columns(source, timestamp, asset, known, fields, main)
        if first and set(columns) != set(first):
            odd = sorted(set(columns) ^ set(first))[0]
            raise source.error(f"only one of {sources[0].label} and {source.label} has {odd!r}: choose with fields=")
        first = first or columns
        ignored |= dict.fromkeys(c for c in source.names if c not in columns.values())
        frame = source.read(columns, _NUMBERS)
        moments, kind = instants(frame["timestamp"], "timestamp", source)
        times.append(moments)
        kinds.append(kind if len(frame) else None)
        names.append(labels(frame["asset"], "asset", source))
        data.append({name: _column(frame[name], name, source) for name in columns if name not in _ALIASES})
    kind = _one_kind(sources, kinds)
    moments = _joined(times)
    distinct, bar = _codes(moments)
    text = pl.concat(names) if len(names) > 1 else names[0]
    assets = text.unique().sort()
    code = text.cast(pl.Enum(assets)).to_physical().to_numpy().astype(np.int64)
    joined = {name: _join_column([d.pop(name) for d in data]) for name in list(data[0])}
    notes = {"ignored_columns": tuple(ignored)} if ignored else {}
    return Rows(distinct, kind, bar, assets.to_list(), code, joined, notes)


def wide_rows(sources: list[Source], timestamp: str, main: str) -> Rows:
    """A row per bar and a column per asset, as rows of `main`: R = T*M, row by row. Raises the sources' error."""
    times, kinds, blocks = [], [], []
    assets: list[str] = []
    for source in sources:
        if len(source.names) < 2:
            raise source.error(f"{source.label} has {len(source.names)} columns: it must have timestamps and assets")
        stamp = _find(source, timestamp, (timestamp,)) or source.names[0]
        names = [c for c in source.names if c != stamp]
        if assets and set(names) != set(assets):
            odd = sorted(set(names) ^ set(assets))[0]
            raise source.error(f"only one of {sources[0].label} and {source.label} has {odd!r}: add it to the other")
        assets = assets or names
        # A position in front, so that no asset's name can be taken for the timestamp's.
        columns = {"timestamp": stamp, **{f"{i}:{name}": name for i, name in enumerate(assets)}}
        frame = source.read(columns, set(columns) - {"timestamp"})
        moments, kind = instants(frame["timestamp"], "timestamp", source)
        times.append(moments)
        kinds.append(kind if len(frame) else None)
        block = np.empty((len(frame), len(assets)))
        for i, name in enumerate(assets):
            block[:, i] = floats(frame[f"{i}:{name}"], name, source)
        blocks.append(block)
    kind = _one_kind(sources, kinds)
    distinct, bar = _codes(_joined(times))
    matrix, n = _joined(blocks), len(assets)
    code = np.tile(np.arange(n), len(matrix))
    return Rows(distinct, kind, np.repeat(bar, n), assets, code, {main: matrix.ravel()}, {})


def _column(s: pl.Series, name: str, source: Source) -> Any:
    if name in MASKS:
        return masks(s, name, source)
    if name == "group":
        return labels(s, name, source, nullable=True).to_numpy()
    if name == "delisted_at":
        return instants(s, name, source, nullable=True)
    return floats(s, name, source)


def _join_column(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):  # of delisted_at: instants, and the kind that they are
        kinds = {kind for values, kind in parts if (values != NO_TIME).any()} or {"date"}
        kind = kinds.pop() if len(kinds) == 1 else "naive" if kinds == {"date", "naive"} else "mixed"
        return _joined([values for values, _ in parts]), kind
    return _joined(parts)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _one_kind(sources: list[Source], kinds: list[str | None]) -> str:
    """The one kind of timestamp of all sources that have rows. Dates and naive datetimes go together, zones do not."""
    seen = {kind: source for kind, source in zip(kinds, sources, strict=True) if kind is not None}
    if not seen:
        where = sources[0].label if len(sources) == 1 else f"{len(sources)} files, {sources[0].label} the first,"
        raise sources[0].error(f"{where} has no rows: there is nothing to read")
    if set(seen) == {"date", "naive"}:
        return "naive"
    if len(seen) > 1:
        (a, b) = list(seen)[:2]
        raise sources[0].error(
            f"time zones mix: {seen[a].label} is {a}, {seen[b].label} is {b}: convert the files to one zone"
        )
    return next(iter(seen))


def _codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sorted distinct values, position of each value among them)."""
    series = pl.Series("value", values)
    distinct = series.unique().sort()
    table = distinct.to_frame().with_row_index("code")
    code = series.to_frame().join(table, on="value", how="left", maintain_order="left")["code"]
    return np.array(distinct.to_numpy()), code.to_numpy().astype(np.int64)


def drop_duplicates(rows: Rows, duplicates: str, error: type[Exception]) -> None:
    """Keep one row per (timestamp, asset), in place: "error", "first" or "last". Raises for the first repeated row."""
    n = len(rows.assets)
    flat = rows.bar * n + rows.code
    size = len(rows.times) * n
    if size > 10**8 and size > 1000 * len(flat):
        raise error(
            f"{len(rows.times)} timestamps x {n} assets for {len(flat)} rows: timestamps must be bars shared by assets;"
            " round ticks to bars, or read fewer assets"
        )
    seen = np.zeros(size, bool)
    seen[flat] = True
    if int(seen.sum()) == len(flat):
        return
    order = np.argsort(flat, kind="stable")
    repeat = np.flatnonzero(flat[order[1:]] == flat[order[:-1]])
    if duplicates == "error":
        i = int(order[repeat + 1].min())
        raise error(
            f"({label(rows.times[rows.bar[i]])}, {rows.assets[rows.code[i]]!r}) appears twice"
            f" ({len(repeat)} rows repeat another): keep one row per timestamp and asset"
            + (", or pass duplicates='first' or 'last'" if error is PanelError else "")
        )
    keep = np.ones(len(flat), bool)
    keep[order[repeat + 1] if duplicates == "first" else order[repeat]] = False
    rows.bar, rows.code, rows.notes["duplicates"] = rows.bar[keep], rows.code[keep], len(repeat)
    rows.data = {k: (v[0][keep], v[1]) if isinstance(v, tuple) else v[keep] for k, v in rows.data.items()}
