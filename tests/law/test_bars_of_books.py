# SPDX-License-Identifier: Apache-2.0
"""[B5] Books in the bars of a run, worked by hand: what is read, what stays the last book, what is counted.

1024 of cash, no buffer, prices of 16: a weight of 1 is 64 shares. Rows of scores are names in falling order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from draw_books import Scored
from kit import NAN, panel
from oracle import OraclePanel
from oracle_books import Book

import gpu_bt as bt
from gpu_bt.analysis.spans import began
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import pack
from gpu_bt.runs.run import schedule_of


def spec(
    rows: list[str], book: Book, *, close: Any = None, universe: Any = None, delisted_at: Any = None, **settings: Any
) -> RunSpec:
    """A run of one scenario over the assets A, B and C."""
    scores = np.array([[len(r) - r.index(name) if name in r else NAN for name in "ABC"] for r in rows], np.float64)
    t = len(rows)
    prices = np.full((t, 3), 16.0) if close is None else np.array(close, np.float64)
    inside = None if universe is None else np.array(universe, bool)
    off = None if delisted_at is None else np.array(delisted_at)
    own = Scored.of(OraclePanel(np.arange(t), prices, [*"ABC"], universe=inside, delisted_at=off), scores)
    more = {name: x for name, x in (("universe", inside), ("delisted_at", off)) if x is not None}
    config = bt.Config(**{"initial_cash": 1024.0, "execution": "same_close", "cash_buffer": 0.0, **settings})
    market = panel(prices, assets=[*"ABC"], **more)
    return RunSpec(
        market.market, pack([config]), (own.ranked(book),), schedule_of(market, config)[None], positions=True
    )


def run(engine: str, *given: Any, **settings: Any) -> tuple[list[str], RawResult]:
    """The names held after each bar with their shares, "A64 C8", and the record."""
    own = spec(*given, **settings)
    session = resolve(engine).open(own)
    session.advance(0, own.market.shape[0])
    raw = session.result()
    assert raw.engine == engine
    held = [" ".join(f"{name}{x:g}" for name, x in zip("ABC", row, strict=True) if x) for row in raw.positions[0]]
    return held, raw


def test_a_book_is_held_and_replaced(engine):
    held, _ = run(engine, ["ABC", "CAB", "CAB"], Book(long=1))
    assert held == ["A64", "C64", "C64"]
    held, _ = run(engine, ["ABC", "BAC", "CBA"], Book(long=2, scheme="rank", long_gross=0.75))
    assert held == ["A32 B16", "A16 B32", "B16 C32"]


def test_long_and_short(engine):
    held, raw = run(engine, ["ABC", "CAB"], Book(long=1, short=1, short_gross=0.5), account="margin")
    assert held == ["A64 C-32", "B-32 C64"]
    assert raw.column("short_value").tolist() == [[-512.0, -512.0]]


def test_a_row_without_ranked_assets_decides_nothing(engine):
    held, raw = run(engine, ["ABC", "", "BCA"], Book(long=1), unfilled="cancel")
    assert held == ["A64", "A64", "B64"] and raw.column("fills").tolist() == [[1, 0, 2]]


def test_a_scheduled_bar_reads_its_row_alone(engine):
    """c = 2. Row 1, which bar 1 does not read, would have made B the last book."""
    assert run(engine, ["ABC", "BCA", "BAC"], Book(long=1, keep=2.0))[0] == ["A64", "B64", "B64"]
    assert run(engine, ["ABC", "BCA", "BAC"], Book(long=1, keep=2.0), rebalance_every=2)[0] == ["A64"] * 3


def test_a_lag_reads_earlier_rows(engine):
    """Bars 0 and 2 and 4 decide, from nothing, row 1 and row 3."""
    rows = ["ABC", "BCA", "ABC", "CBA", "ABC"]
    held, _ = run(engine, rows, Book(long=1, keep=2.0), rebalance_every=2, signal_lag=1)
    assert held == ["", "", "B64", "B64", "B64"]
    held, _ = run(engine, rows, Book(long=1), rebalance_every=2, signal_lag=1)
    assert held == ["", "", "B64", "B64", "C64"]


def test_a_book_that_was_not_traded_is_the_last_one(engine):
    """A is outside at bar 1, which reads row 0: its target is 0. It was in the last book all the same, so that bar 3,
    which reads row 2, takes it before B."""
    inside = [[1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    held, raw = run(engine, ["ABC", "", "BAC", "BAC"], Book(long=1, keep=2.0), universe=inside, signal_lag=1)
    assert held == ["", "", "", "A64"] and raw.column("outside").tolist() == [[0, 1, 0, 0]]


def test_a_gross_that_is_too_small_to_be_shared(engine):
    """Half of the smallest number is 0: no targets, and so none outside at bar 1. A and B are names all the same."""
    inside = [[1, 1, 1], [0, 0, 0], [1, 1, 1]]
    held, raw = run(engine, ["ABC"] * 3, Book(long=2, long_gross=5e-324), universe=inside, signal_lag=1)
    assert held == [""] * 3 and raw.column("outside").tolist() == [[0, 0, 0]]


def test_the_book_of_a_bar_with_a_margin_call_is_the_last_one(engine):
    """96 A at 16 on 1024; at 8 the equity is 256 < 0.5*768, so that bar 2 does not decide. Its row made B the book,
    which therefore stays at bar 3: 1.5*256 at 16. Were it A's still, A would be third there, and C be taken."""
    close = [[16, 16, 16], [16, 16, 16], [8, 16, 16], [8, 16, 16], [8, 16, 16]]
    margin = {"account": "margin", "maintenance_margin": 0.5, "max_leverage": None, "execution": "next_close"}
    book = Book(long=1, keep=2.0, long_gross=1.5)
    held, raw = run(engine, ["ABC", "ABC", "BCA", "CBA", "CBA"], book, close=close, **margin)
    assert raw.state["first_bar"][0][1] == 2  # MARGIN_CALL
    assert held[1:3] == ["A96", "A96"] and held[4] == "B24"


