# SPDX-License-Identifier: Apache-2.0
"""A universe that changes with time, from the table in which it stands to what is traded: who is outside at a bar is
seen there by strategies, ranked by nobody, and sold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from compare import assert_bits

import gpu_bt as bt

T, N = 30, 8
RNG = np.random.default_rng(11)
NAMES = [f"S{i}" for i in range(N)]
STAMPS = np.arange("2022-02-01", "2022-03-03", dtype="datetime64[D]")
CLOSE = 20 * np.exp(np.cumsum(RNG.normal(0, 0.03, (T, N)), axis=0))
INSIDE = np.ones((T, N), bool)
INSIDE[:10, 3] = False  # it joins
INSIDE[15:, 5] = False  # it leaves
INSIDE[::4, 6] = False  # it comes and goes
OFF = np.full(N, -1)
OFF[1] = 20
LISTED = INSIDE & ((OFF < 0) | (OFF > np.arange(T)[:, None]))
CONFIG = bt.Config(lot=0, account="margin", execution="next_close")


def panel(**fields: Any) -> bt.Panel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        return bt.Panel(
            CLOSE, timestamps=STAMPS, assets=NAMES, **{"universe": INSIDE, "delisted_at": OFF, **fields}
        )  # fmt: skip


def from_table() -> bt.Panel:
    """The same from a long table, which has the universe as a column."""
    rows = [
        {"timestamp": STAMPS[t].item(), "asset": name, "close": CLOSE[t, i], "universe": bool(INSIDE[t, i])}
        | {"delisted_at": STAMPS[20].item() if i == 1 else None}
        for t in range(T)
        for i, name in enumerate(NAMES)
    ]
    return bt.read_panel(pl.DataFrame(rows))


def members() -> bt.Panel:
    """The same from a table of members, a row for each change."""
    changes = [0, *(t for t in range(1, T) if (INSIDE[t] != INSIDE[t - 1]).any())]
    table = pl.DataFrame({"timestamp": STAMPS[changes], **{n: INSIDE[changes, i] for i, n in enumerate(NAMES)}})
    return panel(universe=table)


@pytest.mark.parametrize("make", [panel, from_table, members])
def test_the_universe_is_that_of_each_bar(make: Any):
    found = make()
    assert_bits("universe", found.universe, INSIDE)
    assert found.delisted_at.tolist() == OFF.tolist() and "universe" in found.fields


class Picker(bt.Strategy):
    """The best three of a score, and what it has seen."""

    def initialize(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        score = SCORES[batch.bar]
        every = batch.top(score, N, universe=False), batch.bottom(score, N, universe=False)
        self.seen.append((batch.universe.copy(), batch.top(score, 3), batch.bottom(score, 2), *every))
        self.order_target_percent(batch.top(score, 3), 0.3)


SCORES = RNG.normal(size=(T, N))


def test_strategies_see_it_and_pick_in_it():
    strategy = Picker()
    got = bt.run(panel(), strategy, CONFIG)
    for t, (inside, top, bottom, every, last) in enumerate(strategy.seen):
        assert_bits("universe", inside, INSIDE[t])
        names = sorted((i for i in range(N) if LISTED[t, i]), key=lambda i: -SCORES[t, i])
        assert top.tolist() == names[:3] and bottom.tolist() == names[:-3:-1]
        assert sorted(every.tolist()) == sorted(last.tolist()) == list(range(N))
    assert len(strategy.seen) == T and got.decisions == T


def test_without_a_universe_only_the_delisted_are_left_out():
    class All(Picker):
        def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
            self.seen.append(batch.top(SCORES[batch.bar], N))
            self.order_target_percent([0], 0.5)

    strategy = All()
    bt.run(panel(universe=None), strategy, CONFIG)
    assert [sorted(top.tolist()) for top in strategy.seen] == [
        [i for i in range(N) if not (i == 1 and t >= 20)] for t in range(T)
    ]


def test_operators_books_and_scores_count_its_members_alone():
    own = panel()
    for universe, inside in ((own, LISTED), (INSIDE, INSIDE)):
        assert (np.isfinite(bt.books.rank(SCORES, universe=universe)) == inside).all()
        book = bt.books.top(SCORES, 2, 2, universe=universe)
        held = np.nan_to_num(book) != 0
        assert not (held & ~inside).any() and (held.sum(axis=1) == 4).all()
    assert_bits("scores", bt.Scores(SCORES, long=2, short=2).weights(own), bt.books.top(SCORES, 2, 2, universe=own))
    ranking = bt.Scores(SCORES).ranking(own)
    assert ranking.starts[:, 1].tolist() == LISTED.sum(axis=1).tolist()


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_who_leaves_is_sold_and_nobody_outside_is_bought(engine: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        grid = {"long": [2, 4], "short": [0, 2], "outside": ["close", "hold"], "keep": [1, 2]}
        own, scores = panel(), bt.Scores(SCORES)
        found = bt.sweep(own, scores, CONFIG, grid, engine=engine, equity=True)
        for k, row in enumerate(found.table.iter_rows(named=True)):
            config = CONFIG.replace(outside=row["outside"])
            weights = bt.Scores(SCORES, long=row["long"], short=row["short"], keep=row["keep"]).weights(own)
            want = bt.run(own, weights, config, engine=engine, record="positions")
            assert_bits("equity", found.equity[k], want.raw.money[0, 0])
            held = want.positions
            late = ~LISTED[1:] & ~LISTED[:-1]  # outside when it was decided, and still: what fills is the exit
            grown = np.abs(np.nan_to_num(held[1:])) > np.abs(np.nan_to_num(held[:-1])) + 1e-9
            assert not (grown & late).any()
            assert not np.nan_to_num(held[17:, 5]).any() or row["outside"] == "hold"
