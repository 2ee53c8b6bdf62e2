/*
 * tokens.h: token assembly, its gradient, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_TOKENS_H
#define TEST_TOKENS_H

#include "support/tensors.h"

typedef struct token_sizes {
    int64_t images, tokens, visible, prefix, channels; /* B, N, V, P, D */
} token_sizes;

/* What a case has besides tokens and x.  Without TOKENS_IDS V must be N. */
enum {
    TOKENS_IDS = 1,
    TOKENS_DUPLICATES = 2, /* ids_keep is drawn with replacement                                   */
    TOKENS_MASK = 4,
    TOKENS_POSITIONS = 8, /* instead of a mask: anyone's, or -1                                    */
    TOKENS_PLACES = 16,
    TOKENS_POS_EMBED = 32,
    TOKENS_PREFIX_EMBED = 64, /* pos_embed has rows for the prefix                                 */
    TOKENS_MASK_TOKEN = 128,
    TOKENS_INT32 = 256, /* ids, positions and places; else int64                                   */
    TOKENS_ALL = 511,
    TOKENS_COLUMNS = 512,   /* channels of tokens lie apart                                         */
    TOKENS_F32 = 1024,      /* parameters in float32 beside 16 bits                                 */
    TOKENS_REGISTER = 2048, /* the last prefix token has no embedding                              */
    TOKENS_16 = 4096,       /* but the mask token                                                   */
    TOKENS_SHARED = 8192    /* each token has one value for all its channels                        */
};

/* Combinations of these that between them have everything. */
enum { TOKEN_OPTION_SETS = 9 };
extern const unsigned token_option_sets[TOKEN_OPTION_SETS];

/* The arguments of both passes; tensors that are NULL are not given.  Gradients are named after what they are of. */
typedef struct token_case {
    token_sizes size;
    poslabel_dtype dtype;
    int64_t embedded, registers; /* prefix tokens with rows in pos_embed; the argument register_count */
    tensor *ids_keep, *mask_pos, *positions, *places;
    tensor *tokens, *prefix_tokens, *pos_embed, *mask_token, *x;
    tensor *grad_x, *grad_tokens, *grad_mask_token, *grad_prefix_tokens, *grad_pos_embed;
} token_case;

/* Random indices and values; the mask is uint8; rows of all float tensors lie as `how` says. */
token_case token_case_new(token_sizes size, poslabel_dtype dtype, unsigned options, layout how, uint64_t seed);
void token_case_free(token_case *c);

/* The arguments, for a test to change. */
poslabel_assemble_tokens_args token_args(const token_case *c);
poslabel_assemble_tokens_backward_args token_backward_args(const token_case *c);

poslabel_status token_assemble(poslabel_context *context, const token_case *c);
poslabel_status token_backward(poslabel_context *context, const token_case *c);

/* Fills the outputs of both passes with the canary; whether they still hold it. */
void token_case_forget_outputs(token_case *c);
bool token_case_outputs_untouched(const token_case *c);

/* Makes a write to any input of the passes a fault, or allows it again. */
void token_case_protect_inputs(token_case *c, bool on);

/* That nothing was written around or between the rows of the outputs. */
void token_case_check_outputs(const token_case *c);

/*
 * What the header defines, written as plainly as possible.  That the outputs are it: every element the rounding of the
 * exact value, or, for a sum, of a value as near to it as sums in double precision come.
 */
#define expect_assembled(c) expect_assembled_at(__FILE__, __LINE__, (c))
void expect_assembled_at(const char *file, int line, const token_case *c);
#define expect_token_gradients(c) expect_token_gradients_at(__FILE__, __LINE__, (c))
void expect_token_gradients_at(const char *file, int line, const token_case *c);

#endif
