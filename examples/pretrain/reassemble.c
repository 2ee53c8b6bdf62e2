/*
 * reassemble.c: photographs taken apart and put back together by the model.
 *
 * The model gets all patches of a crop at once, and the position of none.  From its logits each patch gets a place of
 * its own (assignment.c), so every place is filled, rightly or wrongly.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pictures.h"

#include "canvas.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, MARGIN = 28, GAP = 20, LINE = 26, TEXT = 2, WIDTH = 400, LEAST_WIDTH = 1250 };

static const colour INK = {32, 32, 32}, GREY = {110, 110, 110};

/* One row of the picture: the crop and where its patches were put. */
typedef struct row {
    crop where;
    size_t *place; /* of token r                             */
    double right;  /* the part of the patches in place       */
    double near;   /* in place, or on one of its 8 neighbours */
} row;

static void judge(row *r, const int32_t *position, poslabel_grid grid)
{
    int width = grid.width, count = grid.height * width, right = 0, near = 0;
    for (int t = 0; t < count; t++) {
        int put = (int)r->place[t], true_place = position[t];
        right += put == true_place;
        near += abs(put / width - true_place / width) <= 1 && abs(put % width - true_place % width) <= 1;
    }
    r->right = (double)right / count;
    r->near = (double)near / count;
}

/* Puts patch number position[t] of the photograph at place t, or at places[t]. */
static void paste_patches(picture *canvas, size_t top, size_t left, const picture *photo, size_t side, size_t across,
                          size_t count, const int32_t *position, const size_t *places)
{
    for (size_t t = 0; t < count; t++) {
        size_t from = (size_t)position[t], to = places != NULL ? places[t] : t;
        canvas_paste(canvas, top + to / across * side, left + to % across * side, photo, from / across * side,
                     from % across * side, side, side);
    }
}

static void draw(const char *path, const photographs *photos, const row *rows, size_t count, const pretext *task)
{
    size_t across = (size_t)task->grid.width, down = (size_t)task->grid.height;
    size_t side = WIDTH / (across > down ? across : down), width = across * side, height = down * side;
    size_t step = height + LINE + GAP, top = MARGIN + LINE;
    size_t needed = 2 * MARGIN + 3 * width + 2 * GAP;
    picture canvas = canvas_create(top + count * step + 2 * LINE + MARGIN, needed > LEAST_WIDTH ? needed : LEAST_WIDTH);
    static const char *const titles[] = {"a crop of a photograph", "its patches, shuffled", "put back by the model"};

    for (size_t column = 0; column < 3; column++)
        canvas_text(&canvas, MARGIN, MARGIN + column * (width + GAP), TEXT, INK, titles[column]);
    for (size_t r = 0; r < count; r++, top += step) {
        const int32_t *position = task->ids_keep + r * task->positions;
        size_t left = MARGIN;
        picture photo = crop_picture(photos, &rows[r].where, height, width);
        canvas_paste(&canvas, top, left, &photo, 0, 0, height, width);
        left += width + GAP;
        paste_patches(&canvas, top, left, &photo, side, across, task->positions, position, NULL);
        left += width + GAP;
        paste_patches(&canvas, top, left, &photo, side, across, task->positions, position, rows[r].place);
        free(photo.rgb);

        const char *name = photos->items[rows[r].where.photograph].name;
        char text[160];
        snprintf(text, sizeof text, "%.*s (%s): %.0f %% of patches in place, %.0f %% within one patch",
                 (int)strcspn(name, ".") < 32 ? (int)strcspn(name, ".") : 32, name,
                 rows[r].where.photograph < photos->training ? "training photograph, new crop" : "held-out photograph",
                 100 * rows[r].right, 100 * rows[r].near);
        canvas_text(&canvas, top + height + 8, MARGIN, TEXT, INK, text);
    }
    char text[160];
    snprintf(text, sizeof text,
             "The model sees all %zu patches at once and the position of none (chance: %.1f %% in place).",
             task->positions, 100 / (double)task->positions);
    canvas_text(&canvas, top, MARGIN, TEXT, GREY, text);
    canvas_text(&canvas, top + LINE, MARGIN, TEXT, GREY,
                "Each place is filled once, such that the sum of the log probabilities is the largest.");
    canvas_write(&canvas, path);
    free(canvas.rgb);
}

void reassembled_write(const char *path, vit *model, poslabel_context *context, const photographs *photos,
                       const crop_shape *shape, uint64_t seed)
{
    /* The last row is a held-out photograph, if there is one; the others are training photographs. */
    size_t training = photos->held_out > 0 ? ROWS - 1 : ROWS, count = photos->held_out > 0 ? training + 1 : training;
    poslabel_grid grid = {(int32_t)model->shape.height, (int32_t)model->shape.width};
    pretext *task = pretext_create(context, grid, 0, 1, count);
    size_t n = task->positions, dim = model->shape.dim;
    float *patches = allocate(count * n * model->shape.patch_values, sizeof *patches);
    float *tokens = allocate(count * n * dim, sizeof *tokens), *x = allocate(count * (1 + n) * dim, sizeof *x);
    float *logits = allocate(count * n * n, sizeof *logits);
    row rows[ROWS];

    for (size_t r = 0; r < count; r++) {
        size_t which = r < training ? r * photos->training / training : photos->training;
        rows[r].where = crop_draw(photos, shape, which, 1, seed, SAMPLES_PICTURE + (uint32_t)r, 0);
        crop_patches(photos, shape, &rows[r].where, patches + r * n * model->shape.patch_values);
    }
    pretext_draw_masks(task, seed, SAMPLES_PICTURE, 0);
    vit_embed(model, patches, tokens, count);
    pretext_assemble(task, model, tokens, x);
    vit_encode(model, x, logits, count, n);
    for (size_t r = 0; r < count; r++) {
        rows[r].place = allocate(n, sizeof *rows[r].place);
        assign_places(logits + r * n * n, n, rows[r].place);
        judge(&rows[r], task->ids_keep + r * n, grid);
    }
    draw(path, photos, rows, count, task);

    for (size_t r = 0; r < count; r++)
        free(rows[r].place);
    free(patches);
    free(tokens);
    free(x);
    free(logits);
    pretext_destroy(task);
}
