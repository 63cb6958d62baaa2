# SPDX-License-Identifier: Apache-2.0
"""Compiles .cu files for real, without a GPU: with nvcc or with NVRTC; reads PTX, machine code and what ptxas reports.

`make` puts the oldest NVRTC that is supported and the newest, with nvdisasm, into folders of the environment; without
them one that is installed or belongs to a CUDA toolkit serves as the newest.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from emulator.build import alone, cache

__all__ = ["COMPILERS", "CUPY_ADDS", "NEWEST", "OLDEST", "Compiled", "Resources", "compile_cuda", "contracted",
           "flushing", "machine_code", "nvdisasm", "nvrtc", "resources", "why_not"]  # fmt: skip

OLDEST, NEWEST = "nvrtc-oldest", "nvrtc-newest"
COMPILERS = ("nvcc", OLDEST, NEWEST)
#: Where make puts them.
TOOLS = Path(sys.prefix) / "cuda"
#: What CuPy 14 adds to the options of a RawModule (cupy/cuda/compiler.py).
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")
#: What nvcc understands of NVRTC's options.
SHARED_OPTIONS = ("--std", "-std", "--fmad", "-fmad", "-D", "--define-macro", "--maxrregcount", "-maxrregcount")


class Resources(NamedTuple):
    """What one thread takes in a kernel, or in a function that one calls (registers 0); stack and spills in bytes."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


class Compiled(NamedTuple):
    """A .cu file for one architecture."""

    ptx: str
    resources: dict[str, Resources]
    #: Machine code, of NVRTC alone.
    cubin: Path | None


def compile_cuda(compiler: str, text: str, arch: int, options: Sequence[str]) -> Compiled:
    """A .cu text for sm_<arch> by one of COMPILERS, with NVRTC's options; raises RuntimeError with the log.

    Kept under a digest of all that: ptxas takes seconds for a long kernel.
    """
    key = repr((compiler, version(compiler), text, arch, list(options), Path(__file__).read_text("utf-8")))
    kept = cache() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.ptx"
    with alone(kept):
        if kept.exists():
            for path in (kept, kept.with_suffix(".cubin")):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path)  # what is asked for is kept
        elif compiler == "nvcc":
            ptx, log = by_nvcc(text, arch, options)
            _keep(kept, json.dumps([ptx, log]).encode())
        else:
            ptx, log, cubin = by_nvrtc(nvrtc(compiler), text, arch, options)
            _keep(kept.with_suffix(".cubin"), cubin)
            _keep(kept, json.dumps([ptx, log]).encode())
    ptx, log = json.loads(kept.read_text())
    return Compiled(ptx, resources(log), None if compiler == "nvcc" else kept.with_suffix(".cubin"))


def _keep(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever else makes the same."""
    with tempfile.NamedTemporaryFile(dir=cache(), delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def by_nvcc(text: str, arch: int, options: Sequence[str]) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        source, ptx, cubin = (Path(folder) / name for name in ("text.cu", "text.ptx", "text.cubin"))
        source.write_text(text, "utf-8")
        known = [o for o in options if o.startswith(SHARED_OPTIONS)]
        command("nvcc", "-ptx", f"-arch=sm_{arch}", *known, str(source), "-o", str(ptx))
        log = command("ptxas", "-v", f"-arch=sm_{arch}", str(ptx), "-o", str(cubin))
        return ptx.read_text("utf-8"), log


@functools.cache
def version(compiler: str) -> str:
    if compiler == "nvcc":
        return command("nvcc", "--version")
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc(compiler).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{nvrtc(compiler)._name} {major.value}.{minor.value}"


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def by_nvrtc(library: ctypes.CDLL, text: str, arch: int, options: Sequence[str]) -> tuple[str, str, bytes]:
    program = ctypes.c_void_p()
    options = [f"-arch=sm_{arch}", "-Xptxas=-v", *options]
    words = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"text.cu", 0, None, None)
    failed = library.nvrtcCompileProgram(program, len(options), words)

    def output(what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw if what == "CUBIN" else buffer.value

    log = output("ProgramLog").decode(errors="replace")
    ptx, cubin = ("", b"") if failed else (output("PTX").decode(), output("CUBIN"))
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(f"nvrtc: {log}")
    return ptx, log, cubin


@functools.cache
def nvrtc(which: str = NEWEST) -> ctypes.CDLL | None:
    """NVRTC, which needs no driver; None where this machine has none of that kind."""
    found = [lib for lib in TOOLS.glob(f"{which}/nvidia/*/lib/libnvrtc.so.*") if ".alt" not in lib.name]
    if which == NEWEST:
        roots = [Path(p) for p in sys.path if (Path(p) / "nvidia").is_dir()]
        found += [lib for r in roots for lib in r.glob("nvidia/*/lib/libnvrtc.so.*") if ".alt" not in lib.name]
        toolkits = [os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
        found += [lib for root in toolkits if root for lib in Path(root).glob("lib64/libnvrtc.so*")]
        found += [Path("libnvrtc.so")]
    for path in found:
        try:
            for builtins in path.parent.glob("libnvrtc-builtins.so.*"):  # which it opens by name alone
                ctypes.CDLL(str(builtins))
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def nvdisasm() -> str | None:
    """NVIDIA's disassembler, where this machine has it."""
    ours = [str(path) for path in TOOLS.glob("tools/nvidia/*/bin/nvdisasm")]
    return next(iter(ours), shutil.which("nvdisasm"))


@functools.cache
def machine_code(cubin: Path) -> str:
    """The instructions of a cubin as text."""
    return command(str(nvdisasm()), "-c", str(cubin))


def why_not(compiler: str, arch: int) -> str | None:
    """Why this compiler cannot compile for sm_<arch> on this machine; None where it can."""
    if compiler == "nvcc":
        if not (shutil.which("nvcc") and shutil.which("ptxas")):
            return "there is no nvcc (CUDA toolkit)"
        known = [int(n) for n in re.findall(r"sm_(\d+)", command("nvcc", "--list-gpu-code"))]
    else:
        library = nvrtc(compiler)
        if library is None:
            return f"there is no {compiler} (make puts it into the environment)"
        count = ctypes.c_int()
        library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        library.nvrtcGetSupportedArchs(known)
    return None if arch in list(known) else f"this {compiler} does not know sm_{arch}"


def contracted(ptx: str) -> list[str]:
    """Instructions that round a product and a sum once, or that say no rounding, which lets ptxas make such a one.

    Division and square root have one, and what ptxas makes of them is correctly rounded; atomics cannot be contracted.
    """
    loose = r"^\s*(?:@!?%\w+\s+)?((?:fma|mad)\.[\w.]*f(?:32|64)|(?:mul|add|sub)\.(?!r[nzmp]\.)[\w.]*f(?:32|64))\b"
    return re.findall(loose, ptx, re.M)


def flushing(ptx: str) -> list[str]:
    """Instructions that take a subnormal float32 for 0, and other arithmetic of float32, of which the law has none."""
    return re.findall(r"\b(?:[a-z][\w.]*\.ftz\.[\w.]*|(?:add|sub|mul|div|fma|mad|sqrt|min|max)\.[\w.]*f32)\b", ptx)


def resources(log: str) -> dict[str, Resources]:
    """What `ptxas -v` reports, by kernel and by function that was not inlined."""
    found = {}
    sizes = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    for part in log.split("Function properties for ")[1:]:
        stack, stores, loads = map(int, re.search(sizes, part).groups())
        registers = re.search(r"Used (\d+) registers", part)
        found[part.split()[0]] = Resources(int(registers[1]) if registers else 0, stack, stores, loads)
    return found
