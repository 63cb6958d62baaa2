# SPDX-License-Identifier: Apache-2.0
"""What a run is drawn beside: prices of one asset on the bars of a result. Letters: T bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.data.frames import read_panel
from gpu_bt.data.panel import Panel
from gpu_bt.data.times import dated_by_day, on_clock, time_series
from gpu_bt.errors import ConfigError, label_of, shown

if TYPE_CHECKING:
    import polars as pl

__all__ = ["benchmark_of"]


def benchmark_of(
    source: Any, stamps: pl.Series, zone: str | None, assets: Sequence[str] = ()
) -> tuple[str, np.ndarray]:
    """(its name, (T,) prices: of each bar the last one that is not after it, NaN before the first).

    source: T numbers, one per bar; else prices with labels of one asset: a Panel, a pandas Series, or what `read_panel`
    takes. Labels that are all midnight mean the whole day, so that a close of a day is that of its bars.
    Raises PanelError for what is no prices, ConfigError for several assets, for numbers that are not T, and for the
    name of one of the run's `assets`, whose prices a result does not have.
    """
    if isinstance(source, Panel):
        panel = source
    elif hasattr(source, "to_frame") and hasattr(source, "index"):  # pandas' Series; Polars' has no index
        name = "Benchmark" if source.name is None else label_of(source.name)
        panel = read_panel(source.to_frame(name), layout="wide")
    elif getattr(source, "ndim", None) == 1 or isinstance(source, (list, tuple)) or hasattr(source, "to_physical"):
        prices = np.asarray(source)
        if prices.shape != (len(stamps),):
            raise ConfigError(f"benchmark has {len(prices):,} numbers and the run {len(stamps):,} bars: pass labels")
        name = getattr(source, "name", None) or "Benchmark"
        labels = stamps.dt.replace_time_zone(None).to_numpy()
        return name, _carried(Panel(prices[:, None], timestamps=labels, assets=[name]))
    elif isinstance(source, str) and source in assets:
        raise ConfigError(f"benchmark is {shown(source)}, an asset: pass its prices, panel[:, [{shown(source)}]]")
    else:
        panel = read_panel(source)
    if len(panel.assets) != 1:
        raise ConfigError(f"benchmark has {len(panel.assets):,} assets: pass one, as in panel[:, ['SPY']]")
    times, prices = time_series(panel.timestamps, panel.time_zone), _carried(panel)
    if dated_by_day(times, None):
        labels, bars = (x.dt.date().to_physical().to_numpy() for x in (times, stamps))
    else:
        labels = on_clock(times, zone, None, "benchmark")
        bars = stamps.to_physical().to_numpy()
    place = np.searchsorted(labels, bars, side="right") - 1
    return panel.assets[0], np.where(place >= 0, prices[place], np.nan)


def _carried(panel: Panel) -> np.ndarray:
    """The last price at each bar."""
    prices = np.asarray(panel.close, np.float64)[:, 0]
    last = np.maximum.accumulate(np.where(np.isnan(prices), -1, np.arange(len(prices))))
    return np.where(last >= 0, prices[last], np.nan)
