# SPDX-License-Identifier: Apache-2.0
"""Result on records made up by hand: tables, replay, statistics, files, pictures."""

from __future__ import annotations

import dataclasses
import math
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from gpu_bt.analysis.result import Result
from gpu_bt.config import Config
from gpu_bt.engine.spec import FILL, RawResult
from gpu_bt.errors import ResultError
from gpu_bt.law.layout import COUNTS, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS, STATE

NAN = math.nan
STAMPS = np.array(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"], "datetime64[us]")
#: Buy 4 A at 128, take a dividend, sell 2 at 160; a bar per column.
BOOK = {
    "equity": [1024.0, 1021.0, 1157.0, 1136.5],
    "cash": [1024.0, 509.0, 517.0, 836.5],
    "long_value": [0.0, 512.0, 640.0, 300.0],
    "short_value": [0.0, 0.0, 0.0, 0.0],
    "buys": [0.0, 512.0, 0.0, 0.0],
    "sells": [0.0, 0.0, 0.0, 320.0],
    "commission": [0.0, 2.0, 0.0, 1.0],
    "slippage": [0.0, 1.0, 0.0, 0.0],
    "financing": [0.0, 0.0, 0.0, 0.5],
    "dividends": [0.0, 0.0, 8.0, 0.0],
    "settlements": [0.0, 0.0, 0.0, 0.0],
}
COUNTED = {"fills": [0, 1, 0, 1], "working": [1, 0, 1, 1], "no_price": [0, 0, 1, 2]}
POSITIONS = [[0.0, 0.0], [4.0, 0.0], [4.0, 0.0], [2.0, 0.0]]
FILLS = [
    (0, 1, 0, 0, 4.0, 128.25, 128.0, 2.0, 1.0),
    (0, 3, 0, ORDER_STATUS.index("VOLUME_CLIPPED"), -2.0, 160.0, 160.0, 1.0, 0.0),
]
CUTS = [
    (0, 2, 1, ORDER_STATUS.index("NO_PRICE"), 3.0, NAN, NAN, NAN, NAN),
    (0, 3, 0, ORDER_STATUS.index("VOLUME_CLIPPED"), -1.0, NAN, NAN, NAN, NAN),
]


def make_raw(end: int = 4, recorded: str = "fills cuts positions", **first_bars: int) -> RawResult:
    """The book of four bars; NaN from bar `end` on."""
    money = np.array([[BOOK[name]] for name in MONEY])
    counts = np.array([[COUNTED.get(name, [0] * 4)] for name in COUNTS], np.int32)
    positions = np.array([POSITIONS])
    money[:, :, end:], counts[:, :, end:], positions[:, end:] = NAN, 0, NAN
    state = np.zeros(1, STATE)
    state["first_bar"] = NEVER
    for name, bar in first_bars.items():
        state["first_bar"][0, SCENARIO_STATUS.index(name)] = bar
    holdings = np.array([POSITIONS[end - 1] if end else [0.0, 0.0]])
    raw = RawResult("numpy", money, counts, state, holdings, np.array([[0.0, 3.0]]), began=np.zeros(1, np.int64))
    keep = {"fills": np.array(FILLS, FILL), "cuts": np.array(CUTS, FILL), "positions": positions}
    return dataclasses.replace(raw, **{name: keep[name] for name in recorded.split()})


def make(raw: RawResult | None = None, **changes: object) -> Result:
    given = {
        "timestamps": STAMPS,
        "time_zone": None,
        "assets": ("A", "B"),
        "config": Config(initial_cash=1024.0),
        "notes": {"moved": 3},
        "wall_seconds": 0.25,
    }
    return Result(make_raw() if raw is None else raw, **{**given, **changes})


class Replay:
    """A second run that counts how often it is asked, and for what."""

    def __init__(self, **changes: object) -> None:
        self.asked: list[tuple[bool, bool]] = []
        self.changes = changes

    def __call__(self, fills: bool, positions: bool) -> RawResult:
        self.asked.append((fills, positions))
        recorded = " ".join(["fills cuts"] * fills + ["positions"] * positions)
        return dataclasses.replace(make_raw(recorded=recorded), **self.changes)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


# Tables


def test_equity_table():
    table = make().equity
    assert table.columns == ["timestamp", *MONEY, *COUNTS]
    assert table.schema["timestamp"] == pl.Datetime("us")
    assert {table.schema[name] for name in MONEY} == {pl.Float64} and {table.schema[n] for n in COUNTS} == {pl.Int64}
    assert table["timestamp"].to_list() == STAMPS.tolist()
    assert {name: table[name].to_list() for name in MONEY} == BOOK
    assert {name: table[name].to_list() for name in COUNTED} == COUNTED
    assert table["cancelled"].to_list() == [0, 0, 0, 0]


def test_the_made_up_book_balances():
    t = make().equity
    moved = (
        t["financing"] + t["dividends"] + t["settlements"] + t["sells"] - t["buys"] - t["commission"] - t["slippage"]
    )
    assert t["cash"].to_list() == (1024.0 + moved.cum_sum()).to_list()
    assert t["equity"].to_list() == (t["cash"] + t["long_value"] + t["short_value"]).to_list()


def test_time_zone_is_kept():
    stamps = STAMPS + np.timedelta64(21, "h")
    result = make(timestamps=stamps, time_zone="America/New_York")
    assert result.equity.schema["timestamp"] == pl.Datetime("us", "America/New_York")
    four = datetime(2020, 1, 2, 16, tzinfo=ZoneInfo("America/New_York"))
    assert result.equity["timestamp"][0] == four and result.equity["timestamp"][0].hour == 16
    assert result.fills.schema["timestamp"] == result.equity.schema["timestamp"]


def test_ended_rows():
    result = make(make_raw(end=2, MARGIN_CALL=0, BANKRUPT=1))
    tail = result.equity.tail(2)
    assert all(math.isnan(value) for name in MONEY for value in tail[name])
    assert all(tail[name].to_list() == [None, None] for name in COUNTS)
    assert result.equity["fills"].to_list() == [0, 1, None, None]
    assert np.isnan(result.positions[2:]).all() and result.positions[1].tolist() == [4.0, 0.0]
    assert result.metrics["bars"] == 2 and result.metrics["final_equity"] == 1021.0
    assert len(result.returns()) == 2


def test_fills_table():
    fills = make().fills
    assert fills.to_dict(as_series=False) == {
        "timestamp": [STAMPS[1].item(), STAMPS[3].item()],
        "asset": ["A", "A"],
        "shares": [4.0, -2.0],
        "price": [128.25, 160.0],
        "reference_price": [128.0, 160.0],
        "commission": [2.0, 1.0],
        "slippage": [1.0, 0.0],
        "status": ["FILLED", "VOLUME_CLIPPED"],
    }


def test_cuts_table():
    assert make().cuts.to_dict(as_series=False) == {
        "timestamp": [STAMPS[2].item(), STAMPS[3].item()],
        "asset": ["B", "A"],
        "shares": [3.0, -1.0],
        "status": ["NO_PRICE", "VOLUME_CLIPPED"],
    }


def test_no_fills_keep_the_types():
    raw = dataclasses.replace(make_raw(), fills=np.zeros(0, FILL))
    assert make(raw).fills.schema == make().fills.schema and len(make(raw).fills) == 0


def test_other_scenarios_are_left_out():
    other = np.array([*FILLS, (1, 0, 1, 0, 9.0, 1.0, 1.0, 0.0, 0.0)], FILL)
    assert make(dataclasses.replace(make_raw(), fills=other)).fills.equals(make().fills)


def test_positions():
    assert make().positions.tolist() == POSITIONS
    assert make().positions.dtype == np.float64


def test_final_positions():
    assert make().final_positions.to_dict(as_series=False) == {"asset": ["A"], "shares": [2.0]}
    assert make(make_raw(end=2)).final_positions["shares"].to_list() == [4.0]
    assert make(make_raw(end=0)).final_positions.shape == (0, 2)


@pytest.mark.parametrize(
    ("lot", "lots", "shares"),
    [(1.0, None, 2.0), (5.0, None, 10.0), (5.0, [10.0, 1.0], 20.0), (5.0, [0.0, 1.0], 2.0), (0.0, [10.0, 1.0], 2.0)],
)
def test_final_positions_are_shares_and_need_no_replay(lot: float, lots: list[float] | None, shares: float):
    lots = None if lots is None else np.array(lots)
    result = make(make_raw(recorded=""), config=Config(lot=lot), lots=lots)
    assert result.final_positions.to_dict(as_series=False) == {"asset": ["A"], "shares": [shares]}


# Replay


def test_replay_is_asked_once_for_what_is_needed():
    replay = Replay()
    result = make(make_raw(recorded=""), replay=replay)
    assert str(result) and result.metrics and replay.asked == []
    assert result.fills.equals(make().fills) and result.cuts.equals(make().cuts) and result.fills is result.fills
    assert replay.asked == [(True, False)]
    assert result.positions.tolist() == POSITIONS
    assert replay.asked == [(True, False), (False, True)]


def test_replay_is_not_asked_for_what_was_recorded():
    replay = Replay()
    result = make(make_raw(recorded="fills cuts"), replay=replay)
    assert len(result.fills) == len(result.cuts) == 2 and replay.asked == []


def changed(field: str, place: tuple[int, ...], value: float) -> dict[str, np.ndarray]:
    array = getattr(make_raw(), field)
    array[place] = value
    return {field: array}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (changed("money", (0, 0, 2), np.nextafter(1157.0, 2000)), "other money at 2020-01-06:"),
        (changed("money", (10, 0, 1), -0.0), "other money at 2020-01-03:"),
        (changed("money", (1, 0, 3), NAN), "other money at 2020-01-07:"),
        (changed("counts", (1, 0, 0), 0), "other counts at 2020-01-02:"),
        (changed("holdings", (0, 1), 1.0), "other holdings at 'B':"),
    ],
)
@pytest.mark.parametrize("name", ["fills", "cuts", "positions"])
def test_replay_that_differs_is_refused(change: dict[str, np.ndarray], text: str, name: str):
    result = make(make_raw(recorded=""), replay=Replay(**change))
    for _ in range(2):  # a replay that was refused leaves nothing behind
        with pytest.raises(ResultError) as error:
            getattr(result, name)
        message = one_line(error)
        assert message.startswith(f"{name} cannot be replayed") and text in message
        assert "weights or panel have changed; run again with record=" in message


