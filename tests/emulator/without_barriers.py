# SPDX-License-Identifier: Apache-2.0
"""The CUDA engine without one of its barriers: python -m emulator.without_barriers NUMBER... prints, for each number of a
barrier (-1: none is left out), what showed it missed, or an empty line.

The text is compiled once, with a switch at every barrier. Each number runs in a process of its own, which may crash or
hang.
"""

from __future__ import annotations

import os
import signal
import sys

sys.path[:0] = ["tests", "tests/parity"]

import numpy as np
from build import simulate_spec
from compare import assert_same_raw
from cuda_cases import NUMPY, ORDERS, batch, book, one
from emulator.barriers import barriers
from emulator.build import EmulatorError
from emulator.fake_cupy import FakeCupy, installed

from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.module import source
from gpu_bt.spec import RawResult, RunSpec

__all__ = ["switched"]

SECONDS = 20  # that the runs of one number may take in fibers


def switched(text: str) -> str:
    """The text with barriers that the environment variable BT_SKIP leaves out, by number."""
    for number, barrier in reversed(list(enumerate(barriers(text)))):
        call = f"(bt_skip == {number} ? (void)0 : {barrier.name}())"
        text = text[: barrier.start] + call + text[barrier.stop :]
    return f'#include <stdlib.h>\nstatic const int bt_skip = atoi(getenv("BT_SKIP"));\n{text}'


def cases() -> list[tuple[str, RunSpec, int, int, tuple[int, ...]]]:
    found = []
    for seed in range(30):
        found.append((f"one{seed}", one(seed, 70, fills=seed % 2 == 0, positions=seed % 3 == 0), 64, 1, (5,)))
        found.append((f"batch{seed}", batch(seed, 3, 70, fills=seed % 2 == 0, positions=seed % 3 == 0), 64, 3, (5, 9)))
        found.append((f"book{seed}", book(seed, 70, count=1 + seed % 3), 96, 3, (7,)))
    return found
