/*
 * Opening cuBLAS.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/cuda.cuh"

#include <dlfcn.h>
#include <stdlib.h>

/*
 * The process's own copy, else the linker's, else the one that the environment names; dlerror() tells why there is
 * none.  It stays loaded.
 */
static void *load()
{
    static const char *const names[] = {PLB_CUBLAS_13, PLB_CUBLAS_12};
    static const int modes[] = {RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD, RTLD_NOW | RTLD_LOCAL};
    for (int mode : modes)
        for (const char *name : names)
            if (void *const library = dlopen(name, mode))
                return library;
    const char *const named = secure_getenv("POSLABEL_CUBLAS");
    return named && *named ? dlopen(named, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static poslabel_status find(const plb_call *call, plb_cublas *cublas)
{
    const struct {
        void *function;
        const char *name;
    } table[] = {
        {&cublas->create, "cublasCreate_v2"},
        {&cublas->destroy, "cublasDestroy_v2"},
        {&cublas->set_stream, "cublasSetStream_v2"},
        {&cublas->set_workspace, "cublasSetWorkspace_v2"},
        {&cublas->set_math_mode, "cublasSetMathMode"},
        {&cublas->set_pointer_mode, "cublasSetPointerMode_v2"},
        {&cublas->status_string, "cublasGetStatusString"},
        {&cublas->gemm, "cublasGemmEx"},
    };
    void *const library = load();
    bool found = library != NULL;
    for (const auto &entry : table)
        found = found && (*(void **)entry.function = dlsym(library, entry.name)) != NULL;
    if (found)
        return POSLABEL_OK;
    const char *const error = dlerror();
    return plb_cuda_fail(call, POSLABEL_ERROR_UNSUPPORTED,
                         "this call needs cuBLAS: %s; install that of CUDA 12 or 13 where the linker finds it, or name "
                         "its file in the environment variable POSLABEL_CUBLAS",
                         error ? error : PLB_CUBLAS_13 " is not there");
}

poslabel_status plb_cublas_check(const plb_call *call, cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return POSLABEL_OK;
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        return plb_cuda_check(call, error, what);
    return plb_cuda_fail(call, status == CUBLAS_STATUS_ALLOC_FAILED ? POSLABEL_ERROR_MEMORY : POSLABEL_ERROR_DEVICE,
                         "%s failed: %s", what, plb_cuda_of(call)->cublas.status_string(status));
}

void plb_cublas_close(plb_cublas *cublas)
{
    if (!cublas->handle)
        return;
    cublas->destroy(cublas->handle);
    cublas->handle = NULL;
    cudaGetLastError();
}

poslabel_status plb_cublas_open(const plb_call *call)
{
    plb_cublas *const cublas = &plb_cuda_of(call)->cublas;
    if (!cublas->handle) {
        bool captured;
        PLB_TRY(plb_cuda_is_captured(call, &captured));
        if (captured)
            return plb_cuda_fail(call, POSLABEL_ERROR_INVALID,
                                 "the first call of a context opens cuBLAS, which cannot be done while the stream is "
                                 "captured; make one before");
        PLB_TRY(find(call, cublas));
        cublasHandle_t handle;
        PLB_TRY(plb_cublas_check(call, cublas->create(&handle), "opening cuBLAS"));
        cublas->handle = handle;
        /* By default cuBLAS may round the parts of a split sum to 16 bits. */
        const int mode = CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        const poslabel_status status =
            plb_cublas_check(call, cublas->set_math_mode(handle, (cublasMath_t)mode), "choosing cuBLAS's precision");
        if (status != POSLABEL_OK) {
            plb_cublas_close(cublas);
            return status;
        }
    }
    return plb_cublas_check(call, cublas->set_stream(cublas->handle, plb_cuda_of(call)->stream),
                            "giving cuBLAS the stream");
}
