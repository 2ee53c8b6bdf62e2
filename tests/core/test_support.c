/*
 * The harness itself: a check that cannot fail is worth nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether `body` dies of a fault; it runs in a child. */
static bool faults(void (*body)(volatile char *), volatile char *p)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr); /* a sanitizer's report would only confuse */
        signal(SIGSEGV, SIG_DFL);          /* CMocka makes a failed test of it */
        signal(SIGBUS, SIG_DFL);
        body(p);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void read_byte(volatile char *p)
{
    (void)*p;
}

static void write_byte(volatile char *p)
{
    *p = 1;
}

static void guards_fault_at_their_edge(void **state)
{
    (void)state;
    guard end = guard_new(100, GUARD_END, 0), begin = guard_new(100, GUARD_BEGIN, 0);
    volatile char *e = end.data, *b = begin.data;
    assert_false(faults(read_byte, e));
    assert_false(faults(read_byte, e + 99));
    assert_true(faults(read_byte, e + 100));
    assert_true(faults(write_byte, e + 100));
    assert_false(faults(read_byte, b));
    assert_true(faults(read_byte, b - 1));
    guard_read_only(&end, true);
    assert_false(faults(read_byte, e));
    assert_true(faults(write_byte, e));
    guard_read_only(&end, false);
    assert_false(faults(write_byte, e));
    guard_free(&end);
    guard_free(&begin);
}

static void guards_take_any_alignment(void **state)
{
    (void)state;
    for (size_t gap = 0; gap < 130; gap++) {
        guard begin = guard_new(64, GUARD_BEGIN, gap), end = guard_new(64, GUARD_END, gap);
        assert_int_equal((uintptr_t)begin.data % 64, gap % 64);
        assert_int_equal(((uintptr_t)end.data + gap) % 64, 0);
        guard_check(&begin);
        guard_check(&end);
        guard_free(&begin);
        guard_free(&end);
    }
}

static void canaries_see_every_byte(void **state)
{
    (void)state;
    guard g = guard_new(40, GUARD_END, 8);
    unsigned char *p = g.data;
    for (int i = 0; i < 40; i++) {
        assert_true(guard_is_untouched(&g));
        p[i] ^= 1;
        assert_false(guard_is_untouched(&g));
        guard_fill(&g);
    }
    guard_free(&g);
}

/* Every finite half converts there and back; neighbours round to the nearer one, ties to the even one. */
static void check_half(double (*from)(uint16_t), uint16_t (*to)(double), uint16_t infinity)
{
    for (uint32_t bits = 0; bits < infinity; bits++) {
        const double here = from((uint16_t)bits);
        assert_int_equal(to(here), bits);
        assert_int_equal(to(-here), bits | 0x8000u);
        if (bits + 1u == infinity)
            break;
        const double next = from((uint16_t)(bits + 1)), middle = (here + next) / 2;
        assert_true(next > here);
        assert_int_equal(to(middle), bits + (bits & 1));
        assert_int_equal(to(nextafter(middle, 0)), bits);
        assert_int_equal(to(nextafter(middle, INFINITY)), bits + 1);
    }
    assert_int_equal(to(INFINITY), infinity);
    assert_int_equal(to(1e300), infinity);
    assert_true(isinf(from(infinity)));
    assert_true(isnan(from(to(NAN))));
}

static void halves_convert(void **state)
{
    (void)state;
    check_half(from_f16, to_f16, 0x7c00);
    check_half(from_bf16, to_bf16, 0x7f80);
    assert_true(from_f16(0x3c00) == 1 && from_f16(0x7bff) == 65504 && from_f16(0x0001) == 0x1p-24);
    assert_true(from_bf16(0x3f80) == 1 && from_bf16(0x0001) == 0x1p-133 && from_bf16(0xc000) == -2);
    assert_int_equal(to_f16(65519.99), 0x7bff);
    assert_int_equal(to_f16(65520), 0x7c00);
}

static void numbers_round_once(void **state)
{
    (void)state;
    assert_true(number_round(dtype_f32, 0.1) == (double)0.1f);
    assert_true(number_round(dtype_i32, -3) == -3 && number_round(dtype_u8, 200) == 200);
    /* a double just above a tie of bf16: rounding by way of float would tie and round down */
    assert_true(number_round(dtype_bf16, 1 + 0x1p-8 + 0x1p-40) == 1 + 0x1p-7);
    assert_true(number_round(dtype_bf16, (float)(1 + 0x1p-8 + 0x1p-40)) == 1);
}

