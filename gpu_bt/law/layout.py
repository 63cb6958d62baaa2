# SPDX-License-Identifier: Apache-2.0
"""Every struct that Python shares with compiled code, and every code that stands in one: written once, rendered to C.

PARAMS, STATE and FILL are those of all engines; ROWS, RECORD and LAUNCH tell the compiled engines where their arrays
lie, BUFFERS what scratch a lane has. A limit that is off is NaN in PARAMS: every comparison with it is false, which is
what "off" means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpu_bt.config import CHOICES, FIELDS, Config, Field, Mark

__all__ = [
    "BOOK", "BUFFERS", "COUNTS", "EARLIER", "FILL", "FLAGS", "LAUNCH", "MONEY", "NEVER", "ORDER_STATUS", "PANEL_KINDS",
    "PARAMS", "PHASES", "RECORD", "ROWS", "SCENARIO_STATUS", "SCHEMES", "SIZES", "STATE", "STRUCTURAL", "beyond_lean",
    "members_of", "pack", "packed", "render_c",
]  # fmt: skip

#: Statuses of a scenario, the mildest first; STATE.first_bar holds the bar at which each one was first set.
SCENARIO_STATUS = ("OK", "MARGIN_CALL", "DRAWDOWN_STOP", "BANKRUPT", "LEDGER_OVERFLOW")
#: Statuses of an order.
ORDER_STATUS = (
    "FILLED", "CASH_CLIPPED", "LEVERAGE_CLIPPED", "VOLUME_CLIPPED", "NO_PRICE", "RESTRICTED", "BELOW_MIN",
    "ROUNDED_OUT", "DELISTED", "CANCELLED", "OUTSIDE", "LIMITED",
)  # fmt: skip
#: The money columns of a bar's record, in the order in which engines store them.
MONEY = (
    "equity", "cash", "long_value", "short_value", "buys", "sells", "commission", "slippage", "financing", "dividends",
    "settlements",
)  # fmt: skip
#: The counts of a bar's record: fills, orders working after [S8], then orders cut, by reason.
COUNTS = ("fills", "working", *(name.lower() for name in ORDER_STATUS[1:]))
#: Rows of a lane that are read from panels or made of such: it remembers whose bar each of them holds.
_FETCHED = (
    "close", "exec", "mark", "last", "carried", "inverse_price", "volume", "inverse_root", "spread", "dividend",
    "split", "borrow", "weight", "buyable", "sellable", "open", "high", "low", "inside",
    "volatility", "tie",
)  # fmt: skip
#: Sizes that Python and compiled code must agree on.
SIZES = {
    "BT_SLOT": 512,  # bytes kept for a scenario, and for a lane
    "BT_CLASSES": 512,  # of the buy-back [S4] 3.
    "BT_WARPS": 32,  # of a block, at most
    "BT_SUMS": 8,  # numbers that one bt_sum adds, at most
    "BT_FETCHED": len(_FETCHED),
}
#: Flags of a bar in ROWS.flags: it decides; every asset has a target there, and a price where that is not 0; some asset
#: has no execution price at it; something happens to holdings at it.
FLAGS = {"BT_DUE": 1, "BT_CLEAR": 2, "BT_GAP": 4, "BT_EVENT": 8}
#: first_bar of a status that was never set.
NEVER = -1
#: first_bar of a status that was set before the first bar of a run that goes on from a saved one.
EARLIER = -2

#: Fields that change which arrays a bar touches; an engine may run scenarios that share them in one batch.
STRUCTURAL = ("lot", "execution", "rounding", "account", "unfilled", "delist_after", "sizing", "outside")


def packed(fields: Mapping[str, Field]) -> np.dtype[np.void]:
    """PARAMS of a table of fields: those that engines read, in the order of declaration; numbers as float64, with the
    tick behind initial_cash; choices and whole numbers as int32, those of STRUCTURAL first, then the rows of
    RunSpec.schedules and the entries of RunSpec.weights."""
    read = [field for field in fields.values() if Mark.OUTSIDE not in field.marks]
    first, *numbers = [field.name for field in read if not field.choices and not field.whole]
    codes = [field.name for field in read if field.choices or field.whole]
    codes.sort(key=lambda name: name not in STRUCTURAL)
    columns = [(name, np.float64) for name in (first, "tick", *numbers)]
    return np.dtype([*columns, *((name, np.int32) for name in (*codes, "schedule", "weights"))], align=True)


#: One scenario's parameters.
PARAMS = packed(FIELDS)

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


#: One fill (or, in RawResult.cuts, the part of an order that did not fill). `shares` is signed.
FILL = np.dtype(
    [
        ("scenario", np.int32),
        ("bar", np.int32),
        ("asset", np.int32),
        ("status", np.int32),  # index into ORDER_STATUS
        ("shares", np.float64),
        ("price", np.float64),
        ("reference_price", np.float64),
        ("commission", np.float64),
        ("slippage", np.float64),
    ]
)

#: [B4] How the names of a side of a book are weighted.
SCHEMES = ("equal", "rank")
#: [B2] to [B4]: how a book is made of a ranking; `scheme` is an index into SCHEMES.
BOOK = np.dtype(
    [
        *((name, np.float64) for name in ("long_names", "short_names", "keep", "long_gross", "short_gross")),
        ("scheme", np.int64),
    ]
)

#: What a panel's cells are; the code in PANEL.kind.
PANEL_KINDS = ("float64", "float32", "bool")
_PANEL = np.dtype([("data", np.uint64), ("kind", np.int64)])


def _members(*groups: tuple[str, str]) -> tuple[np.dtype, dict[str, str]]:
    """(packed struct, member -> C type) of members that are 8 bytes wide each, panels 16."""
    types = {name: ctype for ctype, names in groups for name in names.split()}
    kinds = {
        name: _PANEL if c == "bt_panel" else np.int64 if c == "int64_t" else np.uint64 for name, c in types.items()
    }
    return np.dtype(list(kinds.items())), types


#: What the compiled engines read of one lane: scenarios that read the same rows of the same panels. `inverse` to `from`
#: are made on a device for plain bars (law/plan.h), null elsewhere: 1/P, a bar's flags, lists of rows that name few
#: assets.
ROWS, _ROWS_C = _members(
    ("int64_t", "T N K off_count lag all_whole none_whole even odd closes callback"),
    ("const int64_t *", "members event_start event_asset settle_start settle_asset off_bar off_asset"),
    ("const double *", "days year unit whole back opening"),
    ("const uint8_t *", "due exec_gap dividend_bar split_bar tie"),
    ("double *", "inverse"),
    ("uint8_t *", "flags"),
    ("int64_t *", "list_start"),
    ("int32_t *", "list from"),
    ("bt_panel", "close exec marks field weights volume half_spread dividend split borrow_rate can_buy can_sell"),
    ("bt_panel", "open high low universe volatility"),
    ("int64_t", "groups"),
    ("const uint16_t *", "narrow"),
    ("const int32_t *", "wide starts"),
    ("const bt_choice *", "books"),
)
#: What they write: the record of K scenarios; (columns, K, T), (COUNTS, K, T), (K, T, N), (K, N). `logged` counts, lane
#: by lane, what stands in `fills` and `cuts`, which have `log_room` entries a lane; `arena` has `lane_bytes` a lane.
#: `book` is what a strategy sees at an open bar, cash, equity, and whether it may decide; of a run of plain bars alone,
#: whether some lane has ended before.
RECORD, _RECORD_C = _members(
    ("int64_t", "T N K columns logging log_room lane_bytes stride"),
    ("const bt_params *", "params"),
    ("bt_state *", "state"),
    ("double *", "money positions holdings orders book"),
    ("int32_t *", "counts"),
    ("bt_fill *", "fills cuts"),
    ("int64_t *", "logged"),
    ("char *", "arena"),
)
#: One call: bars [t0, t1) of all lanes, or half of bar t0 of a callback run, with the decision of its strategy: (N,)
#: arrays or null, as gpu_bt.engine.spec.Decision has them. `last`: holdings and orders are read after this call; what
#: plan.h does. `near`: numbers of a scenario's holdings in a block's own memory.
PHASES = ("bars", "open", "close")
LAUNCH, _LAUNCH_C = _members(
    ("int64_t", "lanes t0 t1 phase last near"), ("const bt_rows *", "rows"), ("const bt_record *", "record"),
    ("const double *", "weights lots limit stop"),
)  # fmt: skip
#: A lane's rows and scratch, each `stride` numbers long (the smallest multiple of 8 above N); the doubles come first.
BUFFERS: dict[str, tuple[str, ...]] = {
    "double": (
        *_FETCHED, "unit", "whole", "fill", "left", "cutting", "status", "limit", "stop", "triggered", "path",
        "quote", "taker", "reach", "old", "held", "away", "target", "cut", "extra", "rank", "zero", "one", "full",
        "scratch",
    ),
    "int32_t": ("column", "fresh", "from", "position", "candidate"),
    "uint8_t": ("want", "has"),
}  # fmt: skip


def pack(configs: Iterable[Config], schedule: Any = 0, weights: Any = 0) -> np.ndarray:
    """PARAMS[K] of K configs; `schedule` and `weights` are indices, one for all or one per scenario."""
    configs = list(configs)
    out = np.zeros(len(configs), PARAMS)
    for name in members_of(PARAMS)[:-2]:  # all but the two that are given
        values = [getattr(c, name) for c in configs]
        if name in CHOICES:
            values = [CHOICES[name].index(v) for v in values]
        out[name] = [np.nan if v is None else v for v in values]
    out["schedule"], out["weights"] = schedule, weights
    return out


def members_of(struct: np.dtype[Any]) -> tuple[str, ...]:
    """The names of a struct's members."""
    return struct.names or ()


