# SPDX-License-Identifier: Apache-2.0
"""Scores in run and sweep: every scenario has the bits of the panel of weights that holds its books."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_bits
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed
from emulator.fake_numbers import Reckoning
from sweep_cases import assert_same_sweep

import gpu_bt as bt
from gpu_bt.engine.resident import Resident
from gpu_bt.sweeps import sweep as sweeps
from gpu_bt.sweeps.chunks import Inputs, Spilled

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
T, N = 60, 23
PARAMETERS = ("long", "short", "keep", "scheme", "long_gross", "short_gross")
MARGIN = bt.Config(account="margin", lot=0, commission_rate=1e-3)
GRID: dict[str, list[Any]] = {
    "long": [3, 0.2, 40],
    "short": [0, 2],
    "keep": [1.0, 2.5],
    "scheme": ["equal", "rank"],
    "rebalance_every": [1, 4],
    "signal_lag": [0, 2],
}


def market(**fields: Any) -> bt.Panel:
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    close[20:23, 4] = np.nan
    days = np.arange("2020-01-01", "2020-06-01", dtype="datetime64[D]")
    stamps = days[np.is_busday(days)][:T]
    universe = rng.random((T, N)) < 0.9
    off = np.full(N, -1)
    off[7], off[9] = 30, 41
    given = {"universe": universe, "delisted_at": off, "group": np.arange(N) % 3, "open": close * 1.001}
    given |= {"close": close, **fields}
    return bt.Panel(**given, timestamps=stamps, assets=[f"A{i}" for i in range(N)])


def drawn(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.round(np.cumsum(rng.normal(size=(T, N)), axis=0), 1)
    x[rng.random((T, N)) < 0.1] = np.nan
    x[11:14] = np.nan
    return x


PANEL = market()
SCORES = {"slow": drawn(1), "fast": drawn(2)}


def explicit(row: dict[str, Any], groups: Any = None, scores: Any = SCORES, config: bt.Config = MARGIN) -> Any:
    """The panel of weights of a scenario, and its config."""
    own = {name: row[name] for name in PARAMETERS if name in row}
    config = config.replace(**{name: row[name] for name in ("rebalance_every", "signal_lag", "outside") if name in row})
    one = scores[row["scores"]] if isinstance(scores, dict) else scores
    return bt.Scores(one, groups=groups, **own).weights(PANEL, config), config


@pytest.mark.parametrize("groups", [None, "panel"])
def test_every_scenario_has_the_bits_of_its_own_panel_of_weights(engine: str, groups: Any):
    found = bt.sweep(PANEL, bt.Scores(SCORES, groups=groups), MARGIN, GRID, equity=True, engine=engine)
    assert len(found) == 2 * 96 and found.table["scores"].unique().sort().to_list() == ["fast", "slow"]
    assert found.table["turnover"].min() > 0
    distinct = set()
    for k, row in enumerate(found.table.iter_rows(named=True)):
        distinct.add(found.equity[k].tobytes())
        if k % 5:
            continue
        weights, config = explicit(row, groups)
        want = bt.sweep(PANEL, {"": weights}, config, {"band": [0.0]}, equity=True, engine=engine)
        assert_bits("equity", found.equity[k], want.equity[0])
        for name in want.table.columns:
            a, b = found.table[name][k] if name not in ("band", "scenario") else None, want.table[name][0]
            assert name in ("band", "scenario", "weights") or a == b or (a != a and b != b), (name, a, b)
    assert len(distinct) == (128 if groups else 144)  # where 40 are wanted nobody is left for the short side


def test_run_is_the_run_of_its_panel_of_weights():
    for config in (MARGIN, MARGIN.replace(rebalance="week", signal_lag=3, rebalance_offset=1)):
        scores = bt.Scores(SCORES["slow"], long=30, short=0.3, keep=2, scheme="rank", groups="panel")
        got = bt.run(PANEL, scores, config)
        want = bt.run(PANEL, scores.weights(PANEL, config), config)
        assert_bits("money", got.raw.money, want.raw.money)
        assert got.metrics == want.metrics and got.fills.equals(want.fills)
        formed = ~np.isnan(scores.weights(PANEL, config)).all(axis=1)
        assert got.notes["thin_books"] == formed.sum() > 5 and "fewer names than wanted" in got.advice["thin books"]
        one = bt.sweep(PANEL, scores, config, {"band": [0.0]}, equity=True)
        assert_bits("equity", one.equity[0], got.raw.money[0, 0])
        assert one.table["thin_books"].to_list() == [got.notes["thin_books"]]


def test_a_sweep_gives_the_advice_that_a_run_gives():
    """Where the median target is near 20 lots, the rows that are looked at decide."""
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        close = rng.lognormal(3.5, 1, 200) * np.exp(np.cumsum(rng.normal(0, 0.02, (60, 200)), axis=0))
        panel = bt.Panel(close=close, timestamps=np.datetime64("2020-01-01") + np.arange(60), assets=range(200))
        scores = bt.Scores(np.cumsum(rng.normal(0, 0.3, close.shape), axis=0), keep=1.0 + seed % 2)
        config = bt.Config(account="margin", execution="next_close", initial_cash=30_000)
        told = bt.sweep(panel, scores, config, {"band": [0.0]}).table["advice"][0]
        assert told == ", ".join(bt.run(panel, scores, config).advice)
        seen.add(told)
    assert len(seen) > 1


def test_holdings_begin_a_sweep_as_they_begin_a_run():
    config, held = MARGIN.replace(rebalance_every=3), {"A4": 10.0, "A1": -3.0}
    close = np.array(PANEL.close)
    close[:5, 4] = np.nan
    panel, scores = market(open=close, universe=None), bt.Scores(SCORES["slow"], long=4, short=3, keep=3)
    found = bt.sweep(panel, scores, config, {"long": [2, 4]}, holdings=held, equity=True)
    want = bt.run(panel, scores, config, holdings=held)
    assert_bits("equity", found.equity[1], want.raw.money[0, 0])


def test_a_resumed_run_goes_on_with_the_bits_of_one_long_run(tmp_path: Path):
    config = MARGIN.replace(signal_lag=2, rebalance="week")
    for keep in (1.0, 2.0):
        scores, early = bt.Scores(SCORES["slow"], long=4, short=3, keep=keep), market()[: PANEL.label(30)]
        first = bt.run(early, bt.Scores(SCORES["slow"][:31], long=4, short=3, keep=keep), config)
        state = first.checkpoint(tmp_path / f"state{keep}")
        rest = PANEL[PANEL.label(31) :]
        later = bt.run(rest, bt.Scores(SCORES["slow"][31:], long=4, short=3, keep=keep), config, resume=state)
        want = bt.run(PANEL, scores, config)
        if keep == 1:
            assert_bits("equity", later.raw.money[0, 0], want.raw.money[0, 0, 31:])
        assert ("no last book" in later.advice) == (keep > 1)


def test_a_book_has_its_own_row_once_and_all_share_one_ranking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen: list[Inputs] = []
    run_here = sweeps.run_here
    monkeypatch.setattr(sweeps, "run_here", lambda inputs, *x: seen.append(inputs) or run_here(inputs, *x))
    grid = {"long": list(range(1, 21)), "keep": [1, 1.5, 2, 3, 4], "band": [0.0, 0.01], "scores": ["fast"]}
    scores = bt.Scores(SCORES)
    found = bt.sweep(PANEL, scores, MARGIN, grid, chunk_size=1000)
    assert len(found) == 200 and len(seen[0].weights) == 100
    assert len({id(book.ranking) for book in seen[0].weights}) == 1  # type: ignore[union-attr]
    assert scores.ranking(PANEL, "fast") is seen[0].weights[0].ranking  # type: ignore[union-attr]
    ranking = seen[0].weights[0].ranking.nbytes  # type: ignore[union-attr]
    assert len(pickle.dumps(seen[0].weights)) < ranking + 100 * 400
    Spilled.write(seen[0], tmp_path)
    rest = sum(array.nbytes for array in (*vars(PANEL.market).values(),) if isinstance(array, np.ndarray))
    assert (tmp_path / "inputs.bin").stat().st_size < rest + ranking + 100 * 64 + 20_000


def test_the_memory_of_a_plan_does_not_grow_with_the_books():
    plans = [
        bt.sweep(PANEL, bt.Scores(SCORES["slow"]), MARGIN, {"long": list(range(1, k))}, dry_run=True) for k in (3, 22)
    ]
    assert len({(plan.bytes_per_scenario, plan.bytes_fixed) for plan in plans}) == 1
    plain = bt.sweep(PANEL, np.zeros((T, N)), MARGIN, {"band": [0.0]}, dry_run=True)
    ranking = bt.Scores(SCORES["slow"]).ranking(PANEL).nbytes
    assert plans[0].bytes_fixed == plain.bytes_fixed + ranking
    assert plans[0].bytes_per_scenario == plain.bytes_per_scenario


def test_workers_and_small_chunks_change_no_bit():
    grid = {"long": [2, 5], "short": [0, 3], "keep": [1.0, 2.0], "signal_lag": [0, 1]}
    whole = bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, equity=True)
    assert_same_sweep(bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, equity=True, chunk_size=3), whole)
    with ProcessPoolExecutor(2) as pool:
        assert_same_sweep(bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, equity=True, executor=pool), whole)


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_on_a_device_equity_rows_stay_and_threads_share_a_ranking():
    grid = {"long": [2, 5], "short": [0, 3], "keep": [1.0, 2.0]}
    wanted = bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, equity=True, engine="numpy")
    with installed(Reckoning("random")) as fake:
        there = market(close=fake.asarray(PANEL.close), open=fake.asarray(PANEL.open))
        for own in (PANEL, there):
            found = bt.sweep(own, bt.Scores(SCORES), MARGIN, grid, equity="device", engine="cuda", chunk_size=5)
            rows = found.array("equity")
            assert isinstance(rows, Resident) and rows.shape == (16, T)
            assert_bits("equity", found.equity, wanted.equity)
            assert found.table.drop("advice").equals(wanted.table.drop("advice"))
    with installed(FakeCupy(devices=2)), ThreadPoolExecutor(2) as pool:
        found = bt.sweep(
            PANEL, bt.Scores(SCORES), MARGIN, grid, equity=True, engine="cuda", chunk_size=2, executor=pool
        )
        assert_bits("equity", found.equity, wanted.equity)


def test_a_resumed_sweep_is_that_of_these_scores(tmp_path: Path):
    grid = {"long": [2, 5], "short": [0, 3]}
    whole = bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, out=tmp_path, chunk_size=2)
    again = bt.sweep(PANEL, bt.Scores(SCORES), MARGIN, grid, out=tmp_path)
    assert again.run == 0
    assert_same_sweep(again, whole)
    for scores in (
        bt.Scores(SCORES, keep=1.5), bt.Scores(SCORES, groups="panel"), bt.Scores({**SCORES, "fast": SCORES["slow"]}),
        bt.Scores({"slow": SCORES["fast"], "fast": SCORES["slow"]}),
    ):  # fmt: skip
        with pytest.raises(bt.ResultError, match="another scores"):
            bt.sweep(PANEL, scores, MARGIN, grid, out=tmp_path)


def test_thin_books_are_counted_and_told():
    scores, lag = SCORES["slow"], 2
    config = MARGIN.replace(rebalance_every=3, signal_lag=lag)
    with pytest.warns(bt.BacktestWarning) as told:
        found = bt.sweep(PANEL, bt.Scores(scores, groups="panel"), config, {"long": [1, 5, 6, 0.5], "short": [1, 2]})
    told_of = [str(w.message) for w in told if "fewer names than wanted" in str(w.message)]
    counts = found.table["thin_books"].to_list()
    assert len(told_of) == 1 and told_of[0].startswith(f"{sum(c > 0 for c in counts)} of 8 scenarios have books")
    books = bt.Scores(scores, groups="panel")
    for row in found.table.iter_rows(named=True):
        book = books.ranked(PANEL, long=row["long"], short=row["short"])
        rows = [t - lag for t in range(0, T, 3) if t >= lag]
        assert row["thin_books"] == sum(book.thin[t] for t in rows)
    assert counts[0] == 0 and 0 < counts[2] < counts[5]


# --- what is refused, before anything runs ---


@pytest.mark.parametrize(
    ("grid", "config", "error", "text"),
    [
        ({"short": [0, 5]}, bt.Config(), bt.WeightsError, "scenario 1 of the grid: grid axis short is 5: a cash"),
        ({"long": [0, 5], "short": [0, 5]}, MARGIN, bt.ConfigError, "scenario 0 of the grid: long and short are both"),
        ({"long": [2.5]}, MARGIN, bt.ConfigError, "grid axis 'long': long is 2.5: it must be a whole number of names"),
        ({"long": [True]}, MARGIN, bt.ConfigError, "grid axis 'long': long is True"),
        ({"long": ["many"]}, MARGIN, bt.ConfigError, "grid axis 'long': long is 'many'"),
        ({"keep": [0.5]}, MARGIN, bt.ConfigError, "grid axis 'keep': keep is 0.5: it must be a multiple"),
        ({"scheme": ["flat"]}, MARGIN, bt.ConfigError, "grid axis 'scheme': scheme is 'flat': it must be one of"),
        ({"long_gross": [0.0]}, MARGIN, bt.ConfigError, "long_gross is 0.0: it must be a fraction of equity in [1e-06"),
        ({"short_gross": [1001]}, MARGIN, bt.ConfigError, "short_gross is 1001"),
        ({"long": [2, 2.0]}, MARGIN, bt.ConfigError, "grid axis 'long' has 2 twice"),
        ({"scores": ["slow", "none"]}, MARGIN, bt.ConfigError, "grid axis 'scores' is 'none': it must be one of"),
        ({"weights": ["slow"]}, MARGIN, bt.ConfigError, "grid axis 'weights' is no field of Config nor a parameter of"),
        ({"shrot": [2]}, MARGIN, bt.ConfigError, "did you mean 'short'?"),
        ({"long": []}, MARGIN, bt.ConfigError, "grid axis 'long' is empty"),
    ],
)  # fmt: skip
def test_refusals(grid: Any, config: bt.Config, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweeps, "run_here", lambda *_: pytest.fail("it ran"))
    with pytest.raises(error) as caught:
        bt.sweep(PANEL, bt.Scores(SCORES), config, grid)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_run_is_refused():
    with pytest.raises(bt.ConfigError, match="scores has 2 panels, 'slow', 'fast'"):
        bt.run(PANEL, bt.Scores(SCORES), MARGIN)
    with pytest.raises(bt.WeightsError, match="short is 2: a cash account is long-only"):
        bt.run(PANEL, bt.Scores(SCORES["slow"], short=2))
    with pytest.raises(bt.ConfigError, match="grid axis 'scores' picks a panel by name"):
        bt.sweep(PANEL, bt.Scores(SCORES["slow"]), MARGIN, {"scores": ["slow"]})
    with pytest.raises(bt.ConfigError, match="grid is empty"):
        bt.sweep(PANEL, bt.Scores(SCORES["slow"]), MARGIN)
    assert bt.sweep(PANEL, bt.Scores(SCORES), MARGIN).table["scores"].to_list() == ["slow", "fast"]
