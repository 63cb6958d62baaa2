# SPDX-License-Identifier: Apache-2.0
"""Threads share panels, weights, streams, results and engines: every bit is that of one thread."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import pytest
from extent import exhaustive
from faults.kit import fault, faults, refused, survived

import gpu_bt as bt
from cpu_fallback import native
from gpu_bt.data.shield import shield
from gpu_bt.engine import prepare
from gpu_bt.engine.spec import Cache
from gpu_bt.errors import quiet

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")
KIND = "Threads"
THREADS = 8
LOTS = (0.0, 1.0, 7.0, 10.0, 100.0)
CONFIGS = [bt.Config(lot=lot, delist_after=after) for lot, after in itertools.product(LOTS, (0, 3, 5))]
BARS, ASSETS = 30, 12


@pytest.fixture(autouse=True)
def often():
    """Threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the jobs give, each begun in a thread of its own at the same moment."""
    start = threading.Barrier(len(jobs))

    def begin(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(begin, job) for job in jobs]]


def panel() -> bt.Panel:
    """With gaps and silent assets, so that marks are carried and `delist_after` settles."""
    rng = np.random.default_rng(5)
    close = 50 * np.exp(rng.normal(0, 0.02, (BARS, ASSETS)).cumsum(axis=0))
    close[rng.random(close.shape) < 0.1] = np.nan
    close[20:, :3] = np.nan
    return bt.Panel(
        close, open=close, timestamps=np.arange(BARS).astype("datetime64[D]"), assets=list("ABCDEFGHIJKL"[:ASSETS])
    )


WEIGHTS = np.random.default_rng(6).random((BARS, ASSETS)) / ASSETS


def runs(market: bt.Panel, engine: str, configs: Sequence[bt.Config]) -> list[Any]:
    return [bt.run(market, WEIGHTS, config, engine=engine).raw for config in configs]


def bits(raws: Sequence[Any]) -> bytes:
    return b"".join(array.tobytes() for raw in raws for array in (raw.money, raw.counts, raw.holdings, raw.state))


def many(engine: str, rounds: int) -> None:
    """Each thread begins at another config, so that each asks for a lot that another one drops."""
    expected = {config: bits(runs(panel(), engine, [config])) for config in CONFIGS}
    for turn in range(rounds):
        market, orders = panel(), [np.random.default_rng([turn, i]).permutation(len(CONFIGS)) for i in range(THREADS)]
        asked = [[CONFIGS[k] for k in order[:5]] for order in orders]
        got = together([lambda m=market, given=given: runs(m, engine, given) for given in asked])
        for given, raws in zip(asked, got, strict=True):
            survived([bits([raw]) for raw in raws], [expected[config] for config in given])
        lots = {key[-1] for key in market.market.cache if key[0] in ("prices", "marks")}
        assert len(lots) <= 3  # memory is bounded as with one thread


@faults(KIND, "survived", {"native": "native", "numpy": "numpy"}, "eight threads run 15 configs over one panel: ")
def test_one_panel(value):
    if value == "native" and native.ENGINE.missing():
        pytest.skip(f"engine 'native': {native.ENGINE.missing()}")
    many(value, 3)


@exhaustive
@fault(KIND, "eight threads run 15 configs over one panel, a hundred times", "survived")
def test_one_panel_again_and_again():
    many("cpu", 100)


@fault(KIND, "eight threads ask for the same marks at once: they are made once", "survived")
def test_an_entry_is_made_once(monkeypatch):
    market, made, marks = panel().market, [], prepare._marks

    def slow(*given: Any) -> np.ndarray:
        made.append(given)
        time.sleep(0.01)  # in which the others come
        return marks(*given)

    monkeypatch.setattr(prepare, "_marks", slow)
    found = together([lambda: prepare.marks(market, 10.0)] * THREADS)
    assert len({id(array) for array in found}) == 1
    survived(len(made), 1)


COPIES = {
    "pickled": lambda market: pickle.loads(pickle.dumps(market)),
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
    "sliced": lambda market: market[:],
}


@faults(KIND, "survived", COPIES, "a panel in use by other threads is ")
def test_copies(value):
    market = panel()
    expected = bits(runs(market, "numpy", CONFIGS[:3]))
    jobs = [lambda: runs(market, "cpu", CONFIGS), lambda: runs(value(market), "numpy", CONFIGS[:3])] * 2
    for raws in together(jobs)[1::2]:
        survived(bits(raws), expected)


@fault(KIND, "a cache is pickled: the copy is empty and has a lock", "survived")
def test_a_cache_has_a_lock_again():
    market = panel()
    prepare.marks(market.market, 1.0)
    again = pickle.loads(pickle.dumps(market)).market.cache
    assert isinstance(again, Cache) and market.market.cache and not again
    with again.lock:
        survived(dict(again), {})


class Momentum(bt.Strategy):
    """Buys what has risen; waits at a bar where a test says so."""

    bars = 5
    stop: Callable[[], None] | None = None

    def on_data_batch(self, timestamp, batch):
        if self.stop is not None:
            self.stop()
        past = batch.history("close", self.bars)
        with np.errstate(invalid="ignore"):
            up = past[-1] > past[0]
        self.order_target_percent(np.flatnonzero(up), 0.05)


@fault(KIND, "a thread pool runs a sweep of weights", "survived")
def test_a_sweep_of_weights():
    market, grid = panel(), {"lot": list(LOTS), "commission_rate": [0.0, 1e-3], "delist_after": [0, 3]}
    expected = bt.sweep(market, WEIGHTS, bt.Config(), grid, equity=True)
    with ThreadPoolExecutor(THREADS) as pool:
        found = bt.sweep(market, WEIGHTS, bt.Config(), grid, equity=True, executor=pool, chunk_size=1)
    survived(found.equity, expected.equity)


@fault(KIND, "a thread pool runs a sweep of strategies: Python's filters of warnings stay", "survived")
def test_a_sweep_of_strategies():
    market, grid = panel(), {"bars": [2, 3, 4, 5, 6, 7, 8, 9], "delist_after": [0, 3]}
    expected = bt.sweep(market, Momentum, bt.Config(), grid, equity=True)
    filters = list(warnings.filters)
    with ThreadPoolExecutor(THREADS) as pool:
        found = bt.sweep(market, Momentum, bt.Config(), grid, equity=True, executor=pool, chunk_size=1)
    assert warnings.filters == filters
    survived(found.equity, expected.equity)


@fault(KIND, "a thread that is quiet leaves the warnings of another one", "survived")
def test_another_thread_warns():
    inside, done = threading.Event(), threading.Event()

    def silent() -> None:
        with quiet():
            inside.set()
            done.wait()

    other = threading.Thread(target=silent)
    other.start()
    inside.wait()
    try:
        with pytest.warns(bt.BacktestWarning, match="two scales"):
            bt.Panel([[1.0], [1.0]], open=[[9.0], [9.0]], timestamps=["2024-01-01", "2024-01-02"], assets=["A"])
    finally:
        done.set()
        other.join()
    survived(threading.active_count() >= 1, True)


@fault(KIND, "eight strategies, each its own instance, over one panel", "survived")
def test_strategies():
    market = panel()
    expected = bt.run(market, Momentum())

    for result in together([lambda: bt.run(market, Momentum())] * THREADS):
        survived(result, expected)


def inside(strategy: Momentum, what: Callable[[], Any]) -> list[Any]:
    """What a call gives that is made while the strategy runs, in another thread or in its own."""
    found: list[Any] = []

    def stop() -> None:
        strategy.stop = None
        with refused("this Momentum is running already: make an instance for each run", bt.StrategyError):
            found.append(what())

    strategy.stop = stop
    found.append(bt.run(panel(), strategy))
    return found


@fault(KIND, "one strategy in two threads at once", "refused")
def test_one_strategy_in_two_threads():
    strategy = Momentum()
    with ThreadPoolExecutor(1) as pool:
        [result] = inside(strategy, lambda: pool.submit(bt.run, panel(), strategy).result())
    survived(result, bt.run(panel(), Momentum()))


@fault(KIND, "a strategy that runs itself", "refused")
def test_a_strategy_within_itself():
    strategy = Momentum()
    [result] = inside(strategy, lambda: bt.run(panel(), strategy))
    survived(result, bt.run(panel(), strategy))


@fault(KIND, "a strategy whose run has failed runs again", "survived")
def test_a_strategy_after_a_failure():
    strategy = Momentum()
    strategy.stop = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        bt.run(panel(), strategy)
    strategy.stop = None
    survived(bt.run(panel(), strategy), bt.run(panel(), Momentum()))


def table() -> pl.DataFrame:
    market = panel()
    return pl.DataFrame(
        {
            "timestamp": np.repeat(market.timestamps, ASSETS),
            "asset": list(market.assets) * BARS,
            "close": market.close.ravel(),
            "open": market.close.ravel(),
        }
    )


@fault(KIND, "eight threads run over one stream", "survived")
def test_one_stream(tmp_path):
    table().write_parquet(tmp_path / "prices.parquet")
    stream = bt.scan_panel(tmp_path / "prices.parquet", bars=9)
    expected = bits(runs(panel(), "numpy", CONFIGS[:1]))
    for raws in together([lambda: runs(stream, "numpy", CONFIGS[:1])] * THREADS):
        survived(bits(raws), expected)


@fault(KIND, "eight threads read one stream's books, whose empty cells are counted", "survived")
def test_one_stream_of_books(tmp_path):
    market = panel()
    frame = pl.DataFrame({"timestamp": market.timestamps, **dict(zip(market.assets, WEIGHTS.T, strict=True))})
    frame = frame.with_columns(pl.when(pl.col("B") > 0.02).then("B").alias("B"))
    table().write_parquet(tmp_path / "prices.parquet")
    frame.write_parquet(tmp_path / "books.parquet")
    stream = bt.scan_panel(tmp_path / "prices.parquet", bars=9)
    books = stream.books(tmp_path / "books.parquet")

    def read() -> bytes:
        return b"".join(books.rows(window, a)[0].tobytes() for a, window in stream.parts())

    expected = read()
    books = stream.books(tmp_path / "books.parquet")
    survived(set(together([read] * THREADS)), {expected})


@fault(KIND, "eight threads ask one result for fills, positions and metrics", "survived")
def test_one_result():
    result = bt.run(panel(), WEIGHTS, CONFIGS[5])
    expected = (result.fills.hash_rows().to_list(), result.positions.tobytes(), result.metrics)
    result = bt.run(panel(), WEIGHTS, CONFIGS[5])
    jobs = [lambda: (result.fills.hash_rows().to_list(), result.positions.tobytes(), result.metrics)] * THREADS
    for found in together(jobs):
        survived(repr(found), repr(expected))


@fault(KIND, "eight threads read tables with times of an offset: the variable for Polars is set back", "survived")
def test_the_variable_of_offsets(monkeypatch):
    name = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"
    monkeypatch.delenv(name, raising=False)

    def read() -> bool:
        seen = []
        for _ in range(300):
            with shield("a table"):
                seen.append(os.environ.get(name))
        return all(value == "1" for value in seen)

    assert together([read] * THREADS) == [True] * THREADS
    survived(os.environ.get(name), None)


@fault(KIND, "eight threads read one file", "survived")
def test_one_file(tmp_path):
    table().write_csv(tmp_path / "prices.csv")
    found = together([lambda: bt.read_panel(tmp_path / "prices.csv").close.tobytes()] * THREADS)
    survived(set(found), {panel().close.tobytes()})


@fault(KIND, "eight threads look for the native engine's library at once", "survived")
def test_the_library():
    native.load.cache_clear()
    survived(len(set(map(repr, together([native.ENGINE.missing] * THREADS)))), 1)
