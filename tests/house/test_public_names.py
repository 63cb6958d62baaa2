# SPDX-License-Identifier: Apache-2.0
"""Public names: what is loaded on first use is what editors and type checkers are shown."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import cpu_fallback
import gpu_bt

ROOT = Path(__file__).parents[2]


def shown() -> dict[str, str]:
    """Name -> module of what gpu_bt imports for type checkers, each as `from module import name as name`."""
    tree = ast.parse((ROOT / "gpu_bt" / "__init__.py").read_text("utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name  # which is what makes it public
            found[alias.name] = node.module
    return found


def test_what_is_shown_is_what_is_loaded():
    assert shown() == gpu_bt._MODULES
    assert sorted([*shown(), "__version__"]) == sorted(gpu_bt.__all__) == dir(gpu_bt)
    assert cpu_fallback.__all__ == gpu_bt.__all__


@pytest.mark.parametrize("name", sorted(gpu_bt._MODULES))
def test_every_name_is_that_of_its_module(name: str):
    module = importlib.import_module(gpu_bt._MODULES[name])
    assert getattr(gpu_bt, name) is getattr(module, name) and name in module.__all__


def test_the_packages_say_that_they_are_typed():
    for package in ("gpu_bt", "cpu_fallback"):
        assert (ROOT / package / "py.typed").read_text() == ""


def test_the_constructor_of_a_config_shows_its_fields():
    shown = inspect.signature(gpu_bt.Config).parameters
    assert [(p.name, p.default) for p in shown.values()] == list(gpu_bt.Config().to_dict().items())
    assert shown["max_weight"].annotation == float | None and shown["delist_after"].annotation is int
    assert all(p.kind is p.KEYWORD_ONLY for p in shown.values())
