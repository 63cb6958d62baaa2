/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA engine: gpu_bt/law/run.h with a block for a team. Block b carries lane b through bars [t0, t1) in one launch;
 * its threads stride over the active assets, so that neighbours read neighbouring prices.
 *
 * Variants, chosen by macros: BT_FULL=0 leaves out what a cash account without masks, volumes, spreads, limits on targets,
 * dividends, splits and logs never does; BT_SHARED=1 keeps holdings and orders in shared memory, 16 bytes an asset and
 * scenario, where they fit.
 *
 * Bytes and operations of one dense, lean asset-bar at which something trades: execution price, mark, weight and 1/price
 * are read (32 bytes, from L2 where lanes share the panel), 1/price is formed once a lane (8 read, 8 written, one
 * division), holding and order are read twice and written once (48 bytes, shared memory). Fills: 14 additions and
 * products and 5 for the sums; orders: 9. Three block-wide sums a bar, each one barrier: of the row of weights (once a
 * lane), of the fills with the marks, of the orders; a bar without trades has the one of its marks. */
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
