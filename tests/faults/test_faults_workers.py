# SPDX-License-Identifier: Apache-2.0
"""Faults of executors and of their workers."""

from __future__ import annotations

import concurrent.futures as futures
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
from extent import exhaustive
from faults import kit
from faults.fork_strategies import Dies, Killed, Plain, Raises, UsesPolars, UsesPolarsInAHelper
from faults.kit import fault, faults, refused, script
from faults.sweep_faults import same, tiny
from sweep_cases import universe
from waits import HANGS

import gpu_bt as bt

pytestmark = [
    pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork"),
]
FORK, SPAWN = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")


def shut(pool: futures.Executor) -> futures.Executor:
    pool.shutdown()
    return pool


EXECUTORS = {
    "a text": lambda: "processes",
    "a number": lambda: 4,
    "the class of one": lambda: futures.ProcessPoolExecutor,
    "a context of multiprocessing": lambda: SPAWN,
    "a function": lambda: map,
    "a list of them": lambda: [futures.ThreadPoolExecutor(1)],
    "False": lambda: False,
    "shut down, of threads": lambda: shut(futures.ThreadPoolExecutor(1)),
    "shut down, of processes": lambda: shut(futures.ProcessPoolExecutor(1, SPAWN)),
}


@faults("executors", "refused", EXECUTORS, "executor= is ")
def test_what_is_no_executor(value, tmp_path):
    with refused("executor is ", bt.ConfigError):
        tiny(tmp_path / "out", executor=value())
    assert not (tmp_path / "out").exists()


@faults("progress", "refused", {"a text": "yes", "a number": 1, "a list": [print]}, "progress= is ")
def test_what_is_no_function(value, tmp_path):
    with refused("progress is .*: it must be a plain function", bt.ConfigError):
        tiny(tmp_path / "out", progress=value)
    assert not (tmp_path / "out").exists()


@fault("progress", "the function raises: its own error arrives, and what was done stays", "survived")
def test_a_function_that_raises(tmp_path):
    def fails(done: int, total: int) -> None:
        if done == 4:
            raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^'?mine'?$"):
        tiny(tmp_path, progress=fails)
    assert not list(tmp_path.glob(".*"))
    same(tiny(tmp_path), tiny(), 2)


@fault("progress", "the function gives back nonsense", "survived")
def test_a_function_that_gives_something(tmp_path):
    same(tiny(progress=lambda *_: float("nan")), tiny(), 6)


# --- forks ---


@fault("forked workers", "weights after Polars was used, in workers that are forked", "survived")
def test_weights_in_forked_workers(tmp_path):
    found = script(
        """
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
import polars as pl
import gpu_bt as bt
from faults.sweep_faults import tiny, same
warnings.simplefilter("ignore", bt.BacktestWarning)
pl.DataFrame({"a": list(range(9999)) * 9}).group_by("a").len().sort("a")
whole = tiny(equity=True)
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    same(tiny(equity=True, executor=pool, chunk_size=1, out="out"), whole, 6)
print("same")
""",
        folder=tmp_path,
    )
    assert found.stderr == ""
    kit.survived(found.stdout, "same\n")


FORKS = {"uses Polars": UsesPolars, "uses Polars in a helper": UsesPolarsInAHelper}


@faults("forked workers", "refused", FORKS, "a strategy that ")
def test_a_strategy_that_uses_polars(value):
    with (
        futures.ProcessPoolExecutor(1, FORK) as pool,
        refused(r"executor forks its workers, .* uses Polars: .*get_context\('spawn'\)", bt.ConfigError),
    ):
        bt.sweep(universe(), value, None, {"band": [0.0]}, executor=pool)


@fault("forked workers", "a strategy that calls eval()", "refused")
def test_a_strategy_that_cannot_be_known():
    class Blind(Plain):
        def finalize(self) -> None:
            eval("3")

    with futures.ProcessPoolExecutor(1, FORK) as pool, refused("what Blind uses cannot be known", bt.ConfigError):
        bt.sweep(universe(), Blind, None, {"band": [0.0]}, executor=pool)


@fault("forked workers", "a panel that is read window by window", "refused")
def test_a_stream(tmp_path):
    import polars as pl

    panel = universe()
    long = {"timestamp": np.repeat(panel.timestamps, panel.shape[1]), "asset": panel.assets * panel.shape[0]}
    pl.DataFrame({**long, "close": panel.close.reshape(-1)}).write_parquet(tmp_path / "p.parquet")
    stream = bt.scan_panel(tmp_path / "p.parquet")
    with futures.ProcessPoolExecutor(1, FORK) as pool, refused("scan_panel is read by Polars", bt.ConfigError):
        bt.sweep(stream, {panel.assets[0]: 0.5}, bt.Config(execution="next_close"), {"band": [0.0]}, executor=pool)


