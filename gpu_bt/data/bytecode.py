# SPDX-License-Identifier: Apache-2.0
"""What a function does and what it looks up, read from its compiled code: the same for any text, file, line and
docstring that compile to it."""

from __future__ import annotations

import dataclasses
import dis
from collections.abc import Iterator
from types import CodeType
from typing import Any

__all__ = ["Reference", "Step", "references", "steps"]

#: Instructions that do nothing, and names of a class body that say nothing of what the class does.
_NOTHING = ("CACHE", "EXTENDED_ARG", "NOP", "RESUME", "PRECALL")
_ABOUT = ("__doc__", "__firstlineno__", "__static_attributes__")
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
#: Instructions whose argument is the place of a constant (3.11 does not list that of keywords), or of names.
_CONSTANTS = {*dis.hasconst, dis.opmap.get("KW_NAMES", -1)}
_NAMED = {*dis.hasname, *dis.haslocal, *dis.hasfree}

#: What an instruction is, and the constant that it loads (with True) or (None, False).
Step = tuple[str, Any, bool]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A name that code looks up, with the attributes that it takes of it at once.

    module: None = `name` is a global or built in; else the module (`level` as in an import) that code imports itself,
    and `name` is where it puts it.
    """

    name: str
    attributes: tuple[str, ...] = ()
    module: str | None = None
    level: int = 0


def steps(code: CodeType) -> Iterator[Step]:
    """The instructions: constants by value, the names of a call's keywords among them, jumps by the number of the step
    that they lead to, and names as such, so that a docstring, which moves the places of constants, and a comment change
    nothing; all else by its number, since `dis` leaves some of that out of its texts."""
    found, place = _instructions(code)
    for at in found:
        if at.opcode in _CONSTANTS:
            yield at.opname, code.co_consts[at.arg or 0], True
        elif at.opcode in dis.hasjrel or at.opcode in dis.hasjabs:
            yield f"{at.opname} {place[at.argval]}", None, False
        elif at.opcode in _NAMED:
            yield f"{at.opname} {at.argrepr}", None, False
        else:
            yield f"{at.opname} {at.arg}", None, False


def _instructions(code: CodeType) -> tuple[list[dis.Instruction], dict[int, int]]:
    """Instructions that do something, and the number of the first of them at or after each offset."""
    listed = list(dis.get_instructions(code))
    about = {i for i, at in enumerate(listed) if at.opname == "STORE_NAME" and at.argval in _ABOUT}
    about |= {i - 1 for i in about}
    found: list[dis.Instruction] = []
    place: dict[int, int] = {}
    for i, at in enumerate(listed):
        place[at.offset] = len(found)
        if i not in about and at.opname not in _NOTHING:
            found.append(at)
    return found, place


def references(code: CodeType, imported: dict[str, Reference] | None = None) -> Iterator[Reference]:
    """Names that the code, and the code inside it, looks up outside of itself. imported: local names that stand for
    modules, or what comes from them."""
    found, _ = _instructions(code)
    mine = dict(imported or {})
    for i, at in enumerate(found):
        if at.opname == "IMPORT_NAME":
            for made in _imports(found, i):
                mine[made.name] = made
    for i, at in enumerate(found):
        if not at.opname.startswith("LOAD_") or at.opname in _ATTRIBUTES or at.opcode in dis.hasconst:
            continue
        taken = _attributes(found, i + 1)
        for name in at.argval if isinstance(at.argval, tuple) else (at.argval,):
            if name in (*code.co_cellvars, *code.co_freevars) and "DEREF" not in at.opname:
                continue  # its cell is handed on to a function inside
            if name in mine:
                made = mine[name]
                yield dataclasses.replace(made, attributes=made.attributes + taken)
            elif at.opname in _GLOBALS and name not in ("__name__", "__file__"):
                yield Reference(name, taken)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from references(constant, mine)


def _attributes(found: list[dis.Instruction], i: int) -> tuple[str, ...]:
    """The attributes that are taken one of the other from step i on."""
    taken = []
    while i < len(found) and found[i].opname in _ATTRIBUTES:
        taken.append(found[i].argval)
        i += 1
    return tuple(taken)


def _imports(found: list[dis.Instruction], i: int) -> Iterator[Reference]:
    """What an import that is step i puts where: `import a.b`, `import a.b as c` or `from a import b as c`."""
    level, names, module = found[i - 2].argval, found[i - 1].argval, found[i].argval
    attribute: tuple[str, ...] = ()
    whole = not names
    for at in found[i + 1 :]:
        if at.opname == "IMPORT_FROM":
            attribute = () if whole else (at.argval,)
            module = found[i].argval
        elif at.opname.startswith("STORE_"):
            name = at.argval[0] if isinstance(at.argval, tuple) else at.argval
            short = whole and name == module.partition(".")[0]
            yield Reference(name, attribute, name if short else module, int(level or 0))
            if whole:
                return
        elif at.opname not in ("SWAP", "POP_TOP", "ROT_TWO"):
            return
        elif at.opname == "POP_TOP" and not whole:
            return
