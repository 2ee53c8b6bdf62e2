/*
 * curve.c: accuracy over the steps of training, as SVG.
 *
 * The axis of the accuracy is logarithmic, so that equal distances above the line of chance are equal multiples of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pictures.h"

#include "memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 860, HEIGHT = 480, LEFT = 80, RIGHT = 24, TOP = 84, BOTTOM = 60 };

void curve_add(curve *c, curve_point point)
{
    c->points = realloc(c->points, (c->count + 1) * sizeof *c->points);
    if (c->points == NULL)
        fail("no memory for %zu points of the curve", c->count + 1);
    c->points[c->count++] = point;
}

void curve_free(curve *c)
{
    free(c->points);
}

static double x_of(const curve *c, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / (double)c->points[c->count - 1].step;
}

/* From a little below chance to 100 %. */
static double y_of(const curve *c, double accuracy)
{
    double lowest = log(0.6 * c->chance), part = (log(fmax(accuracy, 0.6 * c->chance)) - lowest) / -lowest;
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part;
}

/* 1, 2 or 5 times a power of ten, such that there are at most eight ticks up to `most`. */
static double tick_distance(double most)
{
    static const double factor[] = {2, 2.5, 2};
    double distance = 1;
    for (int i = 0; most / distance > 8; i++)
        distance *= factor[i % 3];
    return distance;
}

static void draw_axes(FILE *file, const curve *c)
{
    static const double ticks[] = {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1};
    const double bottom = HEIGHT - BOTTOM, right = WIDTH - RIGHT;
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++) {
        if (ticks[i] < 0.6 * c->chance)
            continue;
        double y = y_of(c, ticks[i]);
        fprintf(file, "<line x1='%d' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#e4e4e4'/>\n", LEFT, y, right, y);
        fprintf(file, "<text x='%d' y='%.1f' text-anchor='end'>%g %%</text>\n", LEFT - 10, y + 4, 100 * ticks[i]);
    }
    double most = (double)c->points[c->count - 1].step, distance = tick_distance(most);
    for (double step = 0; step <= most; step += distance) {
        double x = x_of(c, step);
        fprintf(file, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#808080'/>\n", x, bottom, x, bottom + 5);
        fprintf(file, "<text x='%.1f' y='%.1f' text-anchor='middle'>%g</text>\n", x, bottom + 20, step);
    }
    fprintf(file, "<line x1='%d' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#808080'/>\n", LEFT, bottom, right, bottom);
    fprintf(file, "<text x='%.1f' y='%d' text-anchor='middle'>step</text>\n", (LEFT + right) / 2, HEIGHT - 14);
    fprintf(file, "<text transform='translate(20 %.1f) rotate(-90)' text-anchor='middle'>position accuracy</text>\n",
            (TOP + bottom) / 2);
}

/* One line of the picture, with its entry in the legend; `offset` finds its value in a point. */
static void draw_line(FILE *file, const curve *c, size_t offset, const char *stroke, double legend_x, const char *name)
{
    fprintf(file, "<polyline fill='none' stroke='%s' stroke-width='2.5' stroke-linejoin='round' points='", stroke);
    for (size_t i = 0; i < c->count; i++) {
        double value;
        memcpy(&value, (const char *)&c->points[i] + offset, sizeof value);
        fprintf(file, "%.1f,%.1f ", x_of(c, (double)c->points[i].step), y_of(c, value));
    }
    fprintf(file, "'/>\n<line x1='%.1f' y1='56' x2='%.1f' y2='56' stroke='%s' stroke-width='2.5'/>\n", legend_x,
            legend_x + 24, stroke);
    fprintf(file, "<text x='%.1f' y='60'>%s</text>\n", legend_x + 32, name);
}

void curve_write(const curve *c, const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fail("cannot write %s: %s", path, strerror(errno));
    fprintf(file,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' "
            "font-family='sans-serif' font-size='13' fill='#303030'>\n"
            "<rect width='%d' height='%d' fill='#ffffff'/>\n"
            "<text x='%d' y='30' font-size='17'>DropPos: how often a patch is put in its exact place</text>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    draw_axes(file, c);

    double y = y_of(c, c->chance);
    fprintf(file,
            "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' stroke='#303030' stroke-width='1.5' stroke-dasharray='6 5'/>\n"
            "<text x='%d' y='%.1f' text-anchor='end'>chance, %.2f %%</text>\n",
            LEFT, y, WIDTH - RIGHT, y, WIDTH - RIGHT, y + 17, 100 * c->chance);
    draw_line(file, c, offsetof(curve_point, training), "#b0b0b0", LEFT, "training batches");
    draw_line(file, c, offsetof(curve_point, new_crops), "#0072b2", LEFT + 160,
              "new crops of the training photographs");
    if (c->points[0].held_out >= 0)
        draw_line(file, c, offsetof(curve_point, held_out), "#d55e00", LEFT + 460, "held-out photographs");
    fputs("</svg>\n", file);
    int failed = ferror(file);
    if (fclose(file) != 0 || failed)
        fail("cannot write %s: %s", path, strerror(errno));
}
