# SPDX-License-Identifier: Apache-2.0
"""What is said once of a field, written where editors look: `python tests/editor/docs.py`, after a field has changed.

Editors run nothing: in a signature they show the lines `name: ...` of the class's docstring, at a name and in a
completion the text that follows its declaration. For Config both are made of its table, for Panel the first of the
second.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from gpu_bt.config import FIELDS

ROOT = Path(__file__).parents[2] / "gpu_bt"
#: What begins and ends the lines that are written into a docstring.
HEAD, END = "    Attributes:\n", "\n\n"


def declared(path: str, cls: str) -> dict[str, tuple[int, ast.Expr | None]]:
    """Field -> the last line of its declaration, and the text that follows it."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls]
    found = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = following if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) else None
            found[node.target.id] = (node.end_lineno or 0, text)
    return found


def said(path: str, cls: str) -> dict[str, str]:
    """Field -> the text that follows its declaration."""
    texts = {name: text.value.value if text else "" for name, (_, text) in declared(path, cls).items()}
    return {name: " ".join(str(text).split()) for name, text in texts.items()}


def wrapped(text: str, first: str = "        ", hanging: str = "            ") -> str:
    return textwrap.fill(text, 119, initial_indent=first, subsequent_indent=hanging, break_on_hyphens=False)


def with_lines(text: str, cls: str, lines: list[str]) -> str:
    """The module's text with these lines in the docstring of the class."""
    start = text.index(HEAD, text.index(f"\nclass {cls}")) + len(HEAD)
    return text[:start] + "\n".join(wrapped(line) for line in lines) + text[text.index(END, start) :]


def of_config() -> str:
    """config.py as it should be."""
    lines = (ROOT / "config.py").read_text("utf-8").splitlines(keepends=True)
    for name, (last, text) in reversed(declared("config.py", "Config").items()):
        if text is not None:
            del lines[text.lineno - 1 : text.end_lineno]
        unit, rest = FIELDS[name].unit, str(FIELDS[name]).split(": ", 1)[1]
        about = f"{unit}: {rest}" if unit else rest
        lines.insert(last, wrapped(f'"""{about}"""', "    ", "    ") + "\n")
    return with_lines("".join(lines), "Config", [str(field) for field in FIELDS.values()])


def of_panel() -> str:
    """data/panel.py as it should be."""
    about = said("typing.py", "Fields") | said("data/panel.py", "Panel")
    lines = [f"{name}: {text}" for name, text in about.items() if text]
    return with_lines((ROOT / "data" / "panel.py").read_text("utf-8"), "Panel", lines)


WRITTEN = {ROOT / "config.py": of_config, ROOT / "data" / "panel.py": of_panel}

if __name__ == "__main__":
    for path, made in WRITTEN.items():
        path.write_text(made(), "utf-8")
