# SPDX-License-Identifier: Apache-2.0
"""The barriers of a CUDA source, for a test that deletes each in turn and must see it missed.

A source without one of its barriers may write anywhere: build it with `isolated=True` or with a sanitizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Barrier", "barriers", "without_barrier"]


class Barrier(NamedTuple):
    """One call of a barrier in a source text."""

    name: str
    line: int
    start: int
    stop: int


def barriers(text: str, names: Sequence[str] = ("__syncthreads", "bt_sync")) -> list[Barrier]:
    """Every call of a barrier; the definition of a wrapper, comments and preprocessor lines are none."""
    words = "|".join(map(re.escape, names))
    comment, string = r"//[^\n]*|/\*.*?\*/", r'"(?:\\.|[^"\\\n])*"'
    line, wrapper = r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", rf"\bvoid\s+(?:{words})\s*\([^)]*\)\s*\{{.*?\}}"
    call = rf"\b(?P<name>{words})\s*\([^()]*\)"
    pattern = re.compile("|".join((comment, string, line, wrapper, call)), re.S | re.M)
    return [
        Barrier(m["name"], text.count("\n", 0, m.start()) + 1, m.start(), m.end())
        for m in pattern.finditer(text) if m["name"]
    ]  # fmt: skip


def without_barrier(text: str, index: int, names: Sequence[str] = ("__syncthreads", "bt_sync")) -> str:
    """The text without its barrier number `index`, counted as barriers() lists them; lines keep their numbers."""
    barrier = barriers(text, names)[index]
    return text[: barrier.start] + "((void)0)" + text[barrier.stop :]
