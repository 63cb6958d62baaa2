# SPDX-License-Identifier: Apache-2.0
"""Words of the command line -> values, and messages of the library -> words of the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from gpu_bt import __version__
from gpu_bt.arguments import path_of
from gpu_bt.config import FIELDS, Config, check_names
from gpu_bt.data.settings import read_config, read_toml
from gpu_bt.errors import ConfigError, ResultError

__all__ = [
    "alone", "books", "config", "fields", "folder", "grid", "holdings", "mapping", "template", "typed", "values",
]  # fmt: skip


def typed(text: str, options: Collection[str]) -> str:
    """A message of the library with Python's arguments as what can be typed: align='next' -> --align next.

    options: the names of the command's options, as in Python.
    """
    fields = Config().to_dict()

    def option(match: re.Match[str]) -> str:
        name = match["name"]
        value = match["text"] or match["bare"] or ""
        value = shlex.quote(value) if value else ""
        if name in fields:
            return f"--set {name}={value}"
        name = f"{name}_column" if f"{name}_column" in options else name
        known = name in options and name not in ("prices", "weights", "scores")  # these options are files
        return f"--{name.replace('_', '-')} {value}".rstrip() if known else match[0]

    text = re.sub(r"Config\((\w+=[^()]*)\)", r"\1", text.replace("see help(Config)", "see gpu-bt info --config"))
    text = text.replace("prices='raw'", "--raw-prices").replace("fields={'close': 'its name'}", "--fields close=NAME")
    value = r"""(?:(?P<quote>['"])(?P<text>[^'"]*)(?P=quote)|(?P<bare>[\w.+-]*\w)|(?=[\s,;)]|$))"""
    return re.sub(rf"(?<!--set )(?<!--axis )(?<!--param )(?<![\w'\"])(?P<name>[a-z_]+)={value}", option, text)


def mapping(fields: list[str] | None) -> dict[str, str] | None:
    """field=column -> {field: column}; the column of a field alone has its name."""
    parts = [text.partition("=") for text in fields or []]
    return {field.strip(): column if equals else field.strip() for field, equals, column in parts} or None


def folder(text: str | None, *pictures: str) -> Path | None:
    """The folder of --out, if any: not made yet, but what cannot be made or written, with these pictures or a result's
    other files, is refused before the run, not after."""
    if text is None:
        return None
    from gpu_bt.data.disk import FILES

    out = path_of("--out", text)
    writable("--out", *(out / name for name in (*FILES, *pictures)))
    return out


def writable(option: str, *files: Path) -> None:
    """Refuse files of one folder, none of which is made yet, where they cannot be written."""
    from gpu_bt.data.disk import check_writable

    try:
        check_writable(files[0].parent, [file.name for file in files])
    except ResultError as error:
        raise ConfigError(f"{option} {error}") from None


def config(path: Path | None, settings: list[str]) -> Config:
    """The file's fields, then those of --set."""
    values: dict[str, Any] = {}
    if path is not None:
        values = read_config(path).to_dict()
    for name, text in _assigned("set", settings, "commission_rate=5e-4"):
        check_names({name: text})
        values[name] = _scalar(text)
    return Config.from_dict(values)


def grid(path: Path | None, axes: Sequence[str] = ()) -> Any:
    """The grid of a TOML file: axis = [values], alone or in a table [grid]; or an array of tables [[scenarios]]. Then
    the axes NAME=VALUE,VALUE of --axis, each in the place of the file's."""
    if path is None and not axes:
        raise ConfigError("a sweep has a grid: pass --axis band=0,0.01 or --grid FILE")
    values = {} if path is None else read_toml(path, "such as band = [0, 0.01]")
    table = "scenarios" if "scenarios" in values else "grid" if isinstance(values.get("grid"), dict) else None
    if table and len(values) > 1:
        others = ", ".join(name for name in values if name != table)
        raise ConfigError(
            f"{path} has {others} beside {table}, which alone would be read: put it there, or leave it out"
        )
    if table == "scenarios" and axes:
        raise ConfigError(f"--axis makes combinations, and {path} lists scenarios one by one: leave one of them out")
    if table == "scenarios":
        return values["scenarios"]
    listed = _assigned("axis", axes, "band=0,0.01")
    combined = values["grid"] if table else values
    return combined | {name: [_scalar(value.strip()) for value in text.split(",")] for name, text in listed}


def values(texts: list[str]) -> dict[str, Any]:
    """NAME=VALUE of --param -> {name: value}, typed as the values of a grid are."""
    return {name: _scalar(text) for name, text in _assigned("param", texts, "lookback=60")}


def holdings(texts: list[str]) -> Any:
    """ASSET=SHARES -> {asset: shares}, or the path of the one file that is named; None where nothing is."""
    if len(texts) == 1 and ("=" not in texts[0] or os.path.exists(texts[0])):
        return texts[0]
    return {name: _scalar(text) for name, text in _assigned("holdings", texts, "AAPL=100, or a FILE")} or None


#: A bound that nobody meets.
_MANY = 2.0**31 - 1


def alone(**given: Any) -> None:
    """Refuse options of which not exactly one is there."""
    if sum(value is not None and value != [] for value in given.values()) != 1:
        raise ConfigError(f"pass one of --{', --'.join(given)}, and not several: it says what is traded")


def fields() -> list[tuple[str, str, str, str]]:
    """A row for each field of Config: name, default, what it may be with its unit, meaning."""
    rows = []
    for name, field in FIELDS.items():
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default).lower()
        numbers = f"{field.low:g} to {field.high:g}" if field.high < _MANY else f"{field.low:g} or more"
        may = [*(field.choices or [field.unit, numbers]), *["none"] * field.optional]
        rows.append((name, default, ", ".join(may), field.meaning.replace("None =", "none =")))
    return rows


def template() -> str:
    """A file for --config with all fields at their defaults, and what each means."""
    values = {name: "none" if field.default is None else field.default for name, field in FIELDS.items()}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    width = max(map(len, lines))
    told = [f"{line:<{width}}  # {meaning} [{may}]" for line, (*_, may, meaning) in zip(lines, fields(), strict=True)]
    return (
        "\n".join([f"# gpu-bt {__version__}: every field of Config at its default; leave out what stays so.", *told])
        + "\n"
    )


def _assigned(option: str, texts: Sequence[str], example: str) -> list[tuple[str, str]]:
    """NAME=VALUE -> (name, value), of an option that may be repeated."""
    for text in texts:
        if not text.partition("=")[0].strip() or "=" not in text:
            raise ConfigError(f"--{option} {text}: it must be NAME=VALUE, such as --{option} {example}")
    return [(name.strip(), value.strip()) for name, _, value in (text.partition("=") for text in texts)]


def books(texts: list[str]) -> dict[str, str]:
    """[NAME=]FILE -> {name: file}; the name of a file alone is its own without the ending."""
    out: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or os.path.exists(text):
            name = Path(text).stem
            path = text
        if not name:
            raise ConfigError(f"--weights {text}: it must be FILE, or NAME=FILE with a name")
        if name in out:
            raise ConfigError(f"--weights {text}: the name {name!r} is there twice; give one with --weights NAME=FILE")
        out[name] = path
    return out


def _scalar(text: str) -> Any:
    """A number where the text is one, true or false as in TOML (which no field takes), else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    text = text[1:-1] if quoted else text
    return "none" if text.lower() == "none" else text
