# SPDX-License-Identifier: Apache-2.0
"""The packed structs: what pack() writes, and that C and C++ compilers lay the rendered text out as NumPy does."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gpu_bt.config import CHOICES, OPTIONAL, RANGES, Config
from gpu_bt.data.clock import SCHEDULE
from gpu_bt.law.layout import (
    BUFFERS,
    COUNTS,
    FILL,
    FLAGS,
    LAUNCH,
    MONEY,
    NEVER,
    ORDER_STATUS,
    PANEL_KINDS,
    PARAMS,
    PHASES,
    RECORD,
    ROWS,
    SCENARIO_STATUS,
    SCHEMES,
    SIZES,
    STATE,
    STRUCTURAL,
    pack,
    render_c,
)

LAW = Path(__file__).parents[2] / "gpu_bt" / "law"

COMPILERS = [("gcc", "c11", "c"), ("g++", "c++17", "cpp"), ("clang", "c11", "c"), ("clang++", "c++17", "cpp")]
#: Config fields that engines do not read: they act before a run (schedules) or after it (annualising).
ELSEWHERE = {*SCHEDULE, "bars_per_year", "money_tick"}


def compiled(folder, header, body, compiler, standard, ending):
    """The outcome of compiling a main() with this body, after nothing but the header."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    (folder / "layout.h").write_text(header)
    source = folder / f"main.{ending}"
    includes = '#include "layout.h"\n#include <stddef.h>\n#include <stdio.h>\n'
    source.write_text(f"{includes}int main(void) {{\n{body}\n    return 0;\n}}\n")
    command = [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-o", str(folder / "main"), str(source)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(("compiler", "standard", "ending"), COMPILERS)
def test_a_compiler_agrees_on_every_offset(tmp_path, compiler, standard, ending):
    want = {}
    structs = {"bt_params": PARAMS, "bt_state": STATE, "bt_fill": FILL, "bt_rows": ROWS, "bt_record": RECORD,
               "bt_launch": LAUNCH}  # fmt: skip
    for struct, dtype in structs.items():
        want[f"sizeof({struct})"] = dtype.itemsize
        want |= {f"offsetof({struct}, {name})": dtype.fields[name][1] for name in dtype.names}
    body = "\n".join(f'    printf("{text}=%d\\n", (int){text});' for text in want)
    done = compiled(tmp_path, render_c(), body, compiler, standard, ending)
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True).stdout
    assert {a: int(b) for a, b in (line.split("=") for line in printed.splitlines())} == want


@pytest.mark.parametrize(("compiler", "standard", "ending"), COMPILERS)
def test_a_wrong_offset_does_not_compile(tmp_path, compiler, standard, ending):
    wrong, changes = re.subn(r"(offsetof\(bt_state, peak\) == )8", r"\g<1>16", render_c())
    assert changes == 1
    done = compiled(tmp_path, wrong, "", compiler, standard, ending)
    assert done.returncode != 0 and "bt_state.peak" in done.stderr


def test_the_codes_are_the_positions_in_their_lists():
    defines = dict(re.findall(r"^#define (\w+) (\d+)$", render_c(), re.M))
    lists = {"STATUS": SCENARIO_STATUS, "ORDER": ORDER_STATUS, "MONEY": MONEY, "COUNT": COUNTS, "KIND": PANEL_KINDS,
             "PHASE": PHASES} | {f"BUFFER_{kind.upper()}": names for kind, names in BUFFERS.items()}  # fmt: skip
    for prefix, names in lists.items():
        for code, name in enumerate((*names, "count")):
            assert defines.pop(f"{prefix}_{name.upper()}") == str(code)
    for field, names in (CHOICES | {"scheme": SCHEMES}).items():
        for code, name in enumerate(names):
            assert defines.pop(f"{field.upper()}_{name.upper()}") == str(code)
    assert defines == {name: str(number) for name, number in (SIZES | FLAGS).items()}


