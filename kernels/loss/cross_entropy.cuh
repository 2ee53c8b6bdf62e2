/*
 * Softmax cross-entropy of rows: loss and gradient in one launch.
 *
 * One kernel does it all: weights and their sum, log-softmax, targets, loss, top-1 accuracy, gradient, and the sums
 * over all rows.  It reads the logits once and writes the gradient once.
 *
 * A team of lanes has a row at a time and keeps it in registers, SLOTS slots of four elements a lane.  The maximum, the
 * sum of exponentials and the gradient are three walks over registers.  Teams are small, so that a warp does the work
 * of up to four rows at once that comes once a row: label, weight, sums across lanes, logarithm.  Rows too long for
 * registers are walked in memory (SLOTS = 0), where the second and third walk find them in a cache.  The grid is as
 * large as the device holds at once and strides over the rows.
 *
 * A gradient may need a sum of weights that only the device knows.  The launch is then cooperative: each block sums the
 * weights of its rows, all blocks wait for one another once, and each adds up the sums of all blocks.  The last block
 * adds up the losses: see reduction.cuh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_LOSS_ROWS_H
#define PLB_CUDA_LOSS_ROWS_H

#include "loss/pass.cuh"

enum { PLB_MOST_OF_A_WARP = 1408 }; /* the most classes of a row for a team within a warp */
enum { PLB_DYNAMIC_SHARED = 45 << 10 }; /* of the 48 KiB without opt-in; a kernel has some static shared memory too */

/* Whether the kernel's tables are always in shared memory: loads from shared memory are other instructions. */
template <int LANES, int SLOTS> static __host__ __device__ constexpr bool plb_table_is_shared()
{
    return LANES <= 32 && SLOTS > 0;
}

/* Blocks that a multiprocessor should hold.  More blocks hide more latency, but leave fewer registers a thread. */
template <typename T, int SLOTS, bool PLAIN, typename Targets> struct plb_loss_blocks {
    enum {
        IS_CUT = !PLAIN && SLOTS > 4 && sizeof(T) == 4,
        IS_LARGE = sizeof(T) == 8 || IS_CUT || (!PLAIN && Targets::ARE_SOFT) || SLOTS * (1 + Targets::ARE_KEPT) > 9,
        LEAST = IS_LARGE ? 2 : 3
    };
};

template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
__global__ void __launch_bounds__(PLB_LOSS_THREADS, plb_loss_blocks<T, SLOTS, PLAIN, Targets>::LEAST)
    plb_loss_kernel(const plb_loss_parameters p)
{
    typedef plb_real<T> real;
    PLB_SHARED(plb_team_board<real>, board, 1);
    PLB_SHARED(double, partial, PLB_LOSS_WARPS * PLB_LOSS_SUMS);
    PLB_SHARED(int, is_last, 1);
    typedef plb_row_seams<T, LANES, SLOTS, PLAIN> seams_type;
    PLB_SHARED(seams_type, seams, 1);
    PLB_SHARED_BYTES(memory);
    const real *table = NULL;

    plb_thread_sums sums;
    double weight = (double)p.reduction.rows, bad = 0;
    plb_upstream upstream = {1, false};
    unsigned generation = 0;
    int purpose = !p.reduction.weigh_first ? PLB_TO_END : p.filter ? PLB_TO_FILTER : PLB_TO_WEIGH;
#pragma unroll 1
    for (bool again = false;; again = true) { /* once or twice; a loop, so that the code of a pass is there once */
        if constexpr (LANES <= 32 && SLOTS > 0)
            if (again || (Targets::ARE_SOFT && purpose == PLB_TO_END)) /* before a wait or before targets are made */
                plb_prefetch_rows<T>(p);
        if constexpr (Targets::ARE_SOFT)
            if (!table && purpose != PLB_TO_WEIGH) { /* after this block has weighed, before it waits for others */
                double *const scratch = (double *)memory;
                real *const own = (real *)(scratch + 2 * (p.height + p.width));
                const bool is_own = plb_table_is_shared<LANES, SLOTS>() || !p.table;
                table = is_own ? own : (const real *)p.table;
                if (is_own)
                    Targets::fill(own, plb_gaussian_prepare(scratch, p.height, p.width, plb_sigma_value(p.sigma)),
                                  p);
                PLB_BARRIER();
            }
        if (again) {
            weight = plb_reduction_wait(p.reduction, generation, partial);
            if (p.filter && !p.grad.data)
                break;
        }
        if (purpose == PLB_TO_END)
            upstream = plb_reduction_upstream(p.reduction, weight);
        sums = plb_loss_pass<T, LANES, SLOTS, PLAIN, Targets>(p, table, upstream, purpose, seams, board);
        if (purpose == PLB_TO_END)
            break;
        generation = plb_reduction_arrive(p.reduction, sums, partial, &bad); /* no block reads another's counts[] */
        purpose = PLB_TO_END;
    }

    if constexpr (Targets::ARE_SOFT)
        if (blockIdx.x == 0 && threadIdx.x == 0 && plb_is_bad_sigma(p.sigma)) {
            plb_found(p.reduction.state, PLB_FOUND_SIGMA, 0);
            sums.bad++;
            bad++;
        }
    plb_reduction_end(p.reduction, sums, weight, bad, partial, is_last);
}

