# SPDX-License-Identifier: Apache-2.0
"""Config: defaults, ranges, names, and the error that each wrong one gives."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest

from gpu_bt.config import CHOICES, OPTIONAL, RANGES, Config
from gpu_bt.errors import ConfigError, shown

WHOLE = ("rebalance_every", "rebalance_offset", "signal_lag", "delist_after")
FIELDS = [f.name for f in dataclasses.fields(Config)]


def rule(name):
    low, high = RANGES[name]
    kind = "a whole number" if name in WHOLE else "a number"
    return f"it must be {kind} in [{low:g}, {high:g}]" + (", or None" if name in OPTIONAL else "")


def refused(message, **values):
    with pytest.raises(ConfigError) as error:
        Config(**values)
    assert str(error.value) == message and "\n" not in message


def test_every_field_has_one_rule():
    assert sorted(FIELDS) == sorted([*CHOICES, *RANGES])
    assert set(RANGES) >= OPTIONAL


def test_defaults():
    assert Config().to_dict() == dict(
        initial_cash=1e6, execution="next_open", lot=1.0, rounding="toward_zero", account="cash", max_leverage=2.0,
        maintenance_margin=0.25, commission_rate=0.0, sell_tax=0.0, commission_per_share=0.0, fixed_commission=0.0,
        min_commission=0.0, max_commission_rate=None, slippage=0.0, impact=0.0, participation=None, unfilled="keep",
        cash_rate=0.0, debit_rate=0.0, borrow_rate=0.0, cash_buffer=0.0025, rebalance="bar", rebalance_on="last",
        week_starts="monday", rebalance_every=1, rebalance_offset=0, sizing="close", outside="close", signal_lag=0,
        band=0.0, min_trade_value=0.0, max_weight=None, max_gross=None, max_turnover=None, max_drawdown=None,
        delist_after=20, money_tick=None, bars_per_year=None,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(RANGES))
def test_the_bounds_of_a_range_belong_to_it(name):
    for bound in RANGES[name]:
        if name == "money_tick":
            bound = 2.0 ** round(math.log2(bound))
        assert getattr(Config(**{name: bound}), name) == bound


@pytest.mark.parametrize("name", sorted(RANGES))
def test_outside_its_range_a_value_is_refused(name):
    low, high = RANGES[name]
    for value in (low - 1, low - 1e-3, high * 2 + 1, math.inf, -math.inf, math.nan):
        if low <= value <= high:
            continue
        refused(f"{name} is {value!r}: {rule(name)}", **{name: value})


@pytest.mark.parametrize("name", sorted(RANGES))
@pytest.mark.parametrize("value", ["1", True, [1.0], (), object, 1j], ids=repr)
def test_what_is_no_number_is_refused(name, value):
    refused(f"{name} is {shown(value)}: {rule(name)}", **{name: value})


@pytest.mark.parametrize("name", sorted(RANGES))
def test_none_means_off_or_is_refused(name):
    if name in OPTIONAL:
        assert getattr(Config(**{name: None}), name) is None
    else:
        refused(f"{name} is None: {rule(name)}", **{name: None})


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers(name):
    refused(f"{name} is 1.5: {rule(name)}", **{name: 1.5})
    for value in (3, 3.0, np.int64(3), np.float32(3)):
        got = getattr(Config(**{name: value}), name)
        assert got == 3 and type(got) is int


def test_numbers_become_floats_and_negative_zero_zero():
    for value in (1, np.float32(1), np.int8(1), np.array(1.0)):
        assert type(Config(slippage=value).slippage) is float and Config(slippage=value).slippage == 1.0
    assert math.copysign(1.0, Config(cash_rate=-0.0).cash_rate) == 1.0


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_choices(name):
    options = ", ".join(map(repr, CHOICES[name]))
    for value in CHOICES[name]:
        assert getattr(Config(**{name: value}), name) == value
    for value in ("other", "", None, 0, CHOICES[name][0].upper(), [CHOICES[name][0]]):
        refused(f"{name} is {value!r}: it must be one of {options}", **{name: value})


@pytest.mark.parametrize("lot", [1e-9, 5e-324, 9.99e-9])
def test_a_lot_is_zero_or_at_least_1e_8(lot):
    refused(f"lot is {lot!r}: it must be 0 (fractional shares) or in [1e-08, 1e+09]", lot=lot)
    assert Config(lot=1e-8).lot == 1e-8 and Config(lot=0).lot == 0.0


@pytest.mark.parametrize("tick", [0.01, 3.0, 0.75])
def test_the_tick_is_a_power_of_two(tick):
    refused(f"money_tick is {tick!r}: it must be a power of two, such as 2**-16, or None", money_tick=tick)


@pytest.mark.parametrize(
    ("cash", "tick"),
    [(1024.0, 2.0**-26), (1023.99, 2.0**-27), (1.0, 2.0**-36), (1e6, 2.0**-17), (0.01, 2.0**-43), (1e15, 2.0**13)],
)
def test_the_default_tick(cash, tick):
    # 2^(e - 36) with 2^e <= cash: 2^10, 2^9, 2^0, 2^19 = 524288, 2^-7 = 0.0078, 2^49 = 5.6e14.
    assert Config(initial_cash=cash).tick == tick
    assert Config(initial_cash=cash, money_tick=0.5).tick == 0.5


@pytest.mark.parametrize(
    ("name", "hint"),
    [("comission_rate", "did you mean 'commission_rate'?"), ("leverage", "did you mean 'max_leverage'?"),
     ("slipage", "did you mean 'slippage'?"), ("xyzzy", "see help(Config) for the fields")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest(name, hint):
    message = f"{name!r} is not a field of Config: {hint}"
    refused(message, **{name: 1})
    for call in (lambda: Config().replace(**{name: 1}), lambda: Config.from_dict({name: 1})):
        with pytest.raises(ConfigError) as error:
            call()
        assert str(error.value) == message


def test_replace_checks_and_leaves_the_original():
    config = Config(slippage=0.5)
    assert config.replace(band=0.25) == Config(slippage=0.5, band=0.25) and config.band == 0.0
    with pytest.raises(ConfigError, match="slippage is 2"):
        config.replace(slippage=2)


def test_frozen_hashable_and_equal_by_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().slippage = 1.0
    assert hash(Config(lot=2)) == hash(Config(lot=2.0)) and Config(lot=2) == Config(lot=2.0) != Config()
    with pytest.raises(TypeError):
        Config(1e6)


def test_round_trips():
    config = Config(execution="same_close", max_leverage=None, delist_after=3, money_tick=2.0**-20)
    assert Config.from_dict(config.to_dict()) == config == pickle.loads(pickle.dumps(config))
    assert list(config.to_dict()) == FIELDS
    assert Config.from_dict({}) == Config()


def test_each_field_is_documented():
    for name in FIELDS:
        assert name in Config.__doc__, name
