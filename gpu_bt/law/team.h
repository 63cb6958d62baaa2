/* SPDX-License-Identifier: Apache-2.0 */
/* Who carries out a bar. On a device a team is one block: every thread runs the same text with the same numbers of a
 * scenario, takes its share of the assets in BT_EACH, and meets the others where a sum is formed. On the host a team
 * is one thread, which others may help in the loops of bt_over (crew.h), and BT_SIMD makes vector code of the same
 * loops. Sums are exact (docs/semantics.md, Numbers), so that it does not matter who adds what first.
 *
 *   BT_EACH(j, n)    this member's share of 0..n-1, always the same for one j
 *   BT_EACH_ALONE    the same, of a body for two of which registers do not suffice
 *   bt_over(crew, n, f)  f(0, n), or on the host the sum of f over pieces of that, which BT_RANGE goes through
 *   BT_MINE(j)       whether j is in that share
 *   bt_sync()        what the team wrote before is seen by all after
 *   bt_sum(turn, x, ...)  every x becomes its sum over the team; a barrier like bt_sync
 *   bt_first()       whether this member does what is done once
 *   bt_take(next)    a number that no other member gets, counted up from *next */
#pragma once
#include "step.h"

#ifdef __CUDACC__
#ifndef BT_PLAIN
#define BT_PLAIN 0
#define BT_PLAN 0
#define BT_GENERAL 1
#define BT_THREADS 0
#endif
#if BT_WEIGHT32 /* what plain.h and plan.h read rows of weights as */
typedef float bt_row_t;
#else
typedef double bt_row_t;
#endif

#define BT_FN_MEMBER __device__
#define BT_STEP static __device__ __noinline__ /* inlined, the four variants take minutes to compile */
#define BT_SIMD(...)
#define BT_EACH(j, n) _Pragma("unroll 2") for (int j = threadIdx.x; j < (int)(n); j += blockDim.x)
#define BT_EACH_ALONE(j, n) _Pragma("unroll 1") for (int j = threadIdx.x; j < (int)(n); j += blockDim.x)
#define BT_MINE(j) ((unsigned)(j) % blockDim.x == threadIdx.x)
#define BT_RANGE(j, from, to) BT_EACH(j, to)
struct Crew; /* a block has its threads */
template <class F> BT_FN auto bt_over(Crew *, int64_t n, const F &f) -> decltype(f(n, n)) { return f(0, n); }
#define BT_SHARED_DOUBLES (2 * BT_WARPS * BT_SUMS)
extern __shared__ double bt_shared[]; /* BT_SHARED_DOUBLES for sums, then holdings and orders where they fit */

BT_FN bool bt_first() { return threadIdx.x == 0; }
BT_FN int bt_threads() { return BT_THREADS ? BT_THREADS : (int)blockDim.x; } /* a constant makes addresses constants */
BT_FN void bt_sync() { __syncthreads(); }
BT_FN double bt_warp_sum(double x) {
#pragma unroll
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}
/* `place` is a thread's own in its warp. The halves of the scratch take turns: a thread writes one again only after a
 * barrier that follows its last read. */
template <class... Sums> BT_FN void bt_sum(int &turn, Sums &...sums) {
    constexpr int M = sizeof...(sums);
    static_assert(M <= BT_SUMS, "more sums than scratch");
    double x[M] = {sums...};
    const int place = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    double *scratch = bt_shared + (turn ^= 1) * BT_WARPS * BT_SUMS;
#pragma unroll
    for (int m = 0; m < M; ++m) {
        x[m] = bt_warp_sum(x[m]);
        if (place == 0) scratch[m * BT_WARPS + warp] = x[m];
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; ++m) x[m] = bt_warp_sum(place < warps ? scratch[m * BT_WARPS + place] : 0.0);
    int m = 0;
    ((sums = x[m++]), ...);
}
BT_FN bool bt_any(bool x) { return __syncthreads_or(x); }
/* How many of n ascending numbers are below x. */
BT_FN int bt_below(const int32_t *sorted, int n, int x) {
    int low = 0;
    while (low < n) {
        const int middle = (low + n) / 2;
        if (sorted[middle] < x)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}
BT_FN void bt_add(double *to, double x) { atomicAdd(to, x); }
BT_FN long long bt_take(int64_t *next) { return (long long)atomicAdd((unsigned long long *)next, 1ull); }

/* Where flags[i] is not 0, i goes to out, in order; returns how many. `turn` as in bt_sum. */
BT_FN int bt_pack(int n, const uint8_t *flags, int32_t *out, int &turn) {
    const int place = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    int base = 0;
    for (int start = 0; start < n; start += blockDim.x) {
        const int i = start + threadIdx.x;
        const bool on = i < n && flags[i];
        const unsigned ballot = __ballot_sync(0xffffffffu, on);
        double *counts = bt_shared + (turn ^= 1) * BT_WARPS * BT_SUMS;
        if (place == 0) counts[warp] = __popc(ballot);
        __syncthreads();
        int before = 0, all = 0;
        for (int w = 0; w < warps; ++w) {
            if (w < warp) before += (int)counts[w];
            all += (int)counts[w];
        }
        if (on) out[base + before + __popc(ballot & ((1u << place) - 1u))] = i;
        base += all;
    }
    return base;
}

#else

#define BT_PLAIN 0
#define BT_PLAN 0
#define BT_GENERAL 1
#define BT_FN_MEMBER
#define BT_STEP static inline
#define BT_TEXT(...) #__VA_ARGS__
#define BT_SIMD(...) _Pragma(BT_TEXT(omp simd __VA_ARGS__))
#define BT_RANGE(j, from, to) for (int64_t j = (from); j < (int64_t)(to); ++j)
#define BT_EACH(j, n) BT_RANGE(j, 0, n)
#define BT_EACH_ALONE(j, n) BT_EACH(j, n)
#define BT_MINE(j) true

#include "crew.h"

BT_FN bool bt_first() { return true; }
BT_FN void bt_sync() {}
template <class... Sums> BT_FN void bt_sum(int &, Sums &...) {}
BT_FN bool bt_any(bool x) { return x; }
BT_FN void bt_add(double *to, double x) { *to += x; }
BT_FN long long bt_take(int64_t *next) { return (*next)++; }

BT_FN int bt_pack(int64_t n, const uint8_t *flags, int32_t *out, int &) {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight flags of 0 or 1 are read at a time, the first lowest");
    int count = 0;
    for (int64_t i = 0; i < n; i += 64) {  // flags beyond n are 0
        uint64_t bits = 0;
        for (int64_t k = 0; k < 64 && i + k < n; k += 8) {
            uint64_t word;
            memcpy(&word, &flags[i + k], 8);
            bits |= ((word * 0x0102040810204080u) >> 56) << k;
        }
        for (; bits; bits &= bits - 1) out[count++] = (int32_t)(i + __builtin_ctzll(bits));
    }
    return count;
}

#endif

/* A panel's cell as a double. CuPy compiles with -ftz=true, under which a plain conversion makes a subnormal float32 0. */
BT_FN double bt_double(float x) {
#ifdef __CUDA_ARCH__
    double wide;
    asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(x));
    return wide;
#else
    return x;
#endif
}
BT_FN double bt_double(double x) { return x; }
BT_FN double bt_double(uint8_t x) { return x; }
