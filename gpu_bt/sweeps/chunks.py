# SPDX-License-Identifier: Apache-2.0
"""Chunks of scenarios: what travels to a worker, what one needs of memory, and how it is run.

Letters: T bars, N assets, k scenarios of a chunk. A pass is the scenarios of a chunk that go through the bars together,
as many as fit the memory. The arrays that all chunks share travel once per worker (Inputs), a
chunk's own parameters with the chunk. Results are the same bits however scenarios are cut.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import mmap
import os
import pickle
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpu_bt.analysis.advice import asked_by_all, columns
from gpu_bt.analysis.metrics import equity_metrics, rounding_of
from gpu_bt.analysis.spans import began, first_bars
from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.engine.ranked import Ranked
from gpu_bt.engine.registry import fail, resolve
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import RawResult, RunSpec, simulate
from gpu_bt.errors import BacktestError, ConfigError, EngineUnavailable, ResultError, quiet
from gpu_bt.runs.holdings import Opening
from gpu_bt.runs.ranges import through
from gpu_bt.runs.run import run
from gpu_bt.runs.strategy import Strategy
from gpu_bt.sweeps.makers import Code, Maker
from gpu_bt.sweeps.stops import end_with_parent

__all__ = [
    "Chunk", "Done", "Inputs", "Spilled", "available_memory", "fixed_bytes", "joined", "pass_size", "run_chunk",
    "run_here", "scenario_bytes",
]  # fmt: skip

#: Bytes of a scenario in a pass, from above: per bar, with the record as an engine keeps it and as it is given back,
#: and whether it decides; and per asset.
_PER_BAR = {"all": 500, "equity": 100}
_PER_ASSET = 120
#: What an engine keeps of the panel per bar and asset: per-lot prices and marks of up to three lots, events.
_SHARED = 72
#: Bytes that any pass may use besides, for the working arrays of an engine, which stay in cache.
_SCRATCH = 48 << 20


class _Mine(threading.local):
    """What a thread of a worker keeps from chunk to chunk."""

    inputs: Inputs | None = None
    free = 0


_mine = _Mine()


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What all chunks share. `key` names it, so that a worker opens it once.

    schedules: (S, T), the bars that decide.   columns: "all" or "equity", what is recorded for the metrics.   equity:
    give back the rows, "device" = on the GPU where they are there.   strategy: a class, instead of weights.   maker: of
    weights, instead of these.   begun: the opening holdings.   start: the first bar that metrics count, None = that of
    a scenario's first decision with a target.   max_memory: bytes of one process, None = half of what is free, shared
    by so many `sharers`.
    """

    panel: Panel | PanelStream
    weights: tuple[np.ndarray | Resident | WeightsStream | Ranked, ...]
    key: str
    schedules: np.ndarray
    columns: str = "all"
    equity: bool | str = False
    engine: Any = "auto"
    strategy: type[Strategy] | None = None
    maker: Maker | None = None
    begun: Opening | None = None
    start: int | None = None
    max_memory: int | None = None
    sharers: int = 1

    @property
    def held(self) -> tuple[int, int]:
        """(bars, assets) of the panel that are in memory at once."""
        t, n = self.panel.shape
        return (min(t, self.panel.bars), n) if isinstance(self.panel, PanelStream) else (t, n)

    @property
    def code(self) -> Code | None:
        """A user's code that runs in the chunks."""
        if self.maker is not None:
            return Code(
                "function", self.maker.make, self.maker.name, getattr(self.maker.code, "__module__", None) or ""
            )
        cls = self.strategy
        return None if cls is None else Code("strategy", cls, cls.__name__, cls.__module__)

    @functools.cached_property
    def needs(self) -> tuple[int, int, int]:
        """Bytes of a pass besides panel and weights, of each of its scenarios, and of each panel of weights made."""
        book = 0 if self.maker is None else 8 * math.prod(self.panel.shape)
        rankings = {id(w.ranking): w.ranking.nbytes for w in self.weights if isinstance(w, Ranked)}
        fixed = fixed_bytes(self.held) + sum(rankings.values()) + 2 * book  # two while it is checked
        return fixed, scenario_bytes(self.panel.shape, self.columns), book


