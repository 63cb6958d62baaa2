# SPDX-License-Identifier: Apache-2.0
"""Opening holdings as a user meets them: by label, worked by hand, saved, streamed, in a sweep; what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_bits

import gpu_bt as bt

NAN = np.nan
DAYS = np.datetime64("2024-01-01", "us") + np.arange(6) * np.timedelta64(1, "D")
CLOSE = np.array([[16.0, NAN, 8.0], [16, 32, 8], [32, 32, 8], [32, 64, 4], [32, 64, 4], [64, 64, 4]])
HELD = {"A": 8, "C": 32}
pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")


def market(close=CLOSE, **fields):
    return bt.Panel(close, timestamps=DAYS[: len(close)], assets=["A", "B", "C"], **fields)


def config(**settings):
    return bt.Config(**{"initial_cash": 128.0, "execution": "same_close", "cash_buffer": 0.0, **settings})


def rows(*given, t=6):
    out = np.full((t, 3), NAN)
    for bar, row in given:
        out[bar] = row
    return out


def test_they_are_held_marked_and_counted(engine):
    result = bt.run(market(), rows(), config(), engine=engine, holdings=HELD, record=("fills", "positions"))
    assert result.equity["equity"].to_list() == [512.0, 512.0, 640.0, 512.0, 512.0, 768.0]
    assert result.opening == 512.0 and result.metrics["total_return"] == 0.5
    assert result.metrics["max_drawdown"] == 512 / 640 - 1 and result.fills.height == 0
    assert result.positions[0].tolist() == [8, 0, 32]
    assert result.config.tick == 2.0 ** (9 - 36) and config().tick == 2.0 ** (7 - 36)
    assert "from 512.00" in str(result)


def test_a_book_is_of_all_that_is_there(engine):
    result = bt.run(market(), rows((1, [0.5, 0, 0])), config(), engine=engine, holdings=HELD, record="positions")
    assert result.positions[1].tolist() == [16, 0, 0] and result.equity["cash"][1] == 256.0


@pytest.mark.parametrize(
    "given",
    [
        pd.Series({"C": 32, "A": 8.0}),
        np.array([8, 0, 32]),
        [8, 0, 32],
        pl.DataFrame({"asset": ["C", "A"], "shares": [32.0, 8.0]}),
        pd.DataFrame({"asset": ["A", "C"], "shares": [8, 32]}),
    ],
)
def test_labels_or_an_array(given):
    want = bt.run(market(), rows((2, [0, 1, 0])), config(), holdings=HELD)
    got = bt.run(market(), rows((2, [0, 1, 0])), config(), holdings=given)
    assert_bits("money", got.raw.money, want.raw.money)


def test_final_positions_are_the_next_runs_holdings():
    first = bt.run(market(), rows((0, [0.5, NAN, 0.25])), config())
    again = bt.run(market(), rows(), config(), holdings=first.final_positions)
    assert again.final_positions.equals(first.final_positions)


def test_one_without_a_first_price_stands_at_its_later_one_and_nothing_decides_before(engine):
    """B trades from bar 1 on, at 32: 128 + 16*8 + 32*4. Bar 1 is the first to decide."""
    weights = np.zeros((6, 3))
    result = bt.run(market(), weights, config(), engine=engine, holdings={"A": 8, "B": 4}, record="positions")
    assert result.equity["equity"].to_list() == [384.0] * 6
    assert result.positions[:2].tolist() == [[8, 4, 0], [0, 0, 0]]
    assert result.opening == 384.0 and result.metrics["bars"] == 5 and len(result.returns()) == 5


def test_a_split_and_a_dividend_at_the_first_bar_are_theirs(engine):
    split, dividend = np.ones((6, 3)), np.zeros((6, 3))
    split[0, 0], dividend[0, 2] = 2.0, 1.0
    raw = market(split=split, dividend=dividend, prices="raw")
    result = bt.run(raw, rows(), config(), engine=engine, holdings=HELD, record="positions")
    # 16 A at 16, 32 C at 8, 128 and a dividend of 32, which is the first bar's return.
    assert result.positions[0].tolist() == [16, 0, 32]
    assert result.opening == 640.0 and result.equity["equity"][0] == 672.0


def test_one_delisted_at_the_first_bar_is_settled_at_its_mark(engine):
    gone = market(delisted_at=[0, -1, -1], delisting_return=[-0.5, 0, 0])
    result = bt.run(gone, rows(), config(), engine=engine, holdings=HELD)
    assert result.equity["settlements"][0] == 64.0 and result.equity["equity"][0] == 448.0


def test_the_peak_begins_with_them(engine):
    """640 at the third bar, 512 after it: a fall of a fifth."""
    stop = config(max_drawdown=0.15)
    result = bt.run(market(), rows(), stop, engine=engine, holdings=HELD, record="positions")
    assert {name: str(bar)[:10] for name, bar in result.statuses.items()} == {"DRAWDOWN_STOP": "2024-01-04"}
    assert result.positions[-1].tolist() == [0, 0, 0]


def test_short_ones_need_a_margin_account(engine):
    account = config(account="margin", max_leverage=None, maintenance_margin=None)
    result = bt.run(market(), rows((1, [0, NAN, NAN])), account, engine=engine, holdings={"A": -4}, record="positions")
    assert result.opening == 64.0 and result.equity["equity"].to_list() == [64.0] * 6
    assert result.positions[:2, 0].tolist() == [-4, 0]


def test_a_strategy_begins_with_them(engine):
    seen = []

    class Look(bt.Strategy):
        def on_data_batch(self, timestamp, batch):
            seen.append((batch.bar, self.portfolio.equity, self.portfolio.shares.tolist()))
            if batch.bar == 2:
                self.order("A", -8)

    result = bt.run(market(), Look(), config(), engine=engine, holdings={**HELD, "B": 1})
    assert seen[0] == (1, 544.0, [8, 1, 32]) and seen[-1][2] == [0, 1, 32]
    assert result.opening == 544.0 and result.fills["shares"].to_list() == [-8]


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_saved_run_goes_on_with_their_tick(cut: int, tmp_path: Path):
    # Costs that the tick of the cash alone would round otherwise.
    settings = config(commission_rate=1e-3, cash_rate=0.05, lot=0)
    weights = rows((1, [0.3, 0.3, 0.3]), (3, [0.1, 0.2, 0.3]))
    long = bt.run(market(), weights, settings, holdings=HELD, record=("fills", "positions"))
    first = bt.Panel(CLOSE[:cut], timestamps=DAYS[:cut], assets=["A", "B", "C"])
    later = bt.Panel(CLOSE[cut:], timestamps=DAYS[cut:], assets=["A", "B", "C"])
    bt.run(first, weights[:cut], settings, holdings=HELD).checkpoint(tmp_path / "s.npz")
    again = {"resume": tmp_path / "s.npz", "accept_jumps": True}
    part = bt.run(later, weights[cut:], settings, **again, record=("fills", "positions"))
    assert_bits("money", part.raw.money, long.raw.money[:, :, cut:])
    assert_bits("positions", part.raw.positions, long.raw.positions[:, cut:])
    assert part.config.tick == long.config.tick and part.opening == long.equity["equity"][cut - 1]


def stream(bars):
    t, n = np.nonzero(~np.isnan(CLOSE))
    table = pl.DataFrame({"timestamp": DAYS[t], "asset": np.array(["A", "B", "C"])[n], "close": CLOSE[t, n]})
    return bt.scan_panel(table.lazy(), bars=bars)


@pytest.mark.parametrize("bars", [2, 4])
def test_a_stream_begins_with_them(bars: int):
    weights, held = rows((1, [0.3, 0.3, 0.3]), (3, [0.1, 0.2, 0.3])), {**HELD, "B": 2}
    want = bt.run(market(), weights, config(), holdings=held)
    got = bt.run(stream(bars), weights, config(), holdings=held)
    assert_bits("money", got.raw.money, want.raw.money)
    assert (
        got.opening == want.opening and got.metrics["sharpe"] == want.metrics["sharpe"] and got.fills.equals(want.fills)
    )
    with pytest.raises(bt.WeightsError, match=r"holdings\['B'\] is 2: it has no price in 1 bars"):
        bt.run(stream(1), weights, config(), holdings=held)


@pytest.mark.parametrize("where", ["memory", "stream"])
def test_a_sweep_begins_with_them(where: str):
    weights, held = rows((1, [0.3, 0.3, 0.3]), (3, [0.1, 0.2, 0.3])), {**HELD, "B": 2}
    grid = {"initial_cash": [128.0, 1e6], "lot": [0, 1], "commission_rate": [0, 1e-3]}
    panel = market() if where == "memory" else stream(4)
    found = bt.sweep(panel, weights, config(), grid, holdings=held, equity=True, chunk_size=3)
    for k, row in enumerate(found.table.iter_rows(named=True)):
        want = bt.run(market(), weights, config(**{name: row[name] for name in grid}), holdings=held)
        assert_bits("equity", found.equity[k], want.raw.money[0, 0])
        assert row["total_return"] == want.metrics["total_return"] and row["fills"] == want.equity["fills"].sum()


def test_a_sweep_of_strategies_begins_with_them(tmp_path: Path):
    class Hold(bt.Strategy):
        sell = 0

        def on_data_batch(self, timestamp, batch):
            if batch.bar == 2 and self.sell:
                self.order("A", -self.sell)

    options = dict(holdings=HELD, equity=True, out=tmp_path)
    found = bt.sweep(market(), Hold, config(), {"sell": [0, 4, 8]}, **options)
    assert found.equity[:, 0].tolist() == [512.0] * 3 and found.table["fills"].to_list() == [0, 1, 1]
    assert found.table["advice"][0] == "no decision"
    assert bt.sweep(market(), Hold, config(), {"sell": [0, 4, 8]}, **options).run == 0
    with pytest.raises(bt.ResultError, match="holds a sweep with another list of holdings"):
        bt.sweep(market(), Hold, config(), {"sell": [0, 4, 8]}, **{**options, "holdings": {"A": 8}})


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({"D": 1}, {}, "holdings['D']: the panel has no such asset; see panel.assets"),
        ({"A": NAN}, {}, "holdings['A'] is nan: it must be a number of shares, 0 where none is held"),
        ({"A": "many"}, {}, "holdings['A'] is 'many': it must be a number of shares, 0 where none is held"),
        ({"A": -1}, {}, "holdings['A'] is -1: a cash account is long-only; use Config(account='margin') for short"),
        (
            {"A": 1.5},
            {},
            "holdings['A'] is 1.5: where an asset trades in lots, its holding is whole shares or whole lots",
        ),
        ([1, 2], {}, "holdings is a list of shape (2,): pass {asset: shares}, or (N,) = (3,) shares"),
        ({"A": -8}, {"account": "margin"}, "cash and holdings are worth 0.00: they must be in [0.01, 1e15]"),
        (pd.Series([1, 2], index=["A", "A"]), {}, "holdings['A']: the asset is named twice"),
    ],
)
def test_what_cannot_be_held_is_refused(given, settings, message):
    for call in (bt.run, bt.sweep):
        with pytest.raises(bt.WeightsError) as error:
            more = () if call is bt.run else ({"band": [0.0]},)
            call(market(), rows(), config(**settings), *more, holdings=given)
        assert message in str(error.value) and "\n" not in str(error.value)


def test_one_that_never_has_a_price_is_refused():
    nothing = CLOSE.copy()
    nothing[:, 1] = NAN
    with pytest.raises(bt.WeightsError, match=r"holdings\['B'\] is 1: it has no price in 6 bars"):
        bt.run(market(nothing), rows(), config(), holdings={"B": 1})


class Book(bt.Strategy):
    """Sells A at the fourth bar."""

    def on_data_batch(self, timestamp, batch):
        if batch.bar == 3:
            self.order_target_percent("A", 0.0)


@pytest.mark.parametrize("held", [{"A": 8}, {"A": 8, "B": 4}])
@pytest.mark.parametrize("start", [None, "2023", "2024-01-05"])
def test_the_summary_says_from_which_bar_on_and_why(held, start):
    """B has its first price at the second bar, the opening; what `start` asks for before it does not count."""
    first = "2024-01-05" if start == "2024-01-05" else "2024-01-02" if "B" in held else "2024-01-01"
    why = "start= on" if start == "2024-01-05" or (start and "B" not in held) else "the opening on"
    for panel, weights in ((market(), rows((3, [0, 0, 0]))), (stream(4), rows((3, [0, 0, 0]))), (market(), Book())):
        result = bt.run(panel, weights, config(), holdings=held, start=start)
        bars = 6 - int(first[-1]) + 1
        assert f"metrics        {first} to 2024-01-06, {bars} bars, from {why}\n" in str(result)


def test_the_summary_of_a_resumed_run_says_why(tmp_path: Path):
    for early, later, why in (
        ([0.5, 0.25, 0], NAN, "from the first bar of the resumed run on"),
        (NAN, 0.5, "from the first decision with a target on"),
        (NAN, NAN, "all, as no decision has a target"),
    ):
        bt.run(market()[:"2024-01-03"], rows((1, early), t=3), config()).checkpoint(tmp_path / "s.npz")
        resumed = {"resume": tmp_path / "s.npz", "accept_jumps": True}
        rest = bt.run(market()["2024-01-04":], rows((1, later), t=3), config(), **resumed)
        assert f" bars, {why}\n" in str(rest)


def test_the_files_of_a_run_say_what_it_began_with(tmp_path: Path):
    for given, want in ((HELD, {"A": 8.0, "C": 32.0}), (None, {})):
        folder = tmp_path / str(bool(given))
        bt.run(market(), rows((1, [0, 0, 0])), config(), holdings=given).write(folder)
        run = tomllib.loads((folder / "config.toml").read_text())["run"]
        assert run["holdings"] == want
        again = bt.run(market(), rows((1, [0, 0, 0])), bt.read_config(folder / "config.toml"), holdings=run["holdings"])
        assert again.equity.equals(pl.read_parquet(folder / "equity.parquet"))


def test_a_saved_run_has_its_own(tmp_path: Path):
    with pytest.raises(
        bt.ConfigError, match="holdings are in the saved state that resume goes on from: leave them out"
    ):
        bt.run(market(), rows(), config(), holdings=HELD, resume=tmp_path / "s.npz")


def test_none_held_is_no_holdings():
    want, got = bt.run(market(), rows(), config()), bt.run(market(), rows(), config(), holdings={"A": 0})
    assert got.config == want.config and got.opening == 128.0
