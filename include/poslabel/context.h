/*
 * context.h: contexts, where a call runs and how it reports.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_CONTEXT_H
#define POSLABEL_CONTEXT_H

#include <poslabel/status.h>
#include <poslabel/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A context holds everything that would otherwise be global: the device, the number of threads, the instruction set,
 * the allocator, the log callback, the workspace and the message of the last failure.
 *
 * On the CPU a call returns when its work is done.
 *
 * On CUDA a call checks its arguments, queues its work on the context's stream and returns.  It does not wait for the
 * device, copies nothing to the host, and allocates nothing once the workspace is large enough.  It can therefore be
 * captured in a CUDA graph.  Errors that only the device can see - an id out of range, a NaN among the noise, a device
 * fault - surface later: see poslabel_context_synchronize().  Besides the statuses that each operation names, every
 * call on CUDA may return
 *
 *   POSLABEL_ERROR_DEVICE   a CUDA function failed, or a fault has lost the context; the outputs are then undefined.
 *   POSLABEL_ERROR_MEMORY   the device has no memory left.
 *   POSLABEL_ERROR_INVALID  the workspace would have to grow during a capture.
 *
 * The work is done in the primary context of the device, the one that the CUDA runtime uses and a stream must belong
 * to.  Whichever CUDA context the calling thread has current, or none, is current again when a call returns, and a
 * callback of device_allocator finds the primary one current.  No other device is touched.
 *
 * Use a context from one thread at a time.  Different contexts are independent and may run at the same time.
 *
 * Threads of the CPU backend.  A call with little to do runs on the calling thread alone, any other on all threads of
 * its context.  They are OpenMP's: GNU OpenMP starts them in the first such call and keeps them, also for other OpenMP
 * code of the program.  It ends or starts threads only when the next team is larger or smaller, so give all contexts
 * the number of threads that the program's other OpenMP code uses.
 *
 *   No threads.  If OpenMP cannot start a thread, it prints a line and ends the process.  The library therefore tries
 *     whether the process gets the threads before a thread of the program has its first team, and before a larger one.
 *     If not, the context runs on one thread from then on; a context that is created later tries again.  This cannot
 *     help when the process comes to its limits between that and the start of the team, or when others have made the
 *     pool smaller since.
 *
 *   fork().  A forked child may use contexts, its own or its parent's.  Its calls run on one thread, because OpenMP's
 *     threads do not survive fork().  This holds as well if the child is the first to load the library, as Linux tells.
 *     It then has threads only if it is also the first to load OpenMP.  A server that forks its workers should load the
 *     library in a worker before other users of OpenMP, or call exec().
 *
 *   Rounding.  On the CPU an operation rounds to nearest and keeps subnormal numbers, on all its threads, whatever the
 *     calling thread has set by fesetround() or to flush subnormal numbers to zero.  It restores that before it returns.
 *
 *   dlclose().  The library stays loaded until the process ends, because OpenMP's threads do.
 */
typedef struct poslabel_context poslabel_context;

/*
 * Instruction sets of the CPU backend.  Every level computes the same function.  Labels, masks and random draws have
 * the same bits at every level; losses and gradients agree within the precision that each operation states.
 */
typedef enum poslabel_isa {
    POSLABEL_ISA_AUTO = 0,       /* the best that this CPU has                                         */
    POSLABEL_ISA_REFERENCE = 10, /* plain C in double precision: slow, but defines the correct result  */
    POSLABEL_ISA_BASELINE = 20,  /* 128-bit vectors: SSE2 on x86-64, NEON on AArch64                   */
    POSLABEL_ISA_AVX2 = 30,      /* AVX2, FMA and F16C                                                 */
    POSLABEL_ISA_AVX512 = 40     /* AVX-512 F, BW, DQ and VL                                           */
} poslabel_isa;

/* The severity of a log line. */
typedef enum poslabel_log_level {
    POSLABEL_LOG_ERROR = 10, /* a call failed; the text is that of poslabel_context_message() */
    POSLABEL_LOG_INFO = 30   /* a context was created; the text says what it runs on          */
} poslabel_log_level;

/* Receives one line without a newline.  Must not call back into the same context. */
typedef void (*poslabel_log_callback)(void *user, poslabel_log_level level, const char *message);

/*
 * The source of host memory, for the context itself and its workspace.  Set both functions or neither.
 * `allocate` returns `size` bytes aligned to `alignment` (a power of two, at most 64).  If it returns NULL, the call
 * reports POSLABEL_ERROR_MEMORY.  `release` gets back the pointer and the size.  The library calls both on the thread
 * that made the call, never on a worker.
 */
