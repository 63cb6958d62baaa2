# SPDX-License-Identifier: Apache-2.0
"""What the commands of gpu-bt share: options, reading prices and weights, progress and tables in a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_bt.cli import words
from gpu_bt.errors import printable

if TYPE_CHECKING:
    from gpu_bt.data.panel import Panel
    from gpu_bt.data.weights import Weights

__all__ = [
    "ADVICE", "ARGUMENTS", "WRITTEN", "Adjust", "Align", "AssetColumn", "BadPrices", "ConfigFile", "Csv", "DateFormat",
    "Duplicates", "Engine", "Fields", "Layout", "Missing", "Out", "Plot", "Prices", "RawPrices", "Set", "Start",
    "TimeColumn", "TimeZone", "UnknownAssets", "WeightColumn", "draw", "pairs", "prices_of", "progress", "replacing",
    "say", "table", "weights_of", "write",
]  # fmt: skip

Out = Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the results, made where it is missing.")]
Engine = Annotated[str, typer.Option(help="auto, cpu, or the name of an engine (see info).")]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw a picture: report.png, or sweep.png of a sweep.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write equity.csv and fills.csv as well.")]

Prices = Annotated[
    list[str], typer.Option(help="Parquet, CSV, Arrow IPC or Excel, long or wide, or a folder; may be given again.")
]
ConfigFile = Annotated[Path | None, typer.Option(help="TOML file with the fields of Config.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A field of Config (info --config lists them); may be repeated."),
]
Missing = Annotated[str, typer.Option(metavar="close|hold", help="Assets that a book does not list.")]
Align = Annotated[str, typer.Option(metavar="exact|next|previous", help="Weights at a time that is no bar.")]
UnknownAssets = Annotated[str, typer.Option(metavar="error|ignore", help="Weights of assets without prices.")]
Adjust = Annotated[str | None, typer.Option(metavar="scale|adjusted|raw", help="Of an adjusted close beside another.")]
BadPrices = Annotated[str, typer.Option(metavar="error|nan", help="Prices that are 0 or negative.")]
Duplicates = Annotated[str, typer.Option(metavar="error|first|last", help="Rows that are there twice.")]
RawPrices = Annotated[
    bool, typer.Option("--raw-prices", help="Prices are unadjusted; dividend and split columns are applied.")
]
Layout = Annotated[str, typer.Option(metavar="auto|long|wide", help="Of the prices.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=COLUMN", help="A field of the prices to read, and no others; may be repeated."),
]
TimeZone = Annotated[str | None, typer.Option(help="Zone whose clock timestamps show, such as America/New_York.")]
DateFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="How texts write times, such as %d.%m.%Y.")]
Start = Annotated[
    str | None, typer.Option(help="First bar that metrics count, such as 2020-03. Default: the first decision's.")
]
TimeColumn = Annotated[str, typer.Option(help="Its name in all files.")]
AssetColumn = Annotated[str, typer.Option(help="Its name in all files.")]
WeightColumn = Annotated[str, typer.Option(help="Its name in the weights.")]

#: What was typed after the program's name, the files of this run that are on the disk, and what else there is to say
#: after Ctrl-C.
ARGUMENTS: list[str] = []
WRITTEN: list[Path] = []
ADVICE: list[str] = []


def say(kind: str, text: Any) -> None:
    """One line on stderr, of which a terminal only prints."""
    print(f"{kind}: {printable(' '.join(str(text).split()))}", file=sys.stderr)


def prices_of(paths: list[str], same: dict[str, Any], raw: bool, fields: list[str] | None, **options: Any) -> Panel:
    """The panel of the files. same: names of the columns and the time zone, as for the weights."""
    from gpu_bt.data.frames import read_panel

    return read_panel(
        _sources(paths), prices="raw" if raw else "adjusted", fields=words.mapping(fields), **same, **options
    )


def weights_of(paths: list[str], panel: Panel, same: dict[str, Any], **options: str) -> Weights:
    """The weights of the files on a panel. What names a table of prices of one asset is for weights of their kind."""
    from gpu_bt.data.frames import read_weights
    from gpu_bt.data.tables import find_column, open_named

    if same["asset"] in ("filename", *panel.assets):
        sources, _, wide = open_named(_sources(paths), "asset", main="weight")
        if wide or find_column(sources[0], "asset"):
            same = same | {"asset": "asset"}
    found: Weights = read_weights(_sources(paths), panel, **same, **options)
    return found


def _sources(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def write(what: str, job: Callable[[], list[Path]]) -> None:
    """Do a job that writes files, and print their names."""
    with progress() as show:
        show(what)
        paths = job()
    WRITTEN.extend(paths)
    for path in paths:
        print(f"wrote {printable(str(path))}")


@contextmanager
def replacing(folder: Path) -> Iterator[tuple[str, ...]]:
    """A block that writes a result into a folder; it gives the names of pictures that an older one may have there, and
    prints what is gone at its end."""
    before = set(os.listdir(folder)) if folder.exists() else set()
    yield ("report.png", "sweep.png")
    for name in sorted(before - set(os.listdir(folder))):
        if not name.startswith("."):
            print(f"removed {folder / name}, of an older result")


def draw(picture: Path, plot: Callable[[Path], Any]) -> None:
    """Draw a picture and print its name, or say why there is none."""
    if importlib.util.find_spec("matplotlib") is None:
        say("note", "no picture, matplotlib is not installed: pip install matplotlib")
        return

    def job() -> list[Path]:
        os.environ["MPLBACKEND"] = "agg"  # no window is wanted, whatever it says
        plot(picture)
        return [picture]

    write("drawing", job)


@contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """Gives show(what, done, total, note): one line on stderr that is gone at the end; nothing outside a terminal."""
    from gpu_bt.show.progress import bar

    terminal = sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    with bar(terminal) as show:
        yield show


def pairs(lines: Iterable[str]) -> list[tuple[str, ...]]:
    """Rows for `table` of lines that hold a name and, after two blanks, a text."""
    return [tuple(part.strip() for part in line.split("  ", 1)) for line in lines]


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> None:
    """Rows of texts: a Rich table in a terminal that is wide enough, aligned plain text, never wrapped, elsewhere."""
    rows, head = [[printable(cell) for cell in row] for row in rows], [printable(name) for name in head]
    if sys.stdout.isatty() and _drawn(rows, head):
        return
    lines = [head, *rows] if head else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _drawn(rows: Sequence[Sequence[str]], head: Sequence[str]) -> bool:
    """Draw a Rich table, its heads broken at "_" and without lines between columns where that is needed; False where
    a word would be cut even so.
    """
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    unbounded = console.options.update_width(1 << 16)
    for names, box in ((head, ROUNDED), ([name.replace("_", "\n") for name in head], None)):
        shown = Table(
            show_header=bool(head), box=box, border_style="dim", pad_edge=box is not None, collapse_padding=not box
        )
        for i, name in enumerate(names or rows[0]):
            shown.add_column(name if head else "", style="" if head or i else "bold", overflow="fold")
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        if console.measure(shown, options=unbounded).minimum <= console.width:
            console.print(shown)
            return True
    return False
