# SPDX-License-Identifier: Apache-2.0
"""Every CPU engine against the oracle on drawn scenarios over every field, and against NumPy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from build import panel_of, simulate_spec, spec_of
from compare import assert_same_as_oracle, assert_same_raw
from draw import draw_weights, scenario, scenarios
from extent import examples, seeds
from hypothesis import HealthCheck, given, settings
from oracle import simulate

import gpu_bt as bt
from cpu_fallback import bar, native
from gpu_bt.config import CHOICES, Config
from gpu_bt.data.clock import SCHEDULE
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.errors import ConfigError
from gpu_bt.law.layout import MONEY, PARAMS, SCENARIO_STATUS, STRUCTURAL
from gpu_bt.runs.run import check_fields

ENGINES = [name for name in ("numpy", "native") if reasons()[name] is None]
OTHERS = [name for name in ENGINES if name != "numpy"]
on_every_engine = pytest.mark.parametrize("name", ENGINES)


def needs_native() -> None:
    if "native" not in ENGINES:
        pytest.skip(f"engine 'native': {reasons()['native']}")


@on_every_engine
@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(drawn=scenarios())
def test_drawn_scenarios(name, drawn):
    panel, weights, config = drawn
    spec = spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True)
    assert_same_as_oracle(simulate_spec(resolve(name), spec), simulate(panel, weights, config))


@pytest.mark.parametrize("block", range(8))
def test_fixed_seeds_without_logs(block):
    """What is recorded changes no bit, and an engine's short cuts are only taken when nothing is logged."""
    for seed in seeds(range(block * 150, (block + 1) * 150)):
        panel, weights, config = scenario(seed)
        spec, expected = spec_of(panel_of(panel, config), [weights], [config]), simulate(panel, weights, config)
        for name in ENGINES:
            assert_same_as_oracle(simulate_spec(resolve(name), spec), expected)


#: A value at which each number of a scenario shows; those that no run of weights can be without are left out.
ALONE = {
    "lot": 1.0, "max_leverage": 0.5, "maintenance_margin": 1.0, "commission_rate": 1e-3, "sell_tax": 2e-3,
    "commission_per_share": 0.01, "fixed_commission": 3.0, "min_commission": 3.0, "max_commission_rate": 1e-4,
    "slippage": 1e-3, "impact": 0.1, "participation": 0.01, "cash_rate": 0.05, "debit_rate": 0.08, "borrow_rate": 0.2,
    "cash_buffer": 0.1, "band": 0.02, "min_trade_value": 300.0, "max_weight": 0.05, "max_gross": 0.3,
    "max_turnover": 0.1, "max_drawdown": 0.02,
}  # fmt: skip
#: What such a number needs to show.
WITH = {"max_commission_rate": {"commission_rate": 1e-3}, "max_leverage": {"account": "margin"}} | {
    name: {"account": "margin", "max_leverage": None} for name in ("maintenance_margin", "debit_rate", "borrow_rate")
}


def test_every_number_shows_alone():
    """A short cut that is taken where some number is off looks at that number."""
    assert {*ALONE, "initial_cash", "tick"} == {n for n in PARAMS.names if PARAMS[n] == np.float64}
    rng = np.random.default_rng(5)
    t, n = 60, 20
    close = 20.0 * np.exp(np.cumsum(0.03 * rng.standard_normal((t, n)), axis=0))
    volume = np.full((t, n), 5000.0)
    panel = bt.Panel(close, volume=volume, timestamps=np.datetime64("2020-01-01") + np.arange(t), assets=range(n))
    for name, value in ALONE.items():
        more = {"lot": 0.0, "execution": "next_close", "maintenance_margin": None, **WITH.get(name, {})}
        weights = (rng.random((t, n)) - 0.2 * (more.get("account") == "margin")) / n * 4
        plain = Config(initial_cash=1e5, **more)
        spec = spec_of(panel, [weights], [plain, plain.replace(**{name: value})])
        raw = simulate_spec(resolve("numpy"), spec)
        assert raw.money[0, 0].tobytes() != raw.money[0, 1].tobytes(), name
        for other in OTHERS:
            assert_same_raw(simulate_spec(resolve(other), spec), raw)


def neighbours(seed: int, count: int) -> list[Config]:
    """Configs of other seeds that fit the panel of this one; most share its structural fields, so that they batch."""
    rng = np.random.default_rng(seed)
    panel, _, config = scenario(seed)
    public, found = panel_of(panel, config), [config]
    while len(found) < count:
        other = scenario(int(rng.integers(2**40)))[2]
        if rng.random() < 0.7:
            other = other.replace(**{name: getattr(config, name) for name in STRUCTURAL})
        try:
            check_fields(public, other)
        except ConfigError:
            continue
        found.append(other)
    return found


