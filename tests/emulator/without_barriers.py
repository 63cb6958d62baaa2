# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine without one of its barriers: python -m emulator.without_barriers NUMBER... prints a line of JSON for
each number of a barrier (-1: none is left out): [number, what showed it missed] or [number, null].

Each variant is compiled once, by the first number that needs it, with a switch at every barrier. Each number runs in a
process of its own, which may crash or hang: first as fibers in three orders, compared with NumPy; then, where nothing
was seen, under ThreadSanitizer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from build import simulate_spec, spec_of
from compare import assert_same_raw
from cuda_cases import NUMPY, ORDERS, batch, book, one
from draw_books import mixed
from emulator.barriers import barriers
from emulator.build import EmulatorError, why_not
from emulator.fake_cupy import FakeCupy, installed
from plain_cases import KINDS, drawn

from gpu_bt.config import Config
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.module import source
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked, ranking_of
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import BOOK

__all__ = ["stopped", "switched", "where"]

#: Processor seconds that the runs of one number may take, many times what they do: without a barrier some may not end.
SECONDS = 300
Case = tuple[RunSpec, CudaEngine, tuple[int, ...]]  # the last: cuts of the bars


def switched(text: str) -> str:
    """The text with barriers that the environment variable BT_SKIP leaves out, by number."""
    for number, barrier in reversed(list(enumerate(barriers(text)))):
        call = f"(bt_skip == {number} ? (void)0 : {barrier.name}())"
        text = text[: barrier.start] + call + text[barrier.stop :]
    return f'#include <stdlib.h>\nstatic const int bt_skip = atoi(getenv("BT_SKIP"));\n{text}'


def where(text: str) -> list[tuple[str, int]]:
    """(file, line) of each barrier of gpu_bt.cuda.module.source()."""
    places, name, line = {}, "", 0
    for number, words in enumerate(text.split("\n"), 1):
        if words.startswith("#line"):
            line, name = int(words.split()[1]) - 1, words.split('"')[1]
        else:
            line += 1
        places[number] = (name, line)
    return [places[b.line] for b in barriers(text)]


def for_fibers() -> Iterator[Case]:
    for seed in (1, 4, 12, 15, 0, 29, 20):
        yield one(seed, 70, fills=seed % 2 == 0, positions=seed % 3 == 0), CudaEngine(64, 1), (5,)
        yield batch(seed, 3, 70, fills=seed % 2 == 0, positions=seed % 3 == 0), CudaEngine(64, 3), (5, 9)
        yield book(seed, 70, count=1 + seed % 3), CudaEngine(96, 3), (7,)
    for seed in (1, 33):  # splits at bars where orders wait, after positions were recorded
        yield dataclasses.replace(book(seed, 100, (0.0, 0.1, 0.3)), positions=True), CudaEngine(64, 1), ()
    yield from plain(range(8))
    yield from of_scores(range(8))


def plain(seeds: Sequence[int]) -> Iterator[Case]:
    """Bars in registers, whole rows and lists of assets, and the general kernel after them."""
    for seed in seeds:
        for kind in KINDS[:3]:
            yield drawn(seed, kind), CudaEngine(64, *kind[4:]), (4, 11)


def of_scores(seeds: Sequence[int]) -> Iterator[Case]:
    """Books that are formed of a ranking, of several scenarios together and of one."""
    for seed in seeds:
        spec = mixed(seed, 3, 70, alike=True, fills=seed % 2 == 0, positions=seed % 3 == 0).spec
        yield spec, CudaEngine(64, 3), (5,)
        yield mixed(seed, 1, 100, fills=seed % 2 == 1).spec, CudaEngine(96, 1), (7,)
    yield many_books(), CudaEngine(64, 2), ()
    yield many_books(30, signal_lag=2), CudaEngine(96, 1), (7,)  # names that a delisting takes out of a book


