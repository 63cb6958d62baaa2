# SPDX-License-Identifier: Apache-2.0
"""The fuzzers are alive: each property of tests/fuzz comes to both ends on a few cases, and can fail."""

from __future__ import annotations

from typing import Any

import pytest
from extent import chosen
from faults.kit import fault, survived
from fuzz import properties

import gpu_bt as bt
from gpu_bt.analysis.result import Result

KIND = "drawn faults"


def both(results: list[str]) -> None:
    survived(set(results), {"gave", "refused"})


@fault(KIND, "scenarios with odd cells and settings, on every engine", "survived")
def test_scenarios():
    both([properties.scenarios(seed) for seed in range(20)])


@pytest.mark.parametrize("ending", ["csv", *chosen(["parquet", "arrow"], 1, "ending")])
@fault(KIND, "damaged tables", "survived")
def test_tables(ending: str):
    names = [name for name in properties.MUTATED if name.endswith(ending)]
    both([properties.tables(name, seed) for name in names for seed in range(10)])


@fault(KIND, "damaged settings", "survived")
def test_settings():
    both([properties.settings(seed) for seed in range(30)])


@fault(KIND, "texts that are no table and no settings", "survived")
def test_texts():
    texts = [
        "",
        "x",
        "timestamp,A\n2024-01-02,1\n2024-01-03,2\n",
        "a = [1]",
        "\x00",
        "date,date\n,",
        '"',
        "\ufeff",
        "[[a]",
    ]
    for ending in ("csv", "toml"):
        assert {properties.texts(text, ending) for text in texts} <= {"gave", "refused"}
    survived(properties.texts("timestamp,A\n2024-01-02,x\n", "csv"), "refused")


@fault(KIND, "values that are no grid", "survived")
def test_grids():
    values: list[Any] = [{"band": [0, 0.1]}, {}, [], None, {"band": []}, {"band": [[1]]}, [{"band": 0}], {"": [1]}]
    both([properties.grids(value) for value in values])


@fault(KIND, "a fuzzer meets a raw error, or a message that says nothing", "survived")
def test_a_fuzzer_can_fail(monkeypatch: pytest.MonkeyPatch):
    metrics = Result.metrics
    monkeypatch.setattr(Result, "metrics", property(lambda self: 1 // 0))
    with pytest.raises(ZeroDivisionError):
        [properties.scenarios(seed) for seed in range(20)]
    monkeypatch.setattr(Result, "metrics", metrics)
    with pytest.raises(AssertionError):
        properties.outcome(lambda: (_ for _ in ()).throw(bt.PanelError("")))
    with pytest.raises(KeyError):
        properties.outcome(lambda: (_ for _ in ()).throw(KeyError("raw")))
    survived(properties.outcome(lambda: (_ for _ in ()).throw(bt.PanelError("one"))), ("refused", "one"))


@pytest.mark.parametrize("seed", [700327, 700668])
@fault(KIND, "what drawn scenarios have found", "survived")
def test_scenarios_that_were_findings(seed: int):
    """Bars of little more than an hour that the clock repeats; holdings of 1e-297 shares, which NumPy did not see sold
    as the product of two such numbers is 0."""
    survived(properties.scenarios(seed), "gave")
