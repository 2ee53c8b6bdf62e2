/*
 * canvas.c: a picture to draw on.
 *
 * Text is drawn with stb_easy_font, which turns a line into small rectangles.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "canvas.h"

#include "memory.h"

#include <stb_easy_font.h>
#include <stb_image_write.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

picture canvas_create(size_t height, size_t width)
{
    picture canvas = {height, width, allocate(height * width, 3)};
    memset(canvas.rgb, 255, height * width * 3);
    return canvas;
}

void canvas_fill(picture *canvas, size_t top, size_t left, size_t height, size_t width, colour ink)
{
    for (size_t y = top; y < top + height && y < canvas->height; y++)
        for (size_t x = left; x < left + width && x < canvas->width; x++) {
            uint8_t *pixel = canvas->rgb + (y * canvas->width + x) * 3;
            pixel[0] = ink.red;
            pixel[1] = ink.green;
            pixel[2] = ink.blue;
        }
}

void canvas_paste(picture *canvas, size_t top, size_t left, const picture *from, size_t from_top, size_t from_left,
                  size_t height, size_t width)
{
    for (size_t y = 0; y < height; y++)
        memcpy(canvas->rgb + ((top + y) * canvas->width + left) * 3,
               from->rgb + ((from_top + y) * from->width + from_left) * 3, width * 3);
}

void canvas_text(picture *canvas, size_t top, size_t left, int size, colour ink, const char *text)
{
    /* Four corners of 16 bytes for each rectangle; the font needs 270 bytes a character at most. */
    struct corner {
        float x, y, z;
        unsigned char colour[4];
    } *corners = allocate(strlen(text) + 1, 320);
    char *line = allocate(strlen(text) + 1, 1);
    strcpy(line, text);
    int count = stb_easy_font_print(0, 0, line, NULL, corners, (int)(320 * (strlen(text) + 1)));
    for (int i = 0; i < 4 * count; i += 4) {
        size_t x = (size_t)corners[i].x, y = (size_t)corners[i].y;
        size_t width = (size_t)(corners[i + 2].x - corners[i].x), height = (size_t)(corners[i + 2].y - corners[i].y);
        size_t scale = (size_t)size;
        canvas_fill(canvas, top + scale * y, left + scale * x, scale * height, scale * width, ink);
    }
    free(line);
    free(corners);
}

static void write_bytes(void *file, void *data, int size)
{
    fwrite(data, 1, (size_t)size, file);
}

void canvas_write(const picture *canvas, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        fail("cannot write %s: %s", path, strerror(errno));
    int encoded = stbi_write_png_to_func(write_bytes, file, (int)canvas->width, (int)canvas->height, 3, canvas->rgb,
                                         (int)canvas->width * 3);
    int failed = ferror(file);
    if (fclose(file) != 0 || failed || !encoded)
        fail("cannot write %s: %s", path, encoded ? strerror(errno) : "out of memory");
}