def test_replay_of_an_ended_run_has_equal_nan():
    again = make_raw(end=2)
    again.money[:, :, 2:] = np.array([0x7FF8000000000001], np.int64).view(np.float64)  # NaN with another payload
    raw = make_raw(end=2, recorded="")
    assert len(make(raw, replay=lambda fills, positions: again).fills) == 2


@pytest.mark.parametrize(("name", "record"), [("fills", "fills"), ("cuts", "fills"), ("positions", "positions")])
def test_without_record_and_replay(name: str, record: str):
    with pytest.raises(ResultError, match=f'{name} were not recorded .* run again with record="{record}"') as error:
        getattr(make(make_raw(recorded="")), name)
    one_line(error)


# Statistics


def test_metrics_are_python_numbers():
    m = make().metrics
    assert {type(value) for value in m.values()} == {int, float, str}
    assert m["total_return"] == 1136.5 / 1024 - 1 and m["total_costs"] == 4.0 and m["total_financing"] == 0.5
    assert m["bars_per_year"] == 252.0 and m["status"] == "OK" and m["bars"] == 4
    assert make(config=Config(initial_cash=1024.0, bars_per_year=4.0)).metrics["turnover"] == 416.0 / (4338.5 / 4)


def test_equity_alone_is_enough():
    raw = dataclasses.replace(make_raw(), money=make_raw().money[:2], counts=None)
    result = make(raw)
    assert result.equity.columns == ["timestamp", "equity", "cash"]
    assert "turnover" not in result.metrics and "final equity" in str(result)
    assert len(result.plot().axes) == 2


