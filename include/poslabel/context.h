/* context.h: where a call runs and how it reports.  SPDX-License-Identifier: Apache-2.0 */
#ifndef POSLABEL_CONTEXT_H
#define POSLABEL_CONTEXT_H

#include <poslabel/status.h>
#include <poslabel/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A context holds what would otherwise be global: the device, the number of threads, the instruction set, the
 * allocator, the log callback, the workspace and the message of the last failure.
 *
 * On the CPU a call returns when its work is done.  On CUDA it checks its arguments, queues its work on the context's
 * stream and returns; it does not wait for the device, copies nothing to the host, and allocates nothing once the
 * workspace is large enough, so that it can be captured in a CUDA graph.  What only the device can see - an id out of
 * range, a NaN among the noise, a fault of the device - surfaces later: see poslabel_context_synchronize().  Beside the
 * statuses that each operation names, every call on CUDA may give POSLABEL_ERROR_DEVICE (a CUDA function failed, or a
 * fault has lost the context; what outputs then hold is undefined), POSLABEL_ERROR_MEMORY (of the device), and
 * POSLABEL_ERROR_INVALID where the workspace would have to grow during a capture.
 *
 * Use a context from one thread at a time.  Different contexts are independent and may run at the same time.
 * A context may be used in a forked child; calls there run on one thread, because an OpenMP pool does not
 * survive fork().
 */
typedef struct poslabel_context poslabel_context;

/*
 * Instruction sets of the CPU backend.  Every level computes the same function: labels, masks and random draws
 * have the same bits at every level, losses and gradients agree within the precision each operation states.
 */
typedef enum poslabel_isa {
    POSLABEL_ISA_AUTO = 0,       /* the best this CPU has                                              */
    POSLABEL_ISA_REFERENCE = 10, /* plain C in double precision: the definition of correct, slow       */
    POSLABEL_ISA_BASELINE = 20,  /* 128-bit vectors: SSE2 on x86-64, NEON on AArch64                   */
    POSLABEL_ISA_AVX2 = 30,      /* AVX2, FMA and F16C                                                 */
    POSLABEL_ISA_AVX512 = 40     /* AVX-512 F, BW, DQ and VL                                           */
} poslabel_isa;

/* How urgent a log line is. */
typedef enum poslabel_log_level {
    POSLABEL_LOG_ERROR = 10, /* a call failed; the text is that of poslabel_context_message() */
    POSLABEL_LOG_INFO = 30   /* what a new context runs on                                    */
} poslabel_log_level;

/* Receives one line without a newline.  Must not call back into the same context. */
typedef void (*poslabel_log_callback)(void *user, poslabel_log_level level, const char *message);

/*
 * Where host memory comes from: the context itself and its workspace.  Set both functions or neither.
 * `allocate` returns `size` bytes aligned to `alignment` (a power of two, at most 64), or NULL, which the call
 * then reports as POSLABEL_ERROR_MEMORY.  `release` gets back the pointer and the size.  Both are called on
 * the thread that made the call, never from a worker.
 */
typedef struct poslabel_allocator {
    void *user;
    void *(*allocate)(void *user, size_t size, size_t alignment);
    void (*release)(void *user, void *data, size_t size);
} poslabel_allocator;

/*
 * Where device memory comes from: the workspace of a CUDA context and the kilobyte it keeps for itself.  Set both
 * functions or neither.  `allocate` returns `size` bytes of the context's device aligned to 256, fit for use on `stream`
 * (a cudaStream_t) at once, or NULL, which the call then reports as POSLABEL_ERROR_MEMORY.  `release` gets back the
 * pointer and the size while work that uses the memory may still be queued on `stream`, so the memory may be given to
 * others only in that stream's order: what a framework's caching allocator does.  `allocate` is never called while the
 * stream is being captured, and `release` only by a poslabel_context_trim() or _destroy() at such a time.  Without an
 * allocator of yours avoid both then: CUDA takes no memory back into a capture, and it would be lost to the process.
 */
typedef struct poslabel_device_allocator {
    void *user;
    void *(*allocate)(void *user, size_t size, void *stream);
    void (*release)(void *user, void *data, size_t size, void *stream);
} poslabel_device_allocator;

typedef struct poslabel_context_options {
    size_t struct_size;           /* sizeof(poslabel_context_options), set by the macro below                   */
    poslabel_device device;       /* default: the CPU                                                           */
    int32_t threads;              /* on the CPU; 0: all that OpenMP would use (OMP_NUM_THREADS, else every core) */
    int32_t isa;                  /* on the CPU a poslabel_isa; one this machine lacks is POSLABEL_ERROR_UNSUPPORTED */
    void *stream;                 /* a cudaStream_t on CUDA; must be NULL on the CPU                             */
    poslabel_allocator allocator; /* default: aligned malloc                                                     */
    poslabel_log_callback log;    /* NULL: silent                                                                */
    void *log_user;               /* passed to log                                                               */
    char *message;                /* where poslabel_context_create() writes why it failed; may be NULL           */
    size_t message_size;          /* bytes at message; a longer text is cut and still ends in a zero             */
    poslabel_device_allocator device_allocator; /* on CUDA; default: cudaMallocAsync(), cudaFreeAsync()            */
} poslabel_context_options;

#define POSLABEL_CONTEXT_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(poslabel_context_options), {POSLABEL_DEVICE_CPU, 0}, 0, POSLABEL_ISA_AUTO, NULL, {NULL, NULL, NULL},    \
            NULL, NULL, NULL, 0, {NULL, NULL, NULL}                                                                    \
    }

