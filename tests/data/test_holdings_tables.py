# SPDX-License-Identifier: Apache-2.0
"""Tables of opening holdings: vendors' names, any library, an index of assets; what holds no shares by asset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import gpu_bt as bt

DAYS = pd.bdate_range("2024-03-04", periods=3)
PANEL = bt.Panel(np.full((3, 2), 16.0), timestamps=DAYS, assets=["AA", "BB"])
CONFIG = bt.Config(initial_cash=1e3, execution="same_close")
pytestmark = pytest.mark.filterwarnings("ignore:.*no decision")
TABLE = {"asset": ["BB", "AA"], "shares": [5, 3]}


@pytest.mark.parametrize(
    "given",
    [
        pl.DataFrame({"ticker": ["BB", "AA"], "qty": [5, 3]}),
        pl.DataFrame({"note": ["x", "y"], "Symbol": ["BB ", "AA"], "Quantity": [5, 3]}).lazy(),
        pl.DataFrame(TABLE).to_arrow(),
        pd.DataFrame({"shares": [5, 3]}, index=["BB", "AA"]),
        pd.DataFrame({"Position": [5.0, 3.0]}, index=pd.Index(["BB", "AA"], name="Ticker")),
        pd.DataFrame({"shares": [5, 3], "price": [1.0, 2.0]}, index=pd.Index(["BB", "AA"], name="who")),
        pd.DataFrame(TABLE, index=[7, 9]),
    ],
)
def test_they_are_read_by_their_labels(given: Any) -> None:
    want = pl.DataFrame({"asset": ["AA", "BB"], "shares": [3.0, 5.0]})
    weights = np.full(PANEL.shape, np.nan)
    assert bt.run(PANEL, weights, CONFIG, holdings=given).final_positions.equals(want)
    grid = bt.sweep(PANEL, weights, CONFIG, {"band": [0.0]}, holdings=given)
    assert grid.table["final_equity"].to_list() == [1e3 + 8 * 16]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (pl.DataFrame({"asset": ["AA"], "price": [5]}), "holdings: no shares among its columns 'asset', 'price'"),
        (pl.DataFrame({"AA": [5], "BB": [3]}), "holdings: no asset among its columns 'AA', 'BB'"),
        (pd.DataFrame({"AA": [5], "BB": [3]}), "holdings: no asset among its columns 'AA', 'BB'; pass {asset: shares}"),
        (pd.DataFrame({"AA": [5], "BB": [3]}, index=[DAYS[0]]), "holdings: no shares among its columns 'AA', 'BB'"),
        (pl.DataFrame({"asset": ["AA"], "shares": ["x"]}), "holdings: shares, row 0, is 'x' (String): it must be a"),
        (pl.DataFrame({"asset": ["AA"], "shares": [None]}), "holdings['AA'] is None: it must be a number of shares"),
        (pl.DataFrame({"asset": ["ZZ"], "qty": [1]}), "holdings['ZZ']: the panel has no such asset"),
        (pl.DataFrame({"Ticker": ["AA"], "Symbol": ["AA"], "qty": [1]}), "'Ticker' and 'Symbol' may be column 'asset'"),
    ],
)
def test_what_holds_none_is_refused(given: Any, rule: str) -> None:
    with pytest.raises(bt.WeightsError) as error:
        bt.run(PANEL, np.full(PANEL.shape, np.nan), CONFIG, holdings=given)
    assert rule in str(error.value) and "\n" not in str(error.value)


def test_the_path_of_a_table(tmp_path):
    table, want = pl.DataFrame({"Symbol": ["BB", "AA"], "Shares": [5, 3]}), {"AA": 3.0, "BB": 5.0}
    for name, write in {"held.csv": pl.DataFrame.write_csv, "held.parquet": pl.DataFrame.write_parquet}.items():
        write(table, tmp_path / name)
        for path in (tmp_path / name, str(tmp_path / name)):
            found = bt.run(PANEL, np.full((3, 2), np.nan), CONFIG, holdings=path).final_positions
            assert dict(found.iter_rows()) == want
    for text, rule in {"asset,weight\nAA,1\n": "no shares among its columns", "asset,shares\nAA,x\n": "'x'"}.items():
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(bt.WeightsError, match=rf"odd.csv.*{rule}"):
            bt.run(PANEL, np.full((3, 2), np.nan), CONFIG, holdings=tmp_path / "odd.csv")
    with pytest.raises(bt.WeightsError, match="does not exist"):
        bt.run(PANEL, np.full((3, 2), np.nan), CONFIG, holdings="none.csv")
