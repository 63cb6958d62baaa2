# SPDX-License-Identifier: Apache-2.0
"""The CUDA sources compiled for real, by the oldest NVRTC that is supported and by the newest, as CuPy asks for it, for
several architectures: it compiles, nothing is contracted, no subnormal number is flushed to 0, nothing spills."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from emulator.toolchain import (
    COMPILERS,
    CUPY_ADDS,
    NEWEST,
    OLDEST,
    Resources,
    compile_cuda,
    contracted,
    flushing,
    machine_code,
    nvdisasm,
    resources,
    why_not,
)
from extent import exhaustive

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "emulator" / "samples"
ARCHES = (80, 90, 100)
OPTIONS = ("--std=c++17", "--fmad=false")
HAS_ENGINE = (ROOT / "gpu_bt" / "cuda" / "module.py").exists()
#: (compiler, architecture, BT_FULL, BT_SHARED): each variant by the oldest and the newest NVRTC, since a machine may
#: have either; and, where all is run, each compiler and architecture at least once.
PRODUCT = [(compiler, 90, full, shared) for compiler in (OLDEST, NEWEST) for full in (0, 1) for shared in (0, 1)]
OTHERS = [(NEWEST, 80, 0, 1), ("nvcc", 90, 1, 1), ("nvcc", 100, 0, 1)]
PRODUCT += [pytest.param(*case, marks=exhaustive) for case in OTHERS]
#: Bytes of stack of a thread: 2,048 threads on each multiprocessor of a large device make 330 MB of it, taken at the
#: first launch. nvcc, which CuPy does not use, makes a little more.
STACK, STACK_OF_NVCC = 1200, 1300

#: (compiler, what Variant says of plain bars): each kernel that a run may begin with, and one that goes on after.
PLAIN = [
    (OLDEST, {}), (NEWEST, {}), (OLDEST, {"together": 2}), (NEWEST, {"together": 2}), (NEWEST, {"general": True}),
    (OLDEST, {"table": True}), (NEWEST, {"list": True}), (OLDEST, {"list": True, "weight32": True, "mode": -1}),
]  # fmt: skip
PLAIN += [
    pytest.param(compiler, kind, marks=exhaustive)
    for compiler in (OLDEST, NEWEST)
    for kind in ({"together": 4}, {"table": True, "together": 2}, {"near": False, "threads": 0}, {"mode": 1})
]  # fmt: skip
#: Instructions of the loop of plain bars for each asset that a thread trades, by the scenarios of a block: where every
#: asset has its prices, and where some may lack one.
LEAST_WORK = {1: (62, 73), 2: (103, 118)}
#: What the whole table of a run adds to that, and a list of assets.
TABLE, LIST = (6, 13), (5, 6)

#: The loops over assets: nothing spills inside them on the devices that are the target.
LOOPS = ("bt_flows", "bt_match", "bt_cut_buys", "bt_last_class", "bt_buy_back", "bt_book", "bt_value", "bt_keep_old",
         "bt_fetch", "bt_prices", "bt_inverse", "bt_orders", "bt_orders_each", "bt_sell_all", "bt_set_columns",
         "bt_spread", "bt_cap_gross", "bt_cap_turnover", "bt_limit")  # fmt: skip


def module():
    if not HAS_ENGINE:
        pytest.skip("there is no engine 'cuda' in this version")
    return importlib.import_module("gpu_bt.cuda.module")


def compiled(compiler: str, text: str, arch: int, options: tuple[str, ...] = OPTIONS):
    reason = why_not(compiler, arch)
    if reason:
        pytest.skip(reason)
    return compile_cuda(compiler, text, arch, options)


@exhaustive
@pytest.mark.parametrize("arch", [100, 120])
def test_newer_devices(arch):
    """Whose spills differ from version to version of the compiler: they are no target yet."""
    keeps_the_law_and_fits(product(OLDEST, arch, 0, 1))


def keeps_the_law_and_fits(out, stack=STACK):
    assert contracted(out.ptx) == [] and flushing(out.ptx) == []
    assert 0 < out.resources["bt_bars"].registers <= 128  # 512 threads a block
    assert 0 < out.resources["bt_bars"].stack <= stack


def product(compiler: str, arch: int, full: int, shared: int):
    """A variant of the kernel with the options that CuPy compiles it with."""
    options = (*module().NVRTC_OPTIONS, f"-DBT_FULL={full}", f"-DBT_SHARED={shared}", *CUPY_ADDS)
    return compiled(compiler, module().source(), arch, options)


class Work(NamedTuple):
    """Of a loop, for each asset: instructions, of all its scenarios. And those that touch local memory."""

    instructions: float
    local: int


def trading(sass: str, together: int) -> list[Work]:
    """The loops of bt_bars over the assets that trade, the shortest first: the innermost ones that multiply and store
    holdings in shared memory, one for each asset and scenario."""
    lines, labels, function = [], {}, ""
    for line in sass.splitlines():
        if label := re.match(r"(\.text\.\S+|\$\S+|\.L_x_\d+):", line.strip()):
            function = function if label[1].startswith(".L") else label[1]
            labels[label[1]] = len(lines)
        elif (words := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;", line)) and function == ".text.bt_bars":
            lines.append(re.sub(r"^@!?U?P\w+\s+", "", words[1]))
    jumps = [(labels.get(m[1], len(lines)), i) for i, x in enumerate(lines) if (m := re.match(r"BRA.*`\((\S+)\)", x))]
    loops = [(start, end) for start, end in jumps if start <= end]
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    found = []
    for start, end in inner:
        kinds = [line.split(None, 1)[0].split(".")[0] for line in lines[start : end + 1]]
        if kinds.count("STS") and kinds.count("DMUL"):
            assets = kinds.count("STS") / together
            found.append(Work(len(kinds) / assets, kinds.count("LDL") + kinds.count("STL")))
    return sorted(found)


def local_in_loops(sass: str) -> dict[str, int]:
    """Function -> instructions between the ends of a jump back that touch local memory, where there are some."""
    labels: dict[str, int] = {}
    found: dict[str, int] = {}
    local: list[int] = []
    function = ""
    for number, line in enumerate(sass.splitlines()):
        if label := re.match(r"(\.text\.\S+|\$\S+|\.L_x_\d+):", line.strip()):
            labels[label[1]] = number
            if not label[1].startswith(".L"):
                function, local = label[1], []
        elif re.search(r"\b(LDL|STL)\b", line):
            local.append(number)
        elif (jump := re.search(r"\bBRA\b.*`\((\S+)\)", line)) and (start := labels.get(jump[1])) is not None:
            if count := sum(start < at for at in local):
                found[function] = max(found.get(function, 0), count)
    return found


def sample(name: str) -> str:
    return (SAMPLES / name).read_text("utf-8")


@pytest.mark.parametrize(("compiler", "arch", "full", "shared"), PRODUCT)
def test_the_product(compiler, arch, full, shared):
    out = product(compiler, arch, full, shared)
    keeps_the_law_and_fits(out, STACK_OF_NVCC if compiler == "nvcc" else STACK)
    loops = {name: r for name, r in out.resources.items() if any(f"{len(loop)}{loop}" in name for loop in LOOPS)}
    assert len(loops) >= len(LOOPS) - (not full) * 3
    most = 0 if arch == 90 and compiler != "nvcc" else 8  # one number, by compilers and for devices that are no target
    # what is stored and never loaded may be a result, put on the stack of whoever calls: the machine code tells
    spills = {name: r for name, r in loops.items() if r.spill_loads > most or r.spill_stores > (most or 8)}
    assert spills == {}
    if most == 0 and any(r.spill_stores for r in loops.values()) and nvdisasm() is not None:
        inside = local_in_loops(machine_code(out.cubin))
        assert [name for name in inside if any(f"{len(loop)}{loop}" in name for loop in LOOPS)] == []
    # what calls them keeps its own numbers on the stack across a call, once a bar
    assert all(r.spill_stores <= 256 and r.spill_loads <= 512 for r in out.resources.values())


def plain(compiler: str, **kind: Any):
    """A variant of plain bars: of one scenario in its block's own memory, 512 threads, where nothing else is said."""
    variant = module().Variant(**{"plain": True, "general": False, "near": True, "threads": 512} | kind)
    return compiled(compiler, module().source(), 90, (*module().NVRTC_OPTIONS, *variant.options, *CUPY_ADDS))


