# SPDX-License-Identifier: Apache-2.0
"""The options that commands share, and how help shows options: in groups, one line each, with examples at its end.

A class of options stands as one argument of a command, `expanded` makes an option of each of its fields.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer
from typer.core import TyperCommand

from gpu_bt.cli import common, complete, words
from gpu_bt.errors import ConfigError

if TYPE_CHECKING:
    from gpu_bt.data.panel import Panel
    from gpu_bt.data.weights import Weights

__all__ = [
    "Command", "Csv", "Engine", "Folder", "Json", "Plot", "Reading", "Setup", "Texts", "expanded", "how", "kept",
    "option", "read", "what",
]  # fmt: skip

READING = "How files are read; of several choices the first is the default"


def option(group: str | None, text: str, *names: str, pick: str | None = None, **more: Any) -> Any:
    """An option of a group. pick: its values, "this|that", which the shell completes, too."""
    if pick is not None:
        more |= {"metavar": pick, "autocompletion": complete.among(pick.split("|"))}
    return typer.Option(*names, help=text, rich_help_panel=group, show_default=False, **more)


#: Options of each group.
what, how, kept, read = (partial(option, group) for group in ("What to run", "Assumptions", "Results", READING))
Texts = list[str] | None
_VALUE = "NAME=VALUE"

Engine = Annotated[str, how("auto, cpu, or an engine (see info)", metavar="NAME", autocompletion=complete.engines)]
Folder = Annotated[str | None, kept("Write files there; without it nothing is written", metavar="FOLDER")]
Plot = Annotated[bool, kept("Draw a picture beside the files", "--plot/--no-plot")]
Csv = Annotated[bool, kept("Write the tables as CSV as well", "--csv")]
Json = Annotated[bool, kept("JSON to stdout, all else to stderr", "--json", is_eager=True, callback=common.machine)]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How prices, weights and scores are read."""

    prices: Annotated[list[str], what("Prices, required: long or wide; repeatable", metavar="FILE")]
    raw_prices: Annotated[bool, what("Unadjusted, with dividends and splits", "--raw-prices")] = False
    missing: Annotated[str, read("Assets that a book does not list", pick="close|hold")] = "close"
    align: Annotated[str, read("Weights at a time that is no bar", pick="exact|next|previous")] = "exact"
    unknown_assets: Annotated[str, read("Weights of assets without prices", pick="error|ignore")] = "error"
    bad_prices: Annotated[str, read("Prices that are 0 or negative", pick="error|nan")] = "error"
    duplicates: Annotated[str, read("Rows that are there twice", pick="error|first|last")] = "error"
    adjust: Annotated[str | None, read("Of an adjusted close beside another", pick="scale|adjusted|raw")] = None
    layout: Annotated[str, read("Of the prices", pick="auto|long|wide")] = "auto"
    fields: Annotated[Texts, read("Read this field, and no others; repeatable", metavar="FIELD=COLUMN")] = None
    time_zone: Annotated[str | None, read("Whose clock timestamps show: Europe/Paris", metavar="ZONE")] = None
    date_format: Annotated[str | None, read("How texts write times: %d.%m.%Y", metavar="FORMAT")] = None
    next_timestamp: Annotated[str | None, read("The bar after the last one, where it is known", metavar="TIME")] = None
    timestamp_column: Annotated[str, read("Its name in all files", metavar="NAME")] = "timestamp"
    asset_column: Annotated[str, read("Its name in all files", metavar="NAME")] = "asset"
    weight_column: Annotated[str, read("Its name in weights (or scores)", metavar="NAME")] = "weight"

    @property
    def _same(self) -> dict[str, Any]:
        """What is read alike in all files."""
        named = {"timestamp": self.timestamp_column, "asset": self.asset_column}
        return named | {"time_zone": self.time_zone, "date_format": self.date_format}

    def panel(self) -> Panel:
        """The panel of the files."""
        from gpu_bt.data.frames import read_panel

        how: dict[str, Any] = {"bad_prices": self.bad_prices, "duplicates": self.duplicates, "layout": self.layout}
        return read_panel(
            _sources(self.prices), prices="raw" if self.raw_prices else "adjusted", fields=words.mapping(self.fields),
            adjust=cast(Any, self.adjust), next_timestamp=self.next_timestamp, **how, **self._same,
        )  # fmt: skip

    def books(self, paths: list[str], panel: Panel, scores: bool = False) -> Weights:
        """The weights, or scores, of the files on a panel. What names a table of prices of one asset is for weights of
        their kind."""
        from gpu_bt.data.frames import read_weights
        from gpu_bt.data.tables import find_column, open_named

        same = self._same
        if same["asset"] in ("filename", *panel.assets):
            sources, _, wide = open_named(_sources(paths), "asset", main="weight")
            if wide or find_column(sources[0], "asset"):
                same["asset"] = "asset"
        how: dict[str, Any] = {"weight": self.weight_column, "missing": self.missing}
        if scores:
            how = {"weight": {"weight": "score"}.get(self.weight_column, self.weight_column), "missing": "hold"}
        how |= {"align": self.align, "unknown_assets": self.unknown_assets}
        return read_weights(_sources(paths), panel, **same, **how)


