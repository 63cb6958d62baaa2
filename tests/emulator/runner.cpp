// SPDX-License-Identifier: Apache-2.0
// Runs one saved launch in a process of its own, which a sanitizer may end: runner LAUNCH RESULT (see build.py).
// Every array lies in a heap block of exactly its size, so that AddressSanitizer sees the first byte beyond it.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

extern "C" int bt_shim_run(void (*)(const void *), const unsigned *, const unsigned *, size_t, const void *, int, int,
                           uint64_t, char *, size_t);

struct Header {
    char kernel[128];
    unsigned grid[3], block[3];
    uint64_t shared, seed, arrays, pointers;
    int32_t mode, order;
};
struct Pointer {
    uint64_t array, offset, target, target_offset;  // the word at `offset` of `array` points into array `target`
};

static void get(void *to, size_t size, FILE *file) {
    if (size && fread(to, size, 1, file) != 1) abort();
}

int main(int, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    if (!file) return 2;
    Header h;
    get(&h, sizeof h, file);
    std::vector<uint64_t> sizes(h.arrays);
    std::vector<char *> arrays(h.arrays);
    std::vector<Pointer> pointers(h.pointers);
    get(sizes.data(), h.arrays * sizeof(uint64_t), file);
    get(pointers.data(), h.pointers * sizeof(Pointer), file);
    for (size_t i = 0; i < h.arrays; i++) get(arrays[i] = static_cast<char *>(malloc(sizes[i])), sizes[i], file);
    fclose(file);
    for (const Pointer &p : pointers) {
        char *target = arrays[p.target] + p.target_offset;
        memcpy(arrays[p.array] + p.offset, &target, sizeof target);
    }
    auto kernel = reinterpret_cast<void (*)(const void *)>(dlsym(RTLD_DEFAULT, h.kernel));
    char error[2048];
    snprintf(error, sizeof error, "there is no kernel %s", h.kernel);
    if (kernel) bt_shim_run(kernel, h.grid, h.block, h.shared, arrays[0], h.mode, h.order, h.seed, error, sizeof error);
    file = fopen(argv[2], "wb");
    if (!file) return 2;
    fwrite(error, sizeof error, 1, file);
    for (size_t i = 1; i < h.arrays; i++) fwrite(arrays[i], sizes[i], 1, file);
    return fclose(file) ? 2 : 0;
}
