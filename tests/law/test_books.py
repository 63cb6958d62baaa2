# SPDX-License-Identifier: Apache-2.0
"""The law's consequences over drawn scenarios and a made-up universe, through the public API.

Cash is conserved to the tick by the result's own columns; a cash account stays above zero; a permutation of the assets
permutes the result; the future changes nothing; a float32 panel is its float64 upcast.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from compare import assert_bits
from draw import scenario, to_public
from extent import seeds

import gpu_bt as bt
from gpu_bt.data.fields import MASKS, PRICES, RATES
from gpu_bt.data.synthetic import momentum_weights, synthetic_universe
from gpu_bt.law.layout import COUNTS, MONEY

RECORD = ("fills", "positions")
PANELS = (*PRICES, *RATES, *MASKS)
SEEDS = [range(a, a + 25) for a in seeds(range(1000, 1200, 25))]  # whole blocks: bars enough in each


@dataclasses.dataclass(frozen=True)
class Case:
    """The arguments of one run; `fields` are those of Panel."""

    fields: dict[str, Any]
    weights: np.ndarray
    config: bt.Config

    def run(self, engine: str) -> bt.Result:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bt.BacktestWarning)
            return bt.run(bt.Panel(**self.fields), self.weights, self.config, engine=engine, record=RECORD)

    def change(self, edit: Any, weights: np.ndarray | None = None, **fields: Any) -> Case:
        """With `edit(array)` applied to every (T, N) array, and some fields replaced."""
        new = {k: edit(v) if k in PANELS and v is not None else v for k, v in self.fields.items()} | fields
        return Case(new, edit(self.weights) if weights is None else weights, self.config)


@functools.cache
def drawn(seed: int) -> Case:
    market, weights, config = scenario(seed)
    fields = to_public(market, config)
    return Case({k: v for k, v in fields.items() if v is not None}, weights, config)


@functools.cache
def universe() -> Case:
    """120 assets over 300 bars with every event that real data have, under costs, caps and lots."""
    market = synthetic_universe(300, 120, seed=5)
    names = (*PANELS, "delisted_at", "delisting_return")
    fields = {name: getattr(market, name) for name in names if getattr(market, name) is not None}
    fields |= dict(timestamps=market.timestamps, assets=list(market.assets), prices="raw")
    config = bt.Config(
        initial_cash=3e5, commission_rate=5e-4, min_commission=1.0, slippage=1e-3, impact=0.1, participation=0.05,
        sell_tax=1e-3, cash_rate=0.02, rebalance_every=5, band=0.001, delist_after=10,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        return Case(fields, np.array(momentum_weights(market, lookback=20, top=0.25, every=5)), config)


def assert_same(got: bt.Result, want: bt.Result, bars: int | None = None, columns: Any = slice(None)) -> None:
    """Equal bits of every column, position and fill of the first `bars` bars; `columns` places got's assets in want."""
    for i, name in enumerate(MONEY):
        assert_bits(name, got.raw.money[i, 0, :bars], want.raw.money[i, 0, :bars])
    for i, name in enumerate(COUNTS):
        assert_bits(name, got.raw.counts[i, 0, :bars], want.raw.counts[i, 0, :bars])
    assert_bits("positions", got.positions[:bars], want.positions[:bars][:, columns])
    tables = []
    for result in (got, want):
        end = result.timestamps[len(result.timestamps) - 1 if bars is None else bars - 1]
        tables.append(sorted(row for row in result.fills.rows() if row[0] <= end))
    assert tables[0] == tables[1]


# --- the books ---


def check_books(case: Case, result: bt.Result) -> int:
    """The number of bars whose cash was accounted for."""
    table = result.equity.to_dict(as_series=False)
    tick = case.config.tick
    before = np.rint(case.config.initial_cash / tick) * tick
    held, done = np.zeros(result.positions.shape[1]), 0
    for t, cash in enumerate(table["cash"]):
        if math.isnan(cash):
            break
        m = {name: table[name][t] for name in MONEY}
        assert cash == before + m["financing"] + m["dividends"] + m["settlements"] + m["sells"] - m["buys"] - (
            m["commission"] + m["slippage"]
        ), t
        assert m["equity"] == cash + m["long_value"] + m["short_value"], t
        assert all(v == np.rint(v / tick) * tick for v in m.values()), t
        assert m["long_value"] >= 0 >= m["short_value"] and min(m["buys"], m["sells"], m["slippage"]) >= 0, t
        before, held, done = cash, result.positions[t], done + 1
    assert np.isfinite(held).all()
    return done


