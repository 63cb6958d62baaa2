# SPDX-License-Identifier: Apache-2.0
"""Result.orders_next: against the oracle, which knows each order's bar, limit and stop, and against the bar that
follows."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build import callback_spec, panel_of, spec_of
from draw import scenario
from draw_orders import callback_scenario
from extent import seeds
from oracle import _Run

import gpu_bt as bt
from gpu_bt.analysis.advice import Watch
from gpu_bt.analysis.standing import asking_of, standing
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Decision, simulate

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")


class Told(_Run):
    """The oracle, which notes at which bar each asset's order was last replaced."""

    now: int | None = None

    def orders(self, t, targets, banded):
        self.now = t
        super().orders(t, targets, banded)
        self.now = None

    def margin_call(self, t):
        self.now = t
        called = super().margin_call(t)
        self.now = None
        return called

    def unconditional(self, i):
        if self.now is not None:
            self.last[i] = self.now
        super().unconditional(i)

    def direct(self, t, i, x, limit, stop):
        if not math.isinf(x):
            self.last[i] = t
        super().direct(t, i, x, limit, stop)

    def run(self):
        self.last = [-1] * self.n
        return super().run()


def check(found: Any, raw: Any, told: Told, seen: Counter) -> None:
    """The bar, limit and stop of each order are the oracle's."""
    working = [i for i in range(told.n) if told.o[i] != 0.0]
    assert found.asset.tolist() == working
    for k, i in enumerate(working):
        assert found.bar[k] == told.last[i], (i, found.bar[k], told.last[i])
        stop = math.nan if told.triggered[i] else told.stop[i]
        for name, want in (("limit", told.limit[i]), ("stop", stop)):
            got = getattr(found, name)[k]
            assert got == want or (math.isnan(got) and math.isnan(want)), (name, got, want)
            seen[name] += not math.isnan(want)
        seen["triggered"] += told.triggered[i]
        seen["older than the last bar"] += told.last[i] < told.bars - 1
        seen["orders"] += 1


@pytest.mark.parametrize("block", seeds(range(4)))
def test_orders_of_weights_are_those_of_the_oracle(block: int):
    seen: Counter[str] = Counter()
    for seed in range(block * 150, (block + 1) * 150):
        panel, weights, config = scenario(seed)
        spec = spec_of(panel_of(panel, config), [weights], [config])
        raw = simulate(resolve("cpu"), spec)
        told = Told(panel, weights, config, None, None)
        told.run()
        if not raw.state["ended"][0]:
            check(standing(spec.market, spec.params[0], lambda spec=spec: asking_of(spec), raw), raw, told, seen)
    assert seen["orders"] > 80 and seen["older than the last bar"] > 8, seen


@pytest.mark.parametrize("block", seeds(range(4)))
def test_orders_of_strategies_are_those_of_the_oracle(block: int):
    seen: Counter[str] = Counter()
    for seed in range(block * 150, (block + 1) * 150):
        panel, weights, config, orders = callback_scenario(seed)
        spec = callback_spec(panel_of(panel, config), config)
        watch, session, at = Watch(panel.shape[1], config.outside == "close", config.sizing == "last"), None, 0
        session = resolve("cpu").open(spec)
        for t in np.flatnonzero(spec.schedules[0]).tolist():
            session.advance(at, t)
            decision, at = None, t + 1
            if session.open_bar(t):
                part = orders.exits[t]
                lots = np.where(np.isnan(part), orders.lots[t], -(part * session.book().lots) + 0.0)
                cells = np.stack([weights[t], lots, orders.limit[t], orders.stop[t]])
                decision = Decision(*cells)
                watch(t, cells, spec.market)
            session.close_bar(t, decision)
        session.advance(at, panel.shape[0])
        raw = session.result()
        told = Told(panel, weights, config, orders, None)
        told.run()
        if not raw.state["ended"][0]:
            check(standing(spec.market, spec.params[0], watch.asking(), raw), raw, told, seen)
    assert min(seen[name] for name in ("limit", "stop", "triggered", "older than the last bar")) > 5, seen


def market(t: int = 8, **fields: Any) -> bt.Panel:
    """Two assets whose prices stand still unless said otherwise."""
    rows = {name: np.full((t, 2), 100.0) for name in ("close", "open")}
    stamps = np.datetime64("2024-01-01") + np.arange(t)
    return bt.Panel(**{**rows, **fields}, timestamps=stamps, assets=["A", "B"])


