# SPDX-License-Identifier: Apache-2.0
"""Faults of text files: cut, torn, concatenated, packed, and cells that are no numbers or dates."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile
from pathlib import Path

import pytest
from faults.kit import command, faults, refused, silence, survived, told

import gpu_bt as bt

LONG = "date,asset,close,volume\n2024-01-02,A,10,100\n2024-01-02,B,20,200\n2024-01-03,A,11,100\n2024-01-03,B,21.5,200\n"
WIDE = "date,A,B\n2024-01-02,10,20\n2024-01-03,11,21.5\n2024-01-04,12,22.25\n"
PACKED = gzip.compress(LONG.encode())


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("prices.csv", WIDE)
    return file.getvalue()


def written(folder: Path, content: str | bytes, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


CUT = {
    "within the cells of a row": LONG + "2024-01-04,A",
    "within the last cell but one": LONG + "2024-01-04,A,1",
    "after a date": WIDE + "2024-01-05",
    "within a date": WIDE + "2024-01-0",
    "after the year": WIDE + "2024",
    "with CRLF": (WIDE + "2024-01-05,13").replace("\n", "\r\n"),
    "with semicolons": (WIDE + "2024-01-05,13").replace(",", ";"),
    "with tabs": (WIDE + "2024-01-05,13").replace(",", "\t"),
    "with CR alone": (WIDE + "2024-01-05,13").replace("\n", "\r"),
    "with quoted cells": '"date","A, Inc","B"\n"2024-01-02","10","20"\n"2024-01-03","11"',
    "of very many columns": "date," + ",".join(f"A{i:07}" for i in range(9_000)) + "\n2024-01-02" + ",1" * 8_500,
    "after very many rows": "date,A,B\n" + "".join(f"20240102T{i:06},1,2\n" for i in range(60_000)) + "20240103,1",
}


@faults("text files", "refused", CUT, "a last row that is cut short, ")
def test_a_file_that_ends_within_a_line(value: str, tmp_path: Path) -> None:
    with refused(r"ends within line \d+, which has \d+ of \d+ cells and no end: the file is cut short"):
        bt.read_panel(written(tmp_path, value))


@pytest.mark.parametrize("name", ["prices.csv.gz"])
@faults("text files", "refused", {"a packed file whose text is cut": WIDE + "2024-01-05,13"})
def test_a_packed_file_that_ends_within_a_line(value: str, name: str, tmp_path: Path) -> None:
    with refused("ends within line 5, which has 2 of 3 cells"):
        bt.read_panel(written(tmp_path, gzip.compress(value.encode()), name))


@faults("text files", "refused", {"weights whose last row is cut short": WIDE.replace("2.25", "")[:-3]})
def test_weights_that_end_within_a_line(value: str, tmp_path: Path) -> None:
    panel = bt.read_panel(written(tmp_path, WIDE))
    with refused("ends within line 4, which has 2 of 3 cells", bt.WeightsError):
        bt.read_weights(written(tmp_path, value, "weights.csv"), panel)
    with refused("ends within line 4", bt.WeightsError):
        bt.run(panel, written(tmp_path, value, "weights.csv"), bt.Config(execution="next_close"))
    command(["run", "prices.csv", "weights.csv"], tmp_path)


QUOTED = 'date,A\n2024-01-02,"100.25"\n2024-01-03,"101.75'
OPEN = {
    "within a quoted number": QUOTED,
    "after the quote that opens a number": QUOTED[:-6],
    "within a quoted number, with CRLF": QUOTED.replace("\n", "\r\n"),
    "within a quoted number, with CR alone": QUOTED.replace("\n", "\r"),
    "within a quoted number, with semicolons": QUOTED.replace(",", ";"),
    "within a quoted asset": 'date,close,asset\n2024-01-02,1,"MSFT"\n2024-01-03,2,"MSF',
    "within a quoted date": QUOTED + '"\n"2024-01-0',
    "within a quoted name of the header": 'date,"A',
    "after a quote too many": LONG + '2024-01-04,A,12,5"\n2024-01-05,A,12,5\n',
}


@faults("text files", "refused", OPEN, "a file that ends ")
def test_a_file_that_ends_within_a_quote(value: str, tmp_path: Path) -> None:
    with refused(r"ends within line \d+, where a quote is not closed"):
        bt.read_panel(written(tmp_path, value))
    with refused("where a quote is not closed"):
        bt.read_panel(written(tmp_path, gzip.compress(value.encode()), "p.csv.gz"))


@faults("text files", "refused", {"weights that end within a quoted number": QUOTED.replace("10", "0.")})
def test_weights_that_end_within_a_quote(value: str, tmp_path: Path) -> None:
    panel = bt.read_panel(written(tmp_path, QUOTED + '"'))
    with refused("ends within line 3, where a quote is not closed", bt.WeightsError):
        bt.run(panel, written(tmp_path, value, "weights.csv"), bt.Config(execution="next_close"))


NAMED = "date,close,asset\n2024-01-02,1,MSFT\n2024-01-02,2,B\n2024-01-03,3,B\n2024-01-03,4,MSF"
PIECES = {"of a name": NAMED, "of a quoted name": NAMED.replace("MSFT", '"MSFT"'), "of a name, with tabs":
          NAMED.replace(",", "\t"), "of weights": NAMED.replace("close", "weight,close").replace("-02,", "-02,0.1,")
          .replace("-03,", "-03,0.1,")}  # fmt: skip


@faults("text files", "told", PIECES, "a last asset that is a piece ")
def test_an_asset_that_was_cut(value: str, tmp_path: Path) -> None:
    with told(
        "line 5, the last, has no end, and its last cell is the only one with that name, with which others begin"
    ):
        assert "MSF" in bt.read_panel(written(tmp_path, value)).assets


@faults("text files", "told", {"a short last row without an end, of a file with other short rows": "2024-01-05,13"})
def test_a_short_last_row_among_others(value: str, tmp_path: Path) -> None:
    with told("2 lines have fewer cells than the header, the first is line 3"):
        assert bt.read_panel(written(tmp_path, WIDE.replace(",21.5", "") + value)).shape == (4, 2)


FOOTERS = {"of text": "Total rows: 3\n", "of text, without an end": "3 rows,,"}


@faults("text files", "refused", FOOTERS, "a last line ")
def test_a_last_line_of_text_is_refused_without_another_word(value: str, tmp_path: Path) -> None:
    with silence(), refused("timestamp, row 3, is '.*'"):
        bt.read_panel(written(tmp_path, WIDE + value))


SHORT = {
    "in the middle of a wide file": (WIDE.replace("11,21.5", "11"), "1 lines .* the first is line 3"),
    "in the middle of a long file": (LONG.replace("A,11,100", "A,11"), "1 lines .* the first is line 4"),
    "at the end, with the end of a line": (WIDE + "2024-01-05,13\n", "1 lines .* the first is line 5"),
    "in several rows": (WIDE.replace(",21.5", "").replace(",22.25", ""), "2 lines .* the first is line 3"),
}


@faults("text files", "told", SHORT, "rows with fewer cells, ")
def test_rows_with_fewer_cells(value: tuple[str, str], tmp_path: Path) -> None:
    with told(value[1] + ": what they lack is empty"):
        bt.read_panel(written(tmp_path, value[0]))


@faults("text files", "told", {"a file that ends after the comma of an empty cell": WIDE + "2024-01-05,13,"})
def test_an_empty_last_cell_without_an_end(value: str, tmp_path: Path) -> None:
    with told("line 5, the last, has no end, and its last cell is empty"):
        bt.read_panel(written(tmp_path, value))


WHOLE = {
    "no end of the last line": WIDE[:-1],
    "blank lines among the rows and after them": WIDE.replace("2024-01-04", "\n\r\n2024-01-04") + "\n\n",
    "blanks and commas alone at the end": WIDE + "  ",
    "a comma alone at the end": WIDE + ",",
    "commas and blanks at the end": WIDE + " , , ",
    "a row of commas": WIDE + ",,\n",
    "a tab at the end": WIDE + "\t",
    "a comma after each row": "".join(line + ",\n" for line in WIDE.splitlines()),
    "a comma after the header alone": WIDE.replace("A,B", "A,B,"),
    "line ends that mix LF and CRLF": WIDE.replace("\n", "\r\n", 2),
    "the separator named in the first line": "sep=,\n" + WIDE,
    "ends of lines within quotes": WIDE.replace("date,", '"date",').replace(",B", ',"B"'),
}


@faults("text files", "survived", WHOLE, "whole, with ")
def test_whole_files_are_read_without_a_word(value: str, tmp_path: Path) -> None:
    expected = bt.read_panel(written(tmp_path, WIDE))
    with silence():
        got = bt.read_panel(written(tmp_path, value, "odd.csv"))
    assert got.assets == ("A", "B")
    survived(got.close, expected.close)


TORN = {
    "no header": (WIDE.split("\n", 1)[1], "has no header: its first line begins with '2024-01-02'"),
    "no header, long": (LONG.split("\n", 1)[1], "has no header"),
    "the header again in the middle": (WIDE + WIDE, "row 3, is 'date'"),
    "two lines of headers": ("date,A,B\n" + WIDE, "row 0, is 'date'"),
    "a line of units": (WIDE.replace("\n", "\n,USD,USD\n", 1), "row 0, is None"),
    "a title above": ("Prices of 2024\n\n" + WIDE, "a line has more cells than the header"),
    "more cells in a row": (WIDE.replace("11,21.5", "11,21.5,9"), "a line has more cells than the header"),
    "a quote that is not closed": (WIDE.replace("11,", '"11,'), "a quote is not closed"),
    "rows of another separator": (WIDE.replace("2024-01-03,11,21.5", "2024-01-03;11;21.5"), "is '2024-01-03;11;21.5'"),
    "a CR within a row": (WIDE.replace("21.5\n", "21.5\r"), "a line has more cells than the header"),
    "a mark of UTF-8 in the middle": (WIDE + "\ufeff" + WIDE, r"row 3, is '\\ufeffdate'"),
    "nothing but a mark of UTF-8": (b"\xef\xbb\xbf", "empty CSV"),
    "nothing": ("", "is empty"),
    "blank lines alone": ("\n\n\n", "empty CSV"),
    "a header alone": ("date,A,B\n", "has no rows"),
    "zero bytes": (WIDE.encode() + b"\0\0\n", "zero bytes"),
    "Latin-1": (LONG.replace("B", "M\xfc").encode("latin-1"), "invalid utf-8"),
    "UTF-16": (WIDE.encode("utf-16"), "UTF-16"),
    "an archive": (archive(), "unpack it"),
    "a packed file without .gz": (PACKED, "unpack it"),
    "a web page": ("<!DOCTYPE html>\n<html><title>404</title>\n", "is '<html>"),
    "a web page in one line": ("<html>Too many requests</html>", "has no rows"),
    "an answer in JSON": ('{"error": "rate limit", "code": 429}', "has no rows"),
    "a column twice": ("date,A,A\n2024-01-02,1,2\n", "has column 'A' twice"),
    "columns that differ by blanks": ("date,A,A \n2024-01-02,1,2\n", "'A' and 'A ', one name without blanks"),
}


@faults("text files", "refused", TORN, "torn: ")
def test_torn_files(value: tuple[str | bytes, str], tmp_path: Path) -> None:
    with warnings.catch_warnings(), refused(value[1]):
        warnings.simplefilter("ignore")  # of rows with fewer cells
        bt.read_panel(written(tmp_path, value[0]))


DAMAGED = {
    "cut in half": PACKED[: len(PACKED) // 2],
    "without its checksum": PACKED[:-8],
    "of another checksum": PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:],
    "a byte changed": PACKED[:30] + bytes([PACKED[30] ^ 255]) + PACKED[31:],
    "with rubbish behind": PACKED + b"rubbish",
    "a head alone": PACKED[:8],
    "that is not packed": LONG.encode(),
}


@faults("text files", "refused", DAMAGED, "a .gz ")
def test_damaged_packed_files(value: bytes, tmp_path: Path) -> None:
    with refused("cannot be read as CSV: .*; write it again"):
        bt.read_panel(written(tmp_path, value, "prices.csv.gz"))


NUMBERS = ["1,000", "$10", "10 USD", "5%", "(10)", "0x1F", "1_000", "#DIV/0!", "-", "１０", "١٠", "\u221210", "10 000",
           "1.234,56", "1/2", "true", "10-"]  # fmt: skip


@faults("cells", "refused", {repr(text)[1:-1]: text for text in NUMBERS}, "a price of ")
def test_cells_that_are_no_numbers(value: str, tmp_path: Path) -> None:
    with refused("close, row 1, is .*: it must be a number"):
        bt.read_panel(written(tmp_path, f'date,asset,close\n2024-01-02,A,10\n2024-01-02,B,"{value}"\n'))


@faults("cells", "refused", {text: text for text in ("1e400", "-1e400", "inf", "1e-400", "0", "1e300")}, "a price of ")
def test_numbers_that_are_no_prices(value: str, tmp_path: Path) -> None:
    with refused(r"close\[2024-01-02, 'B'\] is .*: a price must be"):
        bt.read_panel(written(tmp_path, f"date,asset,close\n2024-01-02,A,10\n2024-01-02,B,{value}\n"))


DATES = ["01/02/2024", "24-01-02", "45293", "1704153600", "1704153600000", "0000-01-02", "300000-01-02", "2024-02-30",
         "2016-12-31T23:59:60", "2024-01-02 00:00 EST", "-86400", "", "nan", "2024010210", "٢٠٢٤-٠١-٠٢"]  # fmt: skip


@faults("cells", "refused", {repr(text): text for text in DATES}, "a timestamp of ")
def test_cells_that_are_no_dates(value: str, tmp_path: Path) -> None:
    with refused("timestamp, row 1, is .*: it must be a date"):
        bt.read_panel(written(tmp_path, f"date,A\n2024-01-05,10\n{value},11\n"))


@faults("cells", "told", {"dates alone among times": "2024-01-02,10\n2024-01-03 16:00,11\n"})
def test_dates_among_times(value: str, tmp_path: Path) -> None:
    with told("1 of 2 times in timestamp are dates alone, and stand at midnight"):
        bt.read_panel(written(tmp_path, "date,A\n" + value))


@faults("text files", "survived", {"a cell of 200,000 characters in a column that is not read": "x" * 200_000})
def test_a_very_long_cell(value: str, tmp_path: Path) -> None:
    text = LONG.replace("volume", "text").replace(",100\n", f',"{value}"\n')
    survived(bt.read_panel(written(tmp_path, text)).close.tolist(), [[10.0, 20.0], [11.0, 21.5]])