def check_fills(case: Case, result: bt.Result) -> None:
    """The columns of a bar are the sums of its fills."""
    # As numbers: datetimes of an hour that comes twice equal one another.
    by_bar = result.fills.with_columns(pl.col("timestamp").to_physical()).to_dict(as_series=False)
    stamps = {stamp: t for t, stamp in enumerate(result.timestamps.to_physical().to_list())}
    sums = {name: np.zeros(len(stamps)) for name in ("commission", "slippage", "fills")}
    for stamp, commission, slippage in zip(by_bar["timestamp"], by_bar["commission"], by_bar["slippage"], strict=True):
        for name, value in (("commission", commission), ("slippage", slippage), ("fills", 1)):
            sums[name][stamps[stamp]] += value
    alive = ~np.isnan(result.raw.money[0, 0])
    for name, values in sums.items():
        assert_bits(name, values[alive], result.raw.column(name)[0].astype(float)[alive])


@pytest.mark.parametrize("block", SEEDS, ids=lambda s: f"{s.start}-{s.stop - 1}")
def test_cash_is_conserved_to_the_tick(engine, block):
    done = 0
    for seed in block:
        result = drawn(seed).run(engine)
        done += check_books(drawn(seed), result)
        check_fills(drawn(seed), result)
    assert done > 50


def test_the_books_of_a_universe(engine):
    result = universe().run(engine)
    assert check_books(universe(), result) == 300
    check_fills(universe(), result)
    table = result.equity
    for name in ("buys", "sells", "commission", "slippage", "financing", "dividends", "settlements", "volume_clipped"):
        assert table[name].sum() > 0, name  # the scenario reaches what it is for
    assert table["cash"].min() >= 0


def test_a_cash_account_never_goes_below_zero(engine):
    checked = clipped = 0
    for seed in range(2000, 2400):
        case = drawn(seed)
        if case.config.account != "cash" or case.config.cash_rate < 0:
            continue
        result = case.run(engine)
        tick = case.config.tick
        rows = result.fills.iter_rows(named=True)
        dear = any(
            f["shares"] < 0 and -f["shares"] * f["reference_price"] < f["commission"] + f["slippage"] + tick
            for f in rows
        )
        if not dear:
            checked += 1
            clipped += int(np.nansum(result.raw.column("cash_clipped")) > 0)
            assert not (result.raw.column("cash") < 0).any(), seed
            assert not (result.positions < 0).any(), seed
    assert checked > 100 and clipped > 20


# --- permutation ---


def permuted(case: Case, order: np.ndarray) -> Case:
    """The same assets, each with its id and all that is its own, in another order."""
    own = {"assets": [case.fields["assets"][i] for i in order]}
    own |= {
        k: np.asarray(case.fields[k])[order] for k in ("delisted_at", "delisting_return", "lot") if k in case.fields
    }
    return case.change(lambda x: x[:, order], **own)


@pytest.mark.parametrize("block", SEEDS, ids=lambda s: f"{s.start}-{s.stop - 1}")
def test_permuting_the_assets_permutes_the_result(engine, block):
    for seed in block:
        order = np.random.default_rng(seed).permutation(len(drawn(seed).fields["assets"]))
        assert_same(permuted(drawn(seed), order).run(engine), drawn(seed).run(engine), columns=order)


def test_permuting_a_universe(engine):
    order = np.random.default_rng(1).permutation(120)
    assert_same(permuted(universe(), order).run(engine), universe().run(engine), columns=order)


def test_ids_decide_between_equal_remainders():
    # A control: without its ids a permutation does change a result, so that the tests above could fail.
    fields = dict(close=np.full((1, 2), 60.0), timestamps=["2020-01-01"], assets=["A0", "A1"])
    case = Case(fields, np.ones((1, 2)), bt.Config(initial_cash=100.0, execution="same_close", cash_buffer=0.0))
    there, back = case.run("cpu"), dataclasses.replace(case, fields=fields | dict(assets=["A1", "A0"])).run("cpu")
    assert there.positions.tolist() != back.positions.tolist()


# --- the future ---


