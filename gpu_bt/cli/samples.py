# SPDX-License-Identifier: Apache-2.0
"""gpu-bt demo --inputs: a folder with every kind of file that the commands read, and what to type next.

Letters: T bars, N assets.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpu_bt.config import Config
from gpu_bt.data.clock import schedule_of
from gpu_bt.data.disk import Job, to_file, write_beside
from gpu_bt.data.panel import Panel
from gpu_bt.data.synthetic import momentum_weights, synthetic_universe
from gpu_bt.errors import ConfigError

__all__ = ["commands", "write_samples"]

_NAMES = (
    "ALDER ASPEN BEECH BIRCH CEDAR ELDER ELM FIR HAZEL HOLLY LARCH LINDEN MAPLE OAK PINE ROWAN SPRUCE TEAK WILLOW YEW"
).split()
#: Of the universe: four listings, a takeover, four splits, eight that pay dividends, halts and gaps.
_SEED = 60
_STRATEGY = '''\
"""gpu-bt run --prices prices.parquet --raw-prices --strategy strategy.py:TopMomentum --config config.toml"""

import gpu_bt as bt


class TopMomentum(bt.Strategy):
    """Holds the `hold` assets that rose most over `lookback` bars, equally weighted."""

    def __init__(self, lookback=60, hold=5):
        self.lookback, self.hold = lookback, hold

    def on_data_batch(self, timestamp, batch):  # at each bar that decides, all assets at once
        past = batch.history("close", self.lookback, adjusted=True)  # (lookback, N), this bar last; splits undone
        top = batch.top(past[-1] / past[0], self.hold)  # NaN, as before a listing, is never among them
        self.order_target_percent(top, 1 / self.hold)
        self.close_others(top)
'''
_CONFIG = """\
# The assumptions of a run; gpu-bt info --config lists all of them.
initial_cash = 1e6
execution = "next_open"  # what is decided at a close fills at the open after it
rebalance = "month"  # the last bar of a month decides
commission_rate = 5e-4  # fraction of what is traded: 5 basis points
slippage = 5e-4  # fraction of the price, adverse
participation = 0.1  # at most a tenth of a bar's volume
"""
_GRID = """\
# Every combination is a scenario of gpu-bt sweep; what no axis names is as config.toml has it.
commission_rate = [0, 5e-4, 1e-3]
slippage = [0, 5e-4, 1e-3]
band = [0, 0.01, 0.02, 0.05]  # no trade where target and weight are nearer than this
"""


def write_samples(folder: Path, force: bool) -> list[Path]:
    """Write the sample files, the same at every call, into a folder, made where it is missing. Gives their paths.

    Raises ConfigError where one is there and not force, before anything is written; ResultError where the system
    refuses.
    """
    jobs = {folder / name: job for name, job in _jobs().items()}
    if not force and (there := [path.name for path in jobs if os.path.lexists(path)]):
        raise ConfigError(
            f"--inputs {folder}: {', '.join(there)} would be replaced: choose another folder, or pass --force"
        )
    for path, job in jobs.items():
        write_beside(path, job)
    return list(jobs)


def commands(folder: Path) -> list[str]:
    """What can be typed next, line by line."""
    prices = "gpu-bt {} --prices prices.parquet --raw-prices"
    run, sweep = prices.format("run"), prices.format("sweep")
    return [
        *([f"cd {shlex.quote(str(folder))}"] if str(folder) != "." else []),
        f"{run} --weights weights.parquet --config config.toml --out out/",
        f"{run} --strategy strategy.py:TopMomentum --param lookback=120 --config config.toml",
        f"{run} --weights weights.parquet --config config.toml --json",
        f"{sweep} --weights weights.parquet --config config.toml --grid grid.toml --out grid/",
        f"{sweep} --scores scores.parquet --config config.toml --axis long=3,5,8 --axis keep=1,1.5,2",
        f"{sweep} --strategy strategy.py:TopMomentum --config config.toml --axis lookback=20,60,120 --axis hold=3,5,8",
    ]


def _jobs() -> Mapping[str, Job]:
    """File -> what it will hold."""
    first, after = np.datetime64("2020-01-02"), np.datetime64("2023-12-30")  # whole months, up to their last session
    panel = synthetic_universe(int(np.busday_count(first, after)), len(_NAMES), seed=_SEED, start="2020-01-02")
    assert panel.dividend is not None and panel.split is not None
    books = momentum_weights(panel, top=0.25, every=1)
    books[~schedule_of(panel, Config(rebalance="month"))] = np.nan
    with np.errstate(invalid="ignore"):
        returns = np.nan_to_num(panel.dividend / panel.close)
    adjusted = panel.close * np.cumprod(panel.split * (1 + returns), axis=0)
    score = np.full_like(adjusted, np.nan)
    score[60:] = adjusted[55:-5] / adjusted[:-60] - 1  # of 12 weeks without the last one
    days = pl.Series("date", panel.timestamps).cast(pl.Date)
    wide = pl.DataFrame({"date": days, **dict(zip(_NAMES, np.round(adjusted, 4).T, strict=True))}).fill_nan(None)
    return {
        "prices.parquet": to_file(_prices(panel).write_parquet),
        "closes.csv": to_file(wide.write_csv),
        "weights.parquet": to_file(_long(days, "weight", books).drop_nans().filter(pl.col("weight") > 0).write_parquet),
        "scores.parquet": to_file(_long(days, "score", score).drop_nans().write_parquet),
        "strategy.py": _STRATEGY, "config.toml": _CONFIG, "grid.toml": _GRID,
    }  # fmt: skip


def _long(days: pl.Series, name: str, values: np.ndarray) -> pl.DataFrame:
    """(T, N) values as a row per day and asset."""
    t, n = values.shape
    return pl.DataFrame({"date": days.gather(np.repeat(np.arange(t), n)), "asset": _NAMES * t, name: values.ravel()})


def _prices(panel: Panel) -> pl.DataFrame:
    """The panel as a long table, which has no row for an asset that is not listed or is halted."""
    days = pl.Series("date", panel.timestamps).cast(pl.Date)
    fields = ("open", "high", "low", "close", "volume", "dividend", "split")
    table = _long(days, "close", panel.close)
    table = table.with_columns(pl.Series(name, getattr(panel, name).ravel()) for name in fields)
    off = [days[int(bar)] if bar >= 0 else None for bar in panel.delisted_at]
    ends: dict[str, Any] = {"delisted_at": off, "delisting_return": panel.delisting_return, "group": panel.group}
    table = table.hstack([pl.Series(name, list(values) * len(days)) for name, values in ends.items()])
    quiet = (pl.col("dividend") == 0) & (pl.col("split") == 1) & pl.col("close").is_nan() & pl.col("open").is_nan()
    return table.filter(~quiet).fill_nan(None)
