# SPDX-License-Identifier: Apache-2.0
"""A sweep's finished chunks on the disk: a rerun goes on where the last one stopped, another sweep is refused.

`sweep.json` says which sweep it is; `chunk-NNNNN-HASH.parquet` holds the rows of one chunk under the hash of its own
bytes, so that a file that was cut short or changed is known and made again. Each appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpu_bt import __version__
from gpu_bt.data.disk import write_beside
from gpu_bt.data.fingerprints import fingerprint
from gpu_bt.data.panel import Panel
from gpu_bt.data.streams import PanelStream
from gpu_bt.errors import ResultError
from gpu_bt.sweeps.chunks import Done

__all__ = ["ChunkFiles", "fingerprint_panel"]


def fingerprint_panel(panel: Panel | PanelStream) -> str:
    """A hash of everything in a panel that a run reads; of a stream, of its files as the disk lists them."""
    if isinstance(panel, PanelStream):
        return panel.fingerprint()
    fields = {name: value for name, value in vars(panel.market).items() if isinstance(value, np.ndarray)}
    head = [panel.assets, panel.time_zone, str(panel.next_timestamp), list(fields)]
    return fingerprint(head, *fields.values())


class ChunkFiles:
    """The folder of a sweep.

    parts: what makes it this sweep, name -> fingerprint.   sizes: scenarios and chunk_size; a chunk_size of None takes
    the folder's, so that a rerun has the same chunks, else `usual`.
    Raises ResultError where the folder holds another sweep, or cannot be read or written.
    """

    def __init__(self, folder: str | os.PathLike[str], parts: Mapping[str, str], chunk_size: int | None, usual: int):
        self.folder = Path(folder)
        self.manifest = self.folder / "sweep.json"
        self.parts = {"version": __version__, **parts}
        found = self._read()
        if found is not None:
            for name, value in self.parts.items():
                if found["parts"].get(name) != value:
                    raise ResultError(
                        f"{self.folder} holds a sweep with another {name}: choose another folder for out=, or pass the"
                        f" same {name} to go on"
                    )
            if chunk_size not in (None, found["chunk_size"]):
                raise ResultError(
                    f"{self.folder} holds chunks of {found['chunk_size']} scenarios, not {chunk_size}: leave it out"
                )
        self.chunk_size = chunk_size or usual if found is None else found["chunk_size"]
        self.known = found is not None
        #: Number of a chunk -> its files, not looked into yet.
        self.there: dict[int, list[Path]] = {}
        for path in sorted(self.folder.glob("chunk-*-*.parquet")) if self.known else ():
            if (number := path.name.split("-")[1]).isdecimal():
                self.there.setdefault(int(number), []).append(path)

    def _read(self) -> dict[str, Any] | None:
        """What sweep.json says, None where there is none yet."""
        try:
            found: dict[str, Any] = json.loads(self.manifest.read_text("utf-8"))
            if isinstance(found["parts"], dict) and found["chunk_size"] > 0:
                return found
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ResultError(f"{self.folder} is no folder: choose another one for out=") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultError(f"{self.manifest} cannot be read ({error}): choose another folder for out=") from error
        raise ResultError(f"{self.manifest} is not that of a sweep: choose another folder for out=")

    def start(self) -> None:
        """Write sweep.json, where it is not there yet."""
        if not self.known:
            text = json.dumps({"parts": self.parts, "chunk_size": self.chunk_size}, indent=1) + "\n"
            write_beside(self.manifest, lambda path: _synced(path, text.encode()))
            self.known = True

    def load(self, number: int) -> Done | None:
        """A chunk that is there and whole, else None."""
        for path in self.there.get(number, ()):
            content = path.read_bytes()
            if path.stem.rpartition("-")[2] == hashlib.blake2b(content, digest_size=8).hexdigest():
                table = pl.read_parquet(io.BytesIO(content))
                columns = {name: table[name].to_numpy() for name in table.columns if name not in ("engine", "seconds")}
                return Done(table["engine"][0], table["seconds"][0], columns)
        return None

    def save(self, number: int, done: Done) -> None:
        """Write a chunk, and remove what a damaged one has left. Raises ResultError where the disk refuses; nothing
        half-written stays."""
        content = io.BytesIO()
        table = pl.DataFrame(done.columns).with_columns(engine=pl.lit(done.engine), seconds=pl.lit(done.seconds))
        table.write_parquet(content)
        name = f"chunk-{number:05}-{hashlib.blake2b(content.getvalue(), digest_size=8).hexdigest()}.parquet"
        write_beside(self.folder / name, lambda path: _synced(path, content.getvalue()))
        for path in self.there.pop(number, ()):
            if path.name != name:
                path.unlink(missing_ok=True)


def _synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
