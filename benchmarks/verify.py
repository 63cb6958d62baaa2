# SPDX-License-Identifier: Apache-2.0
"""Equality before timing: every engine of this machine against the scalar oracle and against NumPy, bit for bit."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import COSTS
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.engine.spec import RunSpec
from gpu_bt.law.layout import COUNTS, MONEY, pack

__all__ = ["engines", "same_bits", "verify"]

#: Beside the costs of the timed cases, what makes the steps of the law run that those leave out.
_RICH = dict(participation=0.05, impact=0.05, cash_rate=0.02, band=0.001, max_turnover=0.4, max_weight=0.2)


def engines() -> dict[str, str | None]:
    """Engine -> None where it runs on this machine, else the reason why not; the fastest last."""
    return dict(reversed(reasons().items()))


def same_bits(one: np.ndarray, two: np.ndarray) -> bool:
    """True where the float64 arrays agree in every bit; all NaN count as one."""
    one, two = (np.ascontiguousarray(a, np.float64) + 0.0 for a in (one, two))
    one[np.isnan(one)] = two[np.isnan(two)] = np.nan
    return one.shape == two.shape and one.tobytes() == two.tobytes()


def verify(names: list[str]) -> list[dict[str, Any]]:
    """One row per comparison. RuntimeError at the first column that differs, with where."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        for settings, extra in (("costs", {}), ("costs and limits", _RICH)):
            config = bt.Config(**COSTS, **extra).replace(initial_cash=1e6)
            panel, weights = _inputs(150, 24, 0.3)
            expected = _oracle(panel, weights, config)
            for name in names:
                _compare(bt.run(panel, weights, config, engine=name), expected, name, "the oracle")
                rows.append(_row("equals the oracle", name, panel, settings))
            config = bt.Config(**COSTS, **extra)
            for density in (0.1, 1.0):
                panel, weights = _inputs(252, 500, density)
                expected = _columns(bt.run(panel, weights, config, engine="numpy"))
                for name in (n for n in names if n != "numpy"):
                    _compare(bt.run(panel, weights, config, engine=name), expected, name, "numpy")
                    rows.append(_row("equals numpy", name, panel, settings))
                    _compare_many(name, panel, weights, config)
                    rows.append(_row("16 scenarios equal numpy", name, panel, settings))
    return rows


def _compare_many(engine: str, panel: bt.Panel, weights: np.ndarray, config: bt.Config) -> None:
    params = pack(config.replace(commission_rate=float(rate)) for rate in np.linspace(0.0, 1.5e-3, 16))
    every_bar = np.ones((1, panel.shape[0]), bool)
    spec = RunSpec(panel.market, params, (weights,), every_bar, columns="equity")
    found = []
    for name in (engine, "numpy"):
        session = resolve(name).open(spec)
        session.advance(0, panel.shape[0])
        found.append(session.result())
    if not same_bits(found[0].money, found[1].money):
        one, two = (np.nan_to_num(raw.money, nan=-1.0) for raw in found)
        c, k, t = np.argwhere(one != two)[0].tolist()
        raise RuntimeError(f"{engine}: {MONEY[c]}[scenario {k}, bar {t}] of 16 scenarios differs from numpy's")


def _row(check: str, engine: str, panel: bt.Panel, settings: str) -> dict[str, Any]:
    bars, assets = panel.shape
    return {"check": check, "engine": engine, "settings": settings, "bars": bars, "assets": assets, "bits": True}


def _inputs(bars: int, assets: int, density: float) -> tuple[bt.Panel, np.ndarray]:
    panel = synthetic_universe(bars, assets, seed=21)
    return panel, random_weights(panel, density, seed=22)


def _columns(result: bt.Result) -> dict[str, np.ndarray]:
    columns = {name: result.equity[name].to_numpy() for name in MONEY}
    return columns | {name: result.equity[name].fill_null(0).to_numpy() for name in COUNTS}


def _oracle(panel: bt.Panel, weights: np.ndarray, config: bt.Config) -> dict[str, np.ndarray]:
    folder = str(Path(__file__).resolve().parent.parent / "tests")
    if folder not in sys.path:
        sys.path.append(folder)  # the oracle is no part of the package
    from oracle import OraclePanel, simulate

    names = ("close", "open", "volume", "dividend", "split", "delisted_at", "delisting_return")
    fields = {name: getattr(panel, name) for name in names}
    raw = OraclePanel(microseconds=panel.microseconds, assets=panel.assets, **fields)
    found = simulate(raw, weights, config)
    return {name: np.asarray(values, np.float64) for name, values in (found.money | found.counts).items()}


def _compare(result: bt.Result, expected: dict[str, np.ndarray], engine: str, other: str) -> None:
    if result.engine != engine:
        raise RuntimeError(f"engine {engine!r} was asked for and {result.engine!r} ran: nothing is compared")
    for name, values in _columns(result).items():
        if not same_bits(values, expected[name]):
            bar = int(np.argmax(~(values == expected[name])))
            raise RuntimeError(f"{engine}: {name}[{bar}] is {values[bar]!r}, {other} has {expected[name][bar]!r}")
