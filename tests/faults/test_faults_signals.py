# SPDX-License-Identifier: Apache-2.0
"""Signals that end a sweep: it ends tidily, and so do its workers."""

from __future__ import annotations

import concurrent.futures as futures
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from extent import exhaustive
from faults import kit
from faults.fork_strategies import Leaves
from faults.kit import fault, faults
from faults.sweep_faults import same, tiny
from sweep_cases import universe
from waits import HANGS, wait_for

import gpu_bt as bt
from gpu_bt.sweeps.stops import Ended

pytestmark = [
    pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork"),
]

# --- signals ---

SLOW = """
import multiprocessing, os, signal, sys, time, warnings
from concurrent.futures import ProcessPoolExecutor
import gpu_bt as bt
from gpu_bt.sweeps.stops import Ended
from faults.sweep_faults import tiny
from gpu_bt.sweeps import sweep as sweeps
warnings.simplefilter("ignore", bt.BacktestWarning)
run = sweeps.run_chunk, sweeps.run_here
def slow(inputs, chunk, *free):
    if chunk.start >= 4:
        time.sleep(9999)
    return run[bool(free)](inputs, chunk, *free)
def main():
    sweeps.run_here = sweeps.run_chunk = slow
    if sys.argv[2] == "own":
        signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), os._exit(9)))
    show = lambda done, total: print(done, os.getpid(), flush=True)
    if sys.argv[1] == "here":
        tiny("out", progress=show)
    else:
        with ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1])) as pool:
            tiny("out", progress=show, executor=pool, scratch=".")
if __name__ == "__main__":
    main()
"""


def stopped(folder: Path, number: int, *arguments: str) -> tuple[subprocess.Popen, list[int]]:
    """The sweep, to which a signal was sent after its second chunk; the processes that it had begun."""
    (folder / "slow.py").write_text(SLOW)
    paths = os.pathsep.join(map(str, (kit.ROOT, kit.ROOT / "tests", folder)))
    process = subprocess.Popen(
        [sys.executable, "slow.py", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("4 "):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    time.sleep(0.05)
    process.send_signal(number)
    process.wait(HANGS)
    return process, workers


SIGNALS = {
    "SIGTERM ends a sweep": ("here", signal.SIGTERM, 143),
    "SIGHUP ends a sweep": ("here", signal.SIGHUP, 129),
    "SIGTERM ends a sweep with workers": ("spawn", signal.SIGTERM, 143),
}


@fault("signals", "SIGTERM ends a sweep with forked workers", "survived")
def test_sigterm_ends_a_sweep_tidily(tmp_path):
    ends_tidily(tmp_path, "fork", signal.SIGTERM, 143)


class Pool(futures.Executor):
    """It runs the first chunk at once and no other, and has a process."""

    def __init__(self) -> None:
        self.given: list[futures.Future] = []
        self.ended: list[bool] = []
        self._processes = {1: types.SimpleNamespace(terminate=lambda: self.ended.append(True))}

    def submit(self, work, /, *given):
        self.given.append(futures.Future())
        if len(self.given) == 1:
            self.given[0].set_result(work(*given))
        return self.given[-1]


@fault("signals", "SIGTERM between two chunks of a pool, whose thread ends what waits meanwhile", "survived")
def test_what_waits_is_left_to_a_pool_that_ends(tmp_path):
    def end(done: int, of: int) -> None:
        if done:
            raise Ended(143)

    pool = Pool()
    with pytest.raises(Ended):
        tiny(tmp_path / "out", executor=pool, progress=end)
    kit.survived((pool.ended, [future.cancelled() for future in pool.given[1:]]), ([True], [False, False]))


@exhaustive
@faults("signals", "survived", SIGNALS)
def test_a_signal_ends_a_sweep_tidily(value, tmp_path):
    ends_tidily(tmp_path, *value)


def ends_tidily(tmp_path: Path, where: str, number: int, status: int) -> None:
    process, workers = stopped(tmp_path, number, where, "default")
    with process:
        assert process.stderr.read() == ""
    wait_for(lambda: not any(map(running, workers)))
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(there) == 3 and re.match("chunk-0000[01]-", there[0]) and there[-1] == "sweep.json"
    assert not list(tmp_path.glob("gpu-bt-*"))
    kit.survived((process.returncode, tiny(tmp_path / "out").run), (status, 2))


@exhaustive
@faults(
    "signals", "survived", {"forked": "fork", "spawned": "spawn"}, "SIGKILL ends a sweep; its workers end with it: "
)
def test_workers_end_with_a_sweep_that_was_killed(value, tmp_path):
    process, workers = stopped(tmp_path, signal.SIGKILL, value, "default")
    with process:
        pass
    assert len(workers) >= 2
    wait_for(lambda: not any(map(running, workers)))
    left = list(tmp_path.glob("gpu-bt-*"))
    with futures.ThreadPoolExecutor(1) as pool:
        kit.survived((tiny(tmp_path / "out", executor=pool, scratch=tmp_path).run, len(left)), (2, 1))
    assert not list(tmp_path.glob("gpu-bt-*"))


def running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@exhaustive
@fault("signals", "a program has its own handler of SIGTERM, which is called", "survived")
def test_an_own_handler(tmp_path):
    process, _ = stopped(tmp_path, signal.SIGTERM, "here", "own")
    with process:
        kit.survived((process.stdout.read(), process.returncode), ("mine\n", 9))


@fault("signals", "the handlers after a sweep are those from before it, also where it failed", "survived")
def test_handlers_are_put_back(tmp_path):
    numbers = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
    before, within = list(map(signal.getsignal, numbers)), []
    tiny(progress=lambda *_: within.append(signal.getsignal(signal.SIGTERM)))
    with pytest.raises(bt.ConfigError):
        tiny(executor="none")
    assert within[0] is not before[0]
    kit.survived(list(map(signal.getsignal, numbers)), before)


@fault("signals", "a sweep runs in another thread, where no handler can be set", "survived")
def test_another_thread():
    with futures.ThreadPoolExecutor(1) as pool:
        same(pool.submit(tiny).result(), tiny(), 6)


@fault("signals", "a strategy ends the program in the middle of a sweep", "survived")
def test_a_strategy_that_leaves(tmp_path):
    with pytest.raises(SystemExit) as caught:
        bt.sweep(universe(), Leaves, None, {"band": [0.0]}, out=tmp_path)
    kit.survived((caught.value.code, [path.name for path in tmp_path.iterdir()]), (5, ["sweep.json"]))
