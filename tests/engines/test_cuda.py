# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine on the emulated device against the oracle and against NumPy, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_same_as_oracle, assert_same_raw
from cuda_cases import NUMPY, ORDERS, assert_same_as_numpy, batch, book, lean, one
from draw import scenario
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import examples, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import simulate

from gpu_bt.config import Config
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.module import SHARED_DOUBLES
from gpu_bt.data.panel import Panel

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
#: (threads of a block, order of the fibers): every size and every order.
TEAMS = [(32, "forward"), (64, "reversed"), (64, "random"), (96, "forward"), (256, "random")]
#: Bytes of shared memory without holdings and orders.
LEAST = 8 * SHARED_DOUBLES


@pytest.fixture
def fake(request):
    """A device on which fibers run in the order that the test is parametrised with, or in random order."""
    params = getattr(request.node, "callspec", None)
    order = params.params.get("order", "random") if params else "random"
    with installed(FakeCupy(order)) as fake:
        yield fake


def variants(fake: FakeCupy) -> set[tuple[str, str]]:
    """(BT_FULL, BT_SHARED) of the kernels launched."""
    return {(defines["BT_FULL"], defines["BT_SHARED"]) for defines, *_ in fake.launches}


@pytest.mark.parametrize(("threads", "order"), TEAMS)
def test_drawn_scenarios(fake, threads, order):
    """Every field of the law, with logs and without them, which changes an engine's way."""
    for seed in seeds(range(7 * threads, 7 * threads + 30)):
        panel, weights, config = scenario(seed)
        wanted = simulate(panel, weights, config)
        for logged in (True, False):
            spec = spec_of(panel_of(panel, config), [weights], [config], fills=logged, positions=logged)
            assert_same_as_oracle(simulate_spec(CudaEngine(threads), spec), wanted)


@settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**63 - 1), threads=st.sampled_from((32, 64, 96)), order=st.sampled_from(ORDERS))
def test_any_drawn_scenario(seed, threads, order):
    panel, weights, config = scenario(seed)
    spec = spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True)
    with installed(FakeCupy(order)):
        assert_same_as_oracle(simulate_spec(CudaEngine(threads), spec), simulate(panel, weights, config))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [32, 64, 96])
def test_around_the_ends_of_warps_and_blocks(fake, threads, order):
    for n in sorted({1, 31, 32, 33, 63, 64, 65, threads - 1, threads, threads + 1}):
        for seed in seeds((n, n + 1000 * threads)):
            assert_same_as_numpy(one(seed, n, fills=seed % 2 == 0, positions=True), CudaEngine(threads))