/*
 * Makes a context.
 *
 *   options   NULL: the defaults.
 *   context   receives the new context, or NULL on failure.  Must not be NULL.
 *
 * Starts no thread and touches no GPU unless options->device asks for one.  Asking for a device that cannot be
 * had is an error that gives the reason; there is no silent fall-back to the CPU.
 *
 * The CUDA backend is the module libposlabel-cuda.so, loaded at the first request for it: the file that the environment
 * variable POSLABEL_CUDA_MODULE names, else the one beside libposlabel.
 * POSLABEL_ERROR_INVALID: context is NULL, threads is negative or above 1024, one of the two functions of an allocator
 * is missing, an unknown isa or device, an ordinal that no device has, a stream on the CPU or one that is being
 * captured.  POSLABEL_ERROR_UNSUPPORTED: the device or the isa is not to be had.  POSLABEL_ERROR_MEMORY.
 * POSLABEL_ERROR_DEVICE: CUDA failed.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_create(const poslabel_context_options *options,
                                                     poslabel_context **context);

/*
 * Gives a CUDA context another stream; NULL is CUDA's default stream.  Work queued on the new stream waits for what the
 * context queued on the old one, which must still exist, unless one of the two is being captured: then the caller orders
 * them.  POSLABEL_ERROR_INVALID: context is NULL, or a stream on the CPU.  POSLABEL_ERROR_DEVICE.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_set_stream(poslabel_context *context, void *stream);

/*
 * Waits until everything that the context queued is done, and tells what became of it.  On the CPU nothing is ever
 * queued, and every error was the status of its own call.  On CUDA:
 *
 *   POSLABEL_OK             all went well.
 *   POSLABEL_ERROR_INVALID  a kernel met values that are not allowed: ids out of range, weights that are negative or not
 *                           finite, NaN noise, places that are no permutation.  The message says what, how many, and
 *                           where the first was; what the outputs then hold is documented at each operation.  The
 *                           count starts anew after this call.
 *   POSLABEL_ERROR_DEVICE   the device reported a fault, of this context's work or of any other in the process.  The
 *                           context is lost: every later call on it that needs the device returns this status, and
 *                           outputs in flight are undefined.  A fault may also surface as the status of any later call.
 *
 * Also POSLABEL_ERROR_INVALID: context is NULL, or the stream is being captured.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_synchronize(poslabel_context *context);

/*
 * Frees the context and its workspace.  NULL is allowed.  On CUDA the workspace goes back in the order of the stream,
 * which must still exist, and graphs that were captured must be destroyed before.  Since 0.1.
 */
POSLABEL_API void poslabel_context_destroy(poslabel_context *context);

/*
 * The message of the last call on this context that failed, "" before the first.  A call that succeeds leaves it
 * as it is.  The string belongs to the context and changes with its next failure.  NULL gives a text that says
 * that the context is NULL.  Since 0.1.
 */
POSLABEL_API const char *poslabel_context_message(const poslabel_context *context);

/*
 * The device, the thread count and the instruction set that the context runs on; on CUDA 0 threads and
 * POSLABEL_ISA_AUTO.  For a NULL context {0, 0}, 0 and POSLABEL_ISA_AUTO.  Since 0.1.
 */
POSLABEL_API poslabel_device poslabel_context_device(const poslabel_context *context);
POSLABEL_API int32_t poslabel_context_threads(const poslabel_context *context);
POSLABEL_API poslabel_isa poslabel_context_isa(const poslabel_context *context);

/*
 * Workspace.  An operation that needs scratch memory takes it from the context, which keeps the largest block it
 * ever needed for the next call; each operation documents its bound.  _workspace gives the bytes held now;
 * _trim gives them back to the allocator; _reserve takes at least `size` bytes now, with the statuses
 * POSLABEL_ERROR_INVALID (context is NULL), POSLABEL_ERROR_MEMORY and, on CUDA, POSLABEL_ERROR_DEVICE.
 *
 * A captured CUDA graph refers to the workspace as it was.  The workspace cannot grow during a capture (the call fails
 * with POSLABEL_ERROR_INVALID and says how much to reserve) and must neither grow nor be trimmed while the graph is in
 * use: reserve enough, or make the largest call once, before the capture.  Nor must the graph run at the same time as
 * other work of the context, be it queued on another stream or in another graph: both would use one workspace, and wait
 * for each other's blocks.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_reserve(poslabel_context *context, size_t size);
POSLABEL_API size_t poslabel_context_workspace(const poslabel_context *context);
POSLABEL_API void poslabel_context_trim(poslabel_context *context);

/*
 * Whether contexts of a kind can be made on this machine: POSLABEL_OK, or POSLABEL_ERROR_UNSUPPORTED with the
 * reason as a sentence in `reason` (cut to reason_size bytes; may be NULL), or POSLABEL_ERROR_INVALID for a number
 * that names no device type or instruction set.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_device_supported(poslabel_device_type type, char *reason, size_t reason_size);
POSLABEL_API poslabel_status poslabel_isa_supported(poslabel_isa isa, char *reason, size_t reason_size);

/* "reference", "baseline", "avx2", "avx512"; "auto"; "unknown" for another number.  Static.  Since 0.1. */
POSLABEL_API const char *poslabel_isa_name(poslabel_isa isa);

#ifdef __cplusplus
}
#endif
#endif
