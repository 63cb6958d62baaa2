// SPDX-License-Identifier: Apache-2.0
// The threads of one block, and who of them may go on: as fibers, each runs until it must wait; or as OS threads.
#pragma once
#include <atomic>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#include "cuda_shim.h"
#include "fibers.h"

enum { FIBERS, THREADS };
enum { FORWARD, REVERSED, RANDOM };
constexpr size_t SHARED = 227 * 1024, STACK = 256 * 1024, GUARD = 4096;
constexpr unsigned MOST = 1024, MOST_TSAN = 1024;  // threads of a block; fibers that ThreadSanitizer remembers
extern "C" {
alignas(4096) char bt_shim_shared[(SHARED + 4095) / 4096 * 4096];
}

namespace {

struct Abort {};
using Kernel = void (*)(const void *);

enum State { READY, WAITS, RETURNED };
struct Thread {
    bt_shim_place place;
    unsigned id, mask;
    int line, source;
    State state;
    const char *what, *file;
    uint64_t value, result;
    Context context;
    char *stack;
    void *tsan, *asan;
    std::atomic<int> go;
};

struct Block {
    Kernel kernel;
    const void *arg;
    int mode, order;
    uint64_t random;
    uint3 index;
    dim3 dim, grid;
    unsigned size, returned, running;
    unsigned arrived, votes[2], barriers;
    unsigned warp_syncs[MOST / 32], waiting[MOST / 32];  // `waiting`: lanes in a warp operation
    Thread *first;  // to arrive at the barrier
    uint64_t ready[MOST / 64];
    bool failed;
    char error[2048];
    Thread thread[MOST];
    Context home;
    void *home_tsan, *home_asan;
    const void *home_stack;
    size_t home_size;
    uint64_t launch_tag, block_tag[2], warp_tag[MOST / 32][3];  // what ThreadSanitizer's acquire and release are about
    std::atomic<int> lock;
    std::vector<void *> old_tsan;
} B;
BT_SHIM_TLS Thread *self;

void sleep_on(std::atomic<int> &word, int value) { syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0); }
void wake(std::atomic<int> &word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); }
/* A lock that ThreadSanitizer does not see; fibers, which switch only where they ask for it, need none. */
void lock() {
    int free = 0;
    if (B.mode == FIBERS || B.lock.compare_exchange_strong(free, 1)) return;
    while (B.lock.exchange(2) != 0) sleep_on(B.lock, 2);
}
void unlock() {
    if (B.mode == THREADS && B.lock.exchange(0) == 2) wake(B.lock);
}

void set_ready(Thread &t) {
    t.state = READY;
    B.running++;
    if (B.mode == THREADS) t.go = 1, wake(t.go);
    else B.ready[t.id / 64] |= 1ull << t.id % 64;
}
void stop_running() {
    B.running--;
    if (B.mode == FIBERS) B.ready[self->id / 64] &= ~(1ull << self->id % 64);
}

/* Records the first error and lets every thread go on, to unwind its stack. */
void fail(const char *format, ...) {
    if (B.failed) return;
    B.failed = true;
    int n = snprintf(B.error, sizeof B.error, "block (%u, %u, %u): ", B.index.x, B.index.y, B.index.z);
    va_list args;
    va_start(args, format);
    vsnprintf(B.error + n, sizeof B.error - n, format, args);
    va_end(args);
    for (unsigned i = 0; i < B.size; i++)
        if (B.thread[i].state == WAITS) set_ready(B.thread[i]);
}
[[noreturn]] void abandon() {
    unlock();
    throw Abort();
}
/* An error of the thread that runs, found with the lock held. */
template <class... A>
[[noreturn]] void refuse(const char *format, A... args) {
    self->state = READY;
    fail(format, args...);
    abandon();
}

void report_deadlock() {
    char text[1500];
    int n = 0;
    unsigned places = 0;
    for (unsigned i = 0; i < B.size && places < 4; i++) {
        Thread &t = B.thread[i];
        unsigned same = 0;
        bool first = t.state == WAITS;
        for (unsigned j = 0; j < B.size && first; j++) {
            Thread &o = B.thread[j];
            if (o.state != WAITS || o.what != t.what || o.line != t.line || o.mask != t.mask) continue;
            first = j >= i;
            same++;
        }
        if (first && ++places)
            n += snprintf(text + n, sizeof text - n, "; %u wait at %s%.*s%.*x (%s:%d; thread %u)", same, t.what,
                          t.mask ? 7 : 0, ", mask ", t.mask ? 8 : 0, t.mask, t.file, t.line, i);
    }
    fail("no thread can go on: %u have returned%s", B.returned, text);
}

