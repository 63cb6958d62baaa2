# SPDX-License-Identifier: Apache-2.0
"""sweep(): every scenario has the bits of run(), however the grid is cut and whatever the memory."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from compare import assert_bits
from sweep_cases import GRID, assert_same_sweep, books, small, sweep_small, universe
from waits import HANGS

import cpu_fallback
import gpu_bt as bt
from gpu_bt.engine.registry import resolve
from gpu_bt.sweeps import chunks
from gpu_bt.sweeps import sweep as sweeps
from gpu_bt.sweeps.chunks import available_memory, fixed_bytes, scenario_bytes

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")


@pytest.fixture(scope="module")
def whole() -> bt.SweepResult:
    return sweep_small(equity=True)


def test_every_scenario_has_the_bits_of_run(engine: str):
    found = sweep_small(equity=True, engine=engine)
    assert found.engine == engine and len(found) == 96
    panel = universe()
    weights = books(panel)
    statuses = set()
    for row in found.table.iter_rows(named=True):
        config = bt.Config(max_drawdown=0.03, **{name: row[name] for name in GRID})
        want = bt.run(panel, weights[row["weights"]], config, engine=engine)
        assert_bits("equity", found.equity[row["scenario"]], want.raw.money[0, 0])
        for name, value in want.metrics.items():
            if name != "bars_per_year":
                assert row[name] == value or (row[name] != row[name] and value != value), name
        assert row["status_since"] == (list(want.statuses.values())[-1] if want.statuses else None)
        statuses.add(row["status"])
    assert statuses == {"OK", "DRAWDOWN_STOP"}


@pytest.mark.parametrize("size", [1, 7, 95, 96, 1000])
def test_the_size_of_the_chunks_changes_no_bit(whole: bt.SweepResult, size: int):
    assert_same_sweep(sweep_small(equity=True, chunk_size=size), whole)


@pytest.mark.parametrize("scenarios", [1, 5, 40])
def test_the_memory_changes_no_bit(whole: bt.SweepResult, scenarios: int, monkeypatch: pytest.MonkeyPatch):
    shape, passes = universe().shape, []
    attempt = chunks._attempt
    monkeypatch.setattr(chunks, "_attempt", lambda inputs, part: passes.append(len(part)) or attempt(inputs, part))
    room = fixed_bytes(shape) + scenarios * scenario_bytes(shape, "all")
    assert_same_sweep(sweep_small(equity=True, max_memory=room), whole)
    assert max(passes) == scenarios and sum(passes) == 96


def test_metrics_of_the_equity_alone_are_the_same_numbers(whole: bt.SweepResult):
    found = sweep_small(metrics="equity")
    assert "turnover" not in found.table.columns
    assert_bits("sharpe", found.table["sharpe"].to_numpy(), whole.table["sharpe"].to_numpy())
    with pytest.raises(bt.ResultError, match="equity=True"):
        _ = found.equity


def test_bars_per_year_is_an_axis_of_its_own():
    panel = universe()
    found = bt.sweep(panel, books(panel)["one"], bt.Config(), {"bars_per_year": [None, 12.0, 365.0]})
    for row, per_year in zip(found.table.iter_rows(named=True), (None, 12.0, 365.0), strict=True):
        want = bt.run(panel, books(panel)["one"], bt.Config(bars_per_year=per_year)).metrics
        assert [row[n] for n in ("sharpe", "annual_return", "turnover")] == [
            want[n] for n in ("sharpe", "annual_return", "turnover")
        ]


def test_panels_of_weights_alone_are_a_grid():
    found = sweep_small(grid=None)
    assert found.table["weights"].to_list() == ["one", "two"]


def test_a_table_of_scenarios_is_run_row_by_row(whole: bt.SweepResult):
    some = whole.table.select("weights", *GRID).gather_every(10)
    found = sweep_small(grid=some)
    assert_bits("sharpe", found.table["sharpe"].to_numpy(), whole.table["sharpe"].gather_every(10).to_numpy())


# --- what is refused, before anything runs ---


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"panel": 1}, bt.PanelError, "panel is a int"),
        ({"config": {"band": 1}}, bt.ConfigError, "config is a dict"),
        ({"grid": {"bnad": [1]}}, bt.ConfigError, "'bnad' is no field of Config"),
        ({"grid": {"weights": ["one", "three"]}}, bt.ConfigError, "it must be one of 'one', 'two'"),
        ({"grid": None, "weights": books(universe())["one"]}, bt.ConfigError, "grid is empty"),
        ({"grid": {"execution": ["next_open", "next_vwap"]}}, bt.ConfigError, "pass vwap="),
        ({"engine": "gpu"}, bt.ConfigError, "engine is 'gpu'"),
        ({"metrics": "few"}, bt.ConfigError, "metrics is 'few'"),
        ({"chunk_size": 0}, bt.ConfigError, "chunk_size is 0"),
        ({"max_memory": -1}, bt.ConfigError, "max_memory is -1"),
        ({"max_memory": 1000}, bt.ConfigError, "one scenario of this panel needs"),
        ({"weights": {}}, bt.WeightsError, "weights is empty"),
        ({"weights": {"one": np.ones((2, 2))}}, bt.WeightsError, "weights 'one': weights has shape (2, 2)"),
    ],
)
def test_refusals(options: dict, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweeps, "run_here", lambda *_: pytest.fail("it ran"))
    with pytest.raises(error) as caught:
        sweep_small(**options)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_shorts_are_refused_where_one_scenario_is_a_cash_account():
    panel = universe()
    short = {"long": books(panel)["one"], "short": -books(panel)["one"]}
    with pytest.raises(bt.WeightsError, match=r"weights 'short': .* a cash account is long-only"):
        bt.sweep(panel, short, bt.Config(), {"account": ["margin", "cash"]})
    rows = [{"account": "margin", "weights": "short"}, {"account": "cash", "weights": "long"}]
    assert len(bt.sweep(panel, short, bt.Config(), rows)) == 2


# --- the plan and the memory ---


def test_the_plan_says_what_a_run_does():
    shape = universe().shape
    room = fixed_bytes(shape) + 10 * scenario_bytes(shape, "all")
    plan = bt.sweep(**small(dry_run=True, chunk_size=40, max_memory=room))
    assert (plan.scenarios, plan.chunks, plan.chunk_size, plan.pass_size, plan.finished) == (96, 3, 40, 10, 0)
    assert plan.asset_bars == 96 * 40 * 12 and plan.max_memory == room
    assert "96" in str(plan) and len(str(plan).splitlines()) == 4
    free = bt.sweep(**small(dry_run=True))
    assert 0 < free.max_memory <= available_memory()


@pytest.mark.parametrize("metrics", ["all", "equity"])
@pytest.mark.parametrize("shape", [(252, 100), (60, 1500), (1000, 20)])
def test_a_sweep_takes_no_more_memory_than_it_was_given(shape: tuple[int, int], metrics: str):
    """Measured on the NumPy engine, whose arrays Python's allocator counts."""
    panel = universe(*shape)
    weights = books(panel)["one"]
    room = fixed_bytes(shape) + 60 * scenario_bytes(shape, metrics)
    grid = {"commission_rate": [i * 1e-6 for i in range(40)], "lot": [1.0, 10.0], "rebalance_every": [21]}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        bt.sweep(panel, weights, bt.Config(), grid, engine="numpy", metrics=metrics, max_memory=room)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= room
    assert peak > 0.1 * (room - chunks._SCRATCH)  # the reckoning is not absurdly careful either


