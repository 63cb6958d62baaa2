# SPDX-License-Identifier: Apache-2.0
"""Fingerprints: whether what was saved belongs to what is given, be it numbers or code.

A value counts as it is now, not as its text stands in a file: a strategy's fingerprint holds its compiled code, that of
its base classes and of all functions that it calls, and the values of the globals, closures, defaults and attributes
that these look up. Code of installed packages counts by their versions. What code reads only while it runs (files,
the clock, unseeded random numbers) cannot be seen; what a run changes in a class or global is another value then.
"""

from __future__ import annotations

import contextlib
import copyreg
import datetime as dt
import functools
import gc
import hashlib
import importlib.util
import inspect
import io
import logging
import random
import re
import socket
import struct
import sys
import types
import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from gpu_bt.data.bytecode import Reference, references, steps
from gpu_bt.data.packages import package, python
from gpu_bt.errors import ConfigError

__all__ = ["fingerprint", "fingerprint_code"]

#: Names in classes that say nothing of what they do, or are made anew in every process.
_ABOUT = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __firstlineno__ __static_attributes__ __annotations__ __annotate__"
    " __annotate_func__ __annotations_cache__ __abstractmethods__ _abc_impl __orig_bases__ __parameters__"
    " __pydantic_core_schema__ __pydantic_validator__ __pydantic_serializer__".split()  # made of the fields
)
#: Values without parts -> their bytes. A float64 of NumPy is a Python float.
_PLAIN: dict[type, tuple[str, Callable[[Any], bytes]]] = {
    type(None): ("none", lambda x: b""),
    type(...): ("dots", lambda x: b""),
    bool: ("bool", lambda x: bytes([x])),
    int: ("int", lambda x: hex(x).encode()),
    float: ("float", lambda x: struct.pack("<d", x)),
    np.float64: ("float", lambda x: struct.pack("<d", x)),
    complex: ("complex", lambda x: struct.pack("<dd", x.real, x.imag)),
    str: ("text", lambda x: x.encode("utf-8", "surrogatepass")),
    bytes: ("bytes", bytes),
    bytearray: ("bytes", bytes),
}
#: What runs or looks up code that nobody can know beforehand.
_BLIND = (
    eval, exec, compile, globals, __import__, importlib.import_module, sys.modules, sys._getframe,
    gc, gc.get_objects, gc.get_referents, gc.get_referrers,
)  # fmt: skip
_BLIND_NAMES = frozenset("f_globals f_locals f_builtins __globals__ __subclasses__".split())
_COMPILED = (types.BuiltinFunctionType, np.ufunc, type(np.min))  # functions without code in Python
#: The generators behind the functions of `random` and `numpy.random`, whose state is new in every process.
_SHARED_RANDOM = (vars(random).get("_inst"), getattr(np.random.rand, "__self__", None))
_FRAMES = ("polars.dataframe.frame", "polars.series.series")
_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
_DESCRIPTORS = (
    types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)  # fmt: skip
#: What a function under `contextlib.contextmanager` gives, used as a decorator: it calls that anew each time.
_Decorating: Any = getattr(contextlib, "_GeneratorContextManager", None)
#: The end of a name that is made of an object's number in this process, as Pydantic makes them of classes.
_NUMBER = re.compile(r"[1-9]\d{8,19}$")
_NOWHERE = object()


def fingerprint(*parts: Any) -> str:
    """A hash of values of any kind, the same in every process: numbers by their bits, arrays by dtype, shape and bytes,
    containers by their elements, functions, classes and instances by what they do and hold.

    Raises ConfigError for what cannot be known: an open file, a lock, a generator, code that calls `eval`.
    """
    return fingerprint_code(*parts)[0]


def fingerprint_code(*parts: Any, own: str = "") -> tuple[str, dict[str, str], dict[str, str]]:
    """`fingerprint`, the packages that the values need, with their versions, and a hash of each part on top, such as a
    method or a global of it.

    own: a module; the package that it is of counts by its code, wherever it is installed.
    """
    walk = _Walk(own.partition(".")[0])
    try:
        return walk.whole(parts).hex(), walk.packages, {name: x.hexdigest() for name, x in walk.tops.items() if name}
    except RecursionError:
        walk.refuse("nested too deeply")
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # whatever a user's object makes of being looked at
        with walk.at("an object"):
            walk.refuse(f"which raises {type(error).__name__} when it is looked into")