def scrambled(case: Case, t: int, rng: np.random.Generator) -> Case:
    """Every input after bar t replaced by something else that is valid."""
    fields = dict(case.fields)
    rows, n = case.weights.shape
    late = np.arange(rows) > t
    alive = rng.random((rows, n)) < 0.8
    for name in PANELS:
        if name not in fields:
            continue
        old = np.array(fields[name])
        if name in MASKS:
            new = rng.random((rows, n)) < 0.5
        elif name in ("close", "open", "high", "low", "vwap"):
            new = np.where(alive, 10 ** rng.uniform(-1, 3, (rows, n)), np.nan)
        elif name == "split":
            new = rng.choice([1.0, 2.0, 0.5], (rows, n))
        else:
            new = rng.uniform(0, 1000 if name == "volume" else 0.5, (rows, n))
        old[late] = new[late].astype(old.dtype)
        fields[name] = old
    if "delisted_at" in fields:
        at = np.array(fields["delisted_at"])
        fields["delisted_at"] = np.where((at > t) | (at < 0), rng.integers(t + 1, rows + 2, n), at)
    weights = np.array(case.weights)
    weights[late] = rng.uniform(0, 2 / n, (rows, n))[late]
    return Case(fields, weights, case.config)


def cut(case: Case, t: int) -> Case:
    """Bars 0..t alone; the timestamp of the next one is what a live user knows of it."""
    stamps = np.asarray(case.fields["timestamps"])
    return case.change(lambda x: x[: t + 1], timestamps=stamps[: t + 1], next_timestamp=stamps[t + 1])


@pytest.mark.parametrize("block", SEEDS, ids=lambda s: f"{s.start}-{s.stop - 1}")
def test_what_comes_after_a_bar_changes_nothing_before_it(engine, block):
    for seed in block:
        case, rng = drawn(seed), np.random.default_rng(seed)
        rows = len(case.weights)
        if rows < 2:
            continue
        whole, t = case.run(engine), int(rng.integers(0, rows - 1))
        assert_same(scrambled(case, t, rng).run(engine), whole, bars=t + 1)
        assert_same(cut(case, t).run(engine), whole, bars=t + 1)


@pytest.mark.parametrize(
    "name", ["close", "open", "high", "low", "volume", "dividend", "split", "weights", "delisted_at"]
)
def test_one_input_of_a_universe_at_a_time(engine, name):
    case, rng, t = universe(), np.random.default_rng(3), 150
    changed = scrambled(case, t, rng)
    if name == "weights":
        other = dataclasses.replace(case, weights=changed.weights)
    elif name in ("close", "open"):
        # Together with what it needs: high and low may only stand where there is a close or an open.
        other = Case(
            case.fields | {k: changed.fields[k] for k in ("close", "open", "high", "low")}, case.weights, case.config
        )
    elif name in ("high", "low"):
        values = np.array(case.fields[name])
        values[t + 1 :] *= 1.5
        other = Case(case.fields | {name: values}, case.weights, case.config)
    else:
        other = Case(case.fields | {name: changed.fields[name]}, case.weights, case.config)
    got, want = other.run(engine), whole_universe(engine)
    assert_same(got, want, bars=t + 1)
    if name not in ("high", "low"):  # which a weights run does not read; all others matter afterwards
        assert got.raw.money[0, 0, -1] != want.raw.money[0, 0, -1]


@functools.cache
def whole_universe(engine: str) -> bt.Result:
    return universe().run(engine)


def test_a_result_is_not_changed_by_appending_bars(engine):
    for t in (0, 1, 77, 298):
        assert_same(cut(universe(), t).run(engine), whole_universe(engine), bars=t + 1)


# --- float32 ---


@pytest.mark.parametrize("block", SEEDS[:3], ids=lambda s: f"{s.start}-{s.stop - 1}")
def test_a_float32_panel_is_its_float64_upcast(engine, block):
    def to(dtype):
        return lambda x: x if x.dtype == bool else x.astype(np.float32).astype(dtype)

    for seed in block:
        small, wide = (drawn(seed).change(to(d), weights=drawn(seed).weights) for d in (np.float32, np.float64))
        got, want = small.run(engine), wide.run(engine)
        assert small.fields["close"].dtype == np.float32
        assert_same(got, want)


def test_float32_weights_are_their_float64_upcast(engine):
    small = universe().weights.astype(np.float32)
    one, two = (dataclasses.replace(universe(), weights=small.astype(d)).run(engine) for d in (np.float32, np.float64))
    assert_same(one, two)
