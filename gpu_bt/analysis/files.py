# SPDX-License-Identifier: Apache-2.0
"""A Result as the files of a folder, and back.

Letters: T bars, N assets.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpu_bt import __version__
from gpu_bt.arguments import flag, path_of
from gpu_bt.data.clock import EPOCH, MICROSECOND
from gpu_bt.data.disk import MARKS, Job, to_file, write_together
from gpu_bt.data.forks import with_threads
from gpu_bt.data.settings import config_text, read_config, read_toml
from gpu_bt.data.times import stamp
from gpu_bt.engine.spec import FILL, RawResult
from gpu_bt.errors import ResultError, shown
from gpu_bt.law.layout import COUNTS, EARLIER, MONEY, NEVER, ORDER_STATUS, SCENARIO_STATUS, STATE

__all__ = ["FORMAT", "read", "reading", "run_of", "table_of", "versions", "whole", "write"]

#: Columns of orders_next.parquet.
ORDERS = ("asset", "decided", "shares", "filled", "kind", "limit", "stop")
#: What [run] calls the layout of the folder; another number is another layout.
FORMAT = 1
_AGAIN = "write the result again, or run again"


def versions() -> dict[str, str]:
    """What has written a folder."""
    return {"gpu_bt": __version__, "numpy": np.__version__, "polars": pl.__version__}


def write(result: Any, folder: Any, csv: bool, positions: bool | None, stale: Collection[str]) -> list[Path]:
    """`Result.write`."""
    place, csv = path_of("folder", folder), flag("csv", csv)
    positions = result.raw.positions is not None if positions is None else flag("positions", positions)
    numbers = {"first": result._first, "priced": result._priced, "decisions": result.decisions}
    zone = {} if result._zone is None else {"time_zone": result._zone}
    run = {
        "engine": result.engine,
        "format": FORMAT,
        "metrics_since": stamp(result.start),
        "metrics_why": result._why,
        "bars_per_year": result.bars_per_year,
        "opening": float(result.opening),
        **numbers,
        **zone,
        "holdings": result._held,
        "statuses": {name: stamp(bar) for name, bar in result.statuses.items()},
        "since": {name: _microseconds(bar) for name, bar in result.statuses.items()},
        "notes": {name: _plain(value) for name, value in result.notes.items()},
        "advice": result.advice,
        "versions": versions(),
    }
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in result.metrics.items()}
    tables = {"equity": result.equity, "fills": result.fills, "cuts": result.cuts, "assets": result._ends}
    tables["orders_next"] = result.orders_next
    if positions:
        tables["positions"] = result.positions.to_polars()
        tables |= {"weights": result.weights.to_polars()} if result._weigh is not None else {}
    jobs: dict[str, Job] = {}
    for name, table in tables.items():
        jobs[f"{name}.parquet"] = to_file(table.write_parquet)
        if csv and name in ("equity", "fills"):
            jobs[f"{name}.csv"] = to_file(table.write_csv)
    jobs["config.toml"] = config_text(result.config, run)
    jobs["metrics.json"] = json.dumps(finite, indent=2, allow_nan=False) + "\n"
    write_together({place / name: job for name, job in jobs.items()}, stale)
    return [place / name for name in jobs]


def _microseconds(bar: dt.datetime) -> int:
    """Since 1970: UTC where there is a time zone."""
    return (bar.astimezone(dt.UTC).replace(tzinfo=None) - EPOCH if bar.tzinfo else bar - EPOCH) // MICROSECOND


def _plain(value: Any) -> Any:
    """A note as TOML holds it: a number or a text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float)) else str(value)


# ---- and back


def whole(folder: Any, mark: str, other: str, reader: Callable[[Path], Any]) -> Any:
    """What a reader makes of the files of a folder, all of one result. mark: the file that comes last and goes first;
    other: who reads the other kind's.

    Raises ConfigError for what is no path, ResultError for what is no such folder, and where another process has
    written into it meanwhile.
    """
    place = _folder(folder, mark, other)
    before, found = _stamp(place / mark), reader(place)
    if _stamp(place / mark) != before:
        raise ResultError(f"{place} was written anew while it was read: read it again")
    return found


