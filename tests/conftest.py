# SPDX-License-Identifier: Apache-2.0
"""The fixture `engine`: a test that takes it runs once on every engine of this machine, by name. Options that turn a
test left out into a failure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from emulator.build import why_not as emulator_why_not
from emulator.toolchain import nvrtc

from gpu_bt.engine.registry import reasons

#: The CUDA engine on the emulated device, among the values of the fixture.
EMULATED = "cuda-emulated"
#: How reasons begin for which --require-tools may still leave a test out: what the machine is, not what is installed on
#: it. GCC is enough of a compiler.
_NO_TOOL = (
    r"root may|the system has no|needs a POSIX|pipes close|this processor has no|no clang|there is no engine 'cuda'"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, instead of leaving it out, where cuda cannot run"
    )
    parser.addoption(
        "--require-tools", action="store_true", help="fail, instead of leaving it out, where a compiler or data miss"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if item.config.getoption("--require-tools") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        other = "nvcc" in reason and nvrtc()  # a check beside NVRTC, which CuPy uses
        if not re.match(_NO_TOOL, reason) and not other:
            report.outcome, report.longrepr = "failed", f"--require-tools: {reason}"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" not in metafunc.fixturenames:
        return
    if any("engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return  # the test names its engines itself
    names = [name for name, reason in reasons().items() if reason is None]
    if metafunc.config.getoption("--require-gpu") and "cuda" not in names:
        names.append("cuda")
    if emulator_why_not() is None:
        names.append(EMULATED)
    metafunc.parametrize("engine", names, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an engine that runs here; a missing one is listed only where --require-gpu promises it."""
    if request.param == EMULATED:
        from emulator.fake_cupy import FakeCupy, installed

        with installed(FakeCupy("random")):
            yield "cuda"
        return
    reason = reasons()[request.param]
    if reason is not None:
        pytest.fail(f"engine {request.param!r} is required and cannot run: {reason}")
    yield request.param
