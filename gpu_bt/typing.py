# SPDX-License-Identifier: Apache-2.0
"""What users pass and get, as types: for annotations of their own, for editors, and the one list of each choice.

Of libraries that need not be there, a frame or an array is known by what it can do. Letters: T bars, N assets.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, SupportsFloat, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Adjust", "Align", "Array", "Assets", "BadPrices", "Book", "Bools", "CountMetric", "DType", "Duplicates",
    "EngineName", "Fields", "Floats", "Grid", "Groups", "Holdings", "Layout", "Metric", "Metrics", "MetricsOf",
    "Missing", "Numbers", "Path", "Prices", "Record", "Row", "Scheme", "SupportsArray", "SupportsArrow",
    "SupportsDLPack", "SupportsPeriod", "TableLike", "TableT", "Time", "UnknownAssets", "Values",
]  # fmt: skip

# ---- choices: what is not among them is refused with their list
EngineName: TypeAlias = Literal["auto", "cpu", "cuda", "native", "numpy"]
Record: TypeAlias = Literal["bars", "fills", "positions"]
Prices: TypeAlias = Literal["adjusted", "raw"]
BadPrices: TypeAlias = Literal["error", "nan"]
Layout: TypeAlias = Literal["auto", "long", "wide"]
Duplicates: TypeAlias = Literal["error", "first", "last"]
Adjust: TypeAlias = Literal["scale", "adjusted", "raw"]
Missing: TypeAlias = Literal["close", "hold"]
Align: TypeAlias = Literal["exact", "next", "previous"]
Metric: TypeAlias = Literal[
    "final_equity", "total_return", "annual_return", "volatility", "sharpe", "sortino", "max_drawdown", "calmar",
    "hit_rate", "turnover", "total_costs", "annual_costs", "total_financing",
]  # fmt: skip
CountMetric: TypeAlias = Literal["bars", "longest_drawdown"]
FieldName: TypeAlias = Literal[
    "close", "open", "high", "low", "vwap", "volume", "half_spread", "volatility", "dividend", "split", "borrow_rate",
    "can_buy", "can_sell", "universe",
]  # fmt: skip
UnknownAssets: TypeAlias = Literal["error", "ignore"]
Scheme: TypeAlias = Literal["equal", "rank"]
MetricsOf: TypeAlias = Literal["all", "equity"]
DType: TypeAlias = type[np.float64] | type[np.float32] | np.dtype[Any] | Literal["float64", "float32"]


# ---- what is passed
class SupportsArray(Protocol):
    """An array in host memory, a frame or Series of Polars or pandas, a tensor."""

    def __array__(self) -> NDArray[Any]: ...


class SupportsDLPack(Protocol):
    """An array wherever it lies: CuPy, PyTorch, JAX."""

    def __dlpack__(self) -> Any: ...


class SupportsArrow(Protocol):
    """A table that Arrow reads: PyArrow, Polars, pandas, cuDF."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class SupportsPeriod(Protocol):
    """A pandas Period: its last day counts."""

    def to_timestamp(self) -> dt.datetime:
        """Its first instant."""
        ...


Path: TypeAlias = str | os.PathLike[str]
#: A table with labels, or files with some.
TableLike: TypeAlias = "pl.LazyFrame | SupportsArray | SupportsArrow | Path | Sequence[Path]"
#: Numbers by position: (T, N), (T,) or (N,) as it is said.
Array: TypeAlias = SupportsArray | SupportsDLPack | Sequence[Any]
#: (T, N) by position, or a table by its labels.
Values: TypeAlias = "Array | TableLike"
#: A number for some assets by name; a Series, too.
Book: TypeAlias = Mapping[Any, SupportsFloat]
#: A number for each asset: (N,), or by name.
Row: TypeAlias = Array | Book
#: One number, or one for each asset.
Numbers: TypeAlias = SupportsFloat | Row
#: Assets: a name, an index, several of either, or an (N,) bool mask.
Assets: TypeAlias = str | int | Row
Holdings: TypeAlias = "Row | pl.LazyFrame | SupportsArrow"
#: A grid: {axis: values}, a list of {axis: value}, a table with a row per scenario.
Grid: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]] | pl.DataFrame"
#: "panel", labels by position or in a wide frame, or {asset: label}.
Groups: TypeAlias = str | Array | Mapping[Any, Any]
#: A date, a datetime, a text such as "2020-03", a number YYYYMMDD, a pandas Period.
Time: TypeAlias = str | int | dt.date | np.datetime64 | SupportsPeriod
TableT = TypeVar("TableT", bound=SupportsArray)

# ---- what is given
#: NumPy's; where the panel lies on a GPU a `gpu_bt.engine.resident.Resident`, in a strategy that wants it there CuPy's.
Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]
OrNone = TypeVar("OrNone")


class Fields(Generic[OrNone]):
    """The (T, N) fields of a panel, None where it lacks one, or the (N,) of a bar of it. Each is read by its name; this
    is the list for editors, from which `tests/editor/docs.py` writes the docstring of Panel."""

    __slots__ = ()

    close: Floats
    """the last price of the bar; required"""
    open: Floats | OrNone
    """the first price of the bar, at which orders fill by default"""
    high: Floats | OrNone
    """the highest price of the bar; needs a close or an open beside it"""
    low: Floats | OrNone
    """the lowest price of the bar; needs a close or an open beside it"""
    vwap: Floats | OrNone
    """the volume-weighted average price of the bar; needs a close or an open beside it"""
    volume: Floats | OrNone
    """shares traded in the bar, NaN = 0"""
    half_spread: Floats | OrNone
    """fraction of the price, NaN = 0"""
    volatility: Floats | OrNone
    """of a bar's return, NaN = 0; multiplies `impact` where given"""
    dividend: Floats | OrNone
    """cash per share at the ex-date, NaN = 0; needs `prices="raw"`"""
    split: Floats | OrNone
    """new shares per old, NaN = 1; needs `prices="raw"`"""
    borrow_rate: Floats | OrNone
    """a year, of the value of shorts, NaN = 0"""
    can_buy: Bools | OrNone
    """bool, False = the asset may not be bought at this bar"""
    can_sell: Bools | OrNone
    """bool, False = the asset may not be sold at this bar"""
    universe: Bools | OrNone
    """bool, False = may not be held (`outside`); a table of members: a row counts until the next, what it does not name
    is outside"""

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *Fields.__annotations__]  # for completion where there is an object


class Metrics(dict[str, Any]):
    """The metrics of one run (`gpu_bt.metrics.equity_metrics` has their formulas), bars a year, and its status."""

    if TYPE_CHECKING:  # what editors complete, and of which type each is

        @overload
        def __getitem__(self, name: Metric | Literal["bars_per_year"], /) -> float: ...
        @overload
        def __getitem__(self, name: CountMetric, /) -> int: ...
        @overload
        def __getitem__(self, name: Literal["status"], /) -> str: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...
