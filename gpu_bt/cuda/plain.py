# SPDX-License-Identifier: Apache-2.0
"""Which runs have plain bars (gpu_bt/law/plain.h), and what is made for them once a session: 1/P, what is known of each
bar, and lists of the assets of rows that name few.

Letters: T bars, N assets, G groups of scenarios that read the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_bt.config import CHOICES
from gpu_bt.cuda.device import DeviceArray, cupy, stream
from gpu_bt.cuda.module import SHARED_DOUBLES, Variant, kernel
from gpu_bt.engine import prepare
from gpu_bt.engine.lanes import has_books, read_by
from gpu_bt.engine.spec import RunSpec
from gpu_bt.law.layout import FLAGS, LAUNCH, ROWS, beyond_lean

if TYPE_CHECKING:
    from gpu_bt.cuda.lanes import Lanes

__all__ = ["SPARSE", "needs_full", "plain_of", "plan", "plan_bytes"]

#: Rows of weights become lists where these have no more than this share of the assets.
SPARSE = 0.5
#: Threads of a block that prepares bars.
_THREADS = 256
#: BT_EXACT of gpu_bt/law/step.h, the mode of fractional shares.
_EXACT = -1
#: Panels with which the lean kernel can do, since a cash account without caps and impact does not look at all of them.
_LEAN_PANELS = {"close", "open", "high", "low", "vwap", "volume", "volatility", "borrow_rate"}


def needs_full(spec: RunSpec) -> bool:
    """Whether some scenario does what the lean kernel leaves out, such as all that nobody has marked."""
    panels = {name for name, v in vars(spec.market).items() if getattr(v, "ndim", 0) == 2}
    return spec.fills or spec.callback or bool(panels - _LEAN_PANELS) or beyond_lean(spec.params)


def plain_of(spec: RunSpec) -> Variant | None:
    """The variant for a run that the lean kernel can do, where all its scenarios may have plain bars; else None."""
    params = spec.params
    if has_books(spec):
        return None
    charges = ("fixed_commission", "commission_per_share", "sell_tax", "impact")
    off = all((params[name] == 0).all() for name in charges) and np.isnan(params["max_commission_rate"]).all()
    late = (params["execution"] != CHOICES["execution"].index("same_close")).all()
    kinds = {array.dtype for array in read_by(spec)}
    lots = [prepare.lots(spec.market, float(lot)) for lot in np.unique(params["lot"])]
    modes = {_EXACT} if all(lot.none_whole for lot in lots) else set(params["rounding"].tolist())
    uniform = all(lot.all_whole for lot in lots) or modes == {_EXACT}
    if needs_full(spec) or not (off and late and uniform and len(kinds) == len(modes) == 1) or spec.positions:
        return None
    table, weight32 = spec.columns == "all", kinds.pop() == np.float32
    return Variant(plain=True, general=False, mode=modes.pop(), table=table, weight32=weight32)


def plan_bytes(spec: RunSpec) -> int:
    """Device memory that `plan` takes at most."""
    (t, n), panels = spec.market.shape, max(1, len(spec.weights))
    return int(t * n * 8 * (1 + SPARSE * panels)) if plain_of(spec) is not None else 0


def plan(lanes: Lanes, read: np.ndarray, variant: Variant) -> int:
    """Fills in what ROWS[G] have of plain bars, for the bars of the lanes' window. The longest list, 0 where rows are
    no lists: some name too many assets, or leave some without a target."""
    (t, n), (t0, t1), groups = lanes.spec.market.shape, lanes.window, len(read)
    flags, starts = DeviceArray((groups, t), np.uint8, byte=0), DeviceArray((groups, t + 1), np.int64, byte=0)
    made: dict[int, DeviceArray] = {}
    for i, row in enumerate(read):
        close = int(row["close"]["data"])
        if close not in made:
            made[close] = DeviceArray((t1 - t0, n), np.float64)
            made[close].before = t0 * n * 8
        row["inverse"], row["flags"] = made[close].address, flags.address + i * t
        row["list_start"] = starts.address + 8 * i * (t + 1)
    lanes.kept += [flags, starts, *made.values()]
    firsts = np.unique(read["close"]["data"], return_index=True)[1]
    _launch(lanes, read[firsts], variant, 0)
    _launch(lanes, read, variant, 1)
    lengths = starts.read()
    due = np.count_nonzero(flags.read() & FLAGS["BT_DUE"])
    if lengths.min() < 0 or lengths.sum() > SPARSE * n * due:
        return 0
    ends = np.cumsum(lengths, axis=1)
    starts.write(ends)
    size = int(ends[:, -1].sum())
    entries = [DeviceArray(size, np.int32) for _ in range(2)]
    lanes.kept += entries
    before = np.cumsum(ends[:, -1]) - ends[:, -1]
    for name, array in zip(("list", "from"), entries, strict=True):
        read[name] = array.address + 4 * before
    _launch(lanes, read, variant, 2)
    return max(1, int(lengths.max()))


def _launch(lanes: Lanes, rows: np.ndarray, variant: Variant, step: int) -> None:
    """One of the steps of gpu_bt/law/plan.h over the rows, waited for."""
    launch = np.zeros(1, LAUNCH)
    given = DeviceArray(rows.shape, ROWS, np.ascontiguousarray(rows))
    launch["lanes"], launch["rows"], launch["last"] = len(rows), given.address, step
    launch["t0"], launch["t1"] = lanes.window
    at = DeviceArray(launch.shape, LAUNCH, launch)
    blocks = min(int(launch["t1"][0] - launch["t0"][0]), 8 * lanes.device.processors)
    compiled = kernel(cupy(), Variant(plan=True, weight32=variant.weight32))
    compiled((blocks,), (_THREADS,), (np.uint64(at.address),), shared_mem=8 * SHARED_DOUBLES, stream=stream())
    stream().synchronize()
