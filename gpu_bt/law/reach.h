/* SPDX-License-Identifier: Apache-2.0 */
/* [S4l] Limit and stop orders: which of them a bar reaches, and at what price. */
#pragma once
#include "columns.h"

/* [S4l] What a bar is to an order, in the buffer `reach`. */
#define BT_FREE 0.0
#define BT_NOT_REACHED 1.0
#define BT_REACHED 2.0
#define BT_NO_PATH 3.0
enum Part { BT_ALL, BT_CONDITIONAL, BT_OTHERS }; /* of the orders: those with a limit or stop, and those without */

/* [S4l] What bar t makes of the orders that have a limit or stop: whether it reaches them, and at what price. Prices are
 * per share in `quote`, per lot in `path`; a stop that is reached stays triggered. */
BT_STEP void bt_reach(Lane &lane, Scenario &s, int64_t t, bool now) {
    const bt_rows &in = *lane.in;
    const double *opened = BT_ROW(lane, OPEN, in.open, t), *high = BT_ROW(lane, HIGH, in.high, t);
    const double *low = BT_ROW(lane, LOW, in.low, t), *F = bt_prices(lane, t), *unit = BT_OWN(lane, UNIT);
    const double *limit = BT_OWN(lane, LIMIT), *stop = BT_OWN(lane, STOP), *o = s.o;
    double *reach = BT_OWN(lane, REACH), *triggered = BT_OWN(lane, TRIGGERED), *quote = BT_OWN(lane, QUOTE);
    double *path = BT_OWN(lane, PATH), *taker = BT_OWN(lane, TAKER);
    BT_EACH(j, lane.A) {
        const bool limited = limit[j] == limit[j], stopped = stop[j] == stop[j], buy = o[j] > 0.0;
        const bool has = (limited | stopped) & (o[j] != 0.0);
        reach[j] = has ? BT_NOT_REACHED : BT_FREE;
        if (!now) continue;  // who has one is all that matters
        const double first = opened[j], top = high[j], bottom = low[j];
        const bool known = has & (first == first) & (top == top) & (bottom == bottom);
        const bool waits = known & stopped & (triggered[j] == 0.0);
        const bool hit = waits & (buy ? top >= stop[j] : bottom <= stop[j]);
        // a stop-limit that its bar triggers is a limit in that bar only where the open triggered it
        const bool works = known & (!waits | (hit & (buy ? first >= stop[j] : first <= stop[j])));
        const bool better = buy ? first <= limit[j] : first >= limit[j], touched = buy ? bottom <= limit[j] : top >= limit[j];
        const bool at_limit = works & limited & (better | touched);
        const double at_stop = buy ? bt_max(first, stop[j]) : bt_min(first, stop[j]);
        const double market = hit & !limited ? at_stop : works & !limited ? first : nan("");
        const double price = at_limit ? (better ? first : limit[j]) : market;
        triggered[j] = hit ? 1.0 : triggered[j];
        reach[j] = !has ? BT_FREE : !known ? BT_NO_PATH : price == price ? BT_REACHED : BT_NOT_REACHED;
        quote[j] = price;
        path[j] = price == price ? price * unit[j] : F[j];
        taker[j] = at_limit ? 0.0 : 1.0;
    }
}
