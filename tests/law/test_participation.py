# SPDX-License-Identifier: Apache-2.0
"""The participation cap ([S4], 1)."""

from __future__ import annotations

import pytest
from kit import NAN, book, column, fills, panel, run, shares


def test_a_fill_is_at_most_its_share_of_volume_and_the_rest_is_kept(engine):
    # 16 wanted: half of 8, then of nothing, then of 64.
    result = run(engine, panel([16] * 4, volume=[8, NAN, 0, 64]), [0.25, NAN, NAN, NAN], participation=0.5)
    assert shares(result) == [4.0, 4.0, 4.0, 16.0]
    assert [f[7] for f in fills(result)] == ["VOLUME_CLIPPED", "FILLED"]
    assert column(result, "volume_clipped") == [1, 1, 1, 0] and column(result, "working") == [1, 1, 1, 0]


def test_the_rest_can_be_cancelled(engine):
    market = panel([16] * 3, volume=[8, 64, 64])
    result = run(engine, market, [0.25, NAN, NAN], participation=0.5, unfilled="cancel")
    assert shares(result) == [4.0] * 3 and column(result, "working") == [0, 0, 0]
    assert column(result, "volume_clipped") == [1, 0, 0] and column(result, "cancelled") == [1, 0, 0]
    assert [f[7] for f in fills(result)] == ["VOLUME_CLIPPED"]


def test_an_order_without_volume_can_be_cancelled(engine):
    result = run(engine, panel([16] * 2, volume=[0, 64]), [0.25, NAN], participation=0.5, unfilled="cancel")
    assert shares(result) == [0.0, 0.0]
    assert column(result, "volume_clipped") == [1, 0] and column(result, "cancelled") == [1, 0]


@pytest.mark.parametrize(("volume", "lot", "got"), [(15, 1, 7.0), (31, 4, 12.0), (7, 4, 0.0), (15, 0, 7.5)])
def test_the_cap_is_truncated_to_lots(engine, volume, lot, got):
    assert shares(run(engine, panel([16], volume=[volume]), [1], participation=0.5, lot=lot)) == [got]


def test_the_volume_is_that_of_the_bar_that_fills(engine):
    market = panel([16] * 2, open=[16] * 2, volume=[2, 20])
    assert shares(run(engine, market, [0.25, NAN], execution="next_open", participation=0.5)) == [0.0, 10.0]


def test_sales_are_capped_too(engine):
    result = run(engine, panel([16] * 3, volume=[64, 8, 8]), [0.25, 0, NAN], participation=0.5)
    assert shares(result) == [16.0, 12.0, 8.0] and column(result, "sells") == [0.0, 64.0, 64.0]


def test_a_participation_of_zero_fills_nothing(engine):
    result = run(engine, panel([16], volume=[64]), [0.25], participation=0.0)
    assert shares(result) == [0.0] and column(result, "volume_clipped") == [1]


def test_without_participation_volume_is_no_limit(engine):
    assert shares(run(engine, panel([16], volume=[0]), [0.25])) == [16.0]


def test_the_cap_comes_before_the_cash(engine):
    # A0's 64 are capped at 32 before anything is scaled, so both fit: 512 + 512.
    result = run(engine, panel([[16, 16]], volume=[[64, 640]]), [[1, 0.5]], participation=0.5)
    assert book(result) == [[32.0, 32.0]]
    assert column(result, "cash_clipped") == [0] and column(result, "volume_clipped") == [1]


def test_a_fill_is_recorded_as_the_last_cut_that_touched_it(engine):
    # Both capped at 48 lots by volume, then scaled by 2/3 to just below 32: 31 each and, both in the class of the
    # remainder 1 - 2^-35, both back, if their ties agree or the higher one first: 32 each.
    result = run(engine, panel([[16, 16]], volume=[[96, 96]]), [[1, 1]], participation=0.5)
    assert book(result) == [[32.0, 32.0]] and [f[7] for f in fills(result)] == ["CASH_CLIPPED"] * 2
    assert column(result, "volume_clipped") == [2] and column(result, "cash_clipped") == [2]
    # What volume held back stays working; what cash cut off does not.
    assert column(result, "working") == [2]


def test_a_new_target_counts_what_was_filled_not_what_was_ordered(engine):
    # 4 of 16 filled; the same target again orders the other 12, and no more.
    result = run(engine, panel([16] * 5, volume=[8] * 5), [0.25] * 5, participation=0.5)
    assert shares(result) == [4.0, 8.0, 12.0, 16.0, 16.0]


def test_an_odd_lot_fills_whole_where_its_shares_fit(engine):
    # 10 shares in lots of 10 become 13. A lot and then the odd 3 shares are sold; 2 of them, or 9 of a lot, are not.
    market = panel([13] + [10] * 5, split=[1, 1.3, 1, 1, 1, 1], volume=[10, 9, 10, 2, 3, 3])
    result = run(engine, market, [130 / 1024, 0, NAN, NAN, NAN, NAN], lot=10, participation=1)
    assert shares(result) == [10.0, 13.0, 3.0, 3.0, 0.0, 0.0]
    assert [f[2:3] + f[7:] for f in fills(result)[1:]] == [(-10.0, "VOLUME_CLIPPED"), (-3.0, "FILLED")]
    assert column(result, "volume_clipped") == [0, 1, 1, 1, 0, 0]


def test_an_odd_order_fits_by_its_shares(engine):
    # From 13 to 20 shares: 7, or 0.7 lots, of a volume of 14 or 13.
    for volume, got in ((14, 20.0), (13, 13.0)):
        market = panel([13, 10], split=[1, 1.3], volume=[20, volume])
        settings = dict(lot=10, rounding="position", participation=0.5)
        assert shares(run(engine, market, [130 / 1024, 200 / 1024], **settings)) == [10.0, got]
