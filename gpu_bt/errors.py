# SPDX-License-Identifier: Apache-2.0
"""The one hierarchy of errors and warnings. A message is one line: subject, rule, what was got, the way out."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = [
    "BacktestError",
    "BacktestWarning",
    "ConfigError",
    "EngineUnavailable",
    "PanelError",
    "ResultError",
    "StrategyError",
    "WeightsError",
    "label_of",
    "nearest",
    "printable",
    "quiet",
    "shown",
    "warn",
]

#: Characters of a message, of a value in it, and of a word: what is longer loses its middle, or its end.
_LINE, _VALUE, _WORD = 600, 80, 200


def printable(text: str) -> str:
    """The text in one line that a terminal only prints: controls, line ends, marks of direction and what is no
    character are shown as Python writes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: Any) -> str:
    """A value as Python writes it, in one short line; its type where that fails, as for a number of 5,000 digits."""
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except Exception:  # of an object that is not ours
        return kind
    if text.startswith("<") and " " in text:  # with an address
        return kind
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}... ({len(text):,} characters)"


def label_of(name: Any) -> str:
    """A label as text; of an object that has none what it is."""
    try:
        return str(name)
    except Exception:  # of an object that is not ours
        return shown(name)


class _Line:
    """A message that is one printable line, whatever names and values it quotes."""

    def __str__(self) -> str:
        text = re.sub(rf"\S{{{_WORD},}}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", super().__str__())
        return printable(text if len(text) <= _LINE else f"{text[: _LINE * 2 // 3]} ... {text[-_LINE // 4 :]}")


class BacktestError(_Line, Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(BacktestError, ValueError):
    """A field of `Config` that is unknown, of the wrong type, or impossible."""


class PanelError(BacktestError, ValueError):
    """Market data that breaks a rule of the panel."""


class WeightsError(BacktestError, ValueError):
    """Target weights or holdings that do not fit the panel or the account."""


class StrategyError(BacktestError, ValueError):
    """An order or a question of a strategy that cannot be meant, or a strategy that looks ahead."""


class EngineUnavailable(BacktestError, RuntimeError):
    """An engine asked for by name that cannot run on this machine, or that its device lets down in a run."""


class ResultError(BacktestError, RuntimeError):
    """A result that cannot give or write what it was asked for."""


class BacktestWarning(_Line, UserWarning):
    """Something legal that is probably not what was meant."""


def nearest(name: object, known: Iterable[str], otherwise: str) -> str:
    """The way out of a name that is not known: the nearest one that is, or else what to do."""
    near = difflib.get_close_matches(shown(name).strip("'"), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


_quiet: ContextVar[tuple[str, ...]] = ContextVar("quiet", default=())


@contextmanager
def quiet(*starts: str) -> Iterator[None]:
    """A block without what `warn` says in this thread, or without the texts that begin so. Python's filters are those
    of all threads."""
    token = _quiet.set((*_quiet.get(), *(starts or ("",))))
    try:
        yield
    finally:
        _quiet.reset(token)


def warn(text: str, stacklevel: int) -> None:
    """Warn (BacktestWarning), but in a block of `quiet`. stacklevel: as of warnings.warn, called where this is."""
    if not text.startswith(_quiet.get()):
        warnings.warn(text, BacktestWarning, stacklevel + 1)
