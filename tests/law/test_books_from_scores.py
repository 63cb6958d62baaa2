# SPDX-License-Identifier: Apache-2.0
"""[B1] to [B5] Books from scores: by hand, and drawn, the engines' reference against the oracle's loops.

A row of scores is written as the names of its assets in falling order, "BCA" gives B 3, C 2, A 1; one that is not
written is not ranked. A row of weights is written with the names, {"A": 0.5}; others are 0.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from draw_books import Scored, draw_book, scored
from extent import seeds
from oracle import OraclePanel
from oracle_books import Book, order_of, rows_read

NAN = math.nan
LETTERS = "ABCDEFGHIJ"


def in_order(*rows: str, n: int = 5) -> np.ndarray:
    """(T, n) scores of rows of names."""
    out = np.full((len(rows), n), NAN)
    for t, names in enumerate(rows):
        for place, name in enumerate(names):
            out[t, LETTERS.index(name)] = len(names) - place
    return out


def formed(
    scores: Any, groups: Any = None, read: Any = None, **given: Any
) -> tuple[list[dict[Any, float] | None], list[int]]:
    """The row of weights at each row read, all by default, as the oracle and the reference form them, which agree: of
    each the names that have a weight, or None where the row is NaN; and which rows are thin."""
    scores = np.atleast_2d(np.array(scores))
    t, n = scores.shape
    panel = OraclePanel(np.arange(t), np.ones((t, n)), [*LETTERS[:n]] if n <= 10 else range(n))
    for name in given.keys() & {"universe", "delisted_at"}:
        setattr(panel, name, np.array(given.pop(name)))
    own = Scored.of(panel, scores, None if groups is None else np.array(groups))
    rows, thin = assert_reference(own, Book(**given), range(t) if read is None else read)
    found = [{LETTERS[i] if n <= 10 else i: w for i, w in enumerate(row) if w != 0.0} for row in rows.tolist()]
    return [None if np.isnan(row).all() else names for row, names in zip(rows, found, strict=True)], thin


def assert_reference(own: Scored, book: Book, read: Any) -> tuple[np.ndarray, list[int]]:
    """The oracle's rows and thin rows, which are those of the engines' reference."""
    mask = np.isin(np.arange(own.panel.shape[0]), list(read))
    rows, thin = own.rows_and_thin(book, list(read))
    ranked = own.ranked(book)
    got, bars = np.full(own.panel.shape, NAN), []
    for t, row in ranked.weights(mask):
        got[t] = row
        bars.append(t)
    assert_bits("rows", got, rows)
    assert bars == [t for t in read if order_of(own.panel, own.scores, own.groups, t)]
    assert [t for t in bars if ranked.thin[t]] == thin
    return rows, thin


def rows(*given: Any, **more: Any) -> list[dict[str, float] | None]:
    return formed(*given, **more)[0]


def row(*given: Any, **more: Any) -> dict[str, float] | None:
    [only] = rows(*given, **more)
    return only


# --- [B1] ---


def test_places_are_in_falling_order():
    assert row([3.0, 1.0, 2.0, 0.5], long=4, scheme="rank") == {"A": 0.4, "C": 0.3, "B": 0.2, "D": 0.1}
    assert row([3.0, 1.0, 2.0, 0.5], short=1) == {"D": -1.0}


def test_equal_scores_stand_in_the_order_of_the_panel():
    assert row([1.0, 2.0, 1.0, 2.0], long=3, scheme="rank") == {"B": 3 / 6, "D": 2 / 6, "A": 1 / 6}
    assert row([1.0, 1.0, 1.0, 1.0], long=1, short=1) == {"A": 1.0, "D": -1.0}


def test_both_zeros_are_equal():
    assert row([-0.0, 0.0, -1.0, 5e-324], long=3, scheme="rank") == {"D": 3 / 6, "A": 2 / 6, "B": 1 / 6}
    assert row([0.0, -0.0, 0.0], short=2, scheme="rank") == {"C": -2 / 3, "B": -1 / 3}


def test_float32_scores_are_the_numbers_that_they_are():
    near = np.array([[1.0, 1.0 + 2.0**-23, 1.0 + 2.0**-30]])
    assert row(near, long=2, scheme="rank") == {"B": 2 / 3, "C": 1 / 3}
    assert row(near.astype(np.float32), long=2, scheme="rank") == {"B": 2 / 3, "A": 1 / 3}


def test_who_is_ranked():
    """A has no score, B is outside the universe, C is delisted before the bar, D has no group: E is left."""
    given = {"universe": [[1, 0, 1, 1, 1]], "delisted_at": [-1, 3, 0, 1, 9], "groups": [0, 0, 0, -1, 0]}
    assert str(row([NAN, 9.0, 8.0, 7.0, 6.0], long=4, **given)) == "{'C': nan, 'E': 1.0}"


def test_the_universe_and_the_groups_are_those_of_the_row():
    scores = in_order("ABC", "ABC", n=3)
    assert rows(scores, universe=[[0, 1, 1], [1, 0, 1]], long=1) == [{"B": 1.0}, {"A": 1.0}]
    assert rows(scores, groups=[[0, -1, 0], [-1, -1, 0]], long=1) == [{"A": 1.0}, {"C": 1.0}]


# --- [B2] ---


@pytest.mark.parametrize(
    ("wanted", "n", "names"),
    [(2, 5, 2), (9, 5, 5), (0.5, 5, 2), (0.1, 5, 1), (1e-9, 5, 1), (0.99, 5, 4), (0.6666666, 3, 2), (0.66666, 3, 1),
     (0.29, 100, 29)],
)  # fmt: skip
def test_how_many_names(wanted, n, names):
    """0.29*100 is 28.999999999999996 and so 29; within 1e-6 of two of three are two."""
    assert len(row(np.arange(float(n)), long=wanted)) == names
    assert len(row(np.arange(float(n)), short=wanted)) == names


@pytest.mark.parametrize(
    ("long", "short", "names", "thin"),
    [(2, 2, ("AB", "CD"), False), (3, 2, ("ABC", "D"), True), (4, 0, ("ABCD", ""), False), (4, 1, ("ABCD", ""), True),
     (5, 0, ("ABCD", ""), True), (0, 4, ("", "ABCD"), False), (0, 5, ("", "ABCD"), True),
     (0.75, 0.5, ("ABC", "D"), True), (0.75, 0.25, ("ABC", "D"), False)],
)  # fmt: skip
def test_the_long_side_comes_first_and_thin_rows_are_told(long, short, names, thin):
    [found], thin_rows = formed(in_order("ABCD", n=4), long=long, short=short)
    assert tuple("".join(name for name in found if found[name] * side > 0) for side in (1, -1)) == names
    assert thin_rows == [0] * thin


def test_a_fraction_is_one_of_the_group():
    """0.5 of the four of group 0, and of the two of group 1."""
    found, thin = formed(in_order("ABCDEF", n=6), groups=[0, 0, 0, 0, 1, 1], long=0.5)
    assert found == [{"A": 0.25, "B": 0.25, "E": 0.5}] and thin == []


def test_one_group_makes_a_row_thin_and_one_without_names_does_not():
    scores = in_order("ABC", "ABCD", n=4)
    assert formed(scores, groups=[0, 0, 1, 2], long=2)[1] == [0, 1]
    assert formed(scores, groups=[0, 0, 1, 1], long=1)[1] == []
    assert formed(scores, groups=[0, 0, 1, 3], long=1)[1] == []


def test_as_many_groups_as_a_byte_numbers():
    scores, groups = np.append(np.arange(128.0), NAN), np.append(np.arange(128), -1).astype(np.int8)
    found = row(scores, groups=groups, long=1)
    assert found == dict.fromkeys(range(128), 1 / 128)


# --- [B3] ---


def test_the_work_of_a_row_does_not_grow_with_the_groups():
    """A sweep of many scenarios looks at rows of each, whatever runs it."""
    panel, scores, calls = OraclePanel(np.arange(2), np.ones((2, 600)), range(600)), np.ones((2, 600)), []
    for groups in (2, 200):
        ranked = Scored.of(panel, scores, np.arange(600) % groups).ranked(Book(long=1, short=1, keep=2.0))
        seen: list[str] = []
        sys.setprofile(lambda frame, event, what, seen=seen: seen.append(event))
        try:
            list(ranked.weights(np.ones(2, bool)))
        finally:
            sys.setprofile(None)
        calls.append(len(seen))
    assert calls[0] == calls[1]


def test_without_keep_only_the_row_counts():
    assert rows(in_order("ABCDE", "CADBE", "EDCBA"), long=2) == [
        {"A": 0.5, "B": 0.5}, {"C": 0.5, "A": 0.5}, {"E": 0.5, "D": 0.5},
    ]  # fmt: skip


def test_a_name_stays_while_it_is_among_the_first_m():
    """L = 2, c = 2: m = 4. A stays at place 2, B falls to place 4; then both, C and A, stay at the places 2 and 3."""
    assert rows(in_order("ABCDE", "CDAEB", "EDCAB", "EDBCA"), long=2, keep=2.0, scheme="rank") == [
        {"A": 2 / 3, "B": 1 / 3}, {"C": 2 / 3, "A": 1 / 3}, {"C": 2 / 3, "A": 1 / 3}, {"E": 2 / 3, "C": 1 / 3},
    ]  # fmt: skip


def test_the_first_of_those_who_may_stay():
    """Half of six are three, half of four two: of A, B, C, who all may stay, the first two by the places of the row."""
    assert rows(in_order("ABCDEF", "DCBA", n=6), long=0.5, keep=2.0)[1] == {"C": 0.5, "B": 0.5}


@pytest.mark.parametrize(
    ("keep", "m"), [(1.0, 3), (1.25, 3), (1.3, 3), (1.3333333, 4), (4 / 3, 4), (1.5, 4), (1.7, 5), (3.0, 9)]
)
def test_how_far_a_name_may_fall(keep, m):
    """whole(c*3): 1.3333333*3 is within 1e-6 of 4."""
    for place in range(3, 10):
        others = "BCDEFGHIJ"
        fallen = others[:place] + "A" + others[place:]
        assert ("A" in rows(in_order("ABCDEFGHIJ", fallen, n=10), long=3, keep=keep)[1]) == (place < m)


def test_keep_is_of_the_names_taken_and_not_of_those_wanted():
    """Five wanted, three taken of three: m = 3 at the first row, then c*4 = 8 of the four."""
    assert rows(in_order("ABC", "DABC", n=5), long=5, keep=2.0)[1] == dict.fromkeys("ABCD", 0.25)
    # S = 2 where one is left: k = 1, so m = 1 although 2*1.5 = 3 is wanted; c*1 = 1.5.
    found = rows(in_order("ABCD", "ABDC", n=4), long=3, short=2, keep=1.5)
    assert found == [dict.fromkeys("ABC", 1 / 3) | {"D": -1.0}, dict.fromkeys("ABC", 1 / 3) | {"D": -1.0}]


def test_the_short_side_begins_with_the_last_place():
    assert rows(in_order("ABCDE", "EDCBA"), short=2, scheme="rank") == [
        {"E": -2 / 3, "D": -1 / 3}, {"A": -2 / 3, "B": -1 / 3},
    ]  # fmt: skip
    assert rows(in_order("ABCDE", "ABECD", "EABCD"), short=1, keep=3.0) == [{"E": -1.0}, {"E": -1.0}, {"D": -1.0}]


def test_zones_that_overlap():
    """c = 3: A stays long in the last place; B and C are left for the short side, where C may stay in the first."""
    assert rows(in_order("ABC", "CBA", "BCA", n=3), long=1, short=1, keep=3.0) == [{"A": 1.0, "C": -1.0}] * 3


def test_candidates_of_the_short_side_are_those_who_are_left():
    """Row 1: A and B, last of all, stay long, so that the short side's first candidates are C and D; m = 2 of C, D, E:
    E, who was short, is third."""
    assert rows(in_order("ABCDE", "EDCBA"), long=2, short=1, keep=2.5) == [
        {"A": 0.5, "B": 0.5, "E": -1.0}, {"A": 0.5, "B": 0.5, "C": -1.0},
    ]  # fmt: skip


def test_the_other_side_is_no_reason_to_stay():
    """m = 2 on each side. E was short: of C and E the first is long. A was long: of B and A the last is short."""
    assert rows(in_order("ABCDE", "CED"), long=1, short=1, keep=2.0)[1] == {"C": 1.0, "E": -1.0}
    assert rows(in_order("ABCDE", "CDAB"), long=1, short=1, keep=2.0)[1] == {"C": 1.0, "B": -1.0}


def test_a_name_stays_in_another_group():
    """B, who was long, moves to the group of C, D and E: with m = 2 it stays in the second place, not in the third."""
    groups = [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert rows(in_order("BADCE", "ACBDE"), groups=groups, long=1, keep=2.0)[1] == {"A": 0.5, "B": 0.5}
    assert rows(in_order("BADCE", "ACEBD"), groups=groups, long=1, keep=2.0)[1] == {"A": 0.5, "C": 0.5}


# --- [B4] ---


def test_equal_and_falling_weights():
    assert row(in_order("ABCDE"), long=3, long_gross=1.5) == dict.fromkeys("ABC", 0.5)
    assert row(in_order("ABCDE"), long=3, short=2, scheme="rank", long_gross=3.0, short_gross=0.75) == {
        "A": 1.5, "B": 1.0, "C": 0.5, "E": -0.5, "D": -0.25,
    }  # fmt: skip


def test_the_order_of_operations():
    """((G/g)*p)/q: whatever else is equal on paper has other last bits somewhere in this book."""
    found = row(in_order("ABCDEFG", n=7), groups=[0] * 5 + [1, 2], long=5, scheme="rank", long_gross=0.9)
    wanted = [0.3 * 5 / 15, 0.3 * 4 / 15, 0.3 * 3 / 15, 0.3 * 2 / 15, 0.3 * 1 / 15, 0.3, 0.3]
    assert 0.9 / 3 == 0.3 and list(found.values()) == wanted
    assert wanted[:5] not in ([0.3 * (p / 15) for p in (5, 4, 3, 2, 1)], [0.9 * p / 45 for p in (5, 4, 3, 2, 1)])


def test_each_side_is_shared_by_the_groups_that_have_names_on_it():
    """Group 0 has A, B, C, group 1 D alone, which is long: the short side is one group's."""
    assert row(in_order("ABCD"), groups=[0, 0, 0, 1, 7], long=1, short=1) == {"A": 0.5, "D": 0.5, "C": -1.0}


