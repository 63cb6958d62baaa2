# SPDX-License-Identifier: Apache-2.0
"""examples/analysis.ipynb runs in a fresh kernel and prints what the file keeps; what is stale is told."""

from __future__ import annotations

import copy
import subprocess
import sys

import nbformat
from house import notebook

KEPT = nbformat.read(notebook.NOTEBOOK, as_version=4)


def test_it_prints_what_it_keeps():
    done = subprocess.run([sys.executable, notebook.__file__, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_picture_is_kept_and_nothing_went_wrong():
    outputs = [output for cell in KEPT.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8
    assert {output.output_type for output in outputs} == {"execute_result", "display_data"}  # no errors, no warnings
    assert notebook.NOTEBOOK.stat().st_size < 600_000


def test_another_number_is_stale():
    for i, cell in enumerate(KEPT.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data or notebook.LOOSE in cell.metadata.get("tags", ()):
                continue
            fresh = copy.deepcopy(KEPT)
            fresh.cells[i].outputs[0].data["text/plain"] = data["text/plain"].replace("0", "1", 1)
            [told] = notebook.differences(KEPT, fresh)
            assert told.startswith(f"analysis.ipynb, cell {i}: kept ") and told.endswith(notebook.WAY_OUT)


def test_a_picture_that_is_not_drawn_is_stale():
    fresh = copy.deepcopy(KEPT)
    fresh.cells[-1].outputs = []
    [told] = notebook.differences(KEPT, fresh)
    assert "kept ['a picture'], now []" in told
