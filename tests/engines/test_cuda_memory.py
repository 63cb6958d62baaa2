# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine where device memory is short: scenarios in parts, panels in windows, failures, what stays."""

from __future__ import annotations

import contextlib
import gc
import itertools
import re
from typing import Any

import numpy as np
import pytest
from build import callback_spec, panel_of, simulate_callback, simulate_spec, spec_of
from compare import assert_same_raw
from cuda_cases import NUMPY, batch, lean
from draw import scenario
from emulator.build import why_not
from emulator.fake_cupy import CUDADriverError, FakeCupy, installed

import gpu_bt as bt
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.plain import plain_of

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextlib.contextmanager
def device(spec, **limits):
    """A device that holds nothing yet."""
    spec.market.cache.clear()
    with installed(FakeCupy(**limits)) as fake:
        yield fake
    spec.market.cache.clear()


def peak(spec, engine) -> int:
    with device(spec) as fake:
        simulate_spec(engine, spec)
        return fake.peak


def run(spec, engine, cuts=()):
    """(the session, its result)."""
    session = engine.open(spec)
    edges = [0, *cuts, spec.market.shape[0]]
    for a, b in itertools.pairwise(edges):
        session.advance(a, b)
    return session, session.result()


@pytest.mark.parametrize("kind", ["plain", "fills", "positions", "equity"])
@pytest.mark.parametrize("cuts", [(), (3, 4, 11)])
def test_parts_and_windows_change_no_bit(kind, cuts):
    """The less memory, the more parts and the shorter windows, until one scenario does not fit."""
    record = {"plain": {}, "fills": {"fills": True, "positions": True}, "positions": {"positions": True},
              "equity": {"columns": "equity"}}[kind]  # fmt: skip
    seen = set()
    for seed, n in ((16, 40), (22, 33)):
        spec, engine = batch(seed, 5, n, **record), CudaEngine(32, together=2)
        wanted, whole = simulate_spec(NUMPY, spec), peak(spec, engine)
        assert spec.market.shape[0] > 11
        for percent in (90, 60, 40, 25, 10, 5, 1, 0.5):
            with device(spec, bytes_total=int(whole * percent / 100)) as fake:
                try:
                    session, raw = run(spec, engine, cuts)
                except MemoryError as error:
                    assert re.fullmatch(r"a scenario of \d+ assets .*", str(error))
                    seen.add("too little")
                    continue
                assert_same_raw(raw, wanted)
                assert fake.peak <= fake.total
                seen |= {"parts"} if len(session.parts) > 1 else set()
                seen |= {"windows"} if session.window < spec.market.shape[0] else set()
    assert seen == {"parts", "windows", "too little"}


@pytest.mark.parametrize("percent", [None, 60])
def test_any_allocation_may_fail_once(percent):
    """The engine makes room and goes on: nothing that it had done is done twice or lost."""
    spec, engine = batch(16, 3, 20, fills=percent is None, positions=True), CudaEngine(32, together=2)
    wanted = simulate_spec(NUMPY, spec)
    memory = peak(spec, engine) * percent // 100 if percent else 1 << 40
    with device(spec, bytes_total=memory) as fake:
        run(spec, engine, (5,))
        count = fake.allocations
    assert count > 30
    for n in range(1, count + 1, 3 if percent else 1):
        with device(spec, bytes_total=memory, fail_at=n) as fake:
            assert_same_raw(run(spec, engine, (5,))[1], wanted)
            assert fake.allocations > n


@pytest.mark.parametrize("cuts", [(), (5,)])
def test_a_launch_that_finds_no_room(cuts):
    """For the local memory of its threads, which the driver takes at a first launch: an error of the driver's, treated
    like one of an allocation."""
    spec, engine = batch(16, 3, 20, fills=True, positions=True), CudaEngine(32, together=2)
    wanted = simulate_spec(NUMPY, spec)
    with device(spec) as fake:
        run(spec, engine, cuts)
        count = fake.launched
    for n in range(1, count + 1):
        with device(spec, fail_launch=n) as fake:
            assert_same_raw(run(spec, engine, cuts)[1], wanted)
            assert fake.launched > n


