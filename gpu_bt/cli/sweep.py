# SPDX-License-Identifier: Apache-2.0
"""gpu-bt sweep: a grid of parameters over prices and one or more books of weights."""

from __future__ import annotations

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

import typer

from gpu_bt.cli import common, words
from gpu_bt.cli.common import draw, pairs, prices_of, progress, replacing, table, weights_of, write
from gpu_bt.errors import ConfigError
from gpu_bt.sweeps.stops import end_with_parent

if TYPE_CHECKING:
    from gpu_bt.sweeps.result import SweepResult

__all__ = ["sweep"]


def sweep(
    prices: common.Prices,
    grid: Annotated[
        Path | None, typer.Option(help=r"TOML file: axis = \[values], or [\[scenarios]] tables.")
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE,...", help="An axis of the grid; again for another.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]FILE", help="Target weights; again for another book.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Scores instead; long, short, keep, scheme are axes then."),
    ] = None,
    config: common.ConfigFile = None, set_: common.Set = None, engine: common.Engine = "auto",
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 1,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for the results, and to go on from after a stop.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan: chunks, memory. Run nothing.")] = False,
    metric: Annotated[str, typer.Option(help="What the best are the best by.")] = "sharpe",
    best: Annotated[int, typer.Option(min=1, max=10**7, help="How many of the best to print.")] = 10,
    equity: Annotated[bool, typer.Option("--equity", help="Keep every scenario's equity rows.")] = False,
    max_memory: Annotated[
        int | None, typer.Option(min=1, max=2**40, metavar="MIB", help="Memory for scenarios, per process.")
    ] = None,
    chunk_size: Annotated[
        int | None, typer.Option(min=1, max=10**7, help="Scenarios that are saved together, 256.")
    ] = None,
    missing: common.Missing = "close", align: common.Align = "exact", unknown_assets: common.UnknownAssets = "error",
    bad_prices: common.BadPrices = "error", adjust: common.Adjust = None, duplicates: common.Duplicates = "error",
    raw_prices: common.RawPrices = False, layout: common.Layout = "auto", fields: common.Fields = None,
    time_zone: common.TimeZone = None, date_format: common.DateFormat = None,
    timestamp_column: common.TimeColumn = "timestamp", asset_column: common.AssetColumn = "asset",
    weight_column: common.WeightColumn = "weight", start: common.Start = None, plot: common.Plot = True,
) -> None:  # fmt: skip
    """Run a grid of parameters; print the best, write a table of all scenarios and a picture."""
    settings = words.config(config, set_ or [])
    axes = words.grid(grid, axis or [])
    files = _files(weights, scores)
    books = words.books(files)
    folder = None if out is None else words.folder(out, *["sweep.png"] * plot)
    same = {"timestamp": timestamp_column, "asset": asset_column, "time_zone": time_zone, "date_format": date_format}
    reading = {"weight": weight_column, "missing": missing, "align": align, "unknown_assets": unknown_assets}
    if scores:  # a score that is not there is none
        reading |= {"weight": weight_column.replace("weight", "score"), "missing": "hold"}
    _advise(folder)
    with progress() as show:
        show("reading prices")
        how = {"bad_prices": bad_prices, "duplicates": duplicates, "layout": layout, "adjust": adjust}
        panel = prices_of(prices, same, raw_prices, fields, **how)
        show("reading scores" if scores else "reading weights")
        found = {name: weights_of([path], panel, same, **reading) for name, path in books.items()}
        read: Any = found if len(found) > 1 or "=" in files[0] else next(iter(found.values()))
        given: dict[str, Any] = {
            "panel": panel, "weights": _scored(read) if scores else read,
            "config": settings, "grid": axes, "engine": engine, "equity": equity, "chunk_size": chunk_size,
            "max_memory": max_memory and max_memory << 20, "out": folder and folder / "chunks", "start": start,
        }  # fmt: skip
        result = _run(given, workers, dry_run, metric, show)
    if dry_run:
        return table(pairs(str(result).splitlines()))
    _report(result, folder, metric, best, plot)


def _files(weights: list[str] | None, scores: list[str] | None) -> list[str]:
    """Those of the one kind that is given."""
    if bool(weights) == bool(scores):
        raise ConfigError("a sweep is of --weights or of --scores: pass one of them, again for another file")
    return weights or scores or []


def _scored(read: Any) -> Any:
    from gpu_bt.books.scores import Scores

    return Scores(read)


def _advise(folder: Path | None) -> None:
    """What to do after Ctrl-C."""
    if folder is not None:
        again = shlex.join(common.ARGUMENTS)
        common.ADVICE.append(f"finished chunks are in {folder / 'chunks'}; go on with: gpu-bt {again}")


def _run(given: dict[str, Any], workers: int, dry_run: bool, metric: str, show: Callable[..., None]) -> Any:
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
    with _pool(workers) as executor:
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
def _pool(workers: int) -> Iterator[Executor | None]:
    """Processes that end at once on Ctrl-C, without a word."""
    if workers == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    hook = threading.excepthook
    # Where its processes end while futures are cancelled, the pool's own thread complains.
    threading.excepthook = lambda args: None if args.exc_type is InvalidStateError else hook(args)
    pool = _Pool(workers, context, _begin_worker)
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        threading.excepthook = hook


def _begin_worker() -> None:
    """A worker ends at Ctrl-C without a word, and with the program that began it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _mask("SIG_UNBLOCK")
    end_with_parent()


def _report(result: SweepResult, folder: Path | None, metric: str, best: int, plot: bool) -> None:
    """Print the best, then write: a disk that is full does not hide what the sweep gave."""
    from gpu_bt.sweeps.result import texts

    table(pairs(result.summary().splitlines()[:3]))
    print(f"\nbest by {metric}:", flush=True)
    rows = result.shown(metric, best)
    table(texts(rows), rows.columns)
    if folder is None:
        return
    with replacing(folder) as stale:
        write("writing", lambda: result.write(folder, stale=stale))
        if plot and any(result.table[axis].n_unique() > 1 for axis in result.axes):
            draw(folder / "sweep.png", partial(result.plot, metric=metric))
