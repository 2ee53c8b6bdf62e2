/*
 * options.c: the command line.
 *
 * One table holds what each option is called, what it means, where its value goes and what values are allowed; the
 * help is printed from it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "options.h"

#include "vit.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { COUNT, NUMBER, GRID, SEED, TEXT, FLAG, HELP } option_kind;

typedef struct option {
    const char *name, *value, *help;
    option_kind kind;
    void *target;
    double least, most;
} option;

_Noreturn static void usage_error(const char *format, ...)
{
    va_list arguments;
    fputs("pretrain: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("\nTry: pretrain --help\n", stderr);
    exit(EXIT_USAGE);
}

_Noreturn static void print_help(const option *table, size_t count)
{
    puts("usage: pretrain [options] FOLDER\n"
         "\n"
         "Pre-trains a small vision transformer with DropPos on crops of the JPEG and PNG photographs in FOLDER: most\n"
         "patches of a crop are hidden, most visible ones lose their position, and the model must say where these\n"
         "belong.  Writes reassembled.png and curve.svg.\n");
    for (size_t i = 0; i < count; i++) {
        char left[40];
        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].value);
        printf("  %-24s%s\n", left, table[i].help);
    }
    puts("\n"
         "Ctrl-C ends the training after the current step; the pictures are written all the same.\n"
         "Exit status: 0 done, 1 failed, 2 a mistake on the command line, 130 ended by Ctrl-C.");
    exit(EXIT_SUCCESS);
}

static double read_number(const option *which, const char *text, int whole)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= which->least && number <= which->most) ||
        (whole && floor(number) != number))
        usage_error("--%s needs %s from %g to %g, not '%s'", which->name, whole ? "a whole number" : "a number",
                    which->least, which->most, text);
    return number;
}

static void read_value(const option *which, const char *text)
{
    char *end;
    switch (which->kind) {
    case COUNT:
        *(long *)which->target = (long)read_number(which, text, 1);
        break;
    case NUMBER:
        *(double *)which->target = read_number(which, text, 0);
        break;
    case GRID: {
        long *sides = which->target;
        sides[0] = strtol(text, &end, 10);
        sides[1] = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
        if (*end != '\0' || sides[0] < which->least || sides[1] < which->least || sides[0] > which->most ||
            sides[1] > which->most)
            usage_error("--%s needs rows and columns of patches from %g to %g, such as 12x16, not '%s'", which->name,
                        which->least, which->most, text);
        break;
    }
    case SEED:
        errno = 0;
        *(uint64_t *)which->target = strtoull(text, &end, 0);
        if (end == text || *end != '\0' || errno != 0 || *text == '-')
            usage_error("--%s needs a whole number from 0 to 2^64 - 1, not '%s'", which->name, text);
        break;
    case TEXT:
        *(const char **)which->target = text;
        break;
    case FLAG:
    case HELP:
        break;
    }
}

/* Whether the argument is --name or --name=value; *value is what follows the '='. */
static int matches(const char *argument, const option *which, const char **value)
{
    size_t length = strlen(which->name);
    if (strncmp(argument, "--", 2) != 0 || strncmp(argument + 2, which->name, length) != 0)
        return 0;
    *value = argument[2 + length] == '=' ? argument + 2 + length + 1 : NULL;
    return argument[2 + length] == '\0' || *value != NULL;
}

options options_read(int argc, char **argv)
{
    options o = {.out = ".",
                 .height = 12,
                 .width = 16,
                 .patch = 8,
                 .dim = 128,
                 .depth = 3,
                 .heads = 4,
                 .mask_ratio = 0.75,
                 .pos_mask_ratio = 0.75,
                 .sigma = 1,
                 .crop_area = 0.6,
                 .batch = 32,
                 .steps = 2000,
                 .learning_rate = 3e-3,
                 .seed = 1};
    const option table[] = {
        {"out", "DIR", "where the pictures go; default: here", TEXT, &o.out, 0, 0},
        {"seed", "S", "draws weights, crops, masks and held-out photographs; default 1", SEED, &o.seed, 0, 0},
        {"steps", "N", "batches to train on; default 2000", COUNT, &o.steps, 1, 1e9},
        {"minutes", "M", "train for that long instead (not reproducible)", NUMBER, &o.minutes, 0, 1e6},
        {"batch", "B", "crops in a batch; default 32", COUNT, &o.batch, 1, 65536},
        {"lr", "RATE", "peak learning rate; default 0.003", NUMBER, &o.learning_rate, 0, 10},
        {"grid", "HxW", "rows and columns of patches in a crop; default 12x16", GRID, &o.height, 2, 64},
        {"patch", "P", "side of a patch in pixels; default 8", COUNT, &o.patch, 1, 64},
        {"crop-area", "A", "smallest part of a photograph that a crop covers; default 0.6", NUMBER, &o.crop_area, 0.01,
         1},
        {"mask-ratio", "R", "part of the patches that is hidden; default 0.75", NUMBER, &o.mask_ratio, 0, 0.99},
        {"pos-mask-ratio", "R", "part of the visible ones that loses its position; default 0.75", NUMBER,
         &o.pos_mask_ratio, 0.01, 1},
        {"sigma", "S", "width of the Gaussian targets at first, in patches; falls to 0; default 1", NUMBER, &o.sigma, 0,
         100},
        {"attentive", "", "weigh patches by their likeness to the class token", FLAG, &o.attentive, 0, 0},
        {"dim", "D", "channels; default 128", COUNT, &o.dim, 4, 4096},
        {"depth", "L", "blocks; default 3", COUNT, &o.depth, 1, VIT_MAX_DEPTH},
        {"heads", "H", "attention heads; default 4", COUNT, &o.heads, 1, 64},
        {"threads", "T", "default: as many as OpenMP would use", COUNT, &o.threads, 0, 1024},
        {"help", "", "print this and exit", HELP, NULL, 0, 0},
    };
    const size_t count = sizeof table / sizeof *table;

    for (int a = 1; a < argc; a++) {
        const char *value = NULL;
        size_t i = 0;
        if (strncmp(argv[a], "--", 2) != 0) {
            if (o.folder != NULL)
                usage_error("one folder only, not '%s' and '%s'", o.folder, argv[a]);
            o.folder = argv[a];
            continue;
        }
        while (i < count && !matches(argv[a], &table[i], &value))
            i++;
        if (i == count)
            usage_error("unknown option '%s'", argv[a]);
        if (table[i].kind == HELP)
            print_help(table, count);
        if (table[i].kind == FLAG) {
            *(bool *)table[i].target = true;
            continue;
        }
        if (value == NULL && ++a < argc)
            value = argv[a];
        if (value == NULL)
            usage_error("--%s needs a value, %s", table[i].name, table[i].value);
        read_value(&table[i], value);
    }
    if (o.folder == NULL)
        usage_error("name the folder that holds the photographs");
    if (o.dim % (4 * o.heads) != 0)
        usage_error("--dim %ld must be a multiple of 4 x --heads %ld", o.dim, o.heads);
    return o;
}
