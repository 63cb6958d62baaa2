# SPDX-License-Identifier: Apache-2.0
"""What is legal in a run but probably not meant: one sentence each, for a BacktestWarning.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import RawResult, RunSpec

__all__ = ["advice"]

#: A holding without a target for this many decisions in a row has been forgotten.
_FORGOTTEN = 20
#: Below this many lots, rounding shifts the median target by percents.
_FEW_LOTS = 20
#: A cash account cannot hold more than 1; books this much above it are in percent, or no fractions at all.
_GROSS = 3.0
#: Decisions looked at for the medians.
_SAMPLE = 8


def advice(panel: Panel, config: Config, spec: RunSpec, raw: RawResult) -> Iterator[str]:
    """Sentences about the weights of a run of one scenario, and about its final holdings.

    Books that no decision reads; targets of few lots; books in percent; holdings that no decision mentions any more.
    """
    weights, books = spec.weights[0], spec.with_targets[0]
    read = np.flatnonzero(spec.schedules[0]) - config.signal_lag
    read = read[read >= 0]
    read = read[books[read]]
    unread = int(books.sum()) - len(read)
    if not len(read):
        yield (
            f"no decision was taken: none of {int(books.sum())} rows with targets is read at a bar that decides"
            f" (rebalance={config.rebalance!r}, rebalance_every={config.rebalance_every},"
            f" rebalance_offset={config.rebalance_offset}, signal_lag={config.signal_lag})"
        )
        return
    if unread and books.mean() < 0.5:  # books on chosen dates; rows for every bar are meant to be picked from
        yield (
            f"{unread} of {int(books.sum())} rows with targets are never read, the first at"
            f" {panel.label(int(np.setdiff1d(np.flatnonzero(books), read)[0]))}: they lie on bars that do not decide"
            f" (rebalance={config.rebalance!r}, rebalance_every={config.rebalance_every}); use rebalance='bar'"
        )
    sample = read[:: max(1, len(read) // _SAMPLE)]
    size = np.abs(weights[sample].astype(np.float64))
    gross = float(np.median(np.nansum(size, axis=1)))
    if config.account == "cash" and gross > _GROSS and config.max_gross is None:
        yield (
            f"the median book sums to {gross:.3g} in a cash account, which can hold 1: weights are fractions of equity,"
            " so 50 % is 0.5"
        )
    if config.lot != 0:
        lot = np.full(panel.shape[1], config.lot) if panel.lot is None else panel.lot
        with np.errstate(divide="ignore", invalid="ignore"):
            lots = config.initial_cash * size / (panel.close[sample].astype(np.float64) * lot)
        lots = lots[np.isfinite(lots) & (lots > 0)]
        if len(lots) and np.median(lots) < _FEW_LOTS:
            yield (
                f"the median target is {np.median(lots):.3g} lots, so rounding to whole lots shifts it by percents: use"
                " lot=0 (fractional shares) or more initial_cash"
            )
    last, held = read[-_FORGOTTEN:], np.flatnonzero(raw.holdings[0])
    lost = held[np.isnan(weights[np.ix_(last, held)]).all(axis=0)] if len(last) == _FORGOTTEN else held[:0]
    if len(lost):
        names = ", ".join(panel.assets[i] for i in lost[:3]) + (", ..." if len(lost) > 3 else "")
        yield (
            f"{len(lost)} holdings had no target (NaN) in the last {_FORGOTTEN} decisions and are still held: {names};"
            " NaN means hold, use 0 to close"
        )
