# SPDX-License-Identifier: Apache-2.0
"""Result: labels back on the arrays of one scenario; tables, statistics, files.

Letters: T bars, N assets.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import tomli_w

from gpu_bt.config import Config
from gpu_bt.errors import ConfigError, ResultError
from gpu_bt.metrics import equity_metrics, infer_bars_per_year, returns
from gpu_bt.spec import RawResult
from gpu_bt.step.layout import COUNTS, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Result", "read_config", "write_beside"]

#: What a replay can add to a record.
_RECORDS = ("fills", "cuts", "positions")


class Result:
    """One scenario's record with its labels. Tables are made on first access and kept.

    raw: what the engine gave; its scenario 0 is read.   timestamps: (T,) datetime64[us], UTC where there is a zone.
    assets: (N,) ids.   config: as the run took it.   notes: what the run wants a person to know, name -> value.
    replay: (fills, positions) -> RawResult, the same run again with those recorded; None = it cannot be run again.
    wall_seconds: time the run took.   lots: (N,) shares per lot, 1 where shares are fractional; None = not known, and
    `final_positions` is taken from `positions`.
    """

    def __init__(
        self,
        raw: RawResult,
        *,
        timestamps: np.ndarray,
        time_zone: str | None,
        assets: Sequence[str],
        config: Config,
        replay: Callable[[bool, bool], RawResult] | None = None,
        notes: Mapping[str, Any] | None = None,
        wall_seconds: float = 0.0,
        lots: np.ndarray | None = None,
    ) -> None:
        self.raw, self.config, self.assets, self.time_zone = raw, config, tuple(assets), time_zone
        self.notes, self.wall_seconds = dict(notes or {}), float(wall_seconds)
        self._replay, self._lots = replay, lots
        self._records = {name: getattr(raw, name) for name in _RECORDS}
        self._utc = np.asarray(timestamps, "datetime64[us]")
        stamps = pl.Series("timestamp", self._utc)
        if time_zone is not None:
            stamps = stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone)
        #: (T,) Polars Datetime("us"), in the panel's time zone where it has one.
        self.timestamps = stamps
        #: Bars per year used for annualising: the config's, or inferred from the timestamps.
        self.bars_per_year = config.bars_per_year or infer_bars_per_year(self._utc.view(np.int64))

    @cached_property
    def equity(self) -> pl.DataFrame:
        """One row per bar: timestamp, the columns of MONEY (Float64, money), then those of COUNTS (Int64).

        After the end of a run that was ended, money is NaN and counts are null.   Source: semantics.md, [S9].
        """
        columns = {"timestamp": self.timestamps}
        for name, values in zip(MONEY, self.raw.money, strict=False):
            columns[name] = pl.Series(name, np.ascontiguousarray(values[0]))
        for name, values in zip(COUNTS, () if self.raw.counts is None else self.raw.counts, strict=False):
            columns[name] = pl.Series(name, values[0].astype(np.int64))
        frame = pl.DataFrame(columns)
        counts = [name for name in COUNTS if name in columns]
        if not counts:
            return frame
        return frame.with_columns(pl.when(pl.col("equity").is_not_nan()).then(pl.col(counts)))

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row per fill, by bar and asset: timestamp, asset, shares (signed), price, reference_price, commission,
        slippage (money) and status. Made by a second, identical run where the first did not record it; ResultError
        where that is not possible or does not give the same run.
        """
        return self._labelled("fills", ["shares", "price", "reference_price", "commission", "slippage"])

    @cached_property
    def cuts(self) -> pl.DataFrame:
        """The parts of orders that did not fill: timestamp, asset, shares (signed), status, in the record's order.

        Made, and refused, as `fills` is.
        """
        return self._labelled("cuts", ["shares"])

    @cached_property
    def positions(self) -> np.ndarray:
        """(T, N) float64 shares after each bar's fills, signed; NaN after the end. Made, and refused, as `fills` is."""
        return self._record("positions")[0]

    @cached_property
    def final_positions(self) -> pl.DataFrame:
        """asset and shares of what is held at the end, without the assets that are not held."""
        if self._lots is not None:
            shares = self.raw.holdings[0] * self._lots
        else:
            alive = np.flatnonzero(~np.isnan(self.raw.money[0, 0]))
            shares = self.positions[alive[-1]] if len(alive) else np.zeros(len(self.assets))
        frame = pl.DataFrame({"asset": pl.Series(self.assets, dtype=pl.String), "shares": shares})
        return frame.filter(pl.col("shares") != 0)

    def returns(self) -> pandas.Series:
        """Simple returns per bar as a pandas Series named "returns" with a DatetimeIndex, as empyrical, quantstats and
        pyfolio take it. The first one is against the initial cash; bars after the end are left out.

        Raises ResultError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ResultError("returns() gives a pandas Series and pandas is missing: pip install pandas") from None
        values = returns(self.raw.money[0, 0], self.config.initial_cash)
        index = pandas.DatetimeIndex(self._utc, name="timestamp")
        if self.time_zone is not None:
            index = index.tz_localize("UTC").tz_convert(self.time_zone)
        return pandas.Series(values, index=index, name="returns").dropna()

    @cached_property
    def metrics(self) -> dict[str, float | int | str]:
        """`gpu_bt.metrics.equity_metrics` of the run as Python numbers, with bars_per_year and status."""
        names = ("buys", "sells", "commission", "slippage", "financing")
        flows = {name: self.raw.column(name) for name in names if MONEY.index(name) < len(self.raw.money)}
        flows = {name: values[:1] for name, values in flows.items()}
        found = equity_metrics(self.raw.money[0, :1], self.config.initial_cash, self.bars_per_year, **flows)
        numbers = {name: values[0].item() for name, values in found.items()}
        return {**numbers, "bars_per_year": self.bars_per_year, "status": self.status}

    @property
    def engine(self) -> str:
        """The name of the engine that made the result."""
        return self.raw.engine

    @property
    def status(self) -> str:
        """The most severe status that was set (SCENARIO_STATUS), "OK" where none was."""
        return list(self.statuses)[-1] if self.statuses else "OK"

    @cached_property
    def statuses(self) -> dict[str, datetime]:
        """Status -> timestamp of the bar at which it was first set, the mildest first; empty where all is OK."""
        first = self.raw.state[0]["first_bar"]
        return {
            name: self.timestamps[int(bar)]
            for name, bar in zip(SCENARIO_STATUS[1:], first[1:], strict=True)
            if bar != NEVER
        }

    def summary(self) -> str:
        """The run as an aligned table of plain text."""
        rows = _summary_rows(self)
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        size = f"{len(self.timestamps)} bars, {len(self.assets)} assets"
        final = self.metrics["final_equity"]
        return f"<Result {self.status}: {size}, engine {self.engine!r}, final equity {final:,.2f}>"

    def write(self, folder: str | os.PathLike[str], *, csv: bool = False, overwrite: bool = True) -> list[Path]:
        """Write equity.parquet, fills.parquet, config.toml and metrics.json into a folder, made where it is missing.

        csv: equity.csv and fills.csv as well.   overwrite: False = refuse where one of the files exists.
        A file appears whole or not at all: it is written beside its place under another name and then renamed. In
        metrics.json a number that is not finite is null. config.toml has the tables [config], for `read_config`, and
        [run]. Gives the paths.

        Raises ResultError: a file exists and overwrite is False, the fills cannot be made, the disk is full or refuses.
        """
        tables = {"equity": self.equity, "fills": self.fills}
        texts = {"config.toml": tomli_w.dumps(self._config_tables()), "metrics.json": _json(self.metrics)}
        jobs: dict[str, Callable[[Path], Any]] = {f"{name}.parquet": t.write_parquet for name, t in tables.items()}
        jobs |= {name: lambda path, text=text: path.write_text(text, "utf-8") for name, text in texts.items()}
        if csv:
            jobs |= {f"{name}.csv": table.write_csv for name, table in tables.items()}
        paths = [Path(folder) / name for name in jobs]
        for path in paths:
            if not overwrite and path.exists():
                raise ResultError(f"{path} exists: pass overwrite=True or choose another folder")
        for path, write in zip(paths, jobs.values(), strict=True):
            write_beside(path, write)
        return paths

    def plot(
        self, path: str | os.PathLike[str] | None = None, benchmark: np.ndarray | Sequence[float] | None = None
    ) -> Path | Figure:
        """Equity, drawdown, exposure, turnover and costs as one picture; see `gpu_bt.plots.plot`."""
        from gpu_bt import plots

        return plots.plot(self, path, benchmark)

    def _labelled(self, name: str, columns: list[str]) -> pl.DataFrame:
        """A FILL array as a table: bar, asset and status by name."""
        rows = self._record(name)
        rows = rows[rows["scenario"] == 0]
        return pl.DataFrame(
            {
                "timestamp": self.timestamps.gather(rows["bar"]),
                "asset": pl.Series(self.assets, dtype=pl.String).gather(rows["asset"]),
                **{column: np.ascontiguousarray(rows[column]) for column in columns},
                "status": pl.Series(ORDER_STATUS, dtype=pl.String).gather(rows["status"]),
            }
        )

    def _record(self, name: str) -> np.ndarray:
        """The raw fills, cuts or positions, from a checked replay where the run did not keep them."""
        if self._records[name] is None:
            way_out = f'run again with record="{"positions" if name == "positions" else "fills"}"'
            if self._replay is None:
                raise ResultError(f"{name} were not recorded and this result cannot be replayed: {way_out}")
            again = self._replay(name != "positions", name == "positions")
            self._check_same(again, name, way_out)
            for key, kept in self._records.items():
                self._records[key] = getattr(again, key) if kept is None else kept
            if self._records[name] is None:
                raise ResultError(f"engine {again.engine!r} replayed the run and gave no {name}: {way_out}")
        return self._records[name]

    def _check_same(self, again: RawResult, name: str, way_out: str) -> None:
        """Raise ResultError unless a replay's money, counts and holdings are those of the run, bit for bit."""
        cause = f"the weights or the panel changed since the run, or another engine was used: {way_out}"
        for field, labels in (("money", MONEY), ("counts", COUNTS), ("holdings", self.assets)):
            old, new = getattr(self.raw, field), getattr(again, field)
            if old is None and new is None:
                continue
            if old is None or new is None or old.shape != new.shape:
                raise ResultError(f"{name} cannot be replayed, the second run has other {field}; {cause}")
            differs = _differs(old, new)
            if field == "holdings" and differs.any():
                asset = labels[int(np.argwhere(differs)[0, -1])]
                raise ResultError(f"{name} cannot be replayed, the second run ends with another {asset!r}; {cause}")
            if differs.any():
                column, _, bar = min(np.argwhere(differs).tolist(), key=lambda place: place[2])
                values = f"{new[column, 0, bar].item()!r}, was {old[column, 0, bar].item()!r}"
                where = f"{labels[column]}[{_when(self.timestamps[int(bar)])}] is {values}"
                raise ResultError(f"{name} cannot be replayed, in the second run {where}; {cause}")

    def _config_tables(self) -> dict[str, dict[str, Any]]:
        """The tables of config.toml. TOML has no null: None is left out, or "none" where the default is a number."""
        default = Config()
        config = {}
        for name, value in self.config.to_dict().items():
            if value is not None or getattr(default, name) is not None:
                config[name] = "none" if value is None else value
        versions = {name: _version(name) for name in ("gpu-bt", "numpy", "polars")}
        run = {
            "engine": self.engine,
            "status": self.status,
            "bars": len(self.timestamps),
            "assets": len(self.assets),
            "start": _when(self.timestamps[0]) if len(self.timestamps) else "",
            "end": _when(self.timestamps[-1]) if len(self.timestamps) else "",
            "time_zone": self.time_zone or "",
            "bars_per_year": self.bars_per_year,
            "statuses": {name: _when(bar) for name, bar in self.statuses.items()},
            "notes": {str(name): str(value) for name, value in self.notes.items()},
            "versions": {"python": platform.python_version(), **versions},
        }
        return {"config": config, "run": run}


