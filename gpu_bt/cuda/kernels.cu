/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA engine: gpu_bt/law/run.h with a block for a team. Block b carries lane b through bars [t0, t1) in one
 * launch; its threads stride over the assets, so that neighbours read neighbouring prices.
 *
 * Three kernels, chosen by macros (gpu_bt/cuda/module.py, Variant):
 *   BT_PLAN                     makes what plain bars read beside the panels (plan.h)
 *   BT_PLAIN, not BT_GENERAL    goes through plain bars alone (plain.h, with its bytes and operations). It is small, so
 *                               that a run does not wait for a compiler; a lane that comes to another bar stops there
 *   BT_GENERAL                  can do every bar, in steps: fills and marks, the row of weights, orders, each with a
 *                               barrier for its sums; with BT_PLAIN it goes through plain bars in between, and is
 *                               compiled when some lane has stopped
 * BT_FULL=0 leaves out what a cash account without masks, volumes, spreads, limits on targets, dividends, splits and
 * logs never does. BT_SHARED=1 keeps holdings and orders of the steps in shared memory, 16 bytes an asset and scenario,
 * where they fit; BT_NEAR=1 does so for plain bars. */
#include "run.h"
#include "plan.h"

#if BT_PLAN
extern "C" __global__ void __launch_bounds__(512) bt_plan(const bt_launch *call) { bt_prepare(call); }
#else
extern "C" __global__ void __launch_bounds__(BT_THREADS ? BT_THREADS : 512) bt_bars(const bt_launch *call) {
#if BT_GENERAL
    bt_advance<BT_FULL>(call, blockIdx.x, BT_SHARED ? bt_shared + BT_SHARED_DOUBLES : nullptr, nullptr);
#else
    bt_advance_plain(call, blockIdx.x);
#endif
}
#endif
