# SPDX-License-Identifier: Apache-2.0
"""A run saved at any bar and resumed over the rest gives the bits of one long run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from draw import scenario, to_public
from extent import seeds
from state_files import part_of

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights, synthetic_universe

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
RECORD = ("bars", "fills", "positions")


def in_parts(given: dict, weights: np.ndarray, config: bt.Config, cuts: list[int], path: Path, engine: str = "numpy"):
    """The results of the parts, each gone on from the file of the one before."""
    edges, out = [0, *cuts, len(weights)], []
    for a, b in itertools.pairwise(edges):
        resumed = {"resume": path, "accept_jumps": True} if a else {}  # drawn prices jump
        out.append(bt.run(part_of(given, a, b), weights[a:b], config, record=RECORD, engine=engine, **resumed))
        assert out[-1].checkpoint(path) == path
    return out


def assert_same_as_long(parts: list[bt.Result], long: bt.Result) -> None:
    for name in ("money", "counts"):
        assert_bits(name, np.concatenate([getattr(p.raw, name) for p in parts], axis=2), getattr(long.raw, name))
    assert_bits("positions", np.concatenate([p.raw.positions for p in parts], axis=1), long.raw.positions)
    assert_bits("holdings", parts[-1].raw.holdings, long.raw.holdings)
    ended = long.raw.state["ended"][0]
    assert parts[-1].raw.state["ended"][0] == ended
    if not ended:
        assert_bits("orders", parts[-1].raw.orders, long.raw.orders)
        for name in ("cash", "peak"):
            assert_bits(name, parts[-1].raw.state[name], long.raw.state[name])
    for name in ("fills", "cuts"):
        start, logs = 0, []
        for part in parts:
            log = getattr(part.raw, name).copy()
            log["bar"] += start
            start += part.raw.money.shape[2]
            logs.append(log)
        for field in long.raw.fills.dtype.names:
            assert_bits(f"{name}.{field}", np.concatenate(logs)[field], getattr(long.raw, name)[field])
    assert parts[-1].statuses == long.statuses


@pytest.mark.parametrize("seed", seeds(range(60)))
def test_every_cut_of_a_drawn_scenario(seed: int, tmp_path: Path):
    drawn, weights, config = scenario(seed)
    given = to_public(drawn, config)
    long = bt.run(bt.Panel(**given), weights, config, record=RECORD, engine="numpy")
    for cut in range(1, len(weights), 1 if seed < 12 else 4):
        assert_same_as_long(in_parts(given, weights, config, [cut], tmp_path / "state.npz"), long)


@pytest.mark.parametrize("seed", seeds(range(100, 118)))
def test_one_bar_a_day(seed: int, tmp_path: Path):
    """The state is saved and read at every bar."""
    drawn, weights, config = scenario(seed)
    given = to_public(drawn, config)
    long = bt.run(bt.Panel(**given), weights, config, record=RECORD, engine="numpy")
    parts = in_parts(given, weights, config, list(range(1, len(weights))), tmp_path / "state.npz")
    assert_same_as_long(parts, long)


def test_the_drawn_scenarios_reach_what_is_carried():
    """Statuses, lags, delistings, splits, schedules, borrow fees: else the tests above are hollow."""
    seen: set[str] = set()
    for seed in [*range(60), *range(100, 118)]:  # whatever part of them runs
        drawn, weights, config = scenario(seed)
        result = bt.run(bt.Panel(**to_public(drawn, config)), weights, config, engine="numpy")
        middle = result.timestamps[len(weights) // 2]
        seen |= {f"{name} before" for name, bar in result.statuses.items() if bar < middle}
        if result.equity["fills"].sum():
            seen |= {
                name
                for name in ("signal_lag", "rebalance_offset", "borrow_rate", "max_drawdown")
                if getattr(config, name)
            }
            seen |= {config.rebalance, config.execution}
            seen |= {name for name in ("split", "dividend", "delisted_at", "lot") if getattr(drawn, name) is not None}
        seen |= {"settled"} if (result.equity["settlements"] != 0).any() else set()
    wanted = "signal_lag rebalance_offset borrow_rate max_drawdown split dividend delisted_at lot settled month week"
    wanted += " next_open next_close next_vwap same_close"
    assert seen >= {*wanted.split(), *(f"{n} before" for n in ("MARGIN_CALL", "DRAWDOWN_STOP", "BANKRUPT"))}, seen


def example(**settings: Any) -> tuple[dict, np.ndarray, bt.Config]:
    panel = synthetic_universe(60, 5, seed=3, messy=False)
    given = {n: getattr(panel, n) for n in ("open", "close", "timestamps", "assets")} | {"delisted_at": None}
    return given, random_weights(panel, 0.6, seed=4), bt.Config(**settings)


def test_metrics_of_the_later_bars_are_against_the_equity_before_them(tmp_path: Path):
    given, weights, config = example()
    first, second = in_parts(given, weights, config, [30], tmp_path / "s.npz")
    before = first.equity["equity"][-1]
    assert second.opening == before and first.opening == config.initial_cash
    assert second.metrics["total_return"] == second.equity["equity"][-1] / before - 1.0
    assert second.returns().iloc[0] == second.equity["equity"][0] / before - 1.0
    assert f"from {before:,.2f}" in str(second)


def test_fills_are_made_afterwards_by_the_same_run(tmp_path: Path):
    given, weights, config = example()
    bt.run(part_of(given, 0, 30), weights[:30], config).checkpoint(tmp_path / "s.npz")
    recorded = bt.run(part_of(given, 30, 60), weights[30:], config, resume=tmp_path / "s.npz", record="fills").fills
    later = bt.run(part_of(given, 30, 60), weights[30:], config, resume=tmp_path / "s.npz").fills
    assert later.equals(recorded) and later.height > 0


def refused(error: type[Exception], text: str, given: dict, weights: np.ndarray, config: bt.Config, path: Path) -> None:
    with pytest.raises(error) as caught:
        bt.run(part_of(given, 30, 60), weights[30:], config, resume=path)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_what_does_not_belong_together_is_refused(tmp_path: Path):
    given, weights, config = example()
    path = tmp_path / "s.npz"
    bt.run(part_of(given, 0, 30), weights[:30], config).checkpoint(path)
    refused(bt.ResultError, "saved with another config", given, weights, config.replace(slippage=1e-4), path)
    refused(
        bt.ResultError, "another list of assets", {**given, "assets": ["B", "A", "C", "D", "E"]}, weights, config, path
    )
    refused(bt.ResultError, "another lot of the panel", {**given, "lot": np.ones(5)}, weights, config, path)
    refused(bt.ResultError, "another time zone", {**given, "time_zone": "UTC"}, weights, config, path)
    with pytest.raises(bt.PanelError, match="pass the bars after it alone"):
        bt.run(part_of(given, 29, 60), weights[29:], config, resume=path)


def test_a_decision_that_the_saved_run_could_not_take_is_refused(tmp_path: Path):
    given, weights, config = example(rebalance="week")
    fridays = [i for i in range(20, 40) if np.is_busday(given["timestamps"][i].astype("M8[D]"), "Fri")]
    cut = fridays[0] + 1
    path = tmp_path / "s.npz"
    first = {k: v[:cut] if isinstance(v, np.ndarray) else v for k, v in given.items()}
    bt.run(bt.Panel(**first), weights[:cut], config).checkpoint(path)
    with pytest.raises(bt.PanelError, match=r"ends at the end of a week, .*: pass next_timestamp= to that panel"):
        bt.run(part_of(given, cut, 60), weights[cut:], config, resume=path)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut short", b"text"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes | None):
    given, weights, config = example()
    if content is not None:
        (tmp_path / "s.npz").write_bytes(content)
    refused(bt.ResultError, "is no saved state", given, weights, config, tmp_path / "s.npz")
    np.savez(tmp_path / "t.npz", a=np.ones(3))
    refused(bt.ResultError, "is no saved state", given, weights, config, tmp_path / "t.npz")
    np.save(tmp_path / "v.npy", np.ones(3))
    refused(bt.ResultError, "is no saved state", given, weights, config, tmp_path / "v.npy")
    np.savez(tmp_path / "u.npz", head=np.array([{"parts": 1}], object))
    refused(bt.ResultError, "is no saved state", given, weights, config, tmp_path / "u.npz")


def test_a_strategy_is_not_gone_on_with(tmp_path: Path):
    given, _, config = example()

    class Asked(bt.Strategy):
        def on_data_batch(self) -> None: ...

    with pytest.raises(bt.ConfigError, match="resume goes on with weights alone"):
        bt.run(bt.Panel(**given), Asked(), config, resume=tmp_path / "s.npz")


def test_a_result_without_a_state_says_so(tmp_path: Path):
    given, weights, config = example()
    result = bt.run(bt.Panel(**given), weights, config)
    bare = bt.Result(result.raw, timestamps=result._utc, time_zone=None, assets=result.assets, config=config)
    with pytest.raises(bt.ResultError, match="no state to save"):
        bare.checkpoint(tmp_path / "s.npz")