class Starving:
    """An engine that has no memory at some of its calls."""

    name = "numpy"

    def __init__(self, fails) -> None:
        self.fails, self.calls, self.widths = fails, 0, []

    def missing(self) -> None:
        return None

    def open(self, spec):
        self.calls += 1
        self.widths.append(len(spec.params))
        if self.fails(self.calls, len(spec.params)):
            raise MemoryError
        return resolve("numpy").open(spec)


@pytest.mark.parametrize("call", range(1, 8))
def test_memory_that_runs_out_at_any_call_is_survived(
    whole: bt.SweepResult, call: int, monkeypatch: pytest.MonkeyPatch
):
    engine = Starving(lambda calls, _: calls == call)
    monkeypatch.setattr(chunks, "resolve", lambda *_: engine)
    assert_same_sweep(sweep_small(equity=True, chunk_size=24), whole)
    assert engine.calls > 4 if call < 5 else engine.calls == 4


def test_a_pass_is_halved_until_it_fits(whole: bt.SweepResult, monkeypatch: pytest.MonkeyPatch):
    engine = Starving(lambda _, k: k > 10)
    monkeypatch.setattr(chunks, "resolve", lambda *_: engine)
    assert_same_sweep(sweep_small(equity=True), whole)
    assert engine.widths[:5] == [96, 48, 24, 12, 6] and set(engine.widths[4:]) == {6}


def test_one_scenario_that_does_not_fit_is_an_error_with_the_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "resolve", lambda *_: Starving(lambda *_: True))
    with pytest.raises(bt.ResultError, match=r"scenario 0 does not fit into memory: .* needs about .* MiB") as caught:
        sweep_small()
    assert "\n" not in str(caught.value)


