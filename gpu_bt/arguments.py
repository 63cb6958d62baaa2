# SPDX-License-Identifier: Apache-2.0
"""What a user passes, checked before it is used: one rule for each kind of argument, one line where it is broken."""

from __future__ import annotations

import builtins
import errno
import inspect
import math
import operator
import os
import types
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, SupportsFloat

from gpu_bt.errors import ConfigError, PanelError, shown

__all__ = [
    "called_with", "check_texts", "columns_of", "disguised", "dtype_name", "file_of", "flag", "must_be", "one_of",
    "path_of", "plain_function", "real", "several", "whole",
]  # fmt: skip

_Error = type[Exception]
#: Types that NumPy reads as numbers though they hold none, or hide them; by name, since NumPy takes long to import.
_DISGUISED = ("MaskedArray", "MaskedConstant", "bytes", "bytearray", "memoryview")


def must_be(name: str, value: Any, rule: str, error: _Error = ConfigError) -> NoReturn:
    """Refuse the value of an argument."""
    raise error(f"{name} is {shown(value)}: it must be {rule}")


def one_of(name: str, value: Any, options: Collection[str | None], error: _Error = ConfigError) -> Any:
    """A text, or None, that is one of the options."""
    if not (value is None or isinstance(value, str)) or value not in options:
        must_be(name, value, f"one of {', '.join(map(repr, options))}", error)
    return value if value is None else str(value)  # NumPy's texts, too


def check_texts(error: _Error, **given: Any) -> None:
    """Refuse the first argument that is no text."""
    for name, value in given.items():
        if not isinstance(value, str):
            must_be(name, value, "a text", error)


def flag(name: str, value: Any, error: _Error = ConfigError) -> bool:
    """True or False, of NumPy, too, or 1 or 0: "no" would be true."""
    if type(value).__name__ in ("bool", "bool_") or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    must_be(name, value, "True or False", error)


def whole(name: str, value: Any, low: int = 1, high: float = 2**63 - 1, error: _Error = ConfigError) -> int:
    """A whole number in [low, high], of any type that is one; True and 5.0 are none."""
    try:
        if type(value) is not bool and low <= (number := operator.index(value)) <= high:
            return number
    except TypeError:
        pass
    must_be(name, value, f"a whole number >= {low}" + (f" and <= {high:,}" if high < 2**63 - 1 else ""), error)


def real(value: Any) -> float:
    """A number of any type as a float; NaN for bools, texts and whatever else is none, and beyond a float's range."""
    if type(value) is float:
        return value
    if isinstance(value, (int, SupportsFloat)) and type(value).__name__ not in ("bool", "bool_"):
        if getattr(getattr(value, "dtype", None), "kind", "f") not in "iuf" or disguised(value):
            return math.nan  # of NumPy: complex, dates, texts, objects, what is masked
        try:
            return float(value)
        except (TypeError, ValueError, ArithmeticError):
            pass
    return math.nan


def disguised(value: Any, bools: bool = True) -> bool:
    """Whether NumPy would read a value, or an element of a list, as a number that it is not: what is masked, bytes, and
    a bool beside numbers unless these are allowed."""
    if type(value).__name__ in ("ndarray", "float", "int"):  # at every order
        return False
    kinds = {type(value), *(map(type, value) if isinstance(value, (list, tuple)) else ())}
    names = {kind.__name__ for kind in kinds}
    return not names.isdisjoint(_DISGUISED) or not (bools or names.isdisjoint(("bool", "bool_")))


def columns_of(fields: Any) -> dict[str, str] | None:
    """field -> column of the option `fields`. Raises PanelError for what is no such thing."""
    if fields is None:
        return None
    names = fields if several(fields) and hasattr(fields, "__len__") else []  # no file, nor what is read only once
    pairs: list[Any] = list(fields.items()) if isinstance(fields, Mapping) else [(name, name) for name in names]
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        must_be("fields", fields, "names of fields in a list, or {field: column}, all of them texts", PanelError)
    return dict(pairs)


def dtype_name(dtype: Any, error: _Error = PanelError) -> str:
    """ "float64" or "float32" of np.float32, np.dtype("float32") or "float32"."""
    name = getattr(dtype, "__name__", None) or (str(dtype) if type(dtype).__module__.startswith("numpy") else dtype)
    return str(one_of("dtype", name, ("float64", "float32"), error))


def several(value: Any) -> bool:
    """Whether a value is a collection, of names for example, and no single one, which a text is."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes)) and getattr(value, "ndim", None) != 0


def path_of(name: str, value: Any, error: _Error = ConfigError) -> Path:
    """A path that the system can take, "~" and "~name" as a shell reads them; of nobody it is a name like others."""
    text: Any = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    try:
        if isinstance(text, str) and text.strip() and b"\0" not in text.encode():  # Polars takes no other names
            text = os.path.expanduser(text)
            os.lstat(text)
            return Path(text)
    except UnicodeEncodeError:
        pass
    except OSError as reason:  # there is nothing yet, or something in the way, which whoever uses it will tell
        if reason.errno != errno.ENAMETOOLONG:
            return Path(text)
    must_be(name, value, "a path that is not empty, its names UTF-8 and not too long", error)


def file_of(name: str, value: Any, error: _Error = ConfigError) -> Path:
    """The path of a file to be read at once. What never ends is refused, a device or a pipe that has a name; a pipe of
    the shell, as in <(...), has none."""
    path = path_of(name, value, error)
    if not path.is_file() and os.path.exists(os.path.realpath(path)):
        raise error(f"{path} cannot be read: it is no file; pass the path of a file")
    return path


def plain_function(name: str, function: Any, error: _Error = ConfigError) -> None:
    """Refuse what is no function, or would give a coroutine or generator that nobody runs."""
    odd = inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function)
    if isinstance(function, (type, types.BuiltinFunctionType)) and function is not print:  # int, len: what would it do?
        odd = any(function is known for known in vars(builtins).values())
    if odd or inspect.isasyncgenfunction(function) or not callable(function):
        must_be(name, function, "a plain function of your own, neither async nor with yield", error)


def called_with(name: str, function: Any, *given: Any, error: _Error = ConfigError) -> None:
    """Refuse what is no `plain_function`, or cannot be called with such arguments."""
    plain_function(name, function, error)
    try:
        inspect.signature(function).bind(*given)
    except TypeError as reason:
        raise error(f"{name} cannot be called with its {len(given)} arguments: {reason}") from None
    except ValueError:  # written in C, which does not say what it takes
        pass