def test_a_name_delisted_since_its_row_has_no_target(engine):
    """A was ranked at row 0; bar 1 reads it, when A is gone. So is C, whose target of 0 was one, too."""
    held, raw = run(engine, ["AB", "BCA", "BCA"], Book(long=1), delisted_at=[1, -1, 1], signal_lag=1)
    assert held == ["", "", "B64"] and raw.column("delisted").tolist() == [[0, 2, 0]]


def test_who_is_not_in_the_book_is_sold(engine):
    """B has no score at bar 1, A is delisted at bar 2: what is held of B is sold, of A settled."""
    held, raw = run(engine, ["ABC", "AC", "C"], Book(long=2), delisted_at=[2, -1, -1])
    assert held == ["A32 B32", "A32 C32", "C64"] and raw.column("settlements").tolist() == [[0.0, 0.0, 512.0]]


def test_the_first_bar_of_the_metrics_needs_a_name_that_may_be_held():
    """The last bar of each: the book's A is outside until bar 2; A is delisted when the lagged row is read."""
    inside = [[1, 1, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]]
    late = spec(["ABC", "ABC", "ABC", "ABC"], Book(long=1), universe=inside, signal_lag=1)
    assert began(late).tolist() == [2]  # row 1 ranks B first, since A is outside at it
    assert began(spec(["ABC", "", "ABC"], Book(long=1), delisted_at=[1, -1, -1], signal_lag=1)).tolist() == [-1]
    assert began(spec(["", "ABC", "ABC"], Book(long=1))).tolist() == [1]
    assert began(spec(["", "", "ABC"], Book(long=1), rebalance_every=2)).tolist() == [2]
    assert began(spec(["", "ABC", ""], Book(long=1), rebalance_every=2)).tolist() == [-1]
