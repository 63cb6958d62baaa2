# SPDX-License-Identifier: Apache-2.0
"""A simpler model of the same work in JAX: `lax.scan` over bars, `vmap` over scenarios, float64.

Target weights, next-open fills, slippage, commission with a minimum, whole lots and one cut of all buys where cash
lacks; no exact ledger, no second look at scarce cash, no missing prices, no statuses: its equity is near ours, not
equal.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import COSTS
from benchmarks.gpu_bits import run_cut
from gpu_bt.engine.registry import resolve

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["measure", "model"]

_BUFFER = 0.0025
#: Largest relative difference of the final equity that still counts as the same work.
_NEAR = 0.02


def model(jax: Any) -> Any:
    """(opening, close, weights) (T, N), rates (K,) -> equity (K, T), compiled."""
    jnp = jax.numpy
    cash, slippage, minimum = COSTS["initial_cash"], COSTS["slippage"], COSTS["min_commission"]

    def simulate(opening: Any, close: Any, weights: Any, rate: Any) -> Any:
        def bar(state: Any, rows: Any) -> Any:
            money, held, target = state
            price, mark, weight = rows
            order = target - held
            value = jnp.abs(order) * price
            move = value * slippage
            drag = move + jnp.where(order != 0.0, jnp.maximum((value + jnp.sign(order) * move) * rate, minimum), 0.0)
            buys = order > 0.0
            need, got = jnp.sum(jnp.where(buys, value + drag, 0.0)), jnp.sum(jnp.where(buys, 0.0, value - drag))
            part = jnp.where(need > money + got, jnp.maximum((money + got) / need, 0.0), 1.0)
            fill = jnp.where(buys, jnp.trunc(order * part), order)
            money = money - jnp.sum(fill * price) - jnp.sum(drag * jnp.where(buys, part, 1.0))
            held = held + fill
            equity = money + jnp.sum(held * mark)
            return (money, held, jnp.trunc(weight * (equity * (1.0 - _BUFFER)) / mark)), equity

        nothing = jnp.zeros(close.shape[1])
        return jax.lax.scan(bar, (jnp.float64(cash), nothing, nothing), (opening, close, weights))[1]

    return jax.jit(jax.vmap(simulate, in_axes=(None, None, None, 0)))


def measure(context: Context) -> None:
    """Rows for one scenario and for many; compared with the NumPy engine first."""
    try:
        import jax
    except ImportError as exc:
        context.emit("skipped", step="jax", reason=f"{exc.name} is not installed")
        return
    from benchmarks.gpu_bench import Bench, spec_of

    jax.config.update("jax_enable_x64", True)
    place = jax.devices()[0]
    bench, run = Bench(context), model(jax)
    for density in (1.0, 0.1):
        book = bench.weights(density)
        arrays = [jax.device_put(a, place) for a in (bench.panel.open, bench.panel.close, book)]
        for count in (bench.many, 1):
            if context.late():
                context.emit("left_out", case=f"jax, {density:.0%}, {count}", reason="time")
                continue
            spec = spec_of(bench.panel, (book,), count)
            rates = jax.device_put(spec.params["commission_rate"].copy(), place)
            start = time.perf_counter()
            equity = np.asarray(run(*arrays, rates))
            cold, seconds = time.perf_counter() - start, []
            ours = run_cut(resolve("numpy"), spec_of(bench.panel, (book,), 1), 0)[0].money[0, 0]
            off = float(equity[0, -1] / ours[-1] - 1.0)
            for _ in range(3):
                start = time.perf_counter()
                run(*arrays, rates).block_until_ready()
                seconds.append(time.perf_counter() - start)
            context.emit(
                "jax", platform=place.platform, jax=jax.__version__, bars=bench.bars, assets=bench.assets,
                density=density, every=1, scenarios=count, cold_seconds=cold, seconds=statistics.median(seconds),
                all_seconds=seconds, repeats=3, equity_off=off, near=abs(off) < _NEAR,
            )  # fmt: skip
