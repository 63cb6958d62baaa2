# SPDX-License-Identifier: Apache-2.0
"""Result: labels back on the arrays of one scenario; tables, statistics, files.

Letters: T bars, N assets.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gpu_bt import __version__
from gpu_bt.analysis import plots
from gpu_bt.analysis.calendars import bars_of_a_year
from gpu_bt.analysis.metrics import equity_metrics, returns, rounding_of
from gpu_bt.analysis.spans import decided
from gpu_bt.arguments import flag, one_of, path_of
from gpu_bt.config import Config
from gpu_bt.data.disk import Job, to_file, write_together
from gpu_bt.data.forks import with_threads
from gpu_bt.data.settings import config_text
from gpu_bt.data.slices import start_bar
from gpu_bt.data.times import stamp, time_series
from gpu_bt.engine.prepare import in_shares
from gpu_bt.engine.registry import stacked
from gpu_bt.engine.resident import Resident, first
from gpu_bt.engine.spec import RawResult
from gpu_bt.errors import ResultError, printable
from gpu_bt.law.layout import COUNTS, EARLIER, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS

if TYPE_CHECKING:
    import pandas

__all__ = ["Result"]


class Result:
    """One scenario's record with its labels. Tables are made on first access and kept; str() is the summary.

    raw: what `engine` gave; its scenario 0 is read.   timestamps: (T,) datetime64[us], UTC where there is a zone.
    assets: (N,) ids.   config: as the run took it.   notes: what the run wants a person to know, name -> value.
    replay: (fills, positions, stay) -> RawResult, the same run with those recorded; None = it cannot be run again.
    lots: (N,) shares per lot of the panel, used instead of the config's unless that is 0; None = the config's.
    save: (path, RawResult) -> path, writes the state for `checkpoint`; None = it cannot be saved.   opening: equity
    before the first bar where the run goes on from a saved one, else the initial cash.   earlier: status ->
    microseconds of its first bar, where that lies before the first one here.   first: the bar at which all opening
    holdings have a mark: none before it counts, and equity before it is `opening`.   held: (N,) these holdings, shares.
    start: number of the first bar that metrics count, None = that of the first decision with a target.   advice: what
    is legal but probably not meant, kind -> sentence.   decisions: bars at which something was asked for, by weights,
    strategy or universe ([S6]).   wall_seconds: time the run took.
    """

    def __init__(
        self,
        raw: RawResult,
        *,
        timestamps: np.ndarray,
        time_zone: str | None,
        assets: Sequence[str],
        config: Config,
        replay: Callable[..., RawResult] | None = None,
        notes: Mapping[str, Any] | None = None,
        lots: np.ndarray | None = None,
        save: Callable[[Any, RawResult], Path] | None = None,
        opening: float | None = None,
        earlier: Mapping[str, int] | None = None,
        first: int = 0,
        held: np.ndarray | None = None,
        start: int | None = None,
        advice: Mapping[str, str] | None = None,
        decisions: int = 0,
        wall_seconds: float = 0.0,
    ) -> None:
        self.raw = raw
        self.engine = raw.engine
        self.config = config
        self.assets = tuple(assets)
        self.notes = dict(notes or {})
        self.advice, self.decisions, self._first = dict(advice or {}), decisions, first
        self.wall_seconds = wall_seconds
        self._replay = replay
        self._lots = lots
        self._save = save
        #: Equity before the first bar.
        self.opening = config.initial_cash if opening is None else opening
        self._earlier = dict(zip(earlier or {}, time_series(list((earlier or {}).values()), time_zone), strict=True))
        self._utc = np.asarray(timestamps, "datetime64[us]")
        #: (T,) Polars Datetime("us"), in the panel's time zone where it has one.
        self.timestamps = time_series(self._utc, time_zone)
        #: The zone of `timestamps`: the panel's, or UTC where that is an offset that Polars does not know, as '+05:30'.
        self.time_zone: str | None = getattr(self.timestamps.dtype, "time_zone", None)
        begun = int(decided(raw)[0])
        self._zone, self._priced = time_zone, first
        self._first = max(first, begun if start is None else start)
        self._held = {} if held is None else {name: x for name, x in zip(assets, held.tolist(), strict=True) if x}
        self._why = "from the first decision with a target on"
        if start is not None and start >= first:
            self._why = "from start= on"
        elif held is not None:
            self._why = "from the opening on"
        elif begun <= 0 and (begun < 0 or earlier is not None):
            self._why = "all, as no decision has a target" if begun < 0 else "from the first bar of the resumed run on"

    @cached_property
    def _year(self) -> tuple[float, str]:
        return bars_of_a_year(self._utc.view(np.int64), self._zone)

    @property
    def bars_per_year(self) -> float:
        """Bars per year used for annualising: the config's, or inferred from the timestamps."""
        return self.config.bars_per_year or self._year[0]

    @property
    def bars_per_year_reason(self) -> str:
        """Why so many, in a few words."""
        return "as configured" if self.config.bars_per_year else self._year[1]

    @cached_property
    def equity(self) -> pl.DataFrame:
        """One row per bar: timestamp, the columns of MONEY (Float64, money), then those of COUNTS (Int64).

        After the end of a run that was ended, money is NaN and counts are null.   Source: semantics.md, [S9].
        """
        with_threads("Result.equity")
        money = dict(zip(MONEY, self.raw.money[:, 0], strict=False))
        counts = {}
        if self.raw.counts is not None:
            counts = dict(zip(COUNTS, self.raw.counts[:, 0].astype(np.int64), strict=True))
        frame = pl.DataFrame({"timestamp": self.timestamps, **money, **counts})
        return frame.with_columns(pl.when(pl.col("equity").is_not_nan()).then(pl.col(name)) for name in counts)

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row per fill, by bar and asset: timestamp, asset, shares (signed), price, reference_price, commission,
        slippage (money) and status. Made by a second, identical run where the first did not record it.

        Raises ResultError where that is not possible or does not give the same run.
        """
        return self._labelled("fills", "shares", "price", "reference_price", "commission", "slippage")

    @cached_property
    def cuts(self) -> pl.DataFrame:
        """The parts of orders that did not fill: timestamp, asset, shares (signed), status; made as `fills` is."""
        return self._labelled("cuts", "shares")

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        """(T, N) float64 shares after each bar's fills, signed; NaN after the end; made as `fills` is."""
        first: NDArray[np.float64] = self._record("positions")[0]
        return first

    @cached_property
    def final_positions(self) -> pl.DataFrame:
        """asset and shares of what is held at the end, without the assets that are not held."""
        with_threads("Result.final_positions")
        return pl.DataFrame({"asset": self.assets, "shares": self._holdings()}).filter(pl.col("shares") != 0)

    def _holdings(self) -> np.ndarray:
        size = self.config.lot if self._lots is None or self.config.lot == 0 else self._lots
        return in_shares(self.raw.holdings[0], np.where(size == 0, 1.0, size))

    def array(self, name: str) -> Any:
        """Float64 in the memory in which the engine worked: a NumPy array, or of "cuda" a Resident, which CuPy, PyTorch
        and whatever knows DLPack or `__cuda_array_interface__` take as it lies.   name: "positions", (T, N) as
        `positions`, on a GPU through host memory only if the run recorded them; "holdings", (N,) shares at the end;
        "equity", "cash" or other money of the per-bar table, (T,). Raises ConfigError, and what `positions` raises."""
        money = dict(zip(MONEY, self.raw.money[:, 0], strict=False))
        found = money.get(one_of("name", name, ("positions", "holdings", *money)))
        if name == "positions":
            found = first(self._record(name, stay=True))
            if isinstance(found, Resident):
                return found
        return stacked(self.engine, [self._holdings() if found is None else found])

    @property
    def start(self) -> datetime:
        """The first bar that metrics and returns count: that of the first decision with a target other than 0, or what
        `run(start=)` said; of a run with opening holdings the opening, of one without any target its first bar."""
        first: datetime = self.timestamps[self._first]
        return first

    @cached_property
    def metrics(self) -> dict[str, float | int | str]:
        """`gpu_bt.analysis.metrics.equity_metrics` of the run from `start` on as Python numbers, with bars_per_year and
        status."""
        return self._metrics(self._first)

    def metrics_since(self, start: Any) -> dict[str, float | int | str]:
        """`metrics` of the bars from a date, datetime or text such as "2020-03" on, as `panel[start:]` has it.

        Raises PanelError for what is no time, and where no bar follows it.
        """
        return self._metrics(max(self._priced, start_bar(self._utc, self.time_zone, start) or 0))

    def _metrics(self, first: int) -> dict[str, float | int | str]:
        rounding, priced = rounding_of(self.config.tick, len(self.assets)), self._priced
        money = self.raw.money[:, :1, priced:]
        found = equity_metrics(money, self.opening, self.bars_per_year, start=first - priced, rounding=rounding)
        numbers = {name: values[0].item() for name, values in found.items()}
        return {**numbers, "bars_per_year": self.bars_per_year, "status": self.status}

    def _before(self, first: int) -> float:
        """Equity before a bar."""
        return self.raw.money[0, 0, first - 1].item() if first > self._priced else self.opening

    def returns(self) -> pandas.Series:
        """Simple returns per bar from `start` on as a pandas Series named "returns" with a DatetimeIndex, as empyrical,
        quantstats and pyfolio take it; bars after the end are left out.

        Raises ResultError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ResultError("returns() gives a pandas Series and pandas is missing: pip install pandas") from None
        index = pandas.DatetimeIndex(self._utc[self._first :], name="timestamp")
        if self.time_zone is not None:
            index = index.tz_localize("UTC").tz_convert(self.time_zone)
        values = returns(self.raw.money[0, 0, self._first :], self._before(self._first))
        return pandas.Series(values, index=index, name="returns").dropna()

    @property
    def status(self) -> str:
        """The most severe status that was set (SCENARIO_STATUS), "OK" where none was."""
        return ["OK", *self.statuses][-1]

    @cached_property
    def statuses(self) -> dict[str, datetime]:
        """Status -> timestamp of the bar at which it was first set, the mildest first; empty where all is OK."""
        first: dict[str, int] = dict(zip(SCENARIO_STATUS, self.raw.state[0]["first_bar"].tolist(), strict=True))
        set_ = [name for name in SCENARIO_STATUS[1:] if first[name] != NEVER]
        return {name: self._earlier[name] if first[name] == EARLIER else self.timestamps[first[name]] for name in set_}

    def summary(self) -> str:
        """The run as an aligned table of plain text."""
        return "\n".join(f"{name:<13}  {printable(text)}" for name, text in _summary_rows(self))

    __str__ = __repr__ = summary

    def write(self, folder: str | os.PathLike[str], *, csv: bool = False, stale: Collection[str] = ()) -> list[Path]:
        """Write equity.parquet, fills.parquet, config.toml and metrics.json into a folder, made where it is missing.

        csv: equity.csv and fills.csv as well.   stale: names of other files of an older result there, such as its
        picture. In metrics.json a number that is not finite is null. config.toml has the tables [config], for
        `read_config`, and [run], with what is no part of a Config, such as opening holdings. Gives the paths.

        The folder then holds this result alone: an older one, of a run or a sweep, is replaced, its tables, CSV and
        `stale` files removed; other files stay. A failure leaves the older one as it was. Whatever ends the process,
        files of two results never stand side by side, and metrics.json goes first and comes last: where it is missing,
        the folder is unfinished, and the next write makes it whole.

        Raises ConfigError for what is no path; ResultError: the fills cannot be made, the disk is full or refuses.
        """
        with_threads("Result.write()")
        place, csv = path_of("folder", folder), flag("csv", csv)
        run = {
            "engine": self.engine,
            "metrics_since": stamp(self.start),
            "bars_per_year": self.bars_per_year,
            "holdings": self._held,
            "statuses": {name: stamp(bar) for name, bar in self.statuses.items()},
            "notes": {name: str(value) for name, value in self.notes.items()},
            "versions": {"gpu_bt": __version__, "numpy": np.__version__, "polars": pl.__version__},
        }
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in self.metrics.items()}
        jobs: dict[str, Job] = {}
        for name, table in {"equity": self.equity, "fills": self.fills}.items():
            jobs[f"{name}.parquet"] = to_file(table.write_parquet)
            if csv:
                jobs[f"{name}.csv"] = to_file(table.write_csv)
        jobs["config.toml"] = config_text(self.config, run)
        jobs["metrics.json"] = json.dumps(finite, indent=2, allow_nan=False) + "\n"
        files = {place / name: job for name, job in jobs.items()}
        write_together(files, stale)
        return list(files)

    def checkpoint(self, path: str | os.PathLike[str]) -> Path:
        """Write the state after the last bar, for `run(panel_of_later_bars, weights, config, resume=path)`.

        Where `rebalance` is not "bar", the panel of this run needs a next_timestamp if its last bar may be one that
        decides. The file appears whole, in the place of an older one, or not at all. Gives the path. Raises ResultError
        where the run cannot be saved, the path is none, or the disk refuses.
        """
        if self._save is None:
            raise ResultError("this result has no state to save: only runs over weights and a panel in memory have one")
        return self._save(path, self.raw)

    plot = plots.plot

    def _labelled(self, name: str, *columns: str) -> pl.DataFrame:
        """A FILL array as a table: bar, asset and status by name."""
        with_threads(f"Result.{name}")
        rows = self._record(name)
        rows = rows[rows["scenario"] == 0]
        return pl.DataFrame(
            {
                "timestamp": self.timestamps.gather(rows["bar"]),
                "asset": pl.Series(self.assets).gather(rows["asset"]),
                **{column: np.ascontiguousarray(rows[column]) for column in columns},
                "status": pl.Series(ORDER_STATUS).gather(rows["status"]),
            }
        )

    def _record(self, name: str, stay: bool = False) -> Any:
        """The raw fills, cuts or positions, from a replay where the run kept none; stay: where it made them."""
        found: Any = getattr(self.raw, name)
        if found is None:
            way_out = f'run again with record="{"positions" if name == "positions" else "fills"}"'
            if self._replay is None:
                raise ResultError(f"{name} were not recorded and this result cannot be replayed: {way_out}")
            again = self._replay(name != "positions", name == "positions", *[True] * stay)
            self._check_same(again, f"{name} cannot be replayed, ", f"; {way_out}")
            for field in ("fills", "cuts", "positions"):
                if getattr(self.raw, field) is None:
                    setattr(self.raw, field, getattr(again, field))
            found = getattr(again, name)
            assert found is not None  # it was asked for
        return found

    def _check_same(self, again: RawResult, start: str, end: str) -> None:
        """Raise ResultError unless a replay's money, counts and holdings are those of the run, bit for bit."""
        for field in ("money", "counts", "holdings"):
            old, new = getattr(self.raw, field), getattr(again, field)
            if old is None or not (other := _differs(old, new)).any():
                continue
            place = int(np.nonzero(other)[-1].min())
            where = repr(self.assets[place]) if field == "holdings" else stamp(self.timestamps[place])
            raise ResultError(f"{start}the second run has other {field} at {where}: weights or panel have changed{end}")


