# SPDX-License-Identifier: Apache-2.0
"""What must hold of anything that a user, a file or a strategy can contain: an error of the package in one line, or a
value that every engine agrees in. Each function tries one drawn case and says what came of it, so that the fuzzers
(fuzz_*.py) and the tests that they are alive (tests/faults/test_faults_fuzz.py) share them.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from compare import assert_same_as_oracle, assert_same_raw
from draw import scenario, to_public
from faults.kit import one_line
from oracle import simulate

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights, synthetic_universe
from gpu_bt.engine.registry import reasons

__all__ = ["MUTATED", "damage", "grids", "orders", "outcome", "scenarios", "settings", "states", "tables", "texts"]

ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1.0, 5e-324, 1e-308, 1e-9, 0.5, 1e9, 2.0**53, 1e15, 1e16, 1e300, 1e308)
#: Engines that are compared; CUDA has a suite of its own.
ENGINES = [name for name in ("numpy", "native") if reasons()[name] is None]


def outcome(job: Callable[[], Any]) -> tuple[str, Any]:
    """("refused", the line) or ("gave", the value). What is no error of the package passes through, and so do warnings
    of libraries and panics of compiled ones, which are no Exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", bt.BacktestWarning)
        try:
            return "gave", job()
        except bt.BacktestError as error:
            one_line(str(error))
            return "refused", str(error)


def agree(job: Callable[[str], bt.Result]) -> tuple[str, Any]:
    """What engines make of a job, which must be the same: the line of a refusal, or all bits of a result."""
    found = [outcome(lambda engine=engine: job(engine)) for engine in ENGINES]
    for what, value in found[1:]:
        assert what == found[0][0], (found[0], (what, value))
        if what == "refused":
            assert value == found[0][1]
        else:
            assert_same_raw(value.raw, found[0][1].raw)
    return found[0]


def scenarios(seed: int) -> str:
    """A drawn scenario in which some cells, rows and settings are odd."""
    rng = np.random.default_rng([seed, 7])
    drawn, weights, config = scenario(seed)
    fields = to_public(drawn, config)
    odd = rng.random() < 0.8
    if odd:
        for name in rng.choice([*fields, "weights", "config"], int(rng.integers(1, 4))):
            if name == "config":
                values = config.to_dict()
                key = str(rng.choice(list(values)))
                values[key] = pick(rng, (*ODD, None, "none", True, -3, 10**30, "x", [1], values[key]))
                what, config_or_text = outcome(lambda values=values: bt.Config.from_dict(values))
                if what == "refused":
                    return "refused"
                config = config_or_text
            elif name == "weights":
                weights = sprinkled(rng, weights)
            elif isinstance(fields[name], np.ndarray) and fields[name].dtype.kind in "fib":
                fields[name] = sprinkled(rng, fields[name])
    what, panel = outcome(lambda: bt.Panel(**fields))
    if what == "refused":
        return what
    what, result = agree(lambda engine: bt.run(panel, weights, config, engine=engine, record=("bars", "fills")))
    if what == "gave":
        for job in (lambda: result.metrics, result.summary, lambda: result.fills, lambda: result.final_positions):
            assert outcome(job)[0] == "gave"
        if not odd:
            assert_same_as_oracle(result.raw, simulate(drawn, weights, config))
    return what


