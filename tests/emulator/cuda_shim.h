// SPDX-License-Identifier: Apache-2.0
// CUDA device code on the CPU: what a .cu file needs to be compiled, unmodified, by a host compiler.
//
// It is put in front of the .cu text (g++ -include cuda_shim.h); cuda_shim.cpp holds the scheduler. Shared memory is
// dynamic only: `extern __shared__ char NAME[]` becomes an extern array, and build.py has the linker define NAME.
#pragma once
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};

#define BT_SHIM_TLS __thread __attribute__((tls_model("initial-exec")))
// One pointer: a process has little room of this kind, and loads a library for each variant of a kernel.
struct bt_shim_place {
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern BT_SHIM_TLS bt_shim_place *bt_shim_here;
#define threadIdx bt_shim_here->thread
#define blockIdx bt_shim_here->block
#define blockDim bt_shim_here->block_size
#define gridDim bt_shim_here->grid_size
static const int warpSize = 32;

// Where a call stands in the .cu text: threads that meet must have come from the same place.
#define BT_SHIM_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()
unsigned bt_shim_sync_block(bool predicate, const char *file, int line);  // how many threads bring a true one
void bt_shim_sync_warp(unsigned mask, const char *file, int line);
uint64_t bt_shim_shuffle(const char *what, unsigned mask, uint64_t value, int source, const char *file, int line);
unsigned bt_shim_ballot(const char *what, unsigned mask, bool predicate, const char *file, int line);
int bt_shim_lane();
[[noreturn]] void bt_shim_trap(const char *file, int line);

inline void __syncthreads(BT_SHIM_AT) { bt_shim_sync_block(false, file, line); }
inline int __syncthreads_or(int x, BT_SHIM_AT) { return bt_shim_sync_block(x != 0, file, line) != 0; }
inline int __syncthreads_and(int x, BT_SHIM_AT) { return bt_shim_sync_block(x == 0, file, line) == 0; }
inline int __syncthreads_count(int x, BT_SHIM_AT) { return int(bt_shim_sync_block(x != 0, file, line)); }
inline void __syncwarp(unsigned mask = 0xffffffffu, BT_SHIM_AT) { bt_shim_sync_warp(mask, file, line); }
inline void __trap(BT_SHIM_AT) { bt_shim_trap(file, line); }

template <class T>
T bt_shim_shuffled(const char *what, unsigned mask, T value, int source, const char *file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = bt_shim_shuffle(what, mask, bits, source, file, line);
    memcpy(&value, &bits, sizeof(T));
    return value;
}

// The source lane of each kind of shuffle; a lane without one gets its own value back.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, BT_SHIM_AT) {
    int base = bt_shim_lane() & ~(width - 1);
    return bt_shim_shuffled("__shfl_sync", mask, value, base | (source & (width - 1)), file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, BT_SHIM_AT) {
    int lane = bt_shim_lane(), end = (lane & ~(width - 1)) + width, source = lane ^ bits;
    return bt_shim_shuffled("__shfl_xor_sync", mask, value, source < end ? source : lane, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, BT_SHIM_AT) {
    int lane = bt_shim_lane(), in_segment = lane & (width - 1);
    bool inside = in_segment + delta < unsigned(width);
    return bt_shim_shuffled("__shfl_down_sync", mask, value, inside ? lane + int(delta) : lane, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, BT_SHIM_AT) {
    int lane = bt_shim_lane();
    bool inside = delta <= unsigned(lane & (width - 1));
    return bt_shim_shuffled("__shfl_up_sync", mask, value, inside ? lane - int(delta) : lane, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, BT_SHIM_AT) {
    return bt_shim_ballot("__ballot_sync", mask, predicate != 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, BT_SHIM_AT) {
    return bt_shim_ballot("__any_sync", mask, predicate != 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, BT_SHIM_AT) {
    return bt_shim_ballot("__all_sync", mask, predicate != 0, file, line) == mask;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline double __longlong_as_double(long long x) {
    double y;
    memcpy(&y, &x, 8);
    return y;
}
inline long long __double_as_longlong(double x) {
    long long y;
    memcpy(&y, &x, 8);
    return y;
}
template <class T>
T __ldg(const T *p) {
    return *p;
}

// Relaxed, as on the device: an atomic operation orders nothing but itself.
template <class T, class F>
T bt_shim_atomic(T *p, F after) {
    T old, next;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do {
        next = after(old);
    } while (!__atomic_compare_exchange(p, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
inline unsigned atomicAdd(unsigned *p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline int atomicAdd(int *p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long v) {
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
inline double atomicAdd(double *p, double v) { return bt_shim_atomic(p, [v](double x) { return x + v; }); }
inline int atomicMax(int *p, int v) { return bt_shim_atomic(p, [v](int x) { return x > v ? x : v; }); }
inline int atomicMin(int *p, int v) { return bt_shim_atomic(p, [v](int x) { return x < v ? x : v; }); }

// As the device has them: a NaN loses, and -0 is below +0. Mixed types do not compile: say which one is meant.
#define BT_SHIM_MIN_MAX(T)                                \
    inline T min(T a, T b) { return b < a ? b : a; }      \
    inline T max(T a, T b) { return a < b ? b : a; }
BT_SHIM_MIN_MAX(int)
BT_SHIM_MIN_MAX(unsigned)
BT_SHIM_MIN_MAX(long)
BT_SHIM_MIN_MAX(unsigned long)
BT_SHIM_MIN_MAX(long long)
BT_SHIM_MIN_MAX(unsigned long long)
inline double min(double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (__builtin_signbit(a) ? a : b) : a < b ? a : b;
}
inline double max(double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (__builtin_signbit(a) ? b : a) : a < b ? b : a;
}

#undef assert
#define assert(x) ((x) ? (void)0 : bt_shim_trap(__FILE__, __LINE__))
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ __attribute__((weak))  // allowed on an extern array only, which is what there may be
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define BT_EMULATED 1
#define __CUDACC__ 1
