# SPDX-License-Identifier: Apache-2.0
"""What libraries say where they cannot read something: one line and one error, here alone."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from gpu_bt.errors import BacktestError, PanelError

__all__ = ["reason", "shield"]

#: What Polars says of a text file -> what that means.
_WORDS = {
    "found more fields than": "a line has more cells than the header",
    "as dtype `str`": "a quote is not closed",
    "CSV malformed": "a quote is not closed",
}
_lock = threading.Lock()
#: What the variable of `_any_offset` was before, for each block that is in it.
_before: list[str | None] = []


@contextmanager
def shield(what: str, quiet: bool = False, way_out: str = "write it again") -> Iterator[None]:
    """A block in which an error of a library, or of an object that is read, is a PanelError of one line, `what` and its
    reason. Those of this package, MemoryError and KeyboardInterrupt stay as they are.

    quiet: the library may panic, of which it writes to stderr by itself; that does not reach the user.
    Polars reads times of an offset that is no IANA zone, such as '+05:30', in the block.
    """
    try:
        with _any_offset(), _Quiet() if quiet else nullcontext():
            yield
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"  # which is no Exception
        if not (panic or isinstance(error, Exception)) or isinstance(error, (BacktestError, Warning, MemoryError)):
            raise
        raise PanelError(f"{what}: {reason(error)}; {way_out}") from None


@contextmanager
def _any_offset() -> Iterator[None]:
    """The variable is that of all threads: the last one to leave sets it back."""
    name = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"
    with _lock:
        _before.append(os.environ.get(name))
        os.environ[name] = "1"
    try:
        yield
    finally:
        with _lock:
            before = _before[0]
            _before.pop()
            if not _before:
                os.environ.pop(name, None) if before is None else os.environ.update({name: before})


def reason(error: BaseException) -> str:
    """What an error says, in one line, without advice for a programmer."""
    if type(error).__name__ == "PanicException":
        return "its reader gave up on it"
    text = " ".join(str(error).split())
    if "unwrap()" in text or "Panic(" in text:
        return "its bytes contradict one another"
    for theirs, ours in _WORDS.items():
        if theirs in text:
            return ours
    for advice in (" Consider setting", " The current offset", " Hint:", " This error occurred"):
        text = text.split(advice)[0]
    return text[:300].rstrip(" .") or type(error).__name__


class _Quiet:
    """A block in which stderr, that of C and Rust too, is held back; of a panic nothing is shown afterwards. It belongs
    to the whole process: of several threads the first turns it away, and the last gives it back."""

    lock, inside, held, stderr = threading.Lock(), 0, -1, -1

    def __enter__(self) -> None:
        with _Quiet.lock:
            if not _Quiet.inside:
                try:
                    with tempfile.TemporaryFile() as file:
                        _Quiet.held = os.dup(file.fileno())
                except OSError:  # no room for it
                    _Quiet.held = os.open(os.devnull, os.O_RDWR)
                try:
                    _Quiet.stderr = os.dup(2)
                except OSError:  # there is none
                    _Quiet.stderr = os.open(os.devnull, os.O_WRONLY)
                os.dup2(_Quiet.held, 2)
            _Quiet.inside += 1

    def __exit__(self, *error: object) -> None:
        with _Quiet.lock:
            _Quiet.inside -= 1
            if not _Quiet.inside:
                os.dup2(_Quiet.stderr, 2)
                with open(_Quiet.held, "rb") as file:
                    file.seek(0)
                    with suppress(OSError):  # its reader is gone, or its disk full
                        os.write(2, file.read().split(b"\nthread '")[0])
                os.close(_Quiet.stderr)