def test_returns_are_what_analysis_libraries_take():
    pandas = pytest.importorskip("pandas")
    r = make().returns()
    assert isinstance(r, pandas.Series) and r.name == "returns" and isinstance(r.index, pandas.DatetimeIndex)
    assert r.tolist() == [0.0, 1021 / 1024 - 1, 1157 / 1021 - 1, 1136.5 / 1157 - 1]
    assert r.index.to_numpy().astype("datetime64[us]").tolist() == STAMPS.tolist() and r.index.tz is None
    aware = make(timestamps=STAMPS + np.timedelta64(21, "h"), time_zone="America/New_York").returns()
    assert str(aware.index.tz) == "America/New_York" and aware.index[0].hour == 16


def test_returns_without_pandas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ResultError, match="pip install pandas") as error:
        make().returns()
    one_line(error)


def test_status_is_the_most_severe():
    assert make().status == "OK" and make().statuses == {}
    result = make(make_raw(end=3, BANKRUPT=2, MARGIN_CALL=1))
    assert result.status == "BANKRUPT"
    assert list(result.statuses.items()) == [("MARGIN_CALL", STAMPS[1].item()), ("BANKRUPT", STAMPS[2].item())]
    assert make(make_raw(DRAWDOWN_STOP=0)).status == "DRAWDOWN_STOP"


SUMMARY = """\
period         2020-01-02 to 2020-01-07, 4 of 4 bars
metrics        2020-01-02 to 2020-01-07, 4 bars, from the first decision with a target on
bars per year  252, every session of a 5-day week
assets         2
engine         numpy, 0.25 s
status         OK
final equity   1,136.50 from 1,024.00
total return   10.99%
annual return  71017.66%, volatility 111.87%
sharpe         6.34, sortino 49.75, calmar 40081.67
max drawdown   -1.77%, longest 1 bars
turnover       24.16 times a year, one-way
costs          4.00, 23.23% a year
commission     3.00
slippage       1.00
financing      0.50
dividends      8.00
settlements    0.00
fills          2, 1 orders working at the end
orders cut     NO_PRICE 3
note           moved: 3"""


def test_summary():
    assert make().summary() == str(make()) == repr(make()) == SUMMARY


def test_summary_of_an_ended_run():
    text = str(make(make_raw(end=3, BANKRUPT=2, MARGIN_CALL=1)))
    assert "status         BANKRUPT since 2020-01-06; MARGIN_CALL since 2020-01-03\n" in text
    assert "2020-01-07, 3 of 4 bars\n" in text
    assert "NO_PRICE 1\n" in text
    dead = str(make(make_raw(end=0, LEDGER_OVERFLOW=0)))
    assert "0 of 4 bars\n" in dead and "total return   nan%\n" in dead and "fills          0, 0 orders" in dead