def read_config(path: str | os.PathLike[str]) -> Config:
    """A Config from a TOML file: its table [config] where it has one, else the file as a whole.

    Fields left out keep their defaults; "none" stands for None, which TOML lacks. Other tables are not read.
    Raises ConfigError where the file cannot be read, is no TOML, or has a field or value that Config refuses.
    """
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; pass a TOML file with the fields of Config") from error
    table = values.get("config")
    if isinstance(table, dict):  # what stands above the table counts, too: nothing given is passed over
        values = {name: value for name, value in values.items() if not isinstance(value, dict)} | table
    return Config.from_dict(values)


def write_beside(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path`, then rename: `path` is the old file or the whole new one.

    Folders that are missing are made. Raises ResultError where the system refuses; the temporary file is removed.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        os.replace(beside, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise ResultError(f"{path} was not written: {reason}; make room or choose another folder") from error
    finally:
        with suppress(OSError):  # there is none after the rename
            beside.unlink()


def _differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays differ in their bits; NaN equals NaN whatever its payload."""
    if a.dtype != b.dtype:
        return np.ones(a.shape, bool)
    if a.dtype.kind != "f":
        return a != b
    bits = np.dtype(f"i{a.dtype.itemsize}")
    same = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)
    return ~(same | (np.isnan(a) & np.isnan(b)))


def _when(timestamp: datetime) -> str:
    """The shortest text of a bar: the date alone at midnight."""
    midnight = timestamp.replace(tzinfo=None).time() == datetime.min.time()
    return timestamp.date().isoformat() if midnight else timestamp.isoformat(sep=" ")


def _summary_rows(result: Result) -> list[tuple[str, str]]:
    """What `Result.summary` prints: pairs of a name and a text."""
    m, stamps, table = result.metrics, result.timestamps, result.equity
    ended = f", of which {len(stamps) - m['bars']:,} after the end" if m["bars"] < len(stamps) else ""
    since = [f"{name} since {_when(bar)}" for name, bar in reversed(result.statuses.items())]
    rows = [
        ("period", f"{_when(stamps[0])} to {_when(stamps[-1])}" if len(stamps) else "none"),
        ("bars", f"{len(stamps):,}{ended}; {result.bars_per_year:g} a year"),
        ("assets", f"{len(result.assets):,}"),
        ("engine", f"{result.engine}, {result.wall_seconds:.3g} s"),
        ("status", "; ".join(since) or "OK"),
        ("final equity", f"{m['final_equity']:,.2f} from {result.config.initial_cash:,.2f}"),
        ("total return", f"{m['total_return']:.2%}"),
        ("annual return", f"{m['annual_return']:.2%}, volatility {m['volatility']:.2%}"),
        ("sharpe", f"{m['sharpe']:.2f}, sortino {m['sortino']:.2f}, calmar {m['calmar']:.2f}"),
        ("max drawdown", f"{m['max_drawdown']:.2%}, longest {m['longest_drawdown']:,} bars"),
    ]
    if "annual_costs" in m:
        total = {name: np.nansum(table[name].to_numpy()) for name in MONEY if name in table.columns}
        split = ", ".join(f"{name} {total[name]:,.2f}" for name in ("commission", "slippage"))
        other = ", ".join(f"{name} {total[name]:,.2f}" for name in ("dividends", "settlements"))
        rows += [
            ("turnover", f"{m['turnover']:.2f} times a year, one-way"),
            ("costs", f"{m['total_costs']:,.2f} ({m['annual_costs']:.2%} a year): {split}"),
            ("financing", f"{m['total_financing']:,.2f}, {other}"),
        ]
    if "fills" in table.columns:
        count = {name: table[name].sum() for name in COUNTS}
        last = table["working"].drop_nulls()
        cut = ", ".join(f"{name.upper()} {count[name]:,}" for name in COUNTS[2:] if count[name])
        rows.append(("fills", f"{count['fills']:,}, {last[-1] if len(last) else 0:,} orders working at the end"))
        rows.append(("orders cut", cut or "none"))
    rows = [(name, re.sub(r"\bnan\b%?", "n/a", text)) for name, text in rows]
    return rows + [("note", f"{name}: {value}") for name, value in result.notes.items()]


def _json(values: Mapping[str, Any]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return json.dumps(finite, indent=2, allow_nan=False) + "\n"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
