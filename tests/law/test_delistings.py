# SPDX-License-Identifier: Apache-2.0
"""Settlements of assets that stop trading ([S3])."""

from __future__ import annotations

import pytest
from kit import NAN, book, column, fills, panel, run, shares

MARGIN = dict(account="margin", maintenance_margin=None, max_leverage=None)


@pytest.mark.parametrize(("loss", "paid"), [(0, 256.0), (-0.5, 128.0), (-1, 0.0), (0.25, 320.0), (NAN, 256.0)])
def test_a_holding_is_settled_at_its_mark_times_one_plus_the_return(engine, loss, paid):
    market = panel([16] * 3, delisted_at=[1], delisting_return=[loss])
    result = run(engine, market, [0.25, NAN, NAN], commission_rate=0.0625, min_commission=1.0, slippage=0.0)
    assert shares(result) == [16.0, 0.0, 0.0] and column(result, "settlements") == [0.0, paid, 0.0]
    # No costs, no fill: only the purchase's own commission of 16 was ever charged.
    assert column(result, "commission") == [16.0, 0.0, 0.0] and len(fills(result)) == 1
    assert column(result, "cash")[1] == 1024.0 - 256 - 16 + paid


def test_the_mark_is_that_before_the_bar(engine):
    # The close of the delisting bar, 64, comes too late: 16 shares at 16.
    assert column(run(engine, panel([16, 64], delisted_at=[1]), [0.25, NAN]), "settlements") == [0.0, 256.0]


def test_a_short_is_settled_by_paying(engine):
    market = panel([16, 16], delisted_at=[1], delisting_return=[-0.5])
    result = run(engine, market, [-0.25, NAN], **MARGIN)
    assert column(result, "settlements") == [0.0, -128.0] and column(result, "equity") == [1024.0, 1152.0]


def test_a_delisted_asset_has_no_target_any_more(engine):
    # Counted where a target was read: at bars 1 and 3, not at bar 2 (NaN).
    result = run(engine, panel([[16, 16]] * 4, delisted_at=[1, -1]), [[0.25, 0.25], [0.25, 0.5], [NAN, 0.5], [0, 0.5]])
    assert book(result) == [[16.0, 16.0], [0.0, 32.0], [0.0, 32.0], [0.0, 32.0]]
    assert column(result, "delisted") == [0, 1, 0, 1]


def test_a_bar_that_does_not_decide_counts_no_delisted_target(engine):
    result = run(engine, panel([16] * 4, delisted_at=[0]), [0.25] * 4, rebalance_every=2)
    assert column(result, "delisted") == [1, 0, 1, 0] and shares(result) == [0.0] * 4


def test_the_row_read_is_the_lagged_one(engine):
    # Bar 1 reads row 0, which has a target; bar 2 reads row 1, which has none.
    result = run(engine, panel([16] * 3, delisted_at=[1]), [0.25, NAN, 0.25], signal_lag=1)
    assert column(result, "delisted") == [0, 1, 0]


def test_a_working_order_ends_with_the_asset(engine):
    market = panel([16] * 3, open=[16] * 3, delisted_at=[1])
    result = run(engine, market, [0.25, NAN, NAN], execution="next_open")
    assert fills(result) == [] and column(result, "delisted") == [0, 1, 0] and column(result, "working") == [1, 0, 0]


def test_a_delisting_after_the_last_bar_changes_nothing(engine):
    assert shares(run(engine, panel([16] * 2, delisted_at=[2]), [0.25, NAN])) == [16.0, 16.0]


def test_silence_settles_at_the_nth_date_in_a_row(engine):
    # Silent at bars 1, 2 and from 4 on. With 3 the first gap ends in time; the second one is settled at bar 6.
    closes = [16, NAN, NAN, 16, NAN, NAN, NAN, NAN]
    result = run(engine, panel(closes), [0.25] + [NAN] * 7, delist_after=3)
    assert shares(result) == [16.0] * 6 + [0.0] * 2
    assert column(result, "settlements") == [0.0] * 6 + [256.0, 0.0] and column(result, "delisted") == [0] * 8


def test_silence_is_counted_in_dates(engine):
    # Two bars a date; silent from the second bar of the first date on. The third date after it is settled at its first
    # bar.
    stamps = [f"2024-01-{d:02}T{h}:00" for d in (2, 3, 5, 8) for h in ("09", "15")]
    for zone in (None, "Asia/Kolkata"):
        market = panel([16] + [NAN] * 7, timestamps=stamps, time_zone=zone)
        result = run(engine, market, [0.25] + [NAN] * 7, delist_after=3)
        assert shares(result) == [16.0] * 6 + [0.0] * 2 and column(result, "settlements")[6] == 256.0
        assert shares(run(engine, market, [0.25] + [NAN] * 7, delist_after=1)) == [16.0] * 2 + [0.0] * 6


