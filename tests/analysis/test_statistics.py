# SPDX-License-Identifier: Apache-2.0
"""Statistics of many trials: the published example, brute force, and cases known beforehand."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest

from gpu_bt import ConfigError
from gpu_bt.analysis.statistics import (
    deflated_sharpe_ratio,
    expected_best_sharpe,
    probability_of_overfitting,
    sharpe_probability,
    walk_forward,
)

YEAR = 250
#: Bailey and Lopez de Prado 2014, "A numerical example": an annual SR of 2.5 over 5 years of daily returns with skew -3
#: and kurtosis 10, the best of 100 trials whose annual SRs have a variance of 1/2.
SHARPE, BARS, VARIANCE = 2.5 / math.sqrt(YEAR), 5 * YEAR, 0.5 / YEAR


def test_the_numerical_example_of_the_2014_paper():
    best = expected_best_sharpe(100, VARIANCE)
    assert round(best, 4) == 0.1132
    assert round(sharpe_probability(SHARPE, BARS, -3, 10, best), 4) == 0.9004


@pytest.mark.parametrize(("trials", "skew", "kurtosis"), [(46, -3, 10), (88, 0, 3)])
def test_its_numbers_of_trials_for_95_percent(trials: int, skew: float, kurtosis: float):
    found = sharpe_probability(SHARPE, BARS, skew, kurtosis, expected_best_sharpe(trials, VARIANCE))
    assert round(found, 4) == 0.9505


def test_a_normal_sample_of_one_trial_is_a_test_of_the_mean():
    """SR/standard error with T - 1 = 100 and SR = 0.1 and no higher moments but the normal's: Phi(1/sqrt(1.005))."""
    assert sharpe_probability(0.1, 101, 0, 3) == pytest.approx(
        statistics.NormalDist().cdf(1 / math.sqrt(1.005)), abs=1e-15
    )
    assert sharpe_probability(0.1, 101, 0, 3, 0.1) == 0.5
    assert math.isnan(sharpe_probability(1.0, 100, 2.0, 1.0))


def test_the_expected_best_is_what_drawn_trials_show():
    """The mean of the highest of K standard normals, drawn: within four standard errors and the formula's error."""
    rng = np.random.default_rng(1)
    for k in (10, 100, 1000):
        highest = rng.normal(size=(4000, k)).max(axis=1)
        error = 4 * highest.std() / math.sqrt(len(highest)) + 0.02
        assert abs(expected_best_sharpe(k, 1.0) - highest.mean()) < error
    assert expected_best_sharpe(1, 1.0) == 0.0
    assert expected_best_sharpe(50, 4.0) == 2 * expected_best_sharpe(50, 1.0)
    for trials, variance in ((0, 1.0), (2, -1.0), (math.nan, 1.0)):
        with pytest.raises(ConfigError, match=r"must be a number (in \[1, 1e15\]|>= 0)"):
            expected_best_sharpe(trials, variance)


def by_hand(rows: list[list[float]], k: int) -> float:
    """The deflated ratio in plain Python."""
    sharpes = [statistics.mean(r) / statistics.stdev(r) for r in rows]
    row, sr = rows[k], sharpes[k]
    mean, sd = statistics.mean(row), statistics.pstdev(row)
    skew = statistics.mean([((x - mean) / sd) ** 3 for x in row])
    kurtosis = statistics.mean([((x - mean) / sd) ** 4 for x in row])
    normal, trials = statistics.NormalDist(), len(rows)
    euler = 0.5772156649015329
    z = (1 - euler) * normal.inv_cdf(1 - 1 / trials) + euler * normal.inv_cdf(1 - 1 / (trials * math.e))
    best = math.sqrt(statistics.variance(sharpes)) * z
    return normal.cdf((sr - best) * math.sqrt(len(row) - 1) / math.sqrt(1 - skew * sr + (kurtosis - 1) / 4 * sr**2))


def test_the_deflated_ratio_of_returns_is_that_by_hand():
    rng = np.random.default_rng(2)
    rows = rng.standard_t(5, (7, 60)) * 0.01 + 0.001
    found = deflated_sharpe_ratio(rows)
    sharpes = rows.mean(axis=1) / rows.std(axis=1, ddof=1)
    assert found.scenario == sharpes.argmax() and found.sharpe == pytest.approx(sharpes.max(), rel=1e-13)
    assert found.probability == pytest.approx(by_hand(rows.tolist(), found.scenario), rel=1e-12)
    assert deflated_sharpe_ratio(rows, scenario=2).probability == pytest.approx(by_hand(rows.tolist(), 2), rel=1e-12)
    assert (
        deflated_sharpe_ratio(rows, trials=2).probability
        > found.probability
        > deflated_sharpe_ratio(rows, trials=500).probability
    )


