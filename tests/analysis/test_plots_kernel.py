# SPDX-License-Identifier: Apache-2.0
"""Pictures in a real kernel: shown once, whatever is set up there, and kept by nobody."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
SETUP = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/analysis")!r}]
import test_result
r = test_result.make()
"""
PYPLOT = "import matplotlib.pyplot as plt\n" + SETUP
SHOWN, RESULT = ["display_data"], ["execute_result"]


def outputs(*cells: str) -> list[list[dict[str, object]]]:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # the command line sets it
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute(env=env)
    return [cell.outputs for cell in book.cells]


@pytest.mark.filterwarnings("ignore")  # of the client's own
@pytest.mark.parametrize("setup", [SETUP, "%matplotlib inline\n" + SETUP, PYPLOT])
def test_a_picture_is_shown_once(setup: str):
    kept = "print('matplotlib.pyplot' in sys.modules and sys.modules['matplotlib.pyplot'].get_fignums())"
    cells = {"r.plot()": RESULT, "r.plot().show()": SHOWN, "figure = r.plot()\nfigure": RESULT}
    if setup != SETUP:  # as whoever uses pyplot has it
        end = "import matplotlib.pyplot as plt\n"
        cells |= {end + "r.plot();\nplt.show()": SHOWN, "a = r.plot()\nNone": SHOWN}
        cells |= {"a = r.plot()\nr.plot()": RESULT + SHOWN}
    found = outputs(setup, *cells, kept)
    for (cell, kinds), shown in zip(cells.items(), found[1:], strict=False):
        assert [out["output_type"] for out in shown] == kinds, cell
        for out in shown:
            assert base64.b64decode(out["data"]["image/png"]).startswith(b"\x89PNG"), cell
    assert found[-1][0]["text"] == ("False\n" if setup == SETUP else "[]\n")


@pytest.mark.filterwarnings("ignore")
def test_the_formats_of_the_notebook_are_respected():
    (shown,) = outputs("%config InlineBackend.figure_formats = ['svg']\n%matplotlib inline\n" + SETUP, "r.plot()")[1]
    assert "image/svg+xml" in shown["data"]


def test_a_script_without_a_window_is_told_so_and_keeps_no_figures():
    code = f"""{PYPLOT}
plt.switch_backend("agg")
for _ in range(25):
    figure = r.plot()
assert plt.get_fignums() == []
try:
    figure.show()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "ResultError there is no window to show the picture in, matplotlib's back end is agg: write a file,"
        " plot('picture.png')\n"
    )
