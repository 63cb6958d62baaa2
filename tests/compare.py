# SPDX-License-Identifier: Apache-2.0
"""The one comparator: equality of bits, and what differs first where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import Oracle

from gpu_bt.engine.spec import RawResult
from gpu_bt.law.layout import COUNTS, MONEY, ORDER_STATUS, SCENARIO_STATUS

__all__ = ["assert_bits", "assert_same_as_oracle", "assert_same_raw"]


def assert_bits(name: str, got: Any, want: Any) -> None:
    """Same shape, dtype kind and bits; any NaN equals any NaN, 0.0 and -0.0 differ, and so does one ulp."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{name}: shape {got.shape}, wanted {want.shape}"
    assert got.dtype.kind == want.dtype.kind, f"{name}: dtype {got.dtype}, wanted {want.dtype}"
    if got.dtype.kind == "f":
        a, b = got.astype(np.float64), want.astype(np.float64)
        nans = np.isnan(a) & np.isnan(b)
        same = nans | (a.view(np.int64) == b.view(np.int64))
    else:
        same = got == want
    if not same.all():
        where = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{name}{list(where)}: {got[where]!r}, wanted {want[where]!r} ({(~same).sum()} differ)")


def assert_same_as_oracle(raw: RawResult, oracle: Oracle, k: int = 0) -> None:
    """Scenario k of an engine's result against the oracle: every series, state and log that the result holds."""
    for i, name in enumerate(MONEY[: len(raw.money)]):
        assert_bits(name, raw.money[i, k], np.array(oracle.money[name]))
    for i, name in enumerate(COUNTS if raw.counts is not None else ()):
        assert_bits(name, raw.counts[i, k].astype(np.int64), np.array(oracle.counts[name], np.int64))
    first = dict(zip(SCENARIO_STATUS, raw.state[k]["first_bar"].tolist(), strict=True))
    wanted = {name: oracle.first_bar.get(name, -1) for name in SCENARIO_STATUS}
    assert first == wanted, f"first_bar: {first}, wanted {wanted}"
    assert_bits("holdings", raw.holdings[k], np.array(oracle.holdings))
    ended = max(first["BANKRUPT"], first["LEDGER_OVERFLOW"]) >= 0
    if not ended:  # what an ended scenario leaves behind is never used again
        assert_bits("orders", raw.orders[k], np.array(oracle.orders))
        assert_bits("cash of the state", raw.state[k]["cash"], np.float64(oracle.cash))
        assert_bits("peak of the state", raw.state[k]["peak"], np.float64(oracle.peak))
    if raw.positions is not None:
        assert_bits("positions", raw.positions[k], np.array(oracle.positions).reshape(raw.positions[k].shape))
    if raw.fills is not None:
        log = raw.fills[raw.fills["scenario"] == k]
        wanted_log = sorted(oracle.fills, key=lambda fill: fill[:2])  # two fills of an asset keep their order
        assert len(log) == len(wanted_log), f"fills: {len(log)}, wanted {len(wanted_log)}"
        for j, name in enumerate(("bar", "asset", "shares", "price", "reference_price", "commission", "slippage")):
            assert_bits(f"fills.{name}", log[name].astype(np.float64), np.array([f[j] for f in wanted_log], np.float64))
        assert [ORDER_STATUS[s] for s in log["status"]] == [f[7] for f in wanted_log]


def assert_same_raw(got: RawResult, want: RawResult) -> None:
    """Two results of different engines, or of the same run cut differently."""
    for name in ("money", "counts", "holdings", "positions"):
        a, b = getattr(got, name), getattr(want, name)
        assert (a is None) == (b is None), f"{name}: only one result has it"
        if a is not None:
            assert_bits(name, a, b)
    for name in ("first_bar", "ended"):
        assert_bits(f"state.{name}", got.state[name], want.state[name])
    running = got.state["ended"] == 0
    assert_bits("orders", got.orders[running], want.orders[running])
    for name in ("cash", "peak"):
        assert_bits(f"state.{name}", got.state[name][running], want.state[name][running])
    for name in ("fills", "cuts"):
        a, b = getattr(got, name), getattr(want, name)
        assert (a is None) == (b is None), f"{name}: only one result has it"
        if a is not None:
            for field in a.dtype.names:
                assert_bits(f"{name}.{field}", a[field], b[field])
