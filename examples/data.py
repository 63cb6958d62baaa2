# SPDX-License-Identifier: Apache-2.0
"""Real daily prices without a network: 20 large US stocks, 1990 to 2022, read from the files of the skfolio package.

skfolio (BSD-3-Clause, https://github.com/skfolio/skfolio) bundles the table. Only its data file is read, its code is
never imported, so that its own dependencies are not needed: `pip install --no-deps "skfolio>=0.9"`.

The prices are closes adjusted for splits and dividends, rounded to 0.001 (coarse for the early years of stocks that
have split often), of companies that are large today: what is earned on them is flattered by that choice.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import polars as pl

__all__ = ["INSTALL", "load_sp500"]

INSTALL = 'pip install --no-deps "skfolio>=0.9"'
_FILE = Path("datasets", "data", "sp500_dataset.csv.gz")


def load_sp500() -> pl.DataFrame:
    """Wide table of adjusted closes: `timestamp` (Datetime, 8,313 days), then one Float64 column per stock (20).

    Raises FileNotFoundError, saying how to install it, where skfolio or its file is missing.
    """
    spec = find_spec("skfolio")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _FILE
        if path.is_file():
            table = pl.read_csv(path, try_parse_dates=True)
            return table.rename({"Date": "timestamp"}).with_columns(pl.col("timestamp").cast(pl.Datetime("us")))
    raise FileNotFoundError(f"the S&P 500 prices of the skfolio package are not installed: {INSTALL}")
