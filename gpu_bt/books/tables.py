# SPDX-License-Identifier: Apache-2.0
"""What goes into the operators and comes out of them: arrays of NumPy and CuPy, wide frames of pandas and Polars.

An array of NumPy's, or what NumPy reads as one, gives an array of NumPy's; what lies on a GPU (CuPy, a `Resident` of a
panel, whatever knows DLPack) gives one of CuPy's there; a frame gives a frame of the same kind with the same labels:
its asset columns hold numbers, and its index or one column of it times. Results are float64, of float32 input float32
(computed in float64 either way). Tables given together have the same shape and, those with labels, the same labels.

Letters: T bars, N assets.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np

from gpu_bt.data.arrays import as_array, as_host
from gpu_bt.data.labels import as_row, is_labelled, is_series
from gpu_bt.data.panel import Panel
from gpu_bt.engine.registry import tools
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import PanelError, label_of, shown
from gpu_bt.typing import TableT

__all__ = ["Tables", "codes_of", "labelled", "labels_of", "listed", "opened"]

#: Cells worked on together: few enough to stay in a core's cache, or many enough to fill a GPU.
_CACHE, _GPU = 1 << 17, 1 << 24
#: Names of a column of times that holds whole numbers or texts.
_STAMPS = ("timestamp", "date", "datetime", "time")


@dataclasses.dataclass(eq=False)
class _Frame:
    """A wide frame as (T, N) values. stamp: the place of its column of times, or None.   times: (T,) or None."""

    frame: Any
    stamp: int | None
    places: list[int]
    assets: list[str]
    times: np.ndarray | None

    def filled(self, values: np.ndarray) -> Any:
        """A frame with these labels and (T, N) other numbers."""
        if not hasattr(self.frame, "iloc"):
            columns = dict(zip(self.assets, np.ascontiguousarray(values.T), strict=True))
            return type(self.frame)({name: columns.get(name, self.frame[name]) for name in self.frame.columns})
        names = self.frame.columns
        out = type(self.frame)(values, index=self.frame.index, columns=names[self.places])
        if self.stamp is not None:
            out.insert(self.stamp, names[self.stamp], self.frame.iloc[:, self.stamp])
        return out


@dataclasses.dataclass(eq=False)
class Tables:
    """(T, N) tables of numbers given together to a function. xp: the library of their arrays, NumPy or CuPy.   labels:
    those of the first frame.   frame: the first table where it is one.   dtype: of results."""

    function: str
    xp: Any
    arrays: dict[str, Any]
    labels: _Frame | None
    frame: _Frame | None
    dtype: Any

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        t_count, n = next(iter(self.arrays.values())).shape
        return t_count, n

    @property
    def room(self) -> int:
        """Cells that are best worked on together."""
        return _CACHE if self.xp is np else _GPU

    def fail(self, what: str, t: int, i: int, rule: str) -> NoReturn:
        """Refuse a cell."""
        row, asset = label_of(t), str(i)
        if self.labels is not None:
            times, asset = self.labels.times, repr(self.labels.assets[i])
            row = row if times is None else label_of(times[t]).removesuffix("T00:00:00.000000")
        raise PanelError(f"{self.function}: {what}[{row}, {asset}] is {float(self.arrays[what][t, i])}: {rule}")

    def cells(self, what: str, rows: slice, columns: slice = slice(None), low: float = -np.inf) -> tuple[Any, Any]:
        """Part of a table as float64, and where there is a number. Raises PanelError for an infinite one, and for what
        is below `low`."""
        values = self.arrays[what][rows, columns].astype(np.float64, copy=False)
        there = self.xp.isfinite(values)
        known = int(self.xp.count_nonzero(there))
        if known < values.size:
            known += int(self.xp.count_nonzero(self.xp.isnan(values)))
        if known < values.size or (low > -np.inf and bool((values < low).any())):
            bad = ~there & ~self.xp.isnan(values) | (values < low)
            t, i = divmod(int(bad.ravel().argmax()), values.shape[1])
            sign = "" if low < 0 else " and >= 0" if low == 0 else " and > 0"
            rule = f"a number must be finite{sign}, or NaN where there is none"
            self.fail(what, (rows.start or 0) + t, (columns.start or 0) + i, rule)
        return values, there

    def each(self, work: Callable[[Any], None], parts: Sequence[Any]) -> None:
        """Do the parts: in host memory side by side, since NumPy lets other threads on while it works."""

        def quietly(part: Any) -> None:
            with np.errstate(all="ignore"):  # a thread has its own
                work(part)

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self.xp is not np or min(cores, len(parts)) == 1:
            for part in parts:
                quietly(part)
            return
        with ThreadPoolExecutor(min(cores, len(parts))) as pool:
            for _ in pool.map(quietly, parts):
                pass

    def by_rows(self, work: Callable[[slice], Any], dtype: Any = None) -> Any:
        """(T, N) results of a function of some rows."""
        t_count, n = self.shape
        out, step = self.xp.empty(self.shape, dtype or self.dtype), max(1, self.room // n)

        def part(start: int) -> None:
            rows = slice(start, min(start + step, t_count))
            out[rows] = work(rows)

        self.each(part, range(0, t_count, step))
        return out

    def given_back(self, values: Any, like: TableT) -> TableT:
        """A result as what the first table was, which is `like`."""
        found: TableT = values if self.frame is None else self.frame.filled(values)
        return found

    def beside(self, array: np.ndarray) -> Any:
        """An array of the host's in the memory of the tables."""
        return array if self.xp is np else self.xp.asarray(array)

    def mask(self, universe: Any) -> Any:
        """(T, N) bool of a universe in the memory of the tables, None = everybody."""
        if universe is None:
            return None
        what, own = f"{self.function}: universe", _framed(f"{self.function}: universe", universe)
        if isinstance(universe, Panel):
            own = _labels_of(universe)
        elif own is not None:
            universe = _values(what, own, "b")
        _check_labels(what, own, self.labels)
        return self.beside(listed(universe, self.shape, what))

    def codes(self, groups: Any, universe: Any = None) -> Any:
        """(N,) or (T, N) numbers of groups in the tables' memory, None = all are one; "panel": the universe's."""
        if groups is None:
            return None
        what = f"{self.function}: groups"
        if isinstance(groups, str) and groups == "panel":
            groups = universe.group if isinstance(universe, Panel) else None
            if groups is None:
                rule = "it needs a Panel with group= as universe=; or pass labels, such as panel.group"
                raise PanelError(f"{what} is 'panel': {rule}")
        if (own := _framed(what, groups)) is not None:
            groups = _values(what, own, "")
        _check_labels(what, own, self.labels)
        return self.beside(codes_of(groups, self.shape, what, None if self.labels is None else self.labels.assets))


