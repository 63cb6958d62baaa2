# SPDX-License-Identifier: Apache-2.0
"""Config: every assumption of a run in one flat, frozen dataclass; its fields are the one table of what they may be."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from gpu_bt.arguments import must_be, one_of, real
from gpu_bt.errors import ConfigError, nearest, shown
from gpu_bt.show.cards import config_card

__all__ = [
    "CHOICES", "FIELDS", "OPTIONAL", "RANGES", "Config", "Execution", "Field", "Mark", "check_names", "fields_of",
    "tick_of",
]  # fmt: skip


class Mark(enum.Enum):
    """Who reads a field. One that nobody has marked is packed for the engines, and only their full code knows it."""

    #: The CUDA engine's shortened kernel obeys the field, too, whatever its value.
    LEAN = enum.auto()
    #: No engine reads it: it acts before a run or after it.
    OUTSIDE = enum.auto()


@dataclasses.dataclass(frozen=True)
class _In:
    """The closed range of a number (semantics.md, Numbers), and what it counts."""

    low: float
    high: float
    unit: str


# Short names for the declarations below: marks, the largest sums and counts, and one type for each kind of number.
_LEAN, _OUTSIDE, _BIG, _MOST = Mark.LEAN, Mark.OUTSIDE, 1e15, 2**31 - 1
Execution = Literal["next_open", "next_close", "next_vwap", "same_close"]
Rounding = Literal["toward_zero", "nearest", "position"]
Period = Literal["bar", "day", "week", "month", "quarter", "year"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Money = Annotated[float, _In(0.0, _BIG, "money")]
Tick = Annotated[float | None, _In(2.0**-80, 2.0**60, "money")]
Fraction = Annotated[float, _In(0.0, 1.0, "fraction")]
Signed = Annotated[float, _In(-1.0, 1.0, "fraction")]
Cap = Annotated[float | None, _In(0.0, 1.0, "fraction")]
Multiple = Annotated[float | None, _In(0.0, 1e3, "of equity")]
Sum = Annotated[float | None, _In(0.0, 1e6, "of equity")]
Rate = Annotated[float, _In(-1.0, 1.0, "a year")]
Fee = Annotated[float, _In(0.0, 1.0, "a year")]
Bars = Annotated[int, _In(0, _MOST, "bars")]
Dates = Annotated[int, _In(0, _MOST, "dates")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The assumptions of a run. Rates, slippage, bands and weights are fractions: 5e-4 is 5 basis points.

    Attributes:
        initial_cash (money): at the start; in [0.01, 1e+15], default 1000000.0
        execution: when an order decided at close t fills; 'next_open', 'next_close', 'next_vwap', 'same_close',
            default 'next_open'
        lot (shares): that trade together; 0 = fractional shares; in [0, 1e+09], default 1.0
        rounding: of orders, or of the position they lead to, to whole lots; 'toward_zero', 'nearest', 'position',
            default 'toward_zero'
        account: cash is long only; 'cash', 'margin', default 'cash'
        max_leverage (of equity): gross that an increase may reach, on margin; None = no test; in [0, 1000], default
            2.0
        maintenance_margin (fraction): equity / gross below which margin is called; None = never; in [0, 1], default
            0.25
        commission_rate (fraction): of the executed value; in [0, 1], default 0.0
        sell_tax (fraction): of the executed value, sells only; in [0, 1], default 0.0
        commission_per_share (money): per share; in [0, 1e+15], default 0.0
        fixed_commission (money): per fill, beside the rate and what a share costs; in [0, 1e+15], default 0.0
        min_commission (money): per fill; in [0, 1e+15], default 0.0
        max_commission_rate (fraction): of the fill's notional, caps the commission; None = off; in [0, 1], default
            None
        slippage (fraction): of the price, adverse; in [0, 1], default 0.0
        impact (fraction): adverse, times [volatility *] sqrt(shares/volume); in [0, 1e+06], default 0.0
        participation (fraction): of the bar's volume that a fill may take; None = off; in [0, 1], default None
        unfilled: what did not fill keeps working, or not; 'keep', 'cancel', default 'keep'
        cash_rate (a year): interest (actual/360) on cash >= 0; in [-1, 1], default 0.0
        debit_rate (a year): interest (actual/360) on cash < 0; in [-1, 1], default 0.0
        borrow_rate (a year): (actual/365) on the value of shorts; a panel's replaces it; in [0, 1], default 0.0
        cash_buffer (fraction): of equity that targets leave uninvested; in [-1, 1], default 0.0025
        rebalance: which bars decide: all, or one of each of these; 'bar', 'day', 'week', 'month', 'quarter', 'year',
            default 'bar'
        rebalance_on: bar of each day, week, ... decides; 'last', 'first', default 'last'
        week_starts: the day that begins a week of rebalance; 'monday', 'tuesday', 'wednesday', 'thursday', 'friday',
            'saturday', 'sunday', default 'monday'
        rebalance_every (bars): of these from a decision to the next; in [1, 2.14748e+09], default 1
        rebalance_offset (bars): of these before the first decision; in [0, 2.14748e+09], default 0
        sizing: the price of a target: this close, or the last mark; 'close', 'last', default 'close'
        outside: the panel's universe: sold, or not enlarged; 'close', 'hold', default 'close'
        signal_lag (bars): between a weights row and its use; in [0, 2.14748e+09], default 0
        band (fraction): of equity: no trade where |target - weight| <= band; in [0, 1], default 0.0
        min_trade_value (money): below which no order is made; in [0, 1e+15], default 0.0
        max_weight (of equity): limit on the target of a name; None = off; in [0, 1000], default None
        max_gross (of equity): limit on the sum of |targets|; None = off; in [0, 1e+06], default None
        max_turnover (of equity): limit on one-way turnover, per decision; None = off; in [0, 1e+06], default None
        max_drawdown (fraction): fall from the peak at which all is sold for good; None = off; in [0, 1], default None
        delist_after (dates): without a price that settle a holding; 0 = never; in [0, 2.14748e+09], default 20
        money_tick (money): the ledger's grid, a power of two; None = by cash and holdings; in [8.27181e-25,
            1.15292e+18], default None
        bars_per_year (bars): None = inferred; in [0.001, 1e+09], default None

    Raises ConfigError for a value outside its range (`gpu_bt.config.FIELDS`), an unknown choice or name.
    """

    initial_cash: Annotated[float, _In(1e-2, _BIG, "money"), "at the start", _LEAN] = 1e6
    """money: at the start; in [0.01, 1e+15], default 1000000.0"""
    execution: Annotated[Execution, "when an order decided at close t fills", _LEAN] = "next_open"
    """when an order decided at close t fills; 'next_open', 'next_close', 'next_vwap', 'same_close', default
    'next_open'"""
    lot: Annotated[float, _In(0.0, 1e9, "shares"), "that trade together; 0 = fractional shares", _LEAN] = 1.0
    """shares: that trade together; 0 = fractional shares; in [0, 1e+09], default 1.0"""
    rounding: Annotated[Rounding, "of orders, or of the position they lead to, to whole lots", _LEAN] = "toward_zero"
    """of orders, or of the position they lead to, to whole lots; 'toward_zero', 'nearest', 'position', default
    'toward_zero'"""
    account: Annotated[Literal["cash", "margin"], "cash is long only"] = "cash"
    """cash is long only; 'cash', 'margin', default 'cash'"""
    max_leverage: Annotated[Multiple, "gross that an increase may reach, on margin; None = no test", _LEAN] = 2.0
    """of equity: gross that an increase may reach, on margin; None = no test; in [0, 1000], default 2.0"""
    maintenance_margin: Annotated[Cap, "equity / gross below which margin is called; None = never", _LEAN] = 0.25
    """fraction: equity / gross below which margin is called; None = never; in [0, 1], default 0.25"""
    commission_rate: Annotated[Fraction, "of the executed value", _LEAN] = 0.0
    """fraction: of the executed value; in [0, 1], default 0.0"""
    sell_tax: Annotated[Fraction, "of the executed value, sells only", _LEAN] = 0.0
    """fraction: of the executed value, sells only; in [0, 1], default 0.0"""
    commission_per_share: Annotated[Money, "per share", _LEAN] = 0.0
    """money: per share; in [0, 1e+15], default 0.0"""
    fixed_commission: Annotated[Money, "per fill, beside the rate and what a share costs", _LEAN] = 0.0
    """money: per fill, beside the rate and what a share costs; in [0, 1e+15], default 0.0"""
    min_commission: Annotated[Money, "per fill", _LEAN] = 0.0
    """money: per fill; in [0, 1e+15], default 0.0"""
    max_commission_rate: Annotated[Cap, "of the fill's notional, caps the commission; None = off", _LEAN] = None
    """fraction: of the fill's notional, caps the commission; None = off; in [0, 1], default None"""
    slippage: Annotated[Fraction, "of the price, adverse", _LEAN] = 0.0
    """fraction: of the price, adverse; in [0, 1], default 0.0"""
    # Almgren et al. 2005
    impact: Annotated[float, _In(0.0, 1e6, "fraction"), "adverse, times [volatility *] sqrt(shares/volume)"] = 0.0
    """fraction: adverse, times [volatility *] sqrt(shares/volume); in [0, 1e+06], default 0.0"""
    participation: Annotated[Cap, "of the bar's volume that a fill may take; None = off"] = None
    """fraction: of the bar's volume that a fill may take; None = off; in [0, 1], default None"""
    unfilled: Annotated[Literal["keep", "cancel"], "what did not fill keeps working, or not", _LEAN] = "keep"
    """what did not fill keeps working, or not; 'keep', 'cancel', default 'keep'"""
    cash_rate: Annotated[Rate, "interest (actual/360) on cash >= 0", _LEAN] = 0.0
    """a year: interest (actual/360) on cash >= 0; in [-1, 1], default 0.0"""
    debit_rate: Annotated[Rate, "interest (actual/360) on cash < 0", _LEAN] = 0.0
    """a year: interest (actual/360) on cash < 0; in [-1, 1], default 0.0"""
    borrow_rate: Annotated[Fee, "(actual/365) on the value of shorts; a panel's replaces it", _LEAN] = 0.0
    """a year: (actual/365) on the value of shorts; a panel's replaces it; in [0, 1], default 0.0"""
    cash_buffer: Annotated[Signed, "of equity that targets leave uninvested", _LEAN] = 0.0025
    """fraction: of equity that targets leave uninvested; in [-1, 1], default 0.0025"""
    rebalance: Annotated[Period, "which bars decide: all, or one of each of these", _OUTSIDE] = "bar"
    """which bars decide: all, or one of each of these; 'bar', 'day', 'week', 'month', 'quarter', 'year', default
    'bar'"""
    rebalance_on: Annotated[Literal["last", "first"], "bar of each day, week, ... decides", _OUTSIDE] = "last"
    """bar of each day, week, ... decides; 'last', 'first', default 'last'"""
    week_starts: Annotated[Weekday, "the day that begins a week of rebalance", _OUTSIDE] = "monday"
    """the day that begins a week of rebalance; 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday',
    'sunday', default 'monday'"""
    rebalance_every: Annotated[int, _In(1, _MOST, "bars"), "of these from a decision to the next", _OUTSIDE] = 1
    """bars: of these from a decision to the next; in [1, 2.14748e+09], default 1"""
    rebalance_offset: Annotated[Bars, "of these before the first decision", _OUTSIDE] = 0
    """bars: of these before the first decision; in [0, 2.14748e+09], default 0"""
    sizing: Annotated[Literal["close", "last"], "the price of a target: this close, or the last mark", _LEAN] = "close"
    """the price of a target: this close, or the last mark; 'close', 'last', default 'close'"""
    outside: Annotated[Literal["close", "hold"], "the panel's universe: sold, or not enlarged", _LEAN] = "close"
    """the panel's universe: sold, or not enlarged; 'close', 'hold', default 'close'"""
    signal_lag: Annotated[Bars, "between a weights row and its use", _LEAN] = 0
    """bars: between a weights row and its use; in [0, 2.14748e+09], default 0"""
    band: Annotated[Fraction, "of equity: no trade where |target - weight| <= band"] = 0.0
    """fraction: of equity: no trade where |target - weight| <= band; in [0, 1], default 0.0"""
    min_trade_value: Annotated[Money, "below which no order is made"] = 0.0
    """money: below which no order is made; in [0, 1e+15], default 0.0"""
    max_weight: Annotated[Multiple, "limit on the target of a name; None = off"] = None
    """of equity: limit on the target of a name; None = off; in [0, 1000], default None"""
    max_gross: Annotated[Sum, "limit on the sum of |targets|; None = off"] = None
    """of equity: limit on the sum of |targets|; None = off; in [0, 1e+06], default None"""
    max_turnover: Annotated[Sum, "limit on one-way turnover, per decision; None = off"] = None
    """of equity: limit on one-way turnover, per decision; None = off; in [0, 1e+06], default None"""
    max_drawdown: Annotated[Cap, "fall from the peak at which all is sold for good; None = off", _LEAN] = None
    """fraction: fall from the peak at which all is sold for good; None = off; in [0, 1], default None"""
    delist_after: Annotated[Dates, "without a price that settle a holding; 0 = never", _LEAN] = 20
    """dates: without a price that settle a holding; 0 = never; in [0, 2.14748e+09], default 20"""
    money_tick: Annotated[Tick, "the ledger's grid, a power of two; None = by cash and holdings", _OUTSIDE] = None
    """money: the ledger's grid, a power of two; None = by cash and holdings; in [8.27181e-25, 1.15292e+18], default
    None"""
    bars_per_year: Annotated[float | None, _In(1e-3, 1e9, "bars"), "None = inferred", _OUTSIDE] = None
    """bars: None = inferred; in [0.001, 1e+09], default None"""

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            object.__setattr__(self, name, field.check(getattr(self, name)))
        if 0.0 < self.lot < 1e-8:
            raise ConfigError(f"lot is {self.lot!r}: it must be 0 (fractional shares) or in [1e-08, 1e+09]")
        tick = self.money_tick
        if tick is not None and math.frexp(tick)[0] != 0.5:
            raise ConfigError(f"money_tick is {tick!r}: it must be a power of two, such as 2**-16, or None")

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed. Raises ConfigError for a name that is no field, with the nearest one."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """A Config from a mapping such as a parsed TOML file; fields left out keep their defaults.

        The text "none" is None where a field may be None: TOML has no null.
        """
        if not isinstance(values, Mapping):
            must_be("values", values, "a mapping from the names of fields, such as a parsed TOML file")
        check_names(values)
        off = {
            name: None for name in OPTIONAL & values.keys() if isinstance(values[name], str) and values[name] == "none"
        }
        return cls(**{**values, **off})

    def to_dict(self) -> dict[str, Any]:
        """Field -> value in the order of declaration; `Config.from_dict(c.to_dict()) == c`."""
        return {name: getattr(self, name) for name in FIELDS}

    def _repr_html_(self) -> str:
        return config_card(self, FIELDS)

    @property
    def tick(self) -> float:
        """The ledger's grid: `money_tick`, or 2**(e - 36) with 2**e the largest power of two <= initial_cash (with
        opening holdings: <= cash and holdings)."""
        return tick_of(self.initial_cash) if self.money_tick is None else self.money_tick


def tick_of(capital: float) -> float:
    """2**(e - 36) with 2**e the largest power of two <= capital."""
    return math.ldexp(1.0, math.frexp(capital)[1] - 37)


@dataclasses.dataclass(frozen=True)
class Field:
    """What one field of Config says of itself.

    default, meaning: as declared.   low, high, unit: the closed range of a number, and what it counts.   choices: the
    values of a field that names a rule; a position is the field's code in PARAMS.   optional: it may be None, a limit
    that is off or a value that is inferred.   whole: whole numbers alone.   marks: who reads it.
    """

    name: str
    default: Any
    meaning: str
    low: float
    high: float
    unit: str
    choices: tuple[str, ...]
    optional: bool
    whole: bool
    marks: frozenset[Mark]

    def __str__(self) -> str:
        """A line of Config's docstring, where `tests/editor/docs.py` writes it."""
        unit = f" ({self.unit})" if self.unit else ""
        rule = ", ".join(map(repr, self.choices)) or f"in [{self.low:g}, {self.high:g}]"
        return f"{self.name}{unit}: {self.meaning}; {rule}, default {self.default!r}"

    def check(self, value: Any) -> Any:
        """The value as Config holds it, a Python number, text or None; a ConfigError that names the field and its rule
        where it is impossible."""
        if value is None and self.optional:
            return None
        if self.choices:
            return one_of(self.name, value, self.choices)
        number = real(value)
        if not self.low <= number <= self.high or (self.whole and number != int(number)):
            kind, none = "a whole number" if self.whole else "a number", ", or None" if self.optional else ""
            must_be(self.name, value, f"{kind} in [{self.low:g}, {self.high:g}]{none}")
        return int(number) if self.whole else number + 0.0


