# SPDX-License-Identifier: Apache-2.0
"""check_lookahead: does a strategy's decision change when only data after it changes?

Letters: T bars, N assets.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from gpu_bt.arguments import called_with, must_be, whole
from gpu_bt.config import Config
from gpu_bt.data.arrays import as_host, on_gpu
from gpu_bt.data.fields import PRICE_RANGE, PRICES
from gpu_bt.data.panel import Panel
from gpu_bt.data.times import time_series
from gpu_bt.engine.registry import resolve, tools
from gpu_bt.engine.resident import Resident, on_host
from gpu_bt.engine.spec import Engine, Progress
from gpu_bt.errors import PanelError, StrategyError, quiet
from gpu_bt.runs.batch import FIELDS
from gpu_bt.runs.drive import drive
from gpu_bt.runs.run import callback_spec, check_fields, checked, schedule_of
from gpu_bt.runs.strategy import Strategy
from gpu_bt.show.progress import telling
from gpu_bt.typing import EngineName

__all__ = ["check_lookahead"]


def check_lookahead(
    strategy: Strategy | type[Strategy] | Callable[[Panel], Strategy], panel: Panel, config: Config | None = None, *,
    cuts: int = 8, seed: int = 0, engine: EngineName = "auto", progress: Progress | bool | None = None,
) -> None:  # fmt: skip
    """Run the strategy, then again with everything after some bars changed: its decisions up to them must be the same.

    strategy: an instance (each run gets a deep copy), a class, or a factory, which is given the panel of its run: use
    that where signals are computed from the whole panel beforehand. Besides the panel, changed are arrays whose first
    dimension is T, on a GPU, too, the panel itself, and lists, tuples and dicts of them, where they are attributes of
    the strategy, variables that its methods or the factory close over, or globals that they name (put back afterwards);
    what hides elsewhere (in tables, files, other modules) is not found.
    cuts: how many bars after which the future is changed, spread over those with a decision.   seed: of the changes.
    progress: True for a bar, or called with (runs done, of all).

    Raises StrategyError naming the first bar whose decision changed and its assets, or saying that two equal runs of
    the strategy differ, so that nothing can be checked.
    """
    told, config = telling(progress, "runs"), checked(panel, config)
    cuts, rng = whole("cuts", cuts), np.random.default_rng(whole("seed", seed, 0, math.inf))
    _check_factory(strategy, panel)
    check_fields(panel, config)
    with told as tell:
        _check(strategy, panel, config, cuts, rng, resolve(engine), tell or (lambda *_: None))


def _check(
    strategy: Any, panel: Panel, config: Config, cuts: int, rng: np.random.Generator, engine: Engine, tell: Progress
) -> None:
    """`check_lookahead` of what was checked."""
    bars, runs = schedule_of(panel, config), itertools.count(1)

    def fresh(seen: Panel) -> Strategy:
        if isinstance(strategy, Strategy):
            return copy.deepcopy(strategy, {id(panel): panel})
        made = strategy() if isinstance(strategy, type) else strategy(seen) if callable(strategy) else strategy
        if not isinstance(made, Strategy):
            must_be("strategy", made, "a gpu_bt.Strategy, a class of such, or a function that makes one of a panel")
        return made

    def decisions(mine: Strategy, seen: Panel, until: int | None = None) -> dict[int, np.ndarray]:
        """Bar -> (4, N) weights, lots, limits and stops decided there."""
        out: dict[int, np.ndarray] = {}
        session = engine.open(callback_spec(seen, config, bars))
        drive(mine, seen, config, session, bars, until=until, log=lambda t, x, _: out.update({t: on_host(x)}))
        tell(next(runs), 2 + cuts)
        return out

    first = fresh(panel)
    full = decisions(first, panel)
    if found := _difference(full, decisions(fresh(panel), panel), panel):
        rule = "differs between two equal runs: seed its random numbers and set its state in initialize"
        raise StrategyError(f"{found[1]} {rule}")
    decided = [t for t, cells in full.items() if not np.isnan(cells).all()] or list(full)
    differences, after = [], {decided[i] for i in np.linspace(0, len(decided) - 1, cuts).astype(int)} if decided else ()
    cuts = len(after)
    for cut in sorted(after):
        future = _Future(panel, cut, rng)
        with ExitStack() as put_back:
            for old, put in _variables([strategy, *_methods(type(first))]):
                if (new := future.of(old)) is not old:
                    put_back.callback(put, old)
                    put(new)
            mine = fresh(future.panel)
            vars(mine).update({name: future.of(value) for name, value in vars(mine).items()})
            part = decisions(mine, future.panel, cut + 1)
        if found := _difference({t: cells for t, cells in full.items() if t <= cut}, part, panel):
            differences.append((found[0], cut, found[1]))
    if differences:
        _, cut, what = min(differences)
        raise StrategyError(f"{what} changes with data after {panel.label(cut)}: it looks ahead")


def _check_factory(strategy: object, panel: object) -> None:
    """Refuse a panel that is a stream, and what makes a strategy but could not be called."""
    if not isinstance(panel, Panel):
        must_be("panel", panel, "a gpu_bt.Panel", PanelError)
    if callable(strategy) and not isinstance(strategy, Strategy):
        called_with("strategy", strategy, *(() if isinstance(strategy, type) else (panel,)))


def _difference(whole: dict[int, np.ndarray], part: dict[int, np.ndarray], panel: Panel) -> tuple[int, str] | None:
    """The first bar with another decision, and what to call it; a bar asked in one run alone is one, too."""
    for t in sorted(whole.keys() | part.keys()):
        nothing = np.full((4, panel.shape[1]), np.nan)
        one, two = whole.get(t, nothing), part.get(t, nothing)
        other = np.flatnonzero(~((one == two) | (np.isnan(one) & np.isnan(two))).all(axis=0))
        if len(other):
            names = ", ".join(panel.assets[i] for i in other[:3]) + (", ..." if len(other) > 3 else "")
            return t, f"the decision at {panel.label(t)} for {names}"
    return None


def _methods(kind: type) -> Iterator[Any]:
    """What the classes of a strategy define."""
    for base in kind.__mro__[: kind.__mro__.index(Strategy)]:
        yield from vars(base).values()


def _names(code: CodeType) -> set[str]:
    """Names that a function and those inside it look up."""
    return set(code.co_names).union(*(_names(x) for x in code.co_consts if isinstance(x, CodeType)))


def _variables(functions: Iterable[Any]) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """(value, setter) of what functions close over and of the globals that they name. One met twice has been changed
    the first time, and is changed again."""
    for function in functions:
        if isinstance(function, FunctionType):
            for cell in function.__closure__ or ():
                yield cell.cell_contents, functools.partial(setattr, cell, "cell_contents")
            space = function.__globals__
            for name in _names(function.__code__) & space.keys():
                yield space[name], functools.partial(space.__setitem__, name)


class _Future:
    """The panel, and what is made of it or kept beside it, with other rows after bar `cut`."""

    def __init__(self, panel: Panel, cut: int, rng: np.random.Generator) -> None:
        self.old, self.cut, self.rng = panel, cut, rng
        self.panel = self._changed()

    def of(self, value: Any) -> Any:
        """The value, or what stands for it in the changed future."""
        if value is self.old:
            return self.panel
        (t, n), kind = self.old.shape, type(value)
        if kind is np.ndarray and value.dtype.kind in "biuf" and value.ndim and len(value) == t:
            return self._rows(value, 1.0) if t != n or value.shape == (t, n) else value  # (N,) is no history
        if hasattr(kind, "__dlpack_device__") or hasattr(kind, "__cuda_array_interface__"):
            return self._there(value) if on_gpu(value) else value
        if kind in (list, tuple, dict):
            new = [self.of(x) for x in (value.values() if kind is dict else value)]
            if any(a is not b for a, b in zip(new, value.values() if kind is dict else value, strict=True)):
                return dict(zip(value, new, strict=True)) if kind is dict else kind(new)
        return value

    def _there(self, value: Any) -> Any:
        """What stands for an array on a GPU, there, too; of PyTorch, or else of CuPy."""
        host, there = as_host("an array beside the panel", value, StrategyError), tools()
        new = self.of(host)
        if new is host or not (there or hasattr(value, "new_tensor")):
            return value
        if hasattr(value, "new_tensor"):
            return value.new_tensor(new)
        placed = there.placed(new)
        return placed if isinstance(value, Resident) else there.exported(placed)

    def _rows(self, array: np.ndarray, size: float) -> np.ndarray:
        """Rows after `cut` in another order; numbers scaled at random by about e**size, some bools the other way."""
        out, order = array.copy(), self.rng.permutation(len(array))
        rows = array[order[order > self.cut]]
        if array.dtype.kind == "b":
            rows = rows ^ (self.rng.random(rows.shape) < 0.2)
        elif array.dtype.kind == "f" and size:
            rows = rows * np.exp(self.rng.normal(0, size, rows.shape))
        out[self.cut + 1 :] = rows
        return out

    def _changed(self) -> Panel:
        """The panel with other data after `cut`, which all checks of a Panel pass."""
        panel, cut, shape = self.old.on_host(), self.cut, self.old.shape
        later, factor, gone = np.arange(shape[0])[:, None] > cut, np.exp(self.rng.normal(0, 1.0, shape)), None
        gone = later & (self.rng.random(shape) < 0.05)
        fields = {name: getattr(panel, name) for name in FIELDS if getattr(panel, name) is not None}
        for name, values in fields.items():
            if name in PRICES:  # one factor and one set of gaps, so that open, high, low and close keep their order
                moved = np.where(later, np.clip(values * factor, *PRICE_RANGE), values)
                fields[name] = np.where(gone, np.nan, moved).astype(values.dtype)
            else:
                fields[name] = self._rows(values, 1.0 if name in ("volume", "half_spread", "volatility") else 0.0)
        off, following = panel.delisted_at, panel.next_timestamp
        with quiet():  # a split moved to another bar is not shown by the prices
            return Panel(
                **fields, timestamps=time_series(panel.timestamps, panel.time_zone), assets=panel.assets,
                time_zone=panel.time_zone, delisted_at=np.where(off > cut, self.rng.integers(cut + 1, shape[0] + 1,
                shape[1]), off), delisting_return=panel.delisting_return, lot=panel.lot, group=panel.group,
                prices=panel.prices, next_timestamp=None if following is None else time_series([following],
                panel.time_zone)[0],
            )  # fmt: skip
