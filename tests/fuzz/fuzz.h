/*
 * What the parts of the fuzzer share.
 *
 *   draw.c         where everything random comes from
 *   arena.c        the memory that all tensors lie in: tensors are given there, kept inside, filled and marked
 *   operations.c   arguments that could be right, of all operations but the losses
 *   losses.c       those of the losses
 *   spoil.c        what is changed in them
 *
 * and ../fuzz_args.c, which makes the calls and looks at what they did.
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

enum { ARENA = 32768, MOST = 16, RANK = 8 };

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
    double number;
} fuzz;

/* ---- draw.c ---- */

/* A number in [0, below); 0 when the bytes have run out. */
uint64_t draw(fuzz *f, uint64_t below);

/* Whether to do what is rare; MAYBE is for what is not. */
bool one_in(fuzz *f, uint64_t n);
#define MAYBE if (!one_in(f, 3))

poslabel_dtype a_float(fuzz *f);
poslabel_dtype a_scalar(fuzz *f);
poslabel_dtype an_id(fuzz *f);
poslabel_dtype a_mask(fuzz *f);
poslabel_grid a_grid(fuzz *f);

/* ---- arena.c ---- */

extern unsigned char *arena; /* ARENA bytes, then an unreadable page */
void open_arena(void);

/* Adds a tensor to the field `at`; its data follow those of the one before. */
void give(fuzz *f, const poslabel_tensor **at, role what, poslabel_dtype dtype, int64_t limit, int rank,
          const int64_t *shape);

/* clang-format off */
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
/* clang-format on */

/*
 * That a tensor reaches only where it may: what the library must refuse stays as it is, what it would read or write
 * outside of the arena is made small.
 */
void keep_inside(slot *s);

/* Of a tensor that keep_inside() has approved: draws its elements; sets the bytes of `marks` that are its own. */
void fill_elements(fuzz *f, const slot *s);
void mark_elements(const slot *s, unsigned char *marks);

/* ---- operations.c and losses.c ---- */

/* Begins a function that makes the arguments `a` of an operation. */
#define START(name_, MACRO)                                                                                            \
    static poslabel_##name_##_args storage, *const a = &storage;                                                       \
    static const poslabel_##name_##_args init = MACRO;                                                                 \
    storage = init;                                                                                                    \
    f->name = #name_;                                                                                                  \
    f->args = (char *)a;                                                                                               \
    f->args_size = sizeof storage;                                                                                     \
    f->call = call_##name_

/* What START() takes the operation from: one of these for each, in the file that makes its arguments. */
#define CALL(name)                                                                                                     \
    static poslabel_status call_##name(poslabel_context *context, const void *args)                                    \
    {                                                                                                                  \
        return poslabel_##name(context, args);                                                                         \
    }

void make_labels(fuzz *f, int which);
void make_masks(fuzz *f, int which);
void make_tokens(fuzz *f, int which);
void make_losses(fuzz *f, int which);
void make_linear(fuzz *f);
void make_scale(fuzz *f);

/* ---- spoil.c ---- */

void spoil_tensor(fuzz *f);

/* Another number in a field that holds no tensor. */
void spoil_number(fuzz *f);

#endif
