# SPDX-License-Identifier: Apache-2.0
"""Opening holdings: drawn scenarios with them equal the oracle bit for bit, with weights and with decisions, whole and
saved, streamed, and as rows of a sweep."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from build import panel_of, simulate_callback
from compare import assert_same_as_oracle, assert_same_raw
from draw import scenario
from draw_holdings import draw_holdings, odd_book
from draw_orders import callback_scenario
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import seeds
from oracle import simulate

import gpu_bt as bt
from cpu_fallback.engine import ENGINE as NUMPY
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.engine.spec import Engine, RawResult
from gpu_bt.runs.holdings import opening
from gpu_bt.runs.run import callback_spec, schedule_of

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
ENGINES = [name for name, reason in reasons().items() if reason is None]


def fits(public, shares, config) -> bool:
    """Whether cash and drawn holdings are worth something that a ledger can hold."""
    try:
        return opening(public, shares, [config]) is not None
    except bt.WeightsError as error:
        assert "cash and holdings are worth" in str(error)
        return False


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("block", seeds(range(6)))  # whole blocks: each reaches what is asserted
def test_drawn_weights(name, block):
    seen = Counter()
    for seed in range(block * 100, (block + 1) * 100):
        panel, weights, config = scenario(seed)
        public, shares = panel_of(panel, config), draw_holdings(seed, panel, config)
        if not fits(public, shares, config):
            continue
        record = ("fills", "positions") if seed % 3 else "bars"
        result = bt.run(public, weights, config, engine=name, record=record, holdings=shares)
        oracle = simulate(panel, weights, config, holdings=shares)
        assert_same_as_oracle(result.raw, oracle)
        seen["run"] += 1
        seen["short"] += bool((shares < 0).any())
        seen["late"] += result._first > 0
        seen["tick"] += result.config.tick != config.tick
        seen["split"] += panel.split is not None and bool(
            (np.nan_to_num(panel.split[0], nan=1.0) != 1)[shares != 0].any()
        )
        seen["delisted"] += panel.delisted_at is not None and bool((panel.delisted_at[shares != 0] == 0).any())
        seen["sold"] += result.status == "OK" and bool((result.raw.holdings[0] == 0)[shares != 0].any())
    assert min(seen[what] for what in ("run", "short", "late", "tick", "split", "sold")) >= 3, seen


def decided(seed: int, engine: Engine) -> RawResult | None:
    """A drawn callback run of holdings, which equals the oracle; None where they cannot be held."""
    panel, weights, config, orders = callback_scenario(seed)
    public, shares = panel_of(panel, config), draw_holdings(seed, panel, config)
    if not fits(public, shares, config):
        return None
    held = opening(public, shares, [config])
    bars = schedule_of(public, config)
    bars[: held.first] = False
    spec = callback_spec(public, held.config(config), bars, fills=True, positions=True, held=held)
    raw = simulate_callback(engine, spec, weights, orders)
    assert_same_as_oracle(raw, simulate(panel, weights, config, orders, holdings=shares))
    return raw


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("block", seeds(range(3)))
def test_drawn_decisions(name, block):
    found = [decided(seed, resolve(name)) for seed in range(block * 60, (block + 1) * 60)]
    limited = [raw for raw in found if raw is not None and raw.column("limited").any()]
    assert sum(raw is not None for raw in found) > 30 and len(limited) >= 3


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize(("threads", "order"), [(32, "forward"), (64, "reversed"), (96, "random")])
def test_on_the_emulated_device(threads, order):
    """The logs, too, are NumPy's; some direct orders are cut by [S7]."""
    limited = 0
    with installed(FakeCupy(order)):
        for seed in range(threads, threads + 16):
            raw = decided(seed, CudaEngine(threads))
            if raw is not None:
                assert_same_raw(raw, decided(seed, NUMPY))
                limited += int(raw.column("limited").sum())
    assert limited >= 3


@pytest.mark.parametrize("name", ENGINES)
def test_odd_lots(name):
    """Books of odd lots, short of cash and of volume; drawn so that they reach what odd orders alone do."""
    paths = Counter()
    for seed in seeds(range(1000)):
        panel, weights, config, shares = odd_book(seed)
        public = panel_of(panel, config)
        if fits(public, shares, config):
            record = ("fills", "positions") if seed % 3 else "bars"
            oracle = simulate(panel, weights, config, holdings=shares)
            assert_same_as_oracle(
                bt.run(public, weights, config, engine=name, record=record, holdings=shares).raw, oracle
            )
            paths += oracle.paths
    some = min(paths[path] for path in ("rest of an odd order bought back", "odd order within the volume"))
    assert len(seeds(range(1000))) < 1000 or some >= 3, paths
