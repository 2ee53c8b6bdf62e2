/*
 * assignment.c: gives every patch a place of its own.
 *
 * The model scores each place for each patch on its own, so two patches may want the same place.  Here each place is
 * taken once, such that the sum of the scores is the largest possible: the assignment problem, by the Hungarian method
 * (Kuhn, 1955) in the form with potentials, in O(count^3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pictures.h"

#include "memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

void assign_places(const float *score, size_t count, size_t *place)
{
    /* Row 0 and column 0 stand for "none".  row_of[j] is the patch that place j is given to so far. */
    double *u = allocate(count + 1, sizeof *u), *v = allocate(count + 1, sizeof *v);
    double *slack = allocate(count + 1, sizeof *slack);
    size_t *row_of = allocate(count + 1, sizeof *row_of), *before = allocate(count + 1, sizeof *before);
    bool *visited = allocate(count + 1, sizeof *visited);

    for (size_t row = 1; row <= count; row++) {
        /* Finds the cheapest way to free a place for this patch by moving others on, and walks it back. */
        for (size_t j = 0; j <= count; j++) {
            slack[j] = INFINITY;
            visited[j] = false;
        }
        size_t column = 0;
        row_of[0] = row;
        do {
            size_t i = row_of[column], next = 0;
            double least = INFINITY;
            visited[column] = true;
            for (size_t j = 1; j <= count; j++) {
                if (visited[j])
                    continue;
                double cost = -(double)score[(i - 1) * count + j - 1] - u[i] - v[j];
                if (cost < slack[j]) {
                    slack[j] = cost;
                    before[j] = column;
                }
                if (slack[j] < least) {
                    least = slack[j];
                    next = j;
                }
            }
            for (size_t j = 0; j <= count; j++) {
                if (visited[j]) {
                    u[row_of[j]] += least;
                    v[j] -= least;
                } else {
                    slack[j] -= least;
                }
            }
            column = next;
        } while (row_of[column] != 0);
        for (; column != 0; column = before[column])
            row_of[column] = row_of[before[column]];
    }

    for (size_t j = 1; j <= count; j++)
        place[row_of[j] - 1] = j - 1;
    free(u);
    free(v);
    free(slack);
    free(row_of);
    free(before);
    free(visited);
}
