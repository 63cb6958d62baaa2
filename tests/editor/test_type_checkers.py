# SPDX-License-Identifier: Apache-2.0
"""Strict mypy and pyright find in a user's program what is wrong there, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("program.py")
WRONG = [i for i, line in enumerate(PROGRAM.read_text("utf-8").splitlines(), 1) if line.endswith("# wrong")]

pytestmark = pytest.mark.exhaustive


def output(tool: str, *arguments: str) -> str:
    """What a checker says, with gpu_bt from this tree."""
    pytest.importorskip(tool)
    path = {"MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], env=os.environ | path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def pyright(*arguments: str) -> dict:
    return json.loads(output("pyright", "--pythonpath", sys.executable, "--outputjson", *arguments))


def test_mypy(tmp_path: Path):
    # The product has a check of its own, with its own settings.
    kept = ("--follow-imports=silent", f"--cache-dir={tmp_path}", "--no-error-summary", "--show-column-numbers")
    found = output("mypy", "--strict", *kept, str(PROGRAM))
    errors = [line for line in found.splitlines() if ": error:" in line]
    assert sorted({int(line.split(":")[1]) for line in errors}) == WRONG, found


def test_pyright(tmp_path: Path):
    shutil.copy(PROGRAM, tmp_path)  # a project of its own
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    found = pyright("--project", str(tmp_path))["generalDiagnostics"]
    errors = [entry for entry in found if entry["severity"] == "error"]
    assert sorted({entry["range"]["start"]["line"] + 1 for entry in errors}) == WRONG, found


def test_no_public_type_is_unknown():
    found = pyright("--verifytypes", "gpu_bt", "--ignoreexternal")["typeCompleteness"]
    names = [symbol["name"] for symbol in found["symbols"] if not symbol["isTypeKnown"] and symbol["isExported"]]
    assert found["exportedSymbolCounts"]["withUnknownType"] == 0, names