def pick(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def sprinkled(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """An array with odd values in some cells, of a row, a column or anywhere."""
    values = np.array(values, np.float64 if values.dtype.kind != "b" else bool)
    where = rng.random(values.shape) < pick(rng, (0.001, 0.05, 1.0))
    if values.ndim == 2 and rng.random() < 0.5:
        where &= (np.arange(values.shape[0]) == rng.integers(values.shape[0]))[:, None]
    value = pick(rng, ODD)
    values[where] = value if values.dtype.kind != "b" else bool(rng.random() < 0.5)
    if values.dtype.kind == "f" and rng.random() < 0.3:
        with np.errstate(over="ignore"):
            values = values * pick(rng, (-1.0, 1e-6, 1e6, 1e12, 1e-300, 1e300))
    return values


def orders(seed: int) -> str:
    """A strategy that calls its methods in any order, with arguments of any kind."""
    rng = np.random.default_rng(seed)
    panel = synthetic_universe(int(rng.integers(2, 14)), int(rng.integers(1, 5)), seed=seed % 1000, messy=False)
    cash = float(10 ** rng.uniform(2, 7))
    config = bt.Config(initial_cash=cash, account=pick(rng, ("cash", "margin")))

    class Anything(bt.Strategy):
        def initialize(self) -> None:
            self.rng = np.random.default_rng(seed)

        def on_data_batch(self, timestamp: Any, batch: Any) -> None:
            for _ in range(int(self.rng.integers(0, 4))):
                self.act(batch)

        def act(self, batch: Any) -> None:
            rng, n = self.rng, len(panel.assets)
            name = panel.assets[int(rng.integers(n))]
            assets = pick(
                rng, (name, name, [name], 0, -1, n, slice(None), np.arange(n), np.ones(n, bool), "?", None, [], {})
            )
            usual = (
                float(rng.normal(0, 0.5))
                if rng.random() < 0.8
                else pick(rng, (*ODD, None, "x", [1], 10**400, True, 1j))
            )
            amounts = pick(rng, (usual, usual, np.full(n, usual, object if isinstance(usual, (str, list)) else None)))
            price = pick(rng, (None, None, None, 100.0, *ODD))
            call = pick(rng, ("percent", "value", "shares", "order", "cancel", "others", "history", "top"))
            if call == "percent":
                self.order_target_percent(assets, amounts)
            elif call == "value":
                self.order_target_value(assets, amounts)
            elif call == "shares":
                self.order_target_shares(assets, amounts)
            elif call == "order":
                self.order(assets, amounts, limit=price, stop=pick(rng, (None, price)))
            elif call == "cancel":
                self.cancel(assets)
            elif call == "others":
                self.close_others(assets)
            elif call == "history":
                batch.history(pick(rng, ("close", "open", "?", 3)), pick(rng, (1, 2, 5, 0, -1, 10**5, 2.5, "x", None)))
            else:
                batch.top(
                    pick(rng, (np.arange(n) / 1.0, usual, "x", np.full(n, np.nan))), pick(rng, (1, 0, -1, n, 99, "x"))
                )

    return agree(lambda engine: bt.run(panel, Anything(), config, engine=engine, record=("bars", "fills")))[0]


@cache
def sources() -> dict[str, bytes]:
    """Name of a file -> its bytes: prices and weights as CSV, Parquet and IPC, long and wide."""
    panel = synthetic_universe(12, 3, seed=5, messy=False)
    stamps = pl.Series("timestamp", panel.timestamps).cast(pl.Date)
    rows = {"timestamp": stamps.gather(np.repeat(np.arange(12), 3)), "asset": list(panel.assets) * 12}
    book = random_weights(panel, 0.6, seed=4, every=2)
    long = {name: getattr(panel, name).ravel() for name in ("open", "close", "volume")}
    found = {}
    tables = {
        "prices": pl.DataFrame(rows | long), "weights": pl.DataFrame(rows | {"weight": book.ravel()}),
        "wide": pl.DataFrame({"timestamp": stamps, **dict(zip(panel.assets, panel.close.T, strict=True))}),
        "wideweights": pl.DataFrame({"timestamp": stamps, **dict(zip(panel.assets, book.T, strict=True))}),
    }  # fmt: skip
    for name, table in tables.items():
        for ending, write in {"csv": table.write_csv, "parquet": table.write_parquet, "arrow": table.write_ipc}.items():
            content = io.BytesIO()
            write(content)
            found[f"{name}.{ending}"] = content.getvalue()
    return found


#: The files that `tables` damages.
MUTATED = [f"{n}.{e}" for n in ("prices", "weights", "wide", "wideweights") for e in ("csv", "parquet", "arrow")]
_SPLICES = (
    b"\x00", b"\xff\xfe", b"\n", b"\r", b'"', b",", b",,,,", b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"\xf0\x9f",
    b"\xef\xbb\xbf", b"2020-02-30", b"timestamp,", b"\x1b[31m", b"PAR1", b"-", b"e", b"'", b"=", b"[", b"]", b"{", b"#",
)  # fmt: skip


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with a few changes, or none: bits flipped, cut, doubled, put elsewhere, odd pieces put in."""
    for _ in range(int(rng.integers(0, 3))):
        at, to = sorted(int(x) for x in rng.integers(0, len(content) + 1, 2))
        kind = pick(rng, ("flip", "flip", "flip", "flip", "cut", "end", "double", "splice", "splice", "zero"))
        if kind == "flip" and content:
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[min(to, at + 40) :]
        elif kind == "end":
            content = content[:to]
        elif kind == "double":
            content = content[:to] + content[at:to] + content[to:]
        elif kind == "splice":
            content = content[:at] + pick(rng, _SPLICES) + content[at:]
        elif kind == "zero":
            content = content[:at] + bytes(min(to - at, 16)) + content[at + min(to - at, 16) :]
    return content


@cache
def sound() -> bt.Panel:
    return bt.read_panel(pl.read_csv(sources()["prices.csv"]))


def tables(name: str, seed: int) -> str:
    """A damaged file of prices or weights."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{name.split('.')[1]}"
        path.write_bytes(damage(sources()[name], rng))
        if "weights" in name:
            return outcome(lambda: bt.read_weights(path, sound()))[0]
        what, panel = outcome(lambda: bt.read_panel(path))
        if what == "gave":
            what, _ = outcome(lambda: bt.run(panel, np.full(panel.shape, 0.1), bt.Config(execution="next_close")))
        return what


def texts(text: str, ending: str) -> str:
    """Any text as a file of prices, weights, a Config or a grid."""
    from gpu_bt.cli import words

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{ending}"
        path.write_text(text, "utf-8", "surrogatepass")
        jobs = (lambda: bt.read_config(path), lambda: words.grid(path))
        if ending == "csv":
            jobs = (lambda: bt.read_panel(path), lambda: bt.read_weights(path, sound()))
        return {outcome(job)[0] for job in jobs}.pop()


def settings(seed: int) -> str:
    """A damaged config.toml."""
    rng = np.random.default_rng(seed)
    lines = [f"{k} = {json.dumps('none' if v is None else v)}" for k, v in bt.Config().to_dict().items()]
    text = damage(("[config]\n" + "\n".join(lines) + "\n[run]\nx = 1\n").encode(), rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_bytes(text)
        return outcome(lambda: bt.read_config(path))[0]


def grids(grid: Any) -> str:
    """Any nested value as the grid of a sweep, by its plan."""
    panel = sound()
    return outcome(lambda: str(bt.sweep(panel, np.full(panel.shape, 0.1), bt.Config(), grid, dry_run=True)))[0]


@cache
def saved() -> tuple[bytes, bt.Panel, bt.Result]:
    """The bytes of a state, the panel after it, and the run that goes on from it."""
    panel = synthetic_universe(24, 3, seed=5, messy=False)
    first, second = panel[: panel.timestamps[11]], panel[panel.timestamps[12] :]
    weights, config = random_weights(panel, 0.6, seed=4, every=2), bt.Config(initial_cash=1e5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        bt.run(first, weights[:12], config).checkpoint(path)
        return path.read_bytes(), second, bt.run(second, weights[12:], config, resume=path)


def states(seed: int) -> str:
    """A damaged state file: bytes of the file, or values of its arrays, whose checksums then fit."""
    rng = np.random.default_rng(seed)
    content, panel, want = saved()
    if rng.random() < 0.5:
        content = damage(content, rng)
    else:
        arrays = dict(np.load(io.BytesIO(content), allow_pickle=False))
        name = pick(rng, list(arrays))
        value = arrays[name]
        kind = pick(rng, ("drop", "shape", "dtype", "value", "value"))
        if kind == "drop":
            del arrays[name]
        elif kind == "shape":
            arrays[name] = pick(
                rng, (value[..., None], value.ravel()[:1], np.concatenate([value.ravel()] * 2), value.ravel()[:0])
            )
        elif kind == "dtype":
            arrays[name] = (
                value.astype(pick(rng, ("S8", "U20", "f4", "i1", "c16", "?"))) if value.dtype.kind in "fiu" else value
            )
        elif value.dtype.kind in "fiu" and value.size:
            flat = value.ravel().copy()
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                flat[int(rng.integers(flat.size))] = np.asarray(pick(rng, ODD)).astype(value.dtype)
            arrays[name] = flat.reshape(value.shape)
        into = io.BytesIO()
        np.savez(into, **arrays)
        content = into.getvalue()
    weights = random_weights(synthetic_universe(24, 3, seed=5, messy=False), 0.6, seed=4, every=2)[12:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        path.write_bytes(content)
        what, found = outcome(lambda: bt.run(panel, weights, bt.Config(initial_cash=1e5), resume=path))
    if what == "gave":
        assert_same_raw(found.raw, want.raw)
    return what
