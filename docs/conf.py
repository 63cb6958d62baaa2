# SPDX-License-Identifier: Apache-2.0
"""The site of these pages: `make docs`. Sphinx reads the Markdown as it stands; what only a site needs is made here.

- index.md lists pages under headings: each heading becomes a part of the navigation.
- api.md lists public names under headings: each heading becomes a page made of their docstrings.
- Docstrings are plain text, `name: what it is.   other: what that is.`; here they become reStructuredText.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any, get_type_hints

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import gpu_bt  # noqa: E402

gpu_bt.Config.__annotations__.update(get_type_hints(gpu_bt.Config))  # types alone, without what else is declared

project, author, release = "gpu_bt", "gpu_bt", gpu_bt.__version__
copyright = "the authors of gpu_bt, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns: list[str] = []
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", ".*")
]  # annotations name what other packages document; own links are roles, see _linked

html_theme, html_title = "furo", f"gpu_bt {release}"
html_show_sphinx = html_copy_source = False
html_static_path, html_css_files = ["static"], ["pages.css"]
templates_path: list[str] = []
pygments_style, pygments_dark_style = "tango", "monokai"
copybutton_exclude, copybutton_prompt_text = ".linenos, .gp, .go", "$ "

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
smartquotes = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

_LISTED = re.compile(r"^- `([\w.]+)`", re.MULTILINE)
_NAMES = re.compile(r"(?:^|(?<=   )|(?<=\n))((?:\*{0,2}[a-z]\w*)(?:,\s[a-z]\w*)*): (?=\S)")
_ENDS = re.compile(r"\n(?=(?:A|Gives|Raises|Returns|Source|Tables|Warns|What)\b)")
#: Classes that nobody but the package makes: no constructor is shown, and of its arguments what is an attribute.
_MADE = {
    "Batch",
    "Deflated",
    "FactorStudy",
    "Orders",
    "Overfitting",
    "PanelStream",
    "Portfolio",
    "Result",
    "SweepResult",
}


def sections(page: str) -> dict[str, str]:
    """Heading of the second level -> the text under it."""
    found = re.split(r"^## (.+)\n", (HERE / page).read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _tree(caption: str, pages: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def _kind(name: str) -> str:
    """The autodoc directive of a public name."""
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last, None) or importlib.import_module(name)
    if inspect.ismodule(thing):
        return "automodule"
    if not isinstance(thing, type):
        return "autofunction"
    return "autoexception" if issubclass(thing, BaseException) else "autoclass"


def write_api(app: Any) -> None:
    """A page for each heading of api.md; a file is written only where it differs, so that Sphinx reads it once."""
    (HERE / "api").mkdir(exist_ok=True)
    for title, text in sections("api.md").items():
        lines = [title, "=" * len(title), ""]
        for name in _LISTED.findall(text):
            kind = _kind(name)
            lines += [f".. {kind}:: {name}", *["    :undoc-members:"] * (kind == "automodule"), ""]
        path, new = HERE / "api" / f"{_slug(title)}.rst", "\n".join(lines)
        if not path.exists() or path.read_text("utf-8") != new:
            path.write_text(new, "utf-8")


def read(app: Any, name: str, source: list[str]) -> None:
    """What a forge does not need: navigation in index.md, links in api.md, titles in place of the names of files."""
    source[0] = re.sub(r"\[\w[\w-]*\.md\]\((\w[\w-]*\.md)\)", r"[](\1)", source[0])
    if name == "index":
        for title, text in sections("index.md").items():
            pages = re.findall(r"^- \[(.+?)\]\((.+?)\.md\)", text, re.MULTILINE)
            source[0] += _tree(title, [f"{name} <{page}>" for name, page in pages])
    elif name == "api":
        source[0] = _LISTED.sub(r"- {py:obj}`\1`", source[0])
        source[0] = re.sub(r"^## (.+)$", lambda m: f"## [{m[1]}](api/{_slug(m[1])}.rst)", source[0], flags=re.MULTILINE)
        source[0] += _tree("Groups", [f"api/{_slug(title)}" for title in sections("api.md")])


def _page(match: re.Match[str]) -> str:
    return f":doc:`/{match[1]}`" if (HERE / f"{match[1]}.md").exists() else match[0]


def _code(text: str) -> str:
    """Code, a link where it is a name that `import gpu_bt as bt` gives."""
    name = text.removeprefix("bt.").removesuffix("()")
    return f":py:obj:`{text} <gpu_bt.{name}>`" if name.partition(".")[0] in gpu_bt.__all__ else f"``{text}``"


def _escaped(text: str) -> str:
    """Plain text in which `code` is code, pages are links, and nothing else means anything."""
    parts = re.split(r"`([^`\n]+)`", text.replace("\\", "\\\\"))
    parts[::2] = [re.sub(r"([*|_])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = [re.sub(r"\b(?:docs/)?([\w-]+)\.md\b", _page, part) for part in parts[::2]]
    parts[1::2] = [_code(part) for part in parts[1::2]]
    return "".join(parts)


def _paragraph(lines: list[str], hidden: set[str]) -> list[str]:
    """A paragraph of a docstring: text, `name: text` as definitions, indented formulas as they stand."""
    if all(line.startswith((" ", "- ")) for line in lines):
        return [_escaped(line) for line in lines] if lines[0].startswith("-") else ["::", "", *lines]
    out: list[str] = []
    for part in _ENDS.split("\n".join(lines)):
        found = _NAMES.split(part)
        formulas = re.search(r"(?:\n    .*)+", part) if len(found) == 1 else None
        if formulas:
            before, after = part[: formulas.start()], part[formulas.end() :].strip()
            out += [_escaped(before), "", "::", "", *formulas[0].strip("\n").splitlines(), "", _escaped(after), ""]
            continue
        if found[0].strip():
            out += [_escaped(found[0].strip()), ""]
        for names, text in zip(found[1::2], found[2::2], strict=True):
            if names in hidden:
                continue
            words = ", ".join(f"``{name}``" for name in re.split(r",\s", names))
            out += [words, "    " + _escaped(" ".join(text.split())), ""]
    return out


def _parameters(thing: Any) -> set[str]:
    try:
        return set(inspect.signature(thing).parameters)
    except ValueError:  # of a class that a built-in one makes, such as an error
        return set()


def plain(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings of this package, in place."""
    text, out, hidden = "\n".join(lines), list[str](), set[str]()
    if what in ("attribute", "data"):
        lines[:] = [_escaped(text), ""]
        return
    if dataclasses.is_dataclass(thing):  # whose fields say it themselves
        text = re.sub(r"^Attributes:\n(?:.+\n?)+", "", text, flags=re.MULTILINE)
    if callable(thing) and what in ("class", "function", "method"):
        names = _parameters(thing)
        text = re.sub(rf"\. (?=(?:{'|'.join(names) or '-'}): )", ".   ", text)  # "... told. accept_jumps: True where"
        if what == "class" and thing.__name__ in _MADE and not dataclasses.is_dataclass(thing):
            hidden = names - set(re.findall(r"self\.(\w+)", inspect.getsource(thing.__init__)))
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        out += [*"\n".join(_paragraph(paragraph.splitlines(), hidden)).splitlines(), ""]
    lines[:] = out


def signature(app: Any, what: str, name: str, *_: Any) -> tuple[str, str] | None:
    """No constructor where only the package makes a thing."""
    return ("", "") if what == "class" and name.rpartition(".")[2] in _MADE else None


def setup(app: Any) -> None:
    app.connect("builder-inited", write_api)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", signature)
