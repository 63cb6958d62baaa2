# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/*.md: each block of Python and of a shell runs as it stands, and prints what the page shows.

A page is typed from the top: one namespace, one folder. A block ```text after one that runs is its output: prints,
warnings and the error that ends it, each as `Class: message`; a line `...` stands for any lines, times in seconds for
any others. A warning or an error that the page does not show fails. In front of a block, `<!-- file: NAME -->` writes
it into the folder, `<!-- not run: REASON -->` leaves it alone. What stands as ```console is typed by
tests/cli/test_terminal_page.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waits import HANGS

import gpu_bt as bt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^(?:<!-- (file|not run): (.+?) -->\n)?```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass
class Block:
    """A fenced block: its language, what a comment in front of it says, its text, and the output shown after it."""

    language: str
    said: str | None
    word: str
    text: str
    line: int
    output: str | None = None


def blocks(page: str) -> list[Block]:
    found, end = list[Block](), -1
    for match in _BLOCK.finditer(page):
        said, word, language, text = match.groups()
        if language == "text" and found and not page[end : match.start()].strip() and said is None:
            found[-1].output = text
        else:
            found.append(Block(language, said, word or "", text, page.count("\n", 0, match.start(4)) + 1))
        end = match.end()
    return found


def pattern(shown: str) -> str:
    """What matches the output that a page shows."""
    lines = [re.sub(r"\d[\d.,]*( |\\ )s\b", r"[0-9.e-]+ s", re.escape(line.rstrip())) for line in shown.splitlines()]
    lines = [r"engine.*" if line.startswith("engine") else line for line in lines]
    return "".join(r"(?:.*\n)*?" if line == r"\.\.\." else line + r"[ ]*\n" for line in lines)


def run_python(block: Block, names: dict[str, Any], page: str) -> str:
    out = io.StringIO()

    def tell(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        print(f"{category.__name__}: {message}", file=out)

    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("error")
        warnings.simplefilter("always", bt.BacktestWarning)
        warnings.showwarning = tell
        try:
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
        except bt.BacktestError as error:
            print(f"{type(error).__name__}: {error}")
            if block.output is None:
                raise
    return out.getvalue()


def run_shell(block: Block) -> str:
    """What it prints; where it went (cd) holds for the blocks after it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "COLUMNS": "120"}
    command = ["bash", "-euo", "pipefail", "-c", f"{block.text}\npwd >&2"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, f"line {block.line}: {done.stderr}"
    os.chdir(done.stderr.splitlines()[-1])
    return done.stdout


def run_page(page: str, name: str = "page") -> int:
    """Type the page in the current folder; how many blocks ran."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks(page):
        if block.said == "file":
            Path(block.word).write_text(block.text, "utf-8")
        if block.language not in ("python", "sh") or block.said is not None:
            assert block.output is None or block.said == "not run", f"line {block.line}: an output of what does not run"
            continue
        found = run_python(block, names, name) if block.language == "python" else run_shell(block)
        warned = re.search(r"^BacktestWarning: .*", found, re.MULTILINE)
        assert block.output is not None or warned is None, f"line {block.line}: {warned and warned[0]}"
        if block.output is not None:
            ended = "".join(line.rstrip() + "\n" for line in found.splitlines())
            assert re.fullmatch(pattern(block.output), ended), f"line {block.line} prints\n{found}"
        count += 1
    return count


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty one, in which Python is started: what lies in it can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page: Path):
    text = page.read_text("utf-8")
    assert {block.language for block in blocks(text)} <= {"python", "sh", "text", "toml", "console"}
    assert run_page(text, str(page)) == sum(
        block.language in ("python", "sh") and block.said is None for block in blocks(text)
    )


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "line 2 prints"),
        ("```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n```\n", "line 2 prints"),
        ("```sh\nfalse\n```\n", "line 2"),
        ("```sh\necho 1\n```\n```text\n2\n```\n", "line 2 prints"),
        ("```python\nimport gpu_bt as bt\nbt.Config(lot=-1)\n```\n", "lot"),
        ("```python\nimport gpu_bt.errors as e\ne.warn('odd', stacklevel=1)\n```\n", "line 2: BacktestWarning: odd"),
        ("```toml\na = 1\n```\n```text\n1\n```\n", "what does not run"),
    ],
)
def test_a_page_that_says_something_else_fails(page: str, says: str):
    with pytest.raises((AssertionError, bt.BacktestError), match=re.escape(says)):
        run_page(page)


def test_a_page_shows_output_errors_and_files():
    page = "<!-- file: a.txt -->\n```text\nx\n```\n```sh\ncat a.txt\n```\n```text\nx\n```\n"
    page += "```python\nimport gpu_bt as bt\nprint('took 0.25 s')\nprint(2)\nprint(3)\nbt.Config(lots=1)\n```\n"
    page += "```text\ntook 3 s\n...\nConfigError: 'lots' is not a field of Config: did you mean 'lot'?\n```\n"
    page += "<!-- not run: it would take an hour -->\n```sh\nfalse\n```\n"
    assert run_page(page) == 2


def test_the_page_of_the_reference_lists_what_is_public():
    listed = re.findall(r"^- `gpu_bt\.([\w.]+)`", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)
    names = set(bt.__all__) - {"__version__", "books"}
    for module in ("books", "metrics", "statistics", "synthetic"):
        names |= {f"{module}.{name}" for name in __import__(f"gpu_bt.{module}", fromlist=["x"]).__all__}
    assert names - set(listed) == set() and len(set(listed)) == len(listed)


def test_docstrings_become_definitions():
    """What docs/conf.py makes of plain text: names that are defined, code, and nothing that means anything else."""
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    lines = [
        "Money * bars_ of docs/semantics.md.",
        "",
        "cash, debt: as `Config` has it.   rate: of",
        "a year. odd: `x`.",
    ]
    conf["plain"](None, "function", "f", lambda cash, debt, rate, odd: None, None, lines)
    text = "\n".join(lines)
    assert text.startswith(
        "Money \\* bars\\_ of :doc:`/semantics`.\n\n``cash``, ``debt``\n    as :py:obj:`Config <gpu_bt.Config>`"
    )
    assert "\n``rate``\n    of a year.\n\n``odd``\n    ``x``.\n" in text
    lines = inspect.cleandoc(bt.Config.__doc__ or "").splitlines()
    conf["plain"](None, "class", "Config", bt.Config, None, lines)
    assert "Attributes" not in "\n".join(lines) and "lot" not in "\n".join(lines)  # each field says it itself


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as forges and the site make them."""
    text = _BLOCK.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text("utf-8"))):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        leads = (page.parent / path).resolve() if path else page
        assert leads.exists() and leads.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(leads), target


def test_the_first_page_leads_to_all():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = re.findall(r"^- \[.+?\]\((\w[\w-]*)\.md\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in PAGES[1:] if page.stem != "index")
