# SPDX-License-Identifier: Apache-2.0
"""The ledger's arithmetic (semantics.md, Numbers) and the parameters of a batch of scenarios as NumPy operands."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["LIMIT", "WEIGHT_TICK", "Params", "near_whole", "snap", "split_sums", "trunc_lots", "whole"]

#: Sums, cash and equity stay below this many units of their grid, else LEDGER_OVERFLOW.
LIMIT = 2.0**51
#: The grid of sums of weights.
WEIGHT_TICK = 2.0**-40
#: Within this of a whole number of lots, an order is that number.
SNAP = 1e-6
#: x - trunc(x) at or beyond EDGE is within SNAP of the next whole number: the smallest double >= 1 - SNAP, so that
#: trunc(f / EDGE) is 1 exactly where 1 - f <= SNAP. One division replaces a comparison and two masked copies.
EDGE = 0.9999990000000001
#: What keeps a scaled order strictly inside its bound.
SHAVE = 1 - 2.0**-40


class Params:
    """PARAMS of k scenarios as operands: `p.slippage` is a float where all scenarios agree, else (k, 1).

    `p.vector(name)` is the same for (k,) arithmetic. `p.any(name)`: some scenario has it on (not 0, not NaN).
    """

    def __init__(self, params: np.ndarray) -> None:
        self.packed = params
        for name in params.dtype.names:
            values = params[name]
            uniform = len(values) == 1 or bool((values == values[0]).all()) or bool(np.isnan(values).all())
            setattr(self, name, values[0].item() if uniform else values[:, None].astype(np.float64))
        #: Adding and subtracting it rounds to the tick, half to even, below LIMIT ticks.
        self.magic = self.tick * (1.5 * 2.0**52)

    def vector(self, name: str) -> float | np.ndarray:
        value = getattr(self, name)
        return value if np.ndim(value) == 0 else value[:, 0]

    def any(self, name: str) -> bool:
        value = getattr(self, name)
        if np.ndim(value) == 0:
            return value != 0 and not math.isnan(value)
        return bool(((value != 0) & ~np.isnan(value)).any())


def snap(x: np.ndarray, magic: float | np.ndarray) -> np.ndarray:
    """R(x), in place: to the grid of 1.5*2**52/magic, half to even. At or beyond LIMIT units it stays there."""
    x += magic
    x -= magic
    return x


def split_sums(x: np.ndarray, ones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sum of the positive, sum of the negative) over the last axis of multiples of a tick; exact in any order."""
    total, size = x @ ones, np.abs(x) @ ones
    return (size + total) * 0.5, (total - size) * 0.5 + 0.0


def near_whole(x: np.ndarray) -> np.ndarray:
    """Where x is within SNAP of a whole number."""
    return np.abs(x - np.rint(x)) <= SNAP


def whole(x: np.ndarray) -> np.ndarray:
    """rint(x) where x is within SNAP of it, else trunc(x)."""
    return trunc_lots(x) + 0.0


def trunc_lots(x: np.ndarray) -> np.ndarray:
    """`whole` in five plain operations: x - trunc(x) is exact, and only its last SNAP moves to the next whole number."""
    t = np.trunc(x)
    f = x - t
    f /= EDGE
    np.trunc(f, f)
    t += f
    return t
