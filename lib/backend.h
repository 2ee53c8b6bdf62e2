/*
 * The one seam between the library and its backends.
 *
 * A public function checks everything that can be known without reading a tensor, and hands a job to the backend of
 * its context.  A job holds plain views; a view whose data is NULL was not given.  A backend checks the values of
 * tensors (ids, noise, weights) as far as it can read them, and writes no output before it has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_BACKEND_H
#define PLB_BACKEND_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The jobs, each declared by its family: plb_masks_job in masks.h. */
#define PLB_JOB(name, job, backends) struct job;
#include "operations.def"

/* Of plb_backend and all that a module is handed.  The number of jobs is part of it, for each is a field. */
enum {
    PLB_BACKEND_VERSION = 5 * 256
#define PLB_JOB(name, job, backends) +1
#include "operations.def"
};

/* Which backends have an operation. */
enum {
    PLB_ON_CPU = 1,
    PLB_ON_CUDA = 2
};

typedef struct plb_backend {
    uint32_t version; /* PLB_BACKEND_VERSION of the headers it was compiled with */
    const char *name;
    /* Settles context->threads and ->isa, and keeps what it needs in ->backend_state; or says why it cannot. */
    poslabel_status (*open)(poslabel_context *context, const poslabel_context_options *options, char *reason,
                            size_t reason_size);
    void (*close)(poslabel_context *context); /* the workspace has been released */
    int (*threads)(const poslabel_context *context); /* that a call uses at most; NULL: ->threads */
    /* Memory for the workspace, where the backend computes. */
    poslabel_status (*allocate)(const plb_call *call, size_t size, void **data);
    void (*release)(poslabel_context *context, void *data, size_t size);
    poslabel_status (*set_stream)(const plb_call *call, void *stream);
    poslabel_status (*synchronize)(const plb_call *call);
    /* The operations, by their names in operations.def.  NULL: this backend does not have it. */
#define PLB_JOB(name, job, backends) poslabel_status (*name)(const plb_call *call, const struct job *job);
#include "operations.def"
} plb_backend;

/* What a backend in a module of its own needs of the library. */
typedef struct plb_services {
    poslabel_status (*fail)(const plb_call *call, poslabel_status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
    poslabel_status (*workspace)(const plb_call *call, size_t size, void **data);
} plb_services;

/*
 * The one symbol of such a module.  NULL, with a reason, when it was built for another version of the library or when
 * this machine cannot run it.
 */
typedef const plb_backend *plb_module_entry(uint32_t version, const char *library, const plb_services *services,
                                            char *reason, size_t reason_size);
#define PLB_MODULE_ENTRY "plb_module"

extern const plb_backend plb_cpu_backend;

/* The backend of a type of device; NULL, with a reason, when it is not to be had. */
const plb_backend *plb_backend_for(poslabel_device_type type, char *reason, size_t reason_size);

/*
 * Hands a job to an operation of the call's backend, and gives its status: PLB_RUN(&call, masks, &job).  An operation
 * that the backend does not have is unsupported.
 */
#define PLB_RUN(call, name, job)                                                                                       \
    plb_end(call, (call)->context->backend->name ? (call)->context->backend->name(call, job) : plb_not_there(call))

poslabel_status plb_not_there(const plb_call *call);

/* The status of a public function, from that of the backend's. */
static inline poslabel_status plb_end(const plb_call *call, poslabel_status status)
{
    if (status == POSLABEL_OK && plb_only_asks(call))
        call->lent->size = 0; /* there was nothing to do */
    return status == PLB_ASKED ? POSLABEL_OK : status;
}

#ifdef __cplusplus
}
#endif
#endif