@dataclasses.dataclass(frozen=True)
class Spilled:
    """Inputs on the disk: a pickle without its arrays, and these one after another, mapped by every worker."""

    path: str
    key: str

    @classmethod
    def write(cls, inputs: Inputs, folder: Path) -> Spilled:
        """Write inputs.pickle and inputs.bin into a folder. Raises ConfigError for code that cannot be pickled,
        ResultError where the disk refuses."""
        buffers: list[pickle.PickleBuffer] = []
        try:
            head = pickle.dumps(inputs, protocol=5, buffer_callback=buffers.append)
        except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
            raise ConfigError(_stays(inputs.code, error)) from error
        places, at = [], 0
        try:
            with open(folder / "inputs.bin", "wb") as file:
                for buffer in buffers:
                    view = buffer.raw()
                    places.append((at, at + view.nbytes))
                    file.write(view)
                    file.write(bytes(-view.nbytes % 64))
                    at = file.tell()
                file.write(b"\0")  # an empty file cannot be mapped
            (folder / "inputs.pickle").write_bytes(pickle.dumps((head, places)))
        except OSError as error:
            raise ResultError(
                f"{folder} cannot hold the panel and the weights: {error.strerror}; make room, or pass scratch="
            ) from error
        return cls(str(folder), inputs.key)

    def read(self) -> Inputs:
        """Map the arrays. Raises ResultError where this worker does not see the folder."""
        try:
            head, places = pickle.loads((Path(self.path) / "inputs.pickle").read_bytes())
            with open(Path(self.path) / "inputs.bin", "rb") as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise ResultError(
                f"a worker on {os.uname().nodename if hasattr(os, 'uname') else 'another machine'} does not see"
                f" {self.path}: pass scratch=, a folder that all workers share"
            ) from None
        try:
            inputs: Inputs = pickle.loads(head, buffers=[view[a:b] for a, b in places])
        except (AttributeError, ImportError, pickle.UnpicklingError) as error:
            raise ResultError(_stays(None, error)) from None
        return inputs


def _stays(code: Code | None, error: Exception) -> str:
    """What is said where the inputs cannot be pickled, or a worker cannot make them of it."""
    kind = "strategy" if code is None else code.kind
    what = "what the workers need" if code is None else f"the {kind} {getattr(code.itself, '__qualname__', code.name)}"
    reason = re.sub(r"<class '([^']*)'>", r"\1", " ".join(str(error).split()))[:200]
    return (
        f"{what} cannot travel to the workers ({reason}): define the {kind} at the top of a module that they can"
        " import, or leave executor= out"
    )


def _own(source: Inputs | Spilled) -> Inputs:
    """The inputs as this thread keeps them from chunk to chunk."""
    if _mine.inputs is not None and _mine.inputs.key == source.key:
        return _mine.inputs
    _mine.inputs = None  # the old ones go first
    _mine.inputs = source.read() if isinstance(source, Spilled) else source
    _mine.free = available_memory()  # once: later some of it is held for reuse, and would be counted as taken
    return _mine.inputs


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """k scenarios, from number `start` on.

    params: PARAMS[k], whose "weights" and "schedule" count in those of Inputs.   per_year: (k,) bars per year.
    capital: (k,) cash and holdings at the start.
    asked: config and parameters of each scenario of a strategy, or of weights that are made.
    """

    start: int
    params: np.ndarray
    per_year: np.ndarray
    capital: np.ndarray
    asked: Sequence[tuple[Config, dict[str, Any]]] = ()

    def __len__(self) -> int:
        return len(self.params)

    def part(self, a: int, b: int) -> Chunk:
        """Scenarios a..b-1 of the chunk."""
        return Chunk(self.start + a, self.params[a:b], self.per_year[a:b], self.capital[a:b], self.asked[a:b])


@dataclasses.dataclass(frozen=True, eq=False)
class Done:
    """What a chunk gives: the engine that ran it, the seconds it took, and name -> (k, ...) array: the metrics,
    "first_bar" (k, len(SCENARIO_STATUS)), what `gpu_bt.analysis.advice.columns` tells, "equity" (k, T) where asked: a
    list of pieces where it stays."""

    engine: str
    seconds: float
    columns: dict[str, Any]


