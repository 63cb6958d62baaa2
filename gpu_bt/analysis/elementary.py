# SPDX-License-Identifier: Apache-2.0
"""Functions whose bits depend on no processor and no library: those of libm and of NumPy differ in the last one.

They are computed in whole numbers, x*2**128, and rounded once. Letters: x, y numbers of float64, f a whole number.
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["log", "normal_cdf", "normal_quantile", "power"]

_BITS = 128
_ONE = 1 << _BITS
#: 1/sqrt(2*pi)
_DENSITY = int(Fraction("0.39894228040143267793994605993438186847585863116493465766592582967") * _ONE)


def _fixed(x: float) -> int:
    top, bottom = x.as_integer_ratio()
    return (top << _BITS) // bottom


def _series(coefficients: list[int], f: int) -> int:
    """A polynomial, its highest coefficient first."""
    total = 0
    for c in coefficients:
        total = (total * f >> _BITS) + c
    return total


#: 2*atanh(f)/f of f**2, and exp(f): what follows is less than a last bit where f is in [-0.18, 0.18] and [0, 0.7].
_ATANH = [2 * _ONE // i for i in range(53, 0, -2)]
_EXP = [_ONE // math.factorial(i) for i in range(32, -1, -1)]
_LN2 = int(Fraction("0.693147180559945309417232121458176568075500134360255254120680009") * _ONE)


def _log(x: float) -> int:
    """Of x in (0, inf): 2*atanh((m - 1)/(m + 1)) + e*log(2), x = m*2**e."""
    m, e = math.frexp(x)
    m, e = (2 * m, e - 1) if m < 0.7 else (m, e)
    f = _fixed(m)
    f = (f - _ONE) * _ONE // (f + _ONE)
    return (_series(_ATANH, f * f >> _BITS) * f >> _BITS) + e * _LN2


def _exp(f: int) -> tuple[int, int]:
    """(m, e), the exponential as m*2**e, m in [1, 2]."""
    e, rest = divmod(f, _LN2)
    return _series(_EXP, rest), e


def _power(x: float, y: float) -> float:
    if not 0 < x < math.inf or not math.isfinite(y) or y == 0 or x == 1:
        return float(np.power(x, y))  # which is exact, or NaN
    top, bottom = y.as_integer_ratio()
    f = _log(x) * top // bottom
    if abs(f) > 800 * _ONE:
        return math.inf if f > 0 else 0.0
    m, e = _exp(f)
    try:
        return (m << max(e, 0)) / (_ONE << max(-e, 0))
    except OverflowError:
        return math.inf


def power(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """x**y, the float64 nearest to it, of arrays of one shape: x >= 0, or NaN. inf beyond float64; as np.power where x
    is 0, inf or NaN or y is 0, infinite or NaN."""
    return np.array([_power(*pair) for pair in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]).reshape(
        x.shape
    )


def log(x: float) -> float:
    """The natural logarithm of x in (0, inf), the float64 nearest to it."""
    return _log(x) / _ONE


def _normal(f: int) -> tuple[int, int]:
    """(cumulated probability, density) of the normal distribution: 1/2 + density*(x + x**3/3 + x**5/(3*5) + ...)."""
    (m, e), square = _exp(-(f * f >> _BITS + 1)), f * f
    term, total, i = abs(f), 0, 1
    while term:
        total += term
        term, i = (term * square >> 2 * _BITS) // (i + 2), i + 2
    density = _DENSITY * m >> _BITS  # times 2**e
    half = density * total >> _BITS - e
    return _ONE // 2 + (half if f > 0 else -half), density >> -e


def normal_cdf(x: float) -> float:
    """Probability of a normal number up to x, to 2e-16 of it where x > -9; 0 below -12, 1 above 12. Source: Marsaglia
    2004, Evaluating the Normal Distribution, Journal of Statistical Software 11(4)."""
    return float(x > 0) if abs(x) > 12 else _normal(_fixed(x))[0] / _ONE


def normal_quantile(p: float) -> float:
    """The x at which `normal_cdf` is p, in [1e-20, 1 - 1e-16], the nearest float64: Newton's steps from Python's."""
    f = _fixed(NormalDist().inv_cdf(p))
    for _ in range(4):
        cumulated, density = _normal(f)
        f += (_fixed(p) - cumulated) * _ONE // density
    return f / _ONE
