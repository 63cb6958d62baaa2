# SPDX-License-Identifier: Apache-2.0
"""Runs of plain bars on the emulated device (gpu_bt/law/plain.h) against NumPy, bit for bit: what is drawn, that the
bars of a clean universe are plain, and that what is not goes on in the general kernel."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import pytest
from build import simulate_spec
from compare import assert_same_raw
from cuda_cases import NUMPY, ORDERS
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from extent import seeds
from plain_cases import KINDS, Kind, book, drawn, panel, specs

from gpu_bt.config import Config
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.module import source
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import COUNTS

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def named(kind: Kind) -> str:
    return "-".join(map(str, (*kind[:3], kind[3].__name__, *kind[4:])))


def runs(fake: FakeCupy) -> list[dict[str, str]]:
    """Of each launch over bars, the macros of its kernel."""
    return [defines for defines, *_ in fake.launches if defines["BT_PLAN"] == "0"]


def same(spec: RunSpec, engine: CudaEngine, cuts: tuple[int, ...] = ()) -> RawResult:
    raw = simulate_spec(engine, spec, cuts)
    assert_same_raw(raw, simulate_spec(NUMPY, spec))
    return raw


def counted(spec: RunSpec, name: str) -> np.ndarray:
    """A column of counts, (K, T), whatever the run records."""
    return simulate_spec(NUMPY, dataclasses.replace(spec, columns="all")).counts[COUNTS.index(name)]


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_drawn_scenarios(kind):
    """All sizes, orders of the threads and cuts; lists of assets and whole rows, both kernels, must be among them."""
    together, near = kind[4:]
    seen = set()
    for seed in seeds(range(60)):
        spec = drawn(seed, kind)
        bars = spec.market.shape[0]
        cuts = () if seed % 3 else tuple(np.random.default_rng(seed).integers(0, bars + 1, 2).tolist())
        with installed(FakeCupy(ORDERS[seed % 3])) as fake:
            same(spec, CudaEngine((64, 32, 96, 256)[seed // 3 % 4], together, near), cuts)
        spec.market.cache.clear()
        assert {d["BT_PLAIN"] for d in runs(fake)} == {"1"}
        seen |= {(d["BT_LIST"], d["BT_GENERAL"], d["BT_NEAR"]) for d in runs(fake)}
    assert seen == set(itertools.product("01", "01", str(int(near))))


def clean(kind: Kind, share: float, gross: float, count: int = 4, **given: Any) -> RunSpec:
    """Two books that trade every bar of a universe without gaps; of as many scenarios each."""
    rng = np.random.default_rng(int(100 * share))
    market = panel(rng, 40, 90)
    books = [book(rng, (40, 90), share, gross).astype(kind[3]) for _ in range(2)]
    base = Config(initial_cash=1e7, rounding=kind[0], lot=kind[1], execution="next_open", **given)
    configs = [base.replace(commission_rate=1e-4 * i) for i in range(count)]
    return specs(market, books, configs, np.ones(40, bool), kind[2])


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_all_bars_of_a_clean_universe_are_plain(kind, share):
    """No general kernel is launched, nor compiled: neither where cash suffices nor where every bar lacks it."""
    for gross, least in ((0.8, 0), (1.1, 4 * 30)):
        spec = clean(kind, share, gross, slippage=5e-4, min_commission=1.0)
        clipped = np.count_nonzero(counted(spec, "cash_clipped"))
        assert clipped >= least and (least or not clipped)
        with installed(FakeCupy("random")) as fake:
            same(spec, CudaEngine(64, kind[4], kind[5]), (7, 23))
        assert {(d["BT_GENERAL"], d["BT_LIST"]) for d in runs(fake)} == {("0", str(int(share < 1.0)))}
        assert not any("-DBT_GENERAL=1" in options for options in fake.options if "-DBT_PLAN=1" not in options)


#: Says on the standard error which bars have been plain.
TOLD = "    bt_leave_plain(lane, hot + side"
TELLS = '    if (bt_first()) fprintf(stderr, "plain %d to %d\\n", (int)first, (int)t);\n' + TOLD


@pytest.mark.parametrize("what", ["event", "gap", "cancelled", "stop", "price"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_what_is_not_plain_goes_the_general_way(capfd, what, share):
    """That bar, and plain bars go on after it, but for a stop, after which none is plain."""
    assert source().count(TOLD) == 1
    text = f"#include <stdio.h>\n{source().replace(TOLD, TELLS)}"
    base = clean(KINDS[0], share, 0.8, 1, unfilled="cancel" if what == "cancelled" else "keep", max_drawdown=0.3)
    close, opened = (array.copy() for array in (base.market.close, base.market.open))
    off, name = np.full(90, -1, np.int64), int(base.weights[0][14].argmax())
    if what == "event":
        off[name] = 15
        close[15:, name] = opened[15:, name] = np.nan
    elif what == "stop":
        close[15:], opened[15:] = close[15:] / 4, opened[15:] / 4
    elif what == "price":
        close[14, name] = np.nan  # at which the row of that bar is decided: no order, and nothing waits
    else:
        opened[15, name] = np.nan
    stamps, names = np.datetime64("2020-01-01") + np.arange(40), [f"a{i}" for i in range(90)]
    market = Panel(close, open=opened, timestamps=stamps, assets=names, delisted_at=off)
    spec = dataclasses.replace(base, market=market.market)
    with installed(FakeCupy(text=text)) as fake:
        same(spec, CudaEngine(64))
    found = [range(*map(int, x)) for x in re.findall(r"plain (\d+) to (\d+)", capfd.readouterr().err)]
    missed = set(range(40)) - set(itertools.chain(*found))
    assert {d["BT_GENERAL"] for d in runs(fake)} == ({"0"} if what == "price" else {"0", "1"})
    assert sum(map(len, found)) == len(set(itertools.chain(*found)))  # none twice
    if what == "price":
        assert not missed
    elif what == "stop":
        assert missed == set(range(15, 40))
    else:
        assert 15 in missed <= {15, 16, 17} | ({34} if what == "event" else set())  # where it is settled


OTHERS: list[dict[str, Any]] = [
    {"fixed_commission": 1.0}, {"commission_per_share": 0.01}, {"sell_tax": 1e-3}, {"max_commission_rate": 0.1},
    {"execution": "same_close"}, {"rounding": "nearest"}, {"lot": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: next(iter(change)))
def test_runs_without_plain_bars(change):
    """One scenario asks for what these leave out: all go the general way from the first bar on."""
    first = clean(KINDS[0], 1.0, 0.9, 1)
    configs = [Config(initial_cash=1e6), Config(initial_cash=1e6).replace(**change)]
    market = panel(np.random.default_rng(1), 40, 90)
    spec = specs(market, list(first.weights), configs, np.ones(40, bool), "equity")
    with installed(FakeCupy()) as fake:
        same(spec, CudaEngine(64, 1))
    assert {d["BT_PLAIN"] for d, *_ in fake.launches} == {"0"}


def test_three_scenarios_to_a_block_have_no_plain_bars():
    with installed(FakeCupy()) as fake:
        same(clean(KINDS[0], 1.0, 0.9), CudaEngine(64, 3))
        same(dataclasses.replace(clean(KINDS[0], 1.0, 0.9), positions=True), CudaEngine(64, 1))
        same(clean(KINDS[0], 1.0, 0.9), CudaEngine(64, 1, plain=False))
    assert {d["BT_PLAIN"] for d, *_ in fake.launches} == {"0"}
