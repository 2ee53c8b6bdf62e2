/*
 * masks.h: one description for all masks, and their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_MASKS_H
#define TEST_MASKS_H

#include "support/contexts.h"
#include "support/tensors.h"

typedef enum mask_kind {
    MASK_RANDOM,
    MASK_REGULAR,
    MASK_BLOCK,
    MASK_DROPPOS, /* poslabel_droppos_masks(), with any of the three patch masks */
    MASK_KINDS
} mask_kind;

typedef enum mask_output {
    IDS_KEEP,
    IDS_REMOVE,
    IDS_RESTORE,
    MASK,
    IDS_KEEP_POS,
    IDS_RESTORE_POS,
    MASK_POS,
    POSITIONS,
    PLACES,
    MASK_OUTPUTS
} mask_output;

enum { PATCH_OUTPUTS = MASK + 1 }; /* the outputs that all masks have */

extern const char *const mask_output_names[MASK_OUTPUTS];

typedef enum mask_noise { PATCH_NOISE, POS_NOISE, SHUFFLE_NOISE, MASK_NOISES } mask_noise;

/* The arguments of all four operations. */
typedef struct mask_case {
    mask_kind kind;
    poslabel_grid grid; /* random masks: any grid of so many tokens */
    int patch_mask, wrong_positions;
    double mask_ratio, pos_mask_ratio;
    uint64_t seed;
    uint32_t first_sample, step;
    tensor *samples, *step_scalar; /* NULL: first_sample + b, step; both are int64, in rows of one stride */
    int64_t images;
    tensor *noise[MASK_NOISES]; /* NULL: drawn */
    tensor *output[MASK_OUTPUTS];
} mask_case;

/* Random masks of `tokens` tokens, a grid of one row; and both masks of DropPos.  Drawn, without outputs. */
mask_case mask_random_case(int64_t tokens, int64_t images, double mask_ratio);
mask_case mask_droppos_case(poslabel_grid grid, int patch_mask, int64_t images);

/* N, V and K_pos, written from the documentation. */
int64_t mask_tokens(const mask_case *c);
int64_t mask_visible(const mask_case *c);
int64_t mask_keep_pos(const mask_case *c);

/* The length of a row of an output, or of a noise. */
int64_t mask_output_length(const mask_case *c, mask_output output);
int64_t mask_noise_length(const mask_case *c, mask_noise noise);

/* All outputs of the operation; ids have one dtype, masks another; all rows lie as `how` says. */
void mask_case_add_outputs(mask_case *c, poslabel_dtype ids, poslabel_dtype masks, layout how);

/* Uniform noise in [0, 1) of the kinds that the operation reads. */
void mask_case_add_noise(mask_case *c, poslabel_dtype dtype, layout how, uint64_t seed);
void mask_case_free(mask_case *c);

void mask_case_forget_outputs(const mask_case *c);
bool mask_case_outputs_untouched(const mask_case *c);

/* The arguments, for a test to change; each for cases of its kind. */
poslabel_random_mask_args mask_random_args(const mask_case *c);
poslabel_regular_mask_args mask_regular_args(const mask_case *c);
poslabel_block_mask_args mask_block_args(const mask_case *c);
poslabel_droppos_masks_args mask_droppos_args(const mask_case *c);

poslabel_status mask_call(poslabel_context *context, const mask_case *c);

/* What the header defines, by qsort() and one word of Philox at a time. */
typedef struct mask_answer {
    int64_t *output[MASK_OUTPUTS]; /* images x length */
} mask_answer;

mask_answer mask_solve(const mask_case *c);
void mask_answer_free(mask_answer *a);

/* That the outputs given are exactly the answer, and that nothing lies around them. */
#define expect_masks(c, answer) expect_masks_at(__FILE__, __LINE__, (c), (answer))
void expect_masks_at(const char *file, int line, const mask_case *c, const mask_answer *answer);

/* A context of each level with one thread, for a suite's set-up and tear-down; the reference first. */
extern poslabel_context *mask_levels[ISA_LEVELS];
extern int mask_level_count;
int mask_open_levels(void **state);
int mask_close_levels(void **state);
const char *mask_level_name(const poslabel_context *context);

/* Runs a case at every level and compares; the answer is found once.  `what` is for the message. */
void expect_masks_every_level(const mask_case *c, const char *what);

#endif
