/*
 * device.h: which backend a run of the tests is about.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H

#include <poslabel.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The suites run on the CPU, or, with POSLABEL_TEST_BACKEND=cuda, on CUDA: on a real device, or on the emulation when
 * POSLABEL_CUDA_MODULE names its module.  Then
 *
 *   - tensors lie in host memory that the device can reach, and are labelled as the device's;
 *   - context_new(POSLABEL_ISA_AUTO) gives a CUDA context; with any other level it gives a CPU context that takes
 *     tensors of the device, so that whatever is compared with the reference still is;
 *   - expect_ok() and expect_error() wait for the device, and an error may come from the waiting.
 */
bool test_on_cuda(void);
bool test_on_emulation(void); /* test_on_cuda(), and the device is not real */

/* The device of the tests' tensors. */
poslabel_device test_device(void);

/* Another one, for tests of tensors that are elsewhere. */
poslabel_device_type test_other_device(void);

/* Lets a real device reach whole pages of host memory, or no longer. */
void test_share(void *pages, size_t size);
void test_unshare(void *pages);

/* Whether to leave a case out: on the emulation, where calls take milliseconds, true but for one in n of its calls. */
bool test_leaves_out(int n);

/* Leaves a test out where it is about what only the CPU does. */
#define skip_on_cuda()                                                                                                 \
    do {                                                                                                               \
        if (test_on_cuda())                                                                                            \
            skip();                                                                                                    \
    } while (0)

#endif
