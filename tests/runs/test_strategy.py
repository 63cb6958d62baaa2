# SPDX-License-Identifier: Apache-2.0
"""Strategy, Batch and Portfolio as a user meets them: what is seen, what is refused, what a run leaves behind."""

from __future__ import annotations

import copy
import datetime as dt
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights, synthetic_universe

#: Most strategies here order nothing, or a few lots, which a run tells.
pytestmark = pytest.mark.filterwarnings("ignore:(no decision was|the median target):gpu_bt.errors.BacktestWarning")
NAN = np.nan
NAMES = ["A", "B", "C"]


def panel(close=None, t=4, **fields):
    """T bars of A, B and C, at 16 unless said."""
    close = np.full((t, 3), 16.0) if close is None else np.array(close, float)
    stamps = fields.pop(
        "timestamps", np.datetime64("2020-01-01", "us") + np.arange(len(close)) * np.timedelta64(1, "D")
    )
    return bt.Panel(close, timestamps=stamps, assets=NAMES[: close.shape[1]], **fields)


def path(**fields):
    flat = np.full((4, 3), 16.0)
    return panel(open=flat, high=flat, low=flat, **fields)


class Do(bt.Strategy):
    """Calls f(strategy, batch) at every bar."""

    def __init__(self, f):
        self.f = f

    def on_data_batch(self, timestamp, batch):
        self.timestamp = timestamp
        self.f(self, batch)


def run(f, market=None, **settings):
    record = settings.pop("record", "bars")
    config = bt.Config(**{"initial_cash": 1024.0, "execution": "same_close", "cash_buffer": 0.0, **settings})
    return bt.run(panel() if market is None else market, Do(f), config, engine="cpu", record=record)


def see(f, market=None, **settings):
    """What f gives at each bar."""
    seen = []
    run(lambda s, b: seen.append(f(s, b)), market, **settings)
    return seen


# --- the batch


def test_fields_are_rows_of_the_panel_without_a_copy():
    market = panel(volume=np.ones((4, 3)), can_buy=np.ones((4, 3), bool), group=["x", "y", "x"])
    b = see(lambda s, b: b, market)[2]
    assert np.shares_memory(b.close, market.close) and not b.close.flags.writeable and b.close.shape == (3,)
    assert b.bar == 2 and b.assets == ("A", "B", "C") and b.volume.tolist() == [1, 1, 1] and b.can_buy.dtype == bool
    assert b.group.tolist() == ["x", "y", "x"] and see(lambda s, b: b.group)[0] is None
    with pytest.raises(ValueError, match="read-only"):
        b.close[0] = 1.0


def test_a_batch_that_is_kept_stays_at_its_bar():
    kept = see(lambda s, b: b, panel([[1], [2], [4]]))
    assert [b.close.tolist() for b in kept] == [[1.0], [2.0], [4.0]]


def test_a_field_that_the_panel_lacks_is_an_attribute_error():
    b = see(lambda s, b: b)[0]
    with pytest.raises(AttributeError, match="the panel has no 'open': pass open= to the Panel"):
        _ = b.open
    with pytest.raises(AttributeError, match="a batch has no 'price'; it has close, open"):
        _ = b.price
    assert not hasattr(b, "volume")


def test_history_ends_at_the_bar_and_is_a_view():
    market = panel(np.arange(1.0, 13.0).reshape(4, 3))
    rows = see(lambda s, b: b.history("close", 2), market)
    assert [r.shape for r in rows] == [(2, 3)] * 4
    assert np.isnan(rows[0][0]).all() and rows[0][1].tolist() == [1, 2, 3] and rows[0].dtype == np.float64
    assert rows[2].tolist() == [[4, 5, 6], [7, 8, 9]] and np.shares_memory(rows[2], market.close)
    assert not rows[2].flags.writeable and np.isnan(see(lambda s, b: b.history("close", 99), market)[3]).sum() == 95 * 3
    masks = see(lambda s, b: b.history("can_buy", 2), panel(can_buy=np.ones((4, 3), bool)))
    assert masks[0].tolist() == [[False] * 3, [True] * 3] and masks[0].dtype == bool
    for n in (0, -1, 1.5):
        with pytest.raises(bt.StrategyError, match=r"n of history\('close'\) at 2020-01-01 is .* a whole number >= 1"):
            run(lambda s, b, n=n: b.history("close", n))
    with pytest.raises(AttributeError, match="the panel has no 'low'"):
        run(lambda s, b: b.history("low", 2))


