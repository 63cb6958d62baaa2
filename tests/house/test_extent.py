# SPDX-License-Identifier: Apache-2.0
"""How much of the tests runs: shares that do not change, and verdicts that never hide a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import extent
import pytest
import verdicts
from extent import chosen, examples, in_share, seeds

ROOT = Path(__file__).parents[2]
TEST = """import pathlib, pytest
@pytest.mark.proof("tests/waits.py")
@pytest.mark.parametrize("part", ["a", pytest.param("b", marks=pytest.mark.exhaustive)])
def test_it(part):
    with open("ran", "a") as file:
        file.write(part)
    assert not pathlib.Path("broken").exists()
"""


@pytest.fixture
def taken(monkeypatch):
    """Sets what is taken, for one test."""
    monkeypatch.setattr(extent, "_taken", {})
    return extent.take


def test_draws(taken):
    taken(0.3, False)
    assert seeds(range(7, 17)) == [7, 8, 9] and seeds((5, 4)) == [5] and seeds(range(1)) == [0] and examples(300) == 90
    taken(1.0, True)
    assert seeds(range(5)) == [0, 1, 2, 3, 4] and examples(300) == 300
    taken(2.5, True)
    assert len(set(seeds(range(4)))) == 10 and seeds(range(4))[:5] == [0, 1, 2, 3, 1_000_000]
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a number > 0 is wanted"):
            taken(wrong, False)


def test_what_is_chosen_is_the_same_in_every_run(taken):
    taken(0.3, False)
    for values in (range(9), [("a", i) for i in range(9)], [pytest.param(i, id=str(i)) for i in range(9)]):
        left = [bool(getattr(value, "marks", ())) for value in chosen(values, 3, "name")]
        assert left == [bool(getattr(value, "marks", ())) for value in chosen(values, 3, "name")]
        assert left.count(False) == 3
    names = [f"tests/test_it.py::test_{i}" for i in range(300)]
    assert 60 < sum(in_share(name, 3) for name in names) < 140
    assert in_share("tests/law/test_cash.py::test_a", 3) == in_share("tests/law/test_cash.py::test_a", 3)
    taken(1.0, True)
    assert all(in_share(name, 3) for name in names)


@pytest.mark.proof("tests/extent.py")
def test_only_what_passed_on_the_same_sources_is_left_out(tmp_path):
    path, ran, broken = tmp_path / "test_it.py", tmp_path / "ran", tmp_path / "broken"
    path.write_text(TEST)
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}",
                                "GPU_BT_TEST_CACHE": str(tmp_path / "kept")}  # fmt: skip

    def run(*options: str) -> tuple[int, str]:
        """Exit status and the parts that ran."""
        ran.write_text("")
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "conftest", *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        said.append(done.stdout)
        return done.returncode, ran.read_text()

    said: list[str] = []
    assert run() == (0, "a") and "left to --exhaustive; it has not passed on these sources yet" in said[-1]
    assert run() == (0, "") and "it has passed on the same sources" in said[-1]
    assert run("--drawn=0.5") == (0, "a")  # another share of the draws has not passed
    assert run("--exhaustive") == (0, "ab")  # asks for no verdict
    assert run("--drawn=0.7") == (0, "") and "left to --exhaustive; it has passed on the same sources" in said[-1]
    path.write_text(f"{TEST}\n# changed\n")
    broken.touch()
    assert run() == (1, "a") and run() == (1, "a")  # a failure is not kept
    broken.unlink()
    assert run() == (0, "a")


def test_what_a_proof_depends_on():
    """The law, kernels, engines, the shim, what draws and judges, and the test itself; not the command line."""
    here = Path(__file__)
    names = {path.relative_to(ROOT).as_posix() for path in verdicts.sources(here, verdicts.PRODUCT)}
    assert names >= {
        "cpu_fallback/native.cpp", "gpu_bt/law/bar.h", "gpu_bt/cuda/kernels.cu", "gpu_bt/cuda/engine.py",
        "gpu_bt/config.py", "tests/draw.py", "tests/oracle.py", "tests/compare.py", "tests/emulator/cuda_shim.cpp",
        "tests/emulator/samples/faults.cu", "tests/engines/cuda_cases.py", "tests/conftest.py",
        "tests/house/test_extent.py",
    }  # fmt: skip
    assert not any(name.startswith(("gpu_bt/cli", "tests/law")) for name in names)
    few = {path.relative_to(ROOT).as_posix() for path in verdicts.sources(here, ("tests/emulator",))}
    assert few < names and not any(name.startswith("gpu_bt") for name in few)
