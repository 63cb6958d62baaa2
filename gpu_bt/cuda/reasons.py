# SPDX-License-Identifier: Apache-2.0
"""What is said where there is no GPU, or where one is let down by its driver: a line each, with the way out."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from gpu_bt.engine.spec import Broken

__all__ = ["INSTALL", "NO_MEMORY", "hidden", "line_of", "no_device", "status_of", "stopped", "way_in"]

INSTALL = "pip install 'gpu-bt[gpu]'"
#: Numbers of errors: cudaErrorMemoryAllocation, cudaErrorNoDevice, cudaErrorInsufficientDriver.
NO_MEMORY, _NO_DEVICE, _OLD_DRIVER = 2, 100, 35
#: What to do about others, of the driver and of the runtime.
_CURES = {
    3: 'a process that was forked after CUDA had begun cannot use it: start workers with the "spawn" method',
    46: "another process has the GPU to itself (nvidia-smi -q -d COMPUTE)",
    214: "the GPU must be reset, or its memory is damaged (nvidia-smi -q -d ECC)",
    702: "a kernel took longer than the system allows: use a GPU that drives no screen",
    802: "start the service nvidia-fabricmanager",
    803: "the driver was updated under a running system: restart it",
    999: "reload the driver, or restart the system",
}
#: In a run.
_CURE = "this process cannot use the GPU any more: start the program again (what sweep(out=) has finished is kept)"


def status_of(exc: Exception) -> int:
    """The number of an error of the driver's or the runtime's, which mean the same; 0 of another."""
    return int(getattr(exc, "status", 0))


def stopped(exc: Exception) -> str:
    """Of an error of the driver's in a run."""
    return f"engine 'cuda' was stopped: {line_of(exc)}; {_CURES.get(status_of(exc), _CURE)}, or use engine='cpu'"


def hidden() -> str:
    """Why a driver counts no device."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return "no CUDA device"
    if shown in ("", "-1", "NoDevFiles", "none", "void"):
        return f"no CUDA device: CUDA_VISIBLE_DEVICES={shown!r} hides all"
    return Broken(f"no CUDA device: CUDA_VISIBLE_DEVICES={shown!r} begins with none that is there (see nvidia-smi -L)")


def no_device(runtime: Any, exc: Exception) -> str:
    """Why a driver does not answer."""
    status = status_of(exc)
    if status == _NO_DEVICE:
        return hidden()
    if status == _OLD_DRIVER:
        with contextlib.suppress(Exception):
            has, wants = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
            if not has:
                return "no CUDA device: there is no NVIDIA driver"
            other = f", or install CuPy for it (pip install 'cupy-cuda{has // 1000}x[ctk]')" if has >= 12000 else ""
            return Broken(
                f"the NVIDIA driver knows CUDA {has // 1000}.{has % 1000 // 10}, and CuPy needs"
                f" {wants // 1000}.{wants % 1000 // 10}: update the driver{other}"
            )
    return Broken(f"no CUDA device: {line_of(exc)}" + (f"; {_CURES[status]}" if status in _CURES else ""))


def way_in(exc: Exception) -> str:
    """What to do about a CuPy that cannot be imported."""
    if isinstance(exc, OSError) and exc.filename:  # the folder of its cache, which it makes then
        return "set CUPY_CACHE_DIR to a folder that can be written"
    return f"install it anew, for the CUDA of the driver ({INSTALL})"


def line_of(exc: BaseException) -> str:
    """What an error says in one line: the first of its text, or of the error that it was made of; what CuPy frames
    begins with a rule."""
    text = str(exc.__cause__ if exc.__cause__ is not None else exc)
    lines = [line.strip() for line in text.splitlines() if line.strip(" =-")]
    return lines[0] if lines else type(exc).__name__
