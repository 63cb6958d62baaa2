# SPDX-License-Identifier: Apache-2.0
"""Where a saved run meets the bars that it goes on with: prices on another scale, and bars that are missing.

Letters: N assets.
"""

from __future__ import annotations

import numpy as np

from gpu_bt.config import Config
from gpu_bt.data.clock import DAY, MICROSECOND, local_microseconds, time_label
from gpu_bt.data.panel import Panel
from gpu_bt.engine.prepare import events, lots, opening_marks
from gpu_bt.engine.spec import Market, Start
from gpu_bt.errors import PanelError

__all__ = ["check_jumps", "gap", "moment"]

#: A price that moves by more than this factor over some days, or by more than 10 % times the root of the days, is asked
#: about: a split of 3 for 2 and beyond, from a day to the next; 4.5 times what a stock of 35 % a year usually moves.
_FACTOR, _ROOT = 1.4, 0.1
#: Factors of usual splits, and how near to one a move that is not refused, or all assets to each other, is told of.
_SPLITS = np.log([5 / 4, 4 / 3, 3 / 2, 2, 3, 4, 5, 10, 20])
_NEAR, _ALIKE, _LEAST = 0.015, 0.005, 0.02
#: Days that a market may rest: holidays of a spring festival, weekends around them included.
_REST = 12


def moment(microsecond: int, time_zone: str | None) -> str:
    """An instant as a person writes it, in the panel's zone."""
    return time_label(local_microseconds(np.array([microsecond]), time_zone).view("datetime64[us]")[0])


def gap(panel: Panel, last: int, clock: int, longest: int) -> tuple[str, str | None]:
    """How long after a state's last bar the panel begins, and a warning where that is unusual: more than twice the
    longest time between bars so far, and than a market rests. longest: between bars of the state, microseconds."""
    span = int(panel.market.clock[0]) - clock
    days = f"{span / DAY:.4g}"
    text = f"{days} day{'s' * (days != '1')}" if span >= DAY else str(span * MICROSECOND)
    text = f"after {moment(last, panel.time_zone)}, {text} before the first bar"
    usual = max(longest, int(np.diff(panel.microseconds).max(initial=0)))
    if span <= max(2 * usual, _REST * DAY):
        return text, None
    return text, (
        f"the run goes on {text}, where bars were at most {usual / DAY:.4g} days apart: if bars are missing, so are"
        " their dividends, splits and decisions; pass a panel that begins right after the state"
    )


def check_jumps(
    panel: Panel, market: Market, config: Config, stands: Start, last: int, accepted: bool
) -> tuple[int, str]:
    """The number of assets, held or with a working order, whose first price in the panel is so far from the state's
    mark that its history may have been adjusted anew, and a warning of others of which that may be so: near the factor
    of a usual split, or by one factor for all. Raises PanelError for the first unless they are accepted.

    The first price is the open, else the close, times the splits up to its bar, with the dividends of an old share;
    the longer without one, the more it may have moved. What is settled before has none.   market: the panel's, with
    what it carries over.
    """
    before = market.before
    assert before is not None  # the market goes on
    settled = events(market, config.delist_after).settled
    mark = opening_marks(market, config.lot) / lots(market, config.lot).unit
    first, bar = np.full(len(mark), np.nan), np.zeros(len(mark), np.int64)
    splits, paid = np.ones(len(mark)), np.zeros(len(mark))
    asked = ((stands.holdings[0] != 0) | (stands.orders[0] != 0)) & (mark > 0) & (stands.state["ended"][0] == 0)
    for t in range(panel.shape[0]):
        asked[settled.get(t, [])] = False
        if not (wait := asked & np.isnan(first)).any():
            break
        close = market.close[t].astype(np.float64)
        price = close if market.open is None else np.where(np.isnan(market.open[t]), close, market.open[t])
        first, bar = np.where(wait, price, first), np.where(wait, t, bar)
        if market.dividend is not None:
            paid += np.where(wait, splits * market.dividend[t], 0)
        if market.split is not None:
            splits = np.where(wait, splits * market.split[t], splits)
    days = (panel.microseconds[bar] - last) / DAY + np.maximum(before.silent, 0)
    with np.errstate(all="ignore"):
        moved = (first * splits + paid) / mark
        log = np.log(moved)
        far = np.abs(log) > np.maximum(np.log(_FACTOR), _ROOT * np.sqrt(days))
        near = ~far & (np.abs(log) > _ROOT * 2 / 3 * np.sqrt(days))  # three times the usual, in months and years
        near &= (np.abs(np.abs(log)[:, None] - _SPLITS) < _NEAR).any(axis=1)
    priced = np.flatnonzero(np.isfinite(log))
    if len(priced) > 2 and not far.any() and np.ptp(log[priced]) < _ALIKE and np.abs(log[priced]).min() > _LEAST:
        near[priced] = True

    def cells(which: np.ndarray) -> str:
        said = [
            f"{panel.assets[i]!r} from {mark[i]:.6g} to {first[i]:.6g} at {panel.label(t)} (times {moved[i]:.3g})"
            for i, t in zip(which.nonzero()[0][:3].tolist(), bar[which].tolist(), strict=False)
        ]
        return ", ".join(said) + (f" and {which.sum() - 3} more" if which.sum() > 3 else "")

    way_out = "if the history was adjusted again, begin without resume=, or pass prices='raw' with split="
    if far.any() and not accepted:
        raise PanelError(
            f"the state of {moment(last, panel.time_zone)} and this panel have prices on two scales, which no split"
            f" explains: {cells(far)}: {way_out}; if prices did move so, accept_jumps=True"
        )
    if not near.any():
        return int(far.sum()), ""
    return int(far.sum()), (
        f"the state of {moment(last, panel.time_zone)} and this panel may have prices on two scales, as after a split"
        f" or when all are multiplied by one factor: {cells(near)}: {way_out}"
    )
