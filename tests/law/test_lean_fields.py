# SPDX-License-Identifier: Apache-2.0
"""The table of Config's fields: what is packed for engines, and that one which nobody has marked is never ignored."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import numpy as np
import pytest

from gpu_bt.config import CHOICES, FIELDS, OPTIONAL, RANGES, Config, Mark, _In, fields_of
from gpu_bt.law.layout import PARAMS, STRUCTURAL, beyond_lean, pack, packed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dearer(Config):
    """A Config with two costs, a limit and a rule that nobody has told the engines of."""

    stamp_duty: Annotated[float, _In(0.0, 1.0, "fraction"), "of purchases"] = 0.0
    max_names: Annotated[int, _In(0, 1e6, "assets"), "that are held at once; 0 = any number"] = 0
    max_cost: Annotated[float | None, _In(0.0, 1.0, "fraction"), "of equity that a bar may cost; None = off"] = None
    settlement: Annotated[Literal["now", "later"], "when money is there"] = "now"


FIELD = fields_of(Dearer)


def test_params_are_what_they_were():
    """Checkpoints and compiled libraries hold this order."""
    numbers = (
        "initial_cash tick lot max_leverage maintenance_margin commission_rate sell_tax commission_per_share"
        " fixed_commission min_commission max_commission_rate slippage impact participation cash_rate debit_rate"
        " borrow_rate cash_buffer band min_trade_value max_weight max_gross max_turnover max_drawdown"
    ).split()
    codes = "execution rounding account unfilled sizing outside delist_after signal_lag schedule weights".split()
    wanted = [(name, np.float64) for name in numbers] + [(name, np.int32) for name in codes]
    assert np.dtype(wanted, align=True) == PARAMS == packed(FIELDS)
    assert set(STRUCTURAL) <= set(PARAMS.names)


def test_everything_about_a_field_follows_from_its_declaration():
    field = FIELD["max_cost"]
    assert (field.default, field.low, field.high, field.unit) == (None, 0.0, 1.0, "fraction")
    assert field.optional and not field.whole and not field.choices and not field.marks
    assert str(field) == "max_cost (fraction): of equity that a bar may cost; None = off; in [0, 1], default None"
    assert FIELD["max_names"].whole and FIELD["max_names"].check(3.0) == 3
    assert FIELD["settlement"].choices == ("now", "later")
    assert list(FIELD) == [f.name for f in dataclasses.fields(Dearer)] and list(FIELDS) == list(Config().to_dict())
    assert CHOICES.keys() | RANGES.keys() == FIELDS.keys() and OPTIONAL <= RANGES.keys()


def test_a_new_field_is_packed():
    new = packed(FIELD)
    assert set(new.names) - set(PARAMS.names) == {"stamp_duty", "max_names", "max_cost", "settlement"}
    assert new["stamp_duty"] == new["max_cost"] == np.float64 and new["settlement"] == new["max_names"] == np.int32
    assert new.names[-2:] == ("schedule", "weights")


@pytest.mark.parametrize(
    ("name", "value"),
    [("stamp_duty", 0.001), ("max_names", 5), ("max_cost", 0.0), ("max_cost", 0.1), ("settlement", 1)],
)
def test_what_nobody_has_marked_needs_the_full_kernel(name: str, value: float):
    params = np.zeros(3, packed(FIELD))
    for field in FIELD.values():
        if field.optional and field.name in params.dtype.names:
            params[field.name] = np.nan
    assert not beyond_lean(params, FIELD)
    params[name][1] = value
    assert beyond_lean(params, FIELD)


def test_what_the_lean_kernel_knows():
    """The list as it was; a field goes into it by its mark alone."""
    lean = {name for name, field in FIELDS.items() if Mark.LEAN in field.marks}
    full = {name for name, field in FIELDS.items() if not field.marks}
    assert full == {"account", "impact", "participation", "band", "min_trade_value", "max_weight", "max_gross",
                    "max_turnover"}  # fmt: skip
    assert lean | full == set(PARAMS.names) - {"tick", "schedule", "weights"}
    base = Config()
    others: dict[str, object] = {"account": "margin"}
    for name in sorted(full):
        assert beyond_lean(pack([base, base.replace(**{name: others.get(name, 0.25)})])), name
    lean_values = {name: FIELDS[name].choices[-1] if name in CHOICES else RANGES[name][1] for name in lean}
    lean_values["lot"] = 100
    assert not beyond_lean(pack([base, base.replace(**lean_values)]))
