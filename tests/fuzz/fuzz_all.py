# SPDX-License-Identifier: Apache-2.0
"""make fuzz: FUZZ_EXAMPLES drawn cases of each kind, 2,000 where it is not set. What fails is kept in .hypothesis and
tried first the next time; a finding that is mended becomes a case of tests/faults/test_faults_fuzz.py."""

from __future__ import annotations

import os

import pytest
from fuzz import properties
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")), deadline=None, suppress_health_check=list(HealthCheck)
)
seeds = st.integers(0, 2**63 - 1)
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
_names = st.sampled_from(
    ["band", "lot", "weights", "initial_cash", "execution", "max_weight", "scenario", ""]
) | st.text(max_size=5)
values = st.recursive(_leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(_names, x, max_size=3), max_leaves=8)
#: Texts that look like tables or settings.
texts = st.text(max_size=60) | st.lists(
    st.sampled_from(
        [
            "timestamp",
            "date",
            "A",
            "weight",
            "2024-01-02",
            "2024-13-01",
            "1",
            "-1",
            "nan",
            "",
            ",",
            "\n",
            ";",
            "\t",
            '"',
        ]
    )
    | st.text(max_size=3),
    max_size=40,
).map("".join)


@fuzzed
@given(seeds)
def test_scenarios(seed: int):
    properties.scenarios(seed)


@fuzzed
@given(seeds)
def test_orders(seed: int):
    properties.orders(seed)


@pytest.mark.parametrize("name", properties.MUTATED)
@fuzzed
@given(seeds)
def test_tables(name: str, seed: int):
    properties.tables(name, seed)


@pytest.mark.parametrize("ending", ["csv", "toml"])
@fuzzed
@given(texts)
def test_texts(ending: str, text: str):
    properties.texts(text, ending)


@fuzzed
@given(seeds)
def test_settings(seed: int):
    properties.settings(seed)


@fuzzed
@given(values | st.dictionaries(_names, st.lists(_leaves, max_size=3), max_size=3))
def test_grids(grid: object):
    properties.grids(grid)


@fuzzed
@given(seeds)
def test_states(seed: int):
    properties.states(seed)
