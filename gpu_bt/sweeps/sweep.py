# SPDX-License-Identifier: Apache-2.0
"""sweep(): a grid of scenarios, in chunks that fit the memory, here or on an executor's workers, resumable."""

from __future__ import annotations

import concurrent.futures as futures
import copy
import dataclasses
import itertools
import os
import secrets
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from typing import Any, Literal, TypeAlias, get_args, overload

import numpy as np

from gpu_bt.analysis.advice import counted
from gpu_bt.analysis.calendars import infer_bars_per_year
from gpu_bt.analysis.metrics import rounding_of
from gpu_bt.arguments import flag, must_be, one_of, path_of, whole
from gpu_bt.books.scores import RULES, Scores, thin_counts, thin_said
from gpu_bt.config import Config, tick_of
from gpu_bt.data.clock import SCHEDULE, schedule_of
from gpu_bt.data.fingerprints import fingerprint, fingerprint_code
from gpu_bt.data.frames import books_of
from gpu_bt.data.labels import is_book
from gpu_bt.data.panel import Panel
from gpu_bt.data.slices import start_bar
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.data.weights import check_weights
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Progress
from gpu_bt.errors import BacktestWarning, ConfigError, ResultError, WeightsError
from gpu_bt.law.layout import pack
from gpu_bt.runs.holdings import opening
from gpu_bt.runs.run import check_fields, checked, strategy_of
from gpu_bt.runs.strategy import Strategy
from gpu_bt.show.progress import telling
from gpu_bt.sweeps.chunks import (
    Chunk,
    Done,
    Inputs,
    available_memory,
    pass_size,
    run_chunk,
    run_here,
)
from gpu_bt.sweeps.files import ChunkFiles, fingerprint_panel
from gpu_bt.sweeps.grid import expand
from gpu_bt.sweeps.makers import maker_of
from gpu_bt.sweeps.result import SweepResult
from gpu_bt.sweeps.stops import stoppable
from gpu_bt.sweeps.workers import check_executor, check_forks, ended, lost, shared
from gpu_bt.typing import EngineName, Grid, Holdings, MetricsOf, Path, Time, Values

__all__ = ["Plan", "parameters_of", "sweep"]

