# SPDX-License-Identifier: Apache-2.0
"""Panel: market data as (T, N) arrays with timestamps and assets; every check of input data is here."""

from __future__ import annotations

import copy
import hashlib
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, get_args
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from gpu_bt.arguments import must_be, one_of, several, whole
from gpu_bt.data.arrays import as_array, as_host, first_alone, frozen, replaced, together
from gpu_bt.data.clock import local_microseconds, time_label, wall_clock
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS, MASKS, PRICES, RATES
from gpu_bt.data.labels import is_labelled
from gpu_bt.data.sanity import warn_of_labels, warn_of_prices, warn_of_units
from gpu_bt.data.slices import cut
from gpu_bt.data.stamps import timestamps_to_numpy
from gpu_bt.engine.prepare import others
from gpu_bt.engine.spec import Market
from gpu_bt.errors import PanelError, shown, warn
from gpu_bt.show.cards import panel_card
from gpu_bt.typing import Array, BadPrices, Fields, Floats, Groups, Prices, Row, Time, Values

__all__ = ["Panel", "asset_names", "warn_of_splits"]


class Panel(Fields[None]):
    """Prices and what goes with them, T bars by N assets, checked once and then immutable.

    Arrays are (T, N): NumPy, CuPy, or anything with DLPack; or wide tables of any library, or paths to such, placed by
    their labels: timestamps and assets left out are those of close (`gpu_bt.data.placing.with_labels`). An array is
    copied unless it is read-only and so is the memory under it, because only then nobody can change it later. What lies
    on a GPU (CuPy, PyTorch, DLPack, `__cuda_array_interface__`) is used where it lies and is not copied: do not write
    to it as long as the panel is used (docs/data.md, On a GPU). The attribute is then a `Resident`. Prices are
    float64 or float32 (all other numbers are computed in float64), per share, in [1e-10, 1e12]; NaN = the asset does
    not trade at that bar.

    Attributes:
        close: the last price of the bar; required
        open: the first price of the bar, at which orders fill by default
        high: the highest price of the bar; needs a close or an open beside it
        low: the lowest price of the bar; needs a close or an open beside it
        vwap: the volume-weighted average price of the bar; needs a close or an open beside it
        volume: shares traded in the bar, NaN = 0
        half_spread: fraction of the price, NaN = 0
        volatility: of a bar's return, NaN = 0; multiplies `impact` where given
        dividend: cash per share at the ex-date, NaN = 0; needs `prices="raw"`
        split: new shares per old, NaN = 1; needs `prices="raw"`
        borrow_rate: a year, of the value of shorts, NaN = 0
        can_buy: bool, False = the asset may not be bought at this bar
        can_sell: bool, False = the asset may not be sold at this bar
        universe: bool, False = may not be held (`outside`); a table of members: a row counts until the next, what it
            does not name is outside
        delisted_at: (N,) bar of the delisting, -1 = none
        delisting_return: (N,) what a holder earns on the last mark at the delisting, >= -1, NaN = 0
        lot: (N,) shares per lot, 0 = fractional
        group: (N,) labels, for example sectors; "", None and NaN = in none

    What is (N,) may also be {asset: value} or a Series with asset labels.

    timestamps: (T,) strictly increasing dates, datetimes, ISO texts, numbers YYYYMMDD or pandas Periods (their last
    day), naive or of one time zone.   time_zone: naive timestamps are its wall clock, aware ones are shown in it; None
    = naive, or their own. Dates, weeks, months and financing are those of this clock. A time that daylight saving skips
    or repeats is refused, but for midnight, which is the first instant of its day. The attribute `timestamps` holds UTC
    instants where there is a zone.
    next_timestamp: when the bar after the last one is due (for rebalance="month", ...).   assets: (N,) unique names,
    without the blanks around them.
    prices: "adjusted" or "raw".   bad_prices: "error", or "nan" to turn 0 and negative prices into NaN (counted in
    `notes`).

    Raises PanelError naming field, bar and asset. Warns (BacktestWarning) of a split that the prices do not show, of
    prices that contradict one another, and of labels, rates and units that are probably not meant, each with its number
    (`gpu_bt.data.sanity`).
    """

    delisted_at: NDArray[np.int64]
    """(N,) bar of the delisting, -1 = none"""
    delisting_return: Floats
    """(N,) what a holder earns on the last mark at the delisting, >= -1, NaN = 0"""
    lot: Floats | None
    """(N,) shares per lot, 0 = fractional"""
    group: NDArray[Any] | None
    """(N,) labels, for example sectors; "", None and NaN = in none"""
    timestamps: NDArray[np.datetime64]
    time_zone: str | None
    assets: tuple[str, ...]
    prices: Prices
    notes: dict[str, Any]
    market: Market
    next_timestamp: np.datetime64 | None

    def __init__(
        self,
        close: Values,
        *,
        timestamps: Array | None = None,
        assets: Iterable[Any] | None = None,
        open: Values | None = None,
        high: Values | None = None,
        low: Values | None = None,
        vwap: Values | None = None,
        volume: Values | None = None,
        half_spread: Values | None = None,
        volatility: Values | None = None,
        dividend: Values | None = None,
        split: Values | None = None,
        borrow_rate: Values | None = None,
        can_buy: Values | None = None,
        can_sell: Values | None = None,
        universe: Values | None = None,
        delisted_at: Row | None = None,
        delisting_return: Row | None = None,
        lot: Row | None = None,
        group: Groups | None = None,
        prices: Prices = "adjusted",
        next_timestamp: Time | None = None,
        bad_prices: BadPrices = "error",
        time_zone: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in FIELDS}  # the arguments that are fields
        prices = one_of("prices", prices, get_args(Prices), PanelError)
        bad_prices = one_of("bad_prices", bad_prices, get_args(BadPrices), PanelError)
        _check_given(prices, given, notes)
        self.notes = dict(notes or {})
        if any(map(is_labelled, given.values())):
            from gpu_bt.data.placing import with_labels  # tables are loaded where there are some

            given, labels, told = with_labels(given, timestamps, assets, time_zone)
            timestamps, time_zone, assets = (labels[name] for name in ("timestamps", "time_zone", "assets"))
            self.notes |= told
        self.prices = prices
        self.timestamps, self.time_zone = timestamps_to_numpy(timestamps, time_zone, PanelError)
        self.assets = asset_names(assets)
        fields: dict[str, Any] = {}
        for name, value in given.items():
            if (value := FIELDS[name].given(value, len(self.assets))) is not None:
                fields[name] = self._checked(name, value, bad_prices)
        fields |= together({name: array for name, array in fields.items() if array.ndim == 2})
        self._check_timestamps(next_timestamp)
        self._check_intrabar(fields)
        warn_of_labels(self.assets, self.microseconds, self.time_zone)
        warn_of_prices(fields, self.label, self.assets)
        warn_of_units(fields)
        self.group = fields.pop("group", None)
        clock = frozen(wall_clock(self.microseconds, self.time_zone))
        self.market = Market(clock=clock, **fields, tie=_tie(self.assets))
        if "split" in fields:
            warn_of_splits(self, fields["close"], fields["split"])

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.timestamps), len(self.assets)

    @property
    def microseconds(self) -> np.ndarray:
        """(T,) int64, microseconds since 1970: UTC where the panel has a time zone, else of the naive timestamps."""
        return self.timestamps.view(np.int64)

    @property
    def fields(self) -> tuple[str, ...]:
        """The (T, N) fields that it has."""
        return tuple(name for name in (*PRICES, *RATES, *MASKS) if getattr(self.market, name) is not None)

    def on_host(self) -> Panel:
        """The panel with all arrays in host memory, fetched once; itself where none lies on a GPU."""
        market = self.market.on_host()
        if market is self.market:
            return self
        found = copy.copy(self)
        found.market = market
        return found

    @cached_property
    def index(self) -> dict[str, int]:
        """Asset name -> column."""
        return {name: i for i, name in enumerate(self.assets)}

    if not TYPE_CHECKING:  # where a name that is not listed stays unknown

        def __getattr__(self, name: str) -> Any:
            if name in FIELDS:
                return getattr(self.market, name)
            raise AttributeError(f"Panel has no attribute {name!r}")

    def __getitem__(self, key: Time | slice | tuple[Any, Any]) -> Panel:
        """The bars and assets that labels name: `panel["2019":"2021"]`, `panel["2019-03", "A"]`, `panel[:, names]`; see
        `gpu_bt.data.slices.cut`."""
        return cut(self, key)

    def __repr__(self) -> str:
        t, n = self.shape
        span = f"{self.label(0)} to {self.label(t - 1)}"
        return f"Panel({t} bars x {n} assets, {span}, {', '.join(self.fields)}, {self.prices} prices)"

    _repr_html_ = panel_card

    def label(self, bar: int) -> str:
        """The timestamp of a bar as a person writes it, in the panel's zone; the date alone where it is midnight."""
        instant = self.timestamps[[whole("bar", bar, -len(self.timestamps), len(self.timestamps) - 1, PanelError)]]
        return time_label(local_microseconds(instant.view(np.int64), self.time_zone).view("datetime64[us]")[0])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.timestamps, self.group):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False  # which pickling forgets

    def _checked(self, name: str, value: Any, bad_prices: str) -> Any:
        """The array of a field with every check of it made, NaN replaced by what it means, immutable."""
        field = FIELDS[name]
        if name == "group" and isinstance(value, (list, tuple)):
            value = np.array([*value, None], object)[:-1]  # NaN is no text "nan"
        array: Any = (as_host if name in ASSET_FIELDS else as_array)(name, value, PanelError)
        self._check_shape(name, array)
        array = field.typed(name, array)
        if name in PRICES and bad_prices == "nan":  # 0 and below is how vendors say that there is none
            array, bad = replaced(array, -np.finfo(array.dtype).max, 0.0, np.nan)
            self.notes |= {"bad_prices": self.notes.get("bad_prices", 0) + bad} if bad else {}
        at = field.outside(array)
        if at is not None:
            rule = field.rule
            if name in PRICES and -np.inf < array[at] <= 0:
                rule = "a price must be > 0, or NaN where the asset does not trade (bad_prices='nan' makes it so)"
            self._fail(name, at, array, rule)
        return frozen(field.filled(array))

    def _check_shape(self, name: str, array: Any) -> None:
        t, n = self.shape
        if name in ASSET_FIELDS and array.shape != (n,):
            raise PanelError(f"{name} has shape {array.shape}: it must be (N,) = ({n},), one value per asset")
        if name not in ASSET_FIELDS and (array.shape != (t, n) or 0 in array.shape):
            raise PanelError(
                f"{name} has shape {array.shape}: it must be (T, N) = {(t, n)}, one row per timestamp and one column"
                " per asset, both at least one"
            )

    def _fail(self, name: str, at: tuple[int, int], array: Any, rule: str) -> NoReturn:
        t, i = at
        bar = "" if array.ndim == 1 else f"{self.label(t)}, "
        raise PanelError(f"{name}[{bar}{self.assets[i]!r}] is {array[at] if array.ndim == 2 else array[i]}: {rule}")

    def _check_timestamps(self, next_timestamp: Any) -> None:
        """Bars follow one another, and what is due after the last one lies after it."""
        steps = np.diff(self.timestamps.view(np.int64))
        if (steps <= 0).any():
            t = int(np.argmax(steps <= 0))
            a, b = self.label(t), self.label(t + 1)
            what = "twice (bars are compared in whole microseconds)" if steps[t] == 0 else f"followed by {b}"
            raise PanelError(f"timestamps[{t}] is {a}, {what}: timestamps must increase strictly; sort and deduplicate")
        self.next_timestamp = None
        if next_timestamp is None:
            return
        following, zone = timestamps_to_numpy([next_timestamp], self.time_zone, PanelError, "next_timestamp")
        if zone != self.time_zone:
            raise PanelError("next_timestamp has a time zone and the timestamps have none: pass both the same way")
        if following[0] <= self.timestamps[-1]:
            raise PanelError(f"next_timestamp is {following[0]}: it must lie after the last bar, {self.label(-1)}")
        self.next_timestamp = following[0]

    def _check_intrabar(self, fields: Mapping[str, Any]) -> None:
        """A bar at which an asset has neither close nor open is no bar of it: it has no other price either."""
        names = [name for name in ("high", "low", "vwap") if name in fields]
        found = first_alone(fields["close"], fields.get("open"), [fields[name] for name in names])
        for name, at in zip(names, found, strict=True):
            if at is not None:
                rule = f"a bar without close and open has no {name}; set it to NaN or give the bar a close"
                self._fail(name, at, fields[name], rule)


