# SPDX-License-Identifier: Apache-2.0
"""Orders that wait for the prices at which they fill (gpu_bt/law/pass.h, plain.h), where sums are large and where
scenarios of a lane part: the compiled engines against NumPy, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from build import simulate_spec, spec_of
from compare import assert_same_raw
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed

import gpu_bt as bt
from cpu_fallback.engine import ENGINE as NUMPY
from cpu_fallback.native import NativeEngine
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.engine.spec import RawResult, RunSpec

NAN = np.nan


def spec_for(close, opening, weights, configs: list[bt.Config], columns: str) -> RunSpec:
    """One lane of the scenarios."""
    close, weights = np.array(close, float), np.array(weights, float)
    names, days = [f"A{i}" for i in range(close.shape[1])], np.datetime64("2020-01-01") + np.arange(len(close))
    panel = bt.Panel(close, open=np.array(opening, float), timestamps=days, assets=names, prices="raw")
    spec = spec_of(panel, [weights], configs, columns=columns)
    spec.params["schedule"] = 0
    return spec


def same_as_numpy(spec: RunSpec, engine: str) -> RawResult:
    if engine == "cuda" and why_not() is not None:
        pytest.skip(str(why_not()))
    if engine == "native" and NativeEngine().missing():
        pytest.skip(str(NativeEngine().missing()))
    wanted = simulate_spec(NUMPY, spec)
    with installed(FakeCupy("random")) if engine == "cuda" else contextlib.nullcontext():
        assert_same_raw(simulate_spec(CudaEngine(64, 2) if engine == "cuda" else NativeEngine(1), spec), wanted)
    return wanted


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("columns", ["all", "equity"])
@pytest.mark.parametrize("engine", ["native", "cuda"])
def test_many_large_amounts_overflow_the_ledger(engine, columns):
    # Ticks of 1. Each of 8191 buys is of nearly 2^50, and twice their sum as near to 2^64: a sum of integers that wraps
    # would be one of small sells.
    n, each = 8191, 2.0**50 * (1 - 2.0**-14)
    config = bt.Config(initial_cash=2.0**36, lot=0.0, cash_buffer=0.0)
    opening = np.full((3, n), each / 2.0**36)
    close = [[1.0] * n, *[[1e-10] * n] * 2]
    wanted = same_as_numpy(spec_for(close, opening, np.ones((3, n)), [config], columns), engine)
    assert wanted.state["first_bar"][0].tolist() == [-1, -1, -1, -1, 1]


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("columns", ["all", "equity"])
@pytest.mark.parametrize("last", ["keep", "cancel"])
@pytest.mark.parametrize("engine", ["native", "cuda"])
def test_one_scenario_of_a_lane_has_formed_its_orders_where_the_others_wait(engine, last, columns):
    # A0 cannot be bought at bar 1. The poor account keeps its order of it, so that its next ones cannot wait: A1 is too
    # dear, and none is left. The rich one has cancelled it, and its order of A1 waits for bar 2.
    poor, rich = bt.Config(initial_cash=100.0), bt.Config(initial_cash=1e4, unfilled="cancel")
    close = [[10.0, 20.0, 30.0]] * 4
    opening = [[10.0, 20.0, 30.0], [NAN, 20.0, 30.0], [10.0, 20.0, 30.0], [10.0, 20.0, 30.0]]
    rows = [[0.5, 0.0, 0.4], *[[0.0, 0.05, NAN]] * 3]
    configs = [rich, poor] if last == "keep" else [poor, rich]
    wanted = same_as_numpy(spec_for(close, opening, rows, configs, columns), engine)
    assert (wanted.holdings[configs.index(rich)] > 0).tolist() == [False, True, True]
    assert (wanted.holdings[configs.index(poor)] > 0).tolist() == [False, False, True]


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("engine", ["native", "cuda"])
def test_an_overflow_at_the_close_that_decides_goes_back_to_what_each_scenario_held(engine):
    # A3 is delisted at bar 1, whose row names A0 in its place and asks for more than a ledger can hold.
    configs = [bt.Config(initial_cash=1024.0 * k, execution="same_close", money_tick=2.0**-36) for k in (1, 2)]
    rows = np.zeros((2, 8))
    rows[0, [3, 6]], rows[1, [0, 6]] = 0.25, [1000.0, 0.25]
    spec = spec_for(np.full((2, 8), 16.0), np.full((2, 8), 16.0), rows, configs, "all")
    off = np.where(np.arange(8) == 3, 1, -1)
    wanted = same_as_numpy(dataclasses.replace(spec, market=dataclasses.replace(spec.market, delisted_at=off)), engine)
    assert wanted.holdings[:, 3].tolist() == wanted.holdings[:, 6].tolist() == [15.0, 31.0]


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("columns", ["all", "equity"])
@pytest.mark.parametrize("weight", [0.25, 1.0])  # the second one lacks cash
@pytest.mark.parametrize("engine", ["native", "cuda"])
def test_an_adverse_move_is_at_most_that_of_the_law(engine, weight, columns):
    config = bt.Config(initial_cash=1024.0, slippage=1.0, cash_buffer=0.0)
    wanted = same_as_numpy(spec_for([[16.0]] * 3, [[16.0]] * 3, [[weight]] * 3, [config], columns), engine)
    bought = 16 if weight < 1.0 else 32
    assert wanted.money[1, 0, 1] == pytest.approx(1024.0 - bought * 16.0 * 1.95)


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
@pytest.mark.parametrize("columns", ["all", "equity"])
@pytest.mark.parametrize("engine", ["native", "cuda"])
def test_what_a_bar_without_orders_found_of_cash_is_not_taken_for_another_bar(engine, columns):
    # A fee above the proceeds leaves less than no cash at bar 2, and bar 3 has no orders. At bar 4, at which A1 is
    # delisted, A0 cannot be sold.
    config = bt.Config(initial_cash=1000.0, min_commission=400.0, cash_buffer=0.0)
    close, opening = np.full((6, 2), 10.0), np.full((6, 2), 10.0)
    opening[4, 0] = NAN
    rows = [[0.5, 0.0], [0.81, 0.0], [2.45, 0.0], *[[0.0, 0.0]] * 3]
    spec = spec_for(close, opening, rows, [config], columns)
    off = dataclasses.replace(spec.market, delisted_at=np.array([-1, 4]))
    wanted = same_as_numpy(dataclasses.replace(spec, market=off), engine)
    assert wanted.money[1, 0, 2:].tolist() == [-290.0, -290.0, -290.0, -200.0]
