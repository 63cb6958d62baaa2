# SPDX-License-Identifier: Apache-2.0
"""Weights that a function makes: `sweep(panel, make, ...)` calls it for a panel of weights when a pass needs that one.

Letters: T bars, N assets.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpu_bt.arguments import plain_function
from gpu_bt.config import FIELDS
from gpu_bt.data.frames import books_of
from gpu_bt.data.labels import is_labelled
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream, WeightsStream
from gpu_bt.data.weights import check_weights
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import ConfigError, WeightsError, label_of, shown

__all__ = ["Code", "Maker", "maker_of"]


class Code(NamedTuple):
    """What a sweep runs of a user's: a "strategy" or a "function" that makes weights."""

    kind: str
    itself: Any
    name: str
    module: str


class _NoRoom(WeightsError, MemoryError):
    """A function had no room for its weights, in host memory or on a GPU."""


@dataclasses.dataclass(frozen=True, eq=False)
class Maker(Collection[str]):
    """As a collection, the axes of a grid that its function takes.

    make: called with a scenario's values of these by name, gives (T, N) weights as `run` takes them.   names: of its
    arguments.   needed: those without a default.   any: it takes all axes that are no field of Config, in **arguments
    or, at_once, as a dict.
    """

    make: Callable[..., Any]
    names: tuple[str, ...]
    needed: tuple[str, ...]
    any: bool
    at_once: bool

    def __contains__(self, axis: object) -> bool:
        return axis != "weights" and (axis in self.names or (self.any and axis not in FIELDS))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names) + self.any

    @property
    def code(self) -> Callable[..., Any]:
        """The function without what functools.partial has put around it."""
        made = self.make
        while isinstance(made, functools.partial):
            made = made.func
        return made

    @property
    def name(self) -> str:
        """What a message calls it."""
        return str(getattr(self.code, "__name__", type(self.code).__name__))

    def check(self, axes: Collection[str]) -> None:
        """Raise ConfigError where the axes of a grid lack an argument."""
        if lacks := [name for name in self.needed if name not in axes]:
            raise ConfigError(
                f"weights={self.name} needs {lacks[0]!r}, which is no axis of the grid: give the grid such an axis, or"
                " the argument a default"
            )

    def books(
        self, panel: Panel | PanelStream, wanted: Sequence[tuple[int, str, Mapping[str, Any]]]
    ) -> list[np.ndarray | Resident | WeightsStream]:
        """The checked weights of some scenarios, (number, account, settings) each.

        Raises WeightsError, in one line that names the scenario, for what the function raises and for what is no panel
        of weights; a MemoryError where it had no room, and where all of them would take more than half of a GPU.
        """
        found: list[np.ndarray | Resident | WeightsStream] = []
        places: dict[int, tuple[int, int]] = {}
        for k, account, settings in wanted:
            try:
                book = books_of(self.make(settings) if self.at_once else self.make(**settings), panel)
                if isinstance(panel, PanelStream) and is_labelled(book):
                    found.append(panel.books(book, account))
                    continue
                array = check_weights(panel, book, account)
                start, stop = _place(array)
                if twice := [i for i, (a, b) in places.items() if a < stop and start < b]:
                    raise WeightsError(
                        f"it gave the memory of the weights of scenario {twice[0]} again: return a new array each time,"
                        " or one that is read-only"
                    )
                if isinstance(array, Resident) or array.flags.writeable:
                    places[k] = start, stop
                if isinstance(array, Resident) and (len(wanted) - len(places)) * array.nbytes > array.tools.free() // 2:
                    raise MemoryError
                found.append(panel.books(array) if isinstance(panel, PanelStream) else array)
            except Exception as error:
                call = ", ".join(f"{name}={shown(value)}" for name, value in settings.items())
                what = "" if isinstance(error, WeightsError) else f"{type(error).__name__}: "
                reason = " ".join(f"{what}{label_of(error)}".split()).rstrip(": ")[:400]
                if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's is none
                    raise _NoRoom(
                        f"scenario {k} does not fit into memory, for {self.name}({call}) had no room ({reason}): free"
                        " some, or let it take less"
                    ) from error
                raise WeightsError(f"weights of scenario {k}, {self.name}({call}): {reason}") from error
        return found


def _place(array: np.ndarray | Resident) -> tuple[int, int]:
    """Where an array begins and ends in memory."""
    start = array.pointer if isinstance(array, Resident) else array.ctypes.data
    return start, start + array.nbytes


def maker_of(weights: Any) -> Maker | None:
    """The weights where they are a function that makes such, else None. Raises ConfigError for one that cannot be
    called with named arguments."""
    if not callable(weights) or isinstance(weights, type):
        return None
    plain_function("weights", weights)
    try:
        given = inspect.signature(weights).parameters.values()
    except ValueError:
        raise ConfigError("weights is a function that does not say its arguments: pass one of your own") from None
    named = [p for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in given if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    free = any(p.kind is p.VAR_KEYWORD for p in given)
    if [p.name for p in given] == ["parameters"] and not free:
        return Maker(weights, (), (), True, True)
    maker = Maker(weights, tuple(p.name for p in named), tuple(needed), free, False)
    if odd := [name for name in needed if name not in maker.names or name == "weights"]:
        raise ConfigError(f"weights={maker.name} cannot be called with {odd[0]}=...: let it take its arguments by name")
    return maker
