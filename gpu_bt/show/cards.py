# SPDX-License-Identifier: Apache-2.0
"""`_repr_html_` of what stands below the results: Panel, Config, Strategy. They know these by their attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gpu_bt.errors import shown
from gpu_bt.show.html import card, folded, table

__all__ = ["config_card", "names", "panel_card", "strategy_card"]


def names(all_: Any, most: int = 8) -> str:
    """The first of many names, and how many more there are."""
    rest = len(all_) - most
    return ", ".join(map(str, all_[:most])) + (f" and {rest:,} more" if rest > 0 else "")


def panel_card(panel: Any) -> str:
    """Bars, assets, period, fields with their gaps; the first and last closes of a few assets."""
    (t, n), market = panel.shape, getattr(panel, "market", None)
    what = [("bars", f"{t:,}, {panel.label(0)} to {panel.label(t - 1)}"), ("assets", f"{n:,}: {names(panel.assets)}")]
    what += [("time zone", panel.time_zone or "none")]
    what += [("prices", panel.prices)] if market is not None else [("window", f"{panel.bars:,} bars at once")]
    what += [(f"note: {name}", value) for name, value in panel.notes.items() if value]
    if market is None:
        return card(type(panel).__name__, "", table([*what, ("fields", ", ".join(panel.fields))]))
    fields = [(name, getattr(market, name)) for name in panel.fields]
    said = [(name, array.dtype, _said(array, name)) for name, array in fields]
    rows, some = [*range(min(t, 3)), *range(max(3, t - 3), t)], list(range(min(n, 6)))
    cells = [(panel.label(row), *(f"{x:.6g}".replace("nan", "NaN") for x in panel.close[row][some])) for row in rows]
    cells[3:3] = [("...", *["..."] * len(some))] if t > 6 else []
    return card(
        type(panel).__name__, f"{t:,} bars x {n:,} assets", table(what),
        table(said, ("field", "type", "cells"), numbers=True),
        table(cells, ("close", *panel.assets[: len(some)], *["..."] * (n > len(some))), numbers=True),
    )  # fmt: skip


def _said(array: Any, name: str) -> str:
    """How many cells of a field say something: have a price, are False, or are not what they are where nothing is."""
    if hasattr(array, "pointer"):
        return "on the GPU"
    if array.dtype == bool:
        return f"{1 - array.mean():.2%} False"
    prices = name in ("close", "open", "high", "low", "vwap")
    usual = 1 if name == "split" else 0
    return f"{(array == array).mean():.2%} priced" if prices else f"{(array != usual).mean():.2%} not {usual}"


def config_card(config: Any, fields: Mapping[str, Any]) -> str:
    """The fields that differ from the default, then, folded, all others."""
    rows = [(name, shown(getattr(config, name)), shown(f.default), f.meaning) for name, f in fields.items()]
    changed = [row for row in rows if row[1] != row[2]]
    same = [(name, value, meaning) for name, value, default, meaning in rows if value == default]
    first = [table(changed, ("field", "value", "default", "meaning"))] if changed else []
    about = f"{len(changed)} of {len(rows)} fields differ from the default" if changed else "all fields as by default"
    return card("Config", about, *first, folded(f"{len(same)} fields as by default", table(same)))


def strategy_card(strategy: Any) -> str:
    """The class, the first line of what it says of itself, and its public parameters."""
    kind = type(strategy)
    doc = (inspect.cleandoc(vars(kind).get("__doc__") or "").splitlines() or [""])[0]
    own = {name: shown(x) for name, x in vars(strategy).items() if not name.startswith("_")}
    return card(kind.__name__, doc, table(own.items()) if own else "no parameters set")
