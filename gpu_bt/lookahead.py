# SPDX-License-Identifier: Apache-2.0
"""check_lookahead: does a strategy's decision change when only data after it changes?

Letters: T bars, N assets.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from gpu_bt.api import callback_spec, check_fields, schedule_of
from gpu_bt.batch import FIELDS
from gpu_bt.config import Config
from gpu_bt.engine import resolve
from gpu_bt.errors import BacktestWarning, StrategyError
from gpu_bt.panel import MASKS, PRICE_RANGE, PRICES, Panel
from gpu_bt.spec import Decision
from gpu_bt.strategy import Strategy, drive

__all__ = ["check_lookahead"]


def check_lookahead(
    strategy: Strategy | type[Strategy] | Callable[..., Strategy],
    panel: Panel,
    config: Config | None = None,
    *,
    cuts: int = 8,
    seed: int = 0,
    engine: str = "auto",
) -> None:
    """Run the strategy, then again with everything after some bars changed: its decisions up to them must be the same.

    strategy: an instance (each run gets a deep copy), a class or a factory. A factory with one parameter is given the
    panel of its run: use it where signals are computed from the whole panel beforehand. Besides the panel, changed are
    arrays whose first dimension is T, the panel itself, and lists, tuples and dicts of them, where they are attributes
    of the strategy, variables that its methods or the factory close over, or globals that they name; what hides
    elsewhere (in tables, files, other modules) is not found.
    cuts: how many bars after which the future is changed, spread over those with a decision.   seed: of the changes.

    Raises StrategyError naming the first bar whose decision changed and its assets, or saying that two equal runs of
    the strategy differ, so that nothing can be checked.   Source: docs/strategies.md.
    """
    config = Config() if config is None else config
    check_fields(panel, config)
    make: Callable[..., Strategy] = strategy  # type: ignore[assignment]
    if isinstance(strategy, Strategy):  # as defaults: what a function closes over is changed below

        def make(mine: Strategy = strategy, kept: Panel = panel) -> Strategy:
            return copy.deepcopy(mine, {id(kept): kept})

    whole = _decisions(make, panel, config, engine, None)
    rng = np.random.default_rng(seed)
    decided = [t for t, cells in whole.items() if not np.isnan(cells).all()] or list(whole)
    if not decided:
        return
    chosen = sorted({decided[i] for i in np.linspace(0, len(decided) - 1, max(1, cuts)).astype(int)})
    _compare(whole, _decisions(make, panel, config, engine, None), panel, None)
    found: list[tuple[int, str]] = []
    for cut in chosen:
        changed = _changed_panel(panel, cut, rng)
        with _changed_future(make, panel, changed, cut, rng) as again:
            part = _decisions(again, changed, config, engine, cut + 1)
        try:
            _compare({t: cells for t, cells in whole.items() if t <= cut}, part, panel, cut)
        except StrategyError as error:
            found.append((error.bar, str(error)))  # type: ignore[attr-defined]
    if found:
        raise StrategyError(min(found, key=lambda one: one[0])[1])


def _decisions(
    make: Callable[..., Strategy], panel: Panel, config: Config, engine: str, until: int | None
) -> dict[int, np.ndarray]:
    """Bar -> (4, N) weights, lots, limits and stops decided there, of a fresh strategy."""
    out: dict[int, np.ndarray] = {}
    strategy = make(panel) if not isinstance(make, type) and _parameters(make) else make()
    bars = schedule_of(panel, config)
    session = resolve(engine, callbacks=True).open(callback_spec(panel, config, bars))

    def log(t: int, d: Decision | None) -> None:
        rows = (None,) * 4 if d is None else (d.weights, d.lots, d.limit, d.stop)
        out[t] = np.stack([np.full(panel.shape[1], np.nan) if x is None else x for x in rows])

    drive(strategy, panel, config, session, bars, until=until, log=log)
    return out


def _parameters(make: Callable[..., Any]) -> int:
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
               for p in inspect.signature(make).parameters.values())  # fmt: skip


def _compare(whole: dict[int, np.ndarray], part: dict[int, np.ndarray], panel: Panel, cut: int | None) -> None:
    """Raise at the first bar with another decision. A bar asked in one run alone is another decision, too."""
    for t in sorted(whole.keys() | part.keys()):
        one, two = whole.get(t), part.get(t)
        if one is not None and two is not None and np.array_equal(one, two, equal_nan=True):
            continue
        names = ""
        if one is not None and two is not None:
            other = np.flatnonzero(~((one == two) | (np.isnan(one) & np.isnan(two))).all(axis=0))
            names = " for " + ", ".join(panel.assets[i] for i in other[:3]) + (", ..." if len(other) > 3 else "")
        if cut is None:
            rule = "differs between two equal runs: seed its random numbers and set its state in initialize"
        else:
            rule = f"changes with data after {panel.label(cut)}: it looks ahead"
        error = StrategyError(f"the decision at {panel.label(t)}{names} {rule}")
        error.bar = t  # type: ignore[attr-defined]
        raise error


# ---- the future, changed


def _changed_panel(panel: Panel, cut: int, rng: np.random.Generator) -> Panel:
    """The panel with other prices, gaps, volumes, events and delistings after bar `cut`; OHLC keep their order."""
    later, shape = slice(cut + 1, None), panel.shape
    factor, gone, order = np.exp(rng.normal(0, 1.0, shape)), rng.random(shape) < 0.05, rng.permutation(shape[0])
    order = order[order > cut]
    fields: dict[str, Any] = {}
    for name in FIELDS:
        if (values := getattr(panel, name)) is None:
            continue
        values = fields[name] = values.copy()
        if name in PRICES:
            moved = np.clip(values[later] * factor[later], *PRICE_RANGE)
            values[later] = np.where(gone[later], np.nan, moved)
        elif name in MASKS:
            values[later] ^= rng.random(shape)[later] < 0.1
        else:
            values[later] = values[order] * (factor[later] if name in ("volume", "half_spread") else 1.0)
    off = panel.delisted_at
    redrawn = rng.integers(cut + 1, shape[0] + 1, shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)  # a split moved to another bar is not shown by the prices
        return Panel(
            **fields, timestamps=panel.timestamps, assets=panel.assets, time_zone=panel.time_zone,
            delisted_at=np.where(off > cut, redrawn, off), delisting_return=panel.delisting_return, lot=panel.lot,
            group=panel.group, prices=panel.prices, next_timestamp=panel.next_timestamp,
        )  # fmt: skip


@contextmanager
def _changed_future(
    make: Callable[..., Strategy], panel: Panel, changed: Panel, cut: int, rng: np.random.Generator
) -> Iterator[Callable[..., Strategy]]:
    """The factory, and while inside, other rows after `cut` in the arrays that its functions close over or name."""

    def other(value: Any) -> Any:
        if value is panel:
            return changed
        if isinstance(value, np.ndarray) and _over_time(value, panel.shape):
            return _changed_rows(value, cut, rng)
        if type(value) in (list, tuple):
            new = [other(x) for x in value]
            return type(value)(new) if any(a is not b for a, b in zip(new, value, strict=True)) else value
        if type(value) is dict:
            new_values = {k: other(x) for k, x in value.items()}
            return new_values if any(new_values[k] is not x for k, x in value.items()) else value
        return value

    def again(*arguments: Any) -> Strategy:
        made = make(*arguments)
        for name, value in vars(made).items():
            setattr(made, name, other(value))
        return made

    again.__signature__ = inspect.signature(make)  # type: ignore[attr-defined]
    probe = make(panel) if not isinstance(make, type) and _parameters(make) else make()
    undo: list[Callable[[], None]] = []
    try:
        for old, put in _variables([make, *_methods(type(probe))]):
            new = other(old)
            if new is not old:
                undo.append(lambda put=put, old=old: put(old))
                put(new)
        yield again
    finally:
        for step in reversed(undo):
            step()


def _methods(kind: type) -> Iterator[Any]:
    """The functions that a strategy's classes define."""
    for base in kind.__mro__[: kind.__mro__.index(Strategy)]:
        yield from vars(base).values()


