# SPDX-License-Identifier: Apache-2.0
"""Metrics: hand-computed cases, an independent library, and bits that do not depend on the company a scenario keeps."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import gpu_bt as bt
from gpu_bt.analysis.metrics import drawdown, equity_metrics, returns, rounding_of
from gpu_bt.analysis.statistics import deflated_sharpe_ratio
from gpu_bt.law.layout import MONEY


def series(seed: int, scenarios: int, bars: int, drift: float = 3e-4) -> np.ndarray:
    """(K, T) equity of random walks from 1e6."""
    moves = np.random.default_rng(seed).normal(drift, 0.01, (scenarios, bars))
    return 1e6 * np.cumprod(1 + moves, axis=1)


def one(equity: list[float], cash: float = 1024.0, per_year: float = 4.0, **flows: list[float]) -> dict[str, float]:
    """The metrics of one scenario: of its equity alone, or with all of its money where some flows are given."""
    columns = {"equity": equity, "cash": equity, **flows}
    names = MONEY if flows else MONEY[:2]
    money = np.array([[columns.get(name, np.full(len(equity), 0.0))] for name in names])
    return {name: values[0].item() for name, values in equity_metrics(money, cash, per_year).items()}


def equity_only(equity: np.ndarray) -> np.ndarray:
    """(2, K, T) money of (K, T) equity."""
    return np.stack([equity, equity])


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_by_hand():
    # r = 0, 1/2, -1/2, 1/2: every number below is a dyadic fraction or the root of one.
    m = one([1024.0, 1536.0, 768.0, 1152.0])
    assert m["bars"] == 4 and m["final_equity"] == 1152.0
    assert m["total_return"] == 0.125
    assert m["annual_return"] == 0.125  # four bars at four a year
    assert m["max_drawdown"] == -0.5 and m["longest_drawdown"] == 2
    assert m["calmar"] == 0.25
    assert m["hit_rate"] == 2 / 3  # the bar without a move does not count
    variance = (0.125**2 + 0.375**2 + 0.625**2 + 0.375**2) / 3
    assert m["volatility"] == math.sqrt(variance) * 2
    assert m["sharpe"] == 0.125 / math.sqrt(variance) * 2
    assert m["sortino"] == 0.125 / math.sqrt(0.25 / 4) * 2


def test_annual_return_compounds():
    assert one([1024.0, 2048.0], per_year=4.0)["annual_return"] == 3.0  # twice in half a year
    assert one([1024.0, 4096.0], per_year=1.0)["annual_return"] == 1.0  # four times in two years


def test_first_return_is_against_the_initial_cash():
    m = one([512.0, 1024.0])
    assert m["total_return"] == 0.0 and m["max_drawdown"] == -0.5
    assert returns(np.array([512.0, 1024.0]), 1024.0).tolist() == [-0.5, 1.0]
    assert returns(np.array([[512.0], [256.0]]), np.array([1024.0, 256.0])).tolist() == [[-0.5], [0.0]]


def test_flows_by_hand():
    m = one(
        [1024.0, 1024.0],
        buys=[0.0, 512.0],
        sells=[256.0, 256.0],
        commission=[1.0, 2.0],
        slippage=[0.5, 0.5],
        financing=[-1.0, 0.25],
    )
    assert m["turnover"] == 512.0 / 1024.0 * 2  # 1024 both ways, in half a year
    assert m["total_costs"] == 4.0 and m["annual_costs"] == 4.0 / 1024.0 * 2
    assert m["total_financing"] == -0.75


def test_flows_left_out_are_not_invented():
    flows = {"turnover", "total_costs", "annual_costs", "total_financing"}
    assert not flows & one([1024.0, 1025.0]).keys()
    assert one([1024.0, 1025.0]).keys() | flows == one([1024.0, 1025.0], buys=[0.0, 1.0]).keys()


def test_flat_equity_has_no_ratios():
    m = one([1024.0] * 5)
    assert m["volatility"] == 0.0 and m["max_drawdown"] == 0.0 and m["longest_drawdown"] == 0
    assert m["total_return"] == 0.0 and m["annual_return"] == 0.0
    for name in ("sharpe", "sortino", "calmar", "hit_rate"):
        assert math.isnan(m[name]), name


def test_rounding_of_a_constant_return_is_no_risk():
    equity = 1000.0 * 1.01 ** np.arange(1, 200)
    m = equity_metrics(equity_only(equity[None]), 1000.0, 252.0)
    assert np.ptp(returns(equity, 1000.0)) > 0  # the rounding is there
    assert math.isnan(m["sharpe"][0]) and m["volatility"][0] == 0.0


def test_one_bar():
    m = one([1088.0], per_year=1.0)
    assert m["total_return"] == 0.0625 and m["annual_return"] == 0.0625
    assert math.isnan(m["volatility"]) and math.isnan(m["sharpe"])


def test_no_bar_is_nan():
    nothing = [math.nan, math.nan]
    m = one(nothing, **{name: nothing for name in MONEY[2:]})
    assert m.pop("bars") == 0 and m.pop("longest_drawdown") == 0
    assert m.pop("total_costs") == 0.0 and m.pop("total_financing") == 0.0
    assert all(math.isnan(value) for value in m.values())


def test_bankrupt_is_cut_at_its_last_row():
    nan = math.nan
    m = one([1024.0, 512.0, -256.0, nan, nan], buys=[0.0, 512.0, 0.0, nan, nan], sells=[0.0, 0.0, 0.0, nan, nan])
    assert m["bars"] == 3 and m["final_equity"] == -256.0
    assert m["total_return"] == -1.25 and m["max_drawdown"] == -1.25
    assert m["annual_return"] == -1.0  # no real root of a negative number
    assert m["turnover"] == 256.0 / (1280.0 / 3) * (4 / 3)


def test_growth_beyond_float64_is_infinite():
    assert one([2048.0], per_year=98280.0)["annual_return"] == math.inf


def test_drawdown():
    nan = math.nan
    equity = np.array([[4.0, 8.0, 6.0, 16.0, -4.0, nan, nan]])
    np.testing.assert_array_equal(drawdown(equity, 4.0), [[0.0, 0.0, -0.25, 0.0, -1.25, nan, nan]])
    np.testing.assert_array_equal(drawdown(equity, 8.0), [[-0.5, 0.0, -0.25, 0.0, -1.25, nan, nan]])
    assert drawdown(equity[0, :3], 32.0).tolist() == [-0.875, -0.75, -0.8125]


def test_longest_drawdown_finds_each_place():
    assert one([1000.0, 1001.0, 2000.0])["longest_drawdown"] == 2  # at the start, below the initial cash
    assert one([2000.0, 1.0, 2.0, 2000.0, 1.0])["longest_drawdown"] == 2
    assert one([2000.0, 1.0, 2001.0, 2.0, 1.0, 3.0])["longest_drawdown"] == 3  # at the end


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("bars", "per_year"), [(40, 12.0), (700, 252.0)])
def test_against_an_independent_library(seed: int, bars: int, per_year: float):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library warns about on import is not ours
        import empyrical
    equity = series(seed, 1, bars)
    m = {name: values[0].item() for name, values in equity_metrics(equity_only(equity), 1e6, per_year).items()}
    r = returns(equity, 1e6)[0]
    expected = {
        "total_return": empyrical.cum_returns_final(r),
        "annual_return": empyrical.annual_return(r, annualization=per_year),
        "volatility": empyrical.annual_volatility(r, annualization=per_year),
        "sharpe": empyrical.sharpe_ratio(r, annualization=per_year),
        "sortino": empyrical.sortino_ratio(r, annualization=per_year),
        "max_drawdown": empyrical.max_drawdown(r),
        "calmar": empyrical.calmar_ratio(r, annualization=per_year),
    }
    assert {name: m[name] for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bars", [1, 2, 7, 8, 9, 129, 1000])
def test_bits_do_not_depend_on_the_company(bars: int):
    scenarios = 300  # more than one block of rows at the longest
    money = np.stack([series(bars + i, scenarios, bars) for i in range(len(MONEY))])
    cash = np.random.default_rng(1).uniform(9e5, 1.1e6, scenarios)
    for k in range(0, scenarios, 7):  # some end early
        money[:, k, bars - k % bars :] = np.nan
    whole = equity_metrics(money, cash, 252.0)
    for k in (0, 1, 130, 131, 140, 299):
        alone = equity_metrics(money[:, k : k + 1], cash[k], 252.0)
        assert same_bits(alone, {name: values[k : k + 1] for name, values in whole.items()}), k
    assert same_bits(equity_metrics(np.asfortranarray(money), cash, 252.0), whole)
    assert not same_bits(equity_metrics(money, cash, 253.0), whole)  # the comparison can fail


def test_what_follows_the_end_changes_nothing():
    money = np.stack([series(i, 4, 130) for i in range(len(MONEY))])
    longer = np.full((len(MONEY), 4, 517), np.nan)
    longer[..., :130] = money
    found, alone = equity_metrics(longer, 1e6, 252.0), equity_metrics(money, 1e6, 252.0)
    for name, values in alone.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_input_is_left_alone():
    money = np.stack([series(i, 3, 20) for i in range(len(MONEY))])
    money.flags.writeable = False
    before = money.copy()
    equity_metrics(money, np.full(3, 1e6), 252.0)
    assert money.tobytes() == before.tobytes()


def tick(cash: float) -> float:
    return 2.0 ** (math.frexp(cash)[1] - 37)


@pytest.mark.parametrize("cash", [1e3, 1e6, 3e9])
@pytest.mark.parametrize("rate", [1e-4, -1e-4, 3e-7, 0.0])
def test_a_constant_return_on_the_ledgers_grid_has_no_dispersion(cash: float, rate: float):
    """Interest rounded to the tick, bar after bar."""
    equity = [cash]
    for _ in range(400):
        equity.append(equity[-1] + round(equity[-1] * rate / tick(cash)) * tick(cash))
    m = one(equity[1:], cash, 252.0)
    assert m["volatility"] == 0.0 and math.isnan(m["sharpe"])
    assert math.isnan(m["sortino"]) == (rate >= 0) and math.isnan(m["calmar"]) == (rate >= 0)


def test_a_price_that_grows_evenly_is_rounded_at_every_mark():
    marks = np.rint(1e6 * 1.0001 ** np.arange(1, 500) / tick(1e6)) * tick(1e6)
    assert math.isnan(one(marks.tolist(), 1e6, 252.0)["sharpe"])


def test_many_assets_round_more_and_rounding_says_so():
    rng = np.random.default_rng(5)
    n, grid = 400, tick(1e6)
    each = rng.uniform(1000, 4000, n) * 1.0001 ** np.arange(1, 600)[:, None]
    equity = (np.rint(each / grid) * grid).sum(axis=1)
    first = equity[0] / 1.0001
    found = [
        equity_metrics(equity_only(equity[None]), first, 252.0, rounding=rounding_of(grid, k))["sharpe"] for k in (1, n)
    ]
    assert found[0] > 1e6 and math.isnan(found[1][0])
    assert rounding_of(1.0, 100) == 201.0


@pytest.mark.parametrize("n", [2, 10, 30, 200])
@pytest.mark.parametrize("cash", [1e3, 1e6])
def test_equal_holdings_are_rounded_alike(n: int, cash: float):
    """Their errors add up: a yield fixed for all of them has no Sharpe ratio, however many they are."""
    close = np.repeat(50 * 1.0007 ** np.arange(90)[:, None], n, axis=1)
    rows = np.full((90, n), np.nan)
    rows[0] = 1 / n
    days = np.datetime64("2024-01-01") + np.arange(90)
    panel = bt.Panel(close=close, timestamps=days, assets=[f"A{i}" for i in range(n)])
    config = bt.Config(lot=0, execution="same_close", cash_buffer=0, initial_cash=cash)
    sweep = bt.sweep(panel, {"a": rows, "b": rows[:, ::-1]}, config, equity=True)
    assert math.isnan(bt.run(panel, rows, config).metrics["sharpe"]) and sweep.table["sharpe"].is_nan().all()
    assert deflated_sharpe_ratio(sweep.returns(), rounding=sweep.rounding).sharpe == 0.0


@pytest.mark.parametrize("size", [8.0, 20.0, 1e4])
def test_small_but_real_dispersion_is_kept(size: float):
    """A few ticks more at every second bar, or at one bar of a thousand."""
    step = size * tick(1e6)
    moves = np.where(np.arange(1000) % 2, step, 0.0)
    alone = np.where(np.arange(1000) == 500, step, 0.0)
    for path in (moves, alone):
        m = one((1e6 + np.cumsum(path)).tolist(), 1e6, 252.0)
        assert m["volatility"] > 0 and m["sharpe"] > 0 and m["hit_rate"] == 1.0
        fall = one((1e6 - np.cumsum(path)).tolist(), 1e6, 252.0)
        assert fall["sortino"] < 0 and fall["calmar"] < 0 and fall["hit_rate"] == 0.0


def test_moves_of_a_tick_are_no_losses_gains_or_drawdowns():
    wobble = 1e6 + tick(1e6) * np.tile([0.0, 1.0, -1.0, 0.0], 50)
    m = one(wobble.tolist(), 1e6, 252.0)
    assert m["volatility"] == 0.0 and m["max_drawdown"] == 0.0 and m["longest_drawdown"] == 0
    for name in ("sharpe", "sortino", "calmar", "hit_rate"):
        assert math.isnan(m[name]), name


def test_rounding_counts_for_more_as_equity_shrinks():
    """The same grid beside a thousandth of the money."""
    low = 1e3 + tick(1e6) * np.random.default_rng(1).integers(-1, 2, 300)
    assert not math.isnan(one(low.tolist(), 1e3, 252.0)["sharpe"])  # a ledger opened with so little is finer
    m = equity_metrics(equity_only(low[None]), 1e3, 252.0, rounding=rounding_of(tick(1e6)))
    assert math.isnan(m["sharpe"][0])


def test_start_leaves_out_what_lies_before():
    money = np.stack([series(i, 3, 90) for i in range(len(MONEY))])
    first = np.array([0, 1, 40])
    found = equity_metrics(money, 1e6, 252.0, start=first)
    for k, t in enumerate(first):
        cash = money[0, k, t - 1] if t else 1e6
        alone = equity_metrics(money[:, k : k + 1, t:], cash, 252.0)
        for name, values in alone.items():
            np.testing.assert_allclose(found[name][k], values[0], rtol=1e-12, err_msg=f"{name} {k}")
    assert found["bars"].tolist() == [90, 89, 50]
    assert same_bits(equity_metrics(money, 1e6, 252.0, start=0), equity_metrics(money, 1e6, 252.0))


def test_a_warm_up_does_not_dilute():
    equity = series(3, 1, 252)[0]
    late = np.concatenate([np.full(252, 1e6), equity])
    m, want = one(late.tolist(), 1e6, 252.0), one(equity.tolist(), 1e6, 252.0)
    assert m["sharpe"] == pytest.approx(want["sharpe"] / math.sqrt(2), rel=0.01)
    found = equity_metrics(equity_only(late[None]), 1e6, 252.0, start=252)
    for name, value in want.items():
        assert found[name][0] == pytest.approx(value, rel=1e-12), name


def test_a_scenario_that_ended_before_its_start_has_no_bar():
    money = equity_only(np.array([[1e6, 9e5, math.nan, math.nan, math.nan]]))
    m = equity_metrics(money, 1e6, 252.0, start=4)
    assert m["bars"] == 0 and all(math.isnan(m[name][0]) for name in m if m[name].dtype == float)
