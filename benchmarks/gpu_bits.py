# SPDX-License-Identifier: Apache-2.0
"""Every variant of the kernel against the NumPy engine, bit for bit, on scenarios that tests/draw.py draws.

A variant: a Variant of gpu_bt.cuda.module, threads of a block, scenarios of a block. Kinds of drawn ones: "full" as
they come, "lean" without what the lean kernel leaves out, "plain" such that bars can be plain (gpu_bt/law/plain.h),
"books" with the weights as scores, of which each makes a book of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_bt.config import Config
from gpu_bt.cuda.plain import plain_of
from gpu_bt.data.clock import SCHEDULE, schedule
from gpu_bt.data.panel import Panel
from gpu_bt.engine.ranked import Ranked, ranking_of
from gpu_bt.engine.registry import resolve
from gpu_bt.engine.spec import Engine, Market, RawResult, RunSpec
from gpu_bt.errors import BacktestWarning
from gpu_bt.law.layout import BOOK, STRUCTURAL, pack

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["ALL", "FEW", "GROUPS", "KINDS", "check", "drawn", "few_draws", "run_cut"]

#: Scenarios of a drawn spec: the least that gives two full blocks of four.
_SCENARIOS = 8
#: Holdings in shared memory, threads, scenarios of a block as they are asked for; None: as the engine chooses, for
#: which a kernel may be compiled.
ALL = tuple(itertools.product((True, False), (None, 64, 128, 256, 512), (1, 2, 3, 4)))
FEW = ((True, None, 1), (True, None, 2))


def _kernels(how: tuple[bool, int | None, int]) -> tuple[bool, bool, int]:
    """Equal for what takes the same kernels: threads that are asked for may be any, and no plain bars are of three."""
    return how[1] is not None, not how[0], how[2].bit_length()


#: ALL in groups that share no kernel of plain bars, those of most runs first: what each process of a step compares.
GROUPS = tuple(tuple(group) for _, group in itertools.groupby(sorted(ALL, key=_kernels), _kernels))
_EMULATED = ((True, None, 1), (True, 64, 2), (True, 64, 3), (False, 64, 1))
#: Assets of a drawn panel; None: as drawn, 1 to 40.
_WIDTHS = (None, None, None, 97, 300, 1500)
#: What the lean kernel leaves out.
_LEAN_PANELS = ("half_spread", "dividend", "split", "can_buy", "can_sell", "universe")
_LEAN: dict[str, Any] = {
    "account": "cash", "band": 0.0, "min_trade_value": 0.0, "impact": 0.0, "participation": None, "max_weight": None,
    "max_gross": None, "max_turnover": None,
}  # fmt: skip


#: And what plain bars leave out.
_PLAIN: dict[str, Any] = {
    "fixed_commission": 0.0, "commission_per_share": 0.0, "sell_tax": 0.0, "max_commission_rate": None,
    "execution": "next_open",
}  # fmt: skip
KINDS = ("full", "lean", "plain", "books")
#: The order of comparison: kernels of plain bars, of which each drawn form takes some, come last.
_ORDER = ("books", "full", "lean", "plain")
#: Seeds of a few draws; forms of plain bars (gpu_bt.cuda.plain) that a process compares, since each compiles kernels of
#: its own; seconds between two reports of a process.
_SEEDS, _FORMS, _TELLS = 3, 2, 5.0


def drawn(seed: int, kind: str, widths: tuple[int | None, ...] = _WIDTHS) -> RunSpec:
    """Scenarios that can share a block: a book or two, a schedule, equal structural fields, all else drawn for each."""
    from draw import scenario, to_public

    full, rng = kind in ("full", "books"), np.random.default_rng([seed, KINDS.index(kind)])
    panel, weights, config = scenario(seed, widths[seed % len(widths)])
    fixed = {} if full else _LEAN if kind == "lean" else _LEAN | _PLAIN
    if not full:
        config, weights = config.replace(**fixed), np.abs(weights)
        for name in _LEAN_PANELS:
            setattr(panel, name, None)
    if kind == "plain":
        panel.lot = None
        panel.open = panel.close if panel.open is None else panel.open  # that of the execution
        weights = np.nan_to_num(weights) if seed % 2 else weights
    same = (*SCHEDULE, "signal_lag", *STRUCTURAL, *(("rounding",) if kind == "plain" else ()))
    rule = {name: getattr(config, name) for name in same} | fixed
    if panel.volume is None:
        rule |= {"participation": None, "impact": 0.0}
    others = [scenario(int(rng.integers(2**40)))[2].replace(**rule) for _ in range(_SCENARIOS - 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BacktestWarning)
        public = Panel(**to_public(panel, config))
    bars = schedule(public.microseconds, public.time_zone, panel.next_microseconds, config)
    record = {"fills": full and seed % 2 == 0, "positions": seed % 3 == 0 and kind != "plain"}
    if seed % 4 == 1:
        record["columns"] = "equity"
    books, params = [np.ascontiguousarray(weights)], pack([config, *others])
    if seed % 3 == 2:  # two books under the same rules, which decide at different bars
        books.append(np.where(rng.random((len(weights), 1)) < 0.4, np.nan, weights))
        params["weights"][1::2] = 1
    if kind == "books":
        read, params["weights"] = _books(rng, public.market, weights, config.account), np.arange(_SCENARIOS)
        return RunSpec(public.market, params, read, bars[None], **record)
    return RunSpec(public.market, params, tuple(books), bars[None], **record)


def _books(rng: np.random.Generator, market: Market, scores: np.ndarray, account: str) -> tuple[Ranked, ...]:
    """A drawn book for each scenario, all of one ranking; some keep their names."""
    listed = np.ones(market.shape, bool) if market.universe is None else market.universe
    ranking = ranking_of(np.asarray(scores, np.float64), listed, market.delisted_at)
    out = np.zeros(_SCENARIOS, BOOK)
    out["long_names"] = rng.integers(1, 9, _SCENARIOS)
    out["short_names"] = rng.integers(0, 5, _SCENARIOS) * (account == "margin")
    out["keep"], out["scheme"] = rng.choice((1.0, 1.5, 3.0), _SCENARIOS), rng.integers(0, 2, _SCENARIOS)
    out["long_gross"] = out["short_gross"] = 0.9
    return tuple(Ranked(ranking, book) for book in out)


def run_cut(engine: Engine, spec: RunSpec, cut: int) -> tuple[RawResult, Any]:
    """A run in two calls, and its session."""
    session = engine.open(spec)
    for a, b in itertools.pairwise(sorted({0, cut, spec.market.shape[0]})):
        session.advance(a, b)
    return session.result(), session


def few_draws(kinds: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Seeds and kinds of what `few` compares on FEW."""
    return itertools.product(range(_SEEDS), kinds)


