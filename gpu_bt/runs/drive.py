# SPDX-License-Identifier: Apache-2.0
"""The loop that asks a strategy, bar by bar, and hands its decisions to an engine's session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_bt.arguments import called_with
from gpu_bt.config import Config
from gpu_bt.data.clock import zone_info
from gpu_bt.data.forks import strategy_with_threads
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import Book, Progress, RawResult, Session
from gpu_bt.errors import ConfigError, StrategyError, warn
from gpu_bt.runs.batch import Batch
from gpu_bt.runs.strategy import Strategy, _Desk
from gpu_bt.runs.views import view_of

__all__ = ["drive"]


def drive(
    strategy: Strategy, panel: Panel, config: Config, session: Session, schedule: np.ndarray, *,
    progress: Progress | None = None, until: int | None = None, log: Callable[[int, Any, Any], Any] | None = None,
) -> RawResult:  # fmt: skip
    """Ask the strategy at the bars of the (T,) `schedule` and move the session through all others.

    until: stop before this bar (default T).   log: called with each bar asked, the (4, N) weights, lots, limits and
    stops decided there, NaN = nothing, and the market as the strategy sees it.
    """
    if config.signal_lag:
        raise ConfigError(f"signal_lag is {config.signal_lag}: it delays weights rows; a strategy needs signal_lag=0")
    strategy_with_threads(strategy)
    _check_methods(strategy)
    kind, told = type(strategy).__name__, ""
    desk = _Desk(panel, config, view := view_of(strategy, panel, config, session))
    zone = None if panel.time_zone is None else zone_info(panel.time_zone)
    bars, at = panel.shape[0] if until is None else until, 0
    if vars(strategy).setdefault("_desk", desk) is not desk:  # in one step: another thread may do the same
        raise StrategyError(f"this {kind} is running already: make an instance for each run")
    try:
        strategy.initialize()
        ask: Callable[..., Any] = strategy.on_data_batch
        for t in np.flatnonzero(schedule[:bars]).tolist():
            if at < t:
                session.advance(at, t)
            decision = None
            if session.open_bar(t):
                desk.open(t, view.book)
                where = "on_data_batch"
                try:
                    answer = ask(_timestamp(panel, zone, t), batch := Batch(panel, t, view))
                    if answer is not None and not told:
                        told = f"{kind}.on_data_batch returned a {type(answer).__name__}, which nothing reads: order"
                        warn(f"{told} with self.order_target_percent(...)", stacklevel=4)
                    where = "risk"
                    desk.risk(strategy, batch)
                except Exception as error:
                    _note(error, kind, f"{where} at bar {t} ({panel.label(t)})", view)
                    raise
                decision = desk.decision()
                desk.close()
                if log is not None:
                    log(t, view.xp.full((4, desk.n), np.nan) if desk.cells is None else desk.cells, view.market)
            session.close_bar(t, decision)
            at = t + 1
            if progress is not None and (at * 100 // bars) != (t * 100 // bars):
                progress(at, bars)
        session.advance(at, bars)
        raw = session.result()
        desk.open(bars - 1, lambda: _last_book(raw, bars, view))
        desk.over = True
        strategy.finalize()
    finally:
        del strategy._desk
    if progress is not None:
        progress(bars, bars)
    return raw


def _check_methods(strategy: Strategy) -> None:
    """Raise StrategyError for a method of a user's that cannot be called as it will be."""
    for name, given in (("initialize", 0), ("on_data_batch", 2), ("risk", 3), ("finalize", 0)):
        if getattr(method := getattr(strategy, name), "__func__", None) is not getattr(Strategy, name):
            called_with(f"{type(strategy).__name__}.{name}", method, *[None] * given, error=StrategyError)


def _note(error: Exception, kind: str, where: str, view: Any) -> None:
    error.add_note(f"in {kind}.{where}")
    if isinstance(error, MemoryError) and view.xp is not np:
        error.add_note(f"the GPU has no room: free some of it, or set {kind}.device = False")


def _last_book(raw: RawResult, bars: int, view: Any) -> Book:
    lots = (view.here(rows[0]) for rows in (raw.holdings, raw.orders))
    return Book(raw.state["cash"][0].item(), raw.money[0, 0, bars - 1].item(), *lots)


def _timestamp(panel: Panel, zone: dt.tzinfo | None, t: int) -> dt.datetime:
    stamp: dt.datetime = panel.timestamps[t].item()
    return stamp if zone is None else stamp.replace(tzinfo=dt.UTC).astimezone(zone)