def kind_of(kind: Any) -> str:
    return ",".join(f"{name}={value}" for name, value in kind.items()) or "one" if isinstance(kind, dict) else str(kind)


@pytest.mark.parametrize(("compiler", "kind"), PLAIN, ids=kind_of)
def test_plain_bars(compiler, kind):
    """The loop over assets touches no local memory, and takes no more instructions an asset than it has to."""
    out = plain(compiler, **kind)
    keeps_the_law_and_fits(out, 2 * STACK)
    assert flushing(out.ptx) == []
    if nvdisasm() is None:
        pytest.skip("there is no nvdisasm (make puts it into the environment)")
    assert flushed(out.cubin) == []
    together, near = kind.get("together", 1), kind.get("near", True)
    if (together, kind.get("table", False)) not in ((1, False), (2, False), (1, True)) or not near:
        return
    found = trading(machine_code(out.cubin), together)[:2]
    assert len(found) == 2, found
    bounds = zip(LEAST_WORK[together], TABLE, LIST, strict=True)
    for work, (most, table, by_list) in zip(found, bounds, strict=True):
        most += kind.get("table", False) * table + kind.get("list", False) * by_list
        assert work.local == 0 and work.instructions <= most, f"{work} of {found}; at most {most} instructions an asset"


def test_the_reader_of_local_memory():
    lines = [".text.a:", "STL [R1], R2 ;", ".L_x_1:", "LD.E R2, [R4] ;", "@P1 BRA `(.L_x_1) ;", "STL [R1], R2 ;"]
    assert local_in_loops("\n".join(lines)) == {}
    lines += ["$a$b:", ".L_x_2:", "LDL.64 R7, [R1] ;", "STL [R1], R7 ;", "@!P0 BRA `(.L_x_2) ;"]
    assert local_in_loops("\n".join(lines)) == {"$a$b": 2}


