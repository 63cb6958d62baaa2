# SPDX-License-Identifier: Apache-2.0
"""Text files as spreadsheets and vendors write them: encodings, line ends, separators, decimal commas, headers."""

from __future__ import annotations

import csv
import gzip
import re
import warnings
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import polars as pl

from gpu_bt.data.vendors import field_of
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["scan_text"]

#: Bytes of a file that tell how it is written.
_HEAD = 1 << 16


def scan_text(path: Path, separator: str) -> Callable[[list[str]], pl.LazyFrame]:
    """What scans a text file, as text but for the columns to parse as floats.

    Lines that end with LF, CRLF or CR, fields separated by a comma, semicolon, tab or bar; decimal
    commas where the separator is none and a number has one. `separator` is that of the file's ending.
    Raises PanelError for a header that is no UTF-8. Warns (BacktestWarning) of decimal commas that may part thousands.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, EOFError) as error:
        raise PanelError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}; write it again") from None
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head:
        raise PanelError(f"{path} is UTF-16, or has zero bytes: save it as UTF-8 (a spreadsheet's 'CSV UTF-8')")
    end = "\r" if b"\r" in head and b"\n" not in head else "\n"
    lines = head.decode("utf-8-sig", "replace").split(end)[:50]
    first = int(lines[0].lower().startswith("sep="))  # what Excel writes for itself
    lines = lines[first:] or [""]
    separator = _separator(lines[0], separator)
    decimal = separator != "," and _has_decimal_comma(lines[1:], separator)
    levels, header = _levels(lines[:3], separator)
    if any("\ufffd" in line for line in lines[: header or 1]):
        raise PanelError(f"{path} is not UTF-8: save it as UTF-8")
    if decimal:
        _warn_of_thousands(path, lines, separator)

    def scan(floats: list[str]) -> pl.LazyFrame:
        frame = pl.scan_csv(
            path, separator=separator, eol_char=end, infer_schema=False, glob=False,
            schema_overrides={} if levels or decimal else dict.fromkeys(floats, pl.Float64),
            skip_rows=first + header, has_header=not levels, new_columns=levels,
        )  # fmt: skip
        if decimal:  # Polars' own option reads no cell that is quoted
            frame = frame.with_columns(pl.all().str.replace(r"^(\s*[-+]?\d+),(\d+\s*)$", "$1.$2"))
        return frame

    return scan


def _separator(header: str, usual: str) -> str:
    """The separator of the header: the usual one where it is there, else the one that is there most often."""
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {mark: bare.count(mark) for mark in (usual, "\t", ";", ",", "|")}
    most = max(counts, key=lambda mark: counts[mark])
    return most if counts[most] else usual


def _has_decimal_comma(lines: list[str], separator: str) -> bool:
    """A number has a decimal comma, and none a point, beside which a comma would part thousands."""
    cells = [cell.strip(' "') for line in lines for cell in line.rstrip().split(separator)]
    comma, point = (any(re.fullmatch(rf"[-+]?\d+{mark}\d+", cell) for cell in cells) for mark in (",", r"\."))
    return comma and not point


def _warn_of_thousands(path: Path, lines: list[str], separator: str) -> None:
    """Warn of columns in which every comma stands before exactly three digits."""
    rows = [[cell.strip(' "') for cell in line.rstrip().split(separator)] for line in lines]
    odd = []
    for name, *cells in zip_longest(*rows, fillvalue=""):
        found = [cell for cell in cells if "," in cell]
        if found and all(re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", cell) for cell in found):
            odd.append(name)
    if odd:
        what = f"commas stand before exactly three digits in {len(odd)} columns ({', '.join(map(repr, odd))})"
        rule = "are read as decimal: if they part thousands, write the numbers without them"
        warnings.warn(f"{path}: {what} and {rule}", BacktestWarning, stacklevel=2)


def _levels(lines: list[str], separator: str) -> tuple[list[str] | None, int]:
    """The columns of a table whose header has two levels, as pandas writes it, and its lines: two of names, then one
    with the name of the index alone, if it has one. (None, 0) = it has one line of names."""
    rows = list(csv.reader((line.strip("\r") for line in lines), delimiter=separator))
    if len(rows) < 3 or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return None, 0
    first, second, third = rows
    bare = any(third[1:])
    if bare:  # then names are there twice, or the second line has texts where a field would have numbers
        text = not any(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", cell.lower()) for cell in second[1:])
        text &= any(field_of(cell) in ("close", "adj_close") for cell in first[1:] + second[1:])
        if re.search(r"\d", second[0]) or not (text or len(set(first[1:])) < len(first[1:])):
            return None, 0
    if not all(first[1:]) or not all(second[1:]):
        return None, 0
    index = "timestamp" if bare else third[0] or "timestamp"
    return [index, *(str(pair) for pair in zip(first[1:], second[1:], strict=True))], 3 - bare
