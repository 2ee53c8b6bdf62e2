/*
 * Named arrays from uncompressed .npz files.
 *
 * An .npz file is a zip archive of .npy files.  The reader goes from the "end of central directory" record to the
 * central directory and from each of its entries to the data, and believes no offset or length before it has checked
 * that it lies within the file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/test.h"

#ifndef TEST_GOLDEN_DIR
#define TEST_GOLDEN_DIR "golden"
#endif

typedef struct bytes {
    const unsigned char *data;
    size_t size;
} bytes;

/* A part of `from`; a NULL data says that it does not lie within. */
static bytes part(bytes from, size_t offset, size_t size)
{
    if (offset > from.size || size > from.size - offset)
        return (bytes){NULL, 0};
    return (bytes){from.data + offset, size};
}

static uint32_t number_at(const unsigned char *p, int width)
{
    uint32_t value = 0;
    for (int i = width - 1; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

/* The dtypes that NumPy calls '<f4' and so on; 0 bits: not one that is read here. */
static poslabel_dtype dtype_of(const char *descr)
{
    static const struct {
        const char *name;
        poslabel_dtype dtype;
    } known[] = {
        {"'<f4'", POSLABEL_FLOAT32}, {"'<f8'", POSLABEL_FLOAT64}, {"'<i8'", POSLABEL_INT64}, {"'|b1'", POSLABEL_BOOL}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(descr, known[i].name, strlen(known[i].name)))
            return known[i].dtype;
    return (poslabel_dtype){0, 0, 0};
}

/* Where the value of a key of the header's dictionary begins, or NULL. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    return at ? at + strlen(key) + strspn(at + strlen(key), " :") : NULL;
}

/* One .npy file: magic, version, header length, a dictionary as text, data.  Gives an error, or NULL. */
static const char *read_npy(bytes file, npz_array *array, bool *skip)
{
    char header[1024];
    if (file.size < 10 || memcmp(file.data, "\x93NUMPY\x01", 7))
        return "is no .npy file of version 1";
    const bytes text = part(file, 10, number_at(file.data + 8, 2));
    if (!text.data || text.size >= sizeof header)
        return "has a header that is cut off or too long";
    memcpy(header, text.data, text.size);
    header[text.size] = 0;

    const char *descr = value_of(header, "'descr'"), *order = value_of(header, "'fortran_order'");
    const char *shape = value_of(header, "'shape'");
    if (!descr || !order || !shape || *shape != '(')
        return "has a header without descr, fortran_order or shape";
    if (!strncmp(descr, "'<U", 3)) {
        *skip = true;
        return NULL;
    }
    array->dtype = dtype_of(descr);
    if (!array->dtype.bits || strncmp(order, "False", 5))
        return "has a dtype or an order that is not read here";
    array->ndim = 0;
    array->count = 1;
    for (shape++; *shape != ')'; shape += strspn(shape, ", ")) {
        char *end;
        const long long size = strtoll(shape, &end, 10);
        if (end == shape || size < 0 || array->ndim == NPZ_MAX_RANK || (size && array->count > (1 << 28) / size))
            return "has a bad shape";
        array->shape[array->ndim++] = size;
        array->count *= size;
        shape = end;
    }
    const size_t need = (size_t)array->count * dtype_size(array->dtype);
    const bytes data = part(file, 10 + text.size, need);
    if (!data.data)
        return "is shorter than its shape says";
    array->data = aligned_alloc(64, need / 64 * 64 + 64);
    if (!array->data)
        return "does not fit into memory";
    memcpy(array->data, data.data, need);
    return NULL;
}

npz *npz_parse(const void *data, size_t size, char error[256])
{
    const bytes all = {data, size};
    npz *file = calloc(1, sizeof *file);
    const unsigned char *end = NULL;
    /* the record of 22 bytes is the last thing in the file but for a comment of up to 64 KiB */
    for (size_t back = 22; file && !end && back <= size && back <= 22 + 65535; back++)
        if (!memcmp(all.data + size - back, "PK\5\6", 4))
            end = all.data + size - back;
    if (!end) {
        snprintf(error, 256, "no zip archive");
        free(file);
        return NULL;
    }
    const int entries = (int)number_at(end + 10, 2);
    size_t at = number_at(end + 16, 4);
    const char *problem = NULL;
    char name[64] = "";
    for (int i = 0; i < entries && !problem; i++) {
        const bytes entry = part(all, at, 46);
        if (!entry.data || memcmp(entry.data, "PK\1\2", 4)) {
            problem = "has a directory that is damaged";
            break;
        }
        const size_t name_size = number_at(entry.data + 28, 2), packed = number_at(entry.data + 20, 4);
        const size_t extra = number_at(entry.data + 30, 2), comment = number_at(entry.data + 32, 2);
        const bytes title = part(all, at + 46, name_size);
        const bytes local = part(all, number_at(entry.data + 42, 4), 30);
        at += 46 + name_size + extra + comment;
        if (!title.data || name_size >= sizeof name || name_size < 4) {
            problem = "has a name that is cut off or too long";
            break;
        }
        snprintf(name, sizeof name, "%.*s", (int)name_size - 4, (const char *)title.data); /* without ".npy" */
        if (number_at(entry.data + 10, 2) != 0)
            problem = "is compressed; store it";
        else if (!local.data || memcmp(local.data, "PK\3\4", 4))
            problem = "has no local header";
        else if (file->count == NPZ_MAX_ARRAYS)
            problem = "is one array too many";
        if (problem)
            break;
        const size_t skip_names = number_at(local.data + 26, 2) + number_at(local.data + 28, 2);
        const bytes content = part(all, (size_t)(local.data - all.data) + 30 + skip_names, packed);
        npz_array *array = &file->arrays[file->count];
        bool skip = false;
        problem = content.data ? read_npy(content, array, &skip) : "lies outside of the file";
        if (!problem && !skip) {
            snprintf(array->name, sizeof array->name, "%s", name);
            file->count++;
        }
    }
    if (problem) {
        snprintf(error, 256, "array \"%s\" %s", name, problem);
        npz_close(file);
        return NULL;
    }
    return file;
}

const char *npz_path(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s.npz", TEST_GOLDEN_DIR, name);
    return path;
}

npz *npz_open(const char *name)
{
    char error[256] = "cannot be read";
    const char *path = npz_path(name);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        test_fail("%s cannot be opened", path);
    size_t size = 0, room = 1 << 16, got;
    char *content = malloc(room);
    while (content && (got = fread(content + size, 1, room - size, stream)) > 0) {
        size += got;
        if (size == room)
            content = realloc(content, room *= 2);
    }
    fclose(stream);
    npz *file = content ? npz_parse(content, size, error) : NULL;
    free(content);
    if (!file)
        test_fail("%s: %s", path, error);
    return file;
}

void npz_close(npz *file)
{
    for (int i = 0; file && i < file->count; i++)
        free(file->arrays[i].data);
    free(file);
}

const npz_array *npz_find(const npz *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (!strcmp(file->arrays[i].name, name))
            return &file->arrays[i];
    return NULL;
}

const npz_array *npz_get(const npz *file, const char *name)
{
    const npz_array *array = npz_find(file, name);
    if (!array)
        test_fail("the file has no array \"%s\"", name);
    return array;
}

double npz_at(const npz_array *array, int64_t index)
{
    if (index < 0 || index >= array->count)
        test_fail("%s[%lld]: it has %lld elements", array->name, (long long)index, (long long)array->count);
    return number_load(array->data, array->dtype, (size_t)index);
}

double npz_number(const npz *file, const char *name)
{
    const npz_array *array = npz_get(file, name);
    if (array->count != 1)
        test_fail("%s has %lld elements, not one", name, (long long)array->count);
    return npz_at(array, 0);
}

double *npz_doubles(const npz_array *array)
{
    double *values = malloc(sizeof *values * (size_t)(array->count + 1));
    for (int64_t i = 0; values && i < array->count; i++)
        values[i] = npz_at(array, i);
    return values;
}

poslabel_tensor npz_tensor(const npz_array *array)
{
    const poslabel_tensor t = {array->data, {POSLABEL_DEVICE_CPU, 0}, array->ndim, array->dtype, array->shape, NULL, 0};
    return t;
}
