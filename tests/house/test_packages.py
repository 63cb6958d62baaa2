# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml says of the packages is what lies in the repository; `make packages` builds and installs them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import gpu_bt

ROOT = Path(__file__).parents[2]
SAID = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = [folder for room in ("gpu_bt", "cpu_fallback") for folder in (ROOT / room, *(ROOT / room).rglob("*/"))]


def test_every_folder_with_code_is_a_package():
    found = {".".join(f.relative_to(ROOT).parts) for f in FOLDERS if f.is_dir() and any(f.glob("*.py"))}
    assert found == set(SAID["tool"]["setuptools"]["packages"])


def test_every_file_that_is_no_python_goes_along():
    data = SAID["tool"]["setuptools"]["package-data"]
    for folder in FOLDERS:
        patterns = data.get(".".join(folder.relative_to(ROOT).parts), [])
        for path in folder.glob("*.*") if folder.is_dir() and folder.name != "__pycache__" else ():
            made = path.name.startswith("_native_") or path.is_dir()
            assert path.suffix == ".py" or made or any(path.match(p) for p in patterns), f"{path} is left out"


def test_versions_are_said_once():
    project = SAID["project"]
    assert project["version"] == gpu_bt.__version__
    shown = [int(c.rsplit(".", 1)[1]) for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert f">=3.{min(shown)}" == project["requires-python"] and shown == list(range(min(shown), max(shown) + 1))
    checked = re.findall(r'"python3\.(\d+)"', (ROOT / "tests" / "packages" / "check.py").read_text("utf-8"))
    assert set(map(str, shown)) <= set(checked)


def test_every_dependency_has_a_lower_bound():
    extras = SAID["project"]["optional-dependencies"]
    for name in [*SAID["project"]["dependencies"], *(d for extra in extras.values() for d in extra)]:
        assert ">=" in name or name.startswith("gpu-bt["), name