def test_what_ended_is_judged_by_its_own_bars():
    rng = np.random.default_rng(3)
    rows = rng.normal(0.001, 0.01, (3, 50))
    rows[1, 30:] = np.nan
    rows[2] = 0.0
    sharpe = rows[1, :30].mean() / rows[1, :30].std(ddof=1)
    assert deflated_sharpe_ratio(rows, scenario=1).sharpe == pytest.approx(sharpe, rel=1e-13)
    flat = deflated_sharpe_ratio(rows, scenario=2)
    assert flat.sharpe == 0.0 and 0 < flat.probability < 0.5


def overfitting_by_hand(rows: np.ndarray, blocks: int) -> list[float]:
    """The logits, combination by combination."""
    k, size = len(rows), rows.shape[1] // blocks
    rows = rows[:, rows.shape[1] - size * blocks :]
    logits = []
    for half in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([np.arange(b * size, (b + 1) * size) for b in half])
        outside = np.setdiff1d(np.arange(size * blocks), inside)

        def sharpe(row: np.ndarray) -> float:
            return row.mean() / row.std(ddof=1)

        best = max(range(k), key=lambda i, inside=inside: sharpe(rows[i, inside]))
        tests = [sharpe(rows[i, outside]) for i in range(k)]
        u = sorted(tests).index(tests[best]) + 1
        logits.append(math.log(u / (k + 1) / (1 - u / (k + 1))))
    return logits


@pytest.mark.parametrize(("shape", "blocks"), [((5, 40), 4), ((9, 67), 6), ((4, 64), 8), ((2, 4), 2)])
def test_overfitting_is_that_by_brute_force(shape: tuple[int, int], blocks: int):
    rows = np.random.default_rng(shape[0]).normal(0.0005, 0.01, shape)
    found, wanted = probability_of_overfitting(rows, blocks), overfitting_by_hand(rows, blocks)
    assert len(wanted) == math.comb(blocks, blocks // 2)
    np.testing.assert_allclose(found.logits, wanted, rtol=1e-12, atol=1e-12)
    assert found.probability == sum(x <= 0 for x in wanted) / len(wanted)
    assert found.loss == (found.out_of_sample < 0).mean()


def test_skill_is_not_overfitting_and_its_mirror_is():
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (20, 480))
    skill = noise.copy()
    skill[7] += 0.005
    assert probability_of_overfitting(skill).probability == 0.0
    assert len(probability_of_overfitting(skill).logits) == 12870
    # Each row earns in one half what it loses in the other: what is best in sample is worst out of it.
    mirror = np.concatenate([noise[:, :240] * 0, noise[:, :240] * 0], axis=1)
    mirror += np.random.default_rng(5).normal(0, 1e-4, mirror.shape)
    tilt = np.linspace(-0.01, 0.01, 20)[:, None]
    mirror[:, :240] += tilt
    mirror[:, 240:] -= tilt
    assert probability_of_overfitting(mirror, 2).probability == 1.0


def test_of_worthless_trials_about_half_are_overfitted():
    found = [
        probability_of_overfitting(np.random.default_rng(i).normal(0, 1, (30, 240)), 8).probability for i in range(40)
    ]
    assert 0.4 < np.mean(found) < 0.65


def test_the_size_of_the_blocks_of_work_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    from gpu_bt.analysis import statistics as module

    rows = np.random.default_rng(6).normal(0, 1, (11, 90))
    whole = probability_of_overfitting(rows, 8)
    monkeypatch.setattr(module, "_BLOCK", 50)
    np.testing.assert_allclose(probability_of_overfitting(rows, 8).logits, whole.logits, rtol=1e-12)


def test_rows_that_tie_share_their_rank_and_what_ended_earns_nothing():
    row = np.random.default_rng(7).normal(0, 1, 40)
    assert set(probability_of_overfitting(np.array([row, row, row]), 4).logits) == {0.0}
    ended = np.array([row, np.concatenate([row[:20], np.full(20, np.nan)])])
    filled = np.array([row, np.concatenate([row[:20], np.zeros(20)])])
    assert (probability_of_overfitting(ended, 4).logits == probability_of_overfitting(filled, 4).logits).all()


