# SPDX-License-Identifier: Apache-2.0
"""The command line, gpu-bt: the only place that prints.

Results go to stdout, everything else (progress, notes, warnings, errors) to stderr. Exit status: 0, 1 where `verify`
finds a difference, 2 with one line for whatever was asked wrongly, 130 after Ctrl-C. What is slow to import is imported
by the commands that need it.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_bt import __version__, words
from gpu_bt.errors import BacktestError, BacktestWarning

if TYPE_CHECKING:
    from gpu_bt.config import Config
    from gpu_bt.panel import Panel
    from gpu_bt.result import Result

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Cross-sectional portfolio simulator: target weights over a panel of prices, the same bits on every engine.",
)  # fmt: skip

Out = Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the results, made where it is missing.")]
Engine = Annotated[str, typer.Option(help="auto, cpu, or the name of an engine (see info).")]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw report.png.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write equity.csv and fills.csv as well.")]

#: The files of this run that are on the disk, for the message after Ctrl-C.
_WRITTEN: list[Path] = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status. arguments: those after the program's name; None = the process's own."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # None where the shell closed it, as with >&-
    sys.stderr = sys.stderr or open(os.devnull, "w")
    _WRITTEN.clear()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an asset's name must not end the program
    with warnings.catch_warnings():
        warnings.simplefilter("always", BacktestWarning)
        warnings.showwarning = lambda message, *_, **__: _say("warning", message)
        try:
            status = app(None if arguments is None else list(arguments), prog_name="gpu-bt", standalone_mode=False)
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough: let the interpreter's last flush go nowhere.
            sys.stdout = open(os.devnull, "w")
            return 1
        except KeyboardInterrupt:
            status = 130
        except Exception as error:
            return _refused(error)
    if status == 130:
        print(f"interrupted: wrote {', '.join(map(str, _WRITTEN)) or 'nothing'}", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _refused(error: Exception) -> int:
    """One line for an error that a person can act on; others are bugs and keep their traceback."""
    if hasattr(error, "format_message"):  # Typer's usage errors: its base class is not public
        if text := error.format_message():
            context = getattr(error, "ctx", None)
            _say("error", f"{text} (see {context.command_path if context else 'gpu-bt'} --help)")
        return 2
    if isinstance(error, MemoryError):
        _say("error", f"not enough memory: {error}")
    elif isinstance(error, OSError):
        _say("error", f"{error.filename}: {error.strerror}" if error.filename else error)
    elif isinstance(error, BacktestError):
        _say("error", words.typed(str(error), inspect.signature(run).parameters))
    else:
        raise error
    return 2


def _say(kind: str, text: Any) -> None:
    print(f"{kind}: {' '.join(str(text).split())}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(f"gpu-bt {__version__}")
        raise typer.Exit


@app.command()
def run(
    prices: Annotated[list[str], typer.Option(help="Parquet, CSV or Arrow IPC, long or wide; may be given again.")],
    weights: Annotated[list[str], typer.Option(help="Target weights, files of the same kinds.")],
    out: Out,
    config: Annotated[Path | None, typer.Option(help="TOML file with the fields of Config.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A field of Config (see info --config); may be repeated."),
    ] = None,
    engine: Engine = "auto",
    missing: Annotated[str, typer.Option(metavar="close|hold", help="Assets that a book does not list.")] = "close",
    align: Annotated[str, typer.Option(metavar="exact|next", help="Weights at a time that is no bar.")] = "exact",
    unknown_assets: Annotated[
        str, typer.Option(metavar="error|ignore", help="Weights of assets without prices.")
    ] = "error",
    bad_prices: Annotated[str, typer.Option(metavar="error|nan", help="Prices that are 0 or negative.")] = "error",
    duplicates: Annotated[str, typer.Option(metavar="error|first|last", help="Rows that are there twice.")] = "error",
    raw_prices: Annotated[
        bool, typer.Option("--raw-prices", help="Prices are unadjusted; dividend and split columns are applied.")
    ] = False,
    layout: Annotated[str, typer.Option(metavar="auto|long|wide", help="Of the prices.")] = "auto",
    fields: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="A field of the prices to read, and no others; may be repeated."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of timestamps without one, such as America/New_York.")
    ] = None,
    timestamp_column: Annotated[str, typer.Option(help="Its name in both files.")] = "timestamp",
    asset_column: Annotated[str, typer.Option(help="Its name in both files.")] = "asset",
    weight_column: Annotated[str, typer.Option(help="Its name in the weights.")] = "weight",
    csv: Csv = False,
    plot: Plot = True,
) -> None:
    """Simulate target weights over prices; write equity, fills, config, metrics and a picture."""
    settings, folder = words.config(config, set_ or []), words.folder(out)
    with _progress() as show:
        show("reading prices")
        from gpu_bt.frames import read_panel, read_weights

        same: dict[str, Any] = {"timestamp": timestamp_column, "asset": asset_column, "time_zone": time_zone}
        panel = read_panel(
            _sources(prices), prices="raw" if raw_prices else "adjusted", bad_prices=bad_prices, duplicates=duplicates,
            layout=layout, fields=words.mapping(fields), **same,
        )  # fmt: skip
        show("reading weights")
        book = read_weights(
            _sources(weights), panel, weight=weight_column, missing=missing, align=align, unknown_assets=unknown_assets,
            **same,
        )  # fmt: skip
        result = _simulate(panel, book, settings, engine, show)
    _report(result, folder, csv, plot)


@app.command()
def demo(
    out: Out = "out/demo",
    large: Annotated[
        bool, typer.Option("--large", help="5,000 assets over 2,520 bars instead of 500 over 1,260.")
    ] = False,
    engine: Engine = "auto",
    csv: Csv = False,
    plot: Plot = True,
) -> None:
    """A monthly momentum book on a made-up universe of stocks: mechanics, not skill."""
    folder = words.folder(out)
    with _progress() as show:
        show("making the universe")
        from gpu_bt.config import Config
        from gpu_bt.synthetic import momentum_weights, synthetic_universe

        panel = synthetic_universe(2520, 5000) if large else synthetic_universe(1260, 500)
        weights = momentum_weights(panel)
        config = Config(
            initial_cash=1e8 if large else 1e7, commission_rate=2e-4, slippage=5e-4, participation=0.1, impact=0.02
        )
        result = _simulate(panel, weights, config, engine, show)
    _report(result, folder, csv, plot)


@app.command()
def info(
    config: Annotated[bool, typer.Option("--config", help="The fields of Config instead: defaults, values.")] = False,
) -> None:
    """Versions, this machine, and which engines can run on it."""
    import importlib.metadata
    import platform

    if config:
        return _table(_fields(), ("field", "default", "values"))
    from gpu_bt.engine import reasons, resolve

    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    rows = [("gpu-bt", __version__), ("python", f"{platform.python_version()}, {platform.platform()}")]
    rows += [(name, version(name)) for name in ("numpy", "polars", "matplotlib", "pandas")]
    rows += [("processors", _processors()), ("memory", _memory())]
    _table(rows)
    print()
    found = reasons()
    _table(
        [(n, "yes" if why is None else "no", why or "") for n, why in found.items()], ("engine", "runs here", "why not")
    )
    print(f"\n--engine auto takes {resolve('auto').name}")


@app.command()
def verify() -> None:
    """Run the engines of this machine against each other: every bit of their results must be the same."""
    from gpu_bt.engine import reasons

    found = reasons()
    names = [name for name, why in found.items() if why is None]
    for name, why in found.items():
        if why is not None:
            print(f"{name}: not compared, {why}")
    if len(names) < 2:
        print(f"{', '.join(names) or 'no engine'} alone runs on this machine: there is nothing to compare with")
        return
    with _progress() as show:
        show("importing")
        from gpu_bt.verify import SCENARIOS
        from gpu_bt.verify import verify as compare

        total, done = len(SCENARIOS) * len(names), iter(range(1, 1 << 30))
        checks = list(compare(names, lambda: show("comparing", next(done), total)))
    others = names[:-1]
    rows = [
        (c.scenario, f"{c.fills:,}", ", ".join(c.statuses) or "OK", *(c.differs[n] or "same bits" for n in others))
        for c in checks
    ]
    _table(rows, ("scenario", "fills", "status", *(f"{name} against {names[-1]}" for name in others)))
    wrong = [name for name in others if any(c.differs[name] for c in checks)]
    if wrong:
        print(f"\nFAILED: {', '.join(wrong)} and {names[-1]} do not give the same bits")
        raise typer.Exit(1)
    print(f"\n{', '.join(names)}: the same bits in {len(checks)} scenarios")


def _sources(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def _simulate(panel: Panel, weights: Any, config: Config, engine: str, show: Callable[..., None]) -> Result:
    from gpu_bt.api import run

    assets, began = panel.shape[1], time.perf_counter()

    def bar(done: int, total: int) -> None:
        rate = done * assets / max(time.perf_counter() - began, 1e-9)
        show("simulating", done, total, f"{done:,}/{total:,} bars  {rate / 1e6:,.1f} M asset-bars/s")

    show("simulating")
    return run(panel, weights, config, engine=engine, record=("bars", "fills"), progress=bar)


def _report(result: Result, out: Path, csv: bool, plot: bool) -> None:
    """Print the summary, then write: a disk that is full does not hide what the run gave."""
    from importlib.util import find_spec

    _table([tuple(part.strip() for part in line.split("  ", 1)) for line in result.summary().splitlines()])
    print(flush=True)

    def write(what: str, job: Callable[[], list[Path]]) -> None:
        with _progress() as show:
            show(what)
            paths = job()
        _WRITTEN.extend(paths)
        for path in paths:
            print(f"wrote {path}")

    write("writing", lambda: result.write(out, csv=csv))
    if plot and find_spec("matplotlib") is None:
        _say("note", "no picture, matplotlib is not installed: pip install matplotlib")
    elif plot:
        write("drawing", lambda: [Path(result.plot(out / "report.png"))])


@contextmanager
def _progress() -> Iterator[Callable[..., None]]:
    """show(what, done, total, note): one line on stderr that is gone at the end; nothing outside a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shown = console.is_terminal and not console.is_dumb_terminal and sys.stdout.isatty()
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}", markup=False), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not shown, transient=True, expand=True) as progress:

        def show(what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
            task = progress.tasks[-1] if progress.tasks else None
            if task is None or (task.description, task.total) != (what, total):
                for old in progress.task_ids:
                    progress.remove_task(old)
                progress.add_task(what, total=total, completed=done, note=note)
                progress.refresh()  # a stage is seen however short it is
            else:
                progress.update(task.id, completed=done, note=note)

        yield show


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> None:
    """Rows of texts: a Rich table in a terminal, aligned plain text, never wrapped, elsewhere."""
    if not sys.stdout.isatty():
        lines = [head, *rows] if head else rows
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=bool(head), box=ROUNDED, border_style="dim")
    for i, name in enumerate(head or rows[0]):
        style = "" if head or i else "bold"
        table.add_column(name if head else "", style=style, overflow="fold")  # a narrow terminal cuts no name
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _fields() -> list[tuple[str, str, str]]:
    from gpu_bt.config import CHOICES, OPTIONAL, RANGES, Config

    rows = []
    for name, value in Config().to_dict().items():
        values = ", ".join(CHOICES[name]) if name in CHOICES else "{:g} to {:g}".format(*RANGES[name])
        rows.append((name, "none" if value is None else str(value), values + (", none" if name in OPTIONAL else "")))
    return rows


def _processors() -> str:
    count, usable = os.cpu_count(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return f"{count}" if usable in (None, count) else f"{count}, {usable} of them for this process"


def _memory() -> str:
    try:
        size, total, free = (os.sysconf(f"SC_{name}") for name in ("PAGE_SIZE", "PHYS_PAGES", "AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system says
        return "unknown"
    return f"{size * total / 2**30:.1f} GiB, {size * free / 2**30:.1f} GiB free"


if __name__ == "__main__":
    sys.exit(main())
