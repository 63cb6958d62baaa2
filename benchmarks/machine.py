# SPDX-License-Identifier: Apache-2.0
"""What stands beside every timing: machine, versions, memory. No host name, no path, nothing about a person."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from gpu_bt import __version__

__all__ = ["machine", "peak_mib", "reset_peak", "resident_mib", "versions"]

_PACKAGES = ("numpy", "polars", "cupy-cuda13x", "cupy-cuda12x", "jax")


def machine() -> dict[str, object]:
    """CPU model, cores this process may use, memory in GiB, system, and the GPU where the driver's tool names one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, object] = {
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }
    gpu = _gpu_model()
    return found | ({"gpu": gpu} if gpu else {})


def versions() -> dict[str, str]:
    """Python, this package and the packages that set the speed."""
    found = {"python": platform.python_version(), "gpu-bt": __version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def reset_peak() -> bool:
    """Start a new peak of resident memory (Linux). False where the system cannot, and the peak is the process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Peak resident memory in MiB since `reset_peak`, or of the process."""
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # macOS counts bytes, others KiB
    return _status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mib() -> float | None:
    """Resident memory in MiB at this moment; None where the system does not say."""
    return _status("VmRSS:")


def _status(field: str) -> float | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu_model() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None