def test_adjusted_history_knows_the_splits_so_far():
    market = panel([[16], [8], [8], [2]], split=[[1], [2], [1], [4]], prices="raw")
    rows = see(lambda s, b: b.history("close", 3, adjusted=True)[:, 0].tolist(), market)
    assert np.array_equal(rows, [[NAN, NAN, 16], [NAN, 8, 8], [8, 8, 8], [2, 2, 2]], equal_nan=True)
    assert see(lambda s, b: b.history("split", 2, adjusted=True)[:, 0].tolist(), market)[3] == [1.0, 4.0]


def test_top_and_bottom():
    b = see(lambda s, b: b)[0]
    assert b.top([1, 3, 2], 2).tolist() == [1, 2] and b.bottom([1, 3, 2], 2).tolist() == [0, 2]
    assert b.top([NAN, -np.inf, NAN], 3).tolist() == [1] and b.top([NAN] * 3, 2).tolist() == []
    assert b.bottom([NAN, 1, 0], 3).tolist() == [2, 1]
    assert b.top([5, 5, 5], 2).tolist() == [0, 1] and b.bottom([5, 5, 5], 2).tolist() == [0, 1]
    assert b.top([1, 2, 3], 0).tolist() == [] and b.top([True, False, True], 2).tolist() == [0, 2]
    with pytest.raises(bt.StrategyError, match=r"a score at 2020-01-01 has shape \(2,\): it must be \(N,\)"):
        b.top([1, 2], 1)


def test_top_is_a_stable_sort():
    rng = np.random.default_rng(1)
    market = synthetic_universe(2, 300, messy=False)
    b = see(lambda s, b: b, market, execution="next_open")[0]
    for _ in range(50):
        score = rng.integers(0, 12, 300) * rng.choice([1.0, NAN], 300, p=[0.8, 0.2])
        ranked = [i for i in np.argsort(-score, kind="stable") if not np.isnan(score[i])]
        n = int(rng.integers(0, 320))
        assert b.top(score, n).tolist() == ranked[:n]


def test_index_present_frame_and_repr():
    market = panel([[1, NAN, 2]], volume=[[1, 2, 3]], group=[1, 2, 1])
    (b,) = see(lambda s, b: b, market)
    assert b.index(["C", "A"]).tolist() == [2, 0] and b.index("B").tolist() == [1]
    assert b.present.tolist() == [True, False, True]
    assert repr(b) == "Batch(bar 0, 2020-01-01, 2 of 3 assets trade)"
    table = b.frame()
    assert table.columns == ["asset", "group", "close", "volume"] and table["asset"].to_list() == NAMES
    assert table.filter(pl.col("close").is_not_nan())["volume"].to_list() == [1.0, 3.0]
    with pytest.raises(bt.StrategyError, match=r"index at 2020-01-01: the panel has no asset 'D'"):
        b.index(["A", "D"])


def test_timestamps_are_datetimes_of_the_panels_zone():
    s = Do(lambda s, b: None)
    bt.run(panel(), s, bt.Config(execution="same_close"))
    assert s.timestamp == dt.datetime(2020, 1, 4)
    market = panel(timestamps=[f"2020-06-0{d}T20:00:00+00:00" for d in (1, 2, 3, 4)])
    bt.run(market, s, bt.Config(execution="same_close"))
    assert s.timestamp.isoformat() == "2020-06-04T20:00:00+00:00"
    york = bt.Panel(np.ones((1, 1)), timestamps=[np.datetime64("2020-06-01T20:00")], assets=["A"],
                    time_zone="America/New_York")  # fmt: skip
    bt.run(york, s, bt.Config(execution="same_close"))
    assert s.timestamp.isoformat() == "2020-06-01T20:00:00-04:00"
    for zone in ("+05:30", "America/New_York"):
        kolkata = panel(timestamps=[f"2020-06-0{d}T20:00:00+05:30" for d in (1, 2, 3, 4)], time_zone=zone)
        bt.run(kolkata, s, bt.Config(execution="same_close"))
        shown = {"+05:30": "2020-06-04T20:00:00+05:30", "America/New_York": "2020-06-04T10:30:00-04:00"}
        assert s.timestamp.isoformat() == shown[zone]


