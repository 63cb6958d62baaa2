# SPDX-License-Identifier: Apache-2.0
"""A panel that is read part by part gives the bits of one that is read whole, and refuses what that one refuses."""

from __future__ import annotations

import concurrent.futures as futures
import datetime as dt
import multiprocessing
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from compare import assert_bits, assert_same_raw
from draw import scenario, to_public
from extent import seeds
from sweep_cases import assert_same_sweep

import gpu_bt as bt
from gpu_bt.data.fields import MASKS, PRICES, RATES
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.registry import reasons
from gpu_bt.sweeps.chunks import fixed_bytes, scenario_bytes

quiet = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
ENGINES = [name for name, reason in reasons().items() if reason is None and name != "cuda"]
GRIDS = (*PRICES, *RATES, *MASKS)


def long_table(given: dict[str, Any]) -> pl.DataFrame:
    """A panel's arguments as a long table, without the rows that say nothing but of whole bars and assets."""
    stamps, names = pl.Series(given["timestamps"].tolist()), list(given["assets"])
    t, n = len(stamps), len(names)
    columns: dict[str, Any] = {"timestamp": stamps[np.repeat(np.arange(t), n)], "asset": names * t}
    for name in GRIDS:
        if given.get(name) is not None:
            columns[name] = given[name].ravel()
    table = pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))
    for name in ("lot", "delisting_return"):
        if given.get(name) is not None:
            table = table.with_columns(pl.Series(name, np.tile(given[name], t)).cast(pl.Float64).fill_nan(None))
    if given.get("delisted_at") is not None:
        day = [stamps[int(d)] if 0 <= d < t else None for d in given["delisted_at"]]
        table = table.with_columns(pl.Series("delisted_at", day * t, dtype=stamps.dtype))
    return table