static void golden_files_are_read(void **state)
{
    (void)state;
    npz *file = npz_open("apl_loss_b");
    const npz_array *logits = npz_get(file, "logits"), *labels = npz_get(file, "labels");
    assert_int_equal(file->count, 5);
    assert_int_equal(logits->ndim, 3);
    assert_int_equal(logits->count, 2 * 16 * 16);
    assert_true(dtype_is(logits->dtype, dtype_f32) && dtype_is(labels->dtype, dtype_i64));
    assert_true(dtype_is(npz_get(file, "grad_logits")->dtype, dtype_f64));
    assert_true(npz_number(file, "loss") == 5.80160790093664 && npz_number(file, "acc1") == 0.0625);
    for (int i = 0; i < 32; i++)
        assert_int_equal((int)npz_at(labels, i), i % 16);
    assert_null(npz_find(file, "nothing"));
    npz_close(file);

    file = npz_open("random_masking_zero");
    assert_true(dtype_is(npz_get(file, "mask")->dtype, dtype_bool));
    assert_int_equal(npz_get(file, "ids_remove")->count, 0);
    npz_close(file);
    file = npz_open("droppos_embed_param"); /* has a string, which is left out */
    assert_null(npz_find(file, "mask_token_type"));
    assert_int_equal(npz_get(file, "x")->ndim, 3);
    npz_close(file);
}

/* Cut or altered anywhere, an archive is refused or read, but nothing outside of it is. */
static void damaged_archives_are_harmless(void **state)
{
    (void)state;
    char error[256];
    FILE *stream = fopen(npz_path("random_masking_zero"), "rb");
    assert_non_null(stream);
    char content[8192];
    const size_t size = fread(content, 1, sizeof content, stream);
    fclose(stream);
    assert_in_range(size, 100, sizeof content - 1);

    for (size_t cut = 0; cut < size; cut++) {
        guard g = guard_new(cut, GUARD_END, 0);
        memcpy(g.data, content, cut);
        assert_null(npz_parse(g.data, cut, error));
        guard_free(&g);
    }
    guard g = guard_new(size, GUARD_END, 0);
    rng r = {1};
    int read = 0;
    for (int i = 0; i < 4000; i++) {
        memcpy(g.data, content, size);
        for (int k = 0; k < 3; k++)
            ((unsigned char *)g.data)[rng_below(&r, (int64_t)size)] = (unsigned char)rng_bits(&r);
        npz *file = npz_parse(g.data, size, error);
        read += file != NULL;
        npz_close(file);
    }
    assert_in_range(read, 1, 3999);
    guard_free(&g);
}

static void tensors_of_any_layout(void **state)
{
    (void)state;
    const int64_t shape[] = {2, 3, 5};
    const layout layouts[] = {
        {0}, {.row_padding = 3}, {.gap = 4, .side = GUARD_BEGIN}, {.row_padding = 1, .byte_offset = 40}};
    for (int i = 0; i < COUNT(layouts); i++) {
        tensor *t = tensor_laid_out(dtype_f32, 3, shape, layouts[i]);
        assert_true(tensor_is_untouched(t));
        for (int64_t k = 0; k < 30; k++)
            tensor_set(t, k, (double)k);
        const float *data = (const float *)(const void *)((char *)t->t.data + t->t.byte_offset);
        assert_true(data[1] == 1 && data[5 + layouts[i].row_padding] == 5);
        for (int64_t k = 0; k < 30; k++)
            assert_true(tensor_get(t, k) == (double)k);
        assert_false(tensor_is_untouched(t));
        tensor_check(t);
        tensor *copy = tensor_copy(t, dtype_f32, (layout){0});
        expect_same_tensor("copy", copy, t);
        tensor_free(copy);
        tensor_free(t);
    }
}

static void counting_allocators_count(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
    const poslabel_allocator hooks = counting_allocator_hooks(&counter);
    void *a = hooks.allocate(hooks.user, 100, 64), *b = hooks.allocate(hooks.user, 1, 8);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal(counter.live, 2);
    assert_int_equal(counter.live_bytes, 101);
    hooks.release(hooks.user, b, 1);
    assert_string_equal(counter.problem, "");
    hooks.release(hooks.user, a, 99);
    assert_non_null(strstr(counter.problem, "size of 99"));
    assert_int_equal(counter.live, 0);

    counting_allocator_init(&counter);
    a = hooks.allocate(hooks.user, 10, 64);
    ((char *)a)[10] = 0;
    hooks.release(hooks.user, a, 10);
    assert_non_null(strstr(counter.problem, "past its end"));

    counting_allocator_init(&counter);
    hooks.release(hooks.user, &counter, 10);
    assert_non_null(strstr(counter.problem, "no live block"));

    counting_allocator_init(&counter);
    counter.fail_at = 2;
    a = hooks.allocate(hooks.user, 10, 64);
    assert_null(hooks.allocate(hooks.user, 10, 64));
    b = hooks.allocate(hooks.user, 10, 64);
    assert_non_null(b);
    hooks.release(hooks.user, a, 10);
    hooks.release(hooks.user, b, 10);
    counting_allocator_check(&counter);
}

