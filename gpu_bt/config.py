# SPDX-License-Identifier: Apache-2.0
"""Config: every assumption of a run in one flat, frozen dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

from gpu_bt.errors import ConfigError

__all__ = ["CHOICES", "OPTIONAL", "RANGES", "Config"]

#: The values of the fields that name a rule; a position in the tuple is the field's code in PARAMS.
CHOICES: dict[str, tuple[str, ...]] = {
    "execution": ("next_open", "next_close", "next_vwap", "same_close"),
    "rounding": ("toward_zero", "nearest"),
    "account": ("cash", "margin"),
    "unfilled": ("keep", "cancel"),
    "rebalance": ("bar", "day", "week", "month", "quarter", "year"),
}

_BIG = 1e15
#: Closed ranges of the numeric fields (semantics.md, Numbers). None where the field may also be None.
RANGES: dict[str, tuple[float, float]] = {
    "initial_cash": (1e-2, 1e15),
    "lot": (0.0, 1e9),
    "max_leverage": (0.0, 1e3),
    "maintenance_margin": (0.0, 1.0),
    "commission_rate": (0.0, 1.0),
    "sell_tax": (0.0, 1.0),
    "commission_per_share": (0.0, _BIG),
    "min_commission": (0.0, _BIG),
    "max_commission_rate": (0.0, 1.0),
    "slippage": (0.0, 1.0),
    "impact": (0.0, 1e6),
    "participation": (0.0, 1.0),
    "cash_rate": (-1.0, 1.0),
    "debit_rate": (-1.0, 1.0),
    "borrow_rate": (0.0, 1.0),
    "cash_buffer": (-1.0, 1.0),
    "rebalance_every": (1, 2**31 - 1),
    "rebalance_offset": (0, 2**31 - 1),
    "signal_lag": (0, 2**31 - 1),
    "band": (0.0, 1.0),
    "min_trade_value": (0.0, _BIG),
    "max_weight": (0.0, 1e3),
    "max_gross": (0.0, 1e6),
    "max_turnover": (0.0, 1e6),
    "max_drawdown": (0.0, 1.0),
    "delist_after": (0, 2**31 - 1),
    "money_tick": (2.0**-80, 2.0**60),
    "bars_per_year": (1e-3, 1e9),
}
#: Fields that may be None: a limit that is off, or a value that is inferred.
OPTIONAL = frozenset(
    "max_leverage maintenance_margin max_commission_rate participation max_weight max_gross max_turnover"
    " max_drawdown money_tick bars_per_year".split()
)
_WHOLE = frozenset("rebalance_every rebalance_offset signal_lag delist_after".split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The assumptions of a run. Rates, slippage, bands and weights are fractions: 5e-4 is 5 basis points.

    Account
        initial_cash: money at the start, 1e6.   account: "cash" (long only) or "margin".
        max_leverage: gross / equity that an increase may reach, margin accounts only, 2.0; None = no test.
        maintenance_margin: equity / gross below which positions are cut, margin accounts only, 0.25; None = never.
        cash_rate, debit_rate: interest per year (actual/360) on cash >= 0 and on cash < 0, 0.
        borrow_rate: fee per year (actual/365) on the value of shorts, 0; a panel's `borrow_rate` replaces it.
        money_tick: the ledger's grid, a power of two; None = 2**(e - 36), 2**e the power of two <= initial_cash.
    Orders
        execution: when an order decided at close t fills: "next_open", "next_close", "next_vwap", "same_close".
        lot: shares that trade together, 1; 0 = fractional shares.   rounding: "toward_zero" or "nearest" lot.
        cash_buffer: fraction of equity that targets leave uninvested, 0.0025.
        participation: largest fill as a fraction of the bar's volume; None = off.
        unfilled: "keep" what did not fill working, or "cancel" it.
        delist_after: bars in a row without close and open after which a holding is settled at its mark, 20; 0 = never.
    Costs
        commission_rate: fraction of the executed value, 0.   sell_tax: fraction of it, sells only, 0.
        commission_per_share: money per share, 0.   min_commission: money per fill, 0.
        max_commission_rate: cap on the commission as a fraction of the fill's notional; None = off.
        slippage: adverse move of the price as a fraction, 0.
        impact: square-root impact, adverse = impact*sqrt(shares/volume), 0 (Almgren et al. 2005).
    Decisions
        rebalance: "bar", or the last bar of a "day", "week", "month", "quarter", "year".
        rebalance_every, rebalance_offset: every n-th of those bars, from number `offset` on; 1 and 0.
        signal_lag: bars between a weights row and its use, 0.
    Limits on targets (None = off)
        max_weight: per name.   max_gross: sum of |weights|.   max_turnover: one-way, per decision.
        band: no trade where |target - weight| <= band, 0.   min_trade_value: money below which no order is made, 0.
        max_drawdown: fall from the peak at which everything is sold for good.
    Statistics
        bars_per_year: for annualising; None = inferred from the timestamps.

    Raises ConfigError for a value outside its range (`gpu_bt.config.RANGES`) or an unknown choice.
    """

    initial_cash: float = 1e6
    execution: str = "next_open"
    lot: float = 1.0
    rounding: str = "toward_zero"
    account: str = "cash"
    max_leverage: float | None = 2.0
    maintenance_margin: float | None = 0.25
    commission_rate: float = 0.0
    sell_tax: float = 0.0
    commission_per_share: float = 0.0
    min_commission: float = 0.0
    max_commission_rate: float | None = None
    slippage: float = 0.0
    impact: float = 0.0
    participation: float | None = None
    unfilled: str = "keep"
    cash_rate: float = 0.0
    debit_rate: float = 0.0
    borrow_rate: float = 0.0
    cash_buffer: float = 0.0025
    rebalance: str = "bar"
    rebalance_every: int = 1
    rebalance_offset: int = 0
    signal_lag: int = 0
    band: float = 0.0
    min_trade_value: float = 0.0
    max_weight: float | None = None
    max_gross: float | None = None
    max_turnover: float | None = None
    max_drawdown: float | None = None
    delist_after: int = 20
    money_tick: float | None = None
    bars_per_year: float | None = None

    def __new__(cls, **values: Any) -> Config:
        check_names(values)  # before dataclass's __init__, whose TypeError would not suggest a name
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, options in CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in options:
                raise ConfigError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, options))}")
        for name in RANGES:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        if 0.0 < self.lot < 1e-8:
            raise ConfigError(f"lot is {self.lot!r}: it must be 0 (fractional shares) or in [1e-08, 1e+09]")
        tick = self.money_tick
        if tick is not None and math.frexp(tick)[0] != 0.5:
            raise ConfigError(f"money_tick is {tick!r}: it must be a power of two, such as 2**-16, or None")

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed. Raises ConfigError for a name that is no field, with the nearest one."""
        check_names(changes)
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """A Config from a mapping such as a parsed TOML file; fields left out keep their defaults.

        The text "none" is None where a field may be None: TOML has no null.
        """
        check_names(values)
        off = {name: None for name in OPTIONAL & values.keys() if str(values[name]) == "none"}
        return cls(**{**values, **off})

    def to_dict(self) -> dict[str, Any]:
        """Field -> value in the order of declaration; `Config.from_dict(c.to_dict()) == c`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def tick(self) -> float:
        """The ledger's grid: `money_tick`, or 2**(e - 36) with 2**e the largest power of two <= initial_cash."""
        if self.money_tick is not None:
            return self.money_tick
        return math.ldexp(1.0, math.frexp(self.initial_cash)[1] - 37)


def check_names(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first key that is not a field of Config, naming the field nearest to it."""
    names = [f.name for f in dataclasses.fields(Config)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see help(Config) for the fields"
            raise ConfigError(f"{key!r} is not a field of Config: {hint}")


def _checked(name: str, value: Any) -> float | int | None:
    """The value as a Python number inside the range of its field, or a ConfigError that names the field."""
    if value is None and name in OPTIONAL:
        return None
    low, high = RANGES[name]
    none = ", or None" if name in OPTIONAL else ""
    kind = "a whole number" if name in _WHOLE else "a number"
    rule = f"it must be {kind} in [{low:g}, {high:g}]{none}"
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise ConfigError(f"{name} is {value!r}: {rule}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {value!r}: {rule}") from None
    if not low <= number <= high or (name in _WHOLE and number != int(number)):
        raise ConfigError(f"{name} is {value!r}: {rule}")
    return int(number) if name in _WHOLE else number + 0.0
