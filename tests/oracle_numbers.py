# SPDX-License-Identifier: Apache-2.0
"""Scalars of the oracle: rounding, signs, optional cells, the cost of a fill."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["Cost", "LedgerOverflow", "at", "rint", "sgn", "trunc"]


@dataclasses.dataclass
class Cost:
    """The cost of one fill, [S4] 2."""

    ref: float = 0.0
    drag: float = 0.0
    slip: float = 0.0
    adverse: float = 0.0
    scaled: float = 0.0  # this fill's term of B
    least: float = 0.0  # what it costs however small it is cut

    @property
    def total(self) -> float:
        return self.ref + self.drag


class LedgerOverflow(Exception):
    """A sum that the law tests left the ledger's range."""


def rint(x: float) -> float:
    """The nearest whole number, half to even; what has no fraction (or is not finite) is itself."""
    return float(round(x)) + 0.0 if abs(x) < 2.0**52 else x


def trunc(x: float) -> float:
    return float(math.trunc(x)) + 0.0 if abs(x) < 2.0**52 else x


def sgn(x: float) -> float:
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0


def at(field: Any, t: int, i: int, absent: float) -> float:
    """One cell of an optional panel; `absent` is what no panel or NaN means."""
    x = absent if field is None else float(field[t][i])
    return absent if x != x else x
