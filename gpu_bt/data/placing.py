# SPDX-License-Identifier: Apache-2.0
"""Fields with labels -> the arrays of a panel.

Letters: T bars, N assets.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from gpu_bt.data.clock import time_label
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS, MASKS
from gpu_bt.data.labels import as_row, is_labelled
from gpu_bt.data.panel import asset_names
from gpu_bt.data.stamps import timestamps_to_numpy
from gpu_bt.data.tables import Table, read_table
from gpu_bt.data.times import on_clock, time_series
from gpu_bt.data.vendors import is_fields
from gpu_bt.data.wide import fields_on_gpu
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["with_labels"]


def with_labels(
    given: Mapping[str, Any], timestamps: Any, assets: Any, time_zone: str | None, date_format: str | None = None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(fields, labels, notes) of a Panel some of whose fields have labels; labels: timestamps, time_zone, assets.

    Where timestamps or assets are None they are those of `close`, its columns in their order, its rows by time. Every
    other table is placed on these: what it has beside them is left out, what it lacks is NaN, or what NaN means there,
    and True in can_buy and can_sell, each with a BacktestWarning that counts; but dividend, split, can_buy and can_sell
    may lack bars and assets. A universe names its members: a row of it counts until the next, and before its first
    row, and for an asset that it does not name, it is False.
    Raises PanelError where a table shares no timestamp or no asset with the panel.
    """
    out, timestamps, assets = fields_on_gpu(given, timestamps, assets)
    wide = {n: _wide(n, value, date_format) for n, value in out.items() if n not in ASSET_FIELDS and is_labelled(value)}
    if timestamps is None and "close" in wide:
        timestamps, time_zone = wide["close"].times, wide["close"].zone(time_zone)
    if assets is None and "close" in wide:
        assets = wide["close"].assets
        if is_fields(assets, "close"):
            shown = ", ".join(map(repr, assets))
            rule = "they are not assets; pass read_panel(table, asset='its name')"
            raise PanelError(f"close has the columns of one asset's fields, {shown}: {rule}")
    if timestamps is None or assets is None:
        raise PanelError("timestamps and assets are missing: pass both, or close= as a table that has them")
    stamps, zone = timestamps_to_numpy(timestamps, time_zone, PanelError)
    if not len(stamps):
        raise PanelError("timestamps is empty: a panel needs a bar")
    index = {name: i for i, name in enumerate(asset_names(assets))}
    notes: dict[str, Any] = {}
    for name, table in wide.items():
        out[name] = _placed(name, table, stamps.view(np.int64), zone, index, notes)
    for name in ASSET_FIELDS:
        if given.get(name) is not None:
            out[name] = _per_asset(name, given[name], index)
    return out, {"timestamps": time_series(stamps, zone), "time_zone": zone, "assets": assets}, notes


def _wide(name: str, value: Any, date_format: str | None) -> Table:
    try:
        table = read_table(value, "timestamp", "asset", "wide", (name,), None, name, date_format=date_format)
        table.drop_duplicates("error", way_out="")
    except PanelError as error:
        raise PanelError(f"{name}: {error}") from None
    return table


def _placed(
    name: str, table: Table, stamps: np.ndarray, zone: str | None, index: Mapping[str, int], notes: dict[str, Any]
) -> np.ndarray:
    """(T, N) of a wide table."""
    times = on_clock(table.times, zone, zone, f"{name}: timestamp")
    column = np.array([index.get(asset, -1) for asset in table.assets])
    last = np.searchsorted(times, stamps, side="right") - 1  # the row at a bar, or the last one before it
    exact, members = (last >= 0) & (times[last] == stamps), name == "universe"
    on, known = times <= stamps[-1] if members else np.isin(times, stamps), column >= 0
    for what, found, labels, own in (
        ("timestamp", on, table.times, time_label(stamps[:1].view("datetime64[us]")[0])),
        ("asset", known, table.assets, next(iter(index), "")),
    ):
        if not found.any():
            rule = f"its first is {labels[0]}, the panel's {own}; give both the same labels"
            raise PanelError(f"{name} has no {what} of the panel: {rule}")
    out = np.full((len(stamps), len(index)), not members if name in MASKS else np.nan)
    bars = np.flatnonzero(last >= 0 if members else exact)
    out[np.ix_(bars, column[known])] = table.grids("float64")[name][np.ix_(last[bars], known)]
    counts = [int((~on).sum()), int((~known).sum()), int((~exact).sum()), len(index) - int(known.sum())]
    if any(counts if name not in ("dividend", "split", "can_buy", "can_sell") else counts[:2]):
        lacks = "{2} timestamps and {3} assets that it lacks are {4}"
        if members:
            lacks = "at {2} timestamps that it lacks the row before counts; {5} before its first and {3} assets are out"
        nothing = "True" if name in MASKS else f"{getattr(FIELDS.get(name), 'nan', np.nan):g}".replace("nan", "NaN")
        notes[f"{name}_labels"] = "left out {} timestamps, {} assets; lacks {} timestamps, {} assets".format(*counts)
        text = "{0} timestamps and {1} assets that the panel (close) lacks are left out; " + lacks
        text = text.format(*counts, nothing, len(stamps) - len(bars))
        warnings.warn(f"{name} is placed by its labels: {text}", BacktestWarning, stacklevel=4)
    return out


def _per_asset(name: str, value: Any, index: Mapping[str, int]) -> Any:
    """(N,) of a field per asset; what has no labels as it is."""

    def fail(rule: str) -> NoReturn:
        raise PanelError(f"{name}: {rule}")

    default = FIELDS[name].default
    row = as_row(value, index, fail, "" if name == "group" else np.nan if default is None else default)
    named = name == "lot" and row is not value and row.dtype.kind == "f"
    if named and (missing := [asset for asset, i in index.items() if np.isnan(row[i])]):
        fail(f"{missing[0]!r} has no lot ({len(missing)} of {len(index)} have none): name every asset, 0 = fractional")
    return row