def fields_of(kind: type) -> dict[str, Field]:
    """The table of a dataclass declared as Config is: name -> Field, in the order of declaration."""
    hints, found = get_type_hints(kind, include_extras=True), {}
    for field in dataclasses.fields(kind):
        declared, *said = get_args(hints[field.name])
        types = get_args(declared) if get_origin(declared) is not Literal else ()
        limits = next((x for x in said if isinstance(x, _In)), _In(-math.inf, math.inf, ""))
        found[field.name] = Field(
            name=field.name,
            default=field.default,
            meaning=next(x for x in said if isinstance(x, str)),
            low=limits.low,
            high=limits.high,
            unit=limits.unit,
            choices=get_args(declared) if get_origin(declared) is Literal else (),
            optional=type(None) in types,
            whole=declared is int,
            marks=frozenset(x for x in said if isinstance(x, Mark)),
        )
    return found


#: Name -> what Config's field of that name may be: the one table, from which everything about fields follows.
FIELDS = fields_of(Config)
#: The values of the fields that name a rule.
CHOICES: dict[str, tuple[str, ...]] = {name: field.choices for name, field in FIELDS.items() if field.choices}
#: Closed ranges of the numeric fields.
RANGES: dict[str, tuple[float, float]] = {
    name: (field.low, field.high) for name, field in FIELDS.items() if not field.choices
}
#: Fields that may be None.
OPTIONAL = frozenset(name for name, field in FIELDS.items() if field.optional)


def _spelt(cls: type) -> None:
    """Give a dataclass a constructor that refuses unknown names with the nearest one; its signature stays. No
    decorator, since editors would not see through it."""
    init: Callable[..., None] = vars(cls)["__init__"]
    init.__annotations__ = get_type_hints(cls)

    @wraps(init)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        check_names(values)  # before dataclass's own, whose TypeError would not suggest a name
        init(self, *args, **values)

    type.__setattr__(cls, "__init__", checked)


_spelt(Config)


def check_names(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first key that is not a field of Config, naming the field nearest to it."""
    for key in values:
        if key not in FIELDS:
            hint = nearest(key, FIELDS, "see help(Config) for the fields")
            raise ConfigError(f"{shown(key)} is not a field of Config: {hint}")
