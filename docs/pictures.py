# SPDX-License-Identifier: Apache-2.0
"""The pictures of the pages, made anew: `python docs/pictures.py [FOLDER]`, by default docs/pictures.

Of the examples, which need the prices that `make demo` installs, and of the files of `gpu-bt demo --inputs`.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "examples")]

import factor_study  # noqa: E402
import large_universe  # noqa: E402
import long_short  # noqa: E402
import ml_scores  # noqa: E402
import real_momentum  # noqa: E402
import score_grid  # noqa: E402
import vol_target  # noqa: E402

import gpu_bt as bt  # noqa: E402
from gpu_bt.cli.commands import main as gpu_bt  # noqa: E402

#: The grid of docs/tutorial.md.
AXES = {"long": [2, 3, 5, 8, 12], "keep": [1.0, 1.5, 2.0, 3.0], "commission_rate": [0, 5e-4, 2e-3]}
#: Points per inch: the pictures are looked at on a page some 800 pixels wide.
DPI = 90


def save(figure: Any, path: Path) -> None:
    """As a page shows it."""
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def tutorial(out: Path, scratch: Path) -> None:
    """The run and the grid of docs/tutorial.md."""
    data = scratch / "data"
    gpu_bt(["demo", "--inputs", str(data)])
    panel = bt.read_panel(data / "prices.parquet", prices="raw")
    config = bt.read_config(data / "config.toml")
    save(bt.run(panel, data / "weights.parquet", config).plot(), out / "tutorial_run.png")
    scores = bt.Scores(data / "scores.parquet")
    grid = bt.sweep(panel, scores, config, AXES)
    save(grid.plot(rows="long", columns="keep"), out / "tutorial_grid.png")


def gallery(out: Path, scratch: Path, **size: int) -> None:
    """A picture of each example."""
    few = ["equity", "drawdown", "turnover", "costs"]  # it is the first that is seen
    save(real_momentum.main(scratch / "a").plot(panels=few), out / "real_momentum.png")
    save(factor_study.main(scratch / "b", **size).plot(), out / "factor_study.png")
    grid = score_grid.main(scratch / "c", few=2)
    save(grid.plot(rows="long", columns="short", how="median"), out / "score_grid.png")
    for example in (large_universe, long_short, ml_scores, vol_target):
        save(example.main(out=scratch / "d", **size).plot(), out / f"{example.__name__}.png")


def main(out: Path, **size: int) -> None:
    """All of them; size: n_bars and n_assets of made-up universes, where they should be small."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        tutorial(out, Path(scratch))
        gallery(out, Path(scratch), **size)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pictures")
