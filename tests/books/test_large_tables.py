# SPDX-License-Identifier: Apache-2.0
"""Tables that are cut into parts of the usual size, which threads share: the bits of each row, or asset, alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scalars import same_bits

from gpu_bt import books
from gpu_bt.books import rolling

GROUPS = np.random.default_rng(1).integers(-1, 40, 3000)
ACROSS: dict[str, Callable[[Any, Any], Any]] = {
    "rank": lambda x, y: books.rank(x),
    "rank in groups": lambda x, y: books.rank(x, GROUPS),
    "zscore": lambda x, y: books.zscore(x, GROUPS),
    "winsorise": lambda x, y: books.winsorise(x, groups=GROUPS),
    "neutralise": lambda x, y: books.neutralise(x, GROUPS, y),
}
ALONG: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: books.rolling_sum(x, 30, 7),
    "std": lambda x: books.rolling_std(x, 30, 7),
    "max": lambda x: books.rolling_max(x, 30, 7),
    "rank": lambda x: books.rolling_rank(x, 30, 7),
    "decay": lambda x: books.decay(x, 30, 7),
}


def large(shape: tuple[int, int]) -> np.ndarray:
    g = np.random.default_rng(shape[0])
    x = g.normal(size=shape).round(2)
    x[g.random(shape) < 0.01] = np.nan
    return x


@pytest.mark.parametrize("name", ACROSS)
def test_rows_of_a_large_table_are_on_their_own(name: str):
    x, y = large((150, 3000)), large((150, 3000)) ** 2
    whole = ACROSS[name](x, y)
    for t in (0, 42, 43, 149):
        same_bits(whole[t : t + 1], ACROSS[name](x[t : t + 1], y[t : t + 1]))


@pytest.mark.parametrize("name", ALONG)
def test_assets_of_a_large_table_are_on_their_own(name: str):
    x = large((70, 2 * rolling._COLUMNS + 9))
    whole = ALONG[name](x)
    for i in (0, rolling._COLUMNS - 1, rolling._COLUMNS, len(x[0]) - 1):
        same_bits(whole[:, i : i + 1], ALONG[name](x[:, i : i + 1].copy()))