@pytest.mark.parametrize("blocks", [0, 3, 22, 12, 2.0])
def test_blocks_that_do_not_fit_are_refused(blocks: object):
    with pytest.raises(ConfigError, match=r"blocks is .*: it must be even"):
        probability_of_overfitting(np.ones((3, 20)), blocks)


@pytest.mark.parametrize("shape", [(20,), (1, 20), (3, 2)])
def test_returns_that_are_no_trials_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ConfigError, match="it must be"):
        deflated_sharpe_ratio(np.ones(shape))


def test_walk_forward_by_hand():
    def splits(*given: int, **options: object) -> list[tuple[int, int, int, int]]:
        return [(a.start, a.stop, b.start, b.stop) for a, b in walk_forward(*given, **options)]

    assert splits(10, 4, 3) == [(0, 4, 4, 7), (3, 7, 7, 10)]
    assert splits(11, 4, 3, gap=1) == [(0, 4, 5, 8), (3, 7, 8, 11)]
    assert splits(9, 4, 3, expanding=True) == [(0, 4, 4, 7), (0, 7, 7, 9)]
    for given in ((10, 0, 3), (10, 4, 0), (10, 10, 1)):
        with pytest.raises(ConfigError, match="do not fit"):
            splits(*given)


def yields(bars: int, seed: int = 0) -> np.ndarray:
    """1e-4 a bar, on the grid of a ledger of 1e6: dispersion that rounding made."""
    equity = (
        np.rint(1e6 * 1.0001 ** np.arange(bars + 1) * 2**17 + np.random.default_rng(seed).uniform(-0.5, 0.5)) / 2**17
    )
    return equity[1:] / equity[:-1] - 1


def test_a_fixed_yield_has_no_sharpe_ratio_and_is_never_the_best():
    moving = np.random.default_rng(3).normal(3e-4, 0.01, (3, 500))
    rows = np.vstack([moving, yields(500)])
    assert np.std(rows[3]) > 0
    found = deflated_sharpe_ratio(rows, scenario=3)
    assert found.sharpe == 0.0 and found.probability < 0.5
    assert deflated_sharpe_ratio(rows).scenario != 3
    flat = np.vstack([moving, np.zeros(500)])
    assert deflated_sharpe_ratio(rows, 1) == deflated_sharpe_ratio(flat, 1)
    assert deflated_sharpe_ratio(rows, scenario=3, rounding=0.0).sharpe > 1e6  # what it is without


def test_halves_of_a_fixed_yield_are_never_the_best():
    """In cash for its first half, at a yield, in the market after that."""
    moving = np.random.default_rng(4).normal(0, 0.01, (4, 640))
    moving[3, :320] = yields(320)
    found = probability_of_overfitting(moving, 4)
    assert np.abs(found.in_sample).max() < 1.0
    from_the_start = np.concatenate([np.zeros((4, 1)), moving], axis=1)  # no time passes before a run's first bar
    assert probability_of_overfitting(from_the_start, 4).in_sample.tolist() == found.in_sample.tolist()
    assert np.abs(probability_of_overfitting(moving, 4, rounding=0.0).in_sample).max() > 1e3


def test_small_but_real_dispersion_has_a_sharpe_ratio():
    rng = np.random.default_rng(5)
    rows = rng.normal(0.01, 0.01, (3, 400))
    rows[2] = 1e-4 + rng.normal(0, 1e-9, 400)
    assert deflated_sharpe_ratio(rows, scenario=2).sharpe == pytest.approx(
        rows[2].mean() / rows[2].std(ddof=1), rel=1e-9
    )
    found = probability_of_overfitting(rows, 4)
    assert found.in_sample.max() > 1e4


def test_returns_before_a_start_are_left_out():
    rows = np.random.default_rng(6).normal(3e-4, 0.01, (3, 300))
    late = np.concatenate([np.full((3, 200), np.nan), rows], axis=1)
    found, want = deflated_sharpe_ratio(late, 1), deflated_sharpe_ratio(rows, 1)
    assert found.sharpe == pytest.approx(want.sharpe) and found.probability == pytest.approx(want.probability)


@pytest.mark.parametrize("rounding", [-1.0, math.nan, math.inf])
def test_a_rounding_that_is_none(rounding: float):
    for call in (deflated_sharpe_ratio, probability_of_overfitting):
        with pytest.raises(ConfigError, match=r"rounding is .* must be a number >= 0"):
            call(np.zeros((2, 40)), rounding=rounding)
