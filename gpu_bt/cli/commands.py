# SPDX-License-Identifier: Apache-2.0
"""The commands of gpu-bt.

Results go to stdout, everything else (progress, notes, warnings, errors) to stderr. Exit status: 0, 1 where `verify`
finds a difference, 2 with one line for whatever was asked wrongly, 70 with one line for a fault of the program itself
(GPU_BT_TRACEBACK=1 shows its traceback), 130 after Ctrl-C, 143 after SIGTERM (129
SIGHUP). What is slow to import is imported by the
commands that need it.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_bt import __version__
from gpu_bt.cli import common, signals, words
from gpu_bt.cli.common import draw, pairs, prices_of, progress, replacing, say, table, weights_of, write
from gpu_bt.cli.sweep import sweep
from gpu_bt.errors import BacktestError, BacktestWarning, ConfigError

if TYPE_CHECKING:
    from gpu_bt.analysis.result import Result
    from gpu_bt.config import Config
    from gpu_bt.data.panel import Panel

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Cross-sectional portfolio simulator: target weights over a panel of prices, the same bits on every engine.",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status. arguments: those after the program's name; None = the process's own."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # None where the shell closed it, as with >&-
    sys.stderr = sys.stderr or open(os.devnull, "w")
    common.ARGUMENTS[:] = sys.argv[1:] if arguments is None else arguments
    common.WRITTEN.clear()
    common.ADVICE.clear()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an asset's name must not end the program
    signals.STOPPED.clear()
    status: object = 130
    with signals.handled(signals.stop, signals.at_once if arguments is None else None), warnings.catch_warnings():
        warnings.simplefilter("always", BacktestWarning)
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            status = app(list(common.ARGUMENTS), prog_name="gpu-bt", standalone_mode=False)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough: let the interpreter's last flush go nowhere.
            sys.stdout = open(os.devnull, "w")
            return 1
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            if not signals.STOPPED:  # which a library may have made another error of
                return _refused(error)
        if signals.STOPPED or status == 130:
            status = 128 + (signals.STOPPED or [2])[0]
            wrote = [f"wrote {', '.join(map(str, common.WRITTEN))}"] if common.WRITTEN else []
            say("interrupted", "; ".join([*wrote, *common.ADVICE] or ["wrote nothing"]))
            if arguments is None:  # Python ends by the signal where it met a KeyboardInterrupt in an exec of its own
                signals.at_once(status - 128)
    return status if isinstance(status, int) else 0


def _refused(error: BaseException) -> int:
    """One line for an error: of what a person can act on, or else of a fault of the program."""
    usage = getattr(error, "format_message", None)  # Typer's usage errors, whose base class is not public
    if usage is not None:
        if text := usage():
            context = getattr(error, "ctx", None)
            say("error", f"{text} (see {context.command_path if context else 'gpu-bt'} --help)")
        return 2
    if isinstance(error, MemoryError):
        say("error", f"not enough memory: {error}")
    elif isinstance(error, OSError):
        say("error", f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
    elif isinstance(error, BacktestError):
        options = {**inspect.signature(run).parameters, **inspect.signature(sweep).parameters}
        say("error", words.typed(str(error), options))
    elif isinstance(error, (SystemExit, GeneratorExit)) or os.environ.get("GPU_BT_TRACEBACK"):
        raise error
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        say("error", f"a fault of gpu-bt, {what}; GPU_BT_TRACEBACK=1 gpu-bt ... shows where: please report it")
        return 70
    return 2


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(f"gpu-bt {__version__}")
        raise typer.Exit


@app.command()
def run(
    prices: common.Prices,
    weights: Annotated[list[str], typer.Option(help="Target weights, files of the same kinds.")],
    out: common.Out,
    config: common.ConfigFile = None, set_: common.Set = None, engine: common.Engine = "auto",
    missing: common.Missing = "close", align: common.Align = "exact", unknown_assets: common.UnknownAssets = "error",
    bad_prices: common.BadPrices = "error", adjust: common.Adjust = None, duplicates: common.Duplicates = "error",
    raw_prices: common.RawPrices = False, layout: common.Layout = "auto", fields: common.Fields = None,
    time_zone: common.TimeZone = None, date_format: common.DateFormat = None,
    timestamp_column: common.TimeColumn = "timestamp", asset_column: common.AssetColumn = "asset",
    weight_column: common.WeightColumn = "weight", start: common.Start = None, csv: common.Csv = False,
    plot: common.Plot = True,
) -> None:  # fmt: skip
    """Simulate target weights over prices; write equity, fills, config, metrics and a picture."""
    settings = words.config(config, set_ or [])
    folder = words.folder(out, *["report.png"] * plot)
    same = {"timestamp": timestamp_column, "asset": asset_column, "time_zone": time_zone, "date_format": date_format}
    with progress() as show:
        show("reading prices")
        how = {"bad_prices": bad_prices, "duplicates": duplicates, "layout": layout, "adjust": adjust}
        panel = prices_of(prices, same, raw_prices, fields, **how)
        show("reading weights")
        book = weights_of(
            weights, panel, same, weight=weight_column, missing=missing, align=align, unknown_assets=unknown_assets
        )
        result = _simulate(panel, book, settings, engine, show, start)
    _report(result, folder, csv, plot)


app.command()(sweep)


@app.command()
def demo(
    context: typer.Context,
    out: common.Out = "out/demo",
    large: Annotated[
        bool, typer.Option("--large", help="5,000 assets over 2,520 bars instead of 500 over 1,260.")
    ] = False,
    engine: common.Engine = "auto",
    csv: common.Csv = False,
    plot: common.Plot = True,
    inputs: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Run nothing: write sample files for the other commands there.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace sample files that are there.")] = False,
) -> None:
    """A monthly momentum book on a made-up universe of stocks: mechanics, not skill."""
    typed = {p for p in context.params if getattr(context.get_parameter_source(p), "name", "") == "COMMANDLINE"}
    if typed & {"inputs", "force"}:
        from gpu_bt.cli.samples import commands, write_samples

        if inputs is None or typed - {"inputs", "force"}:
            raise ConfigError("--inputs writes files and runs nothing: pass it alone or with --force, --force with it")
        place = words.folder(inputs)
        write("writing", lambda: write_samples(place, force))
        print("\nnext:", *commands(place), sep="\n  ")
        return
    folder = words.folder(out, *["report.png"] * plot)
    with progress() as show:
        show("making the universe")
        from gpu_bt.config import Config
        from gpu_bt.data.synthetic import momentum_weights, synthetic_universe

        panel = synthetic_universe(2520, 5000) if large else synthetic_universe(1260, 500)
        weights = momentum_weights(panel)
        config = Config(
            initial_cash=1e8 if large else 1e7, commission_rate=2e-4, slippage=5e-4, participation=0.1, impact=0.02
        )
        result = _simulate(panel, weights, config, engine, show)
    _report(result, folder, csv, plot)


@app.command()
def info(
    config: Annotated[
        bool, typer.Option("--config", help="The fields of Config instead: defaults, values, meaning.")
    ] = False,
) -> None:
    """Versions, this machine, and which engines can run on it."""
    import importlib.metadata
    import platform

    if config:
        return table(_fields(), ("field", "default", "values", "meaning"))
    from gpu_bt.engine.registry import reasons, resolve

    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    rows = [("gpu-bt", __version__), ("python", f"{platform.python_version()}, {platform.platform()}")]
    rows += [(name, version(name)) for name in ("numpy", "polars", "matplotlib", "pandas")]
    rows += [("processors", _processors()), ("memory", _memory())]
    table(rows)
    print()
    found = reasons()
    table(
        [(n, "yes" if why is None else "no", why or "") for n, why in found.items()], ("engine", "runs here", "why not")
    )
    print(f"\n--engine auto takes {resolve('auto').name}")


@app.command()
def verify() -> None:
    """Run the engines of this machine against each other: every bit of their results must be the same."""
    from gpu_bt.engine.registry import reasons

    found = reasons()
    names = [name for name, why in found.items() if why is None]
    for name, why in found.items():
        if why is not None:
            print(f"{name}: not compared, {why}")
    if len(names) < 2:
        print(f"{', '.join(names) or 'no engine'} alone runs on this machine: there is nothing to compare with")
        return
    with progress() as show:
        show("importing")
        from gpu_bt.cli.verify import SCENARIOS
        from gpu_bt.cli.verify import verify as compare

        total = len(SCENARIOS) * len(names)
        done = iter(range(1, 1 << 30))
        checks = list(compare(names, lambda: show("comparing", next(done), total)))
    others = names[:-1]
    rows = [
        (c.scenario, f"{c.fills:,}", ", ".join(c.statuses) or "OK", *(c.differs[n] or "same bits" for n in others))
        for c in checks
    ]
    table(rows, ("scenario", "fills", "status", *(f"{name} against {names[-1]}" for name in others)))
    wrong = [name for name in others if any(c.differs[name] for c in checks)]
    if wrong:
        print(f"\nFAILED: {', '.join(wrong)} and {names[-1]} do not give the same bits")
        raise typer.Exit(1)
    print(f"\n{', '.join(names)}: the same bits in {len(checks)} scenarios")


def _simulate(
    panel: Panel, weights: Any, config: Config, engine: str, show: Callable[..., None], start: str | None = None
) -> Result:
    """A run, with its progress on the terminal."""
    from gpu_bt.runs.run import run

    assets = panel.shape[1]
    began = time.perf_counter()

    def bar(done: int, total: int) -> None:
        rate = done * assets / max(time.perf_counter() - began, 1e-9)
        show("simulating", done, total, f"{done:,}/{total:,} bars  {rate / 1e6:,.1f} M asset-bars/s")

    show("simulating")
    return run(panel, weights, config, engine=engine, record=("bars", "fills"), progress=bar, start=start)


def _report(result: Result, out: Path, csv: bool, plot: bool) -> None:
    """Print the summary, then write: a disk that is full does not hide what the run gave."""
    table(pairs(result.summary().splitlines()))
    print(flush=True)
    with replacing(out) as stale:
        write("writing", lambda: result.write(out, csv=csv, stale=stale))
        if plot:
            draw(out / "report.png", result.plot)


def _fields() -> list[tuple[str, str, str, str]]:
    from gpu_bt.config import FIELDS

    return [(
        name, str(field.default).lower(),
        (", ".join(field.choices) or f"{field.low:g} to {field.high:g}") + ", none" * field.optional,
        f"{field.unit}: {field.meaning}".removeprefix(": "),
    ) for name, field in FIELDS.items()]  # fmt: skip


def _processors() -> str:
    count = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return f"{count}" if usable in (None, count) else f"{count}, {usable} of them for this process"


def _memory() -> str:
    try:
        size, total, free = (os.sysconf(f"SC_{name}") for name in ("PAGE_SIZE", "PHYS_PAGES", "AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system says
        return "unknown"
    return f"{size * total / 2**30:.1f} GiB, {size * free / 2**30:.1f} GiB free"