def opened(function: str, **tables: Any) -> Tables:
    """The tables that a function was given by name. Raises PanelError for what is no (T, N) table of numbers, and where
    shapes or labels differ."""
    arrays: dict[str, Any] = {}
    frames: dict[str, _Frame | None] = {}
    for name, value in tables.items():
        what = f"{function}: {name}"
        frames[name] = own = _framed(what, value)
        if own is not None:
            arrays[name] = _values(what, own, "iuf")
        elif is_labelled(value):
            kind = f"a {type(value).__name__}"
            raise PanelError(f"{what} is {kind}: pass a (T, N) array, or a wide frame of pandas or Polars")
        else:
            array: Any = as_array(what, value, PanelError)
            arrays[name] = array.tools.exported(array) if isinstance(array, Resident) else array
        _check_array(what, arrays[name], next(iter(arrays.values())).shape)
    labels = next((frame for frame in frames.values() if frame is not None), None)
    for name, frame in frames.items():
        _check_labels(f"{function}: {name}", frame, labels)
    xp: Any = np
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        there: Any = tools()
        xp = there.cupy()
        arrays = {name: xp.asarray(array) for name, array in arrays.items()}
    first = next(iter(arrays.values()))
    dtype = np.float32 if first.dtype == np.float32 else np.float64
    return Tables(function, xp, arrays, labels, next(iter(frames.values())), dtype)