def test_who_is_not_chosen_has_a_target_of_0_and_who_is_delisted_none():
    panel = OraclePanel(np.arange(3), np.ones((3, 4)), [*"ABCD"], delisted_at=np.array([1, -1, 9, 2]))
    own = Scored.of(panel, in_order("ABD", "ABD", "ABD", n=4))
    found, _ = assert_reference(own, Book(long=1), range(3))
    assert_bits("rows", found, np.array([[1.0, 0.0, 0.0, 0.0], [NAN, 1.0, 0.0, 0.0], [NAN, 1.0, 0.0, NAN]]))


def test_a_row_without_ranked_assets_is_no_row():
    assert formed(in_order("AB", "", "BA"), long=1) == ([{"A": 1.0}, None, {"B": 1.0}], [])
    assert formed(in_order("AB", "AB"), universe=[[1] * 5, [0] * 5], long=3) == ([{"A": 0.5, "B": 0.5}, None], [0])
    assert rows(in_order("AB", "AB"), groups=[-1] * 5, long=1) == [None, None]


# --- [B5] ---


def test_the_last_book_is_that_of_the_last_row_read():
    """c = 2: A stays if it was chosen at the row before. Row 1, where B is first by far, is read or not."""
    scores = in_order("ABC", "BCA", "BAC", n=3)
    assert rows(scores, long=1, keep=2.0) == [{"A": 1.0}, {"B": 1.0}, {"B": 1.0}]
    assert rows(scores, read=(0, 2), long=1, keep=2.0) == [{"A": 1.0}, None, {"A": 1.0}]
    assert rows(scores, read=(2,), long=1, keep=2.0) == [None, None, {"B": 1.0}]