def _stamp(path: Path) -> tuple[int, int] | None:
    """Other numbers for a file that has taken its place, None where it is gone."""
    try:
        return path.stat().st_ino, path.stat().st_mtime_ns
    except OSError:
        return None


def _folder(folder: Any, mark: str, other: str) -> Path:
    place = path_of("folder", folder)
    if not place.is_dir():
        raise ResultError(f"{place} is no folder: pass the one that write() has filled")
    if (place / mark).is_file():
        return place
    if any((place / name).is_file() for name in MARKS if name != mark):
        raise ResultError(f"{place} holds the other kind of result: read it with gpu_bt.{other}")
    files = any((place / name).is_file() for name in ("equity.parquet", "config.toml"))
    what = "is unfinished, a write was cut off" if files else "holds no result"
    raise ResultError(f"{place} has no {mark}: it {what}; {_AGAIN}, and pass that folder")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads one file: whatever goes wrong is a ResultError that names it."""
    try:
        yield
    except ResultError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else "it is damaged"
        reason = reason.removeprefix(f"{path} cannot be read: ") + " is missing" * isinstance(error, KeyError)
        raise ResultError(f"{path} cannot be read ({shown(reason)}): {_AGAIN}") from error


def run_of(place: Path) -> dict[str, Any]:
    """The table [run] of a folder's config.toml, of this layout."""
    with reading(place / "config.toml"):
        run: dict[str, Any] = read_toml(place / "config.toml", "with the table [run]")["run"]
        known, by = run.get("format", 0), run.get("versions", {}).get("gpu_bt") or run.get("version")
    if known != FORMAT:
        raise ResultError(f"{place} was written by version {shown(by)}, and this version reads other files: {_AGAIN}")
    return run


def table_of(path: Path, *columns: str) -> pl.DataFrame:
    """A Parquet file with at least these columns."""
    with reading(path):
        frame = pl.read_parquet(path, glob=False)
        if missing := [name for name in columns if name not in frame.columns]:
            raise ValueError(f"it has no column {missing[0]!r}")
        times = frame["timestamp"] if "timestamp" in columns else pl.Series(dtype=pl.Datetime)
        if not isinstance(times.dtype, pl.Datetime) or times.has_nulls() or not times.is_sorted():
            raise ValueError("it has no rising times")
        if frame.is_empty() and path.name in ("equity.parquet", "assets.parquet"):
            raise ValueError("it is empty")
        return frame


def read(folder: Any, made: Callable[..., Any]) -> Any:
    """`read_result`. made: Result."""
    with_threads("read_result()")
    return whole(folder, "metrics.json", "read_sweep", partial(_read, made))


def _read(made: Callable[..., Any], place: Path) -> Any:
    run = run_of(place)
    with reading(place / "config.toml"):
        config = read_config(place / "config.toml")
    frames = {
        "equity": table_of(place / "equity.parquet", "timestamp", *MONEY, *COUNTS),
        **{name: table_of(place / f"{name}.parquet", "timestamp", "asset", "status") for name in ("fills", "cuts")},
        "assets": table_of(place / "assets.parquet", "asset", "lot", "holdings", "orders"),
        "orders_next": table_of(place / "orders_next.parquet", *ORDERS),
    }  # fmt: skip
    wide = {name: table_of(path) for name in ("positions", "weights") if (path := place / f"{name}.parquet").is_file()}
    with reading(place / "equity.parquet"):
        utc = frames["equity"]["timestamp"].to_physical().to_numpy().astype("datetime64[us]")
        assets = frames["assets"]["asset"].to_list()
        raw = _raw(run, frames["equity"], frames["assets"], utc)
    for name in ("fills", "cuts"):
        with reading(place / f"{name}.parquet"):
            setattr(raw, name, _log(frames[name], utc, assets))
    arrays: dict[str, np.ndarray] = {}
    for name, frame in wide.items():
        with reading(place / f"{name}.parquet"):
            arrays[name] = frame.select(frame.columns[1:]).to_numpy().astype(np.float64, order="C")
            if frame.columns[1:] != assets or not frame.to_series(0).equals(frames["equity"]["timestamp"]):
                raise ValueError("it has other bars or assets than equity.parquet and assets.parquet")
    raw.positions = arrays["positions"][None] if "positions" in arrays else None
    with reading(place / "config.toml"):
        since, first = run["since"], int(utc[0].astype(np.int64))
        lots = frames["assets"]["lot"].to_numpy()
        result = made(
            raw, timestamps=utc, time_zone=run.get("time_zone"), assets=assets, config=config, notes=run["notes"],
            lots=None if np.isnan(lots).all() else lots, opening=run["opening"], first=run["priced"],
            earlier={name: at for name, at in since.items() if at < first}, advice=run["advice"],
            decisions=run["decisions"], wall_seconds=math.nan,
            weigh=partial(_same, arrays["weights"]) if "weights" in arrays else None,
            orders=partial(_same, frames["orders_next"]),
        )  # fmt: skip
        result._first, result._why, result._held = run["first"], run["metrics_why"], run["holdings"]
    _check(place, result)
    return result


