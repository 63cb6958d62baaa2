# SPDX-License-Identifier: Apache-2.0
"""The checks of a state file: none that a run's own state can break, each of them broken by some edit; and those of a
RunSpec, whoever makes it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import state_files as files
from draw import scenario, to_public
from draw_holdings import draw_holdings, odd_book
from extent import seeds

import gpu_bt as bt
from gpu_bt.engine.registry import resolve
from gpu_bt.errors import ResultError
from gpu_bt.law.layout import SCENARIO_STATUS
from gpu_bt.runs import states
from gpu_bt.runs.checkpoint import load
from gpu_bt.runs.run import _spec

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")


def chained(seed: int, held: bool, path: Path, engine: str) -> tuple[int, set[str]]:
    """How many states of a drawn scenario were written and read again, one gone on from another, and what was seen."""
    drawn, weights, config = scenario(seed)
    holdings = None
    if held:
        drawn, weights, config, holdings = odd_book(seed) if seed % 4 else (*scenario(seed), None)
        holdings = draw_holdings(seed, drawn, config) if holdings is None else holdings
    given, bars = to_public(drawn, config), len(weights)
    cuts = sorted(set(np.random.default_rng(seed).integers(1, bars, 3).tolist())) if bars > 1 else []
    edges, seen = [0, *cuts, bars], set()
    for a, b in itertools.pairwise(edges):
        begun: dict[str, Any] = {"resume": path, "accept_jumps": True} if a else {"holdings": holdings}
        try:
            result = bt.run(files.part_of(given, a, b), weights[a:b], config, engine=engine, **begun)
        except bt.WeightsError:
            assert held and not a  # the first bars have no price of a holding
            return 0, set()
        result.checkpoint(path)
        state = files.contents(path)
        seen |= set(result.statuses) | {name for name in ("orders", "delisted") if state[name].any()}
        seen |= {"odd"} if (state["holdings"] % 1).any() and config.lot else set()
        seen |= {"short"} if (state["holdings"] < 0).any() else set()
        seen |= {"ended"} if state["ended"].any() else set()
    return len(edges) - 1, seen


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_no_state_of_a_run_is_refused(engine: str, held: bool, tmp_path: Path):
    """Rules of states.RULES are of the law: a run that goes on reads what the one before has written."""
    found = [chained(seed, held, tmp_path / "s.npz", engine) for seed in seeds(range(5000, 5120))]
    seen = set().union(*(what for _, what in found))
    assert sum(count for count, _ in found) > 2 * len(found) / (1 + held)
    if len(found) >= 30:
        wanted = {"orders", "odd", *({"delisted", "short", "ended", "MARGIN_CALL", "BANKRUPT"} if not held else ())}
        assert seen >= wanted, wanted - seen


#: A rule of states.RULES, by its number -> an edit that breaks it and no rule before it.
BREAKS: dict[int, Callable[[dict[str, Any]], Any]] = {
    0: files.with_head(tick="0x1.8p-20"),
    1: files.with_head(clock=0),
    2: files.with_head(named=0),
    3: files.put("first_bar", -2, 1),
    4: lambda arrays: (files.put("first_bar", -2, 1)(arrays), files.with_head(earlier={"MARGIN_CALL": 2**55})(arrays)),
    5: files.put("ended", 1),
    6: files.put("silent", -5),
    7: files.with_array("rows", lambda a: np.concatenate([a, a])),
    8: files.put("rows", -0.5),
    9: files.put("holdings", -1.0),
    10: files.put("holdings", 0.5),
    11: files.put("orders", 0.5),
    12: files.put("holdings", 5.0, 2),
    13: files.put("marks", 0.0),
    14: lambda arrays: arrays["cash"].__iadd__(2.0**-21),
    15: lambda arrays: arrays["peak"].__iadd__(2.0**-21),
    16: files.with_head(opening="0x1p+16"),
}


def test_each_rule_can_be_broken(tmp_path: Path):
    state = files.saved(tmp_path / "s.npz")
    assert sorted(BREAKS) == list(range(len(states.RULES)))
    for number, change in BREAKS.items():
        rule = states.RULES[number]
        with pytest.raises(ResultError) as caught:
            files.go_on(files.rewrite(state, tmp_path / "t.npz", change))
        assert f"damaged ({rule.name}" in str(caught.value) and f": {rule.text})" in str(caught.value), number


def test_an_asset_that_is_wrong_is_named(tmp_path: Path):
    state = files.saved(tmp_path / "s.npz")
    with pytest.raises(ResultError, match=r"holdings\['B'\] is -3\.0: a cash account is long-only\): pass an"):
        files.go_on(files.rewrite(state, tmp_path / "t.npz", files.put("holdings", -3.0, 1)))


def test_the_state_of_an_ended_run_is_the_same_of_every_engine(tmp_path: Path):
    """What an ended run leaves behind is never used again, and differs between engines: it is not written."""
    prices = np.array([[100.0], [100.0], [400.0], [400.0]])
    config = bt.Config(account="margin", execution="next_close", max_leverage=None, maintenance_margin=None)
    for engine in ("numpy", "native"):
        panel = bt.Panel(prices, timestamps=files.DAYS[:4], assets=["A"])
        result = bt.run(panel, np.full((4, 1), -1.0), config, engine=engine)
        assert result.status == SCENARIO_STATUS[3]
        result.checkpoint(tmp_path / f"{engine}.npz")
    one, other = ((tmp_path / f"{engine}.npz").read_bytes() for engine in ("numpy", "native"))
    found = files.contents(tmp_path / "numpy.npz")
    assert one == other and found["cash"] == found["peak"] == 0 and found["ended"] == 1


def spec(tmp_path: Path) -> Any:
    state = load(files.saved(tmp_path / "s.npz"), files.later(), files.CONFIG)
    return _spec(files.later(), files.CONFIG, files.WEIGHTS[6:], state, set())


@pytest.mark.parametrize("name", ["holdings", "orders", "state"])
@pytest.mark.parametrize("make", [lambda a: a[..., :-1], lambda a: a[None], lambda a: np.zeros(a.shape, np.float32)])
def test_a_start_of_another_shape_reaches_no_engine(name: str, make: Any, tmp_path: Path):
    made = spec(tmp_path)
    start = dataclasses.replace(made.start, **{name: make(getattr(made.start, name))})
    with pytest.raises(ValueError, match=f"{name} is .* of shape .*, not "):
        resolve("native").open(dataclasses.replace(made, start=start))


@pytest.mark.parametrize("name", ["close", "volume", "delisted_at", "clock", "tie"])
def test_a_market_of_another_shape_reaches_no_engine(name: str, tmp_path: Path):
    made = spec(tmp_path)
    market = dataclasses.replace(made.market, **{name: getattr(made.market, name)[..., :-1]})
    with pytest.raises(ValueError, match="of shape"):
        dataclasses.replace(made, market=market)


def test_marks_and_weights_of_another_shape_reach_no_engine(tmp_path: Path):
    made = spec(tmp_path)
    before = dataclasses.replace(made.market.before, marks={1.0: np.ones(2)})
    changes: list[dict[str, Any]] = [
        {"weights": (made.weights[0][:-1],)}, {"schedules": made.schedules[:, 1:]}, {"params": made.params[[0, 0]]},
        {"market": dataclasses.replace(made.market, before=before)},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(ValueError, match="of shape"):
            dataclasses.replace(made, **change)
