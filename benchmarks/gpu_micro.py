# SPDX-License-Identifier: Apache-2.0
"""What a launch, a sum over a block and a copy cost on this device: kernels of their own, of the engine's headers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.gpu_steps import Context

__all__ = ["Meter", "measure"]

_KERNELS = """
extern "C" __global__ void bt_nothing(const bt_launch *call) { (void)call; }
template <int M> BT_FN void bt_many_sums(const bt_launch *call) {
    double *out = (double *)call->rows, total = 0;
    int turn = 0;
    for (int64_t t = call->t0; t < call->t1; ++t) {
        double x[M];
        for (int m = 0; m < M; ++m) x[m] = (double)threadIdx.x + (total < 0.0 ? 1.0 : 0.0);
        if constexpr (M == 2) bt_sum(turn, x[0], x[1]);
        else bt_sum(turn, x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
        for (int m = 0; m < M; ++m) total += x[m];
    }
    if (bt_first()) out[blockIdx.x] = total;
}
extern "C" __global__ void bt_sums_2(const bt_launch *call) { bt_many_sums<2>(call); }
extern "C" __global__ void bt_sums_8(const bt_launch *call) { bt_many_sums<8>(call); }
"""


class Meter:
    """Seconds between `start` and `stop`: CUDA events, or the clock where the device is emulated."""

    def __init__(self, emulate: bool) -> None:
        self.emulate, self.compiling = emulate, 0.0
        self.pairs: list[tuple[Any, Any]] = []

    def moment(self) -> Any:
        """A point in time on the device's queue."""
        if self.emulate:
            return time.perf_counter()
        from gpu_bt.cuda.device import cupy, stream

        event = cupy().cuda.Event()
        event.record(stream())
        return event

    def around(self, work: Callable[[], Any]) -> Any:
        """Do it between two moments."""
        start = self.moment()
        found = work()
        self.pairs.append((start, self.moment()))
        return found

    def take(self) -> float:
        """Seconds of all that was done since the last call."""
        pairs, self.pairs = self.pairs, []
        if self.emulate:
            return sum(b - a for a, b in pairs)
        from gpu_bt.cuda.device import cupy

        for _, stop in pairs:
            stop.synchronize()
        return sum(cupy().cuda.get_elapsed_time(a, b) for a, b in pairs) / 1e3


def measure(context: Context) -> None:
    """Rows: launch, launch and wait, sums over a block, copies."""
    from gpu_bt.cuda.device import DeviceArray, cupy, probe, stream
    from gpu_bt.cuda.module import NVRTC_OPTIONS, SHARED_DOUBLES, Variant, source
    from gpu_bt.law.layout import LAUNCH

    text = source()
    text = text[: text.index("#if BT_PLAN")] + _KERNELS
    options = (*NVRTC_OPTIONS, *Variant().options)
    module = cupy().RawModule(code=text, options=options, backend="nvrtc")
    device = probe()
    blocks, rounds = device.processors, 3 if context.emulate else 20_000

    out = DeviceArray(blocks, np.float64, byte=0)
    launch = np.zeros(1, LAUNCH)
    launch["t1"], launch["rows"] = rounds, out.address
    at = DeviceArray(1, LAUNCH, launch)
    argument = (np.uint64(at.address),)
    _launches(context, module.get_function("bt_nothing"), argument, at, launch)
    for sums in (2, 8):
        kernel = module.get_function(f"bt_sums_{sums}")
        for threads in (64,) if context.emulate else (128, 256, 512):
            meter = Meter(context.emulate)

            def work(kernel: Any = kernel, threads: int = threads) -> None:
                kernel((blocks,), (threads,), argument, shared_mem=8 * SHARED_DOUBLES, stream=stream())

            seconds = _median(meter, work)
            right = bool((out.read() == sums * rounds * (threads * (threads - 1) // 2)).all())
            context.emit(
                "micro", name="sums over a block", numbers=sums, threads=threads, blocks=blocks, right=right,
                microseconds=seconds / rounds * 1e6,
            )  # fmt: skip
    _copies(context)


def _median(meter: Meter, work: Callable[[], Any], repeats: int = 3) -> float:
    work()
    found = []
    for _ in range(repeats):
        meter.around(work)
        found.append(meter.take())
    return statistics.median(found)


def _launches(context: Context, kernel: Any, argument: tuple, at: Any, launch: np.ndarray) -> None:
    from gpu_bt.cuda.device import stream

    count, meter = 3 if context.emulate else 2000, Meter(context.emulate)

    def queued() -> None:
        for _ in range(count):
            kernel((1,), (64,), argument, stream=stream())

    def waited() -> None:
        for _ in range(count):
            at.write(launch)
            kernel((1,), (64,), argument, stream=stream())
            stream().synchronize()

    for name, work in (("launch, queued", queued), ("launch, as the engine makes it, waited for", waited)):
        context.emit("micro", name=name, microseconds=_median(meter, work) / count * 1e6)


def _copies(context: Context) -> None:
    """A gibibyte from memory to memory of the device (read and written: both count), and from pageable host memory."""
    from gpu_bt.cuda.device import DeviceArray, stream

    size, meter = 1 << (16 if context.emulate else 30), Meter(context.emulate)
    one, host = DeviceArray(size, np.uint8, byte=1), np.ones(size, np.uint8)
    if not context.emulate:
        two = DeviceArray(size, np.uint8, byte=2)
        seconds = _median(meter, lambda: two.memory.copy_from_device_async(one.memory, size, stream()))
        context.emit("micro", name="copy within the device", bytes_per_second=2 * size / seconds)
    seconds = _median(meter, lambda: one.write(host))
    context.emit("micro", name="copy to the device", bytes_per_second=size / seconds)
