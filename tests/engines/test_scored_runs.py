# SPDX-License-Identifier: Apache-2.0
"""Runs of books from scores, beside runs of weights, on every engine against the oracle, which forms its own rows."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_bits, assert_same_as_oracle, assert_same_raw
from draw_books import Scored, draw_book, mixed, scored
from draw_holdings import draw_holdings
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import seeds
from oracle import OraclePanel, simulate
from oracle_books import Book, begins, rows_read

import gpu_bt as bt
from gpu_bt.analysis.spans import began
from gpu_bt.config import Config
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.plain import needs_full
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.engine.spec import RunSpec
from gpu_bt.errors import WeightsError
from gpu_bt.law.layout import pack
from gpu_bt.runs.holdings import opening
from gpu_bt.runs.run import schedule_of

ENGINES = [name for name in ("numpy", "native") if reasons()[name] is None]
emulated = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("alike", [False, True], ids=["own rules", "same rules"])
@pytest.mark.parametrize("block", seeds(range(4)))
def test_drawn_scenarios(block, alike, name):
    """Several at once, of books of two rankings and of panels, cut at drawn bars; logged and not, which changes an
    engine's way."""
    for seed in range(block * 40, (block + 1) * 40):
        drawn = mixed(seed, 1 + seed % 7, alike=alike, fills=seed % 2 == 0, positions=seed % 3 > 0)
        cuts = tuple(np.random.default_rng(seed).integers(0, drawn.panel.shape[0] + 1, 3))
        raw = simulate_spec(resolve(name), drawn.spec, cuts)
        for k, wanted in enumerate(drawn.oracles()):
            assert_same_as_oracle(raw, wanted, k)


@pytest.mark.parametrize("name", ENGINES)
def test_wide_panels(name):
    """Enough assets that loops over them run whole vectors and remainders, and that sides have many names."""
    for seed in seeds(range(500, 524)):
        n = int(np.random.default_rng(seed).integers(40, 161))
        drawn = mixed(seed, 4, n, alike=seed % 2 == 0, fills=seed % 3 == 0)
        raw = simulate_spec(resolve(name), drawn.spec)
        for k, wanted in enumerate(drawn.oracles()):
            assert_same_as_oracle(raw, wanted, k)


@emulated
@pytest.mark.parametrize(("threads", "order"), [(32, "forward"), (64, "reversed"), (96, "random"), (256, "random")])
def test_on_the_emulated_device(threads, order):
    """As many scenarios to a block as there may be, and one; holdings in shared memory and outside of it."""
    with installed(FakeCupy(order)):
        for seed in seeds(range(threads, threads + 24)):
            drawn = mixed(seed, 1 + seed % 6, alike=seed % 4 > 0, fills=seed % 2 == 0, positions=seed % 3 > 0)
            engine = CudaEngine(threads, 1 + seed % 4, seed % 5 > 0)
            raw = simulate_spec(engine, drawn.spec)
            assert raw.engine == "cuda"
            for k, wanted in enumerate(drawn.oracles()):
                assert_same_as_oracle(raw, wanted, k)


def test_lean_scenarios(able):
    """What most runs are: a cash account that trades at the next bar, without limits on targets and without logs."""
    for seed in seeds(range(3000, 3060)):
        drawn = mixed(seed, 1 + seed % 5, 35 if seed % 6 == 0 else None, alike=seed % 3 > 0, lean=True)
        assert not needs_full(drawn.spec)
        cuts = tuple(np.random.default_rng(seed).integers(0, drawn.panel.shape[0] + 1, seed % 4))
        raw = simulate_spec(able, drawn.spec, cuts)
        for k, wanted in enumerate(drawn.oracles()):
            assert_same_as_oracle(raw, wanted, k)


@emulated
@pytest.mark.parametrize("threads", [32, 64, 96])
def test_around_the_ends_of_warps_and_blocks(threads):
    with installed(FakeCupy("random")):
        for n in sorted({1, 31, 32, 33, 63, 64, 65, threads - 1, threads, threads + 1}):
            drawn = mixed(n + 1000 * threads, 3, n, alike=True)
            raw = simulate_spec(CudaEngine(threads, 2), drawn.spec)
            for k, wanted in enumerate(drawn.oracles()):
                assert_same_as_oracle(raw, wanted, k)


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
def test_runs_and_grids_of_the_public_api(engine):
    """Each scenario of a grid, and the run of its Scores, against the oracle; thin books are counted."""
    counted = 0
    for seed in seeds(range(4000, 4030)):
        named, _, config = scored(seed, rankings=2)
        panel, groups = named[0].panel, named[0].groups
        named[1] = Scored.of(panel, named[1].scores, groups)
        rng, public = np.random.default_rng(seed), panel_of(panel, config)
        books = [draw_book(rng, panel.shape[1], config.account) for _ in range(5)]
        grid = [{"scores": "xy"[k % 2], "signal_lag": k % 3} | dataclasses.asdict(book) for k, book in enumerate(books)]
        scores = {name: own.scores for name, own in zip("xy", named, strict=True)}
        found = bt.sweep(public, bt.Scores(scores, groups=groups), config, grid, equity=True, engine=engine)
        for k, book in enumerate(books):
            own, each = named[k % 2], config.replace(signal_lag=k % 3)
            weights, thin = own.rows_and_thin(book, rows_read(panel, each))
            wanted = simulate(panel, weights, each)
            assert_bits(f"{seed} {k}", found.equity[k], np.array(wanted.money["equity"]))
            assert found.table["thin_books"][k] == len(thin)
            counted += len(thin)
        alone = bt.Scores(own.scores, groups=groups, **dataclasses.asdict(book))
        result = bt.run(public, alone, each, engine=engine, record=("fills", "positions"))
        assert_same_as_oracle(result.raw, wanted)
        assert result.notes["thin_books"] == len(thin)
    assert counted > 10


