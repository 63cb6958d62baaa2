# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of values: equal for what is the same in any process, different for what differs in a bit."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import functools
import inspect
import itertools
import textwrap
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sweep_cases import universe

import gpu_bt as bt
from gpu_bt.data import fields
from gpu_bt.data.bytecode import references, steps
from gpu_bt.data.fingerprints import fingerprint, fingerprint_code
from gpu_bt.sweeps.files import fingerprint_panel


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    a: int = 1
    b: tuple = ()


def array(values, dtype=None):
    return np.array(values, dtype)


DIFFERENT = [
    None, ..., True, 1, 1.0, 0.0, -0.0, float("nan"), 1j, np.nextafter(1.0, 2), 10**5000, "1", b"1", "", (), [], {},
    set(), (1,), [1], {1}, frozenset({1}), {1: 2}, {2: 1}, {"a": 1, "b": 2}, (1, (2,)), ((1, 2),), ((1,), 2), [[], []],
    np.float32(1), np.int8(1), np.int64(1), Colour.RED, Colour.BLUE, Colour, Pair(), Pair(2), Pair(1, (1,)), Pair,
    dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.timedelta(1), Decimal("1"),
    Path("a"), range(3), slice(3), len, max, np.log, np.exp, np.mean, np.float64, functools.partial(max, 1),
    functools.partial(max, 2), collections.Counter("a"), collections.OrderedDict(a=1), collections.deque([1]),
    array([1.0, 2.0]), array([1.0, np.nextafter(2, 3)]), array([[1.0, 2.0]]), array([[1.0], [2.0]]), array([1, 2]),
    array([1.0, 2.0], dtype=np.float32), array(["a", "b"]), array(["a", "b"], object), array([1, None], object),
    array(["a", "b"], np.dtypes.StringDType()), array(["2020"], "M8[us]"), array(["2020"], "M8[D]"), array([]),
    array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), array([(1, 2.0)], [("a", "i4"), ("c", "f8")]),
    np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0]), np.random.default_rng(1),
    np.random.default_rng(2), np.random.SeedSequence(1), np.random.RandomState(1), pl.DataFrame({"a": [1]}),
    pl.DataFrame({"a": [2]}), pl.DataFrame({"b": [1]}), pl.Series([1]), pl.col("a"), pd.DataFrame({"a": [1]}),
    pd.DataFrame({"a": [2]}), pd.Series([1]), bt.Config(), bt.Config(band=0.1), bt.Exits(stop_loss=0.1), bt.Strategy,
]  # fmt: skip


def test_what_differs_has_another_fingerprint():
    found = [fingerprint(value) for value in DIFFERENT]
    for (i, a), (j, b) in itertools.combinations(enumerate(found), 2):
        assert a != b, (DIFFERENT[i], DIFFERENT[j])
    assert fingerprint(1, 2) != fingerprint((1, 2)) and fingerprint("a", "b") != fingerprint("ab")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1.5, np.float64(1.5)),
        ({"x", "y", "z", (1, 2)}, {(1, 2), "z", "y", "x"}),
        (array([[1, 2], [3, 4]])[:, ::-1], array([[2, 1], [4, 3]])),
        (pl.concat([pl.Series([1]), pl.Series([2])]).to_frame(), pl.Series([1, 2]).to_frame()),
        (np.random.default_rng(1), np.random.default_rng(1)),
        ([dt.date(2020, 1, 1)] * 2, [dt.date(2020, 1, 1), dt.date(2020, 1, 1)]),
    ],
)
def test_what_is_the_same_has_the_same_fingerprint(a, b):
    assert fingerprint(a) == fingerprint(b)


def test_what_holds_itself_ends():
    ring: list = [1]
    ring.append(ring)
    other: list = [1]
    other.append([1, other])
    assert fingerprint(ring) == fingerprint(ring) != fingerprint(other)
    cells = np.empty(1, object)
    cells[0] = cells
    assert fingerprint(cells)


def test_thousands_of_functions_that_call_one_another():
    text = "".join(f"def f{i}(x): return f{i + 1}(x) + {i}\n" for i in range(3000)) + "def f3000(x): return "
    made = [dict[str, object](), dict[str, object](), dict[str, object]()]
    for namespace, end in zip(made, ("1", "1", "2"), strict=True):
        exec(text + end, namespace)
    a, b, c = (fingerprint(namespace["f0"]) for namespace in made)
    assert a == b != c