def scenario_bytes(shape: tuple[int, int], columns: str) -> int:
    """Memory that one more scenario in a pass needs, from above."""
    t, n = shape
    return t * _PER_BAR[columns] + n * _PER_ASSET


def fixed_bytes(shape: tuple[int, int]) -> int:
    """Memory that a pass needs whatever its scenarios, besides panel and weights themselves."""
    return shape[0] * shape[1] * _SHARED + _SCRATCH


def available_memory() -> int:
    """Bytes this process may still take: the least of free memory, the control group's and the address space's."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2] if hasattr(os, "sysconf") else [4 << 30]
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found[0] = int(line.split()[1]) * 1024
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if _text(limit).strip().isdigit() and _text(used).strip().isdigit():
            found.append(int(_text(limit)) - int(_text(used)))
    try:
        import resource
    except ImportError:  # Windows
        return max(0, min(found))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and (pages := _text("/proc/self/statm").split()):
        found.append(soft - int(pages[0]) * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def pass_size(chunk: Chunk, inputs: Inputs, free: int) -> int:
    """Scenarios of one pass: as many as max_memory, or half of what is free shared by the workers, has room for."""
    room, (fixed, one, book) = inputs.max_memory or free // (2 * inputs.sharers), inputs.needs
    taken = np.full(len(chunk), one)
    taken[np.unique(chunk.params["weights"], return_index=True)[1]] += book
    return max(1, int(np.searchsorted(np.cumsum(taken), room - fixed, "right")))


def run_chunk(source: Inputs | Spilled, chunk: Chunk) -> Done:
    """`run_here` on a worker, which opens the inputs once and keeps them."""
    end_with_parent()
    with quiet("engine 'native'"):  # whoever began the sweep has heard of it
        inputs = _own(source)
        resolve(inputs.engine, math.prod(inputs.panel.shape), 1 if inputs.strategy else len(chunk)).claim()
        return run_here(inputs, chunk, _mine.free)


def run_here(inputs: Inputs, chunk: Chunk, free: int) -> Done:
    """Run a chunk, in passes that fit the memory; a pass for which it does not suffice is cut in two and run again.

    Raises ResultError, with the numbers, where not even one scenario fits.
    """
    began, passes, a, engine = time.perf_counter(), [], 0, ""
    size = len(chunk)
    while a < len(chunk):
        part = chunk.part(a, min(len(chunk), a + size))
        part = part.part(0, pass_size(part, inputs, free))
        found = _attempt(inputs, part)
        if not isinstance(found, str):
            engine, columns = found
            passes.append(columns)
            a += len(part)
        elif len(part) > 1:
            size = (len(part) + 1) // 2
        else:
            raise ResultError(found or _too_large(inputs, part))
    return Done(engine, time.perf_counter() - began, joined(passes))


def joined(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The columns of several passes, or chunks, one below the other; pieces that stay one after another."""
    out: dict[str, Any] = {name: [columns[name] for columns in passes] for name in passes[0]}
    for name, parts in out.items():
        if any(isinstance(part, list) for part in parts):
            out[name] = [x for part in parts for x in (part if isinstance(part, list) else [part])]
        else:
            out[name] = np.concatenate(parts)
    return out


def _attempt(inputs: Inputs, chunk: Chunk) -> tuple[str, dict[str, Any]] | str:
    """One pass; a text where memory ran out, whose arrays are then free again: what a device says, or none."""
    try:
        return _weights(inputs, chunk) if inputs.strategy is None else _strategies(inputs, chunk, inputs.strategy)
    except MemoryError as error:
        return str(error) if isinstance(error, BacktestError) else ""


def _too_large(inputs: Inputs, chunk: Chunk) -> str:
    """What is said where a pass of one scenario has no room."""
    (t, n), mib, (fixed, one, book) = inputs.panel.shape, 2**20, inputs.needs
    return (
        f"scenario {chunk.start} does not fit into memory: one of {t:,} bars x {n:,} assets needs about"
        f" {(one + book) / mib:,.0f} MiB, the panel's prepared arrays {fixed / mib:,.0f} MiB, and"
        f" {available_memory() / mib:,.0f} MiB are free; use fewer workers, or a smaller panel"
    )


