# SPDX-License-Identifier: Apache-2.0
"""vectorbt beside this package: the same final equity first, then the same work timed, one after the other.

It needs its own environment, because its pins are not ours:
    python -m venv peers && peers/bin/pip install "vectorbt[rust]==1.2.0"
    python -m benchmarks.run --peers --peer-python peers/bin/python
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gpu_bt as bt
from benchmarks.cases import COSTS, Case, panel_of, weights_of
from benchmarks.measure import time_runs, whole_run

__all__ = ["check", "compare", "vectorbt_run"]

_SCRIPT = Path(__file__).with_name("peer_vectorbt.py")
#: call_seq="auto" sorts the orders of a bar, sells first, as this package settles them; "default" goes by column, so
#: that buys are refused for want of cash that later sells would have brought: less work, another result.
_VARIANTS = (("rust", "auto"), ("numba", "auto"), ("rust", "default"), ("numba", "default"))
#: Costs that both know in the same form: vectorbt's fixed fee is added to the commission, ours is a minimum.
_COSTS = {"fees": COSTS["commission_rate"], "slippage": COSTS["slippage"], "lot": 1.0}
_ZERO = {"fees": 0.0, "slippage": 0.0, "lot": 0.0}
#: Largest relative difference of equity, at any bar, that the frictionless check accepts: ours rounds each amount to
#: the ledger's grid, up to 7e-12 of the cash at the start, for 10 names at 252 bars.
TOLERANCE = 1e-8


def vectorbt_run(python: str, close: np.ndarray, weights: np.ndarray, **options: Any) -> tuple[dict, np.ndarray]:
    """What peer_vectorbt.py prints, and its equity (T,). RuntimeError with the last line of its output if it fails."""
    options = {"engine": "rust", "call_seq": "auto", "repeats": 1, "initial_cash": COSTS["initial_cash"]} | options
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "close.npy"), close)
        np.save(Path(folder, "weights.npy"), weights)
        command = [python, str(_SCRIPT), folder, json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"vectorbt did not run: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(Path(folder, "equity.npy"))


def check(python: str, engine: str = "numpy") -> dict[str, Any]:
    """Equity of both, fractional shares, no costs, filled at the same close; RuntimeError above TOLERANCE."""
    case = Case(252, 100, 0.1, 1)
    panel = panel_of(case)
    weights = weights_of(case, panel)
    config = bt.Config(initial_cash=COSTS["initial_cash"], lot=0, execution="same_close", cash_buffer=0)
    ours = bt.run(panel, weights, config, engine=engine).equity["equity"].to_numpy()
    _, theirs = vectorbt_run(python, panel.close, weights, **_ZERO)
    worst = float(np.max(np.abs(ours / theirs - 1.0)))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"equity differs from vectorbt's by {worst:.1e}, over {TOLERANCE:.0e}: nothing is timed")
    return {"check": "equity equals vectorbt's", "engine": engine, "worst": worst, "tolerance": TOLERANCE}


def compare(python: str, case: Case, engine: str, repeats: int) -> list[dict[str, Any]]:
    """Ours first, then one row per vectorbt variant: the same close, whole shares, commission and slippage.

    Theirs is timed for `from_orders` alone, ours for the whole run with checks, equity table and metrics. `equity_off`
    is the relative difference of the final equity: the two ration whole shares and scarce cash in different ways.
    """
    panel = panel_of(case)
    weights = weights_of(case, panel)
    config = bt.Config(**COSTS, execution="same_close", cash_buffer=0).replace(min_commission=0.0)
    size = {"bars": case.bars, "assets": case.assets, "density": case.density, "every": case.every}
    times = time_runs(lambda: whole_run(panel, weights, config, engine), repeats)
    final = bt.run(panel, weights, config, engine=engine).equity["equity"][-1]
    rows = [{"system": f"gpu-bt {engine}", **size, **times}]
    for name, sequence in _VARIANTS:
        found, equity = vectorbt_run(
            python, panel.close, weights, engine=name, call_seq=sequence, repeats=repeats, **_COSTS
        )
        seconds = float(np.median(found["seconds"]))
        rows.append(
            {
                "system": f'vectorbt {found["versions"]["vectorbt"]} {name}, call_seq="{sequence}"',
                **size,
                "seconds": seconds,
                "all_seconds": found["seconds"],
                "value_seconds": found["value_seconds"],
                "ratio": seconds / times["seconds"],
                "equity_off": float(equity[-1] / final - 1.0),
            }
        )
    return rows
