# SPDX-License-Identifier: Apache-2.0
"""The fixture `engine`: a test that takes it runs once on every engine of this machine, by name. Options that say how
much runs (see extent.py and verdicts.py) and that turn a test left out into a failure.

Marks: `exhaustive`, a test that only --exhaustive runs; `proof(*parts)`, one that does not run again where it has
passed on the same sources: its own file and these folders and files, those of verdicts.PRODUCT where it names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import extent
import pytest
import verdicts
from emulator.build import why_not as emulator_why_not
from emulator.toolchain import nvrtc
from hypothesis import HealthCheck, settings

from gpu_bt.engine.registry import reasons

#: The CUDA engine on the emulated device, among the values of the fixture.
EMULATED = "cuda-emulated"
#: Of the tests that take the fixture, one in so many runs on the emulated device without --exhaustive.
EMULATED_PARTS = 3
#: How reasons begin for which --require-tools may still leave a test out: what the machine is, not what is installed on
#: it, and what was asked for. GCC is enough of a compiler.
_NO_TOOL = (
    r"root may|the system has no|needs a POSIX|pipes close|this processor has no|no clang|there is no engine 'cuda'|"
    r"left to --exhaustive|it has passed"
)
_PASSED = "it has passed on the same sources"
_passed = pytest.StashKey[bool]()

# A property is tried on its examples however long one takes: on a busy machine that says nothing.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="all tests, whatever has passed before; --drawn=1")
    parser.addoption("--drawn", type=float, help="the share of drawn scenarios: 0.3, or 1 with --exhaustive")
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, instead of leaving it out, where cuda cannot run"
    )
    parser.addoption(
        "--require-tools", action="store_true", help="fail, instead of leaving it out, where a compiler or data miss"
    )


def pytest_configure(config: pytest.Config) -> None:
    everything, drawn = config.getoption("--exhaustive"), config.getoption("--drawn")
    extent.take((1.0 if everything else 0.3) if drawn is None else drawn, everything)
    if not hasattr(config, "workerinput"):
        verdicts.forget_old()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that workers end together: proofs, then what else belongs to engines."""
    items.sort(key=lambda item: (item.get_closest_marker("proof") is None, "/engines/" not in str(item.path)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.getoption("--exhaustive"):
        return
    proof, more = item.get_closest_marker("proof"), item.get_closest_marker("exhaustive")
    drawn = extent.drawn() if more is None else 1.0  # what is left out is left to a run with all draws
    passed = proof is not None and verdicts.kept(item.path, item.name, proof.args or verdicts.PRODUCT, drawn)
    if more is not None:
        state = f"; {_PASSED}" if passed else "; it has not passed on these sources yet" if proof else ""
        pytest.skip(f"left to --exhaustive{state}")
    if passed:
        pytest.skip(_PASSED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if item.config.getoption("--require-tools") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        other = "nvcc" in reason and nvrtc()  # a check beside NVRTC, which CuPy uses
        if not re.match(_NO_TOOL, reason) and not other:
            report.outcome, report.longrepr = "failed", f"--require-tools: {reason}"
    proof = item.get_closest_marker("proof")
    if proof is not None:
        item.stash[_passed] = report.passed and item.stash.get(_passed, True) and not hasattr(report, "wasxfail")
        if report.when == "teardown" and item.stash[_passed]:
            verdicts.keep(item.path, item.name, proof.args or verdicts.PRODUCT, extent.drawn())
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" not in metafunc.fixturenames:
        return
    if any("engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return  # the test names its engines itself
    names = [name for name, reason in reasons().items() if reason is None]
    if metafunc.config.getoption("--require-gpu") and "cuda" not in names:
        names.append("cuda")
    if emulator_why_not() is None and extent.in_share(metafunc.definition.nodeid, EMULATED_PARTS):
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
