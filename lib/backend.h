/*
 * The one seam between the library and its backends.  SPDX-License-Identifier: Apache-2.0
 *
 * The public functions check everything that can be known without reading a tensor, and hand a job of plain views to
 * the backend of the context.  A backend checks the values (ids, noise, weights) as far as it can read them, and writes
 * no output before it has.  A view whose data is NULL was not given.
 */
#ifndef PLB_BACKEND_H
#define PLB_BACKEND_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- labels ---- */

typedef struct plb_labels_job {
    poslabel_grid grid;
    plb_rows labels; /* rows of N labels; for relative labels N rows belong together */
} plb_labels_job;

typedef struct plb_smoothing_map_job {
    poslabel_grid grid;
    double sigma;
    int normalization;
    plb_rows map;
} plb_smoothing_map_job;

/* Checks that several operations share: a grid whose relative labels fit, and the arguments of a Gaussian target. */
poslabel_status plb_check_relative_grid(const plb_call *call, poslabel_grid grid);
poslabel_status plb_check_sigma(const plb_call *call, double sigma, int normalization);

/* ---- masks: poslabel_droppos_masks() is the general case, the others leave its second half out ---- */

typedef struct plb_masks_job {
    int64_t images, tokens, keep, keep_pos; /* B, N, V, K_pos */
    int patch_mask;                         /* a poslabel_patch_mask */
    poslabel_grid grid;                     /* regular and block */
    int32_t block_side;
    bool wrong_positions;
    uint64_t seed;
    uint32_t first_sample, step;
    plb_rows patch_noise, pos_noise, shuffle_noise;
    plb_rows ids_keep, ids_remove, ids_restore, mask;
    plb_rows ids_keep_pos, ids_restore_pos, mask_pos, positions, places;
} plb_masks_job;

/* ---- tokens ---- */

/* Which token and which embedding stands where: common to the forward and the backward pass. */
typedef struct plb_token_layout {
    int64_t images, tokens, visible, prefix, channels; /* B, N, V, P, D */
    plb_rows ids_keep, mask_pos, positions, places;    /* one row of V an image */
    bool prefix_has_embedding;                         /* pos_embed has P + N rows, not N */
} plb_token_layout;

typedef struct plb_assemble_job {
    plb_token_layout layout;
    plb_rows tokens;                  /* B * N rows */
    plb_rows prefix_tokens, pos_embed, mask_token;
    plb_rows x;                       /* B * (P + V) rows */
} plb_assemble_job;

typedef struct plb_assemble_backward_job {
    plb_token_layout layout;
    plb_rows grad_x;
    plb_rows grad_tokens, grad_mask_token, grad_prefix_tokens, grad_pos_embed;
} plb_assemble_backward_job;

/* ---- attention ---- */

typedef struct plb_attention_job {
    int64_t images, tokens, visible, channels;
    double temperature;
    plb_rows features;  /* B * N rows of D */
    plb_rows cls;       /* B rows, or 1 */
    plb_rows pos_embed; /* P + N rows */
    plb_rows ids_keep;  /* B rows of V */
    plb_rows attention; /* B rows of N */
    plb_rows weights;   /* B rows of V */
} plb_attention_job;

/* ---- losses: one engine, several kinds of target ---- */

typedef enum plb_target {
    PLB_TARGET_ABSOLUTE, /* label = r mod N                                              */
    PLB_TARGET_RELATIVE, /* label of pair r mod N^2                                      */
    PLB_TARGET_EXPLICIT, /* label = ids[r]                                               */
    PLB_TARGET_GAUSSIAN  /* a Gaussian around ids[r], for sigma > 0                      */
} plb_target;

typedef struct plb_loss_job {
    plb_target target;
    poslabel_grid grid;
    int64_t rows, classes;
    plb_shape row_shape;      /* the leading shape of the logits, for messages */
    plb_rows logits, grad_logits;
    bool in_place;            /* grad_logits are the logits */
    plb_rows ids;             /* one a row */
    bool has_ignore_index;
    int64_t ignore_index;
    plb_rows mask, weights;   /* one a row */
    double label_smoothing;
    double sigma;
    int normalization;
    bool confidence_filter;
    int reduction;            /* a poslabel_reduction */
    double grad_scale;
    plb_rows grad_loss;       /* a scalar, or one a row */
    plb_rows normalizer;      /* scalars from here on, but loss with reduction none */
    plb_rows loss, accuracy, weight_sum, flags;
} plb_loss_job;

typedef struct plb_scale_job {
    plb_rows grad;
    plb_rows scale; /* a scalar, or one a row */
} plb_scale_job;

/* ---- a linear head and its loss ---- */

typedef struct plb_linear_job {
    plb_loss_job loss;        /* all but logits and grad_logits */
    int64_t channels;         /* D */
    plb_rows features;        /* loss.rows rows of D */
    plb_rows weight;          /* C rows of D, dtype of the features */
    plb_rows bias;            /* one row of C */
    plb_rows grad_features;   /* dtype of the features */
    plb_rows grad_weight;
    plb_rows grad_bias;       /* one row of C */
    bool accumulate;          /* the last two are added to what is there */
    uint64_t workspace_limit; /* bytes; 0: the default of the header */
} plb_linear_job;

/* ---- the table ---- */

enum { PLB_BACKEND_VERSION = 2 };

typedef struct plb_backend {
    uint32_t version; /* PLB_BACKEND_VERSION of the headers it was compiled with */
    const char *name;
    /* Settles context->threads and ->isa, and keeps what it needs in ->backend_state; or says why it cannot. */
    poslabel_status (*open)(poslabel_context *context, const poslabel_context_options *options, char *reason,
                            size_t reason_size);
    void (*close)(poslabel_context *context); /* the workspace has been released */
    /* Memory for the workspace, where the backend computes. */
    poslabel_status (*allocate)(const plb_call *call, size_t size, void **data);
    void (*release)(poslabel_context *context, void *data, size_t size);
    poslabel_status (*set_stream)(const plb_call *call, void *stream);
    poslabel_status (*synchronize)(const plb_call *call);
    poslabel_status (*absolute_labels)(const plb_call *call, const plb_labels_job *job);
    poslabel_status (*relative_labels)(const plb_call *call, const plb_labels_job *job);
    poslabel_status (*smoothing_map)(const plb_call *call, const plb_smoothing_map_job *job);
    poslabel_status (*masks)(const plb_call *call, const plb_masks_job *job);
    poslabel_status (*assemble_tokens)(const plb_call *call, const plb_assemble_job *job);
    poslabel_status (*assemble_tokens_backward)(const plb_call *call, const plb_assemble_backward_job *job);
    poslabel_status (*attentive_weights)(const plb_call *call, const plb_attention_job *job);
    poslabel_status (*row_loss)(const plb_call *call, const plb_loss_job *job);
    poslabel_status (*scale_gradient)(const plb_call *call, const plb_scale_job *job);
    poslabel_status (*linear_loss)(const plb_call *call, const plb_linear_job *job); /* NULL: there is none */
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

#ifdef __cplusplus
}
#endif
#endif
