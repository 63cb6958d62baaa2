# SPDX-License-Identifier: Apache-2.0
"""What the shell completes: values of options. Imports nothing that is slow before it is asked for such a value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, MutableMapping

__all__ = ["among", "axes", "engines", "metrics", "rejoin", "settings"]

#: What the shell has cut off before the word that is completed: NAME=.
_CUT: list[str] = []


def rejoin(environment: MutableMapping[str, str] = os.environ) -> None:
    """bash cuts NAME=VALUE into three words: make one of them again, but for the one that is completed, which is the
    value alone to bash."""
    _CUT.clear()
    if "COMP_WORDS" not in environment:
        return
    words = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    while "=" in words[1:]:
        i = words.index("=", 1)
        name, rest = words[i - 1] + "=", words[i + 1 : i + 2]
        if i + 2 < len(words) or name.startswith("-"):
            words[i - 1 : i + 2] = ["".join([name, *rest])]
        else:
            _CUT.append(name)
            words[i - 1 :] = rest or [""]
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(words), str(len(words) - 1)


def among(values: Iterable[str]) -> Callable[[str], list[str]]:
    """The completion of one of some values."""
    found = list(values)
    return lambda incomplete: [value for value in found if value.startswith(incomplete)]


def engines(incomplete: str) -> list[str]:
    """Engines by name."""
    from gpu_bt.engine.registry import ENGINES

    return among(["auto", "cpu", *ENGINES])(incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics of a sweep."""
    from gpu_bt.sweeps.result import METRICS

    return among(METRICS)(incomplete)


def settings(incomplete: str) -> list[str]:
    """NAME=VALUE of fields of Config: the names, then the choices, or the default of a number."""
    from gpu_bt.config import FIELDS

    name, equals, _ = (whole := "".join([*_CUT, incomplete])).partition("=")
    names = [name] if equals else [field for field in FIELDS if field.startswith(name)]
    if len(names) > 1 or not names or names[0] not in FIELDS:
        return [f"{field}=" for field in names if not equals]
    field = FIELDS[names[0]]
    values = dict.fromkeys(["", *(field.choices or (str(field.default).lower(), *["none"] * field.optional))])
    return [text.removeprefix("".join(_CUT)) for text in among(f"{field.name}={x}" for x in values)(whole)]


def axes(incomplete: str) -> list[str]:
    """NAME= of fields of Config."""
    from gpu_bt.config import FIELDS

    return among(f"{name}=" for name in FIELDS)("".join([*_CUT, incomplete]))
