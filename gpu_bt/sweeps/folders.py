# SPDX-License-Identifier: Apache-2.0
"""A SweepResult as the files of a folder, and back.

Letters: T bars, K scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpu_bt import __version__
from gpu_bt.analysis.files import FORMAT, reading, run_of, table_of, whole
from gpu_bt.arguments import path_of
from gpu_bt.data.disk import Job, to_file, write_together
from gpu_bt.data.forks import with_threads
from gpu_bt.data.settings import config_text, read_config

__all__ = ["read", "write"]


def write(sweep: Any, folder: Any, stale: Collection[str]) -> list[Path]:
    """`SweepResult.write`."""
    place = path_of("folder", folder)
    capital = sweep.opening.tolist()
    run = {
        "engine": sweep.engine, "scenarios": len(sweep), "axes": list(sweep.axes), "version": __version__,
        "format": FORMAT, "metrics": sweep._metrics, "shape": list(sweep.shape), "priced": sweep._priced,
        "rounding": sweep.rounding, "opening": capital[:1] if len(set(capital)) == 1 else capital,
    }  # fmt: skip
    jobs: dict[str, Job] = {"config.toml": config_text(sweep.config, run)}
    if sweep.has_equity:
        rows = {"timestamp": sweep.timestamps, **{str(k): row for k, row in enumerate(sweep.equity)}}
        jobs["equity.parquet"] = to_file(pl.DataFrame(rows).write_parquet)
    jobs["bars.parquet"] = to_file(pl.DataFrame({"timestamp": sweep.timestamps}).write_parquet)
    jobs["table.parquet"] = to_file(sweep.table.write_parquet)
    write_together({place / name: job for name, job in jobs.items()}, stale)
    return [place / name for name in sorted(jobs, key=["table.parquet", *jobs].index)]


def read(folder: Any, made: Callable[[], Any]) -> Any:
    """`read_sweep`. made: () -> an empty SweepResult."""
    with_threads("read_sweep()")
    return whole(folder, "table.parquet", "read_result", partial(_read, made))


def _read(made: Callable[[], Any], place: Path) -> Any:
    run, sweep = run_of(place), made()
    sweep.table = table_of(place / "table.parquet", *run["axes"])
    sweep.timestamps = table_of(place / "bars.parquet", "timestamp")["timestamp"]
    with reading(place / "config.toml"):
        sweep.config, sweep.axes, sweep.run = read_config(place / "config.toml"), tuple(run["axes"]), 0
        sweep.engine, sweep._metrics, sweep.shape = run["engine"], list(run["metrics"]), tuple(run["shape"])
        sweep._priced, sweep.rounding, sweep.wall_seconds = run["priced"], run["rounding"], math.nan
        sweep.opening = np.broadcast_to(np.array(run["opening"], float), len(sweep)).copy()
        if (run["scenarios"], sweep.shape[0]) != (len(sweep), len(sweep.timestamps)):
            raise ValueError("table.parquet or bars.parquet is of another sweep")
    with reading(place / "table.parquet"):
        began = sweep.table[sweep.column("start")].to_physical().to_numpy()
        sweep._first = np.searchsorted(sweep.timestamps.to_physical().to_numpy(), began)
        for name in ("scenario", "status", "advice", *sweep._metrics):
            sweep.table[sweep.column(name)]
    sweep._equity = sweep._fetched = None
    if (path := place / "equity.parquet").is_file():
        frame = table_of(path, "timestamp")
        with reading(path):
            rows = frame.select(pl.col(str(k)).cast(pl.Float64) for k in range(len(sweep)))
            sweep._equity = rows.to_numpy().T.copy()
            if not frame["timestamp"].equals(sweep.timestamps):
                raise ValueError("it has other bars than bars.parquet")
    return sweep
