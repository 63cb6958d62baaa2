# SPDX-License-Identifier: Apache-2.0
"""The operators on arrays of the emulated device: the same code, the bits of NumPy, nothing fetched by the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from emulator.build import why_not
from emulator.fake_cupy import installed
from emulator.fake_numbers import Numbers, Reckoning
from scalars import drawn, same_bits

import gpu_bt as bt
from gpu_bt import books
from gpu_bt.engine.resident import Resident

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
SHAPE = (60, 7)
GROUPS = ["a", "b", None, "a", "a", "b", "c"]
HERE = np.random.default_rng(0).random(SHAPE) < 0.8
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "rank": lambda x, y: books.rank(x),
    "rank in groups": lambda x, y: books.rank(x, GROUPS, HERE, pct=True),
    "zscore": lambda x, y: books.zscore(x),
    "zscore in groups": lambda x, y: books.zscore(x, GROUPS, HERE),
    "demean": lambda x, y: books.demean(x, GROUPS),
    "winsorise": lambda x, y: books.winsorise(x, (0.1, 0.8)),
    "winsorise in groups": lambda x, y: books.winsorise(x, (0.1, 0.8), GROUPS),
    "neutralise": lambda x, y: books.neutralise(x, GROUPS, [y, y]),
    "neutralise by weights": lambda x, y: books.neutralise(x, None, y, weights=abs(y)),
    "delay": lambda x, y: books.delay(x, 3),
    "delta": lambda x, y: books.delta(x),
    "decay": lambda x, y: books.decay(x, 5, 2),
    "rolling_sum": lambda x, y: books.rolling_sum(x, 5, 2),
    "rolling_mean": lambda x, y: books.rolling_mean(x, 5, 2),
    "rolling_std": lambda x, y: books.rolling_std(x, 5, 2),
    "rolling_max": lambda x, y: books.rolling_max(x, 100, 2),
    "rolling_min": lambda x, y: books.rolling_min(x, 5, 2),
    "rolling_rank": lambda x, y: books.rolling_rank(x, 5, 2),
    "rolling_corr": lambda x, y: books.rolling_corr(x, y, 5, 3),
    "volatility": lambda x, y: books.volatility(abs(x) + 1, 5, 252),
}


@pytest.fixture
def fake() -> Iterator[Reckoning]:
    with installed(Reckoning("random")) as fake:
        yield fake


@pytest.mark.parametrize("name", CALLS)
def test_what_is_made_on_the_device_has_the_bits_of_the_host(fake: Reckoning, name: str):
    x, y = drawn(1, SHAPE), drawn(2, SHAPE, ties=False)
    for kind in (np.float64, np.float32):
        there = fake.asarray(x.astype(kind)), fake.asarray(y.astype(kind))
        fake.fetched.clear()
        found = CALLS[name](*there)
        assert isinstance(found, Numbers) and found.dtype == kind
        assert max(fake.fetched, default=0) <= 8, "only single numbers are looked at on the host"
        same_bits(found.get(), CALLS[name](x.astype(kind), y.astype(kind)))


def test_a_panel_on_the_device_gives_its_prices_and_its_universe(fake: Reckoning):
    close = np.abs(drawn(1, SHAPE, 0.0)) + 1.0
    close[0], close[5] = 3.0, 4.0
    close[np.isnan(close)] = 2.0
    panel = bt.Panel(fake.asarray(close), timestamps=np.arange(60).astype("M8[D]"), assets=list("abcdefg"),
                     universe=fake.asarray(HERE), delisted_at=[-1, 30, -1, -1, -1, -1, -1])  # fmt: skip
    assert isinstance(panel.close, Resident) and isinstance(panel.universe, Resident)
    found = books.rank(panel.close, GROUPS, panel)
    assert isinstance(found, Numbers)
    host = bt.Panel(
        close, timestamps=panel.timestamps, assets=panel.assets, universe=HERE, delisted_at=panel.delisted_at
    )
    same_bits(found.get(), books.rank(close, GROUPS, host))
    same_bits(
        books.rank(fake.asarray(close), fake.asarray(np.arange(7) % 2)).get(), books.rank(close, np.arange(7) % 2)
    )
    same_bits(books.rolling_corr(panel.close, close, 5).get(), books.rolling_corr(close, close, 5))


def test_what_is_wrong_on_the_device_is_told_as_on_the_host(fake: Reckoning):
    x = np.ones(SHAPE)
    x[7, 2] = np.inf
    for call in (books.rank, lambda x: books.rolling_sum(x, 5), books.delay):
        with pytest.raises(bt.PanelError) as there:
            call(fake.asarray(x))
        with pytest.raises(bt.PanelError, match=r"x\[7, 2\] is inf") as here:
            call(x)
        assert str(there.value) == str(here.value)
