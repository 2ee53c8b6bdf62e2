/*
 * One call of one operation: how it begins, how it fails, and its workspace.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CALL_H
#define PLB_CALL_H

#include "context.h"
#include "size.h"

/* One call of one operation: what a check needs to report a failure. */
typedef struct plb_call {
    poslabel_context *context;
    const char *operation; /* "droppos_loss" */
    poslabel_workspace *lent; /* by the caller, or NULL */
} plb_call;

/* Whether the caller only asks how much workspace the call needs.  The data of its tensors may be NULL then. */
static inline bool plb_only_asks(const plb_call *call)
{
    return call->lent && !call->lent->data;
}

/* The status of plb_workspace() when the caller only asks: the call ends there.  No public function returns it. */
#define PLB_ASKED ((poslabel_status)-1)

/* Stores "operation: text" as the context's message, logs it, and returns the status. */
poslabel_status plb_fail(const plb_call *call, poslabel_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns from a function with the status of a call that failed. */
#define PLB_TRY(expression)                                                                                            \
    do {                                                                                                               \
        const poslabel_status plb_tried = (expression);                                                                \
        if (plb_tried != POSLABEL_OK)                                                                                  \
            return plb_tried;                                                                                          \
    } while (0)

/*
 * Starts a call: checks the context and copies the caller's args over the defaults that `copy` holds, by the rules of
 * poslabel.h for older and newer callers.  `size` is the size of the struct that this library knows.
 */
poslabel_status plb_begin(plb_call *call, poslabel_context *context, const char *operation, const void *args,
                          void *copy, size_t size);

/*
 * At least `size` bytes, aligned to 64, that stay valid until the next call of plb_workspace() on the context.  Every
 * operation of a backend takes its workspace first of all and at once, even if it needs none, and returns what fails.
 */
poslabel_status plb_workspace(const plb_call *call, size_t size, void **data);

#endif
