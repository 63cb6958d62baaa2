# SPDX-License-Identifier: Apache-2.0
"""Arguments of another type, or that cannot be meant: one line, wherever they are passed."""

from __future__ import annotations

import datetime as dt
import decimal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from faults.kit import fault, faults, refused, survived, told

import gpu_bt as bt
from gpu_bt.books.scores import RULES
from gpu_bt.config import FIELDS
from gpu_bt.errors import printable, shown
from gpu_bt.synthetic import momentum_weights, random_weights, synthetic_universe

_KIND = "arguments of another type"
T, ASSETS = 6, ["A", "B", "C"]
DAYS = [dt.date(2020, 1, 1) + dt.timedelta(i) for i in range(T)]


class Unsayable:
    """Can be compared with nothing and cannot show itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    __hash__ = None  # type: ignore[assignment]


#: What is no text, flag, whole number, path, function, executor, time or panel.
ODD: dict[str, Any] = {
    "NaN": float("nan"), "a whole number of 400 digits": 10**400, "a whole number of 5,000 digits": 10**5000,
    "bytes": b"x", "a complex number": 1j, "a set": {1.5}, "an array": np.array([1.5, 2.5]), "a class": Unsayable,
    "a table": pl.DataFrame({"a": [1.5]}), "an object that cannot be shown": Unsayable(),
    "a text with a NUL": "a\0b", "no UTF-8": "\udc80", "a Decimal that is no number": decimal.Decimal("sNaN"),
}  # fmt: skip


def panel(**fields: Any) -> bt.Panel:
    prices = {"close": np.full((T, 3), 10.0), "open": np.full((T, 3), 10.0)}
    prices |= {"high": np.full((T, 3), 12.0), "low": np.full((T, 3), 9.0)}
    return bt.Panel(**{**prices, "timestamps": DAYS, "assets": ASSETS, **fields})


PANEL, WEIGHTS, GRID = panel(), np.full((T, 3), 0.3), {"band": [0.0, 0.1]}
LONG = pl.DataFrame({"timestamp": np.repeat(DAYS, 3), "asset": ASSETS * T, "close": 10.0, "weight": 0.3})


def _no_nan(value: Any) -> Any:
    """NaN as an amount says that there is none."""
    return "x" if type(value) is float else value


def strategy(act: Callable[[Any, bt.Batch], Any], **more: Any) -> bt.Result:
    def on_data_batch(self: bt.Strategy, timestamp: Any, batch: bt.Batch) -> None:
        act(self, batch)

    return bt.run(PANEL, type("S", (bt.Strategy,), {"on_data_batch": on_data_batch, **more})())


def read(**options: Any) -> bt.Panel:
    return bt.read_panel(LONG.drop("weight"), **options)


def book(**options: Any) -> bt.Weights:
    return bt.read_weights(LONG.drop("close"), PANEL, **options)


def sweep(**options: Any) -> Any:
    return bt.sweep(PANEL, WEIGHTS, **{"grid": GRID, **options})


#: Where they are passed -> what is called with them.
PLACES: dict[str, Callable[[Any], Any]] = {
    **{f"Panel({x}=)": lambda v, x=x: panel(**{x: v}) for x in ("prices", "bad_prices", "notes", "assets")},
    **{f"Panel({x}=)": lambda v, x=x: panel(**{x: v}) for x in ("time_zone", "timestamps")},
    "panel[...]": lambda v: PANEL[v],
    "panel.label": PANEL.label,
    **{f"read_panel({x}=)": lambda v, x=x: read(**{x: v}) for x in ("timestamp", "layout", "fields", "dtype")},
    **{f"read_panel({x}=)": lambda v, x=x: read(**{x: v}) for x in ("adjust", "prices", "time_zone", "date_format")},
    **{f"read_weights({x}=)": lambda v, x=x: book(**{x: v}) for x in ("asset", "weight", "missing", "align")},
    **{f"read_weights({x}=)": lambda v, x=x: book(**{x: v}) for x in ("unknown_assets", "time_zone", "date_format")},
    "read_weights(panel)": lambda v: bt.read_weights(LONG, v),
    "scan_panel": bt.scan_panel,
    "read_config": bt.read_config,
    "run(panel)": lambda v: bt.run(v, WEIGHTS),
    "run(config)": lambda v: bt.run(PANEL, WEIGHTS, v),
    **{f"run({x}=)": lambda v, x=x: bt.run(PANEL, WEIGHTS, **{x: v}) for x in ("engine", "record", "resume", "start")},
    "run(progress=)": lambda v: bt.run(PANEL, WEIGHTS, progress=v),
    "run(holdings={'A': })": lambda v: bt.run(PANEL, WEIGHTS, holdings={"A": v}),
    **{f"sweep({x}=)": lambda v, x=x: sweep(**{x: v}) for x in ("engine", "metrics", "equity", "dry_run", "scratch")},
    **{f"sweep({x}=)": lambda v, x=x: sweep(**{x: v}) for x in ("executor", "out", "max_memory", "chunk_size", "grid")},
    "sweep(grid={'lot': [ ]})": lambda v: sweep(grid={"lot": [v]}),
    **{f"Config({x}=)": lambda v, x=x: bt.Config(**{x: v}) for x in FIELDS},
    "Config.from_dict": bt.Config.from_dict,
    **{f"Exits({x}=)": lambda v, x=x: bt.Exits(**{x: v}) for x in ("stop_loss", "take_profit", "trailing_stop")},
    "order_target_percent(amount)": lambda v: strategy(lambda s, b: s.order_target_percent("A", _no_nan(v))),
    "order(shares)": lambda v: strategy(lambda s, b: s.order("A", v)),
    "order(limit=)": lambda v: strategy(lambda s, b: s.order("A", 1, limit=_no_nan(v))),
    "strategy.exits": lambda v: strategy(lambda s, b: setattr(s, "exits", v)),
    "history(field)": lambda v: strategy(lambda s, b: b.history(v, 2)),
    "history(n)": lambda v: strategy(lambda s, b: b.history("close", v)),
    "batch.top(n)": lambda v: strategy(lambda s, b: b.top(b.close, v)),
    "batch.top(score)": lambda v: strategy(lambda s, b: b.top(v, 1)),
    "batch.top(universe=)": lambda v: strategy(lambda s, b: b.top(b.close, 1, universe=v)),
    "Scores(scores)": lambda v: bt.run(PANEL, bt.Scores(v, long=1)),
    "Scores(groups=)": lambda v: bt.run(PANEL, bt.Scores(WEIGHTS, long=1, groups=v)),
    **{f"Scores({x}=)": lambda v, x=x: bt.Scores(WEIGHTS, **{x: v}) for x in RULES},
    **{f"sweep(Scores, grid={{'{x}': [ ]}})": lambda v, x=x: bt.sweep(PANEL, bt.Scores(WEIGHTS), grid={x: [v]})
       for x in (*RULES, "scores")},
    **{f"books.top({x}=)": lambda v, x=x: bt.books.top(WEIGHTS, **{"long": 1, x: v})
       for x in ("groups", "universe", "rows")},
    "books.quantiles(q)": lambda v: bt.books.quantiles(WEIGHTS, v),
    **{f"books.proportional({x}=)": lambda v, x=x: bt.books.proportional(WEIGHTS, **{x: v})
       for x in ("by", "gross", "long_only")},
    "books.inverse_volatility": lambda v: bt.books.inverse_volatility(WEIGHTS, v),
    **{f"books.cap_groups({x}=)": lambda v, x=x: bt.books.cap_groups(WEIGHTS, **{"groups": [1, 1, 2], "cap": 0.5, x: v})
       for x in ("groups", "cap", "spread")},
    "books.tranches(n)": lambda v: bt.books.tranches(WEIGHTS, v),
    "books.rows_only(rows)": lambda v: bt.books.rows_only(WEIGHTS, v),
    "books.scheduled(config)": lambda v: bt.books.scheduled(PANEL, v),
    "check_lookahead(strategy)": lambda v: bt.check_lookahead(v, PANEL),
    "check_lookahead(cuts=)": lambda v: bt.check_lookahead(bt.Strategy, PANEL, cuts=v),
    **{f"synthetic_universe({x}=)": lambda v, x=x: synthetic_universe(**{"n_bars": 9, "n_assets": 2, x: v})
       for x in ("n_bars", "n_assets", "start", "messy", "dtype")},
    "momentum_weights(top=)": lambda v: momentum_weights(PANEL, top=v),
    "random_weights(panel)": random_weights,
}  # fmt: skip


@faults(_KIND, "refused", {f"{place}": call for place, call in PLACES.items()}, "13 kinds of nonsense for ")
def test_nonsense_is_one_line(value: Callable[[Any], Any]):
    for what, odd in ODD.items():
        try:
            with warnings.catch_warnings(), refused("."):
                warnings.simplefilter("ignore")
                value(odd)
        except BaseException as error:
            error.add_note(f"given {what}")
            raise


@pytest.fixture(scope="module")
def swept() -> Any:
    return bt.sweep(PANEL, WEIGHTS, grid={"band": [0.0, 0.1], "lot": [0, 1]})


RESULTS: dict[str, Callable[[Any, Any], Any]] = {
    "best(metric)": lambda r, v: r.best(v),
    "best(n=)": lambda r, v: r.best(n=v),
    "best(every=)": lambda r, v: r.best(every=v),
    "pivot(rows)": lambda r, v: r.pivot(v, "lot"),
    "pivot(how=)": lambda r, v: r.pivot("band", "lot", how=v),
    "pivot(band=)": lambda r, v: r.pivot("lot", "band", band=v),
    "plot(rows=)": lambda r, v: r.plot(rows=v),
    "plot(band=)": lambda r, v: r.plot(band=v),
    "SweepResult.write": lambda r, v: r.write(v),
}


@faults(_KIND, "refused", RESULTS, "12 kinds of nonsense for ")
def test_nonsense_for_a_result_is_one_line(value: Callable[[Any, Any], Any], swept: Any):
    for odd in [odd for what, odd in ODD.items() if what != "NaN"]:
        with refused("."):
            value(swept, odd)


@faults(_KIND, "refused", {"write": "write", "checkpoint": "checkpoint", "metrics_since": "metrics_since"}, "Result.")
def test_nonsense_for_a_run_is_one_line(value: str):
    result = bt.run(PANEL, WEIGHTS)
    for odd in ODD.values():
        with refused("."):
            getattr(result, value)(odd)


async def _coroutine(self: Any, timestamp: Any, batch: Any) -> None: ...
def _generator(self: Any, timestamp: Any, batch: Any) -> Any:
    yield 1


METHODS: dict[str, Any] = {
    "async": {"on_data_batch": _coroutine}, "with yield": {"on_data_batch": _generator},
    "a number": {"on_data_batch": 5}, "without the batch": {"on_data_batch": lambda self, timestamp: None},
    "missing": {}, "initialize with an argument": {"initialize": lambda self, panel: None},
    "risk without the batch": {"risk": lambda self, orders: orders, "on_data_batch": lambda self, t, b: None},
}  # fmt: skip


@faults("strategies that cannot be asked", "refused", METHODS, "on_data_batch is ")
def test_methods_that_cannot_be_called(value: dict[str, Any]):
    with refused("S.*(must be a plain|cannot be called|needs a method)", bt.StrategyError):
        bt.run(PANEL, type("S", (bt.Strategy,), value)())


@fault("strategies that cannot be asked", "on_data_batch returns weights, which nothing reads", "told")
def test_weights_that_are_returned():
    with pytest.warns(bt.BacktestWarning, match="no decision"), told("returned a ndarray, which nothing reads"):
        result = bt.run(PANEL, type("S", (bt.Strategy,), {"on_data_batch": lambda self, t, b: np.ones(3)})())
    assert result.metrics["total_return"] == 0


@faults(
    "strategies that cannot be asked", "refused", {"text": "5", "bool": True, "ragged": [[1], [1, 2]]}, "order of a "
)
def test_amounts_that_are_no_numbers(value: Any):
    with refused("no number", bt.StrategyError):
        strategy(lambda s, b: s.order("A", value))


#: What NumPy reads as numbers, or as places.
DISGUISED: dict[str, Any] = {
    "a masked array": np.ma.array([0.3, 0.4, 0.2], mask=[0, 1, 0]), "one without a mask": np.ma.array([0.3, 0.4, 0.2]),
    "masked": np.ma.masked, "a list with masked": [0.1, np.ma.masked, 0.2], "a bytearray": bytearray(b"\x01\0\0"),
    "a memoryview": memoryview(b"\x01\0\0"), "a bool beside numbers": [True, 0.2, 0.1],
    "one of NumPy": [np.True_, 0.2, 0.1], "a whole number of 400 digits": [10**400, 0, 0], "a complex": [1j, 0, 0],
}  # fmt: skip


@faults("strategies that cannot be asked", "refused", DISGUISED, "amounts in disguise, ")
def test_amounts_in_disguise(value: Any):
    orders = ("order_target_percent", "order_target_shares", "order_target_value", "order")
    for name in orders:
        with refused(rf"{name}.* is no number: pass one", bt.StrategyError):
            strategy(lambda s, b, name=name: getattr(s, name)(ASSETS, value))
    for name in ("limit", "stop"):
        with refused("is no number: pass one", bt.StrategyError):
            strategy(lambda s, b, name=name: s.order(ASSETS, 1, **{name: value}))
    with refused("without an amount it takes an", bt.StrategyError):
        strategy(lambda s, b: s.order_target_percent(value))


@faults("strategies that cannot be asked", "refused", {
    "masked scores": lambda s, b: b.top(np.ma.array([1.0, 2.0, 3.0], mask=[0, 0, 1]), 1),
    "scores in bytes": lambda s, b: b.bottom(bytearray(b"abc"), 1),
    "masked places": lambda s, b: s.order(np.ma.array([0, 1], mask=[0, 1]), 1),
    "a mask that is masked": lambda s, b: s.order(np.ma.array([True, False, True], mask=[0, 0, 1]), 1),
    "places in bytes": lambda s, b: s.order(bytearray(b"\x01"), 1),
    "a bool beside a place": lambda s, b: s.cancel([True, 1]),
    "a name that cannot be shown": lambda s, b: s.order([Unsayable()], 1),
    "a field of 400 letters": lambda s, b: b.history("x" * 400, 1),
    "an attribute of 400 letters": lambda s, b: getattr(b, "x" * 400),
})  # fmt: skip
def test_scores_and_places_in_disguise(value: Any):
    with refused("^.{0,200}(must be|pass names|has no )", bt.StrategyError):
        strategy(value)


def test_amounts_as_people_have_them_are_taken():
    for amount in ([0.1, 0.2], (0.1, None), np.array([0.1, 0.2]), [np.float64(0.1), 0], [decimal.Decimal("0.1"), 0.2]):
        strategy(lambda s, b, amount=amount: s.order_target_percent(["A", "B"], amount))
    strategy(lambda s, b: s.order_target_percent([True, False, True], 0.1))
    strategy(lambda s, b: s.order_target_percent(b.top([True, False, True], 2), 0.1))


BUILT_IN: dict[str, Any] = {x.__name__: x for x in (int, str, dict, bool, bytes, set, zip, type, len, iter, max)}


@faults(_KIND, "refused", BUILT_IN, "Python's own as progress= and as a strategy: ")
def test_what_is_built_in_is_no_function_of_a_user(value: Any):
    for call in (lambda: bt.run(PANEL, WEIGHTS, progress=value), lambda: sweep(progress=value)):
        with refused("progress .*must be a plain function of your own", bt.ConfigError):
            call()
    with refused("strategy .*must be a plain function of your own", bt.ConfigError):
        bt.check_lookahead(value, PANEL)


@faults(_KIND, "refused", {"an object that cannot be shown": Unsayable(), "400 letters": "x" * 400}, "accept_jumps=")
def test_accept_jumps(value: Any):
    with refused("^accept_jumps is .{1,110}: it must be True or False", bt.ConfigError):
        bt.run(PANEL, WEIGHTS, accept_jumps=value)


@fault("strategies that cannot be asked", "a history of a thousand million bars", "refused")
def test_a_history_that_is_longer_than_any_panel():
    with refused(r"n of history\('close'\) .* <= 100,000", bt.StrategyError):
        strategy(lambda s, b: b.history("close", 10**9))


@faults("grids", "refused", {
    "an axis without an end": {"delist_after": __import__("itertools").count()},
    "1.6e9 combinations": {"band": np.linspace(0, 1, 40_000), "lot": range(40_000)},
    "a range of a thousand million": {"delist_after": range(10**9)},
})  # fmt: skip
def test_a_grid_is_counted_before_it_is_built(value: Any):
    with refused("scenarios, more than 10,000,000", bt.ConfigError):
        sweep(grid=value)


@faults("grids", "refused", {
    "a masked axis": {"slippage": np.ma.array([0.5, 0.01], mask=[1, 0])},
    "a masked value": {"slippage": [np.ma.masked]},
    "a row with a masked value": [{"slippage": np.ma.masked}], "an axis of bytes": {"slippage": bytearray(b"\0")},
    "a memoryview": {"slippage": memoryview(b"\0")}, "a set, which has no order": {"slippage": {0.1, 0.2}},
    "a frozenset": {"slippage": frozenset([0.1])}, "an axis that is no text": {pl.Null: [0]}, "None": {None: [0]},
    "a row whose axis is no text": [{3: 0}], "rows that differ in one": [{"slippage": 0}, {10**400: 0}],
    "a value of 400 letters, twice": {"execution": ["x" * 400, "x" * 400]},
})  # fmt: skip
def test_axes_in_disguise(value: Any):
    with refused("^(a )?grid .{1,250}$", bt.ConfigError):
        sweep(grid=value)


class Named(bt.Strategy):
    """Its parameter has a name that acts in a terminal."""

    def on_data_batch(self, timestamp: Any, batch: bt.Batch) -> None:
        self.order_target_percent("A", 0.5)


@fault("names that hide", "books, axes, values and a strategy with escapes and line ends, in print", "survived")
def test_what_is_printed_of_names():
    bad, odd = "b\x1b[31m\nx\u202e", "$b_{$"
    kind = type(f"S{bad}", (Named,), {bad: 1, "p": "", odd: 1})
    found = [bt.sweep(PANEL, {bad: WEIGHTS, "ok": WEIGHTS}, grid=GRID)]
    found += [bt.sweep(PANEL, kind, grid=grid) for grid in ({bad: [1, 2]}, {"p": [bad, "b"]}, {odd: [1, 2]})]
    for text in (*map(str, found), str(bt.run(PANEL, kind()))):
        survived(all(line.isprintable() for line in text.split("\n")), True)
        assert not any(line.startswith("x") for line in text.split("\n"))
    for result in found:
        result.plot()


@faults("years that Python does not have", "refused", {
    "Date": pl.Series([0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date),
    "Datetime in ms": pl.Series([0, 2**62]).cast(pl.Datetime("ms")),
    "Datetime with a zone": pl.Series([-(2**62), 0]).cast(pl.Datetime("us", "Europe/Berlin")),
})  # fmt: skip
def test_times_that_polars_cannot_show(value: pl.Series):
    with refused("timestamp has 1 times outside the calendar: they must lie in the years 1 to 9999", bt.PanelError):
        bt.read_panel(pl.DataFrame({"timestamp": value, "asset": "A", "close": 1.0}))


@fault("names that hide", "a label just beyond year 9999 in UTC", "refused")
def test_a_label_beyond_the_calendar():
    zone = dt.timezone(dt.timedelta(hours=-14))
    with refused("beyond the years 1 to 9999", bt.PanelError):
        panel(time_zone="America/New_York")[dt.datetime(9999, 12, 31, 23, tzinfo=zone)]


@faults("names that hide", "refused", {"a line end": "a\nb", "an escape": "\x1b[31m", "right to left": "\u202eb"})
def test_a_name_is_shown_and_does_not_act(value: str, tmp_path: Path):
    with refused(r"\\(n|x1b|u202e)", bt.PanelError):
        bt.read_panel(tmp_path / f"{value}.parquet")
    with refused(r"\\(n|x1b|u202e)", bt.ConfigError):
        bt.Config.from_dict({value: 1})


@fault("names that hide", "numbers of other types, as numbers", "survived")
def test_numbers_of_other_types_are_taken():
    for number in (1, 1.0, np.float32(1), np.int8(1), np.array(1.0), decimal.Decimal(1)):
        survived(bt.Config(lot=number), bt.Config(lot=1.0))
    survived(bt.Config(execution=np.str_("next_close")), bt.Config(execution="next_close"))
    assert type(bt.Config(execution=np.str_("next_close")).execution) is str


def test_texts_are_printable_and_short():
    assert printable("ä€ 漢字 [0, 1]") == "ä€ 漢字 [0, 1]"
    assert printable("a\n\x1b\u202e\udc80") == "a\\n\\x1b\\u202e\\udc80"
    assert shown("x") == "'x'" and shown(10**5000) == "a int" and len(shown("x" * 10**6)) < 120
    assert len(str(bt.PanelError("x" * 10**6))) < 700 and len(str(bt.PanelError(f"{'x' * 400} is no time"))) < 110
