# SPDX-License-Identifier: Apache-2.0
"""Scores: what `run` and `sweep` make books of, by rank, bar by bar ([B1] to [B5] of semantics.md).

Letters: T bars, N assets, G groups, K scenarios.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_bt.arguments import must_be, one_of, real
from gpu_bt.books.tables import labelled, labels_of
from gpu_bt.config import Config
from gpu_bt.data.arrays import as_host, first_outside, frozen
from gpu_bt.data.clock import schedule_of
from gpu_bt.data.frames import read_weights
from gpu_bt.data.labels import is_book, is_labelled
from gpu_bt.data.panel import Panel
from gpu_bt.data.weights import MAX_WEIGHT, Weights, check_fit
from gpu_bt.engine.ranked import Ranked, Ranking, ranking_of
from gpu_bt.errors import ConfigError, PanelError, WeightsError
from gpu_bt.law.layout import BOOK, SCHEMES
from gpu_bt.typing import Groups, Scheme, Values

__all__ = [
    "RULES", "Scores", "book_of", "check_sides", "dense", "read_at", "scheduled", "thin_counts", "thin_said",
]  # fmt: skip

_MOST = 2**31 - 1  # names of a side
_MAX = float(np.finfo(np.float64).max)


def _names(name: str, value: Any) -> float | int:
    """A number of names: whole, or a fraction of them."""
    number = real(value)
    if not 0 <= number <= _MOST or (number > 1 and number != int(number)):
        must_be(name, value, "a whole number of names, 0 for no such side, or a fraction of the ranked in (0, 1)")
    return number if 0 < number < 1 else int(number)


def _number(low: float, high: float, rule: str) -> Callable[[str, Any], float]:
    """The check of a number in (low, high]."""

    def check(name: str, value: Any) -> float:
        number = real(value)
        return number if low < number <= high else must_be(name, value, rule)

    return check


class _Rules(dict[str, Callable[[str, Any], Any]]):
    """Parameter -> (name, value) -> the value as it is kept, or a ConfigError."""

    name = "Scores"


_GROSS = _number(np.nextafter(1e-6, 0.0), MAX_WEIGHT, f"a fraction of equity in [1e-06, {MAX_WEIGHT:g}]")
#: What makes a book of a ranking, each an axis of a grid: the one table of what it may be.
RULES = _Rules(
    long=_names, short=_names, keep=_number(np.nextafter(1.0, 0.0), 1e6, "a multiple of the names in [1, 1e+06]"),
    long_gross=_GROSS, short_gross=_GROSS, scheme=lambda name, value: one_of(name, value, SCHEMES),
)  # fmt: skip


class Scores:
    """What each asset is worth at each bar, in place of target weights: books are formed by rank ([B1] to [B5]).

    scores: (T, N) finite numbers, the higher the better, NaN = none: an array (of CuPy, too: ranked on the host), what
    `read_weights` gave, or a table or path placed by its labels (a long one has a column "score"; bars and assets that
    it lacks have none); or {name: such}, of which the axis "scores" of a grid picks, all of them where it does not say.
    long, short: names of a side, whole numbers, or fractions in (0, 1) of those ranked, of each group; 0 = no such
    side.   keep: a name stays until it falls out of the first keep*long (short) names; 1 = it does not.
    scheme: "equal", or "rank" = the best of k has k parts, the last one.   long_gross, short_gross: the sum of a side's
    |weights|, fractions of equity.   groups: a book of each, with an equal share of the gross: "panel" (its `group`),
    (N,) or (T, N) labels, an array or a wide frame, or {asset: label}; None, "", NaN and -1 = in none, and not ranked.

    The ranking is made once per panel and kept as long as both live. Arrays are copied unless they are read-only.
    Raises ConfigError for a parameter; with a panel WeightsError for scores or groups that do not fit or are infinite.
    """

    def __init__(
        self, scores: Values | Mapping[Any, Any], *, long: float = 50, short: float = 0, keep: float = 1.0,
        scheme: Scheme = "equal", long_gross: float = 1.0, short_gross: float = 1.0, groups: Groups | None = None,
    ) -> None:  # fmt: skip
        given = locals()
        self.parameters: dict[str, Any] = {name: check(name, given[name]) for name, check in RULES.items()}
        check_sides(self.parameters)
        named: Mapping[Any, Any] | None = scores if isinstance(scores, Mapping) else None
        if odd := [name for name in named or () if not isinstance(name, (str, int))]:
            must_be("a name of scores", odd[0], "a text", WeightsError)
        if named is not None and not named:
            raise WeightsError("scores is empty: pass {name: scores} with at least one")
        #: Of several scores.
        self.names: tuple[Any, ...] = tuple(named or ())
        self._scores = {k: self._held(k, x) for k, x in (named.items() if named else [("", scores)])}
        self._groups = groups if groups is None or is_labelled(groups) else frozen(labels_of("groups", groups))
        self._kept: weakref.WeakKeyDictionary[Panel, dict[Any, Ranking]] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        parameters = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        shapes = {"x".join(map(str, getattr(x, "shape", ("a table",)))) for x in self._scores.values()}
        what = f"{len(self.names)} of {', '.join(sorted(shapes))}" if self.names else shapes.pop()
        return f"Scores({what}, {parameters}{'' if self._groups is None else ', groups'})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": None}  # it is made again

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _kept=weakref.WeakKeyDictionary())

    @staticmethod
    def _held(name: Any, scores: Any) -> Any:
        """What is kept of scores until there is a panel."""
        if isinstance(scores, Weights) or is_labelled(scores):
            return scores
        array = as_host(_of(name), scores, WeightsError)
        if array.dtype.kind not in "iuf" or array.ndim != 2:
            what = f"a {type(scores).__name__} of dtype {array.dtype} and shape {array.shape}"
            raise WeightsError(f"{_of(name)} is {what}: pass a (T, N) array of numbers, or a table or path with labels")
        return frozen(array if array.dtype in (np.float64, np.float32) else array.astype(np.float64))

    def ranking(self, panel: Panel, name: Any = "") -> Ranking:
        """[B1] The ranking of the scores of that name on a panel."""
        kept = self._kept.setdefault(panel, {})
        if name not in kept:
            here = panel.on_host().market
            groups = None if self._groups is None else self._codes(panel)
            listed = np.broadcast_to(np.True_, panel.shape) if here.universe is None else here.universe
            kept[name] = ranking_of(self._read(panel, name), listed, here.delisted_at, groups)
        return kept[name]

    def _codes(self, panel: Panel) -> np.ndarray:
        """(N,) or (T, N) groups on a panel, 0 to G - 1, -1 = none."""
        groups = self._groups
        if isinstance(groups, str) and groups == "panel":
            if (groups := panel.group) is None:
                raise PanelError("groups='panel': the panel has none; pass group= to the Panel, or labels")
        return dense(labelled(panel, "Scores").codes(groups))

    def _read(self, panel: Panel, name: Any) -> np.ndarray:
        """(T, N) scores on a panel, checked."""
        scores = self._scores[name]
        if is_labelled(scores) and not isinstance(scores, Weights):
            if isinstance(scores, Mapping) or is_book(scores):
                raise WeightsError(f"{_of(name)} is one number for each asset: pass (T, N), a row per bar")
            try:
                scores = read_weights(scores, panel, weight="score", missing="hold", time_zone=panel.time_zone)
            except WeightsError as error:
                how = "read as read_weights(table, panel, weight='score', missing='hold') does: or pass what that gives"
                raise WeightsError(f"{_of(name)}: {error} ({how})") from None
        try:
            check_fit(scores, panel)
        except WeightsError as error:
            raise WeightsError(str(error).replace("weights", _of(name), 1)) from None
        array = scores.values if isinstance(scores, Weights) else scores
        if (at := first_outside(array, -_MAX, _MAX)) is not None:
            where = f"{_of(name)}[{panel.label(at[0])}, {panel.assets[at[1]]!r}]"
            raise WeightsError(f"{where} is {array[at]}: a score is a finite number, or NaN for none")
        return array

    def ranked(self, panel: Panel, **chosen: Any) -> Ranked:
        """The book of parameters, its own where they are not given; scores: the name of its scores.

        Raises ConfigError where it is not said which of several scores.
        """
        if "scores" not in chosen and len(self.names) > 1:
            raise ConfigError(f"scores has {len(self.names)} panels, {_listed(self.names)}: pass the Scores of one")
        name = chosen.pop("scores", next(iter(self._scores)))
        found = self.parameters | chosen
        return Ranked(self.ranking(panel, name), book_of(found))

    def books(
        self, panel: Panel, axes: Mapping[str, Sequence[Any]], accounts: Sequence[str]
    ) -> tuple[list[Ranked], list[int]]:
        """The distinct books of K scenarios, in the order of first use, and the place of each scenario's. axes: of a
        grid, with K values each; accounts: (K,).

        Raises ConfigError where nobody is wanted, WeightsError for a short side in a cash account.
        """
        none, places, found = [next(iter(self._scores))] * len(accounts), list[int](), dict[Any, int]()
        columns = [axes.get(name, [value] * len(accounts)) for name, value in self.parameters.items()]
        books: list[Ranked] = []
        for k, (account, *key) in enumerate(zip(accounts, axes.get("scores", none), *columns, strict=True)):
            if (at := (account, *key)) not in found:
                chosen = dict(zip(RULES, key[1:], strict=True))
                check_sides(chosen, account, f"scenario {k} of the grid: ", axes)
                if (at := tuple(key)) not in found:
                    books.append(self.ranked(panel, scores=key[0], **chosen))
                    found[at] = len(books) - 1
                found[account, *key] = found[at]
            places.append(found[account, *key])
        return books, places

    def weights(self, panel: Panel, config: Config | None = None) -> NDArray[np.float64]:
        """(T, N) float64 target weights of its own parameters: the book of each row that a scheduled bar of the config
        reads ([B5]), NaN elsewhere; None = of every row."""
        rows = scheduled(panel, Config() if config is None else config)
        return self.formed(panel, np.ones_like(rows) if config is None else rows)

    def read(
        self, panel: Panel, config: Config, bars: np.ndarray, resumed: bool = False
    ) -> tuple[np.ndarray, int, dict[str, str]]:
        """The (T, N) weights that `run` reads at the (T,) bool bars, how many of these rows are thin, and its advice.
        Formed are the last rows, too, that a later run would read after the lag."""
        check_sides(self.parameters, config.account)
        rows = read_at(bars, config.signal_lag)
        count = int((rows & self.ranked(panel).thin).sum())
        rows[len(rows) - min(len(rows), config.signal_lag) :] = True
        advice, keep = {}, self.parameters["keep"]
        if count:
            advice["thin books"] = f"{count:,} books have fewer names than wanted: fewer were ranked at their bars"
        if resumed and keep > 1:
            advice["no last book"] = f"a resumed run begins without a last book: keep={keep:g} knows nobody at first"
        return self.formed(panel, rows), count, advice

    def formed(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """`weights` at the (T,) bool rows."""
        out = np.full(panel.shape, np.nan)
        for t, row in self.ranked(panel).weights(rows):
            out[t] = row
        return out


def dense(codes: np.ndarray) -> np.ndarray:
    """Numbers of groups, -1 = none, without those that nobody has: each group costs an engine memory."""
    there = np.bincount(codes.ravel() + 1, minlength=1)[1:] > 0
    found: np.ndarray = np.where(codes < 0, -1, np.append(np.cumsum(there) - 1, -1)[codes])
    return found


def book_of(parameters: Mapping[str, Any]) -> np.ndarray:
    """BOOK of parameters that `RULES` has checked."""
    values = {**parameters, "scheme": SCHEMES.index(parameters["scheme"])}
    return np.array(tuple(values[name.removesuffix("_names")] for name in BOOK.names or ()), BOOK)


def check_sides(found: Mapping[str, Any], account: str = "margin", where: str = "", axes: Collection[str] = ()) -> None:
    """Raise ConfigError for parameters that want nobody, WeightsError for a short side in a cash account. axes: of a
    grid."""
    if not (found["long"] or found["short"]):
        raise ConfigError(f"{where}long and short are both 0: one side must be wanted; give one of them names")
    if found["short"] and account == "cash":
        axis = "grid axis " if "short" in axes else ""
        rule = "a cash account is long-only; use Config(account='margin') for a short side"
        raise WeightsError(f"{where}{axis}short is {found['short']}: {rule}")


def thin_counts(books: Sequence[Ranked], params: np.ndarray, schedules: np.ndarray) -> np.ndarray:
    """(K,) int64: the thin rows that the scheduled bars of each scenario of PARAMS[K] read."""
    rows: dict[Any, np.ndarray] = {}
    counts: dict[Any, int] = {}
    keys = params[["weights", "schedule", "signal_lag"]].tolist()
    for key in dict.fromkeys(keys):
        book = books[key[0]]
        kind = id(book.ranking), float(book.book["long_names"]), float(book.book["short_names"])
        if kind not in rows:
            rows[kind] = book.thin
        counts[key] = int((rows[kind] & read_at(schedules[key[1]], key[2])).sum())
    return np.array([counts[key] for key in keys], np.int64)


def thin_said(counts: np.ndarray | None) -> str:
    """A sentence for a sweep whose scenarios have so many thin books, or ""."""
    if counts is None or not counts.any():
        return ""
    some = np.flatnonzero(counts)
    first = f"the first is {some[0]}, at {counts[some[0]]:,} bars"
    what = f"{len(some):,} of {len(counts):,} scenarios have books of fewer names than wanted"
    return f"{what} ({first}): see table['thin_books']"


def scheduled(panel: Panel, config: Config) -> np.ndarray:
    """(T,) bool: the rows of weights that the bars at which the config decides read, `signal_lag` bars before these."""
    if not isinstance(panel, Panel):
        must_be("panel", panel, "a gpu_bt.Panel, such as read_panel gives", PanelError)
    if not isinstance(config, Config):
        must_be("config", config, "a gpu_bt.Config")
    return read_at(schedule_of(panel, config), config.signal_lag)


def read_at(bars: np.ndarray, lag: int) -> np.ndarray:
    """(T,) bool: the rows that (T,) bars read."""
    rows = np.zeros_like(bars)
    rows[: max(0, len(bars) - lag)] = bars[lag:]
    return rows


def _of(name: Any) -> str:
    return f"scores {name!r}" if name != "" else "scores"


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
