/*
 * The reader of arguments: from the tensors of a public function to checked rows.
 *
 * A public function describes its tensors in a table of plb_argument and calls plb_read(), which checks that required
 * tensors are there, their dtype, device, shape, strides and alignment, and that no output shares memory with another
 * of them.  A function that learns a size only from its first tensors may call plb_read() several times.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_READ_H
#define PLB_READ_H

#include "call.h"
#include "rows.h"

/* Sets of dtypes that an argument accepts. */
enum {
    PLB_LOGITS = 1 << PLB_F32 | 1 << PLB_F16 | 1 << PLB_BF16 | 1 << PLB_F64,
    PLB_FEATURES = 1 << PLB_F32 | 1 << PLB_F16 | 1 << PLB_BF16,
    PLB_SCALARS = 1 << PLB_F32 | 1 << PLB_F64,
    PLB_IDS = 1 << PLB_I32 | 1 << PLB_I64,
    PLB_FLAGS = 1 << PLB_I32,
    PLB_MASKS = PLB_LOGITS | PLB_IDS | 1 << PLB_U8 | 1 << PLB_BOOL,
    PLB_LIKE_FIRST = 1 << 30,       /* the dtype of the first argument                                */
    PLB_LIKE_FIRST_OR_F32 = 1 << 29 /* that or, beside 16-bit arguments, float32                      */
};

enum {
    PLB_IN = 0,
    PLB_OUT = 1,
    PLB_REQUIRED = 2,  /* NULL is an error                                                          */
    PLB_PARAMETER = 4, /* dimensions of size 1 may stand before the shape ([1, N, D] for [N, D])    */
    PLB_IN_PLACE = 8,  /* an output that may be the argument that was read just before it           */
    PLB_STRIDED = 16   /* the elements of a row may lie apart                                       */
};

/*
 * A shape is a list of symbols, 0 after the last; without any the tensor is a scalar.  Symbols are the caller's, from 1
 * to PLB_SYMBOLS - 1.  The last dimension forms the rows, if it is a symbol; after PLB_DOTS alone each value is a row.
 */
enum {
    PLB_SHAPE = 5,
    PLB_SYMBOLS = 16,
    PLB_UNKNOWN = -1, /* the size of a symbol that no argument has told yet                            */
    PLB_DOTS = -1,    /* any dimensions, comes first; the same for all arguments                        */
    PLB_ANY = -2      /* one dimension of any size                                                      */
};
#define PLB_SUM(a, b) ((a) | (b) << 8) /* the sum of two symbols that are known by then */

typedef struct plb_argument {
    const char *name;
    const poslabel_tensor *tensor; /* NULL: not given */
    plb_rows *rows;                /* where its view goes: zeros, which stay if it is not given */
    unsigned dtypes;
    int rules;
    int16_t shape[PLB_SHAPE];
} plb_argument;

enum { PLB_MOST_ARGUMENTS = 32 }; /* of one function */

typedef struct plb_reader {
    const plb_call *call;
    int64_t size[PLB_SYMBOLS];
    const poslabel_tensor *dots;              /* the first tensor whose shape has PLB_DOTS; NULL: none yet */
    int dots_rank;                            /* how many dimensions PLB_DOTS stands for                  */
    const plb_rows *seen[PLB_MOST_ARGUMENTS]; /* those given, in the order in which they were read */
    int count;
} plb_reader;

/* A reader that knows no size yet. */
void plb_reader_begin(plb_reader *reader, const plb_call *call);

poslabel_status plb_read(plb_reader *reader, const plb_argument *arguments, int count);

/* Whether an output that may be the first argument is. */
bool plb_is_in_place(const plb_reader *reader, const plb_rows *output);

/* Whether any output among the arguments was given. */
bool plb_has_output(const plb_argument *arguments, int count);

#define PLB_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Checks of arguments that are no tensors. */
poslabel_status plb_check_flag(const plb_call *call, const char *name, int32_t value); /* 0 or 1 */
poslabel_status plb_check_grid(const plb_call *call, poslabel_grid grid);              /* sides >= 1, h w < 2^31 */
bool plb_grid_is_valid(poslabel_grid grid);

#endif
