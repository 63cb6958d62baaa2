# SPDX-License-Identifier: Apache-2.0
"""Waiting without a clock in the verdict: however busy the machine is, what comes is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["HANGS", "wait_for"]

#: Seconds after which something has stopped to work and is ended; no bound on what work may take.
HANGS = 1200


def wait_for(condition: Callable[[], object]) -> None:
    """Until it holds."""
    limit = time.monotonic() + HANGS
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"nothing came within {HANGS} s")
        time.sleep(0.01)
