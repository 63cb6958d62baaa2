# SPDX-License-Identifier: Apache-2.0
"""Builds the sdist and the wheel in a fresh clone, looks into them, and runs what they install in bare environments:
every Python found, with a compiler and without, and the lowest versions that pyproject.toml allows, with the tests.

    python tests/packages/check.py [--work FOLDER] [--pythons python3.11 ...] [--no-lowest]

It needs the network, and minutes. What it does not find it says; it ends with status 1 where something failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
#: Tests with the lowest versions: of what other libraries do, tables, files, pictures, workers. Warnings
#: of libraries are left out, clocks, since the oldest pandas knows no daylight saving after 2037, and commands,
#: as the oldest Click mixes what they print and these are tried by themselves.
LOWEST_TESTS = (
    *(f"tests/data/test_{name}.py" for name in ("disk", "frames", "labels", "panel", "streams", "table_times",
                                                "text_files", "vendors")),
    "tests/analysis/test_plots.py", "tests/analysis/test_result.py", "tests/analysis/test_result_files.py",
    "tests/runs/test_api.py", "tests/runs/test_strategy.py", "tests/sweeps",
)  # fmt: skip
PYTEST = ("-q", "-n0", "--drawn=0.05", "-k", "not emulated", "-W", "ignore::DeprecationWarning", "-x")
#: What a newcomer does, without optional dependencies: a run, its tables, a file. It prints the engine and the money.
PROGRAM = """
import importlib.util, sys, warnings
assert not any(map(importlib.util.find_spec, ("matplotlib", "pandas", "pyarrow")))
import gpu_bt as bt
from gpu_bt.synthetic import momentum_weights, synthetic_universe
warnings.simplefilter("ignore", bt.BacktestWarning)
panel = synthetic_universe(300, 40, seed=1)
result = bt.run(panel, momentum_weights(panel), bt.Config(), engine=sys.argv[1])
result.write("out")
print(result.engine, repr(result.metrics["final_equity"]), len(result.fills))
"""


def say(*words: object) -> None:
    print(*words, flush=True)


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints. RuntimeError where it fails."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=given | environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def environment(python: str, folder: Path, *packages: object, **variables: str) -> Path:
    """The Python of a new environment with these packages."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    made = folder / "bin" / "python"
    pip = [made, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, *packages, cwd=folder.parent, **variables)
    return made


def expected() -> set[str]:
    """The files of the packages in the repository."""
    names = run("git", "ls-files", "gpu_bt", "cpu_fallback", cwd=ROOT).split()
    return {name for name in names if not name.endswith(".md")}


def look_into(wheel: Path, sdist: Path) -> None:
    """Whatever the packages hold is in both; the wheel has libraries, and nothing else is in either."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    source = {name.split("/", 1)[1] for name in tarfile.open(sdist).getnames() if "/" in name}
    for what, names in (("wheel", inside), ("sdist", source)):
        assert not expected() - names, f"the {what} lacks {sorted(expected() - names)}"
        strange = [n for n in names if n.startswith("tests") or "__pycache__" in n or n.endswith((".pyc", ".npz"))]
        assert not strange, f"the {what} has {strange}"
    assert {"README.md", "LICENSE", "pyproject.toml", "setup.py"} <= source
    levels = 3 if platform.machine() == "x86_64" else 1
    assert {f"cpu_fallback/_native_{level}.so" for level in range(levels)} <= inside
    assert not any(n.endswith(".so") for n in source)
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def try_out(python: Path, folder: Path, engine: str) -> str:
    """What `gpu-bt` and a run say in an environment; the run's money and fills."""
    bare = folder / "elsewhere"
    bare.mkdir()
    tool = python.parent / "gpu-bt"
    info = run(tool, "info", cwd=bare, COLUMNS="200")
    assert re.search(rf"--engine auto takes {engine}\b", info), info
    run(tool, "verify", cwd=bare)
    run(tool, "demo", "--help", cwd=bare)
    run(python, "-m", "pip", "check", cwd=bare)
    found, money, fills = run(python, "-c", PROGRAM, "auto", cwd=bare).split()
    assert found == engine and int(fills) > 0 and (bare / "out" / "equity.parquet").exists()
    return f"{money} {fills}"


