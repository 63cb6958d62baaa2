# SPDX-License-Identifier: Apache-2.0
"""Runs of books from scores, beside runs of weights, on every engine against the oracle, which forms its own rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from build import simulate_spec
from compare import assert_bits, assert_same_as_oracle
from draw_books import mixed
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import seeds
from oracle_books import begins

from gpu_bt.analysis.spans import began
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.registry import reasons, resolve

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


@emulated
@pytest.mark.parametrize("threads", [32, 64, 96])
def test_around_the_ends_of_warps_and_blocks(threads):
    with installed(FakeCupy("random")):
        for n in sorted({1, 31, 32, 33, 63, 64, 65, threads - 1, threads, threads + 1}):
            drawn = mixed(n + 1000 * threads, 3, n, alike=True)
            raw = simulate_spec(CudaEngine(threads, 2), drawn.spec)
            for k, wanted in enumerate(drawn.oracles()):
                assert_same_as_oracle(raw, wanted, k)


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
