# SPDX-License-Identifier: Apache-2.0
"""The table of fields says what the law says, and the look at numbers finds the first that is outside."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import gpu_bt as bt
from gpu_bt.data.arrays import first_outside
from gpu_bt.data.fields import ASSET_FIELDS, FIELDS, MASKS, PRICES, RATES
from gpu_bt.engine.spec import Market


def test_every_field_is_an_argument_of_panel_and_stands_in_the_market():
    arguments = inspect.signature(bt.Panel).parameters
    assert set(FIELDS) == {*PRICES, *RATES, *MASKS, *ASSET_FIELDS} <= set(arguments)
    assert set(FIELDS) - {"group"} == set(Market.__dataclass_fields__) - {"clock", "tie", "before", "cache"}


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.rule])
def test_the_ends_of_a_range_are_inside_and_what_lies_beyond_is_not(name):
    field = FIELDS[name]
    for end, beyond in ((field.low, -math.inf), (field.high, math.inf)):
        assert field.outside(np.array([end])) is None
        if math.isfinite(end):
            assert field.outside(np.array([field.low, math.nextafter(end, beyond)])) == (0, 1)


def test_what_nan_means():
    meant = {name: field.nan for name, field in FIELDS.items() if not math.isnan(field.nan)}
    zero = dict.fromkeys(("volume", "half_spread", "volatility", "dividend", "borrow_rate", "delisting_return"), 0.0)
    assert meant == {**zero, "split": 1.0}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("at", [(0, 0), (15, 2), (16, 0), (49, 2)])
def test_the_first_number_outside(at, dtype):
    table = np.full((50, 3), np.nan, dtype)
    table[::3, 1] = 0.5
    assert first_outside(table, 0.0, 1.0) is None
    table[49, 2] = -1.0
    table[at] = 2.0
    assert first_outside(table, 0.0, 1.0) == at
    assert first_outside(table, -1.0, 2.0) is None
