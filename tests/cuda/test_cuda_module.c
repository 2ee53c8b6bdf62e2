/*
 * Whether there is CUDA, and why not.
 *
 * Files that are no module of this library, and machines without a device or a driver.  The former need no CUDA: these
 * tests are made on every machine.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"
#include "support/cuda.h"
#include "support/test.h"

#include <dlfcn.h>

#define UNSUPPORTED POSLABEL_ERROR_UNSUPPORTED
#define VARIABLE "POSLABEL_CUDA_MODULE"

static char *module_of_the_run;

static int remember(void **state)
{
    (void)state;
    const char *const named = getenv(VARIABLE);
    module_of_the_run = named ? strdup(named) : NULL;
    return 0;
}

static void restore_module(void)
{
    if (module_of_the_run)
        setenv(VARIABLE, module_of_the_run, 1);
    else
        unsetenv(VARIABLE);
}

static int end(void **state)
{
    restore_module();
    return emulation_end(state);
}

static int forget(void **state)
{
    (void)state;
    free(module_of_the_run);
    return 0;
}

/* That there is no CUDA now, with a reason that has both words, and that a context says the same and is no other. */
static void expect_no_cuda(const char *word, const char *other)
{
    char reason[512] = "", message[512] = "";
    assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CUDA, reason, sizeof reason), UNSUPPORTED);
    if (!strstr(reason, word) || !strstr(reason, other))
        test_fail("the reason is \"%s\", which lacks \"%s\" or \"%s\"", reason, word, other);
    assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CUDA, NULL, 0), UNSUPPORTED);

    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context = (poslabel_context *)&options; /* must become NULL */
    counting_allocator counter;
    counting_allocator_init(&counter);
    options.device.type = POSLABEL_DEVICE_CUDA;
    options.allocator = counting_allocator_hooks(&counter);
    options.message = message;
    options.message_size = sizeof message;
    assert_int_equal(poslabel_context_create(&options, &context), UNSUPPORTED);
    assert_null(context);
    if (strncmp(message, "context_create: ", 16) || !strstr(message, word))
        test_fail("the message is \"%s\", which lacks \"%s\"", message, word);
    counting_allocator_check(&counter);

    options.device.type = POSLABEL_DEVICE_CPU; /* which is as it was */
    assert_int_equal(poslabel_context_create(&options, &context), POSLABEL_OK);
    poslabel_context_destroy(context);
    counting_allocator_check(&counter);
}

static void a_file_that_is_not_there(void **state)
{
    (void)state;
    setenv(VARIABLE, "/nowhere/libposlabel-cuda-of-nobody.so", 1);
    expect_no_cuda("cannot be loaded", "/nowhere/libposlabel-cuda-of-nobody.so");
    expect_no_cuda("cannot be loaded", VARIABLE); /* how to name one */
}

static void a_file_that_is_no_library(void **state)
{
    (void)state;
    setenv(VARIABLE, TEST_GOLDEN_FILE, 1);
    expect_no_cuda("cannot be loaded", "rpl_loss_2x5.npz");
}

static void a_library_that_is_no_module(void **state)
{
    (void)state;
    setenv(VARIABLE, "libm.so.6", 1);
    expect_no_cuda("libm.so.6", "is no CUDA module of libposlabel");
}

static void a_module_that_refuses(void **state)
{
    (void)state;
    setenv(VARIABLE, TEST_MODULE_OLD, 1);
    expect_no_cuda("this module is too old for libposlabel", poslabel_version_string());
}

static void a_table_of_another_version(void **state)
{
    (void)state;
    setenv(VARIABLE, TEST_MODULE_STALE, 1);
    expect_no_cuda("is of another version of libposlabel", TEST_MODULE_STALE);
}

