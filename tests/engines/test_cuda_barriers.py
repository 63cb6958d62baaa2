# SPDX-License-Identifier: Apache-2.0
"""Each barrier of the CUDA engine is needed, none is missing, and no thread strays: runs without each barrier in turn,
and under sanitizers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from build import simulate_spec
from compare import assert_same_raw
from cuda_cases import NUMPY, ORDERS, batch, book, lean, one
from draw_books import mixed
from emulator.barriers import barriers
from emulator.build import EmulatorError, why_not
from emulator.fake_cupy import FakeCupy, installed
from emulator.without_barriers import stopped, switched, where
from extent import chosen, digest, exhaustive, seeds
from plain_cases import KINDS, drawn

from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.module import source

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
ROOT = Path(__file__).parents[2]
#: Barriers that nothing here shows missed: (file, text of the lines around) -> why they are needed.
UNSEEN: dict[tuple[str, str], str] = {
    ("bar.h", "if (FULL && lane.out->logging) { bt_sync(); s.fills_at = (int32_t)lane.out->logged[2 * lane.number];"): (
        "the last bar has logged; whatever logs is followed by a sum today"
    ),
    (
        "bar.h",
        "BT_STEP void bt_spread(Lane &lane, const double *x, const double *unit, double *out) { bt_sync(); "
        "BT_EACH(i, lane.N) {",
    ): ("after a LEDGER_OVERFLOW it reads holdings that other threads have put back"),
    (
        "lane.h",
        "BT_FN void bt_store(const Lane &lane, const Scenario &s, int k) { bt_sync(); "
        "// the others have loaded what is overwritten if (bt_first()) *bt_slot(lane, k) = s;",
    ): ("between a load and its store stands a bar, which has a sum today"),
    ("columns.h", "bt_forget_rows(lane); bt_sync(); }"): (
        "an event reads `position` of any asset next; every way there has a barrier of its own today"
    ),
    ("plain.h", "bt_forget_rows(lane); bt_sync(); }"): (
        "an event reads `position` of any asset next; every way there has a barrier of its own today"
    ),
    ("plain.h", "BT_EACH(k, BT_TOGETHER) hot[2 * k * stride + lane.A] = 0.0; bt_sync(); }"): (
        "where lists are read, bt_find has a barrier of its own first; without them a member reads what it has written"
    ),
    ("plain.h", "const int place = threadIdx.x & 31; bt_sync(); for (int k = 0; k < lane.in->K; ++k) {"): (
        "the first warp writes scenarios that all have read where the bars begin; every bar between has a barrier today"
    ),
    ("plain.h", "Scenario own; bt_sync(); if (!lane.begun) bt_begin<BT_FULL>(lane, own);"): (
        "the first thread writes what all have read here; without a bar between, nothing else keeps them apart"
    ),
    ("run.h", "Scenario own; bt_sync(); if (lane.begun)"): (
        "the first thread writes what all have read here; without a bar between, nothing else keeps them apart"
    ),
}
#: So many processes share the barriers; pytest-xdist runs them side by side.
SHARES = 8
#: The one that runs without --exhaustive; another where the text is another.
WITNESS = int(digest(source()), 16) % SHARES


def needs(sanitizer: str) -> None:
    if why_not(sanitizer):
        pytest.skip(str(why_not(sanitizer)))


def around(number: int) -> str:
    """The line before a barrier, its own and the next, without white space."""
    text = source()
    line = text.count("\n", 0, barriers(text)[number].start)
    return " ".join(" ".join(text.split("\n")[line - 1 : line + 2]).split())


def test_the_switches_are_at_the_barriers():
    text = source()
    count = len(barriers(text))
    assert count > 20 and len(where(text)) == count
    assert {name for name, _ in where(text)} >= {"team.h", "lane.h", "fill.h", "bar.h", "run.h", "plain.h", "plan.h"}
    with_switches = switched(text)
    assert with_switches.count("(bt_skip == ") == count
    assert set(UNSEEN) <= {(name, around(i)) for i, (name, _) in enumerate(where(text))}
    assert all(f"(bt_skip == {i} ? (void)0 : {b.name}())" in with_switches for i, b in enumerate(barriers(text)))


@pytest.mark.proof
@pytest.mark.parametrize("share", [i if i == WITNESS else pytest.param(i, marks=exhaustive) for i in range(SHARES)])
def test_a_barrier_left_out_is_seen(share):
    needs("thread")
    places = where(source())
    numbers = [-1] * (share == WITNESS) + [*range(share, len(places), SHARES)]
    done = subprocess.run(
        [sys.executable, "-m", "emulator.without_barriers", *map(str, numbers)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(("tests", "tests/engines", "."))},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert set(found) == set(numbers)
    assert found.pop(-1, None) is None  # with all barriers nothing is seen
    unseen = {
        f"{places[n][0]}:{places[n][1]}: {around(n)}"
        for n, what in found.items() if what is None and (places[n][0], around(n)) not in UNSEEN
    }  # fmt: skip
    assert unseen == set()


def under(
    sanitizer: str, spec, engine: CudaEngine, text: str | None = None, mode: str = "fibers", order="forward"
) -> None:
    """A run in a process of its own, with the same bits as NumPy's."""
    needs(sanitizer)
    spec.market.cache.clear()
    with installed(FakeCupy(order, mode, text=text, sanitizer=sanitizer)):
        raw = simulate_spec(engine, spec)
    spec.market.cache.clear()
    assert_same_raw(raw, simulate_spec(NUMPY, spec))


