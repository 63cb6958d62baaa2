# SPDX-License-Identifier: Apache-2.0
"""The rules of the house: who may import whom, who may print, how long things may be, what is documented.

The checkers take a folder, so that they are tried on small packages that break a rule before they judge this one.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import cpu_fallback
import gpu_bt

ROOT = Path(__file__).parents[2]
PACKAGES = ("gpu_bt", "cpu_fallback")
#: The rooms in order, who may import which library, who may print, how long things may be.
HOUSE = tomllib.loads(Path(__file__).with_name("house.toml").read_text("utf-8"))
ROOMS = {room["name"]: room.get("reach") for room in HOUSE["room"]}
ENGINES = HOUSE["engines"]["rooms"]
TAGS = [f"[{tag}]" for tag in "S1 S2 S3 S4 S4l S4m S5 S5d S5m S6 S7 S8 S9".split()]


def modules(root: Path) -> dict[str, ast.Module]:
    """Dotted name -> syntax tree of every module of the packages under a folder."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(name: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Every module imported anywhere in a module: at the top, lazily, for types, or by a literal import_module()."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = name.split(".")[: len(name.split(".")) - node.level]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package.rstrip(".") + ".")


def room_of(name: str) -> str | None:
    return next((room for room in ROOMS if inside(name, room)), None)


def broken_imports(root: Path) -> list[str]:
    """Every import that breaks a rule, as 'module imports module: rule'."""
    trees, out = modules(root), []
    for name, tree in trees.items():
        for target in sorted(set(imports(name, tree, set(trees)))):
            rule = broken_rule(name, target)
            if rule:
                out.append(f"{name} imports {target}: {rule}")
    return out


def broken_rule(name: str, target: str) -> str | None:
    for library, allowed in HOUSE["libraries"].items():
        if inside(target, library) and not any(inside(name, a) for a in allowed):
            return f"{library} belongs to {', '.join(allowed)}"
    if name in PACKAGES or not any(inside(target, package) for package in PACKAGES):
        return None
    if target == "gpu_bt":
        return "an engine knows only the waist" if inside(name, "cpu_fallback") else None
    here, there = room_of(name), room_of(target)
    if here is None:
        return "it stands in no room; give it one in house.toml"
    if here == there:
        return None
    if there in ENGINES:
        return "the engines never meet" if here in ENGINES else "engines are found by name, not imported"
    if ROOMS[here] is not None:
        return None if there in ROOMS[here] else "an engine knows only the waist"
    order = list(ROOMS)
    return None if there is not None and order.index(there) < order.index(here) else "imports point down"


def prints(root: Path) -> list[str]:
    """Modules other than the command line that print."""
    out = []
    for name, tree in modules(root).items():
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        allowed = any(inside(name, room) for room in HOUSE["prints"]["rooms"])
        if not allowed and calls & {"print", "sys.stdout.write", "sys.stderr.write"}:
            out.append(name)
    return out


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """(qualified name, function, public) of every function, nested ones too."""

    def visit(node: ast.AST, prefix: str, public: bool) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield prefix + child.name, child, public and not child.name.startswith("_")
                yield from visit(child, f"{prefix}{child.name}.", False)
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.", public and not child.name.startswith("_"))
            else:
                yield from visit(child, prefix, public)

    yield from visit(tree, "", True)


