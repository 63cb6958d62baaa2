# SPDX-License-Identifier: Apache-2.0
"""gpu-bt sweep: a grid of parameters over prices and one or more books of weights."""

from __future__ import annotations

import dataclasses
import multiprocessing
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, InvalidStateError, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gpu_bt.cli import code, common, complete, options, words
from gpu_bt.cli.common import draw, emit, pairs, progress, replacing, table, write
from gpu_bt.cli.options import Texts, expanded, how, kept, what
from gpu_bt.sweeps.stops import end_with_parent

if TYPE_CHECKING:
    from gpu_bt.sweeps.result import SweepResult

__all__ = ["EXAMPLES", "sweep"]

_NAMED = "[NAME=]FILE"


EXAMPLES = """Examples:

\b
  gpu-bt sweep --prices p.csv --weights w.csv --axis band=0,0.01
  gpu-bt sweep --prices p.csv --scores s.csv --grid grid.toml --out sweep/
  gpu-bt sweep --prices p.csv --strategy my.py:Momentum --axis lookback=20,60
"""


@expanded
def sweep(
    reading: options.Reading,
    setup: options.Setup,
    weights: Annotated[Texts, what("Target weights; again for another book", metavar=_NAMED)] = None,
    scores: Annotated[Texts, what("or scores; long, keep, ... are axes then", metavar=_NAMED)] = None,
    strategy: Annotated[
        str | None, what("or a class of strategies, or make(panel, ...)", metavar="FILE.py:NAME")
    ] = None,
    grid: Annotated[Path | None, what("TOML: axis = [values], or [[scenarios]] tables", metavar="FILE")] = None,
    axis: Annotated[
        Texts,
        what("An axis of the grid; repeatable", metavar="NAME=VALUE,...", autocompletion=complete.axes),
    ] = None,
    workers: Annotated[int, how("Processes, 1", min=1, max=1024, metavar="N")] = 1,
    max_memory: Annotated[int | None, how("Memory for scenarios, per process", min=1, max=2**40, metavar="MIB")] = None,
    chunk_size: Annotated[
        int | None, how("Scenarios that are saved together, 256", min=1, max=10**7, metavar="N")
    ] = None,
    dry_run: Annotated[bool, how("Print the plan: chunks, memory. Run nothing", "--dry-run")] = False,
    out: Annotated[str | None, kept("Write files there, and go on from there after a stop", metavar="FOLDER")] = None,
    metric: Annotated[
        str, kept("What the best are best by, sharpe", metavar="NAME", autocompletion=complete.metrics)
    ] = "sharpe",
    best: Annotated[int, kept("How many of the best to show, 10", min=1, max=10**7, metavar="N")] = 10,
    equity: Annotated[bool, kept("Keep every scenario's equity rows", "--equity")] = False,
    plot: options.Plot = True,
    json: options.Json = False,
) -> None:
    """Run a grid of parameters; show the best of them."""
    words.alone(weights=weights, scores=scores, strategy=strategy)
    settings, axes = setup.read(), words.grid(grid, axis or [])
    books = words.books(weights or scores or [])
    made: Any = None if strategy is None else code.load(strategy)
    folder = words.folder(out, *["sweep.png"] * plot)
    _advise(folder)
    with progress() as show:
        show("reading prices")
        panel = reading.panel()
        show("reading weights")
        read = {name: reading.books([path], panel, bool(scores)) for name, path in books.items()}
        book: Any = read if len(read) != 1 or "=" in (weights or scores or [""])[0] else read.popitem()[1]
        if strategy is not None:
            book = made if isinstance(made, type) or not callable(made) else partial(made, panel)
        given: dict[str, Any] = {
            "panel": panel, "weights": code.scored(book, {}) if scores else book,
            "grid": axes, "equity": equity, "chunk_size": chunk_size, "max_memory": max_memory and max_memory << 20,
            "out": folder and folder / "chunks", **settings,
        }  # fmt: skip
        result = _run(given, workers, dry_run, metric, strategy, show)
    if not dry_run:
        return _report(result, folder, metric, best, plot)
    if not emit(dataclasses.asdict(result)):
        table(pairs(str(result).splitlines()))


def _advise(folder: Path | None) -> None:
    """What to do after Ctrl-C."""
    if folder is not None:
        again = shlex.join(common.ARGUMENTS)
        common.ADVICE.append(f"finished chunks are in {folder / 'chunks'}; go on with: gpu-bt {again}")


def _run(
    given: dict[str, Any], workers: int, dry_run: bool, metric: str, code: str | None, show: Callable[..., None]
) -> Any:
    """The sweep or its plan, with its progress on the terminal; the metric is refused before anything runs."""
    from gpu_bt.sweeps.result import check_metric
    from gpu_bt.sweeps.sweep import sweep as run

    check_metric(metric)
    bars, assets = given["panel"].shape
    began: list[tuple[float, int]] = []

    def step(done: int, total: int) -> None:
        began.append((time.perf_counter(), done))
        rate = (done - began[0][1]) * bars * assets / max(began[-1][0] - began[0][0], 1e-9)
        show("sweeping", done, total, f"{done:,}/{total:,} scenarios  {rate / 1e6:,.1f} M asset-bars/s")

    if dry_run:
        return run(**given, dry_run=True)
    with _pool(workers, code) as executor:
        return run(**given, executor=executor, progress=step)


def _mask(how: str, numbers: Any = (signal.SIGINT,)) -> Any:
    """`signal.pthread_sigmask`, where the system has it."""
    return signal.pthread_sigmask(getattr(signal, how), numbers) if hasattr(signal, "pthread_sigmask") else ()


class _Pool(ProcessPoolExecutor):
    """Processes that hear of Ctrl-C when they are ready for it: one that still imports would print a traceback."""

    def submit(self, *given: Any, **named: Any) -> Any:
        before = _mask("SIG_BLOCK")  # which the processes that it starts inherit
        try:
            return super().submit(*given, **named)
        finally:
            _mask("SIG_SETMASK", before)


@contextmanager
def _pool(workers: int, code: str | None) -> Iterator[Executor | None]:
    """Processes that end at once on Ctrl-C, without a word. code: the user's file that they load."""
    if workers == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    hook = threading.excepthook
    # Where its processes end while futures are cancelled, the pool's own thread complains.
    threading.excepthook = lambda args: None if args.exc_type is InvalidStateError else hook(args)
    pool = _Pool(workers, context, _begin_worker, (code,))
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        threading.excepthook = hook


def _begin_worker(text: str | None) -> None:
    """A worker ends at Ctrl-C without a word, and with the program that began it; its classes are those of the file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _mask("SIG_UNBLOCK")
    end_with_parent()
    if text is not None:
        code.load(text)


def _report(result: SweepResult, folder: Path | None, metric: str, best: int, plot: bool) -> None:
    """Print the best, then write: a disk that is full does not hide what the sweep gave."""
    from gpu_bt.cli import records
    from gpu_bt.sweeps.result import texts

    if not emit(records.sweep(result, metric, best, folder)):
        table(pairs(result.summary().splitlines()[:3]))
        print(f"\nbest by {metric}:", flush=True)
        rows = result.shown(metric, best)
        table(texts(rows), rows.columns, least=len(result.axes) + 2)
    if folder is None:
        return
    with replacing(folder) as stale:
        write("writing", lambda: result.write(folder, stale=stale))
        if plot and any(result.table[axis].n_unique() > 1 for axis in result.axes):
            draw(folder / "sweep.png", partial(result.plot, metric=metric))
