// SPDX-License-Identifier: Apache-2.0
// Launches behind cuda_shim.h: blocks one after another, and the operations at which the threads of a block meet.
//
// Compiled without a sanitizer's instrumentation, so that ThreadSanitizer sees only the order that CUDA promises:
// __syncthreads and __syncwarp order memory; shuffles, ballots and atomics do not; blocks are concurrent (fibers only).
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "scheduler.h"

BT_SHIM_TLS bt_shim_place *bt_shim_here;

namespace {

/* A wild access becomes an error text; under a sanitizer its own report is better. */
sigjmp_buf crash_home;
void on_crash(int number, siginfo_t *info, void *) {
    B.failed = false;
    for (unsigned i = 0; i < B.size; i++) B.thread[i].state = RETURNED;
    fail("thread %u: signal %d at address %p (a stray access, or a stack of more than %zu bytes)", self->id, number,
         info->si_addr, STACK - GUARD);
    siglongjmp(crash_home, 1);
}
struct CrashGuard {
    static constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction old[4];
    stack_t old_stack;
    bool on = false;
    void install() {
#if !defined(BT_SHIM_ADDRESS) && !defined(BT_SHIM_THREAD)
        static char alternate[1 << 16];
        stack_t stack{alternate, 0, sizeof alternate};
        struct sigaction act = {};
        act.sa_sigaction = on_crash;
        act.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaltstack(&stack, &old_stack);
        for (int i = 0; i < 4; i++) sigaction(SIGNALS[i], &act, &old[i]);
        on = true;
#endif
    }
    ~CrashGuard() {
        for (int i = 0; i < 4 && on; i++) sigaction(SIGNALS[i], &old[i], nullptr);
        if (on) sigaltstack(&old_stack, nullptr);
    }
};

/* ThreadSanitizer forgets what was done at these addresses: an earlier block's memory or stack is not this block's. */
void forget([[maybe_unused]] char *at, [[maybe_unused]] size_t size) {
#ifdef BT_SHIM_THREAD
    mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
#endif
}

/* 0xFF everywhere, so that what was never written reads as NaN or -1; nothing beyond `size` may be touched. */
void fresh_shared(size_t size) {
    forget(bt_shim_shared, sizeof bt_shim_shared);
    __asan_unpoison_memory_region(bt_shim_shared, sizeof bt_shim_shared);
    memset(bt_shim_shared, 0xFF, sizeof bt_shim_shared);
    __asan_poison_memory_region(bt_shim_shared + size, sizeof bt_shim_shared - size);
}
void check_shared(size_t size) {
#ifndef BT_SHIM_ADDRESS
    for (size_t i = size; i < sizeof bt_shim_shared && !B.failed; i++)
        if (bt_shim_shared[i] != '\xFF') fail("byte %zu of %zu bytes of shared memory was written", i, size);
#endif
}

/* A new fiber may be given the identity of a dropped one, and what both did then counts as ordered. */
void drop_tsan() {
    for (void *fiber : B.old_tsan) __tsan_destroy_fiber(fiber);
    B.old_tsan.clear();
}
void run_fibers() {
    static char *stacks = nullptr;
    static unsigned guarded = 0;  // each guard is a mapping of its own, of which a process may have 65,530
    if (!stacks)
        stacks = static_cast<char *>(mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (; guarded < B.size; guarded++) mprotect(stacks + guarded * STACK, GUARD, PROT_NONE);
    B.home_tsan = __tsan_get_current_fiber();
    B.home_stack = nullptr;
    for (unsigned i = 0; i < B.size; i++) {
        Thread &t = B.thread[i];
        t.stack = stacks + i * STACK;
        forget(t.stack + GUARD, STACK - GUARD);
        char *top = t.stack + STACK - i % 61 * 64;  // or all stacks would share a few cache lines
        t.context.start(top, top - t.stack - GUARD, fiber_entry);
        t.tsan = __tsan_create_fiber(0);
        t.asan = nullptr;
    }
    CrashGuard guard;
    guard.install();
    if (sigsetjmp(crash_home, 1) == 0) {
        self = next_fiber();
        __sanitizer_start_switch_fiber(&B.home_asan, self->stack + GUARD, STACK - GUARD);
        __tsan_switch_to_fiber(self->tsan, 1);
        B.home.to(self->context);
        __sanitizer_finish_switch_fiber(B.home_asan, nullptr, nullptr);
    }
    for (unsigned i = 0; i < B.size; i++) B.old_tsan.push_back(B.thread[i].tsan);
    if (B.old_tsan.size() > MOST_TSAN) drop_tsan();
}
void run_os_threads() {
    std::vector<pthread_t> threads(B.size);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    for (unsigned i = 0; i < B.size; i++)
        if (pthread_create(&threads[i], &attributes, os_thread, &B.thread[i]) != 0) abort();
    for (pthread_t thread : threads) pthread_join(thread, nullptr);
}

void run_block(size_t shared) {
    fresh_shared(shared);
    B.returned = B.arrived = B.barriers = B.votes[0] = B.votes[1] = 0;
    B.running = 0;
    memset(B.ready, 0, sizeof B.ready);
    memset(B.waiting, 0, sizeof B.waiting);
    memset(B.warp_syncs, 0, sizeof B.warp_syncs);
    for (unsigned i = 0; i < B.size; i++) {
        Thread &t = B.thread[i];
        t.id = i;
        t.place = {{i % B.dim.x, i / B.dim.x % B.dim.y, i / B.dim.x / B.dim.y}, B.index, B.dim, B.grid};
        set_ready(t);
        t.go = 0;
    }
    B.mode == FIBERS ? run_fibers() : run_os_threads();
    check_shared(shared);
}
}  // namespace

int bt_shim_lane() { return int(self->id % 32); }
void bt_shim_trap(const char *file, int line) {
    lock();
    refuse("thread %u: __trap() or assert() at %s:%d", self->id, file, line);
}

unsigned bt_shim_sync_block(bool predicate, const char *file, int line) {
    arrive("__syncthreads()", 0, file, line);
    unsigned turn = B.barriers & 1;  // two in turn: who runs ahead releases to the other one
    uint64_t *tag = &B.block_tag[turn];
    __tsan_release(tag);
    if (B.arrived++ == 0) B.first = self;
    if (B.first->line != line || strcmp(B.first->file, file) != 0)
        refuse("threads %u and %u wait at different __syncthreads(): %s:%d and %s:%d", B.first->id, self->id,
               B.first->file, B.first->line, file, line);
    B.votes[turn] += predicate;
    if (B.arrived < B.size) {
        park();
    } else {
        B.arrived = B.votes[turn ^ 1] = 0;
        B.barriers++;
        self->state = READY;
        for (unsigned i = 0; i < B.size; i++)
            if (&B.thread[i] != self) set_ready(B.thread[i]);
    }
    __tsan_acquire(tag);
    unsigned votes = B.votes[turn];
    unlock();
    return votes;
}
void bt_shim_sync_warp(unsigned mask, const char *file, int line) {
    arrive("__syncwarp()", mask, file, line);
    unsigned warp = self->id / 32;
    uint64_t *tag = &B.warp_tag[warp][mask == ~0u ? B.warp_syncs[warp] & 1 : 2];
    __tsan_release(tag);
    if (last_of_warp()) {
        B.warp_syncs[warp] += mask == ~0u;
        release_warp();
    }
    __tsan_acquire(tag);
    unlock();
}
uint64_t bt_shim_shuffle(const char *what, unsigned mask, uint64_t value, int source, const char *file, int line) {
    arrive(what, mask, file, line);
    self->value = value, self->source = source;
    if (last_of_warp()) {
        Thread *warp = &B.thread[self->id / 32 * 32];
        for (unsigned rest = mask; rest; rest &= rest - 1) {
            Thread &t = warp[__builtin_ctz(rest)];
            if (!(mask >> t.source & 1))
                refuse("thread %u: %s, mask %08x, reads lane %d, which takes no part (%s:%d)", t.id, what, mask,
                       t.source, file, line);
            t.result = warp[t.source].value;
        }
        release_warp();
    }
    uint64_t result = self->result;
    unlock();
    return result;
}
unsigned bt_shim_ballot(const char *what, unsigned mask, bool predicate, const char *file, int line) {
    arrive(what, mask, file, line);
    self->value = predicate;
    if (last_of_warp()) {
        Thread *warp = &B.thread[self->id / 32 * 32];
        unsigned votes = 0;
        for (unsigned rest = mask; rest; rest &= rest - 1)
            votes |= unsigned(warp[__builtin_ctz(rest)].value) << __builtin_ctz(rest);
        for (unsigned rest = mask; rest; rest &= rest - 1) warp[__builtin_ctz(rest)].result = votes;
        release_warp();
    }
    unsigned votes = unsigned(self->result);
    unlock();
    return votes;
}

/* Runs a kernel; 0, or 1 and a text. One launch at a time. Blocks run in order, reversed or shuffled. */
extern "C" int bt_shim_run(Kernel kernel, const unsigned *grid, const unsigned *block, size_t shared, const void *arg,
                           int mode, int order, uint64_t seed, char *error, size_t error_size) {
    uint64_t size = uint64_t(block[0]) * block[1] * block[2], blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    if (size < 1 || size > MOST || !blocks || shared > SHARED) {
        snprintf(error, error_size, "a launch has 1 to %u threads a block, at least one block and at most %zu bytes of "
                 "shared memory: got %zu, %zu and %zu", MOST, SHARED, size_t(size), size_t(blocks), shared);
        return 1;
    }
    B.kernel = kernel, B.arg = arg, B.mode = mode, B.order = order, B.size = unsigned(size), B.failed = false;
    B.random = seed * 0x9E3779B97F4A7C15u | 1;
    B.dim = {block[0], block[1], block[2]}, B.grid = {grid[0], grid[1], grid[2]};
    std::vector<uint64_t> turn(blocks);
    for (uint64_t i = 0; i < blocks; i++) {
        B.random = B.random * 6364136223846793005u + 1442695040888963407u;
        uint64_t j = order == RANDOM ? (B.random >> 20) % (i + 1) : i;
        turn[i] = turn[j], turn[j] = order == REVERSED ? blocks - 1 - i : i;
    }
    B.random |= 1;
    for (uint64_t at : turn) {
        if (B.failed) break;
        B.index = {unsigned(at % grid[0]), unsigned(at / grid[0] % grid[1]), unsigned(at / grid[0] / grid[1])};
        run_block(shared);
    }
    drop_tsan();
    __tsan_acquire(&B.launch_tag);
    snprintf(error, error_size, "%s", B.failed ? B.error : "");
    return B.failed;
}