/* The module itself refuses other versions of the library, and other builds of the seam. */
static void the_module_knows_its_version(void **state)
{
    (void)state;
    if (!test_on_cuda() || !module_of_the_run)
        skip();
    void *const module = dlopen(module_of_the_run, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(module);
    plb_module_entry *entry;
    *(void **)&entry = dlsym(module, PLB_MODULE_ENTRY);
    assert_non_null(entry);
    char reason[256] = "";
    assert_null(entry(PLB_BACKEND_VERSION, "0.0.9", NULL, reason, sizeof reason));
    assert_non_null(strstr(reason, "0.0.9"));
    assert_non_null(strstr(reason, poslabel_version_string()));
    assert_null(entry(PLB_BACKEND_VERSION + 1, poslabel_version_string(), NULL, reason, sizeof reason));
    assert_non_null(strstr(reason, "seam"));
    assert_null(entry(PLB_BACKEND_VERSION + 1, poslabel_version_string(), NULL, NULL, 0));
    dlclose(module);
}

/* Without the variable, or when it is empty, the module is looked for beside the library. */
static void beside_the_library(void **state)
{
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        char reason[512] = "";
        if (empty)
            setenv(VARIABLE, "", 1);
        else
            unsetenv(VARIABLE);
        if (poslabel_device_supported(POSLABEL_DEVICE_CUDA, reason, sizeof reason) == POSLABEL_OK)
            assert_string_equal(reason, "");
        else
            assert_true(strstr(reason, "/libposlabel-cuda.so") || strstr(reason, "CUDA device"));
    }
}

static void reasons_are_cut(void **state)
{
    (void)state;
    static const char *const modules[] = {"/nowhere/at-all.so", "libm.so.6", TEST_MODULE_OLD, TEST_MODULE_STALE};
    for (int i = 0; i < COUNT(modules); i++)
        for (size_t size = 0; size < 60; size++) {
            guard g = guard_new(size, GUARD_END, 0);
            setenv(VARIABLE, modules[i], 1);
            assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CUDA, g.data, size), UNSUPPORTED);
            if (size)
                assert_true(strlen(g.data) < size);
            guard_check(&g);
            restore_module(); /* the guard asks which device it is for */
            guard_free(&g);
        }
}

static void there_is_cuda(void **state)
{
    (void)state;
    char reason[256] = "x";
    if (!test_on_cuda())
        skip();
    assert_int_equal(poslabel_device_supported(POSLABEL_DEVICE_CUDA, reason, sizeof reason), POSLABEL_OK);
    assert_string_equal(reason, "");
    poslabel_context_destroy(context_default());
}

static void no_device(void **state)
{
    (void)state;
    const emulation_controls *const device = emulation();
    device->devices(0);
    expect_no_cuda("no CUDA device", "cudaErrorNoDevice");
    assert_int_equal(cuda()->peek_at_last_error(), 0);
    device->devices(1); /* one that comes back */
    there_is_cuda(state);
}

/* A card that is older than all that the module was built for. */
static void no_code_for_the_device(void **state)
{
    const emulation_controls *const device = emulation();
    device->capability(0, 61);
    expect_no_cuda("compute capability 6.1", "built for 9.0");
    expect_no_cuda("no kernel image", "-Dcuda-architectures=61");
    device->capability(0, 120); /* a newer one compiles the newest */
    there_is_cuda(state);

    device->devices(2); /* of two, one is too old */
    device->capability(0, 0);
    device->capability(1, 75);
    there_is_cuda(state);
    poslabel_context_options options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_context *context;
    char message[512] = "";
    options.device = (poslabel_device){POSLABEL_DEVICE_CUDA, 1};
    options.message = message;
    options.message_size = sizeof message;
    assert_int_equal(poslabel_context_create(&options, &context), UNSUPPORTED);
    assert_null(context);
    if (!strstr(message, "CUDA device 1 has compute capability 7.5") || !strstr(message, "built for 9.0"))
        test_fail("the message is \"%s\"", message);
    assert_int_equal(cuda()->peek_at_last_error(), 0);
}

static void no_driver(void **state)
{
    (void)state;
    const emulation_controls *const device = emulation();
    device->break_device(CUDA_ERROR_INSUFFICIENT_DRIVER);
    expect_no_cuda("cudaErrorInsufficientDriver", "install or update the NVIDIA driver");
    device->break_device(CUDA_ERROR_STUB_LIBRARY);
    expect_no_cuda("cudaErrorStubLibrary", "install or update the NVIDIA driver");
    device->break_device(0);
    there_is_cuda(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, emulation_begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_not_there),
        TEST(a_file_that_is_no_library),
        TEST(a_library_that_is_no_module),
        TEST(a_module_that_refuses),
        TEST(a_table_of_another_version),
        TEST(the_module_knows_its_version),
        TEST(beside_the_library),
        TEST(reasons_are_cut),
        TEST(there_is_cuda),
        TEST(no_device),
        TEST(no_code_for_the_device),
        TEST(no_driver),
    };
    return cmocka_run_group_tests_name("cuda_module", tests, remember, forget);
}
