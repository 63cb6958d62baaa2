# SPDX-License-Identifier: Apache-2.0
"""kernels.cu and the headers it includes as one text, compiled by NVRTC on first use; CuPy keeps the result on disk.

Beside it lies a receipt of ours, by which `compiled` knows that a run need not wait for a compiler.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from gpu_bt.cuda.device import driver_errors
from gpu_bt.cuda.reasons import line_of
from gpu_bt.errors import EngineUnavailable
from gpu_bt.law.layout import SIZES, render_c

__all__ = ["NVRTC_OPTIONS", "SHARED_DOUBLES", "Variant", "array_kernel", "compiled", "kernel", "source"]

#: No contraction to multiply-add: the law rounds every operation. The compiler may use all processors.
NVRTC_OPTIONS = ("--std=c++17", "--fmad=false", "--split-compile=0")
#: Doubles of shared memory before holdings and orders: BT_SHARED_DOUBLES of gpu_bt/law/team.h.
SHARED_DOUBLES = 2 * SIZES["BT_WARPS"] * SIZES["BT_SUMS"]
_IN_MEMORY = "CUPY_CACHE_IN_MEMORY"
_HERE = Path(__file__).parent
_LOG = logging.getLogger("gpu_bt")
_INCLUDE = re.compile(r'^#include "([a-z_]+\.h)"$', re.MULTILINE)


@functools.cache
def source(program: str = "kernels.cu") -> str:
    """A program: every header once, in place of its first #include; #line lets errors name file and line."""
    seen = {"crew.h"}  # of the host alone

    def text(name: str, folder: Path) -> str:
        body = render_c() if name == "layout.h" else (folder / name).read_text("utf-8")
        return f'#line 1 "{name}"\n{_INCLUDE.sub(lambda match: header(match, name, body), body)}'

    def header(match: re.Match[str], outer: str, body: str) -> str:
        name, line = match[1], body.count("\n", 0, match.start()) + 2
        if name in seen:
            return ""
        seen.add(name)
        return f'{text(name, _HERE.parent / "law")}\n#line {line} "{outer}"'

    return text(program, _HERE).replace("#pragma once\n", "\n")


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for, each a macro of kernels.cu; what is left out shortens compilation and code.

    full, shared: kernels.cu. plain: with plain.h, and of that: together scenarios to a block, of `threads` (0 = any),
    rounding `mode`, whole `table` or equity and cash alone, weight32 rows of float32, a `list` of each row's assets,
    holdings `near`, in the block's own memory; without `general`, plain bars alone. plan: what makes these ready.
    """

    full: bool = False
    shared: bool = False
    plain: bool = False
    together: int = 1
    threads: int = 0
    mode: int = 0
    table: bool = False
    weight32: bool = False
    list: bool = False
    near: bool = False
    plan: bool = False
    general: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """Of the compiler."""
        return tuple(f"-DBT_{name.upper()}={int(value)}" for name, value in vars(self).items())


@functools.cache
def kernel(cupy: Any, variant: Variant) -> Any:
    """The compiled variant for the current device. What takes seconds is told, once a machine, to the log "gpu_bt"."""
    options = (*NVRTC_OPTIONS, *variant.options)
    receipt = _receipt(cupy, variant)
    if not variant.plan and (receipt is None or not os.path.exists(receipt)):
        _LOG.warning("gpu_bt: compiling a variant of the CUDA kernel, some seconds, once a machine")
    made, kept = _made(cupy, source(), options, "bt_plan" if variant.plan else "bt_bars")
    if receipt is not None and kept:
        with contextlib.suppress(OSError):  # a folder that nobody may write to: it is compiled again
            receipt.parent.mkdir(parents=True, exist_ok=True)
            receipt.touch()
    return made


@functools.cache
def array_kernel(cupy: Any, members: str, name: str) -> Any:
    """One of arrays.cu for the current device; `members`: of the struct that its kernels are told."""
    return _made(cupy, source("arrays.cu").replace("BT_CALL", members, 1), NVRTC_OPTIONS, name)[0]


def _made(cupy: Any, text: str, options: tuple[str, ...], name: str) -> tuple[Any, bool]:
    """A kernel for the current device, and whether CuPy may keep it on the disk: not where that is full, or nobody may
    write there. Raises EngineUnavailable where NVRTC refuses the text."""
    try:
        return cupy.RawModule(code=text, options=options, backend="nvrtc").get_function(name), True
    except OSError:
        before = os.environ.get(_IN_MEMORY)
        if before == "1":
            raise
        os.environ[_IN_MEMORY] = "1"
        try:
            return _made(cupy, text, options, name)[0], False
        finally:
            os.environ.pop(_IN_MEMORY)
            os.environ.update({} if before is None else {_IN_MEMORY: before})
    except Exception as exc:
        if isinstance(exc, (MemoryError, *driver_errors())):
            raise
        said = [line for line in str(exc).splitlines() if "error" in line] or [line_of(exc)]
        version = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
        raise EngineUnavailable(
            f"engine 'cuda' cannot run: NVRTC {version} does not compile its kernel ({said[0].strip()}); install"
            " another CuPy (pip install -U 'gpu-bt[gpu]'), or use engine='cpu'"
        ) from exc


def compiled(cupy: Any) -> bool:
    """Whether some variant for the current device lies compiled in CuPy's cache on the disk."""
    receipt = _receipt(cupy, Variant())
    return receipt is not None and any(receipt.parent.glob(f"{receipt.name.rpartition('-')[0]}-*"))


def _receipt(cupy: Any, variant: Variant) -> Path | None:
    """An empty file beside what CuPy keeps, which says that it keeps this variant, of this text, by this compiler, for
    devices like the current one; CuPy does not tell the names of its own. None where it keeps nothing."""
    if os.environ.get(_IN_MEMORY, "0") not in ("", "0"):
        return None
    folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    runtime = cupy.cuda.runtime
    found = runtime.getDeviceProperties(runtime.getDevice())
    known = (source(), NVRTC_OPTIONS, cupy.__version__, cupy.cuda.nvrtc.getVersion(), found["major"], found["minor"])
    digests = (hashlib.sha256(repr(x).encode()).hexdigest() for x in (known, variant))
    return Path(folder) / "gpu-bt-{:.32}-{:.8}".format(*digests)