def test_a_launch_of_a_callback_run_that_finds_no_room():
    """Half a bar that did not run is run again, once; where there is still no room, the message has the numbers."""
    panel, weights, config = scenario(16, 20)
    spec = callback_spec(panel_of(panel, config), config, fills=True)
    wanted = simulate_callback(NUMPY, spec, weights, None)
    with device(spec) as fake:
        simulate_callback(CudaEngine(32), spec, weights, None)
        count = fake.launched
    assert count > 10
    for n in range(1, count + 1):
        with device(spec, fail_launch=n) as fake:
            assert_same_raw(simulate_callback(CudaEngine(32), spec, weights, None), wanted)
            assert fake.launched == count + 1
    with device(spec, bytes_total=1000), pytest.raises(MemoryError, match="a scenario of 20 assets and"):
        simulate_callback(CudaEngine(32), spec, weights, None)


def test_another_error_of_the_driver_is_no_want_of_memory():
    spec = batch(16, 2, 20)
    with device(spec) as fake:
        session = CudaEngine(32).open(spec)

        def broken(*_):
            raise CUDADriverError(700, "CUDA_ERROR_ILLEGAL_ADDRESS")

        fake.cuda.alloc = broken
        with pytest.raises(bt.EngineUnavailable, match="ILLEGAL_ADDRESS; this process cannot use the GPU any more"):
            session.advance(0, 5)


def test_an_allocation_of_a_result_may_fail():
    """Nothing has been simulated yet, so that the record is empty; asking for it is no reason to fail otherwise."""
    spec = batch(16, 3, 20, positions=True)
    with device(spec, bytes_total=2000), pytest.raises(MemoryError, match="a scenario of 20 assets and"):
        CudaEngine(32).open(spec).result()


def test_a_device_that_fills_up_on_the_way():
    """What a session has there is enough to go on."""
    spec, engine = batch(16, 3, 20, fills=True), CudaEngine(32)
    with device(spec) as fake:
        session = engine.open(spec)
        session.advance(0, 5)
        fake.total = fake.used
        session.advance(5, spec.market.shape[0])
        assert_same_raw(session.result(), simulate_spec(NUMPY, spec))


def test_the_message_has_the_numbers():
    spec = batch(16, 2, 20, positions=True)
    t, n = spec.market.shape
    with device(spec, bytes_total=1000) as fake:
        session = CudaEngine(32).open(spec)
        needs = session.scenario_bytes()
        with pytest.raises(MemoryError) as error:
            session.advance(0, t)
        assert str(error.value) == (
            f"a scenario of {n} assets and {t} bars needs {needs:,} bytes of device memory, and 1,000 are free on"
            " emulated: record less, or use engine='cpu'"
        )
        assert needs > 8 * n * t  # its positions alone
        assert fake.used == 0


def test_what_a_scenario_needs_is_no_guess():
    """The plan counts what a lane and a record take, within what few small arrays add."""
    records: list[dict[str, Any]] = [{}, {"positions": True}, {"columns": "equity"}]
    drawn = [batch(16, 1, 300, **record) for record in records] + [lean(16, 300, **record) for record in records]
    for i, spec in enumerate(drawn):
        assert (plain_of(spec) is not None) == (i in (3, 5))  # for whose plain bars more is made
        with device(spec) as fake:
            session = CudaEngine(64).open(spec)
            planned = session.scenario_bytes() + session.panel_bytes()
            session.advance(0, spec.market.shape[0])
            assert 0.8 * fake.peak < planned < 1.25 * fake.peak


