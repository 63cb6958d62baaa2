/* SPDX-License-Identifier: Apache-2.0 */
/* On the host, threads that help one lane: they take pieces of a loop over its assets, whoever comes first. Sums over
 * assets are exact, so that it does not matter who adds what. A thread that the system has put aside holds nobody up
 * but for the piece in its hands. */
#pragma once
#include <stdint.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#ifdef __x86_64__
#define BT_PAUSE() __builtin_ia32_pause()
#else
#define BT_PAUSE() std::this_thread::yield()
#endif
#define BT_SPLIT 1536    /* assets below which a loop is not worth sharing */
#define BT_PATIENCE 4000 /* looks at what there is to do before others may run */
#define BT_YIELDS 100    /* times that others may, before it sleeps */
#define BT_ALONE 500     /* loops without help after one in which it came too late, at first: the processors have other work */

class Crew {
    using Work = void (*)(void *, int64_t);
    std::atomic<uint64_t> turn{0};  // how many loops there have been, above the next piece of this one
    std::atomic<int64_t> done{0};
    std::atomic<bool> over{false};
    Work work = nullptr;
    void *context = nullptr;
    std::atomic<int64_t> pieces{0};
    std::vector<std::thread> helpers;
    int64_t alone = 0, late = 0;

    /* Works on one piece, if there is one. */
    bool take() {
        uint64_t now = turn.load(std::memory_order_acquire);
        const int64_t piece = (int64_t)(now & 0xffffffffu);
        if (piece >= pieces.load(std::memory_order_relaxed) || !turn.compare_exchange_strong(now, now + 1)) return false;
        work(context, piece);
        done.fetch_add(1, std::memory_order_release);
        return true;
    }
    void help() {
        for (int idle = 0; !over.load(std::memory_order_relaxed);) {
            if (take())
                idle = 0;
            else if (++idle < BT_PATIENCE)
                BT_PAUSE();
            else if (idle < BT_PATIENCE + BT_YIELDS)
                std::this_thread::yield();
            else
                std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }

  public:
    explicit Crew(int64_t members) {
        try {
            for (int64_t i = 1; i < members; ++i) helpers.emplace_back([this] { help(); });
        } catch (...) {  // no thread more can be had, or no memory for it: those there are do it all
        }
    }
    ~Crew() {
        over.store(true);
        for (auto &helper : helpers) helper.join();
    }
    int64_t size() const { return (int64_t)helpers.size() + 1; }
    /* Whether this loop is one to share. */
    bool helps() { return !helpers.empty() && (alone == 0 || --alone == 0); }

    /* work(context, i) for all i below `count`, by whoever has time. */
    void all(int64_t count, Work what, void *with) {
        pieces.store(0, std::memory_order_relaxed);  // of a loop that is over, whose pieces are all taken
        work = what;
        context = with;
        done.store(0, std::memory_order_relaxed);
        turn.store(((turn.load(std::memory_order_relaxed) >> 32) + 1) << 32, std::memory_order_release);
        pieces.store(count, std::memory_order_release);
        while (take()) {
        }
        int idle = 0;
        while (done.load(std::memory_order_acquire) < count) ++idle < BT_PATIENCE ? BT_PAUSE() : std::this_thread::yield();
        if (idle >= BT_PATIENCE && late < 20) alone = BT_ALONE << late++;
    }
};

/* The sum of f(from, to) over pieces of [0, n), f being a loop over assets and what it gives adding up. */
template <class F> auto bt_over(Crew *crew, int64_t n, const F &f) -> decltype(f(n, n)) {
    using Sum = decltype(f(n, n));
    if (!crew || n < BT_SPLIT || !crew->helps()) return f(0, n);
    constexpr int64_t MOST = 64;
    const int64_t least = n / (crew->size() * 4), share = ((least > n / MOST ? least : n / MOST) / 64 + 1) * 64;
    const int64_t count = (n + share - 1) / share;
    struct Task {
        const F &f;
        int64_t n, share;
        Sum sums[MOST];
    } task{f, n, share, {}};
    crew->all(count, [](void *with, int64_t i) {
        Task &t = *(Task *)with;
        const int64_t from = i * t.share, to = from + t.share < t.n ? from + t.share : t.n;
        t.sums[i] = t.f(from, to);
    }, &task);
    Sum all = task.sums[0];
    for (int64_t i = 1; i < count; ++i) all += task.sums[i];
    return all;
}
