# SPDX-License-Identifier: Apache-2.0
"""The command line: the only place that prints."""

from gpu_bt.cli.signals import at_once, handled

with handled(at_once):  # what is imported here takes a moment, and Ctrl-C may fall into it
    from gpu_bt.cli.commands import app, main

__all__ = ["app", "main"]