def warn_of_splits(panel: Panel, close: Any, split: Any, first: int = 0) -> None:
    """Warn (BacktestWarning) of splits that the prices do not show: those of all rows but the first, judged by the row
    before. close, split: rows from bar `first` of the panel on, -1 where its first bar follows another panel's last."""
    t, i = np.divmod(others(split, 1.0), split.shape[1])
    t, i = t[t > 0] - 1, i[t > 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.log(close[t + 1, i].astype(np.float64)) - np.log(close[t, i].astype(np.float64))
        size = np.log(split[t + 1, i].astype(np.float64))
    # Within 20 % of 1 an ordinary day's move hides a split, so only larger ratios are judged.
    hidden = (np.abs(size) > 0.2) & (np.abs(move) < np.abs(move + size))
    if hidden.any():
        k = int(np.argmax(hidden))
        bar, asset = int(t[k]) + 1, int(i[k])
        warn(
            f"split[{panel.label(first + bar)}, {panel.assets[asset]!r}] is {split[bar, asset]:g} but the close moved"
            f" from {close[bar - 1, asset]:g} to {close[bar, asset]:g} ({int(hidden.sum())} splits like it): if the"
            " prices are already adjusted, leave split out",
            stacklevel=3,
        )


def _check_given(prices: str, given: Mapping[str, Any], notes: Any) -> None:
    if not isinstance(notes, (Mapping, type(None))):
        must_be("notes", notes, "a mapping, name -> what a run tells, or None", PanelError)
    if given["close"] is None or isinstance(given["close"], Mapping):
        what = "missing" if given["close"] is None else "a mapping, which read_panel takes, or Panel(**mapping)"
        raise PanelError(f"close is {what}: a panel needs (T, N) closing prices; pass close=")
    for name in ("dividend", "split"):
        if given[name] is not None and prices != "raw":
            raise PanelError(f"{name} needs unadjusted prices: pass prices='raw', or leave {name} out")


def asset_names(assets: Iterable[Any] | None) -> tuple[str, ...]:
    """The names as texts, checked."""
    listed = several(assets) and not isinstance(assets, (set, frozenset)) and getattr(assets, "ndim", 1) == 1
    if not isinstance(assets, Iterable) or not listed:
        must_be("assets", assets, "a sequence of N unique names", PanelError)
    ids = getattr(assets, "tolist", lambda: list(assets))()
    for i, name in enumerate(ids):
        known = isinstance(name, (str, numbers.Real)) and not isinstance(name, bool) and name == name
        if not known or not str(name).isprintable() or not str(name).strip():
            raise PanelError(
                f"assets[{i}] is {shown(name)}: a name must be printable text or a number; rename or drop it"
            )
    names = tuple(str(name).strip() for name in ids)
    alike = [normalize("NFC", name) for name in names]  # an accent is a character of its own, or part of its letter
    if len(set(alike)) != len(names):
        twice = next(name for name, count in Counter(alike).items() if count > 1)
        raise PanelError(f"assets has {twice!r} twice: names must be unique; merge or rename the columns")
    return names


def _tie(assets: Sequence[str]) -> np.ndarray:
    """The buy-back's tie of each asset: last byte of the 8-byte BLAKE2b of its id, modulo 64 (semantics.md, [S4])."""
    tie = [hashlib.blake2b(name.encode(), digest_size=8).digest()[-1] % 64 for name in assets]
    found: np.ndarray = frozen(np.array(tie, np.uint8))
    return found
