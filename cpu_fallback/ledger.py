# SPDX-License-Identifier: Apache-2.0
"""The ledger's arithmetic (semantics.md, Numbers) and the parameters of a batch of scenarios as NumPy operands."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from gpu_bt.config import OPTIONAL

__all__ = [
    "LIMIT", "SHAVE", "WEIGHT_TICK", "Params", "all_of", "any_of", "count", "near_whole", "round_any", "snap",
    "split_sums", "trunc_lots", "whole",
]  # fmt: skip

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
    """PARAMS of k scenarios as operands: `p.slippage` is a number where all agree, else (k, 1) for (k, A) work.

    `p.v.slippage` is the same for (k,) work. `p.has.slippage`: some scenario has it on; limits are on unless NaN,
    other numbers unless 0.
    """

    def __init__(self, params: np.ndarray) -> None:
        self.v, self.has = SimpleNamespace(), SimpleNamespace()
        for name in params.dtype.names:
            values = params[name]
            missing = np.isnan(values)
            uniform = bool((values == values[0]).all()) or bool(missing.all())
            vector = values[0].item() if uniform else values.astype(np.float64)
            setattr(self.v, name, vector)
            setattr(self, name, vector if uniform else vector[:, None])
            setattr(self.has, name, not missing.all() if name in OPTIONAL else bool((values != 0).any()))
        #: Adding and subtracting it rounds to the tick, half to even, below LIMIT ticks.
        self.v.magic = self.v.tick * (1.5 * 2.0**52)
        self.magic = self.tick * (1.5 * 2.0**52)
        self.magic3 = self.magic if isinstance(self.magic, float) else self.magic[:, :, None]
        #: 2**52 ticks round amounts >= 0 right up to there: drag is tested in two parts alone.
        self.money3 = self.magic3 / 1.5
        self.limit = LIMIT * self.v.tick


def any_of(mask: np.ndarray) -> bool:
    """mask.any() of (k,), cheap for one scenario."""
    return mask.item() if mask.size == 1 else bool(mask.any())


def all_of(mask: np.ndarray) -> bool:
    """mask.all() of (k,), cheap for one scenario."""
    return mask.item() if mask.size == 1 else bool(mask.all())


def count(x: np.ndarray) -> np.ndarray | int:
    """How many of (k, A) are not 0, per scenario."""
    return np.count_nonzero(x) if len(x) == 1 else np.add.reduce(x != 0, axis=1)


def snap(x: np.ndarray, magic: float | np.ndarray) -> np.ndarray:
    """R(x), in place: to the grid of 1.5*2**52/magic, half to even. At or beyond LIMIT units it stays there."""
    x += magic
    x -= magic
    return x


def round_any(x: np.ndarray, tick: float | np.ndarray) -> np.ndarray:
    """R(x) of any size, for an amount that no test bounds by itself."""
    return np.rint(x / tick) * tick + 0.0


def split_sums(x: np.ndarray, ones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sum of the positive, sum of the negative) over the last axis of multiples of a tick; exact in any order."""
    total, size = x @ ones, np.abs(x) @ ones
    return (size + total) * 0.5, (total - size) * 0.5 + 0.0


def near_whole(x: np.ndarray) -> np.ndarray:
    """Where x is within SNAP of a whole number."""
    return np.abs(x - np.rint(x)) <= SNAP


def whole(x: np.ndarray) -> np.ndarray:
    """rint(x) where x is within SNAP of it, else trunc(x)."""
    return np.where(near_whole(x), np.rint(x), np.trunc(x)) + 0.0


def trunc_lots(x: np.ndarray) -> np.ndarray:
    """`whole` of finite numbers in five plain operations: x - trunc(x) is exact, and only its last SNAP moves on."""
    t = np.trunc(x)
    f = x - t
    f /= EDGE
    np.trunc(f, f)
    t += f
    return t
