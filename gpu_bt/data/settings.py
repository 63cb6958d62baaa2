# SPDX-License-Identifier: Apache-2.0
"""Settings in TOML files: a Config, and what else a user writes there."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from gpu_bt.arguments import file_of
from gpu_bt.config import Config
from gpu_bt.errors import ConfigError

__all__ = ["config_text", "read_config", "read_toml"]


def read_toml(path: str | os.PathLike[str], content: str) -> dict[str, Any]:
    """The tables of a TOML file. content: what it should hold, for the ConfigError where it cannot be read."""
    file = file_of("path", path)
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))  # some editors put a byte order mark first
    except (OSError, ValueError, RecursionError) as error:
        reason = "its tables are nested too deep" if isinstance(error, RecursionError) else error
        reason = getattr(error, "strerror", None) or reason
        raise ConfigError(f"{path} cannot be read: {reason}; pass a TOML file {content}") from error


def read_config(path: str | os.PathLike[str]) -> Config:
    """A Config from a TOML file: its table [config] and what stands above it, or without one the whole file.

    Fields left out keep their defaults; "none" stands for None, which TOML lacks. The table [run] is passed over.
    Raises ConfigError where the file cannot be read, is no TOML, has another table, or a field or value that Config
    refuses.
    """
    values = read_toml(path, "with the fields of Config")
    for name in values:
        if isinstance(values[name], dict) and name not in ("config", "run"):
            raise ConfigError(f"{path} has the table [{name}]: put fields into [config]; beside it [run] may stand")
    values = {name: value for name, value in values.items() if name != "run" or not isinstance(value, dict)}
    table = values.get("config")
    if isinstance(table, dict):  # what stands above the table counts, too: nothing given is passed over
        values = {name: value for name, value in values.items() if not isinstance(value, dict)} | table
    return Config.from_dict(values)


def config_text(config: Config, run: Mapping[str, Any]) -> str:
    """A TOML file for `read_config`: the table [config], and [run], which says where it comes from."""
    fields = {name: "none" if value is None else value for name, value in config.to_dict().items()}
    return tomli_w.dumps({"config": fields, "run": run})