# --- the portfolio


def test_values_and_cash_are_equity_to_the_tick():
    market = synthetic_universe(60, 30, seed=5)
    books = random_weights(market, 0.5, seed=6)

    def step(s, b):
        p = s.portfolio
        assert p.values.sum() + p.cash == p.equity and not p.values.flags.writeable
        assert np.array_equal(p.weights, p.values * (1 / p.equity))
        s.order_target_percent(books[b.bar])

    result = run(step, market, execution="next_open", initial_cash=1e6, commission_rate=1e-3)
    assert result.status == "OK" and result.fills.height > 100


def test_a_portfolio_is_that_of_its_bar():
    held = see(lambda s, b: (s.order("A", 8), s.portfolio.shares[0])[1])
    assert held == [0.0, 8.0, 16.0, 24.0]
    with pytest.raises(bt.StrategyError, match="portfolio at no bar: it is for on_data_batch"):
        _ = Do(None).portfolio
    with pytest.raises(bt.StrategyError, match="order at no bar"):
        Do(None).order("A", 1)


def test_initialize_and_finalize():
    class Life(bt.Strategy):
        def __init__(self):
            self.log = []

        def initialize(self):
            self.log.append("initialize")

        def on_data_batch(self, timestamp, batch):
            self.log.append(batch.bar)
            self.order("A", 8)

        def finalize(self):
            self.log.append((self.portfolio.shares[0], self.portfolio.cash, self.portfolio.equity))

    s = Life()
    bt.run(panel(t=2), s, bt.Config(execution="same_close", initial_cash=1024.0))
    assert s.log == ["initialize", 0, 1, (16.0, 768.0, 1024.0)]

    class Late(Life):
        def finalize(self):
            self.order("A", 1)

    with pytest.raises(bt.StrategyError, match="the run is over"):
        bt.run(panel(t=2), Late(), bt.Config(execution="same_close"))


def test_a_run_begins_anew_and_leaves_a_strategy_that_can_be_copied():
    class Counting(bt.Strategy):
        def initialize(self):
            self.asked, self.exits = 0, bt.Exits(stop_loss=0.5)

        def on_data_batch(self, timestamp, batch):
            self.asked += 1
            self.order_target_percent("A", 0.5)

    s, config = Counting(), bt.Config(execution="same_close")
    one, two = bt.run(panel(), s, config), bt.run(panel(), s, config)
    assert s.asked == 4 and one.raw.money.tobytes() == two.raw.money.tobytes()
    again = copy.deepcopy(s)
    assert again.asked == 4 and vars(again.exits) == {"stop_loss": 0.5, "take_profit": None, "trailing_stop": None}


def test_parameters_are_plain_attributes():
    class Half(bt.Strategy):
        weight = 0.5

        def on_data_batch(self, timestamp, batch):
            self.order_target_percent("A", self.weight)

    s = Half()
    s.weight = 0.25
    assert bt.run(panel(), s, bt.Config(execution="same_close", initial_cash=1024.0)).positions[-1, 0] == 15.0


# --- what a run says


def test_results_of_a_strategy_record_the_first_time():
    step = lambda s, b: s.order("A", 1)  # noqa: E731
    whole = run(step)
    assert whole.fills.height == 4 and whole.positions[-1, 0] == 4.0 and whole.notes["strategy"] == "Do"
    assert pickle.loads(pickle.dumps(whole)).fills.height == 4
    lean = run(step, record=())
    assert lean.raw.money.tobytes() == whole.raw.money.tobytes()
    with pytest.raises(
        bt.ResultError, match="fills were not recorded and this result cannot be replayed: run again wi"
    ):
        _ = lean.fills
    some = run(step, record="fills")
    assert some.fills.height == 4 and some.raw.positions is None
    with pytest.raises(bt.ResultError, match='run again with record="positions"'):
        _ = some.positions


