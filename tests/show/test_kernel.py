# SPDX-License-Identifier: Apache-2.0
"""In a real kernel, with and without ipywidgets: what is shown of an object, and a bar that leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

SETUP = """
import sys, warnings
{without}
warnings.simplefilter("error")
import numpy as np, gpu_bt as bt
from gpu_bt.synthetic import random_weights, synthetic_universe
panel = synthetic_universe(300, 6, seed=1)
weights = random_weights(panel, 0.5, seed=1)
"""
CELLS = [
    "bt.run(panel, weights, progress=True)",
    "grid = bt.sweep(panel, weights, grid={'band': [0, 0.01, 0.02]}, chunk_size=1, progress=True); grid",
    "bt.run(panel, weights)",
    "panel", "bt.Config(lot=0)", "bt.run(panel, weights).positions",
]  # fmt: skip


def outputs(without: str) -> tuple[list[list[Any]], list[str]]:
    """What each cell has put out, and the texts that stood there in between."""
    seen: list[str] = []

    class Client(nbclient.NotebookClient):
        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "update_display_data":
                seen.append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, cell, cell_index)

    cells = [nbformat.v4.new_code_cell(text) for text in (SETUP.format(without=without), *CELLS)]
    book = nbformat.v4.new_notebook(cells=cells)
    Client(book, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in book.cells[1:]], seen


@pytest.mark.filterwarnings("ignore")  # of the client's own
@pytest.mark.parametrize("without", ["", "sys.modules['ipywidgets'] = None"])
def test_in_a_kernel(without: str):
    (run, grid, quiet, *others), seen = outputs(without)
    for cell, unit in ((run, "/300 bars"), (grid, "/3 scenarios")):
        assert [out.output_type for out in cell] == ["display_data", "execute_result"]
        assert cell[0].data == {"text/plain": ""}  # gone at the end, and nothing on stderr, whose ground is red
        assert any(unit in text for text in seen), seen
    drawn = [text.split("|")[1] for text in seen if "|" in text]  # in blocks and eighths of blocks
    assert not "".join(drawn).strip(" " + "".join(map(chr, range(0x2588, 0x2590)))) and any(x.strip() for x in drawn)
    assert [out.output_type for out in quiet] == ["execute_result"]
    for cell in (run, grid, quiet, *others):
        shown = cell[-1].data
        assert shown["text/html"].startswith("<style>") and shown["text/plain"]
