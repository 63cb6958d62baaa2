// SPDX-License-Identifier: Apache-2.0
// The native engine: gpu_bt/law/run.h with a thread for a team, or several; threads take lanes, one after another.
#include <atomic>
#include <thread>
#include <vector>

#include "run.h"

#ifndef BT_BUILD
#define BT_BUILD "unknown"
#endif

extern "C" {

const char *bt_build() { return BT_BUILD; }

// Moves all lanes over bars [t0, t1).
void bt_run(const bt_launch *call, int64_t threads) {
    std::atomic<int64_t> next{0};
    const int64_t each = threads / call->lanes;  // of a lane: where there are few, threads share the assets of one
    auto take = [&] {
        Crew crew(each);
        for (int64_t i; (i = next++) < call->lanes;)
            bt_advance<true>(call, i, nullptr, each > 1 ? &crew : nullptr);
    };
    std::vector<std::thread> helpers;
    try {
        for (int64_t i = 1; i < threads && i < call->lanes; ++i) helpers.emplace_back(take);
    } catch (...) {  // no thread more can be had, or no memory for it: those there are take all lanes
    }
    take();
    for (auto &helper : helpers) helper.join();
}
}
