# SPDX-License-Identifier: Apache-2.0
"""Result: labels back on the arrays of one scenario; tables, statistics, files; `read_result`.

Letters: T bars, N assets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gpu_bt.analysis import files, handover, plots
from gpu_bt.analysis.calendars import bars_of_a_year
from gpu_bt.analysis.labelled import Labelled, pandas_index, to_pandas
from gpu_bt.analysis.metrics import equity_metrics, returns, rounding_of
from gpu_bt.analysis.spans import decided
from gpu_bt.analysis.standing import Standing, orders_table
from gpu_bt.analysis.summary import result_card, summary_rows
from gpu_bt.arguments import one_of
from gpu_bt.config import Config
from gpu_bt.data.forks import with_threads
from gpu_bt.data.slices import start_bar
from gpu_bt.data.times import stamp, time_series
from gpu_bt.engine.prepare import in_shares
from gpu_bt.engine.registry import stacked
from gpu_bt.engine.resident import Resident, first
from gpu_bt.engine.spec import RawResult
from gpu_bt.errors import ResultError, printable
from gpu_bt.law.layout import COUNTS, EARLIER, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS
from gpu_bt.typing import Metrics, Time

if TYPE_CHECKING:
    import pandas

__all__ = ["Result", "read_result"]

#: What `Result.to_pandas` gives.
_TABLES = ("equity", "fills", "cuts", "positions", "weights", "final_positions", "orders_next")


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
    strategy or universe ([S6]).   wall_seconds: time the run took, NaN where it was read from files.   weigh: (lots,
    equity, tick) -> (T, N) `weights`; None = there are no marks.   orders: RawResult -> Standing, or `orders_next`.
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
        weigh: Callable[..., np.ndarray] | None = None,
        orders: Callable[[RawResult], Standing | pl.DataFrame] | None = None,
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
        self._weigh, self._orders = weigh, orders
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
    def positions(self) -> Labelled:
        """(T, N) float64 shares after each bar's fills, signed; NaN after the end; made as `fills` is. It is indexed as
        an array or by labels, `positions["2020-03", "A"]`, and has to_pandas() and to_polars() (`Labelled`)."""
        return Labelled(self._record("positions")[0], self.timestamps, self.assets, "positions")

    @cached_property
    def weights(self) -> Labelled:
        """(T, N) what is held, at marks: w = R(h*m)*(1/E), signed, of the h lots, the marks m and the equity E after
        each bar ([S5], [S7]); with the cash, cash/E, they sum to 1. NaN after the end, and where E is not above 0. Made
        as `fills` is. Raises ResultError where there are no marks: of a stream, or read without weights.parquet."""
        if self._weigh is None:
            way_out = "run over a panel in memory, and write() with positions=True"
            raise ResultError(f"weights need the marks of the panel, which this result does not have: {way_out}")
        found = self._weigh(self.positions.values / self._unit(), self.raw.money[0, 0], self.config.tick)
        return Labelled(found, self.timestamps, self.assets, "weights")

    @cached_property
    def orders_next(self) -> pl.DataFrame:
        """The orders that still work after the last bar, by asset, for the bar that follows; empty where none does.

        asset; decided: the bar whose decision, margin call or stop placed it, null where that is not known, as of a
        stream, or lies before the first bar; shares, signed, still to fill; filled: those that have filled of it, in
        today's shares, null where decided is, or where no fills are at hand; kind: "market", "limit", "stop" or
        "stop_limit"; limit, stop: prices per share, null = none. A market order fills as the config's `execution` says;
        a stop that was triggered is none any more.
        """
        with_threads("Result.orders_next")
        return orders_table(self, self._orders)

    def to_pandas(self, name: str = "equity") -> pandas.DataFrame:
        """One of its tables as pandas has it, without pyarrow: equity, fills, cuts, positions, weights, final_positions
        or orders_next; the timestamps are the index, in their time zone, of the last two the assets. What is null is
        NaN. Raises ConfigError for another name, ResultError where pandas is not installed, and what the table raises.
        """
        found = getattr(self, one_of("name", name, _TABLES))
        if isinstance(found, Labelled):
            return found.to_pandas()
        return to_pandas(found, "timestamp" if "timestamp" in found.columns else "asset")

    @cached_property
    def final_positions(self) -> pl.DataFrame:
        """asset and shares of what is held at the end, without the assets that are not held."""
        with_threads("Result.final_positions")
        return pl.DataFrame({"asset": self.assets, "shares": self._holdings()}).filter(pl.col("shares") != 0)

    @cached_property
    def _ends(self) -> pl.DataFrame:
        """assets.parquet: each asset with its lot, NaN = the config's, its holding and order at the end, in lots."""
        lots = np.broadcast_to(np.nan if self._lots is None else self._lots, len(self.assets))
        ends = {"lot": lots, "holdings": self.raw.holdings[0], "orders": self.raw.orders[0]}
        return pl.DataFrame({"asset": self.assets, **ends})

    def _unit(self) -> np.ndarray:
        """(N,) shares of a lot."""
        size = self.config.lot if self._lots is None or self.config.lot == 0 else self._lots
        return np.where(size == 0, 1.0, np.broadcast_to(size, len(self.assets)))

    def _holdings(self) -> np.ndarray:
        return in_shares(self.raw.holdings[0], self._unit())

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
    def metrics(self) -> Metrics:
        """`gpu_bt.analysis.metrics.equity_metrics` of the run from `start` on as Python numbers, with bars_per_year and
        status."""
        return self._metrics(self._first)

    def metrics_since(self, start: Time) -> Metrics:
        """`metrics` of the bars from a date, datetime or text such as "2020-03" on, as `panel[start:]` has it.

        Raises PanelError for what is no time, and where no bar follows it.
        """
        return self._metrics(max(self._priced, start_bar(self._utc, self.time_zone, start) or 0))

    def _metrics(self, first: int) -> Metrics:
        rounding, priced = rounding_of(self.config.tick, len(self.assets)), self._priced
        money = self.raw.money[:, :1, priced:]
        found = equity_metrics(money, self.opening, self.bars_per_year, start=first - priced, rounding=rounding)
        numbers = {name: values[0].item() for name, values in found.items()}
        return Metrics(numbers, bars_per_year=self.bars_per_year, status=self.status)

    def _before(self, first: int) -> float:
        """Equity before a bar."""
        return self.raw.money[0, 0, first - 1].item() if first > self._priced else self.opening

    def returns(self) -> pandas.Series:
        """Simple returns per bar from `start` on as a pandas Series named "returns" with a DatetimeIndex, as empyrical,
        quantstats and pyfolio take it; bars after the end are left out.

        Raises ResultError where pandas is not installed.
        """
        index = pandas_index(self.timestamps[self._first :])
        import pandas  # which is there

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
        return "\n".join(f"{name:<13}  {printable(text)}" for name, text in summary_rows(self))

    __str__ = __repr__ = summary
    _repr_html_, pyfolio = result_card, handover.pyfolio

    def write(
        self, folder: str | os.PathLike[str], *, csv: bool = False, positions: bool | None = None,
        stale: Collection[str] = (),
    ) -> list[Path]:  # fmt: skip
        """Write the tables into a folder, made where it is missing, for `read_result` and for other programs: equity,
        fills, cuts, orders_next and assets (each with its lot, and its holding and order at the end, in lots) as
        Parquet, config.toml and metrics.json.

        csv: equity.csv and fills.csv as well.   positions: positions.parquet and weights.parquet as well, a column for
        each asset; None = where the run recorded them.   stale: names of other files of an older result there, such as
        its picture. In metrics.json a number that is not finite is null. config.toml has the tables [config], for
        `read_config`, and [run], with what is no part of a Config, such as opening holdings. Gives the paths.

        The folder then holds this result alone: an older one, of a run or a sweep, is replaced, its tables, CSV and
        `stale` files removed; other files stay. A failure leaves the older one as it was. Whatever ends the process,
        files of two results never stand side by side, and metrics.json goes first and comes last: where it is missing,
        the folder is unfinished, and the next write makes it whole.

        Raises ConfigError for what is no path; ResultError: the fills cannot be made, the disk is full or refuses.
        """
        with_threads("Result.write()")
        return files.write(self, folder, csv, positions, stale)

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
        if (found := getattr(self.raw, name)) is None:
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


def read_result(folder: str | os.PathLike[str]) -> Result:
    """The Result that `Result.write` wrote into a folder, with the same tables, metrics, plot() and returns(): no panel
    is needed. What was not written cannot be made from files: positions without positions.parquet, weights without
    weights.parquet, a checkpoint. `engine` is that of the run, `wall_seconds` NaN.

    Raises ConfigError for what is no path; ResultError, one line: no folder, no result in it or a sweep's, an
    unfinished write, a damaged file, files of several results, or of another version.
    """
    found: Result = files.read(folder, Result)
    return found
