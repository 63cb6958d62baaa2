# SPDX-License-Identifier: Apache-2.0
"""docs/scores.md: what it shows runs, and is what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_bits

import gpu_bt as bt


@pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning")
def test_the_examples_of_the_page_run():
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    table, panel, scores, config = names["table"], names["panel"], names["scores"], names["config"]
    assert table.height == 64 and table["thin_books"].sum() == 0 and table["turnover"].min() > 0
    assert np.abs(names["sides"]).max() < 1e-12 and names["one"].decisions > 20
    kept = bt.Scores(scores, long=8, short=4, keep=1.5, groups="panel")
    assert_bits("best", names["best"], kept.weights(panel, config))
    assert np.nansum(np.abs(names["tilt"][200])) == pytest.approx(2)
    assert np.nansum(np.abs(names["calm"][200])) == pytest.approx(np.nansum(np.abs(names["fifth"][200])))
    assert names["result"].decisions > 20 and not names["universe"][:150, :5].any()
    missing = [name for name in bt.books.forms.__all__ if f"`{name}(" not in page]
    assert missing == []