@pytest.mark.parametrize("shared", ["nothing", "rules", "book"])
@pytest.mark.parametrize("block", range(4))
def test_many_scenarios_at_once(block, shared):
    """Scenarios that go through the bars together, cut at drawn bars, each equal the oracle's. `shared`: all follow the
    same rules on books of their own, or one book on one schedule, so that they go through the bars in one batch."""
    for seed in seeds(range(block * 15, (block + 1) * 15)):
        rng = np.random.default_rng(seed)
        panel, weights, config = scenario(seed)
        configs = neighbours(seed, 6)
        books = [weights, *(draw_weights(rng, *panel.shape, "plain", c) for c in configs[1:])]
        if shared != "nothing":
            rule = (*SCHEDULE, "signal_lag", *STRUCTURAL)
            configs = [c.replace(**{name: getattr(config, name) for name in rule}) for c in configs]
            for book in books[1:]:
                book[rng.random(len(book)) < 0.4] = np.nan  # so that each decides at bars of its own
            if config.account == "cash":
                books = [np.abs(book) for book in books]
        if shared == "book":
            books = books[:1] if config.account == "cash" or rng.random() < 0.5 else books[1:2]
        spec = spec_of(panel_of(panel, config), books, configs, fills=seed % 2 == 0, positions=True)
        if shared != "nothing":
            spec.params["schedule"] = 0
        cuts = tuple(rng.integers(0, panel.shape[0] + 1, 3))
        expected = [simulate(panel, books[k % len(books)], c) for k, c in enumerate(configs)]
        found = [simulate_spec(resolve(name), spec, cuts) for name in ENGINES]
        for raw in found:
            assert_same_raw(raw, found[0])
            for k, oracle in enumerate(expected):
                assert_same_as_oracle(raw, oracle, k)


@on_every_engine
def test_a_scenario_logs_among_others_what_it_logs_alone(name):
    for seed in seeds(range(24)):
        panel, weights, config = scenario(seed)
        public, rates = panel_of(panel, config), (0.0, 0.001, 0.01)
        configs = [config.replace(commission_rate=rate) for rate in rates]
        together = simulate_spec(resolve(name), spec_of(public, [weights], configs, fills=True))
        for k, alone in enumerate(configs):
            raw = simulate_spec(resolve(name), spec_of(public, [weights], [alone], fills=True))
            for log in ("fills", "cuts"):
                mine = getattr(together, log)
                mine = mine[mine["scenario"] == k]
                mine["scenario"] = 0
                assert np.array_equal(mine, getattr(raw, log)), (seed, k, log)


def test_failures_have_parity(recwarn):
    """Each status at the same time, and wrong input refused in the same words."""
    seen = set()
    for seed in range(150):  # so many show each status
        panel, weights, config = scenario(seed)
        public = panel_of(panel, config)
        found = [bt.run(public, weights, config, engine=name).statuses for name in ENGINES]
        assert found == [found[0]] * len(ENGINES)
        seen |= set(found[0])
    assert seen == set(SCENARIO_STATUS[1:])
    public = bt.Panel(np.ones((2, 2)), timestamps=["2020-01-01", "2020-01-02"], assets=["A", "B"])
    plain = np.full((2, 2), 0.5)
    for weights, config in ((plain[:, 1:], bt.Config()), (plain * 1e9, bt.Config()), (plain, bt.Config())):  # no open
        texts = set()
        for name in ENGINES:
            with pytest.raises(bt.BacktestError) as error:
                bt.run(public, weights, config, engine=name)
            texts.add(str(error.value))
        assert len(texts) == 1, texts


@on_every_engine
def test_bars_out_of_turn_are_refused(name):
    panel, weights, config = scenario(2)
    session = resolve(name).open(spec_of(panel_of(panel, config), [weights], [config]))
    for t0, t1 in ((1, 2), (0, panel.shape[0] + 1), (0, -1)):
        with pytest.raises(ValueError) as error:
            session.advance(t0, t1)
        assert str(error.value) == f"advance({t0}, {t1}): the session stands at bar 0 of {panel.shape[0]}"


@on_every_engine
def test_an_interrupted_call_is_not_gone_on_with(name, monkeypatch):
    """Ctrl-C is seen after compiled code has moved, or between two lanes: nobody knows where the bars stand."""
    panel, weights, config = scenario(2)
    session = resolve(name).open(spec_of(panel_of(panel, config), [weights], [config], fills=True))

    def interrupted(*_):
        raise KeyboardInterrupt

    session.advance(0, 1)
    target, method = (session, "_drain") if name == "native" else (bar, "quiet_run")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(target, method, interrupted)
        session.advance(1, 2)
    with pytest.raises(ValueError, match=r"advance\(1, 2\): the session stands at bar -1"):
        session.advance(1, 2)
    with pytest.raises(ValueError, match="interrupted within a call"):
        session.result()