class _Walk:
    """One way through values. An object that can hold others is entered once; later it is the number of that visit."""

    def __init__(self, own: str) -> None:
        self.hash, self.own = hashlib.blake2b(digest_size=16), own
        self.tops: dict[str, Any] = defaultdict(lambda: hashlib.blake2b(digest_size=8))
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no number of an object is given away
        self.path: list[str] = []
        self.waiting: list[tuple[Any, list[str]]] = []  # functions and classes: one may lead to a thousand others
        self.packages = dict([python()])
        self.kinds: dict[type, Callable[[Any], None]] = {
            list: self.elements, dict: self.mapping, types.MappingProxyType: self.mapping, set: self.unordered,
            types.CodeType: lambda x: self.code(x, {}), property: lambda x: self.elements((x.fget, x.fset, x.fdel)),
            functools.cached_property: lambda x: self.value(x.func),
            types.MethodType: lambda x: self.elements((x.__func__, x.__self__)),
            _Decorating: lambda x: self.elements((x.func, x.args, x.kwds)),
            staticmethod: lambda x: self.value(x.__func__), classmethod: lambda x: self.value(x.__func__),
            **dict.fromkeys(_DESCRIPTORS, lambda x: self.put("slot", x.__name__)),
        }  # fmt: skip

    def whole(self, x: Any) -> bytes:
        """The digest of a value and all that it leads to."""
        self.value(x)
        while self.waiting:
            code, self.path = self.waiting.pop()
            self.cls(code) if isinstance(code, type) else self.function(code)
        return self.hash.digest()

    def put(self, kind: str, content: bytes | str = b"") -> None:
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        for digest in (self.hash, self.tops[" of ".join(self.path[1::-1])]):
            digest.update(f"{kind} {len(content)}:".encode())
            digest.update(content)

    def refuse(self, what: str) -> NoReturn:
        where = self.path[:2] + (["..."] if len(self.path) > 4 else []) + self.path[2:][-2:]
        said = " uses ".join(where[:2]) + "".join(f", which uses {part}" for part in where[2:]) or "a value is"
        raise ConfigError(
            f"{said}{',' if where else ''} {what}: a later run could not know that it is the same; use arrays, numbers,"
            " texts and functions of modules instead, or leave out= out"
        )

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A step of the way to what is looked at, for `refuse`."""
        self.path.append(place[:80] if place.isprintable() else ascii(place)[1:80])
        yield
        self.path.pop()

    def value(self, x: Any) -> None:
        if type(x) is str and (end := _NUMBER.search(x)) and int(end[0]) in self.seen:
            x = f"{x[: end.start()]}{self.seen[int(end[0])]}"
        if (plain := _PLAIN.get(type(x))) is not None:
            self.put(plain[0], plain[1](x))
        elif type(x) is tuple:
            self.elements(x)
        elif type(x) is frozenset:
            self.unordered(x)
        elif isinstance(x, np.generic) and not x.dtype.hasobject:
            self.put(f"number {x.dtype.str}", x.tobytes())
        elif isinstance(x, (dt.date, dt.time, dt.timedelta)):
            self.instance(x)
        elif id(x) in self.seen:
            self.put("again", str(self.seen[id(x)]))
        else:
            self.seen[id(x)] = len(self.seen)
            self.kept.append(x)
            self.entered(x)

    def entered(self, x: Any) -> None:
        """A value that is met for the first time."""
        if any(x is blind for blind in _BLIND):
            name = getattr(x, "__name__", "sys.modules") + "()" * callable(x)
            self.refuse(f"{name}, which finds code only while it runs")
        if (step := self.kinds.get(type(x))) is not None:
            self.put(type(x).__name__)
            step(x)
        elif isinstance(x, (type, types.FunctionType)):
            self.put("code")
            self.waiting.append((x, list(self.path)))
        elif isinstance(x, np.ndarray):
            self.array(x)
        elif isinstance(x, types.ModuleType):
            self.module(x)
        else:
            self.instance(x)

    # ---- containers

    def elements(self, x: Iterable[Any]) -> None:
        listed = list(x)
        self.put("elements", str(len(listed)))
        for element in listed:
            self.value(element)

    def mapping(self, x: Mapping[Any, Any]) -> None:
        self.elements(pair for pair in x.items())

    def unordered(self, x: Iterable[Any]) -> None:
        """A set: each element by itself, as if it were the first, since their order is that of no two processes."""
        digests = []
        for element in x:
            walk = _Walk(self.own)
            walk.seen, walk.path, walk.packages = dict(self.seen), list(self.path), self.packages
            digests.append(walk.whole(element))
            self.kept.append(walk.kept)
        self.put("set", b"".join(sorted(digests)))

    def array(self, x: np.ndarray) -> None:
        if type(x) not in (np.ndarray, np.memmap):
            self.value(type(x))
            self.named(vars(x), "its attribute")
        dtype = str(x.dtype.descr) if x.dtype.names else x.dtype.str
        self.put("array", f"{dtype}{x.shape}")
        if x.dtype.hasobject or x.dtype.kind == "T":
            self.elements(x.reshape(-1).tolist())
        else:
            whole = np.ascontiguousarray(x)
            self.put("cells", whole.reshape(-1).view(np.uint8).data if whole.nbytes else b"")  # type: ignore[arg-type]

    def named(self, names: Mapping[str, Any], what: str) -> None:
        """A namespace, by its names; what: what they are called, the name comes after it."""
        for name in sorted(names):
            if name not in _ABOUT:
                self.put("name", name)
                with self.at(f"{what}{name}" if what.endswith(".") else f"{what} `{name}`"):
                    self.value(names[name])

    # ---- code

    def installed(self, module: object) -> bool:
        """Whether a module is of an installed package, which is noted."""
        top = str(module).partition(".")[0]
        found = None if module is None or (top == self.own and top not in ("gpu_bt", "cpu_fallback")) else package(top)
        if found is not None:
            self.packages[found[0]] = found[1]
        return found is not None

    def function(self, f: types.FunctionType) -> None:
        module = f.__globals__.get("__name__")
        if self.installed(module):
            self.put("of", f"{module}:{f.__code__.co_qualname}")
            if _found(str(module), f.__qualname__) is f:
                return
        else:
            self.code(f.__code__, f.__globals__)
        self.elements((f.__defaults__, f.__kwdefaults__))
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=False):
            with self.at(f"`{name}`"):
                self.value(cell.cell_contents if cell != types.CellType() else _NOWHERE)
        self.named(vars(f), "its attribute")

    def code(self, code: types.CodeType, namespace: Mapping[str, Any]) -> None:
        """What compiled code does, and the values of what it looks up in the namespace of its module."""
        self.instructions(code)
        for use in dict.fromkeys(references(code)):
            value = self.looked_up(use, namespace)
            taken = use.attributes if isinstance(value, types.ModuleType) else ()
            what = f"`{'.'.join((use.module or use.name, *taken))}`"
            with self.at(what if use.module else f"the global {what}"):
                self.put("use", use.name)
                self.follow(value, use.attributes)

    def instructions(self, code: types.CodeType) -> None:
        for name in _BLIND_NAMES.intersection(code.co_names):
            with self.at(f"`{name}`"):
                self.refuse("which finds code only while it runs")
        shape = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0xFFFF
        arguments = code.co_argcount + code.co_kwonlyargcount
        self.elements((shape, code.co_varnames[:arguments], code.co_freevars, code.co_exceptiontable))
        for text, constant, is_constant in steps(code):
            self.put("step", text)
            if is_constant and isinstance(constant, types.CodeType):
                self.instructions(constant)
            elif is_constant:
                self.value(constant)

    def looked_up(self, use: Reference, namespace: Mapping[str, Any]) -> Any:
        """The value of a name, _NOWHERE where there is none."""
        if use.module is None:
            builtins = namespace.get("__builtins__", __builtins__)
            builtins = builtins if isinstance(builtins, dict) else vars(builtins)
            return namespace.get(use.name, builtins.get(use.name, _NOWHERE))
        try:
            name = "." * use.level + use.module
            name = importlib.util.resolve_name(name, namespace.get("__package__")) if use.level else name
            return importlib.import_module(name)
        except Exception:  # as it would fail where the code runs, which may be made for that
            return _NOWHERE

    def follow(self, value: Any, attributes: tuple[str, ...]) -> None:
        """A value, or what attributes lead to where it is a module: one of a user's alone, not all of it."""
        while isinstance(value, types.ModuleType) and attributes:
            known, name, attributes = self.installed(value.__name__), attributes[0], attributes[1:]
            self.put("of", f"{value.__name__ if known else ''}.{name}")
            try:
                value = getattr(value, name)
            except AttributeError:  # a module that is not imported yet
                value = self.looked_up(Reference("", (), f"{value.__name__}.{name}"), {})
            whole = isinstance(value, (types.ModuleType, types.FunctionType, type)) or any(value is x for x in _BLIND)
            if whole or not known or not self.installed(type(value).__module__):
                continue
            if isinstance(value, _COMPILED):  # by its own name: a program may have put another one there
                return self.put("of", f"{getattr(value, '__module__', '')}.{value.__name__}")
            if type(value) not in _PLAIN or name.startswith("__"):
                return
        self.value(value)

    def cls(self, x: type) -> None:
        heap = bool(x.__flags__ & 1 << 9)
        known = self.installed(x.__module__)
        if not heap or (known and _found(x.__module__, x.__qualname__) is x):
            self.put("class", f"{x.__module__}.{x.__qualname__}")
            ours = x.__module__.startswith("gpu_bt.")
            put = {n: v for n, v in vars(x).items() if (ours and type(v) in _PLAIN) or self.foreign(v)}
            return self.named(put if heap else {}, f"{x.__qualname__}.")
        self.put("class", x.__qualname__)
        self.elements((*(() if type(x) is type else (type(x),)), *x.__bases__))
        self.named(vars(x), f"{x.__qualname__}.")

    def foreign(self, x: Any) -> bool:
        """Whether something in a class of a package is a function that a program has put there."""
        f = x.__func__ if isinstance(x, (staticmethod, classmethod)) else x.fget if type(x) is property else x
        return isinstance(f, types.FunctionType) and not self.installed(f.__globals__.get("__name__", "builtins"))

    def module(self, x: types.ModuleType) -> None:
        """A module that is used as a whole, as by getattr(): all that it holds, where it is a user's."""
        known = self.installed(x.__name__)
        self.put("module", x.__name__ if known else "")
        if not known:
            self.named({name: value for name, value in vars(x).items() if not name.startswith("__")}, f"{x.__name__}.")

    def instance(self, x: Any) -> None:
        """What would be pickled of an object, with the classes and functions in it."""
        if isinstance(x, _WEAK) or any(x is shared for shared in (_NOWHERE, *_SHARED_RANDOM)):
            return self.put(type(x).__name__)  # a cache, or what is new in every process
        if isinstance(x, logging.Logger):
            return self.put("logger")
        if any(c.__module__ in ("ctypes", "_ctypes") for c in type(x).__mro__):
            self.refuse("an object of ctypes")
        known = self.installed(type(x).__module__)
        if known and type(x).__module__ in _FRAMES:  # by what they hold, not by how it is cut in memory
            return self.elements((c.name, str(c.dtype), c.to_list()) for c in getattr(x, "iter_columns", lambda: [x])())
        if type(x).__module__.startswith("numba.") and hasattr(x, "py_func"):  # it has a new name in every process
            return self.elements((type(x), x.py_func, getattr(x, "targetoptions", None)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reduced = copyreg.dispatch_table.get(type(x))
                made: Any = x.__reduce_ex__(4) if reduced is None else reduced(x)
        except Exception:
            made = None
        if not isinstance(made, (str, tuple)):
            self.refuse(_kind(x))
        if isinstance(made, str):
            module = getattr(x, "__module__", None) or type(x).__module__
            self.put("of", f"{module if self.installed(module) else ''}:{made}")
            return self.named(getattr(x, "__dict__", {}), "its attribute")
        for part in made:
            if isinstance(part, Iterator):
                self.elements(part)
            elif type(part) is dict and all(type(name) is str for name in part):  # attributes, those that are kept
                kept = {
                    n: v for n, v in part.items() if type(getattr(type(x), n, None)) is not functools.cached_property
                }
                self.named(kept, "its attribute")
            elif part is not None:
                self.value(part)


def _found(module: str, name: str) -> Any:
    """What a module holds under a name with dots, None where there is nothing."""
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _kind(x: Any) -> str:
    """What an object is that cannot be looked into."""
    if isinstance(x, io.IOBase):
        return "an open file"
    if isinstance(x, socket.socket):
        return "a socket"
    if inspect.isgenerator(x) or inspect.iscoroutine(x) or inspect.isasyncgen(x):
        return "a generator"
    name = type(x).__name__
    return "a lock" if name.lower() in ("lock", "rlock") else f"a {name}, which cannot be pickled"
