/*
 * decoder.h: the tokens of MAE's decoder, their gradient, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_DECODER_H
#define TEST_DECODER_H

#include "support/tensors.h"

typedef struct decoder_sizes {
    int64_t images, tokens, visible, prefix, embedded, channels; /* B, N, K, P, E, D */
} decoder_sizes;

/* What a case has besides x, grad_out and all gradients. */
enum {
    DECODER_MASK_TOKEN = 1,
    DECODER_POS_EMBED = 2,
    DECODER_INT32 = 4,   /* ids_restore; else int64                                           */
    DECODER_ANY_IDS = 8, /* ids_restore is drawn with replacement, and is no permutation       */
    DECODER_OPTIONS = 16 /* how many combinations there are                                    */
};

/* The arguments of both passes; tensors that are NULL are not given. */
typedef struct decoder_case {
    decoder_sizes size;
    tensor *ids_restore;
    tensor *x, *mask_token, *pos_embed, *out;
    tensor *grad_out, *grad_x, *grad_mask_token, *grad_pos_embed;
} decoder_case;

/* Random ids and values; rows of all float tensors lie as `how` says. */
decoder_case decoder_case_new(decoder_sizes size, poslabel_dtype dtype, unsigned options, layout how, uint64_t seed);
void decoder_case_free(decoder_case *c);

/* The arguments, for a test to change. */
poslabel_decoder_tokens_args decoder_args(const decoder_case *c);
poslabel_decoder_tokens_backward_args decoder_backward_args(const decoder_case *c);

poslabel_status decoder_forward(poslabel_context *context, const decoder_case *c);
poslabel_status decoder_backward(poslabel_context *context, const decoder_case *c);

/* The outputs of both passes; some may be NULL. */
enum { DECODER_OUTPUTS = 4 };
void decoder_list_outputs(const decoder_case *c, tensor *outputs[DECODER_OUTPUTS]);

/* Fills them with the canary; whether they still hold it; that nothing was written around or between their rows. */
void decoder_case_forget_outputs(decoder_case *c);
bool decoder_case_outputs_untouched(const decoder_case *c);
void decoder_case_check_outputs(const decoder_case *c);

/* Makes a write to any input of the passes a fault, or allows it again. */
void decoder_case_protect_inputs(decoder_case *c, bool on);

/*
 * What the header defines, written as plainly as possible.  That the outputs are it: every element the rounding of the
 * exact value, or, for a sum, of a value as near to it as sums in double precision come.
 */
#define expect_decoder_tokens(c) expect_decoder_tokens_at(__FILE__, __LINE__, (c))
void expect_decoder_tokens_at(const char *file, int line, const decoder_case *c);
#define expect_decoder_gradients(c) expect_decoder_gradients_at(__FILE__, __LINE__, (c))
void expect_decoder_gradients_at(const char *file, int line, const decoder_case *c);

#endif
