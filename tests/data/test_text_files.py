# SPDX-License-Identifier: Apache-2.0
"""Text files as spreadsheets and vendors write them give the bits of the plain one."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from compare import assert_bits
from tables import assert_same_panel, minimal, refused

from gpu_bt import read_panel

PLAIN = "date,asset,close,volume\n2024-03-04,A,1.5,100\n2024-03-04,B,-,7\n2024-03-05,A,2.25,\n".replace("-,7", "NA,7")


def variants() -> dict[str, bytes]:
    """The same table, written in other ways."""
    marks = {"semicolon": ";", "tab": "\t", "bar": "|"}
    out = {name: PLAIN.replace(",", mark).encode() for name, mark in marks.items()}
    for name, mark in marks.items():
        out[f"{name} and decimal commas"] = PLAIN.replace(",", mark).replace(".", ",").encode()
    out["quoted decimal commas"] = PLAIN.replace(",", ";").replace("1.5", '"1,5"').replace("2.25", '"2,25"').encode()
    out["sep="] = ("sep=;\n" + PLAIN.replace(",", ";")).encode()
    out["CR"] = PLAIN.replace("\n", "\r").encode()
    out["CRLF and tabs"] = PLAIN.replace("\n", "\r\n").replace(",", "\t").encode()
    out["mark of UTF-8"] = PLAIN.encode("utf-8-sig")
    out["blanks"] = PLAIN.replace(",", " , ").replace("\n", " \n").encode()
    out["names in quotes"] = PLAIN.replace("date,asset", '"date","asset"').encode()
    out["date and time"] = (
        PLAIN.replace("date,", "Date,Time,").replace("-04,", "-04,000000,").replace("-05,", "-05,000000,").encode()
    )
    out["date with dots and time"] = (
        PLAIN.replace("date,", "<DATE>\t<TIME>,").replace("2024-03-", "2024.03.").replace("04,", "04\t00:00:00,")
        .replace("05,", "05\t00:00:00,").replace(",", "\t").encode()
    )  # fmt: skip
    return out


@pytest.mark.parametrize("name", sorted(variants()))
@pytest.mark.parametrize("ending", [".csv", ".txt", ".tsv", ".csv.gz"])
def test_the_same_table_written_in_other_ways(name: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text(PLAIN)
    path = tmp_path / f"other{ending}"
    path.write_bytes(gzip.compress(variants()[name]) if ending.endswith(".gz") else variants()[name])
    panel = read_panel(path)
    assert_same_panel(panel, read_panel(tmp_path / "plain.csv"))
    assert_bits("close", panel.close, np.array([[1.5, np.nan], [2.25, np.nan]]))


def test_wide_texts(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    for text in ("Date;A;B\n2024-03-04;1,5;10\n2024-03-05;2;3,25\n", ",A,B\n2024-03-04,1.5,10\n2024-03-05,2,3.25\n"):
        path.write_text(text)
        assert read_panel(path).close.tolist() == [[1.5, 10.0], [2.0, 3.25]]
    path.write_text("date,TIME,A\n2024-03-04,16.5,1\n")  # Time Inc., not a time of day
    assert read_panel(path).assets == ("TIME", "A")


def test_what_cannot_be_meant_is_refused_by_its_cell(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("date;asset;close\n2024-03-04;A;1,500\n2024-03-05;A;2.5\n")  # thousands, since another has a point
    refused(f"{path}: close, row 0, is '1,500' (String): it must be a number", path)
    path.write_bytes(PLAIN.encode("utf-16-le"))
    refused("is UTF-16, or has zero bytes: save it as UTF-8", path)
    path = tmp_path / "p.csv.gz"
    path.write_bytes(b"no gzip")
    refused("cannot be read as CSV: ", path)


def test_spreadsheets_go_through_the_reader_of_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.xlsx"
    path.write_bytes(b"as if")
    table = minimal().with_columns(pl.Series("close", ["1", None, "3"]))  # a cell of text makes a column of text
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused("needs fastexcel to be read: pip install 'gpu-bt[excel]', or save it as CSV", path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: sys.modules)
    seen = []

    def read_excel(source: Path, **options: object) -> pl.DataFrame:
        seen.append((source, options["engine"]))
        return table

    monkeypatch.setattr(pl, "read_excel", read_excel)
    assert_bits("close", read_panel(path).close, np.array([[1.0, np.nan], [3.0, np.nan]]))
    assert seen == [(path, "calamine")]  # once

    def broken(source: Path, **options: object) -> pl.DataFrame:
        raise RuntimeError("no archive\nat all")

    monkeypatch.setattr(pl, "read_excel", broken)
    refused("cannot be read as Excel: no archive at all; write it again", path)
