# SPDX-License-Identifier: Apache-2.0
"""Interest and borrow fees ([S1])."""

from __future__ import annotations

import numpy as np
import pytest
from kit import NAN, column, panel, run

MARGIN = dict(account="margin", maintenance_margin=None, max_leverage=None)


@pytest.mark.parametrize(
    ("days", "paid"),
    [
        ([0, 360], 128.0),  # 1024*(1/8 * 360/360)
        ([0, 45], 16.0),  # 45 days are an eighth of 360
        ([0, 11.25], 4.0),  # 11 days and 6 hours are 1/32 of 360
    ],
)
def test_interest_is_actual_over_360(engine, days, paid):
    result = run(engine, panel([16, 16], days=days), [NAN, NAN], cash_rate=0.125)
    assert column(result, "financing") == [0.0, paid] and column(result, "cash") == [1024.0, 1024.0 + paid]


def test_interest_compounds_from_bar_to_bar(engine):
    result = run(engine, panel([16] * 3, days=[0, 360, 720]), [NAN] * 3, cash_rate=0.5)
    assert column(result, "cash") == [1024.0, 1536.0, 2304.0]


def test_a_negative_cash_rate_takes(engine):
    assert column(run(engine, panel([16, 16], days=[0, 360]), [NAN, NAN], cash_rate=-0.25), "cash")[1] == 768.0


def test_debit_rate_applies_below_zero_and_cash_rate_above(engine):
    market, rates = panel([16, 16], days=[0, 360]), dict(cash_rate=0.125, debit_rate=0.25)
    # Weight 2 leaves 1024 - 2048 = -1024, which costs a quarter; weight 1/2 leaves 512, which earns an eighth.
    assert column(run(engine, market, [2, NAN], **MARGIN, **rates), "financing") == [0.0, -256.0]
    assert column(run(engine, market, [0.5, NAN], **MARGIN, **rates), "financing") == [0.0, 64.0]
    # Nothing on cash of zero, and the rate of the other side plays no part.
    assert column(run(engine, market, [1, NAN], **MARGIN, **rates), "financing") == [0.0, 0.0]


def test_short_proceeds_earn_the_cash_rate(engine):
    # Short 32 at 16: cash 1536, of which an eighth.
    market = panel([16, 16], days=[0, 360])
    assert column(run(engine, market, [-0.5, NAN], **MARGIN, cash_rate=0.125), "financing") == [0.0, 192.0]


def test_borrow_fee_is_actual_over_365_on_the_previous_mark(engine):
    # Short 32 at the mark of bar 0 (16), not at bar 1's 32: 512 * (1/4 * 365/365).
    market = panel([16, 32, 32], days=[0, 365, 730])
    result = run(engine, market, [-0.5, NAN, NAN], **MARGIN, borrow_rate=0.25)
    assert column(result, "financing") == [0.0, -128.0, -256.0]


def test_a_long_pays_no_borrow_fee(engine):
    market = panel([16, 16], days=[0, 365])
    assert column(run(engine, market, [0.5, NAN], **MARGIN, borrow_rate=0.25), "financing") == [0.0, 0.0]


def test_the_panels_borrow_rate_replaces_the_configs(engine):
    # Bar 1 charges 1/2 on the short of 16*16 = 256 in A0 and nothing (NaN) on A1; the config's 1/4 is never used.
    market = panel([[16, 16]] * 2, days=[0, 365], borrow_rate=[[1, 1], [0.5, NAN]])
    result = run(engine, market, [[-0.25, -0.25], [NAN, NAN]], **MARGIN, borrow_rate=0.25)
    assert column(result, "financing") == [0.0, -128.0]


def test_financing_is_charged_before_the_bar_trades(engine):
    # The short is closed at the close of bar 1, after its fee of 512/4; the interest is on cash before the purchase.
    market = panel([16, 16], days=[0, 365])
    result = run(engine, market, [-0.5, 0], **MARGIN, borrow_rate=0.25)
    assert column(result, "financing") == [0.0, -128.0] and column(result, "cash") == [1536.0, 896.0]


def test_interest_is_the_same_at_a_bar_that_trades(engine):
    # 256 bought at bar 0 leave 768, which earn an eighth, 96, before the purchase of bar 1.
    market = panel([16, 16], days=[0, 360])
    assert column(run(engine, market, [0.25, 0.75], cash_rate=0.125), "financing") == [0.0, 96.0]
    rates = dict(cash_rate=0.125, debit_rate=0.25)
    assert column(run(engine, market, [2, 1.5], **MARGIN, **rates), "financing") == [0.0, -256.0]


def test_interest_and_fee_are_rounded_to_the_tick_half_to_even(engine):
    # Tick 1. Interest 1024*(2.5/1024) = 2.5 -> 2 and 1024*(3.5/1024) = 3.5 -> 4.
    market = panel([16, 16], days=[0, 360])
    for rate, paid in ((2.5 / 1024, 2.0), (3.5 / 1024, 4.0)):
        assert column(run(engine, market, [NAN, NAN], cash_rate=rate, money_tick=1.0), "financing") == [0.0, paid]
    # Two fees of 256*(0.5/256) = 0.5 each: rounded one by one to 0, not together to 1.
    market = panel([[16, 16]] * 2, days=[0, 365])
    row = [[-0.25, -0.25], [NAN, NAN]]
    settings = MARGIN | dict(borrow_rate=0.5 / 256, money_tick=1.0)
    assert column(run(engine, market, row, **settings), "financing") == [0.0, 0.0]


@pytest.mark.parametrize(
    ("friday", "monday"), [("2024-03-08", "2024-03-11"), ("2024-11-01", "2024-11-04"), ("2024-07-05", "2024-07-08")]
)
def test_a_weekend_is_three_days_over_a_change_of_the_clock_too(engine, friday, monday):
    # 3 days of 360 at 120/128 a year are 1/128 of 1024.
    for zone in (None, "America/New_York", "Australia/Lord_Howe", "+05:30"):
        market = panel([16, 16], timestamps=[friday, monday], time_zone=zone)
        assert column(run(engine, market, [NAN, NAN], cash_rate=0.9375), "financing") == [0.0, 8.0]


def test_days_are_differences_of_wall_clock_times(engine):
    # Noon to noon in New York over the spring change is a day, though 23 hours.
    stamps = ["2021-03-13T17:00Z", "2021-03-14T16:00Z"]
    market = panel([16, 16], timestamps=stamps, time_zone="America/New_York")
    assert column(run(engine, market, [NAN, NAN], cash_rate=0.9375), "financing")[1] == expected(1.0)


def test_an_hour_that_comes_twice_is_charged_once(engine):
    # 0:30, 1:30, 1:15 and 1:45 of the second time, 2:15: the clock stands still until it has caught up.
    stamps = ["2021-11-07T04:30Z", "2021-11-07T05:30Z", "2021-11-07T06:15Z", "2021-11-07T06:45Z", "2021-11-07T07:15Z"]
    market = panel([16] * 5, timestamps=stamps, time_zone="America/New_York")
    found = column(run(engine, market, [NAN] * 5, cash_rate=0.0078125, money_tick=2.0**-36), "financing")
    assert found[2] == 0.0 and [x > 0 for x in found] == [False, True, False, True, True]
    assert abs(found[1] / found[3] - 4) < 1e-4 and abs(found[4] / found[3] - 2) < 1e-4


def expected(days):
    tick = 2.0**-26
    return np.rint(1024.0 * (0.9375 * (days / 360)) / tick) * tick
