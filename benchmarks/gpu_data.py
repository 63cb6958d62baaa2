# SPDX-License-Identifier: Apache-2.0
"""The panel and the books of the timed cases, made once a call of benchmarks.gpu_check: the first step that wants them
writes them beside its scratch files, later ones map what lies there."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, panel_of, weights_of
from gpu_bt.data.panel import Panel

__all__ = ["panel", "weights"]

_FIELDS = ("close", "open", "volume", "timestamps", "assets")


def panel(scratch: Path, case: Case) -> Panel:
    """The clean universe of a case."""

    def make() -> dict[str, np.ndarray]:
        made = panel_of(dataclasses.replace(case, messy=False))
        return {name: np.asarray(getattr(made, name)) for name in _FIELDS}

    return Panel(**mapped(scratch / f"panel-{case.bars}-{case.assets}", make))


def weights(scratch: Path, case: Case, on: Panel) -> np.ndarray:
    """The book of a case, read-only, so that it stays on the device."""
    name = f"weights-{case.bars}-{case.assets}-{round(1000 * case.density)}-{case.every}"
    return mapped(scratch / name, lambda: {"weights": weights_of(case, on)})["weights"]


def mapped(folder: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives, as read-only views of files in `folder`, which appears whole or not at all."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, array in make().items():
            np.save(part / name, array)
        os.replace(part, folder)
    return {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(folder.glob("*.npy"))}
