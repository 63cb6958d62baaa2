# SPDX-License-Identifier: Apache-2.0
"""The oracle against hand-computed numbers, and the law's consequences over drawn scenarios.

Numbers are dyadic wherever the law rounds, so that every expected value is exact and `==` is the comparison.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from draw import scenario, to_public
from extent import seeds
from oracle import Oracle, OraclePanel, simulate
from oracle_clock import schedule

from gpu_bt.config import Config
from gpu_bt.data.panel import Panel
from gpu_bt.errors import BacktestWarning
from gpu_bt.law.layout import COUNTS, MONEY, SCENARIO_STATUS

NAN = math.nan
DAY = 86_400_000_000


def tie(name: str) -> int:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()[-1] % 64


def market(close: Any, *, days: Any = None, assets: Any = None, **fields: Any) -> OraclePanel:
    """A panel from rows of closes, a bar a day; a flat list is one asset."""
    grid = {name: np.array(x, np.float64) for name, x in fields.items() if name not in ("can_buy", "can_sell")}
    grid |= {name: np.array(fields[name], bool) for name in ("can_buy", "can_sell") if name in fields}
    grid["close"] = np.array(close, np.float64)
    for name, x in grid.items():
        if x.ndim == 1 and name not in ("delisted_at", "delisting_return", "lot"):
            grid[name] = x[:, None]
    t, n = grid["close"].shape
    us = np.array(range(t) if days is None else days, np.int64) * DAY
    return OraclePanel(us, assets=assets or [f"A{i}" for i in range(n)], **grid)


def run(panel: OraclePanel, weights: Any, **settings: Any) -> Oracle:
    weights = np.array(weights, np.float64)
    base = dict(initial_cash=1024.0, execution="same_close", cash_buffer=0.0)
    return simulate(panel, weights[:, None] if weights.ndim == 1 else weights, Config(**(base | settings)))


def shares(o: Oracle) -> list[float]:
    """Positions of a one-asset run."""
    return [row[0] for row in o.positions]


def test_costs_of_a_buy_and_a_sell():
    panel = market([16, 16], half_spread=[2**-5, 2**-5])
    o = run(panel, [0.5, 0], initial_cash=4096, slippage=2**-5, commission_rate=2**-6, sell_tax=2**-3)
    # Buy 128: n 2048, adverse 1/16 -> 128, commission (2048+128)/64 = 34.
    # Sell 128: v 1920, commission 30, tax 240.
    assert o.fills == [
        (0, 0, 128.0, 17.0, 16.0, 34.0, 128.0, "FILLED"),
        (1, 0, -128.0, 15.0, 16.0, 270.0, 128.0, "FILLED"),
    ]
    assert o.money["cash"] == [4096.0 - 2048 - 162, 4096.0 - 162 - 398]
    assert o.money["equity"] == [4096.0 - 162, 4096.0 - 162 - 398]
    assert o.money["buys"] == [2048.0, 0.0] and o.money["sells"] == [0.0, 2048.0]


@pytest.mark.parametrize(
    ("settings", "fee"),
    [
        (dict(commission_per_share=0.125), 16.0),
        (dict(commission_per_share=0.125, min_commission=64.0), 64.0),
        (dict(commission_per_share=0.125, min_commission=64.0, max_commission_rate=2**-6), 32.0),
        (dict(commission_per_share=1.0, max_commission_rate=2**-6), 32.0),
    ],
)
def test_commission_bounds(settings, fee):
    assert run(market([16]), [0.5], initial_cash=4096, **settings).money["commission"] == [fee]


def test_impact_uses_the_shares_of_the_fill_and_is_capped():
    panel = market([[16, 16]], volume=[[4096, 4]])
    o = run(panel, [[0.25, 0.25]], initial_cash=4096, impact=0.25)
    # 64 shares: 0.25*sqrt(64/4096) = 2^-5; 0.25*sqrt(64/4) = 1 -> 0.95.
    assert [f[6] for f in o.fills] == [32.0, round(1024 * 0.95 / 2**-24) * 2**-24]


@pytest.mark.parametrize(
    ("execution", "field", "price"), [("next_open", "open", 8), ("next_close", None, 32), ("next_vwap", "vwap", 4)]
)
def test_orders_fill_at_the_next_price_of_their_kind(execution, field, price):
    panel = market([16, NAN, 32], **({} if field is None else {field: [1, NAN, price]}))
    o = run(panel, [0.25, NAN, NAN], execution=execution)
    assert [f[:5] for f in o.fills] == [(2, 0, 16.0, float(price), float(price))]
    assert o.counts["no_price"] == [0, 1, 0] and o.counts["working"] == [1, 1, 0]
    cancel = run(panel, [0.25, NAN, NAN], execution=execution, unfilled="cancel")
    assert cancel.fills == [] and cancel.counts["cancelled"] == [0, 1, 0]


def test_cash_clip_buys_the_larger_remainder_back():
    # 8 and 4 lots at 10 cost 120 of 100: lambda 5/6 cuts to 6 and 3, and the ten left buy the remainder of 2/3.
    o = run(market([[10, 10]]), [[0.8, 0.4]], initial_cash=100)
    assert o.positions == [[7.0, 3.0]] and o.money["cash"] == [0.0]
    assert o.counts["cash_clipped"] == [2] and [f[7] for f in o.fills] == ["CASH_CLIPPED"] * 2


def test_an_order_bought_back_whole_counts_as_filled():
    o = run(market([[60, 60]], assets=["A0", "A1"]), [[1, 1]], initial_cash=100)
    winner = 0 if tie("A0") > tie("A1") else 1
    assert tie("A0") != tie("A1") and o.positions[0] == [1.0 - winner, float(winner)]
    assert o.counts["cash_clipped"] == [1] and o.fills[0][7] == "FILLED"


def test_a_class_is_bought_back_whole_or_not_at_all():
    twin = next(x for x in (f"A{i}" for i in range(1, 9999)) if tie(x) == tie("A0"))
    for price, held in ((50, [1.0, 1.0]), (60, [0.0, 0.0])):
        o = run(market([[price, price]], assets=["A0", twin]), [[1, 1]], initial_cash=100)
        assert o.positions == [held] and o.counts["cash_clipped"] == [2]


def test_minimum_commissions_above_the_cash_leave_one_lot():
    # 2 lots each cost 32 + 64; lambda = 0 as 100 < 2*64; one lot costs 80, so the asset with the higher tie gets one.
    o = run(market([[16, 16]]), [[0.4, 0.4]], initial_cash=100, min_commission=64)
    assert sorted(o.positions[0]) == [0.0, 1.0] and o.money["cash"] == [20.0] and o.paths["lambda = 0"] == 1


def test_no_buy_where_the_notional_is_below_half_a_tick():
    o = run(market([[0.25] * 3]), [[0.2] * 3], initial_cash=2, money_tick=1, lot=0, min_commission=1)
    assert o.money["cash"] == [2.0] and o.counts["cash_clipped"] == [3] and o.paths["B = 0"] == 1


def test_participation_keeps_or_cancels_the_rest():
    panel = market([16] * 3, volume=[8, NAN, 64])
    o = run(panel, [0.25, NAN, NAN], participation=0.5)
    assert shares(o) == [4.0, 4.0, 16.0] and o.counts["volume_clipped"] == [1, 1, 0]
    assert [f[7] for f in o.fills] == ["VOLUME_CLIPPED", "FILLED"] and o.counts["working"] == [1, 1, 0]
    assert shares(run(panel, [0.25, NAN, NAN], participation=0.5, unfilled="cancel")) == [4.0] * 3


def test_a_mask_holds_its_side_only():
    panel = market([16, 16], can_buy=[True, False], can_sell=[False, True])
    o = run(panel, [0.25, 0])
    assert shares(o) == [16.0, 0.0] and o.counts["restricted"] == [0, 0]
    assert run(market([16, 16], can_buy=[False, True]), [0.25, NAN]).counts["restricted"] == [1, 0]


def test_margin_scales_increases_and_never_refuses_a_reduction():
    # Flat to 256 lots: 4096 of 2048 allowed, the factor just below 1/2 gives 127. Then to -128: the exit of 127 is
    # free, the increase of 129 (2064 of 2048) is scaled to 127.99...
    o = run(market([16, 16]), [4, -2.015625], account="margin", maintenance_margin=None)
    assert shares(o) == [127.0, -127.0]
    assert [f[7] for f in o.fills] == ["LEVERAGE_CLIPPED"] * 2 and o.counts["leverage_clipped"] == [1, 1]
    assert o.money["short_value"] == [0.0, -127.0 * 16] and o.money["cash"][1] == 1024.0 + 127 * 16
    free = run(market([16]), [4], account="margin", max_leverage=None, maintenance_margin=None)
    assert shares(free) == [256.0] and free.money["cash"] == [1024.0 - 4096]


@pytest.mark.parametrize(("weight", "after", "paid"), [(5 / 64, 2.0, 16.0), (-5 / 64, -2.0, -16.0)])
def test_a_split_pays_out_the_fraction(weight, after, paid):
    o = run(market([16, 32], split=[NAN, 0.5]), [weight, NAN], account="margin")
    assert shares(o) == [math.copysign(5.0, after), after] and o.money["settlements"] == [0.0, paid]
    assert o.money["equity"] == [1024.0, 1024.0]
    fractional = run(market([16, 32], split=[NAN, 0.5]), [weight, NAN], account="margin", lot=0)
    assert shares(fractional)[1] == after * 1.25 and fractional.money["settlements"] == [0.0, 0.0]


def test_a_split_scales_the_working_order_and_the_mark_in_a_gap():
    panel = market([16, NAN, 8], split=[1, 2, 1])
    o = run(panel, [0.25, NAN, NAN], execution="next_close")
    assert shares(o) == [0.0, 0.0, 32.0]
    o = run(panel, [0.25, NAN, NAN])
    assert shares(o) == [16.0, 32.0, 32.0] and o.money["long_value"] == [256.0] * 3


def test_dividends_are_received_and_paid():
    o = run(market([[16, 16]] * 2, dividend=[[1, 1], [0.5, 2]]), [[0.25, -0.125], [NAN, NAN]], account="margin")
    assert o.money["dividends"] == [0.0, 16 * 0.5 - 8 * 2]


def test_delistings():
    panel = market([16, 16, 16], delisted_at=[1], delisting_return=[-0.5])
    o = run(panel, [0.25, 0.25, NAN])
    assert o.money["settlements"] == [0.0, 128.0, 0.0] and shares(o) == [16.0, 0.0, 0.0]
    assert o.counts["delisted"] == [0, 1, 0] and len(o.fills) == 1
    silent = run(market([NAN, 16, NAN, NAN, 16]), [NAN, 0.25, NAN, NAN, 0.25], delist_after=2)
    assert silent.money["settlements"] == [0.0, 0.0, 0.0, 256.0, 0.0] and shares(silent) == [0.0, 16.0, 16.0, 0.0, 16.0]


def test_financing_on_cash_debt_and_shorts():
    rates = dict(cash_rate=0.125, debit_rate=0.25, borrow_rate=0.5, account="margin", max_leverage=None)
    assert run(market([16, 16], days=[0, 360]), [NAN, NAN], **rates).money["financing"] == [0.0, 128.0]
    debt = run(market([16, 16], days=[0, 360]), [2, NAN], **rates, maintenance_margin=None)
    assert debt.money["financing"] == [0.0, -256.0]
    short = run(market([16, 16], days=[0, 365], borrow_rate=[NAN, 0.25]), [-0.5, NAN], **rates | {"cash_rate": 0.0})
    assert short.money["financing"] == [0.0, -128.0]


def test_caps_apply_in_order():
    flat = market([[16, 16]])
    assert run(flat, [[0.75, 0.25]], max_weight=0.5).positions == [[32.0, 16.0]]
    assert run(flat, [[1, 1]], max_gross=0.5).positions == [[16.0, 16.0]]
    two = market([[16, 16]] * 2)
    # 1/4 held without a target leaves 1/4 of the gross cap for the other.
    assert run(two, [[0.25, 0], [NAN, 1]], max_gross=0.5).positions[1] == [16.0, 16.0]
    # Exit of 1/2: X 1/4, tau 3/4, so the purchase moves by half.
    caps = dict(max_turnover=0.5)
    assert run(two, [[0.5, 0], [0, 1]], **caps).positions == [[32.0, 0.0], [0.0, 32.0]]


def test_band_minimum_and_rounding():
    o = run(market([[16, 16]] * 2), [[0.25, 0.25], [0.5, 0.265625]], band=2**-6)
    assert o.positions == [[16.0, 16.0], [32.0, 16.0]]
    o = run(market([16, 16]), [0.25, 0.265625], min_trade_value=17)
    assert shares(o) == [16.0, 16.0] and o.counts["below_min"] == [0, 1]
    o = run(market([16]), [2**-7])
    assert o.counts["rounded_out"] == [1]
    assert shares(run(market([16]), [2**-7], rounding="nearest")) == [1.0]
    assert shares(run(market([16]), [0.25 - 1e-8])) == [16.0]


@pytest.mark.parametrize(("execution", "held"), [("same_close", [64, 0, 0]), ("next_close", [0, 64, 64, 0])])
def test_drawdown_stop_sells_for_good(execution, held):
    closes = [16, 8, 16] if execution == "same_close" else [16, 16, 8, 8]
    o = run(market(closes), [1] * len(closes), execution=execution, max_drawdown=0.25, max_turnover=0.5)
    assert shares(o) == held and o.status == "DRAWDOWN_STOP"
    assert o.first_bar["DRAWDOWN_STOP"] == len(held) - 2


def test_margin_call_cuts_to_the_maintenance_margin():
    # 128 lots on 1024; at 10 the equity of 256 is below a quarter of 1280: ceil(128*(1 - 4/5)) = 26 lots go.
    o = run(market([16, 10, 10]), [2, NAN, NAN], account="margin", max_leverage=None)
    assert shares(o) == [128.0, 128.0, 102.0] and o.status == "MARGIN_CALL" and o.first_bar["MARGIN_CALL"] == 1
    assert o.orders == [0.0]


def test_bankruptcy_ends_the_scenario_and_shows_its_row():
    o = run(market([16, 8, 16]), [2, NAN, NAN], account="margin", max_leverage=None)
    assert o.status == "BANKRUPT" and o.money["equity"][:2] == [1024.0, 0.0] and math.isnan(o.money["equity"][2])
    assert o.holdings == [128.0] and math.isnan(o.positions[2][0])


def test_ledger_overflow_ends_before_the_bar():
    o = run(market([16, 32]), [1, NAN], money_tick=2.0**-40)  # 2^50 ticks, doubled
    assert o.status == "LEDGER_OVERFLOW" and o.first_bar["LEDGER_OVERFLOW"] == 1
    assert o.holdings == [64.0] and o.cash == 0.0 and math.isnan(o.money["cash"][1])
    assert run(market([16]), [1], money_tick=2.0**-41).first_bar["LEDGER_OVERFLOW"] == 0
    rows = [[900.0, 900.0, 300.0]]
    margin = dict(account="margin", max_leverage=None, maintenance_margin=None)
    assert run(market([[16] * 3]), rows, **margin, max_gross=2.0).status == "LEDGER_OVERFLOW"
    assert run(market([[16] * 3]), rows, **margin).status == "OK"


def test_schedule_and_lag():
    us = [d * DAY for d in (29, 30, 31, 58, 59, 60)]  # 30 Jan to 2 Mar 1970
    month = Config(rebalance="month")
    assert schedule(us, None, month) == [False, True, False, True, False, False]
    assert schedule(us, 90 * DAY, month) == [False, True, False, True, False, True]
    assert schedule(us, None, Config(rebalance="week")) == [False, False, True, False, True, False]
    every = Config(rebalance_every=2, rebalance_offset=1)
    assert schedule(us, None, every) == [False, True, False, True, False, True]
    assert shares(run(market([16, 16, 16]), [0.25, NAN, NAN], signal_lag=1)) == [0.0, 16.0, 16.0]


# --- consequences, over drawn scenarios ---


@pytest.mark.parametrize("block", seeds(range(3)))  # whole blocks: each has enough cash accounts
def test_cash_is_conserved_and_a_cash_account_stays_above_zero(block):
    checked = 0
    for seed in range(100 * block, 100 * block + 100):
        panel, weights, config = scenario(seed)
        o = simulate(panel, weights, config)
        before = round(config.initial_cash / config.tick) * config.tick
        for t, cash in enumerate(o.money["cash"]):
            if math.isnan(cash):
                break
            m = {name: o.money[name][t] for name in MONEY}
            plus = m["financing"] + m["dividends"] + m["settlements"] + m["sells"]
            assert cash == before + plus - m["buys"] - m["commission"] - m["slippage"], (seed, t)
            assert m["equity"] == cash + m["long_value"] + m["short_value"]
            before = cash
        dear = any(f[2] < 0 and -f[2] * f[4] < f[5] + f[6] + config.tick for f in o.fills)
        if config.account == "cash" and config.cash_rate >= 0 and not dear:
            checked += 1
            assert not any(cash < 0 for cash in o.money["cash"]), seed
    assert checked > 20


@pytest.mark.parametrize("seed", seeds(range(60)))
def test_permuted_assets_and_a_cut_future_change_no_bit(seed):
    panel, weights, config = scenario(seed)
    o = simulate(panel, weights, config)
    order = np.random.default_rng(seed).permutation(len(panel.assets))
    swapped = simulate(pick(panel, lambda x: x[..., order]), weights[:, order], config)
    same(swapped.money, o.money)
    assert swapped.counts == o.counts
    assert np.array_equal(np.array(swapped.positions), np.array(o.positions)[:, order], equal_nan=True)
    cut = 1 + panel.shape[0] // 2
    if cut < panel.shape[0]:
        early = pick(panel, lambda x: x[:cut] if x.ndim == 2 else x)
        early.microseconds, early.next_microseconds = panel.microseconds[:cut], int(panel.microseconds[cut])
        past = simulate(early, weights[:cut], config)
        same(past.money, {name: column[:cut] for name, column in o.money.items()})
        assert past.counts == {name: column[:cut] for name, column in o.counts.items()}


def pick(panel: OraclePanel, change: Any) -> OraclePanel:
    """The panel with its arrays (other than the timestamps) and ids changed."""
    kept = ("microseconds", "assets", "next_microseconds", "time_zone")
    fields = {f.name: getattr(panel, f.name) for f in dataclasses.fields(panel) if f.name not in kept}
    changed = {name: change(x) for name, x in fields.items() if x is not None}
    names = change(np.array(panel.assets, object))
    return dataclasses.replace(panel, assets=[str(x) for x in names], **changed)


def same(a: dict[str, list[float]], b: dict[str, list[float]]) -> None:
    for name in MONEY:
        assert np.array(a[name]).tobytes() == np.array(b[name]).tobytes(), name


def test_drawn_scenarios_are_valid_and_reach_every_path():
    seen: Counter[str] = Counter()
    for seed in range(600):  # so many reach the rare ones
        panel, weights, config = scenario(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BacktestWarning)
            Panel(**to_public(panel, config))
        assert np.nanmax(np.abs(weights), initial=0.0) <= 1000 and (
            config.account == "margin" or not (weights < 0).any()
        )
        o = simulate(panel, weights, config)
        seen.update(name for name, bars in o.counts.items() if any(bars))
        seen.update(name for name, times in o.paths.items() if times)
        seen[o.status] += 1
    rare = "lambda = 0|class of several bought back|clipped to none|fraction, short|gross cap, f = 0|leverage factor 0"
    usual = "cash clip|lot bought back|leverage clip|settled, delisted_at|settled, delist_after|min_commission binds"
    rare += "|exit over a split of an odd lot|outside, crossing|order kept without a price"
    usual += "|odd lot|sized by the last mark|outside, target|outside, holding|outside, enlarged|impact of a volatility"
    usual += "|cash clip with a fixed commission|position rounded otherwise"
    counts = [name for name in COUNTS if name != "limited"]  # direct orders alone are; test_callbacks reaches it
    for name in (*counts, *SCENARIO_STATUS, *rare.split("|"), *usual.split("|")):
        assert seen[name] >= (1 if name in rare.split("|") else 3), (name, seen[name])
