# SPDX-License-Identifier: Apache-2.0
"""The one hierarchy of errors and warnings. A message is one line: subject, rule, what was got, the way out."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "BacktestError",
    "BacktestWarning",
    "ConfigError",
    "EngineUnavailable",
    "PanelError",
    "ResultError",
    "StrategyError",
    "WeightsError",
    "nearest",
    "quiet",
    "warn",
]


class BacktestError(Exception):
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
    """An engine asked for by name that cannot run on this machine."""


class ResultError(BacktestError, RuntimeError):
    """A result that cannot give or write what it was asked for."""


class BacktestWarning(UserWarning):
    """Something legal that is probably not what was meant."""


def nearest(name: object, known: Iterable[str], otherwise: str) -> str:
    """The way out of a name that is not known: the nearest one that is, or else what to do."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
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
