# SPDX-License-Identifier: Apache-2.0
"""`Result.pyfolio`.   Letters: T bars, N assets, D days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.analysis.labelled import pandas_index
from gpu_bt.analysis.metrics import returns
from gpu_bt.errors import ResultError

if TYPE_CHECKING:
    import pandas

    from gpu_bt.analysis.result import Result

__all__ = ["pyfolio"]


def pyfolio(result: Result) -> dict[str, pandas.Series | pandas.DataFrame]:
    """What pyfolio's tear sheets take, as in `create_full_tear_sheet(**result.pyfolio())`, from `start` on.

    returns: (D,) simple returns per day.   positions: (D, N + 1) money in each asset at its mark, signed, NaN where
    equity is not above 0 (its bar of bankruptcy), and "cash".
    transactions: a row per fill, at its bar: amount (shares, signed), price (paid, slippage included), symbol and
    commission (money). A day is midnight in the panel's time zone, in UTC where it has none, and has the values of its
    last bar: pyfolio joins the three by day, in the zone that they have. quantstats takes `returns()` without a zone.
    Raises ResultError: no pandas, no marks as for `weights`, an asset named "cash".
    """

    def aware(stamps: Any) -> pandas.DatetimeIndex:
        index = pandas_index(stamps)
        return index.tz_localize("UTC") if index.tz is None else index

    days, first, fills = aware(result.timestamps), result._first, result.fills
    import pandas  # which is there

    if "cash" in result.assets:
        raise ResultError("pyfolio has a column 'cash' beside the assets, one of which has this name: rename the asset")
    equity, cash = result.equity["equity"].to_numpy(), result.equity["cash"].to_numpy()
    bars = first + np.flatnonzero(~np.isnan(equity[first:]))  # up to the end of an ended run
    days = days[bars].normalize()
    last = ~days.duplicated(keep="last")
    bars, days = bars[last], days[last]
    names = pandas.Index([*result.assets, "cash"], name="asset")
    money = np.column_stack([result.weights.values[bars] * equity[bars, None], cash[bars]])
    named = {"amount": "shares", "price": "price", "symbol": "asset", "commission": "commission"}
    trades = {theirs: fills[ours].to_list() for theirs, ours in named.items()}
    made = pandas.DataFrame(trades, index=aware(fills["timestamp"]))
    return {
        "returns": pandas.Series(returns(equity[bars], result._before(first)), index=days, name="returns"),
        "positions": pandas.DataFrame(money, index=days, columns=names),
        "transactions": made[made.index >= days.min()],
    }
