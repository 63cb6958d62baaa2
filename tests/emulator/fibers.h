// SPDX-License-Identifier: Apache-2.0
// What a scheduler of fibers needs from this machine: a switch of stacks, and the sanitizers' hooks where one is on.
#pragma once
#include <stddef.h>
#include <string.h>
#if !defined(__x86_64__) || defined(BT_SHIM_UCONTEXT)
#include <ucontext.h>
#endif

#ifdef BT_SHIM_THREAD
extern "C" void *__tsan_get_current_fiber(), *__tsan_create_fiber(unsigned);
extern "C" void __tsan_destroy_fiber(void *), __tsan_switch_to_fiber(void *, unsigned);
extern "C" void __tsan_acquire(void *), __tsan_release(void *);
#else
static void *__tsan_get_current_fiber() { return nullptr; }
static void *__tsan_create_fiber(unsigned) { return nullptr; }
static void __tsan_destroy_fiber(void *) {}
static void __tsan_switch_to_fiber(void *, unsigned) {}
static void __tsan_acquire(void *) {}
static void __tsan_release(void *) {}
#endif
#ifdef BT_SHIM_ADDRESS
extern "C" void __asan_poison_memory_region(const void *, size_t), __asan_unpoison_memory_region(const void *, size_t);
extern "C" void __sanitizer_start_switch_fiber(void **, const void *, size_t);
extern "C" void __sanitizer_finish_switch_fiber(void *, const void **, size_t *);
#else
static void __asan_poison_memory_region(const void *, size_t) {}
static void __asan_unpoison_memory_region(const void *, size_t) {}
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

#if defined(__x86_64__) && !defined(BT_SHIM_UCONTEXT)
extern "C" void bt_shim_switch(void **save, void *load);
asm(R"(.text
.globl bt_shim_switch
.hidden bt_shim_switch
.type bt_shim_switch,@function
bt_shim_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size bt_shim_switch,.-bt_shim_switch
)");
struct Context {
    void *sp;
    void start(char *top, size_t, void (*entry)()) {
        void **frame = reinterpret_cast<void **>(top) - 8;  // six registers, the entry, its return address
        memset(frame, 0, 64);
        frame[6] = reinterpret_cast<void *>(entry);
        sp = frame;
    }
    void to(Context &other) { bt_shim_switch(&sp, other.sp); }
};
#else
struct Context {
    ucontext_t at;
    void start(char *top, size_t size, void (*entry)()) {
        getcontext(&at);
        at.uc_stack.ss_sp = top - size;
        at.uc_stack.ss_size = size;
        makecontext(&at, entry, 0);
    }
    void to(Context &other) { swapcontext(&at, &other.at); }
};
#endif
