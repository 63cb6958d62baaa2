# SPDX-License-Identifier: Apache-2.0
"""Compiles .cu files for real, without a GPU: with nvcc or with NVRTC; and reads PTX and what ptxas reports."""

from __future__ import annotations

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

from emulator.build import cache

__all__ = ["COMPILERS", "Compiled", "Resources", "compile_cuda", "contracted", "resources", "why_not"]

COMPILERS = ("nvcc", "nvrtc")
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


def compile_cuda(compiler: str, text: str, arch: int, options: Sequence[str]) -> Compiled:
    """A .cu text for sm_<arch> by "nvcc" or "nvrtc", with NVRTC's options; raises RuntimeError with the log.

    Kept under a digest of all that: ptxas takes seconds for a long kernel.
    """
    key = repr((compiler, version(compiler), text, arch, list(options), Path(__file__).read_text("utf-8")))
    kept = cache() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.ptx"
    if not kept.exists():
        ptx, log = by_nvrtc(text, arch, options) if compiler == "nvrtc" else by_nvcc(text, arch, options)
        with tempfile.NamedTemporaryFile("w", dir=cache(), delete=False) as file:
            json.dump([ptx, log], file)
        os.replace(file.name, kept)
    ptx, log = json.loads(kept.read_text())
    return Compiled(ptx, resources(log))


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
    nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{nvrtc()._name} {major.value}.{minor.value}"


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def by_nvrtc(text: str, arch: int, options: Sequence[str]) -> tuple[str, str]:
    library, program = nvrtc(), ctypes.c_void_p()
    options = [f"-arch=sm_{arch}", "-Xptxas=-v", *options]
    words = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"text.cu", 0, None, None)
    failed = library.nvrtcCompileProgram(program, len(options), words)

    def output(what: str) -> str:
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode(errors="replace")

    log = output("ProgramLog")
    ptx = "" if failed else output("PTX")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(f"nvrtc: {log}")
    return ptx, log


@functools.cache
def nvrtc() -> ctypes.CDLL | None:
    """NVRTC of the PyPI package nvidia-cuda-nvrtc, or of a CUDA toolkit; it needs no driver."""
    roots = [Path(p) for p in sys.path if (Path(p) / "nvidia").is_dir()]
    found = [lib for root in roots for lib in root.glob("nvidia/*/lib/libnvrtc.so.*")]
    toolkits = [os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    found += [lib for root in toolkits if root for lib in Path(root).glob("lib64/libnvrtc.so*")]
    for name in [*(str(lib) for lib in found if ".alt" not in lib.name), "libnvrtc.so"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def why_not(compiler: str, arch: int) -> str | None:
    """Why this compiler cannot compile for sm_<arch> on this machine; None where it can."""
    if compiler == "nvcc":
        if not (shutil.which("nvcc") and shutil.which("ptxas")):
            return "there is no nvcc (CUDA toolkit)"
        known = [int(n) for n in re.findall(r"sm_(\d+)", command("nvcc", "--list-gpu-code"))]
    else:
        if nvrtc() is None:
            return "there is no NVRTC (pip install nvidia-cuda-nvrtc)"
        count = ctypes.c_int()
        nvrtc().nvrtcGetNumSupportedArchs(ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        nvrtc().nvrtcGetSupportedArchs(known)
    return None if arch in list(known) else f"this {compiler} does not know sm_{arch}"


def contracted(ptx: str) -> list[str]:
    """Instructions that round a product and a sum once, or that say no rounding, which lets ptxas make such a one.

    Division and square root have one, and what ptxas makes of them is correctly rounded; atomics cannot be contracted.
    """
    loose = r"^\s*(?:@!?%\w+\s+)?((?:fma|mad)\.[\w.]*f(?:32|64)|(?:mul|add|sub)\.(?!r[nzmp]\.)[\w.]*f(?:32|64))\b"
    return re.findall(loose, ptx, re.M)


def resources(log: str) -> dict[str, Resources]:
    """What `ptxas -v` reports, by kernel and by function that was not inlined."""
    found = {}
    sizes = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    for part in log.split("Function properties for ")[1:]:
        stack, stores, loads = map(int, re.search(sizes, part).groups())
        registers = re.search(r"Used (\d+) registers", part)
        found[part.split()[0]] = Resources(int(registers[1]) if registers else 0, stack, stores, loads)
    return found