def undocumented(root: Path) -> list[str]:
    """Public functions and classes without a docstring, and public functions without every annotation."""
    out = []
    for module, tree in modules(root).items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                out.append(f"{module}.{node.name}: docstring")
        for name, node, public in functions(tree):
            if not public or any("overload" in ast.unparse(d) for d in node.decorator_list):
                continue
            if not ast.get_docstring(node):
                out.append(f"{module}.{name}: docstring")
            arguments = [
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ]
            bare = [a.arg for a in arguments if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
            if bare or node.returns is None:
                out.append(f"{module}.{name}: annotations")
    return out


def sources(root: Path) -> list[Path]:
    """Product code in every language."""
    endings = (".py", ".cu", ".cuh", ".h", ".hpp", ".cpp", ".c")
    return [p for package in PACKAGES for p in sorted((root / package).rglob("*")) if p.suffix in endings]


def code_lines(path: Path) -> int:
    """Lines that hold code: comments, docstrings and blanks are documentation, which no budget should discourage."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
        return sum(bool(re.sub(r"//.*", "", line).strip()) for line in text.splitlines())
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):  # a text alone documents a module, a class, a function, or the field before
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for t in tokens if t.type not in silent for n in range(t.start[0], t.end[0] + 1)}
    return len(lines - docs)


def too_long(root: Path) -> list[str]:
    """Files and functions that are longer than the budgets."""
    most, longest = HOUSE["budgets"]["file"], HOUSE["budgets"]["function"]
    out = [f"{p.name}: {n} lines" for p in sources(root) if (n := len(p.read_text("utf-8").splitlines())) >= most]
    for module, tree in modules(root).items():
        out += [f"{module}.{name}: {n} lines" for name, node, _ in functions(tree)
                if (n := node.end_lineno - node.lineno + 1) >= longest]  # fmt: skip
    return out


def missing_tags(text: str) -> list[str]:
    return [tag for tag in TAGS if tag not in text]


# --- the checkers can fail ---


def package(folder: Path, files: dict[str, str]) -> Path:
    """A tree with the two packages, each empty but for the files given (path without its ending -> text)."""
    for name, text in ({f"{p}/__init__": "" for p in PACKAGES} | files).items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("module", "text", "rule"),
    [
        ("cpu_fallback/lane", "from gpu_bt.data.panel import Panel", "an engine knows only the waist"),
        ("cpu_fallback/lane", "import gpu_bt", "an engine knows only the waist"),
        ("cpu_fallback/lane", "def f():\n    from gpu_bt.runs.run import run", "an engine knows only the waist"),
        ("cpu_fallback/lane", "import gpu_bt.errors", "an engine knows"),
        ("cpu_fallback/lane", "import gpu_bt.cuda.engine", "the engines never meet"),
        ("gpu_bt/cuda/engine", "import cpu_fallback.engine", "the engines never meet"),
        ("gpu_bt/cuda/engine", "from gpu_bt.data.panel import Panel", "an engine knows only the waist"),
        ("gpu_bt/cuda/engine", "from ..data.panel import Panel", "an engine knows only the waist"),
        ("gpu_bt/runs/run", "import cpu_fallback.engine", "engines are found by name"),
        ("gpu_bt/runs/run", "from gpu_bt.cuda import engine", "engines are found by name"),
        ("gpu_bt/runs/run", "import importlib\nimportlib.import_module('cpu_fallback.engine')",
         "engines are found by name"),
        ("gpu_bt/runs/run", "import polars as pl", "polars belongs to"),
        ("gpu_bt/data/panel", "from polars.exceptions import PolarsError", "polars belongs to"),
        ("gpu_bt/data/panel", "if TYPE_CHECKING:\n    import cupy", "cupy belongs to"),
        ("gpu_bt/analysis/metrics", "try:\n    import matplotlib.pyplot\nexcept ImportError:\n    pass",
         "matplotlib belongs to"),
        ("gpu_bt/config", "from gpu_bt.data.panel import Panel", "imports point down"),
        ("gpu_bt/data/panel", "from ..runs.run import run", "imports point down"),
        ("gpu_bt/data/panel", "from ..runs import run", "imports point down"),
        ("gpu_bt/novelty", "from gpu_bt.data.panel import Panel", "it stands in no room"),
    ],
)  # fmt: skip
def test_a_broken_import_is_found(tmp_path, module, text, rule):
    rooms = (
        "gpu_bt/runs/__init__",
        "gpu_bt/runs/run",
        "gpu_bt/data/panel",
        "gpu_bt/cuda/__init__",
        "gpu_bt/cuda/engine",
    )
    others = {m: "" for m in rooms if m != module}
    found = broken_imports(package(tmp_path, {**others, module: text}))
    assert len(found) == 1 and rule in found[0], found


def test_a_permitted_import_is_not_reported(tmp_path):
    root = package(
        tmp_path,
        {
            "cpu_fallback/lane": "import numpy\nfrom gpu_bt.law.layout import PARAMS\nimport gpu_bt.engine.spec",
            "cpu_fallback/fills": "from cpu_fallback.lane import x\nfrom .lane import y\nfrom . import lane",
            "cpu_fallback/__init__": "import gpu_bt",
            "gpu_bt/cuda/engine": "import cupy\nfrom gpu_bt.engine.spec import RunSpec\nfrom .launch import x",
            "gpu_bt/runs/run": "from gpu_bt.data.panel import Panel\nfrom gpu_bt.data import panel\nimport gpu_bt",
            "gpu_bt/data/panel": "import numpy",
            "gpu_bt/analysis/result": "import polars\ndef f():\n    import pandas",
        },
    )
    assert broken_imports(root) == []


def test_the_other_checkers_find_what_they_look_for(tmp_path):
    root = package(
        tmp_path,
        {
            "gpu_bt/runs/run": 'def run(a) -> None:\n    """Doc."""\n    print(a)\n\ndef _hidden(a): ...',
            "gpu_bt/data/panel": "class Panel:\n    def f(self, a: int) -> int:\n        return a",
            "gpu_bt/cli/commands": 'def main() -> None:\n    """Doc."""\n    print(1)',
            "gpu_bt/data/clock": "def f() -> None:\n    '''Doc.'''\n" + "    x = 1\n" * 58,
            "gpu_bt/engine/spec": "x = 1\n" * 400,
            "gpu_bt/data/weights": "def f() -> None:\n    '''Doc.'''\n" + "    x = 1\n" * 57 + "x = 1\n" * 340,
        },
    )
    assert prints(root) == ["gpu_bt.runs.run"]
    assert undocumented(root) == [
        "gpu_bt.data.panel.Panel: docstring", "gpu_bt.data.panel.Panel.f: docstring",
        "gpu_bt.runs.run.run: annotations",
    ]  # fmt: skip
    assert too_long(root) == ["spec.py: 400 lines", "gpu_bt.data.clock.f: 60 lines"]
    assert missing_tags("[S1] [S2] [S3] [S4] [S5] [S5d] [S6] [S7] [S8] [S9] S4m") == ["[S4l]", "[S4m]", "[S5m]"]


def test_lines_of_code_are_counted_without_their_documentation(tmp_path):
    python, c = tmp_path / "a.py", tmp_path / "a.h"
    python.write_text(
        '"""Doc\n\nof two."""\n# why\n\nx = 1  # one\ny = """two\nlines"""\ndef f():\n    """Doc."""\n    return 1\n'
    )
    c.write_text("/* Doc\n   of two */\n\n#include <a>\nint x; // one\n// why\nint /* a */ y;\n")
    assert (code_lines(python), code_lines(c)) == (5, 3)


# --- the house ---


def test_imports():
    assert broken_imports(ROOT) == []


def test_only_the_command_line_prints():
    assert prints(ROOT) == []


def test_public_functions_are_documented_and_typed():
    assert undocumented(ROOT) == []


def test_budgets():
    """Of lines, files and functions; the list is as tight as the code."""
    assert too_long(ROOT) == []
    budgets, counted = HOUSE["budgets"], {"core": 0, "around": 0, "guards": 0}
    for path in sources(ROOT):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        kinds = [
            k for k in ("guards", "around") if any(inside(name, module) for module in budgets[f"{k}_is"]["modules"])
        ]
        counted[[*kinds, "core"][0]] += code_lines(path)
    for kind, lines in counted.items():
        assert 0.97 * budgets[kind] < lines <= budgets[kind], counted


def test_every_room_is_explained():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert [room for room in ROOMS if f"`{room.removeprefix('gpu_bt.')}" not in text] == []


def test_every_file_opens_with_its_licence():
    files = [
        *sources(ROOT),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
        *ROOT.glob("examples/**/*.py"),
    ]
    bare = [str(p.relative_to(ROOT)) for p in files
            if "SPDX-License-Identifier: Apache-2.0" not in "".join(p.read_text("utf-8").splitlines()[:1])]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize(
    ("engine", "patterns"),
    [
        ("numpy", ["cpu_fallback/*.py"]),
        ("native", ["cpu_fallback/*.cpp", "gpu_bt/law/*.h"]),
        ("cuda", ["gpu_bt/cuda/*.cu", "gpu_bt/law/*.h"]),
    ],
)
def test_every_engine_holds_every_step_of_the_law(engine, patterns):
    if not list(ROOT.glob(patterns[0])):
        pytest.skip(f"there is no engine {engine!r} in this version")
    text = "".join(p.read_text("utf-8") for pattern in patterns for p in ROOT.glob(pattern))
    assert missing_tags(text) == []
    law = (ROOT / "docs" / "semantics.md").read_text("utf-8")
    assert missing_tags(law) == []


def test_both_packages_export_the_same_names_and_objects():
    assert sorted(cpu_fallback.__all__) == sorted(gpu_bt.__all__)
    own = [name for name in gpu_bt.__all__ if getattr(cpu_fallback, name) is not getattr(gpu_bt, name)]
    assert set(own) <= {"run", "sweep"} and "run" in own
    for name in ("xyzzy", "Lane"):
        for module in (gpu_bt, cpu_fallback):
            with pytest.raises(AttributeError, match=name):
                getattr(module, name)


@pytest.mark.parametrize("module", PACKAGES)
def test_importing_a_package_needs_no_heavy_library(module):
    heavy = ("polars", "cupy", "cudf", "matplotlib", "pandas", "pyarrow", "typer", "rich")
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_panel_and_a_config_need_no_tables():
    code = (
        "import sys, numpy as np, gpu_bt as bt\n"
        "bt.Panel(np.ones((1, 1)), timestamps=['2020-01-01'], assets=['A']); bt.Config()\n"
        "print(*sorted(set(sys.modules) & {'polars', 'cupy', 'matplotlib', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
