# SPDX-License-Identifier: Apache-2.0
"""The page of faults is that of the tests, and the tests cannot pass without checking what it says."""

from __future__ import annotations

import numpy as np
import pytest
from faults import kit
from faults.page import PAGE, page

import gpu_bt as bt


def test_the_page_is_that_of_the_tests():
    assert PAGE.read_text("utf-8") == page(), "run: python tests/faults/page.py"


def test_a_message_must_be_one_line_for_a_person():
    kit.one_line("close[2024-01-02, 'A'] is -1.0: a price must be > 0")
    for text in (
        "",
        "two\nlines",
        "bell \a",
        "called `Result::unwrap()` on a value",
        "Traceback (most recent call last)",
    ):
        with pytest.raises(AssertionError):
            kit.one_line(text)


def test_each_check_can_fail():
    with pytest.raises(pytest.fail.Exception), kit.refused("anything"):
        pass
    with pytest.raises(pytest.fail.Exception), kit.told("anything"):
        pass
    with pytest.raises(AssertionError), kit.refused("one line"):
        raise bt.ResultError("one line of a Traceback")
    with pytest.raises(AssertionError):
        kit.survived(np.array([0.0]), np.array([-0.0]))
    assert not kit.checked
