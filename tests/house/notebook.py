# SPDX-License-Identifier: Apache-2.0
"""Runs examples/analysis.ipynb in a fresh kernel: `python tests/house/notebook.py` keeps the new outputs in the file,
with --check it says which cells print other things than the file has, and ends with status 1."""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "analysis.ipynb"
WAY_OUT = "make notebook runs it and keeps what it prints"
#: Of a cell that shows another library's numbers, the kinds of its outputs are compared alone.
LOOSE = "loose"


def executed(notebook: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel that works in a folder."""
    made = copy.deepcopy(notebook)
    client = NotebookClient(made, kernel_name="python3", resources={"metadata": {"path": folder}}, record_timing=False)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": ""})
    made.metadata = copy.deepcopy(notebook.metadata)
    return made


def printed(cell: nbformat.NotebookNode) -> list[str]:
    """What a person reads in the outputs of a cell, picture by picture and text by text."""
    found = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "image/png" in data:
            found.append("a picture")
        elif LOOSE in cell.metadata.get("tags", ()):
            found.append(output.output_type)
        else:
            found.append(re.sub(r"\s+", " ", output.get("text") or data.get("text/plain") or output.output_type))
    return found


def differences(kept: nbformat.NotebookNode, fresh: nbformat.NotebookNode) -> list[str]:
    """A line for each cell that prints other things than it did, or fails."""
    return [
        f"{NOTEBOOK.name}, cell {i}: kept {old}, now {new}; {WAY_OUT}"
        for i, (old, new) in enumerate(zip(map(printed, kept.cells), map(printed, fresh.cells), strict=True))
        if old != new
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="leave the file as it is")
    given = parser.parse_args()
    kept = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        fresh = executed(kept, folder)
    if given.check:
        found = differences(kept, fresh)
        print("\n".join(found))
        return int(bool(found))
    nbformat.write(fresh, NOTEBOOK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