/* Whether rows are on one level, and all slots are complete and lie at multiples of their size. */
static inline bool plb_rows_are_plain(const plb_view_rows &rows, int classes, size_t element)
{
    const unsigned long long slot = PLB_SLOT * element;
    return ((unsigned long long)rows.data | (unsigned long long)rows.inner_stride) % slot == 0 &&
           classes % PLB_SLOT == 0 && !rows.inner;
}

/* Rows that a warp, or a block, has at a time: up to 32, shared out evenly. */
static inline int plb_loss_batch(long long rows, long long units, int in_warp)
{
    const long long of_unit = (rows + units - 1) / units, rounds = (of_unit + 31) / 32;
    const long long batch = rounds > 0 ? (of_unit + rounds - 1) / rounds : 1;
    return (int)((batch + in_warp - 1) / in_warp * in_warp);
}

/* Rows that start below this address end at least one piece before the last row does.  NULL: none is known to. */
template <typename T> static inline const char *plb_end_of_inside(const plb_view_rows &rows, long long count)
{
    const long long inner = rows.inner ? rows.inner : count, outer = inner ? (count + inner - 1) / inner : 0;
    if (rows.inner_stride < 0 || rows.outer_stride < 0 || outer < 1)
        return NULL;
    const long long last = (outer - 1) * rows.outer_stride + (inner - 1) * rows.inner_stride;
    return rows.data + last - (long long)(PLB_SLOT * sizeof(T)) + 1;
}

/* Bytes of dynamic shared memory for a block's tables; never so much that a kernel would have to opt in. */
template <int LANES, int SLOTS, typename T, typename Targets>
static size_t plb_loss_shared(const plb_loss_launch *launch)
{
    const poslabel_grid grid = {launch->parameters.height, launch->parameters.width};
    if constexpr (Targets::ARE_SOFT)
        if (!launch->has_table)
            return plb_gaussian_scratch(grid) + Targets::entries(grid, LANES * SLOTS * PLB_SLOT) * sizeof(plb_real<T>);
    return 0;
}

template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
static long long plb_loss_resident(const plb_loss_launch *launch)
{
    return plb_resident_blocks(plb_cuda_of(launch->call), plb_loss_kernel<T, LANES, SLOTS, PLAIN, Targets>,
                               PLB_LOSS_THREADS, plb_loss_shared<LANES, SLOTS, T, Targets>(launch));
}

template <typename T, int LANES, int SLOTS, bool PLAIN, typename Targets>
static poslabel_status plb_loss_start(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    plb_loss_parameters *const p = &launch->parameters;
    if (only_blocks) {
        const long long resident = plb_loss_resident<T, LANES, SLOTS, PLAIN, Targets>(launch);
        const long long teams = PLB_LOSS_THREADS / LANES, wanted = (p->reduction.rows + teams - 1) / teams;
        *blocks = (int)(wanted < 1 ? 1 : wanted < resident ? wanted : resident);
        return POSLABEL_OK;
    }
    if (!PLAIN && SLOTS > 0)
        p->inside_end = plb_end_of_inside<T>(p->logits, p->reduction.rows);
    p->batch = plb_loss_batch(p->reduction.rows, (long long)*blocks * (LANES <= 32 ? PLB_LOSS_WARPS : 1),
                              LANES < 32 ? 32 / LANES : 1);
    return plb_launch(launch->call, p->reduction.weigh_first ? PLB_COOPERATIVE : PLB_INDEPENDENT,
                      plb_loss_kernel<T, LANES, SLOTS, PLAIN, Targets>, *blocks, PLB_LOSS_THREADS,
                      plb_loss_shared<LANES, SLOTS, T, Targets>(launch), *p);
}

