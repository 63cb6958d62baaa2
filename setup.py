# SPDX-License-Identifier: Apache-2.0
"""Compiles the native CPU engine where there is a C++ compiler. It never fails the installation: without a library the
reason lies in its place, and the engine shows it.

GPU_BT_LEVELS says for which processors: "all", so that a wheel runs anywhere, "here", this one's, soonest compiled and
what an editable installation is for, or "none", where `native_build.build` is called by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


class BuildNative(build_ext):
    """Shared libraries without Python inside, into the built package (editable: beside the source); none must exist."""

    def run(self) -> None:
        """Compile, or say why not."""
        sys.path.insert(0, str(ROOT))
        which = os.environ.get("GPU_BT_LEVELS") or ("here" if self.inplace else "all")
        if which not in ("all", "here", "none"):
            sys.exit(f"GPU_BT_LEVELS is {which!r}: say 'all', 'here' or 'none'")
        try:
            from cpu_fallback.native_build import build

            folder = (ROOT if self.inplace else Path(self.build_lib)) / "cpu_fallback"
            reason = None if which == "none" else build(folder, which == "here")
        except Exception as exc:  # such as a build without NumPy
            reason = f"{type(exc).__name__}: {exc}"
        if reason is not None:
            print(f"gpu-bt: the native engine is left out: {reason}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class AnyPython(bdist_wheel):
    """A wheel for one platform and every version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none-PLATFORM."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("cpu_fallback._native", ["cpu_fallback/native.cpp"])],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPython},
)
