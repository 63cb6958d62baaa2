// SPDX-License-Identifier: Apache-2.0
// More live values than a thread of 1024 may have registers: the compiler must report spills.
extern "C" __global__ void __launch_bounds__(1024) many_values(double *x) {
    double v[64];
#pragma unroll
    for (int k = 0; k < 64; k++) v[k] = x[k * 1024 + threadIdx.x];
    for (int round = 0; round < 3; round++) {
#pragma unroll
        for (int k = 0; k < 64; k++) v[k] = v[(k + 7) % 64] * v[k] + x[round];
    }
#pragma unroll
    for (int k = 0; k < 64; k++) x[k * 1024 + threadIdx.x] = v[k];
}