def _same(value: Any, *_: Any) -> Any:
    """A function of the module, so that a Result can be pickled."""
    return value


def _raw(run: Any, equity: pl.DataFrame, ends: pl.DataFrame, utc: np.ndarray) -> RawResult:
    """The record without its logs."""
    money = np.stack([equity[name].to_numpy().astype(np.float64) for name in MONEY])[:, None]
    counts = np.stack([equity[name].fill_null(0).to_numpy().astype(np.int32) for name in COUNTS])[:, None]
    state, stamps = np.zeros(1, STATE), utc.astype(np.int64)
    state["first_bar"] = NEVER
    for name, at in run["since"].items():
        bar = int(np.searchsorted(stamps, at))
        state["first_bar"][0, SCENARIO_STATUS.index(name)] = EARLIER if at < stamps[0] else bar
    state["ended"] = (state["first_bar"][:, SCENARIO_STATUS.index("BANKRUPT") :] != NEVER).any(axis=1)
    alive = np.flatnonzero(~np.isnan(money[0, 0]))
    if len(alive):
        state["cash"], state["peak"] = money[1, 0, alive[-1]], np.nanmax(money[0, 0])
    holdings, orders = (ends[name].to_numpy().astype(np.float64)[None] for name in ("holdings", "orders"))
    return RawResult(run["engine"], money, counts, state, holdings, orders)


def _log(frame: pl.DataFrame, utc: np.ndarray, assets: list[str]) -> np.ndarray:
    """A table of fills or cuts as a FILL array."""
    log, stamps = np.zeros(frame.height, FILL), frame["timestamp"].to_physical().to_numpy()
    log["bar"] = np.minimum(np.searchsorted(utc.astype(np.int64), stamps), len(utc) - 1)
    if (utc.astype(np.int64)[log["bar"]] != stamps).any():
        raise ValueError("it has times that are no bar of equity.parquet")
    place = {name: i for i, name in enumerate(assets)}
    log["asset"] = [place[name] for name in frame["asset"].to_list()]
    log["status"] = [ORDER_STATUS.index(name) for name in frame["status"].to_list()]
    for name in ("shares", "price", "reference_price", "commission", "slippage"):
        log[name] = frame[name].to_numpy() if name in frame.columns else 0.0
    return log


def _check(place: Path, result: Any) -> None:
    """Raise ResultError where the files contradict one another: not all are of one result."""
    with reading(place / "metrics.json"):
        told = json.loads((place / "metrics.json").read_text("utf-8"))
        for name, value in result.metrics.items():
            was = told[name]
            number = isinstance(value, (int, float))
            same = was == value or (number and was is None and not math.isfinite(value))
            if not same and not (number and was is not None and math.isclose(was, value, rel_tol=1e-9, abs_tol=1e-12)):
                raise ValueError(f"{name} is {was!r} there and {value!r} by equity.parquet")
    with reading(place / "fills.parquet"):
        if len(result.raw.fills) != (counted := int(result.raw.column("fills").sum())):
            raise ValueError(f"it has {len(result.raw.fills)} fills and equity.parquet counts {counted}")