def test_a_row_without_ranked_assets_leaves_the_last_book():
    scores = in_order("ABC", "", "BAC", n=3)
    assert rows(scores, long=1, keep=2.0)[2] == {"A": 1.0}
    ranked = Scored.of(OraclePanel(np.arange(3), np.ones((3, 3)), [*"ABC"]), scores).ranked(Book(long=1))
    row, stood = ranked.form(1, np.array([1, 0, 2], np.uint8))
    assert np.isnan(row).all() and stood.tolist() == [1, 0, 2]


def test_a_side_without_names_was_a_book():
    """At row 1 group 0 alone has names: B and C, of group 1, were on no side in the last book."""
    found = rows(in_order("ABC", "A", "ACB", n=3), groups=[0, 1, 1], long=1, keep=2.0)
    assert found == [{"A": 0.5, "B": 0.5}, {"A": 1.0}, {"A": 0.5, "C": 0.5}]


# --- drawn ---


@pytest.mark.parametrize("block", seeds(range(4)))
def test_drawn_books(block):
    """Rankings and rows, each on several books."""
    seen: Counter[str] = Counter()
    for seed in range(block * 60, (block + 1) * 60):
        [own], _, config = scored(seed)
        assert_places(own)
        read, rng = rows_read(own.panel, config), np.random.default_rng([seed, 16])
        for _ in range(4):
            book = draw_book(rng, own.panel.shape[1], config.account)
            found, thin = assert_reference(own, book, read)
            seen["thin"] += len(thin)
            seen["full"] += len(read) - len(thin)
            seen["none"] += int(np.isnan(found).all(axis=1)[read].sum())
            seen["kept"] += int((found != own.rows_and_thin(dataclasses.replace(book, keep=1.0), read)[0])[read].any())
            seen["groups"] += own.groups is not None
            seen["float32"] += own.scores.dtype == np.float32
            own_zeros = np.signbit(own.scores[own.scores == 0.0])
            seen["both zeros"] += bool(own_zeros.any() and not own_zeros.all())
    assert min(seen.values()) >= 8 and len(seen) == 7, seen


