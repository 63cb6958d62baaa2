# SPDX-License-Identifier: Apache-2.0
"""A grid of parameters -> K scenarios, every value checked before anything runs.

An axis is a field of Config, "weights" (the name of a weights panel) or "scores", or a parameter of a strategy, or of
what makes weights.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NoReturn

from gpu_bt.arguments import disguised, must_be, one_of, real, several
from gpu_bt.config import FIELDS, Config
from gpu_bt.errors import ConfigError, nearest, shown

__all__ = ["Scenarios", "expand"]

#: More scenarios than this are a mistake in the grid.
_MOST = 10_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Scenarios:
    """K scenarios: axis -> its K values as a table shows them, and the K configs. `len` is K."""

    axes: dict[str, list[Any]]
    configs: list[Config]

    def __len__(self) -> int:
        return len(self.configs)

    def settings(self, k: int, taken: Container[str] | None = None) -> dict[str, Any]:
        """Parameters in scenario k: those `taken`; None = a strategy's, neither fields of Config nor the weights."""
        taken = self.axes.keys() - {*FIELDS, "weights"} if taken is None else taken
        return {name: values[k] for name, values in self.axes.items() if name in taken}


def expand(
    grid: Any, config: Config, names: Sequence[str] = (), parameters: Collection[str] = (), picks: str = "weights"
) -> Scenarios:
    """The scenarios of a grid over a base config.

    grid: axis -> list of values (all combinations, the last axis fastest); or a list of mappings or a Polars table, a
    scenario per row. "none" is None where a field may be None.   names: those of the weights panels, which the axis
    `picks` picks; with several and without it every scenario runs on each.   parameters: what a strategy or a function
    that makes weights takes, or name -> (name, value) -> the value, checked.

    Raises ConfigError naming axis and value: an axis that is unknown or empty, a value that is impossible or twice.
    """
    check = _Checker(config, names, parameters, picks)
    columns = (_product if isinstance(grid, Mapping) else _rows)(grid, names, check)
    base, count = config.to_dict(), len(next(iter(columns.values())))
    fields = {name: values for name, values in columns.items() if name in base}
    configs = [_quick(base | dict(zip(fields, row, strict=True))) for row in zip(*fields.values(), strict=True)]
    return Scenarios(columns, configs or [config] * count)


def _quick(values: dict[str, Any]) -> Config:
    """A Config of values that were each checked alone, which is all that Config does: it takes 45 us, this takes 1."""
    config = object.__new__(Config)
    config.__dict__.update(values)
    return config


class _Checker:
    """Axis and value -> the value as Config (or the table) holds it. Each is looked at once."""

    def __init__(self, config: Config, names: Sequence[str], parameters: Collection[str], picks: str) -> None:
        self.base, self.names, self.parameters, self.picks = config.to_dict(), names, parameters, picks
        self.seen: dict[tuple[str, type, Any], Any] = {}

    def __call__(self, axis: str, value: Any) -> Any:
        if not isinstance(axis, str):
            must_be("a grid axis", axis, "a text: a field of Config, 'weights' or a parameter of the strategy")
        if disguised(value):
            self.refuse(axis, value)
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
        if not isinstance(value, (int, float, str, type(None))):
            value = real(value) if isinstance(value, (Real, Decimal)) else self.refuse(axis, value)
        key = (axis, type(value), value)
        if key not in self.seen:
            self.seen[key] = self._checked(axis, value)
        return self.seen[key]

    def _checked(self, axis: str, value: Any) -> Any:
        rules = self.parameters if isinstance(self.parameters, Mapping) else {}
        if axis in FIELDS or axis in rules:
            try:
                if axis in rules:
                    return rules[axis](axis, value)
                return getattr(Config.from_dict({**self.base, axis: value}), axis)
            except ConfigError as error:
                raise ConfigError(f"grid axis {axis!r}: {error}") from None
        if axis == self.picks and self.names:
            return value if value in self.names else one_of(f"grid axis {axis!r}", value, self.names)
        if axis not in self.parameters:
            if axis == self.picks:
                raise ConfigError(f"grid axis {axis!r} picks a panel by name: pass {axis}={{name: panel, ...}}")
            hint = nearest(axis, [*FIELDS, *self.parameters, self.picks], "see help(Config) for the fields")
            of = f" nor a parameter of {getattr(self.parameters, 'name', 'the strategy')}" if self.parameters else ""
            raise ConfigError(f"grid axis {shown(axis)} is no field of Config{of}: {hint}")
        if value is not None and (not isinstance(value, (bool, int, float, str)) or value != value):
            self.refuse(axis, value)
        # A column of the table has to hold it.
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.refuse(axis, value)
        if isinstance(value, str) and value != value.encode(errors="ignore").decode():
            self.refuse(axis, value)
        return value

    @staticmethod
    def refuse(axis: str, value: Any) -> NoReturn:
        rule = "a value is a number, a text, a bool or None, whole numbers of 64 bits"
        raise ConfigError(f"grid axis {shown(axis)} has {shown(value)}: {rule}")


