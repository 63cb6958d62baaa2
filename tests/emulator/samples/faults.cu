// SPDX-License-Identifier: Apache-2.0
// One planted fault a kernel: what the shim or a sanitizer must report.
struct sample {
    const double *x;
    double *out;
    int *kept;
    int *counts;
    int n, rounds;
};

extern __shared__ char memory[];

#define KERNEL(name) extern "C" __global__ void name(const sample *arg)

KERNEL(barrier_for_some) {
    if (threadIdx.x < 16) __syncthreads();
    arg->out[threadIdx.x] = 1;
}
KERNEL(barrier_after_a_return) {
    if (threadIdx.x == 40) return;
    __syncthreads();
}
KERNEL(two_barriers) {
    if (threadIdx.x % 2) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}
KERNEL(barrier_and_shuffle) {
    double v = arg->x[0];
    if (threadIdx.x < 32) v = __shfl_xor_sync(0xffffffffu, v, 1);
    if (threadIdx.x == 7) __syncthreads();
    arg->out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, v, 1);
    __syncthreads();
}
KERNEL(shuffle_without_some_lanes) {
    if (threadIdx.x % 32 < 20) arg->out[0] = __shfl_sync(0xffffffffu, 1.0, 0);
}
KERNEL(shuffle_by_another_lane) {
    arg->out[threadIdx.x] = __shfl_sync(threadIdx.x % 2 ? 0xaaaaaaaau : 0xffffu, 1.0, threadIdx.x % 32);
}
KERNEL(shuffle_from_outside) {
    if (threadIdx.x < 8) arg->out[threadIdx.x] = __shfl_sync(0xffu, 1.0, 9);
}
KERNEL(masks_that_differ) {
    arg->out[threadIdx.x] = __shfl_sync(threadIdx.x % 32 < 4 ? 0xffffffffu : 0xfffffff0u, 1.0, 5);
}
KERNEL(trapped) {
    if (threadIdx.x == 33) __trap();
    __syncthreads();
}
KERNEL(null_pointer) { *(volatile int *)(size_t)(arg->n - arg->n) = 1; }
__device__ __noinline__ int deeper(volatile int *n) {
    int here[1024];
    here[*n] = *n;
    return *n < 0 ? 0 : deeper(n) + here[*n];
}
KERNEL(endless_recursion) { arg->counts[0] = deeper(arg->counts); }
KERNEL(shared_read_before_written) { arg->out[threadIdx.x] = ((double *)memory)[threadIdx.x]; }
KERNEL(shared_written_beyond) { memory[threadIdx.x] = 1; }
KERNEL(shared_read_beyond) { arg->out[threadIdx.x] = memory[threadIdx.x]; }
KERNEL(global_written_beyond) { arg->out[threadIdx.x] = 1; }
KERNEL(global_read_beyond) { arg->counts[0] += arg->x[threadIdx.x] > 0; }
KERNEL(misaligned) { arg->out[threadIdx.x] = *(const double *)((const char *)arg->x + arg->n); }
KERNEL(cast_that_does_not_fit) { arg->counts[0] = int(arg->x[0] * 1e300); }

// The neighbour's word, after something that orders memory inside a warp, or does not.
KERNEL(exchange_by_syncwarp) {
    double *words = (double *)memory;
    words[threadIdx.x] = arg->x[threadIdx.x];
    __syncwarp();
    double other = words[threadIdx.x ^ 1];
    __syncwarp();
    words[threadIdx.x] = other;
}
KERNEL(exchange_by_shuffle) {
    double *words = (double *)memory;
    words[threadIdx.x] = arg->x[threadIdx.x];
    __shfl_xor_sync(0xffffffffu, 1, 1);
    arg->out[threadIdx.x] = words[threadIdx.x ^ 1];
}
KERNEL(blocks_share_a_word) {
    if (threadIdx.x == 0) arg->out[0] += arg->x[blockIdx.x];
}
KERNEL(blocks_share_an_atomic) {
    if (threadIdx.x == 0) atomicAdd(arg->out, arg->x[blockIdx.x]);
}
// The second round's first write may come before the first round's last read.
KERNEL(overtaken_reader) {
    double *words = (double *)memory, sum = 0;
    for (int round = 0; round < 2; round++) {
        words[threadIdx.x] = arg->x[threadIdx.x] + round;
        __syncthreads();
        sum += words[(threadIdx.x + 1) % blockDim.x];
    }
    arg->out[threadIdx.x] = sum;
}
// Rounds twice; a contracted multiply-add rounds once.
KERNEL(multiply_add) { arg->out[threadIdx.x] = arg->x[threadIdx.x] * arg->x[threadIdx.x] + arg->out[threadIdx.x]; }