Thread *next_fiber() {
    unsigned words = (B.size + 63) / 64, first = 0;
    if (B.order == REVERSED) {
        for (unsigned w = words; w-- > 0;)
            if (B.ready[w]) return &B.thread[w * 64 + 63 - __builtin_clzll(B.ready[w])];
        return nullptr;
    }
    if (B.order == RANDOM) {
        B.random ^= B.random << 13, B.random ^= B.random >> 7, B.random ^= B.random << 17;
        first = unsigned((B.random >> 32) * B.size >> 32);
    }
    if (uint64_t rest = B.ready[first / 64] >> first % 64) return &B.thread[first + __builtin_ctzll(rest)];
    for (unsigned i = 1; i <= words; i++) {
        unsigned w = (first / 64 + i) % words;
        if (B.ready[w]) return &B.thread[w * 64 + __builtin_ctzll(B.ready[w])];
    }
    return nullptr;
}

void go_home() {
    __sanitizer_start_switch_fiber(self->state == RETURNED ? nullptr : &self->asan, B.home_stack, B.home_size);
    __tsan_switch_to_fiber(B.home_tsan, 1);
    self->context.to(B.home);
}
/* From the fiber `self` to another that is ready; back here when this one is chosen again. */
void to_fiber(Thread *next) {
    Thread *me = self;
    if (next == me) return;
    __sanitizer_start_switch_fiber(me->state == RETURNED ? nullptr : &me->asan, next->stack + GUARD, STACK - GUARD);
    __tsan_switch_to_fiber(next->tsan, 1);
    self = next;
    me->context.to(next->context);
    __sanitizer_finish_switch_fiber(me->asan, nullptr, nullptr);
    bt_shim_here = &me->place;
}

/* Called with the lock held, in state WAITS: lets others run until this thread is READY; returns with the lock held. */
void park() {
    stop_running();
    if (!B.running) report_deadlock();
    if (B.mode == FIBERS) {
        to_fiber(next_fiber());
    } else {
        unlock();
        while (!self->go) sleep_on(self->go, 0);
        self->go = 0;
        lock();
    }
    if (B.failed) abandon();
}
void arrive(const char *what, unsigned mask, const char *file, int line) {
    lock();
    if (B.failed) abandon();
    self->state = WAITS, self->what = what, self->mask = mask, self->file = file, self->line = line;
}

/* One warp operation: true for the lane that arrives last, while all lanes of the mask still wait. */
bool last_of_warp() {
    unsigned warp = self->id / 32, lane = self->id % 32, mask = self->mask;
    unsigned lanes = B.size - warp * 32 < 32 ? (1u << B.size % 32) - 1 : ~0u;
    if (!(mask >> lane & 1) || mask & ~lanes) {
        refuse("thread %u: mask %08x of %s %s (%s:%d)", self->id, mask, self->what,
               mask >> lane & 1 ? "names lanes that the block does not have" : "leaves out the lane that calls it",
               self->file, self->line);
    }
    B.waiting[warp] |= 1u << lane;
    if ((B.waiting[warp] & mask) != mask) return park(), false;
    B.waiting[warp] &= ~mask;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        Thread &t = B.thread[warp * 32 + __builtin_ctz(rest)];
        if (t.mask == mask && t.what == self->what && t.line == self->line) continue;
        refuse("thread %u waits at %s, mask %08x (%s:%d), thread %u at %s, mask %08x (%s:%d): they must meet at one",
               self->id, self->what, mask, self->file, self->line, t.id, t.what, t.mask, t.file, t.line);
    }
    return true;
}
void release_warp() {
    unsigned base = self->id / 32 * 32;
    self->state = READY;
    for (unsigned rest = self->mask; rest; rest &= rest - 1) {
        Thread &t = B.thread[base + __builtin_ctz(rest)];
        if (&t != self) set_ready(t);
    }
}

void run_thread() {
    Thread *me = self;
    bt_shim_here = &me->place;
    try {
        if (!B.failed) B.kernel(B.arg);
    } catch (Abort &) {
    }
    __tsan_release(&B.launch_tag);
    lock();
    self->state = RETURNED;
    B.returned++;
    stop_running();
    if (!B.running && B.returned < B.size) report_deadlock();
    unlock();
}
void fiber_entry() {
    const void **stack = B.home_stack ? nullptr : &B.home_stack;
    __sanitizer_finish_switch_fiber(nullptr, stack, stack ? &B.home_size : nullptr);
    run_thread();
    Thread *next = next_fiber();
    next ? to_fiber(next) : go_home();
    abort();
}
void *os_thread(void *given) {
    self = static_cast<Thread *>(given);
    run_thread();
    return nullptr;
}
}  // namespace
