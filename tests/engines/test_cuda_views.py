# SPDX-License-Identifier: Apache-2.0
"""What leaves the CUDA engine on the device, and what a strategy sees and says there: bits of NumPy, copies counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from emulator.build import why_not
from emulator.fake_arrays import Array, Plain, on_device
from emulator.fake_cupy import Stream, installed
from emulator.fake_numbers import Numbers, Reckoning
from sweep_cases import assert_same_sweep, universe

import gpu_bt as bt
from gpu_bt.cuda.views import DeviceView
from gpu_bt.data.arrays import as_array
from gpu_bt.data.fields import FIELDS
from gpu_bt.data.synthetic import random_weights
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.resident import Resident, on_host
from gpu_bt.engine.spec import RunSpec, simulate
from gpu_bt.law.layout import pack
from gpu_bt.runs.drive import drive
from gpu_bt.runs.run import callback_spec
from gpu_bt.runs.views import HostView

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning"),
]
#: Bars and assets, so that no row of either is as small as what is counted beside them.
SHAPE = (30, 90)


@pytest.fixture
def fake() -> Iterator[Reckoning]:
    with installed(Reckoning("random")) as fake:
        yield fake


def host(array: object) -> np.ndarray:
    """What a library finds that takes an array by its interface."""
    assert isinstance(array, Resident)
    told = array.__cuda_array_interface__
    assert told["strides"] is None and told["data"][0] == array.pointer
    assert array.__dlpack_device__() == (2, 0)
    return np.asarray(array)


# --- results ---


def test_the_record_of_a_run_stays_on_the_device(fake: Reckoning):
    panel = universe(*SHAPE)
    weights, config = random_weights(panel, 0.5, seed=1), bt.Config(lot=10, cash_rate=0.01)
    wanted = bt.run(panel, weights, config, engine="numpy")
    found = bt.run(panel, weights, config, engine="cuda")
    fake.fetched.clear()
    positions = found.array("positions")
    assert positions.shape == SHAPE and max(fake.fetched) < positions.nbytes / 8
    assert found.array("positions").pointer == positions.pointer  # made once
    assert_bits("positions", host(positions), wanted.positions)
    assert_bits("positions", found.positions, wanted.positions)
    fake.fetched.clear()
    for name in ("equity", "cash", "commission"):
        assert_bits(name, host(found.array(name)), wanted.equity[name].to_numpy())
    held = host(found.array("holdings"))
    assert dict(zip(panel.assets, held.tolist(), strict=True)) == dict(wanted.final_positions.rows()) | {
        name: 0.0 for name, x in zip(panel.assets, held, strict=True) if x == 0
    }
    del found
    assert_bits("positions", host(positions), wanted.positions)  # its memory is its own


def test_holdings_of_nothing_are_not_sent(fake: Reckoning):
    """A thousand scenarios of 5,000 assets would be 80 MB of zeros."""
    panel = universe(12, 90)
    weights = random_weights(panel, 0.5, seed=1)
    spec = RunSpec(panel.market, pack([bt.Config()] * 50), (weights,), np.ones((1, 12), bool), "equity")
    fake.sent.clear()
    simulate(resolve("cuda"), spec)
    assert max(fake.sent) < 50 * 90 * 8


def test_positions_that_are_on_the_host_already_are_sent(fake: Reckoning):
    panel = universe(*SHAPE)
    found = bt.run(panel, random_weights(panel, 0.5, seed=1), engine="cuda", record="positions")
    assert_bits("positions", host(found.array("positions")), found.positions)


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_on_the_processor_they_are_numpy_arrays(engine: str):
    panel = universe(*SHAPE)
    found = bt.run(panel, random_weights(panel, 0.5, seed=1), engine=engine)
    for name, wanted in (("positions", found.positions), ("equity", found.raw.money[0, 0])):
        array = np.from_dlpack(found.array(name))
        assert_bits(name, array, wanted)
        assert not np.shares_memory(array, wanted)
    assert found.array("holdings").shape == (90,)
    with pytest.raises(bt.ConfigError, match="name is 'prices': it must be one of 'positions', 'holdings', 'equity'"):
        found.array("prices")


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("metrics", ["all", "equity"])
def test_equity_rows_of_a_sweep_stay_on_the_device(fake: Reckoning, metrics: str, parts: int, monkeypatch):
    panel = universe(*SHAPE)
    grid = {"commission_rate": [0.0, 1e-3], "band": [0.0, 0.01, 0.02]}
    options = {"weights": random_weights(panel, 0.5, seed=1), "grid": grid, "metrics": metrics, "chunk_size": 4}
    wanted = bt.sweep(panel, **options, equity=True, engine="numpy")
    if parts > 1:
        import gpu_bt.cuda.engine as engines

        split = engines._Part
        plan = engines.CudaSession._plan

        def planned(self, members, room):
            plan(self, members, room)
            self.parts = [split(self, m) for m in np.array_split(members, min(parts, len(members)))]

        monkeypatch.setattr(engines.CudaSession, "_plan", planned)
    found = bt.sweep(panel, **options, equity="device", engine="cuda")
    assert found.table.drop("advice").equals(wanted.table.drop("advice"))
    rows = found.array("equity")
    assert rows.shape == (6, SHAPE[0]) and found.array("equity").pointer == rows.pointer
    assert_bits("equity", host(rows), wanted.equity)
    assert_bits("equity", found.equity, wanted.equity)
    assert_bits("returns", found.returns(), wanted.returns())


def test_a_sweep_without_a_device_has_its_rows_as_numpy_arrays(tmp_path):
    panel = universe()
    grid = {"band": [0.0, 0.01]}
    found = bt.sweep(panel, random_weights(panel, 0.5, seed=1), grid=grid, equity="device", engine="cpu", out=tmp_path)
    assert_bits("equity", np.from_dlpack(found.array("equity")), found.equity)
    with pytest.raises(bt.ConfigError, match="name is 'cash': it must be one of 'equity'"):
        found.array("cash")
    with pytest.raises(bt.ResultError, match="the equity rows were not kept"):
        bt.sweep(panel, random_weights(panel, 0.5, seed=1), grid=grid, engine="cpu").array("equity")
    with pytest.raises(bt.ConfigError, match="equity is 'gpu': it must be one of True, False, 'device'"):
        bt.sweep(panel, random_weights(panel, 0.5), grid={"band": [0.0]}, equity="gpu")


def test_equity_rows_on_the_device_are_kept_in_a_folder(fake: Reckoning, tmp_path):
    panel = universe(*SHAPE)
    options = {"weights": random_weights(panel, 0.5, seed=1), "grid": {"band": [0.0, 0.01, 0.02]}, "chunk_size": 2}
    found = bt.sweep(panel, **options, equity="device", engine="cuda", out=tmp_path)
    again = bt.sweep(panel, **options, equity="device", engine="cuda", out=tmp_path)
    assert again.run == 0
    assert_bits("equity", host(again.array("equity")), found.equity)


# --- strategies ---


class Everything(bt.Strategy):
    """Every order and every view, on arrays of whichever library it is given."""

    device = True
    rows: Any = None

    def initialize(self):
        self.exits = bt.Exits(stop_loss=0.05, take_profit=0.2, trailing_stop=0.1)
        self.seen = []

    def on_data_batch(self, timestamp, batch):
        xp, bar = batch.xp, batch.bar
        if self.rows is not None:
            self.rows(self, batch)
        self.seen.append(type(batch.close))
        past = batch.history("close", 5, adjusted=True)
        change = past[-1] / past[0] - 1
        top, bottom = batch.top(change, 20), batch.bottom(change, 7)
        if bar % 7 == 0:
            weights = xp.where(batch.present, 0.5 / batch.close, xp.nan)
            self.order_target_percent(xp.where(change > 0, weights, xp.nan))
        elif bar % 7 == 1:
            self.order_target_percent(top, 0.01)
            self.close_others(top)
        elif bar % 7 == 2:
            self.order(bottom, 10 * xp.ones(len(bottom)), limit=batch.close[bottom] * 0.99)
            self.order(batch.assets[0], 5)
            self.order(
                ["A0003", "A0004"] if "A0003" in batch.assets else [3, 4], [7, 8], stop=batch.close[[3, 4]] * 1.01
            )
        elif bar % 7 == 3:
            self.order_target_value(batch.present & (change > 0), 1000.0)
            self.order_target_shares(bottom, xp.arange(len(bottom)) * 3.0)
        elif bar % 7 == 4:
            self.cancel(top[:3])
            if self.rows is None:  # a row with labels is made on the host
                self.order_target_percent({batch.assets[5]: 0.02})
        elif bar % 7 == 5:
            self.order_target_percent(batch.index(list(batch.assets[:3])), [0.01, 0.02, 0.03])
            self.order_target_percent(xp.minimum(self.portfolio.weights * 0.9, 0.02))
        else:
            self.cancel()
            self.order_target_percent(xp.asarray([8, 9, 8]), xp.asarray([0.01, 0.02, 0.03]))  # 8 twice: the last counts
        assert self.portfolio.equity > 0 and self.portfolio.cash <= self.portfolio.equity + 1e-6
        assert self.portfolio.shares.shape == self.portfolio.orders.shape == self.portfolio.values.shape

    def finalize(self):
        self.last = on_host(self.portfolio.shares)

    def risk(self, orders, portfolio, batch):
        large = np.abs(orders.after) > 0.03
        orders.weights[large] /= 2
        orders.shares[large] /= 2
        if batch.bar % 5 == 0:
            orders.drop(batch.present & (batch.volume > 0) & (orders.shares > 6))
        return orders


CONFIGS = [
    bt.Config(rebalance_every=1),
    bt.Config(lot=10, sizing="last", slippage=1e-3, execution="same_close", outside="close"),
    bt.Config(account="margin", max_weight=0.05, rebalance_every=2),
]


@pytest.mark.parametrize("kind", ["float64", "float32", "holdings"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_strategy_on_the_device_is_the_strategy_on_the_host(fake: Reckoning, config: bt.Config, kind: str):
    panel, holdings = universe(60, 40), None
    if kind == "float32":
        given = {name: getattr(panel, name) for name in FIELDS if getattr(panel, name) is not None}
        floats = {name: x.astype(np.float32) if x.ndim == 2 and x.dtype == float else x for name, x in given.items()}
        panel = bt.Panel(**floats, timestamps=panel.timestamps, assets=panel.assets, prices="raw")
    elif kind == "holdings":
        quoted = np.flatnonzero(~np.isnan(panel.close[0]))[:3]
        holdings = {panel.assets[i]: 100 for i in quoted}
    mine, theirs = Everything(), Everything()
    found = bt.run(panel, mine, config, engine="cuda", holdings=holdings)
    assert set(mine.seen) == {fake.ndarray}
    wanted = bt.run(panel, theirs, config, engine="numpy", holdings=holdings)
    assert set(theirs.seen) == {np.ndarray}
    assert_bits("shares at the end", mine.last, theirs.last)
    assert_bits("money", found.raw.money, wanted.raw.money)
    assert_bits("positions", found.positions, wanted.positions)
    assert found.fills.equals(wanted.fills) and len(wanted.fills) > 100 and found.cuts.equals(wanted.cuts)
    assert found.decisions == wanted.decisions and found.advice.keys() == wanted.advice.keys()
    assert_bits("holdings", np.asarray(found.array("holdings")), wanted.array("holdings"))

    class Hosted(Everything):
        device = False

    again = bt.run(panel, last := Hosted(), config, engine="cuda", holdings=holdings)
    assert set(last.seen) == {np.ndarray}
    assert_bits("money", again.raw.money, wanted.raw.money)


def test_a_device_without_room_for_a_strategys_arrays_says_so():
    """Whichever allocation fails: an error with a way out, or the same run."""
    panel = universe(8, 40)
    wanted = bt.run(panel, Everything(), engine="numpy").raw.money
    with installed(Reckoning("random")) as fake:
        bt.run(panel, Everything(), engine="cuda")
        count, notes = fake.allocations, []
        for k in range(1, count, count // 40):
            fake.allocations, fake.fail_at = 0, k
            try:
                assert_bits("money", bt.run(universe(8, 40), Everything(), engine="cuda").raw.money, wanted)
            except MemoryError as error:
                notes.append(getattr(error, "__notes__", [""])[-1])
    assert len(notes) > 20
    assert set(notes) <= {"the GPU has no room: free some of it, or set Everything.device = False", ""}
    assert notes.count("") < 5  # while the engine itself makes room


def test_a_look_ahead_is_found_on_the_device_too(fake: Reckoning):
    panel = universe(40, 12)

    class Honest(bt.Strategy):
        device = True

        def on_data_batch(self, timestamp, batch):
            self.order_target_percent(batch.xp.where(batch.close > 20, 0.01, 0.0))

    class Ahead(Honest):
        def on_data_batch(self, timestamp, batch):
            later = panel.close[min(batch.bar + 1, 39)]
            self.order_target_percent(batch.xp.asarray(np.where(later > batch.bar, 0.01, 0.0)))

    bt.check_lookahead(Honest, panel, engine="cuda")
    with pytest.raises(bt.StrategyError, match="it looks ahead"):
        bt.check_lookahead(Ahead, panel, engine="cuda")


@pytest.mark.parametrize("kind", ["cupy", "plain", "resident"])
def test_a_look_ahead_in_an_array_on_the_device_is_found(fake: Reckoning, kind: str):
    """An array that a method closes over is changed, on its device, as one of NumPy's is."""
    panel = universe(40, 12)
    array = fake.asarray(panel.close)
    signal = {"cupy": array, "plain": Plain(array), "resident": as_array("signal", array, bt.PanelError)}[kind]

    class Ahead(bt.Strategy):
        device, ahead = True, 1

        def on_data_batch(self, timestamp, batch):
            row = batch.xp.asarray(signal)[min(batch.bar + self.ahead, 39)]
            self.order_target_percent(batch.xp.where(row > batch.bar, 0.01, 0.0))

    class Honest(Ahead):
        ahead = 0

    bt.check_lookahead(Honest, panel, engine="cuda")
    with pytest.raises(bt.StrategyError, match="it looks ahead"):
        bt.check_lookahead(Ahead, panel, engine="cuda")