def check(context: Context, few: bool = False, part: int | None = None) -> None:
    """Draw until time is up, or a few; a row for each variant: scenarios compared, and the first difference. What was
    compared since the last report is told every some seconds, and in the end.

    With `context.variant` scenarios of that kind alone are compared; with `part` GROUPS[part], from that seed on.
    """
    from benchmarks.gpu_steps import tests_on_path

    tests_on_path()
    few, kinds = few or context.emulate, _ORDER if context.variant is None else (context.variant,)
    draws = few_draws(kinds) if few else ((seed, kind) for seed in itertools.count(part or 0) for kind in kinds)
    if context.emulate:
        draws = itertools.product((0,), kinds)
    variants = _EMULATED if context.emulate and context.variant is None else FEW if few else ALL
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    forms, told = set[Any](), time.monotonic()
    try:
        for seed, kind in draws:
            spec = drawn(seed, kind)
            form = plain_of(spec)
            if few or form is None or form in forms or len(forms) < _FORMS:
                forms |= set() if form is None else {form}
                _compare(seed, spec, variants if few or part is None else GROUPS[part], rows)
            if time.monotonic() > told + _TELLS:
                told = time.monotonic()
                _tell(context, rows)
            if kind == kinds[-1] and context.late():
                break
    finally:  # a launch that fails ends the step, not what was compared before
        _tell(context, rows)


def _tell(context: Context, rows: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    """Emit the rows, and begin them anew."""
    while rows:
        context.emit("bits", **rows.popitem()[1])


def _compare(seed: int, spec: RunSpec, variants: tuple[tuple, ...], rows: dict[tuple, dict[str, Any]]) -> None:
    from compare import assert_same_raw

    from gpu_bt.cuda import engine as cuda

    cut = seed % (spec.market.shape[0] + 1)
    wanted, _ = run_cut(resolve("numpy"), spec, cut)
    for shared, threads, together in variants:
        found, session = run_cut(cuda.CudaEngine(threads, together, shared), spec, cut)
        lanes = session.parts[0].lanes
        what = dataclasses.asdict(lanes.variant) | {"threads": lanes.threads, "together": lanes.per_lane}
        row = rows.setdefault(tuple(what.values()), what | {"scenarios": 0, "difference": None})
        row["scenarios"] += len(spec.params)
        try:
            assert_same_raw(found, wanted)
        except AssertionError as exc:
            row["difference"] = row["difference"] or f"seed {seed}: {exc}"
            print(f"{row}", flush=True)


def equal_members(found: RawResult, spec: RunSpec, members: list[int]) -> str | None:
    """Equity and cash of some scenarios against the NumPy engine's; the first difference."""
    part = dataclasses.replace(spec, params=spec.params[members])
    used = np.unique(part.params["weights"])
    part = dataclasses.replace(part, weights=tuple(spec.weights[i] for i in used))
    part.params["weights"] = np.searchsorted(used, part.params["weights"])
    wanted, _ = run_cut(resolve("numpy"), part, 0)
    got = found.money[:2, members]
    differs = np.argwhere(got.view(np.int64) != wanted.money[:2].view(np.int64))
    if not len(differs):
        return None
    c, k, t = differs[0].tolist()
    return f"{('equity', 'cash')[c]}[scenario {members[k]}, bar {t}] is {got[c, k, t]!r}, not {wanted.money[c, k, t]!r}"


def configs(count: int) -> list[Config]:
    """The account of the timed cases, with commissions from 0 to 15 basis points."""
    from benchmarks.cases import config

    base = config()
    return [base.replace(commission_rate=float(rate)) for rate in np.linspace(0.0, 1.5e-3, count)]
