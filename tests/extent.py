# SPDX-License-Identifier: Apache-2.0
"""How much of the tests runs. `make test` takes shares that do not change from run to run, `make check` all.

    for seed in seeds(range(150)): ...                         # --drawn=FRACTION: the first of them
    @pytest.mark.parametrize("block", seeds(range(8)))         # where a test needs all draws of a block to see enough
    @pytest.mark.parametrize("n", chosen(range(24), 3, "n"))   # three of them; the others are left to --exhaustive

tests/conftest.py sets the two values by its options; outside of pytest everything is taken.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

__all__ = ["chosen", "digest", "drawn", "examples", "exhaustive", "in_share", "seeds", "take"]

#: A test, or one of its parameters, that only --exhaustive runs.
exhaustive = pytest.mark.exhaustive
#: Seeds that a second lap over a range begins after; --drawn=3 makes three laps.
_LAP = 1_000_000
_taken = {"drawn": 1.0, "all": True}


def take(drawn: float, everything: bool) -> None:
    """Set what is taken."""
    if not 0.0 < drawn < math.inf:
        raise ValueError(f"--drawn={drawn}: a number > 0 is wanted")
    _taken.update(drawn=drawn, all=everything)


def drawn() -> float:
    """The share of drawn scenarios."""
    return _taken["drawn"]


def seeds(given: Sequence[int]) -> list[int]:
    """The first of these seeds, at least one; from --drawn=1 up all of them, then others that nothing else draws."""
    count = max(1, math.ceil(len(given) * _taken["drawn"] - 1e-9))
    return [given[i % len(given)] + i // len(given) * _LAP for i in range(count)]


def examples(count: int) -> int:
    """How many examples a property is tried on."""
    return max(1, math.ceil(count * _taken["drawn"]))


def digest(*words: Any) -> str:
    """Of the texts of these, the same on every machine."""
    return hashlib.sha256(repr(tuple(map(str, words))).encode()).hexdigest()[:32]


def in_share(name: str, parts: int) -> bool:
    """Whether a name is in the share, one of so many, that runs without --exhaustive."""
    return _taken["all"] or int(digest(name), 16) % parts == 0


def chosen(values: Iterable[Any], count: int, *names: Any) -> list[Any]:
    """Values of a parameter: all but `count`, drawn by the digest of `names`, are left to --exhaustive.

    A value may be a tuple, as for several parameters, or a pytest.param().
    """
    values = list(values)
    kept = sorted(range(len(values)), key=lambda i: digest(*names, i))[:count]
    return [v if i in kept else _left(v) for i, v in enumerate(values)]


def _left(value: Any) -> Any:
    if hasattr(value, "marks"):
        return pytest.param(*value.values, id=value.id, marks=[*value.marks, exhaustive])
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=exhaustive)
