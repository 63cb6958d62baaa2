# SPDX-License-Identifier: Apache-2.0
"""PARAMS and STATE, the packed structs of a scenario, and the codes that stand in them: written once, for every engine.

A limit that is off is NaN in PARAMS: every comparison with it is false, which is what "off" means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gpu_bt.config import CHOICES, Config

__all__ = [
    "COUNTS",
    "EARLIER",
    "MONEY",
    "NEVER",
    "ORDER_STATUS",
    "PARAMS",
    "SCENARIO_STATUS",
    "STATE",
    "STRUCTURAL",
    "pack",
    "render_c",
]

#: Statuses of a scenario, the mildest first; STATE.first_bar holds the bar at which each one was first set.
SCENARIO_STATUS = ("OK", "MARGIN_CALL", "DRAWDOWN_STOP", "BANKRUPT", "LEDGER_OVERFLOW")
#: Statuses of an order.
ORDER_STATUS = (
    "FILLED",
    "CASH_CLIPPED",
    "LEVERAGE_CLIPPED",
    "VOLUME_CLIPPED",
    "NO_PRICE",
    "RESTRICTED",
    "BELOW_MIN",
    "ROUNDED_OUT",
    "DELISTED",
    "CANCELLED",
)
#: The money columns of a bar's record, in the order in which engines store them.
MONEY = (
    "equity",
    "cash",
    "long_value",
    "short_value",
    "buys",
    "sells",
    "commission",
    "slippage",
    "financing",
    "dividends",
    "settlements",
)
#: The counts of a bar's record: fills, orders working after [S8], then orders cut, by reason.
COUNTS = ("fills", "working", *(name.lower() for name in ORDER_STATUS[1:]))
#: first_bar of a status that was never set.
NEVER = -1
#: first_bar of a status that was set before the first bar of a run that goes on from a saved one.
EARLIER = -2

#: One scenario's parameters: Config's numbers as float64, its whole numbers and choices as int32.
PARAMS = np.dtype(
    [(name, np.float64) for name in (
        "initial_cash", "tick", "lot", "max_leverage", "maintenance_margin", "commission_rate", "sell_tax",
        "commission_per_share", "min_commission", "max_commission_rate", "slippage", "impact", "participation",
        "cash_rate", "debit_rate", "borrow_rate", "cash_buffer", "band", "min_trade_value", "max_weight", "max_gross",
        "max_turnover", "max_drawdown",
    )]
    + [(name, np.int32) for name in (
        "execution", "rounding", "account", "unfilled", "delist_after", "signal_lag",
        "schedule", "weights",  # rows of RunSpec.schedules and entries of RunSpec.weights
    )],
    align=True,
)  # fmt: skip

#: Fields that change which arrays a bar touches; an engine may run scenarios that share them in one batch.
STRUCTURAL = ("lot", "execution", "rounding", "account", "unfilled", "delist_after")

#: One scenario's ledger; holdings and working orders are separate (K, N) arrays.
STATE = np.dtype(
    [
        ("cash", np.float64),
        ("peak", np.float64),
        ("first_bar", np.int32, (len(SCENARIO_STATUS),)),
        ("ended", np.int32),  # 1 after BANKRUPT or LEDGER_OVERFLOW
    ],
    align=True,
)


def pack(configs: Iterable[Config], schedule: Any = 0, weights: Any = 0) -> np.ndarray:
    """PARAMS[K] of K configs; `schedule` and `weights` are indices, one for all or one per scenario."""
    configs = list(configs)
    out = np.zeros(len(configs), PARAMS)
    for name in PARAMS.names:
        if name in ("schedule", "weights"):
            continue
        values = [getattr(c, name) for c in configs]
        if name in CHOICES:
            values = [CHOICES[name].index(v) for v in values]
        out[name] = [np.nan if v is None else v for v in values]
    out["schedule"], out["weights"] = schedule, weights
    return out


def render_c() -> str:
    """The structs and codes as C, with a static_assert on the size and on every offset."""
    lines = ["/* Rendered by gpu_bt/step/layout.py. */", "#pragma once", "#include <stddef.h>", "#include <stdint.h>"]
    lines += ["#ifndef __cplusplus", "#include <assert.h>", "#endif"]
    for prefix, names in (
        ("STATUS_", SCENARIO_STATUS),
        ("ORDER_", ORDER_STATUS),
        ("MONEY_", MONEY),
        ("COUNT_", COUNTS),
    ):
        lines += [f"#define {prefix}{name.upper()} {code}" for code, name in enumerate(names)]
    for field, names in CHOICES.items():
        lines += [f"#define {field.upper()}_{name.upper()} {code}" for code, name in enumerate(names)]
    for struct, dtype in (("bt_params", PARAMS), ("bt_state", STATE)):
        lines += [f"typedef struct {struct} {{", *(_member(dtype, name) for name in dtype.names), f"}} {struct};"]
        lines.append(f'static_assert(sizeof({struct}) == {dtype.itemsize}, "{struct}");')
        for name in dtype.names:
            offset = dtype.fields[name][1]
            lines.append(f'static_assert(offsetof({struct}, {name}) == {offset}, "{struct}.{name}");')
    return "\n".join(lines) + "\n"


def _member(dtype: np.dtype, name: str) -> str:
    base, shape = dtype.fields[name][0].base, dtype.fields[name][0].shape
    ctype = {"f8": "double", "i4": "int32_t"}[base.str[1:]]
    return f"    {ctype} {name}{''.join(f'[{n}]' for n in shape)};"
