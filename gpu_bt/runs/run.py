# SPDX-License-Identifier: Apache-2.0
"""run(): check -> RunSpec -> session -> Result."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import numpy as np

from gpu_bt.analysis.advice import Asked, Watch, asked_by, findings, sentences
from gpu_bt.analysis.result import Result
from gpu_bt.analysis.spans import began
from gpu_bt.analysis.standing import asking_of, held_weights, standing
from gpu_bt.arguments import must_be, several
from gpu_bt.books.scores import Scores
from gpu_bt.config import RANGES, Config
from gpu_bt.data.clock import schedule_of
from gpu_bt.data.frames import books_of
from gpu_bt.data.panel import Panel
from gpu_bt.data.slices import start_bar
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.data.weights import Weights, check_weights
from gpu_bt.engine.prepare import price_of
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Engine, Market, Progress, RawResult, RunSpec, simulate
from gpu_bt.errors import ConfigError, PanelError, ResultError, warn
from gpu_bt.law.layout import NEVER, SCENARIO_STATUS, pack
from gpu_bt.runs.checkpoint import Saved, load, save
from gpu_bt.runs.drive import drive
from gpu_bt.runs.holdings import Opening, opening
from gpu_bt.runs.ranges import through
from gpu_bt.runs.settled import Settled
from gpu_bt.runs.strategy import Strategy
from gpu_bt.runs.views import on_device
from gpu_bt.show.progress import telling
from gpu_bt.typing import Book, EngineName, Holdings, Path, Record, Time, Values

__all__ = ["callback_spec", "check_fields", "checked", "run", "schedule_of", "strategy_of"]


def run(
    panel: Panel | PanelStream,
    weights: Values | Book | WeightsStream | Scores | Strategy,
    config: Config | None = None,
    *,
    engine: EngineName = "auto",
    record: Record | Iterable[Record] = "bars",
    holdings: Holdings | None = None,
    progress: Progress | bool | None = None,
    resume: Path | None = None,
    start: Time | None = None,
    accept_jumps: bool = False,
) -> Result:
    """Simulate target weights, or a strategy, over a panel, bar by bar, as docs/semantics.md says.

    weights: (T, N) fractions of equity, read at each bar's close: NaN = no target (hold), 0 = close; an array or what
    `read_weights` gave; a table or a path, read by labels; {asset: weight} or a Series, a book that every bar has;
    `Scores`; or a `Strategy`, asked at each bar. Arrays on a GPU stay there (docs/data.md).   config: default Config().
    engine: "auto" (the fastest present), "cpu", or a name; the result says which one ran.
    record: "bars" (the per-bar table; fills and positions are made on first access by a second, identical run),
    "fills", "positions", or several of them. A strategy is not run again: the default records fills and positions the
    first time, any other choice just what it names, and () neither.
    holdings: shares held before the first bar, beside `initial_cash`: {asset: shares}, a Series, a table with the
    columns asset and shares such as `Result.final_positions` or the path of one, or (N,) shares; default none. Negative
    ones need a margin account; where an asset trades in lots, whole shares or whole lots. Tick, peak and metrics begin
    with cash and holdings at the first bar at which all of them have a price, and no bar before it decides.
    progress: True for a bar, in a terminal or a notebook; or called with (bars done, bars).
    A panel of `scan_panel` is read window by window, with the same bits; its weights are an array (np.memmap, too), or
    what `read_weights` takes or gave; `holdings` have a price in its first window. It has no strategies, positions,
    resume=; bars are refused when read.
    resume: what `Result.checkpoint` wrote: the panel's bars, which follow it, go on with the bits of one long run. The
    first price of what is held must be near its last mark, by `split` where there is one: within a factor of 1.4, or of
    exp(0.1*sqrt(days)) after longer gaps (moves like a split are told). accept_jumps: True where prices moved by more.
    start: first bar that metrics and returns count, as "2020-03", not that of the run; None = of the first decision
    with a target other than 0; with `holdings` the opening; of a resumed run with holdings or orders its first ([S9]).

    Raises PanelError, WeightsError, ConfigError, for resume= ResultError, before the first bar; EngineUnavailable for a
    named engine; StrategyError, and whatever a strategy raises, with a note that names its bar.
    Warns (BacktestWarning) of what is legal but probably not meant: see `Result.advice`.
    """
    told, config = telling(progress, "bars"), checked(panel, config)
    kept, strategy = _records(record), strategy_of(weights, panel)
    _check_resume(resume, strategy, holdings, accept_jumps)
    check_fields(panel, config)
    held = None if holdings is None else opening(panel, holdings, [config])
    first = start_bar(panel.timestamps, panel.time_zone, start)
    weights = weights if strategy is not None else books_of(weights, panel)
    with told as tell:
        if isinstance(panel, PanelStream):
            result = _run_stream(panel, weights, config, resolve(engine), kept, tell, resume, held, first)
        elif strategy is not None:
            kept = {"fills", "positions"} if kept == {"bars"} else kept
            result = _run_strategy(panel, strategy, config, resolve(engine), kept, tell, held, first)
        else:
            saved = None if resume is None else load(resume, panel.on_host(), config, accept_jumps)
            result = _run_weights(panel, weights, config, resolve(engine), kept, tell, saved or held, first)
    for text in result.advice.values():
        warn(text, stacklevel=2)
    return result


def _check_resume(resume: Any, strategy: Any, holdings: Any, accept_jumps: object) -> None:
    """Raise ConfigError for what cannot go together with a saved state, or without one."""
    if resume is not None and strategy is not None:
        raise ConfigError("resume goes on with weights alone: a strategy's own state is not in the file")
    if resume is not None and holdings is not None:
        raise ConfigError("holdings are in the saved state that resume goes on from: leave them out")
    if not isinstance(accept_jumps, bool) or (accept_jumps and resume is None):
        must_be("accept_jumps", accept_jumps, "True or False, and True only with resume=")


def _run_weights(
    panel: Panel, weights: Any, config: Config, engine: Engine, kept: set[str], progress: Progress | None,
    begun: Saved | Opening | None, first: int | None,
) -> Result:  # fmt: skip
    """`run` of weights over a panel in memory."""
    moved = ("moved_rows", "unknown_rows", "dropped_rows", "empty_cells") if isinstance(weights, Weights) else ()
    notes = {**panel.notes, **{name: count for name in moved if (count := getattr(weights, name))}}
    told, books = dict[str, str](), [weights.ranked(panel)] if isinstance(weights, Scores) else []
    if isinstance(weights, Scores):
        weights, notes["thin_books"], told = weights.read(
            panel, config, _bars(panel, config, begun), isinstance(begun, Saved)
        )
    values = check_weights(panel, weights, config.account, notes)
    spec, saved = _spec(panel, config, values, begun, kept), begun if isinstance(begun, Saved) else None
    notes |= saved.notes if saved else {}
    clock = time.perf_counter()
    raw = simulate(engine, spec, progress)
    raw.began = began(spec)
    settled = Settled()
    settled.see(panel, spec, raw, lambda: _again(engine.name, spec, False, True))

    def holds(tick: float) -> bool:
        again = simulate(engine, _spec(panel, config.replace(money_tick=tick), values, begun, set()))
        return bool(again.state["first_bar"][0][SCENARIO_STATUS.index("LEDGER_OVERFLOW")] == NEVER)

    asked = asked_by(dataclasses.replace(spec, weights=tuple(books)) if books else spec)  # as a sweep asks
    result = _result(
        raw, panel, config, notes, clock, functools.partial(_again, engine.name, spec), begun, asked,
        settled=settled, start=first,
        market=spec.market, asking=functools.partial(asking_of, spec), holds=None if saved else holds,
        earlier=saved.earlier if saved else None,
        save=functools.partial(save, panel, spec.market, config, values, saved, float(spec.params["tick"][0])),
    )  # fmt: skip
    result.advice |= told
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
    """The weights where they are a strategy or a class of such, else None. Raises ConfigError for one on a stream, and
    for scores there or within {name: book}."""
    if isinstance(weights, Mapping) and any(isinstance(book, Scores) for book in weights.values()):
        raise ConfigError("weights is a mapping with a Scores in it: pass one Scores, which takes {name: scores}")
    if isinstance(weights, Scores) and isinstance(panel, PanelStream):
        raise ConfigError("scores are ranked over all bars, which a stream does not hold: use read_panel")
    if not (isinstance(weights, Strategy) or (isinstance(weights, type) and issubclass(weights, Strategy))):
        return None
    if isinstance(panel, PanelStream):
        raise ConfigError("a strategy looks back over all bars, which a stream does not hold: use read_panel")
    return weights


def _run_stream(
    panel: PanelStream, weights: Any, config: Config, engine: Engine, kept: set[str], progress: Progress | None,
    resume: Any, held: Opening | None, first: int | None,
) -> Result:  # fmt: skip
    """`run` over a panel that is not in memory."""
    if resume is not None:
        raise ConfigError("resume goes on with a panel in memory: use read_panel for the later bars")
    clock, settled = time.perf_counter(), Settled()
    again = functools.partial(_stream, panel, panel.books(weights, config.account), config, held, engine.name)
    raw, counted, (asked,) = again("fills" in kept, "positions" in kept, progress, settled)
    notes = {**panel.notes, **{k: v for k, v in counted.items() if v}}
    replay = functools.partial(_first, again)
    return _result(raw, panel, config, notes, clock, replay, held, asked, settled=settled, start=first)


def _stream(
    panel: PanelStream, book: WeightsStream, config: Config, held: Opening | None, engine: str, fills: bool,
    positions: bool, progress: Progress | None = None, settled: Settled | None = None,
) -> tuple[RawResult, dict[str, int], list[Asked]]:  # fmt: skip
    """What `through` gives; a function of the module, so that a Result can be pickled."""
    if positions:
        raise ResultError("a stream's positions are not kept, they are as many as its prices: see final_positions")
    bars = _bars(panel, config, held)[None]
    params = pack([held.config(config) if held else config])
    return through(
        panel, [book], params, bars, resolve(engine), held, fills=fills, progress=progress, settled=settled
    )  # fmt: skip


def _first(call: Any, *given: Any) -> Any:
    """The first of what a call gives; a function of the module, so that a Result can be pickled."""
    return call(*given)[0]


def _run_strategy(
    panel: Panel, strategy: Strategy | type, config: Config, engine: Engine, kept: set[str], progress: Progress | None,
    held: Opening | None, first: int | None,
) -> Result:  # fmt: skip
    """`run` of a strategy, in an engine's callback session."""
    if isinstance(strategy, type):
        raise ConfigError(f"a strategy is an instance: pass {strategy.__name__}(...), not the class")
    own = held.config(config) if held else config
    bars, name = _bars(panel, own, held), type(strategy).__name__
    watch = Watch(panel.shape[1], own.outside == "close", own.sizing == "last")
    spec = callback_spec(panel, own, bars, fills="fills" in kept, positions="positions" in kept, held=held)
    spec = dataclasses.replace(spec, stay=on_device(strategy, panel))
    clock = time.perf_counter()
    raw = drive(strategy, panel, own, engine.open(spec), bars, progress=progress, log=watch)
    raw.began = np.array([0 if held else watch.began])
    notes, settled = {**panel.notes, "strategy": name}, Settled()
    settled.see(panel, spec, raw, None)
    return _result(
        raw, panel, config, notes, clock, None, held, watch.asked(), settled=settled, start=first, market=spec.market,
        asking=watch.asking(), strategy=name,
    )  # fmt: skip


