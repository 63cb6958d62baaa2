# SPDX-License-Identifier: Apache-2.0
"""The ledger's arithmetic (semantics.md, Numbers)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LIMIT", "MAGIC", "SHAVE", "SNAP", "WEIGHT_TICK", "Array", "count", "reduction", "round_any", "scale_to", "snap",
    "some", "split_sums", "to_lots", "total",
]  # fmt: skip

Array: TypeAlias = NDArray[Any]

#: Sums, cash and equity stay below this many units of their grid, else LEDGER_OVERFLOW.
LIMIT = 2.0**51
#: Adding and subtracting this many units of a grid rounds to it, half to even, below LIMIT units.
MAGIC = 1.5 * 2.0**52
#: The grid of sums of weights.
WEIGHT_TICK = 2.0**-40
#: Within this of a whole number of lots, an order is that number.
SNAP = 1e-6
#: What keeps a scaled order strictly inside its bound.
SHAVE = 1 - 2.0**-40


def snap(x: Array, magic: float | Array) -> Array:
    """R(x), in place, to the grid of magic/MAGIC. What is at or beyond LIMIT units stays there."""
    x += magic
    x -= magic
    return x


def round_any(x: Array, tick: Array) -> Array:
    """R(x) of any size, for an amount that no test bounds by itself."""
    rounded: Array = np.rint(x / tick) * tick + 0.0
    return rounded


def total(x: Array) -> Array:
    """Sum over the last axis, which stays, of multiples of a tick; exact in any order."""
    return np.add.reduce(x, axis=-1, keepdims=True)


def some(mask: Array) -> bool:
    """mask.any() of (k, 1), much faster for one scenario."""
    return bool(mask if mask.size == 1 else np.count_nonzero(mask))


def count(x: Array) -> Array | int:
    """How many of (k, A) are not 0: (k, 1), or one number for one scenario."""
    return int(np.count_nonzero(x)) if len(x) == 1 else total(x != 0)


def split_sums(x: Array) -> tuple[Array, Array]:
    """(sum of the positive, sum of the negative) over the last axis of multiples of a tick."""
    net, size = np.add.reduce(x, axis=-1), np.add.reduce(np.abs(x), axis=-1)
    return (size + net) * 0.5, (net - size) * 0.5 + 0.0


def reduction(q: Array, h: Array) -> Array:
    """[S4m] The part of q that brings h towards zero, at most |h|."""
    return np.where(np.sign(h) * q < 0, np.sign(q) * np.minimum(np.abs(q), np.abs(h)), 0.0)


def scale_to(room: Array, wanted: Array) -> Array:
    """The factor, not below 0, that scales what is `wanted` to `room`; 0 where nothing is wanted."""
    factor = np.where(wanted == 0, 0.0, room / wanted)
    return np.where(factor > 0, factor, 0.0)


def to_lots(x: Array, nearest: bool = False) -> Array:
    """Whole lots: rint(x) where x is within SNAP of it, else truncated, or rounded half away from zero."""
    cut = np.sign(x) * np.trunc(np.abs(x) + 0.5) if nearest else np.trunc(x)
    near = np.rint(x)
    np.copyto(cut, near, where=np.abs(x - near) <= SNAP)
    cut += 0.0
    return cut
