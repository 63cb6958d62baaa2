# SPDX-License-Identifier: Apache-2.0
"""The fixture `able`: a test that takes it runs on every engine that is here, always on the emulated device, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulator.build import why_not
from emulator.fake_cupy import FakeCupy, installed

from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.engine.registry import reasons, resolve
from gpu_bt.engine.spec import Engine

_EMULATED = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
_HERE = [name for name in ("numpy", "native") if reasons()[name] is None]


@pytest.fixture(params=[*_HERE, pytest.param("emulated", marks=_EMULATED)])
def able(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine; the CUDA engine has three scenarios to a block."""
    if request.param != "emulated":
        yield resolve(request.param)
        return
    with installed(FakeCupy("random")):
        yield CudaEngine(64, 3)
