/*
 * Memory, mapped on huge pages and touched before any clock runs; random data; checks of outputs.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, PAGE = 4096 };

/*
 * Arena b begins this far into its mapping, so that a load from a and the store to b that belongs to it do not share
 * the lower 12 bits of their addresses, which some CPUs take for a dependence.
 */
enum { B_OFFSET = 2112 };

static size_t whole_pages(size_t bytes)
{
    return (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

void *bench_map(const bench_run *run, size_t bytes)
{
    const size_t size = whole_pages(bytes);
    /* mapped with a page to spare, and cut to the alignment of a huge page */
    unsigned char *whole = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED)
        bench_fail("no memory for %zu MiB; try a smaller --max-bytes", bytes >> 20);
    unsigned char *data = (unsigned char *)(((uintptr_t)whole + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (data > whole)
        munmap(whole, (size_t)(data - whole));
    if (whole + HUGE_PAGE > data)
        munmap(data + size, (size_t)(whole + HUGE_PAGE - data));
    madvise(data, size, run->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (size_t i = 0; i < size; i += PAGE)
        data[i] = 1;
    return data;
}

void bench_unmap(void *data, size_t bytes)
{
    if (data)
        munmap(data, whole_pages(bytes));
}

void bench_open_arenas(bench_run *run)
{
    run->a = bench_map(run, run->arena_bytes);
    run->b = (unsigned char *)bench_map(run, run->arena_bytes + B_OFFSET) + B_OFFSET;
}

void bench_close_arenas(bench_run *run)
{
    bench_unmap(run->a, run->arena_bytes);
    bench_unmap(run->b - B_OFFSET, run->arena_bytes + B_OFFSET);
}

/* SplitMix64. */
uint64_t bench_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- random numbers: a table of 65536 normals, drawn from at random ---- */

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* For |value| in [2^-14, 65504); what is smaller becomes 0. */
static uint16_t to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest < 0x38800000)
        return (uint16_t)sign;
    return (uint16_t)(sign | (((rest - 0x38000000) + 0xfff + (rest >> 13 & 1)) >> 13));
}

void *bench_normal(bench_run *run, bench_dtype dtype)
{
    if (run->a_filled && run->a_dtype == dtype)
        return run->a;
    enum { TABLE = 65536, BLOCK = 4096 };
    static float table[TABLE];
    static uint16_t halves[TABLE];
    uint64_t seed = 1;
    for (int i = 0; i < TABLE; i += 2) {
        const double u = ((double)(bench_random(&seed) >> 11) + 1) * 0x1p-53;
        const double v = (double)(bench_random(&seed) >> 11) * 0x1p-53 * 6.283185307179586;
        const double radius = 2 * sqrt(-2 * log(u)); /* 2: the standard deviation */
        table[i] = (float)(radius * cos(v));
        table[i + 1] = (float)(radius * sin(v));
    }
    for (int i = 0; i < TABLE; i++)
        halves[i] = dtype == BENCH_F16 ? to_f16(table[i]) : to_bf16(table[i]);
    const size_t blocks = run->arena_bytes / BLOCK;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (size_t block = 0; block < blocks; block++) {
        uint64_t state = block;
        if (dtype == BENCH_F32) {
            float *out = (float *)(run->a + block * BLOCK);
            for (size_t i = 0; i < BLOCK / 4; i++)
                out[i] = table[bench_random(&state) % TABLE];
        } else {
            uint16_t *out = (uint16_t *)(run->a + block * BLOCK);
            for (size_t i = 0; i < BLOCK / 2; i++)
                out[i] = halves[bench_random(&state) % TABLE];
        }
    }
    run->a_filled = true;
    run->a_dtype = dtype;
    return run->a;
}

/* ---- tensors ---- */

static const struct {
    const char *name;
    size_t element;
    poslabel_dtype dtype;
} dtypes[] = {[BENCH_F32] = {"float32", 4, POSLABEL_FLOAT32},
              [BENCH_F16] = {"float16", 2, POSLABEL_FLOAT16},
              [BENCH_BF16] = {"bfloat16", 2, POSLABEL_BFLOAT16},
              [BENCH_I64] = {"int64", 8, POSLABEL_INT64},
              [BENCH_U8] = {"uint8", 1, POSLABEL_UINT8}};

size_t bench_element(bench_dtype dtype)
{
    return dtypes[dtype].element;
}

const char *bench_dtype_name(bench_dtype dtype)
{
    return dtypes[dtype].name;
}

void bench_view(bench_tensor *view, void *data, bench_dtype dtype, int ndim, int64_t n0, int64_t n1, int64_t n2)
{
    *view = (bench_tensor){.shape = {n0, n1, n2}, .bytes = dtypes[dtype].element};
    view->tensor = (poslabel_tensor){data, {POSLABEL_DEVICE_CPU, 0}, ndim, dtypes[dtype].dtype, view->shape, NULL, 0};
    for (int i = 0; i < ndim; i++)
        view->bytes *= (size_t)view->shape[i];
}

void bench_channels_first(bench_tensor *view)
{
    view->strides[0] = view->shape[1] * view->shape[2];
    view->strides[1] = 1;
    view->strides[2] = view->shape[1];
    view->tensor.strides = view->strides;
}

/* ---- checks ---- */

/* All bits set: a NaN in every float type, -1 in the signed integers, 255 in uint8.  No operation here writes it. */
void bench_poison(const bench_output *output)
{
    memset(output->data, 0xff, output->count * dtypes[output->dtype].element);
}

static float number(const bench_output *output, size_t i)
{
    switch (output->dtype) {
    case BENCH_F32:
        return ((const float *)output->data)[i];
    case BENCH_I64:
        return ((const int64_t *)output->data)[i] < 0 ? NAN : 0;
    case BENCH_U8:
        return ((const uint8_t *)output->data)[i] > 1 ? NAN : 0;
    default:
        break;
    }
    const uint16_t half = ((const uint16_t *)output->data)[i];
    if (output->dtype == BENCH_F16) {
        const int exponent = half >> 10 & 31;
        const float fraction = (float)(half & 0x3ff) + (exponent ? 1024 : 0);
        const float size = exponent == 31 ? NAN : ldexpf(fraction, (exponent ? exponent : 1) - 25);
        return half & 0x8000 ? -size : size;
    }
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

bool bench_check(const bench_run *run, const bench_output *output, bool poisoned, char *why, size_t why_size)
{
    size_t bad = 0, uneven = 0;
    const size_t row = output->row ? output->row : 4096, rows = (output->count + row - 1) / row;
    const double tolerance = output->dtype == BENCH_F32 ? 1e-4 : 2e-2;
#pragma omp parallel for num_threads(run->threads) schedule(static) reduction(+ : bad, uneven)
    for (size_t r = 0; r < rows; r++) {
        const size_t end = (r + 1) * row < output->count ? (r + 1) * row : output->count;
        double sum = 0, size = 0;
        for (size_t i = r * row; i < end; i++) {
            const float value = number(output, i);
            bad += !isfinite(value);
            sum += value;
            size += fabsf(value);
        }
        uneven += output->row && fabs(sum) > tolerance * size;
    }
    if (bad)
        snprintf(why, why_size, "%zu of %zu values %s", bad, output->count,
                 poisoned ? "were not written or are not finite" : "are not finite");
    else if (uneven)
        snprintf(why, why_size, "%zu of %zu rows of the gradient do not sum to 0", uneven, rows);
    return !bad && !uneven;
}