def _variables(functions: list[Any]) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """(value, setter) of what the functions close over, and of the globals that their code names; each once."""
    seen: set[Any] = set()
    for function in functions:
        if not isinstance(function, FunctionType):
            continue
        for cell in function.__closure__ or ():
            if id(cell) not in seen:
                seen.add(id(cell))
                yield cell.cell_contents, lambda x, cell=cell: setattr(cell, "cell_contents", x)
        space = function.__globals__
        for name in _names(function.__code__):
            if name in space and (id(space), name) not in seen:
                seen.add((id(space), name))
                yield space[name], lambda x, space=space, name=name: space.__setitem__(name, x)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _over_time(array: np.ndarray, shape: tuple[int, int]) -> bool:
    """The first dimension is time; where T == N only (T, N) arrays are taken for that."""
    t, n = shape
    return array.dtype.kind in "biuf" and array.ndim > 0 and len(array) == t and (t != n or array.shape == shape)


def _changed_rows(array: np.ndarray, cut: int, rng: np.random.Generator) -> np.ndarray:
    out, order = array.copy(), rng.permutation(len(array))
    rows = array[order[order > cut]]
    if array.dtype.kind == "b":
        rows = rows ^ (rng.random(rows.shape) < 0.3)
    elif array.dtype.kind == "f":
        rows = rows * np.exp(rng.normal(0, 1.0, rows.shape))
    out[cut + 1 :] = rows
    return out
