# SPDX-License-Identifier: Apache-2.0
"""Which installed package a module is of, and its version."""

from __future__ import annotations

import functools
import os
import platform
import sys
import sysconfig
from importlib import metadata

from gpu_bt import __version__

__all__ = ["package", "python", "version"]


def python() -> tuple[str, str]:
    """Python and its version."""
    return "Python", platform.python_version()


@functools.cache
def package(top: str) -> tuple[str, str] | None:
    """The distribution that a module on top belongs to, and its version; None where the module is a user's."""
    if top in ("gpu_bt", "cpu_fallback"):
        return "gpu_bt", __version__
    module = None if top in ("__main__", "__mp_main__") else sys.modules.get(top)
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if file is None:
        return python() if top in sys.stdlib_module_names else None
    if {"site-packages", "dist-packages"} & set(file.split(os.sep)):
        names = [top] if version(top) else metadata.packages_distributions().get(top, [])
        return next(((name, found) for name in sorted(names) if (found := version(name))), None)
    roots = {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
    return python() if os.path.realpath(file).startswith(tuple(roots)) else None


def version(name: str) -> str:
    """Of an installed distribution, "" where there is none of that name."""
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