#: Scenarios of a chunk: enough to keep an engine's threads busy, few enough that little is lost by an interruption.
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a sweep would do: `str` says it to a person.

    scenarios, chunks, chunk_size; `finished`: chunks that `out` has already.   pass_size: scenarios that go through
    the bars at once, for which `bytes_per_scenario` and `bytes_fixed` are reckoned against `max_memory`.
    asset_bars: bars x assets x scenarios still to run.
    """

    scenarios: int
    chunks: int
    chunk_size: int
    finished: int
    pass_size: int
    bytes_per_scenario: int
    bytes_fixed: int
    max_memory: int
    asset_bars: int

    def __str__(self) -> str:
        mib = 2**20
        peak = self.bytes_fixed + self.pass_size * self.bytes_per_scenario
        return "\n".join((
            f"scenarios     {self.scenarios:,}, {self.asset_bars:,} asset-bars to run",
            f"chunks        {self.chunks:,} of up to {self.chunk_size:,} scenarios, {self.finished:,} finished",
            f"at once       {self.pass_size:,} scenarios, about {peak / mib:,.0f} of {self.max_memory / mib:,.0f} MiB",
            f"memory        {self.bytes_per_scenario / mib:,.2f} MiB a scenario, {self.bytes_fixed / mib:,.0f} besides",
        ))  # fmt: skip


#: What a sweep's books are made of: as `run` takes them, several by name, a strategy's class, a function of axes.
Books: TypeAlias = "Values | Mapping[Any, Any] | WeightsStream | Scores | type[Strategy] | Callable[..., Any]"


@overload
def sweep(
    panel: Panel | PanelStream, weights: Books, config: Config | None = None, grid: Grid | None = None, *,
    engine: EngineName = "auto", holdings: Holdings | None = None, executor: futures.Executor | None = None,
    out: Path | None = None, progress: Progress | None = None, equity: bool | Literal["device"] = False,
    metrics: MetricsOf = "all", max_memory: int | None = None, chunk_size: int | None = None,
    scratch: Path | None = None, dry_run: Literal[False] = False, start: Time | None = None,
) -> SweepResult: ...  # fmt: skip
@overload
def sweep(
    panel: Panel | PanelStream, weights: Books, config: Config | None = None, grid: Grid | None = None, *,
    engine: EngineName = "auto", holdings: Holdings | None = None, executor: futures.Executor | None = None,
    out: Path | None = None, progress: Progress | None = None, equity: bool | Literal["device"] = False,
    metrics: MetricsOf = "all", max_memory: int | None = None, chunk_size: int | None = None,
    scratch: Path | None = None, dry_run: Literal[True], start: Time | None = None,
) -> Plan: ...  # fmt: skip
def sweep(
    panel: Panel | PanelStream,
    weights: Books,
    config: Config | None = None,
    grid: Grid | None = None,
    *,
    engine: EngineName = "auto",
    holdings: Holdings | None = None,
    executor: futures.Executor | None = None,
    out: Path | None = None,
    progress: Progress | bool | None = None,
    equity: bool | Literal["device"] = False,
    metrics: MetricsOf = "all",
    max_memory: int | None = None,
    chunk_size: int | None = None,
    scratch: Path | None = None,
    dry_run: bool = False,
    start: Time | None = None,
) -> SweepResult | Plan:
    """Run a grid of scenarios over one panel; each has the bits that `run` gives it, however the work is cut.

    panel: one of `scan_panel` is read once for each pass, at least once a chunk.   weights: as `run` takes them, {name:
    such}, a function that makes such, a subclass of Strategy, or `Scores`.   config: what the grid leaves as it
    is.   grid: {axis: values} (all combinations), a list of {axis: value}, or a Polars table with a row per scenario.
    An axis is a field of Config, "weights" (a name; all of them where the grid does not say), or a parameter: of
    `Scores` (and "scores", a name), an attribute that the strategy has after `initialize`, set before and again after
    that, or an argument of the function, called by name (**parameters, or `parameters` alone, a dict: with all axes
    that are no field) once for a pass's scenarios that agree in these and the account, for a new array.
    engine, holdings, start: as in `run`; every worker picks its engine for itself.   executor: any of
    concurrent.futures; None = this process. Panel and weights travel once per worker: through files in `scratch` (a
    folder that all share; default the temporary one); to Dask's by its own scatter.   out: a folder in which finished
    chunks are kept; the same sweep (`data.fingerprints` says what counts) goes on from there.   progress: as in
    `run`, of scenarios.   equity: keep the (K, T) equity rows; "device": on the GPU.   metrics: "all", or
    "equity": of the equity rows alone, faster.   max_memory: bytes of one process's scenarios and the weights made for
    them; None = half of what is free, shared by processors with an executor.   chunk_size: 256.   dry_run: the Plan.

    Raises ConfigError, PanelError, WeightsError before anything runs; WeightsError, naming the scenario, for what a
    function raises or gives; EngineUnavailable; ResultError: `out` is another sweep's, the disk refuses, a worker is
    lost, a scenario does not fit. Warns of `advice` and thin books.
    """
    told, config = telling(progress, "scenarios"), checked(panel, config)
    metrics, equity = one_of("metrics", metrics, get_args(MetricsOf)), _rows(equity)
    check_executor(executor, scratch)
    resolve(engine)  # refuse before anything runs
    room, first = _whole("max_memory", max_memory), start_bar(panel.timestamps, panel.time_zone, start)
    every = partial(Inputs, columns=metrics, equity=equity, engine=engine, max_memory=room, start=first)
    every = partial(every, sharers=1 if executor is None else os.cpu_count() or 1)
    job, wanted = _Job(panel, weights, config, grid, every, holdings), _whole("chunk_size", chunk_size)
    check_forks(executor, job.inputs)
    files = None if out is None else ChunkFiles(path_of("out", out), job.parts(), job.inputs, wanted, _CHUNK)
    size = files.chunk_size if files else wanted or _CHUNK
    chunks = [job.chunk(a, min(len(job), a + size)) for a in range(0, len(job), size)]
    if flag("dry_run", dry_run):
        return _plan(job, chunks, size, files)
    with stoppable(), told as tell, files.running() if files else nullcontext():
        found = _run(job, chunks, files, executor, scratch, tell)
    for text in filter(None, (counted(found.table[found.column("advice")].to_list()), thin_said(job.thin))):
        warnings.warn(text, BacktestWarning, stacklevel=2)
    return found


def _run(
    job: _Job, chunks: list[Chunk], files: ChunkFiles | None, executor: futures.Executor | None, scratch: Any,
    progress: Progress | None,
) -> SweepResult:  # fmt: skip
    """Run the chunks that are not there yet; what is done is kept at once."""
    began, found = time.perf_counter(), files.load(chunks) if files else {}
    todo = {i: chunk for i, chunk in enumerate(chunks) if i not in found}
    before = count = sum(len(chunks[i]) for i in found)
    if progress is not None:
        progress(count, len(job))
    where = f"out={str(files.folder)!r}" if files else None
    # Closed here, not when it is collected, where the second KeyboardInterrupt of Polars would print a traceback.
    with closing(_drive(job.inputs, todo, executor, scratch, where)) as finished:
        for i, done in finished:
            if files is not None:
                files.save(i, done)
            found[i] = done
            count += len(chunks[i])
            if progress is not None:
                progress(count, len(job))
    return SweepResult(
        job.inputs.panel, job.config, job.scenarios, [found[i] for i in range(len(chunks))],
        opening=job.capital, priced=job.inputs.begun.first if job.inputs.begun else 0,
        thin=job.thin, rounding=float((rounding_of(job.params["tick"], job.inputs.panel.shape[1]) / job.capital).max()),
        wall_seconds=time.perf_counter() - began, run=count - before,
    )  # fmt: skip


class _Job:
    """The sweep, checked: scenarios, packed parameters, and what all chunks share."""

    def __init__(
        self, panel: Panel | PanelStream, weights: Any, config: Config, grid: Any, every: Callable[..., Inputs],
        holdings: Any,
    ) -> None:  # fmt: skip
        self.config, self.panel, given = config, panel, weights if isinstance(weights, Mapping) else {}
        strategy, maker = strategy_of(weights, panel), maker_of(weights)
        if isinstance(strategy, Strategy):
            raise ConfigError("weights is a strategy made already: pass its class, one is made for each scenario")
        named = given is weights and not (given and is_book(given))
        scores = weights if isinstance(weights, Scores) else None
        made = strategy is not None or maker is not None or scores is not None
        books: dict[str, Any] = {} if made else dict(given) if named else {"": weights}
        if odd := [name for name in books if not isinstance(name, (str, int))]:
            must_be("a name of weights", odd[0], "a text", WeightsError)
        if not books and not made:
            raise WeightsError("weights is empty: pass {name: panel} with at least one panel")
        names, takes = tuple(books) if named else (), parameters_of(strategy) if maker is None else maker
        picked: Any = (names, takes) if scores is None else (scores.names, RULES, "scores")
        self.scenarios = expand({} if grid is None else grid, self.config, *picked)
        configs = self.scenarios.configs
        needs = {(c.execution, c.participation is None, c.impact == 0): c for c in reversed(configs)}
        for needing in reversed(needs.values()):  # the first config of each combination of fields that need a field
            check_fields(panel, needing)
        chosen = self.scenarios.axes.get("weights", [next(iter(books), "")] * len(configs))
        if maker is not None:
            maker.check(self.scenarios.axes)
            chosen = [repr(self.scenarios.settings(k, maker)) for k in range(len(configs))]
        read = [(name, c.account) for name, c in zip(chosen, configs, strict=True)]
        if scores is not None and isinstance(panel, Panel):
            arrays, places = scores.books(panel, self.scenarios.axes, [c.account for c in configs])
        else:
            arrays, found = _checked_weights(panel, books, set(read))
            found |= {} if maker is None else {key: i for i, key in enumerate(dict.fromkeys(read))}
            places = [found.get(key, 0) for key in read]
        self.read = list(dict.fromkeys(chosen))
        rules = [tuple(getattr(c, name) for name in SCHEDULE) for c in configs]
        unique = dict(zip(rules, configs, strict=True))
        schedules = np.stack([schedule_of(panel, c) for c in unique.values()])
        place = {rule: i for i, rule in enumerate(unique)}
        self.params = pack(configs, [place[rule] for rule in rules], places)
        self.capital = self.params["initial_cash"].copy()
        held = None if holdings is None else opening(panel, holdings, configs)
        if held is not None:
            self.capital += held.worth
            self.params["tick"] = [c.money_tick or tick_of(x) for c, x in zip(configs, self.capital, strict=True)]
            schedules[:, : held.first] = False
            if isinstance(panel, Panel):
                panel = copy.copy(panel)
                panel.market = held.market(panel.market)
        self.thin = None if scores is None else thin_counts(arrays, self.params, schedules)
        usual = infer_bars_per_year(panel.microseconds, panel.time_zone)
        self.per_year = np.array([c.bars_per_year or usual for c in configs])
        self.inputs = every(
            panel, tuple(arrays), secrets.token_hex(8), schedules, strategy=strategy, maker=maker, begun=held
        )
        room = self.inputs.max_memory
        least = sum(self.inputs.needs)
        if room is not None and room < least:
            raise ConfigError(f"max_memory is {room:,}: one scenario of this panel needs {least:,} bytes")

    def __len__(self) -> int:
        return len(self.scenarios)

    def parts(self) -> dict[str, str]:
        """What makes it this sweep and no other, for ChunkFiles."""
        inputs, code = self.inputs, self.inputs.code
        parts, versions = {"panel": fingerprint_panel(self.panel)}, dict[str, str]()
        if code is None:
            books = [w.fingerprint() if isinstance(w, WeightsStream) else w for w in inputs.weights]
            books = [w if isinstance(w, Ranked) else np.asarray(w) for w in books]
            parts["weights" if self.thin is None else "scores"] = fingerprint(self.read, *books)
        else:
            what = "weights" if inputs.strategy is None else "strategy"
            whole, versions, tops = fingerprint_code(code.itself, own=code.module)
            parts |= {f"{what} ({name})": found for name, found in tops.items()} | {what: whole}
            versions = {name: found for name, found in versions.items() if name not in ("gpu_bt", "numpy")}  # always
        parts |= {"config": fingerprint(self.config.to_dict()), "grid": fingerprint(self.scenarios.axes)}
        parts["list of holdings"] = fingerprint(None if inputs.begun is None else inputs.begun.shares)
        parts["choice of equity rows"], parts["start"] = str(bool(inputs.equity)), str(inputs.start)
        parts["choice of metrics"] = inputs.columns
        return {f"version of {name}": found for name, found in sorted(versions.items())} | parts

    def chunk(self, a: int, b: int) -> Chunk:
        """Scenarios a..b-1."""
        configs, taken = self.scenarios.configs, self.inputs.maker
        each = [(configs[k], self.scenarios.settings(k, taken)) for k in range(a, b)] if self.inputs.code else ()
        return Chunk(a, self.params[a:b], self.per_year[a:b], self.capital[a:b], each)


def _checked_weights(
    panel: Panel | PanelStream, books: Mapping[str, Any], read: set[tuple[str, str]]
) -> tuple[list[Any], dict[tuple[str, str], int]]:
    """The panels of weights that are read, (name, account), and the place of each; one serves both accounts unless some
    of its weights are 0 in a cash account alone, or may be."""
    arrays: list[Any] = []
    place: dict[tuple[str, str], int] = {}
    for name, account in itertools.product(books, ("cash", "margin")):
        if (name, account) in place or (name, account) not in read:
            continue
        zeros, streamed = dict[str, int](), isinstance(panel, PanelStream)
        try:
            book = books_of(books[name], panel)
            if isinstance(panel, PanelStream):
                arrays.append(panel.books(book, account))
            else:
                array = check_weights(panel, book, account, zeros)
                if isinstance(array, np.ndarray):  # nobody writes while the sweep runs, so that a device may keep it
                    array = array.view()
                    array.flags.writeable = False
                arrays.append(array)
        except WeightsError as error:
            raise WeightsError(f"weights {name!r}: {error}" if name else str(error)) from None
        for other in (account,) if zeros or streamed else ("cash", "margin"):
            place[name, other] = len(arrays) - 1
    return arrays, place


def _rows(equity: Any) -> Any:
    if isinstance(equity, str):
        return one_of("equity", equity, (True, False, "device"))  # type: ignore[arg-type]
    return flag("equity", equity)


def _whole(name: str, value: Any) -> int | None:
    return None if value is None else whole(name, value)


def parameters_of(strategy: type[Strategy] | None) -> set[str]:
    """The attributes of a strategy that a grid may set."""
    if strategy is None:
        return set()
    try:
        made = strategy()
    except TypeError as error:
        raise ConfigError(f"{strategy.__name__}() cannot be made ({error}): give its arguments defaults") from error
    made.initialize()
    names = [name for name in dir(made) if not isinstance(getattr(strategy, name, None), property)]
    return {name for name in names if not name.startswith("_") and not callable(getattr(made, name))}


def _plan(job: _Job, chunks: list[Chunk], size: int, files: ChunkFiles | None) -> Plan:
    """The Plan of the chunks that are not there yet."""
    found = files.load(chunks) if files else {}
    missing = [i for i in range(len(chunks)) if i not in found]
    inputs, shape, free = job.inputs, job.inputs.panel.shape, available_memory()
    fixed, one, book = inputs.needs
    return Plan(
        scenarios=len(job), chunks=len(chunks), chunk_size=size, finished=len(chunks) - len(missing),
        pass_size=pass_size(chunks[0], inputs, free), bytes_per_scenario=one + book, bytes_fixed=fixed,
        max_memory=inputs.max_memory or free // (2 * inputs.sharers),
        asset_bars=shape[0] * shape[1] * sum(len(chunks[i]) for i in missing),
    )  # fmt: skip


def _drive(
    inputs: Inputs, todo: dict[int, Chunk], executor: futures.Executor | None, scratch: Any, out: str | None
) -> Generator[tuple[int, Done]]:
    """Run chunks, here or on the executor, and give each as it is done; what waits is cancelled on the way out."""
    if executor is None:
        free = available_memory()  # once: later some of it is held for reuse, and would be counted as taken
        for i, chunk in todo.items():
            yield i, run_here(inputs, chunk, free)
        return
    if not todo:
        return
    with shared(inputs, executor, scratch) as source:
        waiting: dict[futures.Future[Done], int] = {}
        try:
            for i, chunk in todo.items():
                waiting[executor.submit(run_chunk, source, chunk)] = i
            while waiting:
                for future in futures.wait(waiting, return_when=futures.FIRST_COMPLETED).done:
                    done = future.result()
                    yield waiting.pop(future), done
        except BaseException as error:
            left = len(waiting)
            if ended(executor, error):
                waiting.clear()
            gone = isinstance(error, (futures.BrokenExecutor, futures.CancelledError))
            if gone or type(error).__module__.startswith("distributed"):  # Dask's KilledWorker
                raise ResultError(lost(len(todo) - left, len(todo), out, error)) from error
            raise
        finally:
            for future in waiting:
                future.cancel()
