# SPDX-License-Identifier: Apache-2.0
"""Another processor: NumPy, BLAS and libm without its vector instructions. No statistic, no made-up price differs."""

from __future__ import annotations

import functools
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import pytest
from faults.kit import faults, script, survived

KIND = "Other processors"
#: What is computed, by name, as digests; the last ones are NumPy's own, which show that something was switched off.
PROGRAM = """
import hashlib, json, warnings
import numpy as np
from gpu_bt.analysis import metrics, statistics
from gpu_bt.data import synthetic

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

warnings.simplefilter("ignore")
rng, found = np.random.default_rng(1), {}
cash, k = 1e6, 150
returns = rng.uniform(-0.02, 0.021, (k, 777))
equity, rest = cash * np.cumprod(1 + returns, axis=1), rng.uniform(0, 1e5, (len(metrics.MONEY) - 1, k, 777))
money = np.concatenate([equity[None], rest])
money[:, ::5, 300:] = np.nan
rows = metrics.equity_metrics(money, cash, rng.uniform(200, 300, k))
found |= {f"metric {name}": digest(values) for name, values in rows.items()}
found["returns"] = digest(metrics.returns(money[0], cash), metrics.drawdown(money[0], cash))
best = [statistics.deflated_sharpe_ratio(returns[i:], 1) for i in range(0, k - 5, 3)]
found["deflated Sharpe ratio"] = digest([(d.probability, d.sharpe, d.expected_best) for d in best])
found["expected best"] = digest([statistics.expected_best_sharpe(n, 0.3) for n in range(2, 500)])
over = statistics.probability_of_overfitting(returns, 10)
found["overfitting"] = digest(over.logits, over.in_sample, over.out_of_sample)
for messy in (False, True):
    panel = synthetic.synthetic_universe(300, 300, seed=3, messy=messy)
    for name in panel.fields:
        found[f"universe messy={messy}, {name}"] = digest(getattr(panel, name))
    found[f"weights messy={messy}"] = digest(synthetic.momentum_weights(panel), synthetic.random_weights(panel))
x = rng.uniform(0.5, 2.0, 100_000)
found["numpy"] = digest(np.power(x, 1.234), np.exp(x), np.log(x), x.reshape(100, 1000) @ x.reshape(1000, 100))
print(json.dumps(found))
"""
_core = getattr(np, "_core", None) or np.core
DISPATCHED = _core._multiarray_umath.__cpu_dispatch__
FOUND = [name for name in DISPATCHED if _core._multiarray_umath.__cpu_features__.get(name)]
#: What of the processor's is left out -> the environment.
WITHOUT = {
    "all vector instructions": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(FOUND),
        "OPENBLAS_CORETYPE": "Prescott",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX,-FMA4",
    },
    "the newest vector instructions": {"NPY_DISABLE_CPU_FEATURES": " ".join(FOUND[1:]), "OPENBLAS_CORETYPE": "Haswell"},
    "those of its library of mathematics": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX,-FMA4"},
}


@functools.cache
def bits(*without: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        done = script(PROGRAM, folder=Path(folder), **(WITHOUT[without[0]] if without else {}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(platform.machine() != "x86_64" or not FOUND, reason="NumPy has one set of functions here")
@faults(KIND, "survived", {name: name for name in WITHOUT}, "a processor without ")
def test_the_same_bits(value):
    here, there = bits(), dict(bits(value))
    if "mathematics" not in value:
        assert there["numpy"] != here["numpy"], "nothing was switched off"
    there["numpy"] = here["numpy"]
    survived({name for name in here if here[name] != there[name]}, set())
