# SPDX-License-Identifier: Apache-2.0
"""Panel: who owns the memory, and what kinds of arrays it takes."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import gpu_bt as bt
from gpu_bt.data.arrays import as_host

DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")


def panel(close=None, **fields):
    """Three bars of two assets, A and B, at 16."""
    base = dict(timestamps=DAYS, assets=["A", "B"], prices="raw")
    return bt.Panel(np.full((3, 2), 16.0) if close is None else close, **(base | fields))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_read_only_array_is_not_copied_and_a_writeable_one_is(dtype):
    kept, mine = read_only(np.full((3, 2), 16.0, dtype)), np.full((3, 2), 16.0, dtype)
    got = panel(kept, open=mine)
    assert np.shares_memory(got.close, kept) and got.close.dtype == dtype
    assert not np.shares_memory(got.open, mine) and got.open.dtype == dtype
    assert mine.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        got.open[0, 0] = 1.0


def test_later_changes_by_the_user_change_nothing():
    given = dict(
        open=np.full((3, 2), 16.0), volume=np.full((3, 2), 64.0), split=np.ones((3, 2)), can_buy=np.ones((3, 2), bool),
        lot=np.array([1.0, 2.0]), delisting_return=np.array([0.0, -0.5]), delisted_at=np.array([-1, 2]),
        timestamps=np.array(DAYS, "datetime64[us]"),
    )  # fmt: skip
    close = np.full((3, 2), 16.0)
    got = panel(close, **given)
    before = pickle.dumps(got.market)
    close[:] = 1.0
    for name, array in given.items():
        array[...] = np.datetime64("1999-01-01") if name == "timestamps" else 0
    assert pickle.dumps(got.market) == before
    assert got.timestamps[0] == np.datetime64("2020-01-01") and got.market.clock[0] == 1577836800000000


def test_groups_are_not_changed_by_the_user_either():
    group = np.array(["x", "y"])
    got = panel(group=group)
    group[:] = "z"
    assert got.group.tolist() == ["x", "y"]


def test_a_view_whose_base_is_writeable():
    # A read-only view of a writeable array is still the caller's to change through its base.
    base = np.full((3, 2), 16.0)
    got = panel(read_only(base.view()))
    base[:] = 1.0
    assert got.close[0, 0] == 16.0


def test_a_fortran_array_becomes_c_contiguous():
    given = np.asfortranarray(np.arange(1.0, 7.0).reshape(3, 2))
    assert panel(given).close.flags.c_contiguous and panel(given).close.tolist() == given.tolist()
    assert panel(np.arange(1.0, 13.0).reshape(3, 4)[:, ::2]).close.tolist() == [[1.0, 3.0], [5.0, 7.0], [9.0, 11.0]]


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint8, np.float16, ">f8", ">f4"])
def test_other_types_become_floats(dtype):
    close = panel(np.full((3, 2), 16, dtype)).close
    assert close.dtype == (np.float32 if dtype == np.float16 else np.float64) and (close == 16.0).all()
    assert close.dtype.isnative


class DLPackOnly:
    """What a tensor library gives: __dlpack__ and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_anything_with_dlpack_is_an_array():
    mine = np.full((3, 2), 16.0)
    got = panel(DLPackOnly(mine), volume=DLPackOnly(np.full((3, 2), 64.0)))
    mine[:] = 1.0
    assert got.close.tolist() == [[16.0, 16.0]] * 3 and got.volume[0, 0] == 64.0


def test_a_device_array_is_fetched():
    class Device:
        __cuda_array_interface__ = {}  # noqa: RUF012

        def get(self):
            return np.full((3, 2), 16.0)

    assert panel(Device()).close.tolist() == [[16.0, 16.0]] * 3
    assert as_host("x", Device(), bt.PanelError).shape == (3, 2)


def test_the_values_of_a_table_are_not_changed_through_it():
    # pandas hands out read-only views of memory that it goes on writing to.
    table = pd.DataFrame(np.full((2, 3), 16.0)).T
    got = panel(table.to_numpy())
    table.iloc[0, 0] = 1.0
    assert got.close[0, 0] == 16.0


def test_masked_values_are_missing_or_refused():
    close = np.ma.masked_array(np.full((3, 2), 16.0), mask=[[0, 0], [0, 1], [0, 0]])
    try:
        got = panel(close)
    except bt.PanelError:
        return
    assert np.isnan(got.close[1, 1])


def test_a_pickled_panel_is_as_immutable_as_the_first():
    got = pickle.loads(pickle.dumps(panel(open=np.full((3, 2), 16.0), group=["x", "y"])))
    for array in (got.close, got.open, got.timestamps, got.group, got.microseconds):
        assert not array.flags.writeable
    assert got.assets == ("A", "B") and got.index == {"A": 0, "B": 1}


def test_a_table_whose_rows_have_no_timestamps_is_refused():
    with pytest.raises(bt.PanelError, match=r"^close: table has no timestamps in its first column 'A'.*as the index"):
        panel(pd.DataFrame(np.full((3, 2), 16.0), columns=["A", "B"]))
