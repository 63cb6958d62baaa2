# SPDX-License-Identifier: Apache-2.0
"""Functions that differ in one token have other steps; those that differ in their text alone have the same."""

from __future__ import annotations

import itertools
from types import CodeType

import pytest

from gpu_bt.data.bytecode import steps

#: A function's body with a gap, and what may stand in it: no two of a line do the same.
GAPS = {
    "return f({}=.1, b=.9)": "a c",
    "return f(**x, {}=1)": "a b",
    "return f({})": "a|a, b|b, a|*a|**a|a=a|b=a|a, *b|a=a, **b|*a, b=b",
    "return x.f({})": "a|a, b|*a|**a|a=a|b=a|a, b=b",
    "return dict({}=1)": "a b",
    "class S(x, {}=.3): pass\n return S": "a b",
    "return self.order(x, {}=y)": "limit stop",
    "return super().{}(x)": "f g",
    "return x {} y": "+ - * / // % ** @ & | ^ << >> < <= == != > >= is in and or".split(" "),
    "return x {} y ": "is not|not in|is|in",
    "x {} y\n return x": "+= -= *= /= //= %= **= @= &= |= ^= <<= >>= =".split(" "),
    "return x[{}]": "a|a:|:a|a:b|a:b:c|::a|:|...|a,|(a, b)|-a|a:b, c",
    "x[{}] = 1": "a b a:b",
    "del x[{}]": "a b a:b",
    "return {}": "x|-x|+x|~x|not x|[x]|(x,)|{x}|[*x]|{*x}|(*x,)|{**x}|{x: x}|lambda: x|a",
    "return {} ": "None|True|1|1.0|1j|'1'|b'1'",
    "return f'{{x{}}}'": "|!r|!s|!a|:.2f|:.3f|!r:>3|!s:>3|=",
    "return f'{{x{}}}{{y}}'": "|!r|!a|:{y}",
    "return x.{}": "a b",
    "x.{} = y": "a b",
    "del x.{}": "a b",
    "global {}\n a = b = x": "a b",
    "{} = x\n return a": "a|a,|a, *b|*a, b|a, b|(a, b), c|[a, b, c]|b = a",
    "a, b = {}\n return a": "x, y|y, x|x, x",
    "a, b, c = {}\n return a": "x, y, z|z, y, x|y, z, x|x, z, y",
    "x, y = y, x\n return {}": "x y",
    "def g(a{}): return a\n return g": "|=x|: x|: x = y|, *b|, **b|, b|, /|, *, b|, *, b=x|, b=x",
    "def g(*, {}=x, b=y): return a\n return g": "a c",
    "import {} as m\n return m": "p q p.q",
    "from {} import f as m\n return m": "p . .. .p",
    "from p import {} as m\n return m": "f g",
    "if {}: return 1\n return 2": "x|not x|x is None|x is not None|x and y|x or y|x == y|x < y < z|x < y <= z",
    "while {}: x += 1": "x|not x|x is None|x is not None",
    "for i in {}: x += i\n return x": "y|z|y, z|z, y",
    "for i in y:\n  if i: {}\n  x += 1\n return x": "continue|break|return|raise|raise x|pass",
    "{}\n return 1": "x|raise x|raise x from y|assert x|assert x, y|del x|yield x|yield from x|f(x)|f(y)",
    "try: f(x)\n except {}: return 1": "A|B|(A, B)|A as e",
    "try: return f(x)\n {}: return 1": "except A|finally",
    "with {}: return x": "a|b|a as b|a, b|b, a",
    "return [{} for i in x]": "i|-i|(i, x)|f(i)",
    "match x:\n  case {}: return 1\n  case _: return 2": "1|2|[a]|[a, b]|[a, *b]|1 or 2",
    "match x:\n  case {}: return 1 ": "{1: a}|{1: a, **b}|A()|A(1)|A(x=1)|A(y=1)",
    "return {}(i for i in x)": "f g",
    "return [i for i in x if {}]": "i|not i|i > 1|i >= 1|i < 1",
    "def g(): nonlocal x, y; {} = 1\n return g": "x y",
    "def g(): return {}\n return g": "x|y|x, y",
    "async def g(): return {}\n return g": "x|await x|[i async for i in x]",
    "return x if {} else y": "z|not z|z > 1",
}  # fmt: skip
#: Texts of the same function.
FORMATS = [
    "def h(self, x, y, z):\n return f(a=x, b=y)[1:2] + .5",
    "def h(self, x, y, z):\n  'doc'\n\n  # why\n  return f(a=x,\n   b=y)[1:2] + .5",
    "def h(self, x, y, z):\n  '''longer'''\n  return (f(a=x, b=y,)[1 : 2] + 0.50)  # so",
    "\n\n\ndef h(self, x, y, z): return f(a = x, b = y)[0x1:2] + 5e-1",
]


def function(text: str) -> CodeType | None:
    """The code of the function that a text defines, None where it defines none."""
    try:
        made = compile(text, "m.py", "exec")
    except SyntaxError:
        return None
    return next(c for c in made.co_consts if isinstance(c, CodeType))


def told(code: CodeType) -> tuple[object, ...]:
    """What `steps` says of a function and those inside it, types of constants included."""
    head = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0xFFFF, code.co_freevars
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (
        head,
        names,
        code.co_exceptiontable,
        *((text, told(x) if isinstance(x, CodeType) else repr(x)) for text, x, _ in steps(code)),
    )


@pytest.mark.parametrize("body", GAPS)
def test_a_change_of_one_token_is_another_function(body):
    given = GAPS[body]
    words = given if isinstance(given, list) else given.split("|" if "|" in given else " ")
    texts = [f"def h(self, x, y, z):\n {body.replace('{}', w).replace('{{', '{').replace('}}', '}')}" for w in words]
    seen = {text: told(code) for text in texts if (code := function(text)) is not None}
    assert len(seen) >= 2
    assert not [pair for pair in itertools.combinations(seen, 2) if seen[pair[0]] == seen[pair[1]]]


def test_a_change_of_form_is_none():
    assert len({told(code) for text in FORMATS if (code := function(text)) is not None}) == 1
