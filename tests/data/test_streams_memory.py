# SPDX-License-Identifier: Apache-2.0
"""A panel larger than the memory of its process goes through, and cannot be read whole there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from waits import HANGS

T, N, FIELDS = 2000, 2500, ("close", "open", "high", "vwap", "volume")

LIMITED = """
import hashlib, resource, sys, warnings
warnings.simplefilter("ignore")
import polars as pl
import gpu_bt as bt
folder, how, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
some = pl.scan_parquet(folder + "/*.parquet").head(20)
bt.run(bt.scan_panel(some, bars=1), some.select("timestamp", "asset", weight=pl.lit(0.01)))  # what is loaded once
if limit:
    used = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")][0] * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + limit, used + limit))
panel = (bt.read_panel if how == "whole" else bt.scan_panel)(folder + "/*.parquet")
if how == "stream":
    panel.bars = 50
weights = bt.read_weights(folder + "/books.pq", panel)
result = bt.run(panel, weights, bt.Config(rebalance="bar"))
grid = bt.sweep(panel, weights, None, {"slippage": [0.0, 1e-4]}, max_memory=80 << 20 if limit else None, equity=True)
print(hashlib.sha256(result.raw.money.tobytes() + grid.equity.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """200 MB of prices in four files, and a book of 50 assets a month."""
    out = tmp_path_factory.mktemp("large")
    rng, names = np.random.default_rng(0), [f"A{i:04}" for i in range(N)]
    days = np.datetime64("2000-01-03", "us") + np.arange(T) * np.timedelta64(1, "D")
    for a in range(0, T, 500):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (500, N)), axis=0)).ravel()
        keys = {"timestamp": np.repeat(days[a : a + 500], N), "asset": pl.Series(names * 500)}
        rows = pl.DataFrame(keys | {name: close * (1 + i / 1000) for i, name in enumerate(FIELDS)})
        rows.write_parquet(out / f"{a:04}.parquet", row_group_size=20 * N)
    picks = [names[i] for _ in days[::21] for i in rng.choice(N, 50, replace=False)]
    pl.DataFrame({"timestamp": np.repeat(days[::21], 50), "asset": picks, "weight": 0.02}).write_parquet(
        out / "books.pq"
    )
    return out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited as on Linux")
def test_a_panel_larger_than_the_memory(folder: Path):
    """The limit is on data: the address space also counts files that are mapped, which need no memory to stay."""

    def run(how: str, limit: int) -> subprocess.CompletedProcess:
        env = {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PATH": ""}
        given = [str(folder), how, str(limit)]
        return subprocess.run(
            [sys.executable, "-c", LIMITED, *given],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANGS, env=env,
        )  # fmt: skip

    limit = 120 << 20
    assert limit < T * N * 8 * len(FIELDS) and run("whole", limit).returncode != 0
    streamed, whole = run("stream", limit), run("whole", 0)
    assert streamed.returncode == whole.returncode == 0, (streamed.stderr[-2000:], whole.stderr[-2000:])
    assert streamed.stdout == whole.stdout and len(whole.stdout) > 60
