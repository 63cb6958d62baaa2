# SPDX-License-Identifier: Apache-2.0
"""Frames of cuDF, by a stand-in written after its source: what pandas gives, through Arrow, or without leaving the
emulated device."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from emulator.build import why_not
from emulator.fake_cudf import DataFrame, Series
from emulator.fake_cupy import FakeCupy, installed
from test_device_arrays import told

import gpu_bt as bt
from gpu_bt.data.fields import FIELDS
from gpu_bt.engine.resident import Resident

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
T, N = 90, 12
CLOSES = bt.Config(execution="next_close")
NAMES = [f"N{i:02}" for i in range(N)]


@pytest.fixture
def fake():
    with installed(FakeCupy("random")) as fake:
        yield fake


def wide(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.01, (T, N)), axis=0))
    close[5, 2] = np.nan
    return pd.DataFrame(close, pd.date_range("2020-01-01", periods=T), NAMES)


def long() -> pd.DataFrame:
    rows = wide().stack(future_stack=True).rename_axis(["date", "ticker"]).rename("close").reset_index()
    return rows.assign(volume=1e6).sample(frac=1.0, random_state=1, ignore_index=True)


def assert_same(found: bt.Panel, wanted: bt.Panel) -> None:
    assert repr(found) == repr(wanted) and found.notes == wanted.notes
    np.testing.assert_array_equal(found.timestamps, wanted.timestamps)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


SHAPES = {
    "long": long(),
    "long, indexed": long().set_index("date"),
    "long, two levels": long().set_index(["date", "ticker"]),
    "long, levels without names": long().set_index(["date", "ticker"]).rename_axis([None, None]),
    "wide": wide(),
    "wide, a named index": wide().rename_axis("date"),
    "wide, a column of dates": wide().rename_axis("date").reset_index(),
    "wide, unsorted": wide().iloc[::-1],
    "wide, of a zone": wide().tz_localize("UTC"),
    "wide, numbers as names": wide().rename(columns={name: i for i, name in enumerate(NAMES)}),
    "wide, float32": wide().astype("float32"),
    "two levels of columns": pd.concat({"Close": wide(), "Open": wide()}, axis=1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gpu", [True, False])
def test_read_as_pandas_are(shape, gpu):
    frame = SHAPES[shape]
    wanted = bt.read_panel(frame)
    with installed(FakeCupy("random")) as fake:
        if not gpu:
            fake.cuda.runtime.getDeviceCount = lambda: 0
        assert_same(bt.read_panel(DataFrame(fake, frame)), wanted)


def test_wide_frames_stay_on_the_device(fake):
    """Close and others with its labels, turned there; of another one's labels goes through Arrow. Labels alone move."""
    close, mask = wide(), wide().notna()
    high = close * 1.01
    given = {"close": close, "high": high, "can_buy": mask, "volume": close.iloc[10:] * 1e6}
    wanted, text = told(lambda: bt.Panel(**given))
    found, found_text = told(lambda: bt.Panel(**{name: DataFrame(fake, frame) for name, frame in given.items()}))
    assert_same(found, wanted)
    assert found_text == text and "volume" in text[0]
    assert isinstance(found.close, Resident)
    fake.fetched.clear()
    for make in (lambda: bt.Panel(DataFrame(fake, close), high=DataFrame(fake, high)),
                 lambda: bt.read_panel(DataFrame(fake, close))):  # fmt: skip
        assert isinstance(make().close, Resident)
        assert max(fake.fetched) <= 16 * T < 2 * close.size


@pytest.mark.parametrize("spoil", [0, -1.0, np.inf])
def test_messages(fake, spoil):
    close = wide()
    close.iloc[7, 3] = spoil
    wanted = told(lambda: bt.Panel(close))[0]
    assert told(lambda: bt.Panel(DataFrame(fake, close)))[0] == wanted and "2020-01-08, 'N03'" in wanted
    fields = wide().iloc[:, :3].set_axis(["open", "close", "volume"], axis=1)
    wanted = told(lambda: bt.Panel(fields))[0]
    assert told(lambda: bt.Panel(DataFrame(fake, fields)))[0] == wanted and "columns of one asset's fields" in wanted


def test_weights(fake):
    """Whole books stay on the device, in any order of columns; all others go through Arrow, as those of pandas."""
    close = wide()
    panel, rng = bt.Panel(DataFrame(fake, close)), np.random.default_rng(1)
    whole = pd.DataFrame(rng.random((T, N)) / N, close.index, NAMES)
    weekly = whole[np.arange(T) % 5 == 0].reindex(close.index)
    ragged = whole.mask(rng.random((T, N)) < 0.2)
    host = bt.Panel(close)
    for frame, stays in ((whole, True), (weekly, True), (whole[NAMES[::-1]], True), (ragged, False),
                         (weekly.dropna(), True), (whole.iloc[:, 1:], False)):  # fmt: skip
        fake.fetched.clear()
        found, text = told(lambda frame=frame: bt.run(panel, DataFrame(fake, frame), CLOSES, engine="cuda"))
        fetched = list(fake.fetched)
        wanted, wanted_text = told(lambda frame=frame: bt.run(host, frame, CLOSES, engine="numpy"))
        np.testing.assert_array_equal(found.equity, wanted.equity)
        assert text == wanted_text and found.notes == wanted.notes
        assert (8 * frame.size not in fetched) == stays
    hours = pd.date_range("2020-01-01", periods=T, freq="6h")  # whose midnights are dates, or are warned of
    there, here = (
        bt.Panel(make(close.set_axis(hours))) for make in (lambda frame: DataFrame(fake, frame), lambda f: f)
    )
    for frame in (whole.set_axis(hours), whole.set_axis(hours)[::4], whole.set_axis(hours)[1::4]):
        found = told(lambda frame=frame: bt.run(there, DataFrame(fake, frame), CLOSES, engine="cuda"))
        wanted = told(lambda frame=frame: bt.run(here, frame, CLOSES, engine="numpy"))
        np.testing.assert_array_equal(found[0].equity, wanted[0].equity)
        assert found[1] == wanted[1] and found[0].notes == wanted[0].notes
    strange = whole.rename(columns={"N03": "X"})
    wanted = told(lambda: bt.run(host, strange, CLOSES))[0]
    assert told(lambda: bt.run(panel, DataFrame(fake, strange), CLOSES))[0] == wanted and "'X'" in wanted


def test_series(fake):
    """A number for each asset, as weights, holdings and lots; and one asset's closes."""
    close = wide()
    panel = bt.Panel(close, lot=Series(fake, pd.Series(2.0, NAMES)))
    np.testing.assert_array_equal(panel.lot, np.full(N, 2.0))
    book = pd.Series({"N01": 0.5, "N04": 0.25})
    found = bt.run(panel, Series(fake, book), CLOSES, holdings=Series(fake, pd.Series({"N03": 10.0})), engine="numpy")
    wanted = bt.run(panel, book, CLOSES, holdings={"N03": 10.0}, engine="numpy")
    np.testing.assert_array_equal(found.equity, wanted.equity)
    one = close["N01"]
    assert_same(bt.read_panel(Series(fake, one), asset="A"), bt.read_panel(one, asset="A"))
    assert panel.timestamps[0] == np.datetime64(dt.date(2020, 1, 1))
