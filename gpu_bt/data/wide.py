# SPDX-License-Identifier: Apache-2.0
"""Wide frames of cuDF whose numbers stay on the GPU: their labels alone are fetched.

Letters: T bars, N assets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_bt.data.arrays import as_array
from gpu_bt.data.fields import ASSET_FIELDS, MASKS
from gpu_bt.data.labels import of_cudf
from gpu_bt.data.vendors import NAMES, is_fields, plain
from gpu_bt.engine.registry import tools
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import WeightsError

__all__ = ["as_arrow", "columns_on_gpu", "fields_on_gpu", "weights_on_gpu"]


def as_arrow(table: Any, main: str) -> Any:
    """A frame or a Series of cuDF as an Arrow table, fetched; the levels of its index come first, one without a name as
    Parquet has it, but for row numbers. A Series without a name holds `main`."""
    if not hasattr(table, "columns"):
        table = table.to_frame(main if table.name is None or table.index.nlevels > 1 else table.name)
    if getattr(table.columns, "nlevels", 1) == 1 and (missing := table.columns.isna()).any():
        raise ValueError(f"the name of column {int(missing.argmax())} is missing; rename or drop it")
    index, found = table.index, table.to_arrow(preserve_index=False)
    names = list(index.names)
    if all(name in table.columns for name in names) or (names == [None] and type(index).__name__ == "RangeIndex"):
        return found
    for i, name in reversed(list(enumerate(names))):
        level = index if len(names) == 1 else index.get_level_values(i)
        found = found.add_column(0, f"__index_level_{i}__" if name is None else str(name), level.to_arrow())
    return found


def columns_on_gpu(frame: Any, kinds: str = "iuf") -> tuple[np.ndarray, list[str], Any] | None:
    """(timestamps, assets, values on the GPU) of a frame of cuDF that needs no reader: its index is naive times, each
    later than the one before, its columns are assets and hold numbers of these kinds. None for any other, which goes
    through Arrow as every table does."""
    if not of_cudf(frame) or not hasattr(frame, "to_cupy") or not hasattr(frame, "columns") or tools() is None:
        return None
    stamps, levels = frame.index.dtype, (frame.index.nlevels, getattr(frame.columns, "nlevels", 1))
    if levels != (1, 1) or getattr(stamps, "kind", "") != "M" or hasattr(stamps, "tz") or not len(frame.columns):
        return None
    if {getattr(dtype, "kind", "") for dtype in frame.dtypes} - set(kinds):
        return None
    names = [str(name).strip() for name in frame.columns]
    if is_fields(names, "close") or {plain(name) for name in names} & {*NAMES["timestamp"], *NAMES["asset"]}:
        return None
    times = frame.index.to_pandas().to_numpy().astype("datetime64[us]")
    if np.isnat(times).any() or (np.diff(times.view(np.int64)) <= 0).any():
        return None
    try:
        values = frame.to_cupy() if kinds == "b" else frame.astype("float64").to_cupy(na_value=math.nan)
    except (ValueError, TypeError, NotImplementedError):  # an empty cell, which is no bool
        return None
    return times, names, values


def fields_on_gpu(given: Mapping[str, Any], timestamps: Any, assets: Any) -> tuple[dict[str, Any], Any, Any]:
    """The fields of a Panel, with those that are such frames, labelled as the close is, as arrays; and its labels."""
    close = columns_on_gpu(given["close"]) if timestamps is None and assets is None else None
    if close is None:
        return dict(given), timestamps, assets
    times, names, _ = close
    out = {**given, "close": close[2]}
    for name in given.keys() - {"close", *ASSET_FIELDS}:
        own = columns_on_gpu(given[name], "b" if name in MASKS else "iuf")
        if own is not None and own[1] == names and np.array_equal(own[0], times):
            out[name] = own[2]
    return out, times, names


def weights_on_gpu(frame: Any, timestamps: np.ndarray, assets: tuple[str, ...]) -> Resident | None:
    """(T, N) weights of such a frame that has every asset, in any order of columns, and rows on some bars, which are
    whole books or all empty, so that neither a rule on empty cells nor one on days is asked for."""
    found = columns_on_gpu(frame)
    if found is None or sorted(found[1]) != sorted(assets) or not np.isin(found[0], timestamps).all():
        return None
    days = found[0].astype("datetime64[D]")  # a date alone is its last bar
    if (days == found[0]).any() and len(np.unique(timestamps.astype("datetime64[D]"))) < len(timestamps):
        return None
    values = as_array("weights", found[2], WeightsError)
    if not isinstance(values, Resident) or not np.isin(values.tools.missing(values), (0, len(assets))).all():
        return None
    if found[1] != list(assets):
        values = values.at((slice(None), [found[1].index(name) for name in assets]))
    return values if len(values) == len(timestamps) else values.tools.spread(values, found[0], timestamps)
