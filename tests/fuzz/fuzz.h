/*
 * What the parts of the fuzzer share.
 *
 *   draw.c     where everything random comes from
 *   arena.c    the memory that all tensors lie in: tensors are given there, kept inside, filled and marked
 *   labels.c, masks.c, tokens.c, decoder.c, pairs.c, attention.c, loss.c,
 *   axis.c, linear.c, mlp.c, regression.c
 *              arguments that could be right
 *   spoil.c    what is changed in them
 *
 * and fuzz_args.c, which makes the calls and looks at what they did.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <poslabel.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/numbers.h"
#include "support/tensors.h"

enum { ARENA = 32768, MOST = 32, RANK = 8 };

typedef enum role {
    FLOATS,
    WEIGHTS,
    IDS, /* in [0, limit) */
    MASK,
    ORDER, /* a permutation in each row */
    OUTPUT
} role;

typedef struct slot {
    const poslabel_tensor **at; /* the field of the args */
    poslabel_tensor t;
    int64_t shape[12], strides[12];
    role role;
    int64_t limit;
} slot;

/* Where the numbers come from: bytes that run out, or a generator. */
typedef struct source {
    const uint8_t *bytes;
    size_t left;
    rng r;
} source;

typedef struct fuzz {
    source from;
    slot slots[MOST];
    int count;
    size_t used; /* of the arena */
    char *args;
    size_t args_size;
    const char *name;
    poslabel_status (*call)(poslabel_context *, const void *);
    double number;    /* where sigma_schedule writes                              */
    const void *kept; /* a field that holds such an address, which is not spoilt */
    bool only_asks;   /* how much workspace the call needs */
} fuzz;

/* ---- draw.c ---- */

/* A number in [0, below); 0 when the bytes have run out. */
uint64_t draw(fuzz *f, uint64_t below);

/* Whether to do what is rare; MAYBE is for what is not. */
bool one_in(fuzz *f, uint64_t n);
#define MAYBE if (!one_in(f, 3))

/* A number in [least, most]. */
int64_t draw_size(fuzz *f, int64_t least, int64_t most);

poslabel_dtype a_float(fuzz *f);
poslabel_dtype a_scalar(fuzz *f);
poslabel_dtype an_id(fuzz *f);
poslabel_dtype a_mask(fuzz *f);
poslabel_grid a_grid(fuzz *f);
poslabel_grid a_small_grid(fuzz *f); /* for relative labels */

/* How many tokens a grid has, and how many offsets between two of them. */
int64_t grid_tokens(poslabel_grid grid);
int64_t grid_offsets(poslabel_grid grid);

/* ---- arena.c ---- */

extern unsigned char *arena; /* ARENA bytes, then an unreadable page */
void open_arena(void);

/* Adds a tensor to the field `at`; its data follow those of the one before. */
void give(fuzz *f, const poslabel_tensor **at, role what, poslabel_dtype dtype, int64_t limit, int rank,
          const int64_t *shape);

/* Gives the field `at` the same elements as the tensor that was given last, as an output. */
void give_again(fuzz *f, const poslabel_tensor **at);

/* The logits [b, rows, c] of a loss, and their gradient, which may be the logits. */
#define GIVE_LOGITS(b, rows, c)                                                                                        \
    const poslabel_dtype dtype = a_float(f);                                                                           \
    give(f, &a->logits, FLOATS, dtype, 0, SHAPE(b, rows, c));                                                          \
    if (one_in(f, 4))                                                                                                  \
        give_again(f, &a->grad_logits);                                                                                \
    else                                                                                                               \
        MAYBE give(f, &a->grad_logits, OUTPUT, dtype, 0, SHAPE(b, rows, c));

/* What all losses of rows [b, rows] share. */
#define GIVE_REDUCTION(b, rows)                                                                                        \
    a->reduction = (int32_t)draw(f, 3);                                                                                \
    a->grad_scale = (double)draw(f, 4) - 1;                                                                            \
    MAYBE give(f, &a->mask, MASK, a_mask(f), 0, SHAPE(b, rows));                                                       \
    MAYBE give(f, &a->weights, WEIGHTS, a_float(f), 0, SHAPE(b, rows));                                                \
    MAYBE give(f, &a->grad_loss, FLOATS, a_scalar(f), 0, 0, NULL);                                                     \
    MAYBE give(f, &a->normalizer, FLOATS, a_scalar(f), 0, SHAPE(1));                                                   \
    MAYBE give(f, &a->loss, OUTPUT, a_scalar(f), 0, a->reduction == POSLABEL_REDUCTION_NONE ? 2 : 0,                   \
               (int64_t[]){b, rows});                                                                                  \
    MAYBE give(f, &a->weight_sum, OUTPUT, a_scalar(f), 0, 0, NULL);                                                    \
    MAYBE give(f, &a->flags, OUTPUT, dtype_i32, 0, 0, NULL);

/*
 * That a tensor reaches only where it may: what the library must refuse stays as it is, what it would read or write
 * outside of the arena is made small.
 */
void keep_inside(slot *s);

/* Of a tensor that keep_inside() has approved: draws its elements; sets the bytes of `marks` that are its own. */
void fill_elements(fuzz *f, const slot *s);
void mark_elements(const slot *s, unsigned char *marks);

/* ---- labels.c and so on ---- */

/*
 * For each operation of operations.def: sets args, which are as the init macro makes them, so that the call could be
 * right.  One that no file has does not link: fuzz_<name> is missing.
 */
#define PLB_OPERATION(name, NAME, job) void fuzz_##name(fuzz *f, poslabel_##name##_args *a);
#include "operations.def"

/* ---- spoil.c ---- */

void spoil_tensor(fuzz *f);

/* Another number in a field that holds no tensor. */
void spoil_number(fuzz *f);

#endif
