# SPDX-License-Identifier: Apache-2.0
"""A sweep over weights that a function makes: the bits of run with what it gives, a pass's panels at a time."""

from __future__ import annotations

import functools
import multiprocessing
import tracemalloc
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from compare import assert_bits
from sweep_cases import assert_same_sweep, universe

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights
from gpu_bt.sweeps.chunks import _SCRATCH, fixed_bytes, scenario_bytes

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
PANEL = universe()
GRID: dict[str, list[Any]] = {"seed": [1, 2, 3], "scale": [1.0, 0.5], "slippage": [0.0, 1e-3], "signal_lag": [0, 2]}


def make(seed: int, scale: float = 1.0) -> np.ndarray:
    return random_weights(PANEL, 0.5, seed=seed) * scale


def swept(weights: Any = make, grid: Any = GRID, **options: Any) -> Any:
    return bt.sweep(PANEL, weights, bt.Config(), grid, equity=True, **options)


@pytest.fixture(scope="module")
def whole() -> bt.SweepResult:
    return swept()


@pytest.mark.parametrize("engine", ["numpy", "native", "auto"])
def test_every_scenario_has_the_bits_of_run_with_what_was_made_for_it(engine: str):
    found = swept(engine=engine, chunk_size=5)
    assert len(found) == 24 and found.table["turnover"].min() > 0
    for k, row in enumerate(found.table.iter_rows(named=True)):
        config = bt.Config(slippage=row["slippage"], signal_lag=row["signal_lag"])
        want = bt.run(PANEL, make(row["seed"], row["scale"]), config, engine=engine)
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])
        assert row["sharpe"] == want.metrics["sharpe"]


def test_it_is_called_once_for_the_scenarios_of_a_pass_that_agree(whole: bt.SweepResult):
    calls = []

    def told(seed, **others):
        calls.append((seed, others))
        return make(seed, **others)

    assert_same_sweep(swept(told), whole)
    assert calls == [(seed, {"scale": scale}) for seed in (1, 2, 3) for scale in (1.0, 0.5)]
    calls.clear()
    swept(told, {"seed": [1], "account": ["cash", "margin"], "band": [0.0, 0.01]})
    assert calls == [(1, {}), (1, {})]  # what is a rounding of 0 in one account is a short in the other


def test_values_that_are_equal_and_not_the_same_are_not_mixed():
    rows = [{"x": 1.0, "band": 0.0}, {"x": 1, "band": 0.01}, {"x": True, "band": 0.02}, {"x": "1", "band": 0.03}]
    found = swept(lambda x: make([float, int, bool, str].index(type(x))), rows)
    for k, seed in enumerate(range(4)):
        want = bt.run(PANEL, make(seed), bt.Config(band=rows[k]["band"]))
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])


def test_a_field_of_the_config_may_be_an_argument_too():
    grid = {"account": ["cash", "margin"], "seed": [1]}
    found = swept(lambda seed, account: make(seed) * (1 if account == "cash" else -1), grid)
    want = bt.run(PANEL, -make(1), bt.Config(account="margin"))
    assert_bits("equity", found.equity[1], want.raw.money[0, 0])


@pytest.mark.parametrize("kind", ["partial", "method", "instance", "keywords alone"])
def test_functions_of_every_kind(whole: bt.SweepResult, kind: str, tmp_path: Path):
    class Maker:
        def made(self, seed, scale):
            return make(seed, scale)

        def __call__(self, seed, scale):
            return make(seed, scale)

    def named(*, seed, scale):
        return make(seed, scale)

    function = {
        "partial": functools.partial(functools.partial(lambda x, seed, scale: make(seed, scale), 1)),
        "method": Maker().made, "instance": Maker(), "keywords alone": named,
    }[kind]  # fmt: skip
    assert_same_sweep(swept(function, out=tmp_path), whole)
    assert swept(function, out=tmp_path).run == 0


