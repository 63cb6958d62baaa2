# SPDX-License-Identifier: Apache-2.0
"""A test of a fault must have checked the outcome that it names. Of the faults that one test tries, the first and a
third of the others run without --exhaustive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from extent import in_share
from faults import kit
from faults.sweep_faults import tiny

import gpu_bt as bt


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left: list[pytest.Item] = []
    seen: set[str] = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if item.get_closest_marker("fault") and test in seen and not in_share(item.nodeid, 3):
            left.append(item)
        seen.add(test)
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(map(id, left))
        items[:] = [item for item in items if id(item) not in gone]


@pytest.fixture(autouse=True)
def _outcome(request: pytest.FixtureRequest) -> Iterator[None]:
    kit.checked.clear()
    yield
    mark = request.node.get_closest_marker("fault")
    if mark is not None and mark.args[0] not in kit.checked:
        pytest.fail(f"the test of a fault that is {mark.args[0]} has checked {kit.checked or 'no outcome'}")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder of the sweep, of another sweep, and the result."""
    folder = tmp_path_factory.mktemp("finished")
    whole = tiny(folder / "one", equity=True)
    tiny(folder / "two", equity=True, config=bt.Config(band=0.01))
    return folder, whole


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished[0] / "one", tmp_path / "out")
    return tmp_path / "out"