def _sources(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run, or each scenario of a sweep, assumes."""

    config: Annotated[Path | None, how("TOML file with fields of Config", metavar="FILE")] = None
    set_: Annotated[
        Texts,
        how("A field of it, see info --config; repeatable", "--set", metavar=_VALUE, autocompletion=complete.settings),
    ] = None
    engine: Engine = "auto"
    start: Annotated[str | None, how("First bar that metrics count: 2020-03", metavar="TIME")] = None
    holdings: Annotated[Texts, how("Held at the start, or a FILE; repeatable", metavar="ASSET=SHARES")] = None

    def read(self) -> dict[str, Any]:
        """What `run` and `sweep` take, by name; the config is of the file's fields, then those of --set."""
        config, held = words.config(self.config, self.set_ or []), words.holdings(self.holdings or [])
        return {"config": config, "engine": self.engine, "start": self.start, "holdings": held}


def expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command for Typer: each argument whose type is a class of options is replaced by these options."""
    flat: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, given in inspect.signature(command, eval_str=True).parameters.items():
        if not is_dataclass(given.annotation):
            flat.append(given.replace(kind=given.KEYWORD_ONLY))
            continue
        groups[name], hints = given.annotation, get_type_hints(given.annotation, include_extras=True)
        for field in fields(groups[name]):
            default = given.empty if field.default is MISSING else field.default
            flat.append(
                given.replace(name=field.name, kind=given.KEYWORD_ONLY, annotation=hints[field.name], default=default)
            )

    @wraps(command)
    def typed(**values: Any) -> Any:
        whole = {name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        return command(**whole, **values)

    del typed.__wrapped__
    typed.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    typed.__annotations__ = {given.name: given.annotation for given in flat}
    return typed


#: Option -> what it is for: without one of these it would do nothing.
_FOR = {
    "csv": ("out",), "equity": ("out",), "accept_jumps": ("resume",), "param": ("strategy", "scores"),
    "check_lookahead": ("strategy",), "checkpoint": ("weights", "scores"), "missing": ("weights",),
    **dict.fromkeys(("align", "unknown_assets", "weight_column"), ("weights", "scores")),
}  # fmt: skip


class Command(TyperCommand):
    """A command whose help shows options in their groups: with -h the few that most runs need, with --help all. What
    would do nothing is refused."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        for name in _FOR.keys() & ctx.params.keys():
            typed = getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
            if typed and ctx.params[name] and not any(ctx.params[other] for other in _FOR[name]):
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is for --{' or --'.join(_FOR[name])}: leave {option} out, or pass that")
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups of options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.params, key=lambda p: p.rich_help_panel == READING):  # type: ignore[attr-defined]
            names, text = param.get_help_record(ctx) or ("", "")
            group = getattr(param, "rich_help_panel", None) or "Options"
            groups.setdefault(group, []).append((names, re.sub(r" +\[(required|\d+<=x.*)\]$", "", text)))
        rest = groups.pop(READING, []) if "-h" in common.ARGUMENTS else []
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
        if rest:
            formatter.write_paragraph()
            formatter.write_text(f"{len(rest)} more, on how files are read: {ctx.command_path} --help")
