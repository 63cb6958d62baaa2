# SPDX-License-Identifier: Apache-2.0
"""What the commands of gpu-bt share: streams that outlive their reader, JSON, progress and tables in a terminal."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gpu_bt.errors import printable

__all__ = [
    "ADVICE", "ARGUMENTS", "WRITTEN", "Steady", "begin", "draw", "emit", "finite", "machine", "pairs", "progress",
    "replacing", "say", "table", "write", "written",
]  # fmt: skip

#: What was typed after the program's name, the files of this run that are on the disk, and what else there is to say
#: after Ctrl-C.
ARGUMENTS: list[str] = []
WRITTEN: list[Path] = []
ADVICE: list[str] = []
#: Where JSON goes, once it is asked for, and whether the process is the program's own.
_MACHINE: list[Any] = []
_ALONE = [False]


def begin(arguments: Sequence[str] | None) -> None:
    """Forget what an earlier call in this process has left. arguments: None where the process is the program's own."""
    ARGUMENTS[:] = sys.argv[1:] if arguments is None else arguments
    _ALONE[:] = [arguments is None]
    for kept in (WRITTEN, ADVICE, _MACHINE):
        kept.clear()


def written() -> str:
    """The files of this run that are on the disk, in words."""
    return f"wrote {', '.join(map(str, WRITTEN))}" if WRITTEN else ""


class Steady:
    """A standard stream that never ends the program: once its reader is gone or its disk full, what is written to it is
    dropped, and the first error kept."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or drop; the number of characters."""
        self._tried(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is there."""
        self._tried(self.stream.flush)

    def _tried(self, call: Callable[..., Any], *given: Any) -> None:
        try:
            if self.error is None:
                call(*given)
        except OSError as error:
            self.error = error
            with suppress(OSError, ValueError):  # what is buffered goes nowhere at the end of the program
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def machine(asked: bool) -> bool:
    """The option --json: from now on whatever is printed goes to stderr, and `emit` writes to stdout."""
    if asked and not _MACHINE:
        out: Any = sys.stdout
        _MACHINE.append(out)
        sys.stdout = sys.stderr
        if _ALONE[0]:  # what workers and libraries of C print, too
            with suppress(OSError):
                out.stream = open(os.dup(1), "w", encoding="utf-8")
                os.dup2(2, 1)
    return asked


def emit(record: Mapping[str, Any]) -> bool:
    """Write a result as JSON where --json asks for it; whether it does."""
    if _MACHINE:
        import json

        print(json.dumps(finite(record), indent=2, allow_nan=False), file=_MACHINE[0], flush=True)
    return bool(_MACHINE)


def finite(value: Any) -> Any:
    """The value as JSON has it: null for NaN and infinity, ISO texts for times, plain numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def say(kind: str, text: Any) -> None:
    """One line on stderr, of which a terminal only prints."""
    print(f"{kind}: {printable(' '.join(str(text).split()))}", file=sys.stderr)


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


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), least: int | None = None) -> None:
    """Rows of texts: a Rich table in a terminal that is wide enough, aligned plain text, never wrapped, elsewhere.

    least: a terminal that is too narrow may leave out columns from the right, but for so many of them.
    """
    rows, head = [[printable(cell) for cell in row] for row in rows], [printable(name) for name in head]
    lines = [head, *rows] if head else rows
    count = len(lines[0])
    for n in range(count, (least or count) - 1, -1) if sys.stdout.isatty() else ():
        if _drawn([row[:n] for row in rows], head[:n]):
            return print(f"a wider terminal shows {', '.join(head[n:])}, too") if n < count else None
    widths = [max(len(line[i]) for line in lines) for i in range(count)]
    sides = [">" if head and _numbers(row[i] for row in rows) else "<" for i in range(count)]
    for line in lines:
        cells = (f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True))
        print("  ".join(cells).rstrip())


def _numbers(cells: Iterable[str]) -> bool:
    """Whether a column is one of numbers."""
    return all(re.fullmatch(r"[-+]?[\d,.]+(e[-+]?\d+)?|none|nan", cell) for cell in cells)


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
            cells = [row[i] for row in rows]
            side, word = "right" if head and _numbers(cells) else "left", not any(" " in cell for cell in cells)
            style = "" if head or i else "bold"
            shown.add_column(name if head else "", style=style, overflow="fold", justify=side, no_wrap=word)  # type: ignore[arg-type]
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        if console.measure(shown, options=unbounded).minimum <= console.width:
            console.print(shown)
            return True
    return False
