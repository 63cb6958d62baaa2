# SPDX-License-Identifier: Apache-2.0
"""A sweep of a strategy goes on only with the strategy that began it: its code as it runs, and what it looks up."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from faults import kit
from faults.kit import fault, faults, refused
from sweep_cases import universe

import gpu_bt as bt
from gpu_bt.data import packages
from gpu_bt.data.fingerprints import fingerprint, fingerprint_code

pytestmark = pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")

#: Modules whose open files are not to be found by the collector in the middle of another test.
KEPT: list[types.ModuleType] = []
TEXT = '''
import functools
import logging
import numpy as np
import gpu_bt as bt
import polars as pl
import trade_help
from trade_help import scale
TOP = 3
SHARES = (0.2, 0.1)
TABLE = {"a": 1}
LOG = logging.getLogger(__name__)
def deep(x): return x + TOP
def helper(x, k=3, *, z=2): return deep(x) * k
def unrelated(): return 7
def times(k):
    def wrap(f):
        @functools.wraps(f)
        def inner(*a): return f(*a) * k
        return inner
    return wrap
class Rule:
    def __init__(self, v): self.v = v
    def of(self, x): return x * self.v
RULE = Rule(3)
class Meta(type):
    def extra(cls): return 1
class Root(bt.Strategy, metaclass=Meta):
    look = 4
    def base(self): return 1
class Own(Root):
    """doc"""
    rule = RULE
    exits = bt.Exits(stop_loss=0.5)
    rng = np.random.default_rng(3)
    names = {"x", "y", "z"}
    add = staticmethod(lambda x: x + 1)
    part = functools.partial(helper, 3)
    @times(2)
    def score(self, x): return helper(x) or pl.Series(x)
    @property
    def size(self): return 11
    @classmethod
    def made(cls): return cls.look
    @functools.lru_cache
    def kept(self): return 21
    def on_data_batch(self, t, batch):
        """doc of it"""
        # comment
        LOG.debug("bar")
        seen = [i for i in batch.close if i > 0.5 and i not in {"a", "b"}]
        from trade_help import inner
        import trade_help as th
        a = trade_help.func(3) + scale(3) + inner(2) + th.last(1)
        self.order_target_percent(batch.top(np.log(batch.close), TOP), SHARES[0] * 0.5)
'''
HELP = """
def scale(x): return x + 1
def func(x): return x + 2
def inner(x): return x + 3
def last(x): return x + 4
def other(x): return 99
"""


def made(old: str = "", new: str = "", *, helped: str = HELP, after: str = "", name: str = "trade_own") -> type:
    """The strategy of the text with one edit."""
    assert old in TEXT
    helper, module = types.ModuleType("trade_help"), types.ModuleType(name)
    sys.modules.update({"trade_help": helper, name: module})
    exec(compile(helped, "trade_help.py", "exec"), vars(helper))
    exec(compile(TEXT.replace(old, new, 1), f"{name}.py", "exec"), vars(module))
    exec(after, vars(module))
    KEPT.extend((helper, module))
    return module.Own


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("own")
    bt.sweep(universe(), made(), None, {"band": [0.0, 0.1]}, out=out)
    return out


EDITS = {
    "a constant of the module": dict(old="TOP = 3", new="TOP = 2"),
    "a number in a tuple of the module": dict(old="(0.2, 0.1)", new="(0.2, 0.10000000000000002)"),
    "the type of a constant": dict(old="TOP = 3", new="TOP = 3.0"),
    "a value in a dict of the module": dict(old='{"a": 1}', new='{"a": 2}', after="helper.__defaults__ = (TABLE,)"),
    "a constant in a method": dict(old="* 0.5", new="* 0.6"),
    "an operator": dict(old="* 0.5", new="/ 0.5"),
    "a constant in a comprehension": dict(old="i > 0.5", new="i > 0.6"),
    "an element of a set in a method": dict(old='{"a", "b"}', new='{"a", "c"}'),
    "a helper": dict(old="deep(x) * k", new="deep(x) / k"),
    "a helper of a helper": dict(old="x + TOP", new="x - TOP"),
    "a default argument": dict(old="k=3", new="k=4"),
    "a default of a keyword": dict(old="z=2", new="z=3"),
    "what a decorator closes over": dict(old="@times(2)", new="@times(3)"),
    "a decorator": dict(old="f(*a) * k", new="f(*a) ** k"),
    "an attribute of a base class": dict(old="look = 4", new="look = 5"),
    "a method of a base class": dict(old="def base(self): return 1", new="def base(self): return 2"),
    "a base class": dict(old="class Own(Root)", new="class Own(bt.Strategy)"),
    "a metaclass": dict(old="def extra(cls): return 1", new="def extra(cls): return 2"),
    "an attribute's own attribute": dict(old="Rule(3)", new="Rule(4)"),
    "a method of an attribute's class": dict(old="x * self.v", new="x + self.v"),
    "a lambda": dict(old="x: x + 1", new="x: x + 2"),
    "a partial": dict(old="partial(helper, 3)", new="partial(helper, 4)"),
    "a property": dict(old="return 11", new="return 12"),
    "a class method": dict(old="return cls.look", new="return -cls.look"),
    "a cached method": dict(old="return 21", new="return 22"),
    "a stop": dict(old="stop_loss=0.5", new="stop_loss=0.6"),
    "a seed": dict(old="default_rng(3)", new="default_rng(4)"),
    "an element of a set": dict(old='"z"}', new='"w"}'),
    "a function of NumPy": dict(old="np.log", new="np.sqrt"),
    "a function of another module": dict(helped=HELP.replace("x + 2", "x + 20")),
    "a function imported by name": dict(helped=HELP.replace("x + 1", "x + 10")),
    "a function imported in a method": dict(helped=HELP.replace("x + 3", "x + 30")),
    "a function of a module imported in a method": dict(helped=HELP.replace("x + 4", "x + 40")),
    "an attribute set after the class": dict(after="Own.look = 9"),
    "an attribute of a base class set later": dict(after="Root.look = 9"),
    "a method set after the class": dict(after="Own.score = lambda self, x: 3"),
    "a helper bound anew": dict(after="helper = deep"),
    "a constant bound anew": dict(after="TOP = 8"),
    "defaults set later": dict(after="helper.__defaults__ = (7,)"),
    "an array set later": dict(after="RULE.v = np.arange(3)"),
    "a function of NumPy replaced by an own one": dict(
        after="import types; own = types.ModuleType('numpy'); vars(own).update(vars(np)); np = own; np.log = deep"
    ),
    "a list grown later": dict(after="RULE.v = [1, [2, 3]]"),
    "which argument has which value": dict(old="deep(x) * k", new="deep(x, k=1, z=k)"),
    "a function under contextlib.contextmanager, as a decorator": dict(
        after="import contextlib\n@contextlib.contextmanager\ndef held(): yield\nOwn.score = held()(Own.score)"
    ),
}


@faults("another strategy", "refused", EDITS, "edited: ")
def test_an_edit_is_seen(value, folder):
    strategy = made(**value)
    with refused(r"holds a sweep with another strategy( \(.*\))?: choose another folder", bt.ResultError):
        bt.sweep(universe(), strategy, None, {"band": [0.0, 0.1]}, out=folder)


@fault("another strategy", "a rerun in the same process, whose first run has filled a global", "refused")
def test_what_has_changed_is_named(tmp_path):
    strategy = made("# comment", "CACHE[t] = 1", after="CACHE = {}")
    bt.sweep(universe(), strategy, None, {"band": [0.0]}, out=tmp_path)
    with refused(r"another strategy \(the global `CACHE` of Own.on_data_batch\): choose another folder"):
        bt.sweep(universe(), strategy, None, {"band": [0.0]}, out=tmp_path)


SAME = {
    "a comment": dict(old="# comment", new="# another one"),
    "a docstring": dict(old="doc of it", new="says it"),
    "a docstring that goes": dict(old='        """doc of it"""\n', new=""),
    "the docstring of the class": dict(old='    """doc"""\n', new=""),
    "blank lines": dict(old="TOP = 3", new="\n\n\nTOP = 3\n\n"),
    "blank lines in a method": dict(old="        LOG", new="\n\n        LOG"),
    "an unrelated function": dict(old="return 7", new="return 8"),
    "an unrelated function of another module": dict(helped=HELP.replace("99", "98")),
    "an unrelated global that is an open file": dict(old="TOP = 3", new="TOP = 3\nHANDLE = open('/dev/null')"),
    "an open file in another module": dict(helped=HELP + "HANDLE = open('/dev/null')\n"),
    "nothing, it is in another module": dict(name="trade_elsewhere"),
    "nothing, it is typed into a program": dict(name="__notebook__"),
    "nothing, loggers have got a level": dict(after="LOG.setLevel('INFO')"),
    "nothing, a cache has been filled": dict(after="Own.kept(None)"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@faults("another strategy", "survived", SAME, "edited: ")
def test_what_changes_nothing_is_no_difference(value, folder):
    kit.survived(bt.sweep(universe(), made(**value), None, {"band": [0.0, 0.1]}, out=folder).run, 0)


@fault("another strategy", "a rerun in the same process, after the stops of a strategy have held positions", "survived")
def test_a_rerun_in_the_same_process(tmp_path):
    strategy = made()
    bt.sweep(universe(), strategy, None, {"band": [0.0, 0.1]}, out=tmp_path)
    kit.survived(bt.sweep(universe(), strategy, None, {"band": [0.0, 0.1]}, out=tmp_path).run, 0)


@faults(
    "another strategy", "refused",
    {"Python": ("python_version", lambda: "3.99.0"), "an installed package": ("version", lambda name: "9.9")},
    "a rerun has another version of ",
)  # fmt: skip
def test_another_version(value, folder, monkeypatch):
    target = packages.platform if value[0] == "python_version" else packages
    monkeypatch.setattr(target, *value)
    packages.package.cache_clear()
    try:
        with refused("holds a sweep with another version of (Python|polars): choose another folder", bt.ResultError):
            bt.sweep(universe(), made(), None, {"band": [0.0, 0.1]}, out=folder)
    finally:
        packages.package.cache_clear()


BLIND = {
    "an open file as a global": ("HANDLE = open('/dev/null')", "HANDLE.read()", "`HANDLE`, an open file"),
    "a lock as a global": ("import threading; L = threading.Lock()", "L.acquire()", "`L`, a lock"),
    "a socket as a global": ("import socket; S = socket.socket()", "S.close()", "`S`, a socket"),
    "a generator as a global": ("G = (i for i in range(3))", "next(G)", "`G`, a generator"),
    "an object of ctypes as a global": ("import ctypes; C = ctypes.c_double(3)", "C.value", "`C`, an object of ctypes"),
    "a library of ctypes": ("import ctypes; C = ctypes.CDLL(None)", "C.abs(3)", "`C`, an object of ctypes"),
    "eval": ("", "eval('3')", r"`eval`, eval\(\), which finds code only while it runs"),
    "exec": ("", "exec('3')", r"`exec`, exec\(\)"),
    "compile": ("", "compile('3', '', 'eval')", r"compile\(\)"),
    "globals()": ("", "globals()['TOP']", r"globals\(\)"),
    "eval under another name": ("import builtins; run = builtins.eval", "run('3')", r"`run`, eval\(\)"),
    "eval of builtins": ("import builtins", "builtins.eval('3')", r"eval\(\)"),
    "__import__": ("", "__import__('json')", r"__import__\(\)"),
    "import_module": ("import importlib", "importlib.import_module('json')", r"import_module\(\)"),
    "import_module by name": ("from importlib import import_module", "import_module('json')", r"import_module\(\)"),
    "sys.modules": ("import sys", "sys.modules['json']", "sys.modules, which finds code"),
    "frames of callers": ("import sys", "sys._getframe()", r"_getframe\(\)"),
    "an object that refuses to be pickled": ("import _thread; X = _thread._local()", "X.a", "which cannot be pickled"),
    "globals of a frame": ("import inspect", "inspect.currentframe().f_globals['TOP']", "`f_globals`, which finds"),
    "locals of a frame": ("import inspect", "inspect.currentframe().f_locals", "`f_locals`, which finds code only"),
    "globals of a function": ("", "helper.__globals__['TOP']", "`__globals__`, which finds code only"),
    "subclasses of a class": ("", "Rule.__subclasses__()", "`__subclasses__`, which finds code"),
    "subclasses of a class, in a helper": ("def subs(): return Rule.__subclasses__()", "subs()", "`subs`, which uses"),
    "all objects of the collector": ("import gc", "gc.get_objects()", r"get_objects\(\), which finds"),
    "objects that the collector finds": ("from gc import get_referrers as who", "who(3)", r"get_referrers\(\)"),
    "the collector under another name": ("import gc; found = [gc]", "found[0]", "gc, which finds code"),
    "an object whose attributes all raise": (
        "class Odd:\n def __getattribute__(self, name): raise RuntimeError('no\\nway')\nX = Odd()", "X",
        "an object, which raises RuntimeError when",
    ),
    "an object that says nonsense of how it is made": (
        "class Odd:\n def __reduce_ex__(self, n): return 3\nX = Odd()", "X", "`X`, a Odd, which cannot be pickled",
    ),
    "a local state of threads": ("import threading; X = threading.local()", "X.a", "which cannot be pickled"),
    "an open file in a helper": ("H = open('/dev/null')\ndef read(): H.read()", "read()", "`read`, which uses .*`H`"),
    "an open file in a list": ("H = [1, [open('/dev/null')]]", "H[1]", "`H`, an open file"),
    "an open file in a dict": ("H = {'a': open('/dev/null')}", "H['a']", "`H`, an open file"),
    "an open file in an attribute": ("R = Rule(open('/dev/null'))", "R.v", "`R`, which uses its attribute `v`, an "),
    "an open file in a closure": (
        "def maker(h): return lambda: h.read()\nread = maker(open('/dev/null'))", "read()", "which uses `h`, an open",
    ),
    "a list in lists without end": ("D = []\nfor _ in range(100_000): D = [D]", "len(D)", "nested too deeply"),
}  # fmt: skip


#: What a program puts into an installed package -> what it does there first, and then.
PATCHES = {
    "a method of bt.Strategy": (bt.Strategy, "helper", lambda self: 0.1, lambda self: 0.2),
    "a property of bt.Strategy": (bt.Strategy, "level", property(lambda self: 0.1), property(lambda self: 0.2)),
    "a number of bt.Strategy": (bt.Strategy, "level", 0.1, 0.2),
    "a function of NumPy, made of another of its own": (np, "foo", np.min, np.max),
    "a universal function of NumPy": (np, "foo", np.floor, np.ceil),
    "a function of the standard library": (math, "floor", math.floor, math.ceil),
    "a number of NumPy": (np, "K", 0.3, 0.6),
    "an object of the program's own": (np, "own", kit.Fault("a", "b", "c"), kit.Fault("a", "b", "d")),
}


@faults("another strategy", "survived", PATCHES, "a program replaces, and that is seen: ")
def test_what_a_program_puts_into_packages(value, monkeypatch):
    place, name, before, after = value

    def digest(put: object) -> str:
        monkeypatch.setattr(place, name, put, raising=False)
        return fingerprint(made("# comment", f"np.{name}, math.{name}, self.{name}", after="import math"))

    kit.survived(digest(before) == digest(before), True)
    kit.survived(digest(before) == digest(after), False)


OBJECTS = {
    "a dict whose keys are attributes": "class D(dict): __getattr__ = dict.__getitem__\nX = D(a=#)",
    "one with any attribute": "class D:\n def __init__(self, v): self.v = v\n def __getattr__(self, n):\n"
    "  if n[:2] == '__': raise AttributeError(n)\n  return lambda *a: 3\nX = D(#)",
    "one with an attribute py_func": "class D:\n py_func = len\n def __init__(self, v): self.v = v\nX = D(#)",
    "one whose missing attributes raise another error": "class D:\n def __init__(self, v): self.v = v\n"
    " def __getattr__(self, n): raise AttributeError(n) if n[:2] == '__' else RuntimeError(n)\nX = D(#)",
    "a model that keeps numbers of objects beside its fields": "class D:\n __pydantic_core_schema__ = {'ref': id([])}\n"
    " __pydantic_fields__ = {'v': #}\nX = D()",
    "a class that knows its own number": "class D: v = #\nD.ref = f'D:{id(D)}'\nX = D()",
    "a helper under a context manager": "import contextlib\n@contextlib.contextmanager\ndef c(v): yield\n"
    "@c(#)\ndef X(): return 1",
}


@faults("another strategy", "survived", OBJECTS, "a strategy uses an object by its value: ")
def test_objects_count_by_their_value(value):
    def digest(number: str) -> str:
        return fingerprint(made("# comment", "X", after=value.replace("#", number)))

    kit.survived(digest("3") == digest("3"), True)
    kit.survived(digest("3") == digest("4"), False)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@faults("strategies that cannot be known", "refused", BLIND, "a strategy uses ")
def test_what_cannot_be_known_is_refused_for_out_alone(value, tmp_path):
    code, use, match = value
    strategy = made("        # comment", f"        if batch.bar < 0: {use}", after=code)
    with refused(
        f"(Own.on_data_batch uses|a value is).*{match}.*: a later run could not know .* the same.*or leave out= out",
        bt.ConfigError,
    ):
        bt.sweep(universe(), strategy, None, {"band": [0.0]}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(bt.sweep(universe(), strategy, None, {"band": [0.0]})) == 1


@fault(
    "strategies that cannot be known", "a module of the user is looked into by getattr(): all of it counts", "survived"
)
def test_getattr_takes_the_whole_module():
    def digest(helped: str) -> str:
        return fingerprint(made("# comment", "getattr(trade_help, 'func')", helped=helped))

    kit.survived(digest(HELP) == digest(HELP), True)
    kit.survived(digest(HELP) == digest(HELP.replace("99", "98")), False)


PROCESS = """
import sys
sys.path[:0] = [sys.argv[1]]
from gpu_bt.data.fingerprints import fingerprint_code
if sys.argv[2] == "late":
    import numpy.random, json, email.message
from faults.test_faults_strategies import made
print(*fingerprint_code(made()))
"""


@fault("another strategy", "a rerun in other processes, with other hashes and other imports before", "survived")
def test_every_process_has_the_same_fingerprint():
    want = " ".join(map(str, fingerprint_code(made())))
    for seed, when in (("0", "late"), ("7", "early")):
        got = subprocess.run(
            [sys.executable, "-c", PROCESS, str(kit.ROOT / "tests"), when], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(kit.ROOT)},
        )  # fmt: skip
        kit.survived(got.stdout.strip(), want)
