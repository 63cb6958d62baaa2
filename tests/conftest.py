# SPDX-License-Identifier: Apache-2.0
"""The fixture `engine`: a test that takes it runs once on every engine of this machine, by name."""

from __future__ import annotations

import pytest

from gpu_bt.engine import reasons


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, instead of leaving it out, where cuda cannot run"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" not in metafunc.fixturenames:
        return
    if any("engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return  # the test names its engines itself
    names = [name for name, reason in reasons().items() if reason is None]
    if metafunc.config.getoption("--require-gpu") and "cuda" not in names:
        names.append("cuda")
    metafunc.parametrize("engine", names, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine that runs here; a missing one is listed only where --require-gpu promises it."""
    reason = reasons()[request.param]
    if reason is not None:
        pytest.fail(f"engine {request.param!r} is required and cannot run: {reason}")
    return request.param
