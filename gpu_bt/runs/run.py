# SPDX-License-Identifier: Apache-2.0
"""run(): check -> RunSpec -> session -> Result."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from gpu_bt.analysis.result import Result
from gpu_bt.config import Config
from gpu_bt.data.clock import schedule
from gpu_bt.data.frames import books_of
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.data.weights import Weights, check_weights
from gpu_bt.engine.prepare import price_of
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Engine, Progress, RawResult, RunSpec, simulate
from gpu_bt.errors import BacktestWarning, ConfigError, PanelError, ResultError
from gpu_bt.law.layout import pack
from gpu_bt.runs.advice import advice
from gpu_bt.runs.checkpoint import Saved, following, load, save
from gpu_bt.runs.ranges import through
from gpu_bt.runs.strategy import Strategy, drive

__all__ = ["callback_spec", "check_fields", "checked", "run", "schedule_of", "strategy_of"]

_RECORDS = ("bars", "fills", "positions")


def run(
    panel: Panel | PanelStream,
    weights: Any,
    config: Config | None = None,
    *,
    engine: str = "auto",
    record: str | Iterable[str] = "bars",
    progress: Progress | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Result:
    """Simulate target weights, or a strategy, over a panel, bar by bar, as docs/semantics.md says.

    weights: (T, N) fractions of equity, read at each bar's close: NaN = no target (hold), 0 = close; an array or what
    `read_weights` gave; a table or a path, which it reads by labels; {asset: weight} or a Series, a book that every bar
    has; or a `Strategy`, which is asked at each bar.   config: assumptions; default Config().
    engine: "auto" (the fastest present), "cpu", or a name; the result says which one ran.
    record: "bars" (the per-bar table; fills and positions are made on first access by a second, identical run),
    "fills", "positions", or several of them. A strategy is not run again: the default records fills and positions the
    first time, any other choice just what it names, and () neither.   progress: called with (bars done, bars).
    A panel of `scan_panel` is read window by window, with the same bits; its weights are an array (np.memmap, too), or
    what `read_weights` takes or gave. It has no strategies, positions, resume=, advice; bars are refused when read.
    resume: what `Result.checkpoint` wrote: the panel's bars, which follow it, go on with the bits of one long run.

    Raises PanelError, WeightsError, ConfigError before the first bar; EngineUnavailable for a named engine;
    StrategyError, and whatever a strategy raises, with a note that names its bar.
    Warns (BacktestWarning) of what is legal but probably not meant: see gpu_bt.runs.advice.
    """
    config, kept, strategy = checked(panel, config), _records(record), strategy_of(weights, panel)
    if resume is not None and strategy is not None:
        raise ConfigError("resume goes on with weights alone: a strategy's own state is not in the file")
    check_fields(panel, config)
    weights = weights if strategy is not None else books_of(weights, panel)
    if isinstance(panel, PanelStream):
        return _run_stream(panel, weights, config, resolve(engine), kept, progress, resume)
    if isinstance(strategy, type):
        raise ConfigError(f"a strategy is an instance: pass {strategy.__name__}(...), not the class")
    if strategy is not None:
        kept = {"fills", "positions"} if kept == {"bars"} else kept
        return _run_strategy(panel, strategy, config, resolve(engine), kept, progress)
    moved = ("moved_rows", "unknown_rows", "dropped_rows", "empty_cells") if isinstance(weights, Weights) else ()
    notes = {**panel.notes, **{name: count for name in moved if (count := getattr(weights, name))}}
    values = check_weights(panel, weights, config.account)
    saved = None if resume is None else load(resume, panel, config)
    spec = _spec(panel, config, values, saved, kept)
    chosen = resolve(engine, math.prod(panel.shape))
    began = time.perf_counter()
    raw = simulate(chosen, spec, progress)
    result = _result(
        raw, panel, config, notes, began, functools.partial(_again, chosen.name, spec),
        save=functools.partial(save, panel, spec.market, config, values, saved),
        opening=saved.opening if saved else None, earlier=saved.earlier if saved else None,
    )  # fmt: skip
    for warning in advice(panel, config, spec, raw) if saved is None else ():  # a few more bars are no whole run
        warnings.warn(warning, BacktestWarning, stacklevel=2)
    return result


def checked(panel: object, config: object) -> Config:
    """The config, or the default one. Raises PanelError and ConfigError for what is neither panel nor config."""
    if not isinstance(panel, (Panel, PanelStream)):
        raise PanelError(f"panel is a {type(panel).__name__}: pass a gpu_bt.Panel, or read one with read_panel")
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise ConfigError(f"config is a {type(config).__name__}: pass a gpu_bt.Config")
    return config


def strategy_of(weights: Any, panel: Panel | PanelStream) -> Strategy | type[Strategy] | None:
    """The weights where they are a strategy or a class of such, else None. Raises ConfigError for one on a stream."""
    if not (isinstance(weights, Strategy) or (isinstance(weights, type) and issubclass(weights, Strategy))):
        return None
    if isinstance(panel, PanelStream):
        raise ConfigError("a strategy looks back over all bars, which a stream does not hold: use read_panel")
    return weights


def _run_stream(
    panel: PanelStream, weights: Any, config: Config, engine: Engine, kept: set[str], progress: Progress | None,
    resume: Any,
) -> Result:  # fmt: skip
    """`run` over a panel that is not in memory."""
    if resume is not None:
        raise ConfigError("resume goes on with a panel in memory: use read_panel for the later bars")
    began = time.perf_counter()
    again = functools.partial(_stream, panel, panel.books(weights, config.account), config, engine.name)
    raw, counted = again("fills" in kept, "positions" in kept, progress)
    notes = {**panel.notes, **{k: v for k, v in counted.items() if v}}
    return _result(raw, panel, config, notes, began, functools.partial(_first, again))


def _stream(
    panel: PanelStream, book: WeightsStream, config: Config, engine: str, fills: bool, positions: bool,
    progress: Progress | None = None,
) -> tuple[RawResult, dict[str, int]]:  # fmt: skip
    """The record, and what its windows' notes count; a function of the module, so that a Result can be pickled."""
    if positions:
        raise ResultError("a stream's positions are not kept, they are as many as its prices: see final_positions")
    bars = schedule_of(panel, config)[None]
    return through(panel, [book], pack([config]), bars, resolve(engine), fills=fills, progress=progress)