/* Targets as long rows.  They are loaded four at a time if the device then holds no fewer blocks. */
template <typename T, int SLOTS>
static poslabel_status plb_loss_of_long_rows(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    typedef plb_shared_row_targets<2> by_two;
    typedef plb_shared_row_targets<4> by_four;
    return plb_loss_shared<8, SLOTS, T, by_four>(launch) <= PLB_DYNAMIC_SHARED &&
                   plb_loss_resident<T, 8, SLOTS, true, by_four>(launch) >=
                       plb_loss_resident<T, 8, SLOTS, true, by_two>(launch)
               ? plb_loss_start<T, 8, SLOTS, true, by_four>(launch, only_blocks, blocks)
               : plb_loss_start<T, 8, SLOTS, true, by_two>(launch, only_blocks, blocks);
}

/* Kernels for this many lanes and slots, by kind of targets. */
template <typename T, int LANES, int SLOTS, bool PLAIN>
static poslabel_status plb_loss_of_size(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    if (!launch->is_soft)
        return plb_loss_start<T, LANES, SLOTS, PLAIN, plb_hard_targets>(launch, only_blocks, blocks);
    if constexpr (PLAIN && LANES == 8)
        if (launch->shares_rows)
            return plb_loss_of_long_rows<T, SLOTS>(launch, only_blocks, blocks);
    enum { IS_PLAIN = PLAIN && LANES != 8 && SLOTS < 11 }; /* few other rows are plain, or registers are too few */
    return plb_loss_start<T, LANES, SLOTS, IS_PLAIN, plb_factor_targets>(launch, only_blocks, blocks);
}

/* Whether kernels for plain rows can do it: they know no bias, no filter and no grad_loss of each row. */
static inline bool plb_loss_is_plain(const plb_loss_parameters *p, size_t element)
{
    return plb_rows_are_plain(p->logits, p->classes, element) && plb_rows_are_plain(p->grad, p->classes, element) &&
           !p->bias && !p->filter && !p->reduction.row_grad_loss.data;
}

template <typename T, int LANES, int SLOTS>
static poslabel_status plb_loss_of_any(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    return plb_loss_is_plain(&launch->parameters, sizeof(T))
               ? plb_loss_of_size<T, LANES, SLOTS, true>(launch, only_blocks, blocks)
               : plb_loss_of_size<T, LANES, SLOTS, false>(launch, only_blocks, blocks);
}

/*
 * Chooses the fewest lanes and registers that hold a row: at most a warp up to 1408 classes, a block up to 8192.  The
 * number of lanes, and so the order of all sums, depends on the grid alone.  plb_classes_before() follows from this.
 */
template <typename T> static poslabel_status plb_loss_of_dtype(plb_loss_launch *launch, bool only_blocks, int *blocks)
{
    const plb_loss_parameters *const p = &launch->parameters;
    const int slots = (p->classes + PLB_SLOT - 1) / PLB_SLOT;
    if (p->classes > PLB_MOST_OF_A_WARP || launch->has_table) /* a table that is too large for shared memory */
        return slots <= PLB_LOSS_THREADS * 2
                   ? plb_loss_of_size<T, PLB_LOSS_THREADS, 2, false>(launch, only_blocks, blocks)
               : slots <= PLB_LOSS_THREADS * 4
                   ? plb_loss_of_size<T, PLB_LOSS_THREADS, 4, false>(launch, only_blocks, blocks)
               : slots <= PLB_LOSS_THREADS * 8
                   ? plb_loss_of_size<T, PLB_LOSS_THREADS, 8, false>(launch, only_blocks, blocks)
                   : plb_loss_of_size<T, PLB_LOSS_THREADS, 0, false>(launch, only_blocks, blocks);
    if (slots <= 8 * 4)
        return plb_loss_of_any<T, 8, 4>(launch, only_blocks, blocks);
    if (slots <= 8 * 7)
        return plb_loss_of_any<T, 8, 7>(launch, only_blocks, blocks);
    if (slots <= 8 * 8)
        return plb_loss_of_any<T, 8, 8>(launch, only_blocks, blocks);
    if (slots <= 16 * 8)
        return plb_loss_of_any<T, 16, 8>(launch, only_blocks, blocks);
    if (slots <= 16 * 9)
        return plb_loss_of_any<T, 16, 9>(launch, only_blocks, blocks);
    if (slots <= 32 * 6)
        return plb_loss_of_any<T, 32, 6>(launch, only_blocks, blocks);
    if (slots <= 32 * 8)
        return plb_loss_of_any<T, 32, 8>(launch, only_blocks, blocks);
    return plb_loss_of_any<T, 32, 11>(launch, only_blocks, blocks);
}

#endif