@on_every_engine
def test_a_result_before_the_end_is_only_read(name):
    config = Config(execution="same_close", lot=0.0, commission_rate=0.001)
    public = bt.Panel(np.full((1, 2), 16.0), timestamps=["2020-01-01"], assets=["A", "B"])
    session = resolve(name).open(spec_of(public, [np.full((1, 2), 0.25)], [config, config]))
    session.advance(0, 1)
    first = session.result()
    assert first.money[MONEY.index("buys")].min() > 0.0
    assert_same_raw(session.result(), first)


@on_every_engine
def test_cuts_of_the_bars_change_no_bit(name):
    for seed in seeds(range(40)):
        panel, weights, config = scenario(seed)
        spec = spec_of(panel_of(panel, config), [weights], [config], fills=True, positions=True)
        every_bar = simulate_spec(resolve(name), spec, tuple(range(panel.shape[0])))
        assert_same_raw(every_bar, simulate_spec(resolve(name), spec))
        assert_same_as_oracle(every_bar, simulate(panel, weights, config))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("columns", ["all", "equity"])
def test_the_same_record_as_numpy(name, columns):
    """What the oracle does not keep: cuts, dtypes, shapes, rows after an end and rows not yet reached."""
    for seed in seeds(range(120)):
        panel, weights, config = scenario(seed)
        record = {"fills": seed % 3 > 0, "positions": seed % 2 > 0, "columns": columns}
        spec = spec_of(panel_of(panel, config), [weights], [config], **record)
        stop = int(np.random.default_rng(seed).integers(0, panel.shape[0] + 1))
        found = []
        for engine in (resolve(name), resolve("numpy")):
            session = engine.open(spec)
            session.advance(0, stop)
            part = session.result()
            session.advance(stop, panel.shape[0])
            found.append((part, session.result()))
        assert found[0][1].engine == name
        assert np.isnan(found[0][0].money[:, :, stop:]).all()
        for got, want in zip(*found, strict=True):
            assert_same_raw(got, want)
            for field in ("money", "counts", "state", "holdings", "orders", "fills", "cuts", "positions"):
                a, b = getattr(got, field), getattr(want, field)
                assert (a is None and b is None) or (a.dtype == b.dtype and a.shape == b.shape), field


def test_threads_change_no_bit(monkeypatch):
    needs_native()
    monkeypatch.setattr(native, "_SMALL", 0)
    for seed in seeds(range(25)):
        panel, weights, config = scenario(seed)
        configs = neighbours(seed, 7)
        spec = spec_of(panel_of(panel, config), [weights], configs, fills=True, positions=True)
        one, *more = (simulate_spec(native.NativeEngine(threads), spec) for threads in (1, 2, 3))
        for other in more:
            assert_same_raw(other, one)


@pytest.mark.parametrize("block", range(4))
def test_wide_panels(block):
    """Enough assets that vector loops run whole vectors and remainders, and that classes of the buy-back fill."""
    for seed in seeds(range(block * 8, (block + 1) * 8)):
        n = int(np.random.default_rng(seed).integers(40, 161))
        panel, weights, config = scenario(seed, n)
        spec = spec_of(panel_of(panel, config), [weights], [config])
        expected = simulate(panel, weights, config)
        for name in ENGINES:
            assert_same_as_oracle(simulate_spec(resolve(name), spec), expected)


@on_every_engine
def test_equity_alone_is_the_same_equity(name):
    panel, weights, config = scenario(3)
    public = panel_of(panel, config)
    full = simulate_spec(resolve(name), spec_of(public, [weights], [config]))
    lean = simulate_spec(resolve(name), spec_of(public, [weights], [config], columns="equity"))
    assert lean.money.shape[0] == 2 and lean.counts is None
    assert lean.money.tobytes() == full.money[:2].tobytes()


@on_every_engine
def test_wide_books_and_narrow_books(name):
    """Rows of all assets, of a few, and of none in turn move an engine between its dense and its sparse columns."""
    rng = np.random.default_rng(5)
    for seed in seeds(range(30)):
        panel, _, config = scenario(seed)
        t, n = panel.shape
        weights = np.zeros((t, n))
        for row in weights:
            chosen = rng.random(n) < rng.choice([0.0, 0.15, 0.5, 1.0])
            row[chosen] = rng.random(chosen.sum()) / n
        spec = spec_of(panel_of(panel, config), [weights], [config])
        assert_same_as_oracle(simulate_spec(resolve(name), spec), simulate(panel, weights, config))


def test_every_choice_is_drawn():
    """The draws above are no evidence for a choice that they never make."""
    seen = {name: set() for name in CHOICES}
    for seed in range(200):
        config = scenario(seed)[2]
        for name, values in seen.items():
            values.add(getattr(config, name))
    assert {name: set(options) for name, options in CHOICES.items()} == seen
