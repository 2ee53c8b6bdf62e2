/*
 * Ready calls of every operation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "backend.h"
#include "support/cases/cases.h"

/* Which backends have an operation, by the function of a backend that it ends in; host: no backend takes part. */
enum {
    backends_of_host = 0,
#define PLB_JOB(name, job, backends) backends_of_##name = backends,
#include "operations.def"
};

/* One operation, whatever its types. */
typedef struct kind {
    const char *name;
    int backends;
    size_t args_size;
    const void *init;
    poslabel_status (*call)(poslabel_context *context, const void *args);
    const char *(*variant)(int variant); /* its name; NULL where there are no more */
    void (*make)(operation *op, int variant, int64_t many);
} kind;

#define PLB_OPERATION(name, NAME, job)                                                                                 \
    static const poslabel_##name##_args init_##name = POSLABEL_##NAME##_ARGS_INIT;                                     \
    static poslabel_status call_##name(poslabel_context *context, const void *args)                                    \
    {                                                                                                                  \
        return poslabel_##name(context, args);                                                                         \
    }                                                                                                                  \
    static const char *variant_##name(int variant)                                                                     \
    {                                                                                                                  \
        return cases_##name[variant].variant;                                                                          \
    }                                                                                                                  \
    static void make_##name(operation *op, int variant, int64_t many)                                                  \
    {                                                                                                                  \
        op->args.name = init_##name;                                                                                   \
        cases_##name[variant].make(op, &op->args.name, many);                                                          \
    }
#include "operations.def"

static const kind kinds[] = {
#define PLB_OPERATION(name, NAME, job)                                                                                 \
    {                                                                                                                  \
        #name,       backends_of_##job, sizeof(poslabel_##name##_args), &init_##name, call_##name, variant_##name,     \
        make_##name,                                                                                                   \
    },
#include "operations.def"
};

/* Without a CBLAS, and its like on the device under test, the linear head only says so: test_linear_errors.c. */
static bool is_tested(const kind *k)
{
#ifdef TEST_HAVE_CBLAS
    (void)k;
    return true;
#else
    return k->init != &init_linear_position_loss;
#endif
}

static bool is_supported(const kind *k)
{
    return !k->backends || k->backends & (test_on_cuda() ? PLB_ON_CUDA : PLB_ON_CPU);
}

/* Call `number` of the supported operations, or of the others; NULL past the last. */
static const kind *find(bool supported, int number, int *variant)
{
    for (int i = 0; i < COUNT(kinds); i++)
        if (is_tested(&kinds[i]) && is_supported(&kinds[i]) == supported)
            for (*variant = 0; kinds[i].variant(*variant); ++*variant)
                if (number-- == 0)
                    return &kinds[i];
    return NULL;
}

static int count(bool supported)
{
    int variant, number = 0;
    while (find(supported, number, &variant))
        number++;
    return number;
}

int operation_count(void)
{
    return count(true);
}

int operation_count_unsupported(void)
{
    return count(false);
}

int operation_number(const char *name)
{
    int variant, number = 0;
    for (const kind *k; (k = find(true, number, &variant)); number++)
        if (!strcmp(k->name, name))
            return number;
    test_fail("there is no operation %s", name);
}

static const double untouched_number = -42;

void operation_new(operation *op, int number, int64_t many)
{
    const int supported = operation_count();
    int variant;
    const kind *const k =
        number < supported ? find(true, number, &variant) : find(false, number - supported, &variant);
    if (!k)
        test_fail("there is no call %d", number);
    memset(op, 0, sizeof *op);
    op->name = k->name;
    op->variant = k->variant(variant);
    op->backends = k->backends;
    op->args_size = k->args_size;
    op->init = k->init;
    op->call = k->call;
    k->make(op, variant, many);
    operation_reset(op);
}

static const poslabel_tensor *add(tensor **list, tensor *t)
{
    int i = 0;
    while (list[i])
        i++;
    if (i == OPERATION_TENSORS - 1)
        test_fail("an operation with too many tensors");
    return &(list[i] = t)->t;
}

const poslabel_tensor *add_input(operation *op, tensor *t)
{
    return add(op->inputs, t);
}

const poslabel_tensor *add_floats(operation *op, uint64_t seed, int rank, const int64_t *shape)
{
    tensor *const t = tensor_new(dtype_f32, rank, shape);
    tensor_fill_normal(t, seed, 2);
    return add_input(op, t);
}

const poslabel_tensor *add_ids(operation *op, int64_t below, uint64_t seed, int rank, const int64_t *shape)
{
    tensor *const t = tensor_new(dtype_i64, rank, shape);
    tensor_fill_below(t, seed, below);
    return add_input(op, t);
}

const poslabel_tensor *add_output(operation *op, poslabel_dtype dtype, int rank, const int64_t *shape)
{
    return add(op->outputs, tensor_new(dtype, rank, shape));
}

void operation_free(operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS; i++) {
        tensor_free(op->inputs[i]);
        tensor_free(op->outputs[i]);
    }
}

poslabel_status operation_call(poslabel_context *context, const operation *op)
{
    return op->call(context, &op->args);
}

poslabel_workspace **operation_workspace(operation *op)
{
#define PLB_HOST_OPERATION(name, NAME)
#define PLB_OPERATION(name_, NAME, job)                                                                                \
    if (!strcmp(op->name, #name_))                                                                                     \
        return &op->args.name_.workspace;
#include "operations.def"
    return NULL;
}

void operation_reset(operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        tensor_forget(op->outputs[i]);
    op->number = untouched_number;
}

bool operation_is_untouched(const operation *op)
{
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        if (!tensor_is_untouched(op->outputs[i]))
            return false;
    return op->number == untouched_number;
}

unsigned char *operation_outputs(const operation *op, size_t *size)
{
    *size = sizeof op->number;
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++)
        *size += op->outputs[i]->memory.size;
    unsigned char *all = malloc(*size), *to = all;
    if (!all)
        test_fail("no memory for %zu bytes of outputs", *size);
    memcpy(to, &op->number, sizeof op->number);
    to += sizeof op->number;
    for (int i = 0; i < OPERATION_TENSORS && op->outputs[i]; i++) {
        memcpy(to, op->outputs[i]->memory.data, op->outputs[i]->memory.size);
        to += op->outputs[i]->memory.size;
    }
    return all;
}
