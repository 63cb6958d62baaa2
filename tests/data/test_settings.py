# SPDX-License-Identifier: Apache-2.0
"""A Config from a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_bt.config import Config
from gpu_bt.data.settings import read_config
from gpu_bt.errors import ConfigError


def test_read_config_of_a_plain_file(tmp_path: Path):
    path = tmp_path / "c.toml"
    path.write_text('lot = 0\nmax_leverage = "none"\n')
    assert read_config(path) == Config(lot=0.0, max_leverage=None)
    path.write_text("lot = 0\nband = 0.1\n[config]\nband = 0.2\n[run]\nx = 1\n")
    assert read_config(path) == Config(lot=0.0, band=0.2)
    refused = {
        "lot = ": "cannot be read",
        "slipage = 0.1": "did you mean 'slippage'",
        "config = 1": "'config' is not a field",
        "[other]\nlot = 0": r"c.toml has the table \[other\]: put fields into \[config\]",
        "[config]\nlot = 0\n[costs]\nslippage = 0.1": r"has the table \[costs\]",
        "[config.costs]\nslippage = 0.1": "'costs' is not a field",
    }
    for text, message in refused.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=message) as error:
            read_config(path)
        assert "\n" not in str(error.value)
    path.write_bytes(b"\xef\xbb\xbflot = 0\n")  # a byte order mark
    assert read_config(path) == Config(lot=0.0)
    with pytest.raises(ConfigError, match=r"missing.toml cannot be read"):
        read_config(tmp_path / "missing.toml")
