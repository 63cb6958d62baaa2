// SPDX-License-Identifier: Apache-2.0
// The level of native_build.LEVELS that this processor has; `third` and `fourth`: x86-64-v3 and x86-64-v4. Any library is
// asked, one for a newer processor too, so that this is plain code whatever the flags say.
#ifdef __x86_64__
extern "C" __attribute__((target("arch=x86-64"))) int bt_level() {
    const bool third = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool fourth = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    return third ? (fourth ? 2 : 1) : 0;
}
#else
extern "C" int bt_level() { return 0; }
#endif
