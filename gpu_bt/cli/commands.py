# SPDX-License-Identifier: Apache-2.0
"""The commands of gpu-bt.

Results go to stdout, everything else (progress, notes, warnings, errors) to stderr. Exit status: 0, 1 where `verify`
finds a difference, 2 with one line for whatever was asked wrongly, 70 with one line for a fault of the program itself
(GPU_BT_TRACEBACK=1 shows its traceback, or that of a strategy's error), 130 after Ctrl-C, 143 after SIGTERM (129
SIGHUP). A reader of stdout that goes away, such as `head`, ends nothing and is no error: files are written, the status
is 0; a full disk under stdout is status 2, after the files. What is slow to import is imported by the commands that
need it.
"""

from __future__ import annotations

import dataclasses
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
from gpu_bt.arguments import path_of
from gpu_bt.cli import code, common, complete, options, signals, words
from gpu_bt.cli.common import draw, emit, pairs, progress, replacing, say, table, write
from gpu_bt.cli.options import Texts, expanded, how, kept, what
from gpu_bt.cli.sweep import EXAMPLES, sweep
from gpu_bt.errors import BacktestError, BacktestWarning, ConfigError

if TYPE_CHECKING:
    from gpu_bt.analysis.result import Result

__all__ = ["app", "main"]

app = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Cross-sectional portfolio simulator: target weights over a panel of prices, the same bits on every engine.",
    epilog="Sample files to begin with, and what to type next: gpu-bt demo --inputs DIR",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status. arguments: those after the program's name; None = the process's own."""
    before = sys.stdout, sys.stderr  # None where the shell closed it, as with >&-
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an asset's name must not end the program
    out, err = (common.Steady(stream or open(os.devnull, "w")) for stream in before)
    sys.stdout, sys.stderr = out, err
    common.begin(arguments)
    complete.rejoin()
    signals.STOPPED.clear()
    try:
        status = _run_app(arguments is None)
        out.flush()
        if out.error is not None and not isinstance(out.error, BrokenPipeError):
            say("error", f"stdout: {out.error.strerror}; {common.written() or 'nothing was to be written to files'}")
            status = status or 2
        return status
    finally:
        if arguments is not None:
            sys.stdout, sys.stderr = before


def _run_app(alone: bool) -> int:
    """The exit status. alone: the process is the program's own."""
    status: object = 130
    with signals.handled(signals.stop, signals.at_once if alone else None), warnings.catch_warnings():
        warnings.simplefilter("always", BacktestWarning)
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            status = app(list(common.ARGUMENTS), prog_name="gpu-bt", standalone_mode=False)
            sys.stdout.flush()
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            if not signals.STOPPED:  # which a library may have made another error of
                return _refused(error)
        if signals.STOPPED or status == 130:
            status = 128 + (signals.STOPPED or [2])[0]
            say("interrupted", "; ".join([*filter(None, [common.written()]), *common.ADVICE] or ["wrote nothing"]))
            if alone:  # Python ends by the signal where it met a KeyboardInterrupt in an exec of its own
                if pools := sys.modules.get("multiprocessing.util"):  # whose semaphores Python would say are leaked
                    pools._run_finalizers(0)
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
    options = {**inspect.signature(run).parameters, **inspect.signature(sweep).parameters}
    if (
        isinstance(error, (Exception, SystemExit))
        and not os.environ.get("GPU_BT_TRACEBACK")
        and (text := code.blamed(error))
    ):
        say("error", words.typed(text, options) if isinstance(error, BacktestError) else text)
    elif isinstance(error, MemoryError):
        say("error", f"not enough memory: {error}")
    elif isinstance(error, OSError):
        say("error", f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
    elif isinstance(error, BacktestError):
        say("error", words.typed(str(error), options))
    elif isinstance(error, (SystemExit, GeneratorExit)) or os.environ.get("GPU_BT_TRACEBACK"):
        raise error
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        say("error", f"a fault of gpu-bt, {what}; GPU_BT_TRACEBACK=1 gpu-bt ... shows where: please report it")
        return 70
    return 2


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        print(f"gpu-bt {__version__}" if version else context.get_help())
        raise typer.Exit


_RUN = """Examples:

\b
  gpu-bt run --prices prices.parquet --weights weights.parquet --out out/
  gpu-bt run --prices p.csv --strategy my.py:TopMomentum --param lookback=120
  gpu-bt run --prices p.csv --weights w.csv --json | jq .metrics.sharpe
"""


@app.command(cls=options.Command, epilog=_RUN)
@expanded
def run(
    reading: options.Reading,
    setup: options.Setup,
    weights: Annotated[Texts, what("Target weights; repeatable", metavar="FILE")] = None,
    scores: Annotated[Texts, what("or scores, of which the best are held", metavar="FILE")] = None,
    strategy: Annotated[str | None, what("or a strategy: class, instance, function", metavar="FILE.py:NAME")] = None,
    param: Annotated[Texts, what("Of the strategy or the scores; repeatable", metavar="NAME=VALUE")] = None,
    check_lookahead: Annotated[bool, what("First see that it reads no later data", "--check-lookahead")] = False,
    resume: Annotated[str | None, how("Go on from a state of --checkpoint", metavar="FILE")] = None,
    accept_jumps: Annotated[bool, how("Though prices jumped since that", "--accept-jumps")] = False,
    out: options.Folder = None,
    checkpoint: Annotated[str | None, kept("Save the state after the last bar", metavar="FILE")] = None,
    csv: options.Csv = False,
    plot: options.Plot = True,
    json: options.Json = False,
) -> None:
    """Simulate target weights, scores or a strategy over prices."""
    words.alone(weights=weights, scores=scores, strategy=strategy)
    settings, parameters = setup.read(), words.values(param or [])
    found = None if strategy is None else code.load(strategy)
    folder = words.folder(out, *["report.png"] * plot)
    if checkpoint is not None:
        words.writable("--checkpoint", path_of("--checkpoint", checkpoint))
    with progress() as show:
        show("reading prices")
        panel = reading.panel()
        show("reading weights")
        book: Any = reading.books(weights or scores or [], panel, bool(scores)) if strategy is None else None
        if scores:
            book = code.scored(book, parameters)
        if check_lookahead:
            from gpu_bt.runs.lookahead import check_lookahead as check

            show("looking for lookahead")
            by: Any = setup.engine
            check(lambda seen: code.made(found, parameters, seen), panel, settings["config"], engine=by)
            say("checked", "no decision changes when the data after it do")
        if strategy is not None:
            book = code.made(found, parameters, panel)
        result = _simulate(panel, book, show, resume=resume, accept_jumps=accept_jumps, **settings)
    _report(result, folder, csv, plot)
    if checkpoint is not None:
        write("saving", lambda: [result.checkpoint(checkpoint)])


app.command(cls=options.Command, epilog=EXAMPLES)(sweep)


@app.command(cls=options.Command, epilog="Example: gpu-bt demo --inputs samples")
def demo(
    context: typer.Context,
    inputs: Annotated[str | None, what("Run nothing: write sample files for other commands", metavar="FOLDER")] = None,
    force: Annotated[bool, what("Replace sample files that are there", "--force")] = False,
    large: Annotated[bool, what("5,000 assets over 2,520 bars, not 500 over 1,260", "--large")] = False,
    engine: options.Engine = "auto",
    out: Annotated[str, kept("Folder of the files, out/demo", metavar="FOLDER")] = "out/demo",
    csv: options.Csv = False,
    plot: options.Plot = True,
    json: options.Json = False,
) -> None:
    """Run a book over made-up stocks, or write sample files."""
    typed = {p for p in context.params if getattr(context.get_parameter_source(p), "name", "") == "COMMANDLINE"}
    if typed & {"inputs", "force"}:
        from gpu_bt.cli.samples import commands, write_samples

        if inputs is None or typed - {"inputs", "force"}:
            raise ConfigError("--inputs writes files and runs nothing: pass it alone or with --force, --force with it")
        place = path_of("--inputs", inputs)
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
        result = _simulate(panel, weights, show, config=config, engine=engine)
    _report(result, folder, csv, plot)


@app.command(cls=options.Command, epilog="A file to start from: gpu-bt info --toml > config.toml")
def info(
    config: Annotated[
        bool, options.option(None, "The fields of Config: defaults, values, meaning", "--config")
    ] = False,
    toml: Annotated[bool, options.option(None, "The same as a file for --config of other commands", "--toml")] = False,
    json: options.Json = False,
) -> None:
    """Versions, this machine, its engines; fields of Config."""
    from gpu_bt.cli import records
    from gpu_bt.config import FIELDS

    if toml and (config or json):
        raise ConfigError("--toml is a file of all fields: pass it alone, or --config --json for other programs")
    if toml:
        return print(words.template(), end="")
    if config:
        if not emit({name: records.field(field) for name, field in FIELDS.items()}):
            table(words.fields(), ("field", "default", "values", "meaning"))
        return
    found = records.machine()
    if emit(found):
        return
    size, free = found["memory"], found["memory_free"]
    usable = f", {found['processors_usable']} of them for this process"
    table([
        ("gpu-bt", __version__), ("python", f"{found['python']}, {found['platform']}"),
        *((name, version or "not installed") for name, version in found["packages"].items()),
        ("processors", f"{found['processors']}{usable * (found['processors_usable'] != found['processors'])}"),
        ("memory", "unknown" if size is None else f"{size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"),
    ])  # fmt: skip
    print()
    engines = [(name, "yes" if why is None else "no", why or "") for name, why in found["engines"].items()]
    table(engines, ("engine", "runs here", "why not"))
    print(f"\n--engine auto takes {found['auto']}")


@app.command(cls=options.Command)
def verify(json: options.Json = False) -> None:
    """Compare the engines of this machine, bit by bit."""
    from gpu_bt.engine.registry import reasons

    found = reasons()
    names, absent = [n for n, why in found.items() if why is None], {n: why for n, why in found.items() if why}
    for name, why in absent.items():
        print(f"{name}: not compared, {why}")
    with progress() as show:
        show("importing")
        from gpu_bt.cli.verify import SCENARIOS
        from gpu_bt.cli.verify import verify as compare

        total, done = len(SCENARIOS) * len(names), iter(range(1, 1 << 30))
        checks = list(compare(names, lambda: show("comparing", next(done), total))) if len(names) > 1 else []
    others = names[:-1]
    wrong = [name for name in others if any(c.differs[name] for c in checks)]
    same = not wrong if checks else None
    if emit({"engines": names, "absent": absent, "same": same, "checks": [dataclasses.asdict(c) for c in checks]}):
        pass
    elif same is None:
        print(f"{', '.join(names) or 'no engine'} alone runs on this machine: there is nothing to compare with")
    else:
        rows = [
            (c.scenario, f"{c.fills:,}", ", ".join(c.statuses) or "OK", *(c.differs[n] or "same bits" for n in others))
            for c in checks
        ]
        table(rows, ("scenario", "fills", "status", *(f"{name} against {names[-1]}" for name in others)))
        failed = f"FAILED: {', '.join(wrong)} and {names[-1]} do not give the same bits"
        print("\n" + (failed if wrong else f"{', '.join(names)}: the same bits in {len(checks)} scenarios"))
    raise typer.Exit(1 if wrong else 0)


def _simulate(panel: Any, weights: Any, show: Callable[..., None], **how: Any) -> Result:
    """A run, with its progress on the terminal."""
    from gpu_bt.runs.run import run

    assets = panel.shape[1]
    began = time.perf_counter()

    def bar(done: int, total: int) -> None:
        rate = done * assets / max(time.perf_counter() - began, 1e-9)
        show("simulating", done, total, f"{done:,}/{total:,} bars  {rate / 1e6:,.1f} M asset-bars/s")

    show("simulating")
    return run(panel, weights, record=("bars", "fills"), progress=bar, **how)


def _report(result: Result, out: Path | None, csv: bool, plot: bool) -> None:
    """Print the summary, then write: a disk that is full does not hide what the run gave."""
    from gpu_bt.cli import records

    if not emit(records.run(result, out)):
        table(pairs(result.summary().splitlines()))
        print(flush=True)
    if out is None:
        return
    with replacing(out) as stale:
        write("writing", lambda: result.write(out, csv=csv, stale=stale))
        if plot:
            draw(out / "report.png", result.plot)
