/*
 * The kinds of targets of a row: one class, or a Gaussian around its position.
 *
 * A kind opens a row by its label.  It then gives the targets of a lane's slots, but for a factor that all classes of
 * the row share.  Targets past the end of a row can have any value.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_TARGETS_H
#define PLB_CUDA_LOSS_TARGETS_H

#include "loss/gaussian.cuh"
#include "loss/loss.cuh"
#include "core/slots.cuh"

/* position / width.  Short rows use a product, since a division takes some twenty instructions. */
template <bool IS_SHORT> PLB_DEVICE unsigned plb_grid_row(unsigned position, unsigned width, unsigned inverse)
{
    return IS_SHORT ? (unsigned)((unsigned long long)position * inverse >> 32) : position / width;
}

/* One class, with uniform smoothing or without: the loss needs no targets but the label. */
struct plb_hard_targets {
    enum { ARE_SOFT = 0, ARE_KEPT = 0 };
    template <typename real, bool IS_SHORT> struct row {
        PLB_DEVICE void open(const plb_loss_parameters &, const real *, int)
        {
        }
    };
};

/* Gaussian targets as products of two factors, each of which depends on the distance on one axis. */
struct plb_factor_targets {
    enum { ARE_SOFT = 1, ARE_KEPT = 1 };
    static size_t entries(poslabel_grid grid, int)
    {
        return plb_gaussian_entries(grid);
    }

    template <typename real>
    static PLB_DEVICE void fill(real *table, const plb_gaussian_axes &axes, const plb_loss_parameters &p)
    {
        plb_gaussian_fill(table, axes, p.height, p.width, p.normalization);
    }

    template <typename real, bool IS_SHORT> struct row {
        const real *y, *x, *y_parts, *x_parts; /* from the first position on; parts are NULL where rows sum to 1 */
        real factor, total, top;       /* the shared factor; the sum of the targets; the target of the label */
        unsigned width, inverse, last; /* last: the first class of the last slot */
        PLB_DEVICE void open(const plb_loss_parameters &p, const real *table, int label)
        {
            width = (unsigned)p.width;
            inverse = p.width_inverse;
            const int at_y = (int)plb_grid_row<IS_SHORT>((unsigned)label, width, inverse),
                      at_x = label - at_y * p.width;
            const real *const columns = table + (long long)PLB_ENTRIES_OF_AXIS * p.height;
            y = table + (p.height - 1 - at_y);
            x = columns + (p.width - 1 - at_x);
            y_parts = table + (long long)PLB_PART_OF_AXIS * p.height;
            x_parts = columns + (long long)PLB_PART_OF_AXIS * p.width;
            factor = total = 1;
            top = y[at_y] * x[at_x];
            const real parts = y_parts[at_y] * x_parts[at_x];
            top *= parts;
            if (p.normalization == POSLABEL_NORMALIZATION_ROW) {
                factor = parts;
                y_parts = x_parts = NULL;
            } else
                total = y_parts[at_y + p.height] * x_parts[at_x + p.width];
            last = (unsigned)(p.classes - 1) / PLB_SLOT * PLB_SLOT;
        }

        /* The targets of the slot that begins `from_own` classes after the lane's first class, `first`. */
        PLB_DEVICE void slot(real (&t)[PLB_SLOT], int first, int from_own) const
        {
            const unsigned slot = (unsigned)(first + from_own), c = slot < last ? slot : last;
            const unsigned at_y = plb_grid_row<IS_SHORT>(c, width, inverse);
            const unsigned at_x = c - at_y * width;
            real here = y[at_y], below = y[at_y + 1];
            const real *const x_here = x + at_x, *const x_below = x_here - width;
#pragma unroll
            for (unsigned e = 0; e < PLB_SLOT; e++) /* a slot has at most two grid rows: the width is at least 2 */
                t[e] = (at_x + e < width ? x_here : x_below)[e];
            if (x_parts) {
                here *= y_parts[at_y];
                below *= y_parts[at_y + 1]; /* after the last part comes a sum, whose product is not used */
#pragma unroll
                for (unsigned e = 0; e < PLB_SLOT; e++)
                    t[e] *= x_parts[at_x + e < width ? at_x + e : at_x + e - width];
            }
#pragma unroll
            for (unsigned e = 0; e < PLB_SLOT; e++)
                t[e] *= at_x + e < width ? here : below;
        }
    };
};

/*
 * Gaussian targets of small grids, whose rows sum to 1.  The targets of two positions in one grid column are shifts of
 * each other but for a factor.  So one long row for each grid column has the targets of all its positions, and a slot
 * is a piece of that row, without arithmetic.  VECTOR targets are loaded at once: 2, where the width of the grid is a
 * multiple of 2, or 4.  If the width is no multiple of VECTOR, there is a copy of all rows `copy_at` entries later.
 * Targets that are misaligned in the rows are aligned in the copy.
 */
template <int VECTOR> struct plb_shared_row_targets {
    enum { ARE_SOFT = 1, ARE_KEPT = 0 };
    static size_t entries(poslabel_grid grid, int beyond)
    {
        return copy_at(grid) + plb_gaussian_long_entries(grid, beyond);
    }

    /* Entries from a row to its copy, 2 more than a multiple of 4.  0: there is no copy. */
    static __host__ __device__ int copy_at(poslabel_grid grid)
    {
        return grid.width % VECTOR ? grid.width * plb_gaussian_long_pitch(grid.height, grid.width) + 2 : 0;
    }

    template <typename real>
    static PLB_DEVICE void fill(real *table, const plb_gaussian_axes &axes, const plb_loss_parameters &p)
    {
        const int entries = p.width * plb_gaussian_long_pitch(p.height, p.width),
                  copy = copy_at(poslabel_grid{p.height, p.width});
        plb_gaussian_fill_long(table, copy, table + copy + entries, axes, p.height, p.width);
    }

    template <typename real, bool IS_SHORT> struct row {
        const real *start;
        real factor, total, top;
        PLB_DEVICE void open(const plb_loss_parameters &p, const real *table, int label)
        {
            const int at_y = (int)plb_grid_row<IS_SHORT>((unsigned)label, (unsigned)p.width, p.width_inverse);
            const int at_x = label - at_y * p.width;
            const int pitch = plb_gaussian_long_pitch(p.height, p.width),
                      copy = copy_at(poslabel_grid{p.height, p.width});
            const int at = at_x * pitch + (p.height - 1 - at_y) * p.width;
            start = table + at + (at % VECTOR ? copy : 0);
            const real *const parts = table + copy + p.width * pitch;
            factor = parts[at_y] * parts[p.height + at_x];
            total = 1;
            top = start[label] * factor;
        }

        PLB_DEVICE void slot(real (&t)[PLB_SLOT], int first, int from_own) const
        {
            const float *const own = start + first + from_own; /* float64 logits never have these targets */
            if constexpr (VECTOR == 4) {
                const float4 slot = *(const float4 *)own;
                t[0] = slot.x, t[1] = slot.y, t[2] = slot.z, t[3] = slot.w;
            } else {
                const float2 low = *(const float2 *)own, high = *(const float2 *)(own + 2);
                t[0] = low.x, t[1] = low.y, t[2] = high.x, t[3] = high.y;
            }
        }
    };
};

#endif