def test_the_reader_of_loops():
    text = "\n".join(
        [".text.bt_bars:", ".L_x_1:"] + [f"  /*{i:04x}*/ {what} ;" for i, what in enumerate(
            ["LD.E.64 R2, [R4]", "DMUL R2, R2, R6", "LDL R7, [R1]", "STS.64 [R8], R2", "@!P0 STS.64 [R8], R2"])]
        + ["  /*0050*/ @P0 BRA `(.L_x_1) ;", "  /*0060*/ DMUL R2, R2, R6 ;", ".L_x_2:", "  /*0070*/ STS [R8], R2 ;",
           "  /*0080*/ @P0 BRA `(.L_x_2) ;", ".text.other:", ".L_x_3:", "  /*0000*/ DMUL R2, R2, R6 ;",
           "  /*0010*/ STS [R8], R2 ;", "  /*0020*/ @P0 BRA `(.L_x_3) ;"]
    )  # fmt: skip
    assert trading(text, 1) == [Work(3.0, 1)]
    assert trading(text, 2) == [Work(6.0, 1)]


@pytest.mark.parametrize("compiler", [pytest.param(OLDEST, marks=exhaustive), NEWEST])
@pytest.mark.parametrize("full", [0, pytest.param(1, marks=exhaustive)])
def test_subnormal_prices_and_weights_stay_what_they_are(compiler, full):
    """In the machine code, where float32 becomes float64: under -ftz=true a plain conversion makes 0 of 1e-40."""
    out = product(compiler, 90, full, 1)
    if nvdisasm() is None:
        pytest.skip("there is no nvdisasm (make puts it into the environment)")
    assert flushed(out.cubin) == [] and "F2F.F64.F32" in machine_code(out.cubin)
    plain = module().source().replace('asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(x));', "wide = x;")
    assert plain != module().source()
    wrong = compiled(compiler, plain, 90, (*OPTIONS, f"-DBT_FULL={full}", "-DBT_SHARED=1", *CUPY_ADDS))
    assert set(flushing(wrong.ptx)) == {"cvt.ftz.f64.f32"} and "FMUL.FTZ" in flushed(wrong.cubin)


def flushed(cubin: Path) -> list[str]:
    """Arithmetic of float32 in machine code that takes subnormal numbers for 0; integers are divided with such."""
    return re.findall(r"\bF(?:MUL|ADD|FMA|MNMX|SETP|SEL)[\w.]*\.FTZ", machine_code(cubin))


@pytest.mark.parametrize("compiler", [OLDEST, NEWEST])
def test_the_kernels_of_panels(compiler):
    """Nothing on the stack, and no subnormal price or weight is taken for 0."""
    arrays = importlib.import_module("gpu_bt.cuda.arrays")
    text = module().source("arrays.cu").replace("BT_CALL", arrays.TEXT, 1)
    out = compiled(compiler, text, 90, (*module().NVRTC_OPTIONS, *CUPY_ADDS))
    assert len(out.resources) == 9 and {r.stack for r in out.resources.values()} == {0}
    assert "cvt.f64.f32" in out.ptx and "cvt.ftz.f64.f32" not in out.ptx
    assert not re.findall(r"(?:mul|add|fma|sub)[.\w]*\.ftz\.f32", out.ptx)


