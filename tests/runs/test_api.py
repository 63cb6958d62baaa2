# SPDX-License-Identifier: Apache-2.0
"""run(): what it refuses before the first bar, what it warns about, and what it hands on."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gpu_bt as bt

NAN = np.nan
DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")


def panel(t=3, **fields):
    """T bars of two assets, A and B, at 16."""
    stamps = np.datetime64("2020-01-01", "us") + np.arange(t) * np.timedelta64(1, "D")
    return bt.Panel(np.full((t, 2), 16.0), timestamps=stamps, assets=["A", "B"], **fields)


def run(weights=0.25, market=None, **settings):
    market = panel() if market is None else market
    weights = np.full(market.shape, weights) if np.isscalar(weights) else weights
    config = bt.Config(**{"execution": "same_close", **settings})
    return bt.run(market, weights, config, engine="cpu", record=("fills", "positions"))


def refused(kind, message, *args, **settings):
    with pytest.raises(kind) as error:
        run(*args, **settings)
    assert str(error.value) == message and "\n" not in message


# --- panel and config ---


@pytest.mark.parametrize(
    ("execution", "field", "other"),
    [("next_open", "open", "execution='next_close'"), ("next_vwap", "vwap", "another execution")],
)
def test_an_execution_needs_its_prices(execution, field, other):
    message = f"execution={execution!r} fills at the {field}: pass {field}= to the Panel, or {other}"
    refused(bt.ConfigError, message, execution=execution)
    assert run(market=panel(**{field: np.full((3, 2), 16.0)}), execution=execution).status == "OK"


@pytest.mark.filterwarnings("ignore:nothing was traded:gpu_bt.errors.BacktestWarning")  # of a volume of 0
@pytest.mark.parametrize(("name", "value"), [("participation", 0.5), ("participation", 0.0), ("impact", 0.25)])
def test_participation_and_impact_need_volumes(name, value):
    message = f"{name} is {value}: it needs volumes; pass volume= to the Panel"
    refused(bt.ConfigError, message, **{name: value})
    assert run(market=panel(volume=np.full((3, 2), 64.0)), **{name: value}).status == "OK"


def test_impact_of_zero_needs_no_volumes():
    assert run(impact=0.0).status == "OK"


def test_what_is_no_panel_or_config_is_refused():
    with pytest.raises(bt.PanelError) as error:
        bt.run(np.ones((3, 2)), np.ones((3, 2)))
    assert str(error.value) == "panel is a ndarray: pass a gpu_bt.Panel, or read one with read_panel"
    with pytest.raises(bt.ConfigError) as error:
        bt.run(panel(), np.ones((3, 2)), {"lot": 1})
    assert str(error.value) == "config is a dict: pass a gpu_bt.Config"


def test_the_default_config_needs_opens():
    with pytest.raises(bt.ConfigError, match="execution='next_open' fills at the open"):
        bt.run(panel(), np.full((3, 2), 0.5))
    result = bt.run(panel(open=np.full((3, 2), 16.0)), np.full((3, 2), 0.5))
    assert result.config == bt.Config() and result.status == "OK"


@pytest.mark.parametrize("record", ["all", ["bars", "fillz"], ["fills", ""]])
def test_an_unknown_record_is_refused(record):
    bad = record if isinstance(record, str) else record[1]
    with pytest.raises(bt.ConfigError) as error:
        bt.run(panel(), np.ones((3, 2)), bt.Config(execution="same_close"), record=record)
    assert str(error.value) == f"record is {bad!r}: it must be one or more of 'bars', 'fills', 'positions'"


# --- weights ---


def weights_with(value, at=(1, 1)):
    out = np.full((3, 2), 0.25)
    out[at] = value
    return out


@pytest.mark.parametrize("value", [-0.5, -1.1e-09, -1000.0])
def test_a_negative_weight_needs_a_margin_account(value):
    where = f"weights[2020-01-02, 'B'] is {value}"
    rule = "a cash account is long-only; use Config(account='margin') for short positions"
    refused(bt.WeightsError, f"{where}: {rule}", weights_with(value))
    assert run(weights_with(value), account="margin").equity["fills"].null_count() == 0


def test_a_negative_weight_is_refused_where_nothing_would_be_decided_too():
    refused(
        bt.WeightsError,
        "weights[2020-01-03, 'A'] is -0.5: a cash account is long-only; use Config(account='margin') for short"
        " positions",
        weights_with(-0.5, at=(2, 0)),
        rebalance_every=2,
        rebalance_offset=1,
    )


@pytest.mark.parametrize("account", ["cash", "margin"])
@pytest.mark.parametrize("value", [1000.5, np.inf, -np.inf, -1000.5])
def test_a_weight_out_of_range_is_refused(account, value):
    rule = "a weight is a fraction of equity, |weight| <= 1000, or NaN for no target"
    refused(bt.WeightsError, f"weights[2020-01-02, 'B'] is {value}: {rule}", weights_with(value), account=account)


def test_the_first_bad_weight_is_named_wherever_it_lies():
    # Rows are looked at in blocks.
    market = panel(100)
    for bar in (0, 15, 16, 17, 63, 99):
        weights = np.full((100, 2), NAN)
        weights[bar:, 1] = -1.0
        label = str(market.timestamps[bar])[:10]
        with pytest.raises(bt.WeightsError) as error:
            run(weights, market)
        assert str(error.value).startswith(f"weights[{label}, 'B'] is -1.0: ")


def test_bounds_and_negative_zero_are_weights():
    settings = dict(account="margin", max_leverage=None, maintenance_margin=None, lot=0)
    assert run(weights_with(1000.0), **settings).engine and run(weights_with(-1000.0), **settings).engine
    assert run(weights_with(-0.0)).status == "OK"


@pytest.mark.parametrize("shape", [(2, 3), (3,), (3, 1), (2, 2), (3, 2, 1), (0, 2)])
def test_weights_have_the_shape_of_the_panel(shape):
    rule = "it must be (T, N) = (3, 2), a row per bar and a column per asset"
    refused(bt.WeightsError, f"weights has shape {shape}: {rule}", np.zeros(shape))


@pytest.mark.parametrize(
    ("value", "what"),
    [(None, "NoneType of dtype object"),
     (np.full((3, 2), "x"), "ndarray of dtype <U1"),
     (np.full((3, 2), True), "ndarray of dtype bool"), (np.ones((3, 2), complex), "ndarray of dtype complex128")],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused(value, what):
    rule = "pass a (T, N) array of numbers, a table or a path with labels, or {asset: weight}"
    with pytest.raises(bt.WeightsError) as error:
        bt.run(panel(), value, bt.Config(execution="same_close"))
    assert str(error.value) == f"weights is a {what}: {rule}"


@pytest.mark.parametrize("table", [pd.DataFrame, pl.DataFrame])
def test_a_table_without_timestamps_is_not_taken_for_an_array(table):
    # Its columns are in another order than the panel's assets: as an array it would buy B where A is meant.
    weights = table({"B": [0.0] * 3, "A": [1.0] * 3})
    with pytest.raises(
        bt.WeightsError, match=r"has no timestamps in its first column 'B'.*: give its rows the timestamps"
    ):
        run(weights)


@pytest.mark.parametrize("make", [list, lambda w: w.astype(">f8"), np.asfortranarray, lambda w: w[::-1][::-1]])
def test_weights_of_any_layout(make):
    weights = weights_with(0.5)
    assert run(make(weights)).positions.tolist() == run(weights).positions.tolist()


def test_weights_of_other_types():
    for dtype in (np.float32, np.float16):
        assert run(weights_with(0.5).astype(dtype)).positions.tolist() == run(weights_with(0.5)).positions.tolist()
    assert run(np.ones((3, 2), np.int64)).positions.tolist() == run(np.ones((3, 2))).positions.tolist()


def test_weights_are_not_changed():
    weights = weights_with(NAN)
    before = weights.copy()
    run(weights)
    assert weights.tobytes() == before.tobytes() and weights.flags.writeable


def test_a_weights_object_stands_in_for_an_array_and_leaves_notes():
    weights = bt.Weights(weights_with(0.5), moved_rows=2)
    result = run(weights)
    assert result.notes == {"moved_rows": 2} and result.positions.tolist() == run(weights_with(0.5)).positions.tolist()


def test_a_panels_notes_reach_the_result():
    market = bt.Panel([[16.0, 0.0]] * 3, timestamps=DAYS, assets=["A", "B"], bad_prices="nan")
    assert run(market=market).notes == {"bad_prices": 3}


# --- warnings ---


def test_targets_of_few_lots_are_warned_about():
    # 0.25 of 1000 at 16 is 15.6 lots.
    with pytest.warns(bt.BacktestWarning) as seen:
        run(initial_cash=1000.0)
    (warning,) = seen
    assert str(warning.message) == (
        "the median target is 15.6 lots, so rounding to whole lots shifts it by percents: use lot=0 (fractional shares)"
        " or more initial_cash"
    )
    assert warning.filename == __file__  # it points at the caller of run


@pytest.mark.parametrize(
    ("market", "settings"),
    [
        (None, dict(initial_cash=1280.0)),  # 20 lots
        (None, dict(initial_cash=1000.0, lot=0)),
        (dict(lot=[0, 0]), dict(initial_cash=1000.0)),  # the panel's own lots are fractional
        (dict(lot=[0, 1]), dict(initial_cash=1280.0)),
    ],
)
def test_no_warning_where_lots_are_small_enough(market, settings):
    assert run(market=None if market is None else panel(**market), **settings).status == "OK"


def test_lots_of_the_panel_are_warned_about():
    with pytest.warns(bt.BacktestWarning, match="the median target is 15.6 lots"):
        run(market=panel(lot=[100, 100]), initial_cash=100_000.0)


def forgotten(decisions, config=None, **rows):
    """A run in which A is bought at bar 0 and B has a target at each of `decisions` later bars."""
    market = panel(decisions + 1)
    weights = np.full((decisions + 1, 2), NAN)
    weights[0, 0], weights[1:, 1] = 0.5, 0.25
    for name, value in rows.items():
        weights[int(name.removeprefix("bar")), 0] = value
    return run(weights, market, **(config or {}))


def test_forgotten_holdings_are_warned_about():
    with pytest.warns(bt.BacktestWarning) as seen:
        forgotten(20)
    (warning,) = seen
    assert str(warning.message) == (
        "1 holdings had no target (NaN) in the last 20 decisions and are still held: A; NaN means hold, use 0 to close"
    )
    assert warning.filename == __file__


@pytest.mark.parametrize(
    "case", [dict(decisions=19), dict(decisions=40, bar30=0.5), dict(decisions=40, bar5=0.0),
             dict(decisions=40, config=dict(rebalance_every=3))]
)  # fmt: skip
def test_no_warning_where_a_holding_is_mentioned_or_decisions_are_few(case):
    assert forgotten(**case).status == "OK"


def test_rows_without_any_target_are_no_decisions():
    # Buy and hold: one row of targets, then nothing but NaN.
    weights = np.full((100, 2), NAN)
    weights[0] = 0.5
    assert run(weights, panel(100)).status == "OK"


def test_forgotten_holdings_count_the_lagged_rows():
    with pytest.warns(bt.BacktestWarning, match="1 holdings had no target"):
        forgotten(22, dict(signal_lag=2))
    assert forgotten(21, dict(signal_lag=2)).status == "OK"


# --- what comes back ---


def test_progress_counts_up_to_the_bars_and_changes_nothing():
    market, weights = panel(250), np.random.default_rng(0).uniform(0, 0.5, (250, 2))
    seen = []
    config = bt.Config(execution="same_close")
    with_progress = bt.run(market, weights, config, engine="cpu", progress=lambda t, of: seen.append((t, of)))
    assert [of for _, of in seen] == [250] * len(seen) and seen[-1][0] == 250
    assert [t for t, _ in seen] == sorted({t for t, _ in seen}) and len(seen) > 10
    quiet = bt.run(market, weights, config, engine="cpu")
    assert with_progress.raw.money.tobytes() == quiet.raw.money.tobytes()


def test_fills_made_on_first_access_are_those_recorded():
    market, weights = panel(50), np.random.default_rng(0).uniform(0, 0.5, (50, 2))
    config = bt.Config(execution="same_close")
    later = bt.run(market, weights, config, engine="cpu")
    assert later.raw.fills is None and later.raw.positions is None
    now = bt.run(market, weights, config, engine="cpu", record=["fills", "positions"])
    assert later.fills.equals(now.fills) and len(now.fills) > 20
    assert later.positions.tobytes() == now.positions.tobytes()


def test_a_run_leaves_panel_and_config_as_they_were_and_can_be_repeated():
    market, config = panel(20), bt.Config(execution="same_close", slippage=0.01)
    weights = np.random.default_rng(0).uniform(0, 0.5, (20, 2))
    before = copy.deepcopy(market.close)
    first, second = (bt.run(market, weights, config, engine="cpu").raw for _ in range(2))
    assert first.money.tobytes() == second.money.tobytes() and market.close.tobytes() == before.tobytes()
    # What an engine keeps about a panel for one config does not leak into a run with another.
    other = bt.run(market, weights, config.replace(lot=7.0, signal_lag=1), engine="cpu").raw
    fresh = bt.run(panel(20), weights, config.replace(lot=7.0, signal_lag=1), engine="cpu").raw
    assert other.money.tobytes() == fresh.money.tobytes() != first.money.tobytes()


def test_labels_come_back():
    result = run(market=panel(time_zone="America/New_York"))
    assert result.time_zone == "America/New_York" and result.timestamps.dtype == pl.Datetime("us", "America/New_York")
    assert result.fills["asset"].to_list()[:2] == ["A", "B"]


def test_a_good_run_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


@pytest.mark.parametrize("record", [5, None, ["fills", 5], "all"])
def test_what_cannot_be_recorded_is_refused(record):
    with pytest.raises(bt.ConfigError, match=r"^record is .*: it must be one or more of 'bars', 'fills', 'positions'$"):
        bt.run(panel(), weights_with(0.5), bt.Config(execution="same_close"), record=record)