def _differs(a: np.ndarray, b: np.ndarray) -> NDArray[np.bool_]:
    """Where two arrays differ in their bits, but NaN equals NaN: -0.0 differs from 0.0."""
    same: NDArray[np.bool_] = (a == b) & (np.signbit(a) == np.signbit(b))
    same |= np.isnan(a) & np.isnan(b)
    return ~same


def _summary_rows(result: Result) -> list[tuple[str, str]]:
    """What `Result.summary` prints: pairs of a name and a text."""
    m = result.metrics
    stamps = result.timestamps
    table = result.equity
    since = [f"{name} since {stamp(bar)}" for name, bar in reversed(result.statuses.items())]
    alive = int(np.count_nonzero(~np.isnan(result.raw.money[0, 0])))
    last = stamp(stamps[max(alive, 1) - 1])
    rows = [
        ("period", f"{stamp(stamps[0])} to {stamp(stamps[-1])}, {alive:,} of {len(stamps):,} bars"),
        ("metrics", f"{stamp(result.start)} to {last}, {m['bars']:,} bars, {result._why}"),
        ("bars per year", f"{result.bars_per_year:,.6g}, {result.bars_per_year_reason}"),
        ("assets", f"{len(result.assets):,}"),
        ("engine", f"{result.engine}, {result.wall_seconds:.3g} s"),
        ("status", "; ".join(since) or "OK"),
        ("final equity", f"{m['final_equity']:,.2f}{_last_row(result)} from {result._before(result._first):,.2f}"),
        ("total return", f"{m['total_return']:.2%}"),
        ("annual return", f"{m['annual_return']:.2%}, volatility {m['volatility']:.2%}"),
        ("sharpe", f"{m['sharpe']:.2f}, sortino {m['sortino']:.2f}, calmar {m['calmar']:.2f}"),
        ("max drawdown", f"{m['max_drawdown']:.2%}, longest {m['longest_drawdown']:,} bars"),
    ]
    if "turnover" in m:
        total = dict(zip(MONEY, np.nansum(result.raw.money[:, 0], axis=1).tolist(), strict=True))
        rows += [
            ("turnover", f"{m['turnover']:.2f} times a year, one-way"),
            ("costs", f"{m['total_costs']:,.2f}, {m['annual_costs']:.2%} a year"),
            *((name, f"{total[name]:,.2f}") for name in MONEY[MONEY.index("commission") :]),
        ]
    if "fills" in table.columns:
        count = {name: table[name].sum() for name in COUNTS}
        cut = ", ".join(f"{name.upper()} {count[name]:,}" for name in COUNTS[2:] if count[name])
        working = table["working"].drop_nulls().tail(1).sum()
        rows += [("fills", f"{count['fills']:,}, {working:,} orders working at the end"), ("orders cut", cut or "none")]
    rows += [("note", f"{name}: {value}") for name, value in result.notes.items() if value != 0]
    return rows + [("advice", text) for text in result.advice.values()]


def _last_row(result: Result) -> str:
    """Where the final equity is from, where the run has ended before its last bar."""
    rows = np.flatnonzero(~np.isnan(result.raw.money[0, 0]))
    ended = 0 < len(rows) < len(result.timestamps)
    return f" in the last row, {stamp(result.timestamps[int(rows[-1])])}," if ended else ""
