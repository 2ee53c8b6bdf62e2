/*
 * photographs.c: the folder of photographs, and crops of them.
 *
 * Photographs are large and crops are small, so each is shrunk once when it is read: to a coarse copy from which the
 * training crops are sampled, and to a fine copy, of three times the resolution, for the pictures of the result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "photographs.h"

#include "memory.h"

#include <poslabel.h>
#include <stb_image.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FINE = 3, HELD_OUT_ONE_IN = 5, STREAM_HELD_OUT = 1001, STREAM_CROPS = 1002 };

/* ---- reading ---- */

/* Every pixel of the result is the mean of the pixels that it covers. */
static picture shrink(const picture *from, double factor)
{
    picture to = {.height = (size_t)lround((double)from->height / factor),
                  .width = (size_t)lround((double)from->width / factor)};
    to.rgb = allocate(to.height * to.width, 3);
    for (size_t y = 0; y < to.height; y++) {
        size_t top = y * from->height / to.height, bottom = (y + 1) * from->height / to.height;
        for (size_t x = 0; x < to.width; x++) {
            size_t left = x * from->width / to.width, right = (x + 1) * from->width / to.width;
            uint64_t sum[3] = {0, 0, 0}, count = (bottom - top) * (right - left);
            for (size_t v = top; v < bottom; v++)
                for (size_t u = left; u < right; u++)
                    for (size_t c = 0; c < 3; c++)
                        sum[c] += from->rgb[(v * from->width + u) * 3 + c];
            for (size_t c = 0; c < 3; c++)
                to.rgb[(y * to.width + x) * 3 + c] = (uint8_t)((sum[c] + count / 2) / count);
        }
    }
    return to;
}

/* The largest crop of a picture, in pixels of the picture for each pixel of the crop. */
static double largest_crop(const picture *full, const crop_shape *shape)
{
    return fmin((double)full->height / (double)shape->height, (double)full->width / (double)shape->width);
}

/* Fills in the two copies; returns why it could not, or NULL. */
static const char *read_photograph(const char *folder, const crop_shape *shape, photograph *photo)
{
    const char *problem = NULL;
    char *path = allocate(strlen(folder) + strlen(photo->name) + 2, 1);
    sprintf(path, "%s/%s", folder, photo->name);
    int width = 0, height = 0, channels;
    uint8_t *rgb = stbi_load(path, &width, &height, &channels, 3);
    picture full = {(size_t)height, (size_t)width, rgb};
    /* The smallest crop gets one coarse pixel for each of its own. */
    double factor = largest_crop(&full, shape) * sqrt(shape->smallest_area);
    if (rgb == NULL) {
        problem = stbi_failure_reason();
    } else if (factor < 1) {
        problem = "smaller than a crop; use a larger photograph, or a smaller --grid or --patch";
    } else {
        photo->coarse = shrink(&full, factor);
        photo->fine = shrink(&full, fmax(1, factor / FINE));
    }
    stbi_image_free(rgb);
    free(path);
    return problem;
}

static int is_photograph(const char *name)
{
    const char *ending = strrchr(name, '.');
    return ending != NULL && name[0] != '.' &&
           (strcasecmp(ending, ".jpg") == 0 || strcasecmp(ending, ".jpeg") == 0 || strcasecmp(ending, ".png") == 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const photograph *)a)->name, ((const photograph *)b)->name);
}

/* The names of the photographs of a folder, in order. */
static photograph *list_folder(const char *folder, size_t *count)
{
    DIR *directory = opendir(folder);
    if (directory == NULL)
        fail("cannot open the folder %s: %s", folder, strerror(errno));
    photograph *items = NULL;
    size_t room = 0;
    *count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (!is_photograph(entry->d_name))
            continue;
        if (*count == room) {
            room = 2 * room + 16;
            items = realloc(items, room * sizeof *items);
            if (items == NULL)
                fail("no memory for the names of %zu photographs", room);
        }
        photograph photo = {.name = allocate(strlen(entry->d_name) + 1, 1)};
        strcpy(photo.name, entry->d_name);
        items[(*count)++] = photo;
    }
    closedir(directory);
    if (*count > 0)
        qsort(items, *count, sizeof *items, by_name);
    return items;
}

photographs *photographs_open(const char *folder, const crop_shape *shape, uint64_t seed)
{
    photographs *photos = allocate(1, sizeof *photos);
    size_t listed;
    photos->items = list_folder(folder, &listed);
    const char **problems = allocate(listed, sizeof *problems);
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < listed; i++)
        problems[i] = read_photograph(folder, shape, &photos->items[i]);

    size_t count = 0;
    for (size_t i = 0; i < listed; i++) {
        if (problems[i] != NULL) {
            fprintf(stderr, "pretrain: leaving out %s/%s: %s\n", folder, photos->items[i].name, problems[i]);
            free(photos->items[i].name);
        } else {
            photos->items[count++] = photos->items[i];
        }
    }
    free(problems);
    if (count == 0)
        fail("no photograph in %s can be used; name a folder that holds .jpg or .png files", folder);

    /* Moves one photograph after the other, drawn by the seed, behind those to train on. */
    photos->held_out = count / HELD_OUT_ONE_IN;
    photos->training = count - photos->held_out;
    for (size_t last = count; last-- > photos->training;) {
        uint32_t words[4], counter[4] = {(uint32_t)last, 0, STREAM_HELD_OUT, 0};
        poslabel_philox(seed, counter, words);
        size_t drawn = poslabel_random_below(words[0], (uint32_t)last + 1);
        photograph swapped = photos->items[last];
        photos->items[last] = photos->items[drawn];
        photos->items[drawn] = swapped;
    }
    return photos;
}