def test_a_function_without_arguments_and_one_with_any():
    grid = {"band": [0.0, 0.01], "scale": [1.0, 0.5]}
    want = swept({"": make(1)}, {"band": grid["band"]})
    assert_same_sweep(swept(lambda: make(1), {"band": grid["band"]}), want, but="weights")
    calls = []

    def any_of(**others):
        calls.append(others)
        return make(1, **others)

    assert_bits("equity", swept(any_of, grid).equity[::2], want.equity)
    assert calls == [{"scale": 1.0}, {"scale": 0.5}]

    def in_a_dict(parameters):
        return make(1, **parameters)

    assert_bits("equity", swept(in_a_dict, grid).equity[::2], want.equity)
    with pytest.raises(bt.ConfigError, match="grid axis 'bands' is no field of Config: did you mean 'band'"):
        swept(lambda: make(1), {"bands": [0.0]})


def test_what_run_takes_may_be_given(whole: bt.SweepResult):
    def table(seed, scale):
        frame = pl.DataFrame(make(seed, scale), schema=list(PANEL.assets), orient="row")
        return frame.insert_column(0, pl.Series("timestamp", PANEL.timestamps)).fill_nan(None)

    books = [bt.read_weights(table(seed, 1.0), PANEL, missing="hold") for seed in (1, 2)]
    found = swept(lambda seed: books[seed - 1], {"seed": [1, 2]})
    assert_bits("equity", found.equity, whole.equity[[0, 8]])
    every = swept(lambda name: {name: 0.5}, {"name": list(PANEL.assets[:2])})
    want = bt.run(PANEL, {PANEL.assets[1]: 0.5}, bt.Config())
    assert_bits("equity", every.equity[1], want.raw.money[0, 0])


def test_workers_give_the_same_bits(whole: bt.SweepResult):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert_same_sweep(swept(executor=pool, chunk_size=7), whole)
        with pytest.raises(bt.ConfigError, match=r"<lambda> cannot travel to the workers .* leave executor= out"):
            swept(lambda seed, scale: make(seed, scale), executor=pool)


def with_polars(seed):
    return pl.DataFrame(make(seed)).to_numpy()


def test_workers_that_would_hang_are_refused():
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        with pytest.raises(bt.ConfigError, match=r"executor forks its workers.*with_polars uses Polars"):
            swept(with_polars, {"seed": [1]}, executor=pool)


# --- memory ---


@pytest.mark.parametrize("at_once", [1, 3])
def test_only_the_panels_of_a_pass_are_alive(whole: bt.SweepResult, at_once: int):
    arrays: list[weakref.ref[np.ndarray]] = []
    most = [0]

    def seen(seed, scale):
        array = make(seed, scale)
        arrays.append(weakref.ref(array))
        most[0] = max(most[0], sum(ref() is not None for ref in arrays))
        return array

    book = 8 * PANEL.shape[0] * PANEL.shape[1]
    one = scenario_bytes(PANEL.shape, "all")
    room = fixed_bytes(PANEL.shape) + 2 * book + at_once * (4 * one + book)  # 4 scenarios read the same one
    assert_same_sweep(swept(seen, max_memory=room), whole)
    assert most[0] == at_once
    plan = swept(max_memory=room, dry_run=True)
    assert (plan.pass_size, plan.bytes_per_scenario) == (4 * at_once, one + book)
    assert plan.bytes_fixed == fixed_bytes(PANEL.shape) + 2 * book
    with pytest.raises(bt.ConfigError, match="one scenario of this panel needs"):
        swept(max_memory=_SCRATCH)