def market(rng: np.random.Generator, t: int, n: int) -> OraclePanel:
    """Prices that walk, a bar a day."""
    close = 20.0 * np.exp(np.cumsum(0.02 * rng.standard_normal((t, n)), axis=0))
    return OraclePanel(np.arange(t, dtype=np.int64) * 86_400_000_000, close, [f"A{i}" for i in range(n)])


def test_many_books(able):
    """More of them than an engine can number by a byte; those of scenarios that decide seldom end at other bars."""
    for seed in seeds(range(6)):
        rng = np.random.default_rng(seed)
        panel = market(rng, 300, 11)
        scores = np.cumsum(rng.normal(0, 0.2, panel.shape), axis=0) + rng.normal(0, 1, 11)
        own = Scored.of(panel, scores, None if seed % 2 else np.arange(11) // 4)
        config = Config(account="margin", execution="same_close", lot=0.0, initial_cash=1e6, slippage=1e-3)
        configs = [config.replace(rebalance_every=every) for every in (1, 1, 3, 4)]
        books = [dataclasses.replace(draw_book(rng, 11, "margin"), keep=keep) for keep in (1.5, 2.0, 1.0)]
        spec = spec_of(panel_of(panel, config), [*map(own.ranked, books)], configs)
        for cuts in ((), (1, 63, 64, 65, 127, 128, 200)):
            raw = simulate_spec(able, spec, cuts)
            for k, each in enumerate(configs):
                assert_same_as_oracle(raw, simulate(panel, own.rows(books[k % 3], each), each), k)


def test_more_assets_than_16_bits_number(able):
    """A ranking of 32-bit numbers; what is wanted are runs of the oracle's rows."""
    rng, (t, n) = np.random.default_rng(1), (4, 65_600)
    panel = market(rng, t, n)
    own = Scored.of(panel, np.rint(rng.normal(0, 9000, (t, n))))
    assert own.ranking.order.dtype == np.int32
    config = Config(account="margin", execution="same_close", lot=0.0, initial_cash=1e9)
    books = [Book(long=30, short=0.0005, keep=3.0), Book(long=0.25, short=0.5, keep=1.5, scheme="rank")]
    public = panel_of(panel, config)
    given = [own.rows(book, config) for book in books]
    assert (given[0][:, 65_536:] != 0.0).any() and (given[1][:, 65_536:] != 0.0).any()
    wanted = simulate_spec(resolve("numpy"), spec_of(public, given, [config] * 2))
    assert_same_raw(simulate_spec(able, spec_of(public, [*map(own.ranked, books)], [config] * 2)), wanted)


def test_opening_holdings(able):
    """What is held before the first bar; where it has its first price late, bars before that read no row."""
    late = ran = 0
    for seed in range(2000, 2060):
        [own], _, config = scored(seed)
        panel, rng = own.panel, np.random.default_rng(seed)
        public, shares = panel_of(panel, config), draw_holdings(seed, panel, config)
        try:
            held = opening(public, shares, [config])
        except WeightsError as error:
            assert "cash and holdings are worth" in str(error)
            continue
        if held is None:
            continue
        book, params = draw_book(rng, panel.shape[1], config.account), pack([held.config(config)])
        bars, seen_by = schedule_of(public, config)[None].copy(), held.market(public.market)
        bars[:, : held.first] = False
        start = held.start(params, seen_by)
        spec = RunSpec(seen_by, params, (own.ranked(book),), bars, fills=True, positions=True, start=start)
        rows = own.rows(book, config, held.first)
        assert_same_as_oracle(simulate_spec(able, spec), simulate(panel, rows, config, holdings=shares))
        late += held.first > 0
        ran += 1
    assert late >= 5 and ran >= 20


def test_the_first_bar_of_the_metrics():
    """[B5] [S9] That of the first book whose names may be held."""
    late = 0
    for seed in seeds(range(200)):
        drawn = mixed(seed, 4)
        wanted = [begins(drawn.panel, rows, config) for rows, config in zip(drawn.rows, drawn.configs, strict=True)]
        assert_bits(f"began {seed}", began(drawn.spec), np.array(wanted))
        late += sum(bar > 2 for bar in wanted)
    assert late > 3


def test_what_is_drawn():
    """The draws above are no evidence for what they never reach."""
    seen: Counter[str] = Counter()
    for seed in range(160):
        drawn = mixed(seed, 6, alike=seed % 2 == 0)
        books = [entry for entry in drawn.spec.weights if isinstance(entry, Ranked)]
        seen["weights beside books"] += 0 < len(books) < len(drawn.spec.weights)
        seen["two rankings"] += len({id(entry.ranking) for entry in books}) == 2
        seen["several books of a ranking"] += len(books) > len({id(entry.ranking) for entry in books})
        for k, oracle in enumerate(drawn.oracles()):
            if isinstance(drawn.spec.weights[drawn.spec.params["weights"][k]], Ranked):
                seen[oracle.status] += 1
                seen["lag"] += drawn.configs[k].signal_lag > 0
                seen["not at every bar"] += drawn.configs[k].rebalance != "bar"
                seen["shorts"] += bool((np.array(oracle.money["short_value"]) < 0).any())
                seen["cash account"] += drawn.configs[k].account == "cash"
                for name in ("outside", "delisted", "cash_clipped", "leverage_clipped", "no_price"):
                    seen[name] += sum(oracle.counts[name]) > 0
    assert min(seen.values()) >= 5 and len(seen) == 17, seen