void photographs_close(photographs *photos)
{
    if (photos == NULL)
        return;
    for (size_t i = 0; i < photos->training + photos->held_out; i++) {
        free(photos->items[i].name);
        free(photos->items[i].fine.rgb);
        free(photos->items[i].coarse.rgb);
    }
    free(photos->items);
    free(photos);
}

/* ---- cropping ---- */

crop crop_draw(const photographs *photos, const crop_shape *shape, size_t first, size_t count, uint64_t seed,
               uint32_t sample, uint32_t step)
{
    uint32_t words[4], counter[4] = {sample, 0, STREAM_CROPS, step};
    poslabel_philox(seed, counter, words);
    crop where = {.photograph = first + poslabel_random_below(words[0], (uint32_t)count)};
    const picture *full = &photos->items[where.photograph].coarse;
    double area = shape->smallest_area + (1 - shape->smallest_area) * (double)poslabel_random_unit(words[1]);
    double pixels = sqrt(area) * largest_crop(full, shape);
    where.width = pixels * (double)shape->width / (double)full->width;
    where.height = pixels * (double)shape->height / (double)full->height;
    where.left = (1 - where.width) * (double)poslabel_random_unit(words[2]);
    where.top = (1 - where.height) * (double)poslabel_random_unit(words[3]);
    return where;
}

/* A bilinear sample along one axis: (1 - weight) * [low] + weight * [high]. */
typedef struct tap {
    size_t low, high;
    float weight;
} tap;

/* Taps at the centres of `count` pixels of a crop that begins at `start`, in an axis of `size` pixels. */
static tap *make_taps(size_t count, double start, double extent, size_t size)
{
    tap *taps = allocate(count, sizeof *taps);
    for (size_t i = 0; i < count; i++) {
        double place = (start + extent * ((double)i + 0.5) / (double)count) * (double)size - 0.5;
        place = fmin(fmax(place, 0), (double)(size - 1));
        taps[i].low = (size_t)place;
        taps[i].high = taps[i].low + 1 < size ? taps[i].low + 1 : taps[i].low;
        taps[i].weight = (float)(place - (double)taps[i].low);
    }
    return taps;
}

/* rgb[height, width, 3], from 0 to 255. */
static float *sample_crop(const picture *from, const crop *where, size_t height, size_t width)
{
    float *rgb = allocate(height * width * 3, sizeof *rgb);
    tap *rows = make_taps(height, where->top, where->height, from->height);
    tap *columns = make_taps(width, where->left, where->width, from->width);
    for (size_t y = 0; y < height; y++) {
        const uint8_t *upper = from->rgb + rows[y].low * from->width * 3;
        const uint8_t *lower = from->rgb + rows[y].high * from->width * 3;
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++) {
                size_t left = columns[x].low * 3 + c, right = columns[x].high * 3 + c;
                float above = upper[left] + columns[x].weight * (float)(upper[right] - upper[left]);
                float below = lower[left] + columns[x].weight * (float)(lower[right] - lower[left]);
                rgb[(y * width + x) * 3 + c] = above + rows[y].weight * (below - above);
            }
    }
    free(rows);
    free(columns);
    return rgb;
}

void crop_patches(const photographs *photos, const crop_shape *shape, const crop *where, real *patches)
{
    /* Mean and deviation of the colours of ImageNet, by custom. */
    static const float mean[3] = {123.675F, 116.28F, 103.53F}, deviation[3] = {58.395F, 57.12F, 57.375F};
    size_t p = shape->patch, across = shape->width / p;
    float *rgb = sample_crop(&photos->items[where->photograph].coarse, where, shape->height, shape->width);
    for (size_t y = 0; y < shape->height; y++)
        for (size_t x = 0; x < shape->width; x++) {
            real *value = patches + (((y / p * across + x / p) * p + y % p) * p + x % p) * 3;
            for (size_t c = 0; c < 3; c++)
                value[c] = (rgb[(y * shape->width + x) * 3 + c] - mean[c]) / deviation[c];
        }
    free(rgb);
}

picture crop_picture(const photographs *photos, const crop *where, size_t height, size_t width)
{
    picture to = {height, width, allocate(height * width, 3)};
    float *rgb = sample_crop(&photos->items[where->photograph].fine, where, height, width);
    for (size_t i = 0; i < height * width * 3; i++)
        to.rgb[i] = (uint8_t)lroundf(rgb[i]);
    free(rgb);
    return to;
}
