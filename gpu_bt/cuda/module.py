# SPDX-License-Identifier: Apache-2.0
"""kernels.cu and the headers it includes as one text, compiled by NVRTC on first use; CuPy keeps the result on disk."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from gpu_bt.step.layout import SIZES, render_c

__all__ = ["NVRTC_OPTIONS", "SHARED_DOUBLES", "kernel", "source"]

#: No contraction to multiply-add: the law rounds every operation.
NVRTC_OPTIONS = ("--std=c++17", "--fmad=false")
#: Doubles of shared memory before holdings and orders: BT_SHARED_DOUBLES of gpu_bt/step/team.h.
SHARED_DOUBLES = 2 * SIZES["BT_WARPS"] * SIZES["BT_SUMS"]
_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'^#include "([a-z_]+\.h)"$', re.MULTILINE)


@functools.cache
def source() -> str:
    """The program: every header once, in place of its first #include; #line lets errors name file and line."""
    seen: set[str] = set()

    def text(name: str, folder: Path) -> str:
        body = render_c() if name == "layout.h" else (folder / name).read_text("utf-8")
        return f'#line 1 "{name}"\n{_INCLUDE.sub(lambda match: header(match, name, body), body)}'

    def header(match: re.Match[str], outer: str, body: str) -> str:
        name, line = match[1], body.count("\n", 0, match.start()) + 2
        if name in seen:
            return ""
        seen.add(name)
        return f'{text(name, _HERE.parent / "step")}\n#line {line} "{outer}"'

    return text("kernels.cu", _HERE).replace("#pragma once\n", "\n")


@functools.cache
def kernel(cupy: Any, full: bool, shared: bool) -> Any:
    """The compiled variant for the current device."""
    options = (*NVRTC_OPTIONS, f"-DBT_FULL={int(full)}", f"-DBT_SHARED={int(shared)}")
    return cupy.RawModule(code=source(), options=options, backend="nvrtc").get_function("bt_bars")
