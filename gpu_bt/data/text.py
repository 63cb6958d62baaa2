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
from typing import IO

import numpy as np
import polars as pl

from gpu_bt.data.shield import shield
from gpu_bt.data.vendors import NAMES, field_of, plain
from gpu_bt.errors import BacktestWarning, PanelError

__all__ = ["scan_text"]

#: Bytes of a file that tell how it is written, that are looked at together, and that a line may have.
_HEAD, _BLOCK, _LONGEST = 1 << 16, 1 << 20, 1 << 26
#: What follows a name in the last cell of a line, and where it is the begin of another one.
_AROUND = rb'"?[ \t]*[\r\n]', rb'[^"\s]'


def scan_text(path: Path, separator: str) -> tuple[Callable[[list[str]], pl.LazyFrame], list[str]]:
    """What scans a text file, as text but for the columns to parse as floats.

    Lines that end with LF, CRLF or CR, fields separated by a comma, semicolon, tab or bar; decimal
    commas where the separator is none and a number has one. `separator` is that of the file's ending.
    Raises PanelError for a header that is no UTF-8, and for a file that ends within a line or a quote. Warns
    (BacktestWarning) of decimal commas that may part thousands. Gives also what else to tell once it could be read: of
    lines with fewer cells than the header, with their number, and of a last one that may be cut.
    """
    unpack = gzip.open if path.name.lower().endswith(".gz") else open
    with shield(f"{path} cannot be read as CSV"), unpack(path, "rb") as file:
        head = file.read(_HEAD) + file.readline(_LONGEST)  # whole lines
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head:
        way_out = "save it as UTF-8 (a spreadsheet's 'CSV UTF-8'), or unpack it where it is packed"
        raise PanelError(f"{path} is UTF-16, or has zero bytes: {way_out}")
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
    names = re.sub(r'"[^"]*"', "-", lines[0]).rstrip().rstrip(separator)  # a column without name may lack in lines
    named = plain(lines[0].rsplit(separator, 1)[-1]) in NAMES["asset"]
    with shield(f"{path} cannot be read as CSV"), unpack(path, "rb") as file:
        told = _check_cells(path, file, end, separator, 1 + names.count(separator), first + max(header, 1), named)

    def scan(floats: list[str]) -> pl.LazyFrame:
        frame = pl.scan_csv(
            path, separator=separator, eol_char=end, infer_schema=False, glob=False,
            schema_overrides={} if levels or decimal else dict.fromkeys(floats, pl.Float64),
            skip_rows=first + header, has_header=not levels, new_columns=levels,
        )  # fmt: skip
        if decimal:  # Polars' own option reads no cell that is quoted
            frame = frame.with_columns(pl.all().str.replace(r"^(\s*[-+]?\d+),(\d+\s*)$", "$1.$2"))
        return frame

    return scan, [f"{path}: {what}; is the file whole?" for what in told]


def _check_cells(
    path: Path, file: IO[bytes] | gzip.GzipFile, end: str, separator: str, width: int, skip: int, named: bool
) -> list[str]:
    """What to tell of lines with fewer than `width` cells after the first `skip`, and of a last one without end; named:
    its last cell is an asset's name. Refuses a file that ends within a quote, or within a line while no other is
    short."""
    before, text, rest, line, short, at = b"", b"", b"", 0, 0, 0
    while (block := file.read(_BLOCK)) and len(rest) < _LONGEST:
        before, text = text, rest + block
        cells, size = _cells(text, end, separator)
        few = (cells > 0) & (cells < width) & (np.arange(line, line + len(cells)) >= skip)
        at = at or (line + int(few.argmax()) + 1 if few.any() else 0)
        rest, line, short = text[size:], line + len(cells), short + int(few.sum())
    last, what = f"line {line + 1}, the last, has no end, and its last cell is", f"ends within line {line + 1}"
    if rest.count(b'"') % 2:
        raise PanelError(f"{path} {what}, where a quote is not closed: write it again, or correct that line")
    if line < skip or not rest.strip(b" \t\r" + separator.encode()):  # blank cells alone are no row
        rest = b""
    cells, _ = _cells(rest + end.encode(), end, separator)
    if cut := 0 < cells.sum() < width:
        short, at = short + 1, at or line + 1
    if cut and short == 1:
        what += f", which has {cells.sum()} of {width} cells and no end"
        raise PanelError(f"{path} {what}: the file is cut short; write it again, or drop that line")
    told = [f"{short} lines have fewer cells than the header, the first is line {at}: what they lack is empty"]
    told = told * (short > 0) + [f"{last} empty"] * rest.endswith(separator.encode())
    name = re.escape(rest.rpartition(separator.encode())[2].strip(b' "\r'))
    stands = [re.search(re.escape(separator.encode()) + b'"?' + name + mark, before + text) for mark in _AROUND]
    if named and rest and not cut and stands[0] is None and stands[1]:
        told.append(f"{last} the only one with that name, with which others begin")
    return told


def _cells(text: bytes, end: str, separator: str) -> tuple[np.ndarray, int]:
    """(cells of each whole line, 0 where it is blank; bytes of all of them). Quoted ends and separators are none."""
    codes = np.frombuffer(text, np.uint8)
    outside = np.cumsum(codes == ord('"'), dtype=np.uint8) % 2 == 0 if b'"' in text else np.True_
    ends = np.flatnonzero((codes == ord(end)) & outside)
    if not len(ends):
        return np.zeros(0, np.int64), 0
    size, starts = int(ends[-1]) + 1, np.concatenate([[0], ends[:-1] + 1])
    cells = 1 + np.add.reduceat(((codes == ord(separator)) & outside)[:size], starts, dtype=np.int64)
    return np.where(ends - starts < 2, 0, cells), size  # one character is that of CRLF


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
    try:
        rows = list(csv.reader((line.replace("\r", "") for line in lines), delimiter=separator))
    except csv.Error:  # a cell of more than 100,000 characters
        return None, 0
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
