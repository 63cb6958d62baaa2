# SPDX-License-Identifier: Apache-2.0
"""The state of a run in a file, from which a run over later bars goes on with the bits of one long run.

What is carried (semantics.md, One bar): cash, holdings, orders, peak, statuses; of the panel mark, dates since the last
price, schedule counter, previous timestamp and clock, assets delisted; and the weights rows that a signal_lag still has
to read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpu_bt import __version__
from gpu_bt.config import Config
from gpu_bt.data.clock import named_bars
from gpu_bt.data.disk import write_beside
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.engine.prepare import left_behind
from gpu_bt.engine.spec import Before, Cache, Market, RawResult, Start
from gpu_bt.errors import PanelError, ResultError
from gpu_bt.law.layout import SCENARIO_STATUS, STATE, members_of

__all__ = ["Saved", "following", "load", "save"]


@dataclasses.dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds. Letters: N assets, L <= signal_lag rows.

    before, stands: Before and Start as the waist has them.   named: bars that `rebalance` has named.   rows: (L, N)
    last weights rows.   delisted: (N,) bool, `delisted_at` lies behind.   opening: equity after the last bar.
    earlier: status -> bar at which it was first set, microseconds.   tick: of the ledger.
    """

    before: Before
    stands: Start
    named: int
    rows: np.ndarray
    delisted: np.ndarray
    opening: float
    earlier: Mapping[str, int]
    tick: float
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
    first = raw.state["first_bar"][0]
    earlier = {name: int(stamps[bar]) for name, bar in zip(SCENARIO_STATUS, first, strict=True) if bar >= 0}
    equity = raw.money[0, 0][~np.isnan(raw.money[0, 0])]
    opening = float(equity[-1]) if len(equity) else saved.opening if saved else config.initial_cash
    head = {
        "parts": _parts(panel, config),
        "microsecond": int(stamps[-1]),
        "clock": before.clock,
        "named": int(named.sum()) + (saved.named if saved else 0),
        "last_named": bool(named[-1]),
        "opening": opening.hex(),
        "tick": tick.hex(),
        "earlier": {**(saved.earlier if saved else {}), **earlier},
    }
    arrays: dict[str, np.ndarray] = {name: start.state[name] for name in members_of(STATE)} | {
        "head": np.array(json.dumps(head)),
        "holdings": start.holdings,
        "orders": start.orders,
        "marks": before.marks[config.lot],
        "silent": before.silent,
        "rows": np.asarray(rows[len(rows) - min(config.signal_lag, len(rows)) :], np.float64),
        "delisted": (market.delisted_at >= 0) & (market.delisted_at < len(stamps)),
    }

    named_arrays: Callable[..., None] = np.savez

    def write(beside: Path) -> None:
        with open(beside, "wb") as file:
            named_arrays(file, **arrays)

    write_beside(Path(path), write)
    return Path(path)


def load(path: str | os.PathLike[str], panel: Panel, config: Config) -> Saved:
    """Read a state for a run over later bars of the same assets under the same config.

    Raises ResultError where the file is no such state or belongs to other assets, another config or version; PanelError
    where the panel does not begin after its last bar, or the decision at that bar was not taken.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        head = json.loads(found["head"].item())
        parts, tick = head["parts"], float.fromhex(head["tick"])
        state = np.zeros(1, STATE)
        for name in members_of(STATE):
            state[name] = found[name]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "it is not whole, or something else"
        raise ResultError(f"{path} is no saved state ({reason}): make one with result.checkpoint(path)") from error
    for name, value in _parts(panel, config).items():
        if parts.get(name) != value:
            raise ResultError(f"{path} was saved with another {name}: go on with the same, or begin without resume=")
    _check_time(path, panel, config, head)
    start = Start(state, found["holdings"], found["orders"])
    before = Before(head["clock"], {config.lot: found["marks"]}, found["silent"])
    opening = float.fromhex(head["opening"])
    return Saved(before, start, head["named"], found["rows"], found["delisted"], opening, head["earlier"], tick)


def _check_time(path: Any, panel: Panel, config: Config, head: Mapping[str, Any]) -> None:
    """Raise PanelError unless the panel's bars follow, and the last decision was taken or was none."""
    last = np.array([head["microsecond"]])
    if panel.microseconds[0] <= last[0]:
        moment = str(last.view("datetime64[us]")[0])
        raise PanelError(
            f"the panel begins at {panel.label(0)}, and {path} ends at {moment}: pass the bars after it alone"
        )
    named = named_bars(last, panel.time_zone, int(panel.microseconds[0]), config, head["clock"])
    if config.rebalance_on == "last" and bool(named[0]) != head["last_named"]:
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


def following(panel: Panel | PanelStream) -> int | None:
    """Microseconds of the bar after the last, where it is known."""
    return None if panel.next_timestamp is None else int(panel.next_timestamp.astype(np.int64))