static void levels_begin_with_the_reference(void **state)
{
    (void)state;
    poslabel_isa levels[ISA_LEVELS];
    const int count = isa_levels(levels);
    assert_in_range(count, 2, ISA_LEVELS);
    assert_int_equal(levels[0], POSLABEL_ISA_REFERENCE);
    assert_int_equal(levels[1], POSLABEL_ISA_BASELINE);
    for (int i = 0; i < count; i++) {
        poslabel_context *context = context_new(levels[i], 3);
        assert_int_equal(poslabel_context_isa(context), levels[i]);
        poslabel_context_destroy(context);
    }
}

/*
 * The checks that must be able to fail run in a child as a test of their own, whose outcome is looked at.  The child's
 * complaints go to /dev/null.
 */
static void near_misses(void **state)
{
    (void)state;
    const double got[] = {1, 2, 3.1}, want[] = {1, 2, 3};
    expect_near("x", got, want, 3, 0.01);
}

static void nan_for_number(void **state)
{
    (void)state;
    const double got[] = {NAN}, want[] = {3};
    expect_near("x", got, want, 1, 1e9);
}

static void number_for_nan(void **state)
{
    (void)state;
    const double got[] = {3}, want[] = {NAN};
    expect_near("x", got, want, 1, 1e9);
}

static void infinity_for_number(void **state)
{
    (void)state;
    const double got[] = {INFINITY}, want[] = {3};
    expect_near("x", got, want, 1, 1e9);
}

static void zero_against_something(void **state)
{
    (void)state;
    const double got[] = {1e-30}, want[] = {0};
    expect_near("x", got, want, 1, 1e-5);
}

static void other_bits(void **state)
{
    (void)state;
    const float got[] = {0.0f}, want[] = {-0.0f};
    expect_same_bits("x", got, want, 1, 4);
}

static void missing_word(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    expect_error(context, poslabel_droppos_loss(context, NULL), POSLABEL_ERROR_INVALID, "droppos_loss", "args is not");
}

static void wrong_status(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    expect_error(context, poslabel_droppos_loss(context, NULL), POSLABEL_ERROR_MEMORY, "droppos_loss");
}

static void ok_that_is_not(void **state)
{
    (void)state;
    poslabel_context *context = context_default();
    expect_ok(context, poslabel_droppos_loss(context, NULL));
}

static void byte_past_a_tensor(void **state)
{
    (void)state;
    tensor *t = tensor_laid_out(dtype_f32, 1, (int64_t[]){3}, (layout){.gap = 8});
    ((char *)t->t.data)[12] ^= 1;
    tensor_check(t);
}

static void byte_between_rows(void **state)
{
    (void)state;
    tensor *t = tensor_laid_out(dtype_f32, 2, (int64_t[]){3, 4}, (layout){.row_padding = 2});
    ((char *)t->t.data)[17] ^= 1;
    tensor_check(t);
}

static void block_left(void **state)
{
    (void)state;
    counting_allocator counter;
    counting_allocator_init(&counter);
    const poslabel_allocator hooks = counting_allocator_hooks(&counter);
    hooks.allocate(hooks.user, 100, 64);
    counting_allocator_check(&counter);
}

static void checks_can_fail(void **state)
{
    (void)state;
    static void (*const bodies[])(void **) = {
        near_misses,  nan_for_number, number_for_nan, infinity_for_number, zero_against_something, other_bits,
        missing_word, wrong_status,   ok_that_is_not, byte_past_a_tensor,  byte_between_rows,      block_left};
    for (int i = 0; i < COUNT(bodies); i++) {
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            freopen("/dev/null", "w", stderr);
            freopen("/dev/null", "w", stdout);
            const struct CMUnitTest one[] = {{"one", bodies[i], NULL, NULL, NULL}};
            if (cmocka_run_group_tests(one, NULL, NULL) == 1)
                raise(SIGUSR1); /* and no exit code: valgrind would change it, for a test that fails leaks */
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        test_case_is("check number %d", i);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGUSR1);
    }
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guards_fault_at_their_edge),
        cmocka_unit_test(guards_take_any_alignment),
        cmocka_unit_test(canaries_see_every_byte),
        cmocka_unit_test(halves_convert),
        cmocka_unit_test(numbers_round_once),
        cmocka_unit_test(golden_files_are_read),
        cmocka_unit_test(damaged_archives_are_harmless),
        cmocka_unit_test(tensors_of_any_layout),
        cmocka_unit_test(counting_allocators_count),
        cmocka_unit_test(levels_begin_with_the_reference),
        cmocka_unit_test(checks_can_fail),
    };
    return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