@exhaustive
@fault("forked workers", "a strategy without Polars after Polars was used", "survived")
def test_a_strategy_in_forked_workers(tmp_path):
    found = script(
        """
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
import polars as pl
import gpu_bt as bt
from faults.fork_strategies import Plain
from sweep_cases import assert_same_sweep, universe
warnings.simplefilter("ignore", bt.BacktestWarning)
pl.DataFrame({"a": list(range(9999)) * 9}).group_by("a").len().sort("a")
grid = {"names": [1, 2, 3]}
whole = bt.sweep(universe(), Plain, None, grid)
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    assert_same_sweep(bt.sweep(universe(), Plain, None, grid, executor=pool, chunk_size=1), whole)
print("same")
""",
        folder=tmp_path,
    )
    kit.survived(found.stdout, "same\n")


CHILD = """
import multiprocessing, os, warnings
import polars as pl
import gpu_bt as bt
from concurrent.futures import Executor, ProcessPoolExecutor
from faults.fork_strategies import Plain, UsesFrames, UsesPolars, UsesPolarsInAHelper
from faults.sweep_faults import tiny
from sweep_cases import books, universe
warnings.simplefilter("ignore", bt.BacktestWarning)
PANEL = universe()
RUN = bt.run(PANEL, books(PANEL)["one"])
USED = bt.run(PANEL, books(PANEL)["one"])
HELD = pl.DataFrame({"asset": [PANEL.assets[0]], "shares": [10]})
class Holds(Plain):
    def __init__(self): self.table = HELD
    def initialize(self): self.table.filter(pl.col("shares") > 1)
class Around(Executor):
    def __init__(self, pool): self.pool = pool
    def submit(self, *given): return self.pool.submit(*given)
def around():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        bt.sweep(PANEL, UsesPolars, None, {"band": [0.0]}, executor=Around(pool))
def in_worker():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        bt.sweep(PANEL, UsesFrames, None, {"band": [0.0]}, executor=pool)
USES = {
    "equity": lambda: RUN.equity,
    "fills": lambda: RUN.fills,
    "cuts": lambda: RUN.cuts,
    "final_positions": lambda: RUN.final_positions,
    "summary": lambda: str(RUN),
    "frame": lambda: bt.run(PANEL, UsesFrames()),
    "read_panel": lambda: bt.read_panel(pl.DataFrame({"timestamp": [1], "asset": ["a"], "close": [1.0]})),
    "sweep": lambda: tiny(),
    "a run's write()": lambda: USED.write("run"),
    "a run's plot()": lambda: USED.plot("run.png"),
    "a run's summary": lambda: str(USED),
    "a sweep's summary": lambda: str(SWEPT),
    "a sweep's best()": lambda: SWEPT.best(),
    "a sweep's pivot()": lambda: SWEPT.pivot("band", "slippage"),
    "a sweep's held()": lambda: SWEPT.held({"band": 0.0}),
    "a sweep's plot()": lambda: SWEPT.plot("sweep.png"),
    "a sweep's write()": lambda: SWEPT.write("sweep"),
    "a run with holdings of a table": lambda: bt.run(PANEL, books(PANEL)["one"], holdings=HELD),
    "a run of a strategy that uses Polars": lambda: bt.run(PANEL, UsesPolars()),
    "a run of a strategy that uses it in a helper": lambda: bt.run(PANEL, UsesPolarsInAHelper()),
    "a run of a strategy that has a table": lambda: bt.run(PANEL, Holds()),
    "a run of a strategy without Polars": lambda: bt.run(PANEL, Plain()),
    "before": lambda: RUN.equity,
    "around": around,
    "worker": in_worker,
}
def ask(name):
    try:
        USES[name]()
        print(name, "done", sep="=", flush=True)
    except bt.ResultError as error:
        print(name, error, sep="=", flush=True)
def fork(name):
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        ask(name)
        os._exit(0)
fork("before")
USED.equity, USED.fills
SWEPT = bt.sweep(PANEL, books(PANEL)["one"], None, {"band": [0.0, 0.1], "slippage": [0.0, 0.1]})
pl.DataFrame({"a": [1, 2]}).filter(pl.col("a") > 1)
del USES["before"]
for name in USES:
    ask(name) if name in ("worker", "around") else fork(name)
"""


@pytest.fixture(scope="module")
def forked(tmp_path_factory) -> dict[str, str]:
    """What each of the program's forked processes says."""
    found = script(CHILD, folder=tmp_path_factory.mktemp("forked"))
    return dict(line.split("=", 1) for line in found.stdout.splitlines())


@faults(
    "forked workers", "refused",
    {name: name for name in (
        "equity", "fills", "cuts", "final_positions", "summary", "frame", "read_panel", "sweep",
        "a run's write()", "a run's plot()", "a sweep's summary", "a sweep's best()", "a sweep's pivot()",
        "a sweep's held()", "a sweep's plot()", "a sweep's write()", "a run with holdings of a table",
        "a run of a strategy that uses Polars", "a run of a strategy that uses it in a helper",
        "a run of a strategy that has a table",
    )},
    "after Polars was used, a forked process asks for: ",
)  # fmt: skip
def test_what_needs_polars_in_a_forked_process(value, forked):
    with refused("needs Polars, whose threads were lost when this process was forked: use a context that does not"):
        raise bt.ResultError(forked[value])


