/*
 * Fibers: stacks that one host thread changes between.
 *
 * Every thread of a kernel is a fiber.  A fiber outlives its kernel: it asks for the next piece of work, so that stacks
 * are made once and the sanitizers see each frame left in good order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_FIBER_H
#define EMULATION_FIBER_H

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif

namespace emulation
{
/* One stack, and where it was left.  The default one stands for the host thread's own stack. */
class Fiber
{
  public:
    using Work = void (*)(void *);

    Fiber() = default;
    Fiber(const Fiber &) = delete;
    Fiber &operator=(const Fiber &) = delete;
    ~Fiber();

    /* Gives the fiber a stack.  It will run work(data), leave to `home`, and run work(data) again when resumed. */
    void create(Fiber &home, Work work, void *data);

    /* Leaves this fiber, which must be the one that runs, for `next`; comes back when another fiber leaves for it. */
    void leave_for(Fiber &next);

    /* Whether that is on its stack. */
    bool has(const void *address) const
    {
        const char *const begin = static_cast<const char *>(stack_);
        return address >= begin && address < begin + size_;
    }

  private:
    static void begin();
    void arrived();

    void *context_ = nullptr; /* the stack pointer, or a ucontext_t */
    char *mapping_ = nullptr;
    const void *stack_ = nullptr;
    std::size_t size_ = 0;
    [[maybe_unused]] void *fake_stack_ = nullptr; /* AddressSanitizer's */
    [[maybe_unused]] void *shadow_ = nullptr;     /* ThreadSanitizer's */
    Fiber *home_ = nullptr;
    Work work_ = nullptr;
    void *data_ = nullptr;
};
} // namespace emulation

#endif
