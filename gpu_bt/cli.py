# SPDX-License-Identifier: Apache-2.0
"""The command line, gpu-bt: the only place that prints.

Results go to stdout, everything else (progress, notes, warnings, errors) to stderr. Exit status: 0, 1 where `verify`
finds a difference, 2 with one line for whatever was asked wrongly, 130 after Ctrl-C. What is slow to import is imported
by the commands that need it.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_bt import __version__
from gpu_bt.errors import BacktestError, BacktestWarning, ConfigError

if TYPE_CHECKING:
    from gpu_bt.config import Config
    from gpu_bt.panel import Panel
    from gpu_bt.result import Result

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Cross-sectional portfolio simulator: target weights over a panel of prices, the same bits on every engine.",
)  # fmt: skip

Engine = Annotated[str, typer.Option(help="auto, cpu, or the name of an engine (see info).")]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw report.png.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write equity.csv and fills.csv as well.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status. arguments: those after the program's name; None = the process's own."""
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
        print("interrupted", file=sys.stderr)
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
        _say("error", error)
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
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the fields of Config.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One field of Config (see info --config).")
    ] = None,
    engine: Engine = "auto",
    missing: Annotated[str, typer.Option(metavar="close|hold", help="Assets that a book does not list.")] = "close",
    align: Annotated[str, typer.Option(metavar="exact|next", help="Weights at a time that is no bar.")] = "exact",
    unknown_assets: Annotated[
        str, typer.Option(metavar="error|ignore", help="Weights of assets without prices.")
    ] = "error",
    bad_prices: Annotated[str, typer.Option(metavar="error|nan", help="Prices that are 0 or negative.")] = "error",
    duplicates: Annotated[str, typer.Option(metavar="error|first|last", help="Rows that are there twice.")] = "error",
    raw_prices: Annotated[bool, typer.Option("--raw-prices", help="Prices show splits and dividends.")] = False,
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
    settings = _config(config, set_ or [])
    with _progress() as show:
        show("reading prices")
        from gpu_bt.frames import read_panel, read_weights

        same: dict[str, Any] = {"timestamp": timestamp_column, "asset": asset_column, "time_zone": time_zone}
        panel = read_panel(
            _sources(prices), prices="raw" if raw_prices else "adjusted", bad_prices=bad_prices, duplicates=duplicates,
            **same,
        )  # fmt: skip
        show("reading weights")
        book = read_weights(
            _sources(weights), panel, weight=weight_column, missing=missing, align=align, unknown_assets=unknown_assets,
            **same,
        )  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be is refused before the run, not after
        result = _simulate(panel, book, settings, engine, show)
        written = _write(result, out, csv, plot, show)
    _report(result, written)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/demo"),
    large: Annotated[
        bool, typer.Option("--large", help="5,000 assets over 2,520 bars instead of 500 over 1,260.")
    ] = False,
    engine: Engine = "auto",
    csv: Csv = False,
    plot: Plot = True,
) -> None:
    """A monthly momentum book on a made-up universe of stocks: mechanics, not skill."""
    with _progress() as show:
        show("making the universe")
        from gpu_bt.config import Config
        from gpu_bt.synthetic import momentum_weights, synthetic_universe

        panel = synthetic_universe(2520, 5000) if large else synthetic_universe(1260, 500)
        weights = momentum_weights(panel)
        config = Config(
            initial_cash=1e8 if large else 1e7, commission_rate=2e-4, slippage=5e-4, participation=0.1, impact=0.02
        )
        out.mkdir(parents=True, exist_ok=True)
        result = _simulate(panel, weights, config, engine, show)
        written = _write(result, out, csv, plot, show)
    _report(result, written)


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


def _config(path: Path | None, settings: list[str]) -> Config:
    """The file's fields, then those of --set."""
    from gpu_bt.config import Config, check_names

    values: dict[str, Any] = {}
    if path is not None:
        from gpu_bt.result import read_config

        values = read_config(path).to_dict()
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ConfigError(f"--set {setting}: it must be NAME=VALUE, such as --set commission_rate=5e-4")
        check_names([name])
        values[name] = _scalar(text)
    return Config.from_dict(values)


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


def _simulate(panel: Panel, weights: Any, config: Config, engine: str, show: Callable[..., None]) -> Result:
    from gpu_bt.api import run

    assets, began = panel.shape[1], time.perf_counter()

    def bar(done: int, total: int) -> None:
        rate = done * assets / max(time.perf_counter() - began, 1e-9)
        show("simulating", done, total, f"{done:,}/{total:,} bars  {rate / 1e6:,.1f} M asset-bars/s")

    show("simulating")
    return run(panel, weights, config, engine=engine, record=("bars", "fills"), progress=bar)


def _write(result: Result, out: Path, csv: bool, plot: bool, show: Callable[..., None]) -> list[Path]:
    from importlib.util import find_spec

    show("writing")
    written = result.write(out, csv=csv)
    if plot and find_spec("matplotlib") is None:
        _say("note", "no picture, matplotlib is not installed: pip install gpu-bt[plot]")
    elif plot:
        show("drawing")
        written.append(Path(result.plot(out / "report.png")))
    return written


def _report(result: Result, written: Iterable[Path]) -> None:
    _table([tuple(part.strip() for part in line.split("  ", 1)) for line in result.summary().splitlines()])
    print()
    for path in written:
        print(f"wrote {path}")


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

    table = Table(*head, show_header=bool(head), box=ROUNDED, border_style="dim")
    if not head:
        for style in ("bold", *("" for _ in rows[0][1:])):
            table.add_column(style=style)
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
