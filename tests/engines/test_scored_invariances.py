# SPDX-License-Identifier: Apache-2.0
"""What must change no bit of runs of books from scores: cuts, neighbours, their order, threads, blocks, memory, the
future. Engines here are compared with themselves; test_scored_runs.py compares them with the oracle."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_bits, assert_same_as_oracle, assert_same_raw
from draw_books import Scored, draw_book, mixed, scored
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import seeds
from oracle import OraclePanel, simulate

from cpu_fallback import native
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import SCENARIO_STATUS

ENGINES = [name for name in ("numpy", "native") if reasons()[name] is None]
emulated = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
LOGGED = {"fills": True, "positions": True}


def of_scenarios(raw: RawResult, members: list[int]) -> RawResult:
    """A record of some scenarios, in this order."""
    whole = {field.name: getattr(raw, field.name) for field in dataclasses.fields(raw)}
    for name in ("money", "counts"):
        whole[name] = None if whole[name] is None else whole[name][:, members]
    for name in ("state", "holdings", "orders", "positions"):
        whole[name] = None if whole[name] is None else whole[name][members]
    for name in ("fills", "cuts"):
        if whole[name] is not None:
            logs = [whole[name][whole[name]["scenario"] == k].copy() for k in members]
            for place, log in enumerate(logs):
                log["scenario"] = place
            whole[name] = np.concatenate(logs)
    return RawResult(**whole)


def test_every_cut_of_the_bars(able):
    for seed in seeds(range(700, 730)):
        drawn = mixed(seed, 4, alike=seed % 3 > 0, fills=seed % 2 == 0, positions=True)
        whole = simulate_spec(able, drawn.spec)
        assert_same_raw(simulate_spec(able, drawn.spec, tuple(range(drawn.panel.shape[0]))), whole)


def test_neighbours_and_their_order(able):
    """A scenario among others, alone, and in another order of scenarios and of books; some of them end early."""
    ended, all_seeds = 0, range(800, 840)
    for seed in seeds(all_seeds):
        drawn = mixed(seed, 6, alike=seed % 3 > 0, fills=seed % 2 == 0, positions=True)
        spec, rng = drawn.spec, np.random.default_rng(seed)
        whole = simulate_spec(able, spec)
        for k in range(len(spec.params)):
            alone = dataclasses.replace(spec, params=spec.params[[k]])
            assert_same_raw(simulate_spec(able, alone), of_scenarios(whole, [k]))
        order, entries = rng.permutation(len(spec.params)), rng.permutation(len(spec.weights))
        params = spec.params[order]
        params["weights"] = np.argsort(entries)[params["weights"]]
        moved = dataclasses.replace(spec, params=params, weights=tuple(spec.weights[e] for e in entries))
        assert_same_raw(simulate_spec(able, moved), of_scenarios(whole, order.tolist()))
        ended += 0 < int(whole.state["ended"].sum()) < len(spec.params)
    assert ended >= 4 or len(seeds(all_seeds)) < len(all_seeds)


def test_scenarios_that_end_beside_others(able):
    """One lane of books that are kept; some scenarios are so levered that they end or stop on the way."""
    seen, all_seeds = dict.fromkeys(("BANKRUPT", "DRAWDOWN_STOP", "MARGIN_CALL"), 0), range(900, 925)
    for seed in seeds(all_seeds):
        [own], _, config = scored(seed, 9)
        rng, panel = np.random.default_rng(seed), own.panel
        free = {"account": "margin", "max_leverage": None, "max_gross": None, "max_turnover": None, "max_weight": None}
        config = config.replace(rebalance="bar", rebalance_every=1, rebalance_offset=0, cash_buffer=0.0, **free)
        stops = ({}, {"max_drawdown": 0.02}, {"maintenance_margin": 0.5}, {"max_drawdown": None}, {"slippage": 0.01})
        configs = [config.replace(**more) for more in stops]
        books = [dataclasses.replace(draw_book(rng, 9, "margin"), keep=2.0, long_gross=g) for g in (1.0, 8.0, 3.0)]
        spec = spec_of(panel_of(panel, config), [own.ranked(book) for book in books], configs, fills=True)
        spec.params["schedule"] = 0
        raw = simulate_spec(able, spec)
        for k, each in enumerate(configs):
            assert_same_as_oracle(raw, simulate(panel, own.rows(books[k % 3], each), each), k)
        running = raw.state["ended"] == 0
        for name in seen:
            early = raw.state["first_bar"][:, SCENARIO_STATUS.index(name)]
            seen[name] += bool(running.any() and ((early >= 0) & (early < panel.shape[0] - 5)).any())
    assert min(seen.values()) >= 2 or len(seeds(all_seeds)) < len(all_seeds), seen


@pytest.mark.skipif("native" not in ENGINES, reason=f"engine 'native': {reasons()['native']}")
def test_threads(monkeypatch):
    monkeypatch.setattr(native, "_SMALL", 0)
    for seed in seeds(range(40)):
        drawn = mixed(seed, 8, 33 if seed % 5 == 0 else None, alike=seed % 2 == 0, fills=True, positions=True)
        one, *more = (simulate_spec(native.NativeEngine(threads), drawn.spec) for threads in (1, 2, 3, 4))
        for other in more:
            assert_same_raw(other, one)


@emulated
def test_blocks_of_a_device():
    for seed in seeds(range(40, 64)):
        drawn = mixed(seed, 5, 70 if seed % 6 == 0 else None, alike=True, fills=seed % 2 == 0, positions=True)
        wanted = simulate_spec(resolve("numpy"), drawn.spec)
        with installed(FakeCupy(("forward", "reversed", "random")[seed % 3])):
            for threads, together, shared in ((32, 1, True), (64, 2, False), (96, 5, True), (256, 4, False)):
                assert_same_raw(simulate_spec(CudaEngine(threads, together, shared), drawn.spec), wanted)


@emulated
@pytest.mark.parametrize("cuts", [(), (3, 4, 11)])
def test_a_device_that_is_short_of_memory(cuts):
    """Scenarios in parts, panels in windows of bars: the last books go along."""
    seen, engine = set(), CudaEngine(32, 2)
    for seed, n in ((16, 40), (22, 33), (47, 36)):
        drawn = mixed(seed, 5, n, alike=True, fills=seed == 16, positions=seed != 22)
        spec, wanted = drawn.spec, simulate_spec(resolve("numpy"), drawn.spec)
        keeps = [entry.book["keep"] > 1.0 for entry in spec.weights if isinstance(entry, Ranked)]
        assert any(keeps) and spec.market.shape[0] > 11
        whole = run(spec, engine, cuts)[2]
        for percent in (90, 60, 50, 40, 30, 25, 20, 10, 1):
            try:
                parts, window, _, raw = run(spec, engine, cuts, bytes_total=whole * percent // 100)
            except MemoryError:
                seen.add("too little")
                continue
            assert_same_raw(raw, wanted)
            seen |= {"parts"} if parts > 1 else set()
            seen |= {"windows"} if window < spec.market.shape[0] else set()
    assert seen == {"parts", "windows", "too little"}


def run(spec: RunSpec, engine: CudaEngine, cuts, **limits: int) -> tuple[int, int, int, RawResult]:
    """On a device that holds nothing yet: parts, bars of a window, most bytes used, and the record."""
    spec.market.cache.clear()
    with installed(FakeCupy(**limits)) as fake:
        session, edges = engine.open(spec), [0, *cuts, spec.market.shape[0]]
        for a, b in itertools.pairwise(edges):
            session.advance(a, b)
        found = len(session.parts), session.window, fake.peak, session.result()
    spec.market.cache.clear()
    return found


def shortened(panel: OraclePanel, t: int) -> OraclePanel:
    """Bars 0 to t - 1 alone; when the next one comes is known."""
    bars, cut = panel.shape[0], {}
    for field in dataclasses.fields(panel):
        value = getattr(panel, field.name)
        if field.name != "assets" and isinstance(value, np.ndarray) and len(value) == bars and value.ndim == 2:
            cut[field.name] = value[:t]
    stamps = panel.microseconds
    return dataclasses.replace(panel, microseconds=stamps[:t], next_microseconds=int(stamps[t]), **cut)


def of_bars(raw: RawResult, t: int) -> list[np.ndarray]:
    """What is recorded of bars 0 to t - 1."""
    logs = [log[log["bar"] < t] for log in (raw.fills, raw.cuts)]
    return [
        raw.money[:, :, :t],
        raw.counts[:, :, :t],
        raw.positions[:, :t],
        *(log[name] for log in logs for name in log.dtype.names),
    ]


def with_another_future(own: Scored, t: int, rng: np.random.Generator) -> Scored:
    """From bar t on other scores, groups and universe; what is delisted there, or never, is delisted at another bar."""
    panel, scores, groups = dataclasses.replace(own.panel), own.scores.copy(), own.groups
    bars, n = panel.shape
    scores[t:] = rng.normal(0, 1, scores[t:].shape)
    if groups is not None and groups.ndim == 2:
        groups = groups.copy()
        groups[t:] = rng.integers(-1, groups.max() + 1, groups[t:].shape)
    if panel.universe is not None:
        panel.universe = np.where(np.arange(bars)[:, None] < t, panel.universe, ~panel.universe)
    if panel.delisted_at is not None:
        off = panel.delisted_at
        panel.delisted_at = np.where((off >= t) | (off < 0), rng.integers(t, bars + 2, n), off)
    return Scored.of(panel, scores, groups)


def test_what_comes_after_a_bar_changes_nothing_before_it(able):
    """The future is another, or not there."""
    differs, all_seeds = 0, range(1000, 1040)
    for seed in seeds(all_seeds):
        [own], _, config = scored(seed)
        rng, (bars, n) = np.random.default_rng(seed), own.panel.shape
        if bars < 3:
            continue
        t, books = int(rng.integers(1, bars)), [draw_book(rng, n, config.account) for _ in range(3)]
        groups = own.groups if own.groups is None or own.groups.ndim == 1 else own.groups[:t]
        cut = Scored.of(shortened(own.panel, t), own.scores[:t], groups)
        wanted, changed, appended = (
            simulate_spec(able, spec_of(panel_of(x.panel, config), [*map(x.ranked, books)], [config] * 3, **LOGGED))
            for x in (own, with_another_future(own, t, rng), cut)
        )
        for found in (changed, appended):
            for x, y in zip(of_bars(found, t), of_bars(wanted, t), strict=True):
                assert_bits(f"{seed}", x, y)
        differs += changed.money.tobytes() != wanted.money.tobytes()
    assert differs > 5 or len(seeds(all_seeds)) < len(all_seeds)


def test_the_order_of_assets_without_ties(able):
    """Scores that differ: permuted assets are permuted weights and change no bit of the money."""
    for seed in seeds(range(1100, 1130)):
        [own], _, config = scored(seed)
        rng, panel = np.random.default_rng(seed), own.panel
        n = panel.shape[1]
        untied = Scored.of(
            panel, np.where(np.isnan(own.scores), np.nan, rng.normal(0, 1, own.scores.shape)), own.groups
        )
        book, order = draw_book(rng, n, config.account), rng.permutation(n)
        fields = {f.name: getattr(panel, f.name) for f in dataclasses.fields(panel)}
        moved = {
            k: v[..., order]
            for k, v in fields.items()
            if isinstance(v, np.ndarray) and v.shape[-1:] == (n,) and k != "microseconds"
        }
        other = dataclasses.replace(panel, **moved | {"assets": [panel.assets[i] for i in order]})
        groups = None if own.groups is None else np.ascontiguousarray(own.groups[..., order])
        there = Scored.of(other, np.ascontiguousarray(untied.scores[:, order]), groups)
        here, moved_run = (
            simulate_spec(able, spec_of(panel_of(x.panel, config), [x.ranked(book)], [config], positions=True))
            for x in (untied, there)
        )
        assert_bits("money", moved_run.money, here.money)
        assert_bits("counts", moved_run.counts, here.counts)
        assert_bits("positions", moved_run.positions, here.positions[:, :, order])
