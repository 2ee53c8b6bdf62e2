/*
 * Which backend a run of the tests is about.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <dlfcn.h>

bool test_on_cuda(void)
{
    const char *const backend = getenv("POSLABEL_TEST_BACKEND");
    if (!backend || !*backend || !strcmp(backend, "cpu"))
        return false;
    if (strcmp(backend, "cuda"))
        test_fail("POSLABEL_TEST_BACKEND = %s, must be cpu or cuda", backend);
    return true;
}

bool test_on_emulation(void)
{
    const char *const module = getenv("POSLABEL_CUDA_MODULE");
    return test_on_cuda() && module && strstr(module, "emulated");
}

poslabel_device test_device(void)
{
    return (poslabel_device){test_on_cuda() ? POSLABEL_DEVICE_CUDA : POSLABEL_DEVICE_CPU, 0};
}

poslabel_device_type test_other_device(void)
{
    return test_on_cuda() ? POSLABEL_DEVICE_CPU : POSLABEL_DEVICE_CUDA;
}

bool test_leaves_out(int n)
{
    static int calls;
#ifdef __SANITIZE_THREAD__
    n = 4 * n + 1; /* it takes ten times as long, and asks who writes where, not what */
#endif
    return test_on_emulation() && calls++ % n != 0;
}

/* ---- the driver's functions for host memory, found at run time so that tests need no CUDA to be built ---- */

typedef int driver_function(void *, size_t, unsigned);

static struct driver {
    void *handle;
    driver_function *host_register;
    int (*host_unregister)(void *);
} driver;

static void *driver_symbol(const char *name)
{
    void *const symbol = dlsym(driver.handle, name);
    if (!symbol)
        test_fail("libcuda.so.1 has no %s", name);
    return symbol;
}

/* Makes the context that the CUDA runtime uses current, too: whoever comes first makes it. */
static void open_driver(void)
{
    int (*init)(unsigned), (*retain)(void **, int), (*set_current)(void *);
    void *context;
    if (driver.handle)
        return;
    driver.handle = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver.handle)
        test_fail("no CUDA driver: %s", dlerror());
    *(void **)&init = driver_symbol("cuInit");
    *(void **)&retain = driver_symbol("cuDevicePrimaryCtxRetain");
    *(void **)&set_current = driver_symbol("cuCtxSetCurrent");
    *(void **)&driver.host_register = driver_symbol("cuMemHostRegister_v2");
    *(void **)&driver.host_unregister = driver_symbol("cuMemHostUnregister");
    int error = init(0);
    if (!error)
        error = retain(&context, 0);
    if (!error)
        error = set_current(context);
    if (error)
        test_fail("the CUDA driver says %d", error);
}

void test_share(void *pages, size_t size)
{
    enum { PORTABLE = 1, DEVICE_MAPPED = 2 };
    if (!test_on_cuda() || test_on_emulation())
        return;
    open_driver();
    const int error = driver.host_register(pages, size, PORTABLE | DEVICE_MAPPED);
    if (error)
        test_fail("cuMemHostRegister says %d of %zu bytes", error, size);
}

void test_unshare(void *pages)
{
    if (test_on_cuda() && !test_on_emulation())
        driver.host_unregister(pages);
}