def test_a_session_leaves_only_panels():
    spec, engine = batch(16, 5, 40, fills=True, positions=True), CudaEngine(32)
    size = spec.market.close.size
    gc.disable()
    try:
        for memory in (1 << 40, peak(spec, engine) // 2):
            with device(spec, bytes_total=memory) as fake:
                session, _ = run(spec, engine)
                del session
                kept = [a.memory.size for _, a in spec.market.cache.get(("cuda", 0), {}).values()]
                assert fake.used == sum(kept)
                assert all(n in (size, 4 * size, 8 * size) for n in kept)
                spec.market.cache.clear()
                assert fake.used == 0
    finally:
        gc.enable()


def test_a_failed_session_leaves_only_panels():
    spec = batch(16, 2, 20)
    with device(spec, bytes_total=3000) as fake:
        with contextlib.suppress(MemoryError):
            run(spec, CudaEngine(32))
        gc.collect()
        spec.market.cache.clear()
        assert fake.used == 0


def test_a_panel_is_sent_once():
    """And so are weights that nobody can write to."""
    spec = batch(16, 2, 37)
    for weights in spec.weights:
        weights.flags.writeable = False
    size = spec.market.close.size
    with device(spec) as fake:
        sent = []
        for _ in range(3):
            fake.sent.clear()
            run(spec, CudaEngine(32))
            sent.append(sum(n in (size, 4 * size, 8 * size) for n in fake.sent))
        assert sent[0] >= 4 and sent[1:] == [0, 0]


@pytest.mark.parametrize("fixed", [False, True])
def test_lanes_share_what_they_read(fixed):
    """Scenarios on one book bring it once, however many blocks they fill, and whether it may be written to or not."""
    panel, weights, config = scenario(16, 37)
    weights = np.ascontiguousarray(weights)
    weights.flags.writeable = not fixed
    spec = spec_of(panel_of(panel, config), [weights], [config] * 9)
    with device(spec) as fake:
        session, raw = run(spec, CudaEngine(32, together=1))
        assert len(session.parts[0].lanes.launch) == 1 and session.parts[0].lanes.launch["lanes"] == 9
        assert fake.sent.count(weights.nbytes) <= 8  # close, execution, marks, raw prices and weights, at most
        assert_same_raw(raw, simulate_spec(NUMPY, spec))


def test_another_book_on_the_same_panel():
    """Only its weights are sent; those of books that are gone do not pile up, on the device or here."""
    market = bt.Panel(
        timestamps=np.arange(30).astype("datetime64[D]").astype("datetime64[us]"),
        close=np.random.default_rng(1).uniform(10, 20, (30, 37)), assets=[f"A{i}" for i in range(37)], prices="raw",
    )  # fmt: skip
    config, used = bt.Config(execution="same_close"), []
    with installed(FakeCupy()) as fake:
        for i in range(4):
            weights = np.random.default_rng(i).dirichlet(np.ones(37), 30)
            got, want = (bt.run(market, weights, config, engine=name) for name in ("cuda", "numpy"))
            assert np.array_equal(got.equity["equity"], want.equity["equity"])
            del got, want, weights
            gc.collect()
            used.append(fake.used)
    assert used[1:] == used[:-1]


def test_weights_changed_in_place_are_sent_again():
    market = bt.Panel(
        timestamps=np.arange(9).astype("datetime64[D]").astype("datetime64[us]"),
        close=np.full((9, 3), 16.0) * np.arange(1, 10)[:, None], assets=list("abc"), prices="raw",
    )  # fmt: skip
    weights, config = np.full((9, 3), 0.25), bt.Config(execution="same_close", initial_cash=1e6)
    with installed(FakeCupy()):
        first = bt.run(market, weights, config, engine="cuda").equity["equity"].to_list()
        weights *= 0.5
        second = bt.run(market, weights, config, engine="cuda").equity["equity"].to_list()
    assert first != second == bt.run(market, weights, config, engine="numpy").equity["equity"].to_list()


def test_two_sessions_at_once():
    """Of different needs, bar by bar in turn, on the same panel and on another."""
    specs = [batch(16, 2, 40), batch(16, 3, 40, fills=True), batch(22, 2, 900)]
    with installed(FakeCupy(shared=100_000)) as fake:
        sessions = [CudaEngine(64, together=4).open(spec) for spec in specs]
        wanted = [simulate_spec(NUMPY, spec) for spec in specs]
        for t in range(0, 12, 4):
            for session in sessions:
                session.advance(t, t + 4)
        for session, spec, want in zip(sessions, specs, wanted, strict=True):
            session.advance(12, spec.market.shape[0])
            assert_same_raw(session.result(), want)
        assert len({size for *_, size in fake.launches}) > 1


def test_kernels_that_need_different_shared_memory():
    """A session opened later does not take away what an earlier one has asked for."""
    specs = [batch(22, 4, 900), batch(22, 4, 840)]
    with installed(FakeCupy()) as fake:
        sessions = [CudaEngine(64, together=4).open(spec) for spec in specs]
        for session in sessions:
            session.advance(0, 1)
        for session, spec in zip(sessions, specs, strict=True):
            session.advance(1, spec.market.shape[0])
            assert_same_raw(session.result(), simulate_spec(NUMPY, spec))
        assert min(size for *_, size in fake.launches) > 48 * 1024