def test_progress_counts_up_to_the_bars():
    seen = []
    s = Do(lambda s, b: None)
    bt.run(panel(t=250), s, bt.Config(execution="same_close"), progress=lambda done, bars: seen.append((done, bars)))
    assert [bars for _, bars in seen] == [250] * len(seen) and seen == sorted(seen) and seen[-1] == (250, 250)
    assert 50 <= len(seen) <= 101


def test_errors_of_user_code_pass_with_their_bar():
    def step(s, b):
        if b.bar == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        run(step)
    assert caught.value.__notes__ == ["in Do.on_data_batch at bar 2 (2020-01-03)"]
    with pytest.raises(bt.StrategyError, match="Strategy needs a method on_data_batch"):
        bt.run(panel(), bt.Strategy(), bt.Config(execution="same_close"))


def test_what_is_no_run_is_refused():
    with pytest.raises(bt.ConfigError, match="signal_lag is 1: it delays weights rows; a strategy needs signal_lag=0"):
        run(lambda s, b: None, signal_lag=1)
    with pytest.raises(bt.ConfigError, match=r"a strategy is an instance: pass Do\(...\), not the class"):
        bt.run(panel(), Do, bt.Config(execution="same_close"))
    with pytest.raises(bt.ConfigError, match="execution='next_open' fills at the open"):
        bt.run(panel(), Do(None))


# --- orders that cannot be meant


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.order_target_percent("Z", 0.1), "order_target_percent at 2020-01-01: the panel has no asset 'Z'"),
        (lambda s: s.order(["A", "a"], 1), "order at 2020-01-01: the panel has no asset 'a'"),
        (lambda s: s.order_target_percent(3, 0.1), r"the panel has no asset 3: an index must be in \[0, 2\]"),
        (lambda s: s.order_target_percent([0, -1], 0.1), "the panel has no asset -1"),
        (lambda s: s.order_target_percent([0.5], 0.1), "pass names, indices or an"),
        (lambda s: s.order_target_percent("A", np.inf), r"order_target_percent\['A'\] at 2020-01-01: inf is not in"),
        (lambda s: s.order_target_percent(["A", "B"], [0, 1001]), r"\['B'\] at .*: 1001.0 is not in \[0, 1000\]"),
        (lambda s: s.order_target_percent([0, NAN, -1]), r"\['C'\] at 2020-01-01: -1.0: a cash account is long-only"),
        (lambda s: s.order_target_percent("C", -0.1), r"\['C'\] .* long-only; use Config\(account='margin'\)"),
        (lambda s: s.order_target_value("B", -1), r"order_target_value\['B'\] at 2020-01-01: -1.0: a cash acc"),
        (lambda s: s.order_target_shares("B", -1), r"order_target_shares\['B'\] at 2020-01-01: -1.0: a cash account"),
        (lambda s: s.order_target_shares("B", np.inf), r"\['B'\] at 2020-01-01: inf is not in \[0, 1e\+15\]"),
        (lambda s: s.order("B", -np.inf), r"order\['B'\] at 2020-01-01: -inf is not in \[-1e\+15, 1e\+15\]"),
        (lambda s: s.order("B", NAN), "shares are None or have a NaN"),
        (lambda s: s.order_target_percent([0.1, 0.2]), r"without an amount it takes an \(N,\) row of numbers, N = 3"),
        (lambda s: s.order_target_percent("A"), r"without an amount it takes an \(N,\) row"),
        (lambda s: s.order_target_percent([0, 1], [0.1, 0.2, 0.3]), "2 assets and 3 numbers: pass one number"),
        (lambda s: s.order("A", 1, limit=0), r"order\(limit=\)\['A'\] at 2020-01-01: 0.0 is no price"),
        (lambda s: s.order(["A", "C"], 1, stop=[1, np.inf]), r"order\(stop=\)\['C'\] at 2020-01-01: inf is no price"),
        (lambda s: s.order(["A", "C"], 1, stop=[1, 2, 3]), "2 assets and 3 numbers"),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_meant(call, message):
    with pytest.raises(bt.StrategyError, match=message) as caught:
        run(lambda s, b: call(s), path())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["limit", "stop"])