def test_a_price_late_in_a_date_begins_the_count_anew(engine):
    stamps = [f"2024-01-{d:02}T{h}:00" for d in (2, 3, 5, 8) for h in ("09", "15")]
    market = panel([16, NAN, NAN, 16, NAN, NAN, NAN, NAN], timestamps=stamps)
    assert shares(run(engine, market, [0.25] + [NAN] * 7, delist_after=2)) == [16.0] * 6 + [0.0] * 2


def test_dates_of_silence_are_those_of_the_zone(engine):
    # 23:00 and 01:00 UTC lie on one date in New York, on two in London; both begin to be silent after the first bar.
    stamps = ["2024-01-02T22:00Z", "2024-01-02T23:00Z", "2024-01-03T01:00Z", "2024-01-03T04:30Z", "2024-01-03T05:30Z"]
    for zone, at in (("America/New_York", 4), ("Europe/London", 2)):
        market = panel([16] + [NAN] * 4, timestamps=stamps, time_zone=zone)
        settlements = column(run(engine, market, [0.25] + [NAN] * 4, delist_after=1), "settlements")
        assert [t for t, x in enumerate(settlements) if x] == [at]


def test_silence_of_twenty_dates_is_the_default_and_zero_is_never(engine):
    closes = [16] + [NAN] * 21
    weights = [0.25] + [NAN] * 21
    assert shares(run(engine, panel(closes), weights)) == [16.0] * 20 + [0.0] * 2
    assert shares(run(engine, panel(closes), weights, delist_after=0)) == [16.0] * 22


def test_an_open_alone_is_a_sign_of_life_and_a_mark(engine):
    market = panel([16, NAN, NAN, NAN], open=[16, NAN, 32, NAN])
    result = run(engine, market, [0.25, NAN, NAN, NAN], delist_after=2)
    assert shares(result) == [16.0] * 4 and column(result, "long_value") == [256.0, 256.0, 512.0, 512.0]


def test_silence_uses_the_delisting_return_too(engine):
    market = panel([16, NAN], delisting_return=[-0.5])
    assert column(run(engine, market, [0.25, NAN], delist_after=1), "settlements") == [0.0, 128.0]


def test_an_asset_settled_for_silence_may_be_bought_again(engine):
    market = panel([16, NAN, NAN, 16])
    result = run(engine, market, [0.25, NAN, NAN, 0.25], delist_after=2)
    assert shares(result) == [16.0, 16.0, 0.0, 16.0] and column(result, "delisted") == [0] * 4


def test_silence_before_the_first_price_counts_nothing(engine):
    # A late listing: the order waits longer than delist_after and is still there at the first open.
    market = panel([[16, NAN], [16, NAN], [16, NAN], [16, 16], [16, 16]])
    result = run(engine, market, [[NAN, 0.25]] * 5, delist_after=1)
    assert book(result)[3] == [0.0, 16.0] and column(result, "delisted") == [0] * 5


def test_silence_removes_a_working_order(engine):
    market = panel([16, NAN, NAN, 16])
    result = run(engine, market, [0.25, NAN, NAN, NAN], execution="next_close", delist_after=2)
    assert shares(result) == [0.0] * 4 and column(result, "delisted") == [0, 0, 1, 0]
    assert column(result, "no_price") == [0, 1, 0, 0]


def test_the_end_of_the_data_settles_nothing(engine):
    result = run(engine, panel([16, NAN, NAN]), [0.25, NAN, NAN], delist_after=3)
    assert shares(result) == [16.0] * 3 and column(result, "equity") == [1024.0] * 3


def test_a_settlement_comes_after_the_split_and_dividend_of_its_bar(engine):
    # 16 shares receive 1 each, become 32 at 8, and are settled at half of 8: 16 + 128.
    market = panel([16, 8], split=[1, 2], dividend=[0, 1], delisted_at=[1], delisting_return=[-0.5])
    result = run(engine, market, [0.25, NAN])
    assert column(result, "dividends") == [0.0, 16.0] and column(result, "settlements") == [0.0, 128.0]


def test_the_money_of_a_settlement_buys_in_the_same_bar(engine):
    # A0 is worth all; at bar 1 its 1024 come back and A1 takes them.
    result = run(engine, panel([[16, 16]] * 2, delisted_at=[1, -1]), [[1, 0], [NAN, 1]])
    assert book(result)[1] == [0.0, 64.0] and column(result, "cash") == [0.0, 0.0]