def test_a_sweep_over_a_strategy_on_the_device(fake: Reckoning):
    class Top(bt.Strategy):
        device, names = True, 3

        def on_data_batch(self, timestamp, batch):
            self.order_target_percent(batch.top(batch.close, self.names), 0.9 / self.names)

    grid = {"names": [2, 5], "slippage": [0.0, 1e-3]}
    found, wanted = (bt.sweep(universe(), Top, grid=grid, equity="device", engine=e) for e in ("cuda", "numpy"))
    assert_same_sweep(found, wanted, but="advice")
    assert_bits("equity", np.asarray(found.array("equity")), wanted.equity)


def test_nothing_of_the_size_of_a_row_is_copied_at_a_bar(fake: Reckoning):
    panel, counts = universe(*SHAPE), []

    def rows(strategy, batch):
        counts.append((len(fake.sent), len(fake.fetched)))

    class Counted(Everything):
        def __init__(self):
            self.rows = rows

        def initialize(self):
            self.exits, self.seen = bt.Exits(stop_loss=0.05), []

    found = bt.run(panel, Counted(), bt.Config(), engine="cuda", record="positions")
    assert len(counts) > 25 and isinstance(found.raw.positions, Resident)
    (sent, fetched), (sent_last, fetched_last) = counts[8], counts[-1]  # by then each panel was asked for
    row = 8 * SHAPE[1]
    assert max(fake.sent[sent:sent_last]) < row / 2
    assert max(fake.fetched[fetched:fetched_last]) < row / 2
    assert sum(fake.fetched[fetched:fetched_last]) / (len(counts) - 9) < row  # nor a row in pieces


