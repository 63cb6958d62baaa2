# SPDX-License-Identifier: Apache-2.0
"""The fixture `engine` itself, and naming engines through the public API."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kit import NAN, panel, run

import gpu_bt as bt
import gpu_bt.engine.registry
from gpu_bt.engine.registry import ENGINES, WORTH_A_KERNEL, WORTH_BLOCKS, WORTH_COMPILING, reasons, resolve

CASE = "tests/law/test_engines.py::test_an_engine_signs_its_result"
ROOT = Path(__file__).parents[2]


def test_an_engine_signs_its_result(engine):
    assert run(engine, panel([16]), [NAN]).engine == engine


def test_every_engine_that_can_run_is_tested(request):
    names = [name for name, reason in reasons().items() if reason is None]
    assert "numpy" in names
    listed = {item.callspec.params["engine"] for item in request.session.items if "test_engines.py::test_an_engine" in
              item.nodeid}  # fmt: skip
    assert listed >= set(names) or not listed  # empty where this test was picked alone


def test_a_required_gpu_that_is_missing_is_a_failure():
    missing = reasons()["cuda"] is not None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CASE]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).returncode == 0
    done = subprocess.run([*command, "--require-gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == int(missing), done.stdout
    if missing:
        assert "engine 'cuda' is required and cannot run" in done.stdout


def test_a_required_tool_that_is_missing_is_a_failure(tmp_path):
    failing = ["there is no C++ compiler (g++)", "engine 'native': its library was not built", "any other"]
    allowed = ["this processor has no avx512f", "no clang on this machine", "left to --exhaustive"]
    (tmp_path / "test_it.py").write_text(
        f"import pytest\n@pytest.fixture(params={failing + allowed!r})\n"
        "def lacking(request): pytest.skip(request.param)\ndef test_it(lacking): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest"]
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}}
    done = subprocess.run(command, capture_output=True, text=True, **where)
    assert done.returncode == 0 and "6 skipped" in done.stdout, done.stdout
    done = subprocess.run([*command, "--require-tools"], capture_output=True, text=True, **where)
    assert done.returncode == 1 and "3 skipped, 3 errors" in done.stdout, done.stdout
    assert [reason for reason in failing + allowed if f"--require-tools: {reason}" in done.stdout] == failing


@pytest.mark.parametrize("name", ENGINES)
def test_a_named_engine_runs_or_raises_with_its_reason(name):
    reason = reasons()[name]
    if reason is None:
        assert resolve(name).name == name
        return
    with pytest.raises(bt.EngineUnavailable) as error:
        bt.run(panel([16]), [[NAN]], bt.Config(execution="same_close"), engine=name)
    assert str(error.value) == f"engine {name!r} cannot run: {reason}; use engine='auto'"


def test_choices_take_an_engine_that_can_run():
    able = [name for name, reason in reasons().items() if reason is None]
    assert resolve("auto").name in able and resolve("cpu").name in set(able) - {"cuda"}


def test_auto_leaves_the_gpu_out_of_what_the_cpu_ends_sooner(monkeypatch):
    loaded = {name: SimpleNamespace(name=name, ready=lambda: True) for name in ENGINES}
    monkeypatch.setattr(gpu_bt.engine.registry, "_load", loaded.__getitem__)
    work, many = WORTH_A_KERNEL / WORTH_BLOCKS, WORTH_BLOCKS
    assert resolve("auto").name == resolve("auto", work - 1, many).name == "native"
    assert resolve("auto", work, many).name == "cuda" and resolve("cpu", work, many).name == "native"
    assert resolve("auto", 1e3 * work).name == resolve("auto", 1e3 * work, many - 1).name == "native"
    loaded["cuda"].ready = lambda: False
    work = WORTH_COMPILING / WORTH_BLOCKS
    assert resolve("auto", work - 1, many).name == "native" and resolve("auto", work, many).name == "cuda"
    assert resolve("cuda").name == "cuda"
    loaded["native"] = "no compiler"
    assert resolve("auto").name == "numpy"


def test_an_unknown_engine_is_refused():
    with pytest.raises(
        bt.ConfigError, match=r"engine is 'gpu': it must be one of 'auto', 'cpu', 'cuda', 'native', 'numpy'"
    ):
        bt.run(panel([16]), [[NAN]], bt.Config(execution="same_close"), engine="gpu")