@fault(
    "forked workers", "a table is asked for in a forked process, before which Polars had not begun threads", "survived"
)
def test_a_fork_before_polars_was_used(forked):
    kit.survived(forked["before"], "done")


@faults(
    "forked workers", "survived", {name: name for name in ("a run's summary", "a run of a strategy without Polars")},
    "after Polars was used, a forked process asks for: ",
)  # fmt: skip
def test_what_needs_no_threads_in_a_forked_process(value, forked):
    kit.survived(forked[value], "done")


@fault("forked workers", "a strategy with Polars on an executor around one that forks", "refused")
def test_an_executor_around_one_that_forks(forked):
    with refused("UsesPolars needs Polars, whose threads"):
        raise bt.ResultError(forked["around"])


@fault("forked workers", "a strategy asks for Batch.frame() in a forked worker", "refused")
def test_a_frame_in_a_forked_worker(forked):
    with refused(r"Batch.frame\(\) needs Polars"):
        raise bt.ResultError(forked["worker"])


# --- workers that are lost, strategies that cannot travel ---


@faults(
    "workers", "refused",
    {"ends by itself": (Dies, {}), "is killed": (Killed, {}), "gets SIGTERM": (Killed, {"number": [15]})},
    "a worker ",
)  # fmt: skip
@pytest.mark.parametrize("context", [pytest.param(SPAWN, id="spawn", marks=exhaustive), pytest.param(FORK, id="fork")])
def test_a_lost_worker(value, context, tmp_path):
    strategy, grid = value
    with (
        futures.ProcessPoolExecutor(1, context) as pool,
        refused(
            r"a worker was lost after 0 of 1 chunks .*: start it again with a new executor and out=", bt.ResultError
        ),
    ):
        bt.sweep(universe(), strategy, None, {"band": [0.0], **grid}, executor=pool, out=tmp_path / "out")
    with refused("executor is broken or has been shut down: pass a new one", bt.ConfigError):
        bt.sweep(universe(), Plain, None, {"band": [0.0]}, executor=pool)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sweep.json"]


@exhaustive
@fault("workers", "a strategy raises in a worker: its own error arrives", "survived")
def test_an_error_of_a_strategy():
    with futures.ProcessPoolExecutor(1, SPAWN) as pool, pytest.raises(KeyError, match="no such thing") as caught:
        bt.sweep(universe(), Raises, None, {"band": [0.0]}, executor=pool)
    kit.survived("Raises.on_data_batch at bar 0" in "".join(caught.value.__notes__), True)


def local() -> type:
    class Local(Plain):
        pass

    return Local


UNPICKLED = {
    "is defined in a function": local,
    "is made by type()": lambda: type("Made", (Plain,), {}),
    "is not that of its module any more": lambda: type("Plain", (Plain,), {"__module__": Plain.__module__}),
}


@faults("workers", "refused", UNPICKLED, "a strategy for workers ")
def test_a_strategy_that_cannot_travel(value, tmp_path):
    with (
        futures.ProcessPoolExecutor(1, SPAWN) as pool,
        refused(
            "the strategy .* cannot travel to the workers .*: define the strategy at the top of a module",
            bt.ConfigError,
        ),
    ):
        bt.sweep(universe(), value(), None, {"band": [0.0]}, executor=pool, scratch=tmp_path)
    assert not list(tmp_path.iterdir())


TYPED = """
import sys, multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
import gpu_bt as bt
from faults.fork_strategies import Plain
from sweep_cases import universe
class Typed(Plain):
    pass
try:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        bt.sweep(universe(), Typed, None, {"band": [0.0]}, executor=pool)
except bt.ResultError as error:
    print(error)
"""


@exhaustive
@fault("workers", "a strategy for workers is typed into a program without a file", "refused")
def test_a_strategy_typed_in():
    paths = os.pathsep.join(map(str, (kit.ROOT, kit.ROOT / "tests")))
    found = subprocess.run(
        [sys.executable, "-c", TYPED],
        capture_output=True,
        text=True,
        timeout=HANGS,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with refused(
        "cannot travel to the workers .*'Typed'.*: define the strategy at the top of a module", bt.ResultError
    ):
        raise bt.ResultError(found.stdout.strip())


@faults(
    "workers", "refused", {"a number": 7, "a text with a NUL": "a\0b", "a file": __file__, "missing": "/no/such"},
    "scratch= is ",
)  # fmt: skip
def test_what_is_no_scratch(value):
    with futures.ThreadPoolExecutor(1) as pool, refused("scratch(=| is ).*", bt.BacktestError):
        tiny(executor=pool, scratch=value)