def callback_spec(
    panel: Panel, config: Config, bars: np.ndarray, *, fills: bool = False, positions: bool = False,
    held: Opening | None = None,
) -> RunSpec:  # fmt: skip
    """A run of one scenario whose decisions come from a strategy at the (T,) bool `bars`."""
    market, params = held.market(panel.market) if held else panel.market, pack([config])
    start = held.start(params, market) if held else None
    return RunSpec(market, params, (), bars[None], callback=True, fills=fills, positions=positions, start=start)


def _result(
    raw: RawResult, panel: Panel | PanelStream, config: Config, notes: dict[str, Any], clock: float, replay: Any,
    begun: Saved | Opening | None, asked: Asked, *, settled: Settled, market: Market | None = None, strategy: str = "",
    holds: Callable[[float], bool] | None = None, asking: Any = None, **carried: Any,
) -> Result:  # fmt: skip
    """The Result with its advice. holds: whether the run again on a coarser grid of money would reach its end."""
    seconds = time.perf_counter() - clock
    own, capital = (begun.config(config), begun.capital(config)) if begun else (config, config.initial_cash)
    found, tick = findings(market, pack([own])[0], asked, capital, raw), None
    if isinstance(begun, Saved):  # a few more bars are no whole run
        found = {kind: value for kind, value in found.items() if kind == "LEDGER_OVERFLOW"}
    if "LEDGER_OVERFLOW" in found and holds:
        ticks = (own.tick * 2.0**power for power in range(4, 61, 4))
        tick = next((tick for tick in ticks if tick <= RANGES["money_tick"][1] and holds(tick)), None)
    advice = sentences(panel, own, asked, found, strategy, tick)
    advice |= begun.doubts if isinstance(begun, Saved) else {}
    for text in settled.advice(config.delist_after):
        advice["settled then traded"], notes["settled_then_traded"] = text, len(settled.back)
    return Result(
        raw, timestamps=panel.timestamps, time_zone=panel.time_zone, assets=panel.assets, config=own,
        replay=replay, notes=notes, lots=panel.lot, wall_seconds=seconds, opening=capital,
        first=begun.first if begun else 0, held=getattr(begun, "shares", None), decisions=asked.decisions,
        advice=advice, orders=functools.partial(standing, market, pack([own])[0], asking),
        weigh=None if market is None else functools.partial(held_weights, market, own.lot), **carried,
    )  # fmt: skip


