# SPDX-License-Identifier: Apache-2.0
"""Compiles the native CPU engine where there is a C++ compiler. It never fails the installation: without a library the
reason lies in its place, and the engine shows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


class BuildNative(build_ext):
    """One shared library, without Python inside."""

    def get_ext_filename(self, fullname: str) -> str:
        """The same name for every version of Python."""
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """The library, or the reason why there is none, into the built package (editable: beside the source)."""
        folder = Path(self.get_ext_fullpath(ext.name)).parent
        reason = self._build(folder)
        if reason is not None:
            print(f"gpu-bt: the native engine is left out: {reason}", file=sys.stderr)
        if self.editable_mode:
            for name in ("_native.so", "_native_reason.txt"):
                (ROOT / "cpu_fallback" / name).unlink(missing_ok=True)
            if reason is not None:
                (ROOT / "cpu_fallback" / "_native_reason.txt").write_text(f"{reason}\n", "utf-8")

    def _build(self, folder: Path) -> str | None:
        sys.path.insert(0, str(ROOT))
        try:
            from cpu_fallback.native_build import build

            return build(folder)
        except Exception as exc:  # such as a build without NumPy
            return f"{type(exc).__name__}: {exc}"


setup(
    ext_modules=[Extension("cpu_fallback._native", ["cpu_fallback/native.cpp"], optional=True)],
    cmdclass={"build_ext": BuildNative},
)
