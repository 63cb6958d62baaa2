# SPDX-License-Identifier: Apache-2.0
"""The command line: the only place that prints."""

from gpu_bt.cli.commands import app, main

__all__ = ["app", "main"]
