/*
 * Turning columns into rows and back.
 *
 * Blocks of 16 bytes by as many elements are turned in registers, a line of 64 bytes of the result at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cpu/core/columns.h"

#include <string.h>

enum {
    LINE = 64,
    TILE = 512,             /* bytes of a row, as long as ...                 */
    TILE_BYTES = 512 * 1024 /* ... a tile stays within a part of the L2 cache */
};

plb_tiles plb_tiles_of(const plb_rows *tensor, int64_t tokens, int64_t channels)
{
    const int64_t size = plb_dtype_size[tensor->dtype];
    if (!plb_has_columns(tensor))
        return (plb_tiles){.channels = channels, .count = 1};
    int64_t width = TILE;
    while (width > LINE && tokens > TILE_BYTES / width)
        width /= 2;
    plb_tiles tiles = {.channels = width / size};
    tiles.count = (channels + tiles.channels - 1) / tiles.channels;
    tiles.pitch = width + LINE; /* rows a power of two apart would share few sets of the L1 cache */
    tiles.bytes = (size_t)tiles.pitch * (size_t)tokens;
    return tiles;
}

typedef uint8_t block_line __attribute__((vector_size(16)));
typedef uint16_t line16 __attribute__((vector_size(16)));
typedef uint32_t line32 __attribute__((vector_size(16)));
typedef uint64_t line64 __attribute__((vector_size(16)));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define PLB_HAVE_SHUFFLES
#endif
#endif

#ifdef PLB_HAVE_SHUFFLES
/* The elements of the lower halves of a and b in turn, and those of the upper halves. */
static inline block_line low_of(block_line a, block_line b, int size)
{
    if (size == 2)
        return (block_line)__builtin_shufflevector((line16)a, (line16)b, 0, 8, 1, 9, 2, 10, 3, 11);
    if (size == 4)
        return (block_line)__builtin_shufflevector((line32)a, (line32)b, 0, 4, 1, 5);
    return (block_line)__builtin_shufflevector((line64)a, (line64)b, 0, 2);
}

static inline block_line high_of(block_line a, block_line b, int size)
{
    if (size == 2)
        return (block_line)__builtin_shufflevector((line16)a, (line16)b, 4, 12, 5, 13, 6, 14, 7, 15);
    if (size == 4)
        return (block_line)__builtin_shufflevector((line32)a, (line32)b, 2, 6, 3, 7);
    return (block_line)__builtin_shufflevector((line64)a, (line64)b, 1, 3);
}

/* Element c of row r of `to` = element r of row c of `from`, for 16 bytes of each of 16 / size rows. */
static inline void turn_block(char *to, int64_t to_step, const char *from, int64_t from_step, int size)
{
    const int n = 16 / size;
    block_line line[8], turned[8];
    for (int i = 0; i < n; i++)
        memcpy(&line[i], from + i * from_step, 16);
    for (int step = 1; step < n; step *= 2) { /* so many shuffles of a whole deck turn it */
        for (int i = 0; i < n / 2; i++) {
            turned[2 * i] = low_of(line[i], line[i + n / 2], size);
            turned[2 * i + 1] = high_of(line[i], line[i + n / 2], size);
        }
        memcpy(line, turned, sizeof line);
    }
    for (int i = 0; i < n; i++)
        memcpy(to + i * to_step, &line[i], 16);
}
#endif

/* Where element (r, c) is: strides in bytes. */
typedef struct plane {
    char *at;
    int64_t row, column;
} plane;

static inline void turn_one(const plane *to, const plane *from, int64_t r, int64_t c, int size)
{
    memcpy(to->at + r * to->row + c * to->column, from->at + r * from->row + c * from->column, (size_t)size);
}

/* to(r, c) = from(r, c), where rows are contiguous in the one and columns in the other, or nothing is. */
static inline void turn(const plane *to, const plane *from, int64_t rows, int64_t columns, int size)
{
    int64_t whole_rows = 0, whole_columns = 0;
#ifdef PLB_HAVE_SHUFFLES
    const int n = 16 / size, in_line = LINE / size;
    if (to->column == size && from->row == size) {
        whole_rows = rows / n * n;
        whole_columns = columns / n * n;
        for (int64_t first = 0; first < whole_columns; first += in_line) {
            const int64_t last = first + in_line < whole_columns ? first + in_line : whole_columns;
            for (int64_t r = 0; r < whole_rows; r += n)
                for (int64_t c = first; c < last; c += n)
                    turn_block(to->at + r * to->row + c * size, to->row, from->at + c * from->column + r * size,
                               from->column, size);
        }
    }
#endif
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            turn_one(to, from, r, c, size);
}

static void turn_any(const plane *to, const plane *from, int64_t rows, int64_t columns, int size)
{
    if (size == 2)
        turn(to, from, rows, columns, 2);
    else if (size == 4)
        turn(to, from, rows, columns, 4);
    else
        turn(to, from, rows, columns, 8);
}

void plb_load_columns(char *rows, int64_t pitch, const plb_rows *tensor, const char *image, int64_t tokens,
                      int64_t channels)
{
    const int size = plb_dtype_size[tensor->dtype];
    const plane to = {rows, pitch, size};
    const plane from = {(char *)image, tensor->inner_stride * size, tensor->element_stride * size};
    turn_any(&to, &from, tokens, channels, size);
}

void plb_store_columns(const plb_rows *tensor, char *image, const char *rows, int64_t pitch, int64_t tokens,
                       int64_t channels)
{
    const int size = plb_dtype_size[tensor->dtype];
    const plane to = {image, tensor->element_stride * size, tensor->inner_stride * size};
    const plane from = {(char *)rows, size, pitch};
    turn_any(&to, &from, channels, tokens, size);
}