@pytest.mark.proof
@pytest.mark.parametrize("block", chosen(range(4), 1, "address"))
def test_address_sanitizer(block):
    """No byte beyond an array or beyond the shared memory asked for, nothing undefined."""
    for seed in seeds(range(block * 6, block * 6 + 6)):
        n = (None, 31, 64, 8)[seed % 4]
        record = {"fills": seed % 2 == 0, "positions": seed % 3 == 0}
        engine = CudaEngine((32, 64)[seed % 2], 1 + seed % 3, seed % 5 > 0)
        spec = batch(seed, 3, n, **record) if seed % 3 else lean(seed, n) if seed % 2 else one(seed, n, **record)
        under("address", spec, engine, order=ORDERS[seed % 3])
        under("address", mixed(seed, 3, n, alike=True, **record).spec, engine, order=ORDERS[seed % 3])


@pytest.mark.proof
@pytest.mark.parametrize("shared", chosen([True, False], 1, "thread"))
def test_thread_sanitizer(shared):
    """No two threads use the same number without a barrier between, one of them to write it."""
    for seed in seeds((1, 3, 12, 590)):
        record = {"fills": seed % 2 == 0, "positions": seed % 3 == 0}
        under("thread", one(seed, 40, **record), CudaEngine(64, shared=shared))
        under("thread", batch(seed, 3, 35, **record), CudaEngine(64, 3, shared))
        under("thread", book(seed, 40, count=2), CudaEngine(32, 2, shared), order="random")
        under("thread", lean(seed, 70), CudaEngine(64, 1, shared), order="reversed")


@pytest.mark.proof
@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_plain_bars_under_a_sanitizer(sanitizer):
    """Whole rows and lists, in the block's own memory and outside, and what prepares them."""
    for seed in seeds(range(8)):
        kind = KINDS[seed % 3]
        under(sanitizer, drawn(seed, kind), CudaEngine(64, *kind[4:]), order=ORDERS[seed % 3])


@pytest.mark.proof
def test_threads_of_the_system():
    """The same with a thread of the operating system for each."""
    under("thread", batch(3, 2, 35, fills=True), CudaEngine(64, 2), mode="threads")


OVERRUN = ("h[j] = h[j] + q[j];", "h[j] = h[j] + q[j]; lane.bytes[BUFFER_UINT8_T_COUNT * lane.stride + j] = 1;")
SHARED_OVERRUN = ("h[j] = h[j] + q[j];", "h[j] = h[j] + q[j]; lane.hot[2 * lane.in->K * lane.stride + j] = 1.0;")
ENTER = "    for (int k = 0; k < lane.in->K; ++k) bt_enter<FULL>(lane, s, k);"
RACE = (ENTER, f"{ENTER} lane.classes[0] = threadIdx.x;")


@pytest.mark.proof
@pytest.mark.parametrize(
    ("sanitizer", "fault", "report"),
    [
        ("address", OVERRUN, "AddressSanitizer: heap-buffer-overflow"),
        pytest.param("address", SHARED_OVERRUN, "AddressSanitizer: use-after-poison", marks=exhaustive),
        ("thread", RACE, "ThreadSanitizer: data race"),
    ],
)
def test_a_planted_fault_is_seen(sanitizer, fault, report):
    text = source()
    assert text.count(fault[0]) == 1
    spec = stopped()
    under(sanitizer, spec, CudaEngine(64))
    with pytest.raises(EmulatorError, match=report):
        under(sanitizer, spec, CudaEngine(64), text.replace(*fault))


SWAP = "        if (row != NEVER) side ^= 1;"
PLAIN_FAULTS = [
    (
        "address",
        (SWAP, f"{SWAP} hot[2 * BT_TOGETHER * stride + BT_CLASSES] = 1.0;"),
        "AddressSanitizer: use-after-poison",
    ),
    ("thread", (SWAP, f"{SWAP} hot[0] = 1.0;"), "ThreadSanitizer: data race"),
]


@pytest.mark.proof
@pytest.mark.parametrize(("sanitizer", "fault", "report"), PLAIN_FAULTS, ids=["address", "thread"])
def test_a_planted_fault_of_plain_bars_is_seen(sanitizer, fault, report):
    text = source()
    assert text.count(fault[0]) == 1
    with pytest.raises(EmulatorError, match=report):
        under(sanitizer, drawn(7, KINDS[0]), CudaEngine(64), text.replace(*fault))


def test_the_process_of_its_own_sees_every_pointer():
    """Arrays that hold addresses are passed as such, and no other memory looks like it does."""
    spec = batch(3, 3, 35, fills=True, positions=True)
    spec.market.cache.clear()
    with installed(FakeCupy()) as fake:
        session = CudaEngine(64, 2).open(spec)
        session.advance(0, 3)
        kinds = sorted(a.nbytes for a in fake.memory() if a.dtype == np.uint64)
        del session
    assert len(kinds) >= 2