def test_what_numba_compiled_is_known_by_its_function():
    class Dispatcher:
        def __init__(self, py_func, name):
            self.py_func, self.uuid = py_func, name

    held = Dispatcher(abs, "a"), Dispatcher(abs, "b")
    assert len({*map(fingerprint, held)}) == 2, "an object of a user that has such an attribute"
    Dispatcher.__module__ = "numba.core.registry"
    one, two = (Dispatcher(lambda x: x + 1, name) for name in "ab")
    assert fingerprint(one) == fingerprint(two) != fingerprint(Dispatcher(lambda x: x + 2, "a"))


def test_what_was_computed_and_kept_is_no_difference():
    class Lazy:
        @functools.cached_property
        def large(self) -> int:
            return 3

    new, used = Lazy(), Lazy()
    assert used.large == 3 and fingerprint(new) == fingerprint(used)
    panel = universe()
    before = fingerprint_panel(panel)
    assert panel.index and fingerprint_panel(panel) == before == fingerprint_panel(universe())
    bt.run(panel, {panel.assets[0]: 0.5})
    assert fingerprint_panel(panel) == before


def test_a_field_that_will_be_declared_is_covered(monkeypatch):
    panel = universe()
    before = fingerprint_panel(panel)
    monkeypatch.setitem(fields.FIELDS, "dummy", fields.Field(fields._floats))
    object.__setattr__(panel.market, "dummy", np.zeros(3))
    zeros = fingerprint_panel(panel)
    object.__setattr__(panel.market, "dummy", np.ones(3))
    assert len({before, zeros, fingerprint_panel(panel)}) == 3
    monkeypatch.undo()
    other = universe()
    other.read_by_a_strategy = "something"  # an attribute of Panel that is declared nowhere
    assert fingerprint_panel(other) != fingerprint_panel(universe())


def test_packages_that_code_needs_are_named_with_their_versions():
    def uses(x):
        return np.log(x) + pl.Series(x).sum()

    _, packages, _ = fingerprint_code(uses)
    assert packages["numpy"] == np.__version__ and packages["polars"] == pl.__version__
    assert packages["Python"].count(".") == 2
    assert fingerprint_code(1.0)[1].keys() == {"Python"}


def compiled(text: str):
    namespace: dict = {}
    exec(compile(textwrap.dedent(text), "text.py", "exec"), namespace)
    return namespace["f"].__code__


def listed(code) -> list:
    return [(text, listed(x) if inspect.iscode(x) else x) for text, x, _ in steps(code)]


CODE = '''
def f(self, x):
    """doc"""
    class Inside:
        """doc"""
        z = 3
    for q in range(300):
        y = [t for t in x if t > 3]
    return y + (lambda: np.exp(1))()
'''


def test_steps_know_neither_lines_nor_docstrings():
    base = listed(compiled(CODE))
    for text in (
        CODE.replace('    """doc"""\n', "", 1),
        CODE.replace('        """doc"""\n', "\n\n"),
        CODE.replace('"""doc"""', '"""more\n\n"""'),
        "\n\n" + CODE,
        CODE.replace("    for", "\n    # why\n    for"),
    ):
        assert listed(compiled(text)) == base
    for old, new in (("t > 3", "t > 4"), ("range(300)", "range(301)"), ("z = 3", "z = 4"), ("np.exp", "np.log")):
        assert listed(compiled(CODE.replace(old, new))) != base


def test_references_are_what_code_looks_up_outside():
    code = compiled("""
    def f(x):
        import a.b as c, d.e
        from g.h import i as j
        from . import near
        def inner():
            return c.foo(1) + d.e.fn(2) + near.x.y
        class Inside:
            k = K
        return inner() + j(x) + np.log.at(x) + x.attr + helper
    """)
    found = {(use.module, use.level, use.name, use.attributes) for use in references(code)}
    assert found == {
        ("a.b", 0, "c", ("foo",)), ("d", 0, "d", ("e", "fn")), ("", 1, "near", ("near", "x", "y")),
        ("g.h", 0, "j", ("i",)), (None, 0, "K", ()), (None, 0, "np", ("log", "at")), (None, 0, "helper", ()),
    }  # fmt: skip