def _weights(inputs: Inputs, chunk: Chunk) -> tuple[str, dict[str, Any]]:
    """Scenarios of weights, all in one run: the engine, and the columns of Done."""
    (used, first), params = np.unique(chunk.params["weights"], return_index=True), chunk.params.copy()
    params["weights"], panel = np.searchsorted(used, params["weights"]), inputs.panel
    if inputs.maker is None:
        weights = [inputs.weights[i] for i in used]
    else:
        asked = [(chunk.start + i, *chunk.asked[i]) for i in first.tolist()]
        weights = inputs.maker.books(panel, [(k, config.account, settings) for k, config, settings in asked])
    if isinstance(panel, PanelStream):
        books = [w for w in weights if isinstance(w, WeightsStream)]
        engine, market = resolve(inputs.engine), None
        raw, _, told = through(panel, books, params, inputs.schedules, engine, inputs.begun, columns=inputs.columns)
    else:
        arrays, market = tuple(w for w in weights if not isinstance(w, WeightsStream)), panel.market
        start = inputs.begun.start(params, market) if inputs.begun else None
        engine = resolve(inputs.engine, math.prod(panel.shape), len(params))
        stay = inputs.equity == "device"
        spec = RunSpec(market, params, arrays, inputs.schedules, columns=inputs.columns, start=start, stay=stay)
        try:
            raw = simulate(engine, spec)
        except EngineUnavailable as error:
            if inputs.engine != "auto" or (isinstance(error, MemoryError) and len(weights) > 1):
                raise
            raw = simulate(fail(engine, error), spec)
        told = asked_by_all(spec)
        raw.began = began(spec)
    return raw.engine, _columns(inputs, chunk, raw) | columns(market, params, told, chunk.capital, raw)


def _columns(inputs: Inputs, chunk: Chunk, raw: RawResult) -> dict[str, Any]:
    """The columns of Done: equity rows become metrics here, where they were made."""
    money = raw.money if inputs.columns == "all" else raw.money[:2]
    priced = inputs.begun.first if inputs.begun else 0
    first = np.maximum(first_bars(raw) if inputs.start is None else inputs.start, priced)
    rounding = rounding_of(chunk.params["tick"], inputs.panel.shape[1])
    found = equity_metrics(money[..., priced:], chunk.capital, chunk.per_year, start=first - priced, rounding=rounding)
    found["start"] = np.broadcast_to(first, len(chunk)).copy()
    found["first_bar"] = raw.state["first_bar"].copy()
    return found | ({"equity": list(raw.stays) or money[0].copy()} if inputs.equity else {})


def _strategies(inputs: Inputs, chunk: Chunk, cls: type[Strategy]) -> tuple[str, dict[str, Any]]:
    """Callback strategies, one after another."""
    passes, engine = [], ""
    for k, (config, values) in enumerate(chunk.asked):
        holdings = inputs.begun.shares if inputs.begun else None
        with quiet():
            result = run(inputs.panel, made(cls, values), config, engine=inputs.engine, record=(), holdings=holdings)
        raw, engine = result.raw, result.engine
        told = {"decisions": result.decisions, "unread": 0, "fills": raw.column("fills").sum()}
        told = {name: np.array([count], np.int64) for name, count in told.items()}
        told["advice"] = np.array([", ".join(result.advice)], object)
        passes.append(_columns(inputs, chunk.part(k, k + 1), raw) | told)
    return engine, joined(passes)


def made(cls: type[Strategy], values: dict[str, Any]) -> Any:
    """A strategy with these attributes: there before `initialize`, which may read them, and again after it."""

    def initialize(self: Any) -> None:
        cls.initialize(self)
        vars(self).update(values)

    strategy = type(cls.__name__, (cls,), {"initialize": initialize, "__module__": cls.__module__})()
    vars(strategy).update(values)
    return strategy