typedef struct poslabel_allocator {
    void *user;
    void *(*allocate)(void *user, size_t size, size_t alignment);
    void (*release)(void *user, void *data, size_t size);
} poslabel_allocator;

/*
 * The source of device memory, for the workspace of a CUDA context and the kilobyte that the context keeps for itself.
 * Set both functions or neither.
 *
 * `allocate` returns `size` bytes on the context's device, aligned to 256 and ready for use on `stream` (a
 * cudaStream_t) at once.  If it returns NULL, the call reports POSLABEL_ERROR_MEMORY.  `release` gets back the pointer
 * and the size.  Work that uses the memory may still be queued on `stream` at that time, so `release` may give the
 * memory to others only in the order of that stream, as a framework's caching allocator does.
 *
 * The library never calls `allocate` while the stream is being captured.  It calls `release` at such a time only from
 * poslabel_context_trim() or poslabel_context_destroy().  Unless you installed a device allocator, call neither during
 * a capture: CUDA cannot free memory there, so the memory would leak.
 *
 * By default memory comes from cudaMallocAsync() and cudaFreeAsync().  Some virtual devices have no memory pools; there
 * it comes from cudaMalloc() and cudaFree(), and whenever the workspace grows, is trimmed or destroyed, the call waits
 * until all work of the device is done.
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
    poslabel_device_allocator device_allocator; /* on CUDA; default: CUDA's own memory                             */
} poslabel_context_options;

#define POSLABEL_CONTEXT_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(poslabel_context_options), {POSLABEL_DEVICE_CPU, 0}, 0, POSLABEL_ISA_AUTO, NULL, {NULL, NULL, NULL},    \
            NULL, NULL, NULL, 0, {NULL, NULL, NULL}                                                                    \
    }

/*
 * Creates a context.
 *
 *   options   NULL: the defaults.
 *   context   receives the new context, or NULL on failure.  Must not be NULL.
 *
 * The call starts no thread, and it touches no GPU unless options->device asks for one.  If the device is not
 * available, the call fails and gives the reason; there is no silent fallback to the CPU.
 *
 * The CUDA backend is the module libposlabel-cuda.so.  The first request for it loads the file that the environment
 * variable POSLABEL_CUDA_MODULE names, or else the file beside libposlabel.
 *
 * POSLABEL_ERROR_INVALID: context is NULL; threads is negative or above 1024; one of the two functions of an allocator
 * is missing; an unknown isa or device; an ordinal that no device has; a stream on the CPU, or one that is being
 * captured.  POSLABEL_ERROR_UNSUPPORTED: the device or the isa is not available, or the CUDA module has no code for a
 * device of that compute capability.  POSLABEL_ERROR_MEMORY.
 * POSLABEL_ERROR_DEVICE: CUDA failed.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_create(const poslabel_context_options *options,
                                                     poslabel_context **context);

/*
 * Gives a CUDA context another stream; NULL is CUDA's default stream.  Work queued on the new stream waits for the
 * work that the context queued on the old one.  The old stream must still exist.  If either stream is being captured,
 * the new one does not wait, and the caller must order the two.
 *
 * POSLABEL_ERROR_INVALID: context is NULL, or a stream on the CPU.  POSLABEL_ERROR_DEVICE.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_set_stream(poslabel_context *context, void *stream);

/*
 * Waits until all work that the context queued is done, and reports how it ended.  On the CPU nothing is ever queued,
 * and each call has already returned its own errors.  On CUDA:
 *
 *   POSLABEL_OK             all went well.
 *   POSLABEL_ERROR_INVALID  a kernel met values that are not allowed: ids out of range, weights that are negative or
 *                           not finite, NaN noise, places that are not a permutation.  The message says which values,
 *                           how many, and where the first was.  Each operation documents what its outputs then hold.
 *                           This call resets the count.
 *   POSLABEL_ERROR_DEVICE   the device reported a fault, of this context's work or of any other in the process.  The
 *                           context is lost: every later call on it that needs the device returns this status, and
 *                           outputs in flight are undefined.  A fault may also surface as the status of any later call.
 *
 * Also POSLABEL_ERROR_INVALID: context is NULL, or the stream is being captured.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_synchronize(poslabel_context *context);

/*
 * Frees the context and its workspace.  NULL is allowed.  On CUDA the workspace is released in the order of the
 * stream, so the stream must still exist.  Destroy captured graphs before the context.  Since 0.1.
 */
