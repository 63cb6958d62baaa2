# SPDX-License-Identifier: Apache-2.0
"""Holdings that a user gives: shares by the name of an asset -> an array in the order of a panel's assets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gpu_bt.arguments import real
from gpu_bt.data.arrays import as_host
from gpu_bt.data.forks import with_threads
from gpu_bt.data.labels import near
from gpu_bt.data.panel import Panel
from gpu_bt.errors import PanelError, WeightsError, label_of, nearest, shown

__all__ = ["MOST", "shares_of"]

#: Shares of an asset at most, and money of all.
MOST = 1e15


def shares_of(panel: Panel, holdings: Any) -> np.ndarray:
    """(N,) float64 shares: of a mapping or a Series asset -> shares, a table with the columns asset and shares (or
    their vendor's names, or assets in its index) or the path of one, or (N,) numbers. Raises WeightsError for a name
    that is unknown or there twice, for what is no number of shares, and for a table without these columns."""
    n = len(panel.assets)
    if (
        isinstance(holdings, (str, os.PathLike))
        or type(holdings).__name__ == "LazyFrame"
        or hasattr(holdings, "columns")
    ):
        holdings = _rows(holdings)
    elif hasattr(holdings := near(holdings), "items"):
        holdings = list(holdings.items())
    else:
        array = as_host("holdings", holdings, WeightsError)
        if array.shape != (n,) or array.dtype.kind not in "iuf":
            raise WeightsError(
                f"holdings is a {type(holdings).__name__} of shape {array.shape}: pass {{asset: shares}}, or (N,) ="
                f" ({n},) shares"
            )
        holdings = list(zip(panel.assets, array.tolist(), strict=True))
    shares, given = np.zeros(n), set()
    for name, count in holdings:
        i = panel.index.get(label_of(name))
        if i is None or i in given:
            hint = nearest(name, panel.assets, "see panel.assets")
            rule = f"the panel has no such asset; {hint}" if i is None else "the asset is named twice"
            raise WeightsError(f"holdings[{shown(name)}]: {rule}")
        given.add(i)
        shares[i] = real(count)
        if not abs(shares[i]) <= MOST:
            raise WeightsError(
                f"holdings[{shown(name)}] is {shown(count)}: it must be a number of shares, 0 where none is held"
            )
    return shares


def _rows(table: Any) -> list[tuple[Any, ...]]:
    """(asset, shares) of the rows of a table, or of the table that a path names."""
    with_threads("holdings, a table,")
    from gpu_bt.data.readers import Source, open_sources, to_polars  # loaded where there is a table
    from gpu_bt.data.tables import find_column

    try:
        if isinstance(table, (str, os.PathLike)):
            source, indexed = open_sources(os.fspath(table), "shares")[0], False
        else:
            frame = to_polars(table, "shares")
            source = Source("holdings", "a table", lambda _: frame.lazy(), is_file=False)
            indexed = hasattr(table, "iloc") and frame.width > len(table.columns)
        found = {name: find_column(source, name) for name in ("asset", "shares")}
        if found["asset"] is None and indexed:
            found["asset"] = source.names[0]
        columns = {name: column for name, column in found.items() if column is not None}
        for name in [name for name in found if name not in columns]:
            shown = ", ".join(repr(column) for column in source.names if not column.startswith("__index_level"))
            raise PanelError(
                f"{source.label}: no {name} among its columns {shown}; pass {{asset: shares}}, or name them"
            )
        return source.read(columns, {"asset": "name"}).rows()
    except PanelError as error:
        which = "holdings: " if isinstance(table, (str, os.PathLike)) else ""
        raise WeightsError(which + str(error).replace("pass asset= to say which, or ", "")) from None