def beyond_lean(params: np.ndarray, fields: Mapping[str, Field] = FIELDS) -> bool:
    """Whether some scenario of PARAMS[K] sets a field that no mark calls known to shortened code. Off is NaN for a
    limit and 0 for anything else, so that a new cost counts as soon as somebody asks for it."""
    unmarked = [field for field in fields.values() if not field.marks]
    off = (np.isnan(params[f.name]) if f.optional else params[f.name] == 0 for f in unmarked)
    return not all(values.all() for values in off)


def render_c() -> str:
    """The structs and codes as C, with a static_assert on every size and, where the compiler takes them, every offset.

    NVRTC before 13.4 does not know __builtin_offsetof: of a device the sizes are asserted, and nvcc and the host's
    compiler hold the offsets of the same text.
    """
    lines = ["/* Rendered by gpu_bt/law/layout.py. */", "#pragma once", "#ifdef __CUDACC_RTC__ /* has no C headers */"]
    whole = (
        "long int64_t",
        "int int32_t",
        "unsigned char uint8_t",
        "unsigned short uint16_t",
        "unsigned long uint64_t",
    )
    lines += [*(f"typedef {name};" for name in whole), "#else"]
    lines += ["#include <stdint.h>", "#ifndef __cplusplus", "#include <assert.h>", "#endif", "#endif"]
    for prefix, names in (
        ("STATUS_", SCENARIO_STATUS),
        ("ORDER_", ORDER_STATUS),
        ("MONEY_", MONEY),
        ("COUNT_", COUNTS),
        ("KIND_", PANEL_KINDS),
        ("PHASE_", PHASES),
        *((f"BUFFER_{kind.upper()}_", names) for kind, names in BUFFERS.items()),
    ):
        lines += [f"#define {prefix}{name.upper()} {code}" for code, name in enumerate((*names, "count"))]
    lines += [f"#define NEVER ({NEVER})", *(f"#define {name} {size}" for name, size in (SIZES | FLAGS).items())]
    for field, names in (CHOICES | {"scheme": SCHEMES}).items():
        lines += [f"#define {field.upper()}_{name.upper()} {code}" for code, name in enumerate(names)]
    for struct, dtype, types in (
        ("bt_params", PARAMS, {}), ("bt_state", STATE, {}), ("bt_fill", FILL, {}), ("bt_choice", BOOK, {}),
        ("bt_panel", _PANEL, {"data": "const void *"}), ("bt_rows", ROWS, _ROWS_C), ("bt_record", RECORD, _RECORD_C),
        ("bt_launch", LAUNCH, _LAUNCH_C),
    ):  # fmt: skip
        offsets = {str(name): place[1] for name, place in (dtype.fields or {}).items()}
        members = [_member(dtype, name, types.get(name)) for name in members_of(dtype)]
        lines += [f"typedef struct {struct} {{", *members, f"}} {struct};"]
        lines.append(f'static_assert(sizeof({struct}) == {dtype.itemsize}, "{struct}");')
        lines.append("#ifndef __CUDACC_RTC__")
        for name in members_of(dtype):
            lines.append(f'static_assert(__builtin_offsetof({struct}, {name}) == {offsets[name]}, "{struct}.{name}");')
        lines.append("#endif")
    return "\n".join(lines) + "\n"


def _member(dtype: np.dtype[Any], name: str, ctype: str | None) -> str:
    """The line of C that declares a member."""
    kind = dtype[name]
    ctype = ctype or {"f8": "double", "i4": "int32_t", "i8": "int64_t"}[kind.base.str[1:]]
    return f"    {ctype} {name}{''.join(f'[{n}]' for n in kind.shape)};"