def test_the_lists_do_not_overlap_in_what_they_render():
    names = re.findall(r"^#define (\w+) ", render_c(), re.M)
    assert len(names) == len(set(names))


def test_counts_follow_the_order_statuses():
    assert COUNTS[:2] == ("fills", "working") and [n.upper() for n in COUNTS[2:]] == list(ORDER_STATUS[1:])
    assert SCENARIO_STATUS[0] == "OK" and NEVER == -1


# --- pack ---


def test_every_field_of_a_config_that_engines_need_is_packed():
    names = {f.name for f in dataclasses.fields(Config)}
    assert names - set(PARAMS.names) == ELSEWHERE
    assert set(PARAMS.names) - names == {"schedule", "weights", "tick"}


def test_structural_fields_are_fields_of_params():
    assert set(STRUCTURAL) <= set(PARAMS.names)


def distinct(i):
    """A Config whose every field differs from the default and from that of another i."""
    values = {name: options[(i + 1) % len(options)] for name, options in CHOICES.items()}
    for j, (name, (low, high)) in enumerate(RANGES.items()):
        span = min(high, max(low, 0.0) + 1.0) - max(low, 0.0)
        value = max(low, 0.0) + span * (j + 1 + i / 7) / (len(RANGES) + 2)
        values[name] = j + 2 + i if isinstance(getattr(Config(), name), int) else value
    values |= dict(money_tick=2.0 ** (-3 - i), initial_cash=1e5 + i, lot=2.0 + i)
    return Config(**values)


def unpacked(row):
    """Field -> value of a row of PARAMS as Config has it."""
    out = {}
    for name in PARAMS.names:
        value = row[name].item()
        if name in CHOICES:
            value = CHOICES[name][value]
        elif name in OPTIONAL and value != value:
            value = None
        out[name] = value
    return out


def test_pack_round_trips():
    configs = [Config(), *(distinct(i) for i in range(5)), Config(**dict.fromkeys(OPTIONAL))]
    rows = pack(configs, schedule=np.arange(7), weights=[0, 1, 0, 1, 0, 1, 0])
    assert rows.dtype == PARAMS and rows.shape == (7,) and rows.flags.c_contiguous
    for config, row in zip(configs, rows, strict=True):
        got = unpacked(row)
        for name, value in got.items():
            if name not in ("schedule", "weights"):
                assert value == getattr(config, name), name
    assert rows["schedule"].tolist() == list(range(7)) and rows["weights"].tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_pack_keeps_every_bit_and_whole_number():
    config = Config(slippage=np.nextafter(0.1, 1), delist_after=2**31 - 1, signal_lag=2**31 - 1)
    (row,) = pack([config])
    assert row["slippage"] == config.slippage and row["delist_after"] == row["signal_lag"] == 2**31 - 1


def test_a_limit_that_is_off_compares_false():
    (row,) = pack([Config()])
    off = [
        name
        for name in ("max_weight", "max_gross", "max_turnover", "max_drawdown", "participation")
        if name in PARAMS.names
    ]
    assert len(off) == 5
    for name in off:
        assert not (1e300 > row[name]) and not (-1e300 < row[name])


def test_pack_of_none():
    assert pack([]).shape == (0,)


def test_rows_that_a_lane_remembers_are_among_those_it_counts():
    """A row beyond BT_FETCHED would be remembered outside its array, and no compiler says so."""
    text = "".join(path.read_text("utf-8") for path in sorted(LAW.glob("*.h")))
    named = set(re.findall(r"BT_(?:ROW|IS|MADE|ROW_OF_BAR)\(\w+, ([A-Z_]+)", text)) - {"NAME"}
    named |= set(re.findall(r"(?:at|seen)\[BUFFER_DOUBLE_([A-Z_]+)\]", text))
    kept = [name.upper() for name in BUFFERS["double"][: SIZES["BT_FETCHED"]]]
    assert len(named) > 15 and named <= set(kept)