def many_books(bars: int = 140, **config: Any) -> RunSpec:
    """More books, one after another, than marks of a byte can tell apart; an asset is delisted at every other bar."""
    scores = np.random.default_rng(5).normal(size=(bars, 70))
    fields = {"close": np.full(scores.shape, 16.0), "open": np.full(scores.shape, 16.0)}
    fields["delisted_at"] = np.where(np.arange(70) * 2 < bars, np.arange(70) * 2, -1)
    spec = made(fields, **config)
    ranking = ranking_of(scores, np.ones(scores.shape, bool), spec.market.delisted_at)
    book = np.array((20, 0, 3.0, 1.0, 1.0, 0), BOOK)
    return dataclasses.replace(spec, weights=(Ranked(ranking, book),))


def made(fields: dict[str, np.ndarray], **config: Any) -> RunSpec:
    """One purchase of 70 assets, decided at the first bar; fills logged."""
    t, n = fields["close"].shape
    stamps = np.arange(t).astype("datetime64[D]").astype("datetime64[us]")
    panel = Panel(timestamps=stamps, assets=[f"A{i}" for i in range(n)], prices="raw", **fields)
    weights = np.full((t, n), np.nan)
    weights[0] = 0.9 / n
    return spec_of(panel, [weights], [Config(initial_cash=1e6, rebalance="bar", **config)], fills=True)


def stopped() -> RunSpec:
    """Half of the assets wait for a price, and every bar logs that, up to the bar of a drawdown."""
    close = np.full((9, 70), 16.0)
    close[1:, 35:] = np.nan
    close[6:, :35] = 4.0
    return made({"close": close}, execution="next_close", unfilled="keep", max_drawdown=0.3)


def overflowing() -> RunSpec:
    """Thin volume cancels the rest of every order, in a bar whose mark the ledger cannot hold."""
    close, volume = np.full((4, 70), 16.0), np.full((4, 70), 1000.0)
    close[1:] = 1e12
    fields = {"close": close, "open": np.full((4, 70), 16.0), "volume": volume}
    return made(fields, execution="next_open", participation=0.1, unfilled="cancel", money_tick=2.0**-24)


def for_sanitizer() -> Iterator[Case]:
    """Logs that overlap from bar to bar, ledgers that overflow, delistings, columns that come and go."""
    yield stopped(), CudaEngine(64, 1), ()
    yield overflowing(), CudaEngine(64, 1), ()
    for seed in (97, 243, 590, 622, 828):
        yield one(seed, None, fills=True, positions=True), CudaEngine(64, 1), ()
    for seed in (4, 12, 16, 0, 1, 7):
        yield batch(seed, 2, 40, fills=seed % 2 == 0, positions=seed % 3 == 0), CudaEngine(64, 2), (5,)
        yield book(seed, 40, count=1 + seed % 2), CudaEngine(64, 2), (7,)
    yield from plain((1, 2, 3))
    yield from of_scores(range(3))


def seen(text: str, cases: list[tuple[Case, RawResult]], orders: tuple[str, ...], sanitizer: str | None) -> str | None:
    """What goes wrong first."""
    for order in orders:
        for (spec, engine, cuts), wanted in cases:
            spec.market.cache.clear()
            with installed(FakeCupy(order, text=text, sanitizer=sanitizer)):
                try:
                    assert_same_raw(simulate_spec(engine, spec, cuts), wanted)
                except (AssertionError, EmulatorError) as error:
                    return next((s for s in str(error).splitlines() if s.startswith("SUMMARY")), str(error)[:200])
    return None


def main(numbers: list[int]) -> None:
    text = switched(source())
    fibers, sanitized = ([(c, simulate_spec(NUMPY, c[0])) for c in make()] for make in (for_fibers, for_sanitizer))
    for number in numbers:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.environ["BT_SKIP"] = str(number)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, resource.RLIM_INFINITY))
            found = seen(text, fibers, ORDERS, None)
            if found is None and why_not("thread") is None:
                found = seen(text, sanitized, ORDERS[:1], "thread")
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            answer = file.read()
        status = os.waitpid(child, 0)[1]
        print(json.dumps([number, json.loads(answer) if answer else f"ended with status {status}"]), flush=True)


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])))
