# SPDX-License-Identifier: Apache-2.0
"""A sweep's finished chunks on the disk: a rerun goes on where the last one stopped, another sweep is refused.

`sweep.json` says which sweep it is; `chunk-NNNNN-HASH.parquet` holds the rows of one chunk, its number and the sweep's
fingerprint under the hash of its own bytes, so that a file that was cut short, changed, renamed or copied from
elsewhere is known and made again. Each appears whole or not at all. `.sweep.lock` is there while a sweep runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpu_bt import __version__
from gpu_bt.analysis.metrics import equity_metrics
from gpu_bt.data.disk import write_beside
from gpu_bt.data.fields import FIELDS
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.engine.registry import ENGINES
from gpu_bt.errors import BacktestWarning, ResultError
from gpu_bt.law.layout import EARLIER, MONEY, SCENARIO_STATUS
from gpu_bt.sweeps.chunks import Chunk, Done, Inputs
from gpu_bt.sweeps.locks import locked

__all__ = ["ChunkFiles", "fingerprint_panel"]

#: Of sweep.json and of chunks; a folder of another one is refused.
_LAYOUT = 2
#: What a killed run may leave of files that it was writing.
_LEFT = re.compile(r"\.(chunk-.*\.parquet|sweep\.json)\.[0-9a-f]{8}\.(tmp|old)")
#: Columns that are the same in all rows of a chunk.
_OF_CHUNK = {"engine": pl.String, "seconds": pl.Float64, "chunk": pl.Int64, "sweep": pl.String}
#: Columns that hold bars or numbers of bars.
_BARS = ("start", "bars", "decisions", "longest_drawdown")
#: Metrics that are finite, or NaN.
_FINITE = ("final_equity", "sharpe", "sortino", "max_drawdown", "hit_rate", "total_costs", "total_financing")


def fingerprint_panel(panel: Panel | PanelStream) -> str:
    """A hash of everything in a panel that a run or a strategy reads, what will be declared later included; of a
    stream, of its files as the disk lists them."""
    if isinstance(panel, PanelStream):
        return panel.fingerprint()
    panel = panel.on_host()
    held = {name: getattr(panel, name) for name in FIELDS} | vars(panel.market) | vars(panel)
    for name in ("market", "cache", "notes", "index"):  # by its fields; made from others; of reading; made from others
        held.pop(name, None)
    return fingerprint(sorted(held.items()))


class ChunkFiles:
    """The folder of a sweep.

    parts: what makes it this sweep, name -> fingerprint.   inputs: what its chunks share.   chunk_size: of the chunks;
    None takes the folder's, so that a rerun has the same chunks, else `usual`.
    Raises ResultError where the folder holds another sweep, or cannot be read.
    """

    def __init__(self, folder: Path, parts: Mapping[str, str], inputs: Inputs, chunk_size: int | None, usual: int):
        self.folder = folder
        self.manifest = self.folder / "sweep.json"
        self.parts = {"version of gpu_bt": __version__, "version of NumPy": np.__version__, **parts}
        self._inputs, self._asked, self._usual = inputs, chunk_size, usual
        self._look()

    def _look(self) -> None:
        """See what is there, and take its chunk_size."""
        found = self._read()
        self.chunk_size = found["chunk_size"] if found else self._asked or self._usual
        self.known, self.sweep = found is not None, self._digest(self.parts, self.chunk_size)
        #: Number of a chunk -> its files, not looked into yet.
        self.there: dict[int, list[Path]] = {}
        for path in sorted(self.folder.glob("chunk-*-*.parquet")):
            if (number := path.name.split("-")[1]).isdecimal():
                self.there.setdefault(int(number), []).append(path)
        if self.there and not self.known:
            raise ResultError(
                f"{self.folder} holds chunks without the sweep.json that says of which sweep: choose another folder for"
                " out=, or remove them"
            )
        for name in dict.fromkeys([*self.parts, *found["parts"]]) if found else ():
            if found and found["parts"].get(name) != self.parts.get(name):
                raise ResultError(
                    f"{self.folder} holds a sweep with another {name}: choose another folder for out=, or pass the"
                    f" same {name} to go on"
                )
        if found and self._asked not in (None, self.chunk_size):
            raise ResultError(
                f"{self.folder} holds chunks of {self.chunk_size} scenarios, not {self._asked}: leave it out"
            )

    def _digest(self, parts: Mapping[str, str], chunk_size: int) -> str:
        return fingerprint(_LAYOUT, sorted(parts.items()), chunk_size)

    def _read(self) -> dict[str, Any] | None:
        """What sweep.json says, None where there is none yet."""
        way_out = "choose another folder for out="
        try:
            if os.path.lexists(self.manifest) and not self.manifest.is_file():
                raise ResultError(f"{self.manifest} is no file: {way_out}")
            found = json.loads(self.manifest.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ResultError(f"{self.folder} is no folder: choose another one for out=") from None
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or "it is damaged"
            raise ResultError(f"{self.manifest} cannot be read ({reason}): {way_out}") from error
        if not isinstance(found, dict) or found.get("layout") != _LAYOUT:
            raise ResultError(f"{self.manifest} is not that of a sweep of this version: {way_out}")
        parts, size = found.get("parts"), found.get("chunk_size")
        if (
            not isinstance(parts, dict) or not all(type(x) is str for x in parts.values()) or type(size) is not int
            or found.get("sweep") != self._digest(parts, size)
        ):  # fmt: skip
            raise ResultError(f"{self.manifest} is damaged: {way_out}")
        return found

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep other sweeps out of the folder, which is made where it is missing, while this one runs.

        Raises ResultError where one is running, or another one has been begun meanwhile.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise ResultError(f"{self.folder} cannot be used: {reason}; choose another folder for out=") from error
        with locked(self.folder):
            self._look()
            for path in self.folder.iterdir():
                if _LEFT.fullmatch(path.name):
                    with suppress(OSError):
                        path.unlink()
            if not self.known:
                found = {"layout": _LAYOUT, "sweep": self.sweep, "chunk_size": self.chunk_size, "parts": self.parts}
                text = json.dumps(found, indent=1) + "\n"
                write_beside(self.manifest, text)
            yield

    def load(self, chunks: Sequence[Chunk]) -> dict[int, Done]:
        """The chunks that are there and whole. Warns of those that are there and are not."""
        found = {i: done for i, chunk in enumerate(chunks) if (done := self._load(i, len(chunk))) is not None}
        if lost := sum(i not in found for i in range(len(chunks)) if i in self.there):
            warnings.warn(
                f"{lost:,} of {len(chunks):,} chunks in {self.folder} were damaged or of another sweep and are run"
                " again",
                BacktestWarning, stacklevel=4,
            )  # fmt: skip
        return found

    def _load(self, number: int, rows: int) -> Done | None:
        for path in self.there.get(number, ()):
            try:
                content = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ResultError(
                    f"{path} cannot be read: {error.strerror}; let it be read, or remove it to run it again"
                ) from error
            if path.stem.rpartition("-")[2] == hashlib.blake2b(content, digest_size=8).hexdigest():
                try:
                    table = pl.read_parquet(io.BytesIO(content))
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
                    continue
                if self._is_chunk(table, number, rows):
                    names = [name for name in table.columns if name not in _OF_CHUNK]
                    columns = {name: table[name].to_numpy() for name in names}
                    return Done(table["engine"][0], table["seconds"][0], columns)
        return None

    def _is_chunk(self, table: pl.DataFrame, number: int, rows: int) -> bool:
        """Whether a table is that chunk of this sweep, and holds what one can hold."""
        if table.height != rows or dict(table.schema) != _schema(self._inputs):
            return False
        marks = table.select(list(_OF_CHUNK)).unique().rows()
        return len(marks) == 1 and marks[0][2:] == (number, self.sweep) and _possible(table, self._inputs)

    def save(self, number: int, done: Done) -> None:
        """Write a chunk, and remove what a damaged one has left. Raises ResultError where the disk refuses; nothing
        half-written stays."""
        content = io.BytesIO()
        same = zip(_OF_CHUNK.items(), (done.engine, done.seconds, number, self.sweep), strict=True)
        given = {
            n: np.concatenate([*map(np.asarray, x)]) if isinstance(x, list) else x for n, x in done.columns.items()
        }
        rows = pl.DataFrame(given).with_columns(**{n: pl.lit(value, dtype) for (n, dtype), value in same})
        rows.write_parquet(content)
        name = f"chunk-{number:05}-{hashlib.blake2b(content.getvalue(), digest_size=8).hexdigest()}.parquet"
        write_beside(self.folder / name, lambda path: path.write_bytes(content.getvalue()))
        for path in self.there.pop(number, ()):
            if path.name != name:
                with suppress(OSError):  # it may be a folder
                    path.unlink()


def _schema(inputs: Inputs) -> dict[str, Any]:
    """The columns of a chunk of a sweep, and their types."""
    t, everything = inputs.panel.shape[0], inputs.columns == "all"
    metrics = equity_metrics(np.ones((len(MONEY) if everything else 2, 1, 2)), 1.0, 1.0)
    found: dict[str, Any] = {n: pl.Int64 if x.dtype.kind == "i" else pl.Float64 for n, x in metrics.items()}
    counts = ("start", "decisions", "unread", *(("fills",) if everything or inputs.strategy else ()))
    found |= dict.fromkeys(counts, pl.Int64) | {"first_bar": pl.Array(pl.Int32, len(SCENARIO_STATUS))}
    found |= {"equity": pl.Array(pl.Float64, t)} if inputs.equity else {}
    return found | {"advice": pl.String} | _OF_CHUNK


def _possible(table: pl.DataFrame, inputs: Inputs) -> bool:
    """Whether what is in a chunk can be such: an engine, bars within the panel, counts, nothing missing, no money and
    no ratio that is infinite (`equity_metrics` says what may be)."""
    t = inputs.panel.shape[0]
    status, bars = table["first_bar"].to_numpy(), table.select(_BARS).to_numpy()
    money = table["equity" if inputs.equity else "final_equity"].to_numpy()
    counts = table.select(pl.selectors.integer()).to_numpy()
    ratios = table.select(name for name in _FINITE if name in table.columns).to_numpy()
    return bool(
        not any(table.null_count().row(0)) and table["engine"][0] in ENGINES and math.isfinite(table["seconds"][0])
        and table["advice"].str.contains("^[ -~]*$").all() and (counts >= 0).all() and (bars <= t).all()
        and (status >= EARLIER).all() and (status < t).all() and not (np.isinf(money).any() or np.isinf(ratios).any())
    )  # fmt: skip