@pytest.mark.parametrize("threads", [32, 64])
def test_between_dense_and_sparse_columns(fake, threads):
    """Books of half the assets, of one more and of one less, and of all and of none, each in turn."""
    for n in (9, 31, 64, 65, 130):
        half = (np.array([n // 2 - 1, n // 2, n // 2 + 1, 0, 1, n]) / n).tolist()
        for seed in seeds(range(3)):
            assert_same_as_numpy(book(seed, n, half, count=1 + seed), CudaEngine(threads, together=3))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("together", [1, 2, 3, 4])
def test_several_scenarios_to_a_block(fake, together, shared, order):
    for seed in seeds(range(together, together + 4)):
        spec = batch(seed, 7, 70 if seed == 4 else None, fills=seed % 3 == 0, positions=seed % 2 == 0)
        cuts = tuple(np.random.default_rng(seed).integers(0, spec.market.shape[0] + 1, seed % 3))
        assert_same_as_numpy(spec, CudaEngine(64, together, shared), cuts)
        assert fake.launches[-1][1] == -(-7 // together)
    assert {s for _, s in variants(fake)} == {str(int(shared))}


@pytest.mark.parametrize("order", ORDERS)
def test_scenarios_of_a_block_keep_their_peaks(fake, order):
    """Prices double while nothing trades: from the peak of another bar, the first of them would be a drawdown."""
    t = 40
    close = np.linspace(16.0, 32.0, t)[:, None] * np.ones(3)
    market = Panel(close, timestamps=np.datetime64("2020-01-01") + np.arange(t), assets=["A", "B", "C"])
    weights = np.full((t, 3), np.nan)
    weights[0] = 0.3
    configs = [Config(execution="same_close", max_drawdown=0.01 * i, cash_rate=0.02 * i) for i in range(1, 5)]
    spec = spec_of(market, [weights], configs)
    spec.params["schedule"] = 0
    for threads in (32, 64, 96):
        assert_same_as_numpy(spec, CudaEngine(threads, together=4))
        assert fake.launches[-1][1] == 1


def test_scenarios_of_several_books_and_schedules(fake):
    for seed in seeds(range(8)):
        panel, weights, config = scenario(seed)
        books = [weights, np.nan_to_num(weights) / 2]
        configs = [config.replace(signal_lag=i % 2, delist_after=i // 2) for i in range(5)]
        assert_same_as_numpy(spec_of(panel_of(panel, config), books, configs, fills=True), CudaEngine(32, 4))


@pytest.mark.parametrize("room", [LEAST, LEAST + 16 * 16 * 2 - 1, LEAST + 16 * 16 * 2])
def test_a_device_with_little_shared_memory(room):
    """Holdings and orders of 9 assets take 256 bytes a scenario there: none, one, two to a block."""
    with installed(FakeCupy("random", shared=room)) as fake:
        for seed in seeds(range(6)):
            assert_same_as_numpy(batch(seed, 4, 9, fills=seed % 2 == 0), CudaEngine(64, together=4))
        fit = (room - LEAST) // 256
        assert {(defines["BT_SHARED"], blocks, size) for defines, blocks, _, size in fake.launches} == {
            ("1", 4 // fit, LEAST + 256 * fit) if fit else ("0", 1, LEAST)
        }


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_the_lean_kernel(fake, order, shared):
    for seed in seeds(range(16)):
        spec = lean(seed, 65 if seed % 4 == 0 else None, positions=seed % 2 == 0)
        wanted = assert_same_as_numpy(spec, CudaEngine(32 + seed % 2 * 32, shared=shared), (3, 11))
        logged = assert_same_as_numpy(dataclasses.replace(spec, fills=True), CudaEngine(64, shared=shared))
        assert wanted.money.tobytes() == logged.money.tobytes()
        assert [defines["BT_FULL"] for defines, *_ in fake.launches[-2:]] == ["0", "1"]


@pytest.mark.parametrize(
    "change",
    [{"account": "margin"}, {"band": 0.01}, {"min_trade_value": 1.0}, {"max_weight": 0.5}, {"max_gross": 1.0},
     {"max_turnover": 0.1}, {"participation": 0.1}, {"impact": 0.1}, "half_spread", "dividend", "split", "can_buy",
     "can_sell", "universe"],
)  # fmt: skip
def test_what_the_lean_kernel_leaves_out(fake, change):
    """One scenario of a run asks for it, or the panel has it: the whole run takes the full kernel."""
    panel, weights, config = scenario(30, 9)
    config = config.replace(account="cash", impact=0.0, band=0.0, min_trade_value=0.0, max_weight=None, max_gross=None,
                            max_turnover=None, participation=None)  # fmt: skip
    fields = ("half_spread", "dividend", "split", "can_buy", "can_sell", "universe")
    for name in fields:
        setattr(panel, name, None)
    shape = panel.close.shape
    panel.volume = np.full(shape, 1000.0)
    weights, configs = np.maximum(weights, 0.0), [config, config]
    if isinstance(change, str):
        mask = change.startswith("can") or change == "universe"
        setattr(panel, change, np.ones(shape, bool) if mask else np.full(shape, 0.5))
    else:
        configs[1] = config.replace(**change)
    assert_same_as_numpy(spec_of(panel_of(panel, config), [weights], configs), CudaEngine(32))
    assert variants(fake) == {("1", "1")}
    fake.launches.clear()
    for name in fields:
        setattr(panel, name, None)
    assert_same_as_numpy(spec_of(panel_of(panel, config), [weights], [config]), CudaEngine(32))
    assert {full for full, _ in variants(fake)} == {"0"}


@pytest.mark.parametrize("shared", [True, False])
def test_cuts_of_the_bars_change_no_bit(fake, shared):
    for seed in seeds(range(12)):
        spec = one(seed, 40 if seed == 0 else None, fills=seed % 2 == 0, positions=True)
        bars = spec.market.shape[0]
        engine = CudaEngine(32, shared=shared)
        whole = simulate_spec(engine, spec)
        assert_same_raw(simulate_spec(engine, spec, tuple(range(bars))), whole)
        cuts = np.random.default_rng(seed).integers(0, bars + 1, 3)
        assert_same_raw(simulate_spec(engine, spec, tuple(cuts)), whole)


@pytest.mark.parametrize("columns", ["all", "equity"])
def test_the_record_of_bars_so_far(fake, columns):
    """Rows not yet reached, and every array's dtype and shape, as NumPy has them."""
    for seed in seeds(range(15)):
        spec = one(seed, fills=seed % 3 > 0, positions=seed % 2 > 0, columns=columns)
        stop = int(np.random.default_rng(seed).integers(0, spec.market.shape[0] + 1))
        sessions = [engine.open(spec) for engine in (CudaEngine(32), NUMPY)]
        for t0, t1 in ((0, stop), (stop, spec.market.shape[0])):
            for session in sessions:
                session.advance(t0, t1)
            got, want = (session.result() for session in sessions)
            assert_same_raw(got, want)
            for field in ("money", "counts", "state", "holdings", "orders", "fills", "cuts", "positions"):
                a, b = getattr(got, field), getattr(want, field)
                assert (a is None and b is None) or (a.dtype == b.dtype and a.shape == b.shape), field


def test_float32_panels_and_weights(fake):
    """A scenario in float32 is that in float64 of the same numbers."""
    for seed in seeds(range(12)):
        panel, weights, config = scenario(seed, 33)
        for name in ("close", "open", "high", "low", "vwap", "volume", "half_spread", "volatility", "dividend",
                     "split", "borrow_rate"):  # fmt: skip
            if (values := getattr(panel, name)) is not None:
                setattr(panel, name, values.astype(np.float32))
        spec = spec_of(panel_of(panel, config), [weights.astype(np.float32)], [config], positions=True)
        assert spec.market.close.dtype == spec.weights[0].dtype == np.float32
        assert_same_as_oracle(simulate_spec(CudaEngine(64), spec), simulate(panel, weights.astype(np.float32), config))


def test_the_engine_chooses_its_blocks(fake):
    """A block for each scenario; threads by the number of assets, fewer where there are more blocks than processors."""
    for n, count, threads in ((1, 1, 64), (129, 33, 96), (700, 1, 352), (700, 4, 352), (700, 5, 256), (2000, 1, 512)):
        spec = batch(2, count, n) if count > 1 else one(2, n)
        assert_same_as_numpy(spec, CudaEngine())
        assert fake.launches[-1][1:3] == (count, threads)


def test_a_session_refuses_bars_out_of_turn(fake):
    session = CudaEngine(32).open(one(3))
    for t0, t1 in ((1, 2), (0, 1000), (0, -1)):
        with pytest.raises(ValueError, match=r"the session stands at bar 0 of \d+"):
            session.advance(t0, t1)
