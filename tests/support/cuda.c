/*
 * The CUDA runtime for tests, found at run time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/cuda.h"
#include "support/test.h"

#include <dlfcn.h>

static void *(*emulated_function)(const char *name);

/* Kept, because tests change the variable that names it. */
static void *emulated_module(void)
{
    static void *module;
    if (!module && test_on_emulation()) {
        module = dlopen(getenv("POSLABEL_CUDA_MODULE"), RTLD_NOW | RTLD_LOCAL);
        if (!module)
            test_fail("no emulated module: %s", dlerror());
        *(void **)&emulated_function = dlsym(module, "emulation_function");
    }
    return module;
}

static void *runtime_library(void)
{
    static const char *const names[] = {"libcudart.so.13", "libcudart.so.12", "libcudart.so"};
    void *library = NULL;
    for (int i = 0; i < COUNT(names) && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

static void *symbol(void *library, const char *name)
{
    void *const found = emulated_function ? emulated_function(name) : dlsym(library, name);
    if (!found)
        test_fail("the CUDA runtime has no %s", name);
    return found;
}

const cuda_runtime *cuda(void)
{
    static cuda_runtime runtime;
    static bool is_open;
    if (!is_open && !test_on_cuda())
        skip();
    if (is_open)
        return &runtime;
    void *const library = emulated_module() ? emulated_module() : runtime_library();
    if (!library)
        skip();
    const struct {
        void *place;
        const char *name;
    } table[] = {
        {&runtime.get_device_count, "cudaGetDeviceCount"},
        {&runtime.get_device, "cudaGetDevice"},
        {&runtime.set_device, "cudaSetDevice"},
        {&runtime.device_synchronize, "cudaDeviceSynchronize"},
        {&runtime.get_last_error, "cudaGetLastError"},
        {&runtime.peek_at_last_error, "cudaPeekAtLastError"},
        {&runtime.malloc, "cudaMalloc"},
        {&runtime.free, "cudaFree"},
        {&runtime.memcpy, "cudaMemcpy"},
        {&runtime.stream_create, "cudaStreamCreateWithFlags"},
        {&runtime.stream_destroy, "cudaStreamDestroy"},
        {&runtime.stream_synchronize, "cudaStreamSynchronize"},
        {&runtime.begin_capture, "cudaStreamBeginCapture"},
        {&runtime.end_capture, "cudaStreamEndCapture"},
        {&runtime.instantiate, "cudaGraphInstantiateWithFlags"},
        {&runtime.launch, "cudaGraphLaunch"},
        {&runtime.destroy_executable, "cudaGraphExecDestroy"},
        {&runtime.destroy_graph, "cudaGraphDestroy"},
        {&runtime.create_context, "cuCtxCreate_v2"},
        {&runtime.destroy_context, "cuCtxDestroy_v2"},
        {&runtime.current_context, "cuCtxGetCurrent"},
        {&runtime.primary_state, "cuDevicePrimaryCtxGetState"},
    };
    void *const driver = emulated_function ? NULL : dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    for (int i = 0; i < COUNT(table); i++) {
        void *const function = symbol(strncmp(table[i].name, "cuda", 4) ? driver : library, table[i].name);
        memcpy(table[i].place, &function, sizeof function);
    }
    is_open = true;
    return &runtime;
}

void cuda_ok_at(const char *file, int line, const char *text, int error)
{
    if (error)
        test_fail_at(file, line, "%s gave CUDA's error %d", text, error);
}

void *cuda_stream_new(unsigned flags)
{
    void *stream = NULL;
    cuda_ok(cuda()->stream_create(&stream, flags));
    return stream;
}

static const emulation_controls *controls(void)
{
    static emulation_controls all;
    void *const module = emulated_module();
    if (!module)
        return NULL;
    *(void **)&all.fault_points = dlsym(module, "emulation_fault_points");
    *(void **)&all.fail_at = dlsym(module, "emulation_fail_at");
    *(void **)&all.break_device = dlsym(module, "emulation_break_device");
    *(void **)&all.defer = dlsym(module, "emulation_defer");
    *(void **)&all.devices = dlsym(module, "emulation_devices");
    *(void **)&all.pools = dlsym(module, "emulation_pools");
    *(void **)&all.capability = dlsym(module, "emulation_capability");
    *(void **)&all.launches = dlsym(module, "emulation_launches");
    *(void **)&all.shuffle = dlsym(module, "emulation_shuffle");
    *(void **)&all.live_allocations = dlsym(module, "emulation_live_allocations");
    *(void **)&all.live_objects = dlsym(module, "emulation_live_objects");
    return &all;
}

const emulation_controls *emulation(void)
{
    const emulation_controls *const all = controls();
    if (!all)
        skip();
    return all;
}

static const emulation_controls *repaired(void)
{
    const emulation_controls *const all = controls();
    if (!all)
        return NULL;
    all->fail_at(0, 0);
    all->break_device(0);
    all->defer(0);
    all->devices(1);
    all->pools(1);
    all->capability(0, 0);
    all->capability(1, 0);
    cuda()->get_last_error();
    return all;
}

static long allocations_before, objects_before;

int emulation_begin(void **state)
{
    (void)state;
    const emulation_controls *const all = repaired();
    allocations_before = all ? all->live_allocations() : 0; /* of tests that failed */
    objects_before = all ? all->live_objects() : 0;
    return 0;
}

int emulation_end(void **state)
{
    (void)state;
    const emulation_controls *const all = repaired();
    const long allocations = all ? all->live_allocations() - allocations_before : 0;
    const long objects = all ? all->live_objects() - objects_before : 0;
    if (allocations || objects)
        print_error("%ld allocations and %ld other objects are left on the device\n", allocations, objects);
    return allocations || objects ? -1 : 0;
}
