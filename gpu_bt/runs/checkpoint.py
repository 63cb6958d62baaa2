# SPDX-License-Identifier: Apache-2.0
"""The state of a run in a file, from which a run over later bars goes on with the bits of one long run.

What is carried (semantics.md, One bar): cash, holdings, orders, peak, statuses; of the panel mark, dates since the last
price, schedule counter, previous timestamp and clock, assets delisted; and the weights rows that a signal_lag still has
to read.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpu_bt import __version__
from gpu_bt.config import Config
from gpu_bt.data.clock import following, named_bars
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.panel import Panel
from gpu_bt.engine.prepare import left_behind
from gpu_bt.engine.spec import Before, Cache, Market, RawResult, Start
from gpu_bt.errors import PanelError
from gpu_bt.law.layout import SCENARIO_STATUS, STATE, members_of
from gpu_bt.runs import states
from gpu_bt.runs.seam import check_jumps, gap, moment

__all__ = ["Saved", "load", "save"]


@dataclasses.dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds. Letters: N assets, L <= signal_lag rows.

    before, stands: Before and Start as the waist has them.   named: bars that `rebalance` has named.   rows: (L, N)
    last weights rows.   delisted: (N,) bool, `delisted_at` lies behind.   opening: equity after the last bar.
    earlier: status -> bar at which it was first set, microseconds.   tick: of the ledger.   longest: time between two
    bars so far, microseconds.   notes: what the run wants a person to know of it.   doubts: warnings.
    """

    before: Before
    stands: Start
    named: int
    rows: np.ndarray
    delisted: np.ndarray
    opening: float
    earlier: Mapping[str, int]
    tick: float
    longest: int
    notes: dict[str, str | int]
    doubts: dict[str, str]
    first: int = 0  # the bar from which on it decides

    def config(self, config: Config) -> Config:
        """The config with the tick of the saved run's ledger."""
        return config if config.tick == self.tick else config.replace(money_tick=self.tick)

    def capital(self, config: Config) -> float:
        """What the later bars begin with."""
        return self.opening

    def market(self, market: Market) -> Market:
        """The later bars' market, with what it carries over. What was delisted stays so: it holds nothing any more."""
        gone = np.where(self.delisted, 0, market.delisted_at)
        return dataclasses.replace(market, before=self.before, delisted_at=gone, cache=Cache())

    def start(self, params: np.ndarray, market: Market) -> Start:
        """Where the scenario stands."""
        return self.stands

    def read(self, weights: np.ndarray, lag: int) -> np.ndarray:
        """(T, N) the weights row that each bar reads, so that they may be run without a lag."""
        if not lag:
            return weights
        early = np.full((lag - len(self.rows), weights.shape[1]), np.nan)
        return np.ascontiguousarray(np.concatenate([early, self.rows, weights])[: len(weights)])


