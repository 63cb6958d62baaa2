# SPDX-License-Identifier: Apache-2.0
"""A test of a fault must have checked the outcome that it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from faults import kit
from faults.sweep_faults import tiny

import gpu_bt as bt


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
