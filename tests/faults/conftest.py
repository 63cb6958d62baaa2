# SPDX-License-Identifier: Apache-2.0
"""A test of a fault must have checked the outcome that it names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults import kit


@pytest.fixture(autouse=True)
def _outcome(request: pytest.FixtureRequest) -> Iterator[None]:
    kit.checked.clear()
    yield
    mark = request.node.get_closest_marker("fault")
    if mark is not None and mark.args[0] not in kit.checked:
        pytest.fail(f"the test of a fault that is {mark.args[0]} has checked {kit.checked or 'no outcome'}")