def test_a_bar_of_a_strategy_on_the_device_is_few_calls(fake: Reckoning, monkeypatch):
    """What is queued, and what is waited for; the engine's own is half of it, and the stand-in waits for two more."""
    prices, plain = 50 + np.random.default_rng(1).random((2, *SHAPE)), universe(*SHAPE)
    panel, at = bt.Panel(prices[0], open=prices[1], timestamps=plain.timestamps, assets=plain.assets), []
    count = {"calls": 0, "waits": 0}
    honest = {"calls": Reckoning.queue, "waits": Stream.synchronize, "made": Reckoning.wrapped}

    def counted(name, work):
        def call(*given):
            count[name] += 1
            return work(*given)

        return call

    monkeypatch.setattr(Reckoning, "queue", counted("calls", honest["calls"]))
    monkeypatch.setattr(Reckoning, "wrapped", counted("calls", honest["made"]))
    monkeypatch.setattr(Stream, "synchronize", counted("waits", honest["waits"]))

    class Momentum(bt.Strategy):
        device = True

        def on_data_batch(self, timestamp, batch):
            at.append(tuple(count.values()))
            past = batch.history("close", 5)
            best = batch.top(past[-1] / past[0], 8)
            self.order_target_percent(best, 1.0 / 8)
            self.close_others(best)

    bt.run(panel, Momentum(), engine="cuda", record="positions")
    calls, waits = ((b - a) / 20 for a, b in zip(at[8], at[28], strict=True))
    assert calls < 40 and waits <= 13