LIMITED = """
import resource, sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = ["tests", "."]
from sweep_cases import *
import gpu_bt as bt
import hashlib
import numpy as np
panel = universe(252, 200)
weights = books(panel)
limit = int(sys.argv[1])
np.ones((500, 500)) @ np.ones((500, 500))  # BLAS takes its buffer once, and gives up where it cannot
grid = {"commission_rate": [i * 1e-6 for i in range(100)], "rebalance_every": [21, 63]}
bt.sweep(panel, weights, bt.Config(), {"band": [0.0]}, engine="numpy")
if limit:
    import os
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
found = bt.sweep(panel, weights, bt.Config(), grid, engine="numpy", max_memory=int(sys.argv[2]) or None, equity=True)
print(hashlib.sha256(found.equity.tobytes()).hexdigest(), len(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited as on Linux")
@pytest.mark.parametrize("told", [0, 1 << 40])
def test_a_limited_address_space_is_kept_to(told: int):
    """With the limit known the passes are cut to fit it; told that there is plenty, they fail and are cut in two."""

    def digest(limit: int, told: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), str(told)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANGS,
            env={"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert digest(90 << 20, told) == digest(0, 0)


# --- the result ---


def test_best_knows_which_way_is_better_and_never_takes_nan(whole: bt.SweepResult):
    table = whole.table
    assert whole.best("sharpe")["sharpe"][0] == table["sharpe"].fill_nan(None).max()
    assert whole.best("max_drawdown", 3)["max_drawdown"].to_list() == sorted(table["max_drawdown"], reverse=True)[:3]
    assert whole.best("turnover")["turnover"][0] == table["turnover"].min()
    assert whole.best("longest_drawdown", 2)["longest_drawdown"].to_list() == sorted(table["longest_drawdown"])[:2]
    whole_with_nan = sweep_small(grid={"cash_buffer": [1.0, 0.0]})  # all in cash: no dispersion, no Sharpe ratio
    assert whole_with_nan.best("sharpe", 9)["cash_buffer"].to_list() == [0.0] * 2
    with pytest.raises(bt.ConfigError, match="'gain' is no metric of the sweep: it has bars, final_equity"):
        whole.best("gain")


def test_pivot_is_a_table_of_two_axes(whole: bt.SweepResult):
    found = whole.pivot("commission_rate", "rebalance_every", "turnover", weights="one", initial_cash=1e4)
    assert found.columns == ["commission_rate", "1", "5", "7"] and found["commission_rate"].to_list() == [0.0, 5e-4]
    rows = whole.table.filter(
        (pl.col("weights") == "one") & (pl.col("initial_cash") == 1e4) & (pl.col("rebalance_every") == 5)
    ).filter(pl.col("commission_rate") == 5e-4)
    assert rows.height == 4 and found["5"][1] == pytest.approx(rows["turnover"].mean(), rel=1e-12)
    worst = whole.pivot("commission_rate", "rebalance_every", "turnover", how="max", weights="one", initial_cash=1e4)
    assert worst["5"][1] == rows["turnover"].max()
    for options, text in (
        ({"rows": "band", "columns": "weights"}, "'band' is no axis of the sweep: it has 'weights'"),
        ({"rows": "weights", "columns": "account", "metric": "x"}, "'x' is no metric"),
        ({"rows": "weights", "columns": "account", "how": "sum"}, "how is 'sum'"),
        ({"rows": "weights", "columns": "account", "initial_cash": 5.0}, "no scenario has initial_cash=5.0"),
    ):
        with pytest.raises(bt.ConfigError, match=text):
            whole.pivot(**options)


class Named(bt.Strategy):
    """Its parameters are called as columns of the table are."""

    volatility, start, fills, status, advice, scenario = 0.5, 0, 0, 0, 0, 0

    def on_data_batch(self, timestamp, batch):
        self.order_target_percent("A", self.volatility)


def test_an_axis_keeps_its_name_and_what_was_found_has_another(tmp_path: Path):
    panel = bt.Panel([[10.0], [5.0], [7.0]], timestamps=["2024-01-01", "2024-01-02", "2024-01-03"], assets=["A"])
    config = bt.Config(execution="same_close", initial_cash=1000)
    grid = {"max_drawdown": [None, 0.1], "band": [0.0, 0.01]}
    found = bt.sweep(panel, [[0.9], [math.nan], [math.nan]], config, grid, metrics="all")
    assert found.table["max_drawdown"].to_list() == [None, None, 0.1, 0.1]
    lost = found.table["result_max_drawdown"]
    assert lost.to_list() == pytest.approx([-0.45] * 4, abs=2e-2) and found.table["status"][2] == "DRAWDOWN_STOP"
    by = found.pivot("max_drawdown", "band", "max_drawdown")
    assert by["max_drawdown"].to_list() == [None, 0.1] and by["0.0"].to_list() == [lost[0], lost[2]]
    assert found.best("max_drawdown", 4)["result_max_drawdown"].to_list() == sorted(lost, reverse=True)
    assert found.shown("max_drawdown").columns[1:4] == ["max_drawdown", "band", "result_max_drawdown"]
    assert "result_max_drawdown" in str(found) and found.plot(tmp_path / "a.png", metric="max_drawdown").exists()
    found.write(tmp_path)
    assert "result_max_drawdown" in pl.read_parquet(tmp_path / "table.parquet").columns
    axes = {"volatility": [0.25, 0.5], "start": [7], "fills": [8], "status": [9], "advice": [10], "scenario": [11]}
    named = bt.sweep(panel, Named, config.replace(lot=0), axes)
    assert named.table.select(list(axes)).rows() == [(v, 7, 8, 9, 10, 11) for v in (0.25, 0.5)]
    assert named.table["result_scenario"].to_list() == [0, 1] and named.table["result_volatility"].min() > 0.5
    assert named.best("volatility")["volatility"].item() == 0.25 and "OK 2" in str(named)
    assert named.table["result_fills"].to_list() == [3, 3] and named.table["result_start"].n_unique() == 1
    named.plot(rows="volatility", metric="volatility")


def test_write(whole: bt.SweepResult, tmp_path: Path):
    paths = whole.write(tmp_path / "s")
    assert {p.name for p in paths} == {"table.parquet", "bars.parquet", "config.toml", "equity.parquet"}
    assert pl.read_parquet(tmp_path / "s" / "table.parquet").equals(whole.table, null_equal=True)
    rows = pl.read_parquet(tmp_path / "s" / "equity.parquet")
    assert_bits("equity", rows.drop("timestamp").to_numpy().T, whole.equity)
    assert bt.read_config(tmp_path / "s" / "config.toml") == bt.Config(max_drawdown=0.03)


def test_the_summary_names_the_best(whole: bt.SweepResult):
    text = str(whole)
    assert "scenarios   96 of 40 bars x 12 assets, 96 run now" in text
    assert f"{whole.best()['sharpe'][0]:.4g}" in text and whole.engine in text


def test_progress_counts_scenarios():
    seen = []
    sweep_small(chunk_size=40, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 96), (40, 96), (80, 96), (96, 96)]


# --- strategies ---


class Momentum(bt.Strategy):
    """What a sweep needs of a strategy: `initialize` and attributes."""

    top = 2

    def __init__(self, gross: float = 1.0) -> None:
        self.gross = gross

    def initialize(self) -> None:
        self.lookback = 5
        self.double = 2 * self.gross

    def on_data_batch(self) -> None: ...


def as_weights(panel, strategy: Momentum, config: bt.Config, *, engine: str, record: tuple, holdings=None) -> bt.Result:
    """A stand-in for `run` over a strategy: the book that its attributes say."""
    strategy.initialize()
    weights = np.full(panel.shape, np.nan)
    weights[strategy.lookback] = 0.0
    weights[strategy.lookback, : strategy.top] = strategy.gross / strategy.top
    assert strategy.double == 2 * strategy.gross and record == ()
    return bt.run(panel, weights, config, engine=engine)


def test_parameters_of_a_strategy_are_set_before_and_after_initialize(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "run", as_weights)
    panel = universe()
    grid = {"lookback": [3, 8], "top": [1, 4], "gross": [0.5, 0.9], "slippage": [0.0, 1e-3]}
    found = bt.sweep(panel, Momentum, bt.Config(), grid, equity=True, chunk_size=5)
    assert len(found) == 16 and list(found.axes) == list(grid)
    for k, row in enumerate(found.table.iter_rows(named=True)):
        strategy = chunks.made(Momentum, {name: row[name] for name in ("lookback", "top", "gross")})
        want = as_weights(panel, strategy, bt.Config(slippage=row["slippage"]), engine="auto", record=())
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])
    assert len(np.unique(found.equity[:, -1])) == 16


def test_what_is_wrong_with_a_strategy_is_said_before_anything_runs():
    panel = universe()
    with pytest.raises(bt.ConfigError, match="nor a parameter of the strategy: did you mean 'lookback'"):
        bt.sweep(panel, Momentum, bt.Config(), {"lockback": [1]})
    with pytest.raises(bt.ConfigError, match="pass its class, one is made for each scenario"):
        bt.sweep(panel, Momentum(), bt.Config(), {"lookback": [1]})

    class Needy(Momentum):
        def __init__(self, gross: float) -> None: ...

    with pytest.raises(bt.ConfigError, match=r"Needy\(\) cannot be made .*: give its arguments defaults"):
        bt.sweep(panel, Needy, bt.Config(), {"top": [1]})


def test_without_a_gpu_the_default_is_the_processor():
    assert inspect.signature(cpu_fallback.sweep).parameters["engine"].default == "cpu"
    assert cpu_fallback.SweepResult is bt.SweepResult
    panel = universe()
    found = cpu_fallback.sweep(panel, books(panel), bt.Config(), {"band": [0, 0.01]})
    assert found.engine in ("native", "numpy")