def test_limits_and_stops_need_the_path(name):
    flat = np.full((4, 3), 16.0)
    for lacks in ("open", "high", "low"):
        market = panel(**{field: flat for field in ("open", "high", "low") if field != lacks})
        with pytest.raises(
            bt.StrategyError, match=rf"{name}=\)\['B'\] at 2020-01-01: it needs .*pass {lacks}= to the Pan"
        ):
            run(lambda s, b: s.order("B", 1, **{name: 16}), market)


def test_nan_amounts_leave_an_asset_as_it_is():
    def step(s, b):
        s.order(["A", "B"], 8)
        s.order_target_percent([NAN, 0.25, NAN])
        s.order_target_shares(["A", "C"], [NAN, 4])

    assert run(step).positions[0].tolist() == [8.0, 16.0, 4.0]
    free = run(lambda s, b: s.order("A", 4, limit=NAN, stop=NAN))
    assert free.positions[0, 0] == 4.0


def test_no_assets_are_no_orders():
    def step(s, b):
        s.order_target_percent([], 0.5)
        s.order([], 5, limit=3)
        s.order_target_value(np.zeros(3, bool), 5)
        s.cancel([])

    assert run(step).fills.height == 0


# --- risk and exits


def test_risk_sees_every_order_and_what_would_be_held():
    seen = {}

    class Stage(Do):
        def risk(self, orders, portfolio, batch):
            seen[batch.bar] = [
                x.copy() for x in (orders.weights, orders.shares, orders.limit, orders.stop, orders.after)
            ]
            if batch.bar == 1:
                orders.shares[1] = 2.0
                orders.drop([2])
                orders.weights[0] = 0.125
            return orders

    def step(s, b):
        if b.bar == 0:
            s.order_target_percent("A", 0.5)
            s.order("B", 4, limit=8.0)
        if b.bar == 1:
            s.order("B", 8, limit=16.0, stop=16.0)
            s.order("C", 16)

    # 16 a share and 1024 of cash: 4 shares of B wait at a limit of 8, 32 of A are bought.
    flat = np.full((3, 3), 16.0)
    market = panel(flat, open=flat, high=flat, low=flat)
    config = bt.Config(execution="same_close", initial_cash=1024.0, cash_buffer=0)
    result = bt.run(market, Stage(step), config)
    first, second, third = (np.array(seen[t]) for t in range(3))
    np.testing.assert_array_equal(first, [[0.5, NAN, NAN], [NAN, 4, NAN], [NAN, 8, NAN], [NAN] * 3, [0.5, 0.0625, 0]])
    np.testing.assert_array_equal(second[1:], [[NAN, 8, 16], [NAN, 16, NAN], [NAN, 16, NAN], [0.5, 0.125, 0.25]])
    np.testing.assert_array_equal(third[4], [0.125, 0.03125, 0])  # 2 shares of B, whose stop the third bar triggers
    assert result.positions.tolist() == [[32, 0, 0], [8, 0, 0], [8, 2, 0]]


class Watching(Do):
    """Keeps what its risk stage sees, and changes it by `change`."""

    change = None

    def risk(self, orders, portfolio, batch):
        self.seen = [*getattr(self, "seen", []), (orders.weights.copy(), orders.shares.copy(), orders.after)]
        if self.change is not None:
            self.change(self, orders)
        return orders