def test_the_best_on_the_device_are_the_best_on_the_host(fake: Reckoning):
    """With ties, zeros of both signs, infinities and NaN; more than there are, none, and a number that is none."""
    rng, view = np.random.default_rng(3), DeviceView.__new__(DeviceView)
    view.xp = fake
    for most in (0, 1, 3, 7.9, 40, np.inf, -2.0):
        score = rng.choice([np.nan, -np.inf, np.inf, -0.0, 0.0, 1.0, 2.0, -3.5], 20)
        may = (score == score) & (rng.random(20) < 0.8)
        found = view.best(fake.asarray(score), fake.asarray(may), most)
        assert found.tolist() == HostView.best(None, score, may, most).tolist(), most


def test_rows_are_those_of_the_panel_without_a_copy(fake: Reckoning):
    panel, places = universe(*SHAPE), []

    class Look(bt.Strategy):
        device = True

        def on_data_batch(self, timestamp, batch):
            places.append((batch.close.data.ptr, batch.history("close", 2).data.ptr, batch.volume.data.ptr))

    bt.run(panel, Look(), engine="cuda", record=())
    step = set(np.diff([close for close, *_ in places]).tolist())
    assert step == {8 * SHAPE[1]}
    assert all(close - past == 8 * SHAPE[1] for close, past, _ in places[1:])
    sent = len(fake.sent)
    places.clear()
    bt.run(panel, Look(), engine="cuda", record=())
    assert max(fake.sent[sent:]) < panel.close.nbytes / 4  # the panel lies there already


