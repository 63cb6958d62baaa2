# SPDX-License-Identifier: Apache-2.0
"""Executors: which can run a sweep, how the inputs reach their workers, and what is said where one is lost."""

from __future__ import annotations

import concurrent.futures as futures
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpu_bt.arguments import path_of
from gpu_bt.data.forks import WAY_OUT, uses_polars, with_threads
from gpu_bt.data.panel import Panel
from gpu_bt.engine.registry import resolve
from gpu_bt.errors import ConfigError
from gpu_bt.sweeps.chunks import Inputs, Spilled
from gpu_bt.sweeps.locks import temporary
from gpu_bt.sweeps.stops import Ended

__all__ = ["check_executor", "check_forks", "ended", "lost", "shared"]


def check_executor(executor: Any, scratch: Any) -> None:
    """Raise ConfigError for what is no executor, or one that has been shut down, and for a scratch that is no path."""
    with_threads("sweep()")
    if scratch is not None:
        path_of("scratch", scratch)
    if executor is None:
        return
    if not isinstance(executor, futures.Executor):
        kind = f"the class {executor.__name__}" if isinstance(executor, type) else f"a {type(executor).__name__}"
        raise ConfigError(
            f"executor is {kind}: pass an instance of concurrent.futures.Executor, such as ProcessPoolExecutor(4), or"
            " leave it out"
        )
    if getattr(executor, "_shutdown", False) or getattr(executor, "_shutdown_thread", False):
        raise ConfigError("executor is broken or has been shut down: pass a new one")


def check_forks(executor: futures.Executor | None, inputs: Inputs) -> None:
    """Raise ConfigError where workers that are forked would wait for ever for the threads of Polars, or of a GPU."""
    context = getattr(executor, "_mp_context", None)
    if context is None or context.get_start_method() != "fork":
        return
    what, code = "", inputs.code
    if not isinstance(inputs.panel, Panel):
        what = "a panel of scan_panel is read by Polars"
    elif resolve(inputs.engine).name == "cuda":
        what = "engine 'cuda' has begun to use the GPU"
    elif code is not None:
        said = {True: f"{code.name} uses Polars", None: f"what {code.name} uses cannot be known"}
        what = said.get(uses_polars(code.itself, code.module), "")
    if what:
        raise ConfigError(f"executor forks its workers, which can hang there, and {what}: {WAY_OUT}")


def lost(done: int, total: int, out: str | None, error: BaseException) -> str:
    """What is said where a worker was lost: how far it came, why, and how to go on."""
    reason = " ".join(str(error).split()) or type(error).__name__
    rest = f"start it again with a new executor and {out}" if out else "with out= a rerun would go on from here"
    return f"a worker was lost after {done} of {total} chunks ({reason[:200]}): {rest}"


@contextmanager
def shared(inputs: Inputs, executor: futures.Executor, scratch: Any) -> Iterator[Any]:
    """The inputs as a worker gets them: Dask's scatter where the executor is Dask's, else files that they map."""
    scatter = getattr(getattr(executor, "_client", None), "scatter", None)
    if scatter is not None:
        yield scatter(inputs, broadcast=True, hash=False)
        return
    with temporary(scratch) as folder:
        yield Spilled.write(inputs, folder)


def ended(executor: futures.Executor, error: BaseException) -> bool:
    """Where a signal ends this process, end the executor's processes, too: they would run their chunks to the end.
    Gives whether the executor ends what waits: to cancel that meanwhile would make its thread print a traceback."""
    by_signal = isinstance(error, Ended) or isinstance(error.__context__, Ended)  # between two chunks
    processes = list((getattr(executor, "_processes", None) or {}).values()) if by_signal else []
    for process in processes:
        process.terminate()
    return bool(processes) or isinstance(error, futures.BrokenExecutor)
