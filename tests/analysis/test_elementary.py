# SPDX-License-Identifier: Apache-2.0
"""Powers, logarithms and the normal distribution: the nearest float64, beside Python's decimal numbers."""

from __future__ import annotations

import decimal
import itertools
import math
from decimal import Decimal
from statistics import NormalDist

import numpy as np
import pytest
from compare import assert_bits
from extent import examples

from gpu_bt.analysis.elementary import log, normal_cdf, normal_quantile, power

EXACT = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])


def nearest_power(x: float, y: float) -> float:
    return float(EXACT.exp(EXACT.multiply(Decimal(y), EXACT.ln(Decimal(x)))))


DRAWS = {
    "growth of a run": lambda rng, n: (rng.uniform(0.2, 5.0, n), rng.uniform(0.01, 30.0, n)),
    "minutes, annualised": lambda rng, n: (1 + rng.normal(0, 0.01, n), rng.uniform(1e3, 1e5, n)),
    "all magnitudes": lambda rng, n: (np.exp(rng.uniform(-700, 700, n)), rng.normal(0, 1.5, n)),
    "nearly 1": lambda rng, n: (1 + rng.integers(-9, 9, n) * 2.0**-52, rng.normal(0, 1e15, n)),
    "subnormal numbers": lambda rng, n: (rng.uniform(0, 1, n) * 2.0**-1030, rng.uniform(0.9, 1.05, n)),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_powers_are_the_nearest(draw):
    x, y = DRAWS[draw](np.random.default_rng(1), examples(40_000) // 5)
    expected = [nearest_power(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
    assert_bits(draw, power(x, y), np.array(expected))


def test_numpy_is_not_the_nearest():
    """What the others are measured by can fail: NumPy's powers are not always."""
    x, y = DRAWS["all magnitudes"](np.random.default_rng(1), 2000)
    with np.errstate(over="ignore"):
        assert (np.power(x, y) != power(x, y)).any()


def test_special_values_of_powers():
    bases, exponents = [0.0, 1.0, math.inf, math.nan, 5e-324, 1.7e308, 0.5], [0.0, 1, -1, math.inf, -math.inf, math.nan]
    pairs = np.array(list(itertools.product(bases, [*exponents, 1e300, -1e300, 0.5, 2.0])))
    with np.errstate(all="ignore"):
        expected = np.power(pairs[:, 0], pairs[:, 1])
        assert_bits("special", power(pairs[:, 0], pairs[:, 1]), expected)
    assert power(np.zeros((2, 0)), np.zeros((2, 0))).shape == (2, 0)


def test_logarithms_are_the_nearest():
    rng = np.random.default_rng(2)
    x = np.concatenate([np.exp(rng.uniform(-700, 700, 3000)), 1 + rng.integers(-99, 99, 500) * 2.0**-52, [5e-324, 1.0]])
    assert [log(v) for v in x.tolist()] == [float(EXACT.ln(Decimal(v))) for v in x.tolist()]


def test_the_normal_distribution():
    """Beside the series in decimal numbers, and its inverse beside itself and Python's."""
    rng = np.random.default_rng(3)
    for x in [*rng.normal(0, 3, 200).clip(-8, 8).tolist(), -8.0, 0.0, 8.0]:
        with decimal.localcontext(EXACT):
            term, total, i = Decimal(x), Decimal(x), 3
            while abs(term) > Decimal("1e-60"):
                term *= Decimal(x) ** 2 / i
                total, i = total + term, i + 2
            density = (-(Decimal(x) ** 2) / 2).exp() * Decimal("0.3989422804014326779399460599343818684758636931")
            expected = float(Decimal("0.5") + density * total)
        assert abs(normal_cdf(x) - expected) <= 2e-16 * expected
    for p in [*rng.random(100).tolist(), 1e-15, 1e-6, 0.5, 1 - 1e-15]:
        x = normal_quantile(p)
        assert abs(x - NormalDist().inv_cdf(p)) <= 4e-15 * max(1.0, abs(x))
    assert normal_quantile(0.5) == 0.0 and normal_quantile(normal_cdf(-3.0)) == -3.0
    assert [normal_cdf(x) for x in (-math.inf, -13.0, 13.0, math.inf)] == [0.0, 0.0, 1.0, 1.0]
    assert normal_cdf(-11.0) == pytest.approx(1.910659574498e-28, rel=1e-9)