def _labels_of(panel: Panel) -> _Frame:
    return _Frame(None, None, [], list(panel.assets), None if panel.time_zone is not None else panel.timestamps)


def labelled(panel: Panel, function: str) -> Tables:
    """An empty table with the labels of a panel, for what is placed beside it."""
    return Tables(function, np, {"": np.broadcast_to(np.nan, panel.shape)}, _labels_of(panel), None, np.float64)


def _check_array(what: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.dtype.kind not in "iuf":
        raise PanelError(f"{what} is of dtype {array.dtype}: pass a (T, N) table of numbers, NaN where there is none")
    if array.ndim != 2 or 0 in array.shape:
        raise PanelError(f"{what} has shape {array.shape}: it must be (T, N), a row per bar and a column per asset")
    if array.shape != shape:
        raise PanelError(f"{what} has shape {array.shape}: it must be (T, N) = {shape}, as the table beside it")


def _kinds(frame: Any) -> list[str]:
    """What the columns hold, as NumPy's letters; "i" of whole numbers of any kind in Polars."""
    if hasattr(frame, "iloc"):
        return [getattr(dtype, "kind", "O") for dtype in frame.dtypes]
    letters = (("is_integer", "i"), ("is_numeric", "f"), ("is_temporal", "M"))
    kinds = [next((k for name, k in letters if getattr(dtype, name)()), "O") for dtype in frame.dtypes]
    return ["b" if str(dtype) == "Boolean" else kind for dtype, kind in zip(frame.dtypes, kinds, strict=True)]


def _framed(what: str, value: Any) -> _Frame | None:
    """The labels of a wide frame of pandas or Polars; None for any other value. Raises PanelError for times that do not
    rise."""
    is_pandas = hasattr(value, "iloc") and hasattr(value, "columns") and not hasattr(value, "to_arrow")
    if not is_pandas and not (hasattr(value, "get_columns") and hasattr(value, "to_numpy")):
        return None
    names, kinds = [label_of(name) for name in value.columns], _kinds(value)
    named = [k != "f" and name.strip().lower() in _STAMPS for name, k in zip(names, kinds, strict=True)]
    stamp = next((i for i, k in enumerate(kinds) if k == "M" or named[i]), None)
    places = [i for i in range(len(names)) if i != stamp]
    times = value.index if is_pandas and stamp is None else None if stamp is None else value[value.columns[stamp]]
    if times is not None:
        times = np.asarray(times.to_numpy())
        times = times.astype("datetime64[us]") if times.dtype.kind == "M" else times
        if times.dtype.kind in "Miuf" or any(str(x)[4:5] == "-" for x in times[:1]):  # ISO texts; with a zone, objects
            for a, b in itertools.pairwise(times):
                if type(a) is not type(b) or not b > a:
                    raise PanelError(f"{what} has {b} after {a}: its times must rise, each one once; sort it")
    return _Frame(value, stamp, places, [names[i] for i in places], times)


def _values(what: str, own: _Frame, kinds: str) -> np.ndarray:
    """(T, N) values of a frame whose assets all hold one of these kinds, "" = any, as objects."""
    found = _kinds(own.frame)
    for i, name in zip(own.places, own.assets, strict=True):
        if kinds and found[i] not in kinds:
            wanted = "True and False" if kinds == "b" else "numbers"
            raise PanelError(
                f"{what}[{name!r}] holds {list(own.frame.dtypes)[i]}: an asset's column must hold {wanted}"
            )
    if not hasattr(own.frame, "iloc"):
        array: np.ndarray = own.frame.select(own.assets).to_numpy()
        return array.astype(np.float64) if kinds == "iuf" and array.dtype.kind == "O" else array
    part = own.frame.iloc[:, own.places]
    if kinds != "iuf":  # bools with empty cells stay objects
        return np.asarray(part.to_numpy(bool if kinds and not part.isna().any(axis=None) else object))
    dtype = np.float32 if all(str(kind).lower() == "float32" for kind in part.dtypes) else np.float64
    plain = all(isinstance(kind, np.dtype) for kind in part.dtypes)
    return np.asarray(part.to_numpy(dtype) if plain else part.to_numpy(dtype, na_value=np.nan))


def _check_labels(what: str, own: _Frame | None, other: _Frame | None) -> None:
    """Raise PanelError where two tables with labels have different ones."""
    if own is None or other is None:
        return
    for kind, a, b in (("row", own.times, other.times), ("column", own.assets, other.assets)):
        if a is None or b is None or np.array_equal(a, b):
            continue
        i = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        x, y = (shown(label_of(names[i])) if i < len(names) else "none" for names in (a, b))
        raise PanelError(f"{what} has {x} as {kind} {i} and the table beside it {y}: give them the same labels")


def listed(universe: Any, shape: tuple[int, int], what: str = "universe") -> np.ndarray:
    """(T, N) bool: who counts at each bar. universe: None = everybody; a (T, N) bool mask; or a Panel: in its universe
    at t, and t before `delisted_at`. Raises PanelError for another shape, and for what is no bool."""
    if universe is None:
        return np.ones(shape, bool)
    if not isinstance(universe, Panel):
        mask = as_host(what, universe, PanelError)
        if mask.dtype != bool:
            raise PanelError(f"{what} is of dtype {mask.dtype}: pass a (T, N) mask of True and False, or a panel")
    else:
        market = universe.on_host().market
        mask = np.ones(universe.shape, bool) if market.universe is None else np.asarray(market.universe)
        if market.delisted_at is not None:
            gone = np.asarray(market.delisted_at)
            mask = mask & ((gone < 0) | (np.arange(len(mask))[:, None] < gone))
    if mask.shape != tuple(shape):
        raise PanelError(f"{what} has shape {mask.shape}: it must be (T, N) = {tuple(shape)}, as the table beside it")
    return mask


def codes_of(
    groups: Any, shape: tuple[int, int], what: str = "groups", assets: Iterable[str] | None = None
) -> np.ndarray:
    """(N,) or (T, N) int: 0, 1, ... for each label, -1 = no group: None, "", NaN, NaT or -1.

    groups: (N,) or (T, N) labels of any kind; {asset: label}, or a Series by asset, where `assets` are known: who is
    not named has none. Raises PanelError for another shape, and for labels of no asset.
    """

    def fail(rule: str) -> NoReturn:
        raise PanelError(f"{what}: {rule}")

    if assets is not None and (isinstance(groups, Mapping) or is_series(groups)):
        groups = as_row(groups, {name: i for i, name in enumerate(assets)}, fail, "")
    if isinstance(groups, (str, Mapping)):
        whom = "assets without names" if isinstance(groups, Mapping) else "each asset"
        fail(f"{shown(groups)} are no labels for {whom}: pass (N,) or (T, N) of them, such as panel.group")
    array = labels_of(what, groups)
    if array.shape not in (tuple(shape), tuple(shape[1:])):
        fail(f"shape {array.shape}: they must be (N,) = {tuple(shape[1:])} or (T, N) = {tuple(shape)}")
    if array.dtype.kind in "iu" and -1 <= array.min() and array.max() < 2**15:
        return array.astype(np.int64)
    known: dict[Any, int] = {}
    try:
        found = [-1 if _is_none(x) else known.setdefault(x, len(known)) for x in array.ravel().tolist()]
    except (TypeError, ValueError):  # of a list, an array
        fail("a label must be hashable, such as a text or a number")
    return np.array(found, np.int64).reshape(array.shape)


def labels_of(what: str, groups: Any) -> np.ndarray:
    """Labels as an array on the host: of a list one of objects, since None or NaN would be a text in one of texts."""
    if isinstance(groups, (list, tuple)):
        try:
            groups = np.array(groups, object)
        except ValueError:
            rule = "a list of lists of several lengths is no array: pass (N,) or (T, N) labels"
            raise PanelError(f"{what}: {rule}") from None
    return as_host(what, groups, PanelError)


def _is_none(label: Any) -> bool:
    if isinstance(label, str):  # of NumPy, too
        return not label
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label != label or label == -1
