# SPDX-License-Identifier: Apache-2.0
"""SweepResult: a row per scenario with its parameters, status and metrics; the best, a pivot, a picture; `read_sweep`.

Letters: T bars, K scenarios.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from gpu_bt.analysis.advice import IDLE
from gpu_bt.analysis.labelled import to_pandas
from gpu_bt.analysis.metrics import equity_metrics
from gpu_bt.analysis.spans import returns_since
from gpu_bt.arguments import flag, one_of, whole
from gpu_bt.config import Config
from gpu_bt.data.forks import with_threads
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.data.times import time_series
from gpu_bt.engine.registry import stacked
from gpu_bt.engine.resident import Resident
from gpu_bt.errors import ConfigError, ResultError, printable, shown
from gpu_bt.law.layout import MONEY, NEVER, SCENARIO_STATUS
from gpu_bt.show.html import card, table, told
from gpu_bt.sweeps import folders, plots
from gpu_bt.sweeps.chunks import Done, joined
from gpu_bt.sweeps.grid import Scenarios

if TYPE_CHECKING:
    import pandas

__all__ = ["LESS", "METRICS", "SweepResult", "check_axes", "check_metric", "read_sweep", "texts"]

#: What a table has where all of the money is recorded.
METRICS = tuple(equity_metrics(np.ones((len(MONEY), 1, 2)), 1.0, 1.0))
#: Columns between the status and the metrics, where they are there.
_TOLD = ("decisions", "unread", "fills", "advice")
#: Statuses of scenarios that did not reach the last bar.
_ENDED = ("BANKRUPT", "LEDGER_OVERFLOW")
#: Metrics of which less is better; of all others more is.
LESS = frozenset("volatility longest_drawdown turnover total_costs annual_costs".split())


class SweepResult:
    """What `gpu_bt.sweep` gives. str() is the summary.

    table: a row per scenario: scenario (its number), the axes of the grid, status (the most severe, "OK" where none was
    set), status_since (its first bar), decisions (bars at which something was asked for), unread (rows with targets
    read at a bar that does not decide), fills (with metrics="all"), advice (the kinds of `Result.advice`, "" where all
    is well), thin_books of scores (rows that its bars read whose book has fewer names than wanted), the metrics of
    `gpu_bt.analysis.metrics.equity_metrics`, and start, the first bar that they count. Where an axis has one of these
    names, it keeps it, and what was found is called result_<name> (`column`); metrics are asked for by their own names.
    engine: what ran it ("native", or several).   wall_seconds: of this call.   run: scenarios that this call ran; the
    others were there already.   config: what the grid left as it was.   opening: (K,) cash and holdings at the start.
    priced: the bar at which all opening holdings have a mark, 0 without any.
    """

    def __init__(
        self, panel: Panel | PanelStream, config: Config, scenarios: Scenarios, chunks: Sequence[Done], *,
        opening: np.ndarray, priced: int, rounding: float, wall_seconds: float, run: int,
        thin: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.config, self.axes, self.run = config, tuple(scenarios.axes), run
        self.engine = ", ".join(sorted({chunk.engine for chunk in chunks}))
        self.opening, self._priced = opening, priced
        #: What the ledger's rounding can make of a first return, for `rounding=` in gpu_bt.statistics.
        self.rounding = rounding
        self.wall_seconds, self.shape = wall_seconds, panel.shape
        #: (T,) Polars Datetime("us"), in the panel's time zone where it has one.
        self.timestamps = time_series(panel.timestamps, panel.time_zone)
        columns = joined([chunk.columns for chunk in chunks])
        first = columns.pop("first_bar")
        self._fetched: np.ndarray | None = None
        self._equity, self._first = columns.pop("equity", None), columns.pop("start")
        code = np.where(first != NEVER, np.arange(first.shape[1]), 0).max(axis=1)
        since = pl.Series(first[np.arange(len(first)), code].astype(np.int64)).replace(NEVER, None)
        self._metrics = [name for name in columns if name not in _TOLD]
        found: dict[str, Any] = {"status": pl.Series(SCENARIO_STATUS).gather(code)}
        found["status_since"] = self.timestamps.gather(since)
        found |= {name: columns.pop(name) for name in _TOLD if name in columns}
        found |= {} if thin is None else {"thin_books": thin}
        found |= columns | {"start": self.timestamps.gather(self._first)}
        axes = {name: pl.Series(values, strict=False) for name, values in scenarios.axes.items()}
        number = {self.column("scenario"): np.arange(len(scenarios))}
        self.table = pl.DataFrame(number | axes | {self.column(name): values for name, values in found.items()})

    def __len__(self) -> int:
        return self.table.height

    def column(self, name: str) -> str:
        """What the table calls a metric or another thing found: its name, or result_<name> where an axis has that."""
        return f"result_{name}" if isinstance(name, str) and name in self.axes else name

    @property
    def equity(self) -> np.ndarray:
        """(K, T) equity after each bar, NaN from a scenario's end on. Raises ResultError unless equity=True."""
        rows = self._rows()
        if len(rows) > 1 or not isinstance(rows[0], np.ndarray):
            self._fetched = np.concatenate([np.asarray(x) for x in rows]) if self._fetched is None else self._fetched
            return self._fetched
        return rows[0]

    def _rows(self) -> list[Any]:
        """The equity in pieces one below the other."""
        if self._equity is None:
            raise ResultError("the equity rows were not kept: run the sweep with equity=True")
        return self._equity if isinstance(self._equity, list) else [self._equity]

    def array(self, name: str) -> Any:
        """ "equity": the (K, T) rows as an array in the memory in which the engine worked, as `Result.array` gives it.

        After sweep(..., equity="device") on the engine "cuda" they have stayed there, but for chunks that came from
        other processes or from `out`. Raises ConfigError for another name, ResultError where the rows were not kept.
        """
        one_of("name", name, ("equity",))
        rows = self._rows()
        if len(rows) > 1 or not isinstance(rows[0], Resident):
            rows = [stacked("cuda" if self.engine == "cuda" else "numpy", rows)]
            self._equity = rows if isinstance(rows[0], Resident) else self._equity
        return rows[0]

    def returns(self) -> np.ndarray:
        """(K, T) returns per bar for `gpu_bt.statistics`, which takes them with rounding=sweep.rounding, NaN before a
        scenario's start and after its end. Raises ResultError unless equity=True."""
        late = self._priced
        found = returns_since(self._first - late, self.equity[:, late:], self.opening)
        return np.concatenate([np.full((len(found), late), np.nan), found], axis=1)

    @property
    def has_equity(self) -> bool:
        """The equity rows were kept."""
        return self._equity is not None

    def best(self, metric: str = "sharpe", n: int = 1, *, every: bool = False) -> pl.DataFrame:
        """The n best rows of the table, the best first; NaN never wins, ties keep the order of the grid.

        every: look at those, too, that ended early (BANKRUPT, LEDGER_OVERFLOW) or never traded.
        Less is better for volatility, longest_drawdown, turnover and costs; more for the rest (max_drawdown is <= 0).
        Raises ConfigError for what is no metric, or an n that is no whole number >= 0.
        """
        with_threads("SweepResult.best()")
        column = self._metric(metric)
        rows = self.table.filter(pl.col(column).is_not_nan() if self.table[column].dtype.is_float() else True)
        if not flag("every", every):
            status, advice = (pl.col(self.column(name)) for name in ("status", "advice"))
            rows = rows.filter(~status.is_in(_ENDED), ~advice.str.contains_any(list(IDLE)))
        best = rows.sort(column, descending=metric not in LESS, maintain_order=True)
        return best.head(min(whole("n", n, 0), best.height))

    def pivot(
        self, rows: str, columns: str, metric: str = "sharpe", *, how: str = "mean", **where: Any
    ) -> pl.DataFrame:
        """A table with a row per value of one axis and a column per value of another.

        how: "mean", "median", "min" or "max" over the scenarios that share both values (NaN left out).   where: other
        axes held at one value, as in rebalance_every=5.
        Raises ConfigError for an axis, a metric or a value that the sweep does not have.
        """
        metric = self._metric(metric)
        how = one_of("how", how, ("mean", "median", "min", "max"))
        found = self.held(where)
        check_axes(self, rows, columns)
        if rows == columns:
            raise ConfigError(f"rows and columns are both {rows!r}: name two axes")
        cell = getattr(pl.col(metric).fill_nan(None), how)().fill_null(float("nan"))
        cells = found.group_by(rows, columns, maintain_order=True).agg(cell)
        return cells.pivot(columns, index=rows, values=metric)

    def held(self, where: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of the table in which each axis has its value. Raises ConfigError for what the sweep lacks."""
        with_threads("a table of SweepResult")
        found = self.table
        check_axes(self, *where)
        for axis, value in where.items():
            plain = value is None or isinstance(value, (bool, int, float, str, np.generic))
            same = [plain and bool(cell == value) for cell in found[axis].to_list()]
            found = found.filter(pl.Series(same, dtype=pl.Boolean))
            if found.is_empty():
                raise ConfigError(f"no scenario has {axis}={shown(value)}: see table[{axis!r}]")
        return found

    plot = plots.plot

    def write(self, folder: str | os.PathLike[str], *, stale: Collection[str] = ()) -> list[Path]:
        """Write table.parquet, bars.parquet (the timestamps), config.toml and, where the rows were kept, equity.parquet
        (timestamp, and a column per scenario by its number) into a folder, as `Result.write` does, for `read_sweep` and
        other programs; table.parquet goes first and comes last.

        stale: names of other files of an older result there. Gives the paths. Raises as `Result.write` does.
        """
        with_threads("SweepResult.write()")
        return folders.write(self, folder, stale)

    def summary(self) -> str:
        """The sweep in a few lines, and the five best scenarios by their Sharpe ratio."""
        with_threads("a table of SweepResult")
        t, n = self.shape
        counts = self.table[self.column("status")].value_counts(sort=True)
        rate = t * n * self.run / max(self.wall_seconds, 1e-9) / 1e6
        took = f"{self.wall_seconds:.3g} s, {rate:,.1f} M asset-bars/s" if rate == rate else "read from files"
        lines = [
            f"scenarios   {len(self):,} of {t:,} bars x {n:,} assets, {self.run:,} run now",
            f"engine      {self.engine}, {took}",
            f"status      {', '.join(f'{name} {count:,}' for name, count in counts.iter_rows())}",
        ]
        return "\n".join([*lines, "best by sharpe:", _text(self.shown("sharpe", 5))])

    __str__ = __repr__ = summary

    def _repr_html_(self) -> str:
        """What the summary says, the axes, the best scenarios, and how many have which advice."""
        with_threads("a table of SweepResult")
        lines = [line.split(None, 1) for line in self.summary().splitlines()[:3]]
        axes = []
        for name in self.axes:
            values = self.table[name].unique(maintain_order=True)
            axes.append((name, f"{len(values):,}: {', '.join(_cells(values.head(8)))}{', ...' * (len(values) > 8)}"))
        best = self.shown("sharpe", 8)
        kinds = self.table[self.column("advice")].str.split(", ").explode().value_counts(sort=True)
        said = [f"{kind}: {count:,} scenarios" for kind, count in kinds.iter_rows() if kind]
        title = f"{len(self):,} scenarios, {self.shape[0]:,} bars x {self.shape[1]:,} assets; the best by sharpe"
        tables = table(lines[1:]), table(axes, ("axis", "values")), table(texts(best), best.columns, numbers=True)
        return card("SweepResult", title, *tables, told(said))

    def to_pandas(self) -> pandas.DataFrame:
        """The table as pandas has it, without pyarrow: a row per scenario, by its number. Raises ResultError where
        pandas is not installed."""
        return to_pandas(self.table, self.column("scenario"))

    def shown(self, metric: str = "sharpe", n: int = 5) -> pl.DataFrame:
        """The n best in as many columns as fit a line: number, axes, and a few metrics to four digits."""
        self._metric(metric)
        names = dict.fromkeys((metric, "sharpe", "annual_return", "max_drawdown", "turnover"))
        numbers = pl.col([self.column(name) for name in names if name in self._metrics])
        ends = self.column("scenario"), self.column("status")
        return self.best(metric, n).select(ends[0], *self.axes, numbers.cast(pl.Float64).round_sig_figs(4), ends[1])

    def _metric(self, name: str) -> str:
        """The column of a metric."""
        check_metric(name, self._metrics)
        return self.column(name)


def check_axes(sweep: SweepResult, *names: Any) -> None:
    """Raise ConfigError for what is no axis."""
    for name in names:
        if not isinstance(name, str) or name not in sweep.axes:
            raise ConfigError(f"{shown(name)} is no axis of the sweep: it has {', '.join(map(repr, sweep.axes))}")


def check_metric(name: str, known: Sequence[str] = METRICS) -> None:
    """Raise ConfigError for what is no metric."""
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"{shown(name)} is no metric of the sweep: it has {', '.join(known)}")


def _text(table: pl.DataFrame) -> str:
    """A table as aligned plain text."""
    rows = [[printable(name) for name in table.columns], *texts(table)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)


def texts(table: pl.DataFrame) -> list[list[str]]:
    """The cells of a table as printable texts: numbers to six digits, "none" for None."""
    return [_cells(row) for row in table.iter_rows()]


def _cells(values: Iterable[Any]) -> list[str]:
    return [f"{v:.6g}" if isinstance(v, float) else "none" if v is None else printable(str(v)) for v in values]


def read_sweep(folder: str | os.PathLike[str]) -> SweepResult:
    """The SweepResult that `SweepResult.write` wrote into a folder, with the same table, best(), pivot() and plot(),
    and with its equity rows where they were kept. `wall_seconds` is NaN and `run` 0: nothing ran now.

    The chunks in a folder of `sweep(out=)` are no result: the same sweep, called again, goes on from them. Raises as
    `read_result` does.
    """
    found: SweepResult = folders.read(folder, lambda: SweepResult.__new__(SweepResult))
    return found
