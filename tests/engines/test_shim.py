# SPDX-License-Identifier: Apache-2.0
"""The shim that runs CUDA sources on the CPU: right kernels give the right bits, and every planted fault is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulator.barriers import barriers, without_barrier
from emulator.build import EmulatorError, build, header_folder, launch, why_not
from extent import chosen, exhaustive

#: Nothing here knows the product.
pytestmark = pytest.mark.proof("tests/emulator", "tests/extent.py")
SAMPLES = Path(__file__).parents[1] / "emulator" / "samples"
GOOD, FAULTS = SAMPLES / "reduce.cu", SAMPLES / "faults.cu"
ARG = np.dtype([(n, np.uint64) for n in ("x", "out", "kept", "counts")] + [("n", np.int32), ("rounds", np.int32)])
ORDERS = ("forward", "reversed", "random")
SIZES = (1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000)


class Run:
    """The arrays of one launch of a sample; x holds whole numbers, so that their sums are exact."""

    def __init__(self, lib, kernel, grid=1, block=64, shared=512, n=64, rounds=1, **how):
        rng = np.random.default_rng(n)
        self.x = rng.integers(-1000, 1000, n).astype(np.float64)
        self.out, self.kept, self.counts = np.zeros(n), rng.integers(-99, 99, n, np.int32), np.zeros(3, np.int32)
        self.index = self.kept.copy()
        arrays = [self.x, self.out, self.kept, self.counts]
        arg = np.array([(*(a.ctypes.data for a in arrays), n, rounds)], ARG)
        launch(lib, kernel, grid, block, shared, arg, arrays=arrays, **how)


@pytest.fixture(autouse=True, scope="module")
def _a_compiler():
    if why_not():
        pytest.skip(why_not())


def sanitized(source, sanitizer, **more):
    if why_not(sanitizer):
        pytest.skip(why_not(sanitizer))
    return build(source, sanitizer=sanitizer, **more)


def check_samples(lib, block, n, **how):
    """Each good sample against NumPy, bit for bit."""
    shared = block // 32 * 8
    grid = -(-n // block)
    run = Run(lib, "block_sum", 1, block, shared, n, 2, **how)
    assert run.out[0] == run.x.sum()
    run = Run(lib, "warp_scan", grid, block, 0, n, **how)
    assert all(np.array_equal(run.out[i : i + 32], np.cumsum(run.x[i : i + 32])) for i in range(0, n, 32))
    run = Run(lib, "compact", 1, block, shared // 2, n, **how)
    wanted = np.flatnonzero(run.x > 0)
    assert run.counts[0] == len(wanted)
    assert np.array_equal(run.kept, [*wanted, *run.index[len(wanted) :]])
    run = Run(lib, "with_atomics", grid, block, 0, n, **how)
    assert run.counts.tolist() == [(run.x > 0).sum(), max(0, run.index.max()), min(0, run.index.min())]
    assert run.out[0] == run.x.sum()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [32, 64, 96, 256, 1024])
def test_samples_as_fibers(block, order):
    for n in SIZES:
        check_samples(build(GOOD), block, n, order=order, seed=n)


def test_samples_as_threads():
    check_samples(build(GOOD), 96, 257, mode="threads")


def test_samples_with_the_portable_switch():
    check_samples(build(GOOD, flags=["-DBT_SHIM_UCONTEXT"]), 64, 257)


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
@pytest.mark.parametrize("mode", ["fibers", pytest.param("threads", marks=exhaustive)])
def test_samples_under_sanitizers(sanitizer, mode):
    check_samples(sanitized(GOOD, sanitizer), 64, 257, mode=mode)


def test_a_process_of_its_own_gives_the_same():
    check_samples(build(GOOD, isolated=True), 64, 257, order="random")


@pytest.mark.parametrize("dtype", [np.uint64, np.uint8])
def test_a_process_of_its_own_follows_pointers(dtype):
    source = """
        struct row { double *at; long long n; };
        struct table { const row *rows; };
        extern "C" __global__ void count(const table *arg) {
            const row r = arg->rows[blockIdx.x];
            if (threadIdx.x < r.n) r.at[threadIdx.x] += threadIdx.x;
        }"""
    x, y = np.ones(5), np.ones(9)
    table = np.array([x.ctypes.data, 5, y[2:].ctypes.data, 7], np.uint64).view(dtype)
    before = table.tobytes()
    arg = np.array([table.ctypes.data], np.uint64)
    launch(build(source, isolated=True), "count", 2, 32, 0, arg, arrays=[table, x, y])
    assert x.tolist() == [1, 2, 3, 4, 5] and y.tolist() == [1, 1, 1, 2, 3, 4, 5, 6, 7]
    assert table.tobytes() == before


def test_dimensions_and_the_order_of_blocks():
    source = """
        struct where { int *at; };
        extern "C" __global__ void name(const where *arg) {
            int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
            int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
            arg->at[1 + block * (blockDim.x * blockDim.y * blockDim.z) + thread] = atomicAdd(arg->at, 1);
        }"""
    turns = {}
    for order in ORDERS:
        at = np.zeros(1 + 24 * 30, np.int32)
        launch(build(source), "name", (2, 3, 4), (5, 3, 2), 0, np.array([at.ctypes.data], np.uint64), order=order)
        assert sorted(at[1:]) == list(range(24 * 30))
        turns[order] = at[1:].tolist()
    assert turns["forward"] == sorted(turns["forward"]) and turns["reversed"] == sorted(turns["reversed"])[::-1]
    assert turns["random"] not in (turns["forward"], turns["reversed"])


def test_every_kind_of_shuffle():
    source = """
        struct words { double *d; int *i; };
        extern "C" __global__ void all(const words *arg) {
            int t = threadIdx.x;
            arg->d[t] = __shfl_sync(0xffffffffu, 0.5 * t, t + 1);
            arg->i[t] = __shfl_down_sync(0xffffffffu, t, 3);
            arg->i[t + 32] = __shfl_up_sync(0xffffffffu, t, 3);
            arg->i[t + 64] = __shfl_xor_sync(0xffffffffu, (long long)t, 5);
            arg->i[t + 96] = __shfl_down_sync(0xffffffffu, unsigned(t), 3, 8);
            arg->i[t + 128] = __shfl_sync(0xffffffffu, t, 9, 8);
            arg->i[t + 160] = t < 8 ? __shfl_xor_sync(0xffu, t, 1) : __shfl_xor_sync(0xffffff00u, t, 2);
            arg->i[t + 192] = __any_sync(0xffffffffu, t == 9) + 2 * __any_sync(0xffffffffu, t == 99)
                            + 4 * __all_sync(0xffffffffu, t < 32) + 8 * __all_sync(0xffffffffu, t < 31);
            arg->i[t + 224] = __popc(t) + __popcll(t) + __ffs(t) + __ffsll(t) + __clz(t);
        }"""
    d, i, t = np.zeros(32), np.zeros(256, np.int32), np.arange(32)
    for order in ORDERS:
        arg = np.array([d.ctypes.data, i.ctypes.data], np.uint64)
        launch(build(source), "all", 1, 32, 0, arg, order=order)
        assert np.array_equal(d, 0.5 * ((t + 1) % 32))
        bits = [2 * n.bit_count() + 2 * ((n & -n).bit_length()) + 32 - n.bit_length() for n in range(32)]
        wanted = [
            np.where(t < 29, t + 3, t), np.where(t > 2, t - 3, t), t ^ 5, np.where(t % 8 < 5, t + 3, t),
            t // 8 * 8 + 1, np.where(t < 8, t ^ 1, t ^ 2), np.full(32, 5), bits,
        ]  # fmt: skip
        assert np.array_equal(i.reshape(8, 32), wanted)


def test_barriers_that_vote():
    source = """
        struct p { int *a; };
        extern "C" __global__ void vote(const p *q) {
            for (int i = 0; i < 65; i++) {
                int t = threadIdx.x, count = __syncthreads_count(t < i), either = __syncthreads_or(t == i);
                q->a[i * 64 + t] = count + 100 * either + 1000 * __syncthreads_and(t < i);
            }
        }"""
    a, i = np.zeros((65, 64), np.int32), np.arange(65)
    for order in ORDERS:
        launch(build(source), "vote", 1, 64, 0, np.array([a.ctypes.data], np.uint64), order=order)
        assert (a.T == i + 100 * (i < 64) + 1000 * (i == 64)).all()


def test_a_header_and_a_definition():
    folder = header_folder({"answer.h": "#define ANSWER (6 * FACTOR)\n"})
    text = '#include "answer.h"\nstruct p { int *a; };\nextern "C" __global__ void put(const p *q) { *q->a = ANSWER; }'
    out = np.zeros(1, np.int32)
    for factor in (7, 8):
        lib = build(text, includes=[folder], defines={"FACTOR": factor})
        launch(lib, "put", 1, 1, 0, np.array([out.ctypes.data], np.uint64))
        assert out[0] == 6 * factor


# --- faults ---


@pytest.mark.parametrize("mode", ["fibers", "threads"])
@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("barrier_for_some", r"no thread can go on: 48 have returned; 16 wait at __syncthreads\(\) \(faults.cu:\d+;"),
        ("barrier_after_a_return", r"1 have returned; 63 wait at __syncthreads"),
        ("two_barriers", r"wait at different __syncthreads\(\): faults.cu:\d+ and faults.cu:\d+"),
        ("barrier_and_shuffle", r"wait at different __syncthreads"),
        ("shuffle_without_some_lanes", r"40 wait at __shfl_sync, mask ffffffff"),
        ("shuffle_by_another_lane", r"mask 0000ffff of __shfl_sync leaves out the lane that calls it"),
        ("shuffle_from_outside", r"reads lane 9, which takes no part"),
        ("masks_that_differ", r"8 wait at __shfl_sync, mask ffffffff|they must meet at one"),
        ("trapped", r"thread 33: __trap\(\)"),
        ("shared_written_beyond", r"byte 63 of 63 bytes of shared memory was written"),
    ],
)
def test_a_fault_is_reported(kernel, text, mode):
    for order in ORDERS if mode == "fibers" else ORDERS[:1]:
        with pytest.raises(EmulatorError, match=text):
            Run(build(FAULTS), kernel, shared=63, mode=mode, order=order)


def test_lanes_that_the_block_does_not_have():
    with pytest.raises(
        EmulatorError, match="mask ffffffff of __shfl_xor_sync names lanes that the block does not have"
    ):
        Run(build(GOOD), "block_sum", block=48)


@pytest.mark.parametrize("kernel", ["null_pointer", "endless_recursion"])
def test_a_crash_becomes_an_error_and_the_next_launch_runs(kernel):
    with pytest.raises(EmulatorError, match="signal 11"):
        Run(build(FAULTS), kernel)
    check_samples(build(GOOD), 64, 257)


def test_what_a_launch_refuses():
    lib = build(GOOD)
    for block, shared in ((0, 0), (1025, 0), (32, 227 * 1024 + 1)):
        with pytest.raises(EmulatorError, match="a launch has 1 to 1024 threads"):
            Run(lib, "block_sum", block=block, shared=shared)
    for other in (lib, build(GOOD, isolated=True)):
        with pytest.raises(EmulatorError, match="there is no kernel nowhere"):
            Run(other, "nowhere")


def test_what_a_source_may_not_have():
    for words in ("__shared__", "static __shared__"):
        with pytest.raises(EmulatorError, match="weak declaration"):
            build(f'extern "C" __global__ void f(int *p) {{ {words} int x[2]; x[0] = 1; *p = x[0]; }}')
    with pytest.raises(EmulatorError, match=r"text.cu:2:.*missing"):
        build('\nextern "C" __global__ void f(int *p) { *p = missing; }')


def test_shared_memory_starts_as_nan():
    assert np.isnan(Run(build(FAULTS), "shared_read_before_written").out).all()
    assert (Run(build(FAULTS), "shared_read_beyond", shared=0).out == -1).all()


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("shared_written_beyond", "use-after-poison"),
        ("shared_read_beyond", "use-after-poison"),
        ("global_written_beyond", "heap-buffer-overflow"),
        ("global_read_beyond", "heap-buffer-overflow"),
        ("misaligned", "misaligned address"),
        ("cast_that_does_not_fit", "outside the range of representable values"),
        ("null_pointer", "null pointer"),
        ("endless_recursion", "stack-overflow"),
        ("barrier_for_some", "no thread can go on"),
    ],
)
def test_address_sanitizer(kernel, text):
    lib = sanitized(FAULTS, "address")
    one_short = 63 if "global" in kernel else 65  # x of 65 values holds the 64 that start at byte 1
    with pytest.raises(EmulatorError, match=text):
        Run(lib, kernel, shared=63, n=one_short)


@pytest.mark.parametrize("kernel", ["global_written_beyond", "global_read_beyond", "shared_written_beyond"])
def test_address_sanitizer_allows_the_last_byte(kernel):
    Run(sanitized(FAULTS, "address"), kernel, shared=64, n=64)


@pytest.mark.parametrize("mode", ["fibers", "threads"])
@pytest.mark.parametrize(
    ("kernel", "blocks", "races"),
    [
        ("exchange_by_syncwarp", 2, False),
        ("exchange_by_shuffle", 1, True),  # a shuffle orders no memory
        ("overtaken_reader", 1, True),
        ("blocks_share_an_atomic", 2, False),
        ("blocks_share_a_word", 2, True),
    ],
)
def test_thread_sanitizer(kernel, blocks, races, mode):
    if mode == "threads" and blocks > 1 and races:
        return  # blocks of OS threads run one after another
    for order in ORDERS[:2]:
        if not races:
            Run(sanitized(FAULTS, "thread"), kernel, blocks, mode=mode, order=order)
            continue
        with pytest.raises(EmulatorError, match="ThreadSanitizer: data race"):
            Run(sanitized(FAULTS, "thread"), kernel, blocks, mode=mode, order=order)


def test_a_race_shows_in_the_bits_of_some_order():
    runs = [Run(build(FAULTS), "overtaken_reader", order=order) for order in ORDERS]
    wanted = 2 * np.roll(runs[0].x, -1) + 1
    assert not all(np.array_equal(run.out, wanted) for run in runs)


# --- deleting barriers ---


def missed(lib, kernel, **how) -> bool:
    """Whether a launch went as if nothing were missing: no error, and the right numbers."""
    try:
        run = Run(lib, kernel, 1, 96, 96 // 32 * 8, 257, **how)
    except EmulatorError:
        return False
    if kernel == "block_sum":
        return run.out[0] == run.x.sum()
    wanted = np.flatnonzero(run.x > 0)
    return run.counts[0] == len(wanted) and np.array_equal(run.kept[: len(wanted)], wanted)


@pytest.mark.parametrize(
    ("index", "kernel", "in_fibers"),
    chosen(
        [(0, "block_sum", True), (1, "block_sum", False), (2, "compact", True), (3, "compact", True)],
        2, GOOD.read_text("utf-8"),
    ),
)  # fmt: skip
def test_a_deleted_barrier_is_seen(index, kernel, in_fibers):
    source = without_barrier(GOOD.read_text("utf-8"), index)
    lib = sanitized(source, "thread")
    assert not missed(lib, kernel, rounds=2) and missed(sanitized(GOOD, "thread"), kernel, rounds=2)
    lib = build(source, isolated=True)
    assert all(missed(lib, kernel, order=order) for order in ORDERS) != in_fibers  # the same numbers every round


def test_the_list_of_barriers():
    text = """
        __device__ void bt_sync() { __syncthreads(); }  // bt_sync() as __syncthreads()
        #define LEAVE() __syncthreads()
        /* bt_sync();
           __syncthreads() */
        const char *s = "bt_sync()";
        void f() { bt_sync(); if (x) __syncthreads ( ); not_bt_sync(); bt_sync_all(); }
        void g() { bt_sync(); }
    """
    found = barriers(text)
    assert [(b.name, b.line) for b in found] == [("bt_sync", 7), ("__syncthreads", 7), ("bt_sync", 8)]
    assert "{ bt_sync(); if (x) ((void)0); not" in without_barrier(text, 1)
    assert [b.line for b in barriers(without_barrier(text, 0))] == [7, 8]
    assert [b.name for b in barriers("__syncwarp(mask); bt_sync();", ["__syncwarp"])] == ["__syncwarp"]


# --- floating point ---


def test_products_and_sums_round_on_their_own():
    """With contraction, where this processor has it, the bits differ: the flags are what keeps them the device's."""
    text = """
        struct p { double *a; };
        extern "C" __global__ void multiply_add(const p *q) {
            double *a = q->a + 3 * threadIdx.x;
            a[0] = a[0] * a[1] + a[2];
        }"""
    cpu = Path("/proc/cpuinfo")
    if " fma " not in (cpu.read_text() if cpu.exists() else ""):
        pytest.skip("this processor has no multiply-add")
    start = np.random.default_rng(1).standard_normal((64, 3))
    results = {}
    for flags in ((), ("-O2", "-mfma"), ("-O2", "-mfma", "-ffp-contract=fast")):
        a = start.copy()
        launch(build(text, flags=flags), "multiply_add", 1, 64, 0, np.array([a.ctypes.data], np.uint64))
        results[flags] = a[:, 0]
    wanted = start[:, 0] * start[:, 1] + start[:, 2]
    assert np.array_equal(results[()], wanted) and np.array_equal(results[("-O2", "-mfma")], wanted)
    assert not np.array_equal(results[("-O2", "-mfma", "-ffp-contract=fast")], wanted)


def test_min_and_max_are_the_devices():
    text = """
        struct p { double *a; };
        extern "C" __global__ void both(const p *q) {
            double *a = q->a + 4 * threadIdx.x;
            a[2] = min(a[0], a[1]);
            a[3] = max(a[0], a[1]);
        }"""
    values = [0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan]
    a = np.array([(x, y, 7, 7) for x in values for y in values])
    launch(build(text), "both", 1, len(a), 0, np.array([a.ctypes.data], np.uint64))
    for x, y, low, high in a:
        numbers = sorted((v for v in (x, y) if v == v), key=lambda v: (v, not np.signbit(v))) or [np.nan]
        assert np.array([low, high]).tobytes() == np.array([numbers[0], numbers[-1]]).tobytes()