@pytest.mark.parametrize("compiler", [OLDEST, NEWEST])
def test_the_structs_are_those_of_python(compiler):
    """Offsets are asserted where the compiler takes that; sizes everywhere."""
    text = module().source()
    wrong = re.sub(r"== (\d+), \"bt_params\"", lambda m: f'== {int(m[1]) + 8}, "bt_params"', text)
    assert wrong != text
    with pytest.raises(RuntimeError, match="bt_params"):
        compiled(compiler, wrong, 90, (*OPTIONS, "-DBT_FULL=0", "-DBT_SHARED=1"))


def test_the_products_options_forbid_contraction():
    options = module().NVRTC_OPTIONS
    assert "--fmad=false" in options and not any("fast" in option for option in options)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_samples(compiler, arch):
    out = compiled(compiler, sample("reduce.cu"), arch)
    assert contracted(out.ptx) == []
    assert set(out.resources) == {"block_sum", "warp_scan", "compact", "with_atomics", "spin"}
    assert all(0 < r.registers <= 64 and r.spill_stores == r.spill_loads == 0 for r in out.resources.values())


@pytest.mark.parametrize("compiler", COMPILERS)
def test_contraction_is_seen(compiler):
    assert contracted(compiled(compiler, sample("faults.cu"), 90).ptx) == []
    assert contracted(compiled(compiler, sample("faults.cu"), 90, ("--std=c++17", "--fmad=true")).ptx) != []


@pytest.mark.parametrize("compiler", COMPILERS)
def test_spills_are_seen(compiler):
    out = compiled(compiler, sample("spills.cu"), 90).resources["many_values"]
    assert out.spill_stores > 0 and out.spill_loads > 0 and out.registers <= 64


@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_error_of_the_source_is_raised(compiler):
    with pytest.raises(RuntimeError, match="undeclared"):
        compiled(compiler, 'extern "C" __global__ void k() { undeclared(); }', 90)


def test_the_reader_of_ptx():
    ptx = """
        add.rn.f64 %fd1, %fd2, %fd3;
        mul.rn.f64 %fd1, %fd2, %fd3;
        div.rn.f64 %fd1, %fd2, %fd3;
        sqrt.rn.f64 %fd1, %fd2;
        atom.global.add.f64 %fd1, [%rd1], %fd2;
        red.global.add.f64 [%rd1], %fd2;
        mad.lo.s32 %r1, %r2, %r3, %r4;
        mul.wide.s32 %rd1, %r1, 8;
        min.f64 %fd1, %fd2, %fd3;
        neg.f64 %fd1, %fd2;
    """
    assert contracted(ptx) == []
    for loose in ("fma.rn.f64", "add.f64", "mul.f64", "sub.f64", "mad.rn.f64", "fma.rn.f32", "mul.ftz.f32"):
        assert contracted(f"{ptx}\n\t{loose} %fd1, %fd2, %fd3;\n") == [loose]
        assert contracted(f"{ptx}\n\t@%p1 {loose} %fd1, %fd2, %fd3;\n") == [loose]


def test_the_reader_of_flushing():
    assert (
        flushing("ld.global.f32 %f1, [%rd1];\n\tcvt.f64.f32 %fd1, %f1;\n\tmov.f32 %f2, %f1;\n\tadd.rn.f64 %a, %b, %c;")
        == []
    )
    for wrong in ("cvt.ftz.f64.f32", "add.ftz.f32", "mul.rn.f32", "max.f32", "setp.lt.ftz.f32"):
        assert flushing(f"\t{wrong} %fd1, %f1;\n") == [wrong]


def test_the_reader_of_resources():
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 1 barriers
ptxas info    : Function properties for _Z6calledPd
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Function properties for b
ptxas         .     88 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 88 bytes cumulative stack size
"""
    assert resources(log) == {
        "a": Resources(16, 0, 0, 0),
        "_Z6calledPd": Resources(0, 8, 4, 4),
        "b": Resources(255, 88, 24, 32),
    }
    assert resources("") == {}