def _first(call: Any, *given: Any) -> Any:
    """The first of what a call gives; a function of the module, so that a Result can be pickled."""
    return call(*given)[0]


def _run_strategy(
    panel: Panel, strategy: Strategy, config: Config, engine: Engine, kept: set[str], progress: Progress | None
) -> Result:
    """`run` of a strategy, in an engine's callback session."""
    bars = schedule_of(panel, config)
    spec = callback_spec(panel, config, bars, fills="fills" in kept, positions="positions" in kept)
    began = time.perf_counter()
    raw = drive(strategy, panel, config, engine.open(spec), bars, progress=progress)
    return _result(raw, panel, config, {**panel.notes, "strategy": type(strategy).__name__}, began, None)


def callback_spec(
    panel: Panel, config: Config, bars: np.ndarray, *, fills: bool = False, positions: bool = False
) -> RunSpec:
    """A run of one scenario whose decisions come from a strategy at the (T,) bool `bars`."""
    return RunSpec(panel.market, pack([config]), (), bars[None], callback=True, fills=fills, positions=positions)


def _result(raw: RawResult, panel: Panel | PanelStream, config: Config, notes: dict[str, Any], began: float,
            replay: Any, **carried: Any) -> Result:  # fmt: skip
    return Result(
        raw, timestamps=panel.timestamps, time_zone=panel.time_zone, assets=panel.assets, config=config,
        replay=replay, notes=notes, lots=panel.lot, wall_seconds=time.perf_counter() - began, **carried,
    )  # fmt: skip


def _spec(panel: Panel, config: Config, values: np.ndarray, saved: Saved | None, kept: set[str]) -> RunSpec:
    """What the engine is given; a run that goes on from a saved one has its weights rows already lagged."""
    bars = schedule_of(panel, config, saved.named if saved else 0)[None]
    market, params = panel.market, pack([config])
    if saved is not None:
        params["signal_lag"] = 0
        market, values = saved.market(market), saved.read(values, config.signal_lag)
    return RunSpec(
        market, params, (values,), bars, fills="fills" in kept, positions="positions" in kept,
        start=saved.start if saved else None,
    )  # fmt: skip


def _again(engine: str, spec: RunSpec, fills: bool, positions: bool) -> RawResult:
    """The same run with more of it recorded; a function of the module, so that a Result can be pickled."""
    return simulate(resolve(engine), dataclasses.replace(spec, fills=fills, positions=positions))


def _records(record: str | Iterable[str]) -> set[str]:
    """What is to be kept, checked."""
    names = {record} if isinstance(record, str) or not isinstance(record, Iterable) else set(record)
    for name in names:
        if name not in _RECORDS:
            raise ConfigError(f"record is {name!r}: it must be one or more of {', '.join(map(repr, _RECORDS))}")
    return names


def schedule_of(panel: Panel | PanelStream, config: Config, before: int = 0) -> np.ndarray:
    """(T,) bool: the bars at which this config decides. before: bars that `rebalance` named before the panel."""
    rule = (config.rebalance, config.rebalance_every, config.rebalance_offset)
    return schedule(panel.microseconds, panel.time_zone, following(panel), *rule, before)


def check_fields(panel: Panel | PanelStream, config: Config) -> None:
    """Raise ConfigError where the config needs a field that the panel lacks."""
    field = price_of(config.execution)
    if field not in panel.fields:
        other = "execution='next_close'" if config.execution == "next_open" else "another execution"
        raise ConfigError(
            f"execution={config.execution!r} fills at the {field}: pass {field}= to the Panel, or {other}"
        )
    for name, off in (("participation", None), ("impact", 0.0)):
        if getattr(config, name) != off and "volume" not in panel.fields:
            raise ConfigError(f"{name} is {getattr(config, name)}: it needs volumes; pass volume= to the Panel")
