# SPDX-License-Identifier: Apache-2.0
"""The warnings: said where something is probably not meant, and only there."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import cpu_fallback
import gpu_bt as bt

T, N = 130, 2
DAYS = np.busday_offset("2020-01-01", np.arange(T))
NAN = np.nan


def panel():
    return bt.Panel(np.full((T, N), 16.0), timestamps=DAYS, assets=["A", "B"])


def said(weights, **settings):
    """The warnings of a run at 16 a share."""
    config = bt.Config(execution="next_close", **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bt.run(panel(), weights, config)
    assert all(w.category is bt.BacktestWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def books(rows, value=0.25):
    weights = np.full((T, N), NAN)
    weights[rows] = value
    return weights


def test_books_that_no_decision_reads_are_told():
    # Books at the first business day of January to April; month ends decide.
    rows = [0, 23, 43, 65]
    (message,) = said(books([*rows, 22]), rebalance="month")
    assert message.startswith("4 of 5 rows with targets are never read, the first at 2020-01-01: they lie on bars")
    assert said(books(rows)) == []


def test_rows_for_every_bar_are_meant_to_be_picked_from():
    assert said(np.full((T, N), 0.25), rebalance_every=21) == []


@pytest.mark.parametrize("settings", [dict(rebalance="month"), dict(signal_lag=1000), dict(rebalance_offset=1000)])
def test_a_run_without_a_decision_is_told(settings):
    (message,) = said(books([0, 23]), **settings)
    assert message.startswith("no decision was taken: none of 2 rows with targets is read at a bar that decides")


def test_weights_that_are_all_missing_are_told():
    (message,) = said(np.full((T, N), NAN))
    assert message.startswith("no decision was taken: none of 0 rows")


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (dict(), "(rebalance='bar', rebalance_every=1, "),
        (dict(rebalance="month"), "(rebalance='month', rebalance_on='last', rebalance_every=1, "),
        (dict(rebalance="week", week_starts="friday", rebalance_on="first"),
         "(rebalance='week', rebalance_on='first', week_starts='friday', rebalance_every=1, "),
    ],
)  # fmt: skip
def test_the_rule_by_which_no_bar_decided_is_named(settings, rule):
    (message,) = said(np.full((T, N), NAN), **settings)
    assert rule in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(outside="hold"), "outside='hold' changes nothing: the panel has no universe"),
        (dict(rebalance_on="first"), "rebalance_on='first' changes nothing with rebalance='bar'"),
        (dict(week_starts="friday"), "week_starts='friday' changes nothing with rebalance='bar'"),
        (dict(week_starts="friday", rebalance="month"), "week_starts='friday' changes nothing with rebalance='month'"),
    ],
)
def test_a_setting_that_changes_nothing_is_told(settings, message):
    for weights in (np.full((T, N), 0.25), Fixed("A", 0.5)):
        (text,) = said(weights, **settings)
        assert text == message
    everywhere = bt.Panel(np.full((T, N), 16.0), timestamps=DAYS, assets=["A", "B"], universe=np.ones((T, N), bool))
    period = {"month": {"rebalance_on": "first"}, "bar": {}}.get(settings.get("rebalance", "bar"), {})
    meant = {**settings, **period, "rebalance": "week"}
    assert bt.run(everywhere, np.full((T, N), 0.25), bt.Config(execution="next_close", **meant)).advice == {}


class Silent(bt.Strategy):
    def on_data_batch(self, timestamp, batch):
        pass


@pytest.mark.parametrize("leaves", [True, False])
def test_what_the_universe_has_sold_is_no_run_without_a_decision(leaves):
    """A is held from the start and leaves the universe; nothing else is decided."""
    inside = np.ones((T, N), bool)
    inside[T // 2 :, 0] = not leaves
    market = bt.Panel(np.full((T, N), 16.0), timestamps=DAYS, assets=["A", "B"], universe=inside)
    config, held, rows = bt.Config(execution="next_close"), {"A": 100}, np.full((T, N), NAN)
    told = [] if leaves else ["no decision"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bt.BacktestWarning)
        for weights in (rows, Silent()):
            result = bt.run(market, weights, config, holdings=held)
            assert [*result.advice] == told and result.raw.column("fills").sum() == leaves
        for weights in (rows, Silent):
            found = bt.sweep(market, weights, config, {"band": [0.0, 0.1]}, holdings=held)
            assert found.table["advice"].to_list() == [", ".join(told)] * 2
            assert len(found.best("total_return", 2)) == 2 * leaves


def test_weights_in_percent_are_told():
    (message,) = said(np.full((T, N), 50.0))
    assert message.startswith("the median book sums to 100 in a cash account, which can hold 1")
    assert said(np.full((T, N), 50.0), account="margin", max_leverage=None, maintenance_margin=None) == []
    assert said(np.full((T, N), 50.0), max_gross=1.0) == []


def test_weights_that_never_trade_are_told():
    config = bt.Config(execution="next_close", lot=100, initial_cash=1000)  # a lot costs 1600
    with pytest.warns(bt.BacktestWarning) as caught:
        bt.run(panel(), np.full((T, N), 0.5), config)
    first, second = (str(w.message) for w in caught)
    assert first == "nothing was traded in 130 decisions: see the orders cut, by reason, in the summary"
    assert second.startswith("the median target is 0.312 lots")
    assert said(np.zeros((T, N))) == []  # a book of zeros is meant


def test_rows_whose_bar_lies_after_the_last_one_are_no_books_unread():
    assert said(books([0, 23, T - 1]), signal_lag=1) == []


class Fixed(bt.Strategy):
    """Orders the same at every bar."""

    def __init__(self, *order):
        self.fixed = order

    def on_data_batch(self, timestamp, batch):
        if self.fixed:
            self.order_target_percent(*self.fixed)


@pytest.mark.parametrize(
    ("strategy", "settings", "message"),
    [
        (Fixed(), {}, "no decision was taken: Fixed ordered nothing at the bars at which it was asked"),
        (Fixed("A", 0.5), dict(initial_cash=20, lot=10), "nothing was traded in 130 decisions"),
        (Fixed("A", 50.0), {}, "the median book sums to 50 in a cash account, which can hold 1"),
        (Fixed("A", 0.5), dict(initial_cash=320), "the median target is 10 lots, so rounding"),
    ],
)
def test_strategies_are_told_the_same(strategy, settings, message):
    assert any(text.startswith(message) for text in said(strategy, **settings)), said(strategy, **settings)
    assert said(Fixed("A", 0.5)) == []


def test_holdings_that_a_strategy_forgets_are_told():
    class Other(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            self.order_target_percent("A" if batch.bar == 0 else "B", 0.5)

    (message,) = said(Other())
    assert message.startswith("1 holdings had no target (NaN) in the last 20 decisions and are still held: A;")


def test_what_is_told_stands_in_the_result_too():
    with pytest.warns(bt.BacktestWarning):
        result = bt.run(panel(), books([0, 23]), bt.Config(execution="next_close", rebalance="month"))
    ((kind, text),) = result.advice.items()
    assert kind == "no decision" and text in str(result) and result.decisions == 0


def test_exits_that_the_universe_forces_are_decisions(tmp_path):
    """[S6] A book at the first bar; from the third on, an asset is outside at every second bar, and then at none."""
    inside = np.ones((T, N), bool)
    inside[2:12:2, 0] = False
    market = bt.Panel(np.full((T, N), 16.0), timestamps=DAYS, assets=["A", "B"], universe=inside)
    t, n = np.divmod(np.arange(T * N), N)
    table = {"timestamp": DAYS[t], "asset": np.array(["A", "B"])[n], "close": market.close.ravel()}
    pl.DataFrame(table | {"universe": inside.ravel()}).write_parquet(tmp_path / "p.parquet")
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=7)

    class Once(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            if batch.bar == 0:
                self.order_target_percent([0, 1], 0.25)

    for outside, every, count in (("close", 1, 6), ("hold", 1, 1), ("close", 4, 3)):
        config = bt.Config(execution="next_close", outside=outside, rebalance_every=every)
        for panel, weights in ((market, books([0])), (stream, books([0])), (market, Once())):
            result = bt.run(panel, weights, config)
            assert (result.decisions, result.advice) == (count, {}), (outside, every, panel, weights)
    grid = {"outside": ["close", "hold"], "rebalance_every": [1, 4]}
    for panel in (market, stream):
        found = bt.sweep(panel, books([0]), bt.Config(execution="next_close"), grid).table
        assert found["decisions"].to_list() == [6, 3, 1, 1] and found["unread"].to_list() == [0] * 4
    config = bt.Config(execution="next_close")
    for panel, weights in ((market, books([])), (stream, books([])), (market, Fixed())):
        with pytest.warns(bt.BacktestWarning, match="nothing was traded in 5 decisions"):
            bt.run(panel, weights, config)


# --- the ledger


def test_an_amount_of_few_ticks_names_the_grid():
    """The grid of 1e9 is 2**-7, 0.0078: a fee of half a unit is 64 ticks."""
    (message,) = said(np.full((T, N), 0.25), initial_cash=1e9, min_commission=0.5)
    assert message == (
        "min_commission is 0.5, below 100 ticks of the ledger's grid of 0.00781: money_tick=2**-8 is fine enough, and"
        " holds equity up to 8.8e+12"
    )
    assert said(np.full((T, N), 0.25), initial_cash=1e9, min_commission=0.5, money_tick=2**-8) == []
    assert said(np.full((T, N), 0.25), initial_cash=1e9, min_commission=1.0) == []


@pytest.mark.parametrize("settings", [dict(initial_cash=2e9), dict(money_tick=2**-6), dict(initial_cash=2e9, lot=0)])
def test_a_grid_coarser_than_a_cent_is_told(settings):
    (message,) = said(np.full((T, N), 0.25), **settings)
    assert (
        message.startswith("amounts are rounded to whole ticks of the ledger's grid of 0.0")
        and "money_tick=2**-7" in message
    )


@pytest.mark.parametrize(
    ("settings", "fine"),
    [
        (dict(initial_cash=1e12, min_commission=1e-4), "2**-20"),  # 2**31 of money, of 1e12
        (dict(initial_cash=1e15), "2**-7"),
        (dict(initial_cash=1e9, commission_per_share=1e-30), "2**-107"),
        (dict(initial_cash=1e10, min_commission=2e-3, account="margin"), "2**-16"),  # 2**35, and books of 5e10
    ],
)
def test_no_grid_is_named_that_would_not_hold_the_run(settings, fine):
    weights = np.full((T, N), 2.5)
    message = next(text for text in said(weights, **settings, max_gross=6.0) if "the ledger's grid" in text)
    assert f": no grid is both fine and large enough ({fine} ends at " in message and "money_tick" not in message
    if fine != "2**-107":  # which no Config takes
        found = said(weights, **settings, money_tick=2.0 ** int(fine[3:]), max_gross=6.0)
        assert any("LEDGER_OVERFLOW" in text for text in found)


def test_a_grid_that_is_named_holds_the_run():
    """2**35 is more than 4e9 held twice over, and books of 2e10."""
    settings = dict(initial_cash=4e9, min_commission=2e-3, account="margin", max_gross=6.0)
    (message,) = said(np.full((T, N), 2.5), **settings)
    assert message.endswith("money_tick=2**-16 is fine enough, and holds equity up to 3.44e+10")
    assert said(np.full((T, N), 2.5), **settings, money_tick=2**-16) == []


def test_no_grid_is_named_that_a_run_has_outgrown():
    """A run that leaves the range of its own grid has no use for a finer one."""
    _, messages = grown(min_commission=1e-9)
    fee, overflow = messages
    assert fee.startswith("min_commission is 1e-09") and "no grid is both" in fee
    assert overflow.startswith("LEDGER_OVERFLOW at 2020-01-22: ")


def grown(engine="native", weights=None, **settings):
    """10 of cash in an asset that doubles at each of 30 bars: 1e10."""
    close = 2.0 ** np.arange(-5, 25)[:, None]
    market = bt.Panel(close, timestamps=DAYS[:30], assets=["A"])
    rows = np.where(np.arange(30)[:, None] == 0, 1.0, NAN) if weights is None else weights
    config = bt.Config(**{"execution": "same_close", "cash_buffer": 0, "initial_cash": 10, "lot": 0, **settings})
    with pytest.warns(bt.BacktestWarning) as caught:
        result = bt.run(market, rows, config, engine=engine)
    return result, [str(w.message) for w in caught]


def test_an_overflow_says_where_and_which_grid_holds_the_run(engine):
    # The grid of 10 is 2**-33 and its range 2**18, which 10*2**15 leaves at bar 15.
    result, (message,) = grown(engine)
    assert result.status == "LEDGER_OVERFLOW"
    assert message == (
        "LEDGER_OVERFLOW at 2020-01-22: a sum left the ledger's range, 262,144 of money, and ended the run;"
        " money_tick=2**-17 holds the run"
    )
    assert result.metrics["final_equity"] == 10 * 2.0**14 and message in str(result)
    assert "final equity   163,840.00 in the last row, 2020-01-21, from 10.00" in str(result)
    close = 2.0 ** np.arange(-5, 25)[:, None]
    market, rows = bt.Panel(close, timestamps=DAYS[:30], assets=["A"]), np.where(np.arange(30)[:, None] == 0, 1.0, NAN)
    held = bt.run(market, rows, result.config.replace(money_tick=2**-17), engine=engine)
    assert held.status == "OK" and held.metrics["final_equity"] == 10 * 2.0**29 and held.advice == {}
    coarser = [2.0**power for power in (-29, -25, -21)]
    assert all(grown(engine, money_tick=tick)[0].status == "LEDGER_OVERFLOW" for tick in coarser)


def test_an_overflow_of_a_strategy_names_a_coarser_grid():
    _, (message,) = grown(weights=Fixed("A", 1.0))
    assert message.endswith("ended the run; a coarser grid, such as money_tick=2**-17, reaches further")


# --- sweeps


def test_a_sweep_tells_once_with_counts():
    weights = {"dated": books([0, 23, 43, 65, 22]), "zero": np.zeros((T, N))}
    grid = {"rebalance": ["bar", "month"], "lot": [1, 1e6]}
    with pytest.warns(bt.BacktestWarning) as caught:
        found = bt.sweep(panel(), weights, bt.Config(execution="next_close"), grid)
    (warning,) = caught
    assert warning.filename == __file__ and str(warning.message) == (
        "3 of 8 scenarios: never traded 2 (the first is 1), few lots 2 (the first is 1), unread books 2 (the first is"
        " 2); see table['advice'], and run() one of them for its sentence"
    )
    told = ["", "never traded, few lots", "unread books", "never traded, unread books, few lots", *["cash alone"] * 4]
    assert found.table["advice"].to_list() == told
    assert found.table["decisions"].to_list() == [5, 5, 1, 1, T, T, 5, 5]
    assert found.table["unread"].to_list() == [0, 0, 4, 4, 0, 0, T - 5, T - 5]
    assert (found.table["fills"] > 0).to_list() == [True, False, True, *[False] * 5]


@pytest.mark.parametrize("metrics", ["all", "equity"])
def test_what_never_traded_or_ended_early_is_best_of_nothing(metrics):
    close = np.full((T, N), 16.0)
    close[2:] = [32, 8]
    market = bt.Panel(close, timestamps=DAYS, assets=["A", "B"])
    weights = {
        "up": books([0], [0.5, 0.0]),
        "cash": np.zeros((T, N)),
        "broke": books([0], [-1.5, 0.0]),
        "none": books([]),
    }
    config = bt.Config(execution="same_close", account="margin", max_leverage=None, maintenance_margin=None)
    with pytest.warns(bt.BacktestWarning):
        found = bt.sweep(market, weights, config, {"slippage": [0.0]}, metrics=metrics)
    assert found.best("total_return", 9)["weights"].to_list() == ["up"]
    assert found.best("max_drawdown", 9, every=True)["weights"].to_list() == ["up", "cash", "none", "broke"]
    assert found.table["status"].to_list() == ["OK", "OK", "BANKRUPT", "OK"]


def test_a_result_can_be_pickled_and_still_makes_its_fills():
    result = bt.run(panel(), np.full((T, N), 0.25), bt.Config(execution="next_close"))
    again = pickle.loads(pickle.dumps(result))
    assert again.fills.equals(result.fills) and len(again.fills) == 2


def test_the_cpu_package_shows_its_own_default():
    import inspect

    assert inspect.signature(cpu_fallback.run).parameters["engine"].default == "cpu"
    assert inspect.signature(bt.run).parameters["engine"].default == "auto"
    assert sorted(dir(bt)) == sorted(bt.__all__) == sorted(dir(cpu_fallback))


@pytest.mark.parametrize("late", [False, True])
def test_tables_without_a_label_of_the_panel_are_refused(late):
    index = pd.DatetimeIndex(DAYS)
    close = pd.DataFrame(np.full((T, N), 16.0), index=index, columns=["A", "B"])
    moved = close.set_axis(index + pd.Timedelta(days=7 * T)) if late else close
    if late:
        with pytest.raises(bt.PanelError, match=r"^open has no timestamp of the panel: its first is"):
            bt.Panel(close, open=moved, timestamps=index, assets=["A", "B"])
    else:
        assert bt.Panel(close, open=moved, timestamps=index, assets=["A", "B"]).shape == (T, N)


def test_a_series_of_another_order_is_placed_by_its_labels():
    close = np.full((T, N), 16.0)
    lots = pd.Series({"B": 100.0, "A": 1.0})
    for given in (lots, lots.to_dict(), lots[["A", "B"]]):
        assert bt.Panel(close, timestamps=DAYS, assets=["A", "B"], lot=given).lot.tolist() == [1.0, 100.0]
    for wrong, rule in (
        ({"A": 1.0, "C": 2.0}, r"'C' is no asset of the panel \(1 of 2 are none\)"),
        ({"A": 1.0}, r"'B' has no lot \(1 of 2 have none\): name every asset"),
        (pd.Series([1.0, 2.0], index=["A", "A"]), "'A' is there twice"),
        (pd.Series([1.0, 2.0]), "'0' is no asset of the panel"),
    ):
        with pytest.raises(bt.PanelError, match="^lot: " + rule):
            bt.Panel(close, timestamps=DAYS, assets=["A", "B"], lot=wrong)