@pytest.mark.parametrize("outside", ["close", "hold"])
def test_risk_sees_what_exits_and_the_universe_close_and_cannot_take_it_back(outside):
    inside = np.ones((3, 3), bool)
    inside[1:, 1] = False
    close = np.array([[16.0] * 3, [8.0, 16.0, 16.0], [8.0, 16.0, 16.0]])
    market = panel(close, universe=inside)

    def step(s, b):
        if b.bar == 0:
            s.order(["A", "B"], 16)
        else:
            s.order("B", 8)

    def undo(s, orders):
        orders.weights[:2] = np.where(np.isnan(orders.weights[:2]), NAN, 0.25)

    config = bt.Config(execution="same_close", initial_cash=1024.0, cash_buffer=0, outside=outside)
    found = []
    for change in (None, undo):
        stage, plain = Watching(step), Do(step)
        stage.change, stage.exits, plain.exits = change, bt.Exits(stop_loss=0.25), bt.Exits(stop_loss=0.25)
        found.append(bt.run(market, stage, config))
        weights, shares, after = stage.seen[1]
        sold = outside == "close"
        np.testing.assert_array_equal(weights, [0, 0 if sold else NAN, NAN])
        np.testing.assert_array_equal(shares, [NAN, NAN if sold else 8, NAN])
        assert after[0] == 0 and (after[1] == 0) == sold
        found.append(bt.run(market, plain, config))
    for one in found[1:]:
        assert one.raw.money.tobytes() == found[0].raw.money.tobytes() and one.fills.equals(found[0].fills)
        assert one.raw.counts.tobytes() == found[0].raw.counts.tobytes()
    assert found[0].positions[1].tolist() == [0, 0 if outside == "close" else 16, 0]


def test_an_order_without_a_price_leaves_what_works_in_after():
    seen = {}

    class Stage(Do):
        def risk(self, orders, portfolio, batch):
            seen[batch.bar] = orders.shares[0], orders.after[0]
            return orders

    def step(s, b):
        s.order_target_value("A", 512) if b.bar else s.order("A", 16)

    close = np.array([[16.0], [NAN], [16.0]])
    bt.run(panel(close, open=[[NAN], [NAN], [16.0]]), Stage(step), bt.Config(initial_cash=1024.0))
    assert seen[1] == (np.inf, 0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, o: s.order([1], 50), "an order in risk at 2020-01-01: change `orders` and return them"),
        (lambda s, o: s.order_target_percent([1], 0.5), "an order in risk at 2020-01-01"),
        (lambda s, o: s.cancel(), "an order in risk at 2020-01-01"),
        (lambda s, o: s.close_others([0]), "an order in risk at 2020-01-01"),
        (lambda s, o: o.limit.__setitem__(0, 8.0), r"risk\['A'\] at .*: a limit or stop needs shares and no weight"),
        (lambda s, o: o.stop.__setitem__(2, 8.0), r"risk\['C'\] at 2020-01-01: a limit or stop needs shares"),
    ],
)  # fmt: skip
def test_what_a_risk_stage_may_not_do(change, message):
    def step(s, b):
        s.order_target_percent("A", 0.25)
        s.order("B", 20, limit=8.0)

    stage = Watching(step)
    stage.change = change
    config = bt.Config(execution="same_close", initial_cash=1024.0)
    with pytest.raises(bt.StrategyError, match=message) as caught:
        bt.run(path(), stage, config)
    assert "\n" not in str(caught.value)
    stage.change = lambda s, o: o.shares.__setitem__(1, NAN)  # takes the order back, whose limit means nothing then
    assert bt.run(path(), stage, config).positions[-1][1] == 0


def test_orders_that_risk_leaves_alone_are_the_same_to_the_bit():
    class Through(Do):
        def risk(self, orders, portfolio, batch):
            return orders

    def step(s, b):
        s.order_target_percent("A", 0.3)
        s.order_target_shares("B", 10 / 3)
        s.order_target_value("C", 100 / 7)

    config = bt.Config(execution="same_close", lot=0.1)
    one, two = (bt.run(panel(), kind(step), config) for kind in (Do, Through))
    assert one.raw.money.tobytes() == two.raw.money.tobytes() and one.fills.equals(two.fills)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda orders: None, "risk at 2020-01-01: it returned None: it must return its orders"),
        (lambda orders: orders.weights, "risk at 2020-01-01: it returned a ndarray: it must return its orders"),
        (lambda orders: setattr(orders, "shares", [1.0]) or setattr(orders, "limit", [1.0, 2.0]) or orders,
         "risk at 2020-01-01: 3 assets and 2 numbers"),
    ],
)  # fmt: skip
def test_a_risk_stage_gives_orders(change, message):
    class Wrong(Do):
        def risk(self, orders, portfolio, batch):
            return change(orders)

    with pytest.raises(bt.StrategyError, match=message):
        bt.run(panel(), Wrong(lambda s, b: None), bt.Config(execution="same_close"))