def _bars(panel: Panel | PanelStream, config: Config, begun: Saved | Opening | None) -> np.ndarray:
    """(T,) bool: the bars that decide, none of them before all opening holdings have a mark."""
    carried = (begun.named, begun.before.clock) if isinstance(begun, Saved) else ()
    bars = schedule_of(panel, config, *carried)
    bars[: begun.first if begun else 0] = False
    return bars


def _spec(panel: Panel, config: Config, values: np.ndarray, begun: Saved | Opening | None, kept: set[str]) -> RunSpec:
    """What the engine is given; a run that goes on from a saved one has its weights rows already lagged."""
    market, params, start = panel.market, pack([begun.config(config) if begun else config]), None
    if begun is not None:
        market = begun.market(market)
        start = begun.start(params, market)
    if isinstance(begun, Saved):
        params["signal_lag"] = 0
        values = begun.read(values, config.signal_lag)
    bars = _bars(panel, config, begun)[None]
    return RunSpec(market, params, (values,), bars, fills="fills" in kept, positions="positions" in kept, start=start)


def _again(engine: str, spec: RunSpec, fills: bool, positions: bool, stay: bool = False) -> RawResult:
    """The same run with more of it recorded; a function of the module, so that a Result can be pickled."""
    return simulate(resolve(engine), dataclasses.replace(spec, fills=fills, positions=positions, stay=stay))


def _records(record: Record | Iterable[Record]) -> set[str]:
    """What is to be kept, checked."""
    names: list[Any] = list(record) if several(record) else [record]
    if wrong := [name for name in names if not isinstance(name, str) or name not in get_args(Record)]:
        must_be("record", wrong[0], f"one or more of {', '.join(map(repr, get_args(Record)))}")
    return set(names)


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