def lowest() -> list[str]:
    """What pyproject.toml asks for, each in its lowest version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["plot"], *extras["dask"], *extras["excel"], *extras["dev"]]
    tools = ("ruff", "mypy", "pyright", "pandas-stubs", "gpu-bt", "tzdata", "nbclient", "nbformat", "jedi")
    return [w.replace(">=", "==") for w in wanted if not w.startswith(tools)]


def steps(work: Path, pythons: list[str], with_lowest: bool) -> Iterator[str]:
    """Each thing that holds, in words."""
    clone, money = work / "clone", set()
    run("git", "clone", "--quiet", ROOT, clone, cwd=work)
    builder = environment(sys.executable, work / "builder", "build")
    run(builder, "-m", "build", "--outdir", work / "dist", cwd=clone)
    [wheel], [sdist] = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
    look_into(wheel, sdist)
    yield f"{wheel.name} and {sdist.name} hold every file of the packages"
    made = environment(pythons[0], work / "editable", "--editable", clone)
    [library] = (clone / "cpu_fallback").glob("_native_*")
    run(made, "-m", "gpu_bt.cli", "verify", cwd=work)
    yield f"{pythons[0]}, editable: {library.name} alone, for this processor"
    for python in pythons:
        if shutil.which(python) is None:
            say(f"left out: {python} is not on this machine")
            continue
        for what, source, engine, variables in (
            ("wheel", wheel, "native", {}),
            ("sdist", sdist, "native", {}),
            ("sdist, the compiler fails", sdist, "numpy", {"CXX": "/bin/false"}),
            ("sdist, no compiler", sdist, "numpy", {"CXX": "no-such-compiler"}),
        ):
            folder = Path(tempfile.mkdtemp(dir=work))
            made = environment(python, folder / "venv", source, **variables)
            money.add(try_out(made, folder, engine))
            if engine == "numpy":
                told = run(made.parent / "gpu-bt", "info", cwd=folder, COLUMNS="200")
                why = "the compiler '/bin/false' failed" if "fails" in what else "no C++ compiler 'no-such-compiler'"
                assert f"its library was not built: {why}" in told, told
            yield f"{python}, {what}: engine {engine}"
            shutil.rmtree(folder)
    assert len(money) <= 1, f"environments differ in money or fills: {money}"
    if with_lowest:
        oldest = environment(pythons[0], work / "lowest", *lowest())
        compiled = "from pathlib import Path; from cpu_fallback import native_build as n; n.build(Path('cpu_fallback'))"
        run(oldest, "-c", compiled, cwd=clone)
        run(oldest, "-m", "gpu_bt.cli", "verify", cwd=clone)
        run(oldest, "-m", "gpu_bt.cli", "run", "--help", cwd=clone)
        done = run(oldest, "-m", "pytest", *PYTEST, *LOWEST_TESTS, cwd=clone).strip().splitlines()[-1]
        yield f"{pythons[0]}, the lowest versions ({', '.join(lowest())}): {done}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where to build; default: a temporary folder, removed afterwards")
    parser.add_argument("--pythons", nargs="+", default=[p for p in PYTHONS if shutil.which(p)] or [sys.executable])
    parser.add_argument("--no-lowest", action="store_true", help="leave out the tests with the lowest versions")
    given = parser.parse_args()
    for python in PYTHONS:
        if given.pythons != [sys.executable] and python not in given.pythons:
            say(f"left out: {python}")
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        try:
            for held in steps(Path(folder), given.pythons, not given.no_lowest):
                say(held)
        except (RuntimeError, AssertionError) as error:
            say(f"failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
