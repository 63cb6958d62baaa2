# SPDX-License-Identifier: Apache-2.0
"""What the shell completes: values of options. Imports nothing that is slow before it is asked for such a value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, MutableMapping

__all__ = ["among", "axes", "engines", "metrics", "rejoin", "settings"]

#: A word that the shell has cut at "=" is completed: it wants what follows alone.
_CUT: list[str] = []


def rejoin(environment: MutableMapping[str, str] = os.environ) -> None:
    """bash cuts NAME=VALUE into three words: make one of them again, up to the word that is completed."""
    if "COMP_WORDS" not in environment:
        return
    words, at = environment["COMP_WORDS"].split("\n"), int(environment["COMP_CWORD"])
    words, _CUT[:] = words[: at + 1], []
    while "=" in words[1:]:
        i = words.index("=", 1)
        if i + 2 >= len(words):
            _CUT[:] = [words[i - 1] + "="]
        words[i - 1 : i + 2] = ["".join(words[i - 1 : i + 2])]
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

    name, equals, _ = incomplete.partition("=")
    if not equals:
        names = [field for field in FIELDS if field.startswith(name)]
        if len(names) > 1:
            return [f"{field}=" for field in names]
        name = names[0] if names else name
    if name not in FIELDS:
        return []
    field = FIELDS[name]
    values = field.choices or (str(field.default).lower(), *["none"] * field.optional)
    found = among(f"{name}={value}" for value in dict.fromkeys(values))(incomplete)
    return [text.removeprefix(_CUT[0]) for text in found] if _CUT else found


def axes(incomplete: str) -> list[str]:
    """NAME= of fields of Config."""
    return [f"{text.partition('=')[0]}=" for text in settings(incomplete)] if "=" not in incomplete else []
