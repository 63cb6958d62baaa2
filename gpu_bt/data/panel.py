# SPDX-License-Identifier: Apache-2.0
"""Panel: market data as (T, N) arrays with timestamps and assets; every check of input data is here."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gpu_bt.data.clock import local_microseconds, timestamps_to_numpy
from gpu_bt.engine.spec import Market
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["ASSET_FIELDS", "MASKS", "PRICES", "RATES", "Panel", "as_host", "warn_of_splits"]

PRICES = ("close", "open", "high", "low", "vwap")
#: Optional panels that are not prices -> what NaN means there.
RATES: dict[str, float] = {"volume": 0.0, "half_spread": 0.0, "dividend": 0.0, "split": 1.0, "borrow_rate": 0.0}
MASKS = ("can_buy", "can_sell")
ASSET_FIELDS = ("delisted_at", "delisting_return", "lot", "group")
PRICE_RANGE = (1e-10, 1e12)
LOT_RANGE = (1e-8, 1e9)


class Panel:
    """Prices and what goes with them, T bars by N assets, checked once and then immutable.

    Arrays are (T, N): NumPy, CuPy, or anything with DLPack. An array is copied unless it is read-only and so is the
    memory under it, because only then nobody can change it later. Prices are float64 or float32 (all other numbers are
    computed in float64), per share, in [1e-10, 1e12]; NaN = the asset does not trade at that bar.

    close: required.   open, high, low, vwap: prices of the same bar; a vwap, high or low needs a close or an open.
    volume: shares traded in the bar, NaN = 0.   half_spread: fraction of the price, NaN = 0.
    dividend: cash per share at the ex-date, NaN = 0.   split: new shares per old, NaN = 1. Both need prices="raw".
    borrow_rate: per year, NaN = 0.   can_buy, can_sell: bool.
    delisted_at: (N,) bar of the delisting, -1 = none.   delisting_return: (N,) >= -1, NaN = 0.
    lot: (N,) shares per lot, 0 = fractional.   group: (N,) labels, for example sectors.
    timestamps: (T,) strictly increasing datetimes, naive or of one time zone.   assets: (N,) unique names.
    prices: "adjusted" or "raw".   next_timestamp: when the bar after the last one is due (for rebalance="month", ...).
    bad_prices: "error", or "nan" to turn 0 and negative prices into NaN (counted in `notes`).

    Raises PanelError naming field, bar and asset. Warns (BacktestWarning) of a split that the prices do not show.
    """

    def __init__(
        self,
        close: Any,
        *,
        timestamps: Any,
        assets: Sequence[Any],
        open: Any = None,
        high: Any = None,
        low: Any = None,
        vwap: Any = None,
        volume: Any = None,
        half_spread: Any = None,
        dividend: Any = None,
        split: Any = None,
        borrow_rate: Any = None,
        can_buy: Any = None,
        can_sell: Any = None,
        delisted_at: Any = None,
        delisting_return: Any = None,
        lot: Any = None,
        group: Any = None,
        prices: str = "adjusted",
        next_timestamp: Any = None,
        bad_prices: str = "error",
        time_zone: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(zip(PRICES, (close, open, high, low, vwap), strict=True))
        given |= zip(RATES, (volume, half_spread, dividend, split, borrow_rate), strict=True)
        given |= zip(MASKS, (can_buy, can_sell), strict=True)
        self.notes: dict[str, Any] = dict(notes or {})
        _check_choice("prices", prices, "adjusted", "raw")
        _check_choice("bad_prices", bad_prices, "error", "nan")
        if close is None:
            raise PanelError("close is missing: a panel needs (T, N) closing prices; pass close=")
        for name in ("dividend", "split"):
            if given[name] is not None and prices != "raw":
                raise PanelError(f"{name} needs unadjusted prices: pass prices='raw', or leave {name} out")
        self.prices = prices
        self.timestamps, self.time_zone = timestamps_to_numpy(timestamps, time_zone, PanelError)
        self.assets = _asset_names(assets)
        fields = {name: self._field(name, value, bad_prices) for name, value in given.items() if value is not None}
        self._check_timestamps(next_timestamp)
        self._check_intrabar(fields)
        n = len(self.assets)
        for name, value in zip(ASSET_FIELDS, (delisted_at, delisting_return, lot, group), strict=True):
            self._check_labels(name, value)
        self.group = None if group is None else _frozen(_per_asset("group", group, n))
        self.market = Market(
            microseconds=_frozen(self.timestamps.view(np.int64)),
            **fields,
            delisted_at=_delisted_at(delisted_at, self.assets),
            delisting_return=self._delisting_return(delisting_return),
            lot=self._lots(lot),
            tie=_frozen(np.array([_tie(a) for a in self.assets], np.uint8)),
        )
        if "split" in fields:
            warn_of_splits(self, fields["close"], fields["split"])

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.timestamps), len(self.assets)

    @property
    def microseconds(self) -> np.ndarray:
        """(T,) int64, microseconds since 1970: UTC where the panel has a time zone, else of the naive timestamps."""
        return self.market.microseconds

    @property
    def fields(self) -> tuple[str, ...]:
        """The (T, N) fields that it has."""
        return tuple(name for name in (*PRICES, *RATES, *MASKS) if getattr(self.market, name) is not None)

    @cached_property
    def index(self) -> dict[str, int]:
        """Asset name -> column."""
        return {name: i for i, name in enumerate(self.assets)}

    def __getattr__(self, name: str) -> Any:
        if name in PRICES or name in RATES or name in MASKS or name in ("delisted_at", "delisting_return", "lot"):
            return getattr(self.market, name)
        raise AttributeError(f"Panel has no attribute {name!r}")

    def __repr__(self) -> str:
        t, n = self.shape
        span = f"{self.label(0)} to {self.label(t - 1)}"
        return f"Panel({t} bars x {n} assets, {span}, {', '.join(self.fields)}, {self.prices} prices)"

    def label(self, bar: int) -> str:
        """The timestamp of a bar as a person writes it, in the panel's zone; the date alone where it is midnight."""
        moment = self.timestamps[bar : bar + 1] if bar >= 0 else self.timestamps[bar:][:1]
        return time_label(local_microseconds(moment.view(np.int64), self.time_zone).view("datetime64[us]")[0])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.timestamps, self.group):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False  # which pickling forgets

    def _field(self, name: str, value: Any, bad_prices: str) -> np.ndarray:
        array = as_host(name, value, PanelError)
        self._check_labels(name, value)
        if array.shape != self.shape or array.ndim != 2 or 0 in array.shape:
            raise PanelError(
                f"{name} has shape {array.shape}: it must be (T, N) = {self.shape}, one row per timestamp and one"
                " column per asset, both at least one"
            )
        if name in MASKS:
            return self._mask(name, array)
        array = _as_float(name, array, PanelError)
        if name in PRICES:
            return self._price(name, array, bad_prices)
        low, high = float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
        if low < 0 or high == np.inf or (name == "split" and low <= 0):
            bad = (array <= 0) if name == "split" else (array < 0)
            rule = "> 0" if name == "split" else ">= 0"
            self._fail(name, bad | np.isinf(array), array, f"it must be finite and {rule}, or NaN for {RATES[name]:g}")
        if np.isnan(array).any():
            array = np.where(np.isnan(array), array.dtype.type(RATES[name]), array)
        return _frozen(array)

    def _check_labels(self, name: str, value: Any) -> None:
        """A table or a pandas Series is taken by position, so its labels must be the panel's, in the panel's order."""
        if hasattr(value, "columns") and tuple(map(str, value.columns)) != self.assets:
            raise PanelError(f"{name} is a table whose columns are not the assets in order: use read_panel")
        index = getattr(value, "index", None)
        if not hasattr(value, "iloc") or type(index).__name__ == "RangeIndex":
            return
        if name in ASSET_FIELDS:
            if tuple(map(str, index)) != self.assets:
                raise PanelError(f"{name} is a Series whose index is not the assets in order: reindex it to the assets")
            return
        try:
            same = np.array_equal(timestamps_to_numpy(index, None, PanelError)[0], self.timestamps)
        except PanelError:
            same = False
        if not same:
            raise PanelError(f"{name} is a table whose index is not the timestamps: reindex it to the timestamps")

    def _price(self, name: str, array: np.ndarray, bad_prices: str) -> np.ndarray:
        low, high = float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
        if bad_prices == "nan" and low <= 0:
            bad = array <= 0
            bad &= array != -np.inf
            array = np.where(bad, np.nan, array).astype(array.dtype)
            self.notes["bad_prices"] = self.notes.get("bad_prices", 0) + int(bad.sum())
            low = float(np.fmin.reduce(array, axis=None))
        if low < PRICE_RANGE[0] or high > PRICE_RANGE[1]:
            if low <= 0 and low != -np.inf:
                rule = "a price must be > 0, or NaN where the asset does not trade (bad_prices='nan' makes it so)"
                self._fail(name, array <= 0, array, rule)
            bad = (array < PRICE_RANGE[0]) | (array > PRICE_RANGE[1])
            self._fail(name, bad, array, "a price must be in [1e-10, 1e12], or NaN where the asset does not trade")
        return _frozen(array)

    def _mask(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.bool_:
            if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
                raise PanelError(f"{name} has dtype {array.dtype}: it must be bool, True where the asset may trade")
            array = array != 0
        return _frozen(array)

    def _fail(self, name: str, bad: np.ndarray, array: np.ndarray, rule: str) -> None:
        t, i = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise PanelError(f"{name}[{self.label(t)}, {self.assets[i]!r}] is {array[t, i]}: {rule}")

    def _check_timestamps(self, next_timestamp: Any) -> None:
        steps = np.diff(self.timestamps.view(np.int64))
        if (steps <= 0).any():
            t = int(np.argmax(steps <= 0))
            a, b = self.label(t), self.label(t + 1)
            what = "twice (bars are compared in whole microseconds)" if steps[t] == 0 else f"followed by {b}"
            raise PanelError(f"timestamps[{t}] is {a}, {what}: timestamps must increase strictly; sort and deduplicate")
        self.next_timestamp: np.datetime64 | None = None
        if next_timestamp is None:
            return
        following, zone = timestamps_to_numpy([next_timestamp], None, PanelError)
        if zone is not None and self.time_zone is None:
            raise PanelError("next_timestamp has a time zone and the timestamps have none: pass both the same way")
        if following[0] <= self.timestamps[-1]:
            raise PanelError(f"next_timestamp is {following[0]}: it must lie after the last bar, {self.label(-1)}")
        self.next_timestamp = following[0]

    def _check_intrabar(self, fields: dict[str, np.ndarray]) -> None:
        dead = np.isnan(fields["close"])
        if "open" in fields:
            dead &= np.isnan(fields["open"])
        if not dead.any():
            return
        for name in ("high", "low", "vwap"):
            if name in fields:
                bad = dead & ~np.isnan(fields[name])
                if bad.any():
                    rule = f"a bar without close and open has no {name}; set it to NaN or give the bar a close"
                    self._fail(name, bad, fields[name], rule)

    def _delisting_return(self, value: Any) -> np.ndarray:
        n = len(self.assets)
        if value is None:
            return _frozen(np.zeros(n))
        out = _as_float("delisting_return", _per_asset("delisting_return", value, n), PanelError).astype(np.float64)
        bad = (out < -1) | np.isinf(out)
        if bad.any():
            i = int(np.argmax(bad))
            raise PanelError(f"delisting_return[{self.assets[i]!r}] is {out[i]}: it must be >= -1, or NaN for 0")
        return _frozen(np.where(np.isnan(out), 0.0, out))

    def _lots(self, value: Any) -> np.ndarray | None:
        if value is None:
            return None
        out = _as_float("lot", _per_asset("lot", value, len(self.assets)), PanelError).astype(np.float64)
        good = (out == 0) | ((out >= LOT_RANGE[0]) & (out <= LOT_RANGE[1]))
        if not good.all():
            i = int(np.argmin(good))
            raise PanelError(
                f"lot[{self.assets[i]!r}] is {out[i]}: it must be 0 (fractional) or in [1e-08, 1e+09] shares"
            )
        return _frozen(out + 0.0)


def warn_of_splits(panel: Panel, close: np.ndarray, split: np.ndarray, first: int = 0) -> None:
    """Warn (BacktestWarning) of splits that the prices do not show: those of all rows but the first, judged by the row
    before. close, split: rows from bar `first` of the panel on, -1 where its first bar follows another panel's last."""
    t, i = np.nonzero(split[1:] != 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.log(close[t + 1, i].astype(np.float64)) - np.log(close[t, i].astype(np.float64))
        size = np.log(split[t + 1, i].astype(np.float64))
    # Within 20 % of 1 an ordinary day's move hides a split, so only larger ratios are judged.
    hidden = (np.abs(size) > 0.2) & (np.abs(move) < np.abs(move + size))
    if hidden.any():
        k = int(np.argmax(hidden))
        bar, asset = int(t[k]) + 1, int(i[k])
        warnings.warn(
            f"split[{panel.label(first + bar)}, {panel.assets[asset]!r}] is {split[bar, asset]:g} but the close moved"
            f" from {close[bar - 1, asset]:g} to {close[bar, asset]:g} ({int(hidden.sum())} splits like it): if the"
            " prices are already adjusted, leave split out",
            BacktestWarning,
            stacklevel=3,
        )


def as_host(name: str, value: Any, error: type[Exception]) -> np.ndarray:
    """The value as a NumPy array, a copy only where it has to be one. CuPy arrays are fetched; DLPack is honoured."""
    if isinstance(value, np.ma.MaskedArray):
        raise error(f"{name} is a masked array: fill it first, with NaN where nothing is known, as in x.filled(np.nan)")
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
            return np.asarray(value.get())
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as exc:
        reason = str(exc).split("\n")[0]
        raise error(f"{name} is a {type(value).__name__} that is no array ({reason}): pass a (T, N) array") from None


def _check_choice(name: str, value: Any, first: str, second: str) -> None:
    if value not in (first, second):
        raise PanelError(f"{name} is {value!r}: it must be {first!r} or {second!r}")


def time_label(timestamp: np.datetime64) -> str:
    """'2019-03-04', or '2019-03-04T15:30:00' where there is a time of day."""
    text = str(timestamp.astype("datetime64[us]"))
    for ending in (".000000", "T00:00:00"):
        text = text.removesuffix(ending)
    return text


def _as_float(name: str, array: np.ndarray, error: type[Exception]) -> np.ndarray:
    if array.dtype in (np.float64, np.float32) and array.dtype.isnative:
        return array
    if array.dtype.kind not in "iufb":
        raise error(f"{name} has dtype {array.dtype}: it must hold numbers; convert it to float64")
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)


def _frozen(array: np.ndarray) -> np.ndarray:
    """C-contiguous and read-only: copied unless nobody can write to its memory, so that it cannot change later."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if array.flags.writeable or owner.flags.writeable or owner.base is not None or not array.flags.c_contiguous:
        array = np.array(array, order="C", copy=True)
    array.flags.writeable = False
    return array


def _asset_names(assets: Sequence[Any]) -> tuple[str, ...]:
    if assets is None or isinstance(assets, str):
        raise PanelError(f"assets is {assets!r}: it must be a sequence of N unique names")
    ids = assets.tolist() if hasattr(assets, "tolist") else list(assets)
    for i, name in enumerate(ids):
        if name is None or name != name or not str(name).isprintable() or not str(name).strip():
            raise PanelError(f"assets[{i}] is {name!r}: a name must be printable text or a number; rename or drop it")
    names = tuple(map(str, ids))
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(a for a in names if a in seen or seen.add(a))  # type: ignore[func-returns-value]
        raise PanelError(f"assets has {twice!r} twice: names must be unique; merge or rename the columns")
    return names


def _tie(asset: str) -> int:
    """The buy-back's tie of an asset: last byte of the 8-byte BLAKE2b of its id, modulo 64 (semantics.md, [S4])."""
    return hashlib.blake2b(asset.encode(), digest_size=8).digest()[-1] % 64


def _per_asset(name: str, value: Any, n: int) -> np.ndarray:
    array = as_host(name, value, PanelError)
    if array.shape != (n,):
        raise PanelError(f"{name} has shape {array.shape}: it must be (N,) = ({n},), one value per asset")
    return array


def _delisted_at(value: Any, assets: Sequence[str]) -> np.ndarray:
    n = len(assets)
    if value is None:
        return _frozen(np.full(n, -1, np.int64))
    array = _per_asset("delisted_at", value, n)
    if array.dtype.kind not in "iu" and not (array.dtype.kind == "f" and (array == np.rint(array)).all()):
        raise PanelError(f"delisted_at has dtype {array.dtype}: it must hold bar numbers, -1 for none")
    if (array < -1).any():
        i = int(np.argmax(array < -1))
        raise PanelError(f"delisted_at[{assets[i]!r}] is {int(array[i])}: it must be a bar number >= 0, or -1 for none")
    return _frozen(array.astype(np.int64))
