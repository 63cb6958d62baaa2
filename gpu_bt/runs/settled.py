# SPDX-License-Identifier: Apache-2.0
"""Holdings that were settled because their asset was silent ([S3]), and which of these assets trade again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from gpu_bt.data.panel import Panel
from gpu_bt.engine.prepare import events
from gpu_bt.engine.resident import first
from gpu_bt.engine.spec import RawResult, RunSpec
from gpu_bt.law.layout import MONEY

__all__ = ["Settled"]


@dataclasses.dataclass
class Settled:
    """What a run of one scenario, seen in one part or in several, has settled for silence.

    gone: asset -> the bar at which its holding was settled, of those that have not traded since.   back: a sentence for
    each of those that have.
    """

    gone: dict[int, str] = dataclasses.field(default_factory=dict)
    back: list[str] = dataclasses.field(default_factory=list)

    def see(self, panel: Panel, spec: RunSpec, raw: RawResult, again: Callable[[], RawResult] | None) -> None:
        """Look at the next part. again: the same with positions, asked for where it matters; None = there is no
        such, and what of several assets was held is left unsaid."""
        market, positions, after = spec.market, raw.positions, int(spec.params["delist_after"][0])
        paid = np.nan_to_num(raw.money[MONEY.index("settlements"), 0]) != 0
        settled = events(market, after).settled.items() if after else ()
        for bar, assets in [(-1, np.array([*self.gone], int)), *settled]:
            if bar >= 0:  # those not delisted there whose holding was paid out, or was lost whole
                certain = len(assets) == 1 and paid[bar]  # where positions are not kept: which of several was held?
                off, loss = market.delisted_at[assets], market.delisting_return[assets]
                assets = assets[((off < 0) | (off > bar)) & (paid[bar] | (loss == -1))]
                if bar and len(assets) and positions is None and again is not None:
                    positions = again().positions
                held = first(positions)[bar - 1] if bar and positions is not None else None
                held = spec.start.holdings[0] if not bar and spec.start is not None else held
                assets = assets[: int(certain)] if held is None else assets[np.abs(held[assets]) > 0]
                self.gone |= dict.fromkeys(assets.tolist(), panel.label(bar))
            fields = [field for field in (market.close, market.open) if field is not None] if len(assets) else []
            priced = sum((~np.isnan(field[bar + 1 :, assets]) for field in fields), np.zeros((1, len(assets)), bool))
            for k in np.flatnonzero(priced.any(axis=0)).tolist():
                i, then = int(assets[k]), panel.label(bar + 1 + int(np.argmax(priced[:, k])))
                self.back.append(f"{panel.assets[i]} was settled at {self.gone.pop(i)} and trades again at {then}")

    def advice(self, delist_after: int) -> list[str]:
        """The sentence for a BacktestWarning, if there is cause for one."""
        rule = f"without a price on {delist_after} dates in a row (delist_after)"
        way_out = "pass delist_after=0 to hold what is silent, or a larger number"
        return [f"{self.back[0]} ({len(self.back)} such holdings): {rule}; {way_out}"] if self.back else []