def save(
    panel: Panel, market: Market, config: Config, weights: np.ndarray, saved: Saved | None,
    tick: float, path: str | os.PathLike[str], raw: RawResult,
) -> Path:  # fmt: skip
    """Write the state after a run's last bar. market: the run's own, with what it carried over itself.

    Raises ResultError where the disk refuses.
    """
    since = saved.before.clock if saved else None
    named = named_bars(panel.microseconds, panel.time_zone, following(panel), config, since)
    rows = np.concatenate([saved.rows, weights]) if saved else weights
    before, start, stamps = left_behind(market, [config.lot]), raw.carried(), panel.microseconds
    first, runs = raw.state["first_bar"][0], raw.state["ended"] == 0  # what an ended run leaves is never used again
    earlier = {name: int(stamps[bar]) for name, bar in zip(SCENARIO_STATUS, first, strict=True) if bar >= 0}
    equity = raw.money[0, 0][~np.isnan(raw.money[0, 0])]
    opening = float(equity[-1]) if len(equity) else saved.opening if saved else config.initial_cash
    head = {
        "parts": _parts(panel, config),
        "microsecond": int(stamps[-1]),
        "clock": before.clock,
        "named": int(named.sum()) + (saved.named if saved else 0),
        "last_named": bool(named[-1]),
        "longest": max(int(np.diff(stamps).max(initial=0)), saved.longest if saved else 0),
        "opening": opening.hex(),
        "tick": tick.hex(),
        "earlier": {**(saved.earlier if saved else {}), **earlier},
    }
    arrays: dict[str, np.ndarray] = {
        **{name: start.state[name] for name in members_of(STATE)},
        "cash": np.where(runs, start.state["cash"], 0.0),
        "peak": np.where(runs, start.state["peak"], 0.0),
        "holdings": start.holdings,
        "orders": np.where(runs[:, None], start.orders, 0.0),
        "marks": before.marks[config.lot],
        "silent": before.silent,
        "rows": np.asarray(rows[len(rows) - min(config.signal_lag, len(rows)) :], np.float64),
        "delisted": (market.delisted_at >= 0) & (market.delisted_at < len(stamps)),
    }
    return states.write(path, head, arrays)


def load(path: str | os.PathLike[str], panel: Panel, config: Config, accept_jumps: bool = False) -> Saved:
    """Read a state for a run over later bars of the same assets under the same config.

    Raises ResultError where the file is no such state or belongs to other assets, another config or version; PanelError
    where the panel does not begin after its last bar, the decision at that bar was not taken, or what is held has
    prices on another scale than before, unless accept_jumps.
    """
    found, head = states.read(path, panel, config, _parts(panel, config))
    last, clock, longest = (int(head[name]) for name in ("microsecond", "clock", "longest"))
    _check_time(states.shown(path), panel, config, last, clock, bool(head["last_named"]))
    state = np.zeros(1, STATE)
    for name in members_of(STATE):
        state[name] = found[name]
    start = Start(state, found["holdings"], found["orders"])
    before = Before(clock, {config.lot: found["marks"]}, found["silent"])
    text, late = gap(panel, last, clock, longest)
    earlier = dict(zip(SCENARIO_STATUS, head["earlier"].tolist(), strict=True))
    saved = Saved(
        before, start, int(head["named"]), found["rows"], found["delisted"], float(head["opening"]),
        {name: bar for name, bar in earlier.items() if bar != states.NOT_YET}, float(head["tick"]), longest,
        {"resumed": text}, {"missing bars": late} if late else {},
    )  # fmt: skip
    jumps, doubt = check_jumps(panel, saved.market(panel.market), config, start, last, accept_jumps)
    saved.notes.update({"accepted_jumps": jumps} if jumps else {})
    saved.doubts.update({"prices adjusted again": doubt} if doubt else {})
    return saved


def _check_time(path: str, panel: Panel, config: Config, last: int, clock: int, last_named: bool) -> None:
    """Raise PanelError unless the panel's bars follow, and the last decision was taken or was none."""
    if panel.microseconds[0] <= last:
        raise PanelError(
            f"the panel begins at {panel.label(0)}, and {path} ends at {moment(last, panel.time_zone)}: pass the bars"
            " after it alone"
        )
    named = named_bars(np.array([last]), panel.time_zone, int(panel.microseconds[0]), config, clock)
    if config.rebalance_on == "last" and bool(named[0]) != last_named:
        raise PanelError(
            f"{path} ends at the end of a {config.rebalance}, which its run could not know: pass next_timestamp= to"
            " that panel, so that its last bar decides"
        )


def _parts(panel: Panel, config: Config) -> dict[str, str]:
    """What a state and the run that goes on from it must have in common, by the name that an error gives it."""
    return {
        "version": __version__,
        "list of assets": fingerprint(panel.assets),
        "config": fingerprint(config.to_dict()),
        "lot of the panel": fingerprint(None if panel.lot is None else panel.lot),
        "time zone": str(panel.time_zone),
    }
