# SPDX-License-Identifier: Apache-2.0
"""Which variants of the kernel the timed cases take: found by planning each on a few bars, without compiling it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_bench import CASES, Bench, spec_of
from benchmarks.gpu_bits import FEW, KINDS, configs, drawn, few_draws
from benchmarks.gpu_steps import FIRST, tests_on_path
from gpu_bt.data.panel import Panel
from gpu_bt.engine.spec import RunSpec

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context
    from gpu_bt.cuda.engine import CudaEngine

__all__ = ["variants"]

#: Bars that are planned: as many as have a target and an order.
_BARS = 4
#: Variants that are compiled at once.
_MOST = 40


class _Planned(Exception):
    """Raised where the kernel would be compiled."""


def variants(context: Context, every: bool) -> list[dict[str, Any]]:
    """As dictionaries, each once, the most wanted first: those of the first two cases, or of all, of own float32
    weights, and of what is not plain and not lean."""
    bench = Bench(context, warm=False)
    specs = [_few(bench, density, bench.many if many else 1) for _, density, _, many in (CASES if every else CASES[:2])]
    if every:
        specs += [_few(bench, density, bench.many, np.float32) for density in (1.0, 0.1)]
        specs += [_few(bench, 1.0, count, given={"max_weight": 1.0}) for count in (1, bench.many)]
        specs += [_few(bench, 1.0, count, given={"fixed_commission": 1.0}) for count in (1, bench.many)]
    from gpu_bt.cuda.engine import ENGINE, CudaEngine

    found = [_planned(spec, ENGINE) for spec in specs]
    if not context.emulate:  # and of the few scenarios that are drawn first, and for a sanitizer
        tests_on_path()
        specs = [drawn(*draw) for draw in few_draws(KINDS if every else (FIRST,))]
        found += [_planned(spec, CudaEngine(*how[1:], how[0])) for spec, how in itertools.product(specs, FEW)]
    found += [dataclasses.replace(variant, general=True) for variant in found]  # for bars that are not plain
    return [dataclasses.asdict(variant) for variant in dict.fromkeys(found)][:_MOST]


def _few(
    bench: Bench, density: float, count: int, dtype: Any = np.float64, given: dict[str, Any] | None = None
) -> RunSpec:
    """The first bars of a case."""
    full = bench.panel
    panel = Panel(full.close[:_BARS], open=full.open[:_BARS], timestamps=full.timestamps[:_BARS], assets=full.assets)
    book = np.ascontiguousarray(bench.weights(density)[:_BARS], dtype)
    return spec_of(panel, (book,), count, [config.replace(**(given or {})) for config in configs(count)])


def _planned(spec: RunSpec, by: CudaEngine) -> Any:
    """The Variant that a run takes."""
    from gpu_bt.cuda import lanes

    honest, seen = lanes.kernel, []

    def planned(_: Any, variant: Any) -> Any:
        seen.append(variant)
        raise _Planned

    lanes.kernel = planned
    try:
        by.open(spec).advance(0, 1)
    except _Planned:
        pass
    finally:
        lanes.kernel = honest
    return seen[0]