def given(fake: Reckoning, kind: str, values: np.ndarray) -> Any:
    """An array of a library's that lies on the device."""
    return on_device(fake, values, kind)


@pytest.mark.parametrize("kind", ["torch", "plain", "cupy"])
def test_arrays_of_other_libraries_are_taken_where_they_lie(fake: Reckoning, kind: str):
    panel = universe(*SHAPE)
    rows = np.nan_to_num(random_weights(panel, 0.5, seed=3)) / 2

    class Given(bt.Strategy):
        device = True

        def on_data_batch(self, timestamp, batch):
            row = rows[batch.bar][None]
            self.order_target_percent(row[0] if batch.xp is np else Row(given(fake, kind, row)))

    class Row:
        """The row of an array of (1, N)."""

        def __init__(self, array):
            told = getattr(array, "array", array)
            flat = Array(fake, told.data, told.shape[1:], told.dtype)
            self.__class__ = type(array)
            vars(self).update(vars(array) | ({"array": flat} if hasattr(array, "array") else vars(flat)))

    found = bt.run(panel, Given(), engine="cuda")
    assert_bits("money", found.raw.money, bt.run(panel, Given(), engine="numpy").raw.money)


def test_what_a_strategy_says_and_keeps_is_as_on_the_host(fake: Reckoning):
    """An index that is one number, one of no assets, and a portfolio that is looked at when its bar is over."""
    panel = universe(*SHAPE)

    class Kept(bt.Strategy):
        device, last = True, None

        def on_data_batch(self, timestamp, batch):
            xp, now = batch.xp, self.portfolio
            self.order_target_percent(xp.where(batch.present, 0.004, 0.0))
            self.order_target_percent(xp.argmax(xp.where(batch.present, batch.close, 0.0)), 0.1)
            self.order_target_percent(xp.zeros(0), 0.3)
            if self.last is not None:
                self.order_target_percent(xp.where((now.shares != self.last.shares) & batch.present, 0.002, xp.nan))
            self.last = now

    found, wanted = (bt.run(panel, Kept(), engine=engine) for engine in ("cuda", "numpy"))
    assert wanted.fills.height > 100
    assert_bits("money", found.raw.money, wanted.raw.money)


def test_timestamps_may_lie_on_the_device(fake: Reckoning):
    panel, days = universe(5, 3), np.arange(20240101, 20240106)
    found = bt.Panel(fake.asarray(panel.close), timestamps=fake.asarray(days), assets=panel.assets)
    assert found.label(4) == "2024-01-05"
    with pytest.raises(bt.PanelError, match=r"timestamps\[0\] is 0: it must be a date"):
        bt.Panel(panel.close, timestamps=fake.asarray(np.arange(5)), assets=panel.assets)


