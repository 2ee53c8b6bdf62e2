/*
 * The CUDA module: its state, and the services for its operations.
 *
 * An operation is one host function that takes a job, launches kernels on the context's stream and returns.  It reads
 * no tensor and waits for nothing.  It allocates memory by plb_cuda_workspace() alone.  The primary context of its
 * device is current while it runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_H
#define PLB_CUDA_H

#include "backend.h"
#include "core/cublas.cuh"
#include "core/device.cuh"

#include <cuda.h>

/* Values that are not allowed and that only a kernel sees.  poslabel_context_synchronize() reports them. */
enum plb_finding {
    PLB_FOUND_POSITIONS,     /* of a loss: ids out of range                          */
    PLB_FOUND_WEIGHTS,       /* of a loss: negative or not finite                    */
    PLB_FOUND_PATCH_NOISE,   /* NaN                                                  */
    PLB_FOUND_POS_NOISE,     /* NaN                                                  */
    PLB_FOUND_SHUFFLE_NOISE, /* NaN                                                  */
    PLB_FOUND_IDS_KEEP,      /* of tokens and attention: out of range                */
    PLB_FOUND_TOKEN_IDS,     /* the positions of assemble_tokens(): out of range     */
    PLB_FOUND_PLACES,        /* not a permutation                                    */
    PLB_FOUND_SIGMA,         /* sigma_scalar: negative or not finite                 */
    PLB_FOUND_SAMPLES,       /* of masks: out of range                               */
    PLB_FOUND_STEP,          /* step_scalar: out of range                            */
    PLB_FOUND_IDS_RESTORE,   /* of the decoder: out of range                         */
    PLB_FINDINGS
};

/* How many such values kernels met, and ~index of the first one.  All is zero when there was none. */
struct plb_findings {
    unsigned long long count[PLB_FINDINGS];
    unsigned long long first[PLB_FINDINGS];
};

/* The state that a context keeps on the device besides its workspace.  It begins as zeros. */
struct plb_device_state {
    plb_findings findings;
    unsigned arrived;    /* blocks at a barrier of the grid; 0 again after each launch    */
    unsigned generation; /* the number of such barriers so far                            */
    unsigned done;       /* blocks that are done with their rows; 0 again after each launch */
};

/* The number of blocks of a kernel that the device holds at once.  It is kept: a query takes as long as a launch. */
struct plb_residency {
    const void *kernel; /* NULL: free */
    size_t shared;
    int blocks;
};

/* A context's backend_state. */
struct plb_cuda {
    cudaStream_t stream;
    cudaEvent_t event; /* orders two streams */
    int device, multiprocessors;
    bool has_pools;                              /* of memory: cudaMallocAsync() works */
    CUcontext primary;                           /* the device's context, in which all work is done */
    CUresult (*get_context)(CUcontext *current); /* cuCtxGetCurrent() */
    CUresult (*set_context)(CUcontext next);     /* cuCtxSetCurrent() */
    plb_cublas cublas;
    cudaError_t fault;       /* an error that lasts: every later call fails             */
    cudaError_t refusal;     /* why the library's own allocator gave no memory          */
    cudaError_t query_error; /* of plb_resident_blocks(); the next launch reports it     */
    plb_device_state *state;
    plb_residency residency[64]; /* open addressing by kernel */
};

static inline plb_cuda *plb_cuda_of(const plb_call *call)
{
    return (plb_cuda *)call->context->backend_state;
}

/* The library's services. */
poslabel_status plb_cuda_fail(const plb_call *call, poslabel_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Device memory of at least `size` bytes, aligned to 256, until the next call of this function on the context. */
poslabel_status plb_cuda_workspace(const plb_call *call, size_t size, void **data);

/* POSLABEL_OK, or the status and message of a failed CUDA function.  `what` names its task: "the launch". */
poslabel_status plb_cuda_check(const plb_call *call, cudaError_t error, const char *what);

/*
 * Opens cuBLAS for the context, if that has not been done, and gives it the context's stream.  Then the same for its
 * functions: most failures of cuBLAS come from a CUDA error, which says more, also whether it lasts.
 */
poslabel_status plb_cublas_open(const plb_call *call);
poslabel_status plb_cublas_check(const plb_call *call, cublasStatus_t status, const char *what);
void plb_cublas_close(plb_cublas *cublas);

/* Whether the context's stream is being captured.  A capture allows no allocation and no waiting. */
poslabel_status plb_cuda_is_captured(const plb_call *call, bool *captured);

/* The number of blocks of a kernel that the device holds at once, at least 1.  A failed query fails the next launch. */
template <typename... Parameters>
static int plb_resident_blocks(plb_cuda *cuda, void (*kernel)(Parameters...), int threads, size_t shared)
{
    const void *const key = (const void *)kernel;
    const size_t places = sizeof cuda->residency / sizeof *cuda->residency;
    plb_residency *known = NULL;
    for (size_t k = 0, at = ((uintptr_t)key >> 4) % places; k < places && !known; k++, at = (at + 1) % places) {
        plb_residency *const entry = &cuda->residency[at];
        if (entry->kernel == key && entry->shared == shared)
            return entry->blocks;
        if (!entry->kernel)
            known = entry;
    }
    int blocks = 0;
    const cudaError_t error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared);
    if (error != cudaSuccess) {
        cuda->query_error = error;
        return 1;
    }
    blocks = (blocks < 1 ? 1 : blocks) * cuda->multiprocessors;
    if (known)
        *known = plb_residency{key, shared, blocks};
    return blocks;
}

enum plb_launch_kind {
    PLB_INDEPENDENT, /* blocks run in any order            */
    PLB_COOPERATIVE  /* all blocks are on the device at once and can wait for one another */
};

/* Launches a kernel on the context's stream.  Without blocks it launches nothing. */
template <typename... Parameters, typename... Arguments>
static poslabel_status plb_launch(const plb_call *call, plb_launch_kind kind, void (*kernel)(Parameters...),
                                  long long blocks, int threads, size_t shared, Arguments... arguments)
{
    if (plb_cuda_of(call)->query_error != cudaSuccess)
        return plb_cuda_check(call, plb_cuda_of(call)->query_error, "asking how many blocks the device holds");
    if (blocks == 0)
        return POSLABEL_OK;
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)blocks);
    config.blockDim = dim3((unsigned)threads);
    config.dynamicSmemBytes = shared;
    config.stream = plb_cuda_of(call)->stream;
    config.attrs = &attribute;
    config.numAttrs = kind == PLB_COOPERATIVE ? 1 : 0;
    return plb_cuda_check(call, cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), "the launch");
}

#ifdef __CUDACC__
#define PLB_DEVICE __device__ __forceinline__
#else
#define PLB_DEVICE inline
#endif

/* Reports a value that is not allowed to the host; `index` is its row-major index in its tensor. */
PLB_DEVICE void plb_found(plb_device_state *state, plb_finding finding, long long index)
{
    atomicAdd(&state->findings.count[finding], 1ull);
    atomicMax(&state->findings.first[finding], ~(unsigned long long)index);
}

/* The operations. */
#define PLB_JOB(name, job, backends) poslabel_status plb_cuda_##name(const plb_call *call, const struct job *job);
#include "operations.def"

#endif