def _product(grid: Mapping[str, Any], names: Sequence[str], check: _Checker) -> dict[str, list[Any]]:
    """Axis -> its K values, of all combinations; the last axis changes fastest."""
    axes: dict[str, list[Any]] = {} if len(names) < 2 or check.picks in grid else {check.picks: list(names)}
    for axis, values in grid.items():
        # A set has no order.
        if isinstance(values, (Mapping, set, frozenset)) or not several(values) or disguised(values):
            raise ConfigError(f"grid axis {shown(axis)} is {shown(values)}: pass a list of values")
        axes[axis] = list(itertools.islice(values, _MOST + 1))  # one without an end, too
        if not axes[axis]:
            raise ConfigError(f"grid axis {shown(axis)} is empty: give it a value, or leave it out")
    if not axes:
        raise ConfigError("grid is empty: pass {axis: list of values}, such as {'band': [0, 0.01]}")
    if (count := math.prod(map(len, axes.values()))) > _MOST:
        raise ConfigError(
            f"grid has {count:,} scenarios, more than {_MOST:,}: thin out {max(axes, key=lambda a: len(axes[a]))!r}"
        )
    for axis in grid:
        axes[axis] = [check(axis, value) for value in axes[axis]]
        if twice := [value for value, count in Counter(axes[axis]).items() if count > 1]:
            what = f"grid axis {axis!r} has {shown(twice[0])} twice"
            raise ConfigError(f"{what}: a value makes its own scenarios; drop one")
    return dict(zip(axes, map(list, zip(*itertools.product(*axes.values()), strict=True)), strict=True))


def _rows(grid: Any, names: Sequence[str], check: _Checker) -> dict[str, list[Any]]:
    """Axis -> its K values, of scenarios that are listed one by one."""
    rows = grid.to_dicts() if hasattr(grid, "to_dicts") and not isinstance(grid, type) else grid
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(isinstance(row, Mapping) for row in rows):
        kind = type(grid).__name__
        raise ConfigError(f"grid is a {kind}: pass {{axis: list of values}}, a list of such rows, or a Polars table")
    if not rows or not rows[0]:
        raise ConfigError("grid is empty: pass at least one scenario with at least one axis")
    axes = list(rows[0])
    for i, row in enumerate(rows):
        if odd := set(row) ^ set(axes):
            raise ConfigError(
                f"grid row {i} and row 0 differ in the axis {min(map(shown, odd))}: give all rows the same"
            )
    values = [tuple(check(axis, row[axis]) for axis in axes) for row in rows]
    first: dict[tuple[Any, ...], int] = {}
    for i, row in enumerate(values):
        if first.setdefault(row, i) != i:
            what = ", ".join(f"{a}={shown(v)}" for a, v in zip(axes, row, strict=True))
            raise ConfigError(f"grid rows {first[row]} and {i} are the same scenario ({what}): drop one")
    if len(names) > 1 and check.picks not in axes:
        axes, values = [check.picks, *axes], [(name, *row) for name in names for row in values]
    return dict(zip(axes, map(list, zip(*values, strict=True)), strict=True))
