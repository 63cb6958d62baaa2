# SPDX-License-Identifier: Apache-2.0
"""A user's own file, my.py:TopMomentum: loaded by its path, made with parameters, blamed by line where it fails."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_bt.arguments import file_of
from gpu_bt.errors import BacktestError, ConfigError, StrategyError, nearest, shown

__all__ = ["blamed", "load", "made", "scored"]

#: Folders of the files that were loaded.
_FOLDERS: list[str] = []
_OURS = str(Path(__file__).parents[2] / "gpu_bt")


def load(text: str) -> Any:
    """What FILE.py:NAME names; without a name the one class of strategies that the file defines.

    The file is run once, as a module of its own name in underscores, and may import what stands beside it.
    Raises ConfigError where there is no such file or name; StrategyError, which names the line, for what it raises.
    """
    from gpu_bt.runs.strategy import Strategy

    path, _, name = (text, "", "") if text.endswith(".py") else text.rpartition(":")
    if not path.endswith(".py"):
        raise ConfigError(f"--strategy {text}: it must be FILE.py:NAME, such as --strategy my.py:TopMomentum")
    module = _module(file_of("--strategy", path).absolute(), path)
    if name and not hasattr(module, name):
        known = [name for name, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
        hint = nearest(name, known, f"it has {', '.join(known) or 'no class and no function'}")
        raise ConfigError(f"--strategy {text}: {path} has no {name!r}; {hint}")
    classes = [x for x in vars(module).values() if isinstance(x, type) and issubclass(x, Strategy)]
    own = [kind.__name__ for kind in classes if kind.__module__ == module.__name__]
    if not name and len(own) != 1:
        what = f"one of {', '.join(own)}" if own else "a class of gpu_bt.Strategy, which it does not have"
        raise ConfigError(f"--strategy {text}: name what is meant, --strategy {path}:NAME: {what}")
    return getattr(module, name or own[0])


def _module(file: Path, path: str) -> Any:
    """Run a file as a module."""
    spec = importlib.util.spec_from_file_location(f"__{file.stem}__", file)
    assert spec is not None and spec.loader is not None  # of any path that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pickles look for its classes
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # at the end: it hides no installed package
    _FOLDERS.append(str(file.parent) + os.sep)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        place, line = f":{error.lineno}" * bool(error.lineno), (error.text or "").strip()  # none where a NUL is in it
        raise StrategyError(f"{path}{place}: {error.msg}" + f": {line}" * bool(line)) from error
    except OSError as error:
        if error.filename != str(file):
            raise
        raise ConfigError(f"--strategy {path} cannot be read: {error.strerror}") from None
    except SystemExit as error:
        raise StrategyError(f"{path} ends the program when it is loaded: put that under if __name__") from error
    return module


def made(found: Any, parameters: Mapping[str, Any], panel: Any) -> Any:
    """What `run` takes: an instance of a class with these parameters, an instance as it is, or what a function of the
    panel, and of the parameters by name, gives: a strategy, weights or scores.

    Of a class its constructor takes the parameters that it knows; all others must be attributes. Either are set before
    `initialize` and again after it, as a sweep does.   Raises ConfigError for what is none of these, or takes no such
    parameter.
    """
    from gpu_bt.runs.strategy import Strategy
    from gpu_bt.sweeps.chunks import made as with_values
    from gpu_bt.sweeps.sweep import parameters_of

    if isinstance(found, type) and issubclass(found, Strategy):
        takes = _arguments(found.__init__)
        given = {name: value for name, value in parameters.items() if name in takes}

        def init(self: Any) -> None:
            found.__init__(self, **given)

        _check_call(found.__name__, found, given)
        kind = type(found.__name__, (found,), {"__init__": init, "__module__": found.__module__})
        _check_names(
            found.__name__, parameters, set(takes) | (parameters_of(kind) if len(given) < len(parameters) else set())
        )
        return with_values(kind, dict(parameters))
    if isinstance(found, Strategy):
        if parameters:
            raise ConfigError("--param is for a class or a function, and --strategy names an instance: name its class")
        return found
    if isinstance(found, type) or not callable(found):
        raise ConfigError(
            f"--strategy names {shown(found)}: it must be a class of gpu_bt.Strategy, an instance of one, or a function"
            " of the panel that makes one, or weights"
        )
    what, takes = getattr(found, "__name__", type(found).__name__), _arguments(found)
    _check_names(what, parameters, set(takes) - {"panel"})
    first = [panel] if takes else []
    _check_call(what, found, parameters, *first)
    return found(*first, **parameters)


def scored(read: Any, parameters: Mapping[str, Any]) -> Any:
    """Scores with these parameters. Raises ConfigError for one that they do not have."""
    from gpu_bt.books.scores import RULES, Scores

    _check_names("Scores", parameters, {*RULES, "groups"})
    return Scores(read, **parameters)


def _arguments(function: Callable[..., Any]) -> list[str]:
    """Names of arguments."""
    given = inspect.signature(function).parameters.values()
    return [p.name for p in given if p.name != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _check_names(what: str, parameters: Mapping[str, Any], known: set[str]) -> None:
    for name in parameters:
        if name not in known:
            hint = nearest(name, sorted(known), f"it has {', '.join(sorted(known)) or 'none'}")
            raise ConfigError(f"--param {name}: {what} has no such parameter: {hint}")


def _check_call(what: str, function: Callable[..., Any], named: Mapping[str, Any], *first: Any) -> None:
    try:
        inspect.signature(function).bind(*first, **named)
    except TypeError as error:
        raise ConfigError(f"{what} cannot be made: {error}; give it with --param NAME=VALUE, or a default") from None


def blamed(error: BaseException) -> str | None:
    """An error that a user's file has raised, or has been told, in one line: where, what, and the line itself. None
    where the file had no part in it."""
    places = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    told = re.findall(r'File "([^"]+)", line (\d+)', str(error.__cause__))  # by a worker
    for file, number in reversed(places + [(file, int(number)) for file, number in told]):
        name = os.path.abspath(file)
        if name.startswith(tuple(_FOLDERS)) and not name.startswith(_OURS) and "site-packages" not in name:
            what = str(error) if isinstance(error, BacktestError) else f"{type(error).__name__}: {error}"
            where = [f"{os.path.relpath(name)}:{number}", *getattr(error, "__notes__", [])[:1]]
            line = linecache.getline(file, number).strip()
            return f"{', '.join(where)}: {what.rstrip(': ')}" + f": {line}" * bool(line)
    return None