def test_an_array_of_another_device_is_refused():
    with installed(Reckoning("random", devices=2)) as fake:
        with fake.cuda.Device(1):
            elsewhere = fake.wrapped(np.zeros(SHAPE[1]))

        class Wrong(bt.Strategy):
            device = True

            def on_data_batch(self, timestamp, batch):
                self.order_target_percent(elsewhere)

        with pytest.raises(bt.StrategyError, match=r"order_target_percent at .* lies on GPU 1 and"):
            bt.run(universe(*SHAPE), Wrong(), engine="cuda")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (
            lambda s, b: s.order_target_percent(b.close * 0 + 2000),
            r"order_target_percent\['.*'\] at .*: 2000.0 is not in",
        ),
        (lambda s, b: s.order_target_percent(-b.close / b.close), r"-1.0: a cash account is long-only"),
        (
            lambda s, b: s.order_target_percent(b.close[:3]),
            r"without an amount it takes an \(N,\) row of numbers, N = 90",
        ),
        (lambda s, b: s.order_target_percent(b.present), r"without an amount it takes an \(N,\) row of numbers"),
        (lambda s, b: s.order(b.xp.asarray([3, 95]), 1), r"the panel has no asset 95: an index must be in \[0, 89\]"),
        (lambda s, b: s.order(b.close, 1), r"order at .*: assets are .*: pass names, indices or an \(N,\) bool mask"),
        (lambda s, b: s.order([0, 1], b.close[:3]), r"2 assets and 3 numbers"),
        (lambda s, b: s.order([0], b.close[:1] * b.xp.nan), r"shares are None or have a NaN"),
        (lambda s, b: s.order([0], 1, limit=b.xp.zeros(1)), r"order\(limit=\)\['.*'\] at .*: 0.0 is no price"),
        (lambda s, b: b.top(b.close[:4], 2), r"a score at .* has shape \(4,\)"),
    ],
)
def test_mistakes_have_the_same_words(fake: Reckoning, order: Any, text: str):
    panel = universe(*SHAPE)

    class Wrong(bt.Strategy):
        device = True

        def on_data_batch(self, timestamp, batch):
            order(self, batch)

    said = []
    for engine in ("numpy", "cuda"):
        with pytest.raises(bt.StrategyError, match=text) as caught:
            bt.run(panel, Wrong(), engine=engine)
        said.append(str(caught.value))
    assert (
        re.split(" is | are ", said[0])[0] == re.split(" is | are ", said[1])[0]
    )  # an array is shown as its library shows it


def test_device_is_a_choice_of_three():
    class Wrong(bt.Strategy):
        device = "cuda"

        def on_data_batch(self, timestamp, batch):
            pass

    with pytest.raises(bt.StrategyError, match="device is 'cuda': it must be True or False"):
        bt.run(universe(), Wrong())


def test_what_waits_on_the_users_stream_is_waited_for(fake: Reckoning):
    """Nothing else looks at the numbers: a decision, and what is made of holdings that the rest of the bar changes."""
    panel, config = universe(60, 90), bt.Config(execution="same_close", initial_cash=1e5)
    bars = np.ones(60, bool)

    class Late(bt.Strategy):
        device = True

        def initialize(self):
            self.kept = []

        def on_data_batch(self, timestamp, batch):
            self.kept.append(self.portfolio.shares)
            if batch.bar < 20:  # later only splits and settlements change what is held
                self.order(batch.index(list(batch.assets[:30])), 3 + (batch.bar % 3 - 1) * batch.xp.arange(30.0))

    found = []
    for name in ("numpy", "cuda"):
        strategy = Late()
        session = resolve(name).open(callback_spec(panel, config, bars, positions=True))
        raw = drive(strategy, panel, config, session, bars)
        found.append((raw, [on_host(shares) for shares in strategy.kept]))
    assert_bits("positions", found[1][0].positions, found[0][0].positions)
    held = found[0][0].positions[0]
    assert (np.diff(held[:20], axis=0) != 0).any() and (np.diff(held[20:], axis=0) != 0).any()
    for t, (theirs, mine) in enumerate(zip(*(kept for _, kept in found), strict=True)):
        assert_bits(f"shares at bar {t}", mine, theirs)


def on_gpu(fake: Reckoning, panel: bt.Panel) -> bt.Panel:
    """A panel whose arrays are CuPy's."""
    given = {name: getattr(panel, name) for name in FIELDS if getattr(panel, name) is not None}
    fields = {name: fake.wrapped(x) if x.ndim == 2 else x for name, x in given.items()}
    return bt.Panel(**fields, timestamps=panel.timestamps, assets=panel.assets, prices="raw")


