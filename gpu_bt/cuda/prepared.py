# SPDX-License-Identifier: Apache-2.0
"""What gpu_bt.engine.prepare makes of prices, made on the device of a panel that lies there.

Letters: T bars, N assets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from gpu_bt.cuda import arrays
from gpu_bt.cuda.device import DeviceArray
from gpu_bt.engine.prepare import Prices, lots, opening_marks
from gpu_bt.engine.resident import Resident
from gpu_bt.engine.spec import Market

__all__ = ["prepared"]

#: (key, function of the first bar wanted and the one after the last) -> the array of these bars.
_Keep = Callable[[Any, Callable[[int, int], DeviceArray]], DeviceArray]


def prepared(market: Market, field: str, lot: float, sizing: str, keep: _Keep) -> tuple[Prices, Any, Any]:
    """Per lot: prices of the field that fills, those that decide, and marks. What the panel has already, float64 prices
    of single shares, and marks where no close is missing, is not made again."""
    units, close = lots(market, lot), cast(Resident, market.close)

    def values(name: str) -> Any:
        raw: Any = getattr(market, name)
        if units.all_one and raw.dtype == "float64":
            return raw
        return keep((name, lot), lambda low, stop: arrays.scaled(raw, units.unit, low, stop))

    decides = marks = values("close")
    if arrays.missing(close).any():
        given: Any = close, market.open, market.split, units.unit, opening_marks(market, lot)
        marks = keep(("marks", lot), lambda *bars: arrays.marked(*given, *bars))
    gaps = arrays.missing(getattr(market, field)) > 0
    return Prices(values(field), gaps), marks if sizing == "last" else decides, marks
