# SPDX-License-Identifier: Apache-2.0
"""Opening holdings: shares held before the first bar, as engines take them (semantics.md, Opening holdings).

Letters: N assets, K scenarios.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_bt.config import Config, tick_of
from gpu_bt.data.holdings import MOST, shares_of
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.engine.prepare import NEVER_PRICED, lots, marks
from gpu_bt.engine.spec import Before, Cache, Market, Start, start_of
from gpu_bt.errors import WeightsError

__all__ = ["Opening", "opening"]


@dataclasses.dataclass(frozen=True, eq=False)
class Opening:
    """shares: (N,) held before the first bar.   first: the bar at which all of them have a mark.   worth: of them
    there, money.   before: their first marks, as if carried into the first bar."""

    shares: np.ndarray
    first: int
    worth: float
    before: Before
    named = 0  # bars that `rebalance` has named before the first one

    def config(self, config: Config) -> Config:
        """The config with the ledger's tick for cash and holdings."""
        return config if config.money_tick else config.replace(money_tick=tick_of(self.capital(config)))

    def capital(self, config: Config) -> float:
        """Cash and holdings at the first bar at which all have a mark."""
        return config.initial_cash + self.worth

    def market(self, market: Market) -> Market:
        """The market as a run of these holdings sees it."""
        return dataclasses.replace(market, before=self.before, cache=Cache())

    def start(self, params: np.ndarray, market: Market) -> Start:
        """Where scenarios of PARAMS[K] stand before the first bar."""
        held = {lot: _in_lots(self.shares, market, lot) for lot in np.unique(params["lot"]).tolist()}
        return start_of(params, np.array([held[lot] for lot in params["lot"].tolist()]))


def opening(source: Panel | PanelStream, holdings: Any, configs: Sequence[Config]) -> Opening | None:
    """The opening holdings of runs under these configs; None where nothing is held.

    holdings: asset -> shares (a mapping, a Series, a table with the columns asset and shares), or (N,) shares.
    Raises WeightsError for what the panel or an account cannot hold.
    """
    panel = next(source.parts())[1] if isinstance(source, PanelStream) else source
    shares = shares_of(panel, holdings)
    held = np.flatnonzero(shares)
    if not len(held):
        return None
    rules = {(c.account, c.lot): c for c in configs}.values()
    for config in rules:
        _check(panel, shares, held, config)
    market = panel.market
    fields = {name: x for name in ("close", "open", "split") if (x := getattr(market, name)) is not None}
    own = {name: x[:, held] for name, x in fields.items()}  # all that is fetched of what lies on a GPU
    quoted = np.where(np.isnan(own["close"]), own.get("open", np.nan), own["close"])
    known = ~np.isnan(quoted)
    bar = known.argmax(axis=0)
    if not known.any(axis=0).all():
        rule = f"it has no price in {len(known)} bars, so what it is worth is not known; leave it out"
        _fail(panel, shares, int(held[~known.any(axis=0)][0]), rule)
    first, splits = int(bar.max()), np.ones(quoted.shape)
    if "split" in own:
        splits = np.cumprod(own["split"], axis=0, dtype=np.float64)
    columns, carried = np.arange(len(held)), {}
    for lot in {0.0, *(c.lot for c in rules)}:
        carried[lot] = np.zeros(len(shares))
        at = quoted[bar, columns].astype(np.float64) * lots(market, lot).unit[held]
        carried[lot][held] = at * splits[bar, columns]
    silent = np.full(len(shares), NEVER_PRICED)
    before = Before(int(market.clock[0]), carried, silent)
    begun = dataclasses.replace(before, marks={0.0: carried[0.0][held]})
    mark = marks(dataclasses.replace(market, **own, before=begun, cache=Cache()), 0.0)[first]
    found = Opening(shares, first, math.fsum(shares[held] * splits[first] * mark), before)
    for config in configs:
        if not 1e-2 <= config.initial_cash + found.worth <= MOST:
            total = config.initial_cash + found.worth
            raise WeightsError(f"cash and holdings are worth {total:,.2f}: they must be in [0.01, 1e15]")
    return found


def _check(panel: Panel, shares: np.ndarray, held: np.ndarray, config: Config) -> None:
    """What the account and its lots allow."""
    if config.account == "cash" and (shares < 0).any():
        rule = "a cash account is long-only; use Config(account='margin') for short positions"
        _fail(panel, shares, int(np.argmax(shares < 0)), rule)
    size = _in_lots(shares, panel.market, config.lot)
    odd = lots(panel.market, config.lot).whole & (size != np.rint(size)) & (shares != np.rint(shares))
    if odd.any():
        rule = "where an asset trades in lots, its holding is whole shares or whole lots; use lot=0 for fractions"
        _fail(panel, shares, int(np.argmax(odd)), rule)


def _fail(panel: Panel, shares: np.ndarray, i: int, rule: str) -> None:
    raise WeightsError(f"holdings[{panel.assets[i]!r}] is {shares[i]:g}: {rule}")


def _in_lots(shares: np.ndarray, market: Market, lot: float) -> np.ndarray:
    """(N,) lots, whole where they are within 1e-6 of it."""
    unit = lots(market, lot)
    size = shares / unit.unit
    near = np.rint(size)
    out: np.ndarray = np.where(unit.whole & (np.abs(size - near) <= 1e-6), near, size)
    return out