def written(folder: Path, seed: int) -> tuple[Path, dict[str, Any], np.ndarray, bt.Config]:
    """A drawn scenario as Parquet of several row groups in two files, its weights in the order of the file's assets."""
    drawn, weights, config = scenario(seed)
    given = to_public(drawn, config)
    table = long_table(given)
    rng = np.random.default_rng(seed)
    empty = pl.all_horizontal(pl.col([n for n in ("close", "open", "volume") if n in table.columns]).is_null())
    first = pl.col("timestamp").is_first_distinct() | pl.col("asset").is_first_distinct()
    table = table.filter(first | ~empty | pl.Series(rng.random(len(table)) < 0.5))
    if seed % 3 == 0:
        table = table.sample(fraction=1.0, shuffle=True, seed=seed)  # rows in any order
    folder.mkdir(exist_ok=True)
    cut = len(table) * 2 // 3
    size = max(1, len(table) // 7)
    table[:cut].write_parquet(folder / "a.parquet", row_group_size=size)
    if cut < len(table):
        table[cut:].write_parquet(folder / "b.parquet", row_group_size=size)
    options = {"prices": "raw", "next_timestamp": given["next_timestamp"], "time_zone": given["time_zone"]}
    options["dtype"] = given["close"].dtype.name
    order = [given["assets"].index(a) for a in sorted(given["assets"])]
    return folder / "*.parquet", options, np.ascontiguousarray(weights[:, order]), config


def assert_same_result(got: bt.Result, want: bt.Result) -> None:
    assert_same_raw(got.raw, want.raw)
    assert got.statuses == want.statuses and got.bars_per_year == want.bars_per_year
    assert repr(got.metrics) == repr(want.metrics) and got.equity.equals(want.equity)


# --- the bits of one long run ---


@quiet
@pytest.mark.parametrize("seed", seeds(range(60)))
@pytest.mark.parametrize("engine", ENGINES)
def test_drawn_scenarios_streamed_in_parts_of_any_size(seed: int, engine: str, tmp_path: Path):
    path, options, weights, config = written(tmp_path / "p", seed)
    panel = bt.read_panel(path, **options)
    want = bt.run(panel, weights, config, engine=engine, record="fills")
    for bars in (1, 2, 7, len(weights)):
        stream = bt.scan_panel(path, bars=bars, **options)
        assert (stream.shape, stream.assets, stream.fields) == (panel.shape, panel.assets, panel.fields)
        assert_same_result(bt.run(stream, weights, config, engine=engine, record="fills"), want)


def example(folder: Path, bars: int = 60, **config: Any) -> tuple[Path, bt.Panel, np.ndarray, bt.Config]:
    made = synthetic_universe(bars, 5, seed=3, messy=False)
    given = {n: getattr(made, n) for n in ("close", "open", "volume", "timestamps", "assets")}
    path = folder / "prices.parquet"
    long_table(given).write_parquet(path, row_group_size=37)
    return path, bt.read_panel(path), random_weights(made, 0.6, seed=4), bt.Config(**config)


def test_only_the_row_groups_of_a_part_are_read(tmp_path: Path):
    """One damaged row group far from a part does not touch it: else each part would read the whole file."""
    path, *_ = example(tmp_path)
    content = bytearray(path.read_bytes())
    stream = bt.scan_panel(path, bars=10)
    parts = stream.parts()
    next(parts)
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(content)
    assert next(parts)[0] == 10
    with pytest.raises(bt.PanelError, match=r"prices\.parquet cannot be read as Parquet"):
        list(parts)


@pytest.mark.parametrize("unit", ["ms", "us", "ns", "date", "zone"])
def test_timestamps_of_any_unit(tmp_path: Path, unit: str):
    path, _, weights, config = example(tmp_path, rebalance="month", signal_lag=2)
    table = pl.read_parquet(path)
    stamp = pl.col("timestamp")
    if unit == "ns":  # whole microseconds, and a bar whose rows lie within one
        nanos = stamp.dt.cast_time_unit("ns") + pl.duration(nanoseconds=pl.int_range(pl.len()) % 3)
        table = table.with_columns(nanos.alias("timestamp"))
    elif unit == "zone":
        table = table.with_columns(stamp.dt.replace_time_zone("America/New_York"))
    else:
        table = table.with_columns(stamp.cast(pl.Date) if unit == "date" else stamp.dt.cast_time_unit(unit))
    table.write_parquet(path, row_group_size=37)
    panel = bt.read_panel(path)
    stream = bt.scan_panel(path, bars=7)
    assert_bits("microseconds", stream.microseconds, panel.microseconds)
    assert stream.time_zone == panel.time_zone
    assert_same_result(bt.run(stream, weights, config), bt.run(panel, weights, config))


def test_a_field_that_only_one_file_has_is_empty_in_the_parts_of_the_other(tmp_path: Path):
    path, *_ = example(tmp_path)
    table = pl.read_parquet(path)
    table[:150].drop("volume").write_parquet(path)
    table[150:].with_columns(can_buy=True).write_parquet(tmp_path / "prices2.parquet")
    both = tmp_path / "prices*.parquet"
    panel, stream = bt.read_panel(both), bt.scan_panel(both, bars=8)
    for name in panel.fields:
        whole = getattr(panel, name)
        for a, part in stream.parts():
            assert part.fields == panel.fields
            assert_bits(name, getattr(part, name), whole[a : a + 8])


def test_a_lazy_table_renamed_fields_and_first_duplicates(tmp_path: Path):
    path, _, weights, config = example(tmp_path)
    table = pl.read_parquet(path).rename({"close": "last", "timestamp": "when", "asset": "who"})
    table = pl.concat([table, table[::9].with_columns(last=pl.col("last") * 2)])
    options = {"timestamp": "when", "asset": "who", "fields": {"close": "last", "open": "open"}, "duplicates": "first"}
    panel, stream = bt.read_panel(table, **options), bt.scan_panel(table.lazy(), bars=11, **options)
    want, got = bt.run(panel, weights, config), bt.run(stream, weights, config)
    assert_same_result(got, want)
    assert got.notes == want.notes and got.notes["duplicates"] == 34


@quiet
def test_weights_as_memmap_file_and_lazy_table(tmp_path: Path):
    path, panel, weights, config = example(tmp_path, signal_lag=3)
    stream = bt.scan_panel(path, bars=9)
    mapped = np.memmap(tmp_path / "w.bin", np.float64, "w+", shape=weights.shape)
    mapped[:] = weights
    want = bt.run(panel, weights, config, record="fills")
    assert_same_result(bt.run(stream, mapped, config, record="fills"), want)
    book = pl.DataFrame({"timestamp": np.repeat(panel.timestamps, 5), "asset": list(panel.assets) * 60})
    book = book.with_columns(weight=weights.ravel()).filter(pl.Series(np.arange(300) % 45 < 20))
    book.write_parquet(tmp_path / "w.parquet", row_group_size=17)
    for source in (tmp_path / "w.parquet", str(tmp_path / "w.parquet"), book.lazy()):
        want = bt.run(panel, bt.read_weights(source, panel), config, record="fills")
        assert_same_result(bt.run(stream, source, config, record="fills"), want)
    hold = {"missing": "hold"}
    want = bt.run(panel, bt.read_weights(book, panel, **hold), config)
    assert_same_result(bt.run(stream, bt.read_weights(book.lazy(), stream, **hold), config), want)


@quiet
def test_books_between_the_bars_and_outside_move_as_they_do_in_memory(tmp_path: Path):
    """Timestamps before the first bar, between two parts and after the last bar."""
    path, panel, _, config = example(tmp_path)
    days = [panel.timestamps[i] + np.timedelta64(h, "h") for i in range(0, 60, 4) for h in (-7, -3, 0, 5)]
    days.append(days[-1] + np.timedelta64(40, "D"))
    days = np.array(days)
    book = pl.DataFrame({"timestamp": days, "asset": [panel.assets[i % 5] for i in range(61)], "weight": 0.5})
    options = {"align": "next", "unknown_assets": "ignore"}
    want = bt.run(panel, bt.read_weights(book, panel, **options), config)
    got = bt.run(s := bt.scan_panel(path, bars=4), bt.read_weights(book.lazy(), s, **options), config)
    assert_same_result(got, want)
    assert got.notes == want.notes and got.notes["moved_rows"] > 10


def test_progress_and_the_wall_clock(tmp_path: Path):
    path, _, weights, config = example(tmp_path)
    seen: list = []
    bt.run(bt.scan_panel(path, bars=25), weights, config, progress=lambda *x: seen.append(x))
    assert seen == [(25, 60), (50, 60), (60, 60)]


# --- the result ---


def test_fills_are_made_afterwards_and_positions_are_not(tmp_path: Path):
    path, panel, weights, config = example(tmp_path)
    stream = bt.scan_panel(path, bars=7)
    want = bt.run(panel, weights, config)
    for got in (made := bt.run(stream, weights, config), pickle.loads(pickle.dumps(made))):
        assert got.raw.fills is None
        assert got.fills.equals(want.fills) and got.fills.height > 0
        assert got.final_positions.equals(want.final_positions)
        with pytest.raises(bt.ResultError, match=r"a stream's positions are not kept, .*: see final_positions"):
            _ = got.positions
    with pytest.raises(bt.ResultError, match="see final_positions"):
        bt.run(stream, weights, config, record="positions")
    with pytest.raises(bt.ResultError, match="no state to save"):
        made.checkpoint(tmp_path / "s.npz")
    assert len(made.write(tmp_path / "out")) == 7


# --- sweeps ---

GRID = {"initial_cash": [1e4, 3e6], "signal_lag": [0, 2], "lot": [0.0, 1.0, 10.0], "rebalance_every": [1, 5]}


def swept(folder: Path) -> tuple[bt.Panel, bt.PanelStream, dict[str, Any]]:
    made = synthetic_universe(60, 6, seed=5, messy=True)
    given = {n: getattr(made, n).copy() for n in ("close", "open", "volume", "timestamps")} | {"assets": made.assets}
    for name in ("close", "open"):
        given[name][13:54:13, :4] = np.nan  # what is held is marked by the part before
    long_table(given).write_parquet(folder / "prices.parquet", row_group_size=50)
    books = {name: random_weights(made, 0.5, seed=seed) for name, seed in (("one", 1), ("two", 2))}
    return bt.read_panel(folder / "prices.parquet"), bt.scan_panel(folder / "prices.parquet", bars=13), books


@quiet
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metrics", ["all", "equity"])
def test_a_sweep_has_the_bits_of_one_in_memory(tmp_path: Path, engine: str, metrics: str):
    panel, stream, books = swept(tmp_path)
    settings = {"config": bt.Config(max_drawdown=0.05), "grid": GRID, "engine": engine, "metrics": metrics}
    want = bt.sweep(panel, books, equity=True, **settings)
    assert len(set(want.table["status"])) > 1 and len(want) == 48
    assert_same_sweep(bt.sweep(stream, books, equity=True, **settings), want, but="advice")
    room = fixed_bytes((13, 6)) + 5 * scenario_bytes((60, 6), metrics)
    assert bt.sweep(stream, books, dry_run=True, max_memory=room, **settings).pass_size == 5
    assert_same_sweep(bt.sweep(stream, books, equity=True, max_memory=room, **settings), want, but="advice")


def test_the_panel_is_read_once_for_each_pass_of_scenarios(tmp_path: Path, monkeypatch):
    _, stream, books = swept(tmp_path)
    count, parts = [0], bt.PanelStream.parts

    def counted(self: bt.PanelStream) -> Any:
        count[0] += 1
        return parts(self)

    monkeypatch.setattr(bt.PanelStream, "parts", counted)
    bt.sweep(stream, books, grid=GRID)
    assert count == [1]
    bt.sweep(stream, books, grid=GRID, chunk_size=16)
    assert count == [1 + 3]


@quiet
def test_a_streamed_sweep_is_resumed_and_another_refused(tmp_path: Path):
    panel, stream, books = swept(tmp_path)
    settings = {"grid": GRID, "chunk_size": 16, "out": tmp_path / "out"}
    want = bt.sweep(panel, books, grid=GRID)
    assert bt.sweep(stream, books, **settings).run == 48
    next((tmp_path / "out").glob("chunk-00001-*")).unlink()
    again = bt.sweep(bt.scan_panel(tmp_path / "prices.parquet"), books, **settings)
    assert again.run == 16
    assert_same_sweep(again, want, but="advice")
    pl.read_parquet(tmp_path / "prices.parquet")[:-1].write_parquet(tmp_path / "prices.parquet")
    with pytest.raises(bt.ResultError, match="holds a sweep with another panel"):
        bt.sweep(bt.scan_panel(tmp_path / "prices.parquet"), books, **settings)
    lazy = bt.scan_panel(pl.scan_parquet(tmp_path / "prices.parquet"))
    with pytest.raises(bt.ResultError, match=r"a lazy table has nothing to know it by again: .*leave out= out"):
        bt.sweep(lazy, books, **settings)


@quiet
def test_workers_open_the_files_themselves(tmp_path: Path):
    panel, stream, books = swept(tmp_path)
    book = pl.DataFrame({"timestamp": np.repeat(panel.timestamps, 6), "asset": list(panel.assets) * 60})
    book.with_columns(weight=books["one"].ravel()).write_parquet(tmp_path / "one.parquet")
    want = bt.sweep(panel, {"one": bt.read_weights(tmp_path / "one.parquet", panel), "two": books["two"]}, grid=GRID)
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        mixed = {"one": tmp_path / "one.parquet", "two": books["two"]}
        assert_same_sweep(bt.sweep(stream, mixed, grid=GRID, executor=executor, chunk_size=20), want, "advice")


# --- what is refused, and what is warned of ---


def refused(match: str, source: Any, error: type[Exception] = bt.PanelError, **options: Any) -> None:
    with pytest.raises(error, match=match) as caught:
        for _ in bt.scan_panel(source, **options).parts():
            pass
    assert "\n" not in str(caught.value)


def both_refuse(path: Path, table: pl.DataFrame, **options: Any) -> None:
    """The same words from the panel read whole and from the stream."""
    table.write_parquet(path, row_group_size=29)
    with pytest.raises(bt.PanelError) as whole:
        bt.read_panel(path, **options)
    with pytest.raises(bt.PanelError) as streamed:
        for _ in bt.scan_panel(path, bars=7, **options).parts():
            pass
    assert str(streamed.value) == str(whole.value)


def test_the_errors_of_a_panel_name_bar_and_asset(tmp_path: Path):
    path, *_ = example(tmp_path)
    table = pl.read_parquet(path)
    here = pl.int_range(pl.len()) == 173
    both_refuse(path, table.with_columns(close=pl.when(here).then(-1.0).otherwise("close")))
    both_refuse(path, table.with_columns(volume=pl.when(here).then(float("inf")).otherwise("volume")))
    both_refuse(path, pl.concat([table, table[173:174]]))
    both_refuse(path, table.with_columns(split=pl.when(here).then(2.0).otherwise(1.0)))
    both_refuse(path, table.with_columns(lot=pl.when(here).then(2.0).otherwise(1.0)))
    both_refuse(path, table.with_columns(group=pl.when(here).then(pl.lit("x")).otherwise(pl.lit("y"))))
    both_refuse(path, table.with_columns(lot=-1.0))
    both_refuse(path, table.drop("close"))
    both_refuse(path, table[:0])
    both_refuse(path, table, next_timestamp=dt.datetime(1999, 1, 1))
    both_refuse(path, table, fields=["open"])


def test_what_a_stream_cannot_read(tmp_path: Path):
    path, panel, weights, config = example(tmp_path)
    table = pl.read_parquet(path)
    table.write_csv(tmp_path / "p.csv")
    refused(r"p.csv is CSV: a stream needs Parquet or Arrow IPC; convert it, or use read_panel", tmp_path / "p.csv")
    refused("bars is 0: it must be a whole number >= 1", path, bars=0)
    refused("duplicates is 'some': it must be one of 'error', 'first', 'last'", path, duplicates="some")
    wide = pl.DataFrame({"timestamp": panel.timestamps, "A": panel.close[:, 0]})
    refused("table is a wide table, and a stream reads long ones: use read_panel", wide.lazy())
    empty = table.with_columns(timestamp=pl.when(pl.int_range(pl.len()) != 7).then("timestamp"))
    refused(r"timestamp, row \d+ of its distinct timestamps and assets, is None", empty.lazy())
    words = table.with_columns(close=pl.col("close").cast(pl.String))
    words.write_parquet(path)
    refused(r"close, row 0 of those from \S+ 00:00:00 on, is '.*' \(String\): it must be a number", path)

    stream = bt.scan_panel(table.lazy(), bars=20)
    for text, given in (
        ("resume goes on with a panel in memory", {"resume": "x"}),
        ("record is 'all'", {"record": "all"}),
    ):
        with pytest.raises(bt.ConfigError, match=text):
            bt.run(stream, weights, config, **given)
    for call in (lambda: bt.run(stream, bt.Strategy(), config), lambda: bt.sweep(stream, bt.Strategy, config, GRID)):
        with pytest.raises(bt.ConfigError, match="a strategy looks back over all bars, which a stream does not hold"):
            call()
    with pytest.raises(bt.ConfigError, match="fills at the vwap: pass vwap= to the Panel"):
        bt.run(stream, weights, config.replace(execution="next_vwap"))


def test_files_that_change_under_way_are_refused(tmp_path: Path):
    path, *_ = example(tmp_path)
    table = pl.read_parquet(path)
    for other in (table.filter(pl.col("timestamp") != table["timestamp"][80]), table.with_columns(asset=pl.lit("new"))):
        table.write_parquet(path)
        stream = bt.scan_panel(path, bars=10)
        other.write_parquet(path)
        with pytest.raises(bt.PanelError, match=r"bars .* are not those that scan_panel found: scan the changed files"):
            list(stream.parts())


def test_weights_are_checked_with_their_bar(tmp_path: Path):
    path, panel, weights, config = example(tmp_path)
    stream = bt.scan_panel(path, bars=7)
    weights[33, 2] = -0.5
    for call in (bt.run, bt.sweep):
        with pytest.raises(bt.WeightsError) as whole:
            call(panel, weights, config, *([{"band": [0.0]}] if call is bt.sweep else []))
        with pytest.raises(bt.WeightsError) as streamed:
            call(stream, weights, config, *([{"band": [0.0]}] if call is bt.sweep else []))
        assert str(streamed.value) == str(whole.value) and panel.label(33) in str(whole.value)
    with pytest.raises(bt.WeightsError, match=r"weights has shape \(59, 5\): it must be \(T, N\) = \(60, 5\)"):
        bt.run(stream, weights[:-1], config)
    book = pl.DataFrame({"timestamp": panel.timestamps, "asset": panel.assets[0], "weight": 0.1})
    late = book.with_columns(timestamp=pl.col("timestamp") + pl.duration(hours=1))
    for wrong, text in (
        (late, "is no bar of the panel"),
        (book.with_columns(asset=pl.lit("Q")), "asset 'Q' is not in the panel"),
        (book.with_columns(timestamp=pl.col("timestamp").dt.replace_time_zone("UTC")), "has no time zone: give it to"),
        (pl.concat([book, book[44:45]]), "appears twice"),
        (book[:0], "has no rows"),
    ):
        with pytest.raises(bt.WeightsError, match=text):
            bt.run(stream, wrong.lazy(), config)
    with pytest.raises(bt.WeightsError, match="does not exist as a file"):
        bt.run(stream, "nowhere.parquet", config)


def test_a_split_that_the_prices_do_not_show_is_warned_of_once_also_between_two_parts(tmp_path: Path):
    path, *_, weights, config = example(tmp_path)
    table = pl.read_parquet(path).with_columns(split=pl.lit(1.0))
    for bar in (20, 25):
        here = pl.int_range(pl.len()) == bar * 5 + 2
        table.with_columns(split=pl.when(here).then(2.0).otherwise("split")).write_parquet(path)
        with pytest.warns(bt.BacktestWarning) as whole:
            bt.read_panel(path, prices="raw")
        stream = bt.scan_panel(path, prices="raw", bars=10)
        with pytest.warns(bt.BacktestWarning) as streamed:
            bt.run(stream, weights, config)
            bt.run(stream, weights, config)
        assert [str(w.message) for w in streamed] == [str(w.message) for w in whole]


def test_an_asset_that_appears_late_and_one_that_ends(tmp_path: Path):
    path, panel, weights, config = example(tmp_path, delist_after=3)
    day, who = pl.col("timestamp"), pl.col("asset")
    first, last = (panel.timestamps[i] for i in (31, 24))
    table = pl.read_parquet(path)
    table = table.filter(~((who == panel.assets[0]) & (day < first)) & ~((who == panel.assets[1]) & (day > last)))
    gone = pl.when(who == panel.assets[2]).then(pl.lit(panel.timestamps[40].item()))
    weights = np.full(panel.shape, 0.2)
    table.with_columns(delisted_at=gone, lot=pl.lit(2.0)).write_parquet(path, row_group_size=31)
    want = bt.run(bt.read_panel(path), weights, config)
    assert (want.equity["settlements"] != 0).sum() == 2
    for bars in (1, 7, 40):
        assert_same_result(bt.run(bt.scan_panel(path, bars=bars), weights, config), want)


def test_empty_cells_of_wide_books_are_warned_of_once_with_the_number_of_all_parts(tmp_path: Path):
    path, panel, _, config = example(tmp_path)
    stream = bt.scan_panel(path, bars=7)
    cells = np.full((3, 5), 0.1)
    cells[[0, 1, 1], [1, 0, 4]] = np.nan
    columns = {name: cells[:, i] for i, name in enumerate(panel.assets)}
    book = pl.DataFrame({"timestamp": panel.timestamps[[2, 4, 30]], **columns})  # no book in the last part
    book.write_parquet(tmp_path / "w.parquet")
    grid = {"band": [0.0, 0.1]}
    for use in (lambda p, w: bt.run(p, w, config, record=("bars", "fills")), lambda p, w: bt.sweep(p, w, config, grid)):
        said = []
        for market in (panel, stream):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = use(market, tmp_path / "w.parquet")
                if isinstance(result, bt.Result):
                    assert result.fills.height and result.notes["empty_cells"] == 3
            said.append([str(w.message) for w in caught if "empty cells" in str(w.message)])
        assert said[0] == said[1] and len(said[0]) == 1 and said[0][0].startswith("weights: 3 empty cells")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use(stream, bt.read_weights(tmp_path / "w.parquet", stream))  # by somebody who has said what they mean
        assert not [w for w in caught if "empty cells" in str(w.message)]
