/*
 * The weight of an auxiliary loss over the epochs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

static void warm_up_decay_and_cut(void **state)
{
    (void)state;
    static const struct {
        double lambda_0, epoch, warmup, epochs, cut, want;
    } rows[] = {
        {0.5, 0, 20, 100, 0.9, 0},
        {0.5, 5, 20, 100, 0.9, 0.125},
        {0.5, 20, 20, 100, 0.9, 0.5},
        {0.5, 60, 20, 100, 0.9, 0.25},
        {0.5, 90, 20, 100, 0.9, 0.0625},
        {0.5, 90.5, 20, 100, 0.9, 0},
        {0.5, 90.5, 20, 100, 1, 0.5 * (1 - 70.5 / 80)},
        {0.5, 100, 20, 100, 1, 0},
        {0.5, 101, 20, 100, 1, 0},
        {2, 0, 0, 100, 1, 2},
        {2, 25, 0, 100, 1, 1.5},
        {2, 50, 100, 100, 1, 1},
        {2, 100, 100, 100, 1, 2},
        {2, 100.5, 100, 100, 1, 0},
        {2, 0, 0, 100, 0, 2},
        {2, 1, 0, 100, 0, 0},
        {0, 30, 20, 100, 1, 0},
        {1, 20, 20, 300, 1, 1},
        {1, 160, 20, 300, 1, 0.5},
        {1, 10, 20, 300, 0.01, 0},
    };
    for (int i = 0; i < COUNT(rows); i++) {
        test_case_is("row %d", i);
        expect_number(
            "weight",
            poslabel_auxiliary_weight(rows[i].lambda_0, rows[i].epoch, rows[i].warmup, rows[i].epochs, rows[i].cut),
            rows[i].want, 1e-15);
    }
    test_case_is("%s", "");
}

/* Between what is allowed and what is not, for each argument. */
static void what_is_not_allowed(void **state)
{
    (void)state;
    static const double good[5] = {0.5, 30, 20, 100, 0.9};
    static const double bad[5][5] = {{NAN, INFINITY, -INFINITY, -1e-300, -1},
                                     {NAN, INFINITY, -INFINITY, -1e-300, -1},
                                     {NAN, INFINITY, -INFINITY, -1e-300, 100.5},
                                     {NAN, INFINITY, -INFINITY, 0, 19.5},
                                     {NAN, INFINITY, -INFINITY, -1e-300, 1.5}};
    assert_true(poslabel_auxiliary_weight(good[0], good[1], good[2], good[3], good[4]) > 0);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++) {
            double v[5];
            memcpy(v, good, sizeof v);
            v[i] = bad[i][k];
            test_case_is("argument %d = %g", i, v[i]);
            assert_true(isnan(poslabel_auxiliary_weight(v[0], v[1], v[2], v[3], v[4])));
        }
    assert_true(isnan(poslabel_auxiliary_weight(1, 0, 0, 0, 1))); /* no epochs at all */
    test_case_is("%s", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_decay_and_cut),
        cmocka_unit_test(what_is_not_allowed),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
