# SPDX-License-Identifier: Apache-2.0
"""Honest statistics of a sweep: the best of many scenarios looks better than it is, and by how much.

Letters: K scenarios (trials), T bars, r returns per bar, SR a Sharpe ratio per bar (mean/standard deviation, not
annualised), S blocks of bars. `gpu_bt.analysis.metrics.returns(sweep.equity, cash)` gives the (K, T) returns.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from gpu_bt.analysis.elementary import log, normal_cdf, normal_quantile
from gpu_bt.analysis.metrics import given, idle_start
from gpu_bt.arguments import flag, must_be
from gpu_bt.errors import ConfigError

__all__ = [
    "Deflated", "Overfitting", "deflated_sharpe_ratio", "expected_best_sharpe", "probability_of_overfitting",
    "sharpe_probability", "walk_forward",
]  # fmt: skip

#: What float64 makes of a return, E/E, and of a variance, relative to the squares it is the rest of.
_RATIO, _SQUARES = 2.0**-50, 2.0**-48
#: What a ledger's rounding may make of a return while equity is what it was at first: three of its ticks, 2**-36 each,
#: as `gpu_bt.analysis.metrics.rounding_of` has it for one asset.
_ROUNDING = 3 * 2.0**-36
#: Numbers of the combinations looked at together, times scenarios: it bounds the memory. No block of bars is meant.
_BLOCK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Deflated:
    """`deflated_sharpe_ratio`'s answer. probability: that the scenario's true SR is above what the best of `trials`
    worthless ones would show, `expected_best`. sharpe, expected_best: per bar. scenario: its row."""

    probability: float
    sharpe: float
    expected_best: float
    trials: float
    scenario: int


@dataclasses.dataclass(frozen=True, eq=False)
class Overfitting:
    """`probability_of_overfitting`'s answer; an entry per combination of blocks, (C,).

    probability: share of logits <= 0.   logits: of the relative rank out of sample of what was best in sample.
    in_sample, out_of_sample: its SR in both halves.   loss: share of out_of_sample < 0.
    """

    probability: float
    loss: float
    logits: np.ndarray
    in_sample: np.ndarray
    out_of_sample: np.ndarray


def sharpe_probability(sharpe: float, bars: int, skew: float, kurtosis: float, benchmark: float = 0.0) -> float:
    """Probability that a true SR is above a benchmark, given the SR measured (the probabilistic Sharpe ratio).

    Phi((SR - SR*) * sqrt(T - 1) / sqrt(1 - skew*SR + (kurtosis - 1)/4*SR**2)), Phi the normal distribution.
    sharpe, benchmark: per bar.   bars: T.   skew, kurtosis: of the returns; 0 and 3 for normal ones.
    NaN where one of them is, and where the root is of no positive number.
    Source: Bailey and Lopez de Prado 2012, The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2).
    """
    numbers = {"sharpe": sharpe, "skew": skew, "kurtosis": kurtosis, "benchmark": benchmark}
    sharpe, skew, kurtosis, benchmark = (float(given(name, x, ())) for name, x in numbers.items())
    length = float(given("bars", bars, (), "a number >= 1", lambda x: x >= 1))
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * (sharpe * sharpe)
    if not 0 < spread < math.inf or math.isnan(benchmark):
        return math.nan
    return normal_cdf((sharpe - benchmark) * math.sqrt(length - 1) / math.sqrt(spread))


def expected_best_sharpe(trials: float, variance: float) -> float:
    """The highest SR that `trials` independent worthless scenarios are expected to show.

    sqrt(variance)*((1 - g)*Phi^-1(1 - 1/K) + g*Phi^-1(1 - 1/(K*e))), g = 0.5772... (Euler, Mascheroni); 0 for one.
    trials: K >= 1.   variance: of the trials' SR, per bar.   Source: Bailey and Lopez de Prado 2014, The Deflated
    Sharpe Ratio, Journal of Portfolio Management 40(5), equation 1.
    """
    trials = float(given("trials", trials, (), "a number in [1, 1e15]", lambda x: (x >= 1) & (x <= 1e15)))
    variance = float(given("variance", variance, (), "a number >= 0", lambda x: x >= 0))
    if trials == 1:
        return 0.0
    far, farther = (-normal_quantile(1.0 / (trials * f)) for f in (1.0, math.e))
    return math.sqrt(variance) * ((1.0 - np.euler_gamma) * far + np.euler_gamma * farther)


def deflated_sharpe_ratio(
    returns: np.ndarray, scenario: int | None = None, trials: float | None = None, *, rounding: float = _ROUNDING
) -> Deflated:
    """How sure one may be that the best scenario of a sweep is better than the luck of so many trials.

    sharpe_probability(SR, T, skew, kurtosis, benchmark=expected_best_sharpe(trials, variance of all SR)).
    returns: (K, T), K >= 2; NaN before a scenario's start and after its end is left out, and so is a row of fewer than
    2 returns: it is no trial, and its own answer is NaN.   scenario: the row; None = the highest SR.
    trials: independent trials; None = all of them, which is strict, as scenarios of a grid resemble each other.
    rounding: what the ledger's rounding can make of a return while equity is what it was before the first one; as
    equity grows, it makes less. 3*2**-36 = three ticks of the default ledger; else rounding_of(tick, assets)/equity, as
    `SweepResult.rounding` has it.
    A scenario without dispersion, whose returns all lie within that of one number (a first one of 0 aside, as no time
    passes before a run's first bar), has SR 0.
    Source: Bailey and Lopez de Prado 2014 (as above), equation 2.
    """
    returns, trial = _rows(returns)
    alive = ~np.isnan(returns)
    noise = _noise(returns, rounding)
    rated = alive & ~idle_start(returns, noise, alive)
    flat = np.where(rated, returns - noise, -np.inf).max(axis=1) <= np.where(rated, returns + noise, np.inf).min(axis=1)
    n = np.maximum(alive.sum(axis=1), 1)
    centred = np.where(alive, returns - (np.nansum(returns, axis=1) / n)[:, None], 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1) / np.maximum(n - 1, 1))
    sharpe = np.where(flat, 0.0, np.nansum(returns, axis=1) / n / np.where(flat, 1.0, deviation))
    if scenario is not None:
        place = f"a row, {-len(sharpe)} to {len(sharpe) - 1}"
        given("scenario", scenario, (), place, lambda x: (x == np.floor(x)) & (-len(sharpe) <= x) & (x < len(sharpe)))
    k = int(np.where(trial, sharpe, -np.inf).argmax()) if scenario is None else int(scenario)
    own, squares = centred[k], centred[k] * centred[k]
    second, third, fourth = (float(x.sum() / n[k]) for x in (squares, squares * own, squares * squares))
    root = second * math.sqrt(second)
    skew, kurtosis = (0.0, 3.0) if flat[k] else (third / root, fourth / (second * second))
    count = float(given("trials", trial.sum() if trials is None else trials, ()))
    best = expected_best_sharpe(count, float(sharpe[trial].var(ddof=1)))
    value = float(sharpe[k]) if trial[k] else math.nan
    return Deflated(sharpe_probability(value, int(n[k]), skew, kurtosis, best), value, best, count, k)


def probability_of_overfitting(returns: np.ndarray, blocks: int = 16, *, rounding: float = _ROUNDING) -> Overfitting:
    """Probability that the scenario that is best in sample does worse than the median out of sample (CSCV).

    The bars are cut into S equal blocks (the first T % S bars are left out; so is a first bar in which nothing moves,
    as no time passes before it). Each of the C = S!/((S/2)!)**2 ways to take half of them is a sample, the other half
    the test: the scenario with the highest SR in the sample has rank w of K in the test (ties share the mean rank),
    u = w/(K + 1), logit = ln(u/(1 - u)).
    returns: (K, T), K >= 2; NaN before a scenario's start and after its end counts as 0, and a row of fewer than 2
    returns is left out.   blocks: S, even, in [2, 20], of 2 bars or more.   rounding: as in `deflated_sharpe_ratio`.
    A half whose standard deviation is not above it has SR 0.   Memory: C*S + 2**18 numbers at a time.
    Source: Bailey, Borwein, Lopez de Prado and Zhu 2015, The Probability of Backtest Overfitting, Journal of
    Computational Finance, section 3.
    """
    rows, trial = _rows(returns)
    rows = rows[trial]
    rows = rows if np.nan_to_num(rows[:, 0]).any() else rows[:, 1:]
    returns, noise = np.nan_to_num(rows), _noise(rows, rounding)
    k, t = returns.shape
    if not isinstance(blocks, (int, np.integer)) or blocks % 2 or not 2 <= blocks <= min(20, t // 2):
        must_be("blocks", blocks, f"even, in [2, 20], and leave 2 of the {t} bars for each")
    size = t // blocks
    by_block, noise = (x[:, t - size * blocks :].reshape(k, blocks, size) for x in (returns, noise))
    rounded = (noise**2).sum(axis=2).T
    means = by_block.mean(axis=(1, 2))  # taken off first, so that the squares of small deviations are summed
    sums = (by_block - means[:, None, None]).sum(axis=2).T
    squares = ((by_block - means[:, None, None]) ** 2).sum(axis=2).T
    halves = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    chosen = np.zeros((len(halves), blocks))
    np.put_along_axis(chosen, halves, 1.0, axis=1)
    count = size * blocks // 2
    parts: list[np.ndarray] = []
    step = max(1, _BLOCK // k)
    for a in range(0, len(chosen), step):
        some = chosen[a : a + step]
        inside, outside = (
            _sharpe(_of_blocks(half, sums), _of_blocks(half, squares), _of_blocks(half, rounded), means, count)
            for half in (some, 1 - some)
        )
        best = inside.argmax(axis=1)[:, None]
        value = np.take_along_axis(outside, best, axis=1)
        rank = ((outside < value).sum(axis=1) + (outside <= value).sum(axis=1) + 1) / 2.0
        parts.append(np.array([rank, np.take_along_axis(inside, best, axis=1)[:, 0], value[:, 0]]))
    rank, inside, outside = np.concatenate(parts, axis=1)
    ranks, place = np.unique(rank, return_inverse=True)
    logits = np.array([log(w / (k + 1 - w)) for w in ranks.tolist()])[place]
    return Overfitting(float((logits <= 0).mean()), float((outside < 0).mean()), logits, inside, outside)


def walk_forward(
    bars: int, train: int, test: int, *, gap: int = 0, expanding: bool = False
) -> Iterator[tuple[slice, slice]]:
    """(train, test) slices of bars, the tests one after another without overlap, each after its own training.

    bars: T.   train, test: bars of each; a last, shorter test is given too.   gap: bars left out between them, as many
    as a signal or a label reaches.   expanding: training begins at bar 0 and grows.   Raises ConfigError where none
    fits. Source: Pardo 2008, The Evaluation and Optimization of Trading Strategies, chapter 11.
    """
    numbers = {"bars": bars, "train": train, "test": test, "gap": gap}
    for name, value in numbers.items():
        given(name, value, (), "a whole number", lambda x: x == np.floor(x))
    bars, train, test, gap = map(int, numbers.values())
    expanding = flag("expanding", expanding)
    if min(train, test) < 1 or gap < 0 or train + gap >= bars:
        raise ConfigError(f"train={train}, gap={gap} and test={test} do not fit into {bars} bars: each >= 1, gap >= 0")
    for start in range(train + gap, bars, test):
        yield slice(0 if expanding else start - gap - train, start - gap), slice(start, min(bars, start + test))


def _rows(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, T) float64, checked, and (K,) which rows are trials: they have 2 returns."""
    rule = "a number in [-1e60, 1e60], or NaN where a scenario has none"  # the fourth powers stay in float64
    rows = given("returns", returns, None, rule, lambda x: ~(np.abs(x) > 1e60))
    trial = np.count_nonzero(~np.isnan(rows), axis=-1) > 1
    if rows.ndim != 2 or rows.shape[1] < 3 or np.count_nonzero(trial) < 2:
        found = f"shape {rows.shape}" + f", {np.count_nonzero(trial)} rows with 2 returns" * (rows.ndim == 2)
        raise ConfigError(f"returns has {found}: it must be (K, T), 2 scenarios with returns and 3 bars at least")
    return rows, trial


def _of_blocks(chosen: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """(C, K) sums of (S, K) numbers over the blocks that the rows of (C, S) choose, added block by block: a matrix
    product adds them as suits the processor."""
    total = np.zeros((len(chosen), blocks.shape[1]))
    for column, block in zip(chosen.T, blocks, strict=True):
        total += column[:, None] * block
    return total


def _noise(returns: np.ndarray, rounding: float) -> np.ndarray:
    """(K, T) what rounding may make of each return: less, the more equity there is; nothing where it is gone."""
    given("rounding", rounding, (), "a number >= 0, a fraction of the first equity", lambda x: x >= 0)
    with np.errstate(over="ignore"):
        grown = np.cumprod(1.0 + np.nan_to_num(returns[:, :-1]), axis=1)
    before = np.concatenate([np.ones((len(returns), 1)), np.abs(grown)], axis=1)
    left = before > rounding
    noise: np.ndarray = _RATIO + np.where(left, rounding / np.where(left, before, 1.0), 0.0)
    return noise


def _sharpe(sums: np.ndarray, squares: np.ndarray, rounded: np.ndarray, means: np.ndarray, count: int) -> np.ndarray:
    """(C, K) SR of halves of `count` bars from sums and squares of returns less their means; rounded: sums of squares
    that rounding alone may make."""
    offset = sums / count
    spread = squares - offset * sums
    real = spread > rounded + _SQUARES * squares
    return np.where(real, (means + offset) / np.sqrt(np.where(real, spread, 1.0) / (count - 1)), 0.0)
