/*
 * Philox, and what is made from its words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

typedef struct known_answer {
    uint64_t seed;
    uint32_t counter[4], words[4];
} known_answer;

/* The vectors that the authors published with Random123. */
static const known_answer published[] = {
    {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {UINT64_C(0x299f31d0a4093822),
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void published_vectors(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(published); i++) {
        uint32_t words[4] = {0};
        poslabel_philox(published[i].seed, published[i].counter, words);
        expect_same_bits("words", words, published[i].words, 4, 4);
    }
}

/* The paper's description: round keys from a Weyl sequence, high and low halves of two products. */
static void plain_philox(uint64_t seed, const uint32_t counter[4], uint32_t words[4])
{
    uint32_t state[4];
    memcpy(state, counter, sizeof state);
    for (uint64_t round = 0; round < 10; round++) {
        const uint32_t key[2] = {(uint32_t)((seed & 0xffffffff) + round * 0x9E3779B9),
                                 (uint32_t)((seed >> 32) + round * 0xBB67AE85)};
        const uint64_t left = (uint64_t)state[0] * 0xD2511F53;
        const uint64_t right = (uint64_t)state[2] * 0xCD9E8D57;
        const uint32_t next[4] = {(uint32_t)(right >> 32) ^ state[1] ^ key[0], (uint32_t)right,
                                  (uint32_t)(left >> 32) ^ state[3] ^ key[1], (uint32_t)left};
        memcpy(state, next, sizeof state);
    }
    memcpy(words, state, sizeof state);
}

static void any_counter_and_seed(void **state)
{
    (void)state;
    rng r = {1};
    for (int i = 0; i < 20000; i++) {
        const uint64_t seed = rng_bits(&r), a = rng_bits(&r), b = rng_bits(&r);
        const uint32_t counter[4] = {(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32)};
        uint32_t words[4], want[4], in_place[4];
        plain_philox(seed, counter, want);
        poslabel_philox(seed, counter, words);
        expect_same_bits("words", words, want, 4, 4);
        memcpy(in_place, counter, sizeof in_place);
        poslabel_philox(seed, in_place, in_place);
        expect_same_bits("words in place of the counter", in_place, want, 4, 4);
    }
}

static void integers_below_n(void **state)
{
    (void)state;
    assert_int_equal(poslabel_random_below(0, 0), 0);
    assert_int_equal(poslabel_random_below(UINT32_MAX, 0), 0);
    assert_int_equal(poslabel_random_below(UINT32_MAX, 1), 0);
    assert_int_equal(poslabel_random_below(0, UINT32_MAX), 0);
    assert_int_equal(poslabel_random_below(UINT32_MAX, UINT32_MAX), UINT32_MAX - 1);
    assert_int_equal(poslabel_random_below(0x7fffffff, 2), 0);
    assert_int_equal(poslabel_random_below(0x80000000, 2), 1);
    assert_int_equal(poslabel_random_below(0x55555555, 3), 0);
    assert_int_equal(poslabel_random_below(0x55555556, 3), 1);
    rng r = {2};
    for (int i = 0; i < 100000; i++) {
        const uint32_t word = (uint32_t)rng_bits(&r), n = (uint32_t)(rng_bits(&r) >> (32 + i % 32));
        const long double share = (long double)word * n / 4294967296.0L; /* exact: 64 bits */
        assert_int_equal(poslabel_random_below(word, n), n ? (uint32_t)floorl(share) : 0);
    }
}

static void units(void **state)
{
    (void)state;
    assert_true(poslabel_random_unit(0) == 0.0f);
    assert_true(poslabel_random_unit(255) == 0.0f);
    assert_true(poslabel_random_unit(256) == 0x1p-24f);
    assert_true(poslabel_random_unit(0x80000000) == 0.5f);
    assert_true(poslabel_random_unit(UINT32_MAX) == 1.0f - 0x1p-24f);
    rng r = {3};
    for (int i = 0; i < 100000; i++) {
        const uint32_t word = (uint32_t)rng_bits(&r);
        assert_true((double)poslabel_random_unit(word) == floor(word / 256.0) / 16777216.0);
    }
}

static void stream_numbers(void **state)
{
    (void)state;
    assert_int_equal(POSLABEL_STREAM_PATCH_MASK, 1);
    assert_int_equal(POSLABEL_STREAM_POSITION_MASK, 2);
    assert_int_equal(POSLABEL_STREAM_SHUFFLE, 3);
    assert_int_equal(POSLABEL_STREAM_REGULAR_MASK, 4);
    assert_int_equal(POSLABEL_STREAM_BLOCK_MASK, 5);
    assert_int_equal(POSLABEL_STREAM_CELL_PAIRS, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors), cmocka_unit_test(any_counter_and_seed), cmocka_unit_test(integers_below_n),
        cmocka_unit_test(units),             cmocka_unit_test(stream_numbers),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
