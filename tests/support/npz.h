/*
 * npz.h: named arrays from uncompressed .npz files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_NPZ_H
#define TEST_NPZ_H

#include <poslabel.h>
#include <stddef.h>
#include <stdint.h>

enum { NPZ_MAX_ARRAYS = 32, NPZ_MAX_RANK = 8 };

typedef struct npz_array {
    char name[64]; /* without ".npy" */
    int ndim;
    int64_t shape[NPZ_MAX_RANK];
    int64_t count;        /* elements */
    poslabel_dtype dtype; /* float32, float64, int64 or bool */
    void *data;           /* aligned to 64 */
} npz_array;

typedef struct npz {
    int count;
    npz_array arrays[NPZ_MAX_ARRAYS];
} npz;

/*
 * Reads tests/golden/<name>.npz; the running test fails, with the reason, if that cannot be done.  Arrays of strings
 * are left out.
 */
npz *npz_open(const char *name);

void npz_close(npz *file);

/* The path of that file; the next call overwrites it. */
const char *npz_path(const char *name);

/* Reads an archive that lies in memory.  NULL, with the reason in error[256], for one that it cannot read. */
npz *npz_parse(const void *bytes, size_t size, char error[256]);

/* The array of that name; npz_find() gives NULL when there is none, npz_get() fails the running test. */
const npz_array *npz_find(const npz *file, const char *name);
const npz_array *npz_get(const npz *file, const char *name);

/* The one value of an array of one element. */
double npz_number(const npz *file, const char *name);

/* Element `index` as a number. */
double npz_at(const npz_array *array, int64_t index);

/* All elements as doubles, in memory to be freed with free(). */
double *npz_doubles(const npz_array *array);

/* A descriptor of the array's own memory, which stays valid until npz_close(). */
poslabel_tensor npz_tensor(const npz_array *array);

#endif
