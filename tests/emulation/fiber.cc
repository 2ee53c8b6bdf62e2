/*
 * Fibers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMULATION_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifdef __x86_64__
/*
 * Saves what a function must preserve, and changes stacks.  swapcontext() would do as well, but makes a system call for
 * the signal mask each time.
 */
extern "C" void emulation_change_stack(void **from, void *to) __attribute__((visibility("hidden")));
__asm__(".pushsection .text\n"
        ".globl emulation_change_stack\n"
        ".hidden emulation_change_stack\n"
        ".type emulation_change_stack, @function\n"
        "emulation_change_stack:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emulation_change_stack, . - emulation_change_stack\n"
        ".popsection\n");
#else
#include <ucontext.h>
#endif

namespace emulation
{
/* Sanitizers make frames several times larger. */
static constexpr std::size_t STACK_BYTES = 256 * 1024;

/* Who has just been left for, so that a new stack can find out what it is for. */
static thread_local Fiber *entering, *left;

void Fiber::create(Fiber &home, Work work, void *data)
{
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), all = STACK_BYTES + page;
    void *mapping = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED || mprotect(mapping, page, PROT_NONE) != 0) {
        perror("emulation: no memory for a stack");
        abort();
    }
    mapping_ = static_cast<char *>(mapping);
    stack_ = mapping_ + page; /* below it: a page that faults */
    size_ = STACK_BYTES;
    home_ = &home;
    work_ = work;
    data_ = data;
#ifdef __x86_64__
    void **top = reinterpret_cast<void **>(mapping_ + all);
    *--top = nullptr; /* where begin() would return to: the end for who walks the stack, and what aligns it */
    *--top = reinterpret_cast<void *>(&Fiber::begin);
    for (int saved = 0; saved < 6; saved++)
        *--top = nullptr;
    context_ = top;
#else
    auto *context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = mapping_ + page;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = nullptr;
    makecontext(context, &Fiber::begin, 0);
    context_ = context;
#endif
#ifdef EMULATION_TSAN
    shadow_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber()
{
#ifndef __x86_64__
    delete static_cast<ucontext_t *>(context_);
#endif
    if (mapping_ == nullptr)
        return;
#ifdef EMULATION_TSAN
    __tsan_destroy_fiber(shadow_);
#endif
    munmap(mapping_, STACK_BYTES + static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
}

void Fiber::leave_for(Fiber &next)
{
    entering = &next;
    left = this;
#ifdef EMULATION_TSAN
    if (shadow_ == nullptr)
        shadow_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(next.shadow_, __tsan_switch_to_fiber_no_sync); /* see races.h */
#endif
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, next.stack_, next.size_);
#endif
#ifdef __x86_64__
    emulation_change_stack(&context_, next.context_);
#else
    if (context_ == nullptr)
        context_ = new ucontext_t;
    swapcontext(static_cast<ucontext_t *>(context_), static_cast<ucontext_t *>(next.context_));
#endif
    arrived();
}

/* On the new stack: tells AddressSanitizer, and learns from it where a host thread's own stack is. */
void Fiber::arrived()
{
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, &left->stack_, &left->size_);
#endif
}

void Fiber::begin()
{
    Fiber &self = *entering;
    self.arrived();
    for (;;) {
        self.work_(self.data_);
        self.leave_for(*self.home_);
    }
}
} // namespace emulation
