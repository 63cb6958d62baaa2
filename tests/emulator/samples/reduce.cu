// SPDX-License-Identifier: Apache-2.0
// Block reduction, warp scan, compaction by ballot and atomics, as kernels of the product write them.
struct sample {
    const double *x;
    double *out;
    int *kept;
    int *counts;
    int n, rounds;
};

extern __shared__ char memory[];

__device__ __forceinline__ double warp_sum(double v) {
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}

// out[block]: the sum of every gridDim-th stretch of x, the same for all threads.
extern "C" __global__ void __launch_bounds__(1024) block_sum(const sample *arg) {
    const sample a = *arg;
    double *part = (double *)memory;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int round = 0; round < a.rounds; round++) {
        double v = 0;
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += gridDim.x * blockDim.x) v += __ldg(a.x + i);
        v = warp_sum(v);
        if (lane == 0) part[warp] = v;
        __syncthreads();
        v = lane < warps ? part[lane] : 0;
        v = warp_sum(v);
        if (threadIdx.x == 0) a.out[blockIdx.x] = v;
        __syncthreads();
    }
}

// out[i]: x[0] + ... + x[i] inside each warp's 32 elements.
extern "C" __global__ void warp_scan(const sample *arg) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    double v = i < arg->n ? arg->x[i] : 0;
    for (int d = 1; d < 32; d *= 2) {
        double below = __shfl_sync(0xffffffffu, v, lane - d);
        if (lane >= d) v += below;
    }
    if (i < arg->n) arg->out[i] = v;
}

// kept: the indices of x > 0, in order, by one block; counts[0]: how many.
extern "C" __global__ void compact(const sample *arg) {
    int *offset = (int *)memory;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32, base = 0;
    for (int start = 0; start < arg->n; start += blockDim.x) {
        int i = start + threadIdx.x;
        bool keep = i < arg->n && arg->x[i] > 0;
        unsigned votes = __ballot_sync(0xffffffffu, keep);
        if (lane == 0) offset[warp] = __popc(votes);
        __syncthreads();
        int before = base;
        for (int w = 0; w < warps; w++) {
            before += w < warp ? offset[w] : 0;
            base += offset[w];
        }
        if (keep) arg->kept[before + __popc(votes & ((1u << lane) - 1))] = i;
        __syncthreads();
    }
    if (threadIdx.x == 0) arg->counts[0] = base;
}

// counts: how many are positive, the largest and the smallest kept[i]; out[0]: the sum of x.
extern "C" __global__ void with_atomics(const sample *arg) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= arg->n) return;
    if (arg->x[i] > 0) atomicAdd(arg->counts, 1);
    atomicMax(arg->counts + 1, arg->kept[i]);
    atomicMin(arg->counts + 2, arg->kept[i]);
    atomicAdd(arg->out, arg->x[i]);
}

// Six values reduced over the warp and a barrier, `rounds` times: what the shim itself costs.
extern "C" __global__ void spin(const sample *arg) {
    double v[6];
    for (int k = 0; k < 6; k++) v[k] = threadIdx.x + k;
    for (int round = 0; round < arg->rounds; round++) {
        for (int k = 0; k < 6; k++) v[k] = warp_sum(v[k]) / 32;
        __syncthreads();
    }
    if (threadIdx.x == 0) arg->out[blockIdx.x] = v[0];
}