@pytest.mark.parametrize(
    ("assets", "left"),
    [
        ("B", [0, 2]),
        (["C", "A"], [1]),
        (1, [0, 2]),
        ([0, 1], [2]),
        (np.array([True, False, True]), [1]),
        (pd.Series({"C": True}), [0, 1]),
        ([], [0, 1, 2]),
        ("D", r"orders\.drop at 2020-01-01: the panel has no asset 'D'"),
        (3, r"orders\.drop at 2020-01-01: the panel has no asset 3"),
        (0.5, r"orders\.drop at 2020-01-01: assets are 0\.5"),
    ],
)
def test_a_risk_stage_drops_what_a_strategy_calls_assets(assets, left):
    class Drops(Do):
        def risk(self, orders, portfolio, batch):
            orders.drop(assets)
            return orders

    strategy = Drops(lambda s, b: s.order_target_percent(["A", "B", "C"], 0.25))
    if isinstance(left, str):
        with pytest.raises(bt.StrategyError, match=left) as caught:
            bt.run(panel(t=1), strategy, bt.Config(execution="same_close"))
        assert caught.value.__notes__ == ["in Drops.risk at bar 0 (2020-01-01)"]
    else:
        result = bt.run(panel(t=1), strategy, bt.Config(execution="same_close"))
        assert np.flatnonzero(result.positions[0]).tolist() == left


def test_a_risk_hook_of_targets_changes_targets():
    class Capped(Do):
        def risk(self, targets, portfolio, batch):
            assert portfolio.equity == 1024.0 and targets.shape == (3,)
            targets[2] = 0.25
            return np.minimum(targets, 0.25)

    def step(s, b):
        s.order_target_percent(["A"], 0.5)
        s.order(["B", "C"], 4)

    result = bt.run(panel(t=1), Capped(step), bt.Config(execution="same_close", initial_cash=1024.0, cash_buffer=0))
    assert result.positions[0].tolist() == [16.0, 4.0, 16.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "risk at 2020-01-01: it returned None"),
        (np.ones(2), r"risk at 2020-01-01: without an amount it takes an \(N,\) row"),
        (np.array([0, 0, -1.0]), r"risk\['C'\] at 2020-01-01: -1.0: a cash account is long-only"),
    ],
)
def test_a_risk_hook_gives_targets(value, message):
    class Wrong(Do):
        def risk(self, targets, portfolio, batch):
            return value

    with pytest.raises(bt.StrategyError, match=message):
        bt.run(panel(), Wrong(lambda s, b: None), bt.Config(execution="same_close"))


def held(exits, close, sizes=8.0, **fields):
    """Shares of one asset bought (or sold) at bar 0 alone, with exits; filled at the next bar's open = close."""
    close = np.array(close, float)[:, None]
    fields = {name: np.array(x, float)[:, None] for name, x in fields.items()}
    if "split" in fields:
        fields["prices"] = "raw"
    sizes = np.atleast_1d(sizes)

    def step(s, b):
        if b.bar < len(sizes):
            s.order("A", sizes[b.bar])

    s = Do(step)
    s.exits = exits
    config = bt.Config(account="margin", maintenance_margin=None, max_leverage=None)
    return bt.run(panel(close, open=close, **fields), s, config).positions[:, 0].tolist()