def assert_places(own: Scored) -> None:
    """The ranking's places, group by group, are the oracle's."""
    ranking = own.ranking
    for t in range(own.panel.shape[0]):
        groups = order_of(own.panel, own.scores, own.groups, t)
        a, b = ranking.starts[t, :-1], ranking.starts[t, 1:]
        got = {g: ranking.order[t, a[g] : b[g]].tolist() for g in np.flatnonzero(b > a).tolist()}
        assert got == groups and not ranking.order[t, b[-1] :].any()
        assert ranking.rows[t] == bool(groups)


def test_appended_and_perturbed_scores_change_nothing_before():
    for seed in seeds(range(80)):
        [own], _, config = scored(seed)
        rng = np.random.default_rng([seed, 17])
        book, read = draw_book(rng, own.panel.shape[1], config.account), rows_read(own.panel, config)
        bar = int(rng.integers(0, own.panel.shape[0]))
        other = own.scores.copy()
        other[bar:] = rng.normal(0, 1, other[bar:].shape)
        changed = Scored.of(own.panel, other, own.groups)
        for (t, row), (u, same) in zip(
            *(x.ranked(book).weights(mask(own, read, bar)) for x in (own, changed)), strict=True
        ):
            assert t == u < bar
            assert_bits(f"{seed} {t}", row, same)


def mask(own: Scored, read: list[int], stop: int) -> np.ndarray:
    """(T,) bool: the rows read before one."""
    return np.isin(np.arange(own.panel.shape[0]), [t for t in read if t < stop])
