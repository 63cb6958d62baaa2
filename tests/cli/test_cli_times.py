# SPDX-License-Identifier: Apache-2.0
"""The program's options about times: a clock, how texts write them, books dated by the ends of months."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import gpu_bt as bt
from gpu_bt.cli import commands as cli


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Daily prices from 26 August to 4 September 2024 without Labor Day, and a book of 31 August, a Saturday."""
    days = [dt.date(2024, 8, 26) + dt.timedelta(days=d) for d in range(10)]
    days = [day for day in days if day.weekday() < 5 and day != dt.date(2024, 9, 2)]
    table = {"date": [f"{day:%d.%m.%Y}" for day in days], "asset": "A", "open": 10.0, "close": 10.0}
    pl.DataFrame(table).write_csv(tmp_path / "p.csv")
    (tmp_path / "w.csv").write_text("date,asset,weight\n31.08.2024,A,1\n")
    return ["--prices", str(tmp_path / "p.csv"), "--weights", str(tmp_path / "w.csv"), "--out", str(tmp_path / "out")]


@pytest.mark.parametrize(("align", "day"), [("previous", 3), ("next", 4)])
def test_books_of_month_ends_in_the_letters_of_the_files(files, align, day, capsys):
    how = ["--date-format", "%d.%m.%Y", "--time-zone", "America/New_York", "--align", align, "--no-plot"]
    assert cli.main(["run", *files, *how]) == 0
    fills = pl.read_parquet(Path(files[-1]) / "fills.parquet")
    assert [stamp.date() for stamp in fills["timestamp"]] == [dt.date(2024, 9, day)]
    panel = bt.read_panel(files[1], date_format="%d.%m.%Y", time_zone="America/New_York")
    weights = bt.read_weights(files[3], panel, date_format="%d.%m.%Y", align=align)
    want = bt.run(panel, weights, bt.Config())
    assert fills.equals(want.fills) and np.isfinite(want.metrics["total_return"])


def test_what_to_pass_is_said_in_the_letters_of_the_program(files, capsys):
    assert cli.main(["run", *files]) == 2
    assert "for other texts pass --date-format (as for strptime)" in capsys.readouterr().err
    assert cli.main(["run", *files, "--date-format", "%d.%m.%Y"]) == 2
    assert "or --align previous to the last bar before it" in capsys.readouterr().err
