# SPDX-License-Identifier: Apache-2.0
"""Strategies that workers import, for the tests of faults."""

from __future__ import annotations

import os
import signal
import sys

import polars as pl

import gpu_bt as bt

__all__ = ["Dies", "Killed", "Leaves", "Plain", "Raises", "UsesFrames", "UsesPolars", "UsesPolarsInAHelper"]


class Plain(bt.Strategy):
    names = 2

    def on_data_batch(self, timestamp, batch) -> None:
        self.order_target_percent(batch.top(batch.close, self.names), 0.3)


class UsesPolars(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        pl.DataFrame({"a": batch.close}).sort("a")
        super().on_data_batch(timestamp, batch)


def ranked(values):
    return pl.Series(values).rank()


class UsesPolarsInAHelper(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        self.order_target_percent(batch.top(ranked(batch.close).to_numpy(), 2), 0.3)


class UsesFrames(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        batch.frame().sort("asset")


class Dies(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        if batch.bar > 9:
            os._exit(3)


class Killed(Plain):
    number = int(signal.SIGKILL)

    def on_data_batch(self, timestamp, batch) -> None:
        os.kill(os.getpid(), self.number)


class Raises(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        raise KeyError("no such thing")


class Leaves(Plain):
    def on_data_batch(self, timestamp, batch) -> None:
        sys.exit(5)
