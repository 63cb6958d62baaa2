# SPDX-License-Identifier: Apache-2.0
"""Which bar a book stands on: books dated by day, by the end of a week or month, and by a time of day; on any clock."""

from __future__ import annotations

import datetime as dt
import itertools
import warnings
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import book, refused

import gpu_bt as bt

NAN = float("nan")
ZONES = (None, "America/New_York", "Asia/Tokyo", "America/Santiago", "+05:30")


def market(stamps: Any, zone: str | None = None, following: Any = None) -> bt.Panel:
    close = np.full((len(stamps), 1), 10.0)
    return bt.Panel(close, open=close, timestamps=stamps, assets=["A"], time_zone=zone, next_timestamp=following)


def hours(*days: int, clock: tuple[int, ...] = (9, 12, 15)) -> list[dt.datetime]:
    return [dt.datetime(2024, 1, day, hour) for day in days for hour in clock]


def bars(labels: Any, panel: bt.Panel, **how: Any) -> list[tuple[int, float]]:
    """(bar, weight) of each book; the i-th label has weight i + 1."""
    labels = labels if isinstance(labels, (list, pd.DatetimeIndex)) else list(labels)
    table = pl.DataFrame({"timestamp": labels, "asset": "A", "weight": np.arange(1.0, len(labels) + 1)})
    values = bt.read_weights(table, panel, **how).values[:, 0]
    return [(int(t), float(values[t])) for t in np.flatnonzero(~np.isnan(values))]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("align", ["exact", "next", "previous"])
@pytest.mark.parametrize("make", [
    lambda d: [dt.date(2024, 1, x) for x in d], lambda d: [dt.datetime(2024, 1, x) for x in d],
    lambda d: [f"2024-01-{x:02}" for x in d], lambda d: [20240100 + x for x in d],
], ids=["date", "midnight", "text", "number"])  # fmt: skip
def test_a_book_dated_by_day_stands_on_the_last_bar_of_its_day(make, align, zone):
    panel = market(hours(3, 4, 5), zone)
    assert bars(make([3, 5]), panel, align=align) == [(2, 1.0), (8, 2.0)]
    fills = bt.run(panel, bt.read_weights(book([(make([3])[0], "A", 0.5)]), panel), bt.Config()).fills
    assert [x.replace(tzinfo=None) for x in fills["timestamp"].dt.replace_time_zone(None)] == [
        dt.datetime(2024, 1, 4, 9)
    ] or zone == "+05:30"
    frame = pd.DataFrame({"A": [0.5]}, index=pd.DatetimeIndex(["2024-01-04"]))
    assert np.flatnonzero(bt.read_weights(frame, panel).values[:, 0] == 0.5).tolist() == [5]


def test_daily_bars_at_the_time_of_the_close_take_books_of_dates():
    panel = market([dt.datetime(2024, 1, day, 16) for day in (3, 4, 5)], "America/New_York")
    weights = bt.read_weights(book([(dt.date(2024, 1, 4), "A", 0.5)]), panel)
    assert np.isnan(weights.values[:, 0]).tolist() == [True, False, True] and weights.moved_rows == 0


def test_midnights_of_another_zone_are_no_dates():
    # Midnight in London is 19:00 of the day before in New York: between the bars.
    panel = market(hours(3, 4), "America/New_York")
    london = [dt.datetime(2024, 1, day, tzinfo=ZoneInfo("Europe/London")) for day in (3, 4)]
    assert told(london, panel, align="next")[0] == [(0, 1.0), (3, 2.0)]
    york = [dt.datetime(2024, 1, day, tzinfo=ZoneInfo("America/New_York")) for day in (3, 4)]
    assert bars(york, panel) == bars([x.astimezone(dt.UTC) for x in york], panel) == [(2, 1.0), (5, 2.0)]


def test_a_midnight_that_is_taken_for_a_date_is_counted():
    panel = market(hours(3, 4, clock=(0, 8, 16)))
    by_date = bt.read_weights(book([(dt.date(2024, 1, 3), "A", 0.5)]), panel)
    by_midnight = bt.read_weights(book([(dt.datetime(2024, 1, 3), "A", 0.5)]), panel)
    assert (by_date.moved_rows, by_midnight.moved_rows) == (0, 1)
    assert by_date.values[2, 0] == by_midnight.values[2, 0] == 0.5
    mixed = [dt.datetime(2024, 1, 3), dt.datetime(2024, 1, 3, 8)]  # one has a time of day: both are times
    assert bars(mixed, panel) == [(0, 1.0), (1, 2.0)]