def test_what_fills_at_the_next_bar_is_what_was_said():
    """Runs that are cut at a bar, and the whole one: each fill of the next bar is of an order that was told, a whole
    one unless volume or cash cut it."""
    told = 0
    for seed in seeds(range(240)):
        drawn, weights, config = scenario(seed)
        if config.execution == "same_close":
            continue  # those of the next bar are decided there
        panel = panel_of(drawn, config)
        whole = bt.run(panel, weights, config, engine="cpu")
        for t in range(2, panel.shape[0], 5):
            first = bt.run(panel[: whole.timestamps[t - 1]], weights[:t], config, engine="cpu")
            orders = {row["asset"]: row for row in first.orders_next.to_dicts()}
            fills = whole.fills.filter(whole.fills["timestamp"] == whole.timestamps[t])
            for fill in fills.to_dicts():
                order, place = orders[fill["asset"]], panel.index[fill["asset"]]
                if panel.split is not None and panel.split[t, place] != 1:
                    continue  # it changes the order before it fills
                assert order["kind"] == "market" and order["shares"] * fill["shares"] > 0
                assert abs(fill["shares"]) <= abs(order["shares"]) * (1 + 1e-12)
                if fill["status"] == "FILLED":
                    assert fill["shares"] == order["shares"]
                    told += 1
    assert told > 40


class Orders(bt.Strategy):
    def __init__(self, **orders: Any) -> None:
        self.wanted = orders

    def on_data_batch(self, timestamp, batch):
        if batch.bar == 2:
            self.order("A", 10, **self.wanted)


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [({"limit": 90.0}, "limit"), ({"stop": 120.0}, "stop"), ({"limit": 110.0, "stop": 120.0}, "stop_limit")],
)
def test_limits_and_stops_are_told(wanted: dict[str, float], kind: str):
    flat = {name: np.full((8, 2), 100.0) for name in ("high", "low")}
    found = bt.run(market(**flat), Orders(**wanted), engine="cpu").orders_next
    row = {"asset": "A", "decided": found["decided"][0], "shares": 10.0, "filled": 0.0, "kind": kind}
    assert found.to_dicts() == [{**row, **{"limit": None, "stop": None}, **wanted}]
    assert str(found["decided"][0])[:10] == "2024-01-03"


def test_a_rest_and_a_split():
    """Volume lets 4 shares a bar through; a split of 2 for 1 doubles what is left and what has filled."""
    volume, split = np.full((6, 2), 4.0), np.ones((6, 2))
    prices = np.full((6, 2), 100.0)
    prices[4:, 0], split[4, 0] = 50.0, 2.0
    panel = market(6, close=prices, open=prices, volume=volume, split=split, prices="raw")
    weights = np.full((6, 2), np.nan)
    weights[1] = 0.05, np.nan
    found = bt.run(panel, weights, bt.Config(initial_cash=1e5, participation=1.0, cash_buffer=0.0), engine="cpu")
    row = found.orders_next.to_dicts()[0]
    assert found.fills["shares"].to_list() == [4.0, 4.0, 4.0, 4.0]
    assert (row["shares"], row["filled"]) == ((50 - 8) * 2 - 8, 8 * 2 + 8)
    assert str(row["decided"])[:10] == "2024-01-02" and row["kind"] == "market"


def test_nothing_works_and_nothing_is_left_of_a_run_that_ended():
    assert bt.run(market(), np.zeros((8, 2)), engine="cpu").orders_next.height == 0
    prices = np.full((8, 2), 100.0)
    prices[4:] = 1.0
    config = bt.Config(account="margin", max_leverage=None, maintenance_margin=None, lot=0)
    found = bt.run(market(close=prices, open=prices), np.full((8, 2), 2.0), config, engine="cpu")
    assert found.status == "BANKRUPT" and found.orders_next.height == 0
    assert found.orders_next.columns == ["asset", "decided", "shares", "filled", "kind", "limit", "stop"]


def test_fills_that_are_not_at_hand_are_null():
    flat = {name: np.full((8, 2), 100.0) for name in ("high", "low")}
    found = bt.run(market(**flat), Orders(limit=90.0), engine="cpu", record=()).orders_next
    assert found["filled"].to_list() == [None] and found["shares"].to_list() == [10.0]


def test_streams_and_resumed_runs_do_not_know_the_bar(tmp_path: Path):
    weights = np.full((8, 2), np.nan)
    weights[7] = 0.4
    panel = market()
    long = {"timestamp": np.repeat(panel.timestamps, 2), "asset": ["A", "B"] * 8, "close": panel.close.ravel()}
    import polars as pl

    pl.DataFrame(long).write_parquet(tmp_path / "p.parquet")
    found = bt.run(
        bt.scan_panel(tmp_path / "p.parquet", bars=3), weights, bt.Config(execution="next_close")
    ).orders_next
    assert found["decided"].to_list() == [None, None] and (found["shares"] > 0).all()
    first = bt.run(panel, weights, engine="cpu")
    first.checkpoint(tmp_path / "state")
    closed = np.full((2, 2), np.nan)
    later = bt.Panel(close=closed, open=closed, timestamps=["2024-01-09", "2024-01-10"], assets=["A", "B"])
    again = bt.run(later, np.full((2, 2), np.nan), resume=tmp_path / "state", engine="cpu").orders_next
    assert (
        again["decided"].to_list() == [None, None]
        and again["shares"].to_list() == first.orders_next["shares"].to_list()
    )


def test_a_result_with_orders_can_be_copied():
    found = bt.run(market(), np.full((8, 2), 0.3), bt.Config(rebalance_every=7), engine="cpu")
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert other.orders_next.equals(found.orders_next) and other.weights.tolist() == found.weights.tolist()
