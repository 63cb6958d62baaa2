# SPDX-License-Identifier: Apache-2.0
"""Words of the command line: values of --set, the folder of --out, advice that can be typed."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import gpu_bt as bt
from gpu_bt.cli import commands as cli
from gpu_bt.cli import words


def test_a_file_is_tried_in_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = []

    def refuse(path: Path, content: bytes) -> None:
        tried.append((path.parent, len(content)))
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(bt.ConfigError, match=rf"--out .*b cannot be written: permission denied in {tmp_path}; choose"):
        words.folder(str(tmp_path / "a" / "b"))
    assert tried == [(tmp_path, 4096)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("or pass align='next' to move", "or pass --align next to move"),
        ("or align='previous' to the last", "or --align previous to the last"),
        ("pass date_format= (as", "pass --date-format (as"),
        ("pass unknown_assets='ignore'", "pass --unknown-assets ignore"),
        ("(bad_prices='nan' makes it so)", "(--bad-prices nan makes it so)"),
        ("pass duplicates='first' or duplicates='last'", "pass --duplicates first or --duplicates last"),
        ("pass time_zone='America/New_York', or", "pass --time-zone America/New_York, or"),
        ("use engine='auto'", "use --engine auto"),
        ("use Config(account='margin') for", "use --set account=margin for"),
        ("pass execution='next_close'", "pass --set execution=next_close"),
        ("take lot=0.", "take --set lot=0."),
        ("pass prices='raw', or leave it out", "pass --raw-prices, or leave it out"),
        (
            "name it with weight=, or pass layout='wide' where",
            "name it with --weight-column, or pass --layout wide where",
        ),
        ("leave fields= out", "leave --fields out"),
        ("or begin without resume=", "or begin without --resume"),
        ("such as --axis band=0,0.01 or --param band=1", "such as --axis band=0,0.01 or --param band=1"),
        ("such as --set commission_rate=5e-4", "such as --set commission_rate=5e-4"),
        ("pass close=", "pass close="),
        ("asset 'align=x' is not", "asset 'align=x' is not"),
        ("record='fills'", "record='fills'"),
    ],
)
def test_advice_that_can_be_typed(text: str, shown: str):
    assert words.typed(text, inspect.signature(cli.run).parameters) == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("5e-4", 5e-4), (".5", 0.5), ("-1", -1), ("1_000", 1000), ("none", "none"), ("None", "none"),
        ("week", "week"), ('"week"', "week"), ("'none'", "none"), ("true", True), ("", ""), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_values_of_set(text: str, value: object):
    found = words._scalar(text)
    assert (type(found), found) == (type(value), value)
