# SPDX-License-Identifier: Apache-2.0
"""Engines against each other: the scenarios reach what they are for, and a difference of one bit is found."""

from __future__ import annotations

import copy
import dataclasses
import sys
import types

import numpy as np
import pytest

from gpu_bt.cli import commands as cli
from gpu_bt.cli import verify
from gpu_bt.engine import registry
from gpu_bt.engine.spec import FILL, RawResult
from gpu_bt.law.layout import COUNTS, MONEY


@pytest.fixture(scope="module")
def record() -> RawResult:
    return scenario("margin calls").raw


def scenario(name: str) -> verify.Result:
    number = list(verify.SCENARIOS).index(name)
    return verify._run("numpy", number, verify.SCENARIOS[name])


@pytest.mark.parametrize(
    ("name", "status", "counts"),
    [
        ("defaults", "OK", ("cash_clipped", "no_price", "delisted")),
        ("costs, no cash buffer", "OK", ("cash_clipped",)),
        ("participation and impact", "OK", ("volume_clipped", "cancelled")),
        ("float32 panel", "OK", ("volume_clipped", "cash_clipped")),
        ("limits on targets", "OK", ("below_min",)),
        ("fractional shares", "OK", ("cash_clipped",)),
        ("same close", "OK", ("rounded_out",)),
        ("margin", "OK", ("leverage_clipped",)),
        ("margin calls", "MARGIN_CALL", ("cancelled",)),
        ("bankruptcy", "BANKRUPT", ()),
        ("drawdown stop", "DRAWDOWN_STOP", ()),
    ],
)
def test_scenarios_reach_what_they_are_for(name: str, status: str, counts: tuple[str, ...]):
    result = scenario(name)
    assert result.status == status
    assert len(result.raw.fills) > 20
    for count in counts:
        assert result.raw.column(count).sum() > 0, count
    if "margin" in name or name == "bankruptcy":
        assert result.raw.column("short_value")[0, 1] != 0
    if name == "limits on targets":
        limits = {field: None for field in ("max_weight", "max_gross", "max_turnover")} | {
            "band": 0,
            "rounding": "toward_zero",
        }
        for field, value in limits.items():  # each one matters
            other = verify._run("numpy", list(verify.SCENARIOS).index(name), {**verify.SCENARIOS[name], field: value})
            assert verify.difference(other.raw, result.raw) is not None, field


def test_every_scenario_is_listed_above():
    marks = test_scenarios_reach_what_they_are_for.pytestmark
    assert [row[0] for row in marks[0].args[1]] == list(verify.SCENARIOS)


def nudged(value: float) -> float:
    """The next float: one bit further."""
    return np.nextafter(value, np.inf)


@pytest.mark.parametrize("name", [*MONEY, *COUNTS])
def test_one_bit_of_a_column_is_found(name: str, record: RawResult):
    assert verify.difference(copy.deepcopy(record), record) is None
    other = copy.deepcopy(record)
    values = other.column(name)
    values[0, 100] = nudged(values[0, 100]) if name in MONEY else values[0, 100] + 1
    assert verify.difference(other, record).startswith(f"{name}[0, 100] is ")
    assert verify.difference(record, other).startswith(f"{name}[0, 100] is ")


@pytest.mark.parametrize("name", ["holdings", "orders", "positions"])
def test_one_bit_of_an_array_is_found(name: str, record: RawResult):
    other = copy.deepcopy(record)
    array = getattr(other, name)
    where = (0,) * array.ndim
    array[where] = nudged(array[where])
    assert verify.difference(other, record).startswith(f"{name}{list(where)} is ")


@pytest.mark.parametrize("log", ["fills", "cuts"])
@pytest.mark.parametrize("field", FILL.names)
def test_one_bit_of_a_log_is_found(log: str, field: str, record: RawResult):
    other = copy.deepcopy(record)
    rows = getattr(other, log)
    assert len(rows) > 7
    rows[field][7] = nudged(rows[field][7]) if FILL[field].kind == "f" else rows[field][7] + 1
    assert verify.difference(other, record).startswith(f"{log}.{field}[7] is ")
    shorter = dataclasses.replace(record, **{log: getattr(record, log)[:-1]})
    assert f"{log}.scenario is int32" in verify.difference(shorter, record)


@pytest.mark.parametrize("field", ["cash", "peak", "first_bar", "ended"])
def test_state_is_compared(field: str, record: RawResult):
    other = copy.deepcopy(record)
    other.state[field] += 1
    assert verify.difference(other, record).startswith(f"{field}[0")


@pytest.mark.parametrize(("one", "two", "same"), [(0.0, -0.0, False), (np.nan, 1.0, False), (1.0, np.nan, False)])
def test_special_numbers(one: float, two: float, same: bool, record: RawResult):
    first, second = copy.deepcopy(record), copy.deepcopy(record)
    first.money[0, 0, 3], second.money[0, 0, 3] = one, two
    assert verify.difference(first, second).startswith("equity[0, 3] is ")


def test_all_nan_are_one(record: RawResult):
    first, second = copy.deepcopy(record), copy.deepcopy(record)
    first.money[0, 0, 3] = np.nan
    second.money.view(np.int64)[0, 0, 3] = -1  # a NaN of another sign and payload
    assert np.isnan(second.money[0, 0, 3])
    assert verify.difference(first, second) is None


class Twin:
    """The NumPy engine under another name, with something done to its record."""

    def __init__(self, name: str, change: object = None) -> None:
        self.name, self.change = name, change
        self.inner = registry.resolve("numpy")

    def missing(self) -> None:
        return None

    def open(self, spec: object) -> object:
        session = self.inner.open(spec)

        def result() -> RawResult:
            raw = dataclasses.replace(session.result(), engine=self.name)
            if self.change:
                self.change(raw)
            return raw

        return types.SimpleNamespace(advance=session.advance, result=result)


def install(monkeypatch: pytest.MonkeyPatch, *engines: tuple[str, Twin]) -> None:
    """Only these engines and NumPy run here."""
    names = {}
    for name, engine in engines:
        module = types.ModuleType(f"twin_{name}")
        module.ENGINE = engine
        monkeypatch.setitem(sys.modules, module.__name__, module)
        names[name] = module.__name__
    monkeypatch.setattr(registry, "ENGINES", {**names, "numpy": registry.ENGINES["numpy"]})


def test_numpy_alone_has_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(registry, "ENGINES", {"abacus": "no.such.module", "numpy": registry.ENGINES["numpy"]})
    assert cli.main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("abacus: not compared, ")
    assert out.splitlines()[1] == "numpy alone runs on this machine: there is nothing to compare with"
    assert err == ""


def test_the_same_bits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    install(monkeypatch, ("twin", Twin("twin")))
    assert cli.main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "twin against numpy" in lines[0]
    assert sum(line.endswith("same bits") for line in lines) == len(verify.SCENARIOS)
    assert lines[-1] == f"twin, numpy: the same bits in {len(verify.SCENARIOS)} scenarios"


def test_a_difference_fails_and_says_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def change(raw: RawResult) -> None:
        raw.money[1, 0, 200] = nudged(raw.money[1, 0, 200])

    install(monkeypatch, ("good", Twin("good")), ("bad", Twin("bad", change)))
    assert cli.main(["verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("defaults"))
    assert "same bits" in row and "cash[0, 200] is " in row
    assert lines[-1] == "FAILED: bad and numpy do not give the same bits"


def test_an_engine_that_hands_over_to_another_is_found(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, ("proxy", Twin("numpy")))
    check = next(verify.verify(["proxy", "numpy"]))
    assert check.differs == {"proxy": "engine 'numpy' ran instead"}