def test_a_strategy_on_a_panel_that_lies_on_the_device(fake: Reckoning):
    """Its rows are those of the user's own arrays; where it says so, or on a processor, NumPy's."""
    close = fake.wrapped(universe(60, 40).close)
    panel, there = universe(60, 40), on_gpu(fake, universe(60, 40))

    class Whatever(Everything):
        device = None

    class Hosted(Everything):
        device = False

    for config in CONFIGS:
        wanted = bt.run(panel, Whatever(), config, engine="numpy")
        for cls, engine, kind in (
            (Whatever, "cuda", fake.ndarray),
            (Hosted, "cuda", np.ndarray),
            (Whatever, "native", np.ndarray),
        ):
            found = bt.run(there, mine := cls(), config, engine=engine)
            assert set(mine.seen) == {kind}
            assert_bits("money", found.raw.money, wanted.raw.money)
            assert found.fills.equals(wanted.fills)

    class Look(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            places.append(batch.close.data.ptr)

    places: list[int] = []
    bt.run(
        bt.Panel(close, open=close, timestamps=panel.timestamps, assets=panel.assets), Look(), engine="cuda", record=()
    )
    assert places == [close.data.ptr + 8 * 40 * t for t in range(60)]


# --- weights that are made on the device ---


@pytest.mark.parametrize("kind", ["cupy", "torch", "plain"])
def test_a_sweep_over_weights_made_on_the_device(fake: Reckoning, kind: str):
    panel = universe(*SHAPE)
    grid = {"seed": [1, 2, 3], "band": [0.0, 0.01], "signal_lag": [0, 1]}

    def host_made(seed):
        return random_weights(panel, 0.5, seed=seed)

    def made(seed):
        return on_device(fake, host_made(seed), kind)

    wanted = bt.sweep(panel, host_made, grid=grid, engine="numpy", equity=True)
    bt.run(panel, host_made(1), engine="cuda")  # the panel lies there
    sent, fetched, book = len(fake.sent), len(fake.fetched), panel.close.nbytes
    found = bt.sweep(panel, made, grid=grid, engine="cuda", equity=True)
    assert max(fake.sent[sent:]) < book and book not in fake.fetched[fetched:]
    assert_same_sweep(found, wanted, but="advice")
    assert_same_sweep(bt.sweep(panel, made, grid=grid, engine="native", equity=True), wanted, but="advice")

    def wrong(seed):
        weights = host_made(seed)
        weights[3, 5] = 2000.0
        return on_device(fake, weights, kind)

    with pytest.raises(bt.WeightsError, match=r"^weights of scenario 0, wrong\(seed=1\): weights\[.*\] is 2000.0"):
        bt.sweep(panel, wrong, grid=grid, engine="cuda")
    same = made(1)
    with pytest.raises(
        bt.WeightsError, match=r"scenario 4, <lambda>\(seed=2\): it gave the memory .* of scenario 0 again"
    ):
        bt.sweep(panel, lambda seed: same, grid=grid, engine="cuda")


def test_a_device_with_room_for_some_of_the_weights_takes_them_in_passes():
    panel = universe(*SHAPE)
    grid = {"seed": list(range(24))}
    wanted = bt.sweep(panel, lambda seed: random_weights(panel, 0.5, seed=seed), grid=grid, engine="numpy", equity=True)
    alive: list[int] = []
    with installed(Reckoning(bytes_total=20 * panel.close.nbytes)) as fake:

        def made(seed):
            found = on_device(fake, random_weights(panel, 0.5, seed=seed), "cupy", late=False)
            alive.append(fake.used // panel.close.nbytes)
            return found

        assert_same_sweep(bt.sweep(panel, made, grid=grid, engine="cuda", equity=True), wanted, but="advice")
    assert len(alive) > 24 and max(alive) <= 12  # of 20


def test_the_stand_in_refuses_the_host(fake: Reckoning):
    array = fake.asarray(np.arange(6.0))
    assert isinstance(array, Numbers)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError, match="Unsupported type"):
        array + np.ones(6)
    fake.fetched.clear()
    assert bool(array[2:4].max() == 3.0) and fake.fetched == [1]
    assert np.flatnonzero(array > 3).tolist() == [4, 5]