@pytest.mark.parametrize(
    ("exits", "close", "size", "wanted"),
    [
        (dict(stop_loss=0.25), [16, 16, 13, 12, 12, 12], 8, [0, 8, 8, 8, 0, 0]),
        (dict(stop_loss=0.25), [16, 16, 19, 20, 20, 20], -8, [0, -8, -8, -8, 0, 0]),
        (dict(take_profit=0.25), [16, 16, 19, 20, 20, 20], 8, [0, 8, 8, 8, 0, 0]),
        (dict(take_profit=0.25), [16, 16, 13, 12, 12, 12], -8, [0, -8, -8, -8, 0, 0]),
        (dict(trailing_stop=0.25), [16, 16, 32, 25, 24, 24], 8, [0, 8, 8, 8, 8, 0]),
        (dict(trailing_stop=0.25), [16, 16, 8, 9, 10, 10], -8, [0, -8, -8, -8, -8, 0]),
        (dict(trailing_stop=0.25, stop_loss=0.125), [16, 16, 15, 14, 14, 14], 8, [0, 8, 8, 8, 0, 0]),
        (dict(), [16, 16, 1, 1, 100, 1], 8, [0, 8, 8, 8, 8, 8]),
        # Not a price, no exit.
        (dict(stop_loss=0.25), [16, 16, 16, NAN, 12, 12], 8, [0, 8, 8, 8, 8, 0]),
        # The average of 8 at 16 and 8 at 24 is 20: 16 is 20 % below it, 15 is 25 %.
        (dict(stop_loss=0.25), [16, 16, 24, 16, 15, 15], [8, 8], [0, 8, 16, 16, 16, 0]),
    ],
)
def test_exits(exits, close, size, wanted):
    assert held(bt.Exits(**exits), close, size) == wanted


def test_exits_are_correct_under_splits():
    # Two for one at bar 2: entry 16 becomes 8, best 24 becomes 12.
    split = [1, 1, 2, 1, 1, 1]
    assert held(bt.Exits(stop_loss=0.25), [16, 16, 8, 7, 6, 6], split=split) == [0, 8, 16, 16, 16, 0]
    assert held(bt.Exits(take_profit=0.25), [16, 16, 8, 9, 10, 10], split=split) == [0, 8, 16, 16, 16, 0]
    assert held(bt.Exits(trailing_stop=0.25), [16, 24, 12, 10, 9, 9], split=split) == [0, 8, 16, 16, 16, 0]


def test_exits_win_over_targets_and_begin_anew_after_them():
    class Stubborn(bt.Strategy):
        def initialize(self):
            self.exits = bt.Exits(trailing_stop=0.25)

        def on_data_batch(self, timestamp, batch):
            self.order_target_shares("A", 8)

    close = np.array([[16.0], [16], [12], [12], [12], [12]])
    result = bt.run(panel(close, open=close), Stubborn(), bt.Config())
    assert result.positions[:, 0].tolist() == [0, 8, 8, 0, 8, 8]


def test_exits_between_scheduled_bars_remember_the_best_close():
    class Weekly(bt.Strategy):
        exits = bt.Exits(trailing_stop=0.25)

        def on_data_batch(self, timestamp, batch):
            if batch.bar == 0:
                self.order("A", 8)

    close = np.array([[16.0], [16], [64], [16], [16], [16]])
    result = bt.run(panel(close), Weekly(), bt.Config(rebalance_every=4, execution="next_close"))
    assert result.positions[:, 0].tolist() == [0, 8, 8, 8, 8, 0]


def test_exits_may_come_later():
    class Late(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            if batch.bar == 0:
                self.order("A", 8)
            if batch.bar == 2:
                self.exits = bt.Exits(stop_loss=0.25)  # from here on, from the price of this bar

    close = np.array([[16.0], [16], [8], [7], [6], [6]])
    result = bt.run(panel(close, open=close), Late(), bt.Config())
    assert result.positions[:, 0].tolist() == [0, 8, 8, 8, 8, 0]


@pytest.mark.parametrize("value", [0, -0.1, NAN])
def test_exits_are_fractions(value):
    with pytest.raises(bt.ConfigError, match=r"trailing_stop is .*: it must be a fraction > 0, or None"):
        bt.Exits(trailing_stop=value)
