/*
 * canvas.h: a picture to draw on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PRETRAIN_CANVAS_H
#define PRETRAIN_CANVAS_H

#include "photographs.h"

typedef struct colour {
    uint8_t red, green, blue;
} colour;

/* A white canvas; free() its rgb. */
picture canvas_create(size_t height, size_t width);

void canvas_fill(picture *canvas, size_t top, size_t left, size_t height, size_t width, colour ink);

/* Copies height x width pixels of `from`, from (from_top, from_left) on, to (top, left). */
void canvas_paste(picture *canvas, size_t top, size_t left, const picture *from, size_t from_top, size_t from_left,
                  size_t height, size_t width);

/* One line of plain text, `size` times the size of the built-in font, whose capitals are 7 pixels high. */
void canvas_text(picture *canvas, size_t top, size_t left, int size, colour ink, const char *text);

/* Writes a PNG file; fail()s when it cannot. */
void canvas_write(const picture *canvas, const char *path);

#endif
