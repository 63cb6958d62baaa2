# SPDX-License-Identifier: Apache-2.0
"""The options that commands share, and how help shows options: in groups, one line each, with examples at its end.

A class of options stands as one argument of a command, `expanded` makes an option of each of its fields.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer
from typer.core import TyperCommand

from gpu_bt.cli import common, complete, words

if TYPE_CHECKING:
    from gpu_bt.data.panel import Panel
    from gpu_bt.data.weights import Weights

__all__ = [
    "HOW", "READING", "RESULTS", "WHAT", "Command", "Csv", "Engine", "Folder", "Json", "Plot", "Reading", "Setup",
    "expanded", "file", "option",
]  # fmt: skip

WHAT, HOW, RESULTS, READING = (
    "What to run",
    "Assumptions",
    "Results",
    "How files are read; of choices the first is meant",
)


def option(group: str | None, text: str, *names: str, pick: str | None = None, **more: Any) -> Any:
    """An option of a group. pick: its values, "this|that", which the shell completes, too."""
    if pick is not None:
        more |= {"metavar": pick, "autocompletion": complete.among(pick.split("|"))}
    return typer.Option(*names, help=text, rich_help_panel=group, show_default=False, **more)


def file(text: str, **more: Any) -> Any:
    """An option of a file of what to run."""
    return option(WHAT, text, **{"metavar": "FILE", **more})


Engine = Annotated[
    str, option(HOW, "auto, cpu, or an engine (see info)", metavar="NAME", autocompletion=complete.engines)
]
Folder = Annotated[str | None, option(RESULTS, "Write files there; without it nothing is written", metavar="FOLDER")]
Plot = Annotated[bool, option(RESULTS, "Draw a picture beside the files", "--plot/--no-plot")]
Csv = Annotated[bool, option(RESULTS, "Write the tables as CSV as well", "--csv")]
Json = Annotated[
    bool, option(RESULTS, "JSON to stdout, all else to stderr", "--json", is_eager=True, callback=common.machine)
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How prices, weights and scores are read."""

    prices: Annotated[list[str], file("Prices: long or wide; repeatable")]
    raw_prices: Annotated[bool, option(WHAT, "They are unadjusted, with dividends and splits", "--raw-prices")] = False
    missing: Annotated[str, option(READING, "Assets that a book does not list", pick="close|hold")] = "close"
    align: Annotated[str, option(READING, "Weights at a time that is no bar", pick="exact|next|previous")] = "exact"
    unknown_assets: Annotated[str, option(READING, "Weights of assets without prices", pick="error|ignore")] = "error"
    bad_prices: Annotated[str, option(READING, "Prices that are 0 or negative", pick="error|nan")] = "error"
    duplicates: Annotated[str, option(READING, "Rows that are there twice", pick="error|first|last")] = "error"
    adjust: Annotated[str | None, option(READING, "Of an adjusted close beside another", pick="scale|adjusted|raw")] = (
        None
    )
    layout: Annotated[str, option(READING, "Of the prices", pick="auto|long|wide")] = "auto"
    fields: Annotated[
        list[str] | None, option(READING, "Read this field, and no others; repeatable", metavar="FIELD=COLUMN")
    ] = None
    time_zone: Annotated[str | None, option(READING, "Whose clock timestamps show: Europe/Paris", metavar="ZONE")] = (
        None
    )
    date_format: Annotated[str | None, option(READING, "How texts write times: %d.%m.%Y", metavar="FORMAT")] = None
    next_timestamp: Annotated[str | None, option(READING, "The bar that follows the last one", metavar="TIME")] = None
    timestamp_column: Annotated[str, option(READING, "Its name in all files", metavar="NAME")] = "timestamp"
    asset_column: Annotated[str, option(READING, "Its name in all files", metavar="NAME")] = "asset"
    weight_column: Annotated[str, option(READING, "Its name in weights (or scores)", metavar="NAME")] = "weight"

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

    config: Annotated[Path | None, option(HOW, "TOML file with fields of Config", metavar="FILE")] = None
    set_: Annotated[
        list[str] | None,
        option(
            HOW, "One field (info --config lists them); repeatable", "--set",
            metavar="NAME=VALUE", autocompletion=complete.settings,
        ),
    ] = None  # fmt: skip
    engine: Engine = "auto"
    start: Annotated[str | None, option(HOW, "First bar that metrics count: 2020-03", metavar="TIME")] = None
    holdings: Annotated[
        list[str] | None, option(HOW, "Held at the start, or a FILE; repeatable", metavar="ASSET=SHARES")
    ] = None

    def read(self) -> dict[str, Any]:
        """What `run` and `sweep` take, by name; the config is of the file's fields, then those of --set."""
        held = words.holdings(self.holdings or [])
        how = {"engine": self.engine, "start": self.start, "holdings": held}
        return {"config": words.config(self.config, self.set_ or []), **how}


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


class Command(TyperCommand):
    """A command whose help shows options in their groups: with -h the few that most runs need, with --help all."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups of options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.params, key=lambda p: p.rich_help_panel == READING):  # type: ignore[attr-defined]
            names, text = param.get_help_record(ctx) or ("", "")
            group = getattr(param, "rich_help_panel", None) or "Options"
            groups.setdefault(group, []).append((names, re.sub(r"  \[\d+<=x.*\]$", "", text)))
        rest = groups.pop(READING, []) if "-h" in common.ARGUMENTS else []
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
        if rest:
            formatter.write_paragraph()
            formatter.write_text(f"{len(rest)} more, on how files are read: {ctx.command_path} --help")
