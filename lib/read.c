/*
 * The reader of arguments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "read.h"

#include "overlap.h"
#include "tensor.h"

void plb_reader_begin(plb_reader *reader, const plb_call *call)
{
    reader->call = call;
    reader->dots = NULL;
    reader->count = 0;
    for (int i = 0; i < PLB_SYMBOLS; i++)
        reader->size[i] = PLB_UNKNOWN;
}

static int64_t size_of(const plb_reader *reader, int symbol)
{
    if (symbol == PLB_ANY)
        return PLB_UNKNOWN;
    return symbol < PLB_SYMBOLS ? reader->size[symbol] : reader->size[symbol & 255] + reader->size[symbol >> 8];
}

static unsigned dtypes_of(const plb_reader *reader, unsigned dtypes)
{
    if (!(dtypes & (PLB_LIKE_FIRST | PLB_LIKE_FIRST_OR_F32)))
        return dtypes;
    const plb_dtype first = reader->seen[0]->dtype;
    const bool or_f32 = dtypes & PLB_LIKE_FIRST_OR_F32 && first != PLB_F64;
    return 1u << first | (or_f32 ? 1u << PLB_F32 : 0);
}

/* The shape that an argument must have, as far as it is known. */
static void expect(const plb_reader *reader, const plb_argument *argument, plb_shape *shape, plb_rank_rule *rule)
{
    const int16_t *symbol = argument->shape;
    const poslabel_tensor *const tensor = argument->tensor;
    shape->rank = 0;
    *rule = argument->rules & PLB_PARAMETER ? PLB_RANK_LEADING_ONES : PLB_RANK_EXACT;
    if (*symbol == PLB_DOTS) {
        symbol++;
        *rule = reader->dots ? PLB_RANK_EXACT : PLB_RANK_LEADING;
        for (int i = 0; reader->dots && i < reader->dots_rank; i++)
            shape->dim[shape->rank++] = reader->dots->shape[i];
    } else if (!*symbol && tensor->ndim == 1) { /* a scalar of rank 1 */
        shape->dim[shape->rank++] = 1;
    }
    for (int i = 0; symbol + i < argument->shape + PLB_SHAPE && symbol[i]; i++)
        shape->dim[shape->rank++] = size_of(reader, symbol[i]);
}

/* Takes the sizes of symbols from a tensor that has the shape which was expected. */
static void learn(plb_reader *reader, const plb_argument *argument)
{
    const int16_t *symbol = argument->shape;
    const poslabel_tensor *const tensor = argument->tensor;
    int rank = 0;
    if (*symbol == PLB_DOTS)
        symbol++;
    while (symbol + rank < argument->shape + PLB_SHAPE && symbol[rank])
        rank++;
    for (int i = 0; i < rank; i++)
        if (symbol[i] > 0 && symbol[i] < PLB_SYMBOLS)
            reader->size[symbol[i]] = tensor->shape[tensor->ndim - rank + i];
    if (*argument->shape == PLB_DOTS && !reader->dots) {
        reader->dots = tensor;
        reader->dots_rank = tensor->ndim - rank;
    }
}

static poslabel_status read_one(plb_reader *reader, const plb_argument *argument)
{
    plb_shape shape;
    plb_rank_rule rule;
    expect(reader, argument, &shape, &rule);
    const int row_rank = argument->shape[*argument->shape == PLB_DOTS] != 0;
    PLB_TRY(plb_view(reader->call, argument->name, argument->tensor, dtypes_of(reader, argument->dtypes), &shape, rule,
                     row_rank, argument->rules & PLB_STRIDED, argument->rules & PLB_OUT, argument->rows));
    learn(reader, argument);
    return POSLABEL_OK;
}

poslabel_status plb_read(plb_reader *reader, const plb_argument *arguments, int count)
{
    for (int i = 0; i < count; i++)
        if (arguments[i].rules & PLB_REQUIRED && !arguments[i].tensor)
            return plb_fail(reader->call, POSLABEL_ERROR_INVALID, "%s is NULL, must be given", arguments[i].name);
    const int before = reader->count;
    /* outputs that are the argument before them, and overlap it alone */
    bool is_in_place[PLB_MOST_ARGUMENTS] = {false};
    for (int i = 0; i < count; i++) {
        if (!arguments[i].tensor)
            continue;
        PLB_TRY(read_one(reader, &arguments[i]));
        const int at = reader->count++;
        reader->seen[at] = arguments[i].rows;
        is_in_place[at] =
            arguments[i].rules & PLB_IN_PLACE && at && plb_same_rows(reader->seen[at - 1], reader->seen[at]);
    }
    if (plb_only_asks(reader->call)) /* memory that may not be there yet */
        return POSLABEL_OK;
    for (int i = before; i < reader->count; i++)
        PLB_TRY(plb_no_overlap(reader->call, reader->seen, i - is_in_place[i], reader->seen[i]));
    return POSLABEL_OK;
}

bool plb_is_in_place(const plb_reader *reader, const plb_rows *output)
{
    return output->data && plb_same_rows(reader->seen[0], output);
}

bool plb_has_output(const plb_argument *arguments, int count)
{
    for (int i = 0; i < count; i++)
        if (arguments[i].tensor && arguments[i].rules & PLB_OUT)
            return true;
    return false;
}

poslabel_status plb_check_flag(const plb_call *call, const char *name, int32_t value)
{
    if (value != 0 && value != 1)
        return plb_fail(call, POSLABEL_ERROR_INVALID, "%s = %d, must be 0 or 1", name, (int)value);
    return POSLABEL_OK;
}

bool plb_grid_is_valid(poslabel_grid grid)
{
    return grid.height >= 1 && grid.width >= 1 && (int64_t)grid.height * grid.width <= INT32_MAX;
}

poslabel_status plb_check_grid(const plb_call *call, poslabel_grid grid)
{
    if (!plb_grid_is_valid(grid))
        return plb_fail(call, POSLABEL_ERROR_INVALID,
                        "grid is %d x %d, both sides must be >= 1 and their product below 2^31", (int)grid.height,
                        (int)grid.width);
    return POSLABEL_OK;
}
