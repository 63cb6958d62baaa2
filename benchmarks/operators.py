# SPDX-License-Identifier: Apache-2.0
"""The operators of `gpu_bt.books` beside reading their input once: `python -m benchmarks.operators [--quick] [--json]`.

Each is first compared with the same in plain NumPy (a loop over rows), which is timed beside it, as are Polars and
pandas where they have the operator, once each. Medians; "/ read" and "/ copy" are the medians of ratios to reading the
table once on one core (its sum) and to copying it, each measured right before, so that a busy machine falls on both: an
operator has to write what it makes as well. "holes": the same with 2 % NaN at random.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.machine import machine, versions
from gpu_bt import books

__all__ = ["Operator", "measure", "operators"]

#: Rows of a window, and of a long one.
WINDOW, LONG = 20, 252
#: (ours, plain NumPy, Polars or None, pandas or None); each takes a table of its library and the inputs.
Operator = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None, Callable[..., Any] | None]


def by_row(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """Plain NumPy across assets."""
    return lambda x, **_: np.array([function(row) for row in x])


def by_window(function: Callable[[np.ndarray], np.ndarray], n: int = WINDOW) -> Callable[..., np.ndarray]:
    """Plain NumPy along time."""

    def run(x: np.ndarray, **_: Any) -> np.ndarray:
        out = np.full(x.shape, np.nan)
        for t in range(n - 1, len(x)):
            out[t] = function(x[t - n + 1 : t + 1])
        return out

    return run


def _places(row: np.ndarray) -> np.ndarray:
    out = np.empty(len(row))
    out[np.argsort(-row, kind="stable")] = np.arange(len(row))
    return out


def _residual(x: np.ndarray, y: np.ndarray, **_: Any) -> np.ndarray:
    out = np.empty_like(x)
    for t in range(len(x)):
        design = np.column_stack([np.ones(x.shape[1]), y[t]])
        out[t] = x[t] - design @ np.linalg.lstsq(design, x[t])[0]
    return out


def _correlation(x: np.ndarray, y: np.ndarray, **_: Any) -> np.ndarray:
    out = np.full(x.shape, np.nan)
    for t in range(WINDOW - 1, len(x)):
        a, b = (v[t - WINDOW + 1 : t + 1] for v in (x, y))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        out[t] = (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return out


def _grouped(x: np.ndarray, groups: np.ndarray, **_: Any) -> np.ndarray:
    out = np.empty_like(x)
    for label in np.unique(groups):
        part = x[:, groups == label]
        out[:, groups == label] = (part - part.mean(axis=1, keepdims=True)) / part.std(axis=1, keepdims=True)
    return out


def _of(name: str, n: int = WINDOW) -> Operator:
    """A rolling operator that all have."""
    plain = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min,
             "std": lambda v, axis: np.std(v, axis=axis, ddof=1)}[name]  # fmt: skip
    return (
        lambda x, **_: getattr(books, f"rolling_{name}")(x, n),
        by_window(lambda v: plain(v, axis=0), n),
        lambda x, **_: x.select(getattr(pl.all(), f"rolling_{name}")(n)),
        lambda x, **_: getattr(x.rolling(n), name)(),
    )


def operators() -> dict[str, Operator]:
    """What is measured."""
    weights = np.arange(1.0, WINDOW + 1)[:, None]
    return {
        "rank": (lambda x, **_: books.rank(x), by_row(_places), None,
                 lambda x, **_: (-x).rank(axis=1, method="first") - 1),
        "zscore": (lambda x, **_: books.zscore(x), by_row(lambda v: (v - v.mean()) / v.std()), None,
                   lambda x, **_: x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1, ddof=0), axis=0)),
        "zscore, 11 groups": (lambda x, groups, **_: books.zscore(x, groups), _grouped, None, None),
        "demean": (lambda x, **_: books.demean(x), by_row(lambda v: v - v.mean()), None,
                   lambda x, **_: x.sub(x.mean(axis=1), axis=0)),
        "winsorise": (lambda x, **_: books.winsorise(x), by_row(lambda v: np.clip(v, *np.quantile(v, [0.01, 0.99]))),
                      None, None),
        "neutralise, 1 exposure": (lambda x, y, **_: books.neutralise(x, exposures=y), _residual, None, None),
        "delay": (lambda x, **_: books.delay(x), lambda x, **_: np.vstack([np.full((1, x.shape[1]), np.nan), x[:-1]]),
                  lambda x, **_: x.select(pl.all().shift(1)), lambda x, **_: x.shift(1)),
        "delta": (lambda x, **_: books.delta(x), by_window(lambda v: v[1] - v[0], 2),
                  lambda x, **_: x.select(pl.all().diff(1)), lambda x, **_: x.diff(1)),
        "decay": (lambda x, **_: books.decay(x, WINDOW),
                  by_window(lambda v: (v * weights).sum(axis=0) / weights.sum()), None, None),
        **{f"rolling_{name}": _of(name) for name in ("sum", "mean", "std", "max", "min")},
        "rolling_mean, 252 rows": _of("mean", LONG),
        "rolling_std, 252 rows": _of("std", LONG),
        "rolling_rank": (lambda x, **_: books.rolling_rank(x, WINDOW),
                         by_window(lambda v: (v < v[-1]).sum(axis=0) + ((v == v[-1]).sum(axis=0) + 1) / 2), None,
                         lambda x, **_: x.rolling(WINDOW).rank()),
        "rolling_corr": (lambda x, y, **_: books.rolling_corr(x, y, WINDOW), _correlation, None, None),
    }  # fmt: skip


def measure(bars: int = 2520, assets: int = 5000, repeats: int = 5, others: bool = True) -> dict[str, Any]:
    """Milliseconds of each operator, of each way to do it; RuntimeError where ours differs from plain NumPy."""
    g = np.random.default_rng(20)
    x, y = g.normal(size=(bars, assets)), g.normal(size=(bars, assets))
    holes = np.where(g.random(x.shape) < 0.02, np.nan, x)
    inputs = {"y": y, "groups": np.arange(assets) % 11}
    polars, pandas = pl.DataFrame(x), pd.DataFrame(x)
    rows: dict[str, Any] = {}
    for name, (ours, plain, in_polars, in_pandas) in operators().items():
        start = time.perf_counter()
        wanted = plain(x, **inputs)
        row: dict[str, Any] = {"numpy": (time.perf_counter() - start) * 1e3}
        if not np.allclose(ours(x, **inputs), wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
            raise RuntimeError(f"{name} is not what plain NumPy makes of it: nothing is timed")
        del wanted
        row["holes"] = _milliseconds(lambda f=ours: f(holes, **inputs), repeats)[0]
        times = [[_milliseconds(call, 1)[0] for call in (lambda f=ours: f(x, **inputs), x.sum, x.copy)]
                 for _ in range(repeats)]  # fmt: skip
        row["ours"] = statistics.median(one for one, _, _ in times)
        row["reads"] = statistics.median(one / read for one, read, _ in times)
        row["copies"] = statistics.median(one / copy for one, _, copy in times)
        for library, function, table in (("polars", in_polars, polars), ("pandas", in_pandas, pandas)):
            if function is not None and others:
                row[library] = _milliseconds(lambda f=function, t=table: f(t), 1)[0]
        rows[name] = row
    read, copy = _milliseconds(x.sum, 5), _milliseconds(x.copy, 5)
    return {"bars": bars, "assets": assets, "machine": machine(), "versions": versions(), "read": read[1],
            "copy": copy[1], "rows": rows}  # fmt: skip


def _milliseconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """The median of some calls, and the least."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - start)
        del found
    return statistics.median(seconds) * 1e3, min(seconds) * 1e3


def main() -> None:
    """Measure and print a table; `--json` prints one JSON line, `--quick` takes a small panel."""
    found = measure(252, 500, 3) if "--quick" in sys.argv[1:] else measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    print(f"{found['bars']}x{found['assets']}, {found['machine']}, {found['versions']}")
    print(f"milliseconds; reading the table once {found['read']:.1f}, copying it {found['copy']:.1f} (the least)\n")
    print("| Operator | gpu_bt | / read | / copy | with holes | plain NumPy | Polars | pandas |\n" + "|---" * 8 + "|")
    for name, row in found["rows"].items():
        others = " | ".join(f"{row[key]:,.0f}" if key in row else "-" for key in ("holes", "numpy", "polars", "pandas"))
        print(f"| {name} | {row['ours']:,.0f} | {row['reads']:.1f} | {row['copies']:.1f} | {others} |")


if __name__ == "__main__":
    main()