@pytest.mark.parametrize("shape", [(252, 100), (60, 1500)])
def test_a_sweep_takes_no_more_memory_than_it_was_given(shape: tuple[int, int]):
    """Measured on the NumPy engine, whose arrays Python's allocator counts."""
    panel = universe(*shape)
    book = 8 * shape[0] * shape[1]
    room = fixed_bytes(shape) + 2 * book + 10 * (scenario_bytes(shape, "all") + book)
    rng = np.random.default_rng(1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        bt.sweep(
            panel, lambda seed: rng.random(shape) / shape[1], bt.Config(), {"seed": list(range(40))}, engine="numpy",
            max_memory=room,
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert 10 * book < peak <= room


def test_opening_holdings_and_a_start(whole: bt.SweepResult):
    held = {PANEL.assets[int(np.flatnonzero(~np.isnan(PANEL.close[0]))[0])]: 100}
    found = swept(holdings=held, start=PANEL.label(5), chunk_size=7)
    for k in (0, 13, 23):
        row = found.table.row(k, named=True)
        config = bt.Config(slippage=row["slippage"], signal_lag=row["signal_lag"])
        want = bt.run(PANEL, make(row["seed"], row["scale"]), config, holdings=held, start=PANEL.label(5))
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])
        assert row["sharpe"] == want.metrics["sharpe"]


@pytest.mark.parametrize("error", [MemoryError, type("OutOfMemoryError", (RuntimeError,), {})])
def test_a_function_for_which_memory_does_not_suffice_gets_smaller_passes(whole: bt.SweepResult, error):
    calls = []

    def starving(seed, scale):
        calls.append(seed)
        if len(calls) == 3:
            raise error
        return make(seed, scale)

    assert_same_sweep(swept(starving), whole)
    assert calls == [1, 1, 2, 1, 1, 2, 2, 3, 3]

    def none(seed, scale):
        raise error("12 GiB\nwere asked for")

    text = r"scenario 0 does not fit into memory, for none\(seed=1, .*\) had no room \(.*Error: 12 GiB were asked for\)"
    with pytest.raises(bt.ResultError, match=text):
        swept(none)


# --- what is refused, in one line ---


def late(seed: int) -> np.ndarray:
    weights = make(1)
    weights[7, 3] = 2000.0 if seed == 2 else 0.0
    return weights


def raising(seed: int) -> np.ndarray:
    if seed == 2:
        raise ValueError("not\nthis one")
    return make(seed)


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def silent(seed: int) -> np.ndarray:
    if seed == 2:
        raise Silent
    return make(seed)


def short(seed: int) -> np.ndarray:
    return make(seed) * (-1 if seed == 2 else 1)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (late, r"late\(seed=2\): weights\[2\d\d\d-\d\d-\d\d, '.*'\] is 2000.0: a weight is a fraction of equity"),
        (raising, r"raising\(seed=2\): ValueError: not this one$"),
        (silent, r"silent\(seed=2\): Silent: Silent\(\)$"),
        (short, r"short\(seed=2\): weights\[.*\] is -.*: a cash account is long-only"),
        (lambda seed: make(1) if seed == 1 else None, r"<lambda>\(seed=2\): weights is a NoneType"),
        (lambda seed: make(seed)[seed - 1 :], r"<lambda>\(seed=2\): weights has shape \(39, 12\)"),
        (lambda seed: {"A": 1} if seed == 2 else make(1), r"<lambda>\(seed=2\): weights: .*'A'"),
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 9])
def test_the_scenario_is_named(function, text: str, chunk_size: int):
    with pytest.raises(bt.WeightsError, match="^weights of scenario 2, " + text) as caught:
        swept(function, {"seed": [1, 2], "band": [0.0, 0.01]}, chunk_size=chunk_size)
    assert "\n" not in str(caught.value)


def test_an_error_of_a_worker_names_the_scenario_too():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, pytest.raises(bt.WeightsError) as caught:
        swept(raising, {"seed": [1, 2]}, executor=pool)
    assert str(caught.value) == "weights of scenario 1, raising(seed=2): ValueError: not this one"


def test_an_array_that_is_filled_again_is_refused():
    out = np.empty(PANEL.shape)

    def again(seed):
        out[:] = make(seed)
        return out

    with pytest.raises(
        bt.WeightsError, match=r"scenario 1, again\(seed=2\): it gave the memory .* of scenario 0 again"
    ):
        swept(again, {"seed": [1, 2]})
    same = make(1)
    same.flags.writeable = False
    found = swept(lambda seed: same, {"seed": [1, 2]})
    assert_bits("equity", found.equity[0], found.equity[1])