POSLABEL_API void poslabel_context_destroy(poslabel_context *context);

/*
 * Returns the message of the last failed call on this context, or "" before the first failure.  A call that succeeds
 * leaves the message as it is.  The string belongs to the context and changes with its next failure.  For a NULL
 * context the text says that the context is NULL.  Since 0.1.
 */
POSLABEL_API const char *poslabel_context_message(const poslabel_context *context);

/*
 * Return the device, the thread count and the instruction set of the context.  On CUDA the thread count is 0 and the
 * instruction set is POSLABEL_ISA_AUTO.  A NULL context gives {0, 0}, 0 and POSLABEL_ISA_AUTO.  Since 0.1.
 *
 * The thread count is that of a large call made now, as far as it is known: 1 in a forked child, in a library without
 * OpenMP, and after a call that did not get its threads.
 */
POSLABEL_API poslabel_device poslabel_context_device(const poslabel_context *context);
POSLABEL_API int32_t poslabel_context_threads(const poslabel_context *context);
POSLABEL_API poslabel_isa poslabel_context_isa(const poslabel_context *context);

/*
 * Workspace.  An operation that needs scratch memory takes it from the context.  The context keeps the largest block
 * that it ever needed and uses it again in the next call.  Each operation documents its bound.
 *
 * poslabel_context_workspace() returns the bytes held now.  poslabel_context_trim() gives them back to the allocator.
 * poslabel_context_reserve() takes at least `size` bytes now; it returns POSLABEL_ERROR_INVALID (context is NULL),
 * POSLABEL_ERROR_MEMORY and, on CUDA, POSLABEL_ERROR_DEVICE.
 *
 * A captured CUDA graph refers to the workspace as it was during the capture.  The workspace cannot grow during a
 * capture: the call fails with POSLABEL_ERROR_INVALID and says how much to reserve.  It must neither grow nor be
 * trimmed while the graph is in use.  Before the capture, reserve enough or make the largest call once.
 *
 * The graph must not run at the same time as other work of the context, whether that is queued on another stream or in
 * another graph.  Both would use the same workspace, and wait for each other's blocks.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_context_reserve(poslabel_context *context, size_t size);
POSLABEL_API size_t poslabel_context_workspace(const poslabel_context *context);
POSLABEL_API void poslabel_context_trim(poslabel_context *context);

/*
 * Memory that a caller lends to one call, in place of the context's workspace: for a captured graph that owns its
 * workspace, or for a framework that plans its memory.  The args struct of every operation on tensors has a pointer to
 * one of these; NULL takes the workspace from the context.
 *
 * data NULL asks.  The call checks its arguments as usual, but the data of tensors may be NULL.  It stores the bytes
 * that it would need in `size` and does nothing else: it reads and writes no tensor.  The answer depends on the context,
 * on shapes, strides, dtypes, numbers and on which tensors are given.  If a value on the device decides how much is
 * needed, the answer is the most that it can be.
 *
 * Otherwise data points to at least `size` bytes on the device of the context, aligned to 64 (CUDA: 256).  The call uses
 * them, until it returns (CUDA: until the stream has done its work), and takes nothing from the context or its
 * allocator.  POSLABEL_ERROR_INVALID: `size` is too small, and the message says how much is needed; or data is not
 * aligned.
 *
 * Since 0.1.
 */
typedef struct poslabel_workspace {
    void *data;  /* NULL: asks for the size       */
    size_t size; /* bytes at data, or the answer  */
} poslabel_workspace;

/*
 * Say whether this machine can create contexts of a kind (CUDA: for one of its devices; this makes no CUDA context).
 * POSLABEL_OK: it can.  POSLABEL_ERROR_UNSUPPORTED: it cannot, and `reason` receives the reason as a sentence, cut to
 * reason_size bytes; `reason` may be NULL.
 * POSLABEL_ERROR_INVALID: the number names no device type or instruction set.  Since 0.1.
 */
POSLABEL_API poslabel_status poslabel_device_supported(poslabel_device_type type, char *reason, size_t reason_size);
POSLABEL_API poslabel_status poslabel_isa_supported(poslabel_isa isa, char *reason, size_t reason_size);

/*
 * Returns "reference", "baseline", "avx2", "avx512" or "auto", or "unknown" for another number.  The string is static.
 * Since 0.1.
 */
POSLABEL_API const char *poslabel_isa_name(poslabel_isa isa);

#ifdef __cplusplus
}
#endif
#endif
