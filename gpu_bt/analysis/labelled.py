# SPDX-License-Identifier: Apache-2.0
"""Arrays with their timestamps and assets, and tables as pandas has them.

Letters: T bars, N assets.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import polars as pl

from gpu_bt.data.forks import with_threads
from gpu_bt.data.slices import bars_of, columns_of
from gpu_bt.data.times import stamp, zone_of
from gpu_bt.errors import ResultError
from gpu_bt.show.html import card, table

if TYPE_CHECKING:
    import pandas

__all__ = ["Labelled", "pandas_index", "to_pandas"]


class Labelled(np.lib.mixins.NDArrayOperatorsMixin):
    """(T, N) float64 numbers with their labels: an array to NumPy, and a table to whoever wants one.

    values: the array itself, not copied, and read-only, so that a result keeps saying what it said.
    timestamps: (T,) Polars Datetime("us").   assets: (N,) names.
    It is indexed as an array, or by labels as a panel is: `x[-1]`, `x[:, 3]`, `x["2020-03"]`, `x["2020":, ["A", "B"]]`,
    `x[-1, "A"]`. Times and whole slices give a Labelled, anything else NumPy's answer. Arithmetic, comparisons and
    NumPy's functions take it as the array that it is and give plain arrays, whose labels nobody has to keep right; so
    do attributes that it has not itself, such as `x.sum(axis=1)`.
    Raises PanelError for labels that it does not have.
    """

    def __init__(self, values: np.ndarray, timestamps: pl.Series, assets: Sequence[str], name: str) -> None:
        self.values, self.timestamps, self.assets, self.name = values.view(), timestamps, tuple(assets), name
        self.values.flags.writeable = False

    def to_polars(self) -> pl.DataFrame:
        """timestamp (timestamp_ where an asset has that name), and a column for each asset."""
        with_threads("a table of Result")
        first = "timestamp"
        while first in self.assets:
            first += "_"
        return pl.DataFrame({first: self.timestamps, **dict(zip(self.assets, self.values.T, strict=True))})

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame of (T, N): timestamps as its index, assets as its columns. Raises ResultError without pandas."""
        pd = _pandas()
        columns = pd.Index(self.assets, name="asset")
        index = pandas_index(self.timestamps)
        found: pandas.DataFrame = pd.DataFrame(self.values, index=index, columns=columns, copy=True)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            options["out"] = tuple(x.values if isinstance(x, Labelled) else x for x in options["out"])
        return getattr(ufunc, method)(*(x.values if isinstance(x, Labelled) else x for x in inputs), **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):  # a copy or a pickle asks before there are values
            raise AttributeError(f"Labelled has no attribute {name!r}: to_pandas() and to_polars() give tables")
        return getattr(self.values, name)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.values)

    @overload
    def __getitem__(self, key: str | dt.date | np.datetime64) -> Labelled: ...
    @overload
    def __getitem__(self, key: Any) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        if not _label(rows) and not _label(columns):
            return self.values[key]
        if _label(rows):
            rows = slice(*bars_of(self, rows))
        if _label(columns):
            found = columns_of(self, columns)
            columns = found[0] if isinstance(columns, str) and not isinstance(rows, slice) and found else found
        values = self.values[rows, columns] if np.ndim(cast(Any, rows)) == 0 else self.values[rows][:, columns]
        if not isinstance(rows, slice) or not isinstance(columns, (slice, list)):
            return values
        return Labelled(values, self.timestamps[rows], np.array(self.assets, object)[columns].tolist(), self.name)

    def __repr__(self) -> str:
        t, n = self.values.shape
        span = f", {self.label(0)} to {self.label(t - 1)}" if t else ""
        return f"{self.name} of {t:,} bars x {n:,} assets{span}\n{self.values}"

    def _repr_html_(self) -> str:
        """The first and last bars of what is largest in them."""
        t, n = self.values.shape
        rows = [*range(min(t, 4)), *range(max(4, t - 4), t)]
        size = np.nan_to_num(np.abs(self.values[rows])).max(axis=0, initial=0.0)
        some = np.sort(np.argsort(-size, kind="stable")[:8])
        cells: list[tuple[str, ...]] = [
            (self.label(row), *(f"{x:,.6g}".replace("nan", "NaN") for x in self.values[row, some])) for row in rows
        ]
        cells[4:4] = [("...", *["..."] * len(some))] if t > 8 else []
        head = ("timestamp", *(self.assets[i] for i in some))
        most = "" if n <= len(some) else f", those of the {len(some)} largest"
        return card(self.name, f"{t:,} bars x {n:,} assets{most}", table(cells, head, numbers=True))

    # What labels are looked up by, as a panel has it.

    @property
    def microseconds(self) -> np.ndarray:
        """(T,) int64, microseconds since 1970: UTC where there is a time zone."""
        return self.timestamps.to_physical().to_numpy()

    @property
    def time_zone(self) -> str | None:
        """That of the timestamps."""
        return zone_of(self.timestamps)

    @cached_property
    def index(self) -> dict[str, int]:
        """Asset name -> column."""
        return {name: i for i, name in enumerate(self.assets)}

    def label(self, bar: int) -> str:
        """The timestamp of a bar as a person writes it."""
        moment: dt.datetime = self.timestamps[bar]
        return stamp(moment)


def _label(key: Any) -> bool:
    """Whether a part of a key is by label: a text, a time, several texts, or a slice between such."""
    if isinstance(key, slice):
        return _label(key.start) or _label(key.stop)
    if not isinstance(key, str) and hasattr(key, "__iter__") and getattr(key, "ndim", 1) != 0:
        return len(key) > 0 and all(isinstance(name, (str, np.datetime64)) for name in key)
    return isinstance(key, (str, dt.date, np.datetime64)) or hasattr(key, "start_time")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ResultError("a pandas table is wanted and pandas is missing: pip install pandas") from None
    return pandas


def pandas_index(stamps: pl.Series) -> pandas.DatetimeIndex:
    """Timestamps as pandas has them, in their time zone. Raises ResultError where pandas is not installed."""
    zone = zone_of(stamps)
    index: pandas.DatetimeIndex = _pandas().DatetimeIndex(
        stamps.to_physical().to_numpy().astype("datetime64[us]"), name=stamps.name
    )
    return index if zone is None else index.tz_localize("UTC").tz_convert(zone)


def to_pandas(frame: pl.DataFrame, index: str | None = "timestamp") -> pandas.DataFrame:
    """A table as pandas has it, made without pyarrow: numbers as NumPy has them (null is NaN), texts, times in their
    zone; the column `index`, where there is one, is its index. Raises ResultError where pandas is not installed."""
    pd, columns = _pandas(), dict[str, Any]()
    for name, column in zip(frame.columns, frame.get_columns(), strict=True):
        if isinstance(column.dtype, pl.Datetime):
            columns[name] = pandas_index(column)
        elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
            columns[name] = column.to_numpy()
        else:
            columns[name] = column.to_list()
    found: pandas.DataFrame = pd.DataFrame(columns)
    return found.set_index(index) if index in columns else found