class Nothing:
    pass


def generator(seed):
    yield make(seed)


@pytest.mark.parametrize(
    ("weights", "grid", "text"),
    [
        (make, {"sed": [1]}, "grid axis 'sed' is no field of Config nor a parameter of make: did you mean 'seed'"),
        (make, {"scale": [1.0]}, "weights=make needs 'seed', which is no axis of the grid"),
        (make, None, "grid is empty"),
        (make, {"seed": [1], "weights": ["a"]}, "grid axis 'weights' picks a panel by name"),
        (lambda **k: make(1), {"weights": ["a"]}, "grid axis 'weights' picks a panel by name"),
        (lambda weights: make(1), {"weights": ["a"]}, r"cannot be called with weights=\.\.\."),
        (lambda seed, /: make(seed), {"seed": [1]}, r"cannot be called with seed=\.\.\.: let it take its arguments by"),
        (generator, {"seed": [1]}, "weights is a function: it must be a plain function of your own"),
        (len, {"seed": [1]}, "it must be a plain function of your own"),
        (make, {"seed": [None, [1]]}, r"grid axis 'seed' has \[1\]"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_runs(weights, grid, text: str):
    with pytest.raises(bt.ConfigError, match=text):
        swept(weights, grid)
    with pytest.raises(bt.WeightsError):
        swept(Nothing, {"band": [0.0]})


# --- a folder ---


def test_a_folder_knows_the_function_by_its_code_and_what_it_looks_up(tmp_path: Path):
    factor = [1.0]

    def scaled(seed):
        return make(seed) * factor[0]

    grid = {"seed": [1, 2], "band": [0.0, 0.01]}
    first = swept(scaled, grid, out=tmp_path, chunk_size=1)
    assert swept(scaled, grid, out=tmp_path).run == 0
    sorted(tmp_path.glob("chunk-00002-*"))[0].unlink()
    again = swept(scaled, grid, out=tmp_path)
    assert again.run == 1
    assert_same_sweep(again, first)
    factor[0] = 0.5
    with pytest.raises(bt.ResultError, match=r"holds a sweep with another weights .*pass the same weights"):
        swept(scaled, grid, out=tmp_path)

    def unknown(seed):
        return eval("make(seed)")

    with pytest.raises(bt.ConfigError, match=r"`eval`.*a later run could not know that it is the same"):
        swept(unknown, grid, out=tmp_path / "other")


# --- a stream ---


def test_over_a_panel_that_is_read_window_by_window(tmp_path: Path):
    close = pl.DataFrame(PANEL.close, schema=list(PANEL.assets), orient="row")
    close = close.insert_column(0, pl.Series("timestamp", PANEL.timestamps)).with_columns(
        pl.selectors.float().fill_nan(None)
    )
    long = close.unpivot(index="timestamp", variable_name="asset", value_name="close").drop_nulls()
    long.sort("timestamp", maintain_order=True).write_parquet(tmp_path / "prices.parquet", row_group_size=50)
    options = {
        "config": bt.Config(execution="next_close"),
        "grid": {"seed": [1, 2], "signal_lag": [0, 3]},
        "equity": True,
    }
    panel, stream = bt.read_panel(tmp_path / "prices.parquet"), bt.scan_panel(tmp_path / "prices.parquet", bars=7)
    wanted = bt.sweep(panel, make, **options)
    assert wanted.table["turnover"].min() > 0
    assert_same_sweep(bt.sweep(stream, make, **options), wanted)

    def table(seed):
        pl.DataFrame(make(seed), schema=list(PANEL.assets), orient="row").insert_column(
            0, pl.Series("timestamp", PANEL.timestamps)
        ).fill_nan(None).write_parquet(path := tmp_path / f"books{seed}.parquet")
        return path

    assert_same_sweep(bt.sweep(stream, table, **options), bt.sweep(panel, table, **options))
    with pytest.raises(bt.WeightsError, match=r"^weights of scenario 2, late\(seed=2\): weights\[.*\] is 2000.0"):
        bt.sweep(stream, late, **options)