FRIDAYS = ["2024-08-30", "2024-09-03", "2024-09-06", "2024-09-27", "2024-09-30", "2024-10-01"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("clock", ["00:00", "16:00"])
def test_ends_of_months_and_weeks_on_the_last_bar_before_them(zone, clock):
    panel = market([f"{day}T{clock}" for day in FRIDAYS], zone)
    ends = [dt.date(2024, 8, 31), dt.date(2024, 9, 8), dt.date(2024, 9, 29), dt.date(2024, 9, 30)]
    refused("align='previous' to the last bar before it", book([(d, "A", 0.5) for d in ends]), panel,
            error=bt.WeightsError, reader=bt.read_weights)  # fmt: skip
    assert bars(ends, panel, align="previous") == [(0, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert bars(ends, panel, align="next") == [(1, 1.0), (3, 2.0), (4, 4.0)]  # the 29th gives way to the 30th
    months = pd.period_range("2024-08", periods=2, freq="M")
    table = pd.DataFrame({"timestamp": months, "asset": "A", "weight": [1.0, 2.0]})
    assert np.flatnonzero(bt.read_weights(table, panel, align="previous").values[:, 0] > 0).tolist() == [0, 4]


def test_what_was_moved_or_dropped_is_counted():
    panel = market(FRIDAYS)
    days = ["2024-08-29", "2024-08-31", "2024-09-01", "2024-09-03", "2024-10-05", "2024-10-09"]
    rows = [(day, "A", (i + 1) / 10) for i, day in enumerate(days)]
    back = bt.read_weights(book(rows), panel, align="previous")
    assert [x for x in back.values[:, 0] if x > 0] == [0.3, 0.4, 0.5]
    # Before the first bar; one that a later book replaced; more than a week after the last bar.
    assert (back.moved_rows, back.dropped_rows) == (2, 3)
    result = bt.run(panel, back, bt.Config(execution="same_close", lot=0))
    assert result.notes["moved_rows"] == 2 and result.notes["dropped_rows"] == 3


def test_a_book_from_after_the_panel_never_acts_within_it():
    labels = [dt.date(2024, 10, 4), dt.date(2024, 10, 12)]
    assert bars(labels, market(FRIDAYS), align="previous") == [(5, 1.0)]
    assert bars(labels, market(FRIDAYS, following="2024-10-04"), align="previous") == []
    assert bars(labels, market(FRIDAYS, following="2024-10-07"), align="previous") == [(5, 1.0)]
    assert bars(labels, market(FRIDAYS, following="2024-11-01"), align="previous") == [(5, 2.0)]


# --- drawn: a plain loop over labels and bars ---

CLOCKS = ((0,), (16,), (9, 12, 15), (0, 8, 16), (23,))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[dt.datetime], str | None, list[Any], str, dt.date | None]:
    """Bars, their zone, labels (dates or times), align, next_timestamp; days around changes of the clocks."""
    first = draw(st.sampled_from([dt.date(2024, 3, 1), dt.date(2024, 9, 1), dt.date(2024, 10, 25)]))
    days = sorted(draw(st.sets(st.integers(0, 24), min_size=1, max_size=12)))
    clock = draw(st.sampled_from(CLOCKS))
    stamps = [dt.datetime.combine(first + dt.timedelta(days=d), dt.time(h)) for d in days for h in clock]
    by_day = draw(st.booleans())
    step = 24 if by_day else 4
    when = sorted(draw(st.sets(st.integers(-3 * 24 // step, 35 * 24 // step), min_size=1, max_size=10)))
    times = [dt.datetime.combine(first, dt.time()) + dt.timedelta(hours=step * k) for k in when]
    labels = [t.date() for t in times] if by_day and draw(st.booleans()) else times
    following = draw(st.sampled_from([None, 1, 3, 10]))
    due = None if following is None else (stamps[-1] + dt.timedelta(days=following)).date()
    return stamps, draw(st.sampled_from(ZONES)), labels, draw(st.sampled_from(["next", "previous"])), due


def loop(stamps: list[dt.datetime], labels: list[Any], align: str, due: dt.date | None) -> dict[int, float]:
    """The same by comparing wall-clock times one by one."""
    times = [dt.datetime.combine(x, dt.time()) if not isinstance(x, dt.datetime) else x for x in labels]
    by_day = all(t.time() == dt.time() for t in times)
    limit = stamps[-1] + dt.timedelta(days=7) if due is None else dt.datetime.combine(due, dt.time())
    out: dict[int, float] = {}
    for number, t in enumerate(times, 1):
        own = [i for i, s in enumerate(stamps) if (s.date() == t.date() if by_day else s == t)]
        before = [i for i, s in enumerate(stamps) if s < t]
        after = [i for i, s in enumerate(stamps) if s > t]
        if align == "previous":
            found = own[-1:] or before[-1:] if t < limit else []
        else:
            found = own[-1:] or after[:1]
        if found:
            out[found[0]] = float(number)
    return out


def readable(stamps: list[Any], zone: str | None) -> bool:
    """Whether no time is skipped or repeated by the clock."""
    try:
        bt.Panel(np.ones((len(stamps), 1)), timestamps=stamps, assets=["A"], time_zone=zone)
    except bt.PanelError as error:
        assert "on the clock of" in str(error)
        return False
    return True


@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")  # some are of midnight among times of day
@given(scenes())
@settings(max_examples=250, deadline=None)
def test_books_stand_where_a_plain_loop_puts_them(scene):
    stamps, zone, labels, align, due = scene
    if not readable(stamps, zone) or not readable(labels, zone):
        return
    assert dict(bars(labels, market(stamps, zone, due), align=align)) == loop(stamps, labels, align, due)


@pytest.mark.filterwarnings("ignore::gpu_bt.BacktestWarning")  # some have no book on any bar
@given(scenes(), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_a_stream_places_them_alike_in_windows_of_any_size(tmp_path_factory, scene, size):
    stamps, zone, labels, align, due = scene
    if not readable(stamps, zone) or not readable(labels, zone):
        return
    folder = tmp_path_factory.mktemp("stream")
    prices = pl.DataFrame({"timestamp": stamps, "asset": "A", "close": 10.0})
    books = pl.DataFrame({"timestamp": labels, "asset": "A", "weight": [k / 16 for k in range(1, len(labels) + 1)]})
    prices.write_parquet(folder / "p.parquet")
    books.write_parquet(folder / "w.parquet")
    how = dict(time_zone=zone, next_timestamp=due)
    stream, panel = bt.scan_panel(folder / "p.parquet", bars=size, **how), bt.read_panel(prices, **how)
    config = bt.Config(execution="same_close", lot=0)
    want = bt.run(panel, bt.read_weights(books, panel, align=align), config)
    got = bt.run(stream, bt.read_weights(folder / "w.parquet", stream, align=align), config)
    assert got.equity.equals(want.equity) and got.notes == want.notes


def test_no_book_acts_before_it_is_known():
    # Whatever the label's kind, the decision is at or after the last bar of its day, or the label's own time.
    stamps = hours(*range(2, 12), clock=(9, 10, 15))
    panel = market(stamps)
    for day, clock in itertools.product(range(2, 12), (0, 9, 11, 15, 20)):
        label = dt.datetime(2024, 1, day, clock)
        for t, _ in bars([label], panel, align="next"):
            assert stamps[t] >= label and (clock or stamps[t].hour == 15)


def told(labels: Any, panel: bt.Panel, **how: Any) -> tuple[list[tuple[int, float]], list[str]]:
    """`bars`, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = bars(labels, panel, **how)
    assert all(issubclass(w.category, bt.BacktestWarning) for w in caught)
    return found, [str(w.message) for w in caught]


def test_midnights_of_another_clock_that_act_before_their_date_ends_are_warned_of():
    panel = market(hours(3, 4), "America/New_York")
    utc = [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (3, 4)]
    found, [text] = told(utc, panel, align="next")
    assert found == [(0, 1.0), (3, 2.0)] and "2 of 2 books are of midnight" in text and "at 2024-01-03T09:00:00" in text
    assert "1 of 2 books" in told([utc[0], utc[1] + dt.timedelta(days=2)], panel, align="next")[1][0]  # a Saturday
    found, [text] = told(utc, panel, align="previous")  # a day too early
    assert found == [(2, 2.0)] and "1 of 2 books are of midnight" in text
    around = market([dt.datetime(2024, 1, 2, 19), *hours(3, clock=(9, 19))], "America/New_York")  # midnights of UTC
    assert told(utc, around)[0] == [(0, 1.0), (2, 2.0)] and "2 of 2 books" in told(utc, around)[1][0]
    daily = market([dt.datetime(2024, 1, day, 16) for day in (3, 4)], "America/New_York")
    assert told(utc, daily, align="next") == ([(0, 1.0), (1, 2.0)], [])  # where dates stand, too


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_midnights_among_times_of_day_that_act_before_their_date_ends_are_warned_of(zone):
    panel = market(hours(3, 4, 5), zone)
    days = [dt.datetime(2024, 1, day) for day in (3, 4, 5)]
    days[1] = days[1].replace(hour=12)
    found, [text] = told(days, panel, align="next")
    assert found == [(0, 1.0), (4, 2.0), (6, 3.0)] and "2 of 3 books are of midnight" in text
    assert told(hours(3, 4, clock=(0, 12, 15)), panel, align="next")[1] == []  # most are times of day
    whole = market([dt.datetime(2024, 1, 3) + dt.timedelta(hours=12 * i) for i in range(4)], zone)
    assert told(hours(3, 4, clock=(0, 12)), whole)[1] == []  # each on a bar of its own


def test_a_stream_warns_of_early_midnights_once_for_all_its_parts(tmp_path):
    panel = market(hours(3, 4, 5))
    columns = {"timestamp": panel.timestamps, "asset": "A", "close": panel.close[:, 0]}
    pl.DataFrame(columns).write_parquet(tmp_path / "p.parquet")
    days = [dt.datetime(2024, 1, 3), dt.datetime(2024, 1, 4), dt.datetime(2024, 1, 5, 12)]
    table = pl.DataFrame({"timestamp": days, "asset": "A", "weight": 0.5}).lazy()
    stream = bt.scan_panel(tmp_path / "p.parquet", bars=2)
    with pytest.warns(bt.BacktestWarning, match="2 of 3 books are of midnight") as caught:
        bt.run(stream, bt.read_weights(table, stream, align="next"), bt.Config(execution="next_close"))
    assert sum("of midnight" in str(w.message) for w in caught) == 1
