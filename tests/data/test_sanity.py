# SPDX-License-Identifier: Apache-2.0
"""Prices that contradict one another are told of, with their number; those of a market are not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gpu_bt as bt


def panel(**fields: Any) -> list[str]:
    """The warnings of a panel."""
    arrays = {name: np.array(value, float) for name, value in fields.items()}
    t, n = arrays["close"].shape
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bt.Panel(**arrays, timestamps=pd.bdate_range("2024-03-04", periods=t), assets=[f"X{i}" for i in range(n)])
    assert all(issubclass(w.category, bt.BacktestWarning) for w in caught)
    return [str(w.message) for w in caught]


def walk(seed: int, bars: int, assets: int, sigma: float) -> dict[str, np.ndarray]:
    """Prices of a market: moves within bars and between them, high and low around them."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, sigma / np.sqrt(2), (2 * bars, assets)).cumsum(axis=0)
    open, close = 50 * np.exp(moves[::2]), 50 * np.exp(moves[1::2])
    return {"open": open, "close": close, "high": np.maximum(open, close) * 1.01, "low": np.minimum(open, close) * 0.99}


@pytest.mark.parametrize(
    ("wrong", "cells", "text"),
    [
        ({"high": 8.0, "low": 9.0}, 1, "high is below low"),
        ({"high": 9.999}, 1, "high is below close"),
        ({"low": 10.001}, 1, "close is below low"),
        ({"open": 11.5}, 1, "high is below open"),
        ({"open": 8.5}, 1, "open is below low"),
    ],
)
def test_each_contradiction_is_told_with_its_number(wrong: dict[str, float], cells: int, text: str) -> None:
    fields = {name: np.full((4, 2), value) for name, value in
              {"open": 10.0, "close": 10.0, "high": 11.0, "low": 9.0}.items()}  # fmt: skip
    assert panel(**fields) == []
    for name, value in wrong.items():
        fields[name][2, 1] = value
    told = panel(**fields)
    assert any(t.startswith(f"{text} in {cells} cells, the first [2024-03-06, 'X1']: are all prices") for t in told), (
        told
    )
    for name, value in wrong.items():
        fields[name][1] = value
    assert any(t.startswith(f"{text} in {cells + 2} cells, the first [2024-03-05, 'X0']") for t in panel(**fields))


def test_rounding_is_no_contradiction() -> None:
    close = np.full((3, 1), 10.0)
    assert panel(close=close, high=close * (1 - 1e-9), low=close * (1 + 1e-9), open=close) == []
    empty = np.full((3, 1), np.nan)
    assert panel(close=close, open=empty, high=empty, low=close) == []


@pytest.mark.parametrize("factor", [0.5, 0.1, 0.94, 3.0])
@pytest.mark.parametrize("bars", [4, 40, 700])
def test_close_and_open_on_two_scales(factor: float, bars: int) -> None:
    fields = walk(3, bars, 5, 0.01)
    close = fields["close"].copy()
    close[:, 2] *= factor  # one asset's closes alone are adjusted
    [text] = panel(close=close, open=fields["open"])
    assert text.startswith("close and open are on two scales in ") and "'X2']" in text


def test_a_split_that_only_the_closes_know() -> None:
    fields = walk(4, 50, 3, 0.02)
    close = fields["close"].copy()
    close[:10, 1] /= 4  # adjusted before the tenth bar; the opens are not
    [text] = panel(close=close, open=fields["open"])
    assert text.startswith("close and open are on two scales in 1")


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.06])
def test_markets_are_not_told_of(sigma: float) -> None:
    for seed in range(4):
        assert panel(**walk(seed, 300, 40, sigma)) == []
    up = 10 * 1.03 ** np.arange(30.0)[:, None]
    assert panel(close=up, open=np.vstack([up[:1], up[:-1]])) == []  # up 3 % in each bar, and it stays there
    leap = np.array([[10.0], [25.0], [25.0]])
    assert panel(close=leap, open=np.array([[10.0], [10.0], [25.0]])) == []
