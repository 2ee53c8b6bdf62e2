/*
 * The tokens of MAE's decoder on CUDA, as far as the other suites do not know of it: the CPU's bits, sums in parts and
 * tiles, ids that are not allowed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include "support/decoder.h"

#include <dlfcn.h>

static poslabel_context *cuda, *cpu;

static int open_contexts(void **state)
{
    (void)state;
    if (test_on_cuda()) {
        cuda = context_new(POSLABEL_ISA_AUTO, 1);
        cpu = context_new(POSLABEL_ISA_BASELINE, 1);
    }
    return 0;
}

static int close_contexts(void **state)
{
    (void)state;
    poslabel_context_destroy(cuda);
    poslabel_context_destroy(cpu);
    return 0;
}

#define skip_on_cpu()                                                                                                  \
    do {                                                                                                               \
        if (!test_on_cuda())                                                                                           \
            skip();                                                                                                    \
    } while (0)

/* In which order the emulation runs threads and blocks; on a real device they have none. */
static void shuffle(unsigned seed)
{
    void *const module = test_on_emulation() ? dlopen(getenv("POSLABEL_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD) : NULL;
    void (*set)(unsigned) = NULL;
    if (!module)
        return;
    *(void **)&set = dlsym(module, "emulation_shuffle");
    set(seed);
    dlclose(module);
}

static const unsigned seeds[] = {0, 3, 77};

/* All of the forward pass, and rows of grad_x, which are copies or sums in the same order. */
static void bits_of_the_cpu(void **state)
{
    (void)state;
    static const int64_t channels[] = {768, 2100, 100, 5};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    skip_on_cpu();
    for (int d = 0; d < COUNT(dtypes); d++)
        for (int k = 0; k < COUNT(channels); k++)
            for (unsigned o = (unsigned)(d + k) % 3; o < DECODER_OPTIONS; o += test_is_quick() ? 7 : 3) {
                const decoder_sizes size = {3, 17, 6, 2, o % 3, channels[k]};
                decoder_case c = decoder_case_new(size, dtypes[d], o, (layout){.row_padding = o % 2 * 8}, o);
                expect_ok(cpu, decoder_forward(cpu, &c));
                expect_ok(cpu, decoder_backward(cpu, &c));
                tensor *const out = tensor_copy(c.out, dtypes[d], (layout){0});
                tensor *const grad_x = tensor_copy(c.grad_x, dtypes[d], (layout){0});
                for (int s = 0; s < COUNT(seeds); s++) {
                    test_case_is("%s, %lld channels, options %u, seed %u", dtype_name(dtypes[d]),
                                 (long long)channels[k], o, seeds[s]);
                    shuffle(seeds[s]);
                    decoder_case_forget_outputs(&c);
                    expect_ok(cuda, decoder_forward(cuda, &c));
                    expect_ok(cuda, decoder_backward(cuda, &c));
                    expect_same_tensor("out", c.out, out);
                    expect_same_tensor("grad_x", c.grad_x, grad_x);
                    decoder_case_check_outputs(&c);
                }
                tensor_free(out);
                tensor_free(grad_x);
                decoder_case_free(&c);
            }
    test_case_is("%s", "");
}

/* Sums in slices of the images, in tiles of several rows, in chunks of long rows; and the same bits in any order. */
static void sums_in_parts(void **state)
{
    (void)state;
    static const decoder_sizes sizes[] = {{70, 3, 2, 1, 1, 768},
                                          {200, 2, 1, 2, 1, 40},
                                          {3, 1500, 700, 1, 0, 6},
                                          {9, 4, 2, 0, 0, 2100},
                                          {41, 5, 0, 1, 1, 9}};
    const poslabel_dtype dtypes[] = {dtype_f32, dtype_f16, dtype_bf16};
    skip_on_cpu();
    for (int i = 0; i < COUNT(sizes); i++)
        for (unsigned any = 0; any < 2; any++) {
            decoder_case c = decoder_case_new(sizes[i], dtypes[i % 3], any ? DECODER_ANY_IDS : 0, (layout){0}, 7);
            tensor *outputs[DECODER_OUTPUTS], *first[DECODER_OUTPUTS] = {NULL};
            decoder_list_outputs(&c, outputs);
            for (int s = 0; s < COUNT(seeds); s++) {
                test_case_is("sizes %d, %s, seed %u", i, any ? "any ids" : "permutations", seeds[s]);
                shuffle(seeds[s]);
                decoder_case_forget_outputs(&c);
                expect_ok(cuda, decoder_backward(cuda, &c));
                decoder_case_check_outputs(&c);
                if (s == 0)
                    expect_decoder_gradients(&c);
                for (int k = 1; k < DECODER_OUTPUTS; k++)
                    if (first[k])
                        expect_same_tensor("a gradient", outputs[k], first[k]);
                    else
                        first[k] = tensor_copy(outputs[k], dtypes[i % 3], (layout){0});
            }
            for (int k = 1; k < DECODER_OUTPUTS; k++)
                tensor_free(first[k]);
            decoder_case_free(&c);
        }
    test_case_is("%s", "");
}

#define expect_found(...)                                                                                              \
    do {                                                                                                               \
        expect_error(cuda, poslabel_context_synchronize(cuda), POSLABEL_ERROR_INVALID,                                 \
                     "context_synchronize: ", __VA_ARGS__);                                                            \
        expect_ok(cuda, poslabel_context_synchronize(cuda)); /* the count starts anew */                               \
    } while (0)

/* Ids out of range are reported, and taken for the nearest that are in range: the same results. */
static void ids_out_of_range(void **state)
{
    (void)state;
    static const struct {
        int64_t at;
        double value, taken_for;
    } bad[] = {{13, 9, 8},           {17, -1, 0},   {5, 2147483647, 8}, {22, -2147483648.0, 0},
               {6, 4294967296.0, 8}, {23, -9e18, 0}};
    skip_on_cpu();
    for (int narrow = 0; narrow < 2; narrow++) {
        const int count = narrow ? 4 : COUNT(bad);
        const char *const report = narrow ? "ids_restore out of range: 4, the first at index 5"
                                          : "ids_restore out of range: 6, the first at index 5";
        decoder_case c =
            decoder_case_new((decoder_sizes){4, 9, 3, 1, 1, 40}, dtype_f16,
                             DECODER_MASK_TOKEN | DECODER_POS_EMBED | (narrow ? DECODER_INT32 : 0), (layout){0}, 3);
        tensor *outputs[DECODER_OUTPUTS], *want[DECODER_OUTPUTS];
        decoder_list_outputs(&c, outputs);
        for (int i = 0; i < count; i++)
            tensor_set(c.ids_restore, bad[i].at, bad[i].taken_for);
        expect_ok(cuda, decoder_forward(cuda, &c));
        expect_ok(cuda, decoder_backward(cuda, &c));
        for (int i = 0; i < DECODER_OUTPUTS; i++)
            want[i] = tensor_copy(outputs[i], dtype_f16, (layout){0});
        for (int i = 0; i < count; i++)
            tensor_set(c.ids_restore, bad[i].at, bad[i].value);
        for (int s = 0; s < COUNT(seeds); s++) {
            shuffle(seeds[s]);
            decoder_case_forget_outputs(&c);
            assert_int_equal(decoder_forward(cuda, &c), POSLABEL_OK);
            expect_found(report);
            assert_int_equal(decoder_backward(cuda, &c), POSLABEL_OK);
            expect_found(report);
            decoder_case_check_outputs(&c);
            for (int i = 0; i < DECODER_OUTPUTS; i++)
                expect_same_tensor("an output", outputs[i], want[i]);
        }
        /* grad_pos_embed does not depend on ids */
        poslabel_decoder_tokens_backward_args args = decoder_backward_args(&c);
        args.grad_x = args.grad_mask_token = NULL;
        expect_ok(cuda, poslabel_decoder_tokens_backward(cuda, &args));
        for (int i = 0; i < DECODER_OUTPUTS; i++)
            tensor_free(want[i]);
        decoder_case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_the_cpu),
        cmocka_unit_test(sums_in_parts),
        cmocka_unit_test(ids_out_of_range),
    };
    return cmocka_run_group_tests_name("decoder_cuda", tests, open_contexts, close_contexts);
}
